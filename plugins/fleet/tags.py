"""Tags: short labels of an organization on devices (docs.blynk.io, Tags)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from hub import Conflict, DeviceChanged, DeviceDeleted, NotFound, OrganizationChanged, Rejected
from hub.api import VIEW_DEVICES
from hub.parsing.spellings import is_name, is_printable, nfc

if TYPE_CHECKING:
    from hub import Device, Hub, Principal, Transaction
    from hub.domain import Predicate
    from hub.storage import Row

#: docs.blynk.io, Tags: characters of a name, tags of an organization, and tags of a device.
MAX_NAME, MAX_OF_ORG, MAX_OF_DEVICE = 24, 20, 5
COLOR = re.compile(r"#[0-9A-Fa-f]{6}")


@attrs.frozen(kw_only=True)
class Tag:
    """Tag of an organization; ``color`` is like #24a0ed, or empty."""

    id: int
    org: int
    name: str = attrs.field(converter=nfc)
    color: str = ""
    icon: str = ""


class Tags:
    """All tags and the devices that have them. A tag counts on devices of its organization and those below it only."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.by_id: dict[int, Tag] = {}
        #: Ids of tags by device id; also of tags that do not count on the device at the moment.
        self._tag_ids: dict[int, set[int]] = {}
        hub.subscribe(DeviceDeleted, self._on_device_deleted)
        hub.subscribe(OrganizationChanged, self._on_organization_changed)

    async def load(self) -> None:
        async def read(tx: Transaction) -> tuple[list[Row], list[Row]]:
            tags = await tx.fetch_all("SELECT id, org, name, color, icon FROM fleet_tags")
            return tags, await tx.fetch_all("SELECT device, tag FROM fleet_device_tags")

        tags, device_tags = await self._hub.storage.read(read)
        self.by_id = {row[0]: Tag(id=row[0], org=row[1], name=row[2], color=row[3], icon=row[4]) for row in tags}
        for device_id, tag_id in device_tags:
            self._tag_ids.setdefault(device_id, set()).add(tag_id)

    def _on_device_deleted(self, fact: DeviceDeleted) -> None:
        self._tag_ids.pop(fact.device.id, None)

    def _on_organization_changed(self, fact: OrganizationChanged) -> None:
        if fact.gone:
            for tag in [tag for tag in self.by_id.values() if tag.org == fact.organization.id]:
                self._discard(tag)

    def _discard(self, tag: Tag) -> None:
        self.by_id.pop(tag.id, None)
        for tag_ids in self._tag_ids.values():
            tag_ids.discard(tag.id)

    def of_device(self, device: Device) -> list[Tag]:
        """Return the device's tags, by name."""
        orgs = self._hub.organizations
        tags = (self.by_id[tag_id] for tag_id in self._tag_ids.get(device.id, ()))
        return sorted((tag for tag in tags if orgs.contains(tag.org, device.org)), key=lambda tag: tag.name)

    def visible_tags(self, device: Device, principal: Principal) -> list[Tag]:
        """Return the device's tags that the principal may see, by name."""
        return [tag for tag in self.of_device(device) if self.visible_to(principal, tag)]

    def visible_names(self, device: Device, principal: Principal) -> list[str]:
        """Return the names of `visible_tags`."""
        return [tag.name for tag in self.of_device(device) if self.visible_to(principal, tag)]

    def visible_to(self, principal: Principal, tag: Tag) -> bool:
        """Whether a tag belongs to the principal's organization or to one below; tags from above stay hidden."""
        return principal.kind in ("local", "system") or self._hub.organizations.contains(principal.org, tag.org)

    def devices_with(self, tags: Iterable[Tag]) -> set[int]:
        """Return the ids of devices that have at least one of the tags."""
        wanted = {tag.id for tag in tags}
        by_id = self._hub.devices.by_id
        devices = (by_id[device] for device, tag_ids in self._tag_ids.items() if tag_ids & wanted and device in by_id)
        return {device.id for device in devices if any(tag.id in wanted for tag in self.of_device(device))}

    def word_predicate(self, word: str, principal: Principal) -> Predicate:
        """Return a predicate for a visible tag whose lower-case name contains ``word``."""
        tags = (tag for tag in self.by_id.values() if word in tag.name.lower())
        wanted = {tag.id: tag.org for tag in tags if self.visible_to(principal, tag)}
        if not wanted:
            return lambda _device: False
        tag_ids, contains = self._tag_ids, self._hub.organizations.contains

        def matches(device: Device) -> bool:
            ids = tag_ids.get(device.id, ())
            return any(number in wanted and contains(wanted[number], device.org) for number in ids)

        return matches

    def tag_for(self, principal: Principal, tag_id: int, permission: str = VIEW_DEVICES) -> Tag:
        """Return a tag of an organization in which the principal has a permission. Raises `NotFound`."""
        tag = self.by_id.get(tag_id)
        if tag is None or not self._hub.is_allowed(principal, permission, org=tag.org):
            raise NotFound(f"Tag with identifier {tag_id} is not found or belong to another organization.")
        return tag

    def check(self, tag: Tag) -> None:
        """Raise `Rejected` or `Conflict` if a tag must not be saved like this."""
        if not is_name(tag.name, MAX_NAME) or tag.name != tag.name.strip():
            raise Rejected(f"name must have 1 to {MAX_NAME} printable characters")
        if tag.color and COLOR.fullmatch(tag.color) is None:
            raise Rejected("color must be like #24a0ed")
        if len(tag.icon) > MAX_NAME or not is_printable(tag.icon):
            raise Rejected(f"icon must have at most {MAX_NAME} printable characters")
        others = [other for other in self.by_id.values() if other.org == tag.org and other.id != tag.id]
        if any(other.name == tag.name for other in others):
            raise Conflict(f"there is a tag named {tag.name!r} already")
        if len(others) >= MAX_OF_ORG:
            raise Conflict(f"an organization can have at most {MAX_OF_ORG} tags")

    async def add(self, tag: Tag) -> Tag:
        """Add a tag, whatever its id, and return it with its new id."""
        self.check(tag)

        async def write(tx: Transaction) -> int:
            return await tx.insert("fleet_tags", org=tag.org, name=tag.name, color=tag.color, icon=tag.icon)

        added = attrs.evolve(tag, id=await self._hub.storage.transaction(write))
        self.by_id[added.id] = added
        return added

    async def update(self, tag: Tag) -> None:
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
        self._discard(tag)

    def attach_problem(self, device: Device, tag: Tag) -> str | None:
        """Return why the tag cannot be attached to the device, or None."""
        if not self._hub.organizations.contains(tag.org, device.org):
            return "the tag belongs to another organization"
        # Tags of organizations above do not count: users who cannot see them could not tell why the limit is reached.
        tags = [other for other in self.of_device(device) if other.org == tag.org]
        if tag not in tags and len(tags) >= MAX_OF_DEVICE:
            return f"a device can have at most {MAX_OF_DEVICE} tags"
        return None

    async def attach(self, devices: Sequence[Device], tag: Tag, by: Principal) -> None:
        """Attach the tag to devices; `attach_problem` must have found none. Emits `DeviceChanged` after the commit."""

        async def write(tx: Transaction) -> None:
            for device in devices:
                await _delete_device_tag(tx, device, tag)
                # Inserts no row if the device or the tag was deleted in the meantime.
                await tx.execute(
                    "INSERT INTO fleet_device_tags (device, tag) SELECT devices.id, fleet_tags.id"
                    " FROM devices, fleet_tags WHERE devices.id = ? AND fleet_tags.id = ?",
                    (device.id, tag.id),
                )

        await self._hub.storage.transaction(write)
        for device in self._still_there(devices, tag):
            self._tag_ids.setdefault(device.id, set()).add(tag.id)
            self._hub.emit(DeviceChanged(device, by))

    async def detach(self, devices: Sequence[Device], tag: Tag, by: Principal) -> None:
        """Detach the tag from devices, which need not have it. Emits `DeviceChanged` after the commit."""

        async def write(tx: Transaction) -> None:
            for device in devices:
                await _delete_device_tag(tx, device, tag)

        await self._hub.storage.transaction(write)
        for device in self._still_there(devices, tag):
            self._tag_ids.setdefault(device.id, set()).discard(tag.id)
            self._hub.emit(DeviceChanged(device, by))

    def _still_there(self, devices: Sequence[Device], tag: Tag) -> Iterable[Device]:
        """Yield the devices that were not deleted during a transaction; none if the tag was."""
        for device in devices:
            if self._hub.devices.by_id.get(device.id) is device and tag.id in self.by_id:
                yield device


async def _delete_device_tag(tx: Transaction, device: Device, tag: Tag) -> None:
    await tx.execute("DELETE FROM fleet_device_tags WHERE device = ? AND tag = ?", (device.id, tag.id))
