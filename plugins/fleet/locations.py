"""Locations: places of an organization where its devices are and its users work (docs.blynk.io, Locations).

The metadata field Location of a device says at which location it is: ``{"locationId": 7, "floor": "2"}``. The field
also has a copy of the location's address, coordinates and time zone, so that firmware and reports can read them there.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import (
    SYSTEM,
    Conflict,
    Device,
    DeviceDeleted,
    MetadataChanged,
    NotFound,
    OrganizationChanged,
    Principal,
    Rejected,
)
from hub.domain import LOCATION
from hub.parsing import timezones
from hub.parsing.spellings import as_integer, is_name, is_printable, nfc

if TYPE_CHECKING:
    from hub import Hub, Transaction
    from hub.domain import Predicate
    from hub.storage import Row

#: The permission to view a location; without it, a location is treated as missing.
VIEW_LOCATIONS = "org_locations.view"
#: docs.blynk.io, Locations: characters of a name and an address; we limit the other texts of a `Place` alike.
MAX_NAME = 48
#: Keys of the metadata field Location: those copied from the `Place`, and those for where a device is inside of it.
_COPIED_KEYS = ("address", "lat", "lon", "timezone")
INSIDE_KEYS = ("building", "floor", "unit", "room", "zone")


@attrs.frozen(kw_only=True)
class Place:
    """Address of a location: ``lat`` and ``lon`` in degrees, ``timezone`` an IANA name."""

    address: str = ""
    city: str = ""
    state: str = ""
    zip: str = ""
    country: str = ""
    lat: float | None = None
    lon: float | None = None
    timezone: str = ""


@attrs.frozen(kw_only=True)
class Location:
    """Location of an organization; ``owner`` and ``users`` are the ids of its owner and of the users assigned to it."""

    id: int
    org: int
    name: str = attrs.field(converter=nfc)
    owner: int | None = None
    about: Place = Place()
    users: tuple[int, ...] = ()

    def is_of(self, user: int | str) -> bool:
        """Whether the user owns the location or is assigned to it, and needs only the own permissions for it."""
        return user in (self.owner, *self.users)


class Locations:
    """All locations, in memory and in the table ``fleet_locations``, and the devices at them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.by_id: dict[int, Location] = {}
        #: Location ids by device id, as the devices' metadata has them.
        self._location_ids: dict[int, int] = {}
        #: Held from reading a device's metadata field until it is written again.
        self._placing = trio.Lock()
        hub.subscribe(MetadataChanged, self._on_metadata_changed)
        hub.subscribe(DeviceDeleted, self._on_device_deleted)
        hub.subscribe(OrganizationChanged, self._on_organization_changed)

    async def load(self) -> None:
        async def read(tx: Transaction) -> tuple[list[Row], list[Row]]:
            locations = await tx.fetch_all("SELECT id, org, name, owner, about, users FROM fleet_locations")
            return locations, await tx.fetch_all("SELECT device, value FROM metadata WHERE name = ?", (LOCATION,))

        rows, values = await self._hub.storage.read(read)
        for location_id, org, name, owner, about, users in rows:
            self.by_id[location_id] = Location(
                id=location_id,
                org=org,
                name=name,
                owner=owner,
                about=Place(**json.loads(about)),
                users=tuple(json.loads(users)),
            )
        for device_id, value in values:
            self._index(device_id, value)

    def _on_device_deleted(self, fact: DeviceDeleted) -> None:
        self._location_ids.pop(fact.device.id, None)

    def _on_metadata_changed(self, fact: MetadataChanged) -> None:
        if fact.name == LOCATION:
            self._index(fact.device.id, fact.value)

    def _index(self, device_id: int, value: str) -> None:
        self._location_ids.pop(device_id, None)
        if value.startswith("{") and (location_id := as_integer(json.loads(value).get("locationId"))) is not None:
            self._location_ids[device_id] = location_id

    def _on_organization_changed(self, fact: OrganizationChanged) -> None:
        if fact.gone:
            org = fact.organization.id
            self.by_id = {location.id: location for location in self.by_id.values() if location.org != org}

    def of_device(self, device: Device) -> Location | None:
        """Return the location of a device, which belongs to the device's organization or to one above."""
        location = self.by_id.get(self._location_ids.get(device.id, 0))
        if location is None or not self._hub.organizations.contains(location.org, device.org):
            return None
        return location

    def visible_location(self, device: Device, principal: Principal) -> Location | None:
        """Return the location of a device; None also if the principal may not view it."""
        location = self.of_device(device)
        return location if location is not None and self.visible_to(principal, location) else None

    def visible_name(self, device: Device, principal: Principal) -> str | None:
        """Return the name of `visible_location`."""
        location = self.visible_location(device, principal)
        return location.name if location else None

    def visible_to(self, principal: Principal, location: Location) -> bool:
        return self._hub.is_allowed(principal, VIEW_LOCATIONS, location)

    def devices_at(self, location: Location) -> list[Device]:
        by_id = self._hub.devices.by_id
        device_ids = (device_id for device_id, number in self._location_ids.items() if number == location.id)
        devices = (by_id[device_id] for device_id in device_ids if device_id in by_id)
        return [device for device in devices if self.of_device(device) is location]

    def word_predicate(self, word: str, principal: Principal) -> Predicate:
        """Return a predicate for a visible location whose lower-case name contains ``word``."""
        locations = (location for location in self.by_id.values() if word in location.name.lower())
        wanted = {location.id for location in locations if self.visible_to(principal, location)}
        if not wanted:
            return lambda _device: False

        def matches(device: Device) -> bool:
            location = self.of_device(device)
            return location is not None and location.id in wanted

        return matches

    def location_for(self, principal: Principal, location_id: int) -> Location:
        """Return a location that the principal may view. Raises `NotFound`."""
        location = self.by_id.get(location_id)
        if location is None or not self.visible_to(principal, location):
            raise NotFound(f"Location with identifier {location_id} is not found or belong to another organization.")
        return location

    def check(self, location: Location) -> None:
        """Raise `Rejected` (with every problem) or `Conflict` if a location must not be saved like this."""
        problems = []
        if not is_name(location.name, MAX_NAME):
            problems.append(f"name must have 1 to {MAX_NAME} printable characters")
        problems += _place_problems(location.about)
        if problems:
            raise Rejected("\n".join(problems))
        others = (other for other in self.by_id.values() if other.org == location.org and other.id != location.id)
        if any(other.name == location.name for other in others):
            raise Conflict(f"there is a location named {location.name!r} already")

    async def save(self, location: Location, by: Principal) -> Location:
        """Add a location (with id 0) or update one, and return it as saved.

        A changed `Place` is copied to the metadata of the devices there.
        """
        self.check(location)
        about, users = json.dumps(attrs.asdict(location.about)), json.dumps(location.users)
        columns = {"name": location.name, "owner": location.owner, "about": about, "users": users}

        async def write(tx: Transaction) -> int:
            if location.id:
                sql = "UPDATE fleet_locations SET name = ?, owner = ?, about = ?, users = ? WHERE id = ?"
                await tx.execute(sql, (*columns.values(), location.id))
                return location.id
            return await tx.insert("fleet_locations", **columns, org=location.org)

        before = self.by_id.get(location.id)
        saved = attrs.evolve(location, id=await self._hub.storage.transaction(write))
        self.by_id[saved.id] = saved
        if before is not None and before.about != saved.about:
            for device in self.devices_at(saved):
                async with self._placing:
                    # The device may have been moved or deleted in the meantime.
                    if self.of_device(device) is saved and self._hub.devices.by_id.get(device.id) is device:
                        with suppress(Conflict):
                            await self._write_metadata(device, saved, {}, by)
        return saved

    def of_user(self, user: int) -> list[Location]:
        """Return the locations that the user owns or is assigned to."""
        return [location for location in self.by_id.values() if location.is_of(user)]

    async def remove_user(self, user: int) -> None:
        """Remove a deleted user from all locations."""
        for location in self.of_user(user):
            owner = None if location.owner == user else location.owner
            users = tuple(assigned for assigned in location.users if assigned != user)
            await self.save(attrs.evolve(location, owner=owner, users=users), SYSTEM)

    async def remove(self, location: Location) -> None:
        """Delete a location; the metadata of the devices there stays as it is."""

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM fleet_locations WHERE id = ?", (location.id,))

        await self._hub.storage.transaction(write)
        self.by_id.pop(location.id, None)

    async def place(self, device: Device, location: Location | None, inside: dict[str, str], by: Principal) -> None:
        """Place a device at a location, or at none.

        ``inside`` has values for some `INSIDE_KEYS`. The other keys keep their values only if the device was at this
        location before. Raises `Rejected`.
        """
        async with self._placing:
            if location is None:
                await self._hub.metadata.set(device, LOCATION, "", by)
            else:
                await self._write_metadata(device, location, inside, by)

    async def _write_metadata(self, device: Device, location: Location, inside: dict[str, str], by: Principal) -> None:
        text = await self._hub.metadata.get(device, LOCATION)
        before = json.loads(text) if text.startswith("{") else {}
        is_same = before.get("locationId") == location.id
        inside = {key: before[key] for key in INSIDE_KEYS if is_same and key in before} | inside
        copied = {key: value for key in _COPIED_KEYS if (value := getattr(location.about, key)) not in ("", None)}
        value = json.dumps({"locationId": location.id, **copied, **inside}, ensure_ascii=False)
        await self._hub.metadata.set(device, LOCATION, value, by)


