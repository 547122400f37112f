"""The hot log: every accepted value goes through group commit into one append-only table.

`put` is sync and returns a receipt; whoever owes an acknowledgement awaits ``receipt.durable()``. The window of a
commit closes when as many waiters are back as the last commit had, at the latest after `WAIT_WINDOW`; when nobody
waits, after the configured flush time. The latest value of each series lives in memory; the table behind it is folded
from the log itself in slices, so a start replays only what came after the last fold.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

import trio

from hub.clock import Clock
from hub.errors import StorageError, Unavailable
from hub.model import Value
from hub.storage import POISON, Damaged, Row, Storage, Transaction
from hub.values import pack, unpack

log = logging.getLogger(__name__)

#: Rows in one commit: about 40 ms of writing.
BATCH_ROWS = 5_000
#: Batches that may wait for the disk; then readers of devices stop, and writers are told Unavailable.
MAX_QUEUED = 8
#: Seconds that an acknowledgement may be held back in the hope of company.
WAIT_WINDOW = 0.010
#: Seconds after which whoever waits for a commit is told that it does not come.
DURABLE_TIMEOUT = 5.0
#: Seconds between two attempts to write what the disk did not take.
RETRY_AFTER = 1.0
#: Seconds between two folds of the log into the table of latest values.
FOLD_EVERY = 30.0
#: Log rows folded, or deleted, in one transaction: it must not hold up an acknowledgement by more than 10 ms.
SLICE = 5_000
#: Bits of ``hot.flags``: the value became the latest of its series; the hub's clock stamped it.
LATEST, STAMPED = 1, 2


class Batch:
    """The rows of one commit, and who waits for it."""

    __slots__ = ("bad", "done", "lot", "opened", "rows", "waiters")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.waiters = 0
        self.opened = 0.0
        self.done = False
        self.bad: dict[int, Exception] = {}
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


class History:
    """``flush`` is in seconds. ``on_trouble`` hears a sentence when the disk refuses, and None when it is over."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        flush: float = 1.0,
        retain_ms: int = 90 * 86_400_000,
        max_rows: int = 20_000_000,
        on_trouble: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._storage = storage
        self._database = storage.history
        self._clock = clock
        self._flush = flush
        self._retain_ms = retain_ms
        self._max_rows = max_rows
        self._on_trouble = on_trouble
        #: Stamp and value by series: what everybody reads.
        self.latest: dict[int, tuple[int, Value]] = {}
        self.trouble: str | None = None
        self.stored = 0
        self._open = Batch()
        self._queue: deque[Batch] = deque()
        self._room = trio.lowlevel.ParkingLot()
        self._wake = trio.Event()
        self._last_waiters = 0
        self._fold_at: float | None = None
        self._prune_at = 0.0
        self._prune_from = 0
        #: The file was begun anew and lacks its tables or the latest values.
        self._unfilled = False
        self._damage: str | None = None

    # -- putting --------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether nothing more can be put; see `room`."""
        return len(self._queue) >= MAX_QUEUED

    async def room(self) -> None:
        """Return when there is room again."""
        while self.full:
            await self._room.park()

    def put(self, series: int, ts: int, value: Value, latest: bool, stamped: bool = True) -> Receipt:
        """Add a value to the open batch; ``stamped`` by the hub's clock. Raises `Unavailable` when buffers are full."""
        batch = self._open
        rows = batch.rows
        if len(rows) >= BATCH_ROWS:
            if len(self._queue) >= MAX_QUEUED:
                raise Unavailable("storage does not keep up" if self.trouble is None else f"storage: {self.trouble}")
            self._queue.append(batch)
            batch = self._open = Batch()
            rows = batch.rows
        if not rows:
            batch.opened = trio.current_time()
            self._wake.set()
        flags = LATEST * latest + STAMPED * stamped
        rows.append((series, ts, pack(value) if type(value) is tuple else value, flags))
        return Receipt(self, batch, len(rows) - 1)

    async def committed(self, batch: Batch) -> None:
        """Wait for a batch's commit. Raises `Unavailable` when the disk does not take it."""
        if self.trouble is not None:
            raise Unavailable(f"storage: {self.trouble}")
        batch.waiters += 1
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
            if batch is None:
                await self._housekeep()
                continue
            while not await self._commit(batch):  # noqa: ASYNC110 - the disk tells nobody when it is back
                await trio.sleep(RETRY_AFTER)
            if self._fold_at is not None and trio.current_time() >= self._fold_at:
                await self._housekeep()

    async def close(self) -> None:
        """Write all that was put and bring the table of latest values up to date."""
        batches = [*self._queue, self._open]
        for batch in batches:
            if batch.rows and not batch.done and not (await self._commit(batch) or await self._commit(batch)):
                log.error("storage: %d values could not be written before the stop", len(batch.rows))
                return
        try:
            while await self._fold():
                pass
        except StorageError as error:
            log.warning("storage: latest values not checkpointed at the stop (%s); the next start takes longer", error)

    async def _next(self) -> Batch | None:
        """The batch to commit when its window has closed, or None when there is housekeeping to do."""
        if self._damage is not None:
            return None
        while not self._queue:
            batch = self._open
            if batch.rows:
                if batch.waiters and batch.waiters >= self._last_waiters:
                    break
                deadline = batch.opened + self._flush
                if batch.waiters:
                    deadline = min(deadline, trio.current_time() + WAIT_WINDOW)
            else:
                deadline = self._fold_at if self._fold_at is not None else float("inf")
            self._wake = trio.Event()
            with trio.move_on_at(deadline) as window:
                await self._wake.wait()
            if window.cancelled_caught or self._damage is not None:
                if not batch.rows or self._damage is not None:
                    return None
                break
        if self._queue:
            return self._queue[0]
        batch, self._open = self._open, Batch()
        self._queue.append(batch)
        return batch

    async def _commit(self, batch: Batch) -> bool:
        """Write a batch; False when the disk did not take it and it is to be tried again."""

        async def insert(tx: Transaction) -> None:
            await tx.insert_many("hot", _COLUMNS, batch.rows)

        async def insert_singly(tx: Transaction) -> dict[int, Exception]:
            bad: dict[int, Exception] = {}
            for index, row in enumerate(batch.rows):
                try:
                    await tx.execute("INSERT INTO hot (series, ts, v, flags) VALUES (?, ?, ?, ?)", row)
                except POISON as error:
                    bad[index] = error
            return bad

        try:
            if self._unfilled:
                await self._fill()
            try:
                await self._database.transaction(insert)
            except POISON:
                batch.bad = await self._database.transaction(insert_singly)
                log.error("storage: %d values could not be stored and were dropped", len(batch.bad))
        except Damaged as error:
            await self._replace(str(error))
            return False
        except StorageError as error:
            self._set_trouble(str(error))
            return False
        self._set_trouble(None)
        self.stored += len(batch.rows) - len(batch.bad)
        self._last_waiters = batch.waiters
        batch.done = True
        batch.lot.unpark_all()
        if self._queue and self._queue[0] is batch:
            self._queue.popleft()
            self._room.unpark_all()
        if self._fold_at is None:
            self._fold_at = trio.current_time() + FOLD_EVERY
        return True

    def _set_trouble(self, problem: str | None) -> None:
        if problem != self.trouble:
            self.trouble = problem
            self._on_trouble(problem)

    # -- latest values --------------------------------------------------------------------------------------------

    async def load(self, known: Iterable[int]) -> int:
        """Read the latest values of the ``known`` series; returns the newest stamp of the hub. Others' are swept."""
        series = set(known)

        async def read(tx: Transaction) -> tuple[list[Row], list[Row], int]:
            after = "id > (SELECT hot_id FROM covered)"
            stored = await tx.fetch_all("SELECT series, ts, v FROM latest")
            since = await tx.fetch_all(f"SELECT series, ts, v FROM hot WHERE {after} AND flags & 1 ORDER BY id")  # noqa: S608
            newest = (
                f"SELECT max(stamp, coalesce((SELECT max(ts) FROM hot WHERE {after} AND flags & 2), 0)) FROM covered"  # noqa: S608
            )
            return stored, since, (await tx.fetch_one(newest) or (0,))[0]

        try:
            stored, since, stamp = await self._database.read(read)
        except Damaged as error:
            await self._replace(str(error))
            return 0
        orphans = [row[0] for row in stored if row[0] not in series]
        self.latest = {s: (ts, unpack(v)) for s, ts, v in (*stored, *since) if s in series}
        if orphans:
            await self._delete_latest(orphans)
        if since:
            self._fold_at = trio.current_time()
        return stamp

    async def forget(self, series: Iterable[int]) -> None:
        """Drop the latest values of series that are no more."""
        gone = [s for s in series if self.latest.pop(s, None) is not None]
        if gone:
            await self._delete_latest(gone)

    async def _delete_latest(self, series: list[int]) -> None:
        async def delete(tx: Transaction) -> None:
            for one in series:
                await tx.execute("DELETE FROM latest WHERE series = ?", (one,))

        await self._database.transaction(delete)

    async def _housekeep(self) -> None:
        """One slice of folding, then of pruning. Sets when the next is due."""
        now = trio.current_time()
        if self._damage is not None:
            damage, self._damage = self._damage, None
            await self._replace(damage)
            return
        try:
            more = await self._fold()
            self._set_trouble(None)
            if more:
                self._fold_at = now
            elif now >= self._prune_at:
                if not await self._prune():
                    self._prune_at = now + 3600
                self._fold_at = now
            else:
                self._fold_at = None
        except Damaged as error:
            await self._replace(str(error))
        except StorageError as error:
            self._set_trouble(str(error))
            self._fold_at = now + RETRY_AFTER

    async def _fold(self) -> bool:
        """Fold a slice of the log into the table of latest values; True when there is more."""

        async def fold(tx: Transaction) -> bool:
            covered, newest = await tx.fetch_one("SELECT hot_id, (SELECT max(id) FROM hot) FROM covered") or (0, 0)
            if newest is None or newest <= covered:
                return False
            upto = min(newest, covered + SLICE)
            # SQLite takes the bare columns from the row that max() picked.
            await tx.execute(
                "INSERT INTO latest (series, ts, v)"
                " SELECT series, ts, v FROM"
                " (SELECT series, ts, v, max(id) FROM hot WHERE id > ? AND id <= ? AND flags & 1 GROUP BY series)"
                " WHERE true ON CONFLICT (series) DO UPDATE SET ts = excluded.ts, v = excluded.v",
                (covered, upto),
            )
            stamp = "SELECT max(ts) FROM hot WHERE id > ? AND id <= ? AND flags & 2"
            await tx.execute(
                f"UPDATE covered SET hot_id = ?, stamp = max(stamp, coalesce(({stamp}), 0))",  # noqa: S608
                (upto, covered, upto),
            )
            return bool(upto < newest)

        return await self._database.transaction(fold)

    async def _prune(self) -> bool:
        """Delete a slice of what is older than the retention, or over the cap; True when there is more."""
        cutoff = self._clock.now() - self._retain_ms if self._clock.believable else 0

        async def prune(tx: Transaction) -> tuple[int, int, bool]:
            bounds = await tx.fetch_one("SELECT min(id), max(id), (SELECT hot_id FROM covered) FROM hot")
            oldest, newest, covered = bounds or (None, None, 0)
            if oldest is None:
                return 0, 0, False
            over = newest - oldest >= self._max_rows
            start = oldest if over else max(oldest, self._prune_from)
            upto = min(start + SLICE, covered)
            old = "" if over else f" AND ts < {cutoff}"
            await tx.execute(f"DELETE FROM hot WHERE id >= ? AND id < ?{old}", (start, upto))  # noqa: S608
            changes = await tx.fetch_one("SELECT changes()")
            return changes[0] if changes else 0, upto, over

        deleted, upto, over = await self._database.transaction(prune)
        if over and deleted:
            log.warning(
                "storage: the log is at its cap of %d values; the oldest %d were dropped", self._max_rows, deleted
            )
        # A value with a late stamp stays, and must not hide the older ones behind it.
        self._prune_from = upto if deleted else 0
        return deleted > 0

    # -- damage ---------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Look for damage in the file; if there is, `run` starts a new one."""
        try:
            self._damage = await self._database.damage()
        except StorageError as error:
            log.error("storage: the history file could not be checked: %s", error)
        self._wake.set()

    async def _replace(self, damage: str) -> None:
        """Put a damaged file aside and go on with a new one that holds the latest values."""
        try:
            await self._storage.put_history_aside(damage)
            self._unfilled = True
            await self._fill()
        except StorageError as error:
            self._set_trouble(str(error))

    async def _fill(self) -> None:
        """Make what a new file needs. Raises `StorageError`; it is then tried again before the next commit."""
        await self._storage.migrate_history()
        rows = [(series, ts, pack(value)) for series, (ts, value) in self.latest.items()]

        async def fill(tx: Transaction) -> None:
            await tx.execute("DELETE FROM latest")
            await tx.insert_many("latest", ("series", "ts", "v"), rows)

        await self._database.transaction(fill)
        self._unfilled = False


_COLUMNS = ("series", "ts", "v", "flags")
