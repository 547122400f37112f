"""How points are merged into chunks: pure functions, without a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.times import DAY, HOUR, MINUTE

from hub.history import compaction
from hub.history.chunks import Statistics, combine, decode, encode, statistics, statistics_by_minute
from hub.history.compaction import (
    SMALL_PART,
    Policy,
    Tail,
    append_points,
    decode_parts,
    encode_parts,
    is_expired,
    merge_points,
)
from hub.history.keys import MAX_PART, chunk_key, hour_key

HOUR_NUMBER, SERIES = 500_000, 7
START = HOUR_NUMBER * HOUR

stamps = st.integers(START, START + HOUR - 1)
points = st.lists(st.tuples(stamps, st.integers(0, 9)), min_size=1, max_size=30).map(sorted)


def contents(parts):
    """The points of some parts, none of which is damaged."""
    decoded, damaged = decode_parts(parts)
    assert [] == damaged
    return [point for part in decoded for point in part]


@given(points, points, st.booleans(), st.integers(2, 40))
def test_merge_replaces_points_that_were_sent_again_and_contains_all_others(stored, new, client_stamped, part_size):
    sent = {stamp for stamp, _ in new} if client_stamped else set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "PART", part_size)
        parts = encode_parts(HOUR_NUMBER, SERIES, 0, stored, "raw")
        hour_statistics, merged = merge_points(HOUR_NUMBER, SERIES, decode_parts(parts)[0], new, sent, "raw")
    expected = sorted([*(point for point in stored if point[0] not in sent), *new], key=lambda point: point[0])
    assert expected == contents(merged)
    assert statistics(expected) == hour_statistics
    assert [chunk_key(HOUR_NUMBER, SERIES, n) for n in range(len(merged))] == [key for key, _ in merged]
    assert all(len(decode(*part)) <= part_size for part in merged)


@given(points, points, st.sampled_from(["raw", "minute"]))
def test_points_are_merged_into_minutes_if_the_datastream_has_or_had_minutes(stored, new, mode):
    before = "minute" if mode == "raw" else "raw"
    parts = encode_parts(HOUR_NUMBER, SERIES, 0, stored, before)
    hour_statistics, merged = merge_points(HOUR_NUMBER, SERIES, decode_parts(parts)[0], new, set(), mode)
    assert None is hour_statistics
    [part] = merged
    minutes = dict(decode(*part))
    # Of points with the same timestamp, either may be the last.
    assert sorted({stamp - stamp % MINUTE for stamp, _ in (*stored, *new)}) == sorted(minutes)
    assert len(stored) + len(new) == sum(stats.count for stats in minutes.values())
    total = combine(minutes.values())
    assert sum(value for _, value in (*stored, *new)) == total.sum


@given(points)
def test_later_points_are_appended_to_a_small_newest_part(stored):
    later = [(START + HOUR - 1, 5)]
    newest = encode_parts(HOUR_NUMBER, SERIES, 3, stored, "raw")[-1]
    parts = append_points(newest, hour_key(HOUR_NUMBER, SERIES), later, set(), "raw")
    assert [newest[0]] == [key for key, _ in parts]
    assert sorted([*stored, *later]) == sorted(contents(parts))


def test_later_points_after_a_large_part_become_a_new_part():
    stored = [(START + n, n) for n in range(SMALL_PART)]
    [newest] = encode_parts(HOUR_NUMBER, SERIES, 3, stored, "raw")
    parts = append_points(newest, hour_key(HOUR_NUMBER, SERIES), [(START + 5000, 1)], set(), "raw")
    assert {chunk_key(HOUR_NUMBER, SERIES, 4): [(START + 5000, 1)]} == {key: decode(key, data) for key, data in parts}


def test_points_are_not_appended_where_they_could_replace_others():
    key, later = hour_key(HOUR_NUMBER, SERIES), [(START + 5000, 1)]
    [raw] = encode_parts(HOUR_NUMBER, SERIES, 0, [(START, 1)], "raw")
    [minutes] = encode_parts(HOUR_NUMBER, SERIES, 0, [(START, 1)], "minute")
    damaged = (raw[0], raw[1][:-1] + bytes((raw[1][-1] ^ 1,)))
    assert None is append_points(None, key, later, set(), "raw")
    assert None is append_points(raw, key, later, {START + 5000}, "raw")
    assert None is append_points(raw, key, later, set(), "minute")
    assert None is append_points(minutes, key, later, set(), "raw")
    assert None is append_points(damaged, key, later, set(), "raw")


def test_last_part_of_an_hour_has_no_limit_of_points():
    hour_points = [(START + n, n) for n in range(5_000)]
    parts = encode_parts(HOUR_NUMBER, SERIES, MAX_PART, hour_points, "raw")
    assert [chunk_key(HOUR_NUMBER, SERIES, MAX_PART)] == [key for key, _ in parts]
    assert hour_points == contents(parts)


def test_damaged_parts_are_returned_separately_and_the_others_decoded():
    intact_key, damaged_key = chunk_key(HOUR_NUMBER, SERIES, 0), chunk_key(HOUR_NUMBER, SERIES, 1)
    data = encode(intact_key, [(START, 1)])
    decoded, damaged = decode_parts([(intact_key, data), (damaged_key, data)])
    assert [[(START, 1)]] == decoded
    assert [damaged_key] == [key for key, _ in damaged]


def test_chunks_expire_after_their_retention_and_with_their_series():
    key, policy = chunk_key(HOUR_NUMBER, SERIES), Policy("raw", 2 * DAY, "UTC")
    end = START + HOUR
    assert not is_expired(key, policy, end + 2 * DAY)
    assert is_expired(key, policy, end + 2 * DAY + 1)
    assert is_expired(key, None, START)


@given(st.lists(st.tuples(stamps, st.one_of(st.floats(0, 9), st.just((1.0, 2.0))), st.booleans()), max_size=30))
def test_tail_returns_its_points_by_timestamp_and_the_newest_of_a_client_timestamp(arrived):
    # The hub's own timestamps are in order.
    own = iter(sorted(stamp for stamp, _, is_client in arrived if not is_client))
    tail, model = Tail(1.0), []
    for stamp, value, is_client in arrived:
        at = stamp if is_client else next(own)
        tail.append(at, value)
        model.append((at, value))
        if is_client:
            tail.client_stamped = (tail.client_stamped or set()) | {at}
    client_stamped = tail.client_stamped or set()
    expected = {stamp: value for stamp, value in model if stamp in client_stamped}
    expected = [*(point for point in model if point[0] not in client_stamped), *expected.items()]
    points = tail.points()
    assert sorted(expected, key=repr) == sorted(points, key=repr)
    assert [stamp for stamp, _ in points] == sorted(stamp for stamp, _ in points)


def test_statistics_by_minute_of_an_hour_combine_to_those_of_the_hour():
    hour_points = [(START + n * 7_000, n) for n in range(500)]
    minutes = [stats for _, stats in statistics_by_minute(hour_points)]
    assert combine(minutes) == statistics(hour_points)
    assert isinstance(minutes[0], Statistics)
