"""The Platform API as scripts written for Blynk's use it: requests as docs.blynk.io has them, and the fields they read."""

from __future__ import annotations

import base64
import hashlib

import pytest
import trio
from support.api import api_client
from support.raw_http import connected
from support.tenants import tenants

from hub.domain.devices import NewDevice
from hub.model import LOCAL, ROOT_ORG, SYSTEM
from hub.run import running
from hub.writes import Write
from plugins.users.model import ADMIN, STAFF, USER

TEMPLATE = """
[template]
id = "TMPL0blynk"
name = "Thermostat"
hardware = "ESP32"
[[datastream]]
id = 1
pin = "V1"
name = "Temperature"
type = "double"
units = "Celsius"
alias = "Outside"
default = 5
[[datastream]]
id = 2
pin = "V2"
name = "Mode"
type = "integer"
[[event]]
code = "high_temp"
name = "High temperature"
[[metadata]]
name = "Serial Number"
type = "text"
default = "SN:123"
[[metadata]]
name = "Threshold"
type = "number"
"""


@pytest.fixture
async def world(hub):
    return await tenants(hub)


@pytest.fixture
async def device(hub, world):
    template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
    acme = world.orgs["acme"]
    await hub.organizations.change(acme, SYSTEM, templates=frozenset({template.id, "TMPL0thermo"}))
    [(device, _)] = await hub.devices.add([NewDevice(name="Hall", template=template, org=acme)], SYSTEM)
    await hub.write(Write(device, 1, 24.3, "test", SYSTEM)).durable()
    return device


def blynk_hash(email, password):
    """What Blynk's page about users says in Java and in bash."""
    salt = hashlib.sha256(email.lower().encode()).digest()
    return base64.b64encode(hashlib.sha256(password.encode() + salt).digest()).decode()


# -- devices ----------------------------------------------------------------------------------------------------------


async def test_a_device_has_the_fields_that_scripts_read(world, device):
    async with api_client(world) as ask:
        one = await ask("GET", "organization/device", deviceId=device.id)
        [listed] = (await ask("GET", "organization/devices", page=0, size=20))["content"]
        short = await ask("GET", "organization/device/baseInfo", deviceId=device.id)
    fields = (
        "id templateId orgId name token lifecycleStatus activatedAt firstConnectTime connectTime disconnectTime"
        " ownerUserId hardwareInfo ip lastReceivedEventAt"
    )
    for answer in (one, listed, short):
        assert set(fields.split()) <= set(answer)
    temperature = one["dataStreamValues"][0]
    assert {
        "dataStreamId": 1,
        "pin": "v1",
        "dataStreamLabel": "Temperature",
        "dataStreamAlias": "Outside",
        "value": 24.3,
    }.items() <= temperature.items()
    assert one["lastReceivedEventAt"] == temperature["updatedAt"]
    serial = next(field for field in one["metaFieldValues"] if field["name"] == "Serial Number")
    assert {"type": "Text", "value": "SN:123"}.items() <= serial["value"].items()


async def test_devices_below_are_listed_only_when_asked_for(world, device):
    below = await world.device(world.orgs["works"])
    async with api_client(world) as ask:
        own = await ask("GET", "organization/devices")
        every = await ask("GET", "organization/devices", includeSubOrgDevices="true")
    assert [device.id] == [one["id"] for one in own["content"]]
    assert {device.id, below.id} == {one["id"] for one in every["content"]}


async def test_values_and_fields_are_set_by_their_numbers(hub, world, device):
    async with api_client(world) as ask:
        assert None is await ask(
            "POST", "organization/device/datastream", {"deviceId": device.id, "dataStreamId": 1, "value": 5}
        )
        body = {"deviceId": device.id, "values": {"1": 6, "2": 7}}
        assert None is await ask("POST", "organization/device/datastreams", body)
        assert {"v1": 6, "v2": 7} == await ask(
            "GET", "organization/device/datastreams", deviceId=device.id, pins="v1,v2"
        )
        field = {"deviceId": device.id, "metaFieldId": 2, "newValue": 5}
        assert None is await ask("POST", "organization/device/metafield", field)
        assert None is await ask("POST", "organization/device/metafield", field | {"newValue": 5.5})
        values = await ask("GET", "organization/device/metafield", deviceId=device.id)
        assert {"id": 2, "name": "Threshold", "value": "5.5"}.items() <= values[1].items()
        wrong = await ask("POST", "organization/device/metafield", field | {"newValue": "warm"})
        assert (400, True) == (wrong.status, wrong.message.startswith("The provided value for metafield is invalid."))


