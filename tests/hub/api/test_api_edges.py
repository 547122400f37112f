"""Concurrent requests, what callers may not see, and extreme input."""

from __future__ import annotations

import base64
import json

import pytest
import trio
from support.api import ApiClient, api_client, names_of
from support.documents import DOCUMENT, with_changes, with_datastream, without_datastream
from support.raw_http import connected, local_key
from support.values import current_value

from hub.domain.devices import NewDevice
from hub.domain.metadata import LOCATION
from hub.facts import MetadataChanged
from hub.model import SYSTEM
from hub.run import running
from hub.writes import Write
from plugins.users.model import ADMIN


async def save_template(hub, document=DOCUMENT):
    """Save a new template; returns it."""
    template, _ = await hub.templates.put(lambda: hub.templates.read(document), SYSTEM)
    return template


async def add(hub, name="Hall", template="TMPL0room"):
    [(device, _)] = await hub.devices.add([NewDevice(name=name, template=hub.templates.get(template))], SYSTEM)
    return device


async def put_template(hub, document, *, prune=False, apply=True):
    return await hub.templates.put(lambda: hub.templates.read(document), SYSTEM, prune=prune, apply=apply)


async def run_concurrently(*calls):
    async with trio.open_nursery() as nursery:
        for function, *arguments in calls:
            nursery.start_soon(function, *arguments)


# -- concurrent changes of templates and devices ----------------------------------------------------------------------


@pytest.mark.parametrize("apply", [True, False])
async def test_device_added_while_its_template_is_saved_has_the_newest_version(hub_config, apply):
    async with running(hub_config) as hub:
        template, added = await save_template(hub), []

        async def late():
            added.extend(await hub.devices.add([NewDevice(name="Late", template=template)], SYSTEM))

        async def save():
            await put_template(hub, with_datastream(pin="V8", name="New"), apply=apply)

        await run_concurrently((save,), (late,))
        [(device, _)] = added
        before = (device.template.version, device.pinned, set(device.points))
        # With "new devices only", a device that is added first stays on the version it was added with.
        assert (8 in device.points) == (device.pinned is None)
        assert device.pinned is None or not apply
    async with running(hub_config) as hub:
        device = hub.devices.by_id[device.id]
        assert before == (device.template.version, device.pinned, set(device.points))


async def test_device_deleted_while_its_template_is_saved_does_not_affect_other_devices(hub):
    await save_template(hub)
    for round_ in range(30):
        deleted, other = await add(hub, "Deleted"), await add(hub, "Other")

        async def delete(deleted=deleted, round_=round_):
            for _ in range(round_ % 10):
                await trio.lowlevel.checkpoint()
            await hub.devices.delete(deleted, SYSTEM)

        await run_concurrently(
            (put_template, hub, with_datastream(pin="V8", name="New", units=f"u{round_}")), (delete,)
        )
        assert {*range(5), 8} == set(other.points)


async def test_only_values_that_do_not_fit_the_new_type_are_dropped(hub):
    await save_template(hub)
    old = await add(hub, "Old")
    as_string = with_changes(datastream=[DOCUMENT["datastream"][0] | {"type": "string"}, *DOCUMENT["datastream"][1:]])
    await put_template(hub, as_string, apply=False)
    new = await add(hub, "New")
    await hub.write(Write(old, 0, 1.5, "test", SYSTEM)).durable()
    await hub.write(Write(new, 0, "warm", "test", SYSTEM)).durable()
    await hub.templates.put(lambda: hub.templates.get("TMPL0room"), SYSTEM, prune=True)
    assert (None, "warm") == (current_value(hub, old, 0), current_value(hub, new, 0))


async def test_id_of_a_datastream_is_never_reused(hub_config):
    async with running(hub_config) as hub:
        await save_template(hub, with_datastream(pin="V5", name="Pressure"))
        await put_template(hub, DOCUMENT, prune=True)
    async with running(hub_config) as hub:
        await put_template(hub, with_datastream(pin="V7", name="Humidity"))
        device = await add(hub)
        await hub.write(Write(device, 7, 55.0, "test", SYSTEM)).durable()
        old = await hub.templates.version(hub.templates.get("TMPL0room"), 1)
        await hub.templates.put(lambda: old, SYSTEM, prune=True)
        assert current_value(hub, device, 5) is None


