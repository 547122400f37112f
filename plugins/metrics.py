"""For monitoring: ``/health``, ``/metrics`` in Prometheus' text format, and the CA that made our certificate."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub.api import PUBLIC, File, Permission, Request, Response, Route
from hub.errors import NotFound
from hub.hookspecs import hookimpl

if TYPE_CHECKING:
    from hub.app import Hub


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.metrics]``: ``public`` opens /metrics to everybody who reaches the port."""

    public: bool = False


@attrs.frozen(kw_only=True)
class Health:
    """``ok``, or ``degraded`` while something is wrong; the reasons are for those who may see ``/api/v1/status``."""

    status: str


@hookimpl
def hub_config() -> type:
    return Settings


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [Permission("metrics.view", "View metrics", root=True)]


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    async def health(_request: Request) -> Health:
        return Health(status="degraded" if any(p.critical for p in hub.active_alarms()) else "ok")

    async def metrics(_request: Request) -> Response:
        return Response(body=_metrics(hub), type="text/plain; version=0.0.4; charset=utf-8")

    async def ca(_request: Request) -> File:
        path = hub.certificates.ca if hub.certificates is not None else None
        if path is None or not path.exists():
            raise NotFound("The hub's certificate was not made by the hub.")
        return File(path=path, type="application/x-pem-file", name="pinwheel-ca.pem")

    allowed = PUBLIC if hub.settings(Settings).public else "metrics.view"
    return [
        Route(method="GET", path="/health", handler=health, permission=PUBLIC, summary="ok or degraded"),
        Route(
            method="GET",
            path="/metrics",
            handler=metrics,
            permission=allowed,
            summary="Metrics for Prometheus",
            media=("text/plain",),
            raw_query=True,
        ),
        Route(
            method="GET",
            path="/ca.pem",
            handler=ca,
            permission=PUBLIC,
            media=("application/x-pem-file",),
            summary="The CA that made the hub's certificate",
        ),
    ]


def _metrics(hub: Hub) -> str:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    values: list[tuple[str, str, str, float]] = [
        ("pinwheel_up_seconds", "gauge", "Seconds since the start", time.monotonic() - hub.started),
        ("pinwheel_devices", "gauge", "Devices", len(hub.devices.by_id)),
        ("pinwheel_devices_online", "gauge", "Devices that are connected", len(hub.sessions)),
        ("pinwheel_connections", "gauge", "Open connections", hub.listener.connections if hub.listener else 0),
        ("pinwheel_connections_total", "counter", "Connections accepted", hub.listener.accepted if hub.listener else 0),
        ("pinwheel_values_total", "counter", "Values accepted", hub.writes.count),
        ("pinwheel_values_stored_total", "counter", "Values on disk", hub.history.stored),
        ("pinwheel_refused_total", "counter", "Connections, messages and values refused", hub.rejections.count),
        (
            "pinwheel_storage_trouble",
            "gauge",
            "1 while values cannot be written",
            float(hub.history.fault is not None),
        ),
        ("pinwheel_disk_free_ratio", "gauge", "Free share of the disk", hub.storage.free_share() or 0.0),
        ("pinwheel_problems", "gauge", "What /api/v1/status lists", len(hub.active_alarms())),
        ("pinwheel_cpu_seconds_total", "counter", "CPU time, user and system", usage.ru_utime + usage.ru_stime),
    ]
    alarms = hub.active_alarms()
    lines = []
    for name, kind, text, value in values:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value:g}"]
    if alarms:
        lines += ["# HELP pinwheel_alarm 1 while the alarm is on, 2 when it is critical", "# TYPE pinwheel_alarm gauge"]
        lines += [f'pinwheel_alarm{{id="{alarm.id}"}} {1 + alarm.critical}' for alarm in alarms]
    lines += [
        "# HELP pinwheel_plugin_failures_total Failures by plugin",
        "# TYPE pinwheel_plugin_failures_total counter",
    ]
    lines += [f'pinwheel_plugin_failures_total{{plugin="{p.name}"}} {p.failures}' for p in hub.plugins.values()]
    return "\n".join(lines) + "\n"
