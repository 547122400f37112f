"""The front door: accept, TLS, limits, first bytes, and over to the wire protocol they belong to.

Nothing else in the house knows about ports. Any port may speak everything that its ``serve`` list allows; which
protocol it is, the first bytes tell.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub.errors import StartupError

if TYPE_CHECKING:
    from hub.config import Config, Listen
    from hub.tls import Certificates

log = logging.getLogger(__name__)

#: Bytes taken in one read: more would make everybody else wait longer beside a flood, and cost no less CPU.
CHUNK = 4096
#: Kernel buffers would otherwise hide millions of frames, and break fairness.
RECEIVE_BUFFER = 32 * 1024
#: Seconds for a client to say its first bytes, and to finish a TLS handshake.
FIRST_BYTES_DEADLINE = 15.0
HANDSHAKE_DEADLINE = 15.0
#: Seconds for a client to take what is left for it when its connection ends.
FLUSH_DEADLINE = 2.0
#: Seconds in which a client must take something of what waits for it.
STALL_DEADLINE = 30.0
#: Seconds in which a client that was refused may finish what it is sending.
LINGER = 1.0
BACKLOG = 4096
#: Connections accepted before others get their turn.
ACCEPT_AT_ONCE = 64
#: Seconds to wait when there are no file descriptors left.
EXHAUSTED_PAUSE = 0.1

PROXY_V1 = b"PROXY "
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"

#: What a client's TLS alert means to somebody who reads the log.
_ALERTS = {
    "UNKNOWN_CA": "does not trust this certificate",
    "BAD_CERTIFICATE": "does not trust this certificate",
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

    def count(self) -> None:
        """Count as one of its address that has not logged in."""
        self._counted = self.address
        self._unknown[self.address] += 1

    def admit(self) -> None:
        """It logged in, or is gone: it no longer counts."""
        if self._counted:
            self._unknown[self._counted] -= 1
            if not self._unknown[self._counted]:
                del self._unknown[self._counted]
            self._counted = ""


class Wire:
    """A connection as a protocol sees it. ``send`` is sync: what the socket does not take at once is drained later."""

    __slots__ = ("_drained", "_first", "_out", "_sock", "broken", "busy", "closing", "spawn")

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

    @property
    def pending(self) -> int:
        """Bytes that wait for the client to take them."""
        return len(self._out)

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

    async def drained(self) -> None:
        """Return when nothing waits any more."""
        while self._out and self._drained is not None:
            await self._drained.wait()

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
        if self._out:
            with trio.move_on_after(FLUSH_DEADLINE, shield=True):
                await self.drained()
        self.close()


class TlsWire(Wire):
    """A `Wire` through TLS."""

    __slots__ = ("_incoming", "_outgoing", "_tls", "failure")

    def __init__(
        self, sock: socket.socket, spawn: Callable[[Callable[[], Awaitable[None]]], None], context: ssl.SSLContext
    ) -> None:
        super().__init__(sock, spawn)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        #: What the client found wrong, in words.
        self.failure = ""

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

    With ``websocket_path`` the HTTP connector hands over WebSockets on that path too, as a wire of binary messages.
    """

    name: str
    sniff: Callable[[bytes], bool]
    serve: Callable[[Wire, Peer], Awaitable[None]]
    websocket_path: str | None = None
    subprotocol: str | None = None


