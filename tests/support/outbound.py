"""Outbound HTTP requests to servers on this machine that record them."""

from __future__ import annotations

import ssl

import h11
import pytest
import trio
from support.patience import patient

from hub.net import Outbound, OutboundError

LOOPBACK = ["127.0.0.0/8"]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class RecordingServer:
    """A server on a free port of the loopback interface: records each request and sends ``reply``."""

    def __init__(self, reply):
        self.reply = reply
        self.requests = []
        self.names = []
        self.connections = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, stream):
        self.connections += 1
        with trio.CancelScope() as scope:
            try:
                await self._serve(stream)
            except (trio.BrokenResourceError, ssl.SSLError):
                scope.cancel()
            finally:
                await trio.aclose_forcefully(stream)

    async def _serve(self, stream):
        request = h11.Connection(h11.SERVER)
        while (event := request.next_event()) is h11.NEED_DATA:
            request.receive_data(await stream.receive_some(4096))
        if not isinstance(event, h11.Request):
            return
        body = b""
        while not isinstance(part := request.next_event(), h11.EndOfMessage):
            if part is h11.NEED_DATA:
                request.receive_data(await stream.receive_some(4096))
            else:
                body += part.data
        headers = {name.decode(): value.decode() for name, value in event.headers}
        self.requests.append((event.method.decode(), event.target.decode(), headers, body))
        if isinstance(self.reply, bytes):
            await stream.send_all(self.reply)
        else:
            await self.reply(stream)


def loopback(**options):
    """Outbound requests that may reach servers on this machine."""
    return Outbound(allowed_networks=LOOPBACK, **options)


async def failure(url, outbound=None, method="GET", headers=None, body=b""):
    """The error of a request."""
    with trio.fail_after(patient(10)), pytest.raises(OutboundError) as raised:
        await (outbound or loopback()).request(method, url, headers, body)
    return raised.value
