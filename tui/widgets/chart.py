"""Values over time as lines of braille dots: up to six series, a cursor with its values, zoom and pan."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import attrs
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.text import clean, number
from tui.themes import LINES, Look
from tui.widgets.drawing import Span, line
from tui.widgets.plot import ASCII_LINES, MAX_VALUE, Canvas, Point, Scale, draw, nearest, ticks, time_ticks, value_range

if TYPE_CHECKING:
    from rich.style import Style
    from textual import events

#: Series of a chart, and points of a series in memory: the oldest ones are dropped.
MAX_SERIES, MAX_POINTS = len(LINES), 5_000
_HOUR, _DAY = 3600.0, 86_400.0
#: The named ranges, in seconds.
RANGES = {"1h": _HOUR, "6h": 6 * _HOUR, "1d": _DAY, "1w": 7 * _DAY, "1M": 30 * _DAY, "3M": 90 * _DAY, "1y": 365 * _DAY}
#: The shortest and longest range, in seconds.
MIN_RANGE, MAX_RANGE = 10.0, 10 * 365 * _DAY
#: The part of the range that a pan moves, and the factor of a zoom.
PAN, ZOOM = 0.25, 2.0
#: Lines besides the plot: the legend, the axis, its words, the values at the cursor.
BESIDE = 4
#: Columns between two ticks of time.
TICK_WIDTH = 12


@attrs.frozen(kw_only=True)
class Series:
    """A line: points as times, in seconds since the epoch, and values. A point without a value is a gap; so is a
    time of more than ``gap`` seconds without points.
    """

    name: str
    unit: str = ""
    decimals: int | None = None
    points: Sequence[Point] = ()
    gap: float | None = None


class Chart(Widget, can_focus=True):
    DEFAULT_CSS = """
    Chart {
        height: 1fr;
        background: $surface;
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Cursor", show=False),
        Binding("right", "move(1)", "Cursor", show=False),
        Binding("shift+left", "pan(-1)", "Earlier"),
        Binding("shift+right", "pan(1)", "Later"),
        Binding("plus,equals_sign", "zoom(-1)", "Zoom in"),
        Binding("minus", "zoom(1)", "Zoom out"),
        Binding("left_square_bracket", "named(-1)", "Shorter range", show=False),
        Binding("right_square_bracket", "named(1)", "Longer range", show=False),
        Binding("f", "follow", "Follow"),
        Binding("escape", "no_cursor", "No cursor", show=False),
    ]

    class RangeChanged(Message):
        """The user wants to see another time: the points from ``start`` to ``end`` are needed."""

        def __init__(self, chart: Chart, start: float, end: float) -> None:
            super().__init__()
            self.chart, self.start, self.end = chart, start, end

        @property
        def control(self) -> Chart:
            return self.chart

    def __init__(self, *, look: Look, zone: tzinfo = UTC, id: str | None = None) -> None:  # noqa: A002
        """Times are displayed in ``zone``."""
        super().__init__(id=id)
        self._look = look
        self._zone = zone
        self._series: list[Series] = []
        self.start, self.end = 0.0, _DAY
        #: Whether the range moves to each new point.
        self.following = True
        #: The time of the cursor; None without one.
        self.cursor: float | None = None
        self._strips: list[Strip] | None = None
        self._found_scale: tuple[float, float, list[float]] | None = None

    @property
    def look(self) -> Look:
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._redraw()

    @property
    def series(self) -> Sequence[Series]:
        return tuple(self._series)

    def set_series(self, series: Sequence[Series]) -> None:
        """Display these series. ValueError for more than ``MAX_SERIES``."""
        if len(series) > MAX_SERIES:
            raise ValueError(f"A chart has at most {MAX_SERIES} lines, not {len(series)}: remove some.")
        self._series = [attrs.evolve(each, points=_tidy(each.points)) for each in series]
        self._redraw()

    def append(self, at: int, point: Point) -> None:
        """Add a point to a series, and move the range to it if the chart follows. One before the last is ignored."""
        series = self._series[at]
        if series.points and point[0] < series.points[-1][0]:
            return
        self._series[at] = attrs.evolve(series, points=[*series.points[1 - MAX_POINTS :], *_tidy([point])])
        if self.following and point[0] > self.end:
            self.start, self.end = self.start + point[0] - self.end, point[0]
        self._redraw()

    def set_range(self, start: float, end: float) -> None:
        """Display the time from ``start`` to ``end``, in seconds since the epoch."""
        length = min(max(end - start, MIN_RANGE), MAX_RANGE)
        self.start, self.end = end - length, end
        if self.cursor is not None and not self.start <= self.cursor <= self.end:
            self.cursor = None
        self._redraw()

    @property
    def range_name(self) -> str:
        """The name of the range if it is a named one, otherwise ""."""
        return next((name for name, length in RANGES.items() if abs(length - (self.end - self.start)) < 1), "")

    # Keys and the mouse.

    def action_move(self, columns: int) -> None:
        step = (self.end - self.start) / max(self._plot_width - 1, 1)
        now = self.end if self.cursor is None else self.cursor + columns * step
        self.cursor = min(max(now, self.start), self.end)
        self._redraw()

    def action_no_cursor(self) -> None:
        self.cursor = None
        self._redraw()

    def action_pan(self, direction: int) -> None:
        move = direction * PAN * (self.end - self.start)
        self.following = False
        self._change(self.start + move, self.end + move)

    def action_zoom(self, direction: int) -> None:
        """Around the cursor if there is one; around the end if the chart follows; otherwise around the middle."""
        center = self.cursor
        if center is None:
            center = self.end if self.following else (self.start + self.end) / 2
        length = self.end - self.start
        wanted = min(max(length * ZOOM**direction, MIN_RANGE), MAX_RANGE)
        start = center - (center - self.start) * wanted / length
        self._change(start, start + wanted)

    def action_named(self, direction: int) -> None:
        length = self.end - self.start
        names = list(RANGES.values())
        longer = [each for each in names if each > length + 1]
        shorter = [each for each in names if each < length - 1]
        if chosen := (longer[:1] if direction > 0 else shorter[-1:]):
            self._change(self.end - chosen[0], self.end)

    def action_follow(self) -> None:
        self.following = not self.following
        last = max((each.points[-1][0] for each in self._series if each.points), default=self.end)
        if self.following and last != self.end:
            self._change(last - (self.end - self.start), last)
        self._redraw()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or self._plot_width < 2:
            return
        x = offset.x - self._gutter
        if 0 <= x < self._plot_width:
            self.cursor = Scale(self.start, self.end, self._plot_width).value(x)
            self._redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_zoom(-1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_zoom(1)

    def _change(self, start: float, end: float) -> None:
        self.set_range(start, end)
        self.post_message(self.RangeChanged(self, self.start, self.end))

    # Drawing.

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        self._strips = self._found_scale = None
        self.refresh()

    def render_line(self, y: int) -> Strip:
        if self._strips is None:
            self._strips = self._draw()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self._look.style("text"))

    @property
    def _scale(self) -> tuple[float, float, list[float]]:
        """The lowest and the highest value of the plot, and the values of the ticks between them."""
        if self._found_scale is None:
            low, high = value_range([each.points for each in self._series], self.start, self.end)
            self._found_scale = low, high, ticks(low, high, max((self.size.height - BESIDE) // 2, 2))
        return self._found_scale

    @property
    def _gutter(self) -> int:
        """Columns left of the plot: the values of the ticks and the axis."""
        return max((len(number(tick)) for tick in self._scale[2]), default=1) + 1

    @property
    def _plot_width(self) -> int:
        return self.size.width - self._gutter

    def _draw(self) -> list[Strip]:
        width, height = self.size.width, self.size.height - BESIDE
        gutter = self._gutter
        if height < 2 or width - gutter < 4:
            return [self._strip(self._readout())]
        canvas = Canvas(width - gutter, height, braille=self._look.glyphs.braille)
        columns, rows = canvas.dots
        low, high, marks = self._scale
        times, values = Scale(self.start, self.end, columns), Scale(low, high, rows)
        for at, series in enumerate(self._series):
            draw(canvas, _with_gaps(series), times, values, at)
        labels = {self._row_of(tick, low, high, height): number(tick) for tick in marks}
        cursor = None if self.cursor is None else round(Scale(self.start, self.end, width - gutter).place(self.cursor))
        strips = [self._strip(self._legend())]
        strips += [self._strip(self._plot_row(canvas, y, labels.get(y, ""), gutter, cursor)) for y in range(height)]
        strips += self._time_axis(gutter, width - gutter)
        strips.append(self._strip(self._readout()))
        return strips

    @staticmethod
    def _row_of(value: float, low: float, high: float, height: int) -> int:
        return height - 1 - round(Scale(low, high, height).place(value))

    def _plot_row(self, canvas: Canvas, y: int, label: str, gutter: int, cursor: int | None) -> list[Span]:
        box, muted = self._look.glyphs.box, self._look.style("muted")
        axis = ("┤" if self._look.glyphs.braille else "+") if label else box[5]
        spans: list[Span] = [(label.rjust(gutter - 1) + axis, muted)]
        for x, (character, at) in enumerate(canvas.row(y)):
            if at >= 0:
                spans.append((character, self._look.style(LINES[at], reverse=x == cursor)))
            else:
                spans.append((box[5], self._look.style("border")) if x == cursor else (" ", muted))
        return _joined(spans)

    def _time_axis(self, gutter: int, width: int) -> list[Strip]:
        glyphs, muted = self._look.glyphs, self._look.style("muted")
        marks, words = [glyphs.box[4]] * width, [" "] * width
        scale = Scale(self.start, self.end, width)
        for time, text in time_ticks(self.start, self.end, max(width // TICK_WIDTH, 1), self._zone):
            x = round(scale.place(time))
            marks[x] = "┬" if glyphs.braille else "+"
            begin = min(max(x - len(text) // 2, 0), max(width - len(text), 0))
            words[begin : begin + len(text)] = text[: width - begin]
        axis = " " * (gutter - 1) + glyphs.box[2] + "".join(marks)
        return [self._strip([(axis, muted)]), self._strip([(" " * gutter + "".join(words), muted)])]

    def _legend(self) -> list[Span]:
        glyphs = self._look.glyphs
        spans: list[Span] = []
        for at, series in enumerate(self._series):
            sign = glyphs.online if glyphs.braille else ASCII_LINES[at]
            spans.append((f"{sign} ", self._look.style(LINES[at])))
            unit = f" {clean(series.unit, glyphs.marks)}" if series.unit else ""
            spans.append((f"{clean(series.name, glyphs.marks)}{unit}  ", self._look.style("text")))
        spans.append((f" {self.range_name or self._length()}", self._look.style("accent")))
        spans.append((f"  {glyphs.dot} follows" if self.following else "", self._look.style("muted")))
        return spans

    def _length(self) -> str:
        length = self.end - self.start
        return f"{number(length / _DAY, 1)} d" if length >= _DAY else f"{number(length / 60, 1)} min"

    def _readout(self) -> list[Span]:
        """The values at the cursor, or the lowest, average and highest value of each series."""
        muted, text = self._look.style("muted"), self._look.style("text")
        spans: list[Span] = []
        if self.cursor is None:
            for at, series in enumerate(self._series):
                known = [value for time, value in series.points if value is not None and self.start <= time <= self.end]
                if known:
                    figures = (min(known), sum(known) / len(known), max(known))
                    words = [number(figure, 1 if series.decimals is None else series.decimals) for figure in figures]
                    spans += [(f"{clean(series.name, self._look.glyphs.marks)} ", self._look.style(LINES[at]))]
                    spans += [("min ", muted), (words[0], text), (" avg ", muted), (words[1], text), (" max ", muted)]
                    spans += [(f"{words[2]}   ", text)]
            return spans or [("No values in this time.", muted)]
        form = "%d %b %H:%M" if self.end - self.start > _DAY else "%H:%M:%S"
        spans.append((f"{datetime.fromtimestamp(self.cursor, self._zone).strftime(form)}  ", text))
        within = (self.end - self.start) / max(self._plot_width - 1, 1)
        for at, series in enumerate(self._series):
            point = nearest(series.points, self.cursor, max(within, (series.gap or 0) / 2))
            shown = "no value" if point is None or point[1] is None else number(point[1], series.decimals)
            unit = f" {clean(series.unit, self._look.glyphs.marks)}" if series.unit and point else ""
            spans.append((f"{clean(series.name, self._look.glyphs.marks)} ", self._look.style(LINES[at])))
            spans.append((f"{shown}{unit}   ", text))
        return spans

    def _strip(self, spans: Sequence[Span]) -> Strip:
        width = self.size.width
        return Strip(line(spans, width, self._look.style("text"), marks=self._look.glyphs.marks), width)


def _tidy(points: Sequence[Point]) -> list[Point]:
    """The last points in the order of their times; a value that cannot be drawn is a gap."""
    found = [(time, value if value is not None and abs(value) <= MAX_VALUE else None) for time, value in points]
    return sorted(found, key=lambda point: point[0])[-MAX_POINTS:]


def _with_gaps(series: Series) -> Sequence[Point]:
    """The points, with a gap where there are none for too long."""
    if series.gap is None or len(series.points) < 2:
        return series.points
    points: list[Point] = [series.points[0]]
    for before, after in pairwise(series.points):
        if after[0] - before[0] > series.gap:
            points.append(((before[0] + after[0]) / 2, None))
        points.append(after)
    return points


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Spans of the same style as one."""
    found: list[tuple[list[str], Style]] = []
    for text, style in spans:
        if found and found[-1][1] == style:
            found[-1][0].append(text)
        else:
            found.append(([text], style))
    return [("".join(texts), style) for texts, style in found]
