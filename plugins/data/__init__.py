"""What devices told over the years: queries, reports, import, export and erasure, and the commands for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub.hookspecs import hookimpl

# The commands are in this package too, and would pay for all of a hub: its modules are loaded by the hooks.
if TYPE_CHECKING:
    import trio

    from hub.api import Permission, Route
    from hub.app import Hub


@hookimpl
def hub_config() -> type:
    from plugins.data import reports

    return reports.Settings


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    from hub.api import Permission

    return [
        Permission("own_devices.delete_data", "Delete device data"),
        Permission("org_devices.delete_data", "Delete data from devices", own="own_devices.delete_data"),
    ]


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    from plugins.data import charts, history_routes, reports

    return [*history_routes.routes(hub), *charts.routes(hub), *reports.routes(hub)]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    from plugins.data import reports

    nursery.start_soon(reports.expire, hub)
