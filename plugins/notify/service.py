"""`NotifyService`: composes the parts of this plugin."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from hub import ClockRepaired, StartupError, StorageError
from hub.parsing.structuring import Duration, seconds
from plugins.notify.alarms import AlarmMails, AlarmTimeouts
from plugins.notify.delivery import Delivery, MailTimeouts
from plugins.notify.mail import MailChannel
from plugins.notify.outbox import Outbox
from plugins.notify.translations import texts

if TYPE_CHECKING:
    from hub import Hub

#: Seconds between two prunings of the log.
PRUNE_INTERVAL = 600.0


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.notify]``: how long the log of mails is kept."""

    keep: Duration = "90d"


class NotifyService:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        timeouts = hub.timeouts.of(MailTimeouts)
        self.outbox = Outbox(hub)
        #: None without ``[mail]``.
        self.delivery = Delivery(hub, self.outbox, timeouts) if hub.config.mail.server else None
        self.alarms = AlarmMails(hub, hub.timeouts.of(AlarmTimeouts))
        settings: Settings = hub.settings(Settings)
        try:
            self._keep_ms = round(seconds(settings.keep) * 1000)
        except ValueError as error:
            raise StartupError(f"plugins.notify.keep: {error}") from error

    async def load(self) -> None:
        await self.outbox.load()
        await self.alarms.load()
        self.hub.subscribe(ClockRepaired, lambda fact: self.alarms.correct_stamps(fact.correction))

    def channel(self) -> MailChannel | None:
        """Return the channel of mails, or None without ``[mail]``."""
        if self.delivery is None:
            return None
        # Now, and not while the loop serves: they are files.
        texts()
        return MailChannel(self.outbox, self.delivery, self.hub.timeouts.of(MailTimeouts).store)

    async def erase_user(self, user_id: int) -> None:
        """Delete the mails to a user; those that wait are not sent."""
        await self.outbox.erase_user(user_id)
        if self.delivery is not None:
            self.delivery.forget_user(user_id)

    async def prune(self) -> None:
        """Delete old mails from the log, until cancelled; never by a clock that may be wrong."""
        while True:
            # The storage raises its own alarm.
            with suppress(StorageError):
                await self.prune_once()
            await trio.sleep(PRUNE_INTERVAL)

    async def prune_once(self) -> None:
        # `deletable_before` is 0 while the clock may be wrong: only surplus mails are deleted then.
        await self.outbox.prune(max(0, self.hub.clock.deletable_before - self._keep_ms))
