"""The timeline of all devices that a user may view, over HTTP."""

from __future__ import annotations

import pytest
from support.api_templates import LAMP, METER

from hub.domain import timeline
from hub.model import LOCAL, SYSTEM
from hub.testing import add_device

TIMELINE = "/api/v1/timeline"


@pytest.fixture
async def devices(hub):
    """Three devices of two templates."""
    return [
        (await add_device(hub, document, name))[0]
        for document, name in ((METER, "Pump"), (METER, "Boiler"), (LAMP, "Hall"))
    ]


async def add_events(hub, devices, *events, ts=None):
    """Record events of (device number, type, description), a millisecond after one another unless all have one stamp."""
    start = hub.clock.now()

    async def write(tx):
        await tx.insert_many(
            "timeline",
            ("device", "ts", "code", "type", "name", "description"),
            [
                (devices[number].id, start + index if ts is None else ts, "code", kind, "Name", description)
                for index, (number, kind, description) in enumerate(events)
            ],
        )

    await hub.storage.transaction(write)


async def read_all(ask, query=""):
    """Follow the cursors; return the descriptions of all events, and the number of pages."""
    texts, cursor, pages = [], "", 0
    while cursor is not None:
        page = (await ask(f"{TIMELINE}?cursor={cursor}{query}")).json
        texts += [event["description"] for event in page["content"]]
        cursor, pages = page["next"], pages + 1
    return texts, pages


async def test_events_of_all_devices_are_listed_newest_first_with_their_devices(hub, devices, api):
    await add_events(hub, devices, (0, "info", "first"), (2, "critical", "second"), (1, "info", "third"))
    listed = (await api.get(TIMELINE)).json

    assert [("third", "Boiler", "TMPL0meter"), ("second", "Hall", "TMPL0lamp"), ("first", "Pump", "TMPL0meter")] == [
        (event["description"], event["deviceName"], event["templateId"]) for event in listed["content"]
    ]
    assert [devices[1].id, devices[2].id, devices[0].id] == [event["deviceId"] for event in listed["content"]]
    assert ({"INFORMATION": 2, "CRITICAL": 1}, None, None) == (
        listed["counters"],
        listed["countedFrom"],
        listed["next"],
    )


async def test_comments_and_resolutions_are_listed(hub, devices, api):
    await hub.timeline.log(devices[2], "broken", "Dark")
    event = (await hub.timeline.newest(devices[2]))[0]
    await hub.timeline.comment(devices[2], event.id, "On my way", LOCAL)
    await hub.timeline.resolve_event(devices[2], event.id, "New bulb", LOCAL)

    [listed] = (await api.get(f"{TIMELINE}?resolved=true")).json["content"]
    assert (True, "New bulb") == (listed["isResolved"], listed["resolvedComment"])
    assert ["On my way"] == [comment["text"] for comment in listed["comments"]]
    assert [] == (await api.get(f"{TIMELINE}?resolved=false")).json["content"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("eventType=CRITICAL", ["leak"]),
        ("eventType=critical,WARNING", ["hot", "leak"]),
        ("query=ea", ["leak"]),
        ("query=100%25", []),
        ("templateId=TMPL0lamp", ["hot"]),
        ("templateId=TMPL0meter&eventType=INFORMATION", ["dry"]),
        ("templateId=nonsense", []),
        ("orgId=1", ["hot", "leak", "dry"]),
        ("size=1", ["hot"]),
        ("to=1", []),
        ("from=1&size=2", ["hot", "leak"]),
    ],
)
async def test_events_are_filtered(hub, devices, api, query, expected):
    await add_events(hub, devices, (0, "info", "dry"), (1, "critical", "leak"), (2, "warning", "hot"))
    listed = (await api.get(f"{TIMELINE}?{query}")).json
    assert expected == [event["description"] for event in listed["content"]]


async def test_counters_count_all_types_whatever_the_event_type(hub, devices, api):
    await add_events(hub, devices, (0, "info", "dry"), (1, "critical", "leak"), (2, "warning", "hot"))
    listed = (await api.get(f"{TIMELINE}?eventType=CRITICAL")).json
    assert {"INFORMATION": 1, "CRITICAL": 1, "WARNING": 1} == listed["counters"]


async def test_archived_events_are_left_out_unless_asked_for(hub, devices, api):
    await hub.timeline.log(devices[2], "broken", "Dark")
    await hub.timeline.archive(devices[2], (await hub.timeline.newest(devices[2]))[0].id, archived=True)
    for archived, count in (("false", 0), ("true", 1), ("any", 1)):
        assert count == len((await api.get(f"{TIMELINE}?archived={archived}")).json["content"])


@pytest.mark.parametrize("same_stamp", [False, True], ids=["different stamps", "same stamp"])
@pytest.mark.parametrize("lookup", ["all devices", "by device", "by time"])
async def test_cursors_lead_to_every_event_once(hub, devices, api, lookup, same_stamp, monkeypatch):
    """Whichever way the events are found, and however few one statement looks through."""
    for name in ("FEW_WINDOWS", "MANY_WINDOWS"):
        monkeypatch.setattr(timeline, name, (3, 2))
    if lookup == "by time":
        monkeypatch.setattr(timeline, "FEW_DEVICES", 0)
    await add_events(
        hub,
        devices,
        *((number % 3, "info", str(number)) for number in range(40)),
        ts=hub.clock.now() if same_stamp else None,
    )
    query = "" if lookup == "all devices" else "&templateId=TMPL0meter"
    wanted = [str(number) for number in reversed(range(40)) if lookup == "all devices" or number % 3 != 2]

    for size in (1, 4, 100):
        texts, pages = await read_all(api.get, f"{query}&size={size}")
        assert wanted == texts
        assert pages < 80


