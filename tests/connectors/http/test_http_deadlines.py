"""Deadlines of headers, bodies and idle connections."""

from __future__ import annotations

import pytest
import trio
from support.http_routes import HEALTH, echo_request, is_closed
from trio.testing import wait_all_tasks_blocked

from connectors.http.timeouts import HttpTimeouts


@pytest.mark.timeouts(HttpTimeouts(idle=0.3))
async def test_empty_lines_do_not_keep_a_connection_open(http):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_slowly, http, b"\r\n" * 500)

        assert await is_closed(http)
        nursery.cancel_scope.cancel()


@pytest.mark.timeouts(HttpTimeouts(header=0.05))
async def test_header_after_the_deadline_is_answered_with_408(http):
    await http.send(b"GET /health HT")

    assert 408 == (await http.read_response()).status
    assert await is_closed(http)


async def send_slowly(http, data):
    """Send byte by byte, with pauses that are shorter than each deadline."""
    for n in range(len(data)):
        await http.send(data[n : n + 1])
        await trio.sleep(0.02)


@pytest.mark.timeouts(HttpTimeouts(header=0.2))
async def test_header_that_is_sent_slowly_is_answered_with_408(http):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_slowly, http, HEALTH)

        assert 408 == (await http.read_response()).status
        nursery.cancel_scope.cancel()


@pytest.mark.timeouts(HttpTimeouts(header=0.05, idle=1.0))
async def test_late_header_after_another_request_is_answered_with_408(http):
    await http.send(HEALTH + b"GET /health HT")

    assert 200 == (await http.read_response()).status
    assert 408 == (await http.read_response()).status


@pytest.mark.timeouts(HttpTimeouts(body=0.05))
async def test_body_after_the_deadline_is_answered_with_408(http):
    await http.send(echo_request(b"complete")[:-4])

    assert 408 == (await http.read_response()).status
    assert await is_closed(http)


@pytest.mark.timeouts(HttpTimeouts(body=0.2))
async def test_body_that_is_sent_slowly_is_answered_with_408(http):
    await http.send(b"POST /test/echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 40\r\n\r\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_slowly, http, b"x" * 40)

        assert 408 == (await http.read_response()).status
        nursery.cancel_scope.cancel()


@pytest.mark.timeouts(HttpTimeouts(idle=0.05))
async def test_idle_connection_is_closed_without_a_response(http, caplog):
    assert 200 == (await http.get("/health")).status
    assert await is_closed(http)
    await wait_all_tasks_blocked()
    assert [] == [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.timeouts(HttpTimeouts(body=0.05))
async def test_streamed_response_may_take_longer_than_the_deadline_of_a_body(http):
    assert "one,two" == (await http.get("/test/streamed")).text
