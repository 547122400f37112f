"""Commands on a remote hub: keys, login, second factor and certificate authority."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import secrets
import subprocess

import pytest
import trustme
from support.command import CONFIG, PINWHEEL, TLS, CommandLine
from support.totp import one_time_password

from client import operations
from client.remote import Remote


@pytest.fixture(scope="module")
def users_hub(tmp_path_factory):
    """A running hub with an organization, an Admin, a user with the role Staff in that organization, and their keys."""
    pinwheel = CommandLine(tmp_path_factory.mktemp("users"))
    with pinwheel.running():
        assert 0 == pinwheel.import_template().code
        assert 0 == pinwheel("org", "add", "Acme").code
        for email, role, org in (("ada@example.org", "Admin", "1"), ("sam@example.org", "Staff", "Acme")):
            added = pinwheel(
                "user", "add", email, "--role", role, "--org", org, "--password-stdin", stdin="a long password\n"
            )
            assert 0 == added.code
        pinwheel.keys = {
            name: pinwheel("key", "add", f"{name}@example.org", "cli", "--json").json["key"] for name in ("ada", "sam")
        }
        yield pinwheel


def url_of(pinwheel, listener=0, name="127.0.0.1"):
    entry = pinwheel.state["listen"][listener]
    return f"http{'s' if entry['tls'] else ''}://{name}:{entry['address'].rpartition(':')[2]}"


def test_command_works_on_a_remote_hub_with_a_key(users_hub, tmp_path, monkeypatch):
    elsewhere = CommandLine(tmp_path / "elsewhere")
    url, key, token = url_of(users_hub), users_hub.keys["ada"], secrets.token_urlsafe(24)
    assert "Weather" in elsewhere("--url", url, "--key-stdin", "template", "list", stdin=key + "\n").out
    added = elsewhere(
        "--url", url, "--key-stdin", "device", "add", "--template", "TMPL0cli", "--name", "Far", "--token-stdin",
        stdin=f"{key}\n{token}\n",
    )  # fmt: skip
    assert token == added.json["token"]
    monkeypatch.setenv("PINWHEEL_URL", url)
    monkeypatch.setenv("PINWHEEL_KEY", key)
    assert 0 == elsewhere("device", "write", "Far", "V0", "21.5").code
    assert "21.5" in elsewhere("device", "show", "Far").out
    # Options take precedence over the environment.
    assert [] == elsewhere("device", "list", "--data", "data", "--json").json


@pytest.mark.parametrize(
    "command",
    [
        ("run",),
        ("check",),
        ("backup", "x.tar"),
        ("restore", "x.tar"),
        ("plugins", "add", "x.py"),
        ("service", "install", "--print"),
    ],
    ids=" ".join,
)
def test_local_command_is_rejected_for_a_remote_hub(users_hub, command):
    done = users_hub("--url", url_of(users_hub), "--key-stdin", *command, stdin=users_hub.keys["ada"])
    assert 2 == done.code
    assert f"pinwheel {command[0]} runs on the hub's own machine" in done.error


@pytest.mark.parametrize(
    ("options", "code", "error"),
    [
        (("--url", "{url}"), 2, "give --user EMAIL, or an API key"),
        (("--key-stdin",), 2, "--key-stdin is for a hub on another machine"),
        (("--url", "{url}", "--key-stdin", "--user", "a@b.c"), 2, "exclude each other"),
        (
            ("--url", "{url}", "--user", "ada@example.org"),
            2,
            "--user asks for the password, and for the one-time code of a second factor, on a terminal",
        ),
        (("--url", "{url}", "--ca", "nowhere.pem", "--key-stdin"), 2, "--ca nowhere.pem: No such file or directory"),
        (
            ("--url", "{url}", "--ca", "weather.toml", "--key-stdin"),
            2,
            "--ca weather.toml: holds no certificate in PEM",
        ),
        (("--url", "nonsense", "--key-stdin"), 1, "is not the address of a hub"),
    ],
)
def test_invalid_options_for_a_remote_hub_are_reported_in_one_line(users_hub, options, code, error):
    options = [option.format(url=url_of(users_hub)) for option in options]
    done = users_hub(*options, "device", "list", stdin="no key\n")
    assert code == done.code
    assert error in done.error


def test_url_and_data_exclude_each_other(users_hub):
    done = users_hub("--url", url_of(users_hub), "device", "list", "--data", "data")
    assert (2, True) == (done.code, "exclude each other" in done.error)


def test_login_prompts_for_the_password_without_echo_and_logs_out(users_hub):
    terminal, command_side = pty.openpty()
    command = [PINWHEEL, "--url", url_of(users_hub), "--user", "ada@example.org", "device", "list", "--json"]
    # In a session of its own with a controlling terminal, where the password prompt appears.
    with subprocess.Popen(
        ["setsid", "--ctty", *command],
        stdin=command_side,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=users_hub.folder,
    ) as process:
        os.close(command_side)
        printed = b""
        while b"Password of ada@example.org: " not in printed:
            printed += os.read(terminal, 1000)
        os.write(terminal, b"a long password\n")
        out, err = process.communicate()
    # Linux reports the end of a terminal as EIO.
    with contextlib.suppress(OSError):
        while rest := os.read(terminal, 1000):
            printed += rest
    os.close(terminal)
    assert (0, b"") == (process.returncode, err)
    assert isinstance(json.loads(out), list)
    assert b"a long password" not in printed
    ada = Remote(url_of(users_hub), users_hub.keys["ada"])
    assert [] == ada(operations.get_sessions())


@pytest.fixture
def second_factor(users_hub):
    """The address and the secret of a user with a second factor and without failed attempts."""
    email = f"{secrets.token_hex(4)}@example.org"
    added = users_hub("user", "add", email, "--role", "Admin", "--password-stdin", stdin="a long password\n")
    assert 0 == added.code
    remote = Remote(url_of(users_hub))
    remote.login(email, "a long password")
    secret = remote(operations.post_otp(password="a long password"))["secret"]
    remote(operations.post_otp_confirm(otp=one_time_password(secret, -30)))
    return email, secret


def log_in_with_code(pinwheel, email, keys):
    answers = {f"Password of {email}: ": "a long password\n", "One-time code: ": keys}
    return pinwheel.run_on_terminal(answers, "--url", url_of(pinwheel), "--user", email, "device", "list", "--json")


def test_login_prompts_for_the_one_time_code_of_a_second_factor(users_hub, second_factor):
    email, secret = second_factor
    code = one_time_password(secret)
    printed = log_in_with_code(users_hub, email, f"{code}\n")
    assert 0 == printed.code, printed.out
    assert isinstance(json.loads(printed.out.partition("One-time code: ")[2]), list)
    assert code not in printed.out


@pytest.mark.parametrize(
    ("keys", "code", "error"),
    [
        ("nonsense\n", 1, "\r\npinwheel: The one-time password is wrong.\r\n"),
        ("\n", 1, "\r\npinwheel: A one-time password is needed.\r\n"),
        ("\x03", 130, "One-time code: \r\n"),
        ("\x04", 1, "\r\npinwheel: One-time code was not entered.\r\n"),
    ],
    ids=["wrong", "empty", "Ctrl-C", "Ctrl-D"],
)
def test_invalid_one_time_code_ends_the_command_with_one_line(users_hub, second_factor, keys, code, error):
    printed = log_in_with_code(users_hub, second_factor[0], keys)
    assert code == printed.code
    assert printed.out.endswith(error)


@pytest.mark.parametrize(
    ("keys", "code", "error"),
    [("\x03", 130, ": \r\n"), ("\x04", 1, "\r\npinwheel: Password of ada@example.org was not entered.\r\n")],
    ids=["Ctrl-C", "Ctrl-D"],
)
def test_cancelled_password_prompt_ends_the_command(users_hub, keys, code, error):
    options = ("--url", url_of(users_hub), "--user", "ada@example.org")
    printed = users_hub.run_on_terminal({"Password of ada@example.org: ": keys}, *options, "device", "list")
    assert code == printed.code
    assert printed.out.endswith(error)


def test_second_factor_without_a_terminal_needs_an_api_key(users_hub, second_factor):
    done = users_hub(
        "--url", url_of(users_hub), "--user", second_factor[0], "device", "list", stdin="a long password\n"
    )
    assert 2 == done.code
    assert "the one-time code of a second factor, on a terminal; elsewhere use an API key" in done.error


def test_certificate_authority_of_the_hub_is_trusted_with_ca_only(tmp_path):
    pinwheel = CommandLine(tmp_path, CONFIG + TLS)
    with pinwheel.running():
        assert 0 == pinwheel("user", "add", "ada@example.org", "--role", "Admin").code
        key = pinwheel("key", "add", "ada@example.org", "cli").out
        url = url_of(pinwheel, 1, "localhost")
        trusted = pinwheel(
            "--url", url, "--ca", pinwheel.data / "tls" / "ca.pem", "--key-stdin", "device", "list", stdin=key
        )
        assert (0, "") == (trusted.code, trusted.err)
        for options in ((), ("--ca", tmp_path / "other.pem")):
            trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
            rejected = pinwheel("--url", url, *options, "--key-stdin", "device", "list", stdin=key)
            assert (1, True) == (rejected.code, "--ca" in rejected.error), rejected.err


def test_template_that_the_user_may_not_see_is_not_revealed(users_hub):
    (users_hub.folder / "secret.toml").write_text('[template]\nid = "TMPL0secret"\nname = "Secret"\n')
    assert 0 == users_hub("template", "import", "secret.toml").code
    (users_hub.folder / "new.csv").write_text("name,template\nX,TMPL0secret\n")

    def add(name, *options):
        options = options or ("--template", "TMPL0secret", "--name", "X")
        url = url_of(users_hub)
        return users_hub("--url", url, "--key-stdin", "device", "add", *options, stdin=users_hub.keys[name]).error

    assert "Template is not found or you don't have access to it." == add("sam")
    assert "line 2: there is no template 'TMPL0secret'" == add("sam", "--csv", "new.csv")
    options = ("--template", "TMPL0secret", "--name", "X", "--org", "Acme")
    assert "is not enabled in organization Acme" in add("ada", *options)
