"""MQTT, the hub's side: real sockets, and packets as devices send them."""

from __future__ import annotations

import json
import socket as sockets
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from support.patience import brief
from support.raw_http import connected, local_key
from support.raw_mqtt import PATIENCE, V5, V311, RawClient, online, open_connection, until
from support.rejections import rejection_reasons
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from connectors.mqtt.client import Client as MqttClient
from connectors.mqtt.endpoint import Endpoint
from connectors.mqtt.packets import (
    Ack,
    Connack,
    Connect,
    Disconnect,
    Kind,
    Ping,
    Property,
    Publish,
    Subscribe,
    Subscription,
    Will,
)
from connectors.mqtt.protocol import MAX_LENGTH, Decoder, encode
from connectors.mqtt.timeouts import MqttTimeouts
from hub.config import parse
from hub.errors import Conflict, StorageError
from hub.facts import DeviceConnected, DeviceDisconnected, EventLogged, WireFrame
from hub.history import Receipt
from hub.model import SYSTEM, Reboot, Reconfigure, Redirect
from hub.net.wire import Wire
from hub.run import running
from hub.testing import LOOPBACK, add_device, address_of
from hub.writes import Write

TEMPLATE = """
[template]
id = "TMPL0mqtt"
name = "MQTT"
[[datastream]]
pin = "V0"
name = "Temperature"
sync = true
[[datastream]]
pin = "V1"
name = "Set Point"
type = "integer"
default = 20
min = 0
max = 100
sync = true
[[datastream]]
pin = "V2"
name = "Label"
type = "string"
[[datastream]]
pin = "V3"
name = "Place"
type = "location"
[[event]]
code = "hot"
name = "Hot"
type = "warning"
description = "It is hot"
period = "1h"
[[event]]
code = "cold"
name = "Cold"
description = "It is cold"
[[metadata]]
name = "Room"
default = "Attic"
[[metadata]]
name = "Model"
type = "list"
options = ["A", "B"]
"""
#: 2026-07-01T12:00:00Z in milliseconds.
NOON = 1_782_907_200_000


@pytest.fixture
def hub_toml():
    return LOOPBACK + '[hub]\ntimezone = "Europe/Kyiv"\n'


@pytest.fixture
async def device(hub):
    return await add_device(hub, TEMPLATE)


@pytest.fixture
def clock():
    """Trio's, which a test may put forward."""
    return trio.testing.MockClock(rate=1.0)


@pytest.fixture(params=[V311, V5], ids=["3.1.1", "5"])
def version(request):
    return request.param


def held(hub, device, pin):
    return hub.writes.current(device, device.points[pin].datastream)


def write(hub, device, pin, value):
    """Somebody else than the device writes."""
    return hub.write(Write(device, pin, value, "test", SYSTEM))


# -- coming in --------------------------------------------------------------------------------------------------------


async def test_a_device_logs_in_and_is_online_until_it_says_goodbye(hub, device, version):
    came, went = [], []
    hub.subscribe(DeviceConnected, came.append)
    hub.subscribe(DeviceDisconnected, went.append)
    one, token = device
    async with online(hub, token, version):
        assert [("mqtt", "127.0.0.1")] == [(fact.via, fact.address) for fact in came]
        assert hub.sessions.get(one.id) is not None
    await until(lambda: went)
    assert hub.sessions.get(one.id) is None


@pytest.mark.parametrize(
    ("username", "password", "three", "five"),
    [
        ("device", b"x" * 32, 4, 0x86),
        ("device", b"", 4, 0x86),
        ("device", b"\xff\xfe", 4, 0x86),
        ("mgmt_device", b"x" * 32, 4, 0x86),
        ("somebody", b"secret", 4, 0x86),
        ("", b"secret", 4, 0x86),
        (None, None, 4, 0x86),
        ("mgmt_device", "its token", 5, 0x87),
    ],
)
async def test_whoever_is_not_known_is_refused_and_the_operator_told(hub, device, username, password, three, five):
    for version, reason in ((V311, three), (V5, five)):
        async with open_connection(hub, version) as stranger:
            secret = device[1].encode() if password == "its token" else password
            connack = await stranger.login("", username=username, password=secret)
            assert (reason, False) == (connack.reason, connack.present)
            assert [] == await stranger.read_to_end()
    assert len(rejection_reasons(hub)) == 2
    # A login that is right and not allowed says whose it is.
    assert all((device[0].name in reason) is (three == 5) for reason in rejection_reasons(hub))
    assert not any(device[1] in reason or "secret" in reason for reason in rejection_reasons(hub))


@pytest.mark.parametrize(
    "first",
    [
        b"\x10\x0c\0\4MQTX\4\2\0\0\0\0",
        b"\x10\x0c\0\4MQTT\4\3\0\0\0\0",
        b"\x10\xff\xff\xff\xff\x7f",
        b"\x10\x02\0\4",
        encode(Connect(username="device", password=b"x", will=Will("ds/#", b"")), V311),
    ],
    ids=["name", "reserved", "length", "short", "wildcard"],
)
async def test_a_connect_that_is_not_right_ends_the_connection(hub, device, first):
    token = device[1].encode()
    first = first.replace(b"\0\1x", b"\0\x20" + token)
    if token in first:
        first = first[:1] + bytes((len(first) - 2,)) + first[2:]
    async with open_connection(hub) as client:
        await client.stream.send_all(first)
        assert [] == await client.read_to_end()
    assert any("broke the protocol" in reason for reason in rejection_reasons(hub))


async def test_a_level_that_is_not_known_is_named(hub):
    async with open_connection(hub, V5) as client:
        await client.stream.send_all(b"\x10\x0d\0\4MQTT\6\2\0\0\0\0\0")
        [connack] = await client.read_to_end()
        assert 0x84 == connack.reason
    async with open_connection(hub) as client:
        await client.stream.send_all(b"\x10\x0c\0\4MQTT\2\2\0\0\0\0")
        assert [Connack(False, 1)] == await client.read_to_end()


@pytest.mark.parametrize(("level", "name"), [(3, b"\0\6MQIsdp"), (0x84, b"\0\4MQTT"), (0x83, b"\0\6MQIsdp")])
async def test_old_clients_and_bridges_come_in(hub, device, level, name):
    token = device[1].encode()
    body = name + bytes((level, 0xC2)) + b"\0\x3c\0\2me\0\6device\0\x20" + token
    async with open_connection(hub) as client:
        await client.stream.send_all(bytes((0x10, len(body))) + body)
        assert Connack(False, 0) == await client.next()
        assert Ack(Kind.PUBACK, 1) == await client.publish("ds/Temperature", "3")


@pytest.mark.parametrize("flags", [0, 1, 2, 8, 0xB])
async def test_version_3_1_may_set_flags_that_mean_nothing(hub, device, flags):
    token = device[1].encode()
    body = b"\0\6MQIsdp\3\xc3\0\x3c\0\2me\0\6device\0\x20" + token
    async with open_connection(hub) as client:
        await client.stream.send_all(bytes((0x10 | flags, len(body))) + body)
        assert Connack(False, 0) == await client.next()


@pytest.mark.timeouts(MqttTimeouts(connect=0.05, sweep=0.01))
async def test_a_connection_without_connect_is_ended(hub):
    async with open_connection(hub) as client:
        await client.stream.send_all(b"\x10")
        assert [] == await client.read_to_end()
    assert any("sent no CONNECT" in reason for reason in rejection_reasons(hub))


async def test_one_too_many_is_told_so_in_its_version(hub_config, version):
    few = parse(LOOPBACK + "[limits]\nconnections = 1\n").with_data(str(hub_config.data))
    async with running(few) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token), open_connection(hub, version) as other:
            assert Connack(False, 0x89 if version == V5 else 3) == await other.login(token)


async def test_a_connect_may_come_byte_by_byte(hub, device):
    async with open_connection(hub) as client:
        for byte in encode(Connect(username="device", password=device[1].encode()), V311):
            await client.stream.send_all(bytes((byte,)))
        assert Connack(False, 0) == await client.next()


