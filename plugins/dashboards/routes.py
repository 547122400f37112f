"""Dashboards over many devices over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from hub import AUTHENTICATED, LARGE_BODY, Created, NotFound, Principal, Request, Route
from hub.api import PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, page_of
from plugins.dashboards.answers import WidgetData
from plugins.dashboards.controls import CONTROL, Controls, WriteResults
from plugins.dashboards.model import (
    DashboardTab,
    DashboardWidget,
    DataSource,
    DeviceSelection,
    FleetDashboard,
    Range,
    WidgetKind,
)
from plugins.dashboards.options import WIDGETS, describe
from plugins.dashboards.selection import Selector, ViewerFilters
from plugins.dashboards.store import EDIT, Dashboards
from plugins.dashboards.validation import Validator
from plugins.dashboards.widget_data import View, WidgetQueries

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class DashboardSummary:
    """Dashboard in a list. ``org_id`` is null if it is shared by an organization that the client may not see.

    ``homepage``: it is the homepage of the organization that the list is about.
    """

    id: int
    org_id: int | None
    name: str
    range_: Range
    editable: bool
    homepage: bool
    tabs: list[str]
    widgets: int


@attrs.frozen(kw_only=True)
class DashboardObject:
    """Dashboard as JSON. Clients that cannot edit it do not get its roles, nor which devices a widget has.

    They get those of the ``source``, and of the devices on images, that they may see.
    """

    id: int
    org_id: int | None
    version: int
    name: str
    range_: Range
    editable: bool
    source: DataSource
    view_roles: list[int]
    tabs: list[DashboardTab]


@attrs.frozen(kw_only=True)
class NewDashboard:
    """New dashboard, by default of the client's organization. Without ``view_roles``, the client's role may view it."""

    name: str
    org_id: int | None = None
    source: DataSource = attrs.Factory(DataSource)
    range_: Range = "1d"
    view_roles: list[int] | None = None
    tabs: list[DashboardTab] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class EditDashboard:
    """Changes of a dashboard: absent fields stay as they are. ``tabs`` are all tabs, with the ids of their widgets."""

    dashboard_id: int
    name: str | None = None
    source: DataSource | None = None
    range_: Range | None = None
    view_roles: list[int] | None = None
    tabs: list[DashboardTab] | None = None


@attrs.frozen(kw_only=True)
class Homepage:
    """The dashboard that is the homepage of an organization, the client's by default; null is none."""

    dashboard_id: int | None = None
    org_id: int | None = None


@attrs.frozen(kw_only=True)
class WidgetRequest(View):
    """Request for the data of one widget."""

    dashboard_id: int
    widget_id: int


@attrs.frozen(kw_only=True)
class WidgetWrite:
    """Value of a switch or slider for the devices of the widget, narrowed by the viewer's ``filters``."""

    dashboard_id: int
    widget_id: int
    value: float
    filters: ViewerFilters = attrs.Factory(ViewerFilters)


@attrs.frozen(kw_only=True)
class FilterChoice:
    """An organization or template to filter by, and how many devices it has for the viewer."""

    id: int | str
    name: str
    devices: int


@attrs.frozen(kw_only=True)
class FilterChoices:
    organizations: list[FilterChoice]
    templates: list[FilterChoice]


@attrs.frozen(kw_only=True)
class WidgetDescription:
    """A type of widget. ``refresh_s`` is how often a client should ask for new data, in seconds.

    ``ranged``: its data are of the dashboard's range. Each option has a name, a type, limits or choices, and a default.
    """

    type: WidgetKind
    label: str
    group: str
    ranged: bool
    refresh_s: int
    options: list[dict[str, Any]]


