"""HTTP as plain values. A plugin returns routes from `hub_routes`; a connector turns them into whatever serves them.

Bodies and answers are attrs classes: ``device_id`` in Python is ``deviceId`` in JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote_plus

import attrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from hub.api.parameters import MAX_WHOLE, Between, Parameter, arguments, camel, parameters, return_type
from hub.errors import Outdated, Rejected
from hub.model import LOCAL, Device, Principal
from hub.structuring import ValidationErrors, converter, structure

T = TypeVar("T")
S = TypeVar("S")

#: The permission of a route that anybody may ask: such a handler checks for itself who is asking.
PUBLIC = "public"
#: The permission of a route for devices: the query's ``token`` is checked before a body is read; see `Access.authenticate_device`.
DEVICE = "device"
#: Those permissions that need no bearer token.
OPEN = (PUBLIC, DEVICE)
#: The permission of a route for everybody who is known, about themselves.
KNOWN = "known"
#: Who may not even see a device is told that there is none.
VIEW_DEVICES = "org_devices.view"
#: Bytes of a body: of a public route, of any other, and of one that takes many rows or a document.
PUBLIC_BODY, BODY, LARGE_BODY = 16 * 1024, 64 * 1024, 2 * 1024 * 1024


def secret(*, name: str = "", **options: Any) -> Any:
    """A field of a body that is neither logged nor put into the audit; ``name`` is what JSON calls it, if it says."""
    return attrs.field(repr=False, metadata={"secret": True, "name": name}, **options)


def named(field: attrs.Attribute[Any]) -> str:
    """What JSON calls a field."""
    return str(field.metadata.get("name") or camel(field.name))


def _renamed(cls: Any) -> dict[str, Any]:
    return {a.name: override(rename=named(a)) for a in attrs.fields(cls)}


_json = converter.copy()
_json.register_structure_hook_factory(
    attrs.has,
    lambda cls: make_dict_structure_fn(cls, _json, _cattrs_forbid_extra_keys=True, **_renamed(cls)),
)
_json.register_unstructure_hook_factory(
    attrs.has,
    lambda cls: make_dict_unstructure_fn(cls, _json, **_renamed(cls)),
)


def from_json(data: Any, cls: type[T]) -> T:
    """A request's body as ``cls``. Raises `Rejected`, naming every field that is wrong."""
    try:
        return structure(data, cls, _json, named)
    except ValidationErrors as error:
        said = ValidationErrors([(".".join(map(camel, path.split("."))), text) for path, text in error.problems])
        raise Rejected(str(said)) from error


def to_json(value: Any) -> Any:
    """What a handler returned, as JSON's types."""
    return _json.unstructure(value)


