"""Labels and charts of the numbers of many devices."""

from __future__ import annotations

import pytest
from support.dashboards import label
from support.times import DAY, HOUR, MINUTE, NOON

from hub.model import SYSTEM


@pytest.fixture
async def probes(boards):
    """Two probes in acme and one in works, which have sent values for two hours: 10, 20 and 60."""
    devices = [await boards.device(*at) for at in (("acme", "A"), ("acme", "B"), ("works", "C"))]
    for device, value in zip(devices, (10, 20, 60), strict=True):
        boards.write(device, 0, value)
    return devices


@pytest.mark.parametrize(
    ("aggregate", "value", "text"),
    [("avg", 30, "30 °C"), ("min", 10, "10 °C"), ("max", 60, "60 °C"), ("sum", 90, "90 °C"), ("count", 3, "3")],
)
async def test_label_aggregates_the_numbers_of_all_devices(boards, probes, aggregate, value, text):
    data = await boards.show("label", label(aggregate=aggregate))
    assert (value, text, 3, None) == (data["value"], data["text"], data["devices"], data["problem"])


async def test_label_is_bound_by_property_group_or_name_too(boards, probes):
    for name in ("tag:Temperature C", "Heat", "v0"):
        assert 90 == (await boards.show("label", label(name, "sum")))["value"]


async def test_datastreams_of_other_types_are_ignored(boards, probes):
    other = await boards.device("acme", "Text")
    boards.write(other, 1, "warm")
    boards.write(probes[0], 1, "cold")
    thermometer = await boards.device("acme", "Thermometer", boards.world.template)
    boards.write(thermometer, 0, 30)
    data = await boards.show("label", label(aggregate="sum"), devices={"find": {"query": "Thermometer"}})
    assert (30, 1) == (data["value"], data["devices"])


async def test_values_are_in_the_units_of_the_viewer(boards, probes):
    hub, world = boards.hub, boards.world
    await hub.organizations.change(world.orgs["acme"], SYSTEM, units="imperial")
    data = await boards.show("label", label(aggregate="avg"))
    assert (86, "86 °F", "°F") == (data["value"], data["text"], data["units"])
    data = await boards.show("label", label(aggregate="sum"))
    assert 50 + 68 + 140 == data["value"], "each value is converted before the sum"
    data = await boards.show("label", label(aggregate="avg", units="deg", decimals="#.00"))
    assert (30, "30.00 deg") == (data["value"], data["text"]), "units of a widget are a label without a conversion"


async def test_unit_switch_of_a_device_counts_for_its_values(boards, probes):
    await boards.hub.metadata.set(probes[0], "Unit", "°F", SYSTEM)
    for device, text in ((probes[0], "50 °F"), (probes[1], "20 °C")):
        assert text == (await boards.show("label", label(), devices={"devices": [device.id]}))["text"]
    assert "different units (°C, °F)" in (await boards.show("label", label()))["problem"]


async def test_values_in_different_units_are_reported(boards, probes):
    thermometer = await boards.device("acme", "Thermometer", boards.world.template)
    boards.write(thermometer, 0, 30)
    data = await boards.show("label", label(aggregate="avg"))
    assert "different units (none, °C)" in data["problem"]
    assert (30, "") == (data["value"], data["units"])


async def test_latest_value_is_that_of_one_device(boards, probes):
    data = await boards.show("label", label(aggregate="latest"), devices={"devices": [probes[1].id]})
    assert (20, "20 °C", NOON) == (data["value"], data["text"], data["end"])
    data = await boards.show("label", label(aggregate="latest"))
    assert "this widget has 3" in data["problem"]
    assert data["value"] is None


async def test_range_limits_the_values_of_a_label(boards, probes, time):
    time.pass_(3 * HOUR)
    boards.write(probes[0], 0, 100)
    dashboard = await boards.create({"type": "label", "options": label(aggregate="count")}, range="1h")
    assert 1 == (await boards.data(dashboard))["value"]
    assert 4 == (await boards.data(dashboard, range="1d"))["value"]
    time.pass_(2 * DAY)
    assert (await boards.data(dashboard, range="1d"))["value"] is None
    assert 4 == (await boards.data(dashboard, range="1w"))["value"]
    response = await boards.data(dashboard, range="2w")
    assert 400 == response.status and "range" in response.message


async def test_chart_has_a_line_for_each_metric_over_time(boards, probes, time):
    for hour in range(3):
        time.pass_(HOUR)
        for device in probes:
            boards.write(device, 0, hour)
    lines = [{"pin": "V0", "aggregate": aggregate, "label": aggregate} for aggregate in ("avg", "sum", "count")]
    data = await boards.show("metrics_over_time", {"series": lines})
    assert ("hour", None) == (data["resolution"], data["problem"])
    by_name = {line["name"]: line for line in data["series"]}
    assert [NOON + n * HOUR for n in range(4)] == by_name["avg"]["ts"]
    assert [30, 0, 1, 2] == by_name["avg"]["values"]
    assert ([90, 0, 3, 6], "°C") == (by_name["sum"]["values"], by_name["sum"]["units"])
    assert ([3, 3, 3, 3], "") == (by_name["count"]["values"], by_name["count"]["units"])


