"""Subscriptions of the live stream: what one client gets of one feed, whether it reads quickly or not.

Theory of operation
===================

===========  =============================================  ===========================================================
state        holds while                                    a batch of the feed
===========  =============================================  ===========================================================
starting     the snapshot is made (`begin` to `start`)      is deferred
following    nothing is deferred                            is sent at once, if no more than `MAX_PENDING` bytes wait
                                                            in the socket; else it is deferred
behind       the client has not got all that was deferred   is deferred
===========  =============================================  ===========================================================

Only `catch_up` moves a subscription from *behind* to *following*. The connection calls it when the client has taken all
bytes that were on their way; it sends some messages, until more than `MAX_PENDING` bytes wait again.

What is deferred depends on the feed. A `LatestSubscription` has a queue of changes (`_deferred`); of values only the
pins are deferred (`_stale_pins`), and their values are read when they are sent. A `GatheredSubscription` has no more
than the number up to which it has everything, and reads the rest from the feed.

A slow client loses:

* all values of a pin but the newest;
* the oldest of other messages (and of values, with ``every``) if there are more than `MAX_DEFERRED` (or, gathered,
  `plugins.platform_api.gathered_feeds.MAX_KEPT`). The client is notified of how many: ``{"id": 1, "lagged": N}``.

Whether the client may see a change is checked when it is sent.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from hub.values import to_json
from plugins.platform_api.feeds import FeedKey
from plugins.platform_api.gathered_feeds import MAX_CHANGES
from plugins.platform_api.stream_changes import Batch, Change, ValueChanges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub import Device
    from plugins.platform_api.feeds import Feed
    from plugins.platform_api.gathered_feeds import Gathering
    from plugins.platform_api.stream import Connection
    from plugins.platform_api.stream_requests import SubscriptionRequest

#: Messages of a subscription that are deferred for a slow client.
MAX_DEFERRED = 10_000
#: Bytes on their way to the client; with more than that, messages are deferred.
MAX_PENDING = 256 * 1024
#: Deferred messages that are sent before other tasks get their turn.
SENT_AT_ONCE = 500
#: Bytes of changes in one gathered message: many WebSocket clients accept no more than 1 MiB.
MAX_MESSAGE = 512 * 1024


class Subscription(ABC):
    """A client's subscription to a feed; see the theory of operation above."""

    def __init__(self, connection: Connection, request: SubscriptionRequest, device: Device | None) -> None:
        self.request = request
        #: The device of a subscription to one device.
        self.device = device
        #: Called when the subscription ends.
        self.at_end: list[Callable[[], None]] = []
        self._connection = connection
        self._socket = connection.socket
        self._feeds = connection.feeds
        self._is_starting = True
        devices = None if request.devices is None else frozenset(request.devices)
        head = f'{{"id":{json.dumps(request.id)},'.encode()
        self._audience = self._feeds.audience(connection.principal, head, devices, request.pins)

    @abstractmethod
    def begin(self) -> bool | None:
        """Subscribe to the feed; return whether it goes on after the message that the client named, if it named one."""

    @abstractmethod
    def catch_up(self) -> bool:
        """Send some of what was deferred, if the client can take it; return whether anything was deferred."""

    def start(self) -> None:
        """Send what came since `begin`, now that the snapshot was sent."""
        self._is_starting = False

    def end(self) -> None:
        for end in self.at_end:
            end()

    def _is_choked(self) -> bool:
        return self._socket.pending > MAX_PENDING

    def _send_lagged(self, count: int) -> None:
        self._socket.send(json.dumps({"id": self.request.id, "lagged": count}))


