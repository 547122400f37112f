"""Widgets of dashboards: their types and options, and the validation of a template's dashboards.

A dashboard defines the positions of widgets and their datastreams; the appearance of a widget is left to the program
that draws it, in a browser, on a phone or in a terminal. The types, with their datastreams and options, are those of
docs.blynk.io, Web Dashboard and Mobile App Dashboard.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from hub.parsing.spellings import is_name, is_printable

if TYPE_CHECKING:
    from hub.model import Dashboard, Datastream, Template, Widget

#: Types of datastreams that a widget may have.
NUMBERS = frozenset({"integer", "double"})
INTEGERS = frozenset({"integer"})
CHOICES = frozenset({"integer", "enum"})
TEXTS = frozenset({"string"})
PLACES = frozenset({"location"})
ANY = NUMBERS | TEXTS | PLACES | {"enum"}


@attrs.frozen(kw_only=True)
class WidgetType:
    """A type of widget, with ``min_datastreams`` to ``max_datastreams`` datastreams of the ``types``.

    With ``writes``, users change the datastreams by the widget. ``options`` are the keys of its settings. With ``raw``,
    the datastreams must store every value.
    """

    types: frozenset[str]
    min_datastreams: int = 1
    max_datastreams: int = 1
    writes: bool = False
    options: frozenset[str] = frozenset()
    raw: bool = False


def _widget(
    types: frozenset[str],
    options: str = "",
    *,
    min_datastreams: int = 1,
    max_datastreams: int = 1,
    writes: bool = False,
    raw: bool = False,
) -> WidgetType:
    return WidgetType(
        types=types,
        min_datastreams=min_datastreams,
        max_datastreams=max_datastreams,
        writes=writes,
        options=frozenset(options.split()),
        raw=raw,
    )


_RANGE = "min max"
_SWITCH = "on_value off_value on_label off_label"

WEB: Mapping[str, WidgetType] = {
    "slider": _widget(NUMBERS, f"{_RANGE} step fine send_on_release", writes=True),
    "switch": _widget(NUMBERS, _SWITCH, writes=True),
    "number_input": _widget(NUMBERS, f"{_RANGE} step loop", writes=True),
    "button": _widget(NUMBERS, f"{_SWITCH} mode", writes=True),
    "image_button": _widget(INTEGERS, "mode on_url off_url", writes=True),
    "web_page_image_button": _widget(INTEGERS, "url image"),
    "led": _widget(NUMBERS, _RANGE),
    "gauge": _widget(NUMBERS, f"{_RANGE} thresholds"),
    "radial_gauge": _widget(NUMBERS, f"{_RANGE} thresholds"),
    "label": _widget(ANY, "level thresholds"),
    "gradient_ramp": _widget(NUMBERS, _RANGE),
    "bitmask_table": _widget(INTEGERS, "rows inverse hide_false"),
    "alarm": _widget(INTEGERS, "sound"),
    "image_gallery": _widget(INTEGERS, "urls"),
    "chart": _widget(NUMBERS, "kind aggregate autoscale", max_datastreams=10),
    "custom_chart": _widget(ANY, "kind aggregate sample", max_datastreams=10, raw=True),
    "heatmap": _widget(NUMBERS | {"enum"}, "aggregate", max_datastreams=5),
    "map": _widget(PLACES, "track gap direction", raw=True),
    "video": _widget(TEXTS),
    "text_input": _widget(TEXTS, writes=True),
    "terminal": _widget(TEXTS, "newline autoscroll input", writes=True),
    "segmented_switch": _widget(CHOICES, "labels", writes=True),
    "menu": _widget(CHOICES, "labels", writes=True),
}
MOBILE: Mapping[str, WidgetType] = {
    "button": _widget(NUMBERS | TEXTS, f"{_SWITCH} mode page", writes=True),
    "styled_button": _widget(NUMBERS, f"{_SWITCH} mode page", writes=True),
    "icon_button": _widget(NUMBERS, f"{_SWITCH} mode page icon", writes=True),
    "image_button": _widget(NUMBERS, "mode on_url off_url", writes=True),
    "slider": _widget(NUMBERS, f"{_RANGE} step send_on_release write_interval", writes=True),
    "vertical_slider": _widget(NUMBERS, f"{_RANGE} step send_on_release write_interval", writes=True),
    "level_slider": _widget(NUMBERS, f"{_RANGE} step", writes=True),
    "level_slider_switch": _widget(NUMBERS, f"{_RANGE} step", min_datastreams=2, max_datastreams=2, writes=True),
    "step": _widget(NUMBERS, f"{_RANGE} step loop", writes=True),
    "numeric_input": _widget(NUMBERS, f"{_RANGE} step", writes=True),
    "switch": _widget(NUMBERS, _SWITCH, writes=True),
    "joystick": _widget(NUMBERS | TEXTS, "auto_return", max_datastreams=2, writes=True),
    "zergba": _widget(NUMBERS | TEXTS, max_datastreams=3, writes=True),
    "rgb_light": _widget(NUMBERS | TEXTS, max_datastreams=4, writes=True),
    "slope_control": _widget(TEXTS, writes=True),
    "value": _widget(NUMBERS | TEXTS | {"enum"}, "format"),
    "labeled_value": _widget(NUMBERS | TEXTS | {"enum"}, "format"),
    "led": _widget(NUMBERS, _RANGE),
    "level": _widget(NUMBERS, f"{_RANGE} direction"),
    "gauge": _widget(NUMBERS, f"{_RANGE} thresholds"),
    "radial_gauge": _widget(NUMBERS, f"{_RANGE} thresholds"),
    "enhanced_gauge": _widget(NUMBERS, f"{_RANGE} thresholds"),
    "gradient_ramp": _widget(NUMBERS, _RANGE),
    "lcd": _widget(NUMBERS | TEXTS, "advanced", max_datastreams=2),
    "icon": _widget(CHOICES, "icons"),
    "image_gallery": _widget(INTEGERS, "urls"),
    "image_animation": _widget(TEXTS, "url"),
    "terminal": _widget(TEXTS, "history input", writes=True),
    "video": _widget(TEXTS),
    "simple_chart": _widget(NUMBERS, "kind aggregate ranges"),
    "super_chart": _widget(NUMBERS, "kind aggregate ranges", max_datastreams=4),
    "menu": _widget(CHOICES, "labels", writes=True),
    "segmented_switch": _widget(CHOICES, "labels", writes=True),
    "icon_segmented_switch": _widget(CHOICES, "icons", writes=True),
    "text_input": _widget(TEXTS, "limit", writes=True),
    "time_input": _widget(TEXTS, writes=True),
    "map": _widget(PLACES | TEXTS),
    "music_player": _widget(TEXTS, writes=True),
    "text": _widget(ANY, "text", min_datastreams=0, max_datastreams=0),
    "web_page_button": _widget(ANY, "url text", min_datastreams=0, max_datastreams=0),
    "alias": _widget(ANY),
}
KINDS = {"web": WEB, "mobile": MOBILE}

#: Tabs of a dashboard (docs.blynk.io). Users of all roles see the first one.
MAX_TABS = {"web": 4, "mobile": 20}
#: Columns and rows of the grid, and widgets of a tab.
COLUMNS, MAX_ROWS, MAX_WIDGETS = 24, 500, 200
MAX_TITLE = 64


def problems(template: Template) -> list[str]:
    """Return the problems of a template's dashboards, a line each."""
    by_pin = {f"V{stream.pin}": stream for stream in template.datastreams}
    lines = []
    for kind, dashboard in (("web", template.web), ("mobile", template.mobile)):
        lines += [f"{kind}: {problem}" for problem in _dashboard_problems(kind, dashboard, by_pin)]
    return lines


