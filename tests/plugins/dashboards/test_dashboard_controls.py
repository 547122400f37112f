"""Switches and sliders write one value to many devices."""

from __future__ import annotations

import pytest
from support.api import error_of
from support.values import current_value

from plugins.users.model import STAFF, USER

SWITCH = {"type": "switch", "options": {"datastream": {"pin": "V2"}}}
SLIDER = {"type": "slider", "options": {"datastream": {"pin": "tag:Temperature C"}, "min": 10, "max": 30}}


async def put(boards, board, value, widget=1, who=None, **fields):
    body = {"dashboardId": board["id"], "widgetId": widget, "value": value} | fields
    return await boards.as_user(who, "POST", "dashboard/write", body)


@pytest.fixture
async def probes(boards):
    uma = boards.world.users["uma"].id
    return [
        await boards.device("acme", "A", owner=uma),
        await boards.device("acme", "B"),
        await boards.device("works", "C"),
    ]


async def test_switch_writes_to_every_device_durably(boards, probes, time):
    board = await boards.create(SWITCH)
    result = await put(boards, board, 1)
    assert (3, 0) == (result["done"], result["failed"])
    assert [(device.id, device.name, None) for device in probes] == [
        (entry["deviceId"], entry["name"], entry["problem"]) for entry in result["results"]
    ]
    assert [1, 1, 1] == [current_value(boards.hub, device, 2) for device in probes]
    assert boards.hub.history.stored >= 3, "acknowledged after the commit"
    actions = await boards.ask("GET", "device/actions", deviceId=probes[1].id)
    assert [boards.world.users["ada"].email] == [entry["name"] for entry in actions["content"]]


async def test_slider_writes_by_property_group_and_within_its_limits(boards, probes):
    thermometer = await boards.device("acme", "Thermometer", boards.world.template)
    board = await boards.create(SLIDER)
    assert 3 == (await put(boards, board, 20))["done"]
    assert [20] * 3 == [current_value(boards.hub, device, 0) for device in probes]
    assert current_value(boards.hub, thermometer, 0) is None
    assert "value must be 10 to 30, not 31" in error_of(await put(boards, board, 31))
    assert 400 == (await put(boards, board, "20")).status
    response = await put(boards, board, 20.5)
    assert (0, 3) == (response["done"], response["failed"]) and "match the Datastream" in response["results"][0][
        "problem"
    ]


async def test_value_that_a_switch_does_not_have_is_rejected(boards, probes):
    board = await boards.create(SWITCH, {"type": "total_devices"})
    assert "value must be 1 (on) or 0 (off), not 2" in error_of(await put(boards, board, 2))
    assert "the widget 2 is a total_devices" in error_of(await put(boards, board, 1, widget=2))
    assert "There is no device in this widget" in error_of(await put(boards, board, 1, filters={"devices": [99]}))


async def test_viewer_writes_to_devices_that_they_may_control(boards, probes):
    roles, acme = boards.world.service.roles, boards.world.orgs["acme"]
    board = await boards.create(SWITCH, viewRoles=[STAFF, USER])
    result = await put(boards, board, 1, who="uma")
    assert [probes[0].id] == [entry["deviceId"] for entry in result["results"]], "her own, as she sees no other"
    await roles.switch(acme, STAFF, [("org_devices.control", False)])
    stan_owns = await boards.device("acme", "S", owner=boards.world.users["stan"].id)
    result = await put(boards, board, 0, who="stan")
    problems = {entry["deviceId"]: entry["problem"] for entry in result["results"]}
    assert (1, 3) == (result["done"], result["failed"])
    assert problems[stan_owns.id] is None
    assert "org_devices.control" in problems[probes[0].id]
    assert 1 == current_value(boards.hub, probes[0], 2)
    await roles.switch(acme, STAFF, [("own_devices.control", False)])
    assert 403 == (await put(boards, board, 0, who="stan")).status


async def test_each_device_that_refuses_a_value_is_reported(boards, probes):
    def veto(device, _datastream, value):
        if device is probes[1]:
            raise ValueError("broken plugin")
        if device is probes[2]:
            from hub import Rejected

            raise Rejected("not now")
        return value

    boards.hub.writes.install_filters([veto], lambda *_: None)
    board = await boards.create(SWITCH)
    result = await put(boards, board, 1)
    assert "not now" == result["results"][2]["problem"]
    assert result["results"][0]["problem"] is None
    assert 1 <= result["failed"] <= 2


async def test_filters_of_the_viewer_narrow_a_write(boards, probes):
    board = await boards.create(SWITCH)
    result = await put(boards, board, 1, filters={"devices": [probes[1].id]})
    assert [probes[1].id] == [entry["deviceId"] for entry in result["results"]]
    assert current_value(boards.hub, probes[0], 2) is None


async def test_deleted_segment_writes_nothing(boards, probes):
    segment = await boards.ask("POST", "organization/segment/create", {"name": "S", "devices": [probes[0].id]})
    board = await boards.create(SWITCH | {"devices": {"segmentId": segment["id"]}})
    assert 1 == (await put(boards, board, 1))["done"]
    await boards.ask("DELETE", "organization/segment", segmentId=segment["id"])
    assert "was deleted" in error_of(await put(boards, board, 0))
    assert 1 == current_value(boards.hub, probes[0], 2)


async def test_more_devices_than_possible_are_rejected(boards, probes, monkeypatch):
    monkeypatch.setattr("plugins.dashboards.controls.MAX_DEVICES", 2)
    board = await boards.create(SWITCH)
    assert "the widget has 3 devices, and at most 2 are allowed" in error_of(await put(boards, board, 1))
    assert current_value(boards.hub, probes[0], 2) is None
