"""The audit chain: an append-only record of every change, each with a hash over itself and the hash before it.

`Chain.verify` finds records that were changed, removed, or cut off at the end. An attacker who can write the database
file can also write a new chain from the start; to detect that, note the head elsewhere from time to time, and verify
with it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from hub.storage import among

if TYPE_CHECKING:
    from hub import Change, Transaction
    from hub.storage import Row, Storage

#: Records read or deleted at a time.
BATCH = 1_000


class Record(TypedDict):
    """Record of a change.

    ``who`` is the actor's id ("user 3"), ``subject`` the id of the changed thing ("device 7"), ``details`` the request
    without its secrets; ``ts`` is in ms UTC.
    """

    id: int
    ts: int
    org: int
    who: str
    address: str
    action: str
    subject: str
    details: dict[str, Any]


COLUMNS = tuple(Record.__annotations__)
ADDRESS = COLUMNS.index("address")
_SELECT = f"SELECT {', '.join(COLUMNS)}, hash, seal, salt FROM audit"


@attrs.frozen(kw_only=True)
class RecordFilter:
    """Conditions on records, all of which hold; an empty text is no condition.

    ``orgs`` are organizations, None for all; ``start`` (included) and ``end`` are ms UTC; ``who`` and ``subject`` are
    equal to the record's, ``about`` to one of these two; ``text`` is part of the action or the subject, ignoring case.
    """

    orgs: Sequence[int] | None
    start: int = 0
    end: int = 2**42
    who: str = ""
    subject: str = ""
    text: str = ""
    about: str = ""

    def where(self) -> tuple[str, list[Any]]:
        """Return the filter as the condition of an SQL statement, and its values."""
        conditions, values = ["ts >= ?", "ts < ?"], list[Any]((self.start, self.end))
        if self.orgs is not None:
            condition, orgs = among("org", self.orgs)
            conditions.append(condition)
            values.append(orgs)
        for column, value in (("who", self.who), ("subject", self.subject)):
            if value:
                conditions.append(f"{column} = ?")
                values.append(value)
        if self.about:
            conditions.append("? IN (who, subject)")
            values.append(self.about)
        if self.text:
            pattern = re.sub(r"([\\%_])", r"\\\1", self.text.lower())
            conditions.append("(lower(action) LIKE ? ESCAPE '\\' OR lower(subject) LIKE ? ESCAPE '\\')")
            values += [f"%{pattern}%"] * 2
        return " AND ".join(conditions), values


@attrs.frozen(kw_only=True)
class Verdict:
    """Result of a verification.

    ``first`` is the number of the oldest record that has not expired, ``records`` the number of records from there on,
    ``head`` the hash of the newest in hex; ``problems`` are sentences.
    """

    first: int
    records: int
    head: str
    problems: list[str]


def address_seal(salt: bytes, address: str) -> bytes:
    """Return the salted hash that stands for an address in a record's hash.

    So the address and its salt can be erased, and the chain still holds.
    """
    return hashlib.sha256(salt + address.encode("utf-8", "surrogatepass")).digest()


def record_hash(before: bytes, record: Sequence[Any], seal: bytes | None) -> bytes:
    """Return the hash of a record (in the order of `COLUMNS`) that follows one with the hash ``before``.

    Records from before the seals were introduced have None, and their address itself in the hash.
    """
    values = list(record)
    if seal is not None:
        values[ADDRESS] = seal.hex()
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(before + text.encode("utf-8", "surrogatepass")).digest()


class Chain:
    """The table ``audit`` with the records, and ``audit_ends`` with the first and the last number and their hashes."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def append(self, change: Change) -> None:
        details = json.dumps(change.details, ensure_ascii=True, separators=(",", ":"))
        address, salt = change.address[:64], secrets.token_bytes(16)
        seal = address_seal(salt, address)
        rest = (change.at, change.org, change.principal.actor_id, address, change.action, change.subject, details)

        async def write(tx: Transaction) -> None:
            [(last, before)] = await tx.fetch_all("SELECT last, hash FROM audit_ends")
            record = (last + 1, *rest)
            hash_ = record_hash(before, record, seal)
            names = ", ".join(COLUMNS)
            sql = f"INSERT INTO audit ({names}, hash, seal, salt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            await tx.execute(sql, (*record, hash_, seal, salt))
            await tx.execute("UPDATE audit_ends SET last = ?, hash = ?", (last + 1, hash_))

        await self._storage.transaction(write)

    async def page(self, record_filter: RecordFilter, page: int, size: int) -> tuple[list[Record], int]:
        """Return a page of the records that match a filter, newest first, and the number of all of them."""
        where, values = record_filter.where()

        async def read(tx: Transaction) -> tuple[list[Row], int]:
            [(total,)] = await tx.fetch_all(f"SELECT count(*) FROM audit WHERE {where}", values)
            sql = f"{_SELECT} WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?"
            return await tx.fetch_all(sql, (*values, size, page * size)), total

        rows, total = await self._storage.read(read)
        return [_to_record(row) for row in rows], total

    async def batches(self, record_filter: RecordFilter) -> AsyncIterator[list[Record]]:
        """Yield all records that match a filter, oldest first, up to `BATCH` at a time."""
        where, values = record_filter.where()
        after = 0
        while True:
            sql = f"{_SELECT} WHERE {where} AND id > ? ORDER BY id LIMIT {BATCH}"
            rows = await self._storage.configuration.fetch_all(sql, (*values, after))
            if not rows:
                return
            after = rows[-1][0]
            yield [_to_record(row) for row in rows]

    async def verify(self, noted_head: str = "") -> Verdict:
        """Verify the whole chain; ``noted_head`` is an earlier head in hex, which must be the hash of a record."""
        [(first, before, last, head)] = await self._storage.configuration.fetch_all("SELECT * FROM audit_ends")
        problems: list[str] = []
        expected, count, has_noted_head = first, 0, not noted_head or noted_head == before.hex()
        while True:
            sql = f"{_SELECT} WHERE id >= ? AND id <= ? ORDER BY id LIMIT {BATCH}"
            rows = await self._storage.configuration.fetch_all(sql, (expected, last))
            for row in rows:
                record_id, hash_ = row[0], row[len(COLUMNS)]
                if record_id != expected:
                    problems.append(f"records {expected} to {record_id - 1} are missing")
                elif _is_changed(row, before):
                    problems.append(f"record {record_id} was changed")
                has_noted_head = has_noted_head or hash_.hex() == noted_head
                before, expected, count = hash_, record_id + 1, count + 1
            if not rows or len(problems) > BATCH:
                break
        if expected <= last:
            problems.append(f"records {expected} to {last} are cut off")
        elif before != head:
            problems.append("the newest record is not the one that was appended last")
        outside = "SELECT id FROM audit WHERE id < ? OR id > ? LIMIT 10"
        for (record_id,) in await self._storage.configuration.fetch_all(outside, (first, last)):
            problems.append(f"record {record_id} was inserted")
        if not has_noted_head:
            problems.append("the noted head is not in the chain: the chain was written anew")
        return Verdict(first=first, records=count, head=head.hex(), problems=problems)

    async def erase_addresses(self, actor: str) -> None:
        """Erase the addresses from the records of one actor ("user 3")."""

        async def write(tx: Transaction) -> None:
            sql = "UPDATE audit SET address = '', salt = NULL WHERE who = ? AND seal IS NOT NULL"
            await tx.execute(sql, (actor,))

        await self._storage.transaction(write)

    async def prune(self, before: int) -> None:
        """Delete up to `BATCH` of the oldest records that are older than a time; the chain begins after them then."""

        async def write(tx: Transaction) -> None:
            rows = await tx.fetch_all(f"SELECT id, ts, hash FROM audit ORDER BY id LIMIT {BATCH}")
            # Only from the start, so that times of a wrong clock leave no hole in the chain.
            old = list(takewhile(lambda row: row[1] < before, rows))
            if old:
                await tx.execute("DELETE FROM audit WHERE id <= ?", (old[-1][0],))
                await tx.execute("UPDATE audit_ends SET first = ?, before = ?", (old[-1][0] + 1, old[-1][2]))

        await self._storage.transaction(write)


def _is_changed(row: Row, before: bytes) -> bool:
    """Whether a row of `_SELECT` contradicts its hash, given the hash ``before`` it, or its seal."""
    *record, hash_, seal, salt = row
    address = record[ADDRESS]
    if record_hash(before, record, seal) != hash_:
        return True
    if seal is None:
        return False
    # Without its salt an address was erased.
    return bool(address) if salt is None else address_seal(salt, address) != seal


def _to_record(row: Row) -> Record:
    record_id, ts, org, actor, address, action, subject, details = row[: len(COLUMNS)]
    return {
        "id": record_id,
        "ts": ts,
        "org": org,
        "who": actor,
        "address": address,
        "action": action,
        "subject": subject,
        "details": json.loads(details),
    }
