"""The INTERNAL command: the time in the hub's time zone, and metadata."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.facts import collect_facts
from support.native_devices import INTERNAL, add_native_device
from support.raw_native import OK, online
from support.times import NOON

from connectors.native.protocol import Cmd, Status
from hub.facts import WireFrame
from hub.model import SYSTEM

# -- time -------------------------------------------------------------------------------------------------------------


def unix_time(*date):
    return str(int(datetime(*date, tzinfo=UTC).timestamp()))


@pytest.mark.parametrize(
    ("parts", "response"),
    [
        (("rtc", "sync"), ("rtc", str(NOON // 1000 + 3 * 3600))),
        (("utc", "time"), ("utc", "time", str(NOON))),
        (("utc", "iso"), ("utc", "iso", "2026-07-01T15:00:00+03:00")),
        (("utc", "tz"), ("utc", "tz", "120", "60")),
        (("utc", "tz_name"), ("utc", "tz_name", "Europe/Kyiv")),
        (("utc", "tz_rule"), ("utc", "tz_rule", "EET-2EEST,M3.5.0/3,M10.5.0/4")),
        (("utc", "dst_next"), ("utc", "dst_next", unix_time(2026, 10, 25, 1), "120", unix_time(2027, 3, 28, 1), "180")),
    ],
)
async def test_time_is_returned_in_the_hubs_time_zone(hub_at_noon, parts, response):
    _, token = await add_native_device(hub_at_noon)
    async with online(hub_at_noon, token) as client:
        message_id = await client.send(Cmd.INTERNAL, *parts)

        assert [(INTERNAL, message_id, *response)] == await client.received()


@pytest.mark.parametrize("parts", [("utc",), ("utc", "nonsense"), ("utc", "")])
async def test_unknown_utc_request_has_no_response(hub_at_noon, parts):
    _, token = await add_native_device(hub_at_noon)
    async with online(hub_at_noon, token) as client:
        await client.send(Cmd.INTERNAL, *parts)

        assert [] == await client.received()


# -- metadata ---------------------------------------------------------------------------------------------------------


async def get_metadata(client, name):
    """Return the value of a metadata field; None if the response is a status only."""
    message_id = await client.send(Cmd.INTERNAL, "meta", "get", name)
    responses = [frame for frame in await client.received() if frame[0] == INTERNAL]
    assert responses in ([], [(INTERNAL, message_id, "meta", name, *responses[0][4:])] if responses else [])
    return responses[0][4] if responses else None


async def test_metadata_is_returned_and_its_changes_are_pushed(hub):
    device, token = await add_native_device(hub, "Kitchen lamp")
    async with online(hub, token) as client:
        assert ["Attic", "Kitchen lamp", token] == [
            await get_metadata(client, name) for name in ("Room", "Device Name", "Auth Token")
        ]
        await hub.metadata.set(device, "Room", "Cellar", SYSTEM)
        assert [("meta", "Room", "Cellar")] == [frame[2:] for frame in await client.received()]
        assert "Cellar" == await get_metadata(client, "Room")


async def test_metadata_is_set_and_not_echoed(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        for name, value in (("Room", "Hall"), ("Hotspot Name", "AP-1"), ("Device UID", "00:11")):
            assert OK == await client.status(Cmd.INTERNAL, "meta", "set", name, value)
            assert value == await get_metadata(client, name)
        assert OK == await client.status(Cmd.INTERNAL, "meta", "set", "Room", "")
        assert [] == await client.received()

    assert {"Room": "", "Hotspot Name": "AP-1", "Device UID": "00:11"} == await hub.metadata.values_for(device)


async def test_metadata_without_a_field_in_the_template_is_accepted_and_not_stored(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        # Edgent sets fields of its own on every boot.
        assert OK == await client.status(Cmd.INTERNAL, "meta", "set", "Nonsense", "x")
        assert Status.NO_DATA == await client.status(Cmd.INTERNAL, "meta", "get", "Nonsense")

    assert {"Room": "Attic"} == await hub.metadata.values_for(device)


async def test_auth_token_cannot_be_set_and_is_redacted_from_wire_frames(hub):
    device, token = await add_native_device(hub)
    frames = collect_facts(hub, WireFrame)
    async with online(hub, token) as client:
        assert token == await get_metadata(client, "Auth Token")
        await client.send(Cmd.INTERNAL, "meta", "set", "Auth Token", token)
        await client.send(Cmd.BRIDGE, "1", "i", token)
        await client.send(Cmd.HW_LOGIN, token)
        await client.received()

    assert frames
    assert [] == [fact.text for fact in frames if token in fact.text]
    assert {"Room": "Attic"} == await hub.metadata.values_for(device)
