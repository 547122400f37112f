"""The Platform API, and what monitoring asks, over HTTP."""

from __future__ import annotations

import json
import re
import ssl

import pytest
import trio
from support.raw_http import PATIENCE, ask, connected, local_key

from connectors.native import client
from hub.api import AUTHENTICATED, OPEN, PUBLIC, Route, SocketRoute
from hub.config import parse
from hub.facts import DeviceDisconnected
from hub.hookspecs import hookimpl
from hub.model import SYSTEM, Principal
from hub.run import running
from hub.testing import LOOPBACK, add_device, address_of

LAMP = """\
[template]
id = "TMPL0lamp"
name = "Lamp"
hardware = "ESP32"
connection = "WiFi"

[[datastream]]
id = 1
pin = "V0"
name = "Brightness"
type = "integer"
units = "%"
min = 0
max = 100
sync = true

[[datastream]]
id = 2
pin = "V1"
name = "Colour"
type = "string"
default = "white"

[[datastream]]
id = 5
pin = "V2"
name = "Mode"
type = "enum"
fallback = 0

[datastream.values]
0 = "Off"
1 = "On"

[[datastream]]
id = 6
pin = "V3"
name = "Place"
type = "location"

[[event]]
code = "broken"
name = "Broken"
type = "critical"
description = "Change the bulb"

[[metadata]]
name = "Room"
default = "none"
"""
ORG = "/api/v1/organization"
NO_DEVICE = "Device with identifier 99 is not found or belong to another organization."
NO_TEMPLATE = "Template is not found or you don't have access to it."
TOKEN = "0123456789abcdef0123456789abcdef"
OTHER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_~!#$"


class Api:
    """Requests with the local key on one connection."""

    def __init__(self, http, key):
        self._http = http
        self._key = key

    async def get(self, path):
        return await self._http.ask("GET", path, key=self._key)

    async def post(self, path, body):
        return await self._http.ask("POST", path, body, self._key)

    async def put(self, path, body):
        return await self._http.ask("PUT", path, body, self._key)

    async def delete(self, path):
        return await self._http.ask("DELETE", path, key=self._key)


@pytest.fixture
async def api(hub):
    async with connected(hub) as http:
        yield Api(http, local_key(hub))


@pytest.fixture
async def lamp(hub):
    """A device and its token."""
    return await add_device(hub, LAMP, "Hall")


async def refused(answer, status=400):
    """What an error says, once its status is seen to be right."""
    assert status == answer.status
    return answer.message


def routes(hub, kind=Route):
    return [route for route in hub.routes if isinstance(route, kind)]


# -- who may ----------------------------------------------------------------------------------------------------------


async def test_every_route_has_a_permission_that_exists(hub):
    permissions = {permission.id for permission in hub.permissions}

    assert [] == [route.path for route in hub.routes if route.permission not in {*OPEN, AUTHENTICATED, *permissions}]
    assert {"/api/v1/stream"} == {route.path for route in routes(hub, SocketRoute)}
    public = {route.path for route in routes(hub) if route.permission == PUBLIC}
    assert {
        "/health",
        "/ca.pem",
        "/reports/{key}/{name}",
        "/",
        "/favicon.ico",
        "/account",
        "/api/v1/login",
        "/device_uploads/{device}/{name}",
        "/api/v1/login/refresh",
        "/oauth2/token",
        "/oauth2/authorize",
        "/api/v1/openapi.json",
        "/api/docs",
    } == {path for path in public if not path.startswith("/external/api/")}


async def test_the_page_about_the_api_has_one_group_for_each_thing_and_marks_code(hub):
    document = json.loads((await ask(hub, "GET", "/api/v1/openapi.json")).body)
    groups = {operation["tags"][0] for path in document["paths"].values() for operation in path.values()}
    assert [] == [group for group in groups if group.removesuffix("s") in groups - {group}]
    page = (await ask(hub, "GET", "/api/docs")).text
    assert groups == set(re.findall(r'<h2 id="(.*?)">', page))
    assert "<code>POST /api/v1/login</code>" in page
    assert "`" not in page


