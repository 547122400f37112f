"""HTTP for people and devices: the hub's routes as an ASGI app, and errors as statuses."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import trio
from starlette.responses import FileResponse, Response
from starlette.routing import compile_path

from connectors.http import server, websocket
from hub.api import (
    AUTHENTICATED,
    BODY,
    DEVICE,
    OPEN,
    Request,
    Route,
    SocketRoute,
    from_json,
    parse_json,
    to_json,
)
from hub.errors import (
    Conflict,
    Forbidden,
    HubError,
    NotAuthenticated,
    NotFound,
    Outdated,
    Rejected,
    StorageError,
    TooMany,
    Unavailable,
    first_of,
    translate,
)
from hub.hookspecs import hookimpl
from hub.model import NOBODY, Credentials
from hub.net.proxy_protocol import client_address
from hub.net.wire import WireProtocol

if TYPE_CHECKING:
    import h11

    from hub.app import Hub
    from hub.net.wire import Peer, Wire

log = logging.getLogger(__name__)

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
#: Seconds after which a client may ask again when the hub could not keep its promise.
RETRY_AFTER = 5
#: Seconds for the rest of a streamed answer to a client that has ended its side of the connection.
LAST_WORDS = 10.0
#: What a listener that serves "device-http" answers; everything else is not there.
DEVICE_PATHS = "/external/api/", "/health"

_Receive = Callable[[], Awaitable[server.Message]]
_Send = Callable[[server.Message], Awaitable[None]]

JSON = b"application/json"
#: Paths that a page of any origin may ask: there a device's token, or an address that cannot be guessed, is all that
#: counts. A browser sends along nothing that would (docs.blynk.io, Device HTTPS API; Fetch §3.2).
PAGE_PATHS = "/external/api/", "/reports/", "/device_uploads/"
ANY_ORIGIN = ((b"Access-Control-Allow-Origin", b"*"),)
#: Seconds for which a browser need not ask again whether it may ask.
PREFLIGHT_LASTS = 86_400


@hookimpl
def hub_protocols(hub: Hub) -> Sequence[WireProtocol]:
    endpoint = Endpoint(hub)
    return [WireProtocol(name="http", sniff=sniff, serve=endpoint.serve, overload_response=busy)]


def sniff(first: bytes) -> bool:
    """A method, maybe after empty lines: no other protocol begins with a capital letter, or with those alone."""
    method = first.lstrip(b"\r\n")
    return not method or 0x41 <= method[0] <= 0x5A


def busy(first: bytes) -> bytes:
    """The whole answer to a client over the limits of connections."""
    body = _error("There are too many clients.")
    target = first.lstrip(b"\r\n").partition(b" ")[2]
    headers = [
        (b"Retry-After", str(RETRY_AFTER).encode()),
        (b"Connection", b"close"),
        (b"Content-Type", JSON),
        (b"Content-Length", str(len(body)).encode()),
        *_cross_origin(target.decode("latin-1")),
    ]
    return server.head(503, headers) + body


def _cross_origin(path: str) -> tuple[tuple[bytes, bytes], ...]:
    """The headers by which a page of another origin may read what is answered at a path."""
    return ANY_ORIGIN if path.startswith(PAGE_PATHS) or path == PAGE_PATHS[0].rstrip("/") else ()


class Endpoint:
    """Serves the routes of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        by_path: dict[str, dict[str, Route]] = {}
        for route in hub.routes:
            if isinstance(route, Route):
                by_path.setdefault(route.path, {})[route.method] = route
        self._paths = {path: _PathApp(hub, methods) for path, methods in by_path.items()}
        #: Paths with a name in braces, which stands for a part of any text.
        self._patterns = [(compile_path(path)[0], app) for path, app in self._paths.items() if "{" in path]
        self._sockets = {route.path: route for route in hub.routes if isinstance(route, SocketRoute)}

    async def serve(self, wire: Wire, peer: Peer) -> None:
        async def upgrade(request: h11.Request, trailing: bytes) -> None:
            await self._upgrade(wire, peer, request, trailing)

        def refuse(reason: str) -> None:
            self._hub.reject(peer.address, reason)

        await server.serve(self._app, upgrade, self._rules, refuse, wire, peer)

    def _rules(self, path: str) -> server.PathRules:
        app = self._paths.get(path) or self._with_names(path)
        return server.PathRules(BODY if app is None else app.max_body, _cross_origin(path))

    async def _app(self, scope: server.Scope, receive: _Receive, send: _Send) -> None:
        app = self._paths.get(scope["path"]) or self._with_names(scope["path"])
        if scope["method"] == "OPTIONS" and _cross_origin(scope["path"]):
            await _preflight(scope, send)
        elif app is None or not _open_here(scope["path"], scope["state"]["peer"]):
            await _send(send, 404, JSON, _error(f"There is nothing at {scope['path']}."), ())
        else:
            await app(scope, receive, send)

    def _with_names(self, path: str) -> _PathApp | None:
        return next((app for pattern, app in self._patterns if pattern.match(path)), None)

    async def _upgrade(self, wire: Wire, peer: Peer, request: h11.Request, trailing: bytes) -> None:
        target, _, query = request.target.decode("ascii", "replace").partition("?")
        path = target.rstrip("/")
        asked = _request(self._hub, "GET", path, query.encode(), request.headers, peer)
        for protocol in self._hub.protocols:
            # Blynk's old clients also ask for "/websocket".
            where = protocol.websocket_path
            if where and path in (where, where.removesuffix("s")) and protocol.name in peer.listen.serve:
                subprotocols = [protocol.subprotocol] if protocol.subprotocol else []
                if socket := self._accepted(wire, peer, request, trailing, subprotocols):
                    wire.busy = False
                    peer.address = asked.address
                    await protocol.serve(socket, peer)
                    await socket.aclose()
                return
        route = self._sockets.get(path)
        try:
            if route is None or not _open_here(path, peer):
                raise NotFound("There is no WebSocket here.")
            await _admit(self._hub, asked, route.permission)
        except HubError as error:
            status, kind, body, more = _problem(error)
            head = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
            wire.send(server.head(status, (*head, *more)) + body)
            return
        if socket := self._accepted(wire, peer, request, trailing):
            wire.busy = False
            peer.authenticated()
            await route.handler(asked, websocket.TextSocket(socket))
            await socket.aclose()

    def _accepted(
        self, wire: Wire, peer: Peer, request: h11.Request, trailing: bytes, subprotocols: Sequence[str] = ()
    ) -> websocket.WebSocketWire | None:
        """The WebSocket that a client asked for; None when its handshake was malformed, which is put down."""
        socket = websocket.accept(wire, request, trailing, subprotocols)
        if socket is None:
            self._hub.reject(peer.address, "HTTP 400: The handshake of a WebSocket is malformed (RFC 6455 §4.2.1).")
        return socket


