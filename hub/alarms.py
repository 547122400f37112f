"""What an operator should know, as long as it is so: raised once and over once, each in the log and told as a fact."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs

from hub.facts import AlarmCleared, AlarmRaised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.bus import Bus
    from hub.clock import Clock

log = logging.getLogger(__name__)


@attrs.frozen
class Alarm:
    """``critical`` when promises cannot be kept. ``since`` is milliseconds UTC."""

    id: str
    text: str
    critical: bool
    since: int


class Alarms:
    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._active: dict[str, Alarm] = {}

    def __iter__(self) -> Iterator[Alarm]:
        return iter(tuple(self._active.values()))

    def set(self, id: str, text: str | None, *, critical: bool = False, said: bool = False) -> None:  # noqa: A002
        """Raise the alarm ``id`` with a sentence, or give what it says now; None when it is over.

        ``said`` when the log has it already.
        """
        before = self._active.get(id)
        if text is None:
            if before is not None:
                del self._active[id]
                log.warning("alarm over: %s", id)
                self._bus.emit(AlarmCleared(id))
            return
        since = self._clock.now() if before is None else before.since
        self._active[id] = Alarm(id, text, critical, since)
        if not said and (before is None or critical > before.critical):
            log.log(logging.ERROR if critical else logging.WARNING, "alarm: %s: %s", id, text)
        if before is None:
            self._bus.emit(AlarmRaised(id, text, critical))
