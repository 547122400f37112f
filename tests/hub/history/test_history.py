"""What is kept of years of values, and how it is read: against a model that keeps every point in a list."""

from __future__ import annotations

import random
import sqlite3
from contextlib import asynccontextmanager, closing
from datetime import datetime
from time import thread_time
from zoneinfo import ZoneInfo

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.commits import log_entries
from support.compaction import compact
from support.patience import patient
from support.times import DAY, HOUR, MINUTE, NOON, until

import hub.app
import hub.facts
import hub.history.commit_log
import hub.history.compaction
import hub.history.log_table
import hub.history.query
import hub.history.retention
import hub.writes
from hub.config import parse
from hub.errors import Rejected
from hub.history.chunks import (
    BadChunk,
    Statistics,
    combine,
    decode,
    encode,
    encode_minutes,
    statistics,
    statistics_by_minute,
)
from hub.model import SYSTEM
from hub.run import RunTimeouts, running
from hub.testing import add_device
from hub.writes import Write

TEMPLATE = """
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
[[datastream]]
pin = "V4"
name = "Short"
retain_raw = "2d"
[[datastream]]
pin = "V5"
name = "Place"
type = "location"
"""


@pytest.fixture
def start(tmp_path, time, hub_timeouts):
    """Starts a hub on the same data each time."""

    @asynccontextmanager
    async def start(toml=""):
        config = parse(toml).with_data(str(tmp_path / "data"))
        async with running(config, listen=False, clock=time.clock(), timeouts=hub_timeouts) as hub:
            yield hub

    return start


def write(hub, device, pin, raw, at=None):
    return hub.write(Write(device, pin, raw, "test", SYSTEM, at))


async def points(hub, device, pin, start=0, end=2**42):
    return [p async for piece in hub.history.points(device.points[pin].series, start, end) for p in piece]


async def buckets(hub, device, pin, granularity, zone="UTC", start=NOON - 400 * DAY, end=NOON + 400 * DAY):
    found = hub.history.buckets(device.points[pin].series, start, end, granularity, zone)
    return [bucket async for piece in found for bucket in piece]


def local(zone, granularity):
    """The beginning of a stamp's bucket, by the calendar."""

    def start(ts):
        then = datetime.fromtimestamp(ts / 1000, ZoneInfo(zone))
        smaller = {"minute": {}, "hour": {"minute": 0}, "day": {"minute": 0, "hour": 0, "fold": 0}}[granularity]
        return int(then.replace(second=0, microsecond=0, **smaller).timestamp()) * 1000

    return start


def expected(model, start_of):
    groups = {}
    for point in sorted(model, key=lambda point: point[0]):
        groups.setdefault(start_of(point[0]), []).append(point)
    return [(start, statistics(group)) for start, group in groups.items()]


def same(wanted, found):
    assert [start for start, _ in wanted] == [start for start, _ in found]
    for (_, a), (_, b) in zip(wanted, found, strict=True):
        assert (a.count, a.min, a.max, a.last, a.at) == (b.count, b.min, b.max, b.last, b.at)
        assert a.sum == pytest.approx(b.sum, abs=1e-9)


# -- chunks -----------------------------------------------------------------------------------------------------------

stamps = st.integers(0, 2**42)
numbers = st.one_of(
    st.lists(st.tuples(stamps, st.integers(-(2**31), 2**31 - 1)), min_size=1),
    st.lists(st.tuples(stamps, st.floats(allow_nan=False, allow_infinity=False)), min_size=1),
    st.lists(st.tuples(stamps, st.decimals(-1000, 1000, places=2).map(float)), min_size=1),
)
others = st.lists(
    st.tuples(
        stamps,
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"])),
            st.tuples(st.floats(-9, 9), st.integers(0, 9)),
            st.integers(0, 9),
            st.floats(-9, 9),
        ),
    ),
    min_size=1,
)


@given(st.one_of(numbers, others))
def test_a_chunk_gives_back_what_was_put_into_it(found):
    found.sort(key=lambda point: point[0])
    assert repr(found) == repr(decode(7, encode(7, found)))


@given(numbers)
def test_a_chunk_of_minutes_gives_back_what_was_put_into_it(found):
    found.sort(key=lambda point: point[0])
    rows = statistics_by_minute(found)
    assert rows == decode(7, encode_minutes(7, rows))
    assert sum(row.count for _, row in rows) == len(found)


