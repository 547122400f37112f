"""Execution of routes: rate limits, idempotency keys, If-Match, and permissions."""

from __future__ import annotations

import pytest
import trio
from support.raw_http import connected, local_key
from support.tenants import ORG, tenants

from hub.api import PUBLIC, Request
from hub.config import parse
from hub.errors import Forbidden, NotAuthenticated
from hub.model import LOCAL, Principal
from hub.run import running
from hub.testing import LOOPBACK

NEW = {"templateId": "TMPL0thermo", "name": "Kitchen"}


# -- rate limits ------------------------------------------------------------------------------------------------------


async def test_organization_over_its_rate_gets_429_with_a_retry_after(hub_config):
    config = parse(LOOPBACK + "[limits]\napi_requests_per_minute = 10\n").with_data(str(hub_config.data))
    async with running(config) as hub:
        world = await tenants(hub)
        await world.user("ruth", world.orgs["root"])
        target = f"{ORG}/devices"
        async with connected(hub) as http:
            for _ in range(10):
                assert 200 == (await http.get(target, world.tokens["stan"])).status
            for user in ("stan", "ada"):
                response = await http.get(target, world.tokens[user])
                assert 429 == response.status
                assert 1 <= int(response.headers["retry-after"]) <= 6
            # Other organizations have their own limit, and the local key has none.
            assert 429 != (await http.get(target, world.tokens["ruth"])).status
            for _ in range(20):
                assert 200 == (await http.get(target, local_key(hub))).status
        assert any("more than 10 times a minute" in rejection.reason for rejection in hub.rejections.recent)


# -- idempotency keys---------------------------------------------------------------------------------------------------------


async def test_request_with_the_same_idempotency_key_is_executed_once_and_gets_the_same_response(hub, world):
    async with connected(hub) as http:

        async def create(key, body=NEW, bearer=world.tokens["ada"]):
            return await http.ask("POST", f"{ORG}/device/create", body, bearer, idempotency_key=key)

        first = await create("one")
        again = await create("one")
        assert (201, 201) == (first.status, again.status)
        assert first.json == again.json
        assert len(first.json["token"]) == 32
        other = await create("one", NEW | {"name": "Attic"})
        assert 409 == other.status
        assert "another request" in other.message
        assert first.json["id"] != (await create("two")).json["id"]
        # Each principal has its own keys.
        assert first.json["id"] != (await create("one", bearer=local_key(hub))).json["id"]
    assert 2 == len(hub.devices.by_org[world.orgs["acme"]])


async def test_failed_request_may_be_repeated_with_the_same_key(hub, world):
    async with connected(hub) as http:
        for body, status in ((NEW | {"name": ""}, 400), (NEW, 201)):
            response = await http.ask("POST", f"{ORG}/device/create", body, world.tokens["ada"], idempotency_key="same")
            assert status == response.status


async def test_concurrent_requests_with_the_same_key_are_executed_once(hub, world, monkeypatch):
    add, ready, responses = hub.devices.add, trio.Event(), []

    async def slow(*args):
        await ready.wait()
        return await add(*args)

    monkeypatch.setattr(hub.devices, "add", slow)

    async def create():
        async with connected(hub) as http:
            responses.append(
                await http.ask("POST", f"{ORG}/device/create", NEW, world.tokens["ada"], idempotency_key="one")
            )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        nursery.start_soon(create)
        while not responses:
            await trio.testing.wait_all_tasks_blocked()
        assert "is being carried out" in responses[0].message
        ready.set()
    assert [409, 201] == [response.status for response in responses]
    assert 1 == len(hub.devices.by_org[world.orgs["acme"]])


async def test_idempotency_key_survives_a_restart(hub_config):
    async with running(hub_config) as hub:
        await tenants(hub)
        async with connected(hub) as http:
            response = await http.ask("POST", f"{ORG}/device/create", NEW, local_key(hub), idempotency_key="k")
            assert 201 == response.status
    async with running(hub_config) as hub:
        async with connected(hub) as http:
            for body, message in ((NEW, "made before"), (NEW | {"name": "Attic"}, "another request")):
                response = await http.ask("POST", f"{ORG}/device/create", body, local_key(hub), idempotency_key="k")
                assert 409 == response.status
                assert message in response.message
        assert 1 == len(hub.devices.by_id)


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_invalid_idempotency_key_is_rejected(hub, world, key):
    async with connected(hub) as http:
        response = await http.ask("POST", f"{ORG}/device/create", NEW, world.tokens["ada"], idempotency_key=key)
        assert 400 == response.status
        assert "Idempotency-Key" in response.message


# -- If-Match ---------------------------------------------------------------------------------------------------------


async def test_edit_with_a_stale_etag_is_rejected_with_412(hub, world):
    device = await world.device(world.orgs["acme"])
    role = await world.service.roles.add("Helper")
    edits = [
        (f"{ORG}/device?deviceId={device.id}", f"{ORG}/device?deviceId={device.id}", "PUT", {"name": "New name"}),
        (f"{ORG}?orgId={world.orgs['works']}", ORG, "PUT", {"orgId": world.orgs["works"], "description": "New"}),
        (
            f"{ORG}/user?userId={world.users['uma'].id}",
            f"{ORG}/user",
            "PUT",
            {"userId": world.users["uma"].id, "title": "x"},
        ),
        (f"{ORG}/role?roleId={role}", f"{ORG}/role", "PUT", {"roleId": role, "name": "Second"}),
        (
            f"{ORG}/role?roleId={role}",
            f"{ORG}/role/permissions",
            "POST",
            {"roleId": role, "permissions": {"users.view": True}},
        ),
    ]
    key = local_key(hub)
    async with connected(hub) as http:
        for read, edit, method, body in edits:
            etag = (await http.get(read, key)).headers["etag"]
            assert etag == (await http.get(read, key)).headers["etag"]
            first = await http.ask(method, edit, body, key, if_match=etag)
            assert 200 == first.status, (edit, first.body)
            assert first.headers["etag"] == (await http.get(read, key)).headers["etag"] != etag
            second = await http.ask(method, edit, body, key, if_match=etag)
            assert 412 == second.status, edit
            assert "changed meanwhile" in second.message
            for match in (first.headers["etag"], f'"x", {first.headers["etag"]}', "*"):
                assert 200 == (await http.ask(method, edit, body, key, if_match=match)).status


# -- permissions ------------------------------------------------------------------------------------------------------


def route_at(hub, method, path):
    return next(route for route in hub.routes if (getattr(route, "method", ""), route.path) == (method, path))


async def test_execution_of_a_route_without_a_principal_is_not_authenticated(hub):
    for path in ("/api/v1/profile", f"{ORG}/devices"):
        with pytest.raises(NotAuthenticated):
            await hub.execute(route_at(hub, "GET", path), Request())


async def test_execution_of_a_route_needs_its_permission(hub):
    route = route_at(hub, "GET", f"{ORG}/devices")
    with pytest.raises(Forbidden, match=f"needs the permission {route.permission}"):
        await hub.execute(route, Request(principal=Principal("user", 999)))
    # A permission in the request is ignored.
    with pytest.raises(Forbidden):
        await hub.execute(route, Request(principal=Principal("user", 999), permission=PUBLIC))
    assert 0 == (await hub.execute(route, Request(principal=LOCAL))).total_elements
