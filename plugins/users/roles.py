"""Roles: the same for the whole hub, with permissions for each organization."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import trio

from hub.api import Permission
from hub.errors import Conflict, NotFound, Rejected
from hub.facts import RightsChanged
from hub.model import ROOT_ORG
from hub.spellings import is_name, nfc
from plugins.users.model import ADMIN
from plugins.users.permissions import DEFAULTS, switched

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.storage import Transaction

MAX_NAME = 40


class Roles:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        #: Names by id.
        self.names: dict[int, str] = {}
        self.known: dict[str, Permission] = {}
        self._set: dict[tuple[int, int], frozenset[str]] = {}
        self._grants: dict[tuple[int, int], frozenset[str]] = {}
        #: Held until what was written is remembered, so that memory and disk do not part.
        self._lock = trio.Lock()

    async def load(self) -> None:
        self.known = {permission.id: permission for permission in self._hub.permissions}

        async def read(tx: Transaction) -> tuple[list[Any], list[Any]]:
            names = await tx.fetch_all("SELECT id, name FROM users_roles ORDER BY id")
            return names, await tx.fetch_all("SELECT org, role, permissions FROM users_grants")

        names, grants = await self._hub.storage.read(read)
        self.names = dict(names)
        self._set = {(org, role): frozenset(json.loads(found)) for org, role, found in grants}

    def forget(self) -> None:
        """Work out anew what everybody may: something that it depends on has changed."""
        self._grants = {}

    def get(self, role: int) -> int:
        """Raises `NotFound`."""
        if role not in self.names:
            raise NotFound(f"Role with identifier {role} is not found.")
        return role

    def grants(self, org: int, role: int) -> frozenset[str]:
        """What a role is allowed in an organization."""
        found = self._grants.get((org, role))
        if found is None:
            found = self._grants[org, role] = self._work_out(org, role)
        return found

    def _work_out(self, org: int, role: int) -> frozenset[str]:
        if role == ADMIN:
            granted = frozenset(self.known)
        else:
            path = self._hub.organizations.path(org)
            of_org = (self._set.get((one.id, role)) for one in path)
            granted = next((one for one in of_org if one is not None), DEFAULTS.get(role, frozenset()))
        return frozenset(one for one in granted if one in self.known and (org == ROOT_ORG or not self.known[one].root))

    async def switch(self, org: int, role: int, permissions: Iterable[tuple[str, bool]]) -> frozenset[str]:
        """Turn permissions of a role on and off in an organization; returns what it has then. Raises `Rejected`."""
        if role == ADMIN:
            raise Rejected("Admin has every permission")

        async def write(tx: Transaction) -> frozenset[str]:
            # In the transaction: somebody else's change meanwhile must not be lost.
            row = await tx.fetch_one("SELECT permissions FROM users_grants WHERE org = ? AND role = ?", (org, role))
            granted = frozenset(json.loads(row[0])) if row else self.grants(org, role)
            for permission, on in permissions:
                if permission not in self.known:
                    raise Rejected(f"there is no permission {permission!r}")
                granted = switched(granted, permission, self.known, on=on)
            await tx.execute(
                "INSERT INTO users_grants (org, role, permissions) VALUES (?, ?, ?)"
                " ON CONFLICT (org, role) DO UPDATE SET permissions = excluded.permissions",
                (org, role, json.dumps(sorted(granted))),
            )
            return granted

        async with self._lock:
            self._set[org, role] = await self._hub.storage.transaction(write)
        self.tell()
        return self.grants(org, role)

    async def push_down(self, org: int, role: int) -> None:
        """Let all organizations below one have what a role has there (docs.blynk.io, Apply to sub-organizations)."""
        below = self._hub.organizations.below(org)[1:]

        async def write(tx: Transaction) -> None:
            for one in below:
                await tx.execute("DELETE FROM users_grants WHERE org = ? AND role = ?", (one, role))

        async with self._lock:
            await self._hub.storage.transaction(write)
            for one in below:
                self._set.pop((one, role), None)
        self.tell()

    async def add(self, name: str, like: int | None = None) -> int:
        """A new role, allowed what another is in the root, or nothing. Raises `Rejected`, `Conflict`."""
        name = self._checked(name)
        if len(self.names) >= self._hub.config.limits.roles:
            raise Conflict(f"there are at most {self._hub.config.limits.roles} roles ([limits] roles)")
        granted = self.grants(ROOT_ORG, like) if like is not None else frozenset()

        async def write(tx: Transaction) -> int:
            number = await tx.execute("INSERT INTO users_roles (name) VALUES (?)", (name,))
            sql = "INSERT INTO users_grants (org, role, permissions) VALUES (?, ?, ?)"
            await tx.execute(sql, (ROOT_ORG, number, json.dumps(sorted(granted))))
            return number

        number = await self._hub.storage.transaction(write)
        self.names[number] = name
        self._set[ROOT_ORG, number] = granted
        return number

    async def rename(self, role: int, name: str) -> None:
        """Raises `Rejected`, `Conflict`."""
        name = self._checked(name, role)

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE users_roles SET name = ? WHERE id = ?", (name, role))

        await self._hub.storage.transaction(write)
        self.names[role] = name

    def _checked(self, name: str, role: int | None = None) -> str:
        name = nfc(name.strip())
        if not is_name(name, MAX_NAME):
            raise Rejected(f"a role's name must have 1 to {MAX_NAME} printable characters")
        if any(other.lower() == name.lower() and number != role for number, other in self.names.items()):
            raise Conflict(f"there is a role {name!r} already")
        return name

    async def remove(self, role: int, instead: int) -> None:
        """Delete a role; who has it gets another ``instead``. Raises `Rejected`."""
        if role == ADMIN:
            raise Rejected("the role Admin cannot be deleted")
        if instead == role:
            raise Rejected("another role must take its place")

        async def write(tx: Transaction) -> None:
            for table in ("users", "users_clients"):
                await tx.execute(f"UPDATE {table} SET role = ? WHERE role = ?", (instead, role))
            await tx.execute("DELETE FROM users_roles WHERE id = ?", (role,))

        await self._hub.storage.transaction(write)
        self.names.pop(role, None)
        self._set = {key: granted for key, granted in self._set.items() if key[1] != role}

    def tell(self) -> None:
        """Let whoever keeps something open for somebody ask again."""
        self.forget()
        self._hub.emit(RightsChanged())
