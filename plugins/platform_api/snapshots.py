"""Snapshots of the live stream: the present state of a topic, with which every subscription begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from hub import ONLINE, Rejected
from hub.values import to_json
from plugins.platform_api.stream_changes import to_text

if TYPE_CHECKING:
    from hub import Device, Hub

#: Values in the snapshot of one subscription; and how many are read before other tasks get their turn.
MAX_VALUES, VALUES_AT_ONCE = 10_000, 500
#: Characters of a snapshot's devices: many WebSocket clients accept no more than 1 MiB.
MAX_TEXT = 960 * 1024

_SMALLER = (
    'Subscribe to fewer devices at a time, name the pins that you need with "pins", or add "snapshot": false to get'
    " only changes."
)


def device_state(hub: Hub, device: Device, pins: frozenset[int] | None) -> dict[str, Any]:
    """Return whether a device is online, and its values: current ones, else defaults.

    ``pending`` has the values that wait for the device's confirmation, ``expired`` the texts that replace values; both
    are left out if there are none.
    """
    values, pending, expired = {}, {}, {}
    for datastream in device.template.datastreams:
        if pins is not None and datastream.pin not in pins:
            continue
        name, value = f"v{datastream.pin}", hub.writes.current(device, datastream)
        if value is not None:
            values[name] = to_json(value)
        point = device.points.get(datastream.pin)
        if point is not None and point.watched:
            if point.datastream.confirm and hub.value_timeouts.is_pending(point):
                pending[name] = True
            if (text := hub.value_timeouts.expired_text(point)) is not None:
                expired[name] = text
    state: dict[str, Any] = {
        "device": device.id,
        "online": device.status == ONLINE,
        "status": hub.lifecycle.status_name(device),
        "values": values,
    }
    return state | ({"pending": pending} if pending else {}) | ({"expired": expired} if expired else {})


def check_size(devices: Sequence[Device], pins: frozenset[int] | None) -> None:
    """Raise `Rejected` if the devices have more values than a snapshot can have."""
    counts = (
        len(d.template.datastreams) if pins is None else sum(s.pin in pins for s in d.template.datastreams)
        for d in devices
    )
    if (count := sum(counts)) > MAX_VALUES:
        raise Rejected(f"At most {MAX_VALUES} values can be sent at once, and these devices have {count}. {_SMALLER}")


async def encode_states(
    hub: Hub, devices: Sequence[Device], pins: frozenset[int] | None, may_see: Callable[[Device], bool]
) -> str:
    """Return the states of those devices that may be seen, as an array of JSON; other tasks get their turn in between.

    Raises `Rejected` if it is too long.
    """
    states, size, values = [], 0, 0
    for device in devices:
        # Rights and devices may change while others have their turn.
        if hub.devices.by_id.get(device.id) is device and may_see(device):
            states.append(to_text(device_state(hub, device, pins)))
            size += len(states[-1])
        if size > MAX_TEXT:
            raise Rejected(f"The values of these devices are more than {MAX_TEXT // 1024} KiB of text. {_SMALLER}")
        values += max(10, len(device.template.datastreams))
        if values >= VALUES_AT_ONCE:
            values = 0
            await trio.lowlevel.checkpoint()
    return f"[{','.join(states)}]"
