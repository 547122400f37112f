"""Backups: made while the hub runs, proven by a trial restore, on request or by schedule; and restoring one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub import Permission, Route, hookimpl
from hub.domain import BackupMaker
from plugins.backup.routes import routes
from plugins.backup.schedule import BackupSchedule
from plugins.backup.service import Backups

if TYPE_CHECKING:
    import trio

    from hub import Hub


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [Permission("backup.make", "Make backups", root=True)]


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    backups = hub.service(Backups)
    hub.provide(BackupMaker, backups)
    return routes(hub, backups)


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    backups = hub.service(Backups)
    nursery.start_soon(backups.serve)
    if hub.config.backup.every and hub.listener is not None:
        nursery.start_soon(BackupSchedule(hub, backups).run)
