"""Backups over HTTP, into files on the hub's machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from hub import Change, Request, Route, Unavailable
from plugins.backup.service import Backups, Job
from plugins.backup.targets import check_directory, check_target

if TYPE_CHECKING:
    from hub import Hub

log = logging.getLogger(__name__)

BEGIN = "Begin a backup into a file of the hub's machine"


@attrs.frozen(kw_only=True)
class MakeBackup:
    """Request for a backup; ``path`` is on the hub's machine.

    ``directory`` is the device and inode of its directory as the client sees it ("66306:1234"), or empty: a hub that
    runs as a service may see other directories than a shell, such as a /tmp of its own.
    """

    path: str
    directory: str = ""


class BackupRoutes:
    def __init__(self, hub: Hub, backups: Backups) -> None:
        self._hub = hub
        self._backups = backups

    async def begin(self, request: Request) -> dict[str, str]:
        body: MakeBackup = request.body
        path, backups = Path(body.path), self._hub.storage.backups
        with suppress(OSError):
            backups.mkdir(exist_ok=True, mode=0o700)
        check_directory(path.parent, body.directory)
        check_target(path, self._hub.config.data, backups)
        self._backups.begin(path)
        await self._audit(request, path)
        return {"path": str(path)}

    async def job(self, _request: Request) -> Job:
        return self._backups.job

    async def _audit(self, request: Request, path: Path) -> None:
        change = Change(
            at=self._hub.clock.now(),
            principal=request.principal,
            address=request.address,
            org=request.principal.org,
            action=BEGIN,
            subject="",
            details={"path": request.body.path},
        )
        try:
            await self._hub.record_change(change)
        except Unavailable:
            # A full disk must not prevent a backup to another one.
            log.warning("backup: %s is being made, but the audit could not record it", path)


def routes(hub: Hub, backups: Backups) -> Sequence[Route]:
    api = BackupRoutes(hub, backups)
    path, permission, progress = "/api/v1/backup", "backup.make", "Progress and result of the last backup"
    return [
        # Not audited as a request: `BackupRoutes` does it, and goes on if that fails.
        Route("POST", path, api.begin, permission, BEGIN, MakeBackup, audited=False),
        Route("GET", path, api.job, permission, progress),
    ]
