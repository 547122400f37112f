"""Devices that differ in every attribute of the device search, and filters of the search."""

from __future__ import annotations

from support.api import api_client

from hub.model import SYSTEM
from hub.writes import Write

LAMP, HEATER, PUMP = "Lamp", "Heater 100%", "Pump"


def where(attribute, operator="equals", *values, name=""):
    """Return a filter of the device search."""
    return {"attribute": attribute, "operator": operator, "values": list(values)} | ({"name": name} if name else {})


async def add_fleet(world):
    """Add a lamp and a heater in acme and a pump in works; return them by name."""
    hub = world.hub
    acme, works = world.orgs["acme"], world.orgs["works"]
    lamp = await world.device(acme, name=LAMP, owner=world.users["uma"].id)
    heater = await world.device(acme, name=HEATER)
    pump = await world.device(works, name=PUMP)
    await hub.metadata.set(lamp, "Room", "Kitchen", SYSTEM)
    await hub.metadata.set(heater, "Room", "Bath_room", SYSTEM)
    for device, value, later in ((lamp, 21.5, 0), (heater, 60, 5)):
        hub.write(Write(device, 0, value, "test", SYSTEM, hub.clock.now() + later))
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "Warm"})
        for device in (lamp, heater):
            await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
        location = await ask("POST", "organization/location/create", {"name": "Depot"})
        await ask("POST", "organization/device/location", {"deviceId": pump.id, "locationId": location["id"]})
    return {LAMP: lamp, HEATER: heater, PUMP: pump}
