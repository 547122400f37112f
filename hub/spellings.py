"""Reading what people and devices write: one lenient reader for each notation. Pure functions.

A reader accepts the spellings that clients of the field are known to send, and raises ValueError with a sentence for
everything else. ``tests/spellings.toml`` is the table of what is accepted and refused; every row of it is tried here
and on each way into the hub.
"""

from __future__ import annotations

import re

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
