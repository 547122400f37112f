"""Repairs of stamps that are killed, that fail, and during which values arrive."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing

import pytest
import trio
from support.clock_repair import (
    AHEAD,
    METER,
    contents,
    finished_job,
    read_buckets,
    read_points,
    repair,
    request_repair,
    run_with_wrong_clock,
    stored_statistics,
)
from support.compaction import compact
from support.paths import TESTS
from support.times import DAY, HOUR, MINUTE, NOON, Time
from support.values import write_value

from hub.errors import Conflict, StorageError
from hub.history.repair import HistoryRepair
from hub.run import running
from hub.testing import add_device

pytestmark = pytest.mark.usefixtures("small_slices")


KILLED_REPAIR = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import trio
import hub.history.repair as repair
from support.times import Time
from hub.run import running
from hub.config import parse
from hub.testing import LOOPBACK
from hub.model import LOCAL
from hub.writes import Write
from hub.model import SYSTEM
repair.SLICE_POINTS, repair.SLICE_HOURS, repair.SLICE_LATEST = 20, 3, 1
done, step = 0, repair.HistoryRepair.step
async def step_or_die(self):
    global done
    if done == {slices}:
        os.kill(os.getpid(), signal.SIGKILL)
    await step(self)
    done += 1
repair.HistoryRepair.step = step_or_die
async def main():
    async with running(parse(LOOPBACK).with_data({data!r}), clock=Time({wall}).clock()) as hub:
        plan = await hub.clock_repairs.plan({shift}, None)
        hub.clock_repairs.begin(plan, LOCAL, "")
        while hub.clock_repairs.job.running:
            await trio.sleep(0.01)
trio.run(main)
"""


@pytest.mark.parametrize("shift", [AHEAD, None])
async def test_repair_that_is_killed_at_any_slice_is_finished_by_the_next_start(tmp_path, hub_config, shift):
    time, _ = await run_with_wrong_clock(hub_config, AHEAD, 5, before=20)
    time.pass_(MINUTE)
    body = {"drop": True} if shift is None else {"shiftMs": shift}
    copies = {slices: hub_config.with_data(str(tmp_path / f"cut-{slices}")) for slices in (0, 1, 3, 6)}
    for config in copies.values():
        shutil.copytree(hub_config.data, config.data)
    async with running(hub_config, clock=time.clock()) as hub:
        await repair(hub, **body)
        expected, expected_rows = await contents(hub, hub.devices.get(1)), await stored_statistics(hub)
    tests = str(TESTS)
    for slices, config in copies.items():
        script = KILLED_REPAIR.format(tests=tests, slices=slices, data=str(config.data), wall=time.wall, shift=shift)
        done = await trio.run_process([sys.executable, "-c", script], check=False, capture_stderr=True)
        assert -9 == done.returncode, done.stderr.decode()
        with closing(sqlite3.connect(config.data / "pinwheel.db")) as database:
            assert [(1,)] == [*database.execute("SELECT count(*) FROM clock_repairs WHERE finished IS NULL")]
        later = Time(time.wall + 10 * MINUTE)
        async with running(config, clock=later.clock()) as hub:
            assert hub.clock.now() == later.wall
            assert expected == await contents(hub, hub.devices.get(1)), slices
            assert expected_rows == await stored_statistics(hub)
            assert 0 == (await request_repair(hub, **body, dryRun=True)).json["values"]


async def test_values_written_during_a_repair_have_right_stamps_and_are_retained(hub_config, monkeypatch):
    time, _ = await run_with_wrong_clock(hub_config, AHEAD, 6, before=20)
    step = HistoryRepair.step
    async with running(hub_config, clock=time.clock()) as hub:
        device, new = hub.devices.get(1), []

        async def write_and_step(repair):
            time.pass_(HOUR)
            write_value(hub, device, 0, str(len(new)))
            new.append((time.wall, len(new)))
            hub.history.close_segment()
            await step(repair)

        monkeypatch.setattr(HistoryRepair, "step", write_and_step)
        await repair(hub, shiftMs=AHEAD)
        assert len(new) > 3
        assert new == (await read_points(hub, device, 0))[-len(new) :]
        await compact(hub)
        assert new == (await read_points(hub, device, 0))[-len(new) :]
        assert new[-1] == hub.history.latest[device.points[0].series]


async def test_slice_is_retried_after_a_storage_error(hub_config, monkeypatch):
    time, _ = await run_with_wrong_clock(hub_config, AHEAD, 6, before=20)
    monkeypatch.setattr("hub.domain.clock_repair.RETRY_AFTER", 0.01)
    step, failed = HistoryRepair.step, []

    async def failing(repair):
        if len(failed) < 3:
            failed.append(1)
            raise StorageError("disk I/O error")
        await step(repair)

    monkeypatch.setattr(HistoryRepair, "step", failing)
    async with running(hub_config, clock=time.clock()) as hub:
        await repair(hub, shiftMs=AHEAD)
        assert 3 == len(failed)
        assert 0 == (await request_repair(hub, drop=True, dryRun=True)).json["values"]


async def test_repair_that_fails_midway_is_finished_by_the_next_start(hub_config, monkeypatch):
    time, _ = await run_with_wrong_clock(hub_config, AHEAD, 6, before=20)

    async def failing(_repair):
        raise Conflict("UNIQUE constraint failed")

    async with running(hub_config, clock=time.clock()) as hub:
        with monkeypatch.context() as patched:
            patched.setattr(HistoryRepair, "step", failing)
            await request_repair(hub, shiftMs=AHEAD)
            assert "UNIQUE constraint failed" == (await finished_job(hub))["problem"]
        again = await request_repair(hub, shiftMs=AHEAD)
        assert (409, True) == (again.status, "restart the hub, which finishes it" in again.message)
    async with running(hub_config, clock=time.clock()) as hub:
        assert 0 == (await request_repair(hub, shiftMs=AHEAD, dryRun=True)).json["values"]


async def test_statistics_of_an_hour_without_its_chunk_are_shifted(hub_config):
    time = Time(NOON)
    async with running(hub_config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, METER)
        await write_value(hub, device, 0, "1").durable()
    time.wall += 5 * DAY
    async with running(hub_config, clock=time.clock()) as hub:
        for value in "234":
            time.pass_(MINUTE)
            await write_value(hub, hub.devices.get(1), 0, value).durable()
        await compact(hub)
    with closing(sqlite3.connect(hub_config.data / "history.db")) as database, database:
        database.execute("DELETE FROM chunks")
    time.wall -= 5 * DAY
    async with running(hub_config, clock=time.clock()) as hub:
        device = hub.devices.get(1)
        assert 3 == (await request_repair(hub, drop=True, dryRun=True)).json["values"]
        assert 3 == (await repair(hub, shiftMs=5 * DAY))["values"]
        [(start, count, low, high, total, last, at)] = await read_buckets(hub, device, 0, "hour")
        assert (NOON, 4, 1, 4, 10, 4, NOON + 3 * MINUTE) == (start, count, low, high, total, last, at)