def _dashboard_problems(kind: str, dashboard: Dashboard, by_pin: Mapping[str, Datastream]) -> Iterable[str]:
    if len(dashboard.tab) > MAX_TABS[kind]:
        yield f"there can be at most {MAX_TABS[kind]} tabs"
    names = [tab.name for tab in dashboard.tab]
    for name in dict.fromkeys(names):
        if not is_name(name, MAX_TITLE):
            yield f"tab {name[:20]!r}: a name must have 1 to {MAX_TITLE} printable characters"
        if names.count(name) > 1:
            yield f"tab {name!r} is used {names.count(name)} times"
    if dashboard.tab and dashboard.tab[0].roles:
        yield f"tab {dashboard.tab[0].name!r}: the first tab is for all roles and cannot have roles of its own"
    maps = 0
    for tab in dashboard.tab:
        if len(tab.widget) > MAX_WIDGETS:
            yield f"tab {tab.name!r}: there can be at most {MAX_WIDGETS} widgets"
        maps += sum(widget.type == "map" for widget in tab.widget)
        for number, widget in enumerate(tab.widget, 1):
            where = f"tab {tab.name!r}, widget {number}"
            for problem in _widget_problems(kind, widget, by_pin):
                yield f"{where} ({widget.type[:30]}): {problem}"
        yield from (f"tab {tab.name!r}: {problem}" for problem in _overlap_problems(tab.widget))
    if kind == "web" and maps > 1:
        yield "there can be at most one map"


