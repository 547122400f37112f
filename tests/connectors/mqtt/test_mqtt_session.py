"""The rules of a connection and a session: two peers wired in memory, no socket and no clock."""

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
        [event] = self.say(Connect(version=version, client_id=connect.pop("client_id", "me"), **connect))
        self.server.accept(event, session or Session("me"), self.now, present=present)

    @property
    def session(self):
        return self.server.session

    def say(self, *packets):
        """Send packets; what the server makes of them."""
        data = b"".join(encode(packet, self.version) for packet in packets)
        return list(self.server.receive(data, self.now))

    def heard(self):
        """What the server has sent."""
        return list(self._decoder.receive(self.server.data_to_send()))

    def publish(self, *messages):
        for message in messages:
            self.server.publish(message, self.now)
        return self.heard()

    def fails(self, *packets):
        """Why the server ends the connection."""
        with pytest.raises(RemoteProtocolError) as caught:
            self.say(*packets)
        return caught.value.reason


@pytest.fixture(params=[V311, V5], ids=["3.1.1", "5"])
def version(request):
    return request.param


@pytest.fixture
def peer(version):
    peer = Peer(version)
    peer.heard()
    return peer


# -- coming in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first", [Ping(Kind.PINGREQ), Publish("t"), Disconnect()], ids=["ping", "publish", "disconnect"]
)
def test_the_first_packet_is_connect(first):
    with pytest.raises(RemoteProtocolError, match="first packet"):
        list(ServerProtocol(LIMITS, 1.0).receive(encode(first, V311), 0.0))


def test_nothing_is_read_behind_a_connect_that_is_refused():
    protocol = ServerProtocol(LIMITS, 1.0)
    data = encode(Connect(), V311) + encode(Publish("t"), V311)
    events = []
    for event in protocol.receive(data, 0.0):
        events.append(event)
        protocol.fail(Reason.BAD_LOGIN)
    assert [Connect] == [type(event) for event in events]
    assert b"\x20\2\0\4" == protocol.data_to_send()


@pytest.mark.parametrize(
    ("reason", "three", "five"),
    [
        (Reason.UNSUPPORTED_VERSION, b"\x20\2\0\1", 0x84),
        (Reason.BAD_CLIENT_ID, b"\x20\2\0\2", 0x85),
        (Reason.SERVER_UNAVAILABLE, b"\x20\2\0\3", 0x88),
        (Reason.BAD_LOGIN, b"\x20\2\0\4", 0x86),
        (Reason.NOT_AUTHORIZED, b"\x20\2\0\5", 0x87),
        (Reason.BAD_TOPIC, b"", 0x90),
    ],
)
def test_a_client_is_refused_in_the_words_of_its_version(reason, three, five):
    for version, expected in ((V311, three), (V5, encode(Connack(False, five), V5))):
        protocol = ServerProtocol(LIMITS, 1.0)
        for _ in protocol.receive(encode(Connect(version=version), version), 0.0):
            protocol.fail(reason)
        assert expected == protocol.data_to_send()


def test_a_connect_of_version_5_that_is_malformed_is_answered():
    protocol = ServerProtocol(LIMITS, 1.0)
    bad = b"\x10\x0d\0\4MQTT\5\3\0\x3c\0\0\0"
    with pytest.raises(RemoteProtocolError) as caught:
        list(protocol.receive(bad, 0.0))
    protocol.fail(caught.value.reason)
    [answer] = Decoder(MAX_LENGTH, V5).receive(protocol.data_to_send())
    assert Connack(False, 0x81) == answer


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
def test_a_connect_that_makes_no_sense_is_refused(version, connect, reason):
    with pytest.raises(RemoteProtocolError) as caught:
        Peer(version, **connect)
    assert reason == caught.value.reason


def test_a_second_connect_ends_the_connection(peer, version):
    assert Reason.PROTOCOL_ERROR == peer.fails(Connect(version=version))


def test_version_5_is_told_the_terms():
    asked = {Property.SESSION_EXPIRY: 5000}
    peer = Peer(V5, client_id="", keep_alive=9_999, properties=asked, session=Session("given"))
    [connack] = peer.heard()
    assert {
        Property.RECEIVE_MAXIMUM: 100,
        Property.MAXIMUM_PACKET_SIZE: 65_536,
        Property.TOPIC_ALIAS_MAXIMUM: 16,
        Property.SHARED_AVAILABLE: 0,
        Property.SESSION_EXPIRY: 1000,
        Property.SERVER_KEEP_ALIVE: 300,
        Property.ASSIGNED_CLIENT_ID: "given",
    } == connack.properties


