"""Users, roles, permissions and organizations (R): authentication and authorization of requests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from hub import hookimpl

# The hooks import the other modules, so that the commands, which are in this package too, start without them.
if TYPE_CHECKING:
    import trio

    from hub import Credentials, Device, Hub, Migration, Permission, Principal, Route, StampColumns
    from hub.domain import UserDirectory
    from plugins.users.service import UsersService

#: Without this plugin the hub could neither let users in nor keep others out.
ESSENTIAL = True


@cache
def _service_class() -> type[UsersService]:
    from plugins.users.service import UsersService

    return UsersService


@hookimpl
def hub_config() -> type:
    from plugins.users.settings import Settings

    return Settings


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    from hub.storage import shipped_migrations

    return shipped_migrations("users", "plugins.users")


@hookimpl
def hub_stamps(hub: Hub) -> Sequence[StampColumns]:
    from plugins.users import credentials

    return credentials.stamp_columns(hub.settings(hub_config()))


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    from plugins.users.permissions import PERMISSIONS

    return PERMISSIONS


@hookimpl
def hub_directory(hub: Hub) -> UserDirectory:
    return hub.service(_service_class()).directory


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    from plugins.users import (
        account_pages,
        client_settings,
        device_transfer_routes,
        login_routes,
        oauth_authorize,
        oauth_clients,
        organization_routes,
        role_routes,
        user_routes,
    )

    service = hub.service(_service_class())
    modules = (
        login_routes,
        client_settings,
        user_routes,
        device_transfer_routes,
        role_routes,
        organization_routes,
        oauth_clients,
        account_pages,
        oauth_authorize,
    )
    return [route for module in modules for route in module.routes(service)]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    service = hub.service(_service_class())
    await service.load()
    await service.welcome()
    nursery.start_soon(service.run_saver)
    nursery.start_soon(service.throttle.run)


@hookimpl
async def hub_authenticate(hub: Hub, credentials: Credentials) -> Principal | None:
    authentication = hub.service(_service_class()).authentication
    if credentials.kind == "client":
        return authentication.authenticate_client(credentials.name, credentials.secret)
    return authentication.authenticate_bearer(credentials.secret) if credentials.kind == "bearer" else None


@hookimpl
def hub_authorize(
    hub: Hub, principal: Principal, permission: str, device: Device | None, org: int | None
) -> bool | None:
    return hub.service(_service_class()).authorization.allows(principal, permission, device, org)
