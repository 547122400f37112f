"""When a native device goes offline: a closed connection, or silence for 1.5 heartbeats."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.facts import collect_facts
from support.native_devices import add_native_device
from support.raw_native import OK, online, open_connection
from support.times import until

from connectors.native.timeouts import NativeTimeouts
from hub.facts import DeviceDisconnected


async def test_device_is_offline_when_its_connection_closes(hub):
    device, token = await add_native_device(hub)
    disconnected = collect_facts(hub, DeviceDisconnected)
    async with online(hub, token):
        pass
    await until(lambda: disconnected)

    assert [device] == [fact.device for fact in disconnected]
    assert None is hub.sessions.get(device.id)


@pytest.mark.parametrize(("toml", "allowed", "exceeded"), [("", 14.9, 15.1), ("heartbeat_factor = 2.3\n", 22.9, 23.1)])
async def test_device_is_disconnected_after_one_and_a_half_heartbeats_of_silence(
    start, mock_clock, toml, allowed, exceeded
):
    async with start(toml) as hub:
        device, token = await add_native_device(hub)
        _, other_token = await add_native_device(hub, "Other")
        disconnected = collect_facts(hub, DeviceDisconnected)
        async with online(hub, token, h_beat=10) as client, online(hub, other_token, h_beat=3600) as other:
            for _ in range(3):
                mock_clock.jump(allowed)
                await trio.testing.wait_all_tasks_blocked()
                assert [] == await client.received()
            mock_clock.jump(exceeded)

            assert [] == await client.read_to_end()
            assert [] == await other.received()
            await until(lambda: disconnected)
            assert [device] == [fact.device for fact in disconnected]
            assert "sent nothing" in disconnected[0].reason


async def test_default_heartbeat_is_45_seconds(hub, mock_clock):
    _, token = await add_native_device(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        mock_clock.jump(67.4)
        await trio.testing.wait_all_tasks_blocked()
        assert [] == await client.received()
        mock_clock.jump(67.6)

        assert [] == await client.read_to_end()


@pytest.mark.parametrize(("announced", "effective"), [("1", 10), ("0", 10), ("99999999999", 3600)])
async def test_heartbeat_is_clamped_to_the_range_of_the_library(hub, mock_clock, announced, effective):
    _, token = await add_native_device(hub)
    async with online(hub, token, h_beat=announced) as client:
        mock_clock.jump(1.5 * effective - 0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert [] == await client.received()
        mock_clock.jump(1.5 * effective + 0.1)

        assert [] == await client.read_to_end()


@pytest.mark.timeouts(NativeTimeouts(sweep=0.2))
async def test_reconnecting_leaks_no_tasks(hub):
    def tasks():
        names, pending = [], [trio.lowlevel.current_root_task()]
        while pending:
            task = pending.pop()
            names.append(task.name)
            pending += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        return len(names)

    _, token = await add_native_device(hub)
    async with online(hub, token):
        before = tasks()
    for _ in range(10):
        await until(lambda: not hub.listener.connections)
        async with online(hub, token) as client:
            assert [] == await client.received()
    async with online(hub, token):
        await until(lambda: before >= tasks())
