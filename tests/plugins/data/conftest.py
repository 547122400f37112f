"""A meter on a hub whose clock stands until it is moved."""

from __future__ import annotations

import pytest
from support.device_api import METER, DeviceApi
from support.raw_http import connected
from support.times import MINUTE, NOON

from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device
from hub.writes import Write


@pytest.fixture
async def hub(hub_config, time):
    """A hub whose clock is `time`."""
    async with running(hub_config, clock=time.clock()) as hub:
        yield hub


@pytest.fixture
async def meter(hub):
    """A meter and its token."""
    return await add_device(hub, METER, "Meter")


@pytest.fixture
async def api(hub, meter):
    """Requests about the meter."""
    async with connected(hub) as http:
        yield DeviceApi(hub, http, *meter)


@pytest.fixture
def timestamps(hub, time, meter):
    """Write 100 values, ten minutes apart, and return their timestamps."""
    device, _ = meter
    for n in range(100):
        time.pass_(10 * MINUTE)
        hub.write(Write(device, 0, n, "test", SYSTEM))
    return [NOON + (n + 1) * 10 * MINUTE for n in range(100)]