@pytest.mark.parametrize(
    ("version", "asked", "after"),
    [
        (V311, 10, 15.0),
        (V311, 0, float("inf")),
        (V311, 60_000, 90_000.0),
        (V5, 10, 15.0),
        (V5, 0, 450.0),
        (V5, 900, 450.0),
    ],
)
def test_a_silent_client_is_gone_after_one_and_a_half_keep_alive_times(version, asked, after):
    peer = Peer(version, keep_alive=asked)
    assert peer.now + after == peer.server.expires
    peer.now += 7
    peer.say(Ping(Kind.PINGREQ))
    assert peer.now + after == peer.server.expires


# -- what a client says -----------------------------------------------------------------------------------------------


def test_a_ping_is_answered(peer):
    assert [] == peer.say(Ping(Kind.PINGREQ))
    assert [Ping(Kind.PINGRESP)] == peer.heard()


def test_qos_1_is_acknowledged_when_it_is_safe(peer):
    [event] = peer.say(Publish("t", b"x", 1, 7))
    assert [] == peer.heard()
    peer.server.acknowledge(event)
    assert [Ack(Kind.PUBACK, 7)] == peer.heard()


def test_qos_2_comes_once(peer):
    [event] = peer.say(Publish("t", b"x", 2, 7))
    peer.server.acknowledge(event)
    assert [Ack(Kind.PUBREC, 7)] == peer.heard()
    [again] = peer.say(Publish("t", b"x", 2, 7, dup=True))
    assert Repeated(Publish("t", b"x", 2, 7, dup=True)) == again
    assert [] == peer.say(Ack(Kind.PUBREL, 7))
    assert [Ack(Kind.PUBCOMP, 7)] == peer.heard()
    [new] = peer.say(Publish("t", b"y", 2, 7))
    assert isinstance(new, Publish)


def test_qos_2_comes_once_also_over_two_connections(version):
    first = Peer(version, clean=False)
    first.say(Publish("t", b"x", 2, 7))
    second = Peer(version, clean=False, session=first.session, present=True)
    [again] = second.say(Publish("t", b"x", 2, 7, dup=True))
    assert isinstance(again, Repeated)


def test_a_release_of_something_unknown(peer, version):
    peer.say(Ack(Kind.PUBREL, 9))
    assert [Ack(Kind.PUBCOMP, 9, 0x92 if version == V5 else 0)] == peer.heard()


def test_why_a_message_is_refused_is_said_in_version_5_only(peer, version):
    for qos, kind in ((1, Kind.PUBACK), (2, Kind.PUBREC)):
        [event] = peer.say(Publish("t", b"x", qos, 7))
        peer.server.acknowledge(event, Reason.BAD_TOPIC, "no such topic")
        expected = Ack(kind, 7, 0x90, {Property.REASON_STRING: "no such topic"}) if version == V5 else Ack(kind, 7)
        assert [expected] == peer.heard()
    # It was refused, so there is nothing to release.
    assert ([7] if version == V311 else []) == list(peer.session.received)


def test_a_client_that_wants_no_reasons_hears_none():
    peer = Peer(V5, properties={Property.REQUEST_PROBLEM_INFO: 0})
    peer.heard()
    [event] = peer.say(Publish("t", b"x", 1, 7))
    peer.server.acknowledge(event, Reason.BAD_TOPIC, "no such topic")
    assert [Ack(Kind.PUBACK, 7, 0x90)] == peer.heard()


def test_more_messages_than_were_agreed_end_the_connection():
    peer = Peer(V5)
    for packet_id in range(1, 101):
        peer.say(Publish("t", b"", 2, packet_id))
    assert Reason.RECEIVE_MAXIMUM_EXCEEDED == peer.fails(Publish("t", b"", 2, 101))


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
def test_what_is_against_the_rules_ends_the_connection(packets, reason):
    peer = Peer(V5)
    assert reason == peer.fails(*packets)
    peer.heard()
    peer.server.fail(reason, "why")
    assert [Disconnect(reason, {Property.REASON_STRING: "why"})] == peer.heard()


def test_no_local_in_a_shared_subscription_is_a_protocol_error():
    """MQTT-3.8.3-4; where nothing is shared it is refused as any shared subscription."""
    subscribe = Subscribe(1, (Subscription("$share/group/t", no_local=True),))
    assert Reason.PROTOCOL_ERROR == Peer(V5, limits=ServerLimits(shared_subscriptions=True)).fails(subscribe)
    assert [subscribe] == Peer(V5).say(subscribe)


@pytest.mark.parametrize("most", [1, 2, 4])
def test_client_hears_nothing_that_is_longer_than_it_takes(most):
    protocol = ServerProtocol(LIMITS, 1.0)
    with pytest.raises(RemoteProtocolError) as caught:
        list(protocol.receive(encode(Connect(version=V5, properties={Property.MAXIMUM_PACKET_SIZE: most}), V5), 0.0))
    protocol.fail(caught.value.reason, str(caught.value))
    assert b"" == protocol.data_to_send()


