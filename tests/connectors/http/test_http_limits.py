"""Limits of headers, bodies and connections."""

from __future__ import annotations

import pytest
import trio
from support.http_routes import CHUNKED, HEALTH, MAX_BODY, MAX_HEADER, echo_request, is_closed, request_of_size
from support.patience import patient
from support.raw_http import connected, request
from trio.testing import wait_all_tasks_blocked

from hub.config import parse
from hub.run import running
from hub.testing import LOOPBACK, address_of


async def test_header_of_16_kib_is_accepted(http):
    await http.send(request_of_size(MAX_HEADER))

    assert 200 == (await http.read_response()).status


@pytest.mark.parametrize("size", [MAX_HEADER + 1, MAX_HEADER + 1024, 40 * 1024])
async def test_header_over_16_kib_is_rejected(http, size):
    await http.send(request_of_size(size))

    assert 431 == (await http.read_response()).status
    assert await is_closed(http)


async def test_header_over_16_kib_without_an_end_is_rejected(http):
    await http.send(request_of_size(MAX_HEADER + 8192)[:-4])

    assert 431 == (await http.read_response()).status
    assert await is_closed(http)


async def test_body_of_2_mb_is_accepted(http):
    assert b"x" * MAX_BODY == (await http.ask("POST", "/test/echo", b"x" * MAX_BODY)).body


async def test_body_over_2_mb_is_rejected_by_its_content_length(http):
    await http.send(b"POST /test/echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 2097153\r\n\r\n")

    assert 413 == (await http.read_response()).status
    assert await is_closed(http)


async def test_body_over_2_mb_is_rejected_while_it_is_sent(http):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.send, echo_request(b"x" * (MAX_BODY + 1)))

        assert 413 == (await http.read_response()).status
        assert await is_closed(http)


async def test_chunked_body_over_2_mb_is_rejected(http):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.send, CHUNKED + chunk * (MAX_BODY // 0x10000 + 1))

        assert 413 == (await http.read_response()).status
        assert await is_closed(http)


@pytest.mark.parametrize("at", [1, 4, 16, 60])
async def test_header_that_is_too_long_is_rejected_for_every_split(hub, at):
    data = request_of_size(MAX_HEADER + 2000)
    async with connected(hub) as http:
        await http.send(data[:-at])
        await wait_all_tasks_blocked()
        await http.send(data[-at:])

        assert 431 == (await http.read_response()).status


@pytest.mark.parametrize(
    ("sent", "is_cross_origin"), [(HEALTH, False), (b"\r\n" + request("GET", "/external/api/get?token=x&v0"), True)]
)
async def test_connection_over_the_limit_is_answered_with_503(tmp_path, sent, is_cross_origin):
    config = parse(LOOPBACK + "[limits]\nconnections = 1").with_data(str(tmp_path / "other"))
    async with running(config) as small:
        async with (
            await trio.open_tcp_stream(*address_of(small)),
            await trio.open_tcp_stream(*address_of(small)) as excess,
        ):
            await excess.send_all(sent)
            response = b""
            with trio.fail_after(patient(10)):
                while part := await excess.receive_some(4096):
                    response += part

    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Retry-After: 5" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert is_cross_origin == (b"Access-Control-Allow-Origin: *" in head)
