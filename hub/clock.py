"""The only clock: what time it is, for stamps, and how long things take, for deadlines.

Boards boot with a clock of their own idea and NTP corrects it later, so a stamp is not simply the wall clock: stamps
never run backwards, and they do not follow a wall clock into a future that it cannot prove.

=========  =====================================================================  ==============================
state      the wall clock is                                                      stamps
=========  =====================================================================  ==============================
FOLLOWING  at or after the newest stamp, by no more than time passed and a day    are the wall clock
BEHIND     before the newest stamp                                                go on from it at half speed
AHEAD      further after it (at a start: by a month), and that is not proven yet  go on from it, as time passes
=========  =====================================================================  ==============================

Only `Clock.now` moves it, and `Clock.hold` while a repair corrects what was stamped in the future. From BEHIND and
AHEAD it goes back to FOLLOWING when the wall clock is where FOLLOWING has it; from AHEAD also when the jump has proved
itself: the kernel says that the clock is synchronized (adjtimex(2)), or it has not jumped again for `STEADY` seconds.
Stamps that were given already stay as they are, unless a repair (`hub.domain.clock_repair`) corrects them.
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

#: A correction up to this many milliseconds is NTP at work, and nothing to tell anybody.
TOLERANCE_MS = 2_000
#: Stamps advance one millisecond for so many real ones while the wall clock is behind.
SLEW = 2
#: Stamps are before this, in milliseconds UTC: the history counts its hours in 20 bits, until 2089.
END_MS = (1 << 20) * 3_600_000
#: Seconds without a jump after which nothing speaks against the clock; and when, at the start, it is further ahead of
#: the newest record than `GAP_MS`, which may be a long pause or a wrong clock.
STEADY = 3_600
STEADY_AFTER_GAP = 86_400
#: Milliseconds that the wall clock may be ahead of where stamps should be without a proof; at a start, when nobody
#: knows how long the hub was off, a month.
GAP_MS = 86_400_000
START_GAP_MS = 31 * GAP_MS
#: What adjtimex(2) returns of a clock that is not synchronized, and bytes that its struct surely has room in.
_TIME_ERROR, _TIMEX = 5, 512


class State(enum.Enum):
    FOLLOWING = "following"
    BEHIND = "behind"
    AHEAD = "ahead"


@attrs.define(eq=False)
class Doubt:
    """Stamps that were given while the wall clock was not believed.

    ``began`` and ``ended`` are the first stamp and the first one after them, None as long as it lasts; ``wall`` is what
    the wall clock said at the beginning. All in milliseconds UTC.
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
    """Whether the kernel says that its clock follows a time server; False also where it does not tell."""
    adjtimex = _adjtimex()
    # All zero: change nothing.
    return adjtimex is not None and adjtimex(ctypes.create_string_buffer(_TIMEX)) not in (-1, _TIME_ERROR)