def test_a_topic_has_an_alias_from_its_first_use_on():
    peer = Peer(V5)
    named, short = {Property.TOPIC_ALIAS: 3}, {Property.TOPIC_ALIAS: 3}
    events = peer.say(Publish("a", b"1", properties=named), Publish("", b"2", properties=short))
    events += peer.say(Publish("b", b"3", properties=named), Publish("", b"4", properties=short))
    assert ["a", "a", "b", "b"] == [event.topic for event in events]
    assert {} == events[0].properties


def test_a_will_is_for_an_end_that_was_not_said(version):
    for goodbye, left in ((Disconnect(), None), (None, Will("t", b"x"))):
        peer = Peer(version, will=Will("t", b"x"))
        if goodbye:
            peer.say(goodbye)
        assert left == peer.server.will
    peer = Peer(V5, will=Will("t", b"x"))
    peer.say(Disconnect(Reason.DISCONNECT_WITH_WILL))
    assert Will("t", b"x") == peer.server.will


# -- subscriptions ----------------------------------------------------------------------------------------------------


def test_subscriptions_are_granted_refused_and_taken_back(peer, version):
    asked = Subscribe(5, (Subscription("a", 2), Subscription("b", 1), Subscription("c")))
    [event] = peer.say(asked)
    peer.server.answer_subscribe(event, [2, Reason.NOT_AUTHORIZED, 0])
    refused = 0x87 if version == V5 else 0x80
    assert [Suback(Kind.SUBACK, 5, (2, refused, 0))] == peer.heard()
    assert ["a", "c"] == list(peer.session.subscriptions)
    [event] = peer.say(Unsubscribe(6, ("a", "x")))
    peer.server.answer_unsubscribe(event)
    assert [Suback(Kind.UNSUBACK, 6, (0, 0x11) if version == V5 else ())] == peer.heard()
    assert ["c"] == list(peer.session.subscriptions)


def test_no_more_is_granted_than_there_is():
    peer = Peer(limits=ServerLimits(max_qos=1))
    peer.heard()
    [event] = peer.say(Subscribe(5, (Subscription("a", 2),)))
    peer.server.answer_subscribe(event, [2])
    assert [Suback(Kind.SUBACK, 5, (1,))] == peer.heard()
    assert (1, []) == peer.session.match_subscriptions("a")
    assert peer.session.match_subscriptions("b") is None


def test_of_several_subscriptions_the_highest_counts():
    peer = Peer(V5)
    for topic_filter, qos, number in (("a/#", 1, 7), ("a/b", 0, 8), ("x", 2, 9)):
        [event] = peer.say(Subscribe(5, (Subscription(topic_filter, qos),), {Property.SUBSCRIPTION_ID: [number]}))
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
def test_which_topics_a_filter_has(topic_filter, topic, expected):
    assert expected is matches(topic_filter, topic)


@given(st.lists(st.sampled_from(["a", "b", "+", "#", "", "a+", "#b"]), min_size=1, max_size=4).map("/".join))
def test_filters_have_wildcards_for_whole_levels(topic_filter):
    levels = topic_filter.split("/")
    good = bool(topic_filter) and all(level in ("a", "b", "+", "") for level in levels[:-1])
    good = good and levels[-1] in ("a", "b", "+", "", "#")
    assert good is is_filter(topic_filter)
    assert is_topic(topic_filter) is (bool(topic_filter) and not set(topic_filter) & set("+#"))


# -- what a client hears ----------------------------------------------------------------------------------------------


def test_messages_with_qos_are_delivered_and_told(peer):
    one, two, zero = Message("a", b"1", 1), Message("b", b"2", 2), Message("c", b"0")
    assert [Publish("a", b"1", 1, 1), Publish("b", b"2", 2, 2), Publish("c", b"0")] == peer.publish(one, two, zero)
    assert [Delivered(one)] == peer.say(Ack(Kind.PUBACK, 1))
    assert [Delivered(two)] == peer.say(Ack(Kind.PUBREC, 2))
    assert [Ack(Kind.PUBREL, 2)] == peer.heard()
    assert [] == peer.say(Ack(Kind.PUBCOMP, 2))
    assert {} == peer.session.inflight


def test_no_more_are_on_their_way_than_the_client_takes():
    peer = Peer(V5, properties={Property.RECEIVE_MAXIMUM: 2})
    peer.heard()
    assert [1, 2] == [p.packet_id for p in peer.publish(*(Message("a", b"%d" % n, 1) for n in range(4)))]
    peer.say(Ack(Kind.PUBACK, 2))
    assert [b"2"] == [p.payload for p in peer.heard()]
    peer.say(Ack(Kind.PUBACK, 1), Ack(Kind.PUBACK, 3))
    assert [b"3"] == [p.payload for p in peer.heard()]


