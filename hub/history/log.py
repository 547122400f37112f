"""The log on disk: a row for each commit, with all values of it packed side by side.

A batch is, packed: one byte for each value, with its kind and its flags; the series (32 bits each); the stamps (32 bits
each above the smallest one, which stands before them all, or 64 bits where that is not enough); the floats and then the
whole numbers (64 bits each); and what is neither, as a JSON array. The last four bytes are a CRC over the number of the
batch and all of it. Numbers are little-endian.
"""

from __future__ import annotations

import json
import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import compress, repeat
from math import isnan
from operator import add, or_, sub
from typing import Any

from hub.history.keys import EVERY_SERIES
from hub.model import Value
from hub.storage import Transaction
from hub.values import unpack

log = logging.getLogger(__name__)

#: Series, stamp in milliseconds UTC, value, flags.
Entry = tuple[int, int, Value, int]

#: Bits of the flags: the value became the latest of its series; the hub's clock stamped it.
LATEST, STAMPED = 1, 2
BOTH = LATEST | STAMPED
#: Kinds of values, in the bits above the flags.
_FLOAT, _INT, _OTHER = 0, 4, 8
_KINDS: dict[type, int] = {float: _FLOAT, int: _INT, str: _OTHER, tuple: _OTHER}
#: What a packed batch begins with: the form, which says how wide its stamps are, and the smallest of them.
_HEAD = struct.Struct("<Bq")
_NARROW, _WIDE = 1, 2
#: Values read, and deleted, in one go: some milliseconds; and batches, however small.
SLICE = 20_000
BATCHES = 5_000


class Unpackable(Exception):
    """A value among others that no file takes: NaN, half of a character."""


class DamagedBatch(Exception):
    """The bytes are not those that were written."""


# -- packing ----------------------------------------------------------------------------------------------------------