async def test_concurrent_save_with_if_match_does_not_overwrite_the_other(hub):
    await save_template(hub)
    responses = {}

    async def save(name, pin, **headers):
        async with connected(hub) as http:
            body = {"templateId": "TMPL0room", "document": with_datastream(pin=pin, name=name)}
            responses[name] = await http.ask("PUT", "/api/v1/template", body, local_key(hub), **headers)

    async with connected(hub) as http:
        etag = (await http.get("/api/v1/template/document?templateId=TMPL0room", local_key(hub))).headers["etag"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(save, "A", "V8")
        nursery.start_soon(lambda: save("B", "V9", if_match=etag))
    # The second save must not undo the first.
    pins = {stream.pin for stream in hub.templates.get("TMPL0room").datastreams}
    assert (responses["B"].status == 412) == (8 in pins)
    assert responses["A"].status in (200, 409)


async def test_versions_without_devices_are_deleted(hub):
    await save_template(hub)
    device = await add(hub)
    await put_template(hub, without_datastream("V1"), apply=False)
    await hub.devices.delete(device, SYSTEM)
    saved, _ = await put_template(hub, without_datastream("V1") | {"event": []})
    assert 3 == saved.version
    await hub.templates.remove(saved, SYSTEM)
    new = {
        "template": {"id": "TMPL0room", "name": "Other"},
        "datastream": [{"pin": "V9", "name": "X", "type": "string"}],
    }
    assert 1 == (await put_template(hub, new))[0].version


async def test_order_of_metadata_is_a_change(hub):
    await save_template(hub, with_changes(metadata=[{"name": "One"}, {"name": "Two"}]))
    _, lines = await put_template(hub, with_changes(metadata=[{"name": "Two"}, {"name": "One"}]))
    assert ["~ order of metadata"] == lines
    assert ["Two", "One"] == [field.name for field in hub.templates.get("TMPL0room").metadata]


async def test_check_of_a_template_is_not_in_the_audit_and_reports_the_errors_of_saving(hub):
    await save_template(hub)
    await save_template(hub, with_changes(template={"id": "TMPL0other", "name": "Other"}))
    async with connected(hub) as http:
        ask = ApiClient(http, local_key(hub))
        body = {"templateId": "TMPL0room", "check": True}
        conflict = await ask("PUT", "template", body | {"document": with_changes(template={"name": "Other"})})
        assert 409 == conflict.status
        await ask("PUT", "template", body | {"document": with_datastream(pin="V8", name="New")})
        assert [] == (await ask("GET", "audit"))["content"]


async def test_etag_of_a_template_created_again_differs(hub):
    await save_template(hub)
    key = local_key(hub)
    async with connected(hub) as http:
        target = "/api/v1/template/document?templateId=TMPL0room"
        etag = (await http.get(target, key)).headers["etag"]
        await hub.templates.remove(hub.templates.get("TMPL0room"), SYSTEM)
        await save_template(hub, with_datastream(pin="V8", name="New"))
        assert etag != (await http.get(target, key)).headers["etag"]


# -- idempotency keys -------------------------------------------------------------------------------------------------


async def test_idempotency_key_never_returns_the_response_of_another_principal(hub, world):
    async with api_client(world, "rita") as ask:
        client = await ask("POST", "organization/client", {"name": "P", "roleId": ADMIN})
    basic = base64.b64encode(f"{client['clientId']}:{client['clientSecret']}".encode()).decode()
    async with connected(hub) as http:
        form, header = b"grant_type=client_credentials", {"idempotency_key": "1"}
        assert 200 == (await http.ask("POST", "/oauth2/token", form, authorization=f"Basic {basic}", **header)).status
        assert 400 == (await http.ask("POST", "/oauth2/token", form, **header)).status
        # An API key with fewer rights does not get the response that its user got.
        ada = world.tokens["ada"]
        full = await http.ask("POST", "/api/v1/key", {"name": "full"}, ada, idempotency_key="k")
        assert 201 == full.status
        limited = await http.ask("POST", "/api/v1/key", {"name": "s", "scopes": ["org_devices.view"]}, ada)
        again = await http.ask("POST", "/api/v1/key", {"name": "full"}, limited.json["key"], idempotency_key="k")
        assert 403 == again.status
    rows = await hub.storage.configuration.fetch_all("SELECT count(*) FROM once")
    assert [(1,)] == rows


async def test_stored_responses_of_idempotency_keys_are_bounded(hub, world, monkeypatch):
    monkeypatch.setattr("hub.api.execution.MAX_STORED", 2_000)
    async with api_client(world) as ask:
        for number in range(30):
            body = {"name": f"Tag {number % 20}"} if number < 20 else {"name": f"Tag {number}"}
            await ask.http.ask("POST", "/api/v1/organization/tag/create", body, ask.key, idempotency_key=str(number))
    assert 0 < sum(record.size for record in hub.executor._records.values()) <= 2_000


# -- concurrent edits -------------------------------------------------------------------------------------------------


async def test_concurrent_edits_of_a_location_do_not_undo_each_other(hub, world):
    async with api_client(world) as ask:
        place = await ask("POST", "organization/location/create", {"name": "A"})
        target = f"/api/v1/organization/location?locationId={place['id']}"
        etag = (await ask.http.get(target, ask.key)).headers["etag"]
    responses = {}

    async def send(name, method, path, body, **headers):
        async with connected(hub) as http:
            responses[name] = await http.ask(
                method, f"/api/v1/organization/{path}", body, world.tokens["ada"], **headers
            )

    rename = {"locationId": place["id"], "name": "Renamed"}
    assign = {"locationId": place["id"], "users": [world.users["uma"].id]}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: send("rename", "PUT", "location", rename, if_match=etag))
        nursery.start_soon(lambda: send("assign", "POST", "location/users", assign))
    async with api_client(world) as ask:
        location = await ask("GET", "organization/location", locationId=place["id"])
    assert assign["users"] == location["users"]
    assert (responses["rename"].status == 200) == (location["name"] == "Renamed")


