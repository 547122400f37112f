"""What a device says on Blynk's topics: a function for each kind, which returns once it is safe, or with a receipt.

What is refused is raised; the sentence goes to the device's developer.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hub.rejections import MAX_REASON

from connectors.mqtt.topics import Uplink
from hub import timezones
from hub.domain.metadata import BY_DEVICE, LAT_LON
from hub.errors import NotFound, Rejected, UnknownPin, WrongType
from hub.model import Datastream
from hub.spellings import as_integer, is_printable, nfc, timed_values
from hub.spellings import escape as escaped
from hub.values import MISMATCH, text_of, texts_of
from hub.writes import Write

if TYPE_CHECKING:
    from connectors.mqtt.device_session import Voice
    from hub.history import Receipt

#: Points of one batch with timestamps (docs.blynk.io, Upload set of data).
MAX_BATCH = 10_000
#: Names in one question.
MAX_NAMES = 500
#: What the info message is called in the other protocols (`BlynkApiArduino.h`), by its JSON key.
_INFO = {"tmpl": "tmpl", "ver": "fw", "build": "build", "type": "fw-type", "rxbuff": "buff-in"}

#: Characters of a payload shown to whoever watches the wire.
SHOWN = 200

Handler = Callable[["Voice", Uplink, bytes], Awaitable["Receipt | None"]]


def text(payload: bytes) -> str:
    """UTF-8, else Latin-1, as in the native protocol."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload.decode("latin-1")


def masked(said: str) -> str:
    """A topic without the token that may be in it."""
    return re.sub(r"dev/[^/]+", "dev/…", said)


def printable(said: str) -> str:
    """Text that may be put into any packet and before any eyes; part of it came from outside."""
    return escaped(said[:MAX_REASON])


def shown(payload: bytes) -> str:
    """A payload for people's eyes."""
    return printable(text(payload[:SHOWN]))


def split(payload: bytes) -> str | Sequence[str]:
    """One value, or several with NUL between them."""
    parts = text(payload).split("\0")
    return parts[0] if len(parts) == 1 else parts


def texts_payload(texts: Iterable[str]) -> bytes:
    return "\0".join(texts).encode()


def _datastream(voice: Voice, name: str) -> Datastream:
    """Raises `UnknownPin`."""
    # Names are kept in NFC; what comes is seldom not.
    pin = voice.pins.get(name)
    if pin is None:
        pin = voice.pins.get(nfc(name))
    if pin is None:
        named = next((known for known, number in voice.pins.items() if f"v{number}" == name.lower()), None)
        raise UnknownPin(
            _unknown(voice, "datastream", name, voice.pins)
            if named is None
            else f"{name} is a pin; the datastream is named {named!r}"
        )
    point = voice.device.points.get(pin)
    if point is None:
        raise UnknownPin(f"the device has no {name} any more")
    return point.datastream


#: Types of datastreams in messages.
KINDS = {
    "integer": "a as_integer number",
    "double": "a number",
    "string": "text",
    "enum": "one of the values",
    "location": "a location",
}


def _unknown(voice: Voice, what: str, name: str, known: Iterable[str]) -> str:
    near = _nearest(voice, name, known)
    return f"there is no {what} {name[:50]!r}" + (f"; did you mean {near!r}?" if near else "")


def _nearest(voice: Voice, name: str, known: Iterable[str]) -> str:
    """The name that was meant; "" when there is none, or too many ask: it takes some milliseconds."""
    if not voice.client.endpoint.may_hint():
        return ""
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name[:50].lower(), lower, 1, 0.5)
    return lower[near[0]] if near else ""


def no_uplink(voice: Voice, topic: str) -> str:
    """What is wrong with a topic that nobody publishes on."""
    near = _nearest(voice, topic.rpartition("/")[2], voice.pins)
    hint = f"; did you mean 'ds/{near}'?" if near else ""
    return f"is not a topic that devices can publish on{hint}"


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        raise Rejected("the payload is not JSON") from None


