from __future__ import annotations

import asyncio

import pytest
from support.console import SIZES, WidgetApp, play, screen_of, settle, widths_of

from tui.themes import ASCII, Look
from tui.widgets.columns import Column
from tui.widgets.paged_table import MAX_PAGES, PAGE_ROWS, Page, PagedTable, Row

COLUMNS = [
    Column(title="", width=1),
    Column(title="Name", width=13, grows=True, sort="name"),
    Column(title="Status", width=8),
    Column(title="Template", width=12, priority=2),
    Column(title="Last", width=6, align="right", sort="last"),
    Column(title="V0 °C", width=7, align="right", priority=2),
    Column(title="Tags", width=10, priority=3),
]


def row(number, name=None):
    states = [("●", "ok"), ("○", "offline"), ("▲", "warn")]
    words = ["Online", "Offline", "Inactive"]
    cells = [
        states[number % 3],
        name or f"Sensor {number:05} cellar",
        words[number % 3],
        "Weather st.",
        "3 s",
        "19.0~" if number % 3 else "21.4",
        "ground",
    ]
    return Row(number, cells, dimmed=number % 3 == 1)


class Source:
    """Rows with the ids of a list; ``asked`` are the pages that were asked for."""

    def __init__(self, total):
        self.ids = range(total)
        self.asked = []
        self.gate = None
        self.error = None

    async def fetch(self, page):
        self.asked.append(page)
        if self.gate:
            await self.gate.wait()
        if self.error:
            raise OSError(self.error)
        ids = self.ids[page * PAGE_ROWS : (page + 1) * PAGE_ROWS]
        return Page(len(self.ids), [row(number) for number in ids])


def table_of(source, **options):
    return PagedTable(COLUMNS, source.fetch, look=options.pop("look", Look()), **options)


