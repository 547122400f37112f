from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from support.patience import patient

import hub.app
import hub.history.commit_log
import hub.storage
from bench.hub_process import all_values
from hub.clock import Clock
from hub.config import parse
from hub.datadir import write_whole
from hub.domain.devices import NewDevice
from hub.errors import Conflict, MigrationError, StartupError, StorageError, Unavailable
from hub.facts import StorageTrouble
from hub.history.commit_log import BATCH_ROWS, MAX_QUEUED
from hub.model import SYSTEM
from hub.run import RunTimeouts, running
from hub.storage import HISTORY_PAGE, Migration, among, open_storage
from hub.writes import Write

METER = """
[template]
id = "TMPL0meter"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Power"
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
[[datastream]]
pin = "V2"
name = "Place"
type = "location"
"""
#: 2026-11-23T12:00:00Z in milliseconds.
NOON = 1_795_435_200_000


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What takes seconds in a house takes milliseconds here."""
    monkeypatch.setattr(hub.history.commit_log, "DURABLE_TIMEOUT", patient(0.3))
    monkeypatch.setattr(hub.history.commit_log, "RETRY_AFTER", 0.02)
    monkeypatch.setattr(hub.storage.sqlite, "BUSY_TIMEOUT_MS", 50)


@asynccontextmanager
async def started(data, toml="", **more):
    """A hub without listeners, as it comes after the start."""
    async with running(parse(toml).with_data(str(data)), listen=False, **more) as hub:
        yield hub


@asynccontextmanager
async def stored(data, migrations=None, durability="full"):
    """The files alone."""
    async with open_storage(data, migrations or {}, durability) as storage:
        yield storage


async def until(condition, seconds=10):
    with trio.fail_after(patient(seconds)):
        while not condition():
            await trio.sleep(0.005)


async def meter(hub, name="Meter"):
    template, _ = await hub.templates.save(METER, SYSTEM)
    [(device, _)] = await hub.devices.add([NewDevice(name=name, template=template)], SYSTEM)
    return device


def known(hub):
    """The one device that there is."""
    [device] = hub.devices.by_id.values()
    return device


def write(hub, device, pin, raw, at=None):
    return hub.write(Write(device, pin, raw, "test", SYSTEM, at))


def latest(hub, device, pin):
    return hub.writes.latest(device, device.points[pin].datastream)


def seen(path, sql, *values):
    """What another program finds in a file."""
    with closing(sqlite3.connect(path)) as other:
        return other.execute(sql, values).fetchall()


def logged(data):
    """Every value in the history, as another program sees it."""
    return [value for _, value in all_values(data)]


def as_after_a_power_cut(data, target):
    """The files as they are on disk at this moment, without a clean stop."""
    target.mkdir()
    for path in data.iterdir():
        if path.name.startswith(("history.db", "pinwheel.db")) and not path.name.endswith("-shm"):
            shutil.copy(path, target / path.name)
    return target


async def execute(database, *statements):
    async def fn(tx):
        return [await tx.fetch_all(statement) for statement in statements][-1]

    return await database.transaction(fn)


def words(hub):
    return " / ".join(problem.text for problem in hub.active_alarms())


# -- transactions -----------------------------------------------------------------------------------------------------

NOTES = {"notes": [Migration(1, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);")]}


@pytest.fixture
async def notes(data):
    async with stored(data, NOTES) as storage:
        yield storage


def insert(text):
    async def fn(tx):
        return await tx.insert("notes", text=text)

    return fn


async def texts(storage):
    async def fn(tx):
        return [text for (text,) in await tx.fetch_all("SELECT text FROM notes ORDER BY id")]

    return await storage.read(fn)


async def test_a_transaction_returns_what_its_function_returns(notes):
    assert 1 == await notes.transaction(insert("first"))
    assert 2 == await notes.transaction(insert("second"))
    assert ["first", "second"] == await texts(notes)


async def test_a_transaction_that_raises_changes_nothing(notes):
    async def fn(tx):
        await tx.execute("INSERT INTO notes (text) VALUES ('half')")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await notes.transaction(fn)
    await notes.transaction(insert("whole"))

    assert ["whole"] == await texts(notes)


async def test_a_constraint_that_fails_is_a_conflict_and_changes_nothing(notes):
    async def fn(tx):
        await tx.execute("INSERT INTO notes (text) VALUES ('new')")
        await tx.execute("INSERT INTO notes (text) VALUES ('taken')")

    await notes.transaction(insert("taken"))
    with pytest.raises(Conflict):
        await notes.transaction(fn)

    assert ["taken"] == await texts(notes)


async def test_a_conflict_can_be_caught_inside_a_transaction(notes):
    async def fn(tx):
        try:
            await tx.execute("INSERT INTO notes (text) VALUES ('taken')")
        except Conflict:
            await tx.execute("INSERT INTO notes (text) VALUES ('other')")

    await notes.transaction(insert("taken"))
    await notes.transaction(fn)

    assert ["taken", "other"] == await texts(notes)


async def test_a_caller_that_is_cancelled_while_it_waits_still_gets_its_commit(notes):
    token = trio.lowlevel.current_trio_token()
    with trio.CancelScope() as scope:

        async def fn(tx):
            token.run_sync_soon(scope.cancel)
            for number in range(50):
                await tx.execute("INSERT INTO notes (text) VALUES (?)", (str(number),))

        await notes.transaction(fn)

    assert 50 == len(await texts(notes))


async def test_a_loop_of_transactions_can_be_cancelled(notes):
    with trio.CancelScope() as scope:
        for number in range(10):
            await notes.transaction(insert(str(number)))
            scope.cancel()

    assert scope.cancelled_caught
    assert "0" in await texts(notes)


async def test_awaiting_trio_inside_a_transaction_raises_and_changes_nothing(notes):
    async def fn(tx):
        await tx.execute("INSERT INTO notes (text) VALUES ('half')")
        await trio.sleep(0)

    with pytest.raises(RuntimeError):
        await notes.transaction(fn)
    assert [] == await texts(notes)


async def test_transactions_at_once_come_one_after_the_other(notes):
    async def fn(tx):
        [(count,)] = await tx.fetch_all("SELECT count(*) FROM notes")
        await tx.execute("INSERT INTO notes (text) VALUES (?)", (str(count),))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(notes.transaction, fn)

    assert [str(n) for n in range(20)] == await texts(notes)


async def test_many_rows_are_inserted_whatever_their_number(notes):
    async def fn(tx):
        await tx.insert_many("notes", ("text",), [(f"note {n}",) for n in range(1234)])

    await notes.transaction(fn)

    assert [f"note {n}" for n in range(1234)] == await texts(notes)


async def test_a_reader_cannot_write(notes):
    with pytest.raises(StorageError):
        await notes.read(insert("no"))


async def test_a_foreign_key_is_kept(data):
    async with stored(data) as storage:

        async def fn(tx):
            await tx.execute("INSERT INTO series (device, datastream) VALUES (99, 1)")

        with pytest.raises(Conflict):
            await storage.transaction(fn)


@pytest.mark.parametrize(("durability", "expected"), [("full", 2), ("normal", 1)])
async def test_both_files_are_synced_as_configured(data, durability, expected):
    async with started(data, f'[storage]\ndurability = "{durability}"') as hub:
        for database in (hub.storage.configuration, hub.storage.history):
            assert [(expected,)] == await execute(database, "PRAGMA synchronous")
            assert [("wal",)] == await execute(database, "PRAGMA journal_mode")


# -- acknowledgements -------------------------------------------------------------------------------------------------


async def test_durable_means_that_another_program_sees_the_value(data):
    async with started(data) as hub:
        device = await meter(hub)
        write(hub, device, 0, "1")
        await write(hub, device, 0, "2").durable()

        assert [1.0, 2.0] == logged(data)


async def test_durable_returns_at_once_for_what_has_been_committed(data):
    async with started(data) as hub:
        device = await meter(hub)
        first, last = write(hub, device, 0, "1"), write(hub, device, 0, "2")
        await last.durable()
        await first.durable()

        assert [1.0, 2.0] == logged(data)


async def test_many_who_wait_share_commits(data):
    async with started(data) as hub:
        device = await meter(hub)

        async def client(number):
            for _ in range(5):
                await write(hub, device, 0, str(number)).durable()

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(client, number)

        assert 250 == len(logged(data))
        assert 250 == hub.history.stored


async def test_values_that_nobody_waits_for_are_written_after_the_flush_time(data):
    async with started(data, '[storage]\nflush = "10ms"') as hub:
        device = await meter(hub)
        write(hub, device, 0, "1")

        await until(lambda: logged(data) == [1.0])


async def test_a_clean_stop_writes_what_was_put(data):
    async with started(data, '[storage]\nflush = "60s"') as hub:
        device = await meter(hub)
        for number in range(BATCH_ROWS + 10):
            write(hub, device, 0, number)

    assert [float(n) for n in range(BATCH_ROWS + 10)] == logged(data)


@pytest.mark.parametrize("bad", [{"value": "\ud800"}, {"value": float("nan")}], ids=["text", "null"])
async def test_a_row_that_cannot_be_stored_drops_only_itself(data, bad):
    async with started(data) as hub:
        device = await meter(hub)
        row = {"series": device.points[1].series, "ts": NOON, "value": "bad", "latest": False} | bad
        before = write(hub, device, 0, "1")
        poison = hub.history.put(**row)
        after = write(hub, device, 0, "2")

        await after.durable()
        await before.durable()
        with pytest.raises(Unavailable):
            await poison.durable()
        await write(hub, device, 0, "3").durable()

        assert [1.0, 2.0, 3.0] == logged(data)
        assert 3 == hub.history.stored
        hub.history.close_segment()
        await until(lambda: not hub.history.is_busy)
        with pytest.raises(OverflowError):
            hub.history.put(device.points[1].series, 2**70, "bad", latest=False)
        await write(hub, device, 0, "4").durable()


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch):
    """The paths whose contents or names were synced, and the names that were given, in order."""
    told = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(fd):
        told.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")
        fsync(fd)

    def noted_replace(path, target):
        told.append(f"name {Path(target).name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    return told


def test_a_small_file_is_on_the_disk_with_its_name(tmp_path, synced):
    write_whole(tmp_path / "small", b"content")
    assert ["sync small.partial", "name small", f"sync {tmp_path.name}"] == synced


async def test_a_copy_of_a_database_is_on_the_disk_with_its_name(data, synced):
    async with stored(data) as storage:
        await storage.configuration.backup(data / "copy.db")
    assert ["sync copy.db.partial", "name copy.db", f"sync {data.name}"] == synced[-3:]


def test_nothing_is_left_of_a_small_file_that_does_not_fit(tmp_path, monkeypatch):
    def refuse(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "small", b"content")
    assert [] == list(tmp_path.iterdir())


# -- a disk that refuses ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def full_disk(hub):
    """The history file cannot grow for the length of the block."""
    [(pages,)] = await execute(hub.storage.history, "PRAGMA page_count")
    await execute(hub.storage.history, f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        await execute(hub.storage.history, "PRAGMA max_page_count = 1000000")


async def refused(receipt):
    with pytest.raises(Unavailable):
        await receipt.durable()
    return True


async def test_a_full_disk_stops_acknowledgements_says_so_and_recovers_without_a_loss(data):
    told = []
    async with started(data) as hub:
        device = await meter(hub)
        hub.subscribe(StorageTrouble, lambda fact: told.append(fact.problem))
        await write(hub, device, 1, "before").durable()
        async with full_disk(hub):
            for number in range(50):
                receipt = write(hub, device, 1, f"{number:03} " + "x" * 1000)
            assert await refused(receipt)
            assert await refused(write(hub, device, 1, "during"))

            assert "full" in words(hub)
            assert [True] == [problem.critical for problem in hub.active_alarms()]
            assert ["before"] == logged(data)
            assert "during" == latest(hub, device, 1)[1]
        await until(lambda: not hub.active_alarms())
        await write(hub, device, 1, "after").durable()

        assert ["before", *(f"{n:03}" for n in range(50)), "during", "after"] == [
            v.partition(" ")[0] for v in logged(data)
        ]
        assert ["full" in told[0], None] == [True, told[-1]]


async def test_what_waits_for_a_full_disk_is_bounded(data):
    async with started(data) as hub:
        device = await meter(hub)
        async with full_disk(hub):
            assert await refused(fill(hub, device))
            accepted = 0
            with pytest.raises(Unavailable):
                while True:
                    write(hub, device, 0, "1")
                    accepted += 1

            assert accepted <= BATCH_ROWS * (MAX_QUEUED + 1)
            assert hub.history.full
        with trio.fail_after(patient(10)):
            await hub.history.wait_for_space()
        assert await write(hub, device, 0, "2").settled()

        assert accepted + 1 == logged(data).count(1.0) + logged(data).count(2.0)


def fill(hub, device):
    for _ in range(50):
        receipt = write(hub, device, 1, "x" * 1000)
    return receipt


async def test_a_disk_that_is_full_until_the_stop_does_not_hang_the_stop(data, caplog):
    with trio.fail_after(patient(10)):
        async with started(data) as hub:
            device = await meter(hub)
            [(pages,)] = await execute(hub.storage.history, "PRAGMA page_count")
            await execute(hub.storage.history, f"PRAGMA max_page_count = {pages}")
            assert await refused(fill(hub, device))

    assert "could not be written before the stop" in caplog.text


async def test_a_file_that_another_program_has_locked_stops_acknowledgements_until_it_is_free(data):
    async with started(data) as hub:
        device = await meter(hub)
        with closing(sqlite3.connect(data / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await refused(write(hub, device, 0, "1"))
            assert "locked" in words(hub)
            other.execute("ROLLBACK")
        await until(lambda: not hub.active_alarms())
        await write(hub, device, 0, "2").durable()

        assert [1.0, 2.0] == logged(data)


async def test_a_locked_configuration_refuses_changes_and_keeps_working(data):
    async with started(data) as hub:
        device = await meter(hub)
        with closing(sqlite3.connect(data / "pinwheel.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError):
                await hub.devices.rename(device, "New", SYSTEM)
            assert "Meter" == device.name
            other.execute("ROLLBACK")
        await hub.devices.rename(device, "New", SYSTEM)

        assert [("New",)] == seen(data / "pinwheel.db", "SELECT name FROM devices")


@pytest.mark.parametrize("file", ["pinwheel.db", "history.db"])
async def test_a_file_that_is_locked_at_the_start_is_named(data, file):
    async with stored(data):
        pass
    with closing(sqlite3.connect(data / file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StartupError, match=rf"{file}.*locked"):
            async with stored(data):
                pass


# -- refusing to start ------------------------------------------------------------------------------------------------


async def test_a_second_hub_on_the_same_data_is_refused_and_named_the_first(data):
    async with started(data) as hub:
        with pytest.raises(StartupError, match=rf"process {os.getpid()}\b"):
            async with started(data):
                pass
        device = await meter(hub)
        await write(hub, device, 0, "1").durable()


async def test_the_data_directory_is_free_again_after_a_stop(data):
    for _ in range(2):
        async with stored(data):
            assert hub.datadir.is_running(data)
        assert not hub.datadir.is_running(data)


def test_who_only_looks_whether_a_hub_runs_keeps_none_from_starting(tmp_path):
    data = tmp_path / "data"
    with hub.datadir.locked(data):
        pass
    look = "import sys, pathlib, hub.datadir\nwhile True: hub.datadir.is_running(pathlib.Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", look, str(data)]) as process:
        try:
            for _ in range(200):
                with hub.datadir.locked(data):
                    assert hub.datadir.is_running(data)
        finally:
            process.kill()
    assert not hub.datadir.is_running(data)


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="file/data"):
        async with started(tmp_path / "file" / "data"):
            pass


@pytest.mark.parametrize("file", ["pinwheel.db", "history.db"])
async def test_a_file_that_cannot_be_opened_is_named(data, file):
    (data / file).mkdir(parents=True)
    with pytest.raises(StartupError, match=file):
        async with started(data):
            pass


@pytest.mark.parametrize("file", ["pinwheel.db", "history.db"])
async def test_data_of_a_newer_version_is_refused(data, file):
    async with stored(data):
        pass
    with closing(sqlite3.connect(data / file)) as other, other:
        other.execute("INSERT INTO migrations VALUES ('core', 99, 0)")

    with pytest.raises(MigrationError, match=rf"{file}.*newer version"):
        async with stored(data):
            pass


async def test_data_of_a_plugin_that_is_gone_is_kept(data):
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("kept"))
    async with stored(data):
        pass
    async with stored(data, NOTES) as storage:
        assert ["kept"] == await texts(storage)


# -- migrations -------------------------------------------------------------------------------------------------------

COLOURS = Migration(2, "ALTER TABLE notes ADD COLUMN colour TEXT;\nUPDATE notes SET colour = 'red';")


async def test_a_schema_change_keeps_the_rows(data):
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("old"))
    async with stored(data, {"notes": [COLOURS, *NOTES["notes"]]}) as storage:
        assert [("old", "red")] == await execute(storage, "SELECT text, colour FROM notes")


async def test_a_copy_is_made_before_a_schema_change(data):
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("old"))
    before = set(storage.backups.glob("*.db"))
    async with stored(data, {"notes": [*NOTES["notes"], COLOURS]}) as storage:
        [copy] = set(storage.backups.glob("*.db")) - before

    assert copy.name.startswith("pinwheel-before-notes-2-")
    assert [(1, "old")] == seen(copy, "SELECT * FROM notes")


async def test_no_copy_is_made_when_nothing_changes(data):
    for _ in range(2):
        async with stored(data, NOTES) as storage:
            copies = list(storage.backups.glob("*.db"))
    assert [] == copies


async def test_a_new_data_directory_needs_no_copy(data):
    async with stored(data) as storage:
        assert not storage.backups.exists()


async def test_a_failing_schema_change_leaves_the_old_file_working(data):
    broken = Migration(3, "CREATE TABLE half (x);\nINSERT INTO nowhere VALUES (1);")
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("old"))
    with pytest.raises(MigrationError, match=r"notes 3 failed: no such table: nowhere"):
        async with stored(data, {"notes": [*NOTES["notes"], COLOURS, broken]}):
            pass
    async with stored(data, NOTES) as storage:
        assert ["old"] == await texts(storage)
        assert [] == await execute(storage, "SELECT name FROM sqlite_master WHERE name = 'half'")
        assert ["id", "text"] == [row[1] for row in await execute(storage, "PRAGMA table_info(notes)")]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE a (x); CREATE TABLE b (x);",
        "CREATE TABLE a (x);\nCREATE TABLE b (x)\n",
        "-- first; then second\nCREATE TABLE a (x);\n/* and; */ CREATE TABLE b (x);\n-- done",
        "CREATE TABLE a (x);\nCREATE TABLE b (x);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM b;\n  DELETE FROM b;\nEND;\n",
    ],
    ids=["one line", "no end", "comments", "trigger"],
)
async def test_a_schema_change_may_have_several_statements(data, sql):
    async with stored(data, {"more": [Migration(1, sql)]}) as storage:
        found = await execute(storage, "SELECT name FROM sqlite_master WHERE name IN ('a', 'b') ORDER BY name")

    assert [("a",), ("b",)] == found


async def test_a_backup_is_a_whole_copy(data, tmp_path):
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("kept"))
        await storage.configuration.backup(tmp_path / "copy.db")
        await storage.transaction(insert("later"))

    assert [(1, "kept")] == seen(tmp_path / "copy.db", "SELECT * FROM notes")
    assert not list(tmp_path.glob("*.partial"))


# -- latest values ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def filled(data, **more):
    """A hub with a device, some of whose values came with their own stamps."""
    async with started(data, clock=Clock(wall=lambda: NOON * 1_000_000), **more) as hub:
        device = await meter(hub)
        write(hub, device, 0, "1")
        write(hub, device, 0, "2")
        write(hub, device, 0, "0.5", at=NOON - 1000)
        write(hub, device, 1, "newer", at=NOON - 5000)
        write(hub, device, 1, "older", at=NOON - 9000)
        write(hub, device, 2, ["10.5", "20.25"])
        await write(hub, device, 1, "oldest", at=NOON - 10_000).durable()
        yield hub


EXPECTED = {0: (NOON, 2.0), 1: (NOON - 5000, "newer"), 2: (NOON, (10.5, 20.25))}


def of(hub):
    return {pin: latest(hub, known(hub), pin) for pin in (0, 1, 2)}


async def test_a_stamp_of_the_writer_makes_a_latest_value_only_when_it_is_newer(data):
    async with filled(data) as hub:
        assert EXPECTED == of(hub)
        write(hub, known(hub), 1, "newest", at=NOON + 5000)
        assert (NOON + 5000, "newest") == latest(hub, known(hub), 1)
        write(hub, known(hub), 1, "by the hub")
        assert (NOON, "by the hub") == latest(hub, known(hub), 1)


async def test_latest_values_are_there_after_a_clean_stop(data):
    async with filled(data):
        pass

    async with started(data) as hub:
        assert EXPECTED == of(hub)


async def test_latest_values_are_there_after_a_power_cut(data, tmp_path):
    async with filled(data):
        copy = as_after_a_power_cut(data, tmp_path / "copy")

    assert [] == seen(copy / "history.db", "SELECT * FROM latest")
    async with started(copy) as hub:
        assert EXPECTED == of(hub)


async def test_latest_values_are_there_when_some_came_after_the_checkpoint(data, tmp_path):
    async with filled(data):
        pass
    async with started(data, clock=Clock(wall=lambda: (NOON + 60_000) * 1_000_000)) as hub:
        write(hub, known(hub), 0, "3")
        await write(hub, known(hub), 1, "too old", at=NOON - 6000).durable()
        copy = as_after_a_power_cut(data, tmp_path / "copy")

    async with started(copy) as hub:
        assert EXPECTED | {0: (NOON + 60_000, 3.0)} == of(hub)


async def test_latest_values_are_written_with_the_chunks(data):
    async with filled(data) as first:
        first.history.close_segment()
        await until(lambda: len(seen(data / "history.db", "SELECT * FROM latest")) == 3)


async def test_trouble_with_the_checkpoint_is_over_when_it_is_over_though_nobody_writes(data, monkeypatch):
    async with filled(data) as first:
        with closing(sqlite3.connect(data / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            first.history.close_segment()
            await until(first.active_alarms)
            other.execute("ROLLBACK")
        await until(lambda: len(seen(data / "history.db", "SELECT * FROM latest")) == 3)
        await until(lambda: not first.active_alarms(), 2)


async def test_a_hub_stamp_after_one_ahead_of_time_is_the_latest_after_a_restart_too(data, tmp_path):
    async with filled(data) as first:
        write(first, known(first), 1, "ahead", at=NOON + 5000)
        await write(first, known(first), 1, "now").durable()
        copy = as_after_a_power_cut(data, tmp_path / "copy")

    for files in (copy, data):
        async with started(files) as again:
            assert (NOON, "now") == latest(again, known(again), 1)


async def test_a_deleted_device_leaves_no_latest_value(data, tmp_path):
    async with filled(data) as first:
        await first.devices.delete(known(first), SYSTEM)
        copy = as_after_a_power_cut(data, tmp_path / "copy")

    for files in (copy, data):
        async with started(files) as again:
            assert {} == again.history.latest


async def test_a_hub_that_boots_before_its_newest_record_says_so_and_goes_on_from_there(data):
    async with filled(data):
        pass
    async with started(data, clock=Clock(wall=lambda: (NOON - 86_400_000) * 1_000_000)) as hub:
        write(hub, known(hub), 0, "3")

        assert NOON <= latest(hub, known(hub), 0)[0]
        assert "the clock is behind" in words(hub)


async def test_a_device_whose_clock_is_ahead_does_not_make_the_hub_doubt_its_own(data):
    async with filled(data) as first:
        write(first, known(first), 1, "ahead", at=NOON + 3_600_000)
    async with started(data, clock=Clock(wall=lambda: (NOON + 60_000) * 1_000_000)) as hub:
        write(hub, known(hub), 0, "3")

        assert [] == hub.active_alarms()
        assert (NOON + 60_000, 3.0) == latest(hub, known(hub), 0)


# -- damage -----------------------------------------------------------------------------------------------------------


def pages_of(path, table):
    """Numbers of the pages that hold a table."""
    with closing(sqlite3.connect(path)) as other:
        [(root,)] = other.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
        return root


def overwrite(path, first, pages=1):
    """Write garbage over some pages of a file (1 is the first)."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(18)[16:], "big")
        file.seek((first - 1) * size)
        file.write(b"\xa5" * size * pages)


