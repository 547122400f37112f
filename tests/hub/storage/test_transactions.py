"""Transactions: atomic, in sequence; rows by the names of their columns."""

from __future__ import annotations

import pytest
import trio
from support.storage import NOTES, execute, insert, started, stored, texts

from hub.errors import Conflict, StorageError
from hub.storage import Migration, among, open_storage


@pytest.fixture
async def notes(data):
    async with stored(data, NOTES) as storage:
        yield storage


async def test_transaction_returns_the_result_of_its_function(notes):
    assert 1 == await notes.transaction(insert("first"))
    assert 2 == await notes.transaction(insert("second"))
    assert ["first", "second"] == await texts(notes)


async def test_transaction_that_raises_is_rolled_back(notes):
    async def fn(tx):
        await tx.execute("INSERT INTO notes (text) VALUES ('half')")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await notes.transaction(fn)
    await notes.transaction(insert("complete"))

    assert ["complete"] == await texts(notes)


async def test_violated_constraint_is_a_conflict_and_rolls_back(notes):
    async def fn(tx):
        await tx.execute("INSERT INTO notes (text) VALUES ('new')")
        await tx.execute("INSERT INTO notes (text) VALUES ('existing')")

    await notes.transaction(insert("existing"))
    with pytest.raises(Conflict):
        await notes.transaction(fn)

    assert ["existing"] == await texts(notes)


async def test_conflict_can_be_caught_inside_a_transaction(notes):
    async def fn(tx):
        try:
            await tx.execute("INSERT INTO notes (text) VALUES ('existing')")
        except Conflict:
            await tx.execute("INSERT INTO notes (text) VALUES ('other')")

    await notes.transaction(insert("existing"))
    await notes.transaction(fn)

    assert ["existing", "other"] == await texts(notes)


async def test_transaction_of_a_cancelled_caller_is_committed(notes):
    token = trio.lowlevel.current_trio_token()
    with trio.CancelScope() as scope:

        async def fn(tx):
            token.run_sync_soon(scope.cancel)
            for number in range(50):
                await tx.execute("INSERT INTO notes (text) VALUES (?)", (str(number),))

        await notes.transaction(fn)

    assert 50 == len(await texts(notes))


async def test_loop_of_transactions_can_be_cancelled(notes):
    with trio.CancelScope() as scope:
        for number in range(10):
            await notes.transaction(insert(str(number)))
            scope.cancel()

    assert scope.cancelled_caught
    assert "0" in await texts(notes)


async def test_awaiting_trio_inside_a_transaction_raises_and_rolls_back(notes):
    async def fn(tx):
        await tx.execute("INSERT INTO notes (text) VALUES ('half')")
        await trio.sleep(0)

    with pytest.raises(RuntimeError):
        await notes.transaction(fn)
    assert [] == await texts(notes)


async def test_concurrent_transactions_are_executed_in_sequence(notes):
    async def fn(tx):
        [(count,)] = await tx.fetch_all("SELECT count(*) FROM notes")
        await tx.execute("INSERT INTO notes (text) VALUES (?)", (str(count),))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(notes.transaction, fn)

    assert [str(n) for n in range(20)] == await texts(notes)


async def test_insert_many_inserts_any_number_of_rows(notes):
    async def fn(tx):
        await tx.insert_many("notes", ("text",), [(f"note {n}",) for n in range(1234)])

    await notes.transaction(fn)

    assert [f"note {n}" for n in range(1234)] == await texts(notes)


async def test_read_transaction_cannot_write(notes):
    with pytest.raises(StorageError):
        await notes.read(insert("no"))


async def test_foreign_keys_are_enforced(data):
    async with stored(data) as storage:

        async def fn(tx):
            await tx.execute("INSERT INTO series (device, datastream) VALUES (99, 1)")

        with pytest.raises(Conflict):
            await storage.transaction(fn)


@pytest.mark.parametrize(("durability", "expected"), [("full", 2), ("normal", 1)])
async def test_durability_of_both_files_is_as_configured(data, durability, expected):
    async with started(data, f'[storage]\ndurability = "{durability}"') as hub:
        for database in (hub.storage.configuration, hub.storage.history):
            assert [(expected,)] == await execute(database, "PRAGMA synchronous")
            assert [("wal",)] == await execute(database, "PRAGMA journal_mode")


@pytest.fixture
async def pairs(tmp_path):
    sql = "CREATE TABLE pairs (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, size INTEGER)"
    async with open_storage(tmp_path / "pairs", {"test": [Migration(1, sql)]}) as storage:
        yield storage


async def rows_of(storage):
    return await storage.configuration.fetch_all("SELECT id, name, size FROM pairs ORDER BY id")


async def test_insert_returns_the_id_of_the_row(pairs):
    assert 1 == await pairs.transaction(lambda tx: tx.insert("pairs", name="a", size=1))
    with pytest.raises(Conflict):
        await pairs.transaction(lambda tx: tx.insert("pairs", name="a", size=2))
    assert [(1, "a", 1)] == await rows_of(pairs)


async def test_ids_of_inserted_rows_are_in_order_and_never_reused(pairs):
    names = [f"n{number}" for number in range(1200)]
    ids = await pairs.transaction(lambda tx: tx.insert_many_with_ids("pairs", ("name",), [(name,) for name in names]))
    assert dict(zip(names, ids, strict=True)) == {name: number for number, name, _ in await rows_of(pairs)}
    await pairs.transaction(lambda tx: tx.execute("DELETE FROM pairs"))
    [next_id] = await pairs.transaction(lambda tx: tx.insert_many_with_ids("pairs", ("name",), [("n0",)]))
    assert next_id == ids[-1] + 1


async def test_upsert_updates_the_row_of_a_key_and_preserves_its_id(pairs):
    await pairs.transaction(lambda tx: tx.upsert("pairs", ("name",), name="a", size=1))
    await pairs.transaction(lambda tx: tx.upsert("pairs", ("name",), name="a", size=2))
    await pairs.transaction(lambda tx: tx.insert_missing("pairs", name="a", size=3))
    await pairs.transaction(lambda tx: tx.insert_missing("pairs", name="b", size=4))
    assert [("a", 2), ("b", 4)] == [row[1:] for row in await rows_of(pairs)]
    assert 1 == (await rows_of(pairs))[0][0]


@pytest.mark.parametrize(("names", "expected"), [([], []), (["a"], ["a"]), (["b", "a", "a", "it's"], ["a", "b"])])
async def test_among_selects_rows_by_any_number_of_values(pairs, names, expected):
    await pairs.transaction(lambda tx: tx.insert_many("pairs", ("name",), [("a",), ("b",), ("c",)]))
    condition, values = among("name", names)
    sql = f"SELECT name FROM pairs WHERE {condition} ORDER BY name"
    assert expected == [row[0] for row in await pairs.configuration.fetch_all(sql, (values,))]
