"""MQTT over WebSocket."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.mqtt_devices import open_websocket
from support.raw_mqtt import PATIENCE, V311
from support.values import current_value
from websockets.exceptions import ConnectionClosed

from connectors.mqtt.packets import (
    Connect,
    Kind,
    Ping,
    Publish,
)
from connectors.mqtt.protocol import encode


async def test_packets_and_websocket_messages_need_not_align(hub, device, token):
    packet = encode(Connect(username="device", password=token.encode()), V311)
    async with open_websocket(hub) as socket:
        assert "mqtt" == socket.subprotocol
        for part in (packet[:9], packet[9:]):
            await socket.send(part)
        assert b"\x20\2\0\0" == await socket.recv()
        await socket.send(encode(Publish("ds/Temperature", b"4", 1, 1), V311) + encode(Ping(Kind.PINGREQ), V311))
        assert b"\xd0\0\x40\2\0\1" == await socket.recv() + (await socket.recv())
    assert 4.0 == current_value(hub, device, 0)


async def test_text_message_closes_the_websocket(hub):
    async with open_websocket(hub) as socket:
        await socket.send("text")
        with pytest.raises(ConnectionClosed), trio.fail_after(PATIENCE):
            await socket.recv()
