"""The tokens that devices log in with. Only what SHA-256 makes of them is kept."""

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
from hub.spellings import strip_padding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.bus import Bus
    from hub.clock import Clock
    from hub.sessions import Sessions
    from hub.stamps import Correction
    from hub.storage import Row, Storage, Transaction

log = logging.getLogger(__name__)

#: Characters in a token: 24 bytes as base64url when we make it, any printable ASCII when it is imported.
LENGTH = 32
#: Bits of information in its characters below which a token is called weak; random hexadecimal digits have about 120.
WEAK = 80.0
#: Devices that a warning names.
_NAMED = 5
WEAK_WARNING = "the token can be guessed; replace it when you can: pinwheel device token DEVICE --new"
NO_TOKEN = f"a token has {LENGTH} printable ASCII characters"


def digest(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def new_token() -> str:
    return secrets.token_urlsafe(24)


def is_token(token: str) -> bool:
    """Whether a board could carry this as its token."""
    return len(token) == LENGTH and token.isascii() and token.isprintable() and " " not in token


def is_weak(token: str) -> bool:
    """Whether a token can be guessed: it repeats a few characters, or a pattern of at most half its length."""
    counts = Counter(token).values()
    bits = sum(-count * math.log2(count / len(token)) for count in counts)
    return bits < WEAK or any(token == (token[:n] * len(token))[: len(token)] for n in range(1, len(token) // 2 + 1))


def warn_of_weak(tokens: Iterable[tuple[str, str]]) -> None:
    """Log the names of devices with tokens that can be guessed, given (name, token)."""
    if names := [name for name, token in tokens if is_weak(token)]:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        log.warning("tokens: %s%s: %s", ", ".join(names[:_NAMED]), more, WEAK_WARNING)


class Tokens:
    def __init__(self, storage: Storage, bus: Bus, clock: Clock, sessions: Sessions) -> None:
        self._storage = storage
        self._bus = bus
        self._clock = clock
        self._sessions = sessions
        #: Whose, until when, and when that was decided (ms UTC), by hash.
        self._kept: dict[bytes, tuple[Device, int | None, int | None]] = {}

    def keep(self, hash_: bytes, device: Device, expires: int | None = None, replaced: int | None = None) -> None:
        """Remember one that is in the database."""
        self._kept[hash_] = (device, expires, replaced)

    def forget(self, device: Device) -> None:
        """Forget those of a device, which are in the database no more."""
        self._kept = {hash_: kept for hash_, kept in self._kept.items() if kept[0] is not device}

    def of(self, token: str) -> Device | None:
        """Whose token this is; what `hub.spellings.strip_padding` removes around it does not count."""
        found = self._kept.get(digest(strip_padding(token)))
        if found is None:
            return None
        device, expires, _ = found
        return device if expires is None or expires > self._clock.now() else None

    def is_taken(self, token: str) -> bool:
        """Whether some device has it, or had it until lately."""
        return digest(token) in self._kept

    def drop_expired(self) -> None:
        """Forget those that have ended, so that another device may carry them; not by a clock that may be wrong."""
        ended = self._clock.deletable_before
        self._kept = {hash_: kept for hash_, kept in self._kept.items() if kept[1] is None or kept[1] > ended}

    async def write_dropped(self, tx: Transaction) -> None:
        """Drop them in the database too."""
        await tx.execute("DELETE FROM tokens WHERE expires <= ?", (self._clock.deletable_before,))

    def correct_stamps(self, correction: Correction) -> None:
        """Correct ends that a wrong clock has given."""
        for hash_, (device, expires, replaced) in self._kept.items():
            if expires is not None and replaced is not None and correction.is_about(device.id):
                ends = correction.corrected_end(expires, replaced)
                self._kept[hash_] = (device, ends, correction.corrected(replaced))

    def end_expired(self) -> None:
        """End the sessions of those whose overlap is over."""
        now = self._clock.now()
        for hash_, (device, expires, _) in tuple(self._kept.items()):
            if expires is not None and expires <= now:
                session = self._sessions.get(device.id)
                if session is not None and digest(session.token) == hash_:
                    session.close("its token has ended")

    async def rotate(self, device: Device, by: Principal, overlap_ms: int = 0, token: str | None = None) -> str:
        """Give a device a new token; the old ones end after ``overlap_ms``. Raises `Rejected`, `Conflict`."""
        token = new_token() if token is None else token
        if not is_token(token):
            raise Rejected(NO_TOKEN)
        self.drop_expired()
        if self.is_taken(token):
            raise Conflict("the token is in use")
        now = self._clock.now()
        expires = now + overlap_ms

        async def write(tx: Transaction) -> list[Row]:
            await self.write_dropped(tx)
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
        warn_of_weak([(device.name, token)])
        self.forget(device)
        for hash_, ends, replaced in rows:
            self.keep(hash_, device, ends, replaced)
        if not overlap_ms:
            self._sessions.disconnect(device, "its token was replaced")
        self._bus.emit(DeviceChanged(device, by))
        return token
