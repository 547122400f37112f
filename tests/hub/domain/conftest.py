"""Repairs of stamps in small slices."""

from __future__ import annotations

import pytest

import hub.history.repair


@pytest.fixture
def small_slices(monkeypatch):
    """A repair of some values takes many slices."""
    monkeypatch.setattr(hub.history.repair, "SLICE_POINTS", 20)
    monkeypatch.setattr(hub.history.repair, "SLICE_HOURS", 3)
    monkeypatch.setattr(hub.history.repair, "SLICE_LATEST", 1)
