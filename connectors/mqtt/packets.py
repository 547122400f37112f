"""Packets of MQTT 3.1, 3.1.1 and 5.0 as objects, with their reason codes and properties.

In this package "3 §…" is a section of OASIS MQTT Version 3.1.1, "5 §…" and "MQTT-…" of MQTT Version 5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import attrs

#: Protocol levels in CONNECT of the versions 3.1, 3.1.1 and 5.0.
V31, V311, V5 = 3, 4, 5


class Kind(IntEnum):
    """Types of packets (5 §2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class Reason(IntEnum):
    """Reason codes of version 5 (5 §2.4), as far as the hub uses them."""

    SUCCESS = 0x00
    DISCONNECT_WITH_WILL = 0x04
    NO_SUBSCRIPTION_EXISTED = 0x11
    UNSPECIFIED = 0x80
    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_VERSION = 0x84
    BAD_CLIENT_ID = 0x85
    BAD_LOGIN = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    BAD_FILTER = 0x8F
    BAD_TOPIC = 0x90
    UNKNOWN_PACKET_ID = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    BAD_TOPIC_ALIAS = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE = 0x98
    BAD_PAYLOAD = 0x99
    SHARED_NOT_SUPPORTED = 0x9E


class Property(IntEnum):
    """Properties of version 5 (5 §2.2.2.2)."""

    PAYLOAD_FORMAT = 1
    MESSAGE_EXPIRY = 2
    CONTENT_TYPE = 3
    RESPONSE_TOPIC = 8
    CORRELATION_DATA = 9
    SUBSCRIPTION_ID = 11
    SESSION_EXPIRY = 17
    ASSIGNED_CLIENT_ID = 18
    SERVER_KEEP_ALIVE = 19
    AUTHENTICATION_METHOD = 21
    AUTHENTICATION_DATA = 22
    REQUEST_PROBLEM_INFO = 23
    WILL_DELAY = 24
    REQUEST_RESPONSE_INFO = 25
    RESPONSE_INFO = 26
    SERVER_REFERENCE = 28
    REASON_STRING = 31
    RECEIVE_MAXIMUM = 33
    TOPIC_ALIAS_MAXIMUM = 34
    TOPIC_ALIAS = 35
    MAXIMUM_QOS = 36
    RETAIN_AVAILABLE = 37
    USER_PROPERTY = 38
    MAXIMUM_PACKET_SIZE = 39
    WILDCARD_AVAILABLE = 40
    SUBSCRIPTION_ID_AVAILABLE = 41
    SHARED_AVAILABLE = 42


#: Values by `Property`: a list of pairs for ``USER_PROPERTY``, and a list of numbers for ``SUBSCRIPTION_ID``.
Properties = Mapping[int, Any]
NO_PROPERTIES: Properties = {}


class LocalProtocolError(Exception):
    """Raised when a packet to send cannot be encoded."""


class RemoteProtocolError(Exception):
    """Raised when the other side violates the protocol: end the connection with ``reason``."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@attrs.frozen
class Will:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = NO_PROPERTIES


@attrs.frozen(kw_only=True)
class Connect:
    """CONNECT. ``keep_alive`` is in seconds; ``bridge`` is the bit that Mosquitto's bridges set in the level."""

    client_id: str = ""
    version: int = V311
    clean: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = attrs.field(default=None, repr=False)
    will: Will | None = None
    properties: Properties = NO_PROPERTIES
    bridge: bool = False


class UnacceptableConnect(RemoteProtocolError):
    """Raised when a valid CONNECT asks for something that the server does not support."""

    def __init__(self, reason: Reason, text: str, connect: Connect) -> None:
        super().__init__(reason, text)
        self.connect = connect


@attrs.frozen
class Connack:
    """CONNACK. Below version 5 ``reason`` is a return code (3 §3.2.2.3)."""

    present: bool
    reason: int
    properties: Properties = NO_PROPERTIES


@attrs.define
class Publish:
    """PUBLISH. ``packet_id`` is 0 with QoS 0."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    packet_id: int = 0
    retain: bool = False
    dup: bool = False
    properties: Properties = NO_PROPERTIES


@attrs.frozen
class Ack:
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""

    kind: int
    packet_id: int
    reason: int = 0
    properties: Properties = NO_PROPERTIES


@attrs.frozen
class Subscription:
    """A topic filter and its options (5 §3.8.3.1)."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@attrs.frozen
class Subscribe:
    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = NO_PROPERTIES


@attrs.frozen
class Unsubscribe:
    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = NO_PROPERTIES


@attrs.frozen
class Suback:
    """SUBACK or UNSUBACK. An UNSUBACK has no ``reasons`` below version 5."""

    kind: int
    packet_id: int
    reasons: tuple[int, ...] = ()
    properties: Properties = NO_PROPERTIES


@attrs.frozen
class Ping:
    """PINGREQ or PINGRESP."""

    kind: int


@attrs.frozen
class Disconnect:
    reason: int = 0
    properties: Properties = NO_PROPERTIES


@attrs.frozen
class Auth:
    reason: int = 0
    properties: Properties = NO_PROPERTIES


Packet = Connect | Connack | Publish | Ack | Subscribe | Unsubscribe | Suback | Ping | Disconnect | Auth
