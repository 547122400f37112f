"""Latest values after a stop, after a power cut, and with wrong clocks."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from support.alarms import alarm_texts
from support.storage import (
    LATEST_VALUES,
    as_after_a_power_cut,
    filled,
    latest_values,
    only_device,
    rows_in_file,
    started,
)
from support.times import NOON, until
from support.values import latest_value, write_value

from hub.clock import Clock
from hub.model import SYSTEM


async def test_value_with_an_own_timestamp_is_the_latest_only_if_it_is_newer(data):
    async with filled(data) as hub:
        assert LATEST_VALUES == latest_values(hub)
        write_value(hub, only_device(hub), 1, "newest", ts=NOON + 5000)
        assert (NOON + 5000, "newest") == latest_value(hub, only_device(hub), 1)
        write_value(hub, only_device(hub), 1, "by the hub")
        assert (NOON, "by the hub") == latest_value(hub, only_device(hub), 1)


async def test_latest_values_are_restored_after_a_stop(data):
    async with filled(data):
        pass

    async with started(data) as hub:
        assert LATEST_VALUES == latest_values(hub)


async def test_latest_values_are_restored_after_a_power_cut(data, tmp_path):
    async with filled(data):
        copy = as_after_a_power_cut(data, tmp_path / "copy")

    assert [] == rows_in_file(copy / "history.db", "SELECT * FROM latest")
    async with started(copy) as hub:
        assert LATEST_VALUES == latest_values(hub)


async def test_latest_values_after_the_checkpoint_are_restored(data, tmp_path):
    async with filled(data):
        pass
    async with started(data, clock=Clock(wall=lambda: (NOON + 60_000) * 1_000_000)) as hub:
        write_value(hub, only_device(hub), 0, "3")
        await write_value(hub, only_device(hub), 1, "too old", ts=NOON - 6000).durable()
        copy = as_after_a_power_cut(data, tmp_path / "copy")

    async with started(copy) as hub:
        assert LATEST_VALUES | {0: (NOON + 60_000, 3.0)} == latest_values(hub)


async def test_latest_values_are_written_together_with_chunks(data):
    async with filled(data) as first:
        first.history.close_segment()
        await until(lambda: len(rows_in_file(data / "history.db", "SELECT * FROM latest")) == 3)


async def test_alarm_about_compaction_ends_without_further_writes(data, monkeypatch):
    async with filled(data) as first:
        with closing(sqlite3.connect(data / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            first.history.close_segment()
            await until(first.active_alarms)
            other.execute("ROLLBACK")
        await until(lambda: len(rows_in_file(data / "history.db", "SELECT * FROM latest")) == 3)
        await until(lambda: not first.active_alarms(), 2)


async def test_hub_timestamp_after_a_timestamp_in_the_future_is_the_latest_after_a_restart(data, tmp_path):
    async with filled(data) as first:
        write_value(first, only_device(first), 1, "ahead", ts=NOON + 5000)
        await write_value(first, only_device(first), 1, "now").durable()
        copy = as_after_a_power_cut(data, tmp_path / "copy")

    for files in (copy, data):
        async with started(files) as restarted:
            assert (NOON, "now") == latest_value(restarted, only_device(restarted), 1)


async def test_latest_values_of_a_deleted_device_are_deleted(data, tmp_path):
    async with filled(data) as first:
        await first.devices.delete(only_device(first), SYSTEM)
        copy = as_after_a_power_cut(data, tmp_path / "copy")

    for files in (copy, data):
        async with started(files) as restarted:
            assert {} == restarted.history.latest


async def test_hub_with_a_clock_before_its_newest_timestamp_raises_an_alarm_and_continues_from_it(data):
    async with filled(data):
        pass
    async with started(data, clock=Clock(wall=lambda: (NOON - 86_400_000) * 1_000_000)) as hub:
        write_value(hub, only_device(hub), 0, "3")

        assert NOON <= latest_value(hub, only_device(hub), 0)[0]
        assert "the clock is behind" in alarm_texts(hub)


async def test_device_with_a_fast_clock_causes_no_alarm_about_the_hubs_clock(data):
    async with filled(data) as first:
        write_value(first, only_device(first), 1, "ahead", ts=NOON + 3_600_000)
    async with started(data, clock=Clock(wall=lambda: (NOON + 60_000) * 1_000_000)) as hub:
        write_value(hub, only_device(hub), 0, "3")

        assert [] == hub.active_alarms()
        assert (NOON + 60_000, 3.0) == latest_value(hub, only_device(hub), 0)
