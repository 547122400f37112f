"""Schema migrations: numbered changes of each owner, applied in order in one transaction, after a backup copy."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import attrs

from hub.errors import Conflict, MigrationError, StorageError
from hub.storage.sqlite import Database, Transaction

log = logging.getLogger(__name__)


@attrs.frozen
class Migration:
    """One numbered schema change. ``sql`` may hold several statements; either all of them are applied or none."""

    number: int
    sql: str


#: The migrations of each owner: "core", or a plugin's name.
Migrations = dict[str, Sequence[Migration]]


def shipped_migrations(name: str, package: str = "hub") -> list[Migration]:
    """Read the files ``migrations/<name>-<number>-<subject>.sql`` of a package.

    In the package "hub", ``name`` is "pinwheel" or "history", the database file.
    """
    folder = resources.files(package) / "migrations"
    return [
        Migration(int(entry.name.split("-")[1]), entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.startswith(name + "-")
    ]


async def migrate(database: Database, migrations: Migrations, backups: Path) -> Path | None:
    """Bring a database to the newest schema of every owner.

    Returns the path of the copy in ``backups`` that was made of an older database before it was changed, else None.
    Raises `MigrationError`; the database is unchanged then.
    """
    applied = await database.transaction(_applied)
    _reject_newer(database, migrations, applied)
    missing = [
        (owner, migration)
        for owner, numbered in migrations.items()
        for migration in sorted(numbered, key=lambda migration: migration.number)
        if migration.number not in applied.get(owner, ())
    ]
    if not missing:
        return None
    copy = None
    if applied:
        backups.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - at the start
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        owner, first = missing[0]
        copy = backups / f"{database.path.stem}-before-{owner}-{first.number}-{stamp}.db"
        await database.backup(copy)
        log.info("storage: %s copied to %s before its schema changes", database.path.name, copy)

    async def apply(tx: Transaction) -> None:
        for owner, migration in missing:
            await _apply(tx, database.path, owner, migration)

    await database.transaction(apply)
    return copy


def _reject_newer(database: Database, migrations: Migrations, applied: dict[str, set[int]]) -> None:
    """Raise `MigrationError` when a newer version of an owner has changed the database."""
    for owner, numbers in applied.items():
        if owner not in migrations:
            continue
        newest = max((migration.number for migration in migrations[owner]), default=0)
        if max(numbers) > newest:
            raise MigrationError(
                f"{database.path}: written by a newer version (its {owner} schema is {max(numbers)}); "
                "install that version again, or restore the backup made before the upgrade"
            )


async def _apply(tx: Transaction, path: Path, owner: str, migration: Migration) -> None:
    try:
        for statement in _statements(migration.sql):
            await tx.execute(statement)
    except (sqlite3.Error, Conflict, StorageError) as error:
        raise MigrationError(f"{path}: schema change {owner} {migration.number} failed: {error}") from error
    values = (owner, migration.number, time.time_ns() // 1_000_000)
    await tx.execute("INSERT INTO migrations (owner, number, applied) VALUES (?, ?, ?)", values)


async def _applied(tx: Transaction) -> dict[str, set[int]]:
    """The numbers that were applied, by owner."""
    await tx.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (owner TEXT NOT NULL, number INTEGER NOT NULL, applied INTEGER NOT NULL, PRIMARY KEY (owner, number))"
    )
    applied: dict[str, set[int]] = {}
    for owner, number in await tx.fetch_all("SELECT owner, number FROM migrations"):
        applied.setdefault(owner, set()).add(number)
    return applied


def _statements(script: str) -> Iterable[str]:
    """Split a script at the semicolons that end a statement."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip("; \n\t"):
        yield statement