def set_aside(data):
    return sorted(path.name for path in data.glob("history.db.damaged-*") if not path.name.endswith(("-wal", "-shm")))


@pytest.mark.parametrize("table", ["sqlite_schema", "migrations", "latest", "log", "sealed"])
async def test_a_history_that_is_damaged_at_the_start_is_put_aside_and_the_hub_serves(data, tmp_path, table):
    async with filled(data):
        pass
    page = 1 if table == "sqlite_schema" else pages_of(data / "history.db", table)
    overwrite(data / "history.db", page)

    async with started(data) as hub:
        await hub.history.check()
        await until(lambda: set_aside(data))
        await write(hub, known(hub), 0, "3").durable()

        assert 3.0 == latest(hub, known(hub), 0)[1]
        assert [3.0] == logged(data)
        assert "damaged history" in words(hub)
        assert 1 == len(set_aside(data))
        assert set_aside(data)[0] in words(hub)
    async with started(data) as hub:
        assert 3.0 == latest(hub, known(hub), 0)[1]


async def test_a_history_that_lost_its_log_in_a_power_cut_is_put_aside_and_the_hub_serves(data, tmp_path):
    async with filled(data) as first:
        await execute(first.storage.history, "SELECT 1")
        copy = as_after_a_power_cut(data, tmp_path / "copy")
    seen(copy / "history.db", "PRAGMA wal_checkpoint(TRUNCATE)")
    overwrite(copy / "history.db", pages_of(copy / "history.db", "log"))

    async with started(copy) as hub:
        await write(hub, known(hub), 0, "3").durable()

        assert 3.0 == latest(hub, known(hub), 0)[1]
        assert 1 == len(set_aside(copy))
        assert "damaged history" in words(hub)