@given(others)
def test_a_chunk_of_minutes_of_other_things_has_how_many_and_the_last(found):
    found.sort(key=lambda point: point[0])
    rows = statistics_by_minute(found)
    again = decode(7, encode_minutes(7, rows))
    rows = [row for row in rows if row[1].sum is not None] or rows
    assert [(m, one.count, one.last, one.at) for m, one in rows] == [
        (m, one.count, one.last, one.at) for m, one in again
    ]


@given(numbers, st.data())
def test_a_flipped_bit_is_noticed(found, data):
    chunk = bytearray(encode(7, sorted(found)))
    bit = data.draw(st.integers(0, len(chunk) * 8 - 1))
    chunk[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadChunk):
        decode(7, bytes(chunk))


def test_a_chunk_in_the_place_of_another_is_noticed():
    with pytest.raises(BadChunk):
        decode(8, encode(7, [(1, 2)]))


def test_an_hour_of_a_sensor_takes_two_bytes_a_value():
    chance, value, found = random.Random(1), 213, []
    for minute in range(60):
        value += chance.choice((-1, 0, 1))
        found.append((NOON + minute * MINUTE + chance.randint(-500, 500), value / 10))
    assert len(encode(7, found)) < 60 * 2.5


def test_statistics_of_parts_are_those_of_the_whole():
    found = [(n, float(n % 7)) for n in range(100)]
    assert statistics(found) == combine([statistics(found[:30]), statistics(found[30:31]), statistics(found[31:])])
    assert Statistics(2, None, None, None, "b", 2) == combine([statistics([(2, "b")]), statistics([(1, "a")])])
    assert statistics([(1, 5)]) == combine([statistics([(2, "b")]), statistics([(1, 5)])])


# -- points -----------------------------------------------------------------------------------------------------------


