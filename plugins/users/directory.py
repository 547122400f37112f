"""The directory of users, by which other parts of the hub look them up (`hub_directory`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from hub import Principal
from hub.domain import DirectoryUser
from plugins.users.credentials import Credentials
from plugins.users.model import ADMIN, User
from plugins.users.roles import Roles
from plugins.users.user_store import UserStore


class UsersDirectory:
    """The users and OAuth2 clients of this plugin, as the hub's directory has them."""

    def __init__(self, users: UserStore, roles: Roles, credentials: Credentials) -> None:
        self._users = users
        self._roles = roles
        self._credentials = credentials

    def user(self, user_id: int) -> DirectoryUser | None:
        user = self._users.by_id.get(user_id)
        return None if user is None else _entry(user)

    def user_by_email(self, email: str) -> DirectoryUser | None:
        user = self._users.by_email.get(email)
        return None if user is None else _entry(user)

    def users_of(self, org: int) -> Iterable[DirectoryUser]:
        return (_entry(user) for user in self._users.by_id.values() if user.org == org)

    def count_by_organization(self) -> Counter[int]:
        return self._users.count_by_organization()

    def roles(self) -> Mapping[int, str]:
        return self._roles.names

    def role_of(self, principal: Principal) -> int | None:
        if principal.kind == "user":
            user = self._users.by_id.get(int(principal.id))
            return None if user is None else user.role
        client = self._credentials.clients.get(str(principal.id)) if principal.kind == "client" else None
        return None if client is None else client.role

    def principal_name(self, kind: str, principal_id: str) -> tuple[str, int] | None:
        """Return a user's e-mail address, or an OAuth2 client's name, with its organization."""
        if kind == "user":
            user = self._users.by_id.get(int(principal_id)) if principal_id.isdecimal() else None
            return None if user is None else (user.email, user.org)
        client = self._credentials.clients.get(principal_id) if kind == "client" else None
        return None if client is None else (client.name, client.org)


def _entry(user: User) -> DirectoryUser:
    units = user.profile.units
    return DirectoryUser(
        id=user.id,
        org=user.org,
        email=user.email,
        name=user.name,
        role=user.role,
        units=None if units == "default" else units,
        locale=user.profile.locale,
        is_admin=user.role == ADMIN,
        can_log_in=user.password is not None and not user.suspended,
    )
