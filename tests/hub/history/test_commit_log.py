"""The log on disk: packed batches, the log of an earlier version, and damaged batches."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commits import log_entries
from support.history import points
from support.times import MINUTE, until

import hub.history.commit_log
import hub.history.log_table
from hub.errors import StorageError
from hub.history.keys import EVERY_SERIES
from hub.history.log_table import LATEST, STAMPED, DamagedBatch, Unpackable, pack_batch, unpack_batch
from hub.model import SYSTEM
from hub.testing import add_device
from hub.values import pack
from hub.writes import Write

TEMPLATE = """
[template]
id = "TMPL0"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
[[datastream]]
pin = "V2"
name = "Place"
type = "location"
"""

values = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(exclude_categories=["Cs"]))),
)
stamps = st.one_of(st.integers(-(2**62), 2**62), st.integers(1_782_907_200_000, 1_782_907_300_000))
batches = st.lists(st.tuples(st.integers(0, 2**32 - 1), stamps, values, st.integers(0, 3)), min_size=1, max_size=40)


@given(st.integers(1, 2**62), batches)
def test_packed_batch_unpacks_to_its_values(number, batch):
    assert repr(batch) == repr(unpack_batch(number, len(batch), pack_batch(number, batch)))


@given(batches, st.data())
def test_changed_byte_of_a_batch_is_detected(batch, data):
    packed = pack_batch(7, batch)
    at = data.draw(st.integers(0, len(packed) - 1))
    changed = packed[:at] + bytes((packed[at] ^ data.draw(st.integers(1, 255)),)) + packed[at + 1 :]
    with pytest.raises(DamagedBatch):
        unpack_batch(7, len(batch), changed)
    with pytest.raises(DamagedBatch):
        unpack_batch(8, len(batch), packed)


@pytest.mark.parametrize("value", [float("nan"), "\ud800", 2**63, (1.0, float("nan")), None, b"bytes"])
def test_value_that_cannot_be_stored_is_rejected_by_pack(value):
    with pytest.raises(Unpackable):
        pack_batch(1, [(1, 1, 1.0, 3), (1, 2, value, 3)])


def database(data):
    return closing(sqlite3.connect(data / "history.db", isolation_level=None))


def downgrade_log(data, since=0, upto=0, series=EVERY_SERIES):
    """Replace the log by that of an earlier version: a row for each value, numbered from 1 on by the database."""
    rows = log_entries(data)
    with database(data) as file:
        file.execute("DROP TABLE log")
        file.execute("DELETE FROM migrations WHERE owner = 'core' AND number = 3")
        file.execute(
            "CREATE TABLE hot"
            " (id INTEGER PRIMARY KEY, series INTEGER NOT NULL, ts INTEGER NOT NULL, v NOT NULL, flags INTEGER NOT NULL)"
        )
        sql = "INSERT INTO hot (series, ts, v, flags) VALUES (?, ?, ?, ?)"
        file.executemany(sql, [(s, ts, pack(value), flags) for s, ts, value, flags in rows])
        file.execute("UPDATE sealed SET since = ?, upto = ?, series = ?", (since, upto, series))


async def fill(hub, time, count):
    """Write values to a new device; returns its points by pin."""
    device, _ = await add_device(hub, TEMPLATE)
    for n in range(count):
        time.pass_(MINUTE // 10)
        for pin, raw in ((0, n), (1, f"text {n}"), (2, [n % 90, 1.5])):
            hub.write(Write(device, pin, raw, "test", SYSTEM))
    return {pin: await points(hub, device, pin) for pin in (0, 1, 2)}


async def test_log_of_an_earlier_version_is_packed_at_the_start(start, time, tmp_path, monkeypatch):
    monkeypatch.setattr(hub.history.log_table, "BATCHES", 7)
    async with start() as running_hub:
        model = await fill(running_hub, time, 50)
    data = running_hub.config.data
    downgrade_log(data)
    for _ in range(2):
        async with start() as running_hub:
            [device] = running_hub.devices.by_id.values()
            assert model == {pin: await points(running_hub, device, pin) for pin in (0, 1, 2)}
            assert model[1][-1] == running_hub.writes.latest(device, device.points[1].datastream)
    with database(data) as file:
        assert [] == file.execute("SELECT 1 FROM sqlite_master WHERE name = 'hot'").fetchall()
    assert 150 == len(log_entries(data))


async def test_half_compacted_log_of_an_earlier_version_is_packed_without_a_loss(start, time, monkeypatch):
    monkeypatch.setattr(hub.history.commit_log, "COMPACTION_POINTS", 1)
    async with start() as running_hub:
        model = await fill(running_hub, time, 50)
        [device] = running_hub.devices.by_id.values()
        series = sorted(point.series for point in device.points.values())
        compact = running_hub.history._compact
        count = 0

        async def once(run):
            nonlocal count
            count += 1
            if count > 1:
                raise StorageError("the power is gone")
            await compact(run)

        monkeypatch.setattr(running_hub.history, "_compact", once)
        running_hub.history.close_segment()
        await until(lambda: running_hub.history.fault)
        running_hub.history.fault = None
    monkeypatch.undo()
    downgrade_log(running_hub.config.data, 0, 150, series[0])
    async with start() as running_hub:
        [device] = running_hub.devices.by_id.values()
        assert model == {pin: await points(running_hub, device, pin) for pin in (0, 1, 2)}
        running_hub.history.close_segment()
        await until(lambda: not running_hub.history.is_busy)
        assert model == {pin: await points(running_hub, device, pin) for pin in (0, 1, 2)}
        assert [] == log_entries(running_hub.config.data)


async def test_damaged_batch_is_skipped_and_the_rest_of_the_log_is_read(start, time, monkeypatch, caplog):
    monkeypatch.setattr(hub.history.commit_log, "BATCH_ROWS", 30)
    async with start() as running_hub:
        model = await fill(running_hub, time, 30)
    with database(running_hub.config.data) as file:
        [(data,)] = file.execute("SELECT data FROM log WHERE number = 2").fetchall()
        file.execute("UPDATE log SET data = ? WHERE number = 2", (data[:9] + bytes((data[9] ^ 1,)) + data[10:],))
    async with start() as running_hub:
        [device] = running_hub.devices.by_id.values()
        assert model[0][:10] + model[0][20:] == await points(running_hub, device, 0)
    assert "30 values of the log are damaged (its checksum does not fit)" in caplog.text


async def test_batch_that_is_written_twice_is_stored_once(start, time):
    async with start() as running_hub:
        device, _ = await add_device(running_hub, TEMPLATE)
        series = device.points[0].series

        async def append(tx):
            return await hub.history.log_table.append(tx, 9, [(series, 1, 1.0, LATEST | STAMPED)])

        for _ in range(2):
            assert {} == await running_hub.storage.history.transaction(append)
    assert [(series, 1, 1.0, 3)] == log_entries(running_hub.config.data)
