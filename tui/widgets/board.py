"""A dashboard: all its widgets in one Textual widget, which draws only what has changed.

A Textual widget for each value would cost seven times the CPU time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
from rich.cells import cell_len
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.text import clean, cut
from tui.themes import Look, Token
from tui.widgets.catalogue import component_of
from tui.widgets.cell_model import Action, CellValue, CellWidget, OpenChart, OpenLink, State, Write
from tui.widgets.cells import Component
from tui.widgets.drawing import Span, line
from tui.widgets.layout import FLOW, Direction, flow, grid, neighbor

if TYPE_CHECKING:
    from rich.style import Style
    from textual import events

#: Columns of the grid of a dashboard in a browser.
WEB_COLUMNS = 24
#: Words for states without a note.
_WORDS = {State.PENDING: "sending", State.REFUSED: "not accepted"}
_ARROWS: Mapping[str, Direction] = {"left": "left", "right": "right", "up": "up", "down": "down"}


@attrs.define
class _Cell:
    component: Component
    region: Region
    value: CellValue
    #: The drawn lines with their frame; None is not drawn yet.
    strips: list[Strip] | None = None


class Board(ScrollView, can_focus=True):
    """Arrow keys move between the widgets; other keys are the component's. A click selects a widget, a second one is
    its enter key.
    """

    DEFAULT_CSS = """
    Board {
        height: 1fr;
        background: $surface;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        overflow-x: hidden;
    }
    """

    class _About(Message):
        def __init__(self, board: Board, widget: CellWidget) -> None:
            super().__init__()
            self.board = board
            self.widget = widget

        @property
        def control(self) -> Board:
            return self.board

    class Selected(_About):
        """Another widget has the focus."""

    class Written(_About):
        """The user wants to write ``values``, by pin, and ``release`` afterwards if that is not None.

        The board goes on displaying the old values; who receives this updates them, with the state PENDING.
        """

        def __init__(self, board: Board, widget: CellWidget, write: Write) -> None:
            super().__init__(board, widget)
            self.values = write.values
            self.release = write.release

    class ChartRequested(_About):
        """The user wants to see the values of a widget over time."""

    class LinkRequested(_About):
        """The user wants to open an address. It comes from a template or a device: ask first."""

        def __init__(self, board: Board, widget: CellWidget, url: str) -> None:
            super().__init__(board, widget)
            self.url = url

    def __init__(self, *, look: Look, empty: str = "This dashboard has no widgets.", id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._look = look
        self._empty = empty
        self._columns = WEB_COLUMNS
        self._cells: list[_Cell] = []
        self._at: dict[str, int] = {}
        #: The cells at each line, from the left.
        self._rows: list[list[_Cell]] = []
        self._selected = 0

    @property
    def look(self) -> Look:
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        for cell in self._cells:
            cell.component.look = look
        self._redraw()

    @property
    def selected(self) -> CellWidget | None:
        """The widget with the focus."""
        return self._cells[self._selected].component.widget if self._cells else None

    @property
    def editing(self) -> bool:
        """Whether a widget is being changed: it gets all keys then."""
        return bool(self._cells) and self._cells[self._selected].component.editing

    @property
    def hints(self) -> Mapping[str, str]:
        """The keys of the selected widget and the words for them, for a footer."""
        if self.editing:
            return {"enter": "send", "escape": "cancel"}
        widget = self.selected
        return self._cells[self._selected].component.keys if widget and not widget.disabled else {}

    def set_widgets(self, widgets: Sequence[CellWidget], columns: int = WEB_COLUMNS) -> None:
        """Display a dashboard. Widgets with an id that is displayed already keep their value and the selection."""
        self._finish()
        before = {cell.component.widget.id: cell.value for cell in self._cells}
        selected = self.selected.id if self.selected else None
        self._columns = columns
        self._cells = [
            _Cell(component_of(widget, self._look), Region(), before.get(widget.id, CellValue())) for widget in widgets
        ]
        self._at = {widget.id: at for at, widget in enumerate(widgets)}
        shown = [at for at, widget in enumerate(widgets) if not widget.hidden]
        self._selected = self._at.get(selected or "", shown[0] if shown else 0)
        self._arrange()

    def set_widget(self, widget: CellWidget) -> None:
        """Display the new properties of a widget, for example that it is disabled."""
        at = self._at.get(widget.id)
        if at is not None:
            widgets = [cell.component.widget for cell in self._cells]
            widgets[at] = widget
            self.set_widgets(widgets, self._columns)

    def set_values(self, values: Mapping[str, CellValue]) -> None:
        """Display new values, by the id of their widget; other ids are ignored. Only what changes is drawn."""
        regions = []
        for widget_id, value in values.items():
            at = self._at.get(widget_id)
            if at is not None and value != self._cells[at].value:
                self._cells[at].value = value
                regions.append(self._changed(at))
        self._refresh_regions(regions)

    def value_of(self, widget_id: str) -> CellValue | None:
        """The value that a widget displays."""
        at = self._at.get(widget_id)
        return None if at is None else self._cells[at].value

    # Layout.

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    def on_mount(self) -> None:
        self._arrange()

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        if not self.is_mounted or not self._width:
            return
        regions = self._places()
        height = max((region.bottom for region in regions), default=0)
        self._rows = [[] for _ in range(height)]
        for cell, region in zip(self._cells, regions, strict=True):
            cell.region = region
            for y in range(region.y, region.bottom):
                self._rows[y].append(cell)
        for row in self._rows:
            row.sort(key=lambda cell: cell.region.x)
        self.virtual_size = Size(self._width, height)
        self._redraw()

    def _places(self) -> list[Region]:
        components = [cell.component for cell in self._cells]
        if self.app.size.width >= FLOW:
            return grid(components, self._columns, self._width)
        return flow(components, self._width)

    def _redraw(self) -> None:
        for cell in self._cells:
            cell.strips = None
        self.refresh()

    def _changed(self, at: int) -> Region:
        """Draw a cell again and return the region of the lines that are different."""
        cell = self._cells[at]
        old, cell.strips = cell.strips, None
        if old is None or not cell.region:
            return cell.region
        cell.strips = self._draw(cell)
        lines = [y for y, (before, now) in enumerate(zip(old, cell.strips, strict=True)) if before != now]
        if not lines:
            return Region()
        return Region(cell.region.x, cell.region.y + lines[0], cell.region.width, lines[-1] - lines[0] + 1)

    def _refresh_regions(self, regions: Sequence[Region]) -> None:
        window = self.scrollable_content_region.reset_offset
        visible = [region.translate(-self.scroll_offset).intersection(window) for region in regions if region]
        if visible := [region for region in visible if region]:
            self.refresh(*visible)

    # Keys and the mouse.

    def on_key(self, event: events.Key) -> None:
        if not self._cells:
            return
        cell = self._cells[self._selected]
        if not cell.component.editing and event.key in _ARROWS:
            self.select(neighbor([each.region for each in self._cells], self._selected, _ARROWS[event.key]))
        elif not self._press(event.key, event.character):
            return
        # Bindings of the screen must not see a key that is part of a text.
        event.stop()
        event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        if self.editing:
            event.stop()
            self._cells[self._selected].component.paste(event.text)
            self._refresh_regions([self._changed(self._selected)])

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        place = offset + self.scroll_offset
        at = next((at for at, cell in enumerate(self._cells) if cell.region.contains_point(place)), None)
        if at is None:
            return
        if at == self._selected and not self.editing:
            self._press("enter", None)
        else:
            self.select(at)

    def on_focus(self) -> None:
        self._refresh_selected()

    def on_blur(self) -> None:
        self._finish()
        self._refresh_selected()

    def select(self, at: int) -> None:
        """Select the widget with an index."""
        if at == self._selected or not 0 <= at < len(self._cells):
            return
        self._finish()
        before, self._selected = self._selected, at
        self._refresh_regions([self._changed(before), self._changed(at)])
        region, top, height = self._cells[at].region, self.scroll_offset.y, self.size.height
        if region.y < top or region.height > height:
            self.scroll_to(y=region.y, animate=False, force=True)
        elif region.bottom > top + height:
            self.scroll_to(y=region.bottom - height, animate=False, force=True)
        self.post_message(self.Selected(self, self._cells[at].component.widget))

    def _refresh_selected(self) -> None:
        if self._cells:
            self._refresh_regions([self._changed(self._selected)])

    def _finish(self) -> None:
        """End a change without sending it; a stick returns to its middle."""
        if self.editing:
            self._press("escape", None)

    def _press(self, key: str, character: str | None) -> bool:
        """Give a key to the selected component; return whether it has a meaning there."""
        cell = self._cells[self._selected]
        widget = cell.component.widget
        if widget.disabled and not cell.component.editing:
            return False
        was_editing = cell.component.editing
        action = cell.component.press(key, character, cell.value)
        if action is None:
            # A text being typed gets all keys but those that leave the widget.
            return was_editing and key not in {"tab", "shift+tab"}
        self._refresh_regions([self._changed(self._selected)])
        self._answer(widget, action)
        return True

    def _answer(self, widget: CellWidget, action: Action) -> None:
        if isinstance(action, Write):
            self.post_message(self.Written(self, widget, action))
        elif isinstance(action, OpenChart):
            self.post_message(self.ChartRequested(self, widget))
        elif isinstance(action, OpenLink):
            self.post_message(self.LinkRequested(self, widget, action.url))

    # Drawing.

    def render_line(self, y: int) -> Strip:
        width, at = self._width, self.scroll_offset.y + y
        blank = self._look.style("text")
        if not self._cells and y == 0:
            return Strip(line([(self._empty, self._look.style("muted"))], width, blank), width)
        parts, used = [], 0
        for cell in self._rows[at] if at < len(self._rows) else ():
            if cell.strips is None:
                cell.strips = self._draw(cell)
            strip = cell.strips[at - cell.region.y]
            if cell.region.x > used:
                parts.append(Strip.blank(cell.region.x - used, blank))
            elif cell.region.x < used:  # widgets of a faulty template overlap
                strip = strip.crop(min(used - cell.region.x, cell.region.width))
            parts.append(strip)
            used = max(used, cell.region.right)
        if used < width:
            parts.append(Strip.blank(width - used, blank))
        return Strip.join(parts)

    def _draw(self, cell: _Cell) -> list[Strip]:
        component, region, glyphs = cell.component, cell.region, self._look.glyphs
        chosen = self.has_focus and cell is self._cells[self._selected]
        box = glyphs.focus_box if chosen else glyphs.box
        edge = self._look.style("accent" if chosen else "border")
        title = clean(component.widget.name, glyphs.marks)
        note, token = self._note(cell)
        width = region.width - 2
        side = [(box[5], edge)]
        strips = [self._border(box[0], box[4], box[1], (title, self._look.style("muted")), region.width, edge)]
        strips += [
            Strip([*line(side, 1, edge), *content, *line(side, 1, edge)], region.width)
            for content in component.lines(cell.value, width, region.height - 2)
        ]
        strips.append(self._border(box[2], box[4], box[3], (note, self._look.style(token)), region.width, edge))
        return strips

    def _note(self, cell: _Cell) -> tuple[str, Token]:
        """The words in the lower border, and their token."""
        glyphs, state = self._look.glyphs, cell.value.state
        if cell.component.editing:
            return "enter sends, esc cancels", "accent"
        if state is State.PENDING or state is State.REFUSED:
            words = clean(cell.value.note or _WORDS[state], glyphs.marks)
            if state is State.PENDING:
                return f"{glyphs.pending} {words}", "accent"
            return f"{glyphs.refused} {words}", "critical"
        return ("disabled", "muted") if cell.component.widget.disabled else ("", "muted")

    def _border(self, left: str, middle: str, right: str, text: Span, width: int, edge: Style) -> Strip:
        room = width - 2
        shown = cut(text[0], room - 2, self._look.glyphs.marks) if room > 2 else ""
        spans = [(left, edge), (f" {shown} ", text[1])] if shown else [(left, edge)]
        used = sum(cell_len(part) for part, _ in spans)
        spans.append((middle * (width - 1 - used) + right, edge))
        return Strip(line(spans, width, edge), width)
