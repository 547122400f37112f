"""A data directory, and hubs with plugins of a third party, written by the tests into it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from textwrap import dedent

import pytest

from hub.config import parse
from hub.run import running


@pytest.fixture
def data(tmp_path):
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def data_dir(tmp_path):
    """A data directory with an empty folder for plugins."""
    (tmp_path / "data" / "plugins").mkdir(parents=True)
    return tmp_path / "data"


@pytest.fixture
def write_plugin(data_dir):
    """Write the file of a plugin: ``write_plugin(name, source)``."""

    def write_plugin(name, source, head="from hub.hookspecs import hookimpl\nPINWHEEL_HOOKS = 1\n"):
        (data_dir / "plugins" / f"{name}.py").write_text(head + dedent(source))

    return write_plugin


@pytest.fixture
def start_hub(data_dir, hub_timeouts):
    """Start a hub without listeners on the data directory: ``async with start_hub(toml) as hub``."""

    @asynccontextmanager
    async def start_hub(toml="", **options):
        async with running(
            parse(toml).with_data(str(data_dir)), timeouts=hub_timeouts, **({"listen": False} | options)
        ) as hub:
            yield hub

    return start_hub
