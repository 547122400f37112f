"""Changes that requests made, as the audit records them: without secrets, and no longer than `MAX_DETAIL`."""

from __future__ import annotations

from itertools import islice
from typing import Any

import attrs

from hub.api.messages import Request
from hub.api.routes import OPEN, Route
from hub.api.schema import json_name, to_json
from hub.errors import Rejected
from hub.model import Change

#: The placeholder for secrets and for values of more than so many characters.
HIDDEN, MAX_DETAIL = "…", 500


def change_of(route: Route, request: Request, at: int, details: dict[str, Any], *, complete: bool = True) -> Change:
    """Return the change that an executed request made; ``complete`` is False when it failed half-way."""
    org = request.principal.org if request.org is None else request.org
    return Change(
        at=at,
        principal=request.principal,
        address=request.address,
        org=org,
        action=route.summary if complete else f"{route.summary} (failed half-way)",
        subject=request.subject,
        details={name: HIDDEN if name in request.redacted else value for name, value in details.items()},
    )


def details_of(route: Route, request: Request) -> dict[str, Any]:
    """Return a request's parameters, and its body without secrets. Raises `Rejected`."""
    # The query of a route without authentication may hold secrets.
    details: dict[str, Any] = {} if route.permission in OPEN else dict(request.params)
    try:
        return details | _body_details(request)
    except RecursionError as error:
        raise Rejected("The body is nested too deeply.") from error


def _body_details(request: Request) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if attrs.has(type(request.body)):
        for field in attrs.fields(type(request.body)):
            value = getattr(request.body, field.name)
            hidden = value is not None and (field.metadata.get("secret") or _is_long(value))
            details[json_name(field)] = HIDDEN if hidden else to_json(value)
    return details


def _is_long(value: Any) -> bool:
    """Whether a value has more than `MAX_DETAIL` characters; looks at no more of it than that takes."""
    left, pending = MAX_DETAIL, [value]
    while pending and left >= 0:
        part = pending.pop()
        if isinstance(part, str):
            left -= len(part) + 2
        elif isinstance(part, dict):
            left -= 2 * len(part)
            pending += (item for pair in islice(part.items(), MAX_DETAIL) for item in pair)
        elif isinstance(part, list | tuple):
            left -= 2 * len(part)
            pending += part[:MAX_DETAIL]
        elif attrs.has(type(part)):
            pending += (getattr(part, field.name) for field in attrs.fields(type(part)))
        else:
            left -= len(str(part))
    return left < 0
