"""Text of devices and users, as a terminal may show it.

A device can send any character. Control codes would move the cursor or change the terminal; bidirectional marks and
characters without a width would show another text than the one that was sent. They are replaced by visible names.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

#: Characters of a text that are shown; the rest is cut off.
MAX_CHARACTERS = 10_000
#: Combining marks on one character; more would draw over the lines above and below.
MAX_MARKS = 3
#: What is shown for a datastream without a value.
NO_VALUE = "\N{EN DASH}"
#: Names of invisible characters that change the direction or the division of text.
_NAMES = {
    "\u00ad": "⟪hyphen⟫",
    "\u061c": "⟪rtl⟫",
    "\u200b": "⟪zero width⟫",
    "\u200c": "⟪zero width⟫",
    "\u200d": "⟪zero width⟫",
    "\u200e": "⟪ltr⟫",
    "\u200f": "⟪rtl⟫",
    "\u202a": "⟪ltr⟫",
    "\u202b": "⟪rtl⟫",
    "\u202c": "⟪end⟫",
    "\u202d": "⟪ltr⟫",
    "\u202e": "⟪rtl⟫",
    "\u2028": "␊",
    "\u2029": "␊",
    "\u2060": "⟪zero width⟫",
    "\u2066": "⟪ltr⟫",
    "\u2067": "⟪rtl⟫",
    "\u2068": "⟪isolate⟫",
    "\u2069": "⟪end⟫",
    "\u3164": "⟪blank⟫",
    "\ufeff": "⟪zero width⟫",
    "\x7f": "␡",
}
#: Categories of characters that are invisible, or have no meaning of their own.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


def clean(text: str) -> str:
    """Return text as one line that a terminal can show."""
    shown = text[:MAX_CHARACTERS]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(_visible(shown))
    return shown if len(text) <= MAX_CHARACTERS else shown + "…"


def _visible(text: str) -> list[str]:
    parts, marks = list[str](), 0
    for character in text:
        if ord(character) < 0x20:
            parts.append(chr(0x2400 + ord(character)))
        elif (name := _NAMES.get(character)) is not None:
            parts.append(name)
        elif (category := unicodedata.category(character)) in _INVISIBLE:
            parts.append(f"⟪{ord(character):x}⟫")
        elif category in ("Mn", "Me"):
            marks += 1
            # Variation selectors choose a glyph of another width than the terminal counts.
            if marks <= MAX_MARKS and ord(character) not in _VARIATION_SELECTORS:
                # A mark needs something to be on.
                parts.append(character if parts else f"◌{character}")
            continue
        else:
            parts.append(" " if category == "Zs" else character)
        marks = 0
    return parts


def display(raw: Any) -> str:
    """Return a value of a datastream as one clean line; `NO_VALUE` for none."""
    if raw is None:
        return NO_VALUE
    if isinstance(raw, str):
        return clean(raw)
    return clean(json.dumps(raw, ensure_ascii=False))


def cells(text: str) -> int:
    """Return how many cells of a terminal a clean text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def fit(text: str, width: int) -> str:
    """Return a clean text, cut to ``width`` cells with "…" at its end if it is longer."""
    if cells(text) <= width:
        return text
    if width <= 0:
        return ""
    end, taken = 0, 1
    for character in text:
        taken += _cells(character)
        if taken > width:
            break
        end += 1
    return text[:end] + "…"


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
