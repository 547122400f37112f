"""The table of spellings, row by row: on the readers, and on every way into a hub."""

from __future__ import annotations

import csv
import json
import math
import re
import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest
import raw_mqtt
import raw_native
from raw_http import connected, local_key
from test_cli import House

from connectors.native.protocol import Cmd
from hub import spellings, timezones
from hub.app import running
from hub.config import parse
from hub.errors import ConfigError, WrongType
from hub.model import SYSTEM, Datastream
from hub.testing import add_device
from hub.values import MISMATCH, coerce

TABLE = tomllib.loads((Path(__file__).parent / "spellings.toml").read_text("utf-8"))
TEMPLATE = """
[template]
id = "TMPL0spell"
name = "Spelling"
[[datastream]]
id = 1
pin = "V0"
name = "Level"
[[datastream]]
id = 2
pin = "V1"
name = "Count"
type = "integer"
[[datastream]]
id = 3
pin = "V2"
name = "Text"
type = "string"
[[datastream]]
id = 4
pin = "V3"
name = "Place"
type = "location"
[lifecycle]
wait = "0s"
"""


def rows(kind):
    return [pytest.param(row, id=ascii(row["text"])) for row in TABLE[kind]]


def outcome(row):
    """What a row says, as the ways below answer: what is held then, or the hint as a part of the refusal."""
    return row["is"] if "is" in row else f"refused: {row['problem']}"


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows("number"))
def test_number_is_read_as_the_table_says(row):
    datastream = Datastream(id=1, pin=0, name="Level", type="double")
    if "is" in row:
        assert row["is"] == spellings.decimal(row["text"])
        assert row["is"] == coerce(datastream, row["text"])
        return
    with pytest.raises(WrongType) as refused:
        coerce(datastream, row["text"])
    assert str(refused.value).startswith(MISMATCH)
    assert row["problem"] in str(refused.value)


@pytest.mark.parametrize("row", rows("number"))
def test_whole_number_has_the_same_around_it(row):
    text = row["text"].replace("21.5", "21").replace("21,5", "2,100")
    if "is" in row and math.floor(row["is"]) == row["is"] and "e" not in text:
        assert row["is"] == spellings.integer(text)
    elif "problem" in row and row["problem"]:
        with pytest.raises(ValueError, match="has a comma"):
            spellings.integer(text)


async def _over_native(hub, token, texts):
    async with raw_native.online(hub, token) as client:
        for text in texts:
            await client.send(Cmd.HARDWARE, "vw", "0", text)
            await client.ask(Cmd.PING)
            yield text


async def _over_mqtt(hub, token, texts):
    async with raw_mqtt.online(hub, token) as client:
        for text in texts:
            await client.publish("ds/Level", text.encode())
            yield text


async def _over_http(hub, token, texts):
    async with connected(hub) as http:
        for text in texts:
            await http.get(f"/external/api/update?token={token}&v0={quote(text)}")
            yield text


async def _as_named_datastream(hub, token, texts):
    async with connected(hub) as http:
        for text in texts:
            await http.get(f"/external/api/update?token={token}&pin=v0&value={quote(text)}")
            yield text


async def _in_a_batch(hub, token, texts):
    async with connected(hub) as http:
        for text in texts:
            body = [[hub.clock.now(), text]]
            target = f"/external/api/batch/update?token={token}&pin=v0"
            await http.ask("POST", target, body, Content_Type="application/json")
            yield text


async def _over_mqtt_in_a_batch(hub, token, texts):
    async with raw_mqtt.online(hub, token) as client:
        for text in texts:
            await client.publish("ds/Level/timestamped_batch", json.dumps([[hub.clock.now(), text]]))
            yield text


WAYS = [_over_native, _over_mqtt, _over_http, _as_named_datastream, _in_a_batch, _over_mqtt_in_a_batch]


@pytest.mark.parametrize("way", WAYS)
async def test_number_is_taken_or_refused_whichever_way_it_comes(hub, way):
    device, token = await add_device(hub, TEMPLATE)
    table = {row["text"]: outcome(row) for row in TABLE["number"]}
    found = {}
    async for text in way(hub, token, table):
        held = hub.writes.latest(device, device.points[0].datastream)
        if hub.refusals:
            reason = hub.refusals.pop().reason
            hint = table[text].removeprefix("refused: ") if isinstance(table[text], str) else None
            found[text] = f"refused: {hint}" if hint is not None and hint in reason else f"refused: {reason}"
        else:
            found[text] = None if held is None else held[1]
    assert table == found