async def test_a_history_that_is_no_database_is_put_aside_and_the_hub_serves(data):
    async with filled(data):
        pass
    (data / "history.db").write_bytes(b"this is no database" * 1000)

    async with started(data) as hub:
        await write(hub, known(hub), 0, "3").durable()
        assert [3.0] == logged(data)
        assert "damaged history" in words(hub)


def damage_history(data):
    """Write garbage over all but the first page of the history and of what is not merged into it."""
    for name in ("history.db", "history.db-wal"):
        with (data / name).open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(min(size, HISTORY_PAGE))
            file.write(b"\xa5" * max(0, size - HISTORY_PAGE))


async def test_a_history_that_is_damaged_while_the_hub_runs_is_put_aside_with_the_latest_values_kept(data):
    async with filled(data) as hub:
        damage_history(data)
        await hub.history.check()
        await until(lambda: hub.storage.set_aside)
        await write(hub, known(hub), 0, "3").durable()

        assert {**EXPECTED, 0: (NOON, 3.0)} == of(hub)
        assert "damaged history" in words(hub)
        assert 3.0 in logged(data)
    async with started(data) as hub:
        assert {**EXPECTED, 0: (NOON, 3.0)} == of(hub)


async def test_who_reads_and_writes_while_a_damaged_history_is_replaced_is_told_so_or_served(data):
    async def count(tx):
        return await tx.fetch_one("SELECT count(*) FROM sealed")

    async with filled(data) as hub:
        damage_history(data)

        async def again_and_again(ask):
            while not set_aside(data) or not hub.storage.set_aside:
                with contextlib.suppress(StorageError):
                    await ask(count)
                await trio.lowlevel.checkpoint()

        with trio.fail_after(patient(10)):
            async with trio.open_nursery() as nursery:
                for ask in (hub.storage.history.read, hub.storage.history.transaction):
                    nursery.start_soon(again_and_again, ask)
                await hub.history.check()
        await write(hub, known(hub), 0, "3").durable()

        assert (1,) == await hub.storage.history.read(count)
        assert 3.0 in logged(data)