async def test_if_match_is_checked_on_each_route_that_accepts_it(world):
    async with api_client(world) as ask:
        place = await ask("POST", "organization/location/create", {"name": "A"})
        segment = await ask("POST", "organization/segment/create", {"name": "A", "devices": []})
        tag = await ask("POST", "organization/tag/create", {"name": "A"})
        stale = {"if_match": '"stale"'}
        for method, path, body, status in (
            ("PUT", "tag", {"tagId": tag["id"], "name": "B"}, 412),
            ("POST", "location/users", {"locationId": place["id"], "users": []}, 412),
            ("DELETE", f"segment?segmentId={segment['id']}", None, 412),
            ("DELETE", f"location?locationId={place['id']}", None, 412),
            ("DELETE", f"tag?tagId={tag['id']}", None, 412),
            ("POST", "device/create", {"templateId": "TMPL0thermo", "name": "D"}, 400),
        ):
            response = await ask.http.ask(method, f"/api/v1/organization/{path}", body, ask.key, **stale)
            assert status == response.status, path


async def test_tag_deleted_while_it_is_edited_is_not_restored(hub, world):
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "T"})

    async def send(method, path, body=None):
        async with connected(hub) as http:
            await http.ask(method, f"/api/v1/organization/{path}", body, world.tokens["ada"])

    await run_concurrently(
        (send, "DELETE", f"tag?tagId={tag['id']}"),
        (send, "PUT", "tag", {"tagId": tag["id"], "name": "Ghost"}),
    )
    rows = await hub.storage.configuration.fetch_all("SELECT name FROM fleet_tags")
    async with api_client(world) as ask:
        assert [name for (name,) in rows] == [tag["name"] for tag in await ask("GET", "organization/tags")]


