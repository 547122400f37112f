"""The keys of chunks and of hourly and daily statistics, and the days of a time zone in hours.

Hours count from 1970. Keys of chunks and hours begin with the hour, so that compaction appends to the tables; a query
looks up hour by hour. Keys of days begin with the series, so that a year of one series is stored together.
"""

from __future__ import annotations

from functools import lru_cache

from hub.history.chunks import HOUR_MS
from hub.parsing import timezones

#: A series has 32 bits, a part of a chunk 11, an hour 20 (until 2089).
MAX_PART = (1 << 11) - 1
SERIES_MASK = (1 << 32) - 1
#: A number greater than every series, and every batch of the log.
EVERY_SERIES = (1 << 63) - 1


def chunk_key(hour: int, series: int, part: int = 0) -> int:
    return hour << 43 | series << 11 | part


def series_of_chunk(key: int) -> int:
    return key >> 11 & SERIES_MASK


def hour_of_chunk(key: int) -> int:
    return key >> 43


def hour_key(hour: int, series: int) -> int:
    return hour << 32 | series


def day_key(series: int, hour: int) -> int:
    return series << 24 | hour


@lru_cache(maxsize=4096)
def day_of(zone: str, hour: int) -> tuple[int, int] | None:
    """Return (first hour, number of hours) of the day with ``hour``; None if it does not begin with an hour of UTC."""
    start, end = timezones.day(zone, hour * HOUR_MS)
    if start % HOUR_MS or end % HOUR_MS:
        return None
    return start // HOUR_MS, (end - start) // HOUR_MS