@pytest.mark.timeouts(MqttTimeouts(sweep=0.01))
async def test_a_silent_device_is_gone_and_told_so_in_version_5(hub, device, monkeypatch):
    monkeypatch.setattr("connectors.mqtt.session.KEEP_ALIVE_FACTOR", 0.1)
    went = []
    hub.subscribe(DeviceDisconnected, went.append)
    async with online(hub, device[1], V5, subscribed=False, keep_alive=1) as client:
        assert [0x8D] == [packet.reason for packet in await client.read_to_end()]
    await until(lambda: went)
    assert (0.1, "nothing came for 0 s") == (went[0].silent, went[0].reason)


@pytest.mark.parametrize(
    ("version", "keep_alive", "looked_after"), [(V311, 0, True), (V311, 3600, True), (V311, 60, False), (V5, 0, False)]
)
async def test_the_kernel_looks_after_who_may_be_silent_for_long(hub, device, version, keep_alive, looked_after):
    async with online(hub, device[1], version, keep_alive=keep_alive):
        [wire] = hub.listener._wires  # noqa: SLF001
        probed = wire._sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE)  # noqa: SLF001
        assert looked_after == bool(probed)


async def test_the_newer_of_two_connections_wins(hub, device, version):
    facts = []
    hub.subscribe(DeviceConnected, facts.append)
    hub.subscribe(DeviceDisconnected, facts.append)
    async with online(hub, device[1], version, client_id="old") as old, online(hub, device[1], client_id="new") as new:
        last = await old.read_to_end()
        assert ([0x8E] if version == V5 else []) == [packet.reason for packet in last]
        assert Ack(Kind.PUBACK, 2) == await new.publish("ds/Temperature", "3")
        # It was never offline.
        assert [DeviceConnected] == [type(fact) for fact in facts]


async def test_native_and_mqtt_share_the_one_session_of_a_device(hub, device):
    from support.raw_native import online as native

    async with online(hub, device[1], V5) as old, native(hub, device[1]):
        assert [0x8E] == [packet.reason for packet in await old.read_to_end()]
        assert "native" == hub.sessions.get(device[0].id).via


async def test_client_identifiers_of_different_devices_may_be_the_same(hub, device):
    other = await add_device(hub, TEMPLATE.replace("TMPL0mqtt", "TMPL0other").replace('"MQTT"', '"Other"'))
    async with online(hub, device[1], client_id="esp32") as one, online(hub, other[1], client_id="esp32") as two:
        await one.publish("ds/Temperature", "1")
        await two.publish("ds/Temperature", "2")
        assert [] == await one.received()
    assert (1.0, 2.0) == (held(hub, device[0], 0), held(hub, other[0], 0))


async def test_a_stranger_with_a_stolen_client_identifier_disturbs_nobody(hub, device):
    async with online(hub, device[1], client_id="mine") as client:
        for _ in range(30):
            async with open_connection(hub) as thief:
                assert 4 == (await thief.login("x" * 32, client_id="mine")).reason
        assert Ack(Kind.PUBACK, 2) == await client.publish("ds/Temperature", "3")


async def hurry(clock):
    """Let time pass whenever nobody does anything."""
    while True:
        await trio.testing.wait_all_tasks_blocked(0.02)
        clock.jump(0.25)


async def test_two_that_take_each_others_place_wait_longer_and_longer_and_both_hear_why(hub, device, clock, nursery):
    place = "keeps replacing another connection with the same token"
    for _ in range(3):
        async with online(hub, device[1], subscribed=False), online(hub, device[1], subscribed=False):
            pass
    assert not any(place in reason for reason in rejection_reasons(hub)), "none of these has waited"
    nursery.start_soon(hurry, clock)
    waited = []
    for _ in range(3):
        async with online(hub, device[1], subscribed=False) as older:
            began = trio.current_time()
            async with online(hub, device[1], subscribed=False) as newer:
                waited.append(trio.current_time() - began)
                said = await newer.received()
                last = [packet.payload.decode() for packet in await older.read_to_end()]
    assert [True] * 3 == [seconds >= 2**n for n, seconds in enumerate(waited)]
    assert any(place in text for _, text in said)
    assert any(place in text for text in last)
    assert any(place in reason for reason in rejection_reasons(hub))


async def test_one_that_waits_comes_in_also_when_the_other_is_gone_meanwhile(hub, device, clock, nursery):
    for _ in range(3):
        async with online(hub, device[1], subscribed=False), online(hub, device[1], subscribed=False):
            pass
    async with online(hub, device[1], subscribed=False) as older, open_connection(hub) as newer:
        await newer.send(Connect(username="device", password=device[1].encode()))
        assert "keeps replacing" in (await older.message())[1]
        await older.disconnect()
        nursery.start_soon(hurry, clock)
        assert Connack(False, 0) == await newer.next()


async def test_of_several_that_wait_the_newest_gets_in(hub, device, clock, nursery):
    for _ in range(3):
        async with online(hub, device[1], subscribed=False), online(hub, device[1], subscribed=False):
            pass
    hello = Connect(username="device", password=device[1].encode())
    async with (
        online(hub, device[1], subscribed=False) as live,
        open_connection(hub) as gone,
        open_connection(hub) as newest,
    ):
        await gone.send(hello)
        await live.message()
        await newest.send(hello)
        await live.message()
        nursery.start_soon(hurry, clock)
        assert Connack(False, 0) == await newest.next()
        assert Connack(False, 3) == await gone.next()


async def test_one_that_hung_up_while_it_waited_takes_nobodys_place(hub, device, clock, nursery):
    for _ in range(3):
        async with online(hub, device[1], subscribed=False), online(hub, device[1], subscribed=False):
            pass
    async with online(hub, device[1], subscribed=False) as live:
        connections = hub.listener.connections
        async with open_connection(hub) as gone:
            await gone.send(Connect(username="device", password=device[1].encode()))
            await live.message()
        nursery.start_soon(hurry, clock)
        await until(lambda: hub.listener.connections == connections)
        assert Ack(Kind.PUBACK, 1) == await live.publish("ds/Temperature", "1")


async def test_a_device_whose_token_is_replaced_is_thrown_out(hub, device):
    async with online(hub, device[1], V5) as client:
        await hub.tokens.rotate(device[0], SYSTEM)
        assert [0x98] == [packet.reason for packet in await client.read_to_end()]


async def test_a_hub_that_stops_says_so(hub_config):
    async with running(hub_config) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with trio.open_nursery() as nursery:
            goodbyes = []

            async def stay(task_status):
                async with online(hub, token, V5) as client:
                    task_status.started()
                    goodbyes.extend(await client.read_to_end())

            await nursery.start(stay)
            with trio.CancelScope(shield=True):
                await hub.listener.drain(1)
    assert [0x8B] == [packet.reason for packet in goodbyes]


@pytest.mark.parametrize("way", ["tcp", "websocket"])
async def test_a_hub_that_stops_answers_what_it_owes_first(hub_config, monkeypatch, way):
    async with running(hub_config) as hub:
        one, token = await add_device(hub, TEMPLATE)
        transaction, ready = hub.storage.history.transaction, trio.Event()

        async def slow(fn):
            await ready.wait()
            return await transaction(fn)

        monkeypatch.setattr(hub.storage.history, "transaction", slow)
        hello = encode(Connect(username="device", password=token.encode(), version=V5), V5)
        message, answers = encode(Publish("ds/Temperature", b"1", 1, 5), V5), []

        async def stop():
            await until(lambda: held(hub, one, 0) == 1)
            async with trio.open_nursery() as stopping:
                stopping.start_soon(hub.listener.drain, 2)
                await until(lambda: hub.listener.draining)
                ready.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            if way == "tcp":
                async with open_connection(hub, V5) as client:
                    await client.stream.send_all(hello + message)
                    answers = await client.read_to_end()
            else:
                data = b""
                async with websocket(hub) as socket:
                    await socket.send(hello + message)
                    with suppress(ConnectionClosed), trio.fail_after(PATIENCE):
                        while True:
                            data += await socket.recv()
                answers = list(Decoder(MAX_LENGTH, V5).receive(data))
        assert [Connack, Ack, Disconnect] == [type(packet) for packet in answers]
        assert (0, 0x8B) == (answers[1].reason, answers[2].reason)


