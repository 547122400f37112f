"""Passwords: how they are kept, and how often somebody may try one."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Hashable
from functools import partial

import attrs
import trio

from hub.errors import Rejected, TooMany

#: OWASP's second choice for Argon2id, about 45 ms on a desktop's core: KiB of memory, passes, lanes.
MEMORY, PASSES, LANES = 19 * 1024, 2, 1
SHORTEST, LONGEST = 8, 200
#: Failures until somebody waits, and seconds of waiting (docs.blynk.io, Limits).
FAILURES, WAIT = 5, 600.0
#: At one account from anywhere, and from one address at all: people behind one router are many.
FAILURES_OF_ACCOUNT = 100
FAILURES_OF_ADDRESS = 50
#: Accounts and addresses remembered.
REMEMBERED = 30_000


def blynk_hash(email: str, password: str) -> str:
    """What Blynk's own clients send for a password: base64(sha256(password ‖ sha256(lower(email))))."""
    salt = hashlib.sha256(email.lower().encode()).digest()
    return base64.b64encode(hashlib.sha256(password.encode() + salt).digest()).decode()


def hash_of(email: str, password: str | None, sent: str | None) -> str:
    """Blynk's hash of a password, or the one that was ``sent``. Raises `Rejected`."""
    if (password is None) == (sent is None):
        raise Rejected("either password or passwordHash is needed")
    if password is not None:
        if not SHORTEST <= len(password) <= LONGEST:
            raise Rejected(f"The password must have {SHORTEST} to {LONGEST} characters.")
        return blynk_hash(email, password)
    assert sent is not None
    try:
        if len(base64.b64decode(sent, validate=True)) == hashlib.sha256().digest_size:
            return sent
    except ValueError:
        pass
    raise Rejected("passwordHash must be base64 of a SHA-256")


class Passwords:
    """Hashes in threads: few at once, since each takes a core and 19 MB."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(2)
        self._nobody: str | None = None

    async def keep(self, hashed: str) -> str:
        """What is stored of a password, given Blynk's hash of it."""
        return await trio.to_thread.run_sync(derive, hashed, limiter=self._limiter)

    async def fits(self, hashed: str, kept: str | None) -> bool:
        """Whether it is the password; as long for an account that is not there."""
        if kept is None and self._nobody is None:
            self._nobody = await self.keep("nobody")
        against = kept or self._nobody or ""
        right = await trio.to_thread.run_sync(partial(_verify, hashed, against), limiter=self._limiter)
        return right and kept is not None


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


@attrs.frozen
class Attempt:
    """One try, counted as failed until it has `succeeded`."""

    _failures: OrderedDict[Hashable, tuple[int, float]]
    _keys: tuple[Hashable, ...]

    def succeeded(self) -> None:
        """It was right: who tried has a clean slate, and the others are one failure better off."""
        self._failures.pop(self._keys[0], None)
        for key in self._keys[1:]:
            if found := self._failures.get(key):
                self._failures[key] = (found[0] - 1, found[1])


class Throttle:
    """Failures by what is tried, by account and by address; whoever has too many waits."""

    def __init__(self) -> None:
        #: Failures and when the last was, by the monotonic clock.
        self._failures: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def attempt(self, kind: str, account: str, address: str) -> Attempt:
        """Count a try before it is made, so that many at once count too. Raises `TooMany`.

        Five failures at an account from one address; more from all, so that a stranger does not lock somebody out.
        """
        now = time.monotonic()
        limits: dict[Hashable, int] = {
            (kind, account, address): FAILURES,
            (kind, account): FAILURES_OF_ACCOUNT,
            ("address", address): FAILURES_OF_ADDRESS,
        }
        for key, most in limits.items():
            count, last = self._failures.get(key, (0, 0.0))
            if count >= most and now < last + WAIT:
                raise TooMany("There were too many failed attempts.", last + WAIT - now)
        for key in limits:
            count, last = self._failures.pop(key, (0, now))
            self._failures[key] = (1 if now > last + WAIT else count + 1, now)
        while len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return Attempt(self._failures, tuple(limits))
