"""A data directory."""

from __future__ import annotations

import pytest


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"
