"""Load: raw non-blocking sockets and one epoll loop, so that the generator is not what is measured.

A value is the time it was sent, in microseconds of the monotonic clock, so whoever receives it knows how old it is.
"""

from __future__ import annotations

import multiprocessing
import resource
import select
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from typing import Any

import attrs

from connectors.mqtt.packets import V311, Connect, Publish
from connectors.mqtt.protocol import encode
from connectors.native.protocol import Cmd, frame

#: Small, so that what was sent is at the hub and not in the kernel.
SEND_BUFFER = 16 * 1024
BATCH = 200
INFO = ("ver", "1.0", "h-beat", "3600", "buff-in", "1024", "dev", "bench")


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def native_connections(address: tuple[str, int], tokens: list[str]) -> list[socket.socket]:
    """Logged-in connections, in blocking mode; the hub has answered the login and the info frame."""
    sockets = []
    for token in tokens:
        sock = socket.create_connection(address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(frame(Cmd.HW_LOGIN, 1, (token,)) + frame(Cmd.INTERNAL, 2, INFO))
        sockets.append(sock)
    for sock in sockets:
        answers = b""
        while len(answers) < 10:
            answers += sock.recv(64)
        assert answers == b"\x00\x00\x01\x00\xc8\x00\x00\x02\x00\xc8", answers
    return sockets


@attrs.define
class Sent:
    """``messages`` were sent (and acknowledged, where there are acknowledgements) in ``seconds``.

    ``ages`` are how old each was at its acknowledgement, in milliseconds.
    """

    messages: int
    seconds: float
    ages: list[float] = attrs.Factory(list)


def percentiles(ages: list[float]) -> tuple[float, float]:
    """p50 and p99; NaN of nothing."""
    if not ages:
        return float("nan"), float("nan")
    ages = sorted(ages)
    return ages[len(ages) // 2], ages[int(len(ages) * 0.99)]


def mqtt_connections(address: tuple[str, int], tokens: list[str]) -> list[socket.socket]:
    """Connections that have logged in, in blocking mode."""
    sockets = []
    for token in tokens:
        sock = socket.create_connection(address)
        mqtt_log_in(sock, token)
        sockets.append(sock)
    return sockets


def native_flood(sockets: list[socket.socket], seconds: float) -> Sent:
    """As much as the hub takes; then half-close and read to the end, so that nothing is left on the way."""
    now = time.monotonic_ns() // 1000
    batches = [
        b"".join(
            frame(Cmd.HARDWARE, n % 65_535 + 1, ("vw", str(n % 5), f"{now + n}.0000000"))
            for n in range(i * BATCH, (i + 1) * BATCH)
        )
        for i in range(20)
    ]
    state = {sock.fileno(): (sock, deque([memoryview(batches[n % 20])])) for n, sock in enumerate(sockets)}
    epoll = select.epoll()
    for sock in sockets:
        sock.setblocking(False)
        epoll.register(sock, select.EPOLLOUT)
    began, sent, ending = time.perf_counter(), 0, False
    while state:
        ending = ending or time.perf_counter() - began >= seconds
        for fileno, _ in epoll.poll(0.1):
            sock, queue = state[fileno]
            try:
                done = sock.send(queue[0])
            except BlockingIOError:
                continue
            queue[0] = queue[0][done:]
            if not queue[0]:
                queue.popleft()
                sent += BATCH
                if ending:
                    epoll.unregister(fileno)
                    del state[fileno]
                    sock.shutdown(socket.SHUT_WR)
                else:
                    queue.append(memoryview(batches[sent // BATCH % 20]))
    read_to_end(sockets)
    return Sent(sent, time.perf_counter() - began)


def native_paced(sockets: list[socket.socket], seconds: float, rate: float) -> Sent:
    """``rate`` messages a second over all connections, one at a time in turn."""
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) - began < seconds:
        due = began + sent / rate
        if now < due:
            time.sleep(due - now)
        text = f"{time.monotonic_ns() // 1000}"
        sockets[sent % len(sockets)].sendall(frame(Cmd.HARDWARE, sent % 65_535 + 1, ("vw", "0", text)))
        sent += 1
    took = time.perf_counter() - began
    for sock in sockets:
        sock.shutdown(socket.SHUT_WR)
    read_to_end(sockets)
    return Sent(sent, took)


def read_to_end(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.setblocking(True)
        while sock.recv(4096):
            pass
        sock.close()


@attrs.frozen
class Dialogue:
    """How a client says a value and hears that it is kept."""

    #: Makes an open connection one that has logged in with a token.
    log_in: Callable[[socket.socket, str], None]
    #: The bytes that say a value, given the token.
    say: Callable[[str, int], bytes]
    #: Whether an answer is an acknowledgement.
    kept: Callable[[bytes], bool]


def _http_say(token: str, value: int) -> bytes:
    return f"GET /external/api/update?token={token}&v0={value} HTTP/1.1\r\nHost: hub\r\n\r\n".encode()


HTTP = Dialogue(lambda _sock, _token: None, _http_say, lambda answer: answer.startswith(b"HTTP/1.1 200"))


def mqtt_log_in(sock: socket.socket, token: str) -> None:
    """CONNECT of version 3.1.1, and its answer."""
    sock.sendall(encode(Connect(username="device", password=token.encode(), keep_alive=3600, client_id=token), V311))
    answer = sock.recv(64)
    assert answer == b"\x20\x02\x00\x00", answer


def _mqtt_say(_token: str, value: int) -> bytes:
    return encode(Publish("ds/Value 0", b"%d" % value, 1, 1), V311)


MQTT = Dialogue(mqtt_log_in, _mqtt_say, lambda answer: answer == b"\x40\x02\x00\x01")
DIALOGUES = {"http": HTTP, "mqtt": MQTT}


def acknowledged_load(
    dialogue: Dialogue,
    address: tuple[str, int],
    tokens: list[str],
    seconds: float,
    rate: float | None,
    acknowledged: dict[str, list[int]] | None = None,
) -> Sent:
    """One value in flight on each connection; ``acknowledged`` collects, by token, the values that were kept.

    Ends early, without an error, when the hub goes away.
    """
    epoll, state = select.epoll(), {}
    ages: list[float] = []
    began, sent = time.perf_counter(), 0
    try:
        for token in tokens:
            sock = socket.create_connection(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            state[sock.fileno()] = (sock, token)
            dialogue.log_in(sock, token)
            epoll.register(sock, select.EPOLLIN)
        began = time.perf_counter()
        idle, values = deque(state), dict.fromkeys(state, 0)
        while True:
            now = time.perf_counter()
            over = now - began >= seconds
            if over and len(idle) == len(state):
                break
            while idle and not over and (rate is None or began + sent / rate <= now):
                fileno = idle.popleft()
                sock, token = state[fileno]
                values[fileno] = time.monotonic_ns() // 1000
                sock.sendall(dialogue.say(token, values[fileno]))
                sent += 1
            wait = 0.1 if rate is None or not idle else max(0.0, began + sent / rate - now)
            for fileno, _ in epoll.poll(min(wait, 0.1)):
                sock, token = state[fileno]
                answer = sock.recv(4096)
                if not answer:
                    return Sent(len(ages), time.perf_counter() - began, ages)
                if dialogue.kept(answer):
                    ages.append(time.monotonic_ns() / 1e6 - values[fileno] / 1e3)
                    if acknowledged is not None:
                        acknowledged.setdefault(token, []).append(values[fileno])
                idle.append(fileno)
    except (ConnectionError, AssertionError):
        pass
    finally:
        took = time.perf_counter() - began
        for sock, _ in state.values():
            sock.close()
    return Sent(len(ages), took, ages)


class Subscriber:
    """A client of ``/api/v1/stream`` in a process of its own; ``percentiles`` are of the age of what it got, in ms."""

    def __init__(self, address: tuple[str, int], key: str, *, every: bool) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_subscribe, args=(address, key, every, theirs)
        )
        self._process.start()
        self._pipe.recv()

    def percentiles(self) -> tuple[float, float, int]:
        """(p50, p99, how many values it got); ends it."""
        self._pipe.send("end")
        ages: list[float] = self._pipe.recv()
        self._process.join()
        return *percentiles(ages), len(ages)


def _subscribe(address: tuple[str, int], key: str, every: bool, pipe: Pipe[Any, Any]) -> None:
    import json

    from websockets.sync.client import connect

    ages = []
    headers = {"Authorization": f"Bearer {key}"}
    with connect(f"ws://{address[0]}:{address[1]}/api/v1/stream", additional_headers=headers, proxy=None) as stream:
        stream.send(json.dumps({"id": 1, "subscribe": "devices", "every": every}))
        stream.recv()
        pipe.send("ready")
        while not pipe.poll():
            try:
                message = json.loads(stream.recv(timeout=0.2))
            except TimeoutError:
                continue
            now = time.monotonic_ns() // 1000
            ages += [(now - value) / 1000 for value in message.get("values", {}).values()]
    pipe.send(ages)


class Watchers:
    """Many clients of ``/api/v1/stream`` in a process of their own, which read and look at nothing."""

    def __init__(self, address: tuple[str, int], key: str, count: int) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_watch, args=(address, key, count, theirs))
        self._process.start()
        self._pipe.recv()

    def end(self) -> int:
        """Bytes that they read."""
        self._pipe.send("end")
        read: int = self._pipe.recv()
        self._process.join()
        return read


def _watch(address: tuple[str, int], key: str, count: int, pipe: Pipe[Any, Any]) -> None:
    from websockets.frames import Frame, Opcode

    ask = (
        f"GET /api/v1/stream HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {key}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    subscribe = Frame(Opcode.TEXT, b'{"id": 1, "subscribe": "devices"}').serialize(mask=True)
    selector, sockets, read = selectors.DefaultSelector(), [], 0
    for _ in range(count):
        sock = socket.create_connection(address)
        sock.sendall(ask)
        if b" 101 " not in sock.recv(4096):
            raise SystemExit("the hub does not want to be watched")
        sock.sendall(subscribe)
        sock.recv(4096)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, sock)
        sockets.append(sock)
    pipe.send("ready")
    while not pipe.poll():
        for key_, _ in selector.select(0.2):
            with suppress(BlockingIOError):
                read += len(key_.data.recv(65536))
    for sock in sockets:
        sock.close()
    pipe.send(read)
