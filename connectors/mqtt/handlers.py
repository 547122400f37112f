"""Handlers of the messages that devices publish on Blynk's topics, one for each kind of `Uplink`.

A handler returns when its effect is stored, or returns the receipt of the value that it wrote, which is stored later.
It raises a `RequestError` or `StorageError` if it rejects the message; the text is shown to the device's developer.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from connectors.mqtt.payloads import decode_text, decode_values, encode_values
from connectors.mqtt.topics import Uplink
from hub import Datastream, NotFound, Rejected, UnknownPin, Write, WrongType, timezones
from hub.domain import BY_DEVICE, LAT_LON
from hub.spellings import as_integer, is_printable, nfc, timed_values
from hub.values import MISMATCH, text_of, texts_of

if TYPE_CHECKING:
    from connectors.mqtt.device_session import MqttDeviceSession
    from hub.history import Receipt

#: Points of one batch with timestamps (docs.blynk.io, Upload set of data).
MAX_BATCH = 10_000
#: Names in one ``get/…`` message.
MAX_NAMES = 500
#: Keys of the native protocol's info message (`BlynkApiArduino.h`) by the JSON keys of ``info/mcu``.
_INFO_KEYS = {"tmpl": "tmpl", "ver": "fw", "build": "build", "type": "fw-type", "rxbuff": "buff-in"}

#: Descriptions of datastream types in error texts.
TYPE_DESCRIPTIONS = {
    "integer": "a whole number",
    "double": "a number",
    "string": "text",
    "enum": "one of the values",
    "location": "a location",
}

Handler = Callable[["MqttDeviceSession", Uplink, bytes], Awaitable["Receipt | None"]]


# -- names ------------------------------------------------------------------------------------------------------------


def _datastream(device_session: MqttDeviceSession, name: str) -> Datastream:
    """Return the device's datastream with a name. Raises `UnknownPin`."""
    pins = device_session.pins
    # The template has names in NFC; the device may use another form.
    pin = pins.get(name)
    if pin is None:
        pin = pins.get(nfc(name))
    if pin is None:
        name_of_pin = next((stream for stream, number in pins.items() if f"v{number}" == name.lower()), None)
        raise UnknownPin(
            _unknown(device_session, "datastream", name, pins)
            if name_of_pin is None
            else f"{name} is a pin; the datastream is named {name_of_pin!r}"
        )
    point = device_session.device.points.get(pin)
    if point is None:
        raise UnknownPin(f"the device has no {name} any more")
    return point.datastream


def _unknown(device_session: MqttDeviceSession, noun: str, name: str, candidates: Iterable[str]) -> str:
    """Return the error text for an unknown name, with the most similar candidate."""
    suggestion = device_session.client.names.suggest(name, candidates)
    return f"there is no {noun} {name[:50]!r}" + (f"; did you mean {suggestion!r}?" if suggestion else "")


def unknown_topic(device_session: MqttDeviceSession, topic: str) -> str:
    """Return the error text for a topic that devices cannot publish on."""
    suggestion = device_session.client.names.suggest(topic.rpartition("/")[2], device_session.pins)
    hint = f"; did you mean 'ds/{suggestion}'?" if suggestion else ""
    return f"not a topic that devices can publish on{hint}"


def _names(payload: bytes) -> list[str]:
    """Return the names in a comma-separated list, without duplicates. Raises `Rejected` if there are too many."""
    names = list(dict.fromkeys(name.strip() for name in decode_text(payload).split(",") if name.strip()))
    if len(names) > MAX_NAMES:
        raise Rejected(f"at most {MAX_NAMES} names are allowed in one message")
    return names


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        raise Rejected("the payload is not JSON") from None


# -- values -----------------------------------------------------------------------------------------------------------


async def write_value(device_session: MqttDeviceSession, uplink: Uplink, payload: bytes) -> Receipt:
    """``ds/NAME``: write a value."""
    return write(device_session, _datastream(device_session, uplink.name).pin, payload)


