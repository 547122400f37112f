"""Ctrl-C in commands: it ends the process at once until a command has begun something, and interrupts that then.

This module imports next to nothing: until it is loaded, Ctrl-C shows a traceback.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "INTERRUPTED",
    "at_once",
    "deferred",
    "interruptible",
    "leave",
]

#: The exit code of a program that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130


def leave(*_: object) -> None:
    """End the process at once."""
    os._exit(INTERRUPTED)


class _Handler:
    """Replaces the handler of SIGINT in the block, if it is ``instead_of``."""

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
    """Let Ctrl-C raise KeyboardInterrupt in the block."""
    return _Handler(signal.default_int_handler, instead_of=leave)


def at_once() -> _Handler:
    """Let Ctrl-C end the process in the block, as while modules are loaded, when an exception can get lost."""
    return _Handler(leave, instead_of=signal.default_int_handler)


class deferred:  # noqa: N801 - used as a function
    """Defer Ctrl-C, and the signals that end a process, to the end of the block."""

    def __enter__(self) -> None:
        # A pending signal is raised here, before anything has begun.
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            raise

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
