"""Compatibility with Blynk's API of organizations and users."""

from __future__ import annotations

import base64
import hashlib

import pytest
import trio
from support.api import api_client, names_of

from hub.model import ROOT_ORG, SYSTEM, Organization
from hub.run import running
from hub.storage.stamp_correction import Correction
from plugins.users.model import ADMIN, USER


async def test_organization_is_created_with_the_fields_of_blynk(world):
    body = {
        "name": "My Organization",
        "description": "My friend's organization",
        "type": "DISTRIBUTOR",
        "tz": "Europe/Kyiv",
        "parentId": world.orgs["acme"],
        "phoneNumber": "+380123456789",
        "unitSystem": "IMPERIAL",
        "address": {"fullAddress": "Main St 1", "city": "Kyiv", "country": "Ukraine", "state": "Kyiv", "zip": "02000"},
    }
    async with api_client(world) as ask:
        created = await ask("POST", "organization/create", body)
        read = await ask("GET", "organization", orgId=created["id"])
        [match] = (await ask("GET", "organization/search", query="my%20org", sortBy="Name"))["content"]
        own = await ask("GET", "organization/profile")
    expected = body | {"parentOrganizationId": body["parentId"]}
    del expected["parentId"]
    for response in (created, read, match):
        assert expected.items() <= response.items()
    assert (world.orgs["acme"], "BUSINESS") == (own["id"], own["type"])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"type": "GALAXY"}, "type: must be one of"),
        ({"type": "ROOT"}, "only the root organization can have the type ROOT"),
        ({"phoneNumber": "call me"}, "phoneNumber must be"),
        ({"unitSystem": "metric"}, "unitSystem: must be one of"),
        ({"tz": "Mars/Base"}, "no time zone"),
        ({"address": "Main St 1"}, "address"),
        ({"address": {"street": "Main St 1"}}, "street"),
        ({"address": {"zip": "0" * 13}}, "address.zip must have at most 12 printable characters"),
        ({"address": {"city": "Kyiv\n"}}, "address.city must have at most 50 printable characters"),
    ],
)
async def test_invalid_organization_is_rejected(world, body, error):
    async with api_client(world) as ask:
        response = await ask("POST", "organization/create", {"name": "New"} | body)
    assert 400 == response.status
    assert error in response.message


async def test_organization_has_the_time_of_its_last_change(world):
    acme, works = world.orgs["acme"], world.orgs["works"]
    async with api_client(world) as ask:
        before = (await ask("GET", "organization", orgId=works))["lastModifiedTs"]
        changed = await ask("PUT", "organization", {"orgId": works, "address": {"city": "Kyiv"}})
        assert {"fullAddress": "", "city": "Kyiv", "country": "", "state": "", "zip": ""} == changed["address"]
        emptied = await ask("PUT", "organization", {"orgId": works, "address": {}})
        unchanged = await ask("GET", "organization", orgId=works)
        read = await ask("GET", "organization/profile")
    assert before < changed["lastModifiedTs"] < emptied["lastModifiedTs"]
    assert "" == emptied["address"]["city"]
    assert emptied == unchanged
    assert world.hub.organizations.get(acme).modified == read["lastModifiedTs"]


async def test_address_and_time_of_the_last_change_outlive_a_restart(hub_config):
    async with running(hub_config) as hub:
        new = Organization(id=0, name="One", parent=ROOT_ORG, address={"city": "Kyiv"})
        added = await hub.organizations.add(new, SYSTEM)
        assert None is hub.organizations.root.modified
    async with running(hub_config) as hub:
        stored = hub.organizations.get(added.id)
    assert ({"city": "Kyiv"}, added.modified) == (stored.address, stored.modified)


async def test_repair_of_the_clock_corrects_the_time_of_the_last_change(world):
    hub, works = world.hub, world.orgs["works"]
    modified = hub.organizations.get(works).modified
    correction = Correction(modified - 1, shift=60_000)
    hub.organizations.correct_stamps(correction)
    assert modified - 60_000 == hub.organizations.get(works).modified


async def test_sub_organizations_are_those_directly_below(world):
    async with api_client(world, "rita") as ask:
        assert ["acme", "beta"] == names_of(await ask("GET", "organization/sub-organizations"))
        page = await ask("GET", "organization/sub-organizations", size=1, page=1)
        assert (["beta"], 2) == (names_of(page), page["totalElements"])
    async with api_client(world) as ask:
        assert ["works"] == names_of(await ask("GET", "organization/sub-organizations"))
        assert [] == names_of(await ask("GET", "organization/sub-organizations", orgId=world.orgs["works"]))
        for org in (world.orgs["beta"], world.orgs["root"], 999):
            assert 404 == (await ask("GET", "organization/sub-organizations", orgId=org)).status
    async with api_client(world, "uma") as ask:
        assert 403 == (await ask("GET", "organization/sub-organizations")).status