def pack_batch(number: int, entries: Sequence[Entry]) -> bytes:
    """The batch ``number`` of at least one entry. Raises `Unpackable`."""
    series, stamps, values, flags = zip(*entries, strict=True)
    count = len(entries)
    try:
        kinds = [_FLOAT] * count if set(map(type, values)) == {float} else [_KINDS[type(value)] for value in values]
        smallest = min(stamps)
        form, width = (_NARROW, "I") if max(stamps) - smallest < 1 << 32 else (_WIDE, "q")
        above = map(sub, stamps, repeat(smallest)) if form == _NARROW else stamps
        parts = [
            _HEAD.pack(form, smallest),
            bytes(map(or_, kinds, flags)),
            struct.pack(f"<{count}I", *series),
            struct.pack(f"<{count}{width}", *above),
        ]
        if len(floats := _of_kind(values, kinds, _FLOAT)):
            if isnan(sum(floats)) and any(map(isnan, floats)):
                raise ValueError("NaN is no number")
            parts.append(struct.pack(f"<{len(floats)}d", *floats))
        if len(whole := _of_kind(values, kinds, _INT)):
            parts.append(struct.pack(f"<{len(whole)}q", *whole))
        if len(others := _of_kind(values, kinds, _OTHER)):
            parts.append(json.dumps(others, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())
    except (ValueError, OverflowError, KeyError, struct.error) as error:
        raise Unpackable(str(error)) from error
    data = b"".join(parts)
    return data + _crc(number, data)


def unpack_batch(number: int, count: int, data: bytes) -> list[Entry]:
    """What `packed` made of ``count`` entries. Raises `DamagedBatch`."""
    body = data[:-4]
    if _crc(number, body) != data[-4:]:
        raise DamagedBatch("its checksum does not fit")
    form, smallest = _HEAD.unpack_from(body)
    kinds_and_flags = body[_HEAD.size : (at := _HEAD.size + count)]
    series = struct.unpack_from(f"<{count}I", body, at)
    at += 4 * count
    if form == _NARROW:
        stamps = tuple(map(add, struct.unpack_from(f"<{count}I", body, at), repeat(smallest)))
        at += 4 * count
    else:
        stamps = struct.unpack_from(f"<{count}q", body, at)
        at += 8 * count
    kinds = [byte & ~BOTH for byte in kinds_and_flags]
    columns: dict[int, Iterator[Value]] = {}
    for kind, code in ((_FLOAT, "d"), (_INT, "q")):
        numbers = struct.unpack_from(f"<{kinds.count(kind)}{code}", body, at)
        columns[kind] = iter(numbers)
        at += 8 * len(numbers)
    others = json.loads(body[at:]) if at < len(body) else []
    columns[_OTHER] = (tuple(value) if isinstance(value, list) else value for value in others)
    values = [next(columns[kind]) for kind in kinds]
    return list(zip(series, stamps, values, (byte & BOTH for byte in kinds_and_flags), strict=True))


def _of_kind(values: Sequence[Value], kinds: list[int], kind: int) -> Sequence[Any]:
    """The values of one kind, in their order; most often they are all of one."""
    count = kinds.count(kind)
    if count in (0, len(values)):
        return values if count else ()
    return list(compress(values, map(kind.__eq__, kinds)))


def _crc(number: int, data: bytes) -> bytes:
    return zlib.crc32(data, zlib.crc32(number.to_bytes(8, "big"))).to_bytes(4, "big")


# -- the table --------------------------------------------------------------------------------------------------------


async def append(tx: Transaction, number: int, entries: Sequence[Entry]) -> dict[int, Exception]:
    """Write a batch, once, however often it is tried; returns what could not be packed, by its place, and why."""
    bad: dict[int, Exception] = {}
    try:
        data = pack_batch(number, entries)
    except Unpackable:
        good = []
        for place, entry in enumerate(entries):
            try:
                pack_batch(number, [entry])
                good.append(entry)
            except Unpackable as error:
                bad[place] = error
        if not good:
            return bad
        entries, data = good, pack_batch(number, good)
    sql = "INSERT INTO log (number, n, data) VALUES (?, ?, ?) ON CONFLICT (number) DO NOTHING"
    await tx.execute(sql, (number, len(entries), data))
    return bad


async def read(tx: Transaction, after: int, upto: int) -> tuple[list[Entry], int | None]:
    """Some entries of the batches after one number up to another; and the last of these, None at the end."""
    last = await _slice(tx, after, upto)
    entries: list[Entry] = []
    if last is not None:
        sql = "SELECT number, n, data FROM log WHERE number > ? AND number <= ? ORDER BY number"
        for number, count, data in await tx.fetch_all(sql, (after, last)):
            try:
                entries += unpack_batch(number, count, data)
            except DamagedBatch as error:
                log.error("storage: %d values of the log are damaged (%s) and are left out", count, error)
    return entries, last


async def prune(tx: Transaction, upto: int) -> bool:
    """Delete some batches up to a number, oldest first; True when there are more."""
    last = await _slice(tx, 0, upto)
    if last is None:
        return False
    await tx.execute("DELETE FROM log WHERE number <= ?", (last,))
    return last < upto


async def _slice(tx: Transaction, after: int, upto: int) -> int | None:
    """The last batch of those that hold `SLICE` values together, or of one; None when there is none."""
    sql = "SELECT number, n FROM log WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"
    last, total = None, 0
    for number, count in await tx.fetch_all(sql, (after, upto, BATCHES)):
        total += count
        if last is not None and total > SLICE:
            break
        last = number
    return last


async def newest(tx: Transaction) -> int:
    """The number of the newest batch, 0 when there is none."""
    row = await tx.fetch_one("SELECT max(number) FROM log")
    return 0 if row is None or row[0] is None else int(row[0])


async def pack_rows(tx: Transaction) -> None:
    """Pack what an earlier version left: a table with a row for each value, numbered by the database.

    What is in chunks already is left out, but for a run of which not every series is.
    """
    if not await tx.fetch_all("SELECT 1 FROM sqlite_master WHERE name = 'hot'"):
        return
    [(since, upto, series)] = await tx.fetch_all("SELECT since, upto, series FROM sealed")
    number, row = 0, upto if series == EVERY_SERIES else since
    for end in (upto, EVERY_SERIES):
        sql = "SELECT id, series, ts, v, flags FROM hot WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
        while rows := await tx.fetch_all(sql, (row, end, BATCHES)):
            number, row = number + 1, rows[-1][0]
            await append(tx, number, [(s, ts, unpack(v), flags) for _, s, ts, v, flags in rows])
        if end == upto:
            await tx.execute("UPDATE sealed SET since = 0, upto = ?", (number,))
    await tx.execute("DROP TABLE hot")
