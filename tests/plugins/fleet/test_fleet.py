"""Many devices over the API: tags, locations, segments, what is looked for, and what is done to many at once."""

from __future__ import annotations

import json

import pytest
from support.api import api_client, names_of
from support.tenants import tenants

from hub.domain.devices import NewDevice
from hub.domain.metadata import LOCATION
from hub.model import SYSTEM
from hub.run import running
from hub.writes import Write
from plugins.users.model import USER


@pytest.fixture
async def world(hub):
    return await tenants(hub)


# -- tags -------------------------------------------------------------------------------------------------------------


async def test_tags_stick_to_devices_and_say_how_many(world):
    one, two = [await world.device(world.orgs["acme"], name=name) for name in ("One", "Two")]
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "Ground floor", "color": "#24a0ed"})
        assert ("Ground floor", world.orgs["acme"]) == (tag["name"], tag["tagOwnerOrgId"])
        for device in (one, two, two):
            await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
        assert ["Ground floor"] == [t["name"] for t in await ask("GET", "organization/device/tags", deviceId=one.id)]
        assert [2] == [t["devices"] for t in await ask("GET", "organization/tags")]
        await ask("DELETE", "organization/device/tag", deviceId=one.id, tagId=tag["id"])
        assert [] == await ask("GET", "organization/device/tags", deviceId=one.id)
        edited = await ask("PUT", "organization/tag", {"tagId": tag["id"], "name": "Cellar"})
        assert ("Cellar", "#24a0ed", 1) == (edited["name"], edited["color"], edited["devices"])
        await ask("DELETE", "organization/tag", tagId=tag["id"])
        assert [] == await ask("GET", "organization/device/tags", deviceId=two.id)


