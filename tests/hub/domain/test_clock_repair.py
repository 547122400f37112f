"""`pinwheel clock --repair`: a hub whose clock was wrong for a while, set right, is like one whose clock never was."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import sys
import tarfile
import time
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
import trio
from support.command import CommandLine
from support.commits import entries
from support.paths import TESTS
from support.patience import patient
from support.raw_http import ask, local_key
from support.times import DAY, HOUR, MINUTE, NOON, Time, until

import hub.history.repair
from hub.config import load
from hub.errors import Conflict, StorageError, Unavailable
from hub.history.repair import HistoryRepair
from hub.model import SYSTEM
from hub.parsing.structuring import seconds
from hub.run import running
from hub.testing import add_device
from hub.writes import Write
from plugins.users import _service_class

ORG = "/api/v1/organization"
TEMPLATE = """
[template]
id = "TMPL0"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
[[datastream]]
pin = "V2"
name = "Minutes"
history = "minute"
[[datastream]]
pin = "V3"
name = "Nothing"
history = "off"
[[event]]
code = "hot"
name = "Hot"
type = "warning"
"""
#: As far as a start follows a wrong clock; minutes stay minutes.
AHEAD = 10 * DAY + 3 * HOUR + 17 * MINUTE
PINS = (0, 1, 2, 3)


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    monkeypatch.setattr(hub.history.repair, "SLICE_POINTS", 20)
    monkeypatch.setattr(hub.history.repair, "SLICE_HOURS", 3)
    monkeypatch.setattr(hub.history.repair, "SLICE_LATEST", 1)


def write(hub, device, pin, raw, at=None):
    return hub.write(Write(device, pin, raw, "test", SYSTEM, at))


async def sealed(hub):
    hub.history.close_segment()
    await until(lambda: not hub.history.is_busy)


async def lives(hub, time, device, numbers, steps=60, gap=4 * MINUTE):
    """Values on every pin, and an event now and then; what came is put into chunks at the turn of each hour."""
    for step in range(steps):
        time.pass_(numbers.randrange(1, gap))
        for pin in PINS:
            write(hub, device, pin, str(numbers.randrange(100)) if pin == 1 else str(numbers.randrange(400) / 4))
        if step % 20 == 7:
            await hub.timeline.log(device, "hot", f"number {step}")
    await write(hub, device, 0, "50").durable()


async def points(hub, device, pin, start=0, end=2**42):
    return [p async for piece in hub.history.points(device.points[pin].series, start, end) for p in piece]


async def buckets(hub, device, pin, granularity, zone="Europe/Berlin"):
    found = hub.history.buckets(device.points[pin].series, NOON - 40 * DAY, NOON + 40 * DAY, granularity, zone)
    return [
        (start, one.count, one.min, one.max, one.sum, one.last, one.at)
        async for piece in found
        for start, *_, one in piece
    ]


async def contents(hub, device):
    """All that can be read of a device."""
    found = {}
    for pin in PINS:
        found[pin, "latest"] = hub.history.latest.get(device.points[pin].series)
        found[pin, "points"] = await points(hub, device, pin)
        for granularity in ("minute", "hour", "day"):
            found[pin, granularity] = await buckets(hub, device, pin, granularity)
    events = await hub.timeline.newest(device)
    found["events"] = sorted((event.ts, event.description) for event in events)
    found["created"] = device.created
    return found


async def stored(hub):
    """Statistics as the file has them."""
    return [
        await hub.storage.history.fetch_all(sql)
        for sql in ("SELECT * FROM hours ORDER BY id", "SELECT * FROM latest ORDER BY series")
    ]


async def asked(hub, **body):
    return await ask(hub, "POST", "/api/v1/clock/repair", body, local_key(hub))


async def state(hub):
    return (await ask(hub, "GET", "/api/v1/clock/repair", key=local_key(hub))).json


async def finished(hub):
    """The job, when it is over."""
    with trio.fail_after(patient(30)):
        while (job := await state(hub))["running"]:
            await trio.sleep(0.02)
    return job


async def repaired(hub, **body):
    answer = await asked(hub, **body)
    assert 200 == answer.status, answer.body
    job = await finished(hub)
    assert "" == job["problem"]
    return job


async def life(config, ahead, seed, *, gone=False, before=60):
    """A hub over some hours, whose clock is ``ahead`` for those in the middle; yields nothing, the data stays.

    Returns its time at the end, which is right. ``gone``: in the middle it is off.
    """
    numbers, time = random.Random(seed), Time(NOON)
    async with running(config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, TEMPLATE)
        await lives(hub, time, device, numbers, before)
    time.wall += ahead
    async with running(config, clock=time.clock()) as hub:
        device = hub.devices.get(1)
        if not gone:
            await lives(hub, time, device, numbers)
    time.wall -= ahead
    return time, numbers


@pytest.mark.parametrize("seed", range(3))
async def test_a_shift_makes_the_hub_one_whose_clock_was_always_right(tmp_path, hub_config, seed):
    right_config = hub_config.with_data(str(tmp_path / "right"))
    shutil.copytree(hub_config.data, right_config.data)
    right_time, right_numbers = await life(right_config, 0, seed)
    time, numbers = await life(hub_config, AHEAD, seed)
    async with running(right_config, clock=right_time.clock()) as right, running(hub_config, clock=time.clock()) as hub:
        device, wanted = hub.devices.get(1), right.devices.get(1)
        assert await contents(right, wanted) != await contents(hub, device)
        time.pass_(1000)
        right_time.pass_(1000)
        job = await repaired(hub, shiftMs=AHEAD)
        await sealed(right)
        assert await contents(right, wanted) == await contents(hub, device)
        assert job["values"] == job["plan"]["values"] > 150
        assert hub.clock.now() == time.wall
        assert [] == [alarm for alarm in hub.active_alarms() if alarm.id == "clock"]
        # It goes on as if nothing had been, and so after a restart.
        await lives(right, right_time, wanted, right_numbers)
        await lives(hub, time, device, numbers)
        await sealed(right)
        await sealed(hub)
        assert await contents(right, wanted) == await contents(hub, device)
        assert await stored(right) == await stored(hub)
    async with running(right_config, clock=right_time.clock()) as right, running(hub_config, clock=time.clock()) as hub:
        assert await contents(right, right.devices.get(1)) == await contents(hub, hub.devices.get(1))
        assert hub.clock.now() == time.wall


async def test_dropping_makes_the_hub_one_that_was_off_meanwhile(tmp_path, hub_config):
    off_config = hub_config.with_data(str(tmp_path / "off"))
    shutil.copytree(hub_config.data, off_config.data)
    off_time, _ = await life(off_config, 0, 1, gone=True)
    time, _ = await life(hub_config, AHEAD, 1)
    async with running(off_config, clock=off_time.clock()) as off, running(hub_config, clock=time.clock()) as hub:
        await repaired(hub, drop=True)
        await sealed(off)
        wanted = await contents(off, off.devices.get(1))
        # What has no history cannot come back.
        wanted[3, "latest"] = None
        wanted[3, "points"] = []
        for granularity in ("minute", "hour", "day"):
            wanted[3, granularity] = []
        assert wanted == await contents(hub, hub.devices.get(1))
        assert hub.clock.now() == time.wall
    async with running(hub_config, clock=time.clock()) as hub:
        assert wanted == await contents(hub, hub.devices.get(1))
        assert [(0,)] == await hub.storage.configuration.fetch_all(
            "SELECT count(*) FROM clock_doubts WHERE ended IS NULL"
        )


async def spoiled(config):
    """Two devices, one value each before the clock was wrong and one after; returns the right time."""
    time = Time(NOON)
    async with running(config, clock=time.clock()) as hub:
        for name in ("One", "Two"):
            device, _ = await add_device(hub, TEMPLATE, name)
            await write(hub, device, 0, "1").durable()
    time.wall += AHEAD
    async with running(config, clock=time.clock()) as hub:
        for device in hub.devices.by_id.values():
            time.pass_(MINUTE)
            await write(hub, device, 0, "2").durable()
            await hub.timeline.log(device, "hot", "in the future")
    time.wall -= AHEAD
    return time


async def test_of_one_device_alone(hub_config):
    time = await spoiled(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        one, two = hub.devices.get(1), hub.devices.get(2)
        await repaired(hub, shiftMs=AHEAD, deviceId=1)
        assert [(NOON, 1), (NOON + MINUTE, 2)] == await points(hub, one, 0)
        assert [(NOON, 1), (NOON + AHEAD + 2 * MINUTE, 2)] == await points(hub, two, 0)
        assert [NOON + MINUTE] == [event.ts for event in await hub.timeline.newest(one)]
        assert [NOON + AHEAD + 2 * MINUTE] == [event.ts for event in await hub.timeline.newest(two)]
        # What stays in the future holds the stamps there.
        assert hub.clock.now() >= NOON + AHEAD + 2 * MINUTE
        [future] = (await ask(hub, "GET", "/api/v1/clock", key=local_key(hub))).json["future"]
        assert 2 == future["deviceId"]
        await repaired(hub, drop=True, deviceId=2)
        assert [(NOON, 1)] == await points(hub, two, 0)
        assert (NOON, 1) == hub.history.latest[two.points[0].series]
        assert [] == await hub.timeline.newest(two)
        assert hub.clock.now() == time.wall


async def test_values_that_meet_others_with_the_same_stamp_are_all_there(hub_config):
    time = await spoiled(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        one = hub.devices.get(1)
        await write(hub, one, 0, "7", NOON + MINUTE).durable()
        await repaired(hub, shiftMs=AHEAD)
        assert [(NOON, 1), (NOON + MINUTE, 7), (NOON + MINUTE, 2)] == await points(hub, one, 0)
        # They count in the statistics of their hour.
        assert [(3, 10)] == [(found[1], found[4]) for found in await buckets(hub, one, 0, "hour")]


async def test_the_backup_has_what_was_there_and_the_audit_says_what_was_done(hub_config, tmp_path):
    time = await spoiled(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        job = await repaired(hub, shiftMs=AHEAD)
        path = Path(job["backup"])
        assert hub_config.data.absolute() / "backups" == path.parent
        with tarfile.open(path) as tar:
            tar.extract("history.db", tmp_path, filter="data")
        assert 2 == len([stamp for _, stamp, _, _ in entries(tmp_path) if stamp > NOON + DAY])
        [record, *_] = (await ask(hub, "GET", "/api/v1/audit", key=local_key(hub))).json["content"]
        assert ("local", "Repair what a wrong clock has stamped") == (record["who"].split()[0], record["action"])
        said = record["details"]
        assert (AHEAD, False, None, 2, 2) == tuple(
            said[key] for key in ("shiftMs", "drop", "deviceId", "values", "events")
        )
        assert record["ts"] == time.wall
        assert (await ask(hub, "GET", "/api/v1/audit/verify", key=local_key(hub))).json["problems"] == []


async def test_without_a_backup_nothing_is_changed(hub_config, monkeypatch):
    time = await spoiled(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        before = await contents(hub, hub.devices.get(1))

        async def full(*_):
            raise StorageError("the disk is full")

        monkeypatch.setattr(hub, "make_backup", full)
        await asked(hub, shiftMs=AHEAD)
        assert "nothing was changed, since the backup failed: the disk is full" == (await finished(hub))["problem"]
        assert before == await contents(hub, hub.devices.get(1))
        assert hub.clock.now() > NOON + DAY


async def test_without_a_record_in_the_audit_nothing_is_changed(hub_config, monkeypatch):
    time = await spoiled(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        before = await contents(hub, hub.devices.get(1))

        async def changed(*_):
            raise Unavailable("no")

        monkeypatch.setattr(hub, "record_change", changed)
        await asked(hub, shiftMs=AHEAD)
        assert "nothing was changed, since the audit could not record it" == (await finished(hub))["problem"]
        assert before == await contents(hub, hub.devices.get(1))


async def test_when_the_configuration_cannot_be_written_nothing_is_changed(hub_config, monkeypatch):
    time = await spoiled(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        before = await contents(hub, hub.devices.get(1))

        async def refuse(*_):
            raise StorageError("disk I/O error")

        with monkeypatch.context() as patched:
            patched.setattr("hub.domain.clock_repair.correct", refuse)
            await asked(hub, shiftMs=AHEAD)
            assert "disk I/O error" == (await finished(hub))["problem"]
        assert before == await contents(hub, hub.devices.get(1))
        assert hub.clock.now() > NOON + DAY
        await repaired(hub, shiftMs=AHEAD)
        assert [(NOON, 1), (NOON + MINUTE, 2)] == await points(hub, hub.devices.get(1), 0)


# -- other times ------------------------------------------------------------------------------------------------------


async def login(hub):
    sent = {"email": "a@example.org", "password": "correct horse battery"}
    return (await ask(hub, "POST", "/api/v1/login", sent)).json


def ends_of(hub):
    sessions = hub.service(_service_class()).credentials.sessions
    return [sessions[number].refresh_ends for number in sorted(sessions)]


async def rows(hub, sql):
    return await hub.storage.configuration.fetch_all(sql)


@pytest.mark.parametrize("how", [{"shiftMs": AHEAD}, {"drop": True}], ids=["shift", "drop"])
async def test_times_of_devices_users_and_sessions(hub_config, how):
    time = Time(NOON)
    sent = {"email": "a@example.org", "password": "correct horse battery", "roleId": 1}
    async with running(hub_config, clock=time.clock()) as hub:
        assert 201 == (await ask(hub, "POST", f"{ORG}/users/create-in-org", sent, local_key(hub))).status
        kept = await login(hub)
        [before] = await rows(hub, "SELECT * FROM users_sessions")
    time.wall += AHEAD
    time.pass_(HOUR)
    async with running(hub_config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, TEMPLATE)
        await hub.tokens.rotate(device, SYSTEM, 40 * DAY)
        await hub.metadata.set(device, "Device UID", "x", SYSTEM)
        session = await login(hub)
        key = {"name": "k", "lasts": 90 * DAY}
        made = (await ask(hub, "POST", "/api/v1/key", key, session["access_token"])).json
        assert made["key"]
        invited = {"email": "b@example.org", "roleId": 1}
        assert 201 == (await ask(hub, "POST", f"{ORG}/users/invite", invited, local_key(hub))).status
    time.wall -= AHEAD
    then = time.wall
    time.pass_(30 * MINUTE)
    at = then if "shiftMs" in how else time.wall
    async with running(hub_config, clock=time.clock()) as hub:
        device = hub.devices.get(1)
        await repaired(hub, **how)
        assert at == device.created
        assert [(at,)] == await rows(hub, "SELECT created FROM devices")
        assert [(at,)] == await rows(hub, "SELECT updated FROM metadata")
        assert [(at, at + 40 * DAY)] == await rows(
            hub, "SELECT replaced, expires FROM tokens WHERE expires IS NOT NULL"
        )
        assert [(NOON,), (at,)] == await rows(hub, "SELECT created FROM users ORDER BY id")
        assert [(at,)] == await rows(hub, "SELECT last_login FROM users WHERE last_login IS NOT NULL")
        assert [(at, at + 90 * DAY)] == await rows(hub, "SELECT created, expires FROM users_keys")
        [old, _] = await rows(hub, "SELECT * FROM users_sessions ORDER BY id")
        assert before == old
        assert [(at, at)] == await rows(hub, "SELECT created, used FROM users_sessions WHERE id = 2")
        ends = "SELECT DISTINCT refresh_ends - created, access_ends - created FROM users_sessions"
        assert 1 == len(await rows(hub, ends))
        settings = hub.service(_service_class()).settings
        longest = int(max(seconds(settings.invitation), seconds(settings.reset)) * 1000)
        assert [(1,)] == await rows(hub, f"SELECT count(*) FROM users_links WHERE expires <= {time.wall + longest}")
        # The sessions that are open know it too.
        assert ends_of(hub) == [
            row[0] for row in await rows(hub, "SELECT refresh_ends FROM users_sessions ORDER BY id")
        ]
        assert 200 == (await ask(hub, "GET", f"{ORG}/profile", key=session["access_token"])).status
        assert await hub.timeline.log(device, "hot", "not too soon after one in the future")
        assert 200 == (await ask(hub, "POST", "/api/v1/login/refresh", {"refresh_token": kept["refresh_token"]})).status
        assert (
            200 == (await ask(hub, "POST", "/api/v1/login/refresh", {"refresh_token": session["refresh_token"]})).status
        )
    async with running(hub_config, clock=time.clock()) as hub:
        assert hub.clock.now() == time.wall
        assert at == hub.devices.get(1).created


# -- refused ----------------------------------------------------------------------------------------------------------


async def test_what_cannot_be_repaired_is_refused_and_says_why(hub_config):
    time = await spoiled(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        for body, status, message in (
            ({}, 400, "Set either shiftMs or drop"),
            ({"shiftMs": AHEAD, "drop": True}, 400, "Set either shiftMs or drop"),
            ({"shiftMs": 0}, 400, "the shift must be more than 0 seconds"),
            ({"shiftMs": -5}, 400, "the shift must be more than 0 seconds"),
            ({"shiftMs": time.wall + 1}, 400, "no more than since 1970"),
            ({"shiftMs": "1"}, 400, "shiftMs"),
            ({"shiftMs": 60_000}, 400, f"the newest stamp needs at least {AHEAD // 1000}"),
            ({"drop": True, "deviceId": 99}, 404, "Device with identifier 99 is not found"),
        ):
            answer = await asked(hub, **body)
            assert (status, True) == (answer.status, message in answer.message), answer.body
        plan = (await asked(hub, shiftMs=AHEAD, dryRun=True)).json
        assert (2, 2, AHEAD) == (plan["values"], plan["events"], plan["leastShiftMs"])
        assert not (await state(hub))["running"]
        assert 2 == len((await ask(hub, "GET", "/api/v1/clock", key=local_key(hub))).json["future"])
        # The least shift does.
        await repaired(hub, shiftMs=plan["leastShiftMs"])
        assert 0 == (await asked(hub, drop=True, dryRun=True)).json["values"]


async def test_a_clock_that_is_not_believed_itself_repairs_nothing(hub_config):
    time = await spoiled(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        time.wall += 400 * DAY
        answer = await asked(hub, drop=True)
        assert (409, True) == (answer.status, "set the machine's clock right first" in answer.message)


# -- cut short --------------------------------------------------------------------------------------------------------

CUT = """
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
async def cut(self):
    global done
    if done == {slices}:
        os.kill(os.getpid(), signal.SIGKILL)
    await step(self)
    done += 1
