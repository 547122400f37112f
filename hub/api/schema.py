"""JSON of attrs classes: ``device_id`` in Python is ``deviceId`` in JSON, and unknown keys are errors."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import attrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from hub.errors import Rejected
from hub.parsing.structuring import ValidationErrors, converter, structure
from hub.slices import SliceRunner, Steps

T = TypeVar("T")

#: Rows of a list that are encoded in one step of a slice.
ROWS_PER_STEP = 64


def camel(name: str) -> str:
    """Return ``device_id`` as ``deviceId``, and ``from_`` as ``from``."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in rest)


def secret(*, name: str = "", **options: Any) -> Any:
    """Make a field of a body that is neither logged nor audited; ``name`` is its JSON name, if it is irregular."""
    return attrs.field(repr=False, metadata={"secret": True, "name": name}, **options)


def json_name(field: attrs.Attribute[Any]) -> str:
    """Return the JSON name of a field."""
    return str(field.metadata.get("name") or camel(field.name))


def _renamed(cls: Any) -> dict[str, Any]:
    return {field.name: override(rename=json_name(field)) for field in attrs.fields(cls)}


_json = converter.copy()
_json.register_structure_hook_factory(
    attrs.has,
    lambda cls: make_dict_structure_fn(cls, _json, _cattrs_forbid_extra_keys=True, **_renamed(cls)),
)
_json.register_unstructure_hook_factory(
    attrs.has,
    lambda cls: make_dict_unstructure_fn(cls, _json, **_renamed(cls)),
)


def from_json(data: Any, cls: type[T]) -> T:
    """Structure a request's JSON as ``cls``. Raises `Rejected`, naming every field that is wrong."""
    try:
        return structure(data, cls, _json, json_name)
    except ValidationErrors as error:
        renamed = [(".".join(map(camel, path.split("."))), text) for path, text in error.problems]
        raise Rejected(str(ValidationErrors(renamed))) from error


def to_json(value: Any) -> Any:
    """Convert a handler's result to JSON's types."""
    return _json.unstructure(value)


async def encode(value: Any, slices: SliceRunner) -> bytes:
    """Encode a handler's result as JSON, a long list of rows in ``content``, as of a `Page`, in slices."""
    rows = getattr(value, "content", None)
    if isinstance(rows, list) and len(rows) > ROWS_PER_STEP and attrs.has(type(value)):
        return await slices.run(_encode_page(value, rows))
    return json.dumps(to_json(value)).encode()


def _encode_page(page: Any, rows: list[Any]) -> Steps[bytes]:
    parts = []
    for start in range(0, len(rows), ROWS_PER_STEP):
        parts.append(json.dumps(to_json(rows[start : start + ROWS_PER_STEP]))[1:-1])
        yield
    fields = {name: json.dumps(field) for name, field in to_json(attrs.evolve(page, content=[])).items()}
    fields["content"] = f"[{', '.join(parts)}]"
    return ("{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in fields.items()) + "}").encode()
