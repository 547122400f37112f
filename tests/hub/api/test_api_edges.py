"""What happens at the same time, what is none of somebody's business, and input at the edges of the API."""

from __future__ import annotations

import base64
import json

import pytest
import trio
from support.api import ApiClient, api_client, names_of
from support.documents import DOCUMENT, current_value, with_changes, with_datastream, without
from support.raw_http import connected, local_key
from support.tenants import tenants

from hub.domain.devices import NewDevice
from hub.domain.metadata import LOCATION
from hub.facts import MetadataChanged
from hub.model import SYSTEM
from hub.run import running
from hub.writes import Write
from plugins.users.model import ADMIN


@pytest.fixture
async def world(hub):
    return await tenants(hub)


async def made(hub, document=DOCUMENT):
    """The template, saved."""
    template, _ = await hub.templates.put(lambda: hub.templates.read(document), SYSTEM)
    return template


async def add(hub, name="Hall", template="TMPL0room"):
    [(device, _)] = await hub.devices.add([NewDevice(name=name, template=hub.templates.get(template))], SYSTEM)
    return device


async def put(hub, document, *, prune=False, apply=True):
    return await hub.templates.put(lambda: hub.templates.read(document), SYSTEM, prune=prune, apply=apply)


async def together(*asked):
    async with trio.open_nursery() as nursery:
        for one, *arguments in asked:
            nursery.start_soon(one, *arguments)


# -- templates and their devices, at the same time --------------------------------------------------------------------


@pytest.mark.parametrize("apply", [True, False])
async def test_a_device_that_is_added_while_its_template_is_saved_has_the_newest(hub_config, apply):
    async with running(hub_config) as hub:
        before, added = await made(hub), []

        async def late():
            added.extend(await hub.devices.add([NewDevice(name="Late", template=before)], SYSTEM))

        async def save():
            await put(hub, with_datastream(pin="V8", name="New"), apply=apply)

        await together((save,), (late,))
        [(device, _)] = added
        had = (device.template.version, device.pinned, set(device.points))
        # Who comes first under "new devices only" keeps the version it was made with.
        assert (8 in device.points) == (device.pinned is None)
        assert device.pinned is None or not apply
    async with running(hub_config) as hub:
        device = hub.devices.by_id[device.id]
        assert had == (device.template.version, device.pinned, set(device.points))


async def test_a_device_that_is_deleted_while_its_template_is_saved_takes_nothing_from_others(hub):
    await made(hub)
    for round_ in range(30):
        gone, stays = await add(hub, "Gone"), await add(hub, "Stays")

        async def delete(gone=gone, round_=round_):
            for _ in range(round_ % 10):
                await trio.lowlevel.checkpoint()
            await hub.devices.delete(gone, SYSTEM)

        await together((put, hub, with_datastream(pin="V8", name="New", units=f"u{round_}")), (delete,))
        assert {*range(5), 8} == set(stays.points)


async def test_only_values_that_do_not_fit_are_dropped(hub):
    await made(hub)
    old = await add(hub, "Old")
    words = with_changes(datastream=[DOCUMENT["datastream"][0] | {"type": "string"}, *DOCUMENT["datastream"][1:]])
    await put(hub, words, apply=False)
    new = await add(hub, "New")
    await hub.write(Write(old, 0, 1.5, "test", SYSTEM)).durable()
    await hub.write(Write(new, 0, "warm", "test", SYSTEM)).durable()
    await hub.templates.put(lambda: hub.templates.get("TMPL0room"), SYSTEM, prune=True)
    assert (None, "warm") == (current_value(hub, old, 0), current_value(hub, new, 0))


async def test_a_number_that_a_datastream_had_is_never_given_again(hub_config):
    async with running(hub_config) as hub:
        await made(hub, with_datastream(pin="V5", name="Pressure"))
        await put(hub, DOCUMENT, prune=True)
    async with running(hub_config) as hub:
        await put(hub, with_datastream(pin="V7", name="Humidity"))
        device = await add(hub)
        await hub.write(Write(device, 7, 55.0, "test", SYSTEM)).durable()
        old = await hub.templates.version(hub.templates.get("TMPL0room"), 1)
        await hub.templates.put(lambda: old, SYSTEM, prune=True)
        assert current_value(hub, device, 5) is None


