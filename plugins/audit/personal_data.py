"""A user's part of the audit: exported for the user, and freed of network addresses when the user is deleted."""

from __future__ import annotations

from typing import Any

from hub import ROOT_ORG, Hub, Principal
from hub.api import VIEW_DEVICES
from plugins.audit.chain import RecordFilter
from plugins.audit.service import AuditService

#: Records, and actions, in one export; the export of the whole audit has all of them.
MAX_EXPORT = 10_000


class AuditedUsers:
    """Exports and erases the personal data in the audit (`hub_personal_data`)."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._service = hub.service(AuditService)

    async def export(self, user: str, asker: Principal) -> dict[str, Any]:
        """Return the newest records and actions of a user that the asker may see, and the number of all of them."""
        top = ROOT_ORG if asker.kind == "local" else asker.org
        orgs = None if top == ROOT_ORG else self._hub.organizations.below(top)
        records, changes = await self._service.chain.page(RecordFilter(orgs=orgs, about=user), 0, MAX_EXPORT)
        device_ids = [device.id for device in self._hub.access.devices_for(asker, VIEW_DEVICES, top)]
        values, writes = await self._service.actions.of_actor(user, device_ids, MAX_EXPORT)
        return {"changes": changes, "records": records, "writes": writes, "values": values}

    async def erase(self, user: str) -> None:
        await self._service.chain.erase_addresses(user)
