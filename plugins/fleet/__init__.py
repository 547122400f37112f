"""Many devices: tags and locations, routes for segments, search by filters, and actions on all results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub import Migration, Permission, Route, hookimpl
from hub.storage import shipped_migrations
from plugins.fleet import bulk_routes, count_routes, location_routes, search_routes, segment_routes, tag_routes
from plugins.fleet.event_tags import EventTags
from plugins.fleet.locations import AssignedUsers, Locations
from plugins.fleet.search import DeviceSearch
from plugins.fleet.tags import Tags

if TYPE_CHECKING:
    import trio

    from hub import Hub
    from hub.domain import PersonalData


class Fleet:
    """The plugin's services for one hub."""

    def __init__(self, hub: Hub) -> None:
        self.tags = Tags(hub)
        self.locations = Locations(hub)
        self.search = DeviceSearch(hub, self.tags, self.locations)
        self.event_tags = EventTags(hub, self.tags)


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("fleet", "plugins.fleet")


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [Permission("tags.edit", "Manage tags"), Permission("segments.edit", "Manage segments")]


@hookimpl
def hub_personal_data(hub: Hub) -> PersonalData:
    return AssignedUsers(hub.service(Fleet).locations)


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    fleet = hub.service(Fleet)
    await fleet.tags.load()
    await fleet.locations.load()
    hub.device_queries.install(fleet.tags, fleet.locations)
    nursery.start_soon(fleet.event_tags.run)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    fleet = hub.service(Fleet)
    return [
        *tag_routes.routes(hub, fleet.tags),
        *location_routes.routes(hub, fleet.locations),
        *segment_routes.routes(hub),
        *search_routes.routes(hub, fleet.search),
        *count_routes.routes(hub, fleet.tags),
        *bulk_routes.routes(hub, fleet.search, fleet.tags),
    ]
