"""The clock of the hub, the only one: stamps for what happens, and the monotonic time for deadlines.

Boards boot with a wrong wall clock that NTP corrects later, so a stamp is not simply the wall clock: stamps never run
backwards, and do not follow the wall clock into a future that it cannot prove.

=========  =====================================================================  ==============================
state      the wall clock is                                                      stamps
=========  =====================================================================  ==============================
FOLLOWING  at or after the newest stamp, by no more than time passed and a day    are the wall clock
BEHIND     before the newest stamp                                                continue from it at half speed
AHEAD      further after it (at a start: by a month), and that is not proven yet  continue from it, as time passes
=========  =====================================================================  ==============================

`Clock.now` makes the transitions, and `Clock.hold` while a repair corrects stamps of the future. BEHIND and AHEAD
return to FOLLOWING when the wall clock satisfies its condition; AHEAD also when the jump is proven: the kernel reports
a synchronized clock (adjtimex(2)), or there was no other jump for `STEADY` seconds. Stamps that were given stay as they
are, unless a repair (`hub.domain.clock_repair`) corrects them.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import logging
import time
from collections.abc import Callable

import attrs

log = logging.getLogger(__name__)

#: Milliseconds up to which a correction is NTP's normal work, and not logged.
TOLERANCE_MS = 2_000
#: Real milliseconds for each millisecond of stamps while the wall clock is behind.
SLEW = 2
#: Stamps are before this, in milliseconds UTC: the history counts its hours in 20 bits, until 2089.
END_MS = (1 << 20) * 3_600_000
#: Seconds without a jump after which the clock is believed; the second, if at the start it is further ahead of the
#: newest record than `GAP_MS`, which may be a long pause or a wrong clock.
STEADY = 3_600
STEADY_AFTER_GAP = 86_400
#: Milliseconds that the wall clock may be ahead of the expected stamp without a proof; at a start, when it is unknown
#: how long the hub was off, a month.
GAP_MS = 86_400_000
START_GAP_MS = 31 * GAP_MS
#: The result of adjtimex(2) for a clock that is not synchronized, and an upper limit of the size of its struct.
_TIME_ERROR, _TIMEX = 5, 512


class State(enum.Enum):
    """See the table above."""

    FOLLOWING = "following"
    BEHIND = "behind"
    AHEAD = "ahead"


@attrs.define(eq=False)
class Doubt:
    """A period of stamps that were given while the wall clock was not believed.

    ``began`` is its first stamp, ``ended`` the first one after it, None while it lasts; ``wall`` is the wall clock at
    its beginning. All are milliseconds UTC.
    """

    state: State
    began: int
    wall: int
    ended: int | None = None


@functools.cache
def _adjtimex() -> Callable[[ctypes.Array[ctypes.c_char]], int] | None:
    try:
        return ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None


def synchronized() -> bool:
    """Whether the kernel reports that its clock follows a time server; False also if it cannot say."""
    adjtimex = _adjtimex()
    # A struct of zeros changes nothing.
    return adjtimex is not None and adjtimex(ctypes.create_string_buffer(_TIMEX)) not in (-1, _TIME_ERROR)


class Clock:
    """The clock; tests pass their own sources.

    ``wall`` returns nanoseconds since the epoch; ``uptime`` seconds, against which the wall clock is judged; and
    ``monotonic`` seconds for deadlines, which pass as fast as those of trio.
    """

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        uptime: Callable[[], float] = time.monotonic,
        synchronized: Callable[[], bool] = synchronized,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._uptime = uptime
        #: Seconds of a clock that nobody sets: deadlines and periods are counted by it.
        self.monotonic = monotonic
        self._synchronized = synchronized
        self.state = State.FOLLOWING
        self._newest = 0
        #: While the wall clock is between the newest stamp and this, it needs no checks.
        self._followed_until = 0
        self._gap = START_GAP_MS
        #: The uptime and the stamp from which stamps continue while the wall clock is not believed.
        self._base = (0.0, 0)
        self._proven = False
        self._steady_since = uptime()
        self._patience = STEADY
        self._reference = (uptime(), wall() // 1_000_000)
        #: The periods since the start, oldest first.
        self.doubts: list[Doubt] = []
        self._held = False

    @property
    def wall(self) -> int:
        """The machine's clock, believed or not, in milliseconds UTC."""
        return min(self._wall() // 1_000_000, END_MS - 1)

    def not_before(self, newest: int) -> None:
        """Give no stamp before ``newest``, the newest one on record (milliseconds UTC)."""
        if newest and self.wall - newest > GAP_MS:
            self._patience = STEADY_AFTER_GAP
        self._newest = max(self._newest, newest)

    @property
    def newest(self) -> int:
        """The newest stamp, in milliseconds UTC."""
        return self._newest

    def hold(self) -> int:
        """Return to the wall clock, and give this one stamp until `release`; returns it.

        Earlier stamps may be later than it: they are about to be corrected, and no new stamp may be among them.
        """
        wall = self._follow(self.wall)
        self._held, self._followed_until = True, 0
        return wall

    def release(self, newest: int = 0) -> None:
        """Follow the wall clock again; continue from ``newest`` if nothing was corrected after all."""
        self._held = False
        self.not_before(newest)

    @property
    def behind(self) -> bool:
        """Whether the wall clock is not believed because it is behind the newest record."""
        return self.state is State.BEHIND

    @property
    def synchronized(self) -> bool:
        """Whether the kernel reports that the wall clock follows a time server."""
        return self._synchronized()

    @property
    def unproven(self) -> bool:
        """Whether the wall clock is not believed because it is further ahead than time has passed."""
        return self.state is State.AHEAD

    @property
    def problem(self) -> str | None:
        """The problem of the clock and when it will be over, for an alarm; None without a problem."""
        wall, newest = self.wall, self._newest
        if self.state is State.BEHIND and newest > wall:
            return (
                f"the clock is behind the newest record, by {_span(newest - wall)}: values get stamps of the future"
                f" until {_date(wall + SLEW * (newest - wall))}"
            )
        if self.state is State.AHEAD:
            left = max(0.0, STEADY - (self._uptime() - max(self._base[0], self._steady_since)))
            return (
                f"the clock is {_span(wall - newest)} ahead of where it should be and not synchronized: values get"
                f" stamps of before the jump for another {left / 60:.0f} minutes"
            )
        return None

    @property
    def believable(self) -> bool:
        """Whether records may be deleted for their age: boards boot with a wrong clock."""
        return self.state is State.FOLLOWING and self._uptime() - self._steady_since >= self._patience

    @property
    def deletable_before(self) -> int:
        """The time in milliseconds UTC before which expired records may be deleted; 0 unless `believable`."""
        return self.now() if self.believable else 0

    def now(self) -> int:
        """Return a stamp: milliseconds UTC, never smaller than an earlier one."""
        wall = self._wall() // 1_000_000
        # Every value comes through here.
        if self._newest <= wall < self._followed_until:
            self._newest = wall
            return wall
        return self._checked(min(wall, END_MS - 1))

    def _checked(self, wall: int) -> int:
        newest = self._newest
        if self._held:
            return newest
        if newest <= wall <= newest + GAP_MS or not newest:
            return self._follow(wall)
        return self._behind(wall, newest) if wall < newest else self._ahead(wall, newest)

    def _follow(self, wall: int) -> int:
        if self.state is not State.FOLLOWING:
            self.state = State.FOLLOWING
            self.doubts[-1].ended = wall
            log.warning("clock: believable again")
        self._newest, self._followed_until = wall, min(wall + GAP_MS // 2, END_MS)
        return wall

    def _doubt(self, state: State, wall: int, newest: int) -> None:
        if self.doubts and self.doubts[-1].ended is None:
            self.doubts[-1].ended = newest
        self.state, self._base, self._proven = state, (self._uptime(), newest), False
        self._followed_until = 0
        self.doubts.append(Doubt(state, newest, wall))

    def _behind(self, wall: int, newest: int) -> int:
        if self.state is not State.BEHIND:
            if newest - wall <= TOLERANCE_MS:
                return newest
            self._doubt(State.BEHIND, wall, newest)
            log.warning(
                "clock: %s behind the newest record; stamps go on from there at half speed until it has caught up",
                _span(newest - wall),
            )
        started, base = self._base
        self._newest = max(newest, base + int((self._uptime() - started) * 1000) // SLEW)
        return self._newest

    def _ahead(self, wall: int, newest: int) -> int:
        passed = int((self._uptime() - self._reference[0]) * 1000)
        if self.state is not State.AHEAD and wall - newest > passed + self._gap:
            self._doubt(State.AHEAD, wall, newest)
            self._prove()
            if not self._proven:
                log.warning(
                    "clock: %s ahead of where it should be; stamps do not follow until it has not jumped for an hour, "
                    "or is synchronized",
                    _span(wall - newest),
                )
        if self.state is State.AHEAD and not self._proven:
            started, base = self._base
            self._newest = max(newest, base + int((self._uptime() - started) * 1000))
            return self._newest
        return self._follow(wall)

    def _prove(self) -> None:
        started, _ = self._base
        steady = self._uptime() - max(started, self._steady_since) >= STEADY
        self._proven = self.state is State.AHEAD and (steady or self._synchronized())

    def check(self) -> int:
        """Log a jump of the wall clock since the last call; returns it in milliseconds."""
        uptime, wall = self._uptime(), self._wall() // 1_000_000
        jump = wall - self._reference[1] - int((uptime - self._reference[0]) * 1000)
        if abs(jump) > TOLERANCE_MS:
            self._steady_since = uptime
            log.warning("clock: jumped %s %s", _span(abs(jump)), "forward" if jump > 0 else "back")
        self._reference, self._gap = (uptime, wall), GAP_MS
        if self.state is State.AHEAD:
            self._prove()
        return jump if abs(jump) > TOLERANCE_MS else 0


def _span(ms: int) -> str:
    for unit, size in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000)):
        if ms >= 2 * size:
            return f"{ms // size} {unit}"
    return f"{ms // 1000} seconds"


def _date(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(min(ms, END_MS) / 1000))
