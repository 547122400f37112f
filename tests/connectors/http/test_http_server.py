"""The HTTP server by the bytes that go over the wire, through a running hub."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.patience import patient
from support.raw_http import connected, request
from trio.testing import wait_all_tasks_blocked

from connectors.http.timeouts import HttpTimeouts
from hub.api import PUBLIC, Response, Route, Stream
from hub.hookspecs import hookimpl
from hub.run import running

MAX_BODY = 2 * 1024 * 1024
MAX_HEADER = 16 * 1024
#: Far more than the kernel's buffers for one connection hold.
LARGE = 8 * 1024 * 1024
CHUNK = 64 * 1024


class Kitchen:
    """A plugin whose routes wait, stream and echo."""

    __name__ = "kitchen"
    PINWHEEL_HOOKS = 1

    def __init__(self):
        self.begun, self.go_on = trio.Event(), trio.Event()
        self.served = 0

    async def echo(self, request):
        return Response(body=request.body)

    async def show(self, request):
        return [request.path, request.query]

    async def headers(self, request):
        return Response(headers={"x-small-letters": "1", "X-Own-SPELLING": "2"})

    async def held(self, request):
        self.begun.set()
        await self.go_on.wait()
        return Response(body="held")

    async def large(self, request):
        self.begun.set()
        await self.go_on.wait()
        return Response(body=b"x" * LARGE)

    async def chunk(self, request):
        self.served += 1
        return Response(body=b"x" * CHUNK)

    async def streamed(self, request):
        async def chunks():
            yield b"one,"
            await trio.sleep(0.3)
            yield b"two"

        return Stream(chunks=chunks())

    async def endless(self, request):
        async def chunks():
            try:
                yield b"one,"
                await trio.sleep_forever()
            finally:
                self.go_on.set()

        return Stream(chunks=chunks())

    @hookimpl
    def hub_routes(self):
        return [
            Route(
                method=method,
                path=f"/test/{path}",
                handler=handler,
                permission=PUBLIC,
                raw_query=True,
                max_body=MAX_BODY,
            )
            for method, path, handler in (
                ("POST", "echo", self.echo),
                ("GET", "show", self.show),
                ("GET", "held", self.held),
                ("GET", "large", self.large),
                ("GET", "chunk", self.chunk),
                ("GET", "streamed", self.streamed),
                ("GET", "endless", self.endless),
                ("GET", "headers", self.headers),
                ("GET", "two", self.show),
                ("POST", "two", self.echo),
            )
        ]


@pytest.fixture
def kitchen():
    return Kitchen()


@pytest.fixture
def hub_plugins(kitchen):
    return (kitchen,)


@pytest.fixture
async def http(hub):
    async with connected(hub) as http:
        yield http


def echo(body):
    return request("POST", "/test/echo", body)


def of_size(size):
    head = b"GET /health HTTP/1.1\r\nHost: hub\r\nX-Filler: "
    return head + b"x" * (size - len(head) - 4) + b"\r\n\r\n"


HEALTH = request("GET", "/health")
CHUNKED = b"POST /test/echo HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n"


async def ended(http):
    """Whether the hub ends the connection without another byte."""
    return await http.read_to_end() == b""


# -- one connection, several requests ---------------------------------------------------------------------------------


async def test_a_connection_is_kept_for_the_next_request(http):
    assert "one" == (await http.ask("POST", "/test/echo", b"one")).text
    assert "two" == (await http.ask("POST", "/test/echo", b"two")).text
    assert 200 == (await http.get("/health")).status


async def test_pipelined_requests_are_answered_in_order(http):
    await http.send(echo(b"one") + HEALTH + echo(b"two"))

    assert "one" == (await http.read_response()).text
    assert {"status": "ok"} == (await http.read_response()).json
    assert "two" == (await http.read_response()).text


async def test_a_connection_ends_when_the_client_asks_for_it(http):
    answer = await http.ask("GET", "/health", connection="close")

    assert (200, "close") == (answer.status, answer.headers["connection"])
    assert await ended(http)


async def test_an_http_1_0_connection_ends_after_its_answer(http):
    await http.send(b"GET /health HTTP/1.0\r\n\r\n")

    assert 200 == (await http.read_response()).status
    assert await ended(http)


async def test_a_body_that_nobody_reads_does_not_disturb_the_next_request(http):
    await http.send(request("POST", "/api/v1/template/import", b'{"toml": ""}') + HEALTH)

    assert 401 == (await http.read_response()).status
    assert 200 == (await http.read_response()).status


async def test_an_upgrade_to_something_else_is_ignored(http):
    answer = await http.ask("GET", "/health", connection="Upgrade, HTTP2-Settings", upgrade="h2c")

    assert 200 == answer.status


async def test_a_client_that_does_not_read_is_not_read_either(hub, http, kitchen):
    """Answers wait for the client up to a bound, whatever it sends meanwhile."""
    await http.send(request("GET", "/test/chunk") * 200)
    await wait_all_tasks_blocked(0.05)

    assert max(wire.pending for wire in hub.listener._wires) < 1024 * 1024
    assert kitchen.served < 200
    for _ in range(200):
        assert CHUNK == len((await http.read_response()).body)


# -- spelling ---------------------------------------------------------------------------------------------------------

SPELLED = {
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
UPGRADE = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13"}
KEY = {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ=="}


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
        (of_size(MAX_HEADER + 1), "HTTP/1.1 431 Request Header Fields Too Large"),
        (b"GARBAGE\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (request("GET", "/websockets", **UPGRADE, **KEY), "HTTP/1.1 101 Switching Protocols"),
        (request("GET", "/websockets", **UPGRADE), "HTTP/1.1 400 Bad Request"),
        (request("POST", "/websockets", **UPGRADE, **KEY), "HTTP/1.1 400 Bad Request"),
        (request("GET", "/nothing", **UPGRADE, **KEY), "HTTP/1.1 404 Not Found"),
        (request("GET", "/api/v1/stream", **UPGRADE, **KEY), "HTTP/1.1 401 Unauthorized"),
    ],
)
async def test_status_line_has_its_reason_and_header_names_have_capitals(http, sent, status_line):
    """ArduinoHttpClient compares "Content-Length: " letter by letter, ArduinoJson's example compares "200 OK"."""
    await http.send(sent)

    answer = await http.read_response()
    assert answer.head[0].startswith(status_line)
    assert {line.partition(":")[0] for line in answer.head[1:]} <= SPELLED


