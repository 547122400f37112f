"""The device search: filters, words, sorting and pages; and devices that a user may not view."""

from __future__ import annotations

import pytest
from support import raw_native
from support.api import api_client, names_of
from support.fleet import HEATER, LAMP, PUMP, where

from hub.model import SYSTEM


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([where("name", "equals", "lamp")], [LAMP]),
        ([where("name", "contains", "p")], [LAMP, PUMP]),
        ([where("name", "notContains", "p")], [HEATER]),
        ([where("name", "equals", "Lamp", "Pump")], [LAMP, PUMP]),
        ([where("name", "notEquals", "Lamp", "Pump")], [HEATER]),
        ([where("owner", "contains", "uma@")], [LAMP]),
        ([where("owner", "empty")], [HEATER, PUMP]),
        ([where("status", "equals", "offline")], [LAMP, HEATER, PUMP]),
        ([where("organization", "equals", "works")], [PUMP]),
        ([where("template", "contains", "thermo")], [LAMP, HEATER, PUMP]),
        ([where("tag", "equals", "warm")], [LAMP, HEATER]),
        ([where("tag", "empty")], [PUMP]),
        ([where("location", "equals", "Depot")], [PUMP]),
        ([where("location", "notEmpty")], [PUMP]),
        ([where("metadata", "equals", "kitchen", name="Room")], [LAMP]),
        ([where("metadata", "empty", name="Room")], [PUMP]),
        ([where("metadata", "notEmpty", name="No such field")], []),
        ([where("datastream", "more", 30, name="v0")], [HEATER]),
        ([where("datastream", "less", 30, name="Temperature")], [LAMP]),
        ([where("datastream", "empty", name="V0")], [PUMP]),
        ([where("datastream", "more", 0, name="v9")], []),
        ([where("lastReported", "more", 0)], [LAMP, HEATER]),
        ([where("lastReported", "empty")], [PUMP]),
        ([where("activatedAt", "empty")], [LAMP, HEATER, PUMP]),
        ([where("createdAt", "more", 0)], [LAMP, HEATER, PUMP]),
        ([where("createdAt", "less", 1000)], []),
        ([where("name", "contains", "p"), where("tag", "notEmpty")], [LAMP]),
        ([], [LAMP, HEATER, PUMP]),
    ],
)
async def test_filters_select_devices(world, fleet, filters, expected):
    async with api_client(world) as ask:
        response = await ask("POST", "devices/search", {"filters": filters})
        assert expected == names_of(response)
        assert len(expected) == response["totalElements"]


async def test_filters_are_combined_with_all_or_any(world, fleet):
    async with api_client(world) as ask:
        filters = [where("name", "equals", "lamp"), where("location", "notEmpty")]
        assert [LAMP, PUMP] == names_of(await ask("POST", "devices/search", {"filters": filters, "match": "any"}))
        assert [] == names_of(await ask("POST", "devices/search", {"filters": filters}))
        words = {"filters": filters, "match": "any", "query": "warm"}
        assert [LAMP] == names_of(await ask("POST", "devices/search", words))


async def test_search_matches_firmware_board_and_whole_token(hub, world, fleet):
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
async def test_search_matches_words_of_all_attributes(world, fleet, query, expected):
    async with api_client(world) as ask:
        response = await ask("GET", "organization/search/devices", query=query.replace("%", "%25").replace(" ", "+"))
        assert expected == names_of(response)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("name", [HEATER, LAMP, PUMP]),
        ("id", [LAMP, HEATER, PUMP]),
        ("organization", [LAMP, HEATER, PUMP]),
        ("lastReported", [PUMP, LAMP, HEATER]),
    ],
)
async def test_search_results_are_sorted_and_paginated(world, fleet, key, expected):
    async with api_client(world) as ask:
        search = {"sortBy": key}
        assert expected == names_of(await ask("POST", "devices/search", search))
        pages = [names_of(await ask("POST", "devices/search", search | {"page": n, "size": 2})) for n in range(3)]
        assert [expected[:2], expected[2:], []] == pages
        last = await ask("POST", "devices/search", search | {"sortOrder": "desc"})
        assert expected[-1] == names_of(last)[0] or key == "organization"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"filters": [where("name", "less", "x")]}, "filters.0: name is text"),
        ({"filters": [where("name", "equals")]}, "1 to 10 values"),
        ({"filters": [where("name", "equals", *"abcdefghijk")]}, "1 to 10 values"),
        ({"filters": [where("name", "equals", 1)]}, "must be text"),
        ({"filters": [where("id", "equals", "x")]}, "must be numbers"),
        ({"filters": [where("id", "contains", 1)]}, "is for text"),
        ({"filters": [where("datastream", "less", "abc", name="v0")]}, "less is for numbers"),
        ({"filters": [where("metadata", "empty")]}, "needs a name"),
        ({"filters": [where("name", "empty", name="x")]}, "must not have a name"),
        ({"filters": [where("name", "empty", "x")]}, "have no values"),
        ({"filters": [where("name", "empty")] * 6}, "at most 5"),
        ({"filters": [where("shoe size", "empty")]}, "attribute"),
        ({"filters": [where("name", "sounds like", "x")]}, "operator"),
        ({"filters": "all"}, "filters"),
        ({"sortBy": "smell"}, "sortBy"),
        ({"size": 0}, "size 1 to 1000"),
        ({"page": -1}, "page must be 0"),
        ({"match": "none"}, "match"),
        ({"color": "red"}, "color"),
    ],
)
async def test_invalid_search_is_rejected(world, body, error):
    async with api_client(world) as ask:
        response = await ask("POST", "devices/search", body)
        assert 400 == response.status
        assert error in response.message