def write(device_session: MqttDeviceSession, pin: int, payload: bytes) -> Receipt:
    """Write the value of a pin. Not async: the value path awaits nothing."""
    raw = decode_values(payload)
    try:
        return device_session.hub.writes.write(
            Write(device_session.device, pin, raw, device_session.via, device_session.principal, None, device_session)
        )
    except WrongType as error:
        if not str(error).startswith(MISMATCH):
            raise
        stream = device_session.device.points[pin].datastream
        values = f" ({', '.join(map(str, list(stream.values)[:20]))})" if stream.values else ""
        hint = str(error).removeprefix(MISMATCH)
        text = f"{raw!r:.60} is not {TYPE_DESCRIPTIONS[stream.type]}{values}{';' if hint else ''}{hint}"
        raise WrongType(text) from error


async def write_batch(device_session: MqttDeviceSession, _uplink: Uplink, payload: bytes) -> Receipt | None:
    """``batch_ds``: write values of several datastreams, ``{"NAME": value}``, with one timestamp; all or none."""
    values = _json(payload)
    if not isinstance(values, dict):
        raise Rejected('a batch must be a JSON object, such as {"Temperature": 21.5}')
    hub, device, principal = device_session.hub, device_session.device, device_session.principal
    now, writes = hub.clock.now(), []
    for name, raw in values.items():
        stream = _datastream(device_session, name)
        if raw is None or isinstance(raw, dict) or isinstance(raw, str) != (stream.type == "string"):
            raise Rejected(f"{name}: {json.dumps(raw)[:50]} is not {TYPE_DESCRIPTIONS[stream.type]}")
        writes.append(
            Write(device, stream.pin, raw, device_session.via, principal, at=now, session=device_session, shared=True)
        )
    return hub.writes.write_all(writes) if writes else None


async def import_points(device_session: MqttDeviceSession, uplink: Uplink, payload: bytes) -> Receipt | None:
    """``ds/NAME/timestamped_batch``: import values of the past, ``[[milliseconds UTC, value], …]``; all or none."""
    hub, device = device_session.hub, device_session.device
    stream, rows = _datastream(device_session, uplink.name), _json(payload)
    try:
        points = [(stream, at, raw) for at, raw in timed_values(rows, MAX_BATCH)]
    except ValueError as error:
        raise Rejected(str(error)) from None
    hub.take_quota(hub.imports, device, len(rows), "imported values")
    try:
        return await hub.writes.import_points(device, points, device_session.via, device_session.principal)
    except Rejected:
        hub.imports.give_back(device.id, len(rows))
        raise


async def erase_value(device_session: MqttDeviceSession, uplink: Uplink, _payload: bytes) -> None:
    """``ds/NAME/erase``: clear the value; its history stays."""
    await device_session.hub.devices.clear(device_session.device, _datastream(device_session, uplink.name))


async def set_property(device_session: MqttDeviceSession, uplink: Uplink, payload: bytes) -> None:
    """``ds/NAME/prop/PROPERTY``: set a widget property."""
    pin = _datastream(device_session, uplink.name).pin
    values = {uplink.property: decode_text(payload).split("\0")}
    await device_session.hub.properties.set(device_session.device, [pin], values)


async def erase_property(device_session: MqttDeviceSession, uplink: Uplink, _payload: bytes) -> None:
    """``ds/NAME/prop/PROPERTY/erase``: remove a widget property."""
    pin = _datastream(device_session, uplink.name).pin
    await device_session.hub.properties.erase(device_session.device, pin, uplink.property)


async def get_datastreams(device_session: MqttDeviceSession, _uplink: Uplink, payload: bytes) -> None:
    """``get/ds``: publish the values of the named datastreams."""
    errors = []
    for name in _names(payload):
        try:
            _publish_value(device_session, _datastream(device_session, name))
        except UnknownPin as error:
            errors.append(str(error))
    if errors:
        raise UnknownPin("; ".join(errors))


async def get_all_datastreams(device_session: MqttDeviceSession, _uplink: Uplink, _payload: bytes) -> None:
    """``get/ds/all``: publish the values of all datastreams with ``sync = true``."""
    for point in tuple(device_session.device.points.values()):
        if point.datastream.sync:
            _publish_value(device_session, point.datastream)


def _publish_value(device_session: MqttDeviceSession, stream: Datastream) -> None:
    """Publish the current value of a datastream to the device, if it has one."""
    value = device_session.hub.writes.current(device_session.device, stream)
    if value is not None:
        device_session.publish(f"ds/{stream.name}", encode_values(texts_of(value)), key=stream.pin)


