"""The watchdog: a thread that notices when the event loop does not turn for `PATIENCE`, and whose code blocks it."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
import types
from typing import Protocol

import trio

from hub.plugin import Plugin

log = logging.getLogger(__name__)

#: Seconds without a turn of the loop that are recorded.
PATIENCE = 0.1
#: Seconds between two checks.
PERIOD = 0.1


class Suspects(Protocol):
    """The plugins, as the watchdog sees them (`hub.hooks.Hooks`)."""

    def plugin_of(self, frame: types.FrameType | None) -> Plugin | None: ...

    def blame_for_blocking(self, plugin: Plugin, reason: str) -> None: ...


class Watchdog:
    def __init__(self, suspects: Suspects) -> None:
        self._suspects = suspects
        self._stop = threading.Event()

    async def run(self) -> None:
        """Watch the loop until cancelled."""
        token, loop = trio.lowlevel.current_trio_token(), threading.get_ident()
        thread = threading.Thread(target=self._watch, args=(token, loop), name="watchdog", daemon=True)
        thread.start()
        try:
            await trio.sleep_forever()
        finally:
            self._stop.set()

    def _watch(self, token: trio.lowlevel.TrioToken, loop: int) -> None:
        while not self._stop.wait(PERIOD):
            turned = threading.Event()
            began = time.monotonic()
            try:
                token.run_sync_soon(turned.set)
            except trio.RunFinishedError:
                return
            if turned.wait(PATIENCE):
                continue
            frame = sys._current_frames().get(loop)  # noqa: SLF001 - the documented way to another thread's stack
            where = traceback.extract_stack(frame)[-1] if frame is not None else None
            plugin = self._suspects.plugin_of(frame)
            if plugin is not None:
                self._blame(token, plugin, where)
            while not turned.wait(PERIOD) and not self._stop.is_set():
                pass
            blocked = time.monotonic() - began
            if plugin is not None:
                plugin.held = max(plugin.held, blocked)
            elif where is not None:
                log.debug("the loop was blocked for %.0f ms at %s:%d", blocked * 1000, where.filename, where.lineno)

    def _blame(self, token: trio.lowlevel.TrioToken, plugin: Plugin, where: traceback.FrameSummary | None) -> None:
        place = f" at {where.filename}:{where.lineno}" if where else ""
        reason = f"held the loop{place} for more than {PATIENCE * 1000:.0f} ms"
        plugin.held = max(plugin.held, PATIENCE)
        # At once, from this thread: the loop may never turn again.
        log.warning("plugin %s %s", plugin.name, reason)
        token.run_sync_soon(self._suspects.blame_for_blocking, plugin, reason)
