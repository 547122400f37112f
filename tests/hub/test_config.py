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
    """Every problem of a configuration, without the name of the file that each begins with."""
    with pytest.raises(ConfigError) as refused:
        parse(text, source)
    for problem in refused.value.problems:
        assert problem.startswith(f"{source}: ")
    return [problem.removeprefix(f"{source}: ") for problem in refused.value.problems]


# -- the default ------------------------------------------------------------------------------------------------------


def test_the_shipped_default_says_what_the_defaults_are():
    shipped = load()

    assert "hub.toml" in shipped.source
    assert Config(source=shipped.source) == shipped


def test_an_empty_file_is_the_default():
    assert Config() == parse("")


def test_the_default_listens_where_stock_firmware_dials():
    assert [
        ("0.0.0.0", 8080, "off"),
        ("0.0.0.0", 9443, "on"),
        ("0.0.0.0", 1883, "off"),
        ("0.0.0.0", 8883, "on"),
    ] == [(x.host, x.port, x.tls) for x in parse("").listen]


def test_the_default_syncs_every_commit_to_disk():
    assert ("full", "1s", "90d") == (
        parse("").storage.durability,
        parse("").storage.flush,
        parse("").storage.retain_raw,
    )


def test_a_key_that_is_given_changes_only_itself():
    config = parse("[limits]\nconnections = 7")

    assert Limits(connections=7) == config.limits
    assert Config().hub == config.hub


def test_the_data_directory_can_be_another():
    assert "/srv/hub" == str(parse("").with_data("/srv/hub").data)


def test_an_ipv6_address_has_brackets():
    listen = Listen(address="[::1]:8080")

    assert ("::1", 8080) == (listen.host, listen.port)
    assert "[::1]:8080" == parse('[[listen]]\naddress = "[::1]:8080"').listen[0].address


def test_an_integer_will_do_for_a_number():
    assert 2 == parse("[hub]\nheartbeat_factor = 2").hub.heartbeat_factor


# -- mistakes ---------------------------------------------------------------------------------------------------------


def test_five_mistakes_in_five_sections_are_said_at_once_each_with_its_key():
    found = problems_of("""
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

    assert 5 == len(found)
    for key in ("hub.timezone:", "listen[0].address:", "tls:", "storage.flush:", "limits.connections:"):
        assert [key] == [key for problem in found if problem.startswith(key)]


def test_five_mistakes_of_every_kind_are_said_at_once():
    found = problems_of("""
        colour = "blue"
        [hub]
        nmae = "Shed"
        timezone = "Mars/Olympus_Mons"
        [storage]
        durability = "none"
        [limits]
        connections = "many"
        """)

    assert 5 == len(found)
    for word in ("colour", "nmae", "hub.timezone", "storage.durability", "limits.connections"):
        assert [word] == [word for problem in found if word in problem]


def test_every_listener_is_looked_at():
    found = problems_of("""
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
        problem.partition(":")[0] for problem in found
    ]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[hub]\ncolour = 1", "hub"),
        ("[[listen]]\naddress = 'a:1'\ncolour = 1", "listen[0]"),
        ("[tls]\ncolour = 1", "tls"),
        ("[storage]\ncolour = 1", "storage"),
        ("[limits]\ncolour = 1", "limits"),
        ("[colour]", ""),
        ("colour = 1", ""),
        ("source = 'x'", ""),
    ],
)
def test_an_unknown_key_is_an_error(text, key):
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
def test_a_bad_value_is_an_error_that_names_its_key(text, expected):
    [problem] = problems_of(text)

    assert problem.startswith(expected)


def test_what_is_no_toml_is_an_error_with_its_line():
    [problem] = problems_of("[hub\nname = 1")

    assert "line 1" in problem


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load(tmp_path / "missing.toml")


def test_a_file_that_is_no_text_is_an_error_that_names_it(tmp_path):
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
def test_any_document_is_a_configuration_or_a_config_error(document):
    try:
        assert isinstance(parse(tomli_w.dumps(document)), Config)
    except ConfigError as error:
        assert error.problems
        assert all(problem.strip() for problem in error.problems)


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_may_stand_in_a_file(tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    config = parse(f"[plugins.mail]\npassword = {{ file = '{tmp_path}/secret' }}")

    assert {"mail": {"password": "hunter2"}} == config.plugins


def test_a_secret_may_stand_in_the_environment(monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2")
    config = parse("[plugins.mail]\nuser = 'hub'\npassword = { env = 'MAIL_PASSWORD' }")

    assert {"mail": {"user": "hub", "password": "hunter2"}} == config.plugins


def test_secrets_that_are_not_there_are_errors_with_their_keys(tmp_path, monkeypatch):
    monkeypatch.delenv("MAIL_PASSWORD", raising=False)
    found = problems_of(f"""
        [tls]
        cert = {{ file = '{tmp_path}/cert' }}
        key = {{ file = '{tmp_path}/key' }}
        [plugins.mail]
        user = 'hub'
        password = {{ env = 'MAIL_PASSWORD' }}
        """)

    assert ["tls.cert", "tls.key", "plugins.mail.password"] == [problem.partition(":")[0] for problem in found]


def test_a_secret_that_is_no_text_is_an_error_with_its_key(tmp_path):
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    [problem] = problems_of(f"[plugins.mail]\npassword = {{ file = '{tmp_path}/secret' }}")

    assert problem.startswith("plugins.mail.password:")


def test_a_plugin_may_have_one_setting_that_is_named_file():
    assert {"notes": {"file": "/nowhere/notes.txt"}} == parse("[plugins.notes]\nfile = '/nowhere/notes.txt'").plugins


# -- at the start -----------------------------------------------------------------------------------------------------


async def test_an_address_that_is_taken_is_said_with_its_key(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = parse(f'[[listen]]\naddress = "127.0.0.1:{port}"').with_data(str(tmp_path / "data"))

        with pytest.raises(StartupError) as refused:
            async with running(config):
                pass

    [problem] = refused.value.problems
    assert "listen[0].address" in problem
    assert str(port) in problem
