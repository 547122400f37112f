"""Changes of a device's status: which of them are on the timeline, and which notify users."""

from __future__ import annotations

import pytest
from support.sessions import RecordingSession
from support.times import MINUTE, until

from hub.facts import EventLogged
from hub.run import running
from hub.testing import add_device

TEMPLATE = """
[template]
id = "TMPL0"
name = "Meter"
[lifecycle]
wait = "0s"
"""


@pytest.fixture
async def hub(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        yield hub


async def add_with_lifecycle(hub, lifecycle):
    """Add a device with a lifecycle; return it, and a list that collects its events as (code, id, notify)."""
    device, _ = await add_device(hub, TEMPLATE + lifecycle, "Meter")
    events = []
    hub.subscribe(EventLogged, lambda fact: events.append((fact.event.code, fact.event.id > 0, fact.notify)))
    return device, events


async def reconnect(hub, device, times=1):
    """Let a device be online, and then offline, some times."""
    for _ in range(times):
        session = RecordingSession(hub, device).connect()
        session.close("gone")
        await until(lambda: device.status == "offline")
    await until(lambda: not hub.lifecycle._unsaved)


async def test_status_notifies_only_if_the_template_says_so(hub):
    device, events = await add_with_lifecycle(hub, "[lifecycle.offline_settings]\nshow_in_notifications = true\n")
    await reconnect(hub, device)
    assert [("online", True, False), ("offline", True, True)] == events


async def test_status_with_notifications_disabled_does_not_notify(hub):
    device, events = await add_with_lifecycle(
        hub,
        "[lifecycle.offline_settings]\nshow_in_notifications = true\nnotifications = { enabled = false }\n",
    )
    await reconnect(hub, device)
    assert [("online", True, False), ("offline", True, False)] == events


async def test_status_notifies_once_a_minute_unless_the_template_says_otherwise(hub, time):
    settings = "[lifecycle.offline_settings]\nshow_in_notifications = true\n"
    settings += "[lifecycle.online_settings]\nshow_in_notifications = true\nevery = 2\nperiod = ''\n"
    device, events = await add_with_lifecycle(hub, settings)
    await reconnect(hub, device, 4)
    time.pass_(MINUTE)
    await reconnect(hub, device)
    assert [True, False, False, False, True] == [notify for code, _, notify in events if code == "offline"]
    assert [False, True, False, True, False] == [notify for code, _, notify in events if code == "online"]


async def test_status_that_is_not_on_the_timeline_is_emitted_if_it_notifies(hub):
    settings = "[lifecycle.online_settings]\ntimeline = false\n"
    settings += "[lifecycle.offline_settings]\ntimeline = false\nshow_in_notifications = true\n"
    device, events = await add_with_lifecycle(hub, settings)
    await reconnect(hub, device)
    assert [("offline", False, True)] == events
    assert [] == await hub.timeline.newest(device)


async def test_custom_status_has_its_own_limit_and_description(hub):
    status = '[[lifecycle.status]]\nname = "Gone"\nafter = "1ms"\ndescription = "Nothing comes"\n'
    device, events = await add_with_lifecycle(hub, status + "show_in_notifications = true\n")
    session = RecordingSession(hub, device).connect()
    session.close("gone")
    await until(lambda: device.status == "Gone")
    await until(lambda: not hub.lifecycle._unsaved)
    assert ("Gone", True, True) == events[-1]
    assert "Nothing comes" == (await hub.timeline.newest(device))[0].description


async def test_event_of_the_template_and_status_of_the_same_name_are_counted_apart(hub):
    lifecycle = "[lifecycle.online_settings]\nshow_in_notifications = true\nevery = 2\nperiod = ''\n"
    lifecycle += '[[event]]\ncode = "online"\nname = "Online by radio"\nevery = 2\n'
    device, events = await add_with_lifecycle(hub, lifecycle)
    await reconnect(hub, device)
    await hub.timeline.log(device, "online")
    assert [("online", True, False)] * 2 == [event for event in events if event[0] == "online"]
