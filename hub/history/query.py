"""Reading the history: points as they were, or buckets of minutes, hours and days, in slices that fit in memory.

What is sealed comes from the file, the rest from memory. Between the two a point could be missed or counted twice, so
each read of the file also reads how far it is sealed, in the same snapshot.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import chain, groupby
from typing import Any, Literal, TypeVar, cast

import trio

from hub import timezones
from hub.history.chunks import (
    COLUMNS,
    HOUR_MS,
    MINUTE_MS,
    BadChunk,
    Point,
    Statistics,
    combine,
    decode,
    from_row,
    statistics,
)
from hub.history.compaction import Sealed, Tail
from hub.history.keys import MAX_PART, chunk_key, day_key, hour_of_chunk
from hub.storage import Database, Row

Granularity = Literal["raw", "minute", "hour", "day"]
T = TypeVar("T", bound=tuple[int, object])
#: A bucket's first millisecond, and what is in it.
Bucket = tuple[int, Statistics]
#: Of a run that is not sealed: its number, its points, and the stamps that their sender gave.
_Fresh = tuple[int, list[Point], set[int]]

#: Rows of one read: chunks of up to 1,024 points, or statistics of hours.
CHUNKS, HOURS = 128, 2_000
#: Points decoded before others get their turn: some milliseconds.
DECODE = 5_000

_STATISTICS = ", ".join(COLUMNS)
# One statement is one snapshot, and one trip to the database: how far the log is sealed, and what is kept of each hour
# from ?1 to ?2 between the first and the last that there is anything of.
_FROM_HOURS = """
WITH RECURSIVE state AS (
    SELECT run, since, upto, series, stamp,
        coalesce((SELECT min(id) >> 32 FROM hours), 1) AS oldest,
        coalesce((SELECT max(id) >> 32 FROM hours), 0) AS newest
    FROM sealed
), h (hour, final) AS (
    SELECT max(?1, oldest), min(?2, newest) FROM state UNION ALL SELECT hour + 1, final FROM h WHERE hour < final
)
SELECT run, since, upto, state.series, stamp, final, hour, {columns}
FROM state CROSS JOIN h LEFT JOIN {table} LIMIT {most}
"""
_FIND_CHUNKS = _FROM_HOURS.format(
    columns="c.id, data", table="chunks AS c ON c.id BETWEEN (hour << 43) | ?3 AND (hour << 43) | ?4", most=CHUNKS
)
_FIND_HOURS = _FROM_HOURS.format(columns=_STATISTICS, table="hours ON hours.id = (hour << 32) | ?3", most=HOURS)
# Much quicker than a row each: the database writes what clients read, and counts the hours once for several series.
_HOURS_AS_JSON = """
WITH RECURSIVE h (hour) AS (
    SELECT max(?1, min(?2, coalesce((SELECT min(id) >> 32 FROM hours), ?2)))
    UNION ALL SELECT hour + 1 FROM h WHERE hour < ?2
)
SELECT {columns} FROM h {joins}
"""
_JSON_COLUMNS = (
    "json_group_array(hour * 3600000) FILTER (WHERE {there}), json_group_array({what}) FILTER (WHERE {there})"
)
_JSON_JOIN = "LEFT JOIN hours AS {table} ON {table}.id = (hour << 32) | ?{series}"
# Numbers are told with 15 digits; with so few, the largest ones would be rounded up to more than a float can be.
_TOLD = "max(min({number}, 1.79769313486231e308), -1.79769313486231e308)"
#: Series that one such statement reads: SQLite joins 64 tables at most.
MAX_SERIES_PER_QUERY = 16
#: What of an hour is a number, or null where values are none.
Aggregate = Literal["avg", "min", "max", "sum", "count"]
_SQL: Mapping[Aggregate, str] = {
    "avg": "{table}.total * 1.0 / {table}.n",
    "min": "{table}.low",
    "max": "{table}.high",
    "sum": "{table}.total",
    "count": "{table}.n",
}
#: Columns of the state in front of each row.
_STATE = 7


class Queries:
    """``unsealed`` gives what of a series is in memory; ``quarantine`` takes chunks found damaged out of the way."""

    def __init__(
        self,
        database: Database,
        unsealed: Callable[[int], list[tuple[int, Tail]]],
        quarantine: Callable[[list[tuple[int, str]]], Awaitable[None]],
    ) -> None:
        self._database = database
        self._unsealed = unsealed
        self._quarantine = quarantine

    async def points(self, series: int, start: int, end: int) -> AsyncGenerator[list[Point], None]:
        """What was written from ``start`` to before ``end`` (milliseconds UTC), in the order of its stamps.

        Of a datastream that keeps only minutes, each minute's average. Raises `StorageError`.
        """
        async with aclosing(self._pieces(series, start, end)) as pieces:
            async for piece in pieces:
                found = [
                    *piece.points,
                    *((minute, one.last if one.avg is None else one.avg) for minute, one in piece.minutes),
                ]
                found += piece.fresh
                if found:
                    found.sort(key=_start)
                    yield found

    async def buckets(
        self, series: int, start: int, end: int, granularity: Granularity, zone: str = "UTC"
    ) -> AsyncIterator[list[Bucket]]:
        """Statistics of the minutes, hours or days, as the time zone has them, that the time from ``start`` to before
        ``end`` touches; those with nothing in them are left out. Raises `StorageError`.
        """
        if granularity == "minute":
            async for found in self._minutes(series, start - start % MINUTE_MS, end + -end % MINUTE_MS):
                yield found
        elif granularity == "hour":
            if timezones.has_whole_hours(zone, start, end):
                async for found in self._hours(series, start - start % HOUR_MS, end + -end % HOUR_MS):
                    yield found
                return
            # The hours of the zone are not those of UTC: they are made of minutes.
            first, last = timezones.hour(zone, start), timezones.hour(zone, end - 1) + 2 * HOUR_MS
            waiting: list[Bucket] = []
            async for found in self._minutes(series, first, last):
                gathered = _gathered([*waiting, *found], lambda at: timezones.hour(zone, at))
                # The last may not be whole.
                yield gathered[:-1]
                waiting = gathered[-1:]
            yield [bucket for bucket in waiting if bucket[0] < end]
        else:
            async for found in self._days(series, start, end, zone):
                yield found

    async def hours_as_json(
        self, series: Sequence[int], start: int, end: int, what: Aggregate
    ) -> list[tuple[str, str, int]]:
        """Hours of UTC of up to `MAX_SERIES_PER_QUERY` series from the one of ``start`` on: of each two arrays of JSON, their times
        and ``what`` is asked of them, to 15 digits.

        With each the time up to which they go, ``end`` or an hour of which something is not sealed yet: what comes
        from then on, `buckets` tells. Raises `StorageError`.
        """
        first = start // HOUR_MS
        until = [self._all_sealed(one, start, end) // HOUR_MS for one in series]
        if max(until) <= first:
            return [("[]", "[]", start) for _ in series]
        columns: list[str] = []
        joins: list[str] = []
        values = [first, max(until) - 1]
        for one, hour in zip(series, until, strict=True):
            table = f"h{len(joins)}"
            values += [one, hour]
            there = f"{table}.id IS NOT NULL AND hour < ?{len(values)}"
            told = _TOLD.format(number=_SQL[what].format(table=table))
            columns.append(_JSON_COLUMNS.format(there=there, what=told))
            joins.append(_JSON_JOIN.format(table=table, series=len(values) - 1))
        sql = _HOURS_AS_JSON.format(columns=", ".join(columns), joins=" ".join(joins))
        [row] = await self._database.fetch_all(sql, values)
        ends = (max(hour * HOUR_MS, start) for hour in until)
        return list(zip(row[::2], row[1::2], ends, strict=True))

    def _all_sealed(self, series: int, start: int, end: int) -> int:
        """Up to where, between two times, everything is sealed."""
        stamps = (stamp for _, tail in self._unsealed(series) for stamp in (*tail.stamps, *(tail.own or ())))
        until: int = min(chain((end,), (stamp for stamp in stamps if stamp >= start - start % HOUR_MS)))
        return until

    async def _days(self, series: int, start: int, end: int, zone: str) -> AsyncIterator[list[Bucket]]:
        # Looked at first: what is sealed in the meantime is looked for hour by hour.
        unsealed = [stamp for _, tail in self._unsealed(series) for stamp in tail.stamps]
        offset, margin = day_key(series, 0), 2 * 24
        rows = await self._database.fetch_all(
            f"SELECT (SELECT min(id) FROM hours), id, span, {_STATISTICS} FROM sealed"
            " LEFT JOIN days ON id BETWEEN ? AND ?",
            (offset + max(0, start // HOUR_MS - margin), offset + end // HOUR_MS + margin),
        )
        # Before the first hour of all, there is nothing to look for.
        oldest = min((rows[0][0] >> 32) * HOUR_MS if rows[0][0] is not None else end, *unsealed, end)
        days = list(timezones.days(zone, max(start, min(oldest, end - 1)), end))
        starts = [begin for begin, _ in days]
        fresh = {starts[at] for stamp in unsealed if (at := bisect_right(starts, stamp) - 1) >= 0}
        stored: dict[tuple[int, int], Statistics] = {}
        for _, key, span, *row in rows:
            if key is not None:
                begin = (key - offset) * HOUR_MS
                stored[begin, begin + span * HOUR_MS] = from_row(row, begin)
        found = [(day[0], None if day[0] in fresh else stored.get(day)) for day in days]
        for known, group in groupby(enumerate(found), lambda one: one[1][1] is not None):
            several = list(group)
            if known:
                yield [cast("Bucket", bucket) for _, bucket in several]
                continue
            begins = [begin for _, (begin, _) in several]
            atoms = await self._atoms(series, begins, days[several[-1][0]][1])
            yield _gathered(atoms, lambda at, begins=begins: begins[bisect_right(begins, at) - 1])  # type: ignore[misc]

    async def _atoms(self, series: int, starts: list[int], end: int) -> list[Bucket]:
        """What days are made of: hours, and minutes of those hours that are of two days."""
        shared = {edge - edge % HOUR_MS for edge in (*starts, end) if edge % HOUR_MS}
        atoms: list[Bucket] = []
        async for found in self._hours(series, starts[0] - starts[0] % HOUR_MS, end + -end % HOUR_MS):
            atoms += [bucket for bucket in found if bucket[0] not in shared]
        for hour in sorted(shared):
            async for found in self._minutes(series, max(hour, starts[0]), min(hour + HOUR_MS, end)):
                atoms += found
        return atoms

    async def _hours(self, series: int, start: int, end: int) -> AsyncIterator[list[Bucket]]:
        """Statistics by hour of UTC; ``start`` and ``end`` are whole hours."""
        tails = self._tails(series)
        unsealed = [(run, points) for run, points, _ in tails]
        resent = {stamp - stamp % HOUR_MS for _, _, own in tails for stamp in own}
        hour, end_hour = start // HOUR_MS, end // HOUR_MS
        while hour < end_hour:
            rows = await self._database.fetch_all(_FIND_HOURS, (hour, end_hour - 1, series))
            sealed, until = _read_so_far(rows, HOURS, end_hour - 1)
            found = [
                (row[6] * HOUR_MS, from_row(row[_STATE:], row[6] * HOUR_MS))
                for row in rows
                if row[_STATE] is not None and row[6] <= until
            ]
            fresh = _fresh(unsealed, sealed, series, hour * HOUR_MS, (until + 1) * HOUR_MS)
            by_hour = groupby(fresh, lambda point: point[0] - point[0] % HOUR_MS)
            found += [(begin, statistics(list(group))) for begin, group in by_hour]
            if again := {begin for begin in resent if hour * HOUR_MS <= begin <= until * HOUR_MS}:
                # What was sent again counts once: minutes tell which it is.
                found = [bucket for bucket in found if bucket[0] not in again]
                for begin, until_then in _spans(again):
                    async for several in self._minutes(series, begin, until_then, tails):
                        found += [(at - at % HOUR_MS, one) for at, one in several]
            yield _gathered(found, lambda at: at)
            hour = until + 1

    def _tails(self, series: int) -> list[_Fresh]:
        """What is in memory of a series: looked at before the file is."""
        return [(run, tail.points(), set(tail.own or ())) for run, tail in self._unsealed(series)]

    async def _minutes(
        self, series: int, start: int, end: int, tails: list[_Fresh] | None = None
    ) -> AsyncIterator[list[Bucket]]:
        """Statistics by minute; an hour whose chunk is gone is one bucket, with its first minute."""
        async for piece in self._pieces(series, start, end, tails, hours=True):
            yield _gathered(
                [*piece.minutes, *statistics_by_minute(piece.points), *statistics_by_minute(piece.fresh)], lambda at: at
            )

    async def _pieces(
        self, series: int, start: int, end: int, tails: list[_Fresh] | None = None, *, hours: bool = False
    ) -> AsyncGenerator[_Piece, None]:
        """What there is from ``start`` to before ``end``, some hours at a time; ``hours`` stand for chunks gone."""
        tails = self._tails(series) if tails is None else tails
        unsealed = [(run, points) for run, points, _ in tails]
        while start < end:
            first, low = start // HOUR_MS, chunk_key(0, series)
            last = (end - 1) // HOUR_MS
            # Read first: an hour that is sealed in between has a chunk then.
            kept = await self._database.fetch_all(_FIND_HOURS, (first, last, series)) if hours else []
            rows = await self._database.fetch_all(_FIND_CHUNKS, (first, last, low, low | MAX_PART))
            sealed, until = _read_so_far(rows, CHUNKS, last)
            if until < rows[0][6]:
                # One hour has more chunks than one read.
                until = rows[0][6]
                sql = "SELECT id, data FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id"
                between = (chunk_key(until, series), chunk_key(until, series, MAX_PART))
                found = await self._database.fetch_all(sql, between)
            else:
                found = [row[_STATE:] for row in rows if row[_STATE] is not None and row[6] <= until]
            piece = _Piece()
            await piece.decode(found)
            if piece.damaged:
                await self._quarantine(piece.damaged)
            for row in kept:
                if row[_STATE] is not None and row[6] not in piece.there and row[6] <= until:
                    piece.minutes.append((row[6] * HOUR_MS, from_row(row[_STATE:], row[6] * HOUR_MS)))
            piece.minutes.sort(key=_start)
            stop = min(end, (until + 1) * HOUR_MS)
            piece.points = _within(piece.points, start, stop)
            # Its sender sent it again; the chunk does not know yet.
            if replaced := [own for run, _, own in tails if own and not sealed.holds(run, series)]:
                piece.points = [point for point in piece.points if not any(point[0] in own for own in replaced)]
            piece.minutes = _within(piece.minutes, start, stop)
            piece.fresh = _fresh(unsealed, sealed, series, start, stop)
            yield piece
            start = stop


class _Piece:
    """Some hours of a series: points and minutes from chunks, and points from memory."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.minutes: list[Bucket] = []
        self.fresh: list[Point] = []
        #: Hours that have a chunk.
        self.there: set[int] = set()
        self.damaged: list[tuple[int, str]] = []

    async def decode(self, chunks: Iterable[Sequence[Any]]) -> None:
        """Take in chunks (key, data), and let others have their turn."""
        decoded = 0
        for key, data in chunks:
            try:
                found = decode(key, data)
            except BadChunk as error:
                self.damaged.append((key, str(error)))
                continue
            self.there.add(hour_of_chunk(key))
            if type(found[0][1]) is Statistics:
                self.minutes += found
            else:
                self.points += found  # type: ignore[arg-type]
            decoded += len(found)
            if decoded >= DECODE:
                decoded = 0
                await trio.lowlevel.checkpoint()
        self.points.sort(key=_start)


