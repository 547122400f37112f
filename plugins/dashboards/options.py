"""The options of each type of widget, and a description of them for programs that draw or edit dashboards.

A widget's options are structured as the class of its type: unknown keys and wrong types are rejected by name. Types
that are limited further are `Annotated` with a check, which raises ValueError and describes itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin, runtime_checkable

import attrs

from hub.api import json_name, optional, to_json
from hub.parsing.spellings import is_printable
from plugins.dashboards.model import MAX_PICKED, WidgetKind


@runtime_checkable
class Check(Protocol):
    """A check of a value; ``description`` are the keys that it adds to the description of an option."""

    @property
    def description(self) -> Mapping[str, Any]: ...

    def __call__(self, value: Any) -> None: ...


@attrs.frozen
class Chars:
    """Text of at most ``limit`` printable characters."""

    limit: int

    @property
    def description(self) -> Mapping[str, Any]:
        return {"max": self.limit}

    def __call__(self, value: str) -> None:
        if len(value) > self.limit or not is_printable(value):
            raise ValueError(f"must be text of at most {self.limit} printable characters, not {value[:40]!r}")


@attrs.frozen
class Form:
    """Text of a form, or ""; ``kind`` is its name in descriptions, ``form`` the end of an error's sentence."""

    kind: str
    pattern: str
    form: str

    @property
    def description(self) -> Mapping[str, Any]:
        return {"type": self.kind}

    def __call__(self, value: str) -> None:
        if value and re.fullmatch(self.pattern, value) is None:
            raise ValueError(f"must be {self.form}, not {value[:40]!r}")


@attrs.frozen
class Within:
    """A number from ``low`` to ``high``; both are allowed."""

    low: float
    high: float

    @property
    def description(self) -> Mapping[str, Any]:
        return {"min": self.low, "max": self.high}

    def __call__(self, value: float) -> None:
        if not self.low <= value <= self.high:
            raise ValueError(f"must be {self.low:g} to {self.high:g}, not {value:g}")


@attrs.frozen
class Count:
    """A list with ``low`` to ``high`` entries."""

    low: int
    high: int

    @property
    def description(self) -> Mapping[str, Any]:
        return {"min": self.low, "max": self.high}

    def __call__(self, value: Sequence[Any]) -> None:
        if not self.low <= len(value) <= self.high:
            allowed = f"{self.low} to {self.high}" if self.low else f"at most {self.high}"
            raise ValueError(f"must have {allowed} entries, not {len(value)}")


Text = Annotated[str, Chars(64)]
Color = Annotated[str, Form("color", r"#[0-9a-fA-F]{6}", "a color such as #24a0ed")]
Url = Annotated[str, Form("url", r"https://[^\s\"'<>\\]{1,1000}", "an https address of at most 1,000 characters")]
Pin = Annotated[str, Form("pin", r"\S.{0,199}", "a pin such as V1, a name, or a property group such as tag:Humidity")]
Decimals = Annotated[str, Form("decimals", r"#?(\.[#0]{1,5})?", "digits such as #.##")]

#: How the values of all devices in a range, or in a part of it, become one.
Aggregation = Literal["avg", "min", "max", "sum", "count"]
LineKind = Literal["line", "area", "bar", "step"]
#: The time between the points of a chart; "auto" depends on the range.
Resolution = Literal["auto", "minute", "quarter", "hour", "day"]
EventKind = Literal["info", "warning", "critical", "content"]


@attrs.frozen(kw_only=True)
class Binding:
    """The datastream of each template that a widget is bound to, by pin, name or property group (`Template.pin_of`)."""

    pin: Pin


@attrs.frozen(kw_only=True)
class Shown(Binding):
    """Datastreams whose values are shown. ``units`` is a label in place of theirs: the values are not converted."""

    label: Text = ""
    units: Annotated[str, Chars(20)] = ""
    decimals: Decimals = ""


@attrs.frozen(kw_only=True)
class Metric(Shown):
    """Numbers of many devices as one."""

    aggregate: Aggregation = "avg"
    color: Color = ""


@attrs.frozen(kw_only=True)
class LabelMetric(Shown):
    """Numbers of many devices as one, or (``latest``) the latest number of one device."""

    aggregate: Literal["avg", "min", "max", "sum", "count", "latest"] = "avg"


@attrs.frozen(kw_only=True)
class Line(Metric):
    kind: LineKind = "line"


@attrs.frozen(kw_only=True)
class Stop:
    """The look of values from ``value`` on: a color, another behind it, and the name of an icon."""

    value: float
    color: Color = ""
    background: Color = ""
    icon: Text = ""


