"""The listener: accepts connections on every port, and hands each to its wire protocol.

A connection passes through these steps, each of which may end it:

1. accept: the limits of connections, in all and of an address that has not logged in;
2. the PROXY protocol header, from a trusted proxy, which changes the address;
3. the TLS handshake, if the first byte is that of a TLS record (0x16);
4. detection: the first protocol whose ``sniff`` knows the first bytes, if the port serves it;
5. ``serve``, until the protocol is done.

Nothing else in the hub knows about ports.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import TypedDict

import trio

from hub.config import Config, Listen
from hub.errors import StartupError
from hub.net.certificates import Certificates
from hub.net.proxy_protocol import read_header, subscriber_of
from hub.net.timeouts import NetTimeouts
from hub.net.wire import Peer, TlsWire, Wire, WireProtocol, alert

log = logging.getLogger(__name__)

#: Bytes of the kernel's receive buffer: a larger one would hide a flood of frames, and break fairness.
RECEIVE_BUFFER = 32 * 1024
#: Connections over the limit that get a response at once; others are closed without one.
MAX_REJECTED_AT_ONCE = 32
#: Connections that the kernel queues.
BACKLOG = 4096
#: Connections that are accepted before other tasks get their turn.
ACCEPT_AT_ONCE = 64
#: Seconds to wait when there are no file descriptors left.
EXHAUSTED_PAUSE = 0.1


class Served(TypedDict):
    """The protocols that are served at an address."""

    address: str
    tls: bool
    serve: tuple[str, ...]


class Listener:
    """Accepts connections. ``reject(address, reason)`` records each that is turned away."""

    def __init__(
        self,
        config: Config,
        certificates: Certificates | None,
        protocols: list[WireProtocol],
        reject: Callable[[str, str], None],
        timeouts: NetTimeouts,
    ) -> None:
        self._config = config
        self._certificates = certificates
        self._protocols = protocols
        self._reject = reject
        self._timeouts = timeouts
        self._trusted = [ipaddress.ip_network(network) for network in config.hub.trusted_proxies]
        self._handshakes = trio.Semaphore(config.limits.handshakes)
        self._sockets: list[tuple[socket.socket, Listen]] = []
        self._wires: set[Wire] = set()
        #: Connections that have not logged in, by address.
        self._unauthenticated: Counter[str] = Counter()
        self._rejecting = 0
        #: Connections accepted since the start.
        self.accepted = 0
        #: Whether the hub is stopping.
        self.draining = False

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._wires)

    @property
    def addresses(self) -> list[tuple[str, bool]]:
        """(address with the real port, whether TLS only) of each socket, in the order of the configuration."""
        return [(_join(sock.getsockname()), listen.tls == "on") for sock, listen in self._sockets]

    def described(self) -> list[Served]:
        """Return `addresses` and the protocols served there, for hub.json and the status."""
        served = (listen.serve for _, listen in self._sockets)
        return [{"address": a, "tls": tls, "serve": s} for (a, tls), s in zip(self.addresses, served, strict=True)]

    def bind(self) -> None:
        """Bind every address. Raises `StartupError`, naming all that fail."""
        _raise_descriptor_limit()
        problems = []
        for number, listen in enumerate(self._config.listen):
            try:
                addresses = socket.getaddrinfo(
                    listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )
                for family, _, _, _, address in dict.fromkeys(addresses):
                    self._sockets.append((_bound(family, address), listen))
            except OSError as error:
                where = f"{self._config.source}: listen[{number}].address: {listen.address}"
                problems.append(f"{where} {self._bind_problem(error, listen)}")
        if problems:
            self.close()
            raise StartupError(*problems)

    def _bind_problem(self, error: OSError, listen: Listen) -> str:
        if error.errno != errno.EADDRINUSE:
            return (error.strerror or str(error)).lower()
        problem = "is taken by another program"
        if listen.serve == ("mqtt",):
            used = {other.port for other in self._config.listen}
            free = next((port for port in range(listen.port + 1, 65_536) if port not in used), 0)
            address = f"{listen.address.rpartition(':')[0]}:{free}"
            problem += f' (Mosquitto?); give it another port, such as address = "{address}"'
        return problem

    def close(self) -> None:
        """Stop accepting."""
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
        """Stop accepting, close idle connections, and give those that owe an answer some seconds to send it."""
        self.close()
        self.draining = True
        for wire in tuple(self._wires):
            wire.closing = True
            if not wire.busy and not wire.pending:
                wire.send(wire.farewell)
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
                    self._accepted(sock, address[0].partition("%")[0], listen, nursery)
            except BlockingIOError:
                continue
            except (trio.ClosedResourceError, ValueError):
                return
            except OSError as error:
                if error.errno == errno.EBADF:
                    return
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._reject("everybody", f"no resources for another connection: {error.strerror}")
                    await trio.sleep(EXHAUSTED_PAUSE)

    def _accepted(self, sock: socket.socket, address: str, listen: Listen, nursery: trio.Nursery) -> None:
        limits = self._config.limits
        if address.startswith("::ffff:"):
            address = address.removeprefix("::ffff:")
        self.accepted += 1
        is_full = len(self._wires) >= limits.connections
        if is_full:
            self._reject(address, f"more than {limits.connections} connections ([limits] connections)")
        if is_full or self._is_over_limit(address):
            if listen.tls == "on" or self._rejecting >= MAX_REJECTED_AT_ONCE:
                sock.close()
            else:
                sock.setblocking(False)
                self._rejecting += 1
                nursery.start_soon(self._reject_over_limit, Wire(sock, nursery.start_soon, self._timeouts))
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Counted here and not in its task: many may be accepted before the first task runs.
        wire = Wire(sock, nursery.start_soon, self._timeouts)
        self._wires.add(wire)
        local = sock.getsockname()[0].partition("%")[0].removeprefix("::ffff:")
        peer = Peer(address, listen.tls == "on", listen, self._unauthenticated, local=local)
        peer.count()
        nursery.start_soon(self._connection, wire, sock, peer, nursery)

    async def _reject_over_limit(self, wire: Wire) -> None:
        """Send the protocol's overload response, if the client sends its first bytes within a second."""
        try:
            with trio.move_on_after(self._timeouts.rejection):
                first = await wire.receive()
                answer = next((p.overload_response(first) for p in self._protocols if first and p.sniff(first)), b"")
                if answer:
                    wire.send(answer)
                    await wire.linger()
        finally:
            self._rejecting -= 1
            wire.close()

    async def _connection(self, wire: Wire, sock: socket.socket, peer: Peer, nursery: trio.Nursery) -> None:
        try:
            wire, protocol = await self._detect_protocol(wire, sock, peer, nursery)
            if protocol is not None:
                await protocol.serve(wire, peer)
                if isinstance(wire, TlsWire) and wire.failure:
                    self._reject(peer.address, wire.failure)
        except Exception:
            log.exception("connection from %s failed", peer.address)
        finally:
            peer.authenticated()
            await wire.aclose()
            self._wires.discard(wire)

    async def _detect_protocol(
        self, wire: Wire, sock: socket.socket, peer: Peer, nursery: trio.Nursery
    ) -> tuple[Wire, WireProtocol | None]:
        """Return the connection, maybe through TLS now, and its protocol; None when it was rejected."""
        listen, first = peer.listen, b""
        with trio.move_on_after(self._timeouts.first_bytes) as deadline:
            first = await wire.receive()
            if self.trusts(peer.address):
                client, first = await read_header(wire, first, peer.address)
                peer.authenticated()
                peer.address = client
                if self._is_over_limit(client):
                    return wire, None
                peer.count()
        if not first or deadline.cancelled_caught:
            return wire, None
        if wire.broken:
            return wire, None
        port = sock.getsockname()[1]
        encrypted = first[0] == 0x16
        if encrypted and listen.tls == "off":
            self._reject(peer.address, f"speaks TLS on the plain port {port}")
            return wire, None
        if not encrypted and listen.tls == "on":
            self._reject(peer.address, f"speaks without TLS on the TLS port {port}")
            return wire, None
        if encrypted:
            assert self._certificates is not None
            peer.tls = True
            self._wires.discard(wire)
            wire = tls = TlsWire(sock, nursery.start_soon, self._timeouts, self._certificates.context)
            self._wires.add(wire)
            first = await self._tls_handshake(tls, first, peer)
        if not first:
            return wire, None
        wire.unread(first)
        protocol = next((p for p in self._protocols if p.sniff(first)), None)
        if protocol is None:
            self._reject(peer.address, f"speaks nothing known (first byte 0x{first[0]:02x}) on port {port}")
        elif not listen.serves(protocol.name):
            self._reject(peer.address, f"speaks {protocol.name} on port {port}, which serves {', '.join(listen.serve)}")
            protocol = None
        return wire, protocol

    async def _tls_handshake(self, wire: TlsWire, raw: bytes, peer: Peer) -> bytes:
        """Return the first bytes inside TLS; b"" when the handshake failed."""
        try:
            with trio.fail_after(self._timeouts.handshake):
                await wire.handshake(raw, self._handshakes)
                first = await wire.receive()
        except ssl.SSLError as error:
            self._reject(peer.address, alert(error))
        except EOFError:
            self._reject(peer.address, "went away during the TLS handshake (does it trust this certificate?)")
        except trio.TooSlowError:
            self._reject(peer.address, "did not finish the TLS handshake in time")
        else:
            if wire.failure:
                self._reject(peer.address, wire.failure)
            return first
        return b""

    def _is_over_limit(self, address: str) -> bool:
        """Whether an address has too many connections that have not logged in; records the rejection."""
        limit = self._config.limits.connections_per_address
        if self._unauthenticated[subscriber_of(address)] < limit or self.trusts(address):
            return False
        reason = f"more than {limit} connections that have not logged in ([limits] connections_per_address)"
        self._reject(address, reason)
        return True

    def trusts(self, address: str) -> bool:
        """Whether an address is a trusted proxy's, which names the client that it forwards."""
        return bool(self._trusted) and any(ipaddress.ip_address(address) in network for network in self._trusted)


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit the buffer's size.
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
    """Raise the soft limit of file descriptors, usually 1,024: each connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
