"""Queries of points and buckets, against a model that keeps every point in a list."""

from __future__ import annotations

import random
from datetime import datetime
from time import thread_time
from zoneinfo import ZoneInfo

import pytest
from support.commits import log_entries
from support.compaction import compact
from support.history import TEMPLATE, buckets, points
from support.patience import patient
from support.times import DAY, HOUR, MINUTE, NOON, until
from support.values import write_value

import hub.history.chunkstore
import hub.history.compaction
from hub.history.chunks import statistics
from hub.model import SYSTEM
from hub.testing import add_device


def local(zone, granularity):
    """A function from a timestamp to the beginning of its bucket, by the calendar."""

    def start(ts):
        then = datetime.fromtimestamp(ts / 1000, ZoneInfo(zone))
        smaller = {"minute": {}, "hour": {"minute": 0}, "day": {"minute": 0, "hour": 0, "fold": 0}}[granularity]
        return int(then.replace(second=0, microsecond=0, **smaller).timestamp()) * 1000

    return start


def expected(model, start_of):
    """The buckets of the points of a model."""
    groups = {}
    for point in sorted(model, key=lambda point: point[0]):
        groups.setdefault(start_of(point[0]), []).append(point)
    return [(start, statistics(group)) for start, group in groups.items()]


def assert_same(expected_buckets, actual_buckets):
    assert [start for start, _ in expected_buckets] == [start for start, _ in actual_buckets]
    for (_, a), (_, b) in zip(expected_buckets, actual_buckets, strict=True):
        assert (a.count, a.min, a.max, a.last, a.at) == (b.count, b.min, b.max, b.last, b.at)
        assert a.sum == pytest.approx(b.sum, abs=1e-9)


