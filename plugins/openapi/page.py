"""``/api/docs``: the OpenAPI document as one HTML page, without scripts and without resources from other sites."""

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


def render_page(document: Mapping[str, Any], hub_name: str) -> str:
    """Return the page as HTML."""
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
        f"<title>API - {escape(hub_name)}</title><style>{_STYLE}</style><h1>The API of {escape(hub_name)}</h1>"
        f"{_prose(document['info']['description'])}"
        '<p>For programs: <a href="/api/v1/openapi.json">OpenAPI 3.1</a>.</p>'
        f"<nav>{contents}</nav>{sections}"
    )


def _prose(text: str) -> str:
    """Convert a description to HTML. Its only Markdown is paragraphs, and code in backquotes."""
    marked = re.sub(r"`{1,2}([^`]+)`{1,2}", r"<code>\1</code>", escape(text))
    return "".join(f"<p>{paragraph}</p>" for paragraph in marked.split("\n\n") if paragraph)


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [_prose(operation.get("description", ""))]
    if rows := "".join(_parameter_row(parameter, schemas) for parameter in operation.get("parameters", ())):
        parts.append(f"<h4>Parameters</h4><table>{rows}</table>")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h4>Body, {escape(media)}</h4>{_body_html(content.get('schema'), schemas)}")
    for status, response in operation["responses"].items():
        if status < "400":
            contents = "".join(
                f" {escape(media)}{_body_html(content.get('schema'), schemas)}"
                for media, content in response.get("content", {}).items()
            )
            parts.append(f"<h4>{status}</h4>{escape(response['description'])}{contents}")
    errors = ", ".join(status for status in operation["responses"] if status >= "400")
    parts.append(f"<p>Errors: {errors}.</p>")
    head = f"<b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    return f'<details id="{escape(operation["operationId"])}"><summary>{head}</summary>{"".join(parts)}</details>'


def _parameter_row(parameter: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    schema = parameter["schema"]
    details = [_type_name(schema, schemas)]
    if schema.get("maximum", MAX_TIME) < MAX_TIME:
        details.append(f"from {schema['minimum']} to {schema['maximum']}")
    if "default" in schema:
        details.append(f"default {json.dumps(schema['default'])}")
    if parameter["required"]:
        details.append("required")
    name, description = escape(parameter["name"]), escape(schema.get("description", ""))
    return f"<tr><td><code>{name}</code><td>{escape(', '.join(details))} {description}"


def _body_html(schema: Mapping[str, Any] | None, schemas: Mapping[str, Any]) -> str:
    """Return a body as JSON with type names for values, followed by its description."""
    if schema is None:
        return ""
    example = json.dumps(_example(schema, schemas, ()), indent=2, ensure_ascii=False)
    description = _resolve(schema, schemas).get("description", "")
    return f"<pre>{escape(example)}</pre>{_prose(description)}"


def _resolve(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema that a ``$ref`` refers to, or the schema itself."""
    resolved: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return resolved


def _example(schema: Mapping[str, Any], schemas: Mapping[str, Any], ancestors: tuple[str, ...]) -> Any:
    """Return a value of JSON with type names for its values; "…" for a schema within itself.

    ``ancestors`` are the references to the schemas around this one.
    """
    reference = schema.get("$ref", "")
    if reference and reference in ancestors:
        return "…"
    ancestors = (*ancestors, reference) if reference else ancestors
    resolved = _resolve(schema, schemas)
    if "anyOf" in resolved:
        alternatives = [alternative for alternative in resolved["anyOf"] if alternative.get("type") != "null"]
        if len(alternatives) == 1:
            example = _example(alternatives[0], schemas, ancestors)
            return f"{example} or null" if isinstance(example, str) else example
        return _type_name(resolved, schemas)
    if resolved.get("type") == "array":
        return [_example(resolved["items"], schemas, ancestors)]
    if "properties" in resolved:
        required = resolved.get("required", ())
        may_omit = "additionalProperties" in resolved
        return {
            key + ("?" if may_omit and key not in required else ""): _example(value, schemas, ancestors)
            for key, value in resolved["properties"].items()
        }
    if isinstance(resolved.get("additionalProperties"), dict):
        return {"…": _example(resolved["additionalProperties"], schemas, ancestors)}
    return _type_name(resolved, schemas)


def _type_name(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Return a schema's type in a few words, such as "list of string"."""
    resolved = _resolve(schema, schemas)
    if "enum" in resolved:
        return " | ".join(map(str, resolved["enum"]))
    if "anyOf" in resolved:
        return " or ".join(_type_name(alternative, schemas) for alternative in resolved["anyOf"])
    if resolved.get("type") == "array":
        return f"list of {_type_name(resolved['items'], schemas)}"
    return str(resolved.get("type", "anything"))
