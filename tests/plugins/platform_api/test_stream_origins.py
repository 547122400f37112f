"""The live stream tells who wrote a value, and whether the device has confirmed it."""

from __future__ import annotations

import pytest
from support.raw_http import ask, local_key

from connectors.native import client
from hub.errors import Unavailable
from hub.model import SYSTEM
from hub.testing import add_device, address_of
from hub.writes import Write

SWITCH = """
[template]
id = "TMPL0switch"
name = "Switch"
[[datastream]]
pin = "V3"
name = "Power"
type = "integer"
confirm = "30s"
[[datastream]]
pin = "V4"
name = "Level"
type = "integer"
expire = { after = "30s", show = "--" }
"""


@pytest.fixture
async def switch(hub):
    """A device whose V3 must be confirmed, and its token."""
    return await add_device(hub, SWITCH, "Switch")


def by_device(device):
    """Return the arguments of a write by the device itself."""
    return "native", device.as_principal()


@pytest.mark.parametrize("options", [{}, {"every": True}, {"every_ms": 50}])
async def test_values_of_the_device_and_of_the_api_are_told_apart(hub, switch, subscriber, options):
    device, token = switch
    await subscriber.subscribe(1, "device", device=device.id, **options)

    async def next_value():
        message = await subscriber.receive()
        [change] = message.get("changes", [message])
        return change["values"], change["by"]

    assert 200 == (await ask(hub, "GET", f"/external/api/update?token={token}&v4=1")).status
    assert ({"v4": 1}, "device") == await next_value()
    body = {"deviceId": device.id, "pin": "v4", "value": 2}
    assert 204 == (await ask(hub, "POST", "/api/v1/organization/device/datastream", body, key=local_key(hub))).status
    assert ({"v4": 2}, "api") == await next_value()


async def test_value_over_the_bridge_is_of_the_bridge(hub, switch, subscriber):
    device, _ = switch
    other, token = await add_device(hub, SWITCH, "Other")
    await subscriber.subscribe(1, "device", device=device.id)
    hub.write(Write(device, 4, 1, "bridge", other.as_principal()))
    assert "bridge" == (await subscriber.receive())["by"]


async def test_values_of_different_authors_are_sent_as_different_messages(hub, switch, subscriber):
    device, _ = switch
    await subscriber.subscribe(1, "devices")
    hub.write(Write(device, 3, 1, "api", SYSTEM))
    hub.write(Write(device, 4, 1, *by_device(device)))
    messages = [await subscriber.receive() for _ in range(2)]
    assert [({"v3": 1}, "api"), ({"v4": 1}, "device")] == [(m["values"], m["by"]) for m in messages]


@pytest.mark.parametrize("options", [{}, {"every": True}, {"every_ms": 50}])
async def test_value_is_pending_until_the_device_confirms_it(hub, switch, subscriber, options):
    device, _ = switch
    await subscriber.subscribe(1, "device", device=device.id, **options)

    async def next_change():
        message = await subscriber.receive()
        [change] = message.get("changes", [message])
        return change["values"], change["by"], change.get("pending")

    hub.write(Write(device, 3, 1, "api", SYSTEM))
    assert ({"v3": 1}, "api", {"v3": True}) == await next_change()
    assert {"v3": True} == (await subscriber.subscribe(2, "device", device=device.id))["pending"]
    await subscriber.send(id=2, unsubscribe=True)
    hub.write(Write(device, 4, 1, "api", SYSTEM))
    assert ({"v4": 1}, "api", None) == await next_change()
    hub.write(Write(device, 3, 1, *by_device(device)))
    assert ({"v3": 1}, "device", {"v3": False}) == await next_change()
    assert "pending" not in await subscriber.subscribe(2, "device", device=device.id)


async def test_value_that_the_device_does_not_confirm_is_taken_back_by_confirmation(hub, switch, subscriber):
    device, _ = switch
    hub.write(Write(device, 3, 5, *by_device(device)))
    hub.write(Write(device, 3, 6, "api", SYSTEM))
    snapshot = await subscriber.subscribe(1, "devices", devices=[device.id])
    assert ({"v3": 6}, {"v3": True}) == (snapshot["devices"][0]["values"], snapshot["devices"][0]["pending"])
    hub.value_timeouts._revert(device.points[3].series)
    message = await subscriber.receive()
    assert ({"v3": 5}, "confirmation", {"v3": False}) == (message["values"], message["by"], message["pending"])


@pytest.mark.parametrize("storage", ["no value before", "full"])
async def test_value_that_cannot_be_taken_back_is_not_pending_any_more(hub, switch, subscriber, storage, monkeypatch):
    device, _ = switch
    if storage == "full":
        hub.write(Write(device, 3, 5, *by_device(device)))
    hub.write(Write(device, 3, 6, "api", SYSTEM))
    await subscriber.subscribe(1, "device", device=device.id)

    def reject(*_args, **_options):
        raise Unavailable("full")

    if storage == "full":
        monkeypatch.setattr(hub.history, "put", reject)
    hub.value_timeouts._revert(device.points[3].series)
    assert {"id": 1, "device": device.id, "pending": {"v3": False}} == await subscriber.receive()
    assert 6 == hub.writes.current(device, device.points[3].datastream)


async def test_value_is_not_taken_back_once_the_template_asks_for_no_confirmation(hub, switch):
    """The device's own values are not counted from then on, and the timer still runs."""
    device, _ = switch
    hub.write(Write(device, 3, 5, *by_device(device)))
    hub.write(Write(device, 3, 6, "api", SYSTEM))
    await hub.templates.save(SWITCH.replace('confirm = "30s"\n', ""), SYSTEM)
    hub.write(Write(device, 3, 6, *by_device(device)))
    hub.value_timeouts._revert(device.points[3].series)
    assert 6 == hub.writes.current(device, device.points[3].datastream)


async def test_expired_value_is_expired_in_the_snapshot(hub, switch, subscriber):
    device, _ = switch
    hub.write(Write(device, 4, 1, *by_device(device)))
    hub.value_timeouts._expire(device.points[4].series)
    snapshot = await subscriber.subscribe(1, "device", device=device.id)
    assert ({"v4": 1}, {"v4": "--"}) == (snapshot["values"], snapshot["expired"])


async def test_erased_values_are_sent_as_cleared(hub, switch, subscriber):
    device, _ = switch
    hub.write(Write(device, 4, 1, *by_device(device)))
    await subscriber.subscribe(1, "device", device=device.id)
    await hub.devices.erase(device, [device.points[4].datastream], SYSTEM)
    assert {"v4": None} == (await subscriber.receive())["values"]


async def test_device_that_writes_over_the_native_protocol_is_the_author(hub, switch, subscriber):
    device, token = switch
    await subscriber.subscribe(1, "device", device=device.id)
    async with client.connect(*address_of(hub), token) as board:
        await board.write(4, "7")
        while "values" not in (message := await subscriber.receive()):
            pass
    assert ({"v4": 7}, "device") == (message["values"], message["by"])
