"""Values over time through the API: queries, reports, import and erasure; and what bad questions get."""

from __future__ import annotations

import io
import json
import re
import zipfile
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import trio
from support.raw_http import ask, connected, local_key
from support.times import DAY, HOUR, MINUTE, NOON, until

from connectors.native import client
from hub.config import parse
from hub.model import SYSTEM
from hub.run import running
from hub.testing import LOOPBACK, add_device, address_of
from hub.writes import Write

TEMPLATE = """
[template]
id = "TMPL0"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
min = 0
max = 1000
[[datastream]]
pin = "V1"
name = "Words and more"
type = "string"
[[datastream]]
pin = "V2"
name = "Place"
type = "location"
[[event]]
code = "leak"
name = "Leak"
type = "critical"
[lifecycle]
wait = "0s"
reports_data = true
"""


@pytest.fixture
async def hub(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        yield hub


@pytest.fixture
async def meter(hub):
    return await add_device(hub, TEMPLATE, "Meter")


class DeviceApi:
    def __init__(self, hub, http, device, token):
        self.hub, self.http, self.device, self.token, self.key = hub, http, device, token, local_key(hub)

    async def get(self, path, **query):
        params = {"deviceId": self.device.id} | {k.rstrip("_"): v for k, v in query.items()}
        query_string = "&".join(f"{k}={v}" for k, v in params.items())
        return await self.http.ask("GET", f"/api/v1/{path}?{query_string}", key=self.key)

    async def post(self, path, **body):
        return await self.http.ask("POST", f"/api/v1/{path}", {"deviceId": self.device.id} | body, key=self.key)

    async def device_get(self, path, query=""):
        return await self.http.get(f"/external/api/{path}?token={self.token}&{query}")

    async def batch(self, pin, rows, **headers):
        body = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
        headers = {"Content_Type": "application/json"} | headers
        return await self.http.ask("POST", f"/external/api/batch/update?token={self.token}&pin={pin}", body, **headers)

    async def history(self, **query):
        response = await self.get("device/history", **query)
        assert 200 == response.status, response.text
        return [json.loads(line) for line in response.text.splitlines()]


@pytest.fixture
async def api(hub, meter):
    async with connected(hub) as http:
        yield DeviceApi(hub, http, *meter)


@pytest.fixture
def timestamps(hub, time, meter):
    """Write 100 values, ten minutes apart, and return their timestamps."""
    device, _ = meter
    for n in range(100):
        time.pass_(10 * MINUTE)
        hub.write(Write(device, 0, n, "test", SYSTEM))
    return [NOON + (n + 1) * 10 * MINUTE for n in range(100)]


# -- queries ----------------------------------------------------------------------------------------------------------


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


# -- reports ----------------------------------------------------------------------------------------------------------


async def report(api, query=""):
    response = await api.device_get("data/get", query)
    assert 200 == response.status, response.text
    path = response.json["link"].partition("/reports/")[2]
    download = await api.http.get(f"/reports/{path}")
    assert (200, "application/zip") == (download.status, download.headers["content-type"])
    with zipfile.ZipFile(io.BytesIO(download.body)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode().splitlines() for name in archive.namelist()}


async def test_report_is_a_zip_of_csv_files_behind_a_link(api, timestamps):
    files = await report(api)
    assert ["v0_Level.csv", "v1_Words_and_more.csv", "v2_Place.csv"] == list(files)
    assert ["time,value", *(f"{at},{n}.0" for n, at in enumerate(timestamps))] == files["v0_Level.csv"]
    assert ["time,value"] == files["v2_Place.csv"]


@pytest.mark.parametrize(
    ("query", "first", "count"),
    [
        ("pin=v0&format=ISO_US&tzName=America/New_York", "07/01/26 08:10:00 AM,0.0", 100),
        ("pin=v0&format=ISO_SIMPLE&tzName=Europe/Berlin", "2026-07-01 14:10:00,0.0", 100),
        ("dataStreamId=1&granularityType=HOURLY&sourceType=MAX", f"{NOON},4.0", 17),
        ("pin=v0&granularityType=DAILY&sourceType=COUNT&tzName=Europe/Berlin", f"{NOON - 14 * HOUR},59", 2),
        ("pin=V0&granularityType=MINUTE&period=THREE_MONTHS&sourceType=SUM", f"{NOON + 10 * MINUTE},0.0", 100),
        ("pin=v0&period=HOUR", f"{NOON + 950 * MINUTE},94.0", 6),
    ],
)
async def test_parameters_of_a_report_are_applied(api, timestamps, query, first, count):
    [lines] = (await report(api, query)).values()
    assert (first, count) == (lines[1], len(lines) - 1)


async def test_report_has_events_and_escapes_text(api, hub, meter, time):
    device, _ = meter
    hub.write(Write(device, 1, 'a "b", c\nd', "test", SYSTEM))
    await hub.timeline.log(device, "leak", "in the cellar")
    files = await report(api, "sendEvents=true")
    assert f"{NOON},leak,critical,Leak,in the cellar," == files["events.csv"][1]
    assert [f'{NOON},"a ""b"", c', 'd"'] == files["v1_Words_and_more.csv"][1:]


GRAPH = "No enum constant cc.blynk.server.core.model.widgets.outputs.graph"


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("output=PDF", 400, "Request with incorrect parameters"),
        ("period=YEAR", 500, f"{GRAPH}.Period.YEAR"),
        ("granularityType=WEEKLY", 500, f"{GRAPH}.GraphGranularityType.WEEKLY"),
        ("sourceType=MEDIAN", 500, f"{GRAPH}.SourceType.MEDIAN"),
        ("format=RFC", 500, f"{GRAPH}.Format.RFC"),
        ("pin=v7", 500, "Wrong pin format."),
        ("dataStreamId=99", 400, "Requested dataStream doesn't exist in the product Meter"),
        ("period=THREE_MONTHS", 400, "Request with incorrect parameters"),
        ("tzName=Mars/Olympus", 400, "Request with incorrect parameters"),
        ("sendEvents=maybe", 400, "Request with incorrect parameters"),
        ("nonsense=1", 400, "Request with incorrect parameters"),
        ("pin=v2", 500, "No data"),
    ],
)
async def test_invalid_report_is_rejected_with_blynks_message_and_leaves_no_file(
    api, hub, timestamps, query, status, message
):
    response = await api.device_get("data/get", query)
    assert (status, message) == (response.status, response.message)
    assert f'{{"error":{{"message":"{message}"}}}}' == response.text
    assert [] == list((hub.config.data / "reports").glob("*"))


