"""An asyncio loop beside the hub's, and a relay to the hub, for the console's store."""

from __future__ import annotations

import pytest
from support.asyncio_loop import AsyncioLoop
from support.relay import open_relay


@pytest.fixture
async def loop():
    """An asyncio loop in a thread."""
    loop = AsyncioLoop()
    yield loop
    await loop.aclose()


@pytest.fixture
async def relay(hub):
    """A relay to the hub."""
    async with open_relay() as relay:
        relay.lead_to(hub)
        yield relay
