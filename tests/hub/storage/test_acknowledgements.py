"""Acknowledgement of values, which is after the commit."""

from __future__ import annotations

import pytest
import trio
from support.storage import logged, meter, started
from support.times import NOON, until
from support.values import write_value

from hub.errors import Unavailable
from hub.history.commit_log import BATCH_ROWS


async def test_durable_value_is_visible_to_another_program(data):
    async with started(data) as hub:
        device = await meter(hub)
        write_value(hub, device, 0, "1")
        await write_value(hub, device, 0, "2").durable()

        assert [1.0, 2.0] == logged(data)


async def test_durable_returns_at_once_for_a_committed_value(data):
    async with started(data) as hub:
        device = await meter(hub)
        first, last = write_value(hub, device, 0, "1"), write_value(hub, device, 0, "2")
        await last.durable()
        await first.durable()

        assert [1.0, 2.0] == logged(data)


async def test_waiting_tasks_share_commits(data):
    async with started(data) as hub:
        device = await meter(hub)

        async def client(number):
            for _ in range(5):
                await write_value(hub, device, 0, str(number)).durable()

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(client, number)

        assert 250 == len(logged(data))
        assert 250 == hub.history.stored


async def test_values_without_a_waiting_task_are_written_after_the_flush_time(data):
    async with started(data, '[storage]\nflush = "10ms"') as hub:
        device = await meter(hub)
        write_value(hub, device, 0, "1")

        await until(lambda: logged(data) == [1.0])


async def test_stop_writes_all_accepted_values(data):
    async with started(data, '[storage]\nflush = "60s"') as hub:
        device = await meter(hub)
        for number in range(BATCH_ROWS + 10):
            write_value(hub, device, 0, number)

    assert [float(n) for n in range(BATCH_ROWS + 10)] == logged(data)


@pytest.mark.parametrize("bad", [{"value": "\ud800"}, {"value": float("nan")}], ids=["text", "null"])
async def test_value_that_cannot_be_stored_does_not_affect_other_values(data, bad):
    async with started(data) as hub:
        device = await meter(hub)
        row = {"series": device.points[1].series, "ts": NOON, "value": "bad", "latest": False} | bad
        before = write_value(hub, device, 0, "1")
        rejected = hub.history.put(**row)
        after = write_value(hub, device, 0, "2")

        await after.durable()
        await before.durable()
        with pytest.raises(Unavailable):
            await rejected.durable()
        await write_value(hub, device, 0, "3").durable()

        assert [1.0, 2.0, 3.0] == logged(data)
        assert 3 == hub.history.stored
        hub.history.close_segment()
        await until(lambda: not hub.history.is_busy)
        with pytest.raises(OverflowError):
            hub.history.put(device.points[1].series, 2**70, "bad", latest=False)
        await write_value(hub, device, 0, "4").durable()