# -- values -----------------------------------------------------------------------------------------------------------


async def value(voice: Voice, said: Uplink, payload: bytes) -> Receipt:
    return write(voice, _datastream(voice, said.name).pin, payload)


def write(voice: Voice, pin: int, payload: bytes) -> Receipt:
    """``ds/NAME``, in one go: nothing is awaited for a value."""
    raw = split(payload)
    try:
        return voice.hub.writes.write(Write(voice.device, pin, raw, voice.via, voice.principal, None, voice))
    except WrongType as error:
        if not str(error).startswith(MISMATCH):
            raise
        stream = voice.device.points[pin].datastream
        values = f" ({', '.join(map(str, list(stream.values)[:20]))})" if stream.values else ""
        hint = str(error).removeprefix(MISMATCH)
        raise WrongType(f"{raw!r:.60} is not {KINDS[stream.type]}{values}{';' if hint else ''}{hint}") from error


async def batch(voice: Voice, _said: Uplink, payload: bytes) -> Receipt | None:
    """``{"NAME": value}`` of several datastreams with one stamp: all, or none."""
    found = _json(payload)
    if not isinstance(found, dict):
        raise Rejected('a batch is a JSON object, such as {"Temperature": 21.5}')
    now, writes = voice.hub.clock.now(), []
    for name, raw in found.items():
        stream = _datastream(voice, name)
        if raw is None or isinstance(raw, dict) or isinstance(raw, str) != (stream.type == "string"):
            raise Rejected(f"{name}: {json.dumps(raw)[:50]} is not {KINDS[stream.type]}")
        writes.append(
            Write(voice.device, stream.pin, raw, voice.via, voice.principal, at=now, session=voice, shared=True)
        )
    return voice.hub.writes.write_all(writes) if writes else None


async def import_points(voice: Voice, said: Uplink, payload: bytes) -> Receipt | None:
    """``[[milliseconds, value], …]`` of one datastream: all, or none."""
    hub, device = voice.hub, voice.device
    stream, rows = _datastream(voice, said.name), _json(payload)
    try:
        points = [(stream, at, raw) for at, raw in timed_values(rows, MAX_BATCH)]
    except ValueError as error:
        raise Rejected(str(error)) from None
    hub.take_quota(hub.imports, device, len(rows), "imported values")
    try:
        return await hub.writes.import_points(device, points, voice.via, voice.principal)
    except Rejected:
        hub.imports.give_back(device.id, len(rows))
        raise


async def erase_value(voice: Voice, said: Uplink, _payload: bytes) -> None:
    await voice.hub.devices.clear(voice.device, _datastream(voice, said.name))


async def set_property(voice: Voice, said: Uplink, payload: bytes) -> None:
    pin = _datastream(voice, said.name).pin
    await voice.hub.properties.set(voice.device, [pin], {said.property: text(payload).split("\0")})


async def erase_property(voice: Voice, said: Uplink, _payload: bytes) -> None:
    await voice.hub.properties.erase(voice.device, _datastream(voice, said.name).pin, said.property)


async def get_datastreams(voice: Voice, _said: Uplink, payload: bytes) -> None:
    unknown = []
    for name in _names(payload):
        try:
            _tell(voice, _datastream(voice, name))
        except UnknownPin as error:
            unknown.append(str(error))
    if unknown:
        raise UnknownPin("; ".join(unknown))


async def get_all_datastreams(voice: Voice, _said: Uplink, _payload: bytes) -> None:
    for point in tuple(voice.device.points.values()):
        if point.datastream.sync:
            _tell(voice, point.datastream)


def _tell(voice: Voice, stream: Datastream) -> None:
    held = voice.hub.writes.current(voice.device, stream)
    if held is not None:
        voice.say(f"ds/{stream.name}", texts_payload(texts_of(held)), key=stream.pin)


