"""Totals of many series in each hour, against the statistics of each series by itself."""

from __future__ import annotations

import random

import pytest
from support.compaction import compact
from support.history import TEMPLATE, buckets
from support.times import DAY, HOUR, MINUTE, NOON
from support.values import write_value

import hub.history.query
from hub.history import Totals, combine_totals
from hub.parsing import timezones
from hub.testing import add_device


async def expected(hub, devices, pin, start, end):
    """The totals of each hour, from the statistics of each device."""
    hours = {}
    for device in devices:
        for at, stats in await buckets(hub, device, pin, "hour", "UTC", start, end):
            if stats.sum is not None:
                hours.setdefault(at, []).append(Totals(stats.count, stats.min, stats.max, stats.sum))
    return [(at, combine_totals(parts)) for at, parts in sorted(hours.items())]


async def assert_same(hub, devices, pin, start, end):
    wanted = await expected(hub, devices, pin, start, end)
    actual = await hub.history.hours_together([device.points[pin].series for device in devices], start, end)
    assert [at for at, _ in wanted] == [at for at, _ in actual]
    for (_, a), (_, b) in zip(wanted, actual, strict=True):
        assert (a.count, a.min, a.max) == (b.count, b.min, b.max)
        assert a.sum == pytest.approx(b.sum)
    return actual


async def add_devices(hub, count):
    return [(await add_device(hub, TEMPLATE, f"D{n}"))[0] for n in range(count)]


@pytest.mark.parametrize("per_query", [25_000, 7, 1])
async def test_totals_are_those_of_each_series_added_up(start, time, monkeypatch, per_query):
    monkeypatch.setattr(hub.history.query, "HOURS_PER_QUERY", max(5, per_query))
    monkeypatch.setattr(hub.history.query, "SERIES_PER_QUERY", 2_000 if per_query > 1 else 2)
    chance = random.Random(1)
    async with start() as running_hub:
        devices = await add_devices(running_hub, 5)
        for n in range(400):
            time.pass_(2 * MINUTE + chance.randrange(30_000))
            write_value(running_hub, chance.choice(devices), 0, chance.randrange(-100, 100) / 8)
            if n == 200:
                await assert_same(running_hub, devices, 0, NOON - DAY, time.wall + 1)
                await compact(running_hub)
        totals = await assert_same(running_hub, devices, 0, NOON - DAY, time.wall + 1)
        assert 400 == sum(total.count for _, total in totals), "compacted, and in memory"
        await assert_same(running_hub, devices, 0, NOON + 3 * HOUR, NOON + 5 * HOUR)
        await assert_same(running_hub, devices[2:3], 0, NOON, NOON + HOUR)
    async with start() as running_hub:
        devices = list(running_hub.devices.by_id.values())
        await assert_same(running_hub, devices, 0, NOON - DAY, time.wall + 1)
        await compact(running_hub)
        await assert_same(running_hub, devices, 0, NOON - DAY, time.wall + 1)


async def test_values_sent_again_with_their_timestamps_count_once(start, time):
    async with start() as running_hub:
        devices = await add_devices(running_hub, 2)
        write_value(running_hub, devices[0], 0, 1)
        for value in (5, 6):
            write_value(running_hub, devices[1], 0, value, NOON - MINUTE)
        await compact(running_hub)
        write_value(running_hub, devices[1], 0, 7, NOON - MINUTE)
        [(earlier, before), (_, now)] = await assert_same(running_hub, devices, 0, NOON - HOUR, NOON + HOUR)
        assert (NOON - HOUR, 1, 7, 1) == (earlier, before.count, before.sum, now.sum)


