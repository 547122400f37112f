"""Users and clients cannot obtain or grant more permissions than they have."""

from __future__ import annotations

import json

from support.raw_http import ask
from support.tenants import ORG

from plugins.users.model import ADMIN, STAFF, USER


async def test_client_with_the_admin_role_is_not_a_developer(world):
    created = (await world.ask("rita", "POST", f"{ORG}/client", {"name": "c", "roleId": ADMIN})).json
    form = f"grant_type=client_credentials&client_id={created['clientId']}&client_secret={created['clientSecret']}"
    token = (await ask(world.hub, "POST", "/oauth2/token", form.encode())).json["access_token"]
    toml = {"toml": '[template]\nname = "T"'}
    assert 403 == (await ask(world.hub, "POST", "/api/v1/template/import", toml, token)).status
    lift = {"userId": world.users["rita"].id, "isDev": True}
    assert 403 == (await ask(world.hub, "PUT", f"{ORG}/user", lift, token)).status


async def test_organization_export_needs_more_than_the_settings_permission(world):
    role = await world.service.roles.add("Clerk")
    await world.service.roles.switch(world.orgs["acme"], role, [("orgs.settings", True), ("orgs.view", True)])
    await world.user("clara", world.orgs["acme"], role)
    assert 403 == (await world.ask("clara", "GET", f"{ORG}/export?orgId={world.orgs['works']}")).status


async def test_deleting_an_organization_with_its_content_needs_the_permissions_for_the_content(world):
    role = await world.service.roles.add("Cleaner")
    await world.service.roles.switch(world.orgs["acme"], role, [("orgs.delete", True), ("users.delete", True)])
    await world.user("carl", world.orgs["acme"], role)
    await world.user("wim", world.orgs["works"], ADMIN)
    path = f"{ORG}?orgId={world.orgs['works']}&everything=true"
    assert 403 == (await world.ask("carl", "DELETE", path)).status
    assert "wim@example.org" in world.service.users.by_email


async def test_users_of_other_organizations_are_not_named(world):
    device = await world.device(world.orgs["beta"])
    body = {"deviceId": device.id, "pin": "v0", "value": 1}
    await world.ask("rita", "POST", f"{ORG}/device/datastream", body)
    await world.ask("rita", "PUT", f"{ORG}/device?deviceId={device.id}", {"name": "New"})
    [record] = (await world.ask("bert", "GET", "/api/v1/audit")).json["content"]
    assert ("somebody else", "") == (record["name"], record["address"])
    actions = (await world.ask("bert", "GET", f"/api/v1/device/actions?deviceId={device.id}")).json
    assert "rita" not in json.dumps(actions)
    assert (await world.ask("bert", "GET", f"{ORG}/profile")).json["parentOrganizationId"] is None


async def grant(world, *permissions):
    await world.service.roles.switch(world.orgs["acme"], STAFF, [(permission, True) for permission in permissions])


async def test_user_cannot_grant_or_manage_more_permissions_than_their_own(world):
    await grant(world, "users.edit", "users.password", "users.delete", "users.suspend", "users.transfer", "roles.edit")
    ada, uma = world.users["ada"].id, world.users["uma"].id
    for method, path, body in (
        ("POST", f"{ORG}/users/invite", {"email": "x@example.org", "roleId": ADMIN}),
        ("POST", f"{ORG}/users/create-in-org", {"email": "x@example.org", "roleId": ADMIN, "password": "long enough"}),
        ("POST", f"{ORG}/users/create", {"email": "x@example.org", "password": "long enough"}),
        ("PUT", f"{ORG}/users/role?userId={uma}&roleId={ADMIN}", b""),
        ("PUT", f"{ORG}/users/role?userId={ada}&roleId={USER}", b""),
        ("POST", f"{ORG}/user/reset", {"userId": ada}),
        ("POST", f"{ORG}/user/password", {"userId": ada, "password": "mine now, ha"}),
        ("POST", f"{ORG}/user/suspend", {"userId": ada}),
        ("DELETE", f"{ORG}/user?userId={ada}", None),
        ("POST", f"{ORG}/users/transfer", {"userId": uma, "targetOrgId": world.orgs["works"], "roleId": ADMIN}),
        ("POST", f"{ORG}/role/permissions", {"roleId": USER, "permissions": {"users.logout": True}}),
    ):
        response = await world.ask("stan", method, path, body)
        assert 403 == response.status, (path, response.body)
    assert ADMIN == world.users["ada"].role
    assert not world.users["ada"].suspended


async def test_user_cannot_change_their_own_role_or_its_permissions(world):
    await grant(world, "users.edit", "roles.edit")
    stan = world.users["stan"].id
    permissions = {"roleId": STAFF, "permissions": {"users.view": True}}
    assert 403 == (await world.ask("stan", "PUT", f"{ORG}/users/role?userId={stan}&roleId={USER}", b"")).status
    assert 403 == (await world.ask("stan", "POST", f"{ORG}/role/permissions", permissions)).status
    admin = {"roleId": ADMIN, "permissions": {"users.view": False}}
    assert 403 == (await world.ask("rita", "POST", f"{ORG}/role/permissions", admin)).status
    assert "users.view" in world.service.roles.grants(world.orgs["acme"], ADMIN)


async def test_admin_of_an_organization_cannot_manage_the_hub(world):
    for method, path in (
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/refusals"),
        ("GET", "/metrics"),
        ("POST", "/api/v1/clock/repair"),
        ("GET", "/api/v1/clock/repair"),
        ("POST", "/api/v1/backup"),
        ("GET", "/api/v1/audit/verify"),
        ("POST", f"{ORG}/transfer"),
        ("POST", f"{ORG}/role/create"),
    ):
        assert 403 == (await world.ask("ada", method, path, None if method == "GET" else b"")).status, path
        assert 403 != (await world.ask("rita", method, path, None if method == "GET" else b"")).status, path