# -- events, metadata and information ---------------------------------------------------------------------------------


async def log_event(device_session: MqttDeviceSession, uplink: Uplink, payload: bytes) -> None:
    """``event/CODE``: log an event; the payload is its description."""
    codes = [event_type.code for event_type in device_session.device.template.events]
    if uplink.name not in codes:
        raise NotFound(_unknown(device_session, "event", uplink.name, codes))
    await device_session.hub.timeline.log(device_session.device, uplink.name, decode_text(payload))


async def set_metadata(device_session: MqttDeviceSession, uplink: Uplink, payload: bytes) -> None:
    """``meta/FIELD``: set a metadata field."""
    hub, device = device_session.hub, device_session.device
    try:
        field_type = hub.metadata.field(device, uplink.name).type
    except NotFound:
        names = [field.name for field in device.template.metadata]
        raise NotFound(_unknown(device_session, "metadata field", uplink.name, names)) from None
    if field_type not in BY_DEVICE:
        raise Rejected(f"metadata field {uplink.name} has the type {field_type}, which devices cannot change")
    await hub.metadata.set(device, uplink.name, decode_text(payload), device_session.principal)


async def get_metadata(device_session: MqttDeviceSession, _uplink: Uplink, payload: bytes) -> None:
    """``get/meta``: publish the named metadata fields."""
    device, errors = device_session.device, []
    field_names = [field.name for field in device.template.metadata]
    for name in _names(payload):
        try:
            value = await device_session.hub.metadata.get(device, name)
        except NotFound:
            errors.append(_unknown(device_session, "metadata field", name, field_names))
        else:
            device_session.publish(f"meta/{name}", value.encode(), key=("meta", name))
    if errors:
        raise NotFound("; ".join(errors))


async def get_time(device_session: MqttDeviceSession, _uplink: Uplink, _payload: bytes) -> None:
    """``get/utc/all/json``: publish the time and the device's time zone."""
    hub = device_session.hub
    now, zone = hub.clock.now(), hub.timezone_of(device_session.device)
    standard, daylight = timezones.offsets(zone, now)
    answer = {
        "tz_name": timezones.iana(zone),
        "tz_rule": timezones.posix_rule(zone),
        "tz_offset": standard,
        "dst_offset": daylight,
        "time": now,
        "iso8601": timezones.iso(zone, now),
    }
    device_session.publish("utc/all/json", json.dumps(answer).encode())


async def get_location(device_session: MqttDeviceSession, _uplink: Uplink, _payload: bytes) -> None:
    """``get/loc/all``: publish the device's location as ``latitude,longitude``."""
    location = await device_session.hub.metadata.get(device_session.device, LAT_LON)
    device_session.publish("loc/all", location.replace(" ", ",").encode())


async def receive_info(device_session: MqttDeviceSession, _uplink: Uplink, payload: bytes) -> None:
    """``info/mcu``: record the device's firmware and receive buffer (docs.blynk.io, Firmware and Device Info)."""
    fields = _json(payload)
    if not isinstance(fields, dict):
        raise Rejected('the info message must be a JSON object, such as {"ver": "1.0.0"}')
    info = {
        str(_INFO_KEYS.get(key, key)): text_of(value if (number := as_integer(value)) is None else number)
        for key, value in fields.items()
        if isinstance(value, (str, int, float)) and is_printable(key + str(value))
    }
    hub, device = device_session.hub, device_session.device
    template = info.get("tmpl", device.template.id)
    if template != device.template.id:
        text = f"runs firmware for template {template[:40]}, not {device.template.id}"
        device_session.send_diagnostic(f"this device {text}")
        hub.reject(device_session.address, f"device {device.name} {text}", device.id)
    if (size := info.get("buff-in", "")).isdecimal():
        device_session.limit_packet_size(int(size[:9]))
    await hub.devices.update_firmware_info(device, info)


HANDLERS: dict[str, Handler] = {
    "value": write_value,
    "batch": write_batch,
    "import": import_points,
    "erase value": erase_value,
    "property": set_property,
    "erase property": erase_property,
    "get datastreams": get_datastreams,
    "get all datastreams": get_all_datastreams,
    "event": log_event,
    "metadata": set_metadata,
    "get metadata": get_metadata,
    "get time": get_time,
    "get location": get_location,
    "info": receive_info,
}
