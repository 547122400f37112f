"""Events: EVENT_LOG, its limits, and EVENT_CLEAR."""

from __future__ import annotations

import pytest
from support.native_devices import add_native_device, logged_events
from support.raw_native import OK, online

from connectors.native.protocol import Cmd, Status


async def test_events_are_logged(hub_at_noon, time):
    device, token = await add_native_device(hub_at_noon)
    async with online(hub_at_noon, token) as client:
        for parts in (
            ("too_hot",),
            ("door", "is open"),
            ("sys_ota", "Firmware updated from 1 to 2"),
            ("door", "x" * 300),
        ):
            assert OK == await client.status(Cmd.EVENT_LOG, *parts)
            time.wall += 1000

    assert [
        ("door", "x" * 300, True),
        ("sys_ota", "Firmware updated from 1 to 2", True),
        ("door", "is open", True),
        ("too_hot", "It is too hot", True),
    ] == await logged_events(hub_at_noon, device)


@pytest.mark.parametrize("parts", [("nonsense",), ("",), ("door", "x" * 301)])
async def test_invalid_event_is_answered_with_2_and_not_stored(hub, parts):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.EVENT_LOG, *parts)

    assert [] == await logged_events(hub, device)
    assert 1 == len(hub.rejections.recent)


async def test_events_of_the_same_code_are_limited_to_one_per_second(hub_at_noon, time):
    _, token = await add_native_device(hub_at_noon)
    async with online(hub_at_noon, token) as client:
        statuses = []
        for milliseconds, code in ((0, "door"), (999, "door"), (0, "too_hot"), (1, "door")):
            time.wall += milliseconds
            statuses.append(await client.status(Cmd.EVENT_LOG, code))

    assert [OK, Status.QUOTA_LIMIT, OK, OK] == statuses


async def test_events_of_a_device_are_limited_per_day(start, time):
    toml = '[storage]\ndurability = "normal"\n[limits]\nevents_per_day = 100\n'
    async with start(toml, clock=time.clock()) as hub:
        _, token = await add_native_device(hub)
        _, other_token = await add_native_device(hub, "Other")
        async with online(hub, token) as client, online(hub, other_token) as other:
            statuses = []
            for _ in range(102):
                time.wall += 1000
                statuses.append(await client.status(Cmd.EVENT_LOG, "door"))
            assert OK == await other.status(Cmd.EVENT_LOG, "door")
            time.wall += 86_400_000
            statuses.append(await client.status(Cmd.EVENT_LOG, "door"))

    assert [OK] * 100 + [Status.QUOTA_LIMIT] * 2 + [OK] == statuses


async def test_event_clear_resolves_the_newest_event_or_all(hub_at_noon, time):
    device, token = await add_native_device(hub_at_noon)
    async with online(hub_at_noon, token) as client:
        for code in ("door", "too_hot", "door", "door"):
            assert OK == await client.status(Cmd.EVENT_LOG, code)
            time.wall += 1000
        assert OK == await client.status(Cmd.EVENT_CLEAR, "door")
        assert [True, False][::-1] == [
            is_unresolved for _, _, is_unresolved in (await logged_events(hub_at_noon, device))[:2]
        ]
        assert OK == await client.status(Cmd.EVENT_CLEAR, "door", "all")
        assert OK == await client.status(Cmd.EVENT_CLEAR, "nonsense")

    assert [("door", False), ("door", False), ("too_hot", True), ("door", False)] == [
        (code, is_unresolved) for code, _, is_unresolved in await logged_events(hub_at_noon, device)
    ]
