"""Time zones from the IANA database: days and hours, offsets, the POSIX rule, and the next changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from hub.parsing.spellings import offset_of, zone_id

__all__ = [
    "changes",
    "day",
    "days",
    "has_whole_hours",
    "hour",
    "iana",
    "is_known",
    "iso",
    "names",
    "offset",
    "offsets",
    "posix_rule",
    "readable",
    "zone",
]

#: How far ahead changes of the offset are searched, and the steps of the search.
_HORIZON = timedelta(days=550)
_STEP = timedelta(days=7)
#: Characters of a name; the longest of IANA has 32.
MAX_NAME = 64


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Return every IANA name."""
    return frozenset((resources.files("tzdata") / "zones").read_text().split())


def is_known(name: object) -> bool:
    """Whether a name is a time zone: an IANA name, or an id that `hub.parsing.spellings.zone_id` reads."""
    if not isinstance(name, str) or len(name) > MAX_NAME:
        return False
    return (canonical := iana(name)) in names() or offset_of(canonical) is not None


@lru_cache(maxsize=1024)
def iana(name: str) -> str:
    """Return the IANA name of a time zone that `is_known`, or an offset such as ``+05:30``, which has none."""
    return zone_id(name)


@lru_cache(maxsize=1024)
def zone(name: str) -> tzinfo:
    """Return the time zone of a name that `is_known`."""
    minutes = offset_of(iana(name))
    return ZoneInfo(iana(name)) if minutes is None else timezone(timedelta(minutes=minutes))


def _at(name: str, ts: int) -> datetime:
    return datetime.fromtimestamp(ts / 1000, zone(name))


def day(name: str, ts: int) -> tuple[int, int]:
    """Return the day of ``ts``, as (first millisecond UTC, first of the next day): 23 to 25 hours, mostly 24."""
    return next(days(name, ts, ts + 1))


def hour(name: str, ts: int) -> int:
    """Return the first millisecond of the hour of ``ts``, by the clocks of the zone."""
    return int(_at(name, ts).replace(minute=0, second=0, microsecond=0).timestamp()) * 1000


def has_whole_hours(name: str, start: int, end: int) -> bool:
    """Whether the zone's hours are those of UTC from ``start`` to ``end``."""
    return not any(offset(name, at) % 60 for at in (*range(start, end, 30 * 86_400_000), end))


def days(name: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the days from that of ``start`` to the last one that begins before ``end``, as `day` returns them."""
    local = _at(name, start).date()
    begin = _midnight(name, local)
    while begin < end:
        local += timedelta(days=1)
        following = _midnight(name, local)
        # A date that the zone skipped is empty; when clocks are set back over midnight, an evening occurs twice.
        if following > max(begin, start):
            yield begin, following
        begin = following


@lru_cache(maxsize=8192)
def _midnight(name: str, of: date) -> int:
    """Return the first millisecond of a date, or of the next date if the zone skipped it."""
    midnight = datetime(of.year, of.month, of.day, tzinfo=zone(name))
    return int(midnight.timestamp()) * 1000


def _minutes(offset: timedelta | None) -> int:
    return int((offset or timedelta()).total_seconds()) // 60


def offset(name: str, ts: int) -> int:
    """Return the minutes east of UTC at ``ts`` (milliseconds UTC)."""
    return _minutes(_at(name, ts).utcoffset())


def offsets(name: str, ts: int) -> tuple[int, int]:
    """Return (standard offset, additional daylight saving) at ``ts``, in minutes."""
    local = _at(name, ts)
    saving = _minutes(local.dst())
    return _minutes(local.utcoffset()) - saving, saving


def iso(name: str, ts: int) -> str:
    """Return local time as ISO 8601 with its offset, to the second."""
    return _at(name, ts).isoformat(timespec="seconds")


def readable(name: str, ts: int) -> str:
    """Return local time for people of any language: ``2026-12-28 10:31 (Europe/Kyiv)``."""
    return f"{_at(name, ts):%Y-%m-%d %H:%M} ({name})"


def posix_rule(name: str) -> str:
    """Return the POSIX TZ string, such as ``EET-2EEST,M3.5.0/3,M10.5.0/4``, from the TZif file (RFC 8536, 3.3)."""
    name = iana(name)
    if (minutes := offset_of(name)) is not None:
        # POSIX counts west of Greenwich.
        return f"<{name.replace(':', '')}>{'-' if minutes > 0 else ''}{abs(minutes) // 60}:{abs(minutes) % 60:02d}"
    data = resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    return data.rstrip(b"\n").rpartition(b"\n")[2].decode()


def changes(name: str, ts: int, count: int = 2) -> list[tuple[int, int]]:
    """Return up to ``count`` changes after ``ts``, as (seconds UTC, offset from then on in minutes)."""
    place = zone(name)
    now = datetime.fromtimestamp(ts // 1000, UTC)
    end = now + _HORIZON
    upcoming: list[tuple[int, int]] = []
    while now < end and len(upcoming) < count:
        before, after = now, now + _STEP
        offset_before = before.astimezone(place).utcoffset()
        if after.astimezone(place).utcoffset() != offset_before:
            while after - before > timedelta(seconds=1):
                middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
                if middle.astimezone(place).utcoffset() == offset_before:
                    before = middle
                else:
                    after = middle
            upcoming.append((int(after.timestamp()), _minutes(after.astimezone(place).utcoffset())))
        now = after
    return upcoming
