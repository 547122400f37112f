"""Hubs whose clock was wrong for a while, the repair of their stamps, and everything that can be read of a device."""

from __future__ import annotations

import random

import trio
from support.patience import patient
from support.raw_http import ask, local_key
from support.times import DAY, HOUR, MINUTE, NOON, Time
from support.values import write_value

from hub.run import running
from hub.testing import add_device

METER = """
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
#: Further than a start follows a wrong clock, and no multiple of hours.
AHEAD = 10 * DAY + 3 * HOUR + 17 * MINUTE
PINS = (0, 1, 2, 3)


async def write_for_some_hours(hub, time, device, numbers, steps=60, gap=4 * MINUTE):
    """Write values to every pin, and log some events; each hour is compacted when it is over."""
    for step in range(steps):
        time.pass_(numbers.randrange(1, gap))
        for pin in PINS:
            write_value(hub, device, pin, str(numbers.randrange(100)) if pin == 1 else str(numbers.randrange(400) / 4))
        if step % 20 == 7:
            await hub.timeline.log(device, "hot", f"number {step}")
    await write_value(hub, device, 0, "50").durable()


async def read_points(hub, device, pin, start=0, end=2**42):
    return [p async for piece in hub.history.points(device.points[pin].series, start, end) for p in piece]


async def read_buckets(hub, device, pin, granularity, zone="Europe/Berlin"):
    pieces = hub.history.buckets(device.points[pin].series, NOON - 40 * DAY, NOON + 40 * DAY, granularity, zone)
    return [
        (start, stats.count, stats.min, stats.max, stats.sum, stats.last, stats.at)
        async for piece in pieces
        for start, *_, stats in piece
    ]


async def contents(hub, device):
    """Everything that can be read about a device."""
    result = {}
    for pin in PINS:
        result[pin, "latest"] = hub.history.latest.get(device.points[pin].series)
        result[pin, "points"] = await read_points(hub, device, pin)
        for granularity in ("minute", "hour", "day"):
            result[pin, granularity] = await read_buckets(hub, device, pin, granularity)
    events = await hub.timeline.newest(device)
    result["events"] = sorted((event.ts, event.description) for event in events)
    result["created"] = device.created
    return result


async def stored_statistics(hub):
    """The rows of the statistics in the file."""
    return [
        await hub.storage.history.fetch_all(sql)
        for sql in ("SELECT * FROM hours ORDER BY id", "SELECT * FROM latest ORDER BY series")
    ]


async def request_repair(hub, **body):
    return await ask(hub, "POST", "/api/v1/clock/repair", body, local_key(hub))


async def repair_state(hub):
    return (await ask(hub, "GET", "/api/v1/clock/repair", key=local_key(hub))).json


async def finished_job(hub):
    """Wait for the end of the repair; return its job."""
    with trio.fail_after(patient(30)):
        while (job := await repair_state(hub))["running"]:
            await trio.sleep(0.02)
    return job


async def repair(hub, **body):
    """Repair the stamps, and return the finished job."""
    response = await request_repair(hub, **body)
    assert 200 == response.status, response.body
    job = await finished_job(hub)
    assert "" == job["problem"]
    return job


async def run_with_wrong_clock(config, ahead, seed, *, stopped=False, before=60):
    """Run a hub for some hours with the right clock, then for some hours with a clock that is ``ahead``.

    Return its clock, which is right again, and the random numbers. ``stopped``: the hub does not run with the wrong clock.
    """
    numbers, time = random.Random(seed), Time(NOON)
    async with running(config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, METER)
        await write_for_some_hours(hub, time, device, numbers, before)
    time.wall += ahead
    async with running(config, clock=time.clock()) as hub:
        device = hub.devices.get(1)
        if not stopped:
            await write_for_some_hours(hub, time, device, numbers)
    time.wall -= ahead
    return time, numbers


async def write_with_wrong_clock(config):
    """Two devices, each with a value of the right clock, and a value and an event of the wrong one; return the right time."""
    time = Time(NOON)
    async with running(config, clock=time.clock()) as hub:
        for name in ("One", "Two"):
            device, _ = await add_device(hub, METER, name)
            await write_value(hub, device, 0, "1").durable()
    time.wall += AHEAD
    async with running(config, clock=time.clock()) as hub:
        for device in hub.devices.by_id.values():
            time.pass_(MINUTE)
            await write_value(hub, device, 0, "2").durable()
            await hub.timeline.log(device, "hot", "in the future")
    time.wall -= AHEAD
    return time
