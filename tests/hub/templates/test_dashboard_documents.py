"""Dashboards in template documents: grids, datastreams and options of widgets, tile, header and pages."""

from __future__ import annotations

import typing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.documents import tab, widget, with_changes

from hub.model import Dashboard, Datastream, MobileDashboard, Tab, Template, TileType, Widget
from hub.templates import widgets
from hub.templates.dashboards import problems
from hub.templates.document import BadTemplate, difference, from_row, read, to_document, to_row

PAGE = {"id": "more", "name": "More"}


def errors_of(**changes):
    """The errors of a document with changes, as one text; "" if it is valid."""
    try:
        read(with_changes(**changes))
    except BadTemplate as error:
        return "\n".join(error.problems)
    return ""


def test_whole_mobile_dashboard_survives_document_and_database():
    mobile = {
        "tile": {
            "type": "gauge",
            "title": "Room",
            "subtitle": "battery_level",
            "pins": ["V0"],
            "control": "V1",
            "interaction": "push",
            "battery": "V0",
            "icon": "sofa",
            "options": {"thresholds": [0, 20.5], "colors": ["#000000", "#24a0ed"], "line_width": "thin", "on_value": 1},
        },
        "header": {
            "timeline": False,
            "color": "#24a0ed",
            "content": "dark",
            "pin": "V3",
            "button": [{"page": "more", "icon": "gear", "pin": "V3"}],
            "widget": [
                {"type": "signal", "pins": ["V0"], "options": {"min": -90, "max": -30}},
                {"type": "connection_status"},
                {"type": "image", "title": "Logo", "options": {"urls": ["template_asset://12"]}},
            ],
        },
        "tab": [
            tab(
                widget("button", width=8, options={"mode": "page", "page": "more"}),
                widget("icon_button", "V3", y=3, options={"mode": "qr", "icon": "scan"}),
                widget("dynamic_spacer", y=6, options={"multiplier": 24}),
                widget("time_input", "V3", x=4, y=3, options={"time_format": "hh:mm a", "sun": False}),
                widget("simple_chart", "V0", x=4, y=6, options={"ranges": ["6h", "1y"], "aggregate": "sum"}),
            )
        ],
        "page": [
            PAGE | {"from_side": "bottom", "widget": [widget("formatted_text", options={"format": "Hello"})]},
            {"id": "half", "name": "Half", "kind": "sheet", "size": 40},
            {"id": "service", "name": "Service", "kind": "info", "roles": ["Staff"]},
            {"id": "hello", "name": "Hello", "kind": "welcome", "url": "https://example.org/hello"},
        ],
    }
    template = read(with_changes(mobile=mobile))
    assert mobile == to_document(template)["mobile"]
    assert template == from_row(to_row(template), template.org, template.version)


def test_template_stored_before_tiles_and_pages_is_loaded():
    row = to_row(read(with_changes()))
    before = row.replace(row[row.index('"mobile": {') :], '"mobile": {"tab": []}}')
    assert MobileDashboard() == from_row(before, 1, 1).mobile


