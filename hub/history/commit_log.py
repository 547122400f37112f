"""The commit log of values, in memory and on disk, and the segments on their way from the log into chunks.

Theory of operation
===================

A value goes through four stages::

    put() -> open batch -> log -> closed segment -> chunks, hourly and daily statistics

1. `History.put` appends the value to the open `Batch` and to the `Tail` of its series in the open segment, and returns
   a `Receipt`. It is synchronous and never waits.
2. `History.run` commits batches in their order, each as one row of the log (`hub.history.log_table`). The commit window
   of the open batch closes when as many callers wait for it as waited for the last commit, at the latest 10 ms
   after the first caller started to wait; without any caller, after the configured flush time (group commit).
3. When an hour of the clock ends, or the open segment has `SEGMENT_POINTS` values, it is closed and a new one begins.
   Closed segments are compacted (`hub.history.compaction`) one after the other, oldest first, in slices of about
   `COMPACTION_POINTS` values: one transaction for each slice, between commits, series by series. The transaction also
   writes the latest values and how far compaction has come (`CompactionProgress`), so that a power cut at any point
   neither loses nor repeats a value.
4. The rows of the log that a compacted segment came from are deleted (pruned), also in slices.

The values of all segments stay in memory until they are compacted, so that queries and a repair of stamps read them
without decoding the log. A start reads the table of latest values and the rest of the log into memory.

States of a segment, all of them moved by `History` alone, never per value:

=============  ============================================================================  ==========================
State          Meaning                                                                       Next
=============  ============================================================================  ==========================
open           `History._tails`: takes new values; it has no `Segment` object yet            CLOSED by `close_segment`
CLOSED         Takes no more values; its newest batch is not committed yet                   LOGGED by that commit
LOGGED         All its values are in the log; it waits for compaction                        COMPACTING by a slice
COMPACTING     Some of its series are in chunks, as `CompactionProgress` says                removed by the last slice
=============  ============================================================================  ==========================

A segment that was closed when all batches were committed begins as LOGGED. When a damaged history file is replaced, a
segment that was COMPACTING returns to LOGGED: what is left of it goes into the new file. While a repair of stamps runs
(`begin_repair` to `end_repair`), segments closed since its beginning are not compacted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum, auto

import attrs
import trio

from hub.clock import Clock
from hub.errors import StorageError, Unavailable
from hub.history import compaction, log_table
from hub.history.chunks import HOUR_MS
from hub.history.chunkstore import ChunkReader, Chunks, CompactionProgress
from hub.history.compaction import Policies, Tail
from hub.history.keys import EVERY_SERIES
from hub.history.log_table import BOTH, LATEST, STAMPED, Entry
from hub.history.query import Queries
from hub.history.repair import HistoryRepair, Span, spans_after, spans_of_tails
from hub.history.retention import Retention
from hub.history.timeouts import DEFAULT_TIMEOUTS, HistoryTimeouts
from hub.model import Value
from hub.storage import Damaged, Storage, Transaction
from hub.storage.stamp_correction import Correction

log = logging.getLogger(__name__)

#: Values in one commit: about 10 ms of writing.
BATCH_ROWS = 5_000
#: Batches that may wait for the disk. Above that, connections stop reading, and `History.put` raises `Unavailable`.
MAX_QUEUED = 8
#: Points after which a segment is closed before its hour ends, and points that may wait for compaction. A point takes
#: 40 bytes of memory.
SEGMENT_POINTS = 250_000
MAX_UNCOMPACTED = 4 * SEGMENT_POINTS
#: Points compacted in one transaction, which must not delay an acknowledgement by more than 10 ms.
COMPACTION_POINTS = 6_000


class Batch:
    """The values of one commit, and the tasks that wait for it."""

    __slots__ = ("done", "due", "entries", "failures", "lot", "number", "waiters")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.waiters = 0
        #: The latest time of the commit, by the monotonic clock.
        self.due = float("inf")
        self.done = False
        #: Why entries could not be stored, by their index.
        self.failures: dict[int, Exception] = {}
        #: The number of the row in the log; assigned when the batch is closed.
        self.number = 0
        self.lot = trio.lowlevel.ParkingLot()


class Receipt:
    """The place of a value in its batch, with which a caller waits until the value is on disk."""

    __slots__ = ("_batch", "_history", "_index")

    def __init__(self, history: History, batch: Batch, index: int) -> None:
        self._history = history
        self._batch = batch
        self._index = index

    async def durable(self) -> None:
        """Return when the value, and every value put before it, is on disk. Raises `Unavailable`."""
        batch = self._batch
        if not batch.done:
            await self._history.wait_for_commit(batch)
        if batch.failures and self._index in batch.failures:
            raise Unavailable(f"the value could not be stored: {batch.failures[self._index]}")

    async def settled(self) -> bool:
        """Wait as long as the disk refuses; return whether the value is on disk. False means that it can never be."""
        batch = self._batch
        while not batch.done:
            try:
                await self._history.wait_for_commit(batch)
            except Unavailable:
                await trio.sleep(self._history.timeouts.retry)
        return self._index not in batch.failures


class SegmentState(Enum):
    """The states of a closed segment; see the theory of operation above."""

    CLOSED = auto()
    LOGGED = auto()
    COMPACTING = auto()


@attrs.define(eq=False)
class Segment:
    """The values of a span of the log that take no more additions and are not, or not all, in chunks.

    ``latest`` has the latest values as they were when the segment was closed. ``stamp`` is the newest stamp of the hub
    up to then. ``last_batch`` is the number of the newest batch with values of the segment.
    """

    number: int
    #: What is not compacted yet, by series.
    tails: dict[int, Tail]
    latest: dict[int, tuple[int, Value]]
    stamp: int
    last_batch: int
    state: SegmentState
    #: The series that are not compacted yet; the next one is the last of the list.
    remaining: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.remaining = sorted(self.tails, reverse=True)


class History:
    """The history of all series: `put` and `latest` to write, `points` and `buckets` to read.

    ``flush`` is in seconds. ``on_fault`` is called with a sentence when the disk refuses to write, and with None when
    it writes again; ``on_erased`` with the series of which nothing is left in the file.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        policies: Policies,
        flush: float = 1.0,
        timeouts: HistoryTimeouts = DEFAULT_TIMEOUTS,
        on_fault: Callable[[str | None], None] = lambda _: None,
        on_erased: Callable[[list[int]], Awaitable[None]],
    ) -> None:
        self._storage = storage
        self._database = storage.history
        self._chunks = ChunkReader(storage.history)
        self._clock = clock
        self.timeouts = timeouts
        self._policies = policies
        self._flush = flush
        self._on_fault = on_fault
        #: The latest stamp and value of each series.
        self.latest: dict[int, tuple[int, Value]] = {}
        #: Why the disk refuses to write; None while it works.
        self.fault: str | None = None
        #: Values written to the log since the start.
        self.stored = 0
        self._open = Batch()
        self._queue: deque[Batch] = deque()
        self._space = trio.lowlevel.ParkingLot()
        self._wake = trio.Event()
        self._last_waiters = 0
        #: The number of the newest closed batch.
        self._number = 0
        #: The open segment, by series; then closed segments, oldest first.
        self._tails: dict[int, Tail] = {}
        self._segments: deque[Segment] = deque()
        #: Points in all segments and in the open one, without those of the open batch.
        self._uncompacted = self._in_tails = 0
        #: Whether there is space for one batch at most, so that a caller that can wait should; see `wait_for_space`.
        self.full = False
        self._next_segment = 1
        #: The newest stamp of the hub, and the end of the hour that it is in.
        self._stamp = 0
        self._hour_end = 0
        self._progress = CompactionProgress(0, 0, 0, EVERY_SERIES, 0)
        #: Segments from this number on are not compacted while a repair corrects the file.
        self._held_from = EVERY_SERIES
        #: When there is something to do besides commits, by the monotonic clock.
        self._work_at = float("inf")
        self._needs_pruning = True
        self.retention = Retention(self._database, clock, timeouts, policies, on_erased)
        queries = Queries(self._chunks, self._uncompacted_tails, self.retention.quarantine)
        self.points, self.buckets = queries.points, queries.buckets
        self.hours_as_json = queries.hours_as_json
        self.hours_together, self.days_together = queries.hours_together, queries.days_together
        #: Whether the file was replaced and lacks its tables or the latest values.
        self._unfilled = False
        #: What is wrong with the file, if it must be replaced.
        self._damage: str | None = None

    # -- writing --------------------------------------------------------------------------------------------------

    def _count_space(self) -> None:
        # One batch earlier than `put` refuses: a connection that stops reading now has already read some values.
        self.full = len(self._queue) >= MAX_QUEUED or self._uncompacted >= MAX_UNCOMPACTED - BATCH_ROWS

    def _close_batch(self) -> Batch:
        """Queue the open batch for its commit. Its values are counted here: counting each in `put` costs more."""
        batch, self._open = self._open, Batch()
        self._number = batch.number = self._number + 1
        self._queue.append(batch)
        self._in_tails += len(batch.entries)
        self._uncompacted += len(batch.entries)
        self._count_space()
        return batch

    @property
    def is_busy(self) -> bool:
        """Whether there are segments to compact, rows of the log to prune, or series to erase."""
        return bool(self._needs_pruning or self._segments or self.retention.erasing)

    @property
    def waiting(self) -> int:
        """Values that are accepted and wait for their commit."""
        return sum(len(batch.entries) for batch in self._queue) + len(self._open.entries)

    async def wait_for_space(self) -> None:
        """Return when there is space for more values."""
        while self.full:
            await self._space.park()

    def put(self, series: int, ts: int, value: Value, latest: bool, stamped: bool = True) -> Receipt:
        """Add a value to the open batch. Raises `Unavailable` when all buffers are full.

        ``latest``: it is the latest value of its series. ``stamped``: the hub's clock stamped it, not the client.
        """
        if stamped:
            if ts >= self._hour_end:
                self.roll_hour(ts)
            self._stamp = ts
        batch = self._open
        entries = batch.entries
        index = len(entries)
        if index >= BATCH_ROWS:
            if len(self._queue) >= MAX_QUEUED or self._uncompacted + index >= MAX_UNCOMPACTED:
                raise Unavailable("storage does not keep up" if self.fault is None else f"storage: {self.fault}")
            self._close_batch()
            batch = self._open
            entries, index = batch.entries, 0
            if self._in_tails >= SEGMENT_POINTS:
                self.close_segment()
        if not index:
            batch.due = self._clock.monotonic() + self._flush
            self._wake.set()
        try:
            tail = self._tails[series]
        except KeyError:
            tail = self._tails[series] = Tail(value)
        # The same as `Tail.append`; a call would double the time.
        tail.stamps.append(ts)
        try:
            tail.values.append(value)  # type: ignore[arg-type]
        except TypeError:
            tail.values = [*tail.values, value]
        if not stamped:
            tail.client_stamped = tail.client_stamped or set()
            tail.client_stamped.add(ts)
        flags = BOTH if latest and stamped else latest * LATEST | stamped * STAMPED
        entries.append((series, ts, value, flags))
        return Receipt(self, batch, index)

    def roll_hour(self, now: int) -> None:
        """Close the open segment if its hour is over. Also called regularly, for hubs that receive no values."""
        if now >= self._hour_end:
            self._hour_end = now - now % HOUR_MS + HOUR_MS
            self.close_segment()

    def close_segment(self) -> None:
        """Close the open segment, so that its values are compacted."""
        if not self._tails:
            return
        if self._open.entries:
            self._close_batch()
        latest = {series: self.latest[series] for series in self._tails if series in self.latest}
        state = SegmentState.CLOSED if self._queue else SegmentState.LOGGED
        self._segments.append(Segment(self._next_segment, self._tails, latest, self._stamp, self._number, state))
        self._next_segment += 1
        self._tails, self._in_tails = {}, 0
        self._work_at = 0.0
        self._wake.set()

    async def wait_for_commit(self, batch: Batch) -> None:
        """Return when a batch is committed. Raises `Unavailable` when the disk refuses or takes too long."""
        if self.fault is not None:
            raise Unavailable(f"storage: {self.fault}")
        batch.waiters += 1
        batch.due = min(batch.due, self._clock.monotonic() + self.timeouts.window)
        if batch.waiters == 1 or batch.waiters >= self._last_waiters:
            self._wake.set()
        with trio.move_on_after(self.timeouts.durable):
            await batch.lot.park()
        if not batch.done:
            raise Unavailable(f"storage: {self.fault or 'no commit in time'}")

    # -- committing -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit batches, and do the other work between commits, until cancelled. `close` then writes the rest."""
        while True:
            batch = await self._next_batch()
            if batch is not None:
                while not await self._commit(batch):  # noqa: ASYNC110 - no event announces that the disk works again
                    await trio.sleep(self.timeouts.retry)
            if self._damage is not None or self._clock.monotonic() >= self._work_at:
                await self._work()

    async def close(self) -> None:
        """Commit every value that was put."""
        if self._open.entries:
            self._close_batch()
        for batch in tuple(self._queue):
            if not (await self._commit(batch) or await self._commit(batch)):
                log.error("storage: %d values could not be written before the stop", len(batch.entries))
                return

    async def _next_batch(self) -> Batch | None:
        """Wait for the commit window to close and return the batch; None when there is other work to do."""
        if self._damage is not None:
            return None
        while not self._queue:
            batch, now = self._open, self._clock.monotonic()
            if batch.entries and (now >= batch.due or 0 < batch.waiters >= self._last_waiters):
                break
            if now >= self._work_at:
                return None
            self._wake = trio.Event()
            with trio.move_on_after(max(0.0, min(batch.due, self._work_at) - now)):
                await self._wake.wait()
            if self._damage is not None:
                return None
        if self._queue:
            return self._queue[0]
        return self._close_batch()

    async def _commit(self, batch: Batch) -> bool:
        """Write a batch to the log; False when the disk refused and the caller must try again."""

        async def append(tx: Transaction) -> dict[int, Exception]:
            return await log_table.append(tx, batch.number, batch.entries)

        try:
            if self._unfilled:
                await self._fill()
            batch.failures = await self._database.transaction(append)
            if batch.failures:
                for index in batch.failures:
                    self._drop(batch.entries[index])
                log.error("storage: %d values could not be stored and were dropped", len(batch.failures))
        except Damaged as error:
            await self._replace(str(error))
            return False
        except StorageError as error:
            self._set_fault(str(error))
            return False
        self._set_fault(None)
        self.stored += len(batch.entries) - len(batch.failures)
        self._last_waiters = batch.waiters
        batch.done = True
        if self._segments:
            self._work_at = 0.0
            for segment in self._segments:
                if segment.state is SegmentState.CLOSED and segment.last_batch <= batch.number:
                    segment.state = SegmentState.LOGGED
        batch.lot.unpark_all()
        self._queue.popleft()
        self._count_space()
        self._space.unpark_all()
        return True

    def _drop(self, entry: Entry) -> None:
        """Remove from memory a value that could not be stored, since no chunk could hold it either."""
        series, ts, value, _ = entry
        for latest in (self.latest, *(segment.latest for segment in self._segments)):
            if series in latest and latest[series][1] is value:
                del latest[series]
        for tails in (self._tails, *(segment.tails for segment in self._segments)):
            tail = tails.get(series) or Tail(value)
            for n in range(len(tail.stamps) - 1, -1, -1):
                if tail.stamps[n] == ts and _is_same(tail.values[n], value):
                    del tail.stamps[n], tail.values[n]
                    self._uncompacted -= 1
            if series in tails and not tail.stamps:
                del tails[series]

    def _set_fault(self, problem: str | None) -> None:
        if problem != self.fault:
            self.fault = problem
            self._on_fault(problem)

    # -- starting -------------------------------------------------------------------------------------------------

    async def load(self, known_series: Iterable[int]) -> int:
        """Read the latest values, and the values that are not compacted; return the newest stamp of the hub.

        Values of series that are not among ``known_series`` are skipped. A log that is larger than memory should hold,
        as an earlier version leaves it, is compacted here.
        """
        series = set(known_series)
        self.retention.start()
        self._work_at = 0.0
        try:
            await self._database.transaction(log_table.pack_rows)
            self.latest = {s: latest for s, latest in (await self._chunks.latest()).items() if s in series}
            self._progress = await self._chunks.progress()
            self._next_segment = self._progress.segment + 1
            self._stamp = self._progress.stamp
            self._number = self._progress.upto
            if not self._progress.is_complete:
                await self._load_segment(series)
            await self._replay(self._progress.upto, EVERY_SERIES, series)
        except Damaged as error:
            self._tails, self._segments = {}, deque()
            self._in_tails = self._uncompacted = 0
            await self._replace(str(error))
        self._count_space()
        newest = self._stamp or self._clock.now()
        self._hour_end = newest - newest % HOUR_MS + HOUR_MS
        return self._stamp

    async def _load_segment(self, known_series: set[int]) -> None:
        """Read the rest of the segment whose compaction was interrupted."""
        progress = self._progress
        await self._replay(progress.since, progress.upto, known_series, progress.series)
        latest = {s: self.latest[s] for s in self._tails if s in self.latest}
        state = SegmentState.COMPACTING
        self._segments.append(
            Segment(progress.segment, self._tails, latest, progress.stamp, progress.upto, state),
        )
        self._tails, self._in_tails = {}, 0

    async def _replay(self, after: int, upto: int, known_series: set[int], done: int = 0) -> None:
        """Read batches of the log into memory, as `put` left their values.

        ``after`` and ``upto`` are numbers of batches. Series up to the number ``done`` are compacted already.
        """
        last: int | None = after
        while last is not None:

            async def read(tx: Transaction, after: int = last) -> tuple[list[Entry], int | None]:
                return await log_table.read(tx, after, upto)

            entries, last = await self._database.read(read)
            for series, ts, value, flags in entries:
                if series not in known_series:
                    continue
                if flags & LATEST:
                    self.latest[series] = (ts, value)
                if flags & STAMPED:
                    self._stamp = max(self._stamp, ts)
                if series <= done:
                    continue
                tail = self._tails.get(series)
                if tail is None:
                    tail = self._tails[series] = Tail(value)
                tail.append(ts, value)
                if not flags & STAMPED:
                    tail.client_stamped = tail.client_stamped or set()
                    tail.client_stamped.add(ts)
                self._in_tails += 1
                self._uncompacted += 1
            self._number = max(self._number, last or 0)
            if upto == EVERY_SERIES and self._in_tails >= SEGMENT_POINTS:
                log.info("storage: moving %d values from the log into the history", self._uncompacted)
                self.close_segment()
                while self._segments:
                    await self._work_once()

    # -- work between commits -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Do one slice of the work that is due, and set the time of the next."""
        if self._damage is not None:
            damage, self._damage = self._damage, None
            await self._replace(damage)
            return
        try:
            if self._unfilled:
                await self._fill()
            await self._work_once()
            self._set_fault(None)
        except Damaged as error:
            await self._replace(str(error))
        except StorageError as error:
            self._set_fault(str(error))
            self._work_at = self._clock.monotonic() + self.timeouts.retry

    async def _work_once(self) -> None:
        now = self._clock.monotonic()
        if self._needs_pruning:
            self._needs_pruning = await self._prune()
        elif self._can_compact:
            await self._compact(self._segments[0])
        elif now >= self.retention.due:
            await self.retention.step()
        self._work_at = now if self._needs_pruning or self._can_compact else self.retention.due

    @property
    def _can_compact(self) -> bool:
        if not self._segments:
            return False
        oldest = self._segments[0]
        return oldest.state is not SegmentState.CLOSED and oldest.number < self._held_from

    async def _compact(self, segment: Segment) -> None:
        """Compact a slice of a segment; the last slice removes the segment and makes space for new values."""
        now = self._clock.now()
        chosen: list[tuple[int, Tail]] = []
        points = 0
        remaining = len(segment.remaining)
        while remaining and points < COMPACTION_POINTS:
            remaining -= 1
            # A tail is missing when none of its values could be stored.
            if tail := segment.tails.get(segment.remaining[remaining]):
                chosen.append((segment.remaining[remaining], tail))
                points += len(tail.stamps)
        last = chosen[-1][0] if remaining else EVERY_SERIES
        is_first = segment.state is not SegmentState.COMPACTING
        progress = CompactionProgress(
            segment=segment.number,
            since=self._progress.upto if is_first else self._progress.since,
            upto=segment.last_batch,
            series=last,
            stamp=max(segment.stamp, self._progress.stamp),
        )
        latest = [(series, segment.latest[series]) for series, _ in chosen if series in segment.latest]

        async def write(tx: Transaction) -> list[tuple[int, str]]:
            chunks = Chunks(tx)
            damaged = await compaction.compact(chunks, chosen, self._policies, now)
            await chunks.put_latest((s, value) for s, value in latest if self._policies(s) is not None)
            await chunks.set_progress(progress)
            return damaged

        damaged = await self._database.transaction(write)
        self._progress = progress
        segment.state = SegmentState.COMPACTING
        self.retention.report_damaged(damaged)
        del segment.remaining[remaining:]
        for series, tail in chosen:
            self._uncompacted -= len(tail.stamps)
            del segment.tails[series]
        if not remaining:
            self._segments.popleft()
            self._needs_pruning = True
        self._count_space()
        self._space.unpark_all()

    async def _prune(self) -> bool:
        """Delete a slice of the log whose values are in chunks; return whether there is more to delete."""
        upto = self._progress.upto if self._progress.is_complete else self._progress.since

        async def prune(tx: Transaction) -> bool:
            return await log_table.prune(tx, upto)

        return await self._database.transaction(prune)

    def _uncompacted_tails(self, series: int) -> list[tuple[int, Tail]]:
        """Return the tails of a series that are not in chunks, each with the number of its segment."""
        tails = [(segment.number, segment.tails[series]) for segment in self._segments if series in segment.tails]
        if tail := self._tails.get(series):
            tails.append((self._next_segment, tail))
        return tails

    def erase(self, series: Iterable[int]) -> None:
        """Forget series that have no policy any more. Their chunks and statistics are deleted in slices, later."""
        erased = list(series)
        for number in erased:
            self.latest.pop(number, None)
        self.retention.erase(erased)
        self._work_at = 0.0
        self._wake.set()

    # -- repairing stamps -----------------------------------------------------------------------------------------

    async def spans_after(self, cutoff: int) -> dict[int, Span]:
        """Count the values with stamps after ``cutoff``, with their first and last stamps, by series.

        Raises `StorageError`.
        """
        tails: dict[int, list[Tail]] = {}
        for by_series in (self._tails, *(segment.tails for segment in self._segments)):
            for series, tail in by_series.items():
                policy = self._policies(series)
                if policy is not None and policy.mode != "off":
                    tails.setdefault(series, []).append(tail)
        spans = spans_of_tails(tails, cutoff)
        for series, span in (await spans_after(self._database, cutoff)).items():
            if series in spans:
                spans[series].add(span)
            else:
                spans[series] = span
        # A datastream without a history has its latest value only.
        for series, (stamp, _) in self.latest.items():
            if stamp > cutoff and series not in spans:
                spans[series] = Span(1, stamp, stamp)
        return spans

    def begin_repair(self, cutoff: int | None) -> Batch | None:
        """Close the open segment, which the repair may correct; later segments are held back until `end_repair`.

        With a ``cutoff`` the hub's stamps continue from there. Return the batch after whose commit the closed segments
        are in the log; see `wait_for_batch`.
        """
        self.close_segment()
        self._held_from = self._next_segment
        if cutoff is not None:
            self._stamp = min(self._stamp, cutoff)
            self._hour_end = cutoff - cutoff % HOUR_MS + HOUR_MS
        return self._queue[-1] if self._queue else None

    async def wait_for_batch(self, batch: Batch | None) -> int:
        """Wait until a batch is in the log and return its number; without a batch, the newest number.

        Raises `Unavailable`.
        """
        if batch is None:
            return self._number
        if not batch.done:
            await self.wait_for_commit(batch)
        return batch.number

    def end_repair(self) -> None:
        """Let all segments be compacted again."""
        self._held_from = EVERY_SERIES
        self._work_at = 0.0
        self._wake.set()

    async def wait_until_compacted(self) -> None:
        """Return when the segments closed before `begin_repair`, or by it, are in chunks."""
        while self._segments and self._segments[0].number < self._held_from:
            await self._space.park()

    def repair(self, correction: Correction, affects: Callable[[int], bool]) -> HistoryRepair:
        """Return the repair of the file. Call `wait_until_compacted` before its first step, `finish_repair` at the end.

        ``affects`` returns whether a series is corrected.
        """
        return HistoryRepair(self._database, self._policies, correction, affects, self._clock.now)

    async def finish_repair(self, cutoff: int | None, repair: HistoryRepair) -> None:
        """Record that a repair is done; with a ``cutoff``, no stamp of the hub in the chunks is later than it."""
        self.retention.report_damaged(repair.damaged)
        repair.damaged.clear()
        progress = self._progress
        if cutoff is not None:
            progress = attrs.evolve(progress, stamp=min(progress.stamp, cutoff))
        await self._database.transaction(lambda tx: Chunks(tx).set_progress(progress))
        self._progress = progress

    async def continue_repair(
        self,
        known_series: Iterable[int],
        upto: int,
        cutoff: int | None,
        correction: Correction,
        affects: Callable[[int], bool],
    ) -> int:
        """Finish a repair that a stop interrupted, before `load`; return how many values it corrected.

        Batches of the log up to the number ``upto`` existed when the repair began. Raises `StorageError`.
        """
        series = set(known_series)
        self._progress = await self._chunks.progress()
        self._next_segment = self._progress.segment + 1
        self._stamp, self._number = self._progress.stamp, self._progress.upto
        self.latest = {s: latest for s, latest in (await self._chunks.latest()).items() if s in series}
        if not self._progress.is_complete:
            await self._load_segment(series)
        if upto > self._progress.upto:
            await self._replay(self._progress.upto, upto, series)
            self.close_segment()
        while self._segments:
            await self._work_once()
        repair = self.repair(correction, affects)
        while not repair.done:
            await repair.step()
        await self.finish_repair(cutoff, repair)
        return repair.moved

    # -- damage ---------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Check the whole file once: put damaged chunks into quarantine, and replace a damaged file."""
        try:
            self._damage = await self.retention.check()
        except StorageError as error:
            log.error("storage: the history file could not be checked: %s", error)
        self._wake.set()

    async def _replace(self, damage: str) -> None:
        """Put a damaged file aside and continue with a new one, with the latest values and all open segments."""
        try:
            await self._storage.put_history_aside(damage)
            self._unfilled = True
            await self._fill()
        except StorageError as error:
            self._set_fault(str(error))
            self._work_at = self._clock.monotonic() + self.timeouts.retry

    async def _fill(self) -> None:
        """Create the tables of a new file, with the latest values.

        Raises `StorageError`; the next commit then tries again.
        """
        await self._storage.migrate_history()
        latest = tuple(self.latest.items())
        # A segment that was being compacted begins again, under its number.
        completed = self._progress.segment - (not self._progress.is_complete)
        progress = CompactionProgress(completed, 0, 0, EVERY_SERIES, self._stamp)

        async def fill(tx: Transaction) -> None:
            chunks = Chunks(tx)
            await chunks.delete_latest()
            await chunks.put_latest(latest)
            await chunks.set_progress(progress)

        await self._database.transaction(fill)
        self._progress, self._unfilled = progress, False
        # The values of the old file's log are in memory; they go into the chunks of the new file at once.
        for segment in self._segments:
            if segment.state is not SegmentState.CLOSED:
                segment.state, segment.last_batch = SegmentState.LOGGED, 0
        self.close_segment()


def _is_same(stored: Value, value: Value) -> bool:
    """Whether a tail stores this very value. NaN, which no file takes, is not equal to itself."""
    return stored == value or (stored != stored and value != value)  # noqa: PLR0124
