"""A device with one datastream on V0 that is limited to 100."""

from __future__ import annotations

from hub.testing import add_device

METER = """
[template]
id = "TMPL0meter"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Power"
max = 100
"""


async def add_meter(hub):
    device, _ = await add_device(hub, METER, "Meter")
    return device
