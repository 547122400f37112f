"""A device's side of MQTT 3.1.1, for simulated devices and tests. Imports nothing of the hub."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from connectors.mqtt.packets import (
    V311,
    Ack,
    Connack,
    Connect,
    Disconnect,
    Kind,
    Packet,
    Ping,
    Publish,
    RemoteProtocolError,
    Suback,
    Subscribe,
    Subscription,
)
from connectors.mqtt.protocol import MAX_LENGTH, Decoder, encode

#: Bytes of one read.
CHUNK = 4096


class LoginFailed(Exception):
    """Raised when the server answers CONNECT with a return code other than 0, which is ``reason``."""

    def __init__(self, reason: int) -> None:
        super().__init__(f"login failed with return code {reason}")
        self.reason = reason


class Disconnected(Exception):
    """Raised when the connection has ended."""

    def __init__(self) -> None:
        super().__init__("the connection ended")


@attrs.define(eq=False)
class Client:
    """One connection. `listen` must run in a task of the caller, or `publish` and `subscribe` never return."""

    _stream: trio.abc.Stream
    _decoder: Decoder = attrs.Factory(lambda: Decoder(MAX_LENGTH, V311))
    #: Events of the callers that wait for an acknowledgement, by packet identifier.
    _unacknowledged: dict[int, trio.Event] = attrs.Factory(dict)
    _last_id: int = 0
    #: Held while a packet is sent: several tasks may send, but a trio stream allows only one sender at a time.
    _sending: trio.Lock = attrs.Factory(trio.Lock)

    async def login(self, token: str, keep_alive: int) -> None:
        """Log in with a device's token; ``keep_alive`` is in seconds. Raises `LoginFailed`, `Disconnected`."""
        await self._send(Connect(username="device", password=token.encode(), keep_alive=keep_alive))
        while data := await self._receive():
            for packet in self._decoder.receive(data):
                if isinstance(packet, Connack):
                    if packet.reason:
                        raise LoginFailed(packet.reason)
                    return
        raise Disconnected

    async def listen(self, on_message: Callable[[Publish], None]) -> None:
        """Receive messages and acknowledgements until the connection ends; acknowledge messages with QoS 1."""
        while data := await self._receive():
            for packet in self._decoder.receive(data):
                match packet:
                    case Publish():
                        if packet.qos:
                            await self._send(Ack(Kind.PUBACK, packet.packet_id))
                        on_message(packet)
                    case Ack(Kind.PUBACK, packet_id) | Suback(_, packet_id):
                        if (acknowledged := self._unacknowledged.pop(packet_id, None)) is not None:
                            acknowledged.set()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1; return when the server has acknowledged it. Raises `Disconnected`."""
        packet_id, acknowledged = self._expect_ack()
        await self._send(Publish(topic, payload, 1, packet_id))
        await acknowledged.wait()

    async def subscribe(self, topic_filter: str) -> None:
        """Subscribe with QoS 1; return when the server has answered. Raises `Disconnected`."""
        packet_id, acknowledged = self._expect_ack()
        await self._send(Subscribe(packet_id, (Subscription(topic_filter, 1),)))
        await acknowledged.wait()

    async def ping(self) -> None:
        await self._send(Ping(Kind.PINGREQ))

    async def disconnect(self) -> None:
        await self._send(Disconnect())

    def _expect_ack(self) -> tuple[int, trio.Event]:
        """Return a packet identifier, and the event that is set when the packet is acknowledged."""
        self._last_id = self._last_id % 65_535 + 1
        acknowledged = self._unacknowledged[self._last_id] = trio.Event()
        return self._last_id, acknowledged

    async def _send(self, packet: Packet) -> None:
        try:
            async with self._sending:
                await self._stream.send_all(encode(packet, V311))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Disconnected from None

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""


@asynccontextmanager
async def connect(
    host: str, port: int, token: str, *, keep_alive: int = 45, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    """Connect and log in; yield the client, and close the connection at the end of the block.

    Raises OSError, `LoginFailed`, `Disconnected`.
    """
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
    try:
        client = Client(stream)
        try:
            await client.login(token, keep_alive)
        except RemoteProtocolError:
            raise Disconnected from None
        yield client
    finally:
        await trio.aclose_forcefully(stream)