@pytest.mark.parametrize(("written", "read"), [("Device Timezone", "Time Zone"), ("Time Zone", "Device Timezone")])
async def test_device_timezone_is_another_name_of_time_zone(hub, world, device, written, read):
    [(device, token)] = await hub.devices.add(
        [NewDevice(name="Attic", template=device.template, org=device.org)], SYSTEM
    )

    async def by_token(name):
        path = f"/external/api/device/meta?token={token}&metaFieldName={name.replace(' ', '%20')}"
        async with connected(hub) as http:
            return (await http.get(path)).json

    field = {"deviceId": device.id, "name": written, "newValue": "Europe/Kyiv"}
    async with api_client(world) as ask:
        assert None is await ask("POST", "organization/device/metafield", field)
        listed = await ask("GET", "organization/device/metafield", deviceId=device.id)
        wrong = await ask("POST", "organization/device/metafield", field | {"newValue": "Mars/Base"})
    assert {"type": "Time Zone", "value": "Europe/Kyiv"} == await by_token(written) == await by_token(read)
    assert ["Time Zone"] == [one["name"] for one in listed if "one" in one["type"]]
    assert "Europe/Kyiv" == hub.timezone_of(device)
    assert (400, True) == (wrong.status, wrong.message.startswith("The provided value for metafield is invalid."))


async def test_a_field_of_a_template_called_device_timezone_is_itself(hub, world):
    document = '[template]\nid = "TMPL0zone"\nname = "Zone"\n[[metadata]]\nname = "Device Timezone"\n'
    template, _ = await hub.templates.save(document, SYSTEM)
    [(device, _)] = await hub.devices.add([NewDevice(name="Hall", template=template)], SYSTEM)
    await hub.metadata.set(device, "Device Timezone", "somewhere", LOCAL)
    assert {"Device Timezone": "somewhere"} == await hub.metadata.values_for(device)
    assert "" == await hub.metadata.get(device, "Time Zone")


async def test_what_people_wrote_and_what_happened_is_told_in_blynks_words(hub, world, device):
    async with api_client(world) as ask:
        await ask("POST", "organization/device/datastream", {"deviceId": device.id, "dataStreamId": 1, "value": 5})
        [action, *_] = (await ask("GET", "organization/device/logs", deviceId=device.id))["content"]
        assert ("ada@example.org", 5.0, 1, "VIRTUAL") == tuple(
            action[name] for name in ("triggerUserEmail", "value", "pin", "pinType")
        )
        assert action["createdAt"] > 0
        body = {"deviceId": device.id, "eventCode": "high_temp", "eventDescription": "It is warm"}
        assert None is await ask("POST", "organization/device/trigger-event", body)
        found = await ask("GET", "organization/device/timeline", deviceId=device.id, eventType="INFORMATION")
    [event] = found["content"]
    assert ("INFORMATION", world.orgs["acme"], "It is warm", False, None) == tuple(
        event[name] for name in ("eventType", "orgId", "description", "isResolved", "resolvedAt")
    )


async def test_devices_of_an_owner_and_of_their_organization_are_whole(world, device):
    uma = world.users["uma"]
    async with api_client(world) as ask:
        assert None is await ask("POST", "organization/device/transfer", {"deviceId": device.id, "newUserId": uma.id})
        [mine] = (await ask("GET", "organization/device/by-owner", ownerEmail="UMA@example.org"))["content"]
        [beside] = (await ask("GET", "organization/device/by-user-org", userEmail="uma@example.org"))["content"]
        nobodys = await ask("GET", "organization/device/by-owner", ownerEmail="nobody@example.org")
        stranger = await ask("GET", "organization/device/by-user-org", userEmail="bert@example.org")
    assert (device.id, uma.id, "TMPL0blynk") == (mine["id"], mine["ownerUserId"], beside["templateId"])
    assert (0, 0) == (nobodys["totalElements"], stranger["totalElements"])


