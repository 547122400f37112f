"""An asyncio loop beside the hub's, and a relay to the hub, for the console's store; screens for its widgets."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.asyncio_loop import AsyncioLoop
from support.console import Screens
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


@pytest.fixture
def screens(request):
    return Screens(Path(request.path).parent / "screens", request.config.getoption("--update-screens"))
