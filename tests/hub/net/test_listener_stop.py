"""The end of a listener and of its connections."""

from __future__ import annotations

import socket

import trio
from support.listener import HALF_HELLO, TEXT_TEMPLATE, is_closed, listen, open_sockets_at_once, open_stream
from support.patience import patient
from support.raw_native import online
from support.times import until

import hub.net.certificates
import hub.net.listener
import hub.net.wire
from hub.testing import add_device


async def test_hub_can_stop_before_it_has_accepted_a_connection(start):
    async with start(listen() + listen() + listen(tls="auto")):
        pass


async def test_stop_while_connections_are_accepted_logs_no_error(start, caplog):
    async with start(listen()) as hub:
        with open_sockets_at_once(hub, 10):
            while not hub.listener.accepted:
                await trio.lowlevel.checkpoint()
            await hub.listener.drain(5)
            await until(lambda: not hub.listener.connections)

    assert [] == [record.message for record in caplog.records if record.levelname == "ERROR"]


async def test_closed_wire_receives_the_end():
    for _ in range(3):
        own, other = socket.socketpair()
        with other:
            own.setblocking(False)
            wire = hub.net.wire.Wire(own, lambda fn: None)
            wire.close()
            wire.send(b"x")

            assert b"" == await wire.receive()


async def test_stop_does_not_wait_for_clients(start):
    async with start(listen(tls="auto")) as hub:
        _, token = await add_device(hub, TEXT_TEMPLATE)
        async with online(hub, token) as device, open_stream(hub) as silent, open_stream(hub) as unfinished:
            await unfinished.send_all(HALF_HELLO)
            await until(lambda: 3 == hub.listener.connections)
            with trio.fail_after(patient(30)):
                await hub.listener.drain(patient(60))

            assert [] == await device.read_to_end()
            assert await is_closed(silent)
            assert await is_closed(unfinished)
