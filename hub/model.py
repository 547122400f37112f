"""The nouns of the platform, in Blynk's words. Plain values without behaviour that needs the hub."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

import attrs

from hub.errors import NotFound, Rejected, UnknownPin
from hub.parsing.spellings import nfc

#: The value of a datastream. A tuple is a multi-value array; a location is ``(longitude, latitude)``.
Scalar = int | float | str
Value = Scalar | tuple[Scalar, ...]

DataType = Literal["integer", "double", "string", "enum", "location"]
#: The history of a datastream: none, averages of minutes, or every value.
HistoryMode = Literal["off", "minute", "raw"]
#: A system of units.
System = Literal["metric", "imperial"]
EventKind = Literal["info", "warning", "critical", "content"]

#: The statuses of every lifecycle; templates define more.
ONLINE, OFFLINE = "online", "offline"

#: The id of the root organization.
ROOT_ORG = 1


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
        """Whether a template is enabled for its devices."""
        return self.templates is None or template.id in self.templates


#: How an expired value is displayed (docs.blynk.io, Invalidate value).
Show = Literal["Nothing", "Default", "No Data", "Empty", "--"]


@attrs.frozen(kw_only=True)
class Expire:
    """The expiry of values: one that is not followed by another for the duration ``after`` is displayed as ``show``."""

    after: str
    show: Show = "No Data"


#: What a datastream is to automations (docs.blynk.io, Automations: Datastream).
ExposureType = Literal["power_switch", "switch", "range", "color", "enum", "sensor", "brightness", "temperature"]


@attrs.frozen(kw_only=True)
class Exposure:
    """The use of a datastream in automations: in a ``condition``, and in an ``action``."""

    type: ExposureType
    condition: bool = True
    action: bool = True


@attrs.frozen(kw_only=True)
class Datastream:
    """A datastream of a template. ``id`` is unique in its template, ``pin`` is 0..255."""

    id: int
    pin: int
    name: str = attrs.field(converter=nfc)
    type: DataType = "double"
    #: The unit of the values that the device sends. If it is one of `hub.domain.units`, displays convert it to the
    #: user's unit if ``convert``, and to a smaller or larger one if ``scale``; ``pair`` is the pin ("V2") of the
    #: datastream that has the same quantity in another unit.
    units: str = ""
    convert: bool = True
    scale: bool = True
    pair: str = ""
    min: float | None = None
    max: float | None = None
    decimals: str = ""
    default: Value | None = None
    history: HistoryMode = "raw"
    #: The duration for which raw values are retained; "" is the hub's default.
    retain_raw: str = ""
    sync: bool = False
    #: The duration in which the device must confirm a write from elsewhere by writing the pin; "" is never.
    confirm: str = ""
    expire: Expire | None = None
    values: dict[int, str] = attrs.Factory(dict)
    fallback: int | None = None
    #: The default of the name that users can give it on a device.
    alias: str = ""
    #: Whether the Device HTTPS API treats it as unknown.
    hide_from_http: bool = False
    #: Its use in automations; None is none.
    automation: Exposure | None = None
    #: Its meaning, whatever its name: at most one of `hub.templates.document.TAGS` and four others.
    tags: tuple[str, ...] = ()
    icon: str = ""
    color: str = ""


def _nfc_each(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(nfc, names))


@attrs.frozen(kw_only=True)
class Notifications:
    """Whether an event notifies users, and whom by default (docs.blynk.io, Events: Notifications).

    The recipients of each channel are "Device Owner" and names of metadata fields of the template: of type contact or
    email, for ``sms`` of type contact.
    """

    enabled: bool = True
    email: tuple[str, ...] = attrs.field(default=(), converter=_nfc_each)
    push: tuple[str, ...] = attrs.field(default=(), converter=_nfc_each)
    sms: tuple[str, ...] = attrs.field(default=(), converter=_nfc_each)
    #: Whether push messages are delivered as alerts, with a sound that also a muted phone plays.
    alert: bool = False
    #: Whether users may change recipients and channels for their devices.
    manageable: bool = False


@attrs.frozen(kw_only=True)
class EventType:
    """A kind of event that devices log by its ``code`` (docs.blynk.io, Events).

    Each accepted event is recorded. ``every`` and ``period`` limit its notifications alone: an event notifies when it
    is the ``every``-th since the last one that did, and that one is at least the duration ``period`` ago.
    """

    code: str
    name: str = attrs.field(converter=nfc)
    type: EventKind = "info"
    description: str = ""
    #: Like #24a0ed; "" is the color of the type.
    color: str = ""
    #: The name of a tag of the device's organization, for devices that have logged such an event.
    tag: str = ""
    #: Whether events of this type are on the timeline, and in the users' list of notifications. An event that is not
    #: in that list does not notify.
    timeline: bool = True
    show_in_notifications: bool = True
    archivable: bool = True
    every: int = 1
    period: str = ""
    notifications: Notifications = Notifications()
    #: For events of type content.
    subtitle: str = ""
    image: str = ""
    action_title: str = ""
    action_url: str = ""


@attrs.frozen(kw_only=True)
class MetadataField:
    """A metadata field of a template's devices. ``type`` is one of `hub.domain.metadata.TYPES`.

    ``min`` to ``step`` apply to numbers, ``options`` to lists and switches. A field that is not ``editable`` is set by
    the device alone. A ``required`` field cannot be emptied.
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
    #: Whether users are asked for it when they add a device, must answer then, and are not offered their last answer
    #: (docs.blynk.io, Metadata: "recently used profile").
    in_provisioning: bool = False
    required_in_provisioning: bool = False
    exclude_from_profile: bool = False
    #: The names of the roles that see and change it in clients; none is all.
    view_roles: tuple[str, ...] = attrs.field(default=(), converter=_nfc_each)
    edit_roles: tuple[str, ...] = attrs.field(default=(), converter=_nfc_each)


