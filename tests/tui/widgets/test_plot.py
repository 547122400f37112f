from __future__ import annotations

import math
from datetime import UTC, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tui.widgets.plot import Canvas, Scale, draw, nearest, ticks, time_ticks, value_range

FINITE = st.floats(-1e9, 1e9)


def plotted(points, width=10, height=3, braille=False):
    canvas = Canvas(width, height, braille=braille)
    columns, rows = canvas.dots
    draw(canvas, points, Scale(0, 9, columns), Scale(0, 2, rows), 0)
    return ["".join(character for character, _ in canvas.row(y)) for y in range(height)]


def test_line_is_drawn():
    assert ["       ***", "   ****   ", "***       "] == plotted([(0, 0), (9, 2)])


def test_braille_has_eight_dots_in_a_cell():
    canvas = Canvas(1, 1)
    for x in range(2):
        for y in range(4):
            canvas.dot(x, y, 0)
    canvas.dot(2, 0, 0)
    canvas.dot(0, -1, 0)
    assert [("⣿", 0)] == canvas.row(0)


def test_gap_is_a_gap():
    assert ["          ", "***    ***", "          "] == plotted([(0, 1), (2, 1), (3, None), (7, 1), (9, 1)])
    assert ["          ", "**      **", "          "] == plotted([(0, 1), (1, 1), (4, math.nan), (8, 1), (9, 1)])


def test_points_outside_are_clipped_and_do_not_bend_the_line():
    assert plotted([(0, 0), (9, 2)]) == plotted([(-9, -2), (18, 4)])
    assert [" " * 10] * 3 == plotted([(0, 5), (9, 6)])


def test_peak_among_many_points_is_drawn():
    points = [(at / 1000, 0.0) for at in range(9000)]
    points[4321] = (4.321, 2.0)
    assert "*" in plotted(points)[0]


def test_lines_have_different_dashes():
    shown = set()
    for number in range(6):
        canvas = Canvas(20, 1)
        canvas.segment(0, 0, 39, 0, number)
        shown.add("".join(character for character, _ in canvas.row(0)))
    assert 6 == len(shown)


@given(st.lists(st.tuples(FINITE, st.one_of(st.none(), st.floats())), max_size=30), FINITE, FINITE)
@example([(1.0, 0.0)], 0.0, 5e-324)
def test_any_points_are_drawn(points, first, second):
    canvas = Canvas(20, 5)
    columns, rows = canvas.dots
    start, end = min(first, second), max(first, second)
    low, high = value_range([points], start, end)
    draw(canvas, sorted(points, key=lambda point: point[0]), Scale(start, end, columns), Scale(low, high, rows), 0)
    assert [20] * 5 == [len(canvas.row(y)) for y in range(5)]


@given(FINITE, FINITE, st.integers(0, 30))
def test_ticks_are_few_and_in_the_range(low, high, most):
    found = ticks(low, high, most)
    assert len(found) <= most
    assert all(low - abs(low) * 1e-9 <= tick <= high + abs(high) * 1e-9 for tick in found)
    assert all(before < after for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [(17.8, 30.1, 5, [20, 25, 30]), (0, 1, 3, [0, 0.5, 1]), (0, 100, 6, [0, 20, 40, 60, 80, 100]), (5, 5, 4, [])],
)
def test_ticks_are_round(low, high, most, expected):
    assert expected == ticks(low, high, most)


def test_ticks_of_time_are_round_in_the_time_zone():
    day = 86_400.0
    half = timezone(timedelta(hours=5, minutes=30))
    assert ["00:00", "06:00", "12:00", "18:00", "00:00"] == [text for _, text in time_ticks(0, day, 5, UTC)]
    assert ["06:00", "12:00", "18:00", "00:00"] == [text for _, text in time_ticks(0, day, 5, half)]
    assert ["01 Jan", "08 Jan", "15 Jan"] == [text for _, text in time_ticks(0, 16 * day, 3, UTC)]
    assert [] == time_ticks(0, 0, 5, UTC)


@given(st.floats(0, 4e9), st.floats(1, 1e9), st.integers(1, 40))
def test_ticks_of_time_are_few_and_in_the_range(start, length, most):
    found = time_ticks(start, start + length, most, UTC)
    assert len(found) <= most
    assert all(start - 1 <= time <= start + length + 1 for time, _ in found)


def test_range_of_values_has_some_space():
    assert (9.5, 20.5) == value_range([[(0, 10), (1, 20), (2, None), (3, math.inf), (99, 1000)]], 0, 10)
    assert (0, 1) == value_range([[]], 0, 10)
    assert (-1, 1) == value_range([[(0, 0)]], 0, 10)


def test_nearest_point_has_a_value():
    points = [(0, 1), (5, None), (10, 2)]
    assert (10, 2) == nearest(points, 6, 5)
    assert None is nearest(points, 5, 4)
