"""Lines in a grid of characters: points to braille dots, scales and their ticks. No Textual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

import attrs

#: The braille dot of each place in a cell, by row and column (Unicode, Braille Patterns).
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800
#: Dots of a cell.
DOTS_X, DOTS_Y = 2, 4
#: The characters of the lines of a plot without braille.
ASCII_LINES = "*+xo#@"
#: The largest value that is drawn: with larger ones, and with nan, sums are not finite.
MAX_VALUE = 1e100
#: The farthest place outside of a scale.
FAR = 1e9
#: Each line has its own dashes, so that it is known without colors too: dots that are drawn, of how many.
DASHES = ((1, 1), (4, 6), (1, 3), (6, 8), (2, 4), (1, 5))
#: Distances of ticks on the axis of time, in seconds.
_TIME_STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    1_209_600, 2_592_000, 7_776_000, 31_536_000,
)  # fmt: skip

#: A time in seconds since the epoch, and a value; None is a gap.
Point = tuple[float, float | None]


@attrs.frozen
class Scale:
    """Maps values from ``low`` to ``high`` to places from 0 to ``size`` - 1."""

    low: float
    high: float
    size: int

    def place(self, value: float) -> float:
        """Return a place, also of a value outside; far away is at `FAR`, however small the scale is."""
        span = self.high - self.low
        return max(-FAR, min(FAR, (value - self.low) / span * (self.size - 1))) if span else 0.0

    def value(self, place: float) -> float:
        return self.low + place / max(self.size - 1, 1) * (self.high - self.low)


class Canvas:
    """Cells of ``width`` times ``height``, each with dots and the number of the line that drew last there."""

    def __init__(self, width: int, height: int, *, braille: bool = True) -> None:
        self.width, self.height = width, height
        self._braille = braille
        self._bits = [[0] * width for _ in range(height)]
        self._lines = [[-1] * width for _ in range(height)]

    @property
    def dots(self) -> tuple[int, int]:
        """The dots in a row and in a column."""
        return (self.width * DOTS_X, self.height * DOTS_Y) if self._braille else (self.width, self.height)

    def dot(self, x: int, y: int, line: int) -> None:
        """Draw a dot, ``y`` from the bottom; one outside is ignored."""
        columns, rows = self.dots
        if not (0 <= x < columns and 0 <= y < rows):
            return
        y = rows - 1 - y
        if self._braille:
            column, row = x // DOTS_X, y // DOTS_Y
            self._bits[row][column] |= _DOTS[y % DOTS_Y][x % DOTS_X]
        else:
            column, row = x, y
            self._bits[row][column] = 1
        self._lines[row][column] = line

    def segment(self, x0: float, y0: float, x1: float, y1: float, line: int) -> None:
        """Draw the part of a straight line that is in the canvas."""
        columns, rows = self.dots
        clipped = _clip(x0, y0, x1, y1, columns - 1, rows - 1)
        if clipped is None:
            return
        x0, y0, x1, y1 = clipped
        steps = max(math.ceil(abs(x1 - x0)), math.ceil(abs(y1 - y0)), 1)
        on, period = DASHES[line % len(DASHES)] if self._braille else DASHES[0]
        for step in range(steps + 1):
            share = step / steps
            x, y = round(x0 + (x1 - x0) * share), round(y0 + (y1 - y0) * share)
            if (x + y) % period < on:
                self.dot(x, y, line)

    def row(self, y: int) -> list[tuple[str, int]]:
        """Return the characters of a row of cells, from the top, and the numbers of their lines; -1 is none."""
        lines = self._lines[y]
        if self._braille:
            return [
                (chr(_BRAILLE + bits) if bits else " ", line) for bits, line in zip(self._bits[y], lines, strict=True)
            ]
        return [(ASCII_LINES[line % len(ASCII_LINES)] if line >= 0 else " ", line) for line in lines]


def _clip(
    x0: float, y0: float, x1: float, y1: float, right: float, top: float
) -> tuple[float, float, float, float] | None:
    """Return the part of a line in the rectangle from 0, 0 (Liang and Barsky, 1984), or None."""
    dx, dy = x1 - x0, y1 - y0
    begin, end = 0.0, 1.0
    for direction, distance in ((-dx, x0), (dx, right - x0), (-dy, y0), (dy, top - y0)):
        if direction == 0:
            if distance < 0:
                return None
            continue
        share = distance / direction
        if direction < 0:
            begin = max(begin, share)
        else:
            end = min(end, share)
    if begin > end:
        return None
    return x0 + begin * dx, y0 + begin * dy, x0 + end * dx, y0 + end * dy


def draw(canvas: Canvas, points: Sequence[Point], times: Scale, values: Scale, line: int) -> None:
    """Draw a line through points in the order of their times. There is no line over a gap; the scales are in dots.

    Where several points are in one column of dots, the line goes from the lowest to the highest of them, so that the
    work is bounded by the width, and no peak is lost.
    """
    before: tuple[int, float] | None = None
    at = 0
    while at < len(points):
        time, value = points[at]
        if value is None or not abs(value) <= MAX_VALUE:
            before = None
            at += 1
            continue
        x = times.place(time)
        column = round(x)
        low = high = last = value
        at += 1
        while at < len(points):
            later = points[at][1]
            if later is None or not abs(later) <= MAX_VALUE or round(times.place(points[at][0])) != column:
                break
            low, high, last = min(low, later), max(high, later), later
            at += 1
        if before is not None:
            canvas.segment(before[0], before[1], column, values.place(value), line)
        canvas.segment(column, values.place(low), column, values.place(high), line)
        before = (column, values.place(last))


def value_range(series: Sequence[Sequence[Point]], start: float, end: float) -> tuple[float, float]:
    """Return the lowest and highest value between two times, with some space; 0 and 1 if there is none."""
    known = [
        value
        for points in series
        for time, value in points
        if value is not None and abs(value) <= MAX_VALUE and start <= time <= end
    ]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    space = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - space, high + space


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most ``most`` round values between two, rising, with equal distances."""
    span = high - low
    # Values so near to each other have no rounder ones between them.
    if most < 1 or not math.isfinite(span) or span <= max(abs(low), abs(high), MAX_VALUE**-1) * 1e-9:
        return []
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if span / (step * factor) <= most - 1 or factor == 20)
    first = math.ceil(low / step)
    places = max(1 - math.floor(math.log10(step)), 0)
    return [round(number * step, places) for number in range(first, math.floor(high / step) + 1)][:most]


