"""Search for devices over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from hub import Rejected, Request, Route
from hub.api import MAX_PAGE, PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, SortOrder
from hub.domain import DeviceQuery, Filter
from hub.parsing.spellings import nfc
from plugins.fleet.device_order import SortBy
from plugins.fleet.search import DeviceSearch, FoundDevice

if TYPE_CHECKING:
    from hub import Hub

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

    ``sort_name`` names the datastream (or its pin) or the metadata field that ``sort_by`` sorts by; devices without a
    value come last. ``after`` is the ``next`` of the page before, which takes the place of ``page``.

    The devices of the page have those of their ``values`` and ``metadata`` that are named: datastreams by pin ("V0") or
    name, metadata by name, at most ten of each.
    """

    query: str = ""
    match: Literal["all", "any"] = "all"
    filters: list[Filter] = attrs.Factory(list)
    segment_id: int | None = None
    org_id: int | None = None
    sort_by: SortBy = "id"
    sort_name: str = ""
    sort_order: Literal["asc", "desc", "ASC", "DESC"] = "asc"
    page: int = 0
    after: str | None = None
    size: int = PAGE
    values: list[str] = attrs.Factory(list)
    metadata: list[str] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class FoundPage:
    """Page of a list of devices; ``total_elements`` is how many there are on all of them.

    ``next`` is the ``after`` of the request for the next page, and null on the last one. The next page begins behind
    this one's last device, whichever devices are added, changed or deleted meanwhile.
    """

    content: list[FoundDevice]
    total_elements: int
    next: str | None


class SearchRoutes:
    def __init__(self, hub: Hub, search: DeviceSearch) -> None:
        self._hub = hub
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
        order = self._search.orders.order(_SORT_BY[sort_by], "", sort_order, request.principal)
        exact_name = nfc(query).strip().lower()
        ordered = await self._hub.slices.run(order.sort(matches, (page + 1) * size, exact_name=exact_name))
        devices = [device for _, device in ordered[page * size :]]
        content = await self._search.to_results(devices, request.principal)
        return Page(content=content, total_elements=len(matches))

    async def by_filters(self, request: Request) -> FoundPage:
        body: Search = request.body
        if body.page < 0 or not 1 <= body.size <= MAX_PAGE:
            raise Rejected(f"page must be 0 or more, size 1 to {MAX_PAGE}")
        if max(len(body.values), len(body.metadata)) > MAX_NAMED:
            raise Rejected(f"values and metadata have at most {MAX_NAMED} names each")
        order = self._search.orders.order(body.sort_by, body.sort_name, body.sort_order, request.principal)
        after = None if body.after is None else order.parse_cursor(body.after)
        if after is not None and body.page:
            raise Rejected("either page or after is meant: a request with after has no page")
        query = DeviceQuery(query=body.query, match=body.match, filters=body.filters)
        matches = await self._search.find(request, query, body.org_id, body.segment_id)
        first = body.page * body.size
        # One more than the page has, which tells whether there is another page.
        ordered = await self._hub.slices.run(order.sort(matches, first + body.size + 1, after))
        page = ordered[first : first + body.size]
        devices = [device for _, device in page]
        content = await self._search.to_results(devices, request.principal, body.values, body.metadata)
        has_next = len(ordered) > first + body.size
        return FoundPage(
            content=content, total_elements=len(matches), next=order.cursor(*page[-1]) if has_next else None
        )


def routes(hub: Hub, search: DeviceSearch) -> Sequence[Route]:
    api = SearchRoutes(hub, search)
    words = "Search for devices by words in their names, tags, metadata and what they belong to"
    filters = "Search for devices by filters"
    return [
        Route("GET", "/api/v1/organization/search/devices", api.by_words, VIEW_DEVICES, words),
        Route("POST", "/api/v1/devices/search", api.by_filters, VIEW_DEVICES, filters, Search, audited=False),
    ]
