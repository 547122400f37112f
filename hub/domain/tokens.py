"""The tokens with which devices log in. Only their SHA-256 hashes are stored."""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from hub.errors import Conflict, Rejected
from hub.facts import DeviceChanged
from hub.model import Device, Principal
from hub.parsing.spellings import strip_padding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.bus import Bus
    from hub.clock import Clock
    from hub.sessions import Sessions
    from hub.storage import Row, Storage, Transaction
    from hub.storage.stamp_correction import Correction

log = logging.getLogger(__name__)

#: Characters of a token: 24 bytes as base64url if the hub generates it, any printable ASCII if it is imported.
LENGTH = 32
#: Bits of information in the characters of a token below which it is weak; random hexadecimal digits have about 120.
WEAK = 80.0
#: The number of devices that a warning names.
_NAMED = 5
WEAK_WARNING = "the token can be guessed; replace it when you can: pinwheel device token DEVICE --new"
NO_TOKEN = f"a token must have {LENGTH} printable ASCII characters"


def digest(token: str) -> bytes:
    """Return the hash of a token, which is stored instead of it."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def new_token() -> str:
    return secrets.token_urlsafe(24)


def is_token(token: str) -> bool:
    """Whether a text has the form of a token."""
    return len(token) == LENGTH and token.isascii() and token.isprintable() and " " not in token


def is_weak(token: str) -> bool:
    """Whether a token can be guessed: it has few characters or repeats a pattern of at most half its length."""
    counts = Counter(token).values()
    bits = sum(-count * math.log2(count / len(token)) for count in counts)
    return bits < WEAK or any(token == (token[:n] * len(token))[: len(token)] for n in range(1, len(token) // 2 + 1))


def warn_about_weak_tokens(tokens: Iterable[tuple[str, str]]) -> None:
    """Log the names of the devices with weak tokens, given (name, token)."""
    if names := [name for name, token in tokens if is_weak(token)]:
        others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        log.warning("tokens: %s%s: %s", ", ".join(names[:_NAMED]), others, WEAK_WARNING)


class Tokens:
    """The tokens of all devices, by hash."""

    def __init__(self, storage: Storage, bus: Bus, clock: Clock, sessions: Sessions) -> None:
        self._storage = storage
        self._bus = bus
        self._clock = clock
        self._sessions = sessions
        #: The device, the end of validity, and when the token was replaced (ms UTC), by hash.
        self._by_hash: dict[bytes, tuple[Device, int | None, int | None]] = {}

    def add(self, hash_: bytes, device: Device, expires: int | None = None, replaced: int | None = None) -> None:
        """Add a token that is in the database."""
        self._by_hash[hash_] = (device, expires, replaced)

    def remove(self, device: Device) -> None:
        """Remove the tokens of a device, which are no longer in the database."""
        self._by_hash = {hash_: entry for hash_, entry in self._by_hash.items() if entry[0] is not device}

    def device_for(self, token: str) -> Device | None:
        """Return the device with a valid token, as `hub.parsing.spellings.strip_padding` returns it."""
        entry = self._by_hash.get(digest(strip_padding(token)))
        if entry is None:
            return None
        device, expires, _ = entry
        return device if expires is None or expires > self._clock.now() else None

    def is_taken(self, token: str) -> bool:
        """Whether a device has the token, or had it until recently."""
        return digest(token) in self._by_hash

    def drop_expired(self) -> None:
        """Remove expired tokens, so that other devices may use them; none while the clock may be wrong."""
        ended = self._clock.deletable_before
        self._by_hash = {hash_: entry for hash_, entry in self._by_hash.items() if entry[1] is None or entry[1] > ended}

    async def delete_expired(self, tx: Transaction) -> None:
        """Delete from the database the tokens that `drop_expired` removes."""
        await tx.execute("DELETE FROM tokens WHERE expires <= ?", (self._clock.deletable_before,))

    def correct_stamps(self, correction: Correction) -> None:
        """Correct the times of tokens that were replaced while the clock was wrong."""
        for hash_, (device, expires, replaced) in self._by_hash.items():
            if expires is not None and replaced is not None and correction.is_about(device.id):
                ends = correction.corrected_end(expires, replaced)
                self._by_hash[hash_] = (device, ends, correction.corrected(replaced))

    def close_expired_sessions(self) -> None:
        """Close the sessions of devices that logged in with a token that has expired since."""
        now = self._clock.now()
        for hash_, (device, expires, _) in tuple(self._by_hash.items()):
            if expires is not None and expires <= now:
                session = self._sessions.get(device.id)
                if session is not None and digest(session.token) == hash_:
                    session.close("its token has ended")

    async def rotate(self, device: Device, by: Principal, overlap_ms: int = 0, token: str | None = None) -> str:
        """Give a device a new token and return it; the old ones expire after ``overlap_ms``.

        Raises `Rejected`, `Conflict`.
        """
        token = new_token() if token is None else token
        if not is_token(token):
            raise Rejected(NO_TOKEN)
        self.drop_expired()
        if self.is_taken(token):
            raise Conflict("the token is already used by a device")
        now = self._clock.now()
        expires = now + overlap_ms

        async def write(tx: Transaction) -> list[Row]:
            await self.delete_expired(tx)
            if overlap_ms:
                await tx.execute(
                    "UPDATE tokens SET expires = ?1, replaced = ?2"
                    " WHERE device = ?3 AND (expires IS NULL OR expires > ?1)",
                    (expires, now, device.id),
                )
            else:
                await tx.execute("DELETE FROM tokens WHERE device = ?", (device.id,))
            await tx.execute("INSERT INTO tokens (hash, device) VALUES (?, ?)", (digest(token), device.id))
            return await tx.fetch_all("SELECT hash, expires, replaced FROM tokens WHERE device = ?", (device.id,))

        rows = await self._storage.transaction(write)
        warn_about_weak_tokens([(device.name, token)])
        self.remove(device)
        for hash_, ends, replaced in rows:
            self.add(hash_, device, ends, replaced)
        if not overlap_ms:
            self._sessions.disconnect(device, "its token was replaced")
        self._bus.emit(DeviceChanged(device, by))
        return token
