"""Fixtures of the HTTP server: a hub with example routes, and a connection to it."""

from __future__ import annotations

import pytest
from support.http_routes import ExampleRoutes
from support.raw_http import connected


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
