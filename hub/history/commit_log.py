"""The hot log: every accepted value goes through group commit into one append-only table, and on from there.

`put` is sync and returns a receipt; whoever owes an acknowledgement awaits ``receipt.durable()``. The window of a
commit closes when as many waiters are back as the last commit had, at the latest after `WAIT_WINDOW`; when nobody
waits, after the configured flush time.

What is in the log is in memory too (`Tail`), until it is sealed into chunks: when an hour of the clock has passed, or
`SEGMENT_POINTS` have come, what came so far is cut off as a run, and written series by series in slices between commits.
The latest value of each series lives in memory; the table behind it is written with the chunks, so a start reads the
table and what is still in the log.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

import attrs
import trio

from hub.clock import Clock
from hub.errors import StorageError, Unavailable
from hub.history import compaction
from hub.history import log as commit_log
from hub.history.chunks import HOUR_MS
from hub.history.compaction import Policies, Sealed, Tail, read_state, write_sealed
from hub.history.keys import EVERY_SERIES
from hub.history.log import BOTH, LATEST, STAMPED, Entry
from hub.history.query import Queries
from hub.history.repair import HistoryRepair, Span, spans_after, spans_of_tails
from hub.history.retention import Upkeep
from hub.model import Value
from hub.stamps import Correction
from hub.storage import Damaged, Row, Storage, Transaction
from hub.values import unpack

log = logging.getLogger(__name__)

#: Values in one commit: about 10 ms of writing.
BATCH_ROWS = 5_000
#: Batches that may wait for the disk; then readers of devices stop, and writers are told Unavailable.
MAX_QUEUED = 8
#: Seconds that an acknowledgement may be held back in the hope of company.
WAIT_WINDOW = 0.010
#: Seconds after which whoever waits for a commit is told that it does not come.
DURABLE_TIMEOUT = 5.0
#: Seconds between two attempts to write what the disk did not take.
RETRY_AFTER = 1.0
#: Points that are cut off as a run before their hour is over, and that may wait to be sealed: 40 bytes each.
SEGMENT_POINTS = 250_000
MAX_UNCOMPACTED = 4 * SEGMENT_POINTS
#: Points sealed in one transaction: it must not hold up an acknowledgement by more than 10 ms.
COMPACTION_POINTS = 6_000


class Batch:
    """The values of one commit, and who waits for it."""

    __slots__ = ("bad", "done", "due", "entries", "lot", "number", "waiters")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.waiters = 0
        #: When it is to be committed at the latest, by trio's clock.
        self.due = float("inf")
        self.done = False
        self.bad: dict[int, Exception] = {}
        #: Under which it stands in the log; batches are numbered when nothing more can be put into them.
        self.number = 0
        self.lot = trio.lowlevel.ParkingLot()


class Receipt:
    """A position in a batch."""

    __slots__ = ("_batch", "_history", "_index")

    def __init__(self, history: History, batch: Batch, index: int) -> None:
        self._history = history
        self._batch = batch
        self._index = index

    async def durable(self) -> None:
        """Return when the value is on disk, as must be everything put before it. Raises `Unavailable`."""
        batch = self._batch
        if not batch.done:
            await self._history.committed(batch)
        if batch.bad and self._index in batch.bad:
            raise Unavailable(f"the value could not be stored: {batch.bad[self._index]}")

    async def settled(self) -> bool:
        """Return when the value is on disk, however long the disk refuses; False when it can never be."""
        batch = self._batch
        while not batch.done:
            try:
                await self._history.committed(batch)
            except Unavailable:
                await trio.sleep(RETRY_AFTER)
        return self._index not in batch.bad


@attrs.define(eq=False)
class Run:
    """What came up to one moment, on its way into chunks. ``tails`` loses what is sealed; ``latest`` is of then."""

    number: int
    tails: dict[int, Tail]
    latest: dict[int, tuple[int, Value]]
    stamp: int
    #: The commit that holds the newest of it, while it is not done; then its number.
    batch: Batch | None = None
    number_of_batch: int = 0
    #: Series in the order in which they are sealed.
    order: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.order = sorted(self.tails, reverse=True)

    @property
    def ready(self) -> bool:
        """Whether all of it is in the log."""
        return self.batch is None or self.batch.done

    @property
    def upto(self) -> int:
        return self.number_of_batch if self.batch is None else self.batch.number


class History:
    """``flush`` is in seconds. ``on_fault`` hears a sentence when the disk refuses, and None when it is over."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        policies: Policies,
        flush: float = 1.0,
        on_fault: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._storage = storage
        self._database = storage.history
        self._clock = clock
        self._policies = policies
        self._flush = flush
        self._on_trouble = on_fault
        #: Stamp and value by series: what everybody reads.
        self.latest: dict[int, tuple[int, Value]] = {}
        self.trouble: str | None = None
        self.stored = 0
        self._open = Batch()
        self._queue: deque[Batch] = deque()
        self._space = trio.lowlevel.ParkingLot()
        self._wake = trio.Event()
        self._last_waiters = 0
        #: Of the newest batch.
        self._number = 0
        #: What is in the log and not in chunks: what comes now, and runs that were cut off.
        self._tails: dict[int, Tail] = {}
        self._runs: deque[Run] = deque()
        #: Points of them, but for those in the open batch.
        self._unsealed = self._in_tails = 0
        #: Whether there is room for one batch at most, and whoever can wait should; see `wait_for_space`.
        self.full = False
        self._next_run = 1
        self._stamp = 0
        self._hour_end = 0
        self._sealed = Sealed(0, 0, 0, EVERY_SERIES, 0)
        #: Runs from this number on stay in the log while a repair corrects what was sealed.
        self._held_from = EVERY_SERIES
        #: When there is something to do besides commits, by trio's clock.
        self._work_at = float("inf")
        self._unpruned = True
        self.upkeep = Upkeep(self._database, clock, policies)
        queries = Queries(self._database, self._unsealed_of, self.upkeep.quarantine)
        self.points, self.buckets = queries.points, queries.buckets
        self.hours_as_json = queries.hours_as_json
        #: The file was begun anew and lacks its tables or the latest values.
        self._unfilled = False
        self._damage: str | None = None

    # -- putting --------------------------------------------------------------------------------------------------

    def _count_space(self) -> None:
        # One batch before `put` refuses: who stops reading when it is full has read something already.
        self.full = len(self._queue) >= MAX_QUEUED or self._unsealed >= MAX_UNCOMPACTED - BATCH_ROWS

    def _close_batch(self) -> Batch:
        """Let the open batch wait for its commit. What it holds is counted now: doing so for each value costs more."""
        batch, self._open = self._open, Batch()
        self._number = batch.number = self._number + 1
        self._queue.append(batch)
        self._in_tails += len(batch.entries)
        self._unsealed += len(batch.entries)
        self._count_space()
        return batch

    @property
    def working(self) -> bool:
        """Whether anything is on its way into chunks or out of them."""
        return bool(self._unpruned or self._runs or self.upkeep.erasing)

    async def wait_for_space(self) -> None:
        """Return when there is room again."""
        while self.full:
            await self._space.park()

    def put(self, series: int, ts: int, value: Value, latest: bool, stamped: bool = True) -> Receipt:
        """Add a value to the open batch; ``stamped`` by the hub's clock. Raises `Unavailable` when buffers are full."""
        if stamped:
            if ts >= self._hour_end:
                self.turn(ts)
            self._stamp = ts
        batch = self._open
        entries = batch.entries
        place = len(entries)
        if place >= BATCH_ROWS:
            if len(self._queue) >= MAX_QUEUED or self._unsealed + place >= MAX_UNCOMPACTED:
                raise Unavailable("storage does not keep up" if self.trouble is None else f"storage: {self.trouble}")
            self._close_batch()
            batch = self._open
            entries, place = batch.entries, 0
            if self._in_tails >= SEGMENT_POINTS:
                self.cut()
        if not place:
            batch.due = trio.current_time() + self._flush
            self._wake.set()
        try:
            tail = self._tails[series]
        except KeyError:
            tail = self._tails[series] = Tail(value)
        # As `Tail.append`, whose call would take as long as this.
        tail.stamps.append(ts)
        try:
            tail.values.append(value)  # type: ignore[arg-type]
        except TypeError:
            tail.values = [*tail.values, value]
        if not stamped:
            tail.own = tail.own or set()
            tail.own.add(ts)
        flags = BOTH if latest and stamped else latest * LATEST | stamped * STAMPED
        entries.append((series, ts, value, flags))
        return Receipt(self, batch, place)

    def turn(self, now: int) -> None:
        """Let an hour that is over go into its chunks; called by the clock too, for when nothing comes."""
        if now >= self._hour_end:
            self._hour_end = now - now % HOUR_MS + HOUR_MS
            self.cut()

    def cut(self) -> None:
        """Let what came so far go into its chunks."""
        if not self._tails:
            return
        if self._open.entries:
            self._close_batch()
        latest = {series: self.latest[series] for series in self._tails if series in self.latest}
        batch = self._queue[-1] if self._queue else None
        run = Run(self._next_run, self._tails, latest, self._stamp, batch, self._number)
        self._runs.append(run)
        self._next_run += 1
        self._tails, self._in_tails = {}, 0
        self._work_at = 0.0
        self._wake.set()

    async def committed(self, batch: Batch) -> None:
        """Wait for a batch's commit. Raises `Unavailable` when the disk does not take it."""
        if self.trouble is not None:
            raise Unavailable(f"storage: {self.trouble}")
        batch.waiters += 1
        batch.due = min(batch.due, trio.current_time() + WAIT_WINDOW)
        if batch.waiters == 1 or batch.waiters >= self._last_waiters:
            self._wake.set()
        with trio.move_on_after(DURABLE_TIMEOUT):
            await batch.lot.park()
        if not batch.done:
            raise Unavailable(f"storage: {self.trouble or 'no commit in time'}")

    # -- committing -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit batches until cancelled; `close` then writes what is left."""
        while True:
            batch = await self._next()
            if batch is not None:
                while not await self._commit(batch):  # noqa: ASYNC110 - the disk tells nobody when it is back
                    await trio.sleep(RETRY_AFTER)
            if self._damage is not None or trio.current_time() >= self._work_at:
                await self._work()

    async def close(self) -> None:
        """Write all that was put."""
        if self._open.entries:
            self._close_batch()
        for batch in tuple(self._queue):
            if not (await self._commit(batch) or await self._commit(batch)):
                log.error("storage: %d values could not be written before the stop", len(batch.entries))
                return

    async def _next(self) -> Batch | None:
        """The batch to commit when its window has closed, or None when there is something else to do."""
        if self._damage is not None:
            return None
        while not self._queue:
            batch, now = self._open, trio.current_time()
            if batch.entries and (now >= batch.due or 0 < batch.waiters >= self._last_waiters):
                break
            if now >= self._work_at:
                return None
            self._wake = trio.Event()
            with trio.move_on_at(min(batch.due, self._work_at)):
                await self._wake.wait()
            if self._damage is not None:
                return None
        if self._queue:
            return self._queue[0]
        return self._close_batch()

    async def _commit(self, batch: Batch) -> bool:
        """Write a batch; False when the disk did not take it and it is to be tried again."""

        async def append(tx: Transaction) -> dict[int, Exception]:
            return await commit_log.append(tx, batch.number, batch.entries)

        try:
            if self._unfilled:
                await self._fill()
            batch.bad = await self._database.transaction(append)
            if batch.bad:
                for index in batch.bad:
                    self._drop(batch.entries[index])
                log.error("storage: %d values could not be stored and were dropped", len(batch.bad))
        except Damaged as error:
            await self._replace(str(error))
            return False
        except StorageError as error:
            self._set_trouble(str(error))
            return False
        self._set_trouble(None)
        self.stored += len(batch.entries) - len(batch.bad)
        self._last_waiters = batch.waiters
        batch.done = True
        if self._runs:
            self._work_at = 0.0
        batch.lot.unpark_all()
        self._queue.popleft()
        self._count_space()
        self._space.unpark_all()
        return True

    def _drop(self, entry: Entry) -> None:
        """Take out of memory what could not be stored: no chunk could hold it either."""
        series, ts, value, _ = entry
        for latest in (self.latest, *(run.latest for run in self._runs)):
            if series in latest and latest[series][1] is value:
                del latest[series]
        for tails in (self._tails, *(run.tails for run in self._runs)):
            tail = tails.get(series) or Tail(value)
            for n in range(len(tail.stamps) - 1, -1, -1):
                if tail.stamps[n] == ts and _same(tail.values[n], value):
                    del tail.stamps[n], tail.values[n]
                    self._unsealed -= 1
            if series in tails and not tail.stamps:
                del tails[series]

    def _set_trouble(self, problem: str | None) -> None:
        if problem != self.trouble:
            self.trouble = problem
            self._on_trouble(problem)

    # -- starting -------------------------------------------------------------------------------------------------

    async def load(self, known: Iterable[int]) -> int:
        """Read the latest values of the ``known`` series and what is not sealed; returns the newest stamp of the hub.

        A log with more than memory should hold, as an earlier version leaves it, is sealed here.
        """
        series = set(known)
        self.upkeep.start()
        self._work_at = 0.0
        try:
            await self._database.transaction(commit_log.pack_rows)
            stored = await self._database.read(_read_latest)
            self.latest = {s: (ts, unpack(v)) for s, ts, v in stored if s in series}
            self._sealed, _ = await self._database.read(read_state)
            self._next_run = self._sealed.run + 1
            self._stamp = self._sealed.stamp
            self._number = self._sealed.upto
            if not self._sealed.whole:
                await self._load_run(series)
            await self._replay(self._sealed.upto, EVERY_SERIES, series)
        except Damaged as error:
            self._tails, self._runs = {}, deque()
            self._in_tails = self._unsealed = 0
            await self._replace(str(error))
        self._count_space()
        newest = self._stamp or self._clock.now()
        self._hour_end = newest - newest % HOUR_MS + HOUR_MS
        return self._stamp

    async def _load_run(self, known: set[int]) -> None:
        """Read what is left of the run that was being sealed."""
        await self._replay(self._sealed.since, self._sealed.upto, known, self._sealed.series)
        run = Run(self._sealed.run, self._tails, {}, self._sealed.stamp, None, self._sealed.upto)
        run.latest = {s: self.latest[s] for s in run.tails if s in self.latest}
        self._runs.append(run)
        self._tails, self._in_tails = {}, 0

    async def _replay(self, after: int, upto: int, known: set[int], done: int = 0) -> None:
        """Read batches of the log into memory, as `put` left their values; series up to ``done`` are sealed already."""
        last: int | None = after
        while last is not None:

            async def read(tx: Transaction, after: int = last) -> tuple[list[Entry], int | None]:
                return await commit_log.read(tx, after, upto)

            entries, last = await self._database.read(read)
            for series, ts, value, flags in entries:
                if series not in known:
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
                    tail.own = tail.own or set()
                    tail.own.add(ts)
                self._in_tails += 1
                self._unsealed += 1
            self._number = max(self._number, last or 0)
            if upto == EVERY_SERIES and self._in_tails >= SEGMENT_POINTS:
                log.info("storage: %d values of the log go into the history", self._unsealed)
                self.cut()
                while self._runs:
                    await self._work_once()

    # -- besides commits ------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Do one slice of what is due, and put down when the next is."""
        if self._damage is not None:
            damage, self._damage = self._damage, None
            await self._replace(damage)
            return
        try:
            if self._unfilled:
                await self._fill()
            await self._work_once()
            self._set_trouble(None)
        except Damaged as error:
            await self._replace(str(error))
        except StorageError as error:
            self._set_trouble(str(error))
            self._work_at = trio.current_time() + RETRY_AFTER

    async def _work_once(self) -> None:
        now = trio.current_time()
        if self._unpruned:
            self._unpruned = await self._prune()
        elif self._can_seal:
            await self._seal(self._runs[0])
        elif now >= self.upkeep.due:
            await self.upkeep.step()
        self._work_at = now if self._unpruned or self._can_seal else self.upkeep.due

    @property
    def _can_seal(self) -> bool:
        return bool(self._runs) and self._runs[0].ready and self._runs[0].number < self._held_from

    async def _seal(self, run: Run) -> None:
        """Seal a slice of a run; the last one makes room for new values."""
        now = self._clock.now()
        chosen: list[tuple[int, Tail]] = []
        points = 0
        left = len(run.order)
        while left and points < COMPACTION_POINTS:
            left -= 1
            # What could not be stored is not there any more.
            if tail := run.tails.get(run.order[left]):
                chosen.append((run.order[left], tail))
                points += len(tail.stamps)
        last = chosen[-1][0] if left else EVERY_SERIES
        since = self._sealed.since if self._sealed.run == run.number else self._sealed.upto
        sealed = Sealed(run.number, since, run.upto, last, max(run.stamp, self._sealed.stamp))
        latest = [(series, run.latest[series]) for series, _ in chosen if series in run.latest]

        async def write(tx: Transaction) -> list[tuple[int, str]]:
            damaged = await compaction.seal(tx, chosen, self._policies, now)
            await compaction.keep_latest(tx, ((s, kept) for s, kept in latest if self._policies(s) is not None))
            await write_sealed(tx, sealed)
            return damaged

        found = await self._database.transaction(write)
        self._sealed = sealed
        self.upkeep.found_damaged(found)
        del run.order[left:]
        for series, tail in chosen:
            self._unsealed -= len(tail.stamps)
            del run.tails[series]
        if not left:
            self._runs.popleft()
            self._unpruned = True
        self._count_space()
        self._space.unpark_all()

    async def _prune(self) -> bool:
        """Delete a slice of the log that is in chunks; True when there is more."""
        upto = self._sealed.upto if self._sealed.whole else self._sealed.since

        async def prune(tx: Transaction) -> bool:
            return await commit_log.prune(tx, upto)

        return await self._database.transaction(prune)

    def _unsealed_of(self, series: int) -> list[tuple[int, Tail]]:
        """What is not in chunks of a series, and the run that it is sealed in, or will be."""
        found = [(run.number, run.tails[series]) for run in self._runs if series in run.tails]
        if tail := self._tails.get(series):
            found.append((self._next_run, tail))
        return found

    def erase(self, series: Iterable[int]) -> None:
        """Forget series that have no policy any more; what is on disk of them goes in slices."""
        gone = list(series)
        for one in gone:
            self.latest.pop(one, None)
        self.upkeep.erase(gone)
        self._work_at = 0.0
        self._wake.set()

    # -- repairing stamps -----------------------------------------------------------------------------------------

    async def spans_after(self, cutoff: int) -> dict[int, Span]:
        """How many values have stamps after ``cutoff``, and which, by series. Raises `StorageError`."""
        tails: dict[int, list[Tail]] = {}
        for some in (self._tails, *(run.tails for run in self._runs)):
            for series, tail in some.items():
                policy = self._policies(series)
                if policy is not None and policy.mode != "off":
                    tails.setdefault(series, []).append(tail)
        spans = spans_of_tails(tails, cutoff)
        for series, span in (await spans_after(self._database, cutoff)).items():
            if series in spans:
                spans[series].add(span)
            else:
                spans[series] = span
        # Of a datastream without a history, nothing else is left.
        for series, (stamp, _) in self.latest.items():
            if stamp > cutoff and series not in spans:
                spans[series] = Span(1, stamp, stamp)
        return spans

    def begin_repair(self, cutoff: int | None) -> Batch | None:
        """Separate what came so far, which `repair` may correct, from what comes now, which stays in the log meanwhile.

        With a ``cutoff`` the hub's stamps go on from there. Returns the commit after which all of it is in the log; see
        `last_batch`. Ended by `end_repair`.
        """
        self.cut()
        self._held_from = self._next_run
        if cutoff is not None:
            self._stamp = min(self._stamp, cutoff)
            self._hour_end = cutoff - cutoff % HOUR_MS + HOUR_MS
        return self._queue[-1] if self._queue else None

    async def last_batch(self, batch: Batch | None) -> int:
        """The number of a batch of the log, or of the newest, when it is there. Raises `Unavailable` when it is not."""
        if batch is None:
            return self._number
        if not batch.done:
            await self.committed(batch)
        return batch.number

    def end_repair(self) -> None:
        """Let everything go into its chunks again."""
        self._held_from = EVERY_SERIES
        self._work_at = 0.0
        self._wake.set()

    async def all_sealed(self) -> None:
        """Return when what came before `begin_repair` is in its chunks."""
        while self._runs and self._runs[0].number < self._held_from:
            await self._space.park()

    def repair(self, correction: Correction, affects: Callable[[int], bool]) -> HistoryRepair:
        """What corrects the file; `all_sealed` comes first, `repaired` last."""
        return HistoryRepair(self._database, self._policies, correction, affects, self._clock.now)

    async def repaired(self, cutoff: int | None, repair: HistoryRepair) -> None:
        """Note that a repair is done; with a ``cutoff``, no stamp of the hub is later in what is sealed."""
        self.upkeep.found_damaged(repair.damaged)
        repair.damaged.clear()
        sealed = self._sealed if cutoff is None else attrs.evolve(self._sealed, stamp=min(self._sealed.stamp, cutoff))
        await self._database.transaction(lambda tx: write_sealed(tx, sealed))
        self._sealed = sealed

    async def continue_repair(
        self,
        known: Iterable[int],
        upto: int,
        cutoff: int | None,
        correction: Correction,
        affects: Callable[[int], bool],
    ) -> int:
        """Finish a repair that was cut short, before anything else is done; returns how many values it corrected.

        Batches of the log up to ``upto`` were there when it began. Raises `StorageError`.
        """
        series = set(known)
        self._sealed, _ = await self._database.read(read_state)
        self._next_run = self._sealed.run + 1
        self._stamp, self._number = self._sealed.stamp, self._sealed.upto
        self.latest = {s: (ts, unpack(v)) for s, ts, v in await self._database.read(_read_latest) if s in series}
        if not self._sealed.whole:
            await self._load_run(series)
        if upto > self._sealed.upto:
            await self._replay(self._sealed.upto, upto, series)
            self.cut()
        while self._runs:
            await self._work_once()
        repair = self.repair(correction, affects)
        while not repair.done:
            await repair.step()
        await self.repaired(cutoff, repair)
        return repair.moved

    # -- damage ---------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Look through all that is kept, once; damaged chunks are put aside, a damaged file is begun anew."""
        try:
            self._damage = await self.upkeep.check()
        except StorageError as error:
            log.error("storage: the history file could not be checked: %s", error)
        self._wake.set()

    async def _replace(self, damage: str) -> None:
        """Put a damaged file aside and go on with a new one that holds the latest values and what was not sealed."""
        try:
            await self._storage.put_history_aside(damage)
            self._unfilled = True
            await self._fill()
        except StorageError as error:
            self._set_trouble(str(error))
            self._work_at = trio.current_time() + RETRY_AFTER

    async def _fill(self) -> None:
        """Make what a new file needs. Raises `StorageError`; it is then tried again before the next commit."""
        await self._storage.migrate_history()
        latest = tuple(self.latest.items())
        sealed = Sealed(self._sealed.run - (not self._sealed.whole), 0, 0, EVERY_SERIES, self._stamp)

        async def fill(tx: Transaction) -> None:
            await tx.execute("DELETE FROM latest")
            await compaction.keep_latest(tx, latest)
            await write_sealed(tx, sealed)

        await self._database.transaction(fill)
        self._sealed, self._unfilled = sealed, False
        # What the old file's log held is in memory, and goes into the new one's chunks at once.
        for run in self._runs:
            if run.ready:
                run.batch, run.number_of_batch = None, 0
        self.cut()


def _same(kept: Value, value: Value) -> bool:
    """Whether a tail keeps this very value; NaN, which no file takes, is not equal to itself."""
    return kept == value or (kept != kept and value != value)  # noqa: PLR0124


async def _read_latest(tx: Transaction) -> list[Row]:
    return await tx.fetch_all("SELECT series, ts, v FROM latest")
