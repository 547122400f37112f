"""The account and consent pages in a phone browser without scripts."""

from __future__ import annotations

import os
from urllib.parse import parse_qs, urlencode

import pytest
from browser import HEIGHT, PROGRAM, WIDTH, phone
from support.raw_http import ask
from support.tenants import ORG, PASSWORD, tenants

from hub.testing import address_of
from plugins.users.model import ADMIN, USER
from plugins.users.service import UsersService

pytestmark = pytest.mark.skipif(PROGRAM is None and not os.environ.get("CI"), reason="needs chromium")


async def is_usable(page):
    """Whether the page fits the width, and every input and button is high enough for a finger."""
    width = await page.js("document.documentElement.scrollWidth")
    height = await page.js(
        "Math.min(99, ...[...document.querySelectorAll('input:not([type=hidden]),button')].map(e => e.offsetHeight))"
    )
    return width <= WIDTH and height >= 40


async def test_invited_user_sets_a_password_after_a_typing_error(hub, tmp_path):
    world = await tenants(hub)
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})
    host, port = address_of(hub)
    url = invited.json["link"].replace("http://hub", f"http://{host}:{port}")
    async with phone() as page:
        await page.open(url)
        assert "You are invited to acme as User. You will log in as new@example.org." in await page.text()
        assert await is_usable(page)
        assert await page.js("document.querySelector('button').getBoundingClientRect().bottom") <= HEIGHT
        await page.screenshot(tmp_path / "invited.png")
        await page.fill_in(password=PASSWORD, again="something else")
        await page.tap("button")
        assert "The two passwords differ." in await page.text()
        assert await is_usable(page)
        await page.screenshot(tmp_path / "wrong.png")
        await page.fill_in(password=PASSWORD, again=PASSWORD)
        await page.tap("button")
        assert "The password of new@example.org is set." in await page.text()
        await page.tap("a")
        assert "This hub is running." in await page.text()
        assert await is_usable(page)
        await page.screenshot(tmp_path / "home.png")
        await page.open(url)
        assert "This link has been used, or is too old." in await page.text()
        await page.screenshot(tmp_path / "used.png")
    body = {"email": "new@example.org", "password": PASSWORD}
    assert 200 == (await ask(hub, "POST", "/api/v1/login", body)).status


async def test_first_administrator_sets_a_password(hub, tmp_path):
    code = await hub.service(UsersService).links.create("first", None, 60_000)
    host, port = address_of(hub)
    async with phone() as page:
        await page.open(f"http://{host}:{port}/account?code={code}")
        assert "The first administrator" in await page.text()
        assert await is_usable(page)
        await page.screenshot(tmp_path / "first.png")
        await page.fill_in(email="ann@example.org", name="Ann", password=PASSWORD, again=PASSWORD)
        await page.tap("button")
        assert "The password of ann@example.org is set." in await page.text()
    body = {"email": "ann@example.org", "password": PASSWORD}
    assert 200 == (await ask(hub, "POST", "/api/v1/login", body)).status


@pytest.mark.parametrize("decision", ["Log in and allow", "Deny"])
async def test_user_allows_or_denies_an_oauth_client(hub, tmp_path, decision):
    world = await tenants(hub)
    await world.user("eva", world.orgs["acme"], USER, PASSWORD)
    host, port = address_of(hub)
    # The redirect leads to the hub itself instead of the client's page; it answers 404.
    back = f"http://{host}:{port}/back"
    body = {"name": "Voice assistant", "roleId": ADMIN, "redirects": [back]}
    client = (await world.ask("ada", "POST", f"{ORG}/client", body)).json
    query = {"client_id": client["clientId"], "redirect_uri": back, "response_type": "code", "state": "7"}
    async with phone() as page:
        await page.open(f"http://{host}:{port}/oauth2/authorize?{urlencode(query)}")
        text = await page.text()
        assert "Voice assistant of acme wants to act for you on this hub." in text
        assert f"you go on to {host}:{port}." in text
        assert "It gets the permissions of the role Admin, but never more than yours:" in text
        assert await is_usable(page)
        await page.screenshot(tmp_path / "consent.png")
        if decision == "Deny":
            await page.tap("button.second")
        else:
            await page.fill_in(email="eva@example.org", password=PASSWORD)
            await page.tap("button")
        result = parse_qs((await page.js("location.search")).removeprefix("?"))
    assert ["7"] == result["state"]
    assert (decision == "Deny") == (result.get("error") == ["access_denied"])
    assert (decision == "Deny") == ("code" not in result)
