"""Events: their limits, the timeline, resolving and commenting; metadata of every type; time zones and properties."""

from __future__ import annotations

import json

import pytest
from support.raw_http import connected, local_key
from support.times import DAY, HOUR, MINUTE, NOON

from connectors.native import client
from connectors.native.protocol import Cmd
from hub.config import parse
from hub.domain.metadata import TYPES, WrongValue, field_problems
from hub.domain.timeline import TimelineFilter
from hub.errors import NotFound, Rejected, TooMany
from hub.facts import EventLogged
from hub.model import SYSTEM, MetadataField, Principal
from hub.run import running
from hub.testing import LOOPBACK, add_device, address_of

TEMPLATE = """
[template]
id = "TMPL0"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
[[datastream]]
pin = "V1"
name = "Picture"
[[event]]
code = "leak"
name = "Leak"
type = "critical"
[[event]]
code = "door"
name = "Door"
type = "info"
archivable = false
[[event]]
code = "often"
name = "Often"
type = "warning"
every = 3
period = "1h"
[[event]]
code = "quiet"
name = "Quiet"
timeline = false
[[event]]
code = "news"
name = "News"
type = "content"
subtitle = "Fresh"
action_title = "Read"
action_url = "https://example.org"
[[metadata]]
name = "Serial Number"
[[metadata]]
name = "Threshold"
type = "number"
min = 0
max = 10
default = "5"
[[metadata]]
name = "Contact"
type = "contact"
[[metadata]]
name = "Plot"
type = "table"
"""
OWNER = Principal("user", 1, label="ana@example.org")


