"""An ASGI server over a `Wire`: HTTP/1.1 by h11. WebSockets are handed over, see `connectors.http.websocket`.

Theory of operation. One connection is one task, which runs `HttpConnection.run` and moves the `State`:

========  ============================================  =============================================================
state     meaning                                       left for
========  ============================================  =============================================================
IDLE      The client may begin a request; empty lines   HEADER, at the first other byte. The connection ends when the
          before it are ignored.                        client ends it, and after IDLE_DEADLINE.
HEADER    The header of a request has begun.            EXCHANGE, when it is complete. The connection ends with 408
                                                        after HEADER_DEADLINE, and with 400 or 431 for a bad header.
EXCHANGE  A request is being answered: by the app, or   IDLE, when request and answer are complete and the client may
          by ``upgrade``, which takes the connection    send another. The connection ends if it may not, if the hub
          over until it ends.                           stops, after an upgrade, and with 400, 408 or 413 for the body.
========  ============================================  =============================================================

Within an exchange h11 knows how far the request and the answer are. An error of the client is an `HttpError`: it is
reported, answered if nothing has been sent yet, and ends the connection. Nothing is logged per request.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import attrs
import h11
import trio

from connectors.http.malformed import broken_rule
from connectors.http.timeouts import HttpTimeouts

if TYPE_CHECKING:
    from hub import Clock, Peer, Wire

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
#: Takes over a connection whose client asks for a WebSocket, given the request and the bytes after it.
Upgrade = Callable[[h11.Request, bytes], Awaitable[None]]

#: Bytes of request line and headers together.
MAX_HEADER = 16 * 1024
#: Bytes per second at which a streamed body must come: the slowest modems of boards are faster. Only the time in which
#: the hub waits for the client counts. A slower client, or one that stalls, is answered with 408 after the time that
#: another body may take.
MIN_STREAM_RATE = 1024
#: Bytes that wait for a client before its next request is read.
MAX_PENDING = 64 * 1024

_BODY_HEADERS = {b"content-length", b"transfer-encoding"}
#: Line ends before a request line, which are ignored (RFC 9112 §2.2): some boards send one too many after a body.
_EMPTY_LINES = re.compile(rb"(?:\r?\n)*")
#: Reason phrases by status: sketches compare "200 OK" (RFC 9112 §4 lets a server leave the words out).
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
#: Header names whose usual spelling is not that of `str.title`.
_SPELLINGS = {b"etag": b"ETag", b"www-authenticate": b"WWW-Authenticate"}


class HttpError(Exception):
    """The client's error that ends the connection, with the ``status`` that answers it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class State(Enum):
    """The state of a connection; see the theory of operation."""

    IDLE = auto()
    HEADER = auto()
    EXCHANGE = auto()


@attrs.frozen
class PathRules:
    """The limit of a body in bytes, and the headers of every answer, errors too, for all requests to a path.

    Bodies of the methods in ``streamed`` may take longer than the deadline of bodies, if they come at MIN_STREAM_RATE.
    """

    body_limit: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    streamed: frozenset[bytes] = frozenset()


#: The rules before the path of a request is known.
_NO_PATH = PathRules(0)


