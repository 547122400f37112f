"""The audit of one hub: the chain and the actions log, and how long each is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from hub import StartupError, StorageError
from hub.parsing.structuring import Duration, seconds
from plugins.audit.actions_log import ActionsLog
from plugins.audit.chain import Chain

if TYPE_CHECKING:
    from hub import Hub

#: Seconds between two prunings.
PRUNE_INTERVAL = 600.0


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.audit]``: how long records and actions are kept."""

    keep: Duration = "3650d"
    keep_actions: Duration = "90d"


class AuditService:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.chain = Chain(hub.storage)
        self.actions = ActionsLog(hub)
        settings: Settings = hub.settings(Settings)
        try:
            self._keep_ms, self._keep_actions_ms = (
                int(seconds(text) * 1000) for text in (settings.keep, settings.keep_actions)
            )
        except ValueError as error:
            raise StartupError(f"plugins.audit: keep and keep_actions: {error}") from error

    async def prune(self) -> None:
        """Delete expired records and actions, until cancelled; never by a clock that may be wrong."""
        while True:
            if self._hub.clock.believable:
                now = self._hub.clock.now()
                try:
                    await self.chain.prune(now - self._keep_ms)
                    await self.actions.prune(now - self._keep_actions_ms)
                except StorageError:
                    # The storage raises its own alarm.
                    pass
            await trio.sleep(PRUNE_INTERVAL)
