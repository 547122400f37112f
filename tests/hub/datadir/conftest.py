"""A record of the files that are synced and renamed."""

from __future__ import annotations

import os
from pathlib import Path
from threading import current_thread

import pytest


class DiskSteps:
    """The names of synced and renamed files in order, and the threads that synced them."""

    def __init__(self):
        self.steps, self.sync_threads = [], set()

    def install(self, monkeypatch):
        fsync, replace = os.fsync, Path.replace

        def recorded_fsync(fd):
            self.steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")
            self.sync_threads.add(current_thread())
            fsync(fd)

        def recorded_replace(path, target):
            self.steps.append(f"name {Path(target).name}")
            return replace(path, target)

        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(Path, "replace", recorded_replace)


@pytest.fixture
def disk(monkeypatch):
    """Records what is synced and renamed."""
    recorder = DiskSteps()
    recorder.install(monkeypatch)
    return recorder
