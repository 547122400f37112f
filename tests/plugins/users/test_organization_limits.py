"""What organizations impose on those below: quotas and enabled templates."""

from __future__ import annotations

import trio
from support.tenants import ORG

from hub.model import SYSTEM
from plugins.users.model import USER


async def test_quotas_hold_for_concurrent_requests_and_transfers(world):
    acme, beta = world.orgs["acme"], world.orgs["beta"]
    await world.hub.organizations.change(acme, SYSTEM, quotas={"devices": 1, "users": 5})
    statuses = []

    async def add(path, body):
        statuses.append((await world.ask("ada", "POST", f"{ORG}/{path}", body)).status)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(add, "device/create", {"templateId": "TMPL0thermo", "name": "D"})
            nursery.start_soon(add, "users/invite", {"email": f"n{number}@example.org"})
    assert 2 == statuses.count(201)
    [device] = world.hub.devices.by_org[acme].values()
    await world.hub.devices.transfer(device, world.orgs["works"], None, SYSTEM)
    moved = {"userId": world.users["bert"].id, "targetOrgId": acme, "roleId": USER}
    assert 409 == (await world.ask("rita", "POST", f"{ORG}/users/transfer", moved)).status
    await world.hub.organizations.change(beta, SYSTEM, quotas={"users": 1})
    under = {"orgId": acme, "parentId": beta}
    assert 409 == (await world.ask("rita", "POST", f"{ORG}/transfer", under)).status


async def test_template_disabled_in_an_organization_is_disabled_below(world):
    body = {"orgId": world.orgs["acme"], "templates": []}
    assert 200 == (await world.ask("rita", "PUT", ORG, body)).status
    new = {"templateId": "TMPL0thermo", "name": "D", "orgId": world.orgs["works"]}
    assert 404 == (await world.ask("ada", "POST", f"{ORG}/device/create", new)).status
