"""Rights that are revoked or changed while they are in use, and revocation on a full disk."""

from __future__ import annotations

from contextlib import contextmanager

import trio
from support.raw_http import ask, connected
from support.tenants import ORG, PASSWORD, tenants

from hub.errors import StorageError
from hub.model import SYSTEM
from hub.run import running
from plugins.users.model import ADMIN, STAFF, USER
from plugins.users.service import UsersService


@contextmanager
def disk_full(hub):
    """Fail every transaction on the configuration database, as a full disk does."""
    database = hub.storage.configuration
    before = database._transaction

    async def full(_fn):
        raise StorageError("the disk is full")

    database._transaction = full
    yield
    database._transaction = before


async def test_switched_session_returns_home_when_its_organization_is_moved_away(world):
    device = await world.device(world.orgs["works"])
    assert 200 == (await world.ask("ada", "POST", f"{ORG}/switch", {"orgId": world.orgs["works"]})).status
    await world.hub.organizations.move(world.orgs["works"], world.orgs["beta"], SYSTEM)
    assert 404 == (await world.ask("ada", "GET", f"{ORG}/device?deviceId={device.id}")).status
    assert "acme" == (await world.ask("ada", "GET", f"{ORG}/profile")).json["name"]


async def test_switched_session_returns_home_when_the_permission_is_revoked(world):
    roles, acme = world.service.roles, world.orgs["acme"]
    await roles.switch(acme, STAFF, [("orgs.switch", True)])
    device = await world.device(world.orgs["works"])
    assert 200 == (await world.ask("stan", "POST", f"{ORG}/switch", {"orgId": world.orgs["works"]})).status
    await roles.switch(acme, STAFF, [("orgs.view", False)])
    assert 404 == (await world.ask("stan", "GET", f"{ORG}/device?deviceId={device.id}")).status


async def test_invitation_link_is_invalid_after_the_role_changes(world):
    invited = (await world.ask("stan", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})).json
    code = invited["link"].rpartition("=")[2]
    path = f"{ORG}/users/role?userId={invited['id']}&roleId={ADMIN}"
    assert 200 == (await world.ask("ada", "PUT", path, b"")).status
    async with connected(world.hub) as http:
        assert 400 == (await http.get(f"/account?code={code}")).status


async def test_password_set_by_an_admin_ends_sessions_and_keys(world):
    key = (await world.ask("uma", "POST", "/api/v1/key", {"name": "k"})).json["key"]
    body = {"userId": world.users["uma"].id, "password": "another long one"}
    assert 204 == (await world.ask("ada", "POST", f"{ORG}/user/password", body)).status
    assert 401 == (await world.ask("uma", "GET", "/api/v1/profile")).status
    assert 401 == (await ask(world.hub, "GET", "/api/v1/profile", key=key)).status


async def test_login_concurrent_with_a_password_change_leaves_no_session(world):
    eva = world.users["eva"]
    body = {"userId": eva.id, "password": "password 0"}
    assert 204 == (await world.ask("ada", "POST", f"{ORG}/user/password", body)).status
    for number in range(8):
        responses = []

        async def log_in(number=number, responses=responses):
            body = {"email": "eva@example.org", "password": f"password {number}"}
            responses.append(await ask(world.hub, "POST", "/api/v1/login", body))

        async with trio.open_nursery() as nursery:
            body = {"userId": eva.id, "password": f"password {number + 1}"}
            nursery.start_soon(world.ask, "ada", "POST", f"{ORG}/user/password", body)
            nursery.start_soon(log_in)
        if 200 == responses[0].status:
            token = responses[0].json["access_token"]
            assert 401 == (await ask(world.hub, "GET", "/api/v1/profile", key=token)).status


async def test_key_of_a_suspended_user_is_rejected(world):
    key = (await world.ask("uma", "POST", "/api/v1/key", {"name": "k"})).json["key"]
    await world.service.users.change(world.users["uma"], suspended=True)
    for path in ("/api/v1/profile", f"{ORG}/profile", "/api/v1/sessions"):
        assert 401 == (await ask(world.hub, "GET", path, key=key)).status


async def test_failed_revocation_can_be_repeated_and_survives_a_restart(hub_config):
    async with running(hub_config) as hub:
        world = await tenants(hub)
        created = (await world.ask("ada", "POST", "/api/v1/key", {"name": "k"})).json
        body = {"userId": world.users["uma"].id}
        with disk_full(hub):
            assert 503 == (await world.ask("ada", "DELETE", f"/api/v1/key?keyId={created['id']}")).status
            assert 503 == (await world.ask("ada", "POST", f"{ORG}/user/logout", body)).status
        assert 204 == (await world.ask("ada", "DELETE", f"/api/v1/key?keyId={created['id']}")).status
        assert 204 == (await world.ask("ada", "POST", f"{ORG}/user/logout", body)).status
    async with running(hub_config) as hub:
        assert 401 == (await ask(hub, "GET", "/api/v1/profile", key=created["key"])).status
        assert 401 == (await ask(hub, "GET", "/api/v1/profile", key=world.tokens["uma"])).status


async def test_failed_refresh_can_be_repeated(world):
    body = {"email": "eva@example.org", "password": PASSWORD}
    tokens = (await ask(world.hub, "POST", "/api/v1/login", body)).json
    again = {"refresh_token": tokens["refresh_token"]}
    with disk_full(world.hub):
        assert 503 == (await ask(world.hub, "POST", "/api/v1/login/refresh", again)).status
        assert 200 == (await ask(world.hub, "GET", "/api/v1/profile", key=tokens["access_token"])).status
    form = f"grant_type=refresh_token&refresh_token={tokens['refresh_token']}".encode()
    assert 400 == (await ask(world.hub, "POST", "/oauth2/token", form)).status
    assert 200 == (await ask(world.hub, "POST", "/api/v1/login/refresh", again)).status


async def test_concurrent_changes_leave_memory_and_database_consistent(hub_config):
    async with running(hub_config) as hub:
        world = await tenants(hub)
        uma, acme = world.users["uma"], world.orgs["acme"]
        async with trio.open_nursery() as nursery:
            for number in range(20):
                role = (USER, STAFF)[number % 2]
                nursery.start_soon(lambda role=role: world.service.users.change(uma, role=role))
                nursery.start_soon(world.service.roles.switch, acme, USER, [("templates.view", bool(number % 2))])
        before = uma.role, world.service.roles.grants(acme, USER)
    async with running(hub_config) as hub:
        service = hub.service(UsersService)
        assert before == (service.users.get(uma.id).role, service.roles.grants(acme, USER))
