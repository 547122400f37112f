"""The commands about mail, and what others print with and without a mail server."""

from __future__ import annotations

import json
import time

import pytest
from support.command import CONFIG, CommandLine, output_of
from support.mail_server import mail_toml, serving_mail
from support.patience import brief, patient


@pytest.fixture
def mail_server():
    with serving_mail() as server:
        yield server


@pytest.fixture
def mailing(tmp_path, mail_server):
    """The command in the directory of a hub with a mail server."""
    return CommandLine(tmp_path / "mailing", CONFIG + mail_server.toml())


def test_mail_test_says_that_the_server_has_taken_the_mail(mailing, mail_server):
    out = output_of(mailing("mail", "test", "ann@example.org", "--locale", "de"))
    assert f"127.0.0.1:{mail_server.port} has taken a mail to ann@example.org; links in mails " in out
    assert ["Test von Pinwheel"] == [mail["Subject"] for mail in mail_server.mails]
    assert "ann@example.org" == mailing("mail", "test", "ann@example.org", "--json").json["address"]


def test_mail_test_says_why_a_mail_was_not_sent(mailing, mail_server, pinwheel, tmp_path):
    mail_server.replies["ann@example.org"] = "550 no such mailbox"
    refused = mailing("mail", "test", "ann@example.org")
    assert 1 == refused.code
    assert "The mail was not sent: the mail server says: 550 no such mailbox." == refused.error
    assert (
        "address: 'nonsense' is no e-mail address, such as ann@example.org" == mailing("mail", "test", "nonsense").error
    )
    assert "No mail server is set up: see the table [mail] in hub.toml" in pinwheel("mail", "test", "a@b.c").error
    down = CommandLine(tmp_path / "down", CONFIG + mail_toml(1))
    assert "The mail was not sent: 127.0.0.1:1: connection refused." == down("mail", "test", "a@b.c").error


def test_links_are_mailed_and_not_printed(mailing, mail_server):
    out = output_of(mailing("user", "add", "ann@example.org", "--role", "Admin"))
    assert "1 ann@example.org, Admin\nlink: mailed to ann@example.org when the hub runs\n" == out
    assert "mailed to ann@example.org when the hub runs\n" == output_of(
        mailing("user", "reset-password", "ann@example.org")
    )
    reset = mailing("user", "reset-password", "ann@example.org", "--json").json
    assert (None, "ann@example.org") == (reset["link"], reset["mailedTo"])
    (mailing.folder / "acme.toml").write_text('[organization]\nname = "Acme"\n[[user]]\nemail = "bob@example.org"\n')
    assert "+ user bob@example.org, User: mailed to bob@example.org" in output_of(mailing("org", "apply", "acme.toml"))
    log = mailing("mail", "log", "--json").json
    assert [("bob@example.org", "waiting", 0), *[("ann@example.org", "waiting", 0)] * 3] == [
        (mail["address"], mail["state"], mail["attempts"]) for mail in log
    ]
    assert "account?code" not in json.dumps(log)
    assert [] == mail_server.mails


def test_running_hub_delivers_what_commands_have_queued(mailing, mail_server):
    output_of(mailing("user", "add", "ann@example.org"))
    with mailing.running():
        assert "link: mailed to bob@example.org\n" in output_of(mailing("user", "add", "bob@example.org"))
        wait_for(lambda: len(mail_server.mails) == 2)
        wait_for(lambda: "waiting" not in output_of(mailing("mail", "log")))
        rows = [line.split() for line in output_of(mailing("mail", "log", "--limit", "1")).splitlines()]
        assert ["bob@example.org", "invitation", "sent", "1"] == rows[1][-4:]


def wait_for(condition):
    deadline = time.monotonic() + patient(10)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(brief(0.05))
