"""Mails about accounts: links that only their readers get, and notices."""

from __future__ import annotations

import asyncio
import json

import pytest
import trio
from support.accounts import code_in, log_in, submit_form
from support.configuration import fetch_rows, rows_become
from support.mail_server import html_of, mail_toml, plain_of
from support.raw_http import connected
from support.tenants import ORG, PASSWORD
from support.times import until

from hub.testing import LOOPBACK
from plugins.users.model import USER


def link_in(mail):
    """The link of a mail, which is a line of the text."""
    [link] = [line for line in plain_of(mail).splitlines() if line.startswith("http")]
    return link


async def mail_to(server, address, number=1):
    """The newest mail to an address, when so many have arrived."""
    await until(lambda: len(server.to(address)) >= number)
    assert len(server.to(address)) == number
    return server.to(address)[-1]


async def test_invitation_is_mailed_and_nobody_else_gets_its_link(world, mail_server):
    body = {"email": "new@example.org", "name": "Nelly New"}
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", body)
    assert 201 == invited.status
    assert (None, "new@example.org") == (invited.json["link"], invited.json["mailedTo"])

    mail = await mail_to(mail_server, "new@example.org")
    assert "You are invited to Pinwheel" == mail["Subject"]
    assert "Nelly New <new@example.org>" == mail["To"]
    assert "Pinwheel <hub@example.org>" == mail["From"]
    assert "auto-generated" == mail["Auto-Submitted"]
    assert "invited to acme on the hub Pinwheel, with the role User" in plain_of(mail)
    assert f'<a href="{link_in(mail)}">' in html_of(mail)
    async with connected(world.hub) as http:
        done = await submit_form(http, code_in(link_in(mail)), password=PASSWORD, again=PASSWORD)
        assert 200 == done.status
        assert 200 == (await log_in(http, "new@example.org")).status


async def test_invitation_is_in_the_language_of_the_reader(world, mail_server):
    for number, (locale, subject) in enumerate(
        [("de", "Einladung zu Pinwheel"), ("de_AT", "Einladung zu Pinwheel"), ("fr-CA", "You are invited to Pinwheel")]
    ):
        address = f"new{number}@example.org"
        await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": address, "locale": locale})
        assert subject == (await mail_to(mail_server, address))["Subject"]


async def test_link_of_a_mail_is_deleted_when_the_mail_was_sent(world, mail_server):
    await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})
    mail = await mail_to(mail_server, "new@example.org")
    await rows_become(world.hub, "SELECT state, data FROM notify_mails", [("sent", None)])
    logged = await world.ask("rita", "GET", "/api/v1/mails")
    assert code_in(link_in(mail)) not in json.dumps(logged.json)
    assert [("invitation", "new@example.org", "sent", 1, "")] == [
        (m["kind"], m["address"], m["state"], m["attempts"], m["error"]) for m in logged.json["content"]
    ]


async def test_link_for_a_new_password_is_mailed_and_its_use_is_confirmed(world, mail_server):
    user = world.users["eva"]
    reset = await world.ask("ada", "POST", f"{ORG}/user/reset", {"userId": user.id})
    assert {"link": None, "mailedTo": "eva@example.org"} == reset.json
    mail = await mail_to(mail_server, "eva@example.org")
    assert "A new password for Pinwheel" == mail["Subject"]
    async with connected(world.hub) as http:
        new = "another long password"
        assert 200 == (await submit_form(http, code_in(link_in(mail)), password=new, again=new)).status
    changed = await mail_to(mail_server, "eva@example.org", 2)
    assert "Your password for Pinwheel was changed" == changed["Subject"]
    assert "another long password" not in changed.as_string()


async def test_user_without_a_password_gets_an_invitation_again(world, mail_server):
    user = await world.user("new", world.orgs["acme"], USER)
    reset = await world.ask("ada", "POST", f"{ORG}/user/reset", {"userId": user.id})
    assert "new@example.org" == reset.json["mailedTo"]
    assert "You are invited to Pinwheel" == (await mail_to(mail_server, "new@example.org"))["Subject"]


async def test_password_that_another_user_sets_or_the_user_changes_is_confirmed(world, mail_server):
    user = world.users["eva"]
    body = {"userId": user.id, "password": "set by the admin"}
    assert 204 == (await world.ask("ada", "POST", f"{ORG}/user/password", body)).status
    mail = await mail_to(mail_server, "eva@example.org")
    assert "set by the admin" not in mail.as_string()
    async with connected(world.hub) as http:
        token = (await log_in(http, password="set by the admin")).json["access_token"]
        change = {"old": "set by the admin", "new": "a third password"}
        assert 204 == (await http.ask("POST", "/api/v1/password", change, token)).status
    await mail_to(mail_server, "eva@example.org", 2)


