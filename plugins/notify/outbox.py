"""The outbox: mails that wait for delivery, and the log of those that were sent or have failed, in one table.

A mail is `WAITING` until the server has taken it (`SENT`) or will never take it, or not within the time for it
(`FAILED`). Only `Delivery` moves a mail on. The data of a mail may have secrets, and is removed with that step.

Mails that come at once are written in one transaction, by `Outbox.run`; each sender waits for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs
import trio

from hub import HubError, Unavailable

if TYPE_CHECKING:
    from hub import Hub, Transaction
    from hub.domain import Message
    from hub.storage import Row

#: Waiting mails; one more is rejected.
MAX_WAITING = 10_000
#: Mails in the log; the oldest are deleted.
MAX_LOG = 100_000
#: Arriving mails that one transaction writes: some milliseconds of work before it.
MAX_ARRIVALS = 500
#: Rows that one transaction deletes or gives up.
BATCH = 1_000
_COLUMNS = ("kind", "address", "name", "locale", "user_id", "data", "state", "created", "due", "attempts", "error")


class MailState(StrEnum):
    WAITING, SENT, FAILED = "waiting", "sent", "failed"


@attrs.frozen(kw_only=True)
class Mail:
    """A waiting mail. ``id`` is 0 for one that is only in memory; ``created`` is milliseconds UTC."""

    id: int = 0
    kind: str
    address: str
    name: str
    locale: str
    user: int | None
    data: Mapping[str, str] = attrs.field(repr=False)
    created: int
    attempts: int = 0


@attrs.frozen(kw_only=True)
class LoggedMail:
    """A mail as the log lists it, without its data. Times are milliseconds UTC.

    ``state`` is waiting, sent or failed; ``error`` says why the last attempt failed. ``due_at`` is when a waiting mail
    is tried next, ``done_at`` when it was sent or given up.
    """

    id: int
    kind: str
    address: str
    state: str
    attempts: int
    error: str
    created_at: int
    due_at: int | None
    done_at: int | None


@attrs.define(eq=False)
class _Arrival:
    """A mail that is to be written, and what its sender waits for."""

    mail: Mail
    written: trio.Event = attrs.Factory(trio.Event)
    error: HubError | None = None


class Outbox:
    def __init__(self, hub: Hub) -> None:
        self._storage = hub.storage
        self._clock = hub.clock
        self._arrivals: list[_Arrival] = []
        self._arrived = trio.Event()
        #: The number of waiting mails, those being written included.
        self.waiting = 0

    async def load(self) -> None:
        async def count(tx: Transaction) -> int:
            sql = "SELECT count(*) FROM notify_mails WHERE state = ?"
            [(number,)] = await tx.fetch_all(sql, (MailState.WAITING,))
            return int(number)

        self.waiting = await self._storage.read(count) + len(self._arrivals)

    # -- arrival --------------------------------------------------------------------------------------------------

    def mail_of(self, message: Message) -> Mail:
        """Return the mail for a message."""
        to = message.to
        return Mail(
            kind=message.kind,
            address=to.email,
            # A lone surrogate would fail the transaction, with the mails of others.
            name=to.name.encode("utf-8", "replace").decode(),
            locale=to.locale.encode("utf-8", "replace").decode(),
            user=to.user,
            data=dict(message.data),
            created=self._clock.now(),
        )

    async def add(self, mail: Mail) -> None:
        """Write a mail; it is durable when this returns. Raises `Unavailable` when too many wait, `StorageError`."""
        if self.waiting >= MAX_WAITING:
            raise Unavailable(
                f"{MAX_WAITING} mails wait already, so the mail is not accepted: the mail server takes none, or too few"
                " (pinwheel mail log)."
            )
        arrival = _Arrival(mail)
        self._arrivals.append(arrival)
        self.waiting += 1
        self._arrived.set()
        await arrival.written.wait()
        if arrival.error is not None:
            raise arrival.error

    async def run(self) -> None:
        """Write the mails that arrive, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            arrivals, self._arrivals = self._arrivals[:MAX_ARRIVALS], self._arrivals[MAX_ARRIVALS:]
            if self._arrivals:
                self._arrived.set()
            try:
                await self._insert([arrival.mail for arrival in arrivals])
            except HubError as error:
                self.waiting -= len(arrivals)
                for arrival in arrivals:
                    arrival.error = error
            for arrival in arrivals:
                arrival.written.set()

    async def _insert(self, mails: list[Mail]) -> None:
        rows: list[Row] = [
            (
                mail.kind,
                mail.address,
                mail.name,
                mail.locale,
                mail.user,
                json.dumps(mail.data),
                MailState.WAITING,
                mail.created,
                mail.created,
                0,
                "",
            )
            for mail in mails
        ]

        async def write(tx: Transaction) -> None:
            await tx.insert_many("notify_mails", _COLUMNS, rows)

        await self._storage.transaction(write)

    # -- delivery -------------------------------------------------------------------------------------------------

    async def due(self, limit: int, latest_due: int) -> list[Mail]:
        """Return waiting mails that are due, those that waited longest first.

        Also those that are due after ``latest_due``, which a wrong clock has put off.
        """
        if not self.waiting:
            return []

        async def read(tx: Transaction) -> list[Row]:
            sql = (
                "SELECT id, kind, address, name, locale, user_id, data, created, attempts FROM notify_mails"
                " WHERE state = ? AND (due <= ? OR due > ?) ORDER BY due, id LIMIT ?"
            )
            return await tx.fetch_all(sql, (MailState.WAITING, self._clock.now(), latest_due, limit))

        return [
            Mail(
                id=id_,
                kind=kind,
                address=address,
                name=name,
                locale=locale,
                user=user,
                data=json.loads(data),
                created=created,
                attempts=attempts,
            )
            for id_, kind, address, name, locale, user, data, created, attempts in await self._storage.read(read)
        ]

    async def record(self, mail_id: int, state: MailState, error: str, due: int) -> None:
        """Record an attempt to deliver a mail. ``due`` is when it is tried next, if it is still waiting."""
        now = self._clock.now()

        async def write(tx: Transaction) -> bool:
            # An erased user's mail is not there any more.
            sql = "SELECT id FROM notify_mails WHERE id = ? AND state = ?"
            if await tx.fetch_one(sql, (mail_id, MailState.WAITING)) is None:
                return False
            if state is MailState.WAITING:
                sql = "UPDATE notify_mails SET attempts = attempts + 1, error = ?, due = ? WHERE id = ?"
                await tx.execute(sql, (error, due, mail_id))
                return False
            sql = (
                "UPDATE notify_mails SET attempts = attempts + 1, error = ?, state = ?, done = ?, data = NULL"
                " WHERE id = ?"
            )
            await tx.execute(sql, (error, state, now, mail_id))
            return True

        if await self._storage.transaction(write):
            self.waiting -= 1

    async def note(self, mails: Sequence[Mail], error: str) -> None:
        """Record that mails could not be tried, because there was no session with the server."""

        async def write(tx: Transaction) -> None:
            sql = "UPDATE notify_mails SET attempts = attempts + 1, error = ? WHERE id = ? AND state = ?"
            for mail in mails:
                await tx.execute(sql, (error, mail.id, MailState.WAITING))

        await self._storage.transaction(write)

    async def give_up(self, created_before: int, error: str) -> int:
        """Let waiting mails fail that were created before a time, up to `BATCH`; return their number."""
        now = self._clock.now()

        async def write(tx: Transaction) -> int:
            sql = "SELECT id FROM notify_mails WHERE state = ? AND created < ? LIMIT ?"
            ids = await tx.fetch_all(sql, (MailState.WAITING, created_before, BATCH))
            sql = "UPDATE notify_mails SET state = ?, done = ?, data = NULL, error = ? || error WHERE id = ?"
            for (id_,) in ids:
                await tx.execute(sql, (MailState.FAILED, now, error, id_))
            return len(ids)

        number = await self._storage.transaction(write)
        self.waiting -= number
        return number

    # -- the log --------------------------------------------------------------------------------------------------

    async def page(self, page: int, size: int) -> tuple[list[LoggedMail], int]:
        """Return a page of all mails, newest first, and the number of all of them."""

        async def read(tx: Transaction) -> tuple[list[Row], int]:
            [(total,)] = await tx.fetch_all("SELECT count(*) FROM notify_mails")
            sql = f"SELECT {_LOGGED} FROM notify_mails ORDER BY id DESC LIMIT ? OFFSET ?"
            return await tx.fetch_all(sql, (size, page * size)), total

        rows, total = await self._storage.read(read)
        return [_logged(row) for row in rows], total

    async def of_user(self, user_id: int) -> list[LoggedMail]:
        """Return the mails to a user, newest first."""

        async def read(tx: Transaction) -> list[Row]:
            sql = f"SELECT {_LOGGED} FROM notify_mails WHERE user_id = ? ORDER BY id DESC"
            return await tx.fetch_all(sql, (user_id,))

        return [_logged(row) for row in await self._storage.read(read)]

    async def erase_user(self, user_id: int) -> None:
        """Delete the mails to a user; those that wait are not sent."""

        async def write(tx: Transaction) -> int:
            sql = "SELECT count(*) FROM notify_mails WHERE user_id = ? AND state = ?"
            [(waiting,)] = await tx.fetch_all(sql, (user_id, MailState.WAITING))
            await tx.execute("DELETE FROM notify_mails WHERE user_id = ?", (user_id,))
            return int(waiting)

        self.waiting -= await self._storage.transaction(write)

    async def prune(self, before: int) -> None:
        """Delete mails from the log that were done before a time, or are too many; up to `BATCH` of each."""

        async def write(tx: Transaction) -> None:
            sql = "SELECT id FROM notify_mails WHERE state <> ? ORDER BY id DESC LIMIT 1 OFFSET ?"
            surplus = await tx.fetch_one(sql, (MailState.WAITING, MAX_LOG))
            old = "SELECT id FROM notify_mails WHERE state <> ? AND (done < ? OR id <= ?) LIMIT ?"
            values = (MailState.WAITING, before, -1 if surplus is None else surplus[0], BATCH)
            await tx.execute(f"DELETE FROM notify_mails WHERE id IN ({old})", values)

        await self._storage.transaction(write)


_LOGGED = "id, kind, address, state, attempts, error, created, due, done"


def _logged(row: Row) -> LoggedMail:
    id_, kind, address, state, attempts, error, created, due, done = row
    return LoggedMail(
        id=id_,
        kind=kind,
        address=address,
        state=state,
        attempts=attempts,
        error=error,
        created_at=created,
        due_at=due if state == MailState.WAITING else None,
        done_at=done,
    )
