"""The live stream sends only what its user may see, and closes when the login is revoked."""

from __future__ import annotations

import pytest
import trio
from support.accounts import log_in
from support.oauth import (
    access_token_for,
    register_client,
)
from support.stream import open_stream
from support.tenants import ORG, PASSWORD

from hub.model import ROOT_ORG, SYSTEM
from hub.writes import Write
from plugins.platform_api import snapshots
from plugins.users.model import ADMIN, STAFF, USER


@pytest.mark.parametrize("revocation", ["logout", "suspend", "delete", "role", "key"])
async def test_stream_closes_when_its_login_is_revoked(world, http, revocation):
    device = await world.device(world.orgs["acme"], owner=world.users["eva"].id)
    access_token, eva = (await log_in(http)).json["access_token"], world.users["eva"].id
    if revocation == "key":
        key = await http.ask("POST", "/api/v1/key", {"name": "stream"}, access_token)
        access_token = key.json["key"]
    async with open_stream(world.hub, access_token) as stream:
        assert "subscribed" in await stream.subscribe(1, "device", device=device.id)
        if revocation == "logout":
            assert 204 == (await world.ask("rita", "POST", f"{ORG}/user/logout", {"userId": eva})).status
        elif revocation == "suspend":
            assert 204 == (await world.ask("rita", "POST", f"{ORG}/user/suspend", {"userId": eva})).status
        elif revocation == "delete":
            assert 204 == (await world.ask("rita", "DELETE", f"{ORG}/user?userId={eva}")).status
        elif revocation == "role":
            body = {"roleId": USER, "permissions": {"own_devices.view": False}}
            assert 200 == (await world.ask("ada", "POST", f"{ORG}/role/permissions", body)).status
        else:
            assert 204 == (await world.ask("eva", "DELETE", f"/api/v1/key?keyId={key.json['id']}")).status
        await stream.wait_closed()


async def test_stream_sends_only_devices_of_the_users_organization(world):
    visible = await world.device(world.orgs["acme"])
    foreign = await world.device(world.orgs["beta"])
    async with open_stream(world.hub, world.tokens["ada"]) as stream:
        await stream.subscribe(1, "devices", every=True)
        await stream.subscribe(2, "events")
        for number, topic in ((3, "device"), (4, "wire")):
            rejection = await stream.subscribe(number, topic, device=foreign.id)
            assert "is not found" in rejection["error"]["message"]
        assert "hub.view" in (await stream.subscribe(5, "refused"))["error"]["message"]
        for device in (foreign, visible):
            await world.write(device, 1)
            await world.hub.timeline.log(device, "hot", "")
        messages = [await stream.receive() for _ in range(2)]
        assert {visible.id} == {message["device"] for message in messages}
        assert {"values", "event"} == {key for message in messages for key in message if key in ("values", "event")}


async def test_audit_stream_needs_the_permission_and_sends_only_the_users_organization(world):
    visible, foreign = await world.device(world.orgs["acme"]), await world.device(world.orgs["beta"])
    hub, tokens = world.hub, world.tokens
    async with open_stream(hub, tokens["ada"]) as stream, open_stream(hub, tokens["stan"]) as other:
        assert "users.log" in (await other.subscribe(1, "audit"))["error"]["message"]
        assert "audit" == (await stream.subscribe(1, "audit"))["subscribed"]
        for device in (foreign, visible):
            target = f"{ORG}/device?deviceId={device.id}"
            assert 200 == (await world.ask("rita", "PUT", target, {"name": "New"})).status
        change = (await stream.receive())["change"]
        assert (f"device {visible.id}", world.orgs["acme"]) == (change["subject"], change["org"])


async def test_stream_of_a_client_sends_only_its_organization(world, http, hub):
    devices = {name: await world.device(number, name=name) for name, number in world.orgs.items()}
    await world.user("zoe", ROOT_ORG, ADMIN, PASSWORD)
    client = await register_client(world, ADMIN)
    key = await access_token_for(http, client, email="zoe@example.org")
    async with open_stream(hub, key) as stream:
        await stream.subscribe(1, "devices", every=True)
        for name in ("beta", "root"):
            rejection = await stream.subscribe(name, "device", device=devices[name].id)
            assert "is not found" in rejection["error"]["message"]
        for name in ("root", "beta", "works", "acme"):
            await world.write(devices[name], 1)
        messages = [await stream.receive() for _ in range(2)]
        assert {devices["acme"].id, devices["works"].id} == {message["device"] for message in messages}


