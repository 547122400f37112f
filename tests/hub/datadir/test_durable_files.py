"""Files are on the disk with their content and their name, or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.storage import stored

from hub.datadir import write_whole


@pytest.fixture
def synced(monkeypatch):
    """The paths whose contents or names were synced, and the names that were given, in order."""
    steps = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(fd):
        steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")
        fsync(fd)

    def noted_replace(path, target):
        steps.append(f"name {Path(target).name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    return steps


def test_content_then_name_then_directory_are_synced(tmp_path, synced):
    write_whole(tmp_path / "small", b"content")
    assert ["sync small.partial", "name small", f"sync {tmp_path.name}"] == synced


async def test_copy_of_a_database_is_synced_with_its_name(data, synced):
    async with stored(data) as storage:
        await storage.configuration.backup(data / "copy.db")
    assert ["sync copy.db.partial", "name copy.db", f"sync {data.name}"] == synced[-3:]


def test_file_that_does_not_fit_leaves_nothing(tmp_path, monkeypatch):
    def refuse(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "small", b"content")
    assert [] == list(tmp_path.iterdir())
