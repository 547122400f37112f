"""The plugin for Blynk's binary protocol, over TCP, TLS and WebSocket: it registers the protocol and runs its sessions.

`connectors.native.session` has the theory of operation of one connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from connectors.native.handlers import HANDLERS
from connectors.native.protocol import LOGINS
from connectors.native.session import Handler, NativeSession
from connectors.native.timeouts import NativeTimeouts
from hub import WireProtocol, hookimpl

if TYPE_CHECKING:
    from hub import Hub, Peer, Wire


@hookimpl
def hub_protocols(hub: Hub) -> Sequence[WireProtocol]:
    endpoint = Endpoint(hub, HANDLERS)
    return [WireProtocol(name="native", sniff=sniff, serve=endpoint.serve, websocket_path="/websockets")]


def sniff(first: bytes) -> bool:
    """Return whether a connection begins with one of the two logins, the only possible first frames."""
    return first[0] in LOGINS


class Endpoint:
    """All native connections of a hub; ``handlers`` are the functions for a logged-in device's commands."""

    def __init__(self, hub: Hub, handlers: Mapping[int, Handler]) -> None:
        self._hub = hub
        self._handlers = handlers
        self._timeouts = hub.timeouts.of(NativeTimeouts)
        self._sessions: set[NativeSession] = set()
        self._sweeping = False

    async def serve(self, wire: Wire, peer: Peer) -> None:
        """Serve one connection until it ends."""
        session = NativeSession(self._hub, wire, peer, self._handlers, self._timeouts)
        self._sessions.add(session)
        if not self._sweeping:
            self._sweeping = True
            wire.spawn(self._sweep)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            session.finish()

    async def _sweep(self) -> None:
        """Close silent connections while there are any connections: one task instead of a timeout for each read."""
        try:
            while self._sessions:
                await trio.sleep(self._timeouts.sweep)
                now = self._hub.clock.monotonic()
                for session in tuple(self._sessions):
                    if now > session.expires:
                        session.expire()
        finally:
            self._sweeping = False
