"""Malformed requests are rejected without a server error."""

from __future__ import annotations

import pytest
from support.tenants import ORG

from hub.model import ROOT_ORG


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/login", b'{"email": "a", "password": "\xed\xa0\x80"}'),
        ("POST", "/api/v1/login", '{"email": "a", "password": "b"}'.encode("utf-16")),
        ("POST", "/api/v1/login", b'{"email": "a", "\xed\xa0\x80": 1}'),
        ("POST", "/api/v1/login", b'{"email": "a", "password": "\\ud800"}'),
        ("POST", f"{ORG}/create", b'{"name": "\\u0000", "description": "\\udfff"}'),
        ("POST", f"{ORG}/create", b'{"name": "x", "quotas": {"devices": 1e400}}'),
        ("POST", f"{ORG}/create", b'{"name": "x", "quotas": {"devices": NaN}}'),
        ("POST", f"{ORG}/create", b"[" * 100_000),
        ("POST", f"{ORG}/create", b'{"name": ' + b"[" * 900 + b"]" * 900 + b"}"),
        ("POST", f"{ORG}/device/event/resolve", b'{"deviceId": 1, "eventId": 1180591620717411303424}'),
        ("POST", f"{ORG}/users/invite", b'{"email": 1180591620717411303424, "roleId": true}'),
        ("PUT", f"{ORG}/device?deviceId=%00", b'{"name": "x"}'),
        ("DELETE", f"{ORG}?orgId=99999999999999999999", None),
    ],
)
async def test_malformed_requests_are_rejected_without_a_server_error(world, method, path, body):
    device = await world.device(ROOT_ORG)
    assert device.id == 1
    response = await world.ask("rita", method, path, body)
    assert 400 <= response.status < 500, response.body