# -- what a device says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_value_is_taken_with_every_qos(hub, device, version, qos):
    async with online(hub, device[1], version) as client:
        answer = await client.publish("ds/Temperature", "21.5", qos)
        kinds = {0: None, 1: Kind.PUBACK, 2: Kind.PUBREC}
        assert kinds[qos] == (answer and answer.kind)
        await until(lambda: held(hub, device[0], 0) == 21.5)
        # Its own value does not come back.
        assert [] == await client.received()


async def test_an_acknowledged_value_is_on_disk(hub, device, monkeypatch):
    async with online(hub, device[1]) as client:
        commits = []
        transaction = hub.storage.history.transaction

        async def slow(fn):
            await commits[0].wait()
            return await transaction(fn)

        commits.append(trio.Event())
        monkeypatch.setattr(hub.storage.history, "transaction", slow)
        await client.send(Publish("ds/Temperature", b"1", 1, 5), Publish("ds/Label", b"x", 2, 6))
        with trio.move_on_after(brief(0.1)) as early:
            await client.next()
        assert early.cancelled_caught
        commits[0].set()
        assert [Ack(Kind.PUBACK, 5), Ack(Kind.PUBREC, 6)] == [await client.next(), await client.next()]


async def test_nothing_is_acknowledged_while_the_disk_refuses_and_then_it_is(hub, device, monkeypatch, clock):
    async with online(hub, device[1], keep_alive=10) as client:
        transaction = hub.storage.history.transaction
        working = []

        async def broken(fn):
            if not working:
                raise StorageError("disk full")
            return await transaction(fn)

        monkeypatch.setattr(hub.storage.history, "transaction", broken)
        await client.send(Publish("ds/Temperature", b"1", 1, 5))
        for _ in range(20):
            await trio.testing.wait_all_tasks_blocked(0.005)
            clock.jump(3)
        with trio.move_on_after(brief(0.05)) as early:
            await client.next()
        assert early.cancelled_caught
        working.append(True)
        assert Ack(Kind.PUBACK, 5) == await client.next()


async def test_a_device_hears_while_its_own_values_wait_for_the_disk(hub, device, monkeypatch):
    one, token = device
    async with online(hub, token) as client:
        transaction, ready = hub.storage.history.transaction, trio.Event()

        async def slow(fn):
            await ready.wait()
            return await transaction(fn)

        monkeypatch.setattr(hub.storage.history, "transaction", slow)
        await client.send(Publish("ds/Temperature", b"1", 1, 5))
        await until(lambda: held(hub, one, 0) == 1)
        write(hub, one, 1, 50)
        packet = await client.next()
        assert "downlink/ds/Set Point" == packet.topic
        ready.set()
        assert Ack(Kind.PUBACK, 5) == await client.next()


async def test_while_the_disk_refuses_a_device_has_one_connection_however_often_it_dials(hub, device, monkeypatch):
    async def broken(_fn):
        raise StorageError("disk full")

    monkeypatch.setattr(hub.storage.history, "transaction", broken)
    connections = hub.listener.connections
    async with online(hub, device[1]) as first:
        await first.send(Publish("ds/Temperature", b"1", 1, 5))
        await until(lambda: held(hub, device[0], 0) == 1)
        # It has published already: the next ones dial instead of it.
        for n in range(3):
            async with online(hub, device[1]) as client:
                await client.send(Publish("ds/Temperature", b"%d" % n, 1, 5))
                await until(lambda n=n: held(hub, device[0], 0) == n)
        async with online(hub, device[1]):
            await until(lambda: hub.listener.connections == connections + 1)
    monkeypatch.undo()


async def test_a_value_that_no_disk_takes_is_told(hub, device, monkeypatch):
    async def never(_receipt):
        return False

    monkeypatch.setattr(Receipt, "settled", never)
    async with online(hub, device[1], V5) as client:
        answer = await client.publish("ds/Temperature", "1")
        assert (0x80, "the value could not be stored") == (answer.reason, answer.properties[Property.REASON_STRING])
    async with online(hub, device[1]) as client:
        await client.publish("ds/Temperature", "1")
    assert any("could not be stored" in reason for reason in rejection_reasons(hub))


async def test_a_message_that_waits_for_room_is_not_written_when_its_token_is_gone(hub, device, monkeypatch):
    one, token = device
    async with online(hub, token) as client:
        monkeypatch.setattr(hub.history, "full", True)
        await client.send(Publish("ds/Temperature", b"1", 1, 5))
        await trio.testing.wait_all_tasks_blocked(0.02)
        await hub.tokens.rotate(one, SYSTEM)
        hub.history.full = False
        hub.history._space.unpark_all()  # noqa: SLF001
        assert [] == await client.read_to_end()
        await until(lambda: hub.sessions.get(one.id) is None)
        assert held(hub, one, 0) is None


async def test_a_repeated_message_is_acknowledged_no_earlier_than_the_first(hub, device, monkeypatch):
    one, token = device
    log, entered, ready = hub.timeline.log, trio.Event(), trio.Event()

    async def slow(*args):
        entered.set()
        await ready.wait()
        return await log(*args)

    monkeypatch.setattr(hub.timeline, "log", slow)
    message = Publish("event/hot", b"once", 2, 9)
    async with online(hub, token, **kept(V311)) as first:
        await first.send(message)
        with trio.fail_after(PATIENCE):
            await entered.wait()
        async with online(hub, token, subscribed=False, **kept(V311)) as second:
            assert second.present
            await second.send(Publish("event/hot", b"once", 2, 9, dup=True))
            with trio.move_on_after(brief(0.1)) as early:
                await second.next()
            assert early.cancelled_caught
            ready.set()
            assert Ack(Kind.PUBREC, 9) == await second.next()
    assert ["once"] == [event.description for event in await hub.timeline.newest(one) if event.code == "hot"]


async def test_a_message_that_was_not_kept_is_taken_when_it_comes_again(hub, device, monkeypatch):
    one, token = device
    log, broken = hub.timeline.log, [True]

    async def fail(*args):
        if broken:
            raise StorageError("disk full")
        return await log(*args)

    monkeypatch.setattr(hub.timeline, "log", fail)
    async with online(hub, token, **kept(V311)) as client:
        await client.send(Publish("event/hot", b"again", 2, 9))
        assert [] == await client.read_to_end()
    broken.clear()
    await until(lambda: hub.sessions.get(one.id) is None)
    async with online(hub, token, subscribed=False, **kept(V311)) as client:
        await client.send(Publish("event/hot", b"again", 2, 9, dup=True))
        assert Ack(Kind.PUBREC, 9) == await client.next()
    assert ["again"] == [event.description for event in await hub.timeline.newest(one) if event.code == "hot"]


async def test_names_that_are_no_text_are_refused_and_nothing_breaks(hub, device):
    for version in (V311, V5):
        async with online(hub, device[1], version) as client:
            answer = await client.publish("batch_ds", b'{"\\ud800": 1}')
            assert (0 if version == V311 else 0x90) == answer.reason
            assert [("downlink/diag", True)] == [(topic, "ud800" in text) for topic, text in await client.received()]


async def test_many_messages_of_one_read_are_acknowledged_in_order(hub, device):
    async with online(hub, device[1]) as client:
        await client.send(*(Publish("ds/Temperature", b"%d" % n, 1, n) for n in range(1, 101)))
        assert list(range(1, 101)) == [(await client.next()).packet_id for _ in range(100)]
    assert 100.0 == held(hub, device[0], 0)


