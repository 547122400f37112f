"""Reading what people and devices write: one lenient reader for each notation. Pure functions.

A reader accepts the spellings that clients of the field are known to send, and raises ValueError with a sentence for
everything else. ``tests/spellings.toml`` is the table of what is accepted and refused; every row of it is tried here
and on each way into the hub.
"""

from __future__ import annotations

import math
import re
from typing import Any

#: ASCII white space, and the byte order mark that editors and PowerShell put in front of text.
BLANKS = " \t\n\v\f\r\ufeff"
#: Around a number; C programs send the NUL that ends a string.
_PADDING = BLANKS + "\0"
#: Characters of a whole number, leading zeros included.
MAX_DIGITS = 40
#: C++ sends an int that was a float as "5.0000000".
_INTEGER = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


# -- numbers ----------------------------------------------------------------------------------------------------------


def integer(text: str) -> int:
    """A whole number: ``5``, ``+5``, ``5.000``, with any white space, byte order mark and NUL around it.

    Raises ValueError, whose text is "" or a hint.
    """
    # Most numbers have nothing around them, and this is the path of every value.
    if _INTEGER.fullmatch(text) is None:
        text = text.strip(_PADDING)
        if _INTEGER.fullmatch(text) is None:
            raise ValueError(_number_hint(text))
    if len(text) > MAX_DIGITS:
        raise ValueError("")
    return int(text.partition(".")[0])


def decimal(text: str) -> float:
    """A number: ``21.5``, ``.5``, ``1e3``, with the same around it as in `integer`; infinite where it is too large.

    Raises ValueError, whose text is "" or a hint.
    """
    if _DECIMAL.fullmatch(text) is None:
        text = text.strip(_PADDING)
        if _DECIMAL.fullmatch(text) is None:
            raise ValueError(_number_hint(text))
    return float(text)


def is_blank(text: str) -> bool:
    """Whether nothing but what may stand around a number is there."""
    return not text.strip(_PADDING)


def _number_hint(text: str) -> str:
    """What to change about a number with a comma, or "" where there is nothing to suggest."""
    if "," in text and _DECIMAL.fullmatch(text.replace(",", "")):
        return f"{text[:40]!r} has a comma: write a point, as in 21.5, and nothing between thousands."
    return ""


# -- numbers and times of JSON ----------------------------------------------------------------------------------------

#: Whole numbers up to here are exact as a double (RFC 8259 §6).
MAX_EXACT = 2**53 - 1
#: Stamps from 2001 on, were they seconds; as milliseconds they are between 12 January 1970 and 3 March 1973.
_SECONDS = range(10**9, 10**11)
#: Stamps from this on are microseconds or nanoseconds; as milliseconds they are after the year 5138.
_MICROSECONDS = 10**14


def whole(raw: object) -> int | None:
    """A whole number of JSON as an int; None for anything else.

    JSON has one kind of number (RFC 8259 §6): ArduinoJson and Lua write large whole numbers as ``1.795794e12``.
    """
    if type(raw) is int:
        return raw
    if type(raw) is float and raw.is_integer() and abs(raw) <= MAX_EXACT:
        return int(raw)
    return None


def stamp(raw: object) -> int:
    """A stamp of JSON in milliseconds UTC; a fraction of a millisecond is dropped (``time.time() * 1000``).

    Raises ValueError.
    """
    if type(raw) is float and math.isfinite(raw):
        return math.floor(raw)
    if type(raw) is not int:
        raise ValueError(f"a stamp is a number of milliseconds since 1970, not {raw!r:.40}")
    return raw


def unit_hint(at: int) -> str:
    """A sentence about a stamp that is not in milliseconds; "" when it may be."""
    if at in _SECONDS:
        return f"The timestamp {at} is in seconds: milliseconds are meant, as in {at * 1000}."
    if at >= _MICROSECONDS:
        return f"The timestamp {str(at)[:30]} is in micro- or nanoseconds: milliseconds are meant."
    return ""