@pytest.mark.parametrize(
    ("body", "said"),
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
async def test_a_tag_that_makes_no_sense_is_refused(world, body, said):
    async with api_client(world) as ask:
        await ask("POST", "organization/tag/create", {"name": "Taken"})
        answer = await ask("POST", "organization/tag/create", body)
        assert answer.status in (400, 409)
        assert said in answer.message


async def test_an_organization_has_20_tags_and_a_device_5(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world) as ask:
        made = [await ask("POST", "organization/tag/create", {"name": f"Tag {n}"}) for n in range(20)]
        assert 409 == (await ask("POST", "organization/tag/create", {"name": "Tag 20"})).status
        answers = [
            await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
            for tag in made[:6]
        ]
    assert [None] * 5 == answers[:5]
    assert "at most 5 tags" in answers[5].message


async def test_tags_from_above_leave_room_for_those_of_ones_own(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world, "local") as ask:
        for number in range(5):
            above = await ask("POST", "organization/tag/create", {"name": f"Above {number}"})
            assert None is await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": above["id"]})
    async with api_client(world) as ask:
        own = await ask("POST", "organization/tag/create", {"name": "Own"})
        assert None is await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": own["id"]})


async def test_tags_of_others_are_not_there(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world, "local") as ask:
        above = await ask("POST", "organization/tag/create", {"name": "Above"})
        beside = await ask("POST", "organization/tag/create", {"name": "Beside", "orgId": world.orgs["beta"]})
        await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": above["id"]})
        assert (
            400 == (await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": beside["id"]})).status
        )
    async with api_client(world) as ask:
        for tag in (above, beside, {"id": 999}):
            for method, path, body, query in (
                ("PUT", "organization/tag", {"tagId": tag["id"], "name": "Mine"}, {}),
                ("DELETE", "organization/tag", None, {"tagId": tag["id"]}),
                ("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]}, {}),
            ):
                assert 404 == (await ask(method, path, body, **query)).status
        # What is above is nobody's business below.
        assert [] == await ask("GET", "organization/device/tags", deviceId=device.id)


async def test_tags_and_places_are_there_after_a_restart_and_a_device_leaves_them_behind(hub_config):
    async with running(hub_config) as hub:
        world = await tenants(hub)
        device = await world.device(world.orgs["acme"], name="Lamp")
        async with api_client(world) as ask:
            tag = await ask("POST", "organization/tag/create", {"name": "Cellar"})
            await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
            place = await ask("POST", "organization/location/create", {"name": "Shop"})
            await ask("POST", "organization/device/location", {"deviceId": device.id, "locationId": place["id"]})
            await ask("POST", "organization/segment/create", {"name": "All", "devices": [device.id]})
        beta = world.orgs["beta"]
    async with running(hub_config) as hub:
        world.hub = hub
        search = "organization/search/devices"
        async with api_client(world, "local") as ask:
            for word in ("cellar", "shop", "LAMP", "thermometer", "acme"):
                assert ["Lamp"] == names_of(await ask("GET", search, query=word)), word
            [segment] = (await ask("GET", "organization/segments", orgId=world.orgs["acme"]))["content"]
            assert [device.id] == segment["devices"]
            await ask("POST", "organization/device/transfer", {"deviceId": device.id, "newOrgId": beta})
            # What is another organization's does not count there.
            assert [] == await ask("GET", "organization/device/tags", deviceId=device.id)
            assert [] == names_of(await ask("POST", "devices/search", {"filters": [one("tag", "notEmpty")]}))
            assert [] == names_of(await ask("POST", "devices/search", {"filters": [one("location", "notEmpty")]}))


# -- locations --------------------------------------------------------------------------------------------------------


async def test_a_device_at_a_location_has_its_address_coordinates_and_time_zone(hub, world):
    device = await world.device(world.orgs["acme"])
    about = {"address": "Main St 1", "lat": 50.5, "lon": 30.25, "timezone": "Europe/Kyiv", "city": "Kyiv"}
    async with api_client(world) as ask:
        place = await ask("POST", "organization/location/create", {"name": "Shop", "about": about})
        put = {"deviceId": device.id, "locationId": place["id"], "within": {"floor": "2"}}
        assert await ask("POST", "organization/device/location", put) is None
        said = json.loads(await hub.metadata.get(device, LOCATION))
        assert {"locationId": place["id"], "floor": "2", "address": "Main St 1", "timezone": "Europe/Kyiv"}.items() <= (
            said.items()
        )
        assert "Europe/Kyiv" == hub.timezone_of(device)
        assert "50.5 30.25" == await hub.metadata.get(device, "loc.latlon")
        [listed] = (await ask("GET", "organization/locations"))["content"]
        assert (1, "Kyiv") == (listed["devices"], listed["about"]["city"])

        moved = about | {"timezone": "Asia/Tokyo"}
        await ask("PUT", "organization/location", {"locationId": place["id"], "about": moved})
        assert "Asia/Tokyo" == hub.timezone_of(device)
        assert "2" == json.loads(await hub.metadata.get(device, LOCATION))["floor"]

        assert await ask("POST", "organization/device/location", {"deviceId": device.id, "locationId": 0}) is None
        assert 0 == (await ask("GET", "organization/location", locationId=place["id"]))["devices"]
        await ask("DELETE", "organization/location", locationId=place["id"])
        assert 404 == (await ask("GET", "organization/location", locationId=place["id"])).status


@pytest.mark.parametrize(
    ("body", "said"),
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
async def test_a_location_that_makes_no_sense_is_refused(world, body, said):
    async with api_client(world) as ask:
        await ask("POST", "organization/location/create", {"name": "Taken"})
        answer = await ask("POST", "organization/location/create", body)
        assert answer.status in (400, 409)
        assert said in answer.message


async def test_people_see_the_locations_that_are_their_own(world):
    await world.user("beth", world.orgs["beta"], USER)
    async with api_client(world) as ask:
        shop = await ask("POST", "organization/location/create", {"name": "Shop"})
        mine = await ask("POST", "organization/location/create", {"name": "Mine", "ownerId": world.users["uma"].id})
    async with api_client(world, "uma") as ask:
        assert ["Mine"] == names_of(await ask("GET", "organization/locations"))
        assert 404 == (await ask("GET", "organization/location", locationId=shop["id"])).status
        assert 403 == (await ask("PUT", "organization/location", {"locationId": mine["id"], "name": "Hers"})).status
    async with api_client(world) as ask:
        body = {"locationId": shop["id"], "users": [world.users["uma"].id]}
        assert [world.users["uma"].id] == (await ask("POST", "organization/location/users", body))["users"]
        strangers = body | {"users": [world.users["beth"].id]}
        assert 400 == (await ask("POST", "organization/location/users", strangers)).status
    async with api_client(world, "uma") as ask:
        assert ["Mine", "Shop"] == names_of(await ask("GET", "organization/locations"))


async def test_locations_of_others_are_not_there(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world, "local") as ask:
        place = await ask("POST", "organization/location/create", {"name": "Beside", "orgId": world.orgs["beta"]})
    async with api_client(world) as ask:
        for number in (place["id"], 999):
            put = {"deviceId": device.id, "locationId": number}
            for answer in (
                await ask("GET", "organization/location", locationId=number),
                await ask("PUT", "organization/location", {"locationId": number, "name": "Mine"}),
                await ask("DELETE", "organization/location", locationId=number),
                await ask("POST", "organization/location/users", {"locationId": number, "users": []}),
                await ask("POST", "organization/device/location", put),
            ):
                assert 404 == answer.status
                assert f"Location with identifier {number} is not found" in answer.message


# -- looking for devices ----------------------------------------------------------------------------------------------


@pytest.fixture
async def houses(hub, world):
    """Devices of acme and below that differ in everything that can be looked for."""
    acme, works = world.orgs["acme"], world.orgs["works"]
    lamp = await world.device(acme, name="Lamp", owner=world.users["uma"].id)
    heater = await world.device(acme, name="Heater 100%")
    pump = await world.device(works, name="Pump")
    await hub.metadata.set(lamp, "Room", "Kitchen", SYSTEM)
    await hub.metadata.set(heater, "Room", "Bath_room", SYSTEM)
    for device, value, later in ((lamp, 21.5, 0), (heater, 60, 5)):
        hub.write(Write(device, 0, value, "test", SYSTEM, hub.clock.now() + later))
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "Warm"})
        for device in (lamp, heater):
            await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
        place = await ask("POST", "organization/location/create", {"name": "Depot"})
        await ask("POST", "organization/device/location", {"deviceId": pump.id, "locationId": place["id"]})
    return {"Lamp": lamp, "Heater 100%": heater, "Pump": pump}


LAMP, HEATER, PUMP = "Lamp", "Heater 100%", "Pump"


def one(attribute, operator="equals", *values, name=""):
    return {"attribute": attribute, "operator": operator, "values": list(values)} | ({"name": name} if name else {})


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([one("name", "equals", "lamp")], [LAMP]),
        ([one("name", "contains", "p")], [LAMP, PUMP]),
        ([one("name", "notContains", "p")], [HEATER]),
        ([one("name", "equals", "Lamp", "Pump")], [LAMP, PUMP]),
        ([one("name", "notEquals", "Lamp", "Pump")], [HEATER]),
        ([one("owner", "contains", "uma@")], [LAMP]),
        ([one("owner", "empty")], [HEATER, PUMP]),
        ([one("status", "equals", "offline")], [LAMP, HEATER, PUMP]),
        ([one("organization", "equals", "works")], [PUMP]),
        ([one("template", "contains", "thermo")], [LAMP, HEATER, PUMP]),
        ([one("tag", "equals", "warm")], [LAMP, HEATER]),
        ([one("tag", "empty")], [PUMP]),
        ([one("location", "equals", "Depot")], [PUMP]),
        ([one("location", "notEmpty")], [PUMP]),
        ([one("metadata", "equals", "kitchen", name="Room")], [LAMP]),
        ([one("metadata", "empty", name="Room")], [PUMP]),
        ([one("metadata", "notEmpty", name="No such field")], []),
        ([one("datastream", "more", 30, name="v0")], [HEATER]),
        ([one("datastream", "less", 30, name="Temperature")], [LAMP]),
        ([one("datastream", "empty", name="V0")], [PUMP]),
        ([one("datastream", "more", 0, name="v9")], []),
        ([one("lastReported", "more", 0)], [LAMP, HEATER]),
        ([one("lastReported", "empty")], [PUMP]),
        ([one("activatedAt", "empty")], [LAMP, HEATER, PUMP]),
        ([one("createdAt", "more", 0)], [LAMP, HEATER, PUMP]),
        ([one("createdAt", "less", 1000)], []),
        ([one("name", "contains", "p"), one("tag", "notEmpty")], [LAMP]),
        ([], [LAMP, HEATER, PUMP]),
    ],
)
async def test_devices_are_found_by_filters(world, houses, filters, expected):
    async with api_client(world) as ask:
        answer = await ask("POST", "devices/search", {"filters": filters})
        assert expected == names_of(answer)
        assert len(expected) == answer["totalElements"]


