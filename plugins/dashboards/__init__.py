"""Dashboards over many devices: stored as data, shared by role, and the data of each widget in one bounded query.

What they look like is up to the programs that draw them (`options` describes the widgets for these).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub import Migration, Route, hookimpl
from hub.storage import shipped_migrations
from plugins.dashboards import routes
from plugins.dashboards.store import Dashboards

if TYPE_CHECKING:
    from hub import Hub


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("dashboards", "plugins.dashboards")


@hookimpl
async def hub_start(hub: Hub) -> None:
    await hub.service(Dashboards).load()


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    return routes.routes(hub, hub.service(Dashboards))
