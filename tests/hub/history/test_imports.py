"""Imports of values with timestamps of their own."""

from __future__ import annotations

import trio
from support.history import TEMPLATE
from support.times import DAY, HOUR, NOON

import hub.facts
import hub.writes
from hub.errors import Conflict
from hub.model import SYSTEM
from hub.testing import add_device


async def test_import_sends_only_the_newest_value_to_device_and_subscribers(start, time):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        values = []
        started.subscribe(hub.facts.ValueWritten, lambda fact: values.append(fact.value))
        stream = device.points[0].datastream
        rows = [(stream, NOON - HOUR + n * 1000, n) for n in range(100)]
        await started.writes.import_points(device, rows, "test", SYSTEM)
        assert [99.0] == values
        await started.writes.import_points(device, [(stream, NOON - DAY, 5)], "test", SYSTEM)
        assert [99.0] == values


async def test_import_during_an_erasure_is_not_acknowledged(start, time, monkeypatch):
    monkeypatch.setattr(hub.writes, "IMPORT_SLICE", 1)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        stream = device.points[0].datastream
        rows = [(stream, NOON - n, n) for n in range(20_000)]
        conflicts = []

        async def import_rows():
            try:
                await started.writes.import_points(device, rows, "test", SYSTEM)
            except Conflict as error:
                conflicts.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(started.devices.erase, device, [stream], SYSTEM)
            nursery.start_soon(import_rows)
        assert conflicts
