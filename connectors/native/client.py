"""The device's side of Blynk's binary protocol, as firmware has it, in trio. It imports nothing of the hub."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, Self, TypeVar

import attrs
import trio

from connectors.native.protocol import Cmd, Decoder, Frame, MessageIds, Status, frame, split

T = TypeVar("T")

#: Bytes of one read.
CHUNK = 4096


class LoginFailed(Exception):
    """Raised when the hub answers a login with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"login failed with status {status}")
        self.status = status


class Disconnected(Exception):
    """Raised when the connection has ended."""

    def __init__(self) -> None:
        super().__init__("the connection ended")


@attrs.define
class CallIterator(Generic[T]):
    """Iterates over the results of an async function until it returns None; unlike a generator it needs no closing."""

    _next: Callable[[], Awaitable[T | None]]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        item = await self._next()
        if item is None:
            raise StopAsyncIteration
        return item


@attrs.define(eq=False)
class Client:
    """One connection to a hub. Iterate over `frames` or `writes` to receive from it."""

    _stream: trio.abc.Stream
    _decoder: Decoder = attrs.Factory(Decoder)
    _message_ids: MessageIds = attrs.Factory(MessageIds)
    _received: deque[Frame] = attrs.Factory(deque)
    #: Held while a frame is sent: several tasks may send, but a trio stream allows one at a time.
    _send_lock: trio.Lock = attrs.Factory(trio.Lock)

    async def login(self, token: str, info: Mapping[str, str] | None = None, command: int = Cmd.HW_LOGIN) -> None:
        """Log in, then send ``info``, such as ``{"h-beat": "45"}``. Raises `LoginFailed`, `Disconnected`."""
        status = await self._wait_for_status(await self.send(command, token))
        if status != Status.OK:
            raise LoginFailed(status)
        if info is not None:
            message_id = await self.send(Cmd.INTERNAL, *(part for pair in info.items() for part in pair))
            await self._wait_for_status(message_id)

    async def _wait_for_status(self, message_id: int) -> int:
        """Return the status of the RESPONSE to a message; earlier frames are left to `next_frame`.

        Raises `Disconnected`.
        """
        early: list[Frame] = []
        async for received in self.frames():
            command, received_id, _, status = received
            if command == Cmd.RESPONSE and received_id == message_id:
                self._received.extendleft(reversed(early))
                return status
            early.append(received)
        raise Disconnected

    async def next_frame(self) -> Frame | None:
        """Return the next frame from the hub; None when the connection has ended."""
        while not self._received:
            try:
                data = await self._stream.receive_some(CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._received.extend(self._decoder.receive(bytes(data)))
        return self._received.popleft()

    async def next_write(self) -> tuple[int, list[str]] | None:
        """Return (pin, values) of the hub's next write, skipping other frames; None when the connection has ended."""
        while (received := await self.next_frame()) is not None:
            if received[0] == Cmd.HARDWARE:
                _, pin, *values = split(received[2])
                return int(pin), values
        return None

    def frames(self) -> AsyncIterator[Frame]:
        """Iterate over `next_frame` until the connection ends."""
        return CallIterator(self.next_frame)

    def writes(self) -> AsyncIterator[tuple[int, list[str]]]:
        """Iterate over `next_write` until the connection ends."""
        return CallIterator(self.next_write)

    async def send(self, command: int, *parts: str) -> int:
        """Send a frame, after those of other tasks, and return its message id. Raises `Disconnected`."""
        message_id = self._message_ids.next()
        try:
            async with self._send_lock:
                await self._stream.send_all(frame(command, message_id, parts))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Disconnected from None
        return message_id

    async def write(self, pin: int, *values: str) -> int:
        """Write a pin, as ``virtualWrite`` does; return the message id."""
        return await self.send(Cmd.HARDWARE, "vw", str(pin), *values)

    async def ping(self) -> int:
        return await self.send(Cmd.PING)

    async def sync(self, *pins: int) -> int:
        """Ask for the values of pins, as ``syncVirtual`` does; of all without pins, as ``syncAll`` does."""
        return await (self.send(Cmd.HARDWARE_SYNC, "vr", *map(str, pins)) if pins else self.send(Cmd.HARDWARE_SYNC))

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    token: str,
    *,
    info: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """Connect and log in; the connection ends with the block. Raises OSError, `LoginFailed`, `Disconnected`."""
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
    try:
        client = Client(stream)
        await client.login(token, info)
        yield client
    finally:
        await trio.aclose_forcefully(stream)
