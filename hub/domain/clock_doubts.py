"""The record of clock doubts: which stamps were given while the wall clock was not believed."""

from __future__ import annotations

from hub.clock import Clock
from hub.storage import Storage, Transaction


class ClockDoubts:
    """Persists the doubts that a clock has had since the start."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._persisted = 0

    async def persist(self) -> None:
        """Write the doubts that began or ended since the last call. Raises `StorageError`."""
        doubts = self._clock.doubts
        rows = [(doubt.began, doubt.state.value, doubt.wall, doubt.ended) for doubt in doubts[self._persisted :]]
        if not rows:
            return

        async def write(tx: Transaction) -> None:
            await tx.upsert_many("clock_doubts", ("began",), ("began", "state", "wall", "ended"), rows)

        await self._storage.transaction(write)
        # The last doubt is written again when it has ended.
        self._persisted = len(doubts) - (rows[-1][-1] is None)