@pytest.mark.parametrize("key", [None, "", "wrong", "x" * 43, "é"], ids=ascii)
async def test_a_route_that_is_not_public_asks_for_the_key(hub, key):
    async with connected(hub) as http:
        for route in routes(hub):
            if route.permission not in OPEN:
                answer = await http.ask(route.method, route.path, b"" if route.method != "GET" else None, key)
                assert (401, "Bearer") == (answer.status, answer.headers["www-authenticate"]), route.path
                assert answer.message


@pytest.mark.parametrize("authorization", ["Basic dTpw", "Bearer", "Bearer ", "{key}", "Token {key}", "Bearer {key}x"])
async def test_another_kind_of_authorization_is_refused(hub, authorization):
    asked = authorization.format(key=local_key(hub))

    assert 401 == (await ask(hub, "GET", "/api/v1/status", Authorization=asked)).status


async def test_the_scheme_is_read_in_any_case(hub):
    assert 200 == (await ask(hub, "GET", "/api/v1/status", Authorization=f"bearer {local_key(hub)}")).status


class Guests:
    """A plugin that knows somebody, and lets them look at devices only."""

    __name__ = "guests"
    PINWHEEL_HOOKS = 1

    @hookimpl
    async def hub_authenticate(self, credentials):
        return Principal("guest", 7, label="guest") if credentials.secret == "guest" else None

    @hookimpl
    def hub_authorize(self, principal, permission):
        return permission == "org_devices.view"


@pytest.mark.parametrize("hub_plugins", [(Guests(),)], ids=["guests"])
async def test_somebody_without_the_permission_is_refused_with_403(hub, lamp):
    async with connected(hub) as http:
        for route in routes(hub):
            if route.permission not in (*OPEN, AUTHENTICATED, "org_devices.view"):
                answer = await http.ask(route.method, route.path, b"" if route.method != "GET" else None, "guest")
                assert 403 == answer.status, route.path
                assert route.permission in answer.message
        assert 200 == (await http.ask("GET", f"{ORG}/device?deviceId={lamp[0].id}", key="guest")).status
        assert 401 == (await http.ask("GET", f"{ORG}/devices", key="stranger")).status


# -- bodies -----------------------------------------------------------------------------------------------------------


async def test_an_unknown_key_is_said_with_those_that_there_are(api):
    said = await refused(await api.post(f"{ORG}/device/transfer", {"deviceId": 1, "userId": 2}))

    assert "unknown key userId; there are deviceId, newUserId, newOrgId" == said


async def test_everything_wrong_with_a_body_is_said_at_once(api):
    body = {"templateId": 5, "orgId": "1", "colour": "red", "size": 1}

    said = await refused(await api.post(f"{ORG}/device/create", body))

    assert "templateId: must be text" in said
    assert "orgId: must be a whole number" in said
    assert re.search(r"name.*missing", said)
    assert "unknown key colour, size; there are templateId, name, orgId, ownerId, token" in said


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"nonsense", b"[" * 60_000, b"1" * 5000], ids=lambda b: ascii(b[:5])
)
async def test_a_body_that_is_not_json_is_refused(api, body):
    assert "The body is not JSON." == await refused(await api.post(f"{ORG}/device/create", body))


@pytest.mark.parametrize("body", [[], "text", 5, None, True])
async def test_a_body_that_is_no_object_is_refused(api, body):
    assert await refused(await api.post(f"{ORG}/device/create", body))


