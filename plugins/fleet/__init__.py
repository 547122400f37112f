"""Many devices: tags, locations and segments, what is looked for among them, and what is done to all of some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hub.api import Permission, Route
from hub.hookspecs import hookimpl
from hub.storage import Migration, shipped_migrations
from plugins.fleet import bulk, locations, search, segments, tags

if TYPE_CHECKING:
    from hub.app import Hub


class _Service:
    def __init__(self, hub: Hub) -> None:
        self.tags = tags.Tags(hub)
        self.locations = locations.Locations(hub)
        self.segments = segments.Segments(hub, lambda: self.fleet.finder)
        self.fleet = search.Fleet(hub, self.tags, self.locations, self.segments)


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("fleet", "plugins.fleet")


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [Permission("tags.edit", "Manage tags"), Permission("segments.edit", "Manage segments")]


@hookimpl
async def hub_personal_data(hub: Hub, who: str) -> dict[str, Any] | None:
    kind, _, number = who.partition(" ")
    if kind != "user":
        return None
    found = hub.service(_Service).locations.of_user(int(number))
    return {"locations": [{"id": one.id, "name": one.name} for one in found]} if found else None


@hookimpl
async def hub_forget(hub: Hub, who: str) -> None:
    kind, _, number = who.partition(" ")
    if kind == "user":
        await hub.service(_Service).locations.forget(int(number))


@hookimpl
async def hub_start(hub: Hub) -> None:
    service = hub.service(_Service)
    for part in (service.tags, service.locations, service.segments):
        await part.load()


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    service = hub.service(_Service)
    return [
        *tags.routes(hub, service.tags),
        *locations.routes(hub, service.locations),
        *segments.routes(hub, service.segments),
        *search.routes(service.fleet),
        *bulk.routes(hub, service.fleet),
    ]
