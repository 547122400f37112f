"""Wall-clock schedules: at which moments a rule applies in a time zone, and waiting for the next one.

`next_moment` and `latest_moment` are pure. Most rules have a local time, which a change of the clocks may skip or
repeat: a time that the zone skips happens at the first moment after the gap, a time that occurs twice happens the first
time. So in Europe/Berlin 02:30 happens at 03:00 on the last Sunday in March, and in summer time on the last Sunday in
October. `Every` counts elapsed time, in which no zone matters.

`Schedule` waits for the moments by the machine's clock, which NTP and the operator may set at any time. When the clock
jumps forward over several moments, the latest of them is due and the others are skipped. When it jumps back, the
moments that were due already are not due again.

Moments are in milliseconds UTC, time zones are names that `hub.parsing.timezones.is_known`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, tzinfo
from typing import TypeAlias

import attrs
import trio

from hub.clock import Clock
from hub.parsing.timezones import zone

__all__ = [
    "Every",
    "Monthly",
    "Once",
    "Rule",
    "Schedule",
    "Weekly",
    "latest_moment",
    "next_moment",
]

MINUTE_MS = 60_000
#: Seconds after which the clock is read again while nothing is due: the longest time that a jump goes unnoticed.
CHECK_INTERVAL = 60.0
#: Days of which at least one has a moment of a rule that repeats: from one 31st to the next it is up to 62.
_HORIZON_DAYS = 64
#: Moments that a `Schedule` remembers, for when the clock jumps back: a day of the shortest interval.
_REMEMBERED = 1_440
#: Years of a date: the hub's clock ends in 2089 (`hub.clock.END_MS`).
_FIRST_YEAR, _LAST_YEAR = 1970, 2089


@attrs.frozen
class Weekly:
    """At a time of day on weekdays, from 1 for Monday to 7 for Sunday. Raises ValueError for others, and for none."""

    at: time
    weekdays: frozenset[int] = attrs.field(converter=frozenset)

    def __attrs_post_init__(self) -> None:
        _check_local(self.at)
        _check_days("weekdays", self.weekdays, 7)

    def includes(self, day: date) -> bool:
        return day.isoweekday() in self.weekdays


@attrs.frozen
class Monthly:
    """At a time of day on days of the month, from 1 to 31; a month without such a day is skipped.

    Raises ValueError for other days, and for none.
    """

    at: time
    days: frozenset[int] = attrs.field(converter=frozenset)

    def __attrs_post_init__(self) -> None:
        _check_local(self.at)
        _check_days("days of a month", self.days, 31)

    def includes(self, day: date) -> bool:
        return day.day in self.days


@attrs.frozen
class Once:
    """At a local date and time, without a zone of its own. Raises ValueError for a year outside 1970 to 2089."""

    at: datetime

    def __attrs_post_init__(self) -> None:
        _check_local(self.at)
        if not _FIRST_YEAR <= self.at.year <= _LAST_YEAR:
            raise ValueError(f"the year must be {_FIRST_YEAR} to {_LAST_YEAR}, not {self.at.year}")


@attrs.frozen
class Every:
    """Every so many minutes of elapsed time, counted from ``start`` (milliseconds UTC), which is the first moment.

    Raises ValueError for less than a minute.
    """

    minutes: int
    start: int = 0

    def __attrs_post_init__(self) -> None:
        if self.minutes < 1:
            raise ValueError(f"the interval must be at least 1 minute, not {self.minutes}")


#: Fractions of a second in the times of a rule are dropped.
Rule: TypeAlias = Weekly | Monthly | Once | Every


def _check_local(at: time | datetime) -> None:
    if at.tzinfo is not None:
        raise ValueError(f"the time must have no time zone of its own: {at.isoformat()}")


def _check_days(what: str, days: frozenset[int], last: int) -> None:
    if not days or not all(1 <= day <= last for day in days):
        raise ValueError(f"{what} must be at least one of 1 to {last}, not {sorted(days)}")


def next_moment(rule: Rule, timezone: str, after: int) -> int | None:
    """Return the first moment of a rule later than ``after``; None if there is none, which only `Once` can have."""
    if isinstance(rule, Every):
        period = rule.minutes * MINUTE_MS
        return rule.start + max(0, (after - rule.start) // period + 1) * period
    place = zone(timezone)
    today = _local(after, place).date()
    moments = _moments(rule, place, (today + timedelta(days=days) for days in range(_HORIZON_DAYS)))
    return next((moment for moment in moments if moment > after), None)


def latest_moment(rule: Rule, timezone: str, until: int) -> int | None:
    """Return the last moment of a rule that is not later than ``until``; None if there is none."""
    if isinstance(rule, Every):
        count = (until - rule.start) // (rule.minutes * MINUTE_MS)
        return rule.start + count * rule.minutes * MINUTE_MS if count >= 0 else None
    place = zone(timezone)
    # Clocks that were set back over midnight have been in the next day already.
    tomorrow = _local(until, place).date() + timedelta(days=1)
    moments = _moments(rule, place, (tomorrow - timedelta(days=days) for days in range(_HORIZON_DAYS)))
    return next((moment for moment in moments if moment <= until), None)


def _moments(rule: Weekly | Monthly | Once, place: tzinfo, days: Iterable[date]) -> Iterable[int]:
    """Return the moments of a rule on ``days``; of `Once` the only one."""
    if isinstance(rule, Once):
        return (_moment(rule.at, place),)
    return (_moment(datetime.combine(day, rule.at), place) for day in days if rule.includes(day))


def _local(moment: int, place: tzinfo) -> datetime:
    return datetime.fromtimestamp(moment // 1000, place)


def _moment(local: datetime, place: tzinfo) -> int:
    """Return the first moment at which the clocks of a zone show a local time or a later one."""
    local = local.replace(microsecond=0, fold=0)
    # PEP 495: a time that is skipped is read with the offset before the gap, and with fold=1 with the one after it.
    moment = int(local.replace(tzinfo=place).timestamp())
    if _local(moment * 1000, place).replace(tzinfo=None, fold=0) != local:
        before = int(local.replace(tzinfo=place, fold=1).timestamp())
        offset = _local(before * 1000, place).utcoffset()
        while moment - before > 1:
            middle = (before + moment) // 2
            if _local(middle * 1000, place).utcoffset() == offset:
                before = middle
            else:
                moment = middle
    return moment * 1000


class Schedule:
    """Waits for the moments of a rule, one after the other, by the machine's clock.

    ``after`` is the last moment that was due before a restart: when others have passed since, the latest of them is due
    at once. Without it, only moments from now on are due.
    """

    def __init__(self, rule: Rule, timezone: str, clock: Clock, after: int | None = None) -> None:
        self._rule = rule
        self._timezone = timezone
        self._clock = clock
        self._read = clock.wall if after is None else min(after, clock.wall)
        self._taken = deque(() if after is None else (after,), maxlen=_REMEMBERED)

    async def wait(self) -> int:
        """Return the next moment when it is due.

        A moment is late when the clock jumped forward over it or nothing waited for it: a caller for which that matters
        compares it with ``clock.wall``. When the rule has no more moments, this waits until it is cancelled, because
        the clock may be set back.
        """
        await trio.lowlevel.checkpoint()
        while (moment := self._take()) is None:
            following = next_moment(self._rule, self._timezone, self._read)
            wait = CHECK_INTERVAL if following is None else (following - self._read) / 1000
            await trio.sleep(min(wait, CHECK_INTERVAL))
        return moment

    def _take(self) -> int | None:
        """Read the clock; return the latest moment that passed since it was read before, unless it was due already."""
        previous, self._read = self._read, self._clock.wall
        moment = latest_moment(self._rule, self._timezone, self._read)
        if moment is None or moment <= previous or moment in self._taken:
            return None
        self._taken.append(moment)
        return moment
