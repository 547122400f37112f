"""Letting a program act for oneself: OAuth2's authorization code with PKCE (RFC 6749, 4.1; RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import attrs
import trio

from hub.api import PUBLIC, Request, Response, Route
from hub.errors import Forbidden, NotAuthenticated, Rejected, RequestError
from hub.model import Principal
from plugins.users.account_pages import field, form_of, form_sent, page_of
from plugins.users.authorization import DEVELOPERS
from plugins.users.credentials import Tokens, is_redirect
from plugins.users.login_routes import Login, identified
from plugins.users.model import Client, User
from plugins.users.user_store import digest

if TYPE_CHECKING:
    from plugins.users.service import UsersService

PATH = "/oauth2/authorize"
#: Seconds that a code may take to be redeemed, and codes that wait at most.
LIFETIME = 60.0
MAX_WAITING = 1_000
#: RFC 7636, 4.1 and 4.2: a verifier, and a challenge of it by S256.
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
#: Blynk's labels say "View locations" twice: these are the words before them, by the first part of a permission's id.
_GROUPS = {
    "own_devices": "Your own devices",
    "org_devices": "All devices",
    "own_locations": "Your own locations",
    "org_locations": "All locations",
    "orgs": "Organizations",
    "clients": "Programs",
    "air": "Firmware updates",
}
#: More of them are folded up.
_SHOWN = 6
_ASKED = ("client_id", "redirect_uri", "response_type", "state", "code_challenge", "code_challenge_method")


@attrs.define(eq=False)
class _Code:
    """An authorization code until it expires; ``challenge`` is None when the client asked without PKCE."""

    user: int
    client: str
    redirect: str
    challenge: str | None
    until: float
    used: bool = False
    #: It came again while the tokens of its first use were being made.
    replayed: bool = False


class Consents:
    """Codes between the page where a user consents and the client that redeems them: each works once."""

    def __init__(self, service: UsersService) -> None:
        self._service = service
        self._codes: dict[bytes, _Code] = {}

    def give(self, user: User, client: Client, redirect: str, challenge: str | None) -> str:
        """A code by which the client gets tokens for the user."""
        now = trio.current_time()
        self._codes = {key: one for key, one in self._codes.items() if one.until > now}
        while len(self._codes) >= MAX_WAITING:
            self._codes.pop(next(iter(self._codes)))
        code = secrets.token_urlsafe(32)
        self._codes[digest(code)] = _Code(user.id, client.id, redirect, challenge, now + LIFETIME)
        return code

    async def redeem(self, client: Client, params: Mapping[str, str], address: str, agent: str) -> Tokens:
        """The tokens for a code, given the client that has authenticated (RFC 6749, 4.1.3; RFC 7636, 4.6).

        A code of another client stays what it is; one that comes a second time ends the tokens of its first use, and
        one whose redirect_uri or code_verifier is wrong does not work any more. Raises `NotAuthenticated`.
        """
        hashed = digest(params.get("code", ""))
        code = self._codes.get(hashed)
        if code is not None and code.client != client.id:
            raise NotAuthenticated("The code is for another client.")
        if code is None or code.used or code.until <= trio.current_time():
            if code is not None:
                code.replayed = True
            await self._service.credentials.replayed(hashed, client)
            raise NotAuthenticated("The code is not known, has been used, or is too old.")
        code.used = True
        user = self._redeemed_by(code, params)
        credentials = self._service.credentials
        tokens = await credentials.open(user=user, client=client, address=address, agent=agent, spent=hashed)
        if code.replayed:
            await credentials.replayed(hashed, client)
            raise NotAuthenticated("The code has been used twice.")
        return tokens

    def _redeemed_by(self, code: _Code, params: Mapping[str, str]) -> User:
        """The user who gave a code, when the rest of what came with it fits. Raises `NotAuthenticated`."""
        verifier = params.get("code_verifier", "")
        if params.get("redirect_uri") != code.redirect:
            raise NotAuthenticated("The code is for another redirect_uri.")
        if code.challenge is None and verifier:
            # RFC 9700, 2.1.1: else PKCE could be taken out of the first request.
            raise NotAuthenticated("The code was asked for without a code_challenge.")
        if code.challenge is not None:
            made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("utf-8", "replace")).digest()).rstrip(b"=")
            if _VERIFIER.fullmatch(verifier) is None or not hmac.compare_digest(made, code.challenge.encode()):
                raise NotAuthenticated("The code_verifier does not fit.")
        user = self._service.people.by_id.get(code.user)
        if user is None or user.suspended:
            raise NotAuthenticated("The user or the client is no more.")
        return user


def routes(service: UsersService) -> Sequence[Route]:
    organizations = service.hub.organizations

    def asked(params: Mapping[str, str]) -> Client:
        """The client of an authorization request (RFC 6749, 4.1.1; RFC 7636, 4.3).

        Raises `Rejected`, which is shown here: sending the browser on without a user's consent would make the hub a
        way to any address that a client has (RFC 9700, 4.11.2).
        """
        client = service.credentials.clients.get(params.get("client_id", ""))
        if client is None:
            raise Rejected("There is no such client.")
        redirect = params.get("redirect_uri", "")
        if redirect not in client.redirects or not is_redirect(redirect):
            raise Rejected("The redirect_uri is none of the client's.")
        if params.get("response_type") != "code":
            raise Rejected("response_type must be code.")
        if params.get("code_challenge") or params.get("code_challenge_method"):
            fits = _CHALLENGE.fullmatch(params.get("code_challenge", "")) is not None
            if not fits or params.get("code_challenge_method") != "S256":
                raise Rejected("A code_challenge must be by the method S256 (RFC 7636).")
        return client

    def form(client: Client, params: Mapping[str, str], problem: str = "", email: str = "") -> Response:
        org = escape(organizations.get(client.org).name)
        scheme, target = target_of(params["redirect_uri"])
        fields = [
            f"<p><strong>{escape(client.name)}</strong> of {org} wants to act for you on this hub.</p>",
            f"<p>When you have decided, you go on to <strong>{escape(target)}</strong>.</p>",
            rights(client),
            field("email", "E-mail", "email", "username", email),
            field("password", "Password", "password", "current-password"),
            field("otp", "One-time password, if you have a second factor", "text", "one-time-code", required=False),
        ]
        hidden = {key: params[key] for key in _ASKED if key in params}
        source = f"'self' {scheme}://{target}" if scheme in ("https", "http") else f"'self' {scheme}:"
        deny = '<button name="deny" value="1" class="second" formnovalidate>Deny</button>'
        content = form_of(fields, "Log in and allow", hidden, problem, deny)
        return page_of(service.hub.config.hub.name, f"Allow {client.name}?", content, 400 if problem else 200, source)

    def rights(client: Client) -> str:
        """What a client's role permits, in words."""
        role = escape(service.roles.names[client.role])
        groups: dict[str, list[str]] = {}
        for permission in service.hub.permissions:
            if permission.id in service.roles.grants(client.org, client.role) - DEVELOPERS:
                group, _, _ = permission.id.partition(".")
                groups.setdefault(_GROUPS.get(group, group.replace("_", " ").capitalize()), []).append(permission.label)
        if not groups:
            return f"<p>It gets the role {role}, which has no permissions.</p>"
        words = "".join(f"<li>{escape(name)}: {escape(', '.join(labels))}</li>" for name, labels in groups.items())
        said = f"<p>It gets the permissions of the role {role}, but never more than yours:</p>"
        if len(groups) <= _SHOWN:
            return f"{said}<ul>{words}</ul>"
        return f"{said}<details><summary>{escape(', '.join(groups))}</summary><ul>{words}</ul></details>"

    def no(error: RequestError, status: int = 400) -> Response:
        return page_of(service.hub.config.hub.name, "This did not work", f"<p>{escape(str(error))}</p>", status)

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
        if "deny" in said:
            request.no_change = True
            denied = {"error": "access_denied", "error_description": "The user did not allow it."}
            return back(said, denied)
        login = Login(email=said.get("email", ""), password=said.get("password", ""), otp=said.get("otp") or None)
        try:
            user = await identified(service, request, login)
        except RequestError as error:
            return form(client, said, str(error), said.get("email", ""))
        if service.access.organization_through(client, user) is None:
            name = organizations.get(client.org).name
            return no(Forbidden(f"{client.name} can only act for people of {name}, and you are not one of them."), 403)
        request.principal = Principal("user", user.id, user.org, user.email)
        request.subject, request.org = f"client {client.id}", user.org
        return back(
            said, {"code": service.consents.give(user, client, said["redirect_uri"], said.get("code_challenge"))}
        )

    def back(said: Mapping[str, str], answer: Mapping[str, str]) -> Response:
        """Send the browser back to the client (RFC 6749, 4.1.2 and 4.1.2.1)."""
        redirect = said["redirect_uri"]
        query = urlencode({**answer, **({"state": said["state"]} if "state" in said else {})})
        joint = "&" if urlsplit(redirect).query else "?"
        headers = {"Location": redirect + joint + query, "Cache-Control": "no-store"}
        return Response(status=303, headers=headers)

    html: Any = {"raw_query": True, "media": ("text/html",), "takes": "application/x-www-form-urlencoded"}
    return [
        Route(
            method="GET", path=PATH, handler=show, permission=PUBLIC, summary="Ask somebody for access (OAuth2)", **html
        ),
        Route(
            method="POST", path=PATH, handler=allow, permission=PUBLIC, summary="Let a program act for oneself", **html
        ),
    ]


def target_of(redirect: str) -> tuple[str, str]:
    """The scheme of a redirect_uri, and where it leads to in a user's words: a host, or an app."""
    parts = urlsplit(redirect)
    return parts.scheme, parts.netloc if parts.scheme in ("https", "http") else f"the app {parts.scheme}"