async def test_of_two_who_save_at_once_the_second_sees_what_the_first_did(hub):
    await made(hub)
    answers = {}

    async def save(name, pin, **headers):
        async with connected(hub) as http:
            body = {"templateId": "TMPL0room", "document": with_datastream(pin=pin, name=name)}
            answers[name] = await http.ask("PUT", "/api/v1/template", body, local_key(hub), **headers)

    async with connected(hub) as http:
        etag = (await http.get("/api/v1/template/document?templateId=TMPL0room", local_key(hub))).headers["etag"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(save, "A", "V8")
        nursery.start_soon(lambda: save("B", "V9", if_match=etag))
    # Whoever comes second does not undo what came first unseen.
    pins = {stream.pin for stream in hub.templates.get("TMPL0room").datastreams}
    assert (answers["B"].status == 412) == (8 in pins)
    assert answers["A"].status in (200, 409)


async def test_versions_that_no_device_has_are_forgotten(hub):
    await made(hub)
    device = await add(hub)
    await put(hub, without("V1"), apply=False)
    await hub.devices.delete(device, SYSTEM)
    saved, _ = await put(hub, without("V1") | {"event": []})
    assert 3 == saved.version
    await hub.templates.remove(saved, SYSTEM)
    new = {
        "template": {"id": "TMPL0room", "name": "Other"},
        "datastream": [{"pin": "V9", "name": "X", "type": "string"}],
    }
    assert 1 == (await put(hub, new))[0].version


async def test_the_order_of_metadata_is_a_change(hub):
    await made(hub, with_changes(metadata=[{"name": "One"}, {"name": "Two"}]))
    _, lines = await put(hub, with_changes(metadata=[{"name": "Two"}, {"name": "One"}]))
    assert ["~ order of metadata"] == lines
    assert ["Two", "One"] == [field.name for field in hub.templates.get("TMPL0room").metadata]


async def test_what_is_only_looked_at_is_not_in_the_audit_and_says_no_where_saving_does(hub):
    await made(hub)
    await made(hub, with_changes(template={"id": "TMPL0other", "name": "Other"}))
    async with connected(hub) as http:
        ask = ApiClient(http, local_key(hub))
        body = {"templateId": "TMPL0room", "check": True}
        taken = await ask("PUT", "template", body | {"document": with_changes(template={"name": "Other"})})
        assert 409 == taken.status
        await ask("PUT", "template", body | {"document": with_datastream(pin="V8", name="New")})
        assert [] == (await ask("GET", "audit"))["content"]


async def test_a_template_that_was_made_anew_is_another_one(hub):
    await made(hub)
    key = local_key(hub)
    async with connected(hub) as http:
        target = "/api/v1/template/document?templateId=TMPL0room"
        etag = (await http.get(target, key)).headers["etag"]
        await hub.templates.remove(hub.templates.get("TMPL0room"), SYSTEM)
        await made(hub, with_datastream(pin="V8", name="New"))
        assert etag != (await http.get(target, key)).headers["etag"]


# -- once -------------------------------------------------------------------------------------------------------------


async def test_nobody_is_answered_with_somebody_elses_tokens(hub, world):
    async with api_client(world, "rita") as ask:
        client = await ask("POST", "organization/client", {"name": "P", "roleId": ADMIN})
    basic = base64.b64encode(f"{client['clientId']}:{client['clientSecret']}".encode()).decode()
    async with connected(hub) as http:
        form, once = b"grant_type=client_credentials", {"idempotency_key": "1"}
        assert 200 == (await http.ask("POST", "/oauth2/token", form, authorization=f"Basic {basic}", **once)).status
        assert 400 == (await http.ask("POST", "/oauth2/token", form, **once)).status
        # A key of hers that may little is not answered as she herself was.
        ada = world.tokens["ada"]
        whole = await http.ask("POST", "/api/v1/key", {"name": "whole"}, ada, idempotency_key="k")
        assert 201 == whole.status
        small = await http.ask("POST", "/api/v1/key", {"name": "s", "scopes": ["org_devices.view"]}, ada)
        again = await http.ask("POST", "/api/v1/key", {"name": "whole"}, small.json["key"], idempotency_key="k")
        assert 403 == again.status
    rows = await hub.storage.configuration.fetch_all("SELECT count(*) FROM once")
    assert [(1,)] == rows


async def test_answers_are_kept_as_long_as_there_is_room(hub, world, monkeypatch):
    monkeypatch.setattr("hub.api.execution.MAX_STORED", 2_000)
    async with api_client(world) as ask:
        for number in range(30):
            body = {"name": f"Tag {number % 20}"} if number < 20 else {"name": f"Tag {number}"}
            await ask.http.ask("POST", "/api/v1/organization/tag/create", body, ask.key, idempotency_key=str(number))
    assert sum(record.size for record in hub.executor._records.values()) <= 2_000


# -- no edit is lost --------------------------------------------------------------------------------------------------


async def test_edits_of_one_thing_do_not_undo_each_other(hub, world):
    async with api_client(world) as ask:
        place = await ask("POST", "organization/location/create", {"name": "A"})
        target = f"/api/v1/organization/location?locationId={place['id']}"
        etag = (await ask.http.get(target, ask.key)).headers["etag"]
    answers = {}

    async def go(name, method, path, body, **headers):
        async with connected(hub) as http:
            answers[name] = await http.ask(method, f"/api/v1/organization/{path}", body, world.tokens["ada"], **headers)

    rename = {"locationId": place["id"], "name": "Renamed"}
    assign = {"locationId": place["id"], "users": [world.users["uma"].id]}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: go("rename", "PUT", "location", rename, if_match=etag))
        nursery.start_soon(lambda: go("assign", "POST", "location/users", assign))
    async with api_client(world) as ask:
        left = await ask("GET", "organization/location", locationId=place["id"])
    assert assign["users"] == left["users"]
    assert (answers["rename"].status == 200) == (left["name"] == "Renamed")


