"""What happened to a device, in the order it happened: events that it logged, and their resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import Rejected, StorageError, TooMany
from hub.facts import EventLogged, EventResolved
from hub.model import Device, EventType, TimelineEvent

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.storage import Storage, Transaction

#: Characters in a description that came with the event; a longer one discards it (docs.blynk.io, Log Event).
MAX_DESCRIPTION = 300
#: Events per device and day (docs.blynk.io, Limits).
MAX_PER_DAY = 100
#: Milliseconds between two events of one code (docs.blynk.io, Limits).
MIN_GAP_MS = 1000
#: Edgent logs the progress of a firmware update under this code in any template.
SYSTEM = {"sys_ota": EventType(code="sys_ota", name="Firmware update", type="info")}

UNKNOWN = "Can't find Event with this code in Product template"


class Timeline:
    def __init__(self, storage: Storage, bus: Bus, clock: Clock) -> None:
        self._storage = storage
        self._bus = bus
        self._clock = clock
        self._today: tuple[int, dict[int, int]] = (0, {})
        self._newest: dict[tuple[int, str], int] = {}

    async def log(self, device: Device, code: str, description: str = "") -> TimelineEvent:
        """Log an event, durably. Raises `Rejected` when the template has no such code, `TooMany` over the limits."""
        kind = next((e for e in device.template.events if e.code == code), None) or SYSTEM.get(code)
        if kind is None:
            raise Rejected(UNKNOWN)
        if len(description) > MAX_DESCRIPTION:
            raise Rejected(f"The description is longer than {MAX_DESCRIPTION} characters.")
        return await self._add(device, kind, description)

    async def note(self, device: Device, name: str, description: str) -> TimelineEvent:
        """Put down what is no event of the template, such as a notification of old firmware."""
        return await self._add(device, EventType(code="note", name=name), description[:MAX_DESCRIPTION])

    async def _add(self, device: Device, kind: EventType, description: str) -> TimelineEvent:
        now = self._clock.now()
        self._admit(device, kind.code, now)
        text = description or kind.description

        async def write(tx: Transaction) -> int:
            return await tx.execute(
                "INSERT INTO timeline (device, ts, code, type, name, description) VALUES (?, ?, ?, ?, ?, ?)",
                (device.id, now, kind.code, kind.type, kind.name, text),
            )

        try:
            row = await self._storage.transaction(write)
        except StorageError:
            self._newest.pop((device.id, kind.code), None)
            self._today[1][device.id] -= 1
            raise
        event = TimelineEvent(
            id=row, device=device.id, ts=now, code=kind.code, type=kind.type, name=kind.name, description=text
        )
        self._bus.emit(EventLogged(device, event))
        return event

    def _admit(self, device: Device, code: str, now: int) -> None:
        newest = self._newest.get((device.id, code))
        if newest is not None and now - newest < MIN_GAP_MS:
            raise TooMany(f"Event {code} was logged less than a second ago.")
        day = now // 86_400_000
        if day != self._today[0]:
            self._today = (day, {})
            self._newest.clear()
        count = self._today[1].get(device.id, 0)
        if count >= MAX_PER_DAY:
            raise TooMany(f"The device has logged {MAX_PER_DAY} events today.", 86_400 - now // 1000 % 86_400)
        self._today[1][device.id] = count + 1
        self._newest[device.id, code] = now

    async def resolve(self, device: Device, code: str, every: bool = False) -> int:
        """Resolve the newest open event of a code, or every one; returns how many."""
        now = self._clock.now()

        async def write(tx: Transaction) -> int:
            rows = await tx.fetch_all(
                "SELECT id FROM timeline WHERE device = ? AND code = ? AND resolved IS NULL ORDER BY id DESC LIMIT ?",
                (device.id, code, -1 if every else 1),
            )
            for (event,) in rows:
                await tx.execute("UPDATE timeline SET resolved = ? WHERE id = ?", (now, event))
            return len(rows)

        if count := await self._storage.transaction(write):
            self._bus.emit(EventResolved(device, code, count))
        return count

    async def of(self, device: Device, limit: int = 100) -> list[TimelineEvent]:
        """The newest events of a device, newest first."""

        async def read(tx: Transaction) -> list[TimelineEvent]:
            sql = (
                "SELECT id, device, ts, code, type, name, description, resolved FROM timeline"
                " WHERE device = ? ORDER BY id DESC LIMIT ?"
            )
            names = ("id", "device", "ts", "code", "type", "name", "description", "resolved")
            return [
                TimelineEvent(**dict(zip(names, row, strict=True)))
                for row in await tx.fetch_all(sql, (device.id, limit))
            ]

        return await self._storage.read(read)