async def test_any_of_several_filters_may_do(world, houses):
    async with api_client(world) as ask:
        filters = [one("name", "equals", "lamp"), one("location", "notEmpty")]
        assert [LAMP, PUMP] == names_of(await ask("POST", "devices/search", {"filters": filters, "match": "any"}))
        assert [] == names_of(await ask("POST", "devices/search", {"filters": filters}))
        words = {"filters": filters, "match": "any", "query": "warm"}
        assert [LAMP] == names_of(await ask("POST", "devices/search", words))


async def test_devices_are_found_by_their_firmware_board_and_token(hub, world, houses):
    lamp = next(device for device in hub.devices.by_id.values() if device.name == LAMP)
    await hub.devices.update_firmware_info(lamp, {"fw": "2.7.1-rc", "dev": "ESP32-C6", "tmpl": "TMPL0thermo"})
    token = await hub.tokens.rotate(lamp, SYSTEM)
    async with api_client(world) as ask:
        for query in ("2.7.1", "esp32-c6", token):
            assert [LAMP] == names_of(await ask("GET", "organization/search/devices", query=query)), query
        assert [] == names_of(await ask("GET", "organization/search/devices", query=token.swapcase()))
        assert [] == names_of(await ask("GET", "organization/search/devices", query=token[:-1]))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lamp", [LAMP]),
        ("100%", [HEATER]),
        ("h_r", [HEATER]),
        ("bathxroom", []),
        ("warm kitchen", [LAMP]),
        ("UMA@example", [LAMP]),
        ("works", [PUMP]),
        ("depot", [PUMP]),
        ("thermometer", [LAMP, HEATER, PUMP]),
        ("TMPL0thermo", [LAMP, HEATER, PUMP]),
        ("'; DROP TABLE devices; --", []),
        ("", [LAMP, HEATER, PUMP]),
    ],
)
async def test_devices_are_found_by_words(world, houses, query, expected):
    async with api_client(world) as ask:
        answer = await ask("GET", "organization/search/devices", query=query.replace("%", "%25").replace(" ", "+"))
        assert expected == names_of(answer)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("name", [HEATER, LAMP, PUMP]),
        ("id", [LAMP, HEATER, PUMP]),
        ("organization", [LAMP, HEATER, PUMP]),
        ("lastReported", [PUMP, LAMP, HEATER]),
    ],
)
async def test_devices_are_sorted_and_come_in_pages(world, houses, by, expected):
    async with api_client(world) as ask:
        search = {"sortBy": by}
        assert expected == names_of(await ask("POST", "devices/search", search))
        pages = [names_of(await ask("POST", "devices/search", search | {"page": n, "size": 2})) for n in range(3)]
        assert [expected[:2], expected[2:], []] == pages
        last = await ask("POST", "devices/search", search | {"sortOrder": "desc"})
        assert expected[-1] == names_of(last)[0] or by == "organization"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"filters": [one("name", "less", "x")]}, "filters.0: name is text"),
        ({"filters": [one("name", "equals")]}, "1 to 10 values"),
        ({"filters": [one("name", "equals", *"abcdefghijk")]}, "1 to 10 values"),
        ({"filters": [one("name", "equals", 1)]}, "must be text"),
        ({"filters": [one("id", "equals", "x")]}, "must be numbers"),
        ({"filters": [one("id", "contains", 1)]}, "is for text"),
        ({"filters": [one("datastream", "less", "abc", name="v0")]}, "less is for numbers"),
        ({"filters": [one("metadata", "empty")]}, "needs a name"),
        ({"filters": [one("name", "empty", name="x")]}, "must not have a name"),
        ({"filters": [one("name", "empty", "x")]}, "have no values"),
        ({"filters": [one("name", "empty")] * 6}, "at most 5"),
        ({"filters": [one("shoe size", "empty")]}, "attribute"),
        ({"filters": [one("name", "sounds like", "x")]}, "operator"),
        ({"filters": "all"}, "filters"),
        ({"sortBy": "smell"}, "sortBy"),
        ({"size": 0}, "size 1 to 1000"),
        ({"page": -1}, "page must be 0"),
        ({"match": "none"}, "match"),
        ({"color": "red"}, "color"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(world, body, said):
    async with api_client(world) as ask:
        answer = await ask("POST", "devices/search", body)
        assert 400 == answer.status
        assert said in answer.message


async def test_nobody_finds_what_they_may_not_view(world, houses):
    await world.device(world.orgs["beta"], name="Other lamp")
    async with api_client(world, "uma") as ask:
        assert [LAMP] == names_of(await ask("GET", "organization/search/devices", query=""))
        assert [LAMP] == names_of(await ask("POST", "devices/search", {}))
        assert 404 == (await ask("POST", "devices/search", {"orgId": world.orgs["beta"]})).status


async def test_nobody_reads_the_history_of_what_they_may_not_view(world, houses):
    other = await world.device(world.orgs["beta"], name="Other lamp")
    lamp, heater = houses[LAMP], houses[HEATER]
    async with api_client(world, "uma") as ask:
        mine = await ask("GET", "history", deviceIds=lamp.id, pins="v0", granularity="raw")
        assert [[21.5]] == [line["values"] for line in mine["series"]]
        for ids in (f"{lamp.id},{heater.id}", str(other.id)):
            assert 404 == (await ask("GET", "history", deviceIds=ids, pins="v0")).status


# -- segments ---------------------------------------------------------------------------------------------------------


async def test_segments_are_picked_by_hand_or_found_anew(world, houses):
    warm = {"filters": [one("tag", "equals", "Warm")]}
    lamp, pump = houses[LAMP].id, houses[PUMP].id
    async with api_client(world) as ask:
        picked = await ask("POST", "organization/segment/create", {"name": "Picked", "devices": [pump]})
        live = await ask("POST", "organization/segment/create", {"name": "Live", "find": warm, "excluded": [lamp]})

        async def of(segment):
            return names_of(await ask("POST", "devices/search", {"segmentId": segment["id"]}))

        assert ([PUMP], [HEATER]) == (await of(picked), await of(live))
        [tag] = await ask("GET", "organization/tags")
        await ask("POST", "organization/device/tag", {"deviceId": pump, "tagId": tag["id"]})
        assert [HEATER, PUMP] == await of(live)
        await ask("PUT", "organization/segment", {"segmentId": live["id"], "excluded": [], "position": 0})
        await ask("PUT", "organization/segment", {"segmentId": picked["id"], "devices": [lamp, 999]})
        assert ([LAMP], [LAMP, HEATER, PUMP]) == (await of(picked), await of(live))
        listed = (await ask("GET", "organization/segments"))["content"]
        assert [("Live", 0), ("Picked", 1)] == [(one["name"], one["position"]) for one in listed]
        await ask("DELETE", "organization/segment", segmentId=live["id"])
        assert 404 == (await ask("POST", "devices/search", {"segmentId": live["id"]})).status


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "A"}, "either devices or find"),
        ({"name": "A", "devices": [], "find": {}}, "either devices or find"),
        ({"name": "", "devices": []}, "1 to 40"),
        ({"name": "Taken", "devices": []}, "a segment named"),
        ({"name": "A", "find": {"filters": [one("name", "less", "x")]}}, "filters.0"),
        ({"name": "A", "devices": ["x"]}, "devices"),
        ({"name": "A", "devices": list(range(10_001))}, "at most 10000"),
    ],
)
async def test_a_segment_that_makes_no_sense_is_refused(world, body, said):
    async with api_client(world) as ask:
        await ask("POST", "organization/segment/create", {"name": "Taken", "devices": []})
        answer = await ask("POST", "organization/segment/create", body)
        assert answer.status in (400, 409)
        assert said in answer.message


