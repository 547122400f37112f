"""Wires: connections as protocols see them, plain or through TLS; and `WireProtocol`, which a connector registers."""

from __future__ import annotations

import select
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
import trio

from hub.config import Listen
from hub.net.proxy_protocol import subscriber_of
from hub.net.timeouts import DEFAULT_TIMEOUTS, NetTimeouts

#: Bytes of one read: with more, others would wait longer beside a flood, and CPU would not be saved.
CHUNK = 4096

#: The offset of `tcpi_rtt`, in microseconds, in Linux' `struct tcp_info` (linux/tcp.h).
TCP_INFO_RTT = 68
#: The event that a client has closed its side (poll(2)); only Linux has it, elsewhere the end of both sides is noticed.
POLLRDHUP: int = getattr(select, "POLLRDHUP", 0)

#: The meaning of a client's TLS alert, for the log.
_ALERTS = {
    "UNKNOWN_CA": "does not trust this certificate",
    "BAD_CERTIFICATE": "does not accept this certificate (is it made for the name that the client dials?)",
    "CERTIFICATE_UNKNOWN": "does not trust this certificate",
    "CERTIFICATE_EXPIRED": "finds this certificate expired (is the device's clock right?)",
    "UNSUPPORTED_PROTOCOL": "speaks a TLS version older than 1.2",
    "NO_SHARED_CIPHER": "has no TLS cipher in common with the hub",
    "HTTP_REQUEST": "speaks plain HTTP on a TLS port",
    "WRONG_VERSION_NUMBER": "does not speak TLS on a TLS port",
}


@attrs.define(eq=False)
class Peer:
    """The remote side of a connection, and the limits that count it."""

    address: str
    tls: bool
    listen: Listen
    #: Connections that have not logged in, by address; shared by all peers of a listener.
    _unauthenticated: Counter[str] = attrs.Factory(Counter)
    #: The address under which this one is counted, or "".
    _counted: str = ""
    #: The hub's address that the connection came to.
    local: str = ""

    def count(self) -> None:
        """Count the connection as one that has not logged in."""
        self._counted = subscriber_of(self.address)
        self._unauthenticated[self._counted] += 1

    def authenticated(self) -> None:
        """Stop counting the connection: it has logged in, or ended."""
        if self._counted:
            self._unauthenticated[self._counted] -= 1
            if not self._unauthenticated[self._counted]:
                del self._unauthenticated[self._counted]
            self._counted = ""


