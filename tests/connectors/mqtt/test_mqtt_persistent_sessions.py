"""Persistent sessions: queued messages, expiry, and redelivery."""

from __future__ import annotations

import pytest
from support.mqtt_devices import persistent
from support.raw_mqtt import V5, V311, online
from support.rejections import rejection_reasons
from support.times import until
from support.values import write_value

from connectors.mqtt.endpoint import Endpoint
from connectors.mqtt.packets import (
    Property,
    Publish,
)
from hub.errors import Conflict
from hub.model import SYSTEM, Reboot


async def test_persistent_session_delivers_the_newest_value_of_each_datastream(hub, device, token, version):
    async with online(hub, token, version, **persistent(version)) as client:
        assert not client.present
        await client.disconnect()
    await until(lambda: hub.sessions.get(device.id) is None)
    for n in (1, 2, 3):
        write_value(hub, device, 1, n)
        write_value(hub, device, 2, f"text {n}")
    async with online(hub, token, version, subscribed=False, **persistent(version)) as client:
        assert client.present
        # The newest value of each datastream.
        assert [("downlink/ds/Set Point", "3"), ("downlink/ds/Label", "text 3")] == await client.received()
        write_value(hub, device, 1, 4)
        assert [("downlink/ds/Set Point", "4")] == await client.received()
    # The resumed session is the only recipient: no message is delivered twice.
    await until(lambda: len(hub.sessions.recipients(device)) == 1)


async def test_clean_session_queues_no_messages(hub, device, token, version):
    async with online(hub, token, version, client_id="me") as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(device.id) is None)
    write_value(hub, device, 1, 5)
    async with online(hub, token, version, subscribed=False, **persistent(version)) as client:
        assert not client.present
        assert [] == await client.received()


@pytest.mark.parametrize("other", [{"client_id": "another"}, {"clean": True}], ids=["name", "clean"])
async def test_session_is_not_resumed_by_another_client_identifier_or_a_clean_start(hub, device, token, other):
    async with online(hub, token, **persistent(V311)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(device.id) is None)
    write_value(hub, device, 1, 5)
    async with online(hub, token, subscribed=False, **persistent(V311) | other) as client:
        assert not client.present
        assert [] == await client.received()


async def test_persistent_session_expires(hub, device, token, clock):
    async with online(hub, token, V5, **persistent(V5)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(device.id) is None)
    clock.jump(601)
    await until(lambda: not hub.service(Endpoint).registry.clients)
    async with online(hub, token, V5, subscribed=False, **persistent(V5)) as client:
        assert not client.present


async def test_messages_of_qos_0_are_not_queued(hub, device, token):
    async with online(hub, token, subscribed=False, **persistent(V311)) as client:
        await client.subscribe("downlink/#", qos=0)
        await client.disconnect()
    await until(lambda: hub.sessions.get(device.id) is None)
    write_value(hub, device, 1, 5)
    with pytest.raises(Conflict):
        hub.command(device, Reboot())
    async with online(hub, token, subscribed=False, **persistent(V311)) as client:
        assert client.present
        assert [] == await client.received()


async def test_values_cleared_or_erased_meanwhile_are_not_delivered(hub, device, token):
    async with online(hub, token, **persistent(V311)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(device.id) is None)
    for pin, value in ((0, 1.5), (1, 5), (2, "here")):
        write_value(hub, device, pin, value)
    await hub.devices.clear(device, device.points[1].datastream)
    await hub.devices.erase(device, [device.points[2].datastream], SYSTEM)
    async with online(hub, token, subscribed=False, **persistent(V311)) as client:
        assert [("downlink/ds/Temperature", "1.5")] == await client.received()


async def test_queued_message_over_the_maximum_packet_size_is_reported_as_dropped(hub, device, token):
    async with online(hub, token, V5, **persistent(V5)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(device.id) is None)
    write_value(hub, device, 2, "x" * 500)
    write_value(hub, device, 1, 5)
    limited = {"properties": {Property.SESSION_EXPIRY: 600, Property.MAXIMUM_PACKET_SIZE: 200}}
    async with online(hub, token, V5, subscribed=False, **persistent(V5) | limited) as client:
        (topic, payload), (_, diagnostic) = await client.message(), await client.message()
        assert ("downlink/ds/Set Point", "5") == (topic, payload)
        assert diagnostic.startswith("1 messages to it were dropped")
    assert any("1 messages to it were dropped" in reason for reason in rejection_reasons(hub))


@pytest.mark.parametrize(("seconds", "messages"), [(50, [("downlink/reboot", "")]), (61, [])])
async def test_queued_command_expires_after_a_minute(hub, device, token, clock, seconds, messages):
    async with online(hub, token, **persistent(V311)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(device.id) is None)
    hub.command(device, Reboot())
    clock.jump(seconds)
    async with online(hub, token, subscribed=False, **persistent(V311)) as client:
        assert messages == await client.received()


async def test_unacknowledged_message_is_redelivered(hub, device, token, version):
    async with online(hub, token, version, **persistent(version)) as client:
        write_value(hub, device, 1, 5)
        packet = await client.until(Publish)
        assert not packet.dup
    await until(lambda: hub.sessions.get(device.id) is None)
    async with online(hub, token, version, subscribed=False, **persistent(version)) as client:
        redelivered = await client.until(Publish)
        assert (True, packet.packet_id, packet.payload) == (redelivered.dup, redelivered.packet_id, redelivered.payload)


async def test_deletion_of_a_device_removes_its_session(hub, device, token):
    async with online(hub, token, **persistent(V311)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(device.id) is None)
    await hub.devices.delete(device, SYSTEM)
    assert {} == hub.service(Endpoint).registry.clients
    assert () == hub.sessions.recipients(device)


async def test_reconnecting_leaves_no_old_sessions_or_timers(hub, device, token):
    for _ in range(100):
        async with online(hub, token, subscribed=False, **persistent(V311)) as client:
            await client.disconnect()
        await until(lambda: hub.sessions.get(device.id) is None)
    registry = hub.service(Endpoint).registry
    assert 1 == len(registry.clients)
    assert len(registry._timers._heap) <= 70  # noqa: SLF001
