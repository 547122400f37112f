"""Types as JSON Schema (draft 2020-12, which is OpenAPI 3.1's)."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import attrs

from hub.api import MAX_TIME, Between, Timestamp, json_name

Schema = dict[str, Any]

_SIMPLE: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}

#: What a time in a query may be.
_TIME: Schema = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_TIME}, {"type": "string", "format": "date-time"}],
    "description": "Milliseconds UTC, or ISO 8601, in UTC unless it has an offset.",
}


class Schemas:
    """Those of a document; what has a name stands in ``components`` once and is referred to.

    Of what clients send every unknown field is refused and a field with a default may be left out; what they get has
    all fields.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._named: dict[tuple[Any, bool], str] = {}

    def of(self, kind: Any, *, sent: bool = False) -> Schema:
        """The schema of a type; ``sent`` by clients, else by the hub."""
        if kind in _SIMPLE:
            return dict(_SIMPLE[kind])
        origin, args = get_origin(kind), get_args(kind)
        if origin is NotRequired:
            return self.of(args[0], sent=sent)
        if origin is Annotated and any(isinstance(one, Timestamp) for one in args[1:]):
            return dict(_TIME)
        if origin is Annotated:
            return self.of(args[0], sent=sent) | _limits(args[1:])
        if origin is Literal:
            return {"enum": list(args)}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(one, sent=sent) for one in args]}
        if attrs.has(origin or kind) or is_typeddict(kind):
            return {"$ref": f"#/components/schemas/{self._name(kind, sent)}"}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(args[1], sent=sent)}
        if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
            return {"type": "array", "items": self.of(args[0], sent=sent)}
        raise TypeError(f"{kind!r} has no schema")

    def _name(self, kind: Any, sent: bool) -> str:
        key = (kind, sent)
        if key not in self._named:
            cls = get_origin(kind) or kind
            name = "".join([*(getattr(arg, "__name__", "Object") for arg in get_args(kind)), cls.__name__])
            if (kind, not sent) in self._named:
                name += "Sent" if sent else "Given"
            elif name in self.components:
                name = cls.__module__.rpartition(".")[2].title().replace("_", "") + name
            self._named[key] = name
            # Before its fields: one of them may be of the same class.
            self.components[name] = {}
            self.components[name] = self._object(cls, get_args(kind), sent)
        return self._named[key]

    def _object(self, cls: Any, args: tuple[Any, ...], sent: bool) -> Schema:
        if is_typeddict(cls):
            # What may be left out is not told by __required_keys__ where annotations are text.
            kinds = get_type_hints(cls, include_extras=True)
            fields = {name: self.of(kind, sent=sent) for name, kind in kinds.items()}
            required = [name for name, kind in kinds.items() if get_origin(kind) is not NotRequired]
            found: Schema = {"type": "object", "properties": fields, "required": required}
        else:
            found = self._of_attrs(cls, args, sent)
        if sent:
            found["additionalProperties"] = False
        if text := described(cls):
            found["description"] = text
        return found

    def _of_attrs(self, cls: Any, args: tuple[Any, ...], sent: bool) -> Schema:
        variables = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
        fields = attrs.fields(attrs.resolve_types(cls))
        properties = {}
        for field in fields:
            schema = self.of(_filled(field.type, variables), sent=sent)
            if sent and field.default is not attrs.NOTHING and isinstance(field.default, str | int | float | bool):
                schema |= {"default": field.default}
            properties[json_name(field)] = schema
        required = [json_name(field) for field in fields if not sent or field.default is attrs.NOTHING]
        found: Schema = {"type": "object", "properties": properties}
        if required:
            found["required"] = required
        return found


def described(thing: Any) -> str:
    """The docstring of something that says one of its own, without its markup."""
    text = (thing.__doc__ or "").strip()
    if text.startswith("Method generated by attrs"):
        return ""
    return "\n".join(line.strip() for line in text.splitlines()).replace("``", "").replace("`", "")


def _limits(limits: tuple[Any, ...]) -> Schema:
    found: Schema = {}
    for one in limits:
        if isinstance(one, Between):
            found |= {"minimum": one.low, "maximum": one.high}
    return found


def _filled(kind: Any, variables: Mapping[Any, Any]) -> Any:
    """A type with its variables replaced."""
    if isinstance(kind, TypeVar):
        return variables.get(kind, Any)
    args = get_args(kind)
    if not variables or not args or get_origin(kind) in (Annotated, Literal):
        return kind
    filled = tuple(_filled(one, variables) for one in args)
    if get_origin(kind) in (Union, types.UnionType):
        return Union[filled]  # noqa: UP007 - made at run time
    return kind if filled == args else types.GenericAlias(get_origin(kind), filled)
