"""Fixtures that tests of several plugins share."""

from __future__ import annotations

import pytest
from support.raw_http import connected


@pytest.fixture
async def http(hub):
    """An HTTP connection to the hub."""
    async with connected(hub) as connection:
        yield connection
