"""Limits of notifications: every event is logged, and the limits decide which of them notify users."""

from __future__ import annotations

import pytest
from support.times import HOUR, MINUTE, NOON

from hub.domain.clock_repair import COLUMNS
from hub.errors import StorageError, TooMany
from hub.facts import EventLogged
from hub.model import SYSTEM
from hub.run import running
from hub.storage.stamp_correction import Correction, correct
from hub.testing import add_device

TEMPLATE = """
[template]
id = "TMPL0"
name = "Meter"
[[event]]
code = "each"
name = "Each"
[[event]]
code = "tenth"
name = "Tenth"
every = 10
[[event]]
code = "hourly"
name = "Hourly"
period = "1h"
[[event]]
code = "both"
name = "Both"
every = 120
period = "2h"
[[event]]
code = "hidden"
name = "Hidden"
timeline = false
every = 2
[[event]]
code = "unlisted"
name = "Unlisted"
show_in_notifications = false
[[event]]
code = "silent"
name = "Silent"
every = 2
notifications = { enabled = false }
"""


@pytest.fixture
async def hub(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        yield hub


@pytest.fixture
async def device(hub):
    return (await add_device(hub, TEMPLATE, "Meter"))[0]


async def notified(hub, time, device, code, count, interval=MINUTE):
    """Log events in intervals; return the numbers (from 1) of those that notify."""
    facts = []
    unsubscribe = hub.subscribe(EventLogged, facts.append)
    for _ in range(count):
        await hub.timeline.log(device, code)
        time.pass_(interval)
    unsubscribe()
    assert count == len(facts)
    return [number for number, fact in enumerate(facts, 1) if fact.notify]


async def test_event_without_limits_notifies_each_time(hub, device, time):
    assert [1, 2, 3] == await notified(hub, time, device, "each", 3)


async def test_tenth_event_notifies_and_all_are_on_the_timeline(hub, device, time):
    assert [10, 20] == await notified(hub, time, device, "tenth", 25)
    assert 25 == len(await hub.timeline.newest(device))


async def test_period_starts_with_the_first_notification(hub, device, time):
    assert [1, 4] == await notified(hub, time, device, "hourly", 6, 20 * MINUTE)
    assert 6 == len(await hub.timeline.newest(device))


async def test_event_with_a_count_and_a_period_notifies_after_both(hub, device, time):
    # 120 events in an hour: the 240th would come in the period, the 241st is the first after it.
    assert [120] == await notified(hub, time, device, "both", 239, MINUTE // 2)
    time.pass_(HOUR)
    assert [1] == await notified(hub, time, device, "both", 100)
    time.pass_(2 * HOUR)
    # 99 were counted in the period.
    assert [21] == await notified(hub, time, device, "both", 50)


async def test_event_that_is_not_on_the_timeline_is_counted(hub, device, time):
    assert [2, 4] == await notified(hub, time, device, "hidden", 5)
    assert [] == await hub.timeline.newest(device)


@pytest.mark.parametrize("code", ["unlisted", "silent", "sys_ota"])
async def test_event_without_notifications_is_logged_and_does_not_notify(hub, device, time, code):
    assert [] == await notified(hub, time, device, code, 4)
    assert 4 == len(await hub.timeline.newest(device))


async def test_events_are_counted_for_each_device_and_type(hub, device, time):
    other, _ = await add_device(hub, TEMPLATE, "Other")
    assert [] == await notified(hub, time, device, "tenth", 9)
    assert [] == await notified(hub, time, other, "tenth", 9)
    assert [2] == await notified(hub, time, device, "hidden", 3)
    assert [1] == await notified(hub, time, device, "tenth", 1)


async def test_counts_and_periods_survive_a_restart(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, TEMPLATE, "Meter")
        assert [] == await notified(hub, time, device, "tenth", 6)
        assert [1] == await notified(hub, time, device, "hourly", 2)
    async with running(hub_config, clock=time.clock()) as hub:
        device = hub.devices.get(device.id)
        assert [4] == await notified(hub, time, device, "tenth", 6)
        assert [] == await notified(hub, time, device, "hourly", 2)
        time.pass_(HOUR)
        assert [1] == await notified(hub, time, device, "hourly", 2)


async def test_rejected_event_is_not_counted(hub, device, time):
    assert [] == await notified(hub, time, device, "tenth", 8)
    await hub.timeline.log(device, "tenth")
    with pytest.raises(TooMany, match="less than a second ago"):
        await hub.timeline.log(device, "tenth")
    time.pass_(MINUTE)
    assert [1] == await notified(hub, time, device, "tenth", 1)


async def test_event_that_is_not_written_is_not_counted(hub, device, time, monkeypatch):
    assert [] == await notified(hub, time, device, "tenth", 8)
    transaction = hub.storage.transaction

    async def fail_at_the_end(write):
        async def write_and_fail(tx):
            await write(tx)
            raise StorageError("the disk is full")

        return await transaction(write_and_fail)

    with monkeypatch.context() as broken:
        broken.setattr(hub.storage, "transaction", fail_at_the_end)
        with pytest.raises(StorageError):
            await hub.timeline.log(device, "tenth")
    assert [2] == await notified(hub, time, device, "tenth", 2)


async def test_counts_are_deleted_with_the_device(hub, device, time):
    await notified(hub, time, device, "tenth", 3)
    sql = "SELECT device, code, count FROM notification_counters"
    assert [(device.id, "tenth", 3)] == await hub.storage.configuration.fetch_all(sql)
    await hub.devices.delete(device, SYSTEM)
    assert [] == await hub.storage.configuration.fetch_all(sql)
    event = await hub.timeline.log(device, "tenth")
    assert 0 == event.id, "a device that is deleted meanwhile"
    assert [] == await hub.storage.configuration.fetch_all(sql)


async def test_smaller_count_of_a_new_template_counts_from_the_next_event(hub, device, time):
    assert [] == await notified(hub, time, device, "tenth", 9)
    await hub.templates.save(TEMPLATE.replace("every = 10", "every = 3"), SYSTEM)
    assert [1, 4] == await notified(hub, time, device, "tenth", 5)


async def test_repair_of_the_clock_corrects_the_start_of_a_period(hub, device, time):
    await notified(hub, time, device, "hourly", 1)
    correction = Correction(NOON - 1, shift=HOUR)

    async def shift(tx):
        for columns in COLUMNS:
            await correct(tx, columns, correction)

    await hub.storage.transaction(shift)
    [(at,)] = await hub.storage.configuration.fetch_all("SELECT notified FROM notification_counters")
    assert NOON - HOUR == at
