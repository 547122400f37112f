"""Metadata fields for some roles: who sees them, who changes them, and who can search for them."""

from __future__ import annotations

import pytest
from support.api import api_client
from support.stream import open_stream
from support.templates import template
from support.tenants import ORG, tenants

from hub.domain.devices import NewDevice
from hub.model import SYSTEM
from plugins.users.model import USER

SEARCH = "/api/v1/devices/search"
TEMPLATE = template(
    key="TMPL0roles",
    name="Pump",
    tables="""
[[metadata]]
name = "Room"

[[metadata]]
name = "Price"
view_roles = ["Admin", "Staff"]
edit_roles = ["Admin"]

[[metadata]]
name = "Serial"
edit_roles = ["Staff"]
""",
)


@pytest.fixture
async def world(hub):
    return await tenants(hub)


@pytest.fixture
async def pump(hub, world):
    """A device of uma's in acme, with a price of 77 that Users do not see."""
    saved, _ = await hub.templates.save(TEMPLATE, SYSTEM)
    acme = world.orgs["acme"]
    await hub.organizations.change(acme, SYSTEM, templates=frozenset({saved.id, "TMPL0thermo"}))
    owner = world.users["uma"].id
    [(device, _)] = await hub.devices.add([NewDevice(name="Pump", template=saved, org=acme, owner=owner)], SYSTEM)
    for name, value in (("Room", "Hall"), ("Price", "77"), ("Serial", "A1")):
        await hub.metadata.set(device, name, value, SYSTEM)
    return device


def fields_of(answer):
    return [field["name"] for field in answer.json]


async def test_field_is_hidden_from_other_roles(world, pump):
    for name, expected in (("uma", ["Room", "Serial"]), ("stan", ["Room", "Price", "Serial"])):
        assert expected == fields_of(await world.ask(name, "GET", f"{ORG}/device/metafield?deviceId={pump.id}")), name
        details = (await world.ask(name, "GET", f"{ORG}/device?deviceId={pump.id}")).json
        assert expected == [field["name"] for field in details["metaFieldValues"]], name
        found = (await world.ask(name, "POST", SEARCH, {"metadata": ["Price", "Room"]})).json
        listed = found["content"][0]["metadata"]
        assert ("Price" in expected) == ("Price" in listed), name
        assert "Hall" == listed["Room"]


@pytest.mark.parametrize(
    "body",
    [
        {"query": "77"},
        {"filters": [{"attribute": "metadata", "name": "Price", "values": ["77"]}]},
        {"filters": [{"attribute": "metadata", "name": "Price", "operator": "notEmpty"}]},
    ],
)
async def test_value_of_a_hidden_field_cannot_be_found_by_searching(world, pump, body):
    for name, expected in (("uma", 0), ("stan", 1)):
        assert expected == (await world.ask(name, "POST", SEARCH, body)).json["totalElements"], name


async def test_order_does_not_tell_a_hidden_field(hub, world, pump):
    new = NewDevice(name="Cheaper", template=pump.template, org=pump.org, owner=pump.owner)
    [(cheaper, _)] = await hub.devices.add([new], SYSTEM)
    await hub.metadata.set(cheaper, "Price", "5", SYSTEM)
    body = {"sortBy": "metadata", "sortName": "Price"}
    for name, expected in (("uma", ["Pump", "Cheaper"]), ("stan", ["Cheaper", "Pump"])):
        found = (await world.ask(name, "POST", SEARCH, body)).json["content"]
        assert expected == [row["name"] for row in found], name


@pytest.mark.parametrize(
    ("name", "field", "status"),
    [
        ("ada", "Price", 204),
        ("stan", "Price", 403),
        ("stan", "Serial", 204),
        ("ada", "Serial", 403),
        ("stan", "Room", 204),
    ],
)
async def test_field_is_set_by_its_roles(hub, world, pump, name, field, status):
    body = {"deviceId": pump.id, "name": field, "newValue": "new"}
    answer = await world.ask(name, "POST", f"{ORG}/device/metafield", body)
    assert status == answer.status
    if status == 403:
        assert f"{field} is set by the roles" in answer.message
    assert ("new" == await hub.metadata.get(pump, field)) == (status == 204)


