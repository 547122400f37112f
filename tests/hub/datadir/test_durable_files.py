"""Durable files: content and name are on the disk, or the file does not exist."""

from __future__ import annotations

import os

import pytest
from support.disk import raise_disk_full
from support.storage import stored

from hub.datadir import write_whole


def test_content_then_name_then_directory_are_synced(tmp_path, disk):
    write_whole(tmp_path / "small", b"content")
    assert ["sync small.partial", "name small", f"sync {tmp_path.name}"] == disk.steps


async def test_copy_of_a_database_is_synced_with_its_name(data, disk):
    async with stored(data) as storage:
        await storage.configuration.backup(data / "copy.db")
    assert ["sync copy.db.partial", "name copy.db", f"sync {data.name}"] == disk.steps[-3:]


def test_failed_write_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", raise_disk_full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "small", b"content")
    assert [] == list(tmp_path.iterdir())
