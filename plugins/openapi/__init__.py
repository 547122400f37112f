"""The API described: ``/api/v1/openapi.json`` for programs, ``/api/docs`` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hub.api import PUBLIC, Request, Response, Route
from hub.hookspecs import hookimpl
from plugins.openapi.document import document
from plugins.openapi.page import HEADERS, page

if TYPE_CHECKING:
    from hub.app import Hub


class _Described:
    """Made when it is first asked for: routes do not change while a hub runs."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @cached_property
    def document(self) -> dict[str, Any]:
        return document(self._hub)

    @cached_property
    def text(self) -> str:
        return json.dumps(self.document, ensure_ascii=False)

    @cached_property
    def page(self) -> str:
        return page(self.document, self._hub.config.hub.name)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    described = hub.service(_Described)

    async def openapi(_request: Request) -> Response:
        return Response(body=described.text, type="application/json")

    async def docs(_request: Request) -> Response:
        return Response(body=described.page, type="text/html; charset=utf-8", headers=HEADERS)

    return [
        Route("GET", "/api/v1/openapi.json", openapi, PUBLIC, "This API, as OpenAPI 3.1", media=("application/json",)),
        Route("GET", "/api/docs", docs, PUBLIC, "This API, as a page", media=("text/html",)),
    ]
