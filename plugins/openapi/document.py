"""The OpenAPI document: what every route takes and answers, from the types of its handler."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from hub.api import AUTHENTICATED, MAX_WHOLE, OPEN, Created, File, Parameter, Response, Route, Stream, optional
from plugins.openapi.schema import Schema, Schemas, described

if TYPE_CHECKING:
    from hub.app import Hub

JSON = "application/json"
#: What the hub answers when it does not do what was asked, and when.
PROBLEMS = {
    "400": "The request is wrong; the message says why.",
    "401": "No valid token was sent, or it has expired.",
    "403": "This is not allowed.",
    "404": "There is nothing of that kind, as far as whoever asks may know.",
    "409": "It does not fit what is there.",
    "412": "It has changed since whoever asks has read it.",
    "413": "The body is too long.",
    "429": "Too many requests; Retry-After says in how many seconds there is room.",
    "503": "The hub cannot keep its promise at the moment, as when the disk is full.",
}
#: What stands under one heading, by the first word of its path.
_TAGS = {
    "Account": "account login logout password profile key keys otp session sessions oauth2".split(),
    "Devices": "device devices device_uploads".split(),
    "Hub": (
        "/ backup ca.pem docs favicon.ico health history metrics openapi.json plugins refusals reports status".split()
    ),
    "Locations": "location locations".split(),
    "Organizations": ["", "client", "clients", "create", "edit", "export", "oauth", "switch", "transfer"],
    "Roles": "permissions role roles".split(),
    "Segments": "segment segments".split(),
    "Tags": "tag tags".split(),
    "Templates": "template templates".split(),
    "Users": "user users".split(),
}
ABOUT = """The API of the hub. Log in with `POST /api/v1/login`, or make a personal API key, and send it as
`Authorization: Bearer …`. Times are milliseconds UTC. Lists are paged, starting at `page` 0.

Changes are sent live over the WebSocket `/api/v1/stream`."""


def document(hub: Hub) -> dict[str, Any]:
    """OpenAPI 3.1, of all routes of a hub."""
    schemas = Schemas()
    schemas.components["Problem"] = {
        "type": "object",
        "properties": {
            "error": {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
        },
        "required": ["error"],
    }
    paths: dict[str, dict[str, Any]] = {}
    labels = {permission.id: permission.label for permission in hub.permissions}
    for route in sorted((r for r in hub.routes if isinstance(r, Route)), key=lambda r: (r.path, r.method)):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, labels)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pinwheel", "version": hub.version, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, schemas: Schemas, labels: Mapping[str, str]) -> dict[str, Any]:
    named = [part for part in re.split(r"[^A-Za-z0-9]+", route.path) if part not in ("api", "v1", "")]
    operation: dict[str, Any] = {
        "operationId": route.method.lower() + "".join(part[0].upper() + part[1:] for part in named),
        "summary": route.summary,
        "tags": [_tag(route.path)],
        "responses": _responses(route, schemas),
    }
    about = [described(route.handler)] if described(route.handler) else []
    if route.permission not in (*OPEN, AUTHENTICATED):
        about.append(f"Needs the permission {route.permission}: {labels.get(route.permission, route.permission)}.")
    if about:
        operation["description"] = "\n\n".join(about)
    if route.permission not in OPEN:
        operation["security"] = [{"bearer": []}]
    if parameters := [
        *_of_path(route.path),
        *(_parameter(one, schemas) for one in route.parameters),
        *_of_headers(route),
    ]:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas.of(route.body, sent=True)}}}
    elif route.raw_query and route.method != "GET":
        operation["requestBody"] = {"content": {route.takes: {}}}
    return operation


def _tag(path: str) -> str:
    """What a route is about, in a word, for a table of contents."""
    if path.startswith("/external/"):
        return "Device HTTPS API"
    parts = [part for part in path.split("/") if part not in ("", "api", "v1", "organization", "search")]
    first = parts[0] if parts else "/" if path == "/" else ""
    return next((tag for tag, words in _TAGS.items() if first in words), first.capitalize())


def _of_path(path: str) -> Iterable[Schema]:
    for name in re.findall(r"\{(\w+)\}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _of_headers(route: Route) -> Iterable[Schema]:
    if route.lock:
        about = "The ETag of what was read; if it has changed since, the edit is refused."
        schema: Schema = {"type": "string", "description": about}
        yield {"name": "If-Match", "in": "header", "required": False, "schema": schema}
    if route.idempotent:
        about = "A key of your own; requests with the same key are carried out once."
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "description": about}
        yield {"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema}


def _parameter(one: Parameter, schemas: Schemas) -> Schema:
    kind, _ = optional(one.type)
    schema = schemas.of(kind)
    if schema.get("type") == "integer":
        schema = {"minimum": 0, "maximum": MAX_WHOLE} | schema
    found: Schema = {"name": one.name, "in": "query", "required": one.required, "schema": schema}
    if schema.get("type") == "array":
        found |= {"style": "form", "explode": False}
    elif one.default not in (None, "", ()):
        schema["default"] = one.default
    return found


def _responses(route: Route, schemas: Schemas) -> Schema:
    # Those that answer in others' words have their own problems too.
    problem: Schema = {JSON: {} if route.raw_query else {"schema": {"$ref": "#/components/schemas/Problem"}}}
    known = PROBLEMS if route.permission not in OPEN else {k: v for k, v in PROBLEMS.items() if k != "403"}
    found = {status: {"description": text, "content": problem} for status, text in known.items()}
    kind = route.returns
    if get_origin(kind) is Created:
        found["201"] = _answered("It was made.", schemas.of(get_args(kind)[0]))
    elif (get_origin(kind) or kind) in (Response, Stream, File):
        content: Schema = {media: {} for media in route.media or ("text/plain",)}
        if (args := get_args(kind)) and args[0] is not str:
            content[JSON] = {"schema": schemas.of(args[0])}
        found["200"] = {"description": route.summary, "content": content}
        if "text/html" in route.media:
            found["303"] = {"description": "Go on there."}
            for status in ("400", "403"):
                found[status] = {"description": "A page that says why not.", "content": problem | {"text/html": {}}}
    elif kind is type(None) or kind is None:
        found["204"] = {"description": "It is done."}
    else:
        found["200"] = _answered(route.summary, schemas.of(kind))
    return dict(sorted(found.items()))


def _answered(text: str, schema: Schema) -> Schema:
    return {"description": text, "content": {JSON: {"schema": schema}}}
