"""Short waits."""

from __future__ import annotations

import pytest
from support.patience import patient

import hub.app
import hub.history.commit_log
import hub.storage


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Waits of seconds take milliseconds."""
    monkeypatch.setattr(hub.history.commit_log, "DURABLE_TIMEOUT", patient(0.3))
    monkeypatch.setattr(hub.history.commit_log, "RETRY_AFTER", 0.02)
    monkeypatch.setattr(hub.storage.sqlite, "BUSY_TIMEOUT_MS", 50)
