from __future__ import annotations

import time

import pytest
from support.boards import HEATING, SET_POINT, STRING, TEMPERATURE, boiler, many, widget
from support.console import SIZES, WidgetApp, play, screen_of, widths_of
from support.patience import patient
from textual.geometry import Region

from tui.themes import ASCII, Look
from tui.widgets.board import Board
from tui.widgets.cell_model import CellValue, State


def board_of(widgets, values=None, look=None, columns=24):
    board = Board(look=look or Look())
    board.set_widgets(widgets, columns)
    board.set_values(values or {})
    return board


def messages(app, kind):
    return [message for message in app.messages if type(message) is kind]


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
def test_screen(screens, size):
    async def script(app, pilot):
        screens.check(app, f"board.{size[0]}x{size[1]}")

    play(script, board_of(*boiler()), size=size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("look", [Look(), Look("ansi", ASCII)], ids=["unicode", "plain"])
def test_frame_holds_at_every_size(size, look):
    board = board_of(*boiler(), look=look)

    async def script(app, pilot):
        for _ in range(8):
            await pilot.press("down")
        assert {size[0]} == widths_of(app)
        assert len(screen_of(app)) == size[1]
        corners = [line.count(look.glyphs.box[0]) for line in screen_of(app)] if look.glyphs.braille else []
        assert not corners or max(corners) <= 4

    play(script, board, size=size)


def test_resize_moves_the_widgets():
    async def script(app, pilot):
        first = screen_of(app)
        await pilot.resize_terminal(160, 50)
        await pilot.pause()
        assert {160} == widths_of(app)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert first == screen_of(app)

    play(script, board_of(*boiler()))


def test_narrow_terminal_has_two_widgets_in_a_line_in_reading_order():
    widgets = [
        widget("led", HEATING, id=str(at), x=x, y=y, title=f"W{at}")
        for at, (x, y) in enumerate([(6, 3), (0, 3), (18, 0)])
    ]

    async def script(app, pilot):
        assert screen_of(app)[0].index("W2") < screen_of(app)[0].index("W1")
        assert "W0" in screen_of(app)[3]

    play(script, board_of(widgets))


def test_states_have_words():
    async def script(app, pilot):
        text = "\n".join(screen_of(app))
        for words in ("◌ sending …", "✕ the board did not take it", "21.6 °C~", "cannot draw heatmap", "! RINGS"):
            assert words in text
        assert "\x1b" not in text
        assert "Cellar␛[2J ⟪rtl!⟫日" in text

    play(script, board_of(*boiler()), size=(160, 50))


def test_arrows_select_the_nearest_widget():
    widgets, values = boiler()
    board = board_of(widgets, values)
    seen = []

    async def script(app, pilot):
        for key in ("right", "right", "down", "left", "up", "up"):
            await pilot.press(key)
            seen.append(board.selected.id)

    play(script, board, size=(160, 50))
    assert ["menu", "switch", "button", "led", "menu", "menu"] == seen


def test_switch_writes_the_other_value():
    board = board_of([widget("switch", HEATING)], {"switch": CellValue(values=(1,))})

    async def script(app, pilot):
        await pilot.press("enter")
        await pilot.pause()
        [written] = messages(app, Board.Written)
        assert ({"V4": 0}, None) == (written.values, written.release)
        assert "ON" in "\n".join(screen_of(app))

    play(script, board)


def test_button_writes_on_and_its_release():
    board = board_of([widget("button", HEATING)])

    async def script(app, pilot):
        await pilot.press("space")
        await pilot.pause()
        [written] = messages(app, Board.Written)
        assert ({"V4": 1}, {"V4": 0}) == (written.values, written.release)

    play(script, board)


def test_slider_is_changed_by_steps_or_typed():
    board = board_of([widget("slider", SET_POINT, options={"step": 0.5})], {"slider": CellValue(values=(20.5,))})

    async def script(app, pilot):
        await pilot.press("+")
        await pilot.press("enter", "backspace", "backspace", "backspace", "backspace", "9", "9")
        assert "99_" in "\n".join(screen_of(app))
        await pilot.press("enter", "enter", "right", "escape")
        await pilot.pause()
        assert [{"V5": 21}, {"V5": 35}] == [dict(written.values) for written in messages(app, Board.Written)]

    play(script, board)


def test_text_being_typed_gets_all_keys():
    class App(WidgetApp):
        BINDINGS = [("q", "quit", "Quit")]

    board = board_of([widget("text_input", STRING, options={"limit": 4})], {"text_input": CellValue(values=("old",))})

    async def script(app, pilot):
        await pilot.press("enter", "ctrl+u", "q", "é", "right", "x", "y", "z", "enter")
        await pilot.pause()
        assert [{"V6": "qéxy"}] == [dict(written.values) for written in messages(app, Board.Written)]

    play(script, app=App(board))


def test_draft_is_kept_when_its_value_changes_and_dropped_without_focus():
    board = board_of([widget("text_input", STRING), widget("led", HEATING, x=6)])

    async def script(app, pilot):
        await pilot.press("enter", "a", "b")
        board.set_values({"text_input": CellValue(values=("other",))})
        await pilot.pause()
        assert "ab_" in "\n".join(screen_of(app))
        app.set_focus(None)
        await pilot.pause()
        assert "other" in "\n".join(screen_of(app))
        assert not messages(app, Board.Written)

    play(script, board, size=(120, 10))


def test_disabled_widget_cannot_be_changed_and_hidden_one_is_not_drawn():
    board = board_of([widget("switch", HEATING, disabled=True), widget("led", HEATING, x=6, title="Pump", hidden=True)])

    async def script(app, pilot):
        await pilot.press("enter", "right", "enter")
        await pilot.pause()
        assert not messages(app, Board.Written)
        text = "\n".join(screen_of(app))
        assert "disabled" in text
        assert "Pump" not in text

    play(script, board, size=(120, 10))


def test_chart_and_link_are_requested():
    widgets = [widget("chart", TEMPERATURE), widget("video", STRING, x=6, options={"url": "https://example.org/"}),
               widget("image_gallery", HEATING, x=12, options={"urls": ["file:///etc/passwd"]})]  # fmt: skip
    board = board_of(widgets, {"image_gallery": CellValue(values=(0,))})

    async def script(app, pilot):
        await pilot.press("enter", "right", "enter", "right", "enter")
        await pilot.pause()
        assert ["chart"] == [message.widget.id for message in messages(app, Board.ChartRequested)]
        assert ["https://example.org/"] == [message.url for message in messages(app, Board.LinkRequested)]

    play(script, board, size=(120, 10))


def test_click_selects_first_and_acts_then():
    board = board_of([widget("label", TEMPERATURE), widget("switch", HEATING, x=6)])

    async def script(app, pilot):
        await pilot.click(board, offset=(40, 2))
        assert "switch" == board.selected.id
        assert not messages(app, Board.Written)
        await pilot.click(board, offset=(40, 2))
        await pilot.pause()
        assert 1 == len(messages(app, Board.Written))

    play(script, board, size=(120, 10))


def test_only_changed_lines_are_refreshed(monkeypatch):
    board = board_of(many(), {str(at): CellValue(values=(at,)) for at in range(100)})
    refreshed = []

    async def script(app, pilot):
        original = board.refresh
        monkeypatch.setattr(
            board, "refresh", lambda *regions, **rest: refreshed.extend(regions) or original(*regions, **rest)
        )
        board.set_values({"3": CellValue(values=(3,)), "11": CellValue(values=(12,)), "unknown": CellValue()})
        await pilot.pause()
        assert [Region(16, 5, 16, 1)] == [Region(r.x, r.y, 16, r.height) for r in refreshed]
        assert 1 == len(refreshed)
        board.set_values({"11": CellValue(values=(12.0,))})
        assert 1 == len(refreshed)

    play(script, board, size=(193, 50))


def test_dashboard_is_replaced_and_keeps_values_and_selection():
    widgets, values = boiler()
    board = board_of(widgets, values)

    async def script(app, pilot):
        await pilot.press("right")
        board.set_widgets(list(reversed(widgets)))
        await pilot.pause()
        assert "menu" == board.selected.id
        assert values["slider"] == board.value_of("slider")
        board.set_widgets([])
        await pilot.pause()
        assert "This dashboard has no widgets." == screen_of(app)[0]
        await pilot.press("enter", "down")

    play(script, board)


def test_faulty_grid_is_drawn():
    widgets = [widget("led", HEATING, id="a", x=-5, width=99), widget("led", HEATING, id="b", x=3, y=1, width=9, height=0),
               widget("led", HEATING, id="c", x=23, y=-1, width=4), widget("led", HEATING, id="d", x=40, y=10**9)]  # fmt: skip

    async def script(app, pilot):
        assert {120} == widths_of(app)

    play(script, board_of(widgets), size=(120, 30))


def test_no_color_is_possible(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    async def script(app, pilot):
        strips = app.screen._compositor.render_strips()
        assert all(segment.style is not None for strip in strips for segment in strip)
        assert "21.6 °C~" in "\n".join(screen_of(app))

    play(script, app=WidgetApp(board_of(*boiler())))


@pytest.mark.slow
def test_hundred_values_four_times_a_second_take_little_time():
    board = board_of(many())

    async def script(app, pilot):
        began = time.process_time()
        for turn in range(20):
            board.set_values({str(at): CellValue(values=(turn + at / 7,), state=State.LIVE) for at in range(100)})
            await pilot.pause()
        # Five seconds, at four times a second.
        assert time.process_time() - began < patient(0.6)

    play(script, board, size=(160, 50))
