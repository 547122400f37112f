"""The server's side of MQTT without I/O: `ServerProtocol` is one connection, `Session` the state that outlives it.

Theory of operation. The caller feeds received bytes to `ServerProtocol.receive`, which yields events; it answers each
event with a method (`accept`, `acknowledge`, `answer_subscribe`, …), and sends what `data_to_send` returns. The caller
decides who may log in, which topics exist and when a message is stored (see `connectors.mqtt.connection`); this module
decides what a client may send when, and in what order messages go out.

A connection is in one of three states, which only `accept`, `fail` and a received DISCONNECT change:

    state              received packets                          left by
    AWAITING_CONNECT   CONNECT; any other is a protocol error    accept -> CONNECTED, fail -> CLOSED
    CONNECTED          all but CONNECT, AUTH                     DISCONNECT, fail -> CLOSED
    CLOSED             none: the caller does not call `receive` again

`fail` sends a CONNACK while AWAITING_CONNECT and a DISCONNECT while CONNECTED, as far as the version has them. After
`RemoteProtocolError` the caller calls `fail` and closes the transport.

A message to the client with QoS 1 or 2 goes through the session:

    queue         enqueued; a newer message with the same key replaces it, and beyond MAX_QUEUED the oldest is dropped
    inflight[id]  sent; resent with DUP by `accept` on the next connection, never on the same one
    inflight[id] = None   QoS 2 only: PUBREC was received, PUBREL is sent and PUBCOMP is awaited
    removed       PUBACK or PUBCOMP was received, or a PUBACK or PUBREC that refuses the message

A message from the client with QoS 2 stays in ``received`` from its PUBLISH to its PUBREL; in between the same packet
identifier yields `Repeated` instead of `Publish`, also on a later connection of the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

import attrs

from connectors.mqtt.packets import (
    NO_PROPERTIES,
    V5,
    Ack,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Kind,
    Ping,
    Properties,
    Property,
    Publish,
    Reason,
    RemoteProtocolError,
    Suback,
    Subscribe,
    Subscription,
    UnacceptableConnect,
    Unsubscribe,
    Will,
)
from connectors.mqtt.protocol import MAX_LENGTH, Decoder, encode

#: Unacknowledged messages to a client before version 5, which has no Receive Maximum: PubSubClient has one buffer.
INFLIGHT_311 = 20
#: The same for version 5, whatever larger Receive Maximum the client sends: more is not faster, and of the queued
#: messages only the newest of each key matters.
INFLIGHT_5 = 100
#: Unreleased QoS 2 messages from a client before version 5, which has not been told any maximum.
RECEIVED_311 = 1_024
#: Topic filters of one client.
MAX_SUBSCRIPTIONS = 10_000
#: Queued messages to one client.
MAX_QUEUED = 1_000
#: A client counts as gone after this many keep-alive times without a packet (MQTT-3.1.2-24).
KEEP_ALIVE_FACTOR = 1.5
#: Bytes of the shortest CONNACK of version 5.
CONNACK_LENGTH = 5
#: Session Expiry Interval that means never (5 §3.1.2.11.2).
NEVER = 0xFFFF_FFFF

#: Return codes of CONNACK before version 5 (3 §3.2.2.3). For other reasons the connection is closed without a CONNACK.
_RETURN_CODES = {
    Reason.UNSUPPORTED_VERSION: 1,
    Reason.BAD_CLIENT_ID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.BAD_LOGIN: 4,
    Reason.NOT_AUTHORIZED: 5,
}


@attrs.frozen(kw_only=True)
class ServerLimits:
    """Limits of a server: ``max_packet`` in bytes, ``max_keep_alive`` and ``max_expiry`` in seconds.

    CONNACK announces them to clients of version 5. ``max_keep_alive`` does not apply to older clients.
    """

    max_packet: int = 65_536
    receive_maximum: int = 100
    topic_aliases: int = 16
    max_keep_alive: int = 300
    max_expiry: int = 86_400
    max_client_id: int = 64
    #: The highest QoS that a subscription is granted.
    max_qos: int = 1
    shared_subscriptions: bool = False


@attrs.define(eq=False)
class Message:
    """A message to a client. In a queue it replaces an older message with the same ``key``.

    ``expires`` is in seconds of the clock that `ServerProtocol` is called with. ``tag`` belongs to the caller, which
    gets the message back in `Delivered`.
    """

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = NO_PROPERTIES
    key: Any = None
    expires: float | None = None
    tag: Any = None


@attrs.define(eq=False)
class Session:
    """The state of a client that outlives its connections (5 §4.1); see the theory of operation above.

    ``expiry`` is in seconds after the end of the last connection; 0 means that the session ends with it.
    """

    client_id: str
    expiry: int = 0
    max_subscriptions: int = MAX_SUBSCRIPTIONS
    #: Subscriptions by topic filter, each with its subscription identifier, or 0.
    subscriptions: dict[str, tuple[Subscription, int]] = attrs.Factory(dict)
    #: Messages that were sent and not acknowledged, by packet identifier; None for one that awaits PUBCOMP.
    inflight: dict[int, Message | None] = attrs.Factory(dict)
    #: Messages that were not sent yet, by key; a message without a key is its own.
    queue: dict[Any, Message] = attrs.Factory(dict)
    #: Unreleased QoS 2 messages from the client, by packet identifier. The values belong to the caller.
    received: dict[int, Any] = attrs.Factory(dict)
    #: Messages dropped because the queue was full or the client does not accept packets of their length.
    dropped: int = 0
    _last_id: int = 0

    def match_subscriptions(self, topic: str, filters: Iterable[str] | None = None) -> tuple[int, list[int]] | None:
        """Return the highest QoS of the subscriptions that match a topic, and their identifiers; None without a match.

        ``filters`` limits the search to some of the topic filters.
        """
        subscriptions = self.subscriptions
        matching = [
            subscriptions[name]
            for name in (subscriptions if filters is None else filters)
            if name in subscriptions and matches(name, topic)
        ]
        if not matching:
            return None
        return max(sub.qos for sub, _ in matching), [identifier for _, identifier in matching if identifier]

    def enqueue(self, message: Message) -> None:
        """Queue a message; if the queue is full, drop the oldest one."""
        key = message if message.key is None else message.key
        self.queue.pop(key, None)
        if len(self.queue) >= MAX_QUEUED:
            del self.queue[next(iter(self.queue))]
            self.dropped += 1
        self.queue[key] = message

    def drop_queued(self, key: Any) -> None:
        """Remove the message with a key from the queue, if there is one; it does not count as dropped."""
        self.queue.pop(key, None)

    def drop_queued_qos_0(self) -> None:
        """Remove all messages with QoS 0 from the queue: they do not outlive the connection."""
        self.queue = {key: message for key, message in self.queue.items() if message.qos}

    def take_dropped(self) -> int:
        """Return the number of dropped messages, and count from 0 again."""
        count, self.dropped = self.dropped, 0
        return count

    def next_id(self) -> int:
        """Return a packet identifier that is not in use (5 §2.2.1)."""
        while True:
            self._last_id = self._last_id % 65_535 + 1
            if self._last_id not in self.inflight:
                return self._last_id


@attrs.frozen
class Repeated:
    """A QoS 2 message that was received before and is not released: acknowledge it, and do nothing else with it."""

    publish: Publish


@attrs.frozen
class Delivered:
    """The client has acknowledged a message with QoS 1 or 2."""

    message: Message


Event = Connect | Publish | Repeated | Subscribe | Unsubscribe | Disconnect | Delivered


class ConnectionState(Enum):
    """State of a `ServerProtocol`; see the theory of operation above."""

    AWAITING_CONNECT = "awaiting CONNECT"
    CONNECTED = "connected"
    CLOSED = "closed"


#: Bound once: `receive` compares for every packet, and Python 3.11 looks up a member of an enum by a call.
_CONNECTED = ConnectionState.CONNECTED


class ServerProtocol:
    """One connection of a client. Times are seconds of any monotonic clock."""

    __slots__ = (
        "_aliases",
        "_decoder",
        "_inflight_max",
        "_keep_alive",
        "_limits",
        "_max_packet",
        "_out",
        "_problem_info",
        "expires",
        "session",
        "state",
        "will",
    )

    def __init__(self, limits: ServerLimits, expires: float) -> None:
        self._limits = limits
        self._decoder = Decoder(limits.max_packet, server=True)
        self._out: list[bytes] = []
        self._aliases: dict[int, str] | None = None
        self._inflight_max = INFLIGHT_311
        self._max_packet = MAX_LENGTH
        self._problem_info = True
        self._keep_alive = 0.0
        self.state = ConnectionState.AWAITING_CONNECT
        #: The time when the client counts as gone; before CONNECTED, the time by which its CONNECT must have arrived.
        self.expires = expires
        #: The will, until the client sends DISCONNECT.
        self.will: Will | None = None
        self.session = Session("")

    @property
    def version(self) -> int:
        """3, 4 or 5; 0 before CONNECT."""
        return self._decoder.version

    @property
    def silence_limit(self) -> float:
        """Seconds without a packet after which the client counts as gone; 0 if there is no limit."""
        return self._keep_alive

    def mark_alive(self, now: float) -> None:
        """Begin the keep-alive time again."""
        if self._keep_alive:
            self.expires = now + self._keep_alive

    def limit_packet_size(self, max_packet: int) -> None:
        """Send no packet longer than this many bytes, unless the limit is lower already."""
        self._max_packet = min(self._max_packet, max_packet)

    def take_will(self) -> Will | None:
        """Return the will, and forget it."""
        will, self.will = self.will, None
        return will

    @property
    def packets_to_send(self) -> int:
        """Number of packets that `data_to_send` would return."""
        return len(self._out)

    def data_to_send(self) -> bytes:
        """Return the packets to send, and forget them."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # -- receiving ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> Iterator[Event]:
        """Yield the events in received bytes, in order; `Disconnect` is the last. Consume all before the next call.

        Raises `RemoteProtocolError`; the caller then calls `fail` and ends the connection.
        """
        self.mark_alive(now)
        for packet in self._decoder.receive(data):
            if self.state is not _CONNECTED:
                if type(packet) is not Connect:
                    raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "the first packet must be CONNECT")
                self._check_connect(packet)
                yield packet
                if self.state is not _CONNECTED:
                    return
                continue
            match packet:
                case Publish():
                    yield self._on_publish(packet)
                case Ack(kind, packet_id, reason):
                    yield from self._on_ack(kind, packet_id, reason, now)
                case Ping(Kind.PINGREQ):
                    self._out.append(_PINGRESP)
                case Subscribe():
                    self._check_filters(sub.filter for sub in packet.subscriptions)
                    if self._limits.shared_subscriptions and any(
                        sub.no_local and is_shared(sub.filter) for sub in packet.subscriptions
                    ):
                        raise RemoteProtocolError(
                            Reason.PROTOCOL_ERROR, "No Local must not be set for a shared subscription"
                        )
                    if len(packet.properties.get(Property.SUBSCRIPTION_ID, ())) > 1:
                        raise RemoteProtocolError(
                            Reason.PROTOCOL_ERROR, "a SUBSCRIBE must not have several subscription identifiers"
                        )
                    yield packet
                case Unsubscribe():
                    self._check_filters(packet.filters)
                    yield packet
                case Disconnect():
                    self._on_disconnect(packet)
                    yield packet
                    return
                case Auth():
                    raise RemoteProtocolError(
                        Reason.PROTOCOL_ERROR, "an AUTH must not be sent without an authentication method in CONNECT"
                    )

    def _check_connect(self, connect: Connect) -> None:
        """Validate a CONNECT.

        Raises `RemoteProtocolError`, or `UnacceptableConnect` if it is valid and asks for something not supported.
        """
        properties, max_client_id = connect.properties, self._limits.max_client_id
        if connect.will is not None and not is_topic(connect.will.topic):
            raise RemoteProtocolError(Reason.BAD_TOPIC, f"{connect.will.topic[:50]!r} is not a valid topic for a will")
        if Property.AUTHENTICATION_METHOD in properties:
            text = "authentication methods are not supported"
            raise UnacceptableConnect(Reason.BAD_AUTHENTICATION_METHOD, text, connect)
        if Property.AUTHENTICATION_DATA in properties:
            raise RemoteProtocolError(
                Reason.PROTOCOL_ERROR, "there is authentication data without an authentication method"
            )
        # Set before the CONNECT can be rejected: the limit applies to that CONNACK too.
        self._max_packet = properties.get(Property.MAXIMUM_PACKET_SIZE, MAX_LENGTH)
        if self._max_packet < CONNACK_LENGTH:
            text = f"a Maximum Packet Size of {self._max_packet} is too small: a CONNACK has {CONNACK_LENGTH} bytes"
            raise UnacceptableConnect(Reason.PACKET_TOO_LARGE, text, connect)
        if (length := len(connect.client_id)) > max_client_id:
            text = f"the client identifier has {length} characters; at most {max_client_id} are allowed"
            raise UnacceptableConnect(Reason.BAD_CLIENT_ID, text, connect)
        if not connect.client_id and not connect.clean and connect.version < V5:
            text = "a persistent session (clean_session = 0) needs a client identifier"
            raise UnacceptableConnect(Reason.BAD_CLIENT_ID, text, connect)

    def _on_publish(self, publish: Publish) -> Publish | Repeated:
        if publish.properties:
            self._resolve_alias(publish)
        if not is_topic(publish.topic):
            empty = not publish.topic
            reason = Reason.PROTOCOL_ERROR if empty else Reason.BAD_TOPIC
            raise RemoteProtocolError(
                reason, "the topic of a PUBLISH is empty" if empty else "the topic of a PUBLISH contains a wildcard"
            )
        if publish.qos == 2:
            received = self.session.received
            if publish.packet_id in received:
                return Repeated(publish)
            if len(received) >= (self._limits.receive_maximum if self.version == V5 else RECEIVED_311):
                text = f"more than {len(received)} messages with QoS 2 were not released"
                raise RemoteProtocolError(Reason.RECEIVE_MAXIMUM_EXCEEDED, text)
            received[publish.packet_id] = None
        return publish

    def _resolve_alias(self, publish: Publish) -> None:
        if Property.SUBSCRIPTION_ID in publish.properties:
            raise RemoteProtocolError(
                Reason.PROTOCOL_ERROR, "a client's PUBLISH must not have a subscription identifier"
            )
        alias = publish.properties.get(Property.TOPIC_ALIAS)
        if alias is None:
            return
        if alias > self._limits.topic_aliases:
            raise RemoteProtocolError(
                Reason.BAD_TOPIC_ALIAS, f"topic alias {alias} is above {self._limits.topic_aliases}"
            )
        aliases = self._aliases = self._aliases or {}
        if publish.topic:
            aliases[alias] = publish.topic
        elif alias in aliases:
            publish.topic = aliases[alias]
        else:
            raise RemoteProtocolError(Reason.PROTOCOL_ERROR, f"topic alias {alias} has no topic yet")
        publish.properties = {k: v for k, v in publish.properties.items() if k != Property.TOPIC_ALIAS}

    def _on_ack(self, kind: int, packet_id: int, reason: int, now: float) -> Iterator[Delivered]:
        session, is_inflight = self.session, packet_id in self.session.inflight
        if kind == Kind.PUBREL:
            was_received = session.received.pop(packet_id, _MISSING) is not _MISSING
            self._send(Ack(Kind.PUBCOMP, packet_id, 0 if was_received else Reason.UNKNOWN_PACKET_ID))
            return
        message = session.inflight.get(packet_id)
        if kind == Kind.PUBREC and reason < Reason.UNSPECIFIED:
            if is_inflight:
                session.inflight[packet_id] = None
            self._send(Ack(Kind.PUBREL, packet_id, 0 if is_inflight else Reason.UNKNOWN_PACKET_ID))
        else:
            session.inflight.pop(packet_id, None)
            self.send_queued(now)
        if message is not None and reason < Reason.UNSPECIFIED:
            yield Delivered(message)

    def _on_disconnect(self, packet: Disconnect) -> None:
        expiry = packet.properties.get(Property.SESSION_EXPIRY)
        if expiry is not None:
            if expiry and not self.session.expiry:
                raise RemoteProtocolError(
                    Reason.PROTOCOL_ERROR, "a DISCONNECT must not extend a session without expiry"
                )
            self.session.expiry = min(expiry, self._limits.max_expiry)
        if packet.reason != Reason.DISCONNECT_WITH_WILL:
            self.will = None
        self.state = ConnectionState.CLOSED

    @staticmethod
    def _check_filters(filters: Iterable[str]) -> None:
        for topic_filter in filters:
            if not is_filter(topic_filter):
                raise RemoteProtocolError(Reason.BAD_FILTER, f"{topic_filter[:50]!r} is not a valid topic filter")

    # -- answering ------------------------------------------------------------------------------------------------

    def accept(self, connect: Connect, session: Session, now: float, *, present: bool) -> None:
        """Accept a CONNECT, and resend the unacknowledged messages of the session (MQTT-4.4.0-1).

        ``present`` is CONNACK's Session Present: the session continues an earlier one.
        """
        limits, properties, is_v5 = self._limits, connect.properties, connect.version == V5
        keep_alive = connect.keep_alive
        if is_v5 and not 0 < keep_alive <= limits.max_keep_alive:
            keep_alive = limits.max_keep_alive
        expiry = properties.get(Property.SESSION_EXPIRY, 0) if is_v5 else 0 if connect.clean else NEVER
        session.expiry = min(expiry, limits.max_expiry)
        self.session, self.will, self.state = session, connect.will, ConnectionState.CONNECTED
        self._keep_alive = keep_alive * KEEP_ALIVE_FACTOR
        self.expires = now + self._keep_alive if keep_alive else float("inf")
        if is_v5:
            self._inflight_max = min(properties.get(Property.RECEIVE_MAXIMUM, 65_535), INFLIGHT_5)
            self._problem_info = bool(properties.get(Property.REQUEST_PROBLEM_INFO, 1))
        announced: dict[int, Any] = {
            Property.RECEIVE_MAXIMUM: limits.receive_maximum,
            Property.MAXIMUM_PACKET_SIZE: limits.max_packet,
            Property.TOPIC_ALIAS_MAXIMUM: limits.topic_aliases,
        }
        if not limits.shared_subscriptions:
            announced[Property.SHARED_AVAILABLE] = 0
        if session.expiry != expiry:
            announced[Property.SESSION_EXPIRY] = session.expiry
        if keep_alive != connect.keep_alive:
            announced[Property.SERVER_KEEP_ALIVE] = keep_alive
        if not connect.client_id:
            announced[Property.ASSIGNED_CLIENT_ID] = session.client_id
        self._send(Connack(present, 0, announced))
        self._resend(now)

    def _resend(self, now: float) -> None:
        """Send the unacknowledged messages of the session again, then the queued ones."""
        session = self.session
        postponed: dict[Any, Message] = {}
        for number, (packet_id, message) in enumerate(tuple(session.inflight.items())):
            if message is None:
                self._send(Ack(Kind.PUBREL, packet_id))
            elif number >= self._inflight_max:
                # The client accepts fewer at once than on its last connection: the rest goes to the head of the queue.
                postponed[message if message.key is None else message.key] = message
                del session.inflight[packet_id]
            elif not self._send_publish(message, packet_id, now, dup=True):
                del session.inflight[packet_id]
        session.queue = postponed | session.queue
        self.send_queued(now)

    def fail(self, reason: Reason, text: str = "") -> None:
        """End the connection: send a CONNACK that refuses the client, or a DISCONNECT, as far as its version has them.

        Does nothing if the connection is closed already.
        """
        properties = self._reason_string(text)
        state, self.state = self.state, ConnectionState.CLOSED
        if state is ConnectionState.CLOSED:
            return
        if state is _CONNECTED:
            if self.version == V5:
                self._send(Disconnect(reason, properties))
        elif self.version == V5:
            self._send(Connack(False, reason, properties))
        elif self.version and reason in _RETURN_CODES:
            self._send(Connack(False, _RETURN_CODES[reason]))

    def acknowledge(self, publish: Publish, reason: int = 0, text: str = "") -> None:
        """Acknowledge a PUBLISH with PUBACK or PUBREC; with QoS 0 send nothing.

        ``reason`` and ``text`` are sent in version 5 only: older versions cannot refuse a message.
        """
        if not publish.qos:
            return
        if self.version < V5:
            reason = 0
        if publish.qos == 2 and reason >= Reason.UNSPECIFIED:
            self.session.received.pop(publish.packet_id, None)
        kind = Kind.PUBACK if publish.qos == 1 else Kind.PUBREC
        if not reason:
            self._out.append(bytes((kind << 4, 2)) + publish.packet_id.to_bytes(2))
        else:
            self._send(Ack(kind, publish.packet_id, reason, self._reason_string(text)))

    def answer_subscribe(self, subscribe: Subscribe, reasons: Sequence[int]) -> None:
        """Store the granted subscriptions of a SUBSCRIBE, and send the SUBACK.

        ``reasons`` has for each subscription the QoS to grant, or a reason code of 0x80 or above that refuses it.
        """
        session = self.session
        [identifier] = subscribe.properties.get(Property.SUBSCRIPTION_ID, (0,))
        results = []
        for requested, reason in zip(subscribe.subscriptions, reasons, strict=True):
            result = reason
            if reason < Reason.UNSPECIFIED:
                is_new = requested.filter not in session.subscriptions
                if is_new and len(session.subscriptions) >= session.max_subscriptions:
                    result = Reason.QUOTA_EXCEEDED
                else:
                    granted = attrs.evolve(requested, qos=min(reason, self._limits.max_qos))
                    session.subscriptions[requested.filter] = granted, identifier
                    result = granted.qos
            is_old_failure = result >= Reason.UNSPECIFIED and self.version < V5
            results.append(int(Reason.UNSPECIFIED) if is_old_failure else result)
        self._send(Suback(Kind.SUBACK, subscribe.packet_id, tuple(results)))

    def answer_unsubscribe(self, unsubscribe: Unsubscribe) -> None:
        """Remove the subscriptions of an UNSUBSCRIBE, and send the UNSUBACK."""
        subscriptions = self.session.subscriptions
        reasons = [
            0 if subscriptions.pop(topic_filter, None) else Reason.NO_SUBSCRIPTION_EXISTED
            for topic_filter in unsubscribe.filters
        ]
        self._send(Suback(Kind.UNSUBACK, unsubscribe.packet_id, tuple(reasons)))

    # -- sending --------------------------------------------------------------------------------------------------

    def publish(self, message: Message, now: float) -> bool:
        """Send a message, or queue it; return False if it has expired or is too long for the client."""
        session = self.session
        must_follow = session.queue and (message.qos or message.key in session.queue)
        if must_follow or (message.qos and len(session.inflight) >= self._inflight_max):
            # A newer value must not overtake an older one that is queued.
            session.enqueue(message)
            return True
        return self._send_new(message, now) if message.qos else self._send_publish(message, 0, now)

    def send_queued(self, now: float) -> None:
        """Send queued messages until the client's maximum of unacknowledged messages is reached."""
        session = self.session
        while session.queue and len(session.inflight) < self._inflight_max:
            message = session.queue.pop(next(iter(session.queue)))
            sent = self._send_new(message, now) if message.qos else self._send_publish(message, 0, now)
            if not sent and (message.expires is None or message.expires > now):
                session.dropped += 1

    def _send_new(self, message: Message, now: float) -> bool:
        """Send a message with QoS 1 or 2 for the first time; return as `publish`."""
        session = self.session
        packet_id = session.next_id()
        if not self._send_publish(message, packet_id, now):
            return False
        session.inflight[packet_id] = message
        return True

    def _send_publish(self, message: Message, packet_id: int, now: float, *, dup: bool = False) -> bool:
        """Encode a message; return False if it has expired or is too long for the client."""
        properties = message.properties
        if message.expires is not None:
            lifetime = message.expires - now
            if lifetime <= 0:
                return False
            if self.version == V5:
                properties = {**properties, Property.MESSAGE_EXPIRY: int(lifetime)}
        packet = Publish(message.topic, message.payload, message.qos, packet_id, message.retain, dup, properties)
        encoded = encode(packet, self.version)
        if len(encoded) > self._max_packet:
            return False
        self._out.append(encoded)
        return True

    def _send(self, packet: Ack | Connack | Suback | Disconnect) -> None:
        encoded = encode(packet, self.version)
        if len(encoded) > self._max_packet and packet.properties:
            # The packet must be sent, if need be without the properties that explain it (5 §3.4.2.2.2).
            encoded = encode(attrs.evolve(packet, properties=NO_PROPERTIES), self.version)
        if len(encoded) <= self._max_packet:
            self._out.append(encoded)

    def _reason_string(self, text: str) -> Properties:
        """Return the Reason String property, unless the client asked for none (5 §3.1.2.11.7)."""
        return {Property.REASON_STRING: text} if text and self._problem_info else NO_PROPERTIES


