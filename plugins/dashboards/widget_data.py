"""The data of a widget for its viewer: the devices are selected, and one module per kind of data asks for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import attrs

from hub import Device, Principal, Rejected
from hub.api import from_json
from hub.parsing import timezones
from plugins.dashboards.answers import WidgetData
from plugins.dashboards.events import Events
from plugins.dashboards.fleet_counts import FleetCounts
from plugins.dashboards.metrics import Metrics
from plugins.dashboards.model import DashboardWidget, FleetDashboard, Range
from plugins.dashboards.options import (
    WIDGETS,
    ActivationsOptions,
    EventChartOptions,
    EventOptions,
    GeomapOptions,
    ImageMapOptions,
    LabelOptions,
    LatestEventsOptions,
    MetricByDeviceOptions,
    MetricsOverTimeOptions,
    RankingOptions,
    TableOptions,
)
from plugins.dashboards.ranges import Span
from plugins.dashboards.selection import NoData, Selector, ViewerFilters
from plugins.dashboards.tables import TablePage, Tables

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class View:
    """What a viewer selects for a dashboard: a range and a time zone, by default the dashboard's and their own."""

    range_: Range | None = None
    tz: str = ""
    filters: ViewerFilters = attrs.Factory(ViewerFilters)
    table: TablePage = attrs.Factory(TablePage)


class WidgetQueries:
    def __init__(self, hub: Hub, selector: Selector) -> None:
        self._hub = hub
        self._selector = selector
        self._metrics = Metrics(hub)
        self._tables = Tables(hub)
        self._events = Events(hub)
        self._counts = FleetCounts(hub)

    async def data(
        self, dashboard: FleetDashboard, widget: DashboardWidget, viewer: Principal, view: View
    ) -> WidgetData:
        """Return the data of a widget; what it cannot have is in ``problem``. Raises `Rejected` for an invalid view."""
        view.filters.check()
        span = Span.until(self._hub.clock.now(), view.range_ or dashboard.range_, self._zone(viewer, view.tz))
        try:
            devices = await self._selector.devices(dashboard, widget, viewer, view.filters)
            if not devices and dashboard.source.templates and not self._selector.templates(dashboard):
                raise NoData("The templates of this dashboard's data source were deleted; select others.")
            return await self._data(widget, devices, span, view.table, viewer)
        except NoData as error:
            return WidgetData(type=widget.type, problem=str(error))

    def _zone(self, viewer: Principal, name: str) -> str:
        """Return the time zone that a viewer names, else that of their organization, else the hub's."""
        if not name:
            return self._hub.organizations.timezone(viewer.org) or self._hub.config.hub.timezone
        if not timezones.is_known(name):
            raise Rejected(f"there is no time zone {name[:50]!r}")
        return name

    async def _data(
        self, widget: DashboardWidget, devices: Sequence[Device], span: Span, page: TablePage, viewer: Principal
    ) -> WidgetData:
        try:
            options = from_json(widget.options, WIDGETS[widget.type].options)
        except Rejected as error:
            raise NoData(f"The options of this widget are not valid any more; save it again: {error}") from error
        metrics, tables, events, counts = self._metrics, self._tables, self._events, self._counts
        match widget.type:
            case "switch" | "slider":
                # They do not show the devices' state (docs.blynk.io, Controls).
                return WidgetData(type=widget.type, devices=len(devices))
            case "label":
                return await metrics.label(widget, cast("LabelOptions", options), devices, span, viewer)
            case "device_table":
                return await tables.devices(widget, cast("TableOptions", options), devices, page, viewer)
            case "metrics_over_time":
                return await metrics.over_time(widget, cast("MetricsOverTimeOptions", options), devices, span, viewer)
            case "metric_by_device":
                return await metrics.by_device(widget, cast("MetricByDeviceOptions", options), devices, span, viewer)
            case "image_map":
                return await tables.image_map(widget, cast("ImageMapOptions", options), devices, viewer)
            case "geomap":
                return await tables.geomap(widget, cast("GeomapOptions", options), devices, viewer)
            case "event_count":
                return await events.count(widget, cast("EventOptions", options), devices, span)
            case "event_bars":
                return await events.bars(widget, cast("EventOptions", options), devices, span)
            case "latest_events":
                return await events.latest(widget, cast("LatestEventsOptions", options), devices, span)
            case "events_over_time":
                return await events.over_time(widget, cast("EventChartOptions", options), devices, span)
            case "events_breakdown":
                return await events.breakdown(widget, cast("EventChartOptions", options), devices, span)
            case "events_by_organization":
                return await events.by_organization(widget, cast("RankingOptions", options), devices, span)
            case "events_by_template":
                return await events.by_template(widget, cast("RankingOptions", options), devices, span)
            case "events_by_device":
                return await events.by_device(widget, cast("RankingOptions", options), devices, span)
            case "activations":
                return counts.activations(widget, cast("ActivationsOptions", options), devices, span)
            case "total_devices":
                return counts.total(widget, devices)
            case "total_devices_by_template":
                return counts.total_by_template(widget, devices)
            case "active_devices":
                return await counts.active(widget, devices, span)
            case "active_devices_by_template":
                return await counts.active_by_template(widget, devices, span)
            case "connection_statuses":
                return await counts.statuses(widget, devices, span)
