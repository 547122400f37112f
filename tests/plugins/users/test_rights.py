"""Who may do what: every route for every role on what is theirs, beside, above and below them; and attempts to get more."""

from __future__ import annotations

import attrs
import pytest
import trio
from support.raw_http import connected
from support.tenants import ORG, tenants

from hub.api import AUTHENTICATED, OPEN, Route, camel
from hub.domain.devices import NewDevice
from hub.model import ROOT_ORG, SYSTEM
from plugins.fleet import Fleet
from plugins.fleet.tags import Tag
from plugins.users.model import ADMIN, STAFF, USER, User

RELATIONS = ("own", "same", "child", "parent", "sibling")


@pytest.fixture
async def world(hub):
    return await tenants(hub)


async def names_of(room):
    """All roles by who has them in the tests, and one that may nothing."""
    role = await room.roles.add("Nobody")
    return {"ada": ADMIN, "stan": STAFF, "uma": USER, "nick": role}


# -- the matrix -------------------------------------------------------------------------------------------------------


def in_scope(granted, relation):
    """Strictly downward, and below one's own organization only for who may view sub-organizations."""
    return relation in ("own", "same") or (relation == "child" and "orgs.view" in granted)


def expected_on_device(permissions, granted, permission, relation):
    if not in_scope(granted, relation):
        return False
    if permission in granted and "org_devices.view" in granted:
        return True
    own = permissions[permission].own or permission
    return relation == "own" and "own_devices.view" in granted and own in granted


def fields_of(route):
    """The names of what its body has."""
    return {a.name for a in attrs.fields(route.body)} if route.body else set()


def kind_of(route):
    """What a route is about, by the parameter that says it."""
    names = fields_of(route) | {parameter.argument for parameter in route.parameters}
    return next((kind for kind in ("device_id", "user_id", "org_id") if kind in names), None)


#: About nothing that belongs to an organization: the hub as a whole, or the asker's own.
ABOUT_NOTHING = {
    "GET /api/v1/organization/search/devices",
    "GET /api/v1/organization/search",
    "GET /api/v1/history",
    "GET /api/v1/organization/device/by-user-org",
    "POST /api/v1/organization/users/create",
    "POST /api/v1/organization/users/register",
    "GET /api/v1/organization/permissions",
    "POST /api/v1/organization/role/create",
    "PUT /api/v1/organization/role",
    "DELETE /api/v1/organization/role",
    "DELETE /api/v1/organization/client",
    "POST /api/v1/device/import",
    "GET /api/v1/organization/template",
    "GET /api/v1/organization/template/datastreams",
    "GET /api/v1/organization/template/events",
    "GET /api/v1/organization/template/metafields",
    "GET /api/v1/template/document",
    "POST /api/v1/organization/template/create",
    "PUT /api/v1/organization/template",
    "DELETE /api/v1/organization/template",
    "POST /api/v1/template/create",
    "PUT /api/v1/template",
    "DELETE /api/v1/template",
    "POST /api/v1/template/duplicate",
    "POST /api/v1/template/apply",
    "GET /api/v1/template/versions",
    "GET /api/v1/template/difference",
    "POST /api/v1/template/restore",
    "GET /api/v1/template/export",
    "POST /api/v1/template/import",
    "GET /api/v1/audit/verify",
    "GET /api/v1/clock",
    "POST /api/v1/clock/repair",
    "GET /api/v1/clock/repair",
    "GET /api/v1/status",
    "GET /api/v1/plugins",
    "GET /api/v1/refusals",
    "GET /api/v1/history/costs",
    "GET /metrics",
    "POST /api/v1/backup",
    "GET /api/v1/backup",
    "POST /api/v1/organization/create",
    "PUT /api/v1/organization/tag",
    "DELETE /api/v1/organization/tag",
    "GET /api/v1/organization/segment",
    "PUT /api/v1/organization/segment",
    "DELETE /api/v1/organization/segment",
    "GET /api/v1/organization/location",
    "PUT /api/v1/organization/location",
    "DELETE /api/v1/organization/location",
    "POST /api/v1/organization/location/users",
}
#: Routes that change or delete an organization, which later requests of the matrix still need as it is.
CHANGE_ORGANIZATION = {
    "DELETE /api/v1/organization",
    "PUT /api/v1/organization",
    "PUT /api/v1/organization/edit/name",
}
#: Their other parameters.
MORE = {"fileId": 1, "pin": "v0", "query": "x", "roleId": USER, "ownerEmail": "x"}
#: What stands in a body where its type says no more.
SAMPLES = {
    "token": None, "pin": "v0", "data_stream_id": None, "host": "example.org", "event_code": "hot", "name": "New name",
    "email": "new@example.org", "meta_field_id": None, "values": [], "rows": [], "property": "label",
    "permissions": {"users.view": True}, "role_id": USER, "password": "a new password", "template_id": "TMPL0thermo",
    "new_user_id": 0, "new_org_id": 1, "event_id": 1, "text": "x", "new_value": "x", "value": 1, "owner_id": None,
    "password_hash": None, "parent_id": None, "action": "write", "location_id": 0, "find": {}, "query": "D",
}  # fmt: skip


