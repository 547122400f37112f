"""Who sees which dashboard, and which devices on it: the viewer's rights count, never the author's."""

from __future__ import annotations

import pytest
from support.api import error_of
from support.dashboards import label
from support.raw_http import ask as ask_hub
from support.raw_http import local_key

from hub.model import SYSTEM
from plugins.users.model import ADMIN, STAFF, USER

SUM = {"type": "label", "options": label(aggregate="sum")}
COUNT = {"type": "total_devices"}


@pytest.fixture
async def members(boards):
    """Wanda (Staff) and Wim (User) of works, and devices of acme, works and beta with the values 1, 10 and 100."""
    world = boards.world
    for name, role in (("wanda", STAFF), ("wim", USER)):
        user = await world.user(name, world.orgs["works"], role)
        _, world.tokens[name] = await world.service.credentials.add_key(user, "Test", None, None)
    await boards.device("works", "Wim's", owner=world.users["wim"].id)
    devices = {}
    for org, value in (("acme", 1), ("works", 10), ("beta", 100)):
        devices[org] = await boards.device(org, f"In {org}")
        boards.write(devices[org], 0, value)
    return devices


async def names(boards, who, **params):
    page = await boards.as_user(who, "GET", "dashboards", **params)
    return [entry["name"] for entry in page["content"]]


async def test_dashboard_is_visible_to_its_roles_and_to_those_who_edit(boards, members):
    await boards.create(SUM, name="Default")
    await boards.create(SUM, name="Staff", viewRoles=[STAFF])
    await boards.create(SUM, name="Nobody", viewRoles=[])
    assert ["Default", "Nobody", "Staff"] == await names(boards, "ada"), "Ada edits them"
    assert ["Staff"] == await names(boards, "stan")
    assert [] == await names(boards, "uma")
    assert [] == await names(boards, "bert"), "another organization"
    await boards.world.service.users.change(boards.world.users["ada"], developer=False)
    assert ["Default"] == await names(boards, "ada"), "a new dashboard is open to the role of its author"


async def test_dashboard_is_shared_with_the_organizations_of_its_data_source(boards, members):
    acme, works = boards.world.orgs["acme"], boards.world.orgs["works"]
    for name, organizations in (("All", []), ("Own", [acme]), ("Works", [works])):
        await boards.create(SUM, name=name, viewRoles=[STAFF], source={"organizations": organizations})
    assert ["All", "Works"] == await names(boards, "wanda")
    assert ["All", "Own", "Works"] == await names(boards, "stan")
    assert ["All", "Works"] == await names(boards, "ada", orgId=works)
    assert 404 == (await boards.as_user("wanda", "GET", "dashboards", orgId=acme)).status


async def test_viewer_gets_devices_that_they_may_view_only(boards, members):
    board = await boards.create(SUM, COUNT, viewRoles=[STAFF, USER])
    for who, total, count in (("ada", 11, 3), ("stan", 11, 3), ("wanda", 10, 2), ("wim", None, 1)):
        assert total == (await boards.data(board, 1, who))["value"], who
        assert count == (await boards.data(board, 2, who))["value"], who
    narrow = await boards.create(SUM | {"devices": {"devices": [members["acme"].id]}}, viewRoles=[STAFF], name="Picked")
    assert 1 == (await boards.data(narrow, 1, "stan"))["value"]
    data = await boards.data(narrow, 1, "wanda")
    assert (0, "There is no device in this widget that you may view.") == (data["devices"], data["problem"])


async def test_shared_dashboard_is_edited_where_it_was_made(boards, members):
    board = await boards.create(SUM, viewRoles=[STAFF, ADMIN])
    works = boards.world.orgs["works"]
    wes = await boards.world.user("wes", works, ADMIN)
    await boards.world.service.users.change(wes, developer=True)
    shared = await boards.as_user("wes", "GET", "dashboard", dashboardId=board["id"])
    assert (False, None, []) == (shared["editable"], shared["orgId"], shared["viewRoles"])
    response = await boards.as_user("wes", "PUT", "dashboard", {"dashboardId": board["id"], "name": "Mine"})
    assert "edited in the organization that it was created in" in error_of(response, 404)
    assert 404 == (await boards.as_user("wes", "DELETE", "dashboard", dashboardId=board["id"])).status
    # It may be the homepage of works, though.
    await boards.as_user("wes", "PUT", "dashboard/homepage", {"dashboardId": board["id"]})
    [listed] = (await boards.as_user("wanda", "GET", "dashboards"))["content"]
    assert (True, False) == (listed["homepage"], listed["editable"])
    [listed] = (await boards.ask("GET", "dashboards"))["content"]
    assert not listed["homepage"], "that of acme is another one"


