"""From the log to chunks: what one transaction writes for some series, and how old chunks go again.

A point belongs to the hour of its stamp, whenever it came. Points that come to an hour which has a chunk already are
merged: with their own stamps they take the place of what has the same stamp, so importing twice is importing once.
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
    count_of,
    decode,
    encode,
    encode_minutes,
    from_row,
    is_whole,
    statistics,
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

#: Points in one part of a chunk; and those of a part that what comes later is added to, instead of being one more.
PART = 1024
SMALL_PART = PART // 8
#: Chunks looked at in one go by whoever looks through them all: less than 10 ms.
LOOK = 2_000
#: Pairs of series and hour erased in one transaction.
ERASE = 2_000

#: Hours of the longest day.
LONGEST_DAY = 25
#: Bytes of an hour besides its chunk: its row of statistics, keys, and its share of pages.
ROW_BYTES = 90

_STATISTICS = ", ".join(COLUMNS)


@attrs.frozen
class Policy:
    """How a series is kept: ``retain_ms`` for its chunks, ``zone`` for its days."""

    mode: HistoryMode
    retain_ms: int
    zone: str


#: The policy of a series, or None when it is no more.
Policies = Callable[[int], Policy | None]


class Tail:
    """Points of one series that are in the log but in no chunk yet, in the order they came."""

    __slots__ = ("own", "stamps", "values")

    def __init__(self, first: Value) -> None:
        """``first`` is the first value, not added yet: where it is a float, all of the series are, and take 8 bytes."""
        self.stamps = array("q")
        self.values: list[Value] | array[float] = array("d") if type(first) is float else []
        #: Stamps that the sender gave.
        self.own: set[int] | None = None

    def append(self, stamp: int, value: Value) -> None:
        self.stamps.append(stamp)
        try:
            self.values.append(value)  # type: ignore[arg-type]
        except TypeError:
            # Several values at once among floats.
            self.values = [*self.values, value]

    def points(self) -> list[Point]:
        """In the order of their stamps; of those with the same stamp of the sender's, the last."""
        points: list[Point] = list(zip(self.stamps, self.values, strict=True))
        if own := self.own:
            newest = {stamp: value for stamp, value in points if stamp in own}
            points = [point for point in points if point[0] not in own] + list(newest.items())
            # Those of the hub never run backwards.
            points.sort(key=stamp_of)
        return points


def stamp_of(point: Point) -> int:
    return point[0]


@attrs.define
class Sealed:
    """The one row of the table: what of the log is in the chunks."""

    run: int
    since: int
    upto: int
    series: int
    stamp: int

    def holds(self, run: int, series: int) -> bool:
        """Whether the chunks hold the points of a series that were sealed, or are to be, in this run."""
        return run < self.run or (run == self.run and series <= self.series)

    @property
    def whole(self) -> bool:
        return self.series == EVERY_SERIES


async def read_state(tx: Transaction) -> tuple[Sealed, tuple[int, int]]:
    """How far the log is sealed, and the first and the last hour that anything is kept of; (0, -1) when nothing is."""
    sql = "SELECT run, since, upto, series, stamp, (SELECT min(id) FROM hours), (SELECT max(id) FROM hours) FROM sealed"
    *sealed, oldest, newest = await tx.fetch_one(sql) or (0, 0, 0, EVERY_SERIES, 0, None, None)
    return Sealed(*sealed), (0, -1) if oldest is None else (oldest >> 32, newest >> 32)


async def write_sealed(tx: Transaction, sealed: Sealed) -> None:
    await tx.execute("UPDATE sealed SET run = ?, since = ?, upto = ?, series = ?, stamp = ?", attrs.astuple(sealed))


