"""How routes are carried out for those who may: no more often than agreed, once if that is asked, and on the record."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub.api.routes import OPEN, Created, File, Request, Response, Route, Stream, changed, details_of, to_json
from hub.errors import Conflict, HubError, Rejected, TooMany, Unavailable
from hub.model import NOBODY
from hub.rate_limits import TokenBucket

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.stamps import Correction
    from hub.storage import Transaction

#: How long an Idempotency-Key is known, in ms, and how many answers are kept for those that come again.
KNOWN_MS = 24 * 3600 * 1000
MAX_ANSWERS = 10_000
#: Bytes of one of them, and of all.
MAX_ANSWER, MAX_KEPT = 256 * 1024, 16 * 1024 * 1024
#: Characters of an Idempotency-Key.
MAX_KEY = 255
#: Who is not counted: the hub's own commands.
_UNCOUNTED = ("local", "system", "nobody", "device")


@attrs.define
class _Once:
    """A request that is carried out once; ``done`` with its answer, or on its way."""

    asked: bytes
    at: int
    done: bool = False
    answer: Any = None
    size: int = 0


class Requests:
    """What is asked of a hub through its routes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._budgets: dict[int, TokenBucket] = {}
        self._once: dict[bytes, _Once] = {}
        #: Held while things of a kind are edited.
        self._editing: dict[str, trio.Lock] = {}
        self._kept = 0

    async def execute(self, route: Route, request: Request) -> Any:
        """Call a route's handler, and put down what that changed. Raises what it raises, and `TooMany`."""
        self._count(request)
        arguments = route.arguments(request)
        if route.method == "GET":
            return await route.handler(request, **arguments)
        details = details_of(route, request)
        if "if-match" in request.headers and not route.lock:
            raise Rejected("If-Match is for what is read with an ETag and edited.")
        if route.idempotent and (key := request.headers.get("idempotency-key")) is not None:
            return await self._carry_out_once(key, route, request, arguments, details)
        return await self._change(route, request, arguments, details)

    def _count(self, request: Request) -> None:
        """Take a request from what its organization may ask. Raises `TooMany`."""
        limit, who = self._hub.config.limits.api_requests_per_minute, request.principal
        if who.kind in _UNCOUNTED:
            return
        now, budget = time.monotonic(), self._budgets.get(who.org)
        if budget is None:
            budget = self._budgets[who.org] = TokenBucket(limit / 60, limit, now)
        budget.refill(now)
        if not budget.take():
            self._hub.reject(request.address, f"organization {who.org} asks more than {limit} times a minute")
            raise TooMany(f"An organization may ask {limit} times a minute.", budget.wait)

    async def _change(self, route: Route, request: Request, arguments: dict[str, Any], details: dict[str, Any]) -> Any:
        hub = self._hub
        try:
            if route.lock:
                # One after the other: each looks at what the one before has left.
                async with self._editing.setdefault(route.lock, trio.Lock()):
                    result = await route.handler(request, **arguments)
            else:
                result = await route.handler(request, **arguments)
        except HubError as error:
            if request.partially_applied and not route.audited:
                change = changed(route, request, hub.clock.now(), details, whole=False)
                try:
                    await hub.record_change(change)
                except Unavailable:
                    raise Unavailable(f"{error} What was changed before that could not be recorded.") from error
            raise
        refused = isinstance(result, Response) and result.status >= 400
        nobody = route.permission in OPEN and request.principal == NOBODY
        if not (route.audited or refused or nobody or request.no_change):
            change = changed(route, request, hub.clock.now(), details)
            await hub.record_change(change)
            if request.transferred_to not in (None, change.org):
                await hub.record_change(attrs.evolve(change, org=request.transferred_to))
        return result

    def correct_stamps(self, correction: Correction) -> None:
        """Correct when requests with an Idempotency-Key came."""
        for one in self._once.values():
            one.at = correction.corrected(one.at)

    # -- once -----------------------------------------------------------------------------------------------------

    async def _carry_out_once(
        self, key: str, route: Route, request: Request, arguments: dict[str, Any], details: dict[str, Any]
    ) -> Any:
        """Carry out a request that has not been; one that has is answered as it was.

        Raises `Conflict` while it is on its way, when the key came with another request, and when it was carried out
        before the hub was started again: its answer is gone then.
        """
        if not 0 < len(key) <= MAX_KEY or not key.isprintable():
            raise Rejected(f"Idempotency-Key must have 1 to {MAX_KEY} printable characters")
        who = request.principal
        id_ = _digest(who.actor_id, who.org, str(who.session), sorted(who.scopes or ("all",)), route.path, key)
        asked = _digest(request.query, to_json(request.body) if route.body else bytes(request.body).hex())
        if (found := self._once.get(id_)) is not None and found.at + KNOWN_MS > self._hub.clock.now():
            if found.asked != asked:
                raise Conflict("This Idempotency-Key came with another request.")
            if not found.done:
                raise Conflict("The request with this Idempotency-Key is being carried out.")
            return found.answer
        if found is not None:
            self._kept -= found.size
        one = self._once[id_] = _Once(asked, self._hub.clock.now())
        try:
            await self._note(id_, one)
            try:
                answer = await self._change(route, request, arguments, details)
            except HubError:
                if not request.partially_applied:
                    await self._forget(id_)
                raise
            if isinstance(answer, Response) and answer.status >= 400:
                await self._forget(id_)
            elif not isinstance(answer, File | Stream):
                self._keep(one, answer)
        finally:
            if not one.done:
                self._once.pop(id_, None)
        return answer

    def _keep(self, one: _Once, answer: Any) -> None:
        """Keep an answer for those that ask again, as long as there is room for it."""
        value = answer.value if isinstance(answer, Created) else answer.body if isinstance(answer, Response) else answer
        size = len(json.dumps(to_json(value))) if not isinstance(value, bytes) else len(value)
        one.done, one.answer, one.size = size <= MAX_ANSWER, answer, size
        self._kept += size if one.done else 0
        for id_, old in tuple(self._once.items()):
            if len(self._once) <= MAX_ANSWERS and self._kept <= MAX_KEPT:
                break
            if old.done and old is not one:
                del self._once[id_]
                self._kept -= old.size

    async def _note(self, id_: bytes, one: _Once) -> None:
        """Write down that a request will be carried out. Raises `Conflict` when it was noted before."""

        async def write(tx: Transaction) -> bytes | None:
            await tx.execute("DELETE FROM once WHERE at < ?", (self._hub.clock.deletable_before - KNOWN_MS,))
            if row := await tx.fetch_one("SELECT asked FROM once WHERE key = ?", (id_,)):
                return bytes(row[0])
            await tx.execute("INSERT INTO once (key, asked, at) VALUES (?, ?, ?)", (id_, one.asked, one.at))
            return None

        before = await self._hub.storage.transaction(write)
        if before is not None:
            same = "This request was made before, and its answer is not kept any more: look whether it was carried out."
            raise Conflict(same if before == one.asked else "This Idempotency-Key came with another request.")

    async def _forget(self, id_: bytes) -> None:
        """It came to nothing and may be tried again."""

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM once WHERE key = ?", (id_,))

        await self._hub.storage.transaction(write)


def _digest(*parts: Any) -> bytes:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).digest()
