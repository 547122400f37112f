"""An ASGI server over a `Wire`: HTTP/1.1 by h11. WebSockets are handed over, see `connectors.http.websocket`.

One connection is one task. What a client gets wrong is answered with its status and ends the connection; nothing is
logged per request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import h11
import trio

if TYPE_CHECKING:
    from hub.wire import Peer, Wire

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
#: Takes over a connection whose client asked for a WebSocket; given the request and what followed it.
Upgrade = Callable[[h11.Request, bytes], Awaitable[None]]

#: Bytes of request line and headers together.
MAX_HEADER = 16 * 1024
#: Seconds for the header, once it has begun; for the body; and between two requests.
HEADER_DEADLINE = 15.0
BODY_DEADLINE = 60.0
IDLE_DEADLINE = 75.0
#: Bytes that wait for a client before it is asked for another request.
MAX_PENDING = 64 * 1024

_BODY = {b"content-length", b"transfer-encoding"}


class Refusal(Exception):
    """The request cannot be served; ``status`` says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def serve(app: App, upgrade: Upgrade, most: Callable[[str], int], wire: Wire, peer: Peer) -> None:
    """Serve one connection until it ends. ``most`` says how many bytes a body at a path may have."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)
    try:
        while True:
            request = await _next_request(connection, wire)
            if request is None:
                return
            wire.busy = True
            limit = most(_path(request.target.partition(b"?")[0]))
            headers = _checked(request, limit)
            if headers.get(b"upgrade", b"").lower() == b"websocket":
                if request.method != b"GET" or request.http_version != b"1.1" or _BODY & headers.keys():
                    raise Refusal(400, "This is no WebSocket handshake.")
                await upgrade(request, connection.trailing_data[0])
                return
            await _Exchange(connection, wire, request, headers, peer, limit).run(app)
            while connection.their_state is h11.SEND_BODY and connection.next_event() is not h11.NEED_DATA:
                pass
            wire.busy = False
            if wire.closing or wire.broken or connection.our_state is h11.MUST_CLOSE:
                return
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
            if wire.pending > MAX_PENDING:
                await wire.drained()
    except h11.RemoteProtocolError as error:
        _refuse(connection, wire, _refusal(error))
        await wire.linger()
    except Refusal as refusal:
        _refuse(connection, wire, refusal)
        await wire.linger()
    except OSError:
        if not wire.broken:
            raise


def _refusal(error: h11.RemoteProtocolError) -> Refusal:
    """h11's own words repeat the request, and with it what is secret in it."""
    if error.error_status_hint == 431:
        return Refusal(431, f"The header has more than {MAX_HEADER} bytes.")
    return Refusal(error.error_status_hint, "This is not HTTP/1.1.")


async def _next_request(connection: h11.Connection, wire: Wire) -> h11.Request | None:
    began: float | None = trio.current_time() if connection.trailing_data[0] else None
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        until = trio.current_time() + IDLE_DEADLINE if began is None else began + HEADER_DEADLINE
        with trio.move_on_at(until) as deadline:
            data = await wire.receive()
        if deadline.cancelled_caught:
            if began is not None:
                raise Refusal(408, "The header took too long.")
            return None
        began = began or trio.current_time()
        connection.receive_data(data)


def _checked(request: h11.Request, limit: int) -> dict[bytes, bytes]:
    headers = dict(request.headers)
    fields = sum(len(name) + len(value) + 4 for name, value in request.headers)
    if len(request.method) + len(request.target) + len("  HTTP/1.1\r\n\r\n") + fields > MAX_HEADER:
        raise Refusal(431, f"The header has more than {MAX_HEADER} bytes.")
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise Refusal(400, "Content-Length with Transfer-Encoding.")
    if int(headers.get(b"content-length", b"0")) > limit:
        raise too_large(limit)
    return headers


def too_large(limit: int) -> Refusal:
    """The refusal of a body with more than ``limit`` bytes."""
    return Refusal(413, f"The body must have at most {limit} bytes here.")


