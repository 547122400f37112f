"""The tables of chunks and statistics, in a real file."""

from __future__ import annotations

import pytest
from support.times import HOUR

from hub.history import chunkstore
from hub.history.chunks import Statistics, encode
from hub.history.chunkstore import ChunkReader, Chunks, CompactionProgress
from hub.history.keys import EVERY_SERIES, MAX_PART, chunk_key, hour_key, series_of_chunk
from hub.storage import open_storage

#: The number of an hour since 1970.
FIRST = 500_000


@pytest.fixture
async def database(tmp_path):
    async with open_storage(tmp_path / "data", {}) as storage:
        yield storage.history


@pytest.fixture
def reader(database):
    return ChunkReader(database)


def part(hour, series, number=0, value=1.0):
    """The key and the data of a chunk with one point."""
    key = chunk_key(hour, series, number)
    return key, encode(key, [(hour * HOUR + number, value)])


def stats(hour, count=1, value=1.0):
    return Statistics(count, value, value, value * count, value, hour * HOUR + 5)


async def write(database, work):
    """Run a function with the chunks in a transaction."""

    async def run(tx):
        return await work(Chunks(tx))

    return await database.transaction(run)


@pytest.fixture
async def filled(database):
    """Two series with three parts in each of ten hours, but for the fourth."""
    hours = [hour for hour in range(FIRST, FIRST + 10) if hour != FIRST + 3]

    async def fill(chunks):
        await chunks.put([part(hour, series, n) for hour in hours for series in (1, 2) for n in range(3)])
        await chunks.put_hours({hour_key(hour, s): stats(hour, 3, float(hour)) for hour in hours for s in (1, 2)})
        await chunks.set_progress(CompactionProgress(4, 10, 20, EVERY_SERIES, 7))

    await write(database, fill)
    return database


async def read_slices(read, first, last):
    """All rows of the slices from ``first`` to ``last``, and how many slices there were."""
    rows, slices = [], 0
    while first <= last:
        piece = await read(first, last)
        assert CompactionProgress(4, 10, 20, EVERY_SERIES, 7) == piece.progress
        assert first <= piece.until <= last
        rows += piece.rows
        first, slices = piece.until + 1, slices + 1
    return rows, slices


@pytest.mark.parametrize(("limit", "slices"), [(2, range(9, 12)), (7, range(4, 8)), (128, [1])])
async def test_parts_of_a_series_are_read_in_slices_of_complete_hours(filled, reader, monkeypatch, limit, slices):
    monkeypatch.setattr(chunkstore, "CHUNKS", limit)
    rows, count = await read_slices(lambda first, last: reader.parts_of(2, first, last), FIRST - 5, FIRST + 50)
    expected = [part(hour, 2, n) for hour in range(FIRST, FIRST + 10) if hour != FIRST + 3 for n in range(3)]
    assert expected == rows
    assert count in slices


