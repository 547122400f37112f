"""Reading what people and devices write: one lenient reader for each notation. Pure functions.

A reader accepts the spellings that clients of the field are known to send, and raises ValueError with a sentence for
everything else. ``tests/spellings.toml`` is the table of what is accepted and refused; every row of it is tried here
and on each way into the hub.
"""

from __future__ import annotations

import codecs
import csv
import io
import ipaddress
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, tzinfo
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

#: ASCII white space, and the byte order mark that editors and PowerShell put in front of text.
BLANKS = " \t\n\v\f\r\ufeff"
#: Around a number: C programs send the NUL that ends a string, and `float` takes separators for white space.
_PADDING = BLANKS + "\0\x1c\x1d\x1e\x1f"
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
    # The path of every value: what is none for `float`, or one that only Python writes so, is looked at closely.
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and text.isascii() and "_" not in text:
        return number
    if _DECIMAL.fullmatch(text) is None:
        text = text.strip(_PADDING)
        if _DECIMAL.fullmatch(text) is None:
            raise ValueError(_number_hint(text))
    return float(text)


def trimmed(text: str) -> str:
    """Text without what may stand around a number, and around a token: white space, byte order marks and NULs."""
    return text.strip(_PADDING)


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
#: Stamps from this on are microseconds (from 2001) or nanoseconds; as milliseconds they are after the year 33658.
_MICROSECONDS = 10**15


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


# -- text files -------------------------------------------------------------------------------------------------------


def decoded(data: bytes) -> str:
    """Text that a person saved: UTF-8, or UTF-16 with its byte order mark. Line ends are as they were.

    Raises ValueError, which names the line and what the encoding may be.
    """
    if len(data) > 2 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif len(data) > 3 and 0 in data[:2] and data[:2] != b"\0\0" and data[0::2][:2].count(0) in (0, 2):
        raise ValueError("is UTF-16 text without a byte order mark: save it as UTF-8")
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if encoding == "utf-16":
            raise ValueError(f"line {line} is not UTF-16 text: save the file as UTF-8") from None
        raise ValueError(
            f"line {line} is not UTF-8 text: byte 0x{data[error.start]:02X} may be Latin-1 or Windows-1252;"
            " save the file as UTF-8"
        ) from None


