"""Reports for devices: zip archives of CSV files behind links."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
import trio
from support.device_api import METER, DeviceApi
from support.raw_http import connected
from support.sessions import RecordingSession
from support.times import HOUR, MINUTE, NOON, until

from hub.config import parse
from hub.model import SYSTEM
from hub.run import running
from hub.testing import LOOPBACK, add_device
from hub.writes import Write


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


@pytest.mark.parametrize(("included", "codes"), [("true", ["online", "leak"]), ("false", ["leak"])])
async def test_report_omits_statuses_that_the_template_leaves_out(api, hub, meter, included, codes):
    device, _ = meter
    await hub.templates.save(f"{METER}[lifecycle.online_settings]\ninclude_in_reports = {included}\n", SYSTEM)
    RecordingSession(hub, device).connect()
    await until(lambda: not hub.lifecycle._unsaved)
    await hub.timeline.log(device, "leak")
    lines = (await report(api, "sendEvents=true"))["events.csv"]
    assert codes == [line.split(",")[1] for line in reversed(lines[1:])]


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


async def test_report_link_expires_and_cannot_be_guessed(api, hub, time, timestamps):
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
        device, token = await add_device(hub, METER, "Meter")
        hub.write(Write(device, 0, 1, "test", SYSTEM))
        async with connected(hub) as http:
            responses = [await http.get(f"/external/api/data/get?token={token}") for _ in range(3)]
        assert [200, 200, 429] == [response.status for response in responses]
        assert "retry-after" in responses[2].headers
        assert ["device Meter: at most 2 reports a day"] == [
            r.reason for r in hub.rejections.recent if r.device == device.id
        ]
