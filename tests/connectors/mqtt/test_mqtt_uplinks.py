"""Messages from a device: values, batches, properties, events, metadata, requests, and rejected messages."""

from __future__ import annotations

import json

import pytest
from support.mqtt_devices import TEMPLATE
from support.raw_mqtt import V5, V311, online
from support.rejections import rejection_reasons
from support.times import until
from support.values import current_value, latest_value, write_value

from connectors.mqtt.packets import (
    Ack,
    Connect,
    Kind,
    Property,
    Publish,
    Subscribe,
    Subscription,
)
from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_value_is_accepted_with_every_qos_and_not_echoed(hub, device, token, version, qos):
    async with online(hub, token, version) as client:
        response = await client.publish("ds/Temperature", "21.5", qos)
        kinds = {0: None, 1: Kind.PUBACK, 2: Kind.PUBREC}
        assert kinds[qos] == (response and response.kind)
        await until(lambda: current_value(hub, device, 0) == 21.5)
        # The device does not receive its own value.
        assert [] == await client.received()


async def test_batch_with_a_lone_surrogate_in_a_name_is_rejected(hub, token):
    for version in (V311, V5):
        async with online(hub, token, version) as client:
            response = await client.publish("batch_ds", b'{"\\ud800": 1}')
            assert (0 if version == V311 else 0x90) == response.reason
            assert [("downlink/diag", True)] == [(topic, "ud800" in text) for topic, text in await client.received()]


async def test_messages_of_one_read_are_acknowledged_in_order(hub, device, token):
    async with online(hub, token) as client:
        await client.send(*(Publish("ds/Temperature", b"%d" % n, 1, n) for n in range(1, 101)))
        assert list(range(1, 101)) == [(await client.next()).packet_id for _ in range(100)]
    assert 100.0 == current_value(hub, device, 0)


async def test_multiple_values_are_separated_by_nul(hub, device, token):
    async with online(hub, token) as client:
        await client.publish("ds/Label", b"a\0b\0c")
        assert ("a", "b", "c") == current_value(hub, device, 2)
        await client.publish("ds/Place", "30.5,50.4")
        assert (30.5, 50.4) == current_value(hub, device, 3)


async def test_batch_is_atomic_and_has_one_timestamp(hub, device, token):
    async with online(hub, token, V5) as client:
        batch = {"Temperature": 10.3, "Set Point": 55, "Label": "x", "Place": [30.5, 50.4]}
        assert 0 == (await client.publish("batch_ds", json.dumps(batch))).reason
        assert [10.3, 55, "x", (30.5, 50.4)] == [current_value(hub, device, pin) for pin in range(4)]
        timestamps = {latest_value(hub, device, pin)[0] for pin in range(4)}
        assert 1 == len(timestamps)
        for invalid in (
            {"Temperature": "10"},
            {"Temperature": 1, "Nope": 2},
            {"Label": 1},
            {"Set Point": None},
            [1],
            "x",
        ):
            assert (await client.publish("batch_ds", json.dumps(invalid))).reason in (0x99, 0x90), invalid
        for invalid in (b"", b"{", b"\xff", b"[" * 5000):
            assert 0x99 == (await client.publish("batch_ds", invalid)).reason
        assert 10.3 == current_value(hub, device, 0)
        assert 0 == (await client.publish("batch_ds", "{}")).reason


async def test_timestamped_batch_is_imported_into_the_history(hub, device, token):
    now = hub.clock.now()
    async with online(hub, token, V5) as client:
        rows = [[now - 3000, 1.5], [now - 1000, 3.5], [now - 2000, 2.5]]
        assert 0 == (await client.publish("ds/Temperature/timestamped_batch", json.dumps(rows))).reason
        assert 3.5 == current_value(hub, device, 0)
        series = device.points[0].series
        values = [value async for chunk in hub.history.points(series, now - 9000, now) for _, value in chunk]
        assert [1.5, 2.5, 3.5] == values
        for invalid in ([[now, "x"]], [[now]], [["1", 2]], {"a": 1}, [[now + 10**10, 1]], [[True, 1]]):
            response = await client.publish("ds/Temperature/timestamped_batch", json.dumps(invalid))
            assert 0x99 == response.reason, invalid


async def test_erased_value_stays_erased_after_a_restart(hub_config):
    async with running(hub_config) as hub:
        device, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as client:
            await client.publish("ds/Temperature", "21")
            await client.publish("ds/Set Point", "30")
            await client.publish("ds/Temperature/erase")
            await client.publish("ds/Set Point/erase")
            assert (None, 20) == (current_value(hub, device, 0), current_value(hub, device, 1))
            await client.publish("ds/Set Point", "40")
    async with running(hub_config) as hub:
        device = hub.devices.get(device.id)
        assert (None, 40) == (current_value(hub, device, 0), current_value(hub, device, 1))


