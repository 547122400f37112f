"""Deadlines and cancellation of outbound requests."""

from __future__ import annotations

import socket
import threading
from contextlib import asynccontextmanager

import pytest
import trio
from support.outbound import failure, loopback
from support.patience import brief, patient
from support.times import until


async def never_reply(_stream):
    await trio.sleep_forever()


async def send_slowly(stream):
    """Send a body that would take an hour, with short pauses between its bytes."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while True:
        await stream.send_all(b"x")
        await trio.sleep(0.02)


@pytest.mark.parametrize("reply", [never_reply, send_slowly])
async def test_request_with_a_delayed_response_ends_at_the_deadline(serve, reply):
    server = await serve(reply)
    error = await failure(server.url, loopback(deadline=brief(0.3)))
    assert f"127.0.0.1:{server.port} did not answer within 0.3 s" == str(error)
    assert error.temporary


async def test_request_that_the_server_does_not_read_ends_at_the_deadline(serve_streams):
    port = await serve_streams(never_reply)
    url = f"http://127.0.0.1:{port}/"
    outbound = loopback(deadline=brief(0.3), max_request=50_000_000)
    assert "did not answer" in str(await failure(url, outbound, "POST", body=bytes(50_000_000)))


@asynccontextmanager
async def full_backlog():
    """A port whose queue of connections is full, so that further ones are not accepted."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for client in waiting:
                client.close()


async def test_connection_attempt_without_a_response_ends_at_the_connect_deadline():
    async with full_backlog() as port:
        error = await failure(f"http://127.0.0.1:{port}/", loopback(connect_deadline=brief(0.3)))
    assert f"cannot connect to 127.0.0.1:{port} within 0.3 s" == str(error)
    assert error.temporary


async def test_connect_deadline_includes_the_tls_handshake(serve_streams):
    port = await serve_streams(never_reply)
    error = await failure(f"https://127.0.0.1:{port}/", loopback(connect_deadline=brief(0.3)))
    assert f"cannot connect to 127.0.0.1:{port} within 0.3 s" == str(error)


async def test_unreachable_address_leaves_time_for_the_next(serve, resolver):
    server = await serve()
    async with full_backlog() as port:
        resolver["slow.example"] = [["127.0.0.1", "127.0.0.2"]]
        [listener] = await trio.open_tcp_listeners(port, host="127.0.0.2")
        async with trio.open_nursery() as tasks:
            tasks.start_soon(trio.serve_listeners, server.serve, [listener])
            outbound = loopback(connect_deadline=patient(1))
            assert 200 == (await outbound.request("GET", f"http://slow.example:{port}/")).status
            tasks.cancel_scope.cancel()


async def test_lookups_that_hang_end_at_the_deadline_and_occupy_no_other_threads(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: release.wait() and [])
    outbound = loopback(connect_deadline=brief(0.2))
    errors = []

    async def request():
        errors.append(str(await failure("http://hang.example/", outbound)))

    try:
        async with trio.open_nursery() as requests:
            for _ in range(60):
                requests.start_soon(request)
        with trio.fail_after(patient(5)):
            assert 1 == await trio.to_thread.run_sync(lambda: 1)
    finally:
        release.set()
    assert {"cannot connect to hang.example:80 within 0.2 s"} == set(errors)
    assert 60 == len(errors)


async def test_cancelled_request_closes_its_connection(serve):
    ended = trio.Event()

    async def until_closed(stream):
        await stream.receive_some()
        ended.set()

    server = await serve(until_closed)
    async with trio.open_nursery() as requests:
        requests.start_soon(loopback().request, "GET", server.url)
        await until(lambda: server.requests)
        requests.cancel_scope.cancel()
    with trio.fail_after(patient(5)):
        await ended.wait()
