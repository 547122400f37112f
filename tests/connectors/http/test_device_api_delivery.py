"""Delivery, durability and limits of values over the Device HTTPS API."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import trio
from support.databases import full_disk
from support.device_https_api import SECRET_TOKEN, THERMOSTAT, values_on_disk
from support.patience import patient
from support.raw_http import PATIENCE, ask, connected
from trio.testing import wait_all_tasks_blocked

from connectors.native import client
from hub.history.timeouts import HistoryTimeouts
from hub.testing import LOOPBACK, add_device, address_of


async def test_device_receives_every_written_value_in_order(hub, device, api):
    async with client.connect(*address_of(hub), device[1], info={"h-beat": "45"}) as board:
        await api("update", "v0=150")
        await api("batch/update", "v1=4.5&v4=30.5&v4=50.4")
        await api("update", "v0=abc")
        await api("update", "v2=")
        writes = board.writes()
        with trio.fail_after(PATIENCE):
            received = [await anext(writes) for _ in range(4)]

    assert [(0, ["100"]), (1, ["4.5"]), (4, ["30.5", "50.4"]), (2, [""])] == received


async def test_response_waits_for_the_commit_and_the_device_does_not(hub, device, api):
    responses = []

    async def update():
        responses.append(await api.status_and_body("update", "v0=7"))

    database = sqlite3.connect(hub.config.data / "history.db", isolation_level=None)
    with closing(database):
        database.execute("BEGIN IMMEDIATE")
        async with (
            client.connect(*address_of(hub), device[1], info={"h-beat": "45"}) as board,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(update)
            with trio.fail_after(PATIENCE):
                assert (0, ["7"]) == await anext(board.writes())
            await wait_all_tasks_blocked()
            assert ([], []) == (responses, values_on_disk(hub, device[0], 0))
            database.execute("COMMIT")

    assert [(200, b"")] == responses
    assert [7] == [value for _, value in values_on_disk(hub, device[0], 0)]


async def test_acknowledged_value_is_on_the_disk(hub, device, api):
    for number in range(20):
        assert (200, b"") == await api.status_and_body("update", f"v0={number}")
        assert number == values_on_disk(hub, device[0], 0)[-1][1]


@pytest.mark.timeouts(HistoryTimeouts(durable=patient(0.2), retry=0.02))
async def test_update_on_a_full_disk_is_answered_with_503_until_there_is_space(hub, device, api):
    rejected = None
    async with full_disk(hub.storage.history):
        for _ in range(20):
            response = await api("batch/update", f"v2={'x' * 1024}&v255={'y' * 1024}")
            if response.status != 200:
                rejected = response
                break
        assert (503, True) == (rejected.status, int(rejected.headers["retry-after"]) > 0)
        assert rejected.message
        assert 503 == (await api("update", "v0=1")).status
        assert "degraded" == (await ask(hub, "GET", "/health")).json["status"]

    with trio.fail_after(PATIENCE):
        while (await api("update", "v0=2")).status != 200:
            await trio.sleep(0.02)
    assert 2 == values_on_disk(hub, device[0], 0)[-1][1]
    assert "ok" == (await ask(hub, "GET", "/health")).json["status"]


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\nmessages_per_second = 1\nburst = 3\n"], ids=["slow"])
async def test_device_over_its_rate_is_answered_with_429_and_retry_after(hub, device, api):
    _, other = await add_device(hub, THERMOSTAT.replace("Thermostat", "Other").replace("TMPL0thermo", "TMPL0other"))

    statuses = [(await api("batch/update", "v0=1&v1=2&v2=3&v3=1")).status for _ in range(3)]
    response = await api("update", "v0=2")

    # A batch counts as one message.
    assert [200, 200, 200] == statuses
    assert (429, "1") == (response.status, response.headers["retry-after"])
    assert response.message
    assert 200 == (await ask(hub, "GET", f"/external/api/isHardwareConnected?token={other}")).status


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\nconnections_per_address = 2\n"], ids=["few"])
async def test_devices_with_valid_tokens_do_not_count_towards_the_limit_of_their_address(hub, device):
    target = f"/external/api/isHardwareConnected?token={device[1]}"
    async with connected(hub) as first, connected(hub) as second:
        assert 200 == (await first.get(target)).status
        assert 200 == (await second.get(target)).status
        async with connected(hub) as third:
            assert 200 == (await third.get(target)).status


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\nconnections_per_address = 2\n"], ids=["few"])
async def test_connections_with_unknown_tokens_count_towards_the_limit_of_their_address(hub):
    target = f"/external/api/isHardwareConnected?token={SECRET_TOKEN}"
    async with connected(hub) as first, connected(hub) as second:
        assert 400 == (await first.get(target)).status
        assert 400 == (await second.get(target)).status
        async with connected(hub) as third:
            await third.send(b"GET ")
            assert (await third.read_to_end()).startswith(b"HTTP/1.1 503 ")
