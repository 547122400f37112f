"""Search for devices: by query and segment, sorted, and as they look in a list of results."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub import Device, Principal, Request
from hub.api import VIEW_DEVICES
from hub.domain import DeviceQuery

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
        )


def _version_key(text: str) -> list[tuple[int, str]]:
    """Return the sort key of a version: 1.10 comes after 1.9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,15})", text) if part]
