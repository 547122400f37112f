"""Where links lead: reports, files and accounts, asked for by whatever Host, proxy or command."""

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


class Hub:
    """A running hub, and the links that it makes for a request with some headers."""

    def __init__(self, hub, token):
        self.hub, self.token, self.port = hub, token, address_of(hub)[1]
        self.emails = iter(f"user{n}@example.org" for n in range(100))

    async def bases(self, *lines, version="1.1", listener=0):
        """What comes before the path of each kind of link."""
        report = f"GET /external/api/data/get?token={self.token}&period=DAY&pin=v0"
        upload = f"POST /external/api/upload?token={self.token}"
        invite = "POST /api/v1/organization/users/invite"
        invited = json.dumps({"email": next(self.emails)}).encode()
        key = f"Authorization: Bearer {local_key(self.hub)}"
        form = "Content-Type: multipart/form-data; boundary=x"
        return {
            (await self.ask(report, b"", lines, version, listener))["link"].partition("/reports/")[0],
            (await self.ask(upload, FORM, (*lines, form), version, listener)).partition("/device_uploads/")[0],
            (await self.ask(invite, invited, (*lines, key), version, listener))["link"].partition("/account?")[0],
        }

    async def ask(self, line, body, headers, version, listener):
        head = [f"{line} HTTP/{version}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
        stream = await trio.open_tcp_stream("127.0.0.1", address_of(self.hub, listener)[1])
        async with stream:
            await stream.send_all("\r\n".join(head).encode() + b"\r\n\r\n" + body)
            with trio.fail_after(PATIENCE):
                answer = b"".join([part async for part in stream])
        text = answer.partition(b"\r\n\r\n")[2].decode()
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), answer
        return json.loads(text) if text.startswith("{") else text


@asynccontextmanager
async def serving(tmp_path, toml):
    async with running(parse(toml).with_data(str(tmp_path / "data"))) as hub:
        _, token = await add_device(hub, TEMPLATE)
        assert 200 == (await ask(hub, "GET", f"/external/api/update?token={token}&v0=1")).status
        yield Hub(hub, token)


async def test_host_in_links_is_one_of_the_hubs_own(tmp_path):
    async with serving(tmp_path, LOOPBACK) as hub:
        here = f"http://127.0.0.1:{hub.port}"
        for host in ("evil.example", f"evil.example:{hub.port}", "127.0.0.1.evil.example", "a@127.0.0.1", "", "[::1"):
            assert {here} == await hub.bases(f"Host: {host}"), host
        assert {here} == await hub.bases(version="1.0")
        name = socket.gethostname()
        for host in (f"{name}.local:{hub.port}", f"{name.upper()}.LOCAL:80", f"{name}.local"):
            assert {f"http://{host.lower()}"} == await hub.bases(f"Host: {host}"), host


async def test_what_a_stranger_says_of_a_proxy_is_in_no_link(tmp_path):
    async with serving(tmp_path, LOOPBACK) as hub:
        said = ("Host: 127.0.0.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https")
        assert {"http://127.0.0.1"} == await hub.bases(*said)


