"""MQTT packets: encoding and decoding, also against another implementation, and the rejection of malformed packets."""

from __future__ import annotations

import tracemalloc

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.chunks import chunked

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


def decode(decoder, chunks):
    """Return the packets that a decoder yields for chunks, and the reason code of its error, if any."""
    packets = []
    try:
        for chunk in chunks:
            for packet in decoder.receive(chunk):
                packets.append(packet)
    except RemoteProtocolError as error:
        return packets, error.reason
    return packets, None


#: Without control characters and noncharacters: strings with them are rejected.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=12)
TOPIC = st.text(st.sampled_from("ab/ é"), min_size=1, max_size=12)
IDS = st.integers(1, 65_535)
PAYLOAD = st.binary(max_size=200)
UINT32 = st.integers(0, 2**32 - 1)
USER_PROPERTIES = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)

MESSAGE_PROPERTIES = {
    Property.PAYLOAD_FORMAT: st.integers(0, 1),
    Property.MESSAGE_EXPIRY: UINT32,
    Property.CONTENT_TYPE: TEXT,
    Property.RESPONSE_TOPIC: TOPIC,
    Property.CORRELATION_DATA: st.binary(max_size=8),
    Property.USER_PROPERTY: USER_PROPERTIES,
}
CONNECT_PROPERTIES = {
    Property.SESSION_EXPIRY: UINT32,
    Property.RECEIVE_MAXIMUM: IDS,
    Property.MAXIMUM_PACKET_SIZE: st.integers(1, 2**32 - 1),
    Property.TOPIC_ALIAS_MAXIMUM: st.integers(0, 65_535),
    Property.REQUEST_PROBLEM_INFO: st.integers(0, 1),
    Property.REQUEST_RESPONSE_INFO: st.integers(0, 1),
    Property.AUTHENTICATION_METHOD: TEXT,
    Property.AUTHENTICATION_DATA: st.binary(max_size=8),
    Property.USER_PROPERTY: USER_PROPERTIES,
}
CONNACK_PROPERTIES = {
    Property.SESSION_EXPIRY: UINT32,
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
ACK_PROPERTIES = {Property.REASON_STRING: TEXT, Property.USER_PROPERTY: USER_PROPERTIES}


def properties(optional, version):
    return st.fixed_dictionaries({}, optional=optional) if version == V5 else st.just({})


def publishes(version):
    extra = {Property.SUBSCRIPTION_ID: st.lists(st.integers(1, 2**28 - 1), min_size=1, max_size=3)}
    extra[Property.TOPIC_ALIAS] = IDS

    def publish(qos):
        packet_id = IDS if qos else st.just(0)
        dup = st.booleans() if qos else st.just(False)
        message_properties = properties(MESSAGE_PROPERTIES | extra, version)
        return st.builds(Publish, TOPIC, PAYLOAD, st.just(qos), packet_id, st.booleans(), dup, message_properties)

    return st.integers(0, 2).flatmap(publish)


def connects(version):
    will_properties = properties({**MESSAGE_PROPERTIES, Property.WILL_DELAY: UINT32}, version)
    will = st.builds(Will, TOPIC, PAYLOAD, st.integers(0, 2), st.booleans(), will_properties)
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
        properties=properties(CONNECT_PROPERTIES, version),
        bridge=st.booleans() if version < V5 else st.just(False),
    )