# -- limits -----------------------------------------------------------------------------------------------------------


async def test_a_header_of_16_kib_is_served(http):
    await http.send(of_size(MAX_HEADER))

    assert 200 == (await http.read_response()).status


@pytest.mark.parametrize("size", [MAX_HEADER + 1, MAX_HEADER + 1024, 40 * 1024])
async def test_a_header_over_16_kib_is_refused(http, size):
    await http.send(of_size(size))

    assert 431 == (await http.read_response()).status
    assert await ended(http)


async def test_a_header_over_16_kib_that_has_no_end_is_refused(http):
    await http.send(of_size(MAX_HEADER + 8192)[:-4])

    assert 431 == (await http.read_response()).status
    assert await ended(http)


async def test_a_body_of_2_mb_is_served(http):
    assert b"x" * MAX_BODY == (await http.ask("POST", "/test/echo", b"x" * MAX_BODY)).body


async def test_a_body_over_2_mb_is_refused_before_it_comes(http):
    await http.send(b"POST /test/echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 2097153\r\n\r\n")

    assert 413 == (await http.read_response()).status
    assert await ended(http)


async def test_a_body_over_2_mb_is_refused_while_it_comes(http):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.send, echo(b"x" * (MAX_BODY + 1)))

        assert 413 == (await http.read_response()).status
        assert await ended(http)


