"""The hub's side of Blynk's binary protocol, over TCP, TLS and WebSocket.

Rules of real clients that shape this file: nothing but the answer may come between a login and the answer to the info
frame; a session that logged in with command 2 loses every frame but the first of a read; no frame may be longer than
the client's ``buff-in``; and any command a client does not know makes it drop the link, so only RESPONSE, PING,
INTERNAL, HARDWARE and REDIRECT are ever sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from connectors.native.handlers import HANDLERS, PINS
from connectors.native.protocol import (
    HEADER_SIZE,
    LOGINS,
    MAX_BODY,
    MAX_LOGIN_BODY,
    Cmd,
    Connection,
    LocalProtocolError,
    MessageIds,
    RemoteProtocolError,
    Status,
    describe,
    frame,
    response,
    split,
    split_stripped,
)
from hub.errors import (
    Conflict,
    Forbidden,
    HubError,
    NotAuthenticated,
    NotFound,
    Rejected,
    RequestError,
    StorageError,
    TooMany,
    Unavailable,
    UnknownPin,
    translate,
)
from hub.facts import WireFrame
from hub.hookspecs import hookimpl
from hub.model import (
    AppConnected,
    Command,
    Device,
    Principal,
    Reboot,
    Reconfigure,
    Redirect,
    SetDatastream,
    SetMetadata,
)
from hub.net.wire import WireProtocol
from hub.rate_limits import TokenBucket
from hub.spellings import decimal, is_printable, stamp, strip_padding
from hub.writes import Write

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.net.wire import Peer, Wire

log = logging.getLogger(__name__)

#: What a client hears instead of an exception.
STATUS: dict[type[HubError], Status] = {
    NotAuthenticated: Status.INVALID_TOKEN,
    Forbidden: Status.NOT_ALLOWED,
    NotFound: Status.NO_DATA,
    Rejected: Status.ILLEGAL_COMMAND_BODY,
    Conflict: Status.NOT_ALLOWED,
    TooMany: Status.QUOTA_LIMIT,
    Unavailable: Status.SERVER_ERROR,
    StorageError: Status.SERVER_ERROR,
}

#: Seconds for a login, from the first byte on.
LOGIN_DEADLINE = 15.0
#: Heartbeat in seconds of a client that has not told its own, and what it may tell (`BlynkApi.h`).
DEFAULT_HEARTBEAT = 45
HEARTBEATS = 10, 3600
#: Receive buffer of a client that has not told its own: Arduino's default of 256 with a margin.
DEFAULT_BUFFER = 250
#: Seconds that pushes wait for the info frame: some clients never send one.
INFO_PATIENCE = 2.0
#: Seconds between two sends to a client that reads one frame per read (blynklib 0.2.6).
SPACING = 0.06
#: Seconds that a device has to answer a ping.
PING_PATIENCE = 5.0
#: Bytes waiting for a client before the hub stops reading from it, and commands waiting in its queue.
MAX_PENDING = 16 * 1024
MAX_QUEUED = 300
#: A device over its rate: seconds it is not read, between two answers about it, until it is cut off, and after which
#: going over it is a new flood.
FLOOD_PAUSE = 0.5
FLOOD_ANSWER_EVERY = 60.0
FLOOD_PATIENCE = 10.0
FLOOD_FORGOTTEN = 2.0
#: Seconds between two looks for silent connections.
SWEEP_EVERY = 2.0

_HARDWARE, _GROUP, _PING = int(Cmd.HARDWARE), int(Cmd.GROUP), int(Cmd.PING)


@hookimpl
def hub_protocols(hub: Hub) -> Sequence[WireProtocol]:
    endpoint = Endpoint(hub)
    return [WireProtocol(name="native", sniff=sniff, serve=endpoint.serve, websocket_path="/websockets")]


def sniff(first: bytes) -> bool:
    """Both logins: the only first frames there are."""
    return first[0] in LOGINS


class Endpoint:
    """All native connections of a hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._live: set[NativeSession] = set()
        self._sweeping = False

    async def serve(self, wire: Wire, peer: Peer) -> None:
        """Talk to one client until it is gone."""
        session = NativeSession(self.hub, wire, peer)
        self._live.add(session)
        if not self._sweeping:
            self._sweeping = True
            wire.spawn(self._sweep)
        try:
            await session.run()
        finally:
            self._live.discard(session)
            session.ended()

    async def _sweep(self) -> None:
        """Close the silent, as long as there is any connection: one task instead of a timeout per read."""
        try:
            while self._live:
                await trio.sleep(SWEEP_EVERY)
                now = time.monotonic()
                for session in tuple(self._live):
                    if now > session.expires:
                        session.expire()
        finally:
            self._sweeping = False


