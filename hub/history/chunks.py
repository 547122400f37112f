"""How points are kept for good: columns of differences, packed into as few bits as they need. Pure functions.

A chunk holds points of one series and one hour, a few bytes each. It begins with a byte that says what it holds, then
the number of points, a column of stamps and one of values; it ends with a CRC over itself and the key it is kept under.

A column of whole numbers is the first number, the smallest difference (or, when that is shorter, the smallest number),
and what each is above that, in bits. Numbers with a point are kept as whole numbers when a power of ten makes them
whole, exactly; a sensor's ``21.3`` is 213.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib
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

#: The first byte of a chunk; its highest bit says that the rest is deflated.
_NUMBERS, _OTHERS, _MINUTES, _DEFLATED = 1, 2, 3, 0x80
#: The first byte of a column of numbers: digits after the point, and whether the numbers are floats; or doubles as is.
_FLOATS, _DOUBLES = 0x10, 0x20
#: The library prints a float with seven digits after the point (`BlynkParam.h`).
MAX_DIGITS = 7
_ABSOLUTE = 0x80
DAMAGED = "its checksum does not fit"
#: Whole numbers up to here are exact as floats.
_EXACT = 2**53


class BadChunk(Exception):
    """The bytes are not those that were written."""


@attrs.define
class Statistics:
    """Of some points: ``last`` has the newest stamp, ``at``. What is no number counts only where nothing is one."""

    count: int
    min: Number | None
    max: Number | None
    sum: Number | None
    last: Value
    at: int

    @property
    def avg(self) -> float | None:
        return None if self.sum is None else self.sum / self.count


def statistics(points: Sequence[Point]) -> Statistics:
    """Of points in the order of their stamps, at least one."""
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


def combine(several: Iterable[Statistics]) -> Statistics:
    """Of all points that ``several`` are of."""
    found = list(several)
    if any(one.sum is not None for one in found):
        found = [one for one in found if one.sum is not None]
    if len(found) == 1:
        return found[0]
    newest = max(found, key=lambda one: one.at)
    count = sum(one.count for one in found)
    if newest.sum is None:
        return Statistics(count, None, None, None, newest.last, newest.at)
    sums = [cast("Number", one.sum) for one in found]
    lowest, highest = (cast("list[Number]", [getattr(one, name) for one in found]) for name in ("min", "max"))
    return Statistics(count, min(lowest), max(highest), _total(sums), newest.last, newest.at)


def _total(numbers: Sequence[Number]) -> Number:
    if set(map(type, numbers)) == {int}:
        return sum(numbers)
    try:
        return math.fsum(numbers)
    except OverflowError:
        # JSON has no infinity.
        return math.copysign(sys.float_info.max, sum(number / 2 for number in numbers))


def minutes(points: Iterable[Point]) -> list[tuple[int, Statistics]]:
    """Points in the order of their stamps, by the beginning of their minute."""
    by_minute = groupby(points, lambda point: point[0] - point[0] % MINUTE_MS)
    return [(minute, statistics(list(group))) for minute, group in by_minute]


# -- chunks -----------------------------------------------------------------------------------------------------------


def encode(key: int, points: Sequence[Point]) -> bytes:
    """A chunk of points in the order of their stamps, to be kept under ``key``."""
    stamps, values = map(list, zip(*points, strict=True))
    if set(map(type, values)) in ({int}, {float}):
        return _sealed(key, _NUMBERS, _varint(len(points)) + _column(stamps) + _numbers(cast("list[Number]", values)))
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return _sealed(key, _OTHERS, _varint(len(points)) + _column(stamps) + text)


def encode_minutes(key: int, rows: Sequence[tuple[int, Statistics]]) -> bytes:
    """A chunk of what `minutes` found; where some are numbers, without those that are none."""
    rows = [row for row in rows if row[1].sum is not None] or rows
    parts = [_varint(len(rows)), _column([minute // MINUTE_MS for minute, _ in rows])]
    parts += [_column([one.count for _, one in rows]), _column([one.at - minute for minute, one in rows])]
    if all(one.sum is not None for _, one in rows):
        parts.append(b"\1")
        # With one value in each minute they are all the same, and so is their column.
        several = any(one.count > 1 for _, one in rows)
        for name in ("last", "min", "max", "sum") if several else ("last",):
            parts.append(_numbers([getattr(one, name) for _, one in rows]))
    else:
        parts += [b"\0", json.dumps([one.last for _, one in rows], ensure_ascii=False).encode()]
    return _sealed(key, _MINUTES, b"".join(parts))


def decode(key: int, chunk: bytes) -> list[Point] | list[tuple[int, Statistics]]:
    """The points of a chunk, or what `minutes` found. Raises `BadChunk`."""
    kind, body = _opened(key, chunk)
    at, count = _read_varint(body, 0)
    stamps, at = _read_column(body, at, count)
    if kind == _NUMBERS:
        numbers, _ = _read_numbers(body, at, count)
        return cast("list[Point]", list(zip(stamps, numbers, strict=True)))
    if kind == _OTHERS:
        return [(stamp, _value(value)) for stamp, value in zip(stamps, json.loads(body[at:]), strict=True)]
    counts, at = _read_column(body, at, count)
    ages, at = _read_column(body, at, count)
    starts = [stamp * MINUTE_MS for stamp in stamps]
    newest = [start + age for start, age in zip(starts, ages, strict=True)]
    if not body[at]:
        others = zip(counts, map(_value, json.loads(body[at + 1 :])), newest, strict=True)
        found = [Statistics(n, None, None, None, last, stamp) for n, last, stamp in others]
    else:
        last, at = _read_numbers(body, at + 1, count)
        columns: list[list[Number]] = []
        for _ in range(3 if at < len(body) else 0):
            column, at = _read_numbers(body, at, count)
            columns.append(column)
        lowest, highest, sums = columns or (last, last, last)
        rows = zip(counts, lowest, highest, sums, last, newest, strict=True)
        found = [Statistics(*row) for row in rows]
    return list(zip(starts, found, strict=True))


def count_of(key: int, chunk: bytes) -> int | None:
    """How many points a chunk holds, None where it holds minutes. Raises `BadChunk`."""
    kind, body = _opened(key, chunk)
    return None if kind == _MINUTES else _read_varint(body, 0)[1]


def stamps_of(key: int, chunk: bytes) -> list[tuple[int, int]]:
    """The stamp of each point of a chunk, and 1; of minutes the newest stamp and how many points. Raises `BadChunk`."""
    kind, body = _opened(key, chunk)
    at, count = _read_varint(body, 0)
    stamps, at = _read_column(body, at, count)
    if kind != _MINUTES:
        return [(stamp, 1) for stamp in stamps]
    counts, at = _read_column(body, at, count)
    ages, at = _read_column(body, at, count)
    return [(stamp * MINUTE_MS + age, number) for stamp, age, number in zip(stamps, ages, counts, strict=True)]


def _value(value: object) -> Value:
    return tuple(value) if isinstance(value, list) else cast("Value", value)


def _sealed(key: int, kind: int, body: bytes) -> bytes:
    deflated = zlib.compress(body, 6, wbits=-15)
    if len(deflated) < len(body):
        kind, body = kind | _DEFLATED, deflated
    chunk = bytes((kind,)) + body
    return chunk + _crc(key, chunk)


def is_whole(key: int, chunk: bytes) -> bool:
    """Whether the bytes are those that were written under this key."""
    return len(chunk) >= 5 and _crc(key, chunk[:-4]) == chunk[-4:]


def _opened(key: int, chunk: bytes) -> tuple[int, bytes]:
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


def row_of(one: Statistics, start: int) -> tuple[Any, ...]:
    """As SQLite keeps them, of a span that begins at ``start``: a smaller number takes fewer bytes."""
    return (one.count, one.min, one.max, one.sum, pack(one.last), one.at - start)


def of_row(row: Sequence[Any], start: int) -> Statistics:
    """What `to_row` made."""
    count, low, high, total, last, at = row
    return Statistics(count, low, high, total, unpack(last), start + at)


# -- columns ----------------------------------------------------------------------------------------------------------


def _numbers(numbers: Sequence[Number]) -> bytes:
    if set(map(type, numbers)) == {int}:
        return bytes((0,)) + _column(cast("Sequence[int]", numbers))
    if max(map(abs, numbers)) < _EXACT and (whole := list(map(int, numbers))) == numbers and 0 not in whole:
        return bytes((_FLOATS,)) + _column(whole)
    for digits in range(MAX_DIGITS + 1):
        # Most often the first number tells how many digits there are.
        scale = 10**digits
        if abs(numbers[0]) * scale < _EXACT and round(numbers[0] * scale) / scale != numbers[0]:
            continue
        if max(map(abs, numbers)) * scale >= _EXACT:
            break
        whole = list(map(round, map(float(scale).__mul__, numbers)))
        exact = list(map(truediv, whole, repeat(scale))) == numbers
        if exact and not (0 in whole and any(map(_is_negative_zero, numbers))):
            return bytes((digits | _FLOATS,)) + _column(whole)
    return bytes((_DOUBLES,)) + struct.pack(f"<{len(numbers)}d", *numbers)


def _is_negative_zero(number: Number) -> bool:
    return number == 0 and math.copysign(1, number) < 0


def _read_numbers(body: bytes, at: int, count: int) -> tuple[list[Number], int]:
    how = body[at]
    if how == _DOUBLES:
        end = at + 1 + 8 * count
        return list(struct.unpack(f"<{count}d", body[at + 1 : end])), end
    whole, at = _read_column(body, at + 1, count)
    if how & _FLOATS:
        scale = 10 ** (how & ~_FLOATS)
        return [number / scale for number in whole], at
    return cast("list[Number]", whole), at


def _column(numbers: Sequence[int]) -> bytes:
    first = numbers[0]
    differences = list(map(sub, numbers[1:], numbers))
    base, bits = _spread(differences)
    # Where no number is smaller than the one before, all are above the first by more than each above its neighbour.
    absolute, absolute_bits = (first, bits) if base >= 0 else _spread(numbers)
    if absolute_bits < bits:
        head = bytes((_ABSOLUTE | absolute_bits,)) + _zigzag(absolute)
        return head + _bits(map(sub, numbers, repeat(absolute)), len(numbers), absolute_bits)
    head = bytes((bits,)) + _zigzag(first) + _zigzag(base)
    return head + _bits(map(sub, differences, repeat(base)), len(differences), bits)


def _spread(numbers: Sequence[int]) -> tuple[int, int]:
    """(the smallest number, bits that the others need above it); more bits than a byte can say are not for us."""
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
    """How ``bits`` are laid out, lowest first: whole bytes, then 1, 2, 4 or 8 bits for the rest.

    So a column is read with one look-up per byte, not one per bit.
    """
    rest = bits % 8
    return [8] * (bits // 8) + [1 << (rest - 1).bit_length()] * bool(rest)


def _bits(numbers: Iterable[int], count: int, bits: int) -> bytes:
    """``count`` numbers of so many bits, at most 64, as `_planes` lays them out.

    A plane is every eighth byte of the numbers side by side; so no number is looked at by itself.
    """
    packed = struct.pack(f"<{count}Q", *numbers)
    out = []
    for number, width in enumerate(_planes(bits)):
        plane = packed[number::8]
        if width < 8:
            each = 8 // width
            plane += bytes(-count % each)
            # All bytes at once, as one long number: none has bits where another one is put.
            shifted = (int.from_bytes(plane[n::each]) << 8 - width * (n + 1) for n in range(each))
            plane = reduce(or_, shifted).to_bytes(len(plane) // each)
        out.append(plane)
    return b"".join(out)


def _read_bits(body: bytes, at: int, bits: int, count: int) -> tuple[Sequence[int], int]:
    found: Sequence[int] = ()
    shift = 0
    for width in _planes(bits):
        size = -(-count * width // 8)
        plane: Sequence[int] = body[at : at + size]
        if width < 8:
            plane = list(chain.from_iterable(map(_UNPACKED[width].__getitem__, plane)))[:count]
        found = [low | high << shift for low, high in zip(found, plane, strict=True)] if shift else plane
        at, shift = at + size, shift + width
    return found if bits else [0] * count, at


#: What a byte holds that is made of numbers of so many bits.
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