@pytest.mark.parametrize(("limit", "slices"), [(2, range(9, 12)), (2_000, [1])])
async def test_statistics_of_hours_are_read_in_slices(filled, reader, limit, slices):
    def read(first, last):
        return reader.hours_of(1, first, last, limit)

    rows, count = await read_slices(read, FIRST - 5, FIRST + 50)
    assert [(h * HOUR, stats(h, 3, float(h))) for h in range(FIRST, FIRST + 10) if h != FIRST + 3] == rows
    assert count in slices
    rows, _ = await read_slices(read, FIRST + 2, FIRST + 4)
    assert [FIRST + 2, FIRST + 4] == [start // HOUR for start, _ in rows]
    assert ([], 1) == await read_slices(read, FIRST + 20, FIRST + 20)


async def test_file_without_statistics_has_an_empty_slice(database, reader):
    piece = await reader.hours_of(1, FIRST, FIRST + 9)
    assert (FIRST + 9, [], True) == (piece.until, piece.rows, piece.progress.is_complete)
    assert (None, {}) == await reader.days_of(1, FIRST, FIRST + 9)
    assert {} == await reader.costs()


async def test_statistics_and_newest_parts_are_read_by_key(filled, reader):
    keys = [hour_key(FIRST, 1), hour_key(FIRST + 3, 1), hour_key(FIRST + 4, 2)]
    assert {keys[0]: stats(FIRST, 3, float(FIRST)), keys[2]: stats(FIRST + 4, 3, float(FIRST + 4))} == (
        await reader.hours(keys)
    )
    assert {keys[0]: part(FIRST, 1, 2), keys[2]: part(FIRST + 4, 2, 2)} == await reader.newest_parts(keys)
    assert stats(FIRST + 2, 3, float(FIRST + 2)) == await reader.newest_hour(1, FIRST + 3)
    assert None is await reader.newest_hour(1, FIRST - 1)
    assert None is await reader.newest_hour(3, FIRST + 9)


async def test_replaced_chunk_does_not_affect_its_neighbours(filled, reader):
    new = [part(FIRST + 1, 1, 0, 9.0)]
    await write(filled, lambda chunks: chunks.replace(FIRST + 1, 1, new))
    assert new == await reader.parts(FIRST + 1, 1)
    for hour, series in ((FIRST, 1), (FIRST + 2, 1), (FIRST + 1, 2)):
        assert 3 == len(await reader.parts(hour, series))
    await write(filled, lambda chunks: chunks.replace(FIRST + 1, 1, []))
    assert [] == await reader.parts(FIRST + 1, 1)


async def test_days_of_every_zone_that_contain_an_hour_are_deleted(database, reader):
    days = [(1, FIRST, 24, stats(FIRST)), (1, FIRST + 24, 23, stats(FIRST + 24)), (2, FIRST, 24, stats(FIRST))]
    days += [(1, FIRST + 2, 24, stats(FIRST + 2)), (1, FIRST - 24, 24, stats(FIRST - 24))]
    await write(database, lambda chunks: chunks.put_days(days))
    await write(database, lambda chunks: chunks.delete_days([hour_key(FIRST + 23, 1)]))
    _, remaining = await reader.days_of(1, FIRST - 100, FIRST + 100)
    # The first two overlap at that hour; the day before and the day after it do not contain it.
    assert {(FIRST - 24, 24), (FIRST + 24, 23)} == {(a // HOUR, (b - a) // HOUR) for a, b in remaining}
    _, other = await reader.days_of(2, FIRST, FIRST)
    assert {(FIRST * HOUR, (FIRST + 24) * HOUR): stats(FIRST)} == other


async def test_erasure_deletes_all_rows_of_a_series_in_slices(filled, reader, monkeypatch):
    monkeypatch.setattr(chunkstore, "ERASED_PER_SLICE", 4)
    await write(filled, lambda chunks: chunks.put_days([(s, FIRST, 24, stats(FIRST)) for s in (1, 2)]))
    await write(filled, lambda chunks: chunks.put_latest([(s, (1, 2.0)) for s in (1, 2)]))
    hour, slices = 0, 0
    while hour is not None:
        hour = await write(filled, lambda chunks, hour=hour: chunks.erase([1], hour))
        slices += 1
    assert 3 == slices
    assert {2} == {series_of_chunk(key) for key, _ in await reader.parts_after(0, 1000)}
    assert {2} == set(await reader.latest())
    assert [0, 1] == [len((await reader.days_of(series, FIRST, FIRST))[1]) for series in (1, 2)]
    assert 9 == len((await reader.hours_of(2, FIRST, FIRST + 9)).rows)
    assert [] == (await reader.hours_of(1, FIRST, FIRST + 9)).rows


async def test_only_a_damaged_part_is_quarantined(filled, reader):
    damaged, _ = part(FIRST, 1, 1)
    await write(filled, lambda chunks: chunks.put([(damaged, b"damaged")]))
    for key in (damaged, chunk_key(FIRST, 1, 0), chunk_key(FIRST, 9, 0)):
        await write(filled, lambda chunks, key=key: chunks.quarantine(key))
    assert [part(FIRST, 1, 0), part(FIRST, 1, 2)] == await reader.parts(FIRST, 1)
    assert [(damaged, b"damaged")] == await filled.fetch_all("SELECT id, data FROM quarantine")


async def test_rows_are_paged_by_key(filled, reader):
    keys = []
    while page := await reader.keys_after(keys[-1] if keys else 0, FIRST + 2, 5):
        keys += page
    assert [key for key, _ in await reader.parts_after(0, 12)] == keys
    assert 12 == len(keys)
    rows = await reader.hours_after(hour_key(FIRST, 2), FIRST + 2, 10)
    assert [(hour_key(FIRST + 1, series), 3, (FIRST + 1) * HOUR + 5) for series in (1, 2)] == rows
    assert None is await reader.damage()
    last = await reader.check_statistics("hours", 0)
    assert hour_key(FIRST + 9, 2) == last
    assert None is await reader.check_statistics("hours", last)


@pytest.mark.parametrize("value", [1, 2.5, "text", (1.5, 2.5)])
async def test_latest_values_are_stored_and_read(database, reader, value):
    await write(database, lambda chunks: chunks.put_latest([(1, (5, value)), (2, (9, value))]))
    await write(database, lambda chunks: chunks.put_latest([(1, (6, value))]))
    assert {1: (6, value), 2: (9, value)} == await reader.latest()
    assert [(2, 9)] == await reader.latest_after(0, 6, 9, 10)
    await write(database, lambda chunks: chunks.set_latest_stamp(2, 3))
    await write(database, lambda chunks: chunks.delete_latest(1))
    assert {2: (3, value)} == await reader.latest()
    await write(database, lambda chunks: chunks.delete_latest())
    assert {} == await reader.latest()


async def test_transaction_reads_its_own_writes_and_is_rolled_back_when_it_fails(database, reader):
    async def fail(chunks):
        await chunks.put([part(FIRST, 1, MAX_PART)])
        assert [part(FIRST, 1, MAX_PART)] == await chunks.parts(FIRST, 1)
        raise ValueError("after writing")

    with pytest.raises(ValueError, match="after writing"):
        await write(database, fail)
    assert [] == await reader.parts(FIRST, 1)
