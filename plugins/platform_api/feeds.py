"""Feeds of the live stream: changes, coalesced, numbered and encoded once for all clients that want the same.

Theory of operation
===================

A feed is named by its `FeedKey`: a topic, for some topics a device, and which values it carries. The first subscription
to a key makes the feed, which then subscribes to the facts of its topic (`ChangeSource`).

=======  ======================================  =====================================================================
step     done by                                 effect
=======  ======================================  =====================================================================
collect  the feed, called by the bus while a     The fact is queued as a change. A latest value replaces the one of
         service of the hub emits a fact         the same device and pin that still waits.
wake     the feed                                It is marked as dirty, and `Feeds.run` wakes up.
flush    `Feeds.run`, the only task, for each    Queued changes become one batch, followed by the latest values that
         dirty feed                              are due: one message for each device and author.
deliver  each subscriber, called with the batch  It sends the batch, or defers it for a slow client: see
                                                 `plugins.platform_api.subscriptions`.
=======  ======================================  =====================================================================

Coalescing (`Feed`): messages with a value of the same pin are at least `MIN_GAP` apart, and each has the newest value;
imported values of the past are ignored. Nothing else is coalesced: a feed with ``every`` queues all values, and all
feeds queue all other facts. Feeds that gather, for subscriptions with ``every_ms``: see
`plugins.platform_api.gathered_feeds`.

Pacing: delivery may use `CPU_SHARE` of a core (see `_CpuBudget`). Beyond it the next flush waits for up to `MAX_DELAY`
seconds, so that it delivers more at once. A batch has at most `MAX_BATCH` messages, and other tasks get their turn
whenever delivery has taken `SLICE` CPU seconds.

Loss: while `MAX_QUEUED` messages wait for a flush, each new one drops the oldest. The next batch then begins with
``{"lagged": N}``.

Resuming: messages are numbered (``seq``) within their feed, and no number is used twice, even after a restart. The
last `REPLAY_LENGTH` messages are kept for `LINGER` seconds. A client that names the last number it received gets the
messages that followed, if all of them are still there; otherwise it has only the snapshot that every subscription
begins with.

Lifetime: a feed is *watched* while it has subscribers. Then it *lingers* for `LINGER` seconds, so that clients can
resume, and ends; a new subscription makes it watched again. At most `MAX_LINGERING` feeds linger, and the oldest ends
first. A feed of the topic "wire" ends at once, because each frame of its device is decoded to text for it.
"""

from __future__ import annotations

import heapq
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import attrs
import trio

from plugins.platform_api.gathered_feeds import GatheredFeed, GatheredSubscriber, Gathering
from plugins.platform_api.stream_changes import Audience, Batch, Change, ChangeSource, ValueChanges, first_number

if TYPE_CHECKING:
    from hub import Device, Hub, Principal, ValueWritten

#: Seconds between two messages with a value of the same pin.
MIN_GAP = 0.05
#: Share of a core that delivery may use; CPU seconds that it may use in a burst before it has to wait; and the longest
#: wait, in seconds.
CPU_SHARE, CPU_BURST, MAX_DELAY = 0.08, 0.02, 0.04
#: CPU seconds of delivery after which other tasks get their turn.
SLICE = 0.01
#: Messages of a batch; what is left follows in the next one, after other tasks had their turn.
MAX_BATCH = 1_000
#: Messages of a feed that are kept for clients that resume.
REPLAY_LENGTH = 2_000
#: Seconds that a feed stays without subscribers, and how many such feeds may stay.
LINGER, MAX_LINGERING = 60.0, 100
#: Seconds between two searches for feeds that have lingered long enough.
SWEEP_INTERVAL = 10.0
#: Messages of a feed that wait for its next flush.
MAX_QUEUED = 10_000

#: Lets other tasks run, if delivery has taken `SLICE` CPU seconds since they last did.
GiveWay = Callable[[], Awaitable[None]]
#: Called with the batch of each flush.
Subscriber = Callable[[Batch], None]


@attrs.frozen
class FeedKey:
    """The subject of a feed. ``device`` is the id of a device, for feeds of one device.

    ``values`` is which values it carries: the latest ones, every one, or the latest ones gathered for intervals.
    """

    topic: str
    device: int | None = None
    values: Literal["latest", "every", "gathered"] = "latest"


class Flushable(Protocol):
    """What `Feeds.run` flushes."""

    async def flush(self, give_way: GiveWay) -> float:
        """Deliver what is due; return when more will be due, by the monotonic clock (infinity: nothing waits)."""


