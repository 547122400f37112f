"""Permissions: every route with every role, on objects in the user's own, a child, the parent and a sibling organization."""

from __future__ import annotations

import attrs
import pytest
from support.raw_http import connected
from support.tenants import ORG

from hub.api import AUTHENTICATED, OPEN, Route, camel
from hub.domain.devices import NewDevice
from hub.model import ROOT_ORG, SYSTEM
from plugins.fleet import Fleet
from plugins.fleet.tags import Tag
from plugins.users.authorization import DEVELOPERS
from plugins.users.model import ADMIN, STAFF, USER, User

RELATIONS = ("own", "same", "child", "parent", "sibling")


async def roles_by_user(service):
    """Return the roles by user name: the three built-in roles, and a role without permissions for nick."""
    role = await service.roles.add("Nobody")
    return {"ada": ADMIN, "stan": STAFF, "uma": USER, "nick": role}


# -- the matrix -------------------------------------------------------------------------------------------------------


def in_scope(granted, relation):
    """Return whether an organization is in scope: the user's own, and its children if the role may view them."""
    return relation in ("own", "same") or (relation == "child" and "orgs.view" in granted)


def expected_on_device(permissions, granted, permission, relation):
    if not in_scope(granted, relation):
        return False
    if permission in granted and "org_devices.view" in granted:
        return True
    own = permissions[permission].own or permission
    return relation == "own" and "own_devices.view" in granted and own in granted


def fields_of(route):
    """Return the names of the fields of a route's body."""
    return {a.name for a in attrs.fields(route.body)} if route.body else set()


def kind_of(route):
    """Return the parameter that names the object of a route."""
    names = fields_of(route) | {parameter.argument for parameter in route.parameters}
    return next((kind for kind in ("device_id", "user_id", "org_id") if kind in names), None)


#: Routes without an object in an organization: they concern the hub, or the requesting user.
WITHOUT_OBJECT = {
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
    "POST /api/v1/organization/template/datastream/create",
    "PUT /api/v1/organization/template/datastream",
    "DELETE /api/v1/organization/template/datastream",
    "POST /api/v1/organization/template/event/create",
    "PUT /api/v1/organization/template/event",
    "DELETE /api/v1/organization/template/event",
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
    "GET /api/v1/template/assets",
    "GET /api/v1/template/groups",
    "POST /api/v1/template/asset",
    "PUT /api/v1/template/asset",
    "DELETE /api/v1/template/asset",
    "GET /api/v1/audit/verify",
    "GET /api/v1/mails",
    "POST /api/v1/mail/test",
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
    "GET /api/v1/dashboard",
    "PUT /api/v1/dashboard",
    "DELETE /api/v1/dashboard",
    "GET /api/v1/dashboard/filters",
    "POST /api/v1/dashboard/data",
    "POST /api/v1/dashboard/write",
}


#: Routes that change or delete an organization, which later requests of the matrix still need as it is.
CHANGE_ORGANIZATION = {
    "DELETE /api/v1/organization",
    "PUT /api/v1/organization",
    "PUT /api/v1/organization/edit/name",
}


#: Values of the other query parameters.
OTHER_PARAMETERS = {"fileId": 1, "pin": "v0", "query": "x", "roleId": USER, "ownerEmail": "x"}


#: Values of the fields of bodies.
SAMPLES = {
    "token": None, "pin": "v0", "data_stream_id": None, "host": "example.org", "event_code": "hot", "name": "New name",
    "email": "new@example.org", "meta_field_id": None, "values": [], "rows": [], "property": "label",
    "permissions": {"users.view": True}, "role_id": USER, "password": "a new password", "template_id": "TMPL0thermo",
    "new_user_id": 0, "new_org_id": 1, "event_id": 1, "text": "x", "new_value": "x", "value": 1, "owner_id": None,
    "password_hash": None, "parent_id": None, "action": "write", "location_id": 0, "find": {}, "query": "D",
}  # fmt: skip


