"""Monitoring: ``/health``, ``/metrics`` in Prometheus' text format, and ``/ca.pem``."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import PUBLIC, File, NotFound, Permission, Request, Response, Route, hookimpl

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.metrics]``. ``public`` serves /metrics without a bearer token."""

    public: bool = False


@attrs.frozen(kw_only=True)
class Health:
    """Health of the hub: ``ok``, or ``degraded`` while a critical alarm is on; ``/api/v1/status`` lists the alarms."""

    status: str


@hookimpl
def hub_config() -> type:
    return Settings


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [Permission("metrics.view", "View metrics", root=True)]


class MetricsRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def health(self, _request: Request) -> Health:
        return Health(status="degraded" if any(alarm.critical for alarm in self._hub.active_alarms()) else "ok")

    async def metrics(self, _request: Request) -> Response:
        return Response(body=_metrics_text(self._hub), type="text/plain; version=0.0.4; charset=utf-8")

    async def ca(self, _request: Request) -> File:
        certificates = self._hub.certificates
        path = certificates.ca if certificates is not None else None
        if path is None or not path.exists():
            raise NotFound("This hub has no CA of its own: its certificate is configured, or TLS is off.")
        return File(path=path, type="application/x-pem-file", name="pinwheel-ca.pem")


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    api = MetricsRoutes(hub)
    permission = PUBLIC if hub.settings(Settings).public else "metrics.view"
    text, pem = ("text/plain",), ("application/x-pem-file",)
    return [
        Route("GET", "/health", api.health, PUBLIC, "Health: ok or degraded"),
        Route("GET", "/metrics", api.metrics, permission, "Metrics for Prometheus", media=text, raw_query=True),
        Route("GET", "/ca.pem", api.ca, PUBLIC, "The CA that signed the hub's certificate", media=pem),
    ]


def _metrics_text(hub: Hub) -> str:
    alarms = hub.active_alarms()
    lines = []
    for name, kind, description, value in _hub_metrics(hub):
        lines += [f"# HELP {name} {description}", f"# TYPE {name} {kind}", f"{name} {value:g}"]
    if alarms:
        lines += ["# HELP pinwheel_alarm 1 while the alarm is on, 2 when it is critical", "# TYPE pinwheel_alarm gauge"]
        lines += [f'pinwheel_alarm{{id="{alarm.id}"}} {1 + alarm.critical}' for alarm in alarms]
    lines += [
        "# HELP pinwheel_plugin_failures_total Failures by plugin",
        "# TYPE pinwheel_plugin_failures_total counter",
    ]
    lines += [
        f'pinwheel_plugin_failures_total{{plugin="{plugin.name}"}} {plugin.failures}' for plugin in hub.plugins.values()
    ]
    return "\n".join(lines) + "\n"


def _hub_metrics(hub: Hub) -> list[tuple[str, str, str, float]]:
    """Return (name, type, description, value) of each metric without labels."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    listener, storage_fault = hub.listener, hub.history.fault
    return [
        ("pinwheel_up_seconds", "gauge", "Seconds since the start", hub.clock.monotonic() - hub.started),
        ("pinwheel_devices", "gauge", "Devices", len(hub.devices.by_id)),
        ("pinwheel_devices_online", "gauge", "Connected devices", len(hub.sessions)),
        ("pinwheel_connections", "gauge", "Open connections", listener.connections if listener else 0),
        ("pinwheel_connections_total", "counter", "Accepted connections", listener.accepted if listener else 0),
        ("pinwheel_values_total", "counter", "Accepted values", hub.writes.count),
        ("pinwheel_values_stored_total", "counter", "Values on disk", hub.history.stored),
        ("pinwheel_refused_total", "counter", "Rejected connections, messages and values", hub.rejections.count),
        ("pinwheel_storage_trouble", "gauge", "1 while values cannot be written", float(storage_fault is not None)),
        ("pinwheel_disk_free_ratio", "gauge", "Free share of the disk", hub.storage.free_share() or 0.0),
        ("pinwheel_problems", "gauge", "Active alarms, as in /api/v1/status", len(hub.active_alarms())),
        ("pinwheel_cpu_seconds_total", "counter", "CPU time, user and system", usage.ru_utime + usage.ru_stime),
    ]
