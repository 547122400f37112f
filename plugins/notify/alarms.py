"""Alarms of the hub as mails to the Admins of the root organization.

An alarm is `mailed` when it is raised, and once more when it is over. An alarm that comes and goes is mailed once in
`QUIET_MS`. What was mailed is in the database, so that a restart does not mail it again; as far as the disk takes it,
since an alarm may be about that.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import trio

from hub import ROOT_ORG, AlarmCleared, AlarmRaised, HubError, StorageError
from hub.domain import DirectoryUser, Message, Recipient
from hub.parsing.timezones import readable
from plugins.notify.delivery import ALARM

if TYPE_CHECKING:
    from hub import Correction, Hub, Transaction
    from hub.storage import Row

log = logging.getLogger(__name__)

#: Milliseconds in which an alarm that is raised again is not mailed again.
QUIET_MS = 3_600_000
#: Alarms that cannot be mailed: mail itself does not work.
NOT_MAILED = {ALARM, "plugin notify"}


@attrs.frozen
class AlarmTimeouts:
    """Seconds of the mailing of alarms."""

    #: After the start, until an alarm of before it counts as over: not everything has been checked yet.
    settle: float = 60.0
    #: Between two looks at the alarms besides those that changes cause, and as long as there is nobody to mail them to.
    check: float = 60.0
    start: float = 2.0


@attrs.define
class _MailedAlarm:
    """An alarm that was mailed at ``ts`` (ms UTC); ``raised`` until its end is mailed too."""

    text: str
    ts: int
    raised: bool


class AlarmMails:
    """Mails alarms (`run`), and stores which (`run_saver`), until cancelled."""

    def __init__(self, hub: Hub, timeouts: AlarmTimeouts) -> None:
        self._hub = hub
        self._timeouts = timeouts
        self._mailed: dict[str, _MailedAlarm] = {}
        #: Alarms that were mailed before the start, and have not been raised since.
        self._from_before: set[str] = set()
        self._changed = trio.Event()
        #: Alarms that are to be stored. That may take long: the alarm may be about the disk.
        self._unsaved: set[str] = set()
        self._save = trio.Event()

    async def load(self) -> None:
        async def read(tx: Transaction) -> list[Row]:
            return await tx.fetch_all("SELECT alarm, text, ts, raised FROM notify_alarms")

        rows = await self._hub.storage.read(read)
        self._mailed = {alarm: _MailedAlarm(text, ts, bool(raised)) for alarm, text, ts, raised in rows}
        self._from_before = {alarm for alarm, mailed in self._mailed.items() if mailed.raised}
        for fact in (AlarmRaised, AlarmCleared):
            self._hub.subscribe(fact, lambda _: self._changed.set())

    async def run(self) -> None:
        started = self._hub.clock.monotonic()
        while True:
            if self._hub.clock.monotonic() - started >= self._timeouts.settle:
                self._from_before.clear()
            await self._check()
            # The users may be loaded after this plugin.
            with trio.move_on_after(self._timeouts.check if self._readers() else self._timeouts.start):
                await self._changed.wait()
            self._changed = trio.Event()

    def _readers(self) -> list[DirectoryUser]:
        """Return the Admins of the root organization who can log in."""
        users = self._hub.directory.users_of(ROOT_ORG)
        return [user for user in users if user.is_admin and user.can_log_in]

    async def _check(self) -> None:
        """Mail the alarms that were raised, and those that are over."""
        now = self._hub.clock.now()
        active = {alarm.id: alarm for alarm in self._hub.alarms if alarm.id not in NOT_MAILED}
        self._from_before -= active.keys()
        for alarm in active.values():
            mailed = self._mailed.get(alarm.id)
            if mailed is not None and (mailed.raised or 0 <= now - mailed.ts < QUIET_MS):
                continue
            if await self._mail("alarm", alarm.text, alarm.since):
                self._note(alarm.id, _MailedAlarm(alarm.text, now, raised=True))
        for alarm_id, mailed in tuple(self._mailed.items()):
            if not mailed.raised or alarm_id in active or alarm_id in self._from_before:
                continue
            if await self._mail("alarm-over", mailed.text, now):
                self._note(alarm_id, attrs.evolve(mailed, raised=False))

    async def _mail(self, kind: str, text: str, ts: int) -> bool:
        """Mail an alarm to every Admin of the root organization who can log in; return whether one is on its way."""
        data = {"alarm": text, "time": readable(self._hub.config.hub.timezone, ts)}
        is_sent = False
        for user in self._readers():
            try:
                await self._hub.messages.send(Message(kind, Recipient.of(user), data, urgent=True))
                is_sent = True
            except HubError as error:
                log.warning("the alarm %r could not be mailed: %s", text, error)
        return is_sent

    def correct_stamps(self, correction: Correction) -> None:
        """Correct when alarms were mailed; `hub_stamps` has those in the table corrected."""
        for mailed in self._mailed.values():
            mailed.ts = correction.corrected(mailed.ts) if correction.is_about(None) else mailed.ts

    # -- the table ------------------------------------------------------------------------------------------------

    def _note(self, alarm_id: str, mailed: _MailedAlarm) -> None:
        self._mailed[alarm_id] = mailed
        self._unsaved.add(alarm_id)
        self._save.set()

    async def run_saver(self) -> None:
        while True:
            await self._save.wait()
            self._save = trio.Event()
            try:
                await self._store()
            except StorageError:
                # The storage raises its own alarm.
                await trio.sleep(self._timeouts.check)
                self._save.set()

    async def _store(self) -> None:
        rows = {alarm: self._mailed[alarm] for alarm in self._unsaved}
        past = self._hub.clock.now() - QUIET_MS

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM notify_alarms WHERE raised = 0 AND ts < ?", (past,))
            for alarm, mailed in rows.items():
                columns = {"alarm": alarm, "text": mailed.text, "ts": mailed.ts, "raised": int(mailed.raised)}
                await tx.upsert("notify_alarms", ["alarm"], **columns)

        await self._hub.storage.transaction(write)
        self._unsaved -= {alarm for alarm, mailed in rows.items() if self._mailed.get(alarm) is mailed}
        self._mailed = {alarm: mailed for alarm, mailed in self._mailed.items() if mailed.raised or mailed.ts >= past}