async def test_viewer_does_not_learn_of_devices_organizations_and_templates_that_they_may_not_see(boards, members):
    orgs = boards.world.orgs
    spots = [{"deviceId": members[org].id, "x": 10, "y": 10} for org in ("acme", "works")]
    picked = {"devices": {"devices": [members["acme"].id]}}
    board = await boards.create(
        {"type": "image_map", "options": {"image": "https://example.org/plan.png", "spots": spots}} | picked,
        SUM | {"devices": {"find": {"filters": [{"attribute": "owner", "values": ["eve@example.org"]}]}}},
        viewRoles=[STAFF],
        source={"organizations": [orgs["acme"], orgs["works"]], "templates": ["TMPL0probe", "TMPL0thermo"]},
    )
    await boards.hub.organizations.change(orgs["works"], SYSTEM, templates=frozenset({"TMPL0probe"}))
    shown = await boards.as_user("wanda", "GET", "dashboard", dashboardId=board["id"])
    assert {"organizations": [orgs["works"]], "templates": ["TMPL0probe"]} == shown["source"]
    image, other = shown["tabs"][0]["widgets"]
    assert [members["works"].id] == [spot["deviceId"] for spot in image["options"]["spots"]]
    assert {"segmentId": None, "find": None, "devices": []} == image["devices"] == other["devices"]
    whole = await boards.as_user("ada", "GET", "dashboard", dashboardId=board["id"])
    assert [members["acme"].id] == whole["tabs"][0]["widgets"][0]["devices"]["devices"]


async def test_organization_that_leaves_takes_its_devices_along(boards, members):
    orgs = boards.world.orgs
    board = await boards.create(SUM, source={"organizations": [orgs["acme"], orgs["works"]]}, viewRoles=[STAFF])
    assert 11 == (await boards.data(board))["value"]
    await boards.hub.organizations.move(orgs["works"], orgs["beta"], SYSTEM)
    assert 1 == (await boards.data(board))["value"]
    assert [] == await names(boards, "wanda")
    assert 404 == (await boards.data(board, who="wanda")).status
    # Neither Rita, who sees both organizations, nor the local key gets them on this dashboard.
    assert 1 == (await boards.data(board, who="rita"))["value"]
    body = {"dashboardId": board["id"], "widgetId": 1}
    local = await ask_hub(boards.hub, "POST", "/api/v1/dashboard/data", body, key=local_key(boards.hub))
    assert 1 == local.json["value"]
    edited = await boards.ask("PUT", "dashboard", {"dashboardId": board["id"], "name": "Still editable"})
    assert "Still editable" == edited["name"]
    again = {"dashboardId": board["id"], "source": {"organizations": [orgs["acme"], orgs["beta"]]}}
    assert "Organization with identifier" in error_of(await boards.ask("PUT", "dashboard", again))


async def test_rights_that_are_taken_away_count_at_once(boards, members):
    board = await boards.create(SUM, viewRoles=[STAFF])
    assert 11 == (await boards.data(board, who="stan"))["value"]
    roles, acme = boards.world.service.roles, boards.world.orgs["acme"]
    await roles.switch(acme, STAFF, [("orgs.view", False)])
    assert 1 == (await boards.data(board, who="stan"))["value"]
    await roles.switch(acme, STAFF, [("org_devices.view", False), ("own_devices.view", False)])
    assert 403 == (await boards.data(board, who="stan")).status
    await boards.world.service.users.change(boards.world.users["stan"], role=USER)
    assert 404 == (await boards.data(board, who="stan")).status


async def test_author_needs_both_permissions(boards):
    roles, acme = boards.world.service.roles, boards.world.orgs["acme"]
    await boards.world.service.users.change(boards.world.users["stan"], developer=True)
    assert 403 == (await boards.create(SUM, who="stan")).status
    await roles.switch(acme, STAFF, [("dashboards.edit", True), ("templates.view", False)])
    assert "templates.view" in error_of(await boards.create(SUM, who="stan"), 403)
    await roles.switch(acme, STAFF, [("templates.view", True)])
    assert isinstance(await boards.create(SUM, who="stan"), dict)
    foreign = await boards.create(SUM, who="stan", orgId=boards.world.orgs["beta"])
    assert "is not found or" in error_of(foreign, 404)


