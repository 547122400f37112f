"""How timestamps may be spelled: in the parser, over each transport, in queries, and without an offset."""

from __future__ import annotations

import json
import re

import pytest
from support import raw_mqtt, raw_native
from support.raw_http import connected, local_key
from support.spellings import (
    SPELLING_TEMPLATE,
    TABLE,
    post_to,
    rows,
    write_at_timestamp,
)

from connectors.native.protocol import Cmd
from hub.model import SYSTEM
from hub.parsing import spellings, timezones
from hub.testing import add_device


@pytest.mark.parametrize("row", rows("stamp"))
def test_timestamp_is_parsed_as_the_table_states(row):
    raw = json.loads(row["text"])
    if "is" in row:
        assert (row["is"], "") == (spellings.stamp(raw), spellings.unit_hint(spellings.stamp(raw)))
        return
    with pytest.raises(ValueError, match=re.escape(row["problem"])):
        raise ValueError(spellings.unit_hint(spellings.stamp(raw)))


async def _timestamp_over_mqtt(hub, device, token, text):
    async with raw_mqtt.online(hub, token) as client:
        await client.publish("ds/Level/timestamped_batch", f"[[{text}, 21.5]]")
        return [message for topic, message in await client.received() if topic == "downlink/diag"]


async def _timestamp_over_native(hub, device, token, text):
    async with raw_native.online(hub, token) as client:
        await client.send(Cmd.GROUP, "t", text)
        await client.send(Cmd.HARDWARE, "vw", "0", "21.5")
        await client.ask(Cmd.PING)
    return [rejection.reason for rejection in hub.rejections.recent]


_IMPORTED = post_to(
    "organization/device/import/batch", '{"deviceId": ID, "pin": "v0", "values": [{"ts": TEXT, "value": 21.5}]}'
)
_ROWS = post_to("device/import-rows", '{"deviceId": ID, "rows": [[TEXT, "v0", 21.5]]}')


_TIMESTAMP_SENDERS = [write_at_timestamp, _timestamp_over_mqtt, _timestamp_over_native, _IMPORTED, _ROWS]


# A text on the wire of the native protocol has no quotes, and there is no null.
@pytest.mark.parametrize(
    ("send", "row"),
    [
        pytest.param(send, row, id=f"{send.__name__} {row['text']}")
        for send in _TIMESTAMP_SENDERS
        for row in TABLE["stamp"]
        if send is not _timestamp_over_native or row["text"][0].isdecimal()
    ],
)
async def test_timestamp_is_accepted_or_rejected_over_each_transport(hub_at_noon, send, row):
    device, token = await add_device(hub_at_noon, SPELLING_TEMPLATE)
    problems = await send(hub_at_noon, device, token, row["text"])
    latest = hub_at_noon.writes.latest(device, device.points[0].datastream)
    if "is" in row:
        assert ([], (row["is"], 21.5)) == (problems, latest)
        return
    assert latest is None
    [problem] = problems
    # The import has its own message for a value that is not a number: it names the field.
    assert row["problem"] in problem or (send is _IMPORTED and "must be a number" in problem)


async def test_native_group_without_a_valid_timestamp_gets_the_time_of_the_hub(hub_at_noon):
    device, token = await add_device(hub_at_noon, SPELLING_TEMPLATE)
    async with raw_native.online(hub_at_noon, token) as client:
        await client.send(Cmd.GROUP, "t", "soon")
        await client.send(Cmd.HARDWARE, "vw", "0", "21.5")
        await client.ask(Cmd.PING)
    assert (hub_at_noon.clock.now(), 21.5) == hub_at_noon.writes.latest(device, device.points[0].datastream)
    assert "the group's timestamp 'soon' is not a number of milliseconds" in hub_at_noon.rejections.recent[-1].reason


@pytest.mark.parametrize("name", ["from", "to"])
async def test_timestamp_in_seconds_in_a_query_is_rejected_with_a_hint(hub, name):
    device, _ = await add_device(hub, SPELLING_TEMPLATE)
    query = {"from": "from=1782903661", "to": "from=0&to=1782903661"}[name]
    async with connected(hub) as http:
        response = await http.get(f"/api/v1/device/history?deviceId={device.id}&pin=v0&{query}", local_key(hub))
    assert (400, True) == (response.status, f"{name}: The timestamp 1782903661 is in seconds" in response.message)


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
def test_local_time_is_interpreted_in_the_given_time_zone(text, expected):
    assert expected == spellings.local_time(text, timezones.zone("Europe/Berlin"))


def test_ambiguous_local_time_is_the_second_one_if_the_first_is_before_the_previous_row():
    berlin, half_past_two = timezones.zone("Europe/Berlin"), "2026-10-25 02:30:00"
    first = spellings.local_time(half_past_two, berlin)
    assert "2026-10-25T00:30:00+00:00" == timezones.iso("UTC", first)
    assert first == spellings.local_time(half_past_two, berlin, first)
    assert first == spellings.local_time(half_past_two, berlin, first - 60_000)
    assert first + 3_600_000 == spellings.local_time(half_past_two, berlin, first + 60_000)
    assert first == spellings.local_time(half_past_two, berlin, first + 2 * 3_600_000), "the file is not in order"


async def test_times_of_a_query_without_an_offset_are_in_utc(hub_at_noon):
    device, token = await add_device(hub_at_noon, SPELLING_TEMPLATE)
    await hub_at_noon.metadata.set(device, "Time Zone", "Asia/Kolkata", SYSTEM)
    await write_at_timestamp(hub_at_noon, device, token, "1782903661123")
    async with connected(hub_at_noon) as http:
        target = f"/api/v1/device/history?deviceId={device.id}&pin=v0&from=2026-07-01T11:01:01&to=2026-07-01T11:01:02"
        lines = (await http.get(target, local_key(hub_at_noon))).text.splitlines()
    assert [1_782_903_661_123] == [json.loads(line)["ts"] for line in lines]
