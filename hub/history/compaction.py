"""Compaction: write the points of segments into chunks and statistics, and delete chunks and statistics again.

All functions work within one transaction; `hub.history.commit_log` decides when they run.

A point belongs to the hour of its stamp, whenever it arrives. Points of an hour that already has a chunk are merged
into it. A point that the client stamped replaces the stored point with the same stamp, so that importing the same data
twice has the same result as importing it once.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import attrs

from hub.clock import END_MS
from hub.history.chunks import (
    COLUMNS,
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
    from_row,
    is_whole,
    read_count,
    statistics,
    statistics_by_minute,
    to_row,
)
from hub.history.keys import (
    EVERY_SERIES,
    MAX_PART,
    SERIES_MASK,
    chunk_key,
    day_key,
    day_of,
    hour_key,
    hour_of_chunk,
    series_of_chunk,
)
from hub.model import HistoryMode, Value
from hub.storage import Transaction
from hub.values import pack

#: Points in one part of a chunk. Later points are added to the newest part while it has fewer than `SMALL_PART`, else
#: they become a new part.
PART = 1024
SMALL_PART = PART // 8
#: Chunks examined in one transaction of a pass over all chunks: less than 10 ms.
CHUNKS_PER_SLICE = 2_000
#: Pairs of series and hour erased in one transaction.
ERASED_PER_SLICE = 2_000

#: Hours of the longest day.
LONGEST_DAY = 25
#: Bytes of an hour in addition to its chunk: its row of statistics, keys, and its share of pages.
ROW_BYTES = 90

_STATISTICS = ", ".join(COLUMNS)


@attrs.frozen
class Policy:
    """How the history of a series is stored: for how long its chunks (``retain_ms``), with days of which ``zone``."""

    mode: HistoryMode
    retain_ms: int
    zone: str


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


@attrs.define
class CompactionProgress:
    """How far the log has been compacted: the only row of the table ``sealed``.

    The newest ``segment`` that was compacted, or is being compacted, came from the batches of the log after the number
    ``since`` up to ``upto``. Its series up to the number ``series`` are in chunks. ``stamp`` is the newest stamp of the
    hub in all compacted segments.
    """

    segment: int
    since: int
    upto: int
    series: int
    stamp: int

    def includes(self, segment: int, series: int) -> bool:
        """Whether the points of a series in a segment are in chunks."""
        return segment < self.segment or (segment == self.segment and series <= self.series)

    @property
    def is_complete(self) -> bool:
        """Whether all series of the segment are in chunks."""
        return self.series == EVERY_SERIES


async def read_progress(tx: Transaction) -> tuple[CompactionProgress, tuple[int, int]]:
    """Return the progress, and the first and the last hour that have statistics, or (0, -1) without any."""
    sql = "SELECT run, since, upto, series, stamp, (SELECT min(id) FROM hours), (SELECT max(id) FROM hours) FROM sealed"
    *progress, oldest, newest = await tx.fetch_one(sql) or (0, 0, 0, EVERY_SERIES, 0, None, None)
    return CompactionProgress(*progress), (0, -1) if oldest is None else (oldest >> 32, newest >> 32)


async def write_progress(tx: Transaction, progress: CompactionProgress) -> None:
    await tx.execute("UPDATE sealed SET run = ?, since = ?, upto = ?, series = ?, stamp = ?", attrs.astuple(progress))


async def compact(
    tx: Transaction, tails: Sequence[tuple[int, Tail]], policies: Policies, now: int
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
    hours = await read_hours(tx, list(new))
    newest = await _newest_parts(tx, list(hours))
    chunks: list[tuple[int, bytes]] = []
    ended: dict[tuple[int, int], tuple[int, int]] = {}
    for key, (hour, policy, points, client_stamped) in sorted(new.items()):
        series = key - (hour << 32)
        old = hours.get(key)
        if old is None:
            hours[key] = statistics(points)
            chunks += encode_parts(hour, series, 0, points, policy.mode)
        elif (parts := _append(newest.get(key), key, points, client_stamped, policy.mode)) is not None:
            hours[key] = combine((old, statistics(points)))
            chunks += parts
        else:
            merged, damaged_parts = await _merge(tx, hour, series, points, client_stamped, policy.mode)
            damaged += damaged_parts
            is_complete = merged is not None and merged.count >= old.count
            hours[key] = merged if merged is not None and is_complete else combine((old, statistics(points)))
        day = day_of(policy.zone, hour)
        if day is not None and (day[0] + day[1]) * HOUR_MS <= now:
            ended[series, day[0]] = day
    await tx.upsert_many("chunks", ("id",), ("id", "data"), chunks)
    rows = [(key, *to_row(hours[key], (key >> 32) * HOUR_MS)) for key in sorted(new)]
    await tx.upsert_many("hours", ("id",), ("id", *COLUMNS), rows)
    # Statistics of days with new values are outdated, including those in time zones that the device had before.
    await delete_days(tx, new)
    await write_days(tx, ended)
    return damaged


async def delete_days(tx: Transaction, hours: Iterable[int]) -> None:
    """Delete the statistics of the days that contain some hours, given by their keys."""
    keys = [day_key(key & SERIES_MASK, key >> 32) for key in hours]
    await tx.execute(
        "DELETE FROM days WHERE id IN (SELECT d.id FROM json_each(?) AS k CROSS JOIN days AS d"
        f" ON d.id BETWEEN k.value - {LONGEST_DAY} AND k.value AND d.id + d.span > k.value)",
        (json.dumps(keys),),
    )


def _by_hour(points: list[Point]) -> Iterable[tuple[int, list[Point]]]:
    """Group points, which are in the order of their stamps, by hour. There are few hours and many points."""
    # An earlier version of the clock could give stamps that do not fit the keys.
    start, end = (bisect_left(points, stamp, key=stamp_of) for stamp in (0, END_MS))
    while start < end:
        hour = points[start][0] // HOUR_MS
        after = bisect_left(points, (hour + 1) * HOUR_MS, start, end, key=stamp_of)
        yield hour, points[start:after]
        start = after


async def read_hours(tx: Transaction, keys: Sequence[int]) -> dict[int, Statistics]:
    """Return the statistics of those hours that have any, by key."""
    rows = await tx.fetch_all(
        f"SELECT id, {_STATISTICS} FROM hours WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(keys),),
    )
    return {key: from_row(row, (key >> 32) * HOUR_MS) for key, *row in rows}


async def _newest_parts(tx: Transaction, keys: Sequence[int]) -> dict[int, tuple[int, bytes]]:
    """Return the newest part, as (key, data), of the chunk of each series and hour."""
    rows = await tx.fetch_all(
        "SELECT k.value, c.id, c.data FROM json_each(?) AS k CROSS JOIN chunks AS c"
        f" ON c.id = (SELECT max(id) FROM chunks WHERE id BETWEEN k.value << 11 AND k.value << 11 | {MAX_PART})",
        (json.dumps(keys),),
    )
    return {key: (part, data) for key, part, data in rows}


def _append(
    newest: tuple[int, bytes] | None, key: int, points: list[Point], client_stamped: set[int], mode: HistoryMode
) -> list[tuple[int, bytes]] | None:
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


def encode_parts(hour: int, series: int, part: int, points: list[Point], mode: HistoryMode) -> list[tuple[int, bytes]]:
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
    tx: Transaction, hour: int, series: int, points: list[Point], client_stamped: set[int], mode: HistoryMode
) -> tuple[Statistics | None, list[tuple[int, str]]]:
    """Merge points into the chunk of an hour.

    Return the statistics of the hour, or None if the chunk alone does not give them, and the damaged parts.
    """
    first, last = chunk_key(hour, series), chunk_key(hour, series, MAX_PART)
    rows = await tx.fetch_all("SELECT id, data FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id", (first, last))
    parts, damaged = {}, []
    for key, data in rows:
        try:
            parts[key] = decode(key, data)
        except BadChunk as error:
            damaged.append((key, str(error)))
            await quarantine(tx, key)
    minute_parts = [part for part in parts.values() if part and type(part[0][1]) is Statistics]
    whole: Statistics | None = None
    if mode == "minute" or minute_parts:
        minutes: list[tuple[int, Statistics]] = []
        for part in parts.values():
            rows = part if part in minute_parts else statistics_by_minute(cast("list[Point]", part))
            minutes += cast("list[tuple[int, Statistics]]", rows)
        minutes += statistics_by_minute(points)
        new_parts = [(first, encode_minutes(first, combine_minutes(minutes)))]
    else:
        replaced = {stamp for stamp, _ in points if stamp in client_stamped}
        stored = [point for part in parts.values() for point in cast("list[Point]", part) if point[0] not in replaced]
        merged = sorted([*stored, *points], key=stamp_of)
        if not damaged:
            whole = statistics(merged)
        new_parts = encode_parts(hour, series, 0, merged, mode)
    for key in parts:
        await tx.execute("DELETE FROM chunks WHERE id = ?", (key,))
    await tx.upsert_many("chunks", ("id",), ("id", "data"), new_parts)
    return whole, damaged


async def write_days(tx: Transaction, days: dict[tuple[int, int], tuple[int, int]]) -> None:
    """Write the statistics of days that have ended, given as (series, first hour): (first hour, number of hours)."""
    keys = [hour_key(first + n, series) for (series, _), (first, span) in days.items() for n in range(span)]
    hours = await read_hours(tx, keys)
    rows = []
    for (series, _), (first, span) in sorted(days.items()):
        of_day = [hours[key] for n in range(span) if (key := hour_key(first + n, series)) in hours]
        rows.append((day_key(series, first), span, *to_row(combine(of_day), first * HOUR_MS)))
    await tx.upsert_many("days", ("id",), ("id", "span", *COLUMNS), rows)


async def quarantine(tx: Transaction, key: int) -> None:
    """Move a chunk to the table ``quarantine`` if it is still damaged."""
    row = await tx.fetch_one("SELECT data FROM chunks WHERE id = ?", (key,))
    if row is not None and is_whole(key, row[0]):
        return
    await tx.execute("INSERT OR REPLACE INTO quarantine SELECT id, data, unixepoch() FROM chunks WHERE id = ?", (key,))
    await tx.execute("DELETE FROM chunks WHERE id = ?", (key,))


async def check(tx: Transaction, after: int) -> tuple[list[tuple[int, str]], int | None]:
    """Check a slice of the chunks after the key ``after``; return damaged ones and the last key, None at the end."""
    sql = "SELECT id, data FROM chunks WHERE id > ? ORDER BY id LIMIT ?"
    rows = await tx.fetch_all(sql, (after, CHUNKS_PER_SLICE // 4))
    damaged = []
    for key, data in rows:
        if not is_whole(key, data):
            damaged.append((key, DAMAGED))
    return damaged, rows[-1][0] if rows else None


async def expire(tx: Transaction, after: int, policies: Policies, now: int) -> tuple[int, int | None]:
    """Delete chunks that are older than the retention of their series, in a slice of those after the key ``after``.

    Return the number of deleted chunks, and the last key of the slice, None at the end.
    """
    upto = chunk_key(now // HOUR_MS, 0)
    keys = [
        key
        for (key,) in await tx.fetch_all(
            "SELECT id FROM chunks WHERE id > ? AND id < ? ORDER BY id LIMIT ?", (after, upto, CHUNKS_PER_SLICE)
        )
    ]
    old = []
    for key in keys:
        policy = policies(series_of_chunk(key))
        if policy is None or (hour_of_chunk(key) + 1) * HOUR_MS < now - policy.retain_ms:
            old.append(key)
    if old:
        await tx.execute("DELETE FROM chunks WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(old),))
    return len(old), keys[-1] if len(keys) == CHUNKS_PER_SLICE else None


async def erase(tx: Transaction, series: Sequence[int], hour: int) -> int | None:
    """Delete a slice of some series, from the hour ``hour`` on; return the hour of the next slice, None at the end."""
    _, (oldest, newest) = await read_progress(tx)
    hour = max(hour, oldest)
    end = min(newest, hour + max(1, ERASED_PER_SLICE // len(series)) - 1)
    with_hours = "WITH RECURSIVE h(hour) AS (VALUES(?) UNION ALL SELECT hour + 1 FROM h WHERE hour < ?)"
    pairs = "h CROSS JOIN json_each(?) AS s"
    values = (hour, end, json.dumps(list(series)))
    await tx.execute(
        f"DELETE FROM chunks WHERE id IN ({with_hours} SELECT c.id FROM {pairs} CROSS JOIN chunks AS c"
        f" ON c.id BETWEEN (h.hour << 43) | (s.value << 11) AND (h.hour << 43) | (s.value << 11) | {MAX_PART})",
        values,
    )
    await tx.execute(f"DELETE FROM hours WHERE id IN ({with_hours} SELECT h.hour << 32 | s.value FROM {pairs})", values)
    if end < newest:
        return end + 1
    for number in series:
        await tx.execute("DELETE FROM days WHERE id BETWEEN ? AND ?", (day_key(number, 0), day_key(number + 1, 0) - 1))
        await tx.execute("DELETE FROM latest WHERE series = ?", (number,))
    return None


#: SQL for (series, bytes in a month), estimated from the newest day in chunks, with the share of rows and pages.
COSTS = (
    f"SELECT id >> 11 & {SERIES_MASK}, sum(length(data) + {ROW_BYTES}) * 30 FROM chunks"
    " WHERE id >= ((SELECT max(id) >> 32 FROM hours) - 23) << 43"
    " GROUP BY 1"
)


async def write_latest(tx: Transaction, latest: Iterable[tuple[int, tuple[int, Value]]]) -> None:
    rows: list[tuple[Any, ...]] = [(series, ts, pack(value)) for series, (ts, value) in latest]
    await tx.upsert_many("latest", ("series",), ("series", "ts", "v"), rows)
