"""Blynk's topics (docs.blynk.io, Device MQTT API and MQTT Gateway API). Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

#: Prefix of every topic that the hub publishes on.
DOWNLINK_PREFIX = "downlink/"
#: Prefix of every topic of a gateway; the token of the device follows.
GATEWAY_PREFIX = "dev/"
#: Topics that are sent to a device without a subscription (docs.blynk.io, Authentication).
UNSUBSCRIBED_TOPICS = frozenset({"downlink/ota/json", "downlink/redirect", "downlink/diag"})

#: Kinds of uplink by topic, where the topic contains no name.
_FIXED_TOPICS = {
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
    """The meaning of a topic that a device publishes on.

    ``kind`` is a key of `connectors.mqtt.handlers.HANDLERS`; ``name`` is the name of a datastream, the code of an
    event or the name of a metadata field; ``property`` is a widget property.
    """

    kind: str
    name: str = ""
    property: str = ""


def parse_uplink(topic: str) -> Uplink | None:
    """Parse a topic that a device publishes on. None if Blynk has no such topic."""
    if kind := _FIXED_TOPICS.get(topic):
        return Uplink(kind)
    first, _, rest = topic.partition("/")
    if not rest:
        return None
    if first == "ds":
        return _parse_datastream(rest.split("/"))
    # A metadata field's name or an event's code may contain slashes: it is the whole rest.
    return Uplink({"event": "event", "meta": "metadata"}[first], rest) if first in ("event", "meta") else None


def _parse_datastream(levels: Sequence[str]) -> Uplink | None:
    """Parse the levels after ``ds/``; a datastream's name contains no slash."""
    match levels:
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


def device_may_subscribe(topic_filter: str) -> bool:
    """Whether a device may use the topic filter: it must be below ``downlink/``, with any wildcards there."""
    return topic_filter.startswith(DOWNLINK_PREFIX) and len(topic_filter) > len(DOWNLINK_PREFIX)


def split_gateway_topic(topic: str) -> tuple[str, str] | None:
    """Split a gateway's topic or topic filter, ``dev/{token}/…``, into the token and the rest.

    None if it has another form, or a wildcard in place of the token.
    """
    token, _, rest = topic.removeprefix(GATEWAY_PREFIX).partition("/")
    if not topic.startswith(GATEWAY_PREFIX) or not token or not rest or "+" in token or "#" in token:
        return None
    return token, rest


def gateway_may_subscribe(rest: str) -> bool:
    """Whether a gateway may use the topic filter that follows a token; ``#`` means ``downlink/#``."""
    return rest == "#" or device_may_subscribe(rest)
