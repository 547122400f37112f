"""Correcting the stamps of a clock that was wrong: which stamps, by how much, and in which columns of the database.

The history corrects values itself (`hub.history.repair`). All other times are in columns that their owners declare with
`StampColumns`; one transaction corrects all of them, so that no column is corrected twice.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from hub.storage import Transaction

#: Later than any stamp.
NEVER = 1 << 62


@attrs.frozen
class Correction:
    """Stamps after ``cutoff`` are wrong (milliseconds UTC).

    With a ``shift`` they are that many milliseconds too late. What is shifted is at or before the cutoff then, and
    stamps after ``cutoff + shift`` are left alone, so a correction that is repeated corrects nothing twice. Without a
    shift, values and events are dropped, and other times become the cutoff.

    With a ``device``, only that device's stamps are corrected.
    """

    cutoff: int
    shift: int | None = None
    device: int | None = None

    @property
    def end(self) -> int:
        """The last stamp that is corrected."""
        return NEVER if self.shift is None else self.cutoff + self.shift

    def affects(self, stamp: int) -> bool:
        return self.cutoff < stamp <= self.end

    def corrected(self, stamp: int) -> int:
        """Return the corrected time."""
        if not self.affects(stamp):
            return stamp
        return self.cutoff if self.shift is None else stamp - self.shift

    def corrected_end(self, end: int, stamp: int) -> int:
        """Return the corrected end of something whose length was set at ``stamp``."""
        return end - (stamp - self.corrected(stamp))

    def is_about(self, device: int | None) -> bool:
        """Whether it corrects the stamps of a device; with None, of things that belong to no device."""
        return self.device is None or self.device == device


@attrs.frozen
class StampColumns:
    """Columns of a table in the configuration file that hold times, in milliseconds UTC.

    ``stamp`` is an SQL expression for the time when a row got its times, if that is another one: an end that lies in
    the future is no sign of a wrong clock. ``device`` is an SQL expression for the device that a row belongs to; rows
    without one are left alone when only one device is repaired. ``dropped`` rows are deleted instead of corrected when
    stamps are dropped, ``removed`` ones always.
    """

    table: str
    columns: tuple[str, ...]
    stamp: str = ""
    device: str = ""
    dropped: bool = False
    removed: bool = False


def _conditions(columns: StampColumns, correction: Correction) -> Iterable[tuple[tuple[str, ...], str, str]]:
    """Yield (columns, their stamp, condition of the affected rows) of each statement that corrects a table."""
    if correction.device is not None and not columns.device:
        return
    belongs = "" if correction.device is None else f" AND {columns.device} = ?3"
    each = [(columns.columns, columns.stamp)] if columns.stamp else [((name,), name) for name in columns.columns]
    for names, stamp in each:
        yield names, stamp, f"({stamp}) > ?1 AND ({stamp}) <= ?2{belongs}"


def _values(correction: Correction) -> list[int]:
    return [correction.cutoff, correction.end, *(() if correction.device is None else (correction.device,))]


async def find(tx: Transaction, columns: StampColumns, correction: Correction) -> tuple[int, int]:
    """Return (number of times after a correction's cutoff, the newest of them) in a table; (0, 0) without any.

    Columns that depend on another stamp are not counted: they prove nothing.
    """
    count = newest = 0
    correction = attrs.evolve(correction, shift=None)
    for _, stamp, where in () if columns.stamp else _conditions(columns, correction):
        sql = f"SELECT count(*), max({stamp}) FROM {columns.table} WHERE {where}"
        [(number, last)] = await tx.fetch_all(sql, _values(correction))
        count, newest = count + number, max(newest, last or 0)
    return count, newest


async def correct(tx: Transaction, columns: StampColumns, correction: Correction) -> None:
    """Correct the columns of a table."""
    by = "({stamp}) - ?1" if correction.shift is None else str(correction.shift)
    for names, stamp, where in _conditions(columns, correction):
        if columns.removed or (correction.shift is None and columns.dropped):
            await tx.execute(f"DELETE FROM {columns.table} WHERE {where}", _values(correction))
            continue
        sets = ", ".join(f"{name} = {name} - ({by.format(stamp=stamp)})" for name in names)
        await tx.update_replacing(columns.table, sets, where, _values(correction))
