"""PROXY protocol headers: parsing, and trust in the address that they name."""

from __future__ import annotations

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from support.certificates import unverified_context
from support.listener import (
    ADDRESS_OF_HEADER,
    HALF_HELLO,
    INVALID_TOKEN,
    LOGIN,
    TEXT_TEMPLATE,
    V1,
    V1_6,
    V2,
    V2_6,
    V2_SIGNATURE,
    answers_login,
    behind_proxy,
    listen,
    open_stream,
    receive_to_end,
    v2,
)
from support.raw_native import OK, PATIENCE, RawClient

from hub.facts import DeviceConnected
from hub.net.proxy_protocol import proxy_header
from hub.net.timeouts import NetTimeouts
from hub.testing import add_device


@given(
    st.binary(max_size=300)
    | st.binary(max_size=300).map(b"PROXY ".__add__)
    | st.binary(max_size=300).map(V2_SIGNATURE.__add__)
)
@example(b"")
@example(b"PROXY TCP4 \xff\xfe 1 1 1\r\n")
def test_parser_of_headers_accepts_any_bytes(data):
    parsed = proxy_header(data)

    assert parsed is None or 0 <= parsed[1] <= len(data)


@given(st.sampled_from(sorted(ADDRESS_OF_HEADER)), st.binary(max_size=50), st.integers(0, 400))
def test_header_is_parsed_as_soon_as_it_is_complete(header, rest, cut):
    received = (header + rest)[:cut]

    assert ((ADDRESS_OF_HEADER[header], len(header)) if cut >= len(header) else None) == proxy_header(received)


@given(st.sampled_from([LOGIN, HALF_HELLO, b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"PUT / HTTP/1.1\r\n"]))
def test_first_bytes_of_other_protocols_are_not_a_header(data):
    assert ("", 0) == proxy_header(data)


@pytest.mark.parametrize("header", [V1, V1_6, V2, V2_6])
async def test_address_of_a_trusted_proxys_header_is_used(start, header):
    addresses = []
    async with start(behind_proxy()) as hub:
        hub.subscribe(DeviceConnected, lambda fact: addresses.append(fact.address))
        _, token = await add_device(hub, TEXT_TEMPLATE)
        async with open_stream(hub) as stream:
            for n in range(len(header)):
                await stream.send_all(header[n : n + 1])
            assert OK == await RawClient(stream).login(token)

    assert [ADDRESS_OF_HEADER[header]] == addresses


async def test_tls_begins_after_the_header(start):
    async with start(behind_proxy(tls="on")) as hub, open_stream(hub) as stream:
        await stream.send_all(V1)
        encrypted = trio.SSLStream(stream, unverified_context(), https_compatible=True)
        with trio.fail_after(PATIENCE):
            await encrypted.send_all(LOGIN)
            assert INVALID_TOKEN == await encrypted.receive_some(100)
        assert ["203.0.113.7"] == [rejected.address for rejected in hub.rejections.recent]


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", v2(command=0x20), b""])
async def test_connection_of_the_proxy_itself_has_its_own_address(start, header):
    async with start(behind_proxy()) as hub:
        assert await answers_login(hub, before=header)
        assert ["127.0.0.1"] == [rejected.address for rejected in hub.rejections.recent]


@pytest.mark.parametrize("header", [V1, V2])
async def test_header_of_an_untrusted_address_is_rejected(start, header):
    async with start('[hub]\ntrusted_proxies = ["192.0.2.0/24"]\n' + listen()) as hub:
        assert not await answers_login(hub, before=header + b"\r\n\r\n")
        assert {"127.0.0.1"} >= {rejected.address for rejected in hub.rejections.recent}


@pytest.mark.timeouts(NetTimeouts(first_bytes=0.05))
async def test_connection_with_an_incomplete_header_is_closed_after_the_deadline(start):
    async with start(behind_proxy()) as started, open_stream(started) as stream:
        await stream.send_all(V1[:10])

        assert b"" == await receive_to_end(stream)
