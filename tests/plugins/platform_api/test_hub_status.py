"""Status, plugins, rejections, health, metrics and certificates over HTTP, and listeners for devices only."""

from __future__ import annotations

import re
import resource
import ssl

import pytest
import trio
import trio.testing
from support.api import TOKEN, routes
from support.raw_http import UPGRADE, ask, connected, local_key
from support.tenants import ORG
from support.times import until

from hub import SYSTEM, Request
from hub.testing import LOOPBACK, address_of
from hub.writes import Write
from plugins.platform_api import hub_load
from plugins.platform_api.hub_load import HubLoad
from plugins.platform_api.status_routes import StatusRoutes


async def test_status_reports_health_counts_and_listeners(hub, lamp, api):
    status = (await api.get("/api/v1/status")).json

    assert ("ok", [], 1, 0, 1, hub.version) == tuple(
        status[key] for key in ("status", "problems", "devices", "online", "templates", "version")
    )
    host, port = address_of(hub)
    listener = {"address": f"{host}:{port}", "tls": False, "serve": ["native", "http", "mqtt"]}
    assert [listener] == status["listen"]


async def test_plugins_are_listed_with_their_hooks(hub, api):
    plugins = {plugin["name"]: plugin for plugin in (await api.get("/api/v1/plugins")).json}

    assert set(hub.plugins) == set(plugins)
    assert "hub_routes" in plugins["platform_api"]["hooks"]


async def test_rejections_are_listed_without_the_token(hub, api):
    await ask(hub, "GET", f"/external/api/get?token={TOKEN}&v0")

    [refusal] = (await api.get("/api/v1/refusals")).json
    assert ("127.0.0.1", None) == (refusal["address"], refusal["device"])
    assert "unknown token ending …ef" in refusal["reason"]


async def test_health_needs_no_key(hub):
    response = await ask(hub, "GET", "/health")

    assert (200, {"status": "ok"}, "application/json") == (
        response.status,
        response.json,
        response.headers["content-type"],
    )


async def test_metrics_have_the_prometheus_text_format(hub, lamp, api):
    await api.post(f"{ORG}/device/datastream", {"deviceId": lamp[0].id, "pin": "v0", "value": 7})
    response = await api.get("/metrics")

    assert "text/plain; version=0.0.4; charset=utf-8" == response.headers["content-type"]
    samples, types = {}, set()
    for line in response.text.splitlines():
        if line.startswith("# TYPE "):
            types.add(line.split()[2])
        elif not line.startswith("#"):
            match = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"\\]*"\})? ([-+0-9.e]+)', line)
            assert match is not None, line
            samples[match[1] + (match[2] or "")] = float(match[3])
            assert match[1] in types
    assert (1, 0, 1, 0) == tuple(
        samples[f"pinwheel_{name}"] for name in ("devices", "devices_online", "values_total", "storage_trouble")
    )
    assert response.text.endswith("\n")


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[plugins.metrics]\npublic = true\n"], ids=["public"])
async def test_metrics_can_be_public(hub):
    assert 200 == (await ask(hub, "GET", "/metrics")).status


async def test_ca_certificate_is_not_found_without_tls(api):
    assert 404 == (await api.get("/ca.pem")).status


@pytest.mark.parametrize("hub_toml", [LOOPBACK + LOOPBACK + 'tls = "on"\n'], ids=["tls"])
async def test_served_ca_certificate_verifies_the_hub(hub):
    response = await ask(hub, "GET", "/ca.pem")
    assert (200, "application/x-pem-file") == (response.status, response.headers["content-type"])
    context = ssl.create_default_context(cadata=response.text)

    async with connected(hub, 1, context) as http:
        assert 200 == (await http.get("/health")).status
        assert response.body == (await http.get("/ca.pem")).body


@pytest.mark.parametrize("hub_toml", [LOOPBACK + LOOPBACK + 'serve = ["device-http"]\n'], ids=["device-http"])
class TestDeviceHttp:
    """A listener for devices only."""

    async def test_device_api_and_health_are_served(self, hub, lamp):
        target = f"/external/api/isHardwareConnected?token={lamp[1]}"

        assert b"false" == (await ask(hub, "GET", target, listener=1)).body
        assert 200 == (await ask(hub, "GET", "/health", listener=1)).status

    async def test_other_routes_are_not_found(self, hub):
        key = local_key(hub)
        async with connected(hub, 1) as http:
            for route in routes(hub):
                if not route.path.startswith("/external/api/") and route.path != "/health":
                    body = b"" if route.method != "GET" else None
                    assert 404 == (await http.ask(route.method, route.path, body, key)).status, route.path

    async def test_other_methods_are_not_found(self, hub):
        assert 404 == (await ask(hub, "PATCH", "/api/v1/status", b"", listener=1)).status

    @pytest.mark.parametrize("path", ["/api/v1/stream", "/websockets", "/websocket"])
    async def test_websockets_are_not_found(self, hub, path):
        response = await ask(
            hub,
            "GET",
            path,
            key=local_key(hub),
            listener=1,
            **UPGRADE,
        )

        assert 404 == response.status


async def test_status_reports_memory_values_that_wait_and_no_backup(hub, lamp):
    for value in range(3):
        hub.write(Write(lamp[0], 0, value, "test", SYSTEM))
    # Called directly, so that no commit comes in between.
    status = await StatusRoutes(hub).status(Request())
    assert (3, None) == (status.values_waiting, status.last_backup)
    assert 10_000_000 < status.memory_bytes < 10_000_000_000
    assert status.cpu_percent >= 0
    await until(lambda: 3 == hub.history.stored)
    assert 0 == (await StatusRoutes(hub).status(Request())).values_waiting


async def test_values_per_second_are_those_of_the_last_hour(hub, lamp, mock_clock):
    async def pass_minutes(count):
        for _ in range(count):
            mock_clock.jump(60)
            await trio.testing.wait_all_tasks_blocked(0.002)

    load = hub.service(HubLoad)
    mock_clock.jump(30)
    for value in range(120):
        hub.write(Write(lamp[0], 0, value, "test", SYSTEM))
    assert 4 == load.values_per_second
    await pass_minutes(9)
    assert 0.21 == load.values_per_second
    await pass_minutes(80)
    assert 0 == load.values_per_second
    for value in range(3600):
        hub.write(Write(lamp[0], 0, value, "test", SYSTEM))
    assert 1 == pytest.approx(load.values_per_second, rel=0.02)


async def test_cpu_is_that_of_the_last_minutes(hub, mock_clock, monkeypatch):
    used = 0.0

    def usage(_who):
        return resource.struct_rusage([used / 2, used / 2, *[0] * 14])

    monkeypatch.setattr(hub_load.resource, "getrusage", usage)
    load = HubLoad(hub)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.testing.wait_all_tasks_blocked(0.002)
        for _ in range(10):
            used += 30
            mock_clock.jump(60)
            await trio.testing.wait_all_tasks_blocked(0.002)
        assert 50 == load.cpu_percent
        for _ in range(3):
            mock_clock.jump(60)
            await trio.testing.wait_all_tasks_blocked(0.002)
        assert 0 == load.cpu_percent
        nursery.cancel_scope.cancel()
