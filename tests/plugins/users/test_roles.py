"""Roles: permissions per organization, changes and replacement."""

from __future__ import annotations

import pytest
import trio
from support.tenants import ORG

from plugins.users.model import ADMIN, USER


async def test_granting_a_permission_grants_the_permissions_it_requires(world):
    role = await world.service.roles.add("Keeper")
    acme = world.orgs["acme"]
    assert {"users.edit", "users.view"} == await world.service.roles.switch(acme, role, [("users.edit", True)])
    assert set() == await world.service.roles.switch(acme, role, [("users.view", False)])


async def test_permissions_of_a_role_are_per_organization_until_overwritten_from_above(world):
    roles, acme, works = world.service.roles, world.orgs["acme"], world.orgs["works"]
    await roles.switch(works, USER, [("templates.view", True)])
    await roles.switch(acme, USER, [("own_devices.edit", True)])
    assert "own_devices.edit" not in roles.grants(works, USER)
    assert "own_devices.edit" not in roles.grants(world.orgs["beta"], USER)

    body = {"roleId": USER, "permissions": {"own_devices.edit": True}, "overwrite": True}
    assert 200 == (await world.ask("ada", "POST", f"{ORG}/role/permissions", body)).status
    assert "own_devices.edit" in roles.grants(works, USER)
    assert "templates.view" not in roles.grants(works, USER)


async def test_concurrent_changes_of_a_role_are_all_applied(world):
    async with trio.open_nursery() as nursery:
        for permission in ("templates.view", "users.view", "analytics.view"):
            nursery.start_soon(world.service.roles.switch, world.orgs["acme"], USER, [(permission, True)])
    assert {"templates.view", "users.view", "analytics.view"} <= world.service.roles.grants(world.orgs["acme"], USER)


async def test_users_of_a_deleted_role_get_its_replacement(world):
    created = (await world.ask("rita", "POST", f"{ORG}/role/create", {"name": "Guest", "like": USER})).json
    await world.service.users.change(world.users["uma"], role=created["id"])
    for path, status in (
        (f"{ORG}/role?roleId={ADMIN}&insteadId={USER}", 403),
        (f"{ORG}/role?roleId={created['id']}&insteadId={created['id']}", 400),
        (f"{ORG}/role?roleId=99&insteadId={USER}", 404),
        (f"{ORG}/role?roleId={created['id']}&insteadId={USER}", 204),
    ):
        assert status == (await world.ask("rita", "DELETE", path)).status, path
    assert USER == world.users["uma"].role
    assert "Guest" not in world.service.roles.names.values()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "x" * 41}, 400),
        ({"name": "admin"}, 409),
        ({"name": 5}, 400),
        ({"name": "Fine", "like": 99}, 404),
        ({"name": "Fine", "colour": "red"}, 400),
    ],
    ids=str,
)
async def test_invalid_role_is_rejected(world, body, status):
    assert status == (await world.ask("rita", "POST", f"{ORG}/role/create", body)).status


@pytest.mark.parametrize("permissions", [{}, {"users.fly": True}, {"users.view": "yes"}, ["users.view"]], ids=str)
async def test_invalid_permissions_are_rejected(world, permissions):
    body = {"roleId": USER, "permissions": permissions}
    assert 400 == (await world.ask("rita", "POST", f"{ORG}/role/permissions", body)).status