async def test_values_are_read_before_and_after_compaction_and_a_restart(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        model = []
        for n in range(300):
            time.pass_(MINUTE)
            write_value(hub, device, 0, n / 10)
            model.append((time.wall, n / 10))
        assert model == await points(hub, device, 0)
        await until(lambda: not hub.history.is_busy)
        assert model == await points(hub, device, 0)
        await compact(hub)
        assert model == await points(hub, device, 0)
        assert model[10:20] == await points(hub, device, 0, model[10][0], model[20][0])
        write_value(hub, device, 0, 77)
        model.append((time.wall, 77.0))
    async with start() as hub:
        [device] = hub.devices.by_id.values()
        assert model == await points(hub, device, 0)
        await compact(hub)
        assert model == await points(hub, device, 0)
    assert [] == log_entries(hub.config.data), "compacted values are deleted from the log"


async def test_texts_and_locations_are_in_the_history_and_values_without_history_are_not(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for pin, raw in ((1, "é"), (5, "8.5,47.4"), (3, 5)):
            write_value(hub, device, pin, raw)
        await compact(hub)
        assert [(NOON, "é")] == await points(hub, device, 1)
        assert [(NOON, (8.5, 47.4))] == await points(hub, device, 5)
        assert [] == await points(hub, device, 3)
        assert 5 == hub.writes.latest(device, device.points[3].datastream)[1], (
            "the latest value does not need the history"
        )
        [(_, bucket)] = await buckets(hub, device, 1, "day")
        assert (1, None, "é") == (bucket.count, bucket.avg, bucket.last)


async def test_datastream_with_minutes_has_their_statistics(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        model = []
        for n in range(600):
            time.pass_(7_000)
            write_value(hub, device, 2, float(n % 13))
            model.append((time.wall, float(n % 13)))
        await compact(hub)
        by_minute = expected(model, local("UTC", "minute"))
        assert_same(by_minute, await buckets(hub, device, 2, "minute"))
        assert [(minute, pytest.approx(bucket.avg)) for minute, bucket in by_minute] == await points(hub, device, 2)
        assert_same(expected(model, local("UTC", "hour")), await buckets(hub, device, 2, "hour"))


ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Santiago",
]


@pytest.mark.parametrize("zone", ZONES)
async def test_minutes_hours_and_days_of_a_year_follow_the_time_zone(start, time, zone):
    async with start(f'[hub]\ntimezone = "{zone}"\n[storage]\nretain_raw = "800d"') as hub:
        device, _ = await add_device(hub, TEMPLATE)
        randomness, model = random.Random(zone), []
        for n in range(700):
            time.pass_(randomness.choice((MINUTE, 20 * MINUTE, HOUR, 7 * HOUR, 45 * HOUR)))
            value = randomness.randrange(100) / 10
            write_value(hub, device, 0, value)
            model.append((time.wall, value))
            if n % 300 == 200:
                await until(lambda: not hub.history.is_busy)
        for _ in range(2):
            for granularity in ("minute", "hour", "day"):
                result = await buckets(hub, device, 0, granularity, zone, NOON, time.wall + 1)
                assert_same(expected(model, local(zone, granularity)), result)
            await compact(hub)


async def test_days_may_be_queried_in_another_time_zone_than_the_devices(start, time):
    async with start('[hub]\ntimezone = "Europe/Berlin"') as hub:
        device, _ = await add_device(hub, TEMPLATE)
        model = []
        for n in range(24 * 20):
            time.pass_(HOUR)
            write_value(hub, device, 0, n)
            model.append((time.wall, float(n)))
        await compact(hub)
        for zone in ("America/New_York", "Asia/Tokyo", "Europe/Berlin"):
            assert_same(expected(model, local(zone, "day")), await buckets(hub, device, 0, "day", zone))


async def test_bucket_at_the_edge_of_a_range_has_all_its_points(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for n in range(10):
            write_value(hub, device, 0, n, NOON - HOUR + n * MINUTE)
        await compact(hub)
        for granularity in ("hour", "day"):
            [(_, bucket)] = await buckets(
                hub, device, 0, granularity, "UTC", NOON - HOUR + 5 * MINUTE, NOON - HOUR + 6 * MINUTE
            )
            assert 10 == bucket.count


async def test_late_points_belong_to_the_hours_of_their_timestamps(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        randomness, model = random.Random(5), {}
        for n in range(1200):
            time.pass_(20 * MINUTE)
            write_value(hub, device, 0, n)
            model[time.wall] = float(n)
            if randomness.random() < 0.3:
                late = time.wall - randomness.randrange(10 * DAY)
                write_value(hub, device, 0, 1000 + n, late)
                model[late] = 1000.0 + n
            if n % 400 == 100:
                await compact(hub)
        for _ in range(2):
            all_points = sorted(model.items())
            assert all_points == await points(hub, device, 0)
            await compact(hub)
            for granularity in ("minute", "hour", "day"):
                assert_same(expected(all_points, local("UTC", granularity)), await buckets(hub, device, 0, granularity))


async def test_point_that_is_sent_again_replaces_the_first(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for raw in (1, 2, 3):
            for minute in range(60):
                write_value(hub, device, 0, raw, NOON - DAY + minute * MINUTE)
            if raw < 3:
                await compact(hub)
        for _ in range(2):
            assert [3.0] * 60 == [value for _, value in await points(hub, device, 0)]
            await compact(hub)
        [(_, bucket)] = await buckets(hub, device, 0, "day")
        assert (60, 180.0) == (bucket.count, bucket.sum)


async def test_values_with_the_same_timestamp_of_the_hub_are_all_stored(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for part in range(3):
            for n in range(700):
                write_value(hub, device, 0, part * 700 + n)
            await compact(hub)
        assert [float(n) for n in range(2100)] == [value for _, value in await points(hub, device, 0)]
        [(_, bucket)] = await buckets(hub, device, 0, "hour")
        assert 2100 == bucket.count


async def test_many_points_of_one_hour_are_read_in_order_in_slices(start, time, monkeypatch):
    monkeypatch.setattr(hub.history.chunkstore, "CHUNKS", 3)
    monkeypatch.setattr(hub.history.compaction, "PART", 10)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        model = []
        for n in range(400):
            time.pass_(30_000 if n < 200 else HOUR)
            write_value(started, device, 0, n)
            model.append((time.wall, float(n)))
        await compact(started)
        assert model == await points(started, device, 0)
        assert_same(expected(model, local("UTC", "minute")), await buckets(started, device, 0, "minute"))


async def test_array_among_numbers_is_ignored_by_statistics(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for raw in (1, 2, ["7", "8"], 3):
            time.pass_(MINUTE)
            write_value(started, device, 0, raw)
            write_value(started, device, 2, raw)
        for _ in range(2):
            for pin in (0, 2):
                [(_, bucket)] = await buckets(started, device, pin, "day")
                assert (3, 1.0, 3.0, 6.0, 3.0) == (bucket.count, bucket.min, bucket.max, bucket.sum, bucket.last)
            await compact(started)
        assert (7.0, 8.0) in [value for _, value in await points(started, device, 0)]


async def test_point_that_is_sent_again_counts_once_before_compaction_too(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for raw in (1, 2):
            for minute in range(30):
                write_value(started, device, 0, raw, NOON - 3 * HOUR + minute * MINUTE)
            for granularity in ("minute", "hour", "day"):
                result = await buckets(started, device, 0, granularity)
                assert (30, 30.0 * raw) == (
                    sum(bucket.count for _, bucket in result),
                    sum(bucket.sum for _, bucket in result),
                )
            if raw == 1:
                await compact(started)


async def test_day_is_also_computed_again_in_earlier_time_zones(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for zone in ("UTC", "Europe/Kyiv", "Asia/Kolkata", "UTC"):
            await started.metadata.set(device, "Time Zone", zone, SYSTEM)
            write_value(started, device, 0, 1, time.wall - 2 * DAY)
            time.pass_(MINUTE)
            await compact(started)
        for zone in ("UTC", "Europe/Kyiv", "Asia/Kolkata"):
            [(_, bucket)] = await buckets(started, device, 0, "day", zone)
            assert 4 == bucket.count


async def test_query_of_all_days_with_many_uncompacted_values_does_not_block(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(3000):
            time.pass_(1000)
            write_value(started, device, 0, n)
        began = thread_time()
        result = await buckets(started, device, 0, "day", "Europe/Berlin", 0, 2**41)
        assert thread_time() - began < patient(0.5)
        assert 3000 == sum(bucket.count for _, bucket in result)
