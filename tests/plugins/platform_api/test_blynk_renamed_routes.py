"""Routes at the paths to which Blynk renamed them."""

from __future__ import annotations

import base64

import pytest
from support.api import api_client
from support.raw_http import connected

from hub.model import SYSTEM
from plugins.users.model import ADMIN, STAFF


async def test_event_is_resolved_at_the_renamed_path(hub, world):
    device = await world.device(world.orgs["acme"])
    await hub.timeline.log(device, "hot", "It is warm")
    async with api_client(world) as ask:
        [event] = (await ask("GET", "organization/device/timeline", deviceId=device.id))["content"]
        body = {"deviceId": device.id, "eventId": event["id"], "note": "Opened a window"}
        resolved = await ask("POST", "organization/device/resolve-event", body)
        unknown = await ask("POST", "organization/device/resolve-event", body | {"eventId": 999})
        listed = await ask("GET", "organization/device/timeline", deviceId=device.id, resolved="true", archived="any")
    assert (True, "ada@example.org") == (resolved["isResolved"], resolved["resolvedBy"])
    assert [resolved] == listed["content"]
    assert 404 == unknown.status


async def test_device_is_transferred_at_the_renamed_paths(hub, world, thermostat):
    works, uma = world.orgs["works"], world.users["uma"]
    await hub.organizations.change(works, SYSTEM, templates=frozenset({"TMPL0blynk"}))
    async with api_client(world) as ask:
        to_owner = {"deviceId": thermostat.id, "newUserId": uma.id}
        assert None is await ask("POST", "organization/device/transfer/to-owner", to_owner)
        assert (world.orgs["acme"], uma.id) == (thermostat.org, thermostat.owner)
        again = await ask("POST", "organization/device/transfer/to-owner", to_owner)
        to_works = {"deviceId": thermostat.id, "newOrgId": works}
        assert None is await ask("POST", "organization/device/transfer/to-organization", to_works)
        assert (works, None) == (thermostat.org, thermostat.owner)
        foreign = await ask(
            "POST", "organization/device/transfer/to-organization", to_works | {"newOrgId": world.orgs["beta"]}
        )
        rejections = [
            await ask("POST", "organization/device/transfer/to-owner", to_works),
            await ask("POST", "organization/device/transfer/to-organization", to_owner),
        ]
    assert (400, "Can't transfer to the same owner") == (again.status, again.message)
    assert (404, True) == (foreign.status, "Organization with identifier" in foreign.message)
    assert [400, 400] == [response.status for response in rejections]


async def test_organization_is_renamed_at_the_renamed_path(world):
    works = world.orgs["works"]
    async with api_client(world) as ask:
        renamed = await ask("PUT", f"organization/edit/name?orgId={works}", {"name": "Workshop"})
        own = await ask("PUT", "organization/edit/name", {"name": "Acme Ltd"})
        foreign = await ask("PUT", f"organization/edit/name?orgId={world.orgs['beta']}", {"name": "Mine"})
        with_other_fields = await ask(
            "PUT", f"organization/edit/name?orgId={works}", {"name": "Workshop", "quotas": {}}
        )
        names = [(await ask("GET", "organization", orgId=org))["name"] for org in (works, world.orgs["acme"])]
    assert (works, "Workshop", world.orgs["acme"]) == (renamed["id"], renamed["name"], own["id"])
    assert ["Workshop", "Acme Ltd"] == names
    assert [404, 400] == [foreign.status, with_other_fields.status]
    assert "beta" == world.hub.organizations.get(world.orgs["beta"]).name


async def test_user_profile_has_the_role_as_an_object(world):
    async with api_client(world) as ask:
        profile = await ask("GET", "organization/user/profile")
        login_profile = await ask("GET", "profile")
    fields = "id name email title nickName phoneNumber role orgId orgName tz locale status"
    assert set(fields.split()) <= set(profile)
    assert ("ada@example.org", world.orgs["acme"], "acme") == (profile["email"], profile["orgId"], profile["orgName"])
    assert {"id": ADMIN, "name": "Admin", "permissions": login_profile["permissions"]} == profile["role"]
    async with api_client(world, "local") as ask:
        # The local key belongs to no user.
        assert 401 == (await ask("GET", "organization/user/profile")).status


