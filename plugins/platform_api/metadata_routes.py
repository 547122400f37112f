"""What a device is and how it is shown, over HTTP: metadata and widget properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub.api import VIEW_DEVICES, Request, Route
from hub.domain.display import DeviceDisplay
from hub.domain.metadata import BUILT_IN
from hub.errors import NotFound, Rejected
from hub.model import MetadataField

if TYPE_CHECKING:
    from hub.app import Hub


@attrs.frozen(kw_only=True)
class MetaFieldValue:
    """``id`` is None for a field that every device has; ``text`` is the value as the asker reads it, with its unit."""

    id: int | None
    name: str
    type: str
    value: str
    text: str


def metadata_shown(viewer: DeviceDisplay, values: Mapping[str, str]) -> list[MetaFieldValue]:
    """The fields of a device, given what they say."""
    fields = {field.name: (number, field) for number, field in enumerate(viewer.device.template.metadata, 1)}
    found = []
    for name, value in values.items():
        number, field = fields.get(name, (None, MetadataField(name=name, type=BUILT_IN.get(name, "text"))))
        text = viewer.field_text(field, value)
        found.append(MetaFieldValue(id=number, name=name, type=field.type, value=value, text=text))
    return found


@attrs.frozen(kw_only=True)
class Erased:
    """How many properties there were."""

    erased: int


@attrs.frozen(kw_only=True)
class SetField:
    """Either ``meta_field_id`` (fields of the template count from 1) or ``name``."""

    device_id: int
    new_value: str | float
    meta_field_id: int | None = None
    name: str | None = None


@attrs.frozen(kw_only=True)
class SetProperty:
    """Either ``data_stream_id`` or ``pin`` ("v1"); several values are a list."""

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


def routes(hub: Hub) -> Sequence[Route]:
    async def fields(request: Request, device_id: int) -> list[MetaFieldValue]:
        device = hub.access.device_for(request, device_id)
        return metadata_shown(
            await hub.display.for_device(device, request.principal), await hub.metadata.values_for(device)
        )

    async def set_field(request: Request) -> None:
        body: SetField = request.body
        device = hub.access.device_for(request, body.device_id)
        try:
            name = body.name if body.name is not None else hub.metadata.field(device, body.meta_field_id or 0).name
            await hub.metadata.set(device, name, str(body.new_value), request.principal)
        except NotFound:
            raise NotFound("Meta field is not found.") from None
        except Rejected as error:
            raise Rejected(f"The provided value for metafield is invalid. It {error}.") from error

    async def set_property(request: Request) -> None:
        body: SetProperty = request.body
        device = hub.access.device_for(request, body.device_id)
        values = body.value if isinstance(body.value, list) else [body.value]
        if not all(isinstance(value, str | int | float) for value in values):
            raise Rejected("value: must be text, a number, true or false, or a list of such")
        texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        await hub.properties.set(
            device, [device.find(body.pin, body.data_stream_id).datastream.pin], {body.property: texts}
        )

    async def erase_property(request: Request) -> Erased:
        body: EraseProperty = request.body
        device = hub.access.device_for(request, body.device_id)
        if body.pin is None and body.property is not None:
            raise Rejected("property needs a pin")
        pin = None if body.pin is None else device.find(body.pin).datastream.pin
        return Erased(erased=await hub.properties.erase(device, pin, body.property))

    org, ours, edit = "/api/v1/organization/device", "/api/v1/device", "org_devices.edit"
    control = "org_devices.control"
    return [
        Route("GET", f"{org}/metafield", fields, VIEW_DEVICES, "A device's metadata"),
        Route("POST", f"{org}/metafield", set_field, edit, "Set a metadata field", SetField),
        Route("POST", f"{org}/datastream/property", set_property, control, "Set a widget property", SetProperty),
        Route("POST", f"{ours}/property/erase", erase_property, control, "Erase widget properties", EraseProperty),
    ]