_PINGRESP = encode(Ping(Kind.PINGRESP), V5)
_MISSING = object()


def subscription_ids(identifiers: list[int]) -> Properties:
    """Return the Subscription Identifier properties of a PUBLISH."""
    return {Property.SUBSCRIPTION_ID: identifiers} if identifiers else NO_PROPERTIES


# -- topic names and topic filters ------------------------------------------------------------------------------------


def is_topic(topic: str) -> bool:
    """Whether a message can be published on the topic (5 §4.7)."""
    return bool(topic) and "+" not in topic and "#" not in topic


def is_shared(topic_filter: str) -> bool:
    """Whether the topic filter is of a shared subscription (5 §4.8.2)."""
    return topic_filter.startswith("$share/")


def is_filter(topic_filter: str) -> bool:
    """Whether the topic filter is valid (5 §4.7): a wildcard is a whole level, and ``#`` the last one."""
    if not topic_filter:
        return False
    if "+" not in topic_filter and "#" not in topic_filter:
        return True
    *levels, last = topic_filter.split("/")
    whole = all(level == "+" or ("+" not in level and "#" not in level) for level in levels)
    return whole and (last in ("+", "#") or ("+" not in last and "#" not in last))


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic filter matches a topic. Wildcards do not match a leading ``$`` (MQTT-4.7.2-1)."""
    if topic_filter == topic:
        return True
    if "+" not in topic_filter and "#" not in topic_filter:
        return False
    if topic[0] == "$" and topic_filter[0] in "+#":
        return False
    levels = topic.split("/")
    filter_levels = topic_filter.split("/")
    for number, level in enumerate(filter_levels):
        if level == "#":
            return True
        if number >= len(levels) or level not in ("+", levels[number]):
            return False
    return len(filter_levels) == len(levels)
