"""Base of the links to reports, files and accounts, by Host header, proxy, listener and command."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager

import pytest
import trio
from support.command import CommandLine
from support.raw_http import PATIENCE, ask, local_key

from hub.api import is_only_here, reachable
from hub.api.links import link
from hub.config import parse
from hub.net.certificates import lan_address
from hub.run import running
from hub.testing import add_device, address_of

TEMPLATE = '[template]\nname = "T"\n[[datastream]]\npin = "V0"\nname = "T"'
LOOPBACK = '[[listen]]\naddress = "127.0.0.1:0"\n'
WILDCARD = '[[listen]]\naddress = "0.0.0.0:0"\n'
PROXY = '[hub]\ntrusted_proxies = ["127.0.0.1"]\n'
LAN = lan_address(socket.AF_INET)
needs_lan = pytest.mark.skipif(not LAN, reason="this machine has no address in a network")
FORM = b'--x\r\nContent-Disposition: form-data; name="upfile"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'


class LinkingHub:
    """A running hub, and the links in its responses to requests with some headers."""

    def __init__(self, hub, token):
        self.hub, self.token, self.port = hub, token, address_of(hub)[1]
        self.emails = iter(f"user{n}@example.org" for n in range(100))

    async def bases(self, *lines, version="1.1", listener=0):
        """The base of each kind of link: the part before the path."""
        report = f"GET /external/api/data/get?token={self.token}&period=DAY&pin=v0"
        upload = f"POST /external/api/upload?token={self.token}"
        invite = "POST /api/v1/organization/users/invite"
        account = json.dumps({"email": next(self.emails)}).encode()
        key = f"Authorization: Bearer {local_key(self.hub)}"
        form = "Content-Type: multipart/form-data; boundary=x"
        return {
            (await self.ask(report, b"", lines, version, listener))["link"].partition("/reports/")[0],
            (await self.ask(upload, FORM, (*lines, form), version, listener)).partition("/device_uploads/")[0],
            (await self.ask(invite, account, (*lines, key), version, listener))["link"].partition("/account?")[0],
        }

    async def ask(self, line, body, headers, version, listener):
        head = [f"{line} HTTP/{version}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
        stream = await trio.open_tcp_stream("127.0.0.1", address_of(self.hub, listener)[1])
        async with stream:
            await stream.send_all("\r\n".join(head).encode() + b"\r\n\r\n" + body)
            with trio.fail_after(PATIENCE):
                response = b"".join([part async for part in stream])
        text = response.partition(b"\r\n\r\n")[2].decode()
        assert response.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), response
        return json.loads(text) if text.startswith("{") else text


@asynccontextmanager
async def serving(tmp_path, toml):
    async with running(parse(toml).with_data(str(tmp_path / "data"))) as hub:
        _, token = await add_device(hub, TEMPLATE)
        assert 200 == (await ask(hub, "GET", f"/external/api/update?token={token}&v0=1")).status
        yield LinkingHub(hub, token)


async def test_host_in_links_is_a_name_or_address_of_the_hub(tmp_path):
    async with serving(tmp_path, LOOPBACK) as hub:
        here = f"http://127.0.0.1:{hub.port}"
        for host in ("evil.example", f"evil.example:{hub.port}", "127.0.0.1.evil.example", "a@127.0.0.1", "", "[::1"):
            assert {here} == await hub.bases(f"Host: {host}"), host
        assert {here} == await hub.bases(version="1.0")
        name = socket.gethostname()
        for host in (f"{name}.local:{hub.port}", f"{name.upper()}.LOCAL:80", f"{name}.local"):
            assert {f"http://{host.lower()}"} == await hub.bases(f"Host: {host}"), host


async def test_forwarded_headers_of_an_untrusted_client_are_ignored(tmp_path):
    async with serving(tmp_path, LOOPBACK) as hub:
        headers = ("Host: 127.0.0.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https")
        assert {"http://127.0.0.1"} == await hub.bases(*headers)


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        (["X-Forwarded-Host: hub.example.org", "X-Forwarded-Proto: https"], "https://hub.example.org"),
        (["X-Forwarded-Host: Hub.example.org:8443", "X-Forwarded-Proto: HTTPS"], "https://hub.example.org:8443"),
        (["X-Forwarded-Host: [2001:db8::1]:80"], "http://[2001:db8::1]:80"),
        # The value of the client is left of the one that the proxy adds.
        (
            ["X-Forwarded-Host: evil.example, hub.example.org", "X-Forwarded-Proto: http, https"],
            "https://hub.example.org",
        ),
        (["X-Forwarded-Host: evil.example", "X-Forwarded-Host: hub.example.org"], "http://hub.example.org"),
        (["X-Forwarded-Host: a b", "X-Forwarded-Proto: https"], None),
        (["X-Forwarded-Host: <script>"], None),
        (["X-Forwarded-Host: evil.example/?"], None),
        (["X-Forwarded-Proto: https"], None),
    ],
    ids=str,
)
async def test_host_and_scheme_of_a_trusted_proxy_are_in_links(tmp_path, headers, base):
    async with serving(tmp_path, PROXY + LOOPBACK) as hub:
        # nginx sends the name of the upstream by default.
        assert {base or f"http://127.0.0.1:{hub.port}"} == await hub.bases("Host: backend", *headers)


@pytest.mark.parametrize(("trusted", "status"), [(PROXY, 400), ("", 403)], ids=["trusted", "not trusted"])
async def test_origin_of_a_form_is_compared_with_the_forwarded_host_of_a_trusted_proxy(tmp_path, trusted, status):
    async with serving(tmp_path, trusted + LOOPBACK) as hub:
        headers = {"X_Forwarded_Host": "hub.example.org", "Origin": "https://hub.example.org"}
        response = await ask(hub.hub, "POST", "/account", b"code=x", **headers)
        # 400: the form was accepted, and its code is invalid.
        assert (status, status == 400) == (response.status, "This link has been used" in response.text)


async def test_configured_url_is_in_links_regardless_of_headers(tmp_path):
    toml = PROXY.replace("[hub]", '[hub]\nurl = "https://hub.example.org/"') + LOOPBACK
    async with serving(tmp_path, toml) as hub:
        assert {"https://hub.example.org"} == await hub.bases("Host: 127.0.0.1", "X-Forwarded-Host: other.example")


@needs_lan
async def test_links_for_local_clients_have_the_lan_address(tmp_path):
    async with serving(tmp_path, WILDCARD) as hub:
        base = f"http://{LAN}:{hub.port}"
        for host in (f"127.0.0.1:{hub.port}", "localhost", "[::1]", "evil.example"):
            assert {base} == await hub.bases(f"Host: {host}"), host
        assert {base} == await hub.bases(version="1.0")
        assert base == hub.hub.link("", None)


@needs_lan
async def test_links_have_the_port_of_a_listener_for_users(tmp_path):
    devices = f'[[listen]]\naddress = "0.0.0.0:0"\nserve = ["device-http"]\n{WILDCARD}'
    async with serving(tmp_path, LOOPBACK + devices) as hub:
        port = address_of(hub.hub, 2)[1]
        assert f"http://{LAN}:{port}" == hub.hub.link("", None)
        upload = f"POST /external/api/upload?token={hub.token}"
        form = ("Content-Type: multipart/form-data; boundary=x", f"Host: {LAN}")
        location = await hub.ask(upload, FORM, form, "1.1", listener=1)
        assert location.startswith(f"http://{LAN}:{port}/device_uploads/")


@needs_lan
def test_commands_print_links_and_addresses_with_the_lan_address(tmp_path):
    cli = CommandLine(tmp_path / "wild", WILDCARD)
    with cli.running() as line:
        port = cli.state["listen"][0]["address"].rpartition(":")[2]
        assert f"ready {LAN}:{port}\n" == line
        assert f"0.0.0.0:{port}" == cli.state["listen"][0]["address"]
        assert f"link: http://{LAN}:{port}/account?code=" in cli("user", "add", "ann@example.org").out
        assert f"http://{LAN}:{port}/account?code=" in cli("user", "reset-password", "ann@example.org").out


def test_command_explains_how_to_make_a_loopback_link_reachable(tmp_path):
    cli = CommandLine(tmp_path / "loop", LOOPBACK)
    hint = "It opens on this machine only: set [hub] url in hub.toml for links that open elsewhere."
    with cli.running():
        assert hint == cli("user", "add", "ann@example.org").out.splitlines()[-1]
        assert hint == cli("user", "reset-password", "ann@example.org").out.splitlines()[-1]


def test_link_of_a_stopped_hub_has_the_address_of_its_listener(tmp_path):
    config = parse('[[listen]]\naddress = "192.0.2.7:1883"\nserve = ["mqtt"]\n[[listen]]\naddress = "192.0.2.7:8080"')
    assert "http://192.0.2.7:8080/x" == link("/x", None, config, None)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:1/", True),
        ("http://127.8.0.1", True),
        ("https://localhost:1/x", True),
        ("http://[::1]:8080/", True),
        ("http://192.0.2.1:1/", False),
        ("http://[2001:db8::1]:1/", False),
        ("http://pi.local/", False),
    ],
)
def test_loopback_address_is_recognized(address, expected):
    assert expected == is_only_here(address)


def test_reachable_address_of_a_specific_listener_is_its_own():
    assert ["192.0.2.7:80", "[2001:db8::1]:80"] == [
        reachable(address) for address in ("192.0.2.7:80", "[2001:db8::1]:80")
    ]
