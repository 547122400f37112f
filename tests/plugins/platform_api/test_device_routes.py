"""Devices over the Platform API: creation, import, lists, details, tokens, values and commands."""

from __future__ import annotations

import pytest
import trio
from support.api import NOT_FOUND_DEVICE, NOT_FOUND_TEMPLATE, TOKEN, error_of
from support.api_templates import LAMP
from support.raw_http import PATIENCE, ask, local_key
from support.tenants import ORG

from connectors.native import client
from hub.facts import DeviceDisconnected
from hub.model import SYSTEM
from hub.testing import address_of


async def test_added_device_gets_a_token_it_can_log_in_with(hub, api):
    await hub.templates.save(LAMP, SYSTEM)

    response = await api.post(f"{ORG}/device/create", {"templateId": "TMPL0lamp", "name": "Hall"})

    [device] = hub.devices.by_id.values()
    assert (201, device.id, "Hall") == (response.status, response.json["id"], response.json["name"])
    assert 32 == len(response.json["token"])
    assert device is hub.tokens.device_for(response.json["token"])
    async with client.connect(*address_of(hub), response.json["token"]):
        pass


async def test_device_can_be_added_with_a_given_token(hub, api):
    await hub.templates.save(LAMP, SYSTEM)
    body = {"templateId": "TMPL0lamp", "name": "Hall", "orgId": 1, "token": "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_~!#$"}

    assert "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_~!#$" == (await api.post(f"{ORG}/device/create", body)).json["token"]
    assert "$" in error_of(await api.post(f"{ORG}/device/create", body))
    assert 1 == len(hub.devices.by_id)


async def test_device_of_an_unknown_template_or_organization_is_rejected(lamp, api):
    create, name = f"{ORG}/device/create", "Hall"

    assert NOT_FOUND_TEMPLATE == error_of(await api.post(create, {"templateId": "TMPLnone", "name": name}), 404)
    body = {"templateId": "TMPL0lamp", "name": name, "orgId": 99}
    error = "Organization with identifier 99 is not found or you don't have access to it."
    assert error == error_of(await api.post(create, body), 404)


async def test_devices_are_imported_from_csv(hub, api):
    await hub.templates.save(LAMP, SYSTEM)
    rows = f'\ufeffname,template,token,Room\r\nOne,TMPL0lamp,{TOKEN},Kitchen\r\n"Two, quoted",TMPL0lamp,,\r\n'

    response = await api.post("/api/v1/device/import", {"csv": rows})

    first, second = response.json
    assert (201, "One", TOKEN, "Two, quoted", 32) == (
        response.status,
        first["name"],
        first["token"],
        second["name"],
        len(second["token"]),
    )
    assert ["One", "Two, quoted"] == [device.name for device in hub.devices.by_id.values()]
    assert "Kitchen" == await hub.metadata.get(hub.devices.get(first["id"]), "Room")


async def test_csv_with_invalid_rows_imports_nothing_and_reports_each_row(hub, lamp, api):
    rows = f"""\
name,template,token,Room,Serial
Good,TMPL0lamp,,,
Bad template,TMPLnone,,,
,TMPL0lamp,,,
Bad token,TMPL0lamp,short,,
Token in use,TMPL0lamp,{lamp[1]},,
Same token,TMPL0lamp,{TOKEN},,
Same token,TMPL0lamp,{TOKEN},,
Unknown field,TMPL0lamp,,,5
Too many,TMPL0lamp,,,,,
"""

    error = error_of(await api.post("/api/v1/device/import", {"csv": rows}))

    assert ["line 10", "line 3", "line 4", "line 5", "line 6", "line 8", "line 9"] == sorted(
        line.partition(":")[0] for line in error.splitlines()
    )
    assert [lamp[0]] == list(hub.devices.by_id.values())


@pytest.mark.parametrize(
    "rows",
    [
        "",
        "name\nA\n",
        "template,token\nTMPL0lamp,\n",
        'name,template\n"A,TMPL0lamp\n',
        "name,template\nA\0,TMPL0lamp\n",
    ],
)
async def test_invalid_csv_is_rejected(hub, rows, api):
    await hub.templates.save(LAMP, SYSTEM)

    assert error_of(await api.post("/api/v1/device/import", {"csv": rows}))
    assert {} == hub.devices.by_id


