"""Templates over the API: documents, versions and dashboards."""

from __future__ import annotations

import pytest
from support.api import ApiClient
from support.documents import DOCUMENT, tab, widget, with_changes, with_datastream, without_datastream
from support.raw_http import connected, local_key
from support.values import current_value

from hub.domain.devices import NewDevice
from hub.model import SYSTEM
from hub.run import running
from hub.writes import Write


@pytest.fixture
async def ask(hub):
    async with connected(hub) as http:
        yield ApiClient(http, local_key(hub))


@pytest.fixture
async def device(hub, ask):
    """A device of the template, with a value."""
    await ask("POST", "template/create", {"document": DOCUMENT})
    [(device, _)] = await hub.devices.add([NewDevice(name="Hall", template=hub.templates.get("TMPL0room"))], SYSTEM)
    await hub.write(Write(device, 0, 21.5, "test", SYSTEM)).durable()
    return device


# -- documents ---------------------------------------------------------------------------------------------------------


async def test_template_is_created_read_edited_duplicated_and_deleted(hub, ask):
    created = await ask("POST", "template/create", {"document": DOCUMENT})
    assert ("TMPL0room", 1, []) == (created["id"], created["version"], created["drops"])
    details = await ask("GET", "organization/template", templateId="TMPL0room")
    assert ["v0", "v1", "v2", "v3", "v4"] == [stream["pin"] for stream in details["datastreams"]]
    assert ["Temperature C"] == details["datastreams"][0]["tags"]
    for part, names in (
        ("datastreams", ["Temperature", "Heating", "Mode", "Words", "Where"]),
        ("events", ["Cold"]),
        ("metafields", ["Owner's note"]),
    ):
        listed = await ask("GET", f"organization/template/{part}", templateId="TMPL0room")
        assert names == [entry.get("name", entry.get("label")) for entry in listed]

    document = await ask("GET", "template/document", templateId="TMPL0room")
    assert [] == (await ask("PUT", "template", {"templateId": "TMPL0room", "document": document}))["changes"]
    document["datastream"][1]["max"] = 2
    edited = await ask("PUT", "template", {"templateId": "TMPL0room", "document": document})
    assert (2, ["~ V1 Heating: max 1 -> 2"]) == (edited["version"], edited["changes"])

    copy = await ask("POST", "template/duplicate", {"templateId": "TMPL0room", "name": "Copy"})
    assert copy["id"] != "TMPL0room"
    assert 2 == hub.templates.get(copy["id"]).datastreams[1].max
    await ask("DELETE", "template", templateId=copy["id"])
    assert 404 == (await ask("GET", "organization/template", templateId=copy["id"])).status


async def test_deleting_a_template_with_devices_needs_confirmation(hub, ask, device):
    response = await ask("DELETE", "template", templateId="TMPL0room")
    assert 409 == response.status
    assert "Template TMPL0room has devices (1)" in response.message
    await ask("DELETE", "template", templateId="TMPL0room", everything="true")
    assert ({}, {}) == (hub.templates.by_id, hub.devices.by_id)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, "there is no [template] table"),
        ({"template": []}, "there is no [template] table"),
        (with_changes(template={"id": "TMPL0other", "name": "Room"}), "id does not change"),
        (with_changes(template={"name": ""}), "name: must have"),
        (with_changes(datastream={}), "must be an array"),
        (with_changes(datastream=[1]), "must be an array"),
        (with_changes(color="red"), "unknown key color"),
        (with_datastream(pin="V0", name="Twice"), "pin V0 is used 2 times"),
        (with_datastream(pin="V999", name="X"), "V0 to V255"),
        (with_datastream(pin="V5", name="X", type="number"), "type"),
        (with_datastream(pin="V5", name="X", min="low"), "min"),
        (with_datastream(pin="V5", name="X", tags=["Temperature C"]), "combination of tags"),
        (with_datastream(pin="V5", name="X", tags=["Humidity", "Power"]), "at most one semantic tag"),
        (with_datastream(pin="V5", name="X", tags=["a", "b", "c", "d", "e"]), "4 custom tags"),
        (with_datastream(pin="V5", name="X", alias="a/b"), "alias"),
        (with_datastream(pin="V5", name="X", color="red"), "color"),
        (
            with_datastream(pin="V5", name="X", type="string", automation={"type": "switch"}),
            "a switch must be of type integer",
        ),
        (with_datastream(pin="V5", name="X", automation={"type": "laser"}), "automation"),
        (with_changes(web={"tab": [{"name": "A", "widget": [{"type": "laser"}]}]}), "unknown type of widget"),
    ],
)
async def test_invalid_document_is_rejected_and_not_saved(hub, ask, device, document, error):
    response = await ask("PUT", "template", {"templateId": "TMPL0room", "document": document})
    assert 400 == response.status
    assert error in response.message
    assert 1 == hub.templates.get("TMPL0room").version