class DashboardRoutes:
    def __init__(self, hub: Hub, dashboards: Dashboards) -> None:
        self._hub = hub
        self._dashboards = dashboards
        self._selector = Selector(hub)
        self._validator = Validator(hub, self._selector)
        self._queries = WidgetQueries(hub, self._selector)
        self._controls = Controls(hub, self._selector)

    # -- reading --------------------------------------------------------------------------------------------------

    async def of_organization(
        self, request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = PAGE
    ) -> Page[DashboardSummary]:
        org = self._hub.access.organization_for(request, org_id)
        dashboards = self._dashboards.in_organization(request.principal, org.id)
        return page_of(dashboards, page, size, partial(self._summary, request.principal, org.id))

    async def info(self, request: Request, dashboard_id: int) -> DashboardObject:
        dashboard = self._dashboards.dashboard_for(request.principal, dashboard_id)
        request.version(dashboard.id, dashboard.version)
        return self._to_object(request.principal, dashboard)

    async def widget_types(self, _request: Request) -> list[WidgetDescription]:
        return [
            WidgetDescription(
                type=name,
                label=widget.label,
                group=widget.group,
                ranged=widget.ranged,
                refresh_s=widget.refresh_s,
                options=describe(widget.options),
            )
            for name, widget in WIDGETS.items()
        ]

    async def filter_choices(self, request: Request, dashboard_id: int) -> FilterChoices:
        """Organizations and templates with devices that the caller may view."""
        dashboard = self._dashboards.dashboard_for(request.principal, dashboard_id)
        devices = await self._selector.all_devices(dashboard, request.principal)
        orgs = Counter(device.org for device in devices)
        templates = Counter((device.template.id, device.template.name) for device in devices)
        return FilterChoices(
            organizations=[
                FilterChoice(id=org, name=self._hub.organizations.get(org).name, devices=count)
                for org, count in sorted(orgs.items())
            ],
            templates=[
                FilterChoice(id=id_, name=name, devices=count) for (id_, name), count in sorted(templates.items())
            ],
        )

    async def data(self, request: Request) -> WidgetData:
        body: WidgetRequest = request.body
        dashboard = self._dashboards.dashboard_for(request.principal, body.dashboard_id)
        return await self._queries.data(dashboard, _widget_of(dashboard, body.widget_id), request.principal, body)

    # -- writing --------------------------------------------------------------------------------------------------

    async def write(self, request: Request) -> WriteResults:
        body: WidgetWrite = request.body
        dashboard = self._dashboards.dashboard_for(request.principal, body.dashboard_id)
        widget = _widget_of(dashboard, body.widget_id)
        return await self._controls.write(dashboard, widget, body.value, body.filters, request.principal)

    async def create(self, request: Request) -> Created[DashboardObject]:
        body: NewDashboard = request.body
        org = self._hub.access.organization_for(request, body.org_id)
        roles = body.view_roles
        if roles is None:
            role = self._hub.directory.role_of(request.principal)
            roles = [] if role is None else [role]
        dashboard = FleetDashboard(
            org=org.id, name=body.name, source=body.source, range_=body.range_, view_roles=roles, tabs=body.tabs
        )
        saved = await self._save(request, dashboard, None)
        request.subject = f"dashboard {saved.id}"
        return Created(value=self._to_object(request.principal, saved))

    async def edit(self, request: Request) -> DashboardObject:
        body: EditDashboard = request.body
        before = self._editable(request, body.dashboard_id)
        fields = ("name", "source", "range_", "view_roles", "tabs")
        changes = {name: value for name in fields if (value := getattr(body, name)) is not None}
        saved = await self._save(request, attrs.evolve(before, **changes), before)
        request.version(saved.id, saved.version)
        return self._to_object(request.principal, saved)

    async def _save(self, request: Request, dashboard: FleetDashboard, before: FleetDashboard | None) -> FleetDashboard:
        # An author selects templates and their datastreams (docs.blynk.io, Creating a Dashboard).
        self._hub.authorize(request.principal, "templates.view", org=dashboard.org)
        return await self._dashboards.save(await self._validator.checked(dashboard, before, request.principal))

    async def delete(self, request: Request, dashboard_id: int) -> None:
        await self._dashboards.remove(self._editable(request, dashboard_id))

    def _editable(self, request: Request, dashboard_id: int) -> FleetDashboard:
        """Return the dashboard that a request edits, for the audit too. Raises `NotFound`, `Outdated`."""
        dashboard = self._dashboards.dashboard_for(request.principal, dashboard_id, edit=True)
        request.subject, request.org = f"dashboard {dashboard.id}", dashboard.org
        request.expect(dashboard.id, dashboard.version)
        return dashboard

    async def set_homepage(self, request: Request) -> None:
        body: Homepage = request.body
        org = self._hub.access.organization_for(request, body.org_id)
        request.subject = f"organization {org.id}"
        dashboard = None
        if body.dashboard_id is not None:
            dashboard = self._dashboards.dashboard_for(request.principal, body.dashboard_id)
            if dashboard.org != org.id and not self._dashboards.is_shared(dashboard, org.id):
                raise NotFound(f"Dashboard with identifier {dashboard.id} is not found or not shared with {org.name}.")
        await self._dashboards.set_homepage(org.id, dashboard)

    # -- objects --------------------------------------------------------------------------------------------------

    def _summary(self, principal: Principal, org: int, dashboard: FleetDashboard) -> DashboardSummary:
        return DashboardSummary(
            id=dashboard.id,
            org_id=self._visible_origin(principal, dashboard),
            name=dashboard.name,
            range_=dashboard.range_,
            editable=self._dashboards.may_edit(principal, dashboard),
            homepage=self._dashboards.homepage(org) == dashboard.id,
            tabs=[tab.name for tab in dashboard.tabs],
            widgets=sum(1 for _ in dashboard.widgets()),
        )

    def _visible_origin(self, principal: Principal, dashboard: FleetDashboard) -> int | None:
        """Return the organization of a dashboard; None for one that the principal may not know, above its own."""
        return dashboard.org if self._hub.is_allowed(principal, VIEW_DEVICES, org=dashboard.org) else None

    def _to_object(self, principal: Principal, dashboard: FleetDashboard) -> DashboardObject:
        editable = self._dashboards.may_edit(principal, dashboard)
        return DashboardObject(
            id=dashboard.id,
            org_id=self._visible_origin(principal, dashboard),
            version=dashboard.version,
            name=dashboard.name,
            range_=dashboard.range_,
            editable=editable,
            source=dashboard.source if editable else self._visible_source(principal, dashboard),
            view_roles=dashboard.view_roles if editable else [],
            tabs=dashboard.tabs if editable else [self._visible_tab(principal, tab) for tab in dashboard.tabs],
        )

    def _visible_source(self, principal: Principal, dashboard: FleetDashboard) -> DataSource:
        own = self._hub.organizations.get(principal.org)
        templates = (template for template in self._selector.templates(dashboard) if own.has(template))
        chosen = dashboard.source
        return DataSource(
            templates=[template.id for template in templates] if chosen.templates else [],
            organizations=[
                org for org in chosen.organizations if self._hub.is_allowed(principal, VIEW_DEVICES, org=org)
            ],
        )

    def _visible_tab(self, principal: Principal, tab: DashboardTab) -> DashboardTab:
        return attrs.evolve(tab, widgets=[self._visible_widget(principal, widget) for widget in tab.widgets])

    def _visible_widget(self, principal: Principal, widget: DashboardWidget) -> DashboardWidget:
        options = widget.options
        if widget.type == "image_map":
            spots = [spot for spot in options["spots"] if self._is_visible(principal, spot["deviceId"])]
            options = options | {"spots": spots}
        return attrs.evolve(widget, devices=DeviceSelection(), options=options)

    def _is_visible(self, principal: Principal, device_id: int) -> bool:
        device = self._hub.devices.by_id.get(device_id)
        return device is not None and self._hub.is_allowed(principal, VIEW_DEVICES, device)