def _names(payload: bytes) -> list[str]:
    """Each once. Raises `Rejected` when there are more than anybody can have."""
    names = list(dict.fromkeys(name.strip() for name in text(payload).split(",") if name.strip()))
    if len(names) > MAX_NAMES:
        raise Rejected(f"at most {MAX_NAMES} names at once")
    return names


# -- everything else --------------------------------------------------------------------------------------------------


async def event(voice: Voice, said: Uplink, payload: bytes) -> None:
    codes = [kind.code for kind in voice.device.template.events]
    if said.name not in codes:
        raise NotFound(_unknown(voice, "event", said.name, codes))
    await voice.hub.timeline.log(voice.device, said.name, text(payload))


async def set_metadata(voice: Voice, said: Uplink, payload: bytes) -> None:
    hub, device = voice.hub, voice.device
    try:
        kind = hub.metadata.field(device, said.name).type
    except NotFound:
        names = [field.name for field in device.template.metadata]
        raise NotFound(_unknown(voice, "metadata field", said.name, names)) from None
    if kind not in BY_DEVICE:
        raise Rejected(f"metadata {said.name} is a {kind}, which devices cannot change")
    await hub.metadata.set(device, said.name, text(payload), voice.principal)


async def get_metadata(voice: Voice, _said: Uplink, payload: bytes) -> None:
    unknown, names = [], [field.name for field in voice.device.template.metadata]
    for name in _names(payload):
        try:
            held = await voice.hub.metadata.get(voice.device, name)
        except NotFound:
            unknown.append(_unknown(voice, "metadata field", name, names))
        else:
            voice.say(f"meta/{name}", held.encode(), key=("meta", name))
    if unknown:
        raise NotFound("; ".join(unknown))


async def get_time(voice: Voice, _said: Uplink, _payload: bytes) -> None:
    now, zone = voice.hub.clock.now(), voice.hub.timezone_of(voice.device)
    standard, daylight = timezones.offsets(zone, now)
    found = {
        "tz_name": timezones.iana(zone),
        "tz_rule": timezones.posix_rule(zone),
        "tz_offset": standard,
        "dst_offset": daylight,
        "time": now,
        "iso8601": timezones.iso(zone, now),
    }
    voice.say("utc/all/json", json.dumps(found).encode())


async def get_location(voice: Voice, _said: Uplink, _payload: bytes) -> None:
    place = await voice.hub.metadata.get(voice.device, LAT_LON)
    voice.say("loc/all", place.replace(" ", ",").encode())


async def info(voice: Voice, _said: Uplink, payload: bytes) -> None:
    """``info/mcu``: what the device runs (docs.blynk.io, Firmware and Device Info)."""
    found = _json(payload)
    if not isinstance(found, dict):
        raise Rejected('the info message is a JSON object, such as {"ver": "1.0.0"}')
    told = {
        str(_INFO.get(key, key)): text_of(one if (number := as_integer(one)) is None else number)
        for key, one in found.items()
        if isinstance(one, (str, int, float)) and is_printable(key + str(one))
    }
    template = told.get("tmpl", voice.device.template.id)
    if template != voice.device.template.id:
        why = f"runs firmware for template {template[:40]}, not {voice.device.template.id}"
        voice.diag(f"this device {why}")
        voice.hub.reject(voice.address, f"device {voice.device.name} {why}", voice.device.id)
    if (size := told.get("buff-in", "")).isdecimal():
        voice.limit(int(size[:9]))
    await voice.hub.devices.update_firmware_info(voice.device, told)


HANDLERS: dict[str, Handler] = {
    "value": value,
    "batch": batch,
    "import": import_points,
    "erase value": erase_value,
    "property": set_property,
    "erase property": erase_property,
    "get datastreams": get_datastreams,
    "get all datastreams": get_all_datastreams,
    "event": event,
    "metadata": set_metadata,
    "get metadata": get_metadata,
    "get time": get_time,
    "get location": get_location,
    "info": info,
}