async def test_a_sound_history_is_left_alone(data):
    async with filled(data) as hub:
        await hub.history.check()
        await write(hub, known(hub), 0, "3").durable()

        assert [] == set_aside(data)
        assert [] == hub.active_alarms()


def damage_configuration(data):
    overwrite(data / "pinwheel.db", pages_of(data / "pinwheel.db", "devices"))


async def test_a_damaged_configuration_refuses_to_start_and_says_that_there_is_no_copy(data):
    async with filled(data):
        pass
    damage_configuration(data)

    with pytest.raises(StartupError, match=r"pinwheel\.db is damaged") as refused:
        async with started(data):
            pass
    [problem] = refused.value.problems
    assert "there is no copy" in problem
    assert "\n" not in problem


@pytest.mark.parametrize("name", ["data", "my data"])
async def test_a_damaged_configuration_refuses_to_start_and_names_a_command_that_restores_it(tmp_path, name):
    data = tmp_path / name
    async with filled(data) as hub:
        hub.storage.backups.mkdir()
        await hub.storage.configuration.backup(hub.storage.backups / "pinwheel-before-core-2-20260101-000000.db")
        await hub.storage.configuration.backup(hub.storage.backups / "pinwheel-before-core-3-20260201-000000.db")
        os.utime(hub.storage.backups / "pinwheel-before-core-2-20260101-000000.db", (1, 1))
    damage_configuration(data)

    with pytest.raises(StartupError, match=r"pinwheel\.db is damaged") as refused:
        async with started(data):
            pass
    [problem] = refused.value.problems
    assert "pinwheel-before-core-3-20260201-000000.db" in problem
    subprocess.run(problem.partition("put the newest copy back with: ")[2], shell=True, check=True)

    async with started(data) as hub:
        assert EXPECTED == of(hub)


