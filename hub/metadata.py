"""What a device is, in words: name, hotspot, and the fields its template defines. Plain text, seldom changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import NotFound, Rejected
from hub.facts import MetadataChanged
from hub.model import Device, Principal, SetMetadata
from hub.values import is_text

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.sessions import Sessions
    from hub.storage import Storage, Transaction

#: Fields every device has, whatever its template says.
BUILT_IN = frozenset({"Hotspot Name", "Device UID", "Time Zone"})
MAX_LENGTH = 255


class Metadata:
    def __init__(self, storage: Storage, bus: Bus, sessions: Sessions, clock: Clock) -> None:
        self._storage = storage
        self._bus = bus
        self._sessions = sessions
        self._clock = clock

    async def get(self, device: Device, name: str) -> str:
        """The value of a field, "" if it has none. Raises `NotFound`."""
        if name == "Device Name":
            return device.name
        default = self._default(device, name)

        async def read(tx: Transaction) -> str | None:
            row = await tx.fetch_one("SELECT value FROM metadata WHERE device = ? AND name = ?", (device.id, name))
            return None if row is None else row[0]

        stored = await self._storage.read(read)
        return default if stored is None else stored

    async def set(self, device: Device, name: str, value: str, by: Principal) -> bool:
        """Set a field, durably; False when it had that value. Raises `NotFound` or `Rejected`."""
        if len(value) > MAX_LENGTH or not is_text(value) or not is_text(name):
            raise Rejected(f"A metadata value is text of at most {MAX_LENGTH} characters.")
        if value == await self.get(device, name):
            return False
        self._default(device, name)
        now = self._clock.now()

        async def write(tx: Transaction) -> None:
            await tx.execute(
                "INSERT INTO metadata (device, name, value, updated) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value, updated = excluded.updated",
                (device.id, name, value, now),
            )

        await self._storage.transaction(write)
        self._bus.emit(MetadataChanged(device, name, value, by))
        session = self._sessions.get(device.id)
        if session is not None and by.kind != "device":
            session.send(SetMetadata(name, value))
        return True

    @staticmethod
    def _default(device: Device, name: str) -> str:
        for field in device.template.metadata:
            if field.name == name:
                return field.default
        if name in BUILT_IN:
            return ""
        raise NotFound("MetaField doesn't exist.")

    async def of(self, device: Device) -> dict[str, str]:
        """All fields that the template defines or somebody set."""

        async def read(tx: Transaction) -> list[tuple[str, str]]:
            return await tx.fetch_all("SELECT name, value FROM metadata WHERE device = ?", (device.id,))

        return {field.name: field.default for field in device.template.metadata} | dict(await self._storage.read(read))