@pytest.mark.parametrize(
    "by",
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
async def test_devices_are_sorted_as_blynk_says_it(world, device, by):
    await world.device(world.orgs["acme"], name="Attic")
    async with api_client(world) as ask:
        sort = {"query": "", "sortBy": by.replace(" ", "%20")}
        up = await ask("GET", "organization/search/devices", sortOrder="ASC", **sort)
        down = await ask("GET", "organization/search/devices", sortOrder="DESC", **sort)
    assert 2 == up["totalElements"] == down["totalElements"]
    if by == "Name":
        assert ["Attic", "Hall"] == [one["name"] for one in up["content"]]
        assert ["Hall", "Attic"] == [one["name"] for one in down["content"]]


# -- templates --------------------------------------------------------------------------------------------------------


async def test_templates_are_described_in_blynks_words(world, device):
    async with api_client(world) as ask:
        listed = (await ask("GET", "organization/templates", orgId=world.orgs["acme"]))["content"]
        template = {"templateId": "TMPL0blynk"}
        streams = await ask("GET", "organization/template/datastreams", **template)
        [event] = await ask("GET", "organization/template/events", **template)
        fields = await ask("GET", "organization/template/metafields", **template)
    assert ["TMPL0blynk"] in [one["templateIds"] for one in listed]
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
    assert [("Serial Number", "Text"), ("Threshold", "Number")] == [(one["name"], one["type"]) for one in fields]


# -- organizations ----------------------------------------------------------------------------------------------------


async def test_an_organization_is_made_as_scripts_make_it(world):
    body = {
        "name": "My Organization",
        "description": "My friend's organization",
        "type": "DISTRIBUTOR",
        "tz": "Europe/Kyiv",
        "parentId": world.orgs["acme"],
        "phoneNumber": "+380123456789",
        "unitSystem": "IMPERIAL",
    }
    async with api_client(world) as ask:
        made = await ask("POST", "organization/create", body)
        read = await ask("GET", "organization", orgId=made["id"])
        [found] = (await ask("GET", "organization/search", query="my%20org", sortBy="Name"))["content"]
        own = await ask("GET", "organization/profile")
    said = body | {"parentOrganizationId": body["parentId"]}
    del said["parentId"]
    for answer in (made, read, found):
        assert said.items() <= answer.items()
    assert (world.orgs["acme"], "BUSINESS") == (own["id"], own["type"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"type": "GALAXY"}, "type: must be one of"),
        ({"type": "ROOT"}, "only the root organization can have the type ROOT"),
        ({"phoneNumber": "call me"}, "phoneNumber must be"),
        ({"unitSystem": "metric"}, "unitSystem: must be one of"),
        ({"tz": "Mars/Base"}, "no time zone"),
    ],
)
async def test_an_organization_that_makes_no_sense_is_not_made(world, body, said):
    async with api_client(world) as ask:
        answer = await ask("POST", "organization/create", {"name": "New"} | body)
    assert 400 == answer.status
    assert said in answer.message


async def test_below_a_personal_organization_all_are_personal(world):
    async with api_client(world) as ask:
        above = await ask("POST", "organization/create", {"name": "Above", "type": "PERSONAL"})
        below = await ask("POST", "organization/create", {"name": "Below", "type": "BUSINESS", "parentId": above["id"]})
    assert "PERSONAL" == below["type"]


async def test_an_organization_goes_back_to_the_units_of_the_one_above(world):
    async with api_client(world) as ask:
        acme = {"orgId": world.orgs["acme"]}
        assert "METRIC" == (await ask("PUT", "organization", acme | {"unitSystem": "METRIC"}))["unitSystem"]
        assert None is (await ask("PUT", "organization", acme | {"unitSystem": "NONE"}))["unitSystem"]


async def test_tags_are_a_plain_list(world):
    async with api_client(world) as ask:
        made = await ask("POST", "organization/tag/create", {"name": "My Tag Name"})
        assert [made["id"]] == [tag["id"] for tag in await ask("GET", "organization/tags", orgId=world.orgs["acme"])]


# -- users ------------------------------------------------------------------------------------------------------------

PERSON = {
    "email": "john@example.com",
    "name": "John Doe",
    "title": "Engineer",
    "nickName": "john",
    "phoneNumber": "+3801234567",
    "address": {"fullAddress": "Main St 1", "city": "Kyiv", "country": "Ukraine", "state": "Kyiv", "zip": "02000"},
}
READ = "id name email title nickName phoneNumber roleId orgId tz locale status lastLoggedAt registeredAt isDev"


