"""Feeds of the live stream: the hub's facts, coalesced, numbered and encoded once for all clients that want the same.

Theory of operation
===================

A `Feed` is named by its `FeedKey`: a topic, for some topics a device, and whether it carries every value or only the
latest ones. The first subscription to a key makes the feed, which then subscribes to the facts of its topic.

=======  ======================================  =====================================================================
step     done by                                 effect
=======  ======================================  =====================================================================
collect  the feed, called by the bus while a     The fact is queued as a message. A latest value replaces the one of
         service of the hub emits a fact         the same device and pin that still waits.
wake     the feed                                It is marked as dirty, and `Feeds.run` wakes up.
flush    `Feeds.run`, the only task, for each    All queued messages become one batch, followed by the latest values
         dirty feed                              that are due: one message for each device.
deliver  each subscriber, called with the batch  It sends the batch, or defers it for a slow client: see
                                                 `plugins.platform_api.stream`.
=======  ======================================  =====================================================================

Coalescing: messages with a value of the same pin are at least `MIN_GAP` apart, and each has the newest value; imported
values of the past are ignored. Nothing else is coalesced: a feed with ``every`` queues all values, and all feeds queue
all other facts.

Pacing: delivery may use `CPU_SHARE` of a core (see `_CpuBudget`). Beyond it the next flush waits for up to `MAX_DELAY`
seconds, so that it delivers more at once.

Loss: while `MAX_QUEUED` messages wait for a flush, each new one drops the oldest. The next batch then begins with
``{"lagged": N}``.

Resuming: messages are numbered (``seq``) within their feed, and no number is used twice, even after a restart. The
last `REPLAY_LENGTH` messages are kept. A client that names the last number it received gets the messages that followed,
if all of them are still there; otherwise it has only the snapshot that every subscription begins with.

Lifetime: a feed is *watched* while it has subscribers. Then it *lingers* for `LINGER` seconds, so that clients can
resume, and ends; a new subscription makes it watched again. At most `MAX_LINGERING` feeds linger, and the oldest ends
first. A feed of the topic "wire" ends at once, because each frame of its device is decoded to text for it.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import (
    ONLINE,
    AlarmCleared,
    AlarmRaised,
    ChangeMade,
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
    ValueWritten,
    WireFrame,
)
from hub.api import to_json as body_to_json
from hub.values import to_json
from plugins.platform_api.event_schemas import event_object

if TYPE_CHECKING:
    from hub import Change, Hub

#: Seconds between two messages with a value of the same pin.
MIN_GAP = 0.05
#: Share of a core that delivery may use; CPU seconds that it may use in a burst before it has to wait; and the longest
#: wait, in seconds.
CPU_SHARE, CPU_BURST, MAX_DELAY = 0.1, 0.02, 0.04
#: Messages of a feed that are kept for clients that resume.
REPLAY_LENGTH = 2_000
#: Seconds that a feed stays without subscribers, and how many such feeds may stay.
LINGER, MAX_LINGERING = 60.0, 100
#: Seconds between two searches for feeds that have lingered long enough.
SWEEP_INTERVAL = 10.0
#: Messages of a feed that wait for its next flush.
MAX_QUEUED = 10_000


@attrs.frozen
class FeedMessage:
    """A message of a feed.

    ``body`` is its JSON without the opening brace: each subscription puts its own id in front. Subscribers deliver it
    only to clients that may see ``device``, or may read the audit log of ``org``. ``pins`` are those of ``device`` that
    it has values of.
    """

    seq: int
    body: bytes
    device: Device | None = None
    org: int | None = None
    pins: tuple[int, ...] = ()


@attrs.frozen
class FeedKey:
    """The subject of a feed. ``device`` is the id of a device, for feeds of one device.

    ``every`` feeds carry all values, others only the latest ones.
    """

    topic: str
    device: int | None = None
    every: bool = False


@attrs.define(eq=False)
class FeedBatch:
    """The messages of one flush. ``encoded`` caches their WebSocket frames by audience: clients that get the same."""

    messages: Sequence[FeedMessage]
    encoded: dict[Any, bytes] = attrs.Factory(dict)


#: Called with the messages of each flush.
Subscriber = Callable[[FeedBatch], None]


class Feed:
    """One feed; ``wake`` is called whenever it has something to flush."""

    def __init__(self, hub: Hub, key: FeedKey, device: Device | None, wake: Callable[[Feed], None]) -> None:
        self.key = key
        #: The device of a feed of one device.
        self.device = device
        self.subscribers: list[Subscriber] = []
        self.replay: deque[FeedMessage] = deque(maxlen=REPLAY_LENGTH)
        # Microseconds since 1970: no number comes twice, even after a restart.
        self.seq = hub.clock.now() * 1000
        self.first_seq = self.seq + 1
        self._hub = hub
        self._wake = wake
        self._queue: deque[tuple[dict[str, Any], Device | None, int | None, tuple[int, ...]]] = deque()
        self._dropped = 0
        #: Latest values that wait, and when (by the monotonic clock) the last one was flushed; by (device id, pin).
        self._changed: dict[tuple[int, int], ValueWritten] = {}
        self._flushed_at: dict[tuple[int, int], float] = {}
        self._unsubscribe = list(self._subscribe())

    def end(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def _subscribe(self) -> Iterable[Callable[[], None]]:
        """Subscribe to the facts of the topic; yield functions that end this."""
        subscribe, hub = self._hub.subscribe, self._hub
        match self.key.topic:
            case "refused":
                yield subscribe(Refused, lambda fact: self._enqueue({"refused": attrs.asdict(fact)}))
            case "alarms":
                yield subscribe(AlarmRaised, lambda fact: self._enqueue({"alarm": attrs.asdict(fact)}))
                yield subscribe(AlarmCleared, lambda fact: self._enqueue({"alarm": {"id": fact.id, "cleared": True}}))
            case "audit":
                yield subscribe(ChangeMade, self._on_change)
            case "wire":
                yield subscribe(WireFrame, self._on_frame)
            case "events":
                yield subscribe(EventLogged, self._on_event)
                yield subscribe(EventChanged, self._on_event)
            case _:
                yield subscribe(ValueWritten, self._on_value, self.key.device)
                yield subscribe(
                    StatusChanged, lambda fact: self._on_status(fact, hub.lifecycle.status_name(fact.device))
                )
                yield subscribe(ValueExpired, self._on_expired)
                yield subscribe(ValueCleared, self._on_cleared)
                yield subscribe(PropertyChanged, self._on_property)
                yield subscribe(DeviceAdded, lambda fact: self._on_device(fact.device, {"added": True}))
                yield subscribe(DeviceDeleted, lambda fact: self._on_device(fact.device, {"deleted": True}))
                yield subscribe(DeviceChanged, lambda fact: self._on_device(fact.device, _changed(fact.device)))
                yield subscribe(
                    MetadataChanged, lambda fact: self._on_device(fact.device, {"metadata": {fact.name: fact.value}})
                )
                yield subscribe(TemplateChanged, self._on_template)

    # -- collect --------------------------------------------------------------------------------------------------

    def _enqueue(
        self, message: dict[str, Any], device: Device | None = None, org: int | None = None, pins: tuple[int, ...] = ()
    ) -> None:
        if device is None or self.device in (None, device):
            if len(self._queue) >= MAX_QUEUED:
                self._queue.popleft()
                self._dropped += 1
            self._queue.append((message, device, org, pins))
            self._wake(self)

    def _on_value(self, fact: ValueWritten) -> None:
        pin = fact.datastream.pin
        if self.key.every:
            values = {f"v{pin}": to_json(fact.value)}
            self._enqueue({"device": fact.device.id, "values": values, "ts": fact.ts}, fact.device, None, (pin,))
        elif fact.latest:
            self._changed[fact.device.id, pin] = fact
            self._wake(self)

    def _on_status(self, fact: StatusChanged, name: str) -> None:
        online = fact.status == ONLINE
        self._enqueue({"device": fact.device.id, "online": online, "status": name, "ts": fact.at}, fact.device)

    def _on_expired(self, fact: ValueExpired) -> None:
        self._enqueue({"device": fact.device.id, "expired": {f"v{fact.datastream.pin}": fact.show}}, fact.device)

    def _on_cleared(self, fact: ValueCleared) -> None:
        self._changed.pop((fact.device.id, fact.datastream.pin), None)
        self._enqueue({"device": fact.device.id, "values": {f"v{fact.datastream.pin}": None}}, fact.device)

    def _on_property(self, fact: PropertyChanged) -> None:
        properties = {f"v{fact.datastream.pin}": {fact.property: list(fact.value)}}
        self._enqueue({"device": fact.device.id, "properties": properties}, fact.device)

    def _on_device(self, device: Device, change: dict[str, Any]) -> None:
        self._enqueue({"device": device.id, **change}, device)

    def _on_template(self, fact: TemplateChanged) -> None:
        device = self.device
        if device is not None and device.template.id == fact.template.id:
            self._on_device(device, {"template": fact.template.id, "version": device.template.version})

    def _on_event(self, fact: EventLogged | EventChanged) -> None:
        message: dict[str, Any] = {"device": fact.device.id}
        message["event"] = body_to_json(event_object(fact.event, fact.device.org))
        if isinstance(fact, EventLogged):
            message["notify"] = fact.notify
        self._enqueue(message, fact.device)

    def _on_frame(self, fact: WireFrame) -> None:
        self._enqueue({"wire": {"at": fact.at, "direction": fact.direction, "text": fact.text}}, fact.device)

    def _on_change(self, fact: ChangeMade) -> None:
        self._enqueue({"change": _change_object(fact.change)}, org=fact.change.org)

    # -- flush ----------------------------------------------------------------------------------------------------

    def flush(self) -> float:
        """Deliver what is due; return when more will be due, by the monotonic clock (infinity: nothing waits)."""
        now, flushed_at = self._hub.clock.monotonic(), self._flushed_at
        due = {key for key in self._changed if flushed_at.get(key, 0.0) + MIN_GAP <= now}
        next_at = min((flushed_at[key] + MIN_GAP for key in self._changed if key not in due), default=float("inf"))
        if not due and not self._queue:
            return next_at
        messages = [self._message({"lagged": self._dropped}, None, None)] if self._dropped else []
        messages += [self._message(*queued) for queued in self._queue]
        self._dropped = 0
        self._queue.clear()
        by_device: dict[int, tuple[Device, dict[str, Any], list[int]]] = {}
        # In the order of the changes.
        for key in [key for key in self._changed if key in due]:
            fact = self._changed.pop(key)
            self._flushed_at[key] = now
            _, message, pins = by_device.setdefault(key[0], (fact.device, {"device": key[0], "values": {}}, []))
            message["values"][f"v{key[1]}"] = to_json(fact.value)
            message["ts"] = fact.ts
            pins.append(key[1])
        messages += [self._message(message, device, None, tuple(pins)) for device, message, pins in by_device.values()]
        if len(self._flushed_at) > REPLAY_LENGTH:
            self._flushed_at = {key: at for key, at in self._flushed_at.items() if at + MIN_GAP > now}
        self.replay += messages
        batch = FeedBatch(messages)
        for subscriber in tuple(self.subscribers):
            subscriber(batch)
        return next_at

    def _message(
        self, message: dict[str, Any], device: Device | None, org: int | None, pins: tuple[int, ...] = ()
    ) -> FeedMessage:
        self.seq += 1
        return FeedMessage(self.seq, f'"seq":{self.seq},{json.dumps(message)[1:]}'.encode(), device, org, pins)

    def after(self, seq: int) -> list[FeedMessage] | None:
        """Return the messages after number ``seq``; None if one of them is no longer kept, or ``seq`` never was."""
        oldest = self.replay[0].seq if self.replay else self.seq + 1
        if not max(self.first_seq, oldest) - 1 <= seq <= self.seq:
            return None
        return [message for message in self.replay if message.seq > seq]


class Feeds:
    """All feeds: the watched ones, and those that linger."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._feeds: dict[FeedKey, Feed] = {}
        #: When a lingering feed lost its last subscriber, by the monotonic clock; the oldest first.
        self._lingering: dict[FeedKey, float] = {}
        self._dirty: dict[Feed, None] = {}
        self._wake = trio.Event()

    def subscribe(self, key: FeedKey, device: Device | None, subscriber: Subscriber) -> Feed:
        """Add a subscriber to a feed, which is made if need be."""
        self._sweep()
        feed = self._feeds.get(key)
        if feed is not None and feed.device is not device:
            # That device was deleted, and this one has its id.
            self._end(key)
            feed = None
        if feed is None:
            feed = self._feeds[key] = Feed(self._hub, key, device, self._mark_dirty)
        self._lingering.pop(key, None)
        feed.subscribers.append(subscriber)
        return feed

    def unsubscribe(self, feed: Feed, subscriber: Subscriber) -> None:
        """Remove a subscriber; after the last one the feed lingers, or ends if its topic is "wire"."""
        feed.subscribers.remove(subscriber)
        if feed.subscribers or self._feeds.get(feed.key) is not feed:
            return
        if feed.key.topic == "wire":
            # Encoding frames for nobody costs too much.
            self._end(feed.key)
            return
        self._lingering[feed.key] = self._hub.clock.monotonic()
        self._sweep()

    def _sweep(self) -> None:
        """End feeds that have lingered for too long, and the oldest if there are too many."""
        now = self._hub.clock.monotonic()
        surplus = len(self._lingering) - MAX_LINGERING
        for number, (key, since) in enumerate(tuple(self._lingering.items())):
            if number < surplus or since + LINGER < now:
                self._end(key)

    def _end(self, key: FeedKey) -> None:
        self._lingering.pop(key, None)
        if (feed := self._feeds.pop(key, None)) is not None:
            feed.end()
            self._dirty.pop(feed, None)

    def _mark_dirty(self, feed: Feed) -> None:
        self._dirty[feed] = None
        self._wake.set()

    async def run(self) -> None:
        """Flush dirty feeds, until cancelled: at once as long as the CPU budget allows."""
        monotonic = self._hub.clock.monotonic
        next_at, budget = monotonic(), _CpuBudget(monotonic)
        while True:
            with trio.move_on_after(max(0.0, next_at - monotonic())):
                await self._wake.wait()
            if (pause := budget.resume_at - monotonic()) > 0:
                await trio.sleep(pause)
            self._wake = trio.Event()
            began = time.thread_time()
            dirty, self._dirty = list(self._dirty), {}
            next_at = monotonic() + SWEEP_INTERVAL
            for feed in dirty:
                due_at = feed.flush()
                if due_at < float("inf"):
                    self._dirty[feed] = None
                    next_at = min(next_at, due_at)
            self._sweep()
            budget.charge(time.thread_time() - began)


class _CpuBudget:
    """A budget of `CPU_SHARE` of a core: each CPU second that is used is paid off in 1 / `CPU_SHARE` seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._paid_at = monotonic()

    @property
    def resume_at(self) -> float:
        """When work may go on, by the monotonic clock: as soon as no more than `CPU_BURST` is unpaid."""
        return self._paid_at - CPU_BURST / CPU_SHARE

    def charge(self, seconds: float) -> None:
        """Charge CPU seconds that were used; the next pause is not longer than `MAX_DELAY`."""
        now = self._monotonic()
        self._paid_at = min(max(self._paid_at, now) + seconds / CPU_SHARE, now + CPU_BURST / CPU_SHARE + MAX_DELAY)


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


def _change_object(change: Change) -> dict[str, Any]:
    """Return a change of the audit log as the stream's JSON."""
    return {
        "at": change.at,
        "who": change.principal.actor_id,
        "org": change.org,
        "action": change.action,
        "subject": change.subject,
        "details": body_to_json(change.details),
    }
