"""Events of many devices, and counts of devices."""

from __future__ import annotations

import pytest
from support.api import error_of
from support.times import DAY, HOUR, MINUTE, NOON


@pytest.fixture
async def events(boards, time):
    """A probe and a thermometer in acme and a probe in works, with 3, 1 and 1 events in two days."""
    probe = await boards.device("acme", "Probe")
    thermometer = await boards.device("acme", "Thermometer", boards.world.template)
    below = await boards.device("works", "Below")
    log = boards.hub.timeline.log
    await log(probe, "hot", "Very")
    time.pass_(DAY)
    await log(thermometer, "hot")
    await log(probe, "dry")
    time.pass_(HOUR)
    await log(probe, "hot")
    await log(below, "dry")
    await boards.hub.timeline.resolve(probe, "hot")
    time.pass_(MINUTE)
    return probe, thermometer, below


async def test_count_is_compared_with_the_range_before(boards, events):
    data = await boards.show("event_count", range="1d")
    assert (4, 1) == (data["value"], data["previous"])
    data = await boards.show("event_count", {"events": ["Hot"]}, range="1w")
    assert (3, 0, "3") == (data["value"], data["previous"], data["text"])
    assert 2 == (await boards.show("event_count", {"types": ["critical"]}, range="1w"))["value"]
    assert 0 == (await boards.show("event_count", {"events": ["Rain"]}, range="1w"))["value"]


async def test_bars_and_breakdowns_are_by_name_whatever_the_template(boards, events):
    assert [["Hot", 3], ["Dry", 2]] == (await boards.show("event_bars", range="1w"))["rows"]
    data = await boards.show("events_breakdown", range="1w", tz="UTC")
    assert ["Hot", "Dry"] == [line["name"] for line in data["series"]]
    hot = {at: value for at, value in zip(data["series"][0]["ts"], data["series"][0]["values"], strict=True) if value}
    assert {NOON: 1, NOON + DAY: 1, NOON + DAY + HOUR: 1} == hot


async def test_events_over_time_have_a_point_for_each_part_of_the_range(boards, events):
    data = await boards.show("events_over_time", range="1w", board={"name": "Hours"})
    [line] = data["series"]
    assert ("hour", 7 * 24 + 1, 5) == (data["resolution"], len(line["ts"]), sum(line["values"]))
    data = await boards.show("events_over_time", range="1mo", tz="America/New_York")
    [line] = data["series"]
    assert ("day", 31) == (data["resolution"], len(line["ts"]))
    assert [1, 4] == line["values"][-2:]
    data = await boards.show("events_over_time", {"resolution": "minute"}, range="1h")
    assert [(NOON + DAY + HOUR, 2)] == [
        (at, value) for at, value in zip(data["series"][0]["ts"], data["series"][0]["values"], strict=True) if value
    ]


async def test_resolution_with_too_many_points_is_rejected(boards, events):
    board = await boards.create({"type": "events_over_time", "options": {"resolution": "minute"}})
    assert "cannot have a point for each minute" in error_of(await boards.data(board, range="1y"))


async def test_days_with_another_length_have_their_events(boards, events, time):
    # Clocks go back on 2026-10-25 in Berlin: that day has 25 hours.
    time.pass_(115 * DAY)
    await boards.hub.timeline.log(events[0], "dry")
    data = await boards.show("events_over_time", range="1y", tz="Europe/Berlin")
    [line] = data["series"]
    lengths = {after - before for before, after in zip(line["ts"], line["ts"][1:], strict=False)}
    assert {23 * HOUR, DAY, 25 * HOUR} == lengths
    assert (6, 1) == (sum(line["values"]), line["values"][-1])


async def test_events_by_organization_template_and_device(boards, events):
    probe, thermometer, below = events

    async def rows(kind, **options):
        return (await boards.show(f"events_by_{kind}", options, range="1w"))["rows"]

    assert [["acme", 4], ["works", 1]] == await rows("organization")
    assert [["Probe", 4], ["Thermometer", 1]] == await rows("template")
    assert [["Probe", 3, probe.id], ["Thermometer", 1, thermometer.id], ["Below", 1, below.id]] == await rows("device")
    assert [["Probe", 3, probe.id]] == await rows("device", size=1)


async def test_latest_events_are_listed_with_their_devices(boards, events):
    data = await boards.show("latest_events", {"size": 2}, range="1w")
    assert 5 == data["totalElements"]
    assert [(NOON + DAY + HOUR, "Below", "Dry"), (NOON + DAY + HOUR, "Probe", "Hot")] == [
        (row[0], row[2], row[3]) for row in data["rows"]
    ]
    assert data["rows"][1][-1] is not None
    data = await boards.show("latest_events", {"types": ["critical"], "showResolved": False}, range="1w")
    assert [("Hot", "critical", "Very", None)] == [tuple(row[3:]) for row in data["rows"]]


async def test_too_many_devices_for_events_are_a_problem(boards, events, monkeypatch):
    monkeypatch.setattr("plugins.dashboards.events.MAX_DEVICES", 2)
    assert "3 devices are too many for events" in (await boards.show("event_count"))["problem"]


async def test_devices_are_counted_by_template_and_activity(boards, events, time):
    probe, thermometer, below = events
    assert 3 == (await boards.show("total_devices"))["value"]
    assert [["Probe", 2], ["Thermometer", 1]] == (await boards.show("total_devices_by_template"))["rows"]
    assert 0 == (await boards.show("active_devices"))["value"]
    boards.write(probe, 0, 1)
    probe.activated, thermometer.activated = time.wall, time.wall - 30 * HOUR
    thermometer.connected, thermometer.disconnected = time.wall - 30 * HOUR, time.wall - 25 * HOUR
    assert 1 == (await boards.show("active_devices", range="1d"))["value"]
    rows = (await boards.show("active_devices_by_template", range="1w"))["rows"]
    assert [["Probe", 1], ["Thermometer", 1]] == rows
    data = await boards.show("activations", range="1d")
    assert (1, 1, 1) == (data["value"], data["previous"], sum(data["series"][0]["values"]))


async def test_device_counts_for_each_status_that_it_had(boards, events, time):
    hub, (probe, thermometer, _below) = boards.hub, events
    assert [["Offline", 3]] == (await boards.show("connection_statuses"))["rows"]
    for device in (probe, thermometer):
        device.activated = NOON
        hub.lifecycle._set_status(device, "online")
    assert [["Offline", 3], ["Online", 2]] == await statuses(boards, "1d")
    time.pass_(2 * DAY)
    assert [["Online", 2], ["Offline", 1]] == await statuses(boards, "1d")
    hub.lifecycle._set_status(probe, "offline")
    assert [["Offline", 2], ["Online", 2]] == await statuses(boards, "1d")


async def statuses(boards, range_):
    hub = boards.hub
    while hub.lifecycle._unsaved:
        await hub.lifecycle._save()
    return (await boards.show("connection_statuses", range=range_))["rows"]
