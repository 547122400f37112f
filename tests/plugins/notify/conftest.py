"""Hubs with a mail server."""

from __future__ import annotations

import pytest
from support.accounts import tenants_with_eva
from support.mail_server import serving_mail

from hub.testing import LOOPBACK


@pytest.fixture
def mail_server():
    """A real mail server without TLS."""
    with serving_mail() as server:
        yield server


@pytest.fixture
def hub_toml(mail_server):
    return LOOPBACK + mail_server.toml()


@pytest.fixture
async def world(hub):
    """The world of `tenants`; Eva is a user of acme with a password."""
    return await tenants_with_eva(hub)
