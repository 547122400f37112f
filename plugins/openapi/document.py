"""The OpenAPI document: parameters, bodies and responses of every route, from the annotations of its handler."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from hub import AUTHENTICATED, Created, Download, File, Response, Route, Stream
from hub.api import MAX_WHOLE, OPEN, Parameter, optional
from plugins.openapi.schema import Schema, Schemas, docstring_of

if TYPE_CHECKING:
    from hub import Hub

JSON = "application/json"
#: Descriptions of the error responses, by status.
ERROR_DESCRIPTIONS = {
    "400": "The request is invalid; the message says why.",
    "401": "The bearer token is missing, invalid or expired.",
    "403": "The permission for this request is missing, or a page of another site sent it.",
    "404": "The object does not exist, or the client may not know that it exists.",
    "409": "The request conflicts with the current state of the object.",
    "412": "The object has changed since the client read it.",
    "413": "The body is too long.",
    "429": "Too many requests; Retry-After is the number of seconds to wait.",
    "503": "The hub cannot store anything at the moment, such as when the disk is full.",
}
#: Tags, which group operations in the document, with the first path segments of their operations.
_TAGS = {
    "Account": "account login logout password profile key keys otp session sessions oauth2".split(),
    "Dashboards": "dashboard dashboards widgets".split(),
    "Devices": "device devices device_uploads".split(),
    "Hub": (
        "/ backup ca.pem docs favicon.ico health history metrics openapi.json panels plugins refusals reports "
        "status".split()
    ),
    "Locations": "location locations".split(),
    "Mail": "mail mails".split(),
    "Organizations": ["", "client", "clients", "create", "edit", "export", "oauth", "switch", "transfer"],
    "Roles": "permissions role roles".split(),
    "Segments": "segment segments".split(),
    "Tags": "tag tags".split(),
    "Templates": "asset template templates".split(),
    "Users": "user users".split(),
}
DESCRIPTION = """The API of the hub. Log in with `POST /api/v1/login`, or create a personal API key, and send the token
or key as `Authorization: Bearer …`. Times are milliseconds since 1970 (UTC). Lists have pages, which start at `page` 0.

The WebSocket `/api/v1/stream` sends changes as they happen."""


def build_document(hub: Hub) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all routes of a hub."""
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
    routes = [route for route in hub.routes if isinstance(route, Route)]
    for route in sorted(routes, key=lambda route: (route.path, route.method)):
        # "{file:path}" is a parameter with slashes.
        path = route.path.replace(":path}", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas, labels)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pinwheel", "version": hub.version, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, schemas: Schemas, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the operation of a route. ``labels`` are Blynk's labels of the permissions, by id."""
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [_tag(route.path)],
        "responses": _responses(route, schemas),
    }
    docstring = docstring_of(route.handler)
    paragraphs = [docstring] if docstring else []
    if route.permission not in (*OPEN, AUTHENTICATED):
        paragraphs.append(f"Needs the permission {route.permission}: {labels.get(route.permission, route.permission)}.")
    if paragraphs:
        operation["description"] = "\n\n".join(paragraphs)
    if route.permission not in OPEN:
        operation["security"] = [{"bearer": []}]
    if parameters := [
        *_path_parameters(route.path),
        *(_query_parameter(parameter, schemas) for parameter in route.parameters),
        *_header_parameters(route),
    ]:
        operation["parameters"] = parameters
    if route.body is not None:
        content = {JSON: {"schema": schemas.schema_of(route.body, sent=True)}}
        operation["requestBody"] = {"required": not route.optional_body, "content": content}
    elif route.streaming:
        operation["requestBody"] = {"required": True, "content": {route.takes: {}}}
    elif route.raw_query and route.method != "GET":
        operation["requestBody"] = {"content": {route.takes: {}}}
    return operation


def _operation_id(route: Route) -> str:
    """Return the camelCase id of a route: ``getDeviceVitals`` for ``GET /api/v1/device/vitals``."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", route.path) if word not in ("api", "v1", "")]
    return route.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _tag(path: str) -> str:
    """Return the tag of a path: the group of operations that it belongs to."""
    if path.startswith("/external/"):
        return "Device HTTPS API"
    parts = [part for part in path.split("/") if part not in ("", "api", "v1", "v2", "organization", "search")]
    first = parts[0] if parts else "/" if path == "/" else ""
    return next((tag for tag, words in _TAGS.items() if first in words), first.capitalize())


def _path_parameters(path: str) -> Iterable[Schema]:
    for name in re.findall(r"\{(\w+)", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _header_parameters(route: Route) -> Iterable[Schema]:
    if route.lock:
        description = "The ETag of the version that the client read. If it has changed since, the edit is rejected."
        schema: Schema = {"type": "string", "description": description}
        yield {"name": "If-Match", "in": "header", "required": False, "schema": schema}
    if route.idempotent:
        description = "A key that the client chooses. The hub carries out requests with the same key once."
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "description": description}
        yield {"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema}


def _query_parameter(parameter: Parameter, schemas: Schemas) -> Schema:
    kind, _ = optional(parameter.type)
    schema = schemas.schema_of(kind)
    if schema.get("type") == "integer":
        schema = {"minimum": 0, "maximum": MAX_WHOLE} | schema
    described: Schema = {"name": parameter.name, "in": "query", "required": parameter.required, "schema": schema}
    if schema.get("type") == "array":
        described |= {"style": "form", "explode": False}
    elif parameter.default not in (None, "", ()):
        schema["default"] = parameter.default
    return described


def _responses(route: Route, schemas: Schemas) -> Schema:
    """Return the responses of a route by status: the successful one, and the errors."""
    # Lenient routes speak the format of another API, and have its errors too.
    error: Schema = {JSON: {} if route.raw_query else {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses = {
        status: {"description": description, "content": error} for status, description in ERROR_DESCRIPTIONS.items()
    }
    kind = route.returns
    if get_origin(kind) is Created:
        responses["201"] = _json_response("The created object.", schemas.schema_of(get_args(kind)[0]))
    elif (get_origin(kind) or kind) in (Download, File, Response, Stream):
        content: Schema = {media: {} for media in route.media or ("text/plain",)}
        if (args := get_args(kind)) and args[0] is not str:
            content[JSON] = {"schema": schemas.schema_of(args[0])}
        responses["200"] = {"description": route.summary, "content": content}
        if "text/html" in route.media:
            responses["303"] = {"description": "A redirect to the next page."}
            for status in ("400", "403"):
                responses[status] = {
                    "description": "A page with the error message.",
                    "content": error | {"text/html": {}},
                }
    elif kind is type(None) or kind is None:
        responses["204"] = {"description": "Success, without a body."}
    else:
        responses["200"] = _json_response(route.summary, schemas.schema_of(kind))
    return dict(sorted(responses.items()))


def _json_response(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {JSON: {"schema": schema}}}
