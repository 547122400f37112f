from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from support.boards import BITS, HEATING, LOCATION, MODE, SET_POINT, STRING, TEMPERATURE, widget

from hub.templates.widgets import MOBILE, WEB
from tui.themes import ASCII, Look
from tui.widgets.catalogue import COMPONENTS, component_of
from tui.widgets.cell_model import CellValue, Datastream, OpenLink, Redraw, State, Write
from tui.widgets.drawing import text_of

#: The types that are drawn as their values alone.
NOT_DRAWN = {"alias", "heatmap", "modules", "slope_control"}
DATASTREAMS = [TEMPERATURE, MODE, HEATING, SET_POINT, STRING, BITS, LOCATION]
VALUES = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.floats(), max_size=4), st.booleans()
)


def drawn(kind, value=None, datastream=TEMPERATURE, width=30, height=3, look=None, state=State.LIVE, **rest):
    component = component_of(widget(kind, datastream, **rest), look or Look())
    given = value if isinstance(value, CellValue) else CellValue(values=(value,), state=state)
    return [line.strip() for line in text_of(component.lines(given, width, height)) if line.strip()]


def press(kind, keys, value=None, datastream=TEMPERATURE, **rest):
    """The actions of keys, without those that only draw the cell again."""
    component = component_of(widget(kind, datastream, **rest), Look())
    shown = CellValue(values=(value,))
    actions = [component.press(key, key if len(key) == 1 else None, shown) for key in keys]
    return [action for action in actions if not isinstance(action, Redraw)]


def test_every_type_of_the_hub_is_known_or_says_so():
    assert NOT_DRAWN == (set(WEB) | set(MOBILE)) - set(COMPONENTS)
    assert set(COMPONENTS) <= set(WEB) | set(MOBILE)


@given(
    st.sampled_from(sorted({*COMPONENTS, *NOT_DRAWN})),
    st.sampled_from(DATASTREAMS),
    st.lists(VALUES, max_size=4),
    st.sampled_from(State),
    st.integers(1, 60),
    st.integers(1, 9),
    st.sampled_from([Look(), Look("ansi", ASCII)]),
    st.sampled_from(
        [{}, {"level": "horizontal", "step": 3}, {"labels": ["a\x1b", "b"], "rows": ["x\u202e"], "text": "\0"}]
    ),
)
def test_cell_has_exactly_its_size(kind, datastream, values, state, width, height, look, options):
    component = component_of(widget(kind, datastreams=(datastream,) * max(len(values), 1), options=options), look)
    value = CellValue(values=tuple(values), state=state, history=(1.0, None, 2.0), log=("a\x1b[2J", "日" * 99))
    for key in (None, "enter"):
        if key:
            component.press(key, None, value)
        lines = component.lines(value, width, height)
        assert height == len(lines)
        texts = text_of(lines)
        assert [width] * height == [cell_len(text) for text in texts]
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", "".join(texts))
        assert all(segment.style is not None for line in lines for segment in line)


@given(st.sampled_from(sorted(COMPONENTS)), st.sampled_from(DATASTREAMS), VALUES,
       st.lists(st.sampled_from("enter escape left right up down backspace space + - 1 . # a".split()), max_size=12))  # fmt: skip
def test_no_keys_break_a_cell(kind, datastream, value, keys):
    component = component_of(widget(kind, datastream), Look())
    for key in keys:
        action = component.press(key, key if len(key) == 1 else None, CellValue(values=(value,)))
        if isinstance(action, Write):
            assert set(action.values) == {datastream.pin}
        component.lines(CellValue(values=(value,)), 20, 4)


@pytest.mark.parametrize(
    ("kind", "value", "rest", "expected"),
    [
        ("value", 21.64, {}, "21.6 °C"),
        ("value", None, {}, "–"),
        ("value", "text", {}, "text °C"),
        ("value", 1, {"datastream": MODE}, "Heat"),
        ("value", 7, {"datastream": MODE}, "7"),
        ("label", 21.64, {"options": {"format": "/value.##/ degrees"}}, "21.64 degrees"),
        ("label", 1234567.0, {}, "1,234,567.0 °C"),
        ("led", 0, {"datastream": HEATING}, "○ off"),
        ("led", 10, {}, "● on 50%"),
        ("switch", 0, {"datastream": HEATING}, "[●──] off"),
        ("switch", None, {"datastream": HEATING}, "[───] unknown"),
        ("switch", 1, {"datastream": HEATING, "options": {"on_label": "Open"}}, "[──●] Open"),
        ("menu", "2", {"datastream": MODE}, "Off  Heat ‹Cool›"),
        ("rgb_light", [255, 128, 0], {"datastream": STRING}, "██ #FF8000"),
        ("rgb_light", "255\x00128\x000", {"datastream": STRING}, "██ #FF8000"),
        ("alarm", 0, {"datastream": HEATING}, "· quiet"),
        ("video", None, {"datastream": STRING}, "no address yet"),
        ("image_gallery", 1, {"options": {"urls": ["https://a/", "https://b/"]}}, "→ https://b/"),
        ("joystick", "10,20", {"datastream": STRING}, "x 10  y 20"),
        ("web_page_button", None, {"datastream": None, "options": {"url": "https://a/", "text": "Manual"}}, "→ Manual"),
        ("text", None, {"datastream": None, "options": {"text": "Ground floor"}}, "Ground floor"),
        ("invented", 3, {}, "cannot draw invented"),
    ],
)
def test_value_is_drawn(kind, value, rest, expected):
    assert expected == drawn(kind, value, **rest)[0]