async def test_stream_closes_when_the_role_of_its_client_loses_the_permission(world, http, hub):
    device = await world.device(world.orgs["acme"])
    await world.user("zoe", world.orgs["acme"], ADMIN, PASSWORD)
    client = await register_client(world, STAFF)
    key = await access_token_for(http, client, email="zoe@example.org")
    async with open_stream(hub, key) as stream:
        assert "subscribed" in await stream.subscribe(1, "device", device=device.id)
        revoked = [("org_devices.view", False), ("own_devices.view", False)]
        await world.service.roles.switch(world.orgs["acme"], STAFF, revoked)
        await stream.wait_closed()


@pytest.mark.parametrize("options", [{}, {"every_ms": 50}], ids=["latest", "gathered"])
@pytest.mark.parametrize("change", ["organization moved", "device transferred", "role replaced", "user transferred"])
async def test_stream_sends_nothing_after_the_right_to_the_device_is_lost(world, change, options):
    device = await world.device(world.orgs["works"])
    if change == "role replaced":
        guest = await world.service.roles.add("Guest", STAFF)
        await world.user("gus", world.orgs["acme"], guest)
    user = {"role replaced": "gus"}.get(change, "ada")
    async with open_stream(world.hub, world.tokens[user]) as stream:
        assert [device.id] == [
            state["device"]
            for state in (await stream.subscribe(1, "devices", devices=[device.id], **options))["devices"]
        ]
        await world.write(device)
        message = await stream.receive()
        assert "values" in message.get("changes", [message])[0]
        if change == "organization moved":
            await world.hub.organizations.move(world.orgs["works"], world.orgs["beta"], SYSTEM)
        elif change == "device transferred":
            await world.hub.devices.transfer(device, world.orgs["beta"], None, SYSTEM)
        elif change == "role replaced":
            await world.service.roles.switch(world.orgs["acme"], USER, [("own_devices.view", True)])
            path = f"{ORG}/role?roleId={guest}&insteadId={USER}"
            assert 204 == (await world.ask("rita", "DELETE", path)).status
        else:
            await world.service.users.change(world.users["ada"], org=world.orgs["beta"])
        await world.write(device)
        assert await stream.stays_silent()


async def test_device_of_another_organization_is_left_out_like_one_that_does_not_exist(world):
    visible, foreign = await world.device(world.orgs["acme"]), await world.device(world.orgs["beta"])
    async with open_stream(world.hub, world.tokens["ada"]) as stream:
        answers = [
            await stream.subscribe(number, "devices", devices=[visible.id, device_id])
            for number, device_id in enumerate((foreign.id, 10**9))
        ]
        assert answers[0]["devices"] == answers[1]["devices"]
        assert [visible.id] == [state["device"] for state in answers[0]["devices"]]


async def test_change_that_was_gathered_before_the_right_was_lost_is_not_sent(world):
    device = await world.device(world.orgs["works"])
    async with open_stream(world.hub, world.tokens["ada"]) as stream:
        await stream.subscribe(1, "devices", every_ms=200)
        await world.write(device, 1)
        assert {"v0": 1} == (await stream.receive())["changes"][0]["values"]
        world.hub.write(Write(device, 0, 2, "test", SYSTEM))
        await world.hub.devices.transfer(device, world.orgs["beta"], None, SYSTEM)
        assert await stream.stays_silent()


async def test_subscriptions_end_with_the_right_to_see_devices_while_the_snapshot_is_made(world, monkeypatch):
    """The client loses its right after the first device of the snapshot."""
    devices = [await world.device(world.orgs["acme"]) for _ in range(3)]
    monkeypatch.setattr(snapshots, "VALUES_AT_ONCE", 1)
    checkpoint = trio.lowlevel.checkpoint

    async def transfer_and_checkpoint():
        if world.users["ada"].org == world.service.users.by_id[world.users["ada"].id].org:
            await world.service.users.change(world.users["ada"], org=world.orgs["beta"])
        await checkpoint()

    async with open_stream(world.hub, world.tokens["ada"]) as stream:
        monkeypatch.setattr(snapshots.trio.lowlevel, "checkpoint", transfer_and_checkpoint)
        snapshot = await stream.subscribe(1, "devices", devices=[device.id for device in devices])
        monkeypatch.undo()
        assert [devices[0].id] == [state["device"] for state in snapshot["devices"]]