async def test_a_configuration_that_is_no_database_refuses_to_start(data):
    async with filled(data):
        pass
    (data / "pinwheel.db").write_bytes(b"this is no database" * 1000)

    with pytest.raises(StartupError, match=r"pinwheel\.db is damaged"):
        async with started(data):
            pass
    assert (data / "pinwheel.db").read_bytes().startswith(b"this is no database")


# -- a disk that fills ------------------------------------------------------------------------------------------------


class Usage(NamedTuple):
    total: int
    used: int
    free: int


async def test_a_low_disk_is_said_before_it_is_full_and_until_there_is_room(data, monkeypatch, caplog):
    free = [5]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 100 - free[0], free[0]))
    async with started(data, timeouts=(RunTimeouts(housekeeping=0.01),)) as running_hub:
        await until(running_hub.active_alarms)
        assert ["the disk is low: 5% free"] == [problem.text for problem in running_hub.active_alarms()]
        assert not running_hub.active_alarms()[0].critical
        free[0] = 50
        await until(lambda: not running_hub.active_alarms())

    assert 1 == caplog.text.count("the disk is low")


async def test_a_disk_that_cannot_be_asked_does_not_stop_the_hub(data, monkeypatch):
    async with started(data) as running_hub:
        device = await meter(running_hub)
    asked = []

    def usage(_):
        asked.append(1)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", usage)
    async with started(data, timeouts=(RunTimeouts(housekeeping=0.01),)) as running_hub:
        await until(lambda: len(asked) > 2)
        device = known(running_hub)
        await write(running_hub, device, 0, "1").durable()
        running_hub.active_alarms()


