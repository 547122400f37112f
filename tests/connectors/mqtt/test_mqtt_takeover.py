"""Connections with one token: the newer replaces the older, and repeated takeovers are delayed."""

from __future__ import annotations

import trio
import trio.testing
from support.facts import collect_facts
from support.mqtt_devices import OTHER_TEMPLATE, advance_while_idle
from support.raw_mqtt import V5, online, open_connection
from support.raw_native import online as native_online
from support.rejections import rejection_reasons
from support.times import until
from support.values import current_value

from connectors.mqtt.packets import (
    Ack,
    Connack,
    Connect,
    Kind,
)
from hub.facts import DeviceConnected, DeviceDisconnected
from hub.model import SYSTEM
from hub.testing import add_device


async def test_newer_connection_replaces_the_older_and_the_device_stays_online(hub, token, version):
    facts = collect_facts(hub, DeviceConnected, DeviceDisconnected)
    async with online(hub, token, version, client_id="old") as older, online(hub, token, client_id="new") as newer:
        packets = await older.read_to_end()
        assert ([0x8E] if version == V5 else []) == [packet.reason for packet in packets]
        assert Ack(Kind.PUBACK, 2) == await newer.publish("ds/Temperature", "3")
        # No DeviceDisconnected: the device was never offline.
        assert [DeviceConnected] == [type(fact) for fact in facts]


async def test_native_login_replaces_the_mqtt_session(hub, device, token):
    async with online(hub, token, V5) as older, native_online(hub, token):
        assert [0x8E] == [packet.reason for packet in await older.read_to_end()]
        assert "native" == hub.sessions.get(device.id).via


async def test_devices_may_share_a_client_identifier(hub, device, token):
    other, other_token = await add_device(hub, OTHER_TEMPLATE)
    async with (
        online(hub, token, client_id="esp32") as client,
        online(hub, other_token, client_id="esp32") as other_client,
    ):
        await client.publish("ds/Temperature", "1")
        await other_client.publish("ds/Temperature", "2")
        assert [] == await client.received()
    assert (1.0, 2.0) == (current_value(hub, device, 0), current_value(hub, other, 0))


async def test_rejected_login_with_the_same_client_identifier_disturbs_no_connection(hub, token):
    async with online(hub, token, client_id="mine") as client:
        for _ in range(30):
            async with open_connection(hub) as other:
                assert 4 == (await other.login("x" * 32, client_id="mine")).reason
        assert Ack(Kind.PUBACK, 2) == await client.publish("ds/Temperature", "3")


REPORT = "keeps replacing another connection with the same token"


async def take_over_without_delay(hub, token):
    """Make as many takeovers as the hub permits without a delay."""
    for _ in range(3):
        async with online(hub, token, subscribed=False), online(hub, token, subscribed=False):
            pass


async def test_repeated_takeovers_are_delayed_longer_and_longer_and_reported_to_both_clients(
    hub, token, clock, nursery
):
    await take_over_without_delay(hub, token)
    assert not any(REPORT in reason for reason in rejection_reasons(hub)), "none of these takeovers was delayed"
    nursery.start_soon(advance_while_idle, clock)
    delays = []
    for _ in range(3):
        async with online(hub, token, subscribed=False) as older:
            began_at = trio.current_time()
            async with online(hub, token, subscribed=False) as newer:
                delays.append(trio.current_time() - began_at)
                messages = await newer.received()
                diagnostics = [packet.payload.decode() for packet in await older.read_to_end()]
    assert [True] * 3 == [seconds >= 2**n for n, seconds in enumerate(delays)]
    assert any(REPORT in text for _, text in messages)
    assert any(REPORT in text for text in diagnostics)
    assert any(REPORT in reason for reason in rejection_reasons(hub))


async def test_delayed_login_succeeds_if_the_other_connection_ends_meanwhile(hub, token, clock, nursery):
    await take_over_without_delay(hub, token)
    async with online(hub, token, subscribed=False) as older, open_connection(hub) as newer:
        await newer.send(Connect(username="device", password=token.encode()))
        assert "keeps replacing" in (await older.message())[1]
        await older.disconnect()
        nursery.start_soon(advance_while_idle, clock)
        assert Connack(False, 0) == await newer.next()


async def test_newest_of_several_delayed_logins_succeeds(hub, token, clock, nursery):
    await take_over_without_delay(hub, token)
    connect = Connect(username="device", password=token.encode())
    async with (
        online(hub, token, subscribed=False) as current,
        open_connection(hub) as delayed,
        open_connection(hub) as newest,
    ):
        await delayed.send(connect)
        await current.message()
        await newest.send(connect)
        await current.message()
        nursery.start_soon(advance_while_idle, clock)
        assert Connack(False, 0) == await newest.next()
        assert Connack(False, 3) == await delayed.next()


async def test_delayed_login_whose_client_hung_up_replaces_no_connection(hub, token, clock, nursery):
    await take_over_without_delay(hub, token)
    async with online(hub, token, subscribed=False) as current:
        connections = hub.listener.connections
        async with open_connection(hub) as delayed:
            await delayed.send(Connect(username="device", password=token.encode()))
            await current.message()
        nursery.start_soon(advance_while_idle, clock)
        await until(lambda: hub.listener.connections == connections)
        assert Ack(Kind.PUBACK, 1) == await current.publish("ds/Temperature", "1")


async def test_device_is_disconnected_when_its_token_is_rotated(hub, device, token):
    async with online(hub, token, V5) as client:
        await hub.tokens.rotate(device, SYSTEM)
        assert [0x98] == [packet.reason for packet in await client.read_to_end()]
