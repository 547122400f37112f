"""Locations: places of an organization where devices are and people work (docs.blynk.io, Locations).

A device is at a location when its metadata field Location says so: ``{"locationId": 7, "floor": "2"}``. Address,
coordinates and time zone stand in it too, so that firmware and reports read them there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import timezones
from hub.api import MAX_PAGE, VIEW_DEVICES, Created, Page, PageNumber, PageSize, Request, Route, page_of
from hub.domain.metadata import LOCATION
from hub.errors import Conflict, Forbidden, NotFound, Rejected
from hub.facts import DeviceDeleted, MetadataChanged, OrganizationChanged
from hub.model import SYSTEM, Device, Principal
from hub.spellings import as_integer, is_name, is_printable, nfc

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.storage import Row, Transaction

#: docs.blynk.io, Locations: characters of a name and an address; of what else is told about a place, too.
MAX_NAME = 48
#: What of a location a device's metadata has as well.
_COPIED = ("address", "lat", "lon", "timezone")


@attrs.frozen(kw_only=True)
class Place:
    """Where it is: ``lat`` and ``lon`` in degrees, ``timezone`` an IANA name."""

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
    """``users`` are those who are assigned to it: it is their own, as it is its owner's."""

    id: int
    org: int
    name: str = attrs.field(converter=nfc)
    owner: int | None = None
    about: Place = Place()
    users: tuple[int, ...] = ()

    def is_of(self, user: int | str) -> bool:
        return user in (self.owner, *self.users)


@attrs.frozen(kw_only=True)
class LocationObject:
    """``devices`` is how many of those that the asker may view are there."""

    id: int
    org_id: int
    name: str
    owner_id: int | None
    about: Place
    users: list[int]
    devices: int


@attrs.frozen(kw_only=True)
class NewLocation:
    name: str
    about: Place = Place()
    org_id: int | None = None
    owner_id: int | None = None


@attrs.frozen(kw_only=True)
class EditLocation:
    """What is left out stays; ``about`` is replaced as a as_integer."""

    location_id: int
    name: str | None = None
    about: Place | None = None


@attrs.frozen(kw_only=True)
class AssignUsers:
    """All who are assigned to it afterwards."""

    location_id: int
    users: list[int]


@attrs.frozen(kw_only=True)
class PutDevice:
    """With ``location_id`` of 0 it is at none; ``within`` says where there: building, floor, unit, room, zone."""

    device_id: int
    location_id: int
    within: dict[str, str] = attrs.Factory(dict)


