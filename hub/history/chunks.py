"""The encoding of chunks: columns of differences, packed into as few bits as they need. Pure functions.

A chunk holds points of one series and one hour, in a few bytes each. It begins with a byte for the kind of its
contents, then the number of points, a column of stamps and a column of values; it ends with a CRC over itself and its
key.

A column of whole numbers is stored as its first number, the smallest difference between neighbours (or, if that is
shorter, the smallest number), and for each number the bits by which it is above that. Fractional numbers are stored as
whole numbers if a power of ten converts them without loss; a sensor's ``21.3`` is stored as 213.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate, chain, groupby, repeat
from operator import or_, sub, truediv
from typing import Any, cast

import attrs

from hub.model import Value
from hub.values import pack, unpack

Point = tuple[int, Value]
Number = int | float

MINUTE_MS, HOUR_MS = 60_000, 3_600_000

#: The first byte of a chunk; its highest bit is set if the rest is deflated.
_NUMBERS, _OTHERS, _MINUTES, _DEFLATED = 1, 2, 3, 0x80
#: The first byte of a column of numbers: digits after the point, with `_FLOATS` if the numbers are floats; or
#: `_DOUBLES` for 8 bytes each.
_FLOATS, _DOUBLES = 0x10, 0x20
#: The library prints a float with seven digits after the point (`BlynkParam.h`).
MAX_DIGITS = 7
_ABSOLUTE = 0x80
DAMAGED = "its checksum does not fit"
#: Whole numbers up to here are exact as floats.
_EXACT = 2**53


class BadChunk(Exception):
    """A chunk whose bytes are not those that were written."""


@attrs.define
class Statistics:
    """Statistics of some points. ``last`` is the value with the newest stamp, ``at``.

    Values that are not numbers count only if none of the values is a number.
    """

    count: int
    min: Number | None
    max: Number | None
    sum: Number | None
    last: Value
    at: int

    @property
    def avg(self) -> float | None:
        return None if self.sum is None else self.sum / self.count


@attrs.frozen
class Totals:
    """Statistics of the numbers of several series together, at least one."""

    count: int
    min: Number
    max: Number
    sum: Number

    @property
    def avg(self) -> float:
        return self.sum / self.count


def totals(values: Sequence[Value]) -> Totals | None:
    """Return the totals of those values that are numbers, or None."""
    numbers = values if isinstance(values, array) else [value for value in values if type(value) in (int, float)]
    if not numbers:
        return None
    counted = cast("Sequence[Number]", numbers)
    return Totals(len(counted), min(counted), max(counted), _total(counted))


def combine_totals(parts: Iterable[Totals]) -> Totals:
    """Return the totals of all numbers of several sets, given the totals of each set."""
    first, *others = parts
    if not others:
        return first
    every = (first, *others)
    return Totals(
        sum(part.count for part in every),
        min(part.min for part in every),
        max(part.max for part in every),
        _total([part.sum for part in every]),
    )


def statistics(points: Sequence[Point]) -> Statistics:
    """Return the statistics of at least one point; the points are in the order of their stamps."""
    at, last = points[-1]
    numbers = [value for _, value in points]
    if not set(map(type, numbers)) <= {int, float}:
        numbers = [value for value in numbers if type(value) in (int, float)]
    if not numbers:
        return Statistics(len(points), None, None, None, last, at)
    if len(numbers) < len(points):
        at, last = next(point for point in reversed(points) if type(point[1]) in (int, float))
    counted = cast("list[Number]", numbers)
    return Statistics(len(counted), min(counted), max(counted), _total(counted), last, at)


def combine(parts: Iterable[Statistics]) -> Statistics:
    """Return the statistics of all points of several sets, given the statistics of each set."""
    stats = list(parts)
    if any(part.sum is not None for part in stats):
        stats = [part for part in stats if part.sum is not None]
    if len(stats) == 1:
        return stats[0]
    newest = max(stats, key=lambda part: part.at)
    count = sum(part.count for part in stats)
    if newest.sum is None:
        return Statistics(count, None, None, None, newest.last, newest.at)
    sums = [cast("Number", part.sum) for part in stats]
    lowest, highest = (cast("list[Number]", [getattr(part, name) for part in stats]) for name in ("min", "max"))
    return Statistics(count, min(lowest), max(highest), _total(sums), newest.last, newest.at)


def combine_minutes(rows: Iterable[tuple[int, Statistics]]) -> list[tuple[int, Statistics]]:
    """Combine the statistics that have the same minute; return them in the order of their minutes."""
    by_minute: dict[int, list[Statistics]] = {}
    for minute, part in rows:
        by_minute.setdefault(minute, []).append(part)
    return [(minute, combine(parts)) for minute, parts in sorted(by_minute.items())]


def _total(numbers: Sequence[Number]) -> Number:
    if set(map(type, numbers)) == {int}:
        return sum(numbers)
    try:
        return math.fsum(numbers)
    except OverflowError:
        # JSON cannot encode infinity.
        return math.copysign(sys.float_info.max, sum(number / 2 for number in numbers))


def statistics_by_minute(points: Iterable[Point]) -> list[tuple[int, Statistics]]:
    """Return the statistics of each minute, with its first millisecond; the points are in the order of their stamps."""
    by_minute = groupby(points, lambda point: point[0] - point[0] % MINUTE_MS)
    return [(minute, statistics(list(group))) for minute, group in by_minute]


# -- chunks -----------------------------------------------------------------------------------------------------------


def encode(key: int, points: Sequence[Point]) -> bytes:
    """Encode points, which are in the order of their stamps, as the chunk with the key ``key``."""
    stamps, values = map(list, zip(*points, strict=True))
    if set(map(type, values)) in ({int}, {float}):
        numbers = _encode_numbers(cast("list[Number]", values))
        return _finish(key, _NUMBERS, _varint(len(points)) + _encode_column(stamps) + numbers)
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return _finish(key, _OTHERS, _varint(len(points)) + _encode_column(stamps) + text)


def encode_minutes(key: int, rows: Sequence[tuple[int, Statistics]]) -> bytes:
    """Encode the result of `statistics_by_minute`; if some minutes have numbers, without the minutes that have none."""
    rows = [row for row in rows if row[1].sum is not None] or rows
    parts = [_varint(len(rows)), _encode_column([minute // MINUTE_MS for minute, _ in rows])]
    parts.append(_encode_column([stats.count for _, stats in rows]))
    parts.append(_encode_column([stats.at - minute for minute, stats in rows]))
    if all(stats.sum is not None for _, stats in rows):
        parts.append(b"\1")
        # With one value in each minute, all four columns are the same.
        is_shared = all(stats.count <= 1 for _, stats in rows)
        names = ("last",) if is_shared else ("last", "min", "max", "sum")
        parts += [_encode_numbers([getattr(stats, name) for _, stats in rows]) for name in names]
    else:
        parts += [b"\0", json.dumps([stats.last for _, stats in rows], ensure_ascii=False).encode()]
    return _finish(key, _MINUTES, b"".join(parts))


def decode(key: int, chunk: bytes) -> list[Point] | list[tuple[int, Statistics]]:
    """Return the points of a chunk, or its statistics by minute. Raises `BadChunk`."""
    kind, body = _open(key, chunk)
    at, count = _read_varint(body, 0)
    stamps, at = _read_column(body, at, count)
    if kind == _NUMBERS:
        numbers, _ = _read_numbers(body, at, count)
        return cast("list[Point]", list(zip(stamps, numbers, strict=True)))
    if kind == _OTHERS:
        return [(stamp, _from_json(value)) for stamp, value in zip(stamps, json.loads(body[at:]), strict=True)]
    counts, at = _read_column(body, at, count)
    ages, at = _read_column(body, at, count)
    starts = [stamp * MINUTE_MS for stamp in stamps]
    newest = [start + age for start, age in zip(starts, ages, strict=True)]
    if not body[at]:
        others = zip(counts, map(_from_json, json.loads(body[at + 1 :])), newest, strict=True)
        stats = [Statistics(n, None, None, None, last, stamp) for n, last, stamp in others]
    else:
        last, at = _read_numbers(body, at + 1, count)
        columns: list[list[Number]] = []
        for _ in range(3 if at < len(body) else 0):
            column, at = _read_numbers(body, at, count)
            columns.append(column)
        lowest, highest, sums = columns or (last, last, last)
        rows = zip(counts, lowest, highest, sums, last, newest, strict=True)
        stats = [Statistics(*row) for row in rows]
    return list(zip(starts, stats, strict=True))


def read_count(key: int, chunk: bytes) -> int | None:
    """Return the number of points in a chunk; None if it has statistics by minute. Raises `BadChunk`."""
    kind, body = _open(key, chunk)
    return None if kind == _MINUTES else _read_varint(body, 0)[1]


def read_stamps(key: int, chunk: bytes) -> list[tuple[int, int]]:
    """Return (stamp, number of points) for each point of a chunk, or for each minute with its newest stamp.

    Raises `BadChunk`.
    """
    kind, body = _open(key, chunk)
    at, count = _read_varint(body, 0)
    stamps, at = _read_column(body, at, count)
    if kind != _MINUTES:
        return [(stamp, 1) for stamp in stamps]
    counts, at = _read_column(body, at, count)
    ages, at = _read_column(body, at, count)
    return [(stamp * MINUTE_MS + age, number) for stamp, age, number in zip(stamps, ages, counts, strict=True)]


def _from_json(value: object) -> Value:
    return tuple(value) if isinstance(value, list) else cast("Value", value)


def _finish(key: int, kind: int, body: bytes) -> bytes:
    """Return a chunk with its first byte and its CRC; the body is deflated if that is shorter."""
    deflated = zlib.compress(body, 6, wbits=-15)
    if len(deflated) < len(body):
        kind, body = kind | _DEFLATED, deflated
    chunk = bytes((kind,)) + body
    return chunk + _crc(key, chunk)


def is_whole(key: int, chunk: bytes) -> bool:
    """Whether a chunk has the bytes that were written with this key."""
    return len(chunk) >= 5 and _crc(key, chunk[:-4]) == chunk[-4:]


def _open(key: int, chunk: bytes) -> tuple[int, bytes]:
    """Return the kind of a chunk and its inflated body. Raises `BadChunk`."""
    if not is_whole(key, chunk):
        raise BadChunk(DAMAGED)
    kind, body = chunk[0], chunk[1:-4]
    if kind & _DEFLATED:
        return kind & ~_DEFLATED, zlib.decompress(body, wbits=-15)
    return kind, body


def _crc(key: int, chunk: bytes) -> bytes:
    return zlib.crc32(chunk, zlib.crc32(key.to_bytes(8, "big"))).to_bytes(4, "big")


# -- statistics as rows -----------------------------------------------------------------------------------------------

#: The columns of `to_row`.
COLUMNS = ("n", "low", "high", "total", "last", "at")


def to_row(stats: Statistics, start: int) -> tuple[Any, ...]:
    """Return the columns of a row. The stamp counts from ``start``: SQLite stores small numbers in fewer bytes."""
    return (stats.count, stats.min, stats.max, stats.sum, pack(stats.last), stats.at - start)


def from_row(row: Sequence[Any], start: int) -> Statistics:
    """Return the statistics that `to_row` encoded."""
    count, low, high, total, last, at = row
    return Statistics(count, low, high, total, unpack(last), start + at)


# -- columns ----------------------------------------------------------------------------------------------------------


def _encode_numbers(numbers: Sequence[Number]) -> bytes:
    if set(map(type, numbers)) == {int}:
        return bytes((0,)) + _encode_column(cast("Sequence[int]", numbers))
    if max(map(abs, numbers)) < _EXACT and (whole := list(map(int, numbers))) == numbers and 0 not in whole:
        return bytes((_FLOATS,)) + _encode_column(whole)
    for digits in range(MAX_DIGITS + 1):
        # In most series the first number has as many digits as all others.
        scale = 10**digits
        if abs(numbers[0]) * scale < _EXACT and round(numbers[0] * scale) / scale != numbers[0]:
            continue
        if max(map(abs, numbers)) * scale >= _EXACT:
            break
        whole = list(map(round, map(float(scale).__mul__, numbers)))
        exact = list(map(truediv, whole, repeat(scale))) == numbers
        if exact and not (0 in whole and any(map(_is_negative_zero, numbers))):
            return bytes((digits | _FLOATS,)) + _encode_column(whole)
    return bytes((_DOUBLES,)) + struct.pack(f"<{len(numbers)}d", *numbers)


def _is_negative_zero(number: Number) -> bool:
    return number == 0 and math.copysign(1, number) < 0


def _read_numbers(body: bytes, at: int, count: int) -> tuple[list[Number], int]:
    form = body[at]
    if form == _DOUBLES:
        end = at + 1 + 8 * count
        return list(struct.unpack(f"<{count}d", body[at + 1 : end])), end
    whole, at = _read_column(body, at + 1, count)
    if form & _FLOATS:
        scale = 10 ** (form & ~_FLOATS)
        return [number / scale for number in whole], at
    return cast("list[Number]", whole), at


def _encode_column(numbers: Sequence[int]) -> bytes:
    first = numbers[0]
    differences = list(map(sub, numbers[1:], numbers))
    base, bits = _spread(differences)
    # In an ascending column the differences to the first number never need fewer bits than those between neighbours.
    absolute, absolute_bits = (first, bits) if base >= 0 else _spread(numbers)
    if absolute_bits < bits:
        head = bytes((_ABSOLUTE | absolute_bits,)) + _zigzag(absolute)
        return head + _encode_bits(map(sub, numbers, repeat(absolute)), len(numbers), absolute_bits)
    head = bytes((bits,)) + _zigzag(first) + _zigzag(base)
    return head + _encode_bits(map(sub, differences, repeat(base)), len(differences), bits)


def _spread(numbers: Sequence[int]) -> tuple[int, int]:
    """Return the smallest number, and how many bits the difference of the largest number from it has."""
    if not numbers:
        return 0, 0
    lowest = min(numbers)
    bits = (max(numbers) - lowest).bit_length()
    assert bits <= 64, "stamps, and values as whole numbers, have no more"
    return lowest, bits


def _read_column(body: bytes, at: int, count: int) -> tuple[list[int], int]:
    bits = body[at]
    if bits & _ABSOLUTE:
        at, lowest = _read_zigzag(body, at + 1)
        above, at = _read_bits(body, at, bits & ~_ABSOLUTE, count)
        return [lowest + number for number in above], at
    at, first = _read_zigzag(body, at + 1)
    at, base = _read_zigzag(body, at)
    above, at = _read_bits(body, at, bits, count - 1)
    return list(accumulate((base + number for number in above), initial=first)), at


def _planes(bits: int) -> list[int]:
    """Return the widths of the planes for numbers of ``bits`` bits, lowest first: whole bytes, then 1, 2, 4 or 8 bits.

    A column is thus read with one look-up for each byte, not for each bit.
    """
    rest = bits % 8
    return [8] * (bits // 8) + [1 << (rest - 1).bit_length()] * bool(rest)


def _encode_bits(numbers: Iterable[int], count: int, bits: int) -> bytes:
    """Encode ``count`` numbers of up to 64 ``bits`` in the layout of `_planes`.

    The numbers are packed side by side; a plane is every eighth byte, so that no loop over single numbers is needed.
    """
    packed = struct.pack(f"<{count}Q", *numbers)
    out = []
    for number, width in enumerate(_planes(bits)):
        plane = packed[number::8]
        if width < 8:
            each = 8 // width
            plane += bytes(-count % each)
            # Shift all bytes at once, as one long number: their bits do not overlap.
            shifted = (int.from_bytes(plane[n::each]) << 8 - width * (n + 1) for n in range(each))
            plane = reduce(or_, shifted).to_bytes(len(plane) // each)
        out.append(plane)
    return b"".join(out)


def _read_bits(body: bytes, at: int, bits: int, count: int) -> tuple[Sequence[int], int]:
    numbers: Sequence[int] = ()
    shift = 0
    for width in _planes(bits):
        size = -(-count * width // 8)
        plane: Sequence[int] = body[at : at + size]
        if width < 8:
            plane = list(chain.from_iterable(map(_UNPACKED[width].__getitem__, plane)))[:count]
        numbers = [low | high << shift for low, high in zip(numbers, plane, strict=True)] if shift else plane
        at, shift = at + size, shift + width
    return numbers if bits else [0] * count, at


#: For numbers of 1, 2 or 4 bits: the numbers in each byte.
_UNPACKED = {
    width: [tuple(byte >> shift & (1 << width) - 1 for shift in range(8 - width, -1, -width)) for byte in range(256)]
    for width in (1, 2, 4)
}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while body[at] & 0x80:
        number |= (body[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return at + 1, number | body[at] << shift


def _zigzag(number: int) -> bytes:
    return _varint(2 * number if number >= 0 else -2 * number - 1)


def _read_zigzag(body: bytes, at: int) -> tuple[int, int]:
    at, number = _read_varint(body, at)
    return at, -(number + 1) // 2 if number & 1 else number // 2
