"""Reading the history: points as they were, or buckets of minutes, hours and days, in slices that fit in memory.

What is sealed comes from the file, the rest from memory. Between the two a point could be missed or counted twice, so
each read of the file also reads how far it is sealed, in the same snapshot.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import groupby
from typing import Literal, TypeVar, cast

from hub import timezones
from hub.history.chunks import (
    COLUMNS,
    HOUR_MS,
    MINUTE_MS,
    BadChunk,
    Point,
    Statistics,
    combined,
    decode,
    minutes,
    of_row,
    statistics,
)
from hub.history.keys import MAX_PART, chunk_key, day_key, hour_of_chunk
from hub.history.sealing import Sealed, Tail, read_state
from hub.storage import Database, Transaction

Granularity = Literal["raw", "minute", "hour", "day"]
T = TypeVar("T", bound=tuple[int, object])
#: A bucket's first millisecond, and what is in it.
Bucket = tuple[int, Statistics]

#: Chunks decoded in one go, and hours of statistics read: some milliseconds each.
CHUNKS = 128
HOURS = 2_000

_STATISTICS = ", ".join(COLUMNS)
_HOURS = "WITH RECURSIVE h(hour) AS (VALUES(?) UNION ALL SELECT hour + 1 FROM h WHERE hour < ?)"
_FIND_CHUNKS = (
    f"{_HOURS} SELECT c.id, c.data FROM h CROSS JOIN chunks AS c"
    f" ON c.id BETWEEN h.hour << 43 | ? AND h.hour << 43 | ? LIMIT {CHUNKS}"
)
_FIND_HOURS = f"{_HOURS} SELECT id, {_STATISTICS} FROM h CROSS JOIN hours ON id = h.hour << 32 | ?"


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

    async def points(self, series: int, start: int, end: int) -> AsyncIterator[list[Point]]:
        """What was written from ``start`` to before ``end`` (milliseconds UTC), in the order of its stamps.

        Of a datastream that keeps only minutes, each minute's average. Raises `StorageError`.
        """
        async for piece in self._pieces(series, start, end):
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

    async def _days(self, series: int, start: int, end: int, zone: str) -> AsyncIterator[list[Bucket]]:
        days = list(timezones.days(zone, start, end))
        if not days:
            return
        first, last = days[0][0], days[-1][1]

        # Looked at first: what is sealed in the meantime is looked for hour by hour.
        unsealed = [point for _, tail in self._unsealed(series) for point in tail.points()]
        rows = await self._database.fetch_all(
            f"SELECT (SELECT min(id) FROM hours), id, span, {_STATISTICS} FROM days WHERE id BETWEEN ? AND ?",
            (day_key(series, first // HOUR_MS), day_key(series, last // HOUR_MS)),
        )
        offset = day_key(series, 0)
        stored = {(key - offset, hours): of_row(row, (key - offset) * HOUR_MS) for _, key, hours, *row in rows}
        if rows and not unsealed:
            # Before the first hour of all, there is nothing to look for.
            oldest = (rows[0][0] >> 32) * HOUR_MS
            days = days[bisect_right(days, oldest, key=lambda day: day[1]) :]
        fresh = {day for day in days if any(day[0] <= at < day[1] for at, _ in unsealed)} if unsealed else set()

        def whole(day: tuple[int, int]) -> Statistics | None:
            hours, rest = divmod(day[0], HOUR_MS)
            return None if rest or day in fresh else stored.get((hours, (day[1] - day[0]) // HOUR_MS))

        found = [(day[0], whole(day)) for day in days]
        for known, group in groupby(enumerate(found), lambda one: one[1][1] is not None):
            several = list(group)
            if known:
                yield [cast("Bucket", bucket) for _, bucket in several]
                continue
            starts = [begin for _, (begin, _) in several]
            atoms = await self._atoms(series, starts, days[several[-1][0]][1])
            yield _gathered(atoms, lambda at, starts=starts: starts[bisect_right(starts, at) - 1])  # type: ignore[misc]

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
        unsealed = [(run, tail.points()) for run, tail in self._unsealed(series)]
        hour, end_hour = start // HOUR_MS, end // HOUR_MS
        while hour < end_hour:

            async def read(tx: Transaction, hour: int = hour) -> tuple[list[Bucket], int, Sealed]:
                sealed, kept = await read_state(tx)
                first, last, until = _bounds(kept, hour, end_hour - 1)
                rows = await tx.fetch_all(_FIND_HOURS, (first, last, series)) if first <= last else []
                found = [((key >> 32) * HOUR_MS, of_row(row, (key >> 32) * HOUR_MS)) for key, *row in rows]
                return found, until + 1, sealed

            found, until, sealed = await self._database.read(read)
            fresh = _fresh(unsealed, sealed, series, hour * HOUR_MS, until * HOUR_MS)
            by_hour = groupby(fresh, lambda point: point[0] - point[0] % HOUR_MS)
            found += [(begin, statistics(list(group))) for begin, group in by_hour]
            yield _gathered(found, lambda at: at)
            hour = until

    async def _minutes(self, series: int, start: int, end: int) -> AsyncIterator[list[Bucket]]:
        """Statistics by minute; an hour whose chunk is gone is one bucket, with its first minute."""
        async for piece in self._pieces(series, start, end, hours=True):
            yield _gathered([*piece.minutes, *minutes(piece.points), *minutes(piece.fresh)], lambda at: at)

    async def _pieces(self, series: int, start: int, end: int, *, hours: bool = False) -> AsyncIterator[_Piece]:
        """What there is from ``start`` to before ``end``, some hours at a time; ``hours`` stand for chunks gone."""
        tails = [(run, tail.points(), tail.own or set()) for run, tail in self._unsealed(series)]
        unsealed = [(run, points) for run, points, _ in tails]
        while start < end:

            async def read(tx: Transaction, start: int = start) -> tuple[_Piece, int, Sealed]:
                sealed, kept = await read_state(tx)
                first, last, until = _bounds(kept, start // HOUR_MS, (end - 1) // HOUR_MS)
                piece = _Piece()
                if first <= last and (whole := await piece.read(tx, series, first, last, hours=hours)) < last:
                    until = whole
                return piece, (until + 1) * HOUR_MS, sealed

            piece, until, sealed = await self._database.read(read)
            if piece.damaged:
                await self._quarantine(piece.damaged)
            until = min(end, until)
            piece.points = _within(piece.points, start, until)
            # Its sender sent it again; the chunk does not know yet.
            if replaced := set().union(*(own for run, _, own in tails if not sealed.holds(run, series))):
                piece.points = [point for point in piece.points if point[0] not in replaced]
            piece.minutes = _within(piece.minutes, start, until)
            piece.fresh = _fresh(unsealed, sealed, series, start, until)
            yield piece
            start = until


class _Piece:
    """Some hours of a series: points and minutes from chunks, and points from memory."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.minutes: list[Bucket] = []
        self.fresh: list[Point] = []
        self.damaged: list[tuple[int, str]] = []

    async def read(self, tx: Transaction, series: int, first: int, last: int, *, hours: bool) -> int:
        """Read chunks from the hour ``first`` on; returns the last hour that is wholly there."""
        low = chunk_key(0, series)
        rows = await tx.fetch_all(_FIND_CHUNKS, (first, last, low, low | MAX_PART))
        if len(rows) == CHUNKS:
            last = hour_of_chunk(rows[-1][0])
            if hour_of_chunk(rows[0][0]) < last:
                last -= 1
                rows = [row for row in rows if hour_of_chunk(row[0]) <= last]
            else:
                between = (chunk_key(last, series), chunk_key(last, series, MAX_PART))
                rows = await tx.fetch_all("SELECT id, data FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id", between)
        there = set()
        for key, data in rows:
            try:
                found = decode(key, data)
            except BadChunk as error:
                self.damaged.append((key, str(error)))
                continue
            there.add(hour_of_chunk(key))
            if type(found[0][1]) is Statistics:
                self.minutes += found
            else:
                self.points += found  # type: ignore[arg-type]
        self.points.sort(key=_start)
        if hours:
            kept = await tx.fetch_all(_FIND_HOURS, (first, last, series))
            starts = [(key >> 32, row) for key, *row in kept if key >> 32 not in there]
            self.minutes += [(hour * HOUR_MS, of_row(row, hour * HOUR_MS)) for hour, row in starts]
            self.minutes.sort(key=_start)
        return last


def _bounds(kept: tuple[int, int], first: int, last: int) -> tuple[int, int, int]:
    """Of the hours from ``first`` to ``last``: those to look for, at most `HOURS`, and the last that is then done.

    Where nothing is ``kept``, there is nothing to look for hour by hour.
    """
    oldest, newest = kept
    begin = max(first, oldest)
    end = min(last, newest, begin + HOURS - 1)
    return begin, end, last if end >= min(last, newest) else end


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
    return [(start, combined([one for _, one in group])) for start, group in groups]
