"""A hub that is started several times on the same data."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from hub.config import parse
from hub.run import running


@pytest.fixture
def start(tmp_path, time, hub_timeouts):
    """Starts a hub on the same data each time."""

    @asynccontextmanager
    async def start(toml=""):
        config = parse(toml).with_data(str(tmp_path / "data"))
        async with running(config, listen=False, clock=time.clock(), timeouts=hub_timeouts) as hub:
            yield hub

    return start
