"""The nouns of the platform, in Blynk's words. Plain values: no behaviour that needs the hub."""

from __future__ import annotations

from typing import Literal

import attrs

#: What a datastream holds. A tuple is a multi-value array; a location is ``(longitude, latitude)``.
Scalar = int | float | str
Value = Scalar | tuple[Scalar, ...]

DataType = Literal["integer", "double", "string", "enum", "location"]
#: How much of what a datastream held is kept: nothing, its minutes, or every value.
HistoryMode = Literal["off", "minute", "raw"]
EventKind = Literal["info", "warning", "critical", "content"]

#: The organization everything belongs to until there are others.
ROOT_ORG = 1


@attrs.frozen(kw_only=True)
class Organization:
    id: int
    name: str
    parent: int | None = None
    timezone: str | None = None


@attrs.frozen(kw_only=True)
class Datastream:
    """One value that a device of the template has. ``id`` is unique in its template, ``pin`` 0..255."""

    id: int
    pin: int
    name: str
    type: DataType = "double"
    units: str = ""
    min: float | None = None
    max: float | None = None
    decimals: str = ""
    default: Value | None = None
    history: HistoryMode = "raw"
    #: A duration; "" is the hub's own.
    retain_raw: str = ""
    sync: bool = False
    values: dict[int, str] = attrs.Factory(dict)
    fallback: int | None = None


@attrs.frozen(kw_only=True)
class EventType:
    """What a device may log under ``code``."""

    code: str
    name: str
    type: EventKind = "info"
    description: str = ""


@attrs.frozen(kw_only=True)
class MetadataField:
    name: str
    default: str = ""


@attrs.frozen(kw_only=True)
class Template:
    """What devices of one product have in common. ``id`` is what the firmware has as ``BLYNK_TEMPLATE_ID``."""

    id: str
    org: int = ROOT_ORG
    name: str
    hardware: str = ""
    connection: str = ""
    datastreams: tuple[Datastream, ...] = ()
    events: tuple[EventType, ...] = ()
    metadata: tuple[MetadataField, ...] = ()


@attrs.define(kw_only=True, eq=False)
class Point:
    """Where a device's datastream is kept: ``series`` keys its latest value and its history."""

    series: int
    datastream: Datastream
    device: Device = attrs.field(repr=False)


@attrs.define(kw_only=True, eq=False)
class Device:
    """A device as the running hub knows it. ``points`` is keyed by pin."""

    id: int
    org: int
    name: str
    template: Template = attrs.field(repr=lambda template: template.id)
    created: int
    activated: int | None = None
    firmware: dict[str, str] = attrs.Factory(dict)
    connected: int | None = None
    disconnected: int | None = None
    #: Where it is, as an IANA name; "" is where the organization is.
    timezone: str = ""
    points: dict[int, Point] = attrs.field(factory=dict, repr=False)

    def point(self, datastream: int) -> Point | None:
        """The point of a datastream id."""
        return next((p for p in self.points.values() if p.datastream.id == datastream), None)


@attrs.frozen(kw_only=True)
class TimelineEvent:
    """``ts`` and ``resolved`` are milliseconds UTC."""

    id: int
    device: int
    ts: int
    code: str
    type: str
    name: str
    description: str
    resolved: int | None = None


@attrs.frozen
class Principal:
    """Who is asking: ``kind`` is ``local`` (the command on this machine), ``device``, or a plugin's own word."""

    kind: str
    id: int | str = ""
    org: int = ROOT_ORG
    label: str = ""


#: The key in ``<data>/local.key``: whoever can read that file may do everything.
LOCAL = Principal("local", label="local key")
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
class AppConnected:
    """Somebody started (``present``) or stopped watching the device."""

    present: bool


Command = SetDatastream | SetMetadata | Redirect | Reboot | AppConnected
