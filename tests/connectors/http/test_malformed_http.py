"""Malformed requests, and the list of rejections."""

from __future__ import annotations

import pytest
from support.http_routes import HEALTH, MAX_BODY, MAX_HEADER, UPGRADE_WITHOUT_KEY, is_closed, request_of_size
from support.raw_http import UPGRADE, request
from support.rejections import rejection_reasons
from trio.testing import wait_all_tasks_blocked


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (
            "POST /test/echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
            "both Content-Length and Transfer-Encoding",
        ),
        (
            "POST /test/echo HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            "both Content-Length and Transfer-Encoding",
        ),
        (
            "POST /test/echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
            "with different values",
        ),
        ("POST /test/echo HTTP/1.1\r\nHost: hub\r\nContent-Length: -1\r\n\r\n", "a number of bytes"),
        ("POST /test/echo HTTP/1.1\r\nHost: hub\r\nContent-Length: abc\r\n\r\n", "a number of bytes"),
        ("POST /test/echo HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n", "its size"),
        ("POST /test/echo HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "ends with CR LF"),
        ("GET /health HTTP/1.1\r\n\r\n", "needs a Host header"),
        ("GET /health HTTP/1.1\r\nHost: hub\r\nHost: other\r\n\r\n", "no more than one Host header"),
        ("GET /health HTTP/1.1\r\nHost: hub\r\nno colon\r\n\r\n", "a colon and a value"),
        ("GET /health HTTP/1.1\r\nHost : hub\r\n\r\n", "no space before the colon"),
        ("GET /health HTTP/1.1\r\nHost: h\0b\r\n\r\n", "no control characters"),
        ("GET /health HTTP/1.1\r\n Host: hub\r\n\r\n", "must not begin with a space"),
        ("GET /he alth HTTP/1.1\r\nHost: hub\r\n\r\n", "has a space: they must be percent-encoded"),
        ("GET /h\xe4lth HTTP/1.1\r\nHost: hub\r\n\r\n", "has characters outside ASCII"),
        ("GET /h\xe4 lth HTTP/1.1\r\nHost: hub\r\n\r\n", "has a space and characters outside ASCII"),
        ("GET /he\talth HTTP/1.1\r\nHost: hub\r\n\r\n", "has control characters"),
        ("GET  HTTP/1.1\r\nHost: hub\r\n\r\n", "a target between"),
        ("GET /health\r\n\r\n", "a line like GET /path HTTP/1.1"),
        ("GET\r\n\r\n", "a line like GET /path HTTP/1.1"),
        ("GARBAGE\r\n\r\n", "a line like GET /path HTTP/1.1"),
        ("HELO there\r\nEHLO\r\n\r\n", "a line like GET /path HTTP/1.1"),
        ("G\0\0\0\r\n\r\n", "a line like GET /path HTTP/1.1"),
    ],
)
async def test_response_to_a_malformed_request_names_the_rule_that_it_breaks(hub, http, caplog, head, rule):
    await http.send(head.replace("/health", "/health?token=secret").encode("latin-1"))

    response = await http.read_response()
    assert (400, "close") == (response.status, response.headers["connection"])
    assert rule in response.text
    assert await is_closed(http)
    assert [("127.0.0.1", f"HTTP 400: {response.text}")] == [
        (rejected.address, rejected.reason) for rejected in hub.rejections.recent
    ]
    assert [f"refused: 127.0.0.1 HTTP 400: {response.text}"] == caplog.messages
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request_of_size(MAX_HEADER + 1), 431),
        (request("POST", "/test/echo", content_length=MAX_BODY + 1), 413),
        (request("POST", "/test/echo", transfer_encoding="gzip"), 501),
        (request("POST", "/websockets", **UPGRADE), 400),
    ],
)
async def test_rejected_request_is_recorded_in_the_list_of_rejections(hub, http, sent, status):
    await http.send(sent)

    response = await http.read_response()
    assert status == response.status
    assert [f"HTTP {status}: {response.text}"] == rejection_reasons(hub)


@pytest.mark.parametrize("path", ["/websockets", "/mqtt"])
async def test_malformed_websocket_handshake_is_recorded_in_the_list_of_rejections(hub, http, path):
    await http.send(request("GET", path, **UPGRADE_WITHOUT_KEY))

    assert 400 == (await http.read_response()).status
    assert ["HTTP 400: The handshake of a WebSocket is malformed (RFC 6455 §4.2.1)."] == rejection_reasons(hub)


@pytest.mark.parametrize("lines", [b"\r\n", b"\n", b"\r\n\r\n\n", b"\r\n" * 3000])
@pytest.mark.parametrize("pause", [False, True])
async def test_empty_lines_before_a_request_are_ignored(hub, http, lines, pause):
    """RFC 9112 §2.2; also as the first bytes of a connection."""
    for _ in range(2):
        for piece in (lines[:1], lines[1:], HEALTH[:9], HEALTH[9:]) if pause else (lines + HEALTH,):
            await http.send(piece)
            await wait_all_tasks_blocked()
        assert 200 == (await http.read_response()).status
    await http.send(HEALTH + lines + HEALTH + lines)
    assert [200, 200] == [(await http.read_response()).status for _ in range(2)]
    assert [] == list(hub.rejections.recent)


async def test_carriage_return_alone_is_not_an_empty_line(http):
    await http.send(b"\rGET /health HTTP/1.1\r\nHost: hub\r\n\r\n")

    assert 400 == (await http.read_response()).status


async def test_valid_request_before_a_malformed_one_is_served(http):
    await http.send(HEALTH + b"GARBAGE\r\n\r\n")

    assert 200 == (await http.read_response()).status
    assert 400 == (await http.read_response()).status
    assert await is_closed(http)
