"""Snapshots of several devices on the live stream, and subscriptions to pins."""

from __future__ import annotations

import pytest
import trio
from support.api_templates import METER

from hub.testing import add_device
from plugins.platform_api import snapshots, stream_requests


@pytest.fixture
async def meters(hub, device):
    """Three meters."""
    return [device, *[(await add_device(hub, METER, f"Meter {n}"))[0] for n in range(2)]]


async def test_subscription_to_named_devices_starts_with_their_values(meters, subscriber, write):
    first, second, _ = meters
    write(first, 0, 5)
    write(second, 1, "é")

    def offline(device, values):
        return {"device": device.id, "online": False, "status": "Offline", "values": values}

    assert {
        "id": 1,
        "subscribed": "devices",
        "devices": [offline(second, {"v1": "é", "v2": 17}), offline(first, {"v0": 5, "v2": 17})],
    } == await subscriber.subscribe(1, "devices", devices=[second.id, first.id, second.id])
    write(second, 0, 6)
    assert {"v0": 6} == (await subscriber.receive())["values"]


@pytest.mark.parametrize("options", [{}, {"every": True}, {"every_ms": 50}])
async def test_subscription_to_pins_has_only_their_values(hub, device, subscriber, write, options):
    write(device, 0, 5)
    write(device, 1, "x")
    for number, topic in enumerate(("device", "devices")):
        selected = {"device": device.id} if topic == "device" else {"devices": [device.id]}
        snapshot = await subscriber.subscribe(number, topic, **selected, pins=["v1", "V2", "V200"], **options)
        state = snapshot if topic == "device" else snapshot["devices"][0]
        assert {"v1": "x", "v2": 17} == state["values"]
        write(device, 0, 6)
        write(device, 1, "y")
        message = await subscriber.receive()
        assert {"v1": "y"} == message.get("changes", [message])[0]["values"]
        await hub.properties.set(device, [0], {"label": ["Power"]})
        await hub.properties.set(device, [1], {"label": ["Text"]})
        message = await subscriber.receive()
        assert {"v1": {"label": ["Text"]}} == message.get("changes", [message])[0]["properties"]
        await subscriber.send(id=number, unsubscribe=True)
        write(device, 1, "x")


async def test_device_that_does_not_exist_is_left_out_of_the_snapshot(device, subscriber):
    snapshot = await subscriber.subscribe(1, "devices", devices=[999, device.id, -1, 2**70])
    assert [device.id] == [state["device"] for state in snapshot["devices"]]


async def test_named_devices_without_snapshot_send_only_changes(device, subscriber, write):
    ids = [device.id, *range(1000, 1000 + stream_requests.MAX_SNAPSHOT_DEVICES)]
    assert {"id": 1, "subscribed": "devices"} == await subscriber.subscribe(1, "devices", devices=ids, snapshot=False)
    write(device, 0, 5)
    assert {"v0": 5} == (await subscriber.receive())["values"]


async def test_too_many_devices_for_a_snapshot_are_an_error(device, subscriber, write):
    error = (await subscriber.subscribe(1, "devices", devices=list(range(201))))["error"]["message"]
    assert (
        "The values of at most 200 devices can be sent at once, and devices has 201. Subscribe to fewer devices at a"
        ' time, or add "snapshot": false to get only changes.'
    ) == error
    write(device, 0, 5)
    assert await subscriber.has_no_messages()


async def test_too_many_values_for_a_snapshot_are_an_error(meters, subscriber, write, monkeypatch):
    monkeypatch.setattr(snapshots, "MAX_VALUES", 8)
    ids = [device.id for device in meters]
    error = (await subscriber.subscribe(1, "devices", devices=ids))["error"]["message"]
    assert error.startswith("At most 8 values can be sent at once, and these devices have 9.")
    assert 3 == len((await subscriber.subscribe(1, "devices", devices=ids, pins=["V0"]))["devices"])


async def test_too_long_snapshot_is_an_error_and_no_subscription_remains(meters, subscriber, write, monkeypatch):
    monkeypatch.setattr(snapshots, "MAX_TEXT", 2048)
    for device in meters:
        write(device, 1, "x" * 1000)
    ids = [device.id for device in meters]
    error = (await subscriber.subscribe(1, "devices", devices=ids))["error"]["message"]
    assert error.startswith("The values of these devices are more than 2 KiB of text.")
    write(meters[0], 0, 1)
    assert await subscriber.has_no_messages()


@pytest.mark.parametrize("options", [{}, {"every": True}, {"every_ms": 50}])
async def test_changes_during_a_snapshot_follow_it(hub, meters, subscriber, write, monkeypatch, options):
    """The snapshot lets other tasks run after each device, and here each of them writes."""
    monkeypatch.setattr(snapshots, "VALUES_AT_ONCE", 1)
    checkpoint, turns = trio.lowlevel.checkpoint, []

    async def write_and_checkpoint():
        turns.append(None)
        write(meters[0], 0, len(turns))
        # Long enough for the feed to be flushed.
        for _ in range(20):
            await checkpoint()

    monkeypatch.setattr(snapshots.trio.lowlevel, "checkpoint", write_and_checkpoint)
    await subscriber.send(id=1, subscribe="devices", devices=[device.id for device in meters], **options)
    snapshot = await subscriber.receive()
    monkeypatch.undo()
    assert 3 == len(snapshot["devices"])
    values = []
    while values[-1:] != [len(turns)]:
        message = await subscriber.receive()
        values += [change["values"]["v0"] for change in message.get("changes", [message])]
    assert sorted(values) == values


async def test_device_deleted_during_a_snapshot_is_left_out(hub, meters, subscriber, monkeypatch):
    monkeypatch.setattr(snapshots, "VALUES_AT_ONCE", 1)
    state_of = snapshots.device_state
    deleted = meters[1]

    def device_state(hub, device, pins):
        hub.devices.by_id.pop(deleted.id, None)
        return state_of(hub, device, pins)

    monkeypatch.setattr(snapshots, "device_state", device_state)
    snapshot = await subscriber.subscribe(1, "devices", devices=[device.id for device in meters])
    assert [meters[0].id, meters[2].id] == [state["device"] for state in snapshot["devices"]]