async def test_value_written_after_an_erase_survives_a_restart_despite_newer_erased_timestamps(hub_config):
    async with running(hub_config) as hub:
        device, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as client:
            rows = [[hub.clock.now() + 3_600_000, 30]]
            await client.publish("ds/Temperature/timestamped_batch", json.dumps(rows))
            await client.publish("ds/Temperature/erase")
            assert current_value(hub, device, 0) is None
            await client.publish("ds/Temperature", "40")
    async with running(hub_config) as hub:
        assert 40 == current_value(hub, hub.devices.get(device.id), 0)


async def test_properties_are_set_and_erased(hub, device, token):
    async with online(hub, token, V5) as client:
        assert 0 == (await client.publish("ds/Temperature/prop/color", "#ff0000")).reason
        assert 0 == (await client.publish("ds/Temperature/prop/labels", b"a\0b")).reason
        assert {"color": ("#ff0000",), "labels": ("a", "b")} == (await hub.properties.values_for(device))[1]
        assert 0 == (await client.publish("ds/Temperature/prop/color/erase")).reason
        assert {"labels": ("a", "b")} == (await hub.properties.values_for(device))[1]
        assert 0x99 == (await client.publish("ds/Temperature/prop/nonsense", "x")).reason
        assert 0x90 == (await client.publish("ds/Nope/prop/color", "x")).reason


async def test_events_are_logged_and_metadata_is_set(hub, device, token):
    async with online(hub, token, V5) as client:
        assert 0 == (await client.publish("event/hot", "42 degrees")).reason
        assert 0 == (await client.publish("event/cold")).reason
        descriptions = {event.code: event.description for event in await hub.timeline.newest(device)}
        assert ("42 degrees", "It is cold") == (descriptions["hot"], descriptions["cold"])
        assert 0x90 == (await client.publish("event/none")).reason
        assert 0x97 == (await client.publish("event/hot")).reason
        assert 0 == (await client.publish("meta/Room", "Cellar")).reason
        assert "Cellar" == await hub.metadata.get(device, "Room")
        assert 0x99 == (await client.publish("meta/Model", "B")).reason
        assert 0x90 == (await client.publish("meta/Rom", "x")).reason


async def test_firmware_info_is_stored_and_its_buffer_size_is_respected(hub, device, token):
    async with online(hub, token) as client:
        info = {"tmpl": "TMPL0mqtt", "ver": "0.1.2", "build": "Jan 19 2024", "type": "TMPL0mqtt", "rxbuff": 256}
        await client.publish("info/mcu", json.dumps(info))
        assert ("0.1.2", "256", "TMPL0mqtt") == tuple(device.firmware[key] for key in ("fw", "buff-in", "fw-type"))
        assert device.activated is not None
        write_value(hub, device, 2, "x" * 300)
        write_value(hub, device, 2, "y" * 100)
        assert [("downlink/ds/Label", "y" * 100)] == await client.received()
    assert any("too long for it" in reason for reason in rejection_reasons(hub))


async def test_firmware_for_another_template_receives_a_diagnostic(hub, device, token):
    async with online(hub, token) as client:
        await client.publish("info/mcu", '{"tmpl": "TMPL0else"}')
        assert [("downlink/diag", "this device runs firmware for template TMPL0else, not TMPL0mqtt")] == (
            await client.received()
        )


async def test_device_requests_values_and_metadata(hub, device, token):
    async with online(hub, token) as client:
        await client.publish("ds/Temperature", "21.5")
        await client.publish("ds/Label", "secret")
        await client.publish("get/ds", "Label, Set Point")
        assert [("downlink/ds/Label", "secret"), ("downlink/ds/Set Point", "20")] == await client.received()
        await client.publish("get/ds/all")
        assert [("downlink/ds/Temperature", "21.5"), ("downlink/ds/Set Point", "20")] == await client.received()
        await client.publish("get/ds", "Nope,Label")
        [message, (topic, diagnostic)] = await client.received()
        assert ("downlink/ds/Label", "secret") == message
        await client.publish("get/ds", "Label," * 5000)
        assert [("downlink/ds/Label", "secret")] == await client.received()
        await client.publish("get/meta", ",".join(map(str, range(501))))
        assert [("downlink/diag", "get/meta: at most 500 names are allowed in one message")] == await client.received()
        assert "downlink/diag" == topic
        assert "there is no datastream 'Nope'" in diagnostic
        await client.publish("get/meta", "Room,Device Name")
        assert [("downlink/meta/Room", "Attic"), ("downlink/meta/Device Name", "Device")] == await client.received()


async def test_device_requests_time_and_location(hub, device, token):
    async with online(hub, token) as client:
        await client.publish("get/utc/all/json")
        [(topic, payload)] = await client.received()
        time = json.loads(payload)
        assert ("downlink/utc/all/json", "Europe/Kyiv", 120) == (topic, time["tz_name"], time["tz_offset"])
        assert {"tz_name", "tz_rule", "tz_offset", "dst_offset", "time", "iso8601"} == time.keys()
        await hub.metadata.set(device, "Location", '{"lat": 50.45, "lon": 30.52}', SYSTEM)
        await client.publish("get/loc/all")
        assert ("downlink/loc/all", "50.45,30.52") in await client.received()