async def test_several_values_have_a_nul_between_them(hub, device):
    async with online(hub, device[1]) as client:
        await client.publish("ds/Label", b"a\0b\0c")
        assert ("a", "b", "c") == held(hub, device[0], 2)
        await client.publish("ds/Place", "30.5,50.4")
        assert (30.5, 50.4) == held(hub, device[0], 3)


async def test_a_batch_has_one_stamp_and_is_taken_whole(hub, device):
    one, token = device
    async with online(hub, token, V5) as client:
        batch = {"Temperature": 10.3, "Set Point": 55, "Label": "x", "Place": [30.5, 50.4]}
        assert 0 == (await client.publish("batch_ds", json.dumps(batch))).reason
        assert [10.3, 55, "x", (30.5, 50.4)] == [held(hub, one, pin) for pin in range(4)]
        stamps = {hub.writes.latest(one, one.points[pin].datastream)[0] for pin in range(4)}
        assert 1 == len(stamps)
        for bad in ({"Temperature": "10"}, {"Temperature": 1, "Nope": 2}, {"Label": 1}, {"Set Point": None}, [1], "x"):
            assert (await client.publish("batch_ds", json.dumps(bad))).reason in (0x99, 0x90), bad
        for bad in (b"", b"{", b"\xff", b"[" * 5000):
            assert 0x99 == (await client.publish("batch_ds", bad)).reason
        assert 10.3 == held(hub, one, 0)
        assert 0 == (await client.publish("batch_ds", "{}")).reason


async def test_a_batch_with_timestamps_is_imported(hub, device):
    one, token = device
    now = hub.clock.now()
    async with online(hub, token, V5) as client:
        rows = [[now - 3000, 1.5], [now - 1000, 3.5], [now - 2000, 2.5]]
        assert 0 == (await client.publish("ds/Temperature/timestamped_batch", json.dumps(rows))).reason
        assert 3.5 == held(hub, one, 0)
        series = one.points[0].series
        found = [value async for piece in hub.history.points(series, now - 9000, now) for _, value in piece]
        assert [1.5, 2.5, 3.5] == found
        for bad in ([[now, "x"]], [[now]], [["1", 2]], {"a": 1}, [[now + 10**10, 1]], [[True, 1]]):
            answer = await client.publish("ds/Temperature/timestamped_batch", json.dumps(bad))
            assert 0x99 == answer.reason, bad


async def test_a_value_is_cleared_and_stays_so(hub_config):
    async with running(hub_config) as hub:
        one, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as client:
            await client.publish("ds/Temperature", "21")
            await client.publish("ds/Set Point", "30")
            await client.publish("ds/Temperature/erase")
            await client.publish("ds/Set Point/erase")
            assert (None, 20) == (held(hub, one, 0), held(hub, one, 1))
            await client.publish("ds/Set Point", "40")
    async with running(hub_config) as hub:
        one = hub.devices.get(one.id)
        assert (None, 40) == (held(hub, one, 0), held(hub, one, 1))


async def test_a_value_written_after_clearing_stays_whatever_its_stamp(hub_config):
    async with running(hub_config) as hub:
        one, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as client:
            ahead = [[hub.clock.now() + 3_600_000, 30]]
            await client.publish("ds/Temperature/timestamped_batch", json.dumps(ahead))
            await client.publish("ds/Temperature/erase")
            assert held(hub, one, 0) is None
            await client.publish("ds/Temperature", "40")
    async with running(hub_config) as hub:
        assert 40 == held(hub, hub.devices.get(one.id), 0)


async def test_properties_are_set_and_erased(hub, device):
    one, token = device
    async with online(hub, token, V5) as client:
        assert 0 == (await client.publish("ds/Temperature/prop/color", "#ff0000")).reason
        assert 0 == (await client.publish("ds/Temperature/prop/labels", b"a\0b")).reason
        assert {"color": ("#ff0000",), "labels": ("a", "b")} == (await hub.properties.values_for(one))[1]
        assert 0 == (await client.publish("ds/Temperature/prop/color/erase")).reason
        assert {"labels": ("a", "b")} == (await hub.properties.values_for(one))[1]
        assert 0x99 == (await client.publish("ds/Temperature/prop/nonsense", "x")).reason
        assert 0x90 == (await client.publish("ds/Nope/prop/color", "x")).reason


async def test_events_and_metadata(hub, device):
    one, token = device
    async with online(hub, token, V5) as client:
        assert 0 == (await client.publish("event/hot", "42 degrees")).reason
        assert 0 == (await client.publish("event/cold")).reason
        found = {event.code: event.description for event in await hub.timeline.newest(one)}
        assert ("42 degrees", "It is cold") == (found["hot"], found["cold"])
        assert 0x90 == (await client.publish("event/none")).reason
        assert 0x97 == (await client.publish("event/hot")).reason
        assert 0 == (await client.publish("meta/Room", "Cellar")).reason
        assert "Cellar" == await hub.metadata.get(one, "Room")
        assert 0x99 == (await client.publish("meta/Model", "B")).reason
        assert 0x90 == (await client.publish("meta/Rom", "x")).reason


async def test_what_the_device_runs_is_kept_and_its_buffer_respected(hub, device):
    one, token = device
    async with online(hub, token) as client:
        info = {"tmpl": "TMPL0mqtt", "ver": "0.1.2", "build": "Jan 19 2024", "type": "TMPL0mqtt", "rxbuff": 256}
        await client.publish("info/mcu", json.dumps(info))
        assert ("0.1.2", "256", "TMPL0mqtt") == tuple(one.firmware[key] for key in ("fw", "buff-in", "fw-type"))
        assert one.activated is not None
        write(hub, one, 2, "x" * 300)
        write(hub, one, 2, "y" * 100)
        assert [("downlink/ds/Label", "y" * 100)] == await client.received()
    assert any("too long for it" in reason for reason in rejection_reasons(hub))


async def test_firmware_for_another_template_is_told_so(hub, device):
    async with online(hub, device[1]) as client:
        await client.publish("info/mcu", '{"tmpl": "TMPL0else"}')
        assert [("downlink/diag", "this device runs firmware for template TMPL0else, not TMPL0mqtt")] == (
            await client.received()
        )


async def test_a_device_asks_for_values(hub, device):
    one, token = device
    async with online(hub, token) as client:
        await client.publish("ds/Temperature", "21.5")
        await client.publish("ds/Label", "secret")
        await client.publish("get/ds", "Label, Set Point")
        assert [("downlink/ds/Label", "secret"), ("downlink/ds/Set Point", "20")] == await client.received()
        await client.publish("get/ds/all")
        assert [("downlink/ds/Temperature", "21.5"), ("downlink/ds/Set Point", "20")] == await client.received()
        await client.publish("get/ds", "Nope,Label")
        [found, (topic, said)] = await client.received()
        assert ("downlink/ds/Label", "secret") == found
        await client.publish("get/ds", "Label," * 5000)
        assert [("downlink/ds/Label", "secret")] == await client.received()
        await client.publish("get/meta", ",".join(map(str, range(501))))
        assert [("downlink/diag", "get/meta: at most 500 names are allowed in one message")] == await client.received()
        assert "downlink/diag" == topic
        assert "there is no datastream 'Nope'" in said
        await client.publish("get/meta", "Room,Device Name")
        assert [("downlink/meta/Room", "Attic"), ("downlink/meta/Device Name", "Device")] == await client.received()


async def test_a_device_asks_for_time_and_place(hub, device):
    async with online(hub, device[1]) as client:
        await client.publish("get/utc/all/json")
        [(topic, payload)] = await client.received()
        told = json.loads(payload)
        assert ("downlink/utc/all/json", "Europe/Kyiv", 120) == (topic, told["tz_name"], told["tz_offset"])
        assert {"tz_name", "tz_rule", "tz_offset", "dst_offset", "time", "iso8601"} == told.keys()
        await hub.metadata.set(device[0], "Location", '{"lat": 50.45, "lon": 30.52}', SYSTEM)
        await client.publish("get/loc/all")
        assert ("downlink/loc/all", "50.45,30.52") in await client.received()