def test_a_client_that_never_acknowledges_keeps_the_newest_of_each_key():
    peer = Peer()
    peer.heard()
    sent = peer.publish(*(Message("a", b"%d" % n, 1, key=n % 3) for n in range(INFLIGHT_311 + 50)))
    assert INFLIGHT_311 == len(sent)
    assert [b"67", b"68", b"69"] == [message.payload for message in peer.session.queue.values()]


def test_what_waits_is_bounded_and_what_was_lost_is_counted():
    session = Session("me")
    for n in range(MAX_QUEUED + 7):
        session.enqueue(Message("a", b"%d" % n, 1))
    assert (MAX_QUEUED, 7) == (len(session.queue), session.dropped)


def test_a_newer_value_does_not_overtake_one_that_waits():
    peer = Peer(V5, properties={Property.RECEIVE_MAXIMUM: 1})
    peer.heard()
    peer.publish(Message("x", b"", 1), Message("a", b"old", 1, key="a"), Message("a", b"new", 0, key="a"))
    peer.say(Ack(Kind.PUBACK, 1))
    assert [b"new"] == [p.payload for p in peer.heard()]


def test_what_was_not_acknowledged_comes_again_on_the_next_connection(version):
    expiry = {Property.SESSION_EXPIRY: 100} if version == V5 else {}
    first = Peer(version, clean=False, properties=expiry)
    first.heard()
    first.publish(Message("a", b"1", 1), Message("b", b"2", 2), Message("c", b"3", 2))
    first.say(Ack(Kind.PUBREC, 2))
    second = Peer(version, clean=False, session=first.session, present=True, properties=expiry)
    connack, *again = second.heard()
    assert connack.present
    assert [Publish("a", b"1", 1, 1, dup=True), Ack(Kind.PUBREL, 2), Publish("c", b"3", 2, 3, dup=True)] == again
    second.say(Ack(Kind.PUBACK, 1), Ack(Kind.PUBCOMP, 2), Ack(Kind.PUBREC, 3), Ack(Kind.PUBCOMP, 3))
    assert {} == second.session.inflight


def test_no_more_comes_again_at_once_than_the_client_takes_now(version):
    first = Peer(version, clean=False)
    first.heard()
    first.publish(*(Message("a", b"%d" % n, 1) for n in range(15)))
    more = {Property.RECEIVE_MAXIMUM: 2}
    second = Peer(V5, clean=False, session=first.session, present=True, properties=more)
    _, *again = second.heard()
    assert [b"0", b"1"] == [packet.payload for packet in again]
    heard = again
    while again:
        second.say(*(Ack(Kind.PUBACK, packet.packet_id) for packet in again))
        again = second.heard()
        heard += again
    assert [b"%d" % n for n in range(15)] == [packet.payload for packet in heard]


def test_what_is_not_acknowledged_holds_up_no_other_values(peer):
    peer.publish(*(Message("a", b"", 1) for _ in range(200)))
    assert [b"now"] == [packet.payload for packet in peer.publish(Message("b", b"now", 0, key="b"))]


def test_nothing_comes_again_while_a_client_is_connected(peer):
    peer.publish(Message("a", b"1", 1))
    peer.now += 10_000
    peer.say(Ping(Kind.PINGREQ))
    assert [Ping(Kind.PINGRESP)] == peer.heard()


def test_a_message_does_not_outlive_its_time(version):
    first = Peer(version, clean=False)
    first.heard()
    session = first.session
    session.enqueue(Message("a", b"old", 1, expires=first.now - 1))
    session.enqueue(Message("a", b"new", 1, expires=first.now + 30))
    second = Peer(version, clean=False, session=session, present=True)
    [connack, publish] = second.heard()
    assert b"new" == publish.payload
    assert ({Property.MESSAGE_EXPIRY: 30} if version == V5 else {}) == publish.properties


def test_a_packet_that_is_too_long_for_the_client_is_not_sent():
    peer = Peer(V5, properties={Property.MAXIMUM_PACKET_SIZE: 40})
    assert not peer.server.publish(Message("a", b"x" * 40), peer.now)
    assert not peer.server.publish(Message("a", b"x" * 40, 1), peer.now)
    assert {} == peer.session.inflight
    assert peer.server.publish(Message("a", b"x" * 20), peer.now)


def test_packet_identifiers_in_use_are_passed_over():
    session = Session("me")
    session.inflight = {2: None, 3: None}
    session._last_id = 65_535  # noqa: SLF001
    assert [1, 4] == [session.next_id(), session.next_id()]
