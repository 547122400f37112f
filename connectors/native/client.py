"""A device's side of the protocol: what firmware does, in trio. Imports nothing of the hub."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from connectors.native.protocol import Cmd, Connection, Frame, MessageIds, Status, frame, response, split

CHUNK = 4096


class LoginFailed(Exception):
    """The hub answered a login with something else than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"login failed with status {status}")
        self.status = status


class Disconnected(Exception):
    """The connection ended."""


@attrs.define(eq=False)
class Client:
    """One logged-in connection. Iterate `frames` to hear the hub; answers to PING are not needed, it sends none."""

    _stream: trio.abc.Stream
    _connection: Connection = attrs.Factory(Connection)
    _ids: MessageIds = attrs.Factory(MessageIds)
    _early: list[Frame] = attrs.Factory(list)

    async def login(self, token: str, info: Mapping[str, str] | None = None, command: int = Cmd.HW_LOGIN) -> None:
        """Log in, then tell ``info``, such as ``{"h-beat": "45"}``. Raises `LoginFailed`, `Disconnected`."""
        await self._stream.send_all(frame(command, self._ids.next(), (token,)))
        status = await self._answer(1)
        if status != Status.OK:
            raise LoginFailed(status)
        if info is not None:
            message = await self.send(Cmd.INTERNAL, *(part for pair in info.items() for part in pair))
            await self._answer(message)

    async def _answer(self, message: int) -> int:
        async for command, number, body, status in self.frames():
            if command == Cmd.RESPONSE and number == message:
                return status
            self._early.append((command, number, body, status))
        raise Disconnected

    async def frames(self) -> AsyncIterator[Frame]:
        """Every frame from the hub, until it ends the connection; all of a read before the next."""
        while True:
            try:
                data = await self._stream.receive_some(CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not data:
                return
            for received in list(self._connection.receive(bytes(data))):
                yield received

    async def writes(self) -> AsyncIterator[tuple[int, list[str]]]:
        """(pin, values) for every value the hub sends."""
        while self._early:
            command, _, body, _ = self._early.pop(0)
            if command == Cmd.HARDWARE:
                _, pin, *values = split(body)
                yield int(pin), values
        async for command, _, body, _ in self.frames():
            if command == Cmd.HARDWARE:
                _, pin, *values = split(body)
                yield int(pin), values

    async def send(self, command: int, *parts: str) -> int:
        """Send a frame; returns its message id. Raises `Disconnected`."""
        message = self._ids.next()
        try:
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

    async def respond(self, message: int, status: int = Status.OK) -> None:
        await self._stream.send_all(response(message, status))

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