class LatestSubscription(Subscription):
    """A subscription to a feed that sends each change by itself."""

    def __init__(self, connection: Connection, request: SubscriptionRequest, device: Device | None) -> None:
        super().__init__(connection, request, device)
        self._feed: Feed
        self._missed: list[Change] | None = None
        self._is_behind = True
        self._deferred: deque[Change] = deque()
        self._dropped = 0
        #: Pins whose latest values the client has not got, and who wrote them.
        self._stale_pins: dict[Device, dict[int, str]] = {}

    def begin(self) -> bool | None:
        request, feeds, deliver = self.request, self._feeds, self.deliver
        key = FeedKey(request.topic, self.device.id if self.device else None, "every" if request.every else "latest")
        feed = self._feed = feeds.subscribe(key, self.device, deliver)
        self.at_end.append(lambda: feeds.unsubscribe(feed, deliver))
        if request.after is None:
            return None
        self._missed = feed.after(request.after)
        return self._missed is not None

    def start(self) -> None:
        super().start()
        if self._missed:
            missed = self._audience.select(self._missed, self._connection.may_see)
            self._socket.send_prepared(b"".join(map(self._frame, missed)))
            self._missed = None
        self._is_behind = bool(self._deferred or self._stale_pins)
        if self._is_behind:
            self._connection.request_catch_up()

    def deliver(self, batch: Batch) -> None:
        """Send a batch, or defer it while the client is behind."""
        if self._is_behind or self._socket.pending > MAX_PENDING:
            self._is_behind = True
            self._defer(batch)
            if not self._is_starting:
                self._connection.request_catch_up()
            return
        data = batch.encoded.get(self._audience)
        if data is None:
            changes = batch.selected(self._audience, self._connection.may_see)
            data = batch.encoded[self._audience] = b"".join(map(self._frame, changes))
        if data:
            self._socket.send_prepared(data)

    def _frame(self, change: Change) -> bytes:
        return self._socket.prepare(b'%b"seq":%d,%b' % (self._audience.head, change.seq, change.body))

    def _defer(self, batch: Batch) -> None:
        for change in batch.selected(self._audience, self._connection.may_see):
            if change.pins and change.device is not None and not self.request.every:
                self._stale_pins.setdefault(change.device, {}).update(dict.fromkeys(change.pins, change.by))
                continue
            if len(self._deferred) >= MAX_DEFERRED:
                self._deferred.popleft()
                self._dropped += 1
            self._deferred.append(change)

    def catch_up(self) -> bool:
        if self._is_starting or not self._is_behind:
            return False
        if self._is_choked():
            self._connection.request_catch_up()
            return True
        if self._dropped:
            self._send_lagged(self._dropped)
            self._dropped = 0
        frames, size = [], 0
        for frame in self._take_deferred():
            frames.append(frame)
            size += len(frame)
            if len(frames) >= SENT_AT_ONCE or size > MAX_PENDING:
                break
        if data := b"".join(frames):
            self._socket.send_prepared(data)
        self._is_behind = bool(self._deferred or self._stale_pins)
        if self._is_behind:
            self._connection.request_catch_up()
        return True

    def _take_deferred(self) -> Iterator[bytes]:
        """Take what was deferred, as far as the client may see it now, and yield it as frames."""
        while self._deferred:
            if self._connection.may_see(change := self._deferred.popleft()):
                yield self._frame(change)
        while self._stale_pins:
            changes = self._latest(*self._stale_pins.popitem())
            yield b"".join(self._frame(change) for change in changes if self._connection.may_see(change))

    def _latest(self, device: Device, pins: Mapping[int, str]) -> Iterable[Change]:
        hub = self._connection.hub
        values = ValueChanges(hub)
        for pin, by in sorted(pins.items()):
            latest = hub.history.latest.get(point.series) if (point := device.points.get(pin)) else None
            if latest is not None:
                values.add(device, pin, to_json(latest[1]), latest[0], by)
        for change in values.changes:
            change.seq = self._feed.seq
        return values.changes


class GatheredSubscription(Subscription):
    """A subscription to a feed that gathers changes, with ``every_ms``."""

    def __init__(self, connection: Connection, request: SubscriptionRequest, device: Device | None) -> None:
        super().__init__(connection, request, device)
        self._gathering: Gathering
        #: The number up to which the client has everything.
        self.position = 0

    def begin(self) -> bool | None:
        request, feeds = self.request, self._feeds
        key = FeedKey(request.topic, self.device.id if self.device else None, "gathered")
        gathering = self._gathering = feeds.gather(key, self.device, request.every_ms / 1000, self)
        self.at_end.append(lambda: feeds.leave(gathering, self))
        self.position = gathering.feed.seq
        if request.after is None:
            return None
        if can_resume := gathering.feed.can_resume(request.after):
            self.position = request.after
        return can_resume

    def start(self) -> None:
        super().start()
        self.catch_up()

    def deliver_gathered(self, batch: Batch) -> None:
        """Send a batch that starts at the subscription's position; else catch up as soon as the client can take it."""
        if self._is_starting or self.position >= batch.seq:
            # In the latter case the subscription is new: the snapshot had it.
            return
        if self._is_choked() or self.position != batch.start:
            self.catch_up()
            return
        data = batch.encoded.get(self._audience)
        if data is None:
            changes = batch.selected(self._audience, self._connection.may_see)
            data = batch.encoded[self._audience] = self._frames(changes, batch.start, batch.seq)
        if data:
            self._socket.send_prepared(data)
        self.position = batch.seq

    def _frames(self, changes: Iterable[Change], start: int, seq: int) -> bytes:
        """Return changes as messages: usually as one, with the number ``seq``.

        If there are more bytes, all messages but the last have the number ``start``, so that a client that gets only
        some of them and resumes gets the others too.
        """
        frames, bodies, size = [], list[bytes](), 0
        for change in changes:
            if size > 0 and size + len(change.body) > MAX_MESSAGE:
                frames.append(self._frame(bodies, start))
                bodies, size = [], 0
            bodies.append(change.body)
            size += len(change.body)
        if bodies:
            frames.append(self._frame(bodies, seq))
        return b"".join(frames)

    def _frame(self, bodies: list[bytes], seq: int) -> bytes:
        return self._socket.prepare(b'%b"seq":%d,"changes":[{%b]}' % (self._audience.head, seq, b",{".join(bodies)))

    def catch_up(self) -> bool:
        upto, feed = self._gathering.position, self._gathering.feed
        if self._is_starting or self.position >= upto:
            return False
        if self._is_choked():
            self._connection.request_catch_up()
            return True
        if self.position < feed.floor:
            if lost := feed.lost_after(self.position):
                self._send_lagged(lost)
            self.position = feed.floor
        # What is newer comes with the next flush, with which the subscription follows again.
        numbered = [change for change in feed.after(self.position) if change[0] <= upto]
        part, start = numbered[:MAX_CHANGES], self.position
        self.position = part[-1][0] if len(part) < len(numbered) else max(upto, start)
        changes = self._audience.select(feed.to_changes(part), self._connection.may_see)
        if data := self._frames(changes, start, self.position):
            self._socket.send_prepared(data)
        if self.position < upto:
            self._connection.request_catch_up()
        return True
