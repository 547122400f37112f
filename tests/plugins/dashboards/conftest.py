"""Dashboards on a hub whose clock stands until it is moved."""

from __future__ import annotations

import pytest
from support.api import api_client
from support.dashboards import boards as add_boards

from hub.run import running


@pytest.fixture
async def hub(hub_config, time):
    """A hub whose clock is `time`."""
    async with running(hub_config, clock=time.clock()) as hub:
        yield hub


@pytest.fixture
async def boards(hub):
    """The dashboards of `support.dashboards`, with requests as Ada, the Admin of acme."""
    created = await add_boards(hub)
    async with api_client(created.world) as ask:
        created.ask = ask
        yield created
