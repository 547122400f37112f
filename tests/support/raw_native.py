"""A native device on the level of frames: the tests send frames, and see every received one, in order."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager

import trio
from support.patience import patient
from support.times import until

from connectors.native.protocol import Cmd, Decoder, Status, frame, split
from hub.testing import address_of

#: Seconds for anything that should happen soon.
PATIENCE = patient(10)
OK = int(Status.OK)


class RawClient:
    """A connection. A received frame is ``(command, message id, *strings)``, a RESPONSE ``(0, message id, status)``."""

    def __init__(self, stream):
        self.stream = stream
        self._decoder = Decoder()
        self._waiting = deque()
        self._last = 0

    async def send(self, command, *parts, message=None):
        """Send a frame; returns its message id."""
        self._last = self._last + 1 if message is None else message
        await self.stream.send_all(self.frame(command, *parts, message=self._last))
        return self._last

    def frame(self, command, *parts, message=1):
        body = "\0".join(parts).encode("utf-8", "surrogateescape")
        return bytes([command]) + message.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body

    async def read(self):
        """The frames of one read, which must be complete. [] when the hub has ended the connection."""
        with trio.fail_after(PATIENCE):
            try:
                data = bytes(await self.stream.receive_some(65_536))
            except trio.BrokenResourceError:
                return []
        received = list(self._decoder.receive(data))
        return [(c, m, s) if c == Cmd.RESPONSE else (c, m, *split(body)) for c, m, body, s in received]

    async def next(self):
        """The next frame; None when the hub has ended the connection."""
        if not self._waiting:
            self._waiting += await self.read()
        return self._waiting.popleft() if self._waiting else None

    async def read_to_end(self):
        """All frames until the hub ends the connection."""
        frames = []
        while (received := await self.next()) is not None:
            frames.append(received)
        return frames

    async def ask(self, command, *parts, message=None):
        """Send a frame; returns the frames received before its RESPONSE, and the status."""
        message_id = await self.send(command, *parts, message=message)
        before = []
        while (received := await self.next()) is not None:
            if received[:2] == (Cmd.RESPONSE, message_id):
                return before, received[2]
            before.append(received)
        return before, None

    async def status(self, command, *parts):
        """Send a frame; returns the status of its RESPONSE, which must be the next frame."""
        before, status = await self.ask(command, *parts)
        assert [] == before
        return status

    async def login(self, token, command=Cmd.HW_LOGIN):
        return await self.status(command, token)

    async def info(self, **info):
        """Send the info frame; underscores stand for dashes."""
        pairs = {"ver": "1.0", **{key.replace("_", "-"): str(value) for key, value in info.items()}}
        return await self.status(Cmd.INTERNAL, *(part for pair in pairs.items() for part in pair))

    async def received(self):
        """All frames received before the RESPONSE to a PING: everything sent so far."""
        before, status = await self.ask(Cmd.PING)
        assert OK == status
        return before


@asynccontextmanager
async def open_connection(hub, **options):
    """A connection on which nothing has been sent."""
    stream = await trio.open_tcp_stream(*address_of(hub), **options)
    try:
        yield RawClient(stream)
    finally:
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def online(hub, token, command=Cmd.HW_LOGIN, **info):
    """A device that has logged in and has sent its info frame."""
    async with open_connection(hub) as device:
        assert OK == await device.login(token, command)
        assert OK == await device.info(**info)
        yield device


__all__ = ["OK", "PATIENCE", "RawClient", "open_connection", "frame", "online", "until"]
