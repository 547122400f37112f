"""Native responses follow the commit, also while the disk is full."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing

import pytest
import trio
import trio.testing
from support.databases import full_disk
from support.native_devices import TEMPLATE, add_native_device, logged_events
from support.raw_native import OK, online

from connectors.native.protocol import Cmd, Status
from hub.domain.devices import NewDevice
from hub.model import SYSTEM


def stored(hub, sql):
    """Return the rows that another process reads from the configuration database."""
    with closing(sqlite3.connect(hub.storage.configuration.path)) as file:
        return file.execute(sql).fetchall()


@asynccontextmanager
async def locked(hub):
    """Lock the configuration database: nothing can be committed within the block."""
    with closing(sqlite3.connect(hub.storage.configuration.path, isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE")
        yield
        file.execute("ROLLBACK")


DURABLE_COMMANDS = [
    ((Cmd.PROPERTY, "0", "label", "Lamp"), "SELECT value FROM properties", '["Lamp"]'),
    ((Cmd.EVENT_LOG, "door", "open"), "SELECT description FROM timeline WHERE code = 'door'", "open"),
    ((Cmd.INTERNAL, "meta", "set", "Room", "Hall"), "SELECT value FROM metadata", "Hall"),
]


@pytest.mark.parametrize(("command", "sql", "value"), DURABLE_COMMANDS)
async def test_ok_follows_the_commit(hub, command, sql, value):
    _, token = await add_native_device(hub)
    async with online(hub, token) as client:
        assert OK == await client.status(*command)
        assert [(value,)] == stored(hub, sql)


@pytest.mark.parametrize(("command", "sql", "value"), DURABLE_COMMANDS)
async def test_response_waits_for_the_commit_without_blocking_other_devices(hub, command, sql, value):
    statuses = []

    async def send(client):
        statuses.append(await client.status(*command))

    _, token = await add_native_device(hub)
    _, other_token = await add_native_device(hub, "Other")
    async with online(hub, token) as client, online(hub, other_token) as other, trio.open_nursery() as nursery:
        # The hub responds to an info frame before it has stored it: wait for that, or the lock would block it.
        assert [] == await client.received() + await other.received()
        async with locked(hub):
            nursery.start_soon(send, client)
            for _ in range(20):
                assert [] == await other.received()
            assert [] == stored(hub, sql)
            assert [] == statuses

    assert [OK] == statuses
    assert [(value,)] == stored(hub, sql)


async def test_full_disk_is_answered_with_19_until_space_is_free(start):
    label = "x" * 1000
    async with start("[limits]\nburst = 10000\n") as hub:
        template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
        added = await hub.devices.add([NewDevice(name=f"Device {n}", template=template) for n in range(10)], SYSTEM)
        async with full_disk(hub.storage):
            statuses = {}
            for device, token in added:
                async with online(hub, token) as client:
                    statuses[device] = await client.status(Cmd.PROPERTY, "0", "1", "2", "3", "label", label)
            assert {OK, int(Status.SERVER_ERROR)} >= set(statuses.values())
            assert Status.SERVER_ERROR == statuses[added[-1][0]]
            for device, status in statuses.items():
                properties = await hub.properties.values_for(device)
                assert ({(label,)} if status == OK else set()) == {values["label"] for values in properties.values()}
        async with online(hub, added[-1][1]) as client:
            assert OK == await client.status(Cmd.PROPERTY, "0", "label", label)


async def test_event_that_a_full_disk_rejected_may_be_repeated_at_once(hub_at_noon, time):
    device, token = await add_native_device(hub_at_noon)
    async with online(hub_at_noon, token) as client:
        async with full_disk(hub_at_noon.storage):
            status = OK
            while status == OK:
                time.wall += 1000
                status = await client.status(Cmd.EVENT_LOG, "door", "x" * 300)
        assert Status.SERVER_ERROR == status
        assert OK == await client.status(Cmd.EVENT_LOG, "door", "again")

    assert ("door", "again", True) == (await logged_events(hub_at_noon, device))[0]