@attrs.define(kw_only=True)
class Request:
    """``query`` is as it came, undecoded. ``body`` is an instance of the route's body class, else bytes.

    ``permission`` is the route's. ``subject`` ("device 7") and ``org`` are what the audit says it was about; ``begun``
    is set by a handler of several steps, which may fail after the first; ``given_to`` is an organization that has
    what it was about now, and whose audit has the change too.
    """

    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: Mapping[str, str] = attrs.Factory(dict)
    body: Any = b""
    principal: Principal = LOCAL
    address: str = ""
    tls: bool = False
    #: The host that the client asked, by its own word or (``forwarded``) by a trusted proxy's, and the hub's address
    #: that it came to; see `hub.api.links`.
    host: str = ""
    forwarded: bool = False
    local: str = ""
    permission: str = ""
    #: The device whose token the query has, once it has been looked up.
    device: Device | None = None
    subject: str = ""
    org: int | None = None
    begun: bool = False
    given_to: int | None = None
    #: A handler has only tried out what it would do: there is nothing for the audit.
    nothing_changed: bool = False
    #: The version of what is answered; clients get it as ETag.
    etag: str = ""

    def version(self, *thing: Any) -> None:
        """Say by which version what is answered goes: ``thing`` is what an edit may change."""
        self.etag = f'"{hashlib.sha256(repr(thing).encode()).hexdigest()[:20]}"'

    def expect(self, *thing: Any) -> None:
        """Return when what is to be edited is what the client has read, or the client does not mind.

        Raises `Outdated` when it sent If-Match (RFC 9110) with another version.
        """
        self.version(*thing)
        wanted = [one.strip() for one in self.headers.get("if-match", "*").split(",")]
        if "*" not in wanted and self.etag not in wanted:
            raise Outdated("It has changed meanwhile: read it again.")

    @property
    def pairs(self) -> list[tuple[str, str | None]]:
        """The query in order; a key without ``=`` has None, which differs from an empty value."""
        pairs: list[tuple[str, str | None]] = []
        for part in self.query.split("&"):
            if part:
                key, equals, value = part.partition("=")
                # What is not UTF-8 becomes lone surrogates, which no datastream takes.
                decoded = unquote_plus(value, errors="surrogateescape") if equals else None
                pairs.append((unquote_plus(key), decoded))
        return pairs

    @property
    def params(self) -> dict[str, str]:
        """The query as a dictionary; of a repeated key the last one."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


@attrs.define(kw_only=True)
class Response:
    """An return_type that is not JSON, or not 200."""

    body: bytes | str = b""
    status: int = 200
    type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = attrs.Factory(dict)


@attrs.define(kw_only=True)
class Created(Generic[T]):
    """201, with this as its JSON."""

    value: T


#: Which page of a list, from 0, and how much is on one (docs.blynk.io, Platform API).
MAX_PAGE = 1_000
#: How much is on one where nobody says.
PAGE = 20
SortOrder = Literal["ASC", "DESC"]
PageNumber = Annotated[int, Between(0, MAX_WHOLE)]
PageSize = Annotated[int, Between(1, MAX_PAGE)]


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page of a list; ``total_elements`` is how many there are on all of them."""

    content: list[T]
    total_elements: int


def page_of(found: Sequence[S], page: int, size: int, shown: Callable[[S], T]) -> Page[T]:
    """A page of what was found, each as it is shown."""
    chosen = found[page * size : (page + 1) * size]
    return Page(content=[shown(one) for one in chosen], total_elements=len(found))


@attrs.define(kw_only=True)
class File:
    path: Path
    type: str = "application/octet-stream"
    name: str = ""


@attrs.define(kw_only=True)
class Stream(Generic[T]):
    """An return_type of unknown length: text is ``Stream[str]``, and ``Stream[Chart]`` is JSON of the shape of a Chart."""

    chunks: AsyncGenerator[bytes, None]
    type: str = "application/octet-stream"


class Socket(Protocol):
    """A WebSocket, as a handler sees it."""

    async def receive(self) -> str | bytes | None:
        """The next message; None when the other side is gone."""

    def send(self, message: str | bytes) -> None:
        """Send now, or buffer; look at ``pending``."""

    def prepare(self, message: bytes) -> bytes:
        """A message, given its UTF-8, as it goes over any such WebSocket."""

    def send_prepared(self, data: bytes) -> None:
        """Send messages that were prepared, one after the other: what many hear is prepared once."""

    @property
    def pending(self) -> int:
        """Bytes that the client has not taken yet."""

    async def drained(self) -> None:
        """Return when ``pending`` is 0."""


Handler = Callable[..., Awaitable[Any]]
SocketHandler = Callable[[Request, Socket], Awaitable[None]]


