"""How each device does: what it sends and by which way, how often it goes away, how far it is."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from hub.api import VIEW_DEVICES, Request, Route
from hub.errors import StorageError
from hub.facts import ClockRepaired, DeviceDeleted, DeviceDisconnected
from hub.hookspecs import hookimpl
from hub.stamps import StampColumns
from hub.storage import Migration, shipped_migrations

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.model import Device
    from hub.storage import Row, Transaction

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
#: Days that are kept and shown (docs.blynk.io, Developer tools).
DAYS = 30
#: Seconds between two writes: a row for each device that did something.
FLUSH_EVERY = 3600.0


@attrs.frozen(kw_only=True)
class Day:
    """``date`` is the beginning of the day in UTC, milliseconds."""

    date: int
    messages: dict[str, int]
    disconnections: int


@attrs.frozen(kw_only=True)
class Vitals:
    """Times are milliseconds UTC; ``rtt`` is milliseconds to the device and back, None while that is not known.

    ``online_for`` is milliseconds since it connected. ``days`` are the last 30, newest first, today among them.
    """

    online: bool
    via: str | None
    address: str | None
    rtt: float | None
    online_for: int | None
    last_connected: int | None
    last_disconnected: int | None
    last_reported: int | None
    days: list[Day]


@attrs.define
class _Counts:
    """Of one device and day; ``messages`` by where they came from."""

    messages: Counter[str] = attrs.Factory(Counter)
    disconnections: int = 0


class Vitality:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        #: What is counted and not yet written, by (device, day).
        self._open: dict[tuple[int, int], _Counts] = {}
        hub.subscribe(DeviceDisconnected, self._disconnected)
        hub.subscribe(DeviceDeleted, self._deleted)
        hub.subscribe(ClockRepaired, self._clock_repaired)

    def _today(self) -> int:
        return self._hub.clock.now() // DAY_MS

    def _counts(self, device: int) -> _Counts:
        return self._open.setdefault((device, self._today()), _Counts())

    def _disconnected(self, fact: DeviceDisconnected) -> None:
        self._counts(fact.device.id).disconnections += 1

    def _deleted(self, fact: DeviceDeleted) -> None:
        self._open = {key: counts for key, counts in self._open.items() if key[0] != fact.device.id}

    def _clock_repaired(self, fact: ClockRepaired) -> None:
        """Forget the counts of days that have not come: nothing says on which days they belong."""
        correction = fact.correction
        self._open = {
            (device, day): counts
            for (device, day), counts in self._open.items()
            if not (correction.is_about(device) and correction.affects(day * DAY_MS))
        }

    def _collect(self, devices: Sequence[Device]) -> None:
        """Take over what the value path has counted."""
        for device in devices:
            if device.messages:
                counted, device.messages = device.messages, defaultdict(int)
                self._counts(device.id).messages.update(counted)

    async def run(self) -> None:
        """Write what was counted, every hour and at the end, until cancelled."""
        try:
            while True:
                await trio.sleep(FLUSH_EVERY)
                await self._flush()
        finally:
            with trio.CancelScope(shield=True):
                await self._flush()

    async def _flush(self) -> None:
        self._collect(tuple(self._hub.devices.by_id.values()))
        counted, self._open = self._open, {}
        today = self._today()

        async def write(tx: Transaction) -> None:
            for (device, day), counts in counted.items():
                sql = "SELECT messages, disconnections FROM vitals_days WHERE device = ? AND day = ?"
                row = await tx.fetch_one(sql, (device, day))
                messages = Counter(json.loads(row[0])) if row else Counter()
                messages.update(counts.messages)
                await tx.execute(
                    "INSERT OR REPLACE INTO vitals_days (device, day, messages, disconnections)"
                    " SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM devices WHERE id = ?1)",
                    (device, day, json.dumps(messages), (row[1] if row else 0) + counts.disconnections),
                )
            if self._hub.clock.believable:
                await tx.execute("DELETE FROM vitals_days WHERE day <= ?", (today - DAYS,))

        if not counted:
            return
        try:
            await self._hub.storage.transaction(write)
        except StorageError as error:
            log.warning("vitals: not written: %s", error)
            for key, counts in counted.items():
                again = self._open.setdefault(key, _Counts())
                again.messages.update(counts.messages)
                again.disconnections += counts.disconnections

    async def of(self, device: Device) -> Vitals:
        hub, today = self._hub, self._today()
        self._collect([device])
        sql = "SELECT day, messages, disconnections FROM vitals_days WHERE device = ? AND day > ?"
        rows: list[Row] = await hub.storage.configuration.fetch_all(sql, (device.id, today - DAYS))
        days = {day: _Counts(Counter(json.loads(messages)), gone) for day, messages, gone in rows}
        for (number, day), counts in self._open.items():
            if number == device.id and day > today - DAYS:
                into = days.setdefault(day, _Counts())
                into.messages.update(counts.messages)
                into.disconnections += counts.disconnections
        session = hub.sessions.get(device.id)
        latest = [found[0] for point in device.points.values() if (found := hub.history.latest.get(point.series))]
        online = session is not None and device.connected is not None
        return Vitals(
            online=session is not None,
            via=session.via if session else None,
            address=session.address if session else None,
            rtt=session.rtt if session else None,
            online_for=hub.clock.now() - (device.connected or 0) if online else None,
            last_connected=device.connected,
            last_disconnected=device.disconnected,
            last_reported=max(latest, default=None),
            days=[
                Day(date=day * DAY_MS, messages=dict(days[day].messages), disconnections=days[day].disconnections)
                for day in sorted(days, reverse=True)
            ],
        )


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("vitals", "plugins.vitals")


@hookimpl
def hub_stamps() -> Sequence[StampColumns]:
    return [StampColumns("vitals_days", ("day",), stamp=f"day * {DAY_MS}", device="device", removed=True)]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    nursery.start_soon(hub.service(Vitality).run)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    async def vitals(request: Request, device_id: int) -> Vitals:
        return await hub.service(Vitality).of(hub.access.device_for(request, device_id))

    return [
        Route(
            method="GET",
            path="/api/v1/device/vitals",
            handler=vitals,
            permission=VIEW_DEVICES,
            summary="The state of a device",
        )
    ]
