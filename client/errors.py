"""The errors of calls, for programs that use `client` and nothing else."""

from __future__ import annotations

from hub.errors import (
    Conflict,
    Forbidden,
    HubError,
    NotAuthenticated,
    NotFound,
    Outdated,
    Rejected,
    RequestError,
    TooMany,
    Unavailable,
)

__all__ = [
    "Conflict",
    "Forbidden",
    "HubError",
    "NotAuthenticated",
    "NotFound",
    "Outdated",
    "Rejected",
    "RequestError",
    "TooMany",
    "Unavailable",
]
