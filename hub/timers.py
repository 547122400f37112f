"""Many deadlines, one task: what is due is called, what was set again or cancelled is not."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable

import trio

#: Deadlines called in one go before others get their turn.
AT_ONCE = 500
#: Deadlines that may be left of what was cancelled.
MOST_STALE = 64


class Timers:
    """``due(key)`` is sync and must not block. Times are trio's."""

    def __init__(self, due: Callable[[Hashable], None]) -> None:
        self._due = due
        self._at: dict[Hashable, float] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._count = 0
        self._wake = trio.Event()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._at

    def set(self, key: Hashable, at: float) -> None:
        """Call for ``key`` at this time and at no earlier one."""
        before = self._at.get(key)
        self._at[key] = at
        # A deadline that is put off is looked at when it would have been due.
        if before is None or at < before:
            self._push(key, at)

    def cancel(self, key: Hashable) -> None:
        self._at.pop(key, None)
        if len(self._heap) > MOST_STALE and len(self._heap) > 4 * len(self._at):
            # Whoever sets and cancels again and again must not fill the memory until all that is due.
            self._heap = [(at, number, key) for number, (key, at) in enumerate(self._at.items())]
            heapq.heapify(self._heap)
            self._count = len(self._heap)

    def _push(self, key: Hashable, at: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        if self._heap[0][0] == at:
            self._wake.set()

    async def run(self) -> None:
        """Call what is due, until cancelled."""
        while True:
            self._wake = trio.Event()
            with trio.move_on_at(self._heap[0][0] if self._heap else float("inf")):
                await self._wake.wait()
            now = trio.current_time()
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
