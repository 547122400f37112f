"""The nouns of the platform, in Blynk's words. Plain values: no behaviour that needs the hub."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal, Protocol

import attrs

from hub.errors import NotFound, Rejected, UnknownPin
from hub.model import System
from hub.spellings import nfc

#: What a datastream holds. A tuple is a multi-value array; a location is ``(longitude, latitude)``.
Scalar = int | float | str
Value = Scalar | tuple[Scalar, ...]

DataType = Literal["integer", "double", "string", "enum", "location"]
#: How much of what a datastream held is kept: nothing, its minutes, or every value.
HistoryMode = Literal["off", "minute", "raw"]
EventKind = Literal["info", "warning", "critical", "content"]

#: Statuses of every lifecycle; others are called what their template calls them.
ONLINE, OFFLINE = "online", "offline"

#: The organization everything belongs to until there are others.
ROOT_ORG = 1


#: docs.blynk.io, Platform API, Create organization.
OrganizationType = Literal[
    "ROOT", "BUSINESS", "PERSONAL", "BRANCH", "DISTRIBUTOR", "CONTRACTOR", "INSTALLER", "RESELLER"
]


@attrs.frozen(kw_only=True)
class Organization:
    """Owns devices and people. ``templates`` are those its devices may have; None is all, as in the root.

    ``quotas`` are the most of "devices", "users" and "organizations" that it and all below it may have.
    ``units`` is the system in which its people see values, unless they have one of their own, and
    ``unit_overrides`` says which unit instead, by group of `hub.domain.units`; those below it follow where
    they say none.
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

    def has(self, template: Template) -> bool:
        """Whether its devices may be of a template."""
        return self.templates is None or template.id in self.templates


#: What is shown of a value that has expired (docs.blynk.io, Invalidate value).
Show = Literal["Nothing", "Default", "No Data", "Empty", "--"]


@attrs.frozen(kw_only=True)
class Expire:
    """A value that nothing came after for so long is shown as ``show``; it stays what it is."""

    after: str
    show: Show = "No Data"


#: What automations take a datastream for (docs.blynk.io, Automations: Datastream).
ExposureType = Literal["power_switch", "switch", "range", "color", "enum", "sensor", "brightness", "temperature"]


@attrs.frozen(kw_only=True)
class Exposure:
    """An automation may begin with it (``condition``), and set it (``action``)."""

    type: ExposureType
    condition: bool = True
    action: bool = True


@attrs.frozen(kw_only=True)
class Datastream:
    """One value that a device of the template has. ``id`` is unique in its template, ``pin`` 0..255."""

    id: int
    pin: int
    name: str = attrs.field(converter=nfc)
    type: DataType = "double"
    #: What the device sends in. People see it in their own unit if it is one of `hub.domain.units` and ``convert``, as
    #: a smaller or larger one if ``scale``; ``pair`` is the pin ("V2") that has the same in another unit.
    units: str = ""
    convert: bool = True
    scale: bool = True
    pair: str = ""
    min: float | None = None
    max: float | None = None
    decimals: str = ""
    default: Value | None = None
    history: HistoryMode = "raw"
    #: A duration; "" is the hub's own.
    retain_raw: str = ""
    sync: bool = False
    #: A duration in which the device must answer a write from elsewhere by writing the pin; "" is never.
    confirm: str = ""
    expire: Expire | None = None
    values: dict[int, str] = attrs.Factory(dict)
    fallback: int | None = None
    #: What people call it, unless they say otherwise.
    alias: str = ""
    #: The Device HTTPS API does not know it.
    hide_from_http: bool = False
    #: What automations may do with it; None is nothing.
    automation: Exposure | None = None
    #: What it means, whatever it is called: at most one of `hub.templates.document.TAGS` and four of one's own.
    tags: tuple[str, ...] = ()
    icon: str = ""
    color: str = ""


@attrs.frozen(kw_only=True)
class EventType:
    """What a device may log under ``code``: of it every ``every``-th is kept, and at most one in a ``period``."""

    code: str
    name: str = attrs.field(converter=nfc)
    type: EventKind = "info"
    description: str = ""
    #: Whether it is on the timeline.
    timeline: bool = True
    archivable: bool = True
    every: int = 1
    period: str = ""
    #: Of type content.
    subtitle: str = ""
    image: str = ""
    action_title: str = ""
    action_url: str = ""


