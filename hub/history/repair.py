"""The repair of stamps in the history file: chunks, statistics and latest values, in slices.

A slice is one transaction: it removes affected values from their hours and merges them into the hours of their
corrected stamps. A corrected stamp is not later than the cutoff and therefore not affected again (see `Correction`), so
a repair that was interrupted after any slice starts again from the beginning, and no value is corrected twice.

A corrected value does not replace another value with the same stamp: both remain, as values to which the hub gave the
same stamp do. A minute or an hour that has statistics only is moved as a whole, by the stamp of its newest value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import attrs

from hub.history.chunks import (
    HOUR_MS,
    MINUTE_MS,
    BadChunk,
    Point,
    Statistics,
    combine,
    combine_minutes,
    encode_minutes,
    read_stamps,
    statistics,
    statistics_by_minute,
)
from hub.history.chunkstore import ChunkReader, Chunks, Part
from hub.history.compaction import Policies, Policy, Tail, decode_parts, encode_parts, stamp_of, write_days
from hub.history.keys import SERIES_MASK, chunk_key, day_of, hour_key
from hub.model import Value
from hub.storage import Database, Transaction
from hub.storage.stamp_correction import Correction

#: Points corrected, hours examined, and latest values corrected in one transaction: about 10 ms.
SLICE_POINTS, SLICE_HOURS, SLICE_LATEST = 3_000, 500, 500
#: The first hour that does not fit the keys.
_END_HOUR = 1 << 20


@attrs.define
class Span:
    """The number of some values, and their first and last stamps in milliseconds UTC."""

    count: int
    first: int
    last: int

    def add(self, other: Span) -> None:
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)


def span_of(stamps: Iterable[tuple[int, int]], cutoff: int) -> Span | None:
    """Return the span of those (stamp, number of values) that are after ``cutoff``; None without any."""
    late = [(stamp, count) for stamp, count in stamps if stamp > cutoff]
    if not late:
        return None
    return Span(sum(count for _, count in late), min(late)[0], max(late)[0])


async def spans_after(database: Database, cutoff: int) -> dict[int, Span]:
    """Return the span of the values in the file with stamps after ``cutoff``, by series."""
    spans: dict[int, Span] = {}
    after: int | None = hour_key(cutoff // HOUR_MS, 0) - 1
    while after is not None:
        key = after

        async def read(tx: Transaction, key: int = key) -> tuple[list[tuple[int, Span]], int | None]:
            return await _spans(ChunkReader(tx), key, cutoff)

        slice_spans, after = await database.read(read)
        for series, span in slice_spans:
            spans.setdefault(series, Span(0, span.first, span.last)).add(span)
    return spans


async def _spans(chunks: ChunkReader, after: int, cutoff: int) -> tuple[list[tuple[int, Span]], int | None]:
    rows = await chunks.hours_after(after, _END_HOUR + 1, SLICE_HOURS)
    spans = []
    for key, count, newest in rows:
        if newest <= cutoff:
            continue
        hour, series = key >> 32, key & SERIES_MASK
        stamps = []
        for number, data in await chunks.parts(hour, series):
            try:
                stamps += read_stamps(number, data)
            except BadChunk:
                continue
        if span := span_of(stamps or [(newest, count)], cutoff):
            spans.append((series, span))
    return spans, rows[-1][0] if len(rows) == SLICE_HOURS else None


@attrs.define
class _Contents:
    """The values of one hour: points, statistics of minutes, and statistics of hours whose chunk is gone."""

    points: list[Point] = attrs.Factory(list)
    minutes: list[tuple[int, Statistics]] = attrs.Factory(list)
    hours: list[Statistics] = attrs.Factory(list)

    @property
    def count(self) -> int:
        return len(self.points) + sum(stats.count for stats in (*(stats for _, stats in self.minutes), *self.hours))

    @property
    def statistics(self) -> Statistics | None:
        parts = [statistics(self.points)] if self.points else []
        parts += [*(stats for _, stats in self.minutes), *self.hours]
        return combine(parts) if parts else None

    def add(self, other: _Contents) -> None:
        self.points = sorted([*self.points, *other.points], key=stamp_of)
        self.minutes += other.minutes
        self.hours += other.hours

    def split(self, correction: Correction) -> tuple[_Contents, _Contents]:
        """Return (unaffected, affected) values."""
        unaffected, affected = _Contents(), _Contents()
        for point in self.points:
            (affected if correction.affects(point[0]) else unaffected).points.append(point)
        for minute in self.minutes:
            (affected if correction.affects(minute[1].at) else unaffected).minutes.append(minute)
        for stats in self.hours:
            (affected if correction.affects(stats.at) else unaffected).hours.append(stats)
        return unaffected, affected

    def shift(self, shift: int) -> dict[int, _Contents]:
        """Return the values with stamps that are ``shift`` milliseconds earlier, by hour."""
        by_hour: dict[int, _Contents] = {}
        for stamp, value in self.points:
            at = stamp - shift
            by_hour.setdefault(at // HOUR_MS, _Contents()).points.append((at, value))
        for _, stats in self.minutes:
            at = stats.at - shift
            minute = (at - at % MINUTE_MS, attrs.evolve(stats, at=at))
            by_hour.setdefault(at // HOUR_MS, _Contents()).minutes.append(minute)
        for stats in self.hours:
            at = stats.at - shift
            by_hour.setdefault(at // HOUR_MS, _Contents()).hours.append(attrs.evolve(stats, at=at))
        return by_hour


class HistoryRepair:
    """One repair of the history file: call `step` until `done`.

    ``affects`` returns whether a series is corrected; ``now`` returns the time, which decides which days have ended.
    ``moved`` counts corrected values. When values are dropped, ``restored`` has the newest remaining value of each
    series whose latest value was dropped.
    """

    def __init__(
        self,
        database: Database,
        policies: Policies,
        correction: Correction,
        affects: Callable[[int], bool],
        now: Callable[[], int],
    ) -> None:
        self._database = database
        self._policies = policies
        self._correction = correction
        self._affects = affects
        self._now = now
        self._after: int | None = hour_key(correction.cutoff // HOUR_MS, 0) - 1
        self._latest_after: int | None = -1
        self.moved = 0
        self.damaged: list[tuple[int, str]] = []
        self.restored: dict[int, tuple[int, Value]] = {}

    @property
    def done(self) -> bool:
        return self._after is None and self._latest_after is None

    @property
    def drops(self) -> bool:
        return self._correction.shift is None

    async def step(self) -> None:
        """Do one slice. Raises `StorageError`; nothing is changed then, and the caller may try again."""
        if (after := self._after) is not None:

            async def move(tx: Transaction) -> tuple[int, int | None, list[tuple[int, str]]]:
                return await self._move(Chunks(tx), after)

            moved, self._after, damaged = await self._database.transaction(move)
            self.moved += moved
            self.damaged += damaged
        elif (latest_after := self._latest_after) is not None:

            async def correct(tx: Transaction) -> tuple[dict[int, tuple[int, Value]], int | None, int]:
                return await self._correct_latest(Chunks(tx), latest_after)

            restored, self._latest_after, moved = await self._database.transaction(correct)
            self.restored |= restored
            self.moved += moved

    # -- values ---------------------------------------------------------------------------------------------------

    async def _move(self, chunks: Chunks, after: int) -> tuple[int, int | None, list[tuple[int, str]]]:
        before = min(self._correction.end // HOUR_MS, _END_HOUR) + 1
        keys = [key for key, _, _ in await chunks.hours_after(after, before, SLICE_HOURS)]
        moved = points = 0
        damaged: list[tuple[int, str]] = []
        for key in keys:
            hour, series = key >> 32, key & SERIES_MASK
            policy = self._policies(series)
            if policy is None or not self._affects(series):
                continue
            contents = await self._read(chunks, hour, series, damaged)
            unaffected, affected = contents.split(self._correction)
            points += contents.count
            if affected.count:
                moved += affected.count
                await self._write(chunks, hour, series, policy, unaffected, unaffected.statistics)
                if self._correction.shift is not None:
                    for target, shifted in affected.shift(self._correction.shift).items():
                        await self._merge(chunks, target, series, policy, shifted, damaged)
            if points >= SLICE_POINTS:
                return moved, key, damaged
        return moved, keys[-1] if len(keys) == SLICE_HOURS else None, damaged

    async def _read(self, chunks: Chunks, hour: int, series: int, damaged: list[tuple[int, str]]) -> _Contents:
        """Return the contents of an hour; put damaged chunks into quarantine."""
        contents = _Contents()
        decoded, damaged_parts = decode_parts(await chunks.parts(hour, series))
        for key, _ in damaged_parts:
            await chunks.quarantine(key)
        damaged += damaged_parts
        for part in decoded:
            if part and type(part[0][1]) is Statistics:
                contents.minutes += part
            else:
                contents.points += cast("list[Point]", part)
        if not contents.points and not contents.minutes:
            contents.hours += (await chunks.hours([hour_key(hour, series)])).values()
        contents.points.sort(key=stamp_of)
        return contents

    async def _merge(
        self,
        chunks: Chunks,
        hour: int,
        series: int,
        policy: Policy,
        added: _Contents,
        damaged: list[tuple[int, str]],
    ) -> None:
        """Add values with corrected stamps to the hour of these stamps."""
        stored = (await chunks.hours([hour_key(hour, series)])).get(hour_key(hour, series))
        contents = await self._read(chunks, hour, series, damaged)
        computed = contents.statistics
        # If the chunk is gone or incomplete, the stored statistics are right, and those of the contents are not.
        is_incomplete = stored is not None and computed is not None and computed.count != stored.count
        added_statistics = added.statistics
        contents.add(added)
        if is_incomplete and stored is not None and added_statistics is not None:
            total: Statistics | None = combine((stored, added_statistics))
        else:
            total = contents.statistics
        await self._write(chunks, hour, series, policy, contents, total)

    async def _write(
        self, chunks: Chunks, hour: int, series: int, policy: Policy, contents: _Contents, total: Statistics | None
    ) -> None:
        """Replace the chunk of an hour with ``contents``, and its statistics with ``total``."""
        first, key = chunk_key(hour, series), hour_key(hour, series)
        parts: list[Part] = []
        if contents.minutes or (policy.mode == "minute" and contents.points):
            rows = combine_minutes((*contents.minutes, *statistics_by_minute(contents.points)))
            parts = [(first, encode_minutes(first, rows))]
        elif contents.points:
            parts = encode_parts(hour, series, 0, contents.points, "raw")
        await chunks.replace(hour, series, parts)
        if total is None:
            await chunks.delete_hour(key)
        else:
            await chunks.put_hours({key: total})
        await chunks.delete_days([key])
        day = day_of(policy.zone, hour)
        if day is not None and (day[0] + day[1]) * HOUR_MS <= self._now():
            await write_days(chunks, {(series, day[0]): day})

    # -- latest values --------------------------------------------------------------------------------------------

    async def _correct_latest(self, chunks: Chunks, after: int) -> tuple[dict[int, tuple[int, Value]], int | None, int]:
        correction = self._correction
        rows = await chunks.latest_after(after, correction.cutoff, correction.end, SLICE_LATEST)
        restored: dict[int, tuple[int, Value]] = {}
        without_history = 0
        for series, stamp in rows:
            policy = self._policies(series)
            if policy is None or not self._affects(series):
                continue
            # A datastream without a history has no other value, which would be counted elsewhere.
            without_history += policy.mode == "off"
            if correction.shift is not None:
                await chunks.set_latest_stamp(series, correction.corrected(stamp))
                continue
            await chunks.delete_latest(series)
            if (newest := await chunks.newest_hour(series, correction.cutoff // HOUR_MS)) is not None:
                restored[series] = (newest.at, newest.last)
        await chunks.put_latest(restored.items())
        return restored, rows[-1][0] if len(rows) == SLICE_LATEST else None, without_history


def spans_of_tails(tails: Mapping[int, Sequence[Tail]], cutoff: int) -> dict[int, Span]:
    """Return the span of the values in memory with stamps after ``cutoff``, by series."""
    spans: dict[int, Span] = {}
    for series, series_tails in tails.items():
        for tail in series_tails:
            if (
                tail.stamps
                and max(tail.stamps) > cutoff
                and (span := span_of(((stamp, 1) for stamp in tail.stamps), cutoff))
            ):
                spans.setdefault(series, Span(0, span.first, span.last)).add(span)
    return spans
