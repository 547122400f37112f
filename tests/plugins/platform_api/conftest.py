"""Devices, requests with the local key, and a subscriber to the live stream."""

from __future__ import annotations

import pytest
from support.api import LocalApi
from support.api_templates import LAMP, METER, THERMOSTAT
from support.raw_http import connected, local_key
from support.stream import open_stream

from hub.domain.devices import NewDevice
from hub.model import SYSTEM
from hub.testing import add_device
from hub.writes import Write


@pytest.fixture
async def subscriber(hub):
    """A client of the live stream, with the hub's local key."""
    async with open_stream(hub) as client:
        yield client


@pytest.fixture
async def meter(hub):
    """A device and its token."""
    return await add_device(hub, METER, "Meter")


@pytest.fixture
def device(meter):
    """The meter's device."""
    return meter[0]


@pytest.fixture
def write(hub):
    """A function that writes values to a pin of a device, without letting other tasks run in between."""

    def write(device, pin, *values, at=None):
        for value in values:
            hub.write(Write(device, pin, value, "test", SYSTEM, at))

    return write


@pytest.fixture
async def api(hub):
    """Requests to the hub with its local key."""
    async with connected(hub) as http:
        yield LocalApi(http, local_key(hub))


@pytest.fixture
async def lamp(hub):
    """A lamp and its token."""
    return await add_device(hub, LAMP, "Hall")


@pytest.fixture
async def thermostat(hub, world):
    """A thermostat in acme, with a temperature."""
    template, _ = await hub.templates.save(THERMOSTAT, SYSTEM)
    acme = world.orgs["acme"]
    await hub.organizations.change(acme, SYSTEM, templates=frozenset({template.id, "TMPL0thermo"}))
    [(device, _)] = await hub.devices.add([NewDevice(name="Hall", template=template, org=acme)], SYSTEM)
    await hub.write(Write(device, 1, 24.3, "test", SYSTEM)).durable()
    return device
