"""Organizations over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub.api import (
    AUTHENTICATED,
    PAGE,
    VIEW_DEVICES,
    Created,
    Page,
    PageNumber,
    PageSize,
    Request,
    Route,
    SortOrder,
    page_of,
)
from hub.errors import Forbidden, Rejected
from hub.model import ROOT_ORG, Organization, OrganizationType, System
from hub.spellings import nfc
from plugins.users.schemas import OrganizationObject, UnitSystem

if TYPE_CHECKING:
    from plugins.users.service import UsersService


#: By what organizations are sorted (docs.blynk.io, Search organizations).
SortOrganizations = Literal["Organization Id", "Name", "Device Count", "User Count", "Sub Organizations"]
_SYSTEMS: Mapping[str, System] = {"METRIC": "metric", "IMPERIAL": "imperial"}
_NAMES: Mapping[System | None, UnitSystem] = {"metric": "METRIC", "imperial": "IMPERIAL"}


@attrs.frozen(kw_only=True)
class NewOrganization:
    """``templates`` are those enabled in it; left out, all that its parent has."""

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


@attrs.frozen(kw_only=True)
class EditOrganization:
    """What is left out stays; a ``unit_system`` of NONE is that of the organization above."""

    org_id: int
    name: str | None = None
    description: str | None = None
    tz: str | None = None
    phone_number: str | None = None
    templates: list[str] | None = None
    quotas: dict[str, int] | None = None
    unit_system: Literal["METRIC", "IMPERIAL", "NONE"] | None = None
    unit_overrides: dict[str, str] | None = None


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


def routes(service: UsersService) -> Sequence[Route]:
    hub = service.hub
    orgs = hub.organizations

    def shown(org: Organization) -> OrganizationObject:
        return OrganizationObject(
            id=org.id,
            name=org.name,
            parent_organization_id=org.parent,
            type=org.type,
            description=org.description,
            tz=org.timezone,
            phone_number=org.phone,
            templates=None if org.templates is None else sorted(org.templates),
            quotas=org.quotas,
            unit_system=_NAMES.get(org.units),
            unit_overrides=org.unit_overrides,
            devices=len(hub.devices.by_org.get(org.id, ())),
            users=sum(user.org == org.id for user in service.people.by_id.values()),
        )

    def edited(org: Organization) -> tuple[Any, ...]:
        """What may be edited of an organization."""
        templates = None if org.templates is None else sorted(org.templates)
        units = org.units, sorted(org.unit_overrides.items())
        return org.name, org.description, org.timezone, org.phone, templates, sorted(org.quotas.items()), units

    def may_enable(parent: Organization, templates: Sequence[str]) -> frozenset[str]:
        """Raises `NotFound` for a template that the organization above does not have."""
        return frozenset(hub.templates.for_org(parent, template).id for template in templates)

    async def own(request: Request) -> OrganizationObject:
        # What is above is nobody's business below.
        return attrs.evolve(shown(orgs.get(request.principal.org)), parent_organization_id=None)

    async def info(request: Request, org_id: int | None = None) -> OrganizationObject:
        org = hub.access.organization_for(request, org_id)
        request.version(*edited(org))
        found = shown(org)
        return attrs.evolve(found, parent_organization_id=None) if found.id == request.principal.org else found

    async def listed(
        request: Request,
        *,
        query: str = "",
        sort_by: SortOrganizations | None = None,
        sort_order: SortOrder = "ASC",
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[OrganizationObject]:
        below = map(orgs.get, orgs.below(hub.access.organization_for(request).id)[1:])
        found = [org for org in below if nfc(query).lower() in org.name.lower()]
        keys: dict[SortOrganizations, Callable[[Organization], Any]] = {
            "Organization Id": lambda org: org.id,
            "Name": lambda org: org.name.lower(),
            "Device Count": lambda org: len(hub.devices.by_org.get(org.id, ())),
            "User Count": lambda org: len(service.people.of_org(org.id)),
            "Sub Organizations": lambda org: len(orgs.below(org.id)),
        }
        # Else as they are in the tree.
        if sort_by is not None:
            found.sort(key=keys[sort_by], reverse=sort_order == "DESC")
        return page_of(found, page, size, shown)

    async def create(request: Request) -> Created[OrganizationObject]:
        body: NewOrganization = request.body
        parent = hub.access.organization_for(request, body.parent_id)
        every = list(hub.templates.by_id) if parent.templates is None else list(parent.templates)
        new = Organization(
            id=0,
            parent=parent.id,
            type="PERSONAL" if parent.type == "PERSONAL" else body.type,
            name=body.name.strip(),
            description=body.description,
            timezone=body.tz or None,
            phone=body.phone_number,
            templates=may_enable(parent, every if body.templates is None else body.templates),
            quotas=body.quotas,
            units=_SYSTEMS.get(body.unit_system or ""),
            unit_overrides=body.unit_overrides,
        )
        made = await orgs.add(new, request.principal)
        request.org = made.id
        request.subject = f"organization {made.id}"
        return Created(value=shown(made))

    async def rename(request: Request, org_id: int | None = None) -> OrganizationObject:
        org = hub.access.organization_for(request, org_id)
        return await change(request, EditOrganization(org_id=org.id, name=request.body.name))

    async def edit(request: Request) -> OrganizationObject:
        return await change(request, request.body)

    async def change(request: Request, body: EditOrganization) -> OrganizationObject:
        org = hub.access.organization_for(request, body.org_id)
        request.subject = f"organization {org.id}"
        request.expect(*edited(org))
        said = {
            "name": body.name,
            "description": body.description,
            "phone": body.phone_number,
            "quotas": body.quotas,
            "unit_overrides": body.unit_overrides,
        }
        changes: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        if body.tz is not None:
            changes["timezone"] = body.tz or None
        if body.unit_system is not None:
            changes["units"] = _SYSTEMS.get(body.unit_system)
        if body.templates is not None:
            parent = orgs.get(org.parent or ROOT_ORG)
            templates = may_enable(parent, body.templates)
            used = {d.template.id for one in orgs.below(org.id) for d in hub.devices.by_org.get(one, {}).values()}
            if lost := used - templates:
                raise Rejected(f"devices there still have the template {min(lost)}")
            changes["templates"] = templates
            if org.parent is None:
                raise Rejected("the root has all templates")
        # What somebody above has set for an organization is not its own to change.
        given = {"templates", "quotas"} & changes.keys()
        if given and org.id == request.principal.org and request.principal.kind not in ("local", "system"):
            raise Forbidden("The organization above says which templates and how much there may be.")
        if body.templates is not None:
            # What is above does not have, nobody below has.
            request.partially_applied = True
            for below in map(orgs.get, orgs.below(org.id)[1:]):
                left = (below.templates or frozenset()) & changes["templates"]
                if left != below.templates:
                    await orgs.change(below.id, request.principal, templates=left)
        changed = await orgs.change(org.id, request.principal, **changes)
        request.version(*edited(changed))
        return shown(changed)

    async def transfer(request: Request) -> OrganizationObject:
        body: MoveOrganization = request.body
        org = hub.access.organization_for(request, body.org_id)
        parent = hub.access.organization_for(request, body.parent_id)
        request.subject, request.org = f"organization {org.id}", org.id
        if parent.templates is not None:
            moved = [orgs.get(one) for one in orgs.below(org.id)]
            if lost := frozenset().union(*(one.templates or () for one in moved)) - parent.templates:
                raise Rejected(f"{parent.name} does not have the template {min(lost)}")
        return shown(await orgs.move(org.id, parent.id, request.principal))

    async def delete(request: Request, org_id: int, *, everything: bool = False) -> None:
        org = hub.access.organization_for(request, org_id)
        request.subject = f"organization {org.id}"
        if org.id == request.principal.org:
            raise Forbidden("You cannot delete the organization that you act in.")
        if everything:
            if org.parent is None:
                raise Rejected("the root cannot be deleted")
            may_empty(request, org.id)
            request.partially_applied = True
            for one in reversed(orgs.below(org.id)):
                await empty(request, one)
                await orgs.remove(one, request.principal)
        else:
            await orgs.remove(org.id, request.principal)
        request.org = org.parent

    def may_empty(request: Request, top: int) -> None:
        """Whether somebody may delete all that is in an organization and below. Raises `Forbidden`."""
        for org in orgs.below(top):
            people = [user for user in service.people.by_id.values() if user.org == org]
            programs = [client for client in service.credentials.clients.values() if client.org == org]
            for found, permission in (
                (people, "users.delete"),
                (hub.devices.by_org.get(org), "org_devices.delete"),
                (programs, "clients.delete"),
            ):
                if found:
                    hub.authorize(request.principal, permission, org=org)
            for role in {one.role for one in people} | {one.role for one in programs}:
                service.access.check_gift(request.principal, org, role)

    async def empty(request: Request, org: int) -> None:
        """Erase everything that belongs to an organization."""
        for device in list(hub.devices.by_org.get(org, {}).values()):
            await hub.devices.delete(device, request.principal)
        for client in [client for client in service.credentials.clients.values() if client.org == org]:
            await service.credentials.remove_client(client)
        for user in [user for user in service.people.by_id.values() if user.org == org]:
            await service.erase(user, last=True)

    async def export(request: Request, org_id: int) -> dict[str, Any]:
        """Everything about an organization and those below it, but values and secrets."""
        top = hub.access.organization_for(request, org_id)
        for permission in ("users.view", "users.download"):
            hub.authorize(request.principal, permission, org=top.id)
        return {
            "organizations": [shown(orgs.get(org)) for org in orgs.below(top.id)],
            "users": [service.shown(user) for user in service.people.of_org(top.id)],
            "roles": {
                str(org): {name: sorted(service.roles.grants(org, role)) for role, name in service.roles.names.items()}
                for org in orgs.below(top.id)
            },
            "devices": [
                {
                    "id": device.id,
                    "orgId": device.org,
                    "ownerUserId": device.owner,
                    "name": device.name,
                    "templateId": device.template.id,
                    "metadata": await hub.metadata.values_for(device),
                }
                for device in hub.access.devices_for(request.principal, VIEW_DEVICES, top.id)
            ],
        }

    async def switch(request: Request) -> OrganizationObject:
        user = service.myself(request)
        session = service.credentials.sessions.get(request.principal.session)  # type: ignore[arg-type]
        if session is None:
            raise Forbidden("A key acts in its user's organization.")
        number = request.body.org_id
        allowed = service.access.grants(request.principal) or frozenset()
        if number != user.org and not ("orgs.switch" in allowed and orgs.contains(user.org, number)):
            raise orgs.not_found(number)
        org = orgs.get(number)
        await service.credentials.act_in(session, org.id)
        request.org, request.subject = org.id, f"organization {org.id}"
        return shown(org)

    api = "/api/v1/organization"
    settings = "orgs.settings"
    return [
        Route(
            method,
            api + path,
            handler,
            permission,
            summary,
            body,
            lock="organization" if handler in (edit, rename) else "",
        )
        for method, path, handler, permission, body, summary in (
            ("GET", "/profile", own, AUTHENTICATED, None, "The organization one acts in"),
            ("GET", "", info, settings, None, "One organization"),
            ("GET", "/search", listed, "orgs.view", None, "The organizations below, by a text in their name"),
            ("POST", "/create", create, "orgs.add", NewOrganization, "Make an organization"),
            ("PUT", "", edit, settings, EditOrganization, "Edit an organization"),
            ("PUT", "/edit/name", rename, settings, RenameOrganization, "Rename an organization"),
            ("DELETE", "", delete, "orgs.delete", None, "Delete an organization"),
            ("POST", "/transfer", transfer, "orgs.transfer", MoveOrganization, "Transfer an organization"),
            ("GET", "/export", export, settings, None, "Export an organization's data"),
            ("POST", "/switch", switch, AUTHENTICATED, OrganizationId, "Act in another organization"),
        )
    ]
