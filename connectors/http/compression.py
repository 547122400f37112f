"""Compression of JSON answers: which ones, and how.

A compressed answer tells by its length how much of it is repeated. If it holds a secret and also text of an attacker
who can watch the lengths of many such answers, the secret can be guessed (BREACH). So only answers to requests that
read something with a bearer token are compressed: a page of another site cannot make a browser send that token, and
secrets (tokens, keys, codes, links) are only in answers to the requests that make them. Answers with an ETag are sent
as they are: a compressed one would need another ETag (RFC 9110, 8.8.3.3), with which no edit could be conditional.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import trio

from hub.api import OPEN, accepts_gzip

if TYPE_CHECKING:
    from hub import Request, Route

#: Bytes from which an answer is compressed, and from which a thread does it.
MIN_SIZE, LARGE = 1024, 128 * 1024
#: zlib's fastest level: a page of 200 devices takes a tenth of a millisecond, and a fiftieth of its size.
_LEVEL = 1


def may_compress(route: Route, request: Request) -> bool:
    """Whether the JSON answer to a request may be compressed, if it is long enough and the client accepts it."""
    only_reads = route.method == "GET" or not route.audited
    return only_reads and route.permission not in OPEN and not request.etag


class Compressor:
    """Compresses answers; large ones in a thread, one at a time."""

    def __init__(self) -> None:
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def compress(self, body: bytes, request: Request) -> bytes | None:
        """Return the body compressed; None if it is short, or if the client does not accept it."""
        if len(body) <= MIN_SIZE or not accepts_gzip(request.headers.get("accept-encoding", "")):
            return None
        if len(body) < LARGE:
            return gzip.compress(body, _LEVEL, mtime=0)
        return await trio.to_thread.run_sync(lambda: gzip.compress(body, _LEVEL, mtime=0), limiter=self._one_at_a_time)