@attrs.frozen(kw_only=True)
class StatusSettings:
    """How a status of the lifecycle is displayed, and when a change to it notifies (docs.blynk.io, Lifecycle).

    ``every`` and ``period`` limit notifications as those of an `EventType`.
    """

    description: str = ""
    #: Like #24a0ed; "" is the client's own.
    color: str = ""
    icon: str = ""
    timeline: bool = True
    show_in_notifications: bool = False
    every: int = 1
    period: str = "1m"
    notifications: Notifications = Notifications()
    #: Whether reports of a device's events contain the changes to this status.
    include_in_reports: bool = True


#: Widgets of a dashboard that are disabled: none, all, or those that control the device.
WidgetLock = Literal["none", "all", "control"]


@attrs.frozen(kw_only=True)
class UserInteraction:
    """How clients treat users of a device that is not online (docs.blynk.io, Lifecycle: User interaction).

    ``notice_on_open`` is a message when the dashboard opens, ``notice_on_interaction`` one at each use of a widget.
    """

    disable_widgets: WidgetLock = "none"
    notice_on_open: bool = False
    notice_on_interaction: bool = True


@attrs.frozen(kw_only=True)
class OfflineSettings(StatusSettings):
    """The settings of a status in which a device is not online."""

    interaction: UserInteraction = UserInteraction()


@attrs.frozen(kw_only=True)
class Status(OfflineSettings):
    """A status that a device has when it has been offline for the duration ``after``, until the next status applies."""

    name: str = attrs.field(converter=nfc)
    after: str


@attrs.frozen(kw_only=True)
class Lifecycle:
    """When a device counts as online and offline (docs.blynk.io, Connection lifecycle).

    A device is offline when it has been disconnected for the duration ``wait``. With ``reports_data`` a value over
    HTTP makes it online for that time. Without ``timeline`` neither Online nor Offline are on the timeline.
    """

    wait: str = "1m"
    reports_data: bool = False
    timeline: bool = True
    online: str = "Online"
    offline: str = "Offline"
    online_settings: StatusSettings = StatusSettings()
    offline_settings: OfflineSettings = OfflineSettings()
    status: tuple[Status, ...] = ()

    def settings(self, status: str) -> StatusSettings | None:
        """Return the settings of a status: `ONLINE`, `OFFLINE`, or the name of another; None if there is none."""
        built_in = {ONLINE: self.online_settings, OFFLINE: self.offline_settings}.get(status)
        if built_in is not None:
            return built_in if self.timeline else attrs.evolve(built_in, timeline=False)
        return next((custom for custom in self.status if custom.name == status), None)


@attrs.frozen(kw_only=True)
class Widget:
    """A widget of a tab at ``x``, ``y`` of its grid, from the top left; ``pins`` ("V1") are its datastreams.

    `hub.templates.widgets` lists the types and their ``options``. A title, units and limits that are missing are the
    datastream's.
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
    """A tab of a dashboard. ``roles`` are the names of the roles that see it; none is all."""

    name: str = attrs.field(converter=nfc)
    roles: tuple[str, ...] = ()
    widget: tuple[Widget, ...] = ()


@attrs.frozen(kw_only=True)
class Dashboard:
    tab: tuple[Tab, ...] = ()


@attrs.frozen(kw_only=True)
class Guides:
    """Instructions for users who add a device (docs.blynk.io, User guides).

    ``installation`` and ``activation`` are Markdown; each first-level heading of the former begins a step. The link to
    help with trouble may be a ``mailto:`` or ``tel:`` one.
    """

    installation: str = ""
    activation: str = ""
    troubleshooting_title: str = ""
    troubleshooting_url: str = ""


@attrs.frozen(kw_only=True)
class Template:
    """The template of a product's devices. ``id`` is the firmware's ``BLYNK_TEMPLATE_ID``.

    Devices of a ``gateway`` template may publish for other devices (docs.blynk.io, MQTT Gateway API). ``version``
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
    #: The kinds of device that it is to voice assistants.
    categories: tuple[str, ...] = attrs.field(default=(), converter=_nfc_each)
    #: The beginning of the name of the network that a device opens for provisioning, and the device's name in it; ""
    #: is the template's name.
    hotspot_prefix: str = "Blynk"
    broadcast_name: str = ""
    #: The address of an image, or the id of an asset.
    logo: str = ""
    guides: Guides = Guides()
    datastreams: tuple[Datastream, ...] = ()
    events: tuple[EventType, ...] = ()
    metadata: tuple[MetadataField, ...] = ()
    lifecycle: Lifecycle = Lifecycle()
    web: Dashboard = Dashboard()
    mobile: Dashboard = Dashboard()