def body_of(route, kind, number):
    if route.body is None:
        return b"" if route.method != "GET" else None
    body = {}
    for field in attrs.fields(route.body):
        if field.name == kind:
            body[camel(field.name)] = number
        elif field.name in SAMPLES and (field.default is attrs.NOTHING or SAMPLES[field.name] is not None):
            body[camel(field.name)] = SAMPLES[field.name]
    if {"newUserId", "newOrgId"} <= body.keys():
        # One of them.
        del body["newOrgId"]
    if "values" in body and "Mapping" not in str(attrs.fields_dict(route.body)["values"].type):
        body["values"] = {"1": 1} if "dict" in str(attrs.fields_dict(route.body)["values"].type) else []
    return body


def target_of(route, kind, number):
    asked = {camel(kind): number} | MORE
    params = {one.name: asked[one.name] for one in route.parameters if one.name in asked}
    return route.path + "?" + "&".join(f"{name}={value}" for name, value in params.items())


def denied(answer):
    """Whether somebody was turned away, and not what they asked for refused for another reason."""
    if answer.status == 404:
        return "is not found or" in answer.message
    return answer.status == 403


async def test_every_route_is_in_the_matrix(hub):
    for route in hub.routes:
        if isinstance(route, Route) and route.permission not in (*OPEN, AUTHENTICATED):
            assert kind_of(route) or f"{route.method} {route.path}" in ABOUT_NOTHING, route.path


