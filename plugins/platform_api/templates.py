"""Templates over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub.model import Datastream, Template
from hub.routes import VIEW_DEVICES, Page, Request, Response, Route
from hub.templates import to_toml
from hub.values import to_json

if TYPE_CHECKING:
    from hub.app import Hub


@attrs.frozen(kw_only=True)
class ImportTemplate:
    """``toml`` is a template file, ``source`` its name in errors; without ``prune`` no values are dropped."""

    toml: str
    source: str = "template"
    prune: bool = False


@attrs.frozen(kw_only=True)
class Imported:
    """``changes`` is empty when the template was the same already."""

    id: str
    name: str
    changes: list[str]


@attrs.frozen(kw_only=True)
class TemplateSummary:
    id: str
    name: str
    datastreams: int
    devices: int


def routes(hub: Hub) -> Sequence[Route]:
    def of(request: Request, template_id: str) -> Template:
        return hub.templates.for_org(hub.organization_for(request), template_id)

    async def import_template(request: Request) -> Imported:
        body: ImportTemplate = request.body
        template, changes = await hub.templates.save(body.toml, request.principal, source=body.source, prune=body.prune)
        request.subject = f"template {template.id}"
        return Imported(id=template.id, name=template.name, changes=changes)

    async def export_template(request: Request, template_id: str) -> Response:
        return Response(body=to_toml(of(request, template_id)), type="application/toml")

    async def list_templates(request: Request, org_id: int | None = None) -> Page[TemplateSummary]:
        used: dict[str, int] = {}
        org = hub.organization_for(request, org_id)
        for device in hub.devices_for(request.principal, VIEW_DEVICES, org.id):
            used[device.template.id] = used.get(device.template.id, 0) + 1
        content = [
            TemplateSummary(id=t.id, name=t.name, datastreams=len(t.datastreams), devices=used.get(t.id, 0))
            for t in hub.templates.by_id.values()
            if org.has(t)
        ]
        return Page(content=content, total_elements=len(content))

    async def get_template(request: Request, template_id: str) -> dict[str, Any]:
        return _described(of(request, template_id))

    view, edit, toml = "templates.view", "templates.edit", ("application/toml",)
    return [
        Route("POST", "/api/v1/template/import", import_template, edit, "Import a template file", ImportTemplate),
        Route("GET", "/api/v1/template/export", export_template, view, "A template as a file", media=toml),
        Route("GET", "/api/v1/organization/templates", list_templates, view, "All templates"),
        Route("GET", "/api/v1/organization/template", get_template, view, "One template"),
    ]


def _described(template: Template) -> dict[str, Any]:
    return {
        **attrs.asdict(template, filter=lambda a, _: a.name != "datastreams"),
        "datastreams": [_stream(d) for d in template.datastreams],
    }


def _stream(d: Datastream) -> dict[str, Any]:
    plain = attrs.asdict(d)
    return plain | {"pin": f"v{d.pin}", "default": None if d.default is None else to_json(d.default)}
