"""MQTT's packets: what we write we read again, another implementation reads too, and nothing odd gets through."""

from __future__ import annotations

import tracemalloc

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.packets import (
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
from connectors.mqtt.protocol import Decoder, encode, encode_length

MB = 1024 * 1024


def heard(decoder, chunks):
    """What a decoder yields for some chunks, and why it ended, if it did."""
    found = []
    try:
        for chunk in chunks:
            for packet in decoder.receive(chunk):
                found.append(packet)
    except RemoteProtocolError as error:
        return found, error.reason
    return found, None


def chunked(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


#: Without control characters and what is no character: such strings are refused.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=12)
TOPIC = st.text(st.sampled_from("ab/ é"), min_size=1, max_size=12)
IDS = st.integers(1, 65_535)
PAYLOAD = st.binary(max_size=200)
NUMBER = st.integers(0, 2**32 - 1)
USERS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)

OF_MESSAGE = {
    Property.PAYLOAD_FORMAT: st.integers(0, 1),
    Property.MESSAGE_EXPIRY: NUMBER,
    Property.CONTENT_TYPE: TEXT,
    Property.RESPONSE_TOPIC: TOPIC,
    Property.CORRELATION_DATA: st.binary(max_size=8),
    Property.USER_PROPERTY: USERS,
}
OF_CONNECT = {
    Property.SESSION_EXPIRY: NUMBER,
    Property.RECEIVE_MAXIMUM: IDS,
    Property.MAXIMUM_PACKET_SIZE: st.integers(1, 2**32 - 1),
    Property.TOPIC_ALIAS_MAXIMUM: st.integers(0, 65_535),
    Property.REQUEST_PROBLEM_INFO: st.integers(0, 1),
    Property.REQUEST_RESPONSE_INFO: st.integers(0, 1),
    Property.AUTHENTICATION_METHOD: TEXT,
    Property.AUTHENTICATION_DATA: st.binary(max_size=8),
    Property.USER_PROPERTY: USERS,
}
OF_CONNACK = {
    Property.SESSION_EXPIRY: NUMBER,
    Property.ASSIGNED_CLIENT_ID: TEXT,
    Property.SERVER_KEEP_ALIVE: st.integers(0, 65_535),
    Property.RESPONSE_INFO: TEXT,
    Property.SERVER_REFERENCE: TEXT,
    Property.REASON_STRING: TEXT,
    Property.MAXIMUM_QOS: st.integers(0, 1),
    Property.RETAIN_AVAILABLE: st.integers(0, 1),
    Property.WILDCARD_AVAILABLE: st.integers(0, 1),
    Property.SUBSCRIPTION_ID_AVAILABLE: st.integers(0, 1),
    Property.SHARED_AVAILABLE: st.integers(0, 1),
}
OF_ANSWER = {Property.REASON_STRING: TEXT, Property.USER_PROPERTY: USERS}


def properties(known, version, **more):
    return st.fixed_dictionaries({}, optional={**known, **more.get("extra", {})}) if version == V5 else st.just({})


def messages(version):
    extra = {Property.SUBSCRIPTION_ID: st.lists(st.integers(1, 2**28 - 1), min_size=1, max_size=3)}
    extra[Property.TOPIC_ALIAS] = IDS

    def made(qos):
        packet_id = IDS if qos else st.just(0)
        dup = st.booleans() if qos else st.just(False)
        of = properties(OF_MESSAGE, version, extra=extra)
        return st.builds(Publish, TOPIC, PAYLOAD, st.just(qos), packet_id, st.booleans(), dup, of)

    return st.integers(0, 2).flatmap(made)


def connects(version):
    of_will = properties({**OF_MESSAGE, Property.WILL_DELAY: NUMBER}, version)
    will = st.builds(Will, TOPIC, PAYLOAD, st.integers(0, 2), st.booleans(), of_will)
    login = st.tuples(st.none() | TEXT, st.none() | PAYLOAD).filter(
        lambda pair: version == V5 or pair[0] is not None or pair[1] is None
    )
    return st.builds(
        lambda login, **fields: Connect(username=login[0], password=login[1], version=version, **fields),
        login=login,
        client_id=TEXT,
        clean=st.booleans(),
        keep_alive=st.integers(0, 65_535),
        will=st.none() | will,
        properties=properties(OF_CONNECT, version),
        bridge=st.booleans() if version < V5 else st.just(False),
    )


#: Acknowledgements and their reason codes (5 §3.4.2.1, §3.6.2.1).
ACKS = [
    (kind, reason)
    for kind in (Kind.PUBACK, Kind.PUBREC)
    for reason in (0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
] + [(kind, reason) for kind in (Kind.PUBREL, Kind.PUBCOMP) for reason in (0, 0x92)]


def others(version):
    answer = properties(OF_ANSWER, version)
    reason = st.integers(0, 255) if version == V5 else st.just(0)
    subscription = (
        st.builds(Subscription, TOPIC, st.integers(0, 2), st.booleans(), st.booleans(), st.integers(0, 2))
        if version == V5
        else st.builds(Subscription, TOPIC, st.integers(0, 2))
    )
    number = properties({Property.SUBSCRIPTION_ID: st.lists(st.integers(1, 100), min_size=1, max_size=1)}, version)
    reasons = st.lists(st.integers(0, 255), max_size=4).map(tuple)
    return st.one_of(
        st.builds(Connack, st.booleans(), st.integers(0, 255), properties(OF_CONNACK, version)),
        st.builds(
            lambda ack, packet_id, of: Ack(ack[0], packet_id, ack[1] if version == V5 else 0, of),
            st.sampled_from(ACKS),
            IDS,
            answer,
        ),
        st.builds(Subscribe, IDS, st.lists(subscription, min_size=1, max_size=3).map(tuple), number),
        st.builds(Unsubscribe, IDS, st.lists(TOPIC, min_size=1, max_size=3).map(tuple)),
        st.builds(Suback, st.just(Kind.SUBACK), IDS, reasons, answer),
        st.builds(Suback, st.just(Kind.UNSUBACK), IDS, reasons if version == V5 else st.just(()), answer),
        st.builds(Ping, st.sampled_from([Kind.PINGREQ, Kind.PINGRESP])),
        st.builds(Disconnect, reason, answer),
        *([st.builds(Auth, reason, answer)] if version == V5 else []),
    )


VERSIONS = st.sampled_from([V311, V5])
CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(VERSIONS.flatmap(lambda v: st.tuples(st.just(v), st.lists(messages(v) | others(v), max_size=5))), CUTS)
def test_packets_are_read_as_they_were_written_however_they_are_split(case, cuts):
    version, packets = case
    data = b"".join(encode(packet, version) for packet in packets)
    assert (packets, None) == heard(Decoder(MB, version), chunked(data, cuts))


@given(st.sampled_from([V31, V311, V5]).flatmap(connects), CUTS)
def test_a_connect_is_read_as_it_was_written(connect, cuts):
    decoder = Decoder()
    assert ([connect], None) == heard(decoder, chunked(encode(connect, connect.version), cuts))
    assert connect.version == decoder.version


@given(st.binary(max_size=300), st.sampled_from([0, V311, V5]), CUTS)
def test_any_bytes_give_packets_or_a_reason(data, version, cuts):
    whole = heard(Decoder(MB, version), [data])
    assert whole == heard(Decoder(MB, version), chunked(data, cuts))


@given(VERSIONS.flatmap(lambda v: st.tuples(st.just(v), messages(v) | others(v))), st.data())
def test_a_packet_with_one_byte_changed_gives_packets_or_a_reason(case, data):
    version, packet = case
    encoded = bytearray(encode(packet, version))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    found, _ = heard(Decoder(MB, version), [bytes(encoded)])
    for one in found:
        encode(one, version)


@given(st.integers(0, 268_435_455))
def test_lengths_have_one_to_four_bytes(value):
    encoded = encode_length(value)
    assert 1 <= len(encoded) <= 4
    assert all(byte & 128 for byte in encoded[:-1])


# -- another implementation -------------------------------------------------------------------------------------------


def read_elsewhere(data):
    packet, size = mqtt5.read(data)
    assert size == len(data)
    return packet


@given(messages(V5))
def test_another_implementation_reads_our_messages(packet):
    theirs = read_elsewhere(encode(packet, V5))
    assert (packet.topic, packet.payload, packet.qos) == (theirs.topic, theirs.payload, theirs.qos)
    assert (packet.retain, packet.dup, packet.packet_id or None) == (theirs.retain, theirs.duplicate, theirs.packet_id)
    of = packet.properties
    assert of.get(Property.USER_PROPERTY, []) == theirs.user_properties
    assert of.get(Property.SUBSCRIPTION_ID, []) == theirs.subscription_ids
    assert of.get(Property.MESSAGE_EXPIRY) == theirs.message_expiry_interval
    assert of.get(Property.TOPIC_ALIAS) == theirs.topic_alias
    assert of.get(Property.CORRELATION_DATA) == theirs.correlation_data


@given(messages(V5))
def test_we_read_the_messages_of_another_implementation(packet):
    theirs = read_elsewhere(encode(packet, V5)).write()
    [again], reason = heard(Decoder(MB, V5), [theirs])
    assert reason is None
    # It leaves out what has the default anyway.
    told = {k: v for k, v in packet.properties.items() if (k, v) != (Property.PAYLOAD_FORMAT, 0)}
    assert (packet.topic, packet.payload, packet.packet_id) == (again.topic, again.payload, again.packet_id)
    assert told == again.properties


@given(connects(V5))
def test_we_read_the_connect_of_another_implementation(connect):
    theirs = read_elsewhere(encode(connect, V5))
    assert (connect.client_id, connect.clean, connect.keep_alive) == (
        theirs.client_id,
        theirs.clean_start,
        theirs.keep_alive,
    )
    assert (connect.username, connect.password) == (theirs.username, theirs.password)
    [again], _ = heard(Decoder(), [theirs.write()])
    assert (connect.client_id, connect.username, connect.password) == (again.client_id, again.username, again.password)
    assert (connect.will and connect.will.topic) == (again.will and again.will.topic)


@given(st.lists(st.sampled_from([0, 1, 0x80, 0x87, 0x8F, 0x97, 0x9E]), min_size=1, max_size=4), IDS)
def test_another_implementation_reads_our_answers(reasons, packet_id):
    theirs = read_elsewhere(encode(Suback(Kind.SUBACK, packet_id, tuple(reasons)), V5))
    assert (packet_id, reasons) == (theirs.packet_id, list(theirs.reason_codes))
    puback = read_elsewhere(encode(Ack(Kind.PUBACK, packet_id, 0x90, {Property.REASON_STRING: "no"}), V5))
    assert (packet_id, 0x90, "no") == (puback.packet_id, puback.reason_code, puback.reason_str)


# -- what is not right ------------------------------------------------------------------------------------------------

CONNECT = b"\0\4MQTT\x04\x02\0\x3c\0\0"
MALFORMED, PROTOCOL = Reason.MALFORMED, Reason.PROTOCOL_ERROR


def packet(first, body):
    return bytes((first,)) + encode_length(len(body)) + body


@pytest.mark.parametrize(
    ("version", "data", "reason"),
    [
        (0, packet(0x00, b""), MALFORMED),
        (0, b"\x10\xff\xff\xff\xff\x01", MALFORMED),
        (0, packet(0x10, b"\0\4MQTX\x04\x02\0\x3c\0\0"), MALFORMED),
        (0, packet(0x10, b"\0\4MQTT\x06\x02\0\x3c\0\0"), Reason.UNSUPPORTED_VERSION),
        (0, packet(0x10, b"\0\4MQTT\x03\x02\0\x3c\0\0"), Reason.UNSUPPORTED_VERSION),
        (0, packet(0x11, CONNECT), MALFORMED),
        (0, packet(0x10, CONNECT.replace(b"\x04\x02", b"\x04\x03")), MALFORMED),
        (0, packet(0x10, CONNECT.replace(b"\x04\x02", b"\x04\x1e") + b"\0\1t\0\0"), MALFORMED),
        (0, packet(0x10, CONNECT.replace(b"\x04\x02", b"\x04\x22")), MALFORMED),
        (0, packet(0x10, CONNECT.replace(b"\x04\x02", b"\x04\x42") + b"\0\1p"), MALFORMED),
        (0, packet(0x10, CONNECT + b"x"), MALFORMED),
        (0, packet(0x10, CONNECT[:-1]), MALFORMED),
        (0, packet(0x10, CONNECT[:-2] + b"\0\2\xc3\x28"), MALFORMED),
        (0, packet(0x10, CONNECT[:-2] + b"\0\3\xed\xa0\x80"), MALFORMED),
        (0, packet(0x10, CONNECT[:-2] + b"\0\1\0"), MALFORMED),
        (V311, packet(0x10, CONNECT), PROTOCOL),
        (0, b"\x0a\xc0", MALFORMED),
        (V311, b"\x00", MALFORMED),
        (V311, packet(0x36, b"\0\1t\0\1"), MALFORMED),
        (V311, packet(0x38, b"\0\1t"), MALFORMED),
        (V311, packet(0x32, b"\0\1t\0\0"), MALFORMED),
        (V311, packet(0x32, b"\0\1t"), MALFORMED),
        (V311, packet(0x30, b"\0\x09t"), MALFORMED),
        (V311, packet(0x30, b""), MALFORMED),
        (V311, packet(0x30, b"\0\2\0t"), MALFORMED),
        (V311, packet(0x80, b"\0\1\0\1t\0"), MALFORMED),
        (V311, packet(0x82, b"\0\1"), PROTOCOL),
        (V311, packet(0x82, b"\0\1\0\1t\3"), MALFORMED),
        (V311, packet(0x82, b"\0\1\0\1t\4"), MALFORMED),
        (V311, packet(0x82, b"\0\0\0\1t\0"), MALFORMED),
        (V311, packet(0x82, b"\0\1\0\1t"), MALFORMED),
        (V311, packet(0xA2, b"\0\1"), PROTOCOL),
        (V311, packet(0x60, b"\0\1"), MALFORMED),
        (V311, packet(0x40, b"\0\1\0"), MALFORMED),
        (V311, packet(0xC0, b"x"), MALFORMED),
        (V311, packet(0xE0, b"\0"), MALFORMED),
        (V311, packet(0xF0, b""), MALFORMED),
        (V5, packet(0x82, b"\0\1\0\0\1t\x30"), MALFORMED),
        (V5, packet(0x82, b"\0\1\2\x0b\0\0\1t\0"), PROTOCOL),
        (V5, packet(0x30, b"\0\1t\3\x23\0\0"), Reason.BAD_TOPIC_ALIAS),
        (V5, packet(0x30, b"\0\1t\2\x01\2"), PROTOCOL),
        (V5, packet(0x30, b"\0\1t\4\x01\1\x01\1"), PROTOCOL),
        (V5, packet(0x30, b"\0\1t\5\x11\0\0\0\1"), MALFORMED),
        (V5, packet(0x30, b"\0\1t\2\x7f\1"), MALFORMED),
        (V5, packet(0x30, b"\0\1t\1\x01\1"), MALFORMED),
        (V5, packet(0x30, b"\0\1t\x7f\x01\1"), MALFORMED),
        (V5, packet(0x30, b"\0\1t\4\x08\0\1#"), PROTOCOL),
        (0, packet(0x10, b"\0\4MQTT\x05\x02\0\x3c\3\x21\0\0\0\0"), PROTOCOL),
        (0, packet(0x10, b"\0\4MQTT\x05\x02\0\x3c\5\x27\0\0\0\0\0\0"), PROTOCOL),
    ],
)
def test_a_packet_that_is_not_right_is_refused(version, data, reason):
    assert ([], reason) == heard(Decoder(MB, version), [data])


@pytest.mark.parametrize(
    "character",
    [
        *map(chr, range(1, 0x20)),
        *map(chr, range(0x7F, 0xA0)),
        "\ufdd0",
        "\ufdef",
        "\ufffe",
        "\uffff",
        "\U0001fffe",
        "\U0010ffff",
    ],
    ids=ascii,
)
def test_string_with_a_control_character_is_refused(character):
    """5 §1.5.4: a receiver may close the connection for it, as Mosquitto does."""
    assert ([], MALFORMED) == heard(Decoder(MB, V311), [encode(Publish(f"a{character}b"), V311)])
    connect = encode(Connect(client_id=character, username="device"), V311)
    assert ([], MALFORMED) == heard(Decoder(MB), [connect])


@pytest.mark.parametrize(
    "character", [" ", "\xa0", "\u200d", "\u2028", "\ufeff", "\ufffd", "\ufdcf", "\ue000", "\U0003fffd"], ids=ascii
)
def test_string_with_a_character_that_is_not_printable_is_read(character):
    [publish], _ = heard(Decoder(MB, V311), [encode(Publish(f"a{character}b"), V311)])
    assert f"a{character}b" == publish.topic


@pytest.mark.parametrize("kind", [Kind.CONNACK, Kind.SUBACK, Kind.UNSUBACK, Kind.PINGRESP])
@pytest.mark.parametrize("version", [0, V311, V5])
@pytest.mark.parametrize("rest", [b"", b"\0", b"\xff\xff\xff\x7f"])
def test_server_refuses_what_only_servers_send_at_once(kind, version, rest):
    assert ([], PROTOCOL) == heard(Decoder(MB, version, server=True), [bytes((kind << 4,)) + rest])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Kind.PUBACK, 0xFF), (Kind.PUBACK, 0x01), (Kind.PUBREC, 0x92), (Kind.PUBREL, 0x10), (Kind.PUBCOMP, 0x80)],
)
def test_acknowledgement_with_an_unknown_reason_code_is_refused(kind, reason):
    assert ([], PROTOCOL) == heard(Decoder(MB, V5), [encode(Ack(kind, 1, reason, {}), V5)])


