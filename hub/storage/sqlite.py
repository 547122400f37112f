"""SQLite through aiosqlite: databases, their transactions and read snapshots.

A transaction is one async function that runs entirely in the asyncio thread (`hub.storage.bridge`) and is never
abandoned half-way: a task that is cancelled while it waits for one still gets its commit.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import trio

from hub.config import Durability
from hub.datadir import partial_of, publish, sync
from hub.errors import Conflict, StorageError
from hub.storage.bridge import AsyncioThread

T = TypeVar("T")
Row = tuple[Any, ...]

#: Milliseconds to wait for a file that another program has locked.
BUSY_TIMEOUT_MS = 5_000
#: Rows of one multi-row INSERT: few enough for SQLite's limit of variables, and few sizes for its statement cache.
ROWS_PER_INSERT = 500
#: Instructions of SQLite's virtual machine between two chances to interrupt a check: some milliseconds.
STEPS = 10_000
#: sqlite3's extended codes keep the primary code in the low byte.
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
#: Errors caused by the values of one row, not by the file: a retry cannot help.
POISON = (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, OverflowError, UnicodeError, Conflict)


class Damaged(StorageError):
    """The content of the file is not what SQLite wrote."""


class Transaction:
    """The handle with which a transaction's function runs statements. Awaiting trio in that function raises."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run one statement. Raises `Conflict` when a constraint fails."""
        # One round trip to the connection's thread; a cursor takes three.
        with _translated():
            await self._connection.execute_fetchall(sql, values)

    async def fetch_all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        with _translated():
            return list(await self._connection.execute_fetchall(sql, values))  # type: ignore[arg-type]

    async def fetch_one(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """Return the first row, or None; for statements that find few rows."""
        return next(iter(await self.fetch_all(sql, values)), None)

    async def insert(self, table: str, **columns: Any) -> int:
        """Insert a row; return the id that the database gave it. Raises `Conflict` when a constraint fails."""
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        with _translated():
            inserted = await self._connection.execute_insert(sql, tuple(columns.values()))
            return int(inserted[0]) if inserted else 0

    async def insert_missing(self, table: str, **columns: Any) -> None:
        """Insert a row, unless the table has one with the same key."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        await self.execute(sql, tuple(columns.values()))

    async def upsert(self, table: str, key: Sequence[str], **columns: Any) -> None:
        """Insert a row, or update the row with the same values in the columns ``key``."""
        await self.upsert_many(table, key, tuple(columns), [tuple(columns.values())])

    async def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, many per statement: each statement costs two changes of the interpreter lock."""
        await self._insert_many(table, columns, rows, "")

    async def insert_many_with_ids(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> list[int]:
        """Insert rows, and return the ids that the database gave them, in the order of the rows."""
        ids = await self._insert_many(table, columns, rows, " RETURNING id")
        # Ids are given in the order of the rows, but may be returned in another one.
        return sorted(int(row[0]) for row in ids)

    async def upsert_many(self, table: str, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]) -> None:
        """`upsert` rows, many per statement."""
        updates = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
        await self._insert_many(table, columns, rows, f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}")

    async def _insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row], clause: str) -> list[Row]:
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        placeholders = f"({', '.join('?' * len(columns))})"
        returned: list[Row] = []
        for start in range(0, len(rows), ROWS_PER_INSERT):
            batch = rows[start : start + ROWS_PER_INSERT]
            values = [value for row in batch for value in row]
            returned += await self.fetch_all(head + ", ".join([placeholders] * len(batch)) + clause, values)
        return returned

    async def update_replacing(self, table: str, assignments: str, where: str, values: Sequence[Any]) -> None:
        """Update rows; a row whose unique key an updated row takes over is deleted."""
        await self.execute(f"UPDATE OR REPLACE {table} SET {assignments} WHERE {where}", values)


def among(column: str, values: Iterable[int | str]) -> tuple[str, str]:
    """Return a condition that ``column`` has one of any number of values, and its one parameter."""
    return f"{column} IN (SELECT value FROM json_each(?))", json.dumps(list(values))


