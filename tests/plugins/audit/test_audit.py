"""The audit log: which requests it records, and the detection of inserted records."""

from __future__ import annotations

import pytest
import trio
from support.raw_http import ask, local_key
from support.tenants import ORG

from plugins.users.model import STAFF


async def audited(world):
    """Return the audit log: who did what to what, and the details."""
    response = await ask(world.hub, "GET", "/api/v1/audit?size=1000", key=local_key(world.hub))
    return [
        (record["who"], record["action"], record["subject"], record["details"]) for record in response.json["content"]
    ]


async def test_rejected_requests_are_not_audited(world):
    for path, body in (
        ("/account", b"code=x&password=y&again=y"),
        ("/oauth2/token", b"grant_type=nonsense"),
        ("/oauth2/authorize", b"client_id=x"),
        ("/api/v1/login", b'{"email": "x", "password": "y"}'),
        ("/external/api/batch/update?token=x&pin=v0", b"[]"),
    ):
        await ask(world.hub, "POST", path, body, Content_Type="application/json")
    assert [] == await audited(world)


async def test_audit_records_query_parameters(world):
    uma = world.users["uma"].id
    await world.ask("ada", "PUT", f"{ORG}/users/role?userId={uma}&roleId={STAFF}", b"")
    details = {"userId": str(uma), "roleId": str(STAFF)}
    ada = f"user {world.users['ada'].id}"
    assert [(ada, "Change a user's role", f"user {uma}", details)] == await audited(world)


async def test_audit_records_remain_after_an_organization_is_deleted(world):
    created = (await world.ask("ada", "POST", f"{ORG}/create", {"name": "Brief"})).json
    await world.ask("ada", "DELETE", f"{ORG}?orgId={created['id']}&everything=true")
    assert {"Create an organization", "Delete an organization"} == {action for _, action, _, _ in await audited(world)}


async def test_partially_applied_request_is_audited(world):
    await world.user("wim", world.orgs["works"])
    for _ in range(3):
        await world.device(world.orgs["works"])

    async def add_device_after_deletion():
        while world.hub.devices.by_org.get(world.orgs["works"]):
            await trio.sleep(0)
        await world.device(world.orgs["works"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(add_device_after_deletion)
        response = await world.ask("rita", "DELETE", f"{ORG}?orgId={world.orgs['works']}&everything=true")
        if response.status == 204:
            nursery.cancel_scope.cancel()
            pytest.skip("the deletion was faster than the new device")
    assert 409 == response.status
    assert "Delete an organization (failed half-way)" in {action for _, action, _, _ in await audited(world)}


async def test_device_actions_read_while_written_are_not_duplicated(world):
    device = await world.device(world.orgs["acme"])
    path = f"/api/v1/device/actions?deviceId={device.id}&size=1000"
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(world.write, device)
            nursery.start_soon(world.ask, "ada", "GET", path)
    assert 10 == (await world.ask("ada", "GET", path)).json["totalElements"]


async def test_inserted_audit_records_are_detected(world):
    async def forge(tx):
        for number in (-5, 10**6):
            sql = "INSERT INTO audit VALUES (?, 1, 1, 'user 1', '', 'Forged', '', '{}', x'00', NULL, NULL)"
            await tx.execute(sql, (number,))

    await world.hub.storage.transaction(forge)
    verification = (await ask(world.hub, "GET", "/api/v1/audit/verify", key=local_key(world.hub))).json
    assert ["record -5 was inserted", "record 1000000 was inserted"] == verification["problems"]
