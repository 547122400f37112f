"""X-Forwarded-For of a trusted proxy."""

from __future__ import annotations

import pytest
import trio
from support.listener import INVALID_TOKEN, LOGIN, behind_proxy, listen, open_stream
from support.raw_http import ask
from support.raw_native import PATIENCE
from websockets.trio.client import connect

from hub.testing import address_of

#: X-Forwarded-For as a proxy at 127.0.0.1 sends it, and the client's address.
FORWARDED = [
    ("203.0.113.9", "203.0.113.9"),
    ("203.0.113.9:51234", "203.0.113.9"),
    ("[2001:db8::7]:443", "2001:db8::7"),
    ("[2001:DB8::7]", "2001:db8::7"),
    ('"[2001:db8::7]:443"', "2001:db8::7"),
    ("2001:db8:0:0:0:0:0:7", "2001:db8::7"),
    ("fe80::1%eth0", "fe80::1"),
    ("[fe80::1%25eth0]:1", "fe80::1"),
    ("::ffff:203.0.113.9", "203.0.113.9"),
    ("  203.0.113.9 ", "203.0.113.9"),
    ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
    ("203.0.113.9, 127.0.0.1", "203.0.113.9"),
    ("198.51.100.1, 203.0.113.9:1, 127.0.0.2, 127.0.0.1:80", "203.0.113.9"),
    ("127.0.0.3, 127.0.0.2", "127.0.0.3"),
    ("203.0.113.9, unknown, 127.0.0.2", "127.0.0.2"),
    *((text, "127.0.0.1") for text in ("", ",", "unknown", "_hidden", "<script>alert(1)</script>", "203.0.113.9:x")),
    *(
        (text, "127.0.0.1")
        for text in ("1.2.3", "999.1.1.1", "[::1", "]:[", "1.2.3.4:5:6", "203.0.113.9\xe9", "%", "::1::")
    ),
]


@pytest.mark.parametrize(("header", "address"), FORWARDED)
async def test_forwarded_address_is_parsed_or_ignored(start, header, address):
    async with start(behind_proxy()) as hub:
        lines = f"GET /external/api/get?token=bad&v0 HTTP/1.1\r\nHost: hub\r\nX-Forwarded-For: {header}\r\n\r\n"
        async with open_stream(hub) as stream:
            await stream.send_all(lines.encode("latin-1"))
            with trio.fail_after(PATIENCE):
                assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 400")
        assert [address] == [rejected.address for rejected in hub.rejections.recent]


async def test_forwarded_addresses_of_several_header_lines_are_one_list(start):
    async with start(behind_proxy()) as hub:
        lines = b"GET /external/api/get?token=bad&v0 HTTP/1.1\r\nHost: hub\r\n"
        lines += b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 127.0.0.2\r\n\r\n"
        async with open_stream(hub) as stream:
            await stream.send_all(lines)
            with trio.fail_after(PATIENCE):
                await stream.receive_some(100)
        assert ["203.0.113.9"] == [rejected.address for rejected in hub.rejections.recent]


async def test_forwarded_address_from_an_untrusted_address_is_ignored(start):
    async with start('[hub]\ntrusted_proxies = ["192.0.2.0/24"]\n' + listen()) as hub:
        await ask(hub, "GET", "/external/api/get?token=bad&v0", X_Forwarded_For="203.0.113.9")
        assert ["127.0.0.1"] == [rejected.address for rejected in hub.rejections.recent]


@pytest.mark.parametrize(
    "forwarded", ["203.0.113.9:{}", "[2001:db8::1]:{}", "203.0.113.9, 127.0.0.1:{}", "2001:db8:1:2:{}::7"]
)
async def test_failed_logins_are_counted_per_subscriber_regardless_of_port_and_host(start, forwarded):
    async with start(behind_proxy()) as hub:
        statuses = []
        for port in range(1000, 1008):
            body = {"email": "eva@example.org", "password": "wrong but long"}
            headers = {"X_Forwarded_For": forwarded.format(port)}
            statuses.append((await ask(hub, "POST", "/api/v1/login", body, **headers)).status)
        assert [401] * 5 + [429] * 3 == statuses


async def test_forwarded_address_is_used_for_devices_over_websockets(start):
    async with start(behind_proxy()) as hub:
        host, port = address_of(hub)
        headers = {"X-Forwarded-For": "203.0.113.9:51234"}
        async with connect(f"ws://{host}:{port}/websockets", additional_headers=headers, proxy=None) as socket:
            await socket.send(LOGIN)
            with trio.fail_after(PATIENCE):
                assert INVALID_TOKEN == await socket.recv()
        assert ["203.0.113.9"] == [rejected.address for rejected in hub.rejections.recent]
