"""A connection as a protocol sees it: bytes in, bytes out, plain or through TLS. And what a protocol registers."""

from __future__ import annotations

import socket
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from hub.net.proxy_protocol import subscriber_of

if TYPE_CHECKING:
    from hub.config import Listen

#: Bytes taken in one read: more would make everybody else wait longer beside a flood, and cost no less CPU.
CHUNK = 4096
#: Seconds for a client to take what is left for it when its connection ends.
FLUSH_DEADLINE = 2.0
#: Seconds in which a client must take something of what waits for it.
STALL_DEADLINE = 30.0
#: Seconds in which a client that was refused may finish what it is sending.
LINGER = 1.0

#: Where `tcpi_rtt`, in microseconds, stands in Linux' `struct tcp_info` (linux/tcp.h).
TCP_INFO_RTT = 68

#: What a client's TLS alert means to somebody who reads the log.
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
    """Who is at the other end."""

    address: str
    tls: bool
    listen: Listen
    #: Connections by address that have not logged in, and the address that this one counts for.
    _unknown: Counter[str] = attrs.Factory(Counter)
    _counted: str = ""
    #: The hub's address that it came to.
    local: str = ""

    def count(self) -> None:
        """Count as one of its address that has not logged in."""
        self._counted = subscriber_of(self.address)
        self._unknown[self._counted] += 1

    def authenticated(self) -> None:
        """It logged in, or is gone: it no longer counts."""
        if self._counted:
            self._unknown[self._counted] -= 1
            if not self._unknown[self._counted]:
                del self._unknown[self._counted]
            self._counted = ""


class Wire:
    """A connection as a protocol sees it. ``send`` is sync: what the socket does not take at once is drained later."""

    __slots__ = ("_drained", "_first", "_out", "_sock", "broken", "busy", "closing", "goodbye", "spawn")

    def __init__(self, sock: socket.socket, spawn: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
        self._sock = sock
        #: Starts ``await fn()`` as a task of the front door; it must not raise.
        self.spawn = spawn
        self._first = b""
        self._out = bytearray()
        self._drained: trio.Event | None = None
        #: Why nothing can be sent any more; "" while it can.
        self.broken = ""
        #: A protocol sets this while it owes an answer; such a connection is not cut at a stop.
        self.busy = False
        #: The hub stops: answer what is owed and end.
        self.closing = False
        #: What the client hears last when the hub stops.
        self.farewell = b""

    @property
    def pending(self) -> int:
        """Bytes that wait for the client to take them."""
        return len(self._out)

    @property
    def hung_up(self) -> bool:
        """Whether the client has ended the connection, and nothing more is to be read."""
        try:
            return self._sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True

    @property
    def rtt(self) -> float | None:
        """Milliseconds to the client and back, as the kernel has measured it; None where it does not tell."""
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_RTT + 4)
        except (OSError, AttributeError):
            return None
        return float(int.from_bytes(info[TCP_INFO_RTT:], sys.byteorder)) / 1000 if len(info) > TCP_INFO_RTT else None

    async def receive(self) -> bytes:
        """What has come in, at most 4 KiB; b"" when the connection has ended."""
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
        """Give back what was looked at; the next `receive` returns it."""
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
                with trio.move_on_after(STALL_DEADLINE) as deadline:
                    await trio.lowlevel.wait_writable(self._sock)
                if deadline.cancelled_caught:
                    self.broken = f"took nothing for {STALL_DEADLINE:.0f} s"
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
        """Let the kernel find out when the client is gone: it asks after a minute of silence, and every 20 s then."""
        with suppress(OSError, AttributeError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    async def drained(self) -> None:
        """Return when nothing waits any more."""
        while self._out and self._drained is not None:
            await self._drained.wait()

    async def drained_in(self, seconds: float) -> None:
        """Return when nothing waits any more, at the latest after so many seconds, also when cancelled."""
        if self._out:
            with trio.move_on_after(seconds, shield=True):
                await self.drained()

    def close(self) -> None:
        """End the connection now; whoever is in `receive` gets b""."""
        self.broken = self.broken or "closed"
        if self._sock.fileno() != -1:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def linger(self) -> None:
        """Say that nothing more comes, and discard what the client still sends, for a while.

        Closing with input unread would reset the connection, and the client might never see the last answer.
        """
        with trio.move_on_after(LINGER, shield=True):
            await self.drained()
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                return
            while await Wire.receive(self):
                pass

    async def aclose(self) -> None:
        """End the connection after what waits for the client, at the latest after some seconds."""
        await self.drained_in(FLUSH_DEADLINE)
        self.close()


class TlsWire(Wire):
    """A `Wire` through TLS."""

    __slots__ = ("_incoming", "_notified", "_outgoing", "_tls", "failure")

    def __init__(
        self, sock: socket.socket, spawn: Callable[[Callable[[], Awaitable[None]]], None], context: ssl.SSLContext
    ) -> None:
        super().__init__(sock, spawn)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        #: What the client found wrong, in words.
        self.failure = ""
        #: Whether the client was sent close_notify.
        self._notified = False

    async def handshake(self, raw: bytes, at_once: trio.Semaphore) -> None:
        """Shake hands, given the first bytes. At most so many are worked on at once, so that others get their turn.

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
                # With TLS 1.3 the client's verdict on our certificate comes after our side of the handshake.
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
        """End the connection as `Wire.aclose` does, but read the client's own close_notify first.

        Left unread it would make the kernel reset the connection, which the client may see as an error.
        """
        if self._notify():
            await self.drained_in(FLUSH_DEADLINE)
            await super().linger()
        await super().aclose()

    def _notify(self) -> bool:
        """Send close_notify (RFC 8446 §6.1, RFC 5246 §7.2.1), once; returns whether it was sent now.

        Without it the client cannot tell a whole answer from one that was cut off.
        """
        if self._notified or self.broken or self._tls.version() is None:
            return False
        self._notified = True
        with suppress(ssl.SSLError):
            # The client's answer is not waited for here: that it wants to be read is an error of OpenSSL's.
            self._tls.unwrap()
        self._flush()
        return True


def alert(error: ssl.SSLError) -> str:
    """What a TLS error means, as the end of a sentence that begins with an address."""
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
    """What a connector registers: how its first bytes look (``sniff``), and who talks (``serve(wire, peer)``).

    ``busy(first bytes)`` is what a client hears that is one too many, as far as it speaks this protocol without TLS.
    With ``websocket_path`` the HTTP connector hands over WebSockets on that path too, as a wire of binary messages.
    """

    name: str
    sniff: Callable[[bytes], bool]
    serve: Callable[[Wire, Peer], Awaitable[None]]
    busy: Callable[[bytes], bytes] = lambda _first: b""
    websocket_path: str | None = None
    subprotocol: str | None = None
