"""Rights where things happen at once, change in between or fail: nobody keeps what was taken, nobody gets what was not given."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, contextmanager

import pytest
import trio
from support.patience import brief
from support.raw_http import PATIENCE, ask, connected, local_key
from support.tenants import ORG, PASSWORD, tenants
from websockets.trio.client import connect

from hub.errors import StorageError
from hub.model import ROOT_ORG, SYSTEM
from hub.run import running
from hub.testing import address_of
from plugins.users.model import ADMIN, STAFF, USER
from plugins.users.passwords import blynk_hash
from plugins.users.service import UsersService


@pytest.fixture
async def world(hub):
    return await tenants(hub)


@contextmanager
def disk_full(hub):
    """No transaction of the configuration gets to the disk."""
    database = hub.storage.configuration
    before = database._transaction

    async def full(_fn):
        raise StorageError("the disk is full")

    database._transaction = full
    yield
    database._transaction = before


class Stream:
    def __init__(self, socket):
        self._socket = socket

    async def subscribe(self, **what):
        await self._socket.send(json.dumps({"id": 1, **what}))
        assert "subscribed" in await self._socket.recv()

    async def hears(self, action):
        """Whether it hears of a value that is written now."""
        await action()
        with trio.move_on_after(PATIENCE):
            return "values" in json.loads(await self._socket.recv())
        return False

    async def is_silent(self, action):
        """Whether nothing comes when a value is written now."""
        await action()
        # Long, for what otherwise comes in a millisecond.
        with trio.move_on_after(brief(0.3)) as silent:
            await self._socket.recv()
        return silent.cancelled_caught


class Streams:
    def __init__(self, world):
        self._world = world

    async def of(self, stack, who, **what):
        host, port = address_of(self._world.hub)
        headers = {"Authorization": f"Bearer {self._world.tokens[who]}"}
        socket = await stack.enter_async_context(
            connect(f"ws://{host}:{port}/api/v1/stream", additional_headers=headers, proxy=None)
        )
        stream = Stream(socket)
        await stream.subscribe(**what)
        return stream


def writing(world, device):
    async def write():
        body = {"deviceId": device.id, "pin": "v0", "value": 7}
        assert 204 == (await world.ask("rita", "POST", f"{ORG}/device/datastream", body)).status

    return write


# -- what was taken ---------------------------------------------------------------------------------------------------


async def test_a_session_that_was_switched_ends_where_its_organization_goes(world):
    device = await world.device(world.orgs["works"])
    assert 200 == (await world.ask("ada", "POST", f"{ORG}/switch", {"orgId": world.orgs["works"]})).status
    await world.hub.organizations.move(world.orgs["works"], world.orgs["beta"], SYSTEM)
    assert 404 == (await world.ask("ada", "GET", f"{ORG}/device?deviceId={device.id}")).status
    assert "acme" == (await world.ask("ada", "GET", f"{ORG}/profile")).json["name"]


async def test_whoever_may_no_longer_switch_is_at_home_again(world):
    roles, acme = world.service.roles, world.orgs["acme"]
    await roles.switch(acme, STAFF, [("orgs.switch", True)])
    device = await world.device(world.orgs["works"])
    assert 200 == (await world.ask("stan", "POST", f"{ORG}/switch", {"orgId": world.orgs["works"]})).status
    await roles.switch(acme, STAFF, [("orgs.view", False)])
    assert 404 == (await world.ask("stan", "GET", f"{ORG}/device?deviceId={device.id}")).status


@pytest.mark.parametrize("how", ["moved", "device", "role", "key"])
async def test_a_stream_ends_with_the_right_to_it(world, how, time):
    device = await world.device(world.orgs["works"])
    write = writing(world, device)
    if how == "role":
        guest = await world.service.roles.add("Guest", STAFF)
        await world.user("gus", world.orgs["acme"], guest)
    who = {"role": "gus"}.get(how, "ada")
    async with AsyncExitStack() as stack:
        stream = await Streams(world).of(stack, who, subscribe="devices")
        assert await stream.hears(write)
        if how == "moved":
            await world.hub.organizations.move(world.orgs["works"], world.orgs["beta"], SYSTEM)
        elif how == "device":
            await world.hub.devices.transfer(device, world.orgs["beta"], None, SYSTEM)
        elif how == "role":
            await world.service.roles.switch(world.orgs["acme"], USER, [("own_devices.view", True)])
            path = f"{ORG}/role?roleId={guest}&insteadId={USER}"
            assert 204 == (await world.ask("rita", "DELETE", path)).status
        else:
            await world.service.users.change(world.users["ada"], org=world.orgs["beta"])
        assert await stream.is_silent(write)


async def test_links_end_with_what_they_were_for(world):
    invited = (await world.ask("stan", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})).json
    code = invited["link"].rpartition("=")[2]
    path = f"{ORG}/users/role?userId={invited['id']}&roleId={ADMIN}"
    assert 200 == (await world.ask("ada", "PUT", path, b"")).status
    async with connected(world.hub) as http:
        assert 400 == (await http.get(f"/account?code={code}")).status


async def test_a_password_that_somebody_else_sets_ends_sessions_and_keys(world):
    key = (await world.ask("uma", "POST", "/api/v1/key", {"name": "k"})).json["key"]
    body = {"userId": world.users["uma"].id, "password": "another long one"}
    assert 204 == (await world.ask("ada", "POST", f"{ORG}/user/password", body)).status
    assert 401 == (await world.ask("uma", "GET", "/api/v1/profile")).status
    assert 401 == (await ask(world.hub, "GET", "/api/v1/profile", key=key)).status


async def test_a_login_under_way_does_not_survive_a_new_password(world):
    eva = await world.user("eva", world.orgs["acme"], USER, "password 0")
    for number in range(8):
        answers = []

        async def log_in(number=number, answers=answers):
            body = {"email": "eva@example.org", "password": f"password {number}"}
            answers.append(await ask(world.hub, "POST", "/api/v1/login", body))

        async with trio.open_nursery() as nursery:
            body = {"userId": eva.id, "password": f"password {number + 1}"}
            nursery.start_soon(world.ask, "ada", "POST", f"{ORG}/user/password", body)
            nursery.start_soon(log_in)
        if 200 == answers[0].status:
            token = answers[0].json["access_token"]
            assert 401 == (await ask(world.hub, "GET", "/api/v1/profile", key=token)).status


async def test_a_suspended_users_key_opens_nothing(world):
    key = (await world.ask("uma", "POST", "/api/v1/key", {"name": "k"})).json["key"]
    await world.service.users.change(world.users["uma"], suspended=True)
    for path in ("/api/v1/profile", f"{ORG}/profile", "/api/v1/sessions"):
        assert 401 == (await ask(world.hub, "GET", path, key=key)).status


# -- what was not given -----------------------------------------------------------------------------------------------


async def test_a_program_of_an_administrator_is_no_developer(world):
    made = (await world.ask("rita", "POST", f"{ORG}/client", {"name": "c", "roleId": ADMIN})).json
    form = f"grant_type=client_credentials&client_id={made['clientId']}&client_secret={made['clientSecret']}"
    token = (await ask(world.hub, "POST", "/oauth2/token", form.encode())).json["access_token"]
    toml = {"toml": '[template]\nname = "T"'}
    assert 403 == (await ask(world.hub, "POST", "/api/v1/template/import", toml, token)).status
    lift = {"userId": world.users["rita"].id, "isDev": True}
    assert 403 == (await ask(world.hub, "PUT", f"{ORG}/user", lift, token)).status


async def test_settings_alone_export_nobody(world):
    role = await world.service.roles.add("Clerk")
    await world.service.roles.switch(world.orgs["acme"], role, [("orgs.settings", True), ("orgs.view", True)])
    await world.user("clara", world.orgs["acme"], role)
    assert 403 == (await world.ask("clara", "GET", f"{ORG}/export?orgId={world.orgs['works']}")).status


async def test_whoever_deletes_an_organization_with_everything_may_delete_everything(world):
    role = await world.service.roles.add("Cleaner")
    await world.service.roles.switch(world.orgs["acme"], role, [("orgs.delete", True), ("users.delete", True)])
    await world.user("carl", world.orgs["acme"], role)
    await world.user("wim", world.orgs["works"], ADMIN)
    path = f"{ORG}?orgId={world.orgs['works']}&everything=true"
    assert 403 == (await world.ask("carl", "DELETE", path)).status
    assert "wim@example.org" in world.service.users.by_email


async def test_who_is_above_or_beside_is_not_named(world):
    device = await world.device(world.orgs["beta"])
    body = {"deviceId": device.id, "pin": "v0", "value": 1}
    await world.ask("rita", "POST", f"{ORG}/device/datastream", body)
    await world.ask("rita", "PUT", f"{ORG}/device?deviceId={device.id}", {"name": "New"})
    [record] = (await world.ask("bert", "GET", "/api/v1/audit")).json["content"]
    assert ("somebody else", "") == (record["name"], record["address"])
    actions = (await world.ask("bert", "GET", f"/api/v1/device/actions?deviceId={device.id}")).json
    assert "rita" not in json.dumps(actions)
    assert (await world.ask("bert", "GET", f"{ORG}/profile")).json["parentOrganizationId"] is None


async def test_quotas_hold_when_all_come_at_once_and_for_what_is_moved_there(world):
    acme, beta = world.orgs["acme"], world.orgs["beta"]
    await world.hub.organizations.change(acme, SYSTEM, quotas={"devices": 1, "users": 4})
    statuses = []

    async def add(path, body):
        statuses.append((await world.ask("ada", "POST", f"{ORG}/{path}", body)).status)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(add, "device/create", {"templateId": "TMPL0thermo", "name": "D"})
            nursery.start_soon(add, "users/invite", {"email": f"n{number}@example.org"})
    assert 2 == statuses.count(201)
    [device] = world.hub.devices.by_org[acme].values()
    await world.hub.devices.transfer(device, world.orgs["works"], None, SYSTEM)
    moved = {"userId": world.users["bert"].id, "targetOrgId": acme, "roleId": USER}
    assert 409 == (await world.ask("rita", "POST", f"{ORG}/users/transfer", moved)).status
    await world.hub.organizations.change(beta, SYSTEM, quotas={"users": 1})
    under = {"orgId": acme, "parentId": beta}
    assert 409 == (await world.ask("rita", "POST", f"{ORG}/transfer", under)).status


async def test_a_template_that_is_taken_is_taken_from_those_below_too(world):
    body = {"orgId": world.orgs["acme"], "templates": []}
    assert 200 == (await world.ask("rita", "PUT", ORG, body)).status
    new = {"templateId": "TMPL0thermo", "name": "D", "orgId": world.orgs["works"]}
    assert 404 == (await world.ask("ada", "POST", f"{ORG}/device/create", new)).status


# -- a disk that takes nothing ----------------------------------------------------------------------------------------


async def test_what_could_not_be_revoked_is_not_half_revoked(hub_config):
    async with running(hub_config) as hub:
        world = await tenants(hub)
        made = (await world.ask("ada", "POST", "/api/v1/key", {"name": "k"})).json
        body = {"userId": world.users["uma"].id}
        with disk_full(hub):
            assert 503 == (await world.ask("ada", "DELETE", f"/api/v1/key?keyId={made['id']}")).status
            assert 503 == (await world.ask("ada", "POST", f"{ORG}/user/logout", body)).status
        assert 204 == (await world.ask("ada", "DELETE", f"/api/v1/key?keyId={made['id']}")).status
        assert 204 == (await world.ask("ada", "POST", f"{ORG}/user/logout", body)).status
    async with running(hub_config) as hub:
        assert 401 == (await ask(hub, "GET", "/api/v1/profile", key=made["key"])).status
        assert 401 == (await ask(hub, "GET", "/api/v1/profile", key=world.tokens["uma"])).status


async def test_a_refresh_that_fails_can_be_tried_again(world):
    await world.user("eva", world.orgs["acme"], USER, PASSWORD)
    body = {"email": "eva@example.org", "password": PASSWORD}
    tokens = (await ask(world.hub, "POST", "/api/v1/login", body)).json
    again = {"refresh_token": tokens["refresh_token"]}
    with disk_full(world.hub):
        assert 503 == (await ask(world.hub, "POST", "/api/v1/login/refresh", again)).status
        assert 200 == (await ask(world.hub, "GET", "/api/v1/profile", key=tokens["access_token"])).status
    form = f"grant_type=refresh_token&refresh_token={tokens['refresh_token']}".encode()
    assert 400 == (await ask(world.hub, "POST", "/oauth2/token", form)).status
    assert 200 == (await ask(world.hub, "POST", "/api/v1/login/refresh", again)).status


# -- the audit tells what was ----------------------------------------------------------------------------------------


async def audited(world):
    answer = await ask(world.hub, "GET", "/api/v1/audit?size=1000", key=local_key(world.hub))
    return [(one["who"], one["action"], one["subject"], one["details"]) for one in answer.json["content"]]


async def test_whoever_is_refused_leaves_nothing_in_the_audit(world):
    for path, body in (
        ("/account", b"code=x&password=y&again=y"),
        ("/oauth2/token", b"grant_type=nonsense"),
        ("/oauth2/authorize", b"client_id=x"),
        ("/api/v1/login", b'{"email": "x", "password": "y"}'),
        ("/external/api/batch/update?token=x&pin=v0", b"[]"),
    ):
        await ask(world.hub, "POST", path, body, Content_Type="application/json")
    assert [] == await audited(world)


async def test_the_audit_has_what_stood_in_the_query(world):
    uma = world.users["uma"].id
    await world.ask("ada", "PUT", f"{ORG}/users/role?userId={uma}&roleId={STAFF}", b"")
    details = {"userId": str(uma), "roleId": str(STAFF)}
    ada = f"user {world.users['ada'].id}"
    assert [(ada, "Change a user's role", f"user {uma}", details)] == await audited(world)


async def test_an_organization_that_is_gone_leaves_its_trail(world):
    made = (await world.ask("ada", "POST", f"{ORG}/create", {"name": "Brief"})).json
    await world.ask("ada", "DELETE", f"{ORG}?orgId={made['id']}&everything=true")
    assert {"Create an organization", "Delete an organization"} == {action for _, action, _, _ in await audited(world)}


async def test_what_failed_half_way_is_in_the_audit(world):
    await world.user("wim", world.orgs["works"])
    for _ in range(3):
        await world.device(world.orgs["works"])

    async def meanwhile():
        while world.hub.devices.by_org.get(world.orgs["works"]):
            await trio.sleep(0)
        await world.device(world.orgs["works"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(meanwhile)
        answer = await world.ask("rita", "DELETE", f"{ORG}?orgId={world.orgs['works']}&everything=true")
        if answer.status == 204:
            nursery.cancel_scope.cancel()
            pytest.skip("it was quicker")
    assert 409 == answer.status
    assert "Delete an organization (failed half-way)" in {action for _, action, _, _ in await audited(world)}


async def test_actions_that_are_read_while_they_are_written_are_not_doubled(world):
    device = await world.device(world.orgs["acme"])
    write = writing(world, device)
    path = f"/api/v1/device/actions?deviceId={device.id}&size=1000"
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(write)
            nursery.start_soon(world.ask, "ada", "GET", path)
    assert 10 == (await world.ask("ada", "GET", path)).json["totalElements"]


async def test_a_record_that_was_put_in_is_found(world):
    async def forge(tx):
        for number in (-5, 10**6):
            sql = "INSERT INTO audit VALUES (?, 1, 1, 'user 1', '', 'Forged', '', '{}', x'00', NULL, NULL)"
            await tx.execute(sql, (number,))

    await world.hub.storage.transaction(forge)
    found = (await ask(world.hub, "GET", "/api/v1/audit/verify", key=local_key(world.hub))).json
    assert ["record -5 was inserted", "record 1000000 was inserted"] == found["problems"]


# -- odd input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/login", b'{"email": "a", "password": "\xed\xa0\x80"}'),
        ("POST", "/api/v1/login", '{"email": "a", "password": "b"}'.encode("utf-16")),
        ("POST", "/api/v1/login", b'{"email": "a", "\xed\xa0\x80": 1}'),
        ("POST", "/api/v1/login", b'{"email": "a", "password": "\\ud800"}'),
        ("POST", f"{ORG}/create", b'{"name": "\\u0000", "description": "\\udfff"}'),
        ("POST", f"{ORG}/create", b'{"name": "x", "quotas": {"devices": 1e400}}'),
        ("POST", f"{ORG}/create", b'{"name": "x", "quotas": {"devices": NaN}}'),
        ("POST", f"{ORG}/create", b"[" * 100_000),
        ("POST", f"{ORG}/create", b'{"name": ' + b"[" * 900 + b"]" * 900 + b"}"),
        ("POST", f"{ORG}/device/event/resolve", b'{"deviceId": 1, "eventId": 1180591620717411303424}'),
        ("POST", f"{ORG}/users/invite", b'{"email": 1180591620717411303424, "roleId": true}'),
        ("PUT", f"{ORG}/device?deviceId=%00", b'{"name": "x"}'),
        ("DELETE", f"{ORG}?orgId=99999999999999999999", None),
    ],
)
async def test_odd_input_gets_an_answer_and_no_fault(world, method, path, body):
    device = await world.device(ROOT_ORG)
    assert device.id == 1
    answer = await world.ask("rita", method, path, body)
    assert 400 <= answer.status < 500, answer.body


async def test_a_stranger_locks_nobody_out_elsewhere(world):
    await world.user("eva", world.orgs["acme"], USER, PASSWORD)
    throttle = world.service.throttle
    for _ in range(5):
        throttle.attempt("login", "eva@example.org", "203.0.113.7")
        throttle.attempt("login", "127.0.0.1", "203.0.113.8")
    body = {"email": "eva@example.org", "password": PASSWORD}
    assert 200 == (await ask(world.hub, "POST", "/api/v1/login", body)).status
    assert 400 == (await ask(world.hub, "GET", "/account?code=x")).status


async def test_memory_and_disk_agree_however_many_write_at_once(hub_config):
    async with running(hub_config) as hub:
        world = await tenants(hub)
        uma, acme = world.users["uma"], world.orgs["acme"]
        async with trio.open_nursery() as nursery:
            for number in range(20):
                role = (USER, STAFF)[number % 2]
                nursery.start_soon(lambda role=role: world.service.users.change(uma, role=role))
                nursery.start_soon(world.service.roles.switch, acme, USER, [("templates.view", bool(number % 2))])
        told = uma.role, world.service.roles.grants(acme, USER)
    async with running(hub_config) as hub:
        room = hub.service(UsersService)
        assert told == (room.users.get(uma.id).role, room.roles.grants(acme, USER))


def test_a_hash_is_of_the_address_in_small_letters():
    assert blynk_hash("A@B.c", "x") == blynk_hash("a@b.C", "x") != blynk_hash("a@b.d", "x")