@pytest.mark.parametrize("kind", ["device_id", "user_id", "org_id"])
async def test_every_role_reaches_by_every_route_what_it_should_and_no_more(world, kind):
    hub, room = world.hub, world.service
    roles = await names_of(room)
    acme, works, beta = (world.orgs[name] for name in ("acme", "works", "beta"))
    await world.user("nick", acme, roles["nick"])
    place = {"own": acme, "same": acme, "child": works, "parent": ROOT_ORG, "sibling": beta}
    permissions = {permission.id: permission for permission in hub.permissions}
    checked = 0
    SAMPLES["org_id"] = SAMPLES["target_org_id"] = SAMPLES["new_org_id"] = acme
    # What is not there is told like what is another organization's.
    tags = hub.service(Fleet).tags
    SAMPLES["tag_id"] = MORE["tagId"] = (await tags.add(Tag(id=0, org=acme, name="Tag"))).id
    async with connected(hub) as http:
        for route in hub.routes:
            if not isinstance(route, Route) or route.permission in (*OPEN, AUTHENTICATED):
                continue
            name = f"{route.method} {route.path}"
            if name in ABOUT_NOTHING or kind_of(route) != kind:
                continue
            for who, role in roles.items():
                granted = room.roles.grants(acme, role) - {"templates.edit"}
                for relation in RELATIONS:
                    if kind == "device_id":
                        owner = world.users[who].id if relation == "own" else None
                        new = NewDevice(name="D", template=world.template, org=place[relation], owner=owner)
                        [(device, _)] = await hub.devices.add([new], SYSTEM)
                        number = device.id
                        may = expected_on_device(permissions, granted, route.permission, relation)
                    elif kind == "user_id":
                        checked += 1
                        new = User(id=0, org=place[relation], email=f"victim{checked}@example.org", role=USER)
                        number = (await room.users.add(new, None)).id
                        may = in_scope(granted, relation) and route.permission in granted
                    else:
                        number = place[relation]
                        either = {route.permission, permissions[route.permission].own}
                        may = in_scope(granted, relation) and bool(either & granted)
                        if may and name in CHANGE_ORGANIZATION:
                            # Not one's own, and the others go on being needed.
                            continue
                        checked += 1
                        SAMPLES["email"] = f"new{checked}@example.org"
                    if may and role != ADMIN and kind != "device_id" and "role_id" in fields_of(route):
                        # Whether they may also give that role is asked in the tests below.
                        continue
                    answer = await http.ask(
                        route.method, target_of(route, kind, number), body_of(route, kind, number), world.tokens[who]
                    )
                    assert denied(answer) != may, (name, who, relation, answer.status, answer.body)
                    assert answer.status != 500, (name, answer.body)
                    checked += 1
    assert checked > 100


async def test_routes_about_nothing_in_particular_ask_for_their_permission(world):
    roles = await names_of(world.service)
    await world.user("nick", world.orgs["acme"], roles["nick"])
    async with connected(world.hub) as http:
        for route in world.hub.routes:
            if isinstance(route, Route) and f"{route.method} {route.path}" in ABOUT_NOTHING:
                for who, role in roles.items():
                    granted = world.service.roles.grants(world.orgs["acme"], role) - {"templates.edit"}
                    own = next(p.own for p in world.hub.permissions if p.id == route.permission)
                    if route.permission not in granted and own not in granted:
                        body = None if route.method == "GET" else b""
                        answer = await http.ask(route.method, route.path, body, world.tokens[who])
                        assert 403 == answer.status, (route.path, who)


async def test_whoever_is_nobody_reaches_nothing(world):
    async with connected(world.hub) as http:
        for route in world.hub.routes:
            if isinstance(route, Route) and route.permission not in OPEN:
                answer = await http.ask(route.method, route.path, None if route.method == "GET" else b"", "stranger")
                assert 401 == answer.status, route.path


# -- lists show only what is one's own --------------------------------------------------------------------------------


async def test_lists_show_an_organization_and_what_is_below_it(world):
    for name, org in world.orgs.items():
        await world.device(org, name=f"In {name}")

    async def seen(who):
        answer = await world.ask(who, "GET", f"{ORG}/devices?size=1000&includeSubOrgDevices=true")
        return {device["name"] for device in answer.json["content"]}

    assert {"In acme", "In works"} == await seen("ada")
    assert {"In beta"} == await seen("bert")
    assert {"In root", "In acme", "In works", "In beta"} == await seen("rita")
    assert set() == await seen("uma")
    search = await world.ask("bert", "GET", f"{ORG}/search/devices?query=in")
    assert ["In beta"] == [device["name"] for device in search.json["content"]]


async def test_a_user_sees_their_own_devices(world):
    mine = await world.device(world.orgs["acme"], owner=world.users["uma"].id, name="Mine")
    await world.device(world.orgs["acme"], name="Not mine")

    listed = (await world.ask("uma", "GET", f"{ORG}/devices")).json
    assert [mine.id] == [device["id"] for device in listed["content"]]
    write = {"deviceId": mine.id, "pin": "v0", "value": 21.5}
    assert 204 == (await world.ask("uma", "POST", f"{ORG}/device/datastream", write)).status


