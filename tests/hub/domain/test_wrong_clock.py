"""A hub whose clock was wrong for a while: stamps of values, alarms, and expiry of sessions, links and keys."""

from __future__ import annotations

import pytest
from support.configuration import fetch_rows
from support.raw_http import ask, local_key
from support.times import DAY, HOUR, MINUTE, NOON, Time

from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device
from hub.writes import Write

YEAR = 365 * DAY
ORG = "/api/v1/organization"
METER = '[template]\nid = "TMPL0"\nname = "Meter"\n[[datastream]]\npin = "V0"\nname = "Level"\n'


def clock_at(wall):
    return Time(wall).clock()


async def login(hub, email):
    body = {"email": email, "password": "correct horse battery"}
    return (await ask(hub, "POST", "/api/v1/login", body)).json


async def refresh_status(hub, session):
    return (await ask(hub, "POST", "/api/v1/login/refresh", {"refresh_token": session["refresh_token"]})).status


async def add_user(hub, email):
    body = {"email": email, "password": "correct horse battery", "roleId": 1}
    assert 201 == (await ask(hub, "POST", f"{ORG}/users/create-in-org", body, local_key(hub))).status


async def test_imported_value_with_its_true_time_is_accepted_while_stamps_are_in_the_future(hub_config):
    async with running(hub_config, clock=clock_at(NOON + 400 * DAY)) as hub:
        device, token = await add_device(hub, METER)
        await hub.write(Write(device, 0, "1", "test", SYSTEM)).durable()
    async with running(hub_config, clock=clock_at(NOON)) as hub:
        path = f"/external/api/batch/update?token={token}&pin=v0"
        headers = {"Content_Type": "application/json"}
        assert 200 == (await ask(hub, "POST", path, [[NOON - HOUR, 2]], **headers)).status
        assert "older than what is kept" in (await ask(hub, "POST", path, [[NOON - YEAR, 2]], **headers)).message
        [alarm] = [alarm.text for alarm in hub.active_alarms() if alarm.id == "clock"]
        assert "behind the newest record, by 400 days" in alarm
        assert "stamps of the future until 2028-09-08" in alarm


async def test_start_with_a_clock_far_ahead_moves_no_stamp(hub_config):
    """The hub has devices, but no values yet."""
    async with running(hub_config, clock=clock_at(NOON)) as hub:
        device, _ = await add_device(hub, METER)
    async with running(hub_config, clock=clock_at(NOON + 400 * DAY)) as hub:
        await hub.write(Write(hub.devices.get(device.id), 0, "1", "test", SYSTEM)).durable()
    async with running(hub_config, clock=clock_at(NOON + HOUR)) as hub:
        [(at, _)] = hub.history.latest.values()
        assert NOON <= at < NOON + MINUTE
        assert [] == [alarm for alarm in hub.active_alarms() if alarm.id == "clock"]


async def test_short_jump_of_the_clock_moves_no_stamp(hub_config):
    time = Time()
    async with running(hub_config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, METER)
        hub.write(Write(device, 0, "1", "test", SYSTEM))
        time.wall += YEAR
        time.pass_(3000)
        hub.write(Write(device, 0, "2", "test", SYSTEM))
        at, _ = hub.history.latest[next(iter(hub.history.latest))]
        assert NOON <= at < NOON + MINUTE
        [alarm] = [alarm.text for alarm in hub.active_alarms() if alarm.id == "clock"]
        assert "365 days ahead of where it should be" in alarm
        time.wall -= YEAR
        hub.write(Write(device, 0, "3", "test", SYSTEM))
        assert [] == [alarm for alarm in hub.active_alarms() if alarm.id == "clock"]
        await hub.clock_doubts.persist()
        assert [("ahead", NOON + YEAR + 3000)] == await fetch_rows(hub, "SELECT state, wall FROM clock_doubts")
        assert [(1,)] == await fetch_rows(hub, "SELECT count(*) FROM clock_doubts WHERE ended IS NOT NULL")


async def test_clock_route_lists_values_of_the_future_and_periods_of_doubt(hub_config):
    async with running(hub_config, clock=clock_at(NOON + 20 * DAY)) as hub:
        device, _ = await add_device(hub, METER)
        await hub.write(Write(device, 0, "1", "test", SYSTEM)).durable()
    async with running(hub_config, clock=clock_at(NOON)) as hub:
        await hub.clock_doubts.persist()
        clock = (await ask(hub, "GET", "/api/v1/clock", key=local_key(hub))).json
        assert ("behind", NOON, False) == (clock["state"], clock["wall"], clock["believable"])
        assert "behind the newest record, by 20 days" in clock["problem"]
        newest = NOON + 20 * DAY
        values = {"datastreams": 1, "values": 1, "oldest": newest, "newest": newest}
        assert [{"deviceId": device.id, "name": "Device", **values}] == clock["future"]
        assert [{"state": "behind", "began": newest, "ended": None, "wall": NOON}] == clock["doubts"]


@pytest.mark.parametrize("ahead", [YEAR, 10 * DAY])
async def test_start_with_a_wrong_clock_ends_no_session_link_or_idempotency_key(hub_config, ahead):
    async with running(hub_config, clock=clock_at(NOON)) as hub:
        for name in ("a", "b"):
            await add_user(hub, f"{name}@example.org")
        session = await login(hub, "a@example.org")
        link = {"email": "c@example.org", "roleId": 1}
        assert 201 == (await ask(hub, "POST", f"{ORG}/users/invite", link, local_key(hub))).status
        erase = {"deviceId": (await add_device(hub, METER))[0].id}
        headers = {"Idempotency_Key": "k"}
        await ask(hub, "POST", "/api/v1/device/erase", erase, local_key(hub), **headers)
        before = await count_rows(hub)
    async with running(hub_config, clock=clock_at(NOON + ahead)) as hub:
        await login(hub, "b@example.org")
        await ask(hub, "POST", f"{ORG}/users/invite", link | {"email": "d@example.org"}, local_key(hub))
        await ask(hub, "POST", "/api/v1/device/erase", erase, local_key(hub), Idempotency_Key="other")
    async with running(hub_config, clock=clock_at(NOON + MINUTE)) as hub:
        assert [n + 1 for n in before] == await count_rows(hub)
        assert 200 == await refresh_status(hub, session)


async def count_rows(hub):
    tables = ("users_sessions", "users_links", "once")
    return [(await fetch_rows(hub, f"SELECT count(*) FROM {table}"))[0][0] for table in tables]


async def test_expired_sessions_are_deleted_when_the_clock_is_believable(hub_config):
    time = Time()
    async with running(hub_config, clock=time.clock()) as hub:
        for name in ("a", "b"):
            await add_user(hub, f"{name}@example.org")
        await login(hub, "a@example.org")
        for _ in range(400):
            time.pass_(DAY)
            hub.clock.check()
            hub.clock.now()
        await login(hub, "b@example.org")
        assert [(1,)] == await fetch_rows(hub, "SELECT count(*) FROM users_sessions")
