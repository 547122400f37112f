"""The current speed of this machine, to compare results of different days and machines."""

from __future__ import annotations

import time

#: Iterations of the loop, and how often it is timed; the shortest time counts.
ITERATIONS, REPEATS = 10_000, 25


def calibration_us() -> float:
    """Return the CPU time, in microseconds, of a fixed loop of pure Python with the typical work of the value path."""
    return min(_loop_seconds() for _ in range(REPEATS)) * 1e6


def _loop_seconds() -> float:
    latest: dict[int, tuple[int, float]] = {}
    began = time.thread_time()
    for number in range(ITERATIONS):
        series = number % 100
        latest[series] = (number, float(number))
        if latest[series][0] != number:
            raise AssertionError
    return time.thread_time() - began
