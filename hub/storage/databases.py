"""The data directory's two databases: opened under its lock, checked, migrated, and recovered when damaged."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from hub.config import Durability
from hub.datadir import write_whole
from hub.datadir.ownership import Ownership
from hub.errors import MigrationError, StartupError, StorageError
from hub.storage.bridge import AsyncioThread
from hub.storage.migrations import Migrations, migrate, shipped_migrations
from hub.storage.sqlite import Damaged, Database

log = logging.getLogger(__name__)

#: Bytes of a page of the history file: each commit of a few values writes one or two.
HISTORY_PAGE = 1024


class Storage:
    """The configuration file (pinwheel.db) and the history file (history.db) of a data directory."""

    def __init__(self, data: Path, durability: Durability = "full") -> None:
        self.data = data
        self.backups = data / "backups"
        self._thread = AsyncioThread()
        self.configuration = Database(self._thread, data / "pinwheel.db", durability)
        self.history = Database(self._thread, data / "history.db", durability, HISTORY_PAGE)
        self.transaction = self.configuration.transaction
        self.read = self.configuration.read
        #: Where a damaged history file was moved at the start; None when it was whole.
        self.set_aside: Path | None = None

    async def open(self, migrations: Migrations) -> None:
        """Open, check and migrate both files. Raises `StartupError`; the configuration is unchanged then."""
        copy = await self._open_configuration({"core": shipped_migrations("pinwheel"), **migrations})
        try:
            await self.history.open()
            await self.migrate_history()
        except MigrationError:
            # So that the earlier version can open both files again.
            if copy is not None:
                await self._restore_configuration(copy)
            raise
        except Damaged as error:
            await self.put_history_aside(str(error))
            await self.migrate_history()
        except StorageError as error:
            raise StartupError(f"{self.history.path}: {error}") from error

    async def _open_configuration(self, migrations: Migrations) -> Path | None:
        """Returns the copy from before a schema change, as `migrate` does."""
        try:
            await self.configuration.open()
            if damage := await self.configuration.damage():
                raise Damaged(damage)
            return await migrate(self.configuration, migrations, self.backups)
        except Damaged as error:
            raise StartupError(self._damaged_configuration(error)) from error
        except StorageError as error:
            raise StartupError(f"{self.configuration.path}: {error}") from error

    async def _restore_configuration(self, copy: Path) -> None:
        path = self.configuration.path
        await self.configuration.close()
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        write_whole(path, copy.read_bytes())  # noqa: ASYNC240 - at the start

    async def migrate_history(self) -> None:
        await migrate(self.history, {"core": shipped_migrations("history")}, self.backups)

    async def put_history_aside(self, damage: str) -> None:
        """Rename a damaged history file, and open an empty one. Raises `StorageError`."""
        self.set_aside = aside = await self.history.set_aside()
        damage = " ".join(damage.split())
        log.error("storage: the history file is damaged (%s); kept as %s, history starts anew", damage, aside)

    def _damaged_configuration(self, error: Exception) -> str:
        path = self.configuration.path
        copies = sorted(self.backups.glob("pinwheel-*.db"), key=lambda copy: copy.stat().st_mtime)
        file, wal, shm = (shlex.quote(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
        remedy = (
            f"put the newest copy back with: rm -f {wal} {shm} && cp {shlex.quote(str(copies[-1]))} {file}"
            if copies
            else f"there is no copy in {self.backups}; put your own backup of the data directory back"
        )
        return f"{path} is damaged ({' '.join(str(error).split())}); {remedy}"

    async def close(self) -> None:
        await self.configuration.close()
        await self.history.close()
        self._thread.close()

    def free_share(self) -> float | None:
        """The free share of the disk, 0..1; None when the system cannot say."""
        try:
            usage = shutil.disk_usage(self.data)
        except OSError:
            return None
        return usage.free / usage.total


@asynccontextmanager
async def open_storage(data: Path, migrations: Migrations, durability: Durability = "full") -> AsyncIterator[Storage]:
    """Lock the data directory, then open and migrate both files. Raises `StartupError`."""
    with Ownership(data):
        storage = Storage(data, durability)
        try:
            await storage.open(migrations)
            yield storage
        finally:
            with trio.CancelScope(shield=True):
                await storage.close()
