"""An HTTP client without a library: the tests send bytes, and see every byte of a response."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress

import attrs
import trio
from support.patience import patient

from hub.testing import address_of

#: Seconds for anything that must happen.
PATIENCE = patient(20)
#: The headers of a WebSocket upgrade, for requests without a WebSocket library.
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@attrs.frozen
class Response:
    """A response. ``headers`` have lower-case names; ``head`` has the lines as received, with the status line."""

    status: int
    headers: dict[str, str]
    body: bytes
    head: list[str] = attrs.field(eq=False, factory=list)

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def message(self):
        """The message of an error."""
        return self.json["error"]["message"]


class HttpConnection:
    """A connection."""

    def __init__(self, stream):
        self.stream = stream
        self._buffer = b""

    async def send(self, data):
        """Send bytes; the hub may have closed the connection already."""
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def ask(self, method, target, body=None, key=None, **headers):
        """Send a request, and return the response. ``body`` is bytes, or encoded as JSON; ``key`` is a bearer token."""
        await self.send(request(method, target, body, key, **headers))
        return await self.read_response(head=method == "HEAD")

    async def get(self, target, key=None):
        return await self.ask("GET", target, key=key)

    async def read_response(self, head=False):
        """The next response; ``head`` if it is to a HEAD request."""
        lines = (await self._until(b"\r\n\r\n"))[:-4].decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        status = int(lines[0].split(" ")[1])
        if head or status in (100, 101, 204, 304):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await self._exactly(int(headers["content-length"]))
        return Response(status, headers, body, lines)

    async def read_to_end(self):
        """All bytes until the hub ends the connection."""
        while await self._more():
            pass
        rest, self._buffer = self._buffer, b""
        return rest

    async def _chunks(self):
        body = b""
        while size := int(await self._until(b"\r\n"), 16):
            body += (await self._exactly(size + 2))[:-2]
        await self._until(b"\r\n")
        return body

    async def _until(self, end):
        while end not in self._buffer:
            if not await self._more():
                raise EOFError(f"the connection ended after {self._buffer!r}")
        return await self._exactly(self._buffer.index(end) + len(end))

    async def _exactly(self, size):
        while len(self._buffer) < size:
            if not await self._more():
                raise EOFError(f"the connection ended after {len(self._buffer)} of {size} bytes")
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def _more(self):
        with trio.fail_after(PATIENCE):
            try:
                data = bytes(await self.stream.receive_some(65_536))
            except trio.BrokenResourceError:
                return False
        self._buffer += data
        return bool(data)


def request(method, target, body=None, key=None, **headers):
    """The bytes of a request; an underscore in a header's name stands for a hyphen."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"{method} {target} HTTP/1.1", "Host: hub"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")


@asynccontextmanager
async def connected(hub, listener=0, tls=None):
    """A connection to a running hub."""
    host, port = address_of(hub, listener)
    stream = await trio.open_tcp_stream(host, port)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
    try:
        yield HttpConnection(stream)
    finally:
        await trio.aclose_forcefully(stream)


async def ask(hub, method, target, body=None, key=None, listener=0, **headers):
    """Send a request on a new connection, and return the response."""
    async with connected(hub, listener) as http:
        return await http.ask(method, target, body, key, **headers)


def local_key(hub):
    return (hub.config.data / "local.key").read_text()
