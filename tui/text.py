"""Text for a terminal: cleaned, measured in cells, cut and padded; ages and numbers."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal

import attrs
from rich.cells import cell_len

Align = Literal["left", "right", "center"]

#: Characters of a text of a device that are looked at: more than any terminal displays in a line.
MAX_CHARACTERS = 4096
#: Combining marks after a character that are drawn; more would cover other lines.
MAX_COMBINING = 2

#: Characters that change the direction or the joining of text, invisibly.
_INVISIBLE = {
    "\u00ad": "shy", "\u034f": "cgj", "\u061c": "alm", "\u115f": "hcf", "\u1160": "hjf", "\u17b4": "kiv",
    "\u17b5": "kiv", "\u180e": "mvs", "\u200b": "zwsp",
    "\u200c": "zwnj", "\u200d": "zwj", "\u200e": "ltr", "\u200f": "rtl", "\u2028": "line", "\u2029": "par",
    "\u202a": "ltr", "\u202b": "rtl", "\u202c": "pop", "\u202d": "ltr!", "\u202e": "rtl!", "\u2060": "wj",
    "\u2066": "ltr", "\u2067": "rtl", "\u2068": "auto", "\u2069": "pop", "\u3164": "hf", "\ufeff": "bom",
    "\uffa0": "hhf",
}  # fmt: skip
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86_400, 365 * 86_400


@attrs.frozen
class Marks:
    """How characters are displayed that a terminal would obey, or not display: a name between ``opening`` and
    ``closing``; control codes as pictures if ``pictures``, otherwise as ``^[``. ``ellipsis`` stands for text cut off.
    """

    opening: str
    closing: str
    ellipsis: str
    pictures: bool


MARKS = Marks("⟪", "⟫", "…", pictures=True)
ASCII_MARKS = Marks("<", ">", "~", pictures=False)


def clean(text: str, marks: Marks = MARKS) -> str:
    """Return text of a device as a terminal can display it: control codes, marks of direction and characters without a
    width are visible, and all is in one line. What is beyond ``MAX_CHARACTERS`` is left out.
    """
    if text.isascii() and text.isprintable() and len(text) <= MAX_CHARACTERS:
        return text
    cut = unicodedata.normalize("NFC", text[:MAX_CHARACTERS])
    parts: list[str] = []
    combining = MAX_COMBINING  # none may begin a text: it would change what stands before it
    for character in cut:
        if unicodedata.category(character) in {"Mn", "Me"}:
            combining += 1
            if combining <= MAX_COMBINING:
                parts.append(character)
            continue
        combining = 0
        parts.append(character if _is_plain(character) else _mark(character, marks))
    if len(text) > MAX_CHARACTERS:
        parts.append(marks.ellipsis)
    return "".join(parts)


def _is_plain(character: str) -> bool:
    category = unicodedata.category(character)
    if category in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp", "Co"} or character in _INVISIBLE:
        return False
    return cell_len(character) > 0


@lru_cache(maxsize=1024)
def _mark(character: str, marks: Marks) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code) if marks.pictures else f"^{chr(code + 0x40)}"
    if code == 0x7F:
        return "␡" if marks.pictures else "^?"
    return f"{marks.opening}{_INVISIBLE.get(character) or f'{code:x}'}{marks.closing}"


def cut(text: str, width: int, marks: Marks = MARKS) -> str:
    """Return clean text with at most ``width`` cells, the last of them an ellipsis if something is missing."""
    if len(text) * 2 <= width or cell_len(text) <= width:
        return text
    if width <= 0:
        return ""
    room = width - 1
    used = end = 0
    for end, character in enumerate(text):  # noqa: B007
        used += cell_len(character)
        if used > room:
            break
    # Sequences can be wider than their characters (flags, emoji with variants).
    while end and cell_len(text[:end]) > room:
        end -= 1
    return text[:end] + marks.ellipsis


def fit(text: str, width: int, align: Align = "left", marks: Marks = MARKS) -> str:
    """Return clean text with ``width`` cells exactly: cut with an ellipsis, or padded with spaces."""
    shown = cut(text, width, marks)
    space = max(width - cell_len(shown), 0)
    if align == "right":
        return " " * space + shown
    if align == "center":
        return " " * (space // 2) + shown + " " * (space - space // 2)
    return shown + " " * space


def age(seconds: float) -> str:
    """Return an age in its largest unit: ``3 s``, ``5 min``, ``2 h``, ``9 d``, ``3 y``. A negative one is ``0 s``."""
    for length, unit in ((_YEAR, "y"), (_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(int(seconds), 0)} s"


def number(value: float, decimals: int | None = None) -> str:
    """Return a number with thousands separated, and ``decimals`` places; by default as many as it needs, at most 6."""
    if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124
        return str(value)
    if abs(value) >= 1e15:
        return f"{value:.6g}"
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.6f}".rstrip("0").rstrip(".")


def quantity(value: str, unit: str, width: int, marks: Marks = MARKS) -> tuple[str, str]:
    """Return a value and its unit, which together have ``width`` cells; the value is at the right, the unit behind it.

    Without space for both, the unit is left out; a number is never shortened to another one.
    """
    suffix = f" {unit}" if unit else ""
    room = width - cell_len(suffix)
    if cell_len(value) > room:
        return fit(value, width, "right", marks), ""
    return fit(value, room, "right", marks), suffix
