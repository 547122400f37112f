"""Password hashing: Blynk's hash, which clients send, and Argon2id, which the hub stores.

The hub stores the Argon2id of Blynk's hash, so that an account accepts both the password and the hash.
"""

from __future__ import annotations

import base64
import hashlib
import os
import unicodedata
from collections.abc import Sequence
from functools import partial

import trio

from hub import Rejected

#: OWASP's second choice of parameters for Argon2id: memory in KiB, passes, lanes. About 45 ms on a desktop's core.
MEMORY, PASSES, LANES = 19 * 1024, 2, 1
SHORTEST, LONGEST = 8, 200
#: Characters before normalization: no character has more than four in NFD (Unicode Standard Annex #15).
LONGEST_TYPED = 4 * LONGEST


def blynk_hash(email: str, password: str) -> str:
    """Return the hash that Blynk's own clients send: base64(sha256(password ‖ sha256(lower(email))))."""
    salt = hashlib.sha256(email.lower().encode()).digest()
    return base64.b64encode(hashlib.sha256(password.encode() + salt).digest()).decode()


def to_blynk_hash(email: str, password: str | None, password_hash: str | None) -> str:
    """Return Blynk's hash of the normalized password, or ``password_hash`` if the client sent that instead.

    Raises `Rejected`.
    """
    if (password is None) == (password_hash is None):
        raise Rejected("Either password or passwordHash is needed.")
    if password is not None:
        if not SHORTEST <= len(normalize(password)) <= LONGEST:
            raise Rejected(f"The password must have {SHORTEST} to {LONGEST} characters.")
        return blynk_hash(email, normalize(password))
    assert password_hash is not None
    try:
        if len(base64.b64decode(password_hash, validate=True)) == hashlib.sha256().digest_size:
            return password_hash
    except ValueError:
        pass
    raise Rejected("passwordHash must be a SHA-256 in base64.")


def normalize(password: str) -> str:
    """Return a password in the form in which it is hashed (RFC 8265, 4.2.2, OpaqueString).

    Keyboards and browsers send ü as one character or as two, and have several kinds of space.
    """
    if len(password) > LONGEST_TYPED:
        # It is too long in any form, and the time of normalization grows with the square of combining characters.
        return password
    with_plain_spaces = "".join(" " if unicodedata.category(c) == "Zs" else c for c in password)
    return unicodedata.normalize("NFC", with_plain_spaces)


def candidate_hashes(email: str, password: str | None, password_hash: str | None) -> list[str]:
    """Return the hashes to compare with the stored one at a login; the first is the one to store from now on.

    There are two when the password is not in its normalized form: earlier versions and Blynk's clients hash it as it
    was typed. An unacceptable password gives "", which matches nothing.
    """
    try:
        hashes = [to_blynk_hash(email, password, password_hash)]
    except Rejected:
        # It is compared all the same, so that the answer takes as long as for an acceptable password.
        hashes = [""]
    if password is not None and password_hash is None and normalize(password) != password:
        hashes.append(blynk_hash(email, password))
    return hashes


class Passwords:
    """Argon2id in worker threads; two at once, since each takes a core and 19 MB."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(2)
        self._decoy: str | None = None

    async def derive(self, hashed: str) -> str:
        """Return the PHC string to store, given Blynk's hash of a password."""
        return await trio.to_thread.run_sync(derive, hashed, limiter=self._limiter)

    async def first_match(self, hashes: Sequence[str], stored: str | None) -> str | None:
        """Return the first of Blynk's hashes that belongs to the stored PHC string, or None.

        Takes as long when nothing is stored, so that the time does not tell whether an account exists.
        """
        if stored is None and self._decoy is None:
            self._decoy = await self.derive("nobody")
        against = stored or self._decoy or ""
        for hashed in hashes:
            matches = await trio.to_thread.run_sync(partial(_verify, hashed, against), limiter=self._limiter)
            if matches and stored is not None:
                return hashed
        return None


def derive(hashed: str) -> str:
    """Return the PHC string to store, given Blynk's hash of a password. Blocks for the time of one Argon2id."""
    # Imported late: it takes 10 MB, which a hub where nobody logs in can save.
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=PASSES, lanes=LANES, memory_cost=MEMORY)
    return kdf.derive_phc_encoded(hashed.encode())


def _verify(hashed: str, stored: str) -> bool:
    from cryptography.exceptions import InvalidKey
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        Argon2id.verify_phc_encoded(hashed.encode(), stored)
    except InvalidKey:
        return False
    return True
