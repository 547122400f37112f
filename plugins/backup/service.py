"""Backups: one at a time, written while the hub runs, and proven by a trial restore.

Another process reads the hub's files (see `plugins.backup.worker`). The hub only keeps them unchanged meanwhile, with a
read transaction on each database.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import Conflict, HubError, RequestError, StorageError
from hub.datadir import partial_of, write_whole
from hub.parsing.structuring import structure
from plugins.backup import archive
from plugins.backup.archive import DATABASES, Manifest

if TYPE_CHECKING:
    from hub import Hub
    from hub.storage import Database

log = logging.getLogger(__name__)

#: The number of the newest schema change of every owner.
_SCHEMAS = "SELECT owner, max(number) FROM migrations GROUP BY owner"
_WORKER = "from plugins.backup.worker import main; main()"


@attrs.define
class Job:
    """The running backup, or the last one.

    ``done`` and ``total`` are bytes of the current ``step``; ``problem`` is empty unless the backup failed; a complete
    backup has a ``manifest``.
    """

    path: str = ""
    running: bool = False
    done: int = 0
    total: int = 0
    step: str = ""
    problem: str = ""
    manifest: Manifest | None = None


class Backups:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.job = Job()
        #: When the last complete backup was made, in ms UTC, also before a restart; None without one.
        self._last_file = hub.config.data / "backup-last"
        self.last_backup = _read_time(self._last_file)
        #: Called with the bytes that are done, and their total.
        self._progress: Callable[[int, int], None] = _ignore_progress
        self._requested = trio.Event()

    def begin(self, path: Path) -> None:
        """Request a backup from `serve`. Raises `Conflict` while another one runs."""
        self._new_job(path)
        self._requested.set()

    async def make(self, path: Path, progress: Callable[[int, int], None] | None = None) -> Manifest:
        """Make a backup. Raises `Conflict` while another one runs, `RequestError`, `StorageError`, OSError."""
        job, self._progress = self._new_job(path), progress or _ignore_progress
        try:
            return await self._make(job)
        finally:
            self._progress = _ignore_progress

    async def serve(self) -> None:
        """Make the requested backups, until cancelled."""
        while True:
            await self._requested.wait()
            self._requested = trio.Event()
            # The job has the error.
            with suppress(HubError, OSError):
                await self._make(self.job)

    def _new_job(self, path: Path) -> Job:
        if self.job.running:
            raise Conflict("another backup is being made: try again when it has ended")
        self.job = Job(path=str(path), running=True, step="copying")
        return self.job

    async def _make(self, job: Job) -> Manifest:
        try:
            await self._write(job)
            job.step = "trying it out"
            await self._run_worker(job, {"step": "prove", "target": job.path})
        except (HubError, OSError) as error:
            job.problem = str(error)
            raise
        finally:
            job.running = False
        assert job.manifest is not None, "it was proven"
        await self._remember(job.manifest.created)
        return job.manifest

    async def _remember(self, created: int) -> None:
        self.last_backup = created
        try:
            await trio.to_thread.run_sync(write_whole, self._last_file, str(created).encode())
        except OSError as error:
            # The backup is complete nevertheless; only its time is lost at the next start.
            log.warning("backup: %s cannot be written: %s", self._last_file, error)

    async def _write(self, job: Job) -> None:
        """Write the file of a backup, as `partial_of` its name."""
        hub, folder = self._hub, Path(job.path).parent
        data = hub.config.data
        files = {name: data / name for name in DATABASES}
        logs = [path for name in DATABASES if (path := data / f"{name}-wal").exists()]
        files |= {f"tls/{path.name}": path for path in archive.tls_files(data)}
        blobs = await trio.to_thread.run_sync(lambda: archive.total_size(archive.blob_files(data).values()))
        # Once for the backup, and once for its trial restore.
        archive.check_space(folder, 2 * (blobs + archive.total_size((*files.values(), *logs))))
        # History first: a device that is added in between then lacks its values, and not the values their device.
        databases = (hub.storage.history, hub.storage.configuration)
        async with AsyncExitStack() as stack:
            for database in databases:
                files[database.path.name] = await self._hold_still(database, folder, stack)
            about = {
                "format": archive.FORMAT,
                "version": hub.version,
                "created": hub.clock.now(),
                "devices": len(hub.devices.by_id),
                "templates": len(hub.templates.by_id),
                "schemas": {database.path.name: dict(await database.fetch_all(_SCHEMAS)) for database in databases},
            }
            paths = {name: str(path) for name, path in files.items()}
            command = {"step": "write", "target": job.path, "data": str(data), "files": paths, "about": about}
            await self._run_worker(job, command)

    @staticmethod
    async def _hold_still(database: Database, folder: Path, stack: AsyncExitStack) -> Path:
        """Return a file of a database that does not change until ``stack`` closes. Raises `StorageError`, OSError.

        On a full disk, or while another program reads the database, SQLite cannot move its log into the file. Then the
        returned file is a temporary copy in ``folder``.
        """
        try:
            await stack.enter_async_context(database.still())
        except StorageError as error:
            log.warning("backup: copying %s, because it cannot be kept unchanged: %s", database.path.name, error)
            copies = stack.enter_context(TemporaryDirectory(prefix=".copy-", dir=folder))
            await database.backup(Path(copies) / database.path.name)
            return Path(copies) / database.path.name
        return database.path

    async def _run_worker(self, job: Job, command: dict[str, Any]) -> None:
        """Run one step of a backup in another process, and follow its progress. Raises `RequestError`."""
        run = partial(
            trio.run_process,
            [sys.executable, "-c", _WORKER],
            stdin=json.dumps(command).encode(),
            stdout=subprocess.PIPE,
            check=False,
        )
        buffer = b""
        async with trio.open_nursery() as nursery:
            process = await nursery.start(run)
            async for chunk in process.stdout:
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    self._on_message(job, json.loads(line))
        if job.problem or process.returncode:
            partial_of(Path(job.path)).unlink(missing_ok=True)
            raise RequestError(job.problem or f"the backup's process failed with exit status {process.returncode}")

    def _on_message(self, job: Job, message: dict[str, Any]) -> None:
        job.problem = message.get("problem", "")
        if "manifest" in message:
            job.manifest = structure(message["manifest"], Manifest)
        elif "total" in message:
            job.done, job.total = message["done"], message["total"]
            self._progress(job.done, job.total)


def _read_time(path: Path) -> int | None:
    """Return the time in a file, in ms UTC; None if there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _ignore_progress(_done: int, _total: int) -> None:
    pass
