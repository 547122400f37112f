"""Commands on users, organizations, roles, keys and the audit log."""

from __future__ import annotations

import csv
import json
import re
import subprocess

import pytest
from support.command import CONFIG, PINWHEEL, output_of
from support.raw_http import ask
from support.tenants import PASSWORD

from hub.run import announced, running

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


def test_user_is_added_suspended_and_deleted(pinwheel):
    out = output_of(pinwheel("user", "add", "Ann@example.org", "--role", "admin", "--name", "Ann"))
    assert re.search(r"^1 ann@example.org, Admin\nlink: /account\?code=\S+$", out)
    assert "Pending" in output_of(pinwheel("user", "list"))
    output_of(pinwheel("user", "suspend", "ann@example.org"))
    assert "Suspended" in output_of(pinwheel("user", "list"))
    output_of(pinwheel("user", "suspend", "ann@example.org", "--undo"))
    assert "/account?code=" in output_of(pinwheel("user", "reset-password", "ann@example.org"))
    assert 1 == pinwheel("user", "delete", "ann@example.org").code
    output_of(pinwheel("user", "delete", "ann@example.org", "--yes"))
    assert [] == json.loads(output_of(pinwheel("user", "list", "--json")))


@pytest.mark.parametrize(
    ("arguments", "error"),
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
def test_invalid_arguments_are_reported_in_one_line(pinwheel, arguments, error):
    done = pinwheel(*arguments)
    assert 1 == done.code
    [line] = done.err.splitlines()
    assert line.startswith("pinwheel: ")
    assert error in line


def test_organization_is_added_moved_and_deleted(pinwheel):
    assert "2 Acme\n" == output_of(pinwheel("org", "add", "Acme", "--timezone", "Europe/Kyiv"))
    assert "3 Works\n" == output_of(pinwheel("org", "add", "Works", "--parent", "Acme"))
    output_of(pinwheel("org", "add", "Beta"))
    output_of(pinwheel("org", "transfer", "Works", "Beta"))
    assert ["Pinwheel", "Acme", "Beta", "Works"] == [
        o["name"] for o in json.loads(output_of(pinwheel("org", "list", "--json")))
    ]
    details = output_of(pinwheel("org", "show", "Works"))
    assert re.search(r"parent +4", details)
    assert 1 == pinwheel("org", "delete", "Beta", "--yes").code
    output_of(pinwheel("org", "delete", "Beta", "--yes", "--everything"))
    assert "Works" not in output_of(pinwheel("org", "list"))


def test_organization_file_is_applied_repeatedly(pinwheel, tmp_path):
    file = tmp_path / "acme.toml"
    file.write_text(APPLY)
    out = output_of(pinwheel("org", "apply", str(file)))
    assert ["+ organization Acme (2)", "~ role User: +own_devices.edit"] == out.splitlines()[:2]
    assert out.splitlines()[2].startswith("+ user ann@example.org, Admin: /account?code=")
    assert "nothing to change\n" == output_of(pinwheel("org", "apply", str(file)))
    file.write_text(APPLY.replace("Kyiv", "Paris").replace('"Ann"', '"Anna"').replace("5", "7"))
    out = output_of(pinwheel("org", "apply", str(file)))
    assert ["~ organization Acme: timezone, quotas", "~ user ann@example.org: named Anna"] == out.splitlines()
    units = 'units = "metric"\nunit_overrides = { temperature = "K" }\ntimezone'
    file.write_text(file.read_text().replace("timezone", units))
    out = output_of(pinwheel("org", "apply", str(file)))
    assert ["~ organization Acme: units, unit_overrides"] == out.splitlines()
    assert re.search(r"units +metric", output_of(pinwheel("org", "show", "Acme")))
    assert "nothing to change\n" == output_of(pinwheel("org", "apply", str(file)))


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
def test_invalid_organization_file_is_rejected_as_a_unit(pinwheel, tmp_path, text, errors):
    file = tmp_path / "acme.toml"
    file.write_text(text)
    done = pinwheel("org", "apply", str(file))
    assert 1 == done.code
    assert len(errors) == len(done.err.splitlines())
    assert all(any(error in line for line in done.err.splitlines()) for error in errors)
    assert 1 == len(json.loads(output_of(pinwheel("org", "list", "--json"))))


def test_organization_file_with_unknown_names_is_rejected_with_all_errors(pinwheel, tmp_path):
    file = tmp_path / "acme.toml"
    file.write_text(
        '[organization]\nname = "Acme"\nparent = "Nowhere"\ntimezone = "Mars/Phobos"\ntemplates = ["TMPL0none"]\n'
        '[role.King]\n"users.vew" = true\n[[user]]\nemail = "ann@example.org"\nrole = "Queen"\n'
    )
    done = pinwheel("org", "apply", str(file))
    assert (1, "") == (done.code, done.out)
    for error in (
        "organization.parent: there is no organization 'Nowhere'",
        "organization.timezone: there is no time zone 'Mars/Phobos'",
        "organization.templates: there is no template 'TMPL0none'",
        "role.King: there is no role 'King'; there are Admin, Staff, User",
        "role.King: there is no permission 'users.vew'; did you mean 'users.view'?",
        "user ann@example.org: there is no role 'Queen'",
    ):
        assert 1 == len([line for line in done.err.splitlines() if error in line]), error
    assert 1 == len(json.loads(output_of(pinwheel("org", "list", "--json"))))


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_success_prints_what_was_done(pinwheel, arguments, message):
    output_of(pinwheel("user", "add", "ann@example.org"))
    output_of(pinwheel("key", "add", "ann@example.org", "phone"))
    output_of(pinwheel("org", "add", "Acme"))
    output_of(pinwheel("org", "add", "Works"))
    assert output_of(pinwheel(*arguments)).startswith(message)


def test_deleting_an_organization_with_content_needs_everything(pinwheel):
    output_of(pinwheel("org", "add", "Acme"))
    output_of(pinwheel("user", "add", "ann@example.org", "--org", "Acme"))
    done = pinwheel("org", "delete", "Acme", "--yes")
    assert (1, True) == (done.code, "--everything deletes what belongs to it too" in done.err)
    done = pinwheel("org", "delete", "Acme")
    assert "pinwheel: Refusing to delete Acme without confirmation. Run again with --yes.\n" == done.err


def test_permissions_of_a_role_are_shown_and_set(pinwheel):
    assert "Staff" in output_of(pinwheel("role", "list"))
    output_of(pinwheel("role", "set", "User", "users.edit", "on"))
    details = output_of(pinwheel("role", "show", "user"))
    assert re.search(r"^on +users.edit +Edit users$", details, re.MULTILINE)
    assert re.search(r"^on +users.view ", details, re.MULTILINE)


def test_audit_log_is_listed_verified_and_exported(pinwheel, tmp_path):
    output_of(pinwheel("org", "add", "Acme"))
    output_of(pinwheel("role", "set", "User", "users.view", "on"))
    assert re.search(
        r"1 +\S+ \S+ +local key +Create an organization +organization 2", output_of(pinwheel("audit", "list"))
    )
    out = output_of(pinwheel("audit", "verify"))
    head = re.search(r"2 records from 1 on, head (\w+)\nall is well", out)[1]
    output_of(pinwheel("audit", "verify", "--head", head))
    done = pinwheel("audit", "verify", "--head", "00")
    assert (1, "pinwheel: the noted head is not in the chain: the chain was written anew\n") == (done.code, done.err)
    assert "2 records" in output_of(pinwheel("audit", "export", str(tmp_path / "a.csv")))
    with (tmp_path / "a.csv").open() as file:
        assert ["Create an organization", "Turn permissions on or off"] == [
            row["action"] for row in csv.DictReader(file)
        ]
    output_of(pinwheel("audit", "export", str(tmp_path / "a.jsonl")))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [1, 2] == [line["id"] for line in lines]
    assert 1 == pinwheel("audit", "export", "/nowhere/a.csv").code


async def test_added_key_is_valid_on_a_running_hub_until_it_is_revoked(hub_config, tmp_path):
    import trio

    async def pinwheel(*arguments, stdin=b""):
        command = [PINWHEEL, *arguments, "--config", str(tmp_path / "hub.toml"), "--data", str(hub_config.data)]
        done = await trio.run_process(command, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False)
        assert 0 == done.returncode, done.stderr
        return done.stdout.decode()

    (tmp_path / "hub.toml").write_text(CONFIG)
    async with running(hub_config) as hub, announced(hub):
        out = await pinwheel("user", "add", "ann@example.org", "--password-stdin", stdin=PASSWORD.encode() + b"\n")
        assert "1 ann@example.org, User\n" == out
        response = await ask(hub, "POST", "/api/v1/login", {"email": "ann@example.org", "password": PASSWORD})
        assert 200 == response.status
        key = (await pinwheel("key", "add", "ann@example.org", "phone", "--expires", "90d")).strip()
        assert 200 == (await ask(hub, "GET", "/api/v1/profile", key=key)).status
        [entry] = json.loads(await pinwheel("key", "list", "--json"))
        assert ("phone", "ann@example.org") == (entry["name"], entry["user"])
        await pinwheel("key", "revoke", str(entry["id"]))
        assert 401 == (await ask(hub, "GET", "/api/v1/profile", key=key)).status


def test_run_on_a_terminal_prints_the_link_for_the_first_admin(tmp_path):
    import os
    import pty

    (tmp_path / "hub.toml").write_text(CONFIG)
    terminal, command_side = pty.openpty()
    command = [PINWHEEL, "run", "--config", str(tmp_path / "hub.toml"), "--data", str(tmp_path / "data")]
    process = subprocess.Popen(command, stderr=command_side, stdout=subprocess.DEVNULL)
    text = b""
    try:
        while b"code=" not in text or not text.endswith(b"\n"):
            text += os.read(terminal, 4096)
    finally:
        process.terminate()
        process.wait()
        os.close(terminal)
        os.close(command_side)
    assert re.search(rb"The first administrator's page: http://127\.0\.0\.1:\d+/account\?code=[\w-]{32}\r\n", text)