async def test_all_errors_of_a_document_are_reported_together(ask):
    streams = [{"pin": "V0", "name": "a/b"}, {"pin": "W1", "name": "B", "type": "string", "min": 1}]
    document = with_changes(datastream=streams, event=[{"code": "?", "name": "X"}], web={"tab": [{"name": ""}]})
    response = await ask("POST", "template/create", {"document": document})
    assert 400 == response.status
    for error in ("name must be 1-50", "W1", "cannot have min", "code must be", "web: tab ''"):
        assert error in response.message


async def test_edit_with_an_outdated_etag_is_rejected(hub, device):
    key = local_key(hub)
    body = {"templateId": "TMPL0room", "document": with_changes(template=DOCUMENT["template"] | {"hardware": "ESP32"})}
    async with connected(hub) as http:
        etag = (await http.get("/api/v1/template/document?templateId=TMPL0room", key)).headers["etag"]
        assert etag == (await http.get("/api/v1/organization/template?templateId=TMPL0room", key)).headers["etag"]
        first = await http.ask("PUT", "/api/v1/template", body, key, if_match=etag)
        assert 200 == first.status
        second = await http.ask("PUT", "/api/v1/template", body, key, if_match=etag)
        assert 412 == second.status
        assert 200 == (await http.ask("PUT", "/api/v1/template", body, key, if_match=first.headers["etag"])).status


# -- dropped values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [without_datastream("V0"), with_changes(datastream=[{"pin": "V0", "name": "Temperature", "type": "string"}])],
)
async def test_edit_that_drops_values_is_previewed_and_needs_confirmation(hub, ask, device, document):
    body = {"templateId": "TMPL0room", "document": document}
    preview = await ask("PUT", "template", body | {"check": True})
    assert "V0 Temperature" in preview["drops"]
    rejection = await ask("PUT", "template", body)
    assert 409 == rejection.status
    assert "V0 Temperature" in rejection.message
    assert (1, 21.5) == (hub.templates.get("TMPL0room").version, current_value(hub, device, 0))
    done = await ask("PUT", "template", body | {"prune": True})
    assert (2, True) == (done["version"], "V0 Temperature" in done["drops"])
    assert 0 not in device.points or current_value(hub, device, 0) is None


# -- versions ---------------------------------------------------------------------------------------------------------