HOSTILE = [
    ("device/create", {"templateId": "TMPL0lamp", "name": "\ud800"}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "a\0b"}),
    ("device/create", {"templateId": "TMPL0lamp", "name": ""}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "x" * 61}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "Lamp", "token": ""}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "Lamp", "token": "é" * 32}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "Lamp", "token": " " * 32}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "Lamp", "\ud800": 1}),
    ("device/create", {"templateId": "TMPL0lamp", "name": True}),
    ("device/datastream", {"deviceId": 1, "pin": "\ud800", "value": 1}),
    ("device/datastream", {"deviceId": 1, "value": 1}),
    ("device/datastream", {"deviceId": 1, "pin": "v77", "value": 1}),
    ("device/datastream", {"deviceId": 1, "pin": "v0"}),
    ("device/datastream", {"deviceId": True, "pin": "v0", "value": 1}),
    ("device/datastream", {"deviceId": 1.5, "pin": "v0", "value": 1}),
    ("device/datastreams", {"deviceId": 1, "values": {}}),
    ("device/datastreams", {"deviceId": 1, "values": [1]}),
    ("device/datastreams", {"deviceId": 1, "values": {"v0": 1}}),
    ("device/datastreams", {"deviceId": 1, "values": {"-1": 1}}),
    ("device/datastreams", {"deviceId": 1, "values": {"²": 1}}),
]


@pytest.mark.parametrize(("path", "body"), HOSTILE)
async def test_a_body_that_makes_no_sense_is_refused(hub, lamp, api, path, body):
    assert await refused(await api.post(f"{ORG}/{path}", body))
    assert [lamp[0]] == list(hub.devices.by_id.values())
    assert 0 == hub.writes.count


async def test_a_datastream_with_an_absurd_id_is_not_found(lamp, api):
    for number in "9" * 30, "9" * 5000:
        answer = await api.post(f"{ORG}/device/datastreams", {"deviceId": lamp[0].id, "values": {number: 1}})
        assert answer.status in (400, 404)


# -- adding devices ---------------------------------------------------------------------------------------------------


async def test_a_device_is_added_with_a_token_of_its_own(hub, api):
    await hub.templates.save(LAMP, SYSTEM)

    answer = await api.post(f"{ORG}/device/create", {"templateId": "TMPL0lamp", "name": "Hall"})

    [device] = hub.devices.by_id.values()
    assert (201, device.id, "Hall") == (answer.status, answer.json["id"], answer.json["name"])
    assert 32 == len(answer.json["token"])
    assert device is hub.tokens.device_for(answer.json["token"])
    async with client.connect(*address_of(hub), answer.json["token"]):
        pass


async def test_a_device_is_added_with_the_token_its_board_has(hub, api):
    await hub.templates.save(LAMP, SYSTEM)
    body = {"templateId": "TMPL0lamp", "name": "Hall", "orgId": 1, "token": OTHER}

    assert OTHER == (await api.post(f"{ORG}/device/create", body)).json["token"]
    assert "$" in await refused(await api.post(f"{ORG}/device/create", body))
    assert 1 == len(hub.devices.by_id)


async def test_a_device_of_nothing_is_not_added(lamp, api):
    create, name = f"{ORG}/device/create", "Hall"

    assert NO_TEMPLATE == await refused(await api.post(create, {"templateId": "TMPLnone", "name": name}), 404)
    body = {"templateId": "TMPL0lamp", "name": name, "orgId": 99}
    said = "Organization with identifier 99 is not found or you don't have access to it."
    assert said == await refused(await api.post(create, body), 404)


async def test_devices_are_added_from_csv(hub, api):
    await hub.templates.save(LAMP, SYSTEM)
    rows = f'\ufeffname,template,token,Room\r\nOne,TMPL0lamp,{TOKEN},Kitchen\r\n"Two, quoted",TMPL0lamp,,\r\n'

    answer = await api.post("/api/v1/device/import", {"csv": rows})

    one, two = answer.json
    assert (201, "One", TOKEN, "Two, quoted", 32) == (
        answer.status,
        one["name"],
        one["token"],
        two["name"],
        len(two["token"]),
    )
    assert ["One", "Two, quoted"] == [device.name for device in hub.devices.by_id.values()]
    assert "Kitchen" == await hub.metadata.get(hub.devices.get(one["id"]), "Room")


