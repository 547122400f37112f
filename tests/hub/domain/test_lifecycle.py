"""Whether devices are there: waits, heartbeats, statuses of a template's own, and what a restart makes of them."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
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


class Session:
    """A connection that a test opens and closes."""

    def __init__(self, hub, device):
        self.hub, self.device = hub, device
        self.via, self.address, self.token = "test", "127.0.0.1", ""
        self.sent = []

    def open(self):
        self.hub.sessions.connected(self)
        return self

    def send(self, command):
        self.sent.append(command)

    def close(self, reason):
        self.hub.sessions.disconnected(self, reason)


@pytest.fixture
def start(tmp_path, hub_timeouts):
    @asynccontextmanager
    async def start():
        async with running(parse(LOOPBACK).with_data(str(tmp_path / "data")), timeouts=hub_timeouts) as hub:
            yield hub

    return start


async def device_of(hub, lifecycle):
    device, token = await add_device(hub, TEMPLATE.format(lifecycle), "Meter")
    seen = []
    hub.subscribe(StatusChanged, lambda fact: seen.append(fact.status))
    return device, token, seen


async def timeline(hub, device):
    """Types of events, oldest first."""
    return [event.type for event in reversed(await hub.timeline.newest(device))]


async def test_a_device_that_is_back_within_its_wait_was_never_offline(start):
    async with start() as hub:
        device, _, seen = await device_of(hub, 'wait = "10s"')
        assert "" == device.status
        for _ in range(3):
            session = Session(hub, device).open()
            assert "online" == device.status
            session.close("gone")
            assert "online" == device.status
        await until(lambda: not hub.lifecycle._unsaved)
        assert ["online"] == seen == await timeline(hub, device)


async def test_a_device_is_offline_after_its_wait_and_then_what_its_template_says(start):
    async with start() as hub:
        lifecycle = (
            'wait = "150ms"\n[[lifecycle.status]]\nname = "Away"\nafter = "50ms"\ndescription = "It will be back"\n'
        )
        lifecycle += '[[lifecycle.status]]\nname = "Inactive"\nafter = "250ms"\ntimeline = false\n'
        device, _, seen = await device_of(hub, lifecycle)
        session = Session(hub, device).open()
        began = trio.current_time()
        session.close("gone")
        await until(lambda: device.status == "Inactive")
        assert trio.current_time() - began >= 0.25
        assert ["online", "Away", "offline", "Inactive"] == seen
        Session(hub, device).open()
        await until(lambda: not hub.lifecycle._unsaved)
        assert ["online", "status", "offline", "online"] == await timeline(hub, device)
        [_, offline, away, _] = await hub.timeline.newest(device)
        assert ("Away", "It will be back") == (away.name, away.description)
        assert ("offline", "Offline") == (offline.code, offline.name)


async def test_what_the_heartbeat_took_is_part_of_the_wait(start):
    async with start() as hub:
        device, _, seen = await device_of(hub, 'wait = "60s"')
        session = Session(hub, device).open()
        # 45 s of heartbeat by 1.5 are more than the minute: offline at once.
        hub.sessions.disconnected(session, "nothing came", 67.5)
        await until(lambda: device.status == "offline", 2)
        assert ["online", "offline"] == seen
        session = Session(hub, device).open()
        hub.sessions.disconnected(session, "nothing came", 59.8)
        assert "online" == device.status
        await until(lambda: device.status == "offline", 2)
        assert device.status_at - device.away >= 60_000 - 50


@pytest.mark.timeouts(NativeTimeouts(sweep=0.05))
async def test_a_silent_board_is_offline_when_its_heartbeats_and_the_wait_are_over(start, monkeypatch):
    monkeypatch.setattr(connectors.native.session, "HEARTBEATS", (0, 3600))
    async with start() as hub:
        device, token, _ = await device_of(hub, 'wait = "1500ms"')
        gone = []
        hub.subscribe(DeviceDisconnected, lambda _: gone.append(hub.clock.now() - device.away))
        async with client.connect(*address_of(hub), token, info={"h-beat": "1"}):
            await until(lambda: device.status == "online")
            await until(lambda: device.status == "offline")
            [silent] = gone
            assert silent >= 1_000, "the silence before the hub noticed it is part of the wait"
            assert device.status_at - device.away >= 1_450


async def test_restarts_neither_lose_nor_invent_a_transition(start):
    async with start() as hub:
        device, _, _ = await device_of(hub, 'wait = "300ms"\n[[lifecycle.status]]\nname = "Inactive"\nafter = "600ms"')
        Session(hub, device).open()
        gone, _ = await add_device(
            hub, TEMPLATE.format('wait = "300ms"').replace("TMPL0", "TMPL1").replace('"Meter"', '"M"')
        )
        Session(hub, gone).open().close("gone")
        await until(lambda: gone.status == "offline")
    for _ in range(2):
        async with start() as hub:
            device, gone = hub.devices.by_id.values()
            assert ("online", "offline") == (device.status, gone.status)
            Session(hub, device).open()
            assert ["online"] == await timeline(hub, device)
    async with start() as hub:
        device, gone = hub.devices.by_id.values()
        # It does not come back: it has the whole wait from the start on.
        assert "online" == device.status
        await until(lambda: device.status == "offline")
    async with start() as hub:
        device, gone = hub.devices.by_id.values()
        assert "offline" == device.status
        await until(lambda: device.status == "Inactive")
        await until(lambda: not hub.lifecycle._unsaved)
        assert ["online", "offline", "status"] == await timeline(hub, device)
        assert ["online", "offline"] == await timeline(hub, gone)


async def test_a_thousand_that_go_at_once_are_kept_in_few_transactions(start):
    async with start() as hub:
        template, _ = await hub.templates.save(TEMPLATE.format('wait = "50ms"'), SYSTEM)
        from hub.domain.devices import NewDevice

        added = await hub.devices.add([NewDevice(name=f"M {n}", template=template) for n in range(1000)], SYSTEM)
        sessions = [Session(hub, device).open() for device, _ in added]
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
        assert ["online", "offline"] == await timeline(hub, added[-1][0])


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


async def test_a_write_that_the_device_does_not_confirm_is_taken_back(start):
    async with start() as hub:
        device, _ = await add_device(hub, LAMP)
        session = Session(hub, device).open()
        of = device.points[0].datastream
        values = []
        from hub.facts import ValueWritten
        from hub.model import Principal

        hub.subscribe(ValueWritten, lambda fact: values.append((fact.value, fact.via)))
        echo = Principal("device", device.id)
        hub.write(Write(device, 0, 1, "api", SYSTEM))
        hub.write(Write(device, 0, 1, "native", echo, session=session))
        await trio.sleep(0.15)
        assert 1 == hub.writes.current(device, of), "it was confirmed"
        hub.write(Write(device, 0, 2, "api", SYSTEM))
        hub.write(Write(device, 0, 3, "api", SYSTEM))
        await until(lambda: hub.writes.current(device, of) == 1)
        assert [(1, "api"), (1, "native"), (2, "api"), (3, "api"), (1, "confirmation")] == values
        assert 3 == len(session.sent), "the device is told of writes, not of what is taken back"


async def test_a_value_that_nothing_comes_after_is_shown_as_its_template_says(start):
    async with start() as hub:
        device, _ = await add_device(hub, LAMP)
        point, told = device.points[1], []
        hub.subscribe(ValueExpired, lambda fact: told.append(fact.show))
        for n in range(4):
            await write_and_wait(hub, device, n)
            assert hub.value_timeouts.expired_text(point) is None
        await until(lambda: told)
        assert ["--"] == told
        assert "--" == hub.value_timeouts.expired_text(point)
        assert 3.0 == hub.writes.current(device, point.datastream), "it stays what it is"
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


async def test_who_comes_and_goes_all_day_is_believed_but_not_written_down_every_time(tmp_path):
    config = parse(LOOPBACK + "[limits]\nevents_per_day = 4").with_data(str(tmp_path / "data"))
    async with running(config) as hub:
        device, _, seen = await device_of(hub, 'wait = "0s"')
        for _ in range(5):
            Session(hub, device).open().close("gone")
            await until(lambda: device.status == "offline")
        await until(lambda: not hub.lifecycle._unsaved)
        assert 10 == len(seen)
        assert 4 == len(await timeline(hub, device))
