"""A disk that is full, filling, or locked by another program."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import NamedTuple

import pytest
import trio
from support.alarms import alarm_texts
from support.databases import full_disk
from support.patience import patient
from support.storage import execute, is_rejected, logged, meter, only_device, rows_in_file, started, stored
from support.times import until
from support.values import latest_value, write_value

from hub.errors import StartupError, StorageError, Unavailable
from hub.facts import StorageTrouble
from hub.history.commit_log import BATCH_ROWS, MAX_QUEUED
from hub.model import SYSTEM
from hub.run import RunTimeouts


async def test_full_disk_stops_acknowledgements_raises_an_alarm_and_loses_no_value(data):
    problems = []
    async with started(data) as hub:
        device = await meter(hub)
        hub.subscribe(StorageTrouble, lambda fact: problems.append(fact.problem))
        await write_value(hub, device, 1, "before").durable()
        async with full_disk(hub.storage.history):
            for number in range(50):
                receipt = write_value(hub, device, 1, f"{number:03} " + "x" * 1000)
            assert await is_rejected(receipt)
            assert await is_rejected(write_value(hub, device, 1, "during"))

            assert "full" in alarm_texts(hub)
            assert [True] == [alarm.critical for alarm in hub.active_alarms()]
            assert ["before"] == logged(data)
            assert "during" == latest_value(hub, device, 1)[1]
        await until(lambda: not hub.active_alarms())
        await write_value(hub, device, 1, "after").durable()

        assert ["before", *(f"{n:03}" for n in range(50)), "during", "after"] == [
            value.partition(" ")[0] for value in logged(data)
        ]
        assert ["full" in problems[0], None] == [True, problems[-1]]


async def test_values_that_wait_on_a_full_disk_are_bounded(data):
    async with started(data) as hub:
        device = await meter(hub)
        async with full_disk(hub.storage.history):
            assert await is_rejected(fill(hub, device))
            accepted = 0
            with pytest.raises(Unavailable):
                while True:
                    write_value(hub, device, 0, "1")
                    accepted += 1

            assert accepted <= BATCH_ROWS * (MAX_QUEUED + 1)
            assert hub.history.full
        with trio.fail_after(patient(10)):
            await hub.history.wait_for_space()
        assert await write_value(hub, device, 0, "2").settled()

        assert accepted + 1 == logged(data).count(1.0) + logged(data).count(2.0)


def fill(hub, device):
    """Write more values than fit on the full disk; returns the last receipt."""
    for _ in range(50):
        receipt = write_value(hub, device, 1, "x" * 1000)
    return receipt


async def test_full_disk_does_not_delay_the_stop(data, caplog):
    with trio.fail_after(patient(10)):
        async with started(data) as hub:
            device = await meter(hub)
            [(pages,)] = await execute(hub.storage.history, "PRAGMA page_count")
            await execute(hub.storage.history, f"PRAGMA max_page_count = {pages}")
            assert await is_rejected(fill(hub, device))

    assert "could not be written before the stop" in caplog.text


async def test_lock_of_another_program_stops_acknowledgements_until_it_is_released(data):
    async with started(data) as hub:
        device = await meter(hub)
        with closing(sqlite3.connect(data / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await is_rejected(write_value(hub, device, 0, "1"))
            assert "locked" in alarm_texts(hub)
            other.execute("ROLLBACK")
        await until(lambda: not hub.active_alarms())
        await write_value(hub, device, 0, "2").durable()

        assert [1.0, 2.0] == logged(data)


async def test_change_of_a_locked_configuration_is_rejected_and_may_be_repeated(data):
    async with started(data) as hub:
        device = await meter(hub)
        with closing(sqlite3.connect(data / "pinwheel.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError):
                await hub.devices.rename(device, "New", SYSTEM)
            assert "Meter" == device.name
            other.execute("ROLLBACK")
        await hub.devices.rename(device, "New", SYSTEM)

        assert [("New",)] == rows_in_file(data / "pinwheel.db", "SELECT name FROM devices")


@pytest.mark.parametrize("file", ["pinwheel.db", "history.db"])
async def test_error_names_a_file_that_is_locked_at_the_start(data, file):
    async with stored(data):
        pass
    with closing(sqlite3.connect(data / file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StartupError, match=rf"{file}.*locked"):
            async with stored(data):
                pass


class Usage(NamedTuple):
    total: int
    used: int
    free: int


async def test_alarm_about_low_disk_space_lasts_until_there_is_space(data, monkeypatch, caplog):
    free = [5]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 100 - free[0], free[0]))
    async with started(data, timeouts=(RunTimeouts(housekeeping=0.01),)) as running_hub:
        await until(running_hub.active_alarms)
        assert ["the disk is low: 5% free"] == [alarm.text for alarm in running_hub.active_alarms()]
        assert not running_hub.active_alarms()[0].critical
        free[0] = 50
        await until(lambda: not running_hub.active_alarms())

    assert 1 == caplog.text.count("the disk is low")


async def test_disk_without_usage_figures_does_not_stop_the_hub(data, monkeypatch):
    async with started(data, timeouts=(RunTimeouts(housekeeping=0.01),)) as running_hub:
        device = await meter(running_hub)
    calls = []

    def usage(_):
        calls.append(1)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", usage)
    async with started(data, timeouts=(RunTimeouts(housekeeping=0.01),)) as running_hub:
        await until(lambda: len(calls) > 2)
        device = only_device(running_hub)
        await write_value(running_hub, device, 0, "1").durable()
        running_hub.active_alarms()
