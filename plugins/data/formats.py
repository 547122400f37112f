"""Times and values as text, for the files and answers that this plugin writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hub.parsing import spellings

#: Media types of answers: lines of JSON, and CSV.
NDJSON, CSV = "application/x-ndjson", "text/csv"


def iso_time(ts: int) -> str:
    """Return a stamp (ms UTC) as ISO 8601 with milliseconds, such as "2026-11-24T12:00:00.000Z"."""
    return datetime.fromtimestamp(ts / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def csv_field(value: Any) -> str:
    """Return a value as a field of a CSV row, quoted if necessary; "" for None."""
    if value is None:
        return ""
    text = spellings.csv_field(value)
    return '"' + text.replace('"', '""') + '"' if any(char in text for char in ',"\r\n') else text