def _place_problems(place: Place) -> list[str]:
    texts = ((field, getattr(place, field)) for field in ("address", "city", "state", "zip", "country"))
    problems = [
        f"about.{field} must have at most {MAX_NAME} printable characters"
        for field, text in texts
        if len(text) > MAX_NAME or not is_printable(text)
    ]
    if (place.lat is None) != (place.lon is None):
        problems.append("about: lat and lon must both be given, or neither")
    elif place.lat is not None and not (abs(place.lat) <= 90 and abs(place.lon or 0) <= 180):
        problems.append("about: lat must be -90 to 90 degrees, and lon -180 to 180")
    if place.timezone and not timezones.is_known(place.timezone):
        problems.append(f"about.timezone: there is no time zone {place.timezone[:50]!r}")
    return problems


class AssignedUsers:
    """Exports and erases the assignments of users to locations (`hub_personal_data`)."""

    def __init__(self, locations: Locations) -> None:
        self._locations = locations

    async def export(self, user: str, _asker: Principal) -> dict[str, Any] | None:
        kind, _, user_id = user.partition(" ")
        locations = self._locations.of_user(int(user_id)) if kind == "user" else []
        entries = [{"id": location.id, "name": location.name} for location in locations]
        return {"locations": entries} if entries else None

    async def erase(self, user: str) -> None:
        kind, _, user_id = user.partition(" ")
        if kind == "user":
            await self._locations.remove_user(int(user_id))
