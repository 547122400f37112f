"""Values as a widget shows them: in the viewer's units, or with the widget's own label in place of a unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from hub import Datastream, DeviceDatastream
from hub.domain import Conversion, DeviceDisplay, format_value
from hub.values import to_json
from plugins.dashboards.answers import Cell
from plugins.dashboards.options import Shown

if TYPE_CHECKING:
    from hub import Hub


def restyled(datastream: Datastream, shown: Shown) -> Datastream:
    """Return a datastream as a widget shows it. Units of the widget are a label: values are not converted then."""
    if shown.decimals:
        datastream = attrs.evolve(datastream, decimals=shown.decimals)
    if shown.units:
        datastream = attrs.evolve(datastream, units=shown.units, convert=False, scale=False, pair="")
    return datastream


def number_text(datastream: Datastream, shown: Shown, value: float, units: str) -> str:
    """Return a number that was computed from values of a datastream as text, in ``units``."""
    return format_value(attrs.evolve(restyled(datastream, shown), type="double"), value, Conversion(units))


def latest_cell(hub: Hub, display: DeviceDisplay, point: DeviceDatastream, shown: Shown) -> tuple[Cell, str]:
    """Return the latest value of a datastream of a device, and its units; text that replaces an expired value."""
    device, datastream = point.device, restyled(point.datastream, shown)
    displayed = display.displayed(datastream, hub.writes.current, hub.value_timeouts.expired_text)
    source = datastream if displayed.pin is None else device.points[displayed.pin].datastream
    latest, value = hub.writes.latest(device, source), hub.writes.current(device, source)
    is_number = isinstance(value, int | float)
    if hub.value_timeouts.expired_text(point) is not None:
        value = None
    elif is_number and datastream.type in ("integer", "double"):
        value = displayed.conversion(value)  # type: ignore[arg-type]
    cell = Cell(
        value=None if value is None else to_json(value),
        text=displayed.text,
        updated_at=None if latest is None else latest[0],
    )
    return cell, displayed.conversion.units