class Locations:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.by_id: dict[int, Location] = {}
        #: The location that a device's metadata names.
        self._named: dict[int, int] = {}
        #: Who reads where a device is, to say it anew, is alone with it.
        self._placing = trio.Lock()
        hub.subscribe(MetadataChanged, self._moved)
        hub.subscribe(DeviceDeleted, self._gone)
        hub.subscribe(OrganizationChanged, self._follow)

    async def load(self) -> None:
        async def read(tx: Transaction) -> tuple[list[Row], list[Row]]:
            places = await tx.fetch_all("SELECT id, org, name, owner, about, users FROM fleet_locations")
            return places, await tx.fetch_all("SELECT device, value FROM metadata WHERE name = ?", (LOCATION,))

        rows, values = await self._hub.storage.read(read)
        for number, org, name, owner, about, users in rows:
            place = Place(**json.loads(about))
            self.by_id[number] = Location(
                id=number, org=org, name=name, owner=owner, about=place, users=tuple(json.loads(users))
            )
        for device, value in values:
            self._name(device, value)

    def _gone(self, fact: DeviceDeleted) -> None:
        self._named.pop(fact.device.id, None)

    def _moved(self, fact: MetadataChanged) -> None:
        if fact.name == LOCATION:
            self._name(fact.device.id, fact.value)

    def _name(self, device: int, value: str) -> None:
        self._named.pop(device, None)
        if value.startswith("{") and (number := as_integer(json.loads(value).get("locationId"))) is not None:
            self._named[device] = number

    def _follow(self, fact: OrganizationChanged) -> None:
        if fact.gone:
            self.by_id = {number: one for number, one in self.by_id.items() if one.org != fact.organization.id}

    def of(self, device: Device) -> Location | None:
        """Where a device is: at a location of its organization or of one above."""
        found = self.by_id.get(self._named.get(device.id, 0))
        return found if found is not None and self._hub.organizations.contains(found.org, device.org) else None

    def devices(self, location: Location) -> list[Device]:
        """Those that are there."""
        by_id = self._hub.devices.by_id
        named = (by_id[device] for device, number in self._named.items() if number == location.id and device in by_id)
        return [device for device in named if self.of(device) is location]

    def check(self, location: Location) -> None:
        """Whether a location can be like this. Raises `Rejected`, `Conflict`."""
        problems = []
        if not is_name(location.name, MAX_NAME):
            problems.append(f"name must have 1 to {MAX_NAME} printable characters")
        about = location.about
        texts = ((field, getattr(about, field)) for field in ("address", "city", "state", "zip", "country"))
        problems += [
            f"about.{field} has at most {MAX_NAME} printable characters"
            for field, text in texts
            if len(text) > MAX_NAME or not is_printable(text)
        ]
        if (about.lat is None) != (about.lon is None):
            problems.append("about: lat and lon are needed both")
        elif about.lat is not None and not (abs(about.lat) <= 90 and abs(about.lon or 0) <= 180):
            problems.append("about: lat and lon must be degrees")
        if about.timezone and not timezones.is_known(about.timezone):
            problems.append(f"about.timezone: there is no time zone {about.timezone[:50]!r}")
        if problems:
            raise Rejected("\n".join(problems))
        same = (one for one in self.by_id.values() if one.org == location.org and one.id != location.id)
        if any(one.name == location.name for one in same):
            raise Conflict(f"there is a location named {location.name!r} already")

    async def save(self, location: Location, by: Principal) -> Location:
        """Add or change one; devices that are there follow."""
        self.check(location)
        kept = (location.name, location.owner, json.dumps(attrs.asdict(location.about)), json.dumps(location.users))

        async def write(tx: Transaction) -> int:
            if location.id:
                sql = "UPDATE fleet_locations SET name = ?, owner = ?, about = ?, users = ? WHERE id = ?"
                await tx.execute(sql, (*kept, location.id))
                return location.id
            sql = "INSERT INTO fleet_locations (name, owner, about, users, org) VALUES (?, ?, ?, ?, ?)"
            return await tx.execute(sql, (*kept, location.org))

        before = self.by_id.get(location.id)
        saved = attrs.evolve(location, id=await self._hub.storage.transaction(write))
        self.by_id[saved.id] = saved
        if before is not None and before.about != saved.about:
            for device in self.devices(saved):
                async with self._placing:
                    # Meanwhile it may have gone elsewhere, or be no more.
                    if self.of(device) is saved and self._hub.devices.by_id.get(device.id) is device:
                        with suppress(Conflict):
                            await self._put(device, saved, {}, by)
        return saved

    def of_user(self, user: int) -> list[Location]:
        """Those that are somebody's own."""
        return [location for location in self.by_id.values() if location.is_of(user)]

    async def forget(self, user: int) -> None:
        """Somebody is no more."""
        for location in self.of_user(user):
            owner = None if location.owner == user else location.owner
            left = attrs.evolve(location, owner=owner, users=tuple(one for one in location.users if one != user))
            await self.save(left, SYSTEM)

    async def remove(self, location: Location) -> None:
        """Delete one; what devices' metadata says of the place stays."""

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM fleet_locations WHERE id = ?", (location.id,))

        await self._hub.storage.transaction(write)
        self.by_id.pop(location.id, None)

    async def put(self, device: Device, location: Location | None, within: dict[str, str], by: Principal) -> None:
        """Let a device be at a location; ``within`` replaces what it said of the place inside, where it says more.

        Raises `Rejected`.
        """
        async with self._placing:
            if location is None:
                await self._hub.metadata.set(device, LOCATION, "", by)
            else:
                await self._put(device, location, within, by)

    async def _put(self, device: Device, location: Location, within: dict[str, str], by: Principal) -> None:
        text = await self._hub.metadata.get(device, LOCATION)
        before = json.loads(text) if text.startswith("{") else {}
        same = before.get("locationId") == location.id
        inside = {key: before[key] for key in _WITHIN if same and key in before} | within
        copied = {key: value for key in _COPIED if (value := getattr(location.about, key)) not in ("", None)}
        value = json.dumps({"locationId": location.id, **copied, **inside}, ensure_ascii=False)
        await self._hub.metadata.set(device, LOCATION, value, by)


_WITHIN = ("building", "floor", "unit", "room", "zone")


