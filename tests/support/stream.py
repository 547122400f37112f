"""A client of the live stream, with the websockets library's own client."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import trio
from support.patience import brief
from support.raw_http import PATIENCE, local_key
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from hub.testing import address_of


class StreamClient:
    """An open connection; ``seq`` is the sequence number of the last message."""

    def __init__(self, socket):
        self.socket = socket
        self.seq = None

    async def send(self, **message):
        await self.socket.send(json.dumps(message))

    async def receive(self):
        """Return the next message without its sequence number."""
        with trio.fail_after(PATIENCE):
            message = json.loads(await self.socket.recv())
        self.seq = message.pop("seq", None)
        return message

    async def subscribe(self, number, topic, **options):
        """Subscribe; return the confirmation with its snapshot, or the error."""
        await self.send(id=number, subscribe=topic, **options)
        return await self.receive()

    async def has_no_messages(self):
        """Return whether nothing was sent so far: the error for an invalid request is the next message."""
        await self.send(id="mark", subscribe="nonsense")
        return (await self.receive())["id"] == "mark"

    async def stays_silent(self):
        """Return whether no message arrives for a while that is long for a message that takes a millisecond."""
        with trio.move_on_after(brief(0.3)) as silence:
            await self.socket.recv()
        return silence.cancelled_caught

    async def wait_closed(self):
        """Wait until the hub closes the connection."""
        with trio.fail_after(PATIENCE):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                pass


@asynccontextmanager
async def open_stream(hub, key=None):
    """Connect to the live stream with a session's token or a key; without, with the hub's local key."""
    host, port = address_of(hub)
    headers = {"Authorization": f"Bearer {key or local_key(hub)}"}
    async with connect(f"ws://{host}:{port}/api/v1/stream", additional_headers=headers, proxy=None) as socket:
        yield StreamClient(socket)
