"""The BRIDGE command: writes to another device."""

from __future__ import annotations

import pytest
from support.native_devices import add_native_device
from support.raw_native import OK, online
from support.values import current_value

from connectors.native.protocol import Cmd, Status


async def test_bridge_writes_to_another_device(hub):
    _, token = await add_native_device(hub)
    target, target_token = await add_native_device(hub, "Target")
    async with online(hub, token) as client, online(hub, target_token) as target_client:
        assert OK == await client.status(Cmd.BRIDGE, "64", "i", target_token)
        assert OK == await client.status(Cmd.BRIDGE, "64", "vw", "0", "1", "2")
        [(command, _, *parts)] = await target_client.received()

        assert command in (Cmd.HARDWARE, Cmd.BRIDGE)
        assert ["vw", "0", "1", "2"] == parts
        assert [] == await client.received()
    assert (1, 2) == current_value(hub, target, 0)


async def test_bridge_to_an_offline_device_is_answered_with_7_and_its_value_is_stored(hub):
    _, token = await add_native_device(hub)
    target, target_token = await add_native_device(hub, "Target")
    async with online(hub, token) as client:
        assert OK == await client.status(Cmd.BRIDGE, "64", "i", target_token)
        assert Status.DEVICE_NOT_IN_NETWORK == await client.status(Cmd.BRIDGE, "64", "vw", "0", "5")

    assert 5 == current_value(hub, target, 0)


async def test_bridge_without_a_target_is_answered_with_6(hub):
    _, token = await add_native_device(hub)
    async with online(hub, token) as client:
        for parts in (("64", "vw", "0", "5"), ("64", "i", "x" * 32), ("64", "i"), ("64", "i", "")):
            assert Status.NOT_ALLOWED == await client.status(Cmd.BRIDGE, *parts)


async def test_number_of_bridges_is_limited_to_100(start):
    async with start("[limits]\nburst = 1000\n") as hub:
        _, token = await add_native_device(hub)
        async with online(hub, token) as client:
            statuses = [await client.status(Cmd.BRIDGE, str(n), "i", token) for n in range(102)]
            assert OK == await client.status(Cmd.BRIDGE, "5", "i", token)

    assert [OK] * 100 + [Status.NOT_ALLOWED] * 2 == statuses


@pytest.mark.parametrize("parts", [("64", "vw", "0"), ("64", "vw", "x", "1"), ("64", "vw", "256", "1")])
async def test_malformed_bridge_frame_is_answered_with_2(hub, parts):
    _, token = await add_native_device(hub)
    async with online(hub, token) as client:
        assert OK == await client.status(Cmd.BRIDGE, "64", "i", token)
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.BRIDGE, *parts)
