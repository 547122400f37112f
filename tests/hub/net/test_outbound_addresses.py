"""Addresses that outbound requests may reach, and name resolution."""

from __future__ import annotations

import socket

import pytest
import trio
from support.outbound import OK, RecordingServer, failure, loopback

from hub.errors import StartupError
from hub.net import Outbound

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_address_that_is_not_public_is_rejected(address, monkeypatch, resolver):
    def connect(*_args):
        raise AssertionError("a socket was created")

    monkeypatch.setattr(trio.socket, "socket", connect)
    resolver["hook.example"] = [[address]]
    host = f"[{address}]" if ":" in address else address

    literal = await failure(f"http://{host}/", Outbound())
    name = await failure("http://hook.example/", Outbound())

    for error in (literal, name):
        assert "not public" in str(error)
        assert not error.temporary
    assert "hook.example:80 is refused: its address" in str(name)


@pytest.mark.parametrize("address", ["8.8.8.8", "100.63.255.255", "172.32.0.1", "2a00:1450:4001::1", "2606:4700::1111"])
async def test_public_address_is_connected_to(address, monkeypatch, resolver):
    connected = []

    class Socket:
        def __init__(self, *_kind):
            pass

        async def connect(self, to):
            connected.append(to)
            raise OSError(101, "Network is unreachable")

        def close(self):
            pass

    monkeypatch.setattr(trio.socket, "socket", Socket)
    resolver["hook.example"] = [[address]]

    error = await failure("http://hook.example:8080/", Outbound())

    assert [(address, 8080)] == connected
    assert "cannot connect to hook.example:8080: Network is unreachable" == str(error)
    assert error.temporary


async def test_allowed_network_allows_no_other_addresses(serve):
    server = await serve()
    outbound = Outbound(allowed_networks=["127.0.0.1/32"])
    assert 200 == (await outbound.request("GET", server.url)).status
    assert "not public" in str(await failure(f"http://127.0.0.2:{server.port}/", outbound))
    assert "not public" in str(await failure(f"http://[::ffff:127.0.0.1]:{server.port}/", outbound))
    assert "not public" in str(await failure(f"http://[::1]:{server.port}/", outbound))
    assert 1 == server.connections


async def test_ipv6_address_is_connected_to_and_named_in_brackets(nursery):
    server = RecordingServer(OK)
    try:
        [listener] = await trio.open_tcp_listeners(0, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    nursery.start_soon(trio.serve_listeners, server.serve, [listener])
    host = f"[::1]:{listener.socket.getsockname()[1]}"
    assert 200 == (await Outbound(allowed_networks=["::1/128"]).request("GET", f"http://{host}/")).status
    assert host == server.requests[0][2]["host"]


@pytest.mark.parametrize("network", ["127.0.0.1/8", "localhost", ""])
def test_invalid_network_is_rejected_at_the_start(network):
    with pytest.raises(StartupError, match="is not valid"):
        Outbound(allowed_networks=[network])


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0X7F000001",
        "0x7f.1",
        "0x7f.0x1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.0x1",
        "127.0.0.1.",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "[::1%25lo]",
        "[fe80::1%25eth0]",
        "[::1",
        "[127.0.0.1]x",
        "127.0.0.1%00.example.org",
    ],
)
async def test_address_in_an_unusual_spelling_is_never_connected_to(serve, host):
    server = await serve()
    error = await failure(f"http://{host}:{server.port}/")
    assert not error.temporary
    assert 0 == server.connections


async def test_address_with_a_zone_is_rejected_even_in_an_allowed_network():
    allowed = Outbound(allowed_networks=["fe80::/10", "::1/128"])
    for host in ("fe80::1%25lo", "::1%251"):
        assert "is not valid: write an address as" in str(await failure(f"http://[{host}]/", allowed))


async def test_name_is_resolved_once_against_dns_rebinding(serve, resolver):
    server, other = await serve(), await serve()
    resolver["rebind.example"] = [["127.0.0.1"], ["127.0.0.2"]]

    response = await Outbound(allowed_networks=["127.0.0.1/32"]).request("GET", f"http://rebind.example:{server.port}/")

    assert 200 == response.status
    assert ["rebind.example"] == resolver["lookups"]
    assert f"rebind.example:{server.port}" == server.requests[0][2]["host"]
    assert 0 == other.connections


async def test_addresses_of_a_name_that_are_not_allowed_are_skipped(serve, resolver):
    server = await serve()
    resolver["mixed.example"] = [["10.0.0.1", "::1", "127.0.0.2", "127.0.0.1"]]
    outbound = Outbound(allowed_networks=["127.0.0.1/32"])
    assert 200 == (await outbound.request("GET", f"http://mixed.example:{server.port}/")).status


async def test_next_address_is_tried_when_a_connection_is_refused(serve, resolver):
    server = await serve()
    resolver["two.example"] = [["127.0.0.9", "127.0.0.1"]]
    assert 200 == (await loopback().request("GET", f"http://two.example:{server.port}/")).status


async def test_name_that_does_not_exist_is_a_temporary_error(monkeypatch):
    def getaddrinfo(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = await failure("http://nowhere.example/")
    assert "cannot resolve the name nowhere.example: Name or service not known" == str(error)
    assert error.temporary


async def test_closed_port_is_a_temporary_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await failure(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert "Connection refused" in str(error)
    assert error.temporary
