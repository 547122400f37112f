"""Limits and deadlines of connections that have not logged in."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import contextmanager

import pytest
import trio
from support.listener import (
    INVALID_TOKEN,
    LOGIN,
    TEXT_TEMPLATE,
    V1,
    V1_6,
    answers_login,
    behind_proxy,
    is_closed,
    listen,
    open_sockets_at_once,
    open_stream,
)
from support.raw_native import PATIENCE, online
from support.rejections import rejection_reasons
from support.times import until

from hub.net.proxy_protocol import proxy_header
from hub.net.timeouts import NetTimeouts
from hub.testing import add_device, address_of

PER_ADDRESS = "more than 2 connections that have not logged in ([limits] connections_per_address)"
IN_TOTAL = "more than 3 connections ([limits] connections)"


def limited(**limits):
    return listen() + "[limits]\n" + "".join(f"{key} = {value}\n" for key, value in limits.items())


async def test_connections_of_an_address_are_limited_until_some_are_closed(start):
    async with start(limited(connections_per_address=2)) as hub:
        async with open_stream(hub), open_stream(hub):
            await until(lambda: 2 == hub.listener.connections)
            async with open_stream(hub) as third:
                assert await is_closed(third)
            assert [PER_ADDRESS] == rejection_reasons(hub)
        await until(lambda: not hub.listener.connections)

        assert await answers_login(hub)


async def test_devices_that_have_logged_in_do_not_count_towards_the_limit_of_an_address(start):
    async with start(limited(connections_per_address=2)) as hub:
        tokens = [(await add_device(hub, TEXT_TEMPLATE, f"Device {n}"))[1] for n in range(5)]
        async with trio.open_nursery() as nursery:
            for token in tokens:
                await nursery.start(_online, hub, token)

            assert 5 == len(hub.sessions)
            assert [] == rejection_reasons(hub)
            assert await answers_login(hub)
            nursery.cancel_scope.cancel()


async def _online(hub, token, task_status):
    async with online(hub, token):
        task_status.started()
        await trio.sleep_forever()


async def test_connections_in_total_are_limited_until_some_are_closed(start):
    async with start(limited(connections=3)) as hub:
        _, token = await add_device(hub, TEXT_TEMPLATE)
        async with online(hub, token), open_stream(hub), open_stream(hub):
            await until(lambda: 3 == hub.listener.connections)
            async with open_stream(hub) as fourth:
                assert await is_closed(fourth)
            assert [IN_TOTAL] == rejection_reasons(hub)
        await until(lambda: not hub.listener.connections)

        assert await answers_login(hub)


@pytest.mark.parametrize(
    ("limit", "reason"), [("connections_per_address = 2", PER_ADDRESS), ("connections = 3", IN_TOTAL)]
)
async def test_limits_apply_to_connections_that_arrive_at_once(start, limit, reason):
    allowed = int(limit[-1])
    async with start(listen() + "[limits]\n" + limit) as hub:
        with open_sockets_at_once(hub, 10):
            await until(lambda: 10 == hub.listener.accepted)
            await until(lambda: allowed <= hub.listener.connections)

            assert [reason] * (10 - allowed) == rejection_reasons(hub)
            assert allowed == hub.listener.connections


@pytest.mark.parametrize(
    ("headers", "other_subscriber"),
    [
        ([V1] * 3, V1.replace(b".7", b".8")),
        # An IPv6 subscriber has a /64.
        ([V1_6, V1_6.replace(b"::7", b"::8"), V1_6.replace(b"::7", b":0:0:9::7")], V1_6.replace(b"db8::", b"db8:1::")),
    ],
)
async def test_clients_behind_a_proxy_are_limited_per_client_address(start, headers, other_subscriber):
    async with start(behind_proxy() + "[limits]\nconnections_per_address = 2") as hub:
        async with open_stream(hub) as first, open_stream(hub) as second, open_stream(hub) as third:
            for stream, header in ((first, headers[0]), (second, headers[1])):
                await stream.send_all(header + LOGIN)
                assert INVALID_TOKEN == await stream.receive_some(100)
            await third.send_all(headers[2] + LOGIN)

            assert await is_closed(third)
        address = proxy_header(headers[2])[0]
        assert (address, PER_ADDRESS) in [(rejected.address, rejected.reason) for rejected in hub.rejections.recent]
        assert await answers_login(hub, before=other_subscriber)


@pytest.mark.timeouts(NetTimeouts(first_bytes=0.05))
async def test_silent_client_is_closed_after_the_deadline(start):
    async with start(listen()) as started, open_stream(started) as stream:
        assert await is_closed(stream)


async def test_connections_are_accepted_again_when_file_descriptors_are_free(start):
    async with start(listen()) as hub:
        waiting = [socket.socket() for _ in range(3)]
        try:
            with no_free_descriptors():
                for sock in waiting:
                    sock.connect(address_of(hub))
                await until(lambda: hub.rejections.recent)
                assert "no resources for another connection" in rejection_reasons(hub)[0]
            for sock in waiting:
                sock.setblocking(False)
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
                with trio.fail_after(PATIENCE):
                    await stream.send_all(LOGIN)
                    assert INVALID_TOKEN == await stream.receive_some(100)
        finally:
            for sock in waiting:
                sock.close()


@contextmanager
def no_free_descriptors():
    """The process cannot open another file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
