"""How names may be spelled: devices, datastreams, organizations, tags, and normalization."""

from __future__ import annotations

import json
import unicodedata
from urllib.parse import quote

import pytest
from support import raw_mqtt
from support.raw_http import connected, local_key
from support.spellings import (
    SPELLING_TEMPLATE,
    TABLE,
    rows,
)

from hub.model import SYSTEM
from hub.parsing import spellings
from hub.templates.document import BadTemplate
from hub.testing import add_device


@pytest.mark.parametrize("row", rows("name"))
def test_name_is_normalized_or_rejected_as_the_table_states(row):
    assert ("is" in row) is spellings.is_name(spellings.nfc(row["text"]), 40)
    if "is" in row:
        assert row["is"] == spellings.nfc(row["text"])
        assert spellings.is_printable(row["text"])


def test_long_text_is_not_normalized():
    """Normalizing 100,000 combining marks would take 22 seconds."""
    marks = "a" + "\u0315\u0300" * 100_000
    assert marks == spellings.nfc(marks)
    assert not spellings.is_name(marks, 60)


def _template_with_datastream(text):
    return SPELLING_TEMPLATE.replace('name = "Level"', f"name = {json.dumps(text, ensure_ascii=False)}")


async def test_name_of_a_device_is_accepted_or_rejected(hub):
    device, _ = await add_device(hub, SPELLING_TEMPLATE)
    table = {row["text"]: row.get("is") for row in TABLE["name"]}
    created, renamed = {}, {}
    async with connected(hub) as http:
        key = local_key(hub)
        for text in table:
            body = {"templateId": "TMPL0spell", "name": text}
            response = await http.ask("POST", "/api/v1/organization/device/create", body, key)
            created[text] = response.json["name"] if response.status < 300 else None
            target = f"/api/v1/organization/device?deviceId={device.id}"
            response = await http.ask("PUT", target, {"name": text}, key)
            renamed[text] = device.name if response.status < 300 else None
    assert table == created
    assert table == renamed


@pytest.mark.parametrize("row", rows("name"))
async def test_name_of_a_datastream_is_accepted_or_rejected(hub, row):
    if "problem" in row:
        with pytest.raises(BadTemplate, match="name must be 1-50 printable characters"):
            await hub.templates.save(_template_with_datastream(row["text"]), SYSTEM)
        return
    device, token = await add_device(hub, _template_with_datastream(row["text"]))
    other = unicodedata.normalize("NFD", row["text"])
    async with raw_mqtt.online(hub, token) as client:
        await client.publish(f"ds/{row['is']}", "1")
        assert 1.0 == hub.writes.current(device, device.points[0].datastream)
        await client.publish(f"ds/{other}", "2")
        assert 2.0 == hub.writes.current(device, device.points[0].datastream)
        await client.publish("batch_ds", json.dumps({other: 3}))
        assert 3.0 == hub.writes.current(device, device.points[0].datastream)
        assert [] == await client.received()
        await client.publish("get/ds", other)
        assert (f"downlink/ds/{row['is']}", "3.0") == await client.message()
    async with connected(hub) as http:
        target = f"/api/v1/device/history?deviceId={device.id}&pin={quote(other)}"
        assert 3 == len((await http.get(target, local_key(hub))).text.splitlines())


@pytest.mark.parametrize("name", ["a/b", "a+b", "a#b", "a,b", "/", "x" * 51])
async def test_name_of_a_datastream_must_be_one_topic_level(hub, name):
    with pytest.raises(BadTemplate, match="none of / [+] # ,"):
        await hub.templates.save(_template_with_datastream(name), SYSTEM)


async def test_search_for_a_device_normalizes_the_name(hub):
    device, _ = await add_device(hub, SPELLING_TEMPLATE, "Re\u0301veil")
    assert "R\u00e9veil" == device.name
    async with connected(hub) as http:
        for query in ("Re\u0301v", "R\u00e9v"):
            matches = await http.get(f"/api/v1/organization/search/devices?query={quote(query)}", local_key(hub))
            assert [device.id] == [device["id"] for device in matches.json["content"]]


def test_commands_normalize_names(cli):
    add = ("device", "add", "--template", "TMPL0spell", "--name")
    device_id = cli(*add, "Re\u0301veil").json["id"]
    for name in ("Re\u0301veil", "R\u00e9veil"):
        assert device_id == cli("device", "show", name, "--json").json["id"]
    assert 0 == cli("org", "add", "Cafe\u0301 à gogo").code
    assert "Caf\u00e9 à gogo" in cli("org", "show", "Cafe\u0301 à gogo").out


@pytest.mark.parametrize("name", ["हिन्दी", "می\u200cخواهم", "L'été & l'hiver", "Salon\u00a0rouge"])
async def test_name_of_an_organization_may_be_in_any_script(hub, name):
    async with connected(hub) as http:
        body = {"name": name, "parentId": 1}
        response = await http.ask("POST", "/api/v1/organization/create", body, local_key(hub))
    assert (201, name) == (response.status, response.json.get("name"))


@pytest.mark.parametrize("name", ["a/b", "a\u202eb", "<b>", "👨\u200d👩", "\u200d"])
async def test_name_of_an_organization_with_other_characters_is_rejected(hub, name):
    async with connected(hub) as http:
        body = {"name": name, "parentId": 1}
        response = await http.ask("POST", "/api/v1/organization/create", body, local_key(hub))
    assert (400, True) == (response.status, "1 to 80 letters, digits" in response.message)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("tag", {}), ("location", {"about": {}}), ("segment", {"devices": []})],
)
async def test_name_that_differs_only_in_normalization_is_a_conflict(hub, kind, fields):
    async with connected(hub) as http:
        first, second = [
            await http.ask("POST", f"/api/v1/organization/{kind}/create", {"name": name, **fields}, local_key(hub))
            for name in ("Caf\u00e9", "Cafe\u0301")
        ]
    assert first.status < 300, first.text
    assert (409, True) == (second.status, f"there is a {kind} named 'Caf\u00e9' already" in second.message)


def test_unprintable_characters_are_escaped():
    assert r"👨‍👩 Café\x00\u202e\n" == spellings.escape("👨\u200d👩 Café\0\u202e\n")
