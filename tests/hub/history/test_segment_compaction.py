"""Compaction of segments: at the end of an hour, at a start, and after a power cut."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from support.compaction import compact
from support.history import TEMPLATE, buckets, points
from support.times import HOUR, MINUTE, NOON, until
from support.values import write_value

import hub.history.commit_log
import hub.history.log_table
from hub.errors import Rejected
from hub.model import SYSTEM
from hub.run import RunTimeouts
from hub.testing import add_device


async def test_query_during_compaction_returns_each_value_once(start, time, monkeypatch):
    monkeypatch.setattr(hub.history.commit_log, "COMPACTION_POINTS", 1)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        count = 0
        for _ in range(40):
            for _ in range(20):
                time.pass_(MINUTE)
                write_value(started, device, 0, 1)
                write_value(started, device, 4, 1)
                count += 1
            for pin in (0, 4):
                assert count == len(await points(started, device, pin))
                for granularity in ("hour", "day"):
                    result = await buckets(started, device, pin, granularity)
                    assert count == sum(bucket.count for _, bucket in result)


async def test_log_over_the_limit_of_points_in_memory_is_compacted_at_the_start(start, time, monkeypatch):
    monkeypatch.setattr(hub.history.commit_log, "BATCH_ROWS", 200)
    monkeypatch.setattr(hub.history.log_table, "SLICE", 120)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(1000):
            time.pass_(1000)
            write_value(started, device, 0, n)
    monkeypatch.setattr(hub.history.commit_log, "SEGMENT_POINTS", 300)
    async with start() as started:
        [device] = started.devices.by_id.values()
        assert started.history._uncompacted < 600
        assert [float(n) for n in range(1000)] == [value for _, value in await points(started, device, 0)]
        assert 999 == started.writes.latest(device, device.points[0].datastream)[1]


@pytest.mark.parametrize("at", [-5, 2**60, 2**70])
async def test_timestamp_outside_the_range_of_keys_is_rejected(start, at):
    async with start('[storage]\nretain_raw = "36500d"') as started:
        device, _ = await add_device(started, TEMPLATE)
        with pytest.raises(Rejected):
            write_value(started, device, 0, 1, at)
        with pytest.raises(Rejected):
            await started.writes.import_points(device, [(device.points[0].datastream, at, 1)], "test", SYSTEM)


async def test_hub_whose_clock_is_beyond_all_keys_compacts_and_starts_again(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        time.wall = 2**43
        write_value(started, device, 0, 1)
        # An earlier version may have stored such a value.
        started.history.put(device.points[0].series, 2**43, 2.0, latest=False)
        await compact(started)
        assert 1.0 == started.writes.latest(device, device.points[0].datastream)[1]
    time.wall = NOON
    async with start() as started:
        [device] = started.devices.by_id.values()
        write_value(started, device, 0, 3)
        await compact(started)


@pytest.mark.timeouts(RunTimeouts(housekeeping=0.02))
async def test_hour_without_further_values_is_compacted(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        write_value(started, device, 0, 1)
        await until(lambda: started.history.stored == 1)
        time.pass_(HOUR)
        await until(lambda: started.history._progress.segment >= 1 and not started.history.is_busy)
        with closing(sqlite3.connect(started.config.data / "history.db")) as database:
            assert 1 == database.execute("SELECT count(*) FROM chunks").fetchone()[0]
