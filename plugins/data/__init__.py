"""The history of values: queries, charts, reports, import, export and erasure, over HTTP and as commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub import hookimpl

# The hooks import what they need when they are called: a command imports this package too, and must start quickly.
if TYPE_CHECKING:
    import trio

    from hub import Hub, Permission, Route


@hookimpl
def hub_config() -> type:
    from plugins.data import reports

    return reports.Settings


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    from hub import Permission

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
