"""Version 2 of Blynk's routes of devices and their values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.api import api_client, names_of

from hub.model import SYSTEM
from plugins.platform_api.device_schemas import template_number

DEVICES = "/api/v2/organization/devices"
DATASTREAMS = "/api/v2/organization/device/datastreams"


@pytest.fixture
async def ask(world):
    """Requests to paths of version 2 as Ada; they return the response."""
    async with api_client(world) as client:

        async def ask(path, who="ada"):
            return await client.http.ask("GET", path, key=world.tokens[who])

        yield ask


async def test_devices_have_numeric_template_ids_and_the_parts_that_are_included(world, thermostat, ask):
    number = template_number("TMPL0blynk")
    base = {
        "id": thermostat.id,
        "name": thermostat.name,
        "templateId": number,
        "originalTemplateId": number,
        "orgId": thermostat.org,
        "token": None,
        "activatedAt": thermostat.activated,
        "ownerUserId": None,
    }
    parts = {"hardwareInfo": None, "dataStreamValues": None, "metaFieldValues": None}
    assert {"content": [base | parts], "totalElements": 1} == (await ask(DEVICES)).json

    [device] = (await ask(f"{DEVICES}?include=hardwareInfo,dataStreamValues,metaFieldValues")).json["content"]
    assert base.items() <= device.items()
    assert thermostat.hardware == device["hardwareInfo"]
    assert {"dataStreamId": 1, "pin": "v1", "dataStreamLabel": "Temperature", "value": 24.3}.items() <= device[
        "dataStreamValues"
    ][0].items()
    serial = next(field for field in device["metaFieldValues"] if field["name"] == "Serial Number")
    assert "SN:123" == serial["value"]["value"]


async def test_include_may_be_repeated_as_openapi_clients_do(world, thermostat, ask):
    [device] = (await ask(f"{DEVICES}?include=hardwareInfo&include=metaFieldValues")).json["content"]
    assert (True, False, True) == tuple(
        device[part] is not None for part in ("hardwareInfo", "dataStreamValues", "metaFieldValues")
    )


async def test_devices_of_sub_organizations_are_listed_on_request(world, thermostat, ask):
    pump = await world.device(world.orgs["works"], name="Pump")
    assert [thermostat.name] == names_of((await ask(DEVICES)).json)
    page = (await ask(f"{DEVICES}?includeSubOrgDevices=true&size=1&page=1")).json
    assert (["Pump"], 2) == (names_of(page), page["totalElements"])
    assert [pump.id] == [d["id"] for d in (await ask(f"{DEVICES}?orgId={world.orgs['works']}")).json["content"]]


async def test_only_devices_that_the_user_may_view_are_listed(world, thermostat, ask):
    assert 0 == (await ask(DEVICES, "uma")).json["totalElements"]
    await world.hub.devices.transfer(thermostat, thermostat.org, world.users["uma"].id, SYSTEM)
    assert 1 == (await ask(DEVICES, "uma")).json["totalElements"]
    assert 0 == (await ask(DEVICES, "bert")).json["totalElements"]
    assert 404 == (await ask(f"{DEVICES}?orgId={world.orgs['acme']}", "bert")).status


async def test_values_are_selected_by_datastream_id(world, thermostat, ask):
    path = f"{DATASTREAMS}?deviceId={thermostat.id}"
    values = (await ask(path)).json
    assert [datastream.id for datastream in thermostat.template.datastreams] == [v["dataStreamId"] for v in values]
    latest = world.hub.writes.latest(thermostat, thermostat.points[1].datastream)
    expected = {
        "dataStreamId": 1,
        "pin": "v1",
        "dataStreamLabel": "Temperature",
        "dataStreamAlias": "Outside",
        "value": 24.3,
        "updatedAt": latest[0],
    }
    assert [expected] == (await ask(f"{path}&dataStreamIds=1")).json
    assert [1, 2] == [v["dataStreamId"] for v in (await ask(f"{path}&dataStreamIds=2&dataStreamIds=1")).json]


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("", 400, "deviceId is missing"),
        ("?deviceId=x", 400, "deviceId must be a whole number"),
        ("?deviceId={id}&deviceId={id}", 400, "deviceId is there twice"),
        ("?deviceId={id}&dataStreamIds=v1", 400, "dataStreamIds must be a whole number"),
        ("?deviceId={id}&dataStreamIds=1,99", 404, "Data stream with identifier 99 is not found!"),
        ("?deviceId=999", 404, "Device with identifier 999 is not found"),
    ],
)
async def test_invalid_request_for_values_is_rejected(thermostat, ask, query, status, error):
    response = await ask(DATASTREAMS + query.format(id=thermostat.id))
    assert (status, True) == (response.status, error in response.message), response.message


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("?include=everything", "include must be one of hardwareInfo"),
        ("?include=hardwareinfo", "include must be one of hardwareInfo"),
        ("?size=0", "size"),
        ("?size=1001", "size"),
        ("?page=-1", "page"),
        ("?includeSubOrgDevices=yes", "includeSubOrgDevices"),
    ],
)
async def test_invalid_list_is_rejected(thermostat, ask, query, error):
    response = await ask(DEVICES + query)
    assert (400, True) == (response.status, error in response.message), response.message


async def test_values_of_a_foreign_device_are_not_found(thermostat, ask):
    assert 404 == (await ask(f"{DATASTREAMS}?deviceId={thermostat.id}", "bert")).status


async def test_v1_device_has_the_number_of_its_template(world, thermostat):
    async with api_client(world) as client:
        device = await client("GET", "organization/device", deviceId=thermostat.id)
    assert ("TMPL0blynk", template_number("TMPL0blynk")) == (device["templateId"], device["originalTemplateId"])


@given(st.text())
def test_template_number_is_a_positive_32_bit_integer(template_id):
    assert 0 <= template_number(template_id) < 2**31