async def test_if_match_is_looked_at_wherever_it_is_taken(world):
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
            answer = await ask.http.ask(method, f"/api/v1/organization/{path}", body, ask.key, **stale)
            assert status == answer.status, path


async def test_what_is_deleted_while_it_is_edited_leaves_nothing_behind(hub, world):
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "T"})

    async def go(method, path, body=None):
        async with connected(hub) as http:
            await http.ask(method, f"/api/v1/organization/{path}", body, world.tokens["ada"])

    await together(
        (go, "DELETE", f"tag?tagId={tag['id']}"),
        (go, "PUT", "tag", {"tagId": tag["id"], "name": "Ghost"}),
    )
    rows = await hub.storage.configuration.fetch_all("SELECT name FROM fleet_tags")
    async with api_client(world) as ask:
        assert [name for (name,) in rows] == [one["name"] for one in await ask("GET", "organization/tags")]


@pytest.mark.parametrize("meanwhile", ["deleted", "moved"])
async def test_devices_that_change_while_their_location_is_edited_are_left_alone(hub, world, meanwhile):
    devices = [await world.device(world.orgs["acme"], name=f"D{n}") for n in range(4)]
    async with api_client(world) as ask:
        place = await ask("POST", "organization/location/create", {"name": "A", "about": {"address": "Old"}})
        other = await ask("POST", "organization/location/create", {"name": "B"})
        for device in devices:
            await ask("POST", "organization/device/location", {"deviceId": device.id, "locationId": place["id"]})
    begun = trio.Event()
    hub.subscribe(MetadataChanged, lambda _: begun.set())
    answers = []

    async def edit():
        async with api_client(world) as ask:
            body = {"locationId": place["id"], "about": {"address": "New"}}
            answers.append(await ask.http.ask("PUT", "/api/v1/organization/location", body, ask.key))

    async def change():
        await begun.wait()
        if meanwhile == "deleted":
            await hub.devices.delete(devices[3], SYSTEM)
        else:
            async with api_client(world) as ask:
                body = {"deviceId": devices[3].id, "locationId": other["id"]}
                await ask("POST", "organization/device/location", body)

    await together((edit,), (change,))
    assert 200 == answers[0].status
    for device in devices[:3]:
        assert "New" == json.loads(await hub.metadata.get(device, LOCATION))["address"]
    if meanwhile == "moved":
        assert other["id"] == json.loads(await hub.metadata.get(devices[3], LOCATION))["locationId"]


# -- nobody else's business -------------------------------------------------------------------------------------------


async def test_what_is_above_is_found_by_nobody_below(world):
    device = await world.device(world.orgs["acme"], name="One")
    async with api_client(world, "local") as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "Debtor"})
        await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
        place = await ask("POST", "organization/location/create", {"name": "Secret lab"})
        await ask("POST", "organization/device/location", {"deviceId": device.id, "locationId": place["id"]})
        assert ["One"] == names_of(await ask("GET", "organization/search/devices", query="debtor"))
    async with api_client(world) as ask:
        for word in ("debtor", "lab"):
            assert [] == names_of(await ask("GET", "organization/search/devices", query=word))
        for name, value in (("tag", "deb"), ("location", "lab")):
            one = {"attribute": name, "operator": "contains", "values": [value]}
            assert [] == names_of(await ask("POST", "devices/search", {"filters": [one]}))
        [shown] = (await ask("POST", "devices/search", {}))["content"]
        assert ([], None) == (shown["tags"], shown["locationId"])


