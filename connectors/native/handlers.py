"""What a logged-in device asks for, but values: a function for each command, which appends its answers to ``replies``.

An answer that says "kept" is appended after the commit. What is refused is raised and answered by the session.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from connectors.native.protocol import Cmd, Status, frame, response, split, split_stripped
from hub import timezones
from hub.domain.metadata import AUTH_TOKEN, BY_DEVICE, LAT_LON
from hub.errors import Forbidden, NotFound, Rejected, UnknownPin
from hub.values import texts_of
from hub.writes import Write

if TYPE_CHECKING:
    from connectors.native.endpoint import NativeSession

log = logging.getLogger(__name__)

#: Targets of one device's bridges.
MAX_BRIDGES = 100
#: How pins are written.
PINS = {str(pin): pin for pin in range(256)}
#: The first key of an info message, across the clients.
INFO_KEYS = frozenset(
    {"ver", "mcu", "ncp", "fw-type", "h-beat", "buff-in", "dev", "cpu", "tmpl", "fw", "build", "blynk", "con", "conn"}
)

Handler = Callable[["NativeSession", int, bytes, list[bytes]], Awaitable[None]]


async def login_again(_session: NativeSession, message: int, _body: bytes, replies: list[bytes]) -> None:
    replies.append(response(message, Status.ALREADY_REGISTERED))


async def sync(session: NativeSession, message: int, body: bytes, replies: list[bytes]) -> None:
    """HARDWARE_SYNC: every pin flagged for it, or the named ones whatever their flag. No value, no answer."""
    device, parts = session.device, split_stripped(body)
    if not body:
        pins = [pin for pin, point in device.points.items() if point.datastream.sync]
    elif parts[0] == "vr" and all(part in PINS for part in parts[1:]):
        pins = [PINS[part] for part in parts[1:]]
    elif parts[0] in ("dr", "ar"):
        return
    else:
        replies.append(response(message, Status.ILLEGAL_COMMAND))
        return
    for pin in pins:
        point = device.points.get(pin)
        value = None if point is None else session.hub.writes.current(device, point.datastream)
        if value is not None:
            encoded = session.fitting(Cmd.HARDWARE, message or 1, ("vw", str(pin), *texts_of(value)))
            replies += [encoded] if encoded else []


async def internal(session: NativeSession, message: int, body: bytes, replies: list[bytes]) -> None:
    parts = split_stripped(body)
    command, arguments = parts[0], parts[1:]
    if command in INFO_KEYS:
        await session.told(message, parts, replies)
    elif command == "rtc":
        now = session.hub.clock.now()
        local = now // 1000 + timezones.offset(session.hub.timezone_of(session.device), now) * 60
        replies.append(frame(Cmd.INTERNAL, message or 1, ("rtc", str(local))))
    elif command == "utc" and arguments:
        if (answer := _utc(arguments[0], session.hub.timezone_of(session.device), session.hub.clock.now())) is not None:
            replies.append(frame(Cmd.INTERNAL, message or 1, ("utc", arguments[0], *answer)))
    elif command == "loc" and arguments == ["all"]:
        # Only MQTT clients are known to ask; the answer is theirs.
        place = await session.hub.metadata.get(session.device, LAT_LON)
        replies.append(frame(Cmd.INTERNAL, message or 1, ("loc", "all", place.replace(" ", ","))))
    elif command == "meta" and len(arguments) > 1:
        await meta(session, message, arguments, replies)


async def meta(session: NativeSession, message: int, arguments: list[str], replies: list[bytes]) -> None:
    verb, name = arguments[:2]
    if verb == "get":
        shadowed = any(field.name == AUTH_TOKEN for field in session.device.template.metadata)
        asked_token = name == AUTH_TOKEN and not shadowed
        value = session.token if asked_token else await session.hub.metadata.get(session.device, name)
        if encoded := session.fitting(Cmd.INTERNAL, message or 1, ("meta", name, value)):
            replies.append(encoded)
    elif verb == "set":
        try:
            kind = session.hub.metadata.field(session.device, name).type
            if kind not in BY_DEVICE:
                raise Rejected(f"metadata {name} is a {kind}, which firmware cannot change")
            await session.hub.metadata.set(session.device, name, "\0".join(arguments[2:]), session.principal)
        except NotFound:
            log.debug("device %s set metadata %r, which its template does not have", session.device.name, name)
        replies.append(response(message, Status.OK))


async def property_(session: NativeSession, message: int, body: bytes, replies: list[bytes]) -> None:
    """Pins are the leading numbers; the first thing that is none is the property (`BlynkApi.h`)."""
    parts = split(body)
    count = next((n for n, part in enumerate(parts) if part not in PINS), len(parts))
    if not 0 < count < len(parts):
        raise Rejected("PROPERTY needs pins, a name and a value")
    pins = [PINS[part] for part in parts[:count]]
    await session.hub.properties.set(session.device, pins, {parts[count]: parts[count + 1 :]})
    replies.append(response(message, Status.OK))


async def event_log(session: NativeSession, message: int, body: bytes, replies: list[bytes]) -> None:
    code, description = (*split(body), "")[:2]
    try:
        await session.hub.timeline.log(session.device, code, description)
    except Rejected as error:
        replies.append(response(message, Status.ILLEGAL_COMMAND))
        session.hub.reject(
            session.address, f"device {session.device.name}: event {code[:50]!r}: {error}", session.device.id
        )
    else:
        replies.append(response(message, Status.OK))


async def event_clear(session: NativeSession, message: int, body: bytes, replies: list[bytes]) -> None:
    code, scope = (*split(body), "")[:2]
    await session.hub.timeline.resolve(session.device, code, every=scope == "all")
    replies.append(response(message, Status.OK))


async def push(session: NativeSession, message: int, body: bytes, replies: list[bytes]) -> None:
    """A notification of old firmware: kept on the timeline."""
    await session.hub.timeline.add_note(session.device, "Notification", " ".join(split(body)))
    replies.append(response(message, Status.OK))


async def bridge(session: NativeSession, message: int, body: bytes, replies: list[bytes]) -> None:
    parts = split(body)
    pin, kind = (*parts, "", "")[:2]
    if kind == "i":
        target = session.hub.tokens.device_for(parts[2]) if len(parts) > 2 else None
        bridges = session.bridges = session.bridges or {}
        if target is None or target.org != session.device.org or (pin not in bridges and len(bridges) >= MAX_BRIDGES):
            raise Forbidden("the bridge's token is not known here")
        bridges[pin] = target
        replies.append(response(message, Status.OK))
        return
    target = (session.bridges or {}).get(pin)
    if target is None:
        raise Forbidden("the bridge was not initialised")
    if kind != "vw" or len(parts) < 4 or parts[2] not in PINS:
        replies.append(response(message, Status.ILLEGAL_COMMAND))
        return
    try:
        session.hub.writes.write(Write(target, PINS[parts[2]], parts[3:], "bridge", session.principal))
    except UnknownPin:
        session.hub.reject_unknown_pin(target, PINS[parts[2]], session.address)
    online = session.hub.sessions.get(target.id) is not None
    replies.append(response(message, Status.OK if online else Status.DEVICE_NOT_IN_NETWORK))


async def ignored(_session: NativeSession, _message: int, _body: bytes, _replies: list[bytes]) -> None:
    pass


def _utc(kind: str, zone: str, now: int) -> Sequence[str] | None:
    """The answer to ``utc <kind>`` (docs.blynk.io, Timezone / Location); None when it is not known."""
    match kind:
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


HANDLERS: dict[int, Handler] = {
    Cmd.LOGIN: login_again,
    Cmd.HW_LOGIN: login_again,
    Cmd.PUSH: push,
    Cmd.BRIDGE: bridge,
    Cmd.HARDWARE_SYNC: sync,
    Cmd.INTERNAL: internal,
    Cmd.PROPERTY: property_,
    Cmd.DEBUG_PRINT: ignored,
    Cmd.EVENT_LOG: event_log,
    Cmd.EVENT_CLEAR: event_clear,
}
