"""What is done to the history file besides writing it: old chunks go, erased series go, damage is looked for.

All of it in slices of a few milliseconds, between commits.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import trio

from hub.errors import StorageError
from hub.history import compaction
from hub.history.compaction import Policies
from hub.history.keys import series_of_chunk
from hub.storage import Damaged, Database, Transaction

if TYPE_CHECKING:
    from hub.clock import Clock

log = logging.getLogger(__name__)

#: Seconds between two passes over all chunks for what is older than it is kept, and before the first.
EXPIRE_EVERY = 86_400.0
EXPIRE_FIRST = 3_600.0
#: Series erased at once.
ERASE_AT_ONCE = 64
#: Seconds between two looks for damage: years of chunks take minutes, and nobody notices.
CHECK_PAUSE = 0.02
#: Rows of statistics looked at in one go.
CHECK_ROWS = 5_000


class Retention:
    def __init__(self, database: Database, clock: Clock, policies: Policies) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        #: Chunks found damaged since the start.
        self.damaged = 0
        #: Told which series are erased for good.
        self.on_erased: Callable[[list[int]], Awaitable[None]] | None = None
        self._gone: list[int] = []
        self._erasing: tuple[list[int], int] | None = None
        self._expire_at = float("inf")
        self._expire_from = 0

    def start(self) -> None:
        self._expire_at = trio.current_time() + EXPIRE_FIRST

    @property
    def erasing(self) -> bool:
        return bool(self._gone) or self._erasing is not None

    @property
    def due(self) -> float:
        """When `step` has something to do, by trio's clock."""
        return 0.0 if self.erasing else self._expire_at

    async def step(self) -> None:
        """Do one slice. Raises `StorageError`."""
        if self.erasing:
            await self._erase()
        else:
            await self._expire()

    async def costs(self) -> dict[int, float]:
        """Bytes that each series takes on disk in a month, going by the newest day that is sealed."""
        return dict(await self._database.fetch_all(compaction.COSTS))

    # -- what goes ------------------------------------------------------------------------------------------------

    async def _expire(self) -> None:
        """Look through some chunks for what is older than it is kept; not by a clock that may be wrong."""
        if not self._clock.believable:
            self._expire_at = trio.current_time() + EXPIRE_FIRST
            return
        now, after = self._clock.now(), self._expire_from

        async def expire(tx: Transaction) -> tuple[int, int | None]:
            return await compaction.expire(tx, after, self._policies, now)

        _, last = await self._database.transaction(expire)
        self._expire_from = last or 0
        if last is None:
            self._expire_at = trio.current_time() + EXPIRE_EVERY

    def erase(self, series: Sequence[int]) -> None:
        """Put series that have no policy any more on the list of what is erased."""
        self._gone += series

    async def _erase(self) -> None:
        if self._erasing is None:
            chosen, self._gone = self._gone[:ERASE_AT_ONCE], self._gone[ERASE_AT_ONCE:]
            self._erasing = (chosen, 0)
        series, hour = self._erasing

        async def erase(tx: Transaction) -> int | None:
            return await compaction.erase(tx, series, hour)

        further = await self._database.transaction(erase)
        if further is None and self.on_erased is not None:
            try:
                await self.on_erased(series)
            except StorageError as error:
                # Nothing is wrong with the history; the next start finds them on the list, and nothing left to erase.
                log.warning("storage: what was erased stays on the list: %s", error)
        self._erasing = None if further is None else (series, further)

    # -- damage ---------------------------------------------------------------------------------------------------

    async def check(self) -> str | None:
        """Look through all that is kept, once, and put damaged chunks aside; returns what is wrong with the file."""
        try:
            for table in ("migrations", "latest", "sealed", "log"):
                (verdict,), *_ = await self._database.fetch_all(f"PRAGMA quick_check('{table}')")
                if verdict != "ok":
                    return str(verdict)
            await self._check_chunks()
            for table in ("hours", "days"):
                row: int | None = 0
                sql = f"SELECT max(id) FROM (SELECT id, n FROM {table} WHERE id > ? ORDER BY id LIMIT {CHECK_ROWS})"
                while row is not None:
                    [(row,)] = await self._database.fetch_all(sql, (row,))
                    await trio.sleep(CHECK_PAUSE)
        except Damaged as error:
            return str(error)
        return None

    async def _check_chunks(self) -> None:
        after: int | None = 0
        while after is not None:
            key = after

            async def look(tx: Transaction, key: int = key) -> tuple[list[tuple[int, str]], int | None]:
                return await compaction.check(tx, key)

            found, after = await self._database.read(look)
            if found:
                await self.quarantine(found)
            await trio.sleep(CHECK_PAUSE)

    async def quarantine(self, chunks: list[tuple[int, str]]) -> None:
        """Take damaged chunks out of the way. Raises `StorageError`."""

        async def move(tx: Transaction) -> None:
            for key, _ in chunks:
                await compaction.quarantine(tx, key)

        await self._database.transaction(move)
        self.report_damaged(chunks)

    def report_damaged(self, chunks: list[tuple[int, str]]) -> None:
        """Count them, and say so."""
        for key, why in chunks:
            self.damaged += 1
            log.error("storage: a chunk of series %d is damaged (%s) and was put aside", series_of_chunk(key), why)
