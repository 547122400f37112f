"""Scheduled backups, as the table ``[backup]`` of the configuration has them."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from hub import HubError
from hub.parsing.structuring import seconds
from plugins.backup import archive

if TYPE_CHECKING:
    from hub import Hub
    from plugins.backup.service import Backups

log = logging.getLogger(__name__)

#: Names of scheduled backups, with the time in UTC.
NAME = "pinwheel-%Y%m%d-%H%M%S.tar"
_NAME_PATTERN = re.compile(r"pinwheel-\d{8}-\d{6}\.tar")
#: Seconds between two checks whether a backup is due.
CHECK_INTERVAL = 30.0
#: Seconds after which the command after a backup is killed.
AFTER_TIMEOUT = 3600.0
#: Seconds until a failed backup is retried.
RETRY_DELAY = 600.0
#: Seconds by which a file's time may be in the future, because file systems round it.
TIME_TOLERANCE = 10.0
#: Intervals without a backup until the alarm.
OVERDUE_INTERVALS = 1.5


class BackupSchedule:
    """Makes backups when they are due, keeps the newest, and runs a command after each.

    The last failure is in ``<data>/backup-failed``, so that its alarm outlives a restart.
    """

    def __init__(self, hub: Hub, backups: Backups) -> None:
        self._hub = hub
        self._clock = hub.clock
        self._backups = backups
        self._settings = hub.config.backup
        self._folder = Path(self._settings.directory or hub.storage.backups)
        self._failure = hub.config.data / "backup-failed"
        #: No backup before this time of the monotonic clock, which no correction of the wall clock can delay.
        self._not_before = -math.inf

    async def run(self) -> None:
        """Make backups when they are due, until cancelled."""
        interval, started = seconds(self._settings.every), self._clock.monotonic()
        while True:
            # The alarm comes first, so that one from before a restart is raised at once.
            since_newest = self._now() - self._newest()
            is_overdue = min(since_newest, self._clock.monotonic() - started) > OVERDUE_INTERVALS * interval
            overdue = f"the last backup is older than {self._settings.every}" if is_overdue else None
            self._hub.alarms.set("backup", self._last_failure() or overdue)
            if self._now() - self._newest() >= interval and self._clock.monotonic() >= self._not_before:
                await self._make()
            else:
                await trio.sleep(min(CHECK_INTERVAL, interval / 4))

    def _existing(self) -> list[tuple[float, Path]]:
        """Return (seconds since 1970, path) of each scheduled backup, oldest first.

        A file from the future was written by a wrong clock, and counts as the oldest, with 0 s.
        """
        latest = self._now() + TIME_TOLERANCE
        paths = (path for path in self._folder.glob("pinwheel-*.tar") if _NAME_PATTERN.fullmatch(path.name))
        times = ((path.stat().st_mtime, path) for path in paths)
        return sorted((modified if modified <= latest else 0.0, path) for modified, path in times)

    def _now(self) -> float:
        """Return the machine's time, which it also gives to files, in seconds since 1970."""
        return self._clock.wall / 1000

    def _newest(self) -> float:
        """Return the time of the newest backup, in seconds since 1970; 0 without one."""
        existing = self._existing()
        return existing[-1][0] if existing else 0.0

    def _last_failure(self) -> str | None:
        """Return why the last scheduled backup failed, also before a restart; None if it did not."""
        return self._failure.read_text() if self._failure.exists() else None

    async def _make(self) -> None:
        path = self._folder / time.strftime(NAME, time.gmtime(self._now()))
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            manifest = await self._backups.make(path)
        except (HubError, OSError) as error:
            self._failure.write_text(f"the last backup failed: {error}")
            self._not_before = self._clock.monotonic() + RETRY_DELAY
            return
        log.info("backup: %s, %s", path, archive.megabytes(manifest.size))
        for _, old in self._existing()[: -self._settings.keep]:
            old.unlink(missing_ok=True)
        if problem := await self._run_after(path) if self._settings.after else "":
            self._failure.write_text(problem)
        else:
            self._failure.unlink(missing_ok=True)

    async def _run_after(self, path: Path) -> str:
        """Run the command that takes a backup elsewhere, and return its problem, or ""."""
        environment = {**os.environ, "PINWHEEL_BACKUP": str(path)}
        with trio.move_on_after(AFTER_TIMEOUT) as deadline:
            result = await trio.run_process(  # noqa: S604 - it is the operator's own command line
                self._settings.after,
                shell=True,
                env=environment,
                check=False,
                capture_stdout=True,
                capture_stderr=True,
            )
        if deadline.cancelled_caught:
            return f"the command after the backup took more than {AFTER_TIMEOUT:.0f} s"
        if result.returncode:
            lines = result.stderr.decode(errors="replace").strip().splitlines()
            return f"the command after the backup failed ({result.returncode}){f': {lines[-1]}' if lines else ''}"
        return ""
