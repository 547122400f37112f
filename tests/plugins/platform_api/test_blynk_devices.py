"""Compatibility with Blynk's API of devices and templates: the requests of docs.blynk.io, and the fields that scripts read."""

from __future__ import annotations

import pytest
from support.api import api_client
from support.api_templates import THERMOSTAT
from support.raw_http import connected

from hub.domain.devices import NewDevice
from hub.model import LOCAL, ROOT_ORG, SYSTEM
from hub.run import running
from hub.writes import Write


async def test_device_has_the_fields_of_blynk(world, thermostat):
    async with api_client(world) as ask:
        details = await ask("GET", "organization/device", deviceId=thermostat.id)
        [listed] = (await ask("GET", "organization/devices", page=0, size=20))["content"]
        base_info = await ask("GET", "organization/device/baseInfo", deviceId=thermostat.id)
    fields = (
        "id templateId orgId name token lifecycleStatus activatedAt firstConnectTime connectTime disconnectTime"
        " ownerUserId hardwareInfo ip lastReceivedEventAt"
    )
    for response in (details, listed, base_info):
        assert set(fields.split()) <= set(response)
    temperature = details["dataStreamValues"][0]
    assert {
        "dataStreamId": 1,
        "pin": "v1",
        "dataStreamLabel": "Temperature",
        "dataStreamAlias": "Outside",
        "value": 24.3,
    }.items() <= temperature.items()
    assert details["lastReceivedEventAt"] == temperature["updatedAt"]
    serial = next(field for field in details["metaFieldValues"] if field["name"] == "Serial Number")
    assert {"type": "Text", "value": "SN:123"}.items() <= serial["value"].items()


async def test_devices_of_sub_organizations_are_listed_on_request(world, thermostat):
    sub_device = await world.device(world.orgs["works"])
    async with api_client(world) as ask:
        own_devices = await ask("GET", "organization/devices")
        every = await ask("GET", "organization/devices", includeSubOrgDevices="true")
    assert [thermostat.id] == [entry["id"] for entry in own_devices["content"]]
    assert {thermostat.id, sub_device.id} == {entry["id"] for entry in every["content"]}


async def test_datastreams_and_metadata_fields_are_set_by_id(hub, world, thermostat):
    async with api_client(world) as ask:
        assert None is await ask(
            "POST", "organization/device/datastream", {"deviceId": thermostat.id, "dataStreamId": 1, "value": 5}
        )
        body = {"deviceId": thermostat.id, "values": {"1": 6, "2": 7}}
        assert None is await ask("POST", "organization/device/datastreams", body)
        assert {"v1": 6, "v2": 7} == await ask(
            "GET", "organization/device/datastreams", deviceId=thermostat.id, pins="v1,v2"
        )
        field = {"deviceId": thermostat.id, "metaFieldId": 2, "newValue": 5}
        assert None is await ask("POST", "organization/device/metafield", field)
        assert None is await ask("POST", "organization/device/metafield", field | {"newValue": 5.5})
        values = await ask("GET", "organization/device/metafield", deviceId=thermostat.id)
        assert {"id": 2, "name": "Threshold", "value": "5.5"}.items() <= values[1].items()
        rejection = await ask("POST", "organization/device/metafield", field | {"newValue": "warm"})
        assert (400, True) == (
            rejection.status,
            rejection.message.startswith("The provided value for metafield is invalid."),
        )


@pytest.mark.parametrize(("written", "read"), [("Device Timezone", "Time Zone"), ("Time Zone", "Device Timezone")])
async def test_device_timezone_is_an_alias_of_time_zone(hub, world, thermostat, written, read):
    [(thermostat, token)] = await hub.devices.add(
        [NewDevice(name="Attic", template=thermostat.template, org=thermostat.org)], SYSTEM
    )

    async def by_token(name):
        path = f"/external/api/device/meta?token={token}&metaFieldName={name.replace(' ', '%20')}"
        async with connected(hub) as http:
            return (await http.get(path)).json

    field = {"deviceId": thermostat.id, "name": written, "newValue": "Europe/Kyiv"}
    async with api_client(world) as ask:
        assert None is await ask("POST", "organization/device/metafield", field)
        listed = await ask("GET", "organization/device/metafield", deviceId=thermostat.id)
        rejection = await ask("POST", "organization/device/metafield", field | {"newValue": "Mars/Base"})
    assert {"type": "Time Zone", "value": "Europe/Kyiv"} == await by_token(written) == await by_token(read)
    assert ["Time Zone"] == [entry["name"] for entry in listed if "one" in entry["type"]]
    assert "Europe/Kyiv" == hub.timezone_of(thermostat)
    assert (400, True) == (
        rejection.status,
        rejection.message.startswith("The provided value for metafield is invalid."),
    )


async def test_template_field_named_device_timezone_takes_precedence_over_the_alias(hub, world):
    document = '[template]\nid = "TMPL0zone"\nname = "Zone"\n[[metadata]]\nname = "Device Timezone"\n'
    template, _ = await hub.templates.save(document, SYSTEM)
    [(device, _)] = await hub.devices.add([NewDevice(name="Hall", template=template)], SYSTEM)
    await hub.metadata.set(device, "Device Timezone", "somewhere", LOCAL)
    assert {"Device Timezone": "somewhere"} == await hub.metadata.values_for(device)
    assert "" == await hub.metadata.get(device, "Time Zone")


