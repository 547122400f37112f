"""How time zones may be spelled: in the parser, in reports, queries, imports, organizations and the configuration."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from support import raw_mqtt, raw_native
from support.raw_http import connected, local_key
from support.spellings import (
    SPELLING_TEMPLATE,
    TABLE,
    rows,
)

from connectors.native.protocol import Cmd
from hub.config import parse
from hub.errors import ConfigError
from hub.model import SYSTEM
from hub.parsing import timezones
from hub.testing import add_device

#: 2026-01-15T12:00:00Z in milliseconds.
JANUARY = 1_768_478_400_000


@pytest.mark.parametrize("row", rows("zone"))
def test_time_zone_is_parsed_as_the_table_states(row):
    assert ("is" in row) is timezones.is_known(row["text"])
    if "is" in row:
        assert (row["is"], row["east"]) == (timezones.iana(row["text"]), timezones.offset(row["text"], JANUARY))


@pytest.mark.parametrize(
    ("name", "rule"), [("+05:30", "<+0530>-5:30"), ("-03:30", "<-0330>3:30"), ("GMT+2", "<+02>-2"), ("AET", "AEST-10")]
)
def test_time_zone_that_is_an_offset_has_a_posix_rule(name, rule):
    assert timezones.posix_rule(name).startswith(rule)


async def test_time_zone_of_a_report_or_query_is_accepted_or_rejected(hub):
    device, token = await add_device(hub, SPELLING_TEMPLATE)
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


async def test_time_zone_of_an_organization_is_accepted_or_rejected(hub):
    expected = {row["text"]: "is" in row for row in TABLE["zone"]}
    results = {}
    async with connected(hub) as http:
        for number, text in enumerate(expected):
            body = {"name": f"Org {number}", "parentId": 1, "tz": text}
            results[text] = (await http.ask("POST", "/api/v1/organization/create", body, local_key(hub))).status < 300
    assert expected == results


@pytest.mark.parametrize("row", rows("zone"))
def test_time_zone_of_the_hub_is_accepted_or_rejected(row):
    text = f"[hub]\ntimezone = {json.dumps(row['text'])}\n"
    if "is" in row:
        assert row["text"] == parse(text).hub.timezone
    else:
        with pytest.raises(ConfigError, match="there is no time zone"):
            parse(text)


@pytest.mark.parametrize("row", [row for row in rows("zone") if "is" in row.values[0]])
async def test_device_gets_the_iana_name_of_its_time_zone(hub, row):
    device, token = await add_device(hub, SPELLING_TEMPLATE)
    await hub.metadata.set(device, "Time Zone", row["text"], SYSTEM)
    async with raw_native.online(hub, token) as client:
        message_id = await client.send(Cmd.INTERNAL, "utc", "tz_name")
        assert (Cmd.INTERNAL, message_id, "utc", "tz_name", row["is"]) == await client.next()
    async with raw_mqtt.online(hub, token) as client:
        await client.publish("get/utc/all/json")
        _, payload = await client.message()
    assert row["is"] == json.loads(payload)["tz_name"]


def test_unknown_time_zone_of_an_import_is_rejected(cli, device_id):
    assert "there is no time zone 'Mars'" == cli("device", "import", device_id, "in.csv", "--tz", "Mars").error
