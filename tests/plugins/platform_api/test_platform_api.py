"""The Platform API: permissions of routes, the API page, and invalid bodies."""

from __future__ import annotations

import json
import re

import pytest
from support.api import error_of, routes
from support.raw_http import ask, connected, local_key
from support.tenants import ORG

from hub.api import AUTHENTICATED, OPEN, PUBLIC, SocketRoute
from hub.hookspecs import hookimpl
from hub.model import Principal


async def test_every_route_has_an_existing_permission(hub):
    permissions = {permission.id for permission in hub.permissions}

    assert [] == [route.path for route in hub.routes if route.permission not in {*OPEN, AUTHENTICATED, *permissions}]
    assert {"/api/v1/stream"} == {route.path for route in routes(hub, SocketRoute)}
    public = {route.path for route in routes(hub) if route.permission == PUBLIC}
    assert {
        "/health",
        "/ca.pem",
        "/reports/{key}/{name}",
        "/",
        "/favicon.ico",
        "/account",
        "/account/files/{file:path}",
        "/api/v1/login",
        "/asset/{id}",
        "/device_uploads/{device}/{name}",
        "/api/v1/login/refresh",
        "/oauth2/token",
        "/oauth2/authorize",
        "/api/v1/openapi.json",
        "/api/docs",
    } == {path for path in public if not path.startswith("/external/api/")}


async def test_api_page_has_the_groups_of_the_openapi_document_and_formats_code(hub):
    document = json.loads((await ask(hub, "GET", "/api/v1/openapi.json")).body)
    groups = {operation["tags"][0] for path in document["paths"].values() for operation in path.values()}
    assert [] == [group for group in groups if group.removesuffix("s") in groups - {group}]
    page = (await ask(hub, "GET", "/api/docs")).text
    assert groups == set(re.findall(r'<h2 id="(.*?)">', page))
    assert "<code>POST /api/v1/login</code>" in page
    assert "`" not in page


@pytest.mark.parametrize("key", [None, "", "wrong", "x" * 43, "é"], ids=ascii)
async def test_routes_that_are_not_public_need_a_valid_key(hub, key):
    async with connected(hub) as http:
        for route in routes(hub):
            if route.permission not in OPEN:
                response = await http.ask(route.method, route.path, b"" if route.method != "GET" else None, key)
                assert (401, "Bearer") == (response.status, response.headers["www-authenticate"]), route.path
                assert response.message


@pytest.mark.parametrize("authorization", ["Basic dTpw", "Bearer", "Bearer ", "{key}", "Token {key}", "Bearer {key}x"])
async def test_malformed_authorization_is_rejected(hub, authorization):
    header = authorization.format(key=local_key(hub))

    assert 401 == (await ask(hub, "GET", "/api/v1/status", Authorization=header)).status


async def test_bearer_scheme_is_case_insensitive(hub):
    assert 200 == (await ask(hub, "GET", "/api/v1/status", Authorization=f"bearer {local_key(hub)}")).status


class Guests:
    """A plugin that authenticates a principal and lets it view devices only."""

    __name__ = "guests"
    PINWHEEL_HOOKS = 1

    @hookimpl
    async def hub_authenticate(self, credentials):
        return Principal("guest", 7, label="guest") if credentials.secret == "guest" else None

    @hookimpl
    def hub_authorize(self, principal, permission):
        return permission == "org_devices.view"


@pytest.mark.parametrize("hub_plugins", [(Guests(),)], ids=["guests"])
async def test_principal_without_the_permission_of_a_route_is_forbidden(hub, lamp):
    async with connected(hub) as http:
        for route in routes(hub):
            if route.permission not in (*OPEN, AUTHENTICATED, "org_devices.view"):
                response = await http.ask(route.method, route.path, b"" if route.method != "GET" else None, "guest")
                assert 403 == response.status, route.path
                assert route.permission in response.message
        assert 200 == (await http.ask("GET", f"{ORG}/device?deviceId={lamp[0].id}", key="guest")).status
        assert 401 == (await http.ask("GET", f"{ORG}/devices", key="stranger")).status


async def test_unknown_key_of_a_body_is_rejected_with_the_known_ones(api):
    error = error_of(await api.post(f"{ORG}/device/transfer", {"deviceId": 1, "userId": 2}))

    assert "unknown key userId; there are deviceId, newUserId, newOrgId" == error


async def test_all_errors_of_a_body_are_reported_together(api):
    body = {"templateId": 5, "orgId": "1", "colour": "red", "size": 1}

    error = error_of(await api.post(f"{ORG}/device/create", body))

    assert "templateId: must be text" in error
    assert "orgId: must be a whole number" in error
    assert re.search(r"name.*missing", error)
    assert "unknown key colour, size; there are templateId, name, orgId, ownerId, token" in error


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"nonsense", b"[" * 60_000, b"1" * 5000], ids=lambda b: ascii(b[:5])
)
async def test_body_that_is_not_json_is_rejected(api, body):
    assert "The body is not JSON." == error_of(await api.post(f"{ORG}/device/create", body))


@pytest.mark.parametrize("body", [[], "text", 5, None, True])
async def test_body_that_is_not_an_object_is_rejected(api, body):
    assert error_of(await api.post(f"{ORG}/device/create", body))


HOSTILE = [
    ("device/create", {"templateId": "TMPL0lamp", "name": "\ud800"}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "a\0b"}),
    ("device/create", {"templateId": "TMPL0lamp", "name": ""}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "x" * 61}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "Lamp", "token": ""}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "Lamp", "token": "é" * 32}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "Lamp", "token": " " * 32}),
    ("device/create", {"templateId": "TMPL0lamp", "name": "Lamp", "\ud800": 1}),
    ("device/create", {"templateId": "TMPL0lamp", "name": True}),
    ("device/datastream", {"deviceId": 1, "pin": "\ud800", "value": 1}),
    ("device/datastream", {"deviceId": 1, "value": 1}),
    ("device/datastream", {"deviceId": 1, "pin": "v77", "value": 1}),
    ("device/datastream", {"deviceId": 1, "pin": "v0"}),
    ("device/datastream", {"deviceId": True, "pin": "v0", "value": 1}),
    ("device/datastream", {"deviceId": 1.5, "pin": "v0", "value": 1}),
    ("device/datastreams", {"deviceId": 1, "values": {}}),
    ("device/datastreams", {"deviceId": 1, "values": [1]}),
    ("device/datastreams", {"deviceId": 1, "values": {"v0": 1}}),
    ("device/datastreams", {"deviceId": 1, "values": {"-1": 1}}),
    ("device/datastreams", {"deviceId": 1, "values": {"²": 1}}),
]


@pytest.mark.parametrize(("path", "body"), HOSTILE)
async def test_invalid_body_is_rejected_without_side_effects(hub, lamp, api, path, body):
    assert error_of(await api.post(f"{ORG}/{path}", body))
    assert [lamp[0]] == list(hub.devices.by_id.values())
    assert 0 == hub.writes.count


async def test_huge_datastream_id_is_rejected(lamp, api):
    for number in "9" * 30, "9" * 5000:
        response = await api.post(f"{ORG}/device/datastreams", {"deviceId": lamp[0].id, "values": {number: 1}})
        assert response.status in (400, 404)