async def test_a_user_is_made_in_an_organization_with_all_that_is_said_of_them(world):
    hashed = blynk_hash(PERSON["email"], "mySuperSecretPassword")
    body = PERSON | {"passwordHash": hashed, "orgId": world.orgs["acme"], "roleId": USER, "tz": "Europe/Kyiv"}
    async with api_client(world) as ask:
        made = await ask("POST", "organization/users/create-in-org", body)
        read = await ask("GET", "organization/user", userId=made["id"])
        [found] = (await ask("GET", "organization/search/users", query="john", sortBy="Email", sortOrder="ASC"))[
            "content"
        ]
        listed = await ask("GET", "organization/users", includeSubOrgUsers="true")
    for answer in (made, read, found):
        assert set(READ.split()) <= set(answer)
        assert ("Engineer", "john", "+3801234567", "Europe/Kyiv") == tuple(
            answer[name] for name in ("title", "nickName", "phoneNumber", "tz")
        )
    assert PERSON["address"] == read["address"]
    assert made["id"] in [user["id"] for user in listed["content"]]
    async with api_client(world) as ask:
        login = {"email": PERSON["email"], "password": "mySuperSecretPassword"}
        assert "access_token" in await ask("POST", "login", login)


async def test_a_client_gets_an_organization_of_their_own(hub, world):
    body = PERSON | {"passwordHash": blynk_hash(PERSON["email"], "secret enough"), "timeZone": "Europe/Kyiv"}
    async with api_client(world) as ask:
        assert None is await ask("POST", "organization/users/create", body | {"organizationName": "Doe Ltd"})
        [found] = (await ask("GET", "organization/search/users", query="john"))["content"]
        org = await ask("GET", "organization", orgId=found["orgId"])
        # Who is there already stays as they are, and that is no error.
        assert None is await ask("POST", "organization/users/create", body | {"organizationName": "Other"})
        again = await ask("GET", "organization/search", query="Other")
    assert ("Doe Ltd", world.orgs["acme"], "Europe/Kyiv") == (org["name"], org["parentOrganizationId"], org["tz"])
    assert (ADMIN, "Europe/Kyiv") == (found["roleId"], found["tz"])
    assert 0 == again["totalElements"]
    assert hub.organizations.get(world.orgs["acme"]).templates == hub.organizations.get(org["id"]).templates


async def test_a_client_whom_there_is_no_room_for_leaves_nothing_behind(hub, world):
    acme = world.orgs["acme"]
    used = sum(user.org == acme for user in world.service.users.by_id.values())
    body = PERSON | {"passwordHash": blynk_hash(PERSON["email"], "secret enough")}
    await hub.organizations.change(acme, SYSTEM, quotas={"users": used})
    before = set(hub.organizations.by_id)
    async with api_client(world) as ask:
        refused = await ask("POST", "organization/users/create", body)
        assert (409, "there is no room for more users: the quota is" in refused.message) == (refused.status, True)
        assert before == set(hub.organizations.by_id)
        await hub.organizations.change(acme, SYSTEM, quotas={})
        assert None is await ask("POST", "organization/users/create", body)


async def test_clients_of_one_name_and_of_none_have_organizations_all_the_same(hub, world):
    answers = []

    async def make(email, **more):
        async with api_client(world) as ask:
            answers.append(
                await ask("POST", "organization/users/create", {"email": email, "password": "secret enough"} | more)
            )

    for number in range(3):
        await make(f"john{number}@example.com", name="John Doe")
    await make("a+b@example.com")
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(make, "race@example.com")
    assert {None} == set(answers)
    names = [org.name for org in hub.organizations.by_id.values() if org.parent == world.orgs["acme"]]
    assert ["works", "John Doe", "John Doe 2", "John Doe 3", "a b", "race"] == names


async def test_somebody_is_registered_without_a_password(world):
    async with api_client(world) as ask:
        body = {"email": "New@example.com", "locale": "en_US"}
        assert None is await ask("POST", "organization/users/register", body)
        [found] = (await ask("GET", "organization/search/users", query="new@example.com"))["content"]
        assert ("Pending", "en_US", USER, world.orgs["acme"]) == tuple(
            found[name] for name in ("status", "locale", "roleId", "orgId")
        )
        assert "/account?code=" in (await ask("POST", "organization/user/reset", {"userId": found["id"]}))["link"]
        again = await ask("POST", "organization/users/register", body)
        assert (400, "new@example.com is already in use") == (again.status, again.message)


