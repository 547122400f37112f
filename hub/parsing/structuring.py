"""Structuring of TOML and JSON as attrs classes: strict about types and unknown keys, reporting all errors at once."""

from __future__ import annotations

import heapq
import math
import re
import reprlib
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from hub.errors import MAX_PROBLEMS
from hub.parsing.spellings import as_integer

__all__ = [
    "Duration",
    "ValidationErrors",
    "between",
    "duration_problem",
    "seconds",
    "structure",
]

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}

#: Entries of a list or table, checked before any is structured: twice what any route accepts, whose own message is
#: better.
MAX_ENTRIES = 20_000
#: Unknown keys, and possible keys, that an error lists.
MAX_UNKNOWN, MAX_POSSIBLE = 10, 20


class ValidationErrors(Exception):
    """Data does not fit a class. ``problems`` are pairs of a path such as ``limits.connections`` and an error."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {text}" if path else text for path, text in problems))
        self.problems = problems


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in _WORDS:
        converter.register_structure_hook(kind, _strict(kind))
    converter.register_structure_hook_func(_is_value, lambda raw, _: tuple(raw) if isinstance(raw, list) else raw)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    converter.register_structure_hook_factory(_is_list, _list_hook)
    converter.register_structure_hook_factory(_is_dict, _dict_hook)
    converter.register_structure_hook_factory(_is_checked, _checked_hook)
    converter.register_structure_hook_func(lambda kind: kind == str | float, _text_or_number)
    return converter


def _class_hook(cls: type[Any], converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Structure a class from a table; text does not count as a table of letters."""
    renamed: dict[str, Any] = {field.name: override(rename=_own_name(field)) for field in attrs.fields(cls)}
    hook = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, **renamed)

    def structure(raw: Any, _: Any) -> Any:
        if not isinstance(raw, dict):
            raise TypeError(f"must be a table, not {_short(raw)}")
        return hook(raw, cls)

    return structure


def _is_value(kind: Any) -> bool:
    """Whether a type is a union of scalars and of tuples of them, as the value of a datastream."""
    return isinstance(kind, UnionType) and any(get_origin(member) is tuple for member in get_args(kind))


def _is_checked(kind: Any) -> bool:
    return get_origin(kind) is Annotated and any(map(callable, kind.__metadata__))


def _checked_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Structure an ``Annotated`` type whose metadata are functions that check the value and raise ValueError."""
    inner = get_args(kind)[0]
    hook, checks = converter.get_structure_hook(inner), [check for check in kind.__metadata__ if callable(check)]

    def structure(raw: Any, _: Any) -> Any:
        value = hook(raw, inner)
        for check in checks:
            check(value)
        return value

    return structure


def _text_or_number(raw: Any, _: Any) -> str | float:
    if type(raw) is not str and not _is_number(raw):
        raise TypeError(f"must be text or a number, not {_short(raw)}")
    value: str | float = raw
    return value


def _is_number(raw: Any) -> bool:
    """Whether a value is a number that JSON, SQLite and arithmetic can all represent."""
    return math.isfinite(raw) if type(raw) is float else _is_whole(raw)


def _is_whole(raw: Any) -> bool:
    return type(raw) is int and abs(raw) < 2**63


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 100


def _short(raw: Any) -> str:
    """Return a value's shortened ``repr`` for a message."""
    if isinstance(raw, int) and abs(raw) >= 10**100:
        return "a very large number"
    return _repr.repr(raw)