@attrs.frozen(kw_only=True)
class TableColumn(Shown):
    """A column with the latest values of a datastream; ``min`` and ``max`` are those of a bar."""

    display: Literal["value", "bar", "icon"] = "value"
    min: float | None = None
    max: float | None = None
    color: Color = ""
    stops: Annotated[list[Stop], Count(0, 10)] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class Marker:
    """The look of a device on a map. ``datastream`` is what it shows, or what its color depends on."""

    style: Literal["image", "value", "indicator"] = "indicator"
    datastream: Shown | None = None
    color_by: Literal["none", "value", "status"] = "status"
    stops: Annotated[list[Stop], Count(0, 10)] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class Spot:
    """A device on an image, ``x`` and ``y`` percent from its top left; ``size`` is in percent of its width."""

    device_id: int
    x: Annotated[float, Within(0, 100)]
    y: Annotated[float, Within(0, 100)]
    size: Annotated[float, Within(1, 50)] = 4


# -- the options of each type -----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SwitchOptions:
    datastream: Binding
    on_value: float = 1
    off_value: float = 0
    on_label: Text = ""
    off_label: Text = ""
    color: Color = ""


@attrs.frozen(kw_only=True)
class SliderOptions:
    datastream: Binding
    min: float = 0
    max: float = 100
    step: float = 1
    fine: bool = False
    color: Color = ""


@attrs.frozen(kw_only=True)
class LabelOptions:
    """``min`` and ``max`` are those of its level, if it has one."""

    metric: LabelMetric
    min: float | None = None
    max: float | None = None
    align: Literal["left", "center", "right"] = "left"
    background: Color = ""


@attrs.frozen(kw_only=True)
class TableOptions:
    """``sort_column`` counts the columns from 0; without it, the table is sorted by the names of the devices."""

    columns: Annotated[list[TableColumn], Count(1, 20)]
    sort_column: int | None = None
    sort_order: Literal["asc", "desc"] = "asc"
    page_size: Annotated[int, Within(1, 100)] = 10
    color_all: bool = False


@attrs.frozen(kw_only=True)
class MetricsOverTimeOptions:
    series: Annotated[list[Line], Count(1, 5)]


@attrs.frozen(kw_only=True)
class MetricByDeviceOptions:
    metric: Line


@attrs.frozen(kw_only=True)
class ImageMapOptions:
    image: Url
    spots: Annotated[list[Spot], Count(0, MAX_PICKED)] = attrs.Factory(list)
    marker: Marker = Marker()
    popup: Annotated[list[Shown], Count(0, 5)] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class GeomapOptions:
    map_style: Literal["streets", "satellite"] = "streets"
    marker: Marker = Marker()
    popup: Annotated[list[Shown], Count(0, 5)] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class EventOptions:
    """``events`` are names, whatever their template; none are all. The same is true of ``types``."""

    events: Annotated[list[Text], Count(0, 50)] = attrs.Factory(list)
    types: Annotated[list[EventKind], Count(0, 4)] = attrs.Factory(list)
    color: Color = ""


@attrs.frozen(kw_only=True)
class LatestEventsOptions(EventOptions):
    show_resolved: bool = True
    size: Annotated[int, Within(1, 100)] = 20


@attrs.frozen(kw_only=True)
class EventChartOptions(EventOptions):
    kind: LineKind = "bar"
    resolution: Resolution = "auto"


@attrs.frozen(kw_only=True)
class RankingOptions(EventOptions):
    """``size`` is how many organizations, templates or devices are listed: those with most events."""

    size: Annotated[int, Within(1, 100)] = 10


@attrs.frozen(kw_only=True)
class ActivationsOptions:
    kind: LineKind = "bar"
    resolution: Resolution = "auto"
    color: Color = ""


@attrs.frozen(kw_only=True)
class CountOptions:
    color: Color = ""


@attrs.frozen(kw_only=True)
class WidgetType:
    """A type of widget: its name for people, its group in an editor, and the class of its options.

    ``ranged``: its data are of a range. ``refresh_s`` is how often a client should ask for new data, in seconds.
    """

    label: str
    group: Literal["devices", "events", "fleet"]
    options: type[Any]
    ranged: bool = True
    refresh_s: int = 60


def _devices(label: str, options: type[Any], *, ranged: bool = True, refresh_s: int = 60) -> WidgetType:
    return WidgetType(label=label, group="devices", options=options, ranged=ranged, refresh_s=refresh_s)


def _events(label: str, options: type[Any], *, refresh_s: int = 60) -> WidgetType:
    return WidgetType(label=label, group="events", options=options, refresh_s=refresh_s)


def _fleet(label: str, options: type[Any] = CountOptions, *, ranged: bool = True) -> WidgetType:
    return WidgetType(label=label, group="fleet", options=options, ranged=ranged)


