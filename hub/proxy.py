"""The PROXY protocol: who is behind a proxy (haproxy's proxy-protocol.txt, versions 1 and 2)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub.wire import Wire

PROXY_V1 = b"PROXY "
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


async def introduced(wire: Wire, first: bytes, address: str) -> tuple[str, bytes]:
    """The client's address and first bytes behind a PROXY protocol header (haproxy's proxy-protocol.txt, v1 and v2)."""
    if not (PROXY_V1.startswith(first[:6]) or PROXY_V2.startswith(first[:12])):
        return address, first
    while (found := proxy_header(first)) is None:
        more = await wire.receive()
        if not more:
            return address, b""
        first += more
    client, length = found
    rest = first[length:] or await wire.receive()
    return client or address, rest


def proxy_header(data: bytes) -> tuple[str, int] | None:
    """(client address or "", length of the header); None when more is needed, ("", 0) when there is no header."""
    if data.startswith(PROXY_V1):
        end = data.find(b"\r\n", 0, 107)
        if end == -1:
            return None if len(data) < 107 else ("", 0)
        words = data[:end].decode("latin-1").split(" ")
        return (_address(words[2]) if len(words) > 2 and words[1] in ("TCP4", "TCP6") else ""), end + 2
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
            return str(ipaddress.IPv6Address(data[16:32])), length
        return "", length
    if PROXY_V1.startswith(data) or PROXY_V2.startswith(data):
        return None
    return "", 0


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
