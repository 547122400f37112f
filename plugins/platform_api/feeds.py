"""What happens, collected and encoded once for all who watch the same: coalesced, numbered, and kept for a short while.

A feed is of everything or of one device, with every change or the newest. Who came back after a short loss gets what
came meanwhile; a client that is slower than what happens gets the newest when it is ready.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub.api import to_json as plain
from hub.facts import (
    AlarmCleared,
    AlarmRaised,
    ChangeMade,
    EventChanged,
    EventLogged,
    PropertyChanged,
    Refused,
    StatusChanged,
    ValueCleared,
    ValueExpired,
    ValueWritten,
    WireFrame,
)
from hub.model import ONLINE, Device
from hub.values import to_json
from plugins.platform_api.events import event_shown

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.model import Change

#: Seconds between two changes of one value.
MIN_GAP = 0.05
#: Share of a core that telling everybody at once may take; beyond it, what happens is gathered for some milliseconds.
SHARE = 0.1
#: Seconds that it may be gathered at most, and of telling that are not held against anybody: a burst is told at once.
MAX_GATHERED, BURST = 0.04, 0.02
#: What is kept of a feed for those who come back, and for how many seconds after the last one has left.
KEPT, LINGER = 2_000, 60.0
#: Feeds that nobody watches at the moment, and seconds between two looks for those whose time is over.
MAX_LINGERING, LOOK_EVERY = 100, 10.0
#: Messages that wait to be told.
MAX_OUT = 10_000


@attrs.frozen
class Item:
    """One message of a feed: ``body`` is JSON behind the opening brace and whose subscription it is.

    It is for those who may see the ``device``, or what happens in ``org``. ``pins`` are those it has new values of.
    """

    seq: int
    body: bytes
    device: Device | None = None
    org: int | None = None
    pins: tuple[int, ...] = ()


@attrs.frozen
class Key:
    """What a feed is of: ``device`` is one's id where it is of one."""

    what: str
    device: int | None = None
    every: bool = False


@attrs.define(eq=False)
class Batch:
    """Items of one moment, and what of them is encoded already, by who hears it."""

    items: Sequence[Item]
    encoded: dict[Any, bytes] = attrs.Factory(dict)


#: Who hears of new items.
Listener = Callable[[Batch], None]


class Feed:
    """``wake`` is called when there is something to flush."""

    def __init__(self, hub: Hub, key: Key, only: Device | None, wake: Callable[[Feed], None]) -> None:
        self.key = key
        self.listeners: list[Listener] = []
        self.kept: deque[Item] = deque(maxlen=KEPT)
        # Never a number that there was before, also not before a restart.
        self.seq = hub.clock.now() * 1000
        self.first = self.seq + 1
        self._hub = hub
        self._only = only
        self._wake = wake
        self._out: deque[tuple[dict[str, Any], Device | None, int | None, tuple[int, ...]]] = deque()
        self._lost = 0
        #: Newest value not yet sent, and when the last was, by (device, pin).
        self._changed: dict[tuple[int, int], ValueWritten] = {}
        self._sent: dict[tuple[int, int], float] = {}
        self._ends = list(self._listen())

    def end(self) -> None:
        for end in self._ends:
            end()

    def _listen(self) -> Iterable[Callable[[], None]]:
        on, hub = self._hub.subscribe, self._hub
        match self.key.what:
            case "refused":
                yield on(Refused, lambda fact: self._add({"refused": attrs.asdict(fact)}))
            case "alarms":
                yield on(AlarmRaised, lambda fact: self._add({"alarm": attrs.asdict(fact)}))
                yield on(AlarmCleared, lambda fact: self._add({"alarm": {"id": fact.id, "cleared": True}}))
            case "audit":
                yield on(ChangeMade, lambda fact: self._add({"change": told(fact.change)}, org=fact.change.org))
            case "wire":
                yield on(WireFrame, self._add_frame)
            case "events":
                yield on(EventLogged, self._add_event)
                yield on(EventChanged, self._add_event)
            case _:
                yield on(ValueWritten, self._add_value, self.key.device)
                yield on(StatusChanged, lambda fact: self._add_status(fact, hub.lifecycle.status_name(fact.device)))
                yield on(ValueExpired, self._add_expired)
                yield on(ValueCleared, self._add_cleared)
                yield on(PropertyChanged, self._add_property)

    # -- what happens ---------------------------------------------------------------------------------------------

    def _add(
        self, message: dict[str, Any], device: Device | None = None, org: int | None = None, pins: tuple[int, ...] = ()
    ) -> None:
        if device is None or self._only in (None, device):
            if len(self._out) >= MAX_OUT:
                self._out.popleft()
                self._lost += 1
            self._out.append((message, device, org, pins))
            self._wake(self)

    def _add_value(self, fact: ValueWritten) -> None:
        pin = fact.datastream.pin
        if self.key.every:
            values = {f"v{pin}": to_json(fact.value)}
            self._add({"device": fact.device.id, "values": values, "ts": fact.ts}, fact.device, None, (pin,))
        elif fact.latest:
            self._changed[fact.device.id, pin] = fact
            self._wake(self)

    def _add_status(self, fact: StatusChanged, name: str) -> None:
        online = fact.status == ONLINE
        self._add({"device": fact.device.id, "online": online, "status": name, "ts": fact.at}, fact.device)

    def _add_expired(self, fact: ValueExpired) -> None:
        self._add({"device": fact.device.id, "expired": {f"v{fact.datastream.pin}": fact.show}}, fact.device)

    def _add_cleared(self, fact: ValueCleared) -> None:
        self._changed.pop((fact.device.id, fact.datastream.pin), None)
        self._add({"device": fact.device.id, "values": {f"v{fact.datastream.pin}": None}}, fact.device)

    def _add_property(self, fact: PropertyChanged) -> None:
        of_pin = {f"v{fact.datastream.pin}": {fact.property: list(fact.value)}}
        self._add({"device": fact.device.id, "properties": of_pin}, fact.device)

    def _add_event(self, fact: EventLogged | EventChanged) -> None:
        event = plain(event_shown(fact.event, fact.device.org))
        self._add({"device": fact.device.id, "event": event}, fact.device)

    def _add_frame(self, fact: WireFrame) -> None:
        self._add({"wire": {"at": fact.at, "direction": fact.direction, "text": fact.text}}, fact.device)

    # -- telling it -----------------------------------------------------------------------------------------------

    def flush(self) -> float:
        """Tell what is due; returns when there is more, by trio's clock."""
        now, sent = trio.current_time(), self._sent
        ready = {key for key in self._changed if sent.get(key, 0.0) + MIN_GAP <= now}
        next_at = min((sent[key] + MIN_GAP for key in self._changed if key not in ready), default=float("inf"))
        if not ready and not self._out:
            return next_at
        items = [self._item({"lagged": self._lost}, None, None)] if self._lost else []
        items += [self._item(*one) for one in self._out]
        self._lost = 0
        self._out.clear()
        due: dict[int, tuple[Device, dict[str, Any], list[int]]] = {}
        for key in [key for key in self._changed if key in ready]:
            fact = self._changed.pop(key)
            self._sent[key] = now
            _, message, pins = due.setdefault(key[0], (fact.device, {"device": key[0], "values": {}}, []))
            message["values"][f"v{key[1]}"] = to_json(fact.value)
            message["ts"] = fact.ts
            pins.append(key[1])
        items += [self._item(message, device, None, tuple(pins)) for device, message, pins in due.values()]
        if len(self._sent) > KEPT:
            self._sent = {key: at for key, at in self._sent.items() if at + MIN_GAP > now}
        self.kept += items
        batch = Batch(items)
        for listener in tuple(self.listeners):
            listener(batch)
        return next_at

    def _item(
        self, message: dict[str, Any], device: Device | None, org: int | None, pins: tuple[int, ...] = ()
    ) -> Item:
        self.seq += 1
        return Item(self.seq, f'"seq":{self.seq},{json.dumps(message)[1:]}'.encode(), device, org, pins)

    def after(self, seq: int) -> list[Item] | None:
        """What came after an item; None when it is not known any more, or never was."""
        oldest = self.kept[0].seq if self.kept else self.seq + 1
        if not max(self.first, oldest) - 1 <= seq <= self.seq:
            return None
        return [item for item in self.kept if item.seq > seq]


