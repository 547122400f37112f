"""A device's side of the protocol: what firmware does, in trio. Imports nothing of the hub."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, Self, TypeVar

import attrs
import trio

from connectors.native.protocol import Cmd, Connection, Frame, MessageIds, Status, frame, split

T = TypeVar("T")

CHUNK = 4096


class LoginFailed(Exception):
    """The hub answered a login with something else than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"login failed with status {status}")
        self.status = status


class Disconnected(Exception):
    """The connection ended."""

    def __init__(self) -> None:
        super().__init__("the connection ended")


@attrs.define
class Each(Generic[T]):
    """Asynchronous iteration over what a method returns, until None; unlike a generator it may be left at any time."""

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
    """One logged-in connection. Iterate `frames` or `writes` to hear the hub."""

    _stream: trio.abc.Stream
    _connection: Connection = attrs.Factory(Connection)
    _ids: MessageIds = attrs.Factory(MessageIds)
    _received: deque[Frame] = attrs.Factory(deque)
    #: Held while a frame is sent: several tasks may send, and a trio stream takes only one of them at a time.
    _sending: trio.Lock = attrs.Factory(trio.Lock)

    async def login(self, token: str, info: Mapping[str, str] | None = None, command: int = Cmd.HW_LOGIN) -> None:
        """Log in, then tell ``info``, such as ``{"h-beat": "45"}``. Raises `LoginFailed`, `Disconnected`."""
        status = await self._answer(await self.send(command, token))
        if status != Status.OK:
            raise LoginFailed(status)
        if info is not None:
            message = await self.send(Cmd.INTERNAL, *(part for pair in info.items() for part in pair))
            await self._answer(message)

    async def _answer(self, message: int) -> int:
        """The status of a message; what comes before it is kept."""
        early: list[Frame] = []
        async for received in self.frames():
            command, number, _, status = received
            if command == Cmd.RESPONSE and number == message:
                self._received.extendleft(reversed(early))
                return status
            early.append(received)
        raise Disconnected

    async def next_frame(self) -> Frame | None:
        """The next frame from the hub; None when it has ended the connection."""
        while not self._received:
            try:
                data = await self._stream.receive_some(CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._received.extend(self._connection.receive(bytes(data)))
        return self._received.popleft()

    async def next_write(self) -> tuple[int, list[str]] | None:
        """(pin, values) of the next value the hub sends; other frames are passed over."""
        while (received := await self.next_frame()) is not None:
            if received[0] == Cmd.HARDWARE:
                _, pin, *values = split(received[2])
                return int(pin), values
        return None

    def frames(self) -> AsyncIterator[Frame]:
        """`next_frame`, until the end."""
        return Each(self.next_frame)

    def writes(self) -> AsyncIterator[tuple[int, list[str]]]:
        """`next_write`, until the end."""
        return Each(self.next_write)

    async def send(self, command: int, *parts: str) -> int:
        """Send a frame, after those of other tasks; returns its message id. Raises `Disconnected`."""
        message = self._ids.next()
        try:
            async with self._sending:
                await self._stream.send_all(frame(command, message, parts))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Disconnected from None
        return message

    async def write(self, pin: int, *values: str) -> int:
        """`virtualWrite`."""
        return await self.send(Cmd.HARDWARE, "vw", str(pin), *values)

    async def ping(self) -> int:
        return await self.send(Cmd.PING)

    async def sync(self, *pins: int) -> int:
        """`syncVirtual`, or `syncAll` without pins."""
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
    """A logged-in client for the length of the block. Raises OSError, `LoginFailed`, `Disconnected`."""
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
    try:
        client = Client(stream)
        await client.login(token, info)
        yield client
    finally:
        await trio.aclose_forcefully(stream)
