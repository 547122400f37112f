"""Users over HTTP: what those who look after others do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

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
    secret,
)
from hub.errors import Forbidden, HubError, Rejected
from hub.model import Organization, Principal
from hub.spellings import nfc
from plugins.users.login_routes import Password, prove, session_shown
from plugins.users.model import ADMIN, USER, Address, Profile, User
from plugins.users.passwords import hash_of
from plugins.users.schemas import InvitedUser, PageLink, UserObject, UserProfile, more, said_of
from plugins.users.user_store import Link

if TYPE_CHECKING:
    from plugins.users.service import UsersService

#: By what users are sorted (docs.blynk.io, Search users).
SortUsers = Literal[
    "User Id",
    "Name",
    "Email",
    "Status",
    "Role",
    "Organization Name",
    "Devices Count",
    "Country",
    "Registered At",
    "Phone Number",
]


@attrs.frozen(kw_only=True)
class _NewPerson:
    email: str = secret()
    name: str = secret(default="")
    title: str | None = None
    nick_name: str | None = secret(default=None)
    phone_number: str | None = secret(default=None)
    locale: str | None = None
    address: Address | None = secret(default=None)  # noqa: RUF009 - a field


@attrs.frozen(kw_only=True)
class NewUser(_NewPerson):
    """With ``password``, or Blynk's hash of it, they can log in at once. ``tz`` is a time zone."""

    role_id: int = USER
    org_id: int | None = None
    password: str | None = secret(default=None)
    password_hash: str | None = secret(default=None)
    tz: str | None = None


@attrs.frozen(kw_only=True)
class NewClient(_NewPerson):
    """With ``password``, or Blynk's hash of it, they can log in at once.

    Their organization is called ``organization_name``, else as they are.
    """

    organization_name: str = ""
    time_zone: str | None = None
    password: str | None = secret(default=None)
    password_hash: str | None = secret(default=None)


@attrs.frozen(kw_only=True)
class Registration:
    email: str = secret()
    locale: str | None = None


@attrs.frozen(kw_only=True)
class Invite(_NewPerson):
    role_id: int = USER
    org_id: int | None = None
    tz: str | None = None


@attrs.frozen(kw_only=True)
class EditUser:
    """What is left out stays."""

    user_id: int
    name: str | None = secret(default=None)
    title: str | None = None
    phone_number: str | None = secret(default=None)
    is_dev: bool | None = None


@attrs.frozen(kw_only=True)
class UserId:
    user_id: int


@attrs.frozen(kw_only=True)
class Suspend:
    user_id: int
    suspended: bool = True


@attrs.frozen(kw_only=True)
class SetPassword:
    user_id: int
    password: str | None = secret(default=None)
    password_hash: str | None = secret(default=None)


@attrs.frozen(kw_only=True)
class TransferUser:
    """With ``devices`` the user's own devices go with them, else they have no owner afterwards."""

    user_id: int
    target_org_id: int
    role_id: int
    devices: bool = False


@attrs.frozen(kw_only=True)
class TransferDevice:
    """Either a user, to whose organization it goes, or an organization; with ``new_user_id`` of 0 it has no owner."""

    device_id: int
    new_user_id: int | None = None
    new_org_id: int | None = None


@attrs.frozen(kw_only=True)
class TransferToOwner:
    """``new_user_id`` of 0 leaves it without an owner."""

    device_id: int
    new_user_id: int


@attrs.frozen(kw_only=True)
class TransferToOrganization:
    device_id: int
    new_org_id: int


