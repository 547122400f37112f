"""What clients of the live stream ask for: their messages, checked."""

from __future__ import annotations

import json
from typing import Any

import attrs

from hub import Rejected
from hub.api import VIEW_DEVICES
from hub.parsing.spellings import as_integer

#: Device ids in the ``devices`` of one subscription, and how many of them a snapshot can have.
MAX_DEVICE_IDS, MAX_SNAPSHOT_DEVICES = 10_000, 200
#: Milliseconds of ``every_ms``.
SHORTEST_INTERVAL, LONGEST_INTERVAL = 50, 10_000
#: Pins by the names that clients use.
_PINS = {f"{letter}{pin}": pin for letter in "vV" for pin in range(256)}

#: The topics of subscriptions, and the permission that each needs.
TOPICS = {
    "device": VIEW_DEVICES,
    "devices": VIEW_DEVICES,
    "events": VIEW_DEVICES,
    "wire": VIEW_DEVICES,
    "audit": "users.log",
    "alarms": "hub.view",
    "refused": "hub.view",
}


@attrs.frozen(kw_only=True)
class SubscriptionRequest:
    """A client's wish to subscribe, under an ``id`` of its choice.

    ``devices`` and ``pins`` are what it selects; None is all. ``every`` asks for every value, ``every_ms`` (0: not) for
    messages that gather what has changed within so many milliseconds, ``after`` for the messages after that number.
    """

    id: int | str
    topic: str
    device: int | None = None
    devices: tuple[int, ...] | None = None
    pins: frozenset[int] | None = None
    snapshot: bool = True
    every: bool = False
    every_ms: int = 0
    after: int | None = None

    @property
    def permission(self) -> str:
        return TOPICS[self.topic]


def decode(text: str | bytes) -> dict[str, Any]:
    """Return a client's message. Raises `Rejected` when it is not an object of JSON."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejected("The message is not JSON.") from error
    if not isinstance(message, dict) or not isinstance(message.get("id"), (int, str)):
        raise Rejected("The message must be an object with an id, which is text or a whole number.")
    return message


def subscription_request(message: dict[str, Any]) -> SubscriptionRequest:
    """Return what a message asks for. Raises `Rejected`."""
    topic, after = message.get("subscribe"), message.get("after")
    if not isinstance(topic, str) or topic not in TOPICS:
        raise Rejected(f"subscribe must be one of {', '.join(TOPICS)}")
    if after is not None and (after := as_integer(after)) is None:
        raise Rejected("after must be a whole number, the seq of a message")
    device = as_integer(message.get("device"))
    if topic in ("device", "wire") and device is None:
        raise Rejected("device must be a device's id")
    has_values, every = topic in ("device", "devices"), message.get("every") is True
    devices = _devices(message.get("devices")) if topic in ("devices", "events") else None
    snapshot = message.get("snapshot") is not False
    if topic == "devices" and snapshot and devices is not None and len(devices) > MAX_SNAPSHOT_DEVICES:
        raise Rejected(
            f"The values of at most {MAX_SNAPSHOT_DEVICES} devices can be sent at once, and devices has {len(devices)}."
            ' Subscribe to fewer devices at a time, or add "snapshot": false to get only changes.'
        )
    return SubscriptionRequest(
        id=message["id"],
        topic=topic,
        device=device if topic in ("device", "wire") else None,
        devices=devices,
        pins=_pins(message.get("pins")) if has_values else None,
        snapshot=snapshot,
        every=every and has_values,
        every_ms=_interval(message.get("every_ms"), topic, every=every),
        after=after,
    )


def _devices(ids: Any) -> tuple[int, ...] | None:
    if ids is None:
        return None
    numbers = list(map(as_integer, ids)) if isinstance(ids, list) and len(ids) <= MAX_DEVICE_IDS else [None]
    if None in numbers:
        raise Rejected(f"devices must be a list of at most {MAX_DEVICE_IDS} ids")
    return tuple(dict.fromkeys(number for number in numbers if number is not None))


def _pins(names: Any) -> frozenset[int] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not 1 <= len(names) <= len(_PINS):
        raise Rejected('pins must be a list of pins, such as ["V0", "V1"].')
    for name in names:
        if not isinstance(name, str) or name not in _PINS:
            raise Rejected(f'pins must be a list of pins, such as ["V0", "V1"]: {_shown(name)} is none.')
    return frozenset(_PINS[name] for name in names)


def _interval(raw: Any, topic: str, *, every: bool) -> int:
    if raw is None:
        return 0
    interval = as_integer(raw)
    if interval is None or not SHORTEST_INTERVAL <= interval <= LONGEST_INTERVAL:
        limits = f"{SHORTEST_INTERVAL} to {LONGEST_INTERVAL}"
        raise Rejected(f"every_ms must be a whole number of milliseconds from {limits}, not {_shown(raw)}.")
    if topic not in ("device", "devices", "events"):
        raise Rejected(f"every_ms gathers the changes of device, devices and events; {topic} is sent at once.")
    if every:
        raise Rejected(
            "every asks for all values and every_ms for the last one in each interval; leave out one of them."
        )
    return interval


def _shown(raw: Any) -> str:
    return json.dumps(raw)[:40]
