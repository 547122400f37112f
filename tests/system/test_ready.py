"""What works as soon as the hub prints that it is ready."""

from __future__ import annotations

import http.client
import json
from contextlib import closing

import pytest
from support.command import CommandLine
from support.patience import patient


@pytest.mark.parametrize("start", range(3))
def test_first_administrator_can_log_in_as_soon_as_the_hub_is_ready(tmp_path, monkeypatch, start):
    monkeypatch.setenv("PINWHEEL_ADMIN_EMAIL", "ada@example.org")
    monkeypatch.setenv("PINWHEEL_ADMIN_PASSWORD", "correct horse battery")
    cli = CommandLine(tmp_path / "hub")
    with cli.running() as ready:
        host, _, port = ready.split()[1].rpartition(":")
        body = json.dumps({"email": "ada@example.org", "password": "correct horse battery"})
        with closing(http.client.HTTPConnection(host, int(port), timeout=patient(30))) as connection:
            connection.request("POST", "/api/v1/login", body, {"Content-Type": "application/json"})
            assert 200 == connection.getresponse().status
