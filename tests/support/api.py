"""Requests to the Platform API."""

from __future__ import annotations

from contextlib import asynccontextmanager

from support.raw_http import connected, local_key


class ApiClient:
    """Requests as somebody: the answer's JSON when it is done, else the answer."""

    def __init__(self, http, key):
        self.http, self.key = http, key

    async def __call__(self, method, path, body=None, **params):
        query = "&".join(f"{name}={value}" for name, value in params.items())
        target = f"/api/v1/{path}" + (f"?{query}" if query else "")
        answer = await self.http.ask(method, target, body, self.key)
        return answer if answer.status >= 400 else answer.json if answer.body else None


@asynccontextmanager
async def api_client(world, who="ada"):
    async with connected(world.hub) as http:
        yield ApiClient(http, local_key(world.hub) if who == "local" else world.tokens[who])


def names_of(answer):
    return [device["name"] for device in answer["content"]]