async def test_registered_user_gets_a_link(world, mail_server):
    assert 204 == (await world.ask("ada", "POST", f"{ORG}/users/register", {"email": "reg@example.org"})).status
    mail = await mail_to(mail_server, "reg@example.org")
    assert "Your account on Pinwheel" == mail["Subject"]
    async with connected(world.hub) as http:
        done = await submit_form(http, code_in(link_in(mail)), password=PASSWORD, again=PASSWORD)
        assert 200 == done.status


async def test_transferred_user_is_told(world, mail_server):
    body = {"userId": world.users["uma"].id, "targetOrgId": world.orgs["works"], "roleId": USER}
    assert 201 == (await world.ask("ada", "POST", f"{ORG}/users/transfer", body)).status
    mail = await mail_to(mail_server, "uma@example.org")
    assert "You are in works now" == mail["Subject"]
    assert "where you have the role User" in plain_of(mail)


async def test_mails_to_a_deleted_user_are_not_sent(world, mail_server):
    mail_server.replies["new@example.org"] = "450 try again"
    invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})
    await rows_become(world.hub, "SELECT state, attempts FROM notify_mails", [("waiting", 1)])
    exported = await world.ask("ada", "GET", f"{ORG}/user/export?userId={invited.json['id']}")
    assert [("invitation", "waiting")] == [(m["kind"], m["state"]) for m in exported.json["notify"]]
    assert "data" not in exported.json["notify"][0]
    assert "/account?code=" not in exported.text
    assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/user?userId={invited.json['id']}")).status
    assert [] == await fetch_rows(world.hub, "SELECT * FROM notify_mails")
    other = await world.ask("ada", "GET", f"{ORG}/user/export?userId={world.users['eva'].id}")
    assert "notify" not in other.json


async def test_mail_that_was_read_before_its_user_was_deleted_is_not_sent(world, mail_server):
    """All three mails are read at once. The server takes the first after the user of another has been deleted."""
    begun, deleted = [], asyncio.Event()
    handle = mail_server.handle_RCPT

    async def handle_slowly(server, session, envelope, address, options):
        begun.append(address)
        await deleted.wait()
        return await handle(server, session, envelope, address, options)

    mail_server.handle_RCPT = handle_slowly
    users = [await world.user(name, world.orgs["acme"]) for name in "abc"]
    async with trio.open_nursery() as nursery:
        for user in users:
            nursery.start_soon(world.service.notify, "password-changed", user)
    await until(lambda: begun)
    gone, kept = (user for user in users if user.email != begun[0])
    assert 204 == (await world.ask("ada", "DELETE", f"{ORG}/user?userId={gone.id}")).status
    mail_server.loop.call_soon_threadsafe(deleted.set)
    await mail_to(mail_server, kept.email)
    assert {begun[0], kept.email} == {mail["To"] for mail in mail_server.mails}


async def test_log_of_mails_is_for_the_root_organization(world):
    for who, status in (("ada", 403), ("bert", 403), ("rita", 200)):
        assert status == (await world.ask(who, "GET", "/api/v1/mails")).status
        tested = await world.ask(who, "POST", "/api/v1/mail/test", {"address": "a@example.org"})
        assert status == tested.status


class TestWithoutMail:
    @pytest.fixture
    def hub_toml(self):
        return LOOPBACK

    async def test_links_are_in_the_answers(self, world):
        invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})
        assert "/account?code=" in invited.json["link"]
        assert invited.json["mailedTo"] is None
        reset = await world.ask("ada", "POST", f"{ORG}/user/reset", {"userId": world.users["eva"].id})
        assert "/account?code=" in reset.json["link"]
        assert 204 == (await world.ask("ada", "POST", f"{ORG}/users/register", {"email": "reg@example.org"})).status
        body = {"userId": world.users["eva"].id, "password": "set by the admin"}
        assert 204 == (await world.ask("ada", "POST", f"{ORG}/user/password", body)).status
        assert 0 == (await world.ask("rita", "GET", "/api/v1/mails")).json["totalElements"]

    async def test_test_mail_names_the_table_that_is_missing(self, world):
        tested = await world.ask("rita", "POST", "/api/v1/mail/test", {"address": "a@example.org"})
        assert 409 == tested.status
        assert "No mail server is set up: see the table [mail] in hub.toml" in tested.message


class TestWithAFullOutbox:
    @pytest.fixture
    def hub_toml(self):
        return LOOPBACK + mail_toml(1)

    async def test_user_is_added_and_the_error_says_how_to_get_a_link(self, world, monkeypatch):
        monkeypatch.setattr("plugins.notify.outbox.MAX_WAITING", 0)
        invited = await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "new@example.org"})
        assert 503 == invited.status
        assert "The user was added, but has no link yet" in invited.message
        assert "pinwheel user reset-password new@example.org" in invited.message
        [record] = (await world.ask("ada", "GET", "/api/v1/audit?query=invite")).json["content"]
        assert "Invite a user (failed half-way)" == record["action"]
        body = {"userId": world.users["eva"].id, "password": "set by the admin"}
        assert 204 == (await world.ask("ada", "POST", f"{ORG}/user/password", body)).status
