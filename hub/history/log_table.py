"""The commit log on disk: one row for each commit, with all its values packed side by side.

A packed batch has these parts, with little-endian numbers:

- the form, which gives the width of the stamps, and the smallest stamp;
- one byte for each value: its kind and its flags;
- the series, 32 bits each;
- the stamps, as 32-bit differences from the smallest stamp, or as 64 bits each if 32 are not enough;
- the floats, 64 bits each, then the integers, 64 bits each;
- all other values, as a JSON array;
- a CRC of four bytes over the number of the batch and all of the above.
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

#: Bits of the flags: the value became the latest of its series; the hub's clock gave the stamp.
LATEST, STAMPED = 1, 2
BOTH = LATEST | STAMPED
#: Kinds of values, in the bits above the flags.
_FLOAT, _INT, _OTHER = 0, 4, 8
_KINDS: dict[type, int] = {float: _FLOAT, int: _INT, str: _OTHER, tuple: _OTHER}
#: The beginning of a packed batch: the form, and the smallest stamp.
_HEAD = struct.Struct("<Bq")
_NARROW, _WIDE = 1, 2
#: Values, and batches of any size, that are read or deleted in one transaction: some milliseconds.
SLICE = 20_000
BATCHES = 5_000


class Unpackable(Exception):
    """A batch with a value that cannot be stored, such as NaN or a lone surrogate."""


class DamagedBatch(Exception):
    """A batch whose bytes are not those that were written."""


# -- packing ----------------------------------------------------------------------------------------------------------


def pack_batch(number: int, entries: Sequence[Entry]) -> bytes:
    """Pack at least one entry as the batch ``number``. Raises `Unpackable`."""
    series, stamps, values, flags = zip(*entries, strict=True)
    count = len(entries)
    try:
        kinds = [_FLOAT] * count if set(map(type, values)) == {float} else [_KINDS[type(value)] for value in values]
        smallest = min(stamps)
        form, width = (_NARROW, "I") if max(stamps) - smallest < 1 << 32 else (_WIDE, "q")
        offsets = map(sub, stamps, repeat(smallest)) if form == _NARROW else stamps
        parts = [
            _HEAD.pack(form, smallest),
            bytes(map(or_, kinds, flags)),
            struct.pack(f"<{count}I", *series),
            struct.pack(f"<{count}{width}", *offsets),
        ]
        if len(floats := _select_kind(values, kinds, _FLOAT)):
            if isnan(sum(floats)) and any(map(isnan, floats)):
                raise ValueError("NaN is not a number")
            parts.append(struct.pack(f"<{len(floats)}d", *floats))
        if len(integers := _select_kind(values, kinds, _INT)):
            parts.append(struct.pack(f"<{len(integers)}q", *integers))
        if len(others := _select_kind(values, kinds, _OTHER)):
            parts.append(json.dumps(others, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())
    except (ValueError, OverflowError, KeyError, struct.error) as error:
        raise Unpackable(str(error)) from error
    data = b"".join(parts)
    return data + _crc(number, data)


def unpack_batch(number: int, count: int, data: bytes) -> list[Entry]:
    """Return the ``count`` entries that `pack_batch` packed. Raises `DamagedBatch`."""
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


def _select_kind(values: Sequence[Value], kinds: list[int], kind: int) -> Sequence[Any]:
    """Return the values of one kind, in their order; in most batches all values have the same kind."""
    count = kinds.count(kind)
    if count in (0, len(values)):
        return values if count else ()
    return list(compress(values, map(kind.__eq__, kinds)))


def _crc(number: int, data: bytes) -> bytes:
    return zlib.crc32(data, zlib.crc32(number.to_bytes(8, "big"))).to_bytes(4, "big")


# -- the table --------------------------------------------------------------------------------------------------------


async def append(tx: Transaction, number: int, entries: Sequence[Entry]) -> dict[int, Exception]:
    """Write a batch; a batch that is already in the log is not written again.

    Return the reasons for entries that cannot be packed and were left out, by their index.
    """
    failures: dict[int, Exception] = {}
    try:
        data = pack_batch(number, entries)
    except Unpackable:
        packable = []
        for index, entry in enumerate(entries):
            try:
                pack_batch(number, [entry])
                packable.append(entry)
            except Unpackable as error:
                failures[index] = error
        if not packable:
            return failures
        entries, data = packable, pack_batch(number, packable)
    sql = "INSERT INTO log (number, n, data) VALUES (?, ?, ?) ON CONFLICT (number) DO NOTHING"
    await tx.execute(sql, (number, len(entries), data))
    return failures


async def read(tx: Transaction, after: int, upto: int) -> tuple[list[Entry], int | None]:
    """Read a slice of the batches after the number ``after`` up to ``upto``.

    Return their entries, and the number of the last batch of the slice, None at the end.
    """
    last = await _end_of_slice(tx, after, upto)
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
    """Delete a slice of the batches up to a number, oldest first; return whether there are more."""
    last = await _end_of_slice(tx, 0, upto)
    if last is None:
        return False
    await tx.execute("DELETE FROM log WHERE number <= ?", (last,))
    return last < upto


async def _end_of_slice(tx: Transaction, after: int, upto: int) -> int | None:
    """Return the last batch of a slice of up to `SLICE` values, but of at least one batch; None without a batch."""
    sql = "SELECT number, n FROM log WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"
    last, total = None, 0
    for number, count in await tx.fetch_all(sql, (after, upto, BATCHES)):
        total += count
        if last is not None and total > SLICE:
            break
        last = number
    return last


async def newest(tx: Transaction) -> int:
    """Return the number of the newest batch, or 0."""
    row = await tx.fetch_one("SELECT max(number) FROM log")
    return 0 if row is None or row[0] is None else int(row[0])


async def pack_rows(tx: Transaction) -> None:
    """Convert the log of an earlier version, a table with a row for each value, numbered by the database.

    Values that are in chunks are left out, except those of a segment whose compaction is not complete.
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
