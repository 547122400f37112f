"""Properties, events and the state of a device over the Device HTTPS API."""

from __future__ import annotations

import pytest
import trio
from support.device_https_api import INCORRECT, NO_PIN, WRONG_PIN, api_error

from connectors.native import client
from hub.facts import StatusChanged
from hub.testing import address_of


async def test_property_is_updated(hub, device, api):
    assert (200, b"") == await api.status_and_body("update/property", "pin=v0&color=%23D3435C")
    assert (200, b"") == await api.status_and_body("update/property", "pin=V3&labels=Off&labels=Heat%20it")
    assert (200, b"") == await api.status_and_body("update/property", "label=Both&pin=v0&pin=v1")

    assert {
        11: {"color": ("#D3435C",), "label": ("Both",)},
        12: {"label": ("Both",)},
        14: {"labels": ("Off", "Heat it")},
    } == await hub.properties.values_for(device[0])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("color=red", WRONG_PIN),
        ("pin&color=red", WRONG_PIN),
        ("pin=x&color=red", WRONG_PIN),
        ("pin=v256&color=red", WRONG_PIN),
        ("pin=v0", INCORRECT),
        ("pin=v77&color=red", NO_PIN),
        ("pin=v0&color=red&nonsense=1", "There is no property 'nonsense'."),
    ],
)
async def test_invalid_property_is_rejected_and_not_stored(hub, device, api, query, message):
    assert api_error(message) == await api.status_and_body("update/property", query)
    assert {} == await hub.properties.values_for(device[0])


@pytest.mark.parametrize("operation", ["logEvent", "logevent"])
async def test_event_is_recorded(hub, device, api, operation):
    assert (200, b"") == await api.status_and_body(operation, "code=too_hot&description=It%20is%2090+%C2%B0C")

    [event] = await hub.timeline.newest(device[0])
    assert ("too_hot", "warning", "Too hot", "It is 90 °C") == (event.code, event.type, event.name, event.description)


async def test_event_without_a_description_has_the_description_of_the_template(hub, device, api):
    assert (200, b"") == await api.status_and_body("logEvent", "code=too_hot")

    assert ["It burns"] == [event.description for event in await hub.timeline.newest(device[0])]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "Event code is not provided."),
        ("code=", "Event code is not provided."),
        ("code", "Event code is not provided."),
        ("description=x", "Event code is not provided."),
        ("code=nonsense", "Can't find Event with this code in Product template"),
        ("code=Too_Hot", "Can't find Event with this code in Product template"),
    ],
)
async def test_invalid_event_is_rejected_and_not_recorded(hub, device, api, query, message):
    assert api_error(message) == await api.status_and_body("logEvent", query)
    assert [] == await hub.timeline.newest(device[0])


async def test_event_with_a_description_that_is_too_long_is_rejected(hub, device, api):
    assert 400 == (await api("logEvent", "code=too_hot&description=" + "x" * 301)).status
    assert [] == await hub.timeline.newest(device[0])


async def test_second_event_within_a_second_is_answered_with_429(api):
    await api("logEvent", "code=too_hot")
    response = await api("logEvent", "code=too_hot")

    assert (429, "1") == (response.status, response.headers["retry-after"])


async def test_is_hardware_connected_returns_whether_the_device_is_online(hub, device, api):
    assert (200, b"false") == await api.status_and_body("isHardwareConnected")
    offline = trio.Event()
    hub.subscribe(StatusChanged, lambda fact: offline.set() if fact.status == "offline" else None)
    async with client.connect(*address_of(hub), device[1]):
        assert (200, b"true") == await api.status_and_body("isHardwareConnected")
    await offline.wait()
    assert (200, b"false") == await api.status_and_body("isHardwareConnected")
