"""A table of any length, which asks for the pages that it displays.

A page is asked for when one of its rows becomes visible, or will be with the next PageUp or PageDown. At most
``MAX_REQUESTS`` requests run at a time, each for the page needed most when it starts: a user who scrolls on does not
wait for rows that are no longer visible. Of the loaded pages the ``MAX_PAGES`` used last are in memory.

The cursor is at a row, not at a position: if a page arrives in which the row has another position, the cursor follows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.text import clean, fit
from tui.themes import Look, Token
from tui.widgets.columns import GAP, Column, layout
from tui.widgets.drawing import Span, line

if TYPE_CHECKING:
    from rich.style import Style
    from textual import events

#: Rows of a page; Blynk's lists have up to 200.
PAGE_ROWS = 100
#: Pages in memory, and requests at a time.
MAX_PAGES, MAX_REQUESTS = 30, 2
#: Rows that can be marked; the actions on many devices take no more.
MAX_MARKED = 10_000
#: The place of a row's mark.
MARK_WIDTH = 2

RowId = int | str
#: What a cell displays: text, or text with a token.
Cell = str | tuple[str, Token]


@attrs.frozen
class Row:
    """A row: its id, which is unique in the table, and a cell for each column. A ``dimmed`` row has old values."""

    id: RowId
    cells: Sequence[Cell]
    dimmed: bool = False


@attrs.frozen
class Page:
    """What a request for a page returns: the rows of the whole table, and those of the page."""

    total: int
    rows: Sequence[Row]


#: Returns the page with a number, from 0. It raises OSError or ValueError with a sentence for the user.
Fetch = Callable[[int], Awaitable[Page]]


class PagedTable(ScrollView, can_focus=True):
    DEFAULT_CSS = """
    PagedTable {
        height: 1fr;
        background: $surface;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        overflow-x: hidden;
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "move_page(-1)", "Page up", show=False),
        Binding("pagedown", "move_page(1)", "Page down", show=False),
        Binding("home,g", "move_to_end(False)", "First row", show=False),
        Binding("end,G", "move_to_end(True)", "Last row", show=False),
        Binding("space", "mark", "Mark"),
        Binding("enter", "open", "Open"),
    ]

    class _About(Message):
        def __init__(self, table: PagedTable) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> PagedTable:
            return self.table

    class CursorMoved(_About):
        """The cursor is at another row; ``row`` is None while its page is loading."""

        def __init__(self, table: PagedTable, row: Row | None) -> None:
            super().__init__(table)
            self.row = row

    class Opened(_About):
        """The user opened a row."""

        def __init__(self, table: PagedTable, row: Row) -> None:
            super().__init__(table)
            self.row = row

    class MarksChanged(_About):
        """The user marked a row, or removed its mark; `PagedTable.marked` has all of them."""

    class SortRequested(_About):
        """The user clicked on the title of a column."""

        def __init__(self, table: PagedTable, sort: str) -> None:
            super().__init__(table)
            self.sort = sort

    def __init__(
        self,
        columns: Sequence[Column],
        fetch: Fetch,
        *,
        look: Look,
        empty: str = "Nothing here.",
        id: str | None = None,  # noqa: A002
    ) -> None:
        """``empty`` is the sentence that is displayed when there are no rows."""
        super().__init__(id=id)
        self.marked: set[RowId] = set()
        self.cursor = 0
        self.cursor_id: RowId | None = None
        self.total: int | None = None
        #: The name of the column that the rows are sorted by, and the direction.
        self.sorted_by, self.descending = "", False
        self._columns = tuple(columns)
        self._fetch = fetch
        self._look = look
        self._empty = empty
        self._pages: OrderedDict[int, Sequence[Row]] = OrderedDict()
        self._errors: dict[int, str] = {}
        self._outdated: set[int] = set()
        self._requested: set[int] = set()
        #: Counts the queries: an answer to an earlier one is dropped.
        self._generation = 0

    @property
    def look(self) -> Look:
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self.refresh()

    @property
    def cursor_row(self) -> Row | None:
        """The row at the cursor, if its page is loaded."""
        return self._row(self.cursor)

    def on_mount(self) -> None:
        self._request_pages()

    def on_resize(self) -> None:
        self._scroll_to_cursor()
        self._request_pages()

    def on_focus(self) -> None:
        self._refresh_row(self.cursor)

    def on_blur(self) -> None:
        self._refresh_row(self.cursor)

    def reset(self, fetch: Fetch | None = None) -> None:
        """Display another query, from its top: all pages and marks are dropped."""
        self._fetch = fetch or self._fetch
        self._generation += 1
        self._requested.clear()
        self._outdated.clear()
        self._errors.clear()
        self._pages.clear()
        self.marked.clear()
        self.total, self.cursor, self.cursor_id = None, 0, None
        self.scroll_to(y=0, animate=False)
        self.refresh()
        self._request_pages()

    def reload(self) -> None:
        """Load all pages again, the visible ones first. Until they arrive, the old rows are displayed."""
        self._generation += 1
        self._requested.clear()
        self._errors.clear()
        self._outdated = set(self._pages)
        self._request_pages()

    def replace_row(self, row: Row) -> None:
        """Display a row's new cells, if the row is in memory."""
        for page, rows in self._pages.items():
            for at, old in enumerate(rows):
                if old.id == row.id:
                    changed = list(rows)
                    changed[at] = row
                    self._pages[page] = changed
                    self._refresh_row(page * PAGE_ROWS + at)
                    return

    # Pages.

    def _row(self, index: int) -> Row | None:
        page, at = divmod(index, PAGE_ROWS)
        rows = self._pages.get(page, ())
        return rows[at] if at < len(rows) else None

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _layout(self) -> list[tuple[int, Column, int]]:
        return layout(self._columns, self._width - MARK_WIDTH)

    @property
    def _visible_rows(self) -> int:
        return max(self.size.height - 1, 1)

    def _needed_pages(self) -> list[int]:
        """The pages to be in memory, the most needed first."""
        if self.total is None:
            return [0]
        top, rows = self.scroll_offset.y, self._visible_rows
        last = max(self.total - 1, 0)
        indexes = (top, top + rows - 1, top + 2 * rows, top - rows)
        return list(dict.fromkeys(min(max(index, 0), last) // PAGE_ROWS for index in indexes))

    def _request_pages(self) -> None:
        if not self.is_mounted:
            return
        for page in self._needed_pages():
            if len(self._requested) >= MAX_REQUESTS:
                return
            loaded = page in self._pages and page not in self._outdated
            if not loaded and page not in self._requested and page not in self._errors:
                self._requested.add(page)
                self.run_worker(self._load(page, self._generation), group=f"pages of {id(self)}")

    async def _load(self, page: int, generation: int) -> None:
        error, answer = "", None
        try:
            answer = await self._fetch(page)
        except (OSError, ValueError) as failure:
            error = str(failure) or type(failure).__name__
        if generation != self._generation or not self.is_mounted:
            return
        self._requested.discard(page)
        self._outdated.discard(page)
        if answer is None:
            self._errors[page] = clean(error, self._look.glyphs.marks)
        else:
            self._store(page, answer)
        self.refresh()
        self._request_pages()

    def _store(self, page: int, answer: Page) -> None:
        self._pages[page] = answer.rows[:PAGE_ROWS]
        self._pages.move_to_end(page)
        while len(self._pages) > MAX_PAGES:
            self._pages.popitem(last=False)
        if answer.total != self.total:
            self.total = answer.total
            for beyond in [number for number in self._pages if number * PAGE_ROWS >= max(self.total, 1)]:
                del self._pages[beyond]
            self.virtual_size = Size(self._width, self.total + 1)
        self._follow_cursor(page)

    def _follow_cursor(self, page: int) -> None:
        """Move the cursor to the new position of its row, if the row is in the page that arrived."""
        before = self.cursor
        at = next((at for at, row in enumerate(self._pages.get(page, ())) if row.id == self.cursor_id), None)
        if at is not None:
            self.cursor = page * PAGE_ROWS + at
        self.cursor = min(self.cursor, max((self.total or 0) - 1, 0))
        row = self.cursor_row
        if row is not None and self.cursor // PAGE_ROWS == page and row.id != self.cursor_id:
            self.cursor_id = row.id
            self.post_message(self.CursorMoved(self, row))
        if self.cursor != before:
            self._scroll_to_cursor()

    # The cursor and marks.

    def action_move(self, rows: int) -> None:
        self.move_cursor(self.cursor + rows)

    def action_move_page(self, pages: int) -> None:
        self.move_cursor(self.cursor + pages * max(self._visible_rows - 1, 1))

    def action_move_to_end(self, last: bool) -> None:
        self._errors.clear()
        self.move_cursor((self.total or 1) - 1 if last else 0)

    def move_cursor(self, index: int) -> None:
        """Move the cursor to the row at an index, or to the first or last one if there is none."""
        old, self.cursor = self.cursor, min(max(index, 0), max((self.total or 0) - 1, 0))
        if old == self.cursor:
            return
        row = self.cursor_row
        self.cursor_id = row.id if row else None
        self._refresh_row(old)
        self._refresh_row(self.cursor)
        self._scroll_to_cursor()
        self._request_pages()
        self.post_message(self.CursorMoved(self, row))

    def _scroll_to_cursor(self) -> None:
        top, rows = self.scroll_offset.y, self._visible_rows
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + rows:
            self.scroll_to(y=self.cursor - rows + 1, animate=False, force=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._request_pages()

    def action_mark(self) -> None:
        self._toggle_mark(self.cursor)
        self.action_move(1)

    def _toggle_mark(self, index: int) -> None:
        row = self._row(index)
        if row is None:
            return
        if row.id in self.marked:
            self.marked.remove(row.id)
        elif len(self.marked) < MAX_MARKED:
            self.marked.add(row.id)
        else:
            self.notify(f"At most {MAX_MARKED:,} rows can be marked: act on these first.", severity="warning")
        self._refresh_row(index)
        self.post_message(self.MarksChanged(self))

    def action_open(self) -> None:
        if row := self.cursor_row:
            self.post_message(self.Opened(self, row))

    def on_click(self, event: events.Click) -> None:
        if (offset := event.get_content_offset(self)) is None:
            return
        if offset.y == 0:
            self._click_title(offset.x)
            return
        index = self.scroll_offset.y + offset.y - 1
        if index >= (self.total or 0):
            return
        self.move_cursor(index)
        if offset.x < MARK_WIDTH:
            self._toggle_mark(index)
        elif event.chain == 2:
            self.action_open()

    def _click_title(self, x: int) -> None:
        start = MARK_WIDTH
        for _, column, width in self._layout:
            if start <= x < start + width and column.sort:
                self.post_message(self.SortRequested(self, column.sort))
            start += width + GAP

    # Drawing.

    def _refresh_row(self, index: int) -> None:
        y = index - self.scroll_offset.y + 1
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self._width, 1))

    def render_line(self, y: int) -> Strip:
        width = self._width
        if y == 0:
            return self._strip(self._titles(), self._look.style("muted"))
        index = self.scroll_offset.y + y - 1
        if index < (self.total or 0):
            return self._render_row(index)
        if y == 1 and (sentence := self._errors.get(0)):
            return self._strip([(sentence, self._look.style("critical"))], self._look.style("text"))
        if y == 1 and self.total is None:
            return self._strip([self._loading()], self._look.style("text"))
        if y == 1 and self.total == 0:
            return self._strip([(self._empty, self._look.style("muted"))], self._look.style("text"))
        return Strip.blank(width, self._look.style("text"))

    def _loading(self) -> Span:
        return (
            f"{' ' * MARK_WIDTH}{self._look.glyphs.dot} loading {self._look.glyphs.marks.ellipsis}",
            self._look.style("muted"),
        )

    def _titles(self) -> list[Span]:
        glyphs = self._look.glyphs
        spans: list[Span] = [(" " * MARK_WIDTH, self._look.style("muted"))]
        for _, column, width in self._layout:
            sorts = bool(column.sort) and column.sort == self.sorted_by
            sign = f" {glyphs.descending if self.descending else glyphs.ascending}" if sorts else ""
            style = self._look.style("accent" if sorts else "muted")
            spans.append((fit(column.title + sign, width, column.align, glyphs.marks), style))
            spans.append((" " * GAP, style))
        return spans[:-1]

    def _render_row(self, index: int) -> Strip:
        row = self._row(index)
        selected = index == self.cursor
        if row is None:
            error = self._errors.get(index // PAGE_ROWS)
            text, style = (f"  {error}", self._look.style("critical")) if error else self._loading()
            style = self._look.style("accent", reverse=True) if selected else style
            return self._strip([(text, style)], style)
        if selected:
            base = self._look.style("accent" if self.has_focus else "muted", reverse=True)
        else:
            base = self._look.style("muted" if row.dimmed else "text")
        spans: list[Span] = [(("x " if row.id in self.marked else "  "), base)]
        for at, column, width in self._layout:
            cell = row.cells[at] if at < len(row.cells) else ""
            text, token = (cell, None) if isinstance(cell, str) else cell
            style = base if selected or token is None else self._look.style(token)
            marks = self._look.glyphs.marks
            spans.append((fit(clean(text, marks), width, column.align, marks), style))
            spans.append((" " * GAP, base))
        return self._strip(spans[:-1], base)

    def _strip(self, spans: list[Span], blank: Style) -> Strip:
        width = self._width
        return Strip(line(spans, width, blank, marks=self._look.glyphs.marks), width)
