"""Clients of the live stream, ``/api/v1/stream``, in processes of their own."""

from __future__ import annotations

import json
import multiprocessing
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from typing import Any

from bench.load import Address, now_us, percentiles


class _ClientProcess:
    """A process that runs ``target(*arguments, pipe)``.

    It sends a message when it is connected, and its result after it has received a message.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        self._pipe, child_pipe = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=target, args=(*arguments, child_pipe))
        self._process.start()
        self._pipe.recv()

    def stop(self) -> Any:
        """Stop the process and return its result."""
        self._pipe.send("stop")
        result = self._pipe.recv()
        self._process.join()
        return result


class Subscriber:
    """One client that measures the age of the values that it receives, of all devices; ``options`` are its own."""

    def __init__(self, address: Address, key: str, **options: Any) -> None:
        self._process = _ClientProcess(_subscribe, address, key, options)
        #: The number of messages that it has received, after `percentiles`.
        self.messages = 0

    def percentiles(self) -> tuple[float, float, int]:
        """Stop the client; return the ages' p50 and p99 in milliseconds, and the number of received values."""
        ages: list[float]
        ages, self.messages = self._process.stop()
        return *percentiles(ages), len(ages)


def _subscribe(address: Address, key: str, options: dict[str, Any], pipe: Pipe[Any, Any]) -> None:
    from websockets.sync.client import connect

    ages: list[float] = []
    messages = 0
    url, headers = f"ws://{address[0]}:{address[1]}/api/v1/stream", {"Authorization": f"Bearer {key}"}
    with connect(url, additional_headers=headers, proxy=None) as stream:
        stream.send(json.dumps({"id": 1, "subscribe": "devices", **options}))
        stream.recv()
        pipe.send("ready")
        while not pipe.poll():
            try:
                message = json.loads(stream.recv(timeout=0.2))
            except TimeoutError:
                continue
            now = now_us()
            messages += 1
            for change in message.get("changes", [message]):
                ages += [(now - value) / 1000 for value in change.get("values", {}).values()]
    pipe.send((ages, messages))


class Watchers:
    """Many clients in one process, which read the stream without decoding it; ``options`` as of `Subscriber`."""

    def __init__(self, address: Address, key: str, count: int, **options: Any) -> None:
        self._process = _ClientProcess(_watch, address, key, count, options)

    def stop(self) -> int:
        """Stop the clients and return the number of bytes that they have read."""
        size: int = self._process.stop()
        return size


def _watch(address: Address, key: str, count: int, options: dict[str, Any], pipe: Pipe[Any, Any]) -> None:
    selector = selectors.DefaultSelector()
    sockets = [_open_stream(address, key, options) for _ in range(count)]
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ, sock)
    pipe.send("ready")
    size = 0
    while not pipe.poll():
        for ready, _ in selector.select(0.2):
            with suppress(BlockingIOError):
                size += len(ready.data.recv(65536))
    for sock in sockets:
        sock.close()
    pipe.send(size)


def _open_stream(address: Address, key: str, options: dict[str, Any]) -> socket.socket:
    """Return a non-blocking WebSocket that is subscribed to all devices."""
    from websockets.frames import Frame, Opcode

    handshake = (
        f"GET /api/v1/stream HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {key}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    sock = socket.create_connection(address)
    sock.sendall(handshake)
    response = sock.recv(4096)
    if b" 101 " not in response:
        raise SystemExit(f"The hub rejected a WebSocket: {response!r}")
    subscription = json.dumps({"id": 1, "subscribe": "devices", **options}).encode()
    sock.sendall(Frame(Opcode.TEXT, subscription).serialize(mask=True))
    sock.recv(4096)
    sock.setblocking(False)
    return sock
