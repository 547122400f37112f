"""The plugin behind ``pinwheel run --demo``: a template and three simulated devices, inside the hub's process."""

from __future__ import annotations

import logging
from importlib import resources
from typing import TYPE_CHECKING, Any

import attrs

from connectors.simulator.devices import SimulatedDatastream, SimulatedDevice
from hub import SYSTEM, hookimpl
from hub.domain import NewDevice

if TYPE_CHECKING:
    import trio

    from hub import Hub

log = logging.getLogger(__name__)

DEVICE_NAMES = "Demo weather 1", "Demo weather 2", "Demo weather 3"


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.simulator]``: with ``demo`` every start runs the demonstration."""

    demo: bool = False


@hookimpl
def hub_config() -> type:
    return Settings


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    settings: Any = hub.settings(Settings)
    if not settings.demo or hub.listener is None:
        return
    addresses = [address for address, tls in hub.listener.addresses if not tls]
    if not addresses:
        log.warning("the demonstration does not run: it needs a listener without TLS")
        return
    host, _, port = addresses[0].rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
    text = (resources.files("config") / "templates" / "weather-station.toml").read_text("utf-8")
    template, _ = await hub.templates.save(text, SYSTEM, source="weather-station.toml")
    datastreams = [
        SimulatedDatastream(pin=d.pin, name=d.name, type=d.type, min=d.min, max=d.max, values=list(d.values))
        for d in template.datastreams
    ]
    for name in DEVICE_NAMES:
        devices = [device for device in hub.devices.find_by_name(name) if device.template.id == template.id]
        if devices:
            token = await hub.tokens.rotate(devices[0], SYSTEM)
        else:
            [(_, token)] = await hub.devices.add([NewDevice(name=name, template=template)], SYSTEM)
        simulated = SimulatedDevice(
            host=loopback, port=int(port), token=token, template=template.id, datastreams=datastreams
        )
        nursery.start_soon(simulated.run)
