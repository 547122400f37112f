"""The table of spellings, row by row: on the readers, and on every way into a hub."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import csv
import json
import math
import re
import tomllib
import unicodedata
import zipfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from support import raw_mqtt, raw_native
from support.command import CONFIG, CommandLine
from support.raw_http import connected, local_key

from client import Call, operations
from client.cli import api
from connectors.native.protocol import Cmd
from hub.clock import Clock
from hub.config import TlsSection, parse
from hub.errors import ConfigError, WrongType
from hub.model import SYSTEM, Datastream
from hub.net import certificates
from hub.parsing import spellings, timezones
from hub.run import running
from hub.templates.document import BadTemplate
from hub.testing import LOOPBACK, add_device
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
        if hub.rejections.recent:
            reason = hub.rejections.recent.pop().reason
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
    house = CommandLine(tmp_path_factory.mktemp("house"))
    (house.folder / "t.toml").write_text(TEMPLATE)
    assert 0 == house("template", "import", "t.toml").code
    return house


@pytest.fixture
def case(house):
    """A device of its own for a test; its number."""
    done = house("device", "add", "--template", "TMPL0spell", "--name", "Case")
    return json.loads(done.out)["id"]


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
    return [refusal.reason for refusal in hub.rejections.recent]


async def _stamped_over_mqtt(hub, device, token, text):
    async with raw_mqtt.online(hub, token) as client:
        await client.publish("ds/Level/timestamped_batch", f"[[{text}, 21.5]]")
        return [said for topic, said in await client.heard() if topic == "downlink/diag"]


async def _stamped_over_native(hub, device, token, text):
    async with raw_native.online(hub, token) as client:
        await client.send(Cmd.GROUP, "t", text)
        await client.send(Cmd.HARDWARE, "vw", "0", "21.5")
        await client.ask(Cmd.PING)
    return [refusal.reason for refusal in hub.rejections.recent]


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
    assert "the group's timestamp 'soon' is not a number of milliseconds" in then.rejections.recent[-1].reason


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


async def test_whole_number_of_the_info_message_may_have_a_point(hub):
    device, token = await add_device(hub, TEMPLATE)
    async with raw_mqtt.online(hub, token) as client:
        await client.publish("info/mcu", '{"ver": "1.0", "rxbuff": 1024.0}')
    assert "1024" == device.firmware["buff-in"]


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


# -- text files -------------------------------------------------------------------------------------------------------

ENCODINGS = [
    ("utf-8", b""),
    ("utf-8", codecs.BOM_UTF8),
    ("utf-16-le", codecs.BOM_UTF16_LE),
    ("utf-16-be", codecs.BOM_UTF16_BE),
]
UNREADABLE = [
    ("latin-1", "line 2 is not UTF-8 text: byte 0xFC may be Latin-1 or Windows-1252; save the file as UTF-8"),
    ("utf-16-le", "is UTF-16 text without a byte order mark: save it as UTF-8"),
    ("utf-16-be", "is UTF-16 text without a byte order mark: save it as UTF-8"),
]


@pytest.mark.parametrize(("encoding", "mark"), ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_file_is_read_as_it_was_saved(tmp_path, encoding, mark, end):
    path = tmp_path / "text"
    path.write_bytes(mark + f"# für{end}x = 1{end}".encode(encoding))
    assert "# für\nx = 1\n" == spellings.read_text(path)


@pytest.mark.parametrize(("encoding", "problem"), UNREADABLE)
def test_text_file_of_another_encoding_is_named(encoding, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        spellings.decode_text("# a\n# für\n".encode(encoding))


ORG = '[organization]\nname = "Küche {}"\n'


@pytest.mark.parametrize(("encoding", "mark"), ENCODINGS)
def test_toml_may_be_saved_by_any_editor(house, encoding, mark):
    def save(name, text):
        (house.folder / name).write_bytes(mark + text.replace("\n", "\r\n").encode(encoding))

    save("t.toml", TEMPLATE.replace('"Spelling"', '"Küche"'))
    save("h.toml", f'# Küche\n{CONFIG}[hub]\ntimezone = "Europe/Berlin"\n')
    save("o.toml", ORG.format(f"{encoding} {len(mark)}"))
    done = house("check", "--config", "h.toml", "t.toml")
    assert (0, "") == (done.code, done.err)
    assert "TMPL0spell Küche" in house("template", "import", "t.toml").out
    done = house("org", "apply", "o.toml")
    assert (0, True) == (done.code, done.out.startswith("+ organization Küche")), done.err


@pytest.mark.parametrize(("encoding", "problem"), UNREADABLE)
def test_toml_of_another_encoding_is_named(house, encoding, problem):
    (house.folder / "bad.toml").write_bytes("# a\n# für\n".encode(encoding))
    assert f"bad.toml: {problem}" == house("template", "import", "bad.toml").error
    assert f"bad.toml: {problem}" == house("org", "apply", "bad.toml").error
    assert f"pinwheel: bad.toml: {problem}\n" == house("check", "bad.toml").err
    assert problem in house("check", "--config", "bad.toml").err


def test_byte_order_mark_of_a_template_over_http_is_no_part_of_it(house):
    call(house, operations.post_template_import(toml="\ufeff" + TEMPLATE, source="t.toml", prune=False))


def test_secret_in_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "secret").write_bytes(codecs.BOM_UTF8 + b"xyz\r\n")
    config = parse(f'[plugins.mine]\nkey = {{ file = "{tmp_path}/secret" }}\n')
    assert {"key": "xyz"} == config.plugins["mine"]


@pytest.mark.parametrize(
    "text",
    [
        "time,pin,value\n{},v0,1.5\n{},v0,2.5\n",
        "\ufefftime,pin,value\r\n{},v0,1.5\r\n\r\n\r\n{},v0,2.5\r\n",
        "Time,Pin,Value\n{},V0,1.5\n{},Level,2.5\n",
        "value, time, pin\n1.5,{},v0\n2.5,{},v0\n",
        "time;pin;value\n{};v0;1,5\n{};v0;2,5\n",
        "time\tpin\tvalue\n{}\tv0\t1.5\n{}\tv0\t2,5\n",
        "sep=;\r\ntime;pin;value\r\n{};v0;1.5\r\n{};v0;2.5\r\n",
        "time,pin,value\n,,\n{},v0,1.5\n,,\n{},v0,2.5\n,,\n",
        "time,pin,value,,\n{},v0,1.5,,\n{},v0,2.5\n",
        '"time","pin","value"\n"{}"," v0 ","1.5"\n{},v0,"2.5\r\n"\n',
    ],
)
def test_values_are_read_from_csv_of_any_spreadsheet(house, case, text):
    stamps = recent(2)
    (house.folder / "in.csv").write_text(text.format(*stamps), newline="")
    done = house("device", "import", case, "in.csv")
    assert (0, "2 values of Case imported\n") == (done.code, done.out), done.err
    assert [*zip(stamps, (1.5, 2.5), strict=True)] == held(house, case)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,pin,value\n{},v0,1\n\n\n{},v0,bad\n", ["line 5: Value doesn't match"]),
        (
            'time,pin,value\n{},v2,"a\nb\nc"\n{},v0,bad\nsoon,v0,1\n',
            ["line 5: Value", "line 6: 'soon' is not a valid time"],
        ),
        ("time,pin,value\n{},v0,bad\n\n{},v0,bad\n", ["line 2: Value", "line 4: Value"]),
        ("time,pin,value\n1795600000.123,v0,1\n", ["line 2: The timestamp 1795600000 is in seconds"]),
        ("time,pin,value\n46351.4166,v0,1\n", ["line 2: '46351.4166' is not a valid time"]),
        (
            "time,pin,value\n25.11.2026 10:00,v0,1\n",
            ["line 2: '25.11.2026 10:00' is not a valid time: write milliseconds"],
        ),
        ("time,pin,value\n0001-01-01,v0,1\n", ["line 2: The timestamp is older"]),
        ("time,pin,value\n9999-12-31T23:59,v0,1\n", ["line 2: The timestamp is"]),
        ('time,pin,value\n{},v0,"1,5"\n', ["line 2: Value doesn't match the Datastream data type. '1,5' has a comma"]),
        ("time,pin,value\n{},level,1\n", ["line 2: device Case has no datastream on pin level"]),
        ("time,pin,value\n{},v0,unavailable\n", ["line 2: there is no value; --skip unavailable leaves such rows out"]),
        ("time,pin,value\n{},v0,\n", ["line 2: there is no value; --skip '' leaves such rows out"]),
        ("time,value\n{},1\n", ["the header must be time,pin,value, not time,value; select the datastream with --pin"]),
        ("time,pin,value\n{},v0,1,2\n", ["line 2: has 4 columns instead of 3"]),
    ],
)
def test_problem_of_csv_has_the_line_of_the_file(house, case, text, said):
    (house.folder / "bad.csv").write_text(text.format(*recent(2)))
    done = house("device", "import", case, "bad.csv")
    assert 1 == done.code
    lines = done.err.splitlines()
    assert [f"pinwheel: bad.csv: {part}" for part in said] == [
        line[: len(f"pinwheel: bad.csv: {part}")] for line, part in zip(lines, said, strict=True)
    ]
    assert [] == held(house, case)


@pytest.mark.parametrize(("encoding", "problem"), UNREADABLE)
def test_csv_of_another_encoding_is_named(house, case, encoding, problem):
    (house.folder / "bad.csv").write_bytes("time,pin,value\n1,v2,für\n".encode(encoding))
    assert f"bad.csv: {problem}" == house("device", "import", case, "bad.csv").error
    (house.folder / "bad.csv").write_bytes("name,template\nfür,TMPL0spell\n".encode(encoding))
    assert f"bad.csv: {problem}" == house("device", "add", "--csv", "bad.csv").error


def test_rows_without_a_value_are_left_out_if_wanted(house, case):
    stamps = recent(4)
    rows = zip(stamps, ["v0"] * 4, ["1", "unknown", "", "2"], strict=True)
    written(house.folder / "in.csv", rows)
    done = house("device", "import", case, "in.csv", "--skip", "unknown", "--skip", "")
    assert (0, "2 values of Case imported, 2 rows left out\n") == (done.code, done.out), done.err
    assert [1.0, 2.0] == [value for _, value in held(house, case)]


TEXTS = [
    "plain",
    "",
    "[",
    '["a"]',
    '["a", "b"]',
    '"quoted"',
    '"[\\"a\\", \\"b\\"]"',
    "[1, 2]",
    "a\nb",
    "unknown",
    "x,y;z",
]
SEVERAL = [["a", "b"], ["", ""], ['["a", "b"]', "c"], ["ü", "\n"]]


@pytest.mark.parametrize("value", [*TEXTS, *SEVERAL])
def test_text_and_several_texts_are_told_apart_in_csv(value):
    assert value == spellings.value_of_csv(spellings.csv_field(value), "string")


@given(st.text(alphabet='[]"\\,ab 1') | st.lists(st.text(alphabet='[]"\\,ab 1'), min_size=2))
def test_any_text_and_several_texts_are_told_apart_in_csv(value):
    assert value == spellings.value_of_csv(spellings.csv_field(value), "string")
    field = spellings.csv_field(value)
    assert field == spellings.value_of_csv(spellings.csv_field(field), "string")


def test_everything_that_is_exported_comes_back_the_same(house, case):
    stamps = recent(len(TEXTS) + len(SEVERAL))
    rows = [[at, "v2", value] for at, value in zip(stamps, [*TEXTS, *SEVERAL], strict=True)]
    rows += [[stamps[0], "v0", [1.5, 2.5]], [stamps[0], "v3", [30.5, 50.4]]]
    call(house, operations.post_device_import_rows(device_id=case, rows=rows))
    pins = ("v0", "v2", "v3")
    before = [held(house, case, pin) for pin in pins]
    assert [*TEXTS, *SEVERAL] == [value for _, value in before[1]]

    assert 0 == house("device", "export", case, "out.csv").code
    assert 0 == house("device", "erase", case, "--yes").code
    assert [] == held(house, case, "v2")
    done = house("device", "import", case, "out.csv")
    assert 0 == done.code, done.err
    assert before == [held(house, case, pin) for pin in pins]


def call(house, operation):
    """An operation of the API, on a stopped hub."""
    args = argparse.Namespace(config=house.folder / "hub.toml", data=str(house.data))
    with contextlib.chdir(house.folder), api(args) as hub:
        return hub(operation)


# -- times without an offset ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1782903661123", 1_782_903_661_123),
        ("1782903661123.0", 1_782_903_661_123),
        ("2026-07-01T11:01:01.123Z", 1_782_903_661_123),
        ("2026-07-01 13:01:01.123+02:00", 1_782_903_661_123),
        ("2026-07-01 13:01:01.123", 1_782_903_661_123),
        ("20260701T130101", 1_782_903_661_000),
        ("07/01/26 01:01:01 PM", 1_782_903_661_000),
        (" 2026-07-01 13:01:01\r\n", 1_782_903_661_000),
        ("2026-07-01", 1_782_856_800_000),
    ],
)
def test_time_without_an_offset_is_in_the_zone(text, expected):
    assert expected == spellings.local_time(text, timezones.zone("Europe/Berlin"))


def test_time_that_comes_twice_is_the_second_when_the_first_is_over():
    berlin, half_past_two = timezones.zone("Europe/Berlin"), "2026-10-25 02:30:00"
    first = spellings.local_time(half_past_two, berlin)
    assert "2026-10-25T00:30:00+00:00" == timezones.iso("UTC", first)
    assert first == spellings.local_time(half_past_two, berlin, first)
    assert first == spellings.local_time(half_past_two, berlin, first - 60_000)
    assert first + 3_600_000 == spellings.local_time(half_past_two, berlin, first + 60_000)
    assert first == spellings.local_time(half_past_two, berlin, first + 2 * 3_600_000), "the file is not in order"


@pytest.mark.parametrize("form", ["TS", "ISO_SIMPLE", "ISO_US"])
@pytest.mark.parametrize("named", [[], ["--tz", "America/St_Johns"]], ids=["its own zone", "another one"])
def test_report_comes_back_the_same(house, case, form, named):
    zone = named[-1] if named else "Asia/Kolkata"
    call(house, operations.post_organization_device_metafield(device_id=case, name="Time Zone", new_value="+05:30"))
    token = house("device", "token", case, "--new").json["token"]
    rows = [[at, "v2", text] for at, text in zip(recent(3), ["a", '["a", "b"]', ["a", "b"]], strict=True)]
    call(house, operations.post_device_import_rows(device_id=case, rows=rows))
    before = held(house, case, "v2")

    query = {"token": token, "period": "DAY", "pin": "v2", "format": form, "tzName": zone}
    link = call(house, Call("GET", "/external/api/data/get", query))["link"]
    with zipfile.ZipFile(house.data / "reports" / Path(link).parent.name / Path(link).name) as report:
        (house.folder / "report.csv").write_bytes(report.read("v2_Text.csv"))
    assert 0 == house("device", "erase", case, "--yes").code
    done = house("device", "import", case, "report.csv", "--pin", "V2", *named)
    assert (0, "3 values of Case imported\n") == (done.code, done.out), done.err
    assert before == held(house, case, "v2")


def test_zone_of_an_import_must_be_one(house, case):
    assert "there is no time zone 'Mars'" == house("device", "import", case, "in.csv", "--tz", "Mars").error


async def test_query_without_an_offset_is_in_utc(then):
    device, token = await add_device(then, TEMPLATE)
    await then.metadata.set(device, "Time Zone", "Asia/Kolkata", SYSTEM)
    await _stamped_over_http(then, device, token, "1782903661123")
    async with connected(then) as http:
        target = f"/api/v1/device/history?deviceId={device.id}&pin=v0&from=2026-07-01T11:01:01&to=2026-07-01T11:01:02"
        lines = (await http.get(target, local_key(then))).text.splitlines()
    assert [1_782_903_661_123] == [json.loads(line)["ts"] for line in lines]


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows("name"))
def test_name_is_read_as_the_table_says(row):
    assert ("is" in row) is spellings.is_name(spellings.nfc(row["text"]), 40)
    if "is" in row:
        assert row["is"] == spellings.nfc(row["text"])
        assert spellings.is_printable(row["text"])


def test_normalizing_is_only_for_what_can_be_a_name():
    """100,000 marks would take 22 seconds."""
    marks = "a" + "\u0315\u0300" * 100_000
    assert marks == spellings.nfc(marks)
    assert not spellings.is_name(marks, 60)


def _template_named(text):
    return TEMPLATE.replace('name = "Level"', f"name = {json.dumps(text, ensure_ascii=False)}")


async def test_name_of_a_device_is_taken_or_refused(hub):
    device, _ = await add_device(hub, TEMPLATE)
    table = {row["text"]: row.get("is") for row in TABLE["name"]}
    made, renamed = {}, {}
    async with connected(hub) as http:
        key = local_key(hub)
        for text in table:
            body = {"templateId": "TMPL0spell", "name": text}
            answer = await http.ask("POST", "/api/v1/organization/device/create", body, key)
            made[text] = answer.json["name"] if answer.status < 300 else None
            target = f"/api/v1/organization/device?deviceId={device.id}"
            answer = await http.ask("PUT", target, {"name": text}, key)
            renamed[text] = device.name if answer.status < 300 else None
    assert table == made
    assert table == renamed


@pytest.mark.parametrize("row", rows("name"))
async def test_name_of_a_datastream_is_taken_or_refused(hub, row):
    if "problem" in row:
        with pytest.raises(BadTemplate, match="name must be 1-50 printable characters"):
            await hub.templates.save(_template_named(row["text"]), SYSTEM)
        return
    device, token = await add_device(hub, _template_named(row["text"]))
    other = unicodedata.normalize("NFD", row["text"])
    async with raw_mqtt.online(hub, token) as client:
        await client.publish(f"ds/{row['is']}", "1")
        assert 1.0 == hub.writes.current(device, device.points[0].datastream)
        await client.publish(f"ds/{other}", "2")
        assert 2.0 == hub.writes.current(device, device.points[0].datastream)
        await client.publish("batch_ds", json.dumps({other: 3}))
        assert 3.0 == hub.writes.current(device, device.points[0].datastream)
        assert [] == await client.heard()
        await client.publish("get/ds", other)
        assert (f"downlink/ds/{row['is']}", "3.0") == await client.message()
    async with connected(hub) as http:
        target = f"/api/v1/device/history?deviceId={device.id}&pin={quote(other)}"
        assert 3 == len((await http.get(target, local_key(hub))).text.splitlines())


@pytest.mark.parametrize("name", ["a/b", "a+b", "a#b", "a,b", "/", "x" * 51])
async def test_name_of_a_datastream_is_one_level_of_a_topic(hub, name):
    with pytest.raises(BadTemplate, match="none of / [+] # ,"):
        await hub.templates.save(_template_named(name), SYSTEM)


async def test_device_is_found_by_its_name_in_any_form(hub):
    device, _ = await add_device(hub, TEMPLATE, "Re\u0301veil")
    assert "R\u00e9veil" == device.name
    async with connected(hub) as http:
        for query in ("Re\u0301v", "R\u00e9v"):
            found = await http.get(f"/api/v1/organization/search/devices?query={quote(query)}", local_key(hub))
            assert [device.id] == [one["id"] for one in found.json["content"]]


def test_commands_take_names_in_any_form(house):
    add = ("device", "add", "--template", "TMPL0spell", "--name")
    number = house(*add, "Re\u0301veil").json["id"]
    for name in ("Re\u0301veil", "R\u00e9veil"):
        assert number == house("device", "show", name, "--json").json["id"]
    assert 0 == house("org", "add", "Cafe\u0301 à gogo").code
    assert "Caf\u00e9 à gogo" in house("org", "show", "Cafe\u0301 à gogo").out


@pytest.mark.parametrize("name", ["हिन्दी", "می\u200cخواهم", "L'été & l'hiver", "Salon\u00a0rouge"])
async def test_organization_may_have_a_name_of_any_script(hub, name):
    async with connected(hub) as http:
        body = {"name": name, "parentId": 1}
        answer = await http.ask("POST", "/api/v1/organization/create", body, local_key(hub))
    assert (201, name) == (answer.status, answer.json.get("name"))


@pytest.mark.parametrize("name", ["a/b", "a\u202eb", "<b>", "👨\u200d👩", "\u200d"])
async def test_organization_has_no_other_characters(hub, name):
    async with connected(hub) as http:
        body = {"name": name, "parentId": 1}
        answer = await http.ask("POST", "/api/v1/organization/create", body, local_key(hub))
    assert (400, True) == (answer.status, "1 to 80 letters, digits" in answer.message)


@pytest.mark.parametrize(
    ("kind", "more"),
    [("tag", {}), ("location", {"about": {}}), ("segment", {"devices": []})],
)
async def test_two_names_that_look_the_same_are_one(hub, kind, more):
    async with connected(hub) as http:
        first, second = [
            await http.ask("POST", f"/api/v1/organization/{kind}/create", {"name": name, **more}, local_key(hub))
            for name in ("Caf\u00e9", "Cafe\u0301")
        ]
    assert first.status < 300, first.text
    assert (409, True) == (second.status, f"there is a {kind} named 'Caf\u00e9' already" in second.message)


def test_text_for_people_is_escaped_where_it_is_not_printable():
    assert r"👨‍👩 Café\x00\u202e\n" == spellings.escape("👨\u200d👩 Café\0\u202e\n")


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows("url"))
def test_url_of_the_hub_is_taken_or_refused(row):
    text = f"[hub]\nurl = {json.dumps(row['text'], ensure_ascii=False)}\n"
    if "is" in row:
        assert row["is"] == parse(text).hub.url
        return
    with pytest.raises(ConfigError) as refused:
        parse(text, "hub.toml")
    [problem] = refused.value.problems
    assert problem.startswith("hub.toml: hub.url: ")
    assert row["problem"] in problem


@pytest.mark.parametrize("row", [row for row in rows("url") if "is" in row.values[0]])
def test_host_of_the_url_is_in_the_certificate_or_said_to_be_left_out(tmp_path, caplog, row):
    names = certificates.local_names(parse(f"[hub]\nurl = {json.dumps(row['text'], ensure_ascii=False)}\n").hub.url)
    certificates.Certificates(TlsSection(), tmp_path, names, Clock()).load()
    made = x509.load_pem_x509_certificate((tmp_path / "tls" / "cert.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    host = urlsplit(row["is"]).hostname
    assert row.get("cert", True) is (host in {str(name.value) for name in names})
    assert row.get("cert", True) is (host not in caplog.text)


@pytest.mark.parametrize("name", ["my_pi", "my pi", "x" * 64])
def test_name_of_the_machine_that_a_certificate_cannot_have_is_left_out_and_said(tmp_path, caplog, monkeypatch, name):
    monkeypatch.setattr("socket.gethostname", lambda: name)
    certificates.Certificates(TlsSection(), tmp_path, certificates.local_names(""), Clock()).load()
    assert f"left out of the hub's certificate: {name!r}" in caplog.text


async def test_links_begin_with_the_url_of_the_hub(hub_config):
    config = parse(LOOPBACK + '[hub]\nurl = "https://häuschen.example/"\n').with_data(hub_config.hub.data)
    async with running(config) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with connected(hub) as http:
            await http.get(f"/external/api/update?token={token}&v0=1")
            link = (await http.get(f"/external/api/data/get?token={token}&period=DAY")).json["link"]
    assert link.startswith("https://xn--huschen-5wa.example/reports/")


# -- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows("token"))
async def test_token_is_taken_or_refused_whichever_way_it_comes(hub, row):
    device, token = await add_device(hub, TEMPLATE)
    text = row["text"].replace("TOKEN", token).replace("TO KEN", f"{token[:16]} {token[16:]}")
    taken = "problem" not in row
    async with raw_native.dialled(hub) as client:
        assert taken is (raw_native.OK == await client.login(text))
    async with raw_mqtt.dialled(hub) as client:
        assert taken is (0 == (await client.login(text)).reason)
    async with connected(hub) as http:
        answer = await http.get(f"/external/api/update?token={quote(text)}&v0=5")
    assert taken is (200 == answer.status)
    assert taken or row["problem"] == answer.message
    assert taken is (hub.writes.current(device, device.points[0].datastream) == 5.0)
