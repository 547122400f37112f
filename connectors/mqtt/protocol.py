"""Encoding and decoding of MQTT's packets, without I/O and for both roles.

Each packet is validated by itself here. Rules that depend on earlier packets are in `connectors.mqtt.session`, with two
exceptions: `Decoder` knows the version once it has decoded a CONNECT, and rejects a second one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from connectors.mqtt.packets import (
    NO_PROPERTIES,
    V5,
    V31,
    V311,
    Ack,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Kind,
    LocalProtocolError,
    Packet,
    Ping,
    Properties,
    Property,
    Publish,
    Reason,
    RemoteProtocolError,
    Suback,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)

#: The largest remaining length: four bytes of seven bits each (5 §2.1.4).
MAX_LENGTH = 268_435_455

#: Characters that a string should not contain and for which a receiver may close the connection (5 §1.5.4), as
#: Mosquitto does: control characters, NUL among them, and Unicode's noncharacters.
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
#: Packets that only servers send.
_SERVER_ONLY = frozenset({Kind.CONNACK, Kind.SUBACK, Kind.UNSUBACK, Kind.PINGRESP})

# -- decoding ---------------------------------------------------------------------------------------------------------


class Decoder:
    """A decoder for one connection. ``version`` is 0 until a CONNECT has been decoded.

    ``max_packet`` is the size in bytes of the longest packet, with its header. The decoder of a ``server`` rejects
    packets that only servers send.
    """

    __slots__ = ("_buffer", "_needed", "_unexpected", "max_packet", "version")

    def __init__(self, max_packet: int = MAX_LENGTH, version: int = 0, *, server: bool = False) -> None:
        self._unexpected = _SERVER_ONLY if server else frozenset()
        #: The beginning of a packet that is incomplete, and the bytes that it must have before decoding is tried again.
        self._buffer = bytearray()
        self._needed = 0
        self.max_packet = max_packet
        self.version = version

    def receive(self, data: bytes) -> Iterator[Packet]:
        """Yield every complete packet; consume all of them before the next call.

        Raises `RemoteProtocolError` in place of a packet that is invalid or longer than ``max_packet``, which is known
        from its header.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._needed:
                return
            data = bytes(buffer)
            buffer.clear()
        offset, end = 0, len(data)
        while offset < end:
            first, start = data[offset], offset + 2
            if first < 16 or first >> 4 in self._unexpected:
                # Raised without waiting for the rest of the packet: nothing after it is decoded.
                raise _unexpected(first >> 4)
            length = data[offset + 1] if start <= end else 128
            if length > 127:
                length, start = _decode_length(data, offset + 1, end)
                if not start:
                    self._needed = end - offset + 1
                    break
            size = start - offset + length
            if size > self.max_packet:
                raise RemoteProtocolError(
                    Reason.PACKET_TOO_LARGE, f"a packet of {size} bytes is over the limit of {self.max_packet}"
                )
            if offset + size > end:
                self._needed = size
                break
            offset = start + length
            yield self._decode(first, data[start:offset])
        buffer += data[offset:]

    def _decode(self, first: int, body: bytes) -> Packet:
        try:
            packet = _DECODERS[first >> 4](first, body, self.version)
        except IndexError:
            self._guess_version(body)
            raise _malformed(f"a {Kind(first >> 4).name} ends too early") from None
        except RemoteProtocolError:
            self._guess_version(body)
            raise
        if type(packet) is Connect:
            self.version = packet.version
        return packet

    def _guess_version(self, connect: bytes) -> None:
        """Set the version in which the error of an invalid CONNECT can be sent."""
        if not self.version and connect.startswith(b"\0\4MQTT") and len(connect) > 6:
            self.version = V5 if connect[6] & 0x7F >= V5 else V311


