"""Numbers of devices by attributes: whose devices they count, their order and pages, and invalid requests."""

from __future__ import annotations

import pytest
from support import raw_native
from support.api import api_client
from support.fleet import HEATER, LAMP, PUMP

from hub.model import SYSTEM

FIELDS = {
    "template": ("templateId", "templateName"),
    "status": ("statusKey",),
    "org": ("orgId", "orgName"),
    "owner": ("ownerUserId",),
    "tag": ("tagName",),
}


async def counts_by(ask, by, **params):
    """Return the number of devices by the values of the attributes."""
    response = await ask("GET", "devices/counts", by=by, **params)
    fields = [field for attribute in by.split(",") for field in FIELDS[attribute]]
    counts = {tuple(count[field] for field in fields): count["devices"] for count in response["content"]}
    assert len(response["content"]) == response["totalElements"] == len(counts)
    return counts


async def test_devices_are_counted_by_each_attribute(world, fleet):
    acme, works, uma = world.orgs["acme"], world.orgs["works"], world.users["uma"].id
    async with api_client(world) as ask:
        assert {("TMPL0thermo", "Thermometer"): 3} == await counts_by(ask, "template")
        assert {("offline",): 3} == await counts_by(ask, "status")
        assert {(acme, "acme"): 2, (works, "works"): 1} == await counts_by(ask, "org")
        assert {(None,): 2, (uma,): 1} == await counts_by(ask, "owner")
        assert {("Warm",): 2, (None,): 1} == await counts_by(ask, "tag")


async def test_devices_are_counted_by_several_attributes(world, fleet):
    token = await world.hub.tokens.rotate(fleet[LAMP], SYSTEM)
    async with raw_native.online(world.hub, token), api_client(world) as ask:
        assert {("offline", "Warm"): 1, ("offline", None): 1, ("online", "Warm"): 1} == await counts_by(
            ask, "status,tag"
        )
        response = await ask("GET", "devices/counts")
    unused = {"orgId": None, "orgName": None, "ownerUserId": None, "tagId": None, "tagName": None}
    template = {"templateId": "TMPL0thermo", "templateName": "Thermometer"}
    assert {
        "devices": 3,
        "totalElements": 2,
        "content": [
            {"devices": 2, "statusKey": "offline"} | template | unused,
            {"devices": 1, "statusKey": "online"} | template | unused,
        ],
    } == response


async def test_device_with_several_tags_is_counted_for_each_of_them(world, fleet):
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "Attic"})
        await ask("POST", "organization/device/tag", {"deviceId": fleet[LAMP].id, "tagId": tag["id"]})
        assert {("Attic",): 1, ("Warm",): 2, (None,): 1} == await counts_by(ask, "tag")
        assert 3 == (await ask("GET", "devices/counts", by="tag"))["devices"]


async def test_only_devices_that_the_user_may_view_are_counted(world, fleet):
    await world.device(world.orgs["beta"], name="Other lamp")
    async with api_client(world, "uma") as ask:
        assert {("TMPL0thermo", "Thermometer"): 1} == await counts_by(ask, "template")
        for foreign in ("beta", "root"):
            assert 404 == (await ask("GET", "devices/counts", orgId=world.orgs[foreign])).status
    async with api_client(world) as ask:
        assert {("offline",): 1} == await counts_by(ask, "status", orgId=world.orgs["works"])


async def test_counts_are_sorted_by_number_and_paginated(world, fleet):
    async with api_client(world) as ask:
        pages = [await ask("GET", "devices/counts", by="tag", page=page, size=1) for page in range(3)]
    assert [["Warm"], [None], []] == [[count["tagName"] for count in page["content"]] for page in pages]
    assert {(3, 2)} == {(page["devices"], page["totalElements"]) for page in pages}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"by": "shoesize"}, "by: 'shoesize' must be one of template, status, org, owner, tag"),
        ({"by": ""}, "by: '' must be one of"),
        ({"by": "tag,"}, "by: '' must be one of"),
        ({"by": "tag,status,tag"}, "by: tag is there twice"),
        ({"size": 0}, "size"),
        ({"page": -1}, "page"),
        ({"orgId": "x"}, "orgId"),
        ({"color": "red"}, "color"),
    ],
)
async def test_invalid_counts_are_rejected(world, query, error):
    async with api_client(world) as ask:
        response = await ask("GET", "devices/counts", **query)
    assert 400 == response.status
    assert error in response.message


async def test_counts_follow_deletions(world, fleet):
    await world.hub.devices.delete(fleet[PUMP], SYSTEM)
    await world.hub.devices.delete(fleet[HEATER], SYSTEM)
    async with api_client(world) as ask:
        assert {("Warm",): 1} == await counts_by(ask, "tag")