def body_of(route, kind, object_id):
    if route.body is None:
        return b"" if route.method != "GET" else None
    body = {}
    for field in attrs.fields(route.body):
        if field.name == kind:
            body[camel(field.name)] = object_id
        elif field.name in SAMPLES and (field.default is attrs.NOTHING or SAMPLES[field.name] is not None):
            body[camel(field.name)] = SAMPLES[field.name]
    if {"newUserId", "newOrgId"} <= body.keys():
        # They exclude each other.
        del body["newOrgId"]
    if "values" in body and "Mapping" not in str(attrs.fields_dict(route.body)["values"].type):
        body["values"] = {"1": 1} if "dict" in str(attrs.fields_dict(route.body)["values"].type) else []
    return body


def target_of(route, kind, object_id):
    values = {camel(kind): object_id} | OTHER_PARAMETERS
    params = {parameter.name: values[parameter.name] for parameter in route.parameters if parameter.name in values}
    return route.path + "?" + "&".join(f"{name}={value}" for name, value in params.items())


def denied(response):
    """Return whether a response rejects the user, and not the request for another reason."""
    if response.status == 404:
        return "is not found or" in response.message
    return response.status == 403


async def test_every_route_is_in_the_matrix(hub):
    for route in hub.routes:
        if isinstance(route, Route) and route.permission not in (*OPEN, AUTHENTICATED):
            assert kind_of(route) or f"{route.method} {route.path}" in WITHOUT_OBJECT, route.path


@pytest.mark.parametrize("kind", ["device_id", "user_id", "org_id"])
async def test_every_route_permits_exactly_the_roles_and_organizations_it_should(world, kind):
    hub, service = world.hub, world.service
    roles = await roles_by_user(service)
    acme, works, beta = (world.orgs[name] for name in ("acme", "works", "beta"))
    await world.user("nick", acme, roles["nick"])
    organizations = {"own": acme, "same": acme, "child": works, "parent": ROOT_ORG, "sibling": beta}
    permissions = {permission.id: permission for permission in hub.permissions}
    checked = 0
    SAMPLES["org_id"] = SAMPLES["target_org_id"] = SAMPLES["new_org_id"] = acme
    # Without this tag, "not found" would look like a rejection.
    tags = hub.service(Fleet).tags
    SAMPLES["tag_id"] = OTHER_PARAMETERS["tagId"] = (await tags.add(Tag(id=0, org=acme, name="Tag"))).id
    async with connected(hub) as http:
        for route in hub.routes:
            if not isinstance(route, Route) or route.permission in (*OPEN, AUTHENTICATED):
                continue
            name = f"{route.method} {route.path}"
            if name in WITHOUT_OBJECT or kind_of(route) != kind:
                continue
            for user, role in roles.items():
                granted = service.roles.grants(acme, role) - DEVELOPERS
                for relation in RELATIONS:
                    if kind == "device_id":
                        owner = world.users[user].id if relation == "own" else None
                        new = NewDevice(name="D", template=world.template, org=organizations[relation], owner=owner)
                        [(device, _)] = await hub.devices.add([new], SYSTEM)
                        object_id = device.id
                        permitted = expected_on_device(permissions, granted, route.permission, relation)
                    elif kind == "user_id":
                        checked += 1
                        new = User(id=0, org=organizations[relation], email=f"victim{checked}@example.org", role=USER)
                        object_id = (await service.users.add(new, None)).id
                        permitted = in_scope(granted, relation) and route.permission in granted
                    else:
                        object_id = organizations[relation]
                        permission_ids = {route.permission, permissions[route.permission].own}
                        permitted = in_scope(granted, relation) and bool(permission_ids & granted)
                        if permitted and name in CHANGE_ORGANIZATION:
                            # Later requests of the matrix need the organizations.
                            continue
                        checked += 1
                        SAMPLES["email"] = f"new{checked}@example.org"
                    if permitted and role != ADMIN and kind != "device_id" and "role_id" in fields_of(route):
                        # test_privilege_escalation.py tests which roles may be granted.
                        continue
                    response = await http.ask(
                        route.method,
                        target_of(route, kind, object_id),
                        body_of(route, kind, object_id),
                        world.tokens[user],
                    )
                    assert denied(response) != permitted, (name, user, relation, response.status, response.body)
                    assert response.status != 500, (name, response.body)
                    checked += 1
    assert checked > 100


