"""The live stream, by the websockets library's own client."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager

import pytest
import trio
from support.raw_http import PATIENCE, HttpConnection, ask, local_key
from trio.testing import wait_all_tasks_blocked
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.trio.client import connect

from connectors.native import client
from hub.facts import DeviceConnected, DeviceDisconnected, Refused, ValueWritten, WireFrame
from hub.model import SYSTEM
from hub.testing import LOOPBACK, add_device, address_of
from hub.writes import Write
from plugins.platform_api import feeds, stream

METER = """
[template]
id = "TMPL0meter"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Power"
type = "integer"
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
[[datastream]]
pin = "V2"
name = "With default"
type = "integer"
default = 17
[[event]]
code = "full"
name = "Full"
[lifecycle]
wait = "0s"
"""
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
TOKEN = "0123456789abcdef0123456789abcdef"


class Client:
    """A connected client, in JSON."""

    def __init__(self, socket):
        self.socket = socket

    async def say(self, **message):
        await self.socket.send(json.dumps(message))

    async def hear(self):
        """The next message, without its number."""
        with trio.fail_after(PATIENCE):
            message = json.loads(await self.socket.recv())
        self.seq = message.pop("seq", None)
        return message

    async def subscribe(self, number, what, **more):
        """Subscribe; returns the snapshot."""
        await self.say(id=number, subscribe=what, **more)
        return await self.hear()

    async def nothing_came(self):
        """Whether nothing came: the answer to a question is the next thing heard."""
        await self.say(id="mark", subscribe="nonsense")
        return (await self.hear())["id"] == "mark"


@asynccontextmanager
async def watching(hub):
    host, port = address_of(hub)
    headers = {"Authorization": f"Bearer {local_key(hub)}"}
    async with connect(f"ws://{host}:{port}/api/v1/stream", additional_headers=headers, proxy=None) as socket:
        yield Client(socket)


@asynccontextmanager
async def deaf(hub):
    """A client that reads nothing but the answer to its upgrade."""
    with trio.socket.socket() as sock:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        await sock.connect(address_of(hub))
        http = HttpConnection(trio.SocketStream(sock))
        assert 101 == (await http.ask("GET", "/api/v1/stream", key=local_key(hub), **UPGRADE)).status
        yield http


def text(**message):
    """A message as bytes."""
    return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)


@pytest.fixture
async def watcher(hub):
    async with watching(hub) as watcher:
        yield watcher


@pytest.fixture
async def meter(hub):
    """A device and its token."""
    return await add_device(hub, METER, "Meter")


@pytest.fixture
def device(meter):
    return meter[0]


@pytest.fixture
def write(hub):
    """Write values to a pin of a device, one after the other without anything in between."""

    def write(device, pin, *values, at=None):
        for value in values:
            hub.write(Write(device, pin, value, "test", SYSTEM, at))

    return write


def pending(hub):
    """Most bytes that wait for any client."""
    return max(wire.pending for wire in hub.listener._wires)


# -- subscribing ------------------------------------------------------------------------------------------------------


async def test_a_subscription_to_a_device_begins_with_what_it_holds(device, watcher, write):
    write(device, 0, 5)

    assert {
        "id": 1,
        "subscribed": "device",
        "device": device.id,
        "online": False,
        "status": "Offline",
        "values": {"v0": 5, "v2": 17},
    } == await watcher.subscribe(1, "device", device=device.id)


@pytest.mark.parametrize("named", ["device", "devices"])
async def test_device_id_of_a_subscription_may_have_a_point(device, watcher, write, named):
    """RFC 8259 §6: JSON has one kind of number."""
    ids = float(device.id)
    confirmed = await watcher.subscribe(1, named, **{named: ids if named == "device" else [ids]}, after=0.0)
    assert named == confirmed.get("subscribed"), confirmed
    write(device, 0, 5)
    assert {"v0": 5} == (await watcher.hear())["values"]


@pytest.mark.parametrize("what", ["devices", "refused"])
async def test_a_subscription_to_everything_is_confirmed(watcher, what):
    assert {"id": "a", "subscribed": what} == await watcher.subscribe("a", what)


async def test_a_value_is_told_with_its_stamp(hub, device, watcher, write):
    await watcher.subscribe(1, "device", device=device.id)
    write(device, 1, "é")

    ts, value = hub.writes.latest(device, device.points[1].datastream)
    assert {"id": 1, "device": device.id, "values": {"v1": value}, "ts": ts} == await watcher.hear()


async def test_a_value_is_told_whichever_way_it_came(hub, meter, watcher):
    await watcher.subscribe(1, "device", device=meter[0].id)

    assert 200 == (await ask(hub, "GET", f"/external/api/update?token={meter[1]}&v0=1")).status
    assert {"v0": 1} == (await watcher.hear())["values"]
    async with client.connect(*address_of(hub), meter[1]) as board:
        assert True is (await watcher.hear())["online"]
        await board.write(1, "hello")
        assert {"v1": "hello"} == (await watcher.hear())["values"]


async def test_only_what_was_asked_for_is_told(hub, device, watcher, write):
    other, _ = await add_device(hub, METER.replace("Meter", "Other").replace("0meter", "0other"), "Other")
    await watcher.subscribe(1, "device", device=device.id)
    write(other, 0, 1)
    assert await watcher.nothing_came()

    await watcher.subscribe(2, "devices")
    write(other, 0, 2)
    told = await watcher.hear()
    assert (2, other.id, {"v0": 2}) == (told["id"], told["device"], told["values"])


async def test_two_subscriptions_are_told_each(device, watcher, write):
    await watcher.subscribe(1, "device", device=device.id)
    await watcher.subscribe(2, "devices")
    write(device, 0, 1)

    assert {1, 2} == {(await watcher.hear())["id"], (await watcher.hear())["id"]}


async def test_two_clients_are_told_each(hub, device, watcher, write):
    async with watching(hub) as other:
        for one in watcher, other:
            await one.subscribe(1, "devices")
        write(device, 0, 1)
        assert {"v0": 1} == (await watcher.hear())["values"] == (await other.hear())["values"]


async def test_after_unsubscribing_nothing_is_told(device, watcher, write):
    await watcher.subscribe(1, "device", device=device.id)
    await watcher.say(id=1, unsubscribe=True)
    assert await watcher.nothing_came()
    write(device, 0, 1)

    assert await watcher.nothing_came()
    assert 1 == (await watcher.subscribe(1, "device", device=device.id))["values"]["v0"]


async def test_a_client_that_goes_away_leaves_nothing_behind(hub, device, monkeypatch):
    monkeypatch.setattr(feeds, "LINGER", -1.0)
    facts = ValueWritten, DeviceConnected, DeviceDisconnected, Refused, WireFrame
    before = [hub.bus.wants(fact) for fact in facts]
    connections = hub.listener.connections
    async with watching(hub) as watcher:
        for number, what in enumerate(["device", "devices", "refused", "wire"]):
            await watcher.subscribe(number, what, device=device.id)
        assert all(hub.bus.wants(fact) for fact in facts)
    with trio.fail_after(PATIENCE):
        while hub.listener.connections > connections:
            await trio.sleep(0.01)

    assert before == [hub.bus.wants(fact) for fact in facts]
    assert not hub.bus.wants_value(device.id)


async def test_the_stop_of_the_hub_ends_the_stream(hub, watcher):
    await watcher.subscribe(1, "devices")
    with trio.CancelScope(shield=True):
        await hub.listener.drain(1)

    with pytest.raises(ConnectionClosed), trio.fail_after(PATIENCE):
        await watcher.socket.recv()


# -- coalescing -------------------------------------------------------------------------------------------------------


async def test_the_first_change_comes_at_once_and_then_the_newest(device, watcher, write):
    await watcher.subscribe(1, "device", device=device.id)
    write(device, 0, 1)
    assert {"v0": 1} == (await watcher.hear())["values"]
    write(device, 0, 2, 3, 4)

    assert {"v0": 4} == (await watcher.hear())["values"]
    assert await watcher.nothing_came()


async def test_a_further_change_waits_for_its_time(device, watcher, write, monkeypatch):
    monkeypatch.setattr(feeds, "MIN_GAP", 60.0)
    await watcher.subscribe(1, "devices")
    write(device, 0, 1)
    assert {"v0": 1} == (await watcher.hear())["values"]
    write(device, 0, 2)
    assert await watcher.nothing_came()

    # Another value has its own time.
    write(device, 1, "a")
    assert {"v1": "a"} == (await watcher.hear())["values"]


async def test_changes_of_one_moment_come_in_one_message(device, watcher, write):
    await watcher.subscribe(1, "device", device=device.id)
    write(device, 0, 1, 2)
    write(device, 1, "a", "b")

    assert {"v0": 2, "v1": "b"} == (await watcher.hear())["values"]


async def test_with_every_all_changes_come(device, watcher, write):
    await watcher.subscribe(1, "device", device=device.id, every=True)
    write(device, 0, *range(100))

    assert [{"v0": n} for n in range(100)] == [(await watcher.hear())["values"] for _ in range(100)]


async def test_a_value_with_an_old_stamp_comes_only_with_every(hub, device, watcher, write):
    write(device, 0, 1)
    old = hub.clock.now() - 60_000
    await watcher.subscribe(1, "devices")
    write(device, 0, 2, at=old)
    assert await watcher.nothing_came()

    await watcher.subscribe(2, "devices", every=True)
    write(device, 0, 3, at=old)
    assert {"id": 2, "device": device.id, "values": {"v0": 3}, "ts": old} == await watcher.hear()


async def test_a_client_that_lags_is_told_how_much_it_missed(device, watcher, write, monkeypatch):
    monkeypatch.setattr(feeds, "MAX_QUEUED", 5)
    await watcher.subscribe(1, "device", device=device.id, every=True)
    write(device, 0, *range(12))

    assert {"id": 1, "lagged": 7} == await watcher.hear()
    assert [{"v0": n} for n in range(7, 12)] == [(await watcher.hear())["values"] for _ in range(5)]
    write(device, 0, 12)
    assert {"v0": 12} == (await watcher.hear())["values"]


# -- what else happens ------------------------------------------------------------------------------------------------


async def test_online_and_offline_are_told(hub, meter, watcher):
    device, token = meter
    await watcher.subscribe(1, "device", device=device.id)
    async with client.connect(*address_of(hub), token):
        told = await watcher.hear()
        assert {"id": 1, "device": device.id, "online": True, "status": "Online", "ts": device.status_at} == told
        assert True is (await watcher.subscribe(2, "device", device=device.id))["online"]
        await watcher.say(id=2, unsubscribe=True)
    told = await watcher.hear()
    assert {"id": 1, "device": device.id, "online": False, "status": "Offline", "ts": device.status_at} == told


async def test_who_is_turned_away_is_told_without_the_token(hub, watcher):
    await watcher.subscribe(1, "refused")
    await ask(hub, "GET", f"/external/api/get?token={TOKEN}&v0")

    told = await watcher.hear()
    assert {"id", "refused"} == set(told)
    assert ("127.0.0.1", None) == (told["refused"]["address"], told["refused"]["device"])
    assert told["refused"]["reason"]
    assert TOKEN not in json.dumps(told)


async def test_the_wire_is_told_frame_by_frame_without_the_token(hub, meter, watcher):
    device, token = meter
    await watcher.subscribe(1, "wire", device=device.id)
    async with client.connect(*address_of(hub), token, info={"h-beat": "45"}) as board:
        await board.write(0, "7")
        await board.send(17, "meta", "get", "Auth Token")
        frames = [await watcher.hear()]
        while "Auth Token" not in frames[-1]["wire"]["text"] or frames[-1]["wire"]["direction"] == "in":
            frames.append(await watcher.hear())

    told = [(frame["wire"]["direction"], frame["wire"]["text"]) for frame in frames]
    assert ("in", "HARDWARE #3 vw 0 7") in told
    assert ("out", "RESPONSE #2 200") in told
    assert ("out", "INTERNAL #4 meta Auth Token …") == told[-1]
    assert token not in json.dumps(frames)


async def test_the_wire_of_another_device_is_not_told(hub, meter, watcher):
    other, _ = await add_device(hub, METER.replace("Meter", "Other").replace("0meter", "0other"), "Other")
    await watcher.subscribe(1, "wire", device=other.id)
    async with client.connect(*address_of(hub), meter[1], info={"h-beat": "45"}):
        pass

    assert await watcher.nothing_came()


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "number", "said"),
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
async def test_a_mistake_is_answered_and_the_stream_goes_on(hub, device, watcher, write, message, number, said):
    await watcher.subscribe("before", "devices")
    await watcher.socket.send(message)

    answer = await watcher.hear()
    assert {"id", "error"} == set(answer)
    assert (number, True) == (answer["id"], answer["error"]["message"].startswith(said))
    write(device, 0, 1)
    assert "before" == (await watcher.hear())["id"]


async def test_an_id_is_used_once(watcher):
    await watcher.subscribe(1, "devices")

    assert {
        "id": 1,
        "error": {"message": "The id 1 is in use; unsubscribe it first, or use another id."},
    } == await watcher.subscribe(1, "refused")


async def test_there_are_so_many_subscriptions_and_no_more(watcher, monkeypatch):
    monkeypatch.setattr(stream, "MAX_SUBSCRIPTIONS", 2)
    await watcher.subscribe(1, "devices")
    await watcher.subscribe(2, "refused")

    assert "error" in await watcher.subscribe(3, "devices")
    await watcher.say(id=2, unsubscribe=True)
    assert "subscribed" in await watcher.subscribe(3, "devices")


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_without_the_key_there_is_no_stream(hub, key):
    answer = await ask(hub, "GET", "/api/v1/stream", key=key, **UPGRADE)

    assert 401 == answer.status
    assert answer.message


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\nconnections_per_address = 2\n"], ids=["few"])
async def test_people_with_the_key_do_not_count_as_strangers(hub):
    async with watching(hub) as one, watching(hub) as two, watching(hub) as three:
        for watcher in one, two, three:
            assert {"id": 1, "subscribed": "devices"} == await watcher.subscribe(1, "devices")


async def test_a_401_names_the_scheme(hub):
    answer = await ask(hub, "GET", "/api/v1/stream", **UPGRADE)

    assert "Bearer" == answer.headers.get("www-authenticate")


async def test_a_stream_that_is_not_there_is_not_found(hub):
    assert 404 == (await ask(hub, "GET", "/api/v1/nonsense", key=local_key(hub), **UPGRADE)).status


async def test_a_stream_is_no_page(hub):
    assert 400 <= (await ask(hub, "GET", "/api/v1/stream", key=local_key(hub))).status < 500


# -- clients that do not read -----------------------------------------------------------------------------------------


async def test_a_client_that_never_reads_is_kept_little_for_and_disturbs_nobody(
    hub, device, watcher, write, monkeypatch
):
    monkeypatch.setattr(stream, "MAX_DEFERRED", 100)
    fact = Refused(0, "127.0.0.1", "x" * 1000)
    async with deaf(hub) as http:
        for number in range(5):
            await http.send(text(id=number, subscribe="refused"))
        await wait_all_tasks_blocked()
        for _ in range(60):
            for _ in range(100):
                hub.emit(fact)
            await wait_all_tasks_blocked()

        # What was sent before it was seen that the client does not read, and a turn of every subscription.
        assert 0 < pending(hub) < stream.MAX_PENDING + 5 * 100 * 1100
        await watcher.subscribe(1, "device", device=device.id)
        write(device, 0, 1)
        assert {"v0": 1} == (await watcher.hear())["values"]


async def test_a_client_that_asks_and_never_reads_is_not_read_either(hub, device, write):
    write(device, 1, "x" * 1000)
    asking = text(id=1, subscribe="device", device=device.id) + text(id=1, unsubscribe=True)
    async with deaf(hub) as http, trio.open_nursery() as nursery:
        nursery.start_soon(http.send, asking * 6000)
        await wait_all_tasks_blocked(0.05)

        assert pending(hub) < 1024 * 1024
        nursery.cancel_scope.cancel()


# -- coming back ------------------------------------------------------------------------------------------------------


async def test_who_comes_back_hears_what_came_meanwhile(hub, device, watcher, write):
    await watcher.subscribe(1, "device", device=device.id)
    write(device, 0, 1)
    await watcher.hear()
    async with watching(hub) as other:
        await other.subscribe(1, "device", device=device.id)
    async with watching(hub) as lost:
        await lost.subscribe(1, "device", device=device.id)
        write(device, 0, 2)
        assert {"v0": 2} == (await lost.hear())["values"]
        seq = lost.seq
    write(device, 0, 3)
    assert {"v0": 2} == (await watcher.hear())["values"]
    assert {"v0": 3} == (await watcher.hear())["values"]
    async with watching(hub) as back:
        snapshot = await back.subscribe(1, "device", device=device.id, after=seq)
        assert snapshot["resumed"]
        assert {"v0": 3} == (await back.hear())["values"]
        assert back.seq > seq
        write(device, 0, 4)
        assert {"v0": 4} == (await back.hear())["values"]


@pytest.mark.parametrize("after", [0, 10**15, "newest + 1"])
async def test_what_is_not_known_any_more_is_said_to_be_lost(device, watcher, write, after):
    await watcher.subscribe(1, "device", device=device.id)
    write(device, 0, 7)
    await watcher.hear()
    number = watcher.seq + 1 if isinstance(after, str) else after
    snapshot = await watcher.subscribe(2, "device", device=device.id, after=number)
    assert (False, 7) == (snapshot["resumed"], snapshot["values"]["v0"])
    assert await watcher.nothing_came()


async def test_after_a_while_nothing_is_kept_for_those_who_left(hub, device, write, monkeypatch):
    monkeypatch.setattr(feeds, "LINGER", -1.0)
    async with watching(hub) as first:
        await first.subscribe(1, "device", device=device.id)
        write(device, 0, 1)
        await first.hear()
    with trio.fail_after(PATIENCE):
        while hub.service(feeds.Feeds)._feeds:
            await trio.sleep(0.01)
    async with watching(hub) as back:
        assert not (await back.subscribe(1, "device", device=device.id, after=first.seq))["resumed"]


async def test_numbers_go_up_also_over_a_restart_of_the_feed(hub, device, write, monkeypatch):
    monkeypatch.setattr(feeds, "LINGER", -1.0)
    seen = []
    for value in range(3):
        async with watching(hub) as one:
            await one.subscribe(1, "device", device=device.id)
            write(device, 0, value)
            await one.hear()
            seen.append(one.seq)
    assert sorted(set(seen)) == seen


# -- more to hear -----------------------------------------------------------------------------------------------------


async def test_properties_are_told_as_they_are_set_and_erased(hub, device, watcher):
    await watcher.subscribe(1, "device", device=device.id)
    await hub.properties.set(device, [0], {"label": ["Power"]})
    assert {"v0": {"label": ["Power"]}} == (await watcher.hear())["properties"]
    await hub.properties.erase(device, 0)
    assert {"v0": {"label": []}} == (await watcher.hear())["properties"]


async def test_some_devices_are_watched_in_one_subscription(hub, device, watcher, write):
    others = [(await add_device(hub, METER, f"Meter {n}"))[0] for n in range(2)]
    await watcher.subscribe(1, "devices", devices=[device.id, others[1].id, 999])
    for one in (others[0], others[1], device):
        write(one, 0, one.id)
    heard = [await watcher.hear() for _ in range(2)]
    assert {device.id, others[1].id} == {message["device"] for message in heard}
    assert await watcher.nothing_came()


async def test_events_of_some_devices_are_told_and_of_no_others(hub, device, watcher):
    others = [(await add_device(hub, METER, f"Meter {n}"))[0] for n in range(2)]
    await watcher.subscribe(1, "events", devices=[device.id, others[1].id])
    for one in (others[0], others[1], device):
        await hub.timeline.log(one, "sys_ota", "OTA started")
    heard = [await watcher.hear() for _ in range(2)]
    assert [others[1].id, device.id] == [message["device"] for message in heard]
    assert {"OTA started"} == {message["event"]["description"] for message in heard}
    assert await watcher.nothing_came()


async def test_who_comes_back_hears_the_events_of_their_devices_only(hub, device, watcher):
    other, _ = await add_device(hub, METER, "Other")
    await watcher.subscribe(1, "events", devices=[device.id])
    await hub.timeline.log(device, "sys_ota", "first")
    await watcher.hear()
    seq = watcher.seq
    for one, code, said in ((other, "sys_ota", "not ours"), (device, "full", "second")):
        await hub.timeline.log(one, code, said)
    async with watching(hub) as again:
        assert (await again.subscribe(1, "events", devices=[device.id], after=seq))["resumed"]
        assert "second" == (await again.hear())["event"]["description"]
        assert await again.nothing_came()


async def test_changes_and_alarms_are_told(hub, device, watcher):
    assert [] == (await watcher.subscribe(1, "alarms"))["alarms"]
    await watcher.subscribe(2, "audit")
    hub.alarms.set("frost", "it freezes")
    assert {"id": "frost", "text": "it freezes", "critical": False} == (await watcher.hear())["alarm"]
    hub.alarms.set("frost", None)
    assert {"id": "frost", "cleared": True} == (await watcher.hear())["alarm"]
    target = f"/api/v1/organization/device?deviceId={device.id}"
    assert 200 == (await ask(hub, "PUT", target, {"name": "New"}, key=local_key(hub))).status
    change = (await watcher.hear())["change"]
    assert ("Rename a device", f"device {device.id}", "New") == (
        change["action"],
        change["subject"],
        change["details"]["name"],
    )


async def test_a_slow_client_gets_the_newest_of_each_value_when_it_reads_again(hub, write):
    devices = [(await add_device(hub, METER, f"Meter {n}"))[0] for n in range(50)]
    async with deaf(hub) as http:
        await http.send(text(id=1, subscribe="devices"))
        for number in range(400):
            for one in devices:
                write(one, 1, f"{number} " + "x" * 1000)
            await trio.sleep(0.001)
        newest = {}
        with trio.fail_after(PATIENCE):
            while len(newest) < 50 or any(not value.startswith("399 ") for value in newest.values()):
                message = await frame(http)
                if "device" in message:
                    newest[message["device"]] = message["values"]["v1"]
    assert {one.id for one in devices} == set(newest)


async def frame(http):
    """The next message of a client that reads frame by frame."""
    head = await http._exactly(2)
    size = head[1]
    if size == 126:
        size = int.from_bytes(await http._exactly(2))
    elif size == 127:
        size = int.from_bytes(await http._exactly(8))
    return json.loads(await http._exactly(size))


async def test_many_who_watch_the_same_hear_the_same(hub, device, write):
    async with watching(hub) as one, watching(hub) as two, watching(hub) as three:
        await one.subscribe(1, "devices")
        await two.subscribe(1, "devices")
        await three.subscribe("mine", "devices")
        write(device, 0, 5)
        heard = [await client.hear() for client in (one, two, three)]
    assert [1, 1, "mine"] == [message.pop("id") for message in heard]
    assert heard[0] == heard[1] == heard[2]
    assert one.seq == two.seq == three.seq


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"subscribe": "devices", "devices": "all"}, "a list of at most"),
        ({"subscribe": "devices", "devices": ["1"]}, "a list of at most"),
        ({"subscribe": "devices", "devices": list(range(10_001))}, "a list of at most"),
        ({"subscribe": "devices", "after": "x"}, "after must be"),
        ({"subscribe": "devices", "after": True}, "after must be"),
        ({"subscribe": ["devices"]}, "subscribe must be one of"),
    ],
)
async def test_more_that_makes_no_sense_is_answered(watcher, message, said):
    await watcher.say(id=1, **message)
    assert said in (await watcher.hear())["error"]["message"]


async def test_firmware_asks_whether_an_app_watches_its_device(hub, meter, watcher):
    async def asked():
        return (await ask(hub, "GET", f"/external/api/isAppConnected?token={meter[1]}")).text

    assert "false" == await asked()
    await watcher.subscribe(1, "device", device=meter[0].id)
    assert "true" == await asked()
    await watcher.say(id=1, unsubscribe=True)
    assert await watcher.nothing_came()
    assert "false" == await asked()


# -- at once, or gathered ---------------------------------------------------------------------------------------------


async def written(hub, device, count, listener):
    """Write values one after the other, with time to tell each before the next."""
    told = hub.service(feeds.Feeds)
    feed = told.subscribe(feeds.FeedKey("devices", None, every=True), None, listener)
    for number in range(count):
        hub.write(Write(device, 0, str(number), "test", SYSTEM))
        for _ in range(5):
            await trio.lowlevel.checkpoint()
    told.unsubscribe(feed, listener)


async def test_each_value_is_told_at_once_while_that_costs_little(hub, device):
    batches = []
    await written(hub, device, 100, batches.append)
    assert [1] * 100 == [len(batch.messages) for batch in batches]


async def test_values_are_gathered_while_telling_each_costs_much(hub, device):
    batches = []

    def tell(batch):
        batches.append(batch)
        began = time.thread_time()
        while time.thread_time() - began < 2 * feeds.CPU_BURST:
            pass

    await written(hub, device, 100, tell)
    # The burst, and perhaps one after the pause that it costs.
    assert len(batches) <= 3


async def test_how_long_values_are_gathered_is_bounded(autojump_clock):
    budget = feeds._CpuBudget()
    for _ in range(10):
        budget.charge(60.0)
    assert 0 < budget.resume_at - trio.current_time() <= feeds.MAX_DELAY + 0.001
    await trio.sleep(10)
    budget.charge(feeds.CPU_BURST / 2)
    assert budget.resume_at <= trio.current_time()
