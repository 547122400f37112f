"""A hub over HTTP."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from typing import Any, TypeVar
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

#: Seconds for one answer.
TIMEOUT = 60.0
NO_CONTENT = 204
JSON = "application/json"
#: Characters of an answer that is not the hub's own.
MAX_SAID = 200
#: What the hub means by its statuses.
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
    """A hub at ``url``, such as ``https://pi.local:9443``, asked with an access token or a personal API key.

    ``tls`` says whose certificates are believed, by default those that this machine believes. May be used by several
    threads.
    """

    def __init__(self, url: str, token: str = "", tls: ssl.SSLContext | None = None) -> None:
        no_address = f"{url!r} is not the address of a hub, such as http://localhost:8080"
        try:
            parts = urlsplit(url)
            self.host = (parts.hostname or "").encode("idna").decode()
            self.port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise Rejected(no_address) from None
        if parts.scheme not in ("http", "https") or not self.host or not parts.path.isascii():
            raise Rejected(no_address)
        #: Where a proxy has the hub below a path of its own.
        self._prefix = parts.path.rstrip("/")
        self.token = token.strip()
        self._refresh_token = ""
        self._renewing = threading.Lock()
        self.tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None

    def login(self, email: str, password: str, otp: str | None = None) -> LoggedIn:
        """Log in, and be that user from now on, for as long as the session may be renewed. Raises `RequestError`."""
        found, _ = self._ask(post_login(email=email, password=password, otp=otp), "")
        self.token, self._refresh_token = found["access_token"], found["refresh_token"]
        return found

    def __call__(self, call: Call[T]) -> T:
        """Carry out a call. Raises `RequestError`."""
        return self.ask(call)[0]

    def ask(self, call: Call[T]) -> tuple[T, str]:
        """Carry out a call, and return also the ETag of the answer, or "". Raises `RequestError`."""
        token = self.token
        try:
            return self._ask(call, token)
        except NotAuthenticated:
            if not self._refresh_token:
                raise
        self._renew(token)
        return self._ask(call, self.token)

    def _renew(self, expired: str) -> None:
        """Get another access token, unless another thread has."""
        with self._renewing:
            if self.token == expired:
                found, _ = self._ask(post_login_refresh(refresh_token=self._refresh_token), "")
                self.token, self._refresh_token = found["access_token"], found["refresh_token"]

    def _ask(self, call: Call[T], token: str) -> tuple[T, str]:
        connection = self._connection()
        target = self._prefix + (f"{call.path}?{call.query}" if call.query else call.path)
        body = None if call.sent is None else json.dumps(call.sent)
        try:
            connection.request(call.method, target, body, {**_headers(token), **call.headers})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the hub at {self.host}:{self.port} does not answer: {error}") from error
        except ValueError:
            # Which names what it is about, and that may be the token.
            raise Rejected("a token, key or ETag has letters that no header can have") from None
        finally:
            connection.close()
        if answer.status >= 400:
            raise _error(answer, content)
        kind = answer.headers.get_content_type()
        if answer.status >= 300 or kind == "text/html":
            raise Unavailable(f"what is at {self.host}:{self.port} answers as no hub does ({answer.status}, {kind})")
        try:
            text = content.decode()
            found: Any = json.loads(text) if kind == JSON else None if answer.status == NO_CONTENT else text
        except ValueError as error:
            raise Unavailable(f"what is at {self.host}:{self.port} answers as no hub does: {error}") from error
        return found, answer.headers.get("etag", "")

    def follow(self, *subscriptions: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Messages of ``/api/v1/stream`` for these subscriptions, until the hub stops.

        Raises `RequestError` when one is refused, `Unavailable` at the end.
        """
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect

        host = f"[{self.host}]" if ":" in self.host else self.host
        if self._refresh_token:
            # Its token may have to be renewed.
            self(get_profile())
        url = f"{'wss' if self.tls else 'ws'}://{host}:{self.port}{self._prefix}/api/v1/stream"
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
            raise ERRORS.get(status, Unavailable)(f"the hub refuses its stream ({status})") from error
        except InvalidHandshake as error:
            raise Unavailable(f"what is at {self.host}:{self.port} answers as no hub does: {error}") from error
        except ConnectionClosed:
            pass
        except OSError as error:
            raise Unavailable(f"the hub at {self.host}:{self.port} does not answer: {error}") from error
        raise Unavailable("the hub stopped")

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        return http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT, context=self.tls)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _error(answer: http.client.HTTPResponse, content: bytes) -> RequestError:
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        # Somebody on the way has answered.
        message = content.decode(errors="replace").strip()[:MAX_SAID] or f"{answer.status} {answer.reason}"
    if answer.status == 429:
        wait = answer.headers.get("retry-after", "")
        return TooMany(message, float(wait) if wait.isdecimal() else 1.0)
    return ERRORS.get(answer.status, RequestError)(message)
