"""OAuth clients: registration, authentication, and the token endpoint."""

from __future__ import annotations

import base64
from urllib.parse import urlencode

import pytest
from support.accounts import LOGIN, log_in
from support.oauth import (
    REDIRECT,
    VERIFIER,
    authorization_code,
    basic_auth,
    credentials,
    redeem,
    refresh_tokens,
    register_client,
    request_token,
)
from support.tenants import ORG

from plugins.users.model import ADMIN, STAFF, USER


async def test_client_credentials_grant_follows_rfc_6749(world, http):
    created = (await world.ask("ada", "POST", f"{ORG}/client", {"name": "ERP", "roleId": STAFF})).json
    assert created["clientId"].startswith("oa2-client-id_")
    credentials = base64.b64encode(f"{created['clientId']}:{created['clientSecret']}".encode()).decode()
    response = await http.ask(
        "POST", "/oauth2/token?grant_type=client_credentials", b"", Authorization=f"Basic {credentials}"
    )
    assert ("Bearer", 86_400) == (response.json["token_type"], response.json["expires_in"])
    query = f"grant_type=client_credentials&client_id={created['clientId']}&client_secret={created['clientSecret']}"
    assert 200 == (await http.ask("POST", f"/oauth2/token?{query}", b"")).status
    form = await http.ask("POST", "/oauth2/token", query.encode())
    assert 200 == form.status
    refresh = urlencode({"grant_type": "refresh_token", "refresh_token": form.json["refresh_token"]}).encode()
    assert 200 == (await http.ask("POST", "/oauth2/token", refresh, Authorization=f"Basic {credentials}")).status

    await world.device(world.orgs["acme"], name="Ours")
    await world.device(world.orgs["beta"], name="Theirs")
    listed = (await http.get(f"{ORG}/devices", response.json["access_token"])).json
    assert ["Ours"] == [device["name"] for device in listed["content"]]
    assert 401 == (await http.get("/api/v1/profile", response.json["access_token"])).status
    assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/client?clientId={created['clientId']}")).status
    assert 401 == (await http.get(f"{ORG}/devices", response.json["access_token"])).status


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
async def test_token_errors_follow_rfc_6749(world, http, form, error):
    response = await http.ask("POST", "/oauth2/token", form.encode("utf-8", "surrogateescape"))
    assert (400, error) == (response.status, response.json["error"])
    assert response.json["error_description"]


async def test_client_cannot_have_more_permissions_than_the_user_who_creates_it(world):
    await world.service.roles.switch(world.orgs["acme"], STAFF, [("clients.add", True)])
    body = {"name": "ERP", "roleId": ADMIN}
    assert 403 == (await world.ask("stan", "POST", f"{ORG}/client", body)).status
    below = {"name": "ERP", "roleId": STAFF, "orgId": world.orgs["beta"]}
    assert 404 == (await world.ask("stan", "POST", f"{ORG}/client", below)).status


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
async def test_unsafe_redirect_address_is_rejected(world, address):
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
        REDIRECT,
    ],
)
async def test_redirect_to_a_local_or_native_app_is_accepted(world, address):
    body = {"name": "App", "roleId": USER, "redirects": [address]}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/client", body)).status


@pytest.mark.parametrize("grant", ["authorization_code", "refresh_token", "client_credentials"])
@pytest.mark.parametrize(
    ("method", "status"),
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
async def test_client_authenticates_at_every_grant(world, http, grant, method, status):
    client, other = await register_client(world), await register_client(world)
    wrong = client | {"clientSecret": other["clientSecret"]}
    form, headers = {
        "basic": ({}, basic_auth(client)),
        "basic and its id": ({"client_id": client["clientId"]}, basic_auth(client)),
        "body": (credentials(client), {}),
        "basic and another id": ({"client_id": other["clientId"]}, basic_auth(client)),
        "basic and body": (credentials(client), basic_auth(client)),
        "id alone": ({"client_id": client["clientId"]}, {}),
        "nothing": ({}, {}),
        "wrong in the body": (credentials(client | {"clientSecret": "x"}), {}),
        "wrong as basic": ({}, basic_auth(wrong)),
        "another client's secret": (credentials(wrong), {}),
    }[method]
    code = await authorization_code(http, client)
    if grant == "refresh_token":
        tokens = (await redeem(http, client, code)).json
        form |= {"refresh_token": tokens["refresh_token"]}
    elif grant == "authorization_code":
        form |= {"code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    response = await request_token(http, {"grant_type": grant} | form, **headers)
    error = "invalid_request" if method.startswith("basic and") else "invalid_client"
    assert (status, None if status == 200 else error) == (response.status, response.json.get("error"))
    assert ("Basic" in response.headers.get("www-authenticate", "")) == (status == 401)
    if status != 200 and grant != "client_credentials":
        # A request that fails to authenticate consumes neither the code nor the refresh token.
        right = await request_token(http, {"grant_type": grant} | form | credentials(client))
        assert 200 == right.status


@pytest.mark.parametrize("grant", ["authorization_code", "refresh_token"])
async def test_tokens_and_codes_are_bound_to_their_client(world, http, grant):
    client, other = await register_client(world), await register_client(world)
    code = await authorization_code(http, client)
    if grant == "authorization_code":
        assert (400, "invalid_grant") == (
            (rejection := await redeem(http, other, code)).status,
            rejection.json["error"],
        )
        assert 200 == (await redeem(http, client, code)).status
        return
    tokens = (await redeem(http, client, code)).json
    assert (400, "invalid_grant") == (
        (rejection := await refresh_tokens(http, other, tokens)).status,
        rejection.json["error"],
    )
    assert 401 == (await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": tokens["refresh_token"]})).status
    assert 200 == (await refresh_tokens(http, client, tokens)).status
    tokens_of_eva = (await log_in(http)).json
    assert 400 == (await refresh_tokens(http, client, tokens_of_eva)).status
    assert 200 == (await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": tokens_of_eva["refresh_token"]})).status
