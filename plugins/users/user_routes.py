"""Routes of the users of organizations, for those who administer them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from hub import Created, Device, Forbidden, HubError, Organization, Principal, Request, Route, Unavailable, secret
from hub.api import PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, SortOrder, page_of
from hub.parsing.spellings import nfc
from plugins.users.client_settings import settings_of
from plugins.users.model import ADMIN, USER, Address, Profile, User
from plugins.users.passwords import to_blynk_hash
from plugins.users.schemas import (
    InvitedUser,
    PageLink,
    UserObject,
    UserProfile,
    extend,
    profile_fields,
    session_object,
)

if TYPE_CHECKING:
    from plugins.users.service import UsersService

#: Keys by which users are sorted (docs.blynk.io, Search users).
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
class _UserFields:
    email: str = secret()
    name: str = secret(default="")
    title: str | None = None
    nick_name: str | None = secret(default=None)
    phone_number: str | None = secret(default=None)
    locale: str | None = None
    address: Address | None = secret(default=None)  # noqa: RUF009 - a field


@attrs.frozen(kw_only=True)
class NewUser(_UserFields):
    """With ``password``, or Blynk's hash of it, the user can log in at once. ``tz`` is a time zone."""

    role_id: int = USER
    org_id: int | None = None
    password: str | None = secret(default=None)
    password_hash: str | None = secret(default=None)
    tz: str | None = None


@attrs.frozen(kw_only=True)
class NewClient(_UserFields):
    """With ``password``, or Blynk's hash of it, the client can log in at once.

    Their organization is named ``organization_name``, by default after the client.
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
class Invite(_UserFields):
    role_id: int = USER
    org_id: int | None = None
    tz: str | None = None


@attrs.frozen(kw_only=True)
class EditUser:
    """Fields that are left out stay as they are."""

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
    """With ``devices`` the user's own devices are transferred too, otherwise they have no owner afterwards."""

    user_id: int
    target_org_id: int
    role_id: int
    devices: bool = False


