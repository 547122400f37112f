"""The HTTP plugin: serves the hub's routes as an ASGI app, upgrades WebSockets, and maps errors to statuses."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio
from starlette.responses import FileResponse, Response
from starlette.routing import compile_path

from connectors.http import server, websocket
from connectors.http.compression import Compressor, may_compress
from connectors.http.timeouts import HttpTimeouts
from hub import (
    DEVICE,
    NOBODY,
    PUBLIC,
    Conflict,
    Credentials,
    Forbidden,
    HubError,
    NotAuthenticated,
    NotFound,
    Outdated,
    Rejected,
    Request,
    Route,
    SocketRoute,
    StorageError,
    TooMany,
    Unavailable,
    WireProtocol,
    api,
    first_of,
    hookimpl,
    translate,
)
from hub.api import BODY, OPEN, encode, from_json, is_own_origin, parse_json
from hub.net import client_address
from hub.slices import SliceRunner

if TYPE_CHECKING:
    import h11

    from hub import Hub, Peer, Wire

log = logging.getLogger(__name__)

#: The status that answers each error.
STATUS: dict[type[HubError], int] = {
    NotAuthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Rejected: 400,
    Outdated: 412,
    Conflict: 409,
    TooMany: 429,
    Unavailable: 503,
    StorageError: 503,
}
#: Seconds after which a client may retry a request that was answered with 503.
RETRY_AFTER = 5
#: The subprotocol of pages, beside which they send their token as ``bearer.<token>`` (RFC 6455, 1.9).
SUBPROTOCOL = "pinwheel.v1"
#: The only paths on a listener that serves "device-http"; any other is answered with 404.
DEVICE_PATHS = "/external/api/", "/health"

_Headers = Sequence[tuple[bytes, bytes]]
JSON = b"application/json"
NOT_MODIFIED = 304
#: The ranges that are answered; any other is ignored, and the answer is the whole.
_RANGE = re.compile(rb"bytes=(\d{0,15})-(\d{0,15})")
#: Paths that pages of any origin may request: they need a device's token or an address that cannot be guessed, and a
#: browser adds neither by itself (docs.blynk.io, Device HTTPS API; Fetch §3.2).
CROSS_ORIGIN_PATHS = "/external/api/", "/reports/", "/device_uploads/"
ANY_ORIGIN = ((b"Access-Control-Allow-Origin", b"*"),)
#: Seconds for which a browser may cache the answer to a preflight request.
PREFLIGHT_MAX_AGE = 86_400


@hookimpl
def hub_protocols(hub: Hub) -> Sequence[WireProtocol]:
    endpoint = Endpoint(hub)
    return [WireProtocol(name="http", sniff=sniff, serve=endpoint.serve, overload_response=overload_response)]


def sniff(first: bytes) -> bool:
    """Return whether a connection begins with a method, maybe after empty lines, or with empty lines only.

    No other protocol begins with a capital letter or a line end.
    """
    method = first.lstrip(b"\r\n")
    return not method or 0x41 <= method[0] <= 0x5A


def overload_response(first: bytes) -> bytes:
    """Return the whole answer to a client over the limits of connections, given its first bytes."""
    body = _error_body("The hub has reached its limit of connections; try again later.")
    target = first.lstrip(b"\r\n").partition(b" ")[2]
    headers = [
        (b"Retry-After", str(RETRY_AFTER).encode()),
        (b"Connection", b"close"),
        (b"Content-Type", JSON),
        (b"Content-Length", str(len(body)).encode()),
        *_cross_origin_headers(target.decode("latin-1")),
    ]
    return server.encode_head(503, headers) + body


def _cross_origin_headers(path: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers with which a page of another origin may read the answers at a path."""
    return ANY_ORIGIN if path.startswith(CROSS_ORIGIN_PATHS) or path == CROSS_ORIGIN_PATHS[0].rstrip("/") else ()