async def test_a_csv_with_bad_rows_adds_nothing_and_names_every_one(hub, lamp, api):
    rows = f"""\
name,template,token,Room,Serial
Good,TMPL0lamp,,,
Bad template,TMPLnone,,,
,TMPL0lamp,,,
Bad token,TMPL0lamp,short,,
Taken token,TMPL0lamp,{lamp[1]},,
Same token,TMPL0lamp,{TOKEN},,
Same token,TMPL0lamp,{TOKEN},,
Unknown field,TMPL0lamp,,,5
Too many,TMPL0lamp,,,,,
"""

    said = await refused(await api.post("/api/v1/device/import", {"csv": rows}))

    assert ["line 10", "line 3", "line 4", "line 5", "line 6", "line 8", "line 9"] == sorted(
        line.partition(":")[0] for line in said.splitlines()
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
async def test_what_is_no_csv_of_devices_is_refused(hub, rows, api):
    await hub.templates.save(LAMP, SYSTEM)

    assert await refused(await api.post("/api/v1/device/import", {"csv": rows}))
    assert {} == hub.devices.by_id


# -- finding devices --------------------------------------------------------------------------------------------------


@pytest.fixture
async def lamps(hub, api):
    await hub.templates.save(LAMP, SYSTEM)
    rows = "name,template\n" + "".join(f"Lamp {n},TMPL0lamp\n" for n in range(25))
    assert 201 == (await api.post("/api/v1/device/import", {"csv": rows})).status


@pytest.mark.parametrize(
    ("query", "first", "count"),
    [
        ("", 0, 20),
        ("?page=0&size=20", 0, 20),
        ("?page=1", 20, 5),
        ("?page=2", None, 0),
        ("?size=7&page=3", 21, 4),
        ("?size=1000", 0, 25),
        ("?page=999999999999999", None, 0),
    ],
)
async def test_devices_are_listed_a_page_at_a_time(lamps, api, query, first, count):
    listed = (await api.get(f"{ORG}/devices{query}")).json

    assert (25, count) == (listed["totalElements"], len(listed["content"]))
    assert [f"Lamp {first + n}" for n in range(count)] == [device["name"] for device in listed["content"]]


@pytest.mark.parametrize("query", ["size=0", "size=1001", "size=x", "page=-1", "page=1.5", "page=", "size=%C2%B2"])
async def test_a_page_that_makes_no_sense_is_refused(api, query):
    assert await refused(await api.get(f"{ORG}/devices?{query}"))


async def test_devices_are_found_by_a_part_of_their_name(lamps, api):
    found = (await api.get(f"{ORG}/search/devices?query=lAMP+2")).json

    names = [device["name"] for device in found["content"]]
    assert "Lamp 2" == names[0]
    assert {"Lamp 12", *(f"Lamp {n}" for n in range(20, 25))} <= set(names)
    assert not {"Lamp 3", "Lamp 10"} & set(names)
    assert {"content": [], "totalElements": 0} == (await api.get(f"{ORG}/search/devices?query=none")).json
    assert "query is missing" == await refused(await api.get(f"{ORG}/search/devices"))


async def test_a_device_is_shown_with_its_values_and_metadata(hub, lamp, api):
    device, token = lamp
    async with client.connect(
        *address_of(hub),
        token,
        info={"mcu": "1.2.3", "fw-type": "TMPL0lamp", "blynk": "1.3.2", "dev": "ESP32", "build": "b"},
    ):
        await hub.metadata.set(device, "Room", "Kitchen", SYSTEM)
        await hub.properties.set(device, [0], {"color": ["red"]})
        await api.post(f"{ORG}/device/datastream", {"deviceId": device.id, "pin": "v0", "value": 7})
        shown = (await api.get(f"{ORG}/device?deviceId={device.id}")).json

    assert (device.id, "TMPL0lamp", 1, "Hall", None, "Online", "127.0.0.1") == (
        shown["id"],
        shown["templateId"],
        shown["orgId"],
        shown["name"],
        shown["token"],
        shown["lifecycleStatus"]["name"],
        shown["ip"],
    )
    assert {
        "version": "1.2.3",
        "fwType": "TMPL0lamp",
        "blynkVersion": "1.3.2",
        "boardType": "ESP32",
        "build": "b",
    } == shown["hardwareInfo"]
    level, colour, mode, place = shown["dataStreamValues"]
    assert (1, "v0", "Brightness", "%", 7, {"color": ["red"]}) == tuple(
        level[key] for key in ("dataStreamId", "pin", "dataStreamLabel", "units", "value", "properties")
    )
    assert shown["createdAt"] <= level["updatedAt"]
    assert [("white", None), (None, None), (None, None)] == [
        (v["value"], v["updatedAt"]) for v in (colour, mode, place)
    ]
    room = shown["metaFieldValues"][0]
    assert ("Room", {"type": "Text", "value": "Kitchen", "text": "Kitchen"}) == (room["name"], room["value"])


@pytest.mark.parametrize(
    "path",
    [
        "/device",
        "/device/online",
        "/device/timeline",
        "/device/datastreams",
    ],
)
async def test_a_device_that_is_not_there_is_not_found(api, path):
    assert NO_DEVICE == await refused(await api.get(f"{ORG}{path}?deviceId=99"), 404)
    assert "deviceId is missing" == await refused(await api.get(f"{ORG}{path}"))
    assert "deviceId must be a whole number" == await refused(await api.get(f"{ORG}{path}?deviceId=x"))


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
async def test_a_device_that_is_not_there_cannot_be_changed(hub, method, path, body):
    assert NO_DEVICE == await refused(await ask(hub, method, path, body, local_key(hub)), 404)


# -- changing devices -------------------------------------------------------------------------------------------------


async def test_a_device_is_renamed(hub, lamp, api):
    answer = await api.put(f"{ORG}/device?deviceId={lamp[0].id}", {"name": "Küche"})

    assert (200, "Küche", "Küche") == (answer.status, answer.json["name"], lamp[0].name)
    assert await refused(await api.put(f"{ORG}/device?deviceId={lamp[0].id}", {"name": " "}))
    assert "Küche" == lamp[0].name


async def test_a_device_is_deleted_with_its_connection(hub, lamp, api):
    async with client.connect(*address_of(hub), lamp[1]) as board:
        answer = await api.delete(f"{ORG}/device?deviceId={lamp[0].id}")

        assert (204, b"") == (answer.status, answer.body)
        with trio.fail_after(PATIENCE):
            assert [] == [frame async for frame in board.frames()]
    assert {} == hub.devices.by_id
    assert 400 == (await ask(hub, "GET", f"/external/api/isHardwareConnected?token={lamp[1]}")).status


async def test_a_token_is_replaced_and_the_connection_ends(hub, lamp, api):
    gone = trio.Event()
    hub.subscribe(DeviceDisconnected, lambda _: gone.set())
    async with client.connect(*address_of(hub), lamp[1]):
        answer = await api.post("/api/v1/device/token", {"deviceId": lamp[0].id})
        with trio.fail_after(PATIENCE):
            await gone.wait()

    assert 200 == answer.status
    assert [None, lamp[0]] == [hub.tokens.device_for(token) for token in (lamp[1], answer.json["token"])]


async def test_an_old_token_goes_on_for_a_while(hub, lamp, api):
    body = {"deviceId": lamp[0].id, "overlap": "7d", "token": TOKEN}

    assert {"token": TOKEN} == (await api.post("/api/v1/device/token", body)).json
    assert [lamp[0], lamp[0]] == [hub.tokens.device_for(token) for token in (lamp[1], TOKEN)]
    assert 409 == (await api.post("/api/v1/device/token", body)).status
    assert "overlap" in await refused(
        await api.post("/api/v1/device/token", {"deviceId": lamp[0].id, "overlap": "soon"})
    )
    assert await refused(await api.post("/api/v1/device/token", {"deviceId": lamp[0].id, "token": "short"}))


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "value", "pin", "read"),
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
async def test_a_value_is_written_and_read(hub, lamp, api, named, value, pin, read):
    answer = await api.post(f"{ORG}/device/datastream", {"deviceId": lamp[0].id, "value": value} | named)

    assert (204, b"") == (answer.status, answer.body)
    assert {pin: read} == (await api.get(f"{ORG}/device/datastreams?deviceId={lamp[0].id}&pins={pin}")).json


