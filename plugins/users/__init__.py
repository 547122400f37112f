"""R: users, roles, permissions and organizations; who is asking, and what they may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub.hookspecs import hookimpl
from hub.routes import Permission, Route
from hub.storage import Migration, shipped_migrations
from plugins.users import accounts, consent, login, organizations, pages, programs, rights
from plugins.users.permissions import PERMISSIONS
from plugins.users.room import Room, Settings

if TYPE_CHECKING:
    import trio

    from hub.app import Credentials, Hub
    from hub.model import Device, Principal

#: Without it nobody could be let in, or kept out.
ESSENTIAL = True


@hookimpl
def hub_config() -> type:
    return Settings


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("users", "plugins.users")


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return PERMISSIONS


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    room = hub.room(Room)
    parts = (login, accounts, rights, organizations, programs, pages, consent)
    return [route for part in parts for route in part.routes(room)]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    room = hub.room(Room)
    await room.load()
    await room.welcome()
    nursery.start_soon(room.save_used)
    nursery.start_soon(room.throttle.run)


@hookimpl
async def hub_authenticate(hub: Hub, credentials: Credentials) -> Principal | None:
    access = hub.room(Room).access
    if credentials.kind == "client":
        return access.authenticate_client(credentials.name, credentials.secret)
    return access.authenticate(credentials.secret) if credentials.kind == "bearer" else None


@hookimpl
def hub_authorize(
    hub: Hub, principal: Principal, permission: str, device: Device | None, org: int | None
) -> bool | None:
    return hub.room(Room).access.allows(principal, permission, device, org)
