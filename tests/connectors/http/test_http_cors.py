"""Requests of pages of other origins."""

from __future__ import annotations

import pytest
from support.raw_http import connected

from hub.api import Route

ORIGIN = {"origin": "http://dash.example"}


def is_for_any_origin(path):
    """Whether pages of any origin may send requests to a path."""
    return path.startswith(("/external/api/", "/reports/", "/device_uploads/"))


async def test_cross_origin_responses_are_readable_on_paths_of_devices_and_reports_only(hub):
    paths = {r.path for r in hub.routes if isinstance(r, Route) and not r.path.startswith("/test/")}
    assert {path.split("/")[1] for path in paths if is_for_any_origin(path)} == {
        "external",
        "reports",
        "device_uploads",
    }
    for path in (*paths, "/external/api/nothing", "/external/api/get/", "/nothing", "/external/apis"):
        for method in "GET", "HEAD", "POST", "DELETE":
            async with connected(hub) as http:
                response = await http.ask(method, path, b"{}" if method == "POST" else None, **ORIGIN)
            allowed = response.headers.get("access-control-allow-origin")
            assert ("*" if is_for_any_origin(path) else None) == allowed, (method, path, response.status)


@pytest.mark.parametrize(
    ("target", "status", "origin"),
    [("/external/api/upload", 413, "*"), ("/external/api/batch/update", 413, "*"), ("/api/v1/login", 413, None)],
)
async def test_cross_origin_response_to_a_body_that_is_too_large_is_readable(http, target, status, origin):
    response = await http.ask("POST", target, content_length=100_000_000, **ORIGIN)

    assert (status, origin) == (response.status, response.headers.get("access-control-allow-origin"))


@pytest.mark.parametrize(
    ("requested", "allowed"),
    [({"access_control_request_headers": "content-type,x-own"}, "content-type,x-own"), ({}, "*")],
)
@pytest.mark.parametrize(
    "target", ["/external/api/update?token=x&v0=1", "/external/api/upload", "/external/api/nothing"]
)
async def test_preflight_request_is_accepted_for_the_device_api(http, target, requested, allowed):
    response = await http.ask("OPTIONS", target, access_control_request_method="POST", **ORIGIN, **requested)

    assert (204, b"", "*") == (response.status, response.body, response.headers["access-control-allow-origin"])
    assert {"GET", "POST"} < set(response.headers["access-control-allow-methods"].split(", "))
    assert allowed == response.headers["access-control-allow-headers"]
    assert int(response.headers["access-control-max-age"]) > 0
    assert "content-length" not in response.headers


@pytest.mark.parametrize("target", ["/api/v1/status", "/health", "/nothing"])
async def test_preflight_request_is_rejected_for_other_paths(http, target):
    response = await http.ask("OPTIONS", target, access_control_request_method="GET", **ORIGIN)

    assert response.status in (404, 405)
    assert not [name for name in response.headers if name.startswith("access-control")]
