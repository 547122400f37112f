"""Screens: what the terminals and LCDs of a device display, for those who open its dashboard later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import Migration, Request, Route, hookimpl
from hub.api import VIEW_DEVICES
from hub.storage import shipped_migrations
from plugins.screens.screens import ScreenKind
from plugins.screens.service import Screens

if TYPE_CHECKING:
    import trio

    from hub import Hub


@attrs.frozen(kw_only=True)
class ScreenObject:
    """What a terminal or an LCD displays: its last 100 lines, or two lines with 16 characters each.

    The last line of a terminal is empty unless the device has yet to end it.
    """

    data_stream_id: int
    pin: str
    kind: ScreenKind
    lines: list[str]


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("screens", "plugins.screens")


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    screens = hub.service(Screens)
    await screens.load()
    nursery.start_soon(screens.run)


class ScreenRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._screens = hub.service(Screens)

    async def screens(self, request: Request, device_id: int) -> list[ScreenObject]:
        device = self._hub.access.device_for(request, device_id)
        pins = {datastream.id: f"v{datastream.pin}" for datastream in device.template.datastreams}
        return [
            ScreenObject(data_stream_id=datastream, pin=pins[datastream], kind=s.kind, lines=s.content.split("\n"))
            for datastream, s in self._screens.of_device(device).items()
        ]


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    api = ScreenRoutes(hub)
    return [
        Route("GET", "/api/v1/device/screens", api.screens, VIEW_DEVICES, "What a device's terminals and LCDs display")
    ]
