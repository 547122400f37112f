"""Clients behind proxies: the PROXY protocol (haproxy's proxy-protocol.txt, versions 1 and 2) and X-Forwarded-For."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Protocol

#: An address that may have a port: in brackets, or IPv4.
_WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([0-9.]+))(?::[0-9]+)?", re.ASCII)
PROXY_V1 = b"PROXY "
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


class Readable(Protocol):
    """A connection that `read_header` reads from."""

    async def receive(self) -> bytes: ...


async def read_header(wire: Readable, first: bytes, address: str) -> tuple[str, bytes]:
    """Return the client's address and first bytes behind a PROXY protocol header, or ``address`` without a header."""
    if not (PROXY_V1.startswith(first[:6]) or PROXY_V2.startswith(first[:12])):
        return address, first
    while (header := proxy_header(first)) is None:
        data = await wire.receive()
        if not data:
            return address, b""
        first += data
    client, length = header
    rest = first[length:] or await wire.receive()
    return client or address, rest


def proxy_header(data: bytes) -> tuple[str, int] | None:
    """Return (client address or "", length of the header); None when more data is needed, ("", 0) without a header."""
    if data.startswith(PROXY_V1):
        end = data.find(b"\r\n", 0, 107)
        if end == -1:
            return None if len(data) < 107 else ("", 0)
        words = data[:end].decode("latin-1").split(" ")
        return (parse_address(words[2]) if len(words) > 2 and words[1] in ("TCP4", "TCP6") else ""), end + 2
    if data.startswith(PROXY_V2):
        if len(data) < 16:
            return None
        length = 16 + int.from_bytes(data[14:16], "big")
        if len(data) < length:
            return None
        family = data[13] >> 4
        if data[12] & 0xF == 1 and family == 1 and length >= 28:
            return str(ipaddress.IPv4Address(data[16:20])), length
        if data[12] & 0xF == 1 and family == 2 and length >= 52:
            return parse_address(str(ipaddress.IPv6Address(data[16:32]))), length
        return "", length
    if PROXY_V1.startswith(data) or PROXY_V2.startswith(data):
        return None
    return "", 0


def parse_address(text: str) -> str:
    """Return an IP address in its shortest form; "" when ``text`` is not one.

    A port, brackets, quotes and a zone id are removed, and an IPv4 address mapped to IPv6 (RFC 4291, 2.5.5.2) becomes
    IPv4: proxies write all of them into X-Forwarded-For.
    """
    text = text.strip(' \t"')
    if with_port := _WITH_PORT.fullmatch(text):
        text = with_port[1] or with_port[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def client_address(address: str, forwarded: str, trusts: Callable[[str], bool]) -> str:
    """Return the address of a client behind any number of trusted proxies.

    ``address`` is the connection's, ``forwarded`` the value of X-Forwarded-For, to which each proxy appends the address
    of its own client. The result is the first address from the right that is not a trusted proxy's. Everything left of
    it, or left of something that is not an address, may be forged.
    """
    for text in reversed(forwarded.split(",")):
        if not trusts(address) or not (before := parse_address(text)):
            break
        address = before
    return address


def subscriber_of(address: str) -> str:
    """Return the subscriber that limits count an address as: IPv4 itself, IPv6 its /64, which one subscriber has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