class Feed(ChangeSource):
    """A feed that numbers each change; ``wake`` is called whenever it has something to flush."""

    def __init__(self, hub: Hub, key: FeedKey, device: Device | None, wake: Callable[[Flushable], None]) -> None:
        self.key = key
        #: In the order in which they came.
        self.subscribers: dict[Subscriber, None] = {}
        self.replay: deque[Change] = deque(maxlen=REPLAY_LENGTH)
        self.seq = first_number(hub)
        self.first_seq = self.seq + 1
        self._wake = wake
        self._queue: deque[Change] = deque()
        self._dropped = 0
        #: Latest values that wait, and when (by the monotonic clock) the last one was flushed; by (device id, pin).
        self._changed: dict[tuple[int, int], ValueWritten] = {}
        self._flushed_at: dict[tuple[int, int], float] = {}
        self._most_flushed = REPLAY_LENGTH
        #: Numbers at past sweeps, by the monotonic clock.
        self._marks: deque[tuple[float, int]] = deque()
        super().__init__(hub, key.topic, device)

    @property
    def is_watched(self) -> bool:
        return bool(self.subscribers)

    def sweep(self, now: float, before: float) -> None:
        """Forget changes from before a time, by the monotonic clock."""
        self._marks.append((now, self.seq))
        expired = 0
        while self._marks[0][0] <= before:
            expired = self._marks.popleft()[1]
        while self.replay and self.replay[0].seq <= expired:
            self.replay.popleft()

    # -- collect --------------------------------------------------------------------------------------------------

    def add(self, change: Change) -> None:
        if len(self._queue) >= MAX_QUEUED:
            self._queue.popleft()
            self._dropped += 1
        self._queue.append(change)
        self._wake(self)

    def on_value(self, fact: ValueWritten) -> None:
        if self.key.values == "every":
            values = ValueChanges(self._hub)
            values.add_fact(fact)
            self.add(values.changes[0])
        elif fact.latest:
            self._changed[fact.device.id, fact.datastream.pin] = fact
            self._wake(self)

    def forget_value(self, device: Device, pin: int) -> None:
        self._changed.pop((device.id, pin), None)

    # -- flush ----------------------------------------------------------------------------------------------------

    async def flush(self, give_way: GiveWay) -> float:
        now, start = self._hub.clock.monotonic(), self.seq
        changes = [Change({"lagged": self._dropped})] if self._dropped else []
        self._dropped = 0
        while self._queue and len(changes) < MAX_BATCH:
            changes.append(self._queue.popleft())
        due, next_at = self._take_due(now, MAX_BATCH - len(changes))
        changes += due
        if not changes:
            return next_at
        for change in changes:
            self.seq += 1
            change.seq = self.seq
        self.replay += changes
        batch = Batch(changes, start, self.seq)
        for subscriber in tuple(self.subscribers):
            # One may have left while others had their turn.
            if subscriber in self.subscribers:
                subscriber(batch)
                await give_way()
        return now if self._queue else next_at

    def _take_due(self, now: float, limit: int) -> tuple[list[Change], float]:
        """Take latest values that are due, in the order of their first changes; and return when more will be."""
        flushed_at, earliest, next_at = self._flushed_at, now - MIN_GAP, float("inf")
        due: list[tuple[int, int]] = []
        for key in self._changed:
            at = flushed_at.get(key, 0.0)
            if at > earliest:
                next_at = min(next_at, at + MIN_GAP)
            elif len(due) < limit:
                due.append(key)
            else:
                next_at = now
                break
        values = ValueChanges(self._hub)
        for key in due:
            values.add_fact(self._changed.pop(key))
            flushed_at[key] = now
        if len(flushed_at) > self._most_flushed:
            self._flushed_at = {key: at for key, at in flushed_at.items() if at > earliest}
            self._most_flushed = max(REPLAY_LENGTH, 2 * len(self._flushed_at))
        return values.changes, next_at

    def after(self, seq: int) -> list[Change] | None:
        """Return the changes after number ``seq``; None if one of them is no longer kept, or ``seq`` never was."""
        oldest = self.replay[0].seq if self.replay else self.seq + 1
        if not max(self.first_seq, oldest) - 1 <= seq <= self.seq:
            return None
        return [change for change in self.replay if change.seq > seq]


F = TypeVar("F", Feed, GatheredFeed)