def time_ticks(start: float, end: float, most: int, zone: tzinfo) -> list[tuple[float, str]]:
    """Return at most ``most`` round times of a time zone between two, and their words."""
    span = end - start
    if most < 1 or span <= 0:
        return []
    step = next((step for step in _TIME_STEPS if span / step <= most), None)
    if step is None:
        step = math.ceil(span / most / _TIME_STEPS[-1]) * _TIME_STEPS[-1]
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86_400 else "%d %b" if step < 31_536_000 else "%Y"
    found: list[tuple[float, str]] = []
    # Round in local time: an offset of the start is good enough for the ticks of one chart.
    offset = (datetime.fromtimestamp(start, zone).utcoffset() or timedelta()).total_seconds()
    number = math.ceil((start + offset) / step)
    while (time := number * step - offset) <= end and len(found) < most:
        found.append((time, datetime.fromtimestamp(time, zone).strftime(form)))
        number += 1
    return found


def nearest(points: Sequence[Point], time: float, within: float) -> Point | None:
    """Return the point with a value nearest to a time, at most ``within`` seconds away, or None."""
    best: Point | None = None
    for point in points:
        if point[1] is None or abs(point[0] - time) > within:
            continue
        if best is None or abs(point[0] - time) < abs(best[0] - time):
            best = point
    return best
