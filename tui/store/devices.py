"""The devices that the screen lists: pages of searches, and a row for each device on them.

Only what is asked for is fetched, whether the hub has 50 devices or 50,000, and only the last used pages and rows are
in memory. A page is outdated when the stream reports a change that may move devices between pages; it is still shown
until the screen has loaded it again. Values and times of a device change too often for that: lists that are sorted or
filtered by them keep the order that they had when they were loaded.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import attrs

from client import Call
from client.operations import FoundDevice, FoundPage, post_devices_search
from tui.store.values import PINS, Values

T = TypeVar("T")

#: Devices of a page; pages and rows in memory.
PAGE_SIZE, MAX_PAGES, MAX_ROWS = 100, 30, 5_000
#: Number of devices of searches in memory, apart from their pages.
MAX_TOTALS = 100


class AsyncApi(Protocol):
    """A hub that executes calls, such as `client.aio.AsyncRemote`."""

    async def __call__(self, call: Call[T]) -> T:
        """Execute a call and return its result. Raises `RequestError`."""


@attrs.frozen
class DeviceQuery:
    """A search with its order and columns. ``values`` and ``metadata`` are those that the rows have."""

    words: str = ""
    filters: str = "[]"
    segment: int | None = None
    org: int | None = None
    sort_by: str = "id"
    sort_name: str = ""
    is_descending: bool = False
    values: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    def call(self, page: int, after: str | None = None) -> Call[FoundPage]:
        """Return the search for a page, or for the one behind the cursor ``after``."""
        return post_devices_search(
            query=self.words or None,
            filters=json.loads(self.filters) or None,
            segment_id=self.segment,
            org_id=self.org,
            sort_by=cast("Any", self.sort_by),
            sort_name=self.sort_name or None,
            sort_order="desc" if self.is_descending else "asc",
            page=page if after is None else None,
            after=after,
            size=PAGE_SIZE,
            values=self.values or None,
            metadata=self.metadata or None,
        )

    def depends_on(self, attribute: str) -> bool:
        """Whether a change of an attribute can move a device within the result, into it, or out of it."""
        if self.filters != "[]" or self.segment is not None or attribute == "device":
            return True
        # Words are not matched against the status.
        return self.sort_by == attribute or (bool(self.words) and attribute != "status")


@attrs.frozen
class Row:
    """A device in a list. Times are ms UTC. ``is_gone``: it was deleted, or may not be viewed any more."""

    id: int
    name: str
    org: int
    org_name: str
    template: str
    template_name: str
    template_version: int
    owner: int | None
    status: str
    status_key: str
    is_online: bool
    created: int
    last_reported: int | None
    tags: tuple[str, ...] = ()
    values: Mapping[str, str] = attrs.field(factory=dict)
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    is_gone: bool = False

    @classmethod
    def of(cls, found: FoundDevice) -> Row:
        return cls(
            found["id"],
            found["name"],
            found["orgId"],
            found["orgName"],
            found["templateId"],
            found["templateName"],
            found["templateVersion"],
            found["ownerUserId"],
            found["status"],
            found["statusKey"],
            found["online"],
            found["createdAt"],
            found["lastReportedAt"],
            tuple(found["tags"]),
            {name: value["text"] for name, value in (found["values"] or {}).items()},
            found["metadata"] or {},
        )


@attrs.define(eq=False)
class Page:
    """A page of a search: the ids of its devices, in order. ``next`` is the cursor of the page behind it."""

    ids: tuple[int, ...]
    next: str | None
    is_outdated: bool = False


@attrs.define(eq=False)
class _Load:
    """A page that is being fetched. A change meanwhile may be missing from it."""

    task: asyncio.Task[Page]
    is_outdated: bool = False
    is_dropped: bool = False


#: A page of a search by its number, from 0.
_PageKey = tuple[DeviceQuery, int]


class Devices:
    """The lists of devices of a hub; the latest values on a page go to ``values``.

    ``on_reused_id`` is called when an id is another device's than before: the hub was restored from a backup, and what
    is known of it is not true.
    """

    def __init__(self, api: AsyncApi, values: Values, on_reused_id: Callable[[], None] | None = None) -> None:
        self._api = api
        self._values = values
        self._on_reused_id = on_reused_id
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._pages: OrderedDict[_PageKey, Page] = OrderedDict()
        self._totals: OrderedDict[DeviceQuery, int] = OrderedDict()
        self._loads: dict[_PageKey, _Load] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, device: int) -> Row | None:
        """Return what is known of a device."""
        row = self._rows.get(device)
        if row is not None:
            self._rows.move_to_end(device)
        return row

    def page(self, query: DeviceQuery, number: int) -> Page | None:
        """Return a page that is in memory."""
        page = self._pages.get((query, number))
        if page is not None:
            self._pages.move_to_end((query, number))
        return page

    def total(self, query: DeviceQuery) -> int | None:
        """Return how many devices a search has found; None before its first page."""
        return self._totals.get(query)

    def ids(self, query: DeviceQuery, first: int, last: int) -> list[int | None]:
        """Return the devices in the rows from ``first`` to ``last`` (exclusive) of a list; None for missing ones."""
        found = list[int | None]()
        for index in range(first, last):
            page = self.page(query, index // PAGE_SIZE)
            offset = index % PAGE_SIZE
            found.append(page.ids[offset] if page is not None and offset < len(page.ids) else None)
        return found

    def missing(self, query: DeviceQuery, first: int, last: int) -> list[int]:
        """Return the numbers of the pages with these rows that must be loaded: unknown, outdated, or without rows."""
        total = self._totals.get(query)
        end = last if total is None else min(last, total)
        # The first page of a search that has found nothing is loaded again too when it is outdated.
        numbers = range(max(0, first) // PAGE_SIZE, max(1, -(-end // PAGE_SIZE)))
        return [number for number in numbers if self._must_load(query, number)]

    def _must_load(self, query: DeviceQuery, number: int) -> bool:
        page = self._pages.get((query, number))
        return page is None or page.is_outdated or not all(device in self._rows for device in page.ids)

    async def load(self, query: DeviceQuery, number: int) -> Page:
        """Fetch a page; callers of the same one share the request. Raises `RequestError`."""
        key = (query, number)
        load = self._loads.get(key)
        if load is None or load.is_outdated or load.is_dropped:
            load = self._loads[key] = _Load(asyncio.create_task(self._fetch(query, number)))
            load.task.add_done_callback(lambda task: self._end_load(key, task))
        return await asyncio.shield(load.task)

    async def _fetch(self, query: DeviceQuery, number: int) -> Page:
        # The task starts after `load` has stored it.
        load = self._loads[query, number]
        before = self._pages.get((query, number - 1))
        after = None if before is None or before.is_outdated else before.next
        found = await self._api(query.call(number, after))
        page = Page(tuple(device["id"] for device in found["content"]), found["next"], load.is_outdated)
        known = ((self._rows.get(device["id"]), device) for device in found["content"])
        if any(row is not None and row.created != device["createdAt"] for row, device in known) and self._on_reused_id:
            self._on_reused_id()
        if load.is_dropped or self._loads.get((query, number)) is not load:
            # A later request for it may have been answered already.
            return page
        for device in found["content"]:
            self._put(Row.of(device))
            self._put_values(device)
        self._pages[query, number] = page
        self._pages.move_to_end((query, number))
        while len(self._pages) > MAX_PAGES:
            self._pages.popitem(last=False)
        self._totals[query] = found["totalElements"]
        self._totals.move_to_end(query)
        while len(self._totals) > MAX_TOTALS:
            self._totals.popitem(last=False)
        return page

    def _end_load(self, key: _PageKey, task: asyncio.Task[Page]) -> None:
        if (load := self._loads.get(key)) is not None and load.task is task:
            del self._loads[key]
        if not task.cancelled():
            # Those that wait for it get the exception; without any it would be logged.
            task.exception()

    def _put(self, row: Row) -> None:
        self._rows[row.id] = row
        self._rows.move_to_end(row.id)
        while len(self._rows) > MAX_ROWS:
            self._rows.popitem(last=False)

    def _put_values(self, device: FoundDevice) -> None:
        for name, value in (device["values"] or {}).items():
            if (pin := PINS.get(name.lower())) is not None:
                self._values.apply_listed(device["id"], pin, value["value"], value["updatedAt"], value["expired"])

    def apply_state(self, state: Mapping[str, Any]) -> None:
        """Take the status of a device from a snapshot of the stream, or from a change."""
        row = self._rows.get(state.get("device", -1))
        status, is_online = state.get("status"), state.get("online")
        if row is None or not isinstance(status, str) or not isinstance(is_online, bool):
            return
        if (row.status, row.is_online) != (status, is_online):
            # The stream has no key of the status; the one of the list is right again with the next page.
            key = row.status_key if row.status == status else ""
            self._rows[row.id] = attrs.evolve(row, status=status, is_online=is_online, status_key=key)
            self._outdate("status")

    def apply_change(self, change: Mapping[str, Any]) -> None:
        """Take a change of a device from the stream."""
        device = change.get("device", -1)
        if change.get("deleted") is True:
            self.mark_gone(device)
            return
        if change.get("added") is True:
            self._outdate("device")
            return
        row = self._rows.get(device)
        if "online" in change:
            if row is None:
                self._outdate("status")
            self.apply_state(change)
        if isinstance(changed := change.get("changed"), dict):
            self._apply_changed(row, changed)
        if isinstance(metadata := change.get("metadata"), dict):
            if row is not None:
                # Only fields that the list shows.
                shown = {name: str(value) for name, value in metadata.items() if name in row.metadata}
                self._rows[device] = attrs.evolve(self._rows[device], metadata={**row.metadata, **shown})
            self._outdate("metadata")

    def _apply_changed(self, row: Row | None, changed: Mapping[str, Any]) -> None:
        if row is None:
            # What has changed about it is not known.
            for attribute in ("name", "owner", "orgId", "organization"):
                self._outdate(attribute)
            return
        after = attrs.evolve(
            self._rows[row.id],
            name=str(changed.get("name", row.name)),
            org=changed.get("orgId", row.org),
            owner=changed.get("ownerUserId", row.owner),
            template_version=changed.get("templateVersion", row.template_version),
        )
        self._rows[row.id] = after
        if after.name != row.name:
            self._outdate("name")
        if after.owner != row.owner:
            self._outdate("owner")
        if after.org != row.org:
            # It may be in another organization's lists now; the row lacks the name of the new one.
            self._outdate("device")

    def mark_gone(self, device: int) -> None:
        """Mark a device as deleted: it stays in its place, as one that is gone, until the page is loaded again."""
        row = self._rows.get(device)
        if row is not None:
            self._rows[device] = attrs.evolve(row, is_gone=True, is_online=False)
        self._values.forget(device)
        self._outdate("device")

    def outdate(self) -> None:
        """Have all pages loaded again: changes were missed, or the user may see other devices now."""
        self._outdate("device")

    def clear(self) -> None:
        """Drop everything, also what is being fetched."""
        self._rows.clear()
        self._pages.clear()
        self._totals.clear()
        for load in self._loads.values():
            load.is_dropped = True

    async def aclose(self) -> None:
        """Cancel what is being fetched."""
        tasks = [load.task for load in self._loads.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _outdate(self, attribute: str) -> None:
        for (query, _), page in self._pages.items():
            page.is_outdated = page.is_outdated or query.depends_on(attribute)
        for (query, _), load in self._loads.items():
            load.is_outdated = load.is_outdated or query.depends_on(attribute)


def query_filters(filters: Sequence[Mapping[str, Any]]) -> str:
    """Return filters of a search as `DeviceQuery` has them: as text, which can be a key."""
    return json.dumps(list(filters), sort_keys=True)
