"""Programs of an organization: OAuth2 clients and how they get their tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_plus

import attrs

from hub.api import MAX_PAGE, PUBLIC, Created, Page, PageNumber, PageSize, Request, Response, Route, page_of
from hub.errors import NotAuthenticated, NotFound
from hub.model import Principal
from plugins.users.credentials import Tokens
from plugins.users.model import ADMIN, Client
from plugins.users.schemas import ClientObject, MadeClient, OAuthClient, more

if TYPE_CHECKING:
    from plugins.users.service import UsersService


@attrs.frozen(kw_only=True)
class NewClient:
    """A program with a role in an organization."""

    name: str
    role_id: int
    org_id: int | None = None
    redirects: list[str] = attrs.Factory(list)


@attrs.frozen(kw_only=True)
class NewOAuthClient:
    """An OAuth2 client as Blynk's API has it; ``role_id`` defaults to the role of the user or client that asks."""

    name: str
    redirect_urls: list[str] = attrs.Factory(list)
    org_id: int | None = None
    role_id: int | None = None


class _Problem(Exception):
    """An error of RFC 6749, 5.2."""

    def __init__(self, error: str, text: str, status: int = 400) -> None:
        self.error = error
        self.status = status
        super().__init__(text)

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Basic realm="OAuth2 clients", charset="UTF-8"'} if self.status == 401 else {}


