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
from hub import MAX_IMPORT, Datastream, NotFound, Rejected, UnknownPin, Write, WrongType
from hub.parsing import timezones
from hub.parsing.spellings import as_integer, timed_values
from hub.values import MISMATCH, text_of, texts_of

if TYPE_CHECKING:
    from connectors.mqtt.device_session import MqttDeviceSession
    from hub.history import Receipt

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
    return device_session.hub.uplinks.datastream(device_session.device, name)


def unknown_topic(device_session: MqttDeviceSession, topic: str) -> str:
    """Return the error text for a topic that devices cannot publish on."""
    suggestion = device_session.hub.uplinks.suggest(topic.rpartition("/")[2], device_session.pins)
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
    writes: list[tuple[int, Any]] = []
    for name, raw in values.items():
        stream = _datastream(device_session, name)
        if raw is None or isinstance(raw, dict) or isinstance(raw, str) != (stream.type == "string"):
            raise Rejected(f"{name}: {json.dumps(raw)[:50]} is not {TYPE_DESCRIPTIONS[stream.type]}")
        writes.append((stream.pin, raw))
    return device_session.hub.uplinks.write_values(
        device_session.device, writes, device_session.via, session=device_session
    )


async def import_points(device_session: MqttDeviceSession, uplink: Uplink, payload: bytes) -> Receipt | None:
    """``ds/NAME/timestamped_batch``: import values of the past, ``[[milliseconds UTC, value], …]``; all or none."""
    stream, rows = _datastream(device_session, uplink.name), _json(payload)
    try:
        points = [(stream, at, raw) for at, raw in timed_values(rows, MAX_IMPORT)]
    except ValueError as error:
        raise Rejected(str(error)) from None
    return await device_session.hub.uplinks.import_values(device_session.device, points, device_session.via)


async def erase_value(device_session: MqttDeviceSession, uplink: Uplink, _payload: bytes) -> None:
    """``ds/NAME/erase``: clear the value; its history stays."""
    await device_session.hub.devices.clear(device_session.device, _datastream(device_session, uplink.name))


async def set_property(device_session: MqttDeviceSession, uplink: Uplink, payload: bytes) -> None:
    """``ds/NAME/prop/PROPERTY``: set a widget property."""
    values = {uplink.property: decode_text(payload).split("\0")}
    await device_session.hub.uplinks.set_properties(device_session.device, [uplink.name], values)


async def erase_property(device_session: MqttDeviceSession, uplink: Uplink, _payload: bytes) -> None:
    """``ds/NAME/prop/PROPERTY/erase``: remove a widget property."""
    pin = _datastream(device_session, uplink.name).pin
    await device_session.hub.properties.erase(device_session.device, pin, uplink.property)


async def get_datastreams(device_session: MqttDeviceSession, _uplink: Uplink, payload: bytes) -> None:
    """``get/ds``: publish the values of the named datastreams."""
    pins, errors = [], []
    for name in _names(payload):
        try:
            pins.append(_datastream(device_session, name).pin)
        except UnknownPin as error:
            errors.append(str(error))
    _publish_values(device_session, pins)
    if errors:
        raise UnknownPin("; ".join(errors))


async def get_all_datastreams(device_session: MqttDeviceSession, _uplink: Uplink, _payload: bytes) -> None:
    """``get/ds/all``: publish the values of all datastreams with ``sync = true``."""
    _publish_values(device_session, None)


def _publish_values(device_session: MqttDeviceSession, pins: Iterable[int] | None) -> None:
    """Publish the current values of some pins to the device; None means those of all datastreams with ``sync``."""
    for stream, value in device_session.hub.uplinks.current_values(device_session.device, pins):
        device_session.publish(f"ds/{stream.name}", encode_values(texts_of(value)), key=stream.pin)


# -- events, metadata and information ---------------------------------------------------------------------------------


async def log_event(device_session: MqttDeviceSession, uplink: Uplink, payload: bytes) -> None:
    """``event/CODE``: log an event; the payload is its description."""
    uplinks, device = device_session.hub.uplinks, device_session.device
    codes = [event_type.code for event_type in device.template.events]
    if uplink.name not in codes:
        raise NotFound(uplinks.describe_unknown("event", uplink.name, codes))
    await uplinks.log_event(device, uplink.name, decode_text(payload))


async def set_metadata(device_session: MqttDeviceSession, uplink: Uplink, payload: bytes) -> None:
    """``meta/FIELD``: set a metadata field."""
    try:
        await device_session.hub.uplinks.set_metadata(device_session.device, uplink.name, decode_text(payload))
    except NotFound:
        raise NotFound(_unknown_field(device_session, uplink.name)) from None


async def get_metadata(device_session: MqttDeviceSession, _uplink: Uplink, payload: bytes) -> None:
    """``get/meta``: publish the named metadata fields."""
    errors = []
    for name in _names(payload):
        try:
            _, value = await device_session.hub.uplinks.metadata(device_session.device, name)
        except NotFound:
            errors.append(_unknown_field(device_session, name))
        else:
            device_session.publish(f"meta/{name}", value.encode(), key=("meta", name))
    if errors:
        raise NotFound("; ".join(errors))


def _unknown_field(device_session: MqttDeviceSession, name: str) -> str:
    """Return the error text for a metadata field that the device does not have."""
    names = [field.name for field in device_session.device.template.metadata]
    return device_session.hub.uplinks.describe_unknown("metadata field", name, names)


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
    location = await device_session.hub.uplinks.location(device_session.device)
    device_session.publish("loc/all", location.encode())


async def receive_info(device_session: MqttDeviceSession, _uplink: Uplink, payload: bytes) -> None:
    """``info/mcu``: record the device's firmware and receive buffer (docs.blynk.io, Firmware and Device Info)."""
    fields = _json(payload)
    if not isinstance(fields, dict):
        raise Rejected('the info message must be a JSON object, such as {"ver": "1.0.0"}')
    info = {
        str(_INFO_KEYS.get(key, key)): text_of(value if (number := as_integer(value)) is None else number)
        for key, value in fields.items()
        if isinstance(value, (str, int, float))
    }

    def on_mismatch(text: str) -> None:
        device_session.send_diagnostic(f"this device {text}")

    if (size := info.get("buff-in", "")).isdecimal():
        device_session.limit_packet_size(int(size[:9]))
    await device_session.hub.uplinks.report_info(device_session.device, info, device_session.address, on_mismatch)


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
