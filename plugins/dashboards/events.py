"""Events of many devices: how many there are, when, where, and the latest of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from hub import Device
from hub.domain import TimelineFilter
from plugins.dashboards.answers import ChartLine, Step, WidgetColumn, WidgetData
from plugins.dashboards.model import DashboardWidget
from plugins.dashboards.options import EventChartOptions, EventOptions, LatestEventsOptions, RankingOptions
from plugins.dashboards.ranges import Span
from plugins.dashboards.selection import NoData

if TYPE_CHECKING:
    from hub import Hub

#: Types of events that templates define; the others of a timeline are changes of a device's status.
TYPES = ("info", "warning", "critical", "content")
#: Devices of an event widget, and lines of a chart.
MAX_DEVICES, MAX_LINES = 20_000, 50
#: Groups of events that a query returns; see `Timeline.tally`.
MAX_GROUPS = 10_000


class Events:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._timeline = hub.timeline

    async def count(
        self, widget: DashboardWidget, options: EventOptions, devices: Sequence[Device], span: Span
    ) -> WidgetData:
        now = await self._count(options, devices, span)
        before = await self._count(options, devices, span.before())
        data = _data(widget, devices, span)
        return attrs.evolve(data, value=now, text=str(now), previous=before)

    async def _count(self, options: EventOptions, devices: Sequence[Device], span: Span) -> int:
        [(_, count)] = await self._timeline.tally(_filter(options, devices, span), ())
        return count

    async def bars(
        self, widget: DashboardWidget, options: EventOptions, devices: Sequence[Device], span: Span
    ) -> WidgetData:
        """Return the number of events of each name; events of different templates may have the same."""
        groups = await self._timeline.tally(_filter(options, devices, span), ("name",))
        rows = [[name, count] for (name,), count in groups[:MAX_LINES]]
        return _table(_data(widget, devices, span), "Event", rows, len(groups))

    async def latest(
        self, widget: DashboardWidget, options: LatestEventsOptions, devices: Sequence[Device], span: Span
    ) -> WidgetData:
        filter_ = attrs.evolve(_filter(options, devices, span), resolved=None if options.show_resolved else False)
        events, total = await self._timeline.find(filter_, 0, options.size)
        names = {device.id: device.name for device in devices}
        columns = [
            WidgetColumn(name="Time", type="time"),
            WidgetColumn(name="Id", type="device"),
            WidgetColumn(name="Device", type="text"),
            WidgetColumn(name="Event", type="text"),
            WidgetColumn(name="Type", type="text"),
            WidgetColumn(name="Description", type="text"),
            WidgetColumn(name="Resolved", type="time"),
        ]
        rows = [
            [event.ts, event.device, names[event.device], event.name, event.type, event.description, event.resolved]
            for event in events
        ]
        return attrs.evolve(_data(widget, devices, span), columns=columns, rows=rows, total_elements=total)

    async def over_time(
        self, widget: DashboardWidget, options: EventChartOptions, devices: Sequence[Device], span: Span
    ) -> WidgetData:
        """Return one line with the number of all events."""
        step = span.step(options.resolution)
        counts = await self._counts_over_time(options, devices, span, step, ())
        return _chart(_data(widget, devices, span), span, step, {widget.title or "Events": counts.get((), Counter())})

    async def breakdown(
        self, widget: DashboardWidget, options: EventChartOptions, devices: Sequence[Device], span: Span
    ) -> WidgetData:
        """Return a line for each name of events, those with most events."""
        step = span.step(options.resolution)
        counts = await self._counts_over_time(options, devices, span, step, ("name",))
        by_name = {str(name): parts for (name,), parts in counts.items()}
        most = sorted(by_name, key=lambda name: (-by_name[name].total(), name))
        data = _chart(_data(widget, devices, span), span, step, {name: by_name[name] for name in most[:MAX_LINES]})
        if len(most) > MAX_LINES:
            problem = f"There are {len(most)} kinds of events; the chart has the {MAX_LINES} most frequent ones."
            data = attrs.evolve(data, problem=problem)
        return data

    async def _counts_over_time(
        self,
        options: EventOptions,
        devices: Sequence[Device],
        span: Span,
        step: Step,
        by: Sequence[Literal["name"]],
    ) -> dict[tuple[str, ...], Counter[int]]:
        """Return the number of events in each part of a range, by the first millisecond of the part, for each group.

        Raises `NoData` when they are too many numbers.
        """
        counts: dict[tuple[str, ...], Counter[int]] = {}
        for begin, end, size in span.stretches(step):
            filter_ = attrs.evolve(_filter(options, devices, span), start=begin, end=end)
            groups = await self._timeline.tally(filter_, by, size)
            if len(groups) == MAX_GROUPS:
                raise NoData("There are too many kinds of events for this resolution; select some, or a longer one.")
            for (*group, part), count in groups:
                counts.setdefault(tuple(group), Counter())[begin + part * size] += count
        return counts

    async def by_organization(
        self, widget: DashboardWidget, options: RankingOptions, devices: Sequence[Device], span: Span
    ) -> WidgetData:
        organizations = self._hub.organizations
        data = await self._ranking(widget, options, devices, span, "Organization", lambda device: device.org)
        # An organization may have been deleted meanwhile.
        rows = [[organizations.by_id[org].name, count] for org, count in data.rows if org in organizations.by_id]
        return attrs.evolve(data, rows=rows)

    async def by_template(
        self, widget: DashboardWidget, options: RankingOptions, devices: Sequence[Device], span: Span
    ) -> WidgetData:
        return await self._ranking(widget, options, devices, span, "Template", lambda device: device.template.name)

    async def by_device(
        self, widget: DashboardWidget, options: RankingOptions, devices: Sequence[Device], span: Span
    ) -> WidgetData:
        """Return the devices with most events; the last column has their ids."""
        by_id = {device.id: device for device in devices}
        groups = await self._timeline.tally(_filter(options, devices, span), ("device",))
        rows = [[by_id[id_].name, count, id_] for (id_,), count in groups[: options.size]]
        data = _table(_data(widget, devices, span), "Device", rows, len(groups))
        return attrs.evolve(data, columns=[*data.columns, WidgetColumn(name="Id", type="device")])

    async def _ranking(
        self,
        widget: DashboardWidget,
        options: RankingOptions,
        devices: Sequence[Device],
        span: Span,
        title: str,
        owner_of: Callable[[Device], int | str],
    ) -> WidgetData:
        """Return how many events the devices of each owner have, most events first."""
        by_id, counts = {device.id: device for device in devices}, Counter[int | str]()
        groups = await self._timeline.tally(_filter(options, devices, span), ("device",))
        for (id_,), count in groups:
            counts[owner_of(by_id[id_])] += count
        rows: list[list[object]] = [[owner, count] for owner, count in counts.most_common(options.size)]
        data = _table(_data(widget, devices, span), title, rows, len(counts))
        if len(groups) == MAX_GROUPS:
            problem = f"More than {MAX_GROUPS} devices had events; only those with most of them are counted."
            data = attrs.evolve(data, problem=problem)
        return data


def _filter(options: EventOptions, devices: Sequence[Device], span: Span) -> TimelineFilter:
    """Return the filter for a widget's events. Raises `NoData` for too many devices."""
    if len(devices) > MAX_DEVICES:
        raise NoData(f"{len(devices)} devices are too many for events; narrow the widget to at most {MAX_DEVICES}.")
    return TimelineFilter(
        devices=[device.id for device in devices],
        types=options.types or TYPES,
        names=options.events,
        archived=None,
        start=span.start,
        end=span.end,
    )


def _data(widget: DashboardWidget, devices: Sequence[Device], span: Span) -> WidgetData:
    return WidgetData(type=widget.type, devices=len(devices), start=span.start, end=span.end)


def _table(data: WidgetData, title: str, rows: list[list[object]], total: int) -> WidgetData:
    columns = [WidgetColumn(name=title, type="text"), WidgetColumn(name="Events", type="number")]
    return attrs.evolve(data, columns=columns, rows=rows, total_elements=total)


def _chart(data: WidgetData, span: Span, step: Step, counts: dict[str, Counter[int]]) -> WidgetData:
    """Return data with a line for each name; a part without events has a 0."""
    parts = span.parts(step)
    series = [ChartLine(name=name, ts=parts, values=[of[part] for part in parts]) for name, of in counts.items()]
    return attrs.evolve(data, start=span.first(step), resolution=step, series=series)
