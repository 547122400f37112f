"""MQTT logins: credentials, protocol versions, malformed CONNECTs, keep-alive, and what a rejection reveals."""

from __future__ import annotations

import socket as sockets

import pytest
from support.facts import collect_facts
from support.mqtt_devices import TEMPLATE
from support.raw_mqtt import V5, V311, online, open_connection
from support.rejections import rejection_reasons
from support.times import until

from connectors.mqtt.packets import (
    Ack,
    Connack,
    Connect,
    Kind,
    Property,
    Subscribe,
    Subscription,
    Will,
)
from connectors.mqtt.protocol import encode
from connectors.mqtt.timeouts import MqttTimeouts
from hub.config import parse
from hub.facts import DeviceConnected, DeviceDisconnected
from hub.run import running
from hub.testing import LOOPBACK, add_device


async def test_device_is_online_until_its_connection_closes(hub, device, token, version):
    connected, disconnected = collect_facts(hub, DeviceConnected), collect_facts(hub, DeviceDisconnected)
    async with online(hub, token, version):
        assert [("mqtt", "127.0.0.1")] == [(fact.via, fact.address) for fact in connected]
        assert hub.sessions.get(device.id) is not None
    await until(lambda: disconnected)
    assert hub.sessions.get(device.id) is None


@pytest.mark.parametrize(
    ("username", "password", "code_311", "code_5"),
    [
        ("device", b"x" * 32, 4, 0x86),
        ("device", b"", 4, 0x86),
        ("device", b"\xff\xfe", 4, 0x86),
        ("mgmt_device", b"x" * 32, 4, 0x86),
        ("unknown", b"secret", 4, 0x86),
        ("", b"secret", 4, 0x86),
        (None, None, 4, 0x86),
        ("mgmt_device", "its token", 5, 0x87),
    ],
)
async def test_login_with_bad_credentials_is_rejected_and_recorded(
    hub, device, token, username, password, code_311, code_5
):
    for version, reason in ((V311, code_311), (V5, code_5)):
        async with open_connection(hub, version) as client:
            secret = token.encode() if password == "its token" else password
            connack = await client.login("", username=username, password=secret)
            assert (reason, False) == (connack.reason, connack.present)
            assert [] == await client.read_to_end()
    assert len(rejection_reasons(hub)) == 2
    # The reason names the device if the token is valid, but the login is not allowed.
    assert all((device.name in reason) is (code_311 == 5) for reason in rejection_reasons(hub))
    assert not any(token in reason or "secret" in reason for reason in rejection_reasons(hub))


@pytest.mark.parametrize(
    "data",
    [
        b"\x10\x0c\0\4MQTX\4\2\0\0\0\0",
        b"\x10\x0c\0\4MQTT\4\3\0\0\0\0",
        b"\x10\xff\xff\xff\xff\x7f",
        b"\x10\x02\0\4",
        encode(Connect(username="device", password=b"x", will=Will("ds/#", b"")), V311),
    ],
    ids=["name", "reserved", "length", "short", "wildcard"],
)
async def test_malformed_connect_ends_the_connection(hub, token, data):
    token = token.encode()
    data = data.replace(b"\0\1x", b"\0\x20" + token)
    if token in data:
        data = data[:1] + bytes((len(data) - 2,)) + data[2:]
    async with open_connection(hub) as client:
        await client.stream.send_all(data)
        assert [] == await client.read_to_end()
    assert any("broke the protocol" in reason for reason in rejection_reasons(hub))


async def test_unsupported_protocol_level_is_rejected_with_its_return_code(hub):
    async with open_connection(hub, V5) as client:
        await client.stream.send_all(b"\x10\x0d\0\4MQTT\6\2\0\0\0\0\0")
        [connack] = await client.read_to_end()
        assert 0x84 == connack.reason
    async with open_connection(hub) as client:
        await client.stream.send_all(b"\x10\x0c\0\4MQTT\2\2\0\0\0\0")
        assert [Connack(False, 1)] == await client.read_to_end()


@pytest.mark.parametrize(("level", "name"), [(3, b"\0\6MQIsdp"), (0x84, b"\0\4MQTT"), (0x83, b"\0\6MQIsdp")])
async def test_clients_of_version_3_1_and_bridges_can_log_in(hub, token, level, name):
    token = token.encode()
    body = name + bytes((level, 0xC2)) + b"\0\x3c\0\2me\0\6device\0\x20" + token
    async with open_connection(hub) as client:
        await client.stream.send_all(bytes((0x10, len(body))) + body)
        assert Connack(False, 0) == await client.next()
        assert Ack(Kind.PUBACK, 1) == await client.publish("ds/Temperature", "3")