def _decode_length(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Decode a variable byte integer (5 §1.5.5); return it and its end, or 0 and 0 if bytes are missing."""
    length = shift = 0
    for n in range(4):
        if at + n >= end:
            return 0, 0
        byte = data[at + n]
        length |= (byte & 127) << shift
        if byte < 128:
            return length, at + n + 1
        shift += 7
    raise _malformed("the remaining length has more than four bytes")


class _Reader:
    """A cursor in the body of a packet. Its methods raise IndexError if the body is too short."""

    __slots__ = ("at", "body")

    def __init__(self, body: bytes, at: int = 0) -> None:
        self.body = body
        self.at = at

    def byte(self) -> int:
        self.at += 1
        return self.body[self.at - 1]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def take(self, size: int) -> bytes:
        start = self.at
        self.at = start + size
        if self.at > len(self.body):
            raise IndexError
        return self.body[start : self.at]

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return decode_string(self.binary())

    def varint(self) -> int:
        value, at = _decode_length(self.body, self.at, len(self.body))
        if not at:
            raise IndexError
        self.at = at
        return value

    def packet_id(self) -> int:
        number = self.number(2)
        if not number:
            raise _malformed("the packet identifier is 0")
        return number

    def properties(self, kind: int) -> Properties:
        """Decode the properties of a packet, given its kind, or `_WILL` for the properties of a will."""
        if (length := self.varint()) == 0:
            return NO_PROPERTIES
        end = self.at + length
        properties: dict[int, Any] = {}
        while self.at < end:
            number = self.varint()
            rule = _PROPERTY_RULES.get(number)
            if rule is None or kind not in rule.kinds:
                raise _malformed(
                    f"property {number} is not allowed in {'a will' if kind == _WILL else Kind(kind).name}"
                )
            value = rule.decode(self)
            if rule.allowed is not None and not rule.allowed(value):
                raise RemoteProtocolError(rule.reason, f"{Property(number).name} must not be {value!r:.60}")
            if rule.repeatable:
                properties.setdefault(number, []).append(value)
            elif number in properties:
                raise RemoteProtocolError(Reason.PROTOCOL_ERROR, f"{Property(number).name} occurs twice")
            else:
                properties[number] = value
        if self.at != end:
            raise _malformed("the length of the properties is wrong")
        return properties

    def finish(self) -> None:
        if self.at != len(self.body):
            raise _malformed("there are bytes after the end of the packet")


def _unexpected(kind: int) -> RemoteProtocolError:
    if not kind:
        return _malformed("packet type 0 does not exist")
    return RemoteProtocolError(Reason.PROTOCOL_ERROR, f"a client must not send a {Kind(kind).name}")


def _malformed(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(Reason.MALFORMED, text)


def decode_string(data: bytes) -> str:
    """Decode a UTF-8 string (5 §1.5.4). Raises `RemoteProtocolError`."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _malformed("a string is not UTF-8") from None
    if not text.isprintable() and (match := _FORBIDDEN.search(text)):
        raise _malformed(f"a string contains the character U+{ord(match[0]):04X}, which is not allowed")
    return text


def _check_flags(first: int, expected: int, version: int) -> None:
    """Check the flags of a fixed header. In version 3.1 unused flags may be set (3.1 §2.1)."""
    if first & 15 != expected and version != V31:
        raise _malformed(f"the flags of a {Kind(first >> 4).name} are {first & 15} instead of {expected}")


def _decode_connect(first: int, body: bytes, version: int) -> Connect:
    if version:
        raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "a client must not send a second CONNECT")
    reader = _Reader(body)
    name, level = reader.binary(), reader.byte()
    bridge, level = bool(level & 0x80), level & 0x7F
    _check_flags(first, 0, level)
    if (name, level) not in ((b"MQTT", V311), (b"MQTT", V5), (b"MQIsdp", V31)):
        if name not in (b"MQTT", b"MQIsdp"):
            raise _malformed(f"protocol {name[:20]!r} is not MQTT")
        raise RemoteProtocolError(Reason.UNSUPPORTED_VERSION, f"protocol level {level} is not supported")
    flags, keep_alive = reader.byte(), reader.number(2)
    will_qos = flags >> 3 & 3
    if flags & 1 and level > V31:
        raise _malformed("the reserved flag of CONNECT is set")
    if will_qos == 3 or (not flags & 4 and flags & 0x38):
        raise _malformed("the will's flags contradict each other")
    if level < V5 and flags & 0x40 and not flags & 0x80:
        raise _malformed("there is a password without a username")
    properties = reader.properties(Kind.CONNECT) if level == V5 else NO_PROPERTIES
    client_id = reader.text()
    will = None
    if flags & 4:
        will_properties = reader.properties(_WILL) if level == V5 else NO_PROPERTIES
        will = Will(reader.text(), reader.binary(), will_qos, bool(flags & 0x20), will_properties)
    username = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    reader.finish()
    return Connect(
        client_id=client_id,
        version=level,
        clean=bool(flags & 2),
        keep_alive=keep_alive,
        username=username,
        password=password,
        will=will,
        properties=properties,
        bridge=bridge,
    )


