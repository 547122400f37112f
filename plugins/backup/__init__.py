"""Backups: online, proven by a trial restore, on request or by schedule; and restoring one."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub.api import Permission, Request, Route
from hub.datadir import partial_of
from hub.errors import Conflict, Forbidden, HubError, Rejected, RequestError, StorageError, Unavailable
from hub.hookspecs import hookimpl
from hub.model import Change
from hub.structuring import seconds, structure
from plugins.backup import archive
from plugins.backup.archive import DATABASES, BadBackup, Manifest

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.storage import Database

log = logging.getLogger(__name__)

#: What the hub's own backups are called: the time in UTC.
NAME = "pinwheel-%Y%m%d-%H%M%S.tar"
_OURS = re.compile(r"pinwheel-\d{8}-\d{6}\.tar")
#: Seconds between two looks at whether one is due, and for the command after it.
LOOK_EVERY = 30.0
AFTER_DEADLINE = 3600.0
#: Seconds until a backup that failed is tried again.
RETRY_AFTER = 600.0
#: Seconds that a file may be from the future: file systems round.
AHEAD = 10.0
#: The newest schema change of every owner.
_SCHEMA = "SELECT owner, max(number) FROM migrations GROUP BY owner"
#: A backup is late when so many of its intervals have passed without one.
LATE = 1.5


@attrs.frozen(kw_only=True)
class MakeBackup:
    """``path`` is on the hub's machine.

    ``directory`` is `directory_id` of where that leads to for the asker: a hub that is a service may see other
    directories than a shell, such as a /tmp of its own.
    """

    path: str
    directory: str = ""


@attrs.define
class Job:
    """The backup that is being made, or the last one."""

    path: str = ""
    running: bool = False
    done: int = 0
    total: int = 0
    step: str = ""
    problem: str = ""
    manifest: Manifest | None = None


class Backups:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.job = Job()
        #: Called with what is done and how much there is to do.
        self._progress: Callable[[int, int], None] = _unseen
        self._wake = trio.Event()
        #: When the next one by schedule may begin, by the monotonic clock: wrong times must not keep it away.
        self._not_before = -math.inf

    def begin(self, path: Path) -> None:
        """Let `serve` make a backup. Raises `Conflict` while another is being made."""
        self._new_job(path)
        self._wake.set()

    async def make(self, path: Path, progress: Callable[[int, int], None]) -> None:
        """Make a backup now. Raises `Conflict` while another is being made, `RequestError`, `StorageError`, OSError."""
        job, self._progress = self._new_job(path), progress
        try:
            await self._make(job)
        finally:
            self._progress = _unseen

    async def serve(self) -> None:
        """Make the backups that are asked for, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            # What went wrong is in the job.
            with suppress(HubError, OSError):
                await self._make(self.job)

    def _new_job(self, path: Path) -> Job:
        if self.job.running:
            raise Conflict("a backup is being made already")
        self.job = Job(path=str(path), running=True, step="copying")
        return self.job

    async def _make(self, job: Job) -> Manifest:
        """Write a backup and prove it. Raises `RequestError`, `StorageError`."""
        hub, path = self.hub, Path(job.path)
        databases = (hub.storage.history, hub.storage.configuration)
        try:
            data = hub.config.data
            files = {name: data / name for name in DATABASES}
            logs = [file for name in DATABASES if (file := data / f"{name}-wal").exists()]
            files |= {f"tls/{file.name}": file for file in archive.tls_files(data)}
            # For the backup, and for its trial.
            archive.need_room(path.parent, 2 * sum(file.stat().st_size for file in (*files.values(), *logs)))
            async with AsyncExitStack() as stack:
                # The history first: a device that comes in between has no values then, and not the other way round.
                for database in databases:
                    files[database.path.name] = await self._held(database, path.parent, stack)
                about = {
                    "format": archive.FORMAT,
                    "version": hub.version,
                    "created": hub.clock.now(),
                    "devices": len(hub.devices.by_id),
                    "templates": len(hub.templates.by_id),
                    "schemas": {d.path.name: dict(await d.fetch_all(_SCHEMA)) for d in databases},
                }
                named = {name: str(file) for name, file in files.items()}
                await self._ask(job, {"step": "write", "target": job.path, "files": named, "about": about})
            job.step = "trying it out"
            await self._ask(job, {"step": "prove", "target": job.path})
        except (HubError, OSError) as error:
            job.problem = str(error)
            raise
        finally:
            job.running = False
        assert job.manifest is not None, "it was proven"
        return job.manifest

    @staticmethod
    async def _held(database: Database, folder: Path, stack: AsyncExitStack) -> Path:
        """A file of a database that does not change until ``stack`` ends. Raises `StorageError`, OSError.

        On a full disk SQLite cannot bring its log into the file, so that a copy is made in ``folder``, for the while.
        """
        try:
            await stack.enter_async_context(database.still())
        except StorageError as error:
            log.warning("backup: %s is copied, since it cannot be held still: %s", database.path.name, error)
            copies = stack.enter_context(TemporaryDirectory(prefix=".copy-", dir=folder))
            await database.backup(Path(copies) / database.path.name)
            return Path(copies) / database.path.name
        return database.path

    async def _ask(self, job: Job, what: dict[str, Any]) -> None:
        """Let another process do one part of a backup; why is said in `archive.main`. Raises `RequestError`."""
        command = [sys.executable, "-c", "from plugins.backup.archive import main; main()"]
        said = b""
        async with trio.open_nursery() as nursery:
            begin = partial(
                trio.run_process, command, stdin=json.dumps(what).encode(), stdout=subprocess.PIPE, check=False
            )
            process = await nursery.start(begin)
            async for piece in process.stdout:
                *lines, said = (said + piece).split(b"\n")
                for line in lines:
                    self._hear(job, json.loads(line))
        if job.problem or process.returncode:
            partial_of(Path(job.path)).unlink(missing_ok=True)
            raise RequestError(job.problem or f"the backup's process ended with {process.returncode}")

    def _hear(self, job: Job, message: dict[str, Any]) -> None:
        job.problem = message.get("problem", "")
        if "manifest" in message:
            job.manifest = structure(message["manifest"], Manifest)
        elif "total" in message:
            job.done, job.total = message["done"], message["total"]
            self._progress(job.done, job.total)

    # -- by schedule ----------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        return Path(self.hub.config.backup.directory or self.hub.storage.backups)

    def made(self) -> list[tuple[float, Path]]:
        """The hub's own backups and when each was made, in seconds since 1970, oldest first.

        The time of a file that is from the future tells nothing: it was written by a wrong clock, and counts as 0.
        """
        now = time.time() + AHEAD
        files = (path for path in self.folder.glob("pinwheel-*.tar") if _OURS.fullmatch(path.name))
        times = ((path.stat().st_mtime, path) for path in files)
        return sorted((at if at <= now else 0.0, path) for at, path in times)

    async def run(self) -> None:
        """Make backups when they are due, until cancelled."""
        every, began = seconds(self.hub.config.backup.every), time.monotonic()
        while True:
            # First of all: a restart does not forget.
            late = min(time.time() - self._newest(), time.monotonic() - began) > LATE * every
            text = self.failed() or (f"the last backup is older than {self.hub.config.backup.every}" if late else None)
            self.hub.alarms.set("backup", text)
            if time.time() - self._newest() >= every and time.monotonic() >= self._not_before:
                await self._scheduled()
            else:
                await trio.sleep(min(LOOK_EVERY, every / 4))

    def _newest(self) -> float:
        made = self.made()
        return made[-1][0] if made else 0.0

    @property
    def _failure(self) -> Path:
        return self.hub.config.data / "backup-failed"

    def failed(self) -> str | None:
        """Why the last backup by schedule failed, also before a restart; None when it did not."""
        return self._failure.read_text() if self._failure.exists() else None

    async def _scheduled(self) -> None:
        settings = self.hub.config.backup
        path = self.folder / time.strftime(NAME, time.gmtime())
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            manifest = await self._make(self._new_job(path))
        except (HubError, OSError) as error:
            self._failure.write_text(f"the last backup failed: {error}")
            self._not_before = time.monotonic() + RETRY_AFTER
            return
        log.info("backup: %s, %s", path, archive.megabytes(manifest.size))
        for _, old in self.made()[: -settings.keep]:
            old.unlink(missing_ok=True)
        if problem := await self._after(path) if settings.after else "":
            self._failure.write_text(problem)
        else:
            self._failure.unlink(missing_ok=True)

    async def _after(self, path: Path) -> str:
        """Run the command that takes the backup elsewhere; returns what went wrong."""
        command, environment = self.hub.config.backup.after, {**os.environ, "PINWHEEL_BACKUP": str(path)}
        with trio.move_on_after(AFTER_DEADLINE) as deadline:
            done = await trio.run_process(  # noqa: S604 - it is the operator's own command line
                command,
                shell=True,
                env=environment,
                check=False,
                capture_stdout=True,
                capture_stderr=True,
            )
        if deadline.cancelled_caught:
            return f"the command after the backup took more than {AFTER_DEADLINE:.0f} s"
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            return f"the command after the backup failed ({done.returncode}){f': {said[-1]}' if said else ''}"
        return ""


