"""HTML pages: start page, account links, invitations and the first administrator."""

from __future__ import annotations

import re

import pytest
from support.accounts import code_in, log_in, submit_form
from support.raw_http import connected
from support.tenants import ORG, PASSWORD, tenants
from support.times import DAY, until

from hub.config import parse
from hub.model import ROOT_ORG
from hub.run import running
from hub.testing import add_device, address_of
from plugins.users.model import ADMIN, STAFF
from plugins.users.service import UsersService


async def test_invited_user_sets_a_password_once(world, http):
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org", "name": "New"})
    assert ("Pending", "User") == (invited.json["status"], invited.json["role"])
    # The Host header of the request is not a name of the hub, so the link has its address.
    host, port = address_of(world.hub)
    assert invited.json["link"].startswith(f"http://{host}:{port}/account?code=")
    code = code_in(invited.json["link"])
    page = await http.get(f"/account?code={code}")
    assert 200 == page.status
    assert "new@example.org" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "no-store" == page.headers["cache-control"]
    for fields, error in (
        ({"password": "short", "again": "short"}, "8 to 200 characters"),
        ({"password": "long enough", "again": "different"}, "differ"),
    ):
        response = await submit_form(http, code, **fields)
        assert 400 == response.status
        assert error in response.text
    done = await submit_form(http, code, password=PASSWORD, again=PASSWORD)
    assert 200 == done.status, done.text
    assert 400 == (await http.get(f"/account?code={code}")).status
    assert 400 == (await submit_form(http, code, password=PASSWORD, again=PASSWORD)).status
    assert 200 == (await log_in(http, "new@example.org")).status


async def test_invitation_page_names_organization_and_role_and_the_last_page_links_to_the_start_page(world, http):
    body = {"email": "new@example.org", "roleId": STAFF, "orgId": world.orgs["works"]}
    code = code_in((await world.ask("ada", "POST", f"{ORG}/users/invite", body)).json["link"])
    page = (await http.get(f"/account?code={code}")).text
    assert "You are invited to <strong>works</strong> as <strong>Staff</strong>." in page
    assert "Repeat the password" in page
    short = (await submit_form(http, code, password="short", again="short")).text
    assert "The password must have 8 to 200 characters." in short
    done = (await submit_form(http, code, password=PASSWORD, again=PASSWORD)).text
    assert "The password of new@example.org is set." in done
    assert '<a href="/">' in done


async def test_start_page_names_the_hub_and_its_links_work(tmp_path):
    toml = '[hub]\nname = "Glass & <house>"\n[[listen]]\naddress = "127.0.0.1:0"\n'
    config = parse(toml).with_data(str(tmp_path / "data"))
    async with running(config) as hub, connected(hub) as http:
        page = await http.get("/")
        assert (200, "text/html; charset=utf-8") == (page.status, page.headers["content-type"])
        assert "<title>Glass &amp; &lt;house&gt;</title>" in page.text
        assert "This hub is running." in page.text
        links = re.findall(r'href="(/[^"]*)"', page.text)
        assert "/api/docs" in links
        # The browser keeps the style sheet, and the policy of the page allows it.
        [sheet] = re.findall(r'<link rel="stylesheet" href="([^"]+)">', page.text)
        style = await http.get(sheet)
        assert (200, "text/css; charset=utf-8") == (style.status, style.headers["content-type"])
        assert style.headers["cache-control"].endswith("immutable")
        assert "style-src 'self'" in page.headers["content-security-policy"]
        # Without TLS the hub has no certificate authority.
        assert [200] * len(links) == [(await http.get(link)).status for link in links]
        assert "/ca.pem" not in links
        icon = await http.get("/favicon.ico")
        assert (200, "image/svg+xml") == (icon.status, icon.headers["content-type"])
        # Other paths keep their JSON errors.
        assert "There is nothing at /nowhere." == (await http.get("/nowhere")).message


async def test_start_page_reports_critical_alarms(hub, http):
    hub.alarms.set("test", "something is wrong", critical=True)
    assert "This hub is running, but needs attention." in (await http.get("/")).text


async def test_account_link_expires_and_is_replaced_by_the_next_link(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        world = await tenants(hub)
        body = {"userId": world.users["uma"].id}
        old = code_in((await world.ask("ada", "POST", f"{ORG}/user/reset", body)).json["link"])
        new = code_in((await world.ask("ada", "POST", f"{ORG}/user/reset", body)).json["link"])
        async with connected(hub) as http:
            assert 400 == (await http.get(f"/account?code={old}")).status
            assert 200 == (await http.get(f"/account?code={new}")).status
            time.pass_(31 * DAY)
            assert 400 == (await http.get(f"/account?code={new}")).status


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}], ids=str)
async def test_form_from_another_site_is_rejected(world, http, headers):
    response = await http.ask("POST", "/account", b"code=x&password=y&again=y", **headers)
    assert 403 == response.status
    assert "another site" in response.text


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"code=%ff", b"code=" + b"x" * 10_000, b"&&&==="], ids=repr)
async def test_invalid_form_is_rejected(world, http, body):
    assert 400 == (await http.ask("POST", "/account", body)).status


async def test_guessing_link_codes_is_throttled(world, http):
    for _ in range(5):
        assert 400 == (await http.get("/account?code=guess")).status
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})
    response = await http.get(f"/account?code={code_in(invited.json['link'])}")
    assert "too many failed attempts" in response.text


async def test_account_page_escapes_html(world, http):
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "a&b'c@example.org"})
    page = await http.get(f"/account?code={code_in(invited.json['link'])}")
    assert "a&amp;b&#x27;c@example.org" in page.text


async def test_first_admin_is_created_through_a_link(hub, http):
    service = hub.service(UsersService)
    code = await service.links.create("first", None, 60_000)
    other = await service.links.create("first", None, 60_000)
    assert 400 == (await http.get(f"/account?code={code}")).status
    assert 400 == (await submit_form(http, other, email="nonsense", password=PASSWORD, again=PASSWORD)).status
    done = await submit_form(http, other, email="First@Example.org", name="Ann", password=PASSWORD, again=PASSWORD)
    assert 200 == done.status, done.text
    [user] = service.users.by_id.values()
    assert (ROOT_ORG, ADMIN, True) == (user.org, user.role, user.developer)
    assert 200 == (await log_in(http, "first@example.org")).status
    late = await service.links.create("first", None, 60_000)
    assert 400 == (await http.get(f"/account?code={late}")).status


async def test_first_admin_is_created_from_the_environment(hub_config, monkeypatch):
    template = '[template]\nname = "T"\n[[datastream]]\npin = "V0"\nname = "T"'
    async with running(hub_config) as hub:
        # The hub ran without users before.
        device, _ = await add_device(hub, template)
    monkeypatch.setenv("PINWHEEL_ADMIN_EMAIL", "Ops@Example.org")
    monkeypatch.setenv("PINWHEEL_ADMIN_PASSWORD", PASSWORD)
    async with running(hub_config) as hub, connected(hub) as http:
        await until(lambda: hub.service(UsersService).users.by_id)
        key = (await log_in(http, "ops@example.org")).json["access_token"]
        listed = (await http.get(f"{ORG}/devices", key)).json
        assert [device.id] == [entry["id"] for entry in listed["content"]]
    async with running(hub_config) as hub:
        await hub.service(UsersService).welcome()
        assert 1 == len(hub.service(UsersService).users.by_id)
