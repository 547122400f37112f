"""Queries of the history: points, or buckets of minutes, hours and days, in slices that fit in memory.

Compacted values are read from the file, all others from memory. So that no point is missed or counted twice, each read
of the file also reads the progress of compaction (`CompactionProgress`), in the same snapshot.

A point that a client sent again with the same stamp replaces the earlier one. Until the second point is compacted, the
file still has the first one in its chunks and statistics; the hours of such points are computed from points.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import chain, groupby
from typing import Any, Literal, TypeVar, cast

import trio

from hub.history import chunkstore
from hub.history.chunks import (
    HOUR_MS,
    MINUTE_MS,
    BadChunk,
    Point,
    Statistics,
    Totals,
    combine,
    combine_minutes,
    combine_totals,
    decode,
    statistics,
    statistics_by_minute,
    totals,
)
from hub.history.chunkstore import Aggregate, ChunkReader, CompactionProgress
from hub.history.compaction import Tail
from hub.history.keys import hour_of_chunk
from hub.parsing import timezones

Granularity = Literal["raw", "minute", "hour", "day"]
T = TypeVar("T", bound=tuple[int, object])
#: The first millisecond of a bucket, and the statistics of its points.
Bucket = tuple[int, Statistics]
#: Points in memory: the number of their segment, the points, and the stamps that a client gave.
_Uncompacted = tuple[int, list[Point], set[int]]

#: Points decoded before other tasks may run: some milliseconds. Points in memory are only added up, which takes less;
#: a series of them takes as long as so many points.
DECODE, ADDED, TAIL = 5_000, 20_000, 50
#: Series multiplied by hours, and by days, in one query of several series: it takes the database some 20 ms. And series
#: whose points in memory are looked up before other tasks may run.
HOURS_PER_QUERY, DAYS_PER_QUERY, SERIES_PER_QUERY = 25_000, 2_500, 2_000


class Queries:
    """Queries of one history file.

    ``uncompacted`` returns the tails of a series in memory, with the numbers of their segments. ``quarantine`` puts
    damaged chunks into quarantine.
    """

    def __init__(
        self,
        chunks: ChunkReader,
        uncompacted: Callable[[int], list[tuple[int, Tail]]],
        quarantine: Callable[[list[tuple[int, str]]], Awaitable[None]],
    ) -> None:
        self._chunks = chunks
        self._uncompacted = uncompacted
        self._quarantine = quarantine

    async def points(self, series: int, start: int, end: int) -> AsyncGenerator[list[Point], None]:
        """Yield the points from ``start`` to before ``end`` (milliseconds UTC), in the order of their stamps.

        A datastream that stores minutes only has the average of each minute. Raises `StorageError`.
        """
        async with aclosing(self._pieces(series, start, end)) as pieces:
            async for piece in pieces:
                points = [
                    *piece.points,
                    *((minute, stats.last if stats.avg is None else stats.avg) for minute, stats in piece.minutes),
                ]
                points += piece.uncompacted
                if points:
                    points.sort(key=_start)
                    yield points

    async def buckets(
        self, series: int, start: int, end: int, granularity: Granularity, zone: str = "UTC"
    ) -> AsyncIterator[list[Bucket]]:
        """Yield the statistics of the minutes, hours or days in a time zone that overlap ``start`` to before ``end``.

        Buckets without points are left out. Raises `StorageError`.
        """
        if granularity == "minute":
            async for buckets in self._minutes(series, start - start % MINUTE_MS, end + -end % MINUTE_MS):
                yield buckets
        elif granularity == "hour":
            if timezones.has_whole_hours(zone, start, end):
                async for buckets in self._hours(series, start - start % HOUR_MS, end + -end % HOUR_MS):
                    yield buckets
                return
            # The hours of the zone are not hours of UTC, so they are combined from minutes.
            first, last = timezones.hour(zone, start), timezones.hour(zone, end - 1) + 2 * HOUR_MS
            incomplete: list[Bucket] = []
            async for buckets in self._minutes(series, first, last):
                hours = _regroup([*incomplete, *buckets], lambda at: timezones.hour(zone, at))
                # The last hour may have more minutes in the next slice.
                yield hours[:-1]
                incomplete = hours[-1:]
            yield [bucket for bucket in incomplete if bucket[0] < end]
        else:
            async for buckets in self._days(series, start, end, zone):
                yield buckets

    async def hours_as_json(
        self, series: Sequence[int], start: int, end: int, what: Aggregate
    ) -> list[tuple[str, str, int]]:
        """Return one statistic of each hour (UTC) from the hour of ``start`` on, for several series.

        For each series: a JSON array of times, a JSON array of the statistic ``what`` with 15 digits, and the time
        up to which the arrays go. That is ``end``, or the first hour with values that are not compacted yet; `buckets`
        has the hours from there on. Raises `StorageError`.
        """
        first = start // HOUR_MS
        until = [self._compacted_until(number, start, end) // HOUR_MS for number in series]
        if max(until) <= first:
            return [("[]", "[]", start) for _ in series]
        rows = await self._chunks.hours_as_json(series, first, until, what)
        ends = (max(hour * HOUR_MS, start) for hour in until)
        return [(times, numbers, up_to) for (times, numbers), up_to in zip(rows, ends, strict=True)]

    async def hours_together(self, series: Sequence[int], start: int, end: int) -> list[tuple[int, Totals]]:
        """Return the totals of the numbers that several series have in each hour (UTC) that overlaps a range.

        Hours are given by their first milliseconds, and those without numbers are left out. The time that it takes
        grows with the number of series and that of hours. Raises `StorageError`.
        """
        first, last = start // HOUR_MS, (end - 1) // HOUR_MS
        hours: dict[int, Totals] = {}
        resent: list[int] = []
        for tails in self._tails_by_series(series, resent):
            # All series and some hours, not some series and all hours: the result has a row for each hour.
            per_query = HOURS_PER_QUERY // max(1, len(tails))
            for at in range(first, last + 1, per_query):
                until = min(last, at + per_query - 1)
                progress, rows = await self._chunks.hours_together([*tails], at, until)
                _add(hours, rows)
                await self._add_uncompacted(hours, tails, progress, at * HOUR_MS, (until + 1) * HOUR_MS)
        for number in resent:
            await self._add_each_hour(hours, number, first * HOUR_MS, (last + 1) * HOUR_MS)
        return sorted(hours.items())

    async def days_together(self, series: Sequence[int], days: Sequence[tuple[int, int]]) -> list[tuple[int, Totals]]:
        """Return the totals of the numbers that several series have in each of consecutive days.

        Days are (first millisecond, first of the next day) and consist of whole hours; see `hours_together`. It takes
        much less time where the days are those that the history stores, which are those of the devices' time zones.
        """
        starts = [start for start, _ in days]
        totals: dict[int, Totals] = {}
        hours: dict[int, Totals] = {}
        resent: list[int] = []
        for tails in self._tails_by_series(series, resent):
            per_query = max(1, DAYS_PER_QUERY // max(1, len(tails)))
            for at in range(0, len(days), per_query):
                some = days[at : at + per_query]
                in_hours = [(start // HOUR_MS, (end - start) // HOUR_MS) for start, end in some]
                progress, rows = await self._chunks.days_together([*tails], in_hours)
                _add(totals, rows)
                await self._add_uncompacted(hours, tails, progress, some[0][0], some[-1][1])
        for number in resent:
            await self._add_each_hour(hours, number, days[0][0], days[-1][1])
        _add(totals, ((starts[bisect_right(starts, hour) - 1], part) for hour, part in hours.items()))
        return sorted(totals.items())

    def _tails_by_series(self, series: Sequence[int], resent: list[int]) -> Iterator[dict[int, list[tuple[int, Tail]]]]:
        """Yield the tails of some series at a time; those with stamps of a client are left out and put in ``resent``.

        They are taken before the file is read, so that no point is missed that is compacted meanwhile. A point that was
        sent again must not count twice, which takes a look at each point of its series.
        """
        for index in range(0, len(series), SERIES_PER_QUERY):
            tails = {number: self._uncompacted(number) for number in series[index : index + SERIES_PER_QUERY]}
            again = [number for number, of in tails.items() if any(tail.client_stamped for _, tail in of)]
            for number in again:
                del tails[number]
            resent += again
            yield tails

    async def _add_each_hour(self, hours: dict[int, Totals], series: int, start: int, end: int) -> None:
        """Add the totals of a series in a span of whole hours."""
        async for buckets in self._hours(series, start, end):
            _add(hours, totals_of_buckets(buckets))

    async def _add_uncompacted(
        self,
        hours: dict[int, Totals],
        tails: Mapping[int, list[tuple[int, Tail]]],
        progress: CompactionProgress,
        start: int,
        end: int,
    ) -> None:
        """Add the points in memory of a span that were not in chunks when ``progress`` was read."""
        done = 0
        for number, of in tails.items():
            for segment, tail in of:
                # The stamps are the hub's own, and in order.
                if tail.stamps[-1] >= start and tail.stamps[0] < end and not progress.includes(segment, number):
                    done += TAIL + len(tail.stamps)
                    _add(hours, _totals_by_hour(tail, start, end))
            if done >= ADDED:
                done = 0
                await trio.lowlevel.checkpoint()

    def _compacted_until(self, series: int, start: int, end: int) -> int:
        """Return the time, between two times, up to which all values of a series are in chunks."""
        stamps = (
            stamp for _, tail in self._uncompacted(series) for stamp in (*tail.stamps, *(tail.client_stamped or ()))
        )
        until: int = min(chain((end,), (stamp for stamp in stamps if stamp >= start - start % HOUR_MS)))
        return until

    async def _days(self, series: int, start: int, end: int, zone: str) -> AsyncIterator[list[Bucket]]:
        # Before the file is read: days of values that are compacted meanwhile are then combined from their hours.
        uncompacted = [stamp for _, tail in self._uncompacted(series) for stamp in tail.stamps]
        margin = 2 * 24
        first, last = max(0, start // HOUR_MS - margin), end // HOUR_MS + margin
        first_hour, stored = await self._chunks.days_of(series, first, last)
        # There are no values before the first hour of the file.
        oldest = min(first_hour * HOUR_MS if first_hour is not None else end, *uncompacted, end)
        days = list(timezones.days(zone, max(start, min(oldest, end - 1)), end))
        starts = [begin for begin, _ in days]
        changed = {starts[at] for stamp in uncompacted if (at := bisect_right(starts, stamp) - 1) >= 0}
        buckets = [(day[0], None if day[0] in changed else stored.get(day)) for day in days]
        for is_stored, group in groupby(enumerate(buckets), lambda item: item[1][1] is not None):
            consecutive = list(group)
            if is_stored:
                yield [cast("Bucket", bucket) for _, bucket in consecutive]
                continue
            begins = [begin for _, (begin, _) in consecutive]
            parts = await self._parts_of_days(series, begins, days[consecutive[-1][0]][1])
            yield _regroup(parts, lambda at, begins=begins: begins[bisect_right(begins, at) - 1])  # type: ignore[misc]

    async def _parts_of_days(self, series: int, starts: list[int], end: int) -> list[Bucket]:
        """Return the hours of consecutive days, and the minutes of hours that belong to two days."""
        shared = {edge - edge % HOUR_MS for edge in (*starts, end) if edge % HOUR_MS}
        parts: list[Bucket] = []
        async for buckets in self._hours(series, starts[0] - starts[0] % HOUR_MS, end + -end % HOUR_MS):
            parts += [bucket for bucket in buckets if bucket[0] not in shared]
        for hour in sorted(shared):
            async for buckets in self._minutes(series, max(hour, starts[0]), min(hour + HOUR_MS, end)):
                parts += buckets
        return parts

    async def _hours(self, series: int, start: int, end: int) -> AsyncIterator[list[Bucket]]:
        """Yield the statistics by hour of UTC; ``start`` and ``end`` are whole hours."""
        tails = self._tails(series)
        uncompacted = [(segment, points) for segment, points, _ in tails]
        resent = {stamp - stamp % HOUR_MS for _, _, client_stamped in tails for stamp in client_stamped}
        hour, end_hour = start // HOUR_MS, end // HOUR_MS
        while hour < end_hour:
            stored = await self._chunks.hours_of(series, hour, end_hour - 1)
            until, buckets = stored.until, stored.rows
            points = _select_uncompacted(uncompacted, stored.progress, series, hour * HOUR_MS, (until + 1) * HOUR_MS)
            by_hour = groupby(points, lambda point: point[0] - point[0] % HOUR_MS)
            buckets += [(begin, statistics(list(group))) for begin, group in by_hour]
            if replaced := {begin for begin in resent if hour * HOUR_MS <= begin <= until * HOUR_MS}:
                # Hours with points that were sent again are combined from minutes, which count each point once.
                buckets = [bucket for bucket in buckets if bucket[0] not in replaced]
                for begin, span_end in _merge_hours(replaced):
                    async for minutes in self._minutes(series, begin, span_end, tails):
                        buckets += [(at - at % HOUR_MS, stats) for at, stats in minutes]
            yield _regroup(buckets, lambda at: at)
            hour = until + 1

    def _tails(self, series: int) -> list[_Uncompacted]:
        """Return the points of a series in memory. To be called before the file is read."""
        return [(segment, tail.points(), set(tail.client_stamped or ())) for segment, tail in self._uncompacted(series)]

    async def _minutes(
        self, series: int, start: int, end: int, tails: list[_Uncompacted] | None = None
    ) -> AsyncIterator[list[Bucket]]:
        """Yield the statistics by minute. An hour whose chunk was deleted is one bucket, at its first minute."""
        async for piece in self._pieces(series, start, end, tails, hours=True):
            points, uncompacted = statistics_by_minute(piece.points), statistics_by_minute(piece.uncompacted)
            yield combine_minutes((*piece.minutes, *points, *uncompacted))

    async def _pieces(
        self, series: int, start: int, end: int, tails: list[_Uncompacted] | None = None, *, hours: bool = False
    ) -> AsyncGenerator[_Piece, None]:
        """Yield the contents from ``start`` to before ``end``, some hours at a time.

        With ``hours``, an hour whose chunk was deleted is represented by its statistics.
        """
        tails = self._tails(series) if tails is None else tails
        uncompacted = [(segment, points) for segment, points, _ in tails]
        while start < end:
            first, last = start // HOUR_MS, (end - 1) // HOUR_MS
            until, buckets = last, []
            if hours:
                # Read before the chunks: an hour that is compacted in between then has a chunk.
                stored = await self._chunks.hours_of(series, first, last, chunkstore.CHUNKS)
                until, buckets = stored.until, stored.rows
            chunks = await self._chunks.parts_of(series, first, last)
            progress, until = chunks.progress, min(until, chunks.until)
            piece = _Piece()
            await piece.decode(chunks.rows)
            if piece.damaged:
                await self._quarantine(piece.damaged)
            piece.minutes += [bucket for bucket in buckets if bucket[0] // HOUR_MS not in piece.hours]
            piece.minutes.sort(key=_start)
            stop = min(end, (until + 1) * HOUR_MS)
            piece.points = _within(piece.points, start, stop)
            # Points that a client sent again replace those of the chunk, which compaction has not done yet.
            resent: set[int] = set()
            for segment, _, client_stamped in tails:
                if client_stamped and not progress.includes(segment, series):
                    resent |= client_stamped
            if resent:
                piece.points = [point for point in piece.points if point[0] not in resent]
            piece.minutes = _within(piece.minutes, start, stop)
            piece.uncompacted = _select_uncompacted(uncompacted, progress, series, start, stop)
            yield piece
            start = stop


def totals_of_buckets(buckets: Iterable[Bucket]) -> Iterator[tuple[int, Totals]]:
    """Yield the totals of those buckets that have numbers."""
    for start, stats in buckets:
        if stats.sum is not None and stats.min is not None and stats.max is not None:
            yield start, Totals(stats.count, stats.min, stats.max, stats.sum)


def _add(hours: dict[int, Totals], parts: Iterable[tuple[int, Totals]]) -> None:
    """Add totals to those of their hours."""
    for hour, part in parts:
        before = hours.get(hour)
        hours[hour] = part if before is None else combine_totals((before, part))


def _totals_by_hour(tail: Tail, start: int, end: int) -> Iterator[tuple[int, Totals]]:
    """Yield the totals of each hour of a tail whose points have the hub's own stamps, which are in order."""
    stamps = tail.stamps
    begin, stop = bisect_left(stamps, start), bisect_left(stamps, end)
    while begin < stop:
        hour = stamps[begin] - stamps[begin] % HOUR_MS
        until = bisect_left(stamps, hour + HOUR_MS, begin, stop)
        if (part := totals(tail.values[begin:until])) is not None:
            yield hour, part
        begin = until


