"""A device's side of MQTT, version 3.1.1: what firmware does, in trio. Imports nothing of the hub."""

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

CHUNK = 4096


class LoginFailed(Exception):
    """The server answered CONNECT with another return code than 0."""

    def __init__(self, reason: int) -> None:
        super().__init__(f"login failed with return code {reason}")
        self.reason = reason


class Disconnected(Exception):
    """The connection ended."""

    def __init__(self) -> None:
        super().__init__("the connection ended")


@attrs.define(eq=False)
class Client:
    """One connection that has logged in. Somebody must run `listen`."""

    _stream: trio.abc.Stream
    _decoder: Decoder = attrs.Factory(lambda: Decoder(MAX_LENGTH, V311))
    _waiting: dict[int, trio.Event] = attrs.Factory(dict)
    _last_id: int = 0
    #: Held while a packet is sent: several tasks may send, and a trio stream takes only one of them at a time.
    _sending: trio.Lock = attrs.Factory(trio.Lock)

    async def login(self, token: str, keep_alive: int) -> None:
        """Raises `LoginFailed`, `Disconnected`."""
        await self._send(Connect(username="device", password=token.encode(), keep_alive=keep_alive))
        while data := await self._receive():
            for packet in self._decoder.receive(data):
                if isinstance(packet, Connack):
                    if packet.reason:
                        raise LoginFailed(packet.reason)
                    return
        raise Disconnected

    async def listen(self, heard: Callable[[Publish], None]) -> None:
        """Hear the server until the connection ends; messages with QoS 1 are acknowledged."""
        while data := await self._receive():
            for packet in self._decoder.receive(data):
                match packet:
                    case Publish():
                        if packet.qos:
                            await self._send(Ack(Kind.PUBACK, packet.packet_id))
                        heard(packet)
                    case Ack(Kind.PUBACK, packet_id) | Suback(_, packet_id):
                        if (answered := self._waiting.pop(packet_id, None)) is not None:
                            answered.set()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1; returns when the server has it. Raises `Disconnected`."""
        packet_id, answered = self._expect()
        await self._send(Publish(topic, payload, 1, packet_id))
        await answered.wait()

    async def subscribe(self, topic_filter: str) -> None:
        """Subscribe with QoS 1. Raises `Disconnected`."""
        packet_id, answered = self._expect()
        await self._send(Subscribe(packet_id, (Subscription(topic_filter, 1),)))
        await answered.wait()

    async def ping(self) -> None:
        await self._send(Ping(Kind.PINGREQ))

    async def disconnect(self) -> None:
        await self._send(Disconnect())

    def _expect(self) -> tuple[int, trio.Event]:
        self._last_id = self._last_id % 65_535 + 1
        answered = self._waiting[self._last_id] = trio.Event()
        return self._last_id, answered

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
    """A client that has logged in, for the length of the block. Raises OSError, `LoginFailed`, `Disconnected`."""
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
