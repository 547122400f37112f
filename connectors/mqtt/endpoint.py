"""The plugin: the hub as an MQTT server for devices and gateways, over TCP, TLS and WebSocket.

It is not a broker: the topics are Blynk's, and clients do not see each other. A session belongs to a token: many
devices may have the same client identifier, and of two connections with one token the newer wins. PUBACK and PUBREC
are sent after the commit that holds what was published.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import attrs
import trio

from connectors.mqtt.connection import MqttConnection
from connectors.mqtt.packets import V5, Connack, Kind, Reason, RemoteProtocolError
from connectors.mqtt.protocol import Decoder, encode
from connectors.mqtt.registry import ClientRegistry
from connectors.mqtt.session import ServerLimits
from hub import WireProtocol, hookimpl
from hub.parsing.structuring import Duration, between, seconds

if TYPE_CHECKING:
    from hub import Hub, Peer, Wire

#: The first byte of a login in Blynk's native protocol (BlynkProtocolDefs.h), which may use the same port.
NATIVE_LOGIN = 0x1D
#: Bounds of the setting ``max_packet``, in bytes.
PACKET_LIMITS = 1024, 1024 * 1024


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.mqtt]``: bytes of the longest packet, and how long a session is kept without a connection."""

    max_packet: Annotated[int, between(*PACKET_LIMITS)] = 65_536
    keep_sessions: Duration = "1d"


@hookimpl
def hub_config() -> type:
    return Settings


@hookimpl
def hub_protocols(hub: Hub) -> Sequence[WireProtocol]:
    return [
        WireProtocol(
            name="mqtt",
            sniff=sniff,
            serve=hub.service(Endpoint).serve,
            overload_response=overload_response,
            websocket_path="/mqtt",
            subprotocol="mqtt",
        )
    ]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    nursery.start_soon(hub.service(Endpoint).run)


def sniff(first: bytes) -> bool:
    """Whether the first bytes are a CONNECT, the only packet that may come first.

    The flags in the first byte are not compared: version 3.1 allows any.
    """
    return first[0] >> 4 == Kind.CONNECT and first[0] != NATIVE_LOGIN


def overload_response(first: bytes) -> bytes:
    """Return the CONNACK for a client over the connection limit, in the version of its CONNECT if that is known."""
    decoder = Decoder(PACKET_LIMITS[1])
    with suppress(RemoteProtocolError):
        for _ in decoder.receive(first):
            break
    return encode(Connack(False, Reason.SERVER_BUSY), V5) if decoder.version == V5 else b"\x20\x02\x00\x03"


class Endpoint:
    """The MQTT service of a hub: its connections, and the registry of its clients."""

    def __init__(self, hub: Hub) -> None:
        settings: Settings = hub.settings(Settings)
        self.limits = ServerLimits(max_packet=settings.max_packet, max_expiry=int(seconds(settings.keep_sessions)))
        self.registry = ClientRegistry(hub)
        self._connections: set[MqttConnection] = set()
        self._sweeping = False

    async def run(self) -> None:
        """Expire sessions and publish wills, until cancelled."""
        await self.registry.run()

    async def serve(self, wire: Wire, peer: Peer) -> None:
        """Serve one connection until it ends."""
        connection = MqttConnection(self.registry, self.limits, wire, peer)
        self._connections.add(connection)
        if not self._sweeping:
            self._sweeping = True
            wire.spawn(self._sweep)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            connection.on_closed()
        if connection.rejected:
            await wire.linger()

    async def _sweep(self) -> None:
        """Check all connections now and then, while there are any: one task instead of a timeout for each read."""
        try:
            while self._connections:
                await trio.sleep(self.registry.timeouts.sweep)
                now = self.registry.hub.clock.monotonic()
                for connection in tuple(self._connections):
                    if connection.is_silent(now):
                        connection.expire()
                    else:
                        connection.revalidate()
        finally:
            self._sweeping = False
