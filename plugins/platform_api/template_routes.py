"""Routes of templates: import and export as files, edit as documents, and their saved versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub import LARGE_BODY, Conflict, Created, Rejected, Request, Response, Route, Template
from hub.api import PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, page_of
from hub.templates import difference, dropped_names, to_document, to_toml
from plugins.platform_api.template_schemas import (
    DatastreamInfo,
    EventInfo,
    MetaField,
    PropertyGroup,
    TemplateObject,
    datastream_infos,
    event_infos,
    meta_fields,
    property_groups,
    template_object,
)

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class ImportTemplate:
    """``toml`` is a template file, ``source`` its name in error messages.

    With ``prune`` datastreams that the file no longer has are dropped with their values; without it they are an error.
    """

    toml: str
    source: str = "template"
    prune: bool = False


@attrs.frozen(kw_only=True)
class TemplatesImported:
    """``changes`` has a line for each difference; it is empty if the template already was the same."""

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
    categories: tuple[str, ...] = ()
    hotspot_prefix: str = "Blynk"
    broadcast_name: str = ""
    logo: str = ""


@attrs.frozen(kw_only=True)
class EditTemplateHead:
    """Fields that are left out stay as they are."""

    name: str | None = None
    board_type: str | None = None
    connection_type: str | None = None
    manufacturer: str | None = None
    description: str | None = None
    categories: tuple[str, ...] | None = None
    hotspot_prefix: str | None = None
    broadcast_name: str | None = None
    logo: str | None = None


@attrs.frozen(kw_only=True)
class EditTemplate:
    """The whole ``document``, with the keys of a template file; with ``check`` nothing is saved.

    With ``apply`` all devices get the new version, else only new devices. With ``prune`` datastreams that the document
    no longer has are dropped with their values; without it they are an error.
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
    """Move all devices that stayed on an older version to the newest one."""

    template_id: str
    prune: bool = False


@attrs.frozen(kw_only=True)
class RestoreTemplate:
    """Save an older ``version`` as the newest one."""

    template_id: str
    version: int
    apply: bool = True
    prune: bool = False


@attrs.frozen(kw_only=True)
class Saved:
    """``changes`` has a line for each difference; ``drops`` names the datastreams whose values are dropped."""

    id: str
    name: str
    version: int
    changes: list[str]
    drops: list[str]


@attrs.frozen(kw_only=True)
class TemplateSummary:
    """``behind`` counts the devices that stayed on an older version; ``template_ids`` has just ``id``."""

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
    """A saved version, with its differences from the version before as ``changes``.

    ``at`` is in ms UTC, 0 for templates older than versions; ``by`` is the name of the user who saved it.
    """

    version: int
    at: int
    by: str
    changes: list[str]


class TemplateRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _template(self, request: Request, template_id: str) -> Template:
        template = self._hub.templates.for_org(self._hub.access.organization_for(request), template_id)
        request.subject = f"template {template.id}"
        return template

    # -- files ----------------------------------------------------------------------------------------------------

    async def import_file(self, request: Request) -> TemplatesImported:
        body: ImportTemplate = request.body
        if "if-match" in request.headers:
            raise Rejected("If-Match cannot be used with a template file; edit the template's document instead.")
        templates = self._hub.templates
        template, changes = await templates.save(body.toml, request.principal, source=body.source, prune=body.prune)
        request.subject = f"template {template.id}"
        return TemplatesImported(id=template.id, name=template.name, changes=changes)

    async def export_file(self, request: Request, template_id: str) -> Response:
        return Response(body=to_toml(self._template(request, template_id)), type="application/toml")

    # -- reading --------------------------------------------------------------------------------------------------

    async def summaries(
        self, request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = PAGE
    ) -> Page[TemplateSummary]:
        devices: Counter[str] = Counter()
        behind: Counter[str] = Counter()
        org = self._hub.access.organization_for(request, org_id)
        for device in self._hub.access.devices_for(request.principal, VIEW_DEVICES, org.id):
            devices[device.template.id] += 1
            behind[device.template.id] += device.pinned is not None

        def summary(template: Template) -> TemplateSummary:
            return TemplateSummary(
                id=template.id,
                template_ids=[template.id],
                org_id=template.org,
                name=template.name,
                version=template.version,
                datastreams=len(template.datastreams),
                devices=devices[template.id],
                behind=behind[template.id],
            )

        enabled = [template for template in self._hub.templates.by_id.values() if org.has(template)]
        return page_of(enabled, page, size, summary)

    async def info(self, request: Request, template_id: str) -> TemplateObject:
        template = self._template(request, template_id)
        request.version(template)
        return template_object(template)

    async def datastreams(self, request: Request, template_id: str) -> list[DatastreamInfo]:
        return datastream_infos(self._template(request, template_id))

    async def events(self, request: Request, template_id: str) -> list[EventInfo]:
        return event_infos(self._template(request, template_id))

    async def metafields(self, request: Request, template_id: str) -> list[MetaField]:
        return meta_fields(self._template(request, template_id))

    async def groups(self, request: Request) -> list[PropertyGroup]:
        org = self._hub.access.organization_for(request)
        return property_groups(template for template in self._hub.templates.by_id.values() if org.has(template))

    async def document(self, request: Request, template_id: str, *, version: int | None = None) -> dict[str, Any]:
        template = self._template(request, template_id)
        request.version(template)
        return to_document(template if version is None else await self._hub.templates.version(template, version))

    # -- changing -------------------------------------------------------------------------------------------------

    async def create(self, request: Request) -> Created[Saved]:
        templates, document = self._hub.templates, request.body.document

        def make() -> Template:
            new = templates.read(document)
            if new.id in templates.by_id:
                raise Conflict(f"Template {new.id} already exists; edit it, or use another id.")
            return new

        return Created(value=await self._save(request, make))

    async def create_head(self, request: Request) -> Created[TemplateObject]:
        # Read once: reading a document without an id makes an id.
        new = self._hub.templates.read({"template": _head(request.body)})
        saved = await self._save(request, lambda: new)
        return Created(value=template_object(self._hub.templates.by_id[saved.id]))

    async def edit_head(self, request: Request, template_id: str) -> TemplateObject:
        document = to_document(self._template(request, template_id))
        document["template"] |= _head(request.body)
        saved = await self._edit(request, EditTemplate(template_id=template_id, document=document))
        return template_object(self._hub.templates.by_id[saved.id])

    async def edit(self, request: Request) -> Saved:
        return await self._edit(request, request.body)

    async def _edit(self, request: Request, body: EditTemplate) -> Saved:
        old = self._template(request, body.template_id)
        request.expect(old)
        document = dict(body.document)
        if isinstance(head := document.get("template"), dict):
            if head.get("id", old.id) != old.id:
                raise Rejected(f"document: the id does not change; it must be {old.id}")
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
        """Save the template that ``make`` returns, or with ``check`` only tell what that would change.

        The store calls ``make`` while it holds its lock, so that it sees the newest templates.
        """
        templates, drops = self._hub.templates, list[str]()

        def make_and_note_drops() -> Template:
            new = make()
            drops[:] = dropped_names(templates.changes(new, apply=apply)[1])
            return new

        if check:
            new = make_and_note_drops()
            templates.check(new)
            request.no_change = True
            saved, changes = templates.by_id.get(new.id, new), templates.changes(new, apply=apply)[0]
        else:
            saved, changes = await templates.put(make_and_note_drops, request.principal, prune=prune, apply=apply)
        request.subject = f"template {saved.id}"
        return Saved(id=saved.id, name=saved.name, version=saved.version, changes=changes, drops=drops)

    async def duplicate(self, request: Request) -> Created[Saved]:
        body: DuplicateTemplate = request.body
        document = to_document(self._template(request, body.template_id))
        document["template"] = {key: value for key, value in document["template"].items() if key != "id"}
        document["template"]["name"] = body.name
        # Read once: reading a document without an id makes an id.
        new = self._hub.templates.read(document)
        return Created(value=await self._save(request, lambda: new))

    async def apply(self, request: Request) -> Saved:
        body: ApplyTemplate = request.body
        template = self._template(request, body.template_id)
        request.expect(template)
        return await self._save(request, lambda: self._hub.templates.get(template.id), prune=body.prune)

    async def delete(self, request: Request, template_id: str, *, everything: bool = False) -> None:
        """With ``everything`` its devices are deleted too, with all their data."""
        template = self._template(request, template_id)
        request.expect(template)
        devices = [device for device in self._hub.devices.by_id.values() if device.template.id == template.id]
        if devices and not everything:
            raise Conflict(
                f"Template {template.id} has devices ({len(devices)}); delete them first, or with everything=true."
            )
        for device in devices:
            self._hub.authorize(request.principal, "org_devices.delete", device)
        for device in devices:
            request.partially_applied = True
            # Again: rights and owners may change while other devices are deleted.
            self._hub.authorize(request.principal, "org_devices.delete", device)
            await self._hub.devices.delete(device, request.principal)
        await self._hub.templates.remove(template, request.principal)

    # -- versions -------------------------------------------------------------------------------------------------

    async def versions(
        self, request: Request, template_id: str, *, page: PageNumber = 0, size: PageSize = 20
    ) -> Page[VersionObject]:
        versions = await self._hub.templates.versions(self._template(request, template_id))
        predecessors = [*versions[1:], None]
        return page_of(
            list(zip(versions, predecessors, strict=True)),
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
        """A line for each difference between two versions."""
        template = self._template(request, template_id)
        old, new = [await self._hub.templates.version(template, number) for number in (from_, to)]
        return difference(old, new)[0]

    async def restore(self, request: Request) -> Saved:
        body: RestoreTemplate = request.body
        template = self._template(request, body.template_id)
        request.expect(template)
        old = await self._hub.templates.version(template, body.version)
        return await self._save(request, lambda: old, apply=body.apply, prune=body.prune)


def _head(body: NewTemplateHead | EditTemplateHead) -> dict[str, Any]:
    """Return the fields that the body sets, by their keys in a template file."""
    keys = {"board_type": "hardware", "connection_type": "connection"}
    fields = attrs.asdict(body, filter=lambda _, value: value is not None)
    return {keys.get(name, name): list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def routes(hub: Hub) -> Sequence[Route]:
    api = TemplateRoutes(hub)
    org, ours = "/api/v1/organization", "/api/v1/template"
    view, edit, toml = "templates.view", "templates.edit", ("application/toml",)
    head, apply = "Edit a template's name and description", "Move all devices of a template to its newest version"
    change, restore = "Edit a template, or preview the changes", "Restore an older version of a template"
    editing: Any = {"lock": "template"}
    large: Any = {"max_body": LARGE_BODY}
    return [
        Route("GET", f"{org}/templates", api.summaries, view, "All templates"),
        Route("GET", f"{org}/template", api.info, view, "One template"),
        Route("GET", f"{org}/template/datastreams", api.datastreams, view, "A template's datastreams"),
        Route("GET", f"{org}/template/events", api.events, view, "A template's events"),
        Route("GET", f"{org}/template/metafields", api.metafields, view, "A template's metadata"),
        Route("POST", f"{org}/template/create", api.create_head, edit, "Create an empty template", NewTemplateHead),
        Route("PUT", f"{org}/template", api.edit_head, edit, head, EditTemplateHead, **editing),
        Route("DELETE", f"{org}/template", api.delete, edit, "Delete a template", **editing),
        Route(
            "POST",
            f"{ours}/import",
            api.import_file,
            edit,
            "Import a template file",
            ImportTemplate,
            **large,
            **editing,
        ),
        Route("GET", f"{ours}/groups", api.groups, view, "The property groups of all templates"),
        Route("GET", f"{ours}/export", api.export_file, view, "A template as a file", media=toml),
        Route("GET", f"{ours}/document", api.document, view, "A template as a document, or one of its versions"),
        Route("POST", f"{ours}/create", api.create, edit, "Make a template", NewTemplate, **large),
        Route("PUT", ours, api.edit, edit, change, EditTemplate, **large, **editing),
        Route("DELETE", ours, api.delete, edit, "Delete a template", **editing),
        Route("POST", f"{ours}/duplicate", api.duplicate, edit, "Make a copy of a template", DuplicateTemplate),
        Route("POST", f"{ours}/apply", api.apply, edit, apply, ApplyTemplate, **editing),
        Route("GET", f"{ours}/versions", api.versions, view, "The versions of a template"),
        Route("GET", f"{ours}/difference", api.difference, view, "The differences between two versions of a template"),
        Route("POST", f"{ours}/restore", api.restore, edit, restore, RestoreTemplate, **editing),
    ]
