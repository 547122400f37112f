"""Login of a page of the hub, whose refresh token is a cookie."""

from __future__ import annotations

import pytest
from support.accounts import LOGIN, log_in
from support.certificates import unverified_context
from support.raw_http import connected
from support.rejections import rejection_reasons
from support.tenants import PASSWORD
from support.totp import one_time_password

from hub.testing import LOOPBACK

REFRESH = f"{LOGIN}/refresh"
#: The page's origin, by the name that the requests of `connected` have.
OWN = {"Origin": "http://hub"}


@pytest.fixture
def hub_toml():
    return LOOPBACK + '[hub]\nurl = "http://hub"\n'


async def log_in_page(http, origin=OWN, **fields):
    """Return the response to Eva's login from a page."""
    body = {"email": "eva@example.org", "password": PASSWORD, "cookie": True, **fields}
    return await http.ask("POST", LOGIN, body, **origin)


def cookie_of(response):
    """Return a response's cookie as a request sends it, and its attributes."""
    pair, *attributes = response.headers["set-cookie"].split("; ")
    return pair, set(attributes)


async def test_page_gets_its_refresh_token_as_a_cookie_only(world, http):
    response = await log_in_page(http)
    assert 200 == response.status
    assert response.json["refresh_token"] is None
    pair, attributes = cookie_of(response)
    name, _, token = pair.partition("=")
    assert "pinwheel_refresh" == name
    assert {"HttpOnly", "SameSite=Strict", "Path=/api/v1/login", f"Max-Age={30 * 86_400}"} == attributes
    assert token not in response.text
    assert 200 == (await http.get("/api/v1/profile", response.json["access_token"])).status


async def test_page_refreshes_without_a_body(world, http):
    pair, _ = cookie_of(await log_in_page(http))
    refreshed = await http.ask("POST", REFRESH, b"", Cookie=f"theme=dark; {pair}", **OWN)
    assert (200, None) == (refreshed.status, refreshed.json["refresh_token"])
    assert 200 == (await http.get("/api/v1/profile", refreshed.json["access_token"])).status
    new_pair, attributes = cookie_of(refreshed)
    assert pair != new_pair
    assert {"HttpOnly", "SameSite=Strict"} < attributes
    # Another tab refreshes at the same time, with the cookie from before.
    tab = await http.ask("POST", REFRESH, b"", Cookie=pair, **OWN)
    assert (refreshed.json["access_token"], new_pair) == (tab.json["access_token"], cookie_of(tab)[0])


async def test_program_gets_no_cookie(world, http):
    response = await log_in(http)
    assert "set-cookie" not in response.headers
    refreshed = await http.ask("POST", REFRESH, {"refresh_token": response.json["refresh_token"]})
    assert "set-cookie" not in refreshed.headers
    assert refreshed.json["refresh_token"]


async def test_page_logs_in_with_a_second_factor(world, http):
    key = (await log_in(http)).json["access_token"]
    secret = (await http.ask("POST", "/api/v1/otp", {"password": PASSWORD}, key)).json["secret"]
    assert 200 == (await http.ask("POST", "/api/v1/otp/confirm", {"otp": one_time_password(secret)}, key)).status
    first = await log_in_page(http)
    assert (401, "A one-time password is needed.") == (first.status, first.message)
    assert "set-cookie" not in first.headers
    assert cookie_of(await log_in_page(http, otp=one_time_password(secret)))[0].startswith("pinwheel_refresh=")


async def test_logout_ends_the_session_and_its_cookie(world, http):
    login = await log_in_page(http)
    pair, _ = cookie_of(login)
    logout = await http.ask("POST", "/api/v1/logout", b"", login.json["access_token"])
    assert 204 == logout.status
    expired, attributes = cookie_of(logout)
    assert "pinwheel_refresh=" == expired
    assert {"Max-Age=0", "Path=/api/v1/login", "HttpOnly", "SameSite=Strict"} == attributes
    assert 401 == (await http.ask("POST", REFRESH, b"", Cookie=pair, **OWN)).status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://hub", "http://hub.evil.example", None])
