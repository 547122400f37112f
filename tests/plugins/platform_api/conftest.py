"""A meter, and a subscriber to the live stream."""

from __future__ import annotations

import pytest
from support.meter import METER
from support.stream import open_stream

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