def test_flags_that_mean_nothing_in_version_3_1_are_no_obstacle():
    old = b"\0\6MQIsdp\x03\x03\0\x3c\0\2me"
    [connect], _ = heard(Decoder(), [packet(0x1B, old)])
    assert (V31, "me") == (connect.version, connect.client_id)
    # A message that is sent again: DUP.
    [subscribe], _ = heard(Decoder(MB, V31), [packet(0x8A, b"\0\1\0\1t\0")])
    assert 1 == subscribe.packet_id


@pytest.mark.parametrize("level", [b"\x83", b"\x84"])
def test_the_bit_of_a_bridge_is_no_obstacle(level):
    name = b"\0\6MQIsdp" if level == b"\x83" else b"\0\4MQTT"
    [connect], _ = heard(Decoder(), [packet(0x10, name + level + b"\x02\0\x3c\0\0")])
    assert (True, level[0] & 0x7F) == (connect.bridge, connect.version)


def test_a_header_that_announces_256_mb_allocates_nothing():
    decoder = Decoder(65_536, V311)
    tracemalloc.start()
    assert ([], Reason.PACKET_TOO_LARGE) == heard(decoder, [b"\x30\xff\xff\xff\x7f"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024


def test_a_long_packet_is_put_together_from_single_bytes():
    publish = Publish("t", b"x" * 20_000, 1, 1)
    data = encode(publish, V311)
    assert ([publish], None) == heard(Decoder(65_536, V311), [data[n : n + 1] for n in range(len(data))])


@pytest.mark.parametrize(
    "packet",
    [
        Publish("t" * 70_000),
        Publish("\ud800"),
        Ack(Kind.PUBACK, 70_000),
        Publish("t", properties={Property.TOPIC_ALIAS: -1}),
    ],
    ids=["long", "surrogate", "id", "property"],
)
def test_what_cannot_be_said_is_not_sent(packet):
    with pytest.raises(LocalProtocolError):
        encode(packet, V5)
