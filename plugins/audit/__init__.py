"""The audit: who changed what in the whole hub, and who wrote which value of each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub import (
    Change,
    ClockRepaired,
    Migration,
    Panel,
    PanelColumn,
    Permission,
    Route,
    StampColumns,
    ValueSet,
    hookimpl,
)
from hub.storage import shipped_migrations
from plugins.audit.personal_data import AuditedUsers
from plugins.audit.routes import routes
from plugins.audit.service import AuditService, Settings

if TYPE_CHECKING:
    import trio

    from hub import Hub
    from hub.domain import PersonalData

ESSENTIAL = True


@hookimpl
def hub_config() -> type:
    return Settings


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("audit", "plugins.audit")


@hookimpl
def hub_stamps() -> Sequence[StampColumns]:
    # Records of the audit keep their stamps: they are part of its hashes.
    return [StampColumns("audit_actions", ("ts",), device="device")]


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [
        Permission("users.log", "View user actions log"),
        Permission("audit.verify", "Verify the audit", root=True),
    ]


@hookimpl
async def hub_changed(hub: Hub, change: Change) -> None:
    await hub.service(AuditService).chain.append(change)


@hookimpl
def hub_personal_data(hub: Hub) -> PersonalData:
    return AuditedUsers(hub)


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    service = hub.service(AuditService)
    hub.subscribe(ValueSet, service.actions.record)
    hub.subscribe(ClockRepaired, lambda fact: service.actions.correct_stamps(fact.correction))
    nursery.start_soon(service.actions.run)
    nursery.start_soon(service.prune)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    return routes(hub, hub.service(AuditService))


@hookimpl
def hub_panels() -> Sequence[Panel]:
    columns = (
        PanelColumn("ts", "Time", "time"),
        PanelColumn("name", "User"),
        PanelColumn("action", "Action"),
        PanelColumn("subject", "Subject"),
        PanelColumn("address", "Address"),
    )
    return [Panel("audit", "Audit", "TABLE", "/api/v1/audit", columns)]
