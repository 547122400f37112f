"""The Platform API: templates, devices, the live stream and the state of the hub, over HTTP and as commands.

Paths and bodies under ``/api/v1/organization`` are Blynk's; the rest of ``/api/v1`` is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub import hookimpl

# The hooks import what they need when they are called: a command imports this package too, and must start quickly.
if TYPE_CHECKING:
    import trio

    from hub import Hub, Panel, Permission, Route, SocketRoute


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    from hub import Permission

    return [
        Permission("hub.view", "View the state of the hub", root=True),
        Permission("clock.repair", "Repair what a wrong clock has stamped", root=True),
        Permission("own_devices.view", "View own devices"),
        Permission("own_devices.control", "Control own devices"),
        Permission("own_devices.edit", "Edit own devices"),
        Permission("own_devices.delete", "Delete own devices"),
        Permission("org_devices.view", "View organization devices", own="own_devices.view"),
        Permission("org_devices.control", "Control organization devices", own="own_devices.control"),
        Permission("org_devices.add", "Add new devices"),
        Permission("org_devices.edit", "Edit organization devices", own="own_devices.edit"),
        Permission("org_devices.delete", "Delete organization devices", own="own_devices.delete"),
        Permission("timeline.edit", "Edit timeline"),
        Permission("auth_tokens.edit", "Edit auth tokens"),
        Permission("templates.view", "View templates"),
        Permission("templates.edit", "Edit templates", root=True, developer=True),
    ]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    from plugins.platform_api import feeds, hub_load

    nursery.start_soon(hub.service(feeds.Feeds).run)
    nursery.start_soon(hub.service(hub_load.HubLoad).run)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route | SocketRoute]:
    from plugins.platform_api import (
        clock_routes,
        dashboard_routes,
        device_routes,
        device_v2_routes,
        event_routes,
        metadata_routes,
        panel_routes,
        status_routes,
        stream,
        template_part_routes,
        template_routes,
    )

    modules = (
        device_routes,
        device_v2_routes,
        metadata_routes,
        event_routes,
        template_part_routes,
        template_routes,
        dashboard_routes,
        clock_routes,
        status_routes,
        panel_routes,
        stream,
    )
    return [route for module in modules for route in module.routes(hub)]


@hookimpl
def hub_panels() -> Sequence[Panel]:
    from hub import Panel, PanelColumn

    columns = (
        PanelColumn("at", "Time", "time"),
        PanelColumn("address", "Address"),
        PanelColumn("reason", "Reason"),
        PanelColumn("device", "Device", "device"),
    )
    return [Panel("refusals", "Refused connections", "TABLE", "/api/v1/refusals", columns)]
