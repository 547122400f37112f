"""Routes of the hub's own state: status and alarms, plugins, refused connections; and the table of units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import AUTHENTICATED, Alarm, Request, Route
from hub.domain import UNITS, Unit
from hub.net import Served
from plugins.platform_api.hub_load import HubLoad, memory_bytes

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class HubStatus:
    """The state of the hub.

    ``status`` is "ok", "warning" or "critical", by the worst of ``problems``; ``uptime`` is in seconds, ``disk_free``
    the free share of the disk, 0 to 1. ``cpu_percent`` is the share of one core in the last minute or two, and
    ``values_per_second`` counts the values accepted in the last hour; after a start, the time since then.
    ``values_waiting`` are accepted, and not committed yet. ``last_backup`` is when the last complete one was made, in
    ms UTC.
    """

    name: str
    version: str
    uptime: int
    status: str
    problems: list[Alarm]
    listen: list[Served]
    devices: int
    online: int
    templates: int
    connections: int
    values_stored: int
    refused: int
    disk_free: float | None
    cpu_percent: float
    memory_bytes: int
    values_waiting: int
    values_per_second: float
    last_backup: int | None


@attrs.frozen(kw_only=True)
class PluginState:
    """A plugin; ``longest_hold_ms`` is the longest that one of its hooks has blocked the hub."""

    name: str
    origin: str
    version: str
    state: str
    problem: str
    failures: int
    longest_hold_ms: int
    hooks: list[str]


@attrs.frozen(kw_only=True)
class Refusal:
    """A client, or something that a client sent, was refused; ``at`` is in ms UTC."""

    at: int
    address: str
    reason: str
    device: int | None


class StatusRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def status(self, _request: Request) -> HubStatus:
        hub = self._hub
        alarms = hub.active_alarms()
        listener, load = hub.listener, hub.service(HubLoad)
        return HubStatus(
            name=hub.organizations.root.name,
            version=hub.version,
            uptime=int(hub.clock.monotonic() - hub.started),
            status="critical" if any(alarm.critical for alarm in alarms) else "warning" if alarms else "ok",
            problems=list(alarms),
            listen=listener.described() if listener else [],
            devices=len(hub.devices.by_id),
            online=len(hub.sessions),
            templates=len(hub.templates.by_id),
            connections=listener.connections if listener else 0,
            values_stored=hub.history.stored,
            refused=hub.rejections.count,
            disk_free=hub.storage.free_share(),
            cpu_percent=load.cpu_percent,
            memory_bytes=memory_bytes(),
            values_waiting=hub.history.waiting,
            values_per_second=load.values_per_second,
            last_backup=hub.last_backup,
        )

    async def units(self, _request: Request) -> list[Unit]:
        """``value * factor + offset`` is the value in the first unit of the group.

        ``other`` is the unit's equivalent in the other system of measurement.
        """
        return list(UNITS.values())

    async def plugins(self, _request: Request) -> list[PluginState]:
        return [
            PluginState(
                name=plugin.name,
                origin=plugin.origin,
                version=plugin.version,
                state=plugin.state,
                problem=plugin.problem,
                failures=plugin.failures,
                longest_hold_ms=int(plugin.held * 1000),
                hooks=plugin.hooks,
            )
            for plugin in self._hub.plugins.values()
        ]

    async def refusals(self, _request: Request) -> list[Refusal]:
        return [Refusal(**attrs.asdict(refusal)) for refusal in self._hub.rejections.recent]


def routes(hub: Hub) -> Sequence[Route]:
    api = StatusRoutes(hub)
    return [
        Route("GET", "/api/v1/status", api.status, "hub.view", "The state of the hub"),
        Route("GET", "/api/v1/units", api.units, AUTHENTICATED, "The units that values can be shown in"),
        Route("GET", "/api/v1/plugins", api.plugins, "hub.view", "Every plugin and its state"),
        Route("GET", "/api/v1/refusals", api.refusals, "hub.view", "The last 1,000 refused connections and values"),
    ]