class Endpoint:
    """Serves the routes of a hub and its WebSockets."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._timeouts = hub.timeouts.of(HttpTimeouts)
        compressor = Compressor()
        by_path: dict[str, dict[str, Route]] = {}
        for route in hub.routes:
            if isinstance(route, Route):
                by_path.setdefault(route.path, {})[route.method] = route
        self._paths = {path: _PathApp(hub, methods, compressor) for path, methods in by_path.items()}
        #: Paths with a name in braces, which matches any text.
        self._patterns = [(compile_path(path)[0], app) for path, app in self._paths.items() if "{" in path]
        self._sockets = {route.path: route for route in hub.routes if isinstance(route, SocketRoute)}

    async def serve(self, wire: Wire, peer: Peer) -> None:
        """Serve one connection until it ends."""

        async def upgrade(request: h11.Request, trailing: bytes) -> None:
            await self._upgrade(wire, peer, request, trailing)

        def report(reason: str) -> None:
            self._hub.reject(peer.address, reason)

        await server.HttpConnection(
            self._app, upgrade, self._rules_for, report, wire, peer, self._hub.clock, self._timeouts
        ).run()

    def _rules_for(self, path: str) -> server.PathRules:
        app = self._paths.get(path) or self._match_pattern(path)
        headers = _cross_origin_headers(path)
        return server.PathRules(BODY, headers) if app is None else server.PathRules(app.max_body, headers, app.streamed)

    async def _app(self, scope: server.Scope, receive: server.Receive, send: server.Send) -> None:
        """Answer one request: ASGI's entry point."""
        app = self._paths.get(scope["path"]) or self._match_pattern(scope["path"])
        if scope["method"] == "OPTIONS" and _cross_origin_headers(scope["path"]):
            await _answer_preflight(scope, send)
        elif app is None or not _is_served(scope["path"], scope["state"]["peer"]):
            await _send(send, 404, JSON, _error_body(f"There is nothing at {scope['path']}."), ())
        else:
            await app(scope, receive, send)

    def _match_pattern(self, path: str) -> _PathApp | None:
        return next((app for pattern, app in self._patterns if pattern.match(path)), None)

    async def _upgrade(self, wire: Wire, peer: Peer, upgrade_request: h11.Request, trailing: bytes) -> None:
        """Serve a WebSocket until it ends: of a protocol, such as the native one, or of a `SocketRoute`."""
        target, _, query = upgrade_request.target.decode("ascii", "replace").partition("?")
        path = target.rstrip("/")
        request = _build_request(self._hub, "GET", path, query.encode(), upgrade_request.headers, peer)
        if (protocol := self._find_protocol(path, peer)) is not None:
            own = [protocol.subprotocol] if protocol.subprotocol else []
            if socket := self._accept(wire, peer, upgrade_request, trailing, own):
                peer.address = request.address
                await protocol.serve(socket, peer)
                await socket.aclose()
            return
        route = self._sockets.get(path)
        try:
            if route is None or not _is_served(path, peer):
                raise NotFound("There is no WebSocket here.")
            subprotocols = self._admit_page(request)
            await _authorize(self._hub, request, route.permission)
        except HubError as error:
            wire.send(_encode_rejected_upgrade(error))
            return
        if socket := self._accept(wire, peer, upgrade_request, trailing, subprotocols):
            peer.authenticated()
            await route.handler(request, websocket.TextSocket(socket))
            await socket.aclose()

    def _admit_page(self, request: Request) -> Sequence[str]:
        """Return the subprotocols to choose from, and take the bearer token that a page sends as another of them.

        A page cannot send an Authorization header with a WebSocket. Raises `Forbidden` for a page of another site.
        """
        origin = request.headers.get("origin")
        if origin is not None and not is_own_origin(origin, request, self._hub.config):
            self._hub.reject(request.address, f"HTTP 403: a page of {origin[:100]} asked for {request.path}")
            raise Forbidden(
                "A page of another site cannot open this WebSocket. If it is the hub's own page, set [hub] url in "
                "hub.toml to the address at which browsers open it."
            )
        offered = [item.strip() for item in request.headers.get("sec-websocket-protocol", "").split(",")]
        if SUBPROTOCOL not in offered:
            return ()
        if token := next((item.removeprefix("bearer.") for item in offered if item.startswith("bearer.")), ""):
            request.headers = {"authorization": f"Bearer {token}", **request.headers}
        return (SUBPROTOCOL,)

    def _find_protocol(self, path: str, peer: Peer) -> WireProtocol | None:
        """Return the protocol whose WebSockets have this path on the client's listener."""
        for protocol in self._hub.protocols:
            socket_path = protocol.websocket_path
            # Blynk's old clients also ask for "/websocket".
            is_its_path = socket_path and path in (socket_path, socket_path.removesuffix("s"))
            if is_its_path and protocol.name in peer.listen.serve:
                return protocol
        return None

    def _accept(
        self, wire: Wire, peer: Peer, upgrade_request: h11.Request, trailing: bytes, subprotocols: Sequence[str] = ()
    ) -> websocket.WebSocketWire | None:
        """Accept a WebSocket; None when its handshake was malformed, which is answered and reported."""
        socket = websocket.accept(wire, upgrade_request, trailing, subprotocols)
        if socket is None:
            self._hub.reject(peer.address, "HTTP 400: The handshake of a WebSocket is malformed (RFC 6455 §4.2.1).")
        else:
            wire.busy = False
        return socket


