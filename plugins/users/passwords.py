"""Passwords: how they are kept."""

from __future__ import annotations

import base64
import hashlib
import os
import unicodedata
from collections.abc import Sequence
from functools import partial

import trio

from hub.errors import Rejected

#: OWASP's second choice for Argon2id, about 45 ms on a desktop's core: KiB of memory, passes, lanes.
MEMORY, PASSES, LANES = 19 * 1024, 2, 1
SHORTEST, LONGEST = 8, 200
#: Characters as they are typed: in NFD none is more than four (Unicode Standard Annex #15).
LONGEST_TYPED = 4 * LONGEST


def blynk_hash(email: str, password: str) -> str:
    """What Blynk's own clients send for a password: base64(sha256(password ‖ sha256(lower(email))))."""
    salt = hashlib.sha256(email.lower().encode()).digest()
    return base64.b64encode(hashlib.sha256(password.encode() + salt).digest()).decode()


def hash_of(email: str, password: str | None, sent: str | None) -> str:
    """Blynk's hash of a password in its `normalized` form, or the one that was ``sent``. Raises `Rejected`."""
    if (password is None) == (sent is None):
        raise Rejected("either password or passwordHash is needed")
    if password is not None:
        if not SHORTEST <= len(normalized(password)) <= LONGEST:
            raise Rejected(f"The password must have {SHORTEST} to {LONGEST} characters.")
        return blynk_hash(email, normalized(password))
    assert sent is not None
    try:
        if len(base64.b64decode(sent, validate=True)) == hashlib.sha256().digest_size:
            return sent
    except ValueError:
        pass
    raise Rejected("passwordHash must be base64 of a SHA-256")


def normalized(password: str) -> str:
    """A password that looks the same has the same form (RFC 8265, 4.2.2, OpaqueString).

    Keyboards and browsers send ü as one character or as two; every kind of space is a space.
    """
    if len(password) > LONGEST_TYPED:
        # Too long in any form, and normalizing takes the square of what may be combined.
        return password
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in password)
    return unicodedata.normalize("NFC", spaced)


def candidate_hashes(email: str, password: str | None, sent: str | None) -> list[str]:
    """The hashes that an account may have been given for what is presented now, the one to keep first.

    A password may have been set as it was typed, by an earlier version or by Blynk's clients. "" is one that fits
    nothing.
    """
    try:
        hashes = [hash_of(email, password, sent)]
    except Rejected:
        # Checked as long as one that could be right.
        hashes = [""]
    if password is not None and sent is None and normalized(password) != password:
        hashes.append(blynk_hash(email, password))
    return hashes


class Passwords:
    """Hashes in threads: few at once, since each takes a core and 19 MB."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(2)
        self._nobody: str | None = None

    async def keep(self, hashed: str) -> str:
        """What is stored of a password, given Blynk's hash of it."""
        return await trio.to_thread.run_sync(derive, hashed, limiter=self._limiter)

    async def fitting(self, hashes: Sequence[str], kept: str | None) -> str | None:
        """The first of some hashes that is the password's; takes as long for an account that is not there."""
        if kept is None and self._nobody is None:
            self._nobody = await self.keep("nobody")
        against = kept or self._nobody or ""
        for hashed in hashes:
            right = await trio.to_thread.run_sync(partial(_verify, hashed, against), limiter=self._limiter)
            if right and kept is not None:
                return hashed
        return None


def derive(hashed: str) -> str:
    """What is stored of a password, given Blynk's hash of it: a PHC string. Takes a while."""
    # Here, since it takes 10 MB that a hub where nobody logs in does not need.
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=PASSES, lanes=LANES, memory_cost=MEMORY)
    return kdf.derive_phc_encoded(hashed.encode())


def _verify(hashed: str, kept: str) -> bool:
    from cryptography.exceptions import InvalidKey
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        Argon2id.verify_phc_encoded(hashed.encode(), kept)
    except InvalidKey:
        return False
    return True
