"""Connection status of devices: waits, heartbeats, custom statuses, restarts; and value timeouts."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from support.sessions import RecordingSession
from support.times import until

import connectors.native.endpoint
import connectors.native.session
from connectors.native import client
from connectors.native.timeouts import NativeTimeouts
from hub.config import parse
from hub.facts import DeviceDisconnected, StatusChanged, ValueExpired
from hub.model import SYSTEM
from hub.run import running
from hub.testing import LOOPBACK, add_device, address_of
from hub.writes import Write

TEMPLATE = """
[template]
id = "TMPL0"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
[lifecycle]
{}
"""


@pytest.fixture
def start(tmp_path, hub_timeouts):
    @asynccontextmanager
    async def start():
        async with running(parse(LOOPBACK).with_data(str(tmp_path / "data")), timeouts=hub_timeouts) as hub:
            yield hub

    return start


async def add_with_lifecycle(hub, lifecycle):
    """Add a device with a lifecycle; return it, its token, and a list that collects its statuses."""
    device, token = await add_device(hub, TEMPLATE.format(lifecycle), "Meter")
    statuses = []
    hub.subscribe(StatusChanged, lambda fact: statuses.append(fact.status))
    return device, token, statuses


async def event_types(hub, device):
    """The types of the events on the timeline, oldest first."""
    return [event.type for event in reversed(await hub.timeline.newest(device))]


async def test_device_that_reconnects_within_its_wait_stays_online(start):
    async with start() as hub:
        device, _, statuses = await add_with_lifecycle(hub, 'wait = "10s"')
        assert "" == device.status
        for _ in range(3):
            session = RecordingSession(hub, device).connect()
            assert "online" == device.status
            session.close("gone")
            assert "online" == device.status
        await until(lambda: not hub.lifecycle._unsaved)
        assert ["online"] == statuses == await event_types(hub, device)


async def test_device_is_offline_after_its_wait_and_then_has_the_statuses_of_its_template(start):
    async with start() as hub:
        lifecycle = (
            'wait = "150ms"\n[[lifecycle.status]]\nname = "Away"\nafter = "50ms"\ndescription = "It will be back"\n'
        )
        lifecycle += '[[lifecycle.status]]\nname = "Inactive"\nafter = "250ms"\ntimeline = false\n'
        device, _, statuses = await add_with_lifecycle(hub, lifecycle)
        session = RecordingSession(hub, device).connect()
        began = trio.current_time()
        session.close("gone")
        await until(lambda: device.status == "Inactive")
        assert trio.current_time() - began >= 0.25
        assert ["online", "Away", "offline", "Inactive"] == statuses
        RecordingSession(hub, device).connect()
        await until(lambda: not hub.lifecycle._unsaved)
        assert ["online", "status", "offline", "online"] == await event_types(hub, device)
        [_, offline, away, _] = await hub.timeline.newest(device)
        assert ("Away", "It will be back") == (away.name, away.description)
        assert ("offline", "Offline") == (offline.code, offline.name)


async def test_wait_includes_the_silence_before_the_disconnection(start):
    async with start() as hub:
        device, _, statuses = await add_with_lifecycle(hub, 'wait = "60s"')
        session = RecordingSession(hub, device).connect()
        # 45 s of heartbeat by 1.5 are more than the minute: offline at once.
        hub.sessions.disconnected(session, "nothing came", 67.5)
        await until(lambda: device.status == "offline", 2)
        assert ["online", "offline"] == statuses
        session = RecordingSession(hub, device).connect()
        hub.sessions.disconnected(session, "nothing came", 59.8)
        assert "online" == device.status
        await until(lambda: device.status == "offline", 2)
        assert device.status_at - device.away >= 60_000 - 50


@pytest.mark.timeouts(NativeTimeouts(sweep=0.05))
async def test_silent_device_is_offline_when_the_wait_has_passed_since_its_last_message(start, monkeypatch):
    monkeypatch.setattr(connectors.native.session, "HEARTBEATS", (0, 3600))
    async with start() as hub:
        device, token, _ = await add_with_lifecycle(hub, 'wait = "1500ms"')
        silences = []
        hub.subscribe(DeviceDisconnected, lambda _: silences.append(hub.clock.now() - device.away))
        async with client.connect(*address_of(hub), token, info={"h-beat": "1"}):
            await until(lambda: device.status == "online")
            await until(lambda: device.status == "offline")
            [silence] = silences
            assert silence >= 1_000, "the wait includes the silence before the hub detected it"
            assert device.status_at - device.away >= 1_450


async def test_restart_neither_loses_nor_adds_a_status_transition(start):
    async with start() as hub:
        device, _, _ = await add_with_lifecycle(
            hub, 'wait = "300ms"\n[[lifecycle.status]]\nname = "Inactive"\nafter = "600ms"'
        )
        RecordingSession(hub, device).connect()
        away, _ = await add_device(
            hub, TEMPLATE.format('wait = "300ms"').replace("TMPL0", "TMPL1").replace('"Meter"', '"M"')
        )
        RecordingSession(hub, away).connect().close("gone")
        await until(lambda: away.status == "offline")
    for _ in range(2):
        async with start() as hub:
            device, away = hub.devices.by_id.values()
            assert ("online", "offline") == (device.status, away.status)
            RecordingSession(hub, device).connect()
            assert ["online"] == await event_types(hub, device)
    async with start() as hub:
        device, away = hub.devices.by_id.values()
        # It does not reconnect: the wait begins at the start of the hub.
        assert "online" == device.status
        await until(lambda: device.status == "offline")
    async with start() as hub:
        device, away = hub.devices.by_id.values()
        assert "offline" == device.status
        await until(lambda: device.status == "Inactive")
        await until(lambda: not hub.lifecycle._unsaved)
        assert ["online", "offline", "status"] == await event_types(hub, device)
        assert ["online", "offline"] == await event_types(hub, away)


async def test_thousand_simultaneous_disconnections_are_stored_in_few_transactions(start):
    async with start() as hub:
        template, _ = await hub.templates.save(TEMPLATE.format('wait = "50ms"'), SYSTEM)
        from hub.domain.devices import NewDevice

        added = await hub.devices.add([NewDevice(name=f"M {n}", template=template) for n in range(1000)], SYSTEM)
        sessions = [RecordingSession(hub, device).connect() for device, _ in added]
        await until(lambda: not hub.lifecycle._unsaved)
        transactions, real = [], hub.storage.transaction

        async def counted(fn):
            transactions.append(fn)
            return await real(fn)

        hub.storage.transaction = counted
        for session in sessions:
            session.close("gone")
        await until(lambda: all(device.status == "offline" for device, _ in added))
        await until(lambda: not hub.lifecycle._unsaved)
        assert len(transactions) < 10
        assert ["online", "offline"] == await event_types(hub, added[-1][0])


# -- values -----------------------------------------------------------------------------------------------------------

LAMP = """
[template]
id = "TMPL0"
name = "Lamp"
[[datastream]]
pin = "V0"
name = "Switch"
type = "integer"
confirm = "100ms"
default = 0
[[datastream]]
pin = "V1"
name = "Level"
expire = { after = "150ms", show = "--" }
"""


async def test_write_that_the_device_does_not_confirm_is_reverted(start):
    async with start() as hub:
        device, _ = await add_device(hub, LAMP)
        session = RecordingSession(hub, device).connect()
        datastream = device.points[0].datastream
        values = []
        from hub.facts import ValueWritten
        from hub.model import Principal

        hub.subscribe(ValueWritten, lambda fact: values.append((fact.value, fact.via)))
        echo = Principal("device", device.id)
        hub.write(Write(device, 0, 1, "api", SYSTEM))
        hub.write(Write(device, 0, 1, "native", echo, session=session))
        await trio.sleep(0.15)
        assert 1 == hub.writes.current(device, datastream), "it was confirmed"
        hub.write(Write(device, 0, 2, "api", SYSTEM))
        hub.write(Write(device, 0, 3, "api", SYSTEM))
        await until(lambda: hub.writes.current(device, datastream) == 1)
        assert [(1, "api"), (1, "native"), (2, "api"), (3, "api"), (1, "confirmation")] == values
        assert 3 == len(session.sent), "writes are sent to the device, reverted values are not"


async def test_expired_value_is_displayed_as_its_template_states(start):
    async with start() as hub:
        device, _ = await add_device(hub, LAMP)
        point, texts = device.points[1], []
        hub.subscribe(ValueExpired, lambda fact: texts.append(fact.show))
        for n in range(4):
            await write_and_wait(hub, device, n)
            assert hub.value_timeouts.expired_text(point) is None
        await until(lambda: texts)
        assert ["--"] == texts
        assert "--" == hub.value_timeouts.expired_text(point)
        assert 3.0 == hub.writes.current(device, point.datastream), "the value itself does not expire"
        hub.write(Write(device, 1, 5, "test", SYSTEM))
        assert hub.value_timeouts.expired_text(point) is None
        await until(lambda: hub.value_timeouts.expired_text(point))
        now = hub.clock.now()
        await hub.writes.import_points(device, [(point.datastream, now, 6)], "test", SYSTEM)
        assert hub.value_timeouts.expired_text(point) is None
        await until(lambda: hub.value_timeouts.expired_text(point))
    async with start() as hub:
        [device] = hub.devices.by_id.values()
        await until(lambda: hub.value_timeouts.expired_text(device.points[1]) == "--")


async def write_and_wait(hub, device, value):
    await hub.write(Write(device, 1, value, "test", SYSTEM)).durable()


async def test_status_changes_over_the_daily_event_limit_are_emitted_but_not_on_the_timeline(tmp_path):
    config = parse(LOOPBACK + "[limits]\nevents_per_day = 4").with_data(str(tmp_path / "data"))
    async with running(config) as hub:
        device, _, statuses = await add_with_lifecycle(hub, 'wait = "0s"')
        for _ in range(5):
            RecordingSession(hub, device).connect().close("gone")
            await until(lambda: device.status == "offline")
        await until(lambda: not hub.lifecycle._unsaved)
        assert 10 == len(statuses)
        assert 4 == len(await event_types(hub, device))