def _decode_connack(first: int, body: bytes, version: int) -> Connack:
    _check_flags(first, 0, version)
    reader = _Reader(body)
    flags, reason = reader.byte(), reader.byte()
    if flags > 1:
        raise _malformed("a CONNACK has unknown flags")
    properties = reader.properties(Kind.CONNACK) if version == V5 else NO_PROPERTIES
    reader.finish()
    return Connack(bool(flags), reason, properties)


def _decode_publish(first: int, body: bytes, version: int) -> Publish:
    qos = first >> 1 & 3
    if qos == 3 or (first & 8 and not qos):
        raise _malformed("a PUBLISH has QoS 3, or DUP with QoS 0")
    at = 2 + (body[0] << 8 | body[1])
    if at > len(body):
        raise IndexError
    topic = decode_string(body[2:at])
    packet_id = 0
    if qos:
        packet_id = body[at] << 8 | body[at + 1]
        if not packet_id:
            raise _malformed("the packet identifier is 0")
        at += 2
    properties = NO_PROPERTIES
    if version == V5:
        reader = _Reader(body, at)
        properties = reader.properties(Kind.PUBLISH)
        at = reader.at
    return Publish(topic, body[at:], qos, packet_id, bool(first & 1), bool(first & 8), properties)


#: Reason codes of PUBACK and PUBREC (5 §3.4.2.1, §3.5.2.1), and of PUBREL and PUBCOMP (5 §3.6.2.1, §3.7.2.1).
_PUBLISH_REASONS = frozenset({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})
_RELEASE_REASONS = frozenset({Reason.SUCCESS, Reason.UNKNOWN_PACKET_ID})
_ACK_REASONS: dict[int, frozenset[int]] = {
    Kind.PUBACK: _PUBLISH_REASONS,
    Kind.PUBREC: _PUBLISH_REASONS,
    Kind.PUBREL: _RELEASE_REASONS,
    Kind.PUBCOMP: _RELEASE_REASONS,
}


def _decode_ack(first: int, body: bytes, version: int) -> Ack:
    kind = first >> 4
    _check_flags(first, 2 if kind == Kind.PUBREL else 0, version)
    reader = _Reader(body)
    packet_id = reader.packet_id()
    reason, properties = 0, NO_PROPERTIES
    if version == V5 and len(body) > 2:
        reason = reader.byte()
        if reason not in _ACK_REASONS[kind]:
            raise RemoteProtocolError(
                Reason.PROTOCOL_ERROR, f"a {Kind(kind).name} has the unknown reason code {reason:#04x}"
            )
        if len(body) > 3:
            properties = reader.properties(kind)
    reader.finish()
    return Ack(kind, packet_id, reason, properties)


def _decode_subscribe(first: int, body: bytes, version: int) -> Subscribe:
    _check_flags(first, 2, version)
    reader = _Reader(body)
    packet_id = reader.packet_id()
    properties = reader.properties(Kind.SUBSCRIBE) if version == V5 else NO_PROPERTIES
    subscriptions = []
    while reader.at < len(body):
        topic_filter, options = reader.text(), reader.byte()
        qos, handling = options & 3, options >> 4 & 3
        if qos == 3 or options & (0xC0 if version == V5 else 0xFC) or handling == 3:
            raise _malformed("a SUBSCRIBE has unknown options")
        subscriptions.append(Subscription(topic_filter, qos, bool(options & 4), bool(options & 8), handling))
    if not subscriptions:
        raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "a SUBSCRIBE has no topic filters")
    return Subscribe(packet_id, tuple(subscriptions), properties)


