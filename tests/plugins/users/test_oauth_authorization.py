"""OAuth authorization code flow: consent page, codes, and the reach of a client's tokens."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import trio
from support.accounts import INTERACTIVE_ONLY, tenants_with_eva
from support.oauth import (
    REDIRECT,
    access_token_for,
    authorization_code,
    authorization_request,
    authorize,
    redeem,
    refresh_tokens,
    register_client,
)
from support.raw_http import ask, connected
from support.tenants import ORG, PASSWORD

from hub.run import running
from plugins.users.model import ADMIN, USER


async def test_authorized_client_acts_with_the_rights_of_the_user(world, http):
    mine = await world.device(world.orgs["acme"], owner=world.users["eva"].id, name="Mine")
    await world.device(world.orgs["acme"], name="Not mine")
    client = await register_client(world)
    page = await http.get(f"/oauth2/authorize?{urlencode(authorization_request(client))}")
    assert "<strong>&lt;App&gt;</strong> of acme wants to act for you" in page.text
    assert "form-action 'self' https://app.example.org;" in page.headers["content-security-policy"]
    redirect = await authorize(http, client)
    assert 303 == redirect.status
    match = re.fullmatch(re.escape(REDIRECT) + r"&code=([\w-]+)&state=s\+t%26te", redirect.headers["location"])
    response = await redeem(http, client, match[1])
    assert (200, 86_400) == (response.status, response.json["expires_in"])
    key = response.json["access_token"]
    listed = (await http.get(f"{ORG}/devices", key)).json
    assert [mine.id] == [device["id"] for device in listed["content"]]
    assert 200 == (await refresh_tokens(http, client, response.json)).status
    assert "invalid_grant" == (await redeem(http, client, match[1])).json["error"]


async def test_client_authorized_by_an_admin_is_limited_to_its_own_role(world, http):
    client = await register_client(world, USER)
    await world.user("zoe", world.orgs["acme"], ADMIN, PASSWORD)
    code = await authorization_code(http, client, email="zoe@example.org")
    key = (await redeem(http, client, code)).json["access_token"]
    assert 403 == (await http.get(f"{ORG}/users", key)).status
    for method, path, body in INTERACTIVE_ONLY:
        assert 403 == (await http.ask(method, path, body, key)).status, path


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "x"}, "There is no such client"),
        ({"redirect_uri": "https://evil.example/"}, "not registered for the client"),
        ({"redirect_uri": REDIRECT + "x"}, "not registered for the client"),
        ({"response_type": "token"}, "response_type must be code"),
        ({"code_challenge": ""}, "A code_challenge must have 43 characters"),
        ({"code_challenge_method": "plain"}, "A code_challenge must have 43 characters"),
    ],
    ids=str,
)
async def test_invalid_authorization_request_is_not_redirected(world, http, changes, error):
    client = await register_client(world)
    for response in (
        await http.get(f"/oauth2/authorize?{urlencode(authorization_request(client, **changes))}"),
        await authorize(http, client, **changes),
    ):
        assert 400 == response.status
        assert error in response.text
        assert "location" not in response.headers


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
async def test_failed_redemption_invalidates_the_authorization_code(world, http, changes):
    client = await register_client(world)
    code = await authorization_code(http, client)
    assert (400, "invalid_grant") == (
        (response := await redeem(http, client, code, **changes)).status,
        response.json["error"],
    )
    if "code" not in changes:
        assert "invalid_grant" == (await redeem(http, client, code)).json["error"]


async def test_wrong_password_on_the_consent_page_grants_nothing_and_is_counted(world, http):
    client = await register_client(world)
    for _ in range(5):
        response = await authorize(http, client, password="wrong but long")
        assert 400 == response.status
        assert "The email or the password is wrong." in response.text
    assert "too many failed attempts" in (await authorize(http, client)).text


async def test_code_redeemed_twice_revokes_the_tokens_of_its_first_use(hub_config):
    async with running(hub_config) as hub, connected(hub) as http:
        world = await tenants_with_eva(hub)
        client, other = await register_client(world), await register_client(world)
        code = await authorization_code(http, client)
        tokens = (await refresh_tokens(http, client, (await redeem(http, client, code)).json)).json
        # Another client cannot redeem the code, and its attempt revokes nothing.
        assert 400 == (await redeem(http, other, code)).status
        assert 200 == (await http.get(f"{ORG}/devices", tokens["access_token"])).status
    # Used codes are remembered across a restart.
    async with running(hub_config) as hub, connected(hub) as http:
        assert 200 == (await http.get(f"{ORG}/devices", tokens["access_token"])).status
        assert (400, "invalid_grant") == (
            (rejection := await redeem(http, client, code)).status,
            rejection.json["error"],
        )
        assert 401 == (await http.get(f"{ORG}/devices", tokens["access_token"])).status
        assert 400 == (await refresh_tokens(http, client, tokens)).status


async def test_code_redeemed_concurrently_leaves_no_valid_tokens(world, hub):
    async with connected(hub) as http:
        client = await register_client(world)
        code = await authorization_code(http, client)
    responses = []

    async def attempt():
        async with connected(hub) as other:
            responses.append(await redeem(other, client, code))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(attempt)
    assert 3 <= [response.status for response in responses].count(400)
    for response in responses:
        if response.status == 200:
            assert 401 == (await ask(hub, "GET", f"{ORG}/devices", key=response.json["access_token"])).status


async def test_confidential_client_needs_no_pkce(world, http):
    client = await register_client(world)
    without = {"code_challenge": None, "code_challenge_method": None}
    fields = {name: value for name, value in (authorization_request(client) | without).items() if value is not None}
    assert 200 == (await http.get(f"/oauth2/authorize?{urlencode(fields)}")).status

    async def code():
        form = urlencode(fields | {"email": "eva@example.org", "password": PASSWORD}).encode()
        redirect = await http.ask("POST", "/oauth2/authorize", form, Origin="http://hub")
        return parse_qs(urlsplit(redirect.headers["location"]).query)["code"][0]

    assert 200 == (await redeem(http, client, await code(), code_verifier=None)).status
    # RFC 9700, 2.1.1: a verifier without a challenge means that an attacker removed the challenge (downgrade).
    assert 400 == (await redeem(http, client, await code())).status


async def test_user_can_deny_a_client(world, http):
    client = await register_client(world)
    redirect = await http.ask(
        "POST", "/oauth2/authorize", urlencode(authorization_request(client) | {"deny": "1"}).encode()
    )
    location = urlsplit(redirect.headers["location"])
    assert (303, "app.example.org") == (redirect.status, location.netloc)
    response = {name: values[0] for name, values in parse_qs(location.query).items()}
    assert ("access_denied", "s t&te", "1") == (response["error"], response["state"], response["keep"])
    # An unregistered redirect address is rejected.
    evil = urlencode(authorization_request(client, redirect_uri="https://evil.example/") | {"deny": "1"}).encode()
    assert 400 == (await http.ask("POST", "/oauth2/authorize", evil)).status


async def test_consent_page_names_redirect_target_and_permissions(world, http):
    page = (await http.get(f"/oauth2/authorize?{urlencode(authorization_request(await register_client(world)))}")).text
    assert "you go on to <strong>app.example.org</strong>" in page
    assert "It gets the permissions of the role User, but never more than yours" in page
    assert "View own devices, Control own devices" in page
    assert ">Deny</button>" in page


#: The user's organization, and the organizations that a client of acme reaches for that user; None: no authorization.
REACHED_ORGANIZATIONS = [
    ("root", {"acme", "works"}),
    ("acme", {"acme", "works"}),
    ("works", {"works"}),
    ("beta", None),
]


@pytest.mark.parametrize(("org", "reached"), REACHED_ORGANIZATIONS)
async def test_client_reaches_only_its_own_organization_and_those_below(world, http, org, reached):
    for name, number in world.orgs.items():
        await world.device(number, name=name)
    await world.user("zoe", world.orgs[org], ADMIN, PASSWORD)
    client = await register_client(world, ADMIN)
    if reached is None:
        rejection = await authorize(http, client, email="zoe@example.org")
        assert 403 == rejection.status
        assert "can only act for users of acme, and you are not one of them" in rejection.text
        return
    key = await access_token_for(http, client, email="zoe@example.org")
    listed = (await http.get(f"{ORG}/devices?includeSubOrgDevices=true", key)).json["content"]
    assert reached == {device["name"] for device in listed}
    emails = {"acme": "ada", "works": None, "beta": "bert", "root": "rita"}
    for name, number in world.orgs.items():
        reachable = name in reached
        assert (200 if reachable else 404) == (await http.get(f"{ORG}/users?orgId={number}", key)).status, name
        assert (200 if reachable else 404) == (await http.get(f"{ORG}?orgId={number}", key)).status, name
        device = next(device for device in world.hub.devices.by_id.values() if device.name == name)
        assert (200 if reachable else 404) == (await http.get(f"{ORG}/device?deviceId={device.id}", key)).status, name
        if (user := emails[name]) is not None:
            body = {"userId": world.users[user].id, "password": "taken over 1"}
            response = await http.ask("POST", f"{ORG}/user/password", body, key)
            assert (204 if reachable and "acme" in reached else 404) == response.status, name
        assert (200 if reachable else 404) == (await http.get(f"/api/v1/audit?orgId={number}", key)).status, name
