"""The people of the hub: their accounts and the links by which they get into them."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import timezones
from hub.errors import Conflict, NotAuthenticated, NotFound, Rejected
from hub.facts import RightsChanged
from hub.spellings import is_name, is_printable
from hub.structuring import structure
from plugins.users.model import ADMIN, Profile, User

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.storage import Transaction
    from plugins.users.passwords import Passwords

_EMAIL = re.compile(r"[^@\s\"<>()\\,;:\[\]]{1,64}@[^@\s\"<>()\\,;:\[\]]{1,189}")
#: The page behind every link.
PAGE = "/account"
MAX_NAME = 60
#: Profile fields' characters.
MAX_FIELD = 100
_COLUMNS = "id, org, email, name, role, password, created, last_login, suspended, developer, otp, otp_step, profile"


class Link:
    """Kinds of links."""

    INVITATION, RESET, FIRST = "invitation", "reset", "first"


def digest(code: str) -> bytes:
    """What is kept of a token or code."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()


class People:
    """All users, by id and by address."""

    def __init__(self, hub: Hub, passwords: Passwords) -> None:
        self._hub = hub
        self._passwords = passwords
        self.by_id: dict[int, User] = {}
        self.by_email: dict[str, User] = {}
        #: Held from what is checked until what is remembered, so that memory and disk do not part.
        self._lock = trio.Lock()

    async def load(self) -> None:
        async def read(tx: Transaction) -> list[Any]:
            return await tx.fetch_all(f"SELECT {_COLUMNS} FROM users ORDER BY id")

        names = _COLUMNS.split(", ")
        for row in await self._hub.storage.read(read):
            fields = dict(zip(names, row, strict=True))
            fields["profile"] = structure(json.loads(fields["profile"]), Profile)
            for flag in ("suspended", "developer"):
                fields[flag] = bool(fields[flag])
            self._keep(User(**fields))

    def _keep(self, user: User) -> None:
        self.by_id[user.id] = user
        self.by_email[user.email] = user

    def get(self, user: int) -> User:
        """Raises `NotFound`."""
        if found := self.by_id.get(user):
            return found
        raise self.unknown(user)

    @staticmethod
    def unknown(user: int) -> NotFound:
        """What is said of one who is not there, also to whom they are none of their business."""
        return NotFound(f"User with identifier {user} is not found or belong to another organization.")

    def of_org(self, org: int) -> list[User]:
        """The users of an organization and of all below it."""
        orgs = set(self._hub.organizations.below(org))
        return [user for user in self.by_id.values() if user.org in orgs]

    def by_organization(self) -> Counter[int]:
        """How many users each organization has."""
        return Counter(user.org for user in self.by_id.values())

    async def add(self, new: User, hashed: str | None) -> User:
        """Add somebody with Blynk's hash of a password, or none yet; the id is given here.

        Raises `Rejected`, `Conflict`.
        """
        self.check(new)
        new = attrs.evolve(new, created=self._hub.clock.now())
        new.password = None if hashed is None else await self._passwords.keep(hashed)

        async def write(tx: Transaction) -> int:
            return await tx.execute(
                "INSERT INTO users (org, email, name, role, password, created, profile) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (new.org, new.email, new.name, new.role, new.password, new.created, _text(new.profile)),
            )

        async with self._lock:
            if new.email in self.by_email:
                raise Rejected(f"{new.email} is already in use")
            if len(self.by_id) >= self._hub.config.limits.users:
                raise Conflict(f"there are at most {self._hub.config.limits.users} users ([limits] users)")
            self._hub.organizations.check_quota(new.org, "users", self.by_organization())
            new.id = await self._hub.storage.transaction(write)
            self._keep(new)
        return new

    def check(self, user: User) -> None:
        """Raises `Rejected`, with everything that is wrong with what somebody is called."""
        problems = []
        if _EMAIL.fullmatch(user.email) is None or user.email != user.email.lower() or not user.email.isprintable():
            problems.append("Enter a valid e-mail address.")
        if user.name and not is_name(user.name, MAX_NAME):
            problems.append(f"name must have at most {MAX_NAME} printable characters")
        said = attrs.asdict(user.profile)
        said |= {f"address.{name}": value for name, value in said.pop("address").items()}
        problems += [
            f"{name} must have at most {MAX_FIELD} printable characters"
            for name, value in said.items()
            if len(value) > MAX_FIELD or not is_printable(value)
        ]
        if user.profile.timezone and not timezones.is_known(user.profile.timezone):
            problems.append(f"there is no time zone {user.profile.timezone[:50]!r}")
        if problems:
            raise Rejected("\n".join(problems))

    async def change(self, user: User, **changes: Any) -> None:
        """Change some fields of somebody and no others; of ``profile`` those that are in it.

        What lets others in for them (links) ends with their role, password or place. Raises `Rejected`, `Conflict`,
        `NotFound` when they are gone.
        """
        async with self._lock:
            if self.by_id.get(user.id) is not user:
                raise self.unknown(user.id)
            if "profile" in changes:
                changes["profile"] = attrs.evolve(user.profile, **changes["profile"])
            await self._change(user, changes)
        if changes.keys() & {"role", "org", "suspended"}:
            self._hub.emit(RightsChanged())

    async def _change(self, user: User, changes: dict[str, Any]) -> None:
        self.check(attrs.evolve(user, **changes))
        takes_admin = changes.get("role", ADMIN) != ADMIN or changes.get("suspended") or "org" in changes

        async def write(tx: Transaction) -> None:
            if takes_admin:
                await _keep_an_admin(tx, user)
            for name, value in changes.items():
                kept = _text(value) if name == "profile" else value
                await tx.execute(f"UPDATE users SET {name} = ? WHERE id = ?", (kept, user.id))
            if changes.keys() & {"role", "org", "suspended", "password"}:
                await tx.execute("DELETE FROM users_links WHERE user = ?", (user.id,))

        await self._hub.storage.transaction(write)
        for name, value in changes.items():
            setattr(user, name, value)

    async def remove(self, user: User, *, last: bool = False) -> None:
        """Delete somebody; their devices have no owner then. The last Admin only with ``last``. Raises `Conflict`."""

        async def write(tx: Transaction) -> None:
            if not last:
                await _keep_an_admin(tx, user)
            await tx.execute("UPDATE devices SET owner = NULL WHERE owner = ?", (user.id,))
            await tx.execute("DELETE FROM users WHERE id = ?", (user.id,))

        async with self._lock:
            await self._hub.storage.transaction(write)
            self.by_id.pop(user.id, None)
            self.by_email.pop(user.email, None)
        for device in self._hub.devices.by_id.values():
            if device.owner == user.id:
                device.owner = None
        self._hub.emit(RightsChanged())

    async def set_password(self, user: User, hashed: str) -> None:
        """Given Blynk's hash of it."""
        await self.change(user, password=await self._passwords.keep(hashed))

    async def rehash(self, user: User, hashed: str) -> None:
        """Keep the password that a user has just proved in another form of it, unless it is changed meanwhile."""
        before, new = user.password, await self._passwords.keep(hashed)

        async def write(tx: Transaction) -> None:
            sql = "UPDATE users SET password = ? WHERE id = ? AND password = ?"
            await tx.execute(sql, (new, user.id, before))

        async with self._lock:
            if user.password == before and self.by_id.get(user.id) is user:
                await self._hub.storage.transaction(write)
                user.password = new

    async def spend_otp(self, user: User, step: int) -> bool:
        """Note that the one-time password of a step was used; False when it, or a later one, was used before.

        True is returned after the commit, so that it does not work again after a restart (RFC 6238, 5.2).
        """
        if step <= user.otp_step:
            return False
        user.otp_step = step

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE users SET otp_step = ?1 WHERE id = ?2 AND otp_step < ?1", (step, user.id))

        await self._hub.storage.transaction(write)
        return True

    # -- links ----------------------------------------------------------------------------------------------------

    async def link(self, kind: str, user: User | None, lifetime_ms: int) -> str:
        """A code that works once; the ones of that kind that the user had before end."""
        code = secrets.token_urlsafe(24)
        expires = self._hub.clock.now() + lifetime_ms

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM users_links WHERE expires < ?", (self._hub.clock.deletable_before,))
            await tx.execute("DELETE FROM users_links WHERE kind = ? AND user IS ?", (kind, user and user.id))
            sql = "INSERT INTO users_links (hash, kind, user, expires) VALUES (?, ?, ?, ?)"
            await tx.execute(sql, (digest(code), kind, user and user.id, expires))

        await self._hub.storage.transaction(write)
        return code

    async def find_link(self, code: str) -> tuple[str, User | None]:
        """What a code is for, and for whom. Raises `NotAuthenticated`."""

        async def read(tx: Transaction) -> Any:
            sql = "SELECT kind, user FROM users_links WHERE hash = ? AND expires > ?"
            return await tx.fetch_one(sql, (digest(code), self._hub.clock.now()))

        row = await self._hub.storage.read(read)
        if row is None or (row[0] != Link.FIRST and row[1] not in self.by_id) or (row[0] == Link.FIRST and self.by_id):
            raise NotAuthenticated("This link has been used, or is too old.")
        return row[0], self.by_id.get(row[1])

    async def use_link(self, code: str) -> None:
        """Let a code work no more. Raises `NotAuthenticated` when somebody else was quicker."""

        async def write(tx: Transaction) -> Any:
            row = await tx.fetch_one("SELECT kind FROM users_links WHERE hash = ?", (digest(code),))
            await tx.execute("DELETE FROM users_links WHERE hash = ?", (digest(code),))
            return row

        if await self._hub.storage.transaction(write) is None:
            raise NotAuthenticated("This link has been used, or is too old.")


async def _keep_an_admin(tx: Transaction, user: User) -> None:
    """Raises `Conflict` when an organization would be left without an Admin who can log in.

    In the transaction, so that of two who demote each other the second finds that no other is left.
    """
    able = "SELECT id FROM users WHERE org = ? AND role = ? AND password IS NOT NULL AND NOT suspended"
    admins = {row[0] for row in await tx.fetch_all(able, (user.org, ADMIN))}
    if admins == {user.id}:
        raise Conflict(f"{user.email} is the last Admin of their organization")


def _text(profile: Profile) -> str:
    return json.dumps(attrs.asdict(profile))
