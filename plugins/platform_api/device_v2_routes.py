"""Version 2 of Blynk's routes of devices and their values, under ``/api/v2/organization``.

See docs.blynk.io, Platform API: Devices, and DataStreams. Ids of templates are numbers there (`template_number`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub import Datastream, Device, NotFound, Request, Route
from hub.api import PAGE, VIEW_DEVICES, Page, PageNumber, PageSize
from hub.values import to_json
from plugins.platform_api.device_lists import convert_devices, visible_devices
from plugins.platform_api.device_schemas import DeviceMetaField, device_meta_fields, template_number

if TYPE_CHECKING:
    from hub import Hub

#: Parts of a device that a list has on request.
Include = Literal["hardwareInfo", "dataStreamValues", "metaFieldValues"]


@attrs.frozen(kw_only=True)
class CurrentValue:
    """The current value of a datastream, null without one; ``updated_at`` is ms UTC, null for a default."""

    data_stream_id: int
    pin: str
    data_stream_label: str
    data_stream_alias: str
    value: Any
    updated_at: int | None


@attrs.frozen(kw_only=True)
class DeviceV2:
    """A device in version 2 of Blynk's API; what ``include`` does not name is null, and so is ``token``."""

    id: int
    name: str
    template_id: int
    original_template_id: int
    org_id: int
    token: str | None = None
    activated_at: int | None
    owner_user_id: int | None
    hardware_info: dict[str, str] | None = None
    data_stream_values: list[CurrentValue] | None = None
    meta_field_values: list[DeviceMetaField] | None = None


class DeviceV2Routes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def devices(
        self,
        request: Request,
        *,
        org_id: int | None = None,
        include_sub_org_devices: bool = False,
        include: tuple[Include, ...] = (),
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[DeviceV2]:
        """``include`` is one or several of hardwareInfo, dataStreamValues and metaFieldValues."""
        visible = await visible_devices(self._hub, request, org_id, include_sub_organizations=include_sub_org_devices)
        devices = visible[page * size : (page + 1) * size]
        fields: dict[int, list[DeviceMetaField]] = {}
        if "metaFieldValues" in include:
            metadata = await self._hub.metadata.values_of(devices)
            hidden = self._hub.metadata.hidden_from(request.principal)
            for device in devices:
                display = await self._hub.display.for_device(device, request.principal)
                values = metadata[device.id].items()
                visible_values = {name: value for name, value in values if name not in hidden(device.template)}
                fields[device.id] = device_meta_fields(display, visible_values)

        def convert(device: Device) -> DeviceV2:
            number = template_number(device.template.id)
            return DeviceV2(
                id=device.id,
                name=device.name,
                template_id=number,
                original_template_id=number,
                org_id=device.org,
                activated_at=device.activated,
                owner_user_id=device.owner,
                hardware_info=device.hardware if "hardwareInfo" in include else None,
                data_stream_values=self._values(device) if "dataStreamValues" in include else None,
                meta_field_values=fields.get(device.id),
            )

        content = await convert_devices(self._hub, devices, convert)
        return Page(content=content, total_elements=len(visible))

    async def datastreams(
        self, request: Request, device_id: int, data_stream_ids: tuple[int, ...] = ()
    ) -> Sequence[CurrentValue]:
        """``dataStreamIds`` are the datastreams to return, by default all."""
        device = self._hub.access.device_for(request, device_id)
        known = {datastream.id for datastream in device.template.datastreams}
        if unknown := [number for number in data_stream_ids if number not in known]:
            raise NotFound(f"Data stream with identifier {unknown[0]} is not found!")
        return [
            value for value in self._values(device) if not data_stream_ids or value.data_stream_id in data_stream_ids
        ]

    def _values(self, device: Device) -> list[CurrentValue]:
        return [self._value(device, datastream) for datastream in device.template.datastreams]

    def _value(self, device: Device, datastream: Datastream) -> CurrentValue:
        latest = self._hub.writes.latest(device, datastream)
        value = self._hub.writes.current(device, datastream)
        return CurrentValue(
            data_stream_id=datastream.id,
            pin=f"v{datastream.pin}",
            data_stream_label=datastream.name,
            data_stream_alias=datastream.alias or datastream.name,
            value=None if value is None else to_json(value),
            updated_at=None if latest is None else latest[0],
        )


def routes(hub: Hub) -> Sequence[Route]:
    api, org = DeviceV2Routes(hub), "/api/v2/organization"
    devices = "Devices, a page at a time, with the parts that include names"
    return [
        Route("GET", f"{org}/devices", api.devices, VIEW_DEVICES, devices),
        Route("GET", f"{org}/device/datastreams", api.datastreams, VIEW_DEVICES, "A device's values by datastream id"),
    ]
