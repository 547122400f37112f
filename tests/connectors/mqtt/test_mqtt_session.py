"""The state of MQTT connections and sessions: a client and a server connected in memory, without socket or clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.packets import (
    V5,
    V311,
    Ack,
    Connack,
    Connect,
    Disconnect,
    Kind,
    Ping,
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
from connectors.mqtt.protocol import MAX_LENGTH, Decoder, encode
from connectors.mqtt.session import (
    INFLIGHT_311,
    MAX_QUEUED,
    Delivered,
    Message,
    Repeated,
    ServerLimits,
    ServerProtocol,
    Session,
    is_filter,
    is_topic,
    matches,
)

LIMITS = ServerLimits(max_qos=2, max_expiry=1000)


class Peer:
    """A client and the server's side of its connection; ``now`` is the clock of both."""

    def __init__(self, version=V311, session=None, limits=LIMITS, present=False, **connect):
        self.now = 100.0
        self.server = ServerProtocol(limits, self.now + 10)
        self.version = version
        self._decoder = Decoder(MAX_LENGTH, version)
        [event] = self.send(Connect(version=version, client_id=connect.pop("client_id", "me"), **connect))
        self.server.accept(event, session or Session("me"), self.now, present=present)

    @property
    def session(self):
        return self.server.session

    def send(self, *packets):
        """Send packets to the server; returns its events."""
        data = b"".join(encode(packet, self.version) for packet in packets)
        return list(self.server.receive(data, self.now))

    def received(self):
        """Return the packets that the server has sent since the last call."""
        return list(self._decoder.receive(self.server.data_to_send()))

    def publish(self, *messages):
        for message in messages:
            self.server.publish(message, self.now)
        return self.received()

    def error_of(self, *packets):
        """Send packets that violate the protocol; returns the reason code of the error."""
        with pytest.raises(RemoteProtocolError) as caught:
            self.send(*packets)
        return caught.value.reason


@pytest.fixture
def peer(version):
    peer = Peer(version)
    peer.received()
    return peer


# -- CONNECT ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first", [Ping(Kind.PINGREQ), Publish("t"), Disconnect()], ids=["ping", "publish", "disconnect"]
)
def test_first_packet_must_be_connect(first):
    with pytest.raises(RemoteProtocolError, match="first packet"):
        list(ServerProtocol(LIMITS, 1.0).receive(encode(first, V311), 0.0))


def test_packets_after_a_rejected_connect_are_not_read():
    protocol = ServerProtocol(LIMITS, 1.0)
    data = encode(Connect(), V311) + encode(Publish("t"), V311)
    events = []
    for event in protocol.receive(data, 0.0):
        events.append(event)
        protocol.fail(Reason.BAD_LOGIN)
    assert [Connect] == [type(event) for event in events]
    assert b"\x20\2\0\4" == protocol.data_to_send()


@pytest.mark.parametrize(
    ("reason", "connack_311", "code_5"),
    [
        (Reason.UNSUPPORTED_VERSION, b"\x20\2\0\1", 0x84),
        (Reason.BAD_CLIENT_ID, b"\x20\2\0\2", 0x85),
        (Reason.SERVER_UNAVAILABLE, b"\x20\2\0\3", 0x88),
        (Reason.BAD_LOGIN, b"\x20\2\0\4", 0x86),
        (Reason.NOT_AUTHORIZED, b"\x20\2\0\5", 0x87),
        (Reason.BAD_TOPIC, b"", 0x90),
    ],
)
def test_rejection_has_the_return_code_of_the_clients_version(reason, connack_311, code_5):
    for version, expected in ((V311, connack_311), (V5, encode(Connack(False, code_5), V5))):
        protocol = ServerProtocol(LIMITS, 1.0)
        for _ in protocol.receive(encode(Connect(version=version), version), 0.0):
            protocol.fail(reason)
        assert expected == protocol.data_to_send()


def test_malformed_connect_of_version_5_is_answered_with_connack():
    protocol = ServerProtocol(LIMITS, 1.0)
    data = b"\x10\x0d\0\4MQTT\5\3\0\x3c\0\0\0"
    with pytest.raises(RemoteProtocolError) as caught:
        list(protocol.receive(data, 0.0))
    protocol.fail(caught.value.reason)
    [connack] = Decoder(MAX_LENGTH, V5).receive(protocol.data_to_send())
    assert Connack(False, 0x81) == connack