async def test_hidden_field_cannot_be_set_and_does_not_exist(hub, world, pump):
    await world.service.roles.switch(pump.org, USER, [("own_devices.edit", True)])
    for field in ("Price", "None"):
        body = {"deviceId": pump.id, "name": field, "newValue": "1"}
        answer = await world.ask("uma", "POST", f"{ORG}/device/metafield", body)
        assert (404, "Meta field is not found.") == (answer.status, answer.message), field
    assert "77" == await hub.metadata.get(pump, "Price")


async def test_bulk_change_respects_the_roles(hub, world, pump):
    async with api_client(world, "stan") as ask:
        await ask("POST", "devices/bulk", {"action": "metadata", "devices": [pump.id], "name": "Price", "value": "1"})
    assert "77" == await hub.metadata.get(pump, "Price")


async def test_imported_devices_have_no_fields_that_the_role_does_not_set(hub, world, pump):
    rows = {"Price": "Price is set by the roles Admin only", "Serial": None}
    for field, problem in rows.items():
        csv = {"csv": f"name,template,{field}\nNew {field},{pump.template.id},5\n"}
        answer = await world.ask("stan", "POST", "/api/v1/device/import", csv)
        assert (400 if problem else 201) == answer.status
        assert problem is None or f"line 2: {problem}" == answer.message
    await world.service.roles.switch(pump.org, USER, [("org_devices.add", True)])
    csv = {"csv": f"name,template,Price\nNew,{pump.template.id},5\n"}
    answer = await world.ask("uma", "POST", "/api/v1/device/import", csv)
    assert (400, "line 2: the template has no metadata 'Price'") == (answer.status, answer.message)


async def test_value_of_a_field_for_some_roles_is_not_in_the_audit(hub, world, pump):
    for field in ("Price", "Room"):
        body = {"deviceId": pump.id, "name": field, "newValue": f"{field} 1"}
        assert 204 == (await world.ask("ada", "POST", f"{ORG}/device/metafield", body)).status
        body = {"action": "metadata", "devices": [pump.id], "name": field, "value": f"{field} 2"}
        assert 1 == (await world.ask("ada", "POST", "/api/v1/devices/bulk", body)).json["done"]
    records = (await world.ask("ada", "GET", "/api/v1/audit?size=4")).json["content"]
    values = [record["details"].get("value", record["details"].get("newValue")) for record in records]
    assert ["Room 2", "Room 1", "…", "…"] == values


async def test_device_itself_sets_any_field(hub, pump):
    await hub.metadata.set(pump, "Price", "80", pump.as_principal())
    assert "80" == await hub.metadata.get(pump, "Price")


async def test_field_for_some_roles_is_not_streamed(hub, world, pump):
    async with open_stream(hub, world.tokens["uma"]) as subscriber:
        await subscriber.subscribe(1, "device", device=pump.id)
        await hub.metadata.set(pump, "Price", "80", SYSTEM)
        await hub.metadata.set(pump, "Room", "Cellar", SYSTEM)
        message = await subscriber.receive()
    assert {"Room": "Cellar"} == message["metadata"]


@pytest.mark.parametrize(("who", "names"), [("ada", {"Room", "Price", "Serial"}), ("uma", {"Room", "Serial"})])
async def test_list_of_version_2_has_the_fields_that_the_role_sees(world, pump, who, names):
    async with api_client(world, who) as client:
        path = "/api/v2/organization/devices?include=metaFieldValues"
        [device] = (await client.http.ask("GET", path, key=world.tokens[who])).json["content"]
    assert names == {field["name"] for field in device["metaFieldValues"]}
