"""What is stored of a dashboard over many devices (docs.blynk.io, Dashboards), and the limits of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from hub.domain import DeviceQuery
from hub.parsing.spellings import nfc

#: Dashboards of an organization, tabs and widgets of a dashboard, and devices of a widget that are picked by hand.
MAX_OF_ORG, MAX_TABS, MAX_WIDGETS, MAX_PICKED = 20, 20, 200, 50
#: Characters of the names of dashboards and tabs, and of the titles of widgets.
MAX_NAME = 64
#: Columns and rows of the grid of a tab.
COLUMNS, MAX_ROWS = 24, 500
#: Templates and organizations of a data source, and roles that may view a dashboard.
MAX_SELECTED, MAX_ROLES = 1_000, 100
#: Bytes of a dashboard as JSON, for which reading and writing it take some ten milliseconds.
MAX_DOCUMENT = 192 * 1024

Range = Literal["1h", "6h", "1d", "1w", "1mo", "3mo", "1y"]
_DAY_MS = 86_400_000
#: The length of each range in milliseconds (docs.blynk.io, Date range picker).
RANGE_MS: Mapping[Range, int] = {
    "1h": _DAY_MS // 24,
    "6h": _DAY_MS // 4,
    "1d": _DAY_MS,
    "1w": 7 * _DAY_MS,
    "1mo": 30 * _DAY_MS,
    "3mo": 90 * _DAY_MS,
    "1y": 365 * _DAY_MS,
}

WidgetKind = Literal[
    "switch",
    "slider",
    "label",
    "device_table",
    "metrics_over_time",
    "metric_by_device",
    "image_map",
    "geomap",
    "event_count",
    "event_bars",
    "latest_events",
    "events_over_time",
    "events_breakdown",
    "events_by_organization",
    "events_by_template",
    "events_by_device",
    "activations",
    "total_devices",
    "total_devices_by_template",
    "active_devices",
    "active_devices_by_template",
    "connection_statuses",
]


@attrs.frozen(kw_only=True)
class DataSource:
    """The devices that a dashboard is about: those of the ``templates`` in the ``organizations``, by ids.

    No templates are all templates; no organizations are the dashboard's own and all below it. The dashboard is shared
    with these organizations.
    """

    templates: list[str] = attrs.Factory(list)
    organizations: list[int] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class DeviceSelection:
    """The devices of a widget, among those of its dashboard: in a segment, that match ``find``, or picked by ids."""

    segment_id: int | None = None
    find: DeviceQuery | None = None
    devices: list[int] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class DashboardWidget:
    """A widget at ``x``, ``y`` of the grid of its tab, from the top left. ``options`` depend on the ``type``.

    ``id`` is unique in its dashboard and stays the same; a widget with the id 0 is new and gets one.
    """

    id: int = 0
    type: WidgetKind
    title: str = attrs.field(converter=nfc, default="")
    x: int = 0
    y: int = 0
    width: int = 6
    height: int = 4
    devices: DeviceSelection = DeviceSelection()
    options: dict[str, Any] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class DashboardTab:
    name: str = attrs.field(converter=nfc)
    widgets: list[DashboardWidget] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class FleetDashboard:
    """A dashboard of an organization. ``view_roles`` are the ids of the roles that may view it.

    ``range_`` is the range that its widgets have data of, unless its viewer selects another one. ``version`` counts its
    changes.
    """

    id: int = 0
    org: int = 0
    version: int = 0
    name: str = attrs.field(converter=nfc, default="")
    source: DataSource = DataSource()
    range_: Range = "1d"
    view_roles: list[int] = attrs.Factory(list)
    tabs: list[DashboardTab] = attrs.Factory(list)

    def widgets(self) -> Iterator[DashboardWidget]:
        """Yield the widgets of all tabs."""
        return (widget for tab in self.tabs for widget in tab.widgets)
