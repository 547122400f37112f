"""Handlers of the commands of a logged-in device, except values, groups and pings, which the session handles itself.

Each appends its answers to ``replies``; an answer that promises that something is stored, after the commit. The session
answers the errors that a handler raises.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from connectors.native.protocol import PIN_NUMBERS, Cmd, Status, frame, response, split, split_stripped
from hub import Forbidden, NotFound, Rejected, UnknownPin, Write
from hub.parsing import timezones
from hub.values import texts_of

if TYPE_CHECKING:
    from connectors.native.session import Handler, NativeSession

log = logging.getLogger(__name__)

#: Pins of one device that BRIDGE can connect to other devices.
MAX_BRIDGES = 100
#: Keys with which the info frames of the various clients begin.
INFO_KEYS = frozenset(
    {"ver", "mcu", "ncp", "fw-type", "h-beat", "buff-in", "dev", "cpu", "tmpl", "fw", "build", "blynk", "con", "conn"}
)


async def reject_second_login(_session: NativeSession, message_id: int, _body: bytes, replies: list[bytes]) -> None:
    replies.append(response(message_id, Status.ALREADY_REGISTERED))


async def sync(session: NativeSession, message_id: int, body: bytes, replies: list[bytes]) -> None:
    """Send the values of the named pins, or of all whose datastream has ``sync`` (HARDWARE_SYNC).

    Nothing is sent for a pin without a value.
    """
    parts = split_stripped(body)
    pins: list[int] | None = None
    if parts[0] == "vr" and all(part in PIN_NUMBERS for part in parts[1:]):
        pins = [PIN_NUMBERS[part] for part in parts[1:]]
    elif parts[0] in ("dr", "ar"):
        return
    elif body:
        replies.append(response(message_id, Status.ILLEGAL_COMMAND))
        return
    for stream, value in session.hub.uplinks.current_values(session.device, pins):
        encoded = session.encode_if_fits(Cmd.HARDWARE, message_id or 1, ("vw", str(stream.pin), *texts_of(value)))
        replies += [encoded] if encoded else []


async def internal(session: NativeSession, message_id: int, body: bytes, replies: list[bytes]) -> None:
    """Handle the info frame, and questions for the time, the location and metadata."""
    hub, device, parts = session.hub, session.device, split_stripped(body)
    command, arguments = parts[0], parts[1:]
    if command in INFO_KEYS:
        await session.on_info(message_id, parts, replies)
    elif command == "rtc":
        now = hub.clock.now()
        local_seconds = now // 1000 + timezones.offset(hub.timezone_of(device), now) * 60
        replies.append(frame(Cmd.INTERNAL, message_id or 1, ("rtc", str(local_seconds))))
    elif command == "utc" and arguments:
        answer = _utc(arguments[0], hub.timezone_of(device), hub.clock.now())
        if answer is not None:
            replies.append(frame(Cmd.INTERNAL, message_id or 1, ("utc", arguments[0], *answer)))
    elif command == "loc" and arguments == ["all"]:
        # Only MQTT clients are known to ask; this is the answer that they get.
        replies.append(frame(Cmd.INTERNAL, message_id or 1, ("loc", "all", await hub.uplinks.location(device))))
    elif command == "meta" and len(arguments) > 1:
        verb, name, *values = arguments
        if verb == "get":
            await _get_metadata(session, message_id, name, replies)
        elif verb == "set":
            await _set_metadata(session, message_id, name, "\0".join(values), replies)


async def _get_metadata(session: NativeSession, message_id: int, name: str, replies: list[bytes]) -> None:
    """Answer with a metadata field. Raises `NotFound`."""
    _, value = await session.hub.uplinks.metadata(session.device, name, session.token)
    if encoded := session.encode_if_fits(Cmd.INTERNAL, message_id or 1, ("meta", name, value)):
        replies.append(encoded)


async def _set_metadata(session: NativeSession, message_id: int, name: str, value: str, replies: list[bytes]) -> None:
    """Set a metadata field; one that the template does not have is ignored. Raises `Rejected`."""
    protected = "metadata {name} is a {type}, which firmware cannot change"
    try:
        await session.hub.uplinks.set_metadata(session.device, name, value, protected=protected)
    except NotFound:
        log.debug("device %s set metadata %r, which its template does not have", session.device.name, name)
    replies.append(response(message_id, Status.OK))


async def set_property(session: NativeSession, message_id: int, body: bytes, replies: list[bytes]) -> None:
    """Set a widget property of pins: the leading numbers are pins, the name comes next (`BlynkApi.h`)."""
    parts = split(body)
    count = next((n for n, part in enumerate(parts) if part not in PIN_NUMBERS), len(parts))
    if not 0 < count < len(parts):
        raise Rejected("PROPERTY needs pins, a name and a value")
    pins = [PIN_NUMBERS[part] for part in parts[:count]]
    await session.hub.uplinks.set_properties(session.device, pins, {parts[count]: parts[count + 1 :]})
    replies.append(response(message_id, Status.OK))


async def log_event(session: NativeSession, message_id: int, body: bytes, replies: list[bytes]) -> None:
    code, description = (*split(body), "")[:2]
    try:
        await session.hub.uplinks.log_event(session.device, code, description)
    except Rejected as error:
        replies.append(response(message_id, Status.ILLEGAL_COMMAND))
        session.report_rejection(f"event {code[:50]!r}: {error}")
    else:
        replies.append(response(message_id, Status.OK))


async def resolve_event(session: NativeSession, message_id: int, body: bytes, replies: list[bytes]) -> None:
    """Resolve the newest event with a code, or every one (EVENT_CLEAR)."""
    code, scope = (*split(body), "")[:2]
    await session.hub.uplinks.resolve_event(session.device, code, every=scope == "all")
    replies.append(response(message_id, Status.OK))


async def log_notification(session: NativeSession, message_id: int, body: bytes, replies: list[bytes]) -> None:
    """Record a notification of old firmware (PUSH) on the timeline."""
    await session.hub.uplinks.add_note(session.device, "Notification", " ".join(split(body)))
    replies.append(response(message_id, Status.OK))


async def bridge(session: NativeSession, message_id: int, body: bytes, replies: list[bytes]) -> None:
    """Connect a pin to another device of the organization ("i"), or write to the device that it is connected to."""
    parts = split(body)
    pin, verb = (*parts, "", "")[:2]
    if verb == "i":
        target = session.hub.tokens.device_for(parts[2]) if len(parts) > 2 else None
        bridges = session.bridges = session.bridges or {}
        if target is None or target.org != session.device.org:
            raise Forbidden("the bridge's token belongs to no device of this organization")
        if pin not in bridges and len(bridges) >= MAX_BRIDGES:
            raise Forbidden(f"a device may have at most {MAX_BRIDGES} bridges")
        bridges[pin] = target
        replies.append(response(message_id, Status.OK))
        return
    target = (session.bridges or {}).get(pin)
    if target is None:
        raise Forbidden(f"the bridge on pin {pin[:40]!r} has no target; initialize it with the target's token first")
    if verb != "vw" or len(parts) < 4 or parts[2] not in PIN_NUMBERS:
        replies.append(response(message_id, Status.ILLEGAL_COMMAND))
        return
    target_pin = PIN_NUMBERS[parts[2]]
    try:
        session.hub.writes.write(Write(target, target_pin, parts[3:], "bridge", session.principal))
    except UnknownPin:
        session.hub.reject_unknown_pin(target, target_pin, session.address)
    online = session.hub.sessions.get(target.id) is not None
    replies.append(response(message_id, Status.OK if online else Status.DEVICE_NOT_IN_NETWORK))


async def ignore(_session: NativeSession, _message_id: int, _body: bytes, _replies: list[bytes]) -> None:
    pass


def _utc(question: str, zone: str, now: int) -> Sequence[str] | None:
    """Return the answer to ``utc <question>`` (docs.blynk.io, Timezone / Location); None for an unknown question."""
    match question:
        case "time":
            return (str(now),)
        case "iso":
            return (timezones.iso(zone, now),)
        case "tz":
            return tuple(map(str, timezones.offsets(zone, now)))
        case "tz_name":
            return (timezones.iana(zone),)
        case "tz_rule":
            return (timezones.posix_rule(zone),)
        case "dst_next":
            return tuple(str(number) for change in timezones.changes(zone, now) for number in change)
    return None


HANDLERS: Mapping[int, Handler] = {
    Cmd.LOGIN: reject_second_login,
    Cmd.HW_LOGIN: reject_second_login,
    Cmd.PUSH: log_notification,
    Cmd.BRIDGE: bridge,
    Cmd.HARDWARE_SYNC: sync,
    Cmd.INTERNAL: internal,
    Cmd.PROPERTY: set_property,
    Cmd.DEBUG_PRINT: ignore,
    Cmd.EVENT_LOG: log_event,
    Cmd.EVENT_CLEAR: resolve_event,
}
