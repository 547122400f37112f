"""How long the tests wait: as long as it takes on a quiet machine, and longer on a busy or a slow one."""

from __future__ import annotations

import time

#: Seconds that `_loop` takes on a quiet machine of the kind that the tests were written on.
QUIET = 0.016
#: A machine that is busier than that is not waited for.
MOST = 10.0


def _loop() -> float:
    began, total = time.perf_counter(), 0
    for number in range(400_000):
        total += number & 3
    return time.perf_counter() - began


#: Other programs may start to work after the measurement: deadlines are never shorter than this many times.
LEAST = 2.0
#: How much longer things take here than on a quiet machine; measured when the tests begin.
SCALE = min(MOST, max(LEAST, sorted(_loop() for _ in range(9))[-2] / QUIET))


def patient(seconds: float) -> float:
    """Seconds that something may take which takes ``seconds`` at most on a quiet machine."""
    return seconds * SCALE


def brief(seconds: float) -> float:
    """Seconds to wait for something that must not happen, or to pause between two attempts.

    A slow machine can only make such a test pass, so the seconds do not scale.
    """
    return seconds