async def test_request_from_elsewhere_cannot_use_the_cookie(world, http, origin):
    headers = {} if origin is None else {"Origin": origin}
    pair, _ = cookie_of(await log_in_page(http))
    refused = await http.ask("POST", REFRESH, b"", Cookie=pair, **headers)
    assert 403 == refused.status
    assert "set [hub] url in hub.toml" in refused.message
    sender = "a program, without an Origin header," if origin is None else f"a page of {origin}"
    assert [f"HTTP 403: {sender} asked for {REFRESH} with a cookie"] == rejection_reasons(world.hub)
    # The token was not spent.
    assert 200 == (await http.ask("POST", REFRESH, b"", Cookie=pair, **OWN)).status


@pytest.mark.parametrize("origin", [{"Origin": "http://evil.example"}, {}])
async def test_page_of_another_site_cannot_log_its_visitor_in(world, http, origin):
    refused = await log_in_page(http, origin)
    assert 403 == refused.status
    assert "set-cookie" not in refused.headers


async def test_cookie_is_no_credential_of_other_routes(world, http):
    pair, _ = cookie_of(await log_in_page(http))
    token = pair.partition("=")[2]
    for method, path in (("GET", "/api/v1/profile"), ("POST", "/api/v1/logout"), ("GET", "/api/v1/status")):
        body = b"" if method == "POST" else None
        assert 401 == (await http.ask(method, path, body, Cookie=pair, **OWN)).status
    assert 401 == (await http.get("/api/v1/profile", token)).status
    # A login needs the password even so.
    assert 401 == (await http.ask("POST", LOGIN, {"email": "eva@example.org"}, Cookie=pair, **OWN)).status


async def test_cookie_and_body_together_are_rejected(world, http):
    pair, _ = cookie_of(await log_in_page(http))
    body = {"refresh_token": (await log_in(http)).json["refresh_token"]}
    both = await http.ask("POST", REFRESH, body, Cookie=pair, **OWN)
    assert (400, True) == (both.status, both.message.startswith("The request has two refresh tokens"))
    # Neither was spent.
    assert 200 == (await http.ask("POST", REFRESH, b"", Cookie=pair, **OWN)).status
    assert 200 == (await http.ask("POST", REFRESH, body)).status


async def test_two_cookies_are_rejected(world, http):
    pair, _ = cookie_of(await log_in_page(http))
    response = await http.ask("POST", REFRESH, b"", Cookie=f"{pair}; pinwheel_refresh=planted", **OWN)
    assert (400, True) == (response.status, "2 cookies pinwheel_refresh" in response.message)


@pytest.mark.parametrize("cookie", ["pinwheel_refresh=", "pinwheel_refresh=x", "pinwheel_refresh", "=;;=", "x" * 9_000])
async def test_cookie_without_a_known_token_is_rejected(world, http, cookie):
    assert 401 == (await http.ask("POST", REFRESH, b"", Cookie=cookie, **OWN)).status


async def test_refresh_without_any_token_is_rejected(world, http):
    for body in (b"", {}, {"refresh_token": None}):
        response = await http.ask("POST", REFRESH, body)
        assert (401, "There is no refresh token: log in, or send refresh_token.") == (response.status, response.message)


class TestHttps:
    """A hub that browsers reach by HTTPS."""

    @pytest.fixture
    def hub_toml(self):
        return LOOPBACK + '[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n[hub]\nurl = "https://hub"\n'

    @pytest.mark.parametrize("tls", [False, True], ids=["behind a proxy", "own certificate"])
    async def test_cookie_is_secure(self, hub, world, tls):
        context = unverified_context() if tls else None
        async with connected(hub, int(tls), context) as http:
            origin = {"Origin": "https://hub"}
            pair, attributes = cookie_of(await log_in_page(http, origin))
            assert pair.startswith("__Secure-pinwheel_refresh=")
            assert "Secure" in attributes
            assert 200 == (await http.ask("POST", REFRESH, b"", Cookie=pair, **origin)).status
            # A page without encryption can set a cookie without the prefix.
            planted = pair.removeprefix("__Secure-")
            assert 401 == (await http.ask("POST", REFRESH, b"", Cookie=planted, **origin)).status
