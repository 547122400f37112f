"""The lines of charts: fetched once, continued by the stream, and fetched again from their last point after a loss.

A line is raw, or has a point for each minute, hour or day. The points of a raw line are continued with each value that
the stream delivers, which under load are not all that the hub has stored. The other lines end with the newest value
until the hub has computed its minute, hour or day: then the line is outdated, and its end is fetched.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal, cast

import attrs

from client import Call
from client.operations import Chart, Conversion, get_history
from tui.store.devices import AsyncApi
from tui.store.values import PINS, Key

Granularity = Literal["raw", "minute", "hour", "day"]
Aggregate = Literal["avg", "min", "max", "sum", "count", "last"]

#: Lines in memory, and points of each.
MAX_LINES, MAX_POINTS = 24, 20_000
_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
#: Milliseconds between the points of a line.
STEPS: dict[Granularity, int] = {"raw": 0, "minute": _MINUTE, "hour": _HOUR, "day": _DAY}
#: Lengths in ms of the ranges that charts offer, and what they show.
RANGES: dict[str, tuple[int, Granularity]] = {
    "1h": (_HOUR, "raw"),
    "6h": (6 * _HOUR, "minute"),
    "1d": (_DAY, "minute"),
    "1w": (7 * _DAY, "hour"),
    "1M": (30 * _DAY, "hour"),
    "3M": (91 * _DAY, "hour"),
    "1y": (365 * _DAY, "day"),
    "3y": (3 * 365 * _DAY, "day"),
}


@attrs.frozen
class LineKey:
    """A line of a chart; ``range`` is one of `RANGES`."""

    device: int
    pin: int
    range: str = "1d"
    aggregate: Aggregate = "avg"


@attrs.define(eq=False)
class Line:
    """The points of a line: times (ms UTC) in order, and the value at each. ``newest`` is the value after them.

    ``display`` converts values to the user's units. ``is_outdated``: points are missing after ``complete_to``, the time
    of a point.
    """

    granularity: Granularity
    ts: list[int] = attrs.Factory(list)
    values: list[Any] = attrs.Factory(list)
    newest: tuple[int, Any] | None = None
    name: str = ""
    units: str = ""
    display: Conversion | None = None
    is_outdated: bool = False
    complete_to: int | None = None

    def outdate(self) -> None:
        """Have what follows the last point fetched, also when further points have arrived by then."""
        if not self.is_outdated:
            self.is_outdated, self.complete_to = True, self.ts[-1] if self.ts else None

    def points(self) -> tuple[list[int], list[Any]]:
        """Return the times and values to draw, with the newest value."""
        if self.newest is None or (self.ts and self.newest[0] < self.ts[-1]):
            return self.ts, self.values
        return [*self.ts, self.newest[0]], [*self.values, self.newest[1]]

    def put(self, ts: int, value: Any) -> None:
        """Add a value of the stream, also one that comes late; one with the same time replaces the other."""
        step = STEPS[self.granularity]
        if step:
            if self.newest is None or ts >= self.newest[0]:
                self.newest = (ts, value)
            # The last point is of a time that may go on; the one after it is over when a third has begun.
            if not self.ts or ts >= self.ts[-1] + 2 * step:
                self.outdate()
            return
        index = bisect_left(self.ts, ts)
        if index < len(self.ts) and self.ts[index] == ts:
            self.values[index] = value
        else:
            self.ts.insert(index, ts)
            self.values.insert(index, value)

    def trim(self, length: int) -> None:
        """Drop points that are older than ``length`` ms before the last one, and more than `MAX_POINTS`."""
        if self.ts:
            end = max(bisect_left(self.ts, self.ts[-1] - length), len(self.ts) - MAX_POINTS)
            del self.ts[:end]
            del self.values[:end]


@attrs.define(eq=False)
class _Load:
    """A line that is being fetched, and the values that the stream has delivered since it was asked for."""

    task: asyncio.Task[Line]
    arrived: list[tuple[int, Any]] = attrs.Factory(list)
    is_dropped: bool = False
    is_outdated: bool = False


class History:
    """The lines of the charts that are shown, and of the last ones."""

    def __init__(self, api: AsyncApi) -> None:
        self._api = api
        self._lines: OrderedDict[LineKey, Line] = OrderedDict()
        self._loads: dict[LineKey, _Load] = {}

    def line(self, key: LineKey) -> Line | None:
        """Return a line that is in memory."""
        line = self._lines.get(key)
        if line is not None:
            self._lines.move_to_end(key)
        return line

    def must_load(self, key: LineKey) -> bool:
        """Whether a line is missing, or points at its end are."""
        line = self._lines.get(key)
        return line is None or line.is_outdated

    async def load(self, key: LineKey) -> Line:
        """Fetch a line, or what is missing at its end; callers of the same one share the request.

        Raises `RequestError`, KeyError for an unknown range.
        """
        load = self._loads.get(key)
        if load is None or load.is_dropped:
            RANGES[key.range]
            load = self._loads[key] = _Load(asyncio.create_task(self._fetch(key)))
            load.task.add_done_callback(lambda task: self._end_load(key, task))
        return await asyncio.shield(load.task)

    async def _fetch(self, key: LineKey) -> Line:
        # The task starts after `load` has stored it.
        load = self._loads[key]
        length, granularity = RANGES[key.range]
        known = self._lines.get(key)
        since = None
        if known is not None and known.ts:
            # The last point again: more values may have joined it.
            since = known.complete_to if known.is_outdated else known.ts[-1]
        if known is not None and since is not None:
            line = await self._fetch_line(key, known.granularity, since)
            if line.granularity != known.granularity:
                line = await self._fetch_line(key, line.granularity)
            else:
                end = bisect_left(known.ts, since)
                line.ts, line.values = known.ts[:end] + line.ts, known.values[:end] + line.values
        else:
            line = await self._fetch_line(key, granularity)
        if load.is_dropped:
            return line
        if known is not None and known.newest is not None:
            line.newest = known.newest
        for ts, value in load.arrived:
            line.put(ts, value)
        line.trim(length)
        if load.is_outdated:
            # Where the loss was is not known: the same again.
            line.is_outdated, line.complete_to = True, since
        self._lines[key] = line
        self._lines.move_to_end(key)
        while len(self._lines) > MAX_LINES:
            self._lines.popitem(last=False)
        return line

    async def _fetch_line(self, key: LineKey, granularity: Granularity, since: int | None = None) -> Line:
        length, _ = RANGES[key.range]
        call = get_history(
            device_ids=[key.device],
            pins=[f"V{key.pin}"],
            granularity=granularity,
            aggregate=None if granularity == "raw" else key.aggregate,
            from_=since,
            # The hub's clock counts, not this machine's.
            period=f"{length // 1000}s" if since is None else None,
        )
        chart = await self._api(cast("Call[Chart]", call))
        if not chart["series"]:
            return Line(granularity)
        series = chart["series"][0]
        if series["more"] and granularity == "raw":
            # The newest values would be missing.
            return await self._fetch_line(key, "minute")
        return Line(
            granularity,
            list(series["ts"]),
            list(series["values"]),
            name=series["name"],
            units=series["units"],
            display=series["display"],
        )

    def _end_load(self, key: LineKey, task: asyncio.Task[Line]) -> None:
        if (load := self._loads.get(key)) is not None and load.task is task:
            del self._loads[key]
        if not task.cancelled():
            # Those that wait for it get the exception; without any it would be logged.
            task.exception()

    def apply_change(self, change: Mapping[str, Any]) -> set[LineKey]:
        """Take a change of a device from the stream; return the lines that are to be drawn again."""
        device, drawn = change.get("device"), set[LineKey]()
        if change.get("deleted") is True:
            for key in [key for key in self._lines if key.device == device]:
                del self._lines[key]
                drawn.add(key)
        values, ts = change.get("values"), change.get("ts")
        if not isinstance(values, dict) or not isinstance(device, int):
            return drawn
        for name, value in values.items():
            if (pin := PINS.get(name)) is None:
                continue
            if value is None:
                drawn |= self._erase((device, pin))
            elif change.get("by") == "clock repair":
                drawn |= self._reload((device, pin))
            elif isinstance(ts, int):
                drawn |= self._append((device, pin), ts, value)
        return drawn

    def _append(self, datastream: Key, ts: int, value: Any) -> set[LineKey]:
        for load in self._loads_of(datastream):
            load.arrived.append((ts, value))
            del load.arrived[:-MAX_POINTS]
        lines = self._of(datastream)
        for key, line in lines.items():
            line.put(ts, value)
            line.trim(RANGES[key.range][0])
        return set(lines)

    def _erase(self, datastream: Key) -> set[LineKey]:
        """Empty the lines: the hub has erased the values."""
        for load in self._loads_of(datastream):
            load.is_dropped = True
        lines = self._of(datastream)
        for key, line in lines.items():
            self._lines[key] = Line(line.granularity, name=line.name, units=line.units, display=line.display)
            self._lines[key].outdate()
        return set(lines)

    def _reload(self, datastream: Key) -> set[LineKey]:
        """Drop the lines: the hub has changed the times of their points."""
        for load in self._loads_of(datastream):
            load.is_dropped = True
        lines = self._of(datastream)
        for key in lines:
            del self._lines[key]
        return set(lines)

    def _of(self, datastream: Key) -> dict[LineKey, Line]:
        return {key: line for key, line in self._lines.items() if (key.device, key.pin) == datastream}

    def _loads_of(self, datastream: Key) -> list[_Load]:
        return [load for key, load in self._loads.items() if (key.device, key.pin) == datastream]

    def outdate(self) -> None:
        """Have the end of all lines fetched again: the stream has missed values, or merged them."""
        for line in self._lines.values():
            line.outdate()
        for load in self._loads.values():
            load.is_outdated = True

    def clear(self) -> None:
        """Drop everything, also what is being fetched."""
        self._lines.clear()
        for load in self._loads.values():
            load.is_dropped = True

    async def aclose(self) -> None:
        """Cancel what is being fetched."""
        tasks = [load.task for load in self._loads.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
