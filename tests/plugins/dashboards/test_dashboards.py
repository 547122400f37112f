"""Dashboards as stored data: making, editing and deleting them, their limits, and invalid ones."""

from __future__ import annotations

import json
from functools import partial

import pytest
from support.api import api_client, error_of
from support.dashboards import boards as add_boards
from support.dashboards import grid, label

from hub.model import SYSTEM
from hub.run import running
from hub.storage.sqlite import Transaction

COUNT = {"type": "total_devices"}


async def test_dashboard_is_made_read_edited_and_deleted(boards):
    ask = boards.ask
    made = await boards.create({"type": "label", "options": label(), "title": "Warmth"}, COUNT, range="1w")
    assert (1, "Board", "1w", True) == (made["version"], made["name"], made["range"], made["editable"])
    assert boards.world.orgs["acme"] == made["orgId"]
    widgets = made["tabs"][0]["widgets"]
    assert [1, 2] == [widget["id"] for widget in widgets]
    assert "avg" == widgets[0]["options"]["metric"]["aggregate"], "defaults of options are stored"
    assert made == await ask("GET", "dashboard", dashboardId=made["id"])
    widgets = [widgets[1] | {"x": 16}, {"type": "activations", "width": 8}]
    edited = await ask(
        "PUT", "dashboard", {"dashboardId": made["id"], "tabs": [{"name": "New", "widgets": widgets}], "range": "1d"}
    )
    assert [(2, "total_devices"), (3, "activations")] == [(w["id"], w["type"]) for w in edited["tabs"][0]["widgets"]]
    assert ("Board", "1d", 2) == (edited["name"], edited["range"], edited["version"])
    [listed] = (await ask("GET", "dashboards"))["content"]
    assert ("Board", ["New"], 2) == (listed["name"], listed["tabs"], listed["widgets"])
    await ask("DELETE", "dashboard", dashboardId=made["id"])
    assert [] == (await ask("GET", "dashboards"))["content"]
    assert "is not found" in error_of(await ask("GET", "dashboard", dashboardId=made["id"]), 404)


async def test_dashboards_and_homepages_survive_a_restart(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        boards = await add_boards(hub)
        async with api_client(boards.world) as ask:
            boards.ask = ask
            find = {"query": "x", "filters": [{"attribute": "id", "operator": "less", "values": [9, 2.5]}]}
            narrow = {"type": "label", "options": label(), "devices": {"find": find}}
            board = await boards.create(narrow, COUNT, range="6h", viewRoles=[2])
            await ask("PUT", "dashboard/homepage", {"dashboardId": board["id"]})
    async with running(hub_config, clock=time.clock()) as hub:
        boards.world.hub = hub
        async with api_client(boards.world) as ask:
            assert board == await ask("GET", "dashboard", dashboardId=board["id"])
            [listed] = (await ask("GET", "dashboards"))["content"]
            assert listed["homepage"]


async def test_concurrent_edit_is_detected(boards):
    async with api_client(boards.world) as ask:
        http, key = ask.http, ask.key
        made = await boards.create(COUNT)
        read = await http.ask("GET", f"/api/v1/dashboard?dashboardId={made['id']}", None, key)
        etag = read.headers["etag"]
        put = partial(http.ask, "PUT", "/api/v1/dashboard", key=key, if_match=etag)
        body = {"dashboardId": made["id"], "name": "First"}
        assert 200 == (await put(body=body)).status
        assert 412 == (await put(body=body | {"name": "Second"})).status
        assert "First" == (await boards.ask("GET", "dashboard", dashboardId=made["id"]))["name"]


async def test_change_that_cannot_be_stored_is_not_made(boards, monkeypatch):
    made = await boards.create(COUNT)

    async def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Transaction, "execute", full)
    response = await boards.ask("PUT", "dashboard", {"dashboardId": made["id"], "name": "Lost"})
    assert response.status >= 500
    monkeypatch.undo()
    assert "Board" == (await boards.ask("GET", "dashboard", dashboardId=made["id"]))["name"]


async def test_organization_has_at_most_twenty_dashboards_with_different_names(boards):
    for n in range(20):
        assert isinstance(await boards.create(name=f"Board {n}"), dict)
    assert "at most 20" in error_of(await boards.create(name="One more"), 409)
    [first, *_] = (await boards.ask("GET", "dashboards"))["content"]
    renamed = await boards.ask("PUT", "dashboard", {"dashboardId": first["id"], "name": "Board 7"})
    assert "a dashboard named 'Board 7' already" in error_of(renamed, 409)


async def test_deleted_organization_takes_its_dashboards_along(boards):
    world = boards.world
    leaf = await world.org("leaf", "acme")
    board = await boards.create(COUNT, orgId=leaf)
    await boards.ask("PUT", "dashboard/homepage", {"dashboardId": board["id"], "orgId": leaf})
    await world.hub.organizations.remove(leaf, SYSTEM)
    assert 404 == (await boards.ask("GET", "dashboard", dashboardId=board["id"])).status
    assert isinstance(await boards.create(COUNT), dict)


