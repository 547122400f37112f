"""The console's charts: fetched once, continued by the stream, and without gaps after a loss."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.console_hub import FakeHub, settle

from client.errors import Unavailable
from tui.store.history import MAX_LINES, History, Line, LineKey

HOUR, DAY = LineKey(7, 3, "1h"), LineKey(7, 3, "1d")
MINUTE = 60_000


class Store:
    """A hub that has ``points``, and the console's history."""

    def __init__(self):
        self.points = [(1000 * number, float(number)) for number in range(1, 6)]
        self.is_more = False
        self.hub = FakeHub(self.chart)
        self.history = History(self.hub)

    def chart(self, call):
        since = call.params["from"] or 0
        points = [point for point in self.points if point[0] >= since]
        is_more = self.is_more and call.params["granularity"] == "raw"
        series = {"pin": "v3", "name": "Outside", "units": "°C", "display": None, "more": is_more}
        return {"series": [{**series, "ts": [ts for ts, _ in points], "values": [value for _, value in points]}]}

    def asked(self, index=-1):
        return {name: value for name, value in self.hub.calls[index].params.items() if value is not None}

    def value(self, ts, value, by="device"):
        return self.history.apply_change({"device": 7, "values": {"v3": value}, "ts": ts, "by": by})


def run(test):
    asyncio.run(test(Store()))


def test_line_is_fetched_by_the_hubs_clock():
    async def test(store):
        assert store.history.must_load(HOUR)
        line = await store.history.load(HOUR)
        assert {"deviceIds": [7], "pins": ["V3"], "granularity": "raw", "period": "3600s"} == store.asked()
        assert ([1000, 2000, 3000, 4000, 5000], [1.0, 2.0, 3.0, 4.0, 5.0]) == line.points()
        assert ("Outside", "°C") == (line.name, line.units)
        await store.history.load(LineKey(7, 3, "1y", "max"))
        assert ("day", "max", f"{365 * 86_400}s") == tuple(
            store.asked()[name] for name in ("granularity", "aggregate", "period")
        )
        assert not store.history.must_load(HOUR)
        with pytest.raises(KeyError):
            await store.history.load(LineKey(7, 3, "2h"))

    run(test)


def test_stream_continues_a_raw_line():
    async def test(store):
        await store.history.load(HOUR)
        assert {HOUR} == store.value(7000, 7.0)
        # One that comes late is in its place, and one that comes twice is there once.
        store.value(6000, 6.0)
        store.value(6000, 6.5)
        assert ([5000, 6000, 7000], [5.0, 6.5, 7.0]) == tuple(part[-3:] for part in store.history.line(HOUR).points())
        assert set() == store.history.apply_change({"device": 8, "values": {"v3": 1}, "ts": 1, "by": "api"})
        assert set() == store.history.apply_change({"device": 7, "values": {"v4": 1}, "ts": 1, "by": "api"})
        assert set() == store.history.apply_change({"device": 7, "values": {"x": 1, "v3": 1}})

    run(test)


def test_old_points_leave_the_range():
    async def test(store):
        await store.history.load(HOUR)
        store.value(3_600_000 + 3000, 9.0)
        assert [3000, 4000, 5000, 3_603_000] == store.history.line(HOUR).ts

    run(test)


def test_line_by_minutes_ends_with_the_newest_value_until_the_minute_is_over():
    async def test(store):
        store.points = [(MINUTE, 10.0), (2 * MINUTE, 20.0)]
        line = await store.history.load(DAY)
        store.value(2 * MINUTE + 5000, 21.0)
        store.value(3 * MINUTE, 22.0)
        store.value(2 * MINUTE + 9000, 21.5)
        assert ([MINUTE, 2 * MINUTE, 3 * MINUTE], [10.0, 20.0, 22.0]) == line.points()
        assert not store.history.must_load(DAY)
        store.value(4 * MINUTE, 23.0)
        assert store.history.must_load(DAY)
        store.points = [(MINUTE, 10.0), (2 * MINUTE, 20.5), (3 * MINUTE, 22.0), (4 * MINUTE, 23.0)]
        line = await store.history.load(DAY)
        # From the last point, which was of a minute that had gone on.
        assert 2 * MINUTE == store.asked()["from"]
        assert "period" not in store.asked()
        assert [10.0, 20.5, 22.0, 23.0] == line.values
        assert not store.history.must_load(DAY)

    run(test)