class _Piece:
    """Some hours of a series: points and minutes from chunks, and uncompacted points from memory."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.minutes: list[Bucket] = []
        self.uncompacted: list[Point] = []
        #: The hours that have a chunk.
        self.hours: set[int] = set()
        self.damaged: list[tuple[int, str]] = []

    async def decode(self, chunks: Iterable[Sequence[Any]]) -> None:
        """Decode parts of chunks, (key, data), with a checkpoint every `DECODE` points."""
        decoded = 0
        for key, data in chunks:
            try:
                contents = decode(key, data)
            except BadChunk as error:
                self.damaged.append((key, str(error)))
                continue
            self.hours.add(hour_of_chunk(key))
            if type(contents[0][1]) is Statistics:
                self.minutes += contents
            else:
                self.points += contents  # type: ignore[arg-type]
            decoded += len(contents)
            if decoded >= DECODE:
                decoded = 0
                await trio.lowlevel.checkpoint()
        self.points.sort(key=_start)


def _merge_hours(hours: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Merge adjacent hours, given by their beginnings, into spans (begin, end)."""
    begin = end = None
    for hour in sorted(hours):
        if begin is not None and hour != end:
            yield begin, cast("int", end)
            begin = None
        begin, end = hour if begin is None else begin, hour + HOUR_MS
    if begin is not None:
        yield begin, cast("int", end)


def _select_uncompacted(
    uncompacted: Iterable[tuple[int, list[Point]]], progress: CompactionProgress, series: int, start: int, end: int
) -> list[Point]:
    """Return the points in memory of a span that were not in chunks when ``progress`` was read."""
    selected: list[Point] = []
    for segment, points in uncompacted:
        if not progress.includes(segment, series):
            selected += _within(points, start, end)
    selected.sort(key=_start)
    return selected


def _within(items: list[T], start: int, end: int) -> list[T]:
    return items[bisect_left(items, start, key=_start) : bisect_left(items, end, key=_start)]


def _start(item: tuple[int, object]) -> int:
    return item[0]


def _regroup(buckets: Sequence[Bucket], start_of: Callable[[int], int]) -> list[Bucket]:
    """Combine buckets into larger ones, ``start_of`` whose first millisecond, in the order of time."""
    ordered = sorted(buckets, key=_start)
    groups = groupby(ordered, lambda bucket: start_of(bucket[0]))
    return [(start, combine([stats for _, stats in group])) for start, group in groups]