async def test_values_that_are_not_numbers_do_not_count(start, time):
    async with start() as running_hub:
        devices = await add_devices(running_hub, 2)
        write_value(running_hub, devices[0], 0, [1, 2])
        write_value(running_hub, devices[1], 1, "text")
        series = [device.points[pin].series for device in devices for pin in (0, 1)]
        for _ in range(2):
            assert [] == await running_hub.history.hours_together(series, NOON - HOUR, NOON + HOUR)
            await compact(running_hub)
        write_value(running_hub, devices[0], 0, 5)
        [(_, totals)] = await running_hub.history.hours_together(series, NOON - HOUR, NOON + HOUR)
        assert Totals(1, 5, 5, 5) == totals
        assert 5 == totals.avg


async def test_no_series_and_hours_before_all_values_have_no_totals(start, time):
    async with start() as running_hub:
        [device] = await add_devices(running_hub, 1)
        assert [] == await running_hub.history.hours_together([], NOON - HOUR, NOON)
        write_value(running_hub, device, 0, 1)
        await compact(running_hub)
        series = [device.points[0].series]
        assert [] == await running_hub.history.hours_together(series, NOON - 9 * HOUR, NOON - 8 * HOUR)
        assert [] == await running_hub.history.hours_together(series, NOON + 8 * HOUR, NOON + 9 * HOUR)


async def test_sum_of_large_numbers_stays_a_number(start, time):
    async with start() as running_hub:
        devices = await add_devices(running_hub, 2)
        for device in devices:
            write_value(running_hub, device, 0, 1.7e308)
        series = [device.points[0].series for device in devices]
        for _ in range(2):
            [(_, totals)] = await running_hub.history.hours_together(series, NOON, NOON + HOUR)
            assert totals.sum == pytest.approx(1.797e308, rel=0.01)
            await compact(running_hub)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Santiago"])
@pytest.mark.parametrize("per_query", [2_500, 3])
async def test_days_are_stored_ones_or_consist_of_hours(start, time, monkeypatch, zone, per_query):
    monkeypatch.setattr(hub.history.query, "DAYS_PER_QUERY", per_query)
    chance = random.Random(2)
    # The stored days are those of Berlin.
    async with start('[hub]\ntimezone = "Europe/Berlin"') as running_hub:
        devices = await add_devices(running_hub, 4)
        for day in range(6):
            for _ in range(30):
                time.pass_(47 * MINUTE)
                write_value(running_hub, chance.choice(devices), 0, chance.randrange(-100, 100) / 8)
            if day != 4:
                await compact(running_hub)
        # Late values change a stored day.
        write_value(running_hub, devices[0], 0, 1000, NOON + DAY)
        write_value(running_hub, devices[1], 0, 500)
        for _ in range(2):
            days = list(timezones.days(zone, NOON - 3 * DAY, time.wall + DAY))
            wanted = {}
            for device in devices:
                found = await buckets(running_hub, device, 0, "day", zone, days[0][0], days[-1][1])
                for at, stats in found:
                    wanted.setdefault(at, []).append(Totals(stats.count, stats.min, stats.max, stats.sum))
            series = [device.points[0].series for device in devices]
            actual = await running_hub.history.days_together(series, days)
            assert sorted(wanted) == [at for at, _ in actual]
            for at, totals in actual:
                expected_totals = combine_totals(wanted[at])
                assert (expected_totals.count, expected_totals.min, expected_totals.max) == (
                    totals.count,
                    totals.min,
                    totals.max,
                )
                assert expected_totals.sum == pytest.approx(totals.sum)
            assert 182 == sum(totals.count for _, totals in actual)
            await compact(running_hub)


async def test_days_without_values_have_no_totals(start, time):
    async with start() as running_hub:
        [device] = await add_devices(running_hub, 1)
        days = list(timezones.days("UTC", NOON - 3 * DAY, NOON))
        assert [] == await running_hub.history.days_together([device.points[0].series], days)
        assert [] == await running_hub.history.days_together([], days)
        write_value(running_hub, device, 0, 1, NOON - 2 * DAY)
        [(at, totals)] = await running_hub.history.days_together([device.points[0].series], days)
        assert (NOON - 2 * DAY - 12 * HOUR, 1) == (at, totals.count)
