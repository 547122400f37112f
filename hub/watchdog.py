"""Who holds the loop: a thread that notices when nothing runs for 100 ms and looks where it hangs."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from hub.hooks import Hooks

log = logging.getLogger(__name__)

#: Seconds without progress that are worth a line.
PATIENCE = 0.1
#: Seconds between two looks.
PERIOD = 0.1


class Watchdog:
    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._stop = threading.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        token, loop = trio.lowlevel.current_trio_token(), threading.get_ident()
        thread = threading.Thread(target=self._watch, args=(token, loop), name="watchdog", daemon=True)
        thread.start()
        try:
            await trio.sleep_forever()
        finally:
            self._stop.set()

    def _watch(self, token: trio.lowlevel.TrioToken, loop: int) -> None:
        while not self._stop.wait(PERIOD):
            answered = threading.Event()
            asked = time.monotonic()
            try:
                token.run_sync_soon(answered.set)
            except trio.RunFinishedError:
                return
            if answered.wait(PATIENCE):
                continue
            frame = sys._current_frames().get(loop)  # noqa: SLF001 - the documented way to another thread's stack
            where = traceback.extract_stack(frame)[-1] if frame is not None else None
            plugin = self._hooks.holding(frame, PATIENCE)
            if plugin is not None:
                self._say(
                    token,
                    f"held the loop at {where.filename}:{where.lineno}" if where else "held the loop",
                    plugin.name,
                )
            while not answered.wait(PERIOD) and not self._stop.is_set():
                pass
            held = time.monotonic() - asked
            if plugin is not None:
                plugin.held = max(plugin.held, held)
            elif where is not None:
                log.debug("the loop was held for %.0f ms at %s:%d", held * 1000, where.filename, where.lineno)

    def _say(self, token: trio.lowlevel.TrioToken, reason: str, name: str) -> None:
        log.warning("plugin %s %s for more than %.0f ms", name, reason, PATIENCE * 1000)
        hooks = self._hooks
        token.run_sync_soon(
            lambda: hooks.failed(hooks.plugins[name], f"{reason} for more than {PATIENCE * 1000:.0f} ms")
        )
