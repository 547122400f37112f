"""Locations of devices, and the users who see them."""

from __future__ import annotations

import json

import pytest
from support.api import api_client, names_of

from hub.domain.metadata import LOCATION
from plugins.users.model import USER


async def test_device_gets_address_coordinates_and_time_zone_of_its_location(hub, world):
    device = await world.device(world.orgs["acme"])
    address = {"address": "Main St 1", "lat": 50.5, "lon": 30.25, "timezone": "Europe/Kyiv", "city": "Kyiv"}
    async with api_client(world) as ask:
        location = await ask("POST", "organization/location/create", {"name": "Shop", "about": address})
        assignment = {"deviceId": device.id, "locationId": location["id"], "within": {"floor": "2"}}
        assert await ask("POST", "organization/device/location", assignment) is None
        metadata = json.loads(await hub.metadata.get(device, LOCATION))
        assert {
            "locationId": location["id"],
            "floor": "2",
            "address": "Main St 1",
            "timezone": "Europe/Kyiv",
        }.items() <= (metadata.items())
        assert "Europe/Kyiv" == hub.timezone_of(device)
        assert "50.5 30.25" == await hub.metadata.get(device, "loc.latlon")
        [listed] = (await ask("GET", "organization/locations"))["content"]
        assert (1, "Kyiv") == (listed["devices"], listed["about"]["city"])

        moved = address | {"timezone": "Asia/Tokyo"}
        await ask("PUT", "organization/location", {"locationId": location["id"], "about": moved})
        assert "Asia/Tokyo" == hub.timezone_of(device)
        assert "2" == json.loads(await hub.metadata.get(device, LOCATION))["floor"]

        assert await ask("POST", "organization/device/location", {"deviceId": device.id, "locationId": 0}) is None
        assert 0 == (await ask("GET", "organization/location", locationId=location["id"]))["devices"]
        await ask("DELETE", "organization/location", locationId=location["id"])
        assert 404 == (await ask("GET", "organization/location", locationId=location["id"])).status


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"name": ""}, "1 to 48"),
        ({"name": "A", "about": {"lat": 1}}, "both"),
        ({"name": "A", "about": {"lat": 91, "lon": 0}}, "degrees"),
        ({"name": "A", "about": {"timezone": "Mars/Olympus"}}, "no time zone"),
        ({"name": "A", "about": {"city": "x" * 49}}, "about.city"),
        ({"name": "A", "about": {"planet": "Mars"}}, "planet"),
        ({"name": "Taken"}, "a location named"),
        ({"name": "A", "ownerId": 999}, "User with identifier 999"),
    ],
)
async def test_invalid_location_is_rejected(world, body, error):
    async with api_client(world) as ask:
        await ask("POST", "organization/location/create", {"name": "Taken"})
        response = await ask("POST", "organization/location/create", body)
        assert response.status in (400, 409)
        assert error in response.message


async def test_users_see_only_locations_they_own_or_are_assigned_to(world):
    await world.user("beth", world.orgs["beta"], USER)
    async with api_client(world) as ask:
        shop = await ask("POST", "organization/location/create", {"name": "Shop"})
        own_location = await ask(
            "POST", "organization/location/create", {"name": "Mine", "ownerId": world.users["uma"].id}
        )
    async with api_client(world, "uma") as ask:
        assert ["Mine"] == names_of(await ask("GET", "organization/locations"))
        assert 404 == (await ask("GET", "organization/location", locationId=shop["id"])).status
        assert (
            403
            == (await ask("PUT", "organization/location", {"locationId": own_location["id"], "name": "Hers"})).status
        )
    async with api_client(world) as ask:
        body = {"locationId": shop["id"], "users": [world.users["uma"].id]}
        assert [world.users["uma"].id] == (await ask("POST", "organization/location/users", body))["users"]
        foreign_users = body | {"users": [world.users["beth"].id]}
        assert 400 == (await ask("POST", "organization/location/users", foreign_users)).status
    async with api_client(world, "uma") as ask:
        assert ["Mine", "Shop"] == names_of(await ask("GET", "organization/locations"))


async def test_locations_of_other_organizations_are_not_found(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world, "local") as ask:
        location = await ask("POST", "organization/location/create", {"name": "Beside", "orgId": world.orgs["beta"]})
    async with api_client(world) as ask:
        for number in (location["id"], 999):
            assignment = {"deviceId": device.id, "locationId": number}
            for response in (
                await ask("GET", "organization/location", locationId=number),
                await ask("PUT", "organization/location", {"locationId": number, "name": "Mine"}),
                await ask("DELETE", "organization/location", locationId=number),
                await ask("POST", "organization/location/users", {"locationId": number, "users": []}),
                await ask("POST", "organization/device/location", assignment),
            ):
                assert 404 == response.status
                assert f"Location with identifier {number} is not found" in response.message
