"""Roles: their names are the same in the whole hub, their permissions are set for each organization.

An organization that has not set the permissions of a role inherits them from the nearest organization above that has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import trio

from hub import ROOT_ORG, Conflict, NotFound, Permission, Rejected, RightsChanged
from hub.parsing.spellings import is_name, nfc
from plugins.users.model import ADMIN
from plugins.users.permissions import DEFAULTS, switched

if TYPE_CHECKING:
    from hub import Hub, Transaction

MAX_NAME = 40


class Roles:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        #: Names by role id.
        self.names: dict[int, str] = {}
        #: All permissions of the hub, by id.
        self.permissions: dict[str, Permission] = {}
        #: Permissions that were set, by organization and role.
        self._set: dict[tuple[int, int], frozenset[str]] = {}
        #: Results of `grants`, by organization and role.
        self._cache: dict[tuple[int, int], frozenset[str]] = {}
        #: Held until memory has what was written, so that memory and disk cannot differ.
        self._lock = trio.Lock()

    async def load(self) -> None:
        self.permissions = {permission.id: permission for permission in self._hub.permissions}

        async def read(tx: Transaction) -> tuple[list[Any], list[Any]]:
            names = await tx.fetch_all("SELECT id, name FROM users_roles ORDER BY id")
            return names, await tx.fetch_all("SELECT org, role, permissions FROM users_grants")

        names, grants = await self._hub.storage.read(read)
        self.names = dict(names)
        self._set = {(org, role): frozenset(json.loads(permissions)) for org, role, permissions in grants}

    def require(self, role: int) -> int:
        """Return the id if there is such a role. Raises `NotFound`."""
        if role not in self.names:
            raise NotFound(f"Role with identifier {role} is not found.")
        return role

    def grants(self, org: int, role: int) -> frozenset[str]:
        """Return the permissions of a role in an organization."""
        granted = self._cache.get((org, role))
        if granted is None:
            granted = self._cache[org, role] = self._compute_grants(org, role)
        return granted

    def _compute_grants(self, org: int, role: int) -> frozenset[str]:
        known = self.permissions
        if role == ADMIN:
            granted = frozenset(known)
        else:
            path = self._hub.organizations.path(org)
            settings = (self._set.get((organization.id, role)) for organization in path)
            granted = next((setting for setting in settings if setting is not None), DEFAULTS.get(role, frozenset()))
        return frozenset(name for name in granted if name in known and (org == ROOT_ORG or not known[name].root))

    async def switch(self, org: int, role: int, permissions: Iterable[tuple[str, bool]]) -> frozenset[str]:
        """Turn permissions of a role on and off in an organization; return its permissions there. Raises `Rejected`."""
        if role == ADMIN:
            raise Rejected("The role Admin always has every permission.")

        async def write(tx: Transaction) -> frozenset[str]:
            # Read in the transaction, so that a concurrent change is not lost.
            row = await tx.fetch_one("SELECT permissions FROM users_grants WHERE org = ? AND role = ?", (org, role))
            granted = frozenset(json.loads(row[0])) if row else self.grants(org, role)
            for permission, on in permissions:
                if permission not in self.permissions:
                    raise Rejected(f"There is no permission {permission!r}.")
                granted = switched(granted, permission, self.permissions, on=on)
            await tx.execute(
                "INSERT INTO users_grants (org, role, permissions) VALUES (?, ?, ?)"
                " ON CONFLICT (org, role) DO UPDATE SET permissions = excluded.permissions",
                (org, role, json.dumps(sorted(granted))),
            )
            return granted

        async with self._lock:
            self._set[org, role] = await self._hub.storage.transaction(write)
        self.invalidate()
        return self.grants(org, role)

    async def inherit_below(self, org: int, role: int) -> None:
        """Let all organizations below ``org`` inherit the role again (docs.blynk.io, Apply to sub-organizations)."""
        below = self._hub.organizations.below(org)[1:]

        async def write(tx: Transaction) -> None:
            for descendant in below:
                await tx.execute("DELETE FROM users_grants WHERE org = ? AND role = ?", (descendant, role))

        async with self._lock:
            await self._hub.storage.transaction(write)
            for descendant in below:
                self._set.pop((descendant, role), None)
        self.invalidate()

    async def add(self, name: str, like: int | None = None) -> int:
        """Add a role with the permissions that the role ``like`` has in the root, or with none; return its id.

        Raises `Rejected`, `Conflict`.
        """
        name = self._validated_name(name)
        if len(self.names) >= self._hub.config.limits.roles:
            raise Conflict(f"The hub can have at most {self._hub.config.limits.roles} roles ([limits] roles).")
        granted = self.grants(ROOT_ORG, like) if like is not None else frozenset()

        async def write(tx: Transaction) -> int:
            role = await tx.insert("users_roles", name=name)
            await tx.insert("users_grants", org=ROOT_ORG, role=role, permissions=json.dumps(sorted(granted)))
            return role

        role = await self._hub.storage.transaction(write)
        self.names[role] = name
        self._set[ROOT_ORG, role] = granted
        return role

    async def rename(self, role: int, name: str) -> None:
        """Raises `Rejected`, `Conflict`."""
        name = self._validated_name(name, role)

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE users_roles SET name = ? WHERE id = ?", (name, role))

        await self._hub.storage.transaction(write)
        self.names[role] = name

    def _validated_name(self, name: str, role: int | None = None) -> str:
        name = nfc(name.strip())
        if not is_name(name, MAX_NAME):
            raise Rejected(f"The name of a role must have 1 to {MAX_NAME} printable characters.")
        if any(other.lower() == name.lower() and id_ != role for id_, other in self.names.items()):
            raise Conflict(f"There is a role {name!r} already.")
        return name

    async def remove(self, role: int, replacement: int) -> None:
        """Delete a role and give ``replacement`` to the users and clients that have it in the database.

        The caller does the same to those in memory, and calls `invalidate` then. Raises `Rejected`.
        """
        if role == ADMIN:
            raise Rejected("The role Admin cannot be deleted.")
        if replacement == role:
            raise Rejected("Another role must replace the deleted one.")

        async def write(tx: Transaction) -> None:
            for table in ("users", "users_clients"):
                await tx.execute(f"UPDATE {table} SET role = ? WHERE role = ?", (replacement, role))
            await tx.execute("DELETE FROM users_roles WHERE id = ?", (role,))

        await self._hub.storage.transaction(write)
        self.names.pop(role, None)
        self._set = {key: granted for key, granted in self._set.items() if key[1] != role}

    def invalidate(self) -> None:
        """Drop the computed permissions and announce that rights have changed, so that open streams check theirs."""
        self._cache = {}
        self._hub.emit(RightsChanged())