@pytest.mark.parametrize(
    ("version", "connect", "reason"),
    [
        (V311, {"client_id": "", "clean": False}, Reason.BAD_CLIENT_ID),
        (V311, {"client_id": "x" * 65}, Reason.BAD_CLIENT_ID),
        (V5, {"client_id": "x" * 65}, Reason.BAD_CLIENT_ID),
        (V5, {"properties": {Property.AUTHENTICATION_METHOD: "x"}}, Reason.BAD_AUTHENTICATION_METHOD),
        (V5, {"properties": {Property.AUTHENTICATION_DATA: b"x"}}, Reason.PROTOCOL_ERROR),
        (V5, {"properties": {Property.MAXIMUM_PACKET_SIZE: 4}}, Reason.PACKET_TOO_LARGE),
        (V311, {"will": Will("a/#", b"")}, Reason.BAD_TOPIC),
        (V5, {"will": Will("", b"")}, Reason.BAD_TOPIC),
    ],
)
def test_connect_with_unacceptable_fields_is_rejected(version, connect, reason):
    with pytest.raises(RemoteProtocolError) as caught:
        Peer(version, **connect)
    assert reason == caught.value.reason


def test_second_connect_is_a_protocol_error(peer, version):
    assert Reason.PROTOCOL_ERROR == peer.error_of(Connect(version=version))


def test_connack_of_version_5_has_the_limits_of_the_server():
    requested = {Property.SESSION_EXPIRY: 5000}
    peer = Peer(V5, client_id="", keep_alive=9_999, properties=requested, session=Session("assigned"))
    [connack] = peer.received()
    assert {
        Property.RECEIVE_MAXIMUM: 100,
        Property.MAXIMUM_PACKET_SIZE: 65_536,
        Property.TOPIC_ALIAS_MAXIMUM: 16,
        Property.SHARED_AVAILABLE: 0,
        Property.SESSION_EXPIRY: 1000,
        Property.SERVER_KEEP_ALIVE: 300,
        Property.ASSIGNED_CLIENT_ID: "assigned",
    } == connack.properties


@pytest.mark.parametrize(
    ("version", "keep_alive", "seconds"),
    [
        (V311, 10, 15.0),
        (V311, 0, float("inf")),
        (V311, 60_000, 90_000.0),
        (V5, 10, 15.0),
        (V5, 0, 450.0),
        (V5, 900, 450.0),
    ],
)
def test_silent_client_expires_after_one_and_a_half_keep_alive_times(version, keep_alive, seconds):
    peer = Peer(version, keep_alive=keep_alive)
    assert peer.now + seconds == peer.server.expires
    peer.now += 7
    peer.send(Ping(Kind.PINGREQ))
    assert peer.now + seconds == peer.server.expires


# -- packets from the client ------------------------------------------------------------------------------------------


def test_pingreq_is_answered_with_pingresp(peer):
    assert [] == peer.send(Ping(Kind.PINGREQ))
    assert [Ping(Kind.PINGRESP)] == peer.received()


def test_qos_1_is_acknowledged_only_when_the_server_accepts_it(peer):
    [event] = peer.send(Publish("t", b"x", 1, 7))
    assert [] == peer.received()
    peer.server.acknowledge(event)
    assert [Ack(Kind.PUBACK, 7)] == peer.received()


def test_qos_2_is_received_once(peer):
    [event] = peer.send(Publish("t", b"x", 2, 7))
    peer.server.acknowledge(event)
    assert [Ack(Kind.PUBREC, 7)] == peer.received()
    [redelivered] = peer.send(Publish("t", b"x", 2, 7, dup=True))
    assert Repeated(Publish("t", b"x", 2, 7, dup=True)) == redelivered
    assert [] == peer.send(Ack(Kind.PUBREL, 7))
    assert [Ack(Kind.PUBCOMP, 7)] == peer.received()
    [new] = peer.send(Publish("t", b"y", 2, 7))
    assert isinstance(new, Publish)


def test_qos_2_is_received_once_across_connections(version):
    first = Peer(version, clean=False)
    first.send(Publish("t", b"x", 2, 7))
    second = Peer(version, clean=False, session=first.session, present=True)
    [redelivered] = second.send(Publish("t", b"x", 2, 7, dup=True))
    assert isinstance(redelivered, Repeated)


def test_pubrel_of_an_unknown_packet_id_is_completed(peer, version):
    peer.send(Ack(Kind.PUBREL, 9))
    assert [Ack(Kind.PUBCOMP, 9, 0x92 if version == V5 else 0)] == peer.received()


