"""Routes: the operations of the HTTP API. A plugin returns them from `hub_routes`; a connector serves them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from hub.api.messages import Request, Socket
from hub.api.parameters import Parameter, arguments, parameters, return_type

#: The permission of a route without authentication: its handler checks for itself who is asking.
PUBLIC = "public"
#: The permission of a route for devices: the ``token`` in the query is checked before a body is read; see
#: `hub.api.access.Access.authenticate_device`.
DEVICE = "device"
#: The permissions that need no bearer token.
OPEN = (PUBLIC, DEVICE)
#: The permission of a route that every authenticated principal may use, about itself.
AUTHENTICATED = "known"
#: Bytes of a body: of a public route, of any other route, and of a route that takes many rows or a document.
PUBLIC_BODY, BODY, LARGE_BODY = 16 * 1024, 64 * 1024, 2 * 1024 * 1024

Handler = Callable[..., Awaitable[Any]]
SocketHandler = Callable[[Request, Socket], Awaitable[None]]


@attrs.frozen
class Route:
    """One operation. ``permission`` is a permission's id, or one of the constants above.

    ``handler(request, …)`` has the parameters of the query as its further arguments, and the type of its answer as its
    return annotation (see `hub.api.parameters`); None is 204.
    """

    method: str
    path: str
    handler: Handler
    permission: str
    summary: str = ""
    body: type | None = None
    #: Whether the audit records calls; off for operations that change nothing.
    audited: bool = attrs.field(default=True, kw_only=True)
    #: The largest body in bytes; the default depends on the permission.
    max_body: int = attrs.field(kw_only=True)
    #: Whether the handler reads the body itself, as chunks of `Request.stream`. Such a route has no body class, no
    #: ``lock``, which a slow client would hold, and takes no Idempotency-Key.
    streaming: bool = attrs.field(default=False, kw_only=True)
    #: Media types of the answer, and of the body, where they are not JSON; the default of a streaming route's body is
    #: application/octet-stream.
    media: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    takes: str = attrs.field(kw_only=True)
    #: The kind of thing that it edits: calls with the same lock run one after the other, and may send If-Match.
    lock: str = attrs.field(default="", kw_only=True)
    #: Whether the handler reads the query itself.
    raw_query: bool = attrs.field(default=False, kw_only=True)
    #: Whether a request may have no body, which is the same as ``{}``.
    optional_body: bool = attrs.field(default=False, kw_only=True)
    parameters: tuple[Parameter, ...] = attrs.field(init=False)

    @max_body.default
    def _default_max_body(self) -> int:
        return PUBLIC_BODY if self.permission in OPEN else BODY

    @takes.default
    def _default_takes(self) -> str:
        return "application/octet-stream" if self.streaming else "application/json"

    def __attrs_post_init__(self) -> None:
        if self.streaming and (self.method == "GET" or self.body is not None or self.lock):
            raise ValueError(f"{self.method} {self.path} is streaming: it cannot be a GET, have a body class or a lock")
        object.__setattr__(self, "parameters", parameters(self.handler))

    @property
    def idempotent(self) -> bool:
        """Whether requests with the same Idempotency-Key are executed once."""
        return self.method == "POST" and self.audited and self.permission not in OPEN and not self.streaming

    @property
    def returns(self) -> Any:
        """The type of its answer."""
        return return_type(self.handler)

    def arguments(self, request: Request) -> dict[str, Any]:
        """Return the handler's arguments besides the request. Raises `Rejected`."""
        return {} if self.raw_query else arguments(self.parameters, request.query)


@attrs.frozen(kw_only=True)
class SocketRoute:
    """A WebSocket; ``handler`` runs as long as it is open."""

    path: str
    handler: SocketHandler
    permission: str
    summary: str = ""


@attrs.frozen
class Permission:
    """A permission that roles may have; ``label`` is Blynk's wording.

    ``own`` is the permission that suffices for a device of the user's own. ``root``: it is about the hub as a whole,
    and only principals of the root organization can have it. ``developer``: only users in developer mode have it.
    """

    id: str
    label: str
    own: str = ""
    root: bool = False
    developer: bool = False
