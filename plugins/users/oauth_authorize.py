"""The page where a user lets an OAuth2 client act for them (authorization code with PKCE: RFC 6749, 4.1; RFC 7636)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from hub import PUBLIC, Forbidden, Principal, Rejected, Request, RequestError, Response, Route
from plugins.users.authentication import Login
from plugins.users.authorization import DEVELOPERS
from plugins.users.html_pages import ROUTE_OPTIONS, parse_form, render_field, render_form, render_page
from plugins.users.model import RegisteredClient
from plugins.users.redirect_uris import describe_target, is_redirect_uri

if TYPE_CHECKING:
    from plugins.users.service import UsersService

PATH = "/oauth2/authorize"
#: RFC 7636, 4.2: a code challenge by S256.
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
#: Headings of permissions, by the first part of their ids: Blynk's labels alone are ambiguous ("View locations" twice).
_GROUPS = {
    "own_devices": "Your own devices",
    "org_devices": "All devices",
    "own_locations": "Your own locations",
    "org_locations": "All locations",
    "orgs": "Organizations",
    "clients": "Programs",
    "air": "Firmware updates",
}
#: Groups of permissions that are listed openly; more are folded up.
_MAX_UNFOLDED = 6
#: Parameters of the authorization request, which the form sends again.
_PARAMETERS = ("client_id", "redirect_uri", "response_type", "state", "code_challenge", "code_challenge_method")


class AuthorizePage:
    def __init__(self, service: UsersService) -> None:
        self._service = service
        self._hub = service.hub

    async def show(self, request: Request) -> Response:
        try:
            return self._form(self._validated_client(request.params), request.params)
        except RequestError as error:
            return self._error_page(error)

    async def decide(self, request: Request) -> Response:
        service = self._service
        try:
            form = parse_form(request)
            client = self._validated_client(form)
        except RequestError as error:
            return self._error_page(error)
        if "deny" in form:
            request.no_change = True
            denied = {"error": "access_denied", "error_description": "The user did not allow it."}
            return _redirect_back(form, denied)
        login = Login(email=form.get("email", ""), password=form.get("password", ""), otp=form.get("otp") or None)
        try:
            user = await service.authentication.log_in(login, request.address)
        except RequestError as error:
            return self._form(client, form, str(error), form.get("email", ""))
        if service.authorization.client_organization(client, user) is None:
            org = self._hub.organizations.get(client.org).name
            text = f"{client.name} can only act for users of {org}, and you are not one of them."
            return self._error_page(Forbidden(text), 403)
        request.principal = Principal("user", user.id, user.org, user.email)
        request.subject, request.org = f"client {client.id}", user.org
        code = service.authorization_codes.issue(user, client, form["redirect_uri"], form.get("code_challenge"))
        return _redirect_back(form, {"code": code})

    def _validated_client(self, params: Mapping[str, str]) -> RegisteredClient:
        """Return the client of an authorization request (RFC 6749, 4.1.1; RFC 7636, 4.3).

        Raises `Rejected`, which is shown on this page: sending the browser back without a user's consent would make
        the hub an open redirector to any redirect URI that a client has (RFC 9700, 4.11.2).
        """
        client = self._service.credentials.clients.get(params.get("client_id", ""))
        if client is None:
            raise Rejected("There is no such client.")
        redirect = params.get("redirect_uri", "")
        if redirect not in client.redirects or not is_redirect_uri(redirect):
            raise Rejected("The redirect_uri is not registered for the client.")
        if params.get("response_type") != "code":
            raise Rejected("response_type must be code.")
        if params.get("code_challenge") or params.get("code_challenge_method"):
            is_challenge = _CHALLENGE.fullmatch(params.get("code_challenge", "")) is not None
            if not is_challenge or params.get("code_challenge_method") != "S256":
                raise Rejected("A code_challenge must have 43 characters and the method S256 (RFC 7636).")
        return client

    def _form(
        self, client: RegisteredClient, params: Mapping[str, str], problem: str = "", email: str = ""
    ) -> Response:
        org = escape(self._hub.organizations.get(client.org).name)
        scheme, target = describe_target(params["redirect_uri"])
        fields = [
            f"<p><strong>{escape(client.name)}</strong> of {org} wants to act for you on this hub.</p>",
            f"<p>When you have decided, you go on to <strong>{escape(target)}</strong>.</p>",
            self._permissions(client),
            render_field("email", "E-mail", "email", "username", email),
            render_field("password", "Password", "password", "current-password"),
            render_field(
                "otp", "One-time password, if you have a second factor", "text", "one-time-code", required=False
            ),
        ]
        hidden = {key: params[key] for key in _PARAMETERS if key in params}
        form_action = f"'self' {scheme}://{target}" if scheme in ("https", "http") else f"'self' {scheme}:"
        deny = '<button name="deny" value="1" class="second" formnovalidate>Deny</button>'
        content = render_form(fields, "Log in and allow", hidden, problem, deny)
        status = 400 if problem else 200
        return render_page(self._hub.config.hub.name, f"Allow {client.name}?", content, status, form_action)

    def _permissions(self, client: RegisteredClient) -> str:
        """Return the permissions of a client's role in words, as markup."""
        roles = self._service.roles
        role = escape(roles.names[client.role])
        granted = roles.grants(client.org, client.role) - DEVELOPERS
        groups: dict[str, list[str]] = {}
        for permission in self._hub.permissions:
            if permission.id in granted:
                group, _, _ = permission.id.partition(".")
                heading = _GROUPS.get(group, group.replace("_", " ").capitalize())
                groups.setdefault(heading, []).append(permission.label)
        if not groups:
            return f"<p>It gets the role {role}, which has no permissions.</p>"
        items = "".join(f"<li>{escape(name)}: {escape(', '.join(labels))}</li>" for name, labels in groups.items())
        introduction = f"<p>It gets the permissions of the role {role}, but never more than yours:</p>"
        if len(groups) <= _MAX_UNFOLDED:
            return f"{introduction}<ul>{items}</ul>"
        return f"{introduction}<details><summary>{escape(', '.join(groups))}</summary><ul>{items}</ul></details>"

    def _error_page(self, error: RequestError, status: int = 400) -> Response:
        return render_page(self._hub.config.hub.name, "This did not work", f"<p>{escape(str(error))}</p>", status)


def _redirect_back(params: Mapping[str, str], answer: Mapping[str, str]) -> Response:
    """Send the browser back to the client (RFC 6749, 4.1.2 and 4.1.2.1)."""
    redirect = params["redirect_uri"]
    query = urlencode({**answer, **({"state": params["state"]} if "state" in params else {})})
    separator = "&" if urlsplit(redirect).query else "?"
    headers = {"Location": redirect + separator + query, "Cache-Control": "no-store"}
    return Response(status=303, headers=headers)


def routes(service: UsersService) -> Sequence[Route]:
    page = AuthorizePage(service)
    return [
        Route(
            "GET", PATH, page.show, PUBLIC, "The page where a user lets a client act for them (OAuth2)", **ROUTE_OPTIONS
        ),
        Route("POST", PATH, page.decide, PUBLIC, "Let a client act for the user (OAuth2)", **ROUTE_OPTIONS),
    ]
