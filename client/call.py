"""A call of an operation of the API, and what carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode

import attrs

T = TypeVar("T")


@attrs.frozen
class Call(Generic[T]):
    """An operation that is to be carried out. It answers with a ``T``: JSON in Python's types, else text.

    What is None in ``params`` (the query) and ``body`` is not sent.
    """

    method: str
    path: str
    params: Mapping[str, Any] = attrs.field(factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def once(self, key: str) -> Call[T]:
        """With an Idempotency-Key: however often it comes, it is carried out once."""
        return attrs.evolve(self, headers={**self.headers, "Idempotency-Key": key})

    def of_version(self, etag: str) -> Call[T]:
        """For an edit: with the ETag of what was read; when that has changed meanwhile, it raises `Outdated`."""
        return attrs.evolve(self, headers={**self.headers, "If-Match": etag})

    @property
    def query(self) -> str:
        return urlencode({name: _text(value) for name, value in self.params.items() if value is not None})

    @property
    def sent(self) -> dict[str, Any] | None:
        """The body as it is sent."""
        return None if self.body is None else {name: one for name, one in self.body.items() if one is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ",".join(map(str, value))


class Api(Protocol):
    """A hub that carries out calls."""

    def __call__(self, call: Call[T]) -> T:
        """Raises `RequestError`, as the hub would."""
