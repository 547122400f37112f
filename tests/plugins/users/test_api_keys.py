"""API keys of users: scopes, expiry and revocation."""

from __future__ import annotations

import pytest
from support.accounts import INTERACTIVE_ONLY, log_in
from support.raw_http import ask, connected
from support.tenants import ORG, tenants
from support.times import DAY

from hub.run import running
from plugins.users.service import UsersService


async def test_time_of_a_keys_last_use_survives_a_restart(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        world = await tenants(hub)
        created = (await world.ask("ada", "POST", "/api/v1/key", {"name": "script"})).json
        time.pass_(DAY)
        async with connected(hub) as http:
            assert 200 == (await http.get("/api/v1/profile", created["key"])).status
        last_used = hub.clock.now()
    async with running(hub_config, clock=time.clock()) as hub:
        [key] = hub.service(UsersService).credentials.keys.values()
        assert last_used - 1000 <= key.used <= last_used


async def test_key_is_limited_to_its_scopes_and_expires(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        world = await tenants(hub)
        device = await world.device(world.orgs["acme"])
        body = {"name": "grafana", "scopes": ["org_devices.view"], "lasts": 60_000}
        created = (await world.ask("ada", "POST", "/api/v1/key", body)).json
        assert created["key"].startswith("pwk_")
        assert 200 == (await ask(hub, "GET", f"{ORG}/device?deviceId={device.id}", key=created["key"])).status
        write = {"deviceId": device.id, "pin": "v0", "value": 1}
        assert 403 == (await ask(hub, "POST", f"{ORG}/device/datastream", write, key=created["key"])).status
        more = {"name": "all"}
        assert 403 == (await ask(hub, "POST", "/api/v1/key", more, key=created["key"])).status
        time.pass_(61_000)
        assert 401 == (await ask(hub, "GET", f"{ORG}/device?deviceId={device.id}", key=created["key"])).status


@pytest.mark.parametrize("scopes", [None, ["own_devices.view"]], ids=str)
async def test_key_cannot_change_the_account_of_its_user(world, http, scopes):
    access_token = (await log_in(http)).json["access_token"]
    key = (await http.ask("POST", "/api/v1/key", {"name": "k", "scopes": scopes}, access_token)).json["key"]
    for method, path, body in INTERACTIVE_ONLY:
        assert 403 == (await http.ask(method, path, body, key)).status, path


@pytest.mark.parametrize(
    "body",
    [{"name": ""}, {"name": "x", "scopes": ["users.fly"]}, {"name": "x", "lasts": 0}, {"name": "x", "lasts": 10**15}],
    ids=str,
)
async def test_invalid_key_is_rejected(world, body):
    assert 400 == (await world.ask("ada", "POST", "/api/v1/key", body)).status


async def test_keys_of_other_users_are_not_listed_and_not_found(world):
    created = (await world.ask("ada", "POST", "/api/v1/key", {"name": "mine"})).json
    assert 404 == (await world.ask("uma", "DELETE", f"/api/v1/key?keyId={created['id']}")).status
    assert [] == (await world.ask("uma", "GET", "/api/v1/keys")).json
    assert 404 == (await world.ask("uma", "GET", f"/api/v1/keys?userId={world.users['ada'].id}")).status
