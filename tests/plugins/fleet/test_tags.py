"""Tags of devices."""

from __future__ import annotations

import pytest
from support.api import api_client, names_of
from support.fleet import where
from support.tenants import tenants

from hub.run import running


async def test_tags_are_added_counted_edited_and_deleted(world):
    first, second = [await world.device(world.orgs["acme"], name=name) for name in ("One", "Two")]
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "Ground floor", "color": "#24a0ed"})
        assert ("Ground floor", world.orgs["acme"]) == (tag["name"], tag["tagOwnerOrgId"])
        for device in (first, second, second):
            await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
        assert ["Ground floor"] == [t["name"] for t in await ask("GET", "organization/device/tags", deviceId=first.id)]
        assert [2] == [t["devices"] for t in await ask("GET", "organization/tags")]
        await ask("DELETE", "organization/device/tag", deviceId=first.id, tagId=tag["id"])
        assert [] == await ask("GET", "organization/device/tags", deviceId=first.id)
        edited = await ask("PUT", "organization/tag", {"tagId": tag["id"], "name": "Cellar"})
        assert ("Cellar", "#24a0ed", 1) == (edited["name"], edited["color"], edited["devices"])
        await ask("DELETE", "organization/tag", tagId=tag["id"])
        assert [] == await ask("GET", "organization/device/tags", deviceId=second.id)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"name": ""}, "1 to 24"),
        ({"name": "x" * 25}, "1 to 24"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "A", "color": "red"}, "color must be like"),
        ({"name": "A", "icon": "x" * 25}, "icon"),
        ({"name": "Taken"}, "a tag named 'Taken'"),
        ({"name": "A", "size": 1}, "size"),
        ({"name": 1}, "text"),
    ],
)
async def test_invalid_tag_is_rejected(world, body, error):
    async with api_client(world) as ask:
        await ask("POST", "organization/tag/create", {"name": "Taken"})
        response = await ask("POST", "organization/tag/create", body)
        assert response.status in (400, 409)
        assert error in response.message


async def test_numbers_of_tags_per_organization_and_per_device_are_limited(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world) as ask:
        tags = [await ask("POST", "organization/tag/create", {"name": f"Tag {n}"}) for n in range(20)]
        assert 409 == (await ask("POST", "organization/tag/create", {"name": "Tag 20"})).status
        responses = [
            await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
            for tag in tags[:6]
        ]
    assert [None] * 5 == responses[:5]
    assert "at most 5 tags" in responses[5].message


async def test_tags_of_a_parent_organization_do_not_count_towards_the_limit_per_device(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world, "local") as ask:
        for number in range(5):
            parent_tag = await ask("POST", "organization/tag/create", {"name": f"Above {number}"})
            assert None is await ask(
                "POST", "organization/device/tag", {"deviceId": device.id, "tagId": parent_tag["id"]}
            )
    async with api_client(world) as ask:
        own = await ask("POST", "organization/tag/create", {"name": "Own"})
        assert None is await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": own["id"]})


async def test_tags_of_other_organizations_are_not_found(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world, "local") as ask:
        parent_tag = await ask("POST", "organization/tag/create", {"name": "Above"})
        foreign = await ask("POST", "organization/tag/create", {"name": "Beside", "orgId": world.orgs["beta"]})
        await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": parent_tag["id"]})
        assert (
            400
            == (await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": foreign["id"]})).status
        )
    async with api_client(world) as ask:
        for tag in (parent_tag, foreign, {"id": 999}):
            for method, path, body, query in (
                ("PUT", "organization/tag", {"tagId": tag["id"], "name": "Mine"}, {}),
                ("DELETE", "organization/tag", None, {"tagId": tag["id"]}),
                ("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]}, {}),
            ):
                assert 404 == (await ask(method, path, body, **query)).status
        # Tags of a parent organization are not listed.
        assert [] == await ask("GET", "organization/device/tags", deviceId=device.id)


async def test_tags_locations_and_segments_survive_a_restart_and_are_dropped_by_a_transfer(hub_config):
    async with running(hub_config) as hub:
        world = await tenants(hub)
        device = await world.device(world.orgs["acme"], name="Lamp")
        async with api_client(world) as ask:
            tag = await ask("POST", "organization/tag/create", {"name": "Cellar"})
            await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
            location = await ask("POST", "organization/location/create", {"name": "Shop"})
            await ask("POST", "organization/device/location", {"deviceId": device.id, "locationId": location["id"]})
            await ask("POST", "organization/segment/create", {"name": "All", "devices": [device.id]})
        beta = world.orgs["beta"]
    async with running(hub_config) as hub:
        world.hub = hub
        search = "organization/search/devices"
        async with api_client(world, "local") as ask:
            for query in ("cellar", "shop", "LAMP", "thermometer", "acme"):
                assert ["Lamp"] == names_of(await ask("GET", search, query=query)), query
            [segment] = (await ask("GET", "organization/segments", orgId=world.orgs["acme"]))["content"]
            assert [device.id] == segment["devices"]
            await ask("POST", "organization/device/transfer", {"deviceId": device.id, "newOrgId": beta})
            # Tags and locations of the previous organization are dropped.
            assert [] == await ask("GET", "organization/device/tags", deviceId=device.id)
            assert [] == names_of(await ask("POST", "devices/search", {"filters": [where("tag", "notEmpty")]}))
            assert [] == names_of(await ask("POST", "devices/search", {"filters": [where("location", "notEmpty")]}))