@pytest.fixture
async def lamps(hub, api):
    await hub.templates.save(LAMP, SYSTEM)
    rows = "name,template\n" + "".join(f"Lamp {n},TMPL0lamp\n" for n in range(55))
    assert 201 == (await api.post("/api/v1/device/import", {"csv": rows})).status


@pytest.mark.parametrize(
    ("query", "first", "count"),
    [
        ("", 0, 50),
        ("?page=0&size=20", 0, 20),
        ("?page=1", 50, 5),
        ("?page=2", None, 0),
        ("?size=7&page=7", 49, 6),
        ("?size=1000", 0, 55),
        ("?page=999999999999999", None, 0),
    ],
)
async def test_device_list_is_paginated(lamps, api, query, first, count):
    listed = (await api.get(f"{ORG}/devices{query}")).json

    assert (55, count) == (listed["totalElements"], len(listed["content"]))
    assert [f"Lamp {first + n}" for n in range(count)] == [device["name"] for device in listed["content"]]


@pytest.mark.parametrize("query", ["size=0", "size=1001", "size=x", "page=-1", "page=1.5", "page=", "size=%C2%B2"])
async def test_invalid_page_is_rejected(api, query):
    assert error_of(await api.get(f"{ORG}/devices?{query}"))


async def test_search_matches_a_part_of_the_device_name(lamps, api):
    listed = (await api.get(f"{ORG}/search/devices?query=lAMP+2")).json

    names = [device["name"] for device in listed["content"]]
    assert "Lamp 2" == names[0]
    assert {"Lamp 12", *(f"Lamp {n}" for n in range(20, 25))} <= set(names)
    assert not {"Lamp 3", "Lamp 10"} & set(names)
    assert {"content": [], "totalElements": 0} == (await api.get(f"{ORG}/search/devices?query=none")).json
    assert "query is missing" == error_of(await api.get(f"{ORG}/search/devices"))


async def test_device_details_contain_values_metadata_and_hardware(hub, lamp, api):
    device, token = lamp
    async with client.connect(
        *address_of(hub),
        token,
        info={"mcu": "1.2.3", "fw-type": "TMPL0lamp", "blynk": "1.3.2", "dev": "ESP32", "build": "b"},
    ):
        await hub.metadata.set(device, "Room", "Kitchen", SYSTEM)
        await hub.properties.set(device, [0], {"color": ["red"]})
        await api.post(f"{ORG}/device/datastream", {"deviceId": device.id, "pin": "v0", "value": 7})
        details = (await api.get(f"{ORG}/device?deviceId={device.id}")).json

    assert (device.id, "TMPL0lamp", 1, "Hall", None, "Online", "127.0.0.1") == (
        details["id"],
        details["templateId"],
        details["orgId"],
        details["name"],
        details["token"],
        details["lifecycleStatus"]["name"],
        details["ip"],
    )
    assert {
        "version": "1.2.3",
        "fwType": "TMPL0lamp",
        "blynkVersion": "1.3.2",
        "boardType": "ESP32",
        "build": "b",
    } == details["hardwareInfo"]
    level, colour, mode, place = details["dataStreamValues"]
    assert (1, "v0", "Brightness", "%", 7, {"color": ["red"]}) == tuple(
        level[key] for key in ("dataStreamId", "pin", "dataStreamLabel", "units", "value", "properties")
    )
    assert details["createdAt"] <= level["updatedAt"]
    assert [("white", None), (None, None), (None, None)] == [
        (v["value"], v["updatedAt"]) for v in (colour, mode, place)
    ]
    room_field = details["metaFieldValues"][0]
    assert ("Room", {"type": "Text", "value": "Kitchen", "text": "Kitchen"}) == (
        room_field["name"],
        room_field["value"],
    )


