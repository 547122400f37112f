"""The catalogue of widgets: the types of each part of a dashboard, the datastreams that they accept, and their options.

A dashboard defines the positions of widgets and their datastreams; the appearance of a widget is left to the program
that draws it, in a browser, on a phone or in a terminal. The types, with their datastreams and options, are those of
docs.blynk.io, Web Dashboard and Mobile App Dashboard. ``GET /api/v1/widgets`` returns them as JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import attrs

from hub.model import DashboardKind, DataType, TileType
from hub.parsing.spellings import is_printable

#: Types of datastreams that a widget may have.
_Types = frozenset[DataType]
NUMBERS: _Types = frozenset({"integer", "double"})
INTEGERS: _Types = frozenset({"integer"})
CHOICES: _Types = frozenset({"integer", "enum"})
TEXTS: _Types = frozenset({"string"})
PLACES: _Types = frozenset({"location"})
ENUMS: _Types = frozenset({"enum"})
ANY = NUMBERS | TEXTS | PLACES | ENUMS

#: The value of an option: ``value`` is a number or text, ``image`` the address of an image, ``page`` the id of a page.
#: The kinds in the plural are lists.
OptionKind = Literal[
    "number", "integer", "boolean", "text", "value", "color", "url", "image", "page", "choice",
    "numbers", "texts", "colors", "images", "choices",
]  # fmt: skip
#: The largest number in an option.
MAX_NUMBER = 1e15
#: Characters of a text and of an address in an option, and items of a list unless the option has another limit.
MAX_TEXT, MAX_URL, MAX_ITEMS = 250, 1024, 50


@attrs.frozen(kw_only=True)
class Option:
    """An option of widgets. One that is missing has the ``default``; if that is None, the datastream's own setting, or
    none.

    A choice is one of ``choices``. A number is between ``min`` and ``max``; a text has at most ``max`` characters, a
    list at most ``max`` items.
    """

    kind: OptionKind
    summary: str
    default: Any = None
    choices: tuple[str | int, ...] = ()
    min: float | None = None
    max: float | None = None


def _choice(summary: str, *choices: str | int) -> Option:
    """Return an option with one of ``choices``; the first one is the default."""
    return Option(kind="choice", summary=summary, default=choices[0], choices=choices)


def _flag(summary: str, *, default: bool = False) -> Option:
    return Option(kind="boolean", summary=summary, default=default)


#: Settings of charts' buttons (docs.blynk.io, Chart).
_RANGES = ("1h", "6h", "12h", "1d", "1w", "1m", "3m", "1y")

#: Every option, by name. A widget may narrow the choices of one.
OPTIONS: Mapping[str, Option] = {
    # Design, of every widget.
    "color": Option(kind="color", summary="its main color"),
    "size": _choice("the size of its text", "medium", "small", "large"),
    "align": _choice("the alignment of its title", "left", "center", "right"),
    # Numbers.
    "min": Option(kind="number", summary="the lower end of its scale"),
    "max": Option(kind="number", summary="the upper end of its scale"),
    "step": Option(kind="number", summary="the difference between two values", min=0),
    "fine": _flag("whether it has buttons for small steps"),
    "fine_step": Option(kind="number", summary="the size of a small step", min=0),
    "loop": _flag("whether a step beyond one end goes to the other"),
    "send_step": _flag("whether it sends the step with its sign, instead of the sum"),
    "send_on_release": _flag("whether it sends the value when it is released only", default=True),
    "write_interval": Option(
        kind="integer", summary="ms between two values while it is moved", default=200, min=50, max=10_000
    ),
    "show_value": _flag("whether it displays the value", default=True),
    "value_position": _choice("the place of the value", "right", "left"),
    "thresholds": Option(kind="numbers", summary="rising values; the color changes at each of them"),
    "colors": Option(kind="colors", summary="the colors below, between and above the thresholds", max=MAX_ITEMS + 1),
    "direction": _choice("its direction", "horizontal", "vertical"),
    "segments": Option(kind="integer", summary="its segments; 0 is a filled bar", default=0, min=0, max=10),
    "level": _choice("the bar behind the value", "none", "horizontal", "vertical"),
    "ramp": _choice("the order of the colors", "ascending", "descending", "solid"),
    "change_since": _choice("the time of the trend", "1h", "15m", "30m", "3h", "6h", "12h", "1d"),
    "ignore_change": Option(kind="number", summary="the change up to which there is no trend", default=0, min=0),
    # Switches and buttons.
    "on_value": Option(kind="value", summary="the value when it is on; by default the datastream's max, or 1"),
    "off_value": Option(kind="value", summary="the value when it is off; by default the datastream's min, or 0"),
    "on_label": Option(kind="text", summary="its text when it is on"),
    "off_label": Option(kind="text", summary="its text when it is off"),
    "on_url": Option(kind="image", summary="its image when it is on"),
    "off_url": Option(kind="image", summary="its image when it is off"),
    "label_position": _choice("the place of the text", "right", "left"),
    "hide_name": _flag("whether it has no title"),
    "mode": _choice(
        "what a touch does: push the on value while it lasts, switch to the other value, open a page, scan a code",
        "push",
        "switch",
        "page",
        "qr",
    ),
    "page": Option(kind="page", summary="the page that it opens"),
    "edges": _choice("the shape of its corners", "rounded", "sharp", "pill"),
    "fit": _choice("how an image fills its place", "fit", "fill"),
    "icon": Option(kind="text", summary="its icon", max=50),
    # Choices.
    "labels": Option(kind="texts", summary="the texts of the values, from 0 or from the datastream's min"),
    "icons": Option(kind="texts", summary="the icons of the values, from 0 or from the datastream's min"),
    # Text and lists.
    "text": Option(kind="text", summary="its text"),
    "format": Option(
        kind="text", summary="the text around the value, such as `/value/ °C` or `/value.#/`", default="/value/"
    ),
    "limit": Option(kind="integer", summary="the most characters of a text", default=255, min=1, max=1024),
    "newline": _flag("whether it sends a line end after the user's text"),
    "autoscroll": _flag("whether it scrolls to the newest line", default=True),
    "input": _flag("whether users can write to it", default=True),
    "history": _choice("the lines that it displays when it opens", 25, 10, 0),
    "advanced": _flag("whether the device sends commands (`clr`, `p` with x, y and text) instead of lines"),
    "rows": Option(kind="texts", summary="the names of the bits, from the lowest one"),
    "inverse": _flag("whether a bit of 0 is on"),
    "hide_false": _flag("whether only the bits that are on are displayed"),
    "sound": _choice("the sound while it rings", "alarm", "bell", "siren"),
    "time_format": _choice("the format of a time", "HH:mm", "HH:mm:ss", "hh:mm a", "hh:mm:ss a"),
    "start_stop": _flag("whether it has a second time, the end", default=True),
    "weekdays": _flag("whether it has days of the week", default=True),
    "sun": _flag("whether sunrise and sunset are times", default=True),
    "timezone": _flag("whether it has a time zone", default=True),
    "editable": _flag("whether users can change it", default=True),
    # Images, links and media.
    "url": Option(kind="url", summary="its address, with `/deviceID/`, `/userID/` and other placeholders"),
    "image": Option(kind="image", summary="its image"),
    "urls": Option(kind="images", summary="its images, by the value, from 0", max=20),
    "in_browser": _flag("whether its address opens in a browser"),
    "opacity": Option(kind="number", summary="its opacity in percent", default=100, min=0, max=100),
    "scale": Option(kind="number", summary="its size in percent", default=100, min=0, max=100),
    "rotation": Option(kind="number", summary="its rotation in degrees", default=0, min=0, max=360),
    "autoplay": _flag("whether it begins by itself"),
    # Charts.
    "kind": _choice("how it draws values", "line", "area", "bar", "step", "state"),
    "aggregate": _choice("what a point is of the values in its time", "avg", "min", "max", "sum", "raw"),
    "sample": Option(kind="integer", summary="every how many values are drawn", default=1, min=1, max=1000),
    "autoscale": _flag("whether its scale follows the values", default=True),
    "ranges": Option(
        kind="choices", summary="its buttons", default=["1h", "6h", "1d", "1w", "1m"], choices=_RANGES, max=7
    ),
    "legend": _flag("whether it has a legend", default=True),
    "connect": _flag("whether it draws a line over missing points"),
    "zero_line": _flag("whether it has a line at 0"),
    "summary": _flag("whether it displays minimum, average and maximum"),
    "scale_of": _choice("the ends of its scale: the datastream's, the values', the values' and 0, or `min` and `max`",
                        "datastream", "values", "values_and_zero", "fixed"),
    # Maps and controls of several values.
    "track": _flag("whether it draws the way of the device"),
    "gap": Option(kind="integer", summary="minutes without values that end it", default=60, min=1, max=10_080),
    "course": _flag("whether it draws the direction of the way"),
    "point": _choice("how it draws the device", "point", "course", "truck", "name"),
    "auto_return": _flag("whether it returns to its middle when it is released", default=True),
    "rotate_on_tilt": _flag("whether it turns with the phone"),
    "grid": _flag("whether it has a grid", default=True),
    "brightness": _flag("whether it has a brightness", default=True),
    "multiplier": Option(kind="integer", summary="its height in rows", default=1, min=1, max=24),
    # Of the header and the tile.
    "style": _choice("how it is drawn", "icon", "label", "icon_and_label"),
    "out_of_range": _choice("the image of a value without one", "empty", "nearest"),
    "line_width": _choice("the width of its line", "medium", "thin", "thick"),
    "indicator": _choice("the mark at its value", "none", "dot", "tick"),
    "on_color": Option(kind="color", summary="its color when it is on"),
    "off_color": Option(kind="color", summary="its color when it is off"),
}  # fmt: skip
#: The design options of every widget of a tab or page.
DESIGN = frozenset({"color", "size", "align"})


@attrs.frozen(kw_only=True)
class WidgetType:
    """A type of widget, with ``min_datastreams`` to ``max_datastreams`` datastreams of the ``types``.

    With ``writes``, users change the datastreams by the widget. With ``raw``, the datastreams must store every value.
    """

    types: frozenset[DataType]
    options: Mapping[str, Option]
    min_datastreams: int = 1
    max_datastreams: int = 1
    writes: bool = False
    raw: bool = False


def _widget(
    types: frozenset[DataType],
    options: str = "",
    *,
    narrowed: Mapping[str, Sequence[str]] | None = None,
    design: bool = True,
    min_datastreams: int = 1,
    max_datastreams: int = 1,
    writes: bool = False,
    raw: bool = False,
) -> WidgetType:
    """Return a type with the named options; of those in ``narrowed`` the choices are these, and the first one is the
    default.
    """
    names = [*options.split(), *(DESIGN if design else ())]
    chosen = {name: OPTIONS[name] for name in sorted(names)}
    for name, choices in (narrowed or {}).items():
        chosen[name] = attrs.evolve(chosen[name], choices=tuple(choices), default=choices[0])
    return WidgetType(
        types=types,
        min_datastreams=min_datastreams,
        max_datastreams=max_datastreams,
        writes=writes,
        options=chosen,
        raw=raw,
    )


_RANGE = "min max"
_COLORED = f"{_RANGE} thresholds colors"
_ON_OFF = "on_value off_value on_label off_label"
_SLIDE = f"{_RANGE} step show_value send_on_release write_interval"
_PUSH_OR_SWITCH = {"mode": ("push", "switch")}
_BUTTON = f"{_ON_OFF} mode page edges"

WEB: Mapping[str, WidgetType] = {
    "slider": _widget(NUMBERS, f"{_SLIDE} fine fine_step value_position", writes=True),
    "switch": _widget(NUMBERS | TEXTS, f"{_ON_OFF} label_position hide_name", writes=True),
    "number_input": _widget(NUMBERS, f"{_RANGE} step loop", writes=True),
    "button": _widget(NUMBERS, f"{_ON_OFF} mode", narrowed=_PUSH_OR_SWITCH, writes=True),
    "image_button": _widget(
        INTEGERS, "on_value off_value mode on_url off_url fit", narrowed=_PUSH_OR_SWITCH, writes=True
    ),
    "web_page_image_button": _widget(INTEGERS, "url image fit in_browser"),
    "led": _widget(NUMBERS, _RANGE),
    "gauge": _widget(NUMBERS, _COLORED),
    "radial_gauge": _widget(NUMBERS, _COLORED),
    "label": _widget(ANY, f"{_COLORED} level format"),
    "gradient_ramp": _widget(NUMBERS, f"{_RANGE} colors ramp show_value"),
    "bitmask_table": _widget(INTEGERS, "rows inverse hide_false label_position"),
    "alarm": _widget(INTEGERS, "sound"),
    "image_gallery": _widget(INTEGERS, "urls fit opacity scale rotation"),
    "chart": _widget(
        NUMBERS, f"{_RANGE} kind aggregate autoscale legend", narrowed={
            "kind": ("line", "area", "bar", "step"), "aggregate": ("avg", "min", "max"),
        }, max_datastreams=10,
    ),
    "custom_chart": _widget(
        ANY, "kind aggregate sample legend", narrowed={"aggregate": ("raw", "avg", "min", "max")},
        max_datastreams=10, raw=True,
    ),
    "heatmap": _widget(
        NUMBERS | ENUMS, "aggregate colors", narrowed={"aggregate": ("avg", "raw", "min", "max")}, max_datastreams=5
    ),
    "map": _widget(PLACES, "track gap course point", raw=True),
    "video": _widget(TEXTS, "autoplay"),
    "text_input": _widget(TEXTS, "limit", writes=True),
    "terminal": _widget(TEXTS, "newline autoscroll input", writes=True),
    "segmented_switch": _widget(CHOICES, "labels icons", writes=True),
    "menu": _widget(CHOICES, "labels", writes=True),
    "modules": _widget(ANY, "icon", min_datastreams=2, max_datastreams=10),
}  # fmt: skip
MOBILE: Mapping[str, WidgetType] = {
    "button": _widget(NUMBERS | TEXTS, _BUTTON, writes=True),
    "styled_button": _widget(NUMBERS | TEXTS, _BUTTON, writes=True),
    "icon_button": _widget(NUMBERS | TEXTS, f"{_BUTTON} icon", writes=True),
    "image_button": _widget(NUMBERS | TEXTS, "on_value off_value mode page on_url off_url fit", writes=True),
    "slider": _widget(NUMBERS, _SLIDE, writes=True),
    "vertical_slider": _widget(NUMBERS, _SLIDE, writes=True),
    "step_slider": _widget(NUMBERS, f"{_SLIDE} loop", writes=True),
    "vertical_step_slider": _widget(NUMBERS, f"{_SLIDE} loop", writes=True),
    "level_slider": _widget(NUMBERS, f"{_SLIDE} direction segments colors", writes=True),
    "level_slider_switch": _widget(
        NUMBERS, f"{_SLIDE} direction segments colors", min_datastreams=2, max_datastreams=2, writes=True
    ),
    "step": _widget(NUMBERS, f"{_RANGE} step loop send_step direction", writes=True),
    "numeric_input": _widget(NUMBERS, f"{_RANGE} step loop", writes=True),
    "switch": _widget(NUMBERS | TEXTS, _ON_OFF, writes=True),
    "joystick": _widget(NUMBERS | TEXTS, "auto_return rotate_on_tilt write_interval", max_datastreams=2, writes=True),
    "zergba": _widget(NUMBERS | TEXTS, "send_on_release write_interval", max_datastreams=3, writes=True),
    "rgb_light": _widget(NUMBERS | TEXTS, "brightness", max_datastreams=4, writes=True),
    "slope_control": _widget(TEXTS, "grid step", writes=True),
    "value": _widget(NUMBERS | TEXTS | ENUMS, "format"),
    "labeled_value": _widget(ANY, "format icon"),
    "formatted_text": _widget(ANY, "format page", min_datastreams=0),
    "led": _widget(NUMBERS, _RANGE),
    "level": _widget(NUMBERS | ENUMS, f"{_COLORED} direction segments show_value"),
    "gauge": _widget(NUMBERS, f"{_COLORED} show_value"),
    "radial_gauge": _widget(NUMBERS, f"{_COLORED} show_value"),
    "enhanced_gauge": _widget(NUMBERS, f"{_COLORED} change_since ignore_change"),
    "gradient_ramp": _widget(NUMBERS, f"{_RANGE} colors ramp show_value"),
    "lcd": _widget(NUMBERS | TEXTS, "advanced format", max_datastreams=2),
    "icon": _widget(CHOICES, "icons colors"),
    "image_gallery": _widget(INTEGERS, "urls fit opacity scale rotation"),
    "image_animation": _widget(TEXTS, "image loop autoplay"),
    "lottie_animation": _widget(TEXTS, "url loop autoplay"),
    "terminal": _widget(TEXTS, "history input newline", writes=True),
    "video": _widget(TEXTS, "autoplay"),
    "simple_chart": _widget(
        NUMBERS, f"{_RANGE} kind aggregate ranges scale_of zero_line summary connect",
        narrowed={"kind": ("line", "bar", "step"), "aggregate": ("avg", "sum")},
    ),
    "super_chart": _widget(
        NUMBERS, f"{_RANGE} kind aggregate ranges scale_of legend connect",
        narrowed={"aggregate": ("avg", "min", "max", "sum")}, max_datastreams=4,
    ),
    "menu": _widget(CHOICES, "labels", writes=True),
    "segmented_switch": _widget(CHOICES, "labels", writes=True),
    "icon_segmented_switch": _widget(CHOICES, "icons", writes=True),
    "text_input": _widget(TEXTS, "limit", writes=True),
    "time_input": _widget(TEXTS, "time_format start_stop weekdays sun timezone", writes=True),
    "map": _widget(PLACES | TEXTS, "track"),
    "music_player": _widget(TEXTS, writes=True),
    "text": _widget(ANY, "text", min_datastreams=0, max_datastreams=0),
    "dynamic_spacer": _widget(ANY, "multiplier", design=False, min_datastreams=0, max_datastreams=0),
    "web_page_button": _widget(ANY, "url text in_browser", min_datastreams=0, max_datastreams=0),
    "web_page_image_button": _widget(INTEGERS, "url image fit in_browser", min_datastreams=0),
    "alias": _widget(ANY, "editable"),
}  # fmt: skip
#: The small widgets of the header on a phone.
HEADER: Mapping[str, WidgetType] = {
    "image": _widget(INTEGERS, "urls fit out_of_range", design=False, min_datastreams=0),
    "battery": _widget(NUMBERS, f"{_RANGE} show_value", design=False),
    "signal": _widget(NUMBERS, f"{_RANGE} style format", design=False),
    "last_reported": _widget(ANY, "style", design=False, min_datastreams=0, max_datastreams=0),
    "connection_status": _widget(ANY, "style", design=False, min_datastreams=0, max_datastreams=0),
    "value": _widget(ANY, "format icon", design=False),
    "tags": _widget(ANY, design=False, min_datastreams=0, max_datastreams=0),
    "tabs": _widget(ANY, design=False, min_datastreams=0, max_datastreams=0),
}
_TILE_SWITCH = "on_value off_value on_color off_color"
#: The presets of the tile on a phone; the datastreams are those that it displays.
TILES: Mapping[TileType, WidgetType] = {
    "image": _widget(INTEGERS, f"{_TILE_SWITCH} color image urls fit", design=False, min_datastreams=0),
    "value": _widget(ANY, f"{_TILE_SWITCH} color format", design=False),
    "two_values": _widget(
        ANY, f"{_TILE_SWITCH} color image fit", design=False, min_datastreams=2, max_datastreams=2
    ),
    "three_values": _widget(ANY, f"{_TILE_SWITCH} color", design=False, min_datastreams=3, max_datastreams=3),
    "button": _widget(ANY, f"{_TILE_SWITCH} color on_label off_label", design=False, min_datastreams=0),
    "gauge": _widget(
        NUMBERS, f"{_TILE_SWITCH} {_COLORED} color line_width indicator style", design=False
    ),
    "level": _widget(NUMBERS, f"{_TILE_SWITCH} {_COLORED} color direction", design=False),
    "color": _widget(TEXTS | INTEGERS, _TILE_SWITCH, design=False, min_datastreams=0),
}  # fmt: skip
KINDS: Mapping[DashboardKind, Mapping[str, WidgetType]] = {"web": WEB, "mobile": MOBILE}
#: Columns of the grid of a dashboard, and its tabs (docs.blynk.io). Users of all roles see the first tab.
COLUMNS: Mapping[DashboardKind, int] = {"web": 24, "mobile": 8}
MAX_TABS: Mapping[DashboardKind, int] = {"web": 4, "mobile": 20}

_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
_URL = re.compile(r"https?://[^\s<>\"'`]+")
#: An image: an address, an asset of the template, or a file that the device has uploaded (docs.blynk.io, Assets).
_IMAGE = re.compile(rf"{_URL.pattern}|template_asset://[A-Za-z0-9_-]{{1,64}}|device_storage://[^\s/<>\"'`]+")


def option_problem(option: Option, value: object) -> str | None:
    """Return what is wrong with the value of an option, such as "must be true or false", or None."""
    if option.kind in _LISTS:
        return _list_problem(option, value)
    return _single_problem(option, option.kind, value)


#: The kinds of lists, with the kind of their items.
_LISTS: Mapping[str, OptionKind] = {
    "numbers": "number", "texts": "text", "colors": "color", "images": "image", "choices": "choice",
}  # fmt: skip


def _list_problem(option: Option, value: object) -> str | None:
    most = int(MAX_ITEMS if option.max is None else option.max)
    if not isinstance(value, list | tuple) or len(value) > most:
        return f"must be a list of at most {most}"
    item = attrs.evolve(option, min=None, max=None)
    for number, part in enumerate(value, 1):
        if problem := _single_problem(item, _LISTS[option.kind], part):
            return f"item {number} {problem}"
    if option.kind == "numbers" and any(low >= high for low, high in pairwise(value)):
        return "must be rising numbers"
    if option.kind == "choices" and len(set(value)) < len(value):
        return "must not repeat an item"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def _is_text(value: object, limit: float = MAX_TEXT) -> bool:
    return isinstance(value, str) and len(value) <= limit and is_printable(value)


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_URL and pattern.fullmatch(value) is not None


#: What a value of each kind is, and the words for it.
_CHECKS: Mapping[OptionKind, tuple[Callable[[Any], bool], str]] = {
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "value": (
        lambda value: _is_number(value) or _is_text(value),
        f"a number, or text of at most {MAX_TEXT} characters",
    ),
    "color": (lambda value: _matches(_COLOR, value), "a color like #24a0ed"),
    "url": (lambda value: _matches(_URL, value), f"an http:// or https:// address of at most {MAX_URL} characters"),
    "image": (
        lambda value: _matches(_IMAGE, value),
        "the https:// address of an image, or like template_asset://ID or device_storage://NAME",
    ),
    "page": (lambda value: isinstance(value, str), "the id of a page"),
}


def _single_problem(option: Option, kind: OptionKind, value: object) -> str | None:
    if kind == "choice":
        is_choice = isinstance(value, str | int) and not isinstance(value, bool) and value in option.choices
        return None if is_choice else f"must be one of {', '.join(map(str, option.choices))}"
    if kind in ("number", "integer"):
        low = -math.inf if option.min is None else option.min
        high = math.inf if option.max is None else option.max
        is_whole = kind == "number" or isinstance(value, int)
        if _is_number(value) and is_whole and low <= value <= high:  # type: ignore[operator]
            return None
        ends = [f"from {low:g}"] * (low > -math.inf) + [f"to {high:g}"] * (high < math.inf)
        return " ".join([f"must be a {'whole ' if kind == 'integer' else ''}number", *ends])
    if kind == "text":
        limit = int(MAX_TEXT if option.max is None else option.max)
        return None if _is_text(value, limit) else f"must be text of at most {limit} printable characters"
    is_valid, words = _CHECKS[kind]
    return None if is_valid(value) else f"must be {words}"
