"""A clock that stands until it is moved: the wall may jump, the machine's uptime does not.

Deadlines go on meanwhile: a hub waits for them as trio does.
"""

from __future__ import annotations

import trio
import trio.testing
from support.patience import brief, patient

from hub.clock import Clock

#: 2026-07-01T12:00:00Z in milliseconds.
NOON = 1_782_907_200_000
MINUTE = 60_000
HOUR = 3_600_000
DAY = 24 * HOUR


class Time:
    def __init__(self, wall=NOON):
        self.wall = wall
        self.uptime = 0

    def pass_(self, ms):
        self.wall += ms
        self.uptime += ms

    def clock(self):
        return Clock(
            lambda: self.wall * 1_000_000,
            lambda: self.uptime / 1000,
            lambda: False,
            monotonic=lambda: trio.current_time() + self.uptime / 1000,
        )


async def until(condition, seconds=10):
    """Return when ``condition()`` holds, also while trio's clock stands."""
    with trio.fail_after(patient(seconds)):
        while not condition():
            with trio.move_on_after(brief(0.005)):
                await trio.testing.wait_all_tasks_blocked(0.002)
