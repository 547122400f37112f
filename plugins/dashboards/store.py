"""The dashboards of all organizations, and who may view and edit them.

A dashboard belongs to the organization that it was created in, and is edited there only. It is shared with the
organizations of its data source below that one.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import attrs
import trio

from hub import Conflict, NotFound, OrganizationChanged, Principal, Rejected
from hub.api import VIEW_DEVICES, from_json, to_json
from plugins.dashboards.model import MAX_DOCUMENT, MAX_OF_ORG, FleetDashboard

if TYPE_CHECKING:
    from hub import Hub, Transaction

log = logging.getLogger(__name__)

#: The permission to create and edit dashboards (docs.blynk.io: Manage Dashboards).
EDIT = "dashboards.edit"


class Dashboards:
    """All dashboards, in memory and in the table ``dashboards``."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.by_id: dict[int, FleetDashboard] = {}
        #: The dashboard that is the homepage of an organization, by the organization's id.
        self._homepages: dict[int, int] = {}
        #: Held from the checks to the update of memory, so that memory and disk remain the same.
        self._lock = trio.Lock()
        hub.subscribe(OrganizationChanged, self._on_organization_changed)

    async def load(self) -> None:
        """Read all dashboards from the database."""
        configuration = self._hub.storage.configuration
        rows = await configuration.fetch_all("SELECT id, org, name, version, document FROM dashboards")
        for row_id, org, name, version, document in rows:
            stored = from_json(json.loads(document), FleetDashboard)
            self.by_id[row_id] = attrs.evolve(stored, id=row_id, org=org, name=name, version=version)
            await trio.lowlevel.checkpoint()
        self._homepages = dict(await configuration.fetch_all("SELECT org, dashboard FROM dashboards_homepages"))

    def _on_organization_changed(self, fact: OrganizationChanged) -> None:
        if fact.gone:
            org = fact.organization.id
            self._homepages.pop(org, None)
            for dashboard in self.of_org(org):
                self._forget(dashboard)

    def _forget(self, dashboard: FleetDashboard) -> None:
        self.by_id.pop(dashboard.id, None)
        self._homepages = {org: id_ for org, id_ in self._homepages.items() if id_ != dashboard.id}

    # -- rights ---------------------------------------------------------------------------------------------------

    def may_edit(self, principal: Principal, dashboard: FleetDashboard) -> bool:
        return self._hub.is_allowed(principal, EDIT, org=dashboard.org)

    def may_view(self, principal: Principal, dashboard: FleetDashboard) -> bool:
        """Whether a principal may view a dashboard: who may edit it, and the roles to which it is open.

        A principal with such a role must be able to view devices of the dashboard's organization, or of its own if the
        dashboard is shared with that.
        """
        if self.may_edit(principal, dashboard):
            return True
        if self._hub.directory.role_of(principal) not in dashboard.view_roles:
            return False
        orgs = [dashboard.org, *([principal.org] if self.is_shared(dashboard, principal.org) else [])]
        return any(self._hub.is_allowed(principal, VIEW_DEVICES, org=org) for org in orgs)

    def is_shared(self, dashboard: FleetDashboard, org: int) -> bool:
        """Whether a dashboard of an organization above is shared with an organization."""
        chosen = dashboard.source.organizations
        is_below = org != dashboard.org and self._hub.organizations.contains(dashboard.org, org)
        return is_below and (not chosen or org in chosen)

    def dashboard_for(self, principal: Principal, dashboard_id: int, *, edit: bool = False) -> FleetDashboard:
        """Return a dashboard that a principal may view, or edit. Raises `NotFound`."""
        dashboard = self.by_id.get(dashboard_id)
        may = self.may_edit if edit else self.may_view
        if dashboard is None or not may(principal, dashboard):
            raise self._not_found(dashboard_id)
        return dashboard

    @staticmethod
    def _not_found(dashboard_id: int) -> NotFound:
        return NotFound(
            f"Dashboard with identifier {dashboard_id} is not found or you don't have access to it. A dashboard is"
            " edited in the organization that it was created in."
        )

    def in_organization(self, principal: Principal, org: int) -> list[FleetDashboard]:
        """Return the dashboards of an organization, and those shared with it, that a principal may view, by name."""
        path = list(self._hub.organizations.path(org))
        dashboards = [dashboard for owner in path for dashboard in self.of_org(owner.id)]
        return sorted(
            (
                dashboard
                for dashboard in dashboards
                if (dashboard.org == org or self.is_shared(dashboard, org)) and self.may_view(principal, dashboard)
            ),
            key=lambda dashboard: (dashboard.name.lower(), dashboard.id),
        )

    def of_org(self, org: int) -> list[FleetDashboard]:
        """Return the dashboards that were created in an organization."""
        return [dashboard for dashboard in self.by_id.values() if dashboard.org == org]

    # -- changes --------------------------------------------------------------------------------------------------

    async def save(self, dashboard: FleetDashboard) -> FleetDashboard:
        """Add a dashboard (with id 0) or update one, and return it as saved. What it shows has been checked before.

        Raises `Rejected` if it is too large, `Conflict`; `NotFound` when it was deleted.
        """
        document = json.dumps(to_json(attrs.evolve(dashboard, id=0, org=0, name="", version=0)))
        if len(document) > MAX_DOCUMENT:
            size, most = len(document) // 1024 + 1, MAX_DOCUMENT // 1024
            raise Rejected(f"the dashboard has {size} KiB as JSON, and at most {most} are allowed; use fewer widgets")
        async with self._lock:
            if dashboard.id and dashboard.id not in self.by_id:
                raise self._not_found(dashboard.id)
            self._check_others(dashboard)
            version = dashboard.version + 1

            async def write(tx: Transaction) -> int:
                if not dashboard.id:
                    row = {"org": dashboard.org, "name": dashboard.name, "version": version, "document": document}
                    return await tx.insert("dashboards", **row)
                sql = "UPDATE dashboards SET name = ?, version = ?, document = ? WHERE id = ?"
                await tx.execute(sql, (dashboard.name, version, document, dashboard.id))
                return dashboard.id

            saved = attrs.evolve(dashboard, id=await self._hub.storage.transaction(write), version=version)
            self.by_id[saved.id] = saved
            return saved

    def _check_others(self, dashboard: FleetDashboard) -> None:
        others = [other for other in self.of_org(dashboard.org) if other.id != dashboard.id]
        if any(other.name == dashboard.name for other in others):
            raise Conflict(f"there is a dashboard named {dashboard.name!r} already")
        if len(others) >= MAX_OF_ORG:
            raise Conflict(f"an organization can have at most {MAX_OF_ORG} dashboards; delete one first")

    async def remove(self, dashboard: FleetDashboard) -> None:
        """Delete a dashboard."""

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM dashboards WHERE id = ?", (dashboard.id,))

        async with self._lock:
            await self._hub.storage.transaction(write)
            self._forget(dashboard)

    # -- homepages ------------------------------------------------------------------------------------------------

    def homepage(self, org: int) -> int | None:
        """Return the id of the dashboard that is the homepage of an organization, or None."""
        return self._homepages.get(org)

    async def set_homepage(self, org: int, dashboard: FleetDashboard | None) -> None:
        """Make a dashboard the homepage of an organization, or none. Raises `NotFound` when it was deleted."""

        async def write(tx: Transaction) -> None:
            if dashboard is None:
                await tx.execute("DELETE FROM dashboards_homepages WHERE org = ?", (org,))
            else:
                await tx.upsert("dashboards_homepages", ("org",), org=org, dashboard=dashboard.id)

        async with self._lock:
            if dashboard is not None and dashboard.id not in self.by_id:
                raise self._not_found(dashboard.id)
            await self._hub.storage.transaction(write)
            self._homepages.pop(org, None)
            if dashboard is not None:
                self._homepages[org] = dashboard.id