async def test_values_are_read_with_defaults_and_by_pin(hub, lamp, api):
    target = f"{ORG}/device/datastreams?deviceId={lamp[0].id}"
    assert (
        204
        == (await api.post(f"{ORG}/device/datastreams", {"deviceId": lamp[0].id, "values": {"1": 5, "5": "1"}})).status
    )

    assert {"v0": 5, "v1": "white", "v2": 1} == (await api.get(target)).json
    assert {"v0": 5, "v2": 1} == (await api.get(f"{target}&pins=V0,v2,v3,v77")).json


async def test_a_value_reaches_the_device(hub, lamp, api):
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
async def test_values_are_written_all_or_none(hub, lamp, api, values, status):
    answer = await api.post(f"{ORG}/device/datastreams", {"deviceId": lamp[0].id, "values": values})

    assert await refused(answer, status)
    assert {"v1": "white"} == (await api.get(f"{ORG}/device/datastreams?deviceId={lamp[0].id}")).json
    assert 0 == hub.writes.count


async def test_a_datastream_that_is_not_there_is_not_found(lamp, api):
    body = {"deviceId": lamp[0].id, "dataStreamId": 99, "value": 1}

    assert "Data stream with identifier 99 is not found!" == await refused(
        await api.post(f"{ORG}/device/datastream", body), 404
    )


