"""Timers: many deadlines in one task, which can be postponed and cancelled cheaply."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable

import trio

#: Deadlines that are called before other tasks get their turn.
AT_ONCE = 500
#: Cancelled deadlines that may stay in the heap.
MOST_STALE = 64


class Timers:
    """Deadlines by key; ``due(key)`` is called when one has passed, is sync and must not block.

    Times are those of ``monotonic``, which runs as fast as trio's clock.
    """

    def __init__(self, due: Callable[[Hashable], None], monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._due = due
        self._at: dict[Hashable, float] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._count = 0
        self._wake = trio.Event()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._at

    def set(self, key: Hashable, at: float) -> None:
        """Set or replace the deadline of ``key``."""
        previous = self._at.get(key)
        self._at[key] = at
        # A deadline that is postponed is pushed again when it would have been due.
        if previous is None or at < previous:
            self._push(key, at)

    def cancel(self, key: Hashable) -> None:
        self._at.pop(key, None)
        if len(self._heap) > MOST_STALE and len(self._heap) > 4 * len(self._at):
            # A key that is set and cancelled again and again must not fill the heap.
            self._heap = [(at, number, key) for number, (key, at) in enumerate(self._at.items())]
            heapq.heapify(self._heap)
            self._count = len(self._heap)

    def _push(self, key: Hashable, at: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        if self._heap[0][0] == at:
            self._wake.set()

    async def run(self) -> None:
        """Call ``due`` for deadlines as they pass, until cancelled."""
        while True:
            self._wake = trio.Event()
            with trio.move_on_after(max(0.0, self._heap[0][0] - self._monotonic()) if self._heap else float("inf")):
                await self._wake.wait()
            now = self._monotonic()
            for _ in range(AT_ONCE):
                if not self._heap or self._heap[0][0] > now:
                    break
                _, _, key = heapq.heappop(self._heap)
                at = self._at.get(key)
                if at is None:
                    continue
                if at > now:
                    self._push(key, at)
                else:
                    del self._at[key]
                    self._due(key)
            await trio.lowlevel.checkpoint()
