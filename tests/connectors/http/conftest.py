"""Fixtures of the HTTP connector: a hub with example routes, a connection to it, and a device with its HTTPS API."""

from __future__ import annotations

import pytest
from support.device_https_api import THERMOSTAT, DeviceHttpsApi
from support.http_routes import ExampleRoutes
from support.raw_http import connected

from hub.testing import add_device


@pytest.fixture
def example_routes():
    return ExampleRoutes()


@pytest.fixture
def hub_plugins(example_routes):
    return (example_routes,)


@pytest.fixture
async def http(hub):
    async with connected(hub) as http:
        yield http


@pytest.fixture
async def device(hub):
    """A thermostat and its token."""
    return await add_device(hub, THERMOSTAT, "Hall")


@pytest.fixture
async def api(hub, device):
    async with connected(hub) as http:
        yield DeviceHttpsApi(http, device[1])