async def test_whether_a_device_is_online(hub, lamp, api):
    target = f"{ORG}/device/online?deviceId={lamp[0].id}"

    assert {"connected": False} == (await api.get(target)).json
    async with client.connect(*address_of(hub), lamp[1]):
        assert {"connected": True} == (await api.get(target)).json


async def test_the_timeline_has_the_newest_event_first(hub, lamp, api):
    await hub.timeline.log(lamp[0], "broken", "Dark")
    await hub.timeline.add_note(lamp[0], "Note", "Found it")

    listed = (await api.get(f"{ORG}/device/timeline?deviceId={lamp[0].id}")).json

    assert 2 == listed["totalElements"]
    assert [("note", "Note", "Found it"), ("broken", "Broken", "Dark")] == [
        (event["eventCode"], event["name"], event["description"]) for event in listed["content"]
    ]
    newest = (await api.get(f"{ORG}/device/timeline?deviceId={lamp[0].id}&size=1")).json["content"]
    assert ["note"] == [event["eventCode"] for event in newest]


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "more", "expected"),
    [
        ("redirect", {"host": "hub.example", "port": 9443}, (41, b"hub.example\x009443")),
        ("redirect", {"host": "hub.example"}, (41, b"hub.example\x0080")),
        ("reboot", {}, (17, b"dbg\x00reboot")),
    ],
)
async def test_a_command_reaches_the_device(hub, lamp, api, path, more, expected):
    async with client.connect(*address_of(hub), lamp[1], info={"h-beat": "45"}) as board:
        answer = await api.post(f"/api/v1/device/{path}", {"deviceId": lamp[0].id} | more)
        assert 204 == answer.status
        with trio.fail_after(PATIENCE):
            command, _, body, _ = await anext(board.frames())

    assert expected == (command, body)


@pytest.mark.parametrize(("path", "more"), [("redirect", {"host": "hub"}), ("reboot", {})])
async def test_a_command_to_a_device_that_is_offline_is_refused(lamp, api, path, more):
    answer = await api.post(f"/api/v1/device/{path}", {"deviceId": lamp[0].id} | more)

    assert "device Hall is offline" == await refused(answer, 409)


