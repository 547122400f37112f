"""The template of the devices in tests of MQTT, and what their clients have in common."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
import trio.testing
from support.patience import brief
from support.raw_mqtt import V5
from websockets.trio.client import connect

from connectors.mqtt.packets import Property
from hub.testing import address_of

TEMPLATE = """
[template]
id = "TMPL0mqtt"
name = "MQTT"
[[datastream]]
pin = "V0"
name = "Temperature"
sync = true
[[datastream]]
pin = "V1"
name = "Set Point"
type = "integer"
default = 20
min = 0
max = 100
sync = true
[[datastream]]
pin = "V2"
name = "Label"
type = "string"
[[datastream]]
pin = "V3"
name = "Place"
type = "location"
[[event]]
code = "hot"
name = "Hot"
type = "warning"
description = "It is hot"
period = "1h"
[[event]]
code = "cold"
name = "Cold"
description = "It is cold"
[[metadata]]
name = "Room"
default = "Attic"
[[metadata]]
name = "Model"
type = "list"
options = ["A", "B"]
"""
OTHER_TEMPLATE = TEMPLATE.replace("TMPL0mqtt", "TMPL0other").replace('"MQTT"', '"Other"')


def persistent(version, client_id="me"):
    """Return the fields of a CONNECT with a persistent session, which in version 5 expires after 600 s."""
    properties = {"properties": {Property.SESSION_EXPIRY: 600}} if version == V5 else {}
    return {"clean": False, "client_id": client_id, **properties}


async def advance_while_idle(clock):
    """Advance a `trio.testing.MockClock` whenever all tasks are blocked; until cancelled."""
    while True:
        await trio.testing.wait_all_tasks_blocked(0.02)
        clock.jump(0.25)


async def assert_silent(client):
    """Assert that the hub sends nothing to a client for a short time."""
    with trio.move_on_after(brief(0.1)) as silence:
        await client.next()
    assert silence.cancelled_caught


@asynccontextmanager
async def open_websocket(hub):
    """A WebSocket on which no packet has been sent."""
    host, port = address_of(hub)
    async with connect(f"ws://{host}:{port}/mqtt", subprotocols=["mqtt"]) as socket:
        yield socket
