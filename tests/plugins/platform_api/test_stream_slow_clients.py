"""The live stream with clients that do not read."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
import trio
from support.api_templates import METER
from support.raw_http import PATIENCE, UPGRADE, HttpConnection, local_key
from trio.testing import wait_all_tasks_blocked
from websockets.frames import Frame, Opcode

from hub.facts import Refused
from hub.testing import add_device, address_of
from plugins.platform_api import gathered_feeds, subscriptions


@asynccontextmanager
async def connect_without_reading(hub):
    """Connect a client that reads only the response to its upgrade."""
    with trio.socket.socket() as sock:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        await sock.connect(address_of(hub))
        http = HttpConnection(trio.SocketStream(sock))
        assert 101 == (await http.ask("GET", "/api/v1/stream", key=local_key(hub), **UPGRADE)).status
        yield http


def text_frame(**message):
    """Return a message as a WebSocket frame."""
    return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)


def most_pending(hub):
    """Return the largest number of bytes that wait for a client."""
    return max(wire.pending for wire in hub.listener._wires)


async def test_queue_of_a_client_that_does_not_read_is_bounded_and_other_clients_are_served(
    hub, device, subscriber, write, monkeypatch
):
    monkeypatch.setattr(subscriptions, "MAX_DEFERRED", 100)
    fact = Refused(0, "127.0.0.1", "x" * 1000)
    async with connect_without_reading(hub) as http:
        for number in range(5):
            await http.send(text_frame(id=number, subscribe="refused"))
        await wait_all_tasks_blocked()
        for _ in range(60):
            for _ in range(100):
                hub.emit(fact)
            await wait_all_tasks_blocked()

        # The bytes sent before the client counts as slow, and one batch of each subscription.
        assert 0 < most_pending(hub) < subscriptions.MAX_PENDING + 5 * 100 * 1100
        await subscriber.subscribe(1, "device", device=device.id)
        write(device, 0, 1)
        assert {"v0": 1} == (await subscriber.receive())["values"]


async def test_requests_of_a_client_that_does_not_read_responses_are_not_read(hub, device, write):
    write(device, 1, "x" * 1000)
    requests = text_frame(id=1, subscribe="device", device=device.id) + text_frame(id=1, unsubscribe=True)
    async with connect_without_reading(hub) as http, trio.open_nursery() as nursery:
        nursery.start_soon(http.send, requests * 6000)
        await wait_all_tasks_blocked(0.05)

        assert most_pending(hub) < 1024 * 1024
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("options", [{}, {"every_ms": 50}], ids=["latest", "gathered"])
async def test_slow_client_receives_the_newest_of_each_value_once_it_reads_again(hub, write, options):
    devices = [(await add_device(hub, METER, f"Meter {n}"))[0] for n in range(50)]
    async with connect_without_reading(hub) as http:
        await http.send(text_frame(id=1, subscribe="devices", **options))
        for number in range(400):
            for meter_device in devices:
                write(meter_device, 1, f"{number} " + "x" * 1000)
            await trio.sleep(0.001)
        newest = {}
        with trio.fail_after(PATIENCE):
            while len(newest) < 50 or any(not value.startswith("399 ") for value in newest.values()):
                message = await read_frame(http)
                for change in message.get("changes", [message]):
                    if "device" in change:
                        assert "test" == change["by"]
                        newest[change["device"]] = change["values"]["v1"]
    assert {meter_device.id for meter_device in devices} == set(newest)


async def test_page_that_never_reads_gathered_changes_takes_bounded_memory(hub, write, subscriber):
    devices = [(await add_device(hub, METER, f"Meter {n}"))[0] for n in range(20)]
    async with connect_without_reading(hub) as http:
        for number in range(20):
            await http.send(text_frame(id=number, subscribe="devices", every_ms=50))
        await wait_all_tasks_blocked()
        for number in range(100):
            for meter_device in devices:
                write(meter_device, 1, f"{number} " + "x" * 1000)
            await trio.sleep(0.01)

        # What was sent before the client counted as slow, and one message of each subscription.
        assert 0 < most_pending(hub) < subscriptions.MAX_PENDING + 20 * 20 * 1200
        await subscriber.subscribe(1, "devices", every_ms=50)
        write(devices[0], 0, 1)
        assert {"v0": 1} == (await subscriber.receive())["changes"][0]["values"]


async def test_slow_client_is_sent_the_number_of_gathered_changes_that_it_lost(hub, write, device, monkeypatch):
    monkeypatch.setattr(gathered_feeds, "MAX_KEPT", 10)
    async with connect_without_reading(hub) as http:
        await http.send(text_frame(id=1, subscribe="devices", every_ms=50))
        await wait_all_tasks_blocked()
        for number in range(1000):
            await hub.properties.set(device, [0], {"label": [f"{number} " + "x" * 400]})
            await trio.lowlevel.checkpoint()
            if number % 10 == 0:
                await trio.sleep(0.005)
        labels, lagged = [], 0
        with trio.fail_after(PATIENCE):
            while not labels or not labels[-1].startswith("999 "):
                message = await read_frame(http)
                lagged += message.get("lagged", 0)
                labels += [change["properties"]["v0"]["label"][0] for change in message.get("changes", ())]
    assert lagged > 0
    assert 1000 == lagged + len(labels)


async def read_frame(http):
    """Return the next message of a client that reads frame by frame."""
    head = await http._exactly(2)
    size = head[1]
    if size == 126:
        size = int.from_bytes(await http._exactly(2))
    elif size == 127:
        size = int.from_bytes(await http._exactly(8))
    return json.loads(await http._exactly(size))
