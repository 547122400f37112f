"""Statistics of devices: messages by transport, disconnections and round-trip time."""

from __future__ import annotations

import json
import sqlite3

import trio
from support.patience import patient
from support.raw_http import ask, local_key
from support.tenants import THERMOMETER
from support.times import DAY

from connectors.native import client
from hub.facts import DeviceDisconnected
from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device, address_of
from hub.writes import Write
from plugins.device_stats import DAYS


async def stats_of(hub, device):
    return (await ask(hub, "GET", f"/api/v1/device/vitals?deviceId={device.id}", key=local_key(hub))).json


async def test_connected_device_has_transport_round_trip_time_and_message_counts(hub):
    device, token = await add_device(hub, THERMOMETER)
    stats = await stats_of(hub, device)
    assert (False, None, None) == (stats["online"], stats["rtt"], stats["lastReported"])
    disconnected = trio.Event()
    hub.subscribe(DeviceDisconnected, lambda _fact: disconnected.set())
    host, port = address_of(hub)
    async with client.connect(host, port, token) as board:
        await board.write(0, "21.5")
        await ask(hub, "GET", f"/external/api/update?token={token}&v0=22")
        with trio.fail_after(patient(10)):
            while sum((stats := await stats_of(hub, device))["days"][0]["messages"].values()) < 2:
                await trio.sleep(0.005)
        assert ("native", "127.0.0.1", True) == (stats["via"], stats["address"], stats["online"])
        assert {"native": 1, "https": 1} == stats["days"][0]["messages"]
        assert 0 < stats["rtt"] < 1000
        assert 0 <= stats["onlineFor"] < 60_000
    with trio.fail_after(patient(10)):
        await disconnected.wait()
    stats = await stats_of(hub, device)
    assert (False, 1) == (stats["online"], stats["days"][0]["disconnections"])


async def test_counts_survive_a_restart_and_old_days_are_deleted(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, THERMOMETER)
        hub.write(Write(device, 0, 1, "api", SYSTEM))
    async with running(hub_config, clock=time.clock()) as hub:
        device = hub.devices.get(device.id)
        hub.write(Write(device, 0, 1, "api", SYSTEM))
        [today] = (await stats_of(hub, device))["days"]
        assert {"api": 2} == today["messages"]
        time.pass_(DAY)
        hub.write(Write(device, 0, 1, "api", SYSTEM))
        assert [1, 2] == [day["messages"]["api"] for day in (await stats_of(hub, device))["days"]]
        time.pass_((DAYS - 1) * DAY)
        assert [1] == [day["messages"]["api"] for day in (await stats_of(hub, device))["days"]]


async def test_counts_of_a_deleted_device_are_deleted(hub_config):
    async with running(hub_config) as hub:
        device, _ = await add_device(hub, THERMOMETER)
        other, _ = await add_device(hub, THERMOMETER, "Other")
        for counted in (device, other):
            hub.write(Write(counted, 0, 1, "api", SYSTEM))
        await stats_of(hub, device)
        await hub.devices.delete(device, SYSTEM)
    with sqlite3.connect(hub_config.data / "pinwheel.db") as connection:
        rows = connection.execute("SELECT device, messages FROM vitals_days").fetchall()
    connection.close()
    assert [(other.id, {"api": 1})] == [(number, json.loads(messages)) for number, messages in rows]
