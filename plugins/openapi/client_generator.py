"""Generates `client.operations`, the functions and types of the Python client, from the OpenAPI document.

``make client`` runs this module and formats what it prints.
"""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from plugins.openapi.document import JSON, build_document
from plugins.openapi.schema import Schema

HEAD = '''"""One function for each operation of the API, and the types of its parameters and results.

Generated from the OpenAPI document by ``make client``; do not edit it. To change it, change the route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import {typing_names}

from client import Call
'''
#: Path prefix of the operations that get a function. The other ones are for devices and browsers.
PREFIX = "/api/v1/"
#: Columns of a docstring's text.
DOCSTRING_WIDTH = 110
_PYTHON_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def generate_client(document: Mapping[str, Any]) -> str:
    """Return the source of `client.operations`, not yet formatted."""
    generator = _Generator(document["components"]["schemas"])
    functions = [
        generator.function(method.upper(), path, operation)
        for path, operations in document["paths"].items()
        if path.startswith(PREFIX) or path == PREFIX.rstrip("/")
        for method, operation in operations.items()
    ]
    typing_names = "Any, Literal, NotRequired, TypedDict"
    if generator.has_streams:
        typing_names = f"Any, BinaryIO, {typing_names.removeprefix('Any, ')}"
    return "\n\n".join([HEAD.format(typing_names=typing_names), *generator.classes(), *functions])


