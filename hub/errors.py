"""Errors that the hub raises on purpose. Each surface has one table from these to its own statuses."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

T = TypeVar("T")

#: Problems that are reported of one request or document.
MAX_PROBLEMS = 100


class HubError(Exception):
    """An error whose message is a line for users."""


class StartupError(HubError):
    """The hub cannot start (exit code 2). ``problems`` has a line for each problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


class ConfigError(StartupError):
    """The configuration is invalid; every problem with its file and key."""


class PluginError(StartupError):
    """A plugin breaks the contract of its hooks."""


class MigrationError(StartupError):
    """A schema change failed, or the data was written by a newer version."""


class RequestError(HubError):
    """A request is rejected; the message tells the client why."""


class NotAuthenticated(RequestError):
    """The credentials are missing or unknown."""


class Forbidden(RequestError):
    """The principal lacks a permission."""


class NotFound(RequestError):
    """There is no such thing, or the principal may not see it."""


class Rejected(RequestError):
    """The value or the request itself is wrong."""


class UnknownPin(Rejected):
    """The device's template has no datastream on that pin."""


class WrongType(Rejected):
    """The value does not have the datastream's type."""


class Conflict(RequestError):
    """The state does not allow it: it exists already, or is still in use."""


class Outdated(Conflict):
    """The thing has changed since the client read it."""


class TooMany(RequestError):
    """A rate limit or quota is exceeded. ``retry_after`` is in seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(RequestError):
    """The hub cannot keep its promise at the moment; nothing is wrong with the request."""


class StorageError(HubError):
    """The disk does not take a write, or a file cannot be read. Acknowledgements stop until it does."""


def first_problems(problems: Iterable[str]) -> list[str]:
    """Return the first `MAX_PROBLEMS` problems, and a line with the number of the others."""
    iterator = iter(problems)
    first = list(islice(iterator, MAX_PROBLEMS))
    rest = sum(1 for _ in iterator)
    return [*first, f"and {rest} more problems"] if rest else first


def first_of(error: BaseException) -> BaseException:
    """Return the first error inside nested groups: nurseries wrap the errors of their tasks."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def translate(error: HubError, table: Mapping[type[HubError], T]) -> T:
    """Return the entry of a surface's ``table`` for an error's class, else for the nearest base class."""
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
