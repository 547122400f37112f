"""Users as administrators manage them: profile, roles, deletion, export, transfer and invitation."""

from __future__ import annotations

import pytest
import trio
from support.accounts import log_in
from support.tenants import ORG, PASSWORD

from hub.errors import Conflict
from plugins.users import passwords
from plugins.users.model import ADMIN, USER


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"tz": "Europe/Atlantis"}, "there is no time zone 'Europe/Atlantis'"),
        ({"units": "furlongs"}, "units: must be one of"),
        ({"name": "x" * 61}, "name must have at most 60"),
        ({"title": "a\nb"}, "title must have at most"),
        ({"roleId": ADMIN}, "unknown"),
        ({"name": 5, "phoneNumber": []}, "name"),
    ],
    ids=str,
)
async def test_invalid_profile_is_rejected(world, http, body, error):
    response = await http.ask("PUT", "/api/v1/profile", body, world.tokens["uma"])
    assert 400 == response.status
    assert error in response.message


async def test_last_admin_of_an_organization_cannot_be_removed(world):
    service_users = world.service.users
    await service_users.set_password(world.users["ada"], passwords.blynk_hash("ada@example.org", PASSWORD))
    ada = world.users["ada"].id
    for method, path, body in (
        ("DELETE", f"{ORG}/user?userId={ada}", None),
        ("PUT", f"{ORG}/users/role?userId={ada}&roleId={USER}", b""),
        ("POST", f"{ORG}/user/suspend", {"userId": ada}),
        ("POST", f"{ORG}/users/transfer", {"userId": ada, "targetOrgId": world.orgs["beta"], "roleId": USER}),
    ):
        response = await world.ask("rita", method, path, body)
        message = "ada@example.org is the last Admin of their organization: make another user Admin first."
        assert (409, message) == (response.status, response.message)


async def test_two_admins_demoted_at_once_leave_one_admin(world):
    service_users = world.service.users
    await world.user("abe", world.orgs["acme"], ADMIN, PASSWORD)
    await service_users.set_password(world.users["ada"], passwords.blynk_hash("ada@example.org", PASSWORD))
    failed = []

    async def demote(name):
        try:
            await service_users.change(world.users[name], role=USER)
        except Conflict as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(demote, "ada")
        nursery.start_soon(demote, "abe")
    assert 1 == len(failed)
    assert {ADMIN, USER} == {world.users["ada"].role, world.users["abe"].role}


async def test_deleting_a_user_clears_the_owner_of_their_devices(world):
    device = await world.device(world.orgs["acme"], owner=world.users["uma"].id)
    assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/user?userId={world.users['uma'].id}")).status
    assert device.owner is None
    assert 401 == (await world.ask("uma", "GET", "/api/v1/profile")).status


async def test_user_export_contains_comments_written_values_and_audit_records(world):
    device = await world.device(world.orgs["acme"])
    stan = world.users["stan"]
    event = {"deviceId": device.id, "eventCode": "hot"}
    assert 204 == (await world.ask("ada", "POST", f"{ORG}/device/trigger-event", event)).status
    [hot_event] = (await world.ask("ada", "GET", f"{ORG}/device/timeline?deviceId={device.id}")).json["content"]
    comment = {"deviceId": device.id, "eventId": hot_event["id"], "text": "On my way"}
    assert 200 == (await world.ask("stan", "POST", f"{ORG}/device/event/comment", comment)).status
    write = {"deviceId": device.id, "pin": "v0", "value": 21}
    assert 204 == (await world.ask("stan", "POST", f"{ORG}/device/datastream", write)).status
    export = (await world.ask("ada", "GET", f"{ORG}/user/export?userId={stan.id}")).json
    assert ["On my way"] == [comment["text"] for comment in export["comments"]]
    assert [(device.id, 21.0)] == [(v["deviceId"], v["value"]) for v in export["audit"]["values"]]
    assert [f"user {stan.id}"] == list({record["who"] for record in export["audit"]["records"]})
    assert 1 == export["audit"]["changes"]


async def test_user_export_is_limited_to_the_organization_of_the_requesting_user(world):
    uma = world.users["uma"]
    device = await world.device(world.orgs["acme"], owner=uma.id)
    write = {"deviceId": device.id, "pin": "v0", "value": 21}
    assert 204 == (await world.ask("uma", "POST", f"{ORG}/device/datastream", write)).status
    body = {"userId": uma.id, "targetOrgId": world.orgs["beta"], "roleId": USER}
    assert 201 == (await world.ask("rita", "POST", f"{ORG}/users/transfer", body)).status
    export = (await world.ask("bert", "GET", f"{ORG}/user/export?userId={uma.id}")).json
    assert [] == export["audit"]["values"]
    assert {world.orgs["beta"]} == {record["org"] for record in export["audit"]["records"]}


@pytest.mark.parametrize("by_themselves", [False, True])
async def test_deleting_a_user_erases_their_addresses_from_the_audit_log(world, http, by_themselves):
    eva = world.users["eva"]
    access_token = (await log_in(http)).json["access_token"]
    assert 200 == (await http.ask("PUT", "/api/v1/profile", {"name": "Eva"}, access_token)).status

    async def addresses():
        records = (await world.ask("rita", "GET", "/api/v1/audit?size=1000")).json["content"]
        return [record["address"] for record in records if record["who"] == f"user {eva.id}"]

    assert "127.0.0.1" in await addresses()
    if by_themselves:
        assert 204 == (await http.ask("DELETE", "/api/v1/profile", {"password": PASSWORD}, access_token)).status
    else:
        assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/user?userId={eva.id}")).status
    assert {""} == set(await addresses())
    assert [] == (await world.ask("rita", "GET", "/api/v1/audit/verify")).json["problems"]


async def test_user_is_transferred_with_or_without_their_devices(world):
    device = await world.device(world.orgs["acme"], owner=world.users["uma"].id)
    uma, works = world.users["uma"], world.orgs["works"]
    body = {"userId": uma.id, "targetOrgId": works, "roleId": USER, "devices": True}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/users/transfer", body)).status
    assert (works, works, uma.id) == (uma.org, device.org, device.owner)
    back = {"userId": uma.id, "targetOrgId": world.orgs["acme"], "roleId": USER}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/users/transfer", back)).status
    assert (works, None) == (device.org, device.owner)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"email": "no address"}, "Enter a valid e-mail address."),
        ({"email": "a@b.c", "roleId": 99}, "Role with identifier 99"),
        ({"email": "eva@example.org"}, "eva@example.org is already in use"),
        ({"email": "EVA@example.org"}, "eva@example.org is already in use"),
        ({"email": "a@b.c", "name": "\u202e" + "x"}, "name must have at most"),
        ({"email": 7, "roleId": "1", "colour": "red"}, "email"),
        ({}, "email"),
    ],
    ids=str,
)
async def test_invalid_invitation_is_rejected(world, body, error):
    response = await world.ask("ada", "POST", f"{ORG}/users/invite", body)
    assert response.status in (400, 404, 409)
    assert error in response.message
