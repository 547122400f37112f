"""The load of the hub: its CPU time and its values, sampled every minute; and its memory."""

from __future__ import annotations

import os
import resource
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from hub import Hub

#: Seconds between two samples, and seconds over which values are counted.
INTERVAL, SPAN = 60.0, 3600.0


@attrs.frozen
class Sample:
    """CPU seconds and accepted values of the hub so far; ``at`` is in seconds of the monotonic clock."""

    at: float
    cpu_seconds: float
    values: int


class HubLoad:
    """Averages of the hub's load: over the last minute or two for CPU, over the last hour for values."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        #: Oldest first, and never empty; the oldest is as old as `SPAN`, or as the hub.
        self._samples = deque([self._sample()], maxlen=int(SPAN / INTERVAL) + 1)

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            await trio.sleep(INTERVAL)
            self._samples.append(self._sample())

    def _sample(self) -> Sample:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Sample(self._hub.clock.monotonic(), usage.ru_utime + usage.ru_stime, self._hub.writes.count)

    @property
    def cpu_percent(self) -> float:
        """The CPU time of the last minute or two, or since the start, in percent of one core."""
        now = self._sample()
        old = next((s for s in reversed(self._samples) if now.at - s.at >= INTERVAL), self._samples[0])
        return round(100 * (now.cpu_seconds - old.cpu_seconds) / max(now.at - old.at, 1.0), 1)

    @property
    def values_per_second(self) -> float:
        """The accepted values per second of the last hour, or since the start."""
        now, old = self._sample(), self._samples[0]
        return round((now.values - old.values) / max(now.at - old.at, 1.0), 2)


def memory_bytes() -> int:
    """Return the resident memory of the process; its maximum so far where the system does not tell the present one."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return maximum if sys.platform == "darwin" else maximum * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
