"""Tags over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import Created, Rejected, Request, Route
from hub.api import VIEW_DEVICES
from plugins.fleet.tags import Tag, Tags

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class TagObject:
    """Tag as JSON: ``color`` is like #24a0ed; ``devices`` counts the tagged devices that the client may view."""

    id: int
    tag_owner_org_id: int
    name: str
    color: str
    icon: str
    devices: int


@attrs.frozen(kw_only=True)
class DeviceTag:
    """Tag of a device."""

    id: int
    tag_owner_org_id: int
    name: str
    color: str
    icon: str


@attrs.frozen(kw_only=True)
class NewTag:
    name: str
    color: str = ""
    icon: str = ""
    org_id: int | None = None


@attrs.frozen(kw_only=True)
class EditTag:
    """Changes of a tag: absent fields stay as they are."""

    tag_id: int
    name: str | None = None
    color: str | None = None
    icon: str | None = None


@attrs.frozen(kw_only=True)
class TagDevice:
    device_id: int
    tag_id: int


class TagRoutes:
    def __init__(self, hub: Hub, tags: Tags) -> None:
        self._hub = hub
        self._tags = tags

    async def tags(self, request: Request, *, org_id: int | None = None) -> list[TagObject]:
        org = self._hub.access.organization_for(request, org_id)
        tags = [tag for tag in self._tags.by_id.values() if tag.org == org.id]
        return [self._to_object(request, tag) for tag in sorted(tags, key=lambda tag: tag.name)]

    async def create(self, request: Request) -> Created[TagObject]:
        body: NewTag = request.body
        org = self._hub.access.organization_for(request, body.org_id)
        tag = await self._tags.add(Tag(id=0, org=org.id, name=body.name, color=body.color, icon=body.icon))
        request.subject = f"tag {tag.id}"
        return Created(value=self._to_object(request, tag))

    async def edit(self, request: Request) -> TagObject:
        body: EditTag = request.body
        tag = self._editable(request, body.tag_id)
        changes = attrs.asdict(body, filter=lambda field, value: value is not None and field.name != "tag_id")
        changed = attrs.evolve(tag, **changes)
        await self._tags.update(changed)
        request.version(changed)
        return self._to_object(request, changed)

    async def delete(self, request: Request, tag_id: int) -> None:
        await self._tags.remove(self._editable(request, tag_id))

    async def device_tags(self, request: Request, device_id: int) -> list[DeviceTag]:
        device = self._hub.access.device_for(request, device_id)
        return [
            DeviceTag(id=tag.id, tag_owner_org_id=tag.org, name=tag.name, color=tag.color, icon=tag.icon)
            for tag in self._tags.visible_tags(device, request.principal)
        ]

    async def attach(self, request: Request) -> None:
        body: TagDevice = request.body
        device = self._hub.access.device_for(request, body.device_id)
        tag = self._tags.tag_for(request.principal, body.tag_id)
        if problem := self._tags.attach_problem(device, tag):
            raise Rejected(problem)
        await self._tags.attach([device], tag, request.principal)

    async def detach(self, request: Request, device_id: int, tag_id: int) -> None:
        device = self._hub.access.device_for(request, device_id)
        tag = self._tags.tag_for(request.principal, tag_id)
        await self._tags.detach([device], tag, request.principal)

    def _editable(self, request: Request, tag_id: int) -> Tag:
        """Return the tag that a request edits, for the audit too. Raises `NotFound`, `Outdated`."""
        tag = self._tags.tag_for(request.principal, tag_id, request.permission)
        request.subject, request.org = f"tag {tag.id}", tag.org
        request.expect(tag)
        return tag

    def _to_object(self, request: Request, tag: Tag) -> TagObject:
        devices = (self._hub.devices.by_id[device_id] for device_id in self._tags.devices_with([tag]))
        return TagObject(
            id=tag.id,
            tag_owner_org_id=tag.org,
            name=tag.name,
            color=tag.color,
            icon=tag.icon,
            devices=len(self._hub.access.allowed_devices(request.principal, VIEW_DEVICES, devices)),
        )


def routes(hub: Hub, tags: Tags) -> Sequence[Route]:
    api = TagRoutes(hub, tags)
    org, edit, tag = "/api/v1/organization", "tags.edit", "org_devices.edit"
    return [
        Route("GET", f"{org}/tags", api.tags, VIEW_DEVICES, "The tags of an organization"),
        Route("POST", f"{org}/tag/create", api.create, edit, "Make a tag", NewTag, lock="tag"),
        Route("PUT", f"{org}/tag", api.edit, edit, "Edit a tag", EditTag, lock="tag"),
        Route("DELETE", f"{org}/tag", api.delete, edit, "Delete a tag", lock="tag"),
        Route("GET", f"{org}/device/tags", api.device_tags, VIEW_DEVICES, "A device's tags"),
        Route("POST", f"{org}/device/tag", api.attach, tag, "Tag a device", TagDevice),
        Route("DELETE", f"{org}/device/tag", api.detach, tag, "Take a tag from a device"),
    ]
