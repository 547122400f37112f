"""Alarms as mails: to whom, how often, and that they need neither the disk nor mail itself."""

from __future__ import annotations

import re

import pytest
import trio
from support.accounts import tenants_with_eva
from support.configuration import fetch_rows, rows_become
from support.mail_server import mail_toml, plain_of
from support.patience import brief
from support.tenants import PASSWORD
from support.times import HOUR, MINUTE, Time, until

from hub.model import ROOT_ORG
from hub.run import running
from hub.testing import LOOPBACK
from plugins.notify.alarms import AlarmTimeouts
from plugins.notify.delivery import FAILURES_OF_ALARM, MailTimeouts
from plugins.users.model import ADMIN, STAFF

TIMEOUTS = (AlarmTimeouts(settle=0.05, check=0.01), MailTimeouts(poll=0.01))
DISK = "the disk is low: 3% free"


@pytest.fixture
async def admin(hub):
    """A world in which Alma is the one Admin of the root organization who can log in."""
    world = await tenants_with_eva(hub)
    await world.user("alma", ROOT_ORG, ADMIN, PASSWORD)
    return world


def subjects(server):
    return [mail["Subject"] for mail in server.mails]


@pytest.mark.timeouts(*TIMEOUTS)
async def test_alarm_is_mailed_when_it_is_raised_and_when_it_is_over(hub, admin, mail_server):
    hub.alarms.set("room", DISK)
    await until(lambda: [f"Pinwheel: {DISK}"] == subjects(mail_server))
    hub.alarms.set("room", "the disk is low: 2% free")
    hub.alarms.set("room", None)
    await until(lambda: [f"Pinwheel: {DISK}", f"Pinwheel: over: {DISK}"] == subjects(mail_server))
    assert all(mail["To"] == "alma@example.org" for mail in mail_server.mails)
    assert DISK in plain_of(mail_server.mails[0])


@pytest.mark.timeouts(*TIMEOUTS)
async def test_only_admins_of_the_root_who_can_log_in_get_alarms(hub, admin, mail_server):
    """Rita has not set her password; Ada is an Admin of another organization."""
    suspended = await admin.user("sam", ROOT_ORG, ADMIN, PASSWORD)
    await admin.service.users.change(suspended, suspended=True)
    await admin.user("stella", ROOT_ORG, STAFF, PASSWORD)
    gerda = await admin.user("gerda", ROOT_ORG, ADMIN, PASSWORD)
    await admin.service.users.change(gerda, profile={"locale": "de"})
    hub.alarms.set("room", DISK)
    await until(lambda: len(mail_server.mails) == 2)
    assert {"alma@example.org", "gerda@example.org"} == {mail["To"] for mail in mail_server.mails}
    [german] = mail_server.to("gerda@example.org")
    assert "braucht Aufmerksamkeit" in plain_of(german)
    await trio.sleep(brief(0.1))
    assert len(mail_server.mails) == 2


