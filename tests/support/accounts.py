"""Users who log in: password login, and the page behind an account link."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from support.tenants import ORG, PASSWORD, tenants

from plugins.users.model import USER

LOGIN = "/api/v1/login"

#: Requests about the user's own account, which need an interactive login: keys and OAuth clients are rejected.
INTERACTIVE_ONLY = (
    ("POST", "/api/v1/password", {"old": PASSWORD, "new": "another long one"}),
    ("POST", "/api/v1/key", {"name": "more"}),
    ("POST", "/api/v1/otp", {"password": PASSWORD}),
    ("POST", "/api/v1/logout", b""),
    ("PUT", "/api/v1/profile", {"name": "Eve"}),
    ("DELETE", "/api/v1/profile", {"password": PASSWORD}),
    ("DELETE", "/api/v1/session?sessionId=1", None),
    ("DELETE", "/api/v1/key?keyId=1", None),
    ("POST", f"{ORG}/switch", {"orgId": 2}),
)


async def tenants_with_eva(hub):
    """Return the world of `tenants`, in which Eva is a user of acme with a password."""
    world = await tenants(hub)
    await world.user("eva", world.orgs["acme"], USER, PASSWORD)
    return world


async def log_in(http, email="eva@example.org", password=PASSWORD, **fields):
    """Return the response to a login, Eva's by default."""
    return await http.ask("POST", LOGIN, {"email": email, "password": password, **fields})


def code_in(link):
    """Return the code of an account link."""
    return re.search(r"code=([\w-]+)$", link)[1]


async def submit_form(http, code, **fields):
    """Return the response to the form of the account page, sent as a browser sends it."""
    form = urlencode({"code": code, **fields}).encode()
    headers = {"Content_Type": "application/x-www-form-urlencoded", "Origin": "http://hub"}
    return await http.ask("POST", "/account", form, **headers)


async def refresh(http, token):
    """Return the response to the refresh of a session."""
    return await http.ask("POST", f"{LOGIN}/refresh", {"refresh_token": token})