async def test_devices_keep_their_template_version_until_the_newest_is_applied(hub_config):
    new = with_datastream(pin="V9", name="New")
    async with running(hub_config) as hub, connected(hub) as http:
        ask = ApiClient(http, local_key(hub))
        await ask("POST", "template/create", {"document": DOCUMENT})
        old = await add(hub, "Old")
        saved = await ask("PUT", "template", {"templateId": "TMPL0room", "document": new, "apply": False})
        assert 2 == saved["version"]
        newer = await add(hub, "Newer")
        # The newer device keeps the second version when the third is saved.
        await ask("PUT", "template", {"templateId": "TMPL0room", "document": without_datastream("V0"), "apply": False})
        assert (set(range(5)), {*range(5), 9}) == (set(old.points), set(newer.points))
        [listed] = (await ask("GET", "organization/templates"))["content"]
        assert (3, 2, 2) == (listed["version"], listed["devices"], listed["behind"])
        await hub.write(Write(old, 0, 1.5, "test", SYSTEM)).durable()
        await hub.write(Write(newer, 9, 2.5, "test", SYSTEM)).durable()
    async with running(hub_config) as hub, connected(hub) as http:
        ask = ApiClient(http, local_key(hub))
        [old], [newer] = hub.devices.find_by_name("Old"), hub.devices.find_by_name("Newer")
        assert (1, 2, 3) == (old.template.version, newer.template.version, hub.templates.get("TMPL0room").version)
        assert (1.5, 2.5) == (current_value(hub, old, 0), current_value(hub, newer, 9))
        # Datastreams that the newest version lacks would be dropped.
        rejection = await ask("POST", "template/apply", {"templateId": "TMPL0room"})
        assert 409 == rejection.status
        assert "V0 Temperature" in rejection.message
        assert "V9 New" in rejection.message
        applied = await ask("POST", "template/apply", {"templateId": "TMPL0room", "prune": True})
        assert ["V0 Temperature", "V9 New"] == sorted(applied["drops"])
        assert {1, 2, 3, 4} == set(old.points) == set(newer.points)
        assert [0] == [entry["behind"] for entry in (await ask("GET", "organization/templates"))["content"]]


async def test_datastream_id_used_by_a_device_is_not_reused(hub, ask, device):
    body = {"templateId": "TMPL0room", "apply": False}
    await ask("PUT", "template", body | {"document": without_datastream("V4")})
    await ask(
        "PUT",
        "template",
        body
        | {"document": with_changes(datastream=[*without_datastream("V4")["datastream"], {"pin": "V8", "name": "X"}])},
    )
    ids = {stream.pin: stream.id for stream in hub.templates.get("TMPL0room").datastreams}
    assert ids[8] not in {point.datastream.id for point in device.points.values()}


async def add(hub, name):
    [(device, _)] = await hub.devices.add([NewDevice(name=name, template=hub.templates.get("TMPL0room"))], SYSTEM)
    return device


async def test_versions_are_listed_compared_and_restored(hub, ask, device):
    for hardware in ("ESP32", "ESP8266"):
        document = with_changes(template=DOCUMENT["template"] | {"hardware": hardware})
        await ask("PUT", "template", {"templateId": "TMPL0room", "document": document})
    versions = (await ask("GET", "template/versions", templateId="TMPL0room"))["content"]
    assert [3, 2, 1] == [entry["version"] for entry in versions]
    assert ["~ hardware 'ESP32' -> 'ESP8266'"] == versions[0]["changes"]
    assert "local key" == versions[0]["by"]
    difference = await ask("GET", "template/difference", **{"templateId": "TMPL0room", "from": 3, "to": 1})
    assert ["~ hardware 'ESP8266' -> ''"] == difference
    assert "hardware" not in (await ask("GET", "template/document", templateId="TMPL0room", version=1))["template"]
    restored = await ask("POST", "template/restore", {"templateId": "TMPL0room", "version": 1})
    assert (4, ["~ hardware 'ESP8266' -> ''"]) == (restored["version"], restored["changes"])
    assert ("", 21.5) == (device.template.hardware, current_value(hub, device, 0))
    for number in (0, 5):
        assert 404 == (await ask("POST", "template/restore", {"templateId": "TMPL0room", "version": number})).status


async def test_old_versions_are_deleted_unless_devices_use_them(hub, ask, device, monkeypatch):
    monkeypatch.setattr("hub.templates.store.MAX_VERSIONS", 2)
    for number in range(5):
        document = with_changes(template=DOCUMENT["template"] | {"hardware": f"Board {number}"})
        await ask("PUT", "template", {"templateId": "TMPL0room", "document": document, "apply": False})
    versions = (await ask("GET", "template/versions", templateId="TMPL0room"))["content"]
    assert [6, 5, 1] == [entry["version"] for entry in versions]