def test_rejection_of_a_publish_has_a_reason_in_version_5_only(peer, version):
    for qos, kind in ((1, Kind.PUBACK), (2, Kind.PUBREC)):
        [event] = peer.send(Publish("t", b"x", qos, 7))
        peer.server.acknowledge(event, Reason.BAD_TOPIC, "no such topic")
        expected = Ack(kind, 7, 0x90, {Property.REASON_STRING: "no such topic"}) if version == V5 else Ack(kind, 7)
        assert [expected] == peer.received()
    # In version 5 a rejected message needs no PUBREL.
    assert ([7] if version == V311 else []) == list(peer.session.received)


def test_reason_string_is_omitted_without_request_problem_information():
    peer = Peer(V5, properties={Property.REQUEST_PROBLEM_INFO: 0})
    peer.received()
    [event] = peer.send(Publish("t", b"x", 1, 7))
    peer.server.acknowledge(event, Reason.BAD_TOPIC, "no such topic")
    assert [Ack(Kind.PUBACK, 7, 0x90)] == peer.received()


def test_messages_over_the_receive_maximum_are_a_protocol_error():
    peer = Peer(V5)
    for packet_id in range(1, 101):
        peer.send(Publish("t", b"", 2, packet_id))
    assert Reason.RECEIVE_MAXIMUM_EXCEEDED == peer.error_of(Publish("t", b"", 2, 101))


@pytest.mark.parametrize(
    ("packets", "reason"),
    [
        ([Publish("a/#")], Reason.BAD_TOPIC),
        ([Publish("a/+/b")], Reason.BAD_TOPIC),
        ([Publish("")], Reason.PROTOCOL_ERROR),
        ([Publish("", properties={Property.TOPIC_ALIAS: 3})], Reason.PROTOCOL_ERROR),
        ([Publish("t", properties={Property.TOPIC_ALIAS: 17})], Reason.BAD_TOPIC_ALIAS),
        ([Publish("t", properties={Property.SUBSCRIPTION_ID: [1]})], Reason.PROTOCOL_ERROR),
        ([Subscribe(1, (Subscription("a/#/b"),))], Reason.BAD_FILTER),
        ([Subscribe(1, (Subscription("a+"),))], Reason.BAD_FILTER),
        ([Subscribe(1, (Subscription("a"),), {Property.SUBSCRIPTION_ID: [1, 2]})], Reason.PROTOCOL_ERROR),
        ([Unsubscribe(1, ("#a",))], Reason.BAD_FILTER),
        ([Disconnect(0, {Property.SESSION_EXPIRY: 5})], Reason.PROTOCOL_ERROR),
        ([Connack(False, 0)], Reason.PROTOCOL_ERROR),
        ([Suback(Kind.SUBACK, 1, (0,))], Reason.PROTOCOL_ERROR),
        ([Ping(Kind.PINGRESP)], Reason.PROTOCOL_ERROR),
    ],
    ids=str,
)
def test_protocol_error_is_answered_with_disconnect(packets, reason):
    peer = Peer(V5)
    assert reason == peer.error_of(*packets)
    peer.received()
    peer.server.fail(reason, "why")
    assert [Disconnect(reason, {Property.REASON_STRING: "why"})] == peer.received()


def test_no_local_in_a_shared_subscription_is_a_protocol_error():
    """MQTT-3.8.3-4; without shared subscriptions it is rejected like any of them."""
    subscribe = Subscribe(1, (Subscription("$share/group/t", no_local=True),))
    assert Reason.PROTOCOL_ERROR == Peer(V5, limits=ServerLimits(shared_subscriptions=True)).error_of(subscribe)
    assert [subscribe] == Peer(V5).send(subscribe)


@pytest.mark.parametrize("max_size", [1, 2, 4])
def test_nothing_is_sent_that_exceeds_a_tiny_maximum_packet_size(max_size):
    protocol = ServerProtocol(LIMITS, 1.0)
    with pytest.raises(RemoteProtocolError) as caught:
        list(
            protocol.receive(encode(Connect(version=V5, properties={Property.MAXIMUM_PACKET_SIZE: max_size}), V5), 0.0)
        )
    protocol.fail(caught.value.reason, str(caught.value))
    assert b"" == protocol.data_to_send()


def test_topic_alias_refers_to_the_topic_of_its_last_definition():
    peer = Peer(V5)
    alias = {Property.TOPIC_ALIAS: 3}
    events = peer.send(Publish("a", b"1", properties=alias), Publish("", b"2", properties=alias))
    events += peer.send(Publish("b", b"3", properties=alias), Publish("", b"4", properties=alias))
    assert ["a", "a", "b", "b"] == [event.topic for event in events]
    assert {} == events[0].properties


