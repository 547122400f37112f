"""Requests and responses: status lines, paths, methods and bodies."""

from __future__ import annotations

import pytest
from support.http_routes import CHUNKED, HEALTH, MAX_BODY, MAX_HEADER, UPGRADE_WITHOUT_KEY, is_closed, request_of_size
from support.raw_http import UPGRADE, request

HEADER_NAMES = {
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Max-Age",
    "Allow",
    "Connection",
    "Content-Length",
    "Content-Type",
    "Date",
    "Retry-After",
    "Sec-WebSocket-Accept",
    "Server",
    "Transfer-Encoding",
    "Upgrade",
    "WWW-Authenticate",
    "X-Own-SPELLING",
    "X-Small-Letters",
}


@pytest.mark.parametrize(
    ("sent", "status_line"),
    [
        (HEALTH, "HTTP/1.1 200 OK"),
        (b"GET /health HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK"),
        (request("GET", "/test/headers"), "HTTP/1.1 200 OK"),
        (request("GET", "/test/streamed"), "HTTP/1.1 200 OK"),
        (request("GET", "/nothing"), "HTTP/1.1 404 Not Found"),
        (request("DELETE", "/health"), "HTTP/1.1 405 Method Not Allowed"),
        (request("GET", "/external/api/get"), "HTTP/1.1 400 Bad Request"),
        (request("OPTIONS", "/external/api/get"), "HTTP/1.1 204 No Content"),
        (request("GET", "/api/v1/status"), "HTTP/1.1 401 Unauthorized"),
        (request("POST", "/test/echo", b"a", expect="100-continue"), "HTTP/1.1 100 Continue"),
        (request("POST", "/test/echo", content_length=MAX_BODY + 1), "HTTP/1.1 413 "),
        (request_of_size(MAX_HEADER + 1), "HTTP/1.1 431 Request Header Fields Too Large"),
        (b"GARBAGE\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (request("GET", "/websockets", **UPGRADE), "HTTP/1.1 101 Switching Protocols"),
        (request("GET", "/websockets", **UPGRADE_WITHOUT_KEY), "HTTP/1.1 400 Bad Request"),
        (request("POST", "/websockets", **UPGRADE), "HTTP/1.1 400 Bad Request"),
        (request("GET", "/nothing", **UPGRADE), "HTTP/1.1 404 Not Found"),
        (request("GET", "/api/v1/stream", **UPGRADE), "HTTP/1.1 401 Unauthorized"),
    ],
)
async def test_status_line_has_its_reason_and_header_names_have_capitals(http, sent, status_line):
    """ArduinoHttpClient compares "Content-Length: " with case, ArduinoJson's example compares "200 OK"."""
    await http.send(sent)

    response = await http.read_response()
    assert response.head[0].startswith(status_line)
    assert {line.partition(":")[0] for line in response.head[1:]} <= HEADER_NAMES


@pytest.mark.parametrize("target", ["/health", "/test/target?a=1", "/nothing/here", "/external/api/get"])
async def test_head_has_the_headers_of_get_and_no_body(http, target):
    get = await http.get(target)
    head = await http.ask("HEAD", target)
    # A body after HEAD would be read as the next response.
    next_get = await http.get(target)

    for response in get, head, next_get:
        del response.headers["date"]
    assert (get.status, get.headers) == (head.status, head.headers)
    assert get == next_get


async def test_unknown_path_is_answered_with_404(http):
    response = await http.get("/nothing/here")

    assert (404, "application/json") == (response.status, response.headers["content-type"])
    assert "There is nothing at /nothing/here." == response.message


async def test_unsupported_method_is_answered_with_405(http):
    response = await http.ask("DELETE", "/health")

    assert (405, {"GET", "HEAD"}) == (response.status, set(response.headers["allow"].split(", ")))


async def test_allow_header_has_every_method_of_a_path(http):
    response = await http.ask("DELETE", "/test/two")

    assert (405, {"GET", "HEAD", "POST"}) == (response.status, set(response.headers["allow"].split(", ")))


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/test/target", "/test/target", ""),
        ("/test/target/", "/test/target", ""),
        ("/test/target/?a=1/", "/test/target", "a=1/"),
        ("/%74est/targe%74?b=%20", "/test/target", "b=%20"),
        ("/test/target?", "/test/target", ""),
        ("/test/target?a?b", "/test/target", "a?b"),
    ],
)
async def test_path_is_decoded_and_the_query_is_not(http, target, path, query):
    assert [path, query] == (await http.get(target)).json


@pytest.mark.parametrize("target", ["/test/target%00", "/test%2Ftarget/x", "/%ff", "/TEST/target", "*", "/../health"])
async def test_path_that_differs_slightly_is_answered_with_404(http, target):
    assert 404 == (await http.get(target)).status


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\r\nHello\r\n2\r\n, \r\n6\r\nWorld!\r\n0\r\n\r\n",
        b"D;name=value\r\nHello, World!\r\n0\r\n\r\n",
        b"d\r\nHello, World!\r\n0\r\nX-Trailer: yes\r\n\r\n",
    ],
)
async def test_chunked_body_is_joined(http, chunks):
    await http.send(CHUNKED + chunks + HEALTH)

    assert "Hello, World!" == (await http.read_response()).text
    assert 200 == (await http.read_response()).status


async def test_client_that_expects_100_continue_receives_it(http):
    await http.send(request("POST", "/test/echo", b"body", expect="100-continue")[:-4])
    assert 100 == (await http.read_response()).status
    await http.send(b"body")

    assert "body" == (await http.read_response()).text


async def test_unauthorized_client_that_expects_100_continue_is_rejected_without_it(http):
    await http.send(request("POST", "/api/v1/template/import", b"body", expect="100-continue")[:-4])
    assert 401 == (await http.read_response()).status
    assert await is_closed(http)


async def test_client_that_expects_100_continue_for_a_large_body_is_rejected_without_it(http):
    await http.send(request("POST", "/test/echo", expect="100-continue", content_length=MAX_BODY + 1))

    assert 413 == (await http.read_response()).status
