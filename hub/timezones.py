"""What devices ask about their time zone: offsets, the POSIX rule, the next changes. From the IANA database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

#: How far ahead to look for a change of the offset.
_HORIZON = timedelta(days=550)
_STEP = timedelta(days=7)


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Every IANA name."""
    return frozenset((resources.files("tzdata") / "zones").read_text().split())


def _at(name: str, ts: int) -> datetime:
    return datetime.fromtimestamp(ts / 1000, ZoneInfo(name))


def _minutes(offset: timedelta | None) -> int:
    return int((offset or timedelta()).total_seconds()) // 60


def offset(name: str, ts: int) -> int:
    """Minutes east of UTC at ``ts`` (milliseconds UTC)."""
    return _minutes(_at(name, ts).utcoffset())


def offsets(name: str, ts: int) -> tuple[int, int]:
    """(standard offset, daylight saving on top of it) at ``ts``, in minutes."""
    then = _at(name, ts)
    saving = _minutes(then.dst())
    return _minutes(then.utcoffset()) - saving, saving


def iso(name: str, ts: int) -> str:
    """Local time as ISO 8601 with its offset, in seconds."""
    return _at(name, ts).isoformat(timespec="seconds")


def posix_rule(name: str) -> str:
    """The POSIX TZ string, such as ``EET-2EEST,M3.5.0/3,M10.5.0/4``: the last line of the TZif file (RFC 8536, 3.3)."""
    data = resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    return data.rstrip(b"\n").rpartition(b"\n")[2].decode()


def changes(name: str, ts: int, count: int = 2) -> list[tuple[int, int]]:
    """Up to ``count`` next changes after ``ts``: (seconds UTC, the offset from then on in minutes)."""
    zone = ZoneInfo(name)
    now = datetime.fromtimestamp(ts // 1000, UTC)
    end = now + _HORIZON
    found: list[tuple[int, int]] = []
    while now < end and len(found) < count:
        before, after = now, now + _STEP
        offset_before = before.astimezone(zone).utcoffset()
        if after.astimezone(zone).utcoffset() != offset_before:
            while after - before > timedelta(seconds=1):
                middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
                if middle.astimezone(zone).utcoffset() == offset_before:
                    before = middle
                else:
                    after = middle
            found.append((int(after.timestamp()), _minutes(after.astimezone(zone).utcoffset())))
        now = after
    return found
