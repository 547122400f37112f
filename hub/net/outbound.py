"""HTTP requests out of the hub, such as webhooks: HTTP/1.1 by h11, with limits, and only to public addresses.

URLs come from users, and the hub stands inside a network that those users may not reach. So a request goes to a public
address only, unless the operator has allowed the network (server-side request forgery, OWASP SSRF). A name is resolved
once, and the connection is made to the very address that was checked, so that a second DNS answer cannot lead elsewhere
(DNS rebinding); SNI, the Host header and the check of the certificate keep the name. Redirects are not followed, and
proxies of the environment are ignored, for the same reason.

Each request has a connection of its own. Messages of errors name the host and never the path or the query, which often
hold a secret.
"""

from __future__ import annotations

import email.utils
import ipaddress
import itertools
import random
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, urlsplit

import attrs
import h11
import trio

from hub.errors import HubError, StartupError
from hub.parsing.spellings import host
from hub.version import installed

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Seconds for a whole request, and of these for resolving the name, connecting and the TLS handshake.
DEADLINE = 30.0
CONNECT_DEADLINE = 10.0
#: Bytes of a body: an answer to a webhook is read for its status and a message, and a request is a JSON document.
MAX_RESPONSE = 64 * 1024
MAX_REQUEST = 1024 * 1024
#: Bytes of the head of a request or response, as most servers limit it.
MAX_HEAD = 16 * 1024
#: Bytes received for each byte of a response that is accepted: chunks of a single byte take six.
MAX_OVERHEAD = 8
#: Bytes read at once.
CHUNK = 16 * 1024
#: Addresses of a name that are tried, one after the other, in the order of the resolver (RFC 6724).
MAX_ADDRESSES = 4
#: Names resolved at once. A lookup holds its thread until the resolver gives up, also after a deadline; this limit
#: keeps the threads of everything else free.
MAX_LOOKUPS = 8

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
#: Headers that the hub sets itself: they say where the message ends and to whom it goes.
RESERVED = frozenset(
    "connection content-length expect host keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)
#: A token and a value (RFC 9110 §5.1, §5.5), in ASCII.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")
#: Characters that a URL must not have: spaces and control characters, and the backslash, which programs read as "/".
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
#: The last label of a host that resolvers read as an IPv4 address, such as 0x7f000001 (inet_aton(3)).
_HEXADECIMAL = re.compile(r"0[xX][0-9A-Fa-f]*")

#: IANA's registries of special-purpose addresses. Of IPv6 only 2000::/3 is public: all else is refused, such as
#: IPv4-mapped addresses and NAT64, behind which there may be any IPv4 address.
_NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, and unspecified
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by customers of a provider (CGNAT)
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, with the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which has any IPv4 address inside
        "3fff::/20",  # documentation
    )
)


class OutboundError(HubError):
    """A request out of the hub failed; the message is the reason. ``temporary`` is whether a retry may succeed."""

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary


@attrs.frozen
class OutboundResponse:
    """A response: its status, its headers in their order with names in lower case, and its body as it was sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """Return the first header of a name in lower case; "" without one."""
        return next((value for key, value in self.headers if key == name), "")


@attrs.frozen
class _Target:
    """A URL, taken apart. ``host`` is a name in DNS form or an IP address, ``label`` names it in errors."""

    tls: bool
    host: str
    port: int
    label: str
    authority: str
    path: str


class Outbound:
    """HTTP and HTTPS requests to public addresses, and to those in ``allowed_networks`` (such as ``10.1.0.0/16``).

    Certificates are verified with the system's certificate authorities, and those of the PEM file ``ca``. Deadlines are
    in seconds and sizes in bytes, see the constants of this module. The constructor raises `StartupError` for a network
    or file that is not valid.
    """

    def __init__(
        self,
        *,
        allowed_networks: Iterable[str] = (),
        ca: Path | None = None,
        deadline: float = DEADLINE,
        connect_deadline: float = CONNECT_DEADLINE,
        max_response: int = MAX_RESPONSE,
        max_request: int = MAX_REQUEST,
    ) -> None:
        try:
            self._allowed: tuple[Network, ...] = tuple(ipaddress.ip_network(network) for network in allowed_networks)
        except ValueError as error:
            raise StartupError(f"a network that outbound requests may reach is not valid: {error}") from None
        # Its defaults are those of clients: TLS 1.2 or newer, certificates and names are verified.
        self._context = ssl.create_default_context()
        self._context.set_alpn_protocols(["http/1.1"])
        if ca is not None:
            try:
                self._context.load_verify_locations(ca)
            except OSError as error:
                raise StartupError(f"{ca}: cannot load certificate authorities: {error}") from error
        self._deadline = deadline
        self._connect_deadline = connect_deadline
        self._max_response = max_response
        self._max_request = max_request
        self._agent = f"Pinwheel/{installed()}"
        self._lookups = trio.CapacityLimiter(MAX_LOOKUPS)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> OutboundResponse:
        """Send a request and return the response, whatever its status; redirects are not followed.

        ``method`` is one of `METHODS`; ``headers`` may not contain those of `RESERVED`. Non-ASCII characters of the
        host and the path are encoded as browsers do, and a fragment is left out. Raises `OutboundError`.
        """
        target = _parse(url)
        head = self._head(method, target, headers or {}, body)
        with trio.move_on_after(self._deadline):
            stream = await self._connect(target)
            try:
                return await self._exchange(stream, target, head, body)
            finally:
                await trio.aclose_forcefully(stream)
        raise OutboundError(f"{target.label} did not answer within {self._deadline:g} s", temporary=True)

    def _head(self, method: str, target: _Target, headers: Mapping[str, str], body: bytes) -> h11.Request:
        if method not in METHODS:
            raise OutboundError(f"the method {method[:20]!r} is not one of {', '.join(sorted(METHODS))}")
        if len(body) > self._max_request:
            raise OutboundError(f"the body has {len(body)} bytes: at most {self._max_request} are sent")
        fields = {"host": target.authority, "user-agent": self._agent, "accept": "*/*"}
        # A compressed body could not be limited by its size.
        fields |= {"accept-encoding": "identity", "connection": "close"}
        if body or method in ("PATCH", "POST", "PUT"):
            fields["content-length"] = str(len(body))
        for name, value in headers.items():
            if not _TOKEN.fullmatch(name):
                raise OutboundError(f"{name[:100]!r} is not a valid name of a header")
            if not _VALUE.fullmatch(value):
                raise OutboundError(
                    f"the header {name[:100]} has a value with control characters, non-ASCII characters, or spaces at"
                    " an end"
                )
            if name.lower() in RESERVED:
                raise OutboundError(f"the header {name} is set by the hub itself")
            fields[name.lower()] = value
        size = sum(len(name) + len(value) + 4 for name, value in fields.items()) + len(target.path)
        if size > MAX_HEAD:
            raise OutboundError(f"the URL and the headers have {size} bytes: at most {MAX_HEAD} are sent")
        return h11.Request(method=method, target=target.path, headers=list(fields.items()))

    async def _connect(self, target: _Target) -> trio.abc.Stream:
        with trio.move_on_after(self._connect_deadline):
            addresses = await self._resolve(target)
            # Each address has its share of the time: the first may be one that nothing answers at.
            share = self._connect_deadline / len(addresses)
            while True:
                address = addresses.pop(0)
                try:
                    with trio.fail_after(share):
                        return await self._open(address, target)
                except (OSError, trio.TooSlowError) as error:
                    if not addresses:
                        if isinstance(error, trio.TooSlowError):
                            break
                        reason = _reason(error)
                        raise OutboundError(f"cannot connect to {target.label}: {reason}", temporary=True) from error
        raise OutboundError(f"cannot connect to {target.label} within {self._connect_deadline:g} s", temporary=True)

    async def _resolve(self, target: _Target) -> list[Address]:
        """Return the addresses of a host that may be connected to; asks the resolver once."""
        try:
            addresses: list[Address] = [ipaddress.ip_address(target.host)]
        except ValueError:
            try:
                answers = await trio.to_thread.run_sync(
                    lambda: socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM),
                    abandon_on_cancel=True,
                    limiter=self._lookups,
                )
            except OSError as error:
                raise OutboundError(
                    f"cannot resolve the name {target.host}: {_reason(error)}", temporary=True
                ) from error
            addresses = [ipaddress.ip_address(sockaddr[0]) for *_, sockaddr in answers]
        permitted = [address for address in dict.fromkeys(addresses) if self._is_permitted(address)]
        if not permitted:
            refused = ", ".join(str(address) for address in addresses[:MAX_ADDRESSES])
            what = "it is" if target.host == refused else f"its address {refused} is"
            raise OutboundError(
                f"{target.label} is refused: {what} not public, nor in a network that the operator has allowed"
            )
        return permitted[:MAX_ADDRESSES]

    def _is_permitted(self, address: Address) -> bool:
        return is_public(address) or any(address in network for network in self._allowed)

    async def _open(self, address: Address, target: _Target) -> trio.abc.Stream:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            await sock.connect((str(address), target.port))
            stream: trio.abc.Stream = trio.SocketStream(sock)
            if not target.tls:
                return stream
            stream = trio.SSLStream(stream, self._context, server_hostname=target.host, https_compatible=True)
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            sock.close()
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                reason = error.__cause__.verify_message
                raise OutboundError(f"the certificate of {target.label} is not valid: {reason}") from error
            if isinstance(error.__cause__, ssl.SSLError) and not isinstance(error.__cause__, ssl.SSLEOFError):
                raise OutboundError(f"{target.label} failed the TLS handshake: {_reason(error.__cause__)}") from error
            raise OSError("it closed the connection during the TLS handshake") from error
        except BaseException:
            sock.close()
            raise
        return stream

    async def _exchange(
        self, stream: trio.abc.Stream, target: _Target, head: h11.Request, body: bytes
    ) -> OutboundResponse:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        data = connection.send(head) or b""
        if body:
            data += connection.send(h11.Data(body)) or b""
        data += connection.send(h11.EndOfMessage()) or b""
        # A server may answer and close before it has read everything.
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)
        try:
            return await self._read(stream, connection, target)
        except trio.BrokenResourceError as error:
            raise OutboundError(f"{target.label} closed the connection without a response", temporary=True) from error
        except h11.RemoteProtocolError as error:
            # h11 reports a connection that ended as a violation of the protocol, too.
            ended = connection.trailing_data[1]
            reason = "closed the connection before its response was complete" if ended else f"answered badly: {error}"
            raise OutboundError(f"{target.label} {reason}", temporary=ended) from error

    async def _read(self, stream: trio.abc.Stream, connection: h11.Connection, target: _Target) -> OutboundResponse:
        response: h11.Response | None = None
        body = bytearray()
        left = self._max_response * MAX_OVERHEAD + 2 * MAX_HEAD
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive_some(CHUNK)
                left -= len(data)
                if left < 0:
                    raise OutboundError(
                        f"{target.label} sends more than a response of {self._max_response} bytes needs"
                    )
                connection.receive_data(bytes(data))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._max_response:
                    raise OutboundError(f"the response of {target.label} has more than {self._max_response} bytes")
            elif isinstance(event, h11.EndOfMessage):
                break
        assert response is not None, "h11 ends a message that it has begun"
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)
        return OutboundResponse(response.status_code, headers, bytes(body))


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, according to IANA's registries."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def _parse(url: str) -> _Target:
    """Take a URL apart. Raises `OutboundError`, whose message does not contain what may be a secret."""
    if _NOT_IN_URL.search(url):
        raise OutboundError("the URL has a space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
        path = quote(parts.path or "/", safe=_PRINTABLE)
        query = quote(parts.query, safe=_PRINTABLE)
    except ValueError:
        # The text of the error may have a password in it.
        raise OutboundError("the URL is not valid: it must be as https://example.org:8443/path?query") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OutboundError("the URL must begin with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise OutboundError("the URL has a user name or password: send them in the header Authorization")
    if port == 0:
        raise OutboundError("the URL has the port 0")
    try:
        name = host(parts.hostname)
    except ValueError as error:
        raise OutboundError(f"the host of the URL is not valid: {error}") from None
    # `host` accepts an IPv4 address in the common form only, and no decimal numbers; hexadecimal ones look like names.
    if "%" in name or _HEXADECIMAL.fullmatch(name.rpartition(".")[2]):
        raise OutboundError(f"the host {name} is not valid: write an address as 192.0.2.1 or [2001:db8::1]")
    in_url = f"[{name}]" if ":" in name else name
    tls = parts.scheme == "https"
    default = 443 if tls else 80
    port = default if port is None else port
    return _Target(
        tls=tls,
        host=name,
        port=port,
        label=f"{in_url}:{port}",
        authority=in_url if port == default else f"{in_url}:{port}",
        path=f"{path}?{query}" if query else path,
    )


def _reason(error: OSError) -> str:
    """Return the text of an error without its number."""
    return error.strerror or str(error)


#: Statuses of a server that is busy, restarting or unreachable behind its proxy (RFC 9110, 6585, 8470).
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When and how often a request is repeated: after `RETRIED` statuses, and errors that are temporary.

    The delay after the first attempt is ``first_delay`` seconds and doubles with each, up to ``max_delay``; a random
    part of at most half of it is left out, so that many clients do not return at once. A Retry-After of the response
    that is longer is the delay instead, up to ``max_retry_after`` seconds.
    """

    attempts: int = 5
    first_delay: float = 1.0
    max_delay: float = 60.0
    max_retry_after: float = 300.0

    def delay(self, attempt: int, outcome: OutboundResponse | OutboundError) -> float | None:
        """Return the seconds between the outcome of an attempt, counted from 1, and the next; None for no other."""
        if attempt >= self.attempts:
            return None
        if isinstance(outcome, OutboundError):
            requested = 0.0
            if not outcome.temporary:
                return None
        elif outcome.status not in RETRIED:
            return None
        else:
            requested = min(_retry_after(outcome), self.max_retry_after)
        # Beyond 2³⁰ the exponent matters no more, and could overflow.
        backoff = min(self.first_delay * 2.0 ** min(attempt - 1, 30), self.max_delay)
        return max(requested, backoff * random.uniform(0.5, 1.0))  # noqa: S311 - it protects nothing


def _retry_after(response: OutboundResponse) -> float:
    """Return the seconds of Retry-After (RFC 9110 §10.2.3); 0 without it.

    A date is compared with the response's own Date: neither clock has to be right.
    """
    text = response.header("retry-after").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        at, now = (email.utils.parsedate_to_datetime(date) for date in (text, response.header("date")))
        return max(0.0, (at - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


async def with_retries(
    send: Callable[[], Awaitable[OutboundResponse]], policy: RetryPolicy | None = None
) -> OutboundResponse:
    """Call ``send`` until it succeeds or the policy gives up; return the last response or raise the last error.

    The server may have processed a request whose response was lost, so that it sees it twice: give the request an id.
    """
    policy = policy or RetryPolicy()
    for attempt in itertools.count(1):
        outcome: OutboundResponse | OutboundError
        try:
            outcome = await send()
        except OutboundError as error:
            outcome = error
        delay = policy.delay(attempt, outcome)
        if delay is None:
            break
        await trio.sleep(delay)
    if isinstance(outcome, OutboundError):
        raise outcome
    return outcome
