"""The timelines of devices: events that devices log, changes of their status, and comments and resolutions by users.

The events of a template have the types info, warning, critical and content. The hub's own events have the types online,
offline, status (of the lifecycle) and info (``sys_ota``, notes).

The limits of a device (events of a day, a second between two of one code) reject an event. The limits of an event type
(``every``, ``period``) decide only whether it notifies users. Their counters are stored by device and code, and change
in the transaction that records the event: a restart forgets none, and an event that failed was not counted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub.errors import NotFound, Rejected, StorageError, TooMany
from hub.facts import EventChanged, EventLogged, EventResolved
from hub.model import Comment, Device, EventType, Principal, StatusSettings, TimelineEvent
from hub.parsing.structuring import seconds
from hub.rate_limits import DailyQuota
from hub.storage import among
from hub.values import is_text

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.storage import Row, Storage, Transaction
    from hub.storage.stamp_correction import Correction

#: Characters of the description that a device sends; a longer one discards the event (docs.blynk.io, Log Event).
MAX_DESCRIPTION = 300
MAX_COMMENT = 1_000
#: Milliseconds between two events of one code (docs.blynk.io, Limits).
MIN_GAP_MS = 1000
#: Events in one page, and events deleted in one transaction.
MAX_PAGE = 1_000
#: Groups of events in one tally.
MAX_GROUPS = 10_000
#: With up to so many devices, events are found device by device; with more, by time.
FEW_DEVICES = 500
#: Events of all devices that one statement looks through, and how many statements there are at most: for few devices,
#: and for many. So a query of many devices takes a bounded time, and other reads of the file get their turn.
FEW_WINDOWS, MANY_WINDOWS = (100_000, 20), (20_000, 20)
#: Edgent logs the progress of a firmware update under this code in any template.
SYSTEM = {"sys_ota": EventType(code="sys_ota", name="Firmware update", type="info", show_in_notifications=False)}

UNKNOWN = "Can't find Event with this code in Product template"
NOT_FOUND = "There is no such event."

#: The stamp and the id of an event, after which older ones follow.
Cursor = tuple[int, int]

_COLUMNS = "id, device, ts, code, type, name, description, resolved, archived, resolved_by, note"


@attrs.frozen(kw_only=True)
class TimelineFilter:
    """Selects events of ``devices``, from ``start`` to before ``end`` (milliseconds UTC), that contain ``text``.

    ``devices`` are ids; None is all devices of the hub. No ``types`` or ``names`` are all of them.
    """

    devices: Sequence[int] | None
    types: Sequence[str] = ()
    names: Sequence[str] = ()
    resolved: bool | None = None
    archived: bool | None = False
    start: int = 0
    end: int = 2**62
    text: str = ""


@attrs.frozen
class TimelinePage:
    """Events of many devices, newest first. ``next`` is the cursor of the events after them, None if there are none.

    There may be fewer events than asked for, or none, though others follow: a query looks through a limited number.
    """

    events: list[TimelineEvent]
    next: Cursor | None


@attrs.frozen
class NewEvent:
    """An event to record; ``settings`` decide whether it is on the timeline, and whether it notifies."""

    device: Device
    event: TimelineEvent
    settings: EventType | StatusSettings

    @property
    def counter(self) -> str:
        """The name of the counter of notifications: no code of a template has a colon, a status may have any name."""
        return self.event.code if isinstance(self.settings, EventType) else f"status:{self.event.code}"


class Timeline:
    """The timelines of all devices."""

    def __init__(self, storage: Storage, bus: Bus, clock: Clock, per_day: int) -> None:
        self._storage = storage
        self._bus = bus
        self._clock = clock
        self._daily = DailyQuota(per_day)
        self._newest: dict[tuple[int, str], int] = {}

    # -- logging --------------------------------------------------------------------------------------------------

    async def log(self, device: Device, code: str, description: str = "") -> TimelineEvent:
        """Log an event, durably.

        Raises `Rejected` when the template has no such code, `TooMany` over the limits of the device, `StorageError`.
        """
        kind = next((e for e in device.template.events if e.code == code), None) or SYSTEM.get(code)
        if kind is None:
            raise Rejected(UNKNOWN)
        if len(description) > MAX_DESCRIPTION or not is_text(description):
            raise Rejected(f"The description is longer than {MAX_DESCRIPTION} characters.")
        return await self._add(device, kind, description)

    async def add_note(self, device: Device, name: str, description: str) -> TimelineEvent:
        """Log a note that is not an event of the template, such as a notification by old firmware."""
        return await self._add(device, EventType(code="note", name=name), description[:MAX_DESCRIPTION])

    async def _add(self, device: Device, kind: EventType, description: str) -> TimelineEvent:
        now = self._clock.now()
        key = (device.id, kind.code)
        newest = self._newest.get(key)
        if newest is not None and now - newest < MIN_GAP_MS:
            raise TooMany(f"Event {kind.code} was logged less than a second ago.")
        if (wait := self._daily.take(device.id, 1, now)) is not None:
            raise TooMany(f"The device has logged {self._daily.limit} events today.", wait)
        self._newest[key] = now
        event = TimelineEvent(
            id=0,
            device=device.id,
            ts=now,
            code=kind.code,
            type=kind.type,
            name=kind.name,
            description=description or kind.description,
        )
        try:
            [event] = await self.record([NewEvent(device, event, kind)])
        except StorageError:
            self._newest.pop(key, None)
            self._daily.give_back(device.id, 1)
            raise
        return event

    async def record(
        self, events: Sequence[NewEvent], write_first: Callable[[Transaction], Awaitable[None]] | None = None
    ) -> list[TimelineEvent]:
        """Record events in one transaction, after ``write_first``, and emit them; return them with their ids.

        Nothing is written for events that are not on the timeline and have no limits.
        """

        async def write(tx: Transaction) -> list[tuple[int, bool]]:
            if write_first is not None:
                await write_first(tx)
            return [await _write_event(tx, new) for new in events]

        if write_first is None and not any(new.settings.timeline or _is_limited(new.settings) for new in events):
            results = [(0, _notifies(new.settings)) for new in events]
        else:
            results = await self._storage.transaction(write)
        recorded = []
        for new, (number, notify) in zip(events, results, strict=True):
            recorded.append(attrs.evolve(new.event, id=number))
            self._bus.emit(EventLogged(new.device, recorded[-1], notify))
        return recorded

    async def prune(self, before: int) -> int:
        """Delete up to `MAX_PAGE` events older than ``before``; return how many were deleted."""

        async def write(tx: Transaction) -> int:
            old = [
                row[0] for row in await tx.fetch_all("SELECT id FROM timeline WHERE ts < ? LIMIT ?", (before, MAX_PAGE))
            ]
            condition, ids = among("id", old)
            await tx.execute(f"DELETE FROM timeline WHERE {condition}", (ids,))
            return len(old)

        return await self._storage.transaction(write)

    def correct_stamps(self, correction: Correction) -> None:
        """Forget wrong times of the newest events, since the gap to new events begins there."""
        self._newest = {
            key: at for key, at in self._newest.items() if not (correction.is_about(key[0]) and correction.affects(at))
        }

    # -- changing -------------------------------------------------------------------------------------------------

    async def resolve(self, device: Device, code: str, every: bool = False, by: str = "device") -> int:
        """Resolve the newest open event of a code, or all of them; return how many were resolved."""
        now = self._clock.now()

        async def write(tx: Transaction) -> int:
            rows = await tx.fetch_all(
                "SELECT id FROM timeline WHERE device = ? AND code = ? AND resolved IS NULL ORDER BY id DESC LIMIT ?",
                (device.id, code, -1 if every else 1),
            )
            for (event,) in rows:
                await tx.execute("UPDATE timeline SET resolved = ?, resolved_by = ? WHERE id = ?", (now, by, event))
            return len(rows)

        if count := await self._storage.transaction(write):
            self._bus.emit(EventResolved(device, code, count))
        return count

    async def has_open(self, device: Device, codes: Sequence[str]) -> bool:
        """Whether a device has an event with one of these codes that is not resolved."""
        condition, values = among("code", codes)
        sql = f"SELECT id FROM timeline WHERE device = ? AND resolved IS NULL AND {condition} LIMIT 1"
        return bool(await self._storage.configuration.fetch_all(sql, (device.id, values)))

    async def resolve_event(self, device: Device, event: int, note: str, by: Principal) -> TimelineEvent:
        """Resolve a warning or a critical event, with a note. Raises `NotFound`, `Rejected`."""
        _check_text(note)
        old = await self.get(device, event)
        if old.type not in ("warning", "critical"):
            raise Rejected(f"An event of type {old.type} needs no resolution.")
        if old.resolved is not None:
            raise Rejected("The event is resolved already.")
        changed = await self._change(
            device, event, "resolved = ?, resolved_by = ?, note = ?", (self._clock.now(), by.actor_id, note)
        )
        self._bus.emit(EventResolved(device, changed.code, 1))
        return changed

    async def archive(self, device: Device, event: int, archived: bool) -> TimelineEvent:
        """Archive an event, or restore it. Raises `NotFound`, `Rejected` when its type cannot be archived."""
        code = (await self.get(device, event)).code
        kind = next((e for e in device.template.events if e.code == code), None)
        if archived and kind is not None and not kind.archivable:
            raise Rejected(f"The event type {kind.name} does not allow archiving.")
        return await self._change(device, event, "archived = ?", (self._clock.now() if archived else None,))

    async def comment(self, device: Device, event: int, text: str, by: Principal) -> TimelineEvent:
        """Add a comment to an event. Raises `NotFound`, `Rejected`."""
        _check_text(text)
        if not text.strip():
            raise Rejected("A comment must have some text.")
        await self.get(device, event)
        now = self._clock.now()

        async def write(tx: Transaction) -> None:
            sql = "INSERT INTO comments (event, ts, by, text) VALUES (?, ?, ?, ?)"
            await tx.execute(sql, (event, now, by.actor_id, text))

        await self._storage.transaction(write)
        changed = await self.get(device, event)
        self._bus.emit(EventChanged(device, changed))
        return changed

    async def comments_by(self, actor: str) -> list[tuple[int, Comment]]:
        """Return all comments of an actor ("user 3"), oldest first, each with the id of its device."""
        sql = (
            "SELECT device, comments.ts, by, text FROM comments JOIN timeline ON timeline.id = event"
            " WHERE by = ? ORDER BY comments.id"
        )

        async def read(tx: Transaction) -> list[Row]:
            return await tx.fetch_all(sql, (actor,))

        return [(device, Comment(ts=ts, by=by, text=text)) for device, ts, by, text in await self._storage.read(read)]

    async def _change(self, device: Device, event: int, assignments: str, values: tuple[Any, ...]) -> TimelineEvent:
        async def write(tx: Transaction) -> None:
            await tx.execute(f"UPDATE timeline SET {assignments} WHERE id = ?", (*values, event))

        await self._storage.transaction(write)
        changed = await self.get(device, event)
        self._bus.emit(EventChanged(device, changed))
        return changed

    # -- reading --------------------------------------------------------------------------------------------------

    async def get(self, device: Device, event: int) -> TimelineEvent:
        """Return an event of a device, by its id. Raises `NotFound`."""
        if not 0 <= event < 2**63:
            raise NotFound(NOT_FOUND)

        async def read(tx: Transaction) -> list[TimelineEvent]:
            sql = f"SELECT {_COLUMNS} FROM timeline WHERE id = ? AND device = ?"
            return await _with_comments(tx, await tx.fetch_all(sql, (event, device.id)))

        if not (events := await self._storage.read(read)):
            raise NotFound(NOT_FOUND)
        return events[0]

    async def newest(self, device: Device, limit: int = 100) -> list[TimelineEvent]:
        """Return the newest events of a device, newest first."""
        return (await self.find(TimelineFilter(devices=[device.id]), 0, limit))[0]

    async def find(self, filter_: TimelineFilter, page: int = 0, size: int = 100) -> tuple[list[TimelineEvent], int]:
        """Return a page of the events that match a filter, newest first, and the number of all that match."""
        where, values = _where(filter_)

        async def read(tx: Transaction) -> tuple[list[TimelineEvent], int]:
            [(count,)] = await tx.fetch_all(f"SELECT count(*) FROM timeline WHERE {where}", values)
            sql = f"SELECT {_COLUMNS} FROM timeline WHERE {where} ORDER BY ts DESC, id DESC LIMIT ? OFFSET ?"
            return await _with_comments(tx, await tx.fetch_all(sql, (*values, size, page * size))), count

        return await self._storage.read(read)

    async def tally(
        self, filter_: TimelineFilter, by: Sequence[Literal["device", "type", "name"]], step: int | None = None
    ) -> list[tuple[tuple[Any, ...], int]]:
        """Return the numbers of matching events by the columns ``by``, most events first: at most `MAX_GROUPS` groups.

        With ``step``, groups are also by the number of whole steps of so many milliseconds since the filter's start,
        which comes last.
        """
        where, values = _where(filter_)
        columns: list[str] = list(by)
        if step is not None:
            columns.append("(ts - ?) / ?")
            values = [filter_.start, step, *values]
        positions = ", ".join(str(n + 1) for n in range(len(columns)))
        grouping = f" GROUP BY {positions} ORDER BY count(*) DESC, {positions}" if columns else ""
        sql = f"SELECT {', '.join([*columns, 'count(*)'])} FROM timeline WHERE {where}{grouping}"
        rows = await self._storage.configuration.fetch_all(f"{sql} LIMIT ?", (*values, MAX_GROUPS))
        return [(tuple(group), count) for *group, count in rows]

    async def count(self, filter_: TimelineFilter) -> dict[str, int]:
        """Return the number of matching events by type."""
        where, values = _where(filter_)
        sql = f"SELECT type, count(*) FROM timeline WHERE {where} GROUP BY type"
        return dict(await self._storage.configuration.fetch_all(sql, values))

    # -- reading many devices -------------------------------------------------------------------------------------

    async def find_newest(self, filter_: TimelineFilter, size: int, after: Cursor | None = None) -> TimelinePage:
        """Return up to ``size`` matching events of many devices, newest first; ``after`` is the cursor of a page."""
        events: list[TimelineEvent] = []
        ts, number = after or (filter_.end, 0)
        where, values = _where(filter_, is_indexed=_is_few(filter_))
        where += " AND (ts < ? OR (ts = ? AND id < ?))"
        end = min(filter_.end, ts + 1)
        for _ in range(_limits(filter_)[1]):
            start, is_last = await self._window(filter_, end)
            window = (start, end, *values[2:], ts, ts, number)
            events += await self._read(where, window, size + 1 - len(events))
            if len(events) > size:
                return TimelinePage(events[:size], (events[size - 1].ts, events[size - 1].id))
            if is_last:
                return TimelinePage(events, None)
            ts, number, end = start, 0, start
        return TimelinePage(events, (ts, number))

    async def _read(self, where: str, values: Sequence[Any], limit: int) -> list[TimelineEvent]:
        async def read(tx: Transaction) -> list[TimelineEvent]:
            sql = f"SELECT {_COLUMNS} FROM timeline WHERE {where} ORDER BY ts DESC, id DESC LIMIT ?"
            return await _with_comments(tx, await tx.fetch_all(sql, (*values, limit)))

        return await self._storage.read(read)

    async def count_newest(self, filter_: TimelineFilter) -> tuple[dict[str, int], int | None]:
        """Return the number of matching events of many devices by type, and from which stamp on they were counted.

        The stamp is None if all were.
        """
        counts: dict[str, int] = {}
        where, values = _where(filter_, is_indexed=_is_few(filter_))
        sql = f"SELECT type, count(*) FROM timeline WHERE {where} GROUP BY type"
        end = filter_.end
        for _ in range(_limits(filter_)[1]):
            start, is_last = await self._window(filter_, end)
            for kind, count in await self._storage.configuration.fetch_all(sql, (start, end, *values[2:])):
                counts[kind] = counts.get(kind, 0) + count
            if is_last:
                return counts, None
            end = start
        return counts, end

    async def _window(self, filter_: TimelineFilter, end: int) -> tuple[int, bool]:
        """Return from which stamp on a limited number of events come before ``end``; and whether all before it do."""
        if filter_.devices is not None and not filter_.devices:
            return filter_.start, True
        sql = "SELECT ts FROM timeline WHERE ts >= ? AND ts < ? ORDER BY ts DESC LIMIT 1 OFFSET ?"
        values = (filter_.start, end, _limits(filter_)[0] - 1)
        rows = await self._storage.configuration.fetch_all(sql, values)
        return (rows[0][0], False) if rows else (filter_.start, True)


def _is_few(filter_: TimelineFilter) -> bool:
    return filter_.devices is not None and len(filter_.devices) <= FEW_DEVICES


def _limits(filter_: TimelineFilter) -> tuple[int, int]:
    """Return how many events a statement looks through, and how many statements a query has."""
    return FEW_WINDOWS if _is_few(filter_) else MANY_WINDOWS


def _notifies(settings: EventType | StatusSettings) -> bool:
    return settings.show_in_notifications and settings.notifications.enabled


def _is_limited(settings: EventType | StatusSettings) -> bool:
    """Whether the settings limit notifications, so that events are counted."""
    return _notifies(settings) and (settings.every > 1 or bool(settings.period))


async def _write_event(tx: Transaction, new: NewEvent) -> tuple[int, bool]:
    """Write an event and count it; return its id (0 if it is not on the timeline) and whether it notifies."""
    event, number = new.event, 0
    if new.settings.timeline:
        sql = "INSERT INTO timeline (device, ts, code, type, name, description) SELECT ?, ?, ?, ?, ?, ?"
        sql += " WHERE EXISTS (SELECT 1 FROM devices WHERE id = ?) RETURNING id"
        values = (event.device, event.ts, event.code, event.type, event.name, event.description, event.device)
        row = await tx.fetch_one(sql, values)
        number = row[0] if row else 0
    else:
        row = await tx.fetch_one("SELECT 1 FROM devices WHERE id = ?", (event.device,))
    if row is None:
        # The device was deleted in the meantime.
        return 0, False
    if _is_limited(new.settings):
        return number, await _count(tx, new)
    return number, _notifies(new.settings)


async def _count(tx: Transaction, new: NewEvent) -> bool:
    """Count an event with limited notifications; return whether it notifies, which starts count and period again."""
    event, settings = new.event, new.settings
    row = await tx.fetch_one(
        "SELECT count, notified FROM notification_counters WHERE device = ? AND code = ?", (event.device, new.counter)
    )
    count, notified = row or (0, None)
    # No further than needed: the next event after the period notifies however many came in it.
    count = min(count + 1, settings.every)
    is_in_period = bool(
        settings.period and notified is not None and event.ts < notified + seconds(settings.period) * 1000
    )
    notify = count == settings.every and not is_in_period
    if notify:
        count, notified = 0, event.ts
    await tx.upsert(
        "notification_counters",
        ("device", "code"),
        device=event.device,
        code=new.counter,
        count=count,
        notified=notified,
    )
    return notify


def _check_text(text: str) -> None:
    if len(text) > MAX_COMMENT or not is_text(text):
        raise Rejected(f"A comment or note must be text of at most {MAX_COMMENT} characters.")


def _where(filter_: TimelineFilter, *, is_indexed: bool = True) -> tuple[str, list[Any]]:
    """Return a filter as an SQL condition with its values, the first two of which are the start and the end.

    Unless ``is_indexed``, events are not looked up by device.
    """
    types, names = list(filter_.types), list(filter_.names)
    terms = ["ts >= ?", "ts < ?"]
    values: list[Any] = [filter_.start, filter_.end]
    if filter_.devices is not None:
        condition, devices = among("device" if is_indexed else "+device", filter_.devices)
        terms.append(condition)
        values.append(devices)
    if types:
        terms.append(f"type IN ({', '.join('?' * len(types))})")
        values += types
    if names:
        terms.append(f"name IN ({', '.join('?' * len(names))})")
        values += names
    for column, is_set in (("resolved", filter_.resolved), ("archived", filter_.archived)):
        if is_set is not None:
            terms.append(f"{column} IS {'NOT ' if is_set else ''}NULL")
    if filter_.text:
        like = "%" + filter_.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        in_event = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in ("name", "description", "note"))
        in_comments = "EXISTS (SELECT 1 FROM comments WHERE event = timeline.id AND text LIKE ? ESCAPE '\\')"
        terms.append(f"({in_event} OR {in_comments})")
        values += [like] * 4
    return " AND ".join(terms), values


async def _with_comments(tx: Transaction, rows: Iterable[Row]) -> list[TimelineEvent]:
    names = [name.strip() for name in _COLUMNS.split(",")]
    events = [dict(zip(names, row, strict=True)) for row in rows]
    ids = ", ".join(str(event["id"]) for event in events)
    comment_rows = await tx.fetch_all(f"SELECT event, ts, by, text FROM comments WHERE event IN ({ids}) ORDER BY id")
    comments: dict[int, list[Comment]] = {}
    for event, ts, by, text in comment_rows:
        comments.setdefault(event, []).append(Comment(ts=ts, by=by, text=text))
    return [TimelineEvent(**event, comments=tuple(comments.get(event["id"], ()))) for event in events]