async def test_number_is_taken_or_refused_by_the_platform_api(hub):
    device, _ = await add_device(hub, TEMPLATE)
    table = {row["text"]: outcome(row) for row in TABLE["number"]}
    found, key = {}, local_key(hub)
    async with connected(hub) as http:
        for row in TABLE["number"]:
            body = {"deviceId": device.id, "pin": "v0", "value": row["text"]}
            answer = await http.ask("POST", "/api/v1/organization/device/datastream", body, key)
            if answer.status == 204:
                found[row["text"]] = hub.writes.current(device, device.points[0].datastream)
            else:
                hint = row.get("problem")
                found[row["text"]] = f"refused: {hint if hint is not None and hint in answer.message else answer.text}"
    assert table == found


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A house with the template; its hub is stopped, so that commands serve themselves."""
    house = House(tmp_path_factory.mktemp("house"))
    (house.folder / "t.toml").write_text(TEMPLATE)
    assert 0 == house("template", "import", "t.toml").code
    return house


@pytest.fixture
def case(house):
    """A device of its own for a test; its number."""
    done = house("device", "add", "--template", "TMPL0spell", "--name", "Case")
    return done.json["id"]


def recent(count):
    """Stamps in milliseconds UTC, oldest first."""
    import time

    now = int(time.time()) * 1000
    return [now - (count - n) * 1000 for n in range(count)]


def held(house, number, pin="v0"):
    """What a datastream has, oldest first: stamps and values."""
    lines = house("device", "history", number, pin, "--json", "--period", "60d").out.splitlines()
    return [(point["ts"], point["value"]) for point in map(json.loads, lines)]


def written(path, lines):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("time", "pin", "value"), *lines])


def test_number_is_read_from_csv(house, case):
    good = [row for row in TABLE["number"] if "is" in row]
    stamps = recent(len(good))
    written(house.folder / "good.csv", [(at, "v0", row["text"]) for at, row in zip(stamps, good, strict=True)])
    done = house("device", "import", case, "good.csv")
    assert 0 == done.code, done.err
    assert list(zip(stamps, [row["is"] for row in good], strict=True)) == held(house, case)


def test_number_that_is_none_is_named_from_csv(house, case):
    bad = [row for row in TABLE["number"] if "problem" in row and row["text"].strip()]
    written(house.folder / "bad.csv", [(at, "v0", row["text"]) for at, row in zip(recent(len(bad)), bad, strict=True)])
    done = house("device", "import", case, "bad.csv")
    assert 1 == done.code
    lines = done.err.splitlines()
    assert len(bad) == len(lines), done.err
    assert all(MISMATCH in line and row["problem"] in line for line, row in zip(lines, bad, strict=True))
    assert [] == held(house, case)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["30.5", "50.4", ""], (30.5, 50.4)),
        (["30.5", "50.4\n", "\r\n"], (30.5, 50.4)),
        (["\ufeff30.5, 50.4\r\n", ""], (30.5, 50.4)),
    ],
)
def test_place_may_end_with_nul(values, expected):
    assert expected == coerce(Datastream(id=1, pin=0, name="Place", type="location"), values)


def test_several_numbers_may_end_with_nul():
    datastream = Datastream(id=1, pin=0, name="Level", type="double")
    assert (1.0, 2.0) == coerce(datastream, ["1", "2", ""])
    with pytest.raises(WrongType):
        coerce(datastream, ["1", "", "2"])


@pytest.mark.parametrize("text", ["21.5\n", " 21.5", "21.5\0", "\ufeff21.5"])
def test_text_is_kept_with_what_is_around_it(text):
    assert text == coerce(Datastream(id=1, pin=0, name="Text", type="string"), text)
    assert ("a", "") == coerce(Datastream(id=1, pin=0, name="Text", type="string"), ["a", ""])


# -- stamps -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def then(hub_config, time):
    """A hub an hour after the table's stamps."""
    async with running(hub_config, clock=time.clock()) as hub:
        yield hub


