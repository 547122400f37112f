"""Routes of a device's metadata fields and widget properties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub import NotFound, Rejected, Request, Route
from hub.api import VIEW_DEVICES
from plugins.platform_api.device_schemas import MetaFieldValue, meta_field_values

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class Erased:
    """The number of properties that were erased."""

    erased: int


@attrs.frozen(kw_only=True)
class SetField:
    """Either ``meta_field_id`` (the template's fields count from 1) or ``name`` selects the field."""

    device_id: int
    new_value: str | float
    meta_field_id: int | None = None
    name: str | None = None


@attrs.frozen(kw_only=True)
class SetProperty:
    """Either ``data_stream_id`` or ``pin`` ("v1") selects the datastream; several values are a list."""

    device_id: int
    property: str
    value: Any
    data_stream_id: int | None = None
    pin: str | None = None


@attrs.frozen(kw_only=True)
class EraseProperty:
    """One property of a pin, all of a pin, or all of the device."""

    device_id: int
    pin: str | None = None
    property: str | None = None


class MetadataRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def fields(self, request: Request, device_id: int) -> list[MetaFieldValue]:
        device = self._hub.access.device_for(request, device_id)
        display = await self._hub.display.for_device(device, request.principal)
        return meta_field_values(display, await self._hub.metadata.visible_values(device, request.principal))

    async def set_field(self, request: Request) -> None:
        body: SetField = request.body
        metadata = self._hub.metadata
        device = self._hub.access.device_for(request, body.device_id)
        try:
            name = body.name if body.name is not None else metadata.field(device, body.meta_field_id or 0).name
            if metadata.has_view_roles(device.template, name):
                # The readers of the audit may have other roles.
                request.redacted.add("newValue")
            await metadata.set(device, name, str(body.new_value), request.principal)
        except NotFound:
            raise NotFound("Meta field is not found.") from None
        except Rejected as error:
            raise Rejected(f"The provided value for metafield is invalid. It {error}.") from error

    async def set_property(self, request: Request) -> None:
        body: SetProperty = request.body
        device = self._hub.access.device_for(request, body.device_id)
        values = body.value if isinstance(body.value, list) else [body.value]
        if not all(isinstance(value, str | int | float) for value in values):
            raise Rejected("value: must be text, a number, true or false, or a list of such")
        texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        pin = device.find(body.pin, body.data_stream_id).datastream.pin
        await self._hub.properties.set(device, [pin], {body.property: texts})

    async def erase_property(self, request: Request) -> Erased:
        body: EraseProperty = request.body
        device = self._hub.access.device_for(request, body.device_id)
        if body.pin is None and body.property is not None:
            raise Rejected("property cannot be given without pin")
        pin = None if body.pin is None else device.find(body.pin).datastream.pin
        return Erased(erased=await self._hub.properties.erase(device, pin, body.property))


def routes(hub: Hub) -> Sequence[Route]:
    api = MetadataRoutes(hub)
    org, ours = "/api/v1/organization/device", "/api/v1/device"
    edit, control = "org_devices.edit", "org_devices.control"
    return [
        Route("GET", f"{org}/metafield", api.fields, VIEW_DEVICES, "A device's metadata"),
        Route("POST", f"{org}/metafield", api.set_field, edit, "Set a metadata field", SetField),
        Route("POST", f"{org}/datastream/property", api.set_property, control, "Set a widget property", SetProperty),
        Route("POST", f"{ours}/property/erase", api.erase_property, control, "Erase widget properties", EraseProperty),
    ]