def _decode_unsubscribe(first: int, body: bytes, version: int) -> Unsubscribe:
    _check_flags(first, 2, version)
    reader = _Reader(body)
    packet_id = reader.packet_id()
    properties = reader.properties(Kind.UNSUBSCRIBE) if version == V5 else NO_PROPERTIES
    filters = []
    while reader.at < len(body):
        filters.append(reader.text())
    if not filters:
        raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "an UNSUBSCRIBE has no topic filters")
    return Unsubscribe(packet_id, tuple(filters), properties)


def _decode_suback(first: int, body: bytes, version: int) -> Suback:
    _check_flags(first, 0, version)
    reader = _Reader(body)
    packet_id = reader.packet_id()
    properties = reader.properties(first >> 4) if version == V5 else NO_PROPERTIES
    if version < V5 and first >> 4 == Kind.UNSUBACK:
        reader.finish()
    return Suback(first >> 4, packet_id, tuple(body[reader.at :]), properties)


def _decode_ping(first: int, body: bytes, version: int) -> Ping:
    _check_flags(first, 0, version)
    if body:
        raise _malformed("there are bytes after the end of the packet")
    return Ping(first >> 4)


def _decode_disconnect(first: int, body: bytes, version: int) -> Disconnect:
    return Disconnect(*_decode_reason(first, body, version))


def _decode_auth(first: int, body: bytes, version: int) -> Auth:
    if version and version < V5:
        raise _malformed("there is no AUTH below version 5")
    return Auth(*_decode_reason(first, body, version))


def _decode_reason(first: int, body: bytes, version: int) -> tuple[int, Properties]:
    _check_flags(first, 0, version)
    reason, properties = 0, NO_PROPERTIES
    reader = _Reader(body)
    if version == V5 and body:
        reason = reader.byte()
        if len(body) > 1:
            properties = reader.properties(first >> 4)
    reader.finish()
    return reason, properties


_DECODERS: dict[int, Callable[[int, bytes, int], Packet]] = {
    Kind.CONNECT: _decode_connect,
    Kind.CONNACK: _decode_connack,
    Kind.PUBLISH: _decode_publish,
    Kind.PUBACK: _decode_ack,
    Kind.PUBREC: _decode_ack,
    Kind.PUBREL: _decode_ack,
    Kind.PUBCOMP: _decode_ack,
    Kind.SUBSCRIBE: _decode_subscribe,
    Kind.SUBACK: _decode_suback,
    Kind.UNSUBSCRIBE: _decode_unsubscribe,
    Kind.UNSUBACK: _decode_suback,
    Kind.PINGREQ: _decode_ping,
    Kind.PINGRESP: _decode_ping,
    Kind.DISCONNECT: _decode_disconnect,
    Kind.AUTH: _decode_auth,
}


# -- properties -------------------------------------------------------------------------------------------------------

#: Packet kind that stands for a will: no packet has type 0.
_WILL = 0


@attrs.frozen
class _PropertyRule:
    """Codec of a property, the kinds of packets that may have it, and its validation.

    ``reason`` is the error's reason code if ``allowed`` returns False.
    """

    decode: Callable[[_Reader], Any]
    encode: Callable[[Any], bytes]
    kinds: frozenset[int]
    allowed: Callable[[Any], bool] | None = None
    reason: Reason = Reason.PROTOCOL_ERROR
    repeatable: bool = False


def _decode_pair(reader: _Reader) -> tuple[str, str]:
    return reader.text(), reader.text()


