"""Segments: named groups of devices, picked by hand or found anew each time (docs.blynk.io, Segments)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub.api import (
    LARGE_BODY,
    MAX_PAGE,
    VIEW_DEVICES,
    Created,
    Page,
    PageNumber,
    PageSize,
    Request,
    Route,
    from_json,
    page_of,
)
from hub.api import to_json as plain
from hub.errors import Conflict, NotFound, Rejected
from hub.facts import OrganizationChanged
from hub.spellings import is_name, nfc
from plugins.fleet.filters import Find, Finder, Test

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.model import Principal
    from hub.storage import Row, Transaction

#: docs.blynk.io, Segments: how many an organization has, and how long a name is; and devices that are picked by hand.
MAX_OF_ORG, MAX_NAME, MAX_CHOSEN = 50, 40, 10_000


@attrs.frozen(kw_only=True)
class Segment:
    """With ``find`` it has what is found but the ``chosen``, without it the ``chosen``; ``position`` is its order."""

    id: int
    org: int
    name: str = attrs.field(converter=nfc)
    position: int = 0
    chosen: frozenset[int] = frozenset()
    find: Find | None = None


@attrs.frozen(kw_only=True)
class SegmentObject:
    id: int
    org_id: int
    name: str
    position: int
    devices: list[int] | None
    find: Find | None
    excluded: list[int]


@attrs.frozen(kw_only=True)
class NewSegment:
    """Either ``devices`` (their ids), or ``find`` with those to leave out in ``excluded``."""

    name: str
    devices: list[int] | None = None
    find: Find | None = None
    excluded: list[int] = attrs.Factory(list)
    org_id: int | None = None


@attrs.frozen(kw_only=True)
class EditSegment:
    """What is left out stays; ``position`` 0 is the first of its organization."""

    segment_id: int
    name: str | None = None
    devices: list[int] | None = None
    find: Find | None = None
    excluded: list[int] | None = None
    position: int | None = None


class Segments:
    def __init__(self, hub: Hub, finder: Callable[[], Finder]) -> None:
        self._hub = hub
        self._finder = finder
        self.by_id: dict[int, Segment] = {}
        hub.subscribe(OrganizationChanged, self._follow)

    async def load(self) -> None:
        async def read(tx: Transaction) -> list[Row]:
            return await tx.fetch_all("SELECT id, org, name, position, chosen, find FROM fleet_segments")

        for number, org, name, position, chosen, find in await self._hub.storage.read(read):
            self.by_id[number] = Segment(
                id=number,
                org=org,
                name=name,
                position=position,
                chosen=frozenset(json.loads(chosen)),
                find=None if find is None else from_json(json.loads(find), Find),
            )

    def _follow(self, fact: OrganizationChanged) -> None:
        if fact.gone:
            self.by_id = {number: one for number, one in self.by_id.items() if one.org != fact.organization.id}

    def segment_for(self, request: Request, number: int, permission: str = VIEW_DEVICES) -> Segment:
        """A segment that is the asker's business. Raises `NotFound`."""
        found = self.by_id.get(number)
        if found is None or not self._hub.is_allowed(request.principal, permission, org=found.org):
            raise NotFound(f"Segment with identifier {number} is not found or belong to another organization.")
        return found

    async def tests(self, segment: Segment, principal: Principal) -> list[Test]:
        """All of which a device passes that is in it at the moment: it is also of its organization or below."""
        orgs, chosen = set(self._hub.organizations.below(segment.org)), segment.chosen
        if segment.find is None:
            return [lambda device: device.id in chosen, lambda device: device.org in orgs]
        tests = await self._finder().tests(segment.find, principal)
        return [lambda device: device.id not in chosen, lambda device: device.org in orgs, *tests]

    def of_org(self, org: int) -> list[Segment]:
        """Those of one organization, in their order."""
        return sorted((one for one in self.by_id.values() if one.org == org), key=lambda one: one.position)

    def check(self, segment: Segment) -> None:
        """Whether a segment can be like this. Raises `Rejected`, `Conflict`."""
        if not is_name(segment.name, MAX_NAME):
            raise Rejected(f"name must have 1 to {MAX_NAME} printable characters")
        if len(segment.chosen) > MAX_CHOSEN:
            raise Rejected(f"at most {MAX_CHOSEN} devices are named one by one")
        if segment.find is not None:
            segment.find.check()
        others = [one for one in self.of_org(segment.org) if one.id != segment.id]
        if any(one.name == segment.name for one in others):
            raise Conflict(f"there is a segment named {segment.name!r} already")
        if len(others) >= MAX_OF_ORG:
            raise Conflict(f"an organization can have at most {MAX_OF_ORG} segments")

    async def save(self, segment: Segment, position: int | None = None) -> Segment:
        """Add or change one; with ``position`` it goes there, and the others make room."""
        self.check(segment)
        find = None if segment.find is None else json.dumps(plain(segment.find))
        kept = (segment.name, json.dumps(sorted(segment.chosen)), find)
        order = [one.id for one in self.of_org(segment.org) if one.id != segment.id]
        before = self.by_id.get(segment.id)
        where = position if position is not None else before.position if before else len(order)

        async def write(tx: Transaction) -> int:
            number = segment.id
            if number:
                await tx.execute(
                    "UPDATE fleet_segments SET name = ?, chosen = ?, find = ? WHERE id = ?", (*kept, number)
                )
            else:
                sql = "INSERT INTO fleet_segments (name, chosen, find, org, position) VALUES (?, ?, ?, ?, 0)"
                number = await tx.execute(sql, (*kept, segment.org))
            order.insert(where, number)
            for place, one in enumerate(order):
                await tx.execute("UPDATE fleet_segments SET position = ? WHERE id = ?", (place, one))
            return number

        saved = attrs.evolve(segment, id=await self._hub.storage.transaction(write))
        self.by_id[saved.id] = saved
        for place, one in enumerate(order):
            if one in self.by_id:
                self.by_id[one] = attrs.evolve(self.by_id[one], position=place)
        return self.by_id[saved.id]

    async def remove(self, segment: Segment) -> None:
        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM fleet_segments WHERE id = ?", (segment.id,))

        await self._hub.storage.transaction(write)
        self.by_id.pop(segment.id, None)