class _PathApp:
    """The routes of one path, by method, as an ASGI app."""

    def __init__(self, hub: Hub, routes: Mapping[str, Route], compressor: Compressor) -> None:
        self._hub = hub
        self._compressor = compressor
        self._half_closed = hub.timeouts.of(HttpTimeouts).half_closed
        self._routes = dict(routes)
        self.max_body = max(route.max_body for route in routes.values())
        #: Methods whose handlers read the body as a stream.
        self.streamed = frozenset(method.encode() for method, route in routes.items() if route.streaming)
        if "GET" in routes:
            self._routes.setdefault("HEAD", routes["GET"])

    async def __call__(self, scope: server.Scope, receive: server.Receive, send: server.Send) -> None:
        method, peer = scope["method"], scope["state"]["peer"]
        route = self._routes.get(method)
        if route is None:
            allowed = ", ".join(self._routes)
            message = f"{method} is not allowed for this path; allowed: {allowed}."
            await _send(send, 405, JSON, _error_body(message), [(b"allow", allowed.encode())])
            return
        try:
            query, headers = scope["query_string"], scope["headers"]
            request = _build_request(self._hub, method, scope["path"], query, headers, peer)
            request.raw_path = scope["raw_path"].decode("ascii", "replace")
            await _authorize(self._hub, request, route.permission)
            if route.streaming and route.permission != PUBLIC:
                # An upload may take long, and is no connection that has not logged in.
                peer.authenticated()
            result = await self._execute(route, request, receive)
            if request.principal is not NOBODY or route.path.startswith("/external/"):
                peer.authenticated()
        except server.HttpError:
            raise
        except HubError as error:
            await _send(send, *_describe_error(error))
        except Exception:
            log.exception("%s %s failed", route.method, route.path)
            message = "The request failed because of an error in the hub; see its log."
            await _send(send, 500, JSON, _error_body(message), ())
        else:
            compressor = self._compressor if may_compress(route, request) else None
            await _send_result(result, request, self._hub.slices, scope, receive, send, self._half_closed, compressor)

    async def _execute(self, route: Route, request: Request, receive: server.Receive) -> Any:
        """Read and decode the body, and return the result of the route's handler. Raises what the handler raises."""
        if route.method == "GET":
            return await self._hub.execute(route, request)
        if route.streaming:
            return await self._execute_streaming(route, request, receive)
        bodies = self._hub.bodies
        with bodies.counted() as grown_to:
            request.body = body = await _read_body(receive, route.max_body, grown_to)
            if (cls := route.body) is not None:
                body = b"{}" if route.optional_body and not body else body
                request.body = await bodies.decode(body, lambda body: from_json(parse_json(body), cls))
            return await self._hub.execute(route, request)

    async def _execute_streaming(self, route: Route, request: Request, receive: server.Receive) -> Any:
        """Return the result of a handler that reads the body. Raises what the handler raises.

        Raises `server.HttpError` instead of `Rejected` when the client is to blame for the end of the stream.
        """
        if int(request.headers.get("content-length", "0")) > route.max_body:
            # The server applies the path's limit, which is that of its largest route.
            raise server.body_too_large(route.max_body)
        stream = _BodyStream(receive, route.max_body)
        request.stream = stream
        try:
            return await self._hub.execute(route, request)
        except (Rejected, ExceptionGroup) as error:
            # A handler may have read in a nursery.
            if stream.error is not None and isinstance(first_of(error), Rejected):
                raise stream.error from error
            raise
        finally:
            stream.close()


