"""Generated dashboards, of templates without their own."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import DOCUMENT, tab, widget, with_changes

from hub.model import Tile
from hub.templates import mobile_dashboard, web_dashboard
from hub.templates.dashboards import problems
from hub.templates.document import read
from hub.templates.generated import MAX_DATASTREAMS


def types_of(tabs):
    """The widgets of the only tab, as pins and types."""
    [only] = tabs
    return [(",".join(widget.pins), widget.type) for widget in only.widget]


def template_of(*streams, **changes):
    return read(with_changes(datastream=list(streams), **changes))


LIMITS = {"min": 0, "max": 100}
SWITCH = {"automation": {"type": "switch"}, "type": "integer"}
CONTROL = {"confirm": "5s"}


@pytest.mark.parametrize(
    ("stream", "web", "mobile"),
    [
        ({"type": "double"}, "label", "labeled_value"),
        ({"type": "double"} | LIMITS, "gauge", "gauge"),
        ({"type": "double"} | CONTROL, "number_input", "numeric_input"),
        ({"type": "double", "tags": ["Brightness"]} | LIMITS, "slider", "slider"),
        ({"type": "integer", "min": 0, "max": 1}, "led", "led"),
        (SWITCH, "switch", "switch"),
        ({"type": "integer", "automation": {"type": "switch", "action": False}}, "led", "led"),
        ({"type": "enum", "values": {"0": "Off"}}, "label", "labeled_value"),
        ({"type": "enum", "values": {"0": "Off", "1": "On"}} | CONTROL, "segmented_switch", "segmented_switch"),
        ({"type": "enum", "values": {str(n): str(n) for n in range(5)}} | CONTROL, "menu", "menu"),
        ({"type": "string"}, "label", "labeled_value"),
        ({"type": "string"} | CONTROL, "text_input", "text_input"),
        ({"type": "string", "tags": ["Debug Commands"]}, "terminal", "terminal"),
        ({"type": "location"}, "map", "map"),
        ({"type": "location", "history": "off"}, "label", "labeled_value"),
    ],
)
def test_widget_is_chosen_by_type_limits_and_whether_users_change_the_datastream(stream, web, mobile):
    template = template_of({"pin": "V5", "name": "S", "history": "minute"} | {"type": "double"} | stream)
    if stream.get("type") == "location" and "history" not in stream:
        template = template_of({"pin": "V5", "name": "S"} | stream)
    assert ("V5", web) == types_of(web_dashboard(template).tab)[0]
    assert ("V5", mobile) == types_of(mobile_dashboard(template).tab)[0]


def test_own_dashboard_is_unchanged():
    own = {"tab": [tab(widget("led", "V1"))]}
    template = read(with_changes(web=own, mobile=own | {"tile": {"icon": "sofa"}}))
    assert template.web == web_dashboard(template)
    assert template.mobile == mobile_dashboard(template)


def test_phone_shows_what_the_browser_shows_in_reading_order():
    web = {
        "tab": [
            tab(widget("slider", "V0", y=3), widget("label", "V3", x=4), widget("chart", "V0", x=8)),
            tab(widget("switch", "V1"), name="Other"),
        ]
    }
    template = read(with_changes(web=web))
    # The slider and the switch write their datastreams.
    assert [
        ("V3", "labeled_value"), ("V0", "numeric_input"), ("V1", "switch"), ("V0", "super_chart"),
    ] == types_of(mobile_dashboard(template).tab)  # fmt: skip


def test_chart_has_the_first_numbers_with_a_history():
    streams = [{"pin": f"V{n}", "name": f"S{n}", "type": "double"} for n in range(6)]
    streams[1]["history"] = "off"
    template = template_of({"pin": "V9", "name": "Switch"} | SWITCH, *streams)
    assert ("V0,V2,V3,V4", "chart") == types_of(web_dashboard(template).tab)[-1]


def test_tile_has_the_first_number_and_the_first_switch():
    template = read(DOCUMENT | {"datastream": [*DOCUMENT["datastream"], {"pin": "V5", "name": "Lamp"} | SWITCH]})
    assert Tile(type="value", pins=("V0",), control="V5") == mobile_dashboard(template).tile
    only_switch = template_of({"pin": "V5", "name": "Lamp"} | SWITCH)
    assert Tile(type="button", control="V5") == mobile_dashboard(only_switch).tile
    battery = template_of({"pin": "V1", "name": "Battery", "type": "double", "tags": ["Battery Level"]})
    assert Tile(type="value", pins=("V1",), battery="V1") == mobile_dashboard(battery).tile


def test_template_without_datastreams_has_no_tabs():
    template = template_of()
    assert () == web_dashboard(template).tab == mobile_dashboard(template).tab
    assert Tile() == mobile_dashboard(template).tile


def test_template_with_very_many_datastreams_has_widgets_for_the_first_ones():
    template = template_of(*[{"pin": f"V{n}", "name": f"S{n}", "type": "string"} for n in range(150)])
    assert MAX_DATASTREAMS == len(web_dashboard(template).tab[0].widget)


STREAMS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["integer", "double"])},
            optional={"min": st.integers(-5, 0), "max": st.integers(1, 5), "automation": st.just({"type": "range"})},
        ),
        st.fixed_dictionaries({"type": st.just("enum"), "values": st.just({"0": "A", "1": "B"})}),
        st.fixed_dictionaries({"type": st.just("string")}, optional={"confirm": st.just("5s")}),
    ),
    max_size=120,
)


@given(STREAMS, st.booleans())
def test_generated_dashboard_is_valid(streams, with_location):
    tables = [stream | {"pin": f"V{n}", "name": f"S{n}"} for n, stream in enumerate(streams)]
    template = template_of(*tables, *([{"pin": "V200", "name": "P", "type": "location"}] if with_location else []))
    generated = attrs.evolve(template, web=web_dashboard(template), mobile=mobile_dashboard(template))
    assert [] == list(problems(generated))
