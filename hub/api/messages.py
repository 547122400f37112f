"""Requests and answers of HTTP routes as plain values, whichever connector carries them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote_plus

import attrs

from hub.api.parameters import MAX_WHOLE, Between
from hub.errors import Outdated
from hub.model import NOBODY, Device, Principal

T = TypeVar("T")
S = TypeVar("S")

#: A query in order; a key without ``=`` has None, which differs from an empty value.
Pairs = list[tuple[str, str | None]]


class _NoChunks:
    """The stream of a request without one."""

    def __aiter__(self) -> _NoChunks:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


_NO_CHUNKS = _NoChunks()


@attrs.define(kw_only=True)
class Request:
    """A request to a route, and what its handler says about it for the audit.

    ``query`` is undecoded. ``body`` is an instance of the route's body class, else bytes; b"" for a streaming route,
    whose handler reads ``stream``. ``permission`` is the route's.
    """

    method: str = "GET"
    path: str = "/"
    #: The path as the client spelled it: with percent signs, and with a slash at its end, which `path` never has.
    raw_path: str = ""
    query: str = ""
    headers: Mapping[str, str] = attrs.Factory(dict)
    body: Any = b""
    #: The chunks of a streaming route's body, of a few KiB each, as the client sends them. They can be read once, and
    #: only until the handler returns. Raises `Rejected` when the client disconnects, stalls or exceeds `max_body`.
    stream: AsyncIterator[bytes] = _NO_CHUNKS
    principal: Principal = NOBODY
    address: str = ""
    tls: bool = False
    #: The host that the client named, or (``forwarded``) that a trusted proxy named; see `hub.api.links`.
    host: str = ""
    forwarded: bool = False
    #: The hub's address that the connection came to.
    local: str = ""
    permission: str = ""
    #: The device whose token is in the query, once it has been looked up.
    device: Device | None = None
    #: What the request was about, such as "device 7", and the organization in whose audit it is recorded.
    subject: str = ""
    org: int | None = None
    #: Set by a handler of several steps after its first change: a later failure is recorded too.
    partially_applied: bool = False
    #: The organization that the subject was transferred to: its audit records the change as well.
    transferred_to: int | None = None
    #: Set by a handler that only tried out a change: nothing is recorded.
    no_change: bool = False
    #: Set by a handler: names of the body's fields in JSON, whose values the audit does not record.
    redacted: set[str] = attrs.Factory(set)
    #: The version of the answer; clients get it as ETag.
    etag: str = ""
    #: Further headers of the answer, such as Set-Cookie; an error has none of them.
    answer_headers: dict[str, str] = attrs.Factory(dict)

    def version(self, *state: Any) -> None:
        """Set the answer's ETag from the state that an edit may change."""
        self.etag = f'"{hashlib.sha256(repr(state).encode()).hexdigest()[:20]}"'

    def expect(self, *state: Any) -> None:
        """Set the ETag, and raise `Outdated` when the client sent If-Match (RFC 9110) with another one."""
        self.version(*state)
        wanted = [tag.strip() for tag in self.headers.get("if-match", "*").split(",")]
        if "*" not in wanted and self.etag not in wanted:
            raise Outdated("It has changed meanwhile: read it again.")

    @property
    def pairs(self) -> Pairs:
        """The query's parameters in order, decoded."""
        pairs: Pairs = []
        for part in self.query.split("&"):
            if part:
                key, equals, value = part.partition("=")
                # What is not UTF-8 becomes lone surrogates, which no datastream takes.
                decoded = unquote_plus(value, errors="surrogateescape") if equals else None
                pairs.append((unquote_plus(key), decoded))
        return pairs

    @property
    def params(self) -> dict[str, str]:
        """The query as a dictionary; of a repeated key the last value."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


@attrs.define(kw_only=True)
class Response:
    """An answer that is not JSON, or whose status is not 200."""

    body: bytes | str = b""
    status: int = 200
    type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = attrs.Factory(dict)


@attrs.define(kw_only=True)
class Created(Generic[T]):
    """An answer with status 201 and this value as its JSON."""

    value: T


@attrs.define(kw_only=True)
class File:
    """An answer with the content of a file; ``name`` is what a browser saves it as."""

    path: Path
    type: str = "application/octet-stream"
    name: str = ""


@attrs.define(kw_only=True)
class Download:
    """An answer with ``size`` bytes that ``read`` yields from an offset on, such as a blob's.

    A client may ask for a range of them. ``name`` is what a browser saves it as.
    """

    size: int
    read: Callable[[int], AsyncGenerator[bytes, None]]
    type: str = "application/octet-stream"
    name: str = ""


@attrs.define(kw_only=True)
class Stream(Generic[T]):
    """An answer of unknown length: text is ``Stream[str]``, and ``Stream[Chart]`` is JSON of the shape of a Chart."""

    chunks: AsyncGenerator[bytes, None]
    type: str = "application/octet-stream"


#: The largest page of a list, and the page's size when the client names none (docs.blynk.io, Platform API).
MAX_PAGE, PAGE = 1_000, 50
SortOrder = Literal["ASC", "DESC"]
#: Pages are counted from 0.
PageNumber = Annotated[int, Between(0, MAX_WHOLE)]
PageSize = Annotated[int, Between(1, MAX_PAGE)]


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page of a list; ``total_elements`` is how many there are on all of them."""

    content: list[T]
    total_elements: int


def page_of(items: Sequence[S], page: int, size: int, convert: Callable[[S], T]) -> Page[T]:
    """Return a page of ``items``, each converted for the answer."""
    return Page(content=[convert(item) for item in items[page * size : (page + 1) * size]], total_elements=len(items))


class Socket(Protocol):
    """A WebSocket, as a handler sees it."""

    async def receive(self) -> str | bytes | None:
        """Return the next message; None when the client is gone."""

    def send(self, message: str | bytes) -> None:
        """Send a message now, or buffer it; see ``pending``."""

    def prepare(self, message: bytes) -> bytes:
        """Return a text message, given as UTF-8, in the form in which any such WebSocket sends it."""

    def send_prepared(self, data: bytes) -> None:
        """Send prepared messages, one after the other: a message for many clients is prepared once."""

    @property
    def pending(self) -> int:
        """Bytes that the client has not taken yet."""

    async def drained(self) -> None:
        """Return when ``pending`` is 0."""