class _BodyStream(AsyncIterator[bytes]):
    """The body of a request as chunks: each is received when the handler asks for it, so that a slow handler slows down
    its client.
    """

    def __init__(self, receive: server.Receive, body_limit: int) -> None:
        self._receive = receive
        self._body_limit = body_limit
        self._received = 0
        self._complete = False
        self._closed = False
        #: The client's error that has ended the stream; handlers get it as `Rejected`.
        self.error: server.HttpError | None = None

    async def __anext__(self) -> bytes:
        while not self._complete:
            if self._closed:
                raise Rejected("The body can only be read until the request is answered.")
            if self.error is not None:
                raise Rejected(str(self.error))
            try:
                if chunk := await self._next_chunk():
                    return chunk
            except server.HttpError as error:
                self.error = error
        raise StopAsyncIteration

    async def _next_chunk(self) -> bytes:
        """Receive the next chunk; b"" at the end of the body. Raises `server.HttpError`."""
        message = await self._receive()
        chunk: bytes = message["body"]
        self._received += len(chunk)
        if self._received > self._body_limit:
            raise server.body_too_large(self._body_limit)
        self._complete = not message["more_body"]
        return chunk

    def close(self) -> None:
        """End the stream: the connection's input now belongs to the server."""
        self._closed = True


def _build_request(
    hub: Hub, method: str, path: str, query: bytes, headers: Iterable[tuple[bytes, bytes]], peer: Peer
) -> Request:
    """Return a request whose principal is not known yet, with its client's address as trusted proxies tell it."""
    decoded: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        # A list may be split over several lines (RFC 9110, 5.3); of other headers the last counts.
        decoded[key] = f"{decoded[key]},{text}" if key.startswith("x-forwarded-") and key in decoded else text
    address, tls, host, forwarded = peer.address, peer.tls, decoded.get("host", ""), False
    if hub.listener is not None and hub.listener.trusts(address):
        address = client_address(address, decoded.get("x-forwarded-for", ""), hub.listener.trusts)
        # The trusted proxy appends its value to those that the client sent.
        tls = _last_item(decoded, "x-forwarded-proto").lower() == "https" if "x-forwarded-proto" in decoded else tls
        forwarded = "x-forwarded-host" in decoded
        host = _last_item(decoded, "x-forwarded-host") if forwarded else host
    if not forwarded and "http" not in peer.listen.serve:
        # The pages that links lead to are not served there.
        host = ""
    return Request(
        method=method,
        path=path,
        query=query.decode("ascii", "replace"),
        headers=decoded,
        principal=NOBODY,
        address=address,
        tls=tls,
        host=host,
        forwarded=forwarded,
        local=peer.local,
    )


def _last_item(headers: Mapping[str, str], name: str) -> str:
    """Return the last item of a header that is a list."""
    return headers[name].rpartition(",")[2].strip()


