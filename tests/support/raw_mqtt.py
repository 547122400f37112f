"""An MQTT client on the level of packets: the tests send packets, and see every received one, in order."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager

import trio
from support.patience import patient
from support.times import until

from connectors.mqtt.packets import (
    V5,
    V311,
    Ack,
    Connack,
    Connect,
    Disconnect,
    Kind,
    Ping,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from connectors.mqtt.protocol import MAX_LENGTH, Decoder, encode
from hub.testing import address_of

#: Seconds for anything that should happen soon.
PATIENCE = patient(10)


class RawClient:
    """A connection. Publications of the hub are acknowledged by `message` and `received` only."""

    def __init__(self, stream, version=V311):
        self.stream = stream
        self.version = version
        self._decoder = Decoder(MAX_LENGTH, version)
        self._waiting = deque()
        self._last = 0

    async def send(self, *packets):
        await self.stream.send_all(b"".join(encode(packet, self.version) for packet in packets))

    async def next(self):
        """The next packet; None when the hub has ended the connection."""
        while not self._waiting:
            with trio.fail_after(PATIENCE):
                try:
                    data = bytes(await self.stream.receive_some(65_536))
                except trio.BrokenResourceError:
                    return None
            if not data:
                return None
            self._waiting += self._decoder.receive(data)
        return self._waiting.popleft()

    async def read_to_end(self):
        """All packets until the hub ends the connection."""
        packets = []
        while (packet := await self.next()) is not None:
            packets.append(packet)
        return packets

    async def until(self, kind):
        """The next packet of a class; packets before it are returned later."""
        before = []
        while (packet := await self.next()) is not None and not isinstance(packet, kind):
            before.append(packet)
        self._waiting.extendleft(reversed(before))
        return packet

    async def login(self, token, **connect):
        """Log in as a device; returns the CONNACK."""
        fields = {"username": "device", "password": token.encode(), "keep_alive": 60, "version": self.version}
        await self.send(Connect(**fields | connect))
        return await self.next()

    def _id(self):
        self._last = self._last % 65_535 + 1
        return self._last

    async def publish(self, topic, payload=b"", qos=1, **fields):
        """Publish, and return the acknowledgement, if any: PUBACK, or PUBREC of a completed QoS 2 exchange."""
        packet_id = self._id() if qos else 0
        data = payload if isinstance(payload, bytes) else str(payload).encode()
        await self.send(Publish(topic, data, qos, packet_id, **fields))
        if not qos:
            return None
        response = await self.until(Ack)
        assert response is None or packet_id == response.packet_id
        if qos == 2 and response is not None and response.reason < 0x80:
            await self.send(Ack(Kind.PUBREL, packet_id))
            assert Ack(Kind.PUBCOMP, packet_id) == await self.until(Ack)
        return response

    async def subscribe(self, *filters, qos=1, **properties):
        """Subscribe; returns the reason code for each filter."""
        packet_id = self._id()
        await self.send(Subscribe(packet_id, tuple(Subscription(name, qos) for name in filters), **properties))
        response = await self.until(Suback)
        return list(response.reasons)

    async def unsubscribe(self, *filters):
        packet_id = self._id()
        await self.send(Unsubscribe(packet_id, filters))
        return await self.until(Suback)

    async def message(self, *, ack=True):
        """(topic, payload) of the next message."""
        packet = await self.until(Publish)
        if packet is None:
            return None
        if packet.qos and ack:
            await self.send(Ack(Kind.PUBACK, packet.packet_id))
        return packet.topic, packet.payload.decode()

    async def received(self):
        """(topic, payload) of all messages received before the response to a PINGREQ: everything sent so far."""
        await self.send(Ping(Kind.PINGREQ))
        messages = []
        while (packet := await self.next()) is not None and packet != Ping(Kind.PINGRESP):
            if isinstance(packet, Publish):
                messages.append((packet.topic, packet.payload.decode()))
                if packet.qos:
                    await self.send(Ack(Kind.PUBACK, packet.packet_id))
        return messages

    async def disconnect(self, reason=0, **properties):
        await self.send(Disconnect(reason, **properties))
        return await self.read_to_end()


@asynccontextmanager
async def open_connection(hub, version=V311, **options):
    """A connection on which nothing has been sent."""
    stream = await trio.open_tcp_stream(*address_of(hub), **options)
    try:
        yield RawClient(stream, version)
    finally:
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def online(hub, token, version=V311, *, subscribed=True, **connect):
    """A device that has logged in, and has subscribed to all its topics."""
    async with open_connection(hub, version) as device:
        connack = await device.login(token, **connect)
        assert isinstance(connack, Connack)
        assert 0 == connack.reason, connack
        device.present = connack.present
        if subscribed:
            assert [1] == await device.subscribe("downlink/#")
        yield device


__all__ = ["PATIENCE", "V5", "V311", "RawClient", "open_connection", "online", "until"]
