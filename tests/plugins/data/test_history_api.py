"""Several datastreams and devices at once, for charts."""

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
    """Two meters that told their level every half hour of two days, and a word once; the last hours are not sealed."""
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
            asked = {"deviceIds": ids, "pins": "v0", "period": "3d"} | {k.rstrip("_"): v for k, v in query.items()}
            answer = await ask("GET", "history", **asked)
            return answer if hasattr(answer, "status") else answer["series"]

        yield read


async def one_by_one(meters, device, granularity, name):
    """What the route of one datastream says, as times and values."""
    async with connected(meters) as http:
        target = f"/api/v1/device/history?deviceId={device.id}&pin=v0&period=3d&granularity={granularity}"
        lines = (await http.get(target, local_key(meters))).text.splitlines()
    found = [json.loads(line) for line in lines]
    return [one["ts"] for one in found], [one[name] for one in found]


@pytest.mark.parametrize("granularity", ["minute", "hour", "day"])
@pytest.mark.parametrize("aggregate", ["avg", "min", "max", "sum", "count", "last"])
async def test_lines_say_what_each_datastream_says_alone(meters, chart, granularity, aggregate):
    lines = await chart(granularity=granularity, aggregate=aggregate)
    for line, device in zip(lines, meters.devices_of_test, strict=True):
        assert (device.id, device.name, "v0", "Level", "l") == tuple(
            line[key] for key in ("deviceId", "device", "pin", "name", "units")
        )
        assert await one_by_one(meters, device, granularity, aggregate) == (line["ts"], line["values"])
        assert sorted(set(line["ts"])) == line["ts"]


async def test_before_the_first_hour_there_is_nothing(meters, chart):
    await compact(meters)
    before = await chart(granularity="hour", from_=meters.begin - 9 * HOUR, to=meters.begin)
    assert [[], []] == [one["ts"] for one in before]


async def test_raw_points_come_as_they_were(meters, chart):
    one, two = await chart(granularity="raw", pins="Level")
    assert [float(n) for n in range(96)] == one["values"]
    assert [2.0 * n for n in range(96)] == two["values"]
    assert not one["more"]


async def test_one_late_point_leaves_the_other_lines_as_quick_as_they_were(meters, chart, monkeypatch):
    await compact(meters)
    one, two = meters.devices_of_test
    await meters.write(Write(one, 0, 1.5, "test", SYSTEM, meters.begin + 5 * HOUR)).durable()
    slow = []
    buckets = meters.history.buckets
    monkeypatch.setattr(
        meters.history,
        "buckets",
        lambda series, start, *rest: slow.append((series, start)) or buckets(series, start, *rest),
    )
    first, second = await chart(granularity="hour", from_=meters.begin, to=meters.begin + 40 * HOUR)
    assert [(one.points[0].series, meters.begin + 5 * HOUR)] == slow
    for device, line in ((one, first), (two, second)):
        times, values = await one_by_one(meters, device, "hour", "avg")
        assert (times[:40], values[:40]) == (line["ts"], line["values"])


async def test_what_is_sent_again_while_it_is_read_is_one_or_the_other(meters, chart, monkeypatch):
    await compact(meters)
    one, _ = meters.devices_of_test
    for at, value in ((1, 1.0), (2, 2.0)):
        await meters.write(Write(one, 0, value, "test", SYSTEM, meters.begin - 9 * HOUR + at)).durable()
    await compact(meters)
    await meters.write(Write(one, 0, 5.0, "test", SYSTEM, meters.begin - 9 * HOUR + 1)).durable()
    fetch, said = meters.storage.history.fetch_all, []

    async def read(*asked):
        found = await fetch(*asked)
        if not said and "FROM sealed" in asked[0]:
            said.append(meters.write(Write(one, 0, 9.0, "test", SYSTEM, meters.begin - 9 * HOUR + 2)))
        return found

    monkeypatch.setattr(meters.storage.history, "fetch_all", read)
    line, _ = await chart(granularity="hour", aggregate="sum", from_=meters.begin - 10 * HOUR, to=meters.begin)
    assert line["values"] in ([7.0], [14.0])
    assert said


async def test_the_largest_numbers_stay_numbers(meters, chart):
    one, _ = meters.devices_of_test
    for at in (1, 2):
        await meters.write(
            Write(one, 0, 1.7976931348623157e308, "test", SYSTEM, meters.begin - 9 * HOUR + at)
        ).durable()
    await compact(meters)
    for aggregate in ("max", "sum"):
        line, _ = await chart(granularity="hour", aggregate=aggregate, from_=meters.begin - 10 * HOUR, to=meters.begin)
        [value] = line["values"]
        assert pytest.approx(1.7976931348623157e308) == value


async def test_months_that_were_imported_are_read_at_once(meters, chart, monkeypatch):
    """In few reads, that is, and not one for each hour that its sender gave stamps in."""
    one, _ = meters.devices_of_test
    early = meters.begin - 80 * 24 * HOUR
    for n in range(70 * 24):
        meters.write(Write(one, 0, n % 7, "test", SYSTEM, early + n * HOUR))
    reads = []
    fetch = meters.storage.history.fetch_all
    monkeypatch.setattr(meters.storage.history, "fetch_all", lambda *asked: reads.append(asked) or fetch(*asked))
    line, _ = await chart(granularity="hour", from_=early, to=early + 70 * 24 * HOUR)
    assert [n % 7 for n in range(70 * 24)] == line["values"]
    assert len(reads) < 100


async def test_more_points_than_can_be_shown_are_said_to_be_there(chart, monkeypatch):
    monkeypatch.setattr("plugins.data.charts.MAX_POINTS", 10)
    one, _ = await chart(granularity="raw")
    assert (list(range(10)), True) == (one["values"], one["more"])


async def test_across_devices_one_line_is_of_all(meters, chart):
    expected = {"min": 0, "max": 95 * 2, "sum": sum(range(96)) * 3, "count": 192}
    for across, value in expected.items():
        [line] = await chart(granularity="day", across=across)
        assert value == {"min": min, "max": max, "sum": sum, "count": sum}[across](line["values"])
        assert [device.id for device in meters.devices_of_test] == line["devices"]
    [line] = await chart(granularity="hour", across="avg")
    first = await one_by_one(meters, meters.devices_of_test[0], "hour", "avg")
    assert pytest.approx([1.5 * value for value in first[1]]) == line["values"]


async def test_words_have_no_average_and_keep_their_last(meters, chart):
    [one, _] = await chart(pins="v1", aggregate="last")
    assert ["hello"] == one["values"]
    [one, _] = await chart(pins="v1", aggregate="avg")
    assert [None] == one["values"]


async def test_rows_come_as_csv(meters):
    one, _ = meters.devices_of_test
    async with connected(meters) as http:
        target = f"/api/v1/history?deviceIds={one.id}&pins=v0&granularity=raw&format=csv&period=3d"
        answer = await http.get(target, local_key(meters))
    lines = answer.text.splitlines()
    assert ("text/csv; charset=utf-8", "time,device,name,value") == (answer.headers["content-type"], lines[0])
    assert lines[2].endswith(",One,Level,1.0")
    assert 97 == len(lines)


async def test_hours_of_a_zone_are_the_zones(meters, chart):
    [one, _] = await chart(granularity="hour", tz="Asia/Kolkata")
    assert {1_800_000} == {at % HOUR for at in one["ts"]}


@pytest.mark.parametrize(
    ("query", "status", "said"),
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
async def test_a_chart_that_makes_no_sense_is_refused(chart, query, status, said):
    answer = await chart(**query)
    assert status == answer.status
    assert said in answer.message
