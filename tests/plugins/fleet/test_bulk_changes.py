"""Changes of many devices in one request."""

from __future__ import annotations

import pytest
from support.api import api_client, names_of
from support.fleet import HEATER, LAMP, PUMP, where

from hub.domain.devices import NewDevice
from hub.model import SYSTEM


async def test_bulk_change_is_previewed_and_reports_the_result_of_each_device(hub, world, fleet):
    lamp, heater, pump = fleet.values()
    async with api_client(world) as ask:
        write = {"action": "write", "pin": "v0", "value": 5, "filters": [where("tag", "notEmpty")]}
        preview = await ask("POST", "devices/bulk", write | {"dryRun": True})
        assert (2, 0, True) == (preview["done"], preview["failed"], preview["dryRun"])
        assert 21.5 == hub.writes.current(lamp, lamp.points[0].datastream)
        done = await ask("POST", "devices/bulk", write)
        assert [(lamp.id, LAMP, None), (heater.id, HEATER, None)] == [
            tuple(entry.values()) for entry in done["results"]
        ]
        assert [5, 5, None] == [hub.writes.current(d, d.points[0].datastream) for d in (lamp, heater, pump)]

        failed = await ask("POST", "devices/bulk", write | {"value": "warm"})
        assert (0, 2) == (failed["done"], failed["failed"])
        assert "Temperature" in failed["results"][0]["problem"]
        partial = await ask(
            "POST", "devices/bulk", {"action": "metadata", "name": "Room", "value": "Hall", "devices": [pump.id, 999]}
        )
        assert (1, 1) == (partial["done"], partial["failed"])
        assert "Hall" == await hub.metadata.get(pump, "Room")

        deleted = await ask("POST", "devices/bulk", {"action": "delete", "devices": [lamp.id, pump.id]})
        assert 2 == deleted["done"]
        assert [HEATER] == names_of(await ask("POST", "devices/search", {}))


async def test_devices_are_tagged_untagged_and_moved_in_bulk(hub, world, fleet):
    lamp, heater, pump = fleet.values()
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "New"})
        assert 3 == (await ask("POST", "devices/bulk", {"action": "tag", "tagId": tag["id"], "all": True}))["done"]
        assert [LAMP, HEATER, PUMP] == names_of(
            await ask("POST", "devices/search", {"filters": [where("tag", "equals", "new")]})
        )
        assert 3 == (await ask("POST", "devices/bulk", {"action": "untag", "tagId": tag["id"], "all": True}))["done"]
        assert [] == names_of(await ask("POST", "devices/search", {"filters": [where("tag", "equals", "new")]}))
        works = world.orgs["works"]
        moved = await ask("POST", "devices/bulk", {"action": "move", "toOrgId": works, "all": True})
        assert [None, None, "the device is in this organization already"] == [
            entry["problem"] for entry in moved["results"]
        ]
        assert {works} == {device.org for device in (lamp, heater, pump)}


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"action": "delete"}, 400, "select the devices in one way"),
        ({"action": "delete", "devices": None, "all": True, "query": "x"}, 400, "select the devices in one way"),
        ({"action": "tag", "all": True}, 400, "tagId"),
        ({"action": "tag", "tagId": 999, "all": True}, 404, "Tag with identifier 999"),
        ({"action": "move", "all": True}, 400, "toOrgId"),
        ({"action": "move", "toOrgId": 999, "all": True}, 404, "Organization with identifier 999"),
        ({"action": "metadata", "name": "Room", "all": True}, 400, "name and value"),
        ({"action": "write", "pin": "v0", "all": True}, 400, "pin and value"),
        ({"action": "explode"}, 400, "action"),
        ({"action": "delete", "devices": [1], "query": "x"}, 400, "select the devices in one way"),
        ({"action": "delete", "devices": ["x"]}, 400, "devices"),
        ({"action": "delete", "devices": list(range(10_001))}, 400, "at most 10000"),
    ],
)
async def test_invalid_bulk_change_is_rejected(world, body, status, error):
    async with api_client(world) as ask:
        response = await ask("POST", "devices/bulk", body)
        assert status == response.status
        assert error in response.message


async def test_bulk_change_needs_the_permission_for_each_device(hub, world, fleet):
    lamp, heater, pump = fleet.values()
    other = await world.device(world.orgs["beta"])
    async with api_client(world, "uma") as ask:
        write = {"action": "write", "pin": "v0", "value": 7, "devices": [lamp.id, heater.id, pump.id, other.id]}
        problems = {
            entry["deviceId"]: entry["problem"] for entry in (await ask("POST", "devices/bulk", write))["results"]
        }
        assert problems[lamp.id] is None
        assert all("is not found or belong" in problems[device.id] for device in (heater, pump, other))
        deleted = await ask("POST", "devices/bulk", {"action": "delete", "all": True})
        assert ["This needs the permission org_devices.delete."] == [entry["problem"] for entry in deleted["results"]]
    assert [7, 60] == [hub.writes.current(d, d.points[0].datastream) for d in (lamp, heater)]
    assert other.id in hub.devices.by_id


async def test_bulk_change_of_too_many_devices_is_rejected_without_effect(hub, world, monkeypatch):
    monkeypatch.setattr("plugins.fleet.bulk_routes.MAX_DEVICES", 3)
    new = [NewDevice(name=f"D{n}", template=world.template, org=world.orgs["acme"]) for n in range(4)]
    await hub.devices.add(new, SYSTEM)
    async with api_client(world) as ask:
        response = await ask("POST", "devices/bulk", {"action": "delete", "all": True})
        assert 400 == response.status
        assert "4 devices match, and at most 3" in response.message
    assert 4 == len(hub.devices.by_id)