async def test_organization_below_a_personal_one_is_personal(world):
    async with api_client(world) as ask:
        above = await ask("POST", "organization/create", {"name": "Above", "type": "PERSONAL"})
        below = await ask("POST", "organization/create", {"name": "Below", "type": "BUSINESS", "parentId": above["id"]})
    assert "PERSONAL" == below["type"]


async def test_unit_system_of_an_organization_can_be_reset(world):
    async with api_client(world) as ask:
        acme = {"orgId": world.orgs["acme"]}
        assert "METRIC" == (await ask("PUT", "organization", acme | {"unitSystem": "METRIC"}))["unitSystem"]
        assert None is (await ask("PUT", "organization", acme | {"unitSystem": "NONE"}))["unitSystem"]


async def test_tags_are_returned_as_a_plain_list(world):
    async with api_client(world) as ask:
        created = await ask("POST", "organization/tag/create", {"name": "My Tag Name"})
        assert [created["id"]] == [tag["id"] for tag in await ask("GET", "organization/tags", orgId=world.orgs["acme"])]


def blynk_hash(email, password):
    """Return a password hash as Blynk's documentation of users computes it in Java and in bash."""
    salt = hashlib.sha256(email.lower().encode()).digest()
    return base64.b64encode(hashlib.sha256(password.encode() + salt).digest()).decode()


#: A customer, with all fields of a profile.
PERSON = {
    "email": "john@example.com",
    "name": "John Doe",
    "title": "Engineer",
    "nickName": "john",
    "phoneNumber": "+3801234567",
    "address": {"fullAddress": "Main St 1", "city": "Kyiv", "country": "Ukraine", "state": "Kyiv", "zip": "02000"},
}


USER_FIELDS = "id name email title nickName phoneNumber roleId orgId tz locale status lastLoggedAt registeredAt isDev"


async def test_user_is_created_in_an_organization_with_all_profile_fields(world):
    hashed = blynk_hash(PERSON["email"], "mySuperSecretPassword")
    body = PERSON | {"passwordHash": hashed, "orgId": world.orgs["acme"], "roleId": USER, "tz": "Europe/Kyiv"}
    async with api_client(world) as ask:
        created = await ask("POST", "organization/users/create-in-org", body)
        read = await ask("GET", "organization/user", userId=created["id"])
        [match] = (await ask("GET", "organization/search/users", query="john", sortBy="Email", sortOrder="ASC"))[
            "content"
        ]
        listed = await ask("GET", "organization/users", includeSubOrgUsers="true")
    for response in (created, read, match):
        assert set(USER_FIELDS.split()) <= set(response)
        assert ("Engineer", "john", "+3801234567", "Europe/Kyiv") == tuple(
            response[name] for name in ("title", "nickName", "phoneNumber", "tz")
        )
    assert PERSON["address"] == read["address"]
    assert created["id"] in [user["id"] for user in listed["content"]]
    async with api_client(world) as ask:
        login = {"email": PERSON["email"], "password": "mySuperSecretPassword"}
        assert "access_token" in await ask("POST", "login", login)


async def test_created_customer_gets_their_own_organization(hub, world):
    body = PERSON | {"passwordHash": blynk_hash(PERSON["email"], "secret enough"), "timeZone": "Europe/Kyiv"}
    async with api_client(world) as ask:
        assert None is await ask("POST", "organization/users/create", body | {"organizationName": "Doe Ltd"})
        [user] = (await ask("GET", "organization/search/users", query="john"))["content"]
        org = await ask("GET", "organization", orgId=user["orgId"])
        # An existing user is left unchanged, without an error.
        assert None is await ask("POST", "organization/users/create", body | {"organizationName": "Other"})
        again = await ask("GET", "organization/search", query="Other")
    assert ("Doe Ltd", world.orgs["acme"], "Europe/Kyiv") == (org["name"], org["parentOrganizationId"], org["tz"])
    assert (ADMIN, "Europe/Kyiv") == (user["roleId"], user["tz"])
    assert 0 == again["totalElements"]
    assert hub.organizations.get(world.orgs["acme"]).templates == hub.organizations.get(org["id"]).templates


async def test_customer_over_the_user_quota_leaves_no_organization(hub, world):
    acme = world.orgs["acme"]
    used = sum(user.org == acme for user in world.service.users.by_id.values())
    body = PERSON | {"passwordHash": blynk_hash(PERSON["email"], "secret enough")}
    await hub.organizations.change(acme, SYSTEM, quotas={"users": used})
    before = set(hub.organizations.by_id)
    async with api_client(world) as ask:
        rejection = await ask("POST", "organization/users/create", body)
        assert (409, "there is no room for more users: the quota is" in rejection.message) == (rejection.status, True)
        assert before == set(hub.organizations.by_id)
        await hub.organizations.change(acme, SYSTEM, quotas={})
        assert None is await ask("POST", "organization/users/create", body)


