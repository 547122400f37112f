"""Backups: online, proven by a trial restore, on request or by schedule; and restoring one."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs
import trio

from hub.errors import Conflict, HubError, Rejected
from hub.hookspecs import hookimpl
from hub.routes import Permission, Request, Route
from hub.structure import seconds
from plugins.backup import archive
from plugins.backup.archive import DATABASES, Manifest

if TYPE_CHECKING:
    from hub.app import Hub

log = logging.getLogger(__name__)

#: What the hub's own backups are called: the time in UTC.
NAME = "pinwheel-%Y%m%d-%H%M%S.tar"
_OURS = re.compile(r"pinwheel-\d{8}-\d{6}\.tar")
#: Seconds between two looks at whether one is due, and for the command after it.
LOOK_EVERY = 30.0
AFTER_DEADLINE = 3600.0
#: A backup is late when so many of its intervals have passed without one.
LATE = 1.5


@attrs.frozen(kw_only=True)
class MakeBackup:
    """``path`` is on the hub's machine."""

    path: str


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
        self._wake = trio.Event()
        self._alarm = ""

    def begin(self, path: Path) -> None:
        """Let `serve` make a backup. Raises `Conflict` while another is being made."""
        self._new_job(path)
        self._wake.set()

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
        try:
            about = {
                "format": archive.FORMAT,
                "version": hub.version,
                "created": hub.clock.now(),
                "devices": len(hub.devices.by_id),
                "templates": len(hub.templates.by_id),
            }
            data = hub.config.data
            async with AsyncExitStack() as stack:
                for database in (hub.storage.configuration, hub.storage.history):
                    await stack.enter_async_context(database.still())
                files = {name: data / name for name in DATABASES}
                files |= {f"tls/{file.name}": file for file in archive.tls_files(data)}
                archive.need_room(path.parent, sum(file.stat().st_size for file in files.values()))
                about["schemas"] = archive.schemas(data)
                await trio.to_thread.run_sync(lambda: archive.write(path, files, about, self._progress, slow=True))
            job.step = "trying it out"
            job.manifest = await trio.to_thread.run_sync(lambda: archive.verify(path, self._progress, slow=True))
        except (HubError, OSError) as error:
            job.problem = str(error)
            raise
        finally:
            job.running = False
        return job.manifest

    def _progress(self, done: int, total: int) -> None:
        self.job.done, self.job.total = done, total

    # -- by schedule ----------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        return Path(self.hub.config.backup.directory or self.hub.storage.backups)

    def made(self) -> list[Path]:
        """The hub's own backups, oldest first."""
        return sorted(path for path in self.folder.glob("pinwheel-*.tar") if _OURS.fullmatch(path.name))

    async def run(self) -> None:
        """Make backups when they are due, until cancelled."""
        every = seconds(self.hub.config.backup.every)
        began = time.time()
        while True:
            made = self.made()
            newest = made[-1].stat().st_mtime if made else 0.0
            if time.time() - newest >= every:
                await self._scheduled()
                made = self.made()
                newest = made[-1].stat().st_mtime if made else 0.0
            late = time.time() - max(newest, began) > LATE * every
            text = self._alarm or (f"the last backup is older than {self.hub.config.backup.every}" if late else "")
            self.hub.alarms.set("backup", text or None)
            await trio.sleep(min(LOOK_EVERY, every / 4) if not self._alarm else max(LOOK_EVERY, every / 10))

    async def _scheduled(self) -> None:
        settings = self.hub.config.backup
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / time.strftime(NAME, time.gmtime())
        try:
            manifest = await self._make(self._new_job(path))
        except (HubError, OSError) as error:
            self._alarm = f"the last backup failed: {error}"
            return
        log.info("backup: %s, %s", path, archive.megabytes(manifest.size))
        for old in self.made()[: -settings.keep]:
            old.unlink(missing_ok=True)
        self._alarm = await self._after(path) if settings.after else ""

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
            return f"the command after the backup failed ({done.returncode}): {said[-1] if said else ''}"
        return ""


_backups: WeakKeyDictionary[Hub, Backups] = WeakKeyDictionary()


def _of(hub: Hub) -> Backups:
    return _backups.setdefault(hub, Backups(hub))


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [Permission("backup.make", "Make backups")]


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    backups = _of(hub)

    async def make(request: Request) -> dict[str, str]:
        body: MakeBackup = request.body
        path = Path(body.path)
        if not path.is_absolute() or not path.parent.is_dir() or path.is_dir():  # noqa: ASYNC240 - quick
            raise Rejected(f"{path}: must be a file in a directory that exists")
        backups.begin(path)
        return {"path": str(path)}

    async def state(_request: Request) -> dict[str, Any]:
        return attrs.asdict(backups.job)

    return [
        Route(
            method="POST",
            path="/api/v1/backup",
            handler=make,
            permission="backup.make",
            body=MakeBackup,
            summary="Begin a backup into a file of the hub's machine",
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
    backups = _of(hub)
    nursery.start_soon(backups.serve)
    if hub.config.backup.every and hub.door is not None:
        nursery.start_soon(backups.run)
