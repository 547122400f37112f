"""Blynk's binary protocol, without I/O and for both roles: a decoder of frames, and functions that encode them.

A frame is five bytes of header and a body: command (1), message id (2, big-endian), length (2). In a RESPONSE the
length is a status and there is no body (`BlynkProtocolDefs.h`). A body is UTF-8 strings joined by NUL.

`Decoder.receive` yields frames as plain tuples, because a busy hub decodes a hundred thousand of them a second:
``(command, message id, body, status)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from struct import Struct

Frame = tuple[int, int, bytes, int]

_HEADER = Struct("!BHH")
HEADER_SIZE = _HEADER.size
#: Bytes of the longest body: the largest buffer that any known client announces (node-red-contrib-blynk-ws).
MAX_BODY = 32_767
#: Bytes of the body of the longest login: a token has 32 characters, old ones were longer.
MAX_LOGIN_BODY = 128
#: The number of each pin, by its spelling in a body.
PIN_NUMBERS = {str(pin): pin for pin in range(256)}


class Cmd(IntEnum):
    """Commands (`BlynkProtocolDefs.h`)."""

    RESPONSE = 0
    LOGIN = 2
    PING = 6
    TWEET = 12
    EMAIL = 13
    PUSH = 14
    BRIDGE = 15
    HARDWARE_SYNC = 16
    INTERNAL = 17
    SMS = 18
    PROPERTY = 19
    HARDWARE = 20
    GROUP = 21
    HW_LOGIN = 29
    REDIRECT = 41
    DEBUG_PRINT = 55
    EVENT_LOG = 64
    EVENT_CLEAR = 65


class Status(IntEnum):
    """The status of a RESPONSE (`BlynkProtocolDefs.h`)."""

    OK = 200
    QUOTA_LIMIT = 1
    ILLEGAL_COMMAND = 2
    NOT_REGISTERED = 3
    ALREADY_REGISTERED = 4
    NOT_AUTHENTICATED = 5
    NOT_ALLOWED = 6
    DEVICE_NOT_IN_NETWORK = 7
    INVALID_TOKEN = 9
    ILLEGAL_COMMAND_BODY = 11
    NO_DATA = 17
    SERVER_ERROR = 19


COMMANDS = frozenset(Cmd)
LOGINS = frozenset({Cmd.LOGIN, Cmd.HW_LOGIN})
_NAMES = {int(command): command.name for command in Cmd}


class LocalProtocolError(Exception):
    """The caller asked for a frame that the protocol cannot express."""


class RemoteProtocolError(Exception):
    """The other side broke the protocol: the connection must be closed."""


class Decoder:
    """Decodes one connection's bytes into frames. ``max_body`` may be raised once the other side has logged in."""

    __slots__ = ("_incomplete", "max_body")

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self._incomplete = b""
        self.max_body = max_body

    def receive(self, data: bytes) -> Iterator[Frame]:
        """Yield every complete frame; the caller consumes all of them before the next call.

        Raises `RemoteProtocolError` in place of a frame that is too long or has an unknown command.
        """
        if self._incomplete:
            data = self._incomplete + data
        unpack, offset, end = _HEADER.unpack_from, 0, len(data)
        while end - offset >= HEADER_SIZE:
            command, message_id, length = unpack(data, offset)
            if command == 0:
                offset += HEADER_SIZE
                yield 0, message_id, b"", length
                continue
            if command not in COMMANDS:
                raise RemoteProtocolError(f"command {command} is unknown")
            if length > self.max_body:
                raise RemoteProtocolError(f"a body of {length} bytes exceeds the limit of {self.max_body}")
            start = offset + HEADER_SIZE
            if end - start < length:
                break
            offset = start + length
            yield command, message_id, data[start:offset], 0
        self._incomplete = data[offset:]


class MessageIds:
    """The counter of one side's message ids: 1 to 65535, never 0."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last = self._last % 65_535 + 1
        return self._last


def split(body: bytes) -> list[str]:
    """Return the strings of a body: UTF-8, else Latin-1, in which the JavaScript client sends "grün"."""
    try:
        return body.decode().split("\0")
    except UnicodeDecodeError:
        return body.decode("latin-1").split("\0")


def split_stripped(body: bytes) -> list[str]:
    """Do as `split`, but drop an empty string at the end: the Linux build ends its info frame with a NUL."""
    parts = split(body)
    return parts[:-1] if len(parts) > 1 and not parts[-1] else parts


def frame(command: int, message_id: int, parts: Sequence[str] = ()) -> bytes:
    """Encode a frame with the given strings as its body. Raises `LocalProtocolError`."""
    try:
        body = "\0".join(parts).encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"{error.object!r} cannot be encoded as UTF-8") from error
    if len(body) > MAX_BODY:
        raise LocalProtocolError(f"a body of {len(body)} bytes exceeds the limit of {MAX_BODY}")
    if not 0 < message_id <= 65_535:
        raise LocalProtocolError(f"message id {message_id} is not between 1 and 65535")
    return _HEADER.pack(command, message_id, len(body)) + body


def response(message_id: int, status: int) -> bytes:
    """Encode a RESPONSE.

    Message id 0 (blynklib 0.2.6 sends it after 65,535 messages) is answered with 1: clients drop the connection on 0.
    """
    return _HEADER.pack(0, message_id or 1, status)


def describe(command: int, message_id: int, body: bytes, status: int) -> str:
    """Return a frame as text for the operator, with tokens redacted."""
    name = _NAMES.get(command, str(command))
    if command == Cmd.RESPONSE:
        return f"{name} #{message_id} {status}"
    if command in LOGINS:
        return f"{name} #{message_id} (a token ending …{ascii(body[-2:].decode('latin-1'))[1:-1]})"
    parts = split(body) if body else []
    if command == Cmd.BRIDGE and parts[1:2] == ["i"]:
        parts[2:] = ["…" + part[-2:] for part in parts[2:]]
    if command == Cmd.INTERNAL and parts[:1] == ["meta"] and "Auth Token" in parts[1:3]:
        parts[parts.index("Auth Token") + 1 :] = ["…"]
    text = " ".join(part if part.isprintable() else ascii(part) for part in parts)
    return f"{name} #{message_id} {text}".rstrip()
