"""``/api/docs``: the OpenAPI document for people, as one page without scripts or anything from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from hub.api import MAX_TIME

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#ddd, #444); --soft: light-dark(#f5f5f5, #222) }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem }
nav { column-width: 14rem; margin-bottom: 2rem }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .4rem 0; padding: 0 .8rem }
details[open] { padding-bottom: .8rem }
summary { cursor: pointer; padding: .4rem 0; overflow-wrap: anywhere }
code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { background: var(--soft); border-radius: .4rem; overflow-x: auto; padding: .6rem }
b { display: inline-block; min-width: 4rem }
table { border-collapse: collapse; width: 100% }
td { border-top: 1px solid var(--line); padding: .25rem .6rem .25rem 0; vertical-align: top }
"""


def page(document: Mapping[str, Any], hub: str) -> str:
    """The whole page."""
    schemas = document["components"]["schemas"]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, schemas))
    tags = sorted(by_tag)
    contents = "".join(f'<div><a href="#{escape(tag)}">{escape(tag)}</a></div>' for tag in tags)
    sections = "".join(f'<h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(by_tag[tag])}' for tag in tags)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>API - {escape(hub)}</title><style>{_STYLE}</style><h1>The API of {escape(hub)}</h1>"
        f"{_prose(document['info']['description'])}"
        '<p>For programs: <a href="/api/v1/openapi.json">OpenAPI 3.1</a>.</p>'
        f"<nav>{contents}</nav>{sections}"
    )


def _prose(text: str) -> str:
    """Paragraphs with code in backquotes, all the Markdown there is in descriptions, as HTML."""
    marked = re.sub(r"`{1,2}([^`]+)`{1,2}", r"<code>\1</code>", escape(text))
    return "".join(f"<p>{paragraph}</p>" for paragraph in marked.split("\n\n") if paragraph)


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [_prose(operation.get("description", ""))]
    if rows := "".join(_row(one, schemas) for one in operation.get("parameters", ())):
        parts.append(f"<h4>Parameters</h4><table>{rows}</table>")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h4>Body, {escape(media)}</h4>{_shown(content.get('schema'), schemas)}")
    for status, response in operation["responses"].items():
        if status < "400":
            contents = "".join(
                f" {escape(media)}{_shown(content.get('schema'), schemas)}"
                for media, content in response.get("content", {}).items()
            )
            parts.append(f"<h4>{status}</h4>{escape(response['description'])}{contents}")
    problems = ", ".join(status for status in operation["responses"] if status >= "400")
    parts.append(f"<p>Errors: {problems}.</p>")
    head = f"<b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    return f'<details id="{escape(operation["operationId"])}"><summary>{head}</summary>{"".join(parts)}</details>'


def _row(one: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    schema = one["schema"]
    limited = schema.get("maximum", MAX_TIME) < MAX_TIME
    more = [f"from {schema['minimum']} to {schema['maximum']}"] if limited else []
    more += [f"default {json.dumps(schema['default'])}"] if "default" in schema else []
    more += ["must be there"] if one["required"] else []
    words = ", ".join([_word(schema, schemas), *more])
    return f"<tr><td><code>{escape(one['name'])}</code><td>{escape(words)} {escape(schema.get('description', ''))}"


def _shown(schema: Mapping[str, Any] | None, schemas: Mapping[str, Any]) -> str:
    """A body, as JSON with a word for each value, and what is said about it."""
    if schema is None:
        return ""
    text = json.dumps(_example(schema, schemas, ()), indent=2, ensure_ascii=False)
    about = _resolved(schema, schemas).get("description", "")
    return f"<pre>{escape(text)}</pre>{_prose(about)}"


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _example(schema: Mapping[str, Any], schemas: Mapping[str, Any], within: tuple[str, ...]) -> Any:
    name = schema.get("$ref", "")
    if name and name in within:
        return "…"
    within = (*within, name) if name else within
    whole = _resolved(schema, schemas)
    if "anyOf" in whole:
        shapes = [one for one in whole["anyOf"] if one.get("type") != "null"]
        if len(shapes) == 1:
            inner = _example(shapes[0], schemas, within)
            return f"{inner} or null" if isinstance(inner, str) else inner
        return " or ".join(_word(one, schemas) for one in whole["anyOf"])
    if whole.get("type") == "array":
        return [_example(whole["items"], schemas, within)]
    if "properties" in whole:
        required = whole.get("required", ())
        optional = "additionalProperties" in whole
        return {
            key + ("?" if optional and key not in required else ""): _example(value, schemas, within)
            for key, value in whole["properties"].items()
        }
    if isinstance(whole.get("additionalProperties"), dict):
        return {"…": _example(whole["additionalProperties"], schemas, within)}
    return _word(whole, schemas)


def _word(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """A type in a word or two."""
    whole = _resolved(schema, schemas)
    if "enum" in whole:
        return " | ".join(map(str, whole["enum"]))
    if "anyOf" in whole:
        return " or ".join(_word(one, schemas) for one in whole["anyOf"])
    if whole.get("type") == "array":
        return f"list of {_word(whole['items'], schemas)}"
    return str(whole.get("type", "anything"))
