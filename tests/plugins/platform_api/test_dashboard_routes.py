"""The dashboard of a device, for whoever may view the device, and the catalogue of widgets."""

from __future__ import annotations

import pytest
from support.api import ApiClient
from support.documents import tab, widget, with_changes
from support.raw_http import connected, local_key
from support.tenants import tenants

from hub.domain.devices import NewDevice
from hub.model import SYSTEM
from hub.templates.document import read, to_toml

PATH = "/api/v1/device/dashboard"

WEB = {
    "tab": [
        tab(widget("gauge", "V0")),
        tab(widget("led", "V1"), name="Service", roles=["Staff"]),
        tab(widget("label", "V3"), name="All"),
    ]
}
MOBILE = {
    "tab": [tab(widget("value", "V0"))],
    "tile": {"type": "value", "pins": ["V0"]},
    "header": {"widget": [{"type": "tags"}]},
    "page": [
        {"id": "more", "name": "More"},
        {"id": "service", "name": "Service", "kind": "info", "roles": ["Staff", "Admin"]},
    ],
}


@pytest.fixture
async def world(hub):
    return await tenants(hub)


@pytest.fixture
async def room(hub, world):
    """A device of acme's uma whose template has both dashboards."""
    template, _ = await hub.templates.save(to_toml(read(with_changes(web=WEB, mobile=MOBILE))), SYSTEM)
    acme = world.orgs["acme"]
    await hub.organizations.change(acme, SYSTEM, templates=frozenset({template.id, "TMPL0thermo"}))
    owner = world.users["uma"].id
    [(device, _)] = await hub.devices.add([NewDevice(name="Hall", template=template, org=acme, owner=owner)], SYSTEM)
    return device


async def test_dashboard_has_the_tabs_of_the_callers_role(world, room):
    for name, expected in (("uma", ["Now", "All"]), ("stan", ["Now", "Service", "All"]), ("ada", ["Now", "All"])):
        answer = (await world.ask(name, "GET", f"{PATH}?deviceId={room.id}")).json
        assert expected == [entry["name"] for entry in answer["tab"]], name
        assert (24, False, None) == (answer["columns"], answer["generated"], answer["tile"])
    for name, expected in (("uma", ["more"]), ("stan", ["more", "service"])):
        answer = (await world.ask(name, "GET", f"{PATH}?deviceId={room.id}&kind=mobile")).json
        assert expected == [entry["id"] for entry in answer["page"]], name
        assert (8, ["v0"]) == (answer["columns"], answer["tile"]["pins"])
        assert ["v0"] == answer["tab"][0]["widget"][0]["pins"]
        assert ["tags"] == [entry["type"] for entry in answer["header"]["widget"]]


async def test_local_key_sees_all_tabs(hub, room):
    async with connected(hub) as http:
        answer = await ApiClient(http, local_key(hub))("GET", "device/dashboard", deviceId=room.id)
    assert ["Now", "Service", "All"] == [entry["name"] for entry in answer["tab"]]


async def test_dashboard_is_that_of_the_version_that_the_device_has(hub, world, room):
    newer = read(with_changes(web={"tab": [tab(widget("led", "V1"))]}), known={"TMPL0room": room.template})
    await hub.templates.put(lambda: newer, SYSTEM, apply=False)
    answer = (await world.ask("uma", "GET", f"{PATH}?deviceId={room.id}")).json
    assert (1, "gauge") == (answer["templateVersion"], answer["tab"][0]["widget"][0]["type"])


async def test_dashboard_has_the_datastreams_with_their_limits_and_whether_users_change_them(world, room):
    answer = (await world.ask("uma", "GET", f"{PATH}?deviceId={room.id}")).json
    heating = next(stream for stream in answer["datastreams"] if stream["pin"] == "v1")
    assert ("Heating", "integer", 0, 1, False) == tuple(
        heating[key] for key in ("alias", "type", "min", "max", "writable")
    )
    assert [{"code": "cold", "name": "Cold", "type": "warning", "color": ""}] == answer["events"]
    assert {"disableWidgets": "none", "noticeOnOpen": False, "noticeOnInteraction": True} == answer["interaction"]


async def test_generated_dashboard_is_marked(world):
    device = await world.device(world.orgs["acme"], world.users["uma"].id)
    answer = (await world.ask("uma", "GET", f"{PATH}?deviceId={device.id}")).json
    assert (True, ["label", "chart"]) == (answer["generated"], [w["type"] for w in answer["tab"][0]["widget"]])


async def test_etag_changes_with_the_template_and_the_role(hub, world, room):
    first, again = [await world.ask("uma", "GET", f"{PATH}?deviceId={room.id}") for _ in range(2)]
    assert first.headers["etag"] == again.headers["etag"]
    assert first.headers["etag"] != (await world.ask("stan", "GET", f"{PATH}?deviceId={room.id}")).headers["etag"]
    await hub.templates.save(to_toml(read(with_changes(mobile=MOBILE))), SYSTEM)
    assert first.headers["etag"] != (await world.ask("uma", "GET", f"{PATH}?deviceId={room.id}")).headers["etag"]


async def test_dashboard_of_a_device_that_the_caller_may_not_view_is_not_found(world, room):
    missing = await world.ask("uma", "GET", f"{PATH}?deviceId=9999")
    foreign = await world.ask("bert", "GET", f"{PATH}?deviceId={room.id}")
    assert (404, 404) == (missing.status, foreign.status)
    assert foreign.message.replace(str(room.id), "9999") == missing.message
    assert 400 == (await world.ask("uma", "GET", f"{PATH}?deviceId={room.id}&kind=tv")).status


async def test_catalogue_lists_the_widgets_with_their_options(world):
    answer = (await world.ask("uma", "GET", "/api/v1/widgets")).json
    assert (24, 8) == (answer["webColumns"], answer["mobileColumns"])
    button = next(entry for entry in answer["web"] if entry["type"] == "button")
    assert (["double", "integer"], 1, 1, True) == tuple(
        button[key] for key in ("types", "minDatastreams", "maxDatastreams", "writes")
    )
    mode = next(option for option in button["options"] if option["name"] == "mode")
    assert ("choice", "push", ["push", "switch"]) == (mode["kind"], mode["default"], mode["choices"])
    assert {"image", "gauge"} <= {entry["type"] for entry in answer["tile"]}


async def test_catalogue_of_widgets_is_compressed(world):
    async with connected(world.hub) as http:
        answer = await http.ask("GET", "/api/v1/widgets", key=world.tokens["uma"], accept_encoding="gzip")
    assert "gzip" == answer.headers["content-encoding"]
    assert len(answer.body) < 20_000