async def test_routes_without_object_require_their_permission(world):
    roles = await roles_by_user(world.service)
    await world.user("nick", world.orgs["acme"], roles["nick"])
    async with connected(world.hub) as http:
        for route in world.hub.routes:
            if isinstance(route, Route) and f"{route.method} {route.path}" in WITHOUT_OBJECT:
                for user, role in roles.items():
                    granted = world.service.roles.grants(world.orgs["acme"], role) - DEVELOPERS
                    own = next(p.own for p in world.hub.permissions if p.id == route.permission)
                    if route.permission not in granted and own not in granted:
                        body = None if route.method == "GET" else b""
                        response = await http.ask(route.method, route.path, body, world.tokens[user])
                        assert 403 == response.status, (route.path, user)


async def test_unknown_token_is_rejected_by_every_route(world):
    async with connected(world.hub) as http:
        for route in world.hub.routes:
            if isinstance(route, Route) and route.permission not in OPEN:
                response = await http.ask(route.method, route.path, None if route.method == "GET" else b"", "unknown")
                assert 401 == response.status, route.path


# -- lists ------------------------------------------------------------------------------------------------------------


async def test_device_lists_contain_only_the_organization_and_those_below(world):
    for name, org in world.orgs.items():
        await world.device(org, name=f"In {name}")

    async def listed_for(user):
        response = await world.ask(user, "GET", f"{ORG}/devices?size=1000&includeSubOrgDevices=true")
        return {device["name"] for device in response.json["content"]}

    assert {"In acme", "In works"} == await listed_for("ada")
    assert {"In beta"} == await listed_for("bert")
    assert {"In root", "In acme", "In works", "In beta"} == await listed_for("rita")
    assert set() == await listed_for("uma")
    search = await world.ask("bert", "GET", f"{ORG}/search/devices?query=in")
    assert ["In beta"] == [device["name"] for device in search.json["content"]]


async def test_user_without_organization_view_lists_only_their_own_devices(world):
    mine = await world.device(world.orgs["acme"], owner=world.users["uma"].id, name="Mine")
    await world.device(world.orgs["acme"], name="Not mine")

    devices = (await world.ask("uma", "GET", f"{ORG}/devices")).json
    assert [mine.id] == [device["id"] for device in devices["content"]]
    write = {"deviceId": mine.id, "pin": "v0", "value": 21.5}
    assert 204 == (await world.ask("uma", "POST", f"{ORG}/device/datastream", write)).status


async def test_templates_not_enabled_in_the_organization_are_not_found(world):
    await world.hub.templates.save('[template]\nid = "TMPL0secret"\nname = "Secret"', SYSTEM)

    templates = (await world.ask("ada", "GET", f"{ORG}/templates")).json
    assert ["TMPL0thermo"] == [template["id"] for template in templates["content"]]
    for path in (f"{ORG}/template?templateId=TMPL0secret", "/api/v1/template/export?templateId=TMPL0secret"):
        assert 404 == (await world.ask("ada", "GET", path)).status
    body = {"templateId": "TMPL0secret", "name": "X"}
    assert 404 == (await world.ask("ada", "POST", f"{ORG}/device/create", body)).status
    csv = {"csv": "name,template\nX,TMPL0secret\n"}
    assert 400 == (await world.ask("ada", "POST", "/api/v1/device/import", csv)).status


async def test_permissions_of_developers_are_those_that_say_so(hub):
    assert {permission.id for permission in hub.permissions if permission.developer} == DEVELOPERS


async def test_only_developers_of_the_root_organization_import_templates(world):
    toml = {"toml": '[template]\nid = "TMPL0new"\nname = "New"'}
    assert 403 == (await world.ask("ada", "POST", "/api/v1/template/import", toml)).status
    await world.service.users.change(world.users["ada"], developer=True)
    assert 403 == (await world.ask("ada", "POST", "/api/v1/template/import", toml)).status
    answer = await world.ask("rita", "POST", "/api/v1/template/import", toml)
    assert (403, "Only users of the root organization in developer mode" in answer.message) == (answer.status, True)
    await world.service.users.change(world.users["rita"], developer=True)
    assert 200 == (await world.ask("rita", "POST", "/api/v1/template/import", toml)).status
