"""Query parameters that the routes of this plugin share: times, time zones and aggregates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from hub import Device, Rejected
from hub.api import MAX_TIME, Time
from hub.history import Statistics
from hub.parsing import timezones
from hub.parsing.structuring import seconds

if TYPE_CHECKING:
    from hub import Hub

#: A number that stands for all values of a minute, hour or day: a field or property of `Statistics`.
Aggregate = Literal["avg", "min", "max", "sum", "count", "last"]
AGGREGATES = get_args(Aggregate)


@attrs.frozen(kw_only=True)
class TimeRange:
    """The times of a query; without ``to`` it ends now, without ``from_`` it begins ``period`` before its end."""

    from_: Time | None = None
    to: Time | None = None
    period: str = "1d"

    def bounds(self, now: int) -> tuple[int, int]:
        """Return the first millisecond, and the one after the last. Raises `Rejected`."""
        end = now + 1 if self.to is None else self.to
        start = self.from_
        if start is None:
            try:
                start = max(0, end - int(seconds(self.period) * 1000))
            except ValueError as error:
                raise Rejected(f"period {error}") from error
        return _ordered(start, end)


@attrs.frozen(kw_only=True)
class OpenTimeRange:
    """The times of a query that by default is about all values."""

    from_: Time = 0
    to: Time = MAX_TIME

    def bounds(self) -> tuple[int, int]:
        """Return the first millisecond, and the one after the last. Raises `Rejected`."""
        return _ordered(self.from_, self.to)


def _ordered(start: int, end: int) -> tuple[int, int]:
    if start >= end:
        raise Rejected("from must be before to")
    return start, end


def time_zone(hub: Hub, device: Device, name: str) -> str:
    """Return the time zone that a query names, or the device's if ``name`` is "". Raises `Rejected`."""
    if not name:
        return hub.timezone_of(device)
    if not timezones.is_known(name):
        raise Rejected(f"there is no time zone {name[:50]!r}")
    return name


def aggregate_of(statistics: Statistics, aggregate: str) -> Any:
    """Return an aggregate of some values; None if the values are not numbers and it needs numbers."""
    return getattr(statistics, aggregate)