@pytest.fixture
async def hub(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        yield hub


@pytest.fixture
async def meter(hub):
    return await add_device(hub, TEMPLATE, "Meter")


@pytest.fixture
def device(meter):
    return meter[0]


@pytest.fixture
async def api(hub, device):
    async with connected(hub) as http:

        async def call(method, path, body=None, **query):
            text = "&".join(f"{key.rstrip('_')}={value}" for key, value in ({"deviceId": device.id} | query).items())
            path = f"/api/v1/{path}" + (f"?{text}" if method == "GET" else "")
            body = None if method == "GET" else {"deviceId": device.id} | body
            return await http.ask(method, path, body, key=local_key(hub))

        yield call


# -- events -----------------------------------------------------------------------------------------------------------


async def test_event_with_a_count_and_a_period_notifies_every_third_time_and_once_an_hour(hub, device, time):
    facts = []
    hub.subscribe(EventLogged, facts.append)
    for _ in range(12):
        await hub.timeline.log(device, "often")
        time.pass_(5 * MINUTE)
    time.pass_(HOUR)
    await hub.timeline.log(device, "often")
    assert [False, False, True, *[False] * 9, True] == [fact.notify for fact in facts]
    assert 13 == len(await hub.timeline.newest(device))


async def test_event_that_is_not_on_the_timeline_is_emitted(hub, device):
    facts = []
    hub.subscribe(EventLogged, facts.append)
    assert 0 == (await hub.timeline.log(device, "quiet")).id
    assert ["quiet"] == [fact.event.code for fact in facts]
    assert [] == await hub.timeline.newest(device)


async def test_timeline_is_filtered_by_type_state_time_and_text(hub, device, time, api):
    for code, text in (("leak", "in the cellar"), ("door", "50% open"), ("news", "it_works"), ("leak", "in the attic")):
        await hub.timeline.log(device, code, text)
        time.pass_(DAY)
    [attic, news, door, cellar] = await hub.timeline.newest(device)
    await hub.timeline.resolve_event(device, cellar.id, "mopped up", OWNER)
    await hub.timeline.archive(device, news.id, archived=True)
    await hub.timeline.comment(device, attic.id, "a bucket is there", OWNER)

    async def find(**query):
        response = await api("GET", "organization/device/timeline", **query)
        assert 200 == response.status, response.text
        return [event["id"] for event in response.json["content"]]

    assert [attic.id, door.id, cellar.id] == await find()
    assert [attic.id, cellar.id] == await find(eventType="CRITICAL")
    assert [door.id] == await find(eventType="INFORMATION")
    assert [attic.id] == await find(eventType="critical", resolved="false")
    assert [cellar.id] == await find(resolved="true")
    assert [news.id] == await find(archived="true")
    assert 4 == len(await find(archived="any"))
    assert [door.id] == await find(from_=NOON + DAY, to=NOON + 2 * DAY)
    assert [attic.id] == await find(query="BUCKET")
    assert [cellar.id] == await find(query="mopped")
    assert [door.id] == await find(query="50%25")
    assert [] == await find(query="5_%25")
    assert [door.id] == await find(page=1, size=1)
    response = await api("GET", "organization/device/timeline", eventType="info")
    assert {"CRITICAL": 2, "INFORMATION": 1} == response.json["counters"]
    for query in ({"eventType": "loud"}, {"resolved": "maybe"}, {"from_": 5, "to": 5}, {"size": 0}, {"size": 10**9}):
        assert 400 == (await api("GET", "organization/device/timeline", **query)).status, query


async def test_events_are_resolved_commented_and_archived(hub, device, api):
    leak = await hub.timeline.log(device, "leak")
    door = await hub.timeline.log(device, "door")
    event = "organization/device/event"
    response = await api("POST", f"{event}/resolve", {"eventId": leak.id, "note": "fixed"})
    assert (200, "fixed", "local key", NOON) == (
        response.status, response.json["resolvedComment"], response.json["resolvedBy"], response.json["resolvedAt"],
    )  # fmt: skip
    response = await api("POST", f"{event}/comment", {"eventId": leak.id, "text": "well done"})
    assert [{"ts": NOON, "by": "local key", "text": "well done"}] == response.json["comments"]
    assert NOON == (await api("POST", f"{event}/archive", {"eventId": leak.id})).json["archivedAt"]
    assert (await api("POST", f"{event}/archive", {"eventId": leak.id, "archived": False})).json["archivedAt"] is None
    for path, body, status, message in (
        ("resolve", {"eventId": leak.id}, 400, "The event is resolved already."),
        ("resolve", {"eventId": door.id}, 400, "An event of type info needs no resolution."),
        ("resolve", {"eventId": 99}, 404, "There is no such event."),
        ("comment", {"eventId": leak.id, "text": " "}, 400, "A comment must have some text."),
        ("comment", {"eventId": leak.id, "text": "x" * 1001}, 400, "text of at most 1000 characters"),
        ("archive", {"eventId": door.id}, 400, "The event type Door does not allow archiving."),
    ):
        response = await api("POST", f"{event}/{path}", body)
        assert status == response.status
        assert message in response.message


async def test_event_of_another_device_is_not_found(hub, device, meter):
    other, _ = await add_device(hub, TEMPLATE, "Other")
    leak = await hub.timeline.log(other, "leak")
    with pytest.raises(NotFound):
        await hub.timeline.resolve_event(device, leak.id, "", OWNER)


async def test_event_is_triggered_over_http(hub, device, api):
    trigger = "organization/device/trigger-event"
    assert 204 == (await api("POST", trigger, {"eventCode": "leak", "eventDescription": "wet"})).status
    response = await api("POST", trigger, {"eventCode": "nonsense"})
    assert (404, "Event with provided code is not found.") == (response.status, response.message)
    assert ["wet"] == [event.description for event in await hub.timeline.newest(device)]


async def test_number_of_events_of_a_day_is_limited(tmp_path, time):
    config = parse(LOOPBACK + "[limits]\nevents_per_day = 2").with_data(str(tmp_path / "other"))
    async with running(config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for code in ("leak", "door"):
            await hub.timeline.log(device, code)
        time.pass_(MINUTE)
        with pytest.raises(TooMany, match="has logged 2 events today") as error:
            await hub.timeline.log(device, "leak")
        assert 12 * 3600 - 60 == error.value.retry_after
        time.pass_(DAY)
        await hub.timeline.log(device, "leak")


# -- metadata ---------------------------------------------------------------------------------------------------------

VALID_AND_INVALID = {
    "text": ("x" * 255, "x" * 256),
    "hotspot": ("Blynk Lamp-1234", "x" * 256),
    "number": ("-1.5", "nan"),
    "time": ("23:59", "24:00"),
    "time_range": ("07:30-18:00", "07:30"),
    "contact": ('{"firstName": "A", "email": "a@b"}', '{"surname": "A"}'),
    "cost": ('{"currency": "EUR", "price": 2.5, "per": 10}', '{"currency": "XXX", "price": 1}'),
    "coordinates": ("47.4,8.5", "91,8"),
    "location": ('{"lat": 47.4, "lon": 8.5, "timezone": "Europe/Zurich"}', '{"timezone": "Mars/Olympus"}'),
    "time_zone": ("Asia/Kolkata", "Mars/Olympus"),
    "switch": ("A", "C"),
    "list": ("B", "C"),
    "unit_conversion_switch": ("°F", "K"),
    "firmware_update_control": ("on", "yes"),
    "device_reference": ("17", "-1"),
    "table": ("a,b\n1,2", "a,b\n1"),
    "imei": ("490154203237518", "490154203237519"),
    "iccid": ("8988303000001234567", "123"),
    "email": ("a@b.example", "a b@c"),
    "image": ("https://example.org/a.png", "javascript:alert(1)"),
    "device_eui": ("0123456789abcdef", "0123456789abcdeg"),
    "join_eui": ("0123456789ABCDEF", "1"),
    "application_key": ("0" * 32, "0" * 31),
    "blues_device": ("dev:1", "x" * 256),
    "myriota_terminal_id": ("1", "x" * 256),
    "ttn_device_id": ("eui-1", "x" * 256),
    "thing_name": ("thing", "x" * 256),
}


@pytest.mark.parametrize("kind", TYPES)
def test_metadata_of_each_type_accepts_a_valid_and_rejects_an_invalid_value(kind):
    valid, invalid = VALID_AND_INVALID[kind]
    options = {"switch": ("A", "B"), "list": ("A", "B"), "unit_conversion_switch": ("°C", "°F")}.get(kind, ())
    field = MetadataField(name="F", type=kind, options=options)
    assert [] == field_problems(field)
    TYPES[kind](field, valid)
    with pytest.raises(WrongValue):
        TYPES[kind](field, invalid)


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ({"type": "nonsense"}, "type 'nonsense' must be one of text, "),
        ({"type": "switch", "options": ("A",)}, "a switch must have 2 options"),
        ({"type": "list"}, "a list must have at least 1 options"),
        ({"options": ("A",)}, "a text cannot have options"),
        ({"min": 1}, "a text cannot have min, max and step"),
        ({"type": "number", "max": 3, "default": "4"}, "default '4' must be at most 3"),
        ({"name": "Device Name"}, "this name is reserved for a field that every device has"),
    ],
)
def test_problem_of_a_metadata_field_is_reported(field, problem):
    assert any(problem in reported for reported in field_problems(MetadataField(**{"name": "F"} | field)))


