"""Devices: their names, owners, templates and firmware, and the series in which the history stores their values."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from sys import intern
from typing import TYPE_CHECKING

import attrs
import trio

from hub.domain.metadata import WrongValue, check_value
from hub.domain.organizations import template_not_enabled
from hub.domain.tokens import NO_TOKEN, Tokens, digest, is_token, new_token, warn_about_weak_tokens
from hub.errors import NotFound, Rejected, RequestError, StorageError, first_problems
from hub.facts import DataErased, DeviceAdded, DeviceChanged, DeviceDeleted, DeviceInfo, MetadataChanged, ValueCleared
from hub.history.compaction import Policy
from hub.model import ROOT_ORG, Datastream, Device, DeviceDatastream, Principal, Template
from hub.parsing.spellings import is_name, nfc
from hub.parsing.structuring import seconds

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.domain.directory import Directory
    from hub.domain.organizations import Organizations
    from hub.history import History
    from hub.sessions import Sessions
    from hub.storage import Row, Storage, Transaction
    from hub.storage.stamp_correction import Correction

log = logging.getLogger(__name__)

MAX_NAME = 60
#: Keys of an info message that are stored, and characters of each key and value.
MAX_INFO = 32, 128


@attrs.frozen(kw_only=True)
class NewDevice:
    """A device to be added; without ``token`` one is generated."""

    name: str = attrs.field(converter=nfc)
    template: Template
    token: str | None = None
    org: int = ROOT_ORG
    owner: int | None = None
    metadata: dict[str, str] = attrs.Factory(dict)
    #: Its place in the input, for errors: "line 3".
    where: str = ""


class Devices:
    """All devices in memory, by id, by organization, and by the series of their datastreams."""

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
        directory: Directory,
        newest_template: Callable[[str], Template],
        limit: int,
    ) -> None:
        """``newest_template`` returns the newest version of a template, or raises `NotFound`."""
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
        #: Held from the checks to the update of memory, so that memory and disk remain the same.
        self.lock = trio.Lock()
        self._directory = directory
        self._newest_template = newest_template
        self._limit = limit
        self.by_series: dict[int, DeviceDatastream] = {}
        self.by_id: dict[int, Device] = {}
        self.by_org: dict[int, dict[int, Device]] = {}
        self._unsaved: set[Device] = set()
        self._saving = False
        self._cleared: dict[int, int] = {}

    async def load(self, template_of: Callable[[str, int | None], Template]) -> None:
        """Read all devices; ``template_of`` returns a template by its id and, for pinned devices, its version."""

        async def read(tx: Transaction) -> tuple[list[Row], list[Row], list[Row], list[Row]]:
            devices = await tx.fetch_all(
                "SELECT id, org, owner, template, pinned, name, created, activated, firmware, added_by, status,"
                " status_at, away FROM devices ORDER BY id"
            )
            tokens = await tx.fetch_all("SELECT hash, device, expires, replaced FROM tokens")
            series = await tx.fetch_all("SELECT id, device, datastream FROM series")
            self._cleared = dict(await tx.fetch_all("SELECT id, cleared FROM series WHERE cleared IS NOT NULL"))
            return devices, tokens, series, await tx.fetch_all("SELECT series FROM gone")

        devices, tokens, series, to_erase = await self._storage.read(read)
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
            self._index(device)
        for hash_, number, expires, replaced in tokens:
            self._tokens.add(hash_, self.by_id[number], expires, replaced)
        self._attach_points(series)
        self._history.erase(number for (number,) in to_erase)

    def drop_cleared(self) -> None:
        """Remove latest values that were cleared before the last stop. To be called after `History.load`."""
        latest = self._history.latest
        for series, stamp in self._cleared.items():
            if series in latest and latest[series][0] == stamp:
                del latest[series]
        self._cleared = {}

    def _index(self, device: Device) -> None:
        self.by_id[device.id] = self.by_org.setdefault(device.org, {})[device.id] = device

    def _attach_points(self, series: Iterable[Row]) -> None:
        """Create the points of devices, from rows of (series, device, datastream)."""
        streams: dict[tuple[str, int], dict[int, Datastream]] = {}
        for number, device_id, datastream in series:
            device = self.by_id.get(device_id)
            if device is None:
                # The device was deleted while the rows were read.
                continue
            key = (device.template.id, device.template.version)
            by_id = streams.get(key)
            if by_id is None:
                by_id = streams[key] = {d.id: d for d in device.template.datastreams}
            if stream := by_id.get(datastream):
                point = DeviceDatastream(series=number, datastream=stream, device=device)
                device.points[stream.pin] = self.by_series[number] = point

    def _detach(self, series: Iterable[int]) -> None:
        """Forget series that are in the table ``gone``, and let the history erase them."""
        detached = list(series)
        for number in detached:
            self.by_series.pop(number, None)
        self._history.erase(detached)

    async def forget_series(self, series: Sequence[int]) -> None:
        """Remove series of which nothing is left in the history from the table ``gone``."""

        async def write(tx: Transaction) -> None:
            for number in series:
                await tx.execute("DELETE FROM gone WHERE series = ?", (number,))

        await self._storage.transaction(write)

    def correct_stamps(self, correction: Correction) -> None:
        """Correct the times of the devices that a clock repair is about."""
        for device_id, device in self.by_id.items():
            if correction.is_about(device_id):
                for name in ("created", "activated", "status_at", "away", "connected", "disconnected"):
                    if (at := getattr(device, name)) is not None:
                        setattr(device, name, correction.corrected(at))

    def policy(self, series: int) -> Policy | None:
        """Return the storage policy of a series; None when the series no longer exists."""
        point = self.by_series.get(series)
        if point is None:
            return None
        stream = point.datastream
        return Policy(stream.history, self.retention(stream), self._timezone(point.device))

    def retention(self, stream: Datastream) -> int:
        """Return the milliseconds for which every value of a datastream is stored."""
        return int(seconds(stream.retain_raw) * 1000) if stream.retain_raw else self._retain_ms

    def get(self, device: int) -> Device:
        """Return a device by its id. Raises `NotFound`."""
        if known := self.by_id.get(device):
            return known
        raise self.not_found(device)

    def not_found(self, device: int) -> NotFound:
        """Return the error for a missing device.

        Also raised when the caller may not see the device, so that ids cannot be probed.
        """
        return NotFound(f"Device with identifier {device} is not found or belong to another organization.")

    def find_by_name(self, name: str) -> list[Device]:
        return [device for device in self.by_id.values() if device.name == nfc(name)]

    async def add(self, new: Sequence[NewDevice], by: Principal) -> list[tuple[Device, str]]:
        """Add devices, all or none; return each with its token. Raises `Rejected`, with every problem on a line."""
        async with self.lock:
            # The template may have been saved since the caller read it.
            new = [attrs.evolve(entry, template=self._newest_template(entry.template.id)) for entry in new]
            added = await self._add(new, by)
        for (device, _), entry in zip(added, new, strict=True):
            self._bus.emit(DeviceAdded(device, by))
            for name, value in entry.metadata.items():
                if value:
                    self._bus.emit(MetadataChanged(device, name, value, by))
        return added

    async def _add(self, new: Sequence[NewDevice], by: Principal) -> list[tuple[Device, str]]:
        self._tokens.drop_expired()
        if problems := self.problems(new, by):
            raise Rejected("\n".join(first_problems(problems)))
        now = self._clock.now()
        tokens = [new_token() if n.token is None else n.token for n in new]

        async def write(tx: Transaction) -> tuple[list[int], list[Row]]:
            await self._tokens.delete_expired(tx)
            ids = await tx.insert_many_with_ids(
                "devices",
                ("org", "owner", "template", "name", "created", "added_by"),
                [(n.org, n.owner, n.template.id, n.name, now, by.actor_id) for n in new],
            )
            await tx.insert_many(
                "tokens", ("hash", "device"), [(digest(t), i) for i, t in zip(ids, tokens, strict=True)]
            )
            streams = [(i, d.id) for i, n in zip(ids, new, strict=True) for d in n.template.datastreams]
            await tx.insert_many("series", ("device", "datastream"), streams)
            fields = [(i, k, v, now) for i, n in zip(ids, new, strict=True) for k, v in n.metadata.items() if v]
            await tx.insert_many("metadata", ("device", "name", "value", "updated"), fields)
            return ids, await tx.fetch_all("SELECT id, device, datastream FROM series WHERE device >= ?", (min(ids),))

        ids, series = await self._storage.transaction(write)
        added = []
        for id_, n, token in zip(ids, new, tokens, strict=True):
            device = Device(
                id=id_, org=n.org, owner=n.owner, name=n.name, template=n.template, created=now, added_by=by.actor_id
            )
            self._index(device)
            self._tokens.add(digest(token), device)
            added.append((device, token))
        self._attach_points(series)
        warn_about_weak_tokens((device.name, token) for device, token in added)
        return added

    def problems(self, new: Sequence[NewDevice], by: Principal) -> list[str]:
        """Return the reasons why a principal cannot add these devices, a line each."""
        return list(self._problems(new, by))

    def _problems(self, new: Sequence[NewDevice], by: Principal) -> Iterable[str]:
        if len(self.by_id) + len(new) > self._limit:
            yield f"there would be more than {self._limit} devices ([limits] devices)"
        for entry in new:
            if problem := self._owner_problem(entry.org, entry.owner):
                yield problem
        for org, count in Counter(entry.org for entry in new).items():
            templates = {entry.template.id: entry.template for entry in new if entry.org == org}
            try:
                for template in templates.values():
                    self.check_placement(org, template, count)
            except RequestError as error:
                yield str(error)
        tokens: set[str] = set()
        for number, entry in enumerate(new, 1):
            row = entry.where or (f"row {number}" if len(new) > 1 else "")
            where = f"{row}: " if row else ""
            if problem := name_problem(entry.name):
                yield where + problem
            if entry.token is not None:
                if not is_token(entry.token):
                    yield f"{where}{NO_TOKEN}"
                elif self._tokens.is_taken(entry.token) or entry.token in tokens:
                    yield f"{where}the token ending …{entry.token[-2:]} is another device's"
                tokens.add(entry.token)
            yield from (where + problem for problem in self._metadata_problems(entry, by))

    def _metadata_problems(self, entry: NewDevice, by: Principal) -> Iterable[str]:
        """Yield the problems of metadata that the template of a device does not have, or that ``by`` may not set."""
        fields = {field.name: field for field in entry.template.metadata}
        for name, value in entry.metadata.items():
            field = fields.get(name)
            if field is None or not self._directory.sees(by, field.view_roles):
                yield f"the template has no metadata {name!r}"
            elif not self._directory.sees(by, field.edit_roles):
                yield f"{name} is set by the roles {', '.join(field.edit_roles)} only"
            else:
                try:
                    check_value(field, value)
                except WrongValue as error:
                    yield f"{name} {error}"

    def _owner_problem(self, org: int, owner: int | None) -> str | None:
        if owner is None or self._directory.organization_of(owner) == org:
            return None
        return f"User with identifier {owner} is not found or belong to another organization."

    def check_placement(self, org: int, template: Template, added: int, leaving: int | None = None) -> None:
        """Check that an organization may get ``added`` devices of a template. Raises `NotFound`, `Conflict`.

        ``leaving`` is the organization from which the devices come.
        """
        organization = self._organizations.get(org)
        if not organization.has(template):
            raise template_not_enabled(template, organization)
        self._organizations.check_quota(org, "devices", self._by_organization(), added, leaving)

    def _by_organization(self) -> Counter[int]:
        return Counter({number: len(devices) for number, devices in self.by_org.items()})

    async def rename(self, device: Device, name: str, by: Principal) -> None:
        """Rename a device. Raises `Rejected`."""
        name = nfc(name)
        if problem := name_problem(name):
            raise Rejected(problem)

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE devices SET name = ? WHERE id = ?", (name, device.id))

        await self._storage.transaction(write)
        device.name = name
        self._bus.emit(DeviceChanged(device, by))

    async def transfer(self, device: Device, org: int, owner: int | None, by: Principal) -> None:
        """Transfer a device to another organization or owner, with its tokens, values and timeline.

        Raises `NotFound`, `Rejected`, and `Conflict` when the organization may not have the device.
        """

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE devices SET org = ?, owner = ? WHERE id = ?", (org, owner, device.id))

        async with self.lock:
            self.get(device.id)
            if org != device.org:
                self.check_placement(org, device.template, 1, device.org)
            if problem := self._owner_problem(org, owner):
                raise Rejected(problem)
            await self._storage.transaction(write)
            self.by_org[device.org].pop(device.id, None)
            device.org, device.owner = org, owner
            self._index(device)
        self._bus.emit(DeviceChanged(device, by))

    async def delete(self, device: Device, by: Principal) -> None:
        """Delete a device with its tokens, values, properties and timeline, and end its session."""

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM devices WHERE id = ?", (device.id,))

        async with self.lock:
            await self._storage.transaction(write)
            self.by_id.pop(device.id, None)
            self.by_org[device.org].pop(device.id, None)
        self._tokens.remove(device)
        self._sessions.disconnect(device, "the device was deleted")
        points, device.points = device.points, {}
        self._detach(point.series for point in points.values())
        self._bus.emit(DeviceDeleted(device, by))

    async def erase(self, device: Device, datastreams: Sequence[Datastream], by: Principal) -> None:
        """Erase the values and properties of datastreams, which continue with new series. Raises `NotFound`."""
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
            self._attach_points(rows)
            self._detach(old - {number for number, _, _ in rows})
        self._bus.emit(DataErased(device, tuple(datastreams), by))

    async def clear(self, device: Device, datastream: Datastream) -> None:
        """Clear the latest value of a datastream until it is written again; its history is not changed."""
        point = device.points.get(datastream.pin)
        latest = self._history.latest.get(point.series) if point else None
        if point is None or latest is None:
            return
        series = point.series

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE series SET cleared = ? WHERE id = ?", (latest[0], series))

        if self._clock.now() == latest[0]:
            # The next value must not have the same stamp, by which the cleared value is recognized after a start.
            await trio.sleep(0.002)
        await self._storage.transaction(write)
        if self._history.latest.get(series) is latest:
            del self._history.latest[series]
            self._bus.emit(ValueCleared(device, datastream))

    async def update_firmware_info(self, device: Device, info: dict[str, str]) -> None:
        """Store the firmware information that a device reports; the first report activates the device."""
        keys, length = MAX_INFO
        # The devices of a fleet have few different firmwares, so equal strings are stored once.
        firmware = {intern(key[:length]): intern(value[:length]) for key, value in list(info.items())[:keys]}
        if firmware != device.firmware or device.activated is None:
            device.firmware, device.activated = firmware, device.activated or self._clock.now()
            await self._save(device)
        self._bus.emit(DeviceInfo(device))

    async def _save(self, device: Device) -> None:
        """Write the firmware of devices. The first caller also writes for those that call meanwhile."""
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
            log.warning("storage: firmware information of devices could not be written: %s", error)
        finally:
            self._saving = False

    # -- following a template -------------------------------------------------------------------------------------

    async def write_series(
        self, tx: Transaction, template: Template, dropped: Sequence[tuple[int | None, Datastream]]
    ) -> list[int]:
        """Add and delete series so that a template's devices have those of its datastreams; return the deleted ones.

        ``dropped`` are datastreams with the version to which devices are pinned, None for devices that are not pinned.
        """
        deleted = []
        for pinned, stream in dropped:
            is_pinned, version = ("pinned IS NULL", ()) if pinned is None else ("pinned = ?", (pinned,))
            where = f"datastream = ? AND device IN (SELECT id FROM devices WHERE template = ? AND {is_pinned})"
            key = (stream.id, template.id, *version)
            deleted += [row[0] for row in await tx.fetch_all(f"SELECT id FROM series WHERE {where}", key)]
            await tx.execute(f"DELETE FROM series WHERE {where}", key)
            await tx.execute(f"DELETE FROM properties WHERE {where}", key)
        for stream in template.datastreams:
            await tx.execute(
                "INSERT INTO series (device, datastream) SELECT id, ? FROM devices WHERE template = ?"
                " ON CONFLICT DO NOTHING",
                (stream.id, template.id),
            )
        return deleted

    async def apply_template(self, template: Template, deleted: Sequence[int]) -> None:
        """Give all devices of a template its new version; ``deleted`` are the series that `write_series` deleted."""
        sql = "SELECT series.id, device, datastream FROM series JOIN devices ON devices.id = device WHERE template = ?"
        rows = await self._storage.configuration.fetch_all(sql, (template.id,))
        for device in self.by_id.values():
            if device.template.id == template.id:
                device.template, device.points, device.pinned = template, {}, None
        self._attach_points(rows)
        self._detach(deleted)

    def pinned_versions(self, template: str) -> set[int]:
        """Return the older versions of a template to which devices are pinned."""
        return {d.pinned for d in self.by_id.values() if d.pinned is not None and d.template.id == template}

    def pin(self, template: Template) -> int:
        """Pin all devices with the newest version of a template to it; return how many there are."""
        devices = [d for d in self.by_id.values() if d.template.id == template.id and d.pinned is None]
        for device in devices:
            device.pinned = template.version
        return len(devices)


def name_problem(name: str) -> str | None:
    """Return what is wrong with a device's name, or None."""
    if not is_name(name, MAX_NAME):
        return f"a device's name must have 1 to {MAX_NAME} printable characters"
    return None