@pytest.mark.parametrize("query", ["", "output=FILE", "output=JSON&pin=v0"])
async def test_report_response_is_compact_json(api, timestamps, query):
    response = await api.device_get("data/get", query)
    assert (200, "application/json") == (response.status, response.headers["content-type"])
    assert re.fullmatch(r'\{"link":"http://[^" /]+/reports/[^" ]+\.zip"\}', response.text)


MANY_TYPES = """
[template]
id = "TMPL0types"
name = "Types"
[[datastream]]
pin = "V0"
name = "Number"
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
[[datastream]]
pin = "V2"
name = "Place"
type = "location"
[[datastream]]
pin = "V3"
name = "Mode"
type = "enum"
values = { 0 = "Off", 1 = "Heat", 2 = "Cool" }
"""


@pytest.mark.parametrize("source", ["AVG", "MIN", "MAX", "SUM", "COUNT"])
@pytest.mark.parametrize("granularity", ["MINUTE", "HOURLY", "DAILY"])
@pytest.mark.parametrize(
    ("pin", "values", "last"),
    [
        (1, ["warm", "21", "hot"], "hot"),
        (1, [("a", "b"), ("c", "d")], '"[""c"", ""d""]"'),
        (2, [(30.5, 50.4), (30.6, 50.3)], '"[30.6, 50.3]"'),
        (3, [0, 2, 1], "1"),
    ],
)
async def test_report_of_values_without_average_has_the_last_value(hub, time, granularity, source, pin, values, last):
    device, token = await add_device(hub, MANY_TYPES, "Types")
    for value in values:
        hub.write(Write(device, pin, value, "test", SYSTEM))
        time.pass_(1000)
    async with connected(hub) as http:
        query = f"granularityType={granularity}&sourceType={source}&pin=V{pin}"
        [lines] = (await report(DeviceApi(hub, http, device, token), query)).values()
    expected = str(len(values)) if source == "COUNT" else last
    assert [expected] == [line.partition(",")[2] for line in lines[1:]]


