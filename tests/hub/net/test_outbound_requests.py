"""Outbound requests: what is sent, and URLs, headers and methods that are rejected."""

from __future__ import annotations

import pytest
from support.outbound import OK, failure, loopback
from support.times import until

from hub.net import OutboundError
from hub.net.outbound import MAX_HEAD


async def test_request_arrives_with_its_method_path_headers_and_body(serve):
    server = await serve(b"HTTP/1.1 201 Created\r\nX-Id: 7\r\nX-Id: 8\r\nContent-Length: 4\r\n\r\ndone")

    response = await loopback().request("POST", f"{server.url}hook?key=ä%20b#part", {"X-Event": "alarm"}, b'{"a":1}')

    assert (201, b"done", "7") == (response.status, response.body, response.header("x-id"))
    assert (("x-id", "7"), ("x-id", "8"), ("content-length", "4")) == response.headers
    [(method, target, headers, body)] = server.requests
    assert ("POST", "/hook?key=%C3%A4%20b", b'{"a":1}') == (method, target, body)
    assert f"127.0.0.1:{server.port}" == headers["host"]
    assert ("alarm", "7", "close") == (headers["x-event"], headers["content-length"], headers["connection"])
    assert headers["user-agent"].startswith("Pinwheel/")


async def test_post_without_a_body_has_a_length(serve):
    server = await serve()
    await loopback().request("POST", server.url)
    assert "0" == server.requests[0][2]["content-length"]


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
    ],
    ids=["chunked", "until the end", "HTTP/1.0", "after informational responses"],
)
async def test_body_is_read_with_every_kind_of_framing(serve, reply):
    server = await serve(reply)
    assert b"hello" == (await loopback().request("GET", server.url)).body


async def test_response_to_head_has_no_body(serve):
    server = await serve(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n")
    assert b"" == (await loopback().request("HEAD", server.url)).body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_returned_and_not_followed(serve, status):
    other = await serve()
    server = await serve(
        b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, other.url.encode())
    )

    response = await loopback().request("POST", server.url)

    assert (status, other.url) == (response.status, response.header("location"))
    assert 0 == other.connections


async def test_proxies_of_the_environment_are_ignored(serve, monkeypatch):
    server, proxy = await serve(), await serve()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    await loopback().request("GET", server.url)
    assert (1, 0) == (server.connections, proxy.connections)


async def test_each_request_has_its_own_connection_that_is_closed(serve):
    ended = []

    async def until_closed(stream):
        await stream.send_all(OK)
        ended.append(await stream.receive_some())

    server = await serve(until_closed)
    for _ in range(2):
        assert b"ok" == (await loopback().request("GET", server.url)).body
    await until(lambda: 2 == len(ended))
    assert [b"", b""] == ended


async def test_early_response_of_a_server_that_does_not_read_the_body_is_returned(serve_streams):
    async def reject(stream):
        await stream.receive_some(100)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    port = await serve_streams(reject)
    url = f"http://127.0.0.1:{port}/"
    try:
        assert 413 == (await loopback().request("POST", url, body=bytes(200_000))).status
    except OutboundError as error:
        # The kernel may drop the response when it resets the connection.
        assert error.temporary


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{}/\r\nX-Evil: 1",
        "http://127.0.0.1:{}/a\nb",
        "http://127.0.0.1:{}/a b",
        "http://127.0.0.1:{}/a\tb",
        "http://127.0.0.1\r\n:{}/",
        "\x00http://127.0.0.1:{}/",
        " http://127.0.0.1:{}/",
        "http://127.0.0.1:{}\\@example.org/",
        "http://user:secret@127.0.0.1:{}/",
        "http://user@127.0.0.1:{}/",
        "http://@127.0.0.1:{}/",
        "http://secret:x@[127.0.0.1]:{}/",
        "http://secret℀@127.0.0.1:{}/",
        "http://127.0.0.1:{}/\ud800",
        "http://\ud800:{}/",
        "ftp://127.0.0.1:{}/",
        "file:///etc/passwd",
        "//127.0.0.1:{}/",
        "127.0.0.1:{}",
        "http://:{}/",
        "http:///path",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:8٠/",
        "http://a..b:{}/",
        "",
    ],
)
async def test_invalid_url_is_rejected(serve, url):
    server = await serve()
    error = await failure(url.format(server.port))
    assert not error.temporary
    assert "secret" not in str(error)
    assert 0 == server.connections


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-Evil: 1"),
        ("X-A", "1\nX-Evil: 1"),
        ("X-A", "1\rX-Evil: 1"),
        ("X-A", "1\n"),
        ("X-A", "\x00"),
        ("X-A", " 1"),
        ("X-A", "ä"),
        ("X-A\r\nX-Evil", "1"),
        ("X-A\n", "1"),
        ("X A", "1"),
        ("X-A:", "1"),
        ("Ä", "1"),
        ("", "1"),
        ("Host", "example.org"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "keep-alive"),
        ("Upgrade", "websocket"),
    ],
)
async def test_header_that_could_change_the_message_is_rejected(serve, name, value):
    server = await serve()
    error = await failure(server.url, headers={name: value})
    assert not error.temporary
    assert 0 == server.connections


@pytest.mark.parametrize("method", ["get", "CONNECT", "TRACE", "GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET", ""])
async def test_unknown_method_is_rejected(serve, method):
    server = await serve()
    assert "is not one of DELETE, GET" in str(await failure(server.url, method=method))
    assert 0 == server.connections


async def test_request_over_the_limits_is_not_sent(serve):
    server = await serve()
    small = loopback(max_request=10)
    assert "at most 10 are sent" in str(await failure(server.url, small, "POST", body=b"x" * 11))
    assert f"at most {MAX_HEAD} are sent" in str(await failure(server.url + "x" * MAX_HEAD))
    assert f"at most {MAX_HEAD} are sent" in str(await failure(server.url, headers={"X-A": "x" * MAX_HEAD}))
    assert 0 == server.connections
    assert 200 == (await small.request("POST", server.url, body=b"x" * 10)).status
