"""``pinwheel run --demo``: a template and three simulated devices, inside the hub's process."""

from __future__ import annotations

import logging
from importlib import resources
from typing import TYPE_CHECKING, Any

import attrs

from connectors.simulator.devices import SimulatedDevice, Stream
from hub.domain.devices import NewDevice
from hub.hookspecs import hookimpl
from hub.model import SYSTEM

if TYPE_CHECKING:
    import trio

    from hub.app import Hub

log = logging.getLogger(__name__)

DEMO = "Demo weather 1", "Demo weather 2", "Demo weather 3"


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.simulator]``: ``demo`` adds the demonstration at every start."""

    demo: bool = False


@hookimpl
def hub_config() -> type:
    return Settings


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    settings: Any = hub.settings(Settings)
    if not settings.demo or hub.listener is None:
        return
    plain = [address for address, tls in hub.listener.addresses if not tls]
    if not plain:
        log.warning("the demonstration needs a listener without TLS")
        return
    host, _, port = plain[0].rpartition(":")
    local = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
    text = (resources.files("config") / "templates" / "weather-station.toml").read_text("utf-8")
    template, _ = await hub.templates.save(text, SYSTEM, source="weather-station.toml")
    streams = [
        Stream(pin=d.pin, name=d.name, type=d.type, min=d.min, max=d.max, values=list(d.values))
        for d in template.datastreams
    ]
    for name in DEMO:
        known = [device for device in hub.devices.find_by_name(name) if device.template.id == template.id]
        if known:
            token = await hub.tokens.rotate(known[0], SYSTEM)
        else:
            [(_, token)] = await hub.devices.add([NewDevice(name=name, template=template)], SYSTEM)
        device = SimulatedDevice(host=local, port=int(port), token=token, template=template.id, streams=streams)
        nursery.start_soon(device.run)
