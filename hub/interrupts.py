"""What Ctrl-C does to a command: until it has begun something it ends at once, then it ends what it has begun.

Nothing is imported here that takes time: the script is not safe from a traceback before this is loaded.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: What a shell has for a program that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130


def leave(*_: object) -> None:
    """End the process at once."""
    os._exit(INTERRUPTED)


@contextmanager
def _handler(new: Any, *, instead_of: Any) -> Iterator[None]:
    """Another handler in the block, unless somebody has set one of their own."""
    before = signal.getsignal(signal.SIGINT)
    if before != instead_of:
        yield
        return
    signal.signal(signal.SIGINT, new)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interruptible() -> Any:
    """Ctrl-C raises KeyboardInterrupt in the block."""
    return _handler(signal.default_int_handler, instead_of=leave)


def at_once() -> Any:
    """Ctrl-C ends the process in the block, as while modules are loaded: an exception there may get lost."""
    return _handler(leave, instead_of=signal.default_int_handler)