@attrs.frozen(kw_only=True)
class MetadataField:
    """``type`` is one of `hub.domain.metadata.TYPES`; ``min`` to ``step`` are of numbers, ``options`` of a list or a
    switch.

    One that is not ``editable`` is set by the device alone.
    """

    name: str = attrs.field(converter=nfc)
    type: str = "text"
    default: str = ""
    description: str = ""
    required: bool = False
    unit: str = ""
    min: float | None = None
    max: float | None = None
    step: float | None = None
    options: tuple[str, ...] = ()
    editable: bool = True


@attrs.frozen(kw_only=True)
class Status:
    """A device is this when it has been away for ``after``, until the next one's time or until it is back."""

    name: str = attrs.field(converter=nfc)
    after: str
    description: str = ""
    timeline: bool = True


@attrs.frozen(kw_only=True)
class Lifecycle:
    """A device that is gone counts as gone ``wait`` after it was last heard of (docs.blynk.io, Connection lifecycle).

    With ``reports_data`` a value over HTTP makes it online for that time.
    """

    wait: str = "1m"
    reports_data: bool = False
    timeline: bool = True
    online: str = "Online"
    offline: str = "Offline"
    status: tuple[Status, ...] = ()


@attrs.frozen(kw_only=True)
class Widget:
    """What a tab shows at ``x``, ``y`` of a grid, from the top left; ``pins`` ("V1") are what it shows.

    What there is for ``type`` and ``options``, `hub.templates.widgets` says. What is not said, such as a title, units
    and limits, is the datastream's.
    """

    type: str
    pins: tuple[str, ...] = ()
    title: str = ""
    x: int = 0
    y: int = 0
    width: int = 4
    height: int = 3
    options: dict[str, Any] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Tab:
    """``roles`` are the names of those who see it; none is all."""

    name: str = attrs.field(converter=nfc)
    roles: tuple[str, ...] = ()
    widget: tuple[Widget, ...] = ()


@attrs.frozen(kw_only=True)
class Dashboard:
    tab: tuple[Tab, ...] = ()


@attrs.frozen(kw_only=True)
class Template:
    """What devices of one product have in common. ``id`` is what the firmware has as ``BLYNK_TEMPLATE_ID``.

    Devices of a template that is a ``gateway`` may speak for others (docs.blynk.io, MQTT Gateway API). ``version``
    counts from 1.
    """

    id: str
    org: int = ROOT_ORG
    version: int = 1
    name: str = attrs.field(converter=nfc)
    hardware: str = ""
    connection: str = ""
    manufacturer: str = ""
    description: str = ""
    gateway: bool = False
    datastreams: tuple[Datastream, ...] = ()
    events: tuple[EventType, ...] = ()
    metadata: tuple[MetadataField, ...] = ()
    lifecycle: Lifecycle = Lifecycle()
    web: Dashboard = Dashboard()
    mobile: Dashboard = Dashboard()


class Owned(Protocol):
    """What belongs to an organization, and may be somebody's own in it."""

    @property
    def org(self) -> int:
        """Its organization's id."""

    def is_of(self, user: int | str) -> bool:
        """Whether it is a user's own."""


@attrs.define(kw_only=True, eq=False)
class Point:
    """Where a device's datastream is kept: ``series`` keys its latest value and its history."""

    series: int
    datastream: Datastream
    device: Device = attrs.field(repr=False)
    #: Whether somebody waits for its values, or for none coming.
    watched: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.watched = bool(self.datastream.confirm) or self.datastream.expire is not None


