"""What Ctrl-C does to a command: until it has begun something it ends at once, then it ends what it has begun.

The script is not safe from a traceback before this is loaded, so it imports next to nothing.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What a shell has for a program that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130


def leave(*_: object) -> None:
    """End the process at once."""
    os._exit(INTERRUPTED)


class _Handler:
    """Another handler in the block, unless somebody has set one of their own."""

    def __init__(self, new: Any, *, instead_of: Any) -> None:
        self._new = new
        self._instead_of = instead_of

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before == self._instead_of:
            signal.signal(signal.SIGINT, self._new)

    def __exit__(self, *_: object) -> None:
        if self._before == self._instead_of:
            signal.signal(signal.SIGINT, self._before)


def interruptible() -> _Handler:
    """Ctrl-C raises KeyboardInterrupt in the block."""
    return _Handler(signal.default_int_handler, instead_of=leave)


def at_once() -> _Handler:
    """Ctrl-C ends the process in the block, as while modules are loaded: an exception there may get lost."""
    return _Handler(leave, instead_of=signal.default_int_handler)


class deferred:  # noqa: N801 - used as a function
    """Ctrl-C, and the signals that end a process, wait for the end of the block."""

    def __enter__(self) -> None:
        # What has come already is raised here, before anything has begun.
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            raise

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
