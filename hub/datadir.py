"""The data directory: its lock, which one hub holds at a time, and durable writes of small files."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from hub.errors import StartupError

__all__ = [
    "is_running",
    "locked",
    "partial_of",
    "publish",
    "sync",
    "write_together",
    "write_whole",
]

#: Seconds to wait for the lock: a command that checks whether a hub runs holds it for an instant.
PATIENCE = 0.2


def partial_of(path: Path) -> Path:
    """Return the path of a file until it is complete; see `publish`."""
    return path.with_name(path.name + ".partial")


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a small file atomically: after a power cut it is complete or unchanged. Raises OSError."""
    write_together({path: (content, mode)})


def write_together(files: dict[Path, tuple[bytes, int]]) -> None:
    """Write small files (content and mode) that belong together, so that a full disk leaves all of them unchanged.

    They are renamed in the given order when all are on the disk: after a power cut the first may be new and the others
    old, but each is complete. Raises OSError.
    """
    partials = [partial_of(path) for path in files]
    try:
        for partial, (content, mode) in zip(partials, files.values(), strict=True):
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
                file.write(content)
            sync(partial)
        for path in files:
            _rename(path)
    except OSError:
        for partial in partials:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        raise


def publish(path: Path) -> None:
    """Rename a file that was written as `partial_of` to its path. Raises OSError.

    The content, then the name, then the directory are synced: POSIX guarantees none of them otherwise.
    """
    sync(partial_of(path))
    _rename(path)


def _rename(path: Path) -> None:
    partial_of(path).replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file's content, or a directory's names, to the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class locked:  # noqa: N801 - used as a function
    """Hold ``<data>/lock`` in the block: one hub per data directory. Makes the directory. Raises `StartupError`."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def __enter__(self) -> None:
        path = self._data / "lock"
        try:
            self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError(f"cannot write to the data directory {self._data}: {error.strerror}") from error
        try:
            self._take()
        except OSError as error:
            holder = os.read(self._fd, 20).decode(errors="replace").strip()
            os.close(self._fd)
            raise StartupError(
                f"another hub (process {holder or '?'}) uses the data directory {self._data};"
                " stop it, or name another with --data"
            ) from error
        # A hint for the message above; a full disk has no room for it.
        with suppress(OSError):
            os.truncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _take(self) -> None:
        """Raises OSError when another process holds the lock for longer than `PATIENCE`."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def is_running(data: Path) -> bool:
    """Whether a hub holds the lock of this data directory."""
    try:
        fd = os.open(data / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
