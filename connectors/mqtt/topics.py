"""Blynk's topics: what each means (docs.blynk.io, Device MQTT API and MQTT Gateway API). Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

#: In front of everything that goes to a device, and of what a gateway says for one.
DOWNLINK, GATEWAY = "downlink/", "dev/"
#: Topics that a device hears without having subscribed (docs.blynk.io, Authentication).
UNASKED = frozenset({"downlink/ota/json", "downlink/redirect", "downlink/diag"})

#: Topics without a name in them, and what is asked for.
_WHOLE = {
    "batch_ds": "batch",
    "info/mcu": "info",
    "get/ds": "get datastreams",
    "get/ds/all": "get all datastreams",
    "get/meta": "get metadata",
    "get/utc/all/json": "get time",
    "get/loc/all": "get location",
}


@attrs.frozen
class Uplink:
    """What a device says: ``name`` is a datastream's, an event's code or a metadata field's."""

    kind: str
    name: str = ""
    property: str = ""


def uplink(topic: str) -> Uplink | None:
    """What a topic that a device publishes on is about; None when it is none of Blynk's."""
    if kind := _WHOLE.get(topic):
        return Uplink(kind)
    first, _, rest = topic.partition("/")
    if not rest:
        return None
    if first == "ds":
        return _datastream(rest.split("/"))
    # Names of metadata and codes of events are the whole rest.
    return Uplink({"event": "event", "meta": "metadata"}[first], rest) if first in ("event", "meta") else None


def _datastream(parts: Sequence[str]) -> Uplink | None:
    """``ds/NAME`` and what may follow; a name has no slash in it."""
    match parts:
        case [name]:
            return Uplink("value", name)
        case [name, "erase"]:
            return Uplink("erase value", name)
        case [name, "timestamped_batch"]:
            return Uplink("import", name)
        case [name, "prop", prop]:
            return Uplink("property", name, prop)
        case [name, "prop", prop, "erase"]:
            return Uplink("erase property", name, prop)
    return None


def is_for_devices(topic_filter: str) -> bool:
    """Whether a device may subscribe to it: what is below ``downlink/``, with any wildcards there."""
    return topic_filter.startswith(DOWNLINK) and len(topic_filter) > len(DOWNLINK)


def through_gateway(topic: str) -> tuple[str, str] | None:
    """The token and the rest of a topic, or topic filter, of a gateway: ``dev/{token}/…``; None when it is none.

    A wildcard is no token.
    """
    first, _, rest = topic.removeprefix(GATEWAY).partition("/")
    if not topic.startswith(GATEWAY) or not first or not rest or "+" in first or "#" in first:
        return None
    return first, rest


def is_for_gateways(rest: str) -> bool:
    """Whether a gateway may subscribe to that below a device's token: ``#`` stands for ``downlink/#``."""
    return rest == "#" or is_for_devices(rest)
