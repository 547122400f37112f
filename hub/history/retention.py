"""Maintenance of the history file: delete expired chunks and erased series, and check for damage.

All of it is done in slices of a few milliseconds, between commits.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal

import trio

from hub.errors import StorageError
from hub.history import compaction
from hub.history.chunkstore import ChunkReader, Chunks
from hub.history.compaction import Policies
from hub.history.keys import series_of_chunk
from hub.history.timeouts import HistoryTimeouts
from hub.storage import Damaged, Database, Transaction

if TYPE_CHECKING:
    from hub.clock import Clock

log = logging.getLogger(__name__)

#: Series erased together.
ERASE_AT_ONCE = 64
#: Seconds between two slices of a check: years of chunks take minutes, without a noticeable load.
CHECK_PAUSE = 0.02


class Retention:
    """The maintenance of one history file, one slice at a time."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        timeouts: HistoryTimeouts,
        policies: Policies,
        on_erased: Callable[[list[int]], Awaitable[None]],
    ) -> None:
        """``on_erased`` is called with the series of which nothing is left in the file."""
        self._database = database
        self._chunks = ChunkReader(database)
        self._clock = clock
        self._timeouts = timeouts
        self._policies = policies
        #: The number of damaged chunks that were found since the start.
        self.damaged = 0
        self._on_erased = on_erased
        self._to_erase: list[int] = []
        #: The series that are being erased, and the hour of the next slice.
        self._erasing: tuple[list[int], int] | None = None
        #: The monotonic time of the next slice of a pass over all chunks, and the key that it begins after.
        self._expire_at = float("inf")
        self._expire_from = 0

    def start(self) -> None:
        self._expire_at = self._clock.monotonic() + self._timeouts.expire_first

    @property
    def erasing(self) -> bool:
        return bool(self._to_erase) or self._erasing is not None

    @property
    def due(self) -> float:
        """The time at which `step` has something to do, by the monotonic clock."""
        return 0.0 if self.erasing else self._expire_at

    async def step(self) -> None:
        """Do one slice. Raises `StorageError`."""
        if self.erasing:
            await self._erase()
        else:
            await self._expire()

    async def costs(self) -> dict[int, float]:
        """Return the bytes that each series takes on disk in a month, estimated from the newest day in chunks."""
        return await self._chunks.costs()

    # -- deleting -------------------------------------------------------------------------------------------------

    async def _expire(self) -> None:
        """Delete the expired chunks of a slice, unless the clock may be wrong."""
        if not self._clock.believable:
            self._expire_at = self._clock.monotonic() + self._timeouts.expire_first
            return
        now, after = self._clock.now(), self._expire_from

        async def expire(tx: Transaction) -> tuple[int, int | None]:
            return await compaction.expire(Chunks(tx), after, self._policies, now)

        _, last = await self._database.transaction(expire)
        self._expire_from = last or 0
        if last is None:
            self._expire_at = self._clock.monotonic() + self._timeouts.expire_every

    def erase(self, series: Sequence[int]) -> None:
        """Queue series that have no policy any more; `step` erases them."""
        self._to_erase += series

    async def _erase(self) -> None:
        if self._erasing is None:
            chosen, self._to_erase = self._to_erase[:ERASE_AT_ONCE], self._to_erase[ERASE_AT_ONCE:]
            self._erasing = (chosen, 0)
        series, hour = self._erasing

        async def erase(tx: Transaction) -> int | None:
            return await Chunks(tx).erase(series, hour)

        next_hour = await self._database.transaction(erase)
        if next_hour is None:
            try:
                await self._on_erased(series)
            except StorageError as error:
                # The history itself works. The next start erases these series again, and finds nothing of them.
                log.warning("storage: erased series could not be removed from the list of series to erase: %s", error)
        self._erasing = None if next_hour is None else (series, next_hour)

    # -- damage ---------------------------------------------------------------------------------------------------

    async def check(self) -> str | None:
        """Check the whole file once, and put damaged chunks into quarantine; return what is wrong with the file."""
        try:
            if damage := await self._chunks.damage():
                return damage
            await self._check_chunks()
            tables: tuple[Literal["hours", "days"], ...] = ("hours", "days")
            for table in tables:
                key: int | None = 0
                while key is not None:
                    key = await self._chunks.check_statistics(table, key)
                    await trio.sleep(CHECK_PAUSE)
        except Damaged as error:
            return str(error)
        return None

    async def _check_chunks(self) -> None:
        after: int | None = 0
        while after is not None:
            key = after

            async def check(tx: Transaction, key: int = key) -> tuple[list[tuple[int, str]], int | None]:
                return await compaction.check(ChunkReader(tx), key)

            damaged, after = await self._database.read(check)
            if damaged:
                await self.quarantine(damaged)
            await trio.sleep(CHECK_PAUSE)

    async def quarantine(self, chunks: list[tuple[int, str]]) -> None:
        """Move damaged chunks to the table ``quarantine``, and report them. Raises `StorageError`."""

        async def move(tx: Transaction) -> None:
            for key, _ in chunks:
                await Chunks(tx).quarantine(key)

        await self._database.transaction(move)
        self.report_damaged(chunks)

    def report_damaged(self, chunks: list[tuple[int, str]]) -> None:
        """Count damaged chunks, given as (key, reason), and log them."""
        for key, reason in chunks:
            self.damaged += 1
            log.error("storage: a chunk of series %d is damaged (%s) and was put aside", series_of_chunk(key), reason)
