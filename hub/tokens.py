"""The tokens that devices log in with. Only what SHA-256 makes of them is kept."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from hub.errors import Conflict, Rejected
from hub.facts import DeviceChanged
from hub.model import Device, Principal

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.sessions import Sessions
    from hub.storage import Row, Storage, Transaction

#: Characters in a token: 24 bytes as base64url when we make it, any printable ASCII when it is imported.
LENGTH = 32
NO_TOKEN = f"a token has {LENGTH} printable ASCII characters"


def digest(token: str) -> bytes:
    """What is stored of a token, and what it is looked up by. White space around it does not count.

    No token has any (`is_token`), and whatever way one comes, it may have been read from a file with its line end.
    """
    return hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()


def new_token() -> str:
    return secrets.token_urlsafe(24)


def is_token(token: str) -> bool:
    """Whether a board could carry this as its token."""
    return len(token) == LENGTH and token.isascii() and token.isprintable() and " " not in token


class Tokens:
    def __init__(self, storage: Storage, bus: Bus, clock: Clock, sessions: Sessions) -> None:
        self._storage = storage
        self._bus = bus
        self._clock = clock
        self._sessions = sessions
        #: Whose, and until when (ms UTC), by hash.
        self._kept: dict[bytes, tuple[Device, int | None]] = {}

    def keep(self, hash_: bytes, device: Device, expires: int | None = None) -> None:
        """Remember one that is in the database."""
        self._kept[hash_] = (device, expires)

    def forget(self, device: Device) -> None:
        """Forget those of a device, which are in the database no more."""
        self._kept = {hash_: kept for hash_, kept in self._kept.items() if kept[0] is not device}

    def of(self, token: str) -> Device | None:
        """Whose token this is."""
        found = self._kept.get(digest(token))
        if found is None:
            return None
        device, expires = found
        return device if expires is None or expires > self._clock.now() else None

    def is_taken(self, token: str) -> bool:
        """Whether some device has it, or had it until lately."""
        return digest(token) in self._kept

    def drop_expired(self) -> None:
        """Forget those that have ended, so that another device may carry them; not by a clock that may be wrong."""
        ended = self._forgotten_before()
        self._kept = {hash_: kept for hash_, kept in self._kept.items() if kept[1] is None or kept[1] > ended}

    async def write_dropped(self, tx: Transaction) -> None:
        """Drop them in the database too."""
        await tx.execute("DELETE FROM tokens WHERE expires <= ?", (self._forgotten_before(),))

    def _forgotten_before(self) -> int:
        return self._clock.now() if self._clock.believable else 0

    def end_expired(self) -> None:
        """End the sessions of those whose overlap is over."""
        now = self._clock.now()
        for hash_, (device, expires) in tuple(self._kept.items()):
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
        expires = self._clock.now() + overlap_ms

        async def write(tx: Transaction) -> list[Row]:
            await self.write_dropped(tx)
            if overlap_ms:
                await tx.execute(
                    "UPDATE tokens SET expires = min(coalesce(expires, ?), ?) WHERE device = ?",
                    (expires, expires, device.id),
                )
            else:
                await tx.execute("DELETE FROM tokens WHERE device = ?", (device.id,))
            await tx.execute("INSERT INTO tokens (hash, device) VALUES (?, ?)", (digest(token), device.id))
            return await tx.fetch_all("SELECT hash, expires FROM tokens WHERE device = ?", (device.id,))

        rows = await self._storage.transaction(write)
        self.forget(device)
        for hash_, ends in rows:
            self.keep(hash_, device, ends)
        if not overlap_ms:
            self._sessions.end(device, "its token was replaced")
        self._bus.emit(DeviceChanged(device, by))
        return token
