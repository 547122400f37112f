"""Long computations in the event loop, in slices between which everything else gets its turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

import trio

__all__ = ["SliceRunner", "Steps", "sort_in_steps"]

T = TypeVar("T")

#: A computation that yields after each short step, and returns its result.
Steps: TypeAlias = Generator[None, None, T]

#: Seconds after which a slice ends, with the step that it is at.
SLICE = 0.005
#: Items that are sorted in one step; more cost fewer merges.
SORTED_PER_STEP = 512


class SliceRunner:
    """Runs computations, one slice in each round of the event loop, however many computations there are.

    What a computation reads may change between two steps, but not within one.
    """

    def __init__(self) -> None:
        # A `trio.Lock` is handed over in the order of arrival, and only in the next round of the event loop.
        self._lock = trio.Lock()

    async def run(self, steps: Steps[T]) -> T:
        """Return the result of a computation. Raises what it raises."""
        while True:
            async with self._lock:
                end = time.perf_counter() + SLICE
                while True:
                    try:
                        next(steps)
                    except StopIteration as stop:
                        result: T = stop.value
                        return result
                    if time.perf_counter() >= end:
                        break


def sort_in_steps(
    items: Iterable[T],
    key: Callable[[T], Any],
    *,
    accept: Callable[[T], bool] = lambda _: True,
    reverse: bool = False,
    limit: int | None = None,
) -> Steps[list[T]]:
    """Sort items, and return the first ``limit`` of them; items with equal keys keep their order, as in `sorted`.

    Items that ``accept`` does not accept are left out. Each key is computed once; items whose key is None come last,
    also in reverse. The items are taken as they are needed, so that not all of them need to be in memory together.
    """
    first, remaining = itemgetter(0), iter(items)
    runs: list[list[tuple[Any, T]]] = []
    without_key: list[T] = []
    while chunk := tuple(islice(remaining, SORTED_PER_STEP)):
        run = []
        for item in filter(accept, chunk):
            if (value := key(item)) is None:
                if limit is None or len(without_key) < limit:
                    without_key.append(item)
            else:
                run.append((value, item))
        run.sort(key=first, reverse=reverse)
        runs.append(run[:limit])
        yield
        while len(runs) > 1 and len(runs[-2]) <= len(runs[-1]):
            _merge_last(runs, reverse, limit)
            yield
    while len(runs) > 1:
        _merge_last(runs, reverse, limit)
        yield
    ordered = [item for _, item in runs[0]] if runs else []
    return (ordered + without_key)[:limit]


def _merge_last(runs: list[list[tuple[Any, T]]], reverse: bool, limit: int | None) -> None:
    """Merge the last two sorted runs; `list.sort` recognizes them, and needs one comparison for each item."""
    last = runs.pop()
    runs[-1] += last
    runs[-1].sort(key=itemgetter(0), reverse=reverse)
    if limit is not None:
        del runs[-1][limit:]
