"""What devices told over the years: queries, reports, import, export and erasure, and the commands for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub.hookspecs import hookimpl
from hub.routes import Permission, Route
from plugins.data import points, reports, several

if TYPE_CHECKING:
    import trio

    from hub.app import Hub


@hookimpl
def hub_config() -> type:
    return reports.Settings


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [
        Permission("own_devices.delete_data", "Delete device data"),
        Permission("org_devices.delete_data", "Delete data from devices", own="own_devices.delete_data"),
    ]


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    return [*points.routes(hub), *several.routes(hub), *reports.routes(hub)]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    nursery.start_soon(reports.expire, hub)
