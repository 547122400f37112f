"""Locations over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from hub import Created, Forbidden, Rejected, Request, Route
from hub.api import MAX_PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, page_of
from plugins.fleet.locations import INSIDE_KEYS, VIEW_LOCATIONS, Location, Locations, Place

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class LocationObject:
    """Location as JSON: ``devices`` counts the devices there that the client may view, ``users`` has user ids."""

    id: int
    org_id: int
    name: str
    owner_id: int | None
    about: Place
    users: list[int]
    devices: int


@attrs.frozen(kw_only=True)
class NewLocation:
    """New location; its owner is the user who creates it by default."""

    name: str
    about: Place = attrs.Factory(Place)
    org_id: int | None = None
    owner_id: int | None = None


@attrs.frozen(kw_only=True)
class EditLocation:
    """Changes of a location: absent fields stay as they are, ``about`` is replaced as a whole."""

    location_id: int
    name: str | None = None
    about: Place | None = None


@attrs.frozen(kw_only=True)
class AssignUsers:
    """Ids of all users who are to be assigned to a location; any other assignment ends."""

    location_id: int
    users: list[int]


@attrs.frozen(kw_only=True)
class PutDevice:
    """Place of a device: ``location_id`` 0 is no location; ``within`` has its building, floor, unit, room, zone."""

    device_id: int
    location_id: int
    within: dict[str, str] = attrs.Factory(dict)


class LocationRoutes:
    def __init__(self, hub: Hub, locations: Locations) -> None:
        self._hub = hub
        self._locations = locations

    async def list(
        self, request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = MAX_PAGE
    ) -> Page[LocationObject]:
        orgs = set(self._hub.organizations.below(self._hub.access.organization_for(request, org_id).id))
        locations = [
            location
            for location in self._locations.by_id.values()
            if location.org in orgs and self._hub.is_allowed(request.principal, request.permission, location)
        ]
        locations.sort(key=lambda location: location.name)
        return page_of(locations, page, size, partial(self._to_object, request))

    async def info(self, request: Request, location_id: int) -> LocationObject:
        location = self._location_for(request, location_id)
        request.version(location)
        return self._to_object(request, location)

    async def create(self, request: Request) -> Created[LocationObject]:
        body: NewLocation = request.body
        org = self._hub.access.organization_for(request, body.org_id)
        creator = int(request.principal.id) if request.principal.kind == "user" else None
        owner = creator if body.owner_id is None else body.owner_id
        if owner not in (None, creator):
            self._check_users(org.id, [owner])
        new = Location(id=0, org=org.id, name=body.name, about=body.about, owner=owner)
        location = await self._locations.save(new, request.principal)
        request.subject = f"location {location.id}"
        return Created(value=self._to_object(request, location))

    async def edit(self, request: Request) -> LocationObject:
        body: EditLocation = request.body
        location = self._location_for(request, body.location_id)
        request.expect(location)
        fields: dict[str, Any] = {"name": body.name, "about": body.about}
        changed = attrs.evolve(location, **{field: value for field, value in fields.items() if value is not None})
        self._locations.check(changed)
        # The location is saved first, and then device by device its copy in the metadata.
        request.partially_applied = True
        saved = await self._locations.save(changed, request.principal)
        request.version(saved)
        return self._to_object(request, saved)

    async def delete(self, request: Request, location_id: int) -> None:
        location = self._location_for(request, location_id)
        request.expect(location)
        await self._locations.remove(location)

    async def assign_users(self, request: Request) -> LocationObject:
        body: AssignUsers = request.body
        location = self._location_for(request, body.location_id)
        request.expect(location)
        self._check_users(location.org, body.users)
        changed = attrs.evolve(location, users=tuple(sorted(set(body.users))))
        saved = await self._locations.save(changed, request.principal)
        request.version(saved)
        return self._to_object(request, saved)

    async def place_device(self, request: Request) -> None:
        body: PutDevice = request.body
        device = self._hub.access.device_for(request, body.device_id)
        if unknown := body.within.keys() - set(INSIDE_KEYS):
            raise Rejected(f"within: there is no {min(unknown)[:50]!r}; it can have {', '.join(INSIDE_KEYS)}")
        location = None
        if body.location_id:
            location = self._locations.location_for(request.principal, body.location_id)
            if not self._hub.organizations.contains(location.org, device.org):
                raise Rejected("the location belongs to another organization")
        await self._locations.place(device, location, body.within, request.principal)

    def _location_for(self, request: Request, location_id: int) -> Location:
        """Return the location that a request is about, for the audit too.

        Raises `Forbidden`; `NotFound` also for a location that the client may not view.
        """
        location = self._locations.location_for(request.principal, location_id)
        if not self._hub.is_allowed(request.principal, request.permission, location):
            raise Forbidden(f"This needs the permission {request.permission}.")
        request.subject, request.org = f"location {location.id}", location.org
        return location

    def _check_users(self, org: int, users: Sequence[int | None]) -> None:
        """Raise `Rejected` unless all users belong to an organization or to those below it."""
        for user in users:
            user_org = None if user is None else self._hub.directory.organization_of(user)
            if user_org is None or not self._hub.organizations.contains(org, user_org):
                raise Rejected(f"User with identifier {user} is not found or belong to another organization.")

    def _to_object(self, request: Request, location: Location) -> LocationObject:
        devices = self._locations.devices_at(location)
        return LocationObject(
            id=location.id,
            org_id=location.org,
            name=location.name,
            owner_id=location.owner,
            about=location.about,
            users=list(location.users),
            devices=sum(self._hub.is_allowed(request.principal, VIEW_DEVICES, device) for device in devices),
        )


def routes(hub: Hub, locations: Locations) -> Sequence[Route]:
    api = LocationRoutes(hub, locations)
    org, locked = "/api/v1/organization", "location"
    add, edit, delete, assign = (f"org_locations.{verb}" for verb in ("add", "edit", "delete", "assign"))
    users, place = "Assign users to a location", "Put a device at a location"
    return [
        Route("GET", f"{org}/locations", api.list, VIEW_LOCATIONS, "The locations of an organization and below"),
        Route("GET", f"{org}/location", api.info, VIEW_LOCATIONS, "One location"),
        Route("POST", f"{org}/location/create", api.create, add, "Make a location", NewLocation, lock=locked),
        Route("PUT", f"{org}/location", api.edit, edit, "Edit a location", EditLocation, lock=locked),
        Route("DELETE", f"{org}/location", api.delete, delete, "Delete a location", lock=locked),
        Route("POST", f"{org}/location/users", api.assign_users, assign, users, AssignUsers, lock=locked),
        Route("POST", f"{org}/device/location", api.place_device, "org_devices.edit", place, PutDevice),
    ]
