"""Facts: what has happened in the hub, a class each. ``hub.subscribe(Fact, fn)`` and `hub_event` receive them.

(Blynk calls what a device logs an "event", so what the hub emits is a fact.) Facts are emitted synchronously, in the
order in which they happen. Unless a fact's docstring says otherwise, it is emitted after the commit that made it
durable. Stamps are milliseconds UTC.
"""

from __future__ import annotations

import attrs

from hub.history import Receipt
from hub.model import (
    SYSTEM,
    Change,
    Datastream,
    Device,
    Organization,
    Principal,
    Template,
    TimelineEvent,
    Value,
)
from hub.storage.stamp_correction import Correction


class Fact:
    """Base of all facts. A subscriber must not change a fact, nor keep it."""

    __slots__ = ()


# -- values -----------------------------------------------------------------------------------------------------------


@attrs.define
class ValueWritten(Fact):
    """A value was accepted, from a device or for it. Emitted before the commit: it is in memory only.

    A subscriber that acts outside the hub on a value, such as sending a message, awaits ``receipt.durable()`` first;
    without a receipt the value is durable already. ``via`` is the transport ("native", "mqtt", "http" …), or
    "confirmation" for a value that is restored because the device did not confirm the next one; ``by`` is the author.
    ``latest`` is False for a value older than the datastream's latest one.
    """

    device: Device
    datastream: Datastream
    value: Value
    ts: int
    via: str
    latest: bool = True
    receipt: Receipt | None = None
    by: Principal = SYSTEM


@attrs.frozen
class ValueSet(Fact):
    """A principal other than the device wrote a value. Emitted besides `ValueWritten`, and before the commit too."""

    device: Device
    datastream: Datastream
    value: Value
    ts: int
    via: str
    by: Principal
    receipt: Receipt


@attrs.frozen
class ValueExpired(Fact):
    """No value followed a datastream's latest one in time: it is displayed as ``show`` now. Nothing is stored."""

    device: Device
    datastream: Datastream
    show: str


@attrs.frozen
class ValueUnconfirmed(Fact):
    """The device did not confirm a datastream's latest value in time, and the value stays: there was no value before
    it, or storage did not accept the restored one. Nothing is stored.
    """

    device: Device
    datastream: Datastream


@attrs.frozen
class ValueCleared(Fact):
    """A datastream has no latest value any more, until it is written again."""

    device: Device
    datastream: Datastream


@attrs.frozen
class DataErased(Fact):
    """The latest values and the history of these datastreams of a device were erased."""

    device: Device
    datastreams: tuple[Datastream, ...]
    by: Principal


@attrs.frozen
class PropertyChanged(Fact):
    """A property of a datastream on a device, such as its label, was set; ``value`` is empty when it was erased."""

    device: Device
    datastream: Datastream
    property: str
    value: tuple[str, ...]


# -- devices ----------------------------------------------------------------------------------------------------------


@attrs.frozen
class DeviceConnected(Fact):
    """A device that had no session has one. A session that replaces another of the same device emits nothing."""

    device: Device
    via: str
    address: str


@attrs.frozen
class DeviceDisconnected(Fact):
    """A device's session ended, ``silent`` seconds after its last message. The device is not offline yet: it may return
    before `StatusChanged` says so.
    """

    device: Device
    reason: str
    silent: float = 0.0


@attrs.frozen
class StatusChanged(Fact):
    """A device's lifecycle status changed to online, offline, or a status of its template, at the stamp ``at``.

    Emitted before the commit.
    """

    device: Device
    status: str
    at: int


@attrs.frozen
class DeviceInfo(Fact):
    """A device reported its firmware: ``device.firmware`` has the pairs of its info message."""

    device: Device


@attrs.frozen
class DeviceAdded(Fact):
    """A device was added."""

    device: Device
    by: Principal


@attrs.frozen
class DeviceChanged(Fact):
    """A device's name, organization, owner, token, or the version of its template changed."""

    device: Device
    by: Principal


@attrs.frozen
class DeviceDeleted(Fact):
    """A device was deleted, with its tokens and its history."""

    device: Device
    by: Principal


@attrs.frozen
class MetadataChanged(Fact):
    """A metadata field of a device was set."""

    device: Device
    name: str
    value: str
    by: Principal


@attrs.frozen
class EventLogged(Fact):
    """An event was logged for a device and is on its timeline, unless its id is 0.

    ``notify`` is whether users are to be notified: the event type has notifications, and its limits (``every``,
    ``period``) allow one now. It was decided, and counted, in the transaction that recorded the event.
    """

    device: Device
    event: TimelineEvent
    notify: bool


@attrs.frozen
class EventResolved(Fact):
    """``count`` open events with a code were resolved at once."""

    device: Device
    code: str
    count: int


@attrs.frozen
class EventChanged(Fact):
    """An event was commented on, resolved or archived."""

    device: Device
    event: TimelineEvent


@attrs.frozen
class WireFrame(Fact):
    """A frame was decoded or encoded, secrets redacted; emitted only while the device's wire is watched.

    ``direction`` is "in" from the device and "out" to it. Nothing is stored.
    """

    device: Device
    at: int
    direction: str
    text: str


# -- organizations, templates, rights ---------------------------------------------------------------------------------


@attrs.frozen
class OrganizationChanged(Fact):
    """An organization was added, changed or, when it is ``gone``, deleted."""

    organization: Organization
    by: Principal
    gone: bool = False


@attrs.frozen
class RightsChanged(Fact):
    """Permissions changed: who serves a principal over a longer time must check its permissions again."""


@attrs.frozen
class TemplateChanged(Fact):
    """A template was added, or has a new version."""

    template: Template
    by: Principal


@attrs.frozen
class TemplateDeleted(Fact):
    """A template was deleted."""

    template: Template
    by: Principal


@attrs.frozen
class ChangeMade(Fact):
    """A request changed something, and every plugin has recorded it (`hub_changed`)."""

    change: Change


# -- the hub itself ---------------------------------------------------------------------------------------------------


@attrs.frozen
class Refused(Fact):
    """A connection, message or request was rejected. ``reason`` holds no secret. Nothing is stored."""

    at: int
    address: str
    reason: str
    device: int | None = None


@attrs.frozen
class PluginFailed(Fact):
    """A plugin failed; emitted once in an hour for the same reason. Nothing is stored."""

    plugin: str
    reason: str


@attrs.frozen
class AlarmRaised(Fact):
    """Something is wrong with the hub; ``critical`` when it cannot keep its promises. Nothing is stored."""

    id: str
    text: str
    critical: bool


@attrs.frozen
class AlarmCleared(Fact):
    """An alarm is over."""

    id: str


@attrs.frozen
class ClockRepaired(Fact):
    """Stamps of a wrong clock were corrected in the configuration file.

    Emitted after that commit and before the next stamp is given: subscribers correct the stamps that they have in
    memory. The values of the history are corrected afterwards.
    """

    correction: Correction


@attrs.frozen
class StorageTrouble(Fact):
    """Values cannot be written to the history; ``problem`` is None when they can be again."""

    problem: str | None