async def test_a_chunked_body_over_2_mb_is_refused(http):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.send, CHUNKED + chunk * (MAX_BODY // 0x10000 + 1))

        assert 413 == (await http.read_response()).status
        assert await ended(http)


# -- pages of other origins -------------------------------------------------------------------------------------------

ORIGIN = {"origin": "http://dash.example"}


def for_pages(path):
    """Whether a page of any origin may ask there."""
    return path.startswith(("/external/api/", "/reports/", "/device_uploads/"))


async def test_pages_of_any_origin_may_read_what_the_device_api_answers_and_nothing_else(hub):
    paths = {r.path for r in hub.routes if isinstance(r, Route) and not r.path.startswith("/test/")}
    assert {path.split("/")[1] for path in paths if for_pages(path)} == {"external", "reports", "device_uploads"}
    for path in (*paths, "/external/api/nothing", "/external/api/get/", "/nothing", "/external/apis"):
        for method in "GET", "HEAD", "POST", "DELETE":
            async with connected(hub) as http:
                answer = await http.ask(method, path, b"{}" if method == "POST" else None, **ORIGIN)
            allowed = answer.headers.get("access-control-allow-origin")
            assert ("*" if for_pages(path) else None) == allowed, (method, path, answer.status)


@pytest.mark.parametrize(
    ("target", "status", "origin"),
    [("/external/api/upload", 413, "*"), ("/external/api/batch/update", 413, "*"), ("/api/v1/login", 413, None)],
)
async def test_a_page_may_read_that_its_body_was_too_large(http, target, status, origin):
    answer = await http.ask("POST", target, content_length=100_000_000, **ORIGIN)

    assert (status, origin) == (answer.status, answer.headers.get("access-control-allow-origin"))


@pytest.mark.parametrize(
    ("asked", "allowed"), [({"access_control_request_headers": "content-type,x-own"}, "content-type,x-own"), ({}, "*")]
)
@pytest.mark.parametrize(
    "target", ["/external/api/update?token=x&v0=1", "/external/api/upload", "/external/api/nothing"]
)
async def test_a_browser_that_asks_before_a_request_is_answered(http, target, asked, allowed):
    answer = await http.ask("OPTIONS", target, access_control_request_method="POST", **ORIGIN, **asked)

    assert (204, b"", "*") == (answer.status, answer.body, answer.headers["access-control-allow-origin"])
    assert {"GET", "POST"} < set(answer.headers["access-control-allow-methods"].split(", "))
    assert allowed == answer.headers["access-control-allow-headers"]
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("target", ["/api/v1/status", "/health", "/nothing"])
async def test_a_browser_that_asks_before_any_other_request_is_refused(http, target):
    answer = await http.ask("OPTIONS", target, access_control_request_method="GET", **ORIGIN)

    assert answer.status in (404, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


# -- what is no HTTP --------------------------------------------------------------------------------------------------


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
async def test_malformed_request_is_answered_with_the_rule_that_it_breaks(hub, http, caplog, head, rule):
    await http.send(head.replace("/health", "/health?token=secret").encode("latin-1"))

    answer = await http.read_response()
    assert (400, "close") == (answer.status, answer.headers["connection"])
    assert rule in answer.text
    assert await ended(http)
    assert [("127.0.0.1", f"HTTP 400: {answer.text}")] == [(one.address, one.reason) for one in hub.rejections.recent]
    assert [f"refused: 127.0.0.1 HTTP 400: {answer.text}"] == caplog.messages
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (of_size(MAX_HEADER + 1), 431),
        (request("POST", "/test/echo", content_length=MAX_BODY + 1), 413),
        (request("POST", "/test/echo", transfer_encoding="gzip"), 501),
        (request("POST", "/websockets", **UPGRADE, **KEY), 400),
    ],
)
async def test_request_that_is_too_much_stands_in_the_list_of_refusals(hub, http, sent, status):
    await http.send(sent)

    answer = await http.read_response()
    assert status == answer.status
    assert [f"HTTP {status}: {answer.text}"] == [one.reason for one in hub.rejections.recent]


@pytest.mark.parametrize("path", ["/websockets", "/mqtt"])
async def test_malformed_handshake_of_a_websocket_stands_in_the_list_of_refusals(hub, http, path):
    await http.send(request("GET", path, **UPGRADE))

    assert 400 == (await http.read_response()).status
    assert ["HTTP 400: The handshake of a WebSocket is malformed (RFC 6455 §4.2.1)."] == [
        one.reason for one in hub.rejections.recent
    ]