def test_gap_of_a_loss_is_fetched():
    async def test(store):
        await store.history.load(HOUR)
        store.history.outdate()
        store.points += [(6000, 6.0), (7000, 7.0), (8000, 8.0)]
        # The stream is back before the line is fetched.
        store.value(8000, 8.0)
        store.history.outdate()
        assert store.history.must_load(HOUR)
        line = await store.history.load(HOUR)
        assert 5000 == store.asked()["from"]
        assert [4.0, 5.0, 6.0, 7.0, 8.0] == line.values[-5:]

    run(test)


def test_values_that_arrive_while_a_line_is_fetched_are_in_it():
    async def test(store):
        store.hub.hold()
        first = asyncio.create_task(store.history.load(HOUR))
        second = asyncio.create_task(store.history.load(HOUR))
        await settle()
        store.value(6000, 6.0)
        first.cancel()
        store.hub.release()
        assert [5.0, 6.0] == (await second).values[-2:]
        assert 1 == len(store.hub.calls)

    run(test)


def test_loss_while_a_line_is_fetched_outdates_it():
    async def test(store):
        store.hub.hold()
        load = asyncio.create_task(store.history.load(HOUR))
        await settle()
        store.history.outdate()
        store.hub.release()
        await load
        assert store.history.must_load(HOUR)
        await store.history.load(HOUR)
        assert "period" in store.asked()
        assert not store.history.must_load(HOUR)

    run(test)


def test_erased_and_repaired_values_are_not_drawn_any_more():
    async def test(store):
        await store.history.load(HOUR)
        assert {HOUR} == store.history.apply_change({"device": 7, "values": {"v3": None}})
        assert ([], []) == store.history.line(HOUR).points()
        assert store.history.must_load(HOUR)
        await store.history.load(HOUR)
        assert {HOUR} == store.value(2000, 2.0, by="clock repair")
        assert store.history.line(HOUR) is None
        await store.history.load(HOUR)
        assert {HOUR} == store.history.apply_change({"device": 7, "deleted": True})
        assert store.history.line(HOUR) is None

    run(test)


def test_answer_from_before_an_erasure_is_dropped():
    async def test(store):
        store.hub.hold()
        load = asyncio.create_task(store.history.load(HOUR))
        await settle()
        store.history.apply_change({"device": 7, "values": {"v3": None}})
        store.points = []
        again = asyncio.create_task(store.history.load(HOUR))
        await settle()
        store.hub.release()
        await asyncio.gather(load, again)
        assert [] == store.history.line(HOUR).values

    run(test)


def test_line_with_too_many_values_is_fetched_by_minutes():
    """The hub cuts a line off at its end."""

    async def test(store):
        store.is_more = True
        assert "minute" == (await store.history.load(HOUR)).granularity
        assert ["raw", "minute"] == [call.params["granularity"] for call in store.hub.calls]
        store.history.outdate()
        await store.history.load(HOUR)
        assert "minute" == store.asked()["granularity"]

    run(test)


def test_failed_fetch_is_raised_and_keeps_the_line():
    async def test(store):
        await store.history.load(HOUR)
        store.history.outdate()
        store.hub.answer = lambda call: Unavailable("the hub does not answer")
        with pytest.raises(Unavailable):
            await store.history.load(HOUR)
        assert 5 == len(store.history.line(HOUR).ts)
        assert store.history.must_load(HOUR)

    run(test)


def test_datastream_without_values_has_an_empty_line():
    async def test(store):
        store.hub.answer = lambda call: {"series": []}
        assert ([], []) == (await store.history.load(HOUR)).points()
        store.value(1000, 1.0)
        assert ([1000], [1.0]) == store.history.line(HOUR).points()

    run(test)


def test_lines_are_limited_and_cleared():
    async def test(store):
        for device in range(MAX_LINES + 1):
            await store.history.load(LineKey(device, 3))
        assert store.history.line(LineKey(0, 3)) is None
        assert store.history.line(LineKey(1, 3)) is not None
        store.hub.hold()
        load = asyncio.create_task(store.history.load(LineKey(0, 3)))
        await settle()
        store.history.clear()
        store.hub.release()
        await load
        assert store.history.line(LineKey(0, 3)) is None

    run(test)


def test_closing_cancels_what_is_being_fetched():
    async def test(store):
        store.hub.hold()
        load = asyncio.create_task(store.history.load(HOUR))
        await settle()
        await store.history.aclose()
        with pytest.raises(asyncio.CancelledError):
            await load

    run(test)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers())))
def test_raw_line_is_in_the_order_of_its_times(points):
    line = Line("raw")
    for ts, value in points:
        line.put(ts, value)
    assert sorted({ts for ts, _ in points}) == line.ts
    assert [dict(points)[ts] for ts in line.ts] == line.values
