"""Reconnection of devices after a restart of the hub."""

from __future__ import annotations

import ssl

import pytest
import trio
from support.times import until

from connectors.native.client import Disconnected, connect
from hub.config import parse
from hub.domain.devices import NewDevice
from hub.model import SYSTEM
from hub.run import running
from hub.testing import address_of

EACH = 100
#: Seconds until all devices have reconnected.
BACK_WITHIN = 30


async def stay_connected(host, port, token, tls, online, number):
    """Connect again a second after each disconnection, like firmware."""
    while True:
        try:
            async with connect(host, port, token, info={"h-beat": "45", "buff-in": "1024"}, tls=tls) as client:
                online.add(number)
                async for _ in client.frames():
                    pass
        except (OSError, Disconnected, trio.BrokenResourceError):
            pass
        online.discard(number)
        await trio.sleep(1)


@pytest.mark.slow
async def test_two_hundred_devices_half_of_them_with_tls_reconnect_after_a_restart(tmp_path):
    data = str(tmp_path / "data")
    listen = '[[listen]]\naddress = "127.0.0.1:{}"\n[[listen]]\naddress = "localhost:{}"\ntls = "on"\n'
    config = parse(listen.format(0, 0)).with_data(data)
    online = set()
    async with trio.open_nursery() as nursery:
        async with running(config) as hub:
            template, _ = await hub.templates.save('[template]\nname = "T"', SYSTEM)
            new = [NewDevice(name=f"Device {n}", template=template) for n in range(2 * EACH)]
            added = await hub.devices.add(new, SYSTEM)
            plain, secure = address_of(hub), address_of(hub, 1)
            context = ssl.create_default_context(cafile=tmp_path / "data" / "tls" / "ca.pem")
            for number, (_, token) in enumerate(added):
                host, port, tls = ("localhost", secure[1], context) if number % 2 else (*plain, None)
                nursery.start_soon(stay_connected, host, port, token, tls, online, number)
            await until(lambda: len(online) == 2 * EACH == len(hub.sessions), BACK_WITHIN)
        await until(lambda: not online, BACK_WITHIN)
        async with running(parse(listen.format(plain[1], secure[1])).with_data(data)) as hub:
            await until(lambda: len(online) == 2 * EACH == len(hub.sessions), BACK_WITHIN)
            assert {"native"} == {session.via for session in hub.sessions}
        nursery.cancel_scope.cancel()
