"""Execution of routes: within the organization's rate limit, at most once per Idempotency-Key, and on the record.

An idempotent request moves through these states, by the digest of its principal, route and key:

==========  =====================================  ==========================================================
state       row in table ``once``, record here     the same request again is
==========  =====================================  ==========================================================
new         neither                                executed
executing   both; the record has no answer         rejected with `Conflict`
answered    both; the record has the answer        answered with the stored answer
forgotten   the row only: after a restart, or      rejected with `Conflict`: whether it was executed is on record,
            when the answer was too large to keep  but not what it returned
==========  =====================================  ==========================================================

A request that failed without changing anything is new again. `EXPIRY_MS` after it came, every request is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from hub.api.changes import change_of, details_of
from hub.api.messages import Created, Download, File, Request, Response, Stream
from hub.api.routes import AUTHENTICATED, OPEN, Route
from hub.api.schema import to_json
from hub.clock import Clock
from hub.errors import Conflict, HubError, NotAuthenticated, Rejected, TooMany, Unavailable
from hub.model import NOBODY, Change, Principal
from hub.rate_limits import TokenBucket
from hub.storage import Storage, Transaction
from hub.storage.stamp_correction import Correction

#: Milliseconds for which an Idempotency-Key is remembered.
EXPIRY_MS = 24 * 3600 * 1000
#: Answers that are stored, bytes of one of them, and bytes of all of them.
MAX_ANSWERS = 10_000
MAX_ANSWER, MAX_STORED = 256 * 1024, 16 * 1024 * 1024
#: Characters of an Idempotency-Key.
MAX_KEY = 255
#: Kinds of principals without a rate limit: the hub's own commands, and devices, which have a limit of their own.
_UNLIMITED = ("local", "system", "nobody", "device")


@attrs.define
class IdempotencyRecord:
    """An idempotent request; ``answer`` counts when ``answered``. ``request`` is a digest of its query and body."""

    request: bytes
    at: int
    answered: bool = False
    answer: Any = None
    #: Bytes of the answer's JSON.
    size: int = 0


class RouteExecutor:
    """Executes routes.

    ``authorize(principal, permission)`` raises `Forbidden`, ``record_change`` raises `Unavailable`, and
    ``reject(address, reason)`` records a rejection.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        requests_per_minute: int,
        authorize: Callable[[Principal, str], None],
        reject: Callable[[str, str], None],
        record_change: Callable[[Change], Awaitable[None]],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._requests_per_minute = requests_per_minute
        self._authorize = authorize
        self._reject = reject
        self._record_change = record_change
        #: By organization.
        self._budgets: dict[int, TokenBucket] = {}
        self._records: dict[bytes, IdempotencyRecord] = {}
        self._stored_bytes = 0
        #: By `Route.lock`.
        self._locks: dict[str, trio.Lock] = {}

    async def execute(self, route: Route, request: Request) -> Any:
        """Call a route's handler, if the request's principal may, and record what it changed.

        Raises `NotAuthenticated`, `Forbidden`, `TooMany`, and what the handler raises.
        """
        self.authorize(request, route.permission)
        self._take_request(request)
        arguments = route.arguments(request)
        if route.method == "GET":
            return await route.handler(request, **arguments)
        details = details_of(route, request)
        if "if-match" in request.headers and not route.lock:
            raise Rejected("If-Match is for what is read with an ETag and edited.")
        if route.streaming and "idempotency-key" in request.headers:
            raise Rejected("This request cannot have an Idempotency-Key: its body is streamed, and not compared.")
        if route.idempotent and (key := request.headers.get("idempotency-key")) is not None:
            return await self._change_once(key, route, request, arguments, details)
        return await self._change(route, request, arguments, details)

    def authorize(self, request: Request, permission: str) -> None:
        """Give a request the permission of its route, if its principal has it. Raises `NotAuthenticated`, `Forbidden`.

        A connector calls this too, before it reads a body. The handler of a route without authentication, or for
        devices, checks for itself who is asking.
        """
        request.permission = permission
        if permission in OPEN:
            return
        if request.principal == NOBODY:
            raise NotAuthenticated("This request needs an Authorization header with a bearer token.")
        if permission != AUTHENTICATED:
            self._authorize(request.principal, permission)

    def _take_request(self, request: Request) -> None:
        """Take a request from its organization's rate limit. Raises `TooMany`."""
        limit, principal = self._requests_per_minute, request.principal
        if principal.kind in _UNLIMITED:
            return
        now, budget = self._clock.monotonic(), self._budgets.get(principal.org)
        if budget is None:
            budget = self._budgets[principal.org] = TokenBucket(limit / 60, limit, now)
        budget.refill(now)
        if not budget.take():
            self._reject(request.address, f"organization {principal.org} asks more than {limit} times a minute")
            raise TooMany(f"An organization may ask {limit} times a minute.", budget.wait)

    async def _change(self, route: Route, request: Request, arguments: dict[str, Any], details: dict[str, Any]) -> Any:
        """Call a handler that may change something, and record the change."""
        try:
            if route.lock:
                async with self._locks.setdefault(route.lock, trio.Lock()):
                    result = await route.handler(request, **arguments)
            else:
                result = await route.handler(request, **arguments)
        except HubError as error:
            if request.partially_applied and route.audited:
                change = change_of(route, request, self._clock.now(), details, complete=False)
                try:
                    await self._record_change(change)
                except Unavailable:
                    raise Unavailable(f"{error} What was changed before that could not be recorded.") from error
            raise
        is_rejection = isinstance(result, Response) and result.status >= 400
        is_anonymous = route.permission in OPEN and request.principal == NOBODY
        if route.audited and not (is_rejection or is_anonymous or request.no_change):
            change = change_of(route, request, self._clock.now(), details)
            await self._record_change(change)
            if request.transferred_to not in (None, change.org):
                await self._record_change(attrs.evolve(change, org=request.transferred_to))
        return result

    def correct_stamps(self, correction: Correction) -> None:
        """Correct when requests with an Idempotency-Key came."""
        for record in self._records.values():
            record.at = correction.corrected(record.at)

    # -- idempotency ----------------------------------------------------------------------------------------------

    async def _change_once(
        self, key: str, route: Route, request: Request, arguments: dict[str, Any], details: dict[str, Any]
    ) -> Any:
        """Execute an idempotent request, or return its earlier answer. Raises `Conflict` as the table above says."""
        if not 0 < len(key) <= MAX_KEY or not key.isprintable():
            raise Rejected(f"Idempotency-Key must have 1 to {MAX_KEY} printable characters")
        principal, now = request.principal, self._clock.now()
        scopes = sorted(principal.scopes or ("all",))
        id_ = _digest(principal.actor_id, principal.org, str(principal.session), scopes, route.path, key)
        digest = _digest(request.query, to_json(request.body) if route.body else bytes(request.body).hex())
        if (previous := self._records.get(id_)) is not None:
            if previous.at + EXPIRY_MS > now:
                return _repeated(previous, digest)
            self._stored_bytes -= previous.size
        record = self._records[id_] = IdempotencyRecord(digest, now)
        try:
            await self._insert(id_, record)
            try:
                answer = await self._change(route, request, arguments, details)
            except HubError:
                if not request.partially_applied:
                    await self._delete(id_)
                raise
            if isinstance(answer, Response) and answer.status >= 400:
                await self._delete(id_)
            elif not isinstance(answer, Download | File | Stream):
                self._store_answer(record, answer)
        finally:
            if not record.answered:
                self._records.pop(id_, None)
        return answer

    def _store_answer(self, record: IdempotencyRecord, answer: Any) -> None:
        """Store an answer that is not too large, and evict the oldest ones over the limits."""
        value = answer.value if isinstance(answer, Created) else answer.body if isinstance(answer, Response) else answer
        size = len(json.dumps(to_json(value))) if not isinstance(value, bytes) else len(value)
        record.answered, record.answer, record.size = size <= MAX_ANSWER, answer, size
        self._stored_bytes += size if record.answered else 0
        for id_, old in tuple(self._records.items()):
            if len(self._records) <= MAX_ANSWERS and self._stored_bytes <= MAX_STORED:
                break
            if old.answered and old is not record:
                del self._records[id_]
                self._stored_bytes -= old.size

    async def _insert(self, id_: bytes, record: IdempotencyRecord) -> None:
        """Persist that a request is being executed. Raises `Conflict` when it is on record already."""

        async def write(tx: Transaction) -> bytes | None:
            await tx.execute("DELETE FROM once WHERE at < ?", (self._clock.deletable_before - EXPIRY_MS,))
            if row := await tx.fetch_one("SELECT asked FROM once WHERE key = ?", (id_,)):
                return bytes(row[0])
            await tx.execute("INSERT INTO once (key, asked, at) VALUES (?, ?, ?)", (id_, record.request, record.at))
            return None

        digest = await self._storage.transaction(write)
        if digest is not None:
            same = "This request was made before, and its answer is not kept any more: look whether it was carried out."
            raise Conflict(same if digest == record.request else "This Idempotency-Key came with another request.")

    async def _delete(self, id_: bytes) -> None:
        """Delete the record of a request that changed nothing, so that it can be tried again."""

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM once WHERE key = ?", (id_,))

        await self._storage.transaction(write)


def _repeated(record: IdempotencyRecord, digest: bytes) -> Any:
    """The answer to a request that came before. Raises `Conflict`."""
    if record.request != digest:
        raise Conflict("This Idempotency-Key came with another request.")
    if not record.answered:
        raise Conflict("The request with this Idempotency-Key is being carried out.")
    return record.answer


def _digest(*parts: Any) -> bytes:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).digest()
