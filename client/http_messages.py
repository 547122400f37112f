"""Calls as HTTP requests, and HTTP responses as results: what `client.remote` and `client.aio` have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from client import Call
from hub.errors import (
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    Outdated,
    Rejected,
    RequestError,
    TooMany,
    Unavailable,
)

#: Seconds to wait for a response.
TIMEOUT = 60.0
NO_CONTENT = 204
JSON = "application/json"
STREAM_PATH = "/api/v1/stream"
#: Characters of a foreign error response, such as a proxy's, that an error message quotes.
MAX_QUOTED = 200
#: Exceptions by status of the response.
ERRORS: dict[int, type[RequestError]] = {
    400: Rejected,
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Outdated,
    503: Unavailable,
}
#: RFC 9110, 5.5: a header's value.
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@attrs.frozen
class Response:
    """A response; the names of ``headers`` are in small letters."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


@attrs.frozen
class Address:
    """The address of a hub. ``path_prefix`` is the path below which a reverse proxy serves it; "" for none."""

    host: str
    port: int
    path_prefix: str
    is_secure: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read an address such as ``https://pi.local:9443``. Raises `Rejected`."""
        invalid_url = f"{url!r} is not the address of a hub, such as http://localhost:8080"
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").encode("idna").decode()
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise Rejected(invalid_url) from None
        if parts.scheme not in ("http", "https") or not host or not parts.path.isascii():
            raise Rejected(invalid_url)
        return cls(host, port, parts.path.rstrip("/"), parts.scheme == "https")

    def target(self, call: Call[Any]) -> str:
        """Return the path and query of a call's request."""
        return self.path_prefix + (f"{call.path}?{call.query}" if call.query else call.path)

    @property
    def authority(self) -> str:
        """Host and port, as a URL and the header Host have them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"

    @property
    def stream_url(self) -> str:
        """The URL of the live stream."""
        return f"{'wss' if self.is_secure else 'ws'}://{self.authority}{self.path_prefix}{STREAM_PATH}"

    def result(self, response: Response) -> tuple[Any, str]:
        """Return the result of a call and its ETag, or "". Raises the `RequestError` of an error response."""
        if response.status >= 400:
            raise _error(response)
        media_type = response.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
        if response.status >= 300 or media_type == "text/html":
            raise self.not_a_hub(f"status {response.status}, {media_type}")
        try:
            text = response.content.decode()
            result: Any = json.loads(text) if media_type == JSON else None if response.status == NO_CONTENT else text
        except ValueError as error:
            raise self.not_a_hub(str(error)) from error
        return result, response.headers.get("etag", "")

    def no_answer(self, reason: Exception | str) -> Unavailable:
        return Unavailable(f"the hub at {self.host}:{self.port} does not answer: {reason}")

    def not_a_hub(self, reason: str) -> Unavailable:
        return Unavailable(f"the server at {self.host}:{self.port} does not answer as a hub: {reason}")


def bearer_header(token: str) -> dict[str, str]:
    """Return the header with a token, or none for the token "". Raises `Rejected`."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    _check_headers(headers)
    return headers


def request_headers(call: Call[Any], token: str) -> dict[str, str]:
    """Return the headers of a call's request, without those of its body. Raises `Rejected`."""
    headers = {**bearer_header(token), **call.headers}
    _check_headers(headers)
    return headers


def json_body(call: Call[Any]) -> str | None:
    """Return the body of a call's request as JSON, or None."""
    return None if call.json_body is None else json.dumps(call.json_body)


def rejected_stream(status: int) -> RequestError:
    """Return the error for a handshake of the live stream that was answered with a status."""
    return ERRORS.get(status, Unavailable)(f"the hub rejected the connection to its live stream (status {status})")


def _check_headers(headers: Mapping[str, str]) -> None:
    if not all(map(_HEADER_VALUE.fullmatch, headers.values())):
        # The message does not quote the header, which may be the token.
        raise Rejected("a token, key or ETag has characters that are not allowed in an HTTP header")


def _error(response: Response) -> RequestError:
    """Return the exception for an error response: the hub's own, or one by a proxy before it."""
    try:
        message = str(json.loads(response.content)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        # The response is not the hub's, but a proxy's.
        text = response.content.decode(errors="replace").strip()
        message = text[:MAX_QUOTED] or f"{response.status} {response.reason}"
    if response.status == 429:
        seconds = response.headers.get("retry-after", "")
        return TooMany(message, float(seconds) if seconds.isdecimal() else 1.0)
    return ERRORS.get(response.status, RequestError)(message)