@pytest.mark.parametrize("meanwhile", ["deleted", "moved"])
async def test_device_deleted_or_moved_while_its_location_is_edited_is_not_changed(hub, world, meanwhile):
    devices = [await world.device(world.orgs["acme"], name=f"D{n}") for n in range(4)]
    async with api_client(world) as ask:
        place = await ask("POST", "organization/location/create", {"name": "A", "about": {"address": "Old"}})
        other = await ask("POST", "organization/location/create", {"name": "B"})
        for device in devices:
            await ask("POST", "organization/device/location", {"deviceId": device.id, "locationId": place["id"]})
    started = trio.Event()
    hub.subscribe(MetadataChanged, lambda _: started.set())
    responses = []

    async def edit():
        async with api_client(world) as ask:
            body = {"locationId": place["id"], "about": {"address": "New"}}
            responses.append(await ask.http.ask("PUT", "/api/v1/organization/location", body, ask.key))

    async def change():
        await started.wait()
        if meanwhile == "deleted":
            await hub.devices.delete(devices[3], SYSTEM)
        else:
            async with api_client(world) as ask:
                body = {"deviceId": devices[3].id, "locationId": other["id"]}
                await ask("POST", "organization/device/location", body)

    await run_concurrently((edit,), (change,))
    assert 200 == responses[0].status
    for device in devices[:3]:
        assert "New" == json.loads(await hub.metadata.get(device, LOCATION))["address"]
    if meanwhile == "moved":
        assert other["id"] == json.loads(await hub.metadata.get(devices[3], LOCATION))["locationId"]


# -- visibility -------------------------------------------------------------------------------------------------------


async def test_tags_and_locations_of_a_parent_organization_are_hidden_below(world):
    device = await world.device(world.orgs["acme"], name="One")
    async with api_client(world, "local") as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "Debtor"})
        await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
        place = await ask("POST", "organization/location/create", {"name": "Secret lab"})
        await ask("POST", "organization/device/location", {"deviceId": device.id, "locationId": place["id"]})
        assert ["One"] == names_of(await ask("GET", "organization/search/devices", query="debtor"))
    async with api_client(world) as ask:
        for text in ("debtor", "lab"):
            assert [] == names_of(await ask("GET", "organization/search/devices", query=text))
        for name, value in (("tag", "deb"), ("location", "lab")):
            condition = {"attribute": name, "operator": "contains", "values": [value]}
            assert [] == names_of(await ask("POST", "devices/search", {"filters": [condition]}))
        [device] = (await ask("POST", "devices/search", {}))["content"]
        assert ([], None) == (device["tags"], device["locationId"])


async def test_transferred_device_loses_its_tags(hub, world):
    device = await world.device(world.orgs["acme"], name="Sold")
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "Defective"})
        await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
    await hub.devices.transfer(device, world.orgs["beta"], None, SYSTEM)
    async with api_client(world, "local") as ask:
        assert [] == names_of(await ask("GET", "organization/search/devices", query="defective"))
        [tag] = await ask("GET", "organization/tags", orgId=world.orgs["acme"])
        assert 0 == tag["devices"]


async def test_segments_contain_only_devices_that_the_user_may_view(world):
    own = await world.device(world.orgs["acme"], owner=world.users["uma"].id)
    other = await world.device(world.orgs["acme"])
    async with api_client(world) as ask:
        await ask("POST", "organization/segment/create", {"name": "S", "devices": [own.id, other.id]})
        await ask("POST", "organization/segment/create", {"name": "F", "find": {}, "excluded": [other.id]})
    async with api_client(world, "uma") as ask:
        chosen, dynamic = (await ask("GET", "organization/segments"))["content"]
        assert ([own.id], []) == (chosen["devices"], dynamic["excluded"])


