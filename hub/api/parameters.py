"""Parameters of a route, read from its handler's signature, and the type of its answer.

``async def devices(request: Request, *, page: int = 0, org_id: int | None = None) -> DeviceList`` takes ``page`` and
``orgId`` from the query and answers 200 with a `DeviceList`: the types that mypy checks are those that clients read in
the OpenAPI document. An argument of an attrs class stands for its fields.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import unquote_plus

import attrs

from hub.api.schema import camel
from hub.errors import Rejected
from hub.parsing.spellings import unit_hint

#: Digits of a whole number, and the largest such number.
MAX_DIGITS = 15
MAX_WHOLE = 10**MAX_DIGITS - 1
#: Parameters that the answer to an unknown one lists.
MAX_LISTED = 20
#: Times are below 2109, in milliseconds UTC.
MAX_TIME = 2**42 - 1


@attrs.frozen
class Between:
    """The limits of a number, in ``Annotated[int, Between(1, 1000)]``; both are allowed."""

    low: int
    high: int


class Timestamp:
    """The mark of a point in time, in `Time`."""


#: Milliseconds UTC, which a client may also give as ISO 8601.
Time = Annotated[int, Timestamp()]


@attrs.frozen
class Parameter:
    """One parameter of the query. ``argument`` is the handler's argument; ``read`` raises `Rejected`.

    ``group`` is the argument and attrs class of which the parameter is a field, if it is one.
    """

    name: str
    argument: str
    type: Any
    required: bool
    default: Any
    read: Callable[[str], Any]
    group: tuple[str, type] | None = None


def parameters(handler: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return a handler's parameters: all its arguments but the first, which is the request."""
    if (method := getattr(handler, "__func__", None)) is not None:
        return _parameters_of_method(method)
    return _parameters(handler, 1)


# A start of the hub reads the signatures of all routes, which takes longer than anything else in it.
@lru_cache(maxsize=1024)
def _parameters_of_method(method: Callable[..., Any]) -> tuple[Parameter, ...]:
    return _parameters(method, 2)


def _parameters(handler: Callable[..., Any], skipped: int) -> tuple[Parameter, ...]:
    declared: list[Parameter] = []
    for argument, value in list(inspect.signature(handler).parameters.items())[skipped:]:
        kind = resolve_annotation(value.annotation, handler)
        if attrs.has(kind):
            fields, group = attrs.fields(attrs.resolve_types(kind)), (argument, kind)
            declared += [_parameter(field.name, field.type, field.default, attrs.NOTHING, group) for field in fields]
        else:
            declared.append(_parameter(argument, kind, value.default, inspect.Parameter.empty))
    return tuple(declared)


def _parameter(
    argument: str, kind: Any, default: Any, missing: Any, group: tuple[str, type] | None = None
) -> Parameter:
    name, required = camel(argument), default is missing
    return Parameter(name, argument, kind, required, None if required else default, _reader(name, kind), group)


def return_type(handler: Callable[..., Any]) -> Any:
    """Return a handler's annotated return type; `Any` without an annotation, or one that is not there at run time."""
    annotation = inspect.signature(handler).return_annotation
    try:
        return Any if annotation is inspect.Signature.empty else resolve_annotation(annotation, handler)
    except NameError:
        return Any


def resolve_annotation(annotation: Any, handler: Callable[..., Any]) -> Any:
    """Return the type that a handler's annotation names: modules have annotations as text."""
    function = inspect.unwrap(getattr(handler, "__func__", handler))
    return eval(annotation, function.__globals__) if isinstance(annotation, str) else annotation  # noqa: S307 - our own