class FrontDoor:
    """``refuse(address, reason)`` hears of everybody who is turned away."""

    def __init__(
        self,
        config: Config,
        certificates: Certificates | None,
        protocols: list[WireProtocol],
        refuse: Callable[[str, str], None],
    ) -> None:
        self._config = config
        self._certificates = certificates
        self._protocols = protocols
        self._refuse = refuse
        self._trusted = [ipaddress.ip_network(network) for network in config.hub.trusted_proxies]
        self._handshakes = trio.Semaphore(config.limits.handshakes)
        self._sockets: list[tuple[socket.socket, Listen]] = []
        self._wires: set[Wire] = set()
        self._unknown: Counter[str] = Counter()
        self.accepted = 0

    @property
    def connections(self) -> int:
        return len(self._wires)

    @property
    def addresses(self) -> list[tuple[str, bool]]:
        """Where it listens, with real ports, and whether with TLS only, in the order of the configuration."""
        return [(_join(sock.getsockname()), listen.tls == "on") for sock, listen in self._sockets]

    def described(self) -> list[dict[str, Any]]:
        """`addresses` and what is served there, for hub.json and the status."""
        served = (listen.serve for _, listen in self._sockets)
        return [{"address": a, "tls": tls, "serve": s} for (a, tls), s in zip(self.addresses, served, strict=True)]

    def bind(self) -> None:
        """Open every listener. Raises `StartupError`, naming all that fail."""
        _raise_descriptor_limit()
        problems = []
        for number, listen in enumerate(self._config.listen):
            try:
                found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
                for family, _, _, _, address in dict.fromkeys(found):
                    self._sockets.append((_bound(family, address), listen))
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
                why = "is taken by another program" if taken else (error.strerror or str(error)).lower()
                problems.append(f"{self._config.source}: listen[{number}].address: {listen.address} {why}")
        if problems:
            self.close()
            raise StartupError(*problems)

    def close(self) -> None:
        """Accept nobody any more."""
        for sock, _ in self._sockets:
            if sock.fileno() != -1:
                trio.lowlevel.notify_closing(sock)
                sock.close()

    async def run(self) -> None:
        """Accept until cancelled or closed, then wait for the connections."""
        async with trio.open_nursery() as nursery:
            for sock, listen in self._sockets:
                nursery.start_soon(self._accept, sock, listen, nursery)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, end whoever is owed nothing, and give the others some seconds."""
        self.close()
        for wire in tuple(self._wires):
            wire.closing = True
            if not wire.busy and not wire.pending:
                wire.close()
        with trio.move_on_after(seconds):
            while any(wire.busy or wire.pending for wire in self._wires):  # noqa: ASYNC110 - at the stop only, and short
                await trio.sleep(0.01)

    async def _accept(self, listener: socket.socket, listen: Listen, nursery: trio.Nursery) -> None:
        while listener.fileno() != -1:
            try:
                await trio.lowlevel.wait_readable(listener)
                for _ in range(ACCEPT_AT_ONCE):
                    sock, address = listener.accept()
                    self._admit(sock, address[0].partition("%")[0], listen, nursery)
            except BlockingIOError:
                continue
            except (trio.ClosedResourceError, ValueError):
                return
            except OSError as error:
                if error.errno == errno.EBADF:
                    return
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._refuse("everybody", f"no resources for another connection: {error.strerror}")
                    await trio.sleep(EXHAUSTED_PAUSE)

    def _admit(self, sock: socket.socket, address: str, listen: Listen, nursery: trio.Nursery) -> None:
        limits = self._config.limits
        if address.startswith("::ffff:"):
            address = address.removeprefix("::ffff:")
        self.accepted += 1
        if len(self._wires) >= limits.connections:
            self._refuse(address, f"more than {limits.connections} connections ([limits] connections)")
            sock.close()
            return
        if self._is_one_too_many(address):
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Counted here and not in its task: many may be accepted before the first task runs.
        wire = Wire(sock, nursery.start_soon)
        self._wires.add(wire)
        peer = Peer(address, listen.tls == "on", listen, self._unknown)
        peer.count()
        nursery.start_soon(self._connection, wire, sock, peer, nursery)

    async def _connection(self, wire: Wire, sock: socket.socket, peer: Peer, nursery: trio.Nursery) -> None:
        try:
            wire, protocol = await self._introduced(wire, sock, peer, nursery)
            if protocol is not None:
                await protocol.serve(wire, peer)
                if isinstance(wire, TlsWire) and wire.failure:
                    self._refuse(peer.address, wire.failure)
        except Exception:
            log.exception("connection from %s failed", peer.address)
        finally:
            peer.admit()
            await wire.aclose()
            self._wires.discard(wire)

    async def _introduced(
        self, wire: Wire, sock: socket.socket, peer: Peer, nursery: trio.Nursery
    ) -> tuple[Wire, WireProtocol | None]:
        """Find out who it is and what it speaks; None as the protocol when it was turned away."""
        listen, first = peer.listen, b""
        with trio.move_on_after(FIRST_BYTES_DEADLINE) as deadline:
            first = await wire.receive()
            if self.trusts(peer.address):
                client, first = await _proxied(wire, first, peer.address)
                peer.admit()
                peer.address = client
                if self._is_one_too_many(client):
                    return wire, None
                peer.count()
        if not first or deadline.cancelled_caught:
            return wire, None
        if wire.broken:
            return wire, None
        port = sock.getsockname()[1]
        encrypted = first[0] == 0x16
        if encrypted and listen.tls == "off":
            self._refuse(peer.address, f"speaks TLS on the plain port {port}")
            return wire, None
        if not encrypted and listen.tls == "on":
            self._refuse(peer.address, f"speaks without TLS on the TLS port {port}")
            return wire, None
        if encrypted:
            assert self._certificates is not None
            peer.tls = True
            self._wires.discard(wire)
            wire = tls = TlsWire(sock, nursery.start_soon, self._certificates.context)
            self._wires.add(wire)
            first = await self._shaken(tls, first, peer)
        if not first:
            return wire, None
        wire.unread(first)
        protocol = next((p for p in self._protocols if p.sniff(first)), None)
        if protocol is None:
            self._refuse(peer.address, f"speaks nothing known (first byte 0x{first[0]:02x}) on port {port}")
        elif protocol.name not in listen.serve and f"device-{protocol.name}" not in listen.serve:
            self._refuse(peer.address, f"speaks {protocol.name} on port {port}, which serves {', '.join(listen.serve)}")
            protocol = None
        return wire, protocol

    async def _shaken(self, wire: TlsWire, raw: bytes, peer: Peer) -> bytes:
        """The first bytes inside TLS; b"" when it did not come to that."""
        try:
            with trio.fail_after(HANDSHAKE_DEADLINE):
                await wire.handshake(raw, self._handshakes)
                first = await wire.receive()
        except ssl.SSLError as error:
            self._refuse(peer.address, alert(error))
        except EOFError:
            self._refuse(peer.address, "went away during the TLS handshake (does it trust this certificate?)")
        except trio.TooSlowError:
            self._refuse(peer.address, "did not finish the TLS handshake in time")
        else:
            if wire.failure:
                self._refuse(peer.address, wire.failure)
            return first
        return b""

    def _is_one_too_many(self, address: str) -> bool:
        """Refuse an address that has too many connections which have not logged in."""
        most = self._config.limits.connections_per_address
        if self._unknown[address] < most or self.trusts(address):
            return False
        reason = f"more than {most} connections that have not logged in ([limits] connections_per_address)"
        self._refuse(address, reason)
        return True

    def trusts(self, address: str) -> bool:
        """Whether this is a proxy that is believed about whom it speaks for."""
        return bool(self._trusted) and any(ipaddress.ip_address(address) in network for network in self._trusted)


async def _proxied(wire: Wire, first: bytes, address: str) -> tuple[str, bytes]:
    """The client's address and first bytes behind a PROXY protocol header (haproxy's proxy-protocol.txt, v1 and v2)."""
    if not (PROXY_V1.startswith(first[:6]) or PROXY_V2.startswith(first[:12])):
        return address, first
    while (found := proxy_header(first)) is None:
        more = await wire.receive()
        if not more:
            return address, b""
        first += more
    client, length = found
    rest = first[length:] or await wire.receive()
    return client or address, rest


def proxy_header(data: bytes) -> tuple[str, int] | None:
    """(client address or "", length of the header); None when more is needed, ("", 0) when there is no header."""
    if data.startswith(PROXY_V1):
        end = data.find(b"\r\n", 0, 107)
        if end == -1:
            return None if len(data) < 107 else ("", 0)
        words = data[:end].decode("latin-1").split(" ")
        return (_address(words[2]) if len(words) > 2 and words[1] in ("TCP4", "TCP6") else ""), end + 2
    if data.startswith(PROXY_V2):
        if len(data) < 16:
            return None
        length = 16 + int.from_bytes(data[14:16], "big")
        if len(data) < length:
            return None
        family = data[13] >> 4
        if data[12] & 0xF == 1 and family == 1 and length >= 28:
            return str(ipaddress.IPv4Address(data[16:20])), length
        if data[12] & 0xF == 1 and family == 2 and length >= 52:
            return str(ipaddress.IPv6Address(data[16:32])), length
        return "", length
    if PROXY_V1.startswith(data) or PROXY_V2.startswith(data):
        return None
    return "", 0


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _join(address: tuple[str, int, object]) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _raise_descriptor_limit() -> None:
    """One connection is one descriptor; the usual soft limit of 1,024 is a default for shells."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