def timed_values(rows: object, most: int) -> list[tuple[int, Any]]:
    """``[[stamp in ms, value], …]`` of JSON, at most ``most`` of them, as (stamp, value). Raises ValueError."""
    if not isinstance(rows, list):
        raise ValueError("a batch with timestamps is [[milliseconds, value], …]")  # noqa: TRY004 - of JSON, not of ours
    if len(rows) > most:
        raise ValueError(f"a batch has at most {most} values, not {len(rows)}")
    found = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != 2:
            raise ValueError(f"point {number}: must be [milliseconds, value]")
        try:
            found.append((stamp(row[0]), row[1]))
        except ValueError as error:
            raise ValueError(f"point {number}: {error}") from None
    return found


# -- time zones -------------------------------------------------------------------------------------------------------

#: ``java.time.ZoneId.SHORT_IDS``, which docs.blynk.io points to for tzName; EST, MST and HST are IANA names too.
_SHORT_IDS = {
    "ACT": "Australia/Darwin",
    "AET": "Australia/Sydney",
    "AGT": "America/Argentina/Buenos_Aires",
    "ART": "Africa/Cairo",
    "AST": "America/Anchorage",
    "BET": "America/Sao_Paulo",
    "BST": "Asia/Dhaka",
    "CAT": "Africa/Harare",
    "CNT": "America/St_Johns",
    "CST": "America/Chicago",
    "CTT": "Asia/Shanghai",
    "EAT": "Africa/Addis_Ababa",
    "ECT": "Europe/Paris",
    "IET": "America/Indiana/Indianapolis",
    "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
    "MIT": "Pacific/Apia",
    "NET": "Asia/Yerevan",
    "NST": "Pacific/Auckland",
    "PLT": "Asia/Karachi",
    "PNT": "America/Phoenix",
    "PRT": "America/Puerto_Rico",
    "PST": "America/Los_Angeles",
    "SST": "Pacific/Guadalcanal",
    "VST": "Asia/Ho_Chi_Minh",
    "UT": "UTC",
    "Z": "UTC",
}
#: ``ZoneId.of``: an offset, alone or after UTC, GMT or UT. A query that leaves ``+`` unescaped has a space for it.
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+ -])([0-9]{1,2})(?::?([0-9]{2})(?::?00)?)?")
#: Hours east of UTC that have an IANA name, and how far ``java.time.ZoneOffset`` goes, in minutes.
_NAMED_HOURS, _MAX_OFFSET = range(-12, 15), 18 * 60


def zone_id(text: str) -> str:
    """The IANA name for an id of ``java.time.ZoneId``, or an offset such as ``+05:30`` where IANA has no name for it.

    ``GMT+2`` is ``Etc/GMT-2`` there, whose sign is the other way round. Anything else is returned as it is.
    """
    text = text.strip(BLANKS)
    if (found := _OFFSET.fullmatch(text)) is None:
        return _SHORT_IDS.get(text, text)
    sign, hours, minutes = -1 if found[1] == "-" else 1, int(found[2]), int(found[3] or 0)
    east = sign * (hours * 60 + minutes)
    if minutes > 59 or abs(east) > _MAX_OFFSET:
        return text
    if not east:
        return "UTC"
    if not minutes and east // 60 in _NAMED_HOURS:
        return f"Etc/GMT{-east // 60:+d}"
    return f"{'-' if east < 0 else '+'}{hours:02d}:{minutes:02d}"


def offset_of(zone: str) -> int | None:
    """Minutes east of UTC of an offset as `zone_id` writes it; None for anything else."""
    found = re.fullmatch(r"([+-])([0-9]{2}):([0-9]{2})", zone)
    if found is None or int(found[3]) > 59 or (minutes := int(found[2]) * 60 + int(found[3])) > _MAX_OFFSET:
        return None
    return -minutes if found[1] == "-" else minutes