async def test_a_device_goes_where_its_new_owner_is(world, device):
    works = world.orgs["works"]
    await world.hub.organizations.change(works, SYSTEM, templates=frozenset({"TMPL0blynk"}))
    there = await world.user("wes", works)
    async with api_client(world) as ask:
        assert None is await ask("POST", "organization/device/transfer", {"deviceId": device.id, "newUserId": there.id})
        assert (works, there.id) == (device.org, device.owner)
        for owner in (world.users["bert"].id, 999):
            for path, body in (
                ("device/transfer", {"deviceId": device.id, "newUserId": owner}),
                ("device/create", {"templateId": "TMPL0blynk", "name": "New", "ownerId": owner}),
            ):
                answer = await ask("POST", f"organization/{path}", body)
                said = f"User with identifier {owner} is not found or belong to another organization."
                assert (404, said) == (answer.status, answer.message)


async def test_history_is_all_there_is_unless_somebody_says_when(hub, world, device):
    at = hub.clock.now() - 20 * 86_400_000
    await hub.write(Write(device, 1, 1.5, "test", SYSTEM, at)).durable()
    async with api_client(world) as ask:
        found = await ask("GET", "organization/device/datastream/history", deviceId=device.id, pin="v1")
        lately = await ask(
            "GET", "organization/device/datastream/history", **{"deviceId": device.id, "pin": "v1", "from": at + 1}
        )
    assert [(1.5, at), 2] == [(found["content"][0]["value"], found["content"][0]["createdAt"]), found["totalElements"]]
    assert 1 == lately["totalElements"]


async def test_firmware_versions_are_sorted_as_versions(hub, world, device):
    for name, version in (("A", "1.9.0"), ("B", "1.10.0"), ("C", "1.2.0-rc1")):
        one = await world.device(world.orgs["acme"], name=name)
        await hub.devices.update_firmware_info(one, {"mcu": version, "ver": "9"})
    async with api_client(world) as ask:
        found = (await ask("GET", "organization/search/devices", query="", sortBy="Firmware%20Version"))["content"]
    assert ["Hall", "C", "A", "B"] == [one["name"] for one in found]
    assert "1.10.0" == found[-1]["hardwareInfo"]["version"]


async def test_devices_are_found_and_sorted_by_who_activated_them(hub, world, device):
    async with api_client(world) as ask:
        made = await ask("POST", "organization/device/create", {"templateId": "TMPL0blynk", "name": "Adas"})
    search = {"filters": [{"attribute": "activatedBy", "operator": "contains", "values": ["ADA@"]}]}
    async with api_client(world) as ask:
        # It has not come yet.
        assert 0 == (await ask("POST", "devices/search", search))["totalElements"]
        for one in (device, hub.devices.get(made["id"])):
            await hub.devices.update_firmware_info(one, {"ver": "1"})
        [found] = (await ask("POST", "devices/search", search))["content"]
        assert (made["id"], "ada@example.org") == (found["id"], found["activatedBy"])
        by = await ask("GET", "organization/search/devices", query="", sortBy="Activated%20By")
        assert ["Adas", "Hall"] == [one["name"] for one in by["content"]]
    await world.service.users.change(world.users["ada"], org=ROOT_ORG)
    async with api_client(world, "stan") as ask:
        # Who is above is not named.
        found = await ask("GET", "organization/search/devices", query="Adas")
        assert "ada" not in found["content"][0]["activatedBy"]


async def test_who_activated_a_device_is_known_after_a_restart(hub_config):
    async with running(hub_config) as hub:
        template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
        [(device, _)] = await hub.devices.add([NewDevice(name="Hall", template=template)], LOCAL)
        before = device.added_by
    async with running(hub_config) as hub:
        assert before == hub.devices.get(device.id).added_by == LOCAL.actor_id


async def test_who_may_not_look_for_users_is_not_told_who_is_one(world, device):
    async with api_client(world, "uma") as ask:
        for email in ("ada@example.org", "nobody@example.org"):
            found = await ask("GET", "organization/device/by-user-org", userEmail=email)
            assert {"content": [], "totalElements": 0} == found
        await world.hub.devices.transfer(device, device.org, world.users["uma"].id, SYSTEM)
        found = await ask("GET", "organization/device/by-user-org", userEmail="uma@example.org")
        assert [device.id] == [one["id"] for one in found["content"]]


