"""Wills: when they are published, permitted topics, and the will delay."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.mqtt_devices import OTHER_TEMPLATE, TEMPLATE, persistent
from support.raw_mqtt import V5, V311, RawClient, online, open_connection
from support.rejections import rejection_reasons
from support.times import until
from support.values import current_value

from connectors.mqtt.packets import (
    Ack,
    Kind,
    Property,
    Publish,
    Will,
)
from hub.domain.devices import NewDevice
from hub.facts import EventLogged
from hub.model import SYSTEM
from hub.testing import add_device, address_of


@pytest.mark.parametrize(
    ("ending", "published"),
    [
        ("connection lost", True),
        ("disconnect", False),
        ("disconnect with will", True),
        ("protocol error", True),
        ("takeover", True),
    ],
)
async def test_will_is_published_unless_the_client_disconnects_normally(hub, device, token, ending, published):
    will = Will("ds/Label", b"gone")
    async with online(hub, token, V5, will=will) as client:
        if ending == "disconnect":
            await client.disconnect()
        elif ending == "disconnect with will":
            await client.disconnect(4)
        elif ending == "protocol error":
            await client.send(Publish("#"))
            await client.read_to_end()
        elif ending == "takeover":
            async with online(hub, token):
                await client.read_to_end()
    await until(lambda: hub.sessions.get(device.id) is None)
    if published:
        await until(lambda: current_value(hub, device, 2) == "gone")
    else:
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert current_value(hub, device, 2) is None


FOREIGN_TOPICS = ["tele/x/LWT", "homeassistant/status", "downlink/x", "downlink/diag", "ds/", "dev/x/ds/Label"]


@pytest.mark.parametrize("topic", FOREIGN_TOPICS)
async def test_will_to_a_foreign_topic_is_dropped(hub, device, token, topic):
    """Firmware with a fixed will is common, and 3.1.1 has no return code for it (§3.2.2.3)."""
    async with online(hub, token, V311, will=Will(topic, b"gone")) as client:
        [(diagnostic_topic, diagnostic)] = await client.received()
        assert "downlink/diag" == diagnostic_topic
        assert f"its will to {topic.replace('dev/x', 'dev/…')!r}" in diagnostic
        assert diagnostic.endswith("the will is dropped")
        assert Ack(Kind.PUBACK, 2) == await client.publish("ds/Label", "here")
        assert [f"device {device.name}: {diagnostic}"] == rejection_reasons(hub)
    await until(lambda: hub.sessions.get(device.id) is None)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert "here" == current_value(hub, device, 2)
    assert 1 == len(rejection_reasons(hub))


@pytest.mark.parametrize("topic", FOREIGN_TOPICS)
async def test_connect_with_a_will_to_a_foreign_topic_is_rejected_in_version_5(hub, device, token, topic):
    async with open_connection(hub, V5) as client:
        connack = await client.login(token, will=Will(topic, b"gone"))
        assert 0x90 == connack.reason
        assert "its will to" in connack.properties[Property.REASON_STRING]
        assert [] == await client.read_to_end()
    [reason] = rejection_reasons(hub)
    assert reason.startswith(f"device {device.name}: its will to ")


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize(
    "fields",
    [{"retain": True}, {"qos": 1}, {"qos": 2, "retain": True}],
    ids=str,
)
async def test_will_may_be_retained_and_of_any_qos(hub, device, token, version, fields):
    async with online(hub, token, version, will=Will("ds/Label", b"gone", **fields)):
        pass
    await until(lambda: current_value(hub, device, 2) == "gone")
    assert [] == rejection_reasons(hub)


async def test_will_may_have_every_property(hub, device, token):
    properties = {
        Property.PAYLOAD_FORMAT: 1,
        Property.MESSAGE_EXPIRY: 60,
        Property.CONTENT_TYPE: "text/plain",
        Property.RESPONSE_TOPIC: "elsewhere/answers",
        Property.CORRELATION_DATA: b"7",
        Property.USER_PROPERTY: [("a", "b")],
    }
    async with online(hub, token, V5, will=Will("ds/Label", b"gone", properties=properties)):
        pass
    await until(lambda: current_value(hub, device, 2) == "gone")


async def test_will_of_a_deleted_device_is_dropped_without_a_fault(hub, device, token):
    other, token_of_other = await add_device(hub, OTHER_TEMPLATE)
    async with online(hub, token, will=Will("ds/Temperature/erase", b"")) as client:
        await hub.devices.delete(device, SYSTEM)
        await client.read_to_end()
    async with online(hub, token_of_other, will=Will("ds/Label", b"gone")):
        pass
    await until(lambda: current_value(hub, other, 2) == "gone")
    assert "" == hub.plugins["mqtt"].problem


async def test_will_may_be_an_event(hub, token):
    descriptions = []
    hub.subscribe(EventLogged, lambda fact: descriptions.append(fact.event.description))
    async with online(hub, token, will=Will("event/hot", b"lost power")):
        pass
    await until(lambda: "lost power" in descriptions)


async def test_delayed_will_is_dropped_when_the_client_returns(hub, device, token, clock):
    will = Will("ds/Label", b"gone", properties={Property.WILL_DELAY: 30})
    async with online(hub, token, V5, will=will, **persistent(V5)):
        pass
    await until(lambda: hub.sessions.get(device.id) is None)
    clock.jump(20)
    async with online(hub, token, V5, subscribed=False, **persistent(V5)) as client:
        assert client.present
        clock.jump(15)
        assert [] == await client.received()
        assert current_value(hub, device, 2) is None
        await client.disconnect()
    async with online(hub, token, V5, will=will, **persistent(V5)):
        pass
    await until(lambda: hub.sessions.get(device.id) is None)
    clock.jump(25)
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert current_value(hub, device, 2) is None
    clock.jump(5)
    await until(lambda: current_value(hub, device, 2) == "gone")


async def test_delayed_will_is_published_when_a_newer_connection_ends_the_session(hub, device, token, clock):
    will = Will("ds/Label", b"gone", properties={Property.WILL_DELAY: 30})
    async with online(hub, token, V5, will=will, **persistent(V5)), online(hub, token) as newer:
        await until(lambda: current_value(hub, device, 2) == "gone")
        await newer.publish("ds/Label", "here")
        clock.jump(60)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert "here" == current_value(hub, device, 2)


async def test_delayed_will_is_published_when_its_session_expires(hub, device, token, clock):
    will = Will("ds/Label", b"gone", properties={Property.WILL_DELAY: 3000})
    async with online(hub, token, V5, will=will, **persistent(V5)):
        pass
    await until(lambda: hub.sessions.get(device.id) is None)
    clock.jump(601)
    await until(lambda: current_value(hub, device, 2) == "gone")


async def test_thousand_wills_are_published_at_once(hub):
    template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
    added = await hub.devices.add([NewDevice(name=f"D{n}", template=template) for n in range(1000)], SYSTEM)
    streams = []

    async def connect(token):
        stream = await trio.open_tcp_stream(*address_of(hub))
        streams.append(stream)
        client = RawClient(stream)
        assert 0 == (await client.login(token, will=Will("ds/Label", b"gone"))).reason

    async with trio.open_nursery() as nursery:
        for _, token in added:
            nursery.start_soon(connect, token)
    assert 1000 == len(hub.sessions)
    for stream in streams:
        await trio.aclose_forcefully(stream)
    await until(lambda: not len(hub.sessions))
    await until(lambda: all(current_value(hub, device, 2) == "gone" for device, _ in added))
