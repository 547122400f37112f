"""How numbers may be spelled: in the parser, over each transport, in JSON and in CSV files."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from support import raw_mqtt, raw_native
from support.raw_http import connected, local_key
from support.spellings import (
    SPELLING_TEMPLATE,
    TABLE,
    expected_result,
    history_of,
    post_to,
    recent_timestamps,
    rows,
    write_csv,
)

from connectors.native.protocol import Cmd
from hub.errors import WrongType
from hub.model import Datastream
from hub.parsing import spellings
from hub.testing import add_device
from hub.values import MISMATCH, coerce


@pytest.mark.parametrize("row", rows("number"))
def test_number_is_parsed_as_the_table_states(row):
    datastream = Datastream(id=1, pin=0, name="Level", type="double")
    if "is" in row:
        assert row["is"] == spellings.decimal(row["text"])
        assert row["is"] == coerce(datastream, row["text"])
        return
    with pytest.raises(WrongType) as error:
        coerce(datastream, row["text"])
    assert str(error.value).startswith(MISMATCH)
    assert row["problem"] in str(error.value)


@pytest.mark.parametrize("row", rows("number"))
def test_integer_is_parsed_with_the_same_surrounding_characters(row):
    text = row["text"].replace("21.5", "21").replace("21,5", "2,100")
    if "is" in row and spellings.decimal(text).is_integer() and "e" not in text:
        assert spellings.decimal(text) == spellings.integer(text)
    else:
        with pytest.raises(ValueError, match="has a comma" if row.get("problem") else "^$"):
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


async def _over_http_with_pin(hub, token, texts):
    async with connected(hub) as http:
        for text in texts:
            await http.get(f"/external/api/update?token={token}&pin=v0&value={quote(text)}")
            yield text


async def _in_http_batch(hub, token, texts):
    async with connected(hub) as http:
        for text in texts:
            body = [[hub.clock.now(), text]]
            target = f"/external/api/batch/update?token={token}&pin=v0"
            await http.ask("POST", target, body, Content_Type="application/json")
            yield text


async def _in_mqtt_batch(hub, token, texts):
    async with raw_mqtt.online(hub, token) as client:
        for text in texts:
            await client.publish("ds/Level/timestamped_batch", json.dumps([[hub.clock.now(), text]]))
            yield text


TRANSPORTS = [_over_native, _over_mqtt, _over_http, _over_http_with_pin, _in_http_batch, _in_mqtt_batch]


@pytest.mark.parametrize("send", TRANSPORTS)
async def test_number_is_accepted_or_rejected_over_each_transport(hub, send):
    device, token = await add_device(hub, SPELLING_TEMPLATE)
    table = {row["text"]: expected_result(row) for row in TABLE["number"]}
    results = {}
    async for text in send(hub, token, table):
        latest = hub.writes.latest(device, device.points[0].datastream)
        if hub.rejections.recent:
            reason = hub.rejections.recent.pop().reason
            hint = table[text].removeprefix("rejected: ") if isinstance(table[text], str) else None
            results[text] = f"rejected: {hint}" if hint is not None and hint in reason else f"rejected: {reason}"
        else:
            results[text] = None if latest is None else latest[1]
    assert table == results


async def test_number_is_accepted_or_rejected_by_the_platform_api(hub):
    device, _ = await add_device(hub, SPELLING_TEMPLATE)
    table = {row["text"]: expected_result(row) for row in TABLE["number"]}
    results, key = {}, local_key(hub)
    async with connected(hub) as http:
        for row in TABLE["number"]:
            body = {"deviceId": device.id, "pin": "v0", "value": row["text"]}
            response = await http.ask("POST", "/api/v1/organization/device/datastream", body, key)
            if response.status == 204:
                results[row["text"]] = hub.writes.current(device, device.points[0].datastream)
            else:
                hint = row.get("problem")
                results[row["text"]] = (
                    f"rejected: {hint if hint is not None and hint in response.message else response.text}"
                )
    assert table == results


def test_number_is_parsed_from_csv(cli, device_id):
    good = [row for row in TABLE["number"] if "is" in row]
    stamps = recent_timestamps(len(good))
    write_csv(cli.folder / "good.csv", [(at, "v0", row["text"]) for at, row in zip(stamps, good, strict=True)])
    done = cli("device", "import", device_id, "good.csv")
    assert 0 == done.code, done.err
    assert list(zip(stamps, [row["is"] for row in good], strict=True)) == history_of(cli, device_id)


def test_malformed_numbers_of_a_csv_file_are_all_reported(cli, device_id):
    bad = [row for row in TABLE["number"] if "problem" in row and row["text"].strip()]
    write_csv(
        cli.folder / "bad.csv",
        [(at, "v0", row["text"]) for at, row in zip(recent_timestamps(len(bad)), bad, strict=True)],
    )
    done = cli("device", "import", device_id, "bad.csv")
    assert 1 == done.code
    lines = done.err.splitlines()
    assert len(bad) == len(lines), done.err
    assert all(MISMATCH in line and row["problem"] in line for line, row in zip(lines, bad, strict=True))
    assert [] == history_of(cli, device_id)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["30.5", "50.4", ""], (30.5, 50.4)),
        (["30.5", "50.4\n", "\r\n"], (30.5, 50.4)),
        (["\ufeff30.5, 50.4\r\n", ""], (30.5, 50.4)),
    ],
)
def test_location_may_end_with_nul(values, expected):
    assert expected == coerce(Datastream(id=1, pin=0, name="Place", type="location"), values)


def test_list_of_numbers_may_end_with_nul():
    datastream = Datastream(id=1, pin=0, name="Level", type="double")
    assert (1.0, 2.0) == coerce(datastream, ["1", "2", ""])
    with pytest.raises(WrongType):
        coerce(datastream, ["1", "", "2"])


@pytest.mark.parametrize("text", ["21.5\n", " 21.5", "21.5\0", "\ufeff21.5"])
def test_string_keeps_its_surrounding_characters(text):
    assert text == coerce(Datastream(id=1, pin=0, name="Text", type="string"), text)
    assert ("a", "") == coerce(Datastream(id=1, pin=0, name="Text", type="string"), ["a", ""])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("device/token", '{"deviceId": ID.0}'),
        ("organization/device/datastream", '{"deviceId": ID.0, "dataStreamId": 1.0, "value": 5}'),
        ("organization/device/datastream", '{"deviceId": 1e0, "dataStreamId": 1, "value": 5}'),
        ("organization/device/datastream", '\ufeff{"deviceId": ID, "dataStreamId": 1, "value": 5}'),
    ],
)
async def test_integer_of_json_may_have_a_decimal_point(hub, path, body):
    """RFC 8259 §6: JSON has one kind of number."""
    device, token = await add_device(hub, SPELLING_TEMPLATE)
    assert [] == await post_to(path, body)(hub, device, token, "")


async def test_integer_of_the_info_message_may_have_a_decimal_point(hub):
    device, token = await add_device(hub, SPELLING_TEMPLATE)
    async with raw_mqtt.online(hub, token) as client:
        await client.publish("info/mcu", '{"ver": "1.0", "rxbuff": 1024.0}')
    assert "1024" == device.firmware["buff-in"]


@pytest.mark.parametrize("number", ["1.5", "1e300", "true", '"1"', "9007199254740994.0"])
async def test_json_number_that_is_no_integer_is_rejected_with_the_name_of_its_field(hub, number):
    device, token = await add_device(hub, SPELLING_TEMPLATE)
    body = '{"deviceId": NUMBER, "dataStreamId": 1, "value": 5}'.replace("NUMBER", number)
    [problem] = await post_to("organization/device/datastream", body)(hub, device, token, "")
    assert "deviceId: must be a whole number" in problem