def _property_rules() -> dict[int, _PropertyRule]:
    byte = (_Reader.byte, lambda value: bytes((value,)))
    two = (lambda reader: reader.number(2), lambda value: int(value).to_bytes(2))
    four = (lambda reader: reader.number(4), lambda value: int(value).to_bytes(4))
    varint = (_Reader.varint, encode_length)
    text = (_Reader.text, _encode_string)
    binary = (_Reader.binary, _encode_binary)
    pair = (_decode_pair, lambda value: _encode_string(value[0]) + _encode_string(value[1]))
    kind, of = Kind, frozenset
    reasons = of({2, 4, 5, 6, 7, 9, 11, 14, 15})
    everything = of({_WILL, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15})
    message = of({_WILL, kind.PUBLISH})
    connecting, login = of({kind.CONNECT, kind.CONNACK}), of({kind.CONNECT, kind.CONNACK, kind.AUTH})
    connect, connack = of({kind.CONNECT}), of({kind.CONNACK})
    flag, positive = (lambda value: value < 2), (lambda value: value > 0)
    p = Property
    return {
        p.PAYLOAD_FORMAT: _PropertyRule(*byte, message, flag),
        p.MESSAGE_EXPIRY: _PropertyRule(*four, message),
        p.CONTENT_TYPE: _PropertyRule(*text, message),
        p.RESPONSE_TOPIC: _PropertyRule(*text, message, lambda value: value and not set(value) & set("+#")),
        p.CORRELATION_DATA: _PropertyRule(*binary, message),
        p.SUBSCRIPTION_ID: _PropertyRule(*varint, of({kind.PUBLISH, kind.SUBSCRIBE}), positive, repeatable=True),
        p.SESSION_EXPIRY: _PropertyRule(*four, of({kind.CONNECT, kind.CONNACK, kind.DISCONNECT})),
        p.ASSIGNED_CLIENT_ID: _PropertyRule(*text, connack),
        p.SERVER_KEEP_ALIVE: _PropertyRule(*two, connack),
        p.AUTHENTICATION_METHOD: _PropertyRule(*text, login),
        p.AUTHENTICATION_DATA: _PropertyRule(*binary, login),
        p.REQUEST_PROBLEM_INFO: _PropertyRule(*byte, connect, flag),
        p.WILL_DELAY: _PropertyRule(*four, of({_WILL})),
        p.REQUEST_RESPONSE_INFO: _PropertyRule(*byte, connect, flag),
        p.RESPONSE_INFO: _PropertyRule(*text, connack),
        p.SERVER_REFERENCE: _PropertyRule(*text, of({kind.CONNACK, kind.DISCONNECT})),
        p.REASON_STRING: _PropertyRule(*text, reasons),
        p.RECEIVE_MAXIMUM: _PropertyRule(*two, connecting, positive),
        p.TOPIC_ALIAS_MAXIMUM: _PropertyRule(*two, connecting),
        p.TOPIC_ALIAS: _PropertyRule(*two, of({kind.PUBLISH}), positive, Reason.BAD_TOPIC_ALIAS),
        p.MAXIMUM_QOS: _PropertyRule(*byte, connack, flag),
        p.RETAIN_AVAILABLE: _PropertyRule(*byte, connack, flag),
        p.USER_PROPERTY: _PropertyRule(*pair, everything, repeatable=True),
        p.MAXIMUM_PACKET_SIZE: _PropertyRule(*four, connecting, positive),
        p.WILDCARD_AVAILABLE: _PropertyRule(*byte, connack, flag),
        p.SUBSCRIPTION_ID_AVAILABLE: _PropertyRule(*byte, connack, flag),
        p.SHARED_AVAILABLE: _PropertyRule(*byte, connack, flag),
    }


# -- encoding ---------------------------------------------------------------------------------------------------------


def encode(packet: Packet, version: int) -> bytes:
    """Encode a packet. Raises `LocalProtocolError`."""
    try:
        return _encode(packet, version)
    except (OverflowError, ValueError, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"{packet!r} cannot be encoded: {error}") from error


