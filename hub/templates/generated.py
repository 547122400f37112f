"""The dashboard of a template that has none: generated from its datastreams, by one rule for every client.

1. The datastreams are those that the template's other dashboard displays, in its reading order; without such a
   dashboard, all datastreams by pin.
2. A datastream is writable if users can change it by the other dashboard or by an automation, if the device confirms
   writes, or if its semantic tag is one of a control.
3. Each datastream has the widget that `_widget_type` chooses by its type, its limits and whether it is writable. A
   chart follows, with the numbers that have a history.
4. The widgets fill the grid row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hub.model import Dashboard, DashboardKind, Datastream, MobileDashboard, Tab, Template, Tile, Widget
from hub.templates.widgets import COLUMNS, MOBILE, WEB

#: The name of the only tab.
TAB = "Dashboard"
#: Datastreams with a widget, and those in the chart.
MAX_DATASTREAMS, MAX_IN_CHART = 100, 4
#: Values of an enum that fit a segmented switch.
MAX_SEGMENTS = 4
#: Semantic tags of datastreams that users change.
CONTROLS = frozenset(
    {"Switch", "Power Switch", "Brightness", "Color", "Reboot", "Target Temperature", "Fan Speed", "Position"}
)

#: Width and height of the widgets; `_SIZE` is that of all others.
_SIZES: dict[DashboardKind, dict[str, tuple[int, int]]] = {
    "web": {"slider": (12, 4), "map": (12, 8), "terminal": (12, 8), "chart": (24, 8)},
    "mobile": {
        "switch": (4, 2), "led": (4, 2), "labeled_value": (4, 2), "gauge": (4, 4), "map": (8, 6), "terminal": (8, 6),
        "super_chart": (8, 6),
    },
}  # fmt: skip
_SIZE: dict[DashboardKind, tuple[int, int]] = {"web": (6, 4), "mobile": (8, 2)}


def web_dashboard(template: Template) -> Dashboard:
    """Return the dashboard in a browser: the template's own, or a generated one if that has no tabs."""
    return template.web if template.web.tab else Dashboard(tab=_tabs(template, "web", template.mobile.tab))


def mobile_dashboard(template: Template) -> MobileDashboard:
    """Return the dashboard on a phone: the template's own, with a generated tile or tab where it has none."""
    own = template.mobile
    return MobileDashboard(
        tile=own.tile if own.tile != Tile() else _tile(template),
        header=own.header,
        tab=own.tab or _tabs(template, "mobile", template.web.tab),
        page=own.page,
    )


def writable_pins(template: Template) -> frozenset[str]:
    """Return the pins ("V1") of the datastreams that users can change."""
    mobile = template.mobile
    areas = ((WEB, template.web.tab), (MOBILE, mobile.tab), (MOBILE, mobile.page))
    by_widget = {
        pin.upper()
        for types, tabs in areas
        for tab in tabs
        for widget in tab.widget
        if (widget_type := types.get(widget.type)) is not None and widget_type.writes
        for pin in widget.pins
    }
    controls = {f"V{d.pin}" for d in template.datastreams if _is_control(d)}
    return frozenset(by_widget | controls | ({mobile.tile.control.upper()} - {""}))


def _is_control(datastream: Datastream) -> bool:
    is_action = datastream.automation is not None and datastream.automation.action
    return is_action or bool(datastream.confirm) or not CONTROLS.isdisjoint(datastream.tags)


def _tabs(template: Template, kind: DashboardKind, other: Sequence[Tab]) -> tuple[Tab, ...]:
    datastreams = _datastreams(template, other)
    if not datastreams:
        return ()
    writable = writable_pins(template)
    widgets = [Widget(type=_widget_type(d, kind, writable), pins=(f"V{d.pin}",)) for d in datastreams]
    in_chart = [f"V{d.pin}" for d in datastreams if _is_measurement(d)][:MAX_IN_CHART]
    if in_chart:
        widgets.append(Widget(type="chart" if kind == "web" else "super_chart", pins=tuple(in_chart)))
    return (Tab(name=TAB, widget=tuple(_placed(widgets, kind))),)


def _datastreams(template: Template, other: Iterable[Tab]) -> list[Datastream]:
    """Return the datastreams in the order of their widgets."""
    by_pin = {f"V{d.pin}": d for d in sorted(template.datastreams, key=lambda d: d.pin)}
    shown = [
        pin.upper()
        for tab in other
        for widget in sorted(tab.widget, key=lambda widget: (widget.y, widget.x))
        for pin in widget.pins
    ]
    pins = dict.fromkeys(pin for pin in shown if pin in by_pin) or by_pin
    return [by_pin[pin] for pin in pins][:MAX_DATASTREAMS]


def _is_two_valued(datastream: Datastream) -> bool:
    is_switch = datastream.automation is not None and datastream.automation.type in ("switch", "power_switch")
    return datastream.type == "integer" and (is_switch or (datastream.min, datastream.max) == (0, 1))


def _is_measurement(datastream: Datastream) -> bool:
    is_number = datastream.type in ("integer", "double")
    return is_number and datastream.history != "off" and not _is_two_valued(datastream)


def _widget_type(datastream: Datastream, kind: DashboardKind, writable: frozenset[str]) -> str:
    is_writable = f"V{datastream.pin}" in writable
    value = "label" if kind == "web" else "labeled_value"
    if datastream.type == "location":
        return "map" if datastream.history == "raw" else value
    if datastream.type == "string":
        return "terminal" if "Debug Commands" in datastream.tags else "text_input" if is_writable else value
    if datastream.type == "enum":
        few = len(datastream.values) <= MAX_SEGMENTS
        return value if not is_writable else "segmented_switch" if few else "menu"
    if _is_two_valued(datastream):
        return "switch" if is_writable else "led"
    is_limited = datastream.min is not None and datastream.max is not None
    if is_writable:
        return "slider" if is_limited else "number_input" if kind == "web" else "numeric_input"
    return "gauge" if is_limited else value


def _placed(widgets: Iterable[Widget], kind: DashboardKind) -> Iterator[Widget]:
    """Yield the widgets with their places and sizes, row by row."""
    x = y = row_height = 0
    for widget in widgets:
        width, height = _SIZES[kind].get(widget.type, _SIZE[kind])
        if x + width > COLUMNS[kind]:
            x, y, row_height = 0, y + row_height, 0
        yield Widget(type=widget.type, pins=widget.pins, x=x, y=y, width=width, height=height)
        x, row_height = x + width, max(row_height, height)


def _tile(template: Template) -> Tile:
    """Return a tile with the first measurement, and the first switch as its control."""
    datastreams = _datastreams(template, template.mobile.tab or template.web.tab)
    writable = writable_pins(template)
    switches = [f"V{d.pin}" for d in datastreams if _is_two_valued(d) and f"V{d.pin}" in writable]
    values = [f"V{d.pin}" for d in datastreams if _is_measurement(d)]
    values += [f"V{d.pin}" for d in datastreams if f"V{d.pin}" not in {*values, *switches}]
    battery = next((f"V{d.pin}" for d in datastreams if "Battery Level" in d.tags), "")
    pins = tuple(values[:1])
    return Tile(
        type="value" if pins else "button" if switches else "image",
        subtitle="battery_level" if battery and battery not in pins else "connection_status",
        pins=pins,
        control=switches[0] if switches else "",
        battery=battery,
    )