async def test_oauth_client_is_created_at_the_renamed_path(hub, world):
    body = {"name": "Grafana", "redirectUrls": ["https://grafana.example.org/login"]}
    async with api_client(world) as ask:
        created = await ask("POST", "organization/oauth/clients/create", body)
        foreign = await ask("POST", "organization/oauth/clients/create", body | {"orgId": world.orgs["beta"]})
        [listed] = (await ask("GET", "organization/clients"))["content"]
    expected = body | {"orgId": world.orgs["acme"], "clientId": listed["clientId"], "secret": created["secret"]}
    assert expected == created
    assert (ADMIN, body["redirectUrls"]) == (listed["roleId"], listed["redirects"])
    assert 404 == foreign.status
    basic = base64.b64encode(f"{created['clientId']}:{created['secret']}".encode()).decode()
    async with connected(hub) as http:
        path = "/oauth2/token?grant_type=client_credentials"
        tokens = await http.ask("POST", path, b"", Authorization=f"Basic {basic}")
    assert 200 == tokens.status, tokens.body


async def test_oauth_client_gets_the_role_of_its_creator(world):
    await world.service.roles.switch(world.orgs["acme"], STAFF, [("clients.add", True)])
    async with api_client(world, "stan") as ask:
        assert "secret" in await ask("POST", "organization/oauth/clients/create", {"name": "Mine"})
        promoted_client = await ask("POST", "organization/oauth/clients/create", {"name": "More", "roleId": ADMIN})
    async with api_client(world, "local") as ask:
        assert "secret" in await ask("POST", "organization/oauth/clients/create", {"name": "The hub's"})
    assert [("Mine", STAFF), ("The hub's", ADMIN)] == [
        (client.name, client.role) for client in world.service.credentials.clients.values()
    ]
    assert (403, True) == (promoted_client.status, "has permissions that you do not have" in promoted_client.message)


async def test_template_is_created_edited_and_deleted_at_the_renamed_paths(hub, world):
    async with api_client(world, "local") as ask:
        body = {"name": "Boiler", "boardType": "ESP32", "connectionType": "WiFi", "description": "In the cellar"}
        created = await ask("POST", "organization/template/create", body)
        path = f"organization/template?templateId={created['id']}"
        renamed = await ask("PUT", path, {"name": "Heater"})
        read = await ask("GET", path)
        assert None is await ask("DELETE", path)
        after_deletion = [await ask("GET", path), await ask("PUT", path, {"name": "X"}), await ask("DELETE", path)]
        without_name = await ask("POST", "organization/template/create", {"name": ""})
    assert body.items() <= created.items()
    assert [created["id"]] == created["templateIds"]
    lines = [f'#define BLYNK_TEMPLATE_ID "{created["id"]}"', '#define BLYNK_TEMPLATE_NAME "Heater"']
    assert read == renamed == created | {"name": "Heater", "version": 2, "firmwareLines": lines}
    assert {404} == {response.status for response in after_deletion}
    assert 400 == without_name.status


async def test_renaming_a_template_keeps_its_datastreams_and_devices(hub, world, thermostat):
    async with api_client(world, "local") as ask:
        path = "organization/template?templateId=TMPL0blynk"
        before = await ask("GET", path)
        after = await ask("PUT", path, {"name": "Boiler"})
        assert before | {"name": "Boiler", "version": 2, "firmwareLines": after["firmwareLines"]} == after
        in_use = await ask("DELETE", path)
    assert (409, True) == (in_use.status, "everything=true" in in_use.message)
    assert ("Boiler", 24.3) == (thermostat.template.name, hub.history.latest[thermostat.points[1].series][1])


async def test_device_of_another_organization_is_not_found_at_the_renamed_paths(world, thermostat):
    for path, more in (
        ("resolve-event", {"eventId": 1}),
        ("transfer/to-owner", {"newUserId": world.users["bert"].id}),
        ("transfer/to-organization", {"newOrgId": world.orgs["beta"]}),
    ):
        async with api_client(world, "bert") as ask:
            response = await ask("POST", f"organization/device/{path}", {"deviceId": thermostat.id} | more)
        error = f"Device with identifier {thermostat.id} is not found or belong to another organization."
        assert (404, error) == (response.status, response.message), path
    assert (world.orgs["acme"], None) == (thermostat.org, thermostat.owner)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "organization/device/resolve-event", {"deviceId": 1, "eventId": 1}),
        ("POST", "organization/device/transfer/to-owner", {"deviceId": 1, "newUserId": 1}),
        ("POST", "organization/device/transfer/to-organization", {"deviceId": 1, "newOrgId": 1}),
        ("PUT", "organization/edit/name", {"name": "Mine"}),
        ("POST", "organization/oauth/clients/create", {"name": "Mine"}),
        ("POST", "organization/template/create", {"name": "Mine"}),
        ("PUT", "organization/template?templateId=TMPL0blynk", {"name": "Mine"}),
        ("DELETE", "organization/template?templateId=TMPL0blynk", None),
    ],
)
async def test_renamed_paths_need_the_same_permissions_as_the_old_ones(world, thermostat, method, path, body):
    async with api_client(world, "uma") as ask:
        assert 403 == (await ask(method, path, body)).status