@pytest.mark.parametrize(
    "more",
    [{"host": ""}, {"host": "x" * 64}, {"host": "a\0b"}, {"host": "hub", "port": 0}, {"host": "hub", "port": 65536}],
)
async def test_a_redirect_to_nowhere_is_refused(hub, lamp, api, more):
    async with client.connect(*address_of(hub), lamp[1]):
        assert await refused(await api.post("/api/v1/device/redirect", {"deviceId": lamp[0].id} | more))


# -- templates --------------------------------------------------------------------------------------------------------


async def test_a_template_is_imported_listed_and_shown(hub, api):
    answer = await api.post("/api/v1/template/import", {"toml": LAMP})
    assert (200, "TMPL0lamp", "Lamp") == (answer.status, answer.json["id"], answer.json["name"])
    assert "+ V0 Brightness" in answer.json["changes"]
    await add_device(hub, LAMP)

    assert {
        "content": [
            {
                "id": "TMPL0lamp",
                "templateIds": ["TMPL0lamp"],
                "orgId": 1,
                "name": "Lamp",
                "version": 1,
                "datastreams": 4,
                "devices": 1,
                "behind": 0,
            }
        ],
        "totalElements": 1,
    } == (await api.get(f"{ORG}/templates")).json
    shown = (await api.get(f"{ORG}/template?templateId=TMPL0lamp")).json
    assert ("Lamp", "ESP32") == (shown["name"], shown["boardType"])
    assert ["v0", "v1", "v2", "v3"] == [stream["pin"] for stream in shown["datastreams"]]
    assert {"0": "Off", "1": "On"} == shown["datastreams"][2]["values"]


async def test_an_exported_template_imports_as_the_same(hub, api, tmp_path):
    await api.post("/api/v1/template/import", {"toml": LAMP})
    exported = await api.get("/api/v1/template/export?templateId=TMPL0lamp")

    assert (200, "application/toml") == (exported.status, exported.headers["content-type"])
    assert [] == (await api.post("/api/v1/template/import", {"toml": exported.text})).json["changes"]
    async with running(parse(LOOPBACK).with_data(str(tmp_path / "elsewhere")), listen=False) as elsewhere:
        copy, _ = await elsewhere.templates.save(exported.text, SYSTEM)
    assert hub.templates.get("TMPL0lamp") == copy


async def test_an_import_that_would_drop_values_asks_first(hub, lamp, api):
    smaller = LAMP.replace("[[datastream]]\nid = 6", "[[datastream]]\nid = 7").replace('"Place"', '"Elsewhere"')
    body = {"toml": smaller, "source": "lamp.toml"}

    said = await refused(await api.post("/api/v1/template/import", body), 409)
    assert "lamp.toml" in said
    assert "Place" in said
    assert "- V3 Place" in (await api.post("/api/v1/template/import", body | {"prune": True})).json["changes"]


@pytest.mark.parametrize(
    "toml",
    [
        "",
        "[template",
        "[template]\n",
        '[template]\nname = "x"\nnonsense = 1\n',
        "x = " + "1" * 5000,
        "x = " + "[" * 5000,
    ],
)
async def test_a_template_that_makes_no_sense_is_refused(hub, api, toml):
    said = await refused(await api.post("/api/v1/template/import", {"toml": toml, "source": "mine.toml"}))

    assert said.startswith("mine.toml: ")
    assert {} == hub.templates.by_id


@pytest.mark.parametrize("path", ["/api/v1/template/export", f"{ORG}/template"])
async def test_a_template_that_is_not_there_is_not_found(api, path):
    assert NO_TEMPLATE == await refused(await api.get(f"{path}?templateId=TMPLnone"), 404)
    assert "templateId is missing" == await refused(await api.get(path))


# -- the state of the hub ---------------------------------------------------------------------------------------------


async def test_the_status_tells_how_the_hub_does(hub, lamp, api):
    status = (await api.get("/api/v1/status")).json

    assert ("ok", [], 1, 0, 1, hub.version) == tuple(
        status[key] for key in ("status", "problems", "devices", "online", "templates", "version")
    )
    host, port = address_of(hub)
    served = {"address": f"{host}:{port}", "tls": False, "serve": ["native", "http", "mqtt"]}
    assert [served] == status["listen"]


