"""A call of an operation of the API, and the interface of the hubs that execute it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO, Generic, Protocol, TypeVar
from urllib.parse import urlencode

import attrs

T = TypeVar("T")


@attrs.frozen
class Call(Generic[T]):
    """A request to the API. ``T`` is the type of its result: decoded JSON, or text.

    Entries of ``params`` (the query) and ``body`` (JSON) that are None are not sent. ``content`` is the body of an
    operation that takes a stream: a seekable file, which is sent from its beginning, in chunks.
    """

    method: str
    path: str
    params: Mapping[str, Any] = attrs.field(factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    content: BinaryIO | None = None

    def with_idempotency_key(self, key: str) -> Call[T]:
        """Return the call with an Idempotency-Key: the hub executes calls with the same key once."""
        return attrs.evolve(self, headers={**self.headers, "Idempotency-Key": key})

    def if_match(self, etag: str) -> Call[T]:
        """Return an edit with If-Match: it raises `Outdated` if the object has changed since it had this ETag."""
        return attrs.evolve(self, headers={**self.headers, "If-Match": etag})

    @property
    def query(self) -> str:
        """The query of the URL, encoded."""
        return urlencode({name: _query_value(value) for name, value in self.params.items() if value is not None})

    @property
    def json_body(self) -> dict[str, Any] | None:
        """The body without entries that are None; None for a call without a body."""
        return None if self.body is None else {name: value for name, value in self.body.items() if value is not None}


def _query_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ",".join(map(str, value))


class Api(Protocol):
    """A hub that executes calls."""

    def __call__(self, call: Call[T]) -> T:
        """Execute a call and return its result. Raises `RequestError`."""