async def test_values_are_read_before_and_after_they_are_sealed_and_after_a_restart(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        model = []
        for n in range(300):
            time.pass_(MINUTE)
            write(hub, device, 0, n / 10)
            model.append((time.wall, n / 10))
        assert model == await points(hub, device, 0)
        await until(lambda: not hub.history.is_busy)
        assert model == await points(hub, device, 0)
        await compact(hub)
        assert model == await points(hub, device, 0)
        assert model[10:20] == await points(hub, device, 0, model[10][0], model[20][0])
        write(hub, device, 0, 77)
        model.append((time.wall, 77.0))
    async with start() as hub:
        [device] = hub.devices.by_id.values()
        assert model == await points(hub, device, 0)
        await compact(hub)
        assert model == await points(hub, device, 0)
    assert [] == log_entries(hub.config.data), "what is sealed has left the log"


async def test_text_and_places_and_what_is_not_kept(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for pin, raw in ((1, "é"), (5, "8.5,47.4"), (3, 5)):
            write(hub, device, pin, raw)
        await compact(hub)
        assert [(NOON, "é")] == await points(hub, device, 1)
        assert [(NOON, (8.5, 47.4))] == await points(hub, device, 5)
        assert [] == await points(hub, device, 3)
        assert 5 == hub.writes.latest(device, device.points[3].datastream)[1], "the latest value is there all the same"
        [(_, one)] = await buckets(hub, device, 1, "day")
        assert (1, None, "é") == (one.count, one.avg, one.last)


async def test_a_datastream_that_keeps_minutes_keeps_their_statistics(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        model = []
        for n in range(600):
            time.pass_(7_000)
            write(hub, device, 2, float(n % 13))
            model.append((time.wall, float(n % 13)))
        await compact(hub)
        by_minute = expected(model, local("UTC", "minute"))
        same(by_minute, await buckets(hub, device, 2, "minute"))
        assert [(minute, pytest.approx(one.avg)) for minute, one in by_minute] == await points(hub, device, 2)
        same(expected(model, local("UTC", "hour")), await buckets(hub, device, 2, "hour"))


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
async def test_minutes_hours_and_days_of_a_year_in_any_time_zone(start, time, zone):
    async with start(f'[hub]\ntimezone = "{zone}"\n[storage]\nretain_raw = "800d"') as hub:
        device, _ = await add_device(hub, TEMPLATE)
        chance, model = random.Random(zone), []
        for n in range(700):
            time.pass_(chance.choice((MINUTE, 20 * MINUTE, HOUR, 7 * HOUR, 45 * HOUR)))
            value = chance.randrange(100) / 10
            write(hub, device, 0, value)
            model.append((time.wall, value))
            if n % 300 == 200:
                await until(lambda: not hub.history.is_busy)
        for _ in range(2):
            for granularity in ("minute", "hour", "day"):
                found = await buckets(hub, device, 0, granularity, zone, NOON, time.wall + 1)
                same(expected(model, local(zone, granularity)), found)
            await compact(hub)


async def test_days_of_another_zone_than_the_devices(start, time):
    async with start('[hub]\ntimezone = "Europe/Berlin"') as hub:
        device, _ = await add_device(hub, TEMPLATE)
        model = []
        for n in range(24 * 20):
            time.pass_(HOUR)
            write(hub, device, 0, n)
            model.append((time.wall, float(n)))
        await compact(hub)
        for zone in ("America/New_York", "Asia/Tokyo", "Europe/Berlin"):
            same(expected(model, local(zone, "day")), await buckets(hub, device, 0, "day", zone))


async def test_a_bucket_that_the_range_cuts_is_whole(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for n in range(10):
            write(hub, device, 0, n, NOON - HOUR + n * MINUTE)
        await compact(hub)
        for granularity in ("hour", "day"):
            [(_, one)] = await buckets(
                hub, device, 0, granularity, "UTC", NOON - HOUR + 5 * MINUTE, NOON - HOUR + 6 * MINUTE
            )
            assert 10 == one.count


async def test_late_points_land_in_their_own_hours(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        chance, model = random.Random(5), {}
        for n in range(1200):
            time.pass_(20 * MINUTE)
            write(hub, device, 0, n)
            model[time.wall] = float(n)
            if chance.random() < 0.3:
                late = time.wall - chance.randrange(10 * DAY)
                write(hub, device, 0, 1000 + n, late)
                model[late] = 1000.0 + n
            if n % 400 == 100:
                await compact(hub)
        for _ in range(2):
            wanted = sorted(model.items())
            assert wanted == await points(hub, device, 0)
            await compact(hub)
            for granularity in ("minute", "hour", "day"):
                same(expected(wanted, local("UTC", granularity)), await buckets(hub, device, 0, granularity))


async def test_a_point_sent_again_takes_the_place_of_the_first(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for raw in (1, 2, 3):
            for minute in range(60):
                write(hub, device, 0, raw, NOON - DAY + minute * MINUTE)
            if raw < 3:
                await compact(hub)
        for _ in range(2):
            assert [3.0] * 60 == [value for _, value in await points(hub, device, 0)]
            await compact(hub)
        [(_, one)] = await buckets(hub, device, 0, "day")
        assert (60, 180.0) == (one.count, one.sum)


async def test_values_of_the_hubs_own_stamp_are_all_kept_though_they_share_a_millisecond(start, time):
    async with start() as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for part in range(3):
            for n in range(700):
                write(hub, device, 0, part * 700 + n)
            await compact(hub)
        assert [float(n) for n in range(2100)] == [value for _, value in await points(hub, device, 0)]
        [(_, one)] = await buckets(hub, device, 0, "hour")
        assert 2100 == one.count


async def test_many_points_of_one_hour_come_in_their_order_in_slices(start, time, monkeypatch):
    monkeypatch.setattr(
        hub.history.query, "_FIND_CHUNKS", hub.history.query._FIND_CHUNKS.replace("LIMIT 128", "LIMIT 3")
    )
    monkeypatch.setattr(hub.history.query, "CHUNKS", 3)
    monkeypatch.setattr(hub.history.compaction, "PART", 10)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        model = []
        for n in range(400):
            time.pass_(30_000 if n < 200 else HOUR)
            write(started, device, 0, n)
            model.append((time.wall, float(n)))
        await compact(started)
        assert model == await points(started, device, 0)
        same(expected(model, local("UTC", "minute")), await buckets(started, device, 0, "minute"))


# -- keeping ----------------------------------------------------------------------------------------------------------


async def test_raw_values_go_and_statistics_stay(start, time, monkeypatch):
    monkeypatch.setattr(hub.history.retention, "EXPIRE_FIRST", 0.05)
    monkeypatch.setattr(hub.history.retention, "EXPIRE_EVERY", 0.05)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(10 * 24):
            time.pass_(HOUR)
            write(started, device, 0, n)
            write(started, device, 4, n)
        await compact(started)
        days = await buckets(started, device, 4, "day")
        hours = await buckets(started, device, 4, "hour")
        with pytest.raises(Rejected, match="older than what is kept"):
            write(started, device, 4, 1, time.wall - 3 * DAY)
        started.history._work_at = 0
        started.history._wake.set()
        with trio.fail_after(patient(10)):
            while len(await points(started, device, 4)) > 50:
                await trio.sleep(0.01)
        assert 240 == len(await points(started, device, 0))
        assert days == await buckets(started, device, 4, "day")
        assert hours == await buckets(started, device, 4, "hour")
        minutes = await buckets(started, device, 4, "minute")
        assert 240 == sum(one.count for _, one in minutes), "an hour whose values went is one bucket"


async def test_what_is_erased_is_gone_from_reads_and_from_the_disk(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(100):
            time.pass_(HOUR)
            write(started, device, 0, n)
            write(started, device, 1, "secret")
        await compact(started)
        time.pass_(MINUTE)
        write(started, device, 1, "secret, unsealed")
        old = device.points[1].series
        await started.devices.erase(device, [device.points[1].datastream], SYSTEM)
        assert [] == await points(started, device, 1)
        assert started.writes.latest(device, device.points[1].datastream) is None
        assert 100 == len(await points(started, device, 0))
        write(started, device, 1, "new")
        assert ["new"] == [value for _, value in await points(started, device, 1)]
        await compact(started)
        assert ["new"] == [value for _, value in await points(started, device, 1)]
        await until(lambda: not started.history.is_busy)
    with closing(sqlite3.connect(started.config.data / "history.db")) as database:
        assert 0 == database.execute("SELECT count(*) FROM hours WHERE id & 0xffffffff = ?", (old,)).fetchone()[0]
        assert 0 == database.execute("SELECT count(*) FROM days WHERE id >> 24 = ?", (old,)).fetchone()[0]
        assert (
            0 == database.execute("SELECT count(*) FROM chunks WHERE id >> 11 & 0xffffffff = ?", (old,)).fetchone()[0]
        )
    with closing(sqlite3.connect(started.config.data / "pinwheel.db")) as database:
        assert [] == database.execute("SELECT series FROM gone").fetchall()


async def test_an_erasure_that_a_restart_interrupts_goes_on(start, time, monkeypatch):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(50):
            time.pass_(HOUR)
            write(started, device, 0, n)
        await compact(started)

        async def never():
            raise hub.errors.StorageError("not now")

        monkeypatch.setattr(started.history.retention, "_erase", never)
        await started.devices.delete(device, SYSTEM)
    async with start() as started:
        await until(lambda: not started.history.is_busy)
    with closing(sqlite3.connect(started.config.data / "history.db")) as database:
        assert (
            0 == database.execute("SELECT (SELECT count(*) FROM hours) + (SELECT count(*) FROM chunks)").fetchone()[0]
        )


async def test_a_run_that_a_power_cut_interrupts_is_sealed_once(start, time, monkeypatch, tmp_path):
    monkeypatch.setattr(hub.history.commit_log, "COMPACTION_POINTS", 1)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        other, _ = await add_device(started, TEMPLATE, "Other")
        for n in range(10):
            time.pass_(MINUTE)
            for one in (device, other):
                write(started, one, 0, n)
                write(started, one, 2, n)
        await write(started, device, 1, "x").durable()
        seal, slices = started.history._compact, []

        async def twice(run):
            if len(slices) == 2:
                raise hub.errors.StorageError("the power is gone")
            slices.append(run)
            await seal(run)

        monkeypatch.setattr(started.history, "_compact", twice)
        started.history.close_segment()
        await until(lambda: started.history.fault)
        assert 10 == len(await points(started, other, 0))
    monkeypatch.undo()
    async with start() as started:
        device, other = started.devices.by_id.values()
        for _ in range(2):
            for one in (device, other):
                assert [float(n) for n in range(10)] == [value for _, value in await points(started, one, 0)]
                [(_, hour)] = await buckets(started, one, 2, "hour")
                assert 10 == hour.count
            await compact(started)


async def test_a_query_while_its_values_are_sealed_sees_each_once(start, time, monkeypatch):
    monkeypatch.setattr(hub.history.commit_log, "COMPACTION_POINTS", 1)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        count = 0
        for _ in range(40):
            for _ in range(20):
                time.pass_(MINUTE)
                write(started, device, 0, 1)
                write(started, device, 4, 1)
                count += 1
            for pin in (0, 4):
                assert count == len(await points(started, device, pin))
                for granularity in ("hour", "day"):
                    found = await buckets(started, device, pin, granularity)
                    assert count == sum(one.count for _, one in found)


async def test_a_log_larger_than_memory_should_hold_is_sealed_at_the_start(start, time, monkeypatch):
    monkeypatch.setattr(hub.history.commit_log, "BATCH_ROWS", 200)
    monkeypatch.setattr(hub.history.log_table, "SLICE", 120)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(1000):
            time.pass_(1000)
            write(started, device, 0, n)
    monkeypatch.setattr(hub.history.commit_log, "SEGMENT_POINTS", 300)
    async with start() as started:
        [device] = started.devices.by_id.values()
        assert started.history._uncompacted < 600
        assert [float(n) for n in range(1000)] == [value for _, value in await points(started, device, 0)]
        assert 999 == started.writes.latest(device, device.points[0].datastream)[1]


# -- damage -----------------------------------------------------------------------------------------------------------


def flip(data, series, hour):
    with closing(sqlite3.connect(data / "history.db", isolation_level=None)) as database:
        key = hour << 43 | series << 11
        [(chunk,)] = database.execute("SELECT data FROM chunks WHERE id = ?", (key,)).fetchall()
        chunk = chunk[:5] + bytes((chunk[5] ^ 4,)) + chunk[6:]
        database.execute("UPDATE chunks SET data = ? WHERE id = ?", (chunk, key))


@pytest.mark.parametrize("found_by", ["query", "check"])
async def test_a_flipped_bit_is_found_put_aside_and_the_rest_is_served(start, time, found_by, caplog):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(300):
            time.pass_(MINUTE)
            write(started, device, 0, n)
        await compact(started)
        days = await buckets(started, device, 0, "day")
        flip(started.config.data, device.points[0].series, NOON // HOUR + 1)
        if found_by == "check":
            await started.history.check()
        found = [value for _, value in await points(started, device, 0)]
        assert [*range(59), *range(119, 300)] == found
        assert 1 == started.history.retention.damaged
        assert "is damaged (its checksum does not fit) and was put aside" in caplog.text
        assert days == await buckets(started, device, 0, "day"), "statistics are another row"
        assert [*range(59), *range(119, 300)] == [value for _, value in await points(started, device, 0)]
        assert 1 == started.history.retention.damaged
        # New values of that hour have a place.
        write(started, device, 0, 7, NOON + HOUR + 5)
        await compact(started)
        assert 241 == len(await points(started, device, 0))
    with closing(sqlite3.connect(started.config.data / "history.db")) as database:
        assert 1 == database.execute("SELECT count(*) FROM quarantine").fetchone()[0]


# -- what a review found ----------------------------------------------------------------------------------------------


async def test_an_array_among_numbers_leaves_the_statistics_of_its_hour_alone(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for raw in (1, 2, ["7", "8"], 3):
            time.pass_(MINUTE)
            write(started, device, 0, raw)
            write(started, device, 2, raw)
        for _ in range(2):
            for pin in (0, 2):
                [(_, one)] = await buckets(started, device, pin, "day")
                assert (3, 1.0, 3.0, 6.0, 3.0) == (one.count, one.min, one.max, one.sum, one.last)
            await compact(started)
        assert (7.0, 8.0) in [value for _, value in await points(started, device, 0)]


async def test_a_point_sent_again_counts_once_before_it_is_sealed_too(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for raw in (1, 2):
            for minute in range(30):
                write(started, device, 0, raw, NOON - 3 * HOUR + minute * MINUTE)
            for granularity in ("minute", "hour", "day"):
                found = await buckets(started, device, 0, granularity)
                assert (30, 30.0 * raw) == (sum(one.count for _, one in found), sum(one.sum for _, one in found))
            if raw == 1:
                await compact(started)


async def test_a_day_follows_its_values_in_zones_of_before_too(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for zone in ("UTC", "Europe/Kyiv", "Asia/Kolkata", "UTC"):
            await started.metadata.set(device, "Time Zone", zone, SYSTEM)
            write(started, device, 0, 1, time.wall - 2 * DAY)
            time.pass_(MINUTE)
            await compact(started)
        for zone in ("UTC", "Europe/Kyiv", "Asia/Kolkata"):
            [(_, one)] = await buckets(started, device, 0, "day", zone)
            assert 4 == one.count


@pytest.mark.parametrize("at", [-5, 2**60, 2**70])
async def test_a_stamp_that_no_hour_can_be_told_of_is_refused(start, at):
    async with start('[storage]\nretain_raw = "36500d"') as started:
        device, _ = await add_device(started, TEMPLATE)
        with pytest.raises(Rejected):
            write(started, device, 0, 1, at)
        with pytest.raises(Rejected):
            await started.writes.import_points(device, [(device.points[0].datastream, at, 1)], "test", SYSTEM)


async def test_a_hub_whose_clock_is_beyond_all_keys_seals_and_starts_again(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        time.wall = 2**43
        write(started, device, 0, 1)
        # As an earlier version may have left it.
        started.history.put(device.points[0].series, 2**43, 2.0, latest=False)
        await compact(started)
        assert 1.0 == started.writes.latest(device, device.points[0].datastream)[1]
    time.wall = NOON
    async with start() as started:
        [device] = started.devices.by_id.values()
        write(started, device, 0, 3)
        await compact(started)


async def test_acknowledgements_do_not_wait_for_what_is_being_erased(start, time, monkeypatch):
    monkeypatch.setattr(hub.history.compaction, "ERASED_PER_SLICE", 1)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for _ in range(50):
            time.pass_(10 * HOUR)
            write(started, device, 0, 1)
        await compact(started)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(write(started, device, 1, "x").durable)
        started.history.erase(range(100_000, 100_064))
        await write(started, device, 1, "y").durable()
        assert started.history.is_busy, "the erasure goes on after the acknowledgement"


async def test_a_day_query_of_all_time_beside_many_unsealed_values_holds_nobody_up(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(3000):
            time.pass_(1000)
            write(started, device, 0, n)
        began = thread_time()
        found = await buckets(started, device, 0, "day", "Europe/Berlin", 0, 2**41)
        assert thread_time() - began < patient(0.5)
        assert 3000 == sum(one.count for _, one in found)


async def test_an_import_tells_the_device_and_subscribers_the_newest_alone(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        told = []
        started.subscribe(hub.facts.ValueWritten, lambda fact: told.append(fact.value))
        stream = device.points[0].datastream
        rows = [(stream, NOON - HOUR + n * 1000, n) for n in range(100)]
        await started.writes.import_points(device, rows, "test", SYSTEM)
        assert [99.0] == told
        await started.writes.import_points(device, [(stream, NOON - DAY, 5)], "test", SYSTEM)
        assert [99.0] == told


async def test_an_import_that_an_erasure_overtakes_is_not_acknowledged(start, time, monkeypatch):
    monkeypatch.setattr(hub.writes, "IMPORT_SLICE", 1)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        stream = device.points[0].datastream
        rows = [(stream, NOON - n, n) for n in range(20_000)]
        refused = []

        async def importing():
            try:
                await started.writes.import_points(device, rows, "test", SYSTEM)
            except hub.errors.Conflict as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(started.devices.erase, device, [stream], SYSTEM)
            nursery.start_soon(importing)
        assert refused


async def test_a_locked_configuration_does_not_stop_the_history_when_something_was_erased(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        write(started, device, 0, 1)
        await compact(started)

        async def locked(_series):
            raise hub.errors.StorageError("database is locked")

        started.history.retention.on_erased = locked
        await started.devices.erase(device, [device.points[0].datastream], SYSTEM)
        await until(lambda: not started.history.is_busy)
        assert [] == [alarm.text for alarm in started.active_alarms() if alarm.id == "writes"]
        await write(started, device, 0, 2).durable()
    async with start() as started:
        await until(lambda: not started.history.is_busy)
    with closing(sqlite3.connect(started.config.data / "pinwheel.db")) as database:
        assert [] == database.execute("SELECT series FROM gone").fetchall()


@pytest.mark.timeouts(RunTimeouts(housekeeping=0.02))
async def test_an_hour_is_sealed_though_nothing_comes_any_more(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        write(started, device, 0, 1)
        await until(lambda: started.history.stored == 1)
        time.pass_(HOUR)
        await until(lambda: started.history._progress.segment >= 1 and not started.history.is_busy)
        with closing(sqlite3.connect(started.config.data / "history.db")) as database:
            assert 1 == database.execute("SELECT count(*) FROM chunks").fetchone()[0]
