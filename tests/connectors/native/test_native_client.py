"""The client of the simulated devices."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.native_devices import add_native_device
from support.raw_native import OK, PATIENCE
from support.values import write_value

from connectors.native.client import Client, Disconnected, LoginFailed, connect
from connectors.native.protocol import Cmd, Decoder, Status, frame, response
from hub.testing import address_of

INFO = {"ver": "1.0", "h-beat": "45", "buff-in": "1024"}


async def test_client_exchanges_values_with_the_hub(hub):
    device, token = await add_native_device(hub)
    write_value(hub, device, 1, "kept")
    async with connect(*address_of(hub), token, info=INFO) as client:
        await client.write(0, "1", "2")
        await client.sync(1)
        with trio.fail_after(PATIENCE):
            assert (1, ["kept"]) == await client.next_write()
            write_value(hub, device, 0, "3")
            assert (0, ["3"]) == await client.next_write()
    assert INFO == device.firmware


async def test_failed_login_raises_its_status(hub):
    with pytest.raises(LoginFailed) as error:
        async with connect(*address_of(hub), "x" * 32):
            pass

    assert Status.INVALID_TOKEN == error.value.status


async def test_closed_connection_raises_disconnected():
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.aclose()

    with pytest.raises(Disconnected):
        await Client(ours).login("x" * 32)


async def test_native_client_serializes_concurrent_sends():
    """A heartbeat is due while a value is still being sent, as on a busy machine."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    client, decoder = Client(ours), Decoder()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(client.write, 0, "x" * 500)
            nursery.start_soon(client.ping)
        await trio.testing.wait_all_tasks_blocked()
        frames = []
        with trio.fail_after(PATIENCE):
            while len(frames) < 6:
                frames += decoder.receive(bytes(await theirs.receive_some(7)))

    assert 3 * [Cmd.HARDWARE] + 3 * [Cmd.PING] == sorted((received[0] for received in frames), reverse=True)


async def test_client_keeps_writes_received_together_with_a_response():
    ours, theirs = trio.testing.memory_stream_pair()
    client = Client(ours)
    await theirs.send_all(
        frame(Cmd.HARDWARE, 1, ("vw", "0", "early"))
        + response(1, OK)
        + frame(Cmd.HARDWARE, 2, ("vw", "1", "between"))
        + response(2, OK)
        + frame(Cmd.HARDWARE, 3, ("vw", "2", "behind"))
    )
    await theirs.send_eof()
    with trio.fail_after(PATIENCE):
        await client.login("x" * 32, INFO)

        assert [(0, ["early"]), (1, ["between"]), (2, ["behind"])] == [write async for write in client.writes()]
