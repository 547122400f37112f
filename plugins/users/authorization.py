"""Who presents what, and the rules of tenancy: what they may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import Forbidden, NotAuthenticated
from hub.model import Device, Owned, Principal
from plugins.users.model import Client, Session, User
from plugins.users.user_store import digest

if TYPE_CHECKING:
    from hub.app import Hub
    from plugins.users.credentials import Credentials
    from plugins.users.roles import Roles
    from plugins.users.user_store import People

#: What only people with developer mode do (docs.blynk.io, Developer mode).
DEVELOPERS = frozenset(("templates.edit", "dashboards.edit"))
_NOTHING: frozenset[str] = frozenset()


class Access:
    def __init__(self, hub: Hub, people: People, roles: Roles, credentials: Credentials) -> None:
        self._hub = hub
        self._people = people
        self._roles = roles
        self._credentials = credentials

    def authenticate(self, secret: str) -> Principal | None:
        """Who presents an access token or a key; None when it is nobody's, or no longer."""
        hashed, now = digest(secret), self._hub.clock.now()
        if session := self._credentials.by_access.get(hashed):
            if session.access_ends <= now:
                raise NotAuthenticated("The access token has expired.")
            session.used = now
            return self._principal(session)
        key = self._credentials.by_key.get(hashed)
        user = None if key is None else self._people.by_id.get(key.user)
        if key is None or user is None or user.suspended or (key.expires is not None and key.expires <= now):
            return None
        key.used = now
        return Principal("user", user.id, user.org, user.email, key.scopes, f"key {key.id}")

    def authenticate_client(self, number: str, secret: str) -> Principal | None:
        """The program with that id and secret, for as long as it is there."""
        client = self._credentials.client_of(number, secret)
        return None if client is None else Principal("client", client.id, client.org, client.name, None, "secret")

    def _principal(self, session: Session) -> Principal | None:
        client = None if session.client is None else self._credentials.clients.get(session.client)
        if session.user is None:
            return None if client is None else Principal("client", client.id, client.org, client.name, None, session.id)
        user = self._people.by_id.get(session.user)
        if user is None or user.suspended or (client is None and session.client is not None):
            return None
        org = self._session_org(user, session)
        if org is None:
            return None
        scopes = None if client is None else self._roles.grants(client.org, client.role)
        return Principal("user", user.id, org, user.email, scopes, session.id)

    def organization_through(self, client: Client, user: User, org: int | None = None) -> int | None:
        """The organization in which an OAuth client acts for a user who acts in ``org``, by default their own.

        It is always the client's own or one below: for users from above, who may see what is below them, the client's
        own. None when the user has no place there, so that the client can do nothing for them.
        """
        org = user.org if org is None else org
        if self._hub.organizations.contains(client.org, org):
            return org
        above = self._hub.organizations.contains(org, client.org)
        return client.org if above and "orgs.view" in self._roles.grants(user.org, user.role) else None

    def _session_org(self, user: User, session: Session) -> int | None:
        """The organization in which a user's session acts; None when it is an OAuth client's that may not.

        It is the organization that the session was switched to as long as the user may be there, else their own.
        """
        org = session.org
        if org != user.org:
            may = "orgs.switch" in self._roles.grants(user.org, user.role)
            if not may or not self._hub.organizations.contains(user.org, org):
                org = user.org
        if session.client is None:
            return org
        client = self._credentials.clients.get(session.client)
        return None if client is None else self.organization_through(client, user, org)

    def org_of(self, principal: Principal) -> int | None:
        """Where somebody acts now, whatever was so when they came in; None when they can act nowhere any more."""
        if principal.kind == "client":
            client = self._credentials.clients.get(str(principal.id))
            return principal.org if client is None else client.org
        user = self._people.by_id.get(principal.id)  # type: ignore[arg-type]
        session = self._credentials.sessions.get(principal.session)  # type: ignore[arg-type]
        if user is None:
            return principal.org
        return user.org if session is None else self._session_org(user, session)

    def grants(self, principal: Principal) -> frozenset[str] | None:
        """All that somebody may; None when they are not known here."""
        if principal.kind == "user":
            user = self._people.by_id.get(principal.id)  # type: ignore[arg-type]
            if user is None or user.suspended or not self._alive(principal):
                return _NOTHING
            granted = self._roles.grants(user.org, user.role)
            if not user.developer:
                granted -= DEVELOPERS
            granted = self._within_client(granted, user, principal)
        elif principal.kind == "client":
            client = self._credentials.clients.get(str(principal.id))
            if client is None or not self._alive(principal):
                return _NOTHING
            granted = self._roles.grants(client.org, client.role) - DEVELOPERS
        else:
            return None
        return granted if principal.scopes is None else granted & principal.scopes

    def _within_client(self, granted: frozenset[str], user: User, principal: Principal) -> frozenset[str]:
        """What is left of a user's rights in the session of an OAuth client.

        A client can never grant more than its own role does now, and nothing to a user who has no place in its
        organization.
        """
        session = self._credentials.sessions.get(principal.session)  # type: ignore[arg-type]
        if session is None or session.client is None:
            return granted
        client = self._credentials.clients.get(session.client)
        if client is None or self._session_org(user, session) is None:
            return _NOTHING
        return granted & self._roles.grants(client.org, client.role)

    def _alive(self, principal: Principal) -> bool:
        number, now = principal.session, self._hub.clock.now()
        if number == "secret":
            return str(principal.id) in self._credentials.clients
        if isinstance(number, int):
            session = self._credentials.sessions.get(number)
            return session is not None and session.refresh_ends > now
        text = number.removeprefix("key ")
        key = self._credentials.keys.get(int(text)) if text.isdecimal() else None
        return key is not None and (key.expires is None or key.expires > now)

    def allows(self, principal: Principal, permission: str, device: Owned | None, org: int | None) -> bool | None:
        """Whether somebody may; None when they are not known here.

        Whoever acts in an organization reaches what is in it, and with View Sub Organizations what is below it.
        On a device they need the permission, or for their own the one for own devices, and to see it at all.
        """
        granted = self.grants(principal)
        if granted is None:
            return None
        known = self._roles.known.get(permission)
        own = known.own if known else ""
        if org is None:
            return permission in granted or own in granted
        top = self.org_of(principal)
        below = top is not None and "orgs.view" in granted and self._hub.organizations.contains(top, org)
        if org != top and not below:
            return False
        if device is None:
            return permission in granted or own in granted
        group = "devices" if isinstance(device, Device) else permission.partition(".")[0].removeprefix("org_")
        if permission in granted and f"org_{group}.view" in granted:
            return True
        if principal.kind != "user" or not device.is_of(principal.id) or f"own_{group}.view" not in granted:
            return False
        return (own or permission) in granted

    def check_gift(self, principal: Principal, org: int, role: int) -> None:
        """Nobody gives more than they have: a role may be given, or taken, by who may all that it may.

        Raises `Forbidden`.
        """
        granted = self.grants(principal)
        if granted is not None and (more := self._roles.grants(org, role) - granted - DEVELOPERS):
            what = min(more)
            raise Forbidden(f"The role {self._roles.names[role]} may what you may not, such as {what}.")
