"""The asyncio client's live stream: it is connected again after a loss, and resumed without loss or doubling."""

from __future__ import annotations

import asyncio

import pytest
from support.patience import patient
from support.raw_http import local_key
from support.relay import open_relay
from support.times import until

from client import aio, operations
from client.aio import AsyncRemote, Connected, Disconnected
from hub.errors import Forbidden, NotAuthenticated, NotFound
from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device
from hub.writes import Write
from plugins.users.passwords import blynk_hash
from plugins.users.service import UsersService

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
TEMPLATE = """
[template]
id = "TMPL0stream"
name = "Stream"
[[datastream]]
pin = "V0"
name = "Value"
type = "double"
"""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(aio, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(aio, "LONGEST_PAUSE", 0.05)


@pytest.fixture
async def remote(relay, hub, loop):
    """A client of the hub, by way of the relay, with the local key."""
    remote = AsyncRemote(relay.url, local_key(hub))
    yield remote
    await loop.run(remote.aclose)


@pytest.fixture
async def device(hub):
    device, _ = await add_device(hub, TEMPLATE)
    return device


@pytest.fixture
async def open_stream(loop):
    """A function that opens a stream of a client; it is closed at the end."""
    streams = []

    def open_stream(remote, *subscriptions, **options):
        streams.append(StreamReader(loop, remote.stream(*subscriptions, **options)))
        return streams[-1]

    yield open_stream
    for reader in streams:
        await loop.run(reader.stream.aclose)


class StreamReader:
    """Reads a stream from trio."""

    def __init__(self, loop, stream):
        self.stream = stream
        self._loop = loop

    async def next(self):
        return await self._loop.run(self.stream.__anext__)

    async def next_of(self, kind):
        """The next item of a class."""
        while not isinstance(item := await self.next(), kind):
            pass
        return item

    async def next_value(self):
        """The value of V0 in the next message that has it and is no snapshot."""
        while "seq" not in (message := await self.next_of(dict)) or "values" not in message:
            pass
        return message["values"]["v0"]

    async def subscribe(self, **request):
        return await self._loop.run(self.stream.subscribe, request)

    async def unsubscribe(self, number):
        await self._loop.run(self.stream.unsubscribe, number)


async def write(hub, device, *values):
    for value in values:
        await hub.write(Write(device, 0, value, "test", SYSTEM)).durable()


async def test_stream_begins_with_the_snapshots_of_its_subscriptions(hub, device, remote, open_stream):
    await write(hub, device, 1.5)
    reader = open_stream(remote, {"subscribe": "device", "device": device.id}, {"subscribe": "alarms"})
    assert Connected() == await reader.next()
    first, second = await reader.next(), await reader.next()
    assert {"id": 1, "subscribed": "device", "values": {"v0": 1.5}}.items() <= first.items()
    assert "resumed" not in first
    assert {"id": 2, "subscribed": "alarms", "alarms": []} == second
    await write(hub, device, 2.5)
    assert 2.5 == await reader.next_value()


async def test_lost_connection_is_resumed_without_loss_or_doubling(hub, device, relay, remote, open_stream):
    reader = open_stream(remote, {"subscribe": "device", "device": device.id, "every": True})
    await reader.next_of(dict)
    items = []

    async def read_until(value):
        while not any(isinstance(item, dict) and "seq" in item and item["values"] == {"v0": value} for item in items):
            items.append(await reader.next())

    for number in range(0, 40, 8):
        # Some are on their way to the client, or only in its buffers, when the connection is lost.
        await write(hub, device, *map(float, range(number, number + 4)))
        await read_until(float(number))
        relay.cut()
        await write(hub, device, *map(float, range(number + 4, number + 8)))
    await write(hub, device, 40.0)
    await read_until(40.0)
    assert list(range(41)) == [item["values"]["v0"] for item in items if isinstance(item, dict) and "seq" in item]
    losses = [item for item in items if isinstance(item, Disconnected)]
    assert 5 == len(losses)
    assert all("the connection to the hub was lost" in loss.reason and 0 < loss.retry_in <= 0.05 for loss in losses)
    assert [True] * 5 == [item["resumed"] for item in items if isinstance(item, dict) and "resumed" in item]
    assert 5 == items.count(Connected())


async def test_restart_of_the_hub_is_not_resumed_and_a_snapshot_follows(hub_config, loop, open_stream):
    async with open_relay() as relay:
        async with running(hub_config) as hub:
            relay.lead_to(hub)
            device, _ = await add_device(hub, TEMPLATE)
            remote = AsyncRemote(relay.url, local_key(hub))
            reader = open_stream(remote, {"subscribe": "device", "device": device.id}, {"subscribe": "events"})
            assert [Connected(), 1, 2] == [await reader.next(), *[(await reader.next())["id"] for _ in range(2)]]
            await write(hub, device, 1.5)
            assert 1.5 == await reader.next_value()
        relay.lead_to(None)
        await reader.next_of(Disconnected)
        # The hub does not answer for some attempts.
        assert "does not answer" in (await reader.next_of(Disconnected)).reason
        async with running(hub_config) as hub:
            await write(hub, hub.devices.by_id[device.id], 2.5)
            relay.lead_to(hub)
            await reader.next_of(Connected)
            confirmations = [await reader.next(), await reader.next()]
            assert [(1, False), (2, False)] == [(message["id"], message["resumed"]) for message in confirmations]
            assert {"v0": 2.5} == confirmations[0]["values"]
            await write(hub, hub.devices.by_id[device.id], 3.5)
            assert 3.5 == await reader.next_value()
        await loop.run(remote.aclose)


async def test_subscription_without_a_message_says_that_it_was_not_resumed(relay, device, remote, open_stream):
    reader = open_stream(remote, {"subscribe": "events"})
    await reader.next_of(dict)
    relay.cut()
    await reader.next_of(Connected)
    assert {"id": 1, "subscribed": "events", "resumed": False} == await reader.next()


async def test_hub_that_stops_answering_is_lost(hub, device, relay, remote, open_stream):
    reader = open_stream(remote, {"subscribe": "device", "device": device.id}, silence=patient(0.5))
    await reader.next_of(dict)
    relay.stall()
    assert "lost" in (await reader.next_of(Disconnected)).reason
    relay.flow()
    relay.cut()
    await reader.next_of(Connected)
    await reader.next_of(dict)
    await write(hub, device, 7.5)
    assert 7.5 == await reader.next_value()


async def test_subscriptions_are_added_and_ended_while_it_runs(hub, device, relay, remote, open_stream):
    other, _ = await add_device(hub, TEMPLATE)
    reader = open_stream(remote)
    # Before the first connection, too.
    first = await reader.subscribe(subscribe="device", device=device.id)
    await reader.next_of(Connected)
    assert first == (await reader.next())["id"]
    second = await reader.subscribe(subscribe="device", device=other.id)
    assert (second, other.id) == ((message := await reader.next())["id"], message["device"])
    await reader.unsubscribe(first)
    relay.cut()
    await reader.next_of(Connected)
    assert second == (await reader.next())["id"]
    await write(hub, device, 1.5)
    await write(hub, other, 2.5)
    assert 2.5 == await reader.next_value()


async def test_rejected_subscription_is_reported_and_not_repeated(device, relay, remote, open_stream):
    reader = open_stream(remote, {"subscribe": "device", "device": 99}, {"subscribe": "alarms"})
    await reader.next_of(Connected)
    error = await reader.next()
    assert (1, True) == (error["id"], error["error"]["message"].startswith("Device with identifier 99"))
    assert "alarms" == (await reader.next())["subscribed"]
    relay.cut()
    await reader.next_of(Connected)
    assert 2 == (await reader.next())["id"]


async def test_expired_token_is_refreshed_for_the_next_connection(hub_config, time, loop, open_stream):
    async with running(hub_config, clock=time.clock()) as hub, open_relay() as relay:
        relay.lead_to(hub)
        await hub.service(UsersService).add_first_administrator(EMAIL, "Ada", blynk_hash(EMAIL, PASSWORD))
        remote = AsyncRemote(relay.url)
        login = await loop.run(remote.login, EMAIL, PASSWORD)
        reader = open_stream(remote, {"subscribe": "alarms"})
        await reader.next_of(dict)
        time.pass_(login["expires_in"] * 1000 + 1)
        relay.cut()
        await reader.next_of(Connected)
        assert login["access_token"] != remote.token
        # The session is over.
        await loop.run(remote, operations.post_logout())
        relay.cut()
        with pytest.raises(NotAuthenticated):
            await reader.next_of(Connected)
        await loop.run(remote.aclose)


async def test_rejected_connection_raises_the_error_of_its_status(hub, relay, remote, open_stream, loop, monkeypatch):
    stranger = AsyncRemote(relay.url, "nobody's")
    with pytest.raises(NotAuthenticated, match="status 401"):
        await open_stream(stranger, {"subscribe": "events"}).next()
    service = hub.service(UsersService)
    await service.add_first_administrator(EMAIL, "Ada", blynk_hash(EMAIL, PASSWORD))
    await loop.run(stranger.login, EMAIL, PASSWORD)
    key = await loop.run(stranger, operations.post_key(name="k", scopes=["users.view"]))
    await loop.run(stranger.aclose)
    with pytest.raises(Forbidden):
        await open_stream(AsyncRemote(relay.url, key["key"]), {"subscribe": "events"}).next()
    with pytest.raises(NotFound):
        await open_stream(AsyncRemote(f"{relay.url}/elsewhere", "key"), {"subscribe": "events"}).next()


async def test_pauses_grow_and_can_be_cut_short(hub, relay, remote, open_stream, monkeypatch):
    monkeypatch.setattr(aio, "FIRST_PAUSE", 100.0)
    monkeypatch.setattr(aio, "LONGEST_PAUSE", 1_000.0)
    relay.lead_to(None)
    reader = open_stream(remote, {"subscribe": "alarms"})
    pauses = []
    for _ in range(6):
        reader.stream.retry()
        pauses.append((await reader.next()).retry_in)
    for number, pause in enumerate(pauses):
        assert min(1_000, 100 * 2**number) / 2 <= pause <= min(1_000, 100 * 2**number)
    relay.lead_to(hub)
    reader.stream.retry()
    assert Connected() == await reader.next()


async def test_slow_program_gets_the_newest_values_with_bounded_memory(hub, device, remote, open_stream, loop):
    reader = open_stream(remote, {"subscribe": "device", "device": device.id})
    await reader.next_of(dict)
    for number in range(3_000):
        hub.write(Write(device, 0, float(number), "test", SYSTEM))
    await write(hub, device, 5_000.0)
    count = 1
    while await reader.next_value() != 5_000.0:
        count += 1
    assert count < 500


async def test_waiting_for_a_message_can_be_cancelled(hub, device, remote, open_stream, loop):
    reader = open_stream(remote, {"subscribe": "device", "device": device.id})
    await reader.next_of(dict)

    async def give_up():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await reader.stream.__anext__()

    for _ in range(3):
        await loop.run(give_up)
    await write(hub, device, 4.5)
    assert 4.5 == await reader.next_value()


async def test_connection_attempt_can_be_cancelled(hub, relay, remote, open_stream, loop):
    reader = open_stream(remote, {"subscribe": "alarms"})
    relay.stall()

    async def give_up():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.stream.__anext__()

    for _ in range(3):
        await loop.run(give_up)
    relay.flow()
    await reader.next_of(Connected)
    assert "alarms" == (await reader.next())["subscribed"]
    # Of the attempts, no connection is left.
    await until(lambda: len(relay._connections) == 1)


async def test_stream_that_another_task_closes_ends(relay, remote, open_stream, loop, monkeypatch):
    connected, waiting = (open_stream(remote, {"subscribe": "alarms"}) for _ in range(2))
    await connected.next_of(dict)

    async def close_while_reading(stream):
        reading = asyncio.create_task(stream.__anext__())
        await asyncio.sleep(0)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await reading

    await loop.run(close_while_reading, connected.stream)
    relay.lead_to(None)
    monkeypatch.setattr(aio, "FIRST_PAUSE", 1_000.0)
    monkeypatch.setattr(aio, "LONGEST_PAUSE", 1_000.0)
    await waiting.next()
    await loop.run(close_while_reading, waiting.stream)


async def test_end_of_the_block_closes_the_connection(relay, remote, loop):
    async def first_message():
        async with remote.stream({"subscribe": "alarms"}) as stream:
            async for item in stream:
                if isinstance(item, dict):
                    return item

    assert "alarms" == (await loop.run(first_message))["subscribed"]
    await until(lambda: not relay._connections)
