"""The state of the hub over HTTP: how it does, its plugins, who was turned away."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
from hub.domain.units import UNITS, Unit

from hub.alarms import Alarm
from hub.api import AUTHENTICATED, Request, Route
from hub.net.listener import Served

if TYPE_CHECKING:
    from hub.app import Hub


@attrs.frozen(kw_only=True)
class HubStatus:
    """``problems`` are sentences; ``uptime`` is in seconds."""

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


@attrs.frozen(kw_only=True)
class PluginState:
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
    """Somebody was turned away, or something of theirs; ``at`` is in ms UTC."""

    at: int
    address: str
    reason: str
    device: int | None


def routes(hub: Hub) -> Sequence[Route]:
    async def status(_request: Request) -> HubStatus:
        problems = hub.active_alarms()
        worst = "critical" if any(p.critical for p in problems) else "warning" if problems else "ok"
        door = hub.listener
        return HubStatus(
            name=hub.organizations.root.name,
            version=hub.version,
            uptime=int(time.monotonic() - hub.started),
            status=worst,
            problems=list(problems),
            listen=door.described() if door else [],
            devices=len(hub.devices.by_id),
            online=len(hub.sessions),
            templates=len(hub.templates.by_id),
            connections=door.connections if door else 0,
            values_stored=hub.history.stored,
            refused=hub.rejections.count,
            disk_free=hub.storage.free_share(),
        )

    async def known_units(_request: Request) -> list[Unit]:
        """A value times ``factor``, plus ``offset``, is the value in the first unit of the group.

        ``other`` is what it is where the other system of units is used.
        """
        return list(UNITS.values())

    async def plugins(_request: Request) -> list[PluginState]:
        return [
            PluginState(
                name=p.name,
                origin=p.origin,
                version=p.version,
                state=p.state,
                problem=p.problem,
                failures=p.failures,
                longest_hold_ms=int(p.held * 1000),
                hooks=p.hooks,
            )
            for p in hub.plugins.values()
        ]

    async def refusals(_request: Request) -> list[Refusal]:
        return [Refusal(**attrs.asdict(refusal)) for refusal in hub.rejections.recent]

    return [
        Route("GET", "/api/v1/status", status, "hub.view", "The state of the hub"),
        Route("GET", "/api/v1/units", known_units, AUTHENTICATED, "The units that values can be shown in"),
        Route("GET", "/api/v1/plugins", plugins, "hub.view", "Every plugin and its state"),
        Route("GET", "/api/v1/refusals", refusals, "hub.view", "The last 1,000 refused connections and values"),
    ]
