"""Request bodies: their memory is limited before they are decoded, and large ones are decoded in a thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio

from hub.errors import HubError, Rejected, Unavailable

B = TypeVar("B", bytes, str)
T = TypeVar("T")

#: Bytes from which a body is large: decoding it would block the event loop for milliseconds.
LARGE = 64 * 1024
#: Values in the JSON of one body.
MAX_VALUES = 100_000
#: Bytes of large bodies that are in memory at once.
MAX_HELD = 32 * 1024 * 1024

#: All bytes but quotes and commas.
_OTHERS = bytes(set(range(256)) - set(b'",'))


class Bodies:
    """The memory and the thread that all large bodies of a hub share."""

    def __init__(self) -> None:
        self._held = 0
        self._one_at_a_time = trio.CapacityLimiter(1)

    @contextmanager
    def counted(self) -> Iterator[Callable[[int], None]]:
        """Yield a function to be called with the body's size in bytes whenever it grows during the block.

        The function raises `Unavailable` when too many bytes of large bodies are in memory.
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

    async def decode(self, body: B, parse: Callable[[B], T]) -> T:
        """Return ``parse(body)``; large bodies are decoded in a thread, one at a time. Raises what that raises."""
        if len(body) <= LARGE:
            return parse(body)

        def attempt() -> T | HubError:
            try:
                return parse(body)
            except HubError as error:
                error.__cause__ = error.__context__ = None
                return error.with_traceback(None)

        # An error with its frames would stay in a cycle with trio's, and the body with it.
        result = await trio.to_thread.run_sync(attempt, limiter=self._one_at_a_time)
        if not isinstance(result, HubError):
            return result
        try:
            raise result
        finally:
            del result


def parse_json(body: bytes, *, constants: bool = False) -> Any:
    """Parse JSON (RFC 8259); with ``constants`` also NaN and Infinity, as JavaScript libraries write them.

    Raises `Rejected` when the body is not JSON, not UTF-8, or has too many values.
    """
    if len(body) > LARGE and _count(body) > MAX_VALUES:
        raise Rejected(f"The body has more than {MAX_VALUES} values.")
    try:
        parsed = json.loads(body.decode("utf-8-sig"), parse_constant=float if constants else _no_constant)
        if b"\\u" in body:
            # Lone surrogates are JSON, but not text.
            json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Rejected("The body is not JSON.") from error
    return parsed


def _count(body: bytes) -> int:
    """Estimate the number of values in a body: each that follows another one needs a comma outside of strings.

    As many operations as there are lines here, none of which holds the interpreter lock for long.
    """
    if (commas := body.count(b",")) <= MAX_VALUES:
        return commas
    marks = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
    if (strings := marks.count(b'"') // 2) > 2 * MAX_VALUES:
        return (strings + 1) // 2
    # Two adjacent quotes have no comma between them; without them the others still begin and end strings in turn.
    return sum(outside.count(b",") for outside in marks.replace(b'""', b"").split(b'"')[::2])


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