async def test_device_log_and_timeline_have_the_fields_of_blynk(hub, world, thermostat):
    async with api_client(world) as ask:
        await ask("POST", "organization/device/datastream", {"deviceId": thermostat.id, "dataStreamId": 1, "value": 5})
        [action, *_] = (await ask("GET", "organization/device/logs", deviceId=thermostat.id))["content"]
        assert ("ada@example.org", 5.0, 1, "VIRTUAL") == tuple(
            action[name] for name in ("triggerUserEmail", "value", "pin", "pinType")
        )
        assert action["createdAt"] > 0
        body = {"deviceId": thermostat.id, "eventCode": "high_temp", "eventDescription": "It is warm"}
        assert None is await ask("POST", "organization/device/trigger-event", body)
        timeline = await ask("GET", "organization/device/timeline", deviceId=thermostat.id, eventType="INFORMATION")
    [event] = timeline["content"]
    assert ("INFORMATION", world.orgs["acme"], "It is warm", False, None) == tuple(
        event[name] for name in ("eventType", "orgId", "description", "isResolved", "resolvedAt")
    )


async def test_devices_by_owner_and_by_user_organization_have_all_fields(world, thermostat):
    uma = world.users["uma"]
    async with api_client(world) as ask:
        assert None is await ask(
            "POST", "organization/device/transfer", {"deviceId": thermostat.id, "newUserId": uma.id}
        )
        [by_owner] = (await ask("GET", "organization/device/by-owner", ownerEmail="UMA@example.org"))["content"]
        [by_user_org] = (await ask("GET", "organization/device/by-user-org", userEmail="uma@example.org"))["content"]
        of_unknown_owner = await ask("GET", "organization/device/by-owner", ownerEmail="nobody@example.org")
        of_other_organization = await ask("GET", "organization/device/by-user-org", userEmail="bert@example.org")
    assert (thermostat.id, uma.id, "TMPL0blynk") == (by_owner["id"], by_owner["ownerUserId"], by_user_org["templateId"])
    assert (0, 0) == (of_unknown_owner["totalElements"], of_other_organization["totalElements"])


@pytest.mark.parametrize(
    "key",
    [
        "Device Id",
        "Name",
        "Owner Id",
        "Device Owner",
        "Last Reported At",
        "Activated At",
        "Activated By",
        "Model",
        "Template Name",
    ]
    + ["Template Id", "Firmware Version", "Organization Id", "Status"],
)
async def test_devices_are_sorted_by_blynks_keys(world, thermostat, key):
    await world.device(world.orgs["acme"], name="Attic")
    async with api_client(world) as ask:
        sort = {"query": "", "sortBy": key.replace(" ", "%20")}
        ascending = await ask("GET", "organization/search/devices", sortOrder="ASC", **sort)
        descending = await ask("GET", "organization/search/devices", sortOrder="DESC", **sort)
    assert 2 == ascending["totalElements"] == descending["totalElements"]
    if key == "Name":
        assert ["Attic", "Hall"] == [entry["name"] for entry in ascending["content"]]
        assert ["Hall", "Attic"] == [entry["name"] for entry in descending["content"]]


async def test_templates_have_the_fields_of_blynk(world, thermostat):
    async with api_client(world) as ask:
        listed = (await ask("GET", "organization/templates", orgId=world.orgs["acme"]))["content"]
        template = {"templateId": "TMPL0blynk"}
        streams = await ask("GET", "organization/template/datastreams", **template)
        [event] = await ask("GET", "organization/template/events", **template)
        fields = await ask("GET", "organization/template/metafields", **template)
    assert ["TMPL0blynk"] in [entry["templateIds"] for entry in listed]
    assert {
        "id": 1,
        "label": "Temperature",
        "alias": "Outside",
        "units": "Celsius",
        "type": "DOUBLE",
        "defaultValue": 5.0,
        "pin": 1,
        "pinType": "VIRTUAL",
    }.items() <= streams[0].items()
    assert ("INT", 2, "Mode") == (streams[1]["type"], streams[1]["pin"], streams[1]["alias"])
    assert {
        "id": 1,
        "type": "INFORMATION",
        "name": "High temperature",
        "eventCode": "high_temp",
    }.items() <= event.items()
    assert [("Serial Number", "Text"), ("Threshold", "Number")] == [(entry["name"], entry["type"]) for entry in fields]


async def test_device_moves_to_the_organization_of_its_new_owner(world, thermostat):
    works = world.orgs["works"]
    await world.hub.organizations.change(works, SYSTEM, templates=frozenset({"TMPL0blynk"}))
    wes = await world.user("wes", works)
    async with api_client(world) as ask:
        assert None is await ask(
            "POST", "organization/device/transfer", {"deviceId": thermostat.id, "newUserId": wes.id}
        )
        assert (works, wes.id) == (thermostat.org, thermostat.owner)
        for owner in (world.users["bert"].id, 999):
            for path, body in (
                ("device/transfer", {"deviceId": thermostat.id, "newUserId": owner}),
                ("device/create", {"templateId": "TMPL0blynk", "name": "New", "ownerId": owner}),
            ):
                response = await ask("POST", f"organization/{path}", body)
                error = f"User with identifier {owner} is not found or belong to another organization."
                assert (404, error) == (response.status, response.message)