# -- many at once -----------------------------------------------------------------------------------------------------


async def test_what_is_tried_out_changes_nothing_and_what_is_done_is_told_for_each(hub, world, houses):
    lamp, heater, pump = houses.values()
    async with api_client(world) as ask:
        write = {"action": "write", "pin": "v0", "value": 5, "filters": [one("tag", "notEmpty")]}
        tried = await ask("POST", "devices/bulk", write | {"dryRun": True})
        assert (2, 0, True) == (tried["done"], tried["failed"], tried["dryRun"])
        assert 21.5 == hub.writes.current(lamp, lamp.points[0].datastream)
        done = await ask("POST", "devices/bulk", write)
        assert [(lamp.id, LAMP, None), (heater.id, HEATER, None)] == [tuple(one.values()) for one in done["results"]]
        assert [5, 5, None] == [hub.writes.current(d, d.points[0].datastream) for d in (lamp, heater, pump)]

        wrong = await ask("POST", "devices/bulk", write | {"value": "warm"})
        assert (0, 2) == (wrong["done"], wrong["failed"])
        assert "Temperature" in wrong["results"][0]["problem"]
        some = await ask(
            "POST", "devices/bulk", {"action": "metadata", "name": "Room", "value": "Hall", "devices": [pump.id, 999]}
        )
        assert (1, 1) == (some["done"], some["failed"])
        assert "Hall" == await hub.metadata.get(pump, "Room")

        gone = await ask("POST", "devices/bulk", {"action": "delete", "devices": [lamp.id, pump.id]})
        assert 2 == gone["done"]
        assert [HEATER] == names_of(await ask("POST", "devices/search", {}))