async def test_hour_has_minutes_and_days_are_those_of_the_time_zone(boards, probes, time):
    time.pass_(10 * MINUTE)
    boards.write(probes[0], 0, 7)
    options = {"series": [{"pin": "V0", "aggregate": "count"}]}
    data = await boards.show("metrics_over_time", options, range="1h")
    assert "minute" == data["resolution"]
    assert [(NOON, 3), (NOON + 10 * MINUTE, 1)] == list(
        zip(data["series"][0]["ts"], data["series"][0]["values"], strict=False)
    )
    # From 15:00 UTC on it is the next day there.
    time.pass_(3 * HOUR)
    boards.write(probes[0], 0, 8)
    data = await boards.show("metrics_over_time", options, range="1mo", tz="Asia/Tokyo")
    midnight = NOON + 3 * HOUR
    assert ("day", [midnight - DAY, midnight], [4, 1]) == (
        data["resolution"],
        data["series"][0]["ts"],
        data["series"][0]["values"],
    )
    response = await boards.show("metrics_over_time", options, tz="Mars/Olympus")
    assert 400 == response.status and "time zone" in response.message


async def test_many_devices_have_hours_in_place_of_minutes(boards, probes, monkeypatch):
    monkeypatch.setattr("plugins.dashboards.metrics.MAX_HOURS_OF_MINUTES", 5)
    data = await boards.show("metrics_over_time", {"series": [{"pin": "V0"}]}, range="1h")
    assert ("hour", [NOON], [30]) == (data["resolution"], data["series"][0]["ts"], data["series"][0]["values"])


async def test_too_many_values_are_a_problem_that_says_how_many_are_possible(boards, probes, monkeypatch):
    monkeypatch.setattr("plugins.dashboards.metrics.MAX_HOURS", 50)
    data = await boards.show("label", label(), range="1d")
    assert "3 datastreams over 1d are too many" in data["problem"] and "at most 2" in data["problem"]
    assert 30 == (await boards.show("label", label(), range="6h"))["value"]


async def test_metric_by_device_has_a_line_for_each_of_eight_devices(boards, probes):
    for n in range(7):
        boards.write(await boards.device("acme", f"More {n}"), 0, n)
    data = await boards.show("metric_by_device", {"metric": {"pin": "V0", "aggregate": "max"}})
    assert ["A", "B", "C", *(f"More {n}" for n in range(5))] == [line["name"] for line in data["series"]]
    assert [10] == data["series"][0]["values"]
    assert probes[0].id == data["series"][0]["deviceId"]
    assert "10 devices are selected" in data["problem"]


async def test_line_without_a_datastream_leaves_the_others(boards, probes):
    lines = [{"pin": "V0"}, {"pin": "V2"}, {"pin": "V3"}]
    dashboard = await boards.create({"type": "metrics_over_time", "options": {"series": lines}})
    thermometer = await boards.device("acme", "Thermometer", boards.world.template)
    boards.write(thermometer, 0, 50)
    data = await boards.data(dashboard, filters={"devices": [thermometer.id]})
    assert [[50]] == [line["values"] for line in data["series"]]
    assert "datastream V2" in data["problem"]
    assert "keep no history" in (await boards.data(dashboard, filters={"devices": [probes[0].id]}))["problem"]


async def test_widget_says_that_its_pin_segment_or_template_is_gone(boards, probes):
    hub, ask = boards.hub, boards.ask
    segment = await ask("POST", "organization/segment/create", {"name": "Picked", "devices": [probes[0].id]})
    dashboard = await boards.create(
        {"type": "label", "options": label(aggregate="sum"), "devices": {"segmentId": segment["id"]}},
        {"type": "label", "options": label(aggregate="sum")},
        {"type": "label", "options": label("V2", "sum")},
        source={"templates": ["TMPL0probe"]},
    )
    boards.write(probes[0], 2, 1)
    assert [10, 90, 1] == [(await boards.data(dashboard, n))["value"] for n in (1, 2, 3)]
    await ask("DELETE", "organization/segment", segmentId=segment["id"])
    await hub.templates.save(PROBE_WITHOUT_RELAY, SYSTEM, prune=True)
    data = await boards.data(dashboard, 1)
    assert f"The segment {segment['id']} of this widget was deleted" in data["problem"]
    assert 90 == (await boards.data(dashboard, 2))["value"]
    assert (
        "No device of this widget has an integer or double datastream V2"
        in ((await boards.data(dashboard, 3))["problem"])
    )
    # It can still be edited, without a word about what is gone.
    edited = await ask("PUT", "dashboard", {"dashboardId": dashboard["id"], "name": "Renamed"})
    assert "Renamed" == edited["name"]
    for device in probes:
        await hub.devices.delete(device, SYSTEM)
    await hub.templates.remove(boards.probe, SYSTEM)
    assert "templates of this dashboard's data source were deleted" in (await boards.data(dashboard, 2))["problem"]


PROBE_WITHOUT_RELAY = """
[template]
id = "TMPL0probe"
name = "Probe"
[[datastream]]
pin = "V0"
name = "Heat"
type = "integer"
units = "°C"
"""