class Owned(Protocol):
    """A thing that belongs to an organization, and may be a user's own in it."""

    @property
    def org(self) -> int:
        """Its organization's id."""

    def is_of(self, user: int | str) -> bool:
        """Whether it is the user's own."""


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
        """Return its datastream with a pin (``V1``, ``v1``) or name, or with an id.

        Raises `NotFound`, `UnknownPin`, and `Rejected` when both are given.
        """
        points = self.points.values()
        if pin is not None and datastream is not None:
            raise Rejected("either a pin or a dataStreamId is meant")
        if datastream is not None:
            if (point := self.point(datastream)) is None:
                raise NotFound(f"Data stream with identifier {datastream} is not found!")
            return point
        matches = [p for p in points if f"v{p.datastream.pin}" == (pin or "").lower()]
        matches += [p for p in points if p.datastream.name == nfc(pin or "")]
        if not matches:
            raise UnknownPin(f"device {self.name} has no datastream on pin {pin}")
        return matches[0]


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


@attrs.frozen
class Principal:
    """An authenticated actor. ``kind`` is ``local`` (the commands on this machine), ``device``, or a plugin's own.

    ``org`` is the organization that it acts in. ``scopes`` limit it to these permissions; ``session`` identifies the
    session or key that ends when its access is revoked.
    """

    kind: str
    id: int | str = ""
    org: int = ROOT_ORG
    label: str = ""
    scopes: frozenset[str] | None = None
    session: int | str = ""

    @property
    def actor_id(self) -> str:
        """The identity for records: "user 3", without a name, which is erased with the user."""
        return f"{self.kind} {self.id}".strip()


#: The permission to see a device: without it, the device does not exist for a principal.
VIEW_DEVICES = "org_devices.view"


class IsAllowed(Protocol):
    """Function that checks a permission: on a device, in an organization, or with neither of them anywhere."""

    def __call__(
        self, principal: Principal, permission: str, device: Owned | None = None, org: int | None = None
    ) -> bool: ...


#: The holder of the key in ``<data>/local.key``, who has every permission.
LOCAL = Principal("local", label="local key")
#: The name of an actor whose name the asker may not see.
REDACTED_NAME = "somebody else"
#: A request without credentials.
NOBODY = Principal("nobody")
#: The hub itself.
SYSTEM = Principal("system", label="hub")


@attrs.frozen
class Credentials:
    """What a client presents: ``kind`` is "bearer", "client" for an OAuth2 client's id and secret, or a plugin's own.

    ``name`` is the user name or id that goes with the secret, if any.
    """

    kind: str
    secret: str = attrs.field(repr=False)
    address: str = ""
    name: str = ""


@attrs.frozen(kw_only=True)
class Hello:
    """A login with a token that no device has yet, as far as its transport knows it.

    ``via`` is "native", "mqtt", "http", or the name of a plugin's transport; ``info`` is what the device has reported
    before it logged in, by the keys of `HARDWARE` ("tmpl" is the id of its template). None of the hub's own transports
    learns anything of it by then.
    """

    via: str
    address: str = ""
    tls: bool = False
    info: Mapping[str, str] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Change:
    """A change that a request made, for the audit. ``at`` is milliseconds UTC; ``details`` are free of secrets.

    ``org`` is the organization in whose audit it is recorded, ``subject`` what was changed ("device 7").
    """

    at: int
    principal: Principal
    address: str
    org: int
    action: str
    subject: str
    details: dict[str, Any]


# Commands to a connected device. Transports translate them; a command that a transport cannot express is dropped.


@attrs.define
class SetDatastream:
    """Set a datastream. ``text`` is the value as on the wire, one string per element."""

    pin: int
    text: tuple[str, ...]


@attrs.define
class SetMetadata:
    """Set a metadata field."""

    name: str
    value: str


@attrs.define
class Redirect:
    """Connect to another server."""

    host: str
    port: int


@attrs.define
class Reboot:
    """Restart."""


@attrs.define
class Reconfigure:
    """Open the provisioning network and wait for new Wi-Fi credentials."""


@attrs.define
class AppConnected:
    """A user started (``present``) or stopped watching the device."""

    present: bool


Command = SetDatastream | SetMetadata | Redirect | Reboot | Reconfigure | AppConnected
