"""Templates over HTTP: as files and as documents, with all that was saved before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub.api import (
    LARGE_BODY,
    PAGE,
    VIEW_DEVICES,
    Created,
    Page,
    PageNumber,
    PageSize,
    Request,
    Response,
    Route,
    page_of,
)
from hub.errors import Conflict, Rejected
from hub.model import (
    Template,
)
from hub.templates.document import difference, to_document, to_toml
from hub.templates.store import dropped_names
from plugins.platform_api.template_schemas import (
    DatastreamInfo,
    EventInfo,
    MetaField,
    TemplateObject,
    datastreams_shown,
    events_shown,
    fields_shown,
    template_shown,
)

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
class NewTemplate:
    """``document`` has the keys of a template file."""

    document: dict[str, Any]


@attrs.frozen(kw_only=True)
class NewTemplateHead:
    """A template without datastreams; the fields are named as in `TemplateObject`."""

    name: str
    board_type: str = ""
    connection_type: str = ""
    manufacturer: str = ""
    description: str = ""


@attrs.frozen(kw_only=True)
class EditTemplateHead:
    """Fields that are left out stay as they are."""

    name: str | None = None
    board_type: str | None = None
    connection_type: str | None = None
    manufacturer: str | None = None
    description: str | None = None


@attrs.frozen(kw_only=True)
class EditTemplate:
    """The whole ``document``, with the keys of a template file; with ``check`` nothing is saved.

    With ``apply`` all devices follow, else only new ones have it. Without ``prune`` no values are dropped.
    """

    template_id: str
    document: dict[str, Any]
    apply: bool = True
    prune: bool = False
    check: bool = False


@attrs.frozen(kw_only=True)
class DuplicateTemplate:
    template_id: str
    name: str


@attrs.frozen(kw_only=True)
class ApplyTemplate:
    """Let all devices follow that have stayed with an older version."""

    template_id: str
    prune: bool = False


@attrs.frozen(kw_only=True)
class RestoreTemplate:
    """An older version becomes the newest one."""

    template_id: str
    version: int
    apply: bool = True
    prune: bool = False


@attrs.frozen(kw_only=True)
class Saved:
    """``changes`` are lines; ``drops`` names the datastreams whose values went, or would go."""

    id: str
    name: str
    version: int
    changes: list[str]
    drops: list[str]


@attrs.frozen(kw_only=True)
class TemplateSummary:
    """``behind`` is how many of its devices have stayed with an older version; it has one id, ``template_ids`` too."""

    id: str
    template_ids: list[str]
    org_id: int
    name: str
    version: int
    datastreams: int
    devices: int
    behind: int


@attrs.frozen(kw_only=True)
class VersionObject:
    """``at`` is in ms UTC (0: before there were versions), ``by`` who it was; ``changes`` what it changed."""

    version: int
    at: int
    by: str
    changes: list[str]


class TemplateRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _of(self, request: Request, template_id: str) -> Template:
        found = self._hub.templates.for_org(self._hub.access.organization_for(request), template_id)
        request.subject = f"template {found.id}"
        return found

    # -- as a file ------------------------------------------------------------------------------------------------

    async def import_file(self, request: Request) -> Imported:
        body: ImportTemplate = request.body
        if "if-match" in request.headers:
            raise Rejected("If-Match: a file says by itself which template it is; edit its document instead")
        templates = self._hub.templates
        template, changes = await templates.save(body.toml, request.principal, source=body.source, prune=body.prune)
        request.subject = f"template {template.id}"
        return Imported(id=template.id, name=template.name, changes=changes)

    async def export_file(self, request: Request, template_id: str) -> Response:
        return Response(body=to_toml(self._of(request, template_id)), type="application/toml")

    # -- looking --------------------------------------------------------------------------------------------------

    async def listed(
        self, request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = PAGE
    ) -> Page[TemplateSummary]:
        used: Counter[str] = Counter()
        behind: Counter[str] = Counter()
        org = self._hub.access.organization_for(request, org_id)
        for device in self._hub.access.devices_for(request.principal, VIEW_DEVICES, org.id):
            used[device.template.id] += 1
            behind[device.template.id] += device.pinned is not None
        found = [template for template in self._hub.templates.by_id.values() if org.has(template)]
        return page_of(
            found,
            page,
            size,
            lambda one: TemplateSummary(
                id=one.id,
                template_ids=[one.id],
                org_id=one.org,
                name=one.name,
                version=one.version,
                datastreams=len(one.datastreams),
                devices=used[one.id],
                behind=behind[one.id],
            ),
        )

    async def info(self, request: Request, template_id: str) -> TemplateObject:
        found = self._of(request, template_id)
        request.version(found)
        return template_shown(found)

    async def datastreams(self, request: Request, template_id: str) -> list[DatastreamInfo]:
        return datastreams_shown(self._of(request, template_id))

    async def events(self, request: Request, template_id: str) -> list[EventInfo]:
        return events_shown(self._of(request, template_id))

    async def metafields(self, request: Request, template_id: str) -> list[MetaField]:
        return fields_shown(self._of(request, template_id))

    async def document(self, request: Request, template_id: str, *, version: int | None = None) -> dict[str, Any]:
        found = self._of(request, template_id)
        request.version(found)
        return to_document(found if version is None else await self._hub.templates.version(found, version))

    # -- changing -------------------------------------------------------------------------------------------------

    async def create(self, request: Request) -> Created[Saved]:
        templates, document = self._hub.templates, request.body.document

        def make() -> Template:
            new = templates.read(document)
            if new.id in templates.by_id:
                raise Conflict(f"there is a template {new.id} already")
            return new

        return Created(value=await self._save(request, make))

    async def create_head(self, request: Request) -> Created[TemplateObject]:
        # The id is made once.
        new = self._hub.templates.read({"template": _head(request.body)})
        saved = await self._save(request, lambda: new)
        return Created(value=template_shown(self._hub.templates.by_id[saved.id]))

    async def edit_head(self, request: Request, template_id: str) -> TemplateObject:
        document = to_document(self._of(request, template_id))
        document["template"] |= _head(request.body)
        saved = await self._edit(request, EditTemplate(template_id=template_id, document=document))
        return template_shown(self._hub.templates.by_id[saved.id])

    async def edit(self, request: Request) -> Saved:
        return await self._edit(request, request.body)

    async def _edit(self, request: Request, body: EditTemplate) -> Saved:
        old = self._of(request, body.template_id)
        request.expect(old)
        document = dict(body.document)
        if isinstance(head := document.get("template"), dict):
            if head.get("id", old.id) != old.id:
                raise Rejected("document: a template's id does not change")
            document["template"] = head | {"id": old.id}
        saved = await self._save(
            request,
            lambda: self._hub.templates.read(document),
            apply=body.apply,
            prune=body.prune,
            check=body.check,
        )
        request.version(self._hub.templates.by_id[saved.id])
        return saved

    async def _save(
        self,
        request: Request,
        make: Callable[[], Template],
        *,
        apply: bool = True,
        prune: bool = False,
        check: bool = False,
    ) -> Saved:
        templates, found = self._hub.templates, list[str]()

        def looked() -> Template:
            new = make()
            found[:] = dropped_names(templates.changes(new, apply=apply)[1])
            return new

        if check:
            new = looked()
            templates.check(new)
            request.no_change = True
            saved, lines = templates.by_id.get(new.id, new), templates.changes(new, apply=apply)[0]
        else:
            saved, lines = await templates.put(looked, request.principal, prune=prune, apply=apply)
        request.subject = f"template {saved.id}"
        return Saved(id=saved.id, name=saved.name, version=saved.version, changes=lines, drops=found)

    async def duplicate(self, request: Request) -> Created[Saved]:
        body: DuplicateTemplate = request.body
        document = to_document(self._of(request, body.template_id))
        document["template"] = {key: value for key, value in document["template"].items() if key != "id"}
        document["template"]["name"] = body.name
        # The id is made once.
        new = self._hub.templates.read(document)
        return Created(value=await self._save(request, lambda: new))

    async def apply(self, request: Request) -> Saved:
        body: ApplyTemplate = request.body
        found = self._of(request, body.template_id)
        request.expect(found)
        return await self._save(request, lambda: self._hub.templates.get(found.id), prune=body.prune)

    async def delete(self, request: Request, template_id: str, *, everything: bool = False) -> None:
        """With ``everything`` its devices too, with all that they held."""
        found = self._of(request, template_id)
        request.expect(found)
        devices = [device for device in self._hub.devices.by_id.values() if device.template.id == found.id]
        if devices and not everything:
            raise Conflict(f"{len(devices)} devices have template {found.id}; everything=true deletes them too")
        for device in devices:
            self._hub.authorize(request.principal, "org_devices.delete", device)
        for device in devices:
            request.partially_applied = True
            self._hub.authorize(request.principal, "org_devices.delete", device)
            await self._hub.devices.delete(device, request.principal)
        await self._hub.templates.remove(found, request.principal)

    # -- what was saved before ------------------------------------------------------------------------------------

    async def versions(
        self, request: Request, template_id: str, *, page: PageNumber = 0, size: PageSize = 20
    ) -> Page[VersionObject]:
        found = await self._hub.templates.versions(self._of(request, template_id))
        before = [*found[1:], None]
        return page_of(
            list(zip(found, before, strict=True)),
            page,
            size,
            lambda pair: VersionObject(
                version=pair[0].number,
                at=pair[0].at,
                by=self._hub.name_of(pair[0].by, request.principal),
                changes=difference(pair[1].template, pair[0].template)[0] if pair[1] else [],
            ),
        )

    async def difference(self, request: Request, template_id: str, from_: int, to: int) -> list[str]:
        """What changes from one version to another, a line each."""
        found = self._of(request, template_id)
        old, new = [await self._hub.templates.version(found, number) for number in (from_, to)]
        return difference(old, new)[0]

    async def restore(self, request: Request) -> Saved:
        body: RestoreTemplate = request.body
        found = self._of(request, body.template_id)
        request.expect(found)
        old = await self._hub.templates.version(found, body.version)
        return await self._save(request, lambda: old, apply=body.apply, prune=body.prune)


def _head(body: NewTemplateHead | EditTemplateHead) -> dict[str, str]:
    """The keys of a template file that a body has."""
    renamed = {"board_type": "hardware", "connection_type": "connection"}
    given = attrs.asdict(body, filter=lambda _, value: value is not None)
    return {renamed.get(name, name): value for name, value in given.items()}


def routes(hub: Hub) -> Sequence[Route]:
    api = TemplateRoutes(hub)
    org, ours = "/api/v1/organization", "/api/v1/template"
    view, edit, toml = "templates.view", "templates.edit", ("application/toml",)
    whole: Any = {"max_body": LARGE_BODY}
    return [
        Route("GET", f"{org}/templates", api.listed, view, "All templates"),
        Route("GET", f"{org}/template", api.info, view, "One template"),
        Route("GET", f"{org}/template/datastreams", api.datastreams, view, "A template's datastreams"),
        Route("GET", f"{org}/template/events", api.events, view, "A template's events"),
        Route("GET", f"{org}/template/metafields", api.metafields, view, "A template's metadata"),
        Route("POST", f"{org}/template/create", api.create_head, edit, "Create an empty template", NewTemplateHead),
        Route(
            "PUT",
            f"{org}/template",
            api.edit_head,
            edit,
            "Edit a template's name and description",
            EditTemplateHead,
            lock="template",
        ),
        Route("DELETE", f"{org}/template", api.delete, edit, "Delete a template", lock="template"),
        Route(
            "POST",
            f"{ours}/import",
            api.import_file,
            edit,
            "Import a template file",
            ImportTemplate,
            **whole,
            lock="template",
        ),
        Route("GET", f"{ours}/export", api.export_file, view, "A template as a file", media=toml),
        Route("GET", f"{ours}/document", api.document, view, "A template as a document, or one of its versions"),
        Route("POST", f"{ours}/create", api.create, edit, "Make a template", NewTemplate, **whole),
        Route(
            "PUT",
            ours,
            api.edit,
            edit,
            "Edit a template, or see what that would change",
            EditTemplate,
            **whole,
            lock="template",
        ),
        Route("DELETE", ours, api.delete, edit, "Delete a template", lock="template"),
        Route("POST", f"{ours}/duplicate", api.duplicate, edit, "Make a copy of a template", DuplicateTemplate),
        Route(
            "POST",
            f"{ours}/apply",
            api.apply,
            edit,
            "Let all devices of a template follow",
            ApplyTemplate,
            lock="template",
        ),
        Route("GET", f"{ours}/versions", api.versions, view, "The versions of a template"),
        Route("GET", f"{ours}/difference", api.difference, view, "What changed between two versions"),
        Route(
            "POST",
            f"{ours}/restore",
            api.restore,
            edit,
            "Go back to a version of a template",
            RestoreTemplate,
            lock="template",
        ),
    ]
