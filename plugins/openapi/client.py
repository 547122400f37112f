"""`client.operations`, made from the OpenAPI document: ``make client``."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from plugins.openapi.document import JSON
from plugins.openapi.schema import Schema

HEAD = '''"""Every operation of the API and what it takes and answers, made from its description by ``make client``.

Not written by hand: a change of a route, and ``make client``, change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from client import Call
'''
#: What is an operation for programs; the rest is for devices and for browsers.
PREFIX = "/api/v1/"
WIDTH = 110
_SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def client(document: Mapping[str, Any]) -> str:
    """The module, as it is before a formatter sees it."""
    writer = _Writer(document["components"]["schemas"])
    functions = [
        writer.function(method.upper(), path, operation)
        for path, operations in document["paths"].items()
        if path.startswith(PREFIX) or path == PREFIX.rstrip("/")
        for method, operation in operations.items()
    ]
    return "\n\n".join([HEAD, *writer.classes(), *functions])


class _Writer:
    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas
        #: Those that something written refers to, in the order of their coming up.
        self._needed: dict[str, None] = {}

    def classes(self) -> Iterator[str]:
        """All that is needed, by name; writing one may need others."""
        written: dict[str, str] = {}
        while missing := [name for name in self._needed if name not in written]:
            written |= {name: self._class(name) for name in missing}
        for _, text in sorted(written.items()):
            yield text

    def _class(self, name: str) -> str:
        schema = self._schemas[name]
        lines = [f"class {name}(TypedDict):", *_docstring(schema.get("description", "")), ""]
        required = schema.get("required", ())
        for field, one in schema["properties"].items():
            kind = self.kind(one)
            lines.append(f"    {field}: {kind if field in required else f'NotRequired[{kind}]'}")
        return "\n".join(lines)

    def kind(self, schema: Schema, array: str = "list") -> str:
        """A schema as a type; what callers give may be any Sequence."""
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            self._needed[name] = None
            return name
        if "anyOf" in schema:
            return " | ".join(dict.fromkeys(self.kind(one, array) for one in schema["anyOf"]))
        if "enum" in schema:
            return f"Literal[{', '.join(map(repr, schema['enum']))}]"
        match schema.get("type"):
            case "array":
                return f"{array}[{self.kind(schema['items'], array)}]"
            case "object":
                return f"{'dict' if array == 'list' else 'Mapping'}[str, {self.kind(schema['additionalProperties'])}]"
            case None:
                return "Any"
            case simple:
                return _SIMPLE[simple]

    def function(self, method: str, path: str, operation: Mapping[str, Any]) -> str:
        query = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
        body = self._fields(operation)
        given = [(one["name"], one["schema"], one["required"]) for one in query]
        given += [(name, schema, required) for name, schema, required in body or ()]
        names = [_python(name) for name, _, _ in given]
        if len(set(names)) < len(names):
            raise ValueError(f"{method} {path} takes something of the same name twice")
        head = ", ".join(["*", *(self._argument(*one) for one in given)]) if given else ""
        parts = [repr(method), repr(path)]
        if query:
            parts.append(_table(one["name"] for one in query))
        if body is not None:
            parts.append(f"{'' if query else 'body='}{_table(name for name, _, _ in body)}")
        about = "\n\n".join(filter(None, (f"{operation['summary']}.", operation.get("description"))))
        lines = [f"def {_snake(operation['operationId'])}({head}) -> Call[{self._answer(operation)}]:"]
        return "\n".join([*lines, *_docstring(about), f"    return Call({', '.join(parts)})"])

    def _fields(self, operation: Mapping[str, Any]) -> list[tuple[str, Schema, bool]] | None:
        """Name, schema and whether it must be there, of each field of a body; None where there is no body."""
        content = operation.get("requestBody", {}).get("content", {})
        if JSON not in content:
            return None
        schema = self._schemas[content[JSON]["schema"]["$ref"].rpartition("/")[2]]
        required = schema.get("required", ())
        return [(name, one, name in required) for name, one in schema["properties"].items()]

    def _argument(self, name: str, schema: Schema, required: bool) -> str:
        kind = self.kind(schema, "Sequence")
        if required:
            return f"{_python(name)}: {kind}"
        optional = kind if "None" in kind.split(" | ") or kind == "Any" else f"{kind} | None"
        return f"{_python(name)}: {optional} = None"

    def _answer(self, operation: Mapping[str, Any]) -> str:
        [done] = [one for status, one in operation["responses"].items() if status < "300"]
        content = done.get("content", {})
        if not content:
            return "None"
        schema = content.get(JSON, {}).get("schema")
        if schema is None:
            return "Any" if JSON in content else "str"
        return self.kind(schema) + (" | str" if len(content) > 1 else "")


def _table(names: Iterable[str]) -> str:
    return f"{{{', '.join(f'{name!r}: {_python(name)}' for name in names)}}}"


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def _python(name: str) -> str:
    """What Python calls a parameter: ``deviceId`` is ``device_id``, ``from`` is ``from_``."""
    found = _snake(name)
    return f"{found}_" if keyword.iskeyword(found) else found


def _docstring(text: str) -> list[str]:
    if not text:
        return []
    paragraphs = [textwrap.fill(" ".join(one.split()), WIDTH) for one in text.split("\n\n")]
    first, *rest = textwrap.indent("\n\n".join(paragraphs), "    ").splitlines()
    quoted = [f'    """{first.strip()}', *rest]
    return [*quoted, '    """'] if rest else [f'{quoted[0]}"""']


async def _main() -> None:
    """Print the module, of a hub with the plugins that come with it."""
    import tempfile

    from hub.run import running

    from hub.config import load
    from plugins.openapi.document import document

    with tempfile.TemporaryDirectory() as data:
        async with running(load(None).with_data(data), safe=True, listen=False) as hub:
            print(client(document(hub)))  # noqa: T201 - its purpose


if __name__ == "__main__":
    import trio

    trio.run(_main)
