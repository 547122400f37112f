"""Load generators: raw non-blocking sockets and one epoll loop, so that the generator costs little itself.

Each value is the time at which it was sent, in microseconds of the monotonic clock, so that a receiver knows its age.
"""

from __future__ import annotations

import resource
import select
import socket
import time
from collections import deque
from collections.abc import Callable

import attrs

from connectors.mqtt.packets import V311, Connect, Publish
from connectors.mqtt.protocol import encode
from connectors.native.protocol import Cmd, frame

Address = tuple[str, int]

#: Bytes. Small, so that what was sent is at the hub and not in the kernel's buffer.
SEND_BUFFER = 16 * 1024
#: Messages that a flood sends at a time, and the number of different batches.
BATCH, BATCHES = 200, 20
INFO = ("ver", "1.0", "h-beat", "3600", "buff-in", "1024", "dev", "bench")
#: Frames of the native protocol: status 200 (OK) for message 1, the login, and message 2, the info.
LOGIN_ANSWERS = b"\x00\x00\x01\x00\xc8\x00\x00\x02\x00\xc8"
#: CONNACK of MQTT 3.1.1 without a session, and PUBACK for packet 1.
CONNACK, PUBACK = b"\x20\x02\x00\x00", b"\x40\x02\x00\x01"


@attrs.define
class LoadResult:
    """``messages`` were sent, or acknowledged if the protocol has acknowledgements, in ``seconds``.

    ``ages`` are the ages of the values at their acknowledgement, in milliseconds.
    """

    messages: int
    seconds: float
    ages: list[float] = attrs.Factory(list)


