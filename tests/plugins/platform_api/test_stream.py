"""The live stream: subscriptions, the messages of each topic, and errors."""

from __future__ import annotations

import json

import pytest
import trio
from support.api import TOKEN
from support.api_templates import METER
from support.raw_http import PATIENCE, UPGRADE, ask, local_key
from support.stream import open_stream
from support.times import until
from websockets.exceptions import ConnectionClosed

from connectors.native import client
from hub.facts import DeviceConnected, DeviceDisconnected, Refused, ValueWritten, WireFrame
from hub.testing import LOOPBACK, add_device, address_of
from plugins.platform_api import feeds, stream


async def test_subscription_to_a_device_starts_with_a_snapshot_of_its_values(device, subscriber, write):
    write(device, 0, 5)

    assert {
        "id": 1,
        "subscribed": "device",
        "device": device.id,
        "online": False,
        "status": "Offline",
        "values": {"v0": 5, "v2": 17},
    } == await subscriber.subscribe(1, "device", device=device.id)


@pytest.mark.parametrize("topic", ["device", "devices"])
async def test_device_id_of_a_subscription_may_be_a_float(device, subscriber, write, topic):
    """RFC 8259, section 6: JSON has one number type."""
    ids = float(device.id)
    confirmed = await subscriber.subscribe(1, topic, **{topic: ids if topic == "device" else [ids]}, after=0.0)
    assert topic == confirmed.get("subscribed"), confirmed
    write(device, 0, 5)
    assert {"v0": 5} == (await subscriber.receive())["values"]


@pytest.mark.parametrize("topic", ["devices", "refused"])
async def test_subscription_to_all_devices_or_rejections_is_confirmed(subscriber, topic):
    assert {"id": "a", "subscribed": topic} == await subscriber.subscribe("a", topic)


async def test_value_is_sent_with_its_timestamp(hub, device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id)
    write(device, 1, "é")

    ts, value = hub.writes.latest(device, device.points[1].datastream)
    assert {"id": 1, "device": device.id, "values": {"v1": value}, "ts": ts, "by": "test"} == await subscriber.receive()


async def test_values_written_over_http_and_the_native_protocol_are_sent(hub, meter, subscriber):
    await subscriber.subscribe(1, "device", device=meter[0].id)

    assert 200 == (await ask(hub, "GET", f"/external/api/update?token={meter[1]}&v0=1")).status
    assert {"v0": 1} == (await subscriber.receive())["values"]
    async with client.connect(*address_of(hub), meter[1]) as board:
        assert True is (await subscriber.receive())["online"]
        await board.write(1, "hello")
        assert {"v1": "hello"} == (await subscriber.receive())["values"]


async def test_only_subscribed_devices_are_sent(hub, device, subscriber, write):
    other, _ = await add_device(hub, METER.replace("Meter", "Other").replace("0meter", "0other"), "Other")
    await subscriber.subscribe(1, "device", device=device.id)
    write(other, 0, 1)
    assert await subscriber.has_no_messages()

    await subscriber.subscribe(2, "devices")
    write(other, 0, 2)
    message = await subscriber.receive()
    assert (2, other.id, {"v0": 2}) == (message["id"], message["device"], message["values"])


async def test_two_subscriptions_of_a_client_each_receive_the_value(device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id)
    await subscriber.subscribe(2, "devices")
    write(device, 0, 1)

    assert {1, 2} == {(await subscriber.receive())["id"], (await subscriber.receive())["id"]}


async def test_two_clients_each_receive_the_value(hub, device, subscriber, write):
    async with open_stream(hub) as other_stream:
        for client in subscriber, other_stream:
            await client.subscribe(1, "devices")
        write(device, 0, 1)
        assert {"v0": 1} == (await subscriber.receive())["values"] == (await other_stream.receive())["values"]


async def test_nothing_is_sent_after_unsubscribing(device, subscriber, write):
    await subscriber.subscribe(1, "device", device=device.id)
    await subscriber.send(id=1, unsubscribe=True)
    assert await subscriber.has_no_messages()
    write(device, 0, 1)

    assert await subscriber.has_no_messages()
    assert 1 == (await subscriber.subscribe(1, "device", device=device.id))["values"]["v0"]


