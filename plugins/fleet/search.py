"""Devices found, sorted, a page at a time; what each looks like in a list is the Platform API's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub.api import MAX_PAGE, PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, Request, Route, SortOrder, page_of
from hub.errors import Rejected
from hub.model import Device, Principal
from hub.spellings import nfc
from plugins.fleet.filters import Filter, Find, Finder
from plugins.fleet.segments import Segments

if TYPE_CHECKING:
    from hub.app import Hub
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
#: By what the API of docs.blynk.io sorts (Search devices), as far as the hub knows it.
SortDevices = Literal[
    "Device Id",
    "Name",
    "Owner Id",
    "Device Owner Name",
    "Device Owner",
    "Last Reported At",
    "Activated At",
    "Activated By",
    "Model",
    "Template Name",
    "Template Id",
    "Firmware Version",
    "Organization Id",
    "Status",
]
_SORTS: Mapping[SortDevices, SortBy] = {
    "Device Id": "id",
    "Name": "name",
    "Owner Id": "owner",
    "Device Owner Name": "owner",
    "Device Owner": "owner",
    "Last Reported At": "lastReported",
    "Activated At": "activatedAt",
    "Activated By": "activatedBy",
    "Model": "model",
    "Template Name": "template",
    "Template Id": "templateId",
    "Firmware Version": "firmware",
    "Organization Id": "orgId",
    "Status": "status",
}


@attrs.frozen(kw_only=True)
class FoundDevice:
    """A device in a list; times are ms UTC, ``tags`` are names."""

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


@attrs.frozen(kw_only=True)
class Search:
    """What to look for, in an organization and below, or in a segment."""

    query: str = ""
    match: Literal["all", "any"] = "all"
    filters: list[Filter] = attrs.Factory(list)
    segment_id: int | None = None
    org_id: int | None = None
    sort_by: SortBy = "id"
    sort_order: Literal["asc", "desc", "ASC", "DESC"] = "asc"
    page: int = 0
    size: int = 20

    @property
    def find(self) -> Find:
        return Find(query=self.query, match=self.match, filters=self.filters)


def _natural(text: str) -> list[tuple[int, str]]:
    """A version as one sorts it: 1.10 comes after 1.9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,15})", text) if part]


class Fleet:
    """Looking for devices, on behalf of somebody."""

    def __init__(self, hub: Hub, tags: Tags, locations: Locations, segments: Segments) -> None:
        self._hub = hub
        self.tags = tags
        self.locations = locations
        self.segments = segments
        self.finder = Finder(hub, tags, locations)

    async def found(self, request: Request, find: Find, org: int | None, segment: int | None = None) -> list[Device]:
        """The devices that are meant and that the asker may view, by id. Raises `RequestError`."""
        hub = self._hub
        top = hub.access.organization_for(request, org).id
        tests = await self.finder.tests(find, request.principal)
        if segment is not None:
            chosen_segment = self.segments.segment_for(request, segment)
            tests += await self.segments.tests(chosen_segment, request.principal)
        orgs = (hub.devices.by_org.get(one, {}) for one in hub.organizations.below(top))
        chosen = [device for devices in orgs for device in devices.values()]
        for test in tests:
            chosen = [device for device in chosen if test(device)]
        return sorted(hub.access.allowed_devices(request.principal, VIEW_DEVICES, chosen), key=lambda device: device.id)

    def sorted(self, devices: Sequence[Device], by: SortBy, order: str, principal: Principal) -> list[Device]:
        hub, activated_by = self._hub, self.finder.activators(principal)
        keys: dict[str, Callable[[Device], Any]] = {
            "id": lambda d: d.id,
            "name": lambda d: d.name.lower(),
            "status": lambda d: hub.lifecycle.status_name(d).lower(),
            "owner": lambda d: self.finder.owner_name(d).lower(),
            "organization": lambda d: hub.organizations.get(d.org).name.lower(),
            "orgId": lambda d: d.org,
            "template": lambda d: d.template.name.lower(),
            "templateId": lambda d: d.template.id,
            "model": lambda d: d.hardware.get("boardType", "").lower(),
            "firmware": lambda d: _natural(d.hardware.get("version", "")),
            "createdAt": lambda d: d.created,
            "activatedAt": lambda d: d.activated or 0,
            "activatedBy": lambda d: (activated_by(d) or "").lower(),
            "lastReported": lambda d: hub.writes.last_reported(d) or 0,
        }
        return sorted(devices, key=keys[by], reverse=order.lower() == "desc")

    def shown(self, device: Device, principal: Principal) -> FoundDevice:
        place = self.finder.place_of(device, principal)
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
            activated_by=self.finder.activators(principal)(device),
            last_reported_at=self._hub.writes.last_reported(device),
            hardware_info=device.hardware,
            tags=[tag.name for tag in self.tags.of(device) if self.tags.seen(principal, tag)],
            location_id=place.id if place else None,
        )


def routes(fleet: Fleet) -> Sequence[Route]:
    async def by_words(
        request: Request,
        query: str,
        *,
        sort_by: SortDevices = "Device Id",
        sort_order: SortOrder = "ASC",
        org_id: int | None = None,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[FoundDevice]:
        found = fleet.sorted(
            await fleet.found(request, Find(query=query), org_id), _SORTS[sort_by], sort_order, request.principal
        )
        # Whoever names a device finds it on the first page.
        found.sort(key=lambda device: device.name.lower() != nfc(query).strip().lower())
        return page_of(found, page, size, lambda device: fleet.shown(device, request.principal))

    async def by_filters(request: Request) -> Page[FoundDevice]:
        body: Search = request.body
        check_page(body.page, body.size)
        found = await fleet.found(request, body.find, body.org_id, body.segment_id)
        found = fleet.sorted(found, body.sort_by, body.sort_order, request.principal)
        return page_of(found, body.page, body.size, lambda device: fleet.shown(device, request.principal))

    words = "Devices by words in their names, tags, metadata and what they belong to"
    return [
        Route("GET", "/api/v1/organization/search/devices", by_words, VIEW_DEVICES, words),
        Route("POST", "/api/v1/devices/search", by_filters, VIEW_DEVICES, "Devices by filters", Search, audited=False),
    ]


def check_page(page: int, size: int) -> None:
    """Whether a body asks for a page that can be. Raises `Rejected`."""
    if page < 0 or not 1 <= size <= MAX_PAGE:
        raise Rejected(f"page must be 0 or more, size 1 to {MAX_PAGE}")
