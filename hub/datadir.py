"""The data directory: one hub at a time uses it, and small files in it are there whole."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from hub.errors import StartupError

#: Seconds in which somebody who only looks is done.
PATIENCE = 0.2


def partial_of(path: Path) -> Path:
    """What a file is called until it is whole; see `publish`."""
    return path.with_name(path.name + ".partial")


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a small file so that after a power cut it is there whole, or not at all. Raises OSError."""
    write_together({path: (content, mode)})


def write_together(files: dict[Path, tuple[bytes, int]]) -> None:
    """Write small files (contents and mode) that belong together, so that a full disk leaves all of them as they were.

    They get their names in the given order, when all are on the disk: a power cut may leave the first of them new and
    the rest old, but each of them whole. Raises OSError.
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
    """Give a file that was written as `partial_of` its name. Raises OSError.

    Contents, then name, then the directory are synced: POSIX promises none of them without it.
    """
    sync(partial_of(path))
    _rename(path)


def _rename(path: Path) -> None:
    partial_of(path).replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Return when a file's contents, or a directory's names, are on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class locked:  # noqa: N801 - used as a function
    """Hold ``<data>/lock``: one hub per data directory. Makes the directory; raises `StartupError`."""

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
        # Only a hint for whoever wants the directory too; a full disk has no room for it.
        with suppress(OSError):
            os.truncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _take(self) -> None:
        """Raises OSError when somebody else has it, and not only to look whether a hub runs."""
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
