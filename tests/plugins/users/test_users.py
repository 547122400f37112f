"""People and programs: getting in, staying in, and being thrown out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import trio
from support.raw_http import PATIENCE, ask, connected, local_key
from support.tenants import ORG, PASSWORD, tenants
from support.times import DAY
from support.totp import one_time_password
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from hub.config import parse
from hub.errors import Conflict
from hub.model import ROOT_ORG
from hub.run import running
from hub.testing import add_device, address_of
from plugins.users import passwords, throttle
from plugins.users.model import ADMIN, STAFF, USER
from plugins.users.service import UsersService
from plugins.users.totp import matching_step

LOGIN = "/api/v1/login"
BLYNK_HASH = "gTQ6v6jgTFL2SOtKyeDKVQjLhYRJLZbmqvDbIy3oSDk="


@pytest.fixture
async def world(hub):
    made = await tenants(hub)
    await made.user("eva", made.orgs["acme"], USER, PASSWORD)
    return made


@pytest.fixture
async def http(hub):
    async with connected(hub) as connection:
        yield connection


async def log_in(http, email="eva@example.org", password=PASSWORD, **more):
    return await http.ask("POST", LOGIN, {"email": email, "password": password, **more})


# -- logging in -------------------------------------------------------------------------------------------------------


async def test_a_login_gives_tokens_that_open_what_one_may(world, http):
    answer = await log_in(http)
    assert 200 == answer.status
    assert {"access_token", "refresh_token", "expires_in", "user"} == set(answer.json)
    assert "Active" == answer.json["user"]["status"]
    profile = await http.get("/api/v1/profile", answer.json["access_token"])
    assert "eva@example.org" == profile.json["email"]
    assert "own_devices.view" in profile.json["permissions"]


async def test_blynks_hash_of_a_password_is_the_same_password(world, http):
    hashed = passwords.blynk_hash("Eva@Example.org", PASSWORD)
    answer = await http.ask("POST", LOGIN, {"email": "EVA@example.org ", "passwordHash": hashed})
    assert 200 == answer.status


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
async def test_password_is_the_same_however_a_keyboard_composes_it(world, http, as_set, typed):
    body = {"email": "kim@example.org", "password": as_set}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/users/create-in-org", body)).status
    answer = await log_in(http, "kim@example.org", typed)
    assert 200 == answer.status
    assert 200 == (await log_in(http, "kim@example.org", as_set)).status
    change = {"old": typed, "new": as_set + "!"}
    assert 204 == (await http.ask("POST", "/api/v1/password", change, answer.json["access_token"])).status
    assert 200 == (await log_in(http, "kim@example.org", typed + "!")).status
    # What looks alike but is another text is another password.
    assert 401 == (await log_in(http, "kim@example.org", typed.upper() + "?")).status


async def test_password_that_was_kept_as_typed_goes_on_working_and_is_kept_normalized(world, http):
    room, eva = world.service, world.users["eva"]
    await room.users.set_password(eva, passwords.blynk_hash(eva.email, DECOMPOSED))
    assert 401 == (await log_in(http, password=COMPOSED)).status
    key = (await log_in(http, password=DECOMPOSED)).json["access_token"]
    assert 200 == (await http.get("/api/v1/profile", key)).status
    for typed in (COMPOSED, DECOMPOSED):
        assert 200 == (await log_in(http, password=typed)).status


async def test_hash_of_a_client_is_taken_as_it_is(world, http):
    hashed = passwords.blynk_hash("kim@example.org", DECOMPOSED)
    body = {"email": "kim@example.org", "passwordHash": hashed}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/users/create-in-org", body)).status
    assert 200 == (await http.ask("POST", LOGIN, {"email": "kim@example.org", "passwordHash": hashed})).status
    other = passwords.blynk_hash("kim@example.org", COMPOSED)
    assert 401 == (await http.ask("POST", LOGIN, {"email": "kim@example.org", "passwordHash": other})).status


def test_the_hash_is_blynks():
    # base64(sha256("secret" + sha256("a@b.c"))), by hand with the standard library
    inner = hashlib.sha256(b"a@b.c").digest()
    assert base64.b64encode(hashlib.sha256(b"secret" + inner).digest()).decode() == passwords.blynk_hash(
        "A@b.c", "secret"
    )


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
async def test_whoever_is_wrong_is_told_the_same(world, http, body):
    answer = await http.ask("POST", LOGIN, body)
    assert (401, "The email or the password is wrong.") == (answer.status, answer.message)


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


async def test_after_five_failures_an_account_waits_also_one_that_is_not_there(world, http):
    for email in ("eva@example.org", "nobody@example.org"):
        for _ in range(5):
            assert 401 == (await log_in(http, email, "wrong but long")).status
        answer = await log_in(http, email)
        assert 429 == answer.status
        assert 590 < int(answer.headers["retry-after"]) <= 600


@pytest.mark.parametrize("later", [0, 365 * DAY], ids=["right clock", "a year ahead"])
async def test_wait_of_an_account_survives_a_restart(hub_config, time, later):
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        world = await tenants(hub)
        await world.user("eva", world.orgs["acme"], USER, PASSWORD)
        for _ in range(5):
            assert 401 == (await log_in(http, password="wrong but long")).status
    # A board boots with a clock of its own idea: that is no proof that ten minutes are over.
    time.pass_(later)
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        assert 429 == (await log_in(http)).status


async def test_stranger_cannot_lock_an_account_out_where_it_was_used(hub_config):
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
        # Guessing at her password from here is counted as before.
        for _ in range(5):
            assert 401 == (await log_in(http, password="wrong but long")).status
        assert 429 == (await log_in(http)).status


async def test_counts_are_bounded_and_forgotten_on_disk_too(hub_config, monkeypatch):
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


async def test_nothing_of_the_addresses_of_an_erased_user_is_left(world, http):
    assert 200 == (await log_in(http)).status
    counts = world.service.throttle
    await counts.save()
    assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/user?userId={world.users['eva'].id}")).status

    async def read(tx):
        return await tx.fetch_all("SELECT * FROM users_addresses")

    assert [] == await world.hub.storage.read(read)


async def test_failures_at_once_count_too(world):
    statuses = []

    async def attempt():
        statuses.append((await ask(world.hub, "POST", LOGIN, {"email": "eva@example.org", "password": "x" * 9})).status)

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(attempt)
    assert 5 == statuses.count(401)
    assert 7 == statuses.count(429)


async def test_hashing_does_not_hold_the_loop(world):
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
    # A round takes microseconds, a hash tens of milliseconds; a loop that is held gets a few rounds between hashes.
    assert rounds > 100


# -- sessions ---------------------------------------------------------------------------------------------------------


async def test_a_refresh_token_works_once_and_used_again_ends_everything(world, http):
    first = (await log_in(http)).json
    second = await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": first["refresh_token"]})
    assert 200 == second.status
    assert 401 == (await http.get("/api/v1/profile", first["access_token"])).status
    assert 200 == (await http.get("/api/v1/profile", second.json["access_token"])).status

    again = await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": first["refresh_token"]})
    assert 401 == again.status
    assert 401 == (await http.get("/api/v1/profile", second.json["access_token"])).status
    last = await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": second.json["refresh_token"]})
    assert 401 == last.status


async def test_sessions_outlive_a_restart_and_end_with_their_time(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        world = await tenants(hub)
        await world.user("eva", world.orgs["acme"], USER, PASSWORD)
        async with connected(hub) as http:
            tokens = (await log_in(http)).json
    async with running(hub_config, clock=time.clock()) as hub, connected(hub) as http:
        assert 200 == (await http.get("/api/v1/profile", tokens["access_token"])).status
        time.pass_(3601 * 1000)
        answer = await http.get("/api/v1/profile", tokens["access_token"])
        assert (401, "The access token has expired.") == (answer.status, answer.message)
        refreshed = await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": tokens["refresh_token"]})
        assert 200 == refreshed.status
        time.pass_(31 * DAY)
        late = await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": refreshed.json["refresh_token"]})
        assert 401 == late.status


async def test_when_a_key_was_used_outlives_a_restart(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        world = await tenants(hub)
        made = (await world.ask("ada", "POST", "/api/v1/key", {"name": "script"})).json
        time.pass_(DAY)
        async with connected(hub) as http:
            assert 200 == (await http.get("/api/v1/profile", made["key"])).status
        used = hub.clock.now()
    async with running(hub_config, clock=time.clock()) as hub:
        [key] = hub.service(UsersService).credentials.keys.values()
        assert used - 1000 <= key.used <= used


async def test_one_sees_and_ends_ones_own_sessions_only(world, http):
    one, two = (await log_in(http)).json["access_token"], (await log_in(http)).json["access_token"]
    listed = (await http.get("/api/v1/sessions", one)).json
    assert 3 == len(listed)
    [this] = [session for session in listed if session["this"]]
    other = world.service.credentials.sessions_of(world.users["uma"].id)[0].id
    assert 404 == (await http.ask("DELETE", f"/api/v1/session?sessionId={other}", key=one)).status
    assert 204 == (await http.ask("DELETE", f"/api/v1/session?sessionId={this['id']}", key=two)).status
    assert 401 == (await http.get("/api/v1/profile", one)).status
    assert 204 == (await http.ask("POST", "/api/v1/logout", b"", two)).status
    assert 401 == (await http.get("/api/v1/profile", two)).status


@pytest.mark.parametrize("how", ["logout", "suspend", "delete", "role", "key"])
async def test_whoever_is_thrown_out_hears_nothing_more_within_a_second(world, http, how):
    device = await world.device(world.orgs["acme"], owner=world.users["eva"].id)
    token, eva = (await log_in(http)).json["access_token"], world.users["eva"].id
    if how == "key":
        made = await http.ask("POST", "/api/v1/key", {"name": "stream"}, token)
        token = made.json["key"]
    host, port = address_of(world.hub)
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(f"ws://{host}:{port}/api/v1/stream", additional_headers=headers, proxy=None) as stream:
        await stream.send(json.dumps({"id": 1, "subscribe": "device", "device": device.id}))
        assert "subscribed" in await stream.recv()
        if how == "logout":
            assert 204 == (await world.ask("rita", "POST", f"{ORG}/user/logout", {"userId": eva})).status
        elif how == "suspend":
            assert 204 == (await world.ask("rita", "POST", f"{ORG}/user/suspend", {"userId": eva})).status
        elif how == "delete":
            assert 204 == (await world.ask("rita", "DELETE", f"{ORG}/user?userId={eva}")).status
        elif how == "role":
            body = {"roleId": USER, "permissions": {"own_devices.view": False}}
            assert 200 == (await world.ask("ada", "POST", f"{ORG}/role/permissions", body)).status
        else:
            assert 204 == (await world.ask("eva", "DELETE", f"/api/v1/key?keyId={made.json['id']}")).status
        with trio.fail_after(PATIENCE), pytest.raises(ConnectionClosed):
            while True:
                await stream.recv()


async def test_a_stream_tells_nobody_of_devices_that_are_not_theirs(world):
    mine = await world.device(world.orgs["acme"])
    theirs = await world.device(world.orgs["beta"])
    host, port = address_of(world.hub)
    headers = {"Authorization": f"Bearer {world.tokens['ada']}"}
    async with connect(f"ws://{host}:{port}/api/v1/stream", additional_headers=headers, proxy=None) as stream:
        await stream.send(json.dumps({"id": 1, "subscribe": "devices", "every": True}))
        await stream.recv()
        await stream.send(json.dumps({"id": 2, "subscribe": "events"}))
        await stream.recv()
        await stream.send(json.dumps({"id": 3, "subscribe": "device", "device": theirs.id}))
        assert "is not found" in (await stream.recv())
        await stream.send(json.dumps({"id": 4, "subscribe": "wire", "device": theirs.id}))
        assert "is not found" in (await stream.recv())
        await stream.send(json.dumps({"id": 5, "subscribe": "refused"}))
        assert "hub.view" in (await stream.recv())
        for device in (theirs, mine):
            body = {"deviceId": device.id, "pin": "v0", "value": 1}
            assert 204 == (await world.ask("rita", "POST", f"{ORG}/device/datastream", body)).status
            await world.hub.timeline.log(device, "hot", "")
        told = [json.loads(await stream.recv()) for _ in range(2)]
        assert {mine.id} == {message["device"] for message in told}
        assert {"values", "event"} == {key for message in told for key in message if key in ("values", "event")}


async def test_a_stream_tells_of_changes_to_those_who_may_read_the_log_of_the_organization(world):
    mine, theirs = await world.device(world.orgs["acme"]), await world.device(world.orgs["beta"])
    host, port = address_of(world.hub)

    async def heard(who):
        headers = {"Authorization": f"Bearer {world.tokens[who]}"}
        return connect(f"ws://{host}:{port}/api/v1/stream", additional_headers=headers, proxy=None)

    async with await heard("ada") as stream, await heard("stan") as other:
        for client in (stream, other):
            await client.send(json.dumps({"id": 1, "subscribe": "audit"}))
        assert "users.log" in (await other.recv())
        assert "audit" == json.loads(await stream.recv())["subscribed"]
        for device in (theirs, mine):
            target = f"{ORG}/device?deviceId={device.id}"
            assert 200 == (await world.ask("rita", "PUT", target, {"name": "New"})).status
        change = json.loads(await stream.recv())["change"]
        assert (f"device {mine.id}", world.orgs["acme"]) == (change["subject"], change["org"])


# -- a second factor --------------------------------------------------------------------------------------------------


async def test_a_second_factor_is_asked_for_and_works_once(world, http):
    key = (await log_in(http)).json["access_token"]
    assert 403 == (await http.ask("POST", "/api/v1/otp", {"password": "not this one"}, key)).status
    made = (await http.ask("POST", "/api/v1/otp", {"password": PASSWORD}, key)).json
    assert made["url"].startswith("otpauth://totp/Pinwheel%3Aeva%40example.org?secret=")
    assert 400 == (await http.ask("POST", "/api/v1/otp/confirm", {"otp": "nonsense"}, key)).status
    answer = await http.ask("POST", "/api/v1/otp/confirm", {"otp": one_time_password(made["secret"])}, key)
    codes = answer.json["recoveryCodes"]
    assert 10 == len(set(codes))

    assert "A one-time password is needed." == (await log_in(http)).message
    code = one_time_password(made["secret"])
    assert 200 == (await log_in(http, otp=code)).status
    assert 401 == (await log_in(http, otp=code)).status
    assert 200 == (await log_in(http, otp=codes[0])).status
    assert 401 == (await log_in(http, otp=codes[0])).status
    assert 401 == (await log_in(http, otp="nonsense")).status


async def test_login_that_lacks_the_one_time_password_is_no_failed_attempt(world, http):
    key = (await log_in(http)).json["access_token"]
    secret = (await http.ask("POST", "/api/v1/otp", {"password": PASSWORD}, key)).json["secret"]
    assert 200 == (await http.ask("POST", "/api/v1/otp/confirm", {"otp": one_time_password(secret)}, key)).status
    for _ in range(2 * throttle.FAILURES):
        assert "A one-time password is needed." == (await log_in(http)).message
    # Nor does it begin the count anew.
    for _ in range(throttle.FAILURES):
        assert "The one-time password is wrong." == (await log_in(http, otp="nonsense")).message
        answer = await log_in(http)
    assert "There were too many failed attempts." == answer.message


async def test_one_time_password_works_once_also_across_a_restart(hub_config):
    async with running(hub_config) as hub, connected(hub) as http:
        world = await tenants(hub)
        await world.user("eva", world.orgs["acme"], USER, PASSWORD)
        key = (await log_in(http)).json["access_token"]
        secret = (await http.ask("POST", "/api/v1/otp", {"password": PASSWORD}, key)).json["secret"]
        code = one_time_password(secret)
        assert 200 == (await http.ask("POST", "/api/v1/otp/confirm", {"otp": code}, key)).status
        assert 200 == (await log_in(http, otp=code)).status
    async with running(hub_config) as hub, connected(hub) as http:
        assert 401 == (await log_in(http, otp=code)).status
        assert 200 == (await log_in(http, otp=one_time_password(secret, 30))).status


def test_a_one_time_password_of_long_ago_is_none():
    assert (
        matching_step("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", one_time_password("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", -300))
        is None
    )


# -- passwords, profile, keys -----------------------------------------------------------------------------------------


async def test_a_new_password_ends_the_other_sessions(world, http):
    one, two = (await log_in(http)).json["access_token"], (await log_in(http)).json["access_token"]
    new = {"old": PASSWORD, "new": "another long one"}
    assert 403 == (await http.ask("POST", "/api/v1/password", new | {"old": "wrong but long"}, one)).status
    assert 400 == (await http.ask("POST", "/api/v1/password", new | {"new": "short"}, one)).status
    assert 204 == (await http.ask("POST", "/api/v1/password", new, one)).status
    assert 200 == (await http.get("/api/v1/profile", one)).status
    assert 401 == (await http.get("/api/v1/profile", two)).status
    assert 401 == (await log_in(http)).status
    assert 200 == (await log_in(http, password="another long one")).status


@pytest.mark.parametrize(
    ("body", "said"),
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
async def test_a_profile_that_makes_no_sense_is_refused(world, http, body, said):
    answer = await http.ask("PUT", "/api/v1/profile", body, world.tokens["uma"])
    assert 400 == answer.status
    assert said in answer.message


async def test_a_key_may_no_more_than_its_scopes_and_no_longer_than_it_lasts(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        world = await tenants(hub)
        device = await world.device(world.orgs["acme"])
        body = {"name": "grafana", "scopes": ["org_devices.view"], "lasts": 60_000}
        made = (await world.ask("ada", "POST", "/api/v1/key", body)).json
        assert made["key"].startswith("pwk_")
        assert 200 == (await ask(hub, "GET", f"{ORG}/device?deviceId={device.id}", key=made["key"])).status
        write = {"deviceId": device.id, "pin": "v0", "value": 1}
        assert 403 == (await ask(hub, "POST", f"{ORG}/device/datastream", write, key=made["key"])).status
        more = {"name": "all"}
        assert 403 == (await ask(hub, "POST", "/api/v1/key", more, key=made["key"])).status
        time.pass_(61_000)
        assert 401 == (await ask(hub, "GET", f"{ORG}/device?deviceId={device.id}", key=made["key"])).status


BY_HAND = (
    ("POST", "/api/v1/password", {"old": PASSWORD, "new": "another long one"}),
    ("POST", "/api/v1/key", {"name": "more"}),
    ("POST", "/api/v1/otp", {"password": PASSWORD}),
    ("POST", "/api/v1/logout", b""),
    ("PUT", "/api/v1/profile", {"name": "Eve"}),
    ("DELETE", "/api/v1/profile", {"password": PASSWORD}),
    ("DELETE", "/api/v1/session?sessionId=1", None),
    ("DELETE", "/api/v1/key?keyId=1", None),
    ("POST", f"{ORG}/switch", {"orgId": 2}),
)


@pytest.mark.parametrize("scopes", [None, ["own_devices.view"]], ids=str)
async def test_a_key_changes_nothing_about_its_user(world, http, scopes):
    token = (await log_in(http)).json["access_token"]
    key = (await http.ask("POST", "/api/v1/key", {"name": "k", "scopes": scopes}, token)).json["key"]
    for method, path, body in BY_HAND:
        assert 403 == (await http.ask(method, path, body, key)).status, path


@pytest.mark.parametrize(
    "body",
    [{"name": ""}, {"name": "x", "scopes": ["users.fly"]}, {"name": "x", "lasts": 0}, {"name": "x", "lasts": 10**15}],
    ids=str,
)
async def test_a_key_that_makes_no_sense_is_refused(world, body):
    assert 400 == (await world.ask("ada", "POST", "/api/v1/key", body)).status


async def test_a_key_of_somebody_else_is_none_of_ones_business(world):
    made = (await world.ask("ada", "POST", "/api/v1/key", {"name": "mine"})).json
    assert 404 == (await world.ask("uma", "DELETE", f"/api/v1/key?keyId={made['id']}")).status
    assert [] == (await world.ask("uma", "GET", "/api/v1/keys")).json
    assert 404 == (await world.ask("uma", "GET", f"/api/v1/keys?userId={world.users['ada'].id}")).status


# -- those who look after others --------------------------------------------------------------------------------------


async def test_an_organization_keeps_an_administrator(world):
    people = world.service.users
    await people.set_password(world.users["ada"], passwords.blynk_hash("ada@example.org", PASSWORD))
    ada = world.users["ada"].id
    for method, path, body in (
        ("DELETE", f"{ORG}/user?userId={ada}", None),
        ("PUT", f"{ORG}/users/role?userId={ada}&roleId={USER}", b""),
        ("POST", f"{ORG}/user/suspend", {"userId": ada}),
        ("POST", f"{ORG}/users/transfer", {"userId": ada, "targetOrgId": world.orgs["beta"], "roleId": USER}),
    ):
        answer = await world.ask("rita", method, path, body)
        message = "ada@example.org is the last Admin of their organization: make another user Admin first."
        assert (409, message) == (answer.status, answer.message)


async def test_of_two_administrators_who_demote_each_other_one_stays(world):
    people = world.service.users
    await world.user("abe", world.orgs["acme"], ADMIN, PASSWORD)
    await people.set_password(world.users["ada"], passwords.blynk_hash("ada@example.org", PASSWORD))
    failed = []

    async def demote(name):
        try:
            await people.change(world.users[name], role=USER)
        except Conflict as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(demote, "ada")
        nursery.start_soon(demote, "abe")
    assert 1 == len(failed)
    assert {ADMIN, USER} == {world.users["ada"].role, world.users["abe"].role}


async def test_a_user_who_is_deleted_leaves_devices_without_an_owner(world):
    device = await world.device(world.orgs["acme"], owner=world.users["uma"].id)
    assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/user?userId={world.users['uma'].id}")).status
    assert device.owner is None
    assert 401 == (await world.ask("uma", "GET", "/api/v1/profile")).status


async def test_an_export_has_what_somebody_did_and_said(world):
    device = await world.device(world.orgs["acme"])
    stan = world.users["stan"]
    event = {"deviceId": device.id, "eventCode": "hot"}
    assert 204 == (await world.ask("ada", "POST", f"{ORG}/device/trigger-event", event)).status
    [one] = (await world.ask("ada", "GET", f"{ORG}/device/timeline?deviceId={device.id}")).json["content"]
    comment = {"deviceId": device.id, "eventId": one["id"], "text": "On my way"}
    assert 200 == (await world.ask("stan", "POST", f"{ORG}/device/event/comment", comment)).status
    write = {"deviceId": device.id, "pin": "v0", "value": 21}
    assert 204 == (await world.ask("stan", "POST", f"{ORG}/device/datastream", write)).status
    export = (await world.ask("ada", "GET", f"{ORG}/user/export?userId={stan.id}")).json
    assert ["On my way"] == [comment["text"] for comment in export["comments"]]
    assert [(device.id, 21.0)] == [(v["deviceId"], v["value"]) for v in export["audit"]["values"]]
    assert [f"user {stan.id}"] == list({record["who"] for record in export["audit"]["records"]})
    assert 1 == export["audit"]["changes"]


async def test_an_export_has_nothing_from_where_its_asker_may_not_look(world):
    uma = world.users["uma"]
    device = await world.device(world.orgs["acme"], owner=uma.id)
    write = {"deviceId": device.id, "pin": "v0", "value": 21}
    assert 204 == (await world.ask("uma", "POST", f"{ORG}/device/datastream", write)).status
    body = {"userId": uma.id, "targetOrgId": world.orgs["beta"], "roleId": USER}
    assert 201 == (await world.ask("rita", "POST", f"{ORG}/users/transfer", body)).status
    export = (await world.ask("bert", "GET", f"{ORG}/user/export?userId={uma.id}")).json
    assert [] == export["audit"]["values"]
    assert {world.orgs["beta"]} == {record["org"] for record in export["audit"]["records"]}


@pytest.mark.parametrize("oneself", [False, True])
async def test_with_somebody_goes_where_they_came_from(world, http, oneself):
    eva = world.users["eva"]
    token = (await log_in(http)).json["access_token"]
    assert 200 == (await http.ask("PUT", "/api/v1/profile", {"name": "Eva"}, token)).status

    async def addresses():
        found = (await world.ask("rita", "GET", "/api/v1/audit?size=1000")).json["content"]
        return [record["address"] for record in found if record["who"] == f"user {eva.id}"]

    assert "127.0.0.1" in await addresses()
    if oneself:
        assert 204 == (await http.ask("DELETE", "/api/v1/profile", {"password": PASSWORD}, token)).status
    else:
        assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/user?userId={eva.id}")).status
    assert {""} == set(await addresses())
    assert [] == (await world.ask("rita", "GET", "/api/v1/audit/verify")).json["problems"]


async def test_a_user_is_transferred_with_their_devices_or_without(world):
    device = await world.device(world.orgs["acme"], owner=world.users["uma"].id)
    uma, works = world.users["uma"], world.orgs["works"]
    body = {"userId": uma.id, "targetOrgId": works, "roleId": USER, "devices": True}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/users/transfer", body)).status
    assert (works, works, uma.id) == (uma.org, device.org, device.owner)
    back = {"userId": uma.id, "targetOrgId": world.orgs["acme"], "roleId": USER}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/users/transfer", back)).status
    assert (works, None) == (device.org, device.owner)


@pytest.mark.parametrize(
    ("body", "said"),
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
async def test_an_invitation_that_makes_no_sense_is_refused(world, body, said):
    answer = await world.ask("ada", "POST", f"{ORG}/users/invite", body)
    assert answer.status in (400, 404, 409)
    assert said in answer.message


# -- the pages behind links -------------------------------------------------------------------------------------------


def code_of(link):
    return re.search(r"code=([\w-]+)$", link)[1]


async def fill_in(http, code, **fields):
    form = urlencode({"code": code, **fields}).encode()
    headers = {"Content_Type": "application/x-www-form-urlencoded", "Origin": "http://hub"}
    return await http.ask("POST", "/account", form, **headers)


async def test_somebody_who_is_invited_sets_a_password_once(world, http):
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org", "name": "New"})
    assert ("Pending", "User") == (invited.json["status"], invited.json["role"])
    # The test's Host is none of the hub's names.
    host, port = address_of(world.hub)
    assert invited.json["link"].startswith(f"http://{host}:{port}/account?code=")
    code = code_of(invited.json["link"])
    page = await http.get(f"/account?code={code}")
    assert 200 == page.status
    assert "new@example.org" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "no-store" == page.headers["cache-control"]
    for fields, said in (
        ({"password": "short", "again": "short"}, "8 to 200 characters"),
        ({"password": "long enough", "again": "different"}, "differ"),
    ):
        answer = await fill_in(http, code, **fields)
        assert 400 == answer.status
        assert said in answer.text
    done = await fill_in(http, code, password=PASSWORD, again=PASSWORD)
    assert 200 == done.status, done.text
    assert 400 == (await http.get(f"/account?code={code}")).status
    assert 400 == (await fill_in(http, code, password=PASSWORD, again=PASSWORD)).status
    assert 200 == (await log_in(http, "new@example.org")).status


async def test_invitation_says_where_to_and_as_what_and_the_last_page_where_to_go_on(world, http):
    body = {"email": "new@example.org", "roleId": STAFF, "orgId": world.orgs["works"]}
    code = code_of((await world.ask("ada", "POST", f"{ORG}/users/invite", body)).json["link"])
    page = (await http.get(f"/account?code={code}")).text
    assert "You are invited to <strong>works</strong> as <strong>Staff</strong>." in page
    assert "Repeat the password" in page
    short = (await fill_in(http, code, password="short", again="short")).text
    assert "The password must have 8 to 200 characters." in short
    done = (await fill_in(http, code, password=PASSWORD, again=PASSWORD)).text
    assert "The password of new@example.org is set." in done
    assert '<a href="/">' in done


async def test_first_page_says_what_this_is_and_where_to_go_on(tmp_path):
    toml = '[hub]\nname = "Glass & <house>"\n[[listen]]\naddress = "127.0.0.1:0"\n'
    config = parse(toml).with_data(str(tmp_path / "data"))
    async with running(config) as hub, connected(hub) as http:
        page = await http.get("/")
        assert (200, "text/html; charset=utf-8") == (page.status, page.headers["content-type"])
        assert "<title>Glass &amp; &lt;house&gt;</title>" in page.text
        assert "This hub is running." in page.text
        links = re.findall(r'href="(/[^"]*)"', page.text)
        assert "/api/docs" in links
        # Where it leads to is there; without TLS there is no authority of the hub's.
        assert [200] * len(links) == [(await http.get(link)).status for link in links]
        assert "/ca.pem" not in links
        icon = await http.get("/favicon.ico")
        assert (200, "image/svg+xml") == (icon.status, icon.headers["content-type"])
        # Programs are answered as before elsewhere.
        assert "There is nothing at /nowhere." == (await http.get("/nowhere")).message


async def test_first_page_says_when_the_hub_needs_attention(hub, http):
    hub.alarms.set("test", "something is wrong", critical=True)
    assert "This hub is running, but needs attention." in (await http.get("/")).text


async def test_a_link_ends_with_its_time_and_with_the_next(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        world = await tenants(hub)
        body = {"userId": world.users["uma"].id}
        old = code_of((await world.ask("ada", "POST", f"{ORG}/user/reset", body)).json["link"])
        new = code_of((await world.ask("ada", "POST", f"{ORG}/user/reset", body)).json["link"])
        async with connected(hub) as http:
            assert 400 == (await http.get(f"/account?code={old}")).status
            assert 200 == (await http.get(f"/account?code={new}")).status
            time.pass_(31 * DAY)
            assert 400 == (await http.get(f"/account?code={new}")).status


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}], ids=str)
async def test_a_form_from_another_site_is_refused(world, http, headers):
    answer = await http.ask("POST", "/account", b"code=x&password=y&again=y", **headers)
    assert 403 == answer.status
    assert "another site" in answer.text


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"code=%ff", b"code=" + b"x" * 10_000, b"&&&==="], ids=repr)
async def test_a_form_that_makes_no_sense_is_refused(world, http, body):
    assert 400 == (await http.ask("POST", "/account", body)).status


async def test_codes_cannot_be_tried_out(world, http):
    for _ in range(5):
        assert 400 == (await http.get("/account?code=guess")).status
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})
    answer = await http.get(f"/account?code={code_of(invited.json['link'])}")
    assert "too many failed attempts" in answer.text


async def test_what_a_page_shows_is_no_markup(world, http):
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "a&b'c@example.org"})
    page = await http.get(f"/account?code={code_of(invited.json['link'])}")
    assert "a&amp;b&#x27;c@example.org" in page.text


async def test_the_first_administrator_comes_in_by_a_link(hub, http):
    room = hub.service(UsersService)
    code = await room.links.create("first", None, 60_000)
    other = await room.links.create("first", None, 60_000)
    assert 400 == (await http.get(f"/account?code={code}")).status
    assert 400 == (await fill_in(http, other, email="nonsense", password=PASSWORD, again=PASSWORD)).status
    done = await fill_in(http, other, email="First@Example.org", name="Ann", password=PASSWORD, again=PASSWORD)
    assert 200 == done.status, done.text
    [user] = room.users.by_id.values()
    assert (ROOT_ORG, ADMIN, True) == (user.org, user.role, user.developer)
    assert 200 == (await log_in(http, "first@example.org")).status
    late = await room.links.create("first", None, 60_000)
    assert 400 == (await http.get(f"/account?code={late}")).status


async def test_the_first_administrator_comes_from_the_environment(hub_config, monkeypatch):
    template = '[template]\nname = "T"\n[[datastream]]\npin = "V0"\nname = "T"'
    async with running(hub_config) as hub:
        # A hub that ran without users.
        device, _ = await add_device(hub, template)
    monkeypatch.setenv("PINWHEEL_ADMIN_EMAIL", "Ops@Example.org")
    monkeypatch.setenv("PINWHEEL_ADMIN_PASSWORD", PASSWORD)
    async with running(hub_config) as hub, connected(hub) as http:
        with trio.fail_after(PATIENCE):
            while not hub.service(UsersService).users.by_id:
                await trio.sleep(0.001)
        key = (await log_in(http, "ops@example.org")).json["access_token"]
        listed = (await http.get(f"{ORG}/devices", key)).json
        assert [device.id] == [one["id"] for one in listed["content"]]
    async with running(hub_config) as hub:
        await hub.service(UsersService).welcome()
        assert 1 == len(hub.service(UsersService).users.by_id)


# -- programs ---------------------------------------------------------------------------------------------------------


async def test_a_program_gets_tokens_as_oauth2_has_them(world, http):
    made = (await world.ask("ada", "POST", f"{ORG}/client", {"name": "ERP", "roleId": STAFF})).json
    assert made["clientId"].startswith("oa2-client-id_")
    basic = base64.b64encode(f"{made['clientId']}:{made['clientSecret']}".encode()).decode()
    answer = await http.ask("POST", "/oauth2/token?grant_type=client_credentials", b"", Authorization=f"Basic {basic}")
    assert ("Bearer", 300) == (answer.json["token_type"], answer.json["expires_in"])
    query = f"grant_type=client_credentials&client_id={made['clientId']}&client_secret={made['clientSecret']}"
    assert 200 == (await http.ask("POST", f"/oauth2/token?{query}", b"")).status
    form = await http.ask("POST", "/oauth2/token", query.encode())
    assert 200 == form.status
    refresh = urlencode({"grant_type": "refresh_token", "refresh_token": form.json["refresh_token"]}).encode()
    assert 200 == (await http.ask("POST", "/oauth2/token", refresh, Authorization=f"Basic {basic}")).status

    await world.device(world.orgs["acme"], name="Ours")
    await world.device(world.orgs["beta"], name="Theirs")
    listed = (await http.get(f"{ORG}/devices", answer.json["access_token"])).json
    assert ["Ours"] == [device["name"] for device in listed["content"]]
    assert 401 == (await http.get("/api/v1/profile", answer.json["access_token"])).status
    assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/client?clientId={made['clientId']}")).status
    assert 401 == (await http.get(f"{ORG}/devices", answer.json["access_token"])).status


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ("", "invalid_request"),
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=client_credentials", "invalid_client"),
        ("grant_type=client_credentials&client_id=x&client_secret=y", "invalid_client"),
        ("grant_type=client_credentials&client_id=x&client_id=y", "invalid_request"),
        ("grant_type=refresh_token", "invalid_client"),
        ("grant_type=refresh_token&refresh_token=x", "invalid_client"),
        ("grant_type=authorization_code&code=x&client_id=x", "invalid_client"),
        ("\udcff", "invalid_request"),
    ],
    ids=ascii,
)
async def test_a_program_that_is_wrong_is_told_so_as_oauth2_has_it(world, http, form, error):
    answer = await http.ask("POST", "/oauth2/token", form.encode("utf-8", "surrogateescape"))
    assert (400, error) == (answer.status, answer.json["error"])
    assert answer.json["error_description"]


async def test_nobody_makes_a_program_that_may_more_than_they(world):
    await world.service.roles.switch(world.orgs["acme"], STAFF, [("clients.add", True)])
    body = {"name": "ERP", "roleId": ADMIN}
    assert 403 == (await world.ask("stan", "POST", f"{ORG}/client", body)).status
    below = {"name": "ERP", "roleId": STAFF, "orgId": world.orgs["beta"]}
    assert 404 == (await world.ask("stan", "POST", f"{ORG}/client", below)).status


# -- nothing secret is kept readable ----------------------------------------------------------------------------------


async def test_no_secret_is_to_be_found_in_files_logs_metrics_and_errors(hub_config, caplog, tmp_path):
    caplog.set_level("DEBUG")
    canaries, answers = {"password": PASSWORD}, []
    async with running(hub_config) as hub:
        world = await tenants(hub)
        await world.user("eva", world.orgs["acme"], USER, PASSWORD)
        async with connected(hub) as http:
            tokens = (await log_in(http)).json
            canaries["access"], canaries["refresh"] = tokens["access_token"], tokens["refresh_token"]
            canaries["hash"] = passwords.blynk_hash("eva@example.org", PASSWORD)
            canaries["key"] = (await world.ask("ada", "POST", "/api/v1/key", {"name": "k"})).json["key"]
            client = (await world.ask("ada", "POST", f"{ORG}/client", {"name": "c", "roleId": USER})).json
            canaries["client"] = client["clientSecret"]
            link = (await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "n@example.org"})).json["link"]
            canaries["code"] = code_of(link)
            made = {"templateId": "TMPL0thermo", "name": "D"}
            canaries["token"] = (await world.ask("ada", "POST", f"{ORG}/device/create", made)).json["token"]
            canaries["otp"] = "4242424242canary"
            for method, path, body in (
                ("POST", LOGIN, {"email": "eva@example.org", "password": PASSWORD, "otp": canaries["otp"], "x": 1}),
                ("POST", "/api/v1/otp", {"password": PASSWORD}),
                ("POST", f"{ORG}/user/password", {"userId": world.users["uma"].id, "password": PASSWORD}),
                ("GET", f"{ORG}/devices?x={canaries['key']}", None),
                ("POST", "/oauth2/token", f"grant_type=refresh_token&refresh_token={canaries['refresh']}x".encode()),
                ("GET", f"/nowhere/{canaries['otp']}?token={canaries['token']}", None),
            ):
                answers.append(await http.ask(method, path, body, canaries["key"]))
            answers.append(await http.get("/metrics", local_key(hub)))
            answers.append(await http.get("/api/v1/audit?size=1000", local_key(hub)))
            answers.append(await http.get("/api/v1/refusals", local_key(hub)))
            backup = tmp_path / "b.tar"
            await http.ask("POST", "/api/v1/backup", {"path": str(backup)}, local_key(hub))
            with trio.fail_after(PATIENCE):
                while (await http.get("/api/v1/backup", local_key(hub))).json["running"]:
                    await trio.sleep(0.02)
            assert backup.exists()
    texts = {"log": caplog.text.encode(), "answers": b"".join(a.body for a in answers if b"/nowhere/" not in a.body)}
    for path in [backup, *hub_config.data.rglob("*")]:
        if path.is_file():
            texts[path.name] = path.read_bytes()
    secret = {name: text for name, text in canaries.items() if name != "otp"}
    for name, canary in secret.items():
        found = [where for where, text in texts.items() if canary.encode() in text]
        assert [] == found, name


# -- letting a program act for oneself --------------------------------------------------------------------------------

BACK = "https://app.example.org/back?keep=1"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


async def program(world, role=USER):
    body = {"name": "<App>", "roleId": role, "redirects": [BACK]}
    return (await world.ask("ada", "POST", f"{ORG}/client", body)).json


def asked(client, **changes):
    return {
        "client_id": client["clientId"],
        "redirect_uri": BACK,
        "response_type": "code",
        "state": "s t&te",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes


async def allow(http, client, **fields):
    form = asked(client) | {"email": "eva@example.org", "password": PASSWORD, "otp": ""} | fields
    return await http.ask("POST", "/oauth2/authorize", urlencode(form).encode(), Origin="http://hub")


def in_body(client):
    return {"client_id": client["clientId"], "client_secret": client["clientSecret"]}


def basic(client):
    pair = f"{client['clientId']}:{client['clientSecret']}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


async def token(http, form, **headers):
    said = {name: value for name, value in form.items() if value is not None}
    return await http.ask("POST", "/oauth2/token", urlencode(said).encode(), **headers)


async def redeem(http, client, code, /, **changes):
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    return await token(http, form | in_body(client) | changes)


async def refreshed(http, client, tokens):
    return await token(
        http, {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]} | in_body(client)
    )


async def code_for(http, client, **fields):
    """An authorization code of Eva's for a client."""
    return parse_qs(urlsplit((await allow(http, client, **fields)).headers["location"]).query)["code"][0]


