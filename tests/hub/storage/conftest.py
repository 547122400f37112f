"""A short timeout of the database."""

from __future__ import annotations

import pytest

import hub.storage.sqlite


@pytest.fixture(autouse=True)
def short_busy_timeout(monkeypatch):
    """Shorten the wait for a locked database."""
    monkeypatch.setattr(hub.storage.sqlite, "BUSY_TIMEOUT_MS", 50)
