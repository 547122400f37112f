"""Every error the hub raises on purpose. Each surface has one table from these to its own statuses."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

T = TypeVar("T")

#: Problems that are reported of one request or document.
MAX_PROBLEMS = 100


class HubError(Exception):
    """What a person can be told in one line."""


class StartupError(HubError):
    """The hub refuses to start (exit code 2). ``problems`` holds one line each, all that were found."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


class ConfigError(StartupError):
    """The configuration does not hold; every problem at once, with file and key."""


class PluginError(StartupError):
    """A plugin breaks the contract of its hooks."""


class MigrationError(StartupError):
    """A schema change failed, or the data was written by a newer version."""


class RequestError(HubError):
    """What was asked for is refused; the asker is told why."""


class NotAuthenticated(RequestError):
    """Nobody we know."""


class Forbidden(RequestError):
    """Somebody we know, without the right."""


class NotFound(RequestError):
    """No such thing, or none that the asker may know of."""


class Rejected(RequestError):
    """The value or the request itself is wrong."""


class UnknownPin(Rejected):
    """The device's template has no datastream on that pin."""


class WrongType(Rejected):
    """The value does not have the datastream's type."""


class Conflict(RequestError):
    """It exists already, or something still uses it."""


class Outdated(Conflict):
    """It has changed since the asker read it."""


class TooMany(RequestError):
    """A limit. ``retry_after`` is in seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(RequestError):
    """Nothing wrong with the request: the hub cannot keep its promise right now."""


class StorageError(HubError):
    """The disk does not take what it is given. Acknowledgements stop until it does."""


def first_problems(problems: Iterable[str]) -> list[str]:
    """Of any number of problems the first ones, and how many more there are."""
    rest = iter(problems)
    first = list(islice(rest, MAX_PROBLEMS))
    more = sum(1 for _ in rest)
    return [*first, f"and {more} more problems"] if more else first


def first_of(error: BaseException) -> BaseException:
    """The first error inside nested groups: nurseries wrap what their tasks raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def said_as(error: HubError, table: Mapping[type[HubError], T]) -> T:
    """What a surface's ``table`` has for an error: for its class, else for the nearest it derives from."""
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
