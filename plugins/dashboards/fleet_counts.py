"""Counts of devices: all, those activated or active in a range, and their connection statuses.

A device is active in a range if it was online at any time in it, or sent a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import ONLINE, Device
from hub.domain import TimelineFilter
from plugins.dashboards.answers import ChartLine, WidgetColumn, WidgetData
from plugins.dashboards.model import DashboardWidget
from plugins.dashboards.options import ActivationsOptions
from plugins.dashboards.ranges import Span
from plugins.dashboards.selection import NoData, filter_in_steps

if TYPE_CHECKING:
    from hub import Hub

#: Devices whose changes of status are read from their timelines.
MAX_CHANGED = 5_000


class FleetCounts:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def activations(
        self, widget: DashboardWidget, options: ActivationsOptions, devices: Sequence[Device], span: Span
    ) -> WidgetData:
        """Return how many devices connected for the first time, over time."""
        step, before = span.step(options.resolution), span.before()
        part_of, parts = span.part_of(step), span.parts(step)
        stamps = [device.activated for device in devices if device.activated is not None]
        activated = [at for at in stamps if span.start <= at < span.end]
        counts = Counter(map(part_of, activated))
        line = ChartLine(name=widget.title or "Activations", ts=parts, values=[counts[part] for part in parts])
        return WidgetData(
            type=widget.type,
            devices=len(devices),
            start=span.first(step),
            end=span.end,
            resolution=step,
            value=len(activated),
            text=str(len(activated)),
            previous=sum(before.start <= at < before.end for at in stamps),
            series=[line],
        )

    def total(self, widget: DashboardWidget, devices: Sequence[Device]) -> WidgetData:
        return WidgetData(type=widget.type, devices=len(devices), value=len(devices), text=str(len(devices)))

    def total_by_template(self, widget: DashboardWidget, devices: Sequence[Device]) -> WidgetData:
        return _by_template(WidgetData(type=widget.type, devices=len(devices)), devices)

    async def active(self, widget: DashboardWidget, devices: Sequence[Device], span: Span) -> WidgetData:
        active = await self._active(devices, span)
        data = WidgetData(type=widget.type, devices=len(devices), start=span.start, end=span.end)
        return attrs.evolve(data, value=len(active), text=str(len(active)))

    async def active_by_template(self, widget: DashboardWidget, devices: Sequence[Device], span: Span) -> WidgetData:
        data = WidgetData(type=widget.type, devices=len(devices), start=span.start, end=span.end)
        return _by_template(data, await self._active(devices, span))

    async def _active(self, devices: Sequence[Device], span: Span) -> list[Device]:
        return await self._hub.slices.run(filter_in_steps(devices, lambda device: self._is_active(device, span.start)))

    def _is_active(self, device: Device, since: int) -> bool:
        """Whether a device was online or sent a value since a time, which is ms UTC."""
        if device.status == ONLINE or max(device.connected or 0, device.disconnected or 0, device.away or 0) >= since:
            return True
        return (self._hub.writes.last_reported(device) or 0) >= since

    async def statuses(self, widget: DashboardWidget, devices: Sequence[Device], span: Span) -> WidgetData:
        """Return how many devices had each status in a range; a device that had several counts for each of them.

        Statuses of the past are read from the timeline, where a template may leave them out.
        """
        name_of = self._hub.lifecycle.status_name
        changed = {
            device.id: device
            for device in await self._hub.slices.run(
                filter_in_steps(devices, lambda device: (device.status_at or 0) >= span.start)
            )
        }
        if len(changed) > MAX_CHANGED:
            raise NoData(
                f"{len(changed)} devices changed their status in this range; select a shorter one, or at most"
                f" {MAX_CHANGED} devices."
            )
        had = {id_: {name_of(device)} for id_, device in changed.items()}
        if changed:
            filter_ = TimelineFilter(
                devices=list(changed), types=("online", "offline", "status"), archived=None, start=span.start
            )
            for (id_, type_, name), _ in await self._hub.timeline.tally(filter_, ("device", "type", "name")):
                device = changed[id_]
                lifecycle = device.template.lifecycle
                had[id_].add(name)
                if type_ == "offline":
                    had[id_].add(lifecycle.online)
                elif type_ == "online" and device.activated is not None and device.activated < span.start:
                    had[id_].add(lifecycle.offline)
        counts = Counter(name_of(device) for device in devices if device.id not in changed)
        counts.update(status for statuses in had.values() for status in statuses)
        data = WidgetData(type=widget.type, devices=len(devices), start=span.start, end=span.end)
        return _table(data, "Status", counts)


def _by_template(data: WidgetData, devices: Sequence[Device]) -> WidgetData:
    return _table(data, "Template", Counter(device.template.name for device in devices))


def _table(data: WidgetData, title: str, counts: Counter[str]) -> WidgetData:
    """Return data with a row for each count, the largest first."""
    rows: list[list[object]] = [
        [name, count] for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    columns = [WidgetColumn(name=title, type="text"), WidgetColumn(name="Devices", type="number")]
    return attrs.evolve(data, columns=columns, rows=rows, total_elements=len(rows))
