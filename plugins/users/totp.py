"""The second factor: one-time passwords by time (TOTP, RFC 6238) and recovery codes.

A user without a second factor begins with `TwoFactor.begin`, which makes a secret that is pending in memory.
`TwoFactor.confirm` stores it, given a one-time password of it; until then logins do not ask for one. Each one-time
password and each recovery code works once.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from hub import Rejected
from plugins.users.digests import digest

if TYPE_CHECKING:
    from hub import Clock, Transaction
    from hub.storage import Storage
    from plugins.users.model import User
    from plugins.users.user_store import UserStore

#: The parameters that every authenticator app uses: seconds of a time step, and digits.
STEP, DIGITS = 30, 6
#: Steps before and after the current one whose one-time passwords are accepted too.
DRIFT = 1
RECOVERY_CODES = 10


class TwoFactor:
    """Second factors of all users."""

    def __init__(self, storage: Storage, users: UserStore, clock: Clock) -> None:
        self._clock = clock
        self._storage = storage
        self._users = users
        #: Secrets that are not confirmed yet, by user id.
        self._pending: dict[int, str] = {}

    def begin(self, user: User) -> str:
        """Return a new secret, in base32, that waits for `confirm`. Raises `Rejected`."""
        if user.otp is not None:
            raise Rejected("There is a second factor already: turn it off first.")
        secret = self._pending[user.id] = base64.b32encode(secrets.token_bytes(20)).decode()
        return secret

    def pending_secret(self, user: User, text: str) -> str:
        """Return the pending secret whose current one-time password ``text`` is. Raises `Rejected`."""
        secret = self._pending.get(user.id)
        if secret is None or matching_step(secret, text.strip(), self._clock.wall) is None:
            raise Rejected("The one-time password is wrong.")
        return secret

    async def confirm(self, user: User, secret: str) -> list[str]:
        """Make a secret the user's second factor; return new recovery codes."""
        codes = [secrets.token_hex(5) for _ in range(RECOVERY_CODES)]

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM users_recovery WHERE user_id = ?", (user.id,))
            rows = [(user.id, digest(code)) for code in codes]
            await tx.insert_many("users_recovery", ("user_id", "hash"), rows)

        await self._storage.transaction(write)
        await self._users.change(user, otp=secret, otp_step=0)
        self._pending.pop(user.id, None)
        return codes

    async def verify(self, user: User, secret: str, text: str) -> bool:
        """Return whether ``text`` is a current one-time password of the secret or a recovery code, and spend it."""
        text = text.strip().replace(" ", "")
        if len(text) == DIGITS and text.isascii() and text.isdecimal():
            step = matching_step(secret, text, self._clock.wall)
            return step is not None and await self._users.spend_otp(user, step)

        async def write(tx: Transaction) -> bool:
            key = (user.id, digest(text))
            row = await tx.fetch_one("SELECT 1 FROM users_recovery WHERE user_id = ? AND hash = ?", key)
            await tx.execute("DELETE FROM users_recovery WHERE user_id = ? AND hash = ?", key)
            return row is not None

        return await self._storage.transaction(write)


def provisioning_url(secret: str, issuer: str, account: str) -> str:
    """Return the URL that authenticator apps read from a QR code."""
    return f"otpauth://totp/{quote(f'{issuer}:{account}')}?secret={secret}&issuer={quote(issuer)}"


def matching_step(secret: str, text: str, wall: int) -> int | None:
    """Return the time step, near ``wall`` (ms UTC), whose one-time password ``text`` is; None when there is none."""
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.twofactor import InvalidToken
    from cryptography.hazmat.primitives.twofactor.totp import TOTP

    totp = TOTP(base64.b32decode(secret), DIGITS, SHA1(), STEP, enforce_key_length=False)  # noqa: S303 - RFC 6238
    now = wall // 1000 // STEP
    for step in range(now - DRIFT, now + DRIFT + 1):
        try:
            totp.verify(text.encode(), step * STEP)
        except InvalidToken:
            continue
        return step
    return None
