"""The encoding of chunks, and statistics of points."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.times import MINUTE, NOON

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
def test_chunk_decodes_to_its_points(points):
    points.sort(key=lambda point: point[0])
    assert repr(points) == repr(decode(7, encode(7, points)))


@given(numbers)
def test_chunk_of_minutes_decodes_to_its_statistics(points):
    points.sort(key=lambda point: point[0])
    rows = statistics_by_minute(points)
    assert rows == decode(7, encode_minutes(7, rows))
    assert sum(row.count for _, row in rows) == len(points)


@given(others)
def test_chunk_of_minutes_without_numbers_has_counts_and_last_values(points):
    points.sort(key=lambda point: point[0])
    rows = statistics_by_minute(points)
    decoded = decode(7, encode_minutes(7, rows))
    rows = [row for row in rows if row[1].sum is not None] or rows
    assert [(minute, row.count, row.last, row.at) for minute, row in rows] == [
        (minute, row.count, row.last, row.at) for minute, row in decoded
    ]


@given(numbers, st.data())
def test_flipped_bit_is_detected(points, data):
    chunk = bytearray(encode(7, sorted(points)))
    bit = data.draw(st.integers(0, len(chunk) * 8 - 1))
    chunk[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadChunk):
        decode(7, bytes(chunk))


def test_chunk_with_the_key_of_another_chunk_is_detected():
    with pytest.raises(BadChunk):
        decode(8, encode(7, [(1, 2)]))


def test_chunk_of_a_sensors_hour_takes_about_two_bytes_a_value():
    randomness, value, points = random.Random(1), 213, []
    for minute in range(60):
        value += randomness.choice((-1, 0, 1))
        points.append((NOON + minute * MINUTE + randomness.randint(-500, 500), value / 10))
    assert len(encode(7, points)) < 60 * 2.5


def test_statistics_of_parts_combine_to_those_of_all_points():
    points = [(n, float(n % 7)) for n in range(100)]
    assert statistics(points) == combine([statistics(points[:30]), statistics(points[30:31]), statistics(points[31:])])
    assert Statistics(2, None, None, None, "b", 2) == combine([statistics([(2, "b")]), statistics([(1, "a")])])
    assert statistics([(1, 5)]) == combine([statistics([(2, "b")]), statistics([(1, 5)])])
