"""Hubs and stores without listeners, and their files as other programs see them."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import asynccontextmanager, closing

import pytest
from support.patience import patient
from support.times import NOON
from support.values import latest_value, write_value

from bench.hub_process import all_values
from hub.clock import Clock
from hub.config import parse
from hub.domain.devices import NewDevice
from hub.errors import Unavailable
from hub.history.timeouts import HistoryTimeouts
from hub.model import SYSTEM
from hub.run import running
from hub.storage import Migration, open_storage

METER = """
[template]
id = "TMPL0meter"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Power"
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
[[datastream]]
pin = "V2"
name = "Place"
type = "location"
"""


@asynccontextmanager
async def started(data, toml="", *, timeouts=(), **more):
    """A hub without listeners, which waits for the disk for a fraction of a second only."""
    timeouts = (HistoryTimeouts(durable=patient(0.3), retry=0.02), *timeouts)
    async with running(parse(toml).with_data(str(data)), listen=False, timeouts=timeouts, **more) as hub:
        yield hub


@asynccontextmanager
async def stored(data, migrations=None, durability="full"):
    """The databases of a data directory, without a hub."""
    async with open_storage(data, migrations or {}, durability) as storage:
        yield storage


async def meter(hub, name="Meter"):
    """Add a device with a number, a text and a location."""
    template, _ = await hub.templates.save(METER, SYSTEM)
    [(device, _)] = await hub.devices.add([NewDevice(name=name, template=template)], SYSTEM)
    return device


def only_device(hub):
    """The only device of the hub."""
    [device] = hub.devices.by_id.values()
    return device


def rows_in_file(path, sql, *values):
    """The rows that another program reads from a file."""
    with closing(sqlite3.connect(path)) as other:
        return other.execute(sql, values).fetchall()


def logged(data):
    """Every value of the history, as another program reads them."""
    return [value for _, value in all_values(data)]


def as_after_a_power_cut(data, target):
    """A copy of the files as a power cut at this moment would leave them."""
    target.mkdir()
    for path in data.iterdir():
        if path.name.startswith(("history.db", "pinwheel.db")) and not path.name.endswith("-shm"):
            shutil.copy(path, target / path.name)
    return target


async def execute(database, *statements):
    """Execute statements in a transaction; returns the rows of the last."""

    async def fn(tx):
        return [await tx.fetch_all(statement) for statement in statements][-1]

    return await database.transaction(fn)


NOTES = {"notes": [Migration(1, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);")]}


def insert(text):
    """A transaction that inserts a note."""

    async def fn(tx):
        return await tx.insert("notes", text=text)

    return fn


async def texts(storage):
    """The texts of all notes."""

    async def fn(tx):
        return [text for (text,) in await tx.fetch_all("SELECT text FROM notes ORDER BY id")]

    return await storage.read(fn)


async def is_rejected(receipt):
    """Whether the value of a receipt is not committed in time."""
    with pytest.raises(Unavailable):
        await receipt.durable()
    return True


@asynccontextmanager
async def filled(data, **more):
    """A hub with a device, some of whose values have timestamps of their own."""
    async with started(data, clock=Clock(wall=lambda: NOON * 1_000_000), **more) as hub:
        device = await meter(hub)
        write_value(hub, device, 0, "1")
        write_value(hub, device, 0, "2")
        write_value(hub, device, 0, "0.5", ts=NOON - 1000)
        write_value(hub, device, 1, "newer", ts=NOON - 5000)
        write_value(hub, device, 1, "older", ts=NOON - 9000)
        write_value(hub, device, 2, ["10.5", "20.25"])
        await write_value(hub, device, 1, "oldest", ts=NOON - 10_000).durable()
        yield hub


#: The latest values of that device.
LATEST_VALUES = {0: (NOON, 2.0), 1: (NOON - 5000, "newer"), 2: (NOON, (10.5, 20.25))}


def latest_values(hub):
    """The latest values of the only device by pin."""
    return {pin: latest_value(hub, only_device(hub), pin) for pin in (0, 1, 2)}