async def test_who_may_not_look_for_users_is_not_told_who_activated_a_device(hub, world):
    uma = world.users["uma"]
    async with api_client(world) as ask:
        body = {"templateId": "TMPL0thermo", "name": "Adas", "ownerId": uma.id}
        made = await ask("POST", "organization/device/create", body)
    await hub.devices.update_firmware_info(hub.devices.get(made["id"]), {"ver": "1"})
    async with api_client(world, "uma") as ask:
        [found] = (await ask("GET", "organization/search/devices", query="Adas"))["content"]
        assert "ada@" not in found["activatedBy"]
        search = {"filters": [{"attribute": "activatedBy", "operator": "contains", "values": ["ada@"]}]}
        assert 0 == (await ask("POST", "devices/search", search))["totalElements"]


async def test_new_devices_of_those_below_are_theirs(hub, world, device):
    below = await world.device(world.orgs["works"])
    for one in (device, below):
        await hub.devices.update_firmware_info(one, {"ver": "1"})
    async with api_client(world) as ask:
        found = await ask("GET", "organization/device/last-activated")
    assert [device.id] == [one["id"] for one in found["content"]]
    assert found["content"][0]["activationTime"] == device.activated


@pytest.mark.parametrize("value", [None, {"a": 1}, [[1]], [None]])
async def test_a_property_is_text(world, device, value):
    async with api_client(world) as ask:
        body = {"deviceId": device.id, "dataStreamId": 1, "property": "color", "value": value}
        answer = await ask("POST", "organization/device/datastream/property", body)
    assert 400 == answer.status


async def test_a_pin_and_an_id_are_not_both_meant(world, device):
    async with api_client(world) as ask:
        body = {"deviceId": device.id, "dataStreamId": 1, "pin": "v2", "value": 1}
        answer = await ask("POST", "organization/device/datastream", body)
    assert (400, "either a pin or a dataStreamId is meant") == (answer.status, answer.message)


async def test_clients_are_made_only_by_who_may_make_organizations_and_administrators(world):
    body = PERSON | {"passwordHash": blynk_hash(PERSON["email"], "secret enough")}
    async with api_client(world, "stan") as ask:
        assert 403 == (await ask("POST", "organization/users/create", body)).status
    assert not [user for user in world.service.users.by_id.values() if user.email == PERSON["email"]]


async def test_a_user_is_invited_given_a_role_and_transferred(world):
    works = world.orgs["works"]
    async with api_client(world) as ask:
        body = {"email": "test@example.com", "name": "Test User", "roleId": USER, "locale": "en_US"}
        invited = await ask("POST", "organization/users/invite", body)
        assert ("en_US", "Pending") == (invited["locale"], invited["status"])
        promoted = await ask("PUT", f"organization/users/role?userId={invited['id']}&roleId=2")
        assert 2 == promoted["roleId"]
        moved = await ask(
            "POST", "organization/users/transfer", {"userId": invited["id"], "targetOrgId": works, "roleId": USER}
        )
        assert (works, USER) == (moved["orgId"], moved["roleId"])
        own = await ask("GET", "organization/users")
        assert invited["id"] not in [user["id"] for user in own["content"]]


@pytest.mark.parametrize(
    "by",
    ["User Id", "Name", "Email", "Status", "Role", "Organization Name", "Devices Count", "Country", "Registered At"],
)
async def test_users_are_sorted_as_blynk_says_it(world, by):
    async with api_client(world) as ask:
        sort = {"query": "example", "sortBy": by.replace(" ", "%20")}
        up = await ask("GET", "organization/search/users", **sort)
        down = await ask("GET", "organization/search/users", sortOrder="DESC", **sort)
    assert up["totalElements"] == down["totalElements"] > 2
    if by == "Email":
        emails = [user["email"] for user in up["content"]]
        assert (sorted(emails), emails[::-1]) == (emails, [user["email"] for user in down["content"]])


@pytest.mark.parametrize("by", ["Organization Id", "Name", "Device Count", "User Count", "Sub Organizations"])
async def test_organizations_are_sorted_as_blynk_says_it(world, by):
    async with api_client(world, "local") as ask:
        sort = {"sortBy": by.replace(" ", "%20"), "sortOrder": "DESC"}
        found = [one["name"] for one in (await ask("GET", "organization/search", query="", **sort))["content"]]
    assert {"acme", "works", "beta"} == set(found)
    if by == "Sub Organizations":
        assert "acme" == found[0]


async def test_a_page_has_20_unless_somebody_says_how_many(hub, world):
    for number in range(21):
        await world.device(world.orgs["acme"], name=f"Device {number}")
    async with api_client(world) as ask:
        page = await ask("GET", "organization/devices")
        all_of_them = await ask("GET", "organization/devices", size=1000)
    assert (20, 21, 21) == (len(page["content"]), page["totalElements"], len(all_of_them["content"]))