@pytest.mark.parametrize(
    ("tabs", "error"),
    [
        ([tab(widget("gauge", "V3"))], "V3 is of type string, and the widget needs double, integer"),
        ([tab(widget("gauge"))], "the widget needs 1 datastream, not 0"),
        ([tab(widget("gauge", "V0", "V1"))], "the widget needs 1 datastream, not 2"),
        ([tab(widget("chart", "V0", "V0"))], "a pin is used twice"),
        ([tab(widget("gauge", "V9"))], "the template has no V9"),
        ([tab(widget("gauge", "Temperature"))], "the template has no TEMPERATUR"),
        ([tab(widget("laser", "V0"))], "unknown type of widget; the types are slider"),
        ([tab(widget("gauge", "V0", title="x" * 65))], "title must have at most 64"),
        ([tab(widget("gauge", "V0", x=22))], "does not fit the grid of 24 columns"),
        ([tab(widget("gauge", "V0", x=-(10**12)))], "does not fit the grid"),
        ([tab(widget("gauge", "V0", width=10**12))], "does not fit the grid"),
        ([tab(widget("gauge", "V0", height=0))], "does not fit the grid"),
        ([tab(widget("gauge", "V0"), widget("led", "V0", x=3))], "widget 2 overlaps widget 1"),
        ([tab(), tab()], "tab 'Now' is used 2 times"),
        ([tab(name="")], "a name must have 1 to 64"),
        ([tab(roles=["Admin"])], "the first tab is for all roles"),
        ([tab(name=str(n)) for n in range(5)], "at most 4 tabs"),
        ([tab(widget("map", "V4"), widget("map", "V4", x=4))], "at most one map"),
        ([tab(*[widget("led", "V0")] * 1000)], "at most 200 widgets, not 1000"),
        ([tab(size=1)], "size"),
        ([tab(widget("gauge", "V0", color="red"))], "color"),
        ("all", "web"),
    ],
)
def test_invalid_web_dashboard_is_rejected(tabs, error):
    assert error in errors_of(web={"tab": tabs})


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("gauge", {"colour": 1}, "options: unknown option 'colour'; the options are align, color, colors, max, min"),
        ("gauge", {"min": {}}, "options: min must be a number"),
        ("gauge", {"min": True}, "options: min must be a number"),
        ("gauge", {"min": float("nan")}, "options: min must be a number"),
        ("gauge", {"max": 10**400}, "options: max must be a number"),
        ("gauge", {"min": 5, "max": 5}, "options: min 5 must be below max 5"),
        ("gauge", {"thresholds": 3}, "options: thresholds must be a list of at most 50"),
        ("gauge", {"thresholds": [1, "2"]}, "options: thresholds item 2 must be a number"),
        ("gauge", {"thresholds": [2, 1]}, "options: thresholds must be rising numbers"),
        ("gauge", {"colors": ["red"]}, "options: colors item 1 must be a color like #24a0ed"),
        ("gauge", {"size": "huge"}, "options: size must be one of medium, small, large"),
        ("gauge", {"size": []}, "options: size must be one of medium, small, large"),
        ("slider", {"step": -1}, "options: step must be a number from 0"),
        ("slider", {"write_interval": 1.5}, "options: write_interval must be a whole number from 50 to 10000"),
        ("slider", {"send_on_release": "yes"}, "options: send_on_release must be true or false"),
        ("button", {"mode": "page"}, "options: mode must be one of push, switch"),
        ("switch", {"on_value": [1]}, "options: on_value must be a number, or text of at most 250 characters"),
        ("switch", {"on_label": "x" * 251}, "options: on_label must be text of at most 250 printable characters"),
        ("chart", {"kind": "state"}, "options: kind must be one of line, area, bar, step"),
        ("chart", {"kind": None}, "options: kind must be one of line, area, bar, step"),
    ],
)
def test_option_with_the_wrong_value_is_rejected(kind, options, error):
    assert error in errors_of(web={"tab": [tab(widget(kind, "V0", options=options))]})


