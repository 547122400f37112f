"""Datastreams and event types of a template are added, edited and deleted one at a time, as in Blynk's API."""

from __future__ import annotations

import pytest
from support.api import NOT_FOUND_TEMPLATE, api_client

from hub.model import SYSTEM
from hub.writes import Write

STREAM, EVENT = "organization/template/datastream", "organization/template/event"
TEMPLATE = "templateId=TMPL0blynk"
NEW = {"templateId": "TMPL0blynk", "label": "Pressure", "type": "DOUBLE", "pin": 7}


@pytest.fixture
async def ask(world, thermostat):
    """Requests with the local key about the template of a thermostat."""
    async with api_client(world, "local") as ask:
        yield ask


async def test_datastream_is_added_to_the_template_and_its_devices(hub, thermostat, ask):
    more = {"units": "Pascal", "min": 0, "max": 200_000, "defaultValue": 101_325, "isSync": True}
    created = await ask("POST", f"{STREAM}/create", NEW | more)
    assert (3, "Pressure", "DOUBLE", 7, "Pascal", 101_325) == tuple(
        created[field] for field in ("id", "label", "type", "pin", "units", "defaultValue")
    )
    assert created in await ask("GET", f"{STREAM}s?{TEMPLATE}")
    hub.write(Write(thermostat, 7, 99_000, "test", SYSTEM))
    datastream = thermostat.points[7].datastream
    assert (99_000, True) == (hub.writes.current(thermostat, datastream), datastream.sync)


async def test_enum_is_added_with_its_labels(thermostat, ask):
    body = NEW | {"label": "Fan", "type": "ENUM", "values": {"0": "Off", "1": "On"}, "defaultValue": 1}
    created = await ask("POST", f"{STREAM}/create", body)
    assert ("ENUM", {0: "Off", 1: "On"}) == (created["type"], thermostat.points[7].datastream.values)


async def test_datastream_is_edited_and_keeps_its_values(hub, thermostat, ask):
    before = hub.writes.latest(thermostat, thermostat.points[1].datastream)
    edited = await ask("PUT", f"{STREAM}?{TEMPLATE}&dataStreamId=1", {"label": "Outside", "pin": 9})
    assert (1, "Outside", 9, "Celsius", 5) == tuple(
        edited[field] for field in ("id", "label", "pin", "units", "defaultValue")
    )
    assert before == hub.writes.latest(thermostat, thermostat.points[9].datastream)


async def test_datastream_with_values_is_deleted_only_with_prune(thermostat, ask):
    path = f"{STREAM}?{TEMPLATE}&dataStreamId=1"
    refused = await ask("DELETE", path)
    assert (409, True) == (refused.status, "add prune=true" in refused.message)
    changed_type = await ask("PUT", path, {"type": "STRING", "defaultValue": "5"})
    assert (409, True) == (changed_type.status, "Temperature" in changed_type.message)
    assert {1, 2} == set(thermostat.points)
    assert None is await ask("DELETE", f"{path}&prune=true")
    assert {2} == set(thermostat.points)
    assert 404 == (await ask("DELETE", path)).status


async def test_datastream_of_a_template_without_devices_is_deleted(hub, thermostat, ask):
    await hub.devices.delete(thermostat, SYSTEM)
    assert None is await ask("DELETE", f"{STREAM}?{TEMPLATE}&dataStreamId=1")
    assert [2] == [info["id"] for info in await ask("GET", f"{STREAM}s?{TEMPLATE}")]


async def test_event_type_is_added_edited_and_deleted(hub, thermostat, ask):
    new = {"templateId": "TMPL0blynk", "name": "Frost", "eventCode": "frost", "type": "CRITICAL"}
    created = await ask("POST", f"{EVENT}/create", new)
    assert {"id": 2, "name": "Frost", "eventCode": "frost", "type": "CRITICAL", "description": ""} == created
    assert "critical" == (await hub.timeline.log(thermostat, "frost")).type
    edited = await ask("PUT", f"{EVENT}?{TEMPLATE}&eventId=2", {"name": "Deep frost", "eventCode": "deep_frost"})
    assert created | {"name": "Deep frost", "eventCode": "deep_frost"} == edited
    assert None is await ask("DELETE", f"{EVENT}?{TEMPLATE}&eventId=1")
    assert [edited | {"id": 1}] == await ask("GET", f"{EVENT}s?{TEMPLATE}")
    assert None is await ask("DELETE", f"{EVENT}?{TEMPLATE}&eventCode=deep_frost")
    assert [] == await ask("GET", f"{EVENT}s?{TEMPLATE}")


