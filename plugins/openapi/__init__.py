"""Description of the API: ``/api/v1/openapi.json`` for programs, ``/api/docs`` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hub import PUBLIC, Request, Response, Route, hookimpl
from hub.api import StaticContent
from plugins.openapi.document import build_document
from plugins.openapi.page import HEADERS, render_page

if TYPE_CHECKING:
    from hub import Hub


class OpenApiRoutes:
    """Serves both forms. Each is built at the first request: routes do not change while a hub runs."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @cached_property
    def _document(self) -> dict[str, Any]:
        return build_document(self._hub)

    @cached_property
    def _json(self) -> StaticContent:
        return StaticContent(json.dumps(self._document, ensure_ascii=False), "application/json")

    @cached_property
    def _page(self) -> StaticContent:
        html = render_page(self._document, self._hub.config.hub.name)
        return StaticContent(html, "text/html; charset=utf-8", HEADERS)

    async def openapi(self, request: Request) -> Response:
        return await self._json.answer(request)

    async def page(self, request: Request) -> Response:
        return await self._page.answer(request)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    api = OpenApiRoutes(hub)
    openapi = "This API as an OpenAPI 3.1 document"
    return [
        Route("GET", "/api/v1/openapi.json", api.openapi, PUBLIC, openapi, media=("application/json",)),
        Route("GET", "/api/docs", api.page, PUBLIC, "This API as a web page", media=("text/html",)),
    ]
