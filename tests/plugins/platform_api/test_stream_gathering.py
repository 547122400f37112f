"""Subscriptions to the live stream with ``every_ms``: one message for all changes of an interval."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.api_templates import METER
from support.stream import open_stream
from support.times import until

from hub.testing import add_device
from plugins.platform_api import feeds, gathered_feeds, subscriptions

#: Shorter than any test, and longer than the time between its writes.
SHORT, LONG = 50, 10_000


@pytest.fixture
async def others(hub):
    """Two more meters."""
    return [(await add_device(hub, METER, f"Meter {n}"))[0] for n in range(2)]


async def test_changes_of_all_devices_come_in_one_message_with_the_last_value_of_each_datastream(
    hub, device, others, subscriber, write
):
    confirmed = await subscriber.subscribe(1, "devices", every_ms=SHORT)
    assert {"id": 1, "subscribed": "devices", "every_ms": SHORT} == confirmed
    write(device, 0, 1, 2, 3)
    write(others[0], 1, "a", "b")
    write(device, 1, "x")
    message = await subscriber.receive()

    assert {"id", "changes"} == set(message)
    assert [
        (device.id, {"v0": 3, "v1": "x"}, "test"),
        (others[0].id, {"v1": "b"}, "test"),
    ] == [(change["device"], change["values"], change["by"]) for change in message["changes"]]
    assert message["changes"][0]["ts"] == hub.writes.latest(device, device.points[1].datastream)[0]


async def test_second_message_does_not_come_before_the_interval_is_over(device, subscriber, write):
    await subscriber.subscribe(1, "devices", every_ms=LONG)
    write(device, 0, 1)
    assert {"v0": 1} == (await subscriber.receive())["changes"][0]["values"]

    write(device, 0, 2)
    assert await subscriber.stays_silent()


async def test_second_message_comes_when_the_interval_is_over(device, subscriber, write):
    await subscriber.subscribe(1, "devices", every_ms=SHORT)
    for value in range(3):
        write(device, 0, value)
        assert {"v0": value} == (await subscriber.receive())["changes"][0]["values"]


async def test_events_statuses_and_changes_are_never_merged(hub, device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id, every_ms=SHORT)
    write(device, 0, 1)
    await hub.properties.set(device, [0], {"label": ["Power"]})
    await hub.properties.set(device, [0], {"label": ["Energy"]})
    write(device, 0, 2)
    await hub.devices.clear(device, device.points[0].datastream)
    changes = []
    while "values" not in (changes[-1] if changes else {}) or changes[-1]["values"]["v0"] is not None:
        changes += (await subscriber.receive())["changes"]

    assert [["Power"], ["Energy"]] == [c["properties"]["v0"]["label"] for c in changes if "properties" in c]
    assert {"v0": None} == changes[-1]["values"]


async def test_value_after_a_cleared_one_is_sent_after_it(hub, device, others, subscriber, write):
    """The order of changes decides what a client shows in the end."""
    await subscriber.subscribe(1, "devices", every_ms=LONG)
    write(others[0], 0, 1)
    await subscriber.receive()
    write(device, 1, "first")
    write(device, 0, 1)
    await hub.devices.clear(device, device.points[0].datastream)
    write(device, 0, 2)
    feed = hub.service(feeds.Feeds)._feeds[feeds.FeedKey("devices", None, "gathered")]
    changes = feed.to_changes(feed.after(next(iter(feed._gatherings.values())).position))

    assert [{"v1": "first"}, {"v0": None}, {"v0": 2}] == [change.content["values"] for change in changes]


async def test_every_event_is_in_a_gathered_message(hub, device, others, subscriber):
    await subscriber.subscribe(1, "events", devices=[device.id], every_ms=SHORT)
    for meter_device, code, description in (
        (device, "sys_ota", "first"),
        (others[0], "sys_ota", "of another"),
        (device, "full", "second"),
    ):
        await hub.timeline.log(meter_device, code, description)
    events = []
    while len(events) < 2:
        events += [change["event"]["description"] for change in (await subscriber.receive())["changes"]]
    assert ["first", "second"] == events


async def test_clients_with_different_intervals_each_get_the_last_value(hub, device, subscriber, write):
    async with open_stream(hub) as other:
        await subscriber.subscribe(1, "devices", every_ms=50)
        await other.subscribe("mine", "devices", every_ms=75)
        write(device, 0, 1, 2)
        for client, number in ((subscriber, 1), (other, "mine")):
            message = await client.receive()
            assert (number, {"v0": 2}) == (message["id"], message["changes"][0]["values"])


async def test_old_values_are_not_gathered(hub, device, subscriber, write):
    await subscriber.subscribe(1, "devices", every_ms=SHORT)
    write(device, 0, 1)
    await subscriber.receive()
    write(device, 0, 2, at=hub.clock.now() - 60_000)
    assert await subscriber.stays_silent()


async def test_only_selected_devices_and_pins_are_gathered(hub, device, others, subscriber, write):
    await subscriber.subscribe(1, "devices", devices=[device.id, others[1].id], pins=["V1"], every_ms=SHORT)
    for meter_device in (others[0], device, others[1]):
        write(meter_device, 0, 7)
        write(meter_device, 1, "x")
    [first, second] = (await subscriber.receive())["changes"]
    assert [(device.id, {"v1": "x"}), (others[1].id, {"v1": "x"})] == [
        (change["device"], change["values"]) for change in (first, second)
    ]


async def test_more_changes_than_fit_in_a_message_come_in_several(hub, device, others, subscriber, write, monkeypatch):
    monkeypatch.setattr(gathered_feeds, "MAX_CHANGES", 2)
    await subscriber.subscribe(1, "devices", every_ms=LONG)
    for meter_device in (device, *others):
        write(meter_device, 0, 1)
        write(meter_device, 1, "x")
    received = {}
    for _ in range(3):
        for change in (await subscriber.receive())["changes"]:
            received.setdefault(change["device"], {}).update(change["values"])
    assert {d.id: {"v0": 1, "v1": "x"} for d in (device, *others)} == received


async def test_long_messages_are_divided_and_can_be_resumed_in_between(hub, device, others, write, monkeypatch):
    monkeypatch.setattr(subscriptions, "MAX_MESSAGE", 100)
    async with open_stream(hub) as first:
        await first.subscribe(1, "devices", every_ms=LONG)
        for meter_device in (device, others[0]):
            write(meter_device, 1, "x" * 80)
        assert [device.id] == [change["device"] for change in (await first.receive())["changes"]]
    async with open_stream(hub) as resumed:
        assert (await resumed.subscribe(1, "devices", every_ms=LONG, after=first.seq))["resumed"]
        messages = [await resumed.receive() for _ in range(2)]
        assert [device.id, others[0].id] == [change["device"] for m in messages for change in m["changes"]]


# -- resuming ---------------------------------------------------------------------------------------------------------


async def test_resumed_subscription_gets_what_it_missed(hub, device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id, every_ms=SHORT)
    async with open_stream(hub) as lost:
        await lost.subscribe(1, "device", device=device.id, every_ms=SHORT)
        write(device, 0, 1)
        await lost.receive()
        seq = lost.seq
    write(device, 0, 2)
    write(device, 1, "missed")
    await hub.properties.set(device, [0], {"label": ["Power"]})
    await until(lambda: len(hub.service(feeds.Feeds)._feeds) == 1)
    async with open_stream(hub) as resumed:
        assert (await resumed.subscribe(1, "device", device=device.id, every_ms=75, after=seq))["resumed"]
        first, second = (await resumed.receive())["changes"]
        assert {"v0": 2, "v1": "missed"} == first["values"]
        assert {"v0": {"label": ["Power"]}} == second["properties"]
        write(device, 0, 3)
        assert {"v0": 3} == (await resumed.receive())["changes"][0]["values"]


async def test_resumed_subscription_without_other_clients_gets_what_it_missed(hub, device, write):
    async with open_stream(hub) as lost:
        await lost.subscribe(1, "devices", every_ms=SHORT)
        write(device, 0, 1)
        await lost.receive()
    await until(lambda: hub.service(feeds.Feeds)._lingering)
    write(device, 0, 2, 3)
    async with open_stream(hub) as resumed:
        assert (await resumed.subscribe(1, "devices", every_ms=SHORT, after=lost.seq))["resumed"]
        assert {"v0": 3} == (await resumed.receive())["changes"][0]["values"]


@pytest.mark.parametrize("after", [0, 10**15, "newest + 1"])
async def test_subscription_after_an_unknown_number_is_not_resumed(device, subscriber, write, after):
    await subscriber.subscribe(1, "device", device=device.id, every_ms=SHORT)
    write(device, 0, 7)
    await subscriber.receive()
    number = subscriber.seq + 1 if isinstance(after, str) else after
    snapshot = await subscriber.subscribe(2, "device", device=device.id, every_ms=SHORT, after=number)
    assert (False, 7) == (snapshot["resumed"], snapshot["values"]["v0"])
    assert await subscriber.stays_silent()


def gathered_feed(hub):
    """Return a gathered feed that is never flushed, and a gathering of it."""
    feed = gathered_feeds.GatheredFeed(hub, feeds.FeedKey("devices", None, "gathered"), None, lambda _gathering: None)
    return feed, feed.gathering(1.0)


async def test_changes_are_kept_for_clients_that_resume_and_forgotten_later(hub, device, write):
    feed, _ = gathered_feed(hub)
    write(device, 0, 1)
    seq = feed.seq
    write(device, 1, "x")
    for now in (0.0, 10.0, 20.0):
        feed.sweep(now, now - 60.0)
    assert feed.can_resume(seq)
    assert 2 == len(feed.after(seq - 1))
    feed.sweep(61.0, 1.0)
    assert (False, []) == (feed.can_resume(seq), feed.after(seq))
    feed.end()


async def test_changes_that_a_slow_client_lacks_are_not_forgotten(hub, device, write):
    feed, gathering = gathered_feed(hub)
    slow = SimpleNamespace(position=feed.seq)
    gathering.subscribers = [slow]
    write(device, 0, 1)
    for now in (0.0, 100.0, 200.0):
        feed.sweep(now, now - 60.0)
    assert 1 == len(feed.after(slow.position))
    feed.end()


async def test_number_of_kept_changes_is_limited(hub, device, others, write, monkeypatch):
    monkeypatch.setattr(gathered_feeds, "MAX_KEPT", 3)
    feed, _ = gathered_feed(hub)
    start = feed.seq
    for meter_device in (device, *others):
        write(meter_device, 0, 1)
        write(meter_device, 1, "x")
    assert (3, 3, False) == (len(feed.after(start)), feed.lost_after(start), feed.can_resume(start))
    assert 1 == feed.lost_after(start + 2)
    feed.end()