@pytest.mark.timeouts(AlarmTimeouts(check=3600, start=0.01), MailTimeouts(poll=0.01))
async def test_alarm_of_the_start_is_mailed_as_soon_as_there_is_an_admin(hub, mail_server):
    hub.alarms.set("room", DISK)
    world = await tenants_with_eva(hub)
    await world.user("alma", ROOT_ORG, ADMIN, PASSWORD)
    await until(lambda: [f"Pinwheel: {DISK}"] == subjects(mail_server))
    # The time is for people: a date, hours and minutes, and the time zone.
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d \(", plain_of(mail_server.mails[0]))


async def test_alarm_that_comes_and_goes_is_mailed_once_an_hour(hub_config, mail_server):
    time = Time()
    async with running(hub_config, clock=time.clock(), timeouts=TIMEOUTS) as hub:
        world = await tenants_with_eva(hub)
        await world.user("alma", ROOT_ORG, ADMIN, PASSWORD)
        hub.alarms.set("room", DISK)
        await until(lambda: len(mail_server.mails) == 1)
        hub.alarms.set("room", None)
        await until(lambda: len(mail_server.mails) == 2)
        for _ in range(3):
            hub.alarms.set("room", DISK)
            await trio.sleep(brief(0.03))
            hub.alarms.set("room", None)
            await trio.sleep(brief(0.03))
        hub.alarms.set("room", DISK)
        time.pass_(59 * MINUTE)
        await trio.sleep(brief(0.1))
        assert 2 == len(mail_server.mails)
        time.pass_(2 * MINUTE)
        await until(lambda: len(mail_server.mails) == 3)
        assert f"Pinwheel: {DISK}" == subjects(mail_server)[-1]


async def test_restart_does_not_mail_an_alarm_again_and_mails_its_end(hub_config, mail_server):
    time = Time()
    async with running(hub_config, clock=time.clock(), timeouts=TIMEOUTS) as hub:
        world = await tenants_with_eva(hub)
        await world.user("alma", ROOT_ORG, ADMIN, PASSWORD)
        hub.alarms.set("room", DISK)
        await until(lambda: len(mail_server.mails) == 1)
        await rows_become(hub, "SELECT alarm, raised FROM notify_alarms", [("room", 1)])
    time.pass_(2 * HOUR)
    slow = (AlarmTimeouts(settle=3600, check=0.01), MailTimeouts(poll=0.01))
    async with running(hub_config, clock=time.clock(), timeouts=slow) as hub:
        await trio.sleep(brief(0.1))
        hub.alarms.set("room", DISK)
        await trio.sleep(brief(0.1))
        assert [f"Pinwheel: {DISK}"] == subjects(mail_server)
    async with running(hub_config, clock=time.clock(), timeouts=TIMEOUTS) as hub:
        await until(lambda: [f"Pinwheel: {DISK}", f"Pinwheel: over: {DISK}"] == subjects(mail_server))
        await rows_become(hub, "SELECT count(*) FROM notify_alarms WHERE raised = 1", [(0,)])


@pytest.mark.timeouts(*TIMEOUTS)
async def test_alarm_about_the_full_disk_is_mailed_while_it_is_full(hub, admin, mail_server, monkeypatch):
    async def fail(_fn):
        raise StorageError("database or disk is full")

    from hub.errors import StorageError

    monkeypatch.setattr(hub.storage, "transaction", fail)
    hub.alarms.set("writes", "values cannot be written: the disk is full", critical=True)
    await until(lambda: ["Pinwheel: values cannot be written: the disk is full"] == subjects(mail_server))
    await trio.sleep(brief(0.1))
    hub.alarms.set("writes", None)
    await until(lambda: len(mail_server.mails) == 2)
    assert [] == await fetch_rows(hub, "SELECT * FROM notify_mails")


class TestWithoutAServer:
    @pytest.fixture
    def hub_toml(self):
        return LOOPBACK + mail_toml(1)

    @pytest.mark.timeouts(*TIMEOUTS[:1], MailTimeouts(poll=0.01, server_retry=(0.01,)))
    async def test_alarm_about_mail_itself_makes_no_more_mails(self, hub, admin):
        hub.alarms.set("room", DISK)
        await until(lambda: "mail" in {alarm.id for alarm in hub.alarms})
        await rows_become(hub, f"SELECT attempts > {FAILURES_OF_ALARM + 3} FROM notify_mails", [(1,)])


class TestWithoutMail:
    @pytest.fixture
    def hub_toml(self):
        return LOOPBACK

    @pytest.mark.timeouts(*TIMEOUTS)
    async def test_alarms_are_not_mailed(self, hub, admin):
        hub.alarms.set("room", DISK)
        await trio.sleep(brief(0.05))
        assert [] == await fetch_rows(hub, "SELECT * FROM notify_mails")
        assert "" == hub.plugins["notify"].problem