async def test_search_returns_only_devices_the_user_may_view(world, fleet):
    await world.device(world.orgs["beta"], name="Other lamp")
    async with api_client(world, "uma") as ask:
        assert [LAMP] == names_of(await ask("GET", "organization/search/devices", query=""))
        assert [LAMP] == names_of(await ask("POST", "devices/search", {}))
        assert 404 == (await ask("POST", "devices/search", {"orgId": world.orgs["beta"]})).status


async def test_chart_of_a_device_the_user_may_not_view_is_not_found(world, fleet):
    other = await world.device(world.orgs["beta"], name="Other lamp")
    lamp, heater = fleet[LAMP], fleet[HEATER]
    async with api_client(world, "uma") as ask:
        chart = await ask("GET", "history", deviceIds=lamp.id, pins="v0", granularity="raw")
        assert [[21.5]] == [line["values"] for line in chart["series"]]
        for ids in (f"{lamp.id},{heater.id}", str(other.id)):
            assert 404 == (await ask("GET", "history", deviceIds=ids, pins="v0")).status


async def test_list_has_the_values_and_metadata_that_it_asks_for(world, fleet):
    lamp = fleet[LAMP]
    async with api_client(world) as ask:
        body = {"values": ["V0", "Temperature", "V9"], "metadata": ["Room", "No such field"], "sortBy": "name"}
        content = (await ask("POST", "devices/search", body))["content"]
    rows = {row["name"]: row for row in content}
    stamp, value = world.hub.writes.latest(lamp, lamp.points[0].datastream)
    latest = {"value": value, "text": "21.5", "updatedAt": stamp, "expired": None}
    assert {"V0": latest, "Temperature": latest} == rows[LAMP]["values"]
    assert {"value": None, "text": "", "updatedAt": None, "expired": None} == rows[PUMP]["values"]["V0"]
    assert [{"Room": "Kitchen"}, {"Room": ""}] == [rows[name]["metadata"] for name in (LAMP, PUMP)]


async def test_list_without_names_has_no_values(world, fleet):
    async with api_client(world) as ask:
        content = (await ask("POST", "devices/search", {}))["content"]
    assert [(None, None)] * 3 == [(row["values"], row["metadata"]) for row in content]


@pytest.mark.parametrize("key", ["values", "metadata"])
async def test_too_many_names_in_a_list_are_rejected(world, fleet, key):
    async with api_client(world) as ask:
        assert 3 == (await ask("POST", "devices/search", {key: ["V0"] * 10}))["totalElements"]
        rejection = await ask("POST", "devices/search", {key: ["V0"] * 11})
    assert 400 == rejection.status
    assert "at most 10 names" in rejection.text


async def test_list_tells_connected_devices_by_flag_and_status_key(world, fleet):
    lamp = fleet[LAMP]
    token = await world.hub.tokens.rotate(lamp, SYSTEM)
    async with raw_native.online(world.hub, token), api_client(world) as ask:
        content = (await ask("POST", "devices/search", {"sortBy": "name"}))["content"]
    rows = {row["name"]: (row["online"], row["statusKey"], row["orgName"], row["templateVersion"]) for row in content}
    assert (True, "online", "acme", 1) == rows[LAMP]
    assert (False, "offline", "works", 1) == rows[PUMP]
