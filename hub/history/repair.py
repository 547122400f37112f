"""Correcting the stamps of values in the history file: chunks, statistics and latest values, in slices.

A slice is one transaction: it takes affected values out of their hours and merges them into the hours where they
belong. What is corrected is at or before the cutoff and not affected again (`hub.stamps.Correction`), so a repair that
was cut short at any slice is repeated from the beginning, and nothing is corrected twice.

Values that meet others with the same stamp are all kept, as values with the same stamp of the hub's are. Of a minute or
an hour of which there are statistics only, the newest value says where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import attrs

from hub.history.chunks import (
    COLUMNS,
    HOUR_MS,
    MINUTE_MS,
    BadChunk,
    Point,
    Statistics,
    combine,
    decode,
    encode_minutes,
    from_row,
    stamps_of,
    statistics,
    to_row,
)
from hub.history.compaction import (
    Policies,
    Policy,
    Tail,
    encoded,
    forget_days,
    hours_of,
    keep_latest,
    quarantine,
    stamp_of,
    sum_days,
)
from hub.history.keys import MAX_PART, SERIES_MASK, chunk_key, day_of, hour_key
from hub.model import Value
from hub.stamps import Correction
from hub.storage import Database, Transaction

#: Points corrected, hours looked at, and latest values corrected in one transaction: some 10 ms.
SLICE_POINTS, SLICE_HOURS, SLICE_LATEST = 3_000, 500, 500
#: The hours after the last that keys can say.
_END_HOUR = 1 << 20

_STATISTICS = ", ".join(COLUMNS)
#: The newest hour of a series (?1) from hour ?2 back to the first of all.
_NEWEST_HOUR = f"""
WITH RECURSIVE h (hour) AS (
    SELECT ?2 UNION ALL SELECT hour - 1 FROM h WHERE hour > (SELECT min(id) >> 32 FROM hours)
)
SELECT hour, {_STATISTICS} FROM h CROSS JOIN hours ON hours.id = hour << 32 | ?1 LIMIT 1
"""


@attrs.define
class Span:
    """How many values there are, and the first and the last of their stamps, in milliseconds UTC."""

    count: int
    first: int
    last: int

    def add(self, other: Span) -> None:
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)


def span_of(stamps: Iterable[tuple[int, int]], cutoff: int) -> Span | None:
    """Of those (stamp, values) that are after ``cutoff``; None without any."""
    late = [(stamp, count) for stamp, count in stamps if stamp > cutoff]
    if not late:
        return None
    return Span(sum(count for _, count in late), min(late)[0], max(late)[0])


async def spans_after(database: Database, cutoff: int) -> dict[int, Span]:
    """What is in the file with stamps after ``cutoff``, by series."""
    spans: dict[int, Span] = {}
    after: int | None = hour_key(cutoff // HOUR_MS, 0) - 1
    while after is not None:
        key = after

        async def read(tx: Transaction, key: int = key) -> tuple[list[tuple[int, Span]], int | None]:
            return await _spans(tx, key, cutoff)

        found, after = await database.read(read)
        for series, span in found:
            spans.setdefault(series, Span(0, span.first, span.last)).add(span)
    return spans


async def _spans(tx: Transaction, after: int, cutoff: int) -> tuple[list[tuple[int, Span]], int | None]:
    rows = await tx.fetch_all(
        f"SELECT id, n, at FROM hours WHERE id > ? AND (id >> 32) * {HOUR_MS} + at > ? ORDER BY id LIMIT ?",
        (after, cutoff, SLICE_HOURS),
    )
    found = []
    for key, count, at in rows:
        hour, series = key >> 32, key & SERIES_MASK
        stamps = []
        for number, data in await _chunks(tx, hour, series):
            try:
                stamps += stamps_of(number, data)
            except BadChunk:
                continue
        if span := span_of(stamps or [(hour * HOUR_MS + at, count)], cutoff):
            found.append((series, span))
    return found, rows[-1][0] if len(rows) == SLICE_HOURS else None


async def _chunks(tx: Transaction, hour: int, series: int) -> list[tuple[int, bytes]]:
    sql = "SELECT id, data FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id"
    return cast(
        "list[tuple[int, bytes]]",
        await tx.fetch_all(sql, (chunk_key(hour, series), chunk_key(hour, series, MAX_PART))),
    )


@attrs.define
class _Contents:
    """Values of one hour: points, minutes, and hours of which nothing but the statistics is left."""

    points: list[Point] = attrs.Factory(list)
    minutes: list[tuple[int, Statistics]] = attrs.Factory(list)
    hours: list[Statistics] = attrs.Factory(list)

    @property
    def count(self) -> int:
        return len(self.points) + sum(one.count for one in (*(one for _, one in self.minutes), *self.hours))

    @property
    def statistics(self) -> Statistics | None:
        parts = [statistics(self.points)] if self.points else []
        parts += [*(one for _, one in self.minutes), *self.hours]
        return combine(parts) if parts else None

    def add(self, other: _Contents) -> None:
        self.points = sorted([*self.points, *other.points], key=stamp_of)
        self.minutes += other.minutes
        self.hours += other.hours

    def split(self, correction: Correction) -> tuple[_Contents, _Contents]:
        """What a correction leaves alone, and what it affects."""
        left, affected = _Contents(), _Contents()
        for point in self.points:
            (affected if correction.affects(point[0]) else left).points.append(point)
        for minute in self.minutes:
            (affected if correction.affects(minute[1].at) else left).minutes.append(minute)
        for one in self.hours:
            (affected if correction.affects(one.at) else left).hours.append(one)
        return left, affected

    def shifted(self, shift: int) -> dict[int, _Contents]:
        """The same with earlier stamps, by hour."""
        by_hour: dict[int, _Contents] = {}
        for stamp, value in self.points:
            at = stamp - shift
            by_hour.setdefault(at // HOUR_MS, _Contents()).points.append((at, value))
        moved = [attrs.evolve(one, at=one.at - shift) for _, one in self.minutes]
        for one in moved:
            by_hour.setdefault(one.at // HOUR_MS, _Contents()).minutes.append((one.at - one.at % MINUTE_MS, one))
        for one in self.hours:
            at = one.at - shift
            by_hour.setdefault(at // HOUR_MS, _Contents()).hours.append(attrs.evolve(one, at=at))
        return by_hour


class HistoryRepair:
    """One repair; ``affects`` says whether it is about a series, ``now`` which days have ended. Call `step` until done.

    ``restored`` has, after values were dropped, the latest value that is left of each series that had a later one.
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
        """Do one slice. Raises `StorageError`; the slice is then not done, and may be tried again."""
        if (after := self._after) is not None:

            async def move(tx: Transaction) -> tuple[int, int | None, list[tuple[int, str]]]:
                return await self._move(tx, after)

            moved, self._after, damaged = await self._database.transaction(move)
            self.moved += moved
            self.damaged += damaged
        elif (latest_after := self._latest_after) is not None:

            async def correct(tx: Transaction) -> tuple[dict[int, tuple[int, Value]], int | None, int]:
                return await self._correct_latest(tx, latest_after)

            restored, self._latest_after, moved = await self._database.transaction(correct)
            self.restored |= restored
            self.moved += moved

    # -- values ---------------------------------------------------------------------------------------------------

    async def _move(self, tx: Transaction, after: int) -> tuple[int, int | None, list[tuple[int, str]]]:
        last = hour_key(min(self._correction.end // HOUR_MS, _END_HOUR) + 1, 0)
        sql = "SELECT id FROM hours WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        keys = [key for (key,) in await tx.fetch_all(sql, (after, last, SLICE_HOURS))]
        moved = points = 0
        damaged: list[tuple[int, str]] = []
        for key in keys:
            hour, series = key >> 32, key & SERIES_MASK
            policy = self._policies(series)
            if policy is None or not self._affects(series):
                continue
            there = await self._read(tx, hour, series, damaged)
            left, affected = there.split(self._correction)
            points += there.count
            if affected.count:
                moved += affected.count
                await self._write(tx, hour, series, policy, left, left.statistics)
                if self._correction.shift is not None:
                    for target, contents in affected.shifted(self._correction.shift).items():
                        await self._merge(tx, target, series, policy, contents, damaged)
            if points >= SLICE_POINTS:
                return moved, key, damaged
        return moved, keys[-1] if len(keys) == SLICE_HOURS else None, damaged

    async def _read(self, tx: Transaction, hour: int, series: int, damaged: list[tuple[int, str]]) -> _Contents:
        """What there is of an hour; damaged chunks are put into quarantine."""
        contents = _Contents()
        for key, data in await _chunks(tx, hour, series):
            try:
                found = decode(key, data)
            except BadChunk as error:
                damaged.append((key, str(error)))
                await quarantine(tx, key)
                continue
            if found and type(found[0][1]) is Statistics:
                contents.minutes += found
            else:
                contents.points += cast("list[Point]", found)
        if not contents.points and not contents.minutes:
            contents.hours += (await hours_of(tx, [hour_key(hour, series)])).values()
        contents.points.sort(key=stamp_of)
        return contents

    async def _merge(
        self,
        tx: Transaction,
        hour: int,
        series: int,
        policy: Policy,
        contents: _Contents,
        damaged: list[tuple[int, str]],
    ) -> None:
        """Add what was shifted to the hour where it belongs."""
        old = (await hours_of(tx, [hour_key(hour, series)])).get(hour_key(hour, series))
        there = await self._read(tx, hour, series, damaged)
        known = there.statistics
        # Where the chunk is gone, or is not whole, its statistics tell more than what is left of it.
        more = old if old is not None and known is not None and known.count != old.count else None
        added = contents.statistics
        there.add(contents)
        whole = there.statistics if more is None or added is None else combine((more, added))
        await self._write(tx, hour, series, policy, there, whole)

    async def _write(
        self, tx: Transaction, hour: int, series: int, policy: Policy, contents: _Contents, whole: Statistics | None
    ) -> None:
        """Replace what there is of an hour."""
        first, key = chunk_key(hour, series), hour_key(hour, series)
        await tx.execute("DELETE FROM chunks WHERE id BETWEEN ? AND ?", (first, chunk_key(hour, series, MAX_PART)))
        pieces: list[tuple[int, bytes]] = []
        if contents.minutes or (policy.mode == "minute" and contents.points):
            by_minute: dict[int, list[Statistics]] = {}
            for minute, one in (*contents.minutes, *statistics_by_minute(contents.points)):
                by_minute.setdefault(minute, []).append(one)
            rows = [(minute, combine(several)) for minute, several in sorted(by_minute.items())]
            pieces = [(first, encode_minutes(first, rows))]
        elif contents.points:
            pieces = encoded(hour, series, 0, contents.points, "raw")
        await tx.insert_many("chunks", ("id", "data"), pieces)
        if whole is None:
            await tx.execute("DELETE FROM hours WHERE id = ?", (key,))
        else:
            row = (key, *to_row(whole, hour * HOUR_MS))
            await tx.insert_many("hours", ("id", *COLUMNS), [row], replace=True)
        await forget_days(tx, [key])
        day = day_of(policy.zone, hour)
        if day is not None and (day[0] + day[1]) * HOUR_MS <= self._now():
            await sum_days(tx, {(series, day[0]): day})

    # -- latest values --------------------------------------------------------------------------------------------

    async def _correct_latest(
        self, tx: Transaction, after: int
    ) -> tuple[dict[int, tuple[int, Value]], int | None, int]:
        correction = self._correction
        rows = await tx.fetch_all(
            "SELECT series, ts FROM latest WHERE series > ? AND ts > ? AND ts <= ? ORDER BY series LIMIT ?",
            (after, correction.cutoff, correction.end, SLICE_LATEST),
        )
        restored: dict[int, tuple[int, Value]] = {}
        alone = 0
        for series, stamp in rows:
            policy = self._policies(series)
            if policy is None or not self._affects(series):
                continue
            # Of a datastream without a history, it is the only value.
            alone += policy.mode == "off"
            if correction.shift is not None:
                values = (correction.corrected(stamp), series)
                await tx.execute("UPDATE latest SET ts = ? WHERE series = ?", values)
                continue
            await tx.execute("DELETE FROM latest WHERE series = ?", (series,))
            if row := await tx.fetch_one(_NEWEST_HOUR, (series, correction.cutoff // HOUR_MS)):
                newest = from_row(row[1:], row[0] * HOUR_MS)
                restored[series] = (newest.at, newest.last)
        await keep_latest(tx, restored.items())
        return restored, rows[-1][0] if len(rows) == SLICE_LATEST else None, alone


def spans_of_tails(tails: Mapping[int, Sequence[Tail]], cutoff: int) -> dict[int, Span]:
    """What is in memory with stamps after ``cutoff``, by series."""
    spans: dict[int, Span] = {}
    for series, several in tails.items():
        for tail in several:
            if (
                tail.stamps
                and max(tail.stamps) > cutoff
                and (span := span_of(((stamp, 1) for stamp in tail.stamps), cutoff))
            ):
                spans.setdefault(series, Span(0, span.first, span.last)).add(span)
    return spans