async def test_report_link_expires_and_cannot_be_guessed(api, hub, time, timestamps, monkeypatch):
    link = (await api.device_get("data/get")).json["link"]
    path = "/" + link.split("/", 3)[3]
    assert 404 == (await api.http.get("/reports/" + "x" * 32 + "/" + path.rsplit("/", 1)[1])).status
    assert 404 == (await api.http.get("/reports/../pinwheel.db")).status
    assert 200 == (await api.http.get(path)).status
    [file] = (hub.config.data / "reports").glob("*/*.zip")
    time.pass_(int(trio.current_time()) + 10**12)
    assert 404 == (await api.http.get(path)).status
    assert file.exists()


async def test_number_of_reports_per_day_is_limited(hub_config, time, tmp_path):
    config = parse(LOOPBACK + "[limits]\nexports_per_day = 2").with_data(str(tmp_path / "other"))
    async with running(config, clock=time.clock()) as hub:
        device, token = await add_device(hub, TEMPLATE, "Meter")
        hub.write(Write(device, 0, 1, "test", SYSTEM))
        async with connected(hub) as http:
            responses = [await http.get(f"/external/api/data/get?token={token}") for _ in range(3)]
        assert [200, 200, 429] == [response.status for response in responses]
        assert "retry-after" in responses[2].headers
        assert ["device Meter: at most 2 reports a day"] == [
            r.reason for r in hub.rejections.recent if r.device == device.id
        ]


# -- import -----------------------------------------------------------------------------------------------------------


async def test_imported_values_are_stored_at_their_timestamps(api, hub, meter, time):
    device, _ = meter
    rows = [[NOON - n * HOUR, n / 2] for n in range(500)]
    response = await api.batch("v0", rows)
    assert (200, b"OK") == (response.status, response.body)
    lines = await api.history(pin="v0", period="30d")
    assert sorted(rows) == [[line["ts"], line["value"]] for line in lines]
    assert 0.0 == hub.writes.latest(device, device.points[0].datastream)[1]
    hub.history.close_segment()
    await until(lambda: not hub.history.is_busy)
    assert 500 == len(await api.history(pin="v0", period="30d", granularity="hour"))
    assert (200, b"OK") == ((response := await api.batch("v2", [[NOON, [8.5, 47.4]]])).status, response.body)
    assert [8.5, 47.4] == (await api.history(pin="v2"))[0]["value"]


INCORRECT = "Request with incorrect parameters"
TYPE = "Value doesn't match the Datastream data type"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[NOON, 1], [NOON + 2 * DAY, 2]], "point 2: The timestamp is more than a day ahead."),
        ([[NOON - 91 * DAY, 1]], "point 1: The timestamp is older than what is kept."),
        ([[-(2**70), 1]], "point 1: The timestamp is older than what is kept."),
        ([[NOON, 1]] * 10_001, "Too much data in batch. Maximum batch size is 10000 points."),
        (b"[[%d,NaN]]" % NOON, TYPE),
        (b"[[%d,Infinity]]" % NOON, TYPE),
        (b"[[%d,1e999]]" % NOON, TYPE),
        ([[NOON, "abc"]], TYPE),
        ([[NOON, 1], [str(NOON), 1]], INCORRECT),
        ([[NOON]], INCORRECT),
        ({"a": 1}, INCORRECT),
        (b"[[1,2", INCORRECT),
        (b"[" * 100_000, INCORRECT),
    ],
)
async def test_invalid_import_is_rejected_as_a_unit(api, rows, message):
    response = await api.batch("v0", rows)
    assert (400, message) == (response.status, response.message)
    assert [] == await api.history(pin="v0", period="90d")


