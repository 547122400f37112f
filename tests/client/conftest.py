"""Hubs that the tests of a module share; each test adds devices of its own."""

from __future__ import annotations

import pytest
from support.asyncio_loop import AsyncioLoop
from support.command import CommandLine
from support.relay import open_relay


@pytest.fixture(scope="module", params=["running", "stopped"])
def any_hub(request, tmp_path_factory):
    """The command with an imported template and a running or stopped hub."""
    pinwheel = CommandLine(tmp_path_factory.mktemp(request.param))
    if request.param == "stopped":
        assert 0 == pinwheel.import_template().code
        yield pinwheel
        return
    with pinwheel.running():
        assert 0 == pinwheel.import_template().code
        yield pinwheel


@pytest.fixture(scope="module")
def running_hub(tmp_path_factory):
    """The command with an imported template and a running hub."""
    pinwheel = CommandLine(tmp_path_factory.mktemp("running"))
    with pinwheel.running():
        assert 0 == pinwheel.import_template().code
        yield pinwheel


@pytest.fixture
async def loop():
    """An asyncio loop in a thread, for the asyncio client."""
    loop = AsyncioLoop()
    yield loop
    await loop.aclose()


@pytest.fixture
async def relay(hub):
    """A relay to the hub."""
    async with open_relay() as relay:
        relay.lead_to(hub)
        yield relay