@pytest.mark.parametrize(
    ("mobile", "error"),
    [
        ({"tab": [tab(widget("gauge", "V0", x=5))]}, "does not fit the grid of 8 columns"),
        ({"tab": [tab(widget("value", "V4"))]}, "V4 is of type location"),
        ({"tab": [tab(widget("button", "V0", options={"mode": "qr"}))]}, "a scanned code needs string"),
        ({"tab": [tab(widget("button", options={"mode": "push"}))]}, "the widget needs 1 datastream, not 0"),
        ({"tab": [tab(widget("button", options={"mode": "page"}))]}, 'mode = "page" needs the option page'),
        (
            {"tab": [tab(widget("button", options={"mode": "page", "page": "more"}))]},
            "options: page 'more' must be the id of a page of kind screen or sheet",
        ),
        (
            {"tab": [tab(widget("formatted_text", options={"page": "w"}))], "page": [PAGE | {"kind": "welcome"}]},
            "options: page 'w' must be the id",
        ),
        ({"tab": [tab(widget("simple_chart", "V0", options={"ranges": ["1d", "1d"]}))]}, "ranges must not repeat"),
        ({"tab": [tab(widget("simple_chart", "V0", options={"ranges": ["2d"]}))]}, "ranges item 1 must be one of 1h"),
        (
            {"tab": [tab(widget("image_gallery", "V1", options={"urls": ["javascript:alert(1)"]}))]},
            "urls item 1 must be the https:// address of an image",
        ),
        (
            {"tab": [tab(widget("web_page_button", options={"url": "template_asset://1"}))]},
            "url must be an http:// or https:// address",
        ),
        ({"tile": {"type": "wheel"}}, "type must be one of"),
        ({"tile": {"type": "gauge", "pins": ["V3"]}}, "tile: pins: V3 is of type string"),
        ({"tile": {"type": "two_values", "pins": ["V0"]}}, "tile: pins: the widget needs 2 datastreams, not 1"),
        ({"tile": {"control": "V7"}}, "tile: control: the template has no V7"),
        ({"tile": {"battery": "V4"}}, "tile: battery: V4 is of type location"),
        ({"tile": {"options": {"indicator": "dot"}}}, "tile: options: unknown option 'indicator'"),
        ({"header": {"color": "blue"}}, "header: color must be like #24a0ed"),
        ({"header": {"pin": "V9"}}, "header: pin: the template has no V9"),
        ({"header": {"button": [{"page": "none"}]}}, "header: button 1: page 'none' must be the id of a page"),
        (
            {"header": {"button": [{"page": "more"}, {"page": "more", "pin": "V9"}]}, "page": [PAGE]},
            "header: button 2: pin: the template has no V9",
        ),
        ({"header": {"button": [{"page": "more"}] * 3}, "page": [PAGE]}, "header: there can be at most 2 buttons"),
        ({"header": {"widget": [{"type": "tags"}] * 7}}, "header: there can be at most 6 widgets"),
        ({"header": {"widget": [{"type": "gauge", "pins": ["V0"]}]}}, "header: widget 1 (gauge): unknown type"),
        ({"page": [PAGE, PAGE]}, "page 'more' is used 2 times"),
        ({"page": [PAGE | {"id": str(n)} for n in range(21)]}, "at most 20 pages"),
        ({"page": [PAGE | {"id": str(n), "kind": "info"} for n in range(8)]}, "at most 7 pages of kind info"),
        ({"page": [PAGE | {"id": str(n), "kind": "welcome"} for n in range(2)]}, "at most 1 page of kind welcome"),
        ({"page": [PAGE | {"id": "../x"}]}, "id must be 1 to 40 letters"),
        ({"page": [PAGE | {"name": ""}]}, "name must have 1 to 64"),
        ({"page": [PAGE | {"size": 5}]}, "size must be 10 to 100 percent, not 5"),
        ({"page": [PAGE | {"roles": ["Admin"]}]}, "only one of kind info can have roles"),
        ({"page": [PAGE | {"url": "https://example.org"}]}, "only one of kind welcome can have a url"),
        ({"page": [PAGE | {"kind": "welcome", "url": "file:///etc/passwd"}]}, "url must be an http:// or https://"),
        (
            {"page": [PAGE | {"kind": "welcome", "url": "https://example.org", "widget": [widget("text")]}]},
            "it can have one of both",
        ),
        ({"page": [PAGE | {"widget": [widget("gauge", "V0", x=6)]}]}, "page 'more', widget 1 (gauge): the widget does"),
    ],
)
def test_invalid_mobile_dashboard_is_rejected(mobile, error):
    assert error in errors_of(mobile=mobile)


def opening(page, *targets):
    """A page whose buttons open other pages."""
    buttons = [widget("button", y=3 * n, options={"mode": "page", "page": t}) for n, t in enumerate(targets)]
    return {"id": page, "name": page, "widget": buttons}


def test_pages_that_open_each_other_in_a_circle_are_rejected():
    assert "circle: a -> a" in errors_of(mobile={"page": [opening("a", "a")]})
    circle = [opening("start", "end", "a"), opening("a", "b"), opening("b", "c"), opening("c", "end", "a")]
    assert "circle: a -> b -> c -> a" in errors_of(mobile={"page": [*circle, opening("end")]})


def test_pages_may_be_opened_from_several_others():
    pages = [opening("start", "a", "b"), opening("a", "end"), opening("b", "end"), opening("end")]
    assert "" == errors_of(mobile={"page": pages})


def test_circle_of_many_pages_is_found_at_once():
    # Every page opens every later one: there are 2^19 ways from the first to the last.
    names = [f"p{n}" for n in range(20)]
    pages = [opening(name, *names[n + 1 :]) for n, name in enumerate(names)]
    assert "" == errors_of(mobile={"page": pages})


def test_map_widget_needs_raw_history():
    changes = {
        "datastream": [{"pin": "V4", "name": "Where", "type": "location", "history": "minute"}],
        "web": {"tab": [tab(widget("map", "V4"))]},
    }
    assert 'V4 needs history = "raw"' in errors_of(**changes)


