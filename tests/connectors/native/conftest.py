"""Hubs for tests of the native protocol: with more configuration, or a wall clock that stands."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from hub.clock import Clock
from hub.config import parse
from hub.run import running
from hub.testing import LOOPBACK


@pytest.fixture
def hub_toml():
    return LOOPBACK + '[hub]\ntimezone = "Europe/Kyiv"\n'


@pytest.fixture
def start(tmp_path, hub_toml, hub_timeouts):
    """Start a hub with more configuration, or another clock; it keeps its data between two starts."""

    @asynccontextmanager
    async def started(toml="", clock=None):
        clock = clock or Clock(monotonic=trio.current_time)
        config = parse(hub_toml + toml).with_data(str(tmp_path / "data"))
        async with running(config, clock=clock, timeouts=hub_timeouts) as hub:
            yield hub

    return started


@pytest.fixture
async def hub_at_noon(start, time):
    """A hub whose wall clock stands at noon until the test moves ``time.wall``."""
    async with start(clock=time.clock()) as hub:
        yield hub
