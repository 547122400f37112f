"""Roles over HTTP: what each may, by organization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub.api import MAX_PAGE, Created, Page, Request, Route, page_of
from hub.errors import Forbidden, Rejected
from hub.model import ROOT_ORG
from plugins.users.schemas import PermissionObject, RoleObject

if TYPE_CHECKING:
    from plugins.users.service import UsersService


@attrs.frozen(kw_only=True)
class NewRole:
    """``like`` is a role whose permissions it begins with."""

    name: str
    like: int | None = None


@attrs.frozen(kw_only=True)
class RenameRole:
    role_id: int
    name: str


@attrs.frozen(kw_only=True)
class SwitchPermissions:
    """Permissions to turn on and off; with ``overwrite`` all organizations below follow."""

    role_id: int
    permissions: dict[str, bool]
    org_id: int | None = None
    overwrite: bool = False


def routes(service: UsersService) -> Sequence[Route]:
    hub, roles = service.hub, service.roles

    def shown(org: int, role: int) -> RoleObject:
        users = sum(user.role == role for user in service.people.of_org(org))
        return RoleObject(id=role, name=roles.names[role], users=users, permissions=sorted(roles.grants(org, role)))

    async def all_roles(request: Request, org_id: int | None = None) -> Page[RoleObject]:
        org = hub.access.organization_for(request, org_id).id
        return page_of(list(roles.names), 0, MAX_PAGE, lambda role: shown(org, role))

    async def one(request: Request, role_id: int, *, org_id: int | None = None) -> RoleObject:
        return versioned(request, shown(hub.access.organization_for(request, org_id).id, roles.get(role_id)))

    def versioned(request: Request, role: RoleObject) -> RoleObject:
        request.version(role.name, role.permissions)
        return role

    async def permissions(_request: Request) -> list[PermissionObject]:
        return [PermissionObject(id=p.id, label=p.label, own=p.own or None, root=p.root) for p in hub.permissions]

    async def switch(request: Request) -> RoleObject:
        body: SwitchPermissions = request.body
        org = hub.access.organization_for(request, body.org_id).id
        role = roles.get(body.role_id)
        request.subject = f"role {role}"
        if not body.permissions:
            raise Rejected("permissions: names none")
        if role == service.role_of(request.principal):
            raise Forbidden("You cannot edit your own role.")
        if unknown := body.permissions.keys() - roles.known:
            raise Rejected(f"there is no permission {min(unknown)!r}")
        granted = service.access.grants(request.principal)
        if granted is not None and (more := {name for name, on in body.permissions.items() if on} - granted):
            raise Forbidden(f"You do not have {min(more)} yourself.")
        service.access.check_gift(request.principal, org, role)
        request.expect(roles.names[role], sorted(roles.grants(org, role)))
        await roles.switch(org, role, body.permissions.items())
        if body.overwrite:
            await roles.push_down(org, role)
        return versioned(request, shown(org, role))

    async def add(request: Request) -> Created[RoleObject]:
        body: NewRole = request.body
        if body.like is not None:
            service.access.check_gift(request.principal, ROOT_ORG, roles.get(body.like))
        role = await roles.add(body.name, body.like)
        request.subject = f"role {role}"
        return Created(value=shown(ROOT_ORG, role))

    async def rename(request: Request) -> RoleObject:
        # The names are the whole hub's.
        hub.authorize(request.principal, request.permission, org=ROOT_ORG)
        role = roles.get(request.body.role_id)
        service.access.check_gift(request.principal, ROOT_ORG, role)
        request.expect(roles.names[role], sorted(roles.grants(ROOT_ORG, role)))
        await roles.rename(role, request.body.name)
        request.subject = f"role {role}"
        return versioned(request, shown(ROOT_ORG, role))

    async def remove(request: Request, role_id: int, instead_id: int) -> None:
        role, instead = roles.get(role_id), roles.get(instead_id)
        service.access.check_gift(request.principal, ROOT_ORG, instead)
        service.access.check_gift(request.principal, ROOT_ORG, role)
        if role == service.role_of(request.principal):
            raise Forbidden("You cannot delete your own role.")
        await roles.remove(role, instead)
        service.credentials.replaced(role, instead)
        roles.tell()
        request.subject = f"role {role}"

    org = "/api/v1/organization"
    return [
        Route(
            method,
            f"{org}/{path}",
            handler,
            permission,
            summary,
            body,
            lock="role" if handler in (rename, switch) else "",
        )
        for method, path, handler, permission, body, summary in (
            ("GET", "roles", all_roles, "roles.view", None, "All roles and their permissions"),
            ("GET", "role", one, "roles.view", None, "One role"),
            ("GET", "permissions", permissions, "roles.view", None, "All permissions"),
            ("POST", "role/create", add, "roles.add", NewRole, "Make a role"),
            ("PUT", "role", rename, "roles.edit", RenameRole, "Rename a role"),
            (
                "POST",
                "role/permissions",
                switch,
                "roles.edit",
                SwitchPermissions,
                "Turn permissions on or off",
            ),
            ("DELETE", "role", remove, "roles.delete", None, "Delete a role, putting another in its place"),
        )
    ]
