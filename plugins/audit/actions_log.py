"""The actions log of a device: the values that clients wrote to it (docs.blynk.io, Get actions log)."""

from __future__ import annotations

import json
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, TypedDict

import trio

from hub import StorageError, ValueSet
from hub.storage import among
from hub.values import to_json

if TYPE_CHECKING:
    from hub import Correction, Hub, Transaction
    from hub.storage import Row

log = logging.getLogger(__name__)

#: Actions in memory that are not yet written; one more evicts the oldest.
MAX_PENDING = 10_000
#: Seconds between two transactions.
FLUSH_INTERVAL = 1.0
#: Rows deleted in one transaction.
PRUNE_BATCH = 1_000


class Action(TypedDict):
    """Value that a client wrote; ``who`` is the author's id ("user 3"), ``via`` the transport, ``ts`` is ms UTC."""

    ts: int
    who: str
    via: str
    pin: str
    value: Any


class ActionsLog:
    """Actions of all devices, in the table ``audit_actions``.

    They are collected in memory and written about once a second, before every read, and at the stop.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._pending: deque[Row] = deque(maxlen=MAX_PENDING)
        self._wake = trio.Event()
        self._flushing = trio.Lock()

    def record(self, fact: ValueSet) -> None:
        value = json.dumps(to_json(fact.value), ensure_ascii=True)
        self._pending.append((fact.device.id, fact.ts, fact.by.actor_id, fact.via, fact.datastream.pin, value))
        self._wake.set()

    def correct_stamps(self, correction: Correction) -> None:
        """Correct the stamps of pending actions; `hub_stamps` has those in the table corrected."""
        for index, row in enumerate(self._pending):
            if correction.is_about(row[0]):
                self._pending[index] = (row[0], correction.corrected(row[1]), *row[2:])

    async def run(self) -> None:
        """Write pending actions until cancelled, and the last ones after that."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                await self._flush()
                await trio.sleep(FLUSH_INTERVAL)
        finally:
            with trio.CancelScope(shield=True):
                await self._flush()

    async def _flush(self) -> None:
        async with self._flushing:
            rows = list(self._pending)
            if not rows:
                return
            try:
                await self._insert(rows)
            except StorageError as error:
                log.warning("audit: %d actions could not be written, and will be tried again: %s", len(rows), error)
                self._wake.set()
                return
            # Newer actions may have evicted some of the rows during the transaction.
            written = {id(row) for row in rows}
            while self._pending and id(self._pending[0]) in written:
                self._pending.popleft()

    async def _insert(self, rows: list[Row]) -> None:
        async def write(tx: Transaction) -> None:
            for row in rows:
                # Inserts nothing for a device that was deleted in the meantime.
                await tx.execute(
                    "INSERT INTO audit_actions (device, ts, who, via, pin, value)"
                    " SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM devices WHERE id = ?1)",
                    row,
                )

        await self._hub.storage.transaction(write)

    async def of_device(
        self, device_id: int, start: int, end: int, actor: str, page: int, size: int
    ) -> tuple[list[Action], int]:
        """Return a page of a device's actions with ``start <= ts < end``, newest first, and the number of all of them.

        ``actor`` limits them to those of one author, "" does not.
        """
        await self._flush()
        where, values = "device = ? AND ts >= ? AND ts < ?", [device_id, start, end]
        actors = [actor] if actor else []
        where += " AND who = ?" if actor else ""

        async def read(tx: Transaction) -> tuple[list[Row], int]:
            [(total,)] = await tx.fetch_all(f"SELECT count(*) FROM audit_actions WHERE {where}", (*values, *actors))
            sql = f"SELECT ts, who, via, pin, value FROM audit_actions WHERE {where} ORDER BY ts DESC, id DESC"
            return await tx.fetch_all(f"{sql} LIMIT ? OFFSET ?", (*values, *actors, size, page * size)), total

        rows, total = await self._hub.storage.read(read)
        return [
            {"ts": ts, "who": author, "via": via, "pin": f"v{pin}", "value": json.loads(value)}
            for ts, author, via, pin, value in rows
        ], total

    async def of_actor(self, actor: str, device_ids: list[int], limit: int) -> tuple[list[dict[str, Any]], int]:
        """Return the actions of one author on some devices, newest first, up to a limit, and the number of all."""
        await self._flush()
        condition, devices = among("device", device_ids)
        where, values = f"who = ? AND {condition}", (actor, devices)

        async def read(tx: Transaction) -> tuple[list[Row], int]:
            [(total,)] = await tx.fetch_all(f"SELECT count(*) FROM audit_actions WHERE {where}", values)
            sql = f"SELECT device, ts, via, pin, value FROM audit_actions WHERE {where} ORDER BY id DESC LIMIT ?"
            return await tx.fetch_all(sql, (*values, limit)), total

        rows, total = await self._hub.storage.read(read)
        return [
            {"deviceId": device_id, "ts": ts, "via": via, "pin": f"v{pin}", "value": json.loads(value)}
            for device_id, ts, via, pin, value in rows
        ], total

    async def prune(self, before: int) -> None:
        """Delete up to `PRUNE_BATCH` actions that are older than a time."""

        async def write(tx: Transaction) -> None:
            old = f"SELECT id FROM audit_actions WHERE ts < ? LIMIT {PRUNE_BATCH}"
            await tx.execute(f"DELETE FROM audit_actions WHERE id IN ({old})", (before,))

        await self._hub.storage.transaction(write)
