"""Native frames: encoding, decoding, limits, and frames captured from clients."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.chunks import chunked

from connectors.native.protocol import (
    MAX_BODY,
    Cmd,
    Decoder,
    LocalProtocolError,
    MessageIds,
    RemoteProtocolError,
    Status,
    describe,
    frame,
    response,
    split,
    split_stripped,
)

TOKEN = "0123456789abcdef0123456789abcdef"


def frames(data, max_body=MAX_BODY):
    return list(Decoder(max_body).receive(data))


def decode(decoder, chunks):
    """Return the frames that a decoder yields for chunks, and the text of its error, if any."""
    decoded = []
    try:
        for chunk in chunks:
            for received in decoder.receive(chunk):
                decoded.append(received)
    except RemoteProtocolError as error:
        return decoded, str(error)
    return decoded, None


BODIES = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), max_size=4)
FRAMES = st.tuples(st.sampled_from([c for c in Cmd if c != Cmd.RESPONSE]), st.integers(1, 65_535), BODIES)
RESPONSES = st.tuples(st.integers(1, 65_535), st.integers(0, 65_535))
ENCODED = st.one_of(FRAMES.map(lambda f: frame(*f)), RESPONSES.map(lambda r: response(*r)))
CUTS = st.lists(st.integers(0, 10_000), max_size=8)


# -- chunks -----------------------------------------------------------------------------------------------------------


@given(st.lists(ENCODED, max_size=6).map(b"".join), CUTS)
def test_frames_do_not_depend_on_chunks(data, cuts):
    assert (frames(data), None) == decode(Decoder(), chunked(data, cuts))


@given(st.binary(max_size=80), CUTS)
@example(b"\x14\x00\x01\x00\x03abc\xff\x00\x01\x00\x00", [2, 9])
def test_frames_and_error_of_garbage_do_not_depend_on_chunks(data, cuts):
    assert decode(Decoder(40), [data]) == decode(Decoder(40), chunked(data, cuts))


@given(st.binary(max_size=200))
def test_garbage_gives_frames_or_a_remote_protocol_error(data):
    decoded, error = decode(Decoder(), [data])

    for received in decoded:
        assert isinstance(describe(*received), str)
    assert error is None or error


@given(st.lists(ENCODED, min_size=1, max_size=4))
def test_frames_are_assembled_from_single_bytes(encoded):
    decoder = Decoder()
    decoded = [f for byte in b"".join(encoded) for f in decoder.receive(bytes([byte]))]

    assert frames(b"".join(encoded)) == decoded


# -- round trips ------------------------------------------------------------------------------------------------------


@given(FRAMES)
def test_frame_survives_a_round_trip(sent):
    command, message, parts = sent
    [(decoded_command, decoded_message, body, status)] = frames(frame(command, message, parts))

    assert (command, message, 0) == (decoded_command, decoded_message, status)
    assert (parts or [""]) == split(body)


@given(RESPONSES)
def test_response_has_a_status_and_no_body(sent):
    message, status = sent

    assert [(0, message, b"", status)] == frames(response(message, status))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9), min_size=1))
def test_strings_survive_a_round_trip(parts):
    assert parts == split(frames(frame(Cmd.HARDWARE, 1, parts))[0][2])


@given(st.binary(max_size=60))
def test_any_body_is_split_into_strings(body):
    assert all(isinstance(part, str) for part in split(body))


def test_body_may_have_32767_bytes():
    [(_, _, body, _)] = frames(frame(Cmd.HARDWARE, 1, ["x" * MAX_BODY]))

    assert MAX_BODY == len(body)


# -- limits -----------------------------------------------------------------------------------------------------------


def test_excessive_length_is_an_error_before_the_body_arrives():
    decoded, error = decode(Decoder(128), [frame(Cmd.PING, 1) + b"\x1d\x00\x01\x00\x81"])

    assert [(Cmd.PING, 1, b"", 0)] == decoded
    assert "a body of 129 bytes exceeds the limit of 128" == error


def test_body_limit_may_be_raised_between_two_frames_of_one_read():
    decoder = Decoder(128)
    data = frame(Cmd.HW_LOGIN, 1, [TOKEN]) + frame(Cmd.INTERNAL, 2, ["x" * 500])
    bodies = []
    for _, _, body, _ in decoder.receive(data):
        bodies.append(len(body))
        decoder.max_body = MAX_BODY

    assert [32, 500] == bodies


@pytest.mark.parametrize("command", [1, 3, 5, 22, 0x47, 0x50, 0xFF])
def test_unknown_command_is_an_error(command):
    decoded, error = decode(Decoder(), [frame(Cmd.PING, 1) + bytes([command, 0, 1, 0, 0])])

    assert [(Cmd.PING, 1, b"", 0)] == decoded
    assert f"command {command} is unknown" == error


def test_message_id_0_of_a_client_is_accepted():
    assert [(Cmd.PING, 0, b"", 0)] == frames(b"\x06\x00\x00\x00\x00")


def test_response_to_message_id_0_is_encoded_with_id_1():
    assert b"\x00\x00\x01\x00\xc8" == response(0, Status.OK)


@pytest.mark.parametrize("message", [0, -1, 65_536])
def test_frame_with_an_invalid_message_id_cannot_be_encoded(message):
    with pytest.raises(LocalProtocolError):
        frame(Cmd.HARDWARE, message, ["vw", "1", "2"])


def test_frame_over_the_limit_cannot_be_encoded():
    with pytest.raises(LocalProtocolError):
        frame(Cmd.HARDWARE, 1, ["x" * (MAX_BODY + 1)])


def test_frame_with_a_lone_surrogate_cannot_be_encoded():
    with pytest.raises(LocalProtocolError):
        frame(Cmd.INTERNAL, 1, ["meta", "Name", "\ud800"])


def test_message_ids_wrap_around_from_65535_to_1():
    ids = MessageIds()
    message_ids = [ids.next() for _ in range(65_537)]

    assert [1, 2] == message_ids[:2]
    assert [65_535, 1, 2] == message_ids[-3:]
    assert 0 not in message_ids


# -- strings ----------------------------------------------------------------------------------------------------------


def test_trailing_nul_is_an_empty_value_or_the_end_of_an_info_message():
    assert ["vw", "5", ""] == split(b"vw\x005\x00")
    assert ["tmpl", "TMPL0000test"] == split_stripped(b"tmpl\x00TMPL0000test\x00")


def test_at_most_one_trailing_nul_is_stripped():
    assert ["h-beat", ""] == split_stripped(b"h-beat\x00\x00")
    assert [""] == split_stripped(b"")


def test_bytes_that_are_not_utf_8_are_decoded_as_latin_1():
    assert ["vw", "1", "grün"] == split(b"vw\x001\x00gr\xfcn")


# -- descriptions -----------------------------------------------------------------------------------------------------

TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=32, max_size=32)


@given(TOKENS, st.sampled_from([Cmd.LOGIN, Cmd.HW_LOGIN]))
def test_description_of_a_login_has_only_the_end_of_its_token(token, command):
    text = describe(command, 1, token.encode(), 0)

    assert token[:8] not in text
    assert token[-8:] not in text
    assert token[-2:] in text


@given(TOKENS)
def test_description_of_a_bridge_omits_the_token_of_its_target(token):
    text = describe(Cmd.BRIDGE, 1, f"64\0i\0{token}".encode(), 0)

    assert token[-8:] not in text
    assert token[:8] not in text


@pytest.mark.parametrize("parts", [("meta", "Auth Token"), ("meta", "set", "Auth Token")], ids=" ".join)
@given(token=TOKENS)
def test_description_of_metadata_omits_the_auth_token(parts, token):
    text = describe(Cmd.INTERNAL, 1, "\0".join((*parts, token)).encode(), 0)

    assert token[-8:] not in text
    assert token[:8] not in text


@given(st.sampled_from(list(Cmd)), st.integers(0, 65_535), st.binary(max_size=40), st.integers(0, 65_535))
@example(Cmd.HW_LOGIN, 1, b"x" * 30 + b"\x1b\n", 0)
def test_description_of_a_frame_is_a_single_printable_line(command, message, body, status):
    assert describe(command, message, body, status).isprintable()


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ((Cmd.HARDWARE, 3, b"vw\x001\x0021.5", 0), "HARDWARE #3 vw 1 21.5"),
        ((Cmd.RESPONSE, 2, b"", 200), "RESPONSE #2 200"),
        ((Cmd.PING, 7, b"", 0), "PING #7"),
        ((Cmd.HARDWARE, 4, b"vw\x001\x00\xff\x1b[2J", 0), r"HARDWARE #4 vw 1 '\xff\x1b[2J'"),
    ],
)
def test_description_of_a_frame_has_its_command_id_and_body(received, expected):
    assert expected == describe(*received)


# -- captured from real clients ---------------------------------------------------------------------------------------


def parse_info(body):
    parts = split_stripped(body)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_captured_login_of_the_cpp_library_on_linux():
    body = (
        b"ver\x001.4.0\x00h-beat\x0040\x00buff-in\x004096\x00dev\x00Linux\x00fw-type\x00TMPL0000test\x00"
        b"fw\x000.1.0\x00build\x00Nov 23 2026 03:19:25\x00conn\x00Socket\x00tmpl\x00TMPL0000test\x00"
    )
    login, info, first = frames(
        b"\x1d\x00\x01\x00\x20" + TOKEN.encode() + b"\x11\x00\x02\x00\x82" + body + b"\x14\x00\x03\x00\x07vw\x000\x0010"
    )

    assert (Cmd.HW_LOGIN, 1, TOKEN.encode(), 0) == login
    assert {
        "ver": "1.4.0",
        "h-beat": "40",
        "buff-in": "4096",
        "dev": "Linux",
        "fw-type": "TMPL0000test",
        "fw": "0.1.0",
        "build": "Nov 23 2026 03:19:25",
        "conn": "Socket",
        "tmpl": "TMPL0000test",
    } == parse_info(info[2])
    assert (Cmd.INTERNAL, 2) == info[:2]
    assert (Cmd.HARDWARE, 3, ["vw", "0", "10"]) == (first[0], first[1], split(first[2]))


def test_captured_responses_to_a_login():
    assert [(Cmd.RESPONSE, 1, b"", 200), (Cmd.RESPONSE, 2, b"", 200)] == frames(
        b"\x00\x00\x01\x00\xc8\x00\x00\x02\x00\xc8"
    )
    assert b"\x00\x00\x01\x00\xc8" == response(1, Status.OK)
    assert b"\x00\x00\x01\x00\x09" == response(1, Status.INVALID_TOKEN)


def test_captured_info_of_the_javascript_library():
    [(command, message, body, _)] = frames(b"\x11\x00\x02\x00\x1dver\x000.5.4\x00buff-in\x004096\x00dev\x00js")

    assert (Cmd.INTERNAL, 2) == (command, message)
    assert {"ver": "0.5.4", "buff-in": "4096", "dev": "js"} == parse_info(body)


def test_captured_login_of_blynklib_0_2_6():
    login, info = frames(
        b"\x02\x00\x01\x00\x20"
        + TOKEN.encode()
        + b"\x11\x00\x02\x00\x2bver\x000.2.6\x00buff-in\x001024\x00h-beat\x0010\x00dev\x00python"
    )

    assert (Cmd.LOGIN, 1, TOKEN.encode(), 0) == login
    assert {"ver": "0.2.6", "buff-in": "1024", "h-beat": "10", "dev": "python"} == parse_info(info[2])


@pytest.mark.parametrize(
    ("captured", "expected"),
    [
        (b"\x06\x00\x07\x00\x00", (Cmd.PING, 7, [""])),
        (b"\x10\x00\x03\x00\x00", (Cmd.HARDWARE_SYNC, 3, [""])),
        (b"\x15\x00\x04\x00\x01b", (Cmd.GROUP, 4, ["b"])),
        (b"\x15\x00\x04\x00\x0ft\x001700000000123", (Cmd.GROUP, 4, ["t", "1700000000123"])),
        (b"\x15\x00\x06\x00\x01e", (Cmd.GROUP, 6, ["e"])),
        (
            b"\x13\x00\x05\x00\x150\x001\x002\x00isDisabled\x00true",
            (Cmd.PROPERTY, 5, ["0", "1", "2", "isDisabled", "true"]),
        ),
    ],
)
def test_captured_frames_after_the_login(captured, expected):
    [(command, message, body, _)] = frames(captured)

    assert expected == (command, message, split(body))


def test_app_connected_frame_has_a_trailing_nul():
    assert b"\x11\x00\x01\x00\x05acon\x00" == frame(Cmd.INTERNAL, 1, ("acon", ""))
