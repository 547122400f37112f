"""Organizations: the tree of the owners of devices, users and templates.

A user of an organization can see it and all organizations below it, but none above or beside it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub.domain import units
from hub.errors import Conflict, NotFound, Rejected
from hub.facts import OrganizationChanged, TemplateDeleted
from hub.model import ROOT_ORG, Organization, Principal, Template
from hub.parsing import timezones
from hub.parsing.spellings import is_name, is_printable, is_words

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.config import Limits
    from hub.storage import Row, Storage, Transaction
    from hub.storage.stamp_correction import Correction

#: Limits of names and descriptions (docs.blynk.io, Organizations). A name has letters, digits, spaces and `_IN_NAME`.
MAX_NAME, _IN_NAME = 80, "_.'&-"
MAX_DESCRIPTION = 500
_PHONE = re.compile(r"(\+[0-9][0-9 ()-]{2,25})?")
QUOTAS = ("devices", "users", "organizations")
#: Parts of an address, and characters of each (docs.blynk.io, Platform API, Organizations).
ADDRESS = {"fullAddress": 512, "country": 74, "city": 50, "state": 40, "zip": 12}


class Organizations:
    """All organizations by id."""

    def __init__(self, storage: Storage, bus: Bus, clock: Clock, limits: Limits) -> None:
        self._storage = storage
        self._clock = clock
        self._bus = bus
        self._limits = limits
        self.by_id: dict[int, Organization] = {}
        self._usage_counters: dict[str, Callable[[], Counter[int]]] = {}
        self._children: dict[int, list[int]] = {}
        #: Held from the checks to the update of memory, so that memory and disk remain the same.
        self._lock = trio.Lock()
        bus.subscribe(TemplateDeleted, self._remove_template)

    def _remove_template(self, fact: TemplateDeleted) -> None:
        for org in [org for org in self.by_id.values() if fact.template.id in (org.templates or ())]:
            self._store(attrs.evolve(org, templates=(org.templates or frozenset()) - {fact.template.id}))

    async def load(self, root: str) -> None:
        """Read all organizations; create the root with the name ``root`` if there is none."""

        async def read(tx: Transaction) -> tuple[list[Row], list[Row]]:
            await tx.insert_missing("organizations", id=ROOT_ORG, name=root, place="/")
            columns = (
                "id, name, parent, type, timezone, description, phone, quotas, units, unit_overrides, address, modified"
            )
            rows = await tx.fetch_all(f"SELECT {columns} FROM organizations")
            return rows, await tx.fetch_all("SELECT org, template FROM enabled_templates")

        rows, enabled = await self._storage.transaction(read)
        templates: dict[int, set[str]] = {}
        for org, template in enabled:
            templates.setdefault(org, set()).add(template)
        for number, name, parent, kind, timezone, description, phone, quotas, system, overrides, *more in rows:
            address, modified = more
            self._store(
                Organization(
                    id=number,
                    name=name,
                    parent=parent,
                    type="ROOT" if parent is None else kind,
                    timezone=timezone,
                    description=description,
                    phone=phone,
                    templates=None if parent is None else frozenset(templates.get(number, ())),
                    quotas=json.loads(quotas),
                    units=system,
                    unit_overrides=json.loads(overrides),
                    address=json.loads(address),
                    modified=modified,
                )
            )

    def _store(self, org: Organization) -> None:
        self.by_id[org.id] = org
        self._children = {}

    def correct_stamps(self, correction: Correction) -> None:
        """Correct in memory the times that a clock repair has corrected in the database."""
        for org in tuple(self.by_id.values()):
            if org.modified is not None:
                self._store(attrs.evolve(org, modified=correction.corrected(org.modified)))

    @property
    def root(self) -> Organization:
        return self.by_id[ROOT_ORG]

    def get(self, org: int) -> Organization:
        """Return an organization by its id. Raises `NotFound`."""
        if organization := self.by_id.get(org):
            return organization
        raise self.not_found(org)

    def not_found(self, org: int) -> NotFound:
        """Return the error for a missing organization.

        Also raised when the caller may not see the organization, so that ids cannot be probed.
        """
        return NotFound(f"Organization with identifier {org} is not found or you don't have access to it.")

    def path(self, org: int) -> Iterator[Organization]:
        """Yield an organization and all above it, up to the root."""
        ancestor: Organization | None = self.by_id.get(org)
        while ancestor is not None:
            yield ancestor
            ancestor = None if ancestor.parent is None else self.by_id.get(ancestor.parent)

    def contains(self, top: int, org: int) -> bool:
        """Whether ``org`` is ``top`` or below it."""
        while org != top:
            organization = self.by_id.get(org)
            if organization is None or organization.parent is None:
                return False
            org = organization.parent
        return True

    def below(self, top: int) -> list[int]:
        """Return the ids of ``top`` and of all organizations below it, parents before their children."""
        if not self._children:
            for organization in self.by_id.values():
                self._children.setdefault(organization.parent or 0, []).append(organization.id)
        ids = [top]
        for org in ids:
            ids += self._children.get(org, ())
        return ids

    def timezone(self, org: int) -> str:
        """Return the IANA time zone of an organization, or of the nearest one above it that has one, or ""."""
        return next((ancestor.timezone for ancestor in self.path(org) if ancestor.timezone), "")

    def add_usage_counter(self, kind: str, count: Callable[[], Counter[int]]) -> None:
        """Let a service count its objects for the quota ``kind``: ``count`` returns how many each organization has."""
        self._usage_counters[kind] = count

    def check_quota(self, org: int, kind: str, used: Counter[int], added: int = 1, leaving: int | None = None) -> None:
        """Check that ``added`` objects of a kind, one of `QUOTAS`, fit into the quotas. Raises `Conflict`.

        ``used`` has the number of objects that each organization itself has. Objects that come from the organization
        ``leaving`` are already counted by the organizations above both.
        """
        for ancestor in self.path(org):
            quota = ancestor.quotas.get(kind)
            if quota is None or (leaving is not None and self.contains(ancestor.id, leaving)):
                continue
            if sum(used[number] for number in self.below(ancestor.id)) + added > quota:
                # Without the name of the organization: the caller may not know of organizations above its own.
                raise Conflict(f"there is no room for more {kind}: the quota is {quota}")

    async def add(self, org: Organization, by: Principal) -> Organization:
        """Add an organization below its parent, and return it with its new id. Raises `Rejected`, `Conflict`."""
        assert org.parent is not None
        now = self._clock.now()

        async def write(tx: Transaction) -> int:
            number = await tx.insert(
                "organizations",
                name=org.name,
                parent=org.parent,
                place=f"{org.parent}/{org.name}",
                type=org.type,
                timezone=org.timezone,
                description=org.description,
                phone=org.phone,
                quotas=json.dumps(org.quotas),
                units=org.units,
                unit_overrides=json.dumps(org.unit_overrides),
                address=json.dumps(org.address),
                modified=now,
            )
            await _enable(tx, number, org.templates or ())
            return number

        if org.type == "ROOT":
            raise Rejected("only the root organization can have the type ROOT")
        async with self._lock:
            self._check(org)
            depth = self._depth(self.get(org.parent).id) + 1
            if depth > self._limits.organization_depth or len(self.by_id) >= self._limits.organizations:
                limits = f"{self._limits.organizations}, {self._limits.organization_depth} levels deep"
                raise Conflict(f"there can be at most {limits} ([limits] organizations, organization_depth)")
            self.check_quota(org.parent, "organizations", self._sub_organizations())
            number = await self._storage.transaction(write)
            added = attrs.evolve(org, id=number, templates=org.templates or frozenset(), modified=now)
            self._store(added)
        self._bus.emit(OrganizationChanged(added, by))
        return added

    def _sub_organizations(self) -> Counter[int]:
        return Counter(org.parent for org in self.by_id.values() if org.parent is not None)

    def _check(self, org: Organization) -> None:
        problems = []
        if not is_name(org.name, MAX_NAME) or not is_words(org.name, _IN_NAME):
            problems.append(f"name must have 1 to {MAX_NAME} letters, digits, spaces and . - ' &")
        if any((o.name, o.parent) == (org.name, org.parent) and o.id != org.id for o in self.by_id.values()):
            raise Conflict(f"the parent organization already contains an organization named {org.name!r}")
        if len(org.description) > MAX_DESCRIPTION:
            problems.append(f"description must have at most {MAX_DESCRIPTION} characters")
        if _PHONE.fullmatch(org.phone) is None:
            problems.append("phoneNumber must be + and up to 15 digits")
        if org.timezone and not timezones.is_known(org.timezone):
            problems.append(f"there is no time zone {org.timezone[:50]!r}")
        if unknown := set(org.address) - set(ADDRESS):
            problems.append(f"unknown parts of an address: {', '.join(sorted(unknown))}")
        for part, limit in ADDRESS.items():
            if len(text := org.address.get(part, "")) > limit or not is_printable(text):
                problems.append(f"address.{part} must have at most {limit} printable characters")
        if unknown := set(org.quotas) - set(QUOTAS):
            problems.append(f"unknown quotas: {', '.join(sorted(unknown))}; there are quotas of {', '.join(QUOTAS)}")
        problems += [f"quota {name} must not be negative" for name, quota in org.quotas.items() if quota < 0]
        for group, name in org.unit_overrides.items():
            unit = units.unit(name)
            if group not in units.GROUPS:
                problems.append(f"unitOverrides can have the keys {', '.join(units.GROUPS)}, not {group[:50]!r}")
            elif unit is None or unit.group != group:
                problems.append(f"{name[:50]!r} is not a unit of {group}")
        if problems:
            raise Rejected("\n".join(problems))

    async def change(self, org: int, by: Principal, **changes: Any) -> Organization:
        """Change some fields, given by their names in `Organization`. Raises `NotFound`, `Rejected`, `Conflict`."""
        changes["modified"] = self._clock.now()

        async def write(tx: Transaction) -> None:
            for name, value in changes.items():
                if name == "templates":
                    await tx.execute("DELETE FROM enabled_templates WHERE org = ?", (org,))
                    await _enable(tx, org, value)
                else:
                    column = json.dumps(value) if isinstance(value, dict) else value
                    await tx.execute(f"UPDATE organizations SET {name} = ? WHERE id = ?", (column, org))
            place = "coalesce(CAST(parent AS TEXT), '') || '/' || name"
            await tx.execute(f"UPDATE organizations SET place = {place} WHERE id = ?", (org,))

        async with self._lock:
            new = attrs.evolve(self.get(org), **changes)
            self._check(new)
            if new.parent is None and new.templates is not None:
                raise Rejected("the root organization always has all templates")
            if "parent" in changes:
                self._check_move(org, changes["parent"])
            await self._storage.transaction(write)
            self._store(new)
        self._bus.emit(OrganizationChanged(new, by))
        return new

    async def move(self, org: int, parent: int, by: Principal) -> Organization:
        """Move an organization, with all below it, under another parent. Raises `Rejected`, `Conflict`."""
        return await self.change(org, by, parent=parent)

    def _check_move(self, org: int, parent: int) -> None:
        self.get(parent)
        if self.get(org).parent is None:
            raise Rejected("the root organization cannot be transferred")
        if self.contains(org, parent):
            raise Rejected("an organization cannot be transferred under itself or an organization below it")
        moved = self.below(org)
        levels = max(map(self._depth, moved)) - self._depth(org) + 1
        if self._depth(parent) + levels > self._limits.organization_depth:
            raise Conflict(f"organizations can be at most {self._limits.organization_depth} levels deep")
        self.check_quota(parent, "organizations", self._sub_organizations(), len(moved), leaving=self.by_id[org].parent)
        for kind, count in self._usage_counters.items():
            used = count()
            added = sum(used[number] for number in moved)
            self.check_quota(parent, kind, used, added, leaving=self.by_id[org].parent)

    def _depth(self, org: int) -> int:
        """Return the number of levels from the root, which is 1, to an organization."""
        return sum(1 for _ in self.path(org))

    async def remove(self, org: int, by: Principal) -> None:
        """Delete an organization without devices, users, templates and sub-organizations.

        Raises `NotFound`, `Rejected`, `Conflict`.
        """
        old = self.get(org)
        if old.parent is None:
            raise Rejected("the root organization cannot be deleted")

        async def write(tx: Transaction) -> None:
            for table, column in (("devices", "org"), ("organizations", "parent"), ("templates", "org")):
                [(count,)] = await tx.fetch_all(f"SELECT count(*) FROM {table} WHERE {column} = ?", (org,))
                if count:
                    raise Conflict(f"organization {old.name} still has {count} {table}")
            await tx.execute("DELETE FROM organizations WHERE id = ?", (org,))

        async with self._lock:
            try:
                await self._storage.transaction(write)
            except Conflict as error:
                still = f"organization {old.name} still has"
                raise Conflict(str(error) if still in str(error) else f"{still} users or data of users") from error
            self.by_id.pop(org, None)
            self._children = {}
        self._bus.emit(OrganizationChanged(old, by, gone=True))


async def _enable(tx: Transaction, org: int, templates: Iterable[str]) -> None:
    await tx.insert_many("enabled_templates", ("org", "template"), [(org, template) for template in templates])


def template_not_enabled(template: Template, org: Organization) -> Conflict:
    """Return the error for a template that is not enabled in an organization, with the command that enables it."""
    command = f"pinwheel template enable {template.id} {org.id}"
    return Conflict(f"template {template.id} is not enabled in organization {org.name}; enable it with: {command}")
