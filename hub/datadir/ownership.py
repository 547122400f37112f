"""The ownership of a data directory: the lock that one hub, or one command that replaces its files, holds at a time."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from hub.errors import StartupError

#: Seconds to wait for the lock: a command that checks whether a hub runs holds it for an instant.
PATIENCE = 0.2


class Ownership:
    """The right to write to a data directory, in a ``with`` block or from `acquire` to `release`.

    At most one process has it. It ends with the process, however that ends. Nothing of the data directory may be read
    for writing, or written, before `acquire` returns. A store that is not a directory needs the same four methods.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._path = data / "lock"
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock, and make the directory. Raises `StartupError`, for example if another process has it."""
        try:
            self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError(f"cannot write to the data directory {self._data}: {error.strerror}") from error
        try:
            _lock(fd)
        except OSError as error:
            holder = os.read(fd, 20).decode(errors="replace").strip()
            os.close(fd)
            raise StartupError(
                f"another hub (process {holder or '?'}) uses the data directory {self._data};"
                " stop it, or name another with --data"
            ) from error
        self._fd = fd
        # A hint for the message above; a full disk has no room for it.
        with suppress(OSError):
            os.truncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def is_held(self) -> bool:
        """Whether a process has it, this one included."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(fd: int) -> None:
    """Lock a file. Raises OSError when another process holds the lock for longer than `PATIENCE`."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(0.01)


def locked(data: Path) -> Ownership:
    """Hold the lock of a data directory in a ``with`` block. Raises `StartupError`."""
    return Ownership(data)


def is_running(data: Path) -> bool:
    """Whether a hub holds the lock of this data directory."""
    return Ownership(data).is_held()
