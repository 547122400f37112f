"""Tables of devices with their latest values, and the devices on maps: everything is in memory but positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub import ONLINE, Device, Principal, Rejected
from hub.domain import DeviceDisplay
from hub.slices import Steps, sort_in_steps
from plugins.dashboards.answers import Cell, WidgetColumn, WidgetData
from plugins.dashboards.cells import latest_cell
from plugins.dashboards.model import DashboardWidget
from plugins.dashboards.options import GeomapOptions, ImageMapOptions, Shown, Spot, TableOptions
from plugins.dashboards.selection import NoData, bound_point, no_such_datastream

if TYPE_CHECKING:
    from hub import Hub

#: Devices of a table, and on a map.
MAX_LISTED, MAX_MARKERS = 10_000, 1_000
#: Devices whose positions are read at once.
POSITIONS = 500

#: The columns of every table of devices.
ABOUT = (
    WidgetColumn(name="Id", type="device"),
    WidgetColumn(name="Name", type="text"),
    WidgetColumn(name="Status", type="text"),
    WidgetColumn(name="Online", type="number"),
)
EMPTY = Cell(value=None, text="", updated_at=None)


@attrs.frozen(kw_only=True)
class TablePage:
    """The page of a table that a viewer selects, and its order; by default those of the widget's options.

    ``sort_column`` counts the widget's columns from 0, for ``sort_by`` "column".
    """

    page: int = 0
    size: int | None = None
    sort_by: Literal["name", "status", "column"] | None = None
    sort_column: int = 0
    sort_order: Literal["asc", "desc"] | None = None


class Tables:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def devices(
        self,
        widget: DashboardWidget,
        options: TableOptions,
        devices: Sequence[Device],
        page: TablePage,
        viewer: Principal,
    ) -> WidgetData:
        size = options.page_size if page.size is None else page.size
        if page.page < 0 or not 1 <= size <= 100:
            raise Rejected("table.page must be 0 or more, and table.size 1 to 100")
        if len(devices) > MAX_LISTED:
            raise NoData(f"The table would have {len(devices)} devices; narrow it to at most {MAX_LISTED}.")
        ordered = await self._sorted(options, devices, page, viewer)
        shown = ordered[page.page * size : (page.page + 1) * size]
        cells, columns, problem = await self._columns(options.columns, shown, devices, viewer)
        return WidgetData(
            type=widget.type,
            problem=problem,
            devices=len(devices),
            columns=[*ABOUT, *columns],
            rows=[[*self._about(device), *of] for device, of in zip(shown, cells, strict=True)],
            total_elements=len(devices),
        )

    async def image_map(
        self, widget: DashboardWidget, options: ImageMapOptions, devices: Sequence[Device], viewer: Principal
    ) -> WidgetData:
        by_id = {device.id: device for device in devices}
        placed = [(by_id[spot.device_id], spot) for spot in options.spots if spot.device_id in by_id]

        def place(spot: Spot) -> list[Any]:
            return [spot.x, spot.y, spot.size]

        columns = [WidgetColumn(name=name, type="number", units="%") for name in ("X", "Y", "Size")]
        rows = [(device, place(spot)) for device, spot in placed]
        return await self._map(widget, options, rows, columns, viewer, None)

    async def geomap(
        self, widget: DashboardWidget, options: GeomapOptions, devices: Sequence[Device], viewer: Principal
    ) -> WidgetData:
        rows = list[tuple[Device, list[Any]]]()
        for start in range(0, len(devices), POSITIONS):
            part = devices[start : start + POSITIONS]
            positions = await self._hub.metadata.positions(part, viewer)
            for device in part:
                if (position := positions.get(device.id) or self._reported_position(device)) is not None:
                    rows.append((device, list(position)))
            if len(rows) > MAX_MARKERS:
                break
        problem = None
        if len(rows) > MAX_MARKERS:
            problem = f"The map has the first {MAX_MARKERS} of {len(devices)} devices; narrow it to see the others."
        columns = [WidgetColumn(name=name, type="number", units="°") for name in ("Latitude", "Longitude")]
        data = await self._map(widget, options, rows[:MAX_MARKERS], columns, viewer, problem)
        return attrs.evolve(data, devices=len(devices))

    async def _map(
        self,
        widget: DashboardWidget,
        options: ImageMapOptions | GeomapOptions,
        rows: Sequence[tuple[Device, list[Any]]],
        columns: Sequence[WidgetColumn],
        viewer: Principal,
        problem: str | None,
    ) -> WidgetData:
        """Return the devices of a map with their places, the value of the marker, if it has one, and of the popup."""
        marker = options.marker.datastream
        shown = [*([] if marker is None else [marker]), *options.popup]
        devices = [device for device, _ in rows]
        cells, value_columns, missing = await self._columns(shown, devices, devices, viewer)
        return WidgetData(
            type=widget.type,
            problem=problem or missing,
            devices=len(devices),
            columns=[*ABOUT, *columns, *value_columns],
            rows=[[*self._about(device), *place, *of] for (device, place), of in zip(rows, cells, strict=True)],
            total_elements=len(devices),
        )

    def _about(self, device: Device) -> list[Any]:
        """Return the cells of the columns `ABOUT`."""
        return [device.id, device.name, self._hub.lifecycle.status_name(device), int(device.status == ONLINE)]

    def _reported_position(self, device: Device) -> tuple[float, float] | None:
        """Return (latitude, longitude) that the device sent to its first datastream of type location, if any."""
        for point in device.points.values():
            if point.datastream.type == "location":
                value = self._hub.writes.current(device, point.datastream)
                if isinstance(value, tuple) and len(value) == 2:
                    longitude, latitude = map(float, value)
                    return latitude, longitude
        return None

    # -- values ---------------------------------------------------------------------------------------------------

    async def _columns(
        self, shown: Sequence[Shown], devices: Sequence[Device], all_devices: Sequence[Device], viewer: Principal
    ) -> tuple[list[list[Cell]], list[WidgetColumn], str | None]:
        """Return the cells of each device, the columns, and what is wrong with them: datastreams that none has."""
        point_of = [bound_point(column, numbers=False) for column in shown]
        units = [set[str]() for _ in shown]
        names = [column.label for column in shown]
        displays = await self._hub.display.for_devices(devices, viewer)

        def rows() -> Steps[list[list[Cell]]]:
            cells = []
            for display in displays:
                row = []
                for index, column in enumerate(shown):
                    cell = EMPTY
                    if point := point_of[index](display.device):
                        cell, unit = latest_cell(self._hub, display, point, column)
                        units[index].add(unit)
                        names[index] = names[index] or point.datastream.name
                    row.append(cell)
                cells.append(row)
                yield
            return cells

        cells = await self._hub.slices.run(rows())
        missing = [
            no_such_datastream(column, all_devices, numbers=False)
            for column, of in zip(shown, point_of, strict=True)
            if all_devices and not any(of(device) for device in all_devices)
        ]
        columns = [
            WidgetColumn(name=name or column.pin, type="cell", units=unit.pop() if len(unit) == 1 else "")
            for name, column, unit in zip(names, shown, units, strict=True)
        ]
        return cells, columns, " ".join(dict.fromkeys(missing)) or None

    async def _sorted(
        self, options: TableOptions, devices: Sequence[Device], page: TablePage, viewer: Principal
    ) -> list[Device]:
        """Return devices in the order of a table, by name where they are equal; those without a value come last."""
        by, index = page.sort_by, page.sort_column
        if by is None:
            by, index = ("name", 0) if options.sort_column is None else ("column", options.sort_column)
        if by == "column" and not 0 <= index < len(options.columns):
            raise Rejected(f"table.sortColumn must be 0 to {len(options.columns) - 1}, not {index}")
        descending = (page.sort_order or options.sort_order) == "desc"
        displays: Sequence[DeviceDisplay] = ()
        if by == "column":
            displays = await self._hub.display.for_devices(devices, viewer)

        def in_order() -> Steps[list[Device]]:
            by_name = yield from sort_in_steps(
                devices, lambda device: (device.name.lower(), device.id), reverse=descending and by == "name"
            )
            if by == "name":
                return by_name
            if by == "status":
                return (yield from sort_in_steps(by_name, self._hub.lifecycle.status_name, reverse=descending))
            keys = yield from self._sort_keys(options.columns[index], displays)
            return (yield from sort_in_steps(by_name, lambda device: keys.get(device.id), reverse=descending))

        return await self._hub.slices.run(in_order())

    def _sort_keys(self, column: Shown, displays: Sequence[DeviceDisplay]) -> Steps[dict[int, tuple[bool, float, str]]]:
        """Return the keys of the values of a column, by the devices that have one: numbers come before texts."""
        point_of, keys = bound_point(column, numbers=False), dict[int, tuple[bool, float, str]]()
        for display in displays:
            if point := point_of(display.device):
                cell, _ = latest_cell(self._hub, display, point, column)
                if isinstance(cell.value, int | float):
                    keys[display.device.id] = (False, float(cell.value), "")
                elif cell.value is not None:
                    keys[display.device.id] = (True, 0.0, cell.text.lower())
            yield
        return keys
