"""The rules of MQTT's server side, without I/O: bytes come in and events go out, and what is to be sent collects.

A `Connection` is one connection of a client; a `Session` is what of the client outlives it. Who may come in, which
topics there are and when a message is safe is for whoever uses them: see `connectors.mqtt.endpoint`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from connectors.mqtt.packets import (
    NONE,
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

#: Messages on their way to a client of a version without Receive Maximum: PubSubClient has one buffer.
INFLIGHT_311 = 20
#: And to one with, whatever it takes: more is no quicker, and only the newest of what waits counts.
INFLIGHT_5 = 100
#: QoS 2 messages of such a client that it has not released; it has not been told of any maximum.
RECEIVED_311 = 1_024
#: Filters of one client, and messages that wait for it.
MAX_SUBSCRIPTIONS = 10_000
MAX_QUEUED = 1_000
#: A silent client is gone after this many keep-alive times (MQTT-3.1.2-24).
KEEP_ALIVE_FACTOR = 1.5
#: Bytes of the shortest CONNACK of version 5.
CONNACK_LENGTH = 5
#: In Session Expiry Interval: never (5 §3.1.2.11.2).
NEVER = 0xFFFF_FFFF

#: Return codes of CONNACK before version 5 (3 §3.2.2.3); for other reasons there is none, and the connection ends.
_RETURN_CODES = {
    Reason.UNSUPPORTED_VERSION: 1,
    Reason.BAD_CLIENT_ID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.BAD_LOGIN: 4,
    Reason.NOT_AUTHORIZED: 5,
}


@attrs.frozen(kw_only=True)
class Terms:
    """What a server offers: ``max_packet`` in bytes, ``max_keep_alive`` and ``max_expiry`` in seconds.

    Clients before version 5 are not told, and may keep silent for as long as they say.
    """

    max_packet: int = 65_536
    receive_maximum: int = 100
    topic_aliases: int = 16
    max_keep_alive: int = 300
    max_expiry: int = 86_400
    max_client_id: int = 64
    #: The most that a subscription is granted.
    max_qos: int = 1
    shared: bool = False


@attrs.define(eq=False)
class Message:
    """A message to a client. Of those that wait, one with the same ``key`` takes the place of an older one.

    ``expires`` is by the clock that `Connection` is given; ``tag`` comes back in `Delivered`.
    """

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = NONE
    key: Any = None
    expires: float | None = None
    tag: Any = None


@attrs.define(eq=False)
class Session:
    """What of a client outlives its connections (5 §4.1).

    ``expiry`` is in seconds after the last one, ``most`` how many subscriptions it may have.
    """

    client_id: str
    expiry: int = 0
    most: int = MAX_SUBSCRIPTIONS
    subscriptions: dict[str, tuple[Subscription, int]] = attrs.Factory(dict)
    #: Sent and not acknowledged, by packet identifier; None stands for one that was received and is to be released.
    inflight: dict[int, Message | None] = attrs.Factory(dict)
    #: Not sent yet, by key.
    queue: dict[Any, Message] = attrs.Factory(dict)
    #: QoS 2 messages that came and were not released, with whatever is kept of them.
    received: dict[int, Any] = attrs.Factory(dict)
    #: Messages that were lost because too many waited, or because they were too long for the client.
    dropped: int = 0
    _last_id: int = 0

    def granted(self, topic: str, among: Iterable[str] | None = None) -> tuple[int, list[int]] | None:
        """The highest QoS of the subscriptions to a topic and their identifiers; None when there are none.

        ``among`` are the filters that come into question, by default all.
        """
        kept = self.subscriptions
        found = [kept[name] for name in (kept if among is None else among) if name in kept and matches(name, topic)]
        if not found:
            return None
        return max(sub.qos for sub, _ in found), [number for _, number in found if number]

    def enqueue(self, message: Message) -> None:
        """Let a message wait; when too many do, the oldest is lost."""
        key = message if message.key is None else message.key
        self.queue.pop(key, None)
        if len(self.queue) >= MAX_QUEUED:
            del self.queue[next(iter(self.queue))]
            self.dropped += 1
        self.queue[key] = message

    def next_id(self) -> int:
        """A packet identifier that is not in use (5 §2.2.1)."""
        while True:
            self._last_id = self._last_id % 65_535 + 1
            if self._last_id not in self.inflight:
                return self._last_id


@attrs.frozen
class Repeated:
    """A QoS 2 message that came before and was not acknowledged to its sender; do no more than acknowledge it."""

    publish: Publish


@attrs.frozen
class Delivered:
    """The client has taken a message with QoS 1 or 2."""

    message: Message


Event = Connect | Publish | Repeated | Subscribe | Unsubscribe | Disconnect | Delivered


class Connection:
    """One connection. Feed it with `receive`, answer its events, and send what `data_to_send` gives.

    Times are seconds of any steady clock.
    """

    __slots__ = (
        "_aliases",
        "_decoder",
        "_inflight_max",
        "_keep_alive",
        "_max_packet",
        "_out",
        "_over",
        "_problem_info",
        "_terms",
        "expires",
        "open",
        "session",
        "will",
    )

    def __init__(self, terms: Terms, expires: float) -> None:
        self._terms = terms
        self._decoder = Decoder(terms.max_packet, server=True)
        self._out: list[bytes] = []
        self._aliases: dict[int, str] | None = None
        self._inflight_max = INFLIGHT_311
        self._max_packet = MAX_LENGTH
        self._problem_info = True
        self._keep_alive = 0.0
        self._over = False
        #: Whether the client is connected: its CONNECT was accepted, and neither side has ended it.
        self.open = False
        #: When the client counts as gone; at first, when its CONNECT must have come.
        self.expires = expires
        #: What is published when the connection ends without the client saying so.
        self.will: Will | None = None
        self.session = Session("")

    @property
    def version(self) -> int:
        """3, 4 or 5; 0 before CONNECT."""
        return self._decoder.version

    @property
    def silent(self) -> float:
        """Seconds of silence after which the client counts as gone."""
        return self._keep_alive

    def heard(self, now: float) -> None:
        """The client is alive."""
        if self._keep_alive:
            self.expires = now + self._keep_alive

    def limit(self, max_packet: int) -> None:
        """The client takes no longer packets than this, whatever it said before."""
        self._max_packet = min(self._max_packet, max_packet)

    @property
    def waiting(self) -> int:
        """Packets that `data_to_send` would give."""
        return len(self._out)

    def data_to_send(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    # -- receiving ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> Iterator[Event]:
        """What has happened, in order; consume all of it before the next call. After `Disconnect` nothing comes.

        Raises `RemoteProtocolError`: `fail`, and end the connection.
        """
        self.heard(now)
        for packet in self._decoder.receive(data):
            if not self.open:
                if type(packet) is not Connect:
                    raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "the first packet is not CONNECT")
                self._check_connect(packet)
                yield packet
                if not self.open:
                    return
                continue
            match packet:
                case Publish():
                    yield self._published(packet)
                case Ack(kind, packet_id, reason):
                    yield from self._acknowledged(kind, packet_id, reason, now)
                case Ping(Kind.PINGREQ):
                    self._out.append(_PINGRESP)
                case Subscribe():
                    self._check_filters(sub.filter for sub in packet.subscriptions)
                    if self._terms.shared and any(
                        sub.no_local and is_shared(sub.filter) for sub in packet.subscriptions
                    ):
                        raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "No Local in a shared subscription")
                    if len(packet.properties.get(Property.SUBSCRIPTION_ID, ())) > 1:
                        raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "a SUBSCRIBE with several identifiers")
                    yield packet
                case Unsubscribe():
                    self._check_filters(packet.filters)
                    yield packet
                case Disconnect():
                    self._disconnected(packet)
                    yield packet
                    return
                case Auth():
                    raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "an AUTH without an authentication method")

    def _check_connect(self, connect: Connect) -> None:
        """Raises `RemoteProtocolError`; for what is right and not offered, `UnacceptableConnect`."""
        asked, most = connect.properties, self._terms.max_client_id
        if connect.will is not None and not is_topic(connect.will.topic):
            raise RemoteProtocolError(Reason.BAD_TOPIC, f"a will cannot go to {connect.will.topic[:50]!r}")
        if Property.AUTHENTICATION_METHOD in asked:
            text = "there are no authentication methods"
            raise UnacceptableConnect(Reason.BAD_AUTHENTICATION_METHOD, text, connect)
        if Property.AUTHENTICATION_DATA in asked:
            raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "authentication data without a method")
        # It counts for a refusal too.
        self._max_packet = asked.get(Property.MAXIMUM_PACKET_SIZE, MAX_LENGTH)
        if self._max_packet < CONNACK_LENGTH:
            text = f"it takes packets of {self._max_packet} bytes at most, and a CONNACK has {CONNACK_LENGTH}"
            raise UnacceptableConnect(Reason.PACKET_TOO_LARGE, text, connect)
        if len(connect.client_id) > most:
            text = f"a client identifier has at most {most} characters, and this one {len(connect.client_id)}"
            raise UnacceptableConnect(Reason.BAD_CLIENT_ID, text, connect)
        if not connect.client_id and not connect.clean and connect.version < V5:
            text = "a session that is kept (clean_session = 0) needs a client identifier"
            raise UnacceptableConnect(Reason.BAD_CLIENT_ID, text, connect)

    def _published(self, publish: Publish) -> Publish | Repeated:
        if publish.properties:
            self._resolve_alias(publish)
        if not is_topic(publish.topic):
            empty = not publish.topic
            reason = Reason.PROTOCOL_ERROR if empty else Reason.BAD_TOPIC
            raise RemoteProtocolError(reason, "an empty topic" if empty else "a topic with wildcards")
        if publish.qos == 2:
            received = self.session.received
            if publish.packet_id in received:
                return Repeated(publish)
            if len(received) >= (self._terms.receive_maximum if self.version == V5 else RECEIVED_311):
                raise RemoteProtocolError(Reason.RECEIVE_MAXIMUM_EXCEEDED, "too many messages were not released")
            received[publish.packet_id] = None
        return publish

    def _resolve_alias(self, publish: Publish) -> None:
        if Property.SUBSCRIPTION_ID in publish.properties:
            raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "a client's PUBLISH with a subscription identifier")
        alias = publish.properties.get(Property.TOPIC_ALIAS)
        if alias is None:
            return
        if alias > self._terms.topic_aliases:
            raise RemoteProtocolError(Reason.BAD_TOPIC_ALIAS, f"topic alias {alias} is above the maximum")
        aliases = self._aliases = self._aliases or {}
        if publish.topic:
            aliases[alias] = publish.topic
        elif alias in aliases:
            publish.topic = aliases[alias]
        else:
            raise RemoteProtocolError(Reason.PROTOCOL_ERROR, f"topic alias {alias} was not given a topic")
        publish.properties = {k: v for k, v in publish.properties.items() if k != Property.TOPIC_ALIAS}

    def _acknowledged(self, kind: int, packet_id: int, reason: int, now: float) -> Iterator[Delivered]:
        session, known = self.session, packet_id in self.session.inflight
        if kind == Kind.PUBREL:
            found = session.received.pop(packet_id, _MISSING) is not _MISSING
            self._send(Ack(Kind.PUBCOMP, packet_id, 0 if found else Reason.UNKNOWN_PACKET_ID))
            return
        message = session.inflight.get(packet_id)
        if kind == Kind.PUBREC and reason < Reason.UNSPECIFIED:
            if known:
                session.inflight[packet_id] = None
            self._send(Ack(Kind.PUBREL, packet_id, 0 if known else Reason.UNKNOWN_PACKET_ID))
        else:
            session.inflight.pop(packet_id, None)
            self.pump(now)
        if message is not None and reason < Reason.UNSPECIFIED:
            yield Delivered(message)

    def _disconnected(self, packet: Disconnect) -> None:
        expiry = packet.properties.get(Property.SESSION_EXPIRY)
        if expiry is not None:
            if expiry and not self.session.expiry:
                raise RemoteProtocolError(Reason.PROTOCOL_ERROR, "a session that was to end is to be kept")
            self.session.expiry = min(expiry, self._terms.max_expiry)
        if packet.reason != Reason.DISCONNECT_WITH_WILL:
            self.will = None
        self.open, self._over = False, True

    @staticmethod
    def _check_filters(filters: Iterable[str]) -> None:
        for topic_filter in filters:
            if not is_filter(topic_filter):
                raise RemoteProtocolError(Reason.BAD_FILTER, f"{topic_filter[:50]!r} is not a topic filter")

    # -- answering ------------------------------------------------------------------------------------------------

    def accept(self, connect: Connect, session: Session, now: float, *, present: bool) -> None:
        """Let a client in, and send again what it had not acknowledged (MQTT-4.4.0-1)."""
        terms, asked, five = self._terms, connect.properties, connect.version == V5
        keep_alive = connect.keep_alive
        if five and not 0 < keep_alive <= terms.max_keep_alive:
            keep_alive = terms.max_keep_alive
        wanted = asked.get(Property.SESSION_EXPIRY, 0) if five else 0 if connect.clean else NEVER
        session.expiry = min(wanted, terms.max_expiry)
        self.session, self.will, self.open = session, connect.will, True
        self._keep_alive = keep_alive * KEEP_ALIVE_FACTOR
        self.expires = now + self._keep_alive if keep_alive else float("inf")
        if five:
            self._inflight_max = min(asked.get(Property.RECEIVE_MAXIMUM, 65_535), INFLIGHT_5)
            self._problem_info = bool(asked.get(Property.REQUEST_PROBLEM_INFO, 1))
        told: dict[int, Any] = {
            Property.RECEIVE_MAXIMUM: terms.receive_maximum,
            Property.MAXIMUM_PACKET_SIZE: terms.max_packet,
            Property.TOPIC_ALIAS_MAXIMUM: terms.topic_aliases,
        }
        if not terms.shared:
            told[Property.SHARED_AVAILABLE] = 0
        if session.expiry != wanted:
            told[Property.SESSION_EXPIRY] = session.expiry
        if keep_alive != connect.keep_alive:
            told[Property.SERVER_KEEP_ALIVE] = keep_alive
        if not connect.client_id:
            told[Property.ASSIGNED_CLIENT_ID] = session.client_id
        self._send(Connack(present, 0, told))
        later: dict[Any, Message] = {}
        for number, (packet_id, message) in enumerate(tuple(session.inflight.items())):
            if message is None:
                self._send(Ack(Kind.PUBREL, packet_id))
            elif number >= self._inflight_max:
                # It takes fewer at once than before: the rest goes first of what waits.
                later[message if message.key is None else message.key] = message
                del session.inflight[packet_id]
            elif not self._publish(message, packet_id, now, dup=True):
                del session.inflight[packet_id]
        session.queue = later | session.queue
        self.pump(now)

    def fail(self, reason: Reason, text: str = "") -> None:
        """Refuse a client, or tell one that is connected why it is not any more, as far as its version allows."""
        properties = self._because(text)
        if self._over:
            return
        self._over = True
        if self.open:
            self.open = False
            if self.version == V5:
                self._send(Disconnect(reason, properties))
        elif self.version == V5:
            self._send(Connack(False, reason, properties))
        elif self.version and reason in _RETURN_CODES:
            self._send(Connack(False, _RETURN_CODES[reason]))

    def acknowledge(self, publish: Publish, reason: int = 0, text: str = "") -> None:
        """Tell a client that its message is safe, or in version 5 why it was refused."""
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
            self._send(Ack(kind, publish.packet_id, reason, self._because(text)))

    def subscribed(self, subscribe: Subscribe, reasons: Sequence[int]) -> None:
        """Answer a SUBSCRIBE: what is below 0x80 is the QoS that was granted, and is kept."""
        session = self.session
        [number] = subscribe.properties.get(Property.SUBSCRIPTION_ID, (0,))
        answers = []
        for asked, reason in zip(subscribe.subscriptions, reasons, strict=True):
            answer = reason
            if reason < Reason.UNSPECIFIED:
                if len(session.subscriptions) >= session.most and asked.filter not in session.subscriptions:
                    answer = Reason.QUOTA_EXCEEDED
                else:
                    kept = attrs.evolve(asked, qos=min(reason, self._terms.max_qos))
                    session.subscriptions[asked.filter] = kept, number
                    answer = kept.qos
            failed = answer >= Reason.UNSPECIFIED and self.version < V5
            answers.append(int(Reason.UNSPECIFIED) if failed else answer)
        self._send(Suback(Kind.SUBACK, subscribe.packet_id, tuple(answers)))

    def unsubscribed(self, unsubscribe: Unsubscribe) -> None:
        """Take subscriptions away, and answer an UNSUBSCRIBE."""
        kept = self.session.subscriptions
        reasons = [0 if kept.pop(name, None) else Reason.NO_SUBSCRIPTION_EXISTED for name in unsubscribe.filters]
        self._send(Suback(Kind.UNSUBACK, unsubscribe.packet_id, tuple(reasons)))

    # -- sending --------------------------------------------------------------------------------------------------

    def publish(self, message: Message, now: float) -> bool:
        """Send a message, or let it wait for its turn; False when it is too long for the client."""
        session = self.session
        behind = session.queue and (message.qos or message.key in session.queue)
        if behind or (message.qos and len(session.inflight) >= self._inflight_max):
            # Behind what waits already: a newer value must not overtake an older one.
            session.enqueue(message)
            return True
        return self._begin(message, now) if message.qos else self._publish(message, 0, now)

    def pump(self, now: float) -> None:
        """Send what waits, as far as the client takes it now."""
        session = self.session
        while session.queue and len(session.inflight) < self._inflight_max:
            message = session.queue.pop(next(iter(session.queue)))
            sent = self._begin(message, now) if message.qos else self._publish(message, 0, now)
            if not sent and (message.expires is None or message.expires > now):
                session.dropped += 1

    def _begin(self, message: Message, now: float) -> bool:
        session = self.session
        packet_id = session.next_id()
        if not self._publish(message, packet_id, now):
            return False
        session.inflight[packet_id] = message
        return True

    def _publish(self, message: Message, packet_id: int, now: float, *, dup: bool = False) -> bool:
        properties = message.properties
        if message.expires is not None:
            left = message.expires - now
            if left <= 0:
                return False
            if self.version == V5:
                properties = {**properties, Property.MESSAGE_EXPIRY: int(left)}
        packet = Publish(message.topic, message.payload, message.qos, packet_id, message.retain, dup, properties)
        encoded = encode(packet, self.version)
        if len(encoded) > self._max_packet:
            return False
        self._out.append(encoded)
        return True

    def _send(self, packet: Ack | Connack | Suback | Disconnect) -> None:
        encoded = encode(packet, self.version)
        if len(encoded) > self._max_packet and packet.properties:
            # What the properties explain must be said all the same (5 §3.4.2.2.2).
            encoded = encode(attrs.evolve(packet, properties=NONE), self.version)
        if len(encoded) <= self._max_packet:
            self._out.append(encoded)

    def _because(self, text: str) -> Properties:
        """A reason string, for a client that wants to know (5 §3.1.2.11.7)."""
        return {Property.REASON_STRING: text} if text and self._problem_info else NONE


_PINGRESP = encode(Ping(Kind.PINGRESP), V5)
_MISSING = object()


# -- topics -----------------------------------------------------------------------------------------------------------


def is_topic(topic: str) -> bool:
    """Whether something can be published there (5 §4.7)."""
    return bool(topic) and "+" not in topic and "#" not in topic


def is_shared(topic_filter: str) -> bool:
    """Whether a subscription is shared (5 §4.8.2)."""
    return topic_filter.startswith("$share/")


def is_filter(topic_filter: str) -> bool:
    """Whether something can be subscribed to: wildcards stand for whole levels, ``#`` for the last ones."""
    if not topic_filter:
        return False
    if "+" not in topic_filter and "#" not in topic_filter:
        return True
    *levels, last = topic_filter.split("/")
    whole = all(level == "+" or ("+" not in level and "#" not in level) for level in levels)
    return whole and (last in ("+", "#") or ("+" not in last and "#" not in last))


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a subscription gets what is published on a topic; wildcards do not match ``$`` (MQTT-4.7.2-1)."""
    if topic_filter == topic:
        return True
    if "+" not in topic_filter and "#" not in topic_filter:
        return False
    if topic[0] == "$" and topic_filter[0] in "+#":
        return False
    levels = topic.split("/")
    wanted = topic_filter.split("/")
    for number, level in enumerate(wanted):
        if level == "#":
            return True
        if number >= len(levels) or level not in ("+", levels[number]):
            return False
    return len(wanted) == len(levels)