@attrs.frozen
class Route:
    """One operation. ``permission`` is a permission's id, or `PUBLIC`.

    ``handler(request, …)`` has the parameters of the query as its further arguments, and says in its annotation what
    it answers (see `hub.api.parameters`); None is 204. A handler that reads the query itself is ``lenient``.
    """

    method: str
    path: str
    handler: Handler
    permission: str
    summary: str = ""
    body: type | None = None
    #: It changes nothing that the audit should tell of.
    quiet: bool = attrs.field(default=False, kw_only=True)
    #: Bytes of a body; where the route does not say, the usual ones for its permission.
    max_body: int = attrs.field(kw_only=True)
    #: What it answers where that is not JSON, and takes where that is not.
    media: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    takes: str = attrs.field(default="application/json", kw_only=True)
    #: What kind of thing it edits: one request after the other does, and each may say what it has read (If-Match).
    edits: str = attrs.field(default="", kw_only=True)
    lenient: bool = attrs.field(default=False, kw_only=True)
    parameters: tuple[Parameter, ...] = attrs.field(init=False)

    @max_body.default
    def _usual_body(self) -> int:
        return PUBLIC_BODY if self.permission in OPEN else BODY

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "parameters", parameters(self.handler))

    @property
    def once(self) -> bool:
        """Whether it is carried out once, however often it comes with the same Idempotency-Key."""
        return self.method == "POST" and not self.quiet and self.permission not in OPEN

    @property
    def returns(self) -> Any:
        """The type of what it answers."""
        return return_type(self.handler)

    def arguments(self, request: Request) -> dict[str, Any]:
        """What the handler is called with besides the request. Raises `Rejected`."""
        return {} if self.lenient else arguments(self.parameters, request.query)


@attrs.frozen(kw_only=True)
class SocketRoute:
    """A WebSocket; ``handler`` runs as long as it is open."""

    path: str
    handler: SocketHandler
    permission: str
    summary: str = ""


@attrs.frozen
class Permission:
    """``label`` is Blynk's wording. ``own`` is the permission that does for a device of one's own.

    ``root``: it is about the hub as a whole, and nobody of another organization has it.
    """

    id: str
    label: str
    own: str = ""
    root: bool = False


@attrs.frozen(kw_only=True)
class Change:
    """Somebody changed something through a route: ``details`` is the body without its secrets, ``at`` in ms UTC."""

    at: int
    principal: Principal
    address: str
    org: int
    action: str
    subject: str
    details: dict[str, Any]


def details_of(route: Route, request: Request) -> dict[str, Any]:
    """What the audit has of a request: its parameters, and its body without secrets. Raises `Rejected`."""
    # Of routes that anybody may ask, the query may have secrets.
    details: dict[str, Any] = {} if route.permission in OPEN else dict(request.params)
    try:
        return details | _body_details(request)
    except RecursionError as error:
        raise Rejected("The body is nested too deeply.") from error


def _body_details(request: Request) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if attrs.has(type(request.body)):
        for field in attrs.fields(type(request.body)):
            value = getattr(request.body, field.name)
            hidden = value is not None and (field.metadata.get("secret") or _is_long(value))
            details[named(field)] = HIDDEN if hidden else to_json(value)
    return details


def _is_long(value: Any) -> bool:
    """Whether a value has more than `MAX_DETAIL` characters; looks at no more of it than that takes."""
    left, pending = MAX_DETAIL, [value]
    while pending and left >= 0:
        one = pending.pop()
        if isinstance(one, str):
            left -= len(one) + 2
        elif isinstance(one, dict):
            left -= 2 * len(one)
            pending += (part for pair in islice(one.items(), MAX_DETAIL) for part in pair)
        elif isinstance(one, list | tuple):
            left -= 2 * len(one)
            pending += one[:MAX_DETAIL]
        elif attrs.has(type(one)):
            pending += (getattr(one, field.name) for field in attrs.fields(type(one)))
        else:
            left -= len(str(one))
    return left < 0


def changed(route: Route, request: Request, at: int, details: dict[str, Any], *, whole: bool = True) -> Change:
    """What a request changed that was carried out, as a ``whole`` or until it failed."""
    org = request.principal.org if request.org is None else request.org
    return Change(
        at=at,
        principal=request.principal,
        address=request.address,
        org=org,
        action=route.summary if whole else f"{route.summary} (failed half-way)",
        subject=request.subject,
        details=details,
    )


#: What stands for a secret, and for what is longer than so many characters.
HIDDEN, MAX_DETAIL = "…", 500
