"""Fixtures for plugin authors, which pytest loads when Pinwheel is installed; the hub's own tests use them too.

Override `hub_toml` (configuration) and `hub_plugins` (modules to load) in a test module. `hub` is a running hub on a
free port of the loopback interface, with its data in a temporary directory. Its deadlines are counted by trio's clock,
so that a test with a `trio.testing.MockClock` can put them forward; ``@pytest.mark.timeouts(…)`` on a test, with
objects such as `NativeTimeouts(login=0.05)`, changes them.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_trio
import trio

from hub.app import Hub
from hub.bus import Bus
from hub.clock import Clock
from hub.config import Config, parse
from hub.domain.devices import NewDevice
from hub.hooks import Hooks, HookTimeouts
from hub.model import SYSTEM, Device
from hub.run import running
from hub.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path

#: One plain listener on a free port.
LOOPBACK = """
[[listen]]
address = "127.0.0.1:0"
"""


@pytest.fixture
def hub_toml() -> str:
    """Return the hub's configuration."""
    return LOOPBACK


@pytest.fixture
def hub_plugins() -> tuple[Any, ...]:
    """Return modules to load as plugins."""
    return ()


@pytest.fixture
def hub_config(tmp_path: Path, hub_toml: str) -> Config:
    """Return a configuration whose data directory has empty, migrated databases."""
    config = parse(hub_toml).with_data(str(tmp_path / "data"))
    config.data.mkdir()
    for name, content in _blank().items():
        (config.data / name).write_bytes(content)
    return config


@functools.cache
def _blank() -> dict[str, bytes]:
    """Return empty, migrated databases; made once, since that takes longer than many tests."""

    async def make() -> None:
        hooks = Hooks(Bus(), Clock(), HookTimeouts())
        hooks.discover(config, safe=True)
        async with open_storage(config.data, hooks.migrations()):
            pass

    with tempfile.TemporaryDirectory() as folder:
        config = parse(LOOPBACK).with_data(folder)
        trio.run(make)
        return {name: (config.data / name).read_bytes() for name in ("pinwheel.db", "history.db")}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "timeouts(*timeouts): deadlines of the hub that are not the defaults")


@pytest.fixture
def hub_timeouts(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    """Return the arguments of the test's marker."""
    marker = request.node.get_closest_marker("timeouts")
    return () if marker is None else marker.args


@pytest_trio.trio_fixture  # type: ignore[untyped-decorator]
async def hub(hub_config: Config, hub_plugins: tuple[Any, ...], hub_timeouts: tuple[Any, ...]) -> AsyncIterator[Hub]:
    """Yield a running hub."""
    clock = Clock(monotonic=trio.current_time)
    async with running(hub_config, plugins=hub_plugins, clock=clock, timeouts=hub_timeouts) as started:
        yield started


def address_of(hub: Hub, listener: int = 0) -> tuple[str, int]:
    """Return the address of a running hub's listener."""
    assert hub.listener is not None, "the hub has listeners"
    host, _, port = hub.listener.addresses[listener][0].rpartition(":")
    return host.strip("[]"), int(port)


async def add_device(hub: Hub, template: str, name: str = "Device") -> tuple[Device, str]:
    """Import a template (TOML) and add a device of it; return the device and its token."""
    imported, _ = await hub.templates.save(template, SYSTEM)
    [added] = await hub.devices.add([NewDevice(name=name, template=imported)], SYSTEM)
    return added
