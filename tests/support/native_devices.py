"""The template of the devices in tests of the native protocol, and what several of these tests need."""

from __future__ import annotations

from connectors.native.protocol import Cmd
from hub.testing import add_device

TEMPLATE = """
[template]
id = "TMPL0native"
name = "Native"
[[datastream]]
pin = "V0"
name = "Count"
type = "integer"
sync = true
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
sync = true
[[datastream]]
pin = "V2"
name = "Level"
type = "double"
default = 2.5
[[datastream]]
pin = "V3"
name = "Never written"
type = "string"
sync = true
[[datastream]]
pin = "V4"
name = "Setpoint"
type = "integer"
default = 20
sync = true
[[event]]
code = "too_hot"
name = "Too hot"
type = "warning"
description = "It is too hot"
[[event]]
code = "door"
name = "Door"
[[metadata]]
name = "Room"
default = "Attic"
"""
HARDWARE, INTERNAL, RESPONSE = int(Cmd.HARDWARE), int(Cmd.INTERNAL), int(Cmd.RESPONSE)


async def add_native_device(hub, name="Device"):
    """Add a device of the template; returns it and its token."""
    return await add_device(hub, TEMPLATE, name)


async def logged_events(hub, device):
    """Return (code, description, whether it is unresolved) of a device's events, newest first."""
    events = [event for event in await hub.timeline.newest(device) if event.type not in ("online", "offline")]
    return [(event.code, event.description, event.resolved is None) for event in events]
