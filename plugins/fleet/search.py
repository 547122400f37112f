"""Search for devices: by query and segment, sorted, and as they look in a list of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub import OFFLINE, Device, Principal, Request, UnknownPin
from hub.api import VIEW_DEVICES
from hub.domain import DeviceDisplay, DeviceQuery, permission_predicate
from hub.slices import Steps
from hub.values import to_json
from plugins.fleet.device_order import DeviceOrders

if TYPE_CHECKING:
    from hub import Hub
    from plugins.fleet.locations import Locations
    from plugins.fleet.tags import Tags

#: Devices that are converted to results in one step of a slice.
STEP = 16


@attrs.frozen(kw_only=True)
class ListedValue:
    """The latest value of a datastream; ``text`` is the value in the caller's units, ``updated_at`` ms UTC.

    ``expired`` is the text to show instead of the value when it has expired, else null.
    """

    value: Any
    text: str
    updated_at: int | None
    expired: str | None


@attrs.frozen(kw_only=True)
class FoundDevice:
    """Device in a list of results; times are ms UTC, ``tags`` are names."""

    id: int
    org_id: int
    name: str
    template_id: str
    template_name: str
    owner_user_id: int | None
    status: str
    created_at: int
    activated_at: int | None
    activated_by: str | None
    last_reported_at: int | None
    hardware_info: dict[str, str]
    tags: list[str]
    location_id: int | None
    org_name: str
    template_version: int
    #: Whether it is connected, and the key of its lifecycle status, whose name for people is ``status``.
    online: bool
    status_key: str
    #: The values and metadata that the request asks for, by the names in the request.
    values: dict[str, ListedValue] | None = None
    metadata: dict[str, str] | None = None


class DeviceSearch:
    """Search for devices on behalf of a client: every result is a device that the client may view."""

    def __init__(self, hub: Hub, tags: Tags, locations: Locations) -> None:
        self._hub = hub
        self._tags = tags
        self._locations = locations
        self.orders = DeviceOrders(hub)

    async def find(
        self, request: Request, query: DeviceQuery, org: int | None, segment_id: int | None = None
    ) -> list[Device]:
        """Return the devices that match a query, by id.

        They belong to the organization ``org`` (the client's by default) or to one below, and to the segment, if one
        is given. Raises `RequestError`.
        """
        hub = self._hub
        top = hub.access.organization_for(request, org).id
        predicates = await hub.device_queries.compile(query, request.principal)
        if segment_id is not None:
            segment = hub.segments.segment_for(request.principal, segment_id)
            predicates += await hub.segments.compile(segment, request.principal)
        is_visible = permission_predicate(hub.is_allowed, request.principal, VIEW_DEVICES)
        return await hub.device_queries.select(top, [*predicates, is_visible])

    async def to_results(
        self, devices: Sequence[Device], principal: Principal, values: Sequence[str] = (), metadata: Sequence[str] = ()
    ) -> list[FoundDevice]:
        """Return the devices with their values, by pin or name, and metadata; what a device does not have is left out.

        So are devices that were deleted, or that the principal may no longer view. Raises `StorageError`.
        """
        displays = {}
        for device in devices if values else ():
            displays[device.id] = await self._hub.display.for_device(device, principal)
        fields = await self._hub.metadata.values_of(devices) if metadata else {}

        def to_results() -> Steps[list[FoundDevice]]:
            results: list[FoundDevice] = []
            hidden_in = self._hub.metadata.hidden_from(principal)
            activated_by = self._hub.device_queries.attributes.activator_names(principal)
            for number, device in enumerate(devices):
                if number % STEP == 0:
                    yield
                if self._hub.devices.by_id.get(device.id) is not device:
                    continue
                if not self._hub.is_allowed(principal, VIEW_DEVICES, device):
                    continue
                result = self._to_result(device, principal, activated_by(device))
                if values:
                    result = attrs.evolve(result, values=self._listed_values(displays[device.id], values))
                if metadata:
                    of_device, hidden = fields[device.id], hidden_in(device.template)
                    named = {name: of_device[name] for name in metadata if name in of_device and name not in hidden}
                    result = attrs.evolve(result, metadata=named)
                results.append(result)
            return results

        return await self._hub.slices.run(to_results())

    def _to_result(self, device: Device, principal: Principal, activated_by: str | None) -> FoundDevice:
        location = self._locations.visible_location(device, principal)
        return FoundDevice(
            id=device.id,
            org_id=device.org,
            name=device.name,
            template_id=device.template.id,
            template_name=device.template.name,
            owner_user_id=device.owner,
            status=self._hub.lifecycle.status_name(device),
            created_at=device.created,
            activated_at=device.activated,
            activated_by=activated_by,
            last_reported_at=self._hub.writes.last_reported(device),
            hardware_info=device.hardware,
            tags=self._tags.visible_names(device, principal),
            location_id=location.id if location else None,
            org_name=self._hub.organizations.get(device.org).name,
            template_version=device.template.version,
            online=self._hub.sessions.get(device.id) is not None,
            status_key=device.status or OFFLINE,
        )

    def _listed_values(self, display: DeviceDisplay, names: Sequence[str]) -> dict[str, ListedValue]:
        hub, device, listed = self._hub, display.device, {}
        for name in names:
            try:
                point = device.find(name)
            except UnknownPin:
                continue
            datastream = point.datastream
            latest, value = hub.writes.latest(device, datastream), hub.writes.current(device, datastream)
            listed[name] = ListedValue(
                value=None if value is None else to_json(value),
                text=display.displayed(datastream, hub.writes.current, hub.value_timeouts.expired_text).text,
                updated_at=None if latest is None else latest[0],
                expired=hub.value_timeouts.expired_text(point),
            )
        return listed
