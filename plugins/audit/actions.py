"""Who wrote which value of a device, when it was not the device itself: what `docs.blynk.io` calls its actions log."""

from __future__ import annotations

import json
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, TypedDict

import trio

from hub.errors import StorageError
from hub.facts import ValueSet
from hub.values import to_json

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.stamps import Correction
    from hub.storage import Row, Transaction

log = logging.getLogger(__name__)

#: Actions that wait to be written, at most; and seconds between two writes.
MAX_WAITING = 10_000
FLUSH_EVERY = 1.0
#: Rows deleted at a time.
PIECE = 1_000


class Action(TypedDict):
    """A value that somebody wrote; ``ts`` is milliseconds UTC, ``via`` the way it came."""

    ts: int
    who: str
    via: str
    pin: str
    value: Any


class Actions:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._waiting: deque[Row] = deque(maxlen=MAX_WAITING)
        self._wake = trio.Event()
        self._writing = trio.Lock()

    def note(self, fact: ValueSet) -> None:
        who = fact.by.actor_id
        value = json.dumps(to_json(fact.value), ensure_ascii=True)
        self._waiting.append((fact.device.id, fact.ts, who, fact.via, fact.datastream.pin, value))
        self._wake.set()

    def correct_stamps(self, correction: Correction) -> None:
        """Correct the stamps of what waits to be written."""
        for number, row in enumerate(self._waiting):
            if correction.is_about(row[0]):
                self._waiting[number] = (row[0], correction.corrected(row[1]), *row[2:])

    async def run(self) -> None:
        """Write what was noted, until cancelled; then what is left."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                await self._flush()
                await trio.sleep(FLUSH_EVERY)
        finally:
            with trio.CancelScope(shield=True):
                await self._flush()

    async def _flush(self) -> None:
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        rows = list(self._waiting)

        async def write(tx: Transaction) -> None:
            for row in rows:
                # A device that was deleted meanwhile has no log.
                await tx.execute(
                    "INSERT INTO audit_actions (device, ts, who, via, pin, value)"
                    " SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM devices WHERE id = ?1)",
                    row,
                )

        if not rows:
            return
        try:
            await self._hub.storage.transaction(write)
        except StorageError as error:
            log.warning("audit: actions are not written yet: %s", error)
            self._wake.set()
        else:
            # Some may have been pushed out by newer ones meanwhile.
            written = {id(row) for row in rows}
            while self._waiting and id(self._waiting[0]) in written:
                self._waiting.popleft()

    async def find(self, device: int, start: int, end: int, who: str, page: int, size: int) -> tuple[list[Action], int]:
        """A page of a device's actions, newest first, and how many there are."""
        await self._flush()
        where, values = "device = ? AND ts >= ? AND ts < ?", [device, start, end]
        more = [who] if who else []
        where += " AND who = ?" if who else ""

        async def read(tx: Transaction) -> tuple[list[Row], int]:
            [(count,)] = await tx.fetch_all(f"SELECT count(*) FROM audit_actions WHERE {where}", (*values, *more))
            sql = f"SELECT ts, who, via, pin, value FROM audit_actions WHERE {where} ORDER BY ts DESC, id DESC"
            return await tx.fetch_all(f"{sql} LIMIT ? OFFSET ?", (*values, *more, size, page * size)), count

        rows, count = await self._hub.storage.read(read)
        return [
            {"ts": ts, "who": by, "via": via, "pin": f"v{pin}", "value": json.loads(value)}
            for ts, by, via, pin, value in rows
        ], count

    async def by(self, who: str, devices: list[int], most: int) -> tuple[list[dict[str, Any]], int]:
        """What somebody wrote to some devices, newest first, and how often."""
        await self._flush()
        where, values = "who = ? AND device IN (SELECT value FROM json_each(?))", (who, json.dumps(devices))

        async def read(tx: Transaction) -> tuple[list[Row], int]:
            [(count,)] = await tx.fetch_all(f"SELECT count(*) FROM audit_actions WHERE {where}", values)
            sql = f"SELECT device, ts, via, pin, value FROM audit_actions WHERE {where} ORDER BY id DESC LIMIT ?"
            return await tx.fetch_all(sql, (*values, most)), count

        rows, count = await self._hub.storage.read(read)
        return [
            {"deviceId": device, "ts": ts, "via": via, "pin": f"v{pin}", "value": json.loads(value)}
            for device, ts, via, pin, value in rows
        ], count

    async def prune(self, before: int) -> None:
        """Delete some of the oldest actions, those from before a time."""

        async def write(tx: Transaction) -> None:
            old = f"SELECT id FROM audit_actions WHERE ts < ? LIMIT {PIECE}"
            await tx.execute(f"DELETE FROM audit_actions WHERE id IN ({old})", (before,))

        await self._hub.storage.transaction(write)