@pytest.mark.parametrize(
    ("said", "base"),
    [
        (["X-Forwarded-Host: hub.example.org", "X-Forwarded-Proto: https"], "https://hub.example.org"),
        (["X-Forwarded-Host: Hub.example.org:8443", "X-Forwarded-Proto: HTTPS"], "https://hub.example.org:8443"),
        (["X-Forwarded-Host: [2001:db8::1]:80"], "http://[2001:db8::1]:80"),
        # What a client says itself stands left of what the proxy adds.
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
async def test_host_and_scheme_of_a_trusted_proxy_are_in_links(tmp_path, said, base):
    async with serving(tmp_path, PROXY + LOOPBACK) as hub:
        # nginx by itself sends the upstream's name.
        assert {base or f"http://127.0.0.1:{hub.port}"} == await hub.bases("Host: backend", *said)


@pytest.mark.parametrize(("trusted", "status"), [(PROXY, 400), ("", 403)], ids=["trusted", "not trusted"])
async def test_form_is_of_the_same_site_behind_a_proxy(tmp_path, trusted, status):
    async with serving(tmp_path, trusted + LOOPBACK) as hub:
        headers = {"X_Forwarded_Host": "hub.example.org", "Origin": "https://hub.example.org"}
        answer = await ask(hub.hub, "POST", "/account", b"code=x", **headers)
        # 400: the form was taken, and its code is none.
        assert (status, status == 400) == (answer.status, "This link has been used" in answer.text)


async def test_public_address_is_in_links_whatever_the_client_says(tmp_path):
    toml = PROXY.replace("[hub]", '[hub]\nurl = "https://hub.example.org/"') + LOOPBACK
    async with serving(tmp_path, toml) as hub:
        assert {"https://hub.example.org"} == await hub.bases("Host: 127.0.0.1", "X-Forwarded-Host: other.example")


@needs_lan
async def test_links_of_the_hubs_own_machine_open_elsewhere(tmp_path):
    async with serving(tmp_path, WILDCARD) as hub:
        there = f"http://{LAN}:{hub.port}"
        for host in (f"127.0.0.1:{hub.port}", "localhost", "[::1]", "evil.example"):
            assert {there} == await hub.bases(f"Host: {host}"), host
        assert {there} == await hub.bases(version="1.0")
        assert there == hub.hub.link("", None)


@needs_lan
async def test_links_lead_to_a_listener_that_serves_people(tmp_path):
    devices = f'[[listen]]\naddress = "0.0.0.0:0"\nserve = ["device-http"]\n{WILDCARD}'
    async with serving(tmp_path, LOOPBACK + devices) as hub:
        port = address_of(hub.hub, 2)[1]
        assert f"http://{LAN}:{port}" == hub.hub.link("", None)
        upload = f"POST /external/api/upload?token={hub.token}"
        form = ("Content-Type: multipart/form-data; boundary=x", f"Host: {LAN}")
        asked = await hub.ask(upload, FORM, form, "1.1", listener=1)
        assert asked.startswith(f"http://{LAN}:{port}/device_uploads/")


@needs_lan
def test_commands_print_links_and_addresses_that_open_elsewhere(tmp_path):
    house = CommandLine(tmp_path / "wild", WILDCARD)
    with house.running() as line:
        port = house.state["listen"][0]["address"].rpartition(":")[2]
        assert f"ready {LAN}:{port}\n" == line
        assert f"0.0.0.0:{port}" == house.state["listen"][0]["address"]
        assert f"link: http://{LAN}:{port}/account?code=" in house("user", "add", "ann@example.org").out
        assert f"http://{LAN}:{port}/account?code=" in house("user", "reset-password", "ann@example.org").out


def test_link_that_opens_here_only_says_what_to_set(tmp_path):
    house = CommandLine(tmp_path / "loop", LOOPBACK)
    said = "It opens on this machine only: set [hub] url in hub.toml for links that open elsewhere."
    with house.running():
        assert said == house("user", "add", "ann@example.org").out.splitlines()[-1]
        assert said == house("user", "reset-password", "ann@example.org").out.splitlines()[-1]


def test_link_of_a_stopped_hub_is_where_it_will_listen(tmp_path):
    config = parse('[[listen]]\naddress = "192.0.2.7:1883"\nserve = ["mqtt"]\n[[listen]]\naddress = "192.0.2.7:8080"')
    assert "http://192.0.2.7:8080/x" == link("/x", None, config, None)


@pytest.mark.parametrize(
    ("address", "here"),
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
def test_loopback_is_only_here(address, here):
    assert here == is_only_here(address)


def test_listeners_with_an_address_of_their_own_are_named_by_it():
    assert ["192.0.2.7:80", "[2001:db8::1]:80"] == [reachable(one) for one in ("192.0.2.7:80", "[2001:db8::1]:80")]