class HttpConnection:
    """One connection. ``report`` is called with the reason of every request rejected before a route saw it."""

    def __init__(
        self,
        app: App,
        upgrade: Upgrade,
        rules_for: Callable[[str], PathRules],
        report: Callable[[str], None],
        wire: Wire,
        peer: Peer,
        clock: Clock,
        timeouts: HttpTimeouts,
    ) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._app = app
        self._upgrade = upgrade
        self._rules_for = rules_for
        self._report = report
        self._wire = wire
        self._peer = peer
        self._h11 = _new_h11_connection()
        self._state = State.IDLE

    async def run(self) -> None:
        """Serve requests until the connection ends."""
        wire, rules = self._wire, _NO_PATH
        try:
            while (request := await self._next_request()) is not None:
                self._state = State.EXCHANGE
                wire.busy = True
                path = _decode_path(request.target.partition(b"?")[0])
                rules = self._rules_for(path)
                headers = _check_headers(request, rules.body_limit)
                if headers.get(b"upgrade", b"").lower() == b"websocket":
                    if request.method != b"GET" or request.http_version != b"1.1" or _BODY_HEADERS & headers.keys():
                        raise HttpError(400, "A WebSocket handshake is a GET request without a body (RFC 6455 §4.1).")
                    await self._upgrade(request, self._h11.trailing_data[0])
                    return
                await _Exchange(
                    self._h11, wire, request, headers, self._peer, path, rules, self._clock, self._timeouts
                ).run(self._app)
                if not self._start_next_cycle():
                    if self._h11.their_state is h11.SEND_BODY:
                        await wire.linger()
                    return
                rules = _NO_PATH
                if wire.pending > MAX_PENDING:
                    await wire.drained()
        except (h11.RemoteProtocolError, HttpError) as error:
            http_error = error if isinstance(error, HttpError) else _http_error(error)
            self._report(f"HTTP {http_error.status}: {http_error}")
            self._send_error(http_error, rules.headers)
            await wire.linger()
        except OSError:
            if not wire.broken:
                raise

    async def _next_request(self) -> h11.Request | None:
        """Return the next request; None when the client sends none. Raises `HttpError`."""
        head = self._h11.trailing_data[0]
        fed = len(head)
        if head[:1] in (b"\r", b"\n"):
            # h11 takes an empty line for an empty request: the next request goes to an h11 connection without it.
            self._h11, fed = _new_h11_connection(), 0
        self._state, deadline = State.IDLE, self._clock.monotonic() + self._timeouts.idle
        while True:
            if not fed and (empty := _EMPTY_LINES.match(head)):
                head = head[empty.end() :]
            if head not in (b"", b"\r"):
                if self._state is State.IDLE:
                    self._state, deadline = State.HEADER, self._clock.monotonic() + self._timeouts.header
                if fed < len(head):
                    self._h11.receive_data(head[fed:])
                    fed = len(head)
                if (request := self._parse_request(head)) is not None:
                    return request
            with trio.move_on_after(max(0.0, deadline - self._clock.monotonic())) as patience:
                data = await self._wire.receive()
            if patience.cancelled_caught:
                if self._state is State.HEADER:
                    raise HttpError(408, f"The header was not complete within {self._timeouts.header:g} s.")
                return None
            if not data:
                if self._state is State.HEADER:
                    raise HttpError(400, broken_rule("peer unexpectedly closed", head))
                return None
            head += data

    def _parse_request(self, head: bytes) -> h11.Request | None:
        """Return the request that h11 has been fed; None while it is incomplete. Raises `HttpError`."""
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise _http_error(error, head) from error
        return event if isinstance(event, h11.Request) else None

    def _start_next_cycle(self) -> bool:
        """Prepare for another request after an exchange; return whether the client may send one."""
        connection, wire = self._h11, self._wire
        while connection.their_state is h11.SEND_BODY and connection.next_event() is not h11.NEED_DATA:
            pass
        wire.busy = False
        if wire.closing or wire.broken:
            return False
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return False
        connection.start_next_cycle()
        return True

    def _send_error(self, error: HttpError, extra_headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Answer with an error, unless an answer has begun."""
        connection = self._h11
        if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = str(error).encode()
        headers = [
            (b"Content-Type", b"text/plain"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Connection", b"close"),
            (b"Date", _http_date(self._clock)),
            *extra_headers,
        ]
        events = (_h11_response(error.status, headers), h11.Data(data=body), h11.EndOfMessage())
        self._wire.send(b"".join(connection.send(event) or b"" for event in events))


def _new_h11_connection() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)


def _http_error(error: h11.RemoteProtocolError, head: bytes = b"") -> HttpError:
    """Return the error that answers one of h11's, whose own text repeats the request, and secrets with it."""
    if error.error_status_hint == 431:
        return HttpError(431, f"The header exceeds the limit of {MAX_HEADER} bytes.")
    return HttpError(error.error_status_hint, broken_rule(str(error), head))


def _check_headers(request: h11.Request, body_limit: int) -> dict[bytes, bytes]:
    """Return the headers as a dictionary. Raises `HttpError` if they are too long, or announce a body that is."""
    headers = dict(request.headers)
    header_bytes = sum(len(name) + len(value) + 4 for name, value in request.headers)
    if len(request.method) + len(request.target) + len("  HTTP/1.1\r\n\r\n") + header_bytes > MAX_HEADER:
        raise HttpError(431, f"The header exceeds the limit of {MAX_HEADER} bytes.")
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise HttpError(400, "A request must not have both Content-Length and Transfer-Encoding (RFC 9112 §6.1).")
    if int(headers.get(b"content-length", b"0")) > body_limit:
        raise body_too_large(body_limit)
    return headers


def body_too_large(body_limit: int) -> HttpError:
    """Return the error for a body with more than ``body_limit`` bytes."""
    return HttpError(413, f"The body exceeds the limit of {body_limit} bytes for this path.")


@functools.lru_cache(maxsize=256)
def capitalize(name: bytes) -> bytes:
    """Return a header name with its usual capital letters; a name with any capital letter is left alone.

    Names are case-insensitive (RFC 9110 §5.1), but ASGI has them in small letters, and clients that are flashed into
    boards, such as ArduinoHttpClient, compare them letter by letter.
    """
    return name if name != name.lower() else _SPELLINGS.get(name, name.title())


def encode_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode the status line and headers of an answer that is sent without h11."""
    lines = b"".join(b"%s: %s\r\n" % (capitalize(name), value) for name, value in headers)
    return b"HTTP/1.1 %d %s\r\n%s\r\n" % (status, REASONS.get(status, b""), lines)


def _h11_response(status: int, headers: Iterable[tuple[bytes, bytes]]) -> h11.Response:
    capitalized = [(capitalize(name), value) for name, value in headers]
    return h11.Response(status_code=status, headers=capitalized, reason=REASONS.get(status, b""))


class _Exchange:
    """One request and its answer, with ASGI's ``receive`` and ``send``."""

    def __init__(
        self,
        connection: h11.Connection,
        wire: Wire,
        request: h11.Request,
        headers: dict[bytes, bytes],
        peer: Peer,
        path: str,
        rules: PathRules,
        clock: Clock,
        timeouts: HttpTimeouts,
    ) -> None:
        self._clock = clock
        self._body_time = timeouts.body
        self._rules = rules
        self._connection = connection
        self._wire = wire
        self._request = request
        self._expects_continue = b"expect" in headers
        self._body_bytes = 0
        self._is_streamed = request.method in rules.streamed
        self._body_deadline = clock.monotonic() + timeouts.body
        #: Seconds that a streamed body may still be waited for.
        self._patience = timeouts.body
        #: The answer's head, which is sent with the first piece of its body.
        self._encoded_head = b""
        #: The request has been read to its end: bytes after it belong to another request.
        self._request_complete = False
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
        """Return the next piece of the request's body, or the client's disconnect. Raises `HttpError`."""
        if self._request_complete:
            await self._wait_for_disconnect()
            return {"type": "http.disconnect"}
        connection = self._connection
        if self._expects_continue and connection.they_are_waiting_for_100_continue:
            encoded = connection.send(h11.InformationalResponse(status_code=100, headers=[], reason=REASONS[100]))
            self._wire.send(encoded or b"")
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                raise _http_error(error) from error
            if event is h11.NEED_DATA:
                connection.receive_data(await self._receive_in_time())
            elif isinstance(event, h11.Data):
                self._body_bytes += len(event.data)
                if self._body_bytes > self._rules.body_limit:
                    raise body_too_large(self._rules.body_limit)
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            elif isinstance(event, h11.EndOfMessage):
                self._request_complete = True
                return {"type": "http.request", "body": b"", "more_body": False}
            else:
                return {"type": "http.disconnect"}

    async def _receive_in_time(self) -> bytes:
        """Return input of the body; b"" when the client has disconnected. Raises `HttpError` if it is too slow."""
        begun = self._clock.monotonic()
        remaining = self._patience if self._is_streamed else self._body_deadline - begun
        with trio.move_on_after(max(0.0, remaining)) as scope:
            data = await self._wire.receive()
        if scope.cancelled_caught:
            if self._is_streamed:
                rate = f"less than {MIN_STREAM_RATE} bytes/s for {self._body_time:g} s"
                raise HttpError(408, f"The body stalled: {rate}.")
            raise HttpError(408, f"The body was not complete within {self._body_time:g} s.")
        left = self._patience - (self._clock.monotonic() - begun)
        self._patience = min(self._body_time, left + len(data) / MIN_STREAM_RATE)
        return data

    async def _wait_for_disconnect(self) -> None:
        """Return when the client has disconnected; up to MAX_HEADER bytes of its next requests are buffered."""
        buffered = 0
        while buffered < MAX_HEADER and (data := await self._wire.receive()):
            buffered += len(data)
            self._connection.receive_data(data)
        if buffered >= MAX_HEADER:
            await trio.sleep_forever()

    async def _send(self, message: Message) -> None:
        """Send the head of the answer or a piece of its body. Raises OSError when the client has disconnected."""
        connection = self._connection
        if self._wire.broken:
            raise OSError(self._wire.broken)
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"date", _http_date(self._clock)), *self._rules.headers]
            if self._wire.closing:
                headers.append((b"connection", b"close"))
            self._encoded_head = connection.send(_h11_response(message["status"], headers)) or b""
            return
        encoded = [self._encoded_head]
        self._encoded_head = b""
        if (body := message.get("body", b"")) and self._request.method != b"HEAD":
            encoded.append(connection.send(h11.Data(data=body)) or b"")
        more_body = message.get("more_body", False)
        if not more_body:
            encoded.append(connection.send(h11.EndOfMessage()) or b"")
        self._wire.send(b"".join(encoded))
        if more_body:
            await self._wire.drained()


def _decode_path(target: bytes) -> str:
    """Return the decoded path, without a slash at its end, which some of Blynk's own examples have."""
    from urllib.parse import unquote

    if target == b"*":
        # The asterisk form has no path (RFC 9112, 3.2.4).
        return "*"
    if not target.startswith(b"/"):
        # The absolute form (RFC 9112, 3.2.2).
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    path = unquote(target.decode("ascii", "replace")) if b"%" in target else target.decode("ascii", "replace")
    return path.rstrip("/") or "/"


def _http_date(clock: Clock) -> bytes:
    """Return the time for a Date header."""
    return _formatted_date(clock.wall // 1000)


@functools.lru_cache(maxsize=1)
def _formatted_date(second: int) -> bytes:
    """Return a second since the epoch; formatted once, since every answer has it."""
    return formatdate(second, usegmt=True).encode()