async def test_disconnected_client_leaves_no_subscriptions_on_the_bus(hub, device, monkeypatch):
    monkeypatch.setattr(feeds, "LINGER", -1.0)
    facts = ValueWritten, DeviceConnected, DeviceDisconnected, Refused, WireFrame
    before = [hub.bus.wants(fact) for fact in facts]
    connections = hub.listener.connections
    async with open_stream(hub) as subscriber:
        for number, topic in enumerate(["device", "devices", "refused", "wire"]):
            await subscriber.subscribe(number, topic, device=device.id)
        assert all(hub.bus.wants(fact) for fact in facts)
    await until(lambda: hub.listener.connections <= connections)

    assert before == [hub.bus.wants(fact) for fact in facts]
    assert not hub.bus.wants_value(device.id)


async def test_stopping_the_hub_closes_the_stream(hub, subscriber):
    await subscriber.subscribe(1, "devices")
    with trio.CancelScope(shield=True):
        await hub.listener.drain(1)

    with pytest.raises(ConnectionClosed), trio.fail_after(PATIENCE):
        await subscriber.socket.recv()


async def test_connection_and_disconnection_of_a_device_are_sent(hub, meter, subscriber):
    device, token = meter
    await subscriber.subscribe(1, "device", device=device.id)
    async with client.connect(*address_of(hub), token):
        message = await subscriber.receive()
        assert {"id": 1, "device": device.id, "online": True, "status": "Online", "ts": device.status_at} == message
        assert True is (await subscriber.subscribe(2, "device", device=device.id))["online"]
        await subscriber.send(id=2, unsubscribe=True)
    message = await subscriber.receive()
    assert {"id": 1, "device": device.id, "online": False, "status": "Offline", "ts": device.status_at} == message


async def test_rejections_are_sent_without_the_token(hub, subscriber):
    await subscriber.subscribe(1, "refused")
    await ask(hub, "GET", f"/external/api/get?token={TOKEN}&v0")

    message = await subscriber.receive()
    assert {"id", "refused"} == set(message)
    assert ("127.0.0.1", None) == (message["refused"]["address"], message["refused"]["device"])
    assert message["refused"]["reason"]
    assert TOKEN not in json.dumps(message)


async def test_wire_subscription_sends_frames_without_the_token(hub, meter, subscriber):
    device, token = meter
    await subscriber.subscribe(1, "wire", device=device.id)
    async with client.connect(*address_of(hub), token, info={"h-beat": "45"}) as board:
        await board.write(0, "7")
        await board.send(17, "meta", "get", "Auth Token")
        frames = [await subscriber.receive()]
        while "Auth Token" not in frames[-1]["wire"]["text"] or frames[-1]["wire"]["direction"] == "in":
            frames.append(await subscriber.receive())

    frames_seen = [(frame["wire"]["direction"], frame["wire"]["text"]) for frame in frames]
    assert ("in", "HARDWARE #3 vw 0 7") in frames_seen
    assert ("out", "RESPONSE #2 200") in frames_seen
    assert ("out", "INTERNAL #4 meta Auth Token …") == frames_seen[-1]
    assert token not in json.dumps(frames)


async def test_wire_subscription_does_not_send_frames_of_other_devices(hub, meter, subscriber):
    other, _ = await add_device(hub, METER.replace("Meter", "Other").replace("0meter", "0other"), "Other")
    await subscriber.subscribe(1, "wire", device=other.id)
    async with client.connect(*address_of(hub), meter[1], info={"h-beat": "45"}):
        pass

    assert await subscriber.has_no_messages()


@pytest.mark.parametrize(
    ("message", "identifier", "error"),
    [
        ("nonsense", None, "The message is not JSON"),
        ("[" * 50_000, None, "The message is not JSON"),
        ("[]", None, "The message must be an object with an id"),
        ("5", None, "The message must be an object with an id"),
        ("{}", None, "The message must be an object with an id"),
        ('{"subscribe": "devices"}', None, "The message must be an object with an id"),
        ('{"id": 1}', 1, "subscribe must be one of"),
        ('{"id": 1, "subscribe": "nonsense"}', 1, "subscribe must be one of"),
        ('{"id": 1, "subscribe": ["devices"]}', 1, "subscribe must be one of"),
        ('{"id": 1, "subscribe": {}}', 1, "subscribe must be one of"),
        ('{"id": 1, "subscribe": "device"}', 1, "device must be a device's id"),
        ('{"id": 1, "subscribe": "device", "device": "1"}', 1, "device must be a device's id"),
        ('{"id": 1, "subscribe": "device", "device": true}', 1, "device must be a device's id"),
        ('{"id": 1, "subscribe": "wire"}', 1, "device must be a device's id"),
        ('{"id": 1, "subscribe": "device", "device": 99}', 1, "Device with identifier 99 is not found"),
        ('{"id": "\\ud800", "subscribe": "x"}', "\ud800", "subscribe must be one of"),
    ],
)
async def test_invalid_message_is_answered_with_an_error_and_the_stream_continues(
    hub, device, subscriber, write, message, identifier, error
):
    await subscriber.subscribe("before", "devices")
    await subscriber.socket.send(message)

    response = await subscriber.receive()
    assert {"id", "error"} == set(response)
    assert (identifier, True) == (response["id"], response["error"]["message"].startswith(error))
    write(device, 0, 1)
    assert "before" == (await subscriber.receive())["id"]