@pytest.mark.parametrize("row", rows("stamp"))
def test_stamp_is_read_as_the_table_says(row):
    raw = json.loads(row["text"])
    if "is" in row:
        assert (row["is"], "") == (spellings.stamp(raw), spellings.unit_hint(spellings.stamp(raw)))
        return
    with pytest.raises(ValueError, match=re.escape(row["problem"])):
        raise ValueError(spellings.unit_hint(spellings.stamp(raw)))


async def _stamped_over_http(hub, device, token, text):
    async with connected(hub) as http:
        target = f"/external/api/batch/update?token={token}&pin=v0"
        await http.ask("POST", target, f"[[{text}, 21.5]]".encode(), Content_Type="application/json")
    return [refusal.reason for refusal in hub.refusals]


async def _stamped_over_mqtt(hub, device, token, text):
    async with raw_mqtt.online(hub, token) as client:
        await client.publish("ds/Level/timestamped_batch", f"[[{text}, 21.5]]")
        return [said for topic, said in await client.heard() if topic == "downlink/diag"]


async def _stamped_over_native(hub, device, token, text):
    async with raw_native.online(hub, token) as client:
        await client.send(Cmd.GROUP, "t", text)
        await client.send(Cmd.HARDWARE, "vw", "0", "21.5")
        await client.ask(Cmd.PING)
    return [refusal.reason for refusal in hub.refusals]


def _posted(path, body):
    async def post(hub, device, token, text):
        data = body.replace("ID", str(device.id)).replace("TEXT", text).encode()
        async with connected(hub) as http:
            answer = await http.ask("POST", f"/api/v1/{path}", data, local_key(hub))
        return [] if answer.status < 300 else [answer.message]

    post.__name__ = path
    return post


_IMPORTED = _posted(
    "organization/device/import/batch", '{"deviceId": ID, "pin": "v0", "values": [{"ts": TEXT, "value": 21.5}]}'
)
_ROWS = _posted("device/import-rows", '{"deviceId": ID, "rows": [[TEXT, "v0", 21.5]]}')


_STAMPED_WAYS = [_stamped_over_http, _stamped_over_mqtt, _stamped_over_native, _IMPORTED, _ROWS]


# A text on the wire of the native protocol has no quotes, and there is no null.
@pytest.mark.parametrize(
    ("way", "row"),
    [
        pytest.param(way, row, id=f"{way.__name__} {row['text']}")
        for way in _STAMPED_WAYS
        for row in TABLE["stamp"]
        if way is not _stamped_over_native or row["text"][0].isdecimal()
    ],
)
async def test_stamp_is_taken_or_refused_whichever_way_it_comes(then, way, row):
    device, token = await add_device(then, TEMPLATE)
    problems = await way(then, device, token, row["text"])
    held = then.writes.latest(device, device.points[0].datastream)
    if "is" in row:
        assert ([], (row["is"], 21.5)) == (problems, held)
        return
    assert held is None
    [problem] = problems
    # The import has its own words for what is no number: they name the field.
    assert row["problem"] in problem or (way is _IMPORTED and "must be a number" in problem)


async def test_group_of_the_native_protocol_without_a_stamp_has_the_hubs(then):
    device, token = await add_device(then, TEMPLATE)
    async with raw_native.online(then, token) as client:
        await client.send(Cmd.GROUP, "t", "soon")
        await client.send(Cmd.HARDWARE, "vw", "0", "21.5")
        await client.ask(Cmd.PING)
    assert (then.clock.now(), 21.5) == then.writes.latest(device, device.points[0].datastream)
    assert "the group's stamp 'soon' is no number of milliseconds" in then.refusals[-1].reason


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("device/token", '{"deviceId": ID.0}'),
        ("organization/device/datastream", '{"deviceId": ID.0, "dataStreamId": 1.0, "value": 5}'),
        ("organization/device/datastream", '{"deviceId": 1e0, "dataStreamId": 1, "value": 5}'),
        ("organization/device/datastream", '\ufeff{"deviceId": ID, "dataStreamId": 1, "value": 5}'),
    ],
)
async def test_whole_number_of_json_may_have_a_point(hub, path, body):
    """RFC 8259 §6: JSON has one kind of number."""
    device, token = await add_device(hub, TEMPLATE)
    assert [] == await _posted(path, body)(hub, device, token, "")


