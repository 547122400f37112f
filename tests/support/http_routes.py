"""A plugin whose routes show what the HTTP server does, and requests to them."""

from __future__ import annotations

import trio
from support.raw_http import UPGRADE, request

from hub.api import PUBLIC, Response, Route, Stream
from hub.hookspecs import hookimpl

MAX_BODY = 2 * 1024 * 1024
MAX_HEADER = 16 * 1024
#: Far more than the kernel's buffers for one connection hold.
LARGE = 8 * 1024 * 1024
CHUNK = 64 * 1024


class ExampleRoutes:
    """A plugin whose routes wait, stream and echo; ``release`` ends the wait of those that ``started``."""

    __name__ = "example_routes"
    PINWHEEL_HOOKS = 1

    def __init__(self):
        self.started, self.release = trio.Event(), trio.Event()
        self.served = 0

    async def echo(self, request):
        return Response(body=request.body)

    async def target(self, request):
        return [request.path, request.query]

    async def headers(self, request):
        return Response(headers={"x-small-letters": "1", "X-Own-SPELLING": "2"})

    async def waiting(self, request):
        self.started.set()
        await self.release.wait()
        return Response(body="waited")

    async def large(self, request):
        self.started.set()
        await self.release.wait()
        return Response(body=b"x" * LARGE)

    async def chunk(self, request):
        self.served += 1
        return Response(body=b"x" * CHUNK)

    async def streamed(self, request):
        async def chunks():
            yield b"one,"
            await trio.sleep(0.3)
            yield b"two"

        return Stream(chunks=chunks())

    async def endless(self, request):
        async def chunks():
            try:
                yield b"one,"
                await trio.sleep_forever()
            finally:
                self.release.set()

        return Stream(chunks=chunks())

    @hookimpl
    def hub_routes(self):
        return [
            Route(
                method=method,
                path=f"/test/{path}",
                handler=handler,
                permission=PUBLIC,
                raw_query=True,
                max_body=MAX_BODY,
            )
            for method, path, handler in (
                ("POST", "echo", self.echo),
                ("GET", "target", self.target),
                ("GET", "wait", self.waiting),
                ("GET", "large", self.large),
                ("GET", "chunk", self.chunk),
                ("GET", "streamed", self.streamed),
                ("GET", "endless", self.endless),
                ("GET", "headers", self.headers),
                ("GET", "two", self.target),
                ("POST", "two", self.echo),
            )
        ]


def echo_request(body):
    """A request of which the response has the same body."""
    return request("POST", "/test/echo", body)


def request_of_size(size):
    """A request whose header has ``size`` bytes."""
    head = b"GET /health HTTP/1.1\r\nHost: hub\r\nX-Filler: "
    return head + b"x" * (size - len(head) - 4) + b"\r\n\r\n"


HEALTH = request("GET", "/health")
CHUNKED = b"POST /test/echo HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n"


async def is_closed(http):
    """Whether the hub closes the connection without sending another byte."""
    return await http.read_to_end() == b""


#: The headers of a malformed WebSocket upgrade.
UPGRADE_WITHOUT_KEY = {name: value for name, value in UPGRADE.items() if name != "Sec_WebSocket_Key"}
