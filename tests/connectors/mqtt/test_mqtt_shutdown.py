"""A hub that stops: pending acknowledgements, the DISCONNECT, and wills."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing
from support.databases import hold_commits
from support.mqtt_devices import TEMPLATE, open_websocket
from support.raw_mqtt import PATIENCE, V5, V311, online, open_connection
from support.times import until
from support.values import current_value
from websockets.exceptions import ConnectionClosed

from connectors.mqtt.packets import (
    Ack,
    Connack,
    Connect,
    Disconnect,
    Publish,
    Will,
)
from connectors.mqtt.protocol import MAX_LENGTH, Decoder, encode
from hub.run import running
from hub.testing import add_device


async def test_stopping_hub_sends_disconnect_with_a_reason_code(hub_config):
    async with running(hub_config) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with trio.open_nursery() as nursery:
            packets = []

            async def connect(task_status):
                async with online(hub, token, V5) as client:
                    task_status.started()
                    packets.extend(await client.read_to_end())

            await nursery.start(connect)
            with trio.CancelScope(shield=True):
                await hub.listener.drain(1)
    assert [0x8B] == [packet.reason for packet in packets]


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
async def test_stopping_hub_sends_pending_acknowledgements_before_disconnect(hub_config, monkeypatch, transport):
    async with running(hub_config) as hub:
        device, token = await add_device(hub, TEMPLATE)
        released = hold_commits(hub.storage.history, monkeypatch)
        connect = encode(Connect(username="device", password=token.encode(), version=V5), V5)
        message, packets = encode(Publish("ds/Temperature", b"1", 1, 5), V5), []

        async def stop():
            await until(lambda: current_value(hub, device, 0) == 1)
            async with trio.open_nursery() as stopping:
                stopping.start_soon(hub.listener.drain, 2)
                await until(lambda: hub.listener.draining)
                released.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            if transport == "tcp":
                async with open_connection(hub, V5) as client:
                    await client.stream.send_all(connect + message)
                    packets = await client.read_to_end()
            else:
                data = b""
                async with open_websocket(hub) as socket:
                    await socket.send(connect + message)
                    with suppress(ConnectionClosed), trio.fail_after(PATIENCE):
                        while True:
                            data += await socket.recv()
                packets = list(Decoder(MAX_LENGTH, V5).receive(data))
        assert [Connack, Ack, Disconnect] == [type(packet) for packet in packets]
        assert (0, 0x8B) == (packets[1].reason, packets[2].reason)


async def test_stopping_hub_publishes_no_wills(hub_config):
    async with running(hub_config) as hub:
        device, token = await add_device(hub, TEMPLATE)
        async with open_connection(hub) as client:
            await client.login(token, will=Will("ds/Label", b"gone"))
            await hub.listener.drain(1)
            await until(lambda: hub.sessions.get(device.id) is None)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert current_value(hub, device, 2) is None


async def test_stopping_hub_publishes_no_wills_of_websocket_clients(hub_config):
    async with running(hub_config) as hub:
        device, token = await add_device(hub, TEMPLATE)
        async with open_websocket(hub) as socket:
            will = Will("ds/Label", b"gone")
            await socket.send(encode(Connect(username="device", password=token.encode(), will=will), V311))
            await socket.recv()
            await hub.listener.drain(1)
            await until(lambda: hub.sessions.get(device.id) is None)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert current_value(hub, device, 2) is None
