"""Checks of the path that a client names for a backup."""

from __future__ import annotations

import os
from pathlib import Path

from hub import Forbidden, Rejected
from plugins.backup.archive import BadBackup, read_manifest


def directory_id(path: Path) -> str:
    """Return which directory a path leads to in this process (device and inode); "" if there is none."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}"


def check_directory(directory: Path, expected_id: str) -> None:
    """Raise `Forbidden` unless the hub can write into the directory, and the client means the same one.

    ``expected_id`` is `directory_id` in the client's process, or "".
    """
    is_same = expected_id in ("", directory_id(directory))
    if not is_same or (directory.is_dir() and not os.access(directory, os.W_OK)):
        raise Forbidden(f"{directory}: the hub cannot write there; a service writes to its data and backups only")


def check_target(path: Path, data: Path, backups: Path) -> None:
    """Raise `Rejected` unless the path is free or has a backup already, and is not among the hub's own files."""
    if not path.is_absolute() or not path.parent.is_dir() or path.is_dir():
        raise Rejected(f"{path}: must be the absolute path of a file in an existing directory")
    directory = path.parent.resolve()
    if directory.is_relative_to(data.resolve()) and not directory.is_relative_to(backups.resolve()):
        raise Rejected(f"{path}: is where the hub keeps its own files")
    if path.exists():
        try:
            read_manifest(path)
        except BadBackup as error:
            raise Rejected(f"{path}: exists and is not a backup") from error
