"""The live stream coalesces values, and batches them while delivery is expensive."""

from __future__ import annotations

import time

import trio

from hub.model import SYSTEM
from hub.writes import Write
from plugins.platform_api import feeds


async def test_first_change_is_sent_at_once_and_later_ones_are_coalesced(device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id)
    write(device, 0, 1)
    assert {"v0": 1} == (await subscriber.receive())["values"]
    write(device, 0, 2, 3, 4)

    assert {"v0": 4} == (await subscriber.receive())["values"]
    assert await subscriber.has_no_messages()


async def test_minimum_gap_between_changes_is_kept_per_value(device, subscriber, write, monkeypatch):
    monkeypatch.setattr(feeds, "MIN_GAP", 60.0)
    await subscriber.subscribe(1, "devices")
    write(device, 0, 1)
    assert {"v0": 1} == (await subscriber.receive())["values"]
    write(device, 0, 2)
    assert await subscriber.has_no_messages()

    # Each value has a gap of its own.
    write(device, 1, "a")
    assert {"v1": "a"} == (await subscriber.receive())["values"]


async def test_simultaneous_changes_are_sent_in_one_message(device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id)
    write(device, 0, 1, 2)
    write(device, 1, "a", "b")

    assert {"v0": 2, "v1": "b"} == (await subscriber.receive())["values"]


async def test_every_sends_all_changes(device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id, every=True)
    write(device, 0, *range(100))

    assert [{"v0": n} for n in range(100)] == [(await subscriber.receive())["values"] for _ in range(100)]


async def test_values_with_old_timestamps_are_sent_only_with_every(hub, device, subscriber, write):
    write(device, 0, 1)
    old = hub.clock.now() - 60_000
    await subscriber.subscribe(1, "devices")
    write(device, 0, 2, at=old)
    assert await subscriber.has_no_messages()

    await subscriber.subscribe(2, "devices", every=True)
    write(device, 0, 3, at=old)
    assert {"id": 2, "device": device.id, "values": {"v0": 3}, "ts": old, "by": "test"} == await subscriber.receive()


async def test_lagging_client_is_sent_the_number_of_dropped_values(device, subscriber, write, monkeypatch):
    monkeypatch.setattr(feeds, "MAX_QUEUED", 5)
    await subscriber.subscribe(1, "device", device=device.id, every=True)
    write(device, 0, *range(12))

    assert {"id": 1, "lagged": 7} == await subscriber.receive()
    assert [{"v0": n} for n in range(7, 12)] == [(await subscriber.receive())["values"] for _ in range(5)]
    write(device, 0, 12)
    assert {"v0": 12} == (await subscriber.receive())["values"]


async def write_values(hub, device, count, listener):
    """Write values to a device, and let the listener receive each before the next is written."""
    service = hub.service(feeds.Feeds)
    feed = service.subscribe(feeds.FeedKey("devices", None, "every"), None, listener)
    for number in range(count):
        hub.write(Write(device, 0, str(number), "test", SYSTEM))
        for _ in range(5):
            await trio.lowlevel.checkpoint()
    service.unsubscribe(feed, listener)


async def test_values_are_sent_one_by_one_while_sending_is_cheap(hub, device):
    batches = []
    await write_values(hub, device, 100, batches.append)
    assert [1] * 100 == [len(batch.changes) for batch in batches]


async def test_values_are_batched_while_sending_is_expensive(hub, device):
    batches = []

    def slow_listener(batch):
        batches.append(batch)
        began = time.thread_time()
        while time.thread_time() - began < 2 * feeds.CPU_BURST:
            pass

    await write_values(hub, device, 100, slow_listener)
    # The burst, and perhaps one batch after the pause that it costs.
    assert len(batches) <= 3


async def test_batching_delay_is_bounded(autojump_clock):
    budget = feeds._CpuBudget(trio.current_time)
    for _ in range(10):
        budget.charge(60.0)
    assert 0 < budget.resume_at - trio.current_time() <= feeds.MAX_DELAY + 0.001
    await trio.sleep(10)
    budget.charge(feeds.CPU_BURST / 2)
    assert budget.resume_at <= trio.current_time()