async def test_a_program_that_somebody_allows_may_what_both_may(world, http):
    mine = await world.device(world.orgs["acme"], owner=world.users["eva"].id, name="Mine")
    await world.device(world.orgs["acme"], name="Not mine")
    client = await program(world)
    page = await http.get(f"/oauth2/authorize?{urlencode(asked(client))}")
    assert "<strong>&lt;App&gt;</strong> of acme wants to act for you" in page.text
    assert "form-action 'self' https://app.example.org;" in page.headers["content-security-policy"]
    sent = await allow(http, client)
    assert 303 == sent.status
    found = re.fullmatch(re.escape(BACK) + r"&code=([\w-]+)&state=s\+t%26te", sent.headers["location"])
    answer = await redeem(http, client, found[1])
    assert (200, 300) == (answer.status, answer.json["expires_in"])
    key = answer.json["access_token"]
    listed = (await http.get(f"{ORG}/devices", key)).json
    assert [mine.id] == [device["id"] for device in listed["content"]]
    assert 200 == (await refreshed(http, client, answer.json)).status
    assert "invalid_grant" == (await redeem(http, client, found[1])).json["error"]


async def test_an_administrator_lends_a_program_no_more_than_its_role(world, http):
    client = await program(world, USER)
    await world.user("zoe", world.orgs["acme"], ADMIN, PASSWORD)
    code = await code_for(http, client, email="zoe@example.org")
    key = (await redeem(http, client, code)).json["access_token"]
    assert 403 == (await http.get(f"{ORG}/users", key)).status
    for method, path, body in BY_HAND:
        assert 403 == (await http.ask(method, path, body, key)).status, path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"client_id": "x"}, "There is no such client"),
        ({"redirect_uri": "https://evil.example/"}, "not registered for the client"),
        ({"redirect_uri": BACK + "x"}, "not registered for the client"),
        ({"response_type": "token"}, "response_type must be code"),
        ({"code_challenge": ""}, "A code_challenge must have 43 characters"),
        ({"code_challenge_method": "plain"}, "A code_challenge must have 43 characters"),
    ],
    ids=str,
)
async def test_a_program_that_asks_wrongly_sends_nobody_anywhere(world, http, changes, said):
    client = await program(world)
    for answer in (
        await http.get(f"/oauth2/authorize?{urlencode(asked(client, **changes))}"),
        await allow(http, client, **changes),
    ):
        assert 400 == answer.status
        assert said in answer.text
        assert "location" not in answer.headers


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "guess"},
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "https://app.example.org/"},
        {"redirect_uri": None},
    ],
    ids=str,
)
async def test_a_code_that_does_not_fit_is_no_code_any_more(world, http, changes):
    client = await program(world)
    code = await code_for(http, client)
    assert (400, "invalid_grant") == (
        (answer := await redeem(http, client, code, **changes)).status,
        answer.json["error"],
    )
    if "code" not in changes:
        assert "invalid_grant" == (await redeem(http, client, code)).json["error"]


