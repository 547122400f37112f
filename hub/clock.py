"""The only clock: what time it is, for stamps, and how long things take, for deadlines.

Boards boot with a clock of their own idea and NTP corrects it later, so a stamp is not simply the wall clock: stamps
never run backwards. While the wall clock is behind the newest stamp, stamps go on at half speed until it has caught up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

#: A correction up to this many milliseconds is NTP at work, and nothing to tell anybody.
TOLERANCE_MS = 2_000
#: Stamps advance one millisecond for so many real ones while the wall clock is behind.
SLEW = 2
#: Stamps are before this, in milliseconds UTC: the history counts its hours in 20 bits, until 2089.
END_MS = (1 << 20) * 3_600_000
#: Seconds without a jump after which nothing speaks against the clock; and when, at the start, it is further ahead of
#: the newest record than so many milliseconds, which may be a long pause or a wrong clock.
STEADY = 3_600
STEADY_AFTER_GAP = 86_400
GAP_MS = 86_400_000


class Clock:
    """``wall`` gives nanoseconds since the epoch, ``monotonic`` seconds; tests pass their own."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self.monotonic = monotonic
        self._newest = 0
        self._behind_since: tuple[float, int] | None = None
        self._steady_since = monotonic()
        self._patience = STEADY
        self._reference = (monotonic(), wall() // 1_000_000)

    @property
    def behind(self) -> bool:
        """Whether the wall clock is not believed, because it is behind what was already recorded."""
        return self._behind_since is not None

    def not_before(self, newest: int) -> None:
        """Tell the clock the newest stamp on record, in milliseconds UTC."""
        if newest and self._wall() // 1_000_000 - newest > GAP_MS:
            self._patience = STEADY_AFTER_GAP
        self._newest = max(self._newest, newest)

    @property
    def believable(self) -> bool:
        """Whether to delete what the clock says is old: boards boot with a wrong clock, and what is gone is gone."""
        return not self.behind and self.monotonic() - self._steady_since >= self._patience

    def now(self) -> int:
        """A stamp: milliseconds UTC, never smaller than one given before."""
        wall = min(self._wall() // 1_000_000, END_MS - 1)
        newest = self._newest
        if wall >= newest:
            if self._behind_since is not None:
                self._behind_since = None
                log.warning("clock: believable again")
            self._newest = wall
            return wall
        return self._slewed(wall, newest)

    def _slewed(self, wall: int, newest: int) -> int:
        if self._behind_since is None:
            if newest - wall <= TOLERANCE_MS:
                return newest
            self._behind_since = (self.monotonic(), newest)
            log.warning(
                "clock: %s behind the newest record; stamps go on from there at half speed until it has caught up",
                _span(newest - wall),
            )
        started, base = self._behind_since
        self._newest = max(newest, base + int((self.monotonic() - started) * 1000) // SLEW)
        return self._newest

    def check(self) -> int:
        """Say so when the wall clock jumped since the last call; returns the jump in milliseconds."""
        monotonic, wall = self.monotonic(), self._wall() // 1_000_000
        jump = wall - self._reference[1] - int((monotonic - self._reference[0]) * 1000)
        self._reference = (monotonic, wall)
        if abs(jump) <= TOLERANCE_MS:
            return 0
        self._steady_since = monotonic
        log.warning("clock: jumped %s %s", _span(abs(jump)), "forward" if jump > 0 else "back")
        return jump


def _span(ms: int) -> str:
    for unit, size in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000)):
        if ms >= 2 * size:
            return f"{ms // size} {unit}"
    return f"{ms // 1000} seconds"