#: Acknowledgements and their reason codes (5 §3.4.2.1, §3.6.2.1).
ACKS = [
    (kind, reason)
    for kind in (Kind.PUBACK, Kind.PUBREC)
    for reason in (0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
] + [(kind, reason) for kind in (Kind.PUBREL, Kind.PUBCOMP) for reason in (0, 0x92)]


def other_packets(version):
    ack_properties = properties(ACK_PROPERTIES, version)
    reason = st.integers(0, 255) if version == V5 else st.just(0)
    subscription = (
        st.builds(Subscription, TOPIC, st.integers(0, 2), st.booleans(), st.booleans(), st.integers(0, 2))
        if version == V5
        else st.builds(Subscription, TOPIC, st.integers(0, 2))
    )
    number = properties({Property.SUBSCRIPTION_ID: st.lists(st.integers(1, 100), min_size=1, max_size=1)}, version)
    reasons = st.lists(st.integers(0, 255), max_size=4).map(tuple)
    return st.one_of(
        st.builds(Connack, st.booleans(), st.integers(0, 255), properties(CONNACK_PROPERTIES, version)),
        st.builds(
            lambda ack, packet_id, ack_properties: Ack(
                ack[0], packet_id, ack[1] if version == V5 else 0, ack_properties
            ),
            st.sampled_from(ACKS),
            IDS,
            ack_properties,
        ),
        st.builds(Subscribe, IDS, st.lists(subscription, min_size=1, max_size=3).map(tuple), number),
        st.builds(Unsubscribe, IDS, st.lists(TOPIC, min_size=1, max_size=3).map(tuple)),
        st.builds(Suback, st.just(Kind.SUBACK), IDS, reasons, ack_properties),
        st.builds(Suback, st.just(Kind.UNSUBACK), IDS, reasons if version == V5 else st.just(()), ack_properties),
        st.builds(Ping, st.sampled_from([Kind.PINGREQ, Kind.PINGRESP])),
        st.builds(Disconnect, reason, ack_properties),
        *([st.builds(Auth, reason, ack_properties)] if version == V5 else []),
    )


VERSIONS = st.sampled_from([V311, V5])
CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(VERSIONS.flatmap(lambda v: st.tuples(st.just(v), st.lists(publishes(v) | other_packets(v), max_size=5))), CUTS)
def test_packets_survive_a_round_trip_in_any_chunks(case, cuts):
    version, packets = case
    data = b"".join(encode(packet, version) for packet in packets)
    assert (packets, None) == decode(Decoder(MB, version), chunked(data, cuts))


@given(st.sampled_from([V31, V311, V5]).flatmap(connects), CUTS)
def test_connect_survives_a_round_trip(connect, cuts):
    decoder = Decoder()
    assert ([connect], None) == decode(decoder, chunked(encode(connect, connect.version), cuts))
    assert connect.version == decoder.version


@given(st.binary(max_size=300), st.sampled_from([0, V311, V5]), CUTS)
def test_any_bytes_give_packets_or_a_reason_code_independent_of_chunks(data, version, cuts):
    expected = decode(Decoder(MB, version), [data])
    assert expected == decode(Decoder(MB, version), chunked(data, cuts))


@given(VERSIONS.flatmap(lambda v: st.tuples(st.just(v), publishes(v) | other_packets(v))), st.data())
def test_packet_with_a_changed_byte_gives_packets_or_a_reason_code(case, data):
    version, packet = case
    encoded = bytearray(encode(packet, version))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    packets, _ = decode(Decoder(MB, version), [bytes(encoded)])
    for decoded in packets:
        encode(decoded, version)


@given(st.integers(0, 268_435_455))
def test_length_is_encoded_in_one_to_four_bytes(value):
    encoded = encode_length(value)
    assert 1 <= len(encoded) <= 4
    assert all(byte & 128 for byte in encoded[:-1])


# -- another implementation -------------------------------------------------------------------------------------------


def read_with_mqtt5(data):
    """Return the packet as the mqtt5 library decodes it."""
    packet, size = mqtt5.read(data)
    assert size == len(data)
    return packet


@given(publishes(V5))
def test_other_implementation_decodes_our_publish(packet):
    theirs = read_with_mqtt5(encode(packet, V5))
    assert (packet.topic, packet.payload, packet.qos) == (theirs.topic, theirs.payload, theirs.qos)
    assert (packet.retain, packet.dup, packet.packet_id or None) == (theirs.retain, theirs.duplicate, theirs.packet_id)
    own = packet.properties
    assert own.get(Property.USER_PROPERTY, []) == theirs.user_properties
    assert own.get(Property.SUBSCRIPTION_ID, []) == theirs.subscription_ids
    assert own.get(Property.MESSAGE_EXPIRY) == theirs.message_expiry_interval
    assert own.get(Property.TOPIC_ALIAS) == theirs.topic_alias
    assert own.get(Property.CORRELATION_DATA) == theirs.correlation_data


@given(publishes(V5))
def test_publish_of_the_other_implementation_is_decoded(packet):
    theirs = read_with_mqtt5(encode(packet, V5)).write()
    [decoded], reason = decode(Decoder(MB, V5), [theirs])
    assert reason is None
    # The other implementation omits a property with the default value.
    expected = {k: v for k, v in packet.properties.items() if (k, v) != (Property.PAYLOAD_FORMAT, 0)}
    assert (packet.topic, packet.payload, packet.packet_id) == (decoded.topic, decoded.payload, decoded.packet_id)
    assert expected == decoded.properties


@given(connects(V5))
def test_connect_of_the_other_implementation_is_decoded(connect):
    theirs = read_with_mqtt5(encode(connect, V5))
    assert (connect.client_id, connect.clean, connect.keep_alive) == (
        theirs.client_id,
        theirs.clean_start,
        theirs.keep_alive,
    )
    assert (connect.username, connect.password) == (theirs.username, theirs.password)
    [decoded], _ = decode(Decoder(), [theirs.write()])
    assert (connect.client_id, connect.username, connect.password) == (
        decoded.client_id,
        decoded.username,
        decoded.password,
    )
    assert (connect.will and connect.will.topic) == (decoded.will and decoded.will.topic)


@given(st.lists(st.sampled_from([0, 1, 0x80, 0x87, 0x8F, 0x97, 0x9E]), min_size=1, max_size=4), IDS)
def test_other_implementation_decodes_our_acknowledgements(reasons, packet_id):
    theirs = read_with_mqtt5(encode(Suback(Kind.SUBACK, packet_id, tuple(reasons)), V5))
    assert (packet_id, reasons) == (theirs.packet_id, list(theirs.reason_codes))
    puback = read_with_mqtt5(encode(Ack(Kind.PUBACK, packet_id, 0x90, {Property.REASON_STRING: "no"}), V5))
    assert (packet_id, 0x90, "no") == (puback.packet_id, puback.reason_code, puback.reason_str)


# -- malformed packets ------------------------------------------------------------------------------------------------

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
def test_malformed_packet_is_rejected(version, data, reason):
    assert ([], reason) == decode(Decoder(MB, version), [data])


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
def test_string_with_a_control_character_is_rejected(character):
    """5 §1.5.4: a receiver may close the connection for it, as Mosquitto does."""
    assert ([], MALFORMED) == decode(Decoder(MB, V311), [encode(Publish(f"a{character}b"), V311)])
    connect = encode(Connect(client_id=character, username="device"), V311)
    assert ([], MALFORMED) == decode(Decoder(MB), [connect])


@pytest.mark.parametrize(
    "character", [" ", "\xa0", "\u200d", "\u2028", "\ufeff", "\ufffd", "\ufdcf", "\ue000", "\U0003fffd"], ids=ascii
)
def test_string_with_an_unprintable_character_is_accepted(character):
    [publish], _ = decode(Decoder(MB, V311), [encode(Publish(f"a{character}b"), V311)])
    assert f"a{character}b" == publish.topic


@pytest.mark.parametrize("kind", [Kind.CONNACK, Kind.SUBACK, Kind.UNSUBACK, Kind.PINGRESP])
@pytest.mark.parametrize("version", [0, V311, V5])
@pytest.mark.parametrize("rest", [b"", b"\0", b"\xff\xff\xff\x7f"])
def test_server_rejects_packet_types_of_servers_by_their_first_byte(kind, version, rest):
    assert ([], PROTOCOL) == decode(Decoder(MB, version, server=True), [bytes((kind << 4,)) + rest])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Kind.PUBACK, 0xFF), (Kind.PUBACK, 0x01), (Kind.PUBREC, 0x92), (Kind.PUBREL, 0x10), (Kind.PUBCOMP, 0x80)],
)
def test_acknowledgement_with_an_unknown_reason_code_is_rejected(kind, reason):
    assert ([], PROTOCOL) == decode(Decoder(MB, V5), [encode(Ack(kind, 1, reason, {}), V5)])


