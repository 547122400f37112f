"""The directory of users, which the core's services and plugins ask; a plugin provides it (`hub_directory`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

import attrs

from hub.model import Principal, System


@attrs.frozen(kw_only=True)
class DirectoryUser:
    """A user as other plugins may know it. ``units`` is None when the organization's system of units applies.

    ``locale`` is the user's language, such as "de" or "de-AT", "" if it is unknown. ``is_admin``: the user has all
    permissions of the organization. ``can_log_in``: the user is not suspended, and has set a password.
    """

    id: int
    org: int
    email: str
    name: str
    role: int
    units: System | None = None
    locale: str = ""
    is_admin: bool = False
    can_log_in: bool = True


class UserDirectory(Protocol):
    """What a plugin that has users provides. All methods answer from memory."""

    def user(self, user_id: int) -> DirectoryUser | None:
        """Return a user, or None."""

    def user_by_email(self, email: str) -> DirectoryUser | None:
        """Return the user with an e-mail address in lower case, or None."""

    def users_of(self, org: int) -> Iterable[DirectoryUser]:
        """Return the users of an organization, without those of the organizations below it."""

    def count_by_organization(self) -> Counter[int]:
        """Return the number of users of each organization."""

    def roles(self) -> Mapping[int, str]:
        """Return the names of all roles, by id."""

    def role_of(self, principal: Principal) -> int | None:
        """Return the id of the role that a principal has, or None if it has none."""

    def principal_name(self, kind: str, principal_id: str) -> tuple[str, int] | None:
        """Return the name and the organization of a principal ("user" "3"), or None if the directory has none."""


class PersonalData(Protocol):
    """What a plugin stores about users, named by their actor ids ("user 3")."""

    async def export(self, user: str, asker: Principal) -> Any:
        """Return what is stored about a user and ``asker`` may see, as JSON types; None for nothing."""

    async def erase(self, user: str) -> None:
        """Delete what identifies a user who has been deleted."""


class Directory:
    """The hub's directory: empty until a plugin provides one."""

    def __init__(self) -> None:
        self._provider: UserDirectory | None = None

    def install(self, provider: UserDirectory | None) -> None:
        self._provider = provider

    @property
    def has_users(self) -> bool:
        """Whether a plugin provides users."""
        return self._provider is not None

    def user(self, user_id: int) -> DirectoryUser | None:
        """Return a user, or None."""
        return None if self._provider is None else self._provider.user(user_id)

    def user_by_email(self, email: str) -> DirectoryUser | None:
        """Return the user with an e-mail address in any case, or None."""
        return None if self._provider is None else self._provider.user_by_email(email.lower())

    def users_of(self, org: int) -> Iterable[DirectoryUser]:
        """Return the users of an organization, without those of the organizations below it."""
        return () if self._provider is None else self._provider.users_of(org)

    def organization_of(self, user_id: int) -> int | None:
        """Return the id of a user's organization, or None."""
        user = self.user(user_id)
        return None if user is None else user.org

    def count_by_organization(self) -> Counter[int]:
        """Return the number of users of each organization."""
        return Counter() if self._provider is None else self._provider.count_by_organization()

    def unit_system_of(self, principal: Principal) -> System | None:
        """Return the system of units that a principal has chosen; None when its organization's applies."""
        user = self.user(principal.id) if principal.kind == "user" and isinstance(principal.id, int) else None
        return None if user is None else user.units

    def sees(self, principal: Principal, roles: Collection[str]) -> bool:
        """Whether a principal sees what is for ``roles`` only; no roles are all roles.

        A principal without a role, such as the local key, sees everything.
        """
        role = self.role_of(principal)
        return not roles or role is None or self.roles()[role] in roles

    def roles(self) -> Mapping[int, str]:
        """Return the names of all roles, by id."""
        return {} if self._provider is None else self._provider.roles()

    def role_of(self, principal: Principal) -> int | None:
        """Return the id of the role that a principal has, or None if it has none."""
        return None if self._provider is None else self._provider.role_of(principal)

    def principal_name(self, actor_id: str) -> tuple[str, int] | None:
        """Return the name and the organization of an actor ("user 3"), or None."""
        kind, _, principal_id = actor_id.partition(" ")
        return None if self._provider is None else self._provider.principal_name(kind, principal_id)
