"""Organizations, devices and their events."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

import attrs

from hub.errors import NotFound, Rejected, UnknownPin
from hub.model.principals import Principal
from hub.model.templates import Datastream, System, Template
from hub.parsing.spellings import nfc

#: docs.blynk.io, Platform API, Create organization.
OrganizationType = Literal[
    "ROOT", "BUSINESS", "PERSONAL", "BRANCH", "DISTRIBUTOR", "CONTRACTOR", "INSTALLER", "RESELLER"
]


@attrs.frozen(kw_only=True)
class Organization:
    """An organization owns devices and users, and may have organizations below it.

    ``templates`` are the ids of those that its devices may have; None is all, as in the root. ``quotas`` limit the
    number of "devices", "users" and "organizations" in it and all below it. ``units`` is the system of units for its
    users' displays, and ``unit_overrides`` are exceptions by group of `hub.domain.units`; both are inherited.
    ``address`` has the keys of `hub.domain.organizations.ADDRESS`; ``modified`` is when it was changed last, in ms UTC.
    """

    id: int
    name: str = attrs.field(converter=nfc)
    parent: int | None = None
    type: OrganizationType = "BUSINESS"
    timezone: str | None = None
    description: str = ""
    phone: str = ""
    templates: frozenset[str] | None = None
    quotas: dict[str, int] = attrs.Factory(dict)
    units: System | None = None
    unit_overrides: dict[str, str] = attrs.Factory(dict)
    address: dict[str, str] = attrs.Factory(dict)
    modified: int | None = None

    def has(self, template: Template) -> bool:
        """Whether a template is enabled for its devices."""
        return self.templates is None or template.id in self.templates


@attrs.define(kw_only=True, eq=False)
class DeviceDatastream:
    """A datastream of one device; ``series`` is the key of its latest value and its history."""

    series: int
    datastream: Datastream
    device: Device = attrs.field(repr=False)
    #: Whether its values have a timeout (`hub.domain.value_timeouts`).
    watched: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.watched = bool(self.datastream.confirm) or self.datastream.expire is not None


#: Keys of an info message, by their name in the API; the first key that is present counts.
HARDWARE = {
    "version": ("mcu", "ncp", "fw", "ver"),
    "fwType": ("fw-type",),
    "blynkVersion": ("blynk", "ver"),
    "boardType": ("dev",),
    "build": ("build",),
    "templateId": ("tmpl",),
}


@attrs.define(kw_only=True, eq=False)
class Device:
    """A device in memory. ``points`` are its datastreams by pin; times are milliseconds UTC."""

    id: int
    org: int
    name: str = attrs.field(converter=nfc)
    template: Template = attrs.field(repr=lambda template: template.id)
    #: The version of its template that it is pinned to; None follows the newest.
    pinned: int | None = None
    created: int
    #: The id of the user who owns it.
    owner: int | None = None
    activated: int | None = None
    firmware: dict[str, str] = attrs.Factory(dict)
    #: The actor who added it ("user 3"); "" when that was not recorded.
    added_by: str = ""
    connected: int | None = None
    disconnected: int | None = None
    #: Its lifecycle status ("" before it first connected), since when, and since when it is offline.
    status: str = ""
    status_at: int | None = None
    away: int | None = None
    #: The time zones of its metadata Location and Time Zone; "" where there is none.
    place_timezone: str = ""
    own_timezone: str = ""
    points: dict[int, DeviceDatastream] = attrs.field(factory=dict, repr=False)
    #: Messages received since the last time they were counted, by transport.
    messages: defaultdict[str, int] = attrs.field(factory=lambda: defaultdict(int), repr=False)

    def is_of(self, user: int | str) -> bool:
        """Whether it is the user's own."""
        return self.owner == user

    def as_principal(self) -> Principal:
        """Return the device as the actor of what it sends."""
        return Principal("device", self.id, self.org, self.name)

    def point(self, datastream: int) -> DeviceDatastream | None:
        """Return its datastream with an id, or None."""
        return next((p for p in self.points.values() if p.datastream.id == datastream), None)

    @property
    def hardware(self) -> dict[str, str]:
        """What its firmware reported, by the names of `HARDWARE`."""
        return {
            name: next(self.firmware[key] for key in keys if key in self.firmware)
            for name, keys in HARDWARE.items()
            if any(key in self.firmware for key in keys)
        }

    def find(self, pin: str | None, datastream: int | None = None) -> DeviceDatastream:
        """Return its datastream by pin, name or property group (`Template.pin_of`), or by id.

        Raises `NotFound`, `UnknownPin`, and `Rejected` when both are given.
        """
        if pin is not None and datastream is not None:
            raise Rejected("either a pin or a dataStreamId is meant")
        if datastream is not None:
            if (point := self.point(datastream)) is None:
                raise NotFound(f"Data stream with identifier {datastream} is not found!")
            return point
        number = self.template.pin_of(pin or "")
        if number is None or number not in self.points:
            raise UnknownPin(f"device {self.name} has no datastream on pin {pin}")
        return self.points[number]


@attrs.frozen(kw_only=True)
class Comment:
    """A comment on an event: at ``ts`` (milliseconds UTC), by an actor ("user 3")."""

    ts: int
    by: str
    text: str


@attrs.frozen(kw_only=True)
class TimelineEvent:
    """An event of a device. Times are milliseconds UTC. An event that is not on the timeline has the id 0."""

    id: int
    device: int
    ts: int
    code: str
    type: str
    name: str
    description: str
    resolved: int | None = None
    archived: int | None = None
    resolved_by: str = ""
    note: str = ""
    comments: tuple[Comment, ...] = ()