def messages(app, kind):
    return [message for message in app.messages if type(message) is kind]


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
def test_screen(screens, size):
    async def script(app, pilot):
        await settle(app, pilot)
        await pilot.press("down", "space")
        await settle(app, pilot)
        screens.check(app, f"table.{size[0]}x{size[1]}")

    play(script, table_of(Source(50_000)), size=size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("look", [Look(), Look("ansi", ASCII)], ids=["unicode", "plain"])
def test_frame_holds_at_every_size(size, look):
    async def script(app, pilot):
        await settle(app, pilot)
        await pilot.press("G")
        await settle(app, pilot)
        assert {size[0]} == widths_of(app)
        assert len(screen_of(app)) == size[1]

    play(script, table_of(Source(50_000), look=look), size=size)


def test_columns_are_dropped_by_priority():
    shown = {}
    for width in (59, 60, 69, 100):

        async def script(app, pilot, width=width):
            await settle(app, pilot)
            shown[width] = screen_of(app)[0].split()

        play(script, table_of(Source(3)), size=(width, 10))
    assert "Name Status Last".split() == shown[59]
    assert "Name Status Template Last V0 °C".split() == shown[60] == shown[69]
    assert "Name Status Template Last V0 °C Tags".split() == shown[100]


def test_columns_without_space_are_dropped():
    async def script(app, pilot):
        await settle(app, pilot)
        assert ["A", "B"] == screen_of(app)[0].split()

    async def fetch(_):
        return Page(1, [Row(1, ["a", "b", "c"])])

    columns = [
        Column(title="A", width=30),
        Column(title="B", width=30, priority=2),
        Column(title="C", width=9, priority=2),
    ]
    play(script, PagedTable(columns, fetch, look=Look()), size=(70, 10))


def test_only_the_visible_pages_are_loaded():
    source = Source(50_000)
    table = table_of(source)

    async def script(app, pilot):
        await settle(app, pilot)
        assert {0} == set(source.asked)
        await pilot.press("G")
        await settle(app, pilot)
        assert {0, 499} == set(source.asked)
        assert "Sensor 49999" in screen_of(app)[-1]
        assert 49_999 == table.cursor_id
        await pilot.press("g")
        await settle(app, pilot)
        assert "Sensor 00000" in screen_of(app)[1]
        assert {0, 499} == set(source.asked)

    play(script, table)


def test_memory_holds_a_limited_number_of_pages():
    source = Source(50_000)
    table = table_of(source)

    async def script(app, pilot):
        await settle(app, pilot)
        for page in range(MAX_PAGES + 10):
            table.move_cursor(page * PAGE_ROWS)
            await settle(app, pilot)
        assert len(table._pages) <= MAX_PAGES
        assert f"Sensor {(MAX_PAGES + 9) * PAGE_ROWS:05}" in "\n".join(screen_of(app))

    play(script, table)


def test_rows_are_loading_until_their_page_arrives():
    source = Source(1000)
    table = table_of(source)

    async def script(app, pilot):
        await settle(app, pilot)
        source.gate = asyncio.Event()
        await pilot.press("G")
        await pilot.pause()
        assert "loading …" in screen_of(app)[-1]
        assert table.cursor_row is None
        source.gate.set()
        await settle(app, pilot)
        assert "Sensor 00999" in screen_of(app)[-1]
        assert 999 == table.cursor_id

    play(script, table)


def test_fast_scrolling_asks_for_the_last_place_only():
    source = Source(50_000)
    table = table_of(source)

    async def script(app, pilot):
        await settle(app, pilot)
        source.gate = asyncio.Event()
        for place in range(1000, 49_000, 1000):
            table.move_cursor(place)
        await pilot.pause()
        source.gate.set()
        await settle(app, pilot)
        assert len(source.asked) <= 6
        assert "Sensor 48000" in "\n".join(screen_of(app))

    play(script, table)


def test_cursor_follows_its_row():
    source = Source(50)
    table = table_of(source)

    async def script(app, pilot):
        await settle(app, pilot)
        await pilot.press("down", "down", "down")
        assert 3 == table.cursor_id
        source.ids = [100, 101, *range(50)]
        table.reload()
        await settle(app, pilot)
        assert (5, 3) == (table.cursor, table.cursor_id)
        source.ids = [100]
        table.reload()
        await settle(app, pilot)
        assert (0, 100) == (table.cursor, table.cursor_id)

    play(script, table)


def test_reload_shows_old_rows_until_new_ones_arrive():
    source = Source(50)
    table = table_of(source)

    async def script(app, pilot):
        await settle(app, pilot)
        source.gate = asyncio.Event()
        table.reload()
        await pilot.pause()
        assert "Sensor 00000" in screen_of(app)[1]
        source.ids = range(7, 50)
        source.gate.set()
        await settle(app, pilot)
        assert "Sensor 00007" in screen_of(app)[1]

    play(script, table)


def test_answer_to_an_earlier_query_is_dropped():
    old, new = Source(50), Source(2)
    old.gate = asyncio.Event()
    table = table_of(old)

    async def script(app, pilot):
        table.reset(new.fetch)
        await pilot.pause()
        old.gate.set()
        await settle(app, pilot)
        assert 2 == table.total
        assert [] == [line for line in screen_of(app)[3:] if line]

    play(script, table)


def test_marks_and_open():
    source = Source(5)
    table = table_of(source)

    async def script(app, pilot):
        await settle(app, pilot)
        table.focus()
        await pilot.press("space", "space", "up", "space", "enter")
        await pilot.pause()
        assert {0} == table.marked
        assert [2] == [message.row.id for message in messages(app, PagedTable.Opened)]
        assert 3 == len(messages(app, PagedTable.MarksChanged))
        table.reset()
        assert set() == table.marked

    play(script, table)


def test_mouse():
    source = Source(50)
    table = table_of(source)

    async def script(app, pilot):
        await settle(app, pilot)
        await pilot.click(table, offset=(10, 4))
        assert 3 == table.cursor
        await pilot.click(table, offset=(0, 6))
        assert (5, {5}) == (table.cursor, table.marked)
        await pilot.click(table, offset=(10, 6), times=2)
        await pilot.click(table, offset=(8, 0))
        await pilot.click(table, offset=(10, 23))
        await pilot.pause()
        assert 5 in [message.row.id for message in messages(app, PagedTable.Opened)]
        assert ["name"] == [message.sort for message in messages(app, PagedTable.SortRequested)]

    play(script, table)


def test_empty_table_has_a_sentence():
    async def script(app, pilot):
        await settle(app, pilot)
        await pilot.press("down", "enter", "space", "G")
        assert "No devices yet: add one with n." == screen_of(app)[1]

    play(script, table_of(Source(0), empty="No devices yet: add one with n."))


def test_error_is_displayed_and_reload_tries_again():
    source = Source(3)
    source.error = "The hub does not answer.\x1b[2J"
    table = table_of(source)

    async def script(app, pilot):
        await settle(app, pilot)
        assert "The hub does not answer.␛[2J" == screen_of(app)[1]
        assert [0] == source.asked
        source.error = None
        table.reload()
        await settle(app, pilot)
        assert "Sensor 00000" in screen_of(app)[1]

    play(script, table)


def test_replaced_row_is_drawn():
    table = table_of(Source(3))

    async def script(app, pilot):
        await settle(app, pilot)
        table.replace_row(row(1, "Renamed \u202e日本"))
        await pilot.pause()
        assert "Renamed ⟪rtl!⟫日本" in screen_of(app)[2]

    play(script, table)


def test_selected_row_is_visible_without_colors(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    table = table_of(Source(3))

    async def script(app, pilot):
        await settle(app, pilot)
        strip = app.screen._compositor.render_strips()[1]
        assert any(segment.style and segment.style.reverse for segment in strip)

    play(script, app=WidgetApp(table))
