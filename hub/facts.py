"""Everything that can have happened, a class each. ``hub.subscribe(Fact, fn)`` and ``hub_event`` receive them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from hub.model import Datastream, Device, Organization, Principal, Template, TimelineEvent, Value
from hub.stamps import Correction

if TYPE_CHECKING:
    from hub.api.routes import Change


class Fact:
    """Base of all facts. A subscriber must not change or keep one."""

    __slots__ = ()


@attrs.define
class ValueWritten(Fact):
    """A value was accepted. It is in memory, and on disk after the next commit. ``ts`` is milliseconds UTC."""

    device: Device
    datastream: Datastream
    value: Value
    ts: int
    via: str
    latest: bool = True


@attrs.frozen
class ValueSet(Fact):
    """Somebody else than a device wrote a value, as `ValueWritten` also tells."""

    device: Device
    datastream: Datastream
    value: Value
    ts: int
    via: str
    by: Principal


@attrs.frozen
class PropertyChanged(Fact):
    """``value`` is empty when the property was erased."""

    device: Device
    datastream: Datastream
    property: str
    value: tuple[str, ...]


@attrs.frozen
class MetadataChanged(Fact):
    device: Device
    name: str
    value: str
    by: Principal


@attrs.frozen
class DeviceConnected(Fact):
    """A device has a connection that had none. A session that replaces another of the same device tells nothing."""

    device: Device
    via: str
    address: str


@attrs.frozen
class DeviceDisconnected(Fact):
    """A connection ended, ``silent`` seconds after anything came; the device may be back before it is offline."""

    device: Device
    reason: str
    silent: float = 0.0


@attrs.frozen
class DeviceInfo(Fact):
    """The device told what it runs: its info message as key and value."""

    device: Device


@attrs.frozen
class DeviceAdded(Fact):
    device: Device
    by: Principal


@attrs.frozen
class DeviceChanged(Fact):
    device: Device
    by: Principal


@attrs.frozen
class DeviceDeleted(Fact):
    device: Device
    by: Principal


@attrs.frozen
class DataErased(Fact):
    """What these datastreams of a device held is gone for good."""

    device: Device
    datastreams: tuple[Datastream, ...]
    by: Principal


@attrs.frozen
class OrganizationChanged(Fact):
    """An organization was added, changed or, when it is ``gone``, deleted."""

    organization: Organization
    by: Principal
    gone: bool = False


@attrs.frozen
class RightsChanged(Fact):
    """Who may do what has changed: whoever keeps something open for somebody asks again whether they may."""


@attrs.frozen
class TemplateChanged(Fact):
    template: Template
    by: Principal


@attrs.frozen
class TemplateDeleted(Fact):
    template: Template
    by: Principal


@attrs.frozen
class EventLogged(Fact):
    device: Device
    event: TimelineEvent


@attrs.frozen
class EventResolved(Fact):
    device: Device
    code: str
    count: int


@attrs.frozen
class EventChanged(Fact):
    """Somebody commented on an event, resolved or archived it."""

    device: Device
    event: TimelineEvent


@attrs.frozen
class StatusChanged(Fact):
    """A device is something else in its lifecycle: online, offline, or a status of its template's own."""

    device: Device
    status: str
    at: int


@attrs.frozen
class ValueExpired(Fact):
    """Nothing came for a value for so long that it is shown as ``show``."""

    device: Device
    datastream: Datastream
    show: str


@attrs.frozen
class ValueCleared(Fact):
    """A datastream holds nothing any more, until it is written again."""

    device: Device
    datastream: Datastream


@attrs.frozen
class Refused(Fact):
    """Somebody was turned away, or something they sent was. ``at`` is milliseconds UTC; no secret is in here."""

    at: int
    address: str
    reason: str
    device: int | None = None


@attrs.frozen
class WireFrame(Fact):
    """One decoded frame, secrets masked; told only while somebody watches the device's wire."""

    device: Device
    at: int
    direction: str
    text: str


@attrs.frozen
class PluginFailed(Fact):
    plugin: str
    reason: str


@attrs.frozen
class ChangeMade(Fact):
    """Somebody changed something through a route, and it was put down."""

    change: Change


@attrs.frozen
class AlarmRaised(Fact):
    """Something is wrong with the hub; ``critical`` when promises cannot be kept."""

    id: str
    text: str
    critical: bool


@attrs.frozen
class AlarmCleared(Fact):
    id: str


@attrs.frozen
class ClockRepaired(Fact):
    """Stamps of a wrong clock were corrected in the configuration file; what is in memory is to be corrected likewise.

    Emitted after the commit, before the next stamp is given. Values in the history follow.
    """

    correction: Correction


@attrs.frozen
class StorageTrouble(Fact):
    """``problem`` is None when it is over."""

    problem: str | None