#: What an info message calls things, in the API's words; the first key that is there counts.
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
    """A device as the running hub knows it. ``points`` is keyed by pin."""

    id: int
    org: int
    name: str = attrs.field(converter=nfc)
    template: Template = attrs.field(repr=lambda template: template.id)
    #: It stays with this version of its template until somebody lets it follow.
    pinned: int | None = None
    created: int
    #: The user whose own device it is.
    owner: int | None = None
    activated: int | None = None
    firmware: dict[str, str] = attrs.Factory(dict)
    #: Who added it ("user 3"), "" when that was not noted.
    added_by: str = ""
    connected: int | None = None
    disconnected: int | None = None
    #: Where it is in its lifecycle ("" before it ever came), since when, and since when it is away.
    status: str = ""
    status_at: int | None = None
    away: int | None = None
    #: The zone of its Location, and of its Time Zone; "" where it says none.
    place_timezone: str = ""
    own_timezone: str = ""
    points: dict[int, Point] = attrs.field(factory=dict, repr=False)
    #: Values that came, by which way, since somebody last took the count away.
    messages: defaultdict[str, int] = attrs.field(factory=lambda: defaultdict(int), repr=False)

    def is_of(self, user: int | str) -> bool:
        """Whether it is a user's own."""
        return self.owner == user

    def point(self, datastream: int) -> Point | None:
        """The point of a datastream id."""
        return next((p for p in self.points.values() if p.datastream.id == datastream), None)

    @property
    def hardware(self) -> dict[str, str]:
        """What firmware said of itself, as `HARDWARE` calls it."""
        return {
            name: next(self.firmware[key] for key in keys if key in self.firmware)
            for name, keys in HARDWARE.items()
            if any(key in self.firmware for key in keys)
        }

    def find(self, pin: str | None, datastream: int | None = None) -> Point:
        """The point on a pin (``V1``, ``v1``) or of a datastream by its name, or by its id.

        Raises `NotFound`, `UnknownPin`, and `Rejected` when both are given.
        """
        points = self.points.values()
        if pin is not None and datastream is not None:
            raise Rejected("either a pin or a dataStreamId is meant")
        if datastream is not None:
            if (point := self.point(datastream)) is None:
                raise NotFound(f"Data stream with identifier {datastream} is not found!")
            return point
        found = [p for p in points if f"v{p.datastream.pin}" == (pin or "").lower()]
        found += [p for p in points if p.datastream.name == nfc(pin or "")]
        if not found:
            raise UnknownPin(f"device {self.name} has no datastream on pin {pin}")
        return found[0]


@attrs.frozen(kw_only=True)
class Comment:
    ts: int
    by: str
    text: str


@attrs.frozen(kw_only=True)
class TimelineEvent:
    """``ts``, ``resolved`` and ``archived`` are milliseconds UTC. An event that is not on the timeline has the id 0."""

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


@attrs.frozen
class Principal:
    """Who is asking: ``kind`` is ``local`` (the command on this machine), ``device``, or a plugin's own word.

    ``org`` is the organization they act in. With ``scopes`` they may do no more than these permissions; ``session``
    is what ends when their access is taken away.
    """

    kind: str
    id: int | str = ""
    org: int = ROOT_ORG
    label: str = ""
    scopes: frozenset[str] | None = None
    session: int | str = ""

    @property
    def who(self) -> str:
        """What is kept of them: "user 3", and no name, which goes when they are erased."""
        return f"{self.kind} {self.id}".strip()


#: The key in ``<data>/local.key``: whoever can read that file may do everything.
LOCAL = Principal("local", label="local key")
#: What somebody is called who is none of the asker's business.
REDACTED_NAME = "somebody else"
#: Who has not said who they are.
NOBODY = Principal("nobody")
#: The hub itself.
SYSTEM = Principal("system", label="hub")


# What the hub may ask of a connected device. Transports translate these; those a transport cannot say are dropped.


@attrs.define
class SetDatastream:
    """``pin`` has a new value; ``text`` is what the wire shows, one string per value."""

    pin: int
    text: tuple[str, ...]


@attrs.define
class SetMetadata:
    name: str
    value: str


@attrs.define
class Redirect:
    host: str
    port: int


@attrs.define
class Reboot:
    pass


@attrs.define
class Reconfigure:
    """The device opens its own network and waits for another one's name and password."""


@attrs.define
class AppConnected:
    """Somebody started (``present``) or stopped watching the device."""

    present: bool


Command = SetDatastream | SetMetadata | Redirect | Reboot | Reconfigure | AppConnected