def _refuse(connection: h11.Connection, wire: Wire, refusal: Refusal) -> None:
    """Answer with an error, if an answer is still possible; the connection ends after it."""
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = str(refusal).encode()
    headers = [
        ("content-type", "text/plain"),
        ("content-length", str(len(body))),
        ("connection", "close"),
        ("date", _date()),
    ]
    response = h11.Response(status_code=refusal.status, headers=headers)
    sent = (connection.send(response), connection.send(h11.Data(data=body)), connection.send(h11.EndOfMessage()))
    wire.send(b"".join(part for part in sent if part))


class _Exchange:
    """One request and its answer, as ASGI has it."""

    def __init__(
        self,
        connection: h11.Connection,
        wire: Wire,
        request: h11.Request,
        headers: dict[bytes, bytes],
        peer: Peer,
        limit: int,
    ) -> None:
        self._limit = limit
        self._connection = connection
        self._wire = wire
        self._request = request
        self._expects_continue = b"expect" in headers
        self._received = 0
        self._body_until = trio.current_time() + BODY_DEADLINE
        self._head = b""
        #: The request is read to its end: what comes now is another one, or nothing more.
        self._whole = False
        target, _, query = request.target.partition(b"?")
        self._scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "https" if peer.tls else "http",
            "path": _path(target),
            "raw_path": target,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": (peer.address, 0),
            "state": {"peer": peer},
        }

    async def run(self, app: App) -> None:
        await app(self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._whole:
            await self._until_gone()
            return {"type": "http.disconnect"}
        connection = self._connection
        if self._expects_continue and connection.they_are_waiting_for_100_continue:
            sent = connection.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._wire.send(sent or b"")
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                raise _refusal(error) from error
            if event is h11.NEED_DATA:
                with trio.move_on_at(self._body_until) as deadline:
                    connection.receive_data(await self._wire.receive())
                if deadline.cancelled_caught:
                    raise Refusal(408, "The body took too long.")
            elif isinstance(event, h11.Data):
                self._received += len(event.data)
                if self._received > self._limit:
                    raise too_large(self._limit)
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            elif isinstance(event, h11.EndOfMessage):
                self._whole = True
                return {"type": "http.request", "body": b"", "more_body": False}
            else:
                return {"type": "http.disconnect"}

    async def _until_gone(self) -> None:
        """Return when the client is gone. Requests that it sends ahead are kept for later, so many as fit a header."""
        read = 0
        while read < MAX_HEADER and (data := await self._wire.receive()):
            read += len(data)
            self._connection.receive_data(data)
        if read >= MAX_HEADER:
            await trio.sleep_forever()

    async def _send(self, message: Message) -> None:
        connection = self._connection
        if self._wire.broken:
            raise OSError(self._wire.broken)
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"date", _date().encode())]
            if self._wire.closing:
                headers.append((b"connection", b"close"))
            self._head = connection.send(h11.Response(status_code=message["status"], headers=headers)) or b""
            return
        parts = [self._head]
        self._head = b""
        if (body := message.get("body", b"")) and self._request.method != b"HEAD":
            parts.append(connection.send(h11.Data(data=body)) or b"")
        more = message.get("more_body", False)
        if not more:
            parts.append(connection.send(h11.EndOfMessage()) or b"")
        self._wire.send(b"".join(parts))
        if more:
            await self._wire.drained()


def _path(target: bytes) -> str:
    """The decoded path, without the slash at its end that some of Blynk's own examples have."""
    from urllib.parse import unquote

    if not target.startswith(b"/"):
        # The absolute form (RFC 9112, 3.2.2).
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    path = unquote(target.decode("ascii", "replace")) if b"%" in target else target.decode("ascii", "replace")
    return path.rstrip("/") or "/"


_dated: tuple[float, str] = (0.0, "")


def _date() -> str:
    global _dated  # noqa: PLW0603 - once a second is enough
    now = trio.current_time()
    if now - _dated[0] >= 1:
        _dated = (now, formatdate(usegmt=True))
    return _dated[1]
