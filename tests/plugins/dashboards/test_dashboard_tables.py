"""Tables of devices with live columns, and devices on maps."""

from __future__ import annotations

import json

import pytest
from support.api import error_of
from support.times import NOON

from hub.model import SYSTEM
from plugins.users.model import STAFF

TABLE = {"columns": [{"pin": "V0"}, {"pin": "V1", "label": "State"}], "pageSize": 2}


@pytest.fixture
async def probes(boards):
    devices = [await boards.device("acme", name) for name in ("Cellar", "attic", "Bath")]
    for device, value, mode in zip(devices, (7, 30, None), ("on", "off", "on"), strict=True):
        if value is not None:
            boards.write(device, 0, value)
        boards.write(device, 1, mode)
    return devices


def names(data):
    return [row[1] for row in data["rows"]]


async def test_table_has_the_latest_values_of_a_page_of_devices(boards, probes):
    data = await boards.show("device_table", TABLE)
    assert (3, 3, None) == (data["devices"], data["totalElements"], data["problem"])
    columns = [(column["name"], column["type"], column["units"]) for column in data["columns"]]
    assert [("Heat", "cell", "°C"), ("State", "cell", "")] == columns[-2:]
    assert ["attic", "Bath"] == names(data)
    id_, name, status, online, heat, mode = data["rows"][0]
    assert (probes[1].id, "Offline", 0) == (id_, status, online)
    assert {"value": 30, "text": "30 °C", "updatedAt": NOON} == heat
    assert {"value": "off", "text": "off", "updatedAt": NOON} == mode
    assert {"value": None, "text": "", "updatedAt": None} == data["rows"][1][4]
    assert ["Cellar"] == names(await boards.show("device_table", TABLE, table={"page": 1}))
    assert ["attic", "Bath", "Cellar"] == names(await boards.show("device_table", TABLE, table={"size": 50}))


async def test_table_is_sorted_by_the_viewer_or_by_its_options(boards, probes):
    options = TABLE | {"pageSize": 10, "sortColumn": 0, "sortOrder": "desc"}
    assert ["attic", "Cellar", "Bath"] == names(await boards.show("device_table", options)), "without value: last"
    for table, order in (
        ({"sortOrder": "asc"}, ["Cellar", "attic", "Bath"]),
        ({"sortBy": "name", "sortOrder": "asc"}, ["attic", "Bath", "Cellar"]),
        ({"sortBy": "name"}, ["Cellar", "Bath", "attic"]),
        ({"sortBy": "column", "sortColumn": 1, "sortOrder": "asc"}, ["attic", "Bath", "Cellar"]),
        ({"sortBy": "status", "sortOrder": "asc"}, ["attic", "Bath", "Cellar"]),
    ):
        assert order == names(await boards.show("device_table", options, table=table)), table
    for table, error in (
        ({"sortBy": "column", "sortColumn": 2}, "table.sortColumn must be 0 to 1, not 2"),
        ({"page": -1}, "table.page must be 0 or more"),
        ({"size": 101}, "table.size 1 to 100"),
        ({"sortBy": "owner"}, "sortBy"),
    ):
        assert error in error_of(await boards.show("device_table", options, table=table))


async def test_table_shows_values_in_the_units_of_the_viewer(boards, probes):
    await boards.hub.organizations.change(boards.world.orgs["acme"], SYSTEM, units="imperial")
    columns = [{"pin": "V0", "decimals": "#.0"}, {"pin": "V0", "units": "deg"}]
    data = await boards.show("device_table", {"columns": columns})
    assert {"value": 86, "text": "86.0 °F", "updatedAt": NOON} == data["rows"][0][4]
    assert {"value": 30, "text": "30 deg", "updatedAt": NOON} == data["rows"][0][5]
    assert ["°F", "deg"] == [column["units"] for column in data["columns"][4:]]


async def test_column_without_a_datastream_says_so(boards, probes):
    thermometer = await boards.device("acme", "Thermometer", boards.world.template)
    boards.write(thermometer, 0, 21.5)
    data = await boards.show("device_table", TABLE, devices={"devices": [thermometer.id]})
    assert "No device of this widget has a datastream V1" in data["problem"]
    assert [21.5, None] == [cell["value"] for cell in data["rows"][0][4:]]


async def test_large_table_is_a_problem(boards, probes, monkeypatch):
    monkeypatch.setattr("plugins.dashboards.tables.MAX_LISTED", 2)
    data = await boards.show("device_table", TABLE)
    assert "would have 3 devices" in data["problem"] and data["rows"] == []


async def test_image_map_has_its_devices_with_places_values_and_popups(boards, probes):
    spots = [{"deviceId": device.id, "x": 10 * n, "y": 20} for n, device in enumerate(probes)]
    marker = {"style": "value", "datastream": {"pin": "V0"}, "colorBy": "value", "stops": [{"value": 20}]}
    options = {"image": "https://example.org/plan.png", "spots": spots, "marker": marker, "popup": [{"pin": "V1"}]}
    data = await boards.show("image_map", options, devices={"devices": [probes[0].id, probes[1].id]})
    assert ["X", "Y", "Size", "Heat", "Mode"] == [column["name"] for column in data["columns"][4:]]
    assert [("Cellar", 0, 20, 4, 7, "on"), ("attic", 10, 20, 4, 30, "off")] == [
        (row[1], *row[4:7], row[7]["value"], row[8]["value"]) for row in data["rows"]
    ]


async def test_geomap_has_devices_with_a_position(boards, probes, monkeypatch):
    hub = boards.hub
    await hub.metadata.set(probes[0], "Location", json.dumps({"lat": 50.5, "lon": 30.25}), SYSTEM)
    await hub.metadata.set(probes[1], "Location", "Main Street 1", SYSTEM)
    for device in probes[:2]:
        boards.write(device, 4, "8.5,47.4")
    data = await boards.show("geomap", {"popup": [{"pin": "V0"}]})
    assert [("Cellar", 50.5, 30.25, 7), ("attic", 47.4, 8.5, 30)] == [
        (row[1], *row[4:6], row[6]["value"]) for row in data["rows"]
    ]
    assert 3 == data["devices"], "one has no position"
    monkeypatch.setattr("plugins.dashboards.tables.MAX_MARKERS", 1)
    data = await boards.show("geomap")
    assert ["Cellar"] == names(data) and "the first 1 of 3 devices" in data["problem"]


async def test_position_in_a_field_that_the_viewer_does_not_see_is_not_on_the_map(boards, probes):
    await boards.hub.metadata.set(probes[0], "Hideout", "1,2", SYSTEM)
    assert ["Cellar"] == names(await boards.show("geomap"))
    assert [] == names(await boards.show("geomap", who="stan", board={"viewRoles": [STAFF]}))