_GRANTS = ("client_credentials", "authorization_code", "refresh_token")
#: RFC 6749, 5.1.
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def routes(service: UsersService) -> Sequence[Route]:
    hub, access, credentials = service.hub, service.access, service.credentials

    def shown(client: Client) -> ClientObject:
        return ClientObject(
            client_id=client.id,
            name=client.name,
            org_id=client.org,
            role_id=client.role,
            redirects=list(client.redirects),
            created_at=client.created,
        )

    async def clients(
        request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = MAX_PAGE
    ) -> Page[ClientObject]:
        org = hub.access.organization_for(request, org_id).id
        below = set(hub.organizations.below(org))
        found = [
            client
            for client in credentials.clients.values()
            if client.org in below and hub.is_allowed(request.principal, request.permission, org=client.org)
        ]
        return page_of(found, page, size, shown)

    async def add(request: Request) -> Created[MadeClient]:
        client, made = await make(request, request.body)
        return Created(value=more(MadeClient, shown(client), client_secret=made))

    async def create(request: Request) -> Created[OAuthClient]:
        body: NewOAuthClient = request.body
        role = body.role_id if body.role_id is not None else service.role_of(request.principal) or ADMIN
        new = NewClient(name=body.name, role_id=role, org_id=body.org_id, redirects=body.redirect_urls)
        client, made = await make(request, new)
        redirects = list(client.redirects)
        return Created(
            value=OAuthClient(
                org_id=client.org, name=client.name, client_id=client.id, secret=made, redirect_urls=redirects
            )
        )

    async def make(request: Request, new: NewClient) -> tuple[Client, str]:
        """Create a client; returns it and its secret. Raises `Forbidden` for a role that the asker may not grant."""
        org, role = hub.access.organization_for(request, new.org_id), service.roles.get(new.role_id)
        access.check_gift(request.principal, org.id, role)
        client, made = await credentials.add_client(new.name, org.id, role, new.redirects)
        request.subject = f"client {client.id}"
        return client, made

    async def remove(request: Request, client_id: str) -> None:
        client = credentials.clients.get(client_id)
        if client is None or not hub.is_allowed(request.principal, request.permission, org=client.org):
            raise NotFound("There is no such client.")
        request.subject, request.org = f"client {client.id}", client.org
        await credentials.remove_client(client)

    async def token(request: Request) -> Response:
        try:
            client, tokens = await granted(request)
        except _Problem as problem:
            body = {"error": problem.error, "error_description": str(problem)}
            headers = {**_NO_STORE, **problem.headers}
            return Response(body=json.dumps(body), status=problem.status, type="application/json", headers=headers)
        request.principal = Principal("client", client.id, client.org, client.name)
        request.subject = f"client {client.id}"
        body = {**attrs.asdict(tokens), "token_type": "Bearer"}
        return Response(body=json.dumps(body), type="application/json", headers=_NO_STORE)

    async def granted(request: Request) -> tuple[Client, Tokens]:
        """The client that asks and the tokens it gets, by each of the three grants. Raises `_Problem`."""
        params = _parameters(request)
        kind = params.get("grant_type")
        if kind is None:
            raise _Problem("invalid_request", "grant_type is missing.")
        if kind not in _GRANTS:
            raise _Problem("unsupported_grant_type", f"grant_type must be {', '.join(_GRANTS[:-1])} or {_GRANTS[-1]}.")
        client = authenticated(request, params)
        agent = request.headers.get("user-agent", "")
        try:
            if kind == "refresh_token":
                _, tokens = await credentials.refresh(params.get("refresh_token", ""), client=client)
            elif kind == "authorization_code":
                tokens = await service.consents.redeem(client, params, request.address, agent)
            else:
                tokens = await credentials.open(client=client, address=request.address, agent=agent)
        except NotAuthenticated as error:
            raise _Problem("invalid_grant", str(error)) from error
        return client, tokens

    def authenticated(request: Request, params: Mapping[str, str]) -> Client:
        """The client that a request proves to be of, by Basic or in the body (RFC 6749, 2.3.1).

        Required by every grant, since every client has a secret (3.2.1). Raises `_Problem`, `TooMany`.
        """
        basic = _basic(request)
        number, secret = basic or (params.get("client_id", ""), params.get("client_secret", ""))
        if basic is not None and ("client_secret" in params or params.get("client_id", number) != number):
            raise _Problem("invalid_request", "The client must authenticate in one way: by Basic or in the body.")
        attempt = service.throttle.attempt("client", number[:100], request.address)
        client = credentials.client_of(number, secret)
        if client is None:
            hub.reject(request.address, "wrong OAuth2 client id or secret")
            text = "Client ID is not found or password is wrong."
            # Blynk documents 400; RFC 6749, 5.2 asks for 401 where the client has tried Basic.
            raise _Problem("invalid_client", text, 400 if basic is None else 401)
        attempt.succeeded()
        return client

    org = "/api/v1/organization"
    listing = "The OAuth2 clients of an organization and below"
    form = "application/x-www-form-urlencoded"
    return [
        Route(
            "POST",
            "/oauth2/token",
            token,
            PUBLIC,
            "Tokens for a program (OAuth2)",
            raw_query=True,
            takes=form,
            media=("application/json",),
        ),
        Route("GET", f"{org}/clients", clients, "clients.view", listing),
        Route("POST", f"{org}/client", add, "clients.add", "Make an OAuth2 client", NewClient),
        Route(
            "POST",
            f"{org}/oauth/clients/create",
            create,
            "clients.add",
            "Make an OAuth2 client",
            NewOAuthClient,
        ),
        Route("DELETE", f"{org}/client", remove, "clients.delete", "Delete an OAuth2 client"),
    ]


def _parameters(request: Request) -> dict[str, str]:
    """The parameters of a token request, of its body and (as Blynk documents) of its query.

    Raises `_Problem` when one comes with two values (RFC 6749, 3.2) or the body is no form.
    """
    try:
        pairs = parse_qsl(request.query) + parse_qsl(bytes(request.body).decode())
    except (UnicodeDecodeError, ValueError) as error:
        raise _Problem("invalid_request", "The body is no form.") from error
    params: dict[str, str] = {}
    for name, value in pairs:
        if params.setdefault(name, value) != value:
            raise _Problem("invalid_request", f"The parameter {name[:40]} comes with two values.")
    return params


def _basic(request: Request) -> tuple[str, str] | None:
    """What an Authorization header of kind Basic says."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:
        raise _Problem("invalid_request", "The Authorization header is malformed.") from error
    return unquote_plus(name), unquote_plus(secret)