@pytest.mark.parametrize(
    "path",
    [
        "/device",
        "/device/online",
        "/device/timeline",
        "/device/datastreams",
    ],
)
async def test_unknown_device_is_not_found(api, path):
    assert NOT_FOUND_DEVICE == error_of(await api.get(f"{ORG}{path}?deviceId=99"), 404)
    assert "deviceId is missing" == error_of(await api.get(f"{ORG}{path}"))
    assert "deviceId must be a whole number" == error_of(await api.get(f"{ORG}{path}?deviceId=x"))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", f"{ORG}/device?deviceId=99", {"name": "New"}),
        ("DELETE", f"{ORG}/device?deviceId=99", None),
        ("POST", f"{ORG}/device/datastream", {"deviceId": 99, "pin": "v0", "value": 1}),
        ("POST", f"{ORG}/device/datastreams", {"deviceId": 99, "values": {"1": 1}}),
        ("POST", "/api/v1/device/token", {"deviceId": 99}),
        ("POST", "/api/v1/device/redirect", {"deviceId": 99, "host": "hub"}),
        ("POST", "/api/v1/device/reboot", {"deviceId": 99}),
    ],
)
async def test_changing_an_unknown_device_is_not_found(hub, method, path, body):
    assert NOT_FOUND_DEVICE == error_of(await ask(hub, method, path, body, local_key(hub)), 404)


async def test_device_is_renamed(hub, lamp, api):
    response = await api.put(f"{ORG}/device?deviceId={lamp[0].id}", {"name": "Küche"})

    assert (200, "Küche", "Küche") == (response.status, response.json["name"], lamp[0].name)
    assert error_of(await api.put(f"{ORG}/device?deviceId={lamp[0].id}", {"name": " "}))
    assert "Küche" == lamp[0].name


async def test_deleting_a_device_closes_its_connection(hub, lamp, api):
    async with client.connect(*address_of(hub), lamp[1]) as board:
        response = await api.delete(f"{ORG}/device?deviceId={lamp[0].id}")

        assert (204, b"") == (response.status, response.body)
        with trio.fail_after(PATIENCE):
            assert [] == [frame async for frame in board.frames()]
    assert {} == hub.devices.by_id
    assert 400 == (await ask(hub, "GET", f"/external/api/isHardwareConnected?token={lamp[1]}")).status


async def test_replacing_a_token_closes_the_connection(hub, lamp, api):
    disconnected = trio.Event()
    hub.subscribe(DeviceDisconnected, lambda _: disconnected.set())
    async with client.connect(*address_of(hub), lamp[1]):
        response = await api.post("/api/v1/device/token", {"deviceId": lamp[0].id})
        with trio.fail_after(PATIENCE):
            await disconnected.wait()

    assert 200 == response.status
    assert [None, lamp[0]] == [hub.tokens.device_for(token) for token in (lamp[1], response.json["token"])]


async def test_replaced_token_stays_valid_during_the_overlap(hub, lamp, api):
    body = {"deviceId": lamp[0].id, "overlap": "7d", "token": TOKEN}

    assert {"token": TOKEN} == (await api.post("/api/v1/device/token", body)).json
    assert [lamp[0], lamp[0]] == [hub.tokens.device_for(token) for token in (lamp[1], TOKEN)]
    assert 409 == (await api.post("/api/v1/device/token", body)).status
    assert "overlap" in error_of(await api.post("/api/v1/device/token", {"deviceId": lamp[0].id, "overlap": "soon"}))
    assert error_of(await api.post("/api/v1/device/token", {"deviceId": lamp[0].id, "token": "short"}))


@pytest.mark.parametrize(
    ("key", "value", "pin", "expected"),
    [
        ({"dataStreamId": 1}, 7, "v0", 7),
        ({"pin": "v0"}, "7", "v0", 7),
        ({"pin": "V0"}, 700, "v0", 100),
        ({"pin": "v1"}, "é", "v1", "é"),
        ({"pin": "v1"}, ["a", "b"], "v1", ["a", "b"]),
        ({"dataStreamId": 5}, 9, "v2", 0),
        ({"dataStreamId": 6}, [30.5, 50.4], "v3", [30.5, 50.4]),
    ],
)
async def test_written_value_is_read_back(hub, lamp, api, key, value, pin, expected):
    response = await api.post(f"{ORG}/device/datastream", {"deviceId": lamp[0].id, "value": value} | key)

    assert (204, b"") == (response.status, response.body)
    assert {pin: expected} == (await api.get(f"{ORG}/device/datastreams?deviceId={lamp[0].id}&pins={pin}")).json


async def test_values_include_defaults_and_can_be_selected_by_pin(hub, lamp, api):
    target = f"{ORG}/device/datastreams?deviceId={lamp[0].id}"
    assert (
        204
        == (await api.post(f"{ORG}/device/datastreams", {"deviceId": lamp[0].id, "values": {"1": 5, "5": "1"}})).status
    )

    assert {"v0": 5, "v1": "white", "v2": 1} == (await api.get(target)).json
    assert {"v0": 5, "v2": 1} == (await api.get(f"{target}&pins=V0,v2,v3,v77")).json


