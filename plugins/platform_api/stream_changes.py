"""Changes of the live stream: the hub's facts as JSON objects, which feeds collect, and send in batches."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub import (
    ONLINE,
    AlarmCleared,
    AlarmRaised,
    ChangeMade,
    DataErased,
    Device,
    DeviceAdded,
    DeviceChanged,
    DeviceDeleted,
    EventChanged,
    EventLogged,
    MetadataChanged,
    PropertyChanged,
    Refused,
    StatusChanged,
    TemplateChanged,
    ValueCleared,
    ValueExpired,
    ValueUnconfirmed,
    ValueWritten,
    WireFrame,
)
from hub.api import to_json as body_to_json
from hub.values import to_json
from plugins.platform_api.event_schemas import event_object

if TYPE_CHECKING:
    from hub import Change as AuditedChange
    from hub import Hub, Principal

#: Encodes as `json.dumps` with these separators, without making an encoder each time.
to_text = json.JSONEncoder(separators=(",", ":")).encode
#: The keys of a change whose values are objects by pin ("v1").
_BY_PIN = ("values", "pending", "expired", "properties")


@attrs.define(eq=False)
class Change:
    """A change as the stream's JSON, which subscribers deliver only to clients that may see it.

    They must be allowed to see ``device``, or to read the audit log of ``org``. ``pins`` are the pins of ``device`` of
    which the change has the newest values, written ``by``. ``seq`` is its number, if its feed numbers each change.
    """

    content: dict[str, Any]
    device: Device | None = None
    org: int | None = None
    pins: Sequence[int] = ()
    by: str = ""
    seq: int = 0
    _body: bytes = b""

    @property
    def body(self) -> bytes:
        """The JSON without its opening brace, encoded once."""
        if not self._body:
            self._body = (_values_to_text(self.content) if self.by else to_text(self.content)[1:]).encode()
        return self._body

    def only(self, pins: frozenset[int]) -> Change | None:
        """Return the change without what it has of other pins; None if nothing is left."""
        names = {f"v{pin}" for pin in pins}
        by_pin = {key: self.content[key] for key in _BY_PIN if key in self.content}
        selected = {
            key: {name: value for name, value in values.items() if name in names} for key, values in by_pin.items()
        }
        if selected == by_pin:
            return self
        if not any(selected.values()):
            return None
        content = {key: value for key, value in self.content.items() if key not in by_pin}
        content |= {key: values for key, values in selected.items() if values}
        return attrs.evolve(self, content=content, pins=[pin for pin in self.pins if pin in pins], body=b"")


def _values_to_text(content: dict[str, Any]) -> str:
    """Encode values of one device as `to_text` does, without the opening brace: most changes are such, and this takes a
    third of the time.
    """
    values = ",".join(
        [
            f'"{name}":{value!r}' if type(value) is float or type(value) is int else f'"{name}":{to_text(value)}'
            for name, value in content["values"].items()
        ]
    )
    rest = f'"ts":{content["ts"]},"by":{to_text(content["by"])}'
    if "pending" in content:
        rest += f',"pending":{to_text(content["pending"])}'
    return f'"device":{content["device"]},"values":{{{values}}},{rest}}}'


@attrs.frozen(eq=False)
class Audience:
    """Clients that get the same bytes: they have the same principal, and the same id and selection of a subscription.

    ``head`` is the begin of each message, with the id. ``devices`` and ``pins`` are what they selected; None is all.
    """

    principal: Principal
    head: bytes
    devices: frozenset[int] | None
    pins: frozenset[int] | None

    def select(self, changes: Iterable[Change], may_see: Callable[[Change], bool]) -> Iterator[Change]:
        """Yield those of the changes that the clients selected and may see, without pins that they did not select."""
        for change in changes:
            if self.devices is not None and (change.device is None or change.device.id not in self.devices):
                continue
            selected = change if self.pins is None else change.only(self.pins)
            if selected is not None and may_see(selected):
                yield selected


@attrs.define(eq=False)
class Batch:
    """The changes of one flush; ``seq`` is the number of the last, ``start`` of the last before them.

    ``encoded`` caches their WebSocket frames by audience.
    """

    changes: Sequence[Change]
    start: int
    seq: int
    encoded: dict[Audience, bytes] = attrs.Factory(dict)
    _by_device: dict[int, list[int]] | None = None

    def selected(self, audience: Audience, may_see: Callable[[Change], bool]) -> Iterator[Change]:
        """Yield what an audience gets; one that selected few devices does not look at all changes."""
        changes = self.changes
        if audience.devices is not None and len(audience.devices) < len(changes):
            if self._by_device is None:
                self._by_device = {}
                for index, change in enumerate(changes):
                    if change.device is not None:
                        self._by_device.setdefault(change.device.id, []).append(index)
            by_device = self._by_device
            indexes = sorted(index for device in audience.devices for index in by_device.get(device, ()))
            changes = [changes[index] for index in indexes]
        return audience.select(changes, may_see)


class ValueChanges:
    """Values as changes: one for all values of a device with the same author, in the order of the first of each."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.changes: list[Change] = []
        self._open: dict[int, dict[str, Change]] = {}

    def add_fact(self, fact: ValueWritten) -> None:
        self.add(fact.device, fact.datastream.pin, to_json(fact.value), fact.ts, origin(fact))

    def add(self, device: Device, pin: int, value: Any, ts: int, by: str) -> None:
        """Add a value; ``value`` is JSON."""
        name = f"v{pin}"
        of_device = self._open.setdefault(device.id, {})
        change = of_device.get(by)
        if change is None:
            content = {"device": device.id, "values": {name: value}, "ts": ts, "by": by}
            change = of_device[by] = Change(content, device, None, [pin], by)
            self.changes.append(change)
        else:
            change.content["values"][name] = value
            change.content["ts"] = max(change.content["ts"], ts)
            change.pins.append(pin)  # type: ignore[attr-defined]
        point = device.points.get(pin)
        if point is not None and point.datastream.confirm:
            pending = self._hub.value_timeouts.is_pending(point)
            change.content.setdefault("pending", {})[name] = pending

    def add_other(self, change: Change) -> None:
        """Add a change that is not a value. Values of its device that are added later come after it."""
        if change.device is not None:
            self._open.pop(change.device.id, None)
        self.changes.append(change)