class _Generator:
    """Generates functions, and remembers which schemas need a class because a generated text refers to them."""

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas
        #: Names of the referenced schemas, in order of their first reference (a dict as an ordered set).
        self._referenced: dict[str, None] = {}
        #: Whether a function takes a file as the body.
        self.has_streams = False

    def classes(self) -> Iterator[str]:
        """Yield the class of each referenced schema, by name. A class may refer to further schemas."""
        generated: dict[str, str] = {}
        while missing := [name for name in self._referenced if name not in generated]:
            generated |= {name: self._class(name) for name in missing}
        for _, text in sorted(generated.items()):
            yield text

    def _class(self, name: str) -> str:
        schema = self._schemas[name]
        lines = [f"class {name}(TypedDict):", *_docstring(schema.get("description", "")), ""]
        required = schema.get("required", ())
        for field, field_schema in schema["properties"].items():
            annotation = self._annotation(field_schema)
            lines.append(f"    {field}: {annotation if field in required else f'NotRequired[{annotation}]'}")
        return "\n".join(lines)

    def _annotation(self, schema: Schema, array: str = "list") -> str:
        """Return a schema as a Python type. ``array`` is "list" in results and "Sequence" in parameters."""
        if "$ref" in schema:
            name = _referenced_name(schema)
            self._referenced[name] = None
            return name
        if "anyOf" in schema:
            return " | ".join(dict.fromkeys(self._annotation(alternative, array) for alternative in schema["anyOf"]))
        if "enum" in schema:
            return f"Literal[{', '.join(map(repr, schema['enum']))}]"
        match schema.get("type"):
            case "array":
                return f"{array}[{self._annotation(schema['items'], array)}]"
            case "object":
                mapping = "dict" if array == "list" else "Mapping"
                return f"{mapping}[str, {self._annotation(schema['additionalProperties'])}]"
            case None:
                return "Any"
            case simple:
                return _PYTHON_TYPES[simple]

    def function(self, method: str, path: str, operation: Mapping[str, Any]) -> str:
        """Return the function of an operation. Raises ValueError if two of its parameters have the same name."""
        query = [parameter for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
        body = self._body_fields(operation)
        parameters = [(parameter["name"], parameter["schema"], parameter["required"]) for parameter in query]
        parameters += body or ()
        names = [_python_name(name) for name, _, _ in parameters]
        media_type = _streamed_type(operation)
        if media_type:
            names.append("content")
            self.has_streams = True
        if len(set(names)) < len(names):
            raise ValueError(f"{method} {path} has two parameters with the same name: {', '.join(sorted(names))}")
        signature = [self._parameter(*parameter) for parameter in parameters]
        if media_type:
            signature.append("content: BinaryIO")
        arguments = [repr(method), repr(path)]
        if query:
            arguments.append(_dict_display(parameter["name"] for parameter in query))
        if body is not None:
            arguments.append(f"{'' if query else 'body='}{_dict_display(name for name, _, _ in body)}")
        if media_type:
            arguments += ["content=content", f"headers={{'Content-Type': {media_type!r}}}"]
        text = "\n\n".join(filter(None, (f"{operation['summary']}.", operation.get("description"))))
        result = self._result(operation)
        name, signature = _snake_case(operation["operationId"]), ["*", *signature] if signature else []
        head = f"def {name}({', '.join(signature)}) -> Call[{result}]:"
        return "\n".join([head, *_docstring(text), f"    return Call({', '.join(arguments)})"])

    def _body_fields(self, operation: Mapping[str, Any]) -> list[tuple[str, Schema, bool]] | None:
        """Return (name, schema, required) of each field of the JSON body; None for an operation without one."""
        content = operation.get("requestBody", {}).get("content", {})
        if "schema" not in content.get(JSON, {}):
            return None
        schema = self._schemas[_referenced_name(content[JSON]["schema"])]
        required = schema.get("required", ())
        return [(name, field_schema, name in required) for name, field_schema in schema["properties"].items()]

    def _parameter(self, name: str, schema: Schema, required: bool) -> str:
        annotation = self._annotation(schema, "Sequence")
        if required:
            return f"{_python_name(name)}: {annotation}"
        accepts_none = "None" in annotation.split(" | ") or annotation == "Any"
        return f"{_python_name(name)}: {annotation if accepts_none else f'{annotation} | None'} = None"

    def _result(self, operation: Mapping[str, Any]) -> str:
        """Return the Python type of an operation's successful response."""
        [success] = [response for status, response in operation["responses"].items() if status < "300"]
        content = success.get("content", {})
        if not content:
            return "None"
        schema = content.get(JSON, {}).get("schema")
        if schema is None:
            return "Any" if JSON in content else "str"
        return self._annotation(schema) + (" | str" if len(content) > 1 else "")


def _streamed_type(operation: Mapping[str, Any]) -> str:
    """Return the media type of a body that is sent as a stream; "" for an operation without one."""
    body = operation.get("requestBody", {})
    [(media_type, content)] = body.get("content", {"": {}}).items()
    return "" if "schema" in content or not body.get("required") else str(media_type)


def _referenced_name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _dict_display(names: Iterable[str]) -> str:
    """Return the source of a dict from JSON names to the parameters of the function."""
    return f"{{{', '.join(f'{name!r}: {_python_name(name)}' for name in names)}}}"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def _python_name(name: str) -> str:
    """Return the Python name of a parameter: ``device_id`` for ``deviceId``, ``from_`` for the keyword ``from``."""
    snake_case = _snake_case(name)
    return f"{snake_case}_" if keyword.iskeyword(snake_case) else snake_case


def _docstring(text: str) -> list[str]:
    """Return the lines of an indented docstring; no lines for an empty text."""
    if not text:
        return []
    paragraphs = [textwrap.fill(" ".join(paragraph.split()), DOCSTRING_WIDTH) for paragraph in text.split("\n\n")]
    first, *rest = textwrap.indent("\n\n".join(paragraphs), "    ").splitlines()
    lines = [f'    """{first.strip()}', *rest]
    return [*lines, '    """'] if rest else [f'{lines[0]}"""']


async def _main() -> None:
    """Print the client of a hub that has only the built-in plugins."""
    import tempfile

    from hub import load, running

    with tempfile.TemporaryDirectory() as data:
        async with running(load(None).with_data(data), safe=True, listen=False) as hub:
            print(generate_client(build_document(hub)))  # noqa: T201 - its purpose


if __name__ == "__main__":
    import trio

    trio.run(_main)