# -- rows by name -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def pairs(tmp_path):
    sql = "CREATE TABLE pairs (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, size INTEGER)"
    async with open_storage(tmp_path / "pairs", {"test": [Migration(1, sql)]}) as storage:
        yield storage


async def rows_of(storage):
    return await storage.configuration.fetch_all("SELECT id, name, size FROM pairs ORDER BY id")


async def test_inserted_row_has_an_id_of_the_database(pairs):
    assert 1 == await pairs.transaction(lambda tx: tx.insert("pairs", name="a", size=1))
    with pytest.raises(Conflict):
        await pairs.transaction(lambda tx: tx.insert("pairs", name="a", size=2))
    assert [(1, "a", 1)] == await rows_of(pairs)


async def test_ids_of_many_rows_are_in_their_order_and_never_given_twice(pairs):
    names = [f"n{number}" for number in range(1200)]
    ids = await pairs.transaction(lambda tx: tx.insert_many_with_ids("pairs", ("name",), [(name,) for name in names]))
    assert dict(zip(names, ids, strict=True)) == {name: number for number, name, _ in await rows_of(pairs)}
    await pairs.transaction(lambda tx: tx.execute("DELETE FROM pairs"))
    [again] = await pairs.transaction(lambda tx: tx.insert_many_with_ids("pairs", ("name",), [("n0",)]))
    assert again == ids[-1] + 1


async def test_upsert_changes_the_row_of_a_key_and_leaves_its_id(pairs):
    await pairs.transaction(lambda tx: tx.upsert("pairs", ("name",), name="a", size=1))
    await pairs.transaction(lambda tx: tx.upsert("pairs", ("name",), name="a", size=2))
    await pairs.transaction(lambda tx: tx.insert_missing("pairs", name="a", size=3))
    await pairs.transaction(lambda tx: tx.insert_missing("pairs", name="b", size=4))
    assert [("a", 2), ("b", 4)] == [row[1:] for row in await rows_of(pairs)]
    assert 1 == (await rows_of(pairs))[0][0]


@pytest.mark.parametrize(("names", "expected"), [([], []), (["a"], ["a"]), (["b", "a", "a", "it's"], ["a", "b"])])
async def test_rows_among_any_number_of_values(pairs, names, expected):
    await pairs.transaction(lambda tx: tx.insert_many("pairs", ("name",), [("a",), ("b",), ("c",)]))
    condition, values = among("name", names)
    sql = f"SELECT name FROM pairs WHERE {condition} ORDER BY name"
    assert expected == [row[0] for row in await pairs.configuration.fetch_all(sql, (values,))]
