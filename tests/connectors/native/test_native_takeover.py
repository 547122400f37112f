"""Two native sessions with one token: the newer replaces the older."""

from __future__ import annotations

import trio
import trio.testing
from support.facts import collect_facts
from support.native_devices import add_native_device
from support.raw_native import online
from support.times import until
from support.values import current_value, write_value

from connectors.native.protocol import Cmd
from hub.facts import DeviceConnected, DeviceDisconnected


async def test_newer_session_replaces_the_older_and_the_device_stays_online(hub):
    device, token = await add_native_device(hub)
    facts = collect_facts(hub, DeviceConnected, DeviceDisconnected)
    async with online(hub, token) as older:
        async with online(hub, token) as newer:
            assert [] == await older.read_to_end()
            await until(lambda: 1 == hub.listener.connections)
            write_value(hub, device, 0, "7")
            assert [("vw", "0", "7")] == [frame[2:] for frame in await newer.received()]
            assert [DeviceConnected] == [type(fact) for fact in facts]
        await until(lambda: hub.sessions.get(device.id) is None)

    assert [DeviceConnected, DeviceDisconnected] == [type(fact) for fact in facts]


async def test_values_of_a_replaced_session_are_dropped(hub):
    """Only values that the older session sends after it was replaced are dropped."""
    device, token = await add_native_device(hub)
    async with online(hub, token) as older, online(hub, token) as newer:
        await newer.send(Cmd.HARDWARE, "vw", "0", "2")
        assert [] == await newer.received()
        try:
            await older.send(Cmd.HARDWARE, "vw", "0", "1")
        except trio.BrokenResourceError:
            pass
        assert [] == await older.read_to_end()

    assert 2 == current_value(hub, device, 0)
