"""Charts: the history of several datastreams and devices in one response."""

from __future__ import annotations

import json

import pytest
from support.api import ApiClient
from support.compaction import compact
from support.raw_http import connected, local_key
from support.times import Time

from hub.domain.devices import NewDevice
from hub.model import SYSTEM
from hub.run import running
from hub.writes import Write

TEMPLATE = """
[template]
id = "TMPL0meter"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
type = "double"
units = "l"
[[datastream]]
pin = "V1"
name = "Word"
type = "string"
"""
HOUR = 3_600_000


@pytest.fixture
async def meters(hub_config):
    """A hub with two meters: a level every half hour for two days, and one text; the last hours are not compacted."""
    time = Time()
    async with running(hub_config, clock=time.clock()) as hub:
        template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
        added = await hub.devices.add([NewDevice(name=name, template=template) for name in ("One", "Two")], SYSTEM)
        devices = [device for device, _ in added]
        hub.begin = hub.clock.now()
        for half in range(96):
            for number, device in enumerate(devices, 1):
                hub.write(Write(device, 0, half * number, "test", SYSTEM))
                if half == 50:
                    hub.write(Write(device, 1, "hello", "test", SYSTEM))
            time.pass_(HOUR // 2)
            if half == 60:
                hub.history.close_segment()
        hub.devices_of_test = devices
        yield hub


@pytest.fixture
async def chart(meters):
    async with connected(meters) as http:
        ask = ApiClient(http, local_key(meters))

        async def read(**query):
            ids = ",".join(str(device.id) for device in meters.devices_of_test)
            arguments = {"deviceIds": ids, "pins": "v0", "period": "3d"} | {k.rstrip("_"): v for k, v in query.items()}
            response = await ask("GET", "history", **arguments)
            return response if hasattr(response, "status") else response["series"]

        yield read


async def single_series(meters, device, granularity, name):
    """Return the timestamps and values of a device from the route for a single datastream."""
    async with connected(meters) as http:
        target = f"/api/v1/device/history?deviceId={device.id}&pin=v0&period=3d&granularity={granularity}"
        lines = (await http.get(target, local_key(meters))).text.splitlines()
    points = [json.loads(line) for line in lines]
    return [point["ts"] for point in points], [point[name] for point in points]


@pytest.mark.parametrize("granularity", ["minute", "hour", "day"])
@pytest.mark.parametrize("aggregate", ["avg", "min", "max", "sum", "count", "last"])
async def test_series_equal_those_of_the_route_for_a_single_datastream(meters, chart, granularity, aggregate):
    series = await chart(granularity=granularity, aggregate=aggregate)
    for single, device in zip(series, meters.devices_of_test, strict=True):
        assert (device.id, device.name, "v0", "Level", "l") == tuple(
            single[key] for key in ("deviceId", "device", "pin", "name", "units")
        )
        assert await single_series(meters, device, granularity, aggregate) == (single["ts"], single["values"])
        assert sorted(set(single["ts"])) == single["ts"]


async def test_range_before_the_first_value_is_empty(meters, chart):
    await compact(meters)
    before = await chart(granularity="hour", from_=meters.begin - 9 * HOUR, to=meters.begin)
    assert [[], []] == [series["ts"] for series in before]


async def test_raw_series_have_all_values(meters, chart):
    first, second = await chart(granularity="raw", pins="Level")
    assert [float(n) for n in range(96)] == first["values"]
    assert [2.0 * n for n in range(96)] == second["values"]
    assert not first["more"]


async def test_late_value_recomputes_only_its_own_bucket(meters, chart, monkeypatch):
    await compact(meters)
    late_device, other_device = meters.devices_of_test
    await meters.write(Write(late_device, 0, 1.5, "test", SYSTEM, meters.begin + 5 * HOUR)).durable()
    slow = []
    buckets = meters.history.buckets
    monkeypatch.setattr(
        meters.history,
        "buckets",
        lambda series, start, *rest: slow.append((series, start)) or buckets(series, start, *rest),
    )
    first, second = await chart(granularity="hour", from_=meters.begin, to=meters.begin + 40 * HOUR)
    assert [(late_device.points[0].series, meters.begin + 5 * HOUR)] == slow
    for device, line in ((late_device, first), (other_device, second)):
        times, values = await single_series(meters, device, "hour", "avg")
        assert (times[:40], values[:40]) == (line["ts"], line["values"])


async def test_value_overwritten_during_a_read_is_counted_once(meters, chart, monkeypatch):
    await compact(meters)
    device, _ = meters.devices_of_test
    for at, value in ((1, 1.0), (2, 2.0)):
        await meters.write(Write(device, 0, value, "test", SYSTEM, meters.begin - 9 * HOUR + at)).durable()
    await compact(meters)
    await meters.write(Write(device, 0, 5.0, "test", SYSTEM, meters.begin - 9 * HOUR + 1)).durable()
    fetch, overwrites = meters.storage.history.fetch_all, []

    async def read(*arguments):
        rows = await fetch(*arguments)
        if not overwrites and "FROM sealed" in arguments[0]:
            overwrites.append(meters.write(Write(device, 0, 9.0, "test", SYSTEM, meters.begin - 9 * HOUR + 2)))
        return rows

    monkeypatch.setattr(meters.storage.history, "fetch_all", read)
    line, _ = await chart(granularity="hour", aggregate="sum", from_=meters.begin - 10 * HOUR, to=meters.begin)
    assert line["values"] in ([7.0], [14.0])
    assert overwrites


async def test_aggregates_of_the_largest_numbers_are_finite(meters, chart):
    device, _ = meters.devices_of_test
    for at in (1, 2):
        await meters.write(
            Write(device, 0, 1.7976931348623157e308, "test", SYSTEM, meters.begin - 9 * HOUR + at)
        ).durable()
    await compact(meters)
    for aggregate in ("max", "sum"):
        line, _ = await chart(granularity="hour", aggregate=aggregate, from_=meters.begin - 10 * HOUR, to=meters.begin)
        [value] = line["values"]
        assert pytest.approx(1.7976931348623157e308) == value


async def test_imported_months_are_read_in_few_queries(meters, chart, monkeypatch):
    """Not in one query for each hour that has client timestamps."""
    device, _ = meters.devices_of_test
    early = meters.begin - 80 * 24 * HOUR
    for n in range(70 * 24):
        meters.write(Write(device, 0, n % 7, "test", SYSTEM, early + n * HOUR))
    reads = []
    fetch = meters.storage.history.fetch_all
    monkeypatch.setattr(
        meters.storage.history, "fetch_all", lambda *arguments: reads.append(arguments) or fetch(*arguments)
    )
    line, _ = await chart(granularity="hour", from_=early, to=early + 70 * 24 * HOUR)
    assert [n % 7 for n in range(70 * 24)] == line["values"]
    assert len(reads) < 100


async def test_truncated_series_is_marked(chart, monkeypatch):
    monkeypatch.setattr("plugins.data.charts.MAX_POINTS", 10)
    series, _ = await chart(granularity="raw")
    assert (list(range(10)), True) == (series["values"], series["more"])


async def test_series_across_devices_aggregates_all_of_them(meters, chart):
    expected = {"min": 0, "max": 95 * 2, "sum": sum(range(96)) * 3, "count": 192}
    for across, value in expected.items():
        [line] = await chart(granularity="day", across=across)
        assert value == {"min": min, "max": max, "sum": sum, "count": sum}[across](line["values"])
        assert [device.id for device in meters.devices_of_test] == line["devices"]
    [line] = await chart(granularity="hour", across="avg")
    first = await single_series(meters, meters.devices_of_test[0], "hour", "avg")
    assert pytest.approx([1.5 * value for value in first[1]]) == line["values"]


async def test_text_has_a_last_value_but_no_average(meters, chart):
    [series, _] = await chart(pins="v1", aggregate="last")
    assert ["hello"] == series["values"]
    [series, _] = await chart(pins="v1", aggregate="avg")
    assert [None] == series["values"]


async def test_chart_is_returned_as_csv(meters):
    device, _ = meters.devices_of_test
    async with connected(meters) as http:
        target = f"/api/v1/history?deviceIds={device.id}&pins=v0&granularity=raw&format=csv&period=3d"
        response = await http.get(target, local_key(meters))
    lines = response.text.splitlines()
    assert ("text/csv; charset=utf-8", "time,device,name,value") == (response.headers["content-type"], lines[0])
    assert lines[2].endswith(",One,Level,1.0")
    assert 97 == len(lines)


async def test_hour_buckets_start_at_the_hours_of_the_time_zone(meters, chart):
    [series, _] = await chart(granularity="hour", tz="Asia/Kolkata")
    assert {1_800_000} == {at % HOUR for at in series["ts"]}


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ({"deviceIds": ""}, 400, "at least one entry"),
        ({"pins": ""}, 400, "at least one entry"),
        ({"deviceIds": "x"}, 400, "deviceIds must be a whole number"),
        ({"deviceIds": "999"}, 404, "Device with identifier 999"),
        ({"pins": "v9,Nothing"}, 404, "None of the devices has a datastream v9, Nothing"),
        ({"granularity": "raw", "across": "avg"}, 400, "across needs"),
        ({"granularity": "year"}, 400, "granularity must be one of"),
        ({"aggregate": "median"}, 400, "aggregate must be one of"),
        ({"from_": 10, "to": 5}, 400, "from must be before to"),
        ({"tz": "Mars"}, 400, "no time zone"),
        ({"color": "red"}, 400, "no parameter 'color'"),
    ],
)
async def test_invalid_chart_is_rejected(chart, query, status, error):
    response = await chart(**query)
    assert status == response.status
    assert error in response.message
