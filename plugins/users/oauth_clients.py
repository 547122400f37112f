"""Routes of OAuth2 clients: their registration, and the token endpoint."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_plus

import attrs

from hub import PUBLIC, Created, NotAuthenticated, NotFound, Principal, Request, Response, Route
from hub.api import MAX_PAGE, Page, PageNumber, PageSize, page_of
from plugins.users.model import ADMIN, RegisteredClient, Tokens
from plugins.users.schemas import ClientObject, MadeClient, OAuthClient, client_object, extend

if TYPE_CHECKING:
    from plugins.users.service import UsersService

_GRANT_TYPES = ("client_credentials", "authorization_code", "refresh_token")
#: RFC 6749, 5.1.
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@attrs.frozen(kw_only=True)
class NewClient:
    """An OAuth2 client with a role in an organization."""

    name: str
    role_id: int
    org_id: int | None = None
    redirects: list[str] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class NewOAuthClient:
    """An OAuth2 client in the form of Blynk's API; ``role_id`` defaults to the role of the user or client that asks."""

    name: str
    redirect_urls: list[str] = attrs.Factory(list)
    org_id: int | None = None
    role_id: int | None = None


class TokenError(Exception):
    """An error of the token endpoint (RFC 6749, 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        self.error = error
        self.status = status
        super().__init__(description)

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Basic realm="OAuth2 clients", charset="UTF-8"'} if self.status == 401 else {}


class OAuthClientRoutes:
    def __init__(self, service: UsersService) -> None:
        self._service = service
        self._hub = service.hub
        self._credentials = service.credentials

    # -- registration ---------------------------------------------------------------------------------------------

    async def clients(
        self, request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = MAX_PAGE
    ) -> Page[ClientObject]:
        org = self._hub.access.organization_for(request, org_id).id
        orgs = set(self._hub.organizations.below(org))
        visible = [
            client
            for client in self._credentials.clients.values()
            if client.org in orgs and self._hub.is_allowed(request.principal, request.permission, org=client.org)
        ]
        return page_of(visible, page, size, client_object)

    async def add(self, request: Request) -> Created[MadeClient]:
        client, client_secret = await self._add(request, request.body)
        return Created(value=extend(MadeClient, client_object(client), client_secret=client_secret))

    async def add_as_blynk(self, request: Request) -> Created[OAuthClient]:
        body: NewOAuthClient = request.body
        role = body.role_id if body.role_id is not None else self._service.role_of(request.principal) or ADMIN
        new = NewClient(name=body.name, role_id=role, org_id=body.org_id, redirects=body.redirect_urls)
        client, client_secret = await self._add(request, new)
        return Created(
            value=OAuthClient(
                org_id=client.org,
                name=client.name,
                client_id=client.id,
                secret=client_secret,
                redirect_urls=list(client.redirects),
            )
        )

    async def _add(self, request: Request, new: NewClient) -> tuple[RegisteredClient, str]:
        """Add a client; return it and its secret. Raises `Forbidden` for a role that the caller may not grant."""
        org, role = self._hub.access.organization_for(request, new.org_id), self._service.roles.require(new.role_id)
        self._service.authorization.check_grantable(request.principal, org.id, role)
        client, client_secret = await self._credentials.add_client(new.name, org.id, role, new.redirects)
        request.subject = f"client {client.id}"
        return client, client_secret

    async def delete(self, request: Request, client_id: str) -> None:
        client = self._credentials.clients.get(client_id)
        if client is None or not self._hub.is_allowed(request.principal, request.permission, org=client.org):
            raise NotFound("There is no such client.")
        request.subject, request.org = f"client {client.id}", client.org
        await self._credentials.remove_client(client)

    # -- tokens ---------------------------------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        try:
            client, tokens = await self._grant(request)
        except TokenError as error:
            body = {"error": error.error, "error_description": str(error)}
            headers = {**_NO_STORE, **error.headers}
            return Response(body=json.dumps(body), status=error.status, type="application/json", headers=headers)
        request.principal = Principal("client", client.id, client.org, client.name)
        request.subject = f"client {client.id}"
        body = {**attrs.asdict(tokens), "token_type": "Bearer"}
        return Response(body=json.dumps(body), type="application/json", headers=_NO_STORE)

    async def _grant(self, request: Request) -> tuple[RegisteredClient, Tokens]:
        """Return the client and its new tokens, by one of the three grants. Raises `TokenError`, `TooMany`."""
        params = _token_parameters(request)
        grant_type = params.get("grant_type")
        if grant_type is None:
            raise TokenError("invalid_request", "grant_type is missing.")
        if grant_type not in _GRANT_TYPES:
            alternatives = f"{', '.join(_GRANT_TYPES[:-1])} or {_GRANT_TYPES[-1]}"
            raise TokenError("unsupported_grant_type", f"grant_type must be {alternatives}.")
        client = self._authenticated_client(request, params)
        address, agent = request.address, request.headers.get("user-agent", "")
        try:
            if grant_type == "refresh_token":
                _, tokens = await self._credentials.refresh(params.get("refresh_token", ""), client=client)
            elif grant_type == "authorization_code":
                tokens = await self._service.authorization_codes.redeem(client, params, address, agent)
            else:
                tokens = await self._credentials.open_session(client=client, address=address, agent=agent)
        except NotAuthenticated as error:
            raise TokenError("invalid_grant", str(error)) from error
        return client, tokens

    def _authenticated_client(self, request: Request, params: Mapping[str, str]) -> RegisteredClient:
        """Return the client that authenticates by Basic or in the body (RFC 6749, 2.3.1).

        Every grant requires it, since every client has a secret (3.2.1). Raises `TokenError`, `TooMany`.
        """
        basic = _basic_credentials(request)
        client_id, client_secret = basic or (params.get("client_id", ""), params.get("client_secret", ""))
        if basic is not None and ("client_secret" in params or params.get("client_id", client_id) != client_id):
            raise TokenError("invalid_request", "The client must authenticate in one way: by Basic or in the body.")
        attempt = self._service.throttle.attempt("client", client_id[:100], request.address)
        client = self._credentials.authenticate_client(client_id, client_secret)
        if client is None:
            self._hub.reject(request.address, "wrong OAuth2 client id or secret")
            description = "Client ID is not found or password is wrong."
            # Blynk documents 400; RFC 6749, 5.2 requires 401 where the client has tried Basic.
            raise TokenError("invalid_client", description, 400 if basic is None else 401)
        attempt.succeeded()
        return client


def _token_parameters(request: Request) -> dict[str, str]:
    """Return the parameters of a token request, from its body and (as Blynk documents) its query.

    Raises `TokenError` when a parameter has two values (RFC 6749, 3.2) or the body is not a form.
    """
    try:
        pairs = parse_qsl(request.query) + parse_qsl(bytes(request.body).decode())
    except (UnicodeDecodeError, ValueError) as error:
        raise TokenError("invalid_request", "The body is not a form (application/x-www-form-urlencoded).") from error
    params: dict[str, str] = {}
    for name, value in pairs:
        if params.setdefault(name, value) != value:
            raise TokenError("invalid_request", f"The parameter {name[:40]} has two different values.")
    return params


def _basic_credentials(request: Request) -> tuple[str, str] | None:
    """Return the client id and secret of a Basic Authorization header. Raises `TokenError` when it is malformed."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, client_secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:
        raise TokenError("invalid_request", "The Authorization header is malformed.") from error
    return unquote_plus(client_id), unquote_plus(client_secret)


def routes(service: UsersService) -> Sequence[Route]:
    api = OAuthClientRoutes(service)
    org = "/api/v1/organization"
    add, blynk = "clients.add", f"{org}/oauth/clients/create"
    clients = "The OAuth2 clients of an organization and below"
    return [
        Route(
            "POST",
            "/oauth2/token",
            api.token,
            PUBLIC,
            "Tokens for a client (OAuth2)",
            raw_query=True,
            takes="application/x-www-form-urlencoded",
            media=("application/json",),
        ),
        Route("GET", f"{org}/clients", api.clients, "clients.view", clients),
        Route("POST", f"{org}/client", api.add, add, "Create an OAuth2 client", NewClient),
        Route("POST", blynk, api.add_as_blynk, add, "Create an OAuth2 client", NewOAuthClient),
        Route("DELETE", f"{org}/client", api.delete, "clients.delete", "Delete an OAuth2 client"),
    ]
