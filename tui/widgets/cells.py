"""How the common widgets of a dashboard are drawn, and what their keys do: values, gauges, switches, sliders, choices.

`lines` returns exactly ``height`` lines of ``width`` cells. `press` answers a key of the user with an action, or None
if the key has no meaning here. A component with a ``draft`` is being changed: it gets all keys, until enter or escape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tui.text import clean, fit, number
from tui.themes import Look
from tui.widgets.cell_model import (
    Action,
    CellValue,
    CellWidget,
    Datastream,
    OpenChart,
    Redraw,
    State,
    Write,
    as_number,
    display,
    plain,
)
from tui.widgets.drawing import Line, Span, line
from tui.widgets.plot import Canvas, Scale, draw, value_range

if TYPE_CHECKING:
    from rich.style import Style

#: Characters of a draft.
MAX_DRAFT = 1024


class Component(ABC):
    """Base class. Subclasses draw the ``body``, at most ``height`` lines, which is placed in the middle."""

    #: The keys with a meaning, and the words for them.
    keys: ClassVar[Mapping[str, str]] = {}
    #: Lines, without the frame, where widgets flow; and whether the component has such a line for itself.
    flow_height: ClassVar[int] = 2
    wide: ClassVar[bool] = False

    def __init__(self, widget: CellWidget, look: Look) -> None:
        self.widget = widget
        self.look = look
        self.draft: str | None = None

    @property
    def editing(self) -> bool:
        return self.draft is not None

    @property
    def datastream(self) -> Datastream:
        return self.widget.first or Datastream(pin="")

    def lines(self, value: CellValue, width: int, height: int) -> list[Line]:
        body = self.body(value, width, height)[:height]
        before = (height - len(body)) // 2
        blank = line([], width, self.look.style("text"))
        return [blank] * before + body + [blank] * (height - len(body) - before)

    @abstractmethod
    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        """Return at most ``height`` lines of ``width`` cells, which `lines` centers."""

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        return None

    def paste(self, text: str) -> None:
        """Add text to the draft, if there is one."""
        if self.draft is not None:
            self.draft = (self.draft + clean(text.replace("\n", " "), self.look.glyphs.marks))[:MAX_DRAFT]

    # For the subclasses.

    def row(self, *spans: Span, width: int, center: bool = True) -> Line:
        return line(
            spans, width, self.look.style("text"), "center" if center else "left", marks=self.look.glyphs.marks
        )  # fmt: skip

    def value_style(self, value: CellValue, *, bold: bool = True) -> Style:
        old = value.state is State.STALE
        return self.look.style("muted" if old else "text", bold=bold and not old, dim=old)

    def spans(self, value: CellValue, at: int = 0) -> list[Span]:
        """The value of a datastream with its unit; ``~`` behind it if it is stale."""
        given = value.values[at] if at < len(value.values) else None
        datastream = self.widget.datastreams[at] if at < len(self.widget.datastreams) else self.datastream
        form = self.widget.options.get("format")
        text, unit = display(given, datastream, self.look.glyphs.marks, form if isinstance(form, str) else "")
        spans = [(text, self.value_style(value))]
        if unit:
            spans.append((f" {unit}", self.look.style("muted")))
        if value.state is State.STALE and given is not None:
            spans.append(("~", self.look.style("muted")))
        return spans

    def bar(self, share: float, width: int) -> Line:
        """A bar that is filled to a share from 0 to 1."""
        glyphs, style = self.look.glyphs, self.look.style("accent")
        inner = max(width - 2, 1)
        steps = len(glyphs.bar) - 1
        filled = round(min(max(share, 0.0), 1.0) * inner * steps)
        text = glyphs.bar[-1] * (filled // steps)
        if filled % steps:
            text += glyphs.bar[filled % steps]
        edge = self.look.style("muted")
        return line(
            [(glyphs.bar_ends[0], edge), (text.ljust(inner), style), (glyphs.bar_ends[1], edge)], width, edge
        )  # fmt: skip

    def ends(self, width: int) -> Line:
        """The ends of the scale."""
        low, high = (number(end) for end in self.widget.limits)
        return line([(low, self.look.style("muted")), (high.rjust(width - len(low)), self.look.style("muted"))], width,
                    self.look.style("muted"))  # fmt: skip

    def share(self, value: Any) -> float | None:
        """The place of a value on the scale, from 0 to 1."""
        found = as_number(value)
        low, high = self.widget.limits
        return None if found is None else min(max((found - low) / (high - low), 0.0), 1.0)

    def spark(self, history: tuple[float | None, ...], width: int) -> Line:
        """The last values as bars; a gap is empty."""
        heights = self.look.glyphs.spark
        shown = history[-width:]
        known = [point for point in shown if point is not None]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        top = len(heights) - 1
        text = "".join(
            " " if point is None else heights[1 + round((point - low) / ((high - low) or 1) * (top - 1))]
            for point in shown
        )
        return line([(text, self.look.style("accent"))], width, self.look.style("text"), "center")


class Value(Component):
    """A number or text, large; with a bar if the widget has a level, and its last values if there is space."""

    keys: ClassVar[Mapping[str, str]] = {"enter": "chart"}

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        lines = [self.row(*self.spans(value, at), width=width) for at in range(max(len(self.widget.datastreams), 1))]
        if self.widget.options.get("level", "none") != "none" and (share := self.share(value.first)) is not None:
            lines.append(self.bar(share, width))
        if value.history and len(lines) < height:
            lines.append(self.spark(value.history, width))
        return lines

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        return OpenChart() if key == "enter" and self.datastream.is_number else None


class Gauge(Value):
    flow_height: ClassVar[int] = 3

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        share = self.share(value.first)
        text = self.row(*self.spans(value), width=width)
        if share is None or height < 2:
            return [text]
        lines = [text, self.bar(share, width)]
        if height > 2:
            lines.append(self.ends(width))
        if value.history and height > 3:
            lines.insert(1, self.spark(value.history, width))
        return lines


class Led(Value):
    """A light: off at the lower end of the scale."""

    flow_height: ClassVar[int] = 1

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        share = self.share(value.first)
        if share is None:
            return [self.row(*self.spans(value), width=width)]
        glyphs = self.look.glyphs
        sign = (glyphs.online, self.look.style("ok")) if share > 0 else (glyphs.offline, self.look.style("offline"))
        words = "off" if share == 0 else "on" if share == 1 else f"on {share:.0%}"
        old = "~" if value.state is State.STALE else ""
        style = self.value_style(value, bold=False)
        return [self.row(sign, (f" {words}{old}", style), width=width)]


class Toggle(Component):
    """A switch, or a button that is on as long as it is pushed. A terminal has no end of a push: it is a short one."""

    keys: ClassVar[Mapping[str, str]] = {"enter": "switch", "space": "switch"}
    flow_height: ClassVar[int] = 1

    @property
    def ends_of(self) -> tuple[Any, Any]:
        """The values when it is off and on."""
        options, datastream = self.widget.options, self.datastream
        off, on = options.get("off_value"), options.get("on_value")
        low = plain(as_number(datastream.min) or 0, datastream) if datastream.is_number else "0"
        high = plain(as_number(datastream.max) or 1, datastream) if datastream.is_number else "1"
        return (low if off is None else off), (high if on is None else on)

    @property
    def pushes(self) -> bool:
        default = "push" if "button" in self.widget.type else "switch"
        return bool(self.widget.options.get("mode", default) == "push")

    def is_on(self, value: Any) -> bool | None:
        """Whether a value is the one when it is on; None without a value."""
        if value is None:
            return None
        on = self.ends_of[1]
        given, wanted = as_number(value), as_number(on)
        return str(value) == str(on) if given is None or wanted is None else given == wanted

    def label(self, on: bool | None) -> str:
        if on is None:
            return "unknown"
        given = self.widget.options.get("on_label" if on else "off_label")
        return clean(str(given), self.look.glyphs.marks) if given else ("ON" if on else "off")

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        glyphs, on = self.look.glyphs, self.is_on(value.first)
        old = "~" if value.state is State.STALE and on is not None else ""
        style = self.value_style(value)
        if self.pushes:
            label = self.label(on is True) if self.widget.options.get("on_label") else ("pushed" if on else "push")
            frame = self.look.style("muted" if self.widget.disabled else "accent", reverse=on is True)
            return [self.row((f"( {label} )", frame), (old, style), width=width)]
        track = glyphs.track * 2
        knob = f"{track}{glyphs.knob}" if on else f"{glyphs.knob}{track}"
        text = f"[{track + glyphs.track if on is None else knob}]"
        sign = self.look.style("accent" if on else "muted")
        return [self.row((text, sign), (f" {self.label(on)}{old}", style), width=width)]

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        if key not in {"enter", "space"} or not self.widget.datastreams:
            return None
        off, on = self.ends_of
        pin = self.datastream.pin
        if self.pushes:
            return Write({pin: on}, release={pin: off})
        return Write({pin: off if self.is_on(value.first) else on})


class Range(Component):
    """A number to set: by steps, or by typing it."""

    keys: ClassVar[Mapping[str, str]] = {"enter": "change", "+": "more", "-": "less"}
    flow_height: ClassVar[int] = 3

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        glyphs = self.look.glyphs
        sign = self.look.style("muted" if self.widget.disabled else "accent")
        if self.draft is not None:
            typed = [
                (f"{self.draft}_", self.look.style("accent", bold=True)),
                (f" {self._unit}", self.look.style("muted")),
            ]
            middle = self.row(*typed, width=width)
        else:
            spans = self.spans(value)
            middle = self.row((f"{glyphs.step_down} ", sign), *spans, (f" {glyphs.step_up}", sign), width=width)
        lines = [middle]
        for at, datastream in enumerate(self.widget.datastreams[1:], 1):
            name = clean(f"{datastream.name or datastream.pin} ", glyphs.marks)
            lines.append(self.row((name, self.look.style("muted")), *self.spans(value, at), width=width))
        share = self.share(self.draft if self.draft is not None else value.first)
        if height > len(lines):
            lines.append(self._track(share, width))
        if height > len(lines):
            lines.append(self.ends(width))
        return lines

    @property
    def _unit(self) -> str:
        return clean(self.datastream.units, self.look.glyphs.marks)

    def _track(self, share: float | None, width: int) -> Line:
        glyphs, style = self.look.glyphs, self.look.style("muted")
        inner = max(width - 2, 1)
        if share is None:
            return line([(f"[{glyphs.track * inner}]", style)], width, style)
        at = round(share * (inner - 1))
        spans = [(f"[{glyphs.track * at}", style), (glyphs.knob, self.look.style("accent")),
                 (f"{glyphs.track * (inner - at - 1)}]", style)]  # fmt: skip
        return line(spans, width, style)

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        if not self.widget.datastreams:
            return None
        if self.draft is not None:
            return self._edit(key, character)
        if character in {"+", "-"}:
            return self._write(self._stepped(as_number(value.first), 1 if character == "+" else -1))
        if key == "enter":
            found = as_number(value.first)
            self.draft = "" if found is None else f"{plain(found, self.datastream):.15g}"
            return Redraw()
        return None

    def _edit(self, key: str, character: str | None) -> Action | None:
        assert self.draft is not None
        if key in {"left", "down", "right", "up"}:
            stepped = self._stepped(as_number(self.draft), 1 if key in {"right", "up"} else -1)
            self.draft = f"{plain(stepped, self.datastream):.15g}"
        elif key == "backspace":
            self.draft = self.draft[:-1]
        elif key == "escape":
            self.draft = None
        elif key == "enter":
            found = as_number(self.draft)
            if found is None:
                return Redraw()
            self.draft = None
            low, high = self.widget.limits
            return self._write(min(max(found, low), high))
        elif character and character in "0123456789.-" and len(self.draft) < 20:
            self.draft += character
        else:
            return None
        return Redraw()

    def _stepped(self, value: float | None, direction: int) -> float:
        low, high = self.widget.limits
        wanted = low if value is None else value + direction * self.widget.step
        if self.widget.options.get("loop") and not low <= wanted <= high:
            return low if direction > 0 else high
        return min(max(wanted, low), high)

    def _write(self, value: float) -> Write:
        return Write({self.datastream.pin: plain(value, self.datastream)})


class Choice(Component):
    """One of some labels: ``Off ‹Heat› Cool``, or the chosen one alone if there is no space for all."""  # noqa: RUF002

    keys: ClassVar[Mapping[str, str]] = {"enter": "choose"}
    flow_height: ClassVar[int] = 2

    @property
    def choices(self) -> list[tuple[Any, str]]:
        """The values and their labels."""
        labels = self.widget.options.get("labels")
        if isinstance(labels, list | tuple) and labels:
            first = round(as_number(self.datastream.min) or 0) if self.datastream.type == "integer" else 0
            pairs: list[tuple[Any, str]] = [(first + at, str(label)) for at, label in enumerate(labels)]
        elif self.datastream.values:
            pairs = [
                (int(key) if key.lstrip("-").isdigit() else key, label) for key, label in self.datastream.values.items()
            ]
        else:
            low, high = (round(end) for end in self.widget.limits)
            pairs = [(at, str(at)) for at in range(low, min(high, low + 99) + 1)]
        return [(given, clean(label, self.look.glyphs.marks)) for given, label in pairs]

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        chosen = self.draft if self.draft is not None else _key(value.first)
        glyphs, old = self.look.glyphs, "~" if value.state is State.STALE else ""
        spans: list[Span] = []
        for given, label in self.choices:
            if _key(given) != chosen:
                spans.append((f" {label} ", self.look.style("muted")))
                continue
            style = self.look.style("accent", reverse=True) if self.editing else self.value_style(value)
            spans.append((f"{glyphs.chosen}{label}{old}{glyphs.chosen_end}", style))
        if sum(len(text) for text, _ in spans) <= width:
            return [self.row(*spans, width=width)]
        known = [span for span in spans if span[0].startswith(glyphs.chosen)] or self.spans(value)
        return [self.row(*known, width=width), self.row((f"1 of {len(spans)}", self.look.style("muted")), width=width)]

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        keys = [_key(given) for given, _ in self.choices]
        if not keys or not self.widget.datastreams:
            return None
        if self.draft is None:
            if key != "enter":
                return None
            now = _key(value.first)
            self.draft = now if now in keys else keys[0]
        elif key in {"left", "up", "right", "down"}:
            at = keys.index(self.draft) + (1 if key in {"right", "down"} else -1)
            self.draft = keys[at % len(keys)]
        elif key == "escape":
            self.draft = None
        elif key == "enter":
            chosen, self.draft = self.choices[keys.index(self.draft)][0], None
            return Write({self.datastream.pin: chosen})
        else:
            return None
        return Redraw()


class Sparkline(Value):
    """A chart in small: the last value, and what came before. Enter opens the large one."""

    flow_height: ClassVar[int] = 4
    wide: ClassVar[bool] = True

    def body(self, value: CellValue, width: int, height: int) -> list[Line]:
        known = self.widget.datastreams[: max(height - 1, 0)]
        if not value.history:
            lines = [self.row(("no values over time yet", self.look.style("muted")), width=width)]
        elif (space := height - len(known)) > 1:
            lines = self._plot(value.history, width, space)
        else:
            lines = [self.spark(value.history, width)]
        for at, datastream in enumerate(known):
            name = fit(clean(datastream.name or datastream.pin, self.look.glyphs.marks), min(width // 2, 20), "right")
            lines.append(self.row((f"{name} ", self.look.style("muted")), *self.spans(value, at), width=width))
        return lines

    def press(self, key: str, character: str | None, value: CellValue) -> Action | None:
        return OpenChart() if key == "enter" else None

    def _plot(self, history: tuple[float | None, ...], width: int, height: int) -> list[Line]:
        canvas = Canvas(width, height, braille=self.look.glyphs.braille)
        columns, rows = canvas.dots
        points = list(enumerate(history))
        low, high = value_range([points], 0, len(points))
        draw(canvas, points, Scale(0, max(len(points) - 1, 1), columns), Scale(low, high, rows), 0)
        style = self.look.style("accent")
        texts = ("".join(character for character, _ in canvas.row(y)) for y in range(height))
        return [line([(text, style)], width, style) for text in texts]


def _key(value: Any) -> str | None:
    """A value as a key to compare with: 1, 1.0 and "1" are the same."""
    if value is None:
        return None
    found = as_number(value)
    return str(value) if found is None else f"{found:.15g}"
