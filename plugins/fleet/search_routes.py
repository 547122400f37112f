"""Search for devices over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from hub import Device, Rejected, Request, Route
from hub.api import MAX_PAGE, PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, SortOrder, page_of
from hub.domain import DeviceQuery, Filter
from hub.parsing.spellings import nfc
from plugins.fleet.search import DeviceSearch, FoundDevice, SortBy

#: Sort columns of docs.blynk.io (Search devices); those for data that the hub does not have are missing.
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
_SORT_BY: Mapping[SortDevices, SortBy] = {
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


#: Datastreams, and metadata fields, whose values a list has.
MAX_NAMED = 10


@attrs.frozen(kw_only=True)
class Search:
    """Query for devices of an organization and those below it, or of a segment.

    The devices of the page have those of their ``values`` and ``metadata`` that are named: datastreams by pin ("V0") or
    name, metadata by name, at most ten of each.
    """

    query: str = ""
    match: Literal["all", "any"] = "all"
    filters: list[Filter] = attrs.Factory(list)
    segment_id: int | None = None
    org_id: int | None = None
    sort_by: SortBy = "id"
    sort_order: Literal["asc", "desc", "ASC", "DESC"] = "asc"
    page: int = 0
    size: int = 20
    values: list[str] = attrs.Factory(list)
    metadata: list[str] = attrs.Factory(list)


class SearchRoutes:
    def __init__(self, search: DeviceSearch) -> None:
        self._search = search

    async def by_words(
        self,
        request: Request,
        query: str,
        *,
        sort_by: SortDevices = "Device Id",
        sort_order: SortOrder = "ASC",
        org_id: int | None = None,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[FoundDevice]:
        matches = await self._search.find(request, DeviceQuery(query=query), org_id)
        devices = self._search.sort(matches, _SORT_BY[sort_by], sort_order, request.principal)
        # A device with exactly this name comes first, so that it is on the first page.
        devices.sort(key=lambda device: device.name.lower() != nfc(query).strip().lower())
        return self._page(request, devices, page, size)

    async def by_filters(self, request: Request) -> Page[FoundDevice]:
        body: Search = request.body
        if body.page < 0 or not 1 <= body.size <= MAX_PAGE:
            raise Rejected(f"page must be 0 or more, size 1 to {MAX_PAGE}")
        if max(len(body.values), len(body.metadata)) > MAX_NAMED:
            raise Rejected(f"values and metadata have at most {MAX_NAMED} names each")
        query = DeviceQuery(query=body.query, match=body.match, filters=body.filters)
        matches = await self._search.find(request, query, body.org_id, body.segment_id)
        devices = self._search.sort(matches, body.sort_by, body.sort_order, request.principal)
        page = devices[body.page * body.size : (body.page + 1) * body.size]
        content = await self._search.to_results(page, request.principal, body.values, body.metadata)
        return Page(content=content, total_elements=len(devices))

    def _page(self, request: Request, devices: Sequence[Device], page: int, size: int) -> Page[FoundDevice]:
        return page_of(devices, page, size, lambda device: self._search.to_result(device, request.principal))


def routes(search: DeviceSearch) -> Sequence[Route]:
    api = SearchRoutes(search)
    words = "Search for devices by words in their names, tags, metadata and what they belong to"
    filters = "Search for devices by filters"
    return [
        Route("GET", "/api/v1/organization/search/devices", api.by_words, VIEW_DEVICES, words),
        Route("POST", "/api/v1/devices/search", api.by_filters, VIEW_DEVICES, filters, Search, audited=False),
    ]
