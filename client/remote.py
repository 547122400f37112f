"""A client of a hub over HTTP and WebSocket."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeVar

from client import Call
from client.http_messages import (
    TIMEOUT,
    Address,
    Response,
    bearer_header,
    json_body,
    rejected_stream,
    request_headers,
)
from client.operations import LoggedIn, get_profile, post_login, post_login_refresh
from hub.errors import NotAuthenticated, RequestError, Unavailable

T = TypeVar("T")


class Remote:
    """A hub at ``url``, such as ``https://pi.local:9443``. Safe to use from several threads.

    ``token`` is an access token or a personal API key. ``tls`` has the trusted CAs, by default the system's.
    Raises `Rejected` for an invalid URL.
    """

    def __init__(self, url: str, token: str = "", tls: ssl.SSLContext | None = None) -> None:
        self._address = Address.parse(url)
        self.host, self.port = self._address.host, self._address.port
        self.token = token.strip()
        self._refresh_token = ""
        self._refresh_lock = threading.Lock()
        self.tls = (tls or ssl.create_default_context()) if self._address.is_secure else None

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
        headers = request_headers(call, token)
        body: str | BinaryIO | None = json_body(call)
        if (file := call.content) is not None:
            body, headers["Content-Length"] = file, str(file.seek(0, os.SEEK_END))
            file.seek(0)
        try:
            try:
                connection.request(call.method, self._address.target(call), body, headers)
            except (BrokenPipeError, ConnectionResetError):
                # A hub that rejects a stream answers before it has read it to its end.
                if file is None:
                    raise
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._address.no_answer(error) from error
        finally:
            connection.close()
        response_headers = {name.lower(): value for name, value in response.headers.items()}
        return self._address.result(Response(response.status, response.reason, response_headers, content))

    def follow(self, *subscriptions: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the messages of ``/api/v1/stream`` for these subscriptions, until the hub stops.

        Raises `RequestError` when the hub rejects a subscription, and `Unavailable` when it stops.
        """
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect

        if self._refresh_token:
            # Any call refreshes an expired token; the WebSocket's handshake does not.
            self(get_profile())
        headers = bearer_header(self.token)
        try:
            with connect(self._address.stream_url, ssl=self.tls, additional_headers=headers, proxy=None) as socket:
                for number, subscription in enumerate(subscriptions, 1):
                    socket.send(json.dumps({**subscription, "id": number}))
                for message in socket:
                    decoded = json.loads(message)
                    if error := decoded.get("error"):
                        raise RequestError(error["message"])
                    yield decoded
        except InvalidStatus as error:
            raise rejected_stream(error.response.status_code) from error
        except InvalidHandshake as error:
            raise self._address.not_a_hub(str(error)) from error
        except ConnectionClosed:
            pass
        except OSError as error:
            raise self._address.no_answer(error) from error
        raise Unavailable("the hub stopped")

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        return http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT, context=self.tls)
