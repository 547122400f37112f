"""What the parts of R have in common."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from hub.api import ONLY_HERE, Request, is_only_here
from hub.errors import Forbidden, NotAuthenticated, Rejected, StartupError, StorageError
from hub.facts import ClockRepaired, OrganizationChanged
from hub.model import ROOT_ORG, Principal, System
from hub.structuring import Duration, seconds
from plugins.users.authorization import Access
from plugins.users.credentials import Credentials
from plugins.users.model import ADMIN, User
from plugins.users.oauth_authorize import Consents
from plugins.users.passwords import Passwords, hash_of
from plugins.users.roles import Roles
from plugins.users.schemas import UserObject, UserProfile, more
from plugins.users.throttle import Throttle
from plugins.users.user_store import PAGE, Link, People

if TYPE_CHECKING:
    from hub.app import Hub

log = logging.getLogger(__name__)

#: Seconds between two writes of when sessions and keys were last used.
SAVE_EVERY = 600.0


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.users]``: how long tokens and links last."""

    access: Duration = "1h"
    refresh: Duration = "30d"
    invitation: Duration = "30d"
    reset: Duration = "1d"


class UsersService:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.settings: Settings = hub.settings(Settings)
        self.passwords = Passwords()
        self.throttle = Throttle(hub.storage)
        self.people = People(hub, self.passwords)
        self.roles = Roles(hub)
        self.credentials = Credentials(
            hub, self.people, _ms(self.settings.access, "access"), _ms(self.settings.refresh, "refresh")
        )
        self.access = Access(hub, self.people, self.roles, self.credentials)
        self.consents = Consents(self)
        self.invitation_ms = _ms(self.settings.invitation, "invitation")
        self.reset_ms = _ms(self.settings.reset, "reset")

    async def load(self) -> None:
        await self.roles.load()
        await self.people.load()
        await self.credentials.load()
        await self.throttle.load()
        self.hub.devices.org_of_user = lambda user: found.org if (found := self.people.by_id.get(user)) else None
        self.hub.organizations.add_usage_counter("users", self.people.by_organization)
        self.hub.names["user"] = self._email
        self.hub.user_of = lambda email: (found.id, found.org) if (found := self.people.by_email.get(email)) else None
        self.hub.display.system_of = self._system
        self.hub.names["client"] = self._program
        self.hub.subscribe(OrganizationChanged, self._organization_changed)
        self.hub.subscribe(ClockRepaired, lambda fact: self.credentials.correct_stamps(fact.correction))

    def _organization_changed(self, fact: OrganizationChanged) -> None:
        if fact.gone:
            self.credentials.organization_gone(fact.organization.id)
        self.roles.tell()

    def _system(self, principal: Principal) -> System | None:
        """The system of units that a user has chosen; None when they have what their organization says."""
        user = self.people.by_id.get(principal.id) if principal.kind == "user" else None  # type: ignore[arg-type]
        return None if user is None or user.profile.units == "default" else user.profile.units

    def _email(self, number: str) -> tuple[str, int] | None:
        user = self.people.by_id.get(int(number)) if number.isdecimal() else None
        return None if user is None else (user.email, user.org)

    def _program(self, number: str) -> tuple[str, int] | None:
        client = self.credentials.clients.get(number)
        return None if client is None else (client.name, client.org)

    async def save_used(self) -> None:
        """Write now and then, and at the end, when sessions and keys were last used."""
        try:
            while True:
                await trio.sleep(SAVE_EVERY)
                await self._save_used()
        finally:
            with trio.CancelScope(shield=True):
                await self._save_used()

    async def _save_used(self) -> None:
        # The alarm about the storage says it when this fails, and the next time writes it.
        with suppress(StorageError):
            await self.credentials.save_used()

    async def welcome(self) -> None:
        """Let the first administrator in: from the environment, or by a link that is printed once."""
        if self.people.by_id:
            return
        email, password = os.environ.get("PINWHEEL_ADMIN_EMAIL"), os.environ.get("PINWHEEL_ADMIN_PASSWORD")
        if email and password:
            try:
                hashed = hash_of(email.lower(), password, None)
                await self.add_first(email.lower(), "", hashed)
            except Rejected as error:
                raise StartupError(f"PINWHEEL_ADMIN_EMAIL and PINWHEEL_ADMIN_PASSWORD: {error}") from error
        elif self.hub.listener is not None and sys.stderr.isatty():
            link = self.link(None, await self.people.link(Link.FIRST, None, self.invitation_ms))
            more = f"\n{ONLY_HERE}" if is_only_here(link) else ""
            # Not through the log: a file would keep the code.
            print(f"The first administrator's page: {link}{more}", file=sys.stderr, flush=True)  # noqa: T201
        elif self.hub.listener is not None:
            log.info("users: there is no administrator yet; make one with: pinwheel user add EMAIL --role Admin")

    async def add_first(self, email: str, name: str, hashed: str) -> User:
        """The first administrator: everything in the root. Raises `Rejected`, `Conflict`."""
        user = await self.people.add(User(id=0, org=ROOT_ORG, email=email, name=name, role=ADMIN), hashed)
        await self.people.change(user, developer=True)
        return user

    async def erase(self, user: User, *, last: bool = False) -> None:
        """Delete somebody, and what says who they were; see `People.remove`."""
        await self.people.remove(user, last=last)
        self.credentials.gone(user)
        self.throttle.forget("login", user.email)
        await self.throttle.save()
        await self.hub.forget(Principal("user", user.id, user.org).actor_id)

    def link(self, request: Request | None, code: str) -> str:
        """The address of the page for a code."""
        return self.hub.link(f"{PAGE}?code={code}", request)

    def myself(self, request: Request) -> User:
        """Who is asking, when that is somebody with an account.

        Raises `NotAuthenticated`; `Forbidden` when a key or a program wants to change something about its user.
        """
        user = self.people.by_id.get(request.principal.id) if request.principal.kind == "user" else None  # type: ignore[arg-type]
        if user is None or self.access.grants(request.principal) == frozenset():
            raise NotAuthenticated("This is for somebody who is logged in.")
        by_hand = request.principal.scopes is None and isinstance(request.principal.session, int)
        if request.method != "GET" and not by_hand:
            raise Forbidden("This is for somebody who has logged in themselves, not for a key or a program.")
        request.subject, request.org = f"user {user.id}", user.org
        return user

    def role_of(self, principal: Principal) -> int | None:
        """The role of a user or of an OAuth2 client; None for the hub's own commands."""
        if principal.kind != "user":
            client = self.credentials.clients.get(str(principal.id))
            return client.role if client else None
        return self.people.get(int(principal.id)).role

    def shown(self, user: User) -> UserObject:
        """A user as the API has them."""
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
            status=user.state(self.hub.clock.now()).capitalize(),
            is_dev=user.developer,
            second_factor=user.otp is not None,
            registered_at=user.created,
            last_logged_at=user.last_login,
        )

    def profile(self, user: User) -> UserProfile:
        """A user with all that they say of themselves."""
        return more(UserProfile, self.shown(user), units=user.profile.units, address=user.profile.address)

    def user_for(self, request: Request, number: int, *, gift: bool = False) -> User:
        """The user that a request is about. With ``gift`` the asker must have all that this user's role may.

        Raises `NotFound` also for one in an organization that is none of the asker's business; `Forbidden`.
        """
        user = self.people.get(number)
        if not self.hub.is_allowed(request.principal, request.permission, org=user.org):
            raise self.people.unknown(number)
        if gift:
            self.access.check_gift(request.principal, user.org, user.role)
        request.subject, request.org = f"user {user.id}", user.org
        return user


def _ms(text: str, key: str) -> int:
    try:
        return int(seconds(text) * 1000)
    except ValueError as error:
        raise StartupError(f"plugins.users.{key}: {error}") from error
