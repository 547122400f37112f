"""Searches sorted by datastreams and metadata, pages by cursor, and devices that change during a search."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.api import api_client, names_of
from support.fleet import HEATER, LAMP, PUMP, add_fleet, where
from support.raw_http import ask, local_key
from support.tenants import tenants

from hub import SYSTEM, Rejected
from hub.domain import device_query
from hub.domain.devices import NewDevice
from hub.run import running
from hub.slices import SliceRunner
from hub.writes import Write
from plugins.fleet.device_order import DeviceOrder


@pytest.mark.parametrize(
    ("sort_by", "name", "order", "expected"),
    [
        ("datastream", "V0", "asc", [LAMP, HEATER, PUMP]),
        ("datastream", "Temperature", "desc", [HEATER, LAMP, PUMP]),
        ("datastream", "V9", "asc", [LAMP, HEATER, PUMP]),
        ("metadata", "Room", "asc", [HEATER, LAMP, PUMP]),
        ("metadata", "Room", "desc", [LAMP, HEATER, PUMP]),
        ("metadata", "No such field", "desc", [LAMP, HEATER, PUMP]),
    ],
)
async def test_devices_are_sorted_by_a_datastream_or_metadata_with_missing_values_last(
    world, fleet, sort_by, name, order, expected
):
    async with api_client(world) as ask:
        response = await ask("POST", "devices/search", {"sortBy": sort_by, "sortName": name, "sortOrder": order})
    assert expected == names_of(response)


async def test_numbers_in_metadata_are_sorted_as_numbers_and_before_text(world, fleet):
    for name, room in ((LAMP, "10"), (HEATER, "9.5"), (PUMP, "attic")):
        await world.hub.metadata.set(fleet[name], "Room", room, SYSTEM)
    search = {"sortBy": "metadata", "sortName": "Room"}
    async with api_client(world) as ask:
        assert [HEATER, LAMP, PUMP] == names_of(await ask("POST", "devices/search", search))
        descending = await ask("POST", "devices/search", search | {"sortOrder": "desc"})
    assert [PUMP, LAMP, HEATER] == names_of(descending)


async def test_first_search_after_a_restart_is_sorted_by_metadata(hub_config):
    async with running(hub_config) as hub:
        world = await tenants(hub)
        await add_fleet(world)
    search = {"sortBy": "metadata", "sortName": "Room", "metadata": ["Room"]}
    async with running(hub_config) as hub:
        response = await ask(hub, "POST", "/api/v1/devices/search", search, local_key(hub))
    assert [HEATER, LAMP, PUMP] == names_of(response.json)
    assert ["Bath_room", "Kitchen", ""] == [device["metadata"]["Room"] for device in response.json["content"]]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"sortBy": "datastream"}, "sortBy datastream needs a sortName"),
        ({"sortBy": "name", "sortName": "V0"}, "sortBy name must not have a sortName"),
        ({"sortBy": "metadata", "sortName": "x" * 256}, "at most 255"),
        ({"after": "no cursor"}, "after must be the next of an earlier page"),
        ({"after": ""}, "after must be the next of an earlier page"),
        ({"after": "A" * 9_000}, "after must be the next of an earlier page"),
        ({"after": 7}, "after"),
    ],
)
async def test_invalid_order_is_rejected(world, fleet, body, error):
    async with api_client(world) as ask:
        response = await ask("POST", "devices/search", body)
    assert 400 == response.status
    assert error in response.message


async def test_cursor_of_another_order_is_rejected(world, fleet):
    async with api_client(world) as ask:
        after = (await ask("POST", "devices/search", {"sortBy": "name", "size": 1}))["next"]
        for more in ({"sortBy": "name", "sortOrder": "desc"}, {"sortBy": "status"}, {}):
            response = await ask("POST", "devices/search", {"after": after} | more)
            assert (400, True) == (response.status, "in another order" in response.message), more
        with_page = await ask("POST", "devices/search", {"sortBy": "name", "after": after, "page": 1})
    assert (400, True) == (with_page.status, "has no page" in with_page.message)


SORTS = [
    {"sortBy": "id"},
    {"sortBy": "name"},
    {"sortBy": "name", "sortOrder": "desc"},
    {"sortBy": "owner"},
    {"sortBy": "status"},
    {"sortBy": "organization", "sortOrder": "desc"},
    {"sortBy": "templateId"},
    {"sortBy": "firmware"},
    {"sortBy": "activatedBy"},
    {"sortBy": "lastReported", "sortOrder": "desc"},
    {"sortBy": "datastream", "sortName": "V0"},
    {"sortBy": "datastream", "sortName": "V0", "sortOrder": "desc"},
    {"sortBy": "metadata", "sortName": "Room"},
]


async def pages_of(ask, search):
    """Return the names on each page."""
    pages, after = [], None
    while True:
        page = await ask("POST", "devices/search", search | ({} if after is None else {"after": after}))
        pages.append(names_of(page))
        after = page["next"]
        if after is None:
            return pages


@pytest.mark.parametrize("sort", SORTS, ids=json.dumps)
async def test_pages_by_cursor_have_the_same_devices_as_numbered_pages(world, fleet, sort):
    async with api_client(world) as ask:
        whole = names_of(await ask("POST", "devices/search", sort))
        assert [[name] for name in whole] == await pages_of(ask, sort | {"size": 1})
        assert [whole] == await pages_of(ask, sort | {"size": 3})
        assert [whole[:2], whole[2:]] == await pages_of(ask, sort | {"size": 2})
    assert {LAMP, HEATER, PUMP} == set(whole)


async def test_page_by_cursor_is_stable_while_devices_are_added_and_deleted(world, fleet):
    hub, acme = world.hub, world.orgs["acme"]
    search = {"sortBy": "name", "size": 1}
    async with api_client(world) as ask:
        first = await ask("POST", "devices/search", search)
        assert [HEATER] == names_of(first)
        await hub.devices.add(
            [NewDevice(name=name, template=world.template, org=acme) for name in ("Antenna", "Lift")], SYSTEM
        )
        # The device that the cursor is behind is not needed any more.
        await hub.devices.delete(fleet[HEATER], SYSTEM)
        second = await ask("POST", "devices/search", search | {"after": first["next"]})
        third = await ask("POST", "devices/search", search | {"after": second["next"]})
    assert ([LAMP], ["Lift"]) == (names_of(second), names_of(third))
    assert (3, 4, 4) == tuple(page["totalElements"] for page in (first, second, third))


async def test_cursor_continues_where_a_changed_value_was(world, fleet):
    search = {"sortBy": "datastream", "sortName": "V0", "size": 1}
    async with api_client(world) as ask:
        first = await ask("POST", "devices/search", search)
        world.hub.write(Write(fleet[LAMP], 0, 99, "test", SYSTEM, None))
        second = await ask("POST", "devices/search", search | {"after": first["next"]})
    assert ([LAMP], [HEATER]) == (names_of(first), names_of(second))


async def test_cursor_does_not_contain_the_address_of_an_owner(world, fleet):
    async with api_client(world) as ask:
        page = await ask("POST", "devices/search", {"sortBy": "owner", "sortOrder": "desc", "size": 1})
    assert [LAMP] == names_of(page)
    cursor = base64.urlsafe_b64decode(page["next"] + "===")
    assert b"uma" not in cursor


ORDER = DeviceOrder(label="name", position=lambda d: d.name, key=str.lower, types=(str,))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.text() | st.binary().map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_any_text_is_a_cursor_or_rejected(text):
    with pytest.raises(Rejected, match="after"):
        ORDER.parse_cursor(text)


@given(JSON | st.tuples(st.just("name"), JSON, JSON).map(list))
def test_any_json_is_a_cursor_or_rejected(value):
    text = base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
    try:
        cursor = ORDER.parse_cursor(text)
    except Rejected as error:
        assert "after" in str(error)  # noqa: PT017 - both outcomes are valid
    else:
        assert ["name", cursor.position, cursor.device_id] == value


@given(st.text(), st.integers(0, 2**63))
def test_cursor_is_parsed_as_it_was_made(position, device_id):
    class Named:
        id = device_id

    cursor = ORDER.parse_cursor(ORDER.cursor(position, Named()))
    assert (position, device_id) == (cursor.position, cursor.device_id)


@pytest.fixture
def between_steps(monkeypatch):
    """Set a coroutine function that runs once, after the first step of the next selection of devices."""
    monkeypatch.setattr(device_query, "STEP", 1)
    pending = []

    async def run(_self, steps):
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value
            if pending and steps.__name__ == "_select":
                await pending.pop()()

    monkeypatch.setattr(SliceRunner, "run", run)
    return pending.append


@pytest.mark.parametrize("sort_by", ["id", "organization", "lastReported"])
async def test_devices_that_are_deleted_or_moved_away_during_a_search_are_not_found(
    world, fleet, between_steps, sort_by
):
    hub = world.hub

    async def change():
        await hub.devices.delete(fleet[HEATER], SYSTEM)
        await hub.devices.transfer(fleet[PUMP], world.orgs["beta"], None, SYSTEM)
        await hub.organizations.remove(world.orgs["works"], SYSTEM)

    between_steps(change)
    async with api_client(world) as ask:
        response = await ask("POST", "devices/search", {"sortBy": sort_by, "query": "e"})
    assert [LAMP] == names_of(response)


async def test_device_that_is_deleted_after_it_was_examined_is_not_on_the_page(world, fleet, between_steps):
    async def change():
        await world.hub.devices.delete(fleet[LAMP], SYSTEM)

    between_steps(change)
    async with api_client(world) as ask:
        response = await ask("POST", "devices/search", {"values": ["V0"], "metadata": ["Room"]})
    assert [HEATER, PUMP] == names_of(response)


async def test_device_that_the_user_loses_during_a_search_is_not_on_the_page(world, fleet, between_steps):
    await world.device(world.orgs["acme"], owner=world.users["uma"].id, name="Lantern")

    async def change():
        await world.hub.devices.transfer(fleet[LAMP], world.orgs["acme"], world.users["stan"].id, SYSTEM)

    between_steps(change)
    async with api_client(world, "uma") as ask:
        response = await ask("POST", "devices/search", {"filters": [where("name", "contains", "la")]})
    assert ["Lantern"] == names_of(response)


async def test_device_that_is_moved_within_the_organizations_is_found_once(world, fleet, between_steps):
    hub = world.hub

    async def change():
        await hub.devices.transfer(fleet[LAMP], world.orgs["works"], None, SYSTEM)

    between_steps(change)
    async with api_client(world) as ask:
        assert [LAMP, HEATER, PUMP] == names_of(await ask("POST", "devices/search", {}))
