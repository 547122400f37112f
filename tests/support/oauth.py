"""OAuth 2.0: registered clients, the consent page and the token endpoint, as a client's author uses them."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlencode, urlsplit

from support.tenants import ORG, PASSWORD

from plugins.users.model import USER

REDIRECT = "https://app.example.org/back?keep=1"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


async def register_client(world, role=USER):
    """Register a client in acme; return its id and secret."""
    body = {"name": "<App>", "roleId": role, "redirects": [REDIRECT]}
    return (await world.ask("ada", "POST", f"{ORG}/client", body)).json


def authorization_request(client, **changes):
    """Return the parameters of an authorization request with PKCE."""
    return {
        "client_id": client["clientId"],
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "state": "s t&te",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes


async def authorize(http, client, **fields):
    """Return the response to the consent page's form, on which Eva allows the client."""
    form = authorization_request(client) | {"email": "eva@example.org", "password": PASSWORD, "otp": ""} | fields
    return await http.ask("POST", "/oauth2/authorize", urlencode(form).encode(), Origin="http://hub")


def credentials(client):
    """Return a client's credentials as fields of a form."""
    return {"client_id": client["clientId"], "client_secret": client["clientSecret"]}


def basic_auth(client):
    """Return a client's credentials as a header."""
    pair = f"{client['clientId']}:{client['clientSecret']}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


async def request_token(http, form, **headers):
    """Return the response of the token endpoint; fields that are None are omitted."""
    fields = {name: value for name, value in form.items() if value is not None}
    return await http.ask("POST", "/oauth2/token", urlencode(fields).encode(), **headers)


async def redeem(http, client, code, /, **changes):
    """Return the response to the redemption of an authorization code."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    return await request_token(http, form | credentials(client) | changes)


async def refresh_tokens(http, client, tokens):
    """Return the response to a refresh of a client's tokens."""
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    return await request_token(http, form | credentials(client))


async def authorization_code(http, client, **fields):
    """Return an authorization code that Eva grants to a client."""
    return parse_qs(urlsplit((await authorize(http, client, **fields)).headers["location"]).query)["code"][0]


async def access_token_for(http, client, **fields):
    """Return an access token for a client that Eva authorizes."""
    return (await redeem(http, client, await authorization_code(http, client, **fields))).json["access_token"]