@pytest.mark.parametrize("flags", [0, 1, 2, 8, 0xB])
async def test_connect_of_version_3_1_may_set_reserved_flags(hub, token, flags):
    token = token.encode()
    body = b"\0\6MQIsdp\3\xc3\0\x3c\0\2me\0\6device\0\x20" + token
    async with open_connection(hub) as client:
        await client.stream.send_all(bytes((0x10 | flags, len(body))) + body)
        assert Connack(False, 0) == await client.next()


@pytest.mark.timeouts(MqttTimeouts(connect=0.05, sweep=0.01))
async def test_connection_without_a_connect_is_closed_after_the_deadline(hub):
    async with open_connection(hub) as client:
        await client.stream.send_all(b"\x10")
        assert [] == await client.read_to_end()
    assert any("sent no CONNECT" in reason for reason in rejection_reasons(hub))


async def test_connection_over_the_limit_is_rejected_in_its_version(hub_config, version):
    config = parse(LOOPBACK + "[limits]\nconnections = 1\n").with_data(str(hub_config.data))
    async with running(config) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token), open_connection(hub, version) as other:
            assert Connack(False, 0x89 if version == V5 else 3) == await other.login(token)


async def test_connect_may_arrive_byte_by_byte(hub, token):
    async with open_connection(hub) as client:
        for byte in encode(Connect(username="device", password=token.encode()), V311):
            await client.stream.send_all(bytes((byte,)))
        assert Connack(False, 0) == await client.next()


@pytest.mark.timeouts(MqttTimeouts(sweep=0.01))
async def test_silent_device_of_version_5_is_disconnected_with_a_reason_code(hub, token, monkeypatch):
    monkeypatch.setattr("connectors.mqtt.session.KEEP_ALIVE_FACTOR", 0.1)
    disconnected = collect_facts(hub, DeviceDisconnected)
    async with online(hub, token, V5, subscribed=False, keep_alive=1) as client:
        assert [0x8D] == [packet.reason for packet in await client.read_to_end()]
    await until(lambda: disconnected)
    assert (0.1, "nothing came for 0 s") == (disconnected[0].silent, disconnected[0].reason)


@pytest.mark.parametrize(
    ("version", "keep_alive", "probed"), [(V311, 0, True), (V311, 3600, True), (V311, 60, False), (V5, 0, False)]
)
async def test_kernel_probes_connections_with_a_long_keep_alive(hub, token, version, keep_alive, probed):
    async with online(hub, token, version, keep_alive=keep_alive):
        [wire] = hub.listener._wires  # noqa: SLF001
        keep_alive_option = wire._sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE)  # noqa: SLF001
        assert probed == bool(keep_alive_option)


@pytest.mark.parametrize(
    ("version", "fields", "reason", "text"),
    [
        (V311, {"client_id": "x" * 65}, 2, "the client identifier has 65 characters; at most 64 are allowed"),
        (V5, {"client_id": "x" * 65}, 0x85, "the client identifier has 65 characters; at most 64 are allowed"),
        (V311, {"clean": False}, 2, "a persistent session (clean_session = 0) needs a client identifier"),
        (V5, {"properties": {Property.AUTHENTICATION_METHOD: "x"}}, 0x8C, "authentication methods are not supported"),
        (V5, {"properties": {Property.MAXIMUM_PACKET_SIZE: 2}}, None, "a Maximum Packet Size of 2 is too small"),
    ],
)
async def test_rejection_of_an_unacceptable_connect_names_the_device(hub, device, token, version, fields, reason, text):
    async with open_connection(hub, version) as client:
        connack = await client.login(token, **fields)
        assert reason == (connack and connack.reason)
        assert [] == await client.read_to_end()
    async with open_connection(hub, version) as client:
        await client.login("x" * 32, **fields)
        assert [] == await client.read_to_end()
    known, unknown = rejection_reasons(hub)
    assert known.startswith(f"device {device.name}: {text}")
    assert unknown.startswith(text)


async def test_token_in_the_wrong_field_is_redacted_from_rejections(hub, token):
    async with open_connection(hub) as client:
        await client.login("x", username=token)
    async with online(hub, token) as client:
        await client.subscribe(f"dev/{token}/downlink/#")
        await client.publish(f"dev/{token}/ds/Temperature", 1)
        await client.send(Subscribe(3, (Subscription(f"dev/{token}/downlink#"),)))
        await client.read_to_end()
    assert 4 == len(rejection_reasons(hub))
    assert not any(token in reason for reason in rejection_reasons(hub))
