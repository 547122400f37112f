"""Settings that clients, such as a console, store for their users: a JSON object for each user and client."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub import AUTHENTICATED, Rejected, Request, Route
from hub.values import is_text

if TYPE_CHECKING:
    from hub import Hub, Transaction
    from plugins.users.service import UsersService

#: Bytes of the settings of one client, and clients of one user.
MAX_SETTINGS, MAX_APPS = 16 * 1024, 10
_APP = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@attrs.frozen(kw_only=True)
class ClientSettings:
    """``settings`` is any JSON object of at most 16 KiB."""

    settings: dict[str, Any]


class SettingsRoutes:
    def __init__(self, service: UsersService) -> None:
        self._service = service
        self._storage = service.hub.storage

    async def read(self, request: Request, app: str) -> ClientSettings:
        stored = await self._stored(request, app)
        request.version(stored.get(app, {}))
        return ClientSettings(settings=stored.get(app, {}))

    async def write(self, request: Request, app: str) -> ClientSettings:
        stored, settings = await self._stored(request, app), request.body.settings
        request.expect(stored.get(app, {}))
        text = json.dumps(settings, ensure_ascii=False, separators=(",", ":"))
        if not is_text(text) or len(text.encode()) > MAX_SETTINGS:
            raise Rejected(f"settings: must be text of at most {MAX_SETTINGS} bytes")
        if app not in stored and len(stored) >= MAX_APPS:
            raise Rejected(f"A user has settings of at most {MAX_APPS} clients.")
        user = self._service.authentication.current_user(request)

        async def write(tx: Transaction) -> None:
            await tx.upsert("users_settings", ("user_id", "app"), user_id=user.id, app=app, settings=text)

        await self._storage.transaction(write)
        request.version(settings)
        return ClientSettings(settings=settings)

    async def _stored(self, request: Request, app: str) -> dict[str, Any]:
        """Return the settings of all clients of the user who asks. Raises `Rejected` if ``app`` is no name."""
        user = self._service.authentication.current_user(request)
        if not _APP.fullmatch(app):
            raise Rejected("app: must be at most 40 lower-case letters, digits, - and _")
        return await settings_of(self._service.hub, user.id)


async def settings_of(hub: Hub, user_id: int) -> dict[str, Any]:
    """Return the settings of all clients of a user, by the client's name."""
    sql = "SELECT app, settings FROM users_settings WHERE user_id = ?"
    rows = await hub.storage.configuration.fetch_all(sql, (user_id,))
    return {app: json.loads(text) for app, text in rows}


def routes(service: UsersService) -> Sequence[Route]:
    api = SettingsRoutes(service)
    path = "/api/v1/profile/settings"
    read, write = "Own settings of a client", "Store own settings of a client"
    return [
        Route("GET", path, api.read, AUTHENTICATED, read),
        Route("PUT", path, api.write, AUTHENTICATED, write, ClientSettings, audited=False, lock="settings"),
    ]