def test_stale_value_ends_in_a_tilde():
    for kind, datastream, value in [
        ("value", TEMPERATURE, 1),
        ("switch", HEATING, 1),
        ("menu", MODE, 1),
        ("led", HEATING, 1),
    ]:
        assert "~" in drawn(kind, value, datastream, state=State.STALE)[0]
        assert "~" not in drawn(kind, value, datastream)[0]


def test_plain_glyphs_are_enough():
    for kind in COMPONENTS:
        for value in (None, 1, "1,2,3"):
            texts = drawn(kind, value, MODE, look=Look("ansi", ASCII))
            assert all(text.isascii() for text in texts), kind


def test_menu_without_space_shows_the_chosen_label():
    assert ["‹Heat›", "1 of 3"] == drawn("menu", 1, MODE, width=10)


def test_gauge_has_a_bar_and_the_ends_of_its_scale():
    assert ["10.0 °C", "▕████    ▏", "-20     40"] == drawn("gauge", 10, width=10)


def test_bits_without_space_are_counted():
    options = {"rows": ["a", "b", "c", "d"], "inverse": True}
    assert ["[ ] a", "[x] b", "2 more: enlarge the cell"] == drawn("bitmask_table", 1, BITS, options=options)


def test_terminal_shows_its_end():
    value = CellValue(log=tuple(f"line {at}" for at in range(900)))
    assert ["line 898", "line 899", "> type here"] == drawn("terminal", value, STRING)
    assert ["line 897", "line 898", "line 899"] == drawn("terminal", value, STRING, options={"input": False})


@pytest.mark.parametrize(
    ("kind", "keys", "value", "rest", "written"),
    [
        ("switch", ["enter"], 0, {"datastream": HEATING}, {"V4": 1}),
        ("switch", ["enter"], "open", {"datastream": STRING, "options": {"on_value": "open", "off_value": "shut"}}, {"V6": "shut"}),
        ("slider", ["+"], 40, {}, {"V0": 40}),
        ("step", ["+"], 40, {"options": {"step": 1, "loop": True}}, {"V0": -20}),
        ("number_input", ["-"], None, {}, {"V0": -20}),
        ("number_input", ["enter", "5", "enter"], None, {}, {"V0": 5}),
        ("menu", ["enter", "left", "enter"], 0, {"datastream": MODE}, {"V3": 2}),
        ("segmented_switch", ["enter", "right", "enter"], 1, {"datastream": BITS, "options": {"labels": ["a", "b", "c"]}}, {"V7": 2}),
        ("terminal", ["enter", "h", "i", "enter"], None, {"datastream": STRING, "options": {"newline": True}}, {"V6": "hi\n"}),
        ("rgb_light", ["enter", *"ff8000", "enter"], None, {"datastream": STRING}, {"V6": [255, 128, 0]}),
        ("music_player", ["enter"], "stop", {"datastream": STRING}, {"V6": "play"}),
    ],
)  # fmt: skip
def test_keys_write(kind, keys, value, rest, written):
    assert [Write(written)] == [action for action in press(kind, keys, value, **rest) if action]


def test_joystick_returns_to_its_middle():
    actions = press("joystick", ["enter", "right", "escape"], [128, 128], STRING)
    assert [{"V6": [141, 128]}, {"V6": [128, 128]}] == [dict(action.values) for action in actions]


def test_joystick_of_two_datastreams_writes_both():
    datastreams = (Datastream(pin="V1", min=0, max=100), Datastream(pin="V2", min=0, max=100))
    component = component_of(widget("joystick", datastreams=datastreams), Look())
    value = CellValue(values=(50, 50))
    component.press("enter", None, value)
    assert Write({"V1": 50, "V2": 55}) == component.press("up", None, value)


def test_color_that_is_none_remains_a_draft():
    assert [] == press("rgb_light", ["enter", "x", "enter"], None, STRING)


def test_map_opens_a_geo_address():
    assert [OpenLink("geo:52.516300,13.377700")] == press("map", ["enter"], [13.3777, 52.5163], LOCATION)
    assert [None] == press("map", ["enter"], [500, 95], LOCATION)


def test_pasted_text_has_no_control_codes():
    component = component_of(widget("text_input", STRING), Look())
    component.paste("before editing")
    component.press("enter", None, CellValue())
    component.paste("a\nb\x1b")
    assert Write({"V6": "a b␛"}) == component.press("enter", None, CellValue())


def test_modules_have_at_most_450_lines():
    root = Path(__file__).parents[3] / "tui"
    assert {} == {
        str(path): lines for path in root.rglob("*.py") if (lines := len(path.read_text("utf-8").splitlines())) > 450
    }
