"""Short waits."""

from __future__ import annotations

import pytest

import hub.app
import hub.history.commit_log
import hub.storage


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A database that is locked is not waited for."""
    monkeypatch.setattr(hub.storage.sqlite, "BUSY_TIMEOUT_MS", 50)
