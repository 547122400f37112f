"""Requests to the Platform API."""

from __future__ import annotations

from contextlib import asynccontextmanager

from support.raw_http import connected, local_key


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


def names_of(page):
    """The names of the devices of a page."""
    return [device["name"] for device in page["content"]]
