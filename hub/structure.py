"""From TOML and JSON to attrs classes: strict about types and unknown keys, and everything wrong is said at once."""

from __future__ import annotations

import math
import re
import types
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs

from hub.model import Value
from hub.spellings import whole

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class Invalid(Exception):
    """Data does not have the shape of a class. ``problems`` are (path like ``limits.connections``, what is wrong)."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {text}" if path else text for path, text in problems))
        self.problems = problems


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in _WORDS:
        converter.register_structure_hook(kind, _strict(kind))
    for union in (Value, Value | None):
        converter.register_structure_hook(union, lambda raw, _: tuple(raw) if isinstance(raw, list) else raw)
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _listed(converter, kind))
    converter.register_structure_hook_func(lambda kind: kind == str | float, _text_or_number)
    return converter


def _text_or_number(raw: Any, _: Any) -> str | float:
    if type(raw) is not str and not _is_number(raw):
        raise TypeError(f"must be text or a number, not {_short(raw)}")
    found: str | float = raw
    return found


def _is_number(raw: Any) -> bool:
    """Whether it is a number that JSON, SQLite and arithmetic can all have."""
    return math.isfinite(raw) if type(raw) is float else _is_whole(raw)


def _is_whole(raw: Any) -> bool:
    return type(raw) is int and abs(raw) < 2**63


def _short(raw: Any) -> str:
    text = repr(raw) if not isinstance(raw, int) or abs(raw) < 10**100 else "a very large number"
    return text if len(text) <= 100 else text[:100] + "…"


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


def _listed(converter: cattrs.Converter, kind: Any) -> Any:
    """A list as a tuple; text is not taken for a list of letters."""
    items: Any = types.GenericAlias(list, get_args(kind)[:1])

    def structure(raw: Any, _: Any) -> Any:
        if not isinstance(raw, list):
            raise TypeError(f"must be a list, not {raw!r}")
        return tuple(converter.structure(raw, items))

    return structure


def _strict(kind: type) -> Any:
    def structure(raw: Any, _: Any) -> Any:
        if kind is int and (number := whole(raw)) is not None:
            raw = number
        fits = type(raw) is kind
        if kind is float:
            fits = _is_number(raw)
        elif kind is int:
            fits = _is_whole(raw)
        if not fits:
            raise TypeError(f"must be {_WORDS[kind]}, not {_short(raw)}")
        return raw

    return structure


converter = _converter()


def structure(data: Any, cls: type[T], using: cattrs.Converter = converter) -> T:
    """``data`` as an instance of ``cls``. Raises `Invalid`."""
    if attrs.has(cls) and not isinstance(data, dict):
        raise Invalid([("", f"must be a table, not {data!r}")])
    try:
        return using.structure(data, cls)
    except cattrs.BaseValidationError as error:
        messages = cattrs.transform_error(error, path="", format_exception=_message)
        split = (message.rpartition(" @ ") for message in messages)
        raise Invalid([(path.removeprefix("."), text) for text, _, path in split]) from error


def _message(error: BaseException, kind: type | None) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown key {', '.join(sorted(error.extra_fields))}"
    # Of `Literal[…] | None` it is the first part.
    literal = next((one for one in (kind, *get_args(kind)) if get_origin(one) is Literal), None)
    if literal is not None and not str(error).startswith("must"):
        return f"must be one of {', '.join(map(str, get_args(literal)))}"
    return str(error)


def duration_problem(text: str, least: float = 0, most: float = float("inf")) -> str | None:
    """What is wrong with a duration that must be ``least`` to ``most`` seconds; "" is none and always right."""
    if not text:
        return None
    try:
        value = seconds(text)
    except ValueError as error:
        return str(error)
    if not least <= value <= most:
        return f"must be {least:g} s to {most:g} s, not {text}"
    return None


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> float:
    """A duration such as ``500ms``, ``5s``, ``10m``, ``2h``, ``90d`` in seconds. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,9})(ms|s|m|h|d)", text)
    if found is None:
        raise ValueError(f"must be a duration such as 500ms, 5s, 10m, 2h or 90d, not {text!r}")
    return int(found[1]) * _UNITS[found[2]]