class NativeSession:
    """One connection. A `hub.sessions.Session` once its device has logged in."""

    __slots__ = (
        "_budget",
        "_connection",
        "_drain_wake",
        "_draining",
        "_dropped",
        "_dropped_at",
        "_flooding_since",
        "_group",
        "_group_shared",
        "_ids",
        "_limit_answered",
        "_logged_in",
        "_one_per_send",
        "_owed",
        "_peer",
        "_pings",
        "_queue",
        "_ready",
        "_reason",
        "_sent_at",
        "_silent",
        "_wire",
        "address",
        "bridges",
        "buffer",
        "device",
        "expires",
        "heartbeat",
        "hub",
        "principal",
        "token",
        "via",
    )

    def __init__(self, hub: Hub, wire: Wire, peer: Peer) -> None:
        now = time.monotonic()
        self.hub = hub
        self._wire = wire
        self._peer = peer
        self._connection = Connection(MAX_LOGIN_BODY)
        self._ids = MessageIds()
        self.device: Device = None  # type: ignore[assignment]  # until it has logged in
        self.principal: Principal = None  # type: ignore[assignment]
        self.token = ""
        self.via = "native"
        self.address = peer.address
        self.heartbeat = DEFAULT_HEARTBEAT
        self.buffer = DEFAULT_BUFFER
        #: When the connection counts as dead, by the monotonic clock.
        self.expires = now + LOGIN_DEADLINE
        limits = hub.config.limits
        self._budget = TokenBucket(limits.messages_per_second, limits.burst, now)
        self._dropped = False
        self._dropped_at = -FLOOD_FORGOTTEN
        self._flooding_since = 0.0
        self._limit_answered = 0.0
        self._group: int | None = None
        self._group_shared = False
        self.bridges: dict[str, Device] | None = None
        self._queue: dict[object, bytes] = {}
        self._owed: list[bytes] = []
        self._sent_at = 0.0
        self._draining = False
        #: Whether the info frame was answered, or none came in time; and what tells `_drain` of that.
        self._ready = False
        self._drain_wake: trio.Event | None = None
        self._logged_in = 0.0
        self._one_per_send = False
        self._reason = ""
        self._silent = 0.0
        self._pings: dict[int, trio.Event] | None = None

    # -- reading --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        wire, hub = self._wire, self.hub
        try:
            while data := await wire.receive():
                if self.device is not None:
                    self._heard()
                await self._handle(data)
                if wire.pending > MAX_PENDING:
                    await wire.drained()
                while len(self._owed) > MAX_QUEUED and not self._reason:  # noqa: ASYNC110 - one goes each time
                    await trio.sleep(SPACING)
                if self._dropped:
                    await self._punish()
                if self._reason:
                    break
        except RemoteProtocolError as error:
            self._end(str(error))
            who = f"device {self.device.name}" if self.device is not None else "somebody who has not logged in"
            hub.reject(self.address, f"{who} broke the protocol: {error}")

    async def _handle(self, data: bytes) -> None:
        """All frames of one read: one write of the replies, no await for values."""
        replies: list[bytes] = []
        watched, now, history = self.hub.bus.wants(WireFrame), time.monotonic(), self.hub.history
        self._budget.refill(now)
        try:
            for command, message, body, status in self._connection.receive(data):
                if watched:
                    self._show("in", command, message, body, status)
                if self.device is None:
                    self._before_login(command, message, body, replies)
                elif command == _HARDWARE:
                    if history.full:
                        await self._room(replies)
                    if self._budget.take():
                        self._hardware(message, body, replies)
                    else:
                        self._over_budget(message, replies)
                elif command == _GROUP:
                    self._grouped(body)
                elif command == _PING:
                    replies.append(response(message, Status.OK))
                elif not command:
                    self._answered(message)
                elif self._budget.take():
                    await self._other(command, message, body, replies)
                else:
                    self._over_budget(message, replies)
                if self._reason:
                    break
        finally:
            self._reply(replies)

    def _reply(self, replies: list[bytes]) -> None:
        if not replies:
            return
        if self.hub.bus.wants(WireFrame) and self.device is not None:
            for reply in replies:
                for shown in Connection().receive(reply):
                    self._show("out", *shown)
        if self._one_per_send and (self._draining or len(replies) > 1 or time.monotonic() < self._sent_at + SPACING):
            self._owed += replies
            self._wake_drain()
            self._start_draining()
        else:
            self._sent_at = time.monotonic()
            self._wire.send(b"".join(replies))
        replies.clear()

    async def _room(self, replies: list[bytes]) -> None:
        """Wait until values can be kept again; the device cannot be heard meanwhile, so it does not count as silent."""
        self._reply(replies)
        self.expires = float("inf")
        while self.hub.history.full and not self._reason:
            with trio.move_on_after(SWEEP_EVERY):
                await self.hub.history.wait_for_space()
        self._heard()

    def _heard(self) -> None:
        """The device is alive."""
        self.expires = time.monotonic() + self.heartbeat * self.hub.config.hub.heartbeat_factor

    def _over_budget(self, message: int, replies: list[bytes]) -> None:
        """Drop a message over the device's budget, and answer once a minute."""
        now = time.monotonic()
        if not self._dropped:
            self._dropped = True
            if now - self._dropped_at > FLOOD_FORGOTTEN:
                self._flooding_since = now
            self._dropped_at = now
        if now - self._limit_answered >= FLOOD_ANSWER_EVERY or not self._limit_answered:
            self._limit_answered = now
            replies.append(response(message, Status.QUOTA_LIMIT))
            rate = self.hub.config.limits.messages_per_second
            self.hub.reject(
                self.address, f"device {self.device.name} sends more than {rate} messages/s", self.device.id
            )

    async def _punish(self) -> None:
        """Do not read for a while from a device over its rate, and cut it off when it does not stop."""
        if time.monotonic() - self._flooding_since > FLOOD_PATIENCE:
            self._end("it kept sending over its rate")
            return
        self._dropped = False
        await trio.sleep(FLOOD_PAUSE)

    # -- logging in -----------------------------------------------------------------------------------------------

    def _before_login(self, command: int, message: int, body: bytes, replies: list[bytes]) -> None:
        if command not in LOGINS:
            raise RemoteProtocolError(f"its first frame was {describe(command, message, b'', 0)}, not a login")
        token = strip_padding(body.decode("utf-8", "surrogateescape"))
        device = self.hub.tokens.device_for(token)
        if device is None:
            self.hub.reject(self.address, f"unknown token ending …{ascii(token[-2:])[1:-1]}")
            replies.append(response(message, Status.INVALID_TOKEN))
            return
        self.device, self.token = device, token
        self.principal = Principal("device", device.id, device.org, device.name)
        self._connection.max_body = MAX_BODY
        self._one_per_send = command == Cmd.LOGIN
        self._logged_in = trio.current_time()
        self._budget = self.hub.message_budget(device, time.monotonic())
        self._heard()
        self._peer.authenticated()
        replies.append(response(message, Status.OK))
        self._reply(replies)
        self.hub.sessions.connected(self)

    def ended(self) -> None:
        """The connection is over."""
        if self.device is not None:
            self.hub.sessions.disconnected(self, self._reason or "it closed the connection", self._silent)
        self._set_ready()

    def _set_ready(self) -> None:
        self._ready = True
        self._wake_drain()

    def _wake_drain(self) -> None:
        if self._drain_wake is not None:
            self._drain_wake.set()
            self._drain_wake = None

    def expire(self) -> None:
        """Nothing came for too long."""
        if self.device is None:
            self.hub.reject(self.address, f"did not log in within {LOGIN_DEADLINE:.0f} s")
            self._end("no login")
        else:
            self._silent = self.heartbeat * self.hub.config.hub.heartbeat_factor
            self._end(f"nothing came for {self._silent:.0f} s")

    def close(self, reason: str) -> None:
        self._end(reason)

    @property
    def rtt(self) -> float | None:
        return self._wire.rtt

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._wire.close()

    # -- commands from the device ---------------------------------------------------------------------------------

    def _hardware(self, message: int, body: bytes, replies: list[bytes]) -> None:
        parts = split(body)
        pin = PINS.get(parts[1]) if len(parts) > 2 else None
        if parts[0] != "vw" or pin is None:
            # Reports of direct pins (dw, aw) have no datastream to go to.
            if parts[0] not in ("dw", "aw", "dr", "ar", "vr", "pm"):
                replies.append(response(message, Status.ILLEGAL_COMMAND))
            return
        raw = parts[2] if len(parts) == 3 else parts[2:]
        try:
            self.hub.writes.write(
                Write(self.device, pin, raw, "native", self.principal, self._group, self, self._group_shared)
            )
        except UnknownPin:
            self.hub.reject_unknown_pin(self.device, pin, self.address)
        except Rejected as error:
            replies.append(response(message, Status.ILLEGAL_COMMAND))
            wanted = self.device.points[pin].datastream.type
            self.hub.reject(self.address, f"device {self.device.name}: V{pin} ({wanted}): {error}", self.device.id)
        except Unavailable:
            replies.append(response(message, Status.SERVER_ERROR))

    def _grouped(self, body: bytes) -> None:
        """A group gives its values one stamp: the hub's at its begin, or the device's own in milliseconds."""
        kind, *rest = split_stripped(body)
        self._group_shared = kind == "b"
        if kind == "b":
            self._group = self.hub.clock.now()
        elif kind == "t" and rest:
            self._group = self._group_stamp(rest[0])
        elif kind == "e":
            self._group = None

    def _group_stamp(self, text: str) -> int | None:
        """A group's stamp in milliseconds UTC; None, with a refusal, where it is none: the hub's clock stamps then."""
        with suppress(ValueError):
            if (at := stamp(decimal(text))) >= 0:
                return at
        why = f"the group's stamp {text[:40]!r} is no number of milliseconds since 1970"
        self.hub.reject(self.address, f"device {self.device.name}: {why}", self.device.id)
        return None

    async def _other(self, command: int, message: int, body: bytes, replies: list[bytes]) -> None:
        handler = HANDLERS.get(command)
        if handler is None:
            replies.append(response(message, Status.ILLEGAL_COMMAND))
            return
        try:
            await handler(self, message, body, replies)
        except (RequestError, StorageError) as error:
            replies.append(response(message, translate(error, STATUS)))
            name = Cmd(command).name
            self.hub.reject(self.address, f"device {self.device.name}: {name}: {error}", self.device.id)

    async def told(self, message: int, parts: list[str], replies: list[bytes]) -> None:
        """The info message: keys and values of what the device runs, and how it wants to be treated."""
        info = dict(zip(parts[::2], parts[1::2], strict=False))
        lowest, highest = HEARTBEATS
        if (heartbeat := info.get("h-beat", "")).isdecimal():
            self.heartbeat = min(max(int(heartbeat[:9]), lowest), highest)
            self._heard()
        if (buffer := info.get("buff-in", "")).isdecimal():
            self.buffer = min(max(int(buffer[:9]), 64), MAX_BODY)
        template = info.get("tmpl")
        if template is not None and template != self.device.template.id:
            self.hub.reject(
                self.address,
                f"device {self.device.name} runs firmware for template {template}, not {self.device.template.id}",
                self.device.id,
            )
        replies.append(response(message, Status.OK))
        self._reply(replies)
        self._set_ready()
        printable = {key: value for key, value in info.items() if is_printable(key + value)}
        await self.hub.devices.update_firmware_info(self.device, printable)

    # -- commands to the device -----------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        """A push: at once when the client is ready for it, else when it is; the newest of a pin replaces older ones."""
        encoded, key = self._encoded(command)
        if encoded is None:
            return
        if self.hub.bus.wants(WireFrame):
            for shown in Connection().receive(encoded):
                self._show("out", *shown)
        if self._ready and not self._draining and not self._one_per_send and not self._wire.pending:
            self._wire.send(encoded)
        else:
            self._enqueue(key, encoded)

    def _encoded(self, command: Command) -> tuple[bytes | None, object]:
        """The frame of a command, and what makes a later one take its place."""
        message = self._ids.next()
        match command:
            case SetDatastream(pin, text):
                return self.fitting(Cmd.HARDWARE, message, ("vw", str(pin), *text)), pin
            case SetMetadata(name, value):
                return self.fitting(Cmd.INTERNAL, message, ("meta", name, value)), ("meta", name)
            case Redirect(host, port):
                return self.fitting(Cmd.REDIRECT, message, (host, str(port))), "redirect"
            case Reboot():
                return self.fitting(Cmd.INTERNAL, message, ("dbg", "reboot")), "reboot"
            case Reconfigure():
                # A line for the console of Edgent's firmware (`BlynkEdgentConsole.h`).
                return self.fitting(Cmd.INTERNAL, message, ("dbg", "config start")), "reconfigure"
            case AppConnected(present):
                # With its NUL: C++ computes a negative length without.
                return self.fitting(Cmd.INTERNAL, message, ("acon" if present else "adis", "")), "app"
        return None, None

    async def ping(self) -> float | None:
        self._pings = self._pings or {}
        message, answered, began = self._ids.next(), trio.Event(), trio.current_time()
        self._pings[message] = answered
        self._wire.send(frame(_PING, message))
        with trio.move_on_after(PING_PATIENCE):
            await answered.wait()
        del self._pings[message]
        return (trio.current_time() - began) * 1000 if answered.is_set() else None

    def _answered(self, message: int) -> None:
        if self._pings and message in self._pings:
            self._pings[message].set()

    def fitting(self, command: int, message: int, parts: Sequence[str]) -> bytes | None:
        """A frame, unless the client's buffer could not hold it: it would drop the link."""
        try:
            encoded = frame(command, message, parts)
        except LocalProtocolError:
            encoded = b""
        if encoded and len(encoded) - HEADER_SIZE < self.buffer:
            return encoded
        what = " ".join(parts[:2])
        self.hub.reject(
            self.address,
            f"device {self.device.name}: {what} is too long for its buffer of {self.buffer} bytes",
            self.device.id,
        )
        return None

    def _enqueue(self, key: object, encoded: bytes) -> None:
        queue = self._queue
        queue.pop(key, None)
        if len(queue) >= MAX_QUEUED:
            del queue[next(iter(queue))]
        queue[key] = encoded
        self._start_draining()

    def _start_draining(self) -> None:
        if not self._draining:
            self._draining = True
            self._wire.spawn(self._drain)

    async def _drain(self) -> None:
        """Send what waits: answers first, then pushes when the client is ready for them."""
        try:
            while (self._owed or self._queue) and not self._wire.broken:
                if not self._owed and not self._ready:
                    self._drain_wake = trio.Event()
                    with trio.move_on_at(self._logged_in + INFO_PATIENCE) as patience:
                        await self._drain_wake.wait()
                    if patience.cancelled_caught:
                        self._set_ready()
                    continue
                if self._one_per_send:
                    await trio.sleep(max(0.0, self._sent_at + SPACING - time.monotonic()))
                    self._sent_at = time.monotonic()
                    self._wire.send(self._owed.pop(0) if self._owed else self._queue.pop(next(iter(self._queue))))
                else:
                    self._wire.send(b"".join(self._queue.values()))
                    self._queue.clear()
                await self._wire.drained()
        finally:
            self._draining = False

    def _show(self, direction: str, command: int, message: int, body: bytes, status: int) -> None:
        if self.device is not None:
            text = describe(command, message, body, status)
            self.hub.emit(WireFrame(self.device, self.hub.clock.now(), direction, text))
