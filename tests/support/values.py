"""Values of a device, written and read without a transport."""

from __future__ import annotations

from hub.model import SYSTEM
from hub.writes import Write


def write_value(hub, device, pin, raw, ts=None):
    """Write a value to a datastream as the system; returns the receipt."""
    return hub.write(Write(device, pin, raw, "test", SYSTEM, ts))


def current_value(hub, device, pin):
    """The value that readers get: the newest one, or the datastream's default."""
    return hub.writes.current(device, device.points[pin].datastream)


def latest_value(hub, device, pin):
    """(timestamp, value) of the newest value; None if there is none."""
    return hub.writes.latest(device, device.points[pin].datastream)
