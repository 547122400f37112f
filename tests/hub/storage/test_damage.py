"""Damaged files: a damaged history is replaced, the error about a damaged configuration names its backup."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from contextlib import closing

import pytest
import trio
from support.alarms import alarm_texts
from support.patience import patient
from support.storage import (
    LATEST_VALUES,
    as_after_a_power_cut,
    execute,
    filled,
    latest_values,
    logged,
    only_device,
    rows_in_file,
    started,
)
from support.times import NOON, until
from support.values import latest_value, write_value

from hub.errors import StartupError, StorageError
from hub.storage import HISTORY_PAGE


def root_page(path, table):
    """The number of the page that a table begins on."""
    with closing(sqlite3.connect(path)) as other:
        [(root,)] = other.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
        return root


def overwrite(path, first, pages=1):
    """Overwrite some pages of a file with garbage (1 is the first)."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(18)[16:], "big")
        file.seek((first - 1) * size)
        file.write(b"\xa5" * size * pages)


def damaged_files(data):
    """The names of the damaged histories that were renamed."""
    return sorted(path.name for path in data.glob("history.db.damaged-*") if not path.name.endswith(("-wal", "-shm")))


@pytest.mark.parametrize("table", ["sqlite_schema", "migrations", "latest", "log", "sealed"])
async def test_history_that_is_damaged_at_the_start_is_renamed_and_the_hub_starts(data, tmp_path, table):
    async with filled(data):
        pass
    page = 1 if table == "sqlite_schema" else root_page(data / "history.db", table)
    overwrite(data / "history.db", page)

    async with started(data) as hub:
        await hub.history.check()
        await until(lambda: damaged_files(data))
        await write_value(hub, only_device(hub), 0, "3").durable()

        assert 3.0 == latest_value(hub, only_device(hub), 0)[1]
        # Values of a log that can still be read are compacted into the new file meanwhile.
        assert 3.0 in logged(data)
        assert "damaged history" in alarm_texts(hub)
        assert 1 == len(damaged_files(data))
        assert damaged_files(data)[0] in alarm_texts(hub)
    async with started(data) as hub:
        assert 3.0 == latest_value(hub, only_device(hub), 0)[1]


async def test_history_with_a_damaged_log_after_a_power_cut_is_renamed_and_the_hub_starts(data, tmp_path):
    async with filled(data) as first:
        await execute(first.storage.history, "SELECT 1")
        copy = as_after_a_power_cut(data, tmp_path / "copy")
    rows_in_file(copy / "history.db", "PRAGMA wal_checkpoint(TRUNCATE)")
    overwrite(copy / "history.db", root_page(copy / "history.db", "log"))

    async with started(copy) as hub:
        await write_value(hub, only_device(hub), 0, "3").durable()

        assert 3.0 == latest_value(hub, only_device(hub), 0)[1]
        assert 1 == len(damaged_files(copy))
        assert "damaged history" in alarm_texts(hub)


async def test_history_that_is_not_a_database_is_renamed_and_the_hub_starts(data):
    async with filled(data):
        pass
    (data / "history.db").write_bytes(b"this is no database" * 1000)

    async with started(data) as hub:
        await write_value(hub, only_device(hub), 0, "3").durable()
        assert [3.0] == logged(data)
        assert "damaged history" in alarm_texts(hub)


def damage_history(data):
    """Overwrite all but the first page of the history and of its write-ahead log with garbage."""
    for name in ("history.db", "history.db-wal"):
        with (data / name).open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(min(size, HISTORY_PAGE))
            file.write(b"\xa5" * max(0, size - HISTORY_PAGE))


async def test_history_that_is_damaged_while_the_hub_runs_is_replaced_without_losing_latest_values(data):
    async with filled(data) as hub:
        damage_history(data)
        await hub.history.check()
        await until(lambda: hub.storage.set_aside)
        await write_value(hub, only_device(hub), 0, "3").durable()

        assert {**LATEST_VALUES, 0: (NOON, 3.0)} == latest_values(hub)
        assert "damaged history" in alarm_texts(hub)
        assert 3.0 in logged(data)
    async with started(data) as hub:
        assert {**LATEST_VALUES, 0: (NOON, 3.0)} == latest_values(hub)


async def test_reads_and_writes_while_a_damaged_history_is_replaced_succeed_or_are_rejected(data):
    async def count(tx):
        return await tx.fetch_one("SELECT count(*) FROM sealed")

    async with filled(data) as hub:
        damage_history(data)

        async def repeat(operation):
            while not damaged_files(data) or not hub.storage.set_aside:
                with contextlib.suppress(StorageError):
                    await operation(count)
                await trio.lowlevel.checkpoint()

        with trio.fail_after(patient(10)):
            async with trio.open_nursery() as nursery:
                for operation in (hub.storage.history.read, hub.storage.history.transaction):
                    nursery.start_soon(repeat, operation)
                await hub.history.check()
        await write_value(hub, only_device(hub), 0, "3").durable()

        assert (1,) == await hub.storage.history.read(count)
        assert 3.0 in logged(data)


async def test_intact_history_is_not_replaced(data):
    async with filled(data) as hub:
        await hub.history.check()
        await write_value(hub, only_device(hub), 0, "3").durable()

        assert [] == damaged_files(data)
        assert [] == hub.active_alarms()


def damage_configuration(data):
    overwrite(data / "pinwheel.db", root_page(data / "pinwheel.db", "devices"))


async def test_damaged_configuration_without_a_backup_prevents_the_start(data):
    async with filled(data):
        pass
    damage_configuration(data)

    with pytest.raises(StartupError, match=r"pinwheel\.db is damaged") as raised:
        async with started(data):
            pass
    [problem] = raised.value.problems
    assert "there is no copy" in problem
    assert "\n" not in problem


@pytest.mark.parametrize("name", ["data", "my data"])
async def test_damaged_configuration_prevents_the_start_and_the_error_has_a_command_that_restores_it(tmp_path, name):
    data = tmp_path / name
    async with filled(data) as hub:
        hub.storage.backups.mkdir()
        await hub.storage.configuration.backup(hub.storage.backups / "pinwheel-before-core-2-20260101-000000.db")
        await hub.storage.configuration.backup(hub.storage.backups / "pinwheel-before-core-3-20260201-000000.db")
        os.utime(hub.storage.backups / "pinwheel-before-core-2-20260101-000000.db", (1, 1))
    damage_configuration(data)

    with pytest.raises(StartupError, match=r"pinwheel\.db is damaged") as raised:
        async with started(data):
            pass
    [problem] = raised.value.problems
    assert "pinwheel-before-core-3-20260201-000000.db" in problem
    subprocess.run(problem.partition("put the newest copy back with: ")[2], shell=True, check=True)

    async with started(data) as hub:
        assert LATEST_VALUES == latest_values(hub)


async def test_configuration_that_is_not_a_database_prevents_the_start(data):
    async with filled(data):
        pass
    (data / "pinwheel.db").write_bytes(b"this is no database" * 1000)

    with pytest.raises(StartupError, match=r"pinwheel\.db is damaged"):
        async with started(data):
            pass
    assert (data / "pinwheel.db").read_bytes().startswith(b"this is no database")
