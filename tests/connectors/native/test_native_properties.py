"""The PROPERTY command."""

from __future__ import annotations

import pytest
from support.native_devices import add_native_device
from support.raw_native import OK, online

from connectors.native.protocol import Cmd, Status


async def properties_by_pin(hub, device):
    by_id = {stream.id: stream.pin for stream in device.template.datastreams}
    return {by_id[number]: values for number, values in (await hub.properties.values_for(device)).items()}


async def test_properties_are_stored_by_pin(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        assert OK == await client.status(Cmd.PROPERTY, "0", "color", "#D3435C")
        assert OK == await client.status(Cmd.PROPERTY, "0", "color", "#23C48E")
        assert OK == await client.status(Cmd.PROPERTY, "0", "1", "2", "isDisabled", "true")
        assert OK == await client.status(Cmd.PROPERTY, "1", "labels", "Off", "Low", "High")
        assert [] == await client.received()

    assert {
        0: {"color": ("#23C48E",), "isDisabled": ("true",)},
        1: {"isDisabled": ("true",), "labels": ("Off", "Low", "High")},
        2: {"isDisabled": ("true",)},
    } == await properties_by_pin(hub, device)


async def test_single_url_is_set_by_its_index(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        assert OK == await client.status(Cmd.PROPERTY, "1", "urls", "http://a", "http://b")
        assert OK == await client.status(Cmd.PROPERTY, "1", "url", "2", "http://c")

    assert {1: {"urls": ("http://a", "http://c")}} == await properties_by_pin(hub, device)


@pytest.mark.parametrize(
    "parts",
    [
        ("0", "nonsense", "1"),
        ("0", "color"),
        ("color", "red"),
        ("0",),
        ("",),
        ("0", "", "x"),
        ("200", "color", "red"),
        ("0", "200", "color", "red"),
    ],
)
async def test_invalid_property_is_answered_with_11_and_not_stored(hub, parts):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        assert Status.ILLEGAL_COMMAND_BODY == await client.status(Cmd.PROPERTY, *parts)
        assert [] == await client.received()

    assert {} == await properties_by_pin(hub, device)
