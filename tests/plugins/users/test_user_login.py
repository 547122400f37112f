"""Password login: tokens, errors, and the throttling of failed attempts."""

from __future__ import annotations

import pytest
import trio
from support.accounts import LOGIN, log_in, tenants_with_eva
from support.raw_http import ask, connected
from support.tenants import ORG, PASSWORD, tenants
from support.times import DAY

from hub.run import running
from plugins.users import passwords, throttle
from plugins.users.model import USER
from plugins.users.service import UsersService

BLYNK_HASH = "gTQ6v6jgTFL2SOtKyeDKVQjLhYRJLZbmqvDbIy3oSDk="


async def test_login_returns_tokens_with_the_permissions_of_the_user(world, http):
    response = await log_in(http)
    assert 200 == response.status
    assert {"access_token", "refresh_token", "expires_in", "user"} == set(response.json)
    assert "Active" == response.json["user"]["status"]
    profile = await http.get("/api/v1/profile", response.json["access_token"])
    assert "eva@example.org" == profile.json["email"]
    assert "own_devices.view" in profile.json["permissions"]


async def test_login_accepts_blynks_password_hash(world, http):
    hashed = passwords.blynk_hash("Eva@Example.org", PASSWORD)
    response = await http.ask("POST", LOGIN, {"email": "EVA@example.org ", "passwordHash": hashed})
    assert 200 == response.status


@pytest.mark.parametrize(
    "body",
    [
        {"email": "eva@example.org", "password": "wrong"},
        {"email": "eva@example.org", "password": "wrong but long"},
        {"email": "nobody@example.org", "password": PASSWORD},
        {"email": "uma@example.org", "password": PASSWORD},
        {"email": "eva@example.org", "passwordHash": "x"},
        {"email": "eva@example.org"},
        {"email": "eva@example.org", "password": PASSWORD, "passwordHash": BLYNK_HASH},
    ],
    ids=str,
)
async def test_every_failed_login_has_the_same_error(world, http, body):
    response = await http.ask("POST", LOGIN, body)
    assert (401, "The email or the password is wrong.") == (response.status, response.message)


async def test_login_without_account_costs_the_same_hash_as_a_wrong_password(world, http, monkeypatch):
    costs = []
    verify = passwords._verify

    def record(hashed, stored):
        # A PHC string is $algorithm$version$parameters$salt$hash.
        costs.append(stored.split("$")[:4])
        return verify(hashed, stored)

    monkeypatch.setattr(passwords, "_verify", record)
    for email in ("eva@example.org", "nobody@example.org"):
        assert 401 == (await log_in(http, email, "wrong but long")).status
    known, unknown = costs
    assert known == unknown
    assert "argon2id" in known


async def test_five_failures_lock_an_account_whether_it_exists_or_not(world, http):
    for email in ("eva@example.org", "nobody@example.org"):
        for _ in range(5):
            assert 401 == (await log_in(http, email, "wrong but long")).status
        response = await log_in(http, email)
        assert 429 == response.status
        assert 590 < int(response.headers["retry-after"]) <= 600


@pytest.mark.parametrize("later", [0, 365 * DAY], ids=["right clock", "a year ahead"])
async def test_lockout_survives_a_restart(hub_config, time, later):
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        await tenants_with_eva(hub)
        for _ in range(5):
            assert 401 == (await log_in(http, password="wrong but long")).status
    # A board without a battery-backed clock boots with a wrong time, which does not prove that ten minutes are over.
    time.pass_(later)
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        assert 429 == (await log_in(http)).status


async def test_failures_from_other_addresses_do_not_lock_out_an_address_the_user_logged_in_from(hub_config):
    async with running(hub_config) as hub, connected(hub) as http:
        world = await tenants(hub)
        for name in ("eva", "zoe"):
            await world.user(name, world.orgs["acme"], USER, PASSWORD)
        assert 200 == (await log_in(http)).status
    async with running(hub_config) as hub, connected(hub) as http:
        for email in ("eva@example.org", "zoe@example.org"):
            for number in range(throttle.FAILURES_OF_ACCOUNT):
                hub.service(UsersService).throttle.attempt("login", email, f"203.0.113.{number}")
        # Eva was logged in from here before, Zoe was not.
        assert 200 == (await log_in(http)).status
        assert 429 == (await log_in(http, "zoe@example.org")).status
        # Failures from this address count nevertheless.
        for _ in range(5):
            assert 401 == (await log_in(http, password="wrong but long")).status
        assert 429 == (await log_in(http)).status


async def test_failure_counts_are_bounded_and_removed_from_the_database(hub_config, monkeypatch):
    monkeypatch.setattr(throttle, "REMEMBERED", 10)
    monkeypatch.setattr(throttle, "ADDRESSES_OF_ACCOUNT", 3)

    async def rows(hub):
        async def read(tx):
            names = ("users_failures", "users_addresses")
            return [(await tx.fetch_one(f"SELECT count(*) FROM {name}"))[0] for name in names]

        return await hub.storage.read(read)

    async with running(hub_config) as hub:
        counts = hub.service(UsersService).throttle
        for number in range(20):
            counts.attempt("login", f"{number}@example.org", f"203.0.113.{number}")
            counts.attempt("login", "eva@example.org", f"203.0.113.{number}").succeeded()
        await counts.save()
        failures, addresses = await rows(hub)
        assert (0 < failures <= 10, addresses) == (True, 3)
        monkeypatch.setattr(throttle, "WAIT", -1.0)
        counts.forget("login", "eva@example.org")
        await counts.save()
        assert [0, 0] == await rows(hub)


async def test_deleting_a_user_deletes_their_login_addresses(world, http):
    assert 200 == (await log_in(http)).status
    counts = world.service.throttle
    await counts.save()
    assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/user?userId={world.users['eva'].id}")).status

    async def read(tx):
        return await tx.fetch_all("SELECT * FROM users_addresses")

    assert [] == await world.hub.storage.read(read)


async def test_concurrent_failures_are_all_counted(world):
    statuses = []

    async def attempt():
        statuses.append((await ask(world.hub, "POST", LOGIN, {"email": "eva@example.org", "password": "x" * 9})).status)

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(attempt)
    assert 5 == statuses.count(401)
    assert 7 == statuses.count(429)


async def test_failures_from_one_address_do_not_lock_out_another(world):
    throttle = world.service.throttle
    for _ in range(5):
        throttle.attempt("login", "eva@example.org", "203.0.113.7")
        throttle.attempt("login", "127.0.0.1", "203.0.113.8")
    body = {"email": "eva@example.org", "password": PASSWORD}
    assert 200 == (await ask(world.hub, "POST", "/api/v1/login", body)).status
    assert 400 == (await ask(world.hub, "GET", "/account?code=x")).status