async def seal(
    tx: Transaction, tails: Sequence[tuple[int, Tail]], policies: Policies, now: int
) -> list[tuple[int, str]]:
    """Write the points of some series into their chunks and statistics; returns chunks found damaged, and why."""
    damaged: list[tuple[int, str]] = []
    fresh: dict[int, tuple[int, Policy, list[Point], set[int]]] = {}
    for series, tail in tails:
        policy = policies(series)
        if policy is None or policy.mode == "off":
            continue
        for hour, points in _by_hour(tail.points()):
            fresh[hour_key(hour, series)] = (hour, policy, points, tail.own or set())
    known = await hours_of(tx, list(fresh))
    newest = await _newest_parts(tx, list(known))
    chunks: list[tuple[int, bytes]] = []
    ended: dict[tuple[int, int], tuple[int, int]] = {}
    for key, (hour, policy, points, own) in sorted(fresh.items()):
        series = key - (hour << 32)
        old = known.get(key)
        if old is None:
            known[key] = statistics(points)
            chunks += encoded(hour, series, 0, points, policy.mode)
        elif (more := _appended(newest.get(key), key, points, own, policy.mode)) is not None:
            known[key] = combine((old, statistics(points)))
            chunks += more
        else:
            merged, bad = await _merge(tx, hour, series, points, own, policy.mode)
            damaged += bad
            whole = merged is not None and merged.count >= old.count
            known[key] = merged if merged is not None and whole else combine((old, statistics(points)))
        day = day_of(policy.zone, hour)
        if day is not None and (day[0] + day[1]) * HOUR_MS <= now:
            ended[series, day[0]] = day
    await tx.insert_many("chunks", ("id", "data"), chunks, replace=True)
    rows = [(key, *to_row(known[key], (key >> 32) * HOUR_MS)) for key in sorted(fresh)]
    await tx.insert_many("hours", ("id", *COLUMNS), rows, replace=True)
    # Of a day that got values, only what is made again now is right: also its shapes in zones of before.
    await forget_days(tx, fresh)
    await sum_days(tx, ended)
    return damaged


async def forget_days(tx: Transaction, hours: Iterable[int]) -> None:
    """Delete the statistics of the days that some hours, given by their keys, are in."""
    keys = [day_key(key & SERIES_MASK, key >> 32) for key in hours]
    await tx.execute(
        "DELETE FROM days WHERE id IN (SELECT d.id FROM json_each(?) AS k CROSS JOIN days AS d"
        f" ON d.id BETWEEN k.value - {LONGEST_DAY} AND k.value AND d.id + d.span > k.value)",
        (json.dumps(keys),),
    )


def _by_hour(points: list[Point]) -> Iterable[tuple[int, list[Point]]]:
    """Points in the order of their stamps, hour by hour; there are few hours and many points."""
    # A clock of an earlier version may have been beyond what keys can say.
    start, end = (bisect_left(points, stamp, key=stamp_of) for stamp in (0, END_MS))
    while start < end:
        hour = points[start][0] // HOUR_MS
        after = bisect_left(points, (hour + 1) * HOUR_MS, start, end, key=stamp_of)
        yield hour, points[start:after]
        start = after


async def hours_of(tx: Transaction, keys: Sequence[int]) -> dict[int, Statistics]:
    found = await tx.fetch_all(
        f"SELECT id, {_STATISTICS} FROM hours WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(keys),),
    )
    return {key: from_row(row, (key >> 32) * HOUR_MS) for key, *row in found}


async def _newest_parts(tx: Transaction, keys: Sequence[int]) -> dict[int, tuple[int, bytes]]:
    """The newest part, as (key, data), of the chunk of each series and hour."""
    found = await tx.fetch_all(
        "SELECT k.value, c.id, c.data FROM json_each(?) AS k CROSS JOIN chunks AS c"
        f" ON c.id = (SELECT max(id) FROM chunks WHERE id BETWEEN k.value << 11 AND k.value << 11 | {MAX_PART})",
        (json.dumps(keys),),
    )
    return {key: (part, data) for key, part, data in found}


