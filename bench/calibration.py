"""How fast this machine is at the moment: so that figures of other days and machines can be compared."""

from __future__ import annotations

import time

#: Turns of the loop that is measured, and how often it is; the fastest counts.
TURNS, TRIES = 10_000, 25


def calibration_us() -> float:
    """CPU time in microseconds of a fixed loop in pure Python, which does what the value path does most."""
    return min(_loop() for _ in range(TRIES)) * 1e6


def _loop() -> float:
    latest: dict[int, tuple[int, float]] = {}
    began = time.thread_time()
    for number in range(TURNS):
        series = number % 100
        latest[series] = (number, float(number))
        if latest[series][0] != number:
            raise AssertionError
    return time.thread_time() - began