class Clock:
    """``wall`` gives nanoseconds since the epoch, ``monotonic`` seconds; tests pass their own."""

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        synchronized: Callable[[], bool] = synchronized,
    ) -> None:
        self._wall = wall
        self.monotonic = monotonic
        self._synchronized = synchronized
        self.state = State.FOLLOWING
        self._newest = 0
        #: While the wall clock is below this and not below the newest stamp, nothing has to be looked at.
        self._followed_until = 0
        self._gap = START_GAP_MS
        #: From when, by the monotonic clock, and from which stamp stamps go on while the wall clock is not believed.
        self._base = (0.0, 0)
        self._proven = False
        self._steady_since = monotonic()
        self._patience = STEADY
        self._reference = (monotonic(), wall() // 1_000_000)
        #: Since the start, oldest first.
        self.doubts: list[Doubt] = []
        self._held = False

    @property
    def wall(self) -> int:
        """What the machine's clock says, believed or not, in milliseconds UTC."""
        return min(self._wall() // 1_000_000, END_MS - 1)

    def not_before(self, newest: int) -> None:
        """Tell the clock the newest stamp on record, in milliseconds UTC."""
        if newest and self.wall - newest > GAP_MS:
            self._patience = STEADY_AFTER_GAP
        self._newest = max(self._newest, newest)

    @property
    def newest(self) -> int:
        """The newest stamp, in milliseconds UTC."""
        return self._newest

    def hold(self) -> int:
        """Return to the wall clock, and stamp with this very millisecond until `release`; returns it.

        Stamps that were given before may be later: they are about to be corrected, and no new one may be among them.
        """
        wall = self._follow(self.wall)
        self._held, self._followed_until = True, 0
        return wall

    def release(self, newest: int = 0) -> None:
        """Follow the wall clock again; go on from ``newest`` when nothing was corrected after all."""
        self._held = False
        self.not_before(newest)

    @property
    def behind(self) -> bool:
        """Whether the wall clock is not believed, because it is behind what was already recorded."""
        return self.state is State.BEHIND

    @property
    def synchronized(self) -> bool:
        """Whether the kernel says that the wall clock follows a time server."""
        return self._synchronized()

    @property
    def unproven(self) -> bool:
        """Whether the wall clock is not believed, because it is ahead of where it should be."""
        return self.state is State.AHEAD

    @property
    def problem(self) -> str | None:
        """What is wrong, and for how long it will be, in a sentence without a beginning; None while all is well."""
        wall, newest = self.wall, self._newest
        if self.state is State.BEHIND and newest > wall:
            return (
                f"the clock is behind the newest record, by {_span(newest - wall)}: values get stamps of the future"
                f" until {_date(wall + SLEW * (newest - wall))}"
            )
        if self.state is State.AHEAD:
            left = max(0.0, STEADY - (self.monotonic() - max(self._base[0], self._steady_since)))
            return (
                f"the clock is {_span(wall - newest)} ahead of where it should be and not synchronized: values get"
                f" stamps of before the jump for another {left / 60:.0f} minutes"
            )
        return None

    @property
    def believable(self) -> bool:
        """Whether to delete what the clock says is old: boards boot with a wrong clock, and what is gone is gone."""
        return self.state is State.FOLLOWING and self.monotonic() - self._steady_since >= self._patience

    @property
    def deletable_before(self) -> int:
        """What ended before this, in milliseconds UTC, may be deleted; nothing while the clock is not `believable`."""
        return self.now() if self.believable else 0

    def now(self) -> int:
        """A stamp: milliseconds UTC, never smaller than one given before."""
        wall = self._wall() // 1_000_000
        # Every value comes by here.
        if self._newest <= wall < self._followed_until:
            self._newest = wall
            return wall
        return self._look(min(wall, END_MS - 1))

    def _look(self, wall: int) -> int:
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
        self.state, self._base, self._proven = state, (self.monotonic(), newest), False
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
        self._newest = max(newest, base + int((self.monotonic() - started) * 1000) // SLEW)
        return self._newest

    def _ahead(self, wall: int, newest: int) -> int:
        passed = int((self.monotonic() - self._reference[0]) * 1000)
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
            self._newest = max(newest, base + int((self.monotonic() - started) * 1000))
            return self._newest
        return self._follow(wall)

    def _prove(self) -> None:
        started, _ = self._base
        steady = self.monotonic() - max(started, self._steady_since) >= STEADY
        self._proven = self.state is State.AHEAD and (steady or self._synchronized())

    def check(self) -> int:
        """Say so when the wall clock jumped since the last call; returns the jump in milliseconds."""
        monotonic, wall = self.monotonic(), self._wall() // 1_000_000
        jump = wall - self._reference[1] - int((monotonic - self._reference[0]) * 1000)
        if abs(jump) > TOLERANCE_MS:
            self._steady_since = monotonic
            log.warning("clock: jumped %s %s", _span(abs(jump)), "forward" if jump > 0 else "back")
        self._reference, self._gap = (monotonic, wall), GAP_MS
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