def widget(**fields):
    return [{"type": "label", "options": label()} | fields]


def devices(**selection):
    return widget(devices=selection)


def typed(type_, **options):
    return [{"type": type_, "options": options}]


V0 = {"pin": "V0"}


@pytest.mark.parametrize(
    ("widgets", "error"),
    [
        (widget(type="gauge"), "type"),
        (widget(options={}), "tab 'Main', widget 1 (label): options: metric: is missing"),
        (widget(options=label(aggregate="median")), "aggregate"),
        (widget(options=label(pin=7)), "metric.pin: must be text"),
        (widget(options=label("V256")), "no template of the data source has an integer or double datastream V256"),
        (widget(options=label("\n")), "must be a pin such as V1, a name, or a property group"),
        (widget(options=label("x" * 201)), "must be a pin such as V1"),
        (widget(options=label("V9")), "no template of the data source has an integer or double datastream V9"),
        (widget(options=label("V1")), "no template of the data source has an integer or double datastream V1"),
        (widget(options=label("tag:Warmth")), "has an integer or double datastream tag:Warmth"),
        (widget(options={"metric": {}}), "metric.pin: is missing"),
        (widget(options=label("")), "metric.pin is empty"),
        (widget(options={"metric": V0 | {"tag": "Temperature C"}}), "unknown key tag"),
        (widget(options=label() | {"speed": 1}), "unknown key speed"),
        (widget(title="x" * 65), "title must have at most 64"),
        (widget(title="\u0000"), "title must have"),
        (widget(x=20), "does not fit the grid"),
        (widget(height=0), "does not fit the grid"),
        (widget(id=5), "there is no widget 5 yet"),
        (devices(devices=[99]), "Device with identifier 99 is not found"),
        (devices(devices=list(range(51))), "at most 50 can be picked"),
        (devices(segmentId=99), "there is no segment 99"),
        (devices(segmentId=1, devices=[1]), "select a segment, or pick devices, not both"),
        (devices(find={"filters": [{"attribute": "name", "operator": "less", "values": ["x"]}]}), "devices.find"),
        (typed("device_table", columns=[]), "columns: must have 1 to 20 entries, not 0"),
        (typed("device_table", columns=[V0] * 21), "columns: must have 1 to 20 entries, not 21"),
        (typed("device_table", columns=[V0], sortColumn=1), "sortColumn must be 0 to 0, not 1"),
        (typed("device_table", columns=[V0], pageSize=101), "pageSize: must be 1 to 100"),
        (typed("device_table", columns=[V0 | {"stops": [{"value": "hot"}]}]), "stops[0].value: must be a number"),
        (typed("device_table", columns=[V0 | {"color": "red"}]), "must be a color such as #24a0ed, not 'red'"),
        (typed("metrics_over_time", series=[V0] * 6), "series: must have 1 to 5 entries, not 6"),
        (typed("metrics_over_time", series=[V0 | {"aggregate": "latest"}]), "aggregate"),
        (typed("metric_by_device", metric=V0 | {"kind": "pie"}), "kind"),
        (typed("switch", datastream=V0, onValue=1, offValue=1), "they must differ"),
        (typed("slider", datastream=V0, min=5, max=5), "min (5) must be less than max (5)"),
        (typed("slider", datastream=V0, step=0), "step must be more than 0"),
        (typed("image_map", image=""), "image is missing"),
        (typed("image_map", image="javascript:alert(1)"), "must be an https address"),
        (typed("image_map", image="https://example.org/a.png", spots=[{"deviceId": 1, "x": 101, "y": 0}]), "0 to 100"),
        (typed("geomap", marker={"style": "value"}), "marker.datastream is missing"),
        (typed("geomap", popup=[V0] * 6), "at most 5 entries"),
        (typed("event_count", types=["online"]), "types"),
        (typed("event_count", events=["x" * 65]), "at most 64"),
        (typed("latest_events", size=0), "1 to 100"),
        (typed("events_over_time", resolution="second"), "resolution"),
        (typed("total_devices", pin="V0"), "unknown key pin"),
        (widget(devices={"all": True}), "unknown key all"),
        ([COUNT | {"x": 0}, COUNT | {"x": 4, "y": 3}], "widget 2 overlaps widget 1"),
        ([COUNT | {"x": 30, "y": 10**15}], "does not fit"),
        (typed("image_map", image="https://example.org/a.png") * 6, "there are 6 image maps"),
    ],
)
async def test_invalid_widget_is_rejected_with_the_reason(boards, widgets, error):
    assert error in error_of(await boards.create(*widgets))
    assert [] == (await boards.ask("GET", "dashboards"))["content"]


