"""Dashboards over devices of two templates in three organizations, and requests for their widgets."""

from __future__ import annotations

import attrs
from support.api import api_client
from support.tenants import tenants
from support.values import write_value

from hub.domain.devices import NewDevice
from hub.model import SYSTEM

PROBE = """
[template]
id = "TMPL0probe"
name = "Probe"
[[datastream]]
pin = "V0"
name = "Heat"
type = "integer"
units = "°C"
tags = ["Temperature C"]
[[datastream]]
pin = "V1"
name = "Mode"
type = "string"
[[datastream]]
pin = "V2"
name = "Relay"
type = "integer"
min = 0
max = 1
[[datastream]]
pin = "V3"
name = "Unstored"
history = "off"
[[datastream]]
pin = "V4"
name = "Place"
type = "location"
[[event]]
code = "hot"
name = "Hot"
type = "critical"
[[event]]
code = "dry"
name = "Dry"
[[metadata]]
name = "Unit"
type = "unit_conversion_switch"
options = ["°C", "°F"]
[[metadata]]
name = "Hideout"
type = "coordinates"
view_roles = ["Admin"]
edit_roles = ["Admin"]
"""


@attrs.define
class Boards:
    """The world of `tenants`, whose Admins are developers, with thermometers and probes, and a client of one user."""

    world: object
    ask: object = None
    probe: object = None

    @property
    def hub(self):
        return self.world.hub

    async def device(self, org, name, template=None, owner=None):
        template = self.probe if template is None else template
        new = NewDevice(name=name, template=template, org=self.world.orgs[org], owner=owner)
        [(device, _)] = await self.hub.devices.add([new], SYSTEM)
        return device

    def write(self, device, pin, raw, ts=None):
        return write_value(self.hub, device, pin, raw, ts)

    async def create(self, *widgets, who=None, **fields):
        """Make a dashboard with one tab of widgets side by side; returns its JSON, or the response of an error."""
        body = {"name": "Board", "tabs": [{"name": "Main", "widgets": grid(widgets)}]} | fields
        return await self.as_user(who, "POST", "dashboard/create", body)

    async def as_user(self, who, method, path, body=None, **params):
        if who is None:
            return await self.ask(method, path, body, **params)
        async with api_client(self.world, who) as ask:
            return await ask(method, path, body, **params)

    async def data(self, dashboard, widget=1, who=None, **view):
        """The data of a widget, or the response of an error."""
        body = {"dashboardId": dashboard["id"], "widgetId": widget} | view
        return await self.as_user(who, "POST", "dashboard/data", body)

    async def show(self, type_, options=None, devices=None, who=None, board=None, **view):
        """The data of a widget on a new dashboard with the fields ``board``."""
        widget = {"type": type_, "options": options or {}} | ({"devices": devices} if devices else {})
        dashboard = await self.create(widget, **(board or {}))
        assert isinstance(dashboard, dict), dashboard.message
        try:
            return await self.data(dashboard, who=who, **view)
        finally:
            await self.ask("DELETE", "dashboard", dashboardId=dashboard["id"])


def grid(widgets):
    """Widgets with their places in the grid, three in a row."""
    return [{"x": n % 3 * 8, "y": n // 3 * 4, "width": 8} | widget for n, widget in enumerate(widgets)]


def label(pin="V0", aggregate="avg", **metric):
    """The options of a label."""
    return {"metric": {"pin": pin, "aggregate": aggregate} | metric}


async def boards(hub):
    world = await tenants(hub)
    created = Boards(world)
    created.probe, _ = await hub.templates.save(PROBE, SYSTEM)
    enabled = frozenset({world.template.id, created.probe.id})
    for name in ("acme", "works", "beta"):
        await hub.organizations.change(world.orgs[name], SYSTEM, templates=enabled)
    for name in ("ada", "bert", "rita"):
        await world.service.users.change(world.users[name], developer=True)
    for name, user in world.users.items():
        # Sessions end after an hour of the tests' clock.
        _, world.tokens[name] = await world.service.credentials.add_key(user, "Test", None, None)
    return created
