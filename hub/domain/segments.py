"""Segments: named groups of devices, picked by hand or defined by a query (docs.blynk.io, Segments).

A segment has no list of members: its devices are determined at each use, for one principal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import trio

from hub.domain.device_query import DeviceQuery, Predicate, QueryCompiler, permission_predicate
from hub.errors import Conflict, NotFound, Rejected
from hub.facts import OrganizationChanged
from hub.model import VIEW_DEVICES, Device, IsAllowed, Principal
from hub.parsing.spellings import is_name, nfc
from hub.parsing.structuring import structure

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.domain.organizations import Organizations
    from hub.storage import Row, Storage, Transaction

#: docs.blynk.io, Segments: segments of an organization, and characters of a name; and devices picked by hand.
MAX_OF_ORG, MAX_NAME, MAX_CHOSEN = 50, 40, 10_000


@attrs.frozen(kw_only=True)
class Segment:
    """Segment of an organization.

    With ``find``, its devices are those that match the query, except the ``chosen``; without it, they are the
    ``chosen``. ``position`` is its place among the organization's segments, from 0.
    """

    id: int
    org: int
    name: str = attrs.field(converter=nfc)
    position: int = 0
    chosen: frozenset[int] = frozenset()
    find: DeviceQuery | None = None


class Segments:
    """All segments, in memory and in the table ``segments``."""

    def __init__(
        self,
        storage: Storage,
        bus: Bus,
        organizations: Organizations,
        compiler: QueryCompiler,
        is_allowed: IsAllowed,
    ) -> None:
        self._storage = storage
        self._organizations = organizations
        self._compiler = compiler
        self._is_allowed = is_allowed
        self.by_id: dict[int, Segment] = {}
        #: Held from the checks to the update of memory, so that memory and disk remain the same.
        self._lock = trio.Lock()
        bus.subscribe(OrganizationChanged, self._on_organization_changed)

    async def load(self) -> None:
        """Read all segments from the database."""

        async def read(tx: Transaction) -> list[Row]:
            return await tx.fetch_all("SELECT id, org, name, position, chosen, find FROM segments")

        for segment_id, org, name, position, chosen, find in await self._storage.read(read):
            self.by_id[segment_id] = Segment(
                id=segment_id,
                org=org,
                name=name,
                position=position,
                chosen=frozenset(json.loads(chosen)),
                find=None if find is None else structure(json.loads(find), DeviceQuery),
            )

    def _on_organization_changed(self, fact: OrganizationChanged) -> None:
        if fact.gone:
            org = fact.organization.id
            self.by_id = {segment_id: segment for segment_id, segment in self.by_id.items() if segment.org != org}

    def segment_for(self, principal: Principal, segment_id: int, permission: str = VIEW_DEVICES) -> Segment:
        """Return a segment of an organization in which the principal has a permission. Raises `NotFound`."""
        segment = self.by_id.get(segment_id)
        if segment is None or not self._is_allowed(principal, permission, org=segment.org):
            raise self._not_found(segment_id)
        return segment

    def _not_found(self, segment_id: int) -> NotFound:
        return NotFound(f"Segment with identifier {segment_id} is not found or belong to another organization.")

    async def compile(self, segment: Segment, principal: Principal) -> list[Predicate]:
        """Return predicates, all of which a device satisfies that is in the segment now; see `QueryCompiler.compile`.

        A device in it always belongs to its organization or to one below.
        """
        predicates = [] if segment.find is None else await self._compiler.compile(segment.find, principal)
        orgs, chosen = set(self._organizations.below(segment.org)), segment.chosen
        if segment.find is None:
            return [lambda device: device.id in chosen, lambda device: device.org in orgs]
        return [lambda device: device.id not in chosen, lambda device: device.org in orgs, *predicates]

    async def devices(self, segment: Segment, principal: Principal, permission: str = VIEW_DEVICES) -> list[Device]:
        """Return the devices that are in the segment now and on which the principal has a permission, by id.

        A query looks only at tags, locations and users that the principal may see, so two principals may get different
        devices. Whether the principal may see the segment itself is not checked: see `segment_for`.
        """
        predicates = await self.compile(segment, principal)
        is_allowed = permission_predicate(self._is_allowed, principal, permission)
        return await self._compiler.select(segment.org, [*predicates, is_allowed])

    def of_org(self, org: int) -> list[Segment]:
        """Return the segments of one organization, by position."""
        segments = (segment for segment in self.by_id.values() if segment.org == org)
        return sorted(segments, key=lambda segment: segment.position)

    def check(self, segment: Segment) -> None:
        """Raise `Rejected` or `Conflict` if a segment must not be saved like this."""
        if not is_name(segment.name, MAX_NAME):
            raise Rejected(f"name must have 1 to {MAX_NAME} printable characters")
        if len(segment.chosen) > MAX_CHOSEN:
            raise Rejected(f"a segment can list at most {MAX_CHOSEN} devices by id")
        if segment.find is not None:
            segment.find.check()
        others = [other for other in self.of_org(segment.org) if other.id != segment.id]
        if any(other.name == segment.name for other in others):
            raise Conflict(f"there is a segment named {segment.name!r} already")
        if len(others) >= MAX_OF_ORG:
            raise Conflict(f"an organization can have at most {MAX_OF_ORG} segments")

    async def save(self, segment: Segment, position: int | None = None) -> Segment:
        """Add a segment (with id 0) or update one, and return it as saved.

        ``position`` moves it to that place among the organization's segments; a new one goes to the end by default.
        Raises `Rejected`, `Conflict`; `NotFound` when the segment was deleted.
        """
        if position is not None and not 0 <= position < MAX_OF_ORG:
            raise Rejected(f"position must be 0 to {MAX_OF_ORG - 1}")
        async with self._lock:
            if segment.id and segment.id not in self.by_id:
                raise self._not_found(segment.id)
            self.check(segment)
            find = None if segment.find is None else json.dumps(attrs.asdict(segment.find))
            columns = (segment.name, json.dumps(sorted(segment.chosen)), find)
            order = [other.id for other in self.of_org(segment.org) if other.id != segment.id]
            before = self.by_id.get(segment.id)
            target = position if position is not None else before.position if before else len(order)

            async def write(tx: Transaction) -> int:
                segment_id = segment.id
                if segment_id:
                    sql = "UPDATE segments SET name = ?, chosen = ?, find = ? WHERE id = ?"
                    await tx.execute(sql, (*columns, segment_id))
                else:
                    name, chosen, find = columns
                    row = {"name": name, "chosen": chosen, "find": find, "org": segment.org, "position": 0}
                    segment_id = await tx.insert("segments", **row)
                order.insert(target, segment_id)
                for index, ordered_id in enumerate(order):
                    await tx.execute("UPDATE segments SET position = ? WHERE id = ?", (index, ordered_id))
                return segment_id

            saved = attrs.evolve(segment, id=await self._storage.transaction(write))
            self.by_id[saved.id] = saved
            for index, ordered_id in enumerate(order):
                if ordered_id in self.by_id:
                    self.by_id[ordered_id] = attrs.evolve(self.by_id[ordered_id], position=index)
            return self.by_id[saved.id]

    async def remove(self, segment: Segment) -> None:
        """Delete a segment."""

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM segments WHERE id = ?", (segment.id,))

        async with self._lock:
            await self._storage.transaction(write)
            self.by_id.pop(segment.id, None)
