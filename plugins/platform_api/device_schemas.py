"""What devices look like to clients of the API, in Blynk's words where it has some; times are ms UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub.domain.display import DeviceDisplay, DisplayRule, format_value
from hub.domain.metadata import type_label
from hub.model import OFFLINE, Datastream, Device, Principal, Value
from hub.values import to_json
from plugins.platform_api.metadata_routes import metadata_shown

if TYPE_CHECKING:
    from hub.app import Hub


@attrs.frozen(kw_only=True)
class DisplayObject:
    """How the asker sees a datastream: ``text`` is its value as they read it.

    Other values are ``value * factor + offset`` in ``units``; or ``pin`` has them, another datastream of the device.
    """

    text: str
    units: str
    factor: float
    offset: float
    pin: str | None


@attrs.frozen(kw_only=True)
class DataStreamValue:
    """The newest value of a datastream; ``updated_at`` is ms UTC, ``expired`` what is shown for a value too old."""

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
    """``text`` is the value as the asker reads it, with its unit."""

    type: str
    value: str
    text: str


@attrs.frozen(kw_only=True)
class DeviceMetaField:
    """A field of a device's metadata; ``id`` is None for one that every device has."""

    id: int | None
    name: str
    value: MetaValue


@attrs.frozen(kw_only=True)
class DeviceObject:
    """A device as the Platform API has it; times are milliseconds UTC. The token is there only when it was made.

    ``timezone`` is the one of its days and hours: its own, or its organization's, or the hub's.
    """

    id: int
    template_id: str
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
    """A device that is new; ``activation_time`` is in ms UTC."""

    id: int
    name: str
    template_id: str
    org_id: int
    owner_user_id: int | None
    activation_time: int


async def whole(hub: Hub, device: Device, principal: Principal) -> DeviceObject:
    """A device with its values and metadata, as somebody sees them. Raises `StorageError`."""
    fields = await hub.metadata.values_for(device)
    properties = await hub.properties.values_for(device)
    viewer = await hub.display.for_device(device, principal)
    values = [_value(hub, viewer, one, properties.get(one.id, {})) for one in device.template.datastreams]
    metadata = [
        DeviceMetaField(
            id=one.id, name=one.name, value=MetaValue(type=type_label(one.type), value=one.value, text=one.text)
        )
        for one in metadata_shown(viewer, fields)
    ]
    return attrs.evolve(device_shown(hub, device), data_stream_values=values, meta_field_values=metadata)


def device_shown(hub: Hub, device: Device) -> DeviceObject:
    """A device without its values and metadata."""
    session = hub.sessions.get(device.id)
    return DeviceObject(
        id=device.id,
        template_id=device.template.id,
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


def _value(
    hub: Hub, viewer: DeviceDisplay, stream: Datastream, properties: Mapping[str, Sequence[str]]
) -> DataStreamValue:
    device = viewer.device
    latest = hub.writes.latest(device, stream)
    value = hub.writes.current(device, stream)
    expired = hub.value_timeouts.expired_text(device.points[stream.pin])
    return DataStreamValue(
        data_stream_id=stream.id,
        pin=f"v{stream.pin}",
        data_stream_label=stream.name,
        data_stream_alias=stream.alias or stream.name,
        type=stream.type,
        units=stream.units,
        value=None if value is None else to_json(value),
        updated_at=None if latest is None else latest[0],
        expired=expired,
        properties=properties,
        display=_display(hub, viewer, stream, value, expired),
    )


def _display(
    hub: Hub, viewer: DeviceDisplay, stream: Datastream, value: Value | None, expired: str | None
) -> DisplayObject:
    shown = viewer.rule_for(stream)
    pair = None if shown.pin is None else viewer.device.points[shown.pin].datastream
    if pair is not None and (paired := hub.writes.current(viewer.device, pair)) is not None:
        stream, value, expired = pair, paired, hub.value_timeouts.expired_text(viewer.device.points[pair.pin])
    elif pair is not None:
        # It has said nothing yet.
        pair, shown = None, DisplayRule(viewer.conversion_for(stream))
    return DisplayObject(
        text=format_value(stream, value, shown.conversion) if expired is None else expired,
        units=shown.conversion.units,
        factor=shown.conversion.factor,
        offset=shown.conversion.offset,
        pin=None if pair is None else f"v{pair.pin}",
    )


def activated_shown(device: Device) -> ActivatedDevice:
    return ActivatedDevice(
        id=device.id,
        name=device.name,
        template_id=device.template.id,
        org_id=device.org,
        owner_user_id=device.owner,
        activation_time=device.activated or 0,
    )