class _PathApp:
    """The routes of one path, by method, as an ASGI app."""

    def __init__(self, hub: Hub, routes: Mapping[str, Route]) -> None:
        self._hub = hub
        self._routes = dict(routes)
        self.max_body = max(route.max_body for route in routes.values())
        if "GET" in routes:
            self._routes.setdefault("HEAD", routes["GET"])

    async def __call__(self, scope: server.Scope, receive: _Receive, send: _Send) -> None:
        method, peer = scope["method"], scope["state"]["peer"]
        route = self._routes.get(method)
        if route is None:
            allow = (b"allow", ", ".join(self._routes).encode())
            await _send(send, 405, JSON, _error(f"{method} is not possible here."), [allow])
            return
        try:
            request = _request(self._hub, scope["method"], scope["path"], scope["query_string"], scope["headers"], peer)
            await _admit(self._hub, request, route.permission)
            result = await self._result(route, request, receive)
            if request.principal is not NOBODY or route.path.startswith("/external/"):
                peer.authenticated()
        except server.Refusal:
            raise
        except HubError as error:
            await _send(send, *_problem(error))
        except Exception:
            log.exception("%s %s failed", route.method, route.path)
            await _send(send, 500, JSON, _error("The hub has a fault; its log says more."), ())
        else:
            await _answer(result, request, scope, receive, send)

    async def _result(self, route: Route, request: Request, receive: _Receive) -> Any:
        if route.method == "GET":
            return await self._hub.execute(route, request)
        bodies = self._hub.bodies
        with bodies.counted() as grown_to:
            request.body = body = await _body(receive, route.max_body, grown_to)
            if (cls := route.body) is not None:
                request.body = await bodies.decoded(body, lambda body: from_json(parse_json(body), cls))
            return await self._hub.execute(route, request)


def _request(
    hub: Hub, method: str, path: str, query: bytes, headers: Iterable[tuple[bytes, bytes]], peer: Peer
) -> Request:
    decoded: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        # A list may come in several lines (RFC 9110, 5.3); of others the last counts.
        decoded[key] = f"{decoded[key]},{text}" if key.startswith("x-forwarded-") and key in decoded else text
    address, tls, host, forwarded = peer.address, peer.tls, decoded.get("host", ""), False
    if hub.listener is not None and hub.listener.trusts(address):
        address = client_address(address, decoded.get("x-forwarded-for", ""), hub.listener.trusts)
        # Of several, the word of the proxy that is trusted comes last.
        tls = _last(decoded, "x-forwarded-proto").lower() == "https" if "x-forwarded-proto" in decoded else tls
        forwarded = "x-forwarded-host" in decoded
        host = _last(decoded, "x-forwarded-host") if forwarded else host
    if not forwarded and "http" not in peer.listen.serve:
        # What links lead to is not served there.
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


