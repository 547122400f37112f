from __future__ import annotations

import socket
import string

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hub.config import Config, Limits, Listen, load, parse
from hub.errors import ConfigError, StartupError
from hub.run import running


def problems_of(text, source="hub.toml"):
    """All problems of an invalid configuration, without the file name at the start of each."""
    with pytest.raises(ConfigError) as error:
        parse(text, source)
    for problem in error.value.problems:
        assert problem.startswith(f"{source}: ")
    return [problem.removeprefix(f"{source}: ") for problem in error.value.problems]


# -- the default ------------------------------------------------------------------------------------------------------


def test_shipped_configuration_equals_the_defaults():
    shipped = load()

    assert "hub.toml" in shipped.source
    assert Config(source=shipped.source) == shipped


def test_empty_file_gives_the_defaults():
    assert Config() == parse("")


def test_default_listeners_are_on_the_ports_of_stock_firmware():
    assert [
        ("0.0.0.0", 8080, "off"),
        ("0.0.0.0", 9443, "on"),
        ("0.0.0.0", 1883, "off"),
        ("0.0.0.0", 8883, "on"),
    ] == [(x.host, x.port, x.tls) for x in parse("").listen]


def test_default_storage_syncs_every_commit_and_retains_values_for_90_days():
    assert ("full", "1s", "90d") == (
        parse("").storage.durability,
        parse("").storage.flush,
        parse("").storage.retain_raw,
    )


def test_key_changes_only_its_own_setting():
    config = parse("[limits]\nconnections = 7")

    assert Limits(connections=7) == config.limits
    assert Config().hub == config.hub


def test_data_directory_can_be_replaced():
    assert "/srv/hub" == str(parse("").with_data("/srv/hub").data)


def test_ipv6_address_is_in_brackets():
    listen = Listen(address="[::1]:8080")

    assert ("::1", 8080) == (listen.host, listen.port)
    assert "[::1]:8080" == parse('[[listen]]\naddress = "[::1]:8080"').listen[0].address


def test_integer_is_accepted_for_a_number():
    assert 2 == parse("[hub]\nheartbeat_factor = 2").hub.heartbeat_factor


# -- errors -----------------------------------------------------------------------------------------------------------


def test_problems_in_all_sections_are_reported_together_with_their_keys():
    problems = problems_of("""
        [hub]
        timezone = "Mars/Olympus_Mons"
        [[listen]]
        address = "8080"
        [tls]
        cert = "only.pem"
        [storage]
        flush = "soon"
        [limits]
        connections = 0
        """)

    assert 5 == len(problems)
    for key in ("hub.timezone:", "listen[0].address:", "tls:", "storage.flush:", "limits.connections:"):
        assert [key] == [key for problem in problems if problem.startswith(key)]


def test_problems_of_all_kinds_are_reported_together():
    problems = problems_of("""
        colour = "blue"
        [hub]
        nmae = "Shed"
        timezone = "Mars/Olympus_Mons"
        [storage]
        durability = "none"
        [limits]
        connections = "many"
        """)

    assert 5 == len(problems)
    for key in ("colour", "nmae", "hub.timezone", "storage.durability", "limits.connections"):
        assert [key] == [key for problem in problems if key in problem]


def test_problems_of_every_listener_are_reported():
    problems = problems_of("""
        [[listen]]
        address = "127.0.0.1:80"
        [[listen]]
        address = "127.0.0.1:99999"
        serve = []
        [[listen]]
        address = "::1:80"
        serve = ["telnet"]
        """)

    assert ["listen[1].address", "listen[1].serve", "listen[2].address", "listen[2].serve"] == [
        problem.partition(":")[0] for problem in problems
    ]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[hub]\ncolour = 1", "hub"),
        ("[[listen]]\naddress = 'a:1'\ncolour = 1", "listen[0]"),
        ("[tls]\ncolour = 1", "tls"),
        ("[storage]\ncolour = 1", "storage"),
        ("[limits]\ncolour = 1", "limits"),
        ("[mail]\nfrom_ = 'a@example.org'", "mail"),
        ("[colour]", ""),
        ("colour = 1", ""),
        ("source = 'x'", ""),
    ],
)
def test_unknown_key_is_an_error(text, key):
    [problem] = problems_of(text)

    assert problem.startswith(key)
    assert "unknown key" in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub = 3", "hub"),
        ("listen = 'everywhere'", "listen"),
        ("listen = []", "listen"),
        ("[[listen]]", "listen[0]"),
        ("[listen]\naddress = 'a:1'", "listen"),
        ("plugins = 3", "plugins"),
        ("[plugins]\nhttp = 3", "plugins.http"),
        ("[hub]\nname = 3", "hub.name"),
        ("[hub]\ntrusted_proxies = ['my proxy']", "hub.trusted_proxies"),
        ("[hub]\ntrusted_proxies = '127.0.0.1'", "hub.trusted_proxies"),
        ("[hub]\nheartbeat_factor = 0.5", "hub.heartbeat_factor"),
        ("[hub]\nheartbeat_factor = nan", "hub.heartbeat_factor"),
        ("[hub]\nheartbeat_factor = true", "hub.heartbeat_factor"),
        ("[hub]\ntimezone = ''", "hub.timezone"),
        ("[hub]\ntimezone = '../UTC'", "hub.timezone"),
        ("[[listen]]\naddress = 'host'", "listen[0].address"),
        ("[[listen]]\naddress = ':80'", "listen[0].address"),
        ("[[listen]]\naddress = 'host:http'", "listen[0].address"),
        ("[[listen]]\naddress = 'host:70000'", "listen[0].address"),
        ("[[listen]]\naddress = 'a:1'\ntls = 'maybe'", "listen[0].tls"),
        ("[storage]\nflush = '0s'", "storage.flush"),
        ("[storage]\nflush = '2m'", "storage.flush"),
        ("[storage]\nflush = 1", "storage.flush"),
        ("[storage]\nretain_raw = '3 months'", "storage.retain_raw"),
        ("[storage]\ndurability = 'some'", "storage.durability"),
        ("[limits]\nburst = 0", "limits.burst"),
        ("[limits]\nburst = 1.5", "limits.burst"),
        ("[limits]\nburst = true", "limits.burst"),
    ],
)
def test_error_for_an_invalid_value_names_its_key(text, expected):
    [problem] = problems_of(text)

    assert problem.startswith(expected)


