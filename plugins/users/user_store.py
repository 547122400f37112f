"""The accounts of users: in the database, and all of them in memory."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import Conflict, NotFound, Rejected, RightsChanged
from hub.parsing import timezones
from hub.parsing.spellings import is_name, is_printable
from hub.parsing.structuring import structure
from plugins.users.model import ADMIN, Profile, User

if TYPE_CHECKING:
    from hub import Correction, Hub, Transaction
    from plugins.users.passwords import Passwords

_EMAIL = re.compile(r"[^@\s\"<>()\\,;:\[\]]{1,64}@[^@\s\"<>()\\,;:\[\]]{1,189}")
MAX_NAME = 60
#: Characters of a field of a profile.
MAX_FIELD = 100
_COLUMNS = "id, org, email, name, role, password, created, last_login, suspended, developer, otp, otp_step, profile"


class UserStore:
    """All users, by id and by e-mail address."""

    def __init__(self, hub: Hub, passwords: Passwords) -> None:
        self._hub = hub
        self._passwords = passwords
        self.by_id: dict[int, User] = {}
        self.by_email: dict[str, User] = {}
        #: Held from the checks until memory has what was written, so that memory and disk cannot differ.
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
            self._index(User(**fields))

    def _index(self, user: User) -> None:
        self.by_id[user.id] = user
        self.by_email[user.email] = user

    def get(self, user_id: int) -> User:
        """Raises `NotFound`."""
        if user := self.by_id.get(user_id):
            return user
        raise self.unknown(user_id)

    @staticmethod
    def unknown(user_id: int) -> NotFound:
        """Return the error for a missing user.

        It is also the one for a user whom the caller may not see, so that ids cannot be probed.
        """
        return NotFound(f"User with identifier {user_id} is not found or belong to another organization.")

    def in_and_below(self, org: int) -> list[User]:
        """Return the users of an organization and of all below it."""
        orgs = set(self._hub.organizations.below(org))
        return [user for user in self.by_id.values() if user.org in orgs]

    def count_by_organization(self) -> Counter[int]:
        return Counter(user.org for user in self.by_id.values())

    async def add(self, new: User, hashed: str | None) -> User:
        """Add a user, whose id is assigned here, with Blynk's hash of a password or without a password.

        Raises `Rejected`, `Conflict`.
        """
        self.validate(new)
        new = attrs.evolve(new, created=self._hub.clock.now())
        new.password = None if hashed is None else await self._passwords.derive(hashed)

        async def write(tx: Transaction) -> int:
            return await tx.insert(
                "users",
                org=new.org,
                email=new.email,
                name=new.name,
                role=new.role,
                password=new.password,
                created=new.created,
                profile=_profile_json(new.profile),
            )

        async with self._lock:
            if new.email in self.by_email:
                raise Rejected(f"{new.email} is already in use")
            if len(self.by_id) >= self._hub.config.limits.users:
                raise Conflict(f"The hub can have at most {self._hub.config.limits.users} users ([limits] users).")
            self._hub.organizations.check_quota(new.org, "users", self.count_by_organization())
            new.id = await self._hub.storage.transaction(write)
            self._index(new)
        return new

    def validate(self, user: User) -> None:
        """Check the e-mail address, name and profile. Raises `Rejected` with every problem on a line."""
        problems = []
        if _EMAIL.fullmatch(user.email) is None or user.email != user.email.lower() or not user.email.isprintable():
            problems.append("Enter a valid e-mail address.")
        if user.name and not is_name(user.name, MAX_NAME):
            problems.append(f"name must have at most {MAX_NAME} printable characters")
        fields = attrs.asdict(user.profile)
        fields |= {f"address.{name}": value for name, value in fields.pop("address").items()}
        problems += [
            f"{name} must have at most {MAX_FIELD} printable characters"
            for name, value in fields.items()
            if len(value) > MAX_FIELD or not is_printable(value)
        ]
        if user.profile.timezone and not timezones.is_known(user.profile.timezone):
            problems.append(f"there is no time zone {user.profile.timezone[:50]!r}")
        if problems:
            raise Rejected("\n".join(problems))

    async def change(self, user: User, **changes: Any) -> None:
        """Change the named fields of a user; ``profile`` is a dictionary of the profile's fields to change.

        The user's account links stop working when role, organization, password or suspension change. Raises
        `Rejected`, `Conflict`, and `NotFound` when the user has been deleted.
        """
        async with self._lock:
            if self.by_id.get(user.id) is not user:
                raise self.unknown(user.id)
            if "profile" in changes:
                changes["profile"] = attrs.evolve(user.profile, **changes["profile"])
            await self._apply(user, changes)
        if changes.keys() & {"role", "org", "suspended"}:
            self._hub.emit(RightsChanged())

    async def _apply(self, user: User, changes: dict[str, Any]) -> None:
        self.validate(attrs.evolve(user, **changes))
        takes_admin = changes.get("role", ADMIN) != ADMIN or changes.get("suspended") or "org" in changes

        async def write(tx: Transaction) -> None:
            if takes_admin:
                await _require_other_admin(tx, user)
            for name, value in changes.items():
                stored = _profile_json(value) if name == "profile" else value
                await tx.execute(f"UPDATE users SET {name} = ? WHERE id = ?", (stored, user.id))
            if changes.keys() & {"role", "org", "suspended", "password"}:
                await tx.execute("DELETE FROM users_links WHERE user_id = ?", (user.id,))

        await self._hub.storage.transaction(write)
        for name, value in changes.items():
            setattr(user, name, value)

    async def remove(self, user: User, *, allow_last_admin: bool = False) -> None:
        """Delete a user, whose devices have no owner afterwards.

        Raises `Conflict` for the last Admin of an organization without ``allow_last_admin``.
        """

        async def write(tx: Transaction) -> None:
            if not allow_last_admin:
                await _require_other_admin(tx, user)
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
        """Set the password, given Blynk's hash of it."""
        await self.change(user, password=await self._passwords.derive(hashed))

    async def rehash(self, user: User, hashed: str) -> None:
        """Store another of Blynk's hashes of the password that the user has just proven.

        Does nothing when the password has been changed meanwhile.
        """
        before, new = user.password, await self._passwords.derive(hashed)

        async def write(tx: Transaction) -> None:
            sql = "UPDATE users SET password = ? WHERE id = ? AND password = ?"
            await tx.execute(sql, (new, user.id, before))

        async with self._lock:
            if user.password == before and self.by_id.get(user.id) is user:
                await self._hub.storage.transaction(write)
                user.password = new

    async def spend_otp(self, user: User, step: int) -> bool:
        """Record that the one-time password of a time step was used; False when it or a later one was used before.

        Returns True after the commit, so that the password does not work again after a restart (RFC 6238, 5.2).
        """
        if step <= user.otp_step:
            return False
        user.otp_step = step

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE users SET otp_step = ?1 WHERE id = ?2 AND otp_step < ?1", (step, user.id))

        await self._hub.storage.transaction(write)
        return True

    def replace_role(self, role: int, replacement: int) -> None:
        """Replace a role in memory, as `Roles.remove` does in the database."""
        for user in self.by_id.values():
            user.role = replacement if user.role == role else user.role

    def correct_stamps(self, correction: Correction) -> None:
        """Correct in memory the times that a clock repair has corrected in the database."""
        if not correction.is_about(None):
            return
        corrected = correction.corrected
        for user in self.by_id.values():
            user.created, user.last_login = corrected(user.created), user.last_login and corrected(user.last_login)


async def _require_other_admin(tx: Transaction, user: User) -> None:
    """Check that the user is not the only Admin of their organization who can log in. Raises `Conflict`.

    In the transaction of the change, so that of two Admins who demote each other the second fails.
    """
    able = "SELECT id FROM users WHERE org = ? AND role = ? AND password IS NOT NULL AND NOT suspended"
    admins = {row[0] for row in await tx.fetch_all(able, (user.org, ADMIN))}
    if admins == {user.id}:
        raise Conflict(f"{user.email} is the last Admin of their organization: make another user Admin first.")


def _profile_json(profile: Profile) -> str:
    return json.dumps(attrs.asdict(profile))