def _appended(
    newest: tuple[int, bytes] | None, key: int, points: list[Point], own: set[int], mode: HistoryMode
) -> list[tuple[int, bytes]] | None:
    """What is written when all points come after those that the hour has, as the hub's stamps do; None otherwise.

    They are added to the newest part while that is small, else they are a part of their own.
    """
    if newest is None or mode == "minute" or (own and any(stamp in own for stamp, _ in points)):
        return None
    part_key, chunk = newest
    part = part_key & MAX_PART
    try:
        count = count_of(part_key, chunk)
        if count is None:
            return None
        if count >= SMALL_PART and part < MAX_PART:
            return encoded(key >> 32, key & SERIES_MASK, part + 1, points, mode)
        held = cast("list[Point]", decode(part_key, chunk))
    except BadChunk:
        return None
    return encoded(key >> 32, key & SERIES_MASK, part, sorted([*held, *points], key=stamp_of), mode)


def encoded(hour: int, series: int, part: int, points: list[Point], mode: HistoryMode) -> list[tuple[int, bytes]]:
    if mode == "minute":
        key = chunk_key(hour, series, part)
        return [(key, encode_minutes(key, statistics_by_minute(points)))]
    # The last part takes whatever comes.
    size = PART if part + len(points) // PART < MAX_PART else len(points)
    pieces = [points[start : start + size] for start in range(0, len(points), size)]
    keys = [chunk_key(hour, series, part + n) for n in range(len(pieces))]
    return [(key, encode(key, piece)) for key, piece in zip(keys, pieces, strict=True)]


async def _merge(
    tx: Transaction, hour: int, series: int, points: list[Point], own: set[int], mode: HistoryMode
) -> tuple[Statistics | None, list[tuple[int, str]]]:
    """Merge points into an hour that has some; returns its statistics where its chunk tells them, and damaged parts."""
    first, last = chunk_key(hour, series), chunk_key(hour, series, MAX_PART)
    found = await tx.fetch_all("SELECT id, data FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id", (first, last))
    parts, damaged = {}, []
    for key, data in found:
        try:
            parts[key] = decode(key, data)
        except BadChunk as error:
            damaged.append((key, str(error)))
            await quarantine(tx, key)
    held = [part for part in parts.values() if part and type(part[0][1]) is Statistics]
    whole: Statistics | None = None
    if mode == "minute" or held:
        by_minute: dict[int, list[Statistics]] = {}
        for part in parts.values():
            rows = part if part in held else statistics_by_minute(cast("list[Point]", part))
            for minute, one in cast("list[tuple[int, Statistics]]", rows):
                by_minute.setdefault(minute, []).append(one)
        for minute, one in statistics_by_minute(points):
            by_minute.setdefault(minute, []).append(one)
        rows = [(minute, combine(several)) for minute, several in sorted(by_minute.items())]
        pieces = [(first, encode_minutes(first, rows))]
    else:
        mine = {stamp for stamp, _ in points if stamp in own}
        kept = [point for part in parts.values() for point in cast("list[Point]", part) if point[0] not in mine]
        everything = sorted([*kept, *points], key=stamp_of)
        if not damaged:
            whole = statistics(everything)
        pieces = encoded(hour, series, 0, everything, mode)
    for key in parts:
        await tx.execute("DELETE FROM chunks WHERE id = ?", (key,))
    await tx.insert_many("chunks", ("id", "data"), pieces, replace=True)
    return whole, damaged


async def sum_days(tx: Transaction, days: dict[tuple[int, int], tuple[int, int]]) -> None:
    """Write the statistics of days that have ended, given as (series, first hour): (first hour, span)."""
    keys = [hour_key(first + n, series) for (series, _), (first, span) in days.items() for n in range(span)]
    hours = await hours_of(tx, keys)
    rows = []
    for (series, _), (first, span) in sorted(days.items()):
        found = [hours[key] for n in range(span) if (key := hour_key(first + n, series)) in hours]
        rows.append((day_key(series, first), span, *to_row(combine(found), first * HOUR_MS)))
    await tx.insert_many("days", ("id", "span", *COLUMNS), rows, replace=True)