def test_will_is_discarded_by_a_normal_disconnect_only(version):
    for disconnect, will in ((Disconnect(), None), (None, Will("t", b"x"))):
        peer = Peer(version, will=Will("t", b"x"))
        if disconnect:
            peer.send(disconnect)
        assert will == peer.server.will
    peer = Peer(V5, will=Will("t", b"x"))
    peer.send(Disconnect(Reason.DISCONNECT_WITH_WILL))
    assert Will("t", b"x") == peer.server.will


# -- subscriptions ----------------------------------------------------------------------------------------------------


def test_subscriptions_are_granted_rejected_and_removed(peer, version):
    subscribe = Subscribe(5, (Subscription("a", 2), Subscription("b", 1), Subscription("c")))
    [event] = peer.send(subscribe)
    peer.server.answer_subscribe(event, [2, Reason.NOT_AUTHORIZED, 0])
    code = 0x87 if version == V5 else 0x80
    assert [Suback(Kind.SUBACK, 5, (2, code, 0))] == peer.received()
    assert ["a", "c"] == list(peer.session.subscriptions)
    [event] = peer.send(Unsubscribe(6, ("a", "x")))
    peer.server.answer_unsubscribe(event)
    assert [Suback(Kind.UNSUBACK, 6, (0, 0x11) if version == V5 else ())] == peer.received()
    assert ["c"] == list(peer.session.subscriptions)


def test_granted_qos_is_limited_by_the_server():
    peer = Peer(limits=ServerLimits(max_qos=1))
    peer.received()
    [event] = peer.send(Subscribe(5, (Subscription("a", 2),)))
    peer.server.answer_subscribe(event, [2])
    assert [Suback(Kind.SUBACK, 5, (1,))] == peer.received()
    assert (1, []) == peer.session.match_subscriptions("a")
    assert peer.session.match_subscriptions("b") is None


def test_highest_qos_of_overlapping_subscriptions_applies():
    peer = Peer(V5)
    for topic_filter, qos, number in (("a/#", 1, 7), ("a/b", 0, 8), ("x", 2, 9)):
        [event] = peer.send(Subscribe(5, (Subscription(topic_filter, qos),), {Property.SUBSCRIPTION_ID: [number]}))
        peer.server.answer_subscribe(event, [qos])
    assert (1, [7, 8]) == peer.session.match_subscriptions("a/b")


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("a/+", "a/b/c", False),
        ("+/b", "a/b", True),
        ("+", "a", True),
        ("+", "/a", False),
        ("/+", "/a", True),
        ("+/+", "/a", True),
        ("#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("a/+/#", "a", False),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
    ],
)
def test_topics_that_match_a_filter(topic_filter, topic, expected):
    assert expected is matches(topic_filter, topic)


@given(st.lists(st.sampled_from(["a", "b", "+", "#", "", "a+", "#b"]), min_size=1, max_size=4).map("/".join))
def test_wildcards_are_valid_for_whole_levels_only(topic_filter):
    levels = topic_filter.split("/")
    valid = bool(topic_filter) and all(level in ("a", "b", "+", "") for level in levels[:-1])
    valid = valid and levels[-1] in ("a", "b", "+", "", "#")
    assert valid is is_filter(topic_filter)
    assert is_topic(topic_filter) is (bool(topic_filter) and not set(topic_filter) & set("+#"))


# -- messages to the client -------------------------------------------------------------------------------------------


def test_acknowledged_messages_are_reported_as_delivered(peer):
    qos_1, qos_2, qos_0 = Message("a", b"1", 1), Message("b", b"2", 2), Message("c", b"0")
    assert [Publish("a", b"1", 1, 1), Publish("b", b"2", 2, 2), Publish("c", b"0")] == peer.publish(qos_1, qos_2, qos_0)
    assert [Delivered(qos_1)] == peer.send(Ack(Kind.PUBACK, 1))
    assert [Delivered(qos_2)] == peer.send(Ack(Kind.PUBREC, 2))
    assert [Ack(Kind.PUBREL, 2)] == peer.received()
    assert [] == peer.send(Ack(Kind.PUBCOMP, 2))
    assert {} == peer.session.inflight


def test_messages_in_flight_are_limited_by_the_receive_maximum():
    peer = Peer(V5, properties={Property.RECEIVE_MAXIMUM: 2})
    peer.received()
    assert [1, 2] == [p.packet_id for p in peer.publish(*(Message("a", b"%d" % n, 1) for n in range(4)))]
    peer.send(Ack(Kind.PUBACK, 2))
    assert [b"2"] == [p.payload for p in peer.received()]
    peer.send(Ack(Kind.PUBACK, 1), Ack(Kind.PUBACK, 3))
    assert [b"3"] == [p.payload for p in peer.received()]