def _last(headers: Mapping[str, str], name: str) -> str:
    """The last of a header's list."""
    return headers[name].rpartition(",")[2].strip()


def _open_here(path: str, peer: Peer) -> bool:
    return "http" in peer.listen.serve or path.startswith(DEVICE_PATHS)


async def _admit(hub: Hub, request: Request, permission: str) -> None:
    """Find out who is asking, and whether they may. Raises `NotAuthenticated`, `Forbidden`."""
    request.permission = permission
    if permission == DEVICE:
        hub.access.authenticate_device(request)
    if permission in OPEN:
        return
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise NotAuthenticated("This needs an Authorization header with a bearer token.")
    request.principal = await hub.authenticate(Credentials("bearer", secret.strip(), request.address))
    if permission != AUTHENTICATED:
        hub.authorize(request.principal, permission)


async def _body(receive: _Receive, limit: int, grown_to: Callable[[int], None]) -> bytes:
    """A request's body. Raises `server.Refusal` when it has more than ``limit`` bytes."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            # A path's limit is that of its largest route.
            raise server.too_large(limit)
        grown_to(len(body))
        if not message.get("more_body"):
            return bytes(body)


def _problem(error: HubError) -> tuple[int, bytes, bytes, Sequence[tuple[bytes, bytes]]]:
    status = translate(error, STATUS)
    headers: list[tuple[bytes, bytes]] = []
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    elif isinstance(error, TooMany):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    elif status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER).encode()))
    return status, JSON, _error(str(error)), headers


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message}}, ensure_ascii=False, separators=(",", ":")).encode(
        errors="replace"
    )


async def _send(
    send: _Send,
    status: int,
    kind: bytes,
    body: bytes,
    headers: Sequence[tuple[bytes, bytes]],
) -> None:
    head = [(b"content-length", str(len(body)).encode()), *headers]
    if body:
        head.append((b"content-type", kind))
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def _preflight(scope: server.Scope, send: _Send) -> None:
    """Let a browser's page ask with any of our methods, and with whatever headers it wants to (Fetch §3.2.2)."""
    wanted = dict(scope["headers"]).get(b"access-control-request-headers", b"*")
    headers = [
        (b"Access-Control-Allow-Methods", b"GET, HEAD, POST, OPTIONS"),
        (b"Access-Control-Allow-Headers", wanted or b"*"),
        (b"Access-Control-Max-Age", str(PREFLIGHT_LASTS).encode()),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _stream(stream: api.Stream[Any], etag: Sequence[tuple[bytes, bytes]], receive: _Receive, send: _Send) -> None:
    """Send an answer piece by piece, as long as the client is there."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        # It may only have nothing more to ask (`nc -N`), which looks the same.
        await trio.sleep(LAST_WORDS)
        nursery.cancel_scope.cancel()

    kind = stream.type if not stream.type.startswith("text/") else f"{stream.type}; charset=utf-8"
    try:
        async with trio.open_nursery() as nursery, aclosing(stream.chunks) as chunks:
            nursery.start_soon(watch)
            head = [(b"content-type", kind.encode()), *etag]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_of(group) from None


async def _answer(result: Any, request: Request, scope: Any, receive: Any, send: Any) -> None:
    """Send what a handler returned."""
    etag = [(b"etag", request.etag.encode())] if request.etag else []
    match result:
        case api.Response():
            body = result.body.encode() if isinstance(result.body, str) else result.body
            headers = [(name.encode(), value.encode()) for name, value in result.headers.items()]
            await _send(send, result.status, result.type.encode(), body, etag + headers)
        case None:
            await send({"type": "http.response.start", "status": 204, "headers": etag})
            await send({"type": "http.response.body", "body": b""})
        case api.File():
            response: Response = FileResponse(result.path, media_type=result.type, filename=result.name or None)
            await response(scope, receive, send)
        case api.Stream():
            await _stream(result, etag, receive, send)
        case api.Created():
            await _send(send, 201, JSON, json.dumps(to_json(result.value)).encode(), etag)
        case _:
            await _send(send, 200, JSON, json.dumps(to_json(result)).encode(), etag)
