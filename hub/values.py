"""Values of datastreams: coercion of what came in to the datastream's type, and back to text. Pure functions.

The rules, in order: a wrong type is rejected; a number outside min and max is clamped; an enum value that is not in
the list becomes the fallback, or is rejected without one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from hub.errors import WrongType
from hub.model import Datastream, Scalar, Value
from hub.parsing import spellings

__all__ = [
    "MAX_STRING",
    "MISMATCH",
    "Raw",
    "coerce",
    "describe_choices",
    "from_label",
    "is_text",
    "pack",
    "text_of",
    "texts_of",
    "to_json",
    "unpack",
]

INT32 = range(-(2**31), 2**31)
#: Bytes of UTF-8 in one string (docs.blynk.io, Limits, Hardware).
MAX_STRING = 1024

MISMATCH = "Value doesn't match the Datastream data type."

#: A value as it came in: text from a wire, or parsed JSON.
Raw = str | float | bool | Sequence[Any]


def coerce(datastream: Datastream, raw: Raw) -> Value:
    """Coerce ``raw`` to the datastream's type. Raises `WrongType`.

    Several values (a multi-value array) are a list or tuple; a list of one is that value. Numbers may have padding
    (`hub.parsing.spellings`); text stays as it is.
    """
    convert = _COERCE[datastream.type]
    if isinstance(raw, str) and datastream.type != "location":
        return convert(datastream, raw)
    if isinstance(raw, (list, tuple)):
        if len(raw) > 1 and datastream.type != "string":
            raw = _without_padding(raw)
        if datastream.type == "location":
            return _location(raw)
        if len(raw) == 1:
            return convert(datastream, raw[0])
        if not raw:
            raise WrongType(MISMATCH)
        values = tuple(convert(datastream, item) for item in raw)
        if sum(len(text_of(value).encode()) + 1 for value in values) > MAX_STRING:
            raise WrongType(f"Value is longer than {MAX_STRING} bytes.")
        return values
    if datastream.type == "location":
        return _location(_split_location(raw))
    return convert(datastream, raw)


def _mismatch(error: ValueError) -> WrongType:
    """Return the error for text that is not a number, with the reader's hint."""
    return WrongType(f"{MISMATCH} {error}".rstrip())


def _without_padding(values: Sequence[Any]) -> Sequence[Any]:
    """Remove empty values at the end: the NUL that ends a text looks like the separator of two values."""
    end = len(values)
    while end > 1 and isinstance(last := values[end - 1], str) and spellings.is_blank(last):
        end -= 1
    return values[:end]


def _integer(datastream: Datastream, raw: Any) -> Scalar:
    number = _whole(raw)
    if datastream.min is not None and number < datastream.min:
        return math.ceil(datastream.min)
    if datastream.max is not None and number > datastream.max:
        return math.floor(datastream.max)
    return number


def _whole(raw: Any) -> int:
    if isinstance(raw, str):
        try:
            number = spellings.integer(raw)
        except ValueError as error:
            raise _mismatch(error) from None
    elif isinstance(raw, (int, float)) and raw == raw // 1:
        number = int(raw)
    else:
        raise WrongType(MISMATCH)
    if number not in INT32:
        raise WrongType(MISMATCH)
    return number


def _double(datastream: Datastream, raw: Any) -> Scalar:
    number = _real(raw)
    lowest, highest = datastream.min, datastream.max
    if lowest is not None and number < lowest:
        return float(lowest)
    if highest is not None and number > highest:
        return float(highest)
    return number


def _real(raw: Any) -> float:
    if isinstance(raw, str):
        try:
            number = spellings.decimal(raw)
        except ValueError as error:
            raise _mismatch(error) from None
    elif isinstance(raw, (int, float)):
        try:
            number = float(raw)
        except OverflowError:
            raise WrongType(MISMATCH) from None
    else:
        raise WrongType(MISMATCH)
    if not math.isfinite(number):
        raise WrongType(MISMATCH)
    return number


def _string(_datastream: Datastream, raw: Any) -> Scalar:
    if not isinstance(raw, str):
        raw = text_of(raw) if isinstance(raw, (int, float)) and not isinstance(raw, bool) else None
    if raw is None:
        raise WrongType(MISMATCH)
    try:
        size = len(raw) if raw.isascii() else len(raw.encode())
    except UnicodeEncodeError:
        raise WrongType("Value is not UTF-8 text.") from None
    if size > MAX_STRING:
        raise WrongType(f"Value is longer than {MAX_STRING} bytes.")
    return str(raw)


def _enum(datastream: Datastream, raw: Any) -> Scalar:
    number = _whole(raw)
    if number in datastream.values:
        return number
    if datastream.fallback is None:
        raise WrongType(MISMATCH)
    return datastream.fallback


def from_label(datastream: Datastream, raw: Raw) -> Raw:
    """Return the number of an enum's label, in any case if that is unique; else ``raw``.

    Devices send numbers only (docs.blynk.io, Enum).
    """
    if isinstance(raw, (list, tuple)):
        return [from_label(datastream, item) for item in raw]
    if datastream.type != "enum" or not isinstance(raw, str):
        return raw
    with suppress(ValueError):
        spellings.integer(raw)
        return raw
    for fold in (str.strip, lambda text: str.strip(text).casefold()):
        numbers = [number for number, label in datastream.values.items() if fold(label) == fold(raw)]
        if len(numbers) == 1:
            return numbers[0]
    return raw


def describe_choices(datastream: Datastream) -> str:
    """Return the values of an enum in words: ``0 (Off) or 1 (On)``."""
    choices = [f"{number} ({label})" for number, label in datastream.values.items()]
    return " or ".join(filter(None, (", ".join(choices[:-1]), *choices[-1:])))


def _location(raw: Sequence[Any]) -> Value:
    if len(raw) == 1:
        raw = _split_location(raw[0])
    if len(raw) != 2:
        raise WrongType(MISMATCH)
    longitude, latitude = _real(raw[0]), _real(raw[1])
    if abs(longitude) > 180 or abs(latitude) > 90:
        raise WrongType(MISMATCH)
    return (longitude, latitude)


def _split_location(raw: Any) -> Sequence[str]:
    return raw.split(",") if isinstance(raw, str) else ()


_COERCE: dict[str, Callable[[Datastream, Any], Scalar]] = {
    "integer": _integer,
    "double": _double,
    "string": _string,
    "enum": _enum,
    "location": _double,
}


def is_text(text: str) -> bool:
    """Whether a string can be encoded as UTF-8: JSON and old wires can have lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_of(value: Scalar) -> str:
    """Return the shortest text that reads back as the value: ``100``, ``100.0``, ``21.5``."""
    return value if isinstance(value, str) else repr(value)


def texts_of(value: Value) -> tuple[str, ...]:
    """Return one text for each element of a value."""
    if isinstance(value, tuple):
        return tuple(map(text_of, value))
    return (text_of(value),)


def to_json(value: Value) -> Any:
    """Return a value as JSON's type: an array for a tuple."""
    return list(value) if isinstance(value, tuple) else value


def pack(value: Value) -> int | float | str | bytes:
    """Return a value as SQLite stores it: scalars unchanged, an array as a blob of JSON."""
    return json.dumps(value).encode() if isinstance(value, tuple) else value


def unpack(stored: float | str | bytes) -> Value:
    """Return the value that `pack` packed."""
    return tuple(json.loads(stored)) if isinstance(stored, bytes) else stored