async def test_author_cannot_pick_devices_or_segments_of_others(boards, members):
    works, beta = boards.world.orgs["works"], boards.world.orgs["beta"]
    response = await boards.create(SUM | {"devices": {"devices": [members["beta"].id]}})
    assert f"Device with identifier {members['beta'].id} is not found" in error_of(response)
    for who, org in (("bert", beta), ("ada", works)):
        body = {"name": "S", "devices": [], "orgId": org}
        segment = await boards.as_user(who, "POST", "organization/segment/create", body)
        response = await boards.create(SUM | {"devices": {"segmentId": segment["id"]}})
        assert f"there is no segment {segment['id']}" in error_of(response)


async def test_homepage_must_be_a_dashboard_of_the_organization(boards, members):
    orgs = boards.world.orgs
    board = await boards.create(SUM, source={"organizations": [orgs["acme"]]})
    response = await boards.ask("PUT", "dashboard/homepage", {"dashboardId": board["id"], "orgId": orgs["works"]})
    assert "not shared with works" in error_of(response, 404)
    await boards.ask("PUT", "dashboard/homepage", {"dashboardId": board["id"]})
    assert [True] == [entry["homepage"] for entry in (await boards.ask("GET", "dashboards"))["content"]]
    await boards.ask("PUT", "dashboard/homepage", {})
    assert [False] == [entry["homepage"] for entry in (await boards.ask("GET", "dashboards"))["content"]]
    assert 404 == (await boards.ask("PUT", "dashboard/homepage", {"dashboardId": 99})).status
    assert 403 == (await boards.as_user("stan", "PUT", "dashboard/homepage", {})).status


async def test_viewer_narrows_a_dashboard_for_themselves(boards, members):
    orgs = boards.world.orgs
    thermometer = await boards.device("acme", "Thermometer", boards.world.template)
    boards.write(thermometer, 0, 1000)
    board = await boards.create(SUM)
    choices = await boards.ask("GET", "dashboard/filters", dashboardId=board["id"])
    assert [("acme", 2), ("works", 2)] == [(entry["name"], entry["devices"]) for entry in choices["organizations"]]
    assert [("TMPL0probe", 3), ("TMPL0thermo", 1)] == [
        (entry["id"], entry["devices"]) for entry in choices["templates"]
    ]
    for filters, total in (
        ({}, 1011),
        ({"organizations": [orgs["works"]]}, 10),
        ({"organizations": [orgs["beta"]]}, None),
        ({"templates": ["TMPL0thermo"]}, 1000),
        ({"devices": [members["acme"].id, members["beta"].id, 10**14]}, 1),
    ):
        assert total == (await boards.data(board, filters=filters)).get("value"), filters
    assert 1011 == (await boards.data(board))["value"], "nothing of it is stored"
    response = await boards.data(board, filters={"devices": list(range(1001))})
    assert "filters.devices has 1001 entries, and at most 1000" in error_of(response)
    assert 400 == (await boards.data(board, filters={"pins": []})).status


async def test_changes_are_in_the_audit(boards, members):
    board = await boards.create(SUM)
    await boards.ask("PUT", "dashboard", {"dashboardId": board["id"], "name": "Renamed"})
    await boards.data(board)
    await boards.ask("DELETE", "dashboard", dashboardId=board["id"])
    records = (await boards.ask("GET", "audit", query="dashboard"))["content"]
    subject = f"dashboard {board['id']}"
    actions = ["Delete a dashboard", "Edit a dashboard", "Make a dashboard"]
    assert [(action, subject) for action in actions] == [(record["action"], record["subject"]) for record in records]


@pytest.mark.parametrize("path", ["data", "write"])
async def test_unknown_dashboard_and_widget_are_not_found(boards, path):
    board = await boards.create(SUM)
    extra = {"value": 1} if path == "write" else {}
    unknown = {"dashboardId": 99, "widgetId": 1} | extra
    assert "Dashboard with identifier 99" in error_of(await boards.ask("POST", f"dashboard/{path}", unknown), 404)
    unknown = {"dashboardId": board["id"], "widgetId": 9} | extra
    assert "Widget with identifier 9" in error_of(await boards.ask("POST", f"dashboard/{path}", unknown), 404)
