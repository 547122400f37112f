"""R: users, roles, permissions and organizations; who is asking, and what they may."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from hub.hookspecs import hookimpl

# The commands are in this package too, and would pay for all of a hub: its modules are loaded by the hooks.
if TYPE_CHECKING:
    import trio

    from hub.api import Permission, Route
    from hub.app import Hub
    from hub.model import Credentials, Device, Principal
    from hub.stamps import StampColumns
    from hub.storage import Migration
    from plugins.users.service import UsersService

#: Without it nobody could be let in, or kept out.
ESSENTIAL = True


@cache
def _service_class() -> type[UsersService]:
    from plugins.users.service import UsersService

    return UsersService


@hookimpl
def hub_config() -> type:
    from plugins.users.service import Settings

    return Settings


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    from hub.storage import shipped_migrations

    return shipped_migrations("users", "plugins.users")


@hookimpl
def hub_stamps(hub: Hub) -> Sequence[StampColumns]:
    from plugins.users import credentials

    return credentials.stamps(hub.settings(hub_config()))


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    from plugins.users.permissions import PERMISSIONS

    return PERMISSIONS


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    from plugins.users import (
        account_pages,
        login_routes,
        oauth_authorize,
        oauth_clients,
        organization_routes,
        role_routes,
        user_routes,
    )

    service = hub.service(_service_class())
    parts = (
        login_routes,
        user_routes,
        role_routes,
        organization_routes,
        oauth_clients,
        account_pages,
        oauth_authorize,
    )
    return [route for part in parts for route in part.routes(service)]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    service = hub.service(_service_class())
    await service.load()
    await service.welcome()
    nursery.start_soon(service.save_used)
    nursery.start_soon(service.throttle.run)


@hookimpl
async def hub_authenticate(hub: Hub, credentials: Credentials) -> Principal | None:
    access = hub.service(_service_class()).access
    if credentials.kind == "client":
        return access.authenticate_client(credentials.name, credentials.secret)
    return access.authenticate(credentials.secret) if credentials.kind == "bearer" else None


@hookimpl
def hub_authorize(
    hub: Hub, principal: Principal, permission: str, device: Device | None, org: int | None
) -> bool | None:
    return hub.service(_service_class()).access.allows(principal, permission, device, org)
