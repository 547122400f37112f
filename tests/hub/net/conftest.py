"""Fixtures of the network: a hub that a test configures, its certificate, and servers that outbound requests reach."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from support.certificates import AdvancingClock, UserCertificate

from hub.config import parse
from hub.run import running


@pytest.fixture
def start(tmp_path, hub_timeouts):
    """Starts a hub with some configuration; its data is in ``<tmp_path>/data``."""

    @asynccontextmanager
    async def started(toml, clock=None):
        config = parse(toml).with_data(str(tmp_path / "data"))
        async with running(config, clock=clock, timeouts=hub_timeouts) as hub:
            yield hub

    return started


@pytest.fixture
def certificate(tmp_path):
    """A user's certificate, signed by a CA of its own."""
    return UserCertificate(tmp_path / "certificate").issue()


@pytest.fixture
def advancing():
    """A clock that days are added to."""
    return AdvancingClock()