def _spans(hours: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Beginnings of hours as spans of hours that follow each other."""
    begin = end = None
    for hour in sorted(hours):
        if begin is not None and hour != end:
            yield begin, cast("int", end)
            begin = None
        begin, end = hour if begin is None else begin, hour + HOUR_MS
    if begin is not None:
        yield begin, cast("int", end)


def _read_so_far(rows: Sequence[Row], most: int, last: int) -> tuple[Sealed, int]:
    """How far the log was sealed, and the last hour that these rows are whole of; beyond what is kept, ``last``."""
    run, since, upto, series, stamp, newest, hour = rows[-1][:_STATE]
    until = last if len(rows) < most else min(hour, newest) - 1
    return Sealed(run, since, upto, series, stamp), until


def _fresh(
    unsealed: Iterable[tuple[int, list[Point]]], sealed: Sealed, series: int, start: int, end: int
) -> list[Point]:
    """What is in memory of a span, and was not sealed when ``sealed`` was read."""
    found = [p for run, points in unsealed if not sealed.holds(run, series) for p in _within(points, start, end)]
    found.sort(key=_start)
    return found


def _within(items: list[T], start: int, end: int) -> list[T]:
    return items[bisect_left(items, start, key=_start) : bisect_left(items, end, key=_start)]


def _start(item: tuple[int, object]) -> int:
    return item[0]


def _gathered(buckets: Sequence[Bucket], start_of: Callable[[int], int]) -> list[Bucket]:
    """Buckets in larger ones, in their order."""
    ordered = sorted(buckets, key=_start)
    groups = groupby(ordered, lambda bucket: start_of(bucket[0]))
    return [(start, combine([one for _, one in group])) for start, group in groups]
