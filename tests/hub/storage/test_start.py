"""Files that prevent the start of a hub, and data of plugins that are not installed."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from support.storage import NOTES, insert, started, stored, texts

from hub.errors import MigrationError, StartupError


@pytest.mark.parametrize("file", ["pinwheel.db", "history.db"])
async def test_error_names_a_file_that_cannot_be_opened(data, file):
    (data / file).mkdir(parents=True)
    with pytest.raises(StartupError, match=file):
        async with started(data):
            pass


@pytest.mark.parametrize("file", ["pinwheel.db", "history.db"])
async def test_data_of_a_newer_version_is_rejected(data, file):
    async with stored(data):
        pass
    with closing(sqlite3.connect(data / file)) as other, other:
        other.execute("INSERT INTO migrations VALUES ('core', 99, 0)")

    with pytest.raises(MigrationError, match=rf"{file}.*newer version"):
        async with stored(data):
            pass


async def test_data_of_a_plugin_that_is_not_installed_is_preserved(data):
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("earlier"))
    async with stored(data):
        pass
    async with stored(data, NOTES) as storage:
        assert ["earlier"] == await texts(storage)
