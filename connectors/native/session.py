"""One connection of a device over Blynk's binary protocol, as the hub sees it: its states, its limits, its sends.

Theory of operation. The `State` of a connection only moves forward:

======  ===================================================  =========================================================
state   meaning                                              left for
======  ===================================================  =========================================================
LOGIN   Only a login is valid. A rejected login is answered  INFO, when `_log_in` knows the token; `device` is set from
        and may be repeated.                                 then on, and the hub may `send`.
INFO    The client waits for the answer to its info frame,   READY, when `on_info` has answered the info frame, or when
        and must get nothing else before it: answers are     none came for two seconds and a push waits.
        sent, pushes wait.
READY   Answers and pushes are sent.                         CLOSED
CLOSED  The connection has ended, or is about to: after the  -
        read that is being handled, `run` returns.
======  ===================================================  =========================================================

A connection moves to CLOSED from every state: by `close`, which the hub calls, and which follows silence (`expire`), a
protocol error and a flood; and by `finish`, when the client has disconnected.

Frames that cannot be sent at once wait for a task, whose state is the `Drain`. It is IDLE (there is no task) until
`_start_draining`; SENDING from then on; WAITING while only pushes wait and the connection is in INFO, until
`_wake_drain` is called or that time is over; and IDLE again when no frame waits. Answers go before pushes. A push
replaces a waiting push for the same pin.

Rules of real clients that shape this: nothing but the answer may come between a login and the answer to the info frame;
a client that logged in with command 2 loses every frame but the first of a read; no frame may be longer than the
client's ``buff-in``; and a client drops the connection on any command that it does not know, so only RESPONSE, PING,
INTERNAL, HARDWARE and REDIRECT are ever sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING

import trio

from connectors.native.protocol import (
    HEADER_SIZE,
    LOGINS,
    MAX_BODY,
    MAX_LOGIN_BODY,
    PIN_NUMBERS,
    Cmd,
    Decoder,
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
from connectors.native.timeouts import NativeTimeouts
from hub import (
    AppConnected,
    Command,
    Conflict,
    Device,
    Forbidden,
    Hello,
    HubError,
    NotAuthenticated,
    NotFound,
    Principal,
    Reboot,
    Reconfigure,
    Redirect,
    Rejected,
    RequestError,
    SetDatastream,
    SetMetadata,
    StorageError,
    TokenBucket,
    TooMany,
    Unavailable,
    UnknownPin,
    WireFrame,
    Write,
    translate,
)
from hub.parsing.spellings import decimal, stamp, strip_padding

if TYPE_CHECKING:
    from hub import Hub, Peer, Wire

#: The status that answers each error.
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

#: Heartbeat in seconds of a client that does not announce one, and the range that it may announce (`BlynkApi.h`).
DEFAULT_HEARTBEAT = 45
HEARTBEATS = 10, 3600
#: Receive buffer in bytes of a client that does not announce one: Arduino's default of 256 with a margin.
DEFAULT_BUFFER = 250
#: Bytes waiting for a client before the hub stops reading from it, and frames waiting in each of its queues.
MAX_PENDING = 16 * 1024
MAX_QUEUED = 300

#: Handles one command of a logged-in device, given the message id and the body, and appends its answers to the list.
Handler = Callable[["NativeSession", int, bytes, list[bytes]], Awaitable[None]]


class State(Enum):
    """The state of a connection; see the theory of operation."""

    LOGIN = auto()
    INFO = auto()
    READY = auto()
    CLOSED = auto()


class Drain(Enum):
    """The state of the task that sends waiting frames; see the theory of operation."""

    IDLE = auto()
    WAITING = auto()
    SENDING = auto()


# For every message: looking up a member of an enum takes ten times as long in Python 3.11.
_HARDWARE, _GROUP, _PING = int(Cmd.HARDWARE), int(Cmd.GROUP), int(Cmd.PING)
_INFO, _CLOSED, _IDLE = State.INFO, State.CLOSED, Drain.IDLE


class NativeSession:
    """One connection. It is a `hub.sessions.Session` once its device has logged in."""

    __slots__ = (
        "_bucket",
        "_close_reason",
        "_decoder",
        "_drain",
        "_drain_wake",
        "_flood_began_at",
        "_group_shared",
        "_group_timestamp",
        "_handlers",
        "_last_flood_at",
        "_limit_answered_at",
        "_logged_in_at",
        "_message_ids",
        "_monotonic",
        "_one_per_send",
        "_peer",
        "_pings",
        "_sent_at",
        "_silent_seconds",
        "_state",
        "_throttle_due",
        "_timeouts",
        "_waiting_pushes",
        "_waiting_replies",
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

    def __init__(
        self, hub: Hub, wire: Wire, peer: Peer, handlers: Mapping[int, Handler], timeouts: NativeTimeouts
    ) -> None:
        self._monotonic = hub.clock.monotonic
        self._timeouts = timeouts
        now = self._monotonic()
        self.hub = hub
        self._wire = wire
        self._peer = peer
        self._handlers = handlers
        self._decoder = Decoder(MAX_LOGIN_BODY)
        self._message_ids = MessageIds()
        self._state = State.LOGIN
        self.device: Device = None  # type: ignore[assignment]  # until it has logged in
        self.principal: Principal = None  # type: ignore[assignment]
        self.token = ""
        self.via = "native"
        self.address = peer.address
        #: Seconds between two signs of life that the device promises.
        self.heartbeat = DEFAULT_HEARTBEAT
        #: Bytes of the device's receive buffer.
        self.buffer = DEFAULT_BUFFER
        #: When the connection counts as dead, by the monotonic clock.
        self.expires = now + self._timeouts.login
        limits = hub.config.limits
        self._bucket = TokenBucket(limits.messages_per_second, limits.burst, now)
        #: A message was dropped since the last throttling.
        self._throttle_due = False
        self._last_flood_at = float("-inf")
        self._flood_began_at = 0.0
        self._limit_answered_at = float("-inf")
        #: The timestamp in ms UTC of the open GROUP, and whether the hub's clock gave it.
        self._group_timestamp: int | None = None
        self._group_shared = False
        #: The target of each pin that BRIDGE has initialized.
        self.bridges: dict[str, Device] | None = None
        #: The newest push of each kind, in the order of sending, and answers.
        self._waiting_pushes: dict[object, bytes] = {}
        self._waiting_replies: list[bytes] = []
        self._sent_at = float("-inf")
        self._drain = Drain.IDLE
        #: Wakes the drain that is WAITING.
        self._drain_wake: trio.Event | None = None
        self._logged_in_at = 0.0
        self._one_per_send = False
        self._close_reason = ""
        self._silent_seconds = 0.0
        self._pings: dict[int, trio.Event] | None = None

    # -- reading --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and handle frames until the connection ends."""
        wire = self._wire
        try:
            while data := await wire.receive():
                if self.device is not None:
                    self._mark_alive()
                await self._handle(data)
                if wire.pending > MAX_PENDING:
                    await wire.drained()
                # The drain takes them one at a time.
                while len(self._waiting_replies) > MAX_QUEUED and self._state is not _CLOSED:  # noqa: ASYNC110
                    await trio.sleep(self._timeouts.spacing)
                if self._throttle_due:
                    await self._throttle()
                if self._state is _CLOSED:
                    break
        except RemoteProtocolError as error:
            self.close(str(error))
            client = f"device {self.device.name}" if self.device is not None else "a client that has not logged in"
            self.hub.reject(self.address, f"{client} broke the protocol: {error}")

    async def _handle(self, data: bytes) -> None:
        """Handle all frames of one read, with one write of the replies and no await for values."""
        replies: list[bytes] = []
        traced, now, history = self.hub.bus.wants(WireFrame), self._monotonic(), self.hub.history
        self._bucket.refill(now)
        try:
            for command, message_id, body, status in self._decoder.receive(data):
                if traced:
                    self._trace("in", command, message_id, body, status)
                if self.device is None:
                    await self._log_in(command, message_id, body, replies)
                elif command == _HARDWARE:
                    if history.full:
                        await self._wait_for_space(replies)
                    if self._bucket.take():
                        self._on_hardware(message_id, body, replies)
                    else:
                        self._drop_over_rate(message_id, replies)
                elif command == _GROUP:
                    self._on_group(body)
                elif command == _PING:
                    replies.append(response(message_id, Status.OK))
                elif not command:
                    self._on_response(message_id)
                elif self._bucket.take():
                    await self._dispatch(command, message_id, body, replies)
                else:
                    self._drop_over_rate(message_id, replies)
                if self._state is _CLOSED:
                    break
        finally:
            self._reply(replies)

    def _reply(self, replies: list[bytes]) -> None:
        """Send the replies, or queue them for a client that takes one frame per read; empty the list."""
        if not replies:
            return
        if self.hub.bus.wants(WireFrame) and self.device is not None:
            for reply in replies:
                self._trace_sent(reply)
        if self._one_per_send and (
            self._drain is not _IDLE or len(replies) > 1 or self._monotonic() < self._sent_at + self._timeouts.spacing
        ):
            self._waiting_replies += replies
            self._wake_drain()
            self._start_draining()
        else:
            self._sent_at = self._monotonic()
            self._wire.send(b"".join(replies))
        replies.clear()

    async def _wait_for_space(self, replies: list[bytes]) -> None:
        """Wait until storage takes values again.

        The device is not read meanwhile, so that it does not count as silent.
        """
        self._reply(replies)
        self.expires = float("inf")
        while self.hub.history.full and self._state is not _CLOSED:
            with trio.move_on_after(self._timeouts.full_check):
                await self.hub.history.wait_for_space()
        self._mark_alive()

    def _mark_alive(self) -> None:
        """Put off the time at which the device counts as silent."""
        self.expires = self._monotonic() + self.heartbeat * self.hub.config.hub.heartbeat_factor

    def _drop_over_rate(self, message_id: int, replies: list[bytes]) -> None:
        """Drop a message over the device's rate, and answer once a minute."""
        now = self._monotonic()
        if not self._throttle_due:
            self._throttle_due = True
            if now - self._last_flood_at > self._timeouts.flood_forgotten:
                self._flood_began_at = now
            self._last_flood_at = now
        if now - self._limit_answered_at >= self._timeouts.flood_answer:
            self._limit_answered_at = now
            replies.append(response(message_id, Status.QUOTA_LIMIT))
            rate = self.hub.config.limits.messages_per_second
            self.hub.reject(
                self.address, f"device {self.device.name} sends more than {rate} messages/s", self.device.id
            )

    async def _throttle(self) -> None:
        """Pause reading from a device over its rate; disconnect it when it does not slow down."""
        if self._monotonic() - self._flood_began_at > self._timeouts.flood_patience:
            self.close(f"the device kept sending more than {self.hub.config.limits.messages_per_second} messages/s")
            return
        self._throttle_due = False
        await trio.sleep(self._timeouts.flood_pause)

    # -- states ---------------------------------------------------------------------------------------------------

    async def _log_in(self, command: int, message_id: int, body: bytes, replies: list[bytes]) -> None:
        """Handle a login. Raises `RemoteProtocolError` for any other frame."""
        if command not in LOGINS:
            raise RemoteProtocolError(f"the first frame was {describe(command, message_id, b'', 0)} instead of a login")
        token = strip_padding(body.decode("utf-8", "surrogateescape"))
        device = self.hub.tokens.device_for(token)
        if device is None:
            hello = Hello(via=self.via, address=self.address, tls=self._peer.tls)
            device = await self.hub.login(token, hello)
            if device is not None and self._wire.ended:
                self.close("the client disconnected during its login")
                return
        if device is None:
            self.hub.reject(self.address, f"unknown token ending …{ascii(token[-2:])[1:-1]}")
            replies.append(response(message_id, Status.INVALID_TOKEN))
            return
        if self._state is State.LOGIN:
            self._state = State.INFO
        self.device, self.token = device, token
        self.principal = device.as_principal()
        self._decoder.max_body = MAX_BODY
        self._one_per_send = command == Cmd.LOGIN
        self._logged_in_at = self._monotonic()
        self._bucket = self.hub.message_budget(device, self._monotonic())
        self._mark_alive()
        self._peer.authenticated()
        replies.append(response(message_id, Status.OK))
        self._reply(replies)
        self.hub.sessions.connected(self)

    def _set_ready(self) -> None:
        """Let pushes be sent from now on."""
        if self._state is _INFO:
            self._state = State.READY
        self._wake_drain()

    def expire(self) -> None:
        """Close the connection because nothing was received for too long."""
        if self.device is None:
            self.hub.reject(self.address, f"did not log in within {self._timeouts.login:.0f} s")
            self.close("no login")
        else:
            self._silent_seconds = self.heartbeat * self.hub.config.hub.heartbeat_factor
            self.close(f"the device sent nothing for {self._silent_seconds:.0f} s")

    def close(self, reason: str) -> None:
        """Close the connection; only the first ``reason`` is reported to the hub."""
        self._close_reason = self._close_reason or reason
        self._state = State.CLOSED
        self._wire.close()

    def finish(self) -> None:
        """Tell the hub that the connection has ended, and end the drain."""
        self._state = State.CLOSED
        if self.device is not None:
            reason = self._close_reason or "the device closed the connection"
            self.hub.sessions.disconnected(self, reason, self._silent_seconds)
        self._wake_drain()

    # -- commands from the device ---------------------------------------------------------------------------------

    def _on_hardware(self, message_id: int, body: bytes, replies: list[bytes]) -> None:
        """Write the value of a ``vw``."""
        parts = split(body)
        pin = PIN_NUMBERS.get(parts[1]) if len(parts) > 2 else None
        if parts[0] != "vw" or pin is None:
            # Reports of direct pins (dw, aw) have no datastream to go to.
            if parts[0] not in ("dw", "aw", "dr", "ar", "vr", "pm"):
                replies.append(response(message_id, Status.ILLEGAL_COMMAND))
            return
        raw = parts[2] if len(parts) == 3 else parts[2:]
        try:
            self.hub.writes.write(
                Write(self.device, pin, raw, "native", self.principal, self._group_timestamp, self, self._group_shared)
            )
        except UnknownPin:
            self.hub.reject_unknown_pin(self.device, pin, self.address)
        except Rejected as error:
            replies.append(response(message_id, Status.ILLEGAL_COMMAND))
            self.report_rejection(f"V{pin} ({self.device.points[pin].datastream.type}): {error}")
        except Unavailable:
            replies.append(response(message_id, Status.SERVER_ERROR))

    def _on_group(self, body: bytes) -> None:
        """Begin or end a group, whose values share a timestamp: the hub's ("b"), or the device's own in ms ("t")."""
        kind, *arguments = split_stripped(body)
        self._group_shared = kind == "b"
        if kind == "b":
            self._group_timestamp = self.hub.clock.now()
        elif kind == "t" and arguments:
            self._group_timestamp = self._parse_timestamp(arguments[0])
        elif kind == "e":
            self._group_timestamp = None

    def _parse_timestamp(self, text: str) -> int | None:
        """Return a group's timestamp in ms UTC; None, with a report, if it is invalid: then the hub's clock counts."""
        with suppress(ValueError):
            if (timestamp := stamp(decimal(text))) >= 0:
                return timestamp
        self.report_rejection(
            f"the group's timestamp {text[:40]!r} is not a number of milliseconds since 1970; the hub's time is used"
        )
        return None

    def _on_response(self, message_id: int) -> None:
        if self._pings and message_id in self._pings:
            self._pings[message_id].set()

    async def _dispatch(self, command: int, message_id: int, body: bytes, replies: list[bytes]) -> None:
        """Call the command's handler; an error that it raises is answered and reported."""
        handler = self._handlers.get(command)
        if handler is None:
            replies.append(response(message_id, Status.ILLEGAL_COMMAND))
            return
        try:
            await handler(self, message_id, body, replies)
        except (RequestError, StorageError) as error:
            replies.append(response(message_id, translate(error, STATUS)))
            self.report_rejection(f"{Cmd(command).name}: {error}")

    async def on_info(self, message_id: int, parts: list[str], replies: list[bytes]) -> None:
        """Apply the info frame: keys and values about the firmware, its heartbeat and its receive buffer."""
        info = dict(zip(parts[::2], parts[1::2], strict=False))
        shortest, longest = HEARTBEATS
        if (heartbeat := info.get("h-beat", "")).isdecimal():
            self.heartbeat = min(max(int(heartbeat[:9]), shortest), longest)
            self._mark_alive()
        if (buffer := info.get("buff-in", "")).isdecimal():
            self.buffer = min(max(int(buffer[:9]), 64), MAX_BODY)
        replies.append(response(message_id, Status.OK))
        self._reply(replies)
        self._set_ready()
        await self.hub.uplinks.report_info(self.device, info, self.address)

    def report_rejection(self, reason: str) -> None:
        """Report to the hub that something of the device was rejected."""
        self.hub.reject(self.address, f"device {self.device.name}: {reason}", self.device.id)

    # -- commands to the device -----------------------------------------------------------------------------------

    @property
    def rtt(self) -> float | None:
        return self._wire.rtt

    def send(self, command: Command) -> None:
        """Send a push, at once or as soon as the client is ready; the newest for a pin replaces a waiting one."""
        encoded, key = self._encode(command)
        if encoded is None:
            return
        if self.hub.bus.wants(WireFrame):
            self._trace_sent(encoded)
        if self._state is not _INFO and self._drain is _IDLE and not self._one_per_send and not self._wire.pending:
            self._wire.send(encoded)
        else:
            self._enqueue(key, encoded)

    def _encode(self, command: Command) -> tuple[bytes | None, object]:
        """Return a command's frame, None if it cannot be sent, and the key under which a later one replaces it."""
        message_id = self._message_ids.next()
        match command:
            case SetDatastream(pin, text):
                return self.encode_if_fits(Cmd.HARDWARE, message_id, ("vw", str(pin), *text)), pin
            case SetMetadata(name, value):
                return self.encode_if_fits(Cmd.INTERNAL, message_id, ("meta", name, value)), ("meta", name)
            case Redirect(host, port):
                return self.encode_if_fits(Cmd.REDIRECT, message_id, (host, str(port))), "redirect"
            case Reboot():
                return self.encode_if_fits(Cmd.INTERNAL, message_id, ("dbg", "reboot")), "reboot"
            case Reconfigure():
                # A line for the console of Edgent's firmware (`BlynkEdgentConsole.h`).
                return self.encode_if_fits(Cmd.INTERNAL, message_id, ("dbg", "config start")), "reconfigure"
            case AppConnected(present):
                # With its NUL: C++ computes a negative length without.
                return self.encode_if_fits(Cmd.INTERNAL, message_id, ("acon" if present else "adis", "")), "app"
        return None, None

    def encode_if_fits(self, command: int, message_id: int, parts: Sequence[str]) -> bytes | None:
        """Return a frame; None if it is too long for the client's buffer: the client would drop the connection."""
        try:
            encoded = frame(command, message_id, parts)
        except LocalProtocolError:
            encoded = b""
        if encoded and len(encoded) - HEADER_SIZE < self.buffer:
            return encoded
        content = " ".join(parts[:2])
        self.report_rejection(f"{content} is not sent: it is too long for the device's buffer of {self.buffer} bytes")
        return None

    async def ping(self) -> float | None:
        self._pings = self._pings or {}
        message_id, answered, began = self._message_ids.next(), trio.Event(), self._monotonic()
        self._pings[message_id] = answered
        self._wire.send(frame(_PING, message_id))
        with trio.move_on_after(self._timeouts.ping):
            await answered.wait()
        del self._pings[message_id]
        return (self._monotonic() - began) * 1000 if answered.is_set() else None

    # -- the drain ------------------------------------------------------------------------------------------------

    def _enqueue(self, key: object, encoded: bytes) -> None:
        """Queue a push in place of the one with the same key; a full queue loses its oldest."""
        pushes = self._waiting_pushes
        pushes.pop(key, None)
        if len(pushes) >= MAX_QUEUED:
            del pushes[next(iter(pushes))]
        pushes[key] = encoded
        self._start_draining()

    def _start_draining(self) -> None:
        if self._drain is _IDLE:
            self._drain = Drain.SENDING
            self._wire.spawn(self._run_drain)

    def _wake_drain(self) -> None:
        if self._drain_wake is not None:
            self._drain_wake.set()
            self._drain_wake = None

    async def _run_drain(self) -> None:
        """Send waiting answers, and waiting pushes once the client is ready for them."""
        try:
            while (self._waiting_replies or self._waiting_pushes) and not self._wire.broken:
                if not self._waiting_replies and self._state is _INFO:
                    await self._wait_for_info()
                    continue
                if self._one_per_send:
                    await trio.sleep(max(0.0, self._sent_at + self._timeouts.spacing - self._monotonic()))
                    self._sent_at = self._monotonic()
                    self._wire.send(self._next_waiting())
                else:
                    self._wire.send(b"".join(self._waiting_pushes.values()))
                    self._waiting_pushes.clear()
                await self._wire.drained()
        finally:
            self._drain = Drain.IDLE

    def _next_waiting(self) -> bytes:
        """Remove and return the next frame: answers before pushes."""
        if self._waiting_replies:
            return self._waiting_replies.pop(0)
        return self._waiting_pushes.pop(next(iter(self._waiting_pushes)))

    async def _wait_for_info(self) -> None:
        """Return when the info frame is answered, the time for it is over, or an answer waits."""
        self._drain = Drain.WAITING
        self._drain_wake = trio.Event()
        remaining = self._logged_in_at + self._timeouts.info - self._monotonic()
        with trio.move_on_after(max(0.0, remaining)) as patience:
            await self._drain_wake.wait()
        self._drain = Drain.SENDING
        if patience.cancelled_caught:
            self._set_ready()

    # -- tracing --------------------------------------------------------------------------------------------------

    def _trace(self, direction: str, command: int, message_id: int, body: bytes, status: int) -> None:
        """Emit a frame to those who watch the device's wire."""
        if self.device is not None:
            text = describe(command, message_id, body, status)
            self.hub.emit(WireFrame(self.device, self.hub.clock.now(), direction, text))

    def _trace_sent(self, encoded: bytes) -> None:
        for sent_frame in Decoder().receive(encoded):
            self._trace("out", *sent_frame)