@pytest.mark.parametrize(
    ("topic", "payload", "reason", "said"),
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
async def test_what_is_dropped_is_said(hub, device, topic, payload, reason, said):
    async with online(hub, device[1], V5) as client:
        answer = await client.publish(topic, payload)
        assert reason == answer.reason
        assert said in answer.properties[Property.REASON_STRING]
    async with online(hub, device[1], V311) as client:
        # Version 3.1.1 has no way to refuse: it is acknowledged, dropped and told.
        assert Ack(Kind.PUBACK, 2) == await client.publish(topic, payload)
        [(where, text)] = await client.received()
        assert "downlink/diag" == where
        assert said in text
    assert any(said in refused for refused in rejection_reasons(hub))


async def test_a_device_hears_diagnostics_without_a_subscription_but_no_flood_of_them(hub, device):
    async with online(hub, device[1], subscribed=False) as client:
        for n in range(50):
            await client.publish(f"ds/Nope {n}", "1")
        assert 5 <= len(await client.received()) <= 12


async def test_what_ended_a_connection_is_told_on_the_next(hub, device):
    async with online(hub, device[1]) as client:
        await client.send(Publish("ds/Label", b"x" * 70_000))
        assert [] == await client.read_to_end()
    async with online(hub, device[1], subscribed=False) as client:
        topic, said = await client.message()
        assert "downlink/diag" == topic
        assert "over the limit of 65536" in said
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
async def test_a_device_that_breaks_the_protocol_is_told_and_let_go(hub, device, packets, reason):
    async with online(hub, device[1], V5) as client:
        await client.send(*packets)
        assert [reason] == [packet.reason for packet in await client.read_to_end()]
    await until(lambda: hub.sessions.get(device[0].id) is None)
    assert any("broke the protocol" in refused for refused in rejection_reasons(hub))


async def test_a_topic_alias_saves_the_topic(hub, device):
    async with online(hub, device[1], V5) as client:
        alias = {"properties": {Property.TOPIC_ALIAS: 1}}
        await client.publish("ds/Temperature", "1", **alias)
        await client.publish("", "2", **alias)
    assert 2.0 == held(hub, device[0], 0)


async def test_retain_is_taken_and_ignored(hub, device):
    async with online(hub, device[1]) as client:
        await client.publish("ds/Temperature", "21", retain=True)
    async with online(hub, device[1]) as client:
        assert [] == await client.received()


# -- subscriptions, and what a device hears ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic_filter", "three", "five"),
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
async def test_a_device_subscribes_below_downlink_only(hub, device, topic_filter, three, five):
    for version, expected in ((V311, three), (V5, five)):
        async with online(hub, device[1], version, subscribed=False) as client:
            assert [expected, min(1, expected)] != [expected] == await client.subscribe(topic_filter)
            assert [1] == await client.subscribe("downlink/ds/#", qos=2)


async def test_a_device_has_no_more_subscriptions_than_it_can_need(hub, device):
    async with online(hub, device[1], V5) as client:
        granted = await client.subscribe(*(f"downlink/{n}" for n in range(60)))
        assert {1, 0x97} == set(granted)
        assert 0x97 == granted[-1]
        # One that it has already may be changed.
        assert [0] == await client.subscribe("downlink/#", qos=0)


async def test_many_wrong_subscriptions_in_one_packet_are_put_down_once_and_cost_time(hub_config):
    slow = parse(LOOPBACK + "[limits]\nmessages_per_second = 500\nburst = 10\n").with_data(str(hub_config.data))
    async with running(slow) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as client:
            began = trio.current_time()
            await client.subscribe(*(f"x/{n}" for n in range(300)))
            assert 1 == sum("subscribes to topics below downlink/" in reason for reason in rejection_reasons(hub))
            for _ in range(20):
                await client.subscribe(*(f"x/{n}" for n in range(200)))
            assert trio.current_time() - began > 0.3
        assert 21 == sum("subscribes to topics below downlink/" in reason for reason in rejection_reasons(hub))


async def test_a_device_hears_what_it_has_subscribed_to(hub, device, version):
    one, token = device
    async with online(hub, token, version, subscribed=False) as client:
        write(hub, one, 1, 40)
        assert [] == await client.received()
        await client.subscribe("downlink/ds/Set Point", "downlink/reboot", qos=0)
        write(hub, one, 1, 41)
        write(hub, one, 0, 1.5)
        hub.command(one, Reboot())
        hub.command(one, Reconfigure())
        assert [("downlink/ds/Set Point", "41"), ("downlink/reboot", "")] == await client.received()
        await client.subscribe("downlink/#")
        hub.command(one, Reconfigure())
        await hub.metadata.set(one, "Room", "Hall", SYSTEM)
        write(hub, one, 2, ["a", "b"])
        assert [
            ("downlink/reconfigure", ""),
            ("downlink/meta/Room", "Hall"),
            ("downlink/ds/Label", "a\0b"),
        ] == await client.received()


async def test_a_redirect_comes_without_a_subscription(hub, device):
    async with online(hub, device[1], subscribed=False) as client:
        hub.command(device[0], Redirect("hub2.example.org", 1884))
        assert ("downlink/redirect", "mqtt://hub2.example.org:1884") == await client.message()


async def test_a_device_that_answers_a_ping_is_measured(hub, device, version):
    async with online(hub, device[1], version, subscribed=False) as client, trio.open_nursery() as nursery:
        took = []

        async def ping():
            took.append(await hub.sessions.ping(device[0]))

        nursery.start_soon(ping)
        packet = await client.until(Publish)
        assert ("downlink/ping", b"", 1) == (packet.topic, packet.payload, packet.qos)
        await client.send(Ack(Kind.PUBACK, packet.packet_id))
    assert 0 <= took[0] < 5000


@pytest.mark.timeouts(MqttTimeouts(ping=0.05))
async def test_a_device_that_does_not_answer_a_ping_stays(hub, device):
    async with online(hub, device[1]) as client:
        assert await hub.sessions.ping(device[0]) is None
        assert Ack(Kind.PUBACK, 2) == await client.publish("ds/Temperature", "1")
    await until(lambda: hub.sessions.get(device[0].id) is None)
    with pytest.raises(Conflict):
        await hub.sessions.ping(device[0])


@pytest.mark.timeouts(MqttTimeouts(ping=0.01))
async def test_pings_that_are_not_answered_take_no_room_from_values(hub, device):
    one, token = device
    async with online(hub, token, V5, properties={Property.RECEIVE_MAXIMUM: 2}) as client:
        for _ in range(5):
            assert await hub.sessions.ping(one) is None
        write(hub, one, 1, 7)
        first, second = [await client.until(Publish) for _ in range(2)]
        assert ["downlink/ping", "downlink/ds/Set Point"] == [first.topic, second.topic]
        # What was answered late may be asked again.
        await client.send(Ack(Kind.PUBACK, first.packet_id), Ack(Kind.PUBACK, second.packet_id))
        assert [] == await client.received()
        assert await hub.sessions.ping(one) is None
        assert ("downlink/ping", "") == await client.message()


async def test_many_short_questions_make_no_long_write(hub, device, monkeypatch):
    one, token = device
    write(hub, one, 2, "x" * 1000)
    async with online(hub, token, subscribed=False) as client:
        await client.subscribe("downlink/#", qos=0)
        written, send = [], Wire.send

        def watched(wire, data):
            written.append(len(data))
            send(wire, data)

        monkeypatch.setattr(Wire, "send", watched)
        # Some hundreds of them come in one read.
        await client.send(*(Publish("get/ds", b"Label") for _ in range(250)))
        assert ("downlink/ds/Label", "x" * 1000) in await client.received()
        assert max(written) < 100_000


async def test_a_client_that_never_acknowledges_gets_the_newest_values_when_it_does(hub, device):
    one, token = device
    async with online(hub, token) as client:
        for n in range(60):
            write(hub, one, 1, n)
        first = [await client.until(Publish) for _ in range(20)]
        await client.send(Ping(Kind.PINGREQ))
        assert Ping(Kind.PINGRESP) == await client.next()
        await client.send(*(Ack(Kind.PUBACK, packet.packet_id) for packet in first))
        assert [("downlink/ds/Set Point", "59")] == await client.received()


async def test_a_client_that_does_not_read_gets_the_newest_values_when_it_does(hub, device):
    one, token = device
    async with online(hub, token, subscribed=False) as client:
        await client.subscribe("downlink/#", qos=0)
        for n in range(20_000):
            write(hub, one, 2, f"{n} " + "x" * 900)
            if n % 500 == 0:
                await trio.sleep(0)
        heard = await client.received()
        assert len(heard) < 15_000
        write(hub, one, 0, 7)
        heard += await client.received()
    labels = [text for topic, text in heard if topic == "downlink/ds/Label"]
    assert labels[-1].startswith("19999 ")
    numbers = [int(text.split()[0]) for text in labels]
    assert sorted(numbers) == numbers


# -- sessions that are kept -------------------------------------------------------------------------------------------


def kept(version):
    """What a client says that wants its session kept."""
    more = {"properties": {Property.SESSION_EXPIRY: 600}} if version == V5 else {}
    return {"clean": False, "client_id": "me", **more}


async def test_a_client_that_asks_for_it_gets_what_came_meanwhile(hub, device, version):
    one, token = device
    async with online(hub, token, version, **kept(version)) as client:
        assert not client.present
        await client.disconnect()
    await until(lambda: hub.sessions.get(one.id) is None)
    for n in (1, 2, 3):
        write(hub, one, 1, n)
        write(hub, one, 2, f"text {n}")
    async with online(hub, token, version, subscribed=False, **kept(version)) as client:
        assert client.present
        # The newest of each datastream.
        assert [("downlink/ds/Set Point", "3"), ("downlink/ds/Label", "text 3")] == await client.received()
        write(hub, one, 1, 4)
        assert [("downlink/ds/Set Point", "4")] == await client.received()
    # By what was kept nobody hears twice.
    await until(lambda: len(hub.sessions.recipients(one)) == 1)


async def test_a_client_that_does_not_ask_gets_nothing(hub, device, version):
    one, token = device
    async with online(hub, token, version, client_id="me") as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(one.id) is None)
    write(hub, one, 1, 5)
    async with online(hub, token, version, subscribed=False, **kept(version)) as client:
        assert not client.present
        assert [] == await client.received()


