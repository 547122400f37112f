"""Bodies of requests: counted before they are decoded, and decoded beside the event loop when they are large."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio

from hub.errors import Rejected, Unavailable

B = TypeVar("B", bytes, str)
T = TypeVar("T")

#: Bytes from which a body is large: decoding it would hold the loop for milliseconds.
LARGE = 64 * 1024
#: Values in the JSON of one body.
MAX_VALUES = 100_000
#: Bytes of large bodies that are in memory at once.
MAX_HELD = 32 * 1024 * 1024

#: A string of JSON; one that does not end reaches to the end of the body, so that no body is searched twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


class Bodies:
    """The large bodies of a hub, whoever sends them."""

    def __init__(self) -> None:
        self._held = 0
        self._one_at_a_time = trio.CapacityLimiter(1)

    @contextmanager
    def counted(self) -> Iterator[Callable[[int], None]]:
        """Count a body as long as the block lasts: call what this yields with the body's size whenever it grows.

        That raises `Unavailable` when too many bytes of large bodies are in memory.
        """
        counted = 0

        def grown_to(size: int) -> None:
            nonlocal counted
            if size > LARGE:
                if self._held - counted + size > MAX_HELD:
                    raise Unavailable("Too many large requests are being read; try again.")
                self._held += size - counted
                counted = size

        try:
            yield grown_to
        finally:
            self._held -= counted

    async def decoded(self, body: B, decode: Callable[[B], T]) -> T:
        """``decode(body)``, in a thread and one at a time if the body is large. Raises what ``decode`` raises."""
        if len(body) <= LARGE:
            return decode(body)
        return await trio.to_thread.run_sync(decode, body, limiter=self._one_at_a_time)


def parse_json(body: bytes, *, constants: bool = False) -> Any:
    """What JSON a body is (RFC 8259); with ``constants`` also NaN and Infinity, as JavaScript libraries write them.

    Raises `Rejected` when it is no JSON, no UTF-8, or has too many values.
    """
    if len(body) > LARGE and _count(body) > MAX_VALUES:
        raise Rejected(f"The body has more than {MAX_VALUES} values.")
    try:
        parsed = json.loads(body.decode(), parse_constant=float if constants else _no_constant)
        if b"\\u" in body:
            # Lone surrogates are JSON, but no text.
            json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Rejected("The body is not JSON.") from error
    return parsed


def _count(body: bytes) -> int:
    """How many values follow another one: each needs a comma, and those in strings do not count."""
    commas = body.count(b",")
    return commas if commas <= MAX_VALUES else _STRING.sub(b"", body).count(b",")


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
