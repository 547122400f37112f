"""The deadlines and periods of a hub, in seconds.

A part of the hub that waits for others has its own frozen class of them, with the values that hold; `hub.run.running`
may be given others, as tests do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class Timeouts:
    """The deadlines and periods of every part: those of ``given``, else the defaults."""

    def __init__(self, given: Iterable[Any] = ()) -> None:
        self._of = {type(timeouts): timeouts for timeouts in given}

    def of(self, cls: type[T]) -> T:
        """Return those of one part."""
        timeouts: T = self._of.get(cls) or cls()
        return timeouts