class Wire:
    """A connection. ``send`` is sync: output that the socket does not take at once is sent by a task."""

    __slots__ = ("_drained", "_first", "_out", "_sock", "_timeouts", "broken", "busy", "closing", "farewell", "spawn")

    def __init__(
        self,
        sock: socket.socket,
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
        timeouts: NetTimeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._sock = sock
        self._timeouts = timeouts
        #: Starts ``await fn()`` as a task of the listener; it must not raise.
        self.spawn = spawn
        self._first = b""
        self._out = bytearray()
        self._drained: trio.Event | None = None
        #: The reason why nothing can be sent any more, or "".
        self.broken = ""
        #: Set by the protocol while it owes an answer: the connection is not closed at a stop.
        self.busy = False
        #: Set when the hub stops: the protocol sends what it owes and returns.
        self.closing = False
        #: Set by the protocol: the last bytes to the client when the hub stops.
        self.farewell = b""

    @property
    def pending(self) -> int:
        """Bytes of output that the client has not taken yet."""
        return len(self._out)

    @property
    def hung_up(self) -> bool:
        """Whether the client has ended the connection and all its input was read."""
        try:
            return self._sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True

    @property
    def ended(self) -> bool:
        """Whether the connection is closed, or the client has closed its side, even if its input was not read yet."""
        if self._sock.fileno() == -1:
            return True
        poll = select.poll()
        poll.register(self._sock, POLLRDHUP)
        return bool(poll.poll(0))

    @property
    def rtt(self) -> float | None:
        """The round-trip time in milliseconds that the kernel has measured; None if unknown."""
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_RTT + 4)
        except (OSError, AttributeError):
            return None
        return float(int.from_bytes(info[TCP_INFO_RTT:], sys.byteorder)) / 1000 if len(info) > TCP_INFO_RTT else None

    async def receive(self) -> bytes:
        """Return the next input, at most 4 KiB; b"" when the connection has ended."""
        if self._first:
            data, self._first = self._first, b""
            return data
        sock = self._sock
        while sock.fileno() != -1:
            try:
                await trio.lowlevel.wait_readable(sock)
                return sock.recv(CHUNK)
            except BlockingIOError:
                continue
            except (OSError, ValueError, trio.ClosedResourceError):
                return b""
        return b""

    def unread(self, data: bytes) -> None:
        """Put input back; the next `receive` returns it."""
        self._first = data

    def send(self, data: bytes) -> None:
        if not self.broken:
            self._send(data)

    def _send(self, data: bytes) -> None:
        if self._out:
            self._out += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except (OSError, ValueError) as error:
            self.broken = str(error)
            return
        if sent < len(data):
            self._out += data[sent:]
            self._drained = trio.Event()
            self.spawn(self._drain)

    async def _drain(self) -> None:
        assert self._drained is not None
        try:
            while self._out and not self.broken and self._sock.fileno() != -1:
                with trio.move_on_after(self._timeouts.stall) as deadline:
                    await trio.lowlevel.wait_writable(self._sock)
                if deadline.cancelled_caught:
                    self.broken = f"took nothing for {self._timeouts.stall:.0f} s"
                    self.close()
                    return
                try:
                    del self._out[: self._sock.send(self._out)]
                except BlockingIOError:
                    continue
        except (OSError, ValueError, trio.ClosedResourceError) as error:
            self.broken = str(error) or "closed"
        finally:
            self._out.clear()
            self._drained.set()

    def keep_alive(self) -> None:
        """Have the kernel probe a client that is silent for a minute, every 20 s, to notice that it is gone."""
        with suppress(OSError, AttributeError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    async def drained(self) -> None:
        """Return when no output is pending."""
        while self._out and self._drained is not None:
            await self._drained.wait()

    async def drained_in(self, seconds: float) -> None:
        """Return when no output is pending, or after so many seconds; also when cancelled."""
        if self._out:
            with trio.move_on_after(seconds, shield=True):
                await self.drained()

    def close(self) -> None:
        """Close the connection now; a task in `receive` gets b""."""
        self.broken = self.broken or "closed"
        if self._sock.fileno() != -1:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def linger(self) -> None:
        """Shut down the output, and discard what the client still sends, for a second at most.

        Closing with input unread would reset the connection, and the client might never see the last answer.
        """
        with trio.move_on_after(self._timeouts.linger, shield=True):
            await self.drained()
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                return
            while await Wire.receive(self):
                pass

    async def aclose(self) -> None:
        """Close the connection when no output is pending, at the latest after two seconds."""
        await self.drained_in(self._timeouts.flush)
        self.close()


class TlsWire(Wire):
    """A `Wire` through TLS."""

    __slots__ = ("_incoming", "_notified", "_outgoing", "_tls", "failure")

    def __init__(
        self,
        sock: socket.socket,
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
        timeouts: NetTimeouts,
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(sock, spawn, timeouts)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        #: The client's TLS alert in words, or "".
        self.failure = ""
        #: Whether close_notify was sent.
        self._notified = False

    async def handshake(self, raw: bytes, at_once: trio.Semaphore) -> None:
        """Do the handshake, given the first bytes. ``at_once`` limits how many are computed at once.

        Raises ssl.SSLError, or EOFError when the client goes away.
        """
        self._incoming.write(raw)
        while True:
            try:
                async with at_once:
                    self._tls.do_handshake()
                    await trio.lowlevel.checkpoint()
            except ssl.SSLWantReadError:
                self._flush()
                if not (data := await super().receive()):
                    raise EOFError from None
                self._incoming.write(data)
            except ssl.SSLError:
                self._flush()
                raise
            else:
                self._flush()
                return

    async def receive(self) -> bytes:
        if self._first:
            data, self._first = self._first, b""
            return data
        while True:
            try:
                return self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                self._flush()
                if not (data := await super().receive()):
                    return b""
                self._incoming.write(data)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                # With TLS 1.3 the client checks the hub's certificate after the hub has finished the handshake.
                self.failure = alert(error)
                return b""

    def _send(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self.broken = str(error)
            return
        self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            super()._send(data)

    def close(self) -> None:
        self._notify()
        super().close()

    async def linger(self) -> None:
        self._notify()
        await super().linger()

    async def aclose(self) -> None:
        """Close the connection as `Wire.aclose` does, but read the client's own close_notify first.

        Unread, it would make the kernel reset the connection, which the client may see as an error.
        """
        if self._notify():
            await self.drained_in(self._timeouts.flush)
            await super().linger()
        await super().aclose()

    def _notify(self) -> bool:
        """Send close_notify (RFC 8446 §6.1, RFC 5246 §7.2.1), once; returns whether it was sent now.

        Without it the client cannot tell a complete answer from a truncated one.
        """
        if self._notified or self.broken or self._tls.version() is None:
            return False
        self._notified = True
        with suppress(ssl.SSLError):
            # OpenSSL raises when the client's close_notify was not read; it is not waited for here.
            self._tls.unwrap()
        self._flush()
        return True


def alert(error: ssl.SSLError) -> str:
    """Return the meaning of a TLS error, as the end of a sentence that begins with an address."""
    reason = (
        (error.reason or "")
        .upper()
        .removeprefix("TLSV1_ALERT_")
        .removeprefix("SSLV3_ALERT_")
        .removeprefix("TLSV13_ALERT_")
    )
    return _ALERTS.get(reason, f"failed the TLS handshake: {reason.lower().replace('_', ' ') or error}")


@attrs.frozen(kw_only=True)
class WireProtocol:
    """A protocol that a connector registers.

    ``sniff(first bytes)`` is whether a connection speaks it, and ``serve(wire, peer)`` serves one until it ends.
    ``overload_response(first bytes)`` is the answer to a connection over the limits, without TLS. With
    ``websocket_path`` the HTTP connector serves WebSockets on that path too, as a wire of binary messages.
    """

    name: str
    sniff: Callable[[bytes], bool]
    serve: Callable[[Wire, Peer], Awaitable[None]]
    overload_response: Callable[[bytes], bytes] = lambda _first: b""
    websocket_path: str | None = None
    subprotocol: str | None = None
