"""Organizations: a tree of who owns what. Whoever acts in one sees what is below it, and nothing above or beside."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import timezones
from hub.domain import units
from hub.errors import Conflict, NotFound, Rejected
from hub.facts import OrganizationChanged, TemplateDeleted
from hub.model import ROOT_ORG, Organization, Principal, Template
from hub.spellings import is_name, is_words

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.config import Limits
    from hub.storage import Row, Storage, Transaction

#: docs.blynk.io, Organizations: what a name has, and how long a description is.
#: Characters of a name, and what it may have besides letters, digits and spaces.
MAX_NAME, _IN_NAME = 80, "_.'&-"
MAX_DESCRIPTION = 500
_PHONE = re.compile(r"(\+[0-9][0-9 ()-]{2,25})?")
QUOTAS = ("devices", "users", "organizations")


class Organizations:
    """All organizations by id."""

    def __init__(self, storage: Storage, bus: Bus, limits: Limits) -> None:
        self._storage = storage
        self._bus = bus
        self._limits = limits
        self.by_id: dict[int, Organization] = {}
        #: How many of what a quota is of each organization has: set by who knows.
        self.counts: dict[str, Callable[[], Counter[int]]] = {}
        self._children: dict[int, list[int]] = {}
        #: Held from what is checked until what is remembered, so that memory and disk do not part.
        self._lock = trio.Lock()
        bus.subscribe(TemplateDeleted, self._without)

    def _without(self, fact: TemplateDeleted) -> None:
        for org in [org for org in self.by_id.values() if fact.template.id in (org.templates or ())]:
            self._keep(attrs.evolve(org, templates=(org.templates or frozenset()) - {fact.template.id}))

    async def load(self, root: str) -> None:
        """Read them all; the root is made, and named ``root``, where there is none yet."""

        async def read(tx: Transaction) -> tuple[list[Row], list[Row]]:
            await tx.execute(
                "INSERT OR IGNORE INTO organizations (id, name, place) VALUES (?, ?, '/')", (ROOT_ORG, root)
            )
            columns = "id, name, parent, type, timezone, description, phone, quotas, units, unit_overrides"
            rows = await tx.fetch_all(f"SELECT {columns} FROM organizations")
            return rows, await tx.fetch_all("SELECT org, template FROM enabled_templates")

        rows, enabled = await self._storage.transaction(read)
        templates: dict[int, set[str]] = {}
        for org, template in enabled:
            templates.setdefault(org, set()).add(template)
        for number, name, parent, kind, timezone, description, phone, quotas, system, overrides in rows:
            self._keep(
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
                )
            )

    def _keep(self, org: Organization) -> None:
        self.by_id[org.id] = org
        self._children = {}

    @property
    def root(self) -> Organization:
        return self.by_id[ROOT_ORG]

    def get(self, org: int) -> Organization:
        """Raises `NotFound`."""
        if found := self.by_id.get(org):
            return found
        raise self.unknown(org)

    def unknown(self, org: int) -> NotFound:
        """What is said of one that is not there, also to whom it is none of their business."""
        return NotFound(f"Organization with identifier {org} is not found or you don't have access to it.")

    def path(self, org: int) -> Iterator[Organization]:
        """An organization and all above it, up to the root."""
        found: Organization | None = self.by_id.get(org)
        while found is not None:
            yield found
            found = None if found.parent is None else self.by_id.get(found.parent)

    def contains(self, top: int, org: int) -> bool:
        """Whether ``org`` is ``top`` or below it."""
        while org != top:
            found = self.by_id.get(org)
            if found is None or found.parent is None:
                return False
            org = found.parent
        return True

    def below(self, top: int) -> list[int]:
        """``top`` and all below it, parents before their children."""
        if not self._children:
            for one in self.by_id.values():
                self._children.setdefault(one.parent or 0, []).append(one.id)
        found = [top]
        for org in found:
            found += self._children.get(org, ())
        return found

    def timezone(self, org: int) -> str:
        """The IANA zone of an organization or of the next above it that says one; "" when none does."""
        return next((one.timezone for one in self.path(org) if one.timezone), "")

    def check_quota(self, org: int, what: str, used: Counter[int], more: int = 1, leaving: int | None = None) -> None:
        """Whether ``more`` of ``what`` fit in, given how many each organization has. Raises `Conflict`.

        Those that come from another organization, ``leaving``, are counted already by what is above both.
        """
        for one in self.path(org):
            quota = one.quotas.get(what)
            if quota is None or (leaving is not None and self.contains(one.id, leaving)):
                continue
            if sum(used[number] for number in self.below(one.id)) + more > quota:
                # Not whose quota: it may be of somebody above, who is none of the asker's business.
                raise Conflict(f"there is no room for more {what}: the quota is {quota}")

    async def add(self, org: Organization, by: Principal) -> Organization:
        """Add one below its parent; its id is given here. Raises `Rejected`, `Conflict`."""
        assert org.parent is not None

        async def write(tx: Transaction) -> int:
            number = await tx.execute(
                "INSERT INTO organizations (name, parent, place, type, timezone, description, phone, quotas, units,"
                " unit_overrides) VALUES (?1, ?2, ?2 || '/' || ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                (
                    *(org.name, org.parent, org.type, org.timezone, org.description, org.phone),
                    *(json.dumps(org.quotas), org.units, json.dumps(org.unit_overrides)),
                ),
            )
            await _enable(tx, number, org.templates or ())
            return number

        if org.type == "ROOT":
            raise Rejected("type ROOT is that of the root alone")
        async with self._lock:
            self._check(org)
            depth = sum(1 for _ in self.path(self.get(org.parent).id)) + 1
            if depth > self._limits.organization_depth or len(self.by_id) >= self._limits.organizations:
                limits = f"{self._limits.organizations}, {self._limits.organization_depth} levels deep"
                raise Conflict(f"there are at most {limits} ([limits] organizations, organization_depth)")
            self.check_quota(org.parent, "organizations", self._sub_organizations())
            made = attrs.evolve(org, id=await self._storage.transaction(write), templates=org.templates or frozenset())
            self._keep(made)
        self._bus.emit(OrganizationChanged(made, by))
        return made

    def _sub_organizations(self) -> Counter[int]:
        return Counter(org.parent for org in self.by_id.values() if org.parent is not None)

    def _check(self, org: Organization) -> None:
        problems = []
        if not is_name(org.name, MAX_NAME) or not is_words(org.name, _IN_NAME):
            problems.append(f"name must have 1 to {MAX_NAME} letters, digits, spaces and . - ' &")
        if any((o.name, o.parent) == (org.name, org.parent) and o.id != org.id for o in self.by_id.values()):
            raise Conflict(f"there is an organization named {org.name!r} there already")
        if len(org.description) > MAX_DESCRIPTION:
            problems.append(f"description must have at most {MAX_DESCRIPTION} characters")
        if _PHONE.fullmatch(org.phone) is None:
            problems.append("phoneNumber must be + and up to 15 digits")
        if org.timezone and not timezones.is_known(org.timezone):
            problems.append(f"there is no time zone {org.timezone[:50]!r}")
        if wrong := set(org.quotas) - set(QUOTAS):
            problems.append(f"quotas are of {', '.join(QUOTAS)}, not {', '.join(sorted(wrong))}")
        problems += [f"quota {name} must not be negative" for name, most in org.quotas.items() if most < 0]
        for group, name in org.unit_overrides.items():
            found = units.unit(name)
            if group not in units.GROUPS:
                problems.append(f"unitOverrides are of {', '.join(units.GROUPS)}, not {group[:50]!r}")
            elif found is None or found.group != group:
                problems.append(f"{name[:50]!r} is not a unit of {group}")
        if problems:
            raise Rejected("\n".join(problems))

    async def change(self, org: int, by: Principal, **changes: Any) -> Organization:
        """Change some fields, as `Organization` names them, and no others.

        Raises `NotFound`, `Rejected`, `Conflict`.
        """

        async def write(tx: Transaction) -> None:
            for name, value in changes.items():
                if name == "templates":
                    await tx.execute("DELETE FROM enabled_templates WHERE org = ?", (org,))
                    await _enable(tx, org, value)
                else:
                    kept = json.dumps(value) if isinstance(value, dict) else value
                    await tx.execute(f"UPDATE organizations SET {name} = ? WHERE id = ?", (kept, org))
            await tx.execute("UPDATE organizations SET place = ifnull(parent, '') || '/' || name WHERE id = ?", (org,))

        async with self._lock:
            new = attrs.evolve(self.get(org), **changes)
            self._check(new)
            if new.parent is None and new.templates is not None:
                raise Rejected("the root has all templates")
            if "parent" in changes:
                self._check_move(org, changes["parent"])
            await self._storage.transaction(write)
            self._keep(new)
        self._bus.emit(OrganizationChanged(new, by))
        return new

    async def move(self, org: int, parent: int, by: Principal) -> Organization:
        """Put an organization with all below it under another parent. Raises `Rejected`, `Conflict`."""
        return await self.change(org, by, parent=parent)

    def _check_move(self, org: int, parent: int) -> None:
        self.get(parent)
        if self.get(org).parent is None:
            raise Rejected("the root cannot be transferred")
        if self.contains(org, parent):
            raise Rejected("an organization cannot be transferred under itself or what is below it")
        deepest = max(sum(1 for _ in self.path(one)) for one in self.below(org)) - sum(1 for _ in self.path(org)) + 1
        if sum(1 for _ in self.path(parent)) + deepest > self._limits.organization_depth:
            raise Conflict(f"it would be more than {self._limits.organization_depth} levels deep")
        moved = self.below(org)
        self.check_quota(parent, "organizations", self._sub_organizations(), len(moved), leaving=self.by_id[org].parent)
        for what, count in self.counts.items():
            used = count()
            more = sum(used[one] for one in moved)
            self.check_quota(parent, what, used, more, leaving=self.by_id[org].parent)

    async def remove(self, org: int, by: Principal) -> None:
        """Delete an organization that nothing belongs to. Raises `Rejected`, `Conflict`."""
        old = self.get(org)
        if old.parent is None:
            raise Rejected("the root cannot be deleted")

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
                raise Conflict(
                    str(error) if still in str(error) else f"{still} users or something of theirs"
                ) from error
            self.by_id.pop(org, None)
            self._children = {}
        self._bus.emit(OrganizationChanged(old, by, gone=True))


async def _enable(tx: Transaction, org: int, templates: Iterable[str]) -> None:
    await tx.insert_many("enabled_templates", ("org", "template"), [(org, template) for template in templates])


def template_not_enabled(template: Template, org: Organization) -> Conflict:
    """The error for a device of a template that its organization does not have, with what would enable it."""
    command = f"pinwheel template enable {template.id} {org.id}"
    return Conflict(f"template {template.id} is not enabled in organization {org.name}; enable it with: {command}")
