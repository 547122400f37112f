"""`UsersService`: composes the parts of this plugin, and has the operations that need several of them."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from hub import (
    ROOT_ORG,
    ClockRepaired,
    HubError,
    OrganizationChanged,
    Principal,
    Rejected,
    Request,
    StartupError,
    StorageError,
)
from hub.api import ONLY_HERE, is_only_here
from hub.domain import Message, NoChannel, Recipient
from hub.parsing.timezones import readable
from plugins.users.account_links import PAGE, AccountLink, AccountLinks
from plugins.users.authentication import Authentication
from plugins.users.authorization import Authorization
from plugins.users.authorization_codes import AuthorizationCodes
from plugins.users.credentials import Credentials
from plugins.users.directory import UsersDirectory
from plugins.users.model import ADMIN, User
from plugins.users.passwords import Passwords, to_blynk_hash
from plugins.users.roles import Roles
from plugins.users.schemas import PageLink, UserObject, UserProfile, extend
from plugins.users.settings import Settings
from plugins.users.throttle import Throttle
from plugins.users.totp import TwoFactor
from plugins.users.user_store import UserStore

if TYPE_CHECKING:
    from hub import Hub

log = logging.getLogger(__name__)

#: Seconds between two writes of when sessions and keys were last used.
SAVE_EVERY = 600.0
#: The kinds of links that messages have, by the kinds of messages.
_LINK_OF_MESSAGE = {
    "invitation": AccountLink.INVITATION,
    "registration": AccountLink.INVITATION,
    "new-password": AccountLink.RESET,
}


class UsersService:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.settings: Settings = hub.settings(Settings)
        self.passwords = Passwords()
        self.throttle = Throttle(hub.storage, hub.clock)
        self.users = UserStore(hub, self.passwords)
        self.links = AccountLinks(hub, self.users)
        self.roles = Roles(hub)
        access_ms, refresh_ms = self.settings.milliseconds("access"), self.settings.milliseconds("refresh")
        self.credentials = Credentials(hub, self.users, access_ms, refresh_ms)
        self.two_factor = TwoFactor(hub.storage, self.users, hub.clock)
        self.authorization = Authorization(hub, self.users, self.roles, self.credentials)
        self.authentication = Authentication(
            hub,
            self.users,
            self.roles,
            self.credentials,
            self.authorization,
            self.passwords,
            self.two_factor,
            self.throttle,
        )
        self.directory = UsersDirectory(self.users, self.roles, self.credentials)
        self.authorization_codes = AuthorizationCodes(self.users, self.credentials, hub.clock)
        self.invitation_ms = self.settings.milliseconds("invitation")
        self.reset_ms = self.settings.milliseconds("reset")

    async def load(self) -> None:
        """Load everything from the database, and subscribe to what changes it."""
        await self.roles.load()
        await self.users.load()
        await self.credentials.load()
        await self.throttle.load()
        self.hub.subscribe(OrganizationChanged, self._on_organization_changed)
        self.hub.subscribe(ClockRepaired, self._on_clock_repaired)

    def _on_organization_changed(self, fact: OrganizationChanged) -> None:
        if fact.gone:
            self.credentials.forget_organization(fact.organization.id)
        self.roles.invalidate()

    def _on_clock_repaired(self, fact: ClockRepaired) -> None:
        self.users.correct_stamps(fact.correction)
        self.credentials.correct_stamps(fact.correction)

    # -- tasks and start ------------------------------------------------------------------------------------------

    async def run_saver(self) -> None:
        """Write every `SAVE_EVERY` seconds, and when cancelled, when sessions and keys were last used."""
        try:
            while True:
                await trio.sleep(SAVE_EVERY)
                await self._save_last_used()
        finally:
            with trio.CancelScope(shield=True):
                await self._save_last_used()

    async def _save_last_used(self) -> None:
        # A failure raises the alarm about the storage, and the next write repeats this one.
        with suppress(StorageError):
            await self.credentials.save_last_used()

    async def welcome(self) -> None:
        """Let the first administrator in: from the environment, or by a link that is printed once."""
        if self.users.by_id:
            return
        email, password = os.environ.get("PINWHEEL_ADMIN_EMAIL"), os.environ.get("PINWHEEL_ADMIN_PASSWORD")
        if email and password:
            try:
                hashed = to_blynk_hash(email.lower(), password, None)
                await self.add_first_administrator(email.lower(), "", hashed)
            except Rejected as error:
                raise StartupError(f"PINWHEEL_ADMIN_EMAIL and PINWHEEL_ADMIN_PASSWORD: {error}") from error
        elif self.hub.listener is not None and sys.stderr.isatty():
            code = await self.links.create(AccountLink.FIRST, None, self.invitation_ms)
            url = self.account_url(None, code)
            hint = f"\n{ONLY_HERE}" if is_only_here(url) else ""
            # Not through the log: a log file would keep the code.
            print(f"The first administrator's page: {url}{hint}", file=sys.stderr, flush=True)  # noqa: T201
        elif self.hub.listener is not None:
            log.info("users: there is no administrator yet; make one with: pinwheel user add EMAIL --role Admin")

    # -- users and roles ------------------------------------------------------------------------------------------

    async def add_first_administrator(self, email: str, name: str, hashed: str) -> User:
        """Add an Admin of the root organization with developer mode. Raises `Rejected`, `Conflict`."""
        user = await self.users.add(User(id=0, org=ROOT_ORG, email=email, name=name, role=ADMIN), hashed)
        await self.users.change(user, developer=True)
        return user

    async def erase(self, user: User, *, allow_last_admin: bool = False) -> None:
        """Delete a user and their personal data; see `UserStore.remove`."""
        await self.users.remove(user, allow_last_admin=allow_last_admin)
        self.credentials.forget_user(user)
        self.throttle.forget("login", user.email)
        await self.throttle.save()
        await self.hub.erase_personal_data(Principal("user", user.id, user.org).actor_id)

    async def remove_role(self, role: int, replacement: int) -> None:
        """Delete a role; users and clients who have it get the replacement. Raises `Rejected`."""
        await self.roles.remove(role, replacement)
        self.users.replace_role(role, replacement)
        self.credentials.replace_role(role, replacement)
        self.roles.invalidate()

    def role_of(self, principal: Principal) -> int | None:
        """Return the role of a user or of an OAuth2 client; None for other principals."""
        if principal.kind != "user":
            client = self.credentials.clients.get(str(principal.id))
            return client.role if client else None
        return self.users.get(int(principal.id)).role

    # -- for routes -----------------------------------------------------------------------------------------------

    def account_url(self, request: Request | None, code: str) -> str:
        """Return the address of the page for an account link's code, for the reader of the answer to ``request``."""
        return self.hub.link(f"{PAGE}?code={code}", request)

    async def offer_link(self, request: Request, kind: str, user: User, lifetime_ms: int) -> PageLink:
        """Create a link for a user, and mail it to them; without mail it is in the answer to ``request``.

        A link that is mailed is nobody's but the reader's. Raises `Unavailable`, `StorageError`, when the mail could
        not be queued.
        """
        code = await self.links.create(_LINK_OF_MESSAGE[kind], user, lifetime_ms)
        link = self.account_url(request, code)
        expires = readable(user.profile.timezone or self.hub.config.hub.timezone, self.hub.clock.now() + lifetime_ms)
        try:
            await self._send(kind, user, link=link, expires=expires)
        except NoChannel:
            return PageLink(link=link)
        return PageLink(mailed_to=user.email)

    async def notify(self, kind: str, user: User, **data: str) -> None:
        """Mail a user what has happened to their account, if there is mail. A failure does not undo what happened."""
        try:
            await self._send(kind, user, **data)
        except NoChannel:
            pass
        except HubError as error:
            log.warning("users: the message %s to user %d was not sent: %s", kind, user.id, error)

    async def _send(self, kind: str, user: User, **data: str) -> None:
        place = {
            "organization": self.hub.organizations.get(user.org).name,
            "role": self.roles.names[user.role],
            "time": readable(user.profile.timezone or self.hub.config.hub.timezone, self.hub.clock.now()),
        }
        recipient = Recipient(user.email, user.name, user.profile.locale, user.id)
        await self.hub.messages.send(Message(kind, recipient, {**place, **data}))

    def user_for(self, request: Request, user_id: int, *, check_grantable: bool = False) -> User:
        """Return the user that a request is about, and make them its subject.

        With ``check_grantable`` the caller must have all permissions of the user's role. Raises `NotFound`, also for a
        user in an organization where the caller does not have the route's permission; `Forbidden`.
        """
        user = self.users.get(user_id)
        if not self.hub.is_allowed(request.principal, request.permission, org=user.org):
            raise self.users.unknown(user_id)
        if check_grantable:
            self.authorization.check_grantable(request.principal, user.org, user.role)
        request.subject, request.org = f"user {user.id}", user.org
        return user

    def user_object(self, user: User) -> UserObject:
        return UserObject(
            id=user.id,
            email=user.email,
            name=user.name,
            title=user.profile.title,
            nick_name=user.profile.nickname,
            phone_number=user.profile.phone,
            org_id=user.org,
            role_id=user.role,
            role=self.roles.names[user.role],
            tz=user.profile.timezone,
            locale=user.profile.locale,
            status=user.status(self.hub.clock.now()).capitalize(),
            is_dev=user.developer,
            second_factor=user.otp is not None,
            registered_at=user.created,
            last_logged_at=user.last_login,
        )

    def user_profile(self, user: User) -> UserProfile:
        return extend(UserProfile, self.user_object(user), units=user.profile.units, address=user.profile.address)