def _unseen(_done: int, _total: int) -> None:
    """Progress that nobody follows."""


def directory_id(path: Path) -> str:
    """Which directory a path leads to in this process; "" when there is none."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def _check_reach(folder: Path, expected: str) -> None:
    """Whether the hub can write into the directory that the asker means. Raises `Forbidden`."""
    same = expected in ("", directory_id(folder))
    if not same or (folder.is_dir() and not os.access(folder, os.W_OK)):
        raise Forbidden(f"{folder}: the hub cannot write there; a service writes to its data and backups only")


def check_target(path: Path, data: Path, backups: Path) -> None:
    """Whether a backup may be written there: it must not take the place of anything else. Raises `Rejected`."""
    if not path.is_absolute() or not path.parent.is_dir() or path.is_dir():
        raise Rejected(f"{path}: must be a file in a directory that exists")
    folder = path.parent.resolve()
    if folder.is_relative_to(data.resolve()) and not folder.is_relative_to(backups.resolve()):
        raise Rejected(f"{path}: is where the hub keeps its own files")
    if path.exists():
        try:
            archive.read_manifest(path)
        except BadBackup as error:
            raise Rejected(f"{path}: exists and is not a backup") from error


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [Permission("backup.make", "Make backups", root=True)]


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    backups = hub.service(Backups)
    hub.make_backup = backups.make

    async def make(request: Request) -> dict[str, str]:
        body: MakeBackup = request.body
        path = Path(body.path)
        with suppress(OSError):
            hub.storage.backups.mkdir(exist_ok=True, mode=0o700)
        _check_reach(path.parent, body.directory)
        check_target(path, hub.config.data, hub.storage.backups)
        backups.begin(path)
        change = Change(
            at=hub.clock.now(),
            principal=request.principal,
            address=request.address,
            org=request.principal.org,
            action=summary,
            subject="",
            details={"path": body.path},
        )
        try:
            await hub.record_change(change)
        except Unavailable:
            # A full disk is when somebody needs a backup elsewhere.
            log.warning("backup: %s is being made, but the audit could not record it", path)
        return {"path": str(path)}

    async def state(_request: Request) -> Job:
        return backups.job

    summary = "Begin a backup into a file of the hub's machine"
    return [
        Route(
            method="POST",
            path="/api/v1/backup",
            handler=make,
            permission="backup.make",
            body=MakeBackup,
            summary=summary,
            audited=False,
        ),
        Route(
            method="GET",
            path="/api/v1/backup",
            handler=state,
            permission="backup.make",
            summary="How far a backup is, and how it ended",
        ),
    ]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    backups = hub.service(Backups)
    nursery.start_soon(backups.serve)
    if hub.config.backup.every and hub.listener is not None:
        nursery.start_soon(backups.run)
