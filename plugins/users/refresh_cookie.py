"""The cookie with a page's refresh token (RFC 6265). No script can read it, and no route but login/refresh does.

A browser sends cookies by itself, so this one is accepted from the hub's own pages alone: SameSite keeps pages of other
sites from sending it, and its route also checks Origin, which browsers send with every POST (Fetch, 3.2.5). Its path
keeps it out of other requests. Over HTTPS its name has the prefix ``__Secure-``, so that a page without encryption
cannot replace it (RFC 6265bis, 4.1.3.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub import Forbidden, Rejected
from hub.api import is_own_origin

if TYPE_CHECKING:
    from hub import Hub, Request

NAME, SECURE_PREFIX = "pinwheel_refresh", "__Secure-"
PATH = "/api/v1/login"


class RefreshCookie:
    """``lifetime`` is that of a refresh token, in seconds."""

    def __init__(self, hub: Hub, lifetime: int) -> None:
        self._hub = hub
        self._lifetime = lifetime

    def set(self, request: Request, token: str) -> None:
        """Give the answer's client the token as its cookie."""
        self._set(request, token, self._lifetime)

    def expire(self, request: Request) -> None:
        """Make the answer's client forget its cookie."""
        self._set(request, "", 0)

    def _set(self, request: Request, value: str, max_age: int) -> None:
        attributes = f"Path={PATH}; Max-Age={max_age}; HttpOnly; SameSite=Strict"
        secure = "; Secure" if self._is_secure(request) else ""
        request.answer_headers["Set-Cookie"] = f"{self._name(request)}={value}; {attributes}{secure}"

    def token_in(self, request: Request) -> str | None:
        """Return the token in a request's cookie; None without one.

        Raises `Rejected` when there are two: a page on another port or subdomain can add a cookie of the same name.
        """
        pairs = [pair.strip().partition("=") for pair in request.headers.get("cookie", "").split(";")]
        tokens = [value for name, _, value in pairs if name == self._name(request)]
        if len(tokens) > 1:
            raise Rejected(f"The request has {len(tokens)} cookies {self._name(request)}: delete the hub's cookies.")
        return tokens[0] if tokens else None

    def check_page(self, request: Request) -> None:
        """Raise `Forbidden` unless a page of this hub sent the request."""
        origin = request.headers.get("origin", "")
        if is_own_origin(origin, request, self._hub.config):
            return
        sender = f"a page of {origin[:100]}" if origin else "a program, without an Origin header,"
        self._hub.reject(request.address, f"HTTP 403: {sender} asked for {request.path} with a cookie")
        raise Forbidden(
            "Only a page of this hub can log in with a cookie. If it is the hub's own page, set [hub] url in hub.toml "
            "to the address at which browsers open it; a program uses refresh_token instead."
        )

    def _name(self, request: Request) -> str:
        return SECURE_PREFIX + NAME if self._is_secure(request) else NAME

    def _is_secure(self, request: Request) -> bool:
        return request.tls or self._hub.config.hub.url.startswith("https://")
