"""How the less common widgets of a dashboard are drawn: texts, terminals, colors, sticks, maps, media, bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.style import Style

from tui.text import clean, cut
from tui.widgets.cell_model import Action, CellValue, OpenLink, Redraw, State, Write, as_number
from tui.widgets.cells import MAX_DRAFT, Component, Toggle
from tui.widgets.drawing import Line

#: Lines of a terminal that are drawn, and bits of a table.
MAX_LINES, MAX_BITS = 500, 64
#: The step of a stick: this part of its scale.
STICK_STEPS = 20


def numbers(value: CellValue) -> list[float]:
    """Return the numbers of a widget: one of each datastream, or those of an array in one datastream."""
    given: Any = value.values if len(value.values) > 1 else value.first
    if isinstance(given, str):
        given = given.replace("\0", ",").split(",")
    elif not isinstance(given, list | tuple):
        given = [given]
    found = [as_number(part.strip() if isinstance(part, str) else part) for part in given]
    return [part for part in found if part is not None]


class Text(Component):
    """A text to change."""

    keys: ClassVar[Mapping[str, str]] = {"enter": "change"}
    flow_height: ClassVar[int] = 1

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        if self.draft is not None:
            return [self.prompt(width)]
        return [self.row(*self.spans(value), width=width)]

    def prompt(self, width: int) -> Line:
        """The draft with its cursor: its end, if it is wider than the cell."""
        text = clean(f"{self.draft}_", self.look.glyphs.marks)
        while len(text) > 1 and cut(text, width, self.look.glyphs.marks) != text:
            text = text[1:]
        return self.row((text, self.look.style("accent")), width=width, center=False)

    @property
    def limit(self) -> int:
        given = as_number(self.widget.options.get("limit"))
        return MAX_DRAFT if given is None else min(max(int(given), 1), MAX_DRAFT)

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        if not self.widget.datastreams:
            return None
        if self.draft is None:
            if key != "enter":
                return None
            self.draft = self.start(value)
        elif key == "escape":
            self.draft = None
        elif key == "enter":
            text, self.draft = self.draft, None
            return self.send(text)
        elif key == "backspace":
            self.draft = self.draft[:-1]
        elif key == "ctrl+u":
            self.draft = ""
        elif character and character.isprintable():
            self.draft = (self.draft + character)[: self.limit]
        else:
            return None
        return Redraw()

    def paste(self, text: str) -> None:
        super().paste(text)
        if self.draft is not None:
            self.draft = self.draft[: self.limit]

    def start(self, value: CellValue) -> str:
        return "" if value.first is None else str(value.first)[: self.limit]

    def send(self, text: str) -> Action:
        return Write({self.datastream.pin: text})


class Terminal(Text):
    """The last lines of a terminal, and a line to type."""

    keys: ClassVar[Mapping[str, str]] = {"enter": "type"}
    flow_height: ClassVar[int] = 8
    wide: ClassVar[bool] = True

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        typed = self.widget.options.get("input", True) is not False
        room = height - 1 if typed and height > 1 else height
        style = self.look.style("muted" if value.state is State.STALE else "text")
        marks = self.look.glyphs.marks
        shown = value.log[-min(room, MAX_LINES) :] if room else ()
        lines = [self.row((clean(text, marks), style), width=width, center=False) for text in shown]
        lines += [self.row(width=width)] * (room - len(lines))
        if room < height:
            hint = self.row(("> type here", self.look.style("muted")), width=width, center=False)
            lines.append(hint if self.draft is None else self.prompt(width))
        return lines

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        return None if self.widget.options.get("input", True) is False else super().press(key, character, value)

    def start(self, value: CellValue) -> str:
        return ""

    def send(self, text: str) -> Action:
        return Write({self.datastream.pin: text + ("\n" if self.widget.options.get("newline") else "")})


class ColorCell(Text):
    """A color, as ``#RRGGBB``."""

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        if self.draft is not None:
            return [self.prompt(width)]
        channels = [min(max(round(part), 0), 255) for part in numbers(value)[:3]]
        if len(channels) < 3:
            return [self.row(*self.spans(value), width=width)]
        code = "#{:02X}{:02X}{:02X}".format(*channels)
        swatch = self.look.style("text")
        if self.look.theme != "ansi":
            swatch += Style(color=code)
        old = "~" if value.state is State.STALE else ""
        block = self.look.glyphs.bar[-1] * 2
        return [self.row((block, swatch), (f" {code}{old}", self.value_style(value)), width=width)]

    def start(self, value: CellValue) -> str:
        return "#"

    def send(self, text: str) -> Action:
        """A color that is none remains a draft."""
        digits = text.strip().removeprefix("#")
        if len(digits) != 6 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            self.draft = text
            return Redraw()
        return _writes(self, [int(digits[at : at + 2], 16) for at in (0, 2, 4)])