async def test_picture_with_the_same_device_twice_is_rejected(boards):
    device = await boards.device("acme", "A")
    spots = [{"deviceId": device.id, "x": n, "y": n} for n in (10, 20)]
    response = await boards.create(*typed("image_map", image="https://example.org/a.png", spots=spots))
    assert "a device is on the image twice" in error_of(response)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": ""}, "name must have 1 to 64"),
        ({"name": "x" * 65}, "name must have 1 to 64"),
        ({"name": " "}, "name must have 1 to 64"),
        ({"range": "2h"}, "range"),
        ({"viewRoles": [99]}, "there is no role 99"),
        ({"viewRoles": ["Staff"]}, "viewRoles"),
        ({"source": {"templates": ["TMPL0none"]}}, "there is no template 'TMPL0none'"),
        ({"source": {"organizations": [99]}}, "Organization with identifier 99 is not found"),
        ({"source": {"organizations": [1]}}, "Organization with identifier 1 is not found"),
        ({"source": {"templates": "all"}}, "source.templates"),
        ({"tabs": [{"name": "A"}, {"name": "A"}]}, "tab 'A' is there 2 times"),
        ({"tabs": [{"name": ""}]}, "a name must have 1 to 64"),
        ({"tabs": [{"name": str(n)} for n in range(21)]}, "21 tabs"),
        ({"tabs": [{"name": "A", "widgets": [COUNT] * 1000}]}, "the dashboard has 1000 widgets"),
        ({"tabs": {}}, "tabs"),
        ({"color": "red"}, "unknown key color"),
    ],
)
async def test_invalid_dashboard_is_rejected_with_the_reason(boards, fields, error):
    assert error in error_of(await boards.create(**fields))


async def test_all_problems_are_reported_at_once(boards):
    wrong = [*widget(options=label("V9")), *typed("switch", datastream=V0, onValue=0)]
    message = error_of(await boards.create(*wrong, name="", range="1d"))
    assert all(part in message for part in ("name must", "widget 1 (label)", "V9", "widget 2 (switch)", "differ"))


async def test_huge_options_are_rejected(boards):
    stops = [{"value": n, "icon": "x" * 64, "color": "#000000"} for n in range(10)]
    table = {"type": "device_table", "options": {"columns": [V0 | {"stops": stops}] * 20}}
    assert "use fewer" in error_of(await boards.create(*[table] * 60))


async def test_widget_keeps_what_was_deleted_until_it_is_changed(boards):
    ask = boards.ask
    device = await boards.device("acme", "A")
    board = await boards.create(*widget(devices={"devices": [device.id]}))
    await boards.hub.devices.delete(device, SYSTEM)
    [stored] = board["tabs"][0]["widgets"]

    async def put(**changes):
        widgets = [stored | changes]
        return await ask(
            "PUT", "dashboard", {"dashboardId": board["id"], "tabs": [{"name": "Main", "widgets": widgets}]}
        )

    assert "Moved" == (await put(title="Moved"))["tabs"][0]["widgets"][0]["title"]
    assert "Device with identifier 99" in error_of(await put(devices={"devices": [device.id, 99]}))


async def test_narrower_data_source_is_checked_for_all_widgets(boards):
    board = await boards.create({"type": "switch", "options": {"datastream": {"pin": "V2"}}})
    change = {"dashboardId": board["id"], "source": {"templates": ["TMPL0thermo"]}}
    assert "datastream V2" in error_of(await boards.ask("PUT", "dashboard", change))


async def test_types_of_widgets_are_described(boards):
    described = {entry["type"]: entry for entry in await boards.ask("GET", "dashboard/widgets")}
    assert 22 == len(described)
    table = {option["name"]: option for option in described["device_table"]["options"]}
    assert (True, "object", True) == (table["columns"]["required"], table["columns"]["type"], table["columns"]["list"])
    assert (10, 1, 100) == (table["pageSize"]["default"], table["pageSize"]["min"], table["pageSize"]["max"])
    assert ["asc", "desc"] == table["sortOrder"]["choices"]
    assert "pin" == next(field["type"] for field in table["columns"]["fields"] if field["name"] == "pin")
    for entry in described.values():
        defaults = {o["name"]: o["default"] for o in entry["options"] if not o["required"]}
        assert json.dumps(defaults), "every default is JSON"
    assert not described["switch"]["ranged"]


async def test_full_dashboard_can_be_saved_and_read(boards):
    table = {"type": "device_table", "options": {"columns": [{"pin": "V0"}] * 3}}
    tabs = [{"name": f"Tab {n}", "widgets": grid([table] * 10)} for n in range(20)]
    made = await boards.create(tabs=tabs)
    assert list(range(1, 201)) == [widget["id"] for tab in made["tabs"] for widget in tab["widgets"]]
    tabs[0]["widgets"] += grid([table] * 11)[10:]
    assert "201 widgets" in error_of(await boards.ask("PUT", "dashboard", {"dashboardId": made["id"], "tabs": tabs}))
