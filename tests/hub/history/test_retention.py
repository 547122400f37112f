"""Retention and erasure."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import trio
from support.compaction import compact
from support.history import TEMPLATE, buckets, points
from support.patience import patient
from support.times import DAY, HOUR, MINUTE, until
from support.values import write_value

import hub.history.chunkstore
import hub.history.commit_log
from hub.errors import Rejected, StorageError
from hub.history.timeouts import HistoryTimeouts
from hub.model import SYSTEM
from hub.testing import add_device


@pytest.mark.timeouts(HistoryTimeouts(expire_first=0.05, expire_every=0.05))
async def test_raw_values_expire_and_statistics_remain(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(10 * 24):
            time.pass_(HOUR)
            write_value(started, device, 0, n)
            write_value(started, device, 4, n)
        await compact(started)
        days = await buckets(started, device, 4, "day")
        hours = await buckets(started, device, 4, "hour")
        with pytest.raises(Rejected, match="older than what is kept"):
            write_value(started, device, 4, 1, time.wall - 3 * DAY)
        started.history._work_at = 0
        started.history._wake.set()
        with trio.fail_after(patient(10)):
            while len(await points(started, device, 4)) > 50:
                await trio.sleep(0.01)
        assert 240 == len(await points(started, device, 0))
        assert days == await buckets(started, device, 4, "day")
        assert hours == await buckets(started, device, 4, "hour")
        minutes = await buckets(started, device, 4, "minute")
        assert 240 == sum(bucket.count for _, bucket in minutes), "an hour without raw values is one bucket"


async def test_erased_values_are_neither_in_queries_nor_on_the_disk(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(100):
            time.pass_(HOUR)
            write_value(started, device, 0, n)
            write_value(started, device, 1, "secret")
        await compact(started)
        time.pass_(MINUTE)
        write_value(started, device, 1, "secret, not compacted")
        old = device.points[1].series
        await started.devices.erase(device, [device.points[1].datastream], SYSTEM)
        assert [] == await points(started, device, 1)
        assert started.writes.latest(device, device.points[1].datastream) is None
        assert 100 == len(await points(started, device, 0))
        write_value(started, device, 1, "new")
        assert ["new"] == [value for _, value in await points(started, device, 1)]
        await compact(started)
        assert ["new"] == [value for _, value in await points(started, device, 1)]
        await until(lambda: not started.history.is_busy)
    with closing(sqlite3.connect(started.config.data / "history.db")) as database:
        assert 0 == database.execute("SELECT count(*) FROM hours WHERE id & 0xffffffff = ?", (old,)).fetchone()[0]
        assert 0 == database.execute("SELECT count(*) FROM days WHERE id >> 24 = ?", (old,)).fetchone()[0]
        assert (
            0 == database.execute("SELECT count(*) FROM chunks WHERE id >> 11 & 0xffffffff = ?", (old,)).fetchone()[0]
        )
    with closing(sqlite3.connect(started.config.data / "pinwheel.db")) as database:
        assert [] == database.execute("SELECT series FROM gone").fetchall()


async def test_erasure_continues_after_a_restart(start, time, monkeypatch):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(50):
            time.pass_(HOUR)
            write_value(started, device, 0, n)
        await compact(started)

        async def fail():
            raise StorageError("not now")

        monkeypatch.setattr(started.history.retention, "_erase", fail)
        await started.devices.delete(device, SYSTEM)
    async with start() as started:
        await until(lambda: not started.history.is_busy)
    with closing(sqlite3.connect(started.config.data / "history.db")) as database:
        assert (
            0 == database.execute("SELECT (SELECT count(*) FROM hours) + (SELECT count(*) FROM chunks)").fetchone()[0]
        )


async def test_segment_that_a_power_cut_interrupts_is_compacted_once(start, time, monkeypatch, tmp_path):
    monkeypatch.setattr(hub.history.commit_log, "COMPACTION_POINTS", 1)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        other, _ = await add_device(started, TEMPLATE, "Other")
        for n in range(10):
            time.pass_(MINUTE)
            for meter in (device, other):
                write_value(started, meter, 0, n)
                write_value(started, meter, 2, n)
        await write_value(started, device, 1, "x").durable()
        compact_slice, slices = started.history._compact, []

        async def twice(run):
            if len(slices) == 2:
                raise StorageError("the power is gone")
            slices.append(run)
            await compact_slice(run)

        monkeypatch.setattr(started.history, "_compact", twice)
        started.history.close_segment()
        await until(lambda: started.history.fault)
        assert 10 == len(await points(started, other, 0))
    monkeypatch.undo()
    async with start() as started:
        device, other = started.devices.by_id.values()
        for _ in range(2):
            for meter in (device, other):
                assert [float(n) for n in range(10)] == [value for _, value in await points(started, meter, 0)]
                [(_, hour)] = await buckets(started, meter, 2, "hour")
                assert 10 == hour.count
            await compact(started)


async def test_acknowledgements_do_not_wait_for_an_erasure(start, time, monkeypatch):
    monkeypatch.setattr(hub.history.chunkstore, "ERASED_PER_SLICE", 1)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for _ in range(50):
            time.pass_(10 * HOUR)
            write_value(started, device, 0, 1)
        await compact(started)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(write_value(started, device, 1, "x").durable)
        started.history.erase(range(100_000, 100_064))
        await write_value(started, device, 1, "y").durable()
        assert started.history.is_busy, "the erasure continues after the acknowledgement"


async def test_locked_configuration_does_not_stop_the_history_after_an_erasure(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        write_value(started, device, 0, 1)
        await compact(started)

        async def locked(_series):
            raise StorageError("database is locked")

        started.history.retention.on_erased = locked
        await started.devices.erase(device, [device.points[0].datastream], SYSTEM)
        await until(lambda: not started.history.is_busy)
        assert [] == [alarm.text for alarm in started.active_alarms() if alarm.id == "writes"]
        await write_value(started, device, 0, 2).durable()
    async with start() as started:
        await until(lambda: not started.history.is_busy)
    with closing(sqlite3.connect(started.config.data / "pinwheel.db")) as database:
        assert [] == database.execute("SELECT series FROM gone").fetchall()
