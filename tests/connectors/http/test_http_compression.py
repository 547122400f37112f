"""Compression of JSON answers."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from support.raw_http import connected, local_key

from connectors.http.compression import may_compress
from hub.api import AUTHENTICATED, PUBLIC, Created, Request, Response, Route
from hub.hookspecs import hookimpl
from plugins.openapi.document import build_document

ROWS = [{"id": number, "name": f"Boiler {number}"} for number in range(200)]


class Lists:
    """A plugin whose routes answer with a list."""

    __name__ = "lists"
    PINWHEEL_HOOKS = 1

    async def rows(self, request) -> list[Any]:
        return ROWS

    async def few(self, request) -> list[Any]:
        return ROWS[:2]

    async def many(self, request) -> list[Any]:
        return ROWS * 50

    async def versioned(self, request) -> list[Any]:
        request.version(1)
        return ROWS

    async def text(self, request) -> Response:
        return Response(body="x" * 10_000)

    async def created(self, request) -> Created[list[Any]]:
        return Created(value=ROWS)

    @hookimpl
    def hub_routes(self):
        return [
            Route("GET", "/test/rows", self.rows, AUTHENTICATED),
            Route("GET", "/test/few", self.few, AUTHENTICATED),
            Route("GET", "/test/many", self.many, AUTHENTICATED),
            Route("GET", "/test/versioned", self.versioned, AUTHENTICATED),
            Route("GET", "/test/text", self.text, AUTHENTICATED),
            Route("GET", "/test/public", self.rows, PUBLIC),
            Route("POST", "/test/search", self.rows, AUTHENTICATED, audited=False),
            Route("POST", "/test/change", self.rows, AUTHENTICATED),
            Route("POST", "/test/create", self.created, AUTHENTICATED),
        ]


@pytest.fixture
def hub_plugins():
    return (Lists(),)


@pytest.fixture
async def ask(hub):
    """Send a request as the hub's own key, by a client that accepts gzip."""
    async with connected(hub) as http:

        async def ask(method, path, **headers):
            body = b"" if method == "POST" else None
            return await http.ask(method, path, body, local_key(hub), **{"Accept_Encoding": "gzip", **headers})

        yield ask


@pytest.mark.parametrize(("method", "path"), [("GET", "/test/rows"), ("POST", "/test/search")])
async def test_long_answer_to_a_reader_is_compressed(ask, method, path):
    answer = await ask(method, path)
    assert (200, "gzip", "Accept-Encoding") == (
        answer.status,
        answer.headers["content-encoding"],
        answer.headers["vary"],
    )
    assert "application/json" == answer.headers["content-type"]
    assert ROWS == json.loads(gzip.decompress(answer.body))
    assert len(answer.body) < len(json.dumps(ROWS)) / 4


async def test_very_long_answer_is_compressed(ask):
    answer = await ask("GET", "/test/many")
    assert ROWS * 50 == json.loads(gzip.decompress(answer.body))


async def test_head_has_the_length_of_the_compressed_answer(ask):
    answer, head = await ask("GET", "/test/rows"), await ask("HEAD", "/test/rows")
    assert (answer.headers["content-length"], b"") == (head.headers["content-length"], head.body)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/test/few", {}),
        ("GET", "/test/rows", {"Accept_Encoding": "identity"}),
        ("GET", "/test/rows", {"Accept_Encoding": "gzip;q=0"}),
        ("GET", "/test/versioned", {}),
        ("GET", "/test/text", {}),
        ("GET", "/test/public", {}),
        ("POST", "/test/change", {}),
        ("POST", "/test/create", {}),
    ],
)
async def test_other_answers_are_sent_as_they_are(ask, method, path, headers):
    answer = await ask(method, path, **headers)
    assert answer.status in (200, 201)
    assert "content-encoding" not in answer.headers
    assert len(answer.body) == int(answer.headers["content-length"])


SECRETS = {"token", "access_token", "refresh_token", "key", "link", "secret", "clientSecret", "recoveryCodes"}


async def test_no_answer_that_may_be_compressed_has_a_secret(hub):
    document = build_document(hub)
    schemas = document["components"]["schemas"]

    def references(schema):
        """The names of the schemas in a schema, at any depth."""
        if isinstance(schema, dict):
            if name := schema.get("$ref", "").rpartition("/")[2]:
                yield name
            for value in schema.values():
                yield from references(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from references(value)

    pending = []
    for route in hub.routes:
        if isinstance(route, Route) and may_compress(route, Request()) and "{" not in route.path:
            pending += references(document["paths"][route.path][route.method.lower()]["responses"])
    found = set()
    while pending:
        if (name := pending.pop()) not in found:
            found.add(name)
            pending += references(schemas[name])
    assert len(found) > 50
    secrets = {(name, field) for name in found for field in schemas[name].get("properties", ()) if field in SECRETS}
    # A device's token is set only in the answer to the request that adds the device, and never in version 2.
    assert {("DeviceObject", "token"), ("DeviceV2", "token")} == secrets