async def test_subscription_id_in_use_is_rejected(subscriber):
    await subscriber.subscribe(1, "devices")

    assert {
        "id": 1,
        "error": {"message": "The id 1 is in use; unsubscribe it first, or use another id."},
    } == await subscriber.subscribe(1, "refused")


async def test_number_of_subscriptions_is_limited(subscriber, monkeypatch):
    monkeypatch.setattr(stream, "MAX_SUBSCRIPTIONS", 2)
    await subscriber.subscribe(1, "devices")
    await subscriber.subscribe(2, "refused")

    assert "error" in await subscriber.subscribe(3, "devices")
    await subscriber.send(id=2, unsubscribe=True)
    assert "subscribed" in await subscriber.subscribe(3, "devices")


async def test_number_of_devices_that_subscriptions_name_is_limited(subscriber, monkeypatch):
    monkeypatch.setattr(stream, "MAX_NAMED_DEVICES", 5)
    assert "subscribed" in await subscriber.subscribe(1, "devices", devices=[1, 2, 3])
    error = (await subscriber.subscribe(2, "events", devices=[4, 5, 6]))["error"]["message"]
    assert error.startswith("The subscriptions of this connection name 3 devices, and 5 is the limit;")
    assert "subscribed" in await subscriber.subscribe(2, "events", devices=[4, 5])
    await subscriber.send(id=1, unsubscribe=True)
    assert "subscribed" in await subscriber.subscribe(3, "events", devices=[4, 5, 6])


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_stream_needs_a_valid_key(hub, key):
    response = await ask(hub, "GET", "/api/v1/stream", key=key, **UPGRADE)

    assert 401 == response.status
    assert response.message


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\nconnections_per_address = 2\n"], ids=["few"])
async def test_authenticated_clients_do_not_count_towards_the_limit_per_address(hub):
    async with open_stream(hub) as first, open_stream(hub) as second, open_stream(hub) as third:
        for subscriber in first, second, third:
            assert {"id": 1, "subscribed": "devices"} == await subscriber.subscribe(1, "devices")


async def test_unauthorized_upgrade_is_answered_with_the_bearer_scheme(hub):
    response = await ask(hub, "GET", "/api/v1/stream", **UPGRADE)

    assert "Bearer" == response.headers.get("www-authenticate")


async def test_upgrade_of_an_unknown_path_is_not_found(hub):
    assert 404 == (await ask(hub, "GET", "/api/v1/nonsense", key=local_key(hub), **UPGRADE)).status


async def test_stream_without_upgrade_is_rejected(hub):
    assert 400 <= (await ask(hub, "GET", "/api/v1/stream", key=local_key(hub))).status < 500


async def test_changed_and_erased_properties_are_sent(hub, device, subscriber):
    await subscriber.subscribe(1, "device", device=device.id)
    await hub.properties.set(device, [0], {"label": ["Power"]})
    assert {"v0": {"label": ["Power"]}} == (await subscriber.receive())["properties"]
    await hub.properties.erase(device, 0)
    assert {"v0": {"label": []}} == (await subscriber.receive())["properties"]


async def test_subscription_to_a_list_of_devices_sends_only_these(hub, device, subscriber, write):
    others = [(await add_device(hub, METER, f"Meter {n}"))[0] for n in range(2)]
    await subscriber.subscribe(1, "devices", devices=[device.id, others[1].id, 999])
    for meter_device in (others[0], others[1], device):
        write(meter_device, 0, meter_device.id)
    messages = [await subscriber.receive() for _ in range(2)]
    assert {device.id, others[1].id} == {message["device"] for message in messages}
    assert await subscriber.has_no_messages()


async def test_event_subscription_to_a_list_of_devices_sends_only_their_events(hub, device, subscriber):
    others = [(await add_device(hub, METER, f"Meter {n}"))[0] for n in range(2)]
    await subscriber.subscribe(1, "events", devices=[device.id, others[1].id])
    for meter_device in (others[0], others[1], device):
        await hub.timeline.log(meter_device, "sys_ota", "OTA started")
    messages = [await subscriber.receive() for _ in range(2)]
    assert [others[1].id, device.id] == [message["device"] for message in messages]
    assert {"OTA started"} == {message["event"]["description"] for message in messages}
    assert await subscriber.has_no_messages()


