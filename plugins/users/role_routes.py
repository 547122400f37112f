"""Routes of roles and their permissions in an organization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import ROOT_ORG, Created, Forbidden, Rejected, Request, Route
from hub.api import MAX_PAGE, Page, page_of
from plugins.users.schemas import PermissionObject, RoleObject

if TYPE_CHECKING:
    from plugins.users.service import UsersService


@attrs.frozen(kw_only=True)
class NewRole:
    """``like`` is the id of a role whose permissions are copied."""

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


class RoleRoutes:
    def __init__(self, service: UsersService) -> None:
        self._service = service
        self._hub = service.hub
        self._roles = service.roles
        self._authorization = service.authorization

    def _role_object(self, org: int, role: int) -> RoleObject:
        users = sum(user.role == role for user in self._service.users.in_and_below(org))
        permissions = sorted(self._roles.grants(org, role))
        return RoleObject(id=role, name=self._roles.names[role], users=users, permissions=permissions)

    def _versioned(self, request: Request, role: RoleObject) -> RoleObject:
        request.version(role.name, role.permissions)
        return role

    async def all_roles(self, request: Request, org_id: int | None = None) -> Page[RoleObject]:
        org = self._hub.access.organization_for(request, org_id).id
        return page_of(list(self._roles.names), 0, MAX_PAGE, lambda role: self._role_object(org, role))

    async def info(self, request: Request, role_id: int, *, org_id: int | None = None) -> RoleObject:
        org = self._hub.access.organization_for(request, org_id).id
        return self._versioned(request, self._role_object(org, self._roles.require(role_id)))

    async def permissions(self, _request: Request) -> list[PermissionObject]:
        permissions = self._hub.permissions
        return [PermissionObject(id=p.id, label=p.label, own=p.own or None, root=p.root) for p in permissions]

    async def add(self, request: Request) -> Created[RoleObject]:
        body: NewRole = request.body
        if body.like is not None:
            self._authorization.check_grantable(request.principal, ROOT_ORG, self._roles.require(body.like))
        role = await self._roles.add(body.name, body.like)
        request.subject = f"role {role}"
        return Created(value=self._role_object(ROOT_ORG, role))

    async def rename(self, request: Request) -> RoleObject:
        # Names are the same in the whole hub.
        self._hub.authorize(request.principal, request.permission, org=ROOT_ORG)
        role = self._roles.require(request.body.role_id)
        self._authorization.check_grantable(request.principal, ROOT_ORG, role)
        request.expect(self._roles.names[role], sorted(self._roles.grants(ROOT_ORG, role)))
        await self._roles.rename(role, request.body.name)
        request.subject = f"role {role}"
        return self._versioned(request, self._role_object(ROOT_ORG, role))

    async def switch(self, request: Request) -> RoleObject:
        body: SwitchPermissions = request.body
        org = self._hub.access.organization_for(request, body.org_id).id
        role = self._roles.require(body.role_id)
        request.subject = f"role {role}"
        if not body.permissions:
            raise Rejected("permissions: must name at least one permission.")
        if role == self._service.role_of(request.principal):
            raise Forbidden("You cannot edit your own role.")
        if unknown := body.permissions.keys() - self._roles.permissions:
            raise Rejected(f"There is no permission {min(unknown)!r}.")
        granted = self._authorization.grants(request.principal)
        turned_on = {name for name, on in body.permissions.items() if on}
        if granted is not None and (excess := turned_on - granted):
            raise Forbidden(f"You do not have the permission {min(excess)} yourself.")
        self._authorization.check_grantable(request.principal, org, role)
        request.expect(self._roles.names[role], sorted(self._roles.grants(org, role)))
        await self._roles.switch(org, role, body.permissions.items())
        if body.overwrite:
            await self._roles.inherit_below(org, role)
        return self._versioned(request, self._role_object(org, role))

    async def delete(self, request: Request, role_id: int, instead_id: int) -> None:
        role, replacement = self._roles.require(role_id), self._roles.require(instead_id)
        self._authorization.check_grantable(request.principal, ROOT_ORG, replacement)
        self._authorization.check_grantable(request.principal, ROOT_ORG, role)
        if role == self._service.role_of(request.principal):
            raise Forbidden("You cannot delete your own role.")
        await self._service.remove_role(role, replacement)
        request.subject = f"role {role}"


def routes(service: UsersService) -> Sequence[Route]:
    api = RoleRoutes(service)
    org = "/api/v1/organization"
    view, edit = "roles.view", "roles.edit"
    switch, delete = "Turn permissions on or off", "Delete a role and replace it with another"
    return [
        Route("GET", f"{org}/roles", api.all_roles, view, "All roles and their permissions"),
        Route("GET", f"{org}/role", api.info, view, "One role"),
        Route("GET", f"{org}/permissions", api.permissions, view, "All permissions"),
        Route("POST", f"{org}/role/create", api.add, "roles.add", "Create a role", NewRole),
        Route("PUT", f"{org}/role", api.rename, edit, "Rename a role", RenameRole, lock="role"),
        Route("POST", f"{org}/role/permissions", api.switch, edit, switch, SwitchPermissions, lock="role"),
        Route("DELETE", f"{org}/role", api.delete, "roles.delete", delete),
    ]
