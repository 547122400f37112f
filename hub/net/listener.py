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
from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

import trio

from hub.errors import StartupError
from hub.net.proxy_protocol import introduced, subscriber_of
from hub.net.wire import Peer, TlsWire, Wire, WireProtocol, alert

if TYPE_CHECKING:
    from hub.config import Config, Listen
    from hub.net.tls import Certificates

log = logging.getLogger(__name__)

#: Kernel buffers would otherwise hide millions of frames, and break fairness.
RECEIVE_BUFFER = 32 * 1024
#: Seconds for a client to say its first bytes, and to finish a TLS handshake.
FIRST_BYTES_DEADLINE = 15.0
HANDSHAKE_DEADLINE = 15.0
#: Seconds for one too many to say what it speaks, and how many are heard at once; the rest is closed unheard.
TURN_AWAY_DEADLINE = 1.0
MAX_TURNED_AWAY = 32
BACKLOG = 4096
#: Connections accepted before others get their turn.
ACCEPT_AT_ONCE = 64
#: Seconds to wait when there are no file descriptors left.
EXHAUSTED_PAUSE = 0.1


class Served(TypedDict):
    """What is served at an address."""

    address: str
    tls: bool
    serve: tuple[str, ...]


class Listener:
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
        self._turning_away = 0
        self.accepted = 0
        #: The hub stops.
        self.draining = False

    @property
    def connections(self) -> int:
        return len(self._wires)

    @property
    def addresses(self) -> list[tuple[str, bool]]:
        """Where it listens, with real ports, and whether with TLS only, in the order of the configuration."""
        return [(_join(sock.getsockname()), listen.tls == "on") for sock, listen in self._sockets]

    def described(self) -> list[Served]:
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
                if taken and listen.serve == ("mqtt",):
                    used = {one.port for one in self._config.listen}
                    free = next((port for port in range(listen.port + 1, 65_536) if port not in used), 0)
                    other = f"{listen.address.rpartition(':')[0]}:{free}"
                    why += f' (Mosquitto?); give it another port, such as address = "{other}"'
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
        full = len(self._wires) >= limits.connections
        if full:
            self._refuse(address, f"more than {limits.connections} connections ([limits] connections)")
        if full or self._is_one_too_many(address):
            if listen.tls == "on" or self._turning_away >= MAX_TURNED_AWAY:
                sock.close()
            else:
                sock.setblocking(False)
                self._turning_away += 1
                nursery.start_soon(self._turn_away, Wire(sock, nursery.start_soon))
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Counted here and not in its task: many may be accepted before the first task runs.
        wire = Wire(sock, nursery.start_soon)
        self._wires.add(wire)
        local = sock.getsockname()[0].partition("%")[0].removeprefix("::ffff:")
        peer = Peer(address, listen.tls == "on", listen, self._unknown, local=local)
        peer.count()
        nursery.start_soon(self._connection, wire, sock, peer, nursery)

    async def _turn_away(self, wire: Wire) -> None:
        """Tell a client that is one too many so, if it says soon what it speaks."""
        try:
            with trio.move_on_after(TURN_AWAY_DEADLINE):
                first = await wire.receive()
                answer = next((p.busy(first) for p in self._protocols if first and p.sniff(first)), b"")
                if answer:
                    wire.send(answer)
                    await wire.linger()
        finally:
            self._turning_away -= 1
            wire.close()

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
            peer.authenticated()
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
                client, first = await introduced(wire, first, peer.address)
                peer.authenticated()
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
        elif not listen.serves(protocol.name):
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
        if self._unknown[subscriber_of(address)] < most or self.trusts(address):
            return False
        reason = f"more than {most} connections that have not logged in ([limits] connections_per_address)"
        self._refuse(address, reason)
        return True

    def trusts(self, address: str) -> bool:
        """Whether this is a proxy that is believed about whom it speaks for."""
        return bool(self._trusted) and any(ipaddress.ip_address(address) in network for network in self._trusted)


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
