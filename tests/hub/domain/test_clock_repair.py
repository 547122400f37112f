"""Repair of the stamps of a wrong clock: afterwards the hub equals a hub whose clock was always right."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
from support.clock_repair import (
    AHEAD,
    METER,
    contents,
    finished_job,
    read_buckets,
    read_points,
    repair,
    repair_state,
    request_repair,
    run_with_wrong_clock,
    stored_statistics,
    write_for_some_hours,
    write_with_wrong_clock,
)
from support.commits import log_entries
from support.compaction import compact
from support.configuration import fetch_rows
from support.raw_http import ask, local_key
from support.times import DAY, HOUR, MINUTE, NOON, Time
from support.values import write_value

from hub.errors import StorageError, Unavailable
from hub.model import SYSTEM
from hub.parsing.structuring import seconds
from hub.run import running
from hub.testing import add_device
from plugins.users import _service_class

ORG = "/api/v1/organization"
pytestmark = pytest.mark.usefixtures("small_slices")


@pytest.mark.parametrize("seed", range(3))
async def test_shifted_hub_equals_a_hub_whose_clock_was_always_right(tmp_path, hub_config, seed):
    right_config = hub_config.with_data(str(tmp_path / "right"))
    shutil.copytree(hub_config.data, right_config.data)
    right_time, right_numbers = await run_with_wrong_clock(right_config, 0, seed)
    time, numbers = await run_with_wrong_clock(hub_config, AHEAD, seed)
    async with running(right_config, clock=right_time.clock()) as right, running(hub_config, clock=time.clock()) as hub:
        device, expected = hub.devices.get(1), right.devices.get(1)
        assert await contents(right, expected) != await contents(hub, device)
        time.pass_(1000)
        right_time.pass_(1000)
        job = await repair(hub, shiftMs=AHEAD)
        await compact(right)
        assert await contents(right, expected) == await contents(hub, device)
        assert job["values"] == job["plan"]["values"] > 150
        assert hub.clock.now() == time.wall
        assert [] == [alarm for alarm in hub.active_alarms() if alarm.id == "clock"]
        # It continues in the same way, also after a restart.
        await write_for_some_hours(right, right_time, expected, right_numbers)
        await write_for_some_hours(hub, time, device, numbers)
        await compact(right)
        await compact(hub)
        assert await contents(right, expected) == await contents(hub, device)
        assert await stored_statistics(right) == await stored_statistics(hub)
    async with running(right_config, clock=right_time.clock()) as right, running(hub_config, clock=time.clock()) as hub:
        assert await contents(right, right.devices.get(1)) == await contents(hub, hub.devices.get(1))
        assert hub.clock.now() == time.wall


async def test_hub_after_dropping_equals_a_hub_that_was_stopped_meanwhile(tmp_path, hub_config):
    off_config = hub_config.with_data(str(tmp_path / "off"))
    shutil.copytree(hub_config.data, off_config.data)
    off_time, _ = await run_with_wrong_clock(off_config, 0, 1, stopped=True)
    time, _ = await run_with_wrong_clock(hub_config, AHEAD, 1)
    async with running(off_config, clock=off_time.clock()) as off, running(hub_config, clock=time.clock()) as hub:
        await repair(hub, drop=True)
        await compact(off)
        expected = await contents(off, off.devices.get(1))
        # The value of a datastream without history cannot be restored.
        expected[3, "latest"] = None
        expected[3, "points"] = []
        for granularity in ("minute", "hour", "day"):
            expected[3, granularity] = []
        assert expected == await contents(hub, hub.devices.get(1))
        assert hub.clock.now() == time.wall
    async with running(hub_config, clock=time.clock()) as hub:
        assert expected == await contents(hub, hub.devices.get(1))
        assert [(0,)] == await hub.storage.configuration.fetch_all(
            "SELECT count(*) FROM clock_doubts WHERE ended IS NULL"
        )


async def test_repair_may_be_of_a_single_device(hub_config):
    time = await write_with_wrong_clock(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        first, second = hub.devices.get(1), hub.devices.get(2)
        await repair(hub, shiftMs=AHEAD, deviceId=1)
        assert [(NOON, 1), (NOON + MINUTE, 2)] == await read_points(hub, first, 0)
        assert [(NOON, 1), (NOON + AHEAD + 2 * MINUTE, 2)] == await read_points(hub, second, 0)
        assert [NOON + MINUTE] == [event.ts for event in await hub.timeline.newest(first)]
        assert [NOON + AHEAD + 2 * MINUTE] == [event.ts for event in await hub.timeline.newest(second)]
        # Stamps that remain in the future keep new stamps there.
        assert hub.clock.now() >= NOON + AHEAD + 2 * MINUTE
        [future] = (await ask(hub, "GET", "/api/v1/clock", key=local_key(hub))).json["future"]
        assert 2 == future["deviceId"]
        await repair(hub, drop=True, deviceId=2)
        assert [(NOON, 1)] == await read_points(hub, second, 0)
        assert (NOON, 1) == hub.history.latest[second.points[0].series]
        assert [] == await hub.timeline.newest(second)
        assert hub.clock.now() == time.wall


async def test_shifted_values_with_the_stamp_of_another_value_are_all_retained(hub_config):
    time = await write_with_wrong_clock(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        first = hub.devices.get(1)
        await write_value(hub, first, 0, "7", NOON + MINUTE).durable()
        await repair(hub, shiftMs=AHEAD)
        assert [(NOON, 1), (NOON + MINUTE, 7), (NOON + MINUTE, 2)] == await read_points(hub, first, 0)
        # They count in the statistics of their hour.
        assert [(3, 10)] == [(bucket[1], bucket[4]) for bucket in await read_buckets(hub, first, 0, "hour")]


async def test_repair_makes_a_backup_and_is_recorded_in_the_audit(hub_config, tmp_path):
    time = await write_with_wrong_clock(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        job = await repair(hub, shiftMs=AHEAD)
        path = Path(job["backup"])
        assert hub_config.data.absolute() / "backups" == path.parent
        with tarfile.open(path) as tar:
            tar.extract("history.db", tmp_path, filter="data")
        assert 2 == len([stamp for _, stamp, _, _ in log_entries(tmp_path) if stamp > NOON + DAY])
        [record, *_] = (await ask(hub, "GET", "/api/v1/audit", key=local_key(hub))).json["content"]
        assert ("local", "Repair what a wrong clock has stamped") == (record["who"].split()[0], record["action"])
        details = record["details"]
        assert (AHEAD, False, None, 2, 2) == tuple(
            details[key] for key in ("shiftMs", "drop", "deviceId", "values", "events")
        )
        assert record["ts"] == time.wall
        assert (await ask(hub, "GET", "/api/v1/audit/verify", key=local_key(hub))).json["problems"] == []


async def test_nothing_is_changed_if_the_backup_fails(hub_config, monkeypatch):
    time = await write_with_wrong_clock(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        before = await contents(hub, hub.devices.get(1))

        async def fail(*_):
            raise StorageError("the disk is full")

        monkeypatch.setattr(hub, "make_backup", fail)
        await request_repair(hub, shiftMs=AHEAD)
        assert "nothing was changed, since the backup failed: the disk is full" == (await finished_job(hub))["problem"]
        assert before == await contents(hub, hub.devices.get(1))
        assert hub.clock.now() > NOON + DAY


async def test_nothing_is_changed_if_the_audit_cannot_record_the_repair(hub_config, monkeypatch):
    time = await write_with_wrong_clock(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        before = await contents(hub, hub.devices.get(1))

        async def fail_to_record(*_):
            raise Unavailable("no")

        monkeypatch.setattr(hub, "record_change", fail_to_record)
        await request_repair(hub, shiftMs=AHEAD)
        assert "nothing was changed, since the audit could not record it" == (await finished_job(hub))["problem"]
        assert before == await contents(hub, hub.devices.get(1))


async def test_nothing_is_changed_if_the_configuration_cannot_be_written(hub_config, monkeypatch):
    time = await write_with_wrong_clock(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        before = await contents(hub, hub.devices.get(1))

        async def fail_to_correct(*_):
            raise StorageError("disk I/O error")

        with monkeypatch.context() as patched:
            patched.setattr("hub.domain.clock_repair.correct", fail_to_correct)
            await request_repair(hub, shiftMs=AHEAD)
            assert "disk I/O error" == (await finished_job(hub))["problem"]
        assert before == await contents(hub, hub.devices.get(1))
        assert hub.clock.now() > NOON + DAY
        await repair(hub, shiftMs=AHEAD)
        assert [(NOON, 1), (NOON + MINUTE, 2)] == await read_points(hub, hub.devices.get(1), 0)


# -- users and devices--------------------------------------------------------------------------------------------------


async def login(hub):
    body = {"email": "a@example.org", "password": "correct horse battery"}
    return (await ask(hub, "POST", "/api/v1/login", body)).json


def refresh_ends(hub):
    sessions = hub.service(_service_class()).credentials.sessions
    return [sessions[number].refresh_ends for number in sorted(sessions)]


@pytest.mark.parametrize("body", [{"shiftMs": AHEAD}, {"drop": True}], ids=["shift", "drop"])
async def test_times_of_devices_users_sessions_and_keys_are_corrected(hub_config, body):
    time = Time(NOON)
    user = {"email": "a@example.org", "password": "correct horse battery", "roleId": 1}
    async with running(hub_config, clock=time.clock()) as hub:
        assert 201 == (await ask(hub, "POST", f"{ORG}/users/create-in-org", user, local_key(hub))).status
        old_session = await login(hub)
        [before] = await fetch_rows(hub, "SELECT * FROM users_sessions")
    time.wall += AHEAD
    time.pass_(HOUR)
    async with running(hub_config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, METER)
        await hub.tokens.rotate(device, SYSTEM, 40 * DAY)
        await hub.metadata.set(device, "Device UID", "x", SYSTEM)
        session = await login(hub)
        key = {"name": "k", "lasts": 90 * DAY}
        created = (await ask(hub, "POST", "/api/v1/key", key, session["access_token"])).json
        assert created["key"]
        invited = {"email": "b@example.org", "roleId": 1}
        assert 201 == (await ask(hub, "POST", f"{ORG}/users/invite", invited, local_key(hub))).status
    time.wall -= AHEAD
    then = time.wall
    time.pass_(30 * MINUTE)
    at = then if "shiftMs" in body else time.wall
    async with running(hub_config, clock=time.clock()) as hub:
        device = hub.devices.get(1)
        await repair(hub, **body)
        assert at == device.created
        assert [(at,)] == await fetch_rows(hub, "SELECT created FROM devices")
        assert [(at,)] == await fetch_rows(hub, "SELECT updated FROM metadata")
        assert [(at, at + 40 * DAY)] == await fetch_rows(
            hub, "SELECT replaced, expires FROM tokens WHERE expires IS NOT NULL"
        )
        assert [(NOON,), (at,)] == await fetch_rows(hub, "SELECT created FROM users ORDER BY id")
        assert [(at,)] == await fetch_rows(hub, "SELECT last_login FROM users WHERE last_login IS NOT NULL")
        assert [(at, at + 90 * DAY)] == await fetch_rows(hub, "SELECT created, expires FROM users_keys")
        [old, _] = await fetch_rows(hub, "SELECT * FROM users_sessions ORDER BY id")
        assert before == old
        assert [(at, at)] == await fetch_rows(hub, "SELECT created, used FROM users_sessions WHERE id = 2")
        ends = "SELECT DISTINCT refresh_ends - created, access_ends - created FROM users_sessions"
        assert 1 == len(await fetch_rows(hub, ends))
        settings = hub.service(_service_class()).settings
        longest = int(max(seconds(settings.invitation), seconds(settings.reset)) * 1000)
        assert [(1,)] == await fetch_rows(
            hub, f"SELECT count(*) FROM users_links WHERE expires <= {time.wall + longest}"
        )
        # Open sessions are corrected in memory too.
        assert refresh_ends(hub) == [
            row[0] for row in await fetch_rows(hub, "SELECT refresh_ends FROM users_sessions ORDER BY id")
        ]
        assert 200 == (await ask(hub, "GET", f"{ORG}/profile", key=session["access_token"])).status
        assert await hub.timeline.log(device, "hot", "not too soon after an event in the future")
        assert (
            200
            == (await ask(hub, "POST", "/api/v1/login/refresh", {"refresh_token": old_session["refresh_token"]})).status
        )
        assert (
            200 == (await ask(hub, "POST", "/api/v1/login/refresh", {"refresh_token": session["refresh_token"]})).status
        )
    async with running(hub_config, clock=time.clock()) as hub:
        assert hub.clock.now() == time.wall
        assert at == hub.devices.get(1).created


# -- rejections -------------------------------------------------------------------------------------------------------


async def test_invalid_repair_is_rejected_with_a_reason(hub_config):
    time = await write_with_wrong_clock(hub_config)
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
            response = await request_repair(hub, **body)
            assert (status, True) == (response.status, message in response.message), response.body
        plan = (await request_repair(hub, shiftMs=AHEAD, dryRun=True)).json
        assert (2, 2, AHEAD) == (plan["values"], plan["events"], plan["leastShiftMs"])
        assert not (await repair_state(hub))["running"]
        assert 2 == len((await ask(hub, "GET", "/api/v1/clock", key=local_key(hub))).json["future"])
        # The smallest possible shift is sufficient.
        await repair(hub, shiftMs=plan["leastShiftMs"])
        assert 0 == (await request_repair(hub, drop=True, dryRun=True)).json["values"]


async def test_repair_is_rejected_while_the_clock_is_not_believable(hub_config):
    time = await write_with_wrong_clock(hub_config)
    async with running(hub_config, clock=time.clock()) as hub:
        time.wall += 400 * DAY
        response = await request_repair(hub, drop=True)
        assert (409, True) == (response.status, "set the machine's clock right first" in response.message)
