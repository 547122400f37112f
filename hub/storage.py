"""SQLite through aiosqlite: transactions, migrations, the two files. The only module that knows asyncio.

aiosqlite needs an asyncio loop, so one thread runs one loop that owns all connections, and trio awaits it through
`_AsyncioThread.run`. A transaction is one async function that runs wholly on that side and is never abandoned half-way:
whoever is cancelled while waiting for it still gets its commit.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite
import attrs
import outcome
import trio

from hub.datadir import locked, partial_of, publish, sync, write_whole
from hub.errors import Conflict, MigrationError, StartupError, StorageError

if TYPE_CHECKING:
    from hub.config import Durability

log = logging.getLogger(__name__)

T = TypeVar("T")
Row = tuple[Any, ...]

#: Milliseconds to wait for somebody else's lock on a file before giving up.
BUSY_TIMEOUT_MS = 5_000
#: Bytes of a page of the history file: each commit of a few values writes one or two.
HISTORY_PAGE = 1024
#: Rows in one multi-row INSERT: few enough for SQLite's variables, and its statement cache sees few sizes.
ROWS_PER_INSERT = 500
#: Of SQLite's virtual machine, between two looks whether a check is interrupted: some milliseconds.
STEPS = 10_000
#: sqlite3's extended codes keep the primary code in the low byte.
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
#: Faults of one row's values, not of the file: no retry will help.
POISON = (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, OverflowError, UnicodeError, Conflict)


class Damaged(StorageError):
    """The file is not what SQLite wrote."""


@attrs.frozen
class Migration:
    """One numbered schema change. ``sql`` may hold several statements; all of it or nothing happens."""

    number: int
    sql: str


class _AsyncioThread:
    """The thread with the asyncio loop, and the way there from trio."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="storage", daemon=True)
        self._thread.start()

    async def run(self, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run ``await fn(*args)`` over there to its end; who is cancelled meanwhile waits for it all the same."""
        await trio.lowlevel.checkpoint_if_cancelled()
        task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()

        async def job() -> None:
            result = await outcome.acapture(fn, *args)
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)

        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(job()))
        return await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Transaction:
    """What a transaction's function works with. Awaiting trio inside it raises."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run one statement; returns the id of an inserted row. Raises `Conflict` when a constraint fails."""
        # One trip to the connection's thread, where a cursor would be three.
        with _translated():
            inserted = await self._connection.execute_insert(sql, values)
            return int(inserted[0]) if inserted else 0

    async def fetch_all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        with _translated():
            return list(await self._connection.execute_fetchall(sql, values))  # type: ignore[arg-type]

    async def fetch_one(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row of few."""
        return next(iter(await self.fetch_all(sql, values)), None)

    async def insert_many(
        self, table: str, columns: Sequence[str], rows: Sequence[Row], *, replace: bool = False
    ) -> None:
        """Insert all rows: many per statement, since each statement costs two changes of the interpreter lock."""
        verb = "INSERT OR REPLACE" if replace else "INSERT"
        head = f"{verb} INTO {table} ({', '.join(columns)}) VALUES "
        one = f"({', '.join('?' * len(columns))})"
        for start in range(0, len(rows), ROWS_PER_INSERT):
            some = rows[start : start + ROWS_PER_INSERT]
            await self.execute(head + ", ".join([one] * len(some)), [value for row in some for value in row])


class Database:
    """One file: one writer connection, and one reader beside it for what must not wait for the writer."""

    def __init__(self, thread: _AsyncioThread, path: Path, durability: Durability, page_size: int = 4096) -> None:
        self._thread = thread
        self.path = path
        self._durability = durability
        self._page_size = page_size
        #: The copy that was made before the schema was changed.
        self.copied: Path | None = None
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
        """Run ``fn`` in one write transaction: committed when it returns, undone when it raises.

        Raises what ``fn`` raises, `Conflict` when a constraint fails, `StorageError` when the disk does not take it.
        """
        return await self._run(self._transaction, fn)

    async def read(self, fn: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``fn`` on the reader, in one snapshot."""
        return await self._run(self._read, fn)

    async def fetch_all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """What one statement finds, on the reader: half the trips of `read`."""
        return await self._run(self._fetch_all, sql, values)

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """The file does not change for the length of the block; what is written meanwhile waits in its log (``-wal``).

        Raises `StorageError` when somebody else reads it and does not stop.
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
                # With all of the log in the file, a reader that begins now reads the file alone, and keeps it as it is.
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
        """Write a whole copy, as of now. Raises `StorageError`."""
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
            # Its thread has one more thing to tell this loop, which may be closed next.
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
        """What a check of the whole file finds, or None; other readers and the writer go on meanwhile."""

        async def check(tx: Transaction) -> str | None:
            found = await tx.fetch_one("PRAGMA quick_check(1)")
            return None if found == ("ok",) else str(found and found[0])

        try:
            return await self.read(check)
        except Damaged as error:
            return str(error)

    async def set_aside(self) -> Path:
        """Close the file, give it another name and open an empty one; returns where it is now."""
        return await self._run(self._set_aside)

    async def _set_aside(self) -> Path:
        async with self._write_lock, self._read_lock:
            await self._close()
            name = f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
            taken = len(list(self.path.parent.glob(f"{name}*")))
            aside = self.path.with_name(f"{name}-{taken}" if taken else name)
            for suffix in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
            sync(self.path.parent)
            await self._open()
            return aside

    async def migrate(self, migrations: dict[str, Sequence[Migration]], backups: Path) -> None:
        """Bring the file to the newest schema of every owner, after a backup copy of what was there.

        Raises `MigrationError`; the file is then as it was.
        """
        applied = await self.transaction(_applied)
        for owner, numbers in applied.items():
            known = migrations.get(owner)
            if known is not None and max(numbers) > max((m.number for m in known), default=0):
                raise MigrationError(
                    f"{self.path}: written by a newer version (its {owner} schema is {max(numbers)}); "
                    "install that version again, or restore the backup made before the upgrade"
                )
        missing = [
            (owner, migration)
            for owner, known in migrations.items()
            for migration in sorted(known, key=lambda m: m.number)
            if migration.number not in applied.get(owner, ())
        ]
        if not missing:
            return
        if applied:
            backups.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - at the start
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            copy = backups / f"{self.path.stem}-before-{missing[0][0]}-{missing[0][1].number}-{stamp}.db"
            await self.backup(copy)
            self.copied = copy
            log.info("storage: %s copied to %s before its schema changes", self.path.name, copy)

        async def apply(tx: Transaction) -> None:
            for owner, migration in missing:
                try:
                    for statement in _statements(migration.sql):
                        await tx.execute(statement)
                except (sqlite3.Error, Conflict, StorageError) as error:
                    raise MigrationError(
                        f"{self.path}: schema change {owner} {migration.number} failed: {error}"
                    ) from error
                values = (owner, migration.number, time.time_ns() // 1_000_000)
                await tx.execute("INSERT INTO migrations (owner, number, applied) VALUES (?, ?, ?)", values)

        await self.transaction(apply)


async def _applied(tx: Transaction) -> dict[str, set[int]]:
    await tx.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (owner TEXT NOT NULL, number INTEGER NOT NULL, applied INTEGER NOT NULL, PRIMARY KEY (owner, number))"
    )
    applied: dict[str, set[int]] = {}
    for owner, number in await tx.fetch_all("SELECT owner, number FROM migrations"):
        applied.setdefault(owner, set()).add(number)
    return applied


def _statements(script: str) -> Iterable[str]:
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip("; \n\t"):
        yield statement


@contextmanager
def _translated() -> Iterator[None]:
    """Turn sqlite3's errors into ours; faults of a value (`POISON`) stay what they are."""
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


def shipped_migrations(name: str, package: str = "hub") -> list[Migration]:
    """What stands in a package as ``migrations/<name>-<number>-<what>.sql``; in ours ``name`` is a file's."""
    folder = resources.files(package) / "migrations"
    return [
        Migration(int(entry.name.split("-")[1]), entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda e: e.name)
        if entry.name.startswith(name + "-")
    ]


class Storage:
    """The data directory: its lock, the configuration file and the history file."""

    def __init__(self, data: Path, durability: Durability = "full") -> None:
        self.data = data
        self.backups = data / "backups"
        self._thread = _AsyncioThread()
        self.configuration = Database(self._thread, data / "pinwheel.db", durability)
        self.history = Database(self._thread, data / "history.db", durability, HISTORY_PAGE)
        self.transaction = self.configuration.transaction
        self.read = self.configuration.read
        #: Where a damaged history was put at start, if it was.
        self.set_aside: Path | None = None

    async def _open(self, migrations: dict[str, Sequence[Migration]]) -> None:
        try:
            await self.configuration.open()
            if damage := await self.configuration.damage():
                raise Damaged(damage)
            await self.configuration.migrate({"core": shipped_migrations("pinwheel"), **migrations}, self.backups)
        except Damaged as error:
            raise StartupError(self._damaged_configuration(error)) from error
        except StorageError as error:
            raise StartupError(f"{self.configuration.path}: {error}") from error
        try:
            await self.history.open()
            await self.migrate_history()
        except MigrationError:
            await self._take_back()
            raise
        except Damaged as error:
            await self.put_history_aside(str(error))
            await self.migrate_history()
        except StorageError as error:
            raise StartupError(f"{self.history.path}: {error}") from error

    async def _take_back(self) -> None:
        """Put the configuration back as it was before this start, so that the old version works with both files."""
        if self.configuration.copied is not None:
            await self.configuration.close()
            for suffix in ("-wal", "-shm"):
                self.configuration.path.with_name(self.configuration.path.name + suffix).unlink(missing_ok=True)
            write_whole(self.configuration.path, self.configuration.copied.read_bytes())

    async def migrate_history(self) -> None:
        await self.history.migrate({"core": shipped_migrations("history")}, self.backups)

    async def put_history_aside(self, damage: str) -> None:
        """Give a damaged history another name, and open an empty file. Raises `StorageError`."""
        self.set_aside = aside = await self.history.set_aside()
        damage = " ".join(damage.split())
        log.error("storage: the history file is damaged (%s); kept as %s, history starts anew", damage, aside)

    def _damaged_configuration(self, error: Exception) -> str:
        path = self.configuration.path
        copies = sorted(self.backups.glob("pinwheel-*.db"), key=lambda p: p.stat().st_mtime)
        here, wal, shm = (shlex.quote(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
        way_out = (
            f"put the newest copy back with: rm -f {wal} {shm} && cp {shlex.quote(str(copies[-1]))} {here}"
            if copies
            else f"there is no copy in {self.backups}; put your own backup of the data directory back"
        )
        return f"{path} is damaged ({' '.join(str(error).split())}); {way_out}"

    async def _close(self) -> None:
        await self.configuration.close()
        await self.history.close()

    def free_share(self) -> float | None:
        """How much of the disk is free, 0..1; None when the disk does not tell."""
        try:
            usage = shutil.disk_usage(self.data)
        except OSError:
            return None
        return usage.free / usage.total


@asynccontextmanager
async def open_storage(
    data: Path, migrations: dict[str, Sequence[Migration]], durability: Durability = "full"
) -> AsyncIterator[Storage]:
    """Lock the data directory, open and migrate both files. Raises `StartupError`."""
    with locked(data):
        storage = Storage(data, durability)
        try:
            await storage._open(migrations)  # noqa: SLF001
            yield storage
        finally:
            with trio.CancelScope(shield=True):
                await storage._close()  # noqa: SLF001
            storage._thread.close()  # noqa: SLF001


def look_into(path: Path, sql: str, values: Sequence[Any] = ()) -> list[Row]:
    """What a query finds in a file that may be in use or not. Raises `StorageError`."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}") from error


def inspect(path: Path) -> list[str]:
    """What is wrong with a database file, a line each; it is only read. Ctrl-C does not wait for its end."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        # Signals are handled while Python runs: their exception interrupts SQLite, and is lost there.
        connection.set_progress_handler(lambda: 0, STEPS)
        try:
            found = connection.execute("PRAGMA quick_check(10)").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error
        return [f"{path}: {error}"]
    return [f"{path}: {row[0]}" for row in found if row[0] != "ok"]