def _is_served(path: str, peer: Peer) -> bool:
    """Return whether the client's listener serves a path."""
    return "http" in peer.listen.serve or path.startswith(DEVICE_PATHS)


async def _authorize(hub: Hub, request: Request, permission: str) -> None:
    """Set the request's principal or device, and check its permission. Raises `NotAuthenticated`, `Forbidden`.

    For a device also raises `Rejected`, `TooMany`.
    """
    if permission == DEVICE:
        await hub.access.authenticate_device(request)
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if permission not in OPEN and scheme.lower() == "bearer" and secret:
        request.principal = await hub.authenticate(Credentials("bearer", secret.strip(), request.address))
    hub.executor.authorize(request, permission)


async def _read_body(receive: server.Receive, body_limit: int, grown_to: Callable[[int], None]) -> bytes:
    """Return a request's body. Raises `server.HttpError` when it has more than ``body_limit`` bytes."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > body_limit:
            # The server applies the path's limit, which is that of its largest route.
            raise server.body_too_large(body_limit)
        grown_to(len(body))
        if not message.get("more_body"):
            return bytes(body)


def _describe_error(error: HubError) -> tuple[int, bytes, bytes, Sequence[tuple[bytes, bytes]]]:
    """Return the status, media type, body and headers of the answer to an error."""
    status = translate(error, STATUS)
    headers: list[tuple[bytes, bytes]] = []
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    elif isinstance(error, TooMany):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    elif status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER).encode()))
    return status, JSON, _error_body(str(error)), headers


def _encode_rejected_upgrade(error: HubError) -> bytes:
    """Encode the whole answer to a WebSocket handshake that is rejected."""
    status, media_type, body, extra_headers = _describe_error(error)
    headers = [(b"content-type", media_type), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    return server.encode_head(status, (*headers, *extra_headers)) + body


def _error_body(message: str) -> bytes:
    return json.dumps({"error": {"message": message}}, ensure_ascii=False, separators=(",", ":")).encode(
        errors="replace"
    )


async def _send(
    send: server.Send,
    status: int,
    media_type: bytes,
    body: bytes,
    headers: Sequence[tuple[bytes, bytes]],
) -> None:
    """Send a whole answer."""
    all_headers = list(headers)
    if status != NOT_MODIFIED:
        # The length would be that of the content that the client has (RFC 9110, 8.6).
        all_headers.append((b"content-length", str(len(body)).encode()))
    if body:
        all_headers.append((b"content-type", media_type))
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})


async def _answer_preflight(scope: server.Scope, send: server.Send) -> None:
    """Allow a page all methods of cross-origin paths, and the headers that its browser asks for (Fetch §3.2.2)."""
    requested_headers = dict(scope["headers"]).get(b"access-control-request-headers", b"*")
    headers = [
        (b"Access-Control-Allow-Methods", b"GET, HEAD, POST, OPTIONS"),
        (b"Access-Control-Allow-Headers", requested_headers or b"*"),
        (b"Access-Control-Max-Age", str(PREFLIGHT_MAX_AGE).encode()),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _send_chunks(
    chunks: AsyncGenerator[bytes, None],
    status: int,
    headers: _Headers,
    receive: server.Receive,
    send: server.Send,
    half_closed: float,
) -> None:
    """Send an answer piece by piece until the client disconnects."""

    async def stop_on_disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        # A client that has only closed its sending side (`nc -N`) looks the same, and still reads.
        await trio.sleep(half_closed)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery, aclosing(chunks):
            nursery.start_soon(stop_on_disconnect)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_of(group) from None


async def _send_stream(
    stream: api.Stream[Any], headers: _Headers, receive: server.Receive, send: server.Send, half_closed: float
) -> None:
    media_type = stream.type if not stream.type.startswith("text/") else f"{stream.type}; charset=utf-8"
    all_headers = [(b"content-type", media_type.encode()), *headers]
    await _send_chunks(stream.chunks, 200, all_headers, receive, send, half_closed)


async def _send_download(
    download: api.Download,
    scope: server.Scope,
    extra_headers: _Headers,
    receive: server.Receive,
    send: server.Send,
    half_closed: float,
) -> None:
    """Send the bytes of a download, or one range of them (RFC 9110 §14)."""
    request_headers = dict(scope["headers"])
    size, status, start, end = download.size, 200, 0, download.size
    headers = [(b"content-type", download.type.encode()), (b"accept-ranges", b"bytes"), *extra_headers]
    etag = dict(extra_headers).get(b"etag")
    if etag is not None and request_headers.get(b"if-none-match") == etag:
        await send({"type": "http.response.start", "status": 304, "headers": extra_headers})
        await send({"type": "http.response.body", "body": b""})
        return
    if download.name:
        quoted = quote(download.name)
        name = f'filename="{quoted}"' if quoted == download.name else f"filename*=utf-8''{quoted}"
        headers.append((b"content-disposition", f"attachment; {name}".encode()))
    # Without a validator of its own, a download does not fit any condition, so the answer to If-Range is the whole.
    if b"if-range" not in request_headers and (match := _RANGE.fullmatch(request_headers.get(b"range", b""))):
        start, end = _resolve_range(match[1], match[2], size)
        status = 206 if start < end else 416
        content_range = f"bytes {start}-{end - 1}/{size}" if start < end else f"bytes */{size}"
        headers.append((b"content-range", content_range.encode()))
    headers.append((b"content-length", str(max(0, end - start)).encode()))
    if scope["method"] == "HEAD" or start >= end:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    chunks = _first_bytes(download.read(start), end - start)
    await _send_chunks(chunks, status, headers, receive, send, half_closed)


def _resolve_range(first: bytes, last: bytes, size: int) -> tuple[int, int]:
    """Return the (start, end) of a range in ``size`` bytes; the start is not before the end if it has none of them."""
    if not first:
        return (size - min(int(last), size), size) if last else (0, 0)
    return int(first), min(int(last) + 1, size) if last else size


async def _first_bytes(chunks: AsyncGenerator[bytes, None], count: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk[:count]
            count -= len(chunk)
            if count <= 0:
                return


async def _send_json(
    status: int,
    value: Any,
    request: Request,
    slices: SliceRunner,
    headers: _Headers,
    send: server.Send,
    compressor: Compressor | None,
) -> None:
    """Send a value as JSON, compressed if there is a compressor and the client accepts it."""
    body = await encode(value, slices)
    if compressor is not None and (compressed := await compressor.compress(body, request)) is not None:
        body, headers = compressed, [*headers, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    await _send(send, status, JSON, body, headers)


async def _send_result(
    result: Any,
    request: Request,
    slices: SliceRunner,
    scope: Any,
    receive: Any,
    send: Any,
    half_closed: float,
    compressor: Compressor | None,
) -> None:
    """Send the answer that a handler has returned."""
    headers = [(name.encode(), value.encode()) for name, value in request.answer_headers.items()]
    if request.etag:
        headers.append((b"etag", request.etag.encode()))
    match result:
        case api.Response():
            body = result.body.encode() if isinstance(result.body, str) else result.body
            own_headers = [(name.encode(), value.encode()) for name, value in result.headers.items()]
            await _send(send, result.status, result.type.encode(), body, headers + own_headers)
        case None:
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        case api.File():
            response: Response = FileResponse(result.path, media_type=result.type, filename=result.name or None)
            await response(scope, receive, send)
        case api.Download():
            await _send_download(result, scope, headers, receive, send, half_closed)
        case api.Stream():
            await _send_stream(result, headers, receive, send, half_closed)
        case api.Created():
            await _send_json(201, result.value, request, slices, headers, send, None)
        case _:
            await _send_json(200, result, request, slices, headers, send, compressor)