class Feeds:
    """The feeds that somebody watches, or has watched a short while ago."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._feeds: dict[Key, Feed] = {}
        self._left: dict[Key, float] = {}
        self._dirty: dict[Feed, None] = {}
        self._wake = trio.Event()

    def watch(self, key: Key, only: Device | None, listener: Listener) -> Feed:
        """Let a listener hear of a feed."""
        self._drop_old()
        feed = self._feeds.get(key)
        if feed is not None and feed._only is not only:  # noqa: SLF001 - a device that was deleted, and its id
            self._drop(key)
            feed = None
        if feed is None:
            feed = self._feeds[key] = Feed(self._hub, key, only, self._has_news)
        self._left.pop(key, None)
        feed.listeners.append(listener)
        return feed

    def leave(self, feed: Feed, listener: Listener) -> None:
        feed.listeners.remove(listener)
        if feed.listeners or self._feeds.get(feed.key) is not feed:
            return
        if feed.key.what == "wire":
            # Making frames for nobody costs too much.
            self._drop(feed.key)
            return
        self._left[feed.key] = trio.current_time()
        self._drop_old()

    def _drop_old(self) -> None:
        now = trio.current_time()
        too_many = len(self._left) - MAX_LINGERING
        for number, (key, left) in enumerate(tuple(self._left.items())):
            if number < too_many or left + LINGER < now:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        self._left.pop(key, None)
        if (feed := self._feeds.pop(key, None)) is not None:
            feed.end()
            self._dirty.pop(feed, None)

    def _has_news(self, feed: Feed) -> None:
        self._dirty[feed] = None
        self._wake.set()

    async def run(self) -> None:
        """Tell what happens, until cancelled: at once as long as that costs little."""
        next_at, pace = trio.current_time(), _Pace()
        while True:
            with trio.move_on_at(next_at):
                await self._wake.wait()
            if (held := pace.held_until) > trio.current_time():
                await trio.sleep_until(held)
            self._wake = trio.Event()
            began = time.thread_time()
            dirty, self._dirty = list(self._dirty), {}
            next_at = trio.current_time() + LOOK_EVERY
            for feed in dirty:
                again = feed.flush()
                if again < float("inf"):
                    self._dirty[feed] = None
                    next_at = min(next_at, again)
            self._drop_old()
            pace.spent(time.thread_time() - began)


class _Pace:
    """When to tell next, so that it takes no more than `SHARE` of a core: every second of it is paid for with time."""

    def __init__(self) -> None:
        self._paid_at = trio.current_time()

    @property
    def held_until(self) -> float:
        """Nothing is told before this, by trio's clock."""
        return self._paid_at - BURST / SHARE

    def spent(self, seconds: float) -> None:
        """Telling took so much CPU time."""
        now = trio.current_time()
        self._paid_at = min(max(self._paid_at, now) + seconds / SHARE, now + BURST / SHARE + MAX_GATHERED)


def told(change: Change) -> dict[str, Any]:
    """A change as the stream tells it."""
    return {
        "at": change.at,
        "who": change.principal.actor_id,
        "org": change.org,
        "action": change.action,
        "subject": change.subject,
        "details": plain(change.details),
    }
