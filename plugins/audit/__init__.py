"""The audit: who changed what in the whole hub, and who wrote which value of each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hub import (
    ROOT_ORG,
    Change,
    ClockRepaired,
    Migration,
    Panel,
    PanelColumn,
    Permission,
    Principal,
    Route,
    StampColumns,
    ValueSet,
    hookimpl,
)
from hub.api import VIEW_DEVICES
from hub.storage import shipped_migrations
from plugins.audit.chain import RecordFilter
from plugins.audit.routes import routes
from plugins.audit.service import AuditService, Settings

if TYPE_CHECKING:
    import trio

    from hub import Hub

ESSENTIAL = True
#: Records, and actions, in the export of a user's personal data; the export of the audit has all records.
MAX_EXPORT = 10_000


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
async def hub_personal_data(hub: Hub, who: str, asker: Principal) -> dict[str, Any]:
    """Return the newest records and actions of a user that the asker may see, and the number of all of them."""
    service = hub.service(AuditService)
    top = ROOT_ORG if asker.kind == "local" else asker.org
    record_filter = RecordFilter(orgs=None if top == ROOT_ORG else hub.organizations.below(top), about=who)
    records, changes = await service.chain.page(record_filter, 0, MAX_EXPORT)
    device_ids = [device.id for device in hub.access.devices_for(asker, VIEW_DEVICES, top)]
    values, writes = await service.actions.of_actor(who, device_ids, MAX_EXPORT)
    return {"changes": changes, "records": records, "writes": writes, "values": values}


@hookimpl
async def hub_forget(hub: Hub, who: str) -> None:
    await hub.service(AuditService).chain.erase_addresses(who)


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