class Database:
    """One file with one writer connection, and one reader connection for reads that must not wait for the writer."""

    def __init__(self, thread: AsyncioThread, path: Path, durability: Durability, page_size: int = 4096) -> None:
        self._thread = thread
        self.path = path
        self._durability = durability
        self._page_size = page_size
        self._writer: aiosqlite.Connection | None = None
        self._reader: aiosqlite.Connection | None = None
        self._write_lock = asyncio.Lock()
        self._read_lock = asyncio.Lock()

    async def open(self) -> None:
        """Raises `Damaged` or `StorageError`."""
        await self._run(self._open)

    async def close(self) -> None:
        await self._thread.run(self._close)

    async def transaction(self, fn: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``fn`` in one write transaction: committed when it returns, rolled back when it raises.

        Raises what ``fn`` raises, `Conflict` when a constraint fails, `StorageError` when the write fails.
        """
        return await self._run(self._transaction, fn)

    async def read(self, fn: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``fn`` on the reader connection, in one snapshot."""
        return await self._run(self._read, fn)

    async def fetch_all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return the rows of one statement on the reader connection, in half the round trips of `read`."""
        return await self._run(self._fetch_all, sql, values)

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Keep the file unchanged for the length of the block; writes meanwhile stay in its log (``-wal``).

        Raises `StorageError` when another program goes on reading it.
        """
        connection = await self._run(self._hold)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await self._run(connection.close)

    async def _hold(self) -> aiosqlite.Connection:
        connection = await self._connect()
        try:
            async with self._write_lock, self._read_lock:
                # With the whole log in the file, a reader that begins now reads the file alone and keeps it unchanged.
                [(busy, *_)] = await connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                if busy:
                    raise StorageError("another program reads the file")
                await connection.execute("BEGIN")
                await connection.execute_fetchall("SELECT count(*) FROM sqlite_master")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to ``target``. Raises `StorageError`."""
        await self._run(self._backup, target)

    async def _run(self, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        async def translated() -> T:
            with _translated():
                return await fn(*args)

        return await self._thread.run(translated)

    async def _open(self) -> None:
        writer = await self._connect()
        try:
            await writer.execute(f"PRAGMA page_size = {self._page_size}")
            await writer.execute("PRAGMA journal_mode = WAL")
            await writer.execute(f"PRAGMA synchronous = {self._durability}")
            await writer.execute("PRAGMA foreign_keys = ON")
            await writer.execute_fetchall("SELECT count(*) FROM sqlite_master")
        except BaseException:
            await writer.close()
            raise
        self._writer = writer

    async def _connect(self) -> aiosqlite.Connection:
        connection = aiosqlite.connect(self.path, isolation_level=None)
        try:
            await connection
        except BaseException:
            # Its thread still calls this loop once, which may be closed next.
            connection._thread.join()  # noqa: SLF001
            raise
        await connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        await connection.execute("PRAGMA cache_size = -4000")
        return connection

    async def _close(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                await connection.close()
        self._reader = self._writer = None

    async def _transaction(self, fn: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._write_lock:
            if self._writer is None:
                await self._open()
            connection = self._writer
            assert connection is not None, "it was opened"
            await connection.execute("BEGIN IMMEDIATE")
            try:
                result = await fn(Transaction(connection))
                await connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    await connection.execute("ROLLBACK")
                raise
            return result

    async def _read(self, fn: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._read_lock:
            reader = self._reader or await self._open_reader()
            await reader.execute("BEGIN")
            try:
                return await fn(Transaction(reader))
            finally:
                await reader.execute("ROLLBACK")

    async def _fetch_all(self, sql: str, values: Sequence[Any]) -> list[Row]:
        async with self._read_lock:
            return await Transaction(self._reader or await self._open_reader()).fetch_all(sql, values)

    async def _open_reader(self) -> aiosqlite.Connection:
        self._reader = await self._connect()
        await self._reader.execute("PRAGMA query_only = ON")
        return self._reader

    async def _backup(self, target: Path) -> None:
        assert self._writer is not None, "the database is open"
        partial = partial_of(target)
        partial.unlink(missing_ok=True)
        async with self._write_lock:
            await self._writer.execute("VACUUM INTO ?", (str(partial),))
        publish(target)

    async def damage(self) -> str | None:
        """Check the whole file; returns the first problem, or None. The writer goes on meanwhile."""

        async def check(tx: Transaction) -> str | None:
            row = await tx.fetch_one("PRAGMA quick_check(1)")
            return None if row == ("ok",) else str(row and row[0])

        try:
            return await self.read(check)
        except Damaged as error:
            return str(error)

    async def set_aside(self) -> Path:
        """Close the file, rename it and open an empty one; returns its new path."""
        return await self._run(self._set_aside)

    async def _set_aside(self) -> Path:
        async with self._write_lock, self._read_lock:
            await self._close()
            name = f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
            number = len(list(self.path.parent.glob(f"{name}*")))
            aside = self.path.with_name(f"{name}-{number}" if number else name)
            for suffix in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
            sync(self.path.parent)
            await self._open()
            return aside


@contextmanager
def _translated() -> Iterator[None]:
    """Translate sqlite3's errors into ours; errors of a value (`POISON`) pass unchanged."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Conflict(str(error)) from error
    except (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError):
        raise
    except sqlite3.DatabaseError as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        raise (Damaged if code in _DAMAGED else StorageError)(str(error)) from error
    except OSError as error:
        raise StorageError(str(error)) from error


def look_into(path: Path, sql: str, values: Sequence[Any] = ()) -> list[Row]:
    """Return the rows of a query on a file, whether a hub uses it or not. Raises `StorageError`."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}") from error


def inspect(path: Path) -> list[str]:
    """Check a database file without changing it; returns its problems, a line each. Ctrl-C interrupts the check."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        # Signals are handled while Python code runs; their exception interrupts SQLite, but is lost there.
        connection.set_progress_handler(lambda: 0, STEPS)
        try:
            rows = connection.execute("PRAGMA quick_check(10)").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error
        return [f"{path}: {error}"]
    return [f"{path}: {row[0]}" for row in rows if row[0] != "ok"]
