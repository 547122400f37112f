from __future__ import annotations

import math

import pytest
from support.console import SIZES, WidgetApp, play, screen_of, widths_of
from textual.events import MouseScrollUp

from tui.themes import ASCII, Look
from tui.widgets.chart import MAX_POINTS, MAX_RANGE, Chart, Series

#: A day from 2026-11-27, 00:00 UTC.
START = 1_795_737_600
END = START + 86_400


def example(look=None):
    chart = Chart(look=look or Look())
    outside = [(START + at * 300, 22 + 4 * math.sin(at / 30)) for at in range(288) if not 100 <= at < 130]
    wanted = [(START + at * 300, 20.5 if at < 200 else 17.0) for at in range(288)]
    chart.set_series(
        [
            Series(name="Outside", unit="°C", decimals=1, points=outside, gap=900),
            Series(name="Set point", unit="°C", decimals=1, points=wanted),
        ]
    )
    chart.set_range(START, END)
    return chart


def requested(app):
    return [(message.start, message.end) for message in app.messages if isinstance(message, Chart.RangeChanged)]


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
def test_screen(screens, size):
    chart = example()

    async def script(app, pilot):
        screens.check(app, f"chart.{size[0]}x{size[1]}")

    play(script, chart, size=size)


def test_plain_screen(screens):
    async def script(app, pilot):
        assert "\n".join(screen_of(app)).replace("°", "").isascii()
        screens.check(app, "chart.plain.80x24")

    play(script, example(Look("ansi", ASCII)))


@pytest.mark.parametrize("size", [*SIZES, (12, 3), (5, 1)])
@pytest.mark.parametrize("look", [Look(), Look("ansi", ASCII)], ids=["unicode", "plain"])
def test_frame_holds_at_every_size(size, look):
    async def script(app, pilot):
        await pilot.press("left", "left")
        assert {size[0]} == widths_of(app)
        assert len(screen_of(app)) == size[1]

    play(script, example(look), size=size)


def test_cursor_shows_the_values_at_its_time():
    chart = example()

    async def script(app, pilot):
        assert "Outside min 18.0 avg" in screen_of(app)[-1]
        await pilot.press("left")
        assert "00:00:00  Outside 21.4 °C   Set point 17.0 °C" in screen_of(app)[-1]
        for _ in range(3):
            await pilot.press("left")
        assert "Set point 17.0 °C" in screen_of(app)[-1]
        await pilot.click(chart, offset=(33, 10))
        assert "Outside no value   Set point 20.5 °C" in screen_of(app)[-1]
        await pilot.press("escape")
        assert chart.cursor is None

    play(script, chart)


def test_zoom_and_pan_request_the_points_of_their_range():
    chart = example()

    async def script(app, pilot):
        await pilot.press("plus")
        assert (END - 43_200, END) == (chart.start, chart.end)
        await pilot.press("shift+left")
        assert (END - 54_000, END - 10_800) == (chart.start, chart.end)
        assert not chart.following
        await pilot.press("minus")
        assert 86_400 == chart.end - chart.start
        assert "1d" == chart.range_name
        await pilot.press("left_square_bracket")
        assert "6h" == chart.range_name
        await pilot.press("right_square_bracket", "right_square_bracket")
        assert "1w" == chart.range_name
        await pilot.pause()
        assert 6 == len(requested(app))
        for _ in range(12):
            await pilot.press("minus")
        assert MAX_RANGE == chart.end - chart.start
        for _ in range(40):
            await pilot.press("plus")
        assert 10 == chart.end - chart.start

    play(script, chart)


def test_new_points_move_a_chart_that_follows():
    chart = example()

    async def script(app, pilot):
        chart.append(0, (END + 600, 25.0))
        assert (START + 600, END + 600) == (chart.start, chart.end)
        await pilot.press("f")
        chart.append(0, (END + 900, 25.0))
        assert END + 600 == chart.end
        chart.append(0, (END, 1.0))
        assert (END + 900, 25.0) == chart.series[0].points[-1]
        await pilot.press("f")
        assert END + 900 == chart.end

    play(script, chart)


def test_wheel_zooms():
    chart = example()

    async def script(app, pilot):
        await pilot._post_mouse_events([MouseScrollUp], chart, offset=(30, 5))
        await pilot.pause()
        assert 43_200 == chart.end - chart.start

    play(script, chart)


def test_more_than_six_lines_are_rejected():
    with pytest.raises(ValueError, match="at most 6 lines, not 7"):
        Chart(look=Look()).set_series([Series(name=str(at)) for at in range(7)])


def test_points_in_memory_are_limited_and_in_order():
    chart = Chart(look=Look())
    chart.set_series([Series(name="", points=[(at, at) for at in reversed(range(MAX_POINTS + 5))])])
    assert MAX_POINTS == len(chart.series[0].points)
    assert (MAX_POINTS + 4, MAX_POINTS + 4) == chart.series[0].points[-1]


def test_chart_without_values_says_so():
    chart = Chart(look=Look())
    chart.set_series([Series(name="V0\x1b[2J", points=[(1, math.nan)])])
    chart.set_range(0, 3600)

    async def script(app, pilot):
        assert "No values in this time." == screen_of(app)[-1]
        assert "V0␛[2J" in screen_of(app)[0]

    play(script, chart)


def test_no_color_is_possible(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    async def script(app, pilot):
        await pilot.press("left", "left", "left")
        assert "Outside" in screen_of(app)[0]

    play(script, app=WidgetApp(example()))
