"""The client of the simulated devices."""

from __future__ import annotations

import trio
import trio.testing
from support.raw_mqtt import PATIENCE, V311

from connectors.mqtt.client import Client as MqttClient
from connectors.mqtt.packets import (
    Ping,
    Publish,
)
from connectors.mqtt.protocol import Decoder


async def test_mqtt_client_serializes_concurrent_sends():
    ours, theirs = trio.testing.lockstep_stream_pair()
    client, decoder = MqttClient(ours), Decoder(version=V311)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(client.publish, "ds/Label", b"x" * 500)
            nursery.start_soon(client.ping)
        await trio.testing.wait_all_tasks_blocked()
        packets = []
        with trio.fail_after(PATIENCE):
            while len(packets) < 6:
                packets += decoder.receive(bytes(await theirs.receive_some(7)))
        nursery.cancel_scope.cancel()

    assert [3, 3] == [sum(isinstance(packet, cls) for packet in packets) for cls in (Publish, Ping)]
