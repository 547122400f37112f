"""How routes are carried out for those who may: no more often than agreed, once if that is asked, and on the record."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub.errors import Conflict, HubError, Rejected, TooMany
from hub.limits import Bucket
from hub.model import NOBODY
from hub.routes import PUBLIC, File, Request, Response, Route, Stream, changed, details_of, to_json

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.storage import Transaction

#: How long an Idempotency-Key is known, in ms, and how many answers are kept for those that come again.
KNOWN_MS = 24 * 3600 * 1000
MAX_ANSWERS = 10_000
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


class Requests:
    """What is asked of a hub through its routes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._budgets: dict[int, Bucket] = {}
        self._once: dict[bytes, _Once] = {}
        self._editing = trio.Lock()

    async def carry_out(self, route: Route, request: Request) -> Any:
        """Call a route's handler, and put down what that changed. Raises what it raises, and `TooMany`."""
        self._count(request)
        arguments = route.arguments(request)
        if route.method == "GET":
            return await route.handler(request, **arguments)
        if route.method == "POST" and (key := request.headers.get("idempotency-key")) is not None:
            return await self._carry_out_once(key, route, request, arguments)
        if "if-match" in request.headers:
            # One after the other: each looks at what the one before has left.
            async with self._editing:
                return await self._change(route, request, arguments)
        return await self._change(route, request, arguments)

    def _count(self, request: Request) -> None:
        """Take a request from what its organization may ask. Raises `TooMany`."""
        limit, who = self._hub.config.limits.api_requests_per_minute, request.principal
        if who.kind in _UNCOUNTED:
            return
        now, budget = time.monotonic(), self._budgets.get(who.org)
        if budget is None:
            budget = self._budgets[who.org] = Bucket(limit / 60, limit, now)
        budget.refill(now)
        if not budget.take():
            self._hub.refuse(request.address, f"organization {who.org} asks more than {limit} times a minute")
            raise TooMany(f"An organization may ask {limit} times a minute.", budget.wait)

    async def _change(self, route: Route, request: Request, arguments: dict[str, Any]) -> Any:
        if route.quiet:
            return await route.handler(request, **arguments)
        hub = self._hub
        details = details_of(route, request)
        try:
            result = await route.handler(request, **arguments)
        except HubError:
            if request.begun:
                await hub.hooks.changed(hub, changed(route, request, hub.clock.now(), details, whole=False))
            raise
        refused = isinstance(result, Response) and result.status >= 400
        if not refused and (route.permission != PUBLIC or request.principal != NOBODY):
            change = changed(route, request, hub.clock.now(), details)
            await hub.hooks.changed(hub, change)
            if request.given_to not in (None, change.org):
                await hub.hooks.changed(hub, attrs.evolve(change, org=request.given_to))
        return result

    # -- once -----------------------------------------------------------------------------------------------------

    async def _carry_out_once(self, key: str, route: Route, request: Request, arguments: dict[str, Any]) -> Any:
        """Carry out a request that has not been; one that has is answered as it was.

        Raises `Conflict` while it is on its way, when the key came with another request, and when it was carried out
        before the hub was started again: its answer is gone then.
        """
        if not 0 < len(key) <= MAX_KEY or not key.isprintable():
            raise Rejected(f"Idempotency-Key must have 1 to {MAX_KEY} printable characters")
        id_ = _digest(request.principal.who, request.principal.org, route.path, key)
        body = to_json(request.body) if attrs.has(type(request.body)) else request.body.hex()
        asked = _digest(request.query, body)
        if (found := self._once.get(id_)) is not None and found.at + KNOWN_MS > self._hub.clock.now():
            if found.asked != asked:
                raise Conflict("This Idempotency-Key came with another request.")
            if not found.done:
                raise Conflict("The request with this Idempotency-Key is being carried out.")
            return found.answer
        one = self._once[id_] = _Once(asked, self._hub.clock.now())
        try:
            await self._note(id_, one)
            try:
                one.answer = await self._change(route, request, arguments)
            except HubError:
                if not request.begun:
                    await self._forget(id_)
                raise
            one.done = not isinstance(one.answer, File | Stream)
        finally:
            if not one.done:
                self._once.pop(id_, None)
        while len(self._once) > MAX_ANSWERS:
            del self._once[next(iter(self._once))]
        return one.answer

    async def _note(self, id_: bytes, one: _Once) -> None:
        """Write down that a request will be carried out. Raises `Conflict` when it was noted before."""

        async def write(tx: Transaction) -> bytes | None:
            await tx.execute("DELETE FROM once WHERE at < ?", (one.at - KNOWN_MS,))
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
