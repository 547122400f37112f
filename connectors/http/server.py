"""An ASGI server over a `Wire`: HTTP/1.1 by h11. WebSockets are handed over, see `connectors.http.websocket`.

One connection is one task. What a client gets wrong is answered with its status and ends the connection; nothing is
logged per request.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import attrs
import h11
import trio

from connectors.http.malformed import broken_rule

if TYPE_CHECKING:
    from hub.net.wire import Peer, Wire

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
#: What stands before a request line and is ignored (RFC 9112 §2.2): some boards end a body with a line end too many.
_EMPTY_LINES = re.compile(rb"(?:\r?\n)*")
#: Reason phrases by status: sketches compare "200 OK" (RFC 9112 §4 lets a server leave the words out).
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
#: Header names whose usual spelling is not that of `str.title`.
_SPELLINGS = {b"etag": b"ETag", b"www-authenticate": b"WWW-Authenticate"}


class Refusal(Exception):
    """The request cannot be served; ``status`` says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@attrs.frozen
class PathRules:
    """What holds for every request to a path: bytes of its body, and headers of every answer, errors too."""

    body_limit: int
    headers: tuple[tuple[bytes, bytes], ...] = ()


async def serve(
    app: App,
    upgrade: Upgrade,
    rules_of: Callable[[str], PathRules],
    refuse: Callable[[str], None],
    wire: Wire,
    peer: Peer,
) -> None:
    """Serve one connection until it ends. ``refuse`` is told why a request was refused before any route saw it."""
    connection = _new_connection()
    rules = unknown = PathRules(0)
    try:
        while True:
            rules = unknown
            connection, request = await _next_request(connection, wire)
            if request is None:
                return
            wire.busy = True
            path = _path(request.target.partition(b"?")[0])
            rules = rules_of(path)
            headers = _checked(request, rules.body_limit)
            if headers.get(b"upgrade", b"").lower() == b"websocket":
                if request.method != b"GET" or request.http_version != b"1.1" or _BODY & headers.keys():
                    raise Refusal(400, "This is no WebSocket handshake.")
                await upgrade(request, connection.trailing_data[0])
                return
            await _Exchange(connection, wire, request, headers, peer, path, rules).run(app)
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
    except (h11.RemoteProtocolError, Refusal) as error:
        refusal = error if isinstance(error, Refusal) else _refusal(error)
        refuse(f"HTTP {refusal.status}: {refusal}")
        _refuse(connection, wire, refusal, rules.headers)
        await wire.linger()
    except OSError:
        if not wire.broken:
            raise


def _new_connection() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)


def _refusal(error: h11.RemoteProtocolError, head: bytes = b"") -> Refusal:
    """h11's own words repeat the request, and with it what is secret in it."""
    if error.error_status_hint == 431:
        return Refusal(431, f"The header has more than {MAX_HEADER} bytes.")
    return Refusal(error.error_status_hint, broken_rule(str(error), head))


async def _next_request(connection: h11.Connection, wire: Wire) -> tuple[h11.Connection, h11.Request | None]:
    """The next request, None when there is none, and the connection to go on with.

    Empty lines before it are ignored. Raises `Refusal`.
    """
    head = connection.trailing_data[0]
    given = len(head)
    if head[:1] in (b"\r", b"\n"):
        # h11 takes an empty line for a request without anything: what it has of the next one goes to another.
        connection, given = _new_connection(), 0
    idle_until, began = trio.current_time() + IDLE_DEADLINE, 0.0
    while True:
        if not given and (empty := _EMPTY_LINES.match(head)):
            head = head[empty.end() :]
        if head not in (b"", b"\r"):
            began = began or trio.current_time()
            if given < len(head):
                connection.receive_data(head[given:])
                given = len(head)
            if (request := _request_in(connection, head)) is not None:
                return connection, request
        with trio.move_on_at(began + HEADER_DEADLINE if began else idle_until) as deadline:
            data = await wire.receive()
        if deadline.cancelled_caught:
            if began:
                raise Refusal(408, "The header took too long.")
            return connection, None
        if not data:
            if began:
                raise Refusal(400, broken_rule("peer unexpectedly closed", head))
            return connection, None
        head += data


def _request_in(connection: h11.Connection, head: bytes) -> h11.Request | None:
    """The request that has come; None while it has not come whole. Raises `Refusal`."""
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise _refusal(error, head) from error
    return event if isinstance(event, h11.Request) else None


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


def _refuse(connection: h11.Connection, wire: Wire, refusal: Refusal, more: Iterable[tuple[bytes, bytes]]) -> None:
    """Answer with an error, if an answer is still possible; the connection ends after it."""
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = str(refusal).encode()
    headers = [
        (b"Content-Type", b"text/plain"),
        (b"Content-Length", str(len(body)).encode()),
        (b"Connection", b"close"),
        (b"Date", _date().encode()),
        *more,
    ]
    parts = (_response(refusal.status, headers), h11.Data(data=body), h11.EndOfMessage())
    sent = [connection.send(part) for part in parts]
    wire.send(b"".join(part for part in sent if part))


@functools.lru_cache(maxsize=256)
def spelled(name: bytes) -> bytes:
    """A header name as most servers spell it; one with a capital letter is left alone.

    Names are case-insensitive (RFC 9110 §5.1), but ASGI has them in small letters, and clients that are flashed into
    boards, such as ArduinoHttpClient, compare them letter by letter.
    """
    return name if name != name.lower() else _SPELLINGS.get(name, name.title())


def head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The status line and headers of an answer that is sent without h11."""
    lines = b"".join(b"%s: %s\r\n" % (spelled(name), value) for name, value in headers)
    return b"HTTP/1.1 %d %s\r\n%s\r\n" % (status, REASONS.get(status, b""), lines)


def _response(status: int, headers: Iterable[tuple[bytes, bytes]]) -> h11.Response:
    spelled_headers = [(spelled(name), value) for name, value in headers]
    return h11.Response(status_code=status, headers=spelled_headers, reason=REASONS.get(status, b""))


class _Exchange:
    """One request and its answer, as ASGI has it."""

    def __init__(
        self,
        connection: h11.Connection,
        wire: Wire,
        request: h11.Request,
        headers: dict[bytes, bytes],
        peer: Peer,
        path: str,
        rules: PathRules,
    ) -> None:
        self._rules = rules
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
            "path": path,
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
            sent = connection.send(h11.InformationalResponse(status_code=100, headers=[], reason=REASONS[100]))
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
                if self._received > self._rules.body_limit:
                    raise too_large(self._rules.body_limit)
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
            headers = [*message.get("headers", ()), (b"date", _date().encode()), *self._rules.headers]
            if self._wire.closing:
                headers.append((b"connection", b"close"))
            self._head = connection.send(_response(message["status"], headers)) or b""
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

    if target == b"*":
        # The asterisk form is of no path (RFC 9112, 3.2.4).
        return "*"
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
