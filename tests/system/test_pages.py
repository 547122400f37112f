"""The pages behind links, on a telephone without scripts: somebody is invited, mistypes, and gets in."""

from __future__ import annotations

import os

import pytest
from browser import HEIGHT, PROGRAM, WIDTH, telephone
from raw_http import ask
from tenants import ORG, PASSWORD, tenants

from hub.testing import address_of
from plugins.users.room import Room

pytestmark = pytest.mark.skipif(PROGRAM is None and not os.environ.get("CI"), reason="needs chromium")


async def fits(page):
    """Whether nothing is cut off at the side, and everything that is touched is large enough for a finger."""
    wide = await page.js("document.documentElement.scrollWidth")
    low = await page.js(
        "Math.min(...[...document.querySelectorAll('input:not([type=hidden]),button')].map(e => e.offsetHeight))"
    )
    return wide <= WIDTH and low >= 40


async def test_somebody_who_is_invited_sets_a_password_on_a_telephone(hub, tmp_path):
    world = await tenants(hub)
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})
    host, port = address_of(hub)
    url = invited.json["link"].replace("http://hub", f"http://{host}:{port}")
    async with telephone() as page:
        await page.open(url)
        assert "new@example.org" in await page.text()
        assert await fits(page)
        assert await page.js("document.querySelector('button').getBoundingClientRect().bottom") <= HEIGHT
        await page.screenshot(tmp_path / "invited.png")
        await page.fill_in(password=PASSWORD, again="something else")
        await page.tap("button")
        assert "The two passwords differ." in await page.text()
        assert await fits(page)
        await page.screenshot(tmp_path / "wrong.png")
        await page.fill_in(password=PASSWORD, again=PASSWORD)
        await page.tap("button")
        assert "The password of new@example.org is set." in await page.text()
        await page.open(url)
        assert "This link has been used, or is too old." in await page.text()
        await page.screenshot(tmp_path / "used.png")
    body = {"email": "new@example.org", "password": PASSWORD}
    assert 200 == (await ask(hub, "POST", "/api/v1/login", body)).status


async def test_the_first_administrator_comes_in_on_a_telephone(hub, tmp_path):
    code = await hub.room(Room).people.link("first", None, 60_000)
    host, port = address_of(hub)
    async with telephone() as page:
        await page.open(f"http://{host}:{port}/account?code={code}")
        assert "The first administrator" in await page.text()
        assert await fits(page)
        await page.screenshot(tmp_path / "first.png")
        await page.fill_in(email="ann@example.org", name="Ann", password=PASSWORD, again=PASSWORD)
        await page.tap("button")
        assert "The password of ann@example.org is set." in await page.text()
    body = {"email": "ann@example.org", "password": PASSWORD}
    assert 200 == (await ask(hub, "POST", "/api/v1/login", body)).status
