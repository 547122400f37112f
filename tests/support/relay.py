"""A relay before a hub, at one address: connections through it can be cut or stalled, and the hub may move."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

import trio

from hub.testing import address_of


class Relay:
    """``accepted`` counts the connections."""

    def __init__(self):
        self.url = ""
        self.accepted = 0
        self._target = None
        self._flowing = trio.Event()
        self._flowing.set()
        self._connections = set()

    def lead_to(self, hub):
        """Relay new connections to this hub; to none, which closes them at once."""
        self._target = None if hub is None else address_of(hub)

    def cut(self):
        """End all connections."""
        for scope in self._connections:
            scope.cancel()

    def stall(self):
        """Relay no more bytes of connections, which stay open; new ones are accepted."""
        self._flowing = trio.Event()

    def flow(self):
        self._flowing.set()

    async def serve(self, client):
        self.accepted += 1
        if self._target is None:
            await trio.aclose_forcefully(client)
            return
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                hub = await trio.open_tcp_stream(*self._target)
                async with client, hub, trio.open_nursery() as nursery:
                    nursery.start_soon(self._copy, client, hub, scope)
                    nursery.start_soon(self._copy, hub, client, scope)
            finally:
                self._connections.discard(scope)

    async def _copy(self, source, sink, scope):
        try:
            while data := await source.receive_some(65_536):
                await self._flowing.wait()
                await sink.send_all(data)
            # The other direction may go on: a hub that rejects a request reads the rest of it.
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            scope.cancel()


@asynccontextmanager
async def open_relay():
    """A relay on a free port."""
    relay = Relay()
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, relay.serve, 0, host="127.0.0.1"))
        host, port = listener.socket.getsockname()[:2]
        relay.url = f"http://{host}:{port}"
        yield relay
        nursery.cancel_scope.cancel()
