"""Numbers of many devices over time: each line of a chart, and each label, is a few queries of the history.

Values of the past are added up hour by hour in the database, for all devices at once; days consist of hours. Minutes
need every value, so they are for few devices and short ranges only: for others the resolution is an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from hub import Device, DeviceDatastream, Principal
from hub.domain import Conversion
from hub.history import HOUR_MS, Totals, combine_totals, totals_of_buckets
from hub.parsing import timezones
from hub.slices import Steps, sort_in_steps
from plugins.dashboards.answers import ChartLine, Step, WidgetData
from plugins.dashboards.cells import latest_cell, number_text
from plugins.dashboards.model import DashboardWidget, Range
from plugins.dashboards.options import (
    Aggregation,
    LabelMetric,
    LabelOptions,
    MetricByDeviceOptions,
    MetricsOverTimeOptions,
    Shown,
)
from plugins.dashboards.ranges import Span
from plugins.dashboards.selection import NoData, bound_point, filter_in_steps, no_such_datastream

if TYPE_CHECKING:
    from hub import Hub

#: Datastreams multiplied by hours that a widget may need: a day of 80,000 devices, or a week of 12,000. That takes the
#: database two seconds, in which it answers others in between.
MAX_HOURS = 2_000_000
#: The same for days, which take a tenth of that if they are stored: a year of 1,100 devices.
MAX_HOURS_OF_DAYS = 10_000_000
#: The same for minutes, for which values are decoded: an hour of 100 devices.
MAX_HOURS_OF_MINUTES = 200
#: The shortest times of which a label consists: it includes the whole one in which its range begins.
LABEL_STEP: Mapping[Range, Step] = {
    "1h": "minute",
    "6h": "minute",
    "1d": "hour",
    "1w": "hour",
    "1mo": "day",
    "3mo": "day",
    "1y": "day",
}
#: Devices in a chart of single devices (docs.blynk.io, Metric by device).
MAX_LINES = 8
#: Devices whose datastreams are looked up in one step of a slice.
STEP = 64


@attrs.frozen
class Source:
    """A datastream of a device, with the conversion of its values to the viewer's units."""

    point: DeviceDatastream
    conversion: Conversion


@attrs.frozen
class TotalsOverTime:
    """Totals by the first milliseconds of parts of a range. ``units`` is "" if the datastreams have different ones."""

    step: Step
    units: str
    parts: list[tuple[int, Totals]]

    def by(self, step: Step, span: Span) -> TotalsOverTime:
        """Return the same with a longer step."""
        if step == self.step:
            return self
        part_of, parts = span.part_of(step), dict[int, list[Totals]]()
        for at, totals in self.parts:
            parts.setdefault(part_of(at), []).append(totals)
        return attrs.evolve(self, step=step, parts=_combined(parts))