def routes(service: UsersService) -> Sequence[Route]:
    hub, people, access, credentials = service.hub, service.people, service.access, service.credentials

    #: Held while a client and their organization are made.
    making = trio.Lock()

    def new_user(request: Request) -> User:
        body: NewUser | Invite = request.body
        org = hub.access.organization_for(request, body.org_id)
        role = service.roles.get(body.role_id)
        access.check_gift(request.principal, org.id, role)
        return person(body, org.id, role)

    def person(body: _NewPerson, org: int, role: int) -> User:
        profile = Profile(**said_of(body))
        return User(id=0, org=org, email=body.email.strip().lower(), name=body.name.strip(), role=role, profile=profile)

    async def create(request: Request) -> Created[UserObject]:
        body: NewUser = request.body
        new = new_user(request)
        made = await people.add(new, hash_of(new.email, body.password, body.password_hash))
        request.subject = f"user {made.id}"
        return Created(value=service.shown(made))

    async def create_client(request: Request) -> None:
        """A client of one's organization has an organization of their own below it, of which they are the Admin.

        Whoever is there already stays as they are.
        """
        async with making:
            await make_client(request)

    async def make_client(request: Request) -> None:
        body: NewClient = request.body
        top = hub.access.organization_for(request)
        if not hub.is_allowed(request.principal, "orgs.add", org=top.id):
            raise Forbidden("This needs the permission orgs.add.")
        access.check_gift(request.principal, top.id, ADMIN)
        new = person(body, top.id, ADMIN)
        hashed = hash_of(new.email, body.password, body.password_hash)
        people.check(new)
        if new.email in people.by_email:
            request.no_change = True
            return
        hub.organizations.check_quota(top.id, "users", people.by_organization())
        name = body.organization_name.strip() or free_name(new.name or new.email.partition("@")[0], top.id)
        templates = frozenset(hub.templates.by_id) if top.templates is None else top.templates
        org = await hub.organizations.add(
            Organization(id=0, name=name, parent=top.id, templates=templates, timezone=body.time_zone),
            request.principal,
        )
        new.org = org.id
        request.partially_applied, request.org = True, org.id
        try:
            made = await people.add(new, hashed)
        except HubError:
            await hub.organizations.remove(org.id, request.principal)
            request.partially_applied = False
            raise
        request.subject = f"user {made.id}"

    def free_name(wanted: str, parent: int) -> str:
        """A name that an organization can have beside others, when nobody says which."""
        name = " ".join(re.sub(r"[^\w .'&-]", " ", wanted).split())[:70] or "Client"
        taken = {org.name for org in hub.organizations.by_id.values() if org.parent == parent}
        return next(one for one in (name, *(f"{name} {n}" for n in range(2, len(taken) + 3))) if one not in taken)

    async def register(request: Request) -> None:
        """A user of one's organization, who has no password yet."""
        body: Registration = request.body
        org = hub.access.organization_for(request)
        access.check_gift(request.principal, org.id, USER)
        profile = Profile(**said_of(body))
        made = await people.add(User(id=0, org=org.id, email=body.email.strip().lower(), profile=profile), None)
        request.subject = f"user {made.id}"

    async def invite(request: Request) -> Created[InvitedUser]:
        made = await people.add(new_user(request), None)
        request.subject = f"user {made.id}"
        code = await people.link(Link.INVITATION, made, service.invitation_ms)
        return Created(value=more(InvitedUser, service.shown(made), link=service.link(request, code)))

    async def reset(request: Request) -> PageLink:
        user = service.user_for(request, request.body.user_id, gift=True)
        kind, lifetime = (
            (Link.INVITATION, service.invitation_ms) if user.password is None else (Link.RESET, service.reset_ms)
        )
        return PageLink(link=service.link(request, await people.link(kind, user, lifetime)))

    async def set_password(request: Request) -> None:
        body: SetPassword = request.body
        user = service.user_for(request, body.user_id, gift=True)
        await people.set_password(user, hash_of(user.email, body.password, body.password_hash))
        await credentials.shut_out(user)

    async def users(
        request: Request,
        *,
        org_id: int | None = None,
        include_sub_org_users: bool = False,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[UserObject]:
        top = hub.access.organization_for(request, org_id).id
        found = [user for user in allowed(request, org_id) if include_sub_org_users or user.org == top]
        return page_of(found, page, size, service.shown)

    async def search(
        request: Request,
        query: str,
        *,
        org_id: int | None = None,
        sort_by: SortUsers = "User Id",
        sort_order: SortOrder = "ASC",
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[UserObject]:
        text = nfc(query).lower()
        found = [u for u in allowed(request, org_id) if text in u.email or text in u.name.lower()]
        visible = hub.access.devices_for(request.principal, VIEW_DEVICES) if sort_by == "Devices Count" else ()
        owned = Counter(device.owner for device in visible)
        keys: dict[SortUsers, Callable[[User], Any]] = {
            "User Id": lambda user: user.id,
            "Name": lambda user: user.name.lower(),
            "Email": lambda user: user.email,
            "Status": lambda user: user.state(hub.clock.now()),
            "Role": lambda user: service.roles.names[user.role].lower(),
            "Organization Name": lambda user: hub.organizations.get(user.org).name.lower(),
            "Devices Count": lambda user: owned[user.id],
            "Country": lambda user: user.profile.address.country.lower(),
            "Registered At": lambda user: user.created,
            "Phone Number": lambda user: user.profile.phone,
        }
        found.sort(key=keys[sort_by], reverse=sort_order == "DESC")
        return page_of(found, page, size, service.shown)

    def allowed(request: Request, org: int | None) -> list[User]:
        """The users of an organization and below whom somebody may see."""
        found = people.of_org(hub.access.organization_for(request, org).id)
        return [user for user in found if hub.is_allowed(request.principal, request.permission, org=user.org)]

    async def user(request: Request, user_id: int) -> UserProfile:
        found = service.user_for(request, user_id)
        request.version(*edited(found))
        return service.profile(found)

    def edited(user: User) -> tuple[Any, ...]:
        """What others may edit of a user."""
        return user.name, user.profile, user.developer

    async def edit(request: Request) -> UserObject:
        body: EditUser = request.body
        found = service.user_for(request, body.user_id, gift=True)
        asker = people.by_id.get(request.principal.id) if request.principal.kind == "user" else None  # type: ignore[arg-type]
        if body.is_dev and request.principal.kind != "local" and (asker is None or not asker.developer):
            raise Forbidden("Only a developer makes others developers.")
        said = said_of(body)
        changes: dict[str, Any] = {"profile": said} if said else {}
        changes |= {} if body.name is None else {"name": body.name.strip()}
        changes |= {} if body.is_dev is None else {"developer": body.is_dev}
        request.expect(*edited(found))
        await people.change(found, **changes)
        request.version(*edited(found))
        return service.shown(found)

    async def set_role(request: Request, user_id: int, role_id: int) -> UserObject:
        found = service.user_for(request, user_id, gift=True)
        role = service.roles.get(role_id)
        if request.principal.kind == "user" and found.id == request.principal.id:
            raise Forbidden("You cannot change your own role.")
        access.check_gift(request.principal, found.org, role)
        await people.change(found, role=role)
        return service.shown(found)

    async def suspend(request: Request) -> None:
        body: Suspend = request.body
        found = service.user_for(request, body.user_id, gift=True)
        await people.change(found, suspended=body.suspended)
        if body.suspended:
            await credentials.end(credentials.of_user(found.id))

    async def force_logout(request: Request) -> None:
        found = service.user_for(request, request.body.user_id, gift=True)
        await credentials.end(credentials.of_user(found.id))

    async def delete(request: Request, user_id: int) -> None:
        found = service.user_for(request, user_id, gift=True)
        await service.erase(found)

    async def delete_oneself(request: Request) -> None:
        found = service.myself(request)
        await prove(service, request, found, request.body.password)
        await service.erase(found)
        # The record of it comes after, and would keep where they came from.
        request.address = ""

    async def transfer(request: Request) -> Created[UserObject]:
        body: TransferUser = request.body
        found = service.user_for(request, body.user_id, gift=True)
        org = hub.access.organization_for(request, body.target_org_id)
        role = service.roles.get(body.role_id)
        if request.principal.kind == "user" and found.id == request.principal.id:
            raise Forbidden("You cannot transfer yourself.")
        access.check_gift(request.principal, org.id, role)
        owned = [device for device in hub.devices.by_id.values() if device.owner == found.id]
        hub.organizations.check_quota(org.id, "users", people.by_organization(), leaving=found.org)
        if body.devices:
            for device in owned:
                hub.devices.check_placement(org.id, device.template, len(owned), leaving=device.org)
        request.partially_applied, request.org, request.transferred_to = True, found.org, org.id
        await people.change(found, org=org.id, role=role)
        for device in owned:
            to, owner = (org.id, found.id) if body.devices else (device.org, None)
            await hub.devices.transfer(device, to, owner, request.principal)
        await credentials.end(credentials.of_user(found.id))
        return Created(value=service.shown(found))

    async def export(request: Request, user_id: int) -> dict[str, Any]:
        """Everything that is kept about one person."""
        found = service.user_for(request, user_id)
        who = Principal("user", found.id, found.org).actor_id
        visible = {device.id for device in hub.access.devices_for(request.principal, VIEW_DEVICES)}
        return {
            "user": service.profile(found),
            "sessions": [session_shown(session) for session in credentials.of_user(found.id)],
            "keys": [key.name for key in credentials.keys.values() if key.user == found.id],
            "devices": [
                {"id": device.id, "name": device.name}
                for device in hub.devices.by_id.values()
                if device.owner == found.id
            ],
            "comments": [
                {"deviceId": device, "ts": comment.ts, "text": comment.text}
                for device, comment in await hub.timeline.comments_by(who)
                if device in visible
            ],
            **await hub.personal_data(who, request.principal),
        }

    # -- whose device it is ---------------------------------------------------------------------------------------

    async def transfer_to_owner(request: Request) -> None:
        body: TransferToOwner = request.body
        await transfer_to(request, TransferDevice(device_id=body.device_id, new_user_id=body.new_user_id))

    async def transfer_to_organization(request: Request) -> None:
        body: TransferToOrganization = request.body
        await transfer_to(request, TransferDevice(device_id=body.device_id, new_org_id=body.new_org_id))

    async def transfer_device(request: Request) -> None:
        await transfer_to(request, request.body)

    async def transfer_to(request: Request, body: TransferDevice) -> None:
        device = hub.access.device_for(request, body.device_id)
        if (body.new_user_id is None) == (body.new_org_id is None):
            raise Rejected("either newUserId or newOrgId is needed")
        if body.new_org_id is not None:
            # Nobody is told more than that it is not theirs.
            if not hub.is_allowed(request.principal, request.permission, org=body.new_org_id):
                raise hub.organizations.not_found(body.new_org_id)
            hub.organizations.get(body.new_org_id)
            new: tuple[int, int | None] = (body.new_org_id, None)
            request.transferred_to = body.new_org_id
        elif not body.new_user_id:
            new = (device.org, None)
        else:
            # A device is where its owner is.
            org = hub.devices.org_of_user(body.new_user_id)
            if org is None or not hub.is_allowed(request.principal, request.permission, org=org):
                raise people.unknown(body.new_user_id)
            new = (org, body.new_user_id)
            request.transferred_to = None if org == device.org else org
        if new == (device.org, device.owner):
            raise Rejected("Can't transfer to the same owner")
        await hub.devices.transfer(device, *new, request.principal)

    async def clear_owner(request: Request, device_id: int) -> None:
        device = hub.access.device_for(request, device_id)
        await hub.devices.transfer(device, device.org, None, request.principal)

    org = "/api/v1/organization"
    return [
        Route(
            method,
            f"{org}/{path}",
            handler,
            permission,
            summary,
            body,
            lock="user" if handler is edit else "",
        )
        for method, path, handler, permission, body, summary in (
            ("GET", "users", users, "users.view", None, "The users of an organization"),
            ("GET", "user", user, "users.view", None, "One user"),
            ("GET", "search/users", search, "users.view", None, "Users by a text in their name or address"),
            ("POST", "users/create", create_client, "users.invite", NewClient, "Make a client with an organization"),
            ("POST", "users/create-in-org", create, "users.invite", NewUser, "Make a user in an organization"),
            ("POST", "users/invite", invite, "users.invite", Invite, "Invite a user"),
            ("POST", "users/register", register, "users.invite", Registration, "Make a user without a password"),
            ("POST", "users/transfer", transfer, "users.transfer", TransferUser, "Transfer a user"),
            ("PUT", "users/role", set_role, "users.edit", None, "Give a user another role"),
            ("PUT", "user", edit, "users.edit", EditUser, "Edit a user"),
            ("DELETE", "user", delete, "users.delete", None, "Delete a user"),
            ("POST", "user/suspend", suspend, "users.suspend", Suspend, "Suspend a user, or take it back"),
            ("POST", "user/logout", force_logout, "users.logout", UserId, "End all sessions of a user"),
            ("POST", "user/reset", reset, "users.password", UserId, "A link for a new password"),
            ("POST", "user/password", set_password, "users.password", SetPassword, "Set a user's password"),
            ("GET", "user/export", export, "users.download", None, "Export a user's personal data"),
            ("POST", "device/transfer", transfer_device, "transfers.devices", TransferDevice, "Transfer a device"),
            (
                "POST",
                "device/transfer/to-owner",
                transfer_to_owner,
                "transfers.devices",
                TransferToOwner,
                "Transfer a device to a user",
            ),
            (
                "POST",
                "device/transfer/to-organization",
                transfer_to_organization,
                "transfers.devices",
                TransferToOrganization,
                "Transfer a device to an organization",
            ),
            ("DELETE", "device/owner", clear_owner, "transfers.devices", None, "Let a device have no owner"),
        )
    ] + [
        Route(
            method="DELETE",
            path="/api/v1/profile",
            handler=delete_oneself,
            body=Password,
            permission=AUTHENTICATED,
            summary="Delete one's own account",
        )
    ]
