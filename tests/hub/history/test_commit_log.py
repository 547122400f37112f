"""The log on disk: what a commit is packed into, what is made of a log of an earlier version, and of a damaged one."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commits import log_entries
from support.history import points
from support.times import MINUTE, Time, until

import hub.history.commit_log
import hub.history.log_table
from hub.config import parse
from hub.history.keys import EVERY_SERIES
from hub.history.log_table import LATEST, STAMPED, DamagedBatch, Unpackable, pack_batch, unpack_batch
from hub.model import SYSTEM
from hub.run import running
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
def test_a_batch_gives_back_what_was_put_into_it(number, batch):
    assert repr(batch) == repr(unpack_batch(number, len(batch), pack_batch(number, batch)))


@given(batches, st.data())
def test_a_batch_of_which_a_byte_is_another_is_not_taken_for_what_was_written(batch, data):
    whole = pack_batch(7, batch)
    at = data.draw(st.integers(0, len(whole) - 1))
    other = whole[:at] + bytes((whole[at] ^ data.draw(st.integers(1, 255)),)) + whole[at + 1 :]
    with pytest.raises(DamagedBatch):
        unpack_batch(7, len(batch), other)
    with pytest.raises(DamagedBatch):
        unpack_batch(8, len(batch), whole)


@pytest.mark.parametrize("value", [float("nan"), "\ud800", 2**63, (1.0, float("nan")), None, b"bytes"])
def test_what_no_file_takes_is_not_packed(value):
    with pytest.raises(Unpackable):
        pack_batch(1, [(1, 1, 1.0, 3), (1, 2, value, 3)])


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def start(tmp_path, time):
    def start():
        config = parse('[[listen]]\naddress = "127.0.0.1:0"\n').with_data(str(tmp_path / "data"))
        return running(config, clock=time.clock())

    return start


def database(data):
    return closing(sqlite3.connect(data / "history.db", isolation_level=None))


def as_before(data, since=0, upto=0, series=EVERY_SERIES):
    """Make the log what versions before had: a row for each value, numbered from 1 on by the database."""
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
    device, _ = await add_device(hub, TEMPLATE)
    for n in range(count):
        time.pass_(MINUTE // 10)
        for pin, raw in ((0, n), (1, f"text {n}"), (2, [n % 90, 1.5])):
            hub.write(Write(device, pin, raw, "test", SYSTEM))
    return {pin: await points(hub, device, pin) for pin in (0, 1, 2)}


async def test_the_log_of_an_earlier_version_is_packed_when_the_hub_starts(start, time, tmp_path, monkeypatch):
    monkeypatch.setattr(hub.history.log_table, "BATCHES", 7)
    async with start() as hub_:
        model = await fill(hub_, time, 50)
    data = hub_.config.data
    as_before(data)
    for _ in range(2):
        async with start() as hub_:
            [device] = hub_.devices.by_id.values()
            assert model == {pin: await points(hub_, device, pin) for pin in (0, 1, 2)}
            assert model[1][-1] == hub_.writes.latest(device, device.points[1].datastream)
    with database(data) as file:
        assert [] == file.execute("SELECT 1 FROM sqlite_master WHERE name = 'hot'").fetchall()
    assert 150 == len(log_entries(data))


async def test_a_log_of_an_earlier_version_of_which_half_is_in_chunks_is_packed_without_a_loss(
    start, time, monkeypatch
):
    monkeypatch.setattr(hub.history.commit_log, "COMPACTION_POINTS", 1)
    async with start() as hub_:
        model = await fill(hub_, time, 50)
        [device] = hub_.devices.by_id.values()
        series = sorted(point.series for point in device.points.values())
        seal = hub_.history._compact
        count = 0

        async def once(run):
            nonlocal count
            count += 1
            if count > 1:
                raise hub.errors.StorageError("the power is gone")
            await seal(run)

        monkeypatch.setattr(hub_.history, "_compact", once)
        hub_.history.close_segment()
        await until(lambda: hub_.history.fault)
        hub_.history.fault = None
    monkeypatch.undo()
    as_before(hub_.config.data, 0, 150, series[0])
    async with start() as hub_:
        [device] = hub_.devices.by_id.values()
        assert model == {pin: await points(hub_, device, pin) for pin in (0, 1, 2)}
        hub_.history.close_segment()
        await until(lambda: not hub_.history.is_busy)
        assert model == {pin: await points(hub_, device, pin) for pin in (0, 1, 2)}
        assert [] == log_entries(hub_.config.data)


async def test_a_damaged_batch_is_left_out_and_the_rest_of_the_log_is_there(start, time, monkeypatch, caplog):
    monkeypatch.setattr(hub.history.commit_log, "BATCH_ROWS", 30)
    async with start() as hub_:
        model = await fill(hub_, time, 30)
    with database(hub_.config.data) as file:
        [(data,)] = file.execute("SELECT data FROM log WHERE number = 2").fetchall()
        file.execute("UPDATE log SET data = ? WHERE number = 2", (data[:9] + bytes((data[9] ^ 1,)) + data[10:],))
    async with start() as hub_:
        [device] = hub_.devices.by_id.values()
        assert model[0][:10] + model[0][20:] == await points(hub_, device, 0)
    assert "30 values of the log are damaged (its checksum does not fit)" in caplog.text


async def test_a_batch_that_is_written_twice_is_there_once(start, time):
    async with start() as hub_:
        device, _ = await add_device(hub_, TEMPLATE)
        series = device.points[0].series

        async def append(tx):
            return await hub.history.log_table.append(tx, 9, [(series, 1, 1.0, LATEST | STAMPED)])

        for _ in range(2):
            assert {} == await hub_.storage.history.transaction(append)
    assert [(series, 1, 1.0, 3)] == log_entries(hub_.config.data)
