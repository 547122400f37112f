"""The rate limit of messages and filters, and backpressure."""

from __future__ import annotations

import socket as sockets

import trio
import trio.testing
from support.mqtt_devices import TEMPLATE, advance_while_idle, assert_silent
from support.patience import brief
from support.raw_mqtt import PATIENCE, online
from support.rejections import rejection_reasons
from support.values import current_value

from connectors.mqtt.packets import (
    Ack,
    Kind,
    Ping,
    Publish,
)
from hub.config import parse
from hub.run import running
from hub.testing import LOOPBACK, add_device


async def test_rejected_filters_of_one_subscribe_are_recorded_once_and_count_against_the_rate(hub_config):
    slow = parse(LOOPBACK + "[limits]\nmessages_per_second = 500\nburst = 10\n").with_data(str(hub_config.data))
    async with running(slow) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as client:
            began_at = trio.current_time()
            await client.subscribe(*(f"x/{n}" for n in range(300)))
            assert 1 == sum("subscribes to topics below downlink/" in reason for reason in rejection_reasons(hub))
            for _ in range(20):
                await client.subscribe(*(f"x/{n}" for n in range(200)))
            assert trio.current_time() - began_at > 0.3
        assert 21 == sum("subscribes to topics below downlink/" in reason for reason in rejection_reasons(hub))


async def test_device_over_its_rate_is_throttled_and_notified(hub_config):
    slow = parse(LOOPBACK + "[limits]\nmessages_per_second = 500\nburst = 10\n").with_data(str(hub_config.data))
    async with running(slow) as hub:
        device, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as client:
            began_at = trio.current_time()
            for n in range(600):
                await client.send(Publish("ds/Set Point", b"%d" % n, 1, n + 10))
            packets = []
            while sum(isinstance(packet, Ack) for packet in packets) < 600:
                packets.append(await client.next())
            assert trio.current_time() - began_at > 0.3
            assert 100 == current_value(hub, device, 1)
            diagnostics = [packet.payload.decode() for packet in packets if isinstance(packet, Publish)]
            assert ["this device sends more than 500 messages/s, and is read at that rate"] == diagnostics
        assert any("sends more than 500 messages/s" in reason for reason in rejection_reasons(hub))


async def test_throttled_device_is_not_disconnected_as_silent(hub_config, clock, nursery):
    slow = parse(LOOPBACK + "[limits]\nmessages_per_second = 1\nburst = 1\n").with_data(str(hub_config.data))
    async with running(slow) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token, subscribed=False, keep_alive=1) as client:
            await client.send(*(Publish("ds/Set Point", b"1", 1, n) for n in range(1, 7)))
            began_at = trio.current_time()
            nursery.start_soon(advance_while_idle, clock)
            assert [1, 2, 3, 4, 5, 6] == [(await client.until(Ack)).packet_id for _ in range(6)]
            await client.send(Ping(Kind.PINGREQ))
            assert Ping(Kind.PINGRESP) == await client.until(Ping)
            # The device was not read for longer than its keep-alive allows.
            assert trio.current_time() - began_at > 3
            nursery.cancel_scope.cancel()


async def test_client_that_does_not_read_responses_is_not_read_either(hub, token):
    async with online(hub, token, subscribed=False) as client:
        [wire] = hub.listener._wires  # noqa: SLF001
        # With small kernel buffers, the rest of the output waits in the hub.
        for sock in (wire._sock, client.stream.socket):
            sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
            sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        writes = 0
        with trio.move_on_after(PATIENCE):
            while True:
                with trio.move_on_after(brief(0.5)) as blocked:
                    await client.stream.send_all(b"\xc0\0" * 32_768)
                if blocked.cancelled_caught:
                    break
                writes += 1
                assert writes < 2_000
        assert blocked.cancelled_caught
        assert wire.pending < 1024 * 1024


async def test_message_is_handled_once_the_history_has_space(hub, token, monkeypatch):
    async with online(hub, token) as client:
        monkeypatch.setattr(hub.history, "full", True)
        await client.send(Publish("ds/Temperature", b"1", 1, 5))
        await assert_silent(client)
        hub.history.full = False
        hub.history._space.unpark_all()  # noqa: SLF001
        assert Ack(Kind.PUBACK, 5) == await client.next()
