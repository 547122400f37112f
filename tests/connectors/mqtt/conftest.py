"""A hub with an MQTT device, and both versions of the protocol."""

from __future__ import annotations

import pytest
import trio.testing
from support.mqtt_devices import TEMPLATE
from support.raw_mqtt import V5, V311

from hub.testing import LOOPBACK, add_device


@pytest.fixture
def hub_toml():
    return LOOPBACK + '[hub]\ntimezone = "Europe/Kyiv"\n'


@pytest.fixture
async def device_and_token(hub):
    return await add_device(hub, TEMPLATE)


@pytest.fixture
def device(device_and_token):
    return device_and_token[0]


@pytest.fixture
def token(device_and_token):
    return device_and_token[1]


@pytest.fixture
def clock():
    """Trio's clock, which runs and can also jump."""
    return trio.testing.MockClock(rate=1.0)


@pytest.fixture(params=[V311, V5], ids=["3.1.1", "5"])
def version(request):
    return request.param