@pytest.mark.parametrize("other", [{"client_id": "another"}, {"clean": True}], ids=["name", "clean"])
async def test_a_session_is_kept_for_its_own_client(hub, device, other):
    one, token = device
    async with online(hub, token, **kept(V311)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(one.id) is None)
    write(hub, one, 1, 5)
    async with online(hub, token, subscribed=False, **kept(V311) | other) as client:
        assert not client.present
        assert [] == await client.received()


async def test_a_kept_session_ends_with_its_time(hub, device, clock):
    one, token = device
    async with online(hub, token, V5, **kept(V5)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(one.id) is None)
    clock.jump(601)
    await until(lambda: not hub.service(Endpoint).registry.clients)
    async with online(hub, token, V5, subscribed=False, **kept(V5)) as client:
        assert not client.present


async def test_qos_0_is_not_kept(hub, device):
    one, token = device
    async with online(hub, token, subscribed=False, **kept(V311)) as client:
        await client.subscribe("downlink/#", qos=0)
        await client.disconnect()
    await until(lambda: hub.sessions.get(one.id) is None)
    write(hub, one, 1, 5)
    with pytest.raises(Conflict):
        hub.command(one, Reboot())
    async with online(hub, token, subscribed=False, **kept(V311)) as client:
        assert client.present
        assert [] == await client.received()


async def test_what_was_cleared_or_erased_meanwhile_is_not_told(hub, device):
    one, token = device
    async with online(hub, token, **kept(V311)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(one.id) is None)
    for pin, value in ((0, 1.5), (1, 5), (2, "here")):
        write(hub, one, pin, value)
    await hub.devices.clear(one, one.points[1].datastream)
    await hub.devices.erase(one, [one.points[2].datastream], SYSTEM)
    async with online(hub, token, subscribed=False, **kept(V311)) as client:
        assert [("downlink/ds/Temperature", "1.5")] == await client.received()


async def test_what_waited_and_is_too_long_for_the_client_is_told_as_lost(hub, device):
    one, token = device
    async with online(hub, token, V5, **kept(V5)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(one.id) is None)
    write(hub, one, 2, "x" * 500)
    write(hub, one, 1, 5)
    small = {"properties": {Property.SESSION_EXPIRY: 600, Property.MAXIMUM_PACKET_SIZE: 200}}
    async with online(hub, token, V5, subscribed=False, **kept(V5) | small) as client:
        (topic, payload), (_, said) = await client.message(), await client.message()
        assert ("downlink/ds/Set Point", "5") == (topic, payload)
        assert said.startswith("1 messages to it were dropped")
    assert any("1 messages to it were dropped" in reason for reason in rejection_reasons(hub))


@pytest.mark.parametrize(("after", "given"), [(50, [("downlink/reboot", "")]), (61, [])])
async def test_an_order_waits_for_a_minute(hub, device, clock, after, given):
    one, token = device
    async with online(hub, token, **kept(V311)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(one.id) is None)
    hub.command(one, Reboot())
    clock.jump(after)
    async with online(hub, token, subscribed=False, **kept(V311)) as client:
        assert given == await client.received()


async def test_what_was_not_acknowledged_comes_again(hub, device, version):
    one, token = device
    async with online(hub, token, version, **kept(version)) as client:
        write(hub, one, 1, 5)
        packet = await client.until(Publish)
        assert not packet.dup
    await until(lambda: hub.sessions.get(one.id) is None)
    async with online(hub, token, version, subscribed=False, **kept(version)) as client:
        again = await client.until(Publish)
        assert (True, packet.packet_id, packet.payload) == (again.dup, again.packet_id, again.payload)


async def test_a_deleted_device_leaves_no_session(hub, device):
    one, token = device
    async with online(hub, token, **kept(V311)) as client:
        await client.disconnect()
    await until(lambda: hub.sessions.get(one.id) is None)
    await hub.devices.delete(one, SYSTEM)
    assert {} == hub.service(Endpoint).registry.clients
    assert () == hub.sessions.recipients(one)


async def test_a_device_that_comes_again_and_again_leaves_no_old_sessions(hub, device):
    one, token = device
    for _ in range(100):
        async with online(hub, token, subscribed=False, **kept(V311)) as client:
            await client.disconnect()
        await until(lambda: hub.sessions.get(one.id) is None)
    registry = hub.service(Endpoint).registry
    assert 1 == len(registry.clients)
    assert len(registry._timers._heap) <= 70  # noqa: SLF001


# -- wills ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "told"),
    [("silence", True), ("goodbye", False), ("with will", True), ("protocol", True), ("takeover", True)],
)
async def test_a_will_is_for_an_end_that_was_not_said(hub, device, ending, told):
    one, token = device
    will = Will("ds/Label", b"gone")
    async with online(hub, token, V5, will=will) as client:
        if ending == "goodbye":
            await client.disconnect()
        elif ending == "with will":
            await client.disconnect(4)
        elif ending == "protocol":
            await client.send(Publish("#"))
            await client.read_to_end()
        elif ending == "takeover":
            async with online(hub, token):
                await client.read_to_end()
    await until(lambda: hub.sessions.get(one.id) is None)
    if told:
        await until(lambda: held(hub, one, 2) == "gone")
    else:
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert held(hub, one, 2) is None