async def test_metadata_is_read_and_set_over_http(hub, meter, api):
    device, token = meter
    async with connected(hub) as http:

        async def ask(path, query):
            response = await http.get(f"/external/api/device/meta{path}?token={token}&{query}")
            return response.status, response.body.decode()

        assert (200, '{"type":"Number","value":"5"}') == await ask("", "metaFieldId=2")
        assert (200, "") == await ask("/update", "metaFieldId=2&value=7")
        assert (200, '{"type":"Number","value":"7"}') == await ask("", "metaFieldId=Threshold")
        assert (200, "") == await ask("/update", "metaFieldName=Serial%20Number&value=AB-1")
        assert (200, "") == await ask("/update", "metaFieldName=Device%20Name&value=Cellar")
        assert "Cellar" == device.name
        assert (200, '{"type":"Text","value":""}') == await ask("", "metaFieldId=loc.latlon")
        await hub.metadata.set(device, "Location", '{"lat": 47.4, "lon": 8.5}', SYSTEM)
        assert (200, '{"type":"Text","value":"47.4 8.5"}') == await ask("", "metaFieldId=loc.latlon")
        for path, query, message in (
            ("", "metaFieldId=9", "MetaField doesn't exist."),
            ("", "metaFieldId=", "Wrong metaField format."),
            ("/update", "metaFieldId=x&value=1", "Wrong metaField format"),
            ("/update", "metaFieldId=9&value=1", "MetaField doesn't exist"),
            ("/update", "metaFieldId=2&value=11", "Wrong value"),
            ("/update", "metaFieldId=2", "Wrong value"),
            ("/update", "metaFieldName=Contact&value={}", "Wrong value"),
        ):
            assert (400, json.dumps({"error": {"message": message}}, separators=(",", ":"))) == await ask(path, query)
    response = await api("POST", "organization/device/metafield", {"metaFieldId": 2, "newValue": "x"})
    assert (400, True) == (response.status, response.message.startswith("The provided value for metafield is invalid."))
    response = await api("POST", "organization/device/metafield", {"name": "Nonsense", "newValue": "x"})
    assert (404, "Meta field is not found.") == (response.status, response.message)
    fields = {
        field["name"]: (field["id"], field["value"])
        for field in (await api("GET", "organization/device/metafield")).json
    }
    assert (2, "7") == fields["Threshold"]


