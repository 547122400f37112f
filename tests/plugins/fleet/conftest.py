"""Devices to search for and to change in bulk."""

from __future__ import annotations

import pytest
from support.fleet import add_fleet


@pytest.fixture
async def fleet(world):
    """The devices of `add_fleet` by name."""
    return await add_fleet(world)
