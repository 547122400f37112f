"""Tags: short words of an organization that stick to devices (docs.blynk.io, Tags)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from hub.api import VIEW_DEVICES, Created, Request, Route
from hub.errors import Conflict, NotFound, Rejected
from hub.facts import DeviceChanged, DeviceDeleted, OrganizationChanged
from hub.spellings import is_name, is_printable, nfc

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.model import Device, Principal
    from hub.storage import Row, Transaction

#: docs.blynk.io, Tags: how long a name is, how many an organization and a device have.
MAX_NAME, MAX_OF_ORG, MAX_OF_DEVICE = 24, 20, 5
COLOR = re.compile(r"#[0-9A-Fa-f]{6}")


@attrs.frozen(kw_only=True)
class Tag:
    id: int
    org: int
    name: str = attrs.field(converter=nfc)
    color: str = ""
    icon: str = ""


@attrs.frozen(kw_only=True)
class TagObject:
    """``color`` is like #24a0ed; ``devices`` how many of those that the asker may view have it."""

    id: int
    tag_owner_org_id: int
    name: str
    color: str
    icon: str
    devices: int


@attrs.frozen(kw_only=True)
class DeviceTag:
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
    """What is left out stays."""

    tag_id: int
    name: str | None = None
    color: str | None = None
    icon: str | None = None


@attrs.frozen(kw_only=True)
class TagDevice:
    device_id: int
    tag_id: int


