"""Organizations with users, and a user with a password."""

from __future__ import annotations

import pytest
from support.accounts import tenants_with_eva


@pytest.fixture
async def world(hub):
    """The world of `tenants` on a running hub; Eva is a user of acme with a password."""
    return await tenants_with_eva(hub)