def first_number(hub: Hub) -> int:
    """Return the number before the first of a feed: microseconds since 1970, so that no number comes twice, even after
    a restart.
    """
    return hub.clock.now() * 1000


def origin(fact: ValueWritten) -> str:
    """Return where a value comes from: "device" for one of the device's own, else its ``via``, such as "api"."""
    return "device" if fact.by.kind == "device" and fact.by.id == fact.device.id else fact.via


class ChangeSource(ABC):
    """The facts of a topic, as changes. ``device`` is the subject of topics that are about one device."""

    def __init__(self, hub: Hub, topic: str, device: Device | None) -> None:
        self.device = device
        self._hub = hub
        self._unsubscribe = list(self._subscribe(topic))

    def end(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    @abstractmethod
    def on_value(self, fact: ValueWritten) -> None:
        """Take a value."""

    @abstractmethod
    def add(self, change: Change) -> None:
        """Take any other change."""

    def forget_value(self, device: Device, pin: int) -> None:  # noqa: B027 - not every source holds values back
        """Called before a change that overrides the value that the source may hold back."""

    def _add(self, content: dict[str, Any], device: Device | None = None, org: int | None = None) -> None:
        if device is None or self.device in (None, device):
            self.add(Change(content, device, org))

    def _subscribe(self, topic: str) -> Iterable[Callable[[], None]]:
        """Subscribe to the facts of the topic; yield functions that end this."""
        subscribe, hub = self._hub.subscribe, self._hub
        match topic:
            case "refused":
                yield subscribe(Refused, lambda fact: self._add({"refused": attrs.asdict(fact)}))
            case "alarms":
                yield subscribe(AlarmRaised, lambda fact: self._add({"alarm": attrs.asdict(fact)}))
                yield subscribe(AlarmCleared, lambda fact: self._add({"alarm": {"id": fact.id, "cleared": True}}))
            case "audit":
                yield subscribe(ChangeMade, self._on_change)
            case "wire":
                yield subscribe(WireFrame, self._on_frame)
            case "events":
                yield subscribe(EventLogged, self._on_event)
                yield subscribe(EventChanged, self._on_event)
            case _:
                yield subscribe(ValueWritten, self.on_value, self.device.id if self.device else None)
                yield subscribe(
                    StatusChanged, lambda fact: self._on_status(fact, hub.lifecycle.status_name(fact.device))
                )
                yield subscribe(ValueExpired, self._on_expired)
                yield subscribe(ValueUnconfirmed, self._on_unconfirmed)
                yield subscribe(ValueCleared, lambda fact: self._on_cleared(fact.device, fact.datastream.pin))
                yield subscribe(DataErased, self._on_erased)
                yield subscribe(PropertyChanged, self._on_property)
                yield subscribe(DeviceAdded, lambda fact: self._on_device(fact.device, {"added": True}))
                yield subscribe(DeviceDeleted, lambda fact: self._on_device(fact.device, {"deleted": True}))
                yield subscribe(DeviceChanged, lambda fact: self._on_device(fact.device, _changed(fact.device)))
                yield subscribe(MetadataChanged, self._on_metadata)
                yield subscribe(TemplateChanged, self._on_template)

    def _on_metadata(self, fact: MetadataChanged) -> None:
        # A feed is for all who may view the device: a field for some of the roles is not sent.
        if not self._hub.metadata.has_view_roles(fact.device.template, fact.name):
            self._on_device(fact.device, {"metadata": {fact.name: fact.value}})

    def _on_status(self, fact: StatusChanged, name: str) -> None:
        online = fact.status == ONLINE
        self._on_device(fact.device, {"online": online, "status": name, "ts": fact.at})

    def _on_expired(self, fact: ValueExpired) -> None:
        self._on_device(fact.device, {"expired": {f"v{fact.datastream.pin}": fact.show}})

    def _on_unconfirmed(self, fact: ValueUnconfirmed) -> None:
        self._on_device(fact.device, {"pending": {f"v{fact.datastream.pin}": False}})

    def _on_cleared(self, device: Device, pin: int) -> None:
        self.forget_value(device, pin)
        self._on_device(device, {"values": {f"v{pin}": None}})

    def _on_erased(self, fact: DataErased) -> None:
        for datastream in fact.datastreams:
            self._on_cleared(fact.device, datastream.pin)

    def _on_property(self, fact: PropertyChanged) -> None:
        self._on_device(fact.device, {"properties": {f"v{fact.datastream.pin}": {fact.property: list(fact.value)}}})

    def _on_device(self, device: Device, content: dict[str, Any]) -> None:
        self._add({"device": device.id, **content}, device)

    def _on_template(self, fact: TemplateChanged) -> None:
        device = self.device
        if device is not None and device.template.id == fact.template.id:
            self._on_device(device, {"template": fact.template.id, "version": device.template.version})

    def _on_event(self, fact: EventLogged | EventChanged) -> None:
        content: dict[str, Any] = {"event": body_to_json(event_object(fact.event, fact.device.org))}
        if isinstance(fact, EventLogged):
            content["notify"] = fact.notify
        self._on_device(fact.device, content)

    def _on_frame(self, fact: WireFrame) -> None:
        self._add({"wire": {"at": fact.at, "direction": fact.direction, "text": fact.text}}, fact.device)

    def _on_change(self, fact: ChangeMade) -> None:
        self._add({"change": _change_object(fact.change)}, org=fact.change.org)


def _changed(device: Device) -> dict[str, Any]:
    """Return what can change about a device, as the stream's JSON."""
    return {
        "changed": {
            "name": device.name,
            "orgId": device.org,
            "ownerUserId": device.owner,
            "templateVersion": device.template.version,
        }
    }


def _change_object(change: AuditedChange) -> dict[str, Any]:
    """Return a change of the audit log as the stream's JSON."""
    return {
        "at": change.at,
        "who": change.principal.actor_id,
        "org": change.org,
        "action": change.action,
        "subject": change.subject,
        "details": body_to_json(change.details),
    }
