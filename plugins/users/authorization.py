"""The rules of tenancy: which permissions a principal has, and where.

A user, or a client, acts in an organization and reaches what belongs to it; with View Sub Organizations also what
belongs to the organizations below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub import Device, Forbidden, Owned, Principal
from plugins.users.model import ApiSession, RegisteredClient, User

if TYPE_CHECKING:
    from hub import Hub
    from plugins.users.credentials import Credentials
    from plugins.users.roles import Roles
    from plugins.users.user_store import UserStore

#: Permissions that only users in developer mode have (docs.blynk.io, Developer mode): those with ``developer``.
DEVELOPERS = frozenset(("templates.edit", "dashboards.edit"))
_NOTHING: frozenset[str] = frozenset()


class Authorization:
    def __init__(self, hub: Hub, users: UserStore, roles: Roles, credentials: Credentials) -> None:
        self._hub = hub
        self._users = users
        self._roles = roles
        self._credentials = credentials

    # -- where a principal acts -----------------------------------------------------------------------------------

    def client_organization(self, client: RegisteredClient, user: User, org: int | None = None) -> int | None:
        """Return the organization in which a client acts for a user who acts in ``org``, by default the user's own.

        It is always the client's own or one below: for users from above, who may see what is below them, the client's
        own. None when the user has no place there, so that the client can do nothing for them.
        """
        org = user.org if org is None else org
        if self._hub.organizations.contains(client.org, org):
            return org
        above = self._hub.organizations.contains(org, client.org)
        return client.org if above and "orgs.view" in self._roles.grants(user.org, user.role) else None

    def session_organization(self, user: User, session: ApiSession) -> int | None:
        """Return the organization in which a user's session acts; None when its client may not act for the user.

        It is the organization that the session was switched to while the user may be there, else the user's own.
        """
        org = session.org
        if org != user.org:
            may_switch = "orgs.switch" in self._roles.grants(user.org, user.role)
            if not may_switch or not self._hub.organizations.contains(user.org, org):
                org = user.org
        if session.client is None:
            return org
        client = self._credentials.clients.get(session.client)
        return None if client is None else self.client_organization(client, user, org)

    def organization_of(self, principal: Principal) -> int | None:
        """Return the organization in which a principal acts now; it may have changed since the principal was created.

        None when the principal can act nowhere any more.
        """
        if principal.kind == "client":
            client = self._credentials.clients.get(str(principal.id))
            return principal.org if client is None else client.org
        user = self._users.by_id.get(principal.id)  # type: ignore[arg-type]
        session = self._credentials.sessions.get(principal.session)  # type: ignore[arg-type]
        if user is None:
            return principal.org
        return user.org if session is None else self.session_organization(user, session)

    # -- what a principal may do ----------------------------------------------------------------------------------

    def grants(self, principal: Principal) -> frozenset[str] | None:
        """Return all permissions of a principal; None when it is neither a user nor a client."""
        if principal.kind == "user":
            user = self._users.by_id.get(principal.id)  # type: ignore[arg-type]
            if user is None or user.suspended or not self._is_valid(principal):
                return _NOTHING
            granted = self._roles.grants(user.org, user.role)
            if not user.developer:
                granted -= DEVELOPERS
            granted = self._within_client(granted, user, principal)
        elif principal.kind == "client":
            client = self._credentials.clients.get(str(principal.id))
            if client is None or not self._is_valid(principal):
                return _NOTHING
            granted = self._roles.grants(client.org, client.role) - DEVELOPERS
        else:
            return None
        return granted if principal.scopes is None else granted & principal.scopes

    def _within_client(self, granted: frozenset[str], user: User, principal: Principal) -> frozenset[str]:
        """Intersect a user's permissions with those of the client whose session it is, if any.

        A client can never grant more than its own role does now, and nothing to a user who has no place in its
        organization.
        """
        session = self._credentials.sessions.get(principal.session)  # type: ignore[arg-type]
        if session is None or session.client is None:
            return granted
        client = self._credentials.clients.get(session.client)
        if client is None or self.session_organization(user, session) is None:
            return _NOTHING
        return granted & self._roles.grants(client.org, client.role)

    def _is_valid(self, principal: Principal) -> bool:
        """Return whether the session, key or client secret that a principal came with is still valid."""
        session_id, now = principal.session, self._hub.clock.now()
        if session_id == "secret":
            return str(principal.id) in self._credentials.clients
        if isinstance(session_id, int):
            session = self._credentials.sessions.get(session_id)
            return session is not None and session.refresh_ends > now
        key_id = session_id.removeprefix("key ")
        key = self._credentials.keys.get(int(key_id)) if key_id.isdecimal() else None
        return key is not None and (key.expires is None or key.expires > now)

    def allows(self, principal: Principal, permission: str, device: Owned | None, org: int | None) -> bool | None:
        """Return whether a principal has a permission; None when it is neither a user nor a client.

        It must act in ``org``, or above it with View Sub Organizations. On a device it needs the permission, or for a
        device of its own the one for own devices, and the permission to view the device.
        """
        granted = self.grants(principal)
        if granted is None:
            return None
        details = self._roles.permissions.get(permission)
        own_permission = details.own if details else ""
        if org is None:
            return permission in granted or own_permission in granted
        top = self.organization_of(principal)
        is_below = top is not None and "orgs.view" in granted and self._hub.organizations.contains(top, org)
        if org != top and not is_below:
            return False
        if device is None:
            return permission in granted or own_permission in granted
        group = "devices" if isinstance(device, Device) else permission.partition(".")[0].removeprefix("org_")
        if permission in granted and f"org_{group}.view" in granted:
            return True
        if principal.kind != "user" or not device.is_of(principal.id) or f"own_{group}.view" not in granted:
            return False
        return (own_permission or permission) in granted

    def check_grantable(self, principal: Principal, org: int, role: int) -> None:
        """Check that a principal has all permissions of a role, which it must have to give or take the role.

        Raises `Forbidden`.
        """
        granted = self.grants(principal)
        if granted is not None and (excess := self._roles.grants(org, role) - granted - DEVELOPERS):
            raise Forbidden(
                f"The role {self._roles.names[role]} has permissions that you do not have, such as {min(excess)}."
            )