def test_error_for_malformed_toml_names_the_line():
    [problem] = problems_of("[hub\nname = 1")

    assert "line 1" in problem


def test_error_for_a_missing_file_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load(tmp_path / "missing.toml")


def test_error_for_a_file_that_is_not_text_names_it(tmp_path):
    (tmp_path / "hub.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"hub\.toml"):
        load(tmp_path / "hub.toml")


KEYS = st.sampled_from(
    [
        "hub",
        "listen",
        "tls",
        "storage",
        "limits",
        "plugins",
        "name",
        "data",
        "timezone",
        "url",
        "trusted_proxies",
        "heartbeat_factor",
        "address",
        "serve",
        "cert",
        "key",
        "durability",
        "flush",
        "retain_raw",
        "burst",
        "connections",
        "handshakes",
        "mail",
        "server",
        "from",
        "password",
        "enabled",
        "colour",
    ]
)
LEAVES = st.one_of(
    st.text(string.printable, max_size=8),
    st.sampled_from(["UTC", "on", "off", "native", "1s", "host:1", "[::1]:1", "full", "10.0.0.0/8"]),
    st.integers(-5, 70_000),
    st.floats(),
    st.booleans(),
    st.dates(),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(KEYS, TREES, max_size=5))
def test_any_document_is_a_configuration_or_raises_a_config_error(document):
    try:
        assert isinstance(parse(tomli_w.dumps(document)), Config)
    except ConfigError as error:
        assert error.problems
        assert all(problem.strip() for problem in error.problems)


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_secret_may_be_in_a_file(tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    config = parse(f"[plugins.mail]\npassword = {{ file = '{tmp_path}/secret' }}")

    assert {"mail": {"password": "hunter2"}} == config.plugins


def test_secret_may_be_in_the_environment(monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2")
    config = parse("[plugins.mail]\nuser = 'hub'\npassword = { env = 'MAIL_PASSWORD' }")

    assert {"mail": {"user": "hub", "password": "hunter2"}} == config.plugins


def test_errors_for_missing_secrets_name_their_keys(tmp_path, monkeypatch):
    monkeypatch.delenv("MAIL_PASSWORD", raising=False)
    problems = problems_of(f"""
        [tls]
        cert = {{ file = '{tmp_path}/cert' }}
        key = {{ file = '{tmp_path}/key' }}
        [plugins.mail]
        user = 'hub'
        password = {{ env = 'MAIL_PASSWORD' }}
        """)

    assert ["tls.cert", "tls.key", "plugins.mail.password"] == [problem.partition(":")[0] for problem in problems]


def test_error_for_a_secret_that_is_not_text_names_its_key(tmp_path):
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    [problem] = problems_of(f"[plugins.mail]\npassword = {{ file = '{tmp_path}/secret' }}")

    assert problem.startswith("plugins.mail.password:")


def test_plugin_may_have_a_setting_named_file():
    assert {"notes": {"file": "/nowhere/notes.txt"}} == parse("[plugins.notes]\nfile = '/nowhere/notes.txt'").plugins


# -- starting ---------------------------------------------------------------------------------------------------------


async def test_error_for_an_address_in_use_names_its_key_and_port(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = parse(f'[[listen]]\naddress = "127.0.0.1:{port}"').with_data(str(tmp_path / "data"))

        with pytest.raises(StartupError) as error:
            async with running(config):
                pass

    [problem] = error.value.problems
    assert "listen[0].address" in problem
    assert str(port) in problem