WIDGETS: Mapping[WidgetKind, WidgetType] = {
    "switch": _devices("Switch", SwitchOptions, ranged=False),
    "slider": _devices("Slider", SliderOptions, ranged=False),
    "label": _devices("Label", LabelOptions, refresh_s=10),
    "device_table": _devices("Device Table", TableOptions, ranged=False, refresh_s=10),
    "metrics_over_time": _devices("Metrics over time", MetricsOverTimeOptions),
    "metric_by_device": _devices("Metric by device", MetricByDeviceOptions),
    "image_map": _devices("Image Map", ImageMapOptions, ranged=False, refresh_s=5),
    "geomap": _devices("Geomap", GeomapOptions, ranged=False, refresh_s=10),
    "event_count": _events("Event Count", EventOptions),
    "event_bars": _events("Events Count bar chart", EventOptions),
    "latest_events": _events("Latest Events", LatestEventsOptions, refresh_s=10),
    "events_over_time": _events("Total Events Over Time", EventChartOptions),
    "events_breakdown": _events("Events Breakdown Over Time", EventChartOptions),
    "events_by_organization": _events("Events by Organization", RankingOptions),
    "events_by_template": _events("Events by Template", RankingOptions),
    "events_by_device": _events("Events by Device", RankingOptions),
    "activations": _fleet("Activations", ActivationsOptions),
    "total_devices": _fleet("Total Devices", ranged=False),
    "total_devices_by_template": _fleet("Total Devices by Templates", ranged=False),
    "active_devices": _fleet("Active Devices"),
    "active_devices_by_template": _fleet("Active Devices by Templates"),
    "connection_statuses": _fleet("Devices by Connection Statuses"),
}
#: Widgets that may be on one dashboard several times, but not more often than this (docs.blynk.io, Image Map).
MAX_IMAGE_MAPS = 5


def bindings(options: Any, path: str = "") -> Iterator[tuple[str, Binding]]:
    """Yield every binding in a widget's options, with its path for errors such as ``columns[2]``."""
    for field in attrs.fields(type(options)):
        value = getattr(options, field.name)
        where = f"{path}{json_name(field)}"
        entries = enumerate(value) if isinstance(value, list) else ((None, value),)
        for index, entry in entries:
            place = where if index is None else f"{where}[{index}]"
            if isinstance(entry, Binding):
                yield place, entry
            elif attrs.has(type(entry)):
                yield from bindings(entry, f"{place}.")


def option_problems(options: Any) -> Iterator[str]:
    """Yield what is wrong with a widget's options although each by itself is valid."""
    yield from (f"{path}.pin is empty" for path, binding in bindings(options) if not binding.pin)
    match options:
        case SwitchOptions() if options.on_value == options.off_value:
            yield f"onValue and offValue are both {options.on_value:g}; they must differ"
        case SliderOptions():
            if options.min >= options.max:
                yield f"min ({options.min:g}) must be less than max ({options.max:g})"
            if options.step <= 0 or not math.isfinite(options.max - options.min):
                yield f"step must be more than 0, not {options.step:g}"
        case TableOptions() if options.sort_column is not None:
            if not 0 <= options.sort_column < len(options.columns):
                yield f"sortColumn must be 0 to {len(options.columns) - 1}, not {options.sort_column}"
        case ImageMapOptions() | GeomapOptions():
            marker = options.marker
            if marker.datastream is None and (marker.style == "value" or marker.color_by == "value"):
                yield "marker.datastream is missing; the marker shows its value"
            if isinstance(options, ImageMapOptions):
                if not options.image:
                    yield "image is missing; it is the address of the picture"
                if len({spot.device_id for spot in options.spots}) < len(options.spots):
                    yield "spots: a device is on the image twice"


# -- the description --------------------------------------------------------------------------------------------------


def describe(cls: type[Any]) -> list[dict[str, Any]]:
    """Return a description of each option of a class: name, type, default, and limits or choices.

    ``type`` is text, number, integer, boolean, choice, color, url, pin, decimals, or object with its ``fields``;
    ``list`` says that the option is a list of them, and ``min`` and ``max`` are then those of its length.
    """
    return [_describe(field) for field in attrs.fields(attrs.resolve_types(cls))]


def _describe(field: attrs.Attribute[Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": json_name(field), "required": field.default is attrs.NOTHING}
    described |= _describe_type(field.type)
    if not described["required"]:
        # The only factory of options is that of an empty list.
        described["default"] = [] if described.get("list") else to_json(field.default)
    return described


_WORDS = {str: "text", int: "integer", float: "number", bool: "boolean"}


def _describe_type(kind: Any) -> dict[str, Any]:
    kind, _ = optional(kind)
    if get_origin(kind) is Annotated:
        inner, *checks = get_args(kind)
        described = _describe_type(inner)
        for check in checks:
            if isinstance(check, Check):
                described |= check.description
        return described
    if get_origin(kind) is Literal:
        return {"type": "choice", "choices": list(get_args(kind))}
    if get_origin(kind) is list:
        return _describe_items(get_args(kind)[0])
    if attrs.has(kind):
        return {"type": "object", "fields": describe(kind)}
    return {"type": _WORDS[kind]}


def _describe_items(kind: Any) -> dict[str, Any]:
    """Return the description of a list: that of its items, without their limits."""
    described = _describe_type(kind)
    return {key: value for key, value in described.items() if key not in ("min", "max")} | {"list": True}
