"""What a widget gets as its data: a value, lines over time, or a table, to be drawn without knowledge of the hub."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from plugins.dashboards.model import WidgetKind

#: The time between the points of a chart.
Step = Literal["minute", "quarter", "hour", "day"]


@attrs.frozen(kw_only=True)
class Cell:
    """The latest value of a datastream in the viewer's units, null if there is none; ``text`` is it for people.

    ``updated_at`` is ms UTC.
    """

    value: Any
    text: str
    updated_at: int | None


@attrs.frozen(kw_only=True)
class WidgetColumn:
    """A column of a table. ``type`` says what is in its rows: a device's id, a number, text, a time, or a `Cell`."""

    name: str
    type: Literal["device", "number", "text", "time", "cell"]
    units: str = ""


@attrs.frozen(kw_only=True)
class ChartLine:
    """A line of a chart: times (ms UTC) and the value at each; those without values are left out."""

    name: str
    device_id: int | None = None
    units: str = ""
    ts: list[int]
    values: list[float]


@attrs.frozen(kw_only=True)
class WidgetData:
    """The data of a widget, of ``devices`` devices that the viewer may view.

    ``problem`` says why there is no data, or why it is not all. Values are in the viewer's ``units``. ``start`` and
    ``end`` are the range, ms UTC; ``resolution`` is the time between the points of ``series``. ``previous`` is the
    value of the range before, which is as long. ``total_elements`` is the number of rows on all pages.
    """

    type: WidgetKind
    problem: str | None = None
    devices: int = 0
    start: int | None = None
    end: int | None = None
    resolution: Step | None = None
    value: float | None = None
    text: str | None = None
    units: str = ""
    previous: float | None = None
    series: list[ChartLine] = attrs.Factory(list)
    columns: list[WidgetColumn] = attrs.Factory(list)
    rows: list[list[Any]] = attrs.Factory(list)
    total_elements: int = 0