FOREIGN = ["tele/x/LWT", "homeassistant/status", "downlink/x", "downlink/diag", "ds/", "dev/x/ds/Label"]


@pytest.mark.parametrize("topic", FOREIGN)
async def test_will_to_a_foreign_topic_is_dropped(hub, device, topic):
    """Firmware with a fixed will is common, and 3.1.1 has no return code for it (§3.2.2.3)."""
    one, token = device
    async with online(hub, token, V311, will=Will(topic, b"gone")) as client:
        [(where, said)] = await client.received()
        assert "downlink/diag" == where
        assert f"its will to {topic.replace('dev/x', 'dev/…')!r}" in said
        assert said.endswith("the will is dropped")
        assert Ack(Kind.PUBACK, 2) == await client.publish("ds/Label", "here")
        assert [f"device {one.name}: {said}"] == rejection_reasons(hub)
    await until(lambda: hub.sessions.get(one.id) is None)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert "here" == held(hub, one, 2)
    assert 1 == len(rejection_reasons(hub))


@pytest.mark.parametrize("topic", FOREIGN)
async def test_will_to_a_foreign_topic_is_refused_by_its_reason_code(hub, device, topic):
    one, token = device
    async with open_connection(hub, V5) as client:
        connack = await client.login(token, will=Will(topic, b"gone"))
        assert 0x90 == connack.reason
        assert "its will to" in connack.properties[Property.REASON_STRING]
        assert [] == await client.read_to_end()
    [reason] = rejection_reasons(hub)
    assert reason.startswith(f"device {one.name}: its will to ")


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize(
    "more",
    [{"retain": True}, {"qos": 1}, {"qos": 2, "retain": True}],
    ids=str,
)
async def test_will_may_be_retained_and_of_any_qos(hub, device, version, more):
    one, token = device
    async with online(hub, token, version, will=Will("ds/Label", b"gone", **more)):
        pass
    await until(lambda: held(hub, one, 2) == "gone")
    assert [] == rejection_reasons(hub)


async def test_will_may_have_every_property(hub, device):
    one, token = device
    told = {
        Property.PAYLOAD_FORMAT: 1,
        Property.MESSAGE_EXPIRY: 60,
        Property.CONTENT_TYPE: "text/plain",
        Property.RESPONSE_TOPIC: "elsewhere/answers",
        Property.CORRELATION_DATA: b"7",
        Property.USER_PROPERTY: [("a", "b")],
    }
    async with online(hub, token, V5, will=Will("ds/Label", b"gone", properties=told)):
        pass
    await until(lambda: held(hub, one, 2) == "gone")


@pytest.mark.parametrize(
    ("version", "asked", "reason", "said"),
    [
        (V311, {"client_id": "x" * 65}, 2, "the client identifier has 65 characters; at most 64 are allowed"),
        (V5, {"client_id": "x" * 65}, 0x85, "the client identifier has 65 characters; at most 64 are allowed"),
        (V311, {"clean": False}, 2, "a persistent session (clean_session = 0) needs a client identifier"),
        (V5, {"properties": {Property.AUTHENTICATION_METHOD: "x"}}, 0x8C, "authentication methods are not supported"),
        (V5, {"properties": {Property.MAXIMUM_PACKET_SIZE: 2}}, None, "a Maximum Packet Size of 2 is too small"),
    ],
)
async def test_connect_that_asks_for_too_much_names_its_device(hub, device, version, asked, reason, said):
    one, token = device
    async with open_connection(hub, version) as client:
        connack = await client.login(token, **asked)
        assert reason == (connack and connack.reason)
        assert [] == await client.read_to_end()
    async with open_connection(hub, version) as stranger:
        await stranger.login("x" * 32, **asked)
        assert [] == await stranger.read_to_end()
    known, unknown = rejection_reasons(hub)
    assert known.startswith(f"device {one.name}: {said}")
    assert unknown.startswith(said)


async def test_the_will_of_a_device_that_was_deleted_harms_nobody(hub, device):
    other, token = await add_device(hub, TEMPLATE.replace("TMPL0mqtt", "TMPL0other").replace('"MQTT"', '"Other"'))
    async with online(hub, device[1], will=Will("ds/Temperature/erase", b"")) as client:
        await hub.devices.delete(device[0], SYSTEM)
        await client.read_to_end()
    async with online(hub, token, will=Will("ds/Label", b"gone")):
        pass
    await until(lambda: held(hub, other, 2) == "gone")
    assert "" == hub.plugins["mqtt"].problem


async def test_a_token_in_the_wrong_place_is_in_no_refusal(hub, device):
    token = device[1]
    async with open_connection(hub) as client:
        await client.login("x", username=token)
    async with online(hub, token) as client:
        await client.subscribe(f"dev/{token}/downlink/#")
        await client.publish(f"dev/{token}/ds/Temperature", 1)
        await client.send(Subscribe(3, (Subscription(f"dev/{token}/downlink#"),)))
        await client.read_to_end()
    assert 4 == len(rejection_reasons(hub))
    assert not any(token in reason for reason in rejection_reasons(hub))


async def test_a_client_with_a_small_buffer_is_answered_without_the_reason(hub, device):
    async with online(hub, device[1], V5, properties={Property.MAXIMUM_PACKET_SIZE: 64}) as client:
        answer = await client.publish("ds/Temprature", "1")
        assert (0x90, {}) == (answer.reason, answer.properties)


async def test_a_will_may_be_an_event(hub, device):
    logged = []
    hub.subscribe(EventLogged, lambda fact: logged.append(fact.event.description))
    async with online(hub, device[1], will=Will("event/hot", b"lost power")):
        pass
    await until(lambda: "lost power" in logged)


async def test_a_will_waits_and_is_forgotten_when_the_client_is_back(hub, device, clock):
    one, token = device
    will = Will("ds/Label", b"gone", properties={Property.WILL_DELAY: 30})
    async with online(hub, token, V5, will=will, **kept(V5)):
        pass
    await until(lambda: hub.sessions.get(one.id) is None)
    clock.jump(20)
    async with online(hub, token, V5, subscribed=False, **kept(V5)) as client:
        assert client.present
        clock.jump(15)
        assert [] == await client.received()
        assert held(hub, one, 2) is None
        await client.disconnect()
    async with online(hub, token, V5, will=will, **kept(V5)):
        pass
    await until(lambda: hub.sessions.get(one.id) is None)
    clock.jump(25)
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert held(hub, one, 2) is None
    clock.jump(5)
    await until(lambda: held(hub, one, 2) == "gone")


async def test_a_will_waits_no_longer_than_the_session_that_a_newer_connection_ends(hub, device, clock):
    one, token = device
    will = Will("ds/Label", b"gone", properties={Property.WILL_DELAY: 30})
    async with online(hub, token, V5, will=will, **kept(V5)), online(hub, token) as newer:
        await until(lambda: held(hub, one, 2) == "gone")
        await newer.publish("ds/Label", "here")
        clock.jump(60)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert "here" == held(hub, one, 2)


async def test_a_will_waits_no_longer_than_its_session(hub, device, clock):
    one, token = device
    will = Will("ds/Label", b"gone", properties={Property.WILL_DELAY: 3000})
    async with online(hub, token, V5, will=will, **kept(V5)):
        pass
    await until(lambda: hub.sessions.get(one.id) is None)
    clock.jump(601)
    await until(lambda: held(hub, one, 2) == "gone")


async def test_a_hub_that_stops_publishes_no_wills(hub_config):
    async with running(hub_config) as hub:
        one, token = await add_device(hub, TEMPLATE)
        async with open_connection(hub) as client:
            await client.login(token, will=Will("ds/Label", b"gone"))
            await hub.listener.drain(1)
            await until(lambda: hub.sessions.get(one.id) is None)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert held(hub, one, 2) is None