repair.HistoryRepair.step = cut
async def main():
    async with running(parse(LOOPBACK).with_data({data!r}), clock=Time({wall}).clock()) as hub:
        plan = await hub.clock_repairs.plan({shift}, None)
        hub.clock_repairs.begin(plan, LOCAL, "")
        while hub.clock_repairs.job.running:
            await trio.sleep(0.01)
trio.run(main)
"""


@pytest.mark.parametrize("shift", [AHEAD, None])
async def test_a_repair_that_is_killed_at_any_slice_is_finished_by_the_next_start(tmp_path, hub_config, shift):
    time, _ = await life(hub_config, AHEAD, 5, before=20)
    time.pass_(MINUTE)
    how = {"drop": True} if shift is None else {"shiftMs": shift}
    copies = {slices: hub_config.with_data(str(tmp_path / f"cut-{slices}")) for slices in (0, 1, 3, 6)}
    for config in copies.values():
        shutil.copytree(hub_config.data, config.data)
    async with running(hub_config, clock=time.clock()) as hub:
        await repaired(hub, **how)
        wanted, wanted_rows = await contents(hub, hub.devices.get(1)), await stored(hub)
    tests = str(TESTS)
    for slices, config in copies.items():
        script = CUT.format(tests=tests, slices=slices, data=str(config.data), wall=time.wall, shift=shift)
        done = await trio.run_process([sys.executable, "-c", script], check=False, capture_stderr=True)
        assert -9 == done.returncode, done.stderr.decode()
        with closing(sqlite3.connect(config.data / "pinwheel.db")) as database:
            assert [(1,)] == [*database.execute("SELECT count(*) FROM clock_repairs WHERE finished IS NULL")]
        later = Time(time.wall + 10 * MINUTE)
        async with running(config, clock=later.clock()) as hub:
            assert hub.clock.now() == later.wall
            assert wanted == await contents(hub, hub.devices.get(1)), slices
            assert wanted_rows == await stored(hub)
            assert 0 == (await asked(hub, **how, dryRun=True)).json["values"]


async def test_values_that_come_during_a_repair_are_stamped_right_and_stay(hub_config, monkeypatch):
    time, _ = await life(hub_config, AHEAD, 6, before=20)
    step = HistoryRepair.step
    async with running(hub_config, clock=time.clock()) as hub:
        device, new = hub.devices.get(1), []

        async def slower(repair):
            time.pass_(HOUR)
            write(hub, device, 0, str(len(new)))
            new.append((time.wall, len(new)))
            hub.history.close_segment()
            await step(repair)

        monkeypatch.setattr(HistoryRepair, "step", slower)
        await repaired(hub, shiftMs=AHEAD)
        assert len(new) > 3
        assert new == (await points(hub, device, 0))[-len(new) :]
        await sealed(hub)
        assert new == (await points(hub, device, 0))[-len(new) :]
        assert new[-1] == hub.history.latest[device.points[0].series]


async def test_a_slice_that_the_disk_does_not_take_is_tried_again(hub_config, monkeypatch):
    time, _ = await life(hub_config, AHEAD, 6, before=20)
    monkeypatch.setattr("hub.domain.clock_repair.RETRY_AFTER", 0.01)
    step, failed = HistoryRepair.step, []

    async def failing(repair):
        if len(failed) < 3:
            failed.append(1)
            raise StorageError("disk I/O error")
        await step(repair)

    monkeypatch.setattr(HistoryRepair, "step", failing)
    async with running(hub_config, clock=time.clock()) as hub:
        await repaired(hub, shiftMs=AHEAD)
        assert 3 == len(failed)
        assert 0 == (await asked(hub, drop=True, dryRun=True)).json["values"]


async def test_a_repair_that_fails_half_way_is_finished_by_the_next_start(hub_config, monkeypatch):
    time, _ = await life(hub_config, AHEAD, 6, before=20)

    async def failing(_repair):
        raise Conflict("UNIQUE constraint failed")

    async with running(hub_config, clock=time.clock()) as hub:
        with monkeypatch.context() as patched:
            patched.setattr(HistoryRepair, "step", failing)
            await asked(hub, shiftMs=AHEAD)
            assert "UNIQUE constraint failed" == (await finished(hub))["problem"]
        again = await asked(hub, shiftMs=AHEAD)
        assert (409, True) == (again.status, "restart the hub, which finishes it" in again.message)
    async with running(hub_config, clock=time.clock()) as hub:
        assert 0 == (await asked(hub, shiftMs=AHEAD, dryRun=True)).json["values"]


async def test_an_hour_whose_chunk_is_gone_is_shifted_as_a_whole(hub_config):
    time = Time(NOON)
    async with running(hub_config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, TEMPLATE)
        await write(hub, device, 0, "1").durable()
    time.wall += 5 * DAY
    async with running(hub_config, clock=time.clock()) as hub:
        for value in "234":
            time.pass_(MINUTE)
            await write(hub, hub.devices.get(1), 0, value).durable()
        await sealed(hub)
    with closing(sqlite3.connect(hub_config.data / "history.db")) as database, database:
        database.execute("DELETE FROM chunks")
    time.wall -= 5 * DAY
    async with running(hub_config, clock=time.clock()) as hub:
        device = hub.devices.get(1)
        assert 3 == (await asked(hub, drop=True, dryRun=True)).json["values"]
        assert 3 == (await repaired(hub, shiftMs=5 * DAY))["values"]
        [(start, count, low, high, total, last, at)] = await buckets(hub, device, 0, "hour")
        assert (NOON, 4, 1, 4, 10, 4, NOON + 3 * MINUTE) == (start, count, low, high, total, last, at)


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path):
    return CommandLine(tmp_path / "house")


def with_future(house, seconds):
    """A house whose hub has two values and an event that were stamped so many seconds too late, and one right value."""

    async def stamp():
        config = load(house.folder / "hub.toml").with_data(str(house.data))
        true = Time(int(time.time() * 1000) - HOUR)
        async with running(config, listen=False, clock=true.clock()) as hub:
            device, _ = await add_device(hub, TEMPLATE, "Meter")
            await write(hub, device, 0, "1").durable()
        wrong = Time(true.wall + seconds * 1000)
        async with running(config, listen=False, clock=wrong.clock()) as hub:
            device = hub.devices.get(1)
            for value in "23":
                wrong.pass_(MINUTE)
                await write(hub, device, 0, value).durable()
            await hub.timeline.log(device, "hot")

    trio.run(stamp)
    return house


def values_of(house):
    lines = house("device", "history", "Meter", "V0", "--from", "0", "--to", "2100-01-01", "--json").out.splitlines()
    return [(line["ts"], line["value"]) for line in map(json.loads, lines)]


@pytest.mark.parametrize("runs", [True, False])
def test_the_command_repairs_a_hub_that_runs_and_one_that_is_stopped(house, runs):
    with_future(house, 400_000)
    with house.running() if runs else nullcontext():
        shown = house("clock").out
        assert "in the future  Meter (1): 2 values of 1 datastream, from" in shown
        before = values_of(house)
        refused = house("clock", "--repair", "--shift", "400000")
        assert 1 == refused.code
        assert "Refusing to shift 2 values, 1 event and 2 other times after " in refused.err
        assert "back by 400000 seconds without confirmation. Run again with --yes." in refused.err
        assert before == values_of(house)
        small = house("clock", "--repair", "--shift", "10.5", "--yes", "--json")
        assert (1, "") == (small.code, small.out)
        assert "a shift by 10.5 seconds is too small: the newest stamp needs at least" in small.err.splitlines()[-1]
        done = house("clock", "--repair", "--shift", "400000", "--yes")
        assert 0 == done.code
        assert "2 values and 1 event shifted back by 400000 seconds, 2 other times corrected" in done.out
        assert 1 == len(list((house.data / "backups").glob("before-clock-repair-*.tar")))
        assert [before[0], *((at - 400_000_000, value) for at, value in before[1:])] == values_of(house)
        again = json.loads(house("clock", "--repair", "--drop", "--yes", "--json").out)
        assert {"shiftMs": None, "values": 0, "backup": None} == {
            key: again[key] for key in ("shiftMs", "values", "backup")
        }
        assert "there is nothing to repair" in house("clock", "--repair", "--drop").out
        assert "in the future" not in house("clock").out
        assert "state          following" in house("clock").out


def test_the_command_drops_values_of_one_device(house):
    with_future(house, 400_000)
    right = values_of(house)[:1]
    done = house("clock", "--repair", "--drop", "--device", "Meter", "--yes", "--json")
    done = json.loads(done.out)
    assert (2, 1, 1) == (done["values"], done["events"], done["deviceId"])
    assert Path(done["backup"]).is_file()
    assert right == values_of(house)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shift", "5"), "--shift, --drop, --device and --yes go with --repair"),
        (("--device", "Meter"), "--shift, --drop, --device and --yes go with --repair"),
        (("--repair",), "--repair needs --shift SECONDS or --drop"),
        (("--repair", "--shift", "5", "--drop"), "not allowed with argument"),
        (("--repair", "--shift", "0"), "'0' must be a number of seconds, more than 0"),
        (("--repair", "--shift=-5"), "'-5' must be a number of seconds, more than 0"),
        (("--repair", "--shift", "1h"), "'1h' must be a number of seconds, more than 0"),
    ],
)
def test_wrong_use_is_refused(house, arguments, said):
    done = house("clock", *arguments)
    assert (2, "") == (done.code, done.out)
    assert said in done.err.splitlines()[-1]


def test_an_unknown_device_is_refused(house):
    with_future(house, 400_000)
    done = house("clock", "--repair", "--drop", "--device", "Mete", "--yes")
    assert (1, "") == (done.code, done.out)
    assert "there is no device named 'Mete'" in done.err.splitlines()[-1]