@pytest.mark.parametrize("kind", ["web", "mobile"])
def test_widgets_accept_exactly_their_documented_datastream_types(kind):
    cls = {"web": Dashboard, "mobile": MobileDashboard}[kind]
    for name, widget_type in widgets.KINDS[kind].items():
        for of_type in ("integer", "double", "string", "enum", "location"):
            count = max(widget_type.min_datastreams, 1)
            streams = tuple(
                Datastream(id=i + 1, pin=i, name=f"S{i}", type=of_type, values={0: "A"} if of_type == "enum" else {})
                for i in range(count)
            )
            of_kind = Widget(type=name, pins=tuple(f"V{i}" for i in range(count if widget_type.max_datastreams else 0)))
            dashboard = cls(tab=(Tab(name="A", widget=(of_kind,)),))
            template = Template(id="T", name="T", datastreams=streams, **{kind: dashboard})
            fits = of_type in widget_type.types or not widget_type.max_datastreams
            assert fits == (not list(problems(template))), (name, of_type)


def test_catalogue_has_a_tile_of_each_type_and_no_unused_option():
    assert {*typing.get_args(TileType)} == {*widgets.TILES}
    catalogues = (widgets.WEB, widgets.MOBILE, widgets.HEADER, widgets.TILES)
    used = {name for types in catalogues for widget_type in types.values() for name in widget_type.options}
    assert used == {*widgets.OPTIONS}


def test_default_of_every_option_is_a_valid_value():
    for types in (widgets.WEB, widgets.MOBILE, widgets.HEADER, widgets.TILES):
        for name, widget_type in types.items():
            for key, option in widget_type.options.items():
                if option.default is not None:
                    assert None is widgets.option_problem(option, option.default), (name, key)


def test_difference_names_the_changed_parts_of_a_dashboard():
    web = {"tab": [tab(widget("gauge", "V0")), tab(name="Old"), tab(name="Same")]}
    old = read(with_changes(web=web, mobile={"tab": [tab()], "page": [PAGE]}))
    web = {"tab": [tab(widget("gauge", "V1")), tab(name="Same"), tab(name="New")]}
    new = read(with_changes(web=web, mobile={"tab": [tab()], "page": [PAGE | {"size": 60}], "tile": {"icon": "sofa"}}))
    assert ["~ web: + tab New, ~ tab Now, - tab Old", "~ mobile: ~ page more, ~ tile"] == difference(old, new)[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PINS = st.lists(st.sampled_from(["V0", "V1", "V2", "V3", "V4", "v0", ""]), max_size=3)
OPTIONS = st.dictionaries(st.sampled_from(["min", "max", "labels", "mode", "page", "ranges", "x"]), JSON, max_size=2)


def widgets_of(types):
    return st.fixed_dictionaries(
        {"type": st.sampled_from([*types]) | JSON},
        optional={
            "pins": PINS | JSON,
            "x": st.integers(-3, 30) | JSON,
            "width": st.integers(-3, 30) | JSON,
            "options": OPTIONS | JSON,
            "title": JSON,
        },
    )


def tabs_of(types):
    tabs = st.fixed_dictionaries({"name": st.text(max_size=3), "widget": st.lists(widgets_of(types), max_size=3)})
    return st.lists(tabs, max_size=2) | JSON


MOBILES = st.fixed_dictionaries(
    {},
    optional={
        "tab": tabs_of(widgets.MOBILE),
        "tile": st.fixed_dictionaries({"type": st.sampled_from([*widgets.TILES]), "pins": PINS, "options": OPTIONS})
        | JSON,
        "header": st.fixed_dictionaries({"widget": st.lists(widgets_of(widgets.HEADER), max_size=3)}) | JSON,
        "page": st.lists(st.fixed_dictionaries({"id": st.sampled_from("ab"), "name": st.just("Page")}) | JSON) | JSON,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(tabs_of(widgets.WEB), MOBILES | JSON)
def test_any_dashboard_is_rejected_with_errors_or_survives_a_round_trip(tabs, mobile):
    try:
        template = read(with_changes(web={"tab": tabs}, mobile=mobile))
    except BadTemplate as error:
        assert error.problems
    else:
        assert template == read(to_document(template))
