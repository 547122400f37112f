"""The tables of chunks, statistics and latest values: all SQL of the history except that of its log (`log_table`).

Chunks, hours and days are identified by the keys of `hub.history.keys`. What is in a chunk, and how chunks are merged,
is no concern of this module (`hub.history.chunks`, `hub.history.compaction`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

import attrs

from hub.history.chunks import COLUMNS, HOUR_MS, Statistics, Totals, from_row, is_whole, to_row
from hub.history.keys import EVERY_SERIES, MAX_PART, SERIES_MASK, chunk_key, day_key, hour_key
from hub.model import Value
from hub.storage import Row, Transaction, look_into
from hub.values import pack, unpack

T = TypeVar("T")
#: Part of a chunk: its key and its data.
Part = tuple[int, bytes]
#: Statistics of an hour that are a number, or null if its values are not numbers.
Aggregate = Literal["avg", "min", "max", "sum", "count"]

#: Rows of one read: chunks of up to 1,024 points, or statistics of hours.
CHUNKS, HOURS = 128, 2_000
#: Pairs of series and hour erased in one transaction.
ERASED_PER_SLICE = 2_000
#: Rows of statistics checked in one slice.
CHECKED_PER_SLICE = 5_000
#: Series in one `ChunkReader.hours_as_json`: SQLite joins at most 64 tables.
MAX_SERIES_PER_QUERY = 16
#: Hours of the longest day, and an hour after all others.
LONGEST_DAY, MAX_HOUR = 25, 1 << 20
#: The largest number of JSON; a sum of several may be infinite.
_LARGEST = sys.float_info.max
#: Bytes of an hour in addition to its chunk: its row of statistics, keys, and its share of pages.
ROW_BYTES = 90

_STATISTICS = ", ".join(COLUMNS)
# One statement is one snapshot and one round trip to the database. It reads the progress of compaction, and a row for
# each hour from ?1 to ?2 that is between the first and the last hour of the file.
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
FROM state CROSS JOIN h LEFT JOIN {table} LIMIT ?3
"""
#: Columns of the progress and the hour in front of each row.
_STATE = 7
_FIND_CHUNKS = _FROM_HOURS.format(
    columns="c.id, data", table="chunks AS c ON c.id BETWEEN (hour << 43) | ?4 AND (hour << 43) | ?5"
)
_FIND_HOURS = _FROM_HOURS.format(columns=_STATISTICS, table="hours ON hours.id = (hour << 32) | ?4")
# Much faster than a row for each hour: SQLite itself writes the JSON for clients, and the hours are counted once for
# several series.
_HOURS_AS_JSON = """
WITH RECURSIVE h (hour) AS (
    SELECT max(?1, min(?2, coalesce((SELECT min(id) >> 32 FROM hours), ?2)))
    UNION ALL SELECT hour + 1 FROM h WHERE hour < ?2
)
SELECT {columns} FROM h {joins}
"""
_JSON_COLUMNS = (
    "json_group_array(hour * 3600000) FILTER (WHERE {exists}), json_group_array({number}) FILTER (WHERE {exists})"
)
_JSON_JOIN = "LEFT JOIN hours AS {table} ON {table}.id = (hour << 32) | ?{series}"
# SQLite writes numbers with 15 digits. The largest floats would be rounded up to more than a float can be.
_CLAMPED = "max(min({number}, 1.79769313486231e308), -1.79769313486231e308)"
_SQL: Mapping[Aggregate, str] = {
    "avg": "{table}.total * 1.0 / {table}.n",
    "min": "{table}.low",
    "max": "{table}.high",
    "sum": "{table}.total",
    "count": "{table}.n",
}
# The numbers of several series (?3) in each hour from ?1 to ?2, added up by SQLite: one row for each hour, and
# not for each series too.
_HOURS_TOGETHER = """
WITH RECURSIVE state AS (
    SELECT run, since, upto, series, stamp,
        coalesce((SELECT min(id) >> 32 FROM hours), 1) AS oldest,
        coalesce((SELECT max(id) >> 32 FROM hours), 0) AS newest
    FROM sealed
), h (hour, final) AS (
    SELECT max(?1, oldest), min(?2, newest) FROM state UNION ALL SELECT hour + 1, final FROM h WHERE hour < final
), found AS (
    SELECT hour, sum(n) AS n, min(low) AS low, max(high) AS high, total(total) AS sum
    FROM h CROSS JOIN json_each(?3) AS s CROSS JOIN hours ON hours.id = (hour << 32) | s.value
    WHERE hour <= final AND hours.total IS NOT NULL GROUP BY hour
)
SELECT run, since, upto, series, stamp, hour, n, low, high, sum FROM state LEFT JOIN found ON 1 ORDER BY hour
"""
# The same for days, [first hour, hours] each (?1): the stored days, and the hours of each day that is not stored for a
# series.
_DAYS_TOGETHER = f"""
WITH RECURSIVE state AS (
    SELECT run, since, upto, series, stamp,
        coalesce((SELECT min(id) >> 32 FROM hours), {MAX_HOUR}) AS oldest,
        coalesce((SELECT max(id) >> 32 FROM hours), 0) AS newest
    FROM sealed
), d (first, span) AS (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?1), state
    WHERE json_extract(value, '$[0]') BETWEEN oldest - {LONGEST_DAY} AND newest
), h (hour) AS (
    SELECT 0 UNION ALL SELECT hour + 1 FROM h WHERE hour < {LONGEST_DAY} - 1
), found AS (
    SELECT first, n, low, high, total FROM d CROSS JOIN json_each(?2) AS s
    CROSS JOIN days ON days.id = (s.value << 24) | first AND days.span = d.span
    UNION ALL
    SELECT first, n, low, high, total FROM d CROSS JOIN json_each(?2) AS s
    CROSS JOIN h CROSS JOIN hours ON hours.id = (first + hour) << 32 | s.value
    WHERE hour < d.span
    AND NOT EXISTS (SELECT 1 FROM days WHERE days.id = (s.value << 24) | first AND days.span = d.span)
), added AS (
    SELECT first, sum(n) AS n, min(low) AS low, max(high) AS high, total(total) AS sum
    FROM found WHERE total IS NOT NULL GROUP BY first
)
SELECT run, since, upto, series, stamp, first, n, low, high, sum FROM state LEFT JOIN added ON 1 ORDER BY first
"""
#: The newest hour with statistics of a series (?1), not after the hour ?2.
_NEWEST_HOUR = f"""
WITH RECURSIVE h (hour) AS (
    SELECT ?2 UNION ALL SELECT hour - 1 FROM h WHERE hour > (SELECT min(id) >> 32 FROM hours)
)
SELECT hour, {_STATISTICS} FROM h CROSS JOIN hours ON hours.id = hour << 32 | ?1 LIMIT 1
"""
#: (series, bytes in a month), estimated from the newest day in chunks, with the share of rows and pages.
_COSTS = (
    f"SELECT id >> 11 & {SERIES_MASK}, sum(length(data) + {ROW_BYTES}) * 30 FROM chunks"
    " WHERE id >= ((SELECT max(id) >> 32 FROM hours) - 23) << 43"
    " GROUP BY 1"
)


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


