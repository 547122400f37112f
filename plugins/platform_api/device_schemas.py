"""Devices, their values and their metadata as the API's JSON; field names are Blynk's where it has some."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub import OFFLINE, Datastream, Device, MetadataField, Principal
from hub.domain import BUILT_IN, DeviceDisplay, type_label
from hub.values import to_json

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class DisplayObject:
    """A datastream in the caller's units; ``text`` is its value, formatted.

    Convert other values of the datastream with ``value * factor + offset``; the result is in ``units``. If ``pin`` is
    set, take that datastream of the device instead: its values are in the caller's units already.
    """

    text: str
    units: str
    factor: float
    offset: float
    pin: str | None


@attrs.frozen(kw_only=True)
class DataStreamValue:
    """The latest value of a datastream; ``updated_at`` is ms UTC.

    ``expired`` is the text to show instead of the value when it has expired, else null.
    """

    data_stream_id: int
    pin: str
    data_stream_label: str
    data_stream_alias: str
    type: str
    units: str
    value: Any
    updated_at: int | None
    expired: str | None
    properties: Mapping[str, Sequence[str]]
    display: DisplayObject


@attrs.frozen(kw_only=True)
class MetaValue:
    """``text`` is the value in the caller's units, with the unit."""

    type: str
    value: str
    text: str


@attrs.frozen(kw_only=True)
class DeviceMetaField:
    """A metadata field of a device; ``id`` is null for a field that every device has."""

    id: int | None
    name: str
    value: MetaValue


@attrs.frozen(kw_only=True)
class MetaFieldValue:
    """A metadata field of a device; ``id`` is null for a field that every device has.

    ``text`` is the value in the caller's units, with the unit.
    """

    id: int | None
    name: str
    type: str
    value: str
    text: str


@attrs.frozen(kw_only=True)
class DeviceObject:
    """A device; times are ms UTC. ``token`` is set only in the answer to the request that added the device.

    ``original_template_id`` is the number of its template, for clients of Blynk's API that expect one.

    ``timezone`` is the time zone of the device's days and hours: its own, else its organization's, else the hub's.
    """

    id: int
    template_id: str
    original_template_id: int
    org_id: int
    owner_user_id: int | None
    name: str
    token: str | None = None
    lifecycle_status: dict[str, str]
    created_at: int
    activated_at: int | None
    first_connect_time: int | None
    last_received_event_at: int | None
    connect_time: int | None
    disconnect_time: int | None
    ip: str | None
    hardware_info: dict[str, str]
    timezone: str
    data_stream_values: list[DataStreamValue] | None = None
    meta_field_values: list[DeviceMetaField] | None = None


@attrs.frozen(kw_only=True)
class ActivatedDevice:
    """A device that connected for the first time at ``activation_time``, in ms UTC."""

    id: int
    name: str
    template_id: str
    org_id: int
    owner_user_id: int | None
    activation_time: int


async def device_details(hub: Hub, device: Device, principal: Principal) -> DeviceObject:
    """Return a device with its values and metadata, in the units of ``principal``. Raises `StorageError`."""
    metadata = await hub.metadata.visible_values(device, principal)
    properties = await hub.properties.values_for(device)
    display = await hub.display.for_device(device, principal)
    values = [
        _datastream_value(hub, display, datastream, properties.get(datastream.id, {}))
        for datastream in device.template.datastreams
    ]
    fields = device_meta_fields(display, metadata)
    return attrs.evolve(device_object(hub, device), data_stream_values=values, meta_field_values=fields)


def device_meta_fields(display: DeviceDisplay, metadata: Mapping[str, str]) -> list[DeviceMetaField]:
    """Return the metadata fields of the displayed device in the form of Blynk's API; see `meta_field_values`."""
    return [
        DeviceMetaField(
            id=field.id,
            name=field.name,
            value=MetaValue(type=type_label(field.type), value=field.value, text=field.text),
        )
        for field in meta_field_values(display, metadata)
    ]


def template_number(template_id: str) -> int:
    """Return the number of a template, where clients of Blynk's API expect a 32-bit integer and not ``TMPL…``.

    It is derived from the id, so that it is the same after a restore and on another hub with the template.
    """
    return zlib.crc32(template_id.encode()) & 0x7FFFFFFF


def device_object(hub: Hub, device: Device) -> DeviceObject:
    """Return a device without its values and metadata."""
    session = hub.sessions.get(device.id)
    return DeviceObject(
        id=device.id,
        template_id=device.template.id,
        original_template_id=template_number(device.template.id),
        org_id=device.org,
        owner_user_id=device.owner,
        name=device.name,
        lifecycle_status={"name": hub.lifecycle.status_name(device), "status": device.status or OFFLINE},
        created_at=device.created,
        activated_at=device.activated,
        first_connect_time=device.activated,
        last_received_event_at=hub.writes.last_reported(device),
        connect_time=device.connected,
        disconnect_time=device.disconnected,
        ip=session.address if session else None,
        hardware_info=device.hardware,
        timezone=hub.timezone_of(device),
    )


def activated_device(device: Device) -> ActivatedDevice:
    return ActivatedDevice(
        id=device.id,
        name=device.name,
        template_id=device.template.id,
        org_id=device.org,
        owner_user_id=device.owner,
        activation_time=device.activated or 0,
    )


def meta_field_values(display: DeviceDisplay, metadata: Mapping[str, str]) -> list[MetaFieldValue]:
    """Return the metadata fields of the displayed device, given ``metadata``: its values by name."""
    template_fields = {field.name: (number, field) for number, field in enumerate(display.device.template.metadata, 1)}
    field_values = []
    for name, value in metadata.items():
        built_in = MetadataField(name=name, type=BUILT_IN.get(name, "text"))
        number, field = template_fields.get(name, (None, built_in))
        field_text = display.field_text(field, value)
        field_values.append(MetaFieldValue(id=number, name=name, type=field.type, value=value, text=field_text))
    return field_values


def _datastream_value(
    hub: Hub, display: DeviceDisplay, datastream: Datastream, properties: Mapping[str, Sequence[str]]
) -> DataStreamValue:
    device = display.device
    latest = hub.writes.latest(device, datastream)
    value = hub.writes.current(device, datastream)
    expired_text = hub.value_timeouts.expired_text
    displayed = display.displayed(datastream, hub.writes.current, expired_text)
    return DataStreamValue(
        data_stream_id=datastream.id,
        pin=f"v{datastream.pin}",
        data_stream_label=datastream.name,
        data_stream_alias=datastream.alias or datastream.name,
        type=datastream.type,
        units=datastream.units,
        value=None if value is None else to_json(value),
        updated_at=None if latest is None else latest[0],
        expired=expired_text(device.points[datastream.pin]),
        properties=properties,
        display=DisplayObject(
            text=displayed.text,
            units=displayed.conversion.units,
            factor=displayed.conversion.factor,
            offset=displayed.conversion.offset,
            pin=None if displayed.pin is None else f"v{displayed.pin}",
        ),
    )