@pytest.mark.parametrize("number", ["1.5", "1e300", "true", '"1"', "9007199254740994.0"])
async def test_number_of_json_that_is_not_whole_is_named(hub, number):
    device, token = await add_device(hub, TEMPLATE)
    body = '{"deviceId": NUMBER, "dataStreamId": 1, "value": 5}'.replace("NUMBER", number)
    [problem] = await _posted("organization/device/datastream", body)(hub, device, token, "")
    assert "deviceId: must be a whole number" in problem


@pytest.mark.parametrize("name", ["from", "to"])
async def test_seconds_in_a_query_are_named(hub, name):
    device, _ = await add_device(hub, TEMPLATE)
    query = {"from": "from=1782903661", "to": "from=0&to=1782903661"}[name]
    async with connected(hub) as http:
        answer = await http.get(f"/api/v1/device/history?deviceId={device.id}&pin=v0&{query}", local_key(hub))
    assert (400, True) == (answer.status, f"{name}: The timestamp 1782903661 is in seconds" in answer.message)


# -- time zones -------------------------------------------------------------------------------------------------------

#: 2026-01-15T12:00:00Z in milliseconds.
JANUARY = 1_768_478_400_000


@pytest.mark.parametrize("row", rows("zone"))
def test_zone_is_read_as_the_table_says(row):
    assert ("is" in row) is timezones.is_known(row["text"])
    if "is" in row:
        assert (row["is"], row["east"]) == (timezones.iana(row["text"]), timezones.offset(row["text"], JANUARY))


@pytest.mark.parametrize(
    ("name", "rule"), [("+05:30", "<+0530>-5:30"), ("-03:30", "<-0330>3:30"), ("GMT+2", "<+02>-2"), ("AET", "AEST-10")]
)
def test_zone_without_a_name_has_a_posix_rule(name, rule):
    assert timezones.posix_rule(name).startswith(rule)


async def test_zone_of_a_report_or_a_query_is_taken_or_refused(hub):
    device, token = await add_device(hub, TEMPLATE)
    expected = {row["text"]: "is" in row for row in TABLE["zone"]}
    report, history = {}, {}
    async with connected(hub) as http:
        await http.get(f"/external/api/update?token={token}&v0=1")
        for text in expected:
            target = f"/external/api/data/get?token={token}&period=DAY&format=ISO_SIMPLE&tzName={quote(text)}"
            report[text] = (await http.get(target)).status == 200
            target = f"/api/v1/device/history?deviceId={device.id}&pin=v0&granularity=day&tz={quote(text)}"
            history[text] = (await http.get(target, local_key(hub))).status == 200
    assert expected == report
    assert expected == history


async def test_zone_of_an_organization_is_taken_or_refused(hub):
    expected = {row["text"]: "is" in row for row in TABLE["zone"]}
    found = {}
    async with connected(hub) as http:
        for number, text in enumerate(expected):
            body = {"name": f"Org {number}", "parentId": 1, "tz": text}
            found[text] = (await http.ask("POST", "/api/v1/organization/create", body, local_key(hub))).status < 300
    assert expected == found


@pytest.mark.parametrize("row", rows("zone"))
def test_zone_of_the_hub_is_taken_or_refused(row):
    text = f"[hub]\ntimezone = {json.dumps(row['text'])}\n"
    if "is" in row:
        assert row["text"] == parse(text).hub.timezone
    else:
        with pytest.raises(ConfigError, match="there is no time zone"):
            parse(text)


@pytest.mark.parametrize("row", [row for row in rows("zone") if "is" in row.values[0]])
async def test_device_is_told_its_zone_in_words_it_knows(hub, row):
    device, token = await add_device(hub, TEMPLATE)
    await hub.metadata.set(device, "Time Zone", row["text"], SYSTEM)
    async with raw_native.online(hub, token) as client:
        asked = await client.send(Cmd.INTERNAL, "utc", "tz_name")
        assert (Cmd.INTERNAL, asked, "utc", "tz_name", row["is"]) == await client.next()
    async with raw_mqtt.online(hub, token) as client:
        await client.publish("get/utc/all/json")
        _, told = await client.message()
    assert row["is"] == json.loads(told)["tz_name"]