async def test_import_with_a_wrong_content_type_or_size_is_rejected(api):
    response = await api.batch("v0", [[NOON, 1]], Content_Type="text/plain")
    assert (400, "Unknown content type.") == (response.status, response.message)
    response = await ask(
        api.hub, "POST", f"/external/api/batch/update?token={api.token}&pin=v0", b" " * (2 * 1024 * 1024 + 1)
    )
    assert 413 == response.status


async def test_imported_values_per_day_are_limited_and_rejected_ones_do_not_count(time, tmp_path):
    config = parse(LOOPBACK + "[limits]\nimport_points_per_day = 5").with_data(str(tmp_path / "other"))
    async with running(config, clock=time.clock()) as hub:
        device, token = await add_device(hub, TEMPLATE, "Meter")
        async with connected(hub) as http:
            api = DeviceApi(hub, http, device, token)
            assert 200 == (await api.batch("v0", [[NOON, 1]] * 3)).status
            assert 400 == (await api.batch("v0", [[NOON, "x"]] * 2)).status, "a rejected import does not count"
            assert "device Meter: import of 2 values: point 1: Value" in hub.rejections.recent[-1].reason
            assert 429 == (await api.batch("v0", [[NOON, 1]] * 3)).status
            assert "at most 5 imported values a day" in hub.rejections.recent[-1].reason
            responses = [await api.device_get("logEvent", "code=leak") for _ in range(2)]
            assert [200, 429] == [response.status for response in responses]
            assert "event 'leak': Event leak was logged less than a second ago." in hub.rejections.recent[-1].reason
            assert 200 == (await api.batch("v0", [[NOON, 1]] * 2)).status


async def test_import_of_ten_thousand_values_does_not_block_the_event_loop(api, hub, meter):
    device, _ = meter
    turns, stop = 0, trio.Event()

    async def count_turns():
        nonlocal turns
        while not stop.is_set():
            await trio.sleep(0)
            turns += 1

    points = [(device.points[0].datastream, NOON - n * 1000, n % 1000) for n in range(10_000)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await hub.writes.import_points(device, points, "test", SYSTEM)
        stop.set()
    assert turns > 30


async def test_imported_rows_are_validated_together(api):
    rows = [[NOON, "v0", "1"], [NOON, "v7", "1"], [NOON, "v0", "x"], ["x", "v0", "1"]]
    response = await api.post("device/import-rows", rows=rows, line=2)
    assert 400 == response.status
    assert ["line 3:", "line 4:", "line 5:"] == [line[:7] for line in response.message.splitlines()]
    assert [] == await api.history(pin="v0")
    assert {"imported": 0} == (await api.post("device/import-rows", rows=rows[:1], check=True)).json
    assert [] == await api.history(pin="v0")
    assert {"imported": 1} == (await api.post("device/import-rows", rows=rows[:1])).json
    response = await api.post("organization/device/import/batch", dataStreamId=1, values=[{"value": 5, "ts": NOON - 1}])
    assert 204 == response.status
    assert [5.0, 1.0] == [line["value"] for line in await api.history(pin="v0")]


# -- erasing, and what it costs ---------------------------------------------------------------------------------------


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


# -- a device that only reports data ----------------------------------------------------------------------------------


async def test_device_is_online_for_its_wait_time_after_data_over_http(hub, time, tmp_path):
    template = TEMPLATE.replace('wait = "0s"', 'wait = "300ms"')
    device, token = await add_device(hub, template, "Reporter")
    async with connected(hub) as http:
        assert b"false" == (await http.get(f"/external/api/isHardwareConnected?token={token}")).body
        await http.get(f"/external/api/update?token={token}&v0=1")
        assert b"true" == (await http.get(f"/external/api/isHardwareConnected?token={token}")).body
        await until(lambda: device.status == "offline")
        async with client.connect(*address_of(hub), token):
            await until(lambda: device.status == "online")
            await http.get(f"/external/api/update?token={token}&v0=1")