async def quarantine(tx: Transaction, key: int) -> None:
    """Take a damaged chunk out of the way, if it still is one."""
    found = await tx.fetch_one("SELECT data FROM chunks WHERE id = ?", (key,))
    if found is not None and is_whole(key, found[0]):
        return
    await tx.execute("INSERT OR REPLACE INTO quarantine SELECT id, data, unixepoch() FROM chunks WHERE id = ?", (key,))
    await tx.execute("DELETE FROM chunks WHERE id = ?", (key,))


async def check(tx: Transaction, after: int) -> tuple[list[tuple[int, str]], int | None]:
    """Look at some chunks after the key ``after``: those that are damaged, and the last key, None at the end."""
    found = await tx.fetch_all("SELECT id, data FROM chunks WHERE id > ? ORDER BY id LIMIT ?", (after, LOOK // 4))
    damaged = []
    for key, data in found:
        if not is_whole(key, data):
            damaged.append((key, DAMAGED))
    return damaged, found[-1][0] if found else None


async def expire(tx: Transaction, after: int, policies: Policies, now: int) -> tuple[int, int | None]:
    """Delete what is older than its series keeps raw values, of some chunks after the key ``after``.

    Returns how many went, and the last key looked at, None at the end.
    """
    upto = chunk_key(now // HOUR_MS, 0)
    keys = [
        key
        for (key,) in await tx.fetch_all(
            "SELECT id FROM chunks WHERE id > ? AND id < ? ORDER BY id LIMIT ?", (after, upto, LOOK)
        )
    ]
    old = []
    for key in keys:
        policy = policies(series_of_chunk(key))
        if policy is None or (hour_of_chunk(key) + 1) * HOUR_MS < now - policy.retain_ms:
            old.append(key)
    if old:
        await tx.execute("DELETE FROM chunks WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(old),))
    return len(old), keys[-1] if len(keys) == LOOK else None


async def erase(tx: Transaction, series: Sequence[int], hour: int) -> int | None:
    """Delete what is kept of some series, some hours from ``hour`` on; returns where to go on, None at the end."""
    _, (oldest, newest) = await read_state(tx)
    hour = max(hour, oldest)
    end = min(newest, hour + max(1, ERASE // len(series)) - 1)
    of = "WITH RECURSIVE h(hour) AS (VALUES(?) UNION ALL SELECT hour + 1 FROM h WHERE hour < ?)"
    one = "h CROSS JOIN json_each(?) AS s"
    values = (hour, end, json.dumps(list(series)))
    await tx.execute(
        f"DELETE FROM chunks WHERE id IN ({of} SELECT c.id FROM {one} CROSS JOIN chunks AS c"
        f" ON c.id BETWEEN (h.hour << 43) | (s.value << 11) AND (h.hour << 43) | (s.value << 11) | {MAX_PART})",
        values,
    )
    await tx.execute(f"DELETE FROM hours WHERE id IN ({of} SELECT h.hour << 32 | s.value FROM {one})", values)
    if end < newest:
        return end + 1
    for number in series:
        await tx.execute("DELETE FROM days WHERE id BETWEEN ? AND ?", (day_key(number, 0), day_key(number + 1, 0) - 1))
        await tx.execute("DELETE FROM latest WHERE series = ?", (number,))
    return None


#: (series, bytes a month), going by the newest day that is sealed: chunks, and what rows and pages add to them.
COSTS = (
    f"SELECT id >> 11 & {SERIES_MASK}, sum(length(data) + {ROW_BYTES}) * 30 FROM chunks"
    " WHERE id >= ((SELECT max(id) >> 32 FROM hours) - 23) << 43"
    " GROUP BY 1"
)


async def keep_latest(tx: Transaction, latest: Iterable[tuple[int, tuple[int, Value]]]) -> None:
    rows: list[tuple[Any, ...]] = [(series, ts, pack(value)) for series, (ts, value) in latest]
    await tx.insert_many("latest", ("series", "ts", "v"), rows, replace=True)