def _widget_of(dashboard: FleetDashboard, widget_id: int) -> DashboardWidget:
    """Return a widget of a dashboard. Raises `NotFound`."""
    for widget in dashboard.widgets():
        if widget.id == widget_id:
            return widget
    raise NotFound(f"Widget with identifier {widget_id} is not found; the dashboard may have been edited meanwhile.")


def routes(hub: Hub, dashboards: Dashboards) -> Sequence[Route]:
    api = DashboardRoutes(hub, dashboards)
    path = "/api/v1/dashboard"
    options: dict[str, Any] = {"lock": "dashboard", "max_body": LARGE_BODY}
    view, write = "The data of a widget", "Write a value to all devices of a widget"
    return [
        Route("GET", f"{path}s", api.of_organization, VIEW_DEVICES, "The dashboards of an organization"),
        Route("GET", path, api.info, VIEW_DEVICES, "One dashboard"),
        Route("POST", f"{path}/create", api.create, EDIT, "Make a dashboard", NewDashboard, **options),
        Route("PUT", path, api.edit, EDIT, "Edit a dashboard", EditDashboard, **options),
        Route("DELETE", path, api.delete, EDIT, "Delete a dashboard", lock="dashboard"),
        Route("PUT", f"{path}/homepage", api.set_homepage, EDIT, "Select an organization's homepage", Homepage),
        Route("GET", f"{path}/widgets", api.widget_types, AUTHENTICATED, "The types of widgets of dashboards"),
        Route("GET", f"{path}/filters", api.filter_choices, VIEW_DEVICES, "What viewers can filter a dashboard by"),
        Route("POST", f"{path}/data", api.data, VIEW_DEVICES, view, WidgetRequest, audited=False),
        # Quiet: the log of each device's actions records the value with its writer.
        Route("POST", f"{path}/write", api.write, CONTROL, write, WidgetWrite, audited=False),
    ]
