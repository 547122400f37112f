"""Messages to a device: subscriptions, values, commands and pings."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.raw_http import connected, local_key
from support.raw_mqtt import V5, V311, online
from support.times import until
from support.values import write_value

from connectors.mqtt.packets import (
    Ack,
    Kind,
    Ping,
    Property,
    Publish,
)
from connectors.mqtt.timeouts import MqttTimeouts
from hub.errors import Conflict
from hub.facts import WireFrame
from hub.model import SYSTEM, Reboot, Reconfigure, Redirect
from hub.net.wire import Wire


@pytest.mark.parametrize(
    ("topic_filter", "code_311", "code_5"),
    [
        ("downlink/#", 1, 1),
        ("downlink/ds/Temperature", 1, 1),
        ("downlink/+/Temperature", 1, 1),
        ("#", 0x80, 0x87),
        ("+/ds/#", 0x80, 0x87),
        ("ds/#", 0x80, 0x87),
        ("downlink", 0x80, 0x87),
        ("$SYS/#", 0x80, 0x87),
        ("$share/x/downlink/#", 0x80, 0x9E),
        ("dev/x/downlink/#", 0x80, 0x87),
        ("downlink/" + "x" * 300, 0x80, 0x97),
    ],
)
async def test_device_may_subscribe_below_downlink_only(hub, token, topic_filter, code_311, code_5):
    for version, expected in ((V311, code_311), (V5, code_5)):
        async with online(hub, token, version, subscribed=False) as client:
            assert [expected, min(1, expected)] != [expected] == await client.subscribe(topic_filter)
            assert [1] == await client.subscribe("downlink/ds/#", qos=2)


async def test_number_of_subscriptions_is_limited(hub, token):
    async with online(hub, token, V5) as client:
        granted = await client.subscribe(*(f"downlink/{n}" for n in range(60)))
        assert {1, 0x97} == set(granted)
        assert 0x97 == granted[-1]
        # An existing subscription can still be changed.
        assert [0] == await client.subscribe("downlink/#", qos=0)


async def test_device_receives_messages_on_subscribed_topics_only(hub, device, token, version):
    async with online(hub, token, version, subscribed=False) as client:
        write_value(hub, device, 1, 40)
        assert [] == await client.received()
        await client.subscribe("downlink/ds/Set Point", "downlink/reboot", qos=0)
        write_value(hub, device, 1, 41)
        write_value(hub, device, 0, 1.5)
        hub.command(device, Reboot())
        hub.command(device, Reconfigure())
        assert [("downlink/ds/Set Point", "41"), ("downlink/reboot", "")] == await client.received()
        await client.subscribe("downlink/#")
        hub.command(device, Reconfigure())
        await hub.metadata.set(device, "Room", "Hall", SYSTEM)
        write_value(hub, device, 2, ["a", "b"])
        assert [
            ("downlink/reconfigure", ""),
            ("downlink/meta/Room", "Hall"),
            ("downlink/ds/Label", "a\0b"),
        ] == await client.received()


async def test_redirect_needs_no_subscription(hub, device, token):
    async with online(hub, token, subscribed=False) as client:
        hub.command(device, Redirect("hub2.example.org", 1884))
        assert ("downlink/redirect", "mqtt://hub2.example.org:1884") == await client.message()


async def test_ping_measures_the_round_trip_time(hub, device, token, version):
    async with online(hub, token, version, subscribed=False) as client, trio.open_nursery() as nursery:
        round_trips = []

        async def ping():
            round_trips.append(await hub.sessions.ping(device))

        nursery.start_soon(ping)
        packet = await client.until(Publish)
        assert ("downlink/ping", b"", 1) == (packet.topic, packet.payload, packet.qos)
        await client.send(Ack(Kind.PUBACK, packet.packet_id))
    assert 0 <= round_trips[0] < 5000


@pytest.mark.timeouts(MqttTimeouts(ping=0.05))
async def test_device_that_does_not_acknowledge_a_ping_stays_online(hub, device, token):
    async with online(hub, token) as client:
        assert await hub.sessions.ping(device) is None
        assert Ack(Kind.PUBACK, 2) == await client.publish("ds/Temperature", "1")
    await until(lambda: hub.sessions.get(device.id) is None)
    with pytest.raises(Conflict):
        await hub.sessions.ping(device)


@pytest.mark.timeouts(MqttTimeouts(ping=0.01))
async def test_unacknowledged_pings_leave_the_receive_maximum_to_values(hub, device, token):
    async with online(hub, token, V5, properties={Property.RECEIVE_MAXIMUM: 2}) as client:
        for _ in range(5):
            assert await hub.sessions.ping(device) is None
        write_value(hub, device, 1, 7)
        first, second = [await client.until(Publish) for _ in range(2)]
        assert ["downlink/ping", "downlink/ds/Set Point"] == [first.topic, second.topic]
        # After the late acknowledgements the device can be pinged again.
        await client.send(Ack(Kind.PUBACK, first.packet_id), Ack(Kind.PUBACK, second.packet_id))
        assert [] == await client.received()
        assert await hub.sessions.ping(device) is None
        assert ("downlink/ping", "") == await client.message()


async def test_responses_to_many_requests_are_written_in_bounded_chunks(hub, device, token, monkeypatch):
    write_value(hub, device, 2, "x" * 1000)
    async with online(hub, token, subscribed=False) as client:
        await client.subscribe("downlink/#", qos=0)
        sizes, send = [], Wire.send

        def measured(wire, data):
            sizes.append(len(data))
            send(wire, data)

        monkeypatch.setattr(Wire, "send", measured)
        # Hundreds of these requests arrive in a single read.
        await client.send(*(Publish("get/ds", b"Label") for _ in range(250)))
        assert ("downlink/ds/Label", "x" * 1000) in await client.received()
        assert max(sizes) < 100_000


async def test_client_receives_the_newest_values_once_it_acknowledges(hub, device, token):
    async with online(hub, token) as client:
        for n in range(60):
            write_value(hub, device, 1, n)
        publishes = [await client.until(Publish) for _ in range(20)]
        await client.send(Ping(Kind.PINGREQ))
        assert Ping(Kind.PINGRESP) == await client.next()
        await client.send(*(Ack(Kind.PUBACK, packet.packet_id) for packet in publishes))
        assert [("downlink/ds/Set Point", "59")] == await client.received()


async def test_client_receives_the_newest_values_once_it_reads(hub, device, token):
    async with online(hub, token, subscribed=False) as client:
        await client.subscribe("downlink/#", qos=0)
        for n in range(20_000):
            write_value(hub, device, 2, f"{n} " + "x" * 900)
            if n % 500 == 0:
                await trio.sleep(0)
        messages = await client.received()
        assert len(messages) < 15_000
        write_value(hub, device, 0, 7)
        messages += await client.received()
    labels = [text for topic, text in messages if topic == "downlink/ds/Label"]
    assert labels[-1].startswith("19999 ")
    numbers = [int(text.split()[0]) for text in labels]
    assert sorted(numbers) == numbers


async def test_messages_are_traced_as_wire_frames(hub, device, token):
    frames = []
    hub.subscribe(WireFrame, lambda fact: frames.append((fact.direction, fact.text)))
    async with online(hub, token) as client:
        await client.publish("ds/Temperature", "1")
        write_value(hub, device, 1, 5)
        await client.received()
    assert [
        ("in", "SUBSCRIBE downlink/#"),
        ("in", "PUBLISH ds/Temperature 1"),
        ("out", "PUBLISH downlink/ds/Set Point 5"),
    ] == frames


async def test_ping_and_reconfigure_over_the_api(hub, device, token):
    key = local_key(hub)
    async with online(hub, token) as client, connected(hub) as http:
        body = {"deviceId": device.id}
        assert 204 == (await http.ask("POST", "/api/v1/device/reconfigure", body, key)).status
        assert ("downlink/reconfigure", "") == await client.message()
        async with trio.open_nursery() as nursery:

            async def ping():
                response = await http.ask("POST", "/api/v1/device/ping", body, key)
                assert 200 == response.status
                assert 0 <= response.json["ms"] < 5000

            nursery.start_soon(ping)
            assert ("downlink/ping", "") == await client.message()