class Tags:
    """All tags, and which devices have them. A tag counts on devices of its organization and below."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.by_id: dict[int, Tag] = {}
        self._of: dict[int, set[int]] = {}
        hub.subscribe(DeviceDeleted, self._gone)
        hub.subscribe(OrganizationChanged, self._follow)

    async def load(self) -> None:
        async def read(tx: Transaction) -> tuple[list[Row], list[Row]]:
            tags = await tx.fetch_all("SELECT id, org, name, color, icon FROM fleet_tags")
            return tags, await tx.fetch_all("SELECT device, tag FROM fleet_device_tags")

        rows, devices = await self._hub.storage.read(read)
        self.by_id = {row[0]: Tag(id=row[0], org=row[1], name=row[2], color=row[3], icon=row[4]) for row in rows}
        for device, tag in devices:
            self._of.setdefault(device, set()).add(tag)

    def _gone(self, fact: DeviceDeleted) -> None:
        self._of.pop(fact.device.id, None)

    def _follow(self, fact: OrganizationChanged) -> None:
        if fact.gone:
            for tag in [tag for tag in self.by_id.values() if tag.org == fact.organization.id]:
                self._drop(tag)

    def _drop(self, tag: Tag) -> None:
        self.by_id.pop(tag.id, None)
        for had in self._of.values():
            had.discard(tag.id)

    def of(self, device: Device) -> list[Tag]:
        """A device's tags, by name."""
        orgs = self._hub.organizations
        found = (self.by_id[number] for number in self._of.get(device.id, ()))
        return sorted((tag for tag in found if orgs.contains(tag.org, device.org)), key=lambda tag: tag.name)

    def devices_with(self, tags: Iterable[Tag]) -> set[int]:
        """The ids of devices that have one of some tags."""
        wanted = {tag.id for tag in tags}
        by_id = self._hub.devices.by_id
        found = (by_id[device] for device, has in self._of.items() if has & wanted and device in by_id)
        return {device.id for device in found if any(tag.id in wanted for tag in self.of(device))}

    def seen(self, principal: Principal, tag: Tag) -> bool:
        """Whether a tag is somebody's business: what is of an organization above is nobody's below."""
        return principal.kind in ("local", "system") or self._hub.organizations.contains(principal.org, tag.org)

    def get(self, number: int) -> Tag:
        """Raises `NotFound`."""
        if (tag := self.by_id.get(number)) is None:
            raise NotFound(f"Tag with identifier {number} is not found or belong to another organization.")
        return tag

    def check(self, tag: Tag) -> None:
        """Whether a tag can be like this. Raises `Rejected`, `Conflict`."""
        if not is_name(tag.name, MAX_NAME) or tag.name != tag.name.strip():
            raise Rejected(f"name must have 1 to {MAX_NAME} printable characters")
        if tag.color and COLOR.fullmatch(tag.color) is None:
            raise Rejected("color must be like #24a0ed")
        if len(tag.icon) > MAX_NAME or not is_printable(tag.icon):
            raise Rejected(f"icon must have at most {MAX_NAME} printable characters")
        of_org = [one for one in self.by_id.values() if one.org == tag.org and one.id != tag.id]
        if any(one.name == tag.name for one in of_org):
            raise Conflict(f"there is a tag named {tag.name!r} already")
        if len(of_org) >= MAX_OF_ORG:
            raise Conflict(f"an organization can have at most {MAX_OF_ORG} tags")

    async def add(self, tag: Tag) -> Tag:
        """Add one; its id is given here."""
        self.check(tag)

        async def write(tx: Transaction) -> int:
            return await tx.execute(
                "INSERT INTO fleet_tags (org, name, color, icon) VALUES (?, ?, ?, ?)",
                (tag.org, tag.name, tag.color, tag.icon),
            )

        made = attrs.evolve(tag, id=await self._hub.storage.transaction(write))
        self.by_id[made.id] = made
        return made

    async def change(self, tag: Tag) -> None:
        self.check(tag)

        async def write(tx: Transaction) -> None:
            await tx.execute(
                "UPDATE fleet_tags SET name = ?, color = ?, icon = ? WHERE id = ?",
                (tag.name, tag.color, tag.icon, tag.id),
            )

        await self._hub.storage.transaction(write)
        self.by_id[tag.id] = tag

    async def remove(self, tag: Tag) -> None:
        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM fleet_tags WHERE id = ?", (tag.id,))

        await self._hub.storage.transaction(write)
        self._drop(tag)

    def problem(self, device: Device, tag: Tag) -> str | None:
        """Why a device cannot have a tag."""
        if not self._hub.organizations.contains(tag.org, device.org):
            return "the tag is of another organization"
        # Those of organizations above are nobody's business here.
        has = [one for one in self.of(device) if one.org == tag.org]
        if tag not in has and len(has) >= MAX_OF_DEVICE:
            return f"a device can have at most {MAX_OF_DEVICE} tags"
        return None

    async def put(self, devices: Sequence[Device], tag: Tag, by: Principal, *, on: bool) -> None:
        """Let devices have a tag, or have it no more."""

        async def write(tx: Transaction) -> None:
            for device in devices:
                await tx.execute("DELETE FROM fleet_device_tags WHERE device = ? AND tag = ?", (device.id, tag.id))
                if on:
                    # A device or a tag that was deleted meanwhile is passed over.
                    await tx.execute(
                        "INSERT INTO fleet_device_tags (device, tag) SELECT devices.id, fleet_tags.id"
                        " FROM devices, fleet_tags WHERE devices.id = ? AND fleet_tags.id = ?",
                        (device.id, tag.id),
                    )

        await self._hub.storage.transaction(write)
        for device in devices:
            if self._hub.devices.by_id.get(device.id) is device and tag.id in self.by_id:
                has = self._of.setdefault(device.id, set())
                (has.add if on else has.discard)(tag.id)
                self._hub.emit(DeviceChanged(device, by))