async def test_bulk_action_is_in_the_audit_of_the_organization_of_the_devices(world):
    devices = [await world.device(world.orgs["works"], name=f"W{n}") for n in range(3)]
    await world.user("wanda", world.orgs["works"], ADMIN)
    async with api_client(world) as ask:
        await ask("POST", "devices/bulk", {"action": "delete", "devices": [devices[0].id], "dryRun": True})
        await ask("POST", "devices/bulk", {"action": "delete", "devices": [devices[1].id, devices[2].id]})
    async with api_client(world, "wanda") as ask:
        [record] = (await ask("GET", "audit"))["content"]
        assert [devices[1].id, devices[2].id] == record["details"]["devices"]
        assert "delete" in record["action"]


async def test_locations_of_a_user_are_exported_and_lose_the_deleted_user(world):
    uma = world.users["uma"].id
    async with api_client(world) as ask:
        place = await ask("POST", "organization/location/create", {"name": "Flat", "ownerId": uma})
        await ask("POST", "organization/location/users", {"locationId": place["id"], "users": [uma]})
        export = await ask("GET", "organization/user/export", userId=uma)
        assert "Flat" in json.dumps(export)
        await ask("DELETE", "organization/user", userId=uma)
        location = await ask("GET", "organization/location", locationId=place["id"])
        assert (None, []) == (location["ownerId"], location["users"])


# -- versions of templates--------------------------------------------------------------------------------------------


async def test_search_uses_the_template_version_of_each_device(hub):
    document = with_changes(
        template={"id": "TMPL0room", "name": "Kitchen"}, metadata=[{"name": "Note", "default": "old"}]
    )
    await save_template(hub, document)
    await add(hub)
    newer = with_changes(template={"id": "TMPL0room", "name": "Cellar"}, metadata=[{"name": "Note", "default": "new"}])
    await put_template(hub, newer, apply=False)
    async with connected(hub) as http:
        ask = ApiClient(http, local_key(hub))
        for text, names in (("kitchen", ["Hall"]), ("cellar", [])):
            assert names == names_of(await ask("GET", "organization/search/devices", query=text))
        for value, names in (("old", ["Hall"]), ("new", [])):
            condition = {"attribute": "metadata", "name": "Note", "values": [value]}
            assert names == names_of(await ask("POST", "devices/search", {"filters": [condition]}))


# -- extreme input ----------------------------------------------------------------------------------------------------

BIG = "1" + "0" * 400


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "devices/search", '{"filters":[{"attribute":"id","operator":"less","values":[BIG]}]}'),
        ("POST", "devices/search", '{"filters":[{"attribute":"id","operator":"less","values":[1e999]}]}'),
        ("POST", "devices/search", '{"filters":[{"attribute":"id","operator":"less","values":[NaN]}]}'),
        ("POST", "devices/search", '{"page":BIG}'),
        ("POST", "organization/segment/create", '{"name":"S","devices":[BIG]}'),
        ("POST", "template/restore", '{"templateId":"TMPL0thermo","version":BIG}'),
        (
            "POST",
            "template/create",
            '{"document":{"template":{"name":"X"},"datastream":[{"pin":"V0","name":"A","min":BIG}]}}',
        ),
        (
            "POST",
            "template/create",
            '{"document":{"template":{"name":"X"},"metadata":[{"name":"A","type":"number","min":BIG}]}}',
        ),
        ("POST", "organization/tag/create", '{"name":' + "[" * 900 + "]" * 900 + "}"),
    ],
    ids=["search", "inf", "nan", "page", "segment", "version", "min", "metadata", "deep"],
)
@pytest.mark.parametrize("headers", [{}, {"idempotency_key": "k"}], ids=["", "idempotent"])
async def test_excessive_numbers_and_depths_are_rejected(hub, world, method, path, body, headers):
    async with connected(hub) as http:
        response = await http.ask(
            method, f"/api/v1/{path}", body.replace("BIG", BIG).encode(), local_key(hub), **headers
        )
    assert 400 == response.status
    assert len(response.body) < 1_000


async def test_repeated_parameter_is_rejected(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world) as ask:
        target = f"/api/v1/organization/device?deviceId={device.id}&deviceId=2"
        response = await ask.http.ask("DELETE", target, None, ask.key)
    assert (400, "deviceId is there twice") == (response.status, response.message)
    assert device.id in world.hub.devices.by_id