async def test_a_wrong_password_on_the_page_allows_nothing_and_counts(world, http):
    client = await program(world)
    for _ in range(5):
        answer = await allow(http, client, password="wrong but long")
        assert 400 == answer.status
        assert "The email or the password is wrong." in answer.text
    assert "too many failed attempts" in (await allow(http, client)).text


@pytest.mark.parametrize(
    "address",
    [
        "http://app.example.org/",
        "javascript:alert(1)",
        "https://[",
        "https://",
        "https://a/#b",
        "data:x",
        "//a",
        "https://a b",
        "https://a@b",
        "https://a:b@c/",
        "https://evil;sandbox",
        "https://a/;b",
        "https://a:port/",
        "https://exa'mple/",
        "https://a,b/",
        "HTTPS:",
        "javascript.x:alert(1)",
        "JavaScript.x://%0aalert(1)",
        "vbscript.:x",
        "vbscript.x:y",
        "data.x:text/html",
        ".x:y",
        "myapp:/cb",
        "http://127.0.0.1@evil.example/",
        "http://localhost.evil.example/",
        "https://a/\\b",
        "https://a/\tb",
    ],
    ids=ascii,
)
async def test_a_redirect_that_could_be_abused_is_refused(world, address):
    body = {"name": "App", "roleId": USER, "redirects": [address]}
    assert 400 == (await world.ask("ada", "POST", f"{ORG}/client", body)).status


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8000/cb",
        "http://[::1]/cb",
        "http://localhost/cb",
        "org.example.app:/cb",
        "com.data.app:/x",
        BACK,
    ],
)
async def test_a_redirect_to_ones_own_app_is_fine(world, address):
    body = {"name": "App", "roleId": USER, "redirects": [address]}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/client", body)).status


