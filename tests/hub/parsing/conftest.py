"""A stopped hub for commands, and a hub at the time of the table of spellings."""

from __future__ import annotations

import json

import pytest
from support.command import CommandLine
from support.spellings import SPELLING_TEMPLATE

from hub.run import running


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    """The commands on a data directory with the template; the hub is stopped, so they work on the files."""
    cli = CommandLine(tmp_path_factory.mktemp("hub"))
    (cli.folder / "t.toml").write_text(SPELLING_TEMPLATE)
    assert 0 == cli("template", "import", "t.toml").code
    return cli


@pytest.fixture
def device_id(cli):
    """The id of a new device, added for each test."""
    done = cli("device", "add", "--template", "TMPL0spell", "--name", "Case")
    return json.loads(done.out)["id"]


@pytest.fixture
async def hub_at_noon(hub_config, time):
    """A hub whose clock is an hour after the timestamps of the table."""
    async with running(hub_config, clock=time.clock()) as hub:
        yield hub