async def test_events_of_rare_devices_are_reached_over_empty_pages(hub, devices, api, monkeypatch):
    monkeypatch.setattr(timeline, "FEW_WINDOWS", (5, 2))
    await add_events(hub, devices, (2, "info", "rare"), *((0, "info", "frequent") for _ in range(30)))

    page = (await api.get(f"{TIMELINE}?templateId=TMPL0lamp")).json
    assert ([], {}) == (page["content"], page["counters"])
    assert page["next"] is not None
    assert page["countedFrom"] is not None
    texts, pages = await read_all(api.get, "&templateId=TMPL0lamp")
    assert ["rare"] == texts
    assert pages > 2


async def test_counters_tell_from_when_on_they_count(hub, devices, api, monkeypatch):
    monkeypatch.setattr(timeline, "MANY_WINDOWS", (5, 2))
    await add_events(hub, devices, *((0, "info", str(number)) for number in range(30)))
    listed = (await api.get(f"{TIMELINE}?size=10")).json
    assert {"INFORMATION": 10} == listed["counters"]
    assert listed["content"][9]["ts"] == listed["countedFrom"]
    second = (await api.get(f"{TIMELINE}?size=10&cursor={listed['next']}")).json
    assert (None, None) == (second["counters"], second["countedFrom"])
    assert "19" == second["content"][0]["description"]


async def test_hub_without_devices_has_no_events(hub, api):
    assert {"content": [], "next": None, "counters": {}, "countedFrom": None} == (await api.get(TIMELINE)).json


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("cursor=nonsense", "cursor must be the next of an earlier answer, not 'nonsense'"),
        ("cursor=-1-5", "cursor must be the next of an earlier answer"),
        ("cursor=1-2-3", "cursor must be the next of an earlier answer"),
        (f"cursor=1-{'9' * 30}", "cursor must be the next of an earlier answer"),
        ("cursor=%D9%A1-1", "cursor must be the next of an earlier answer"),
        ("eventType=frost", "eventType must be one of INFORMATION"),
        ("from=2&to=1", "from must be before to"),
        ("size=0", "size"),
        ("size=1001", "size"),
        ("resolved=maybe", "resolved"),
        ("orgId=99", "Organization with identifier 99 is not found"),
    ],
)
async def test_invalid_query_is_rejected(hub, devices, api, query, error):
    response = await api.get(f"{TIMELINE}?{query}")
    assert 400 <= response.status < 500
    assert error in response.message


# -- rights -----------------------------------------------------------------------------------------------------------


async def test_users_see_events_of_the_devices_that_they_may_view(hub, world):
    places = ("acme", "works", "beta", "root")
    devices = [await world.device(world.orgs[name], name=name) for name in places]
    devices.append(await world.device(world.orgs["acme"], owner=world.users["uma"].id, name="uma's"))
    names = [device.name for device in devices]
    await add_events(hub, devices, *((number, "info", name) for number, name in enumerate(names)))

    async def seen_by(who, query=""):
        listed = (await world.ask(who, "GET", TIMELINE + query)).json
        assert {"INFORMATION": len(listed["content"])} == listed["counters"] or not listed["content"]
        return {event["description"] for event in listed["content"]}

    assert set(names) == await seen_by("rita")
    assert {"acme", "works", "uma's"} == await seen_by("ada")
    assert {"works"} == await seen_by("ada", f"?orgId={world.orgs['works']}")
    assert {"uma's"} == await seen_by("uma")
    assert {"beta"} == await seen_by("bert")
    for org in ("acme", "root"):
        answer = await world.ask("bert", "GET", f"{TIMELINE}?orgId={world.orgs[org]}")
        assert (404, True) == (answer.status, "is not found" in answer.message)


async def test_cursor_of_another_user_shows_nothing_more(hub, world):
    devices = [await world.device(world.orgs[name]) for name in ("acme", "beta")]
    await add_events(hub, devices, *((number % 2, "info", str(number)) for number in range(6)))
    cursor = (await world.ask("rita", "GET", f"{TIMELINE}?size=2")).json["next"]
    listed = (await world.ask("bert", "GET", f"{TIMELINE}?cursor={cursor}")).json
    assert ["3", "1"] == [event["description"] for event in listed["content"]]


async def test_events_of_a_device_that_moved_away_are_not_listed(hub, world):
    device = await world.device(world.orgs["acme"])
    await add_events(hub, [device], (0, "info", "there"))
    await hub.devices.transfer(device, world.orgs["beta"], None, SYSTEM)
    assert [] == (await world.ask("ada", "GET", TIMELINE)).json["content"]
    assert 1 == len((await world.ask("bert", "GET", TIMELINE)).json["content"])