async def test_history_without_range_is_complete(hub, world, thermostat):
    at = hub.clock.now() - 20 * 86_400_000
    await hub.write(Write(thermostat, 1, 1.5, "test", SYSTEM, at)).durable()
    async with api_client(world) as ask:
        history = await ask("GET", "organization/device/datastream/history", deviceId=thermostat.id, pin="v1")
        recent = await ask(
            "GET", "organization/device/datastream/history", **{"deviceId": thermostat.id, "pin": "v1", "from": at + 1}
        )
    assert [(1.5, at), 2] == [
        (history["content"][0]["value"], history["content"][0]["createdAt"]),
        history["totalElements"],
    ]
    assert 1 == recent["totalElements"]


async def test_firmware_versions_are_sorted_numerically(hub, world, thermostat):
    for name, version in (("A", "1.9.0"), ("B", "1.10.0"), ("C", "1.2.0-rc1")):
        new_device = await world.device(world.orgs["acme"], name=name)
        await hub.devices.update_firmware_info(new_device, {"mcu": version, "ver": "9"})
    async with api_client(world) as ask:
        matches = (await ask("GET", "organization/search/devices", query="", sortBy="Firmware%20Version"))["content"]
    assert ["Hall", "C", "A", "B"] == [new_device["name"] for new_device in matches]
    assert "1.10.0" == matches[-1]["hardwareInfo"]["version"]


async def test_devices_are_searched_and_sorted_by_the_activating_user(hub, world, thermostat):
    async with api_client(world) as ask:
        created = await ask("POST", "organization/device/create", {"templateId": "TMPL0blynk", "name": "Adas"})
    search = {"filters": [{"attribute": "activatedBy", "operator": "contains", "values": ["ADA@"]}]}
    async with api_client(world) as ask:
        # The device is not activated before its first report.
        assert 0 == (await ask("POST", "devices/search", search))["totalElements"]
        for new_device in (thermostat, hub.devices.get(created["id"])):
            await hub.devices.update_firmware_info(new_device, {"ver": "1"})
        [matches] = (await ask("POST", "devices/search", search))["content"]
        assert (created["id"], "ada@example.org") == (matches["id"], matches["activatedBy"])
        key = await ask("GET", "organization/search/devices", query="", sortBy="Activated%20By")
        assert ["Adas", "Hall"] == [new_device["name"] for new_device in key["content"]]
    await world.service.users.change(world.users["ada"], org=ROOT_ORG)
    async with api_client(world, "stan") as ask:
        # Users of a parent organization are not named.
        matches = await ask("GET", "organization/search/devices", query="Adas")
        assert "ada" not in matches["content"][0]["activatedBy"]


async def test_activating_user_survives_a_restart(hub_config):
    async with running(hub_config) as hub:
        template, _ = await hub.templates.save(THERMOSTAT, SYSTEM)
        [(device, _)] = await hub.devices.add([NewDevice(name="Hall", template=template)], LOCAL)
        before = device.added_by
    async with running(hub_config) as hub:
        assert before == hub.devices.get(device.id).added_by == LOCAL.actor_id


async def test_last_activated_devices_exclude_sub_organizations(hub, world, thermostat):
    sub_device = await world.device(world.orgs["works"])
    for new_device in (thermostat, sub_device):
        await hub.devices.update_firmware_info(new_device, {"ver": "1"})
    async with api_client(world) as ask:
        matches = await ask("GET", "organization/device/last-activated")
    assert [thermostat.id] == [new_device["id"] for new_device in matches["content"]]
    assert matches["content"][0]["activationTime"] == thermostat.activated


@pytest.mark.parametrize("value", [None, {"a": 1}, [[1]], [None]])
async def test_property_that_is_not_text_is_rejected(world, thermostat, value):
    async with api_client(world) as ask:
        body = {"deviceId": thermostat.id, "dataStreamId": 1, "property": "color", "value": value}
        response = await ask("POST", "organization/device/datastream/property", body)
    assert 400 == response.status


async def test_pin_and_datastream_id_together_are_rejected(world, thermostat):
    async with api_client(world) as ask:
        body = {"deviceId": thermostat.id, "dataStreamId": 1, "pin": "v2", "value": 1}
        response = await ask("POST", "organization/device/datastream", body)
    assert (400, "either a pin or a dataStreamId is meant") == (response.status, response.message)


async def test_page_has_50_entries_by_default(hub, world):
    for number in range(51):
        await world.device(world.orgs["acme"], name=f"Device {number}")
    async with api_client(world) as ask:
        page = await ask("GET", "organization/devices")
        full = await ask("GET", "organization/devices", size=1000)
    assert (50, 51, 51) == (len(page["content"]), page["totalElements"], len(full["content"]))
