"""Migrations: each is applied completely, after a backup, or not at all."""

from __future__ import annotations

import pytest
from support.storage import NOTES, execute, insert, rows_in_file, stored, texts

from hub.errors import MigrationError
from hub.storage import Migration

COLOURS = Migration(2, "ALTER TABLE notes ADD COLUMN colour TEXT;\nUPDATE notes SET colour = 'red';")


async def test_migration_preserves_rows(data):
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("old"))
    async with stored(data, {"notes": [COLOURS, *NOTES["notes"]]}) as storage:
        assert [("old", "red")] == await execute(storage, "SELECT text, colour FROM notes")


async def test_backup_is_created_before_a_migration(data):
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("old"))
    before = set(storage.backups.glob("*.db"))
    async with stored(data, {"notes": [*NOTES["notes"], COLOURS]}) as storage:
        [copy] = set(storage.backups.glob("*.db")) - before

    assert copy.name.startswith("pinwheel-before-notes-2-")
    assert [(1, "old")] == rows_in_file(copy, "SELECT * FROM notes")


async def test_no_backup_is_created_without_a_migration(data):
    for _ in range(2):
        async with stored(data, NOTES) as storage:
            copies = list(storage.backups.glob("*.db"))
    assert [] == copies


async def test_no_backup_is_created_of_a_new_data_directory(data):
    async with stored(data) as storage:
        assert not storage.backups.exists()


async def test_failed_migration_leaves_the_file_unchanged(data):
    broken = Migration(3, "CREATE TABLE half (x);\nINSERT INTO nowhere VALUES (1);")
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("old"))
    with pytest.raises(MigrationError, match=r"notes 3 failed: no such table: nowhere"):
        async with stored(data, {"notes": [*NOTES["notes"], COLOURS, broken]}):
            pass
    async with stored(data, NOTES) as storage:
        assert ["old"] == await texts(storage)
        assert [] == await execute(storage, "SELECT name FROM sqlite_master WHERE name = 'half'")
        assert ["id", "text"] == [row[1] for row in await execute(storage, "PRAGMA table_info(notes)")]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE a (x); CREATE TABLE b (x);",
        "CREATE TABLE a (x);\nCREATE TABLE b (x)\n",
        "-- first; then second\nCREATE TABLE a (x);\n/* and; */ CREATE TABLE b (x);\n-- done",
        "CREATE TABLE a (x);\nCREATE TABLE b (x);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM b;\n  DELETE FROM b;\nEND;\n",
    ],
    ids=["one line", "no end", "comments", "trigger"],
)
async def test_migration_may_have_several_statements(data, sql):
    async with stored(data, {"more": [Migration(1, sql)]}) as storage:
        tables = await execute(storage, "SELECT name FROM sqlite_master WHERE name IN ('a', 'b') ORDER BY name")

    assert [("a",), ("b",)] == tables


async def test_backup_is_a_complete_copy(data, tmp_path):
    async with stored(data, NOTES) as storage:
        await storage.transaction(insert("earlier"))
        await storage.configuration.backup(tmp_path / "copy.db")
        await storage.transaction(insert("later"))

    assert [(1, "earlier")] == rows_in_file(tmp_path / "copy.db", "SELECT * FROM notes")
    assert not list(tmp_path.glob("*.partial"))
