"""What terminals and LCDs display after the writes of their device (Blynk library, WidgetTerminal.h and WidgetLCD.h).

Both are written in pieces, so that the latest value of the datastream is not what they display.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol

import attrs

from hub import MobilePage, Tab, Template, Value
from hub.templates import mobile_dashboard, web_dashboard
from hub.values import texts_of

ScreenKind = Literal["terminal", "lcd"]
#: The value that clears a screen.
CLEAR = "clr"


class Screen(Protocol):
    """The content of a terminal or an LCD, as one text with its lines."""

    kind: ClassVar[ScreenKind]
    content: str

    def write(self, value: Value) -> None:
        """Apply a value that the device has written."""


@attrs.define
class Terminal:
    """A text of up to `MAX_LINES` lines and `MAX_CHARACTERS`; the oldest lines are dropped.

    The library sends a line in pieces of up to 250 bytes. A line ends with a line feed, so the last one may be
    incomplete.
    """

    kind: ClassVar[ScreenKind] = "terminal"
    MAX_LINES: ClassVar[int] = 100
    MAX_CHARACTERS: ClassVar[int] = 8_000
    content: str = ""

    def write(self, value: Value) -> None:
        text = " ".join(texts_of(value))
        if text == CLEAR:
            self.content = ""
            return
        content = self.content + text.replace("\r\n", "\n").replace("\r", "\n")
        lines = content[-self.MAX_CHARACTERS :].split("\n")
        if len(content) > self.MAX_CHARACTERS and len(lines) > 1:
            # The first line was cut.
            del lines[0]
        ended = lines[-1] == ""
        self.content = "\n".join(lines[-self.MAX_LINES - ended :])


@attrs.define
class Lcd:
    """A screen of two lines with 16 characters each. A value is `CLEAR`, or ``p``, a column, a line and a text."""

    kind: ClassVar[ScreenKind] = "lcd"
    COLUMNS: ClassVar[int] = 16
    LINES: ClassVar[int] = 2
    content: str = ""

    def write(self, value: Value) -> None:
        texts = texts_of(value)
        if texts[0] == CLEAR:
            self.content = ""
        elif texts[0] == "p" and len(texts) >= 4:
            column, line = _PLACES.get(texts[1]), _PLACES.get(texts[2])
            if column is not None and line is not None and line < self.LINES:
                self._print(column, line, texts[3])

    def _print(self, column: int, line: int, text: str) -> None:
        lines = [row.ljust(self.COLUMNS) for row in (*self.content.split("\n"), "")[: self.LINES]]
        old = lines[line]
        lines[line] = (old[:column] + text + old[column + len(text) :])[: self.COLUMNS]
        self.content = "\n".join(lines)


#: Columns, and so lines, of an LCD by their text.
_PLACES = {str(number): number for number in range(Lcd.COLUMNS)}
SCREENS: Mapping[ScreenKind, type[Terminal | Lcd]] = {"terminal": Terminal, "lcd": Lcd}


def screens_of(template: Template) -> dict[int, ScreenKind]:
    """Return the kinds of screens of a template's devices, by the ids of their datastreams.

    A datastream of type string has a screen if a terminal, or an LCD with the option ``advanced``, displays it, also on
    a generated dashboard.
    """
    mobile = mobile_dashboard(template)
    areas: tuple[Tab | MobilePage, ...] = (*web_dashboard(template).tab, *mobile.tab, *mobile.page)
    ids = {f"V{stream.pin}": stream.id for stream in template.datastreams if stream.type == "string"}
    kinds: dict[int, ScreenKind] = {}
    for widget in (widget for area in areas for widget in area.widget):
        kind: ScreenKind | None = "terminal" if widget.type == "terminal" else None
        if widget.type == "lcd" and widget.options.get("advanced") is True:
            kind = "lcd"
        if kind is not None:
            kinds |= {ids[pin.upper()]: kind for pin in widget.pins if pin.upper() in ids}
    return kinds