def _is_list(kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    return origin is list or (origin is tuple and arguments[1:] == (...,))


def _is_dict(kind: Any) -> bool:
    return get_origin(kind) is dict


def _list_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Structure a list or tuple from a list; text does not count as a list of letters."""
    entry = get_args(kind)[0]
    hook = converter.get_structure_hook(entry)

    def structure(raw: Any, _: Any) -> Any:
        if not isinstance(raw, list):
            raise TypeError(f"must be a list, not {_short(raw)}")
        _check_size(raw)
        return get_origin(kind)(_each(kind, enumerate(raw), lambda item: hook(item, entry)))

    return structure


def _dict_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    key, value = get_args(kind)
    key_hook, value_hook = converter.get_structure_hook(key), converter.get_structure_hook(value)

    def structure(raw: Any, _: Any) -> Any:
        if not isinstance(raw, dict):
            raise TypeError(f"must be a table, not {_short(raw)}")
        _check_size(raw)
        pairs = ((name, (name, item)) for name, item in raw.items())
        return dict(_each(kind, pairs, lambda pair: (key_hook(pair[0], key), value_hook(pair[1], value))))

    return structure


def _check_size(raw: list[Any] | dict[Any, Any]) -> None:
    if len(raw) > MAX_ENTRIES:
        raise TypeError(f"has {len(raw)} entries; at most {MAX_ENTRIES} are possible")


def _each(kind: Any, items: Iterable[tuple[Any, Any]], convert: Callable[[Any], Any]) -> list[Any]:
    """Convert (place, item) pairs. Raises `IterableValidationError` after `MAX_PROBLEMS` bad items."""
    converted, errors = [], []
    for place, item in items:
        try:
            converted.append(convert(item))
        except Exception as error:  # noqa: BLE001 - cattrs reports all of them
            error.add_note(IterableValidationNote(f"Structuring {kind} @ {place!r}", place, kind))
            errors.append(error)
            if len(errors) == MAX_PROBLEMS:
                break
    if errors:
        raise IterableValidationError(f"While structuring {kind}", errors, kind)
    return converted


def _strict(kind: type) -> Any:
    def structure(raw: Any, _: Any) -> Any:
        if kind is int and (number := as_integer(raw)) is not None:
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


def _own_name(field: attrs.Attribute[Any]) -> str:
    """Return the key of a field: ``from_`` is ``from``, which is a keyword of Python."""
    return field.name.removesuffix("_")


def structure(
    data: Any,
    cls: type[T],
    using: cattrs.Converter = converter,
    key_of: Callable[[attrs.Attribute[Any]], str] = _own_name,
) -> T:
    """Return ``data`` as an instance of ``cls``; ``key_of`` maps fields to keys. Raises `ValidationErrors`."""
    if attrs.has(cls) and not isinstance(data, dict):
        raise ValidationErrors([("", f"must be a table, not {_short(data)}")])
    try:
        return using.structure(data, cls)
    except cattrs.BaseValidationError as error:
        problems = _problems(error, key_of)
        _drop_frames(error)
    # Not inside ``except``: the error's context would keep the data alive.
    raise ValidationErrors(problems)


def _problems(
    error: cattrs.BaseValidationError, key_of: Callable[[attrs.Attribute[Any]], str]
) -> list[tuple[str, str]]:
    def message(error: BaseException, kind: type | None) -> str:
        return _message(error, kind, key_of)

    messages = cattrs.transform_error(error, path="", format_exception=message)
    split = (message.rpartition(" @ ") for message in messages[:MAX_PROBLEMS])
    problems = [(path.removeprefix("."), text) for text, _, path in split]
    if len(messages) > MAX_PROBLEMS:
        problems.append(("", f"and {len(messages) - MAX_PROBLEMS} more problems"))
    return problems


def _drop_frames(error: BaseException) -> None:
    """Remove the tracebacks of a group of errors.

    A frame that collects errors is part of their tracebacks. Such a cycle would keep the data, and everything made of
    it, until the garbage collector runs, which is seldom.
    """
    pending = [error]
    while pending:
        current = pending.pop()
        current.__traceback__ = None
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions


def _message(error: BaseException, kind: type | None, key_of: Callable[[attrs.Attribute[Any]], str]) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    if isinstance(error, AttributeError):
        # cattrs looked for keys in something that is not a table.
        return "must be a table"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        names = heapq.nsmallest(MAX_UNKNOWN, error.extra_fields)
        rest = len(error.extra_fields) - len(names)
        unknown = f"unknown key {', '.join(map(_shorten, names))}{f' and {rest} more' if rest else ''}"
        possible = list(map(key_of, attrs.fields(error.cl))) if attrs.has(error.cl) else []
        listed = ", ".join(possible[:MAX_POSSIBLE])
        return f"{unknown}; there are {listed}{', …' if possible[MAX_POSSIBLE:] else ''}"
    # In `Literal[…] | None` it is the first part.
    literal = next((part for part in (kind, *get_args(kind)) if get_origin(part) is Literal), None)
    if literal is not None and not str(error).startswith("must"):
        return f"must be one of {', '.join(map(str, get_args(literal)))}"
    return str(error)


def _shorten(key: str) -> str:
    return key if len(key) <= 100 else key[:100] + "…"


def duration_problem(text: str, low: float = 0, high: float = float("inf")) -> str | None:
    """Return what is wrong with a duration of ``low`` to ``high`` seconds, or None; "" is no duration, and valid."""
    if not text:
        return None
    try:
        value = seconds(text)
    except ValueError as error:
        return str(error)
    if not low <= value <= high:
        return f"must be {low:g} s to {high:g} s, not {text}"
    return None


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> float:
    """Return the seconds of a duration such as ``500ms``, ``5s``, ``10m``, ``2h``, ``90d``. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,9})(ms|s|m|h|d)", text)
    if match is None:
        raise ValueError(f"must be a duration such as 500ms, 5s, 10m, 2h or 90d, not {text!r}")
    return int(match[1]) * _UNITS[match[2]]


#: The type of a setting that is a duration; see `seconds`.
Duration = Annotated[str, seconds]


def between(low: float, high: float) -> Callable[[float], None]:
    """Return a check for the type of a setting, which raises ValueError; both limits are allowed."""

    def check(value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"must be {low} to {high}, not {value}")

    return check