def test_reserved_flags_are_ignored_in_version_3_1():
    data = b"\0\6MQIsdp\x03\x03\0\x3c\0\2me"
    [connect], _ = decode(Decoder(), [packet(0x1B, data)])
    assert (V31, "me") == (connect.version, connect.client_id)
    # The DUP flag of a repeated SUBSCRIBE.
    [subscribe], _ = decode(Decoder(MB, V31), [packet(0x8A, b"\0\1\0\1t\0")])
    assert 1 == subscribe.packet_id


@pytest.mark.parametrize("level", [b"\x83", b"\x84"])
def test_bridge_bit_of_the_protocol_level_is_accepted(level):
    name = b"\0\6MQIsdp" if level == b"\x83" else b"\0\4MQTT"
    [connect], _ = decode(Decoder(), [packet(0x10, name + level + b"\x02\0\x3c\0\0")])
    assert (True, level[0] & 0x7F) == (connect.bridge, connect.version)


def test_header_with_a_length_of_256_mb_allocates_nothing():
    decoder = Decoder(65_536, V311)
    tracemalloc.start()
    assert ([], Reason.PACKET_TOO_LARGE) == decode(decoder, [b"\x30\xff\xff\xff\x7f"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024


def test_long_packet_is_assembled_from_single_bytes():
    publish = Publish("t", b"x" * 20_000, 1, 1)
    data = encode(publish, V311)
    assert ([publish], None) == decode(Decoder(65_536, V311), [data[n : n + 1] for n in range(len(data))])


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
def test_unencodable_packet_raises_a_local_protocol_error(packet):
    with pytest.raises(LocalProtocolError):
        encode(packet, V5)