def routes(hub: Hub, tags: Tags) -> Sequence[Route]:
    def tag_for(request: Request, number: int) -> Tag:
        """A tag of an organization that the asker may do this in. Raises `NotFound` for others'."""
        tag = tags.get(number)
        if not hub.is_allowed(request.principal, request.permission, org=tag.org):
            raise NotFound(f"Tag with identifier {number} is not found or belong to another organization.")
        request.subject, request.org = f"tag {tag.id}", tag.org
        return tag

    def shown(tag: Tag, count: int) -> TagObject:
        return TagObject(
            id=tag.id, tag_owner_org_id=tag.org, name=tag.name, color=tag.color, icon=tag.icon, devices=count
        )

    async def listed(request: Request, *, org_id: int | None = None) -> list[TagObject]:
        org = hub.access.organization_for(request, org_id)
        found = [tag for tag in tags.by_id.values() if tag.org == org.id]
        return [counted(request, tag) for tag in sorted(found, key=lambda tag: tag.name)]

    def counted(request: Request, tag: Tag) -> TagObject:
        devices = (hub.devices.by_id[one] for one in tags.devices_with([tag]))
        return shown(tag, len(hub.access.allowed_devices(request.principal, VIEW_DEVICES, devices)))

    async def create(request: Request) -> Created[TagObject]:
        body: NewTag = request.body
        org = hub.access.organization_for(request, body.org_id)
        made = await tags.add(Tag(id=0, org=org.id, name=body.name, color=body.color, icon=body.icon))
        request.subject = f"tag {made.id}"
        return Created(value=shown(made, 0))

    async def edit(request: Request) -> TagObject:
        body: EditTag = request.body
        tag = tag_for(request, body.tag_id)
        said = attrs.asdict(body, filter=lambda field, value: value is not None and field.name != "tag_id")
        request.expect(tag)
        changed = attrs.evolve(tag, **said)
        await tags.change(changed)
        request.version(changed)
        return counted(request, changed)

    async def delete(request: Request, tag_id: int) -> None:
        tag = tag_for(request, tag_id)
        request.expect(tag)
        await tags.remove(tag)

    async def of_device(request: Request, device_id: int) -> list[DeviceTag]:
        device = hub.access.device_for(request, device_id)
        return [
            DeviceTag(id=tag.id, tag_owner_org_id=tag.org, name=tag.name, color=tag.color, icon=tag.icon)
            for tag in tags.of(device)
            if tags.seen(request.principal, tag)
        ]

    async def put(request: Request) -> None:
        body: TagDevice = request.body
        device, tag = known(request, body.device_id, body.tag_id)
        if problem := tags.problem(device, tag):
            raise Rejected(problem)
        await tags.put([device], tag, request.principal, on=True)

    async def take(request: Request, device_id: int, tag_id: int) -> None:
        device, tag = known(request, device_id, tag_id)
        await tags.put([device], tag, request.principal, on=False)

    def known(request: Request, device_id: int, tag_id: int) -> tuple[Device, Tag]:
        device = hub.access.device_for(request, device_id)
        return device, of_asker(hub, tags, request, tag_id)

    org = "/api/v1/organization"
    return [
        Route("GET", f"{org}/tags", listed, VIEW_DEVICES, "The tags of an organization"),
        Route("POST", f"{org}/tag/create", create, "tags.edit", "Make a tag", NewTag, lock="tag"),
        Route("PUT", f"{org}/tag", edit, "tags.edit", "Edit a tag", EditTag, lock="tag"),
        Route("DELETE", f"{org}/tag", delete, "tags.edit", "Delete a tag", lock="tag"),
        Route("GET", f"{org}/device/tags", of_device, VIEW_DEVICES, "A device's tags"),
        Route("POST", f"{org}/device/tag", put, "org_devices.edit", "Tag a device", TagDevice),
        Route("DELETE", f"{org}/device/tag", take, "org_devices.edit", "Take a tag from a device"),
    ]


def of_asker(hub: Hub, tags: Tags, request: Request, number: int) -> Tag:
    """A tag that is the asker's business. Raises `NotFound`."""
    tag = tags.get(number)
    if not hub.is_allowed(request.principal, VIEW_DEVICES, org=tag.org):
        raise NotFound(f"Tag with identifier {number} is not found or belong to another organization.")
    return tag
