"""A hub with several organizations, and users in them."""

from __future__ import annotations

import attrs
from support.raw_http import connected

from hub.domain.devices import NewDevice
from hub.model import ROOT_ORG, SYSTEM, Organization
from plugins.users.model import ADMIN, STAFF, USER, User
from plugins.users.passwords import blynk_hash
from plugins.users.service import UsersService

ORG = "/api/v1/organization"
PASSWORD = "correct horse battery"

THERMOMETER = """
[template]
id = "TMPL0thermo"
name = "Thermometer"
[[datastream]]
pin = "V0"
name = "Temperature"
type = "double"
[[event]]
code = "hot"
name = "Hot"
type = "warning"
[[metadata]]
name = "Room"
type = "text"
"""


@attrs.define
class Tenants:
    """Organizations, users and access tokens by name, and requests as any user."""

    hub: object
    orgs: dict = attrs.Factory(dict)
    users: dict = attrs.Factory(dict)
    tokens: dict = attrs.Factory(dict)
    template: object = None

    @property
    def service(self):
        return self.hub.service(UsersService)

    async def org(self, name, parent=None):
        new = Organization(
            id=0, name=name, parent=self.orgs.get(parent, ROOT_ORG), templates=frozenset({self.template.id})
        )
        self.orgs[name] = (await self.hub.organizations.add(new, SYSTEM)).id
        return self.orgs[name]

    async def user(self, name, org, role=USER, password=None):
        """Add a user with a session; a user with a password can also log in."""
        email = f"{name}@example.org"
        hashed = None if password is None else blynk_hash(email, password)
        user = await self.service.users.add(User(id=0, org=org, email=email, role=role), hashed)
        self.users[name] = user
        self.tokens[name] = (
            await self.service.credentials.open_session(user=user, address="test", agent="test")
        ).access_token
        return user

    async def device(self, org, owner=None, name="Device"):
        new = NewDevice(name=name, template=self.template, org=org, owner=owner)
        [(device, _)] = await self.hub.devices.add([new], SYSTEM)
        return device

    async def ask(self, who, method, path, body=None):
        """Send a request as a user, by name."""
        async with connected(self.hub) as http:
            return await http.ask(method, path, body, self.tokens[who])


async def tenants(hub):
    """root > acme > works, and beta beside acme. In acme: ada (Admin), stan (Staff), uma (User); in beta: bert (Admin)."""
    world = Tenants(hub)
    world.template, _ = await hub.templates.save(THERMOMETER, SYSTEM)
    world.orgs["root"] = ROOT_ORG
    await world.org("acme")
    await world.org("works", "acme")
    await world.org("beta")
    for name, role in (("ada", ADMIN), ("stan", STAFF), ("uma", USER)):
        await world.user(name, world.orgs["acme"], role)
    await world.user("rita", ROOT_ORG, ADMIN)
    await world.user("bert", world.orgs["beta"], ADMIN)
    return world
