"""Routes of organizations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub import (
    AUTHENTICATED,
    ROOT_ORG,
    Created,
    Forbidden,
    Organization,
    OrganizationType,
    Rejected,
    Request,
    Route,
    System,
)
from hub.api import PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, SortOrder, from_json, page_of, to_json
from hub.parsing.spellings import nfc
from plugins.users.model import Address
from plugins.users.schemas import OrganizationObject, UnitSystem

if TYPE_CHECKING:
    from plugins.users.service import UsersService


#: Keys by which organizations are sorted (docs.blynk.io, Search organizations).
SortOrganizations = Literal["Organization Id", "Name", "Device Count", "User Count", "Sub Organizations"]
_SYSTEMS: Mapping[str, System] = {"METRIC": "metric", "IMPERIAL": "imperial"}
_SYSTEM_NAMES: Mapping[System | None, UnitSystem] = {"metric": "METRIC", "imperial": "IMPERIAL"}


@attrs.frozen(kw_only=True)
class NewOrganization:
    """``templates`` are those enabled in it; when they are left out, all that its parent has."""

    name: str
    parent_id: int | None = None
    type: OrganizationType = "BUSINESS"
    description: str = ""
    tz: str = ""
    phone_number: str = ""
    templates: list[str] | None = None
    quotas: dict[str, int] = attrs.Factory(dict)
    unit_system: UnitSystem | None = None
    unit_overrides: dict[str, str] = attrs.Factory(dict)
    address: Address | None = None


@attrs.frozen(kw_only=True)
class EditOrganization:
    """Fields that are left out stay as they are. NONE as ``unit_system`` inherits that of the organization above."""

    org_id: int
    name: str | None = None
    description: str | None = None
    tz: str | None = None
    phone_number: str | None = None
    templates: list[str] | None = None
    quotas: dict[str, int] | None = None
    unit_system: Literal["METRIC", "IMPERIAL", "NONE"] | None = None
    unit_overrides: dict[str, str] | None = None
    address: Address | None = None


@attrs.frozen(kw_only=True)
class RenameOrganization:
    name: str


@attrs.frozen(kw_only=True)
class MoveOrganization:
    org_id: int
    parent_id: int


@attrs.frozen(kw_only=True)
class OrganizationId:
    org_id: int


class OrganizationRoutes:
    def __init__(self, service: UsersService) -> None:
        self._service = service
        self._hub = service.hub
        self._organizations = service.hub.organizations

    # -- reading --------------------------------------------------------------------------------------------------

    async def current(self, request: Request) -> OrganizationObject:
        # Users of an organization may not know which one is above it.
        organization = self._organizations.get(request.principal.org)
        return attrs.evolve(self._organization_object(organization), parent_organization_id=None)

    async def info(self, request: Request, org_id: int | None = None) -> OrganizationObject:
        organization = self._hub.access.organization_for(request, org_id)
        request.version(*_editable_fields(organization))
        answer = self._organization_object(organization)
        return attrs.evolve(answer, parent_organization_id=None) if answer.id == request.principal.org else answer

    async def search(
        self,
        request: Request,
        *,
        query: str = "",
        sort_by: SortOrganizations | None = None,
        sort_order: SortOrder = "ASC",
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[OrganizationObject]:
        below = map(
            self._organizations.get, self._organizations.below(self._hub.access.organization_for(request).id)[1:]
        )
        matches = [organization for organization in below if nfc(query).lower() in organization.name.lower()]
        keys: dict[SortOrganizations, Callable[[Organization], Any]] = {
            "Organization Id": lambda organization: organization.id,
            "Name": lambda organization: organization.name.lower(),
            "Device Count": lambda organization: len(self._hub.devices.by_org.get(organization.id, ())),
            "User Count": lambda organization: len(self._service.users.in_and_below(organization.id)),
            "Sub Organizations": lambda organization: len(self._organizations.below(organization.id)),
        }
        # Without a key they are in the order of the tree.
        if sort_by is not None:
            matches.sort(key=keys[sort_by], reverse=sort_order == "DESC")
        return page_of(matches, page, size, self._organization_object)

    async def sub_organizations(
        self, request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = PAGE
    ) -> Page[OrganizationObject]:
        """The organizations directly below one, by name."""
        top = self._hub.access.organization_for(request, org_id).id
        below = [organization for organization in self._organizations.by_id.values() if organization.parent == top]
        below.sort(key=lambda organization: (organization.name.lower(), organization.id))
        return page_of(below, page, size, self._organization_object)

    async def export(self, request: Request, org_id: int) -> dict[str, Any]:
        """Everything about an organization and those below it, except values and secrets."""
        service = self._service
        top = self._hub.access.organization_for(request, org_id)
        for permission in ("users.view", "users.download"):
            self._hub.authorize(request.principal, permission, org=top.id)
        below = self._organizations.below(top.id)
        roles = service.roles
        return {
            "organizations": [self._organization_object(self._organizations.get(org)) for org in below],
            "users": [service.user_object(user) for user in service.users.in_and_below(top.id)],
            "roles": {
                str(org): {name: sorted(roles.grants(org, role)) for role, name in roles.names.items()} for org in below
            },
            "devices": [
                {
                    "id": device.id,
                    "orgId": device.org,
                    "ownerUserId": device.owner,
                    "name": device.name,
                    "templateId": device.template.id,
                    "metadata": await self._hub.metadata.visible_values(device, request.principal),
                }
                for device in self._hub.access.devices_for(request.principal, VIEW_DEVICES, top.id)
            ],
        }

    def _organization_object(self, organization: Organization) -> OrganizationObject:
        return OrganizationObject(
            id=organization.id,
            name=organization.name,
            parent_organization_id=organization.parent,
            type=organization.type,
            description=organization.description,
            tz=organization.timezone,
            phone_number=organization.phone,
            templates=None if organization.templates is None else sorted(organization.templates),
            quotas=organization.quotas,
            unit_system=_SYSTEM_NAMES.get(organization.units),
            unit_overrides=organization.unit_overrides,
            address=from_json(organization.address, Address),
            last_modified_ts=organization.modified,
            devices=len(self._hub.devices.by_org.get(organization.id, ())),
            users=sum(user.org == organization.id for user in self._service.users.by_id.values()),
        )

    # -- adding and changing --------------------------------------------------------------------------------------

    async def create(self, request: Request) -> Created[OrganizationObject]:
        body: NewOrganization = request.body
        parent = self._hub.access.organization_for(request, body.parent_id)
        inherited = list(self._hub.templates.by_id) if parent.templates is None else list(parent.templates)
        new = Organization(
            id=0,
            parent=parent.id,
            type="PERSONAL" if parent.type == "PERSONAL" else body.type,
            name=body.name.strip(),
            description=body.description,
            timezone=body.tz or None,
            phone=body.phone_number,
            templates=self._validated_templates(parent, inherited if body.templates is None else body.templates),
            quotas=body.quotas,
            units=_SYSTEMS.get(body.unit_system or ""),
            unit_overrides=body.unit_overrides,
            address={} if body.address is None else _stored_address(body.address),
        )
        added = await self._organizations.add(new, request.principal)
        request.org = added.id
        request.subject = f"organization {added.id}"
        return Created(value=self._organization_object(added))

    async def rename(self, request: Request, org_id: int | None = None) -> OrganizationObject:
        organization = self._hub.access.organization_for(request, org_id)
        return await self._change(request, EditOrganization(org_id=organization.id, name=request.body.name))

    async def edit(self, request: Request) -> OrganizationObject:
        return await self._change(request, request.body)

    async def _change(self, request: Request, body: EditOrganization) -> OrganizationObject:
        organization = self._hub.access.organization_for(request, body.org_id)
        request.subject = f"organization {organization.id}"
        request.expect(*_editable_fields(organization))
        changes = self._validated_changes(organization, body)
        # An organization cannot change its own templates and quotas: the one above sets them.
        restricted = {"templates", "quotas"} & changes.keys()
        if (
            restricted
            and organization.id == request.principal.org
            and request.principal.kind not in ("local", "system")
        ):
            raise Forbidden("Only an organization above can change the templates and quotas of an organization.")
        if body.templates is not None:
            # A template disabled in an organization is disabled in all its descendants.
            request.partially_applied = True
            for descendant in map(self._organizations.get, self._organizations.below(organization.id)[1:]):
                remaining = (descendant.templates or frozenset()) & changes["templates"]
                if remaining != descendant.templates:
                    await self._organizations.change(descendant.id, request.principal, templates=remaining)
        changed = await self._organizations.change(organization.id, request.principal, **changes)
        request.version(*_editable_fields(changed))
        return self._organization_object(changed)

    def _validated_changes(self, organization: Organization, body: EditOrganization) -> dict[str, Any]:
        """Return the fields of an organization that a body changes. Raises `NotFound`, `Rejected`."""
        fields = {
            "name": body.name,
            "description": body.description,
            "phone": body.phone_number,
            "quotas": body.quotas,
            "unit_overrides": body.unit_overrides,
        }
        changes: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        if body.address is not None:
            changes["address"] = _stored_address(body.address)
        if body.tz is not None:
            changes["timezone"] = body.tz or None
        if body.unit_system is not None:
            changes["units"] = _SYSTEMS.get(body.unit_system)
        if body.templates is not None:
            parent = self._organizations.get(organization.parent or ROOT_ORG)
            templates = self._validated_templates(parent, body.templates)
            by_org = self._hub.devices.by_org
            below = self._organizations.below(organization.id)
            used = {device.template.id for org in below for device in by_org.get(org, {}).values()}
            if lost := used - templates:
                raise Rejected(f"Devices of the organization, or below it, still have the template {min(lost)}.")
            changes["templates"] = templates
            if organization.parent is None:
                raise Rejected("The root organization always has all templates.")
        return changes

    def _validated_templates(self, parent: Organization, templates: Sequence[str]) -> frozenset[str]:
        """Raises `NotFound` for a template that the parent does not have."""
        return frozenset(self._hub.templates.for_org(parent, template).id for template in templates)

    async def transfer(self, request: Request) -> OrganizationObject:
        body: MoveOrganization = request.body
        organization = self._hub.access.organization_for(request, body.org_id)
        parent = self._hub.access.organization_for(request, body.parent_id)
        request.subject, request.org = f"organization {organization.id}", organization.id
        if parent.templates is not None:
            moved = [self._organizations.get(org) for org in self._organizations.below(organization.id)]
            if lost := frozenset().union(*(moving.templates or () for moving in moved)) - parent.templates:
                raise Rejected(f"The organization {parent.name} does not have the template {min(lost)}.")
        return self._organization_object(await self._organizations.move(organization.id, parent.id, request.principal))

    # -- deleting -------------------------------------------------------------------------------------------------

    async def delete(self, request: Request, org_id: int, *, everything: bool = False) -> None:
        organization = self._hub.access.organization_for(request, org_id)
        request.subject = f"organization {organization.id}"
        if organization.id == request.principal.org:
            raise Forbidden("You cannot delete the organization that you act in.")
        if everything:
            if organization.parent is None:
                raise Rejected("The root organization cannot be deleted.")
            self._check_may_empty(request, organization.id)
            request.partially_applied = True
            for org in reversed(self._organizations.below(organization.id)):
                await self._empty(request, org)
                await self._organizations.remove(org, request.principal)
        else:
            await self._organizations.remove(organization.id, request.principal)
        request.org = organization.parent

    def _check_may_empty(self, request: Request, top: int) -> None:
        """Check that the caller may delete all that is in an organization and below. Raises `Forbidden`."""
        service = self._service
        for org in self._organizations.below(top):
            users = [user for user in service.users.by_id.values() if user.org == org]
            clients = [client for client in service.credentials.clients.values() if client.org == org]
            for contents, permission in (
                (users, "users.delete"),
                (self._hub.devices.by_org.get(org), "org_devices.delete"),
                (clients, "clients.delete"),
            ):
                if contents:
                    self._hub.authorize(request.principal, permission, org=org)
            for role in {user.role for user in users} | {client.role for client in clients}:
                service.authorization.check_grantable(request.principal, org, role)

    async def _empty(self, request: Request, org: int) -> None:
        """Delete everything that belongs to an organization."""
        service = self._service
        for device in list(self._hub.devices.by_org.get(org, {}).values()):
            await self._hub.devices.delete(device, request.principal)
        for client in [client for client in service.credentials.clients.values() if client.org == org]:
            await service.credentials.remove_client(client)
        for user in [user for user in service.users.by_id.values() if user.org == org]:
            await service.erase(user, allow_last_admin=True)

    # -- the organization of a session ----------------------------------------------------------------------------

    async def switch(self, request: Request) -> OrganizationObject:
        service = self._service
        user = service.authentication.current_user(request)
        session = service.credentials.sessions.get(request.principal.session)  # type: ignore[arg-type]
        if session is None:
            raise Forbidden("An API key always acts in its user's organization.")
        org_id = request.body.org_id
        granted = service.authorization.grants(request.principal) or frozenset()
        may_switch = "orgs.switch" in granted and self._organizations.contains(user.org, org_id)
        if org_id != user.org and not may_switch:
            raise self._organizations.not_found(org_id)
        organization = self._organizations.get(org_id)
        await service.credentials.switch_organization(session, organization.id)
        request.org, request.subject = organization.id, f"organization {organization.id}"
        return self._organization_object(organization)


def _editable_fields(organization: Organization) -> tuple[Any, ...]:
    """Return the fields that an edit can change, for the version of the answer."""
    templates = None if organization.templates is None else sorted(organization.templates)
    return (
        organization.name,
        organization.description,
        organization.timezone,
        organization.phone,
        templates,
        sorted(organization.quotas.items()),
        (organization.units, sorted(organization.unit_overrides.items())),
        sorted(organization.address.items()),
    )


def _stored_address(address: Address) -> dict[str, str]:
    """Return the parts of an address that are not empty, by their names in the API."""
    return {name: text for name, text in to_json(address).items() if text}


def routes(service: UsersService) -> Sequence[Route]:
    api = OrganizationRoutes(service)
    org, settings = "/api/v1/organization", "orgs.settings"
    edit, search = "Edit an organization", "Search the organizations below by name"
    rename, transfer = "Rename an organization", "Transfer an organization"
    sub_organizations = "The organizations directly below one"
    return [
        Route("GET", f"{org}/profile", api.current, AUTHENTICATED, "The current organization"),
        Route("GET", org, api.info, settings, "One organization"),
        Route("GET", f"{org}/search", api.search, "orgs.view", search),
        Route("GET", f"{org}/sub-organizations", api.sub_organizations, "orgs.view", sub_organizations),
        Route("POST", f"{org}/create", api.create, "orgs.add", "Create an organization", NewOrganization),
        Route("PUT", org, api.edit, settings, edit, EditOrganization, lock="organization"),
        Route("PUT", f"{org}/edit/name", api.rename, settings, rename, RenameOrganization, lock="organization"),
        Route("DELETE", org, api.delete, "orgs.delete", "Delete an organization"),
        Route("POST", f"{org}/transfer", api.transfer, "orgs.transfer", transfer, MoveOrganization),
        Route("GET", f"{org}/export", api.export, settings, "Export an organization's data"),
        Route("POST", f"{org}/switch", api.switch, AUTHENTICATED, "Switch to another organization", OrganizationId),
    ]