def read_text(path: Path) -> str:
    """A text file, `decoded`, with a line feed at the end of each line. Raises OSError and ValueError."""
    return decoded(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")


#: Blank rows in front of a header.
MAX_BLANK = 100


class Table(NamedTuple):
    """A file of CSV. A row has the line that it ends on, counted from 1, and its fields: none, if all are blank.

    Going on to the next row raises ValueError for what is no CSV.
    """

    separator: str
    header: list[str]
    rows: Iterator[tuple[int, list[str]]]


def table(text: str) -> Table:
    """CSV as spreadsheets write it: separated by comma, semicolon or tab, whichever the header has, or ``sep=`` names.

    Rows without anything in them are no rows, and empty columns without a name at the end are no columns.
    Raises ValueError.
    """
    text = text.removeprefix("\ufeff")
    first = text.lstrip().partition("\n")[0].rstrip("\r")
    named = re.fullmatch(r"sep=(.)", first, re.IGNORECASE)
    separator = named[1] if named else next((one for one in ",;\t" if one in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        if named:
            next(row for row in reader if row)
        header = next((row for row in islice(reader, MAX_BLANK) if any(field.strip() for field in row)), [])
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    width, header = len(header), [name.strip() for name in header]
    while header and not header[-1]:
        header.pop()
    return Table(separator, header, _rows(reader, len(header), width))


def _rows(reader: Any, named: int, width: int) -> Iterator[tuple[int, list[str]]]:
    """The rows after a header of ``width`` columns, of which the first ``named`` have a name."""
    try:
        for row in reader:
            if not any(field.strip() for field in row):
                yield reader.line_num, []
            else:
                nameless = len(row) <= width and not any(row[named:])
                yield reader.line_num, row[:named] if nameless else row
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


# -- values and times in CSV ------------------------------------------------------------------------------------------

_NUMBER_WITH_COMMA = re.compile(r"\s*[+-]?[0-9]+,[0-9]+\s*")
#: As `Get device report` of docs.blynk.io writes them: ISO_US and ISO_SIMPLE, which `datetime.fromisoformat` reads.
_US_TIME = "%m/%d/%y %I:%M:%S %p"
#: Numbers below are no stamps but days of a spreadsheet, years, or seconds before 2001.
_FIRST_STAMP = 10**9


def csv_field(value: Any) -> str:
    """A value as `value_of_csv` reads it back: text as it is, several values as a JSON array.

    Text that reads as several values, or as text that was quoted for that reason, is a JSON string.
    """
    if isinstance(value, str):
        return json.dumps(value) if _needs_quotes(value) else value
    return json.dumps(list(value), ensure_ascii=False) if isinstance(value, (list, tuple)) else str(value)


def value_of_csv(field: str, kind: str, separator: str = ",") -> Any:
    """The value in a field for a datastream of type ``kind``: text, or a list of several values.

    A decimal comma is a point where the fields are not separated by commas.
    """
    if kind == "string":
        several = _several_texts(field)
        return several or (_json(field) if _needs_quotes(field) and field.startswith('"') else field)
    if field.lstrip().startswith("["):
        several = _json(field)
        return field if several is None else several
    if separator != "," and kind != "location" and _NUMBER_WITH_COMMA.fullmatch(field):
        return field.replace(",", ".")
    return field


def _needs_quotes(text: str) -> bool:
    """Whether it is a JSON array of texts, or such an array as a JSON string, however often."""
    while text.startswith('"') and isinstance(inner := _json(text), str):
        text = inner
    return _several_texts(text) is not None


def _several_texts(text: str) -> list[str] | None:
    """A JSON array of two or more texts; None for anything else."""
    found = _json(text) if text.startswith("[") else None
    several = isinstance(found, list) and len(found) > 1 and all(isinstance(one, str) for one in found)
    return found if several else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def moment(text: str, zone: tzinfo, after: int | None = None) -> int:
    """A time in milliseconds UTC: a stamp, ISO 8601, or as a report of Blynk has it (``11/20/26 02:30:00 PM``).

    One without an offset is in ``zone``. Where the clocks are set back a time comes twice: it is the first, unless that
    is before ``after``, the time of the row before. Raises ValueError.
    """
    text = text.strip(BLANKS)
    if _DECIMAL.fullmatch(text):
        if (number := float(text)) >= _FIRST_STAMP and math.isfinite(number):
            if hint := unit_hint(at := stamp(number)):
                raise ValueError(hint)
            return at
        raise ValueError(f"{text[:40]!r} is not a valid time, nor a number of milliseconds since 1970")
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        then = _us_time(text)
    if then.tzinfo is not None:
        return round(then.timestamp() * 1000)
    first, second = (round(then.replace(tzinfo=zone, fold=fold).timestamp() * 1000) for fold in (0, 1))
    return second if after is not None and first < after <= second else first


def _us_time(text: str) -> datetime:
    try:
        return datetime.strptime(text, _US_TIME)  # noqa: DTZ007 - the caller knows the zone
    except ValueError:
        hint = "milliseconds since 1970, or a time such as 2026-11-24 12:00:00 or 2026-11-24T12:00:00+01:00"
        raise ValueError(f"{text[:40]!r} is not a valid time: write {hint}") from None


# -- names and other text for people ----------------------------------------------------------------------------------

#: Zero width joiner and non-joiner: emoji, Persian and the scripts of India are written with them.
_JOINERS = frozenset("\u200c\u200d")
#: Characters that are normalized: it takes the square of the number of marks, 22 s for 100,000 of them.
MAX_NFC = 256


def nfc(text: str) -> str:
    """A name in Unicode's normalization form C, so that what looks the same is the same: macOS writes "é" as two.

    Text that is too long for any name is returned as it is.
    """
    return text if text.isascii() or len(text) > MAX_NFC else unicodedata.normalize("NFC", text)


def is_printable(text: str) -> bool:
    """Whether people can read it: letters of any script, all spaces, and joiners.

    Control characters, overrides of the direction, line separators and what is invisible otherwise are refused.
    """
    return text.isprintable() or all(one.isprintable() or _is_space(one) or one in _JOINERS for one in text)


def is_name(text: str, most: int) -> bool:
    """Whether it has 1 to ``most`` printable characters, and one of them can be seen."""
    return len(text) <= most and is_printable(text) and any(not _is_space(one) and one not in _JOINERS for one in text)


def is_words(text: str, more: str) -> bool:
    """Whether it has only letters (of any script, with what is above and below them), digits, spaces, and ``more``."""
    return all(
        one.isalnum() or one in more or one in _JOINERS or _is_space(one) or unicodedata.category(one)[0] == "M"
        for one in text
    )


def shown(text: str) -> str:
    """Text for people's eyes, part of which came from outside: what is not printable is escaped."""
    return "".join(one if is_printable(one) else ascii(one)[1:-1] for one in text)


def _is_space(one: str) -> bool:
    return unicodedata.category(one) == "Zs"


# -- addresses --------------------------------------------------------------------------------------------------------

#: A label of a name in DNS (RFC 1123 §2.1), with the underscore that some networks have.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
MAX_HOST = 253


def host(text: str) -> str:
    """A host as it is looked for in DNS: lower case, A-labels for other scripts (RFC 5891), no dot at the end.

    An IP address is written as `ipaddress` does, without brackets. Raises ValueError.
    """
    import idna

    with suppress(ValueError):
        return str(ipaddress.ip_address(text))
    try:
        name = text.removesuffix(".").lower()
        if not name.isascii():
            # Browsers map case and width first (UTS 46).
            name = idna.encode(text.removesuffix("."), uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"{text[:100]!r} is no name of a host: {error}") from None
    labels = name.split(".")
    if len(name) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdecimal():
        raise ValueError(f"{text[:100]!r} is no name of a host, nor an IP address")
    return name


def base_url(text: str) -> str:
    """An address that paths are put behind: ``https://hub.example.org``, with a port where one is given.

    Raises ValueError.
    """
    example = "such as https://hub.example.org"
    if not is_printable(text) or any(_is_space(one) for one in text):
        raise ValueError(f"must have no spaces, {example}, not {text[:100]!r}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"must be an address, {example}, not {text[:100]!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"needs http:// or https:// and a host, {example}, not {text[:100]!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc or text[-1] in "?#":
        raise ValueError(f"has only http:// or https://, a host and a port, {example}, not {text[:100]!r}")
    if port == 0:
        raise ValueError(f"has a port of 1 to 65535, not {text[:100]!r}")
    name = host(parts.hostname)
    in_url = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{in_url}" + (f":{port}" if port else "")