def routes(hub: Hub, locations: Locations) -> Sequence[Route]:
    def unknown(number: int) -> NotFound:
        return NotFound(f"Location with identifier {number} is not found or belong to another organization.")

    def location_for(request: Request, number: int) -> Location:
        """The location that a request is about. Raises `Forbidden`, and `NotFound` for others'."""
        found = locations.by_id.get(number)
        if found is None or not hub.is_allowed(request.principal, "org_locations.view", found):
            raise unknown(number)
        if not hub.is_allowed(request.principal, request.permission, found):
            raise Forbidden(f"This needs the permission {request.permission}.")
        request.subject, request.org = f"location {found.id}", found.org
        return found

    def shown(request: Request, one: Location) -> LocationObject:
        there = sum(hub.is_allowed(request.principal, VIEW_DEVICES, device) for device in locations.devices(one))
        return LocationObject(
            id=one.id,
            org_id=one.org,
            name=one.name,
            owner_id=one.owner,
            about=one.about,
            users=list(one.users),
            devices=there,
        )

    def check_users(org: int, users: Sequence[int | None]) -> None:
        for user in users:
            if user is None or (of := hub.devices.org_of_user(user)) is None or not hub.organizations.contains(org, of):
                raise Rejected(f"User with identifier {user} is not found or belong to another organization.")

    async def listed(
        request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = MAX_PAGE
    ) -> Page[LocationObject]:
        below = set(hub.organizations.below(hub.access.organization_for(request, org_id).id))
        found = [
            one
            for one in locations.by_id.values()
            if one.org in below and hub.is_allowed(request.principal, request.permission, one)
        ]
        return page_of(sorted(found, key=lambda one: one.name), page, size, lambda one: shown(request, one))

    async def info(request: Request, location_id: int) -> LocationObject:
        found = location_for(request, location_id)
        request.version(found)
        return shown(request, found)

    async def create(request: Request) -> Created[LocationObject]:
        body: NewLocation = request.body
        org = hub.access.organization_for(request, body.org_id)
        mine = int(request.principal.id) if request.principal.kind == "user" else None
        owner = mine if body.owner_id is None else body.owner_id
        if owner not in (None, mine):
            check_users(org.id, [owner])
        new = Location(id=0, org=org.id, name=body.name, about=body.about, owner=owner)
        made = await locations.save(new, request.principal)
        request.subject = f"location {made.id}"
        return Created(value=shown(request, made))

    async def edit(request: Request) -> LocationObject:
        body: EditLocation = request.body
        found = location_for(request, body.location_id)
        request.expect(found)
        said: dict[str, Any] = {"name": body.name, "about": body.about}
        changed = attrs.evolve(found, **{key: value for key, value in said.items() if value is not None})
        locations.check(changed)
        request.partially_applied = True
        saved = await locations.save(changed, request.principal)
        request.version(saved)
        return shown(request, saved)

    async def delete(request: Request, location_id: int) -> None:
        found = location_for(request, location_id)
        request.expect(found)
        await locations.remove(found)

    async def assign(request: Request) -> LocationObject:
        body: AssignUsers = request.body
        found = location_for(request, body.location_id)
        request.expect(found)
        check_users(found.org, body.users)
        saved = await locations.save(attrs.evolve(found, users=tuple(sorted(set(body.users)))), request.principal)
        request.version(saved)
        return shown(request, saved)

    async def put(request: Request) -> None:
        body: PutDevice = request.body
        device = hub.access.device_for(request, body.device_id)
        if wrong := body.within.keys() - set(_WITHIN):
            raise Rejected(f"within has {', '.join(_WITHIN)}, not {min(wrong)[:50]!r}")
        location = None
        if body.location_id:
            location = locations.by_id.get(body.location_id)
            if location is None or not hub.is_allowed(request.principal, "org_locations.view", location):
                raise unknown(body.location_id)
            if not hub.organizations.contains(location.org, device.org):
                raise Rejected("the location is of another organization")
        await locations.put(device, location, body.within, request.principal)

    org = "/api/v1/organization"
    group, kind, assigned = "org_locations", "location", "Assign users to a location"
    view = f"{group}.view"
    return [
        Route("GET", f"{org}/locations", listed, view, "The locations of an organization and below"),
        Route("GET", f"{org}/location", info, view, "One location"),
        Route("POST", f"{org}/location/create", create, f"{group}.add", "Make a location", NewLocation, lock=kind),
        Route("PUT", f"{org}/location", edit, f"{group}.edit", "Edit a location", EditLocation, lock=kind),
        Route("DELETE", f"{org}/location", delete, f"{group}.delete", "Delete a location", lock=kind),
        Route("POST", f"{org}/location/users", assign, f"{group}.assign", assigned, AssignUsers, lock=kind),
        Route("POST", f"{org}/device/location", put, "org_devices.edit", "Put a device at a location", PutDevice),
    ]
