"""A client of a hub over HTTP and WebSocket."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from client import Call
from client.operations import LoggedIn, get_profile, post_login, post_login_refresh
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

T = TypeVar("T")

#: Seconds to wait for a response.
TIMEOUT = 60.0
NO_CONTENT = 204
JSON = "application/json"
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


class Remote:
    """A hub at ``url``, such as ``https://pi.local:9443``. Safe to use from several threads.

    ``token`` is an access token or a personal API key. ``tls`` has the trusted CAs, by default the system's.
    Raises `Rejected` for an invalid URL.
    """

    def __init__(self, url: str, token: str = "", tls: ssl.SSLContext | None = None) -> None:
        invalid_url = f"{url!r} is not the address of a hub, such as http://localhost:8080"
        try:
            parts = urlsplit(url)
            self.host = (parts.hostname or "").encode("idna").decode()
            self.port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise Rejected(invalid_url) from None
        if parts.scheme not in ("http", "https") or not self.host or not parts.path.isascii():
            raise Rejected(invalid_url)
        #: The path below which a reverse proxy serves the hub; "" for none.
        self._path_prefix = parts.path.rstrip("/")
        self.token = token.strip()
        self._refresh_token = ""
        self._refresh_lock = threading.Lock()
        self.tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None

    def login(self, email: str, password: str, otp: str | None = None) -> LoggedIn:
        """Log in as a user. The access token is refreshed as long as the session lasts. Raises `RequestError`."""
        login, _ = self._send(post_login(email=email, password=password, otp=otp), "")
        self.token, self._refresh_token = login["access_token"], login["refresh_token"] or ""
        return login

    def __call__(self, call: Call[T]) -> T:
        """Execute a call and return its result. Raises `RequestError`."""
        return self.call_with_etag(call)[0]

    def call_with_etag(self, call: Call[T]) -> tuple[T, str]:
        """Execute a call; return its result, and the ETag of the response or "". Raises `RequestError`."""
        token = self.token
        try:
            return self._send(call, token)
        except NotAuthenticated:
            if not self._refresh_token:
                raise
        self._refresh(token)
        return self._send(call, self.token)

    def _refresh(self, expired_token: str) -> None:
        """Get a new access token, unless another thread already has."""
        with self._refresh_lock:
            if self.token == expired_token:
                login, _ = self._send(post_login_refresh(refresh_token=self._refresh_token), "")
                self.token, self._refresh_token = login["access_token"], login["refresh_token"] or ""

    def _send(self, call: Call[T], token: str) -> tuple[T, str]:
        """Send a call with a token, "" for none; return its result and the ETag. Raises `RequestError`."""
        connection = self._connection()
        target = self._path_prefix + (f"{call.path}?{call.query}" if call.query else call.path)
        headers = {**_headers(token), **call.headers}
        body: str | BinaryIO | None = None if call.json_body is None else json.dumps(call.json_body)
        if (file := call.content) is not None:
            body, headers["Content-Length"] = file, str(file.seek(0, os.SEEK_END))
            file.seek(0)
        try:
            try:
                connection.request(call.method, target, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                # A hub that rejects a stream answers before it has read it to its end.
                if file is None:
                    raise
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from error
        except ValueError:
            # "from None": the ValueError quotes the header, which may be the token.
            raise Rejected("a token, key or ETag has characters that are not allowed in an HTTP header") from None
        finally:
            connection.close()
        if response.status >= 400:
            raise _error(response, content)
        media_type = response.headers.get_content_type()
        if response.status >= 300 or media_type == "text/html":
            raise self._not_a_hub(f"status {response.status}, {media_type}")
        try:
            text = content.decode()
            result: Any = json.loads(text) if media_type == JSON else None if response.status == NO_CONTENT else text
        except ValueError as error:
            raise self._not_a_hub(str(error)) from error
        return result, response.headers.get("etag", "")

    def follow(self, *subscriptions: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the messages of ``/api/v1/stream`` for these subscriptions, until the hub stops.

        Raises `RequestError` when the hub rejects a subscription, and `Unavailable` when it stops.
        """
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect

        host = f"[{self.host}]" if ":" in self.host else self.host
        if self._refresh_token:
            # Any call refreshes an expired token; the WebSocket's handshake does not.
            self(get_profile())
        url = f"{'wss' if self.tls else 'ws'}://{host}:{self.port}{self._path_prefix}/api/v1/stream"
        try:
            with connect(url, ssl=self.tls, additional_headers=_headers(self.token), proxy=None) as socket:
                for number, subscription in enumerate(subscriptions, 1):
                    socket.send(json.dumps({**subscription, "id": number}))
                for message in socket:
                    decoded = json.loads(message)
                    if error := decoded.get("error"):
                        raise RequestError(error["message"])
                    yield decoded
        except InvalidStatus as error:
            status = error.response.status_code
            raise ERRORS.get(status, Unavailable)(
                f"the hub rejected the connection to its live stream (status {status})"
            ) from error
        except InvalidHandshake as error:
            raise self._not_a_hub(str(error)) from error
        except ConnectionClosed:
            pass
        except OSError as error:
            raise self._no_answer(error) from error
        raise Unavailable("the hub stopped")

    def _no_answer(self, error: Exception) -> Unavailable:
        return Unavailable(f"the hub at {self.host}:{self.port} does not answer: {error}")

    def _not_a_hub(self, reason: str) -> Unavailable:
        return Unavailable(f"the server at {self.host}:{self.port} does not answer as a hub: {reason}")

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        return http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT, context=self.tls)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _error(response: http.client.HTTPResponse, content: bytes) -> RequestError:
    """Return the exception for an error response: the hub's own, or one by a proxy before it."""
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        # The response is not the hub's, but a proxy's.
        message = content.decode(errors="replace").strip()[:MAX_QUOTED] or f"{response.status} {response.reason}"
    if response.status == 429:
        seconds = response.headers.get("retry-after", "")
        return TooMany(message, float(seconds) if seconds.isdecimal() else 1.0)
    return ERRORS.get(response.status, RequestError)(message)