async def test_audit_records_and_alarms_are_sent(hub, device, subscriber):
    assert [] == (await subscriber.subscribe(1, "alarms"))["alarms"]
    await subscriber.subscribe(2, "audit")
    hub.alarms.set("frost", "it freezes")
    assert {"id": "frost", "text": "it freezes", "critical": False} == (await subscriber.receive())["alarm"]
    hub.alarms.set("frost", None)
    assert {"id": "frost", "cleared": True} == (await subscriber.receive())["alarm"]
    target = f"/api/v1/organization/device?deviceId={device.id}"
    assert 200 == (await ask(hub, "PUT", target, {"name": "New"}, key=local_key(hub))).status
    change = (await subscriber.receive())["change"]
    assert ("Rename a device", f"device {device.id}", "New") == (
        change["action"],
        change["subject"],
        change["details"]["name"],
    )


async def test_clients_with_the_same_subscription_receive_the_same_messages(hub, device, write):
    async with open_stream(hub) as first, open_stream(hub) as second, open_stream(hub) as third:
        await first.subscribe(1, "devices")
        await second.subscribe(1, "devices")
        await third.subscribe("mine", "devices")
        write(device, 0, 5)
        messages = [await client.receive() for client in (first, second, third)]
    assert [1, 1, "mine"] == [message.pop("id") for message in messages]
    assert messages[0] == messages[1] == messages[2]
    assert first.seq == second.seq == third.seq


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"subscribe": "devices", "devices": "all"}, "a list of at most"),
        ({"subscribe": "devices", "devices": ["1"]}, "a list of at most"),
        ({"subscribe": "devices", "devices": list(range(10_001))}, "a list of at most"),
        ({"subscribe": "devices", "after": "x"}, "after must be"),
        ({"subscribe": "devices", "after": True}, "after must be"),
        ({"subscribe": ["devices"]}, "subscribe must be one of"),
        ({"subscribe": "devices", "pins": []}, 'pins must be a list of pins, such as ["V0", "V1"].'),
        ({"subscribe": "devices", "pins": "V0"}, 'pins must be a list of pins, such as ["V0", "V1"].'),
        ({"subscribe": "devices", "pins": ["V0"] * 513}, "pins must be a list of pins"),
        ({"subscribe": "devices", "pins": ["V256"]}, 'such as ["V0", "V1"]: "V256" is none.'),
        ({"subscribe": "devices", "pins": ["V0", 7]}, ": 7 is none."),
        ({"subscribe": "devices", "pins": [["V0"]]}, ': ["V0"] is none.'),
        *(
            ({"subscribe": "devices", "every_ms": interval}, f"from 50 to 10000, not {shown}.")
            for interval, shown in (
                (0, "0"),
                (49, "49"),
                (10_001, "10001"),
                (-250, "-250"),
                (99.5, "99.5"),
                (2**70, str(2**70)),
                (True, "true"),
                ("250", '"250"'),
                ([250], "[250]"),
                ("x" * 1000, '"' + "x" * 39),
            )
        ),
        (
            {"subscribe": "devices", "every_ms": 250, "every": True},
            "every asks for all values and every_ms for the last",
        ),
        ({"subscribe": "audit", "every_ms": 250}, "every_ms gathers the changes of device, devices and events; audit"),
        ({"subscribe": "wire", "device": 1, "every_ms": 250}, "and events; wire is sent at once."),
        ({"subscribe": "device", "device": 999, "every_ms": 250}, "Device with identifier 999 is not found"),
    ],
)
async def test_invalid_option_is_answered_with_an_error(subscriber, message, error):
    await subscriber.send(id=1, **message)
    assert error in (await subscriber.receive())["error"]["message"]


async def test_is_app_connected_reports_whether_the_device_is_subscribed_to(hub, meter, subscriber):
    async def is_app_connected():
        return (await ask(hub, "GET", f"/external/api/isAppConnected?token={meter[1]}")).text

    assert "false" == await is_app_connected()
    await subscriber.subscribe(1, "device", device=meter[0].id)
    assert "true" == await is_app_connected()
    await subscriber.send(id=1, unsubscribe=True)
    assert await subscriber.has_no_messages()
    assert "false" == await is_app_connected()