@pytest.mark.parametrize("lines", [b"\r\n", b"\n", b"\r\n\r\n\n", b"\r\n" * 3000])
@pytest.mark.parametrize("pause", [False, True])
async def test_empty_lines_before_a_request_are_ignored(hub, http, lines, pause):
    """RFC 9112 §2.2, also as the first bytes of a connection."""
    for _ in range(2):
        for piece in (lines[:1], lines[1:], HEALTH[:9], HEALTH[9:]) if pause else (lines + HEALTH,):
            await http.send(piece)
            await wait_all_tasks_blocked()
        assert 200 == (await http.read_response()).status
    await http.send(HEALTH + lines + HEALTH + lines)
    assert [200, 200] == [(await http.read_response()).status for _ in range(2)]
    assert [] == list(hub.rejections.recent)


@pytest.mark.timeouts(HttpTimeouts(idle=0.3))
async def test_empty_lines_do_not_keep_a_connection_open(http):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, http, b"\r\n" * 500)

        assert await ended(http)
        nursery.cancel_scope.cancel()


async def test_half_a_line_end_is_no_empty_line(http):
    await http.send(b"\rGET /health HTTP/1.1\r\nHost: hub\r\n\r\n")

    assert 400 == (await http.read_response()).status


async def test_a_good_request_before_garbage_is_served(http):
    await http.send(HEALTH + b"GARBAGE\r\n\r\n")

    assert 200 == (await http.read_response()).status
    assert 400 == (await http.read_response()).status
    assert await ended(http)


# -- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.timeouts(HttpTimeouts(header=0.05))
async def test_a_slow_header_is_answered_with_408(http):
    await http.send(b"GET /health HT")

    assert 408 == (await http.read_response()).status
    assert await ended(http)


async def drip(http, data):
    """Send byte by byte, never so slowly that a single one would be late."""
    for n in range(len(data)):
        await http.send(data[n : n + 1])
        await trio.sleep(0.02)


@pytest.mark.timeouts(HttpTimeouts(header=0.2))
async def test_a_header_that_drips_in_is_answered_with_408(http):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, http, HEALTH)

        assert 408 == (await http.read_response()).status
        nursery.cancel_scope.cancel()


@pytest.mark.timeouts(HttpTimeouts(header=0.05, idle=1.0))
async def test_a_slow_header_behind_another_request_is_answered_with_408(http):
    await http.send(HEALTH + b"GET /health HT")

    assert 200 == (await http.read_response()).status
    assert 408 == (await http.read_response()).status


@pytest.mark.timeouts(HttpTimeouts(body=0.05))
async def test_a_slow_body_is_answered_with_408(http):
    await http.send(echo(b"complete")[:-4])

    assert 408 == (await http.read_response()).status
    assert await ended(http)


