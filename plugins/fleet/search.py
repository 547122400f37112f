"""Search for devices: by query and segment, sorted, and as they look in a list of results."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub import OFFLINE, Device, Principal, Request, UnknownPin
from hub.api import VIEW_DEVICES
from hub.domain import DeviceQuery
from hub.values import to_json

if TYPE_CHECKING:
    from hub import Hub
    from plugins.fleet.locations import Locations
    from plugins.fleet.tags import Tags

SortBy = Literal[
    "id",
    "name",
    "owner",
    "status",
    "organization",
    "orgId",
    "template",
    "templateId",
    "model",
    "firmware",
    "createdAt",
    "activatedAt",
    "activatedBy",
    "lastReported",
]


@attrs.frozen(kw_only=True)
class ListedValue:
    """The latest value of a datastream; ``text`` is the value in the caller's units, ``updated_at`` ms UTC.

    ``expired`` is the text to show instead of the value when it has expired, else null.
    """

    value: Any
    text: str
    updated_at: int | None
    expired: str | None


@attrs.frozen(kw_only=True)
class FoundDevice:
    """Device in a list of results; times are ms UTC, ``tags`` are names."""

    id: int
    org_id: int
    name: str
    template_id: str
    template_name: str
    owner_user_id: int | None
    status: str
    created_at: int
    activated_at: int | None
    activated_by: str | None
    last_reported_at: int | None
    hardware_info: dict[str, str]
    tags: list[str]
    location_id: int | None
    org_name: str
    template_version: int
    #: Whether it is connected, and the key of its lifecycle status, whose name for people is ``status``.
    online: bool
    status_key: str
    #: The values and metadata that the request asks for, by the names in the request.
    values: dict[str, ListedValue] | None = None
    metadata: dict[str, str] | None = None


class DeviceSearch:
    """Search for devices on behalf of a client: every result is a device that the client may view."""

    def __init__(self, hub: Hub, tags: Tags, locations: Locations) -> None:
        self._hub = hub
        self._tags = tags
        self._locations = locations
        self._attributes = hub.device_queries.attributes

    async def find(
        self, request: Request, query: DeviceQuery, org: int | None, segment_id: int | None = None
    ) -> list[Device]:
        """Return the devices that match a query, by id.

        They belong to the organization ``org`` (the client's by default) or to one below, and to the segment, if one
        is given. Raises `RequestError`.
        """
        hub = self._hub
        top = hub.access.organization_for(request, org).id
        predicates = await hub.device_queries.compile(query, request.principal)
        if segment_id is not None:
            segment = hub.segments.segment_for(request.principal, segment_id)
            predicates += await hub.segments.compile(segment, request.principal)
        by_org = (hub.devices.by_org.get(org_id, {}) for org_id in hub.organizations.below(top))
        matches = [device for devices in by_org for device in devices.values()]
        for predicate in predicates:
            matches = [device for device in matches if predicate(device)]
        return sorted(
            hub.access.allowed_devices(request.principal, VIEW_DEVICES, matches), key=lambda device: device.id
        )

    def sort(self, devices: Sequence[Device], by: SortBy, order: str, principal: Principal) -> list[Device]:
        """Return the devices in an ``order`` of "asc" or "desc" (in any case); equal ones keep theirs."""
        hub, owner_name = self._hub, self._attributes.owner_name
        activated_by = self._attributes.activator_names(principal)
        keys: dict[str, Callable[[Device], Any]] = {
            "id": lambda d: d.id,
            "name": lambda d: d.name.lower(),
            "status": lambda d: hub.lifecycle.status_name(d).lower(),
            "owner": lambda d: owner_name(d).lower(),
            "organization": lambda d: hub.organizations.get(d.org).name.lower(),
            "orgId": lambda d: d.org,
            "template": lambda d: d.template.name.lower(),
            "templateId": lambda d: d.template.id,
            "model": lambda d: d.hardware.get("boardType", "").lower(),
            "firmware": lambda d: _version_key(d.hardware.get("version", "")),
            "createdAt": lambda d: d.created,
            "activatedAt": lambda d: d.activated or 0,
            "activatedBy": lambda d: (activated_by(d) or "").lower(),
            "lastReported": lambda d: hub.writes.last_reported(d) or 0,
        }
        return sorted(devices, key=keys[by], reverse=order.lower() == "desc")

    def to_result(self, device: Device, principal: Principal) -> FoundDevice:
        location = self._locations.visible_location(device, principal)
        return FoundDevice(
            id=device.id,
            org_id=device.org,
            name=device.name,
            template_id=device.template.id,
            template_name=device.template.name,
            owner_user_id=device.owner,
            status=self._hub.lifecycle.status_name(device),
            created_at=device.created,
            activated_at=device.activated,
            activated_by=self._attributes.activator_names(principal)(device),
            last_reported_at=self._hub.writes.last_reported(device),
            hardware_info=device.hardware,
            tags=self._tags.visible_names(device, principal),
            location_id=location.id if location else None,
            org_name=self._hub.organizations.get(device.org).name,
            template_version=device.template.version,
            online=self._hub.sessions.get(device.id) is not None,
            status_key=device.status or OFFLINE,
        )

    async def to_results(
        self, devices: Sequence[Device], principal: Principal, values: Sequence[str], metadata: Sequence[str]
    ) -> list[FoundDevice]:
        """Return the devices with their values, by pin or name, and metadata; what a device does not have is left out.

        Raises `StorageError`.
        """
        results = [self.to_result(device, principal) for device in devices]
        if values:
            results = [
                attrs.evolve(result, values=await self._listed_values(device, principal, values))
                for device, result in zip(devices, results, strict=True)
            ]
        if metadata:
            fields = await self._hub.metadata.values_of(devices)
            results = [
                attrs.evolve(result, metadata={name: of[name] for name in metadata if name in of})
                for result in results
                for of in [fields[result.id]]
            ]
        return results

    async def _listed_values(
        self, device: Device, principal: Principal, names: Sequence[str]
    ) -> dict[str, ListedValue]:
        hub, display, listed = self._hub, await self._hub.display.for_device(device, principal), {}
        for name in names:
            try:
                point = device.find(name)
            except UnknownPin:
                continue
            datastream = point.datastream
            latest, value = hub.writes.latest(device, datastream), hub.writes.current(device, datastream)
            listed[name] = ListedValue(
                value=None if value is None else to_json(value),
                text=display.displayed(datastream, hub.writes.current, hub.value_timeouts.expired_text).text,
                updated_at=None if latest is None else latest[0],
                expired=hub.value_timeouts.expired_text(point),
            )
        return listed


def _version_key(text: str) -> list[tuple[int, str]]:
    """Return the sort key of a version: 1.10 comes after 1.9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,15})", text) if part]