async def test_many_are_tagged_and_moved(hub, world, houses):
    lamp, heater, pump = houses.values()
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "New"})
        assert 3 == (await ask("POST", "devices/bulk", {"action": "tag", "tagId": tag["id"], "all": True}))["done"]
        assert [LAMP, HEATER, PUMP] == names_of(
            await ask("POST", "devices/search", {"filters": [one("tag", "equals", "new")]})
        )
        assert 3 == (await ask("POST", "devices/bulk", {"action": "untag", "tagId": tag["id"], "all": True}))["done"]
        assert [] == names_of(await ask("POST", "devices/search", {"filters": [one("tag", "equals", "new")]}))
        works = world.orgs["works"]
        moved = await ask("POST", "devices/bulk", {"action": "move", "toOrgId": works, "all": True})
        assert [None, None, "the device is in this organization already"] == [
            one["problem"] for one in moved["results"]
        ]
        assert {works} == {device.org for device in (lamp, heater, pump)}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"action": "delete"}, 400, "select the devices in one way"),
        ({"action": "delete", "devices": None, "all": True, "query": "x"}, 400, "select the devices in one way"),
        ({"action": "tag", "all": True}, 400, "tagId"),
        ({"action": "tag", "tagId": 999, "all": True}, 404, "Tag with identifier 999"),
        ({"action": "move", "all": True}, 400, "toOrgId"),
        ({"action": "move", "toOrgId": 999, "all": True}, 404, "Organization with identifier 999"),
        ({"action": "metadata", "name": "Room", "all": True}, 400, "name and value"),
        ({"action": "write", "pin": "v0", "all": True}, 400, "pin and value"),
        ({"action": "explode"}, 400, "action"),
        ({"action": "delete", "devices": [1], "query": "x"}, 400, "select the devices in one way"),
        ({"action": "delete", "devices": ["x"]}, 400, "devices"),
        ({"action": "delete", "devices": list(range(10_001))}, 400, "at most 10000"),
    ],
)
async def test_a_change_of_many_that_makes_no_sense_is_refused(world, body, status, said):
    async with api_client(world) as ask:
        answer = await ask("POST", "devices/bulk", body)
        assert status == answer.status
        assert said in answer.message