def arguments(declared: Sequence[Parameter], query: str) -> dict[str, Any]:
    """Return a handler's arguments, read from a query. Raises `Rejected`, naming everything that is wrong."""
    several = frozenset(parameter.name for parameter in declared if get_origin(parameter.type) is tuple)
    given, problems = split(query, several), []
    result: dict[str, Any] = {}
    groups: dict[tuple[str, type], dict[str, Any]] = {}
    for parameter in declared:
        into = result if parameter.group is None else groups.setdefault(parameter.group, {})
        text = given.pop(parameter.name, None)
        if text is None:
            if parameter.required:
                problems.append(f"{parameter.name} is missing")
            else:
                into[parameter.argument] = parameter.default
            continue
        try:
            into[parameter.argument] = parameter.read(text)
        except Rejected as error:
            problems.append(str(error))
    names = ", ".join([parameter.name for parameter in declared][:MAX_LISTED]) or "none"
    problems += [f"there is no parameter {name[:60]!r}; there are {names}" for name in given]
    if problems:
        raise Rejected("; ".join(problems))
    return result | {argument: cls(**values) for (argument, cls), values in groups.items()}


def split(query: str, several: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return a query's parameters. Raises `Rejected` when one is repeated, and when the query is not UTF-8.

    Those in ``several`` may be repeated, as OpenAPI clients send lists; their texts are joined with commas.
    """
    values: dict[str, str] = {}
    for part in query.split("&"):
        if part:
            key, _, value = part.partition("=")
            try:
                name = unquote_plus(key, errors="strict")
                text = unquote_plus(value, errors="strict")
                if name not in values:
                    values[name] = text
                elif name in several:
                    values[name] += f",{text}"
                else:
                    raise Rejected(f"{name[:60]} is there twice")
            except UnicodeDecodeError as error:
                raise Rejected("The query is not UTF-8.") from error
    return values


def optional(kind: Any) -> tuple[Any, bool]:
    """Return ``X | None`` as X, and whether the type was such a union."""
    if get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind):
        rest = [arg for arg in get_args(kind) if arg is not type(None)]
        return rest[0] if len(rest) == 1 else Union[tuple(rest)], True  # noqa: UP007 - made at run time
    return kind, False


def _reader(name: str, kind: Any) -> Callable[[str], Any]:
    kind, _ = optional(kind)
    limits: Sequence[Any] = ()
    if get_origin(kind) is Annotated:
        kind, *limits = get_args(kind)
    if any(isinstance(limit, Timestamp) for limit in limits):
        return lambda text: parse_timestamp(text, name)
    if get_origin(kind) is Literal:
        return lambda text: _one_of(text, name, get_args(kind))
    if get_origin(kind) is tuple:
        item = _reader(name, get_args(kind)[0])
        return lambda text: tuple(item(part) for part in text.split(",") if part)
    simple: Mapping[Any, Callable[[str, str], Any]] = {int: _whole, bool: _boolean, str: lambda text, _: text}
    if (read := simple.get(str if kind is inspect.Parameter.empty else kind)) is None:
        raise TypeError(f"{name} cannot be a parameter of a query: it is {kind!r}")
    between = next((limit for limit in limits if isinstance(limit, Between)), None)
    if between is None:
        return lambda text: read(text, name)
    return lambda text: _within(read(text, name), name, between)


def _whole(text: str, name: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_DIGITS:
        raise Rejected(f"{name} must be a whole number")
    return int(text)


def _within(value: int, name: str, between: Between) -> int:
    if not between.low <= value <= between.high:
        raise Rejected(f"{name} must be {between.low} to {between.high}")
    return value


def _boolean(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise Rejected(f"{name} must be true or false")
    return text == "true"


def _one_of(text: str, name: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise Rejected(f"{name} must be one of {', '.join(allowed)}")
    return text


def parse_timestamp(text: str, name: str) -> int:
    """Parse a timestamp: milliseconds UTC, or ISO 8601, which is UTC unless it names a zone. Raises `Rejected`."""
    hint = ""
    if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS:
        at, hint = int(text), unit_hint(int(text))
    else:
        try:
            parsed = datetime.fromisoformat(text)
            at = int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            raise Rejected(
                f"{name} must be milliseconds since 1970 or a time such as 2026-11-24T12:00:00Z or 2026-11-24"
            ) from None
    if not 0 <= at <= MAX_TIME:
        raise Rejected(f"{name} must be between 1970 and 2109. {hint}".removesuffix(". "))
    if hint:
        raise Rejected(f"{name}: {hint}")
    return at