def _widget_problems(kind: str, widget: Widget, by_pin: Mapping[str, Datastream]) -> Iterable[str]:
    widget_type = KINDS[kind].get(widget.type)
    if widget_type is None:
        yield f"unknown type of widget; the types are {', '.join(KINDS[kind])}"
        return
    pins = [pin.upper() for pin in widget.pins]
    low, high = widget_type.min_datastreams, widget_type.max_datastreams
    if not low <= len(pins) <= high:
        yield f"pins: the widget needs {low if low == high else f'{low} to {high}'} datastreams, not {len(pins)}"
    if len(set(pins)) < len(pins):
        yield "pins: a pin is used twice"
    for pin in pins:
        stream = by_pin.get(pin)
        if stream is None:
            yield f"pins: the template has no {pin[:10]}"
        elif stream.type not in widget_type.types:
            yield f"pins: {pin} is of type {stream.type}, and the widget needs {', '.join(sorted(widget_type.types))}"
        elif widget_type.raw and stream.history != "raw":
            yield f'pins: {pin} needs history = "raw"'
    for key in widget.options.keys() - widget_type.options:
        known = ", ".join(sorted(widget_type.options)) or "none"
        yield f"options: unknown option {key[:30]!r}; the options are {known}"
    for key, value in widget.options.items():
        if not all(_is_setting(item) for item in (value if isinstance(value, list) else [value])):
            yield f"options: {key[:30]} must be text, a number, true or false, or a list of them"
    if len(widget.title) > MAX_TITLE or not is_printable(widget.title):
        yield f"title must have at most {MAX_TITLE} printable characters"
    if not _fits(widget):
        yield f"the widget does not fit the grid of {COLUMNS} columns and {MAX_ROWS} rows"


def _is_setting(value: object) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _fits(widget: Widget) -> bool:
    """Whether a widget is within the grid."""
    columns, rows = widget.x + widget.width, widget.y + widget.height
    return 0 <= widget.x < columns <= COLUMNS and 0 <= widget.y < rows <= MAX_ROWS


def _overlap_problems(widgets: Sequence[Widget]) -> Iterable[str]:
    """Yield a problem for each widget that overlaps another one."""
    occupied: dict[tuple[int, int], int] = {}
    for number, widget in enumerate(widgets, 1):
        if not _fits(widget):
            continue
        columns = range(widget.x, widget.x + widget.width)
        cells = [(x, y) for x in columns for y in range(widget.y, widget.y + widget.height)]
        if other := next((occupied[cell] for cell in cells if cell in occupied), None):
            yield f"widget {number} overlaps widget {other}"
        occupied |= dict.fromkeys(cells, number)
