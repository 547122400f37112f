"""The audit: a record of every change, append-only, each with a hash over itself and all before it.

A record that was changed, taken out or cut off at the end does not fit any more. Whoever can write the file can also
write a whole new chain; against that helps to note the head elsewhere from time to time and to verify with it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

if TYPE_CHECKING:
    from hub.model import Change
    from hub.storage import Storage, Transaction

#: Records read or deleted at a time.
PIECE = 1_000


class Record(TypedDict):
    """Who changed what; ``ts`` is milliseconds UTC, ``details`` is what was sent, without secrets."""

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
class Filter:
    """``orgs`` are those whose records may be seen, None for all; ``text`` is in the action or what it was about.

    ``about`` is who did it or what it was about.
    """

    orgs: Sequence[int] | None
    start: int = 0
    end: int = 2**42
    who: str = ""
    subject: str = ""
    text: str = ""
    about: str = ""

    def where(self) -> tuple[str, list[Any]]:
        terms, values = ["ts >= ?", "ts < ?"], list[Any]((self.start, self.end))
        if self.orgs is not None:
            terms.append("org IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(self.orgs)))
        for column, value in (("who", self.who), ("subject", self.subject)):
            if value:
                terms.append(f"{column} = ?")
                values.append(value)
        if self.about:
            terms.append("? IN (who, subject)")
            values.append(self.about)
        if self.text:
            terms.append("(instr(lower(action), ?) OR instr(lower(subject), ?))")
            values += [self.text.lower()] * 2
        return " AND ".join(terms), values


@attrs.frozen(kw_only=True)
class Verdict:
    """``head`` is the hash of the newest record, in hex; ``problems`` are sentences.

    ``first`` is the number of the oldest: those before were deleted when they were too old.
    """

    first: int
    records: int
    head: str
    problems: list[str]


def sealed(salt: bytes, address: str) -> bytes:
    """What stands for an address in a record's hash, so that the address can be erased and the chain still holds."""
    return hashlib.sha256(salt + address.encode("utf-8", "surrogatepass")).digest()


def hashed(before: bytes, record: Sequence[Any], seal: bytes | None) -> bytes:
    """The hash of a record (in the order of `COLUMNS`) that follows one with the hash ``before``.

    Records from before there were seals have their address in it as it is.
    """
    values = list(record)
    if seal is not None:
        values[ADDRESS] = seal.hex()
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(before + text.encode("utf-8", "surrogatepass")).digest()


class Chain:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def add(self, change: Change) -> None:
        """Put a change down."""
        who = change.principal.actor_id
        details = json.dumps(change.details, ensure_ascii=True, separators=(",", ":"))
        address, salt = change.address[:64], secrets.token_bytes(16)
        seal = sealed(salt, address)
        rest = (change.at, change.org, who, address, change.action, change.subject, details)

        async def write(tx: Transaction) -> None:
            [(last, before)] = await tx.fetch_all("SELECT last, hash FROM audit_ends")
            record = (last + 1, *rest)
            hash_ = hashed(before, record, seal)
            names = ", ".join(COLUMNS)
            sql = f"INSERT INTO audit ({names}, hash, seal, salt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            await tx.execute(sql, (*record, hash_, seal, salt))
            await tx.execute("UPDATE audit_ends SET last = ?, hash = ?", (last + 1, hash_))

        await self._storage.transaction(write)

    async def find(self, wanted: Filter, page: int, size: int) -> tuple[list[Record], int]:
        """A page of records, newest first, and how many there are."""
        where, values = wanted.where()

        async def read(tx: Transaction) -> tuple[list[Any], int]:
            [(count,)] = await tx.fetch_all(f"SELECT count(*) FROM audit WHERE {where}", values)
            sql = f"{_SELECT} WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?"
            return await tx.fetch_all(sql, (*values, size, page * size)), count

        rows, count = await self._storage.read(read)
        return [_record(row) for row in rows], count

    async def all(self, wanted: Filter) -> AsyncIterator[list[Record]]:
        """All records of a filter, oldest first, in pieces."""
        where, values = wanted.where()
        after = 0
        while True:
            sql = f"{_SELECT} WHERE {where} AND id > ? ORDER BY id LIMIT {PIECE}"
            rows = await self._storage.configuration.fetch_all(sql, (*values, after))
            if not rows:
                return
            after = rows[-1][0]
            yield [_record(row) for row in rows]

    async def verify(self, noted: str = "") -> Verdict:
        """Go through the whole chain; ``noted`` is a head of before, in hex, that must be in it."""
        [(first, before, last, head)] = await self._storage.configuration.fetch_all("SELECT * FROM audit_ends")
        begin = first
        problems: list[str] = []
        expected, count, found = first, 0, not noted or noted == before.hex()
        while True:
            sql = f"{_SELECT} WHERE id >= ? AND id <= ? ORDER BY id LIMIT {PIECE}"
            rows = await self._storage.configuration.fetch_all(sql, (expected, last))
            for *record, hash_, seal, salt in rows:
                address = record[ADDRESS]
                fits = seal is None or (not address if salt is None else sealed(salt, address) == seal)
                if record[0] != expected:
                    problems.append(f"records {expected} to {record[0] - 1} are missing")
                elif hashed(before, record, seal) != hash_ or not fits:
                    problems.append(f"record {record[0]} was changed")
                found = found or hash_.hex() == noted
                before, expected, count = hash_, record[0] + 1, count + 1
            if not rows or len(problems) > PIECE:
                break
        if expected <= last:
            problems.append(f"records {expected} to {last} are cut off")
        elif before != head:
            problems.append("the newest record is not the one that was put down last")
        others = "SELECT id FROM audit WHERE id < ? OR id > ? LIMIT 10"
        for (number,) in await self._storage.configuration.fetch_all(others, (begin, last)):
            problems.append(f"record {number} was put in")
        if not found:
            problems.append("the noted head is not in the chain: it was written anew")
        return Verdict(first=begin, records=count, head=head.hex(), problems=problems)

    async def forget(self, who: str) -> None:
        """Erase the addresses that somebody came from."""

        async def write(tx: Transaction) -> None:
            sql = "UPDATE audit SET address = '', salt = NULL WHERE who = ? AND seal IS NOT NULL"
            await tx.execute(sql, (who,))

        await self._storage.transaction(write)

    async def prune(self, before: int) -> None:
        """Delete some of the oldest records, those from before a time; the chain begins after them then."""

        async def write(tx: Transaction) -> None:
            rows = await tx.fetch_all(f"SELECT id, ts, hash FROM audit ORDER BY id LIMIT {PIECE}")
            # From the front only: a clock that ran wrong for a while makes no hole.
            old = list(takewhile(lambda row: row[1] < before, rows))
            if old:
                await tx.execute("DELETE FROM audit WHERE id <= ?", (old[-1][0],))
                await tx.execute("UPDATE audit_ends SET first = ?, before = ?", (old[-1][0] + 1, old[-1][2]))

        await self._storage.transaction(write)


def _record(row: Sequence[Any]) -> Record:
    number, ts, org, who, address, action, subject, details = row[: len(COLUMNS)]
    return {
        "id": number,
        "ts": ts,
        "org": org,
        "who": who,
        "address": address,
        "action": action,
        "subject": subject,
        "details": json.loads(details),
    }
