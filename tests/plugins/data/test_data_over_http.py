"""Devices that only send data over HTTP."""

from __future__ import annotations

from support.device_api import METER
from support.raw_http import connected
from support.times import until

from connectors.native import client
from hub.testing import add_device, address_of


async def test_device_is_online_for_its_wait_time_after_data_over_http(hub, time, tmp_path):
    template = METER.replace('wait = "0s"', 'wait = "300ms"')
    device, token = await add_device(hub, template, "Reporter")
    async with connected(hub) as http:
        assert b"false" == (await http.get(f"/external/api/isHardwareConnected?token={token}")).body
        await http.get(f"/external/api/update?token={token}&v0=1")
        assert b"true" == (await http.get(f"/external/api/isHardwareConnected?token={token}")).body
        await until(lambda: device.status == "offline")
        async with client.connect(*address_of(hub), token):
            await until(lambda: device.status == "online")
            await http.get(f"/external/api/update?token={token}&v0=1")
            assert "online" == device.status
        await until(lambda: device.status == "offline")
