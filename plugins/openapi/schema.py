"""JSON Schemas of Python types (draft 2020-12, as in OpenAPI 3.1)."""

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

#: A time as a query parameter.
_TIME: Schema = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_TIME}, {"type": "string", "format": "date-time"}],
    "description": "Milliseconds since 1970 (UTC), or ISO 8601, in UTC unless it has an offset.",
}


class Schemas:
    """Schemas of a document. Each class has one in ``components``, to which the others refer.

    A class that clients send (``sent``) and one that they receive differ: in the former, fields with a default are
    optional and unknown fields are forbidden; the latter always has all its fields.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        #: Names of the components, by type and ``sent``.
        self._names: dict[tuple[Any, bool], str] = {}

    def schema_of(self, kind: Any, *, sent: bool = False) -> Schema:
        """Return the schema of a type, ``sent`` by clients or by the hub. Raises TypeError if it has none."""
        if kind in _SIMPLE:
            return dict(_SIMPLE[kind])
        origin, args = get_origin(kind), get_args(kind)
        if origin is NotRequired:
            return self.schema_of(args[0], sent=sent)
        if origin is Annotated and any(isinstance(annotation, Timestamp) for annotation in args[1:]):
            return dict(_TIME)
        if origin is Annotated:
            return self.schema_of(args[0], sent=sent) | _limits(args[1:])
        if origin is Literal:
            return {"enum": list(args)}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.schema_of(alternative, sent=sent) for alternative in args]}
        if attrs.has(origin or kind) or is_typeddict(kind):
            return {"$ref": f"#/components/schemas/{self._component(kind, sent)}"}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.schema_of(args[1], sent=sent)}
        if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
            return {"type": "array", "items": self.schema_of(args[0], sent=sent)}
        raise TypeError(f"There is no JSON Schema for the type {kind!r}.")

    def _component(self, kind: Any, sent: bool) -> str:
        """Return the name of a class's schema in ``components``, which is added if it is missing."""
        key = (kind, sent)
        if key not in self._names:
            cls = get_origin(kind) or kind
            name = self._names[key] = self._unused_name(kind, cls, sent)
            # A placeholder first: a field may be of the same class.
            self.components[name] = {}
            self.components[name] = self._object(cls, get_args(kind), sent)
        return self._names[key]

    def _unused_name(self, kind: Any, cls: Any, sent: bool) -> str:
        name: str = "".join([*(getattr(arg, "__name__", "Object") for arg in get_args(kind)), cls.__name__])
        if (kind, not sent) in self._names:
            return f"{name}{'Sent' if sent else 'Given'}"
        if name in self.components:
            return f"{cls.__module__.rpartition('.')[2].title().replace('_', '')}{name}"
        return name

    def _object(self, cls: Any, args: tuple[Any, ...], sent: bool) -> Schema:
        """Return the schema of an attrs class with type arguments ``args``, or of a TypedDict."""
        if is_typeddict(cls):
            # __required_keys__ is wrong where annotations are strings (PEP 563): it does not see NotRequired.
            kinds = get_type_hints(cls, include_extras=True)
            fields = {name: self.schema_of(kind, sent=sent) for name, kind in kinds.items()}
            required = [name for name, kind in kinds.items() if get_origin(kind) is not NotRequired]
            schema: Schema = {"type": "object", "properties": fields, "required": required}
        else:
            schema = self._attrs_schema(cls, args, sent)
        if sent:
            schema["additionalProperties"] = False
        if docstring := docstring_of(cls):
            schema["description"] = docstring
        return schema

    def _attrs_schema(self, cls: Any, args: tuple[Any, ...], sent: bool) -> Schema:
        variables = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
        fields = attrs.fields(attrs.resolve_types(cls))
        properties = {}
        for field in fields:
            schema = self.schema_of(_substitute(field.type, variables), sent=sent)
            if sent and field.default is not attrs.NOTHING and isinstance(field.default, str | int | float | bool):
                schema |= {"default": field.default}
            properties[json_name(field)] = schema
        required = [json_name(field) for field in fields if not sent or field.default is attrs.NOTHING]
        schema = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        return schema


def docstring_of(documented: Any) -> str:
    """Return the docstring of a class or function without its markup; "" if attrs generated it."""
    text = (documented.__doc__ or "").strip()
    if text.startswith("Method generated by attrs"):
        return ""
    return "\n".join(line.strip() for line in text.splitlines()).replace("``", "").replace("`", "")


def _limits(annotations: tuple[Any, ...]) -> Schema:
    """Return the limits of a number, from the annotations in ``Annotated``."""
    limits: Schema = {}
    for annotation in annotations:
        if isinstance(annotation, Between):
            limits |= {"minimum": annotation.low, "maximum": annotation.high}
    return limits


def _substitute(kind: Any, variables: Mapping[Any, Any]) -> Any:
    """Return a type with its type variables replaced."""
    if isinstance(kind, TypeVar):
        return variables.get(kind, Any)
    args = get_args(kind)
    if not variables or not args or get_origin(kind) in (Annotated, Literal):
        return kind
    substituted = tuple(_substitute(arg, variables) for arg in args)
    if get_origin(kind) in (Union, types.UnionType):
        return Union[substituted]  # noqa: UP007 - made at run time
    return kind if substituted == args else types.GenericAlias(get_origin(kind), substituted)