async def test_templates_are_those_enabled_in_the_organization(world):
    await world.hub.templates.save('[template]\nid = "TMPL0secret"\nname = "Secret"', SYSTEM)

    listed = (await world.ask("ada", "GET", f"{ORG}/templates")).json
    assert ["TMPL0thermo"] == [template["id"] for template in listed["content"]]
    for path in (f"{ORG}/template?templateId=TMPL0secret", "/api/v1/template/export?templateId=TMPL0secret"):
        assert 404 == (await world.ask("ada", "GET", path)).status
    body = {"templateId": "TMPL0secret", "name": "X"}
    assert 404 == (await world.ask("ada", "POST", f"{ORG}/device/create", body)).status
    csv = {"csv": "name,template\nX,TMPL0secret\n"}
    assert 400 == (await world.ask("ada", "POST", "/api/v1/device/import", csv)).status


async def test_only_developers_edit_templates_and_only_in_the_root(world):
    toml = {"toml": '[template]\nid = "TMPL0new"\nname = "New"'}
    assert 403 == (await world.ask("ada", "POST", "/api/v1/template/import", toml)).status
    assert 403 == (await world.ask("rita", "POST", "/api/v1/template/import", toml)).status
    await world.service.users.change(world.users["rita"], developer=True)
    assert 200 == (await world.ask("rita", "POST", "/api/v1/template/import", toml)).status


# -- escalation -------------------------------------------------------------------------------------------------------


async def grant(world, *permissions):
    await world.service.roles.switch(world.orgs["acme"], STAFF, [(one, True) for one in permissions])


async def test_nobody_gives_more_than_they_have(world):
    await grant(world, "users.edit", "users.password", "users.delete", "users.suspend", "users.transfer", "roles.edit")
    ada, uma = world.users["ada"].id, world.users["uma"].id
    for method, path, body in (
        ("POST", f"{ORG}/users/invite", {"email": "x@example.org", "roleId": ADMIN}),
        ("POST", f"{ORG}/users/create-in-org", {"email": "x@example.org", "roleId": ADMIN, "password": "long enough"}),
        ("POST", f"{ORG}/users/create", {"email": "x@example.org", "password": "long enough"}),
        ("PUT", f"{ORG}/users/role?userId={uma}&roleId={ADMIN}", b""),
        ("PUT", f"{ORG}/users/role?userId={ada}&roleId={USER}", b""),
        ("POST", f"{ORG}/user/reset", {"userId": ada}),
        ("POST", f"{ORG}/user/password", {"userId": ada, "password": "mine now, ha"}),
        ("POST", f"{ORG}/user/suspend", {"userId": ada}),
        ("DELETE", f"{ORG}/user?userId={ada}", None),
        ("POST", f"{ORG}/users/transfer", {"userId": uma, "targetOrgId": world.orgs["works"], "roleId": ADMIN}),
        ("POST", f"{ORG}/role/permissions", {"roleId": USER, "permissions": {"users.logout": True}}),
    ):
        answer = await world.ask("stan", method, path, body)
        assert 403 == answer.status, (path, answer.body)
    assert ADMIN == world.users["ada"].role
    assert not world.users["ada"].suspended


async def test_nobody_changes_their_own_role_or_what_it_may(world):
    await grant(world, "users.edit", "roles.edit")
    stan = world.users["stan"].id
    more = {"roleId": STAFF, "permissions": {"users.view": True}}
    assert 403 == (await world.ask("stan", "PUT", f"{ORG}/users/role?userId={stan}&roleId={USER}", b"")).status
    assert 403 == (await world.ask("stan", "POST", f"{ORG}/role/permissions", more)).status
    admin = {"roleId": ADMIN, "permissions": {"users.view": False}}
    assert 403 == (await world.ask("rita", "POST", f"{ORG}/role/permissions", admin)).status
    assert "users.view" in world.service.roles.grants(world.orgs["acme"], ADMIN)


