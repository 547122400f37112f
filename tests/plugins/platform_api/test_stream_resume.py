"""Resumed subscriptions of the live stream."""

from __future__ import annotations

import pytest
from support.api_templates import METER
from support.stream import open_stream
from support.times import until

from hub.testing import add_device
from plugins.platform_api import feeds


async def test_resumed_subscription_receives_the_missed_values(hub, device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id)
    write(device, 0, 1)
    await subscriber.receive()
    async with open_stream(hub) as other:
        await other.subscribe(1, "device", device=device.id)
    async with open_stream(hub) as lost:
        await lost.subscribe(1, "device", device=device.id)
        write(device, 0, 2)
        assert {"v0": 2} == (await lost.receive())["values"]
        seq = lost.seq
    write(device, 0, 3)
    assert {"v0": 2} == (await subscriber.receive())["values"]
    assert {"v0": 3} == (await subscriber.receive())["values"]
    async with open_stream(hub) as resumed:
        snapshot = await resumed.subscribe(1, "device", device=device.id, after=seq)
        assert snapshot["resumed"]
        assert {"v0": 3} == (await resumed.receive())["values"]
        assert resumed.seq > seq
        write(device, 0, 4)
        assert {"v0": 4} == (await resumed.receive())["values"]


@pytest.mark.parametrize("after", [0, 10**15, "newest + 1"])
async def test_subscription_after_an_unknown_sequence_number_is_not_resumed(device, subscriber, write, after):
    await subscriber.subscribe(1, "device", device=device.id)
    write(device, 0, 7)
    await subscriber.receive()
    number = subscriber.seq + 1 if isinstance(after, str) else after
    snapshot = await subscriber.subscribe(2, "device", device=device.id, after=number)
    assert (False, 7) == (snapshot["resumed"], snapshot["values"]["v0"])
    assert await subscriber.has_no_messages()


async def test_feed_without_subscribers_expires_and_cannot_be_resumed(hub, device, write, monkeypatch):
    monkeypatch.setattr(feeds, "LINGER", -1.0)
    async with open_stream(hub) as first:
        await first.subscribe(1, "device", device=device.id)
        write(device, 0, 1)
        await first.receive()
    await until(lambda: not hub.service(feeds.Feeds)._feeds)
    async with open_stream(hub) as resumed:
        assert not (await resumed.subscribe(1, "device", device=device.id, after=first.seq))["resumed"]


async def test_sequence_numbers_increase_across_expired_feeds(hub, device, write, monkeypatch):
    monkeypatch.setattr(feeds, "LINGER", -1.0)
    numbers = []
    for value in range(3):
        async with open_stream(hub) as client:
            await client.subscribe(1, "device", device=device.id)
            write(device, 0, value)
            await client.receive()
            numbers.append(client.seq)
        await until(lambda: not hub.service(feeds.Feeds)._feeds)
    assert sorted(set(numbers)) == numbers


async def test_resumed_event_subscription_receives_only_events_of_its_devices(hub, device, subscriber):
    other, _ = await add_device(hub, METER, "Other")
    await subscriber.subscribe(1, "events", devices=[device.id])
    await hub.timeline.log(device, "sys_ota", "first")
    await subscriber.receive()
    seq = subscriber.seq
    for meter_device, code, description in ((other, "sys_ota", "not ours"), (device, "full", "second")):
        await hub.timeline.log(meter_device, code, description)
    async with open_stream(hub) as resumed:
        assert (await resumed.subscribe(1, "events", devices=[device.id], after=seq))["resumed"]
        assert "second" == (await resumed.receive())["event"]["description"]
        assert await resumed.has_no_messages()


async def test_messages_are_kept_for_clients_that_resume_and_forgotten_later(hub, device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id)
    write(device, 0, 1)
    await subscriber.receive()
    feed = hub.service(feeds.Feeds)._feeds[feeds.FeedKey("device", device.id)]
    for now in (0.0, 10.0, 20.0):
        feed.sweep(now, now - 60.0)
    assert 1 == len(feed.after(subscriber.seq - 1))
    feed.sweep(61.0, 1.0)
    assert (None, []) == (feed.after(subscriber.seq - 1), feed.after(subscriber.seq))
    write(device, 0, 2)
    await subscriber.receive()
    assert 1 == len(feed.replay)