async def test_every_plugin_is_listed(hub, api):
    plugins = {plugin["name"]: plugin for plugin in (await api.get("/api/v1/plugins")).json}

    assert set(hub.plugins) == set(plugins)
    assert "hub_routes" in plugins["platform_api"]["hooks"]


async def test_who_was_turned_away_is_listed(hub, api):
    await ask(hub, "GET", f"/external/api/get?token={TOKEN}&v0")

    [refusal] = (await api.get("/api/v1/refusals")).json
    assert ("127.0.0.1", None) == (refusal["address"], refusal["device"])
    assert "unknown token ending …ef" in refusal["reason"]


async def test_health_is_open(hub):
    answer = await ask(hub, "GET", "/health")

    assert (200, {"status": "ok"}, "application/json") == (answer.status, answer.json, answer.headers["content-type"])


async def test_metrics_are_what_prometheus_reads(hub, lamp, api):
    await api.post(f"{ORG}/device/datastream", {"deviceId": lamp[0].id, "pin": "v0", "value": 7})
    answer = await api.get("/metrics")

    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    samples, types = {}, set()
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            types.add(line.split()[2])
        elif not line.startswith("#"):
            found = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"\\]*"\})? ([-+0-9.e]+)', line)
            assert found is not None, line
            samples[found[1] + (found[2] or "")] = float(found[3])
            assert found[1] in types
    assert (1, 0, 1, 0) == tuple(
        samples[f"pinwheel_{name}"] for name in ("devices", "devices_online", "values_total", "storage_trouble")
    )
    assert answer.text.endswith("\n")


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[plugins.metrics]\npublic = true\n"], ids=["public"])
async def test_metrics_may_be_made_public(hub):
    assert 200 == (await ask(hub, "GET", "/metrics")).status


# -- listeners --------------------------------------------------------------------------------------------------------


async def test_without_tls_there_is_no_ca(api):
    assert 404 == (await api.get("/ca.pem")).status


@pytest.mark.parametrize("hub_toml", [LOOPBACK + LOOPBACK + 'tls = "on"\n'], ids=["tls"])
async def test_the_ca_that_is_served_verifies_the_hub(hub):
    answer = await ask(hub, "GET", "/ca.pem")
    assert (200, "application/x-pem-file") == (answer.status, answer.headers["content-type"])
    context = ssl.create_default_context(cadata=answer.text)

    async with connected(hub, 1, context) as http:
        assert 200 == (await http.get("/health")).status
        assert answer.body == (await http.get("/ca.pem")).body


@pytest.mark.parametrize("hub_toml", [LOOPBACK + LOOPBACK + 'serve = ["device-http"]\n'], ids=["device-http"])
class TestDeviceHttp:
    """A listener for devices only."""

    async def test_devices_are_served(self, hub, lamp):
        target = f"/external/api/isHardwareConnected?token={lamp[1]}"

        assert b"false" == (await ask(hub, "GET", target, listener=1)).body
        assert 200 == (await ask(hub, "GET", "/health", listener=1)).status

    async def test_nothing_else_is_there(self, hub):
        key = local_key(hub)
        async with connected(hub, 1) as http:
            for route in routes(hub):
                if not route.path.startswith("/external/api/") and route.path != "/health":
                    body = b"" if route.method != "GET" else None
                    assert 404 == (await http.ask(route.method, route.path, body, key)).status, route.path

    async def test_another_method_does_not_tell_what_is_there(self, hub):
        assert 404 == (await ask(hub, "PATCH", "/api/v1/status", b"", listener=1)).status

    @pytest.mark.parametrize("path", ["/api/v1/stream", "/websockets", "/websocket"])
    async def test_there_is_no_websocket(self, hub, path):
        answer = await ask(
            hub,
            "GET",
            path,
            key=local_key(hub),
            listener=1,
            Connection="Upgrade",
            Upgrade="websocket",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        )

        assert 404 == answer.status