async def test_on_each_device_the_right_is_needed(hub, world, houses):
    lamp, heater, pump = houses.values()
    other = await world.device(world.orgs["beta"])
    async with api_client(world, "uma") as ask:
        write = {"action": "write", "pin": "v0", "value": 7, "devices": [lamp.id, heater.id, pump.id, other.id]}
        told = {one["deviceId"]: one["problem"] for one in (await ask("POST", "devices/bulk", write))["results"]}
        assert told[lamp.id] is None
        assert all("is not found or belong" in told[device.id] for device in (heater, pump, other))
        gone = await ask("POST", "devices/bulk", {"action": "delete", "all": True})
        assert ["This needs the permission org_devices.delete."] == [one["problem"] for one in gone["results"]]
    assert [7, 60] == [hub.writes.current(d, d.points[0].datastream) for d in (lamp, heater)]
    assert other.id in hub.devices.by_id


async def test_more_than_can_be_done_at_once_are_not_begun(hub, world, monkeypatch):
    monkeypatch.setattr("plugins.fleet.bulk_routes.MAX_DEVICES", 3)
    new = [NewDevice(name=f"D{n}", template=world.template, org=world.orgs["acme"]) for n in range(4)]
    await hub.devices.add(new, SYSTEM)
    async with api_client(world) as ask:
        answer = await ask("POST", "devices/bulk", {"action": "delete", "all": True})
        assert 400 == answer.status
        assert "4 devices match, and at most 3" in answer.message
    assert 4 == len(hub.devices.by_id)