def routes(hub: Hub, segments: Segments) -> Sequence[Route]:
    def shown(request: Request, one: Segment) -> SegmentObject:
        # Of devices that the asker may not view, there is nothing to see.
        devices = (hub.devices.by_id[number] for number in one.chosen if number in hub.devices.by_id)
        chosen = sorted(device.id for device in hub.access.allowed_devices(request.principal, VIEW_DEVICES, devices))
        return SegmentObject(
            id=one.id,
            org_id=one.org,
            name=one.name,
            position=one.position,
            devices=chosen if one.find is None else None,
            find=one.find,
            excluded=[] if one.find is None else chosen,
        )

    async def listed(
        request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = MAX_PAGE
    ) -> Page[SegmentObject]:
        found = segments.of_org(hub.access.organization_for(request, org_id).id)
        return page_of(found, page, size, lambda one: shown(request, one))

    async def info(request: Request, segment_id: int) -> SegmentObject:
        found = segments.segment_for(request, segment_id)
        request.version(found)
        return shown(request, found)

    async def create(request: Request) -> Created[SegmentObject]:
        body: NewSegment = request.body
        org = hub.access.organization_for(request, body.org_id)
        if (body.devices is None) == (body.find is None):
            raise Rejected("either devices or find is needed")
        chosen = frozenset(body.excluded if body.devices is None else body.devices)
        made = await segments.save(Segment(id=0, org=org.id, name=body.name, chosen=chosen, find=body.find))
        request.subject = f"segment {made.id}"
        return Created(value=shown(request, made))

    async def edit(request: Request) -> SegmentObject:
        body: EditSegment = request.body
        found = segments.segment_for(request, body.segment_id, request.permission)
        request.subject, request.org = f"segment {found.id}", found.org
        request.expect(found)
        if body.devices is not None and found.find is not None:
            raise Rejected("devices: this segment finds its devices")
        if (body.find is not None or body.excluded is not None) and found.find is None:
            raise Rejected("find and excluded: the devices of this segment are picked by hand")
        if body.position is not None and not 0 <= body.position < MAX_OF_ORG:
            raise Rejected(f"position must be 0 to {MAX_OF_ORG - 1}")
        chosen = next((frozenset(ids) for ids in (body.devices, body.excluded) if ids is not None), found.chosen)
        changed = attrs.evolve(found, name=body.name or found.name, chosen=chosen, find=body.find or found.find)
        saved = await segments.save(changed, body.position)
        request.version(saved)
        return shown(request, saved)

    async def delete(request: Request, segment_id: int) -> None:
        found = segments.segment_for(request, segment_id, request.permission)
        request.subject, request.org = f"segment {found.id}", found.org
        request.expect(found)
        await segments.remove(found)

    org = "/api/v1/organization"
    chosen: Any = {"lock": "segment", "max_body": LARGE_BODY}
    return [
        Route("GET", f"{org}/segments", listed, VIEW_DEVICES, "The segments of an organization"),
        Route("GET", f"{org}/segment", info, VIEW_DEVICES, "One segment"),
        Route("POST", f"{org}/segment/create", create, "segments.edit", "Make a segment", NewSegment, **chosen),
        Route("PUT", f"{org}/segment", edit, "segments.edit", "Edit a segment", EditSegment, **chosen),
        Route("DELETE", f"{org}/segment", delete, "segments.edit", "Delete a segment", lock="segment"),
    ]