class Feeds:
    """All feeds: the watched ones, and those that linger."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._feeds: dict[FeedKey, Feed | GatheredFeed] = {}
        #: When a lingering feed lost its last subscriber, by the monotonic clock; the oldest first.
        self._lingering: dict[FeedKey, float] = {}
        self._dirty: dict[Flushable, None] = {}
        #: When feeds are to be flushed though nothing wakes them; entries of the heap that differ are void.
        self._due: dict[Flushable, float] = {}
        self._heap: list[tuple[float, int, Flushable]] = []
        self._numbers = count()
        self._wake = trio.Event()
        self._audiences: weakref.WeakValueDictionary[tuple[Any, ...], Audience] = weakref.WeakValueDictionary()

    def audience(
        self, principal: Principal, head: bytes, devices: frozenset[int] | None, pins: frozenset[int] | None
    ) -> Audience:
        """Return the audience with these attributes: always the same one, so that it is compared quickly."""
        key = (principal, head, devices, pins)
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(*key)
        return audience

    def subscribe(self, key: FeedKey, device: Device | None, subscriber: Subscriber) -> Feed:
        """Add a subscriber to a feed, which is made if need be."""
        feed = self._find(key, device, Feed)
        feed.subscribers[subscriber] = None
        return feed

    def unsubscribe(self, feed: Feed, subscriber: Subscriber) -> None:
        """Remove a subscriber."""
        del feed.subscribers[subscriber]
        self._release(feed)

    def gather(self, key: FeedKey, device: Device | None, interval: float, subscriber: GatheredSubscriber) -> Gathering:
        """Add a subscriber that gets what has changed within each ``interval`` (seconds)."""
        gathering = self._find(key, device, GatheredFeed).gathering(interval)
        gathering.subscribers[subscriber] = None
        return gathering

    def leave(self, gathering: Gathering, subscriber: GatheredSubscriber) -> None:
        """Remove a subscriber of `gather`."""
        del gathering.subscribers[subscriber]
        if not gathering.subscribers:
            gathering.feed.remove(gathering)
            self._forget(gathering)
        self._release(gathering.feed)

    def _find(self, key: FeedKey, device: Device | None, cls: type[F]) -> F:
        self._sweep()
        feed = self._feeds.get(key)
        if feed is not None and feed.device is not device:
            # That device was deleted, and this one has its id.
            self._end(key)
            feed = None
        if not isinstance(feed, cls):
            feed = cls(self._hub, key, device, self._mark_dirty)
            self._feeds[key] = feed
        self._lingering.pop(key, None)
        return feed

    def _release(self, feed: Feed | GatheredFeed) -> None:
        """Let a feed without subscribers linger; one of the topic "wire" ends."""
        key = feed.key
        if feed.is_watched or self._feeds.get(key) is not feed:
            return
        if key.topic == "wire":
            # Encoding frames for nobody costs too much.
            self._end(key)
            return
        self._lingering[key] = self._hub.clock.monotonic()
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
            if isinstance(feed, Feed):
                self._forget(feed)

    def _forget(self, flushable: Flushable) -> None:
        self._dirty.pop(flushable, None)
        self._due.pop(flushable, None)

    def _mark_dirty(self, flushable: Flushable) -> None:
        self._dirty[flushable] = None
        self._wake.set()

    async def run(self) -> None:
        """Flush dirty feeds, until cancelled: at once as long as the CPU budget allows."""
        monotonic = self._hub.clock.monotonic
        budget, sweep_at = _CpuBudget(monotonic), monotonic() + SWEEP_INTERVAL
        while True:
            next_at = min(sweep_at, self._heap[0][0]) if self._heap else sweep_at
            with trio.move_on_after(max(0.0, next_at - monotonic())):
                await self._wake.wait()
            if (pause := budget.resume_at - monotonic()) > 0:
                await trio.sleep(pause)
            self._wake = trio.Event()
            budget.begin()
            dirty, self._dirty = self._dirty, {}
            for flushable in [*dirty, *self._take_due(monotonic())]:
                self._schedule(flushable, await flushable.flush(budget.give_way))
            if (now := monotonic()) >= sweep_at:
                self._sweep()
                for feed in self._feeds.values():
                    feed.sweep(now, now - LINGER)
                sweep_at = now + SWEEP_INTERVAL
            budget.end()

    def _schedule(self, flushable: Flushable, at: float) -> None:
        """Flush a feed at a time, at the latest."""
        if at < self._due.get(flushable, float("inf")):
            self._due[flushable] = at
            heapq.heappush(self._heap, (at, next(self._numbers), flushable))

    def _take_due(self, now: float) -> list[Flushable]:
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, _, flushable = heapq.heappop(self._heap)
            if self._due.get(flushable) == at:
                del self._due[flushable]
                due.append(flushable)
        return due


class _CpuBudget:
    """A budget of `CPU_SHARE` of a core: each CPU second that is used is paid off in 1 / `CPU_SHARE` seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._paid_at = monotonic()
        self._cpu_at_begin = self._began = 0.0

    @property
    def resume_at(self) -> float:
        """When work may go on, by the monotonic clock: as soon as no more than `CPU_BURST` is unpaid."""
        return self._paid_at - CPU_BURST / CPU_SHARE

    def begin(self) -> None:
        """Begin to work."""
        self._cpu_at_begin, self._began = time.thread_time(), time.perf_counter()

    def end(self) -> None:
        """Charge the CPU seconds since `begin`."""
        self.charge(time.thread_time() - self._cpu_at_begin)

    async def give_way(self) -> None:
        """Let other tasks run, if the work has taken `SLICE` CPU seconds; theirs are not charged."""
        # The CPU seconds alone would do, but it takes ten times as long to ask for them.
        if time.perf_counter() - self._began >= SLICE and time.thread_time() - self._cpu_at_begin >= SLICE:
            self.end()
            await trio.lowlevel.checkpoint()
            self.begin()

    def charge(self, seconds: float) -> None:
        """Charge CPU seconds that were used; the next pause is not longer than `MAX_DELAY`."""
        now = self._monotonic()
        self._paid_at = min(max(self._paid_at, now) + seconds / CPU_SHARE, now + CPU_BURST / CPU_SHARE + MAX_DELAY)
