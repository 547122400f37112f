"""Passwords: normalization, Blynk's hash, and changes."""

from __future__ import annotations

import base64
import hashlib

import pytest
import trio
from support.accounts import LOGIN, log_in
from support.tenants import ORG, PASSWORD

from plugins.users import passwords

COMPOSED, DECOMPOSED = "Gr\u00fc\u00dfe aus K\u00f6ln", "Gru\u0308\u00dfe aus Ko\u0308ln"


@pytest.mark.parametrize(
    ("as_set", "typed"),
    [
        (COMPOSED, DECOMPOSED),
        (DECOMPOSED, COMPOSED),
        (COMPOSED, COMPOSED.replace(" ", "\u00a0")),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af \u2003 1234", "\ud55c\uae00   1234"),
    ],
    ids=ascii,
)
async def test_password_is_normalized_before_it_is_hashed(world, http, as_set, typed):
    body = {"email": "kim@example.org", "password": as_set}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/users/create-in-org", body)).status
    response = await log_in(http, "kim@example.org", typed)
    assert 200 == response.status
    assert 200 == (await log_in(http, "kim@example.org", as_set)).status
    change = {"old": typed, "new": as_set + "!"}
    assert 204 == (await http.ask("POST", "/api/v1/password", change, response.json["access_token"])).status
    assert 200 == (await log_in(http, "kim@example.org", typed + "!")).status
    # Another text is another password, even if it looks alike.
    assert 401 == (await log_in(http, "kim@example.org", typed.upper() + "?")).status


async def test_password_stored_before_normalization_is_accepted_and_stored_normalized(world, http):
    service, eva = world.service, world.users["eva"]
    await service.users.set_password(eva, passwords.blynk_hash(eva.email, DECOMPOSED))
    assert 401 == (await log_in(http, password=COMPOSED)).status
    key = (await log_in(http, password=DECOMPOSED)).json["access_token"]
    assert 200 == (await http.get("/api/v1/profile", key)).status
    for typed in (COMPOSED, DECOMPOSED):
        assert 200 == (await log_in(http, password=typed)).status


async def test_password_hash_from_a_client_is_not_normalized(world, http):
    hashed = passwords.blynk_hash("kim@example.org", DECOMPOSED)
    body = {"email": "kim@example.org", "passwordHash": hashed}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/users/create-in-org", body)).status
    assert 200 == (await http.ask("POST", LOGIN, {"email": "kim@example.org", "passwordHash": hashed})).status
    other = passwords.blynk_hash("kim@example.org", COMPOSED)
    assert 401 == (await http.ask("POST", LOGIN, {"email": "kim@example.org", "passwordHash": other})).status


def test_password_hash_is_computed_as_blynk_computes_it():
    # base64(sha256("secret" + sha256("a@b.c")))
    inner = hashlib.sha256(b"a@b.c").digest()
    assert base64.b64encode(hashlib.sha256(b"secret" + inner).digest()).decode() == passwords.blynk_hash(
        "A@b.c", "secret"
    )


async def test_hashing_does_not_block_the_event_loop(world):
    rounds = 0

    async def count():
        nonlocal rounds
        while True:
            await trio.sleep(0)
            rounds += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for _ in range(4):
            await world.service.passwords.derive("hash")
        nursery.cancel_scope.cancel()
    # A round takes microseconds, a hash tens of milliseconds; a blocked loop would do a few rounds between two hashes.
    assert rounds > 100


async def test_changing_the_password_ends_the_other_sessions(world, http):
    first, second = (await log_in(http)).json["access_token"], (await log_in(http)).json["access_token"]
    new = {"old": PASSWORD, "new": "another long one"}
    assert 403 == (await http.ask("POST", "/api/v1/password", new | {"old": "wrong but long"}, first)).status
    assert 400 == (await http.ask("POST", "/api/v1/password", new | {"new": "short"}, first)).status
    assert 204 == (await http.ask("POST", "/api/v1/password", new, first)).status
    assert 200 == (await http.get("/api/v1/profile", first)).status
    assert 401 == (await http.get("/api/v1/profile", second)).status
    assert 401 == (await log_in(http)).status
    assert 200 == (await log_in(http, password="another long one")).status


def test_password_hash_ignores_the_case_of_the_address():
    assert (
        passwords.blynk_hash("A@B.c", "x") == passwords.blynk_hash("a@b.C", "x") != passwords.blynk_hash("a@b.d", "x")
    )
