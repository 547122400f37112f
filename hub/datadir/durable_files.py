"""Durable writes of files: after a power cut a file is complete or unchanged."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


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
