"""Requests to the Platform API."""

from __future__ import annotations

from contextlib import asynccontextmanager

from support.raw_http import connected, local_key

from hub.api import Route

#: A well-formed device token that the hub did not issue.
TOKEN = "0123456789abcdef0123456789abcdef"
#: Errors for objects that do not exist, or are in another organization.
NOT_FOUND_DEVICE = "Device with identifier 99 is not found or belong to another organization."
NOT_FOUND_TEMPLATE = "Template is not found or you don't have access to it."


class ApiClient:
    """Requests with a key: they return the JSON of a success, or the response of an error."""

    def __init__(self, http, key):
        self.http, self.key = http, key

    async def __call__(self, method, path, body=None, **params):
        query = "&".join(f"{name}={value}" for name, value in params.items())
        target = f"/api/v1/{path}" + (f"?{query}" if query else "")
        response = await self.http.ask(method, target, body, self.key)
        return response if response.status >= 400 else response.json if response.body else None


@asynccontextmanager
async def api_client(world, who="ada"):
    """A client with the token of a user of ``world``, or with the local key."""
    async with connected(world.hub) as http:
        yield ApiClient(http, local_key(world.hub) if who == "local" else world.tokens[who])


class LocalApi:
    """Requests with one key on one connection: they return the response."""

    def __init__(self, http, key):
        self._http = http
        self._key = key

    async def get(self, path):
        return await self._http.ask("GET", path, key=self._key)

    async def post(self, path, body):
        return await self._http.ask("POST", path, body, self._key)

    async def put(self, path, body):
        return await self._http.ask("PUT", path, body, self._key)

    async def delete(self, path):
        return await self._http.ask("DELETE", path, key=self._key)


def error_of(response, status=400):
    """Assert the status of an error and return its message."""
    assert status == response.status
    return response.message


def names_of(page):
    """The names of the devices of a page."""
    return [device["name"] for device in page["content"]]


def routes(hub, kind=Route):
    """Return the hub's routes of a kind."""
    return [route for route in hub.routes if isinstance(route, kind)]