@pytest.mark.parametrize(
    ("method", "path", "body", "query"),
    [
        ("GET", "organization/template", None, {"templateId": "TMPL0none"}),
        ("GET", "template/document", None, {"templateId": "TMPL0none"}),
        ("GET", "template/versions", None, {"templateId": "TMPL0none"}),
        ("PUT", "template", {"templateId": "TMPL0none", "document": DOCUMENT}, {}),
        ("DELETE", "template", None, {"templateId": "TMPL0none"}),
        ("POST", "template/duplicate", {"templateId": "TMPL0none", "name": "X"}, {}),
        ("POST", "template/apply", {"templateId": "TMPL0none"}, {}),
        ("POST", "template/restore", {"templateId": "TMPL0none", "version": 1}, {}),
    ],
)
async def test_unknown_template_of_a_document_is_not_found(ask, method, path, body, query):
    response = await ask(method, path, body, **query)
    assert 404 == response.status
    assert "Template is not found or you don't have access to it." == response.message


# -- hidden datastreams -----------------------------------------------------------------------------------------------


async def test_hidden_datastream_is_unknown_to_the_device_api(hub, ask):
    document = with_changes(
        datastream=[DOCUMENT["datastream"][0] | {"hide_from_http": True}, DOCUMENT["datastream"][1]]
    )
    await ask("POST", "template/create", {"document": document})
    [(device, token)] = await hub.devices.add([NewDevice(name="D", template=hub.templates.get("TMPL0room"))], SYSTEM)
    for pin in (0, 1):
        hub.write(Write(device, pin, 1, "test", SYSTEM))
    async with connected(hub) as http:
        api = f"/external/api/%s?token={token}"
        assert {"v1": 1} == (await http.get(api % "getAll")).json
        for path in ("get", "update"):
            for query in ("&v0=2" if path == "update" else "&v0", "&dataStreamId=1&value=2", "&pin=v0&value=2"):
                if path == "get":
                    query = query.replace("&value=2", "")
                assert 400 == (await http.get(api % path + query)).status, (path, query)
        assert 400 == (await http.get(api % "update/property" + "&pin=v0&label=X")).status
    assert 1.0 == current_value(hub, device, 0)


# -- dashboards -------------------------------------------------------------------------------------------------------


async def test_dashboards_survive_export_and_import_unchanged(hub, ask):
    web = {
        "tab": [
            tab(
                widget("gauge", "V0", title="Outside", options={"min": -20, "max": 40, "thresholds": [0, 30]}),
                widget("switch", "V1", x=4, width=2, height=1),
                widget("chart", "V0", "V1", y=3, width=24, height=6),
            ),
            tab(widget("map", "V4"), name="Service", roles=["Admin"]),
        ]
    }
    mobile = {"tab": [tab(widget("value", "V2"), widget("text", x=4, options={"text": "Hello"}))]}
    await ask("POST", "template/create", {"document": with_changes(web=web, mobile=mobile)})
    details = await ask("GET", "organization/template", templateId="TMPL0room")
    assert ["Now", "Service"] == [entry["name"] for entry in details["web"]["tab"]]
    assert {"type": "gauge", "title": "Outside", "x": 0, "y": 0, "width": 4, "height": 3}.items() <= (
        details["web"]["tab"][0]["widget"][0].items()
    )
    document = await ask("GET", "template/document", templateId="TMPL0room")
    assert mobile == document["mobile"]
    assert [] == (await ask("PUT", "template", {"templateId": "TMPL0room", "document": document}))["changes"]
    imported = await ask("POST", "template/import", {"toml": (await exported(hub))})
    assert [] == imported["changes"]


async def exported(hub):
    async with connected(hub) as http:
        return (await http.get("/api/v1/template/export?templateId=TMPL0room", local_key(hub))).text
