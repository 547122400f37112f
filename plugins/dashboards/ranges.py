"""Ranges of time, and the parts of them for which charts have a point each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

import attrs

from hub import Rejected
from hub.history import HOUR_MS
from hub.parsing import timezones
from plugins.dashboards.answers import Step
from plugins.dashboards.model import RANGE_MS, Range
from plugins.dashboards.options import Resolution

MINUTE_MS, DAY_MS = HOUR_MS // 60, 24 * HOUR_MS
STEP_MS: Mapping[Step, int] = {"minute": MINUTE_MS, "quarter": 15 * MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS}
#: The resolution of charts if none is selected, and the finest one: a chart has at most some 1,500 points.
DEFAULT_STEP: Mapping[Range, Step] = {
    "1h": "minute",
    "6h": "quarter",
    "1d": "hour",
    "1w": "hour",
    "1mo": "day",
    "3mo": "day",
    "1y": "day",
}
FINEST_STEP: Mapping[Range, Step] = {
    "1h": "minute",
    "6h": "minute",
    "1d": "minute",
    "1w": "quarter",
    "1mo": "hour",
    "3mo": "day",
    "1y": "day",
}


@attrs.frozen
class Span:
    """A range of time that ends now: ``start`` and ``end`` are milliseconds UTC, days are those of ``zone``."""

    range_: Range
    start: int
    end: int
    zone: str

    @classmethod
    def until(cls, now: int, range_: Range, zone: str) -> Span:
        """Return the range that ends with the millisecond ``now``."""
        return cls(range_, max(0, now + 1 - RANGE_MS[range_]), now + 1, zone)

    def before(self) -> Span:
        """Return the range of the same length that ends where this one begins."""
        return Span(self.range_, max(0, 2 * self.start - self.end), self.start, self.zone)

    def step(self, wanted: Resolution = "auto") -> Step:
        """Return the resolution of a chart. Raises `Rejected` if it would have too many points."""
        if wanted == "auto":
            return DEFAULT_STEP[self.range_]
        finest = FINEST_STEP[self.range_]
        if STEP_MS[wanted] < STEP_MS[finest]:
            raise Rejected(f"a range of {self.range_} cannot have a point for each {wanted}; select {finest} or longer")
        return wanted

    def first(self, step: Step) -> int:
        """Return the first millisecond of the part in which the range begins."""
        if step == "day":
            return timezones.day(self.zone, self.start)[0]
        return self.start - self.start % STEP_MS[step]

    def parts(self, step: Step) -> list[int]:
        """Return the first milliseconds of the parts that overlap the range."""
        if step == "day":
            return [begin for begin, _ in timezones.days(self.zone, self.start, self.end)]
        return list(range(self.first(step), self.end, STEP_MS[step]))

    def part_of(self, step: Step) -> Callable[[int], int]:
        """Return a function from a time to the first millisecond of its part; earlier times are in the first part."""
        if step == "day":
            parts: Sequence[int] = self.parts(step)
            return lambda at: parts[max(0, bisect_right(parts, at) - 1)]
        size = STEP_MS[step]
        return lambda at: at - at % size

    def stretches(self, step: Step) -> list[tuple[int, int, int]]:
        """Return the parts as stretches of parts of the same length, (first millisecond, end, length).

        A year has few of them: its days are of the same length but where daylight saving begins and ends.
        """
        if step != "day":
            return [(self.first(step), self.end, STEP_MS[step])]
        stretches: list[tuple[int, int, int]] = []
        for begin, end in timezones.days(self.zone, self.start, self.end):
            if stretches and stretches[-1][2] == end - begin:
                stretches[-1] = (stretches[-1][0], end, end - begin)
            else:
                stretches.append((begin, end, end - begin))
        return stretches