async def test_a_thousand_wills_at_once(hub, monkeypatch):
    from hub.domain.devices import NewDevice

    template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
    made = await hub.devices.add([NewDevice(name=f"D{n}", template=template) for n in range(1000)], SYSTEM)
    streams = []

    async def come(token):
        stream = await trio.open_tcp_stream(*address_of(hub))
        streams.append(stream)
        client = RawClient(stream)
        assert 0 == (await client.login(token, will=Will("ds/Label", b"gone"))).reason

    async with trio.open_nursery() as nursery:
        for _, token in made:
            nursery.start_soon(come, token)
    assert 1000 == len(hub.sessions)
    for stream in streams:
        await trio.aclose_forcefully(stream)
    await until(lambda: not len(hub.sessions))
    await until(lambda: all(held(hub, one, 2) == "gone" for one, _ in made))


# -- too much of it ---------------------------------------------------------------------------------------------------


async def test_a_device_over_its_rate_is_read_no_faster_and_told(hub_config):
    slow = parse(LOOPBACK + "[limits]\nmessages_per_second = 500\nburst = 10\n").with_data(str(hub_config.data))
    async with running(slow) as hub:
        one, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as client:
            began = trio.current_time()
            for n in range(600):
                await client.send(Publish("ds/Set Point", b"%d" % n, 1, n + 10))
            packets = []
            while sum(isinstance(packet, Ack) for packet in packets) < 600:
                packets.append(await client.next())
            assert trio.current_time() - began > 0.3
            assert 100 == held(hub, one, 1)
            said = [packet.payload.decode() for packet in packets if isinstance(packet, Publish)]
            assert ["this device sends more than 500 messages/s, and is read at that rate"] == said
        assert any("sends more than 500 messages/s" in reason for reason in rejection_reasons(hub))


async def test_a_device_that_is_not_read_is_not_called_silent(hub_config, clock, nursery):
    slow = parse(LOOPBACK + "[limits]\nmessages_per_second = 1\nburst = 1\n").with_data(str(hub_config.data))
    async with running(slow) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token, subscribed=False, keep_alive=1) as client:
            await client.send(*(Publish("ds/Set Point", b"1", 1, n) for n in range(1, 7)))
            began = trio.current_time()
            nursery.start_soon(hurry, clock)
            assert [1, 2, 3, 4, 5, 6] == [(await client.until(Ack)).packet_id for _ in range(6)]
            await client.send(Ping(Kind.PINGREQ))
            assert Ping(Kind.PINGRESP) == await client.until(Ping)
            # It was not read for longer than it may be silent.
            assert trio.current_time() - began > 3
            nursery.cancel_scope.cancel()


async def test_a_client_that_asks_and_does_not_read_is_not_read(hub, device):
    async with online(hub, device[1], subscribed=False) as client:
        [wire] = hub.listener._wires  # noqa: SLF001
        # Little room in the kernel: what does not fit there waits in the hub.
        for sock in (wire._sock, client.stream.socket):
            sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
            sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        asked = 0
        with trio.move_on_after(PATIENCE):
            while True:
                with trio.move_on_after(brief(0.5)) as stuck:
                    await client.stream.send_all(b"\xc0\0" * 32_768)
                if stuck.cancelled_caught:
                    break
                asked += 1
                assert asked < 2_000
        assert stuck.cancelled_caught
        assert wire.pending < 1024 * 1024


async def test_a_hub_without_room_reads_later(hub, device, monkeypatch):
    one, token = device
    async with online(hub, token) as client:
        monkeypatch.setattr(hub.history, "full", True)
        await client.send(Publish("ds/Temperature", b"1", 1, 5))
        with trio.move_on_after(brief(0.1)) as early:
            await client.next()
        assert early.cancelled_caught
        hub.history.full = False
        hub.history._space.unpark_all()  # noqa: SLF001
        assert Ack(Kind.PUBACK, 5) == await client.next()


async def test_a_message_that_cannot_be_kept_is_not_acknowledged(hub, device, monkeypatch):
    async def fail(*_args, **_kwargs):
        raise StorageError("disk full")

    monkeypatch.setattr(hub.timeline, "log", fail)
    async with online(hub, device[1], V5) as client:
        answer = await client.publish("event/hot")
        assert (0x80, "disk full") == (answer.reason, answer.properties[Property.REASON_STRING])
    async with online(hub, device[1]) as client:
        assert await client.publish("event/hot") is None


# -- watching ---------------------------------------------------------------------------------------------------------


async def test_an_operator_sees_what_is_said(hub, device):
    seen = []
    hub.subscribe(WireFrame, lambda fact: seen.append((fact.direction, fact.text)))
    async with online(hub, device[1]) as client:
        await client.publish("ds/Temperature", "1")
        write(hub, device[0], 1, 5)
        await client.received()
    assert [
        ("in", "SUBSCRIBE downlink/#"),
        ("in", "PUBLISH ds/Temperature 1"),
        ("out", "PUBLISH downlink/ds/Set Point 5"),
    ] == seen


async def test_ping_and_reconfigure_over_the_api(hub, device):
    one, token = device
    key = local_key(hub)
    async with online(hub, token) as client, connected(hub) as http:
        body = {"deviceId": one.id}
        assert 204 == (await http.ask("POST", "/api/v1/device/reconfigure", body, key)).status
        assert ("downlink/reconfigure", "") == await client.message()
        async with trio.open_nursery() as nursery:

            async def ask():
                answer = await http.ask("POST", "/api/v1/device/ping", body, key)
                assert 200 == answer.status
                assert 0 <= answer.json["ms"] < 5000

            nursery.start_soon(ask)
            assert ("downlink/ping", "") == await client.message()


# -- over WebSockets --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def websocket(hub, **more):
    host, port = address_of(hub)
    async with connect(f"ws://{host}:{port}/mqtt", subprotocols=["mqtt"], **more) as socket:
        yield socket


async def test_a_packet_may_span_messages_and_a_message_packets(hub, device):
    hello = encode(Connect(username="device", password=device[1].encode()), V311)
    async with websocket(hub) as socket:
        assert "mqtt" == socket.subprotocol
        for half in (hello[:9], hello[9:]):
            await socket.send(half)
        assert b"\x20\2\0\0" == await socket.recv()
        await socket.send(encode(Publish("ds/Temperature", b"4", 1, 1), V311) + encode(Ping(Kind.PINGREQ), V311))
        assert b"\xd0\0\x40\2\0\1" == await socket.recv() + (await socket.recv())
    assert 4.0 == held(hub, device[0], 0)


async def test_text_is_not_mqtt(hub):
    async with websocket(hub) as socket:
        await socket.send("text")
        with pytest.raises(ConnectionClosed), trio.fail_after(PATIENCE):
            await socket.recv()


async def test_a_hub_that_stops_publishes_no_wills_of_websockets(hub_config):
    async with running(hub_config) as hub:
        one, token = await add_device(hub, TEMPLATE)
        async with websocket(hub) as socket:
            will = Will("ds/Label", b"gone")
            await socket.send(encode(Connect(username="device", password=token.encode(), will=will), V311))
            await socket.recv()
            await hub.listener.drain(1)
            await until(lambda: hub.sessions.get(one.id) is None)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert held(hub, one, 2) is None


async def test_tasks_of_the_simulated_client_that_send_at_once_take_turns():
    ours, theirs = trio.testing.lockstep_stream_pair()
    client, heard = MqttClient(ours), Decoder(version=V311)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(client.publish, "ds/Label", b"x" * 500)
            nursery.start_soon(client.ping)
        await trio.testing.wait_all_tasks_blocked()
        packets = []
        with trio.fail_after(PATIENCE):
            while len(packets) < 6:
                packets += heard.receive(bytes(await theirs.receive_some(7)))
        nursery.cancel_scope.cancel()

    assert [3, 3] == [sum(isinstance(packet, cls) for packet in packets) for cls in (Publish, Ping)]
