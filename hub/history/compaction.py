"""Compaction: merge the points of segments into chunks and statistics, and delete chunks and statistics again.

All functions work within one transaction, on the tables of `hub.history.chunkstore`; `hub.history.commit_log` decides
when they run.

A point belongs to the hour of its stamp, whenever it arrives. Points of an hour that already has a chunk are merged
into it. A point that the client stamped replaces the stored point with the same stamp, so that importing the same data
twice has the same result as importing it once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import attrs

from hub.clock import END_MS
from hub.history.chunks import (
    DAMAGED,
    HOUR_MS,
    BadChunk,
    Point,
    Statistics,
    combine,
    combine_minutes,
    decode,
    encode,
    encode_minutes,
    is_whole,
    read_count,
    statistics,
    statistics_by_minute,
)
from hub.history.chunkstore import ChunkReader, Chunks, Part
from hub.history.keys import (
    MAX_PART,
    SERIES_MASK,
    chunk_key,
    day_of,
    hour_key,
    hour_of_chunk,
    series_of_chunk,
)
from hub.model import HistoryMode, Value

#: Points in one part of a chunk. Later points are added to the newest part while it has fewer than `SMALL_PART`, else
#: they become a new part.
PART = 1024
SMALL_PART = PART // 8
#: Chunks examined in one transaction of a pass over all chunks: less than 10 ms.
CHUNKS_PER_SLICE = 2_000


@attrs.frozen
class Policy:
    """How the history of a series is stored: for how long its chunks (``retain_ms``), with days of which ``zone``."""

    mode: HistoryMode
    retain_ms: int
    zone: str


#: Contents of a part of a chunk: points, or statistics by minute.
Contents = list[Point] | list[tuple[int, Statistics]]
#: Returns the policy of a series, or None when the series no longer exists.
Policies = Callable[[int], Policy | None]


class Tail:
    """The points of one series in one segment that are not in chunks yet, in the order of arrival."""

    __slots__ = ("client_stamped", "stamps", "values")

    def __init__(self, first: Value) -> None:
        """Create an empty tail for a series whose first value is ``first``: floats are stored in 8 bytes each."""
        self.stamps = array("q")
        self.values: list[Value] | array[float] = array("d") if type(first) is float else []
        #: The stamps that the client gave, not the hub's clock.
        self.client_stamped: set[int] | None = None

    def append(self, stamp: int, value: Value) -> None:
        self.stamps.append(stamp)
        try:
            self.values.append(value)  # type: ignore[arg-type]
        except TypeError:
            # A tuple of several values, among floats.
            self.values = [*self.values, value]

    def points(self) -> list[Point]:
        """Return the points in the order of their stamps; of those with the same client stamp, only the last."""
        points: list[Point] = list(zip(self.stamps, self.values, strict=True))
        if client_stamped := self.client_stamped:
            newest = {stamp: value for stamp, value in points if stamp in client_stamped}
            points = [point for point in points if point[0] not in client_stamped] + list(newest.items())
            # The hub's own stamps are in order already.
            points.sort(key=stamp_of)
        return points


def stamp_of(point: Point) -> int:
    return point[0]


async def compact(
    chunks: Chunks, tails: Sequence[tuple[int, Tail]], policies: Policies, now: int
) -> list[tuple[int, str]]:
    """Write the points of some series into their chunks and statistics; return damaged chunks as (key, reason)."""
    damaged: list[tuple[int, str]] = []
    new: dict[int, tuple[int, Policy, list[Point], set[int]]] = {}
    for series, tail in tails:
        policy = policies(series)
        if policy is None or policy.mode == "off":
            continue
        for hour, points in _by_hour(tail.points()):
            new[hour_key(hour, series)] = (hour, policy, points, tail.client_stamped or set())
    hours = await chunks.hours(list(new))
    newest = await chunks.newest_parts(list(hours))
    new_parts: list[Part] = []
    ended: dict[tuple[int, int], tuple[int, int]] = {}
    for key, (hour, policy, points, client_stamped) in sorted(new.items()):
        series = key - (hour << 32)
        old = hours.get(key)
        if old is None:
            hours[key] = statistics(points)
            new_parts += encode_parts(hour, series, 0, points, policy.mode)
        elif (parts := append_points(newest.get(key), key, points, client_stamped, policy.mode)) is not None:
            hours[key] = combine((old, statistics(points)))
            new_parts += parts
        else:
            merged, damaged_parts = await _merge(chunks, hour, series, points, client_stamped, policy.mode)
            damaged += damaged_parts
            is_complete = merged is not None and merged.count >= old.count
            hours[key] = merged if merged is not None and is_complete else combine((old, statistics(points)))
        day = day_of(policy.zone, hour)
        if day is not None and (day[0] + day[1]) * HOUR_MS <= now:
            ended[series, day[0]] = day
    await chunks.put(new_parts)
    await chunks.put_hours({key: hours[key] for key in new})
    # Statistics of days with new values are outdated, including those in time zones that the device had before.
    await chunks.delete_days(new)
    await write_days(chunks, ended)
    return damaged


def _by_hour(points: list[Point]) -> Iterable[tuple[int, list[Point]]]:
    """Group points, which are in the order of their stamps, by hour. There are few hours and many points."""
    # An earlier version of the clock could give stamps that do not fit the keys.
    start, end = (bisect_left(points, stamp, key=stamp_of) for stamp in (0, END_MS))
    while start < end:
        hour = points[start][0] // HOUR_MS
        after = bisect_left(points, (hour + 1) * HOUR_MS, start, end, key=stamp_of)
        yield hour, points[start:after]
        start = after


def append_points(
    newest: Part | None, key: int, points: list[Point], client_stamped: set[int], mode: HistoryMode
) -> list[Part] | None:
    """Return the parts to write when all points are later than those of the hour, as the hub's stamps are; else None.

    The points are added to the newest part while that is small, else they become a new part.
    """
    if newest is None or mode == "minute" or (client_stamped and any(stamp in client_stamped for stamp, _ in points)):
        return None
    part_key, chunk = newest
    part = part_key & MAX_PART
    try:
        count = read_count(part_key, chunk)
        if count is None:
            return None
        if count >= SMALL_PART and part < MAX_PART:
            return encode_parts(key >> 32, key & SERIES_MASK, part + 1, points, mode)
        stored = cast("list[Point]", decode(part_key, chunk))
    except BadChunk:
        return None
    return encode_parts(key >> 32, key & SERIES_MASK, part, sorted([*stored, *points], key=stamp_of), mode)


def encode_parts(hour: int, series: int, part: int, points: list[Point], mode: HistoryMode) -> list[Part]:
    """Return the points as parts of a chunk, (key, data), from the number ``part`` on."""
    if mode == "minute":
        key = chunk_key(hour, series, part)
        return [(key, encode_minutes(key, statistics_by_minute(points)))]
    # The last number has no successor, so its part takes all points.
    size = PART if part + len(points) // PART < MAX_PART else len(points)
    pieces = [points[start : start + size] for start in range(0, len(points), size)]
    keys = [chunk_key(hour, series, part + n) for n in range(len(pieces))]
    return [(key, encode(key, piece)) for key, piece in zip(keys, pieces, strict=True)]


async def _merge(
    chunks: Chunks, hour: int, series: int, points: list[Point], client_stamped: set[int], mode: HistoryMode
) -> tuple[Statistics | None, list[tuple[int, str]]]:
    """Merge points into the stored chunk of an hour.

    Return the statistics of the hour, or None if the chunk alone does not give them, and the damaged parts.
    """
    stored, damaged = decode_parts(await chunks.parts(hour, series))
    for key, _ in damaged:
        await chunks.quarantine(key)
    merged, parts = merge_points(hour, series, stored, points, client_stamped, mode)
    await chunks.replace(hour, series, parts)
    return (None if damaged else merged), damaged


def decode_parts(parts: Iterable[Part]) -> tuple[list[Contents], list[tuple[int, str]]]:
    """Return the contents of the parts of a chunk, and the damaged parts, (key, reason)."""
    contents, damaged = [], []
    for key, data in parts:
        try:
            contents.append(decode(key, data))
        except BadChunk as error:
            damaged.append((key, str(error)))
    return contents, damaged


def merge_points(
    hour: int, series: int, stored: list[Contents], points: list[Point], client_stamped: set[int], mode: HistoryMode
) -> tuple[Statistics | None, list[Part]]:
    """Merge points into the contents of the chunk of an hour.

    Return the statistics of all points, or None if the chunk has statistics by minute, and the new parts.
    """
    if mode == "minute" or any(_has_minutes(part) for part in stored):
        minutes: list[tuple[int, Statistics]] = []
        for part in stored:
            rows = part if _has_minutes(part) else statistics_by_minute(cast("list[Point]", part))
            minutes += cast("list[tuple[int, Statistics]]", rows)
        minutes += statistics_by_minute(points)
        first = chunk_key(hour, series)
        return None, [(first, encode_minutes(first, combine_minutes(minutes)))]
    replaced = {stamp for stamp, _ in points if stamp in client_stamped}
    kept = [point for part in stored for point in cast("list[Point]", part) if point[0] not in replaced]
    merged = sorted([*kept, *points], key=stamp_of)
    return statistics(merged), encode_parts(hour, series, 0, merged, mode)


def _has_minutes(contents: Contents) -> bool:
    return bool(contents) and type(contents[0][1]) is Statistics


async def write_days(chunks: Chunks, days: dict[tuple[int, int], tuple[int, int]]) -> None:
    """Write the statistics of days that have ended, given as (series, first hour): (first hour, number of hours)."""
    keys = [hour_key(first + n, series) for (series, _), (first, span) in days.items() for n in range(span)]
    hours = await chunks.hours(keys)
    rows = []
    for (series, _), (first, span) in sorted(days.items()):
        of_day = [hours[key] for n in range(span) if (key := hour_key(first + n, series)) in hours]
        rows.append((series, first, span, combine(of_day)))
    await chunks.put_days(rows)


async def check(chunks: ChunkReader, after: int) -> tuple[list[tuple[int, str]], int | None]:
    """Check a slice of the chunks after the key ``after``; return damaged ones and the last key, None at the end."""
    parts = await chunks.parts_after(after, CHUNKS_PER_SLICE // 4)
    damaged = [(key, DAMAGED) for key, data in parts if not is_whole(key, data)]
    return damaged, parts[-1][0] if parts else None


async def expire(chunks: Chunks, after: int, policies: Policies, now: int) -> tuple[int, int | None]:
    """Delete chunks that are older than the retention of their series, in a slice of those after the key ``after``.

    Return the number of deleted chunks, and the last key of the slice, None at the end.
    """
    keys = await chunks.keys_after(after, now // HOUR_MS, CHUNKS_PER_SLICE)
    expired = [key for key in keys if is_expired(key, policies(series_of_chunk(key)), now)]
    await chunks.delete(expired)
    return len(expired), keys[-1] if len(keys) == CHUNKS_PER_SLICE else None


def is_expired(key: int, policy: Policy | None, now: int) -> bool:
    """Whether the hour of a chunk ended before the retention of its series began, or the series no longer exists."""
    return policy is None or (hour_of_chunk(key) + 1) * HOUR_MS < now - policy.retain_ms
