"""Gathered feeds of the live stream: one message for all that has changed within an interval.

Theory of operation
===================

A `GatheredFeed` has the changes of one topic, for all intervals. They are in one table in the order in which they came,
each with a number (`seq`): a value replaces the older one of the same device and pin and moves to the end, all else is
added and never merged. So a value costs the same however many clients and intervals there are, and "what has changed
since number N" is the end of the table.

A `Gathering` is what the clients of one interval share. It is *idle* when they have everything; the first change after
that wakes it, and is sent at once if the last flush is an interval ago. A flush delivers the changes since the one
before in batches of at most `MAX_CHANGES`, each of which becomes one message.

Each subscriber has a *position*: the number up to which it has everything. One whose position is not where a batch
starts (it is new, resumes, or was slow) gets what it lacks by itself, from the table. That is why a client that does
not read costs no memory of its own, and gets the newest values when it reads again.

Changes stay in the table until all subscribers have them, and for `LINGER` seconds, so that a client that lost its
connection can resume. While there are more than `MAX_KEPT`, each new one drops the oldest; a subscriber that did not
have it yet is notified of how many it lost (`GatheredFeed.lost_after`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from plugins.platform_api.stream_changes import Batch, Change, ChangeSource, ValueChanges, first_number

if TYPE_CHECKING:
    from hub import Device, Hub, ValueWritten
    from plugins.platform_api.feeds import FeedKey

#: Changes in one message.
MAX_CHANGES = 1_000
#: Changes that a feed keeps, for clients that are slow or resume; and how many it forgets at once.
MAX_KEPT, MAX_FORGOTTEN = 50_000, 10_000

#: A change and its number.
Numbered = tuple[int, "ValueWritten | Change"]


class GatheredSubscriber(Protocol):
    #: The number up to which it has everything.
    position: int

    def deliver_gathered(self, batch: Batch) -> None:
        """Send a batch that starts at its position, and move the position; or catch up from there later."""


class GatheredFeed(ChangeSource):
    """The changes of a topic, for clients that want them gathered; ``wake`` is called with gatherings to flush."""

    def __init__(self, hub: Hub, key: FeedKey, device: Device | None, wake: Callable[[Gathering], None]) -> None:
        self.key = key
        self.seq = first_number(hub)
        #: The number of the newest change that is not kept any more.
        self.floor = self.seq
        self._wake = wake
        #: Values by (device id, pin), other changes by their number.
        self._changes: OrderedDict[Any, Numbered] = OrderedDict()
        #: The last numbers of changes that were dropped, because there were too many; and how many there were before.
        self._dropped: list[int] = []
        self._dropped_before = 0
        self._gatherings: dict[float, Gathering] = {}
        self._idle: list[Gathering] = []
        #: The number at past sweeps, by the monotonic clock; and the one up to which changes were kept long enough.
        self._marks: deque[tuple[float, int]] = deque()
        self._expired = self.seq
        super().__init__(hub, key.topic, device)

    @property
    def is_watched(self) -> bool:
        return bool(self._gatherings)

    def gathering(self, interval: float) -> Gathering:
        """Return what the subscribers of an interval (in seconds) share."""
        gathering = self._gatherings.get(interval)
        if gathering is None:
            gathering = self._gatherings[interval] = Gathering(self, self._hub.clock.monotonic, interval)
            self._idle.append(gathering)
        return gathering

    def remove(self, gathering: Gathering) -> None:
        """Remove a gathering without subscribers."""
        del self._gatherings[gathering.interval]
        if gathering in self._idle:
            self._idle.remove(gathering)

    def on_idle(self, gathering: Gathering) -> None:
        """Wake a gathering at the next change."""
        if self._gatherings.get(gathering.interval) is gathering:
            self._idle.append(gathering)

    # -- collect --------------------------------------------------------------------------------------------------

    def on_value(self, fact: ValueWritten) -> None:
        if fact.latest:
            self._keep((fact.device.id, fact.datastream.pin), fact)

    def add(self, change: Change) -> None:
        self._keep(self.seq + 1, change)

    def forget_value(self, device: Device, pin: int) -> None:
        self._changes.pop((device.id, pin), None)

    def _keep(self, key: Any, change: ValueWritten | Change) -> None:
        self.seq += 1
        self._changes[key] = (self.seq, change)
        self._changes.move_to_end(key)
        if len(self._changes) > MAX_KEPT:
            self._drop_oldest()
            self._dropped.append(self.floor)
            if len(self._dropped) > 2 * MAX_KEPT:
                del self._dropped[:MAX_KEPT]
                self._dropped_before += MAX_KEPT
        if self._idle:
            for gathering in self._idle:
                self._wake(gathering)
            self._idle.clear()

    def _drop_oldest(self) -> None:
        _, (self.floor, _) = self._changes.popitem(last=False)

    def sweep(self, now: float, before: float) -> None:
        """Forget changes from before a time, by the monotonic clock, that all subscribers have."""
        self._marks.append((now, self.seq))
        while self._marks[0][0] <= before:
            self._expired = self._marks.popleft()[1]
        subscribers = (subscriber for gathering in self._gatherings.values() for subscriber in gathering.subscribers)
        upto = min((subscriber.position for subscriber in subscribers), default=self._expired)
        upto = min(upto, self._expired)
        for _ in range(MAX_FORGOTTEN):
            if not self._changes or next(iter(self._changes.values()))[0] > upto:
                break
            self._drop_oldest()

    # -- read -----------------------------------------------------------------------------------------------------

    def after(self, seq: int) -> list[Numbered]:
        """Return the changes after number ``seq`` that are kept, in the order of their numbers."""
        changes = []
        for change in reversed(self._changes.values()):
            if change[0] <= seq:
                break
            changes.append(change)
        changes.reverse()
        return changes

    def can_resume(self, seq: int) -> bool:
        """Whether all changes after number ``seq`` are kept."""
        return self.floor <= seq <= self.seq

    def lost_after(self, seq: int) -> int:
        """Return how many changes after number ``seq`` were dropped because too many were kept.

        For a number from before the last `MAX_KEPT` of them, it may be more than were dropped.
        """
        known = bisect_right(self._dropped, seq)
        if known > 0 or not self._dropped:
            return len(self._dropped) - known
        return len(self._dropped) + min(self._dropped_before, self._dropped[0] - 1 - seq)

    def to_changes(self, numbered: Sequence[Numbered]) -> list[Change]:
        """Convert numbered changes to those of a message."""
        values = ValueChanges(self._hub)
        for _, change in numbered:
            if isinstance(change, Change):
                values.add_other(change)
            else:
                values.add_fact(change)
        return values.changes


class Gathering:
    """What the subscribers to a feed with the same ``interval``, in seconds, share."""

    def __init__(self, feed: GatheredFeed, monotonic: Callable[[], float], interval: float) -> None:
        self.feed = feed
        self.interval = interval
        #: In the order in which they came.
        self.subscribers: dict[GatheredSubscriber, None] = {}
        #: The number up to which changes were flushed.
        self.position = feed.seq
        self._monotonic = monotonic
        self._next_at = 0.0

    async def flush(self, give_way: Callable[[], Awaitable[None]]) -> float:
        """Deliver the changes since the last flush, if that was an interval ago; see `Flushable`."""
        now, feed = self._monotonic(), self.feed
        if not self.subscribers:
            # The last one has left meanwhile.
            return float("inf")
        if now < self._next_at:
            return self._next_at
        self._next_at = now + self.interval
        # Changes that were dropped since the last flush: each subscriber catches up, and is notified.
        self.position = max(self.position, feed.floor)
        numbered = feed.after(self.position)
        for start in range(0, len(numbered), MAX_CHANGES):
            part = numbered[start : start + MAX_CHANGES]
            batch = Batch(feed.to_changes(part), self.position, part[-1][0])
            self.position = batch.seq
            await give_way()
            for subscriber in tuple(self.subscribers):
                # One may have left while others had their turn.
                if subscriber in self.subscribers:
                    subscriber.deliver_gathered(batch)
                    await give_way()
        if not numbered:
            # All changes since were replaced, or dropped.
            self.position = feed.seq
        if self.position < feed.seq:
            return self._next_at
        feed.on_idle(self)
        return float("inf")
