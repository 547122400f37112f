"""Listeners of a running hub: their configuration, connections to them, and PROXY protocol headers."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
from support.raw_native import PATIENCE
from support.rejections import rejection_reasons
from support.times import until

from connectors.native.protocol import Cmd, Status, frame
from hub.errors import StartupError
from hub.testing import address_of

TEXT_TEMPLATE = """
[template]
id = "TMPL0door"
name = "Door"
[[datastream]]
pin = "V0"
name = "Text"
type = "string"
"""
#: A login with an unknown token, and the response to it.
LOGIN = frame(Cmd.HW_LOGIN, 1, ("nobody's token 0123456789abcdef.",))
INVALID_TOKEN = struct.pack("!BHH", 0, 1, Status.INVALID_TOKEN)
#: How a TLS ClientHello begins; its record announces 512 bytes.
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40)


def listen(address="127.0.0.1:0", tls="off", **options):
    """The configuration of a listener."""
    lines = "".join(f"{key} = {value!r}\n" for key, value in options.items()).replace("'", '"')
    return f'[[listen]]\naddress = "{address}"\ntls = "{tls}"\n{lines}'


@asynccontextmanager
async def open_stream(hub, context=None, name="localhost", listener=0):
    """A TCP stream to a listener of the hub, or a TLS stream before its handshake."""
    host, port = address_of(hub, listener)
    stream = await trio.open_tcp_stream(host, port)
    if context is not None:
        stream = trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)
    try:
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


async def receive_to_end(stream):
    """All bytes until the hub closes the connection."""
    received = b""
    with trio.fail_after(PATIENCE):
        try:
            while data := await stream.receive_some(4096):
                received += data
        except trio.BrokenResourceError:
            pass
    return received


async def answers_login(hub, context=None, name="localhost", listener=0, before=b""):
    """Whether a listener responds to a login (with an unknown token)."""
    with trio.fail_after(PATIENCE):
        try:
            async with open_stream(hub, context, name, listener) as stream:
                await stream.send_all(before + LOGIN)
                return INVALID_TOKEN == await stream.receive_some(100)
        except trio.BrokenResourceError:
            return False


async def startup_error(start, toml):
    """The error that a hub with this configuration raises at its start."""
    with pytest.raises(BaseException) as caught:
        async with start(toml):
            pass
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, StartupError)
    return error


async def rejection(hub, data=b"", context=None, listener=0):
    """The reasons of rejections after a client has sent ``data`` and waited until it was disconnected."""
    async with open_stream(hub, context, listener=listener) as stream:
        try:
            await stream.send_all(data)
            await receive_to_end(stream)
        except trio.BrokenResourceError:
            pass
    await until(lambda: not hub.listener.connections)
    return rejection_reasons(hub)


#: Headers of the PROXY protocol, versions 1 and 2, over IPv4 and IPv6.
V1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n"
V1_6 = b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n"
V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command=0x21, family=0x11, addresses=b"", tlvs=b""):
    """A binary header; ``tlvs`` follow the addresses."""
    return V2_SIGNATURE + struct.pack("!BBH", command, family, len(addresses + tlvs)) + addresses + tlvs


V2 = v2(addresses=bytes([203, 0, 113, 7, 10, 0, 0, 1]) + struct.pack("!HH", 4711, 80))
V2_6 = v2(
    family=0x21, addresses=socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + bytes(4), tlvs=b"\x04\0\1x"
)
#: IPv4 written as IPv6 (RFC 4291, 2.5.5.2).
V2_MAPPED = v2(family=0x21, addresses=socket.inet_pton(socket.AF_INET6, "::ffff:203.0.113.7") + bytes(20))
#: The client's address in each header; "" if it names none.
ADDRESS_OF_HEADER = {
    V2_MAPPED: "203.0.113.7",
    b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 80\r\n": "203.0.113.7",
    V1: "203.0.113.7",
    V1_6: "2001:db8::7",
    V2: "203.0.113.7",
    V2_6: "2001:db8::7",
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY TCP4 nonsense\r\n": "",
    v2(command=0x20): "",
    v2(family=0x31, addresses=bytes(216)): "",
}


def behind_proxy(**options):
    """A listener that trusts a proxy on this machine."""
    return '[hub]\ntrusted_proxies = ["127.0.0.0/8"]\n' + listen(**options)


async def is_closed(stream):
    """Whether the hub closes a connection without sending anything."""
    return b"" == await receive_to_end(stream)


@contextmanager
def open_sockets_at_once(hub, count):
    """Connections that reach the hub at once: nothing else runs while they are opened."""
    socks = []
    try:
        for _ in range(count):
            socks.append(socket.create_connection(address_of(hub)))
        yield socks
    finally:
        for sock in socks:
            sock.close()
