"""The table [mail] of the configuration."""

from __future__ import annotations

import pytest

from hub.config import ConfigError, parse
from hub.parsing.spellings import mailbox

SERVER = '[mail]\nserver = "smtp.example.org:587"\n'
FROM = 'from = "Pinwheel <hub@example.org>"\n'


def problems_of(text):
    with pytest.raises(ConfigError) as error:
        parse(text, "hub.toml")
    return [problem.removeprefix("hub.toml: ") for problem in error.value.problems]


def test_nothing_is_mailed_by_default():
    assert "" == parse("").mail.server


@pytest.mark.parametrize(
    ("server", "tls", "address"),
    [
        ("smtp.example.org:2525", "starttls", ("smtp.example.org", 2525)),
        ("SMTP.example.org", "starttls", ("smtp.example.org", 587)),
        ("smtp.example.org", "on", ("smtp.example.org", 465)),
        ("bücher.example:465", "on", ("xn--bcher-kva.example", 465)),
        ("localhost", "off", ("localhost", 25)),
        ("127.0.0.2:1025", "off", ("127.0.0.2", 1025)),
        ("[::1]:1025", "off", ("::1", 1025)),
        ("[::1]", "off", ("::1", 25)),
        ("2001:db8::1", "on", ("2001:db8::1", 465)),
    ],
)
def test_server_is_a_host_with_or_without_a_port(server, tls, address):
    assert address == parse(f'[mail]\nserver = "{server}"\ntls = "{tls}"\n{FROM}').mail.address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[mail]\nuser = "hub"\npassword = "x"', "mail.server: is missing, but user, password is set"),
        (SERVER, "mail.from: is missing, such as Pinwheel <hub@example.org>"),
        (SERVER + 'from = "hub"', "mail.from: 'hub' is no e-mail address, such as ann@example.org"),
        (SERVER + r'from = "Hub\r\nBcc: x@example.org <hub@example.org>"', "mail.from: 'Hub\\r\\nBcc: x@example.org'"),
        (SERVER + r'from = "hub@example.org\r\nx"', "mail.from: 'hub@example.org\\r\\nx' is no e-mail address"),
        (SERVER + FROM + 'tls = "off"', 'mail.tls: "off" sends passwords and links that anybody can read'),
        (SERVER + FROM + 'tls = "maybe"', "mail.tls: must be one of starttls, on, off"),
        (SERVER + FROM + 'user = "hub"', "mail.user: user and password are given together, or neither"),
        (SERVER + FROM + 'password = "x"', "mail.user: user and password are given together, or neither"),
        (SERVER + FROM + 'user = "hüb"\npassword = "x"', "mail.user: must have printable ASCII characters only"),
        (SERVER + FROM + r'user = "hub"' + "\n" + r'password = "x\r\ny"', "mail.password: must have printable ASCII"),
        (SERVER + FROM + 'ca = "/nowhere/ca.pem"', "mail.ca: there is no file /nowhere/ca.pem"),
        (f'[mail]\nserver = "smtp.example.org:0"\n{FROM}', "mail.server: must be host or host:port"),
        (f'[mail]\nserver = "smtp.example.org:smtp"\n{FROM}', "mail.server: must be host or host:port"),
        (f'[mail]\nserver = "[::1]x"\n{FROM}', "mail.server: must be host or host:port"),
        (f'[mail]\nserver = "smtp example"\n{FROM}', "mail.server: 'smtp example' is no name of a host"),
        (f'[mail]\nserver = ":587"\n{FROM}', "mail.server: '' is no name of a host"),
    ],
)
def test_error_names_the_key_and_the_value(text, problem):
    [found] = problems_of(text)
    assert problem in found


def test_password_of_a_file_is_not_in_the_repr(tmp_path):
    (tmp_path / "password").write_text("hunter2\n")
    config = parse(f'{SERVER}{FROM}user = "hub"\npassword = {{ file = "{tmp_path}/password" }}')
    assert "hunter2" == config.mail.password
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@example.org", ("", "ann@example.org")),
        (" <ann@example.org> ", ("", "ann@example.org")),
        ('"Ann, the operator" <ann@EXAMPLE.org>', ("Ann, the operator", "ann@example.org")),
        ("Änn <Ann@bücher.example>", ("Änn", "Ann@xn--bcher-kva.example")),
    ],
)
def test_mailbox_has_a_name_or_none(text, expected):
    assert expected == mailbox(text)
