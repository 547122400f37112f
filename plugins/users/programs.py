"""Programs of an organization: OAuth2 clients and how they get their tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_plus

import attrs

from hub.errors import NotAuthenticated, NotFound
from hub.model import Principal
from hub.routes import MAX_PAGE, PUBLIC, Created, Page, PageNumber, PageSize, Request, Response, Route, page_of
from plugins.users.credentials import Tokens
from plugins.users.model import Client
from plugins.users.shown import ClientObject, MadeClient, more

if TYPE_CHECKING:
    from plugins.users.room import Room


@attrs.frozen(kw_only=True)
class NewClient:
    """A program with a role in an organization."""

    name: str
    role_id: int
    org_id: int | None = None
    redirects: list[str] = attrs.Factory(list)


class _Problem(Exception):
    """An error of RFC 6749, 5.2."""

    def __init__(self, error: str, text: str) -> None:
        self.error = error
        super().__init__(text)


def routes(room: Room) -> Sequence[Route]:
    hub, access, credentials = room.hub, room.access, room.credentials

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
        org = hub.organization_for(request, org_id).id
        below = set(hub.organizations.below(org))
        found = [
            client
            for client in credentials.clients.values()
            if client.org in below and hub.may(request.principal, request.permission, org=client.org)
        ]
        return page_of(found, page, size, shown)

    async def add(request: Request) -> Created[MadeClient]:
        body: NewClient = request.body
        org, role = hub.organization_for(request, body.org_id), room.roles.get(body.role_id)
        access.check_gift(request.principal, org.id, role)
        client, made = await credentials.add_client(body.name, org.id, role, body.redirects)
        request.subject = f"client {client.id}"
        return Created(value=more(MadeClient, shown(client), client_secret=made))

    async def remove(request: Request, client_id: str) -> None:
        client = credentials.clients.get(client_id)
        if client is None or not hub.may(request.principal, request.permission, org=client.org):
            raise NotFound("There is no such client.")
        request.subject, request.org = f"client {client.id}", client.org
        await credentials.remove_client(client)

    async def token(request: Request) -> Response:
        try:
            client, tokens = await granted(request)
        except _Problem as problem:
            body = {"error": problem.error, "error_description": str(problem)}
            return Response(body=json.dumps(body), status=400, type="application/json")
        request.principal = Principal("client", client.id, client.org, client.name)
        request.subject = f"client {client.id}"
        body = {**attrs.asdict(tokens), "token_type": "Bearer"}
        headers = {"Cache-Control": "no-store"}
        return Response(body=json.dumps(body), type="application/json", headers=headers)

    async def granted(request: Request) -> tuple[Client, Tokens]:
        try:
            form = dict(parse_qsl(bytes(request.body).decode()))
        except UnicodeDecodeError as error:
            raise _Problem("invalid_request", "The body is no form.") from error
        params = {**request.params, **form}
        kind = params.get("grant_type")
        if kind is None:
            raise _Problem("invalid_request", "grant_type is missing.")
        if kind == "refresh_token":
            try:
                session, tokens = await credentials.refresh(params.get("refresh_token", ""), program=True)
            except NotAuthenticated as error:
                raise _Problem("invalid_grant", str(error)) from error
            assert session.client is not None
            return credentials.clients[session.client], tokens
        if kind == "authorization_code":
            try:
                user, allowed = room.consents.redeem(params)
            except NotAuthenticated as error:
                raise _Problem("invalid_grant", str(error)) from error
            agent = request.headers.get("user-agent", "")
            return allowed, await credentials.open(user=user, client=allowed, address=request.address, agent=agent)
        if kind != "client_credentials":
            known = "client_credentials, authorization_code or refresh_token"
            raise _Problem("unsupported_grant_type", f"grant_type must be {known}.")
        number, secret = _basic(request) or (params.get("client_id", ""), params.get("client_secret", ""))
        attempt = room.throttle.attempt("client", number[:100], request.address)
        client = credentials.client_of(number, secret)
        if client is None:
            hub.refuse(request.address, "wrong OAuth2 client id or secret")
            raise _Problem("invalid_client", "Client ID is not found or password is wrong.")
        attempt.succeeded()
        agent = request.headers.get("user-agent", "")
        return client, await credentials.open(client=client, address=request.address, agent=agent)

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
            lenient=True,
            takes=form,
            media=("application/json",),
        ),
        Route("GET", f"{org}/clients", clients, "clients.view", listing),
        Route("POST", f"{org}/client", add, "clients.add", "Make an OAuth2 client", NewClient),
        Route("DELETE", f"{org}/client", remove, "clients.delete", "Delete an OAuth2 client"),
    ]


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