async def test_firmware_reads_and_sets_metadata_and_is_notified_of_changes(hub, meter):
    device, token = meter
    async with client.connect(*address_of(hub), token, info={"h-beat": "45"}) as board:
        await hub.metadata.set(device, "Threshold", "8", OWNER)
        await board.send(Cmd.INTERNAL, "meta", "get", "Threshold")
        await board.send(Cmd.INTERNAL, "meta", "set", "Plot", "a,b")
        await board.send(Cmd.INTERNAL, "meta", "set", "Contact", "{}")
        await board.send(Cmd.INTERNAL, "rtc", "sync")
        frames = []
        async for command, _, body, status in board.frames():
            frames.append((command, body, status))
            if body.startswith(b"rtc"):
                break
    assert [
        (Cmd.INTERNAL, b"meta\0Threshold\x008", 0),
        (Cmd.INTERNAL, b"meta\0Threshold\x008", 0),
        (Cmd.RESPONSE, b"", 200),
        (Cmd.RESPONSE, b"", 11),
    ] == frames[:-1]
    device_itself = Principal("device", device.id)
    assert await hub.metadata.set(device, "Time Zone", "not a zone", device_itself), "not validated, as documented"
    assert "UTC" == hub.timezone_of(device)


async def test_time_zone_of_a_device_is_of_its_location_else_its_metadata_else_the_default(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        device, _ = await add_device(hub, TEMPLATE)
        assert "UTC" == hub.timezone_of(device)
        await hub.metadata.set(device, "Time Zone", "Europe/Kyiv", OWNER)
        assert "Europe/Kyiv" == hub.timezone_of(device)
        await hub.metadata.set(device, "Location", '{"address": "A", "timezone": "Asia/Kolkata"}', OWNER)
        assert "Asia/Kolkata" == hub.timezone_of(device)
        with pytest.raises(Rejected, match="there is no time zone 'Mars/Olympus'"):
            await hub.metadata.set(device, "Time Zone", "Mars/Olympus", OWNER)
    async with running(hub_config, clock=time.clock()) as hub:
        [device] = hub.devices.by_id.values()
        assert "Asia/Kolkata" == hub.timezone_of(device)
        await hub.metadata.set(device, "Location", "just an address", OWNER)
        assert "Europe/Kyiv" == hub.timezone_of(device)


# -- properties -------------------------------------------------------------------------------------------------------


async def test_properties_are_set_and_erased_singly_or_all(hub, device, api):
    path, erase = "organization/device/datastream/property", "device/property/erase"
    assert 204 == (await api("POST", path, {"pin": "v0", "property": "labels", "value": ["A", "B"]})).status
    assert 204 == (await api("POST", path, {"pin": "v0", "property": "isDisabled", "value": True})).status
    assert 204 == (await api("POST", path, {"dataStreamId": 2, "property": "url", "value": ["2", "http://b"]})).status
    assert {
        1: {"labels": ("A", "B"), "isDisabled": ("true",)},
        2: {"urls": ("", "http://b")},
    } == await hub.properties.values_for(device)
    assert {"erased": 1} == (await api("POST", erase, {"pin": "v0", "property": "labels"})).json
    assert {"erased": 0} == (await api("POST", erase, {"pin": "v0", "property": "labels"})).json
    assert {"erased": 2} == (await api("POST", erase, {})).json
    assert {} == await hub.properties.values_for(device)
    for body, status in (({"pin": "v9"}, 400), ({"property": "label"}, 400)):
        assert status == (await api("POST", erase, body)).status
    assert 400 == (await api("POST", path, {"pin": "v0", "property": "nonsense", "value": "x"})).status


async def test_timeline_filter_with_no_devices_matches_nothing(hub, device):
    await hub.timeline.log(device, "leak")
    assert ([], 0) == await hub.timeline.find(TimelineFilter(devices=[]))


async def test_events_are_tallied_by_device_name_and_step(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        devices = [(await add_device(hub, TEMPLATE, name))[0] for name in ("A", "B")]
        for device, code, later in ((0, "leak", 0), (0, "door", 0), (1, "leak", HOUR), (0, "leak", HOUR)):
            time.pass_(later)
            await hub.timeline.log(devices[device], code)
        ids = [device.id for device in devices]
        tally, events = hub.timeline.tally, TimelineFilter(devices=ids, types=("critical", "info"), start=NOON)
        assert [((), 4)] == await tally(events, ())
        assert [(("Leak",), 3), (("Door",), 1)] == await tally(events, ("name",))
        assert [((ids[0], "Leak"), 2), ((ids[0], "Door"), 1), ((ids[1], "Leak"), 1)] == await tally(
            events, ("device", "name")
        )
        assert [((0,), 2), ((1,), 1), ((2,), 1)] == await tally(events, (), HOUR)
        assert [((), 0)] == await tally(TimelineFilter(devices=ids, names=("Rain",)), ())
        assert [(("Leak", 0), 2), (("Leak", 1), 1)] == await tally(
            TimelineFilter(devices=ids, names=("Leak",), start=NOON, end=2**42), ("name",), 2 * HOUR
        )