class Stick(Component):
    """Two numbers, moved by the arrow keys after enter. With ``auto_return``, escape moves them to their middle."""

    keys: ClassVar[Mapping[str, str]] = {"enter": "move"}

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        found = numbers(value)[:2]
        if len(found) < 2:
            return [self.row(*self.spans(value), width=width)]
        old = "~" if value.state is State.STALE else ""
        text = f"x {found[0]:g}  y {found[1]:g}{old}"
        style = self.look.style("accent", bold=True) if self.editing else self.value_style(value)
        hint = "arrows move, esc ends" if self.editing else ""
        return [self.row((text, style), width=width), self.row((hint, self.look.style("muted")), width=width)]

    @property
    def _scale(self) -> tuple[float, float]:
        low, high = self.widget.limits
        return (low, high) if self.datastream.is_number else (0, 255)

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        low, high = self._scale
        middle, step = (low + high) / 2, (high - low) / STICK_STEPS
        if not self.widget.datastreams:
            return None
        if self.draft is None:
            if key != "enter":
                return None
            found = numbers(value)[:2]
            x, y = found if len(found) == 2 else (middle, middle)
            self.draft = f"{x} {y}"
            return Redraw()
        x, y = (float(part) for part in self.draft.split())
        if key in {"escape", "enter"}:
            self.draft = None
            returns = self.widget.options.get("auto_return", True)
            return _writes(self, [middle, middle]) if returns else Redraw()
        moves = {"left": (-step, 0.0), "right": (step, 0.0), "down": (0.0, -step), "up": (0.0, step)}
        if key not in moves:
            return None
        x, y = (min(max(part + move, low), high) for part, move in zip((x, y), moves[key], strict=True))
        self.draft = f"{x} {y}"
        return _writes(self, [x, y])

    def paste(self, text: str) -> None:
        """A stick is not typed."""


def _writes(component: Component, values: list[float] | list[int]) -> Write:
    """Return the write of several numbers: to one datastream each, or as an array to the only one."""
    pins = [datastream.pin for datastream in component.widget.datastreams]
    rounded = [round(value) if component.datastream.type != "double" else round(value, 9) for value in values]
    return Write({pins[0]: rounded} if len(pins) == 1 else dict(zip(pins, rounded, strict=False)))


class Place(Component):
    """A place as latitude and longitude; enter opens a ``geo:`` address."""

    keys: ClassVar[Mapping[str, str]] = {"enter": "open"}
    flow_height: ClassVar[int] = 1

    @staticmethod
    def place(value: CellValue) -> tuple[float, float] | None:
        """Latitude and longitude; locations have longitude first (docs.blynk.io, Location datastream)."""
        found = numbers(value)
        if len(found) < 2 or abs(found[1]) > 90 or abs(found[0]) > 180:
            return None
        return found[1], found[0]

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        place = self.place(value)
        if place is None:
            return [self.row(*self.spans(value), width=width)]
        old = "~" if value.state is State.STALE else ""
        words = [
            f"{abs(place[0]):.5f} {'N' if place[0] >= 0 else 'S'}",
            f"{abs(place[1]):.5f} {'E' if place[1] >= 0 else 'W'}",
        ]
        if height < 2:
            return [self.row((", ".join(words) + old, self.value_style(value)), width=width)]
        words[-1] += old
        return [self.row((word, self.value_style(value)), width=width) for word in words]

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        place = self.place(value)
        return OpenLink("geo:{:.6f},{:.6f}".format(*place)) if key == "enter" and place else None


