"""Readers of what users and devices write: one lenient, pure function for each notation.

A reader accepts the spellings that clients in the field are known to send, and raises ValueError with a sentence for
all others. ``tests/hub/parsing/spellings.toml`` is the table of what is accepted and rejected; each of its rows is
tested here and on each way into the hub.
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

__all__ = [
    "BLANKS",
    "Table",
    "as_integer",
    "base_url",
    "csv_field",
    "decimal",
    "decode_text",
    "email_address",
    "escape",
    "host",
    "integer",
    "is_blank",
    "is_name",
    "is_printable",
    "is_words",
    "local_time",
    "mailbox",
    "nfc",
    "offset_of",
    "read_text",
    "stamp",
    "strip_padding",
    "table",
    "timed_values",
    "unit_hint",
    "value_of_csv",
    "zone_id",
]

#: ASCII white space, and the byte order mark that editors and PowerShell write before text.
BLANKS = " \t\n\v\f\r\ufeff"
#: Padding of a number: C programs send the NUL that ends a string, and `float` counts separators as white space.
_PADDING = BLANKS + "\0\x1c\x1d\x1e\x1f"
#: Characters of a whole number, including leading zeros.
MAX_DIGITS = 40
#: C++ sends an int that was a float as "5.0000000".
_INTEGER = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


# -- numbers ----------------------------------------------------------------------------------------------------------


def integer(text: str) -> int:
    """Read a whole number: ``5``, ``+5``, ``5.000``, with padding around it (white space, byte order marks, NULs).

    Raises ValueError, whose text is "" or a hint.
    """
    # Every value comes through here, and most have no padding.
    if _INTEGER.fullmatch(text) is None:
        text = text.strip(_PADDING)
        if _INTEGER.fullmatch(text) is None:
            raise ValueError(_number_hint(text))
    if len(text) > MAX_DIGITS:
        raise ValueError("")
    return int(text.partition(".")[0])


def decimal(text: str) -> float:
    """Read a number: ``21.5``, ``.5``, ``1e3``, with padding as in `integer`; infinite if it is too large.

    Raises ValueError, whose text is "" or a hint.
    """
    # Every value comes through here: only text that `float` rejects, or that only Python spells so, is parsed again.
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


def strip_padding(text: str) -> str:
    """Remove the padding of a number or token: white space, byte order marks and NULs."""
    return text.strip(_PADDING)


def is_blank(text: str) -> bool:
    """Whether text consists of padding alone."""
    return not text.strip(_PADDING)


def _number_hint(text: str) -> str:
    """Return how to correct a number with a comma; "" for other text."""
    if "," in text and _DECIMAL.fullmatch(text.replace(",", "")):
        return f"{text[:40]!r} has a comma: write a point, as in 21.5, and nothing between thousands."
    return ""


# -- numbers and times of JSON ----------------------------------------------------------------------------------------

#: Whole numbers up to here are exact as a double (RFC 8259 §6).
MAX_EXACT = 2**53 - 1
#: Stamps that are in seconds from 2001 on; as milliseconds they are between 12 January 1970 and 3 March 1973.
_SECONDS = range(10**9, 10**11)
#: The smallest stamp in microseconds (from 2001 on) or nanoseconds; as milliseconds it is after the year 33658.
_MICROSECONDS = 10**15


def as_integer(raw: object) -> int | None:
    """Return a whole number of JSON as an int; None for anything else.

    JSON has one kind of number (RFC 8259 §6): ArduinoJson and Lua write large whole numbers as ``1.795794e12``.
    """
    if type(raw) is int:
        return raw
    if type(raw) is float and raw.is_integer() and abs(raw) <= MAX_EXACT:
        return int(raw)
    return None


def stamp(raw: object) -> int:
    """Read a stamp of JSON in milliseconds UTC; fractions of a millisecond (``time.time() * 1000``) are dropped.

    Raises ValueError.
    """
    if type(raw) is float and math.isfinite(raw):
        return math.floor(raw)
    if type(raw) is not int:
        raise ValueError(f"a stamp is a number of milliseconds since 1970, not {raw!r:.40}")
    return raw


def unit_hint(at: int) -> str:
    """Return a sentence about a stamp that is not in milliseconds; "" if it may be."""
    if at in _SECONDS:
        return f"The timestamp {at} is in seconds: milliseconds are meant, as in {at * 1000}."
    if at >= _MICROSECONDS:
        return f"The timestamp {str(at)[:30]} is in micro- or nanoseconds: milliseconds are meant."
    return ""


def timed_values(rows: object, limit: int) -> list[tuple[int, Any]]:
    """Read ``[[stamp in ms, value], …]`` of JSON, at most ``limit`` pairs. Raises ValueError."""
    if not isinstance(rows, list):
        raise ValueError("a batch with timestamps is [[milliseconds, value], …]")  # noqa: TRY004 - of JSON, not of ours
    if len(rows) > limit:
        raise ValueError(f"a batch has at most {limit} values, not {len(rows)}")
    points = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != 2:
            raise ValueError(f"point {number}: must be [milliseconds, value]")
        try:
            points.append((stamp(row[0]), row[1]))
        except ValueError as error:
            raise ValueError(f"point {number}: {error}") from None
    return points


# -- time zones -------------------------------------------------------------------------------------------------------

#: ``java.time.ZoneId.SHORT_IDS``, to which docs.blynk.io refers for tzName; EST, MST and HST are IANA names too.
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
#: ``ZoneId.of``: an offset, alone or after UTC, GMT or UT. An unescaped ``+`` in a query is a space.
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+ -])([0-9]{1,2})(?::?([0-9]{2})(?::?00)?)?")
#: Hours east of UTC that have an IANA name, and the largest ``java.time.ZoneOffset`` in minutes.
_NAMED_HOURS, _MAX_OFFSET = range(-12, 15), 18 * 60


def zone_id(text: str) -> str:
    """Return the IANA name for an id of ``java.time.ZoneId``, or an offset such as ``+05:30`` that has no IANA name.

    ``GMT+2`` is IANA's ``Etc/GMT-2``, with the opposite sign. Any other text is returned unchanged.
    """
    text = text.strip(BLANKS)
    if (match := _OFFSET.fullmatch(text)) is None:
        return _SHORT_IDS.get(text, text)
    sign, hours, minutes = -1 if match[1] == "-" else 1, int(match[2]), int(match[3] or 0)
    east = sign * (hours * 60 + minutes)
    if minutes > 59 or abs(east) > _MAX_OFFSET:
        return text
    if not east:
        return "UTC"
    if not minutes and east // 60 in _NAMED_HOURS:
        return f"Etc/GMT{-east // 60:+d}"
    return f"{'-' if east < 0 else '+'}{hours:02d}:{minutes:02d}"


def offset_of(zone: str) -> int | None:
    """Return the minutes east of UTC of an offset as `zone_id` writes it; None for anything else."""
    match = re.fullmatch(r"([+-])([0-9]{2}):([0-9]{2})", zone)
    if match is None or int(match[3]) > 59 or (minutes := int(match[2]) * 60 + int(match[3])) > _MAX_OFFSET:
        return None
    return -minutes if match[1] == "-" else minutes


# -- text files -------------------------------------------------------------------------------------------------------


def decode_text(data: bytes) -> str:
    """Decode a text file: UTF-8, or UTF-16 with a byte order mark. Line ends stay as they are.

    Raises ValueError, which names the line and the likely encoding.
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
    """Read and decode a text file, with line feeds at the ends of lines. Raises OSError and ValueError."""
    return decode_text(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")


#: Blank rows before a header.
MAX_BLANK = 100


class Table(NamedTuple):
    """A CSV file. A row is the line that it ends on, counted from 1, and its fields: none if all of them are blank.

    Iterating raises ValueError at malformed CSV.
    """

    separator: str
    header: list[str]
    rows: Iterator[tuple[int, list[str]]]


def table(text: str) -> Table:
    """Read CSV as spreadsheets write it, separated by the comma, semicolon or tab of the header, or by ``sep=``.

    Blank rows, and empty columns without a name at the end, are dropped. Raises ValueError.
    """
    text = text.removeprefix("\ufeff")
    first = text.lstrip().partition("\n")[0].rstrip("\r")
    named = re.fullmatch(r"sep=(.)", first, re.IGNORECASE)
    separator = named[1] if named else next((mark for mark in ",;\t" if mark in first), ",")
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
    """Yield the rows after a header of ``width`` columns, of which the first ``named`` have a name."""
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
#: The format ISO_US of `Get device report` (docs.blynk.io); `datetime.fromisoformat` reads its ISO_SIMPLE.
_US_TIME = "%m/%d/%y %I:%M:%S %p"
#: The smallest stamp: smaller numbers are days of a spreadsheet, years, or seconds before 2001.
_FIRST_STAMP = 10**9


def csv_field(value: Any) -> str:
    """Write a value so that `value_of_csv` reads it back: text unchanged, several values as a JSON array.

    Text that would be read as several values, or as quoted text, becomes a JSON string.
    """
    if isinstance(value, str):
        return json.dumps(value) if _needs_quotes(value) else value
    return json.dumps(list(value), ensure_ascii=False) if isinstance(value, (list, tuple)) else str(value)


def value_of_csv(field: str, kind: str, separator: str = ",") -> Any:
    """Read the value of a field for a datastream of type ``kind``: text, or a list of several values.

    A decimal comma is read as a point if the fields are not separated by commas.
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
    """Whether text is a JSON array of strings, or such an array quoted as a JSON string, any number of times."""
    while text.startswith('"') and isinstance(inner := _json(text), str):
        text = inner
    return _several_texts(text) is not None


def _several_texts(text: str) -> list[str] | None:
    """Return a JSON array of two or more strings; None for anything else."""
    parsed = _json(text) if text.startswith("[") else None
    several = isinstance(parsed, list) and len(parsed) > 1 and all(isinstance(item, str) for item in parsed)
    return parsed if several else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def local_time(text: str, zone: tzinfo, after: int | None = None) -> int:
    """Read a time as milliseconds UTC: a stamp, ISO 8601, or Blynk's report format (``11/20/26 02:30:00 PM``).

    A time without an offset is in ``zone``. When the clocks are set back a time occurs twice: the first is meant,
    unless it is before ``after``, the time of the previous row. Raises ValueError.
    """
    text = text.strip(BLANKS)
    if _DECIMAL.fullmatch(text):
        if (number := float(text)) >= _FIRST_STAMP and math.isfinite(number):
            if hint := unit_hint(at := stamp(number)):
                raise ValueError(hint)
            return at
        raise ValueError(f"{text[:40]!r} is not a valid time, nor a number of milliseconds since 1970")
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = _us_time(text)
    if parsed.tzinfo is not None:
        return round(parsed.timestamp() * 1000)
    first, second = (round(parsed.replace(tzinfo=zone, fold=fold).timestamp() * 1000) for fold in (0, 1))
    return second if after is not None and first < after <= second else first


def _us_time(text: str) -> datetime:
    try:
        return datetime.strptime(text, _US_TIME)  # noqa: DTZ007 - the caller knows the zone
    except ValueError:
        hint = "milliseconds since 1970, or a time such as 2026-11-24 12:00:00 or 2026-11-24T12:00:00+01:00"
        raise ValueError(f"{text[:40]!r} is not a valid time: write {hint}") from None


# -- names and other text for users -----------------------------------------------------------------------------------

#: Zero width joiner and non-joiner: emoji, Persian and the scripts of India are written with them.
_JOINERS = frozenset("\u200c\u200d")
#: Characters that are normalized: the time grows with the square of the number of marks, 22 s for 100,000.
MAX_NFC = 256


def nfc(text: str) -> str:
    """Return a name in Unicode's normalization form C: macOS writes "é" as two characters.

    Text that is too long for any name is returned unchanged.
    """
    return text if text.isascii() or len(text) > MAX_NFC else unicodedata.normalize("NFC", text)


def is_printable(text: str) -> bool:
    """Whether text is readable: letters of any script, all spaces, and joiners.

    Control characters, direction overrides, line separators and other invisible characters are not.
    """
    return text.isprintable() or all(char.isprintable() or _is_space(char) or char in _JOINERS for char in text)


def is_name(text: str, limit: int) -> bool:
    """Whether text has 1 to ``limit`` printable characters, and at least one is visible."""
    visible = any(not _is_space(char) and char not in _JOINERS for char in text)
    return len(text) <= limit and is_printable(text) and visible


def is_words(text: str, extra: str) -> bool:
    """Whether text has only letters of any script with their marks, digits, spaces, and characters of ``extra``."""
    return all(
        char.isalnum() or char in extra or char in _JOINERS or _is_space(char) or unicodedata.category(char)[0] == "M"
        for char in text
    )


def escape(text: str) -> str:
    """Escape the unprintable characters of text from outside, for logs and messages."""
    return "".join(char if is_printable(char) else ascii(char)[1:-1] for char in text)


def _is_space(char: str) -> bool:
    return unicodedata.category(char) == "Zs"


# -- addresses --------------------------------------------------------------------------------------------------------

#: A label of a DNS name (RFC 1123 §2.1), with the underscore that some networks use.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
MAX_HOST = 253


def host(text: str) -> str:
    """Return a host name in DNS form: lower case, A-labels for other scripts (RFC 5891), no dot at the end.

    An IP address is normalized, without brackets. Raises ValueError.
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


#: RFC 5321, 4.5.3.1: the longest part before the @. Quoted ones ("a b"@example.org) are not accepted.
_LOCAL_PART = re.compile(r"[^@\s\"<>()\\,;:\[\]]{1,64}")
_MAILBOX = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")


def email_address(text: str) -> str:
    """Return an e-mail address with its host in DNS form, as mail servers need it. Raises ValueError."""
    local, at, domain = text.strip(BLANKS).rpartition("@")
    try:
        if not at or not is_printable(local) or _LOCAL_PART.fullmatch(local) is None:
            raise ValueError
        return f"{local}@{host(domain)}"
    except ValueError:
        raise ValueError(f"{text[:100]!r} is no e-mail address, such as ann@example.org") from None


def mailbox(text: str) -> tuple[str, str]:
    """Return the name, which may be "", and the address of ``Name <ann@example.org>``. Raises ValueError."""
    match = _MAILBOX.fullmatch(text.strip(BLANKS))
    if match is None:
        return "", email_address(text)
    name = match["name"].strip(BLANKS).strip('"')
    if not is_printable(name):
        raise ValueError(f"{name[:100]!r} has characters that are not printable")
    return name, email_address(match["address"])


def base_url(text: str) -> str:
    """Normalize a base URL such as ``https://hub.example.org``, to which paths are appended.

    Raises ValueError.
    """
    example = "such as https://hub.example.org"
    if not is_printable(text) or any(_is_space(char) for char in text):
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