# -- routes that Blynk has moved --------------------------------------------------------------------------------------


async def test_an_event_is_resolved_at_its_new_path(hub, world):
    device = await world.device(world.orgs["acme"])
    await hub.timeline.log(device, "hot", "It is warm")
    async with api_client(world) as ask:
        [event] = (await ask("GET", "organization/device/timeline", deviceId=device.id))["content"]
        body = {"deviceId": device.id, "eventId": event["id"], "note": "Opened a window"}
        resolved = await ask("POST", "organization/device/resolve-event", body)
        unknown = await ask("POST", "organization/device/resolve-event", body | {"eventId": 999})
        listed = await ask("GET", "organization/device/timeline", deviceId=device.id, resolved="true", archived="any")
    assert (True, "ada@example.org") == (resolved["isResolved"], resolved["resolvedBy"])
    assert [resolved] == listed["content"]
    assert 404 == unknown.status


async def test_a_device_is_transferred_at_the_new_paths(hub, world, device):
    works, uma = world.orgs["works"], world.users["uma"]
    await hub.organizations.change(works, SYSTEM, templates=frozenset({"TMPL0blynk"}))
    async with api_client(world) as ask:
        to_owner = {"deviceId": device.id, "newUserId": uma.id}
        assert None is await ask("POST", "organization/device/transfer/to-owner", to_owner)
        assert (world.orgs["acme"], uma.id) == (device.org, device.owner)
        again = await ask("POST", "organization/device/transfer/to-owner", to_owner)
        to_works = {"deviceId": device.id, "newOrgId": works}
        assert None is await ask("POST", "organization/device/transfer/to-organization", to_works)
        assert (works, None) == (device.org, device.owner)
        foreign = await ask(
            "POST", "organization/device/transfer/to-organization", to_works | {"newOrgId": world.orgs["beta"]}
        )
        wrong = [
            await ask("POST", "organization/device/transfer/to-owner", to_works),
            await ask("POST", "organization/device/transfer/to-organization", to_owner),
        ]
    assert (400, "Can't transfer to the same owner") == (again.status, again.message)
    assert (404, True) == (foreign.status, "Organization with identifier" in foreign.message)
    assert [400, 400] == [answer.status for answer in wrong]


async def test_an_organization_is_renamed_at_its_new_path(world):
    works = world.orgs["works"]
    async with api_client(world) as ask:
        renamed = await ask("PUT", f"organization/edit/name?orgId={works}", {"name": "Workshop"})
        own = await ask("PUT", "organization/edit/name", {"name": "Acme Ltd"})
        foreign = await ask("PUT", f"organization/edit/name?orgId={world.orgs['beta']}", {"name": "Mine"})
        more = await ask("PUT", f"organization/edit/name?orgId={works}", {"name": "Workshop", "quotas": {}})
        names = [(await ask("GET", "organization", orgId=one))["name"] for one in (works, world.orgs["acme"])]
    assert (works, "Workshop", world.orgs["acme"]) == (renamed["id"], renamed["name"], own["id"])
    assert ["Workshop", "Acme Ltd"] == names
    assert [404, 400] == [foreign.status, more.status]
    assert "beta" == world.hub.organizations.get(world.orgs["beta"]).name


async def test_the_profile_of_the_asking_user_has_their_role_as_an_object(world):
    async with api_client(world) as ask:
        mine = await ask("GET", "organization/user/profile")
        before = await ask("GET", "profile")
    fields = "id name email title nickName phoneNumber role orgId orgName tz locale status"
    assert set(fields.split()) <= set(mine)
    assert ("ada@example.org", world.orgs["acme"], "acme") == (mine["email"], mine["orgId"], mine["orgName"])
    assert {"id": ADMIN, "name": "Admin", "permissions": before["permissions"]} == mine["role"]
    async with api_client(world, "local") as ask:
        # The key of the hub's machine has no user.
        assert 401 == (await ask("GET", "organization/user/profile")).status


