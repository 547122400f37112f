"""Templates over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub.model import Datastream, Template
from hub.routes import VIEW_DEVICES, Request, Response, Route
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


@attrs.frozen(kw_only=True)
class TemplateList:
    content: list[TemplateSummary]
    total_elements: int


def routes(hub: Hub) -> Sequence[Route]:
    def of(request: Request) -> Template:
        return hub.templates.for_org(hub.organization_for(request), request.param("templateId"))

    async def import_template(request: Request) -> Imported:
        body: ImportTemplate = request.body
        template, changes = await hub.templates.save(body.toml, request.principal, source=body.source, prune=body.prune)
        request.subject = f"template {template.id}"
        return Imported(id=template.id, name=template.name, changes=changes)

    async def export_template(request: Request) -> Response:
        return Response(body=to_toml(of(request)), type="application/toml")

    async def list_templates(request: Request) -> TemplateList:
        used: dict[str, int] = {}
        org = hub.organization_for(request, request.optional_int("orgId"))
        for device in hub.devices_for(request.principal, VIEW_DEVICES, org.id):
            used[device.template.id] = used.get(device.template.id, 0) + 1
        content = [
            TemplateSummary(id=t.id, name=t.name, datastreams=len(t.datastreams), devices=used.get(t.id, 0))
            for t in hub.templates.by_id.values()
            if org.has(t)
        ]
        return TemplateList(content=content, total_elements=len(content))

    async def get_template(request: Request) -> dict[str, Any]:
        return _described(of(request))

    return [
        Route(
            method="POST",
            path="/api/v1/template/import",
            handler=import_template,
            permission="templates.edit",
            body=ImportTemplate,
            returns=Imported,
            summary="Import a template file",
        ),
        Route(
            method="GET",
            path="/api/v1/template/export",
            handler=export_template,
            permission="templates.view",
            summary="A template as a file",
        ),
        Route(
            method="GET",
            path="/api/v1/organization/templates",
            handler=list_templates,
            permission="templates.view",
            returns=TemplateList,
            summary="All templates",
        ),
        Route(
            method="GET",
            path="/api/v1/organization/template",
            handler=get_template,
            permission="templates.view",
            summary="One template",
        ),
    ]


def _described(template: Template) -> dict[str, Any]:
    return {
        **attrs.asdict(template, filter=lambda a, _: a.name != "datastreams"),
        "datastreams": [_stream(d) for d in template.datastreams],
    }


def _stream(d: Datastream) -> dict[str, Any]:
    plain = attrs.asdict(d)
    return plain | {"pin": f"v{d.pin}", "default": None if d.default is None else to_json(d.default)}
