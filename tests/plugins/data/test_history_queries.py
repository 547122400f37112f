"""The history of a datastream: values, buckets, pages and errors; and its erasure."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from support.times import MINUTE, NOON, until

from hub.model import SYSTEM
from hub.writes import Write


async def test_raw_values_are_returned_as_json_lines(api, timestamps):
    assert [{"ts": at, "value": float(n)} for n, at in enumerate(timestamps)] == await api.history(pin="v0")
    subset = await api.history(pin="V0", from_=timestamps[10], to=timestamps[20])
    assert timestamps[10:20] == [line["ts"] for line in subset]
    iso = datetime.fromtimestamp(timestamps[98] / 1000, ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [98.0, 99.0] == [line["value"] for line in await api.history(pin="v0", from_=iso)]


async def test_buckets_have_statistics_and_time_zone(api, timestamps):
    [first, *_] = await api.history(pin="v0", granularity="hour")
    assert {"ts": NOON, "avg": 2.0, "min": 0.0, "max": 4.0, "sum": 10.0, "count": 5, "last": 4.0} == first
    lines = await api.history(pin="v0", granularity="day", aggregate="max", tz="Asia/Kolkata")
    assert [{"ts": 1_782_844_200_000, "max": 37.0}, {"ts": 1_782_930_600_000, "max": 99.0}] == lines
    response = await api.get("device/history", pin="v0", granularity="day", format="csv")
    assert "time,avg,min,max,sum,count,last" == response.text.splitlines()[0]
    assert "2026-07-01T00:00:00.000Z,35.0,0.0,70.0,2485.0,71,70.0" == response.text.splitlines()[1]


async def test_pages_have_the_fields_of_blynk(api, timestamps):
    response = await api.get("organization/device/datastream/history", pin="v0", page=2, size=30)
    assert 100 == response.json["totalElements"]
    assert [{"createdAt": timestamps[n], "value": float(n)} for n in range(60, 90)] == response.json["content"]
    response = await api.get("organization/device/datastream/history", pin="v0", page=3, size=30)
    assert 10 == len(response.json["content"])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"pin": "v9"}, "device Meter has no datastream on pin v9"),
        ({"pin": "v0", "granularity": "week"}, "granularity must be one of raw, minute, hour, day"),
        ({"pin": "v0", "granularity": "day", "aggregate": "median"}, "aggregate must be one of avg,"),
        ({"pin": "v0", "granularity": "day", "tz": "Mars/Olympus"}, "there is no time zone 'Mars/Olympus'"),
        ({"pin": "v0", "from_": NOON, "to": NOON - 1}, "from must be before to"),
        ({"pin": "v0", "from_": NOON, "to": NOON}, "from must be before to"),
        ({"pin": "v0", "to": 10**14}, "to must be between 1970 and 2109"),
        ({"pin": "v0", "from_": "yesterday"}, "from must be milliseconds since 1970 or a time such as"),
        ({"pin": "v0", "period": "soon"}, "period must be a duration"),
        ({"pin": "v0", "format": "xml"}, "format must be one of json, csv"),
    ],
)
async def test_invalid_query_is_rejected(api, query, message):
    response = await api.get("device/history", **query)
    assert 400 == response.status
    assert message in response.message


async def test_size_of_a_page_is_limited_but_not_the_time_range(api, timestamps):
    for query, error in (({"size": 10**9}, "1 to 1000"), ({"size": 1000, "page": 10**9}, "narrow from and to")):
        response = await api.get("organization/device/datastream/history", pin="v0", **query)
        assert 400 == response.status
        assert error in response.message
    # Any range is accepted: hours without values cost nothing.
    assert 100 == len(await api.history(pin="v0", from_=0, to=2**41))
    assert 100 == sum(line["count"] for line in await api.history(pin="v0", from_=0, to=2**41, granularity="minute"))


async def test_values_of_a_pin_or_of_the_device_are_erased(api, hub, meter, timestamps):
    device, _ = meter
    hub.write(Write(device, 1, "x", "test", SYSTEM))
    await hub.properties.set(device, [0], {"label": ["L"]})
    assert 204 == (await api.post("device/erase", pin="v0")).status
    assert [] == await api.history(pin="v0", period="30d")
    assert {} == await hub.properties.values_for(device)
    assert 1 == len(await api.history(pin="v1"))
    response = await api.http.ask("DELETE", f"/api/v1/organization/device/clear?deviceId={device.id}", key=api.key)
    assert 204 == response.status
    assert [] == await api.history(pin="v1")


async def test_storage_costs_of_a_datastream_are_reported(api, hub, meter, time):
    device, _ = meter
    for _ in range(30 * 60):
        time.pass_(MINUTE)
        hub.write(Write(device, 0, 1.5, "test", SYSTEM))
    hub.history.close_segment()
    await until(lambda: not hub.history.is_busy)
    [cost] = (await api.http.ask("GET", "/api/v1/history/costs", key=api.key)).json
    assert ("TMPL0", "v0", "Level") == (cost["template"], cost["pin"], cost["name"])
    assert 50_000 < cost["bytesPerMonth"] < 200_000
