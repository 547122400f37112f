"""Devices: who they are, and where their values are kept."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from sys import intern
from typing import TYPE_CHECKING

import attrs
import trio

from hub.domain.organizations import template_not_enabled
from hub.domain.tokens import NO_TOKEN, Tokens, digest, is_token, new_token, warn_of_weak
from hub.errors import NotFound, Rejected, RequestError, StorageError, first_problems
from hub.facts import DataErased, DeviceAdded, DeviceChanged, DeviceDeleted, DeviceInfo, MetadataChanged, ValueCleared
from hub.history.compaction import Policy
from hub.model import ROOT_ORG, Datastream, Device, DeviceDatastream, Principal, Template
from hub.spellings import is_name, nfc
from hub.structuring import seconds

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.domain.organizations import Organizations
    from hub.history import History
    from hub.sessions import Sessions
    from hub.storage import Row, Storage, Transaction

log = logging.getLogger(__name__)

MAX_NAME = 60
#: What is kept of an info message: keys, and characters of each.
MAX_INFO = 32, 128


@attrs.frozen(kw_only=True)
class NewDevice:
    """A device to be added; without ``token`` one is made."""

    name: str = attrs.field(converter=nfc)
    template: Template
    token: str | None = None
    org: int = ROOT_ORG
    owner: int | None = None
    metadata: dict[str, str] = attrs.Factory(dict)
    #: Where it stands, for errors: "line 3".
    where: str = ""


class Devices:
    def __init__(
        self,
        storage: Storage,
        bus: Bus,
        clock: Clock,
        history: History,
        sessions: Sessions,
        tokens: Tokens,
        retain_ms: int,
        timezone: Callable[[Device], str],
        organizations: Organizations,
        most: int,
    ) -> None:
        self._storage = storage
        self._bus = bus
        self._clock = clock
        self._history = history
        self._sessions = sessions
        self._tokens = tokens
        self._retain_ms = retain_ms
        self._timezone = timezone
        self._organizations = organizations
        organizations.add_usage_counter("devices", self._by_organization)
        #: Held from what is checked until what is remembered, so that memory and disk do not part.
        self.lock = trio.Lock()
        #: The organization of a user; None of one who is not there. Set by the plugin that has users.
        self.org_of_user: Callable[[int], int | None] = lambda _user: None
        #: The newest version of a template, which raises `NotFound`: set by the hub.
        self.newest: Callable[[str], Template]
        self._most = most
        self.by_series: dict[int, DeviceDatastream] = {}
        self.by_id: dict[int, Device] = {}
        self.by_org: dict[int, dict[int, Device]] = {}
        self._unsaved: set[Device] = set()
        self._saving = False
        self._cleared: dict[int, int] = {}

    async def load(self, template_of: Callable[[str, int | None], Template]) -> None:
        async def read(tx: Transaction) -> tuple[list[Row], list[Row], list[Row], list[Row]]:
            devices = await tx.fetch_all(
                "SELECT id, org, owner, template, pinned, name, created, activated, firmware, added_by, status,"
                " status_at, away FROM devices ORDER BY id"
            )
            tokens = await tx.fetch_all("SELECT hash, device, expires, replaced FROM tokens")
            series = await tx.fetch_all("SELECT id, device, datastream FROM series")
            self._cleared = dict(await tx.fetch_all("SELECT id, cleared FROM series WHERE cleared IS NOT NULL"))
            return devices, tokens, series, await tx.fetch_all("SELECT series FROM gone")

        devices, tokens, series, gone = await self._storage.read(read)
        for id_, org, owner, template, pinned, name, created, activated, firmware, added_by, *lifecycle in devices:
            device = Device(
                id=id_,
                org=org,
                owner=owner,
                name=name,
                template=template_of(template, pinned),
                pinned=pinned,
                created=created,
                activated=activated,
                firmware=json.loads(firmware),
                added_by=added_by,
                **dict(zip(("status", "status_at", "away"), lifecycle, strict=True)),
            )
            self._keep(device)
        for hash_, number, expires, replaced in tokens:
            self._tokens.keep(hash_, self.by_id[number], expires, replaced)
        self._place(series)
        self._history.retention.on_erased = self._erased
        self._history.erase(number for (number,) in gone)

    def drop_cleared(self) -> None:
        """Forget latest values that were cleared before the last stop, now that they are read."""
        latest = self._history.latest
        for series, stamp in self._cleared.items():
            if series in latest and latest[series][0] == stamp:
                del latest[series]
        self._cleared = {}

    def _keep(self, device: Device) -> None:
        self.by_id[device.id] = self.by_org.setdefault(device.org, {})[device.id] = device

    def _place(self, series: Iterable[Row]) -> None:
        """Give devices their points, from rows of (series, device, datastream)."""
        streams: dict[tuple[str, int], dict[int, Datastream]] = {}
        for number, device_id, datastream in series:
            device = self.by_id.get(device_id)
            if device is None:
                # It was deleted while they were read.
                continue
            key = (device.template.id, device.template.version)
            of_template = streams.get(key)
            if of_template is None:
                of_template = streams[key] = {d.id: d for d in device.template.datastreams}
            if stream := of_template.get(datastream):
                point = DeviceDatastream(series=number, datastream=stream, device=device)
                device.points[stream.pin] = self.by_series[number] = point

    def _unplace(self, series: Iterable[int]) -> None:
        """Forget series that are in the table ``gone``, with all that was kept of them."""
        gone = list(series)
        for number in gone:
            self.by_series.pop(number, None)
        self._history.erase(gone)

    async def _erased(self, series: Sequence[int]) -> None:
        """Nothing is left of these series."""

        async def write(tx: Transaction) -> None:
            for number in series:
                await tx.execute("DELETE FROM gone WHERE series = ?", (number,))

        await self._storage.transaction(write)

    def policy(self, series: int) -> Policy | None:
        """How a series is kept; None when it is no more."""
        point = self.by_series.get(series)
        if point is None:
            return None
        stream = point.datastream
        return Policy(stream.history, self.retention(stream), self._timezone(point.device))

    def retention(self, stream: Datastream) -> int:
        """Milliseconds that every value of a datastream is kept."""
        return int(seconds(stream.retain_raw) * 1000) if stream.retain_raw else self._retain_ms

    def get(self, device: int) -> Device:
        """Raises `NotFound`."""
        if found := self.by_id.get(device):
            return found
        raise self.unknown(device)

    def unknown(self, device: int) -> NotFound:
        """What is said of one that is not there, also to whom it is none of their business."""
        return NotFound(f"Device with identifier {device} is not found or belong to another organization.")

    def named(self, name: str) -> list[Device]:
        return [device for device in self.by_id.values() if device.name == nfc(name)]

    async def add(self, new: Sequence[NewDevice], by: Principal) -> list[tuple[Device, str]]:
        """Add devices, all or none; returns each with its token. Raises `Rejected`, with every problem on a line."""
        async with self.lock:
            # A template may have been saved since somebody chose it.
            new = [attrs.evolve(one, template=self.newest(one.template.id)) for one in new]
            added = await self._add(new, by)
        for (device, _), one in zip(added, new, strict=True):
            self._bus.emit(DeviceAdded(device, by))
            for name, value in one.metadata.items():
                if value:
                    self._bus.emit(MetadataChanged(device, name, value, by))
        return added

    async def _add(self, new: Sequence[NewDevice], by: Principal) -> list[tuple[Device, str]]:
        self._tokens.drop_expired()
        if problems := self.problems(new):
            raise Rejected("\n".join(first_problems(problems)))
        now = self._clock.now()
        tokens = [new_token() if n.token is None else n.token for n in new]

        async def write(tx: Transaction) -> tuple[range, list[Row]]:
            await self._tokens.write_dropped(tx)
            newest = await tx.fetch_one("SELECT seq FROM sqlite_sequence WHERE name = 'devices'")
            first = (newest[0] if newest else 0) + 1
            ids = range(first, first + len(new))
            await tx.insert_many(
                "devices",
                ("id", "org", "owner", "template", "name", "created", "added_by"),
                [(i, n.org, n.owner, n.template.id, n.name, now, by.actor_id) for i, n in zip(ids, new, strict=True)],
            )
            await tx.insert_many(
                "tokens", ("hash", "device"), [(digest(t), i) for i, t in zip(ids, tokens, strict=True)]
            )
            streams = [(i, d.id) for i, n in zip(ids, new, strict=True) for d in n.template.datastreams]
            await tx.insert_many("series", ("device", "datastream"), streams)
            fields = [(i, k, v, now) for i, n in zip(ids, new, strict=True) for k, v in n.metadata.items() if v]
            await tx.insert_many("metadata", ("device", "name", "value", "updated"), fields)
            return ids, await tx.fetch_all("SELECT id, device, datastream FROM series WHERE device >= ?", (first,))

        ids, series = await self._storage.transaction(write)
        added = []
        for id_, n, token in zip(ids, new, tokens, strict=True):
            device = Device(
                id=id_, org=n.org, owner=n.owner, name=n.name, template=n.template, created=now, added_by=by.actor_id
            )
            self._keep(device)
            self._tokens.keep(digest(token), device)
            added.append((device, token))
        self._place(series)
        warn_of_weak((device.name, token) for device, token in added)
        return added

    def problems(self, new: Sequence[NewDevice]) -> list[str]:
        """Why these devices cannot be added, a line each."""
        return list(self._problems(new))

    def _problems(self, new: Sequence[NewDevice]) -> Iterable[str]:
        if len(self.by_id) + len(new) > self._most:
            yield f"there would be more than {self._most} devices ([limits] devices)"
        for one in new:
            if problem := self._owner_problem(one.org, one.owner):
                yield problem
        for org, count in Counter(one.org for one in new).items():
            templates = {one.template.id: one.template for one in new if one.org == org}
            try:
                for template in templates.values():
                    self.check_place(org, template, count)
            except RequestError as error:
                yield str(error)
        seen: set[str] = set()
        for number, one in enumerate(new, 1):
            row = one.where or (f"row {number}" if len(new) > 1 else "")
            where = f"{row}: " if row else ""
            if problem := bad_name(one.name):
                yield where + problem
            if one.token is not None:
                if not is_token(one.token):
                    yield f"{where}{NO_TOKEN}"
                elif self._tokens.is_taken(one.token) or one.token in seen:
                    yield f"{where}the token ending …{one.token[-2:]} is another device's"
                seen.add(one.token)
            fields = {field.name for field in one.template.metadata}
            yield from (f"{where}the template has no metadata {name!r}" for name in one.metadata if name not in fields)

    def _owner_problem(self, org: int, owner: int | None) -> str | None:
        if owner is None or self.org_of_user(owner) == org:
            return None
        return f"User with identifier {owner} is not found or belong to another organization."

    def check_place(self, org: int, template: Template, more: int, leaving: int | None = None) -> None:
        """Whether an organization may have more devices of a template. Raises `NotFound`, `Conflict`."""
        found = self._organizations.get(org)
        if not found.has(template):
            raise template_not_enabled(template, found)
        self._organizations.check_quota(org, "devices", self._by_organization(), more, leaving)

    def _by_organization(self) -> Counter[int]:
        return Counter({number: len(devices) for number, devices in self.by_org.items()})

    async def rename(self, device: Device, name: str, by: Principal) -> None:
        """Raises `Rejected`."""
        name = nfc(name)
        if problem := bad_name(name):
            raise Rejected(problem)

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE devices SET name = ? WHERE id = ?", (name, device.id))

        await self._storage.transaction(write)
        device.name = name
        self._bus.emit(DeviceChanged(device, by))

    async def transfer(self, device: Device, org: int, owner: int | None, by: Principal) -> None:
        """Give a device to another organization or owner; its tokens, values and timeline go with it.

        Raises `Conflict` when the organization may not have it.
        """

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE devices SET org = ?, owner = ? WHERE id = ?", (org, owner, device.id))

        async with self.lock:
            self.get(device.id)
            if org != device.org:
                self.check_place(org, device.template, 1, device.org)
            if problem := self._owner_problem(org, owner):
                raise Rejected(problem)
            await self._storage.transaction(write)
            self.by_org[device.org].pop(device.id, None)
            device.org, device.owner = org, owner
            self._keep(device)
        self._bus.emit(DeviceChanged(device, by))

    async def delete(self, device: Device, by: Principal) -> None:
        """Delete a device with its tokens, values, properties and timeline, and end its session."""

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM devices WHERE id = ?", (device.id,))

        async with self.lock:
            await self._storage.transaction(write)
            self.by_id.pop(device.id, None)
            self.by_org[device.org].pop(device.id, None)
        self._tokens.forget(device)
        self._sessions.disconnect(device, "the device was deleted")
        points, device.points = device.points, {}
        self._unplace(point.series for point in points.values())
        self._bus.emit(DeviceDeleted(device, by))

    async def erase(self, device: Device, datastreams: Sequence[Datastream], by: Principal) -> None:
        """Erase what datastreams held, and their properties: they go on under new series."""
        ids = [(device.id, stream.id) for stream in datastreams]

        async def write(tx: Transaction) -> list[Row]:
            for key in ids:
                await tx.execute("DELETE FROM series WHERE device = ? AND datastream = ?", key)
                await tx.execute("DELETE FROM properties WHERE device = ? AND datastream = ?", key)
            await tx.insert_many("series", ("device", "datastream"), ids)
            return await tx.fetch_all("SELECT id, device, datastream FROM series WHERE device = ?", (device.id,))

        async with self.lock:
            self.get(device.id)
            rows = await self._storage.transaction(write)
            old = {point.series for point in device.points.values()}
            device.points = {}
            self._place(rows)
            self._unplace(old - {number for number, _, _ in rows})
        self._bus.emit(DataErased(device, tuple(datastreams), by))

    async def clear(self, device: Device, datastream: Datastream) -> None:
        """Let a datastream hold nothing until it is written again; its history stays as it is."""
        point = device.points.get(datastream.pin)
        latest = self._history.latest.get(point.series) if point else None
        if point is None or latest is None:
            return
        series = point.series

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE series SET cleared = ? WHERE id = ?", (latest[0], series))

        if self._clock.now() == latest[0]:
            # What comes next must not have the stamp by which this one is forgotten.
            await trio.sleep(0.002)
        await self._storage.transaction(write)
        if self._history.latest.get(series) is latest:
            del self._history.latest[series]
            self._bus.emit(ValueCleared(device, datastream))

    async def told(self, device: Device, info: dict[str, str]) -> None:
        """Keep what a device says of its firmware; the first time activates it."""
        keys, length = MAX_INFO
        # A fleet runs few firmwares: its words are kept once.
        kept = {intern(key[:length]): intern(value[:length]) for key, value in list(info.items())[:keys]}
        if kept != device.firmware or device.activated is None:
            device.firmware, device.activated = kept, device.activated or self._clock.now()
            await self._save(device)
        self._bus.emit(DeviceInfo(device))

    async def _save(self, device: Device) -> None:
        """Write what changed of devices: whoever comes first writes for all who come meanwhile."""
        self._unsaved.add(device)
        if len(self._unsaved) > 1 or self._saving:
            return
        self._saving = True
        try:
            while self._unsaved:
                rows = [(json.dumps(d.firmware), d.activated, d.id) for d in self._unsaved]
                self._unsaved.clear()

                async def write(tx: Transaction, rows: list[Row] = rows) -> None:
                    for row in rows:
                        await tx.execute("UPDATE devices SET firmware = ?, activated = ? WHERE id = ?", row)

                await self._storage.transaction(write)
        except StorageError as error:
            log.warning("storage: what devices told of their firmware was not kept: %s", error)
        finally:
            self._saving = False

    # -- following a template -------------------------------------------------------------------------------------

    async def write_series(
        self, tx: Transaction, template: Template, dropped: Sequence[tuple[int | None, Datastream]]
    ) -> list[int]:
        """Make the series of a template's devices fit it; returns those that are gone.

        ``dropped`` are datastreams by the version that devices are pinned to, None for those that follow.
        """
        gone = []
        for pinned, stream in dropped:
            of_version = "datastream = ? AND device IN (SELECT id FROM devices WHERE template = ? AND pinned IS ?)"
            key = (stream.id, template.id, pinned)
            gone += [row[0] for row in await tx.fetch_all(f"SELECT id FROM series WHERE {of_version}", key)]
            await tx.execute(f"DELETE FROM series WHERE {of_version}", key)
            await tx.execute(f"DELETE FROM properties WHERE {of_version}", key)
        for stream in template.datastreams:
            await tx.execute(
                "INSERT OR IGNORE INTO series (device, datastream) SELECT id, ? FROM devices WHERE template = ?",
                (stream.id, template.id),
            )
        return gone

    async def follow(self, template: Template, gone: Sequence[int]) -> None:
        """Let a template's devices follow its new version."""
        sql = "SELECT series.id, device, datastream FROM series JOIN devices ON devices.id = device WHERE template = ?"
        rows = await self._storage.configuration.fetch_all(sql, (template.id,))
        for device in self.by_id.values():
            if device.template.id == template.id:
                device.template, device.points, device.pinned = template, {}, None
        self._place(rows)
        self._unplace(gone)

    def versions_of(self, template: str) -> set[int]:
        """The older versions of a template that devices stay with."""
        return {d.pinned for d in self.by_id.values() if d.pinned is not None and d.template.id == template}

    def pin(self, template: Template) -> int:
        """Let a template's devices stay with this version, which they have; returns how many there are."""
        found = [d for d in self.by_id.values() if d.template.id == template.id and d.pinned is None]
        for device in found:
            device.pinned = template.version
        return len(found)


def bad_name(name: str) -> str | None:
    """What is wrong with a device's name."""
    if not is_name(name, MAX_NAME):
        return f"a device's name must have 1 to {MAX_NAME} printable characters"
    return None
