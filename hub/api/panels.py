"""Panels: screens that plugins describe as data. The console and the web page draw them, as `Panel` says."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, Literal, get_args

import attrs

from hub.api.routes import AUTHENTICATED, Route
from hub.api.schema import json_name

#: How a panel is drawn. The answer of its source is, for
#:
#: - TABLE and LOG: a list of rows, or a page of one (``content`` and ``totalElements``); a LOG has one line for each;
#: - FORM: an object, whose fields its columns are; its actions send them;
#: - CHART: ``series``, as of ``GET /api/v1/history``.
PanelKind = Literal["TABLE", "FORM", "LOG", "CHART"]
#: How a value is written: ``time`` is in ms UTC, ``duration`` in seconds; ``device`` is a device's id, ``user`` an
#: actor's id ("user 3"), ``state`` a word with a colour.
ColumnFormat = Literal["text", "number", "time", "duration", "bytes", "device", "user", "state"]

#: Beginning of the paths that panels may name: the API for people, whose answers are JSON.
API = "/api/v1/"

# A plugin's code may have values of any type here: the error then is that plugin's, not one of each client.
_TEXT = attrs.validators.instance_of(str)


def _each(cls: type) -> Any:
    return attrs.validators.deep_iterable(attrs.validators.instance_of(cls), attrs.validators.instance_of(Sequence))


@attrs.frozen
class PanelColumn:
    """A field of the source's rows, by its name in JSON, and the label above it."""

    field: str = attrs.field(validator=_TEXT)
    label: str = attrs.field(validator=_TEXT)
    format: ColumnFormat = attrs.field(default="text", validator=attrs.validators.in_(get_args(ColumnFormat)))


@attrs.frozen
class PanelAction:
    """A button that calls the route ``method path``; only principals with the route's permission see it.

    ``confirmation`` is the question that a client asks before the call; "" for none. ``parameters`` are parameters of
    the route, or fields of its body, with the fields of the selected row whose values they get; an action without them
    is about the whole panel.
    """

    label: str = attrs.field(validator=_TEXT)
    method: str = attrs.field(validator=_TEXT)
    path: str = attrs.field(validator=_TEXT)
    confirmation: str = attrs.field(default="", validator=_TEXT, kw_only=True)
    parameters: Mapping[str, str] = attrs.field(
        factory=dict, validator=attrs.validators.deep_mapping(_TEXT, _TEXT), kw_only=True
    )


@attrs.frozen
class Panel:
    """A screen. ``id`` is unique in the hub; ``source`` is the path of a GET route without required parameters.

    Principals see the panel if they have the permission of the source, and ``permission``, if it is set.
    """

    id: str = attrs.field(validator=_TEXT)
    title: str = attrs.field(validator=_TEXT)
    kind: PanelKind = attrs.field(validator=attrs.validators.in_(get_args(PanelKind)))
    source: str = attrs.field(validator=_TEXT)
    columns: Sequence[PanelColumn] = attrs.field(default=(), validator=_each(PanelColumn))
    actions: Sequence[PanelAction] = attrs.field(default=(), validator=_each(PanelAction))
    permission: str = attrs.field(default="", validator=_TEXT, kw_only=True)


def problem_of(panel: Panel, routes: Mapping[tuple[str, str], Route], permissions: Container[str]) -> str | None:
    """Return the first thing that is wrong with a panel, or None.

    ``routes`` are by method and path; ``permissions`` are ids.
    """
    if not panel.source.startswith(API) or (source := routes.get(("GET", panel.source))) is None:
        return f"its source is no GET route below {API}: {panel.source}"
    if required := [parameter.name for parameter in source.parameters if parameter.required]:
        return f"its source needs parameters: {', '.join(required)}"
    if panel.permission not in ("", AUTHENTICATED) and panel.permission not in permissions:
        return f"there is no permission {panel.permission}"
    for action in panel.actions:
        name = f"{action.method} {action.path}"
        route = routes.get((action.method, action.path))
        if not action.path.startswith(API) or route is None:
            return f"the action {action.label!r} is no route below {API}: {name}"
        if not route.raw_query and (unknown := sorted(set(action.parameters) - _parameters_of(route))):
            return f"{name} has no parameters {', '.join(unknown)}"
    return None


def _parameters_of(route: Route) -> set[str]:
    """Return the names of a route's parameters and of the fields of its body."""
    fields = () if route.body is None else attrs.fields(route.body)
    return {parameter.name for parameter in route.parameters} | {json_name(field) for field in fields}
