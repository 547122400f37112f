"""Templates: datastreams, events, metadata and the lifecycle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs

from hub.model.dashboards import Dashboard, MobileDashboard
from hub.model.principals import ROOT_ORG
from hub.parsing.spellings import nfc

#: The value of a datastream. A tuple is a multi-value array; a location is ``(longitude, latitude)``.
Scalar = int | float | str
Value = Scalar | tuple[Scalar, ...]
DataType = Literal["integer", "double", "string", "enum", "location"]
#: The history of a datastream: none, averages of minutes, or every value.
HistoryMode = Literal["off", "minute", "raw"]
#: The beginning of the name of a property group: tags of datastreams follow, separated by semicolons.
GROUP = "tag:"
#: A system of units.
System = Literal["metric", "imperial"]
EventKind = Literal["info", "warning", "critical", "content"]
#: The statuses of every lifecycle; templates define more.
ONLINE, OFFLINE = "online", "offline"
#: How an expired value is displayed (docs.blynk.io, Invalidate value).
Show = Literal["Nothing", "Default", "No Data", "Empty", "--"]


def _nfc_each(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(nfc, names))


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
    tags: tuple[str, ...] = attrs.field(default=(), converter=_nfc_each)
    icon: str = ""
    color: str = ""


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
    web: Dashboard = attrs.Factory(Dashboard)
    mobile: MobileDashboard = attrs.Factory(MobileDashboard)

    def pin_of(self, name: str) -> int | None:
        """Return the pin of a datastream by pin (``V1``, ``v1``), name or property group; None if there is none.

        The property group ``tag:Temperature C`` is the datastream with that tag (docs.blynk.io, Semantic tags), and
        ``tag:Temperature C;Outside`` the one with both. Of several, the one with the fewest tags counts, then the first
        pin.
        """
        streams = self.datastreams
        pins = [stream.pin for stream in streams if f"v{stream.pin}" == name.lower()]
        pins += [stream.pin for stream in streams if stream.name == nfc(name)]
        if not pins and name.startswith(GROUP):
            tags = {tag.strip() for tag in nfc(name).removeprefix(GROUP).split(";")}
            group = [stream for stream in streams if tags.issubset(stream.tags)]
            pins = [stream.pin for stream in sorted(group, key=lambda stream: (len(stream.tags), stream.pin))]
        return pins[0] if pins else None
