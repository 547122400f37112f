"""Letting a program act for oneself: OAuth2's authorization code with PKCE (RFC 6749, 4.1; RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import attrs
import trio

from hub.errors import NotAuthenticated, Rejected, RequestError
from hub.model import Principal
from hub.routes import PUBLIC, Request, Response, Route
from plugins.users.login import Login, identified
from plugins.users.model import Client, User
from plugins.users.pages import field, form_of, form_sent, page_of
from plugins.users.people import digest

if TYPE_CHECKING:
    from plugins.users.room import Room

PATH = "/oauth2/authorize"
#: Seconds that a code may take to be redeemed, and codes that wait at most.
LIFETIME = 60.0
MAX_WAITING = 1_000
#: RFC 7636, 4.1 and 4.2: a verifier, and a challenge of it by S256.
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_ASKED = ("client_id", "redirect_uri", "response_type", "state", "code_challenge", "code_challenge_method")


@attrs.frozen
class _Waiting:
    user: int
    client: str
    redirect: str
    challenge: str
    until: float


class Consents:
    """Codes between the page where somebody says yes and the program that redeems it: each works once."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._waiting: dict[bytes, _Waiting] = {}

    def give(self, user: User, client: Client, redirect: str, challenge: str) -> str:
        """A code by which the program gets tokens for the user."""
        now = trio.current_time()
        self._waiting = {key: one for key, one in self._waiting.items() if one.until > now}
        while len(self._waiting) >= MAX_WAITING:
            self._waiting.pop(next(iter(self._waiting)))
        code = secrets.token_urlsafe(32)
        self._waiting[digest(code)] = _Waiting(user.id, client.id, redirect, challenge, now + LIFETIME)
        return code

    def redeem(self, params: Mapping[str, str]) -> tuple[User, Client]:
        """Whose code it is and for which program. Raises `NotAuthenticated`."""
        found = self._waiting.pop(digest(params.get("code", "")), None)
        if found is None or found.until <= trio.current_time():
            raise NotAuthenticated("The code is not known, has been used, or is too old.")
        verifier = params.get("code_verifier", "")
        made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("utf-8", "replace")).digest()).rstrip(b"=")
        if _VERIFIER.fullmatch(verifier) is None or made.decode() != found.challenge:
            raise NotAuthenticated("The code_verifier does not fit.")
        if params.get("redirect_uri") != found.redirect or params.get("client_id") != found.client:
            raise NotAuthenticated("The code is for another client or redirect_uri.")
        user, client = self._room.people.by_id.get(found.user), self._room.credentials.clients.get(found.client)
        if user is None or client is None or user.suspended:
            raise NotAuthenticated("The user or the client is no more.")
        return user, client


def routes(room: Room) -> Sequence[Route]:
    name = room.hub.organizations

    def asked(params: Mapping[str, str]) -> Client:
        """The program that asks. Raises `Rejected`: nobody is sent to an address that is not the program's."""
        client = room.credentials.clients.get(params.get("client_id", ""))
        if client is None:
            raise Rejected("There is no such client.")
        if params.get("redirect_uri") not in client.redirects:
            raise Rejected("The redirect_uri is none of the client's.")
        if params.get("response_type") != "code":
            raise Rejected("response_type must be code.")
        fits = _CHALLENGE.fullmatch(params.get("code_challenge", "")) is not None
        if not fits or params.get("code_challenge_method") != "S256":
            raise Rejected("A code_challenge by the method S256 is needed (RFC 7636).")
        return client

    def form(client: Client, params: Mapping[str, str], problem: str = "", email: str = "") -> Response:
        org, role = escape(name.get(client.org).name), escape(room.roles.names[client.role])
        who = f"<strong>{escape(client.name)}</strong> of {org}"
        fields = [
            f"<p>{who} wants to act for you on this hub, with what the role {role} may there and you may too.</p>",
            field("email", "E-mail", "email", "username", email),
            field("password", "Password", "password", "current-password"),
            field("otp", "One-time password, if you have a second factor", "text", "one-time-code", required=False),
        ]
        hidden = {key: params[key] for key in _ASKED if key in params}
        where = urlsplit(params["redirect_uri"])
        target = f"'self' {where.scheme}://{where.netloc}" if where.netloc else f"'self' {where.scheme}:"
        content = form_of(fields, "Log in and allow", hidden, problem)
        return page_of(name.root.name, "Allow a program", content, 400 if problem else 200, target)

    def no(error: RequestError) -> Response:
        return page_of(name.root.name, "This did not work", f"<p>{escape(str(error))}</p>", 400)

    async def show(request: Request) -> Response:
        try:
            return form(asked(request.params), request.params)
        except RequestError as error:
            return no(error)

    async def allow(request: Request) -> Response:
        try:
            said = form_sent(request)
            client = asked(said)
        except RequestError as error:
            return no(error)
        login = Login(email=said.get("email", ""), password=said.get("password", ""), otp=said.get("otp") or None)
        try:
            user = await identified(room, request, login)
        except RequestError as error:
            return form(client, said, str(error), said.get("email", ""))
        request.principal = Principal("user", user.id, user.org, user.email)
        request.subject, request.org = f"client {client.id}", user.org
        code = room.consents.give(user, client, said["redirect_uri"], said["code_challenge"])
        query = urlencode({"code": code} | ({"state": said["state"]} if "state" in said else {}))
        joint = "&" if urlsplit(said["redirect_uri"]).query else "?"
        headers = {"Location": said["redirect_uri"] + joint + query, "Cache-Control": "no-store"}
        return Response(status=303, headers=headers)

    html: Any = {"lenient": True, "media": ("text/html",), "takes": "application/x-www-form-urlencoded"}
    return [
        Route(
            method="GET", path=PATH, handler=show, permission=PUBLIC, summary="Ask somebody for access (OAuth2)", **html
        ),
        Route(
            method="POST", path=PATH, handler=allow, permission=PUBLIC, summary="Let a program act for oneself", **html
        ),
    ]