async def test_written_value_is_sent_to_the_device(hub, lamp, api):
    async with client.connect(*address_of(hub), lamp[1], info={"h-beat": "45"}) as board:
        await api.post(f"{ORG}/device/datastream", {"deviceId": lamp[0].id, "pin": "v0", "value": 7})
        with trio.fail_after(PATIENCE):
            assert (0, ["7"]) == await anext(board.writes())


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"1": 5, "2": "x", "6": "nowhere"}, 400),
        ({"1": 5, "99": 1}, 404),
        ({"1": "abc"}, 400),
        ({"1": None}, 400),
        ({"1": {}}, 400),
        ({"1": []}, 400),
        ({"1": [[1]]}, 400),
        ({"6": {"lon": 1}}, 400),
    ],
)
async def test_values_are_written_atomically(hub, lamp, api, values, status):
    response = await api.post(f"{ORG}/device/datastreams", {"deviceId": lamp[0].id, "values": values})

    assert error_of(response, status)
    assert {"v1": "white"} == (await api.get(f"{ORG}/device/datastreams?deviceId={lamp[0].id}")).json
    assert 0 == hub.writes.count


async def test_unknown_datastream_is_not_found(lamp, api):
    body = {"deviceId": lamp[0].id, "dataStreamId": 99, "value": 1}

    assert "Data stream with identifier 99 is not found!" == error_of(
        await api.post(f"{ORG}/device/datastream", body), 404
    )


async def test_device_is_online_while_it_is_connected(hub, lamp, api):
    target = f"{ORG}/device/online?deviceId={lamp[0].id}"

    assert {"connected": False} == (await api.get(target)).json
    async with client.connect(*address_of(hub), lamp[1]):
        assert {"connected": True} == (await api.get(target)).json


async def test_timeline_lists_the_newest_event_first(hub, lamp, api):
    await hub.timeline.log(lamp[0], "broken", "Dark")
    await hub.timeline.add_note(lamp[0], "Note", "Found it")

    listed = (await api.get(f"{ORG}/device/timeline?deviceId={lamp[0].id}")).json

    assert 2 == listed["totalElements"]
    assert [("note", "Note", "Found it"), ("broken", "Broken", "Dark")] == [
        (event["eventCode"], event["name"], event["description"]) for event in listed["content"]
    ]
    newest = (await api.get(f"{ORG}/device/timeline?deviceId={lamp[0].id}&size=1")).json["content"]
    assert ["note"] == [event["eventCode"] for event in newest]


@pytest.mark.parametrize(
    ("path", "arguments", "expected"),
    [
        ("redirect", {"host": "hub.example", "port": 9443}, (41, b"hub.example\x009443")),
        ("redirect", {"host": "hub.example"}, (41, b"hub.example\x0080")),
        ("reboot", {}, (17, b"dbg\x00reboot")),
    ],
)
async def test_command_is_sent_to_the_device(hub, lamp, api, path, arguments, expected):
    async with client.connect(*address_of(hub), lamp[1], info={"h-beat": "45"}) as board:
        response = await api.post(f"/api/v1/device/{path}", {"deviceId": lamp[0].id} | arguments)
        assert 204 == response.status
        with trio.fail_after(PATIENCE):
            command, _, body, _ = await anext(board.frames())

    assert expected == (command, body)


@pytest.mark.parametrize(("path", "arguments"), [("redirect", {"host": "hub"}), ("reboot", {})])
async def test_command_to_an_offline_device_is_rejected(lamp, api, path, arguments):
    response = await api.post(f"/api/v1/device/{path}", {"deviceId": lamp[0].id} | arguments)

    assert "device Hall is offline" == error_of(response, 409)


@pytest.mark.parametrize(
    "arguments",
    [{"host": ""}, {"host": "x" * 64}, {"host": "a\0b"}, {"host": "hub", "port": 0}, {"host": "hub", "port": 65536}],
)
async def test_redirect_to_an_invalid_host_or_port_is_rejected(hub, lamp, api, arguments):
    async with client.connect(*address_of(hub), lamp[1]):
        assert error_of(await api.post("/api/v1/device/redirect", {"deviceId": lamp[0].id} | arguments))
