"""The devices of a widget, as its viewer may see them, and the datastreams of them that it shows.

A dashboard grants no rights: whatever its author selected, a viewer gets data of devices only that the viewer may view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from hub import Datastream, Device, DeviceDatastream, HubError, Principal, Rejected, Template
from hub.api import VIEW_DEVICES
from hub.domain import Predicate, permission_predicate
from hub.slices import Steps
from plugins.dashboards.model import DashboardWidget, FleetDashboard
from plugins.dashboards.options import Binding

if TYPE_CHECKING:
    from hub import Hub

#: Entries of each list of a viewer's filters.
MAX_FILTERED = 1_000
#: Devices that are examined in one step of a slice.
STEP = 64
NUMBERS = ("integer", "double")


@attrs.frozen(kw_only=True)
class ViewerFilters:
    """What a viewer temporarily narrows a dashboard to (docs.blynk.io, Dynamic Filters); an empty list is no filter.

    ``templates`` are ids, as are ``organizations`` and ``devices``.
    """

    organizations: list[int] = attrs.Factory(list)
    templates: list[str] = attrs.Factory(list)
    devices: list[int] = attrs.Factory(list)

    def check(self) -> None:
        """Raise `Rejected` if a list is too long."""
        for field in attrs.fields(ViewerFilters):
            if (count := len(getattr(self, field.name))) > MAX_FILTERED:
                raise Rejected(f"filters.{field.name} has {count} entries, and at most {MAX_FILTERED} are allowed")


class NoData(HubError):
    """A widget cannot have data; the message says why, and what to do."""


class Selector:
    """Determines the devices of dashboards and widgets."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def devices(
        self, dashboard: FleetDashboard, widget: DashboardWidget, viewer: Principal, filters: ViewerFilters
    ) -> list[Device]:
        """Return the devices of a widget that its viewer may view, by id.

        Raises `NoData` when the segment is gone, `Rejected` for a query that is not valid any more.
        """
        predicates = self._predicates(dashboard, viewer, filters)
        selection = widget.devices
        if picked := set(selection.devices):
            predicates.append(lambda device: device.id in picked)
        if selection.find is not None:
            predicates += await self._hub.device_queries.compile(selection.find, viewer)
        if selection.segment_id is not None:
            segment = self._hub.segments.by_id.get(selection.segment_id)
            if segment is None:
                problem = f"The segment {selection.segment_id} of this widget was deleted"
                raise NoData(f"{problem}; select other devices in its settings.")
            predicates += await self._hub.segments.compile(segment, viewer)
        return await self._hub.device_queries.select(dashboard.org, predicates)

    async def all_devices(self, dashboard: FleetDashboard, viewer: Principal) -> list[Device]:
        """Return all devices of a dashboard that its viewer may view, by id."""
        predicates = self._predicates(dashboard, viewer, ViewerFilters())
        return await self._hub.device_queries.select(dashboard.org, predicates)

    def _predicates(self, dashboard: FleetDashboard, viewer: Principal, filters: ViewerFilters) -> list[Predicate]:
        """Return predicates for the devices of a dashboard that its viewer may view, and narrows it to."""
        predicates = [permission_predicate(self._hub.is_allowed, viewer, VIEW_DEVICES)]
        orgs = [set(ids) for ids in (dashboard.source.organizations, filters.organizations) if ids]
        templates = [set(ids) for ids in (dashboard.source.templates, filters.templates) if ids]
        if orgs:
            chosen_orgs = set.intersection(*orgs)
            predicates.insert(0, lambda device: device.org in chosen_orgs)
        if templates:
            chosen_templates = set.intersection(*templates)
            predicates.insert(0, lambda device: device.template.id in chosen_templates)
        if filters.devices:
            ids = set(filters.devices)
            predicates.insert(0, lambda device: device.id in ids)
        return predicates

    def templates(self, dashboard: FleetDashboard) -> list[Template]:
        """Return the templates of a dashboard's data source that still exist; all of its organization by default."""
        org = self._hub.organizations.get(dashboard.org)
        chosen = dashboard.source.templates
        ids = chosen or list(self._hub.templates.by_id)
        templates = (self._hub.templates.by_id.get(template) for template in ids)
        return [template for template in templates if template is not None and org.has(template)]


def filter_in_steps(devices: Sequence[Device], predicate: Predicate) -> Steps[list[Device]]:
    """Return the devices that satisfy a predicate."""
    matches: list[Device] = []
    for start in range(0, len(devices), STEP):
        matches += [device for device in devices[start : start + STEP] if predicate(device)]
        yield
    return matches


def bound_datastream(template: Template, binding: Binding, *, numbers: bool = True) -> Datastream | None:
    """Return the datastream of a template to which a widget is bound; with ``numbers`` only if it is numeric."""
    pin = template.pin_of(binding.pin)
    bound = (stream for stream in template.datastreams if stream.pin == pin)
    return next((stream for stream in bound if not numbers or stream.type in NUMBERS), None)


def bound_point(binding: Binding, *, numbers: bool = True) -> Callable[[Device], DeviceDatastream | None]:
    """Return a function from a device to the datastream to which a widget is bound.

    It caches the pins of templates, so use it for one list of devices only.
    """
    pins: dict[tuple[str, int], int | None] = {}

    def point_of(device: Device) -> DeviceDatastream | None:
        key = (device.template.id, device.template.version)
        if key not in pins:
            datastream = bound_datastream(device.template, binding, numbers=numbers)
            pins[key] = None if datastream is None else datastream.pin
        pin = pins[key]
        return None if pin is None else device.points.get(pin)

    return point_of


def no_such_datastream(binding: Binding, devices: Sequence[Device], *, numbers: bool = True) -> str:
    """Return why a widget without such a datastream on any of its devices has no data."""
    if not devices:
        return "There is no device in this widget that you may view."
    kind = "an integer or double datastream" if numbers else "a datastream"
    return f"No device of this widget has {kind} {binding.pin}; select another one in the widget's settings."
