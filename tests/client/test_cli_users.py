"""``pinwheel user|org|role|key|audit``, as an operator runs them, on a hub that is stopped and on one that runs."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.raw_http import ask
from support.tenants import PASSWORD

from client.cli import main
from hub.run import announced, running

PINWHEEL = str(Path(sys.executable).parent / "pinwheel")
CONFIG = '[[listen]]\naddress = "127.0.0.1:0"\n'
APPLY = """
[organization]
name = "Acme"
timezone = "Europe/Kyiv"
quotas = { devices = 5 }

[role.User]
"own_devices.edit" = true

[[user]]
email = "ann@example.org"
name = "Ann"
role = "Admin"
"""


@pytest.fixture
def pinwheel(tmp_path, capsys):
    """Runs a command on a stopped hub; returns its exit code and what it printed."""
    (tmp_path / "hub.toml").write_text(CONFIG)
    (tmp_path / "data").mkdir()

    def run(*words):
        where = ["--config", str(tmp_path / "hub.toml"), "--data", str(tmp_path / "data")]
        with pytest.raises(SystemExit) as ended:
            main([*words, *where])
        return ended.value.code, capsys.readouterr()

    return run


def said(result):
    code, output = result
    assert 0 == code, output.err
    return output.out


def test_users_come_and_go(pinwheel):
    out = said(pinwheel("user", "add", "Ann@example.org", "--role", "admin", "--name", "Ann"))
    assert re.search(r"^1 ann@example.org, Admin\nlink: /account\?code=\S+$", out)
    assert "Pending" in said(pinwheel("user", "list"))
    said(pinwheel("user", "suspend", "ann@example.org"))
    assert "Suspended" in said(pinwheel("user", "list"))
    said(pinwheel("user", "suspend", "ann@example.org", "--undo"))
    assert "/account?code=" in said(pinwheel("user", "reset-password", "ann@example.org"))
    assert 1 == pinwheel("user", "delete", "ann@example.org")[0]
    said(pinwheel("user", "delete", "ann@example.org", "--yes"))
    assert [] == json.loads(said(pinwheel("user", "list", "--json")))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["user", "add", "nonsense"], "Enter a valid e-mail address."),
        (["user", "add", "a@b.c", "--role", "King"], "there is no role 'King'; there are Admin, Staff, User"),
        (["user", "add", "a@b.c", "--org", "Nowhere"], "there is no organization 'Nowhere'"),
        (["user", "suspend", "a@b.c"], "there is no user 'a@b.c'"),
        (["org", "show", "99"], "Organization with identifier 99 is not found"),
        (["org", "add", "a/b"], "name must have"),
        (["org", "delete", "1", "--yes"], "You cannot delete the organization that you act in"),
        (["org", "apply", "/nowhere/x.toml"], "/nowhere/x.toml: No such file or directory"),
        (["role", "set", "User", "users.fly", "on"], "There is no permission 'users.fly'."),
        (["role", "set", "Admin", "users.view", "off"], "The role Admin always has every permission."),
        (["key", "revoke", "9"], "There is no such key"),
        (["key", "add", "a@b.c", "x"], "there is no user 'a@b.c'"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_said_in_a_line(pinwheel, words, error):
    code, output = pinwheel(*words)
    assert 1 == code
    [line] = output.err.splitlines()
    assert line.startswith("pinwheel: ")
    assert error in line


def test_organizations_come_and_go(pinwheel):
    assert "2 Acme\n" == said(pinwheel("org", "add", "Acme", "--timezone", "Europe/Kyiv"))
    assert "3 Works\n" == said(pinwheel("org", "add", "Works", "--parent", "Acme"))
    said(pinwheel("org", "add", "Beta"))
    said(pinwheel("org", "transfer", "Works", "Beta"))
    assert ["Pinwheel", "Acme", "Beta", "Works"] == [
        o["name"] for o in json.loads(said(pinwheel("org", "list", "--json")))
    ]
    shown = said(pinwheel("org", "show", "Works"))
    assert re.search(r"parent +4", shown)
    assert 1 == pinwheel("org", "delete", "Beta", "--yes")[0]
    said(pinwheel("org", "delete", "Beta", "--yes", "--everything"))
    assert "Works" not in said(pinwheel("org", "list"))


def test_an_organization_is_applied_again_and_again(pinwheel, tmp_path):
    file = tmp_path / "acme.toml"
    file.write_text(APPLY)
    out = said(pinwheel("org", "apply", str(file)))
    assert ["+ organization Acme (2)", "~ role User: +own_devices.edit"] == out.splitlines()[:2]
    assert out.splitlines()[2].startswith("+ user ann@example.org, Admin: /account?code=")
    assert "nothing to change\n" == said(pinwheel("org", "apply", str(file)))
    file.write_text(APPLY.replace("Kyiv", "Paris").replace('"Ann"', '"Anna"').replace("5", "7"))
    out = said(pinwheel("org", "apply", str(file)))
    assert ["~ organization Acme: timezone, quotas", "~ user ann@example.org: named Anna"] == out.splitlines()
    units = 'units = "metric"\nunit_overrides = { temperature = "K" }\ntimezone'
    file.write_text(file.read_text().replace("timezone", units))
    out = said(pinwheel("org", "apply", str(file)))
    assert ["~ organization Acme: units, unit_overrides"] == out.splitlines()
    assert re.search(r"units +metric", said(pinwheel("org", "show", "Acme")))
    assert "nothing to change\n" == said(pinwheel("org", "apply", str(file)))


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("x = ", ["Invalid value"]),
        ("[organization]\nname = 5\n[colour]\n", ["unknown key colour", "[organization] with a name is missing"]),
        ('[organization]\nname = "A"\nsize = 1\n[[user]]\n', ["organization: unknown key size", "each has an email"]),
        ('[organization]\nname = "A"\nunits = 5\n', ["units are metric or imperial"]),
        ('[organization]\nname = "A"\n[role.User]\n"users.view" = 1\n', ["true or false"]),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_whole(pinwheel, tmp_path, text, errors):
    file = tmp_path / "acme.toml"
    file.write_text(text)
    code, output = pinwheel("org", "apply", str(file))
    assert 1 == code
    assert len(errors) == len(output.err.splitlines())
    assert all(any(error in line for line in output.err.splitlines()) for error in errors)
    assert 1 == len(json.loads(said(pinwheel("org", "list", "--json"))))


def test_a_file_that_names_what_there_is_not_is_refused_whole_with_every_mistake(pinwheel, tmp_path):
    file = tmp_path / "acme.toml"
    file.write_text(
        '[organization]\nname = "Acme"\nparent = "Nowhere"\ntimezone = "Mars/Phobos"\ntemplates = ["TMPL0none"]\n'
        '[role.King]\n"users.vew" = true\n[[user]]\nemail = "ann@example.org"\nrole = "Queen"\n'
    )
    code, output = pinwheel("org", "apply", str(file))
    assert (1, "") == (code, output.out)
    for mistake in (
        "organization.parent: there is no organization 'Nowhere'",
        "organization.timezone: there is no time zone 'Mars/Phobos'",
        "organization.templates: there is no template 'TMPL0none'",
        "role.King: there is no role 'King'; there are Admin, Staff, User",
        "role.King: there is no permission 'users.vew'; did you mean 'users.view'?",
        "user ann@example.org: there is no role 'Queen'",
    ):
        assert 1 == len([line for line in output.err.splitlines() if mistake in line]), mistake
    assert 1 == len(json.loads(said(pinwheel("org", "list", "--json"))))


@pytest.mark.parametrize(
    ("words", "done"),
    [
        (["user", "suspend", "ann@example.org"], "ann@example.org is suspended, and their sessions have ended"),
        (["user", "suspend", "ann@example.org", "--undo"], "ann@example.org may log in again"),
        (["user", "delete", "ann@example.org", "--yes"], "ann@example.org is deleted; their devices stay"),
        (["role", "set", "User", "users.edit", "on"], "role User: +users.edit, +users.view"),
        (["role", "set", "User", "users.view", "off"], "role User: nothing to change"),
        (["key", "revoke", "1"], "key 1 is revoked"),
        (["org", "transfer", "Works", "Acme"], "Works (3) is below Acme (2) now"),
        (["org", "delete", "Works", "--yes"], "Works (3) is deleted"),
    ],
    ids=" ".join,
)
def test_a_success_says_what_was_done(pinwheel, words, done):
    said(pinwheel("user", "add", "ann@example.org"))
    said(pinwheel("key", "add", "ann@example.org", "phone"))
    said(pinwheel("org", "add", "Acme"))
    said(pinwheel("org", "add", "Works"))
    assert said(pinwheel(*words)).startswith(done)


def test_an_organization_that_is_not_empty_is_deleted_with_everything_only(pinwheel):
    said(pinwheel("org", "add", "Acme"))
    said(pinwheel("user", "add", "ann@example.org", "--org", "Acme"))
    code, output = pinwheel("org", "delete", "Acme", "--yes")
    assert (1, True) == (code, "--everything deletes what belongs to it too" in output.err)
    code, output = pinwheel("org", "delete", "Acme")
    assert "pinwheel: Refusing to delete Acme without confirmation. Run again with --yes.\n" == output.err


def test_what_a_role_may_is_shown_and_set(pinwheel):
    assert "Staff" in said(pinwheel("role", "list"))
    said(pinwheel("role", "set", "User", "users.edit", "on"))
    shown = said(pinwheel("role", "show", "user"))
    assert re.search(r"^on +users.edit +Edit users$", shown, re.MULTILINE)
    assert re.search(r"^on +users.view ", shown, re.MULTILINE)


def test_the_audit_is_listed_verified_and_exported(pinwheel, tmp_path):
    said(pinwheel("org", "add", "Acme"))
    said(pinwheel("role", "set", "User", "users.view", "on"))
    assert re.search(r"1 +\S+ \S+ +local key +Create an organization +organization 2", said(pinwheel("audit", "list")))
    out = said(pinwheel("audit", "verify"))
    head = re.search(r"2 records from 1 on, head (\w+)\nall is well", out)[1]
    said(pinwheel("audit", "verify", "--head", head))
    code, output = pinwheel("audit", "verify", "--head", "00")
    assert (1, "pinwheel: the noted head is not in the chain: the chain was written anew\n") == (code, output.err)
    assert "2 records" in said(pinwheel("audit", "export", str(tmp_path / "a.csv")))
    with (tmp_path / "a.csv").open() as file:
        assert ["Create an organization", "Turn permissions on or off"] == [
            row["action"] for row in csv.DictReader(file)
        ]
    said(pinwheel("audit", "export", str(tmp_path / "a.jsonl")))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [1, 2] == [line["id"] for line in lines]
    assert 1 == pinwheel("audit", "export", "/nowhere/a.csv")[0]


async def test_a_key_made_by_command_opens_a_running_hub(hub_config, tmp_path):
    import trio

    async def pinwheel(*words, stdin=b""):
        command = [PINWHEEL, *words, "--config", str(tmp_path / "hub.toml"), "--data", str(hub_config.data)]
        done = await trio.run_process(command, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False)
        assert 0 == done.returncode, done.stderr
        return done.stdout.decode()

    (tmp_path / "hub.toml").write_text(CONFIG)
    async with running(hub_config) as hub, announced(hub):
        out = await pinwheel("user", "add", "ann@example.org", "--password-stdin", stdin=PASSWORD.encode() + b"\n")
        assert "1 ann@example.org, User\n" == out
        answer = await ask(hub, "POST", "/api/v1/login", {"email": "ann@example.org", "password": PASSWORD})
        assert 200 == answer.status
        key = (await pinwheel("key", "add", "ann@example.org", "phone", "--expires", "90d")).strip()
        assert 200 == (await ask(hub, "GET", "/api/v1/profile", key=key)).status
        [listed] = json.loads(await pinwheel("key", "list", "--json"))
        assert ("phone", "ann@example.org") == (listed["name"], listed["user"])
        await pinwheel("key", "revoke", str(listed["id"]))
        assert 401 == (await ask(hub, "GET", "/api/v1/profile", key=key)).status


def test_a_terminal_shows_the_first_administrators_page_once(tmp_path):
    import os
    import pty

    (tmp_path / "hub.toml").write_text(CONFIG)
    ours, theirs = pty.openpty()
    command = [PINWHEEL, "run", "--config", str(tmp_path / "hub.toml"), "--data", str(tmp_path / "data")]
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL)
    text = b""
    try:
        while b"code=" not in text or not text.endswith(b"\n"):
            text += os.read(ours, 4096)
    finally:
        process.terminate()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert re.search(rb"The first administrator's page: http://127\.0\.0\.1:\d+/account\?code=[\w-]{32}\r\n", text)
