"""The templates of a hub: the newest version of each, older ones to which devices are pinned, and saved versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from hub.errors import Conflict, NotFound
from hub.facts import TemplateChanged, TemplateDeleted
from hub.model import Datastream, Organization, Principal, Template
from hub.templates.document import BadTemplate, difference, from_row, from_toml, read, to_row

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.config import Limits
    from hub.domain.devices import Devices
    from hub.storage import Row, Storage, Transaction

T = TypeVar("T")

#: Saved versions of a template, in addition to those to which devices are pinned.
MAX_VERSIONS = 100


class Decode(Protocol):
    """Returns ``parse(text)``, from a thread if the text is long (`hub.api.bodies.Bodies.decode`)."""

    async def __call__(self, body: str, parse: Callable[[str], T], /) -> T: ...


@attrs.frozen(kw_only=True)
class Version:
    """A version of a template that was saved at the time ``at`` (ms UTC) by an actor ("user 3")."""

    number: int
    at: int
    by: str
    template: Template


class Templates:
    """All templates, by id, in their newest version: new devices get it, and others unless they are pinned."""

    def __init__(
        self, storage: Storage, bus: Bus, clock: Clock, devices: Devices, limits: Limits, decode: Decode
    ) -> None:
        self._storage = storage
        self._bus = bus
        self._clock = clock
        self._limits = limits
        self._decode = decode
        self._devices = devices
        self.by_id: dict[str, Template] = {}
        #: Older versions to which devices are pinned, by id and version; and the highest id that a datastream ever had.
        self._older: dict[tuple[str, int], Template] = {}
        self._highest: dict[str, int] = {}

    async def load(self) -> None:
        async def fetch(tx: Transaction) -> tuple[list[Row], list[Row]]:
            newest = await tx.fetch_all("SELECT document, org, version, highest FROM templates ORDER BY id")
            older = await tx.fetch_all(
                "SELECT v.document, t.org, v.version FROM template_versions v JOIN templates t ON t.id = v.template"
                " WHERE EXISTS (SELECT 1 FROM devices d WHERE d.template = v.template AND d.pinned = v.version)"
            )
            return newest, older

        newest, older = await self._storage.read(fetch)
        for document, org, version, highest in newest:
            template = from_row(document, org, version)
            self.by_id[template.id] = template
            self._highest[template.id] = max([highest, *(stream.id for stream in template.datastreams)])
        self._older = {(template.id, template.version): template for template in (from_row(*row) for row in older)}

    def for_device(self, template: str, pinned: int | None) -> Template:
        """Return the newest version of a template, or the one to which a device is pinned."""
        return self.by_id[template] if pinned is None else self._older[template, pinned]

    def get(self, template: str) -> Template:
        """Return the newest version of a template. Raises `NotFound`."""
        if newest := self.by_id.get(template):
            return newest
        raise self.not_found()

    @staticmethod
    def not_found() -> NotFound:
        """Return the error for a missing template.

        Also raised when the caller may not see the template, so that ids cannot be probed.
        """
        return NotFound("Template is not found or you don't have access to it.")

    def for_org(self, org: Organization, template: str) -> Template:
        """Return a template that is enabled in an organization. Raises `NotFound`, also if it is not enabled."""
        newest = self.by_id.get(template)
        if newest is None or not org.has(newest):
            raise self.not_found()
        return newest

    # -- saving ---------------------------------------------------------------------------------------------------

    async def save(
        self, text: str, by: Principal, *, source: str = "template", prune: bool = False
    ) -> tuple[Template, list[str]]:
        """Import a template from TOML, and give it to its devices; see `put`."""
        document = await self._decode(text, lambda text: from_toml(text, source, self._limits))
        return await self.put(lambda: self.read(document, source), by, source=source, prune=prune)

    def read(self, document: Mapping[str, Any], source: str = "template") -> Template:
        """Return a template from a document, with ids for datastreams that have none. Raises `BadTemplate`."""
        return read(document, source, self.by_id, lambda template: self._highest.get(template, 0), self._limits)

    def check(self, new: Template, source: str = "template") -> None:
        """Check that a template can be saved beside the others. Raises `BadTemplate`, `Conflict`."""
        limit = self._limits.templates
        if new.id not in self.by_id and len(self.by_id) >= limit:
            raise BadTemplate([f"{source}: more than {limit} templates ([limits] templates)"])
        if any(t.name == new.name and t.id != new.id for t in self.by_id.values()):
            raise Conflict(f"{source}: there is another template named {new.name!r}")

    def changes(self, new: Template, *, apply: bool = True) -> tuple[list[str], list[tuple[int | None, Datastream]]]:
        """Return the changes by saving a template, a line each, and the datastreams that would lose their values.

        Each datastream is preceded by the version to which its devices are pinned, None for devices that are not
        pinned.
        """
        old = self.by_id.get(new.id)
        lines, streams = difference(old, new)
        if not apply:
            return lines, []
        dropped: list[tuple[int | None, Datastream]] = [(None, stream) for stream in streams]
        pinned = sorted(self._devices.pinned_versions(new.id))
        for number in pinned:
            dropped += [(number, stream) for stream in difference(self._older[new.id, number], new)[1]]
        if pinned and not lines:
            lines = ["~ devices with older versions follow"]
        return lines, dropped

    async def put(
        self,
        make: Callable[[], Template],
        by: Principal,
        *,
        source: str = "template",
        prune: bool = False,
        apply: bool = True,
    ) -> tuple[Template, list[str]]:
        """Save a template as its next version; return it and its changes, a line each.

        ``make`` returns the template; it is called under the lock, so that no other call can change templates after it.
        With ``apply`` all devices get the new version, else they are pinned to the version that they have. A change
        that drops values is rejected without ``prune``. Raises `BadTemplate`, `Conflict`.
        """
        async with self._devices.lock:
            new = make()
            old = self.by_id.get(new.id)
            self.check(new, source)
            lines, dropped = self.changes(new, apply=apply)
            if dropped and not prune:
                names = ", ".join(dropped_names(dropped))
                raise Conflict(f"{source}: this would drop the values of {names}; import with --prune if that is meant")
            if not lines:
                return old or new, []
            version = 1 if old is None else old.version + bool(difference(old, new)[0])
            saved = attrs.evolve(new, version=version, org=new.org if old is None else old.org)
            await self._write(saved, old, by, dropped, apply=apply)
        self._bus.emit(TemplateChanged(saved, by))
        return saved, lines

    async def _write(
        self,
        new: Template,
        old: Template | None,
        by: Principal,
        dropped: Sequence[tuple[int | None, Datastream]],
        *,
        apply: bool,
    ) -> None:
        at = self._clock.now()
        highest = max([self._highest.get(new.id, 0), *(stream.id for stream in new.datastreams)])

        async def write(tx: Transaction) -> list[int]:
            document = to_row(new)
            row = {"id": new.id, "name": new.name, "document": document, "version": new.version, "highest": highest}
            await tx.upsert("templates", ("id",), **row, org=new.org)
            version = {"template": new.id, "version": new.version, "at": at, "by": by.actor_id, "document": document}
            await tx.insert_missing("template_versions", **version)
            deleted: list[int] = []
            if apply:
                deleted = await self._devices.write_series(tx, new, dropped)
                await tx.execute("UPDATE devices SET pinned = NULL WHERE template = ?", (new.id,))
            elif old is not None:
                sql = "UPDATE devices SET pinned = ? WHERE template = ? AND pinned IS NULL"
                await tx.execute(sql, (old.version, new.id))
            await tx.execute(
                "DELETE FROM template_versions WHERE template = ? AND version <= ? AND version NOT IN"
                " (SELECT pinned FROM devices WHERE template = ? AND pinned IS NOT NULL)",
                (new.id, new.version - MAX_VERSIONS, new.id),
            )
            return deleted

        deleted = await self._storage.transaction(write)
        self.by_id[new.id], self._highest[new.id] = new, highest
        if apply:
            await self._devices.apply_template(new, deleted)
        elif old is not None and self._devices.pin(old):
            self._older[old.id, old.version] = old
        pinned = self._devices.pinned_versions(new.id)
        self._older = {
            (id_, version): template
            for (id_, version), template in self._older.items()
            if id_ != new.id or version in pinned
        }

    async def remove(self, template: Template, by: Principal) -> None:
        """Delete a template without devices. Raises `Conflict`."""

        async def write(tx: Transaction) -> None:
            [(count,)] = await tx.fetch_all("SELECT count(*) FROM devices WHERE template = ?", (template.id,))
            if count:
                raise Conflict(f"{count} devices have template {template.id}")
            await tx.execute("DELETE FROM templates WHERE id = ?", (template.id,))

        async with self._devices.lock:
            await self._storage.transaction(write)
            self.by_id.pop(template.id, None)
            self._highest.pop(template.id, None)
            self._older = {key: older for key, older in self._older.items() if key[0] != template.id}
        self._bus.emit(TemplateDeleted(template, by))

    # -- saved versions -------------------------------------------------------------------------------------------

    async def versions(self, template: Template) -> list[Version]:
        """Return the saved versions of a template, the newest first."""
        sql = "SELECT version, at, by, document FROM template_versions WHERE template = ? ORDER BY version DESC"
        rows = await self._storage.configuration.fetch_all(sql, (template.id,))
        return [
            Version(number=number, at=at, by=by, template=from_row(document, template.org, number))
            for number, at, by, document in rows
        ]

    async def version(self, template: Template, number: int) -> Template:
        """Return a saved version of a template. Raises `NotFound`."""
        sql = "SELECT document FROM template_versions WHERE template = ? AND version = ?"
        rows = await self._storage.configuration.fetch_all(sql, (template.id, number))
        if not rows:
            raise NotFound(f"Template {template.id} has no version {number}.")
        return from_row(rows[0][0], template.org, number)


def dropped_names(dropped: Sequence[tuple[int | None, Datastream]]) -> list[str]:
    """Return the pins and names of datastreams, each once."""
    return list(dict.fromkeys(f"V{stream.pin} {stream.name}" for _, stream in dropped))