async def test_organizations_of_customers_get_unique_names(hub, world):
    responses = []

    async def create_customer(email, **more):
        async with api_client(world) as ask:
            responses.append(
                await ask("POST", "organization/users/create", {"email": email, "password": "secret enough"} | more)
            )

    for number in range(3):
        await create_customer(f"john{number}@example.com", name="John Doe")
    await create_customer("a+b@example.com")
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(create_customer, "race@example.com")
    assert {None} == set(responses)
    names = [org.name for org in hub.organizations.by_id.values() if org.parent == world.orgs["acme"]]
    assert ["works", "John Doe", "John Doe 2", "John Doe 3", "a b", "race"] == names


async def test_user_is_registered_without_a_password(world):
    async with api_client(world) as ask:
        body = {"email": "New@example.com", "locale": "en_US"}
        assert None is await ask("POST", "organization/users/register", body)
        [user] = (await ask("GET", "organization/search/users", query="new@example.com"))["content"]
        assert ("Pending", "en_US", USER, world.orgs["acme"]) == tuple(
            user[name] for name in ("status", "locale", "roleId", "orgId")
        )
        assert "/account?code=" in (await ask("POST", "organization/user/reset", {"userId": user["id"]}))["link"]
        again = await ask("POST", "organization/users/register", body)
        assert (400, "new@example.com is already in use") == (again.status, again.message)


async def test_user_without_the_permission_to_view_users_cannot_probe_for_addresses(world, thermostat):
    async with api_client(world, "uma") as ask:
        for email in ("ada@example.org", "nobody@example.org"):
            matches = await ask("GET", "organization/device/by-user-org", userEmail=email)
            assert {"content": [], "totalElements": 0} == matches
        await world.hub.devices.transfer(thermostat, thermostat.org, world.users["uma"].id, SYSTEM)
        matches = await ask("GET", "organization/device/by-user-org", userEmail="uma@example.org")
        assert [thermostat.id] == [entry["id"] for entry in matches["content"]]


async def test_user_without_the_permission_to_view_users_does_not_see_the_activating_user(hub, world):
    uma = world.users["uma"]
    async with api_client(world) as ask:
        body = {"templateId": "TMPL0thermo", "name": "Adas", "ownerId": uma.id}
        created = await ask("POST", "organization/device/create", body)
    await hub.devices.update_firmware_info(hub.devices.get(created["id"]), {"ver": "1"})
    async with api_client(world, "uma") as ask:
        [matches] = (await ask("GET", "organization/search/devices", query="Adas"))["content"]
        assert "ada@" not in matches["activatedBy"]
        search = {"filters": [{"attribute": "activatedBy", "operator": "contains", "values": ["ada@"]}]}
        assert 0 == (await ask("POST", "devices/search", search))["totalElements"]


async def test_creating_a_customer_needs_the_permission_to_create_organizations(world):
    body = PERSON | {"passwordHash": blynk_hash(PERSON["email"], "secret enough")}
    async with api_client(world, "stan") as ask:
        assert 403 == (await ask("POST", "organization/users/create", body)).status
    assert not [user for user in world.service.users.by_id.values() if user.email == PERSON["email"]]


async def test_user_is_invited_promoted_and_transferred(world):
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
    "key",
    ["User Id", "Name", "Email", "Status", "Role", "Organization Name", "Devices Count", "Country", "Registered At"],
)
async def test_users_are_sorted_by_blynks_keys(world, key):
    async with api_client(world) as ask:
        sort = {"query": "example", "sortBy": key.replace(" ", "%20")}
        ascending = await ask("GET", "organization/search/users", **sort)
        descending = await ask("GET", "organization/search/users", sortOrder="DESC", **sort)
    assert ascending["totalElements"] == descending["totalElements"] > 2
    if key == "Email":
        emails = [user["email"] for user in ascending["content"]]
        assert (sorted(emails), emails[::-1]) == (emails, [user["email"] for user in descending["content"]])


@pytest.mark.parametrize("key", ["Organization Id", "Name", "Device Count", "User Count", "Sub Organizations"])
async def test_organizations_are_sorted_by_blynks_keys(world, key):
    async with api_client(world, "local") as ask:
        sort = {"sortBy": key.replace(" ", "%20"), "sortOrder": "DESC"}
        names = [
            organization["name"]
            for organization in (await ask("GET", "organization/search", query="", **sort))["content"]
        ]
    assert {"acme", "works", "beta"} == set(names)
    if key == "Sub Organizations":
        assert "acme" == names[0]