@pytest.mark.timeouts(HttpTimeouts(body=0.2))
async def test_a_body_that_drips_in_is_answered_with_408(http):
    await http.send(b"POST /test/echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 40\r\n\r\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, http, b"x" * 40)

        assert 408 == (await http.read_response()).status
        nursery.cancel_scope.cancel()


@pytest.mark.timeouts(HttpTimeouts(idle=0.05))
async def test_an_idle_connection_is_closed_without_a_word(http, caplog):
    assert 200 == (await http.get("/health")).status
    assert await ended(http)
    await wait_all_tasks_blocked()
    assert [] == [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.timeouts(HttpTimeouts(body=0.05))
async def test_a_streamed_answer_may_take_longer_than_a_body(http):
    assert "one,two" == (await http.get("/test/streamed")).text


async def test_a_streamed_answer_is_whole_for_who_has_nothing_more_to_ask(http):
    await http.send(request("GET", "/test/streamed"))
    await http.stream.send_eof()
    assert "one,two" == (await http.read_response()).text


@pytest.mark.timeouts(HttpTimeouts(half_closed=0.05))
async def test_a_streamed_answer_ends_with_its_client(hub, kitchen, caplog):
    async with connected(hub) as http:
        await http.send(request("GET", "/test/endless") + HEALTH)
        await http._until(b"one,")
    with trio.fail_after(patient(5)):
        await kitchen.go_on.wait()
    async with connected(hub) as http:
        assert 200 == (await http.get("/health")).status
    assert "" == caplog.text


async def test_a_streamed_answer_is_not_cut_by_the_next_request(http):
    await http.send(request("GET", "/test/streamed") + HEALTH)

    assert "one,two" == (await http.read_response()).text
    assert 200 == (await http.read_response()).status


# -- methods and paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/health", "/test/show?a=1", "/nothing/here", "/external/api/get"])
async def test_head_has_the_headers_of_get_and_no_body(http, target):
    got = await http.get(target)
    asked = await http.ask("HEAD", target)
    # The same connection goes on: there was no body in between.
    again = await http.get(target)

    for answer in got, asked, again:
        del answer.headers["date"]
    assert (got.status, got.headers) == (asked.status, asked.headers)
    assert got == again


async def test_an_unknown_path_is_answered_with_404(http):
    answer = await http.get("/nothing/here")

    assert (404, "application/json") == (answer.status, answer.headers["content-type"])
    assert "There is nothing at /nothing/here." == answer.message


async def test_a_wrong_method_is_answered_with_405(http):
    answer = await http.ask("DELETE", "/health")

    assert (405, {"GET", "HEAD"}) == (answer.status, set(answer.headers["allow"].split(", ")))


async def test_every_method_of_a_path_is_allowed(http):
    answer = await http.ask("DELETE", "/test/two")

    assert (405, {"GET", "HEAD", "POST"}) == (answer.status, set(answer.headers["allow"].split(", ")))


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/test/show", "/test/show", ""),
        ("/test/show/", "/test/show", ""),
        ("/test/show/?a=1/", "/test/show", "a=1/"),
        ("/%74est/sho%77?b=%20", "/test/show", "b=%20"),
        ("/test/show?", "/test/show", ""),
        ("/test/show?a?b", "/test/show", "a?b"),
    ],
)
async def test_a_path_is_decoded_and_the_query_is_left_as_it_came(http, target, path, query):
    assert [path, query] == (await http.get(target)).json


@pytest.mark.parametrize("target", ["/test/show%00", "/test%2Fshow/x", "/%ff", "/TEST/show", "*", "/../health"])
async def test_a_path_that_is_almost_right_is_not_found(http, target):
    assert 404 == (await http.get(target)).status


# -- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\r\nHello\r\n2\r\n, \r\n6\r\nWorld!\r\n0\r\n\r\n",
        b"D;name=value\r\nHello, World!\r\n0\r\n\r\n",
        b"d\r\nHello, World!\r\n0\r\nX-Trailer: yes\r\n\r\n",
    ],
)
async def test_a_chunked_body_is_put_together(http, chunks):
    await http.send(CHUNKED + chunks + HEALTH)

    assert "Hello, World!" == (await http.read_response()).text
    assert 200 == (await http.read_response()).status


async def test_a_client_that_waits_for_100_gets_it(http):
    await http.send(request("POST", "/test/echo", b"body", expect="100-continue")[:-4])
    assert 100 == (await http.read_response()).status
    await http.send(b"body")

    assert "body" == (await http.read_response()).text


async def test_a_client_that_waits_for_100_is_refused_without_it(http):
    await http.send(request("POST", "/api/v1/template/import", b"body", expect="100-continue")[:-4])
    assert 401 == (await http.read_response()).status
    assert await ended(http)


async def test_a_client_that_waits_for_100_with_too_much_is_refused_without_it(http):
    await http.send(request("POST", "/test/echo", expect="100-continue", content_length=MAX_BODY + 1))

    assert 413 == (await http.read_response()).status


# -- the stop ---------------------------------------------------------------------------------------------------------


