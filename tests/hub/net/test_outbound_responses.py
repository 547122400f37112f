"""Limits of responses to outbound requests, and malformed responses."""

from __future__ import annotations

import pytest
import trio
from support.outbound import failure, loopback

from hub.net.outbound import MAX_RESPONSE


def endless(first, again):
    """A reply that begins with ``first`` and repeats ``again`` until the connection ends."""

    async def reply(stream):
        await stream.send_all(first)
        while True:
            await stream.send_all(again)

    return reply


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"), "answered badly"),
        (endless(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 1000), "answered badly"),
        (endless(b"", b"x" * 1000), "answered badly"),
        (endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), "sends more than a response"),
        (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000), "more than 65536 bytes"),
        (endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), "more than 65536 bytes"),
        (
            endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 2000 + b"\r\nx\r\n"),
            "sends more than a response",
        ),
        (endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-More: 1\r\n"), "answered badly"),
    ],
    ids=["headers", "header", "junk", "informational", "body", "chunks", "extensions", "trailers"],
)
async def test_endless_response_is_an_error(serve, reply, reason):
    server = await serve(reply)
    error = await failure(server.url)
    assert reason in str(error)
    assert not error.temporary


async def test_body_up_to_the_limit_is_returned(serve):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    fits = await serve(head % MAX_RESPONSE + b"x" * MAX_RESPONSE)
    large = await serve(head % (MAX_RESPONSE + 1) + b"x" * (MAX_RESPONSE + 1))
    assert MAX_RESPONSE == len((await loopback().request("GET", fits.url)).body)
    assert f"has more than {MAX_RESPONSE} bytes" in str(await failure(large.url))
    assert MAX_RESPONSE + 1 == len((await loopback(max_response=MAX_RESPONSE + 1).request("GET", large.url)).body)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
    ],
)
async def test_connection_that_ends_early_is_a_temporary_error(serve, reply):
    server = await serve(reply)
    error = await failure(server.url)
    assert "closed the connection before its response was complete" in str(error)
    assert error.temporary


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
async def test_malformed_response_is_an_error(serve, reply):
    async def keep_open(stream):
        await stream.send_all(reply)
        await trio.sleep_forever()

    server = await serve(keep_open)
    error = await failure(server.url)
    assert "answered badly" in str(error)
    assert not error.temporary