class Media(Component):
    """An image, a video or a page: a terminal displays its address."""

    keys: ClassVar[Mapping[str, str]] = {"enter": "open"}
    flow_height: ClassVar[int] = 1

    def url(self, value: CellValue) -> str:
        options = self.widget.options
        urls = options.get("urls")
        found = as_number(value.first)
        if isinstance(urls, list | tuple) and found is not None and 0 <= found < len(urls):
            return str(urls[int(found)])
        if given := options.get("url") or options.get("image"):
            return str(given)
        return value.first if isinstance(value.first, str) else ""

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        url = clean(self.url(value), self.look.glyphs.marks)
        if not url:
            return [self.row(("no address yet", self.look.style("muted")), width=width)]
        label = self.widget.options.get("text")
        shown = clean(str(label), self.look.glyphs.marks) if label else url
        return [
            self.row(
                (f"{self.look.glyphs.link} ", self.look.style("muted")), (shown, self.look.style("accent")), width=width
            )
        ]

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        url = self.url(value)
        return OpenLink(url) if key == "enter" and url.startswith(("https://", "http://")) else None


class Bits(Component):
    """The bits of an integer, with their names."""

    flow_height: ClassVar[int] = 8

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        found = as_number(value.first)
        if found is None:
            return [self.row(*self.spans(value), width=width)]
        rows = self.widget.options.get("rows")
        names = [str(name) for name in rows] if isinstance(rows, list | tuple) else [f"bit {at}" for at in range(8)]
        glyphs, old = self.look.glyphs, "~" if value.state is State.STALE else ""
        on = [bool(int(found) >> at & 1) != bool(self.widget.options.get("inverse")) for at in range(len(names))]
        shown = [at for at in range(min(len(names), MAX_BITS)) if on[at] or not self.widget.options.get("hide_false")]
        lines = [
            self.row(
                (glyphs.checked if on[at] else glyphs.unchecked, self.look.style("accent" if on[at] else "muted")),
                (f" {clean(names[at], glyphs.marks)}{old}", self.value_style(value, bold=False)),
                width=width,
                center=False,
            )
            for at in shown
        ]
        if len(lines) > height > 0:
            rest = f"{len(lines) - height + 1} more: enlarge the cell"
            lines[height - 1 :] = [self.row((rest, self.look.style("muted")), width=width, center=False)]
        return lines


class Alarm(Component):
    """Whether an alarm rings."""

    flow_height: ClassVar[int] = 1

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        found = as_number(value.first)
        if found is None:
            return [self.row(*self.spans(value), width=width)]
        glyphs, old = self.look.glyphs, "~" if value.state is State.STALE else ""
        if found:
            return [self.row((f"{glyphs.critical} RINGS{old}", self.look.style("critical", bold=True)), width=width)]
        return [self.row((f"{glyphs.dot} quiet{old}", self.value_style(value, bold=False)), width=width)]


class Music(Toggle):
    """The state of a player: play and stop."""

    @property
    def ends_of(self) -> tuple[Any, Any]:
        return "stop", "play"

    def label(self, on: bool | None) -> str:
        return "play" if on else "stop"


class Caption(Component):
    """A text of the template, without a value."""

    flow_height: ClassVar[int] = 1

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        text = clean(str(self.widget.options.get("text", "")), self.look.glyphs.marks)
        return [self.row((text, self.look.style("text")), width=width)]


class Unknown(Component):
    """A widget of a type that the console does not know: it says so, and displays the values."""

    flow_height: ClassVar[int] = 2

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        name = clean(self.widget.type, self.look.glyphs.marks)
        lines = [self.row((f"cannot draw {name}", self.look.style("warn")), width=width)]
        shown = range(min(len(self.widget.datastreams), max(height - 1, 0)))
        return lines + [self.row(*self.spans(value, at), width=width) for at in shown]