async def answered_at_the_stop(hub_config, kitchen, target):
    """The answer to a request that is still worked on, or on its way, when the hub begins to stop."""
    answers = []

    async def read(http, *idle):
        # Connections without a request are ended first: then the hub is stopping for sure.
        for one in idle:
            assert await ended(one)
        kitchen.go_on.set()
        answers.append(await http.read_response())
        assert await ended(http)

    async with (
        AsyncExitStack() as stack,
        trio.open_nursery() as nursery,
        running(hub_config, plugins=(kitchen,)) as hub,
    ):
        used, silent, busy = [await stack.enter_async_context(connected(hub)) for _ in range(3)]
        assert 200 == (await used.get("/health")).status
        await busy.send(request("GET", target))
        await kitchen.begun.wait()
        await wait_all_tasks_blocked()
        nursery.start_soon(read, busy, used, silent)
    return answers[0]


async def test_a_request_in_flight_is_finished_at_the_stop(hub_config, kitchen):
    answer = await answered_at_the_stop(hub_config, kitchen, "/test/held")

    assert ("held", "close") == (answer.text, answer.headers["connection"])


async def test_a_large_answer_is_sent_whole_at_the_stop(hub_config, kitchen):
    assert LARGE == len((await answered_at_the_stop(hub_config, kitchen, "/test/large")).body)


async def test_a_large_answer_on_its_way_is_sent_whole_at_the_stop(hub_config, kitchen):
    kitchen.go_on.set()

    assert LARGE == len((await answered_at_the_stop(hub_config, kitchen, "/test/large")).body)


# -- splitting --------------------------------------------------------------------------------------------------------

DIALOGUE = b"".join(
    [
        echo(b"with a length"),
        CHUNKED + b"6\r\nchunks\r\n0\r\n\r\n",
        request("GET", "/test/show/?a=%20b"),
        request("GET", "/nothing"),
        request("HEAD", "/health"),
        b"GARBAGE\r\n\r\n",
    ]
)
HEAD_REQUEST = 4
CUTS = st.lists(st.integers(1, len(DIALOGUE) - 1), max_size=6).map(sorted)


async def heard(hub, cuts):
    """What the hub answers to the dialogue in pieces, without the dates."""
    edges = [0, *cuts, len(DIALOGUE)]
    async with connected(hub) as http:
        for a, b in zip(edges, edges[1:], strict=False):
            await http.send(DIALOGUE[a:b])
            await wait_all_tasks_blocked()
        answers = [await http.read_response(head=n == HEAD_REQUEST) for n in range(6)]
        assert await ended(http)
    for answer in answers:
        del answer.headers["date"]
    return answers


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(many=st.lists(CUTS, min_size=10, max_size=10))
def test_any_split_of_the_bytes_gives_the_same_answers(hub_config, many):
    async def talk():
        async with running(hub_config, plugins=(Kitchen(),)) as hub:
            whole = await heard(hub, [])
            assert [200, 200, 200, 404, 200, 400] == [answer.status for answer in whole]
            for cuts in many:
                assert whole == await heard(hub, cuts)

    trio.run(talk)


@pytest.mark.parametrize("at", [1, 4, 16, 60])
async def test_a_header_too_long_is_refused_however_it_is_split(hub, at):
    data = of_size(MAX_HEADER + 2000)
    async with connected(hub) as http:
        await http.send(data[:-at])
        await wait_all_tasks_blocked()
        await http.send(data[-at:])

        assert 431 == (await http.read_response()).status


# -- too many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "for_pages"), [(HEALTH, False), (b"\r\n" + request("GET", "/external/api/get?token=x&v0"), True)]
)
async def test_one_client_too_many_is_answered_with_503(tmp_path, sent, for_pages):
    from hub.config import parse
    from hub.run import running
    from hub.testing import LOOPBACK, address_of

    config = parse(LOOPBACK + "[limits]\nconnections = 1").with_data(str(tmp_path / "other"))
    async with running(config) as small:
        async with (
            await trio.open_tcp_stream(*address_of(small)),
            await trio.open_tcp_stream(*address_of(small)) as many,
        ):
            await many.send_all(sent)
            answer = b""
            with trio.fail_after(patient(10)):
                while part := await many.receive_some(4096):
                    answer += part

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Retry-After: 5" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert for_pages == (b"Access-Control-Allow-Origin: *" in head)