async def test_an_administrator_of_an_organization_does_not_run_the_hub(world):
    for method, path in (
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/refusals"),
        ("GET", "/metrics"),
        ("POST", "/api/v1/clock/repair"),
        ("GET", "/api/v1/clock/repair"),
        ("POST", "/api/v1/backup"),
        ("GET", "/api/v1/audit/verify"),
        ("POST", f"{ORG}/transfer"),
        ("POST", f"{ORG}/role/create"),
    ):
        assert 403 == (await world.ask("ada", method, path, None if method == "GET" else b"")).status, path
        assert 403 != (await world.ask("rita", method, path, None if method == "GET" else b"")).status, path


async def test_a_role_that_is_allowed_more_is_allowed_what_that_needs_too(world):
    role = await world.service.roles.add("Keeper")
    acme = world.orgs["acme"]
    assert {"users.edit", "users.view"} == await world.service.roles.switch(acme, role, [("users.edit", True)])
    assert set() == await world.service.roles.switch(acme, role, [("users.view", False)])


async def test_what_a_role_may_is_each_organizations_own_until_it_is_pushed_down(world):
    roles, acme, works = world.service.roles, world.orgs["acme"], world.orgs["works"]
    await roles.switch(works, USER, [("templates.view", True)])
    await roles.switch(acme, USER, [("own_devices.edit", True)])
    assert "own_devices.edit" not in roles.grants(works, USER)
    assert "own_devices.edit" not in roles.grants(world.orgs["beta"], USER)

    body = {"roleId": USER, "permissions": {"own_devices.edit": True}, "overwrite": True}
    assert 200 == (await world.ask("ada", "POST", f"{ORG}/role/permissions", body)).status
    assert "own_devices.edit" in roles.grants(works, USER)
    assert "templates.view" not in roles.grants(works, USER)


async def test_two_who_change_a_role_at_once_lose_nothing(world):
    async with trio.open_nursery() as nursery:
        for permission in ("templates.view", "users.view", "analytics.view"):
            nursery.start_soon(world.service.roles.switch, world.orgs["acme"], USER, [(permission, True)])
    assert {"templates.view", "users.view", "analytics.view"} <= world.service.roles.grants(world.orgs["acme"], USER)


async def test_a_role_that_is_deleted_leaves_another_in_its_place(world):
    made = (await world.ask("rita", "POST", f"{ORG}/role/create", {"name": "Guest", "like": USER})).json
    await world.service.users.change(world.users["uma"], role=made["id"])
    for path, status in (
        (f"{ORG}/role?roleId={ADMIN}&insteadId={USER}", 403),
        (f"{ORG}/role?roleId={made['id']}&insteadId={made['id']}", 400),
        (f"{ORG}/role?roleId=99&insteadId={USER}", 404),
        (f"{ORG}/role?roleId={made['id']}&insteadId={USER}", 204),
    ):
        assert status == (await world.ask("rita", "DELETE", path)).status, path
    assert USER == world.users["uma"].role
    assert "Guest" not in world.service.roles.names.values()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "x" * 41}, 400),
        ({"name": "admin"}, 409),
        ({"name": 5}, 400),
        ({"name": "Fine", "like": 99}, 404),
        ({"name": "Fine", "colour": "red"}, 400),
    ],
    ids=str,
)
async def test_a_role_that_makes_no_sense_is_refused(world, body, status):
    assert status == (await world.ask("rita", "POST", f"{ORG}/role/create", body)).status


@pytest.mark.parametrize("permissions", [{}, {"users.fly": True}, {"users.view": "yes"}, ["users.view"]], ids=str)
async def test_permissions_that_make_no_sense_are_refused(world, permissions):
    body = {"roleId": USER, "permissions": permissions}
    assert 400 == (await world.ask("rita", "POST", f"{ORG}/role/permissions", body)).status