async def test_a_tag_stays_behind_when_a_device_goes_to_others(hub, world):
    device = await world.device(world.orgs["acme"], name="Sold")
    async with api_client(world) as ask:
        tag = await ask("POST", "organization/tag/create", {"name": "Defective"})
        await ask("POST", "organization/device/tag", {"deviceId": device.id, "tagId": tag["id"]})
    await hub.devices.transfer(device, world.orgs["beta"], None, SYSTEM)
    async with api_client(world, "local") as ask:
        assert [] == names_of(await ask("GET", "organization/search/devices", query="defective"))
        [shown] = await ask("GET", "organization/tags", orgId=world.orgs["acme"])
        assert 0 == shown["devices"]


async def test_segments_show_only_devices_that_one_may_view(world):
    mine = await world.device(world.orgs["acme"], owner=world.users["uma"].id)
    other = await world.device(world.orgs["acme"])
    async with api_client(world) as ask:
        await ask("POST", "organization/segment/create", {"name": "S", "devices": [mine.id, other.id]})
        await ask("POST", "organization/segment/create", {"name": "F", "find": {}, "excluded": [other.id]})
    async with api_client(world, "uma") as ask:
        picked, live = (await ask("GET", "organization/segments"))["content"]
        assert ([mine.id], []) == (picked["devices"], live["excluded"])


async def test_the_audit_of_each_organization_has_what_was_done_to_its_devices(world):
    devices = [await world.device(world.orgs["works"], name=f"W{n}") for n in range(3)]
    await world.user("wanda", world.orgs["works"], ADMIN)
    async with api_client(world) as ask:
        await ask("POST", "devices/bulk", {"action": "delete", "devices": [devices[0].id], "dryRun": True})
        await ask("POST", "devices/bulk", {"action": "delete", "devices": [devices[1].id, devices[2].id]})
    async with api_client(world, "wanda") as ask:
        [record] = (await ask("GET", "audit"))["content"]
        assert [devices[1].id, devices[2].id] == record["details"]["devices"]
        assert "delete" in record["action"]


async def test_somebodys_locations_are_exported_and_forgotten_with_them(world):
    uma = world.users["uma"].id
    async with api_client(world) as ask:
        place = await ask("POST", "organization/location/create", {"name": "Flat", "ownerId": uma})
        await ask("POST", "organization/location/users", {"locationId": place["id"], "users": [uma]})
        told = await ask("GET", "organization/user/export", userId=uma)
        assert "Flat" in json.dumps(told)
        await ask("DELETE", "organization/user", userId=uma)
        left = await ask("GET", "organization/location", locationId=place["id"])
        assert (None, []) == (left["ownerId"], left["users"])


# -- what a device has ------------------------------------------------------------------------------------------------


async def test_a_search_goes_by_the_version_that_a_device_has(hub):
    document = with_changes(
        template={"id": "TMPL0room", "name": "Kitchen"}, metadata=[{"name": "Note", "default": "old"}]
    )
    await made(hub, document)
    await add(hub)
    newer = with_changes(template={"id": "TMPL0room", "name": "Cellar"}, metadata=[{"name": "Note", "default": "new"}])
    await put(hub, newer, apply=False)
    async with connected(hub) as http:
        ask = ApiClient(http, local_key(hub))
        for word, names in (("kitchen", ["Hall"]), ("cellar", [])):
            assert names == names_of(await ask("GET", "organization/search/devices", query=word))
        for value, names in (("old", ["Hall"]), ("new", [])):
            one = {"attribute": "metadata", "name": "Note", "values": [value]}
            assert names == names_of(await ask("POST", "devices/search", {"filters": [one]}))


# -- at the edges -----------------------------------------------------------------------------------------------------

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
@pytest.mark.parametrize("headers", [{}, {"idempotency_key": "k"}], ids=["", "once"])
async def test_numbers_and_depths_that_nobody_means_are_refused(hub, world, method, path, body, headers):
    async with connected(hub) as http:
        answer = await http.ask(method, f"/api/v1/{path}", body.replace("BIG", BIG).encode(), local_key(hub), **headers)
    assert 400 == answer.status
    assert len(answer.body) < 1_000


async def test_a_parameter_that_comes_twice_is_refused(world):
    device = await world.device(world.orgs["acme"])
    async with api_client(world) as ask:
        target = f"/api/v1/organization/device?deviceId={device.id}&deviceId=2"
        answer = await ask.http.ask("DELETE", target, None, ask.key)
    assert (400, "deviceId is there twice") == (answer.status, answer.message)
    assert device.id in world.hub.devices.by_id