async def test_an_oauth_client_is_created_at_its_new_path(hub, world):
    body = {"name": "Grafana", "redirectUrls": ["https://grafana.example.org/login"]}
    async with api_client(world) as ask:
        made = await ask("POST", "organization/oauth/clients/create", body)
        foreign = await ask("POST", "organization/oauth/clients/create", body | {"orgId": world.orgs["beta"]})
        [listed] = (await ask("GET", "organization/clients"))["content"]
    expected = body | {"orgId": world.orgs["acme"], "clientId": listed["clientId"], "secret": made["secret"]}
    assert expected == made
    assert (ADMIN, body["redirectUrls"]) == (listed["roleId"], listed["redirects"])
    assert 404 == foreign.status
    basic = base64.b64encode(f"{made['clientId']}:{made['secret']}".encode()).decode()
    async with connected(hub) as http:
        path = "/oauth2/token?grant_type=client_credentials"
        tokens = await http.ask("POST", path, b"", Authorization=f"Basic {basic}")
    assert 200 == tokens.status, tokens.body


async def test_an_oauth_client_has_the_role_of_the_user_who_creates_it(world):
    await world.service.roles.switch(world.orgs["acme"], STAFF, [("clients.add", True)])
    async with api_client(world, "stan") as ask:
        assert "secret" in await ask("POST", "organization/oauth/clients/create", {"name": "Mine"})
        more = await ask("POST", "organization/oauth/clients/create", {"name": "More", "roleId": ADMIN})
    async with api_client(world, "local") as ask:
        assert "secret" in await ask("POST", "organization/oauth/clients/create", {"name": "The hub's"})
    assert [("Mine", STAFF), ("The hub's", ADMIN)] == [
        (client.name, client.role) for client in world.service.credentials.clients.values()
    ]
    assert (403, True) == (more.status, "has permissions that you do not have" in more.message)


async def test_a_template_is_created_edited_and_deleted_at_its_new_paths(hub, world):
    async with api_client(world, "local") as ask:
        body = {"name": "Boiler", "boardType": "ESP32", "connectionType": "WiFi", "description": "In the cellar"}
        made = await ask("POST", "organization/template/create", body)
        path = f"organization/template?templateId={made['id']}"
        renamed = await ask("PUT", path, {"name": "Heater"})
        read = await ask("GET", path)
        assert None is await ask("DELETE", path)
        gone = [await ask("GET", path), await ask("PUT", path, {"name": "X"}), await ask("DELETE", path)]
        nameless = await ask("POST", "organization/template/create", {"name": ""})
    assert body.items() <= made.items()
    assert [made["id"]] == made["templateIds"]
    assert read == renamed == made | {"name": "Heater", "version": 2}
    assert {404} == {answer.status for answer in gone}
    assert 400 == nameless.status


async def test_a_template_keeps_its_datastreams_and_its_devices_when_it_is_renamed(hub, world, device):
    async with api_client(world, "local") as ask:
        path = "organization/template?templateId=TMPL0blynk"
        before = await ask("GET", path)
        assert before | {"name": "Boiler", "version": 2} == await ask("PUT", path, {"name": "Boiler"})
        in_use = await ask("DELETE", path)
    assert (409, True) == (in_use.status, "everything=true" in in_use.message)
    assert ("Boiler", 24.3) == (device.template.name, hub.history.latest[device.points[1].series][1])


async def test_a_device_of_another_organization_is_not_found_at_the_new_paths(world, device):
    for path, more in (
        ("resolve-event", {"eventId": 1}),
        ("transfer/to-owner", {"newUserId": world.users["bert"].id}),
        ("transfer/to-organization", {"newOrgId": world.orgs["beta"]}),
    ):
        async with api_client(world, "bert") as ask:
            answer = await ask("POST", f"organization/device/{path}", {"deviceId": device.id} | more)
        said = f"Device with identifier {device.id} is not found or belong to another organization."
        assert (404, said) == (answer.status, answer.message), path
    assert (world.orgs["acme"], None) == (device.org, device.owner)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "organization/device/resolve-event", {"deviceId": 1, "eventId": 1}),
        ("POST", "organization/device/transfer/to-owner", {"deviceId": 1, "newUserId": 1}),
        ("POST", "organization/device/transfer/to-organization", {"deviceId": 1, "newOrgId": 1}),
        ("PUT", "organization/edit/name", {"name": "Mine"}),
        ("POST", "organization/oauth/clients/create", {"name": "Mine"}),
        ("POST", "organization/template/create", {"name": "Mine"}),
        ("PUT", "organization/template?templateId=TMPL0blynk", {"name": "Mine"}),
        ("DELETE", "organization/template?templateId=TMPL0blynk", None),
    ],
)
async def test_the_new_paths_need_the_permissions_of_those_before(world, device, method, path, body):
    async with api_client(world, "uma") as ask:
        assert 403 == (await ask(method, path, body)).status
