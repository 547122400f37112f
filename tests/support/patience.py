"""Deadlines of tests, which scale with the speed of the machine."""

from __future__ import annotations

import time

#: Seconds that `_loop` takes on a quiet machine of the kind that the tests were written on.
QUIET = 0.016
#: The largest factor, for a very slow or busy machine.
MAX_SCALE = 10.0


def _loop() -> float:
    began, total = time.perf_counter(), 0
    for number in range(400_000):
        total += number & 3
    return time.perf_counter() - began


#: The smallest factor: other programs may start after the measurement.
MIN_SCALE = 2.0
#: The factor of this machine to a quiet one, measured when the tests start.
SCALE = min(MAX_SCALE, max(MIN_SCALE, sorted(_loop() for _ in range(9))[-2] / QUIET))


def patient(seconds: float) -> float:
    """The deadline on this machine for an action that takes at most ``seconds`` on a quiet one."""
    return seconds * SCALE


def brief(seconds: float) -> float:
    """The time to wait for an event that must not happen, or between two attempts.

    It does not scale: a slow machine cannot make such a test fail.
    """
    return seconds
