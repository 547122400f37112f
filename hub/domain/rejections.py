"""Rejections: the record of connections, messages and requests that the hub turned away."""

from __future__ import annotations

import logging
from collections import deque

import attrs

from hub.bus import Bus
from hub.clock import Clock
from hub.facts import Refused
from hub.logs import ThrottledLog
from hub.parsing.spellings import escape
from hub.storage.stamp_correction import Correction

log = logging.getLogger(__name__)

#: Rejections that are remembered, and different ones that are logged in `QUIET` seconds.
MAX_REMEMBERED = 1_000
#: Seconds in which the same rejection is not logged again.
QUIET = 60.0
#: Characters of a reason: part of it may come from outside.
MAX_REASON = 300


class Rejections:
    """The rejections of a hub since its start."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._log = ThrottledLog(log, MAX_REMEMBERED, QUIET, clock.monotonic)
        #: At most `MAX_REMEMBERED`, oldest first.
        self.recent: deque[Refused] = deque(maxlen=MAX_REMEMBERED)
        #: How many there were since the start.
        self.count = 0

    def record(self, address: str, reason: str, device: int | None = None, quiet: float = QUIET) -> None:
        """Count, log and emit a rejection of what came from ``address``.

        The same rejection is logged once in ``quiet`` seconds; of too many at once only their number is logged.
        """
        reason = escape(reason[:MAX_REASON])
        rejection = Refused(self._clock.now(), address, reason, device)
        self.count += 1
        is_new = self._log.emit(f"refused: {address} {reason}", quiet)
        if quiet <= QUIET or is_new:
            # A device that repeats itself must not push all others out of the list.
            self.recent.append(rejection)
        self._bus.emit(rejection)

    def summarize(self) -> None:
        """Log how many rejections were not logged since the last call."""
        self._log.summarize("refused")

    def correct_stamps(self, correction: Correction) -> None:
        """Correct the stamps of the remembered rejections."""
        corrected = [attrs.evolve(fact, at=correction.corrected(fact.at)) for fact in self.recent]
        self.recent = deque(corrected, maxlen=MAX_REMEMBERED)