@pytest.mark.parametrize(
    ("topic", "payload", "reason", "text"),
    [
        ("ds/Temprature", "1", 0x90, "there is no datastream 'Temprature'; did you mean 'Temperature'?"),
        ("ds/temperature", "1", 0x90, "did you mean 'Temperature'?"),
        ("ds/Temperature", "warm", 0x99, "'warm' is not a number"),
        ("ds/Temp", "1", 0x90, "did you mean 'Temperature'?"),
        ("ds/V0", "1", 0x90, "V0 is a pin; the datastream is named 'Temperature'"),
        ("Temperature", "1", 0x90, "did you mean 'ds/Temperature'?"),
        ("ds/Set Point", "1.5", 0x99, "'1.5' is not a whole number"),
        ("ds/Label", "x" * 2000, 0x99, "longer than 1024 bytes"),
        ("temperature", "1", 0x90, "not a topic that devices can publish on"),
        ("ds/Temperature/nonsense", "1", 0x90, "not a topic that devices can publish on"),
        ("downlink/ds/Temperature", "1", 0x90, "not a topic that devices can publish on"),
        ("$SYS/broker", "1", 0x90, "not a topic that devices can publish on"),
        ("ds/", "1", 0x90, "not a topic that devices can publish on"),
        ("dev/x/ds/Temperature", "1", 0x90, "not a topic that devices can publish on"),
        ("meta/Roome", "1", 0x90, "did you mean 'Room'?"),
        ("event/hott", "", 0x90, "there is no event 'hott'; did you mean 'hot'?"),
    ],
)
async def test_dropped_message_is_reported_by_reason_string_or_diagnostic(hub, token, topic, payload, reason, text):
    async with online(hub, token, V5) as client:
        response = await client.publish(topic, payload)
        assert reason == response.reason
        assert text in response.properties[Property.REASON_STRING]
    async with online(hub, token, V311) as client:
        # Version 3.1.1 has no negative acknowledgement: the hub acknowledges, drops and reports the message.
        assert Ack(Kind.PUBACK, 2) == await client.publish(topic, payload)
        [(diagnostic_topic, diagnostic)] = await client.received()
        assert "downlink/diag" == diagnostic_topic
        assert text in diagnostic
    assert any(text in rejection for rejection in rejection_reasons(hub))


async def test_diagnostics_need_no_subscription_and_are_rate_limited(hub, token):
    async with online(hub, token, subscribed=False) as client:
        for n in range(50):
            await client.publish(f"ds/Nope {n}", "1")
        assert 5 <= len(await client.received()) <= 12


async def test_protocol_error_is_reported_on_the_next_connection(hub, token):
    async with online(hub, token) as client:
        await client.send(Publish("ds/Label", b"x" * 70_000))
        assert [] == await client.read_to_end()
    async with online(hub, token, subscribed=False) as client:
        topic, diagnostic = await client.message()
        assert "downlink/diag" == topic
        assert "over the limit of 65536" in diagnostic
        assert [] == await client.received()


@pytest.mark.parametrize(
    ("packets", "reason"),
    [
        ([Publish("ds/#", b"1")], 0x90),
        ([Publish("", b"1")], 0x82),
        ([Publish("ds/Label", b"x" * 70_000)], 0x95),
        ([Subscribe(1, (Subscription("downlink/a+"),))], 0x8F),
        ([Publish("ds/Temperature", b"1", properties={Property.TOPIC_ALIAS: 99})], 0x94),
        ([Connect(version=V5)], 0x82),
    ],
    ids=["wildcard", "empty", "long", "filter", "alias", "connect"],
)
async def test_protocol_error_is_answered_with_its_reason_code_and_disconnects(hub, device, token, packets, reason):
    async with online(hub, token, V5) as client:
        await client.send(*packets)
        assert [reason] == [packet.reason for packet in await client.read_to_end()]
    await until(lambda: hub.sessions.get(device.id) is None)
    assert any("broke the protocol" in rejection for rejection in rejection_reasons(hub))


async def test_topic_alias_replaces_the_topic(hub, device, token):
    async with online(hub, token, V5) as client:
        alias = {"properties": {Property.TOPIC_ALIAS: 1}}
        await client.publish("ds/Temperature", "1", **alias)
        await client.publish("", "2", **alias)
    assert 2.0 == current_value(hub, device, 0)


async def test_retain_flag_is_accepted_and_ignored(hub, token):
    async with online(hub, token) as client:
        await client.publish("ds/Temperature", "21", retain=True)
    async with online(hub, token) as client:
        assert [] == await client.received()


async def test_reason_string_is_omitted_if_it_exceeds_the_maximum_packet_size(hub, token):
    async with online(hub, token, V5, properties={Property.MAXIMUM_PACKET_SIZE: 64}) as client:
        response = await client.publish("ds/Temprature", "1")
        assert (0x90, {}) == (response.reason, response.properties)