async def test_edit_of_an_outdated_template_is_rejected(world, thermostat, ask):
    read = await ask.http.ask("GET", f"/api/v1/organization/template?{TEMPLATE}", key=ask.key)
    assert 201 == (await ask.http.ask("POST", f"/api/v1/{STREAM}/create", NEW, ask.key)).status
    path = f"/api/v1/{STREAM}?{TEMPLATE}&dataStreamId=1"
    outdated = await ask.http.ask("PUT", path, {"label": "X"}, ask.key, If_Match=read.headers["etag"])
    assert 412 == outdated.status
    assert "Temperature" == thermostat.template.datastreams[0].name


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", f"{STREAM}/create", NEW | {"templateId": "TMPL0none"}, 404, NOT_FOUND_TEMPLATE),
        ("POST", f"{STREAM}/create", NEW | {"pin": 1}, 400, "V1"),
        ("POST", f"{STREAM}/create", NEW | {"pin": 300}, 400, "V300"),
        ("POST", f"{STREAM}/create", NEW | {"pin": "v7"}, 400, "pin: must be a whole number"),
        ("POST", f"{STREAM}/create", NEW | {"label": "Temperature"}, 400, "Temperature"),
        ("POST", f"{STREAM}/create", NEW | {"type": "BOOLEAN"}, 400, "type: must be one of INT"),
        ("POST", f"{STREAM}/create", NEW | {"type": "ENUM"}, 400, "values"),
        ("POST", f"{STREAM}/create", NEW | {"min": 5, "max": 1}, 400, "min"),
        ("POST", f"{STREAM}/create", NEW | {"defaultValue": "warm"}, 400, "default"),
        ("POST", f"{STREAM}/create", NEW | {"color": "red"}, 400, "color"),
        ("POST", f"{STREAM}/create", {}, 400, "templateId"),
        ("PUT", f"{STREAM}?{TEMPLATE}&dataStreamId=99", {"label": "X"}, 404, "Data stream with identifier 99"),
        ("PUT", f"{STREAM}?{TEMPLATE}&dataStreamId=1", {"pin": 2}, 400, "V2"),
        ("PUT", f"{STREAM}?{TEMPLATE}&dataStreamId=x", {"label": "X"}, 400, "dataStreamId must be a whole number"),
        ("PUT", f"{STREAM}?{TEMPLATE}", {"label": "X"}, 400, "dataStreamId is missing"),
        ("DELETE", f"{STREAM}?{TEMPLATE}&dataStreamId=99", b"", 404, "Data stream with identifier 99"),
        ("DELETE", f"{STREAM}?templateId=TMPL0none&dataStreamId=1", b"", 404, NOT_FOUND_TEMPLATE),
        (
            "POST",
            f"{EVENT}/create",
            {"templateId": "TMPL0blynk", "name": "X", "eventCode": "high_temp"},
            400,
            "high_temp",
        ),
        ("POST", f"{EVENT}/create", {"templateId": "TMPL0blynk", "name": "X", "eventCode": ""}, 400, "code"),
        (
            "POST",
            f"{EVENT}/create",
            {"templateId": "TMPL0blynk", "name": "X", "eventCode": "x", "type": "ONLINE"},
            400,
            "type: must be one of INFORMATION",
        ),
        ("PUT", f"{EVENT}?{TEMPLATE}&eventId=9", {"name": "X"}, 404, "Event 9 is not found."),
        ("DELETE", f"{EVENT}?{TEMPLATE}", b"", 400, "either eventId or eventCode is needed"),
        ("DELETE", f"{EVENT}?{TEMPLATE}&eventId=1&eventCode=high_temp", b"", 400, "and not both"),
        ("DELETE", f"{EVENT}?{TEMPLATE}&eventCode=none", b"", 404, "Event with provided code is not found."),
    ],
)
async def test_invalid_change_of_a_template_is_rejected_and_changes_nothing(
    thermostat, ask, method, path, body, status, error
):
    before = thermostat.template
    response = await ask(method, path, body)
    assert (status, True) == (response.status, error in response.message), response.message
    assert before is thermostat.template


async def test_changing_a_template_needs_the_permission(world, thermostat):
    async with api_client(world) as ask:
        for method, path, body in (
            ("POST", f"{STREAM}/create", NEW),
            ("DELETE", f"{STREAM}?{TEMPLATE}&dataStreamId=1", b""),
            ("DELETE", f"{EVENT}?{TEMPLATE}&eventId=1", b""),
        ):
            assert 403 == (await ask(method, path, body)).status, path