def _encode(packet: Packet, version: int) -> bytes:
    match packet:
        case Publish():
            return _encode_publish(packet, version)
        case Ack(kind, packet_id, reason, properties):
            body = packet_id.to_bytes(2)
            if version == V5 and (reason or properties):
                body += bytes((reason,)) + (_encode_properties(properties) if properties else b"")
            return _encode_packet(kind, body, 2 if kind == Kind.PUBREL else 0)
        case Ping(kind):
            return _encode_packet(kind, b"")
        case Connack(present, reason, properties):
            encoded = _encode_properties(properties) if version == V5 else b""
            return _encode_packet(Kind.CONNACK, bytes((present, reason)) + encoded)
        case Suback(kind, packet_id, reasons, properties):
            body = packet_id.to_bytes(2) + (_encode_properties(properties) if version == V5 else b"")
            return _encode_packet(kind, body + bytes(reasons if version == V5 or kind == Kind.SUBACK else ()))
        case Disconnect(reason, properties) | Auth(reason, properties):
            body = b""
            if version == V5 and (reason or properties):
                body = bytes((reason,)) + (_encode_properties(properties) if properties else b"")
            return _encode_packet(Kind.DISCONNECT if isinstance(packet, Disconnect) else Kind.AUTH, body)
        case Connect():
            return _encode_connect(packet)
        case Subscribe(packet_id, subscriptions, properties):
            body = packet_id.to_bytes(2) + (_encode_properties(properties) if version == V5 else b"")
            for sub in subscriptions:
                options = sub.no_local << 2 | sub.retain_as_published << 3 | sub.retain_handling << 4
                body += _encode_string(sub.filter) + bytes((sub.qos | (options if version == V5 else 0),))
            return _encode_packet(Kind.SUBSCRIBE, body, 2)
        case Unsubscribe(packet_id, filters, properties):
            body = packet_id.to_bytes(2) + (_encode_properties(properties) if version == V5 else b"")
            return _encode_packet(Kind.UNSUBSCRIBE, body + b"".join(map(_encode_string, filters)), 2)


def _encode_publish(packet: Publish, version: int) -> bytes:
    body = _encode_string(packet.topic)
    if packet.qos:
        body += packet.packet_id.to_bytes(2)
    if version == V5:
        body += _encode_properties(packet.properties)
    return _encode_packet(Kind.PUBLISH, body + packet.payload, packet.dup << 3 | packet.qos << 1 | packet.retain)


def _encode_connect(packet: Connect) -> bytes:
    will, is_v5 = packet.will, packet.version == V5
    flags = packet.clean << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    if will is not None:
        flags |= 4 | will.qos << 3 | will.retain << 5
    body = _encode_string("MQIsdp" if packet.version == V31 else "MQTT")
    body += bytes((packet.version | packet.bridge << 7, flags)) + packet.keep_alive.to_bytes(2)
    body += (_encode_properties(packet.properties) if is_v5 else b"") + _encode_string(packet.client_id)
    if will is not None:
        body += (
            (_encode_properties(will.properties) if is_v5 else b"")
            + _encode_string(will.topic)
            + _encode_binary(will.payload)
        )
    if packet.username is not None:
        body += _encode_string(packet.username)
    if packet.password is not None:
        body += _encode_binary(packet.password)
    return _encode_packet(Kind.CONNECT, body)


def _encode_packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    size = len(body)
    if size < 128:
        return bytes((kind << 4 | flags, size)) + body
    return bytes((kind << 4 | flags,)) + encode_length(size) + body


def encode_length(value: int) -> bytes:
    """Encode a variable byte integer (5 §1.5.5)."""
    if not 0 <= value <= MAX_LENGTH:
        raise ValueError(f"{value} is too long")
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _encode_binary(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def _encode_string(text: str) -> bytes:
    return _encode_binary(text.encode())


def _encode_properties(properties: Properties) -> bytes:
    if not properties:
        return b"\0"
    body = b""
    for number, value in properties.items():
        rule = _PROPERTY_RULES[number]
        for item in value if rule.repeatable else (value,):
            body += encode_length(number) + rule.encode(item)
    return encode_length(len(body)) + body


_PROPERTY_RULES = _property_rules()
