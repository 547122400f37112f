"""Clients that do not read what the hub sends."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import pytest
import trio
from support.facts import collect_facts
from support.listener import TEXT_TEMPLATE, listen, open_stream
from support.patience import brief
from support.raw_native import OK, RawClient, online

from connectors.native.protocol import Cmd, frame
from connectors.native.timeouts import NativeTimeouts
from hub.facts import DeviceDisconnected
from hub.model import SetDatastream
from hub.net.timeouts import NetTimeouts
from hub.testing import add_device, address_of


@asynccontextmanager
async def unread_connection(hub, token):
    """A device that logs in and then does not read, with small buffers of its own."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    await sock.connect(address_of(hub))
    async with trio.SocketStream(sock) as stream:
        client = RawClient(stream)
        assert OK == await client.login(token)
        assert OK == await client.info(buff_in=1024)
        yield client


async def test_values_for_a_device_that_does_not_read_are_coalesced(start):
    pushed = 20_000
    async with start(listen()) as hub:
        device, token = await add_device(hub, TEXT_TEMPLATE)
        _, other = await add_device(hub, TEXT_TEMPLATE, "Other")
        async with online(hub, other) as other_device, unread_connection(hub, token) as client:
            for number in range(pushed):
                hub.command(device, SetDatastream(0, (f"{number:06}" + "x" * 900,)))
                if number % 1000 == 0:
                    assert [] == await other_device.received()
            received = []
            while not received or received[-1] != pushed - 1:
                received.append(int((await client.next())[4][:6]))

    assert sorted(received) == received
    assert len(received) < pushed / 2


@pytest.mark.timeouts(NetTimeouts(stall=0.1))
async def test_device_that_does_not_read_is_disconnected(start):
    async with start(listen()) as started:
        disconnects = collect_facts(started, DeviceDisconnected)
        device, token = await add_device(started, TEXT_TEMPLATE)
        async with unread_connection(started, token):
            number = 0
            while not disconnects:
                number += 1
                if started.sessions.get(device.id):
                    started.command(device, SetDatastream(0, (f"{number}" + "x" * 900,)))
                await trio.lowlevel.checkpoint()
                assert number < 1_000_000
        assert 1 == len(disconnects)


@pytest.mark.parametrize("command", [Cmd.HW_LOGIN, Cmd.LOGIN])
@pytest.mark.timeouts(NativeTimeouts(spacing=3600))
async def test_hub_does_not_read_from_a_client_that_does_not_read_responses(start, command):
    """Its responses would have to be buffered."""
    pings = frame(Cmd.PING, 7) * 800
    limit = 16 * 1024 * 1024
    sent = 0
    async with start(listen()) as hub:
        _, token = await add_device(hub, TEXT_TEMPLATE)
        async with open_stream(hub) as stream:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await stream.send_all(frame(command, 1, (token,)))
            while sent < limit:
                with trio.move_on_after(brief(1)) as blocked:
                    await stream.send_all(pings)
                if blocked.cancelled_caught:
                    break
                sent += len(pings)

    assert sent < limit