# -- clients authenticate, and keep to their organization -------------------------------------------------------------


@pytest.mark.parametrize("grant", ["authorization_code", "refresh_token", "client_credentials"])
@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("basic", 200),
        ("basic and its id", 200),
        ("body", 200),
        ("basic and another id", 400),
        ("basic and body", 400),
        ("id alone", 400),
        ("nothing", 400),
        ("wrong in the body", 400),
        ("wrong as basic", 401),
        ("another client's secret", 400),
    ],
)
async def test_client_authenticates_at_every_grant(world, http, grant, way, status):
    client, other = await program(world), await program(world)
    wrong = client | {"clientSecret": other["clientSecret"]}
    form, headers = {
        "basic": ({}, basic(client)),
        "basic and its id": ({"client_id": client["clientId"]}, basic(client)),
        "body": (in_body(client), {}),
        "basic and another id": ({"client_id": other["clientId"]}, basic(client)),
        "basic and body": (in_body(client), basic(client)),
        "id alone": ({"client_id": client["clientId"]}, {}),
        "nothing": ({}, {}),
        "wrong in the body": (in_body(client | {"clientSecret": "x"}), {}),
        "wrong as basic": ({}, basic(wrong)),
        "another client's secret": (in_body(wrong), {}),
    }[way]
    code = await code_for(http, client)
    if grant == "refresh_token":
        tokens = (await redeem(http, client, code)).json
        form |= {"refresh_token": tokens["refresh_token"]}
    elif grant == "authorization_code":
        form |= {"code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    answer = await token(http, {"grant_type": grant} | form, **headers)
    error = "invalid_request" if way.startswith("basic and") else "invalid_client"
    assert (status, None if status == 200 else error) == (answer.status, answer.json.get("error"))
    assert ("Basic" in answer.headers.get("www-authenticate", "")) == (status == 401)
    if status != 200 and grant != "client_credentials":
        # Whoever did not prove to be the client has used nothing up.
        right = await token(http, {"grant_type": grant} | form | in_body(client))
        assert 200 == right.status


@pytest.mark.parametrize("grant", ["authorization_code", "refresh_token"])
async def test_tokens_and_codes_are_bound_to_their_client(world, http, grant):
    client, other = await program(world), await program(world)
    code = await code_for(http, client)
    if grant == "authorization_code":
        assert (400, "invalid_grant") == ((no := await redeem(http, other, code)).status, no.json["error"])
        assert 200 == (await redeem(http, client, code)).status
        return
    tokens = (await redeem(http, client, code)).json
    assert (400, "invalid_grant") == ((no := await refreshed(http, other, tokens)).status, no.json["error"])
    assert 401 == (await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": tokens["refresh_token"]})).status
    assert 200 == (await refreshed(http, client, tokens)).status
    mine = (await log_in(http)).json
    assert 400 == (await refreshed(http, client, mine)).status
    assert 200 == (await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": mine["refresh_token"]})).status


async def test_code_that_comes_twice_ends_the_tokens_of_its_first_use(hub_config):
    async with running(hub_config) as hub, connected(hub) as http:
        world = await tenants(hub)
        await world.user("eva", world.orgs["acme"], USER, PASSWORD)
        client, other = await program(world), await program(world)
        code = await code_for(http, client)
        tokens = (await refreshed(http, client, (await redeem(http, client, code)).json)).json
        # Another client can do nothing with it.
        assert 400 == (await redeem(http, other, code)).status
        assert 200 == (await http.get(f"{ORG}/devices", tokens["access_token"])).status
    # The hub does not forget which codes were used.
    async with running(hub_config) as hub, connected(hub) as http:
        assert 200 == (await http.get(f"{ORG}/devices", tokens["access_token"])).status
        assert (400, "invalid_grant") == ((no := await redeem(http, client, code)).status, no.json["error"])
        assert 401 == (await http.get(f"{ORG}/devices", tokens["access_token"])).status
        assert 400 == (await refreshed(http, client, tokens)).status


async def test_code_redeemed_twice_at_once_gives_no_tokens_that_last(world, hub):
    async with connected(hub) as http:
        client = await program(world)
        code = await code_for(http, client)
    answers = []

    async def attempt():
        async with connected(hub) as other:
            answers.append(await redeem(other, client, code))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(attempt)
    assert 3 <= [answer.status for answer in answers].count(400)
    for answer in answers:
        if answer.status == 200:
            assert 401 == (await ask(hub, "GET", f"{ORG}/devices", key=answer.json["access_token"])).status


async def test_client_with_its_secret_needs_no_pkce(world, http):
    client = await program(world)
    without = {"code_challenge": None, "code_challenge_method": None}
    fields = {name: value for name, value in (asked(client) | without).items() if value is not None}
    assert 200 == (await http.get(f"/oauth2/authorize?{urlencode(fields)}")).status

    async def code():
        form = urlencode(fields | {"email": "eva@example.org", "password": PASSWORD}).encode()
        sent = await http.ask("POST", "/oauth2/authorize", form, Origin="http://hub")
        return parse_qs(urlsplit(sent.headers["location"]).query)["code"][0]

    assert 200 == (await redeem(http, client, await code(), code_verifier=None)).status
    # RFC 9700, 2.1.1: a verifier without a challenge is a request from which the challenge was taken.
    assert 400 == (await redeem(http, client, await code())).status


async def test_client_can_be_denied(world, http):
    client = await program(world)
    sent = await http.ask("POST", "/oauth2/authorize", urlencode(asked(client) | {"deny": "1"}).encode())
    where = urlsplit(sent.headers["location"])
    assert (303, "app.example.org") == (sent.status, where.netloc)
    answer = {name: values[0] for name, values in parse_qs(where.query).items()}
    assert ("access_denied", "s t&te", "1") == (answer["error"], answer["state"], answer["keep"])
    # Not by another site's page, and not to an address that is none of the client's.
    evil = urlencode(asked(client, redirect_uri="https://evil.example/") | {"deny": "1"}).encode()
    assert 400 == (await http.ask("POST", "/oauth2/authorize", evil)).status


async def test_consent_page_names_the_target_and_the_rights(world, http):
    page = (await http.get(f"/oauth2/authorize?{urlencode(asked(await program(world)))}")).text
    assert "you go on to <strong>app.example.org</strong>" in page
    assert "It gets the permissions of the role User, but never more than yours" in page
    assert "View own devices, Control own devices" in page
    assert ">Deny</button>" in page


#: Users by name: where they are, and which devices a client of acme may then show them.
PLACES = [
    ("root", {"acme", "works"}),
    ("acme", {"acme", "works"}),
    ("works", {"works"}),
    ("beta", None),
]


@pytest.mark.parametrize(("org", "reached"), PLACES)
async def test_client_never_reaches_beyond_its_own_organization(world, http, org, reached):
    for name, number in world.orgs.items():
        await world.device(number, name=name)
    await world.user("zoe", world.orgs[org], ADMIN, PASSWORD)
    client = await program(world, ADMIN)
    if reached is None:
        refused = await allow(http, client, email="zoe@example.org")
        assert 403 == refused.status
        assert "can only act for users of acme, and you are not one of them" in refused.text
        return
    key = (await redeem(http, client, await code_for(http, client, email="zoe@example.org"))).json["access_token"]
    listed = (await http.get(f"{ORG}/devices?includeSubOrgDevices=true", key)).json["content"]
    assert reached == {device["name"] for device in listed}
    emails = {"acme": "ada", "works": None, "beta": "bert", "root": "rita"}
    for name, number in world.orgs.items():
        may = name in reached
        assert (200 if may else 404) == (await http.get(f"{ORG}/users?orgId={number}", key)).status, name
        assert (200 if may else 404) == (await http.get(f"{ORG}?orgId={number}", key)).status, name
        device = next(one for one in world.hub.devices.by_id.values() if one.name == name)
        assert (200 if may else 404) == (await http.get(f"{ORG}/device?deviceId={device.id}", key)).status, name
        if (user := emails[name]) is not None:
            body = {"userId": world.users[user].id, "password": "taken over 1"}
            answer = await http.ask("POST", f"{ORG}/user/password", body, key)
            assert (204 if may and "acme" in reached else 404) == answer.status, name
        assert (200 if may else 404) == (await http.get(f"/api/v1/audit?orgId={number}", key)).status, name


async def test_stream_of_a_client_keeps_to_its_organization(world, http, hub):
    devices = {name: await world.device(number, name=name) for name, number in world.orgs.items()}
    await world.user("zoe", ROOT_ORG, ADMIN, PASSWORD)
    client = await program(world, ADMIN)
    key = (await redeem(http, client, await code_for(http, client, email="zoe@example.org"))).json["access_token"]
    host, port = address_of(hub)
    headers = {"Authorization": f"Bearer {key}"}
    async with connect(f"ws://{host}:{port}/api/v1/stream", additional_headers=headers, proxy=None) as stream:
        await stream.send(json.dumps({"id": 1, "subscribe": "devices", "every": True}))
        await stream.recv()
        for name in ("beta", "root"):
            await stream.send(json.dumps({"id": name, "subscribe": "device", "device": devices[name].id}))
            assert "is not found" in (await stream.recv())
        for name in ("root", "beta", "works", "acme"):
            body = {"deviceId": devices[name].id, "pin": "v0", "value": 1}
            assert 204 == (await world.ask("rita", "POST", f"{ORG}/device/datastream", body)).status
        with trio.fail_after(PATIENCE):
            told = [json.loads(await stream.recv()) for _ in range(2)]
        assert {devices["acme"].id, devices["works"].id} == {message["device"] for message in told}


async def test_open_stream_of_a_client_follows_the_role_of_the_client(world, http, hub):
    device = await world.device(world.orgs["acme"])
    await world.user("zoe", world.orgs["acme"], ADMIN, PASSWORD)
    client = await program(world, STAFF)
    key = (await redeem(http, client, await code_for(http, client, email="zoe@example.org"))).json["access_token"]
    host, port = address_of(hub)
    headers = {"Authorization": f"Bearer {key}"}
    async with connect(f"ws://{host}:{port}/api/v1/stream", additional_headers=headers, proxy=None) as stream:
        await stream.send(json.dumps({"id": 1, "subscribe": "device", "device": device.id}))
        assert "subscribed" in await stream.recv()
        off = [("org_devices.view", False), ("own_devices.view", False)]
        await world.service.roles.switch(world.orgs["acme"], STAFF, off)
        with trio.fail_after(PATIENCE), pytest.raises(ConnectionClosed):
            while True:
                await stream.recv()
