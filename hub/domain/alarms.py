"""Alarms: what an operator should know about the hub, raised and cleared once each, in the log and as facts."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import attrs

from hub.bus import Bus
from hub.clock import Clock
from hub.facts import AlarmCleared, AlarmRaised

log = logging.getLogger(__name__)


@attrs.frozen
class Alarm:
    """An alarm that is raised; ``critical`` when the hub cannot keep its promises. ``since`` is milliseconds UTC."""

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

    def set(self, id: str, text: str | None, *, critical: bool = False, logged: bool = False) -> None:  # noqa: A002
        """Raise the alarm ``id`` with a sentence, or change its text; clear it when ``text`` is None.

        ``logged`` when the log has it already.
        """
        previous = self._active.get(id)
        if text is None:
            if previous is not None:
                del self._active[id]
                log.warning("alarm over: %s", id)
                self._bus.emit(AlarmCleared(id))
            return
        since = self._clock.now() if previous is None else previous.since
        self._active[id] = Alarm(id, text, critical, since)
        if not logged and (previous is None or critical > previous.critical):
            log.log(logging.ERROR if critical else logging.WARNING, "alarm: %s: %s", id, text)
        if previous is None:
            self._bus.emit(AlarmRaised(id, text, critical))