class UserRoutes:
    def __init__(self, service: UsersService) -> None:
        self._service = service
        self._hub = service.hub
        self._users = service.users
        self._roles = service.roles
        self._credentials = service.credentials
        self._authorization = service.authorization
        #: Held while a client and their organization are added.
        self._adding_client = trio.Lock()

    # -- adding ---------------------------------------------------------------------------------------------------

    def _new_user(self, request: Request) -> User:
        """Return the user to add of a body with an organization and a role. Raises `Forbidden`, `NotFound`."""
        body: NewUser | Invite = request.body
        org = self._hub.access.organization_for(request, body.org_id)
        role = self._roles.require(body.role_id)
        self._authorization.check_grantable(request.principal, org.id, role)
        return _user_of(body, org.id, role)

    async def create(self, request: Request) -> Created[UserObject]:
        body: NewUser = request.body
        new = self._new_user(request)
        user = await self._users.add(new, to_blynk_hash(new.email, body.password, body.password_hash))
        request.subject = f"user {user.id}"
        return Created(value=self._service.user_object(user))

    async def create_client(self, request: Request) -> None:
        """Add a client of the caller's organization, with an organization of their own below it, as its Admin.

        Does nothing for an e-mail address that is in use.
        """
        async with self._adding_client:
            await self._add_client(request)

    async def _add_client(self, request: Request) -> None:
        body: NewClient = request.body
        top = self._hub.access.organization_for(request)
        if not self._hub.is_allowed(request.principal, "orgs.add", org=top.id):
            raise Forbidden("This needs the permission orgs.add.")
        self._authorization.check_grantable(request.principal, top.id, ADMIN)
        new = _user_of(body, top.id, ADMIN)
        hashed = to_blynk_hash(new.email, body.password, body.password_hash)
        self._users.validate(new)
        if new.email in self._users.by_email:
            request.no_change = True
            return
        self._hub.organizations.check_quota(top.id, "users", self._users.count_by_organization())
        name = body.organization_name.strip() or self._free_name(new.name or new.email.partition("@")[0], top.id)
        templates = frozenset(self._hub.templates.by_id) if top.templates is None else top.templates
        org = await self._hub.organizations.add(
            Organization(id=0, name=name, parent=top.id, templates=templates, timezone=body.time_zone),
            request.principal,
        )
        new.org = org.id
        request.partially_applied, request.org = True, org.id
        try:
            user = await self._users.add(new, hashed)
        except HubError:
            await self._hub.organizations.remove(org.id, request.principal)
            request.partially_applied = False
            raise
        request.subject = f"user {user.id}"

    def _free_name(self, wanted: str, parent: int) -> str:
        """Return an acceptable name for an organization that no sibling has, from a user's name."""
        name = " ".join(re.sub(r"[^\w .'&-]", " ", wanted).split())[:70] or "Client"
        taken = {org.name for org in self._hub.organizations.by_id.values() if org.parent == parent}
        numbered = (f"{name} {number}" for number in range(2, len(taken) + 3))
        return next(candidate for candidate in (name, *numbered) if candidate not in taken)

    async def register(self, request: Request) -> None:
        """Add a user to the caller's organization, without a password."""
        body: Registration = request.body
        org = self._hub.access.organization_for(request)
        self._authorization.check_grantable(request.principal, org.id, USER)
        profile = Profile(**profile_fields(body))
        user = await self._users.add(User(id=0, org=org.id, email=body.email.strip().lower(), profile=profile), None)
        request.subject = f"user {user.id}"
        if self._hub.messages.channels:
            request.partially_applied = True
            await self._offer_link(request, "registration", user)

    async def invite(self, request: Request) -> Created[InvitedUser]:
        service = self._service
        user = await self._users.add(self._new_user(request), None)
        request.subject, request.partially_applied = f"user {user.id}", True
        offered = await self._offer_link(request, "invitation", user)
        user_object = service.user_object(user)
        return Created(value=extend(InvitedUser, user_object, link=offered.link, mailed_to=offered.mailed_to))

    async def _offer_link(self, request: Request, kind: str, user: User) -> PageLink:
        """Create the first link of a user who has been added, and mail it if there is mail. Raises `Unavailable`."""
        try:
            return await self._service.offer_link(request, kind, user, self._service.invitation_ms)
        except HubError as error:
            raise Unavailable(
                f"The user was added, but has no link yet: {error} Request one with organization/user/reset, or"
                f" pinwheel user reset-password {user.email}."
            ) from error

    # -- passwords ------------------------------------------------------------------------------------------------

    async def reset_password(self, request: Request) -> PageLink:
        service = self._service
        user = service.user_for(request, request.body.user_id, check_grantable=True)
        if user.password is None:
            return await service.offer_link(request, "invitation", user, service.invitation_ms)
        return await service.offer_link(request, "new-password", user, service.reset_ms)

    async def set_password(self, request: Request) -> None:
        body: SetPassword = request.body
        user = self._service.user_for(request, body.user_id, check_grantable=True)
        await self._users.set_password(user, to_blynk_hash(user.email, body.password, body.password_hash))
        await self._credentials.revoke_all(user)
        await self._service.notify("password-changed", user)

    # -- reading --------------------------------------------------------------------------------------------------

    async def users(
        self,
        request: Request,
        *,
        org_id: int | None = None,
        include_sub_org_users: bool = False,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[UserObject]:
        top = self._hub.access.organization_for(request, org_id).id
        users = [user for user in self._visible_users(request, org_id) if include_sub_org_users or user.org == top]
        return page_of(users, page, size, self._service.user_object)

    async def search(
        self,
        request: Request,
        query: str,
        *,
        org_id: int | None = None,
        sort_by: SortUsers = "User Id",
        sort_order: SortOrder = "ASC",
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[UserObject]:
        hub, text = self._hub, nfc(query).lower()
        visible = self._visible_users(request, org_id)
        matches = [user for user in visible if text in user.email or text in user.name.lower()]
        devices = hub.access.devices_for(request.principal, VIEW_DEVICES) if sort_by == "Devices Count" else ()
        devices_by_owner = Counter(device.owner for device in devices)
        keys: dict[SortUsers, Callable[[User], Any]] = {
            "User Id": lambda user: user.id,
            "Name": lambda user: user.name.lower(),
            "Email": lambda user: user.email,
            "Status": lambda user: user.status(hub.clock.now()),
            "Role": lambda user: self._roles.names[user.role].lower(),
            "Organization Name": lambda user: hub.organizations.get(user.org).name.lower(),
            "Devices Count": lambda user: devices_by_owner[user.id],
            "Country": lambda user: user.profile.address.country.lower(),
            "Registered At": lambda user: user.created,
            "Phone Number": lambda user: user.profile.phone,
        }
        matches.sort(key=keys[sort_by], reverse=sort_order == "DESC")
        return page_of(matches, page, size, self._service.user_object)

    def _visible_users(self, request: Request, org_id: int | None) -> list[User]:
        """Return the users of an organization and below for whom the caller has the route's permission."""
        users = self._users.in_and_below(self._hub.access.organization_for(request, org_id).id)
        return [user for user in users if self._hub.is_allowed(request.principal, request.permission, org=user.org)]

    async def info(self, request: Request, user_id: int) -> UserProfile:
        user = self._service.user_for(request, user_id)
        request.version(*_editable_fields(user))
        return self._service.user_profile(user)

    async def export(self, request: Request, user_id: int) -> dict[str, Any]:
        """All data about a user."""
        user = self._service.user_for(request, user_id)
        actor_id = Principal("user", user.id, user.org).actor_id
        visible = {device.id for device in self._hub.access.devices_for(request.principal, VIEW_DEVICES)}
        return {
            "user": self._service.user_profile(user),
            "sessions": [session_object(session) for session in self._credentials.sessions_of(user.id)],
            "settings": await settings_of(self._hub, user.id),
            "keys": [key.name for key in self._credentials.keys_of(user.id)],
            "devices": [{"id": device.id, "name": device.name} for device in self._owned_devices(user)],
            "comments": [
                {"deviceId": device, "ts": comment.ts, "text": comment.text}
                for device, comment in await self._hub.timeline.comments_by(actor_id)
                if device in visible
            ],
            **await self._hub.export_personal_data(actor_id, request.principal),
        }

    def _owned_devices(self, user: User) -> list[Device]:
        return [device for device in self._hub.devices.by_id.values() if device.owner == user.id]

    # -- changing -------------------------------------------------------------------------------------------------

    async def edit(self, request: Request) -> UserObject:
        body: EditUser = request.body
        user = self._service.user_for(request, body.user_id, check_grantable=True)
        principal = request.principal
        caller = self._users.by_id.get(principal.id) if principal.kind == "user" else None  # type: ignore[arg-type]
        if body.is_dev and principal.kind != "local" and (caller is None or not caller.developer):
            raise Forbidden("Only a user in developer mode can give it to others.")
        profile = profile_fields(body)
        changes: dict[str, Any] = {"profile": profile} if profile else {}
        changes |= {} if body.name is None else {"name": body.name.strip()}
        changes |= {} if body.is_dev is None else {"developer": body.is_dev}
        request.expect(*_editable_fields(user))
        await self._users.change(user, **changes)
        request.version(*_editable_fields(user))
        return self._service.user_object(user)

    async def set_role(self, request: Request, user_id: int, role_id: int) -> UserObject:
        user = self._service.user_for(request, user_id, check_grantable=True)
        role = self._roles.require(role_id)
        if request.principal.kind == "user" and user.id == request.principal.id:
            raise Forbidden("You cannot change your own role.")
        self._authorization.check_grantable(request.principal, user.org, role)
        await self._users.change(user, role=role)
        return self._service.user_object(user)

    async def suspend(self, request: Request) -> None:
        body: Suspend = request.body
        user = self._service.user_for(request, body.user_id, check_grantable=True)
        await self._users.change(user, suspended=body.suspended)
        if body.suspended:
            await self._credentials.end(self._credentials.sessions_of(user.id))

    async def force_logout(self, request: Request) -> None:
        user = self._service.user_for(request, request.body.user_id, check_grantable=True)
        await self._credentials.end(self._credentials.sessions_of(user.id))

    async def delete(self, request: Request, user_id: int) -> None:
        user = self._service.user_for(request, user_id, check_grantable=True)
        await self._service.erase(user)

    async def transfer(self, request: Request) -> Created[UserObject]:
        hub = self._hub
        body: TransferUser = request.body
        user = self._service.user_for(request, body.user_id, check_grantable=True)
        org = hub.access.organization_for(request, body.target_org_id)
        role = self._roles.require(body.role_id)
        if request.principal.kind == "user" and user.id == request.principal.id:
            raise Forbidden("You cannot transfer yourself.")
        self._authorization.check_grantable(request.principal, org.id, role)
        owned = self._owned_devices(user)
        hub.organizations.check_quota(org.id, "users", self._users.count_by_organization(), leaving=user.org)
        if body.devices:
            for device in owned:
                hub.devices.check_placement(org.id, device.template, len(owned), leaving=device.org)
        request.partially_applied, request.org, request.transferred_to = True, user.org, org.id
        await self._users.change(user, org=org.id, role=role)
        for device in owned:
            target_org, owner = (org.id, user.id) if body.devices else (device.org, None)
            await hub.devices.transfer(device, target_org, owner, request.principal)
        await self._credentials.end(self._credentials.sessions_of(user.id))
        await self._service.notify("transfer", user)
        return Created(value=self._service.user_object(user))


def _user_of(body: _UserFields, org: int, role: int) -> User:
    """Return the user to add, whose id is assigned later."""
    email, name, profile = body.email.strip().lower(), body.name.strip(), Profile(**profile_fields(body))
    return User(id=0, org=org, email=email, name=name, role=role, profile=profile)


def _editable_fields(user: User) -> tuple[Any, ...]:
    """Return the fields that others can edit, for the version of the answer."""
    return user.name, user.profile, user.developer


def routes(service: UsersService) -> Sequence[Route]:
    api = UserRoutes(service)
    org = "/api/v1/organization"
    view, invite, edit, password = "users.view", "users.invite", "users.edit", "users.password"
    search, client = "Search users by name or e-mail address", "Create a client with an organization"
    create, register = "Create a user in an organization", "Create a user without a password"
    return [
        Route("GET", f"{org}/users", api.users, view, "The users of an organization"),
        Route("GET", f"{org}/user", api.info, view, "One user"),
        Route("GET", f"{org}/search/users", api.search, view, search),
        Route("POST", f"{org}/users/create", api.create_client, invite, client, NewClient),
        Route("POST", f"{org}/users/create-in-org", api.create, invite, create, NewUser),
        Route("POST", f"{org}/users/invite", api.invite, invite, "Invite a user", Invite),
        Route("POST", f"{org}/users/register", api.register, invite, register, Registration),
        Route("POST", f"{org}/users/transfer", api.transfer, "users.transfer", "Transfer a user", TransferUser),
        Route("PUT", f"{org}/users/role", api.set_role, edit, "Change a user's role"),
        Route("PUT", f"{org}/user", api.edit, edit, "Edit a user", EditUser, lock="user"),
        Route("DELETE", f"{org}/user", api.delete, "users.delete", "Delete a user"),
        Route(
            "POST",
            f"{org}/user/suspend",
            api.suspend,
            "users.suspend",
            "Suspend a user, or lift the suspension",
            Suspend,
        ),
        Route("POST", f"{org}/user/logout", api.force_logout, "users.logout", "End all sessions of a user", UserId),
        Route("POST", f"{org}/user/reset", api.reset_password, password, "Create a link for a new password", UserId),
        Route("POST", f"{org}/user/password", api.set_password, password, "Set a user's password", SetPassword),
        Route("GET", f"{org}/user/export", api.export, "users.download", "Export a user's personal data"),
    ]