class Metrics:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    # -- widgets --------------------------------------------------------------------------------------------------

    async def label(
        self, widget: DashboardWidget, options: LabelOptions, devices: Sequence[Device], span: Span, viewer: Principal
    ) -> WidgetData:
        metric = options.metric
        if metric.aggregate == "latest":
            return await self._latest(widget, metric, devices, viewer)
        sources = await self._sources(devices, metric, viewer)
        totals = await self._totals(sources, span, LABEL_STEP[span.range_])
        start = span.first(totals.step)
        data = WidgetData(type=widget.type, devices=len(devices), start=start, end=span.end, problem=_problem(sources))
        if not totals.parts:
            return data
        value = aggregated(combine_totals(part for _, part in totals.parts), metric.aggregate)
        units = "" if metric.aggregate == "count" else totals.units
        text = number_text(sources[0].point.datastream, metric, value, units)
        return attrs.evolve(data, value=value, units=units, text=text)

    async def _latest(
        self, widget: DashboardWidget, metric: LabelMetric, devices: Sequence[Device], viewer: Principal
    ) -> WidgetData:
        if len(devices) != 1:
            raise NoData(f"A latest value is that of one device, and this widget has {len(devices)}; select one.")
        point = bound_point(metric)(devices[0])
        if point is None:
            raise NoData(no_such_datastream(metric, devices))
        [display] = await self._hub.display.for_devices(devices, viewer)
        cell, units = latest_cell(self._hub, display, point, metric)
        return WidgetData(
            type=widget.type, devices=1, end=cell.updated_at, value=cell.value, text=cell.text, units=units
        )

    async def over_time(
        self,
        widget: DashboardWidget,
        options: MetricsOverTimeOptions,
        devices: Sequence[Device],
        span: Span,
        viewer: Principal,
    ) -> WidgetData:
        step, lines, problems = span.step(), list[tuple[ChartLine, TotalsOverTime, Aggregation]](), list[str]()
        for line in options.series:
            try:
                sources = await self._sources(devices, line, viewer)
                totals = await self._totals(sources, span, step)
            except NoData as error:
                # The other lines have data.
                problems.append(str(error))
                continue
            # From here on, no line has a shorter step than this one.
            step = totals.step
            problems += [problem] if (problem := _problem(sources)) else []
            name = line.label or sources[0].point.datastream.name
            lines.append((ChartLine(name=name, ts=[], values=[]), totals, line.aggregate))
        series = [_filled(head, totals.by(step, span), aggregate) for head, totals, aggregate in lines]
        return _chart(widget, devices, span, step, series, " ".join(dict.fromkeys(problems)) or None)

    async def by_device(
        self,
        widget: DashboardWidget,
        options: MetricByDeviceOptions,
        devices: Sequence[Device],
        span: Span,
        viewer: Principal,
    ) -> WidgetData:
        metric, point_of = options.metric, bound_point(options.metric)
        with_points = await self._hub.slices.run(filter_in_steps(devices, lambda device: point_of(device) is not None))
        by_name = sort_in_steps(with_points, lambda device: (device.name.lower(), device.id), limit=MAX_LINES)
        chosen = await self._hub.slices.run(by_name)
        if not chosen:
            raise NoData(no_such_datastream(metric, devices))
        step, lines = span.step(), list[tuple[ChartLine, TotalsOverTime]]()
        for device in chosen:
            totals = await self._totals(await self._sources([device], metric, viewer), span, step)
            step = totals.step
            lines.append((ChartLine(name=device.name, device_id=device.id, ts=[], values=[]), totals))
        problem = None
        if len(with_points) > MAX_LINES:
            problem = f"{len(with_points)} devices are selected; the chart has the first {MAX_LINES} by name."
        series = [_filled(head, totals.by(step, span), metric.aggregate) for head, totals in lines]
        return _chart(widget, devices, span, step, series, problem)

    # -- queries --------------------------------------------------------------------------------------------------

    async def _sources(self, devices: Sequence[Device], metric: Shown, viewer: Principal) -> list[Source]:
        """Return the datastreams with a history of numbers to which a metric is bound. Raises `NoData` without any."""
        point_of, without_history = bound_point(metric), False
        displays = await self._hub.display.for_devices(devices, viewer)

        def found() -> Steps[list[Source]]:
            nonlocal without_history
            sources = []
            for number, display in enumerate(displays):
                point = point_of(display.device)
                if point is not None and point.datastream.history == "off":
                    without_history = True
                elif point is not None:
                    # Units of the widget are a label: its values are not converted.
                    own = Conversion(metric.units) if metric.units else None
                    sources.append(Source(point, own or display.conversion_for(point.datastream)))
                if number % STEP == 0:
                    yield
            return sources

        sources = await self._hub.slices.run(found())
        if not sources and without_history:
            raise NoData(f"The datastreams {metric.pin} keep no history; turn it on in their templates.")
        if not sources:
            raise NoData(no_such_datastream(metric, devices))
        return sources

    async def _totals(self, sources: Sequence[Source], span: Span, step: Step) -> TotalsOverTime:
        """Return the totals of all sources together over time, hour by hour if shorter steps would take too long.

        Raises `NoData` if hours would, too.
        """
        needed = len(sources) * (1 + (span.end - span.start) // HOUR_MS)
        limit = MAX_HOURS_OF_DAYS if step == "day" else MAX_HOURS
        if needed > limit:
            most = limit * len(sources) // needed
            raise NoData(
                f"{len(sources)} datastreams over {span.range_} are too many for one widget: select at most {most} of"
                " them, or a shorter range."
            )
        if step in ("minute", "quarter") and needed > MAX_HOURS_OF_MINUTES:
            step = "hour"
        by_conversion: dict[Conversion, list[int]] = {}
        for source in sources:
            by_conversion.setdefault(source.conversion, []).append(source.point.series)
        part_of, parts = span.part_of(step), dict[int, list[Totals]]()
        for conversion, series in by_conversion.items():
            for at, totals in await self._read(series, span, step):
                parts.setdefault(part_of(at), []).append(_converted(totals, conversion))
        units = {conversion.units for conversion in by_conversion}
        return TotalsOverTime(step, units.pop() if len(units) == 1 else "", _combined(parts))

    async def _read(self, series: Sequence[int], span: Span, step: Step) -> list[tuple[int, Totals]]:
        """Return totals of all series together by time, not longer than a step."""
        start, history = span.first(step), self._hub.history
        if step in ("minute", "quarter"):
            return await self._minutes(series, start, span.end)
        if step == "day" and not any(begin % HOUR_MS for begin in span.parts(step)):
            return await history.days_together(series, list(timezones.days(span.zone, span.start, span.end)))
        return await history.hours_together(series, start, span.end)

    async def _minutes(self, series: Sequence[int], start: int, end: int) -> list[tuple[int, Totals]]:
        """Return the totals of each minute and series, as `History.hours_together` returns those of each hour."""
        minutes: list[tuple[int, Totals]] = []
        for number in series:
            begin = start
            while begin < end:
                # Hour by hour, as the values are stored: a query of more hours would block for longer.
                until = min(begin - begin % HOUR_MS + HOUR_MS, end)
                async for buckets in self._hub.history.buckets(number, begin, until, "minute"):
                    minutes += totals_of_buckets(buckets)
                begin = until
        return minutes


def aggregated(totals: Totals, aggregate: Aggregation) -> float:
    """Return one number for all."""
    value: float = getattr(totals, aggregate)
    return value


def _combined(parts: dict[int, list[Totals]]) -> list[tuple[int, Totals]]:
    return [(at, combine_totals(totals)) for at, totals in sorted(parts.items())]


def _converted(totals: Totals, conversion: Conversion) -> Totals:
    """Return totals of values in the units of a conversion."""
    if conversion.factor == 1 and not conversion.offset:
        return totals
    return Totals(
        totals.count,
        conversion(totals.min),
        conversion(totals.max),
        totals.sum * conversion.factor + totals.count * conversion.offset,
    )


def _problem(sources: Iterable[Source]) -> str | None:
    """Return the problem of a metric whose values have different units, or None."""
    units = sorted({source.conversion.units for source in sources})
    if len(units) == 1:
        return None
    names = ", ".join(unit or "none" for unit in units[:5])
    return f"The datastreams have different units ({names}): select templates with the same unit, or another pin."


def _filled(series: ChartLine, totals: TotalsOverTime, aggregate: Aggregation) -> ChartLine:
    """Return a line with its points."""
    return attrs.evolve(
        series,
        units="" if aggregate == "count" else totals.units,
        ts=[at for at, _ in totals.parts],
        values=[aggregated(part, aggregate) for _, part in totals.parts],
    )


def _chart(
    widget: DashboardWidget,
    devices: Sequence[Device],
    span: Span,
    step: Step,
    series: list[ChartLine],
    problem: str | None,
) -> WidgetData:
    return WidgetData(
        type=widget.type,
        problem=problem,
        devices=len(devices),
        start=span.first(step),
        end=span.end,
        resolution=step,
        series=series,
    )