def percentiles(ages: list[float]) -> tuple[float, float]:
    """Return p50 and p99; NaN of an empty list."""
    if not ages:
        return float("nan"), float("nan")
    ages = sorted(ages)
    return ages[len(ages) // 2], ages[int(len(ages) * 0.99)]


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def now_us() -> int:
    return time.monotonic_ns() // 1000


# -- connections ------------------------------------------------------------------------------------------------------


def native_connections(address: Address, tokens: list[str]) -> list[socket.socket]:
    """Return blocking connections that are logged in with the native protocol, and have sent their info frame."""
    sockets = []
    for token in tokens:
        sock = socket.create_connection(address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(frame(Cmd.HW_LOGIN, 1, (token,)) + frame(Cmd.INTERNAL, 2, INFO))
        sockets.append(sock)
    for sock in sockets:
        answers = b""
        while len(answers) < len(LOGIN_ANSWERS):
            answers += sock.recv(64)
        assert answers == LOGIN_ANSWERS, answers
    return sockets


def mqtt_connections(address: Address, tokens: list[str]) -> list[socket.socket]:
    """Return blocking connections that are logged in with MQTT."""
    sockets = []
    for token in tokens:
        sock = socket.create_connection(address)
        _mqtt_log_in(sock, token)
        sockets.append(sock)
    return sockets


CONNECT = {"native": native_connections, "mqtt": mqtt_connections}


def read_to_end(sockets: list[socket.socket]) -> None:
    """Read until the hub has closed the connections, and close them."""
    for sock in sockets:
        sock.setblocking(True)
        while sock.recv(4096):
            pass
        sock.close()


# -- loads without acknowledgements -----------------------------------------------------------------------------------


def native_flood(sockets: list[socket.socket], seconds: float) -> LoadResult:
    """Send as much as the hub reads; then half-close and read to the end, so that nothing is left on the way."""
    batches = _flood_batches()
    unsent = {sock.fileno(): (sock, memoryview(batches[n % BATCHES])) for n, sock in enumerate(sockets)}
    epoll = select.epoll()
    for sock in sockets:
        sock.setblocking(False)
        epoll.register(sock, select.EPOLLOUT)
    began, sent, ending = time.perf_counter(), 0, False
    while unsent:
        ending = ending or time.perf_counter() - began >= seconds
        for fileno, _ in epoll.poll(0.1):
            sock, batch = unsent[fileno]
            try:
                count = sock.send(batch)
            except BlockingIOError:
                continue
            if count < len(batch):
                unsent[fileno] = sock, batch[count:]
                continue
            sent += BATCH
            if ending:
                epoll.unregister(fileno)
                del unsent[fileno]
                sock.shutdown(socket.SHUT_WR)
            else:
                unsent[fileno] = sock, memoryview(batches[sent // BATCH % BATCHES])
    read_to_end(sockets)
    return LoadResult(sent, time.perf_counter() - began)


def _flood_batches() -> list[bytes]:
    now = now_us()
    return [
        b"".join(
            frame(Cmd.HARDWARE, n % 65_535 + 1, ("vw", str(n % 5), f"{now + n}.0000000"))
            for n in range(number * BATCH, (number + 1) * BATCH)
        )
        for number in range(BATCHES)
    ]


def native_paced(sockets: list[socket.socket], seconds: float, rate: float) -> LoadResult:
    """Send ``rate`` messages a second over all connections, in turn; then half-close and read to the end."""
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) - began < seconds:
        due = began + sent / rate
        if now < due:
            time.sleep(due - now)
        sockets[sent % len(sockets)].sendall(frame(Cmd.HARDWARE, sent % 65_535 + 1, ("vw", "0", f"{now_us()}")))
        sent += 1
    elapsed = time.perf_counter() - began
    for sock in sockets:
        sock.shutdown(socket.SHUT_WR)
    read_to_end(sockets)
    return LoadResult(sent, elapsed)


# -- loads with acknowledgements --------------------------------------------------------------------------------------


@attrs.frozen
class UpdateProtocol:
    """A way to send a value and receive its acknowledgement."""

    #: Logs in on an open connection with a token.
    log_in: Callable[[socket.socket, str], None]
    #: Encodes a value, sent with a token.
    encode: Callable[[str, int], bytes]
    #: Whether a response acknowledges the value.
    is_acknowledgement: Callable[[bytes], bool]


def _http_update(token: str, value: int) -> bytes:
    return f"GET /external/api/update?token={token}&v0={value} HTTP/1.1\r\nHost: hub\r\n\r\n".encode()


HTTP = UpdateProtocol(
    log_in=lambda _sock, _token: None,
    encode=_http_update,
    is_acknowledgement=lambda response: response.startswith(b"HTTP/1.1 200"),
)


def _mqtt_log_in(sock: socket.socket, token: str) -> None:
    sock.sendall(encode(Connect(username="device", password=token.encode(), keep_alive=3600, client_id=token), V311))
    answer = sock.recv(64)
    assert answer == CONNACK, answer


def _mqtt_update(_token: str, value: int) -> bytes:
    return encode(Publish("ds/Value 0", b"%d" % value, 1, 1), V311)


MQTT = UpdateProtocol(log_in=_mqtt_log_in, encode=_mqtt_update, is_acknowledgement=lambda response: response == PUBACK)
UPDATE_PROTOCOLS = {"http": HTTP, "mqtt": MQTT}


def acknowledged_load(
    protocol: UpdateProtocol,
    address: Address,
    tokens: list[str],
    seconds: float,
    rate: float | None = None,
    acknowledged: dict[str, list[int]] | None = None,
) -> LoadResult:
    """Send values over one connection for each token, and wait on each for the acknowledgement before the next value.

    ``rate`` is in messages a second over all connections; None is as fast as the hub acknowledges. ``acknowledged``
    collects the acknowledged values by token. Ends early, without an error, when the hub closes a connection.
    """
    load = _AcknowledgedLoad(protocol, rate)
    began = time.perf_counter()
    try:
        load.connect(address, tokens)
        began = time.perf_counter()
        load.run(seconds)
    except (ConnectionError, AssertionError):
        # The hub was stopped or killed.
        pass
    finally:
        elapsed = time.perf_counter() - began
        load.close()
    if acknowledged is not None:
        for connection in load.connections.values():
            acknowledged.setdefault(connection.token, []).extend(connection.acknowledged)
    return LoadResult(len(load.ages), elapsed, load.ages)


@attrs.define
class _Connection:
    """``in_flight`` is the value that was sent last."""

    sock: socket.socket
    token: str
    in_flight: int = 0
    acknowledged: list[int] = attrs.Factory(list)


class _AcknowledgedLoad:
    """Connections that each have at most one value in flight; the idle ones wait in a queue for their turn."""

    def __init__(self, protocol: UpdateProtocol, rate: float | None) -> None:
        self._protocol = protocol
        self._rate = rate
        self._epoll = select.epoll()
        self._idle: deque[_Connection] = deque()
        self._sent = 0
        #: By file descriptor.
        self.connections: dict[int, _Connection] = {}
        #: Ages of the values at their acknowledgement, in milliseconds.
        self.ages: list[float] = []

    def connect(self, address: Address, tokens: list[str]) -> None:
        for token in tokens:
            sock = socket.create_connection(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections[sock.fileno()] = _Connection(sock, token)
            self._protocol.log_in(sock, token)
            self._epoll.register(sock, select.EPOLLIN)
        self._idle.extend(self.connections.values())

    def run(self, seconds: float) -> None:
        """Send for some seconds, and return when nothing is in flight any more, or the hub closes a connection."""
        began = time.perf_counter()
        while True:
            now = time.perf_counter()
            over = now - began >= seconds
            if over and len(self._idle) == len(self.connections):
                return
            if not over:
                self._send_due(began, now)
            for fileno, _ in self._epoll.poll(self._poll_timeout(began, now)):
                connection = self.connections[fileno]
                response = connection.sock.recv(4096)
                if not response:
                    return
                self._on_response(connection, response)

    def _send_due(self, began: float, now: float) -> None:
        while self._idle and (self._rate is None or began + self._sent / self._rate <= now):
            connection = self._idle.popleft()
            connection.in_flight = now_us()
            connection.sock.sendall(self._protocol.encode(connection.token, connection.in_flight))
            self._sent += 1

    def _poll_timeout(self, began: float, now: float) -> float:
        """Return seconds until the next message is due, at most 0.1."""
        if self._rate is None or not self._idle:
            return 0.1
        return min(0.1, max(0.0, began + self._sent / self._rate - now))

    def _on_response(self, connection: _Connection, response: bytes) -> None:
        if self._protocol.is_acknowledgement(response):
            self.ages.append(time.monotonic_ns() / 1e6 - connection.in_flight / 1e3)
            connection.acknowledged.append(connection.in_flight)
        self._idle.append(connection)

    def close(self) -> None:
        for connection in self.connections.values():
            connection.sock.close()
