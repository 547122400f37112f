"""Links to the page where a user sets a password, each with a code that works once.

A link is for the first administrator of a hub without users, an invitation, or a password reset. The database has only
the digest of its code.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from hub import NotAuthenticated
from plugins.users.digests import digest

if TYPE_CHECKING:
    from hub import Hub, Transaction
    from plugins.users.model import User
    from plugins.users.user_store import UserStore

#: The path of the page behind every link.
PAGE = "/account"


class AccountLink:
    """Kinds of links."""

    INVITATION, RESET, FIRST = "invitation", "reset", "first"


class AccountLinks:
    def __init__(self, hub: Hub, users: UserStore) -> None:
        self._hub = hub
        self._users = users

    async def create(self, kind: str, user: User | None, lifetime_ms: int) -> str:
        """Return a new code; the user's earlier codes of the same kind stop working."""
        code = secrets.token_urlsafe(24)
        expires = self._hub.clock.now() + lifetime_ms

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM users_links WHERE expires < ?", (self._hub.clock.deletable_before,))
            if user is None:
                await tx.execute("DELETE FROM users_links WHERE kind = ? AND user_id IS NULL", (kind,))
            else:
                await tx.execute("DELETE FROM users_links WHERE kind = ? AND user_id = ?", (kind, user.id))
            await tx.insert("users_links", hash=digest(code), kind=kind, user_id=user and user.id, expires=expires)

        await self._hub.storage.transaction(write)
        return code

    async def find(self, code: str) -> tuple[str, User | None]:
        """Return the kind and the user of a code; it still works afterwards. Raises `NotAuthenticated`."""

        async def read(tx: Transaction) -> Any:
            sql = "SELECT kind, user_id FROM users_links WHERE hash = ? AND expires > ?"
            return await tx.fetch_one(sql, (digest(code), self._hub.clock.now()))

        row = await self._hub.storage.read(read)
        users = self._users.by_id
        if (
            row is None
            or (row[0] != AccountLink.FIRST and row[1] not in users)
            or (row[0] == AccountLink.FIRST and users)
        ):
            raise NotAuthenticated("This link has been used, or is too old.")
        return row[0], users.get(row[1])

    async def redeem(self, code: str) -> None:
        """Make a code stop working. Raises `NotAuthenticated` when another request has redeemed it before."""

        async def write(tx: Transaction) -> Any:
            row = await tx.fetch_one("SELECT kind FROM users_links WHERE hash = ?", (digest(code),))
            await tx.execute("DELETE FROM users_links WHERE hash = ?", (digest(code),))
            return row

        if await self._hub.storage.transaction(write) is None:
            raise NotAuthenticated("This link has been used, or is too old.")
