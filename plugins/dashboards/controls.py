"""Switches and sliders: one value for all devices of a widget, with a result for each.

An offline device gets the value when it asks for it (docs.blynk.io, Controls); it is stored in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from hub import Device, HubError, Principal, Rejected, Write
from hub.api import from_json
from plugins.dashboards.model import DashboardWidget, FleetDashboard
from plugins.dashboards.options import WIDGETS, SliderOptions, SwitchOptions
from plugins.dashboards.selection import NoData, Selector, ViewerFilters, bound_point, no_such_datastream

if TYPE_CHECKING:
    from hub import Hub
    from hub.history import Receipt

CONTROL = "org_devices.control"
#: Devices of one write; a widget with more of them is narrowed. And those written before other tasks may run: some
#: milliseconds.
MAX_DEVICES, SLICE = 10_000, 100


@attrs.frozen(kw_only=True)
class DeviceResult:
    """What became of a value for one device; ``problem`` says why it was not written, and is null for a success."""

    device_id: int
    name: str
    problem: str | None


@attrs.frozen(kw_only=True)
class WriteResults:
    """How many devices have the value, and how many not; devices without such a datastream count as neither."""

    done: int
    failed: int
    results: list[DeviceResult]


class Controls:
    def __init__(self, hub: Hub, selector: Selector) -> None:
        self._hub = hub
        self._selector = selector

    async def write(
        self,
        dashboard: FleetDashboard,
        widget: DashboardWidget,
        value: float,
        filters: ViewerFilters,
        principal: Principal,
    ) -> WriteResults:
        """Write a value to every device of a widget that a principal may control, durably. Raises `Rejected`."""
        filters.check()
        if widget.type not in ("switch", "slider"):
            raise Rejected(f"the widget {widget.id} is a {widget.type}; switches and sliders write values")
        options = from_json(widget.options, WIDGETS[widget.type].options)
        _check_value(options, value)
        try:
            devices = await self._selector.devices(dashboard, widget, principal, filters)
        except NoData as error:
            raise Rejected(str(error)) from error
        point_of = bound_point(options.datastream)
        targets = [(device, point.datastream.pin) for device in devices if (point := point_of(device))]
        if not targets:
            raise Rejected(no_such_datastream(options.datastream, devices))
        if len(targets) > MAX_DEVICES:
            raise Rejected(f"the widget has {len(targets)} devices, and at most {MAX_DEVICES} are allowed; narrow it")
        problems = await self._write_each(targets, value, principal)
        results = [
            DeviceResult(device_id=device.id, name=device.name, problem=problems.get(device.id))
            for device, _ in targets
        ]
        return WriteResults(done=len(results) - len(problems), failed=len(problems), results=results)

    async def _write_each(
        self, targets: list[tuple[Device, int]], value: float, principal: Principal
    ) -> dict[int, str]:
        """Write a value, and return the problems of those devices that do not have it, by id."""
        problems: dict[int, str] = {}
        receipts: list[tuple[Device, Receipt]] = []
        for start in range(0, len(targets), SLICE):
            for device, pin in targets[start : start + SLICE]:
                try:
                    if self._hub.devices.by_id.get(device.id) is not device:
                        raise self._hub.devices.not_found(device.id)
                    # As any write: while others were written, the permission may have been taken away.
                    self._hub.authorize(principal, CONTROL, device)
                    receipts.append((device, self._hub.write(Write(device, pin, value, "api", principal))))
                except HubError as error:
                    problems[device.id] = str(error)
            await trio.lowlevel.checkpoint()
        for device, receipt in receipts:
            try:
                await receipt.durable()
            except HubError as error:
                problems[device.id] = str(error)
        return problems


def _check_value(options: SwitchOptions | SliderOptions, value: float) -> None:
    """Raise `Rejected` if a widget does not write such a value."""
    if isinstance(options, SwitchOptions):
        if value not in (options.on_value, options.off_value):
            raise Rejected(f"value must be {options.on_value:g} (on) or {options.off_value:g} (off), not {value:g}")
    elif not options.min <= value <= options.max:
        raise Rejected(f"value must be {options.min:g} to {options.max:g}, not {value:g}")
