"""Statistics of each device: its connection now, and its messages and disconnections of the last 30 days.

The plugin's name is ``vitals``: its table in the configuration, its migrations and its route are called that.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from hub import (
    ClockRepaired,
    DeviceDeleted,
    DeviceDisconnected,
    Migration,
    Request,
    Route,
    StampColumns,
    StorageError,
    hookimpl,
)
from hub.api import VIEW_DEVICES
from hub.storage import shipped_migrations

if TYPE_CHECKING:
    from hub import Device, Hub, Transaction
    from hub.storage import Row

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
#: Days that are stored and returned (docs.blynk.io, Developer tools).
DAYS = 30
#: Seconds between two writes to the database. Each writes one row per device with activity.
FLUSH_INTERVAL = 3600.0


@attrs.frozen(kw_only=True)
class Day:
    """Statistics of one day. ``date`` is the start of the day (UTC), in milliseconds since 1970.

    ``messages`` is the number of messages by transport or other source.
    """

    date: int
    messages: dict[str, int]
    disconnections: int


@attrs.frozen(kw_only=True)
class Vitals:
    """Statistics of a device. Times are milliseconds since 1970 (UTC).

    ``rtt`` is the round-trip time to the device in milliseconds, None while it is unknown. ``online_for`` is the
    age of the connection in milliseconds. ``days`` are the last 30 days with activity, newest first, including today.
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
class _DayCounts:
    """Counters of one device and one day. ``messages`` is by transport or other source."""

    messages: Counter[str] = attrs.Factory(Counter)
    disconnections: int = 0

    def add(self, other: _DayCounts) -> None:
        self.messages.update(other.messages)
        self.disconnections += other.disconnections


class DeviceStats:
    """Counts messages and disconnections by device and day, and writes them to the database every hour."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        #: Counts that are not in the database yet, by (device id, day). A day is a number of days since 1970 (UTC).
        self._unwritten: dict[tuple[int, int], _DayCounts] = {}
        hub.subscribe(DeviceDisconnected, self._on_disconnected)
        hub.subscribe(DeviceDeleted, self._on_deleted)
        hub.subscribe(ClockRepaired, self._on_clock_repaired)

    def _today(self) -> int:
        return self._hub.clock.now() // DAY_MS

    def _counts_of_today(self, device_id: int) -> _DayCounts:
        return self._unwritten.setdefault((device_id, self._today()), _DayCounts())

    def _on_disconnected(self, fact: DeviceDisconnected) -> None:
        self._counts_of_today(fact.device.id).disconnections += 1

    def _on_deleted(self, fact: DeviceDeleted) -> None:
        self._unwritten = {key: counts for key, counts in self._unwritten.items() if key[0] != fact.device.id}

    def _on_clock_repaired(self, fact: ClockRepaired) -> None:
        """Drop the counts of days in the future: the days that they belong to are unknown."""
        correction = fact.correction
        self._unwritten = {
            (device_id, day): counts
            for (device_id, day), counts in self._unwritten.items()
            if not (correction.is_about(device_id) and correction.affects(day * DAY_MS))
        }

    def _collect(self, devices: Iterable[Device]) -> None:
        """Move the message counters that the value path keeps on each device into the counts of today."""
        for device in devices:
            if device.messages:
                messages, device.messages = device.messages, defaultdict(int)
                self._counts_of_today(device.id).messages.update(messages)

    async def run(self) -> None:
        """Write the counts to the database every hour, and when cancelled."""
        try:
            while True:
                await trio.sleep(FLUSH_INTERVAL)
                await self._flush()
        finally:
            with trio.CancelScope(shield=True):
                await self._flush()

    async def _flush(self) -> None:
        """Add the unwritten counts to the database. They stay unwritten if the database rejects them."""
        self._collect(tuple(self._hub.devices.by_id.values()))
        batch, self._unwritten = self._unwritten, {}
        today = self._today()

        async def write(tx: Transaction) -> None:
            for (device_id, day), counts in batch.items():
                await _add_to_row(tx, device_id, day, counts)
            if self._hub.clock.believable:
                await tx.execute("DELETE FROM vitals_days WHERE day <= ?", (today - DAYS,))

        if not batch:
            return
        try:
            await self._hub.storage.transaction(write)
        except StorageError as error:
            log.warning("Device statistics could not be written and are kept in memory for the next attempt: %s", error)
            for key, counts in batch.items():
                self._unwritten.setdefault(key, _DayCounts()).add(counts)

    async def stats_of(self, device: Device) -> Vitals:
        """Return a device's statistics from the database, with the counts that are not written yet."""
        hub = self._hub
        days = await self._days_of(device)
        session = hub.sessions.get(device.id)
        latest_times = [latest[0] for p in device.points.values() if (latest := hub.history.latest.get(p.series))]
        online = session is not None and device.connected is not None
        return Vitals(
            online=session is not None,
            via=session.via if session else None,
            address=session.address if session else None,
            rtt=session.rtt if session else None,
            online_for=hub.clock.now() - (device.connected or 0) if online else None,
            last_connected=device.connected,
            last_disconnected=device.disconnected,
            last_reported=max(latest_times, default=None),
            days=[
                Day(date=day * DAY_MS, messages=dict(counts.messages), disconnections=counts.disconnections)
                for day, counts in sorted(days.items(), reverse=True)
            ],
        )

    async def _days_of(self, device: Device) -> dict[int, _DayCounts]:
        """Return the counts of the last `DAYS` days, by day."""
        today = self._today()
        self._collect([device])
        sql = "SELECT day, messages, disconnections FROM vitals_days WHERE device = ? AND day > ?"
        rows: list[Row] = await self._hub.storage.configuration.fetch_all(sql, (device.id, today - DAYS))
        days = {day: _DayCounts(Counter(json.loads(messages)), times_gone) for day, messages, times_gone in rows}
        for (device_id, day), counts in self._unwritten.items():
            if device_id == device.id and day > today - DAYS:
                days.setdefault(day, _DayCounts()).add(counts)
        return days


async def _add_to_row(tx: Transaction, device_id: int, day: int, counts: _DayCounts) -> None:
    """Add counts to the row of a device and day. Does nothing if the device was deleted meanwhile."""
    sql = "SELECT messages, disconnections FROM vitals_days WHERE device = ? AND day = ?"
    row = await tx.fetch_one(sql, (device_id, day))
    total = _DayCounts(Counter(json.loads(row[0])), row[1]) if row else _DayCounts()
    total.add(counts)
    await tx.execute(
        "INSERT INTO vitals_days (device, day, messages, disconnections)"
        " SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM devices WHERE id = ?)"
        " ON CONFLICT (device, day)"
        " DO UPDATE SET messages = excluded.messages, disconnections = excluded.disconnections",
        (device_id, day, json.dumps(total.messages), total.disconnections, device_id),
    )


class DeviceStatsRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def stats(self, request: Request, device_id: int) -> Vitals:
        return await self._hub.service(DeviceStats).stats_of(self._hub.access.device_for(request, device_id))


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("vitals", "plugins.device_stats")


@hookimpl
def hub_stamps() -> Sequence[StampColumns]:
    return [StampColumns("vitals_days", ("day",), stamp=f"day * {DAY_MS}", device="device", removed=True)]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    nursery.start_soon(hub.service(DeviceStats).run)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    api = DeviceStatsRoutes(hub)
    return [Route("GET", "/api/v1/device/vitals", api.stats, VIEW_DEVICES, "Statistics of a device")]