@attrs.frozen
class Slice(Generic[T]):
    """Some rows of a series in the order of time, up to the hour ``until``, and the progress in the same snapshot."""

    progress: CompactionProgress
    until: int
    rows: list[T]


class Source(Protocol):
    """What runs a query: a database, where each query is a snapshot of its own, or a transaction."""

    async def fetch_all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]: ...


class ChunkReader:
    """Reads chunks, statistics, latest values and the progress of compaction. All methods raise `StorageError`.

    Of a database, each method that a query uses (`progress` to `hours_as_json`) is one snapshot; of a transaction, all
    methods are.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    async def progress(self) -> CompactionProgress:
        rows = await self._source.fetch_all("SELECT run, since, upto, series, stamp FROM sealed")
        return CompactionProgress(*rows[0]) if rows else CompactionProgress(0, 0, 0, EVERY_SERIES, 0)

    async def latest(self) -> dict[int, tuple[int, Value]]:
        """Return the stored latest value of each series, (stamp, value)."""
        rows = await self._source.fetch_all("SELECT series, ts, v FROM latest")
        return {series: (ts, unpack(value)) for series, ts, value in rows}

    async def costs(self) -> dict[int, float]:
        """Return the bytes that each series takes on disk in a month, estimated from the newest day in chunks."""
        return dict(await self._source.fetch_all(_COSTS))

    # -- one series, for queries ----------------------------------------------------------------------------------

    async def parts_of(self, series: int, first: int, last: int) -> Slice[Part]:
        """Return the parts of chunks from the hour ``first`` on: those of some hours, up to ``last``."""
        low, limit = chunk_key(0, series), CHUNKS
        rows = await self._source.fetch_all(_FIND_CHUNKS, (first, last, limit, low, low | MAX_PART))
        progress, until = _read_progress(rows, limit, last)
        if until < rows[0][_STATE - 1]:
            # The first hour has more parts than one read returns.
            until = rows[0][_STATE - 1]
            return Slice(progress, until, await self.parts(until, series))
        return Slice(progress, until, [row[_STATE:] for row in _existing(rows, until)])

    async def hours_of(self, series: int, first: int, last: int, limit: int = HOURS) -> Slice[tuple[int, Statistics]]:
        """Return the statistics of at most ``limit`` hours, (first millisecond, statistics), from ``first`` on."""
        rows = await self._source.fetch_all(_FIND_HOURS, (first, last, limit, series))
        progress, until = _read_progress(rows, limit, last)
        starts = ((row[_STATE - 1] * HOUR_MS, row) for row in _existing(rows, until))
        return Slice(progress, until, [(start, from_row(row[_STATE:], start)) for start, row in starts])

    async def hours_together(
        self, series: Sequence[int], first: int, last: int
    ) -> tuple[CompactionProgress, list[tuple[int, Totals]]]:
        """Return the totals of several series in each hour, (first millisecond, totals), from ``first`` to ``last``.

        Values that are not numbers do not count. The progress is that in the same snapshot.
        """
        rows = await self._source.fetch_all(_HOURS_TOGETHER, (first, last, json.dumps(list(series))))
        return _read_totals(rows)

    async def days_together(
        self, series: Sequence[int], days: Sequence[tuple[int, int]]
    ) -> tuple[CompactionProgress, list[tuple[int, Totals]]]:
        """Return the totals of several series in each day, as `hours_together`; days are (first hour, hours)."""
        rows = await self._source.fetch_all(_DAYS_TOGETHER, (json.dumps(list(days)), json.dumps(list(series))))
        return _read_totals(rows)

    async def days_of(self, series: int, first: int, last: int) -> tuple[int | None, dict[tuple[int, int], Statistics]]:
        """Return the first hour of the file, and the statistics of the days that begin in some hours.

        Days are given as (first millisecond, first millisecond after it).
        """
        offset = day_key(series, 0)
        rows = await self._source.fetch_all(
            f"SELECT (SELECT min(id) FROM hours), id, span, {_STATISTICS} FROM sealed"
            " LEFT JOIN days ON id BETWEEN ? AND ?",
            (offset + first, offset + last),
        )
        days = {}
        for _, key, span, *row in rows:
            if key is not None:
                start = (key - offset) * HOUR_MS
                days[start, start + span * HOUR_MS] = from_row(row, start)
        return None if rows[0][0] is None else rows[0][0] >> 32, days

    async def hours_as_json(
        self, series: Sequence[int], first: int, ends: Sequence[int], what: Aggregate
    ) -> list[tuple[str, str]]:
        """Return one statistic of the hours from ``first`` to before the end of each series.

        For each series, up to `MAX_SERIES_PER_QUERY`: a JSON array of times, and one of the statistic with 15 digits.
        """
        columns: list[str] = []
        joins: list[str] = []
        values = [first, max(ends) - 1]
        for number, end in zip(series, ends, strict=True):
            table = f"h{len(joins)}"
            values += [number, end]
            exists = f"{table}.id IS NOT NULL AND hour < ?{len(values)}"
            clamped = _CLAMPED.format(number=_SQL[what].format(table=table))
            columns.append(_JSON_COLUMNS.format(exists=exists, number=clamped))
            joins.append(_JSON_JOIN.format(table=table, series=len(values) - 1))
        sql = _HOURS_AS_JSON.format(columns=", ".join(columns), joins=" ".join(joins))
        [row] = await self._source.fetch_all(sql, values)
        return list(zip(row[::2], row[1::2], strict=True))

    # -- by key ---------------------------------------------------------------------------------------------------

    async def hours(self, keys: Sequence[int]) -> dict[int, Statistics]:
        """Return the statistics of those hours that have any, by key."""
        sql = f"SELECT id, {_STATISTICS} FROM hours WHERE id IN (SELECT value FROM json_each(?))"
        rows = await self._source.fetch_all(sql, (json.dumps(keys),))
        return {key: from_row(row, (key >> 32) * HOUR_MS) for key, *row in rows}

    async def parts(self, hour: int, series: int) -> list[Part]:
        """Return the parts of the chunk of an hour, in their order."""
        sql = "SELECT id, data FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id"
        between = (chunk_key(hour, series), chunk_key(hour, series, MAX_PART))
        return cast("list[Part]", await self._source.fetch_all(sql, between))

    async def newest_parts(self, hours: Sequence[int]) -> dict[int, Part]:
        """Return the newest part of the chunk of each hour, by the key of the hour."""
        rows = await self._source.fetch_all(
            "SELECT k.value, c.id, c.data FROM json_each(?) AS k CROSS JOIN chunks AS c"
            f" ON c.id = (SELECT max(id) FROM chunks WHERE id BETWEEN k.value << 11 AND k.value << 11 | {MAX_PART})",
            (json.dumps(hours),),
        )
        return {hour: (key, data) for hour, key, data in rows}

    async def newest_hour(self, series: int, upto: int) -> Statistics | None:
        """Return the statistics of the newest hour of a series, not after the hour ``upto``."""
        rows = await self._source.fetch_all(_NEWEST_HOUR, (series, upto))
        return from_row(rows[0][1:], rows[0][0] * HOUR_MS) if rows else None

    # -- passes over all rows, in slices --------------------------------------------------------------------------

    async def parts_after(self, key: int, limit: int) -> list[Part]:
        """Return the next parts of chunks, of all series, after a key."""
        sql = "SELECT id, data FROM chunks WHERE id > ? ORDER BY id LIMIT ?"
        return cast("list[Part]", await self._source.fetch_all(sql, (key, limit)))

    async def keys_after(self, key: int, before: int, limit: int) -> list[int]:
        """Return the next keys of parts of chunks, of all series, after a key and before the hour ``before``."""
        sql = "SELECT id FROM chunks WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        return [key for (key,) in await self._source.fetch_all(sql, (key, chunk_key(before, 0), limit))]

    async def hours_after(self, key: int, before: int, limit: int) -> list[tuple[int, int, int]]:
        """Return (key, number of values, newest stamp) of the next hours, of all series, after a key."""
        sql = "SELECT id, n, (id >> 32) * ? + at FROM hours WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        rows = await self._source.fetch_all(sql, (HOUR_MS, key, hour_key(before, 0), limit))
        return cast("list[tuple[int, int, int]]", rows)

    async def latest_after(self, series: int, after: int, upto: int, limit: int) -> list[tuple[int, int]]:
        """Return (series, stamp) of the next latest values with stamps after ``after`` up to ``upto``, by series."""
        sql = "SELECT series, ts FROM latest WHERE series > ? AND ts > ? AND ts <= ? ORDER BY series LIMIT ?"
        return cast("list[tuple[int, int]]", await self._source.fetch_all(sql, (series, after, upto, limit)))

    async def damage(self) -> str | None:
        """Check the small tables and the log; return what is wrong. Raises `Damaged` too."""
        for table in ("migrations", "latest", "sealed", "log"):
            (verdict,), *_ = await self._source.fetch_all(f"PRAGMA quick_check('{table}')")
            if verdict != "ok":
                return str(verdict)
        return None

    async def check_statistics(self, table: Literal["hours", "days"], key: int) -> int | None:
        """Read the next rows of statistics after a key; return the last key, None at the end. Raises `Damaged`."""
        sql = f"SELECT max(id) FROM (SELECT id, n FROM {table} WHERE id > ? ORDER BY id LIMIT {CHECKED_PER_SLICE})"
        [(last,)] = await self._source.fetch_all(sql, (key,))
        return None if last is None else int(last)


class Chunks(ChunkReader):
    """Writes chunks, statistics, latest values and the progress of compaction within a transaction, and reads them."""

    def __init__(self, tx: Transaction) -> None:
        super().__init__(tx)
        self._tx = tx

    async def set_progress(self, progress: CompactionProgress) -> None:
        sql = "UPDATE sealed SET run = ?, since = ?, upto = ?, series = ?, stamp = ?"
        await self._tx.execute(sql, attrs.astuple(progress))

    async def put(self, parts: Sequence[Part]) -> None:
        """Write parts of chunks; a part with the key of a stored one replaces it."""
        await self._tx.upsert_many("chunks", ("id",), ("id", "data"), parts)

    async def replace(self, hour: int, series: int, parts: Sequence[Part]) -> None:
        """Replace the chunk of an hour by other parts, or delete it."""
        between = (chunk_key(hour, series), chunk_key(hour, series, MAX_PART))
        await self._tx.execute("DELETE FROM chunks WHERE id BETWEEN ? AND ?", between)
        await self._tx.insert_many("chunks", ("id", "data"), parts)

    async def put_hours(self, hours: Mapping[int, Statistics]) -> None:
        """Write the statistics of hours, by key."""
        rows = [(key, *to_row(hours[key], (key >> 32) * HOUR_MS)) for key in sorted(hours)]
        await self._tx.upsert_many("hours", ("id",), ("id", *COLUMNS), rows)

    async def delete_hour(self, key: int) -> None:
        """Delete the statistics of an hour."""
        await self._tx.execute("DELETE FROM hours WHERE id = ?", (key,))

    async def put_days(self, days: Iterable[tuple[int, int, int, Statistics]]) -> None:
        """Write the statistics of days, as (series, first hour, number of hours, statistics)."""
        rows = [(day_key(series, hour), span, *to_row(stats, hour * HOUR_MS)) for series, hour, span, stats in days]
        await self._tx.upsert_many("days", ("id",), ("id", "span", *COLUMNS), rows)

    async def delete_days(self, hours: Iterable[int]) -> None:
        """Delete the statistics of the days, in any time zone, that contain some hours, given by their keys."""
        keys = [day_key(key & SERIES_MASK, key >> 32) for key in hours]
        await self._tx.execute(
            "DELETE FROM days WHERE id IN (SELECT d.id FROM json_each(?) AS k CROSS JOIN days AS d"
            f" ON d.id BETWEEN k.value - {LONGEST_DAY} AND k.value AND d.id + d.span > k.value)",
            (json.dumps(keys),),
        )

    async def quarantine(self, key: int) -> None:
        """Move a part of a chunk to the table ``quarantine`` if it is still damaged."""
        row = await self._tx.fetch_one("SELECT data FROM chunks WHERE id = ?", (key,))
        if row is not None and is_whole(key, row[0]):
            return
        sql = "INSERT OR REPLACE INTO quarantine SELECT id, data, unixepoch() FROM chunks WHERE id = ?"
        await self._tx.execute(sql, (key,))
        await self._tx.execute("DELETE FROM chunks WHERE id = ?", (key,))

    async def delete(self, keys: Sequence[int]) -> None:
        """Delete parts of chunks, and leave the statistics of their hours."""
        if keys:
            sql = "DELETE FROM chunks WHERE id IN (SELECT value FROM json_each(?))"
            await self._tx.execute(sql, (json.dumps(keys),))

    async def erase(self, series: Sequence[int], hour: int) -> int | None:
        """Delete everything of some series in a slice of hours, from the hour ``hour`` on.

        Return the hour of the next slice, None at the end.
        """
        [(oldest, newest)] = await self._source.fetch_all("SELECT min(id) >> 32, max(id) >> 32 FROM hours")
        if oldest is None:
            oldest, newest = 0, -1
        hour, newest = max(hour, int(oldest)), int(newest)
        end = min(newest, hour + max(1, ERASED_PER_SLICE // len(series)) - 1)
        with_hours = "WITH RECURSIVE h(hour) AS (VALUES(?) UNION ALL SELECT hour + 1 FROM h WHERE hour < ?)"
        pairs = "h CROSS JOIN json_each(?) AS s"
        values = (hour, end, json.dumps(list(series)))
        await self._tx.execute(
            f"DELETE FROM chunks WHERE id IN ({with_hours} SELECT c.id FROM {pairs} CROSS JOIN chunks AS c"
            f" ON c.id BETWEEN (h.hour << 43) | (s.value << 11) AND (h.hour << 43) | (s.value << 11) | {MAX_PART})",
            values,
        )
        sql = f"DELETE FROM hours WHERE id IN ({with_hours} SELECT h.hour << 32 | s.value FROM {pairs})"
        await self._tx.execute(sql, values)
        if end < newest:
            return end + 1
        for number in series:
            between = (day_key(number, 0), day_key(number + 1, 0) - 1)
            await self._tx.execute("DELETE FROM days WHERE id BETWEEN ? AND ?", between)
            await self.delete_latest(number)
        return None

    async def put_latest(self, latest: Iterable[tuple[int, tuple[int, Value]]]) -> None:
        """Write latest values, as (series, (stamp, value))."""
        rows: list[Row] = [(series, ts, pack(value)) for series, (ts, value) in latest]
        await self._tx.upsert_many("latest", ("series",), ("series", "ts", "v"), rows)

    async def set_latest_stamp(self, series: int, stamp: int) -> None:
        await self._tx.execute("UPDATE latest SET ts = ? WHERE series = ?", (stamp, series))

    async def delete_latest(self, series: int | None = None) -> None:
        """Delete the latest value of a series; of all series if it is None."""
        if series is None:
            await self._tx.execute("DELETE FROM latest")
        else:
            await self._tx.execute("DELETE FROM latest WHERE series = ?", (series,))


def _read_progress(rows: Sequence[Row], limit: int, last: int) -> tuple[CompactionProgress, int]:
    """Return the progress of compaction in the snapshot of some rows, and the last hour that they cover completely.

    Without a further slice that is ``last``.
    """
    segment, since, upto, series, stamp, newest, hour = rows[-1][:_STATE]
    until = last if len(rows) < limit else min(hour, newest) - 1
    return CompactionProgress(segment, since, upto, series, stamp), until


def _read_totals(rows: Sequence[Row]) -> tuple[CompactionProgress, list[tuple[int, Totals]]]:
    """Return the progress of compaction in the snapshot of some rows, and the totals by the first millisecond."""
    totals = [
        (hour * HOUR_MS, Totals(n, low, high, min(max(total, -_LARGEST), _LARGEST)))
        for *_, hour, n, low, high, total in rows
        if hour is not None
    ]
    return CompactionProgress(*rows[0][:5]), totals


def _existing(rows: Iterable[Row], until: int) -> Iterable[Row]:
    """Leave out the hours that have nothing, and those after the hour ``until``."""
    return (row for row in rows if row[_STATE] is not None and row[_STATE - 1] <= until)


def costs_of_file(path: Path) -> list[tuple[int, float]]:
    """Return `ChunkReader.costs` of a history file, whether a hub uses it or not. Raises `StorageError`."""
    return cast("list[tuple[int, float]]", look_into(path, _COSTS))