def test_queue_keeps_the_newest_message_of_each_key():
    peer = Peer()
    peer.received()
    sent = peer.publish(*(Message("a", b"%d" % n, 1, key=n % 3) for n in range(INFLIGHT_311 + 50)))
    assert INFLIGHT_311 == len(sent)
    assert [b"67", b"68", b"69"] == [message.payload for message in peer.session.queue.values()]


def test_queue_is_bounded_and_counts_dropped_messages():
    session = Session("me")
    for n in range(MAX_QUEUED + 7):
        session.enqueue(Message("a", b"%d" % n, 1))
    assert (MAX_QUEUED, 7) == (len(session.queue), session.dropped)


def test_newer_message_replaces_the_queued_one_of_its_key():
    peer = Peer(V5, properties={Property.RECEIVE_MAXIMUM: 1})
    peer.received()
    peer.publish(Message("x", b"", 1), Message("a", b"old", 1, key="a"), Message("a", b"new", 0, key="a"))
    peer.send(Ack(Kind.PUBACK, 1))
    assert [b"new"] == [p.payload for p in peer.received()]


def test_unacknowledged_messages_are_redelivered_on_the_next_connection(version):
    expiry = {Property.SESSION_EXPIRY: 100} if version == V5 else {}
    first = Peer(version, clean=False, properties=expiry)
    first.received()
    first.publish(Message("a", b"1", 1), Message("b", b"2", 2), Message("c", b"3", 2))
    first.send(Ack(Kind.PUBREC, 2))
    second = Peer(version, clean=False, session=first.session, present=True, properties=expiry)
    connack, *redelivered = second.received()
    assert connack.present
    assert [Publish("a", b"1", 1, 1, dup=True), Ack(Kind.PUBREL, 2), Publish("c", b"3", 2, 3, dup=True)] == redelivered
    second.send(Ack(Kind.PUBACK, 1), Ack(Kind.PUBCOMP, 2), Ack(Kind.PUBREC, 3), Ack(Kind.PUBCOMP, 3))
    assert {} == second.session.inflight


def test_redelivery_respects_the_new_receive_maximum(version):
    first = Peer(version, clean=False)
    first.received()
    first.publish(*(Message("a", b"%d" % n, 1) for n in range(15)))
    properties = {Property.RECEIVE_MAXIMUM: 2}
    second = Peer(V5, clean=False, session=first.session, present=True, properties=properties)
    _, *redelivered = second.received()
    assert [b"0", b"1"] == [packet.payload for packet in redelivered]
    received = redelivered
    while redelivered:
        second.send(*(Ack(Kind.PUBACK, packet.packet_id) for packet in redelivered))
        redelivered = second.received()
        received += redelivered
    assert [b"%d" % n for n in range(15)] == [packet.payload for packet in received]


def test_unacknowledged_messages_do_not_block_qos_0(peer):
    peer.publish(*(Message("a", b"", 1) for _ in range(200)))
    assert [b"now"] == [packet.payload for packet in peer.publish(Message("b", b"now", 0, key="b"))]


def test_nothing_is_redelivered_while_the_client_is_connected(peer):
    peer.publish(Message("a", b"1", 1))
    peer.now += 10_000
    peer.send(Ping(Kind.PINGREQ))
    assert [Ping(Kind.PINGRESP)] == peer.received()


def test_expired_message_is_not_delivered(version):
    first = Peer(version, clean=False)
    first.received()
    session = first.session
    session.enqueue(Message("a", b"old", 1, expires=first.now - 1))
    session.enqueue(Message("a", b"new", 1, expires=first.now + 30))
    second = Peer(version, clean=False, session=session, present=True)
    [connack, publish] = second.received()
    assert b"new" == publish.payload
    assert ({Property.MESSAGE_EXPIRY: 30} if version == V5 else {}) == publish.properties


def test_message_over_the_maximum_packet_size_is_not_sent():
    peer = Peer(V5, properties={Property.MAXIMUM_PACKET_SIZE: 40})
    assert not peer.server.publish(Message("a", b"x" * 40), peer.now)
    assert not peer.server.publish(Message("a", b"x" * 40, 1), peer.now)
    assert {} == peer.session.inflight
    assert peer.server.publish(Message("a", b"x" * 20), peer.now)


def test_packet_identifiers_in_use_are_skipped():
    session = Session("me")
    session.inflight = {2: None, 3: None}
    session._last_id = 65_535  # noqa: SLF001
    assert [1, 4] == [session.next_id(), session.next_id()]
