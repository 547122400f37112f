"""A meter with every kind of history, and queries of its values."""

from __future__ import annotations

from support.times import DAY, NOON

TEMPLATE = """
[template]
id = "TMPL0"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
[[datastream]]
pin = "V2"
name = "Minutes"
history = "minute"
[[datastream]]
pin = "V3"
name = "Nothing"
history = "off"
[[datastream]]
pin = "V4"
name = "Short"
retain_raw = "2d"
[[datastream]]
pin = "V5"
name = "Place"
type = "location"
"""


async def points(hub, device, pin, start=0, end=2**42):
    """The points of a datastream in a range of time."""
    return [p async for piece in hub.history.points(device.points[pin].series, start, end) for p in piece]


async def buckets(hub, device, pin, granularity, zone="UTC", start=NOON - 400 * DAY, end=NOON + 400 * DAY):
    """The buckets of a datastream in a range of time."""
    found = hub.history.buckets(device.points[pin].series, start, end, granularity, zone)
    return [bucket async for piece in found for bucket in piece]
