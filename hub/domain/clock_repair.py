"""Clock repair: correct what was stamped while the clock was wrong: values, events, and all other stored times.

Theory of operation
===================

A repair is a job of five steps:

1. *Backup.* If it fails, nothing is changed.
2. *Audit.* The repair is recorded, with a stamp of the wall clock.
3. *Correction of times.* The clock is held at the wall clock (`Clock.hold`), the open segment of the history is closed
   (`History.begin_repair`), and one transaction corrects all columns of the configuration file and adds a row to
   ``clock_repairs``. After this transaction the repair will be finished in any case; before it, nothing has changed.
   The step takes a fraction of a second.
4. *Correction of values.* The clock runs again, and the history is corrected in slices (`hub.history.repair`). New
   values remain in the log meanwhile.
5. *End.* The row is marked as finished.

If the hub stops during step 4, it finishes the repair at its next start, before it serves requests or gives stamps.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from hub.errors import Conflict, Rejected, RequestError, StorageError, Unavailable
from hub.facts import ClockRepaired, Fact, ValueCleared, ValueWritten
from hub.history.repair import HistoryRepair, Span
from hub.model import Change
from hub.storage.stamp_correction import Correction, StampColumns, correct, find

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from hub.clock import Clock
    from hub.domain.clock_doubts import ClockDoubts
    from hub.domain.devices import Devices
    from hub.domain.value_timeouts import ValueTimeouts
    from hub.history import History
    from hub.history.commit_log import Batch
    from hub.model import Principal, Value
    from hub.storage import Storage, Transaction

log = logging.getLogger(__name__)

#: The action in the audit log.
ACTION = "Repair what a wrong clock has stamped"
#: The file name of the backup, with the time in UTC.
BACKUP = "before-clock-repair-%Y%m%d-%H%M%S.tar"
#: Seconds between two attempts to write a slice after the disk refused.
RETRY_AFTER = 1.0
#: The steps of a job, as clients read them.
BACKING_UP, CORRECTING = "making a backup", "correcting"

#: The columns of the core's tables that hold times.
COLUMNS = (
    StampColumns("devices", ("created", "activated", "status_at", "away"), device="id"),
    StampColumns("metadata", ("updated",), device="device"),
    StampColumns("timeline", ("ts",), device="device", dropped=True),
    StampColumns("timeline", ("resolved", "archived"), device="device"),
    StampColumns("notification_counters", ("notified",), device="device"),
    StampColumns("comments", ("ts",), device="(SELECT device FROM timeline WHERE timeline.id = event)"),
    StampColumns("series", ("cleared",), device="device"),
    StampColumns("tokens", ("expires", "replaced"), stamp="replaced", device="device"),
    StampColumns("template_versions", ("at",)),
    StampColumns("organizations", ("modified",)),
    StampColumns("once", ("at",)),
)
#: The clock's record of times at which it was in doubt; corrected when the clock returns to the wall clock.
DOUBTS = (StampColumns("clock_doubts", ("began",), dropped=True), StampColumns("clock_doubts", ("ended",)))


@attrs.frozen(kw_only=True)
class DeviceValues:
    """The values of a device with stamps in the future: their number, that of their datastreams, and their first and
    last stamps.
    """

    device_id: int
    name: str
    datastreams: int
    values: int
    oldest: int
    newest: int


@attrs.frozen(kw_only=True)
class RepairPlan:
    """The stamps that a repair corrects: those after ``now``, in milliseconds UTC.

    ``shift_ms`` is null when values and events are dropped. ``events`` counts events on timelines, ``other_times`` all
    other times, such as when a device was added or a user last logged in. A shift must be at least ``least_shift_ms``.
    """

    now: int
    shift_ms: int | None
    device_id: int | None
    values: int
    events: int
    other_times: int
    least_shift_ms: int
    devices: list[DeviceValues]

    @property
    def is_empty(self) -> bool:
        return not (self.values or self.events or self.other_times)


@attrs.define(kw_only=True)
class RepairJob:
    """The repair that is running, or the last one since the start of the hub.

    ``done`` and ``total`` count values, or bytes of the backup; ``values`` counts corrected values.
    """

    running: bool = False
    step: str = ""
    done: int = 0
    total: int = 0
    problem: str = ""
    backup: str = ""
    values: int = 0
    plan: RepairPlan | None = None


@attrs.frozen
class _Row:
    """An unfinished row of ``clock_repairs``.

    ``upto`` is the last batch of the log to be corrected. With ``reset``, the hub's stamps continue from the cutoff.
    """

    number: int
    correction: Correction
    upto: int
    reset: bool

    @property
    def stamp(self) -> int | None:
        """The newest stamp of the hub after the correction; None if the hub's stamps were not reset."""
        return self.correction.cutoff if self.reset else None


class BackupMaker(Protocol):
    """Makes backups: the plugin that can provides one (`Hub.provide`)."""

    #: When the last complete backup was made, in ms UTC; None without one.
    last_backup: int | None

    async def make(self, path: Path, progress: Callable[[int, int], None]) -> object:
        """Write a backup to ``path``; report bytes done and in all to ``progress``.

        Raises `RequestError`, `StorageError`, OSError.
        """


class RepairHost(Protocol):
    """The hub, as far as a repair needs it."""

    clock: Clock
    storage: Storage
    history: History
    devices: Devices
    value_timeouts: ValueTimeouts
    clock_doubts: ClockDoubts

    def emit(self, fact: Fact) -> None: ...

    def stamp_columns(self) -> Sequence[StampColumns]: ...

    async def record_change(self, change: Change) -> None: ...

    async def make_backup(self, path: Path, progress: Callable[[int, int], None]) -> None: ...


class ClockRepairs:
    """The clock repairs of a hub, one at a time: `plan`, then `begin`, which lets `run` carry the plan out."""

    def __init__(self, hub: RepairHost) -> None:
        self._hub = hub
        self.job = RepairJob()
        #: Whether a row of ``clock_repairs`` is not finished.
        self._unfinished = False
        self._requested: tuple[Correction, Principal, str] | None = None
        self._wake = trio.Event()
        #: The latest values as they were before the correction, by series.
        self._uncorrected: dict[int, tuple[int, Value]] = {}

    # -- planning -------------------------------------------------------------------------------------------------

    async def future(self, device: int | None = None) -> list[DeviceValues]:
        """Return the devices with values in the future of the machine's clock. Raises `StorageError`."""
        return self._by_device(await self._spans(self._hub.clock.wall, device))

    async def _spans(self, cutoff: int, device: int | None) -> dict[int, Span]:
        spans = await self._hub.history.spans_after(cutoff)
        return {series: span for series, span in spans.items() if self._affects(series, device)}

    def _affects(self, series: int, device: int | None) -> bool:
        point = self._hub.devices.by_series.get(series)
        return point is not None and (device is None or point.device.id == device)

    def _by_device(self, spans: dict[int, Span]) -> list[DeviceValues]:
        total: dict[int, Span] = {}
        streams: Counter[int] = Counter()
        for series, span in spans.items():
            number = self._hub.devices.by_series[series].device.id
            streams[number] += 1
            total.setdefault(number, Span(0, span.first, span.last)).add(span)
        return [
            DeviceValues(
                device_id=number,
                name=self._hub.devices.by_id[number].name,
                datastreams=streams[number],
                values=span.count,
                oldest=span.first,
                newest=span.last,
            )
            for number, span in sorted(total.items())
        ]

    def _columns(self) -> Iterable[StampColumns]:
        return (*COLUMNS, *self._hub.stamp_columns())

    async def plan(self, shift: int | None, device: int | None) -> RepairPlan:
        """Plan a repair of the present stamps. Raises `Rejected`, `NotFound`, `Conflict`, `StorageError`.

        ``shift`` is in milliseconds, None to drop values and events; ``device`` limits the repair to one device.
        """
        hub = self._hub
        if device is not None:
            hub.devices.get(device)
        # The clock updates its state with each stamp.
        hub.clock.now()
        cutoff = hub.clock.wall
        if hub.clock.unproven:
            raise Conflict(
                f"{hub.clock.problem}; set the machine's clock right first, or wait until it is synchronized"
            )
        if shift is not None and not 0 < shift <= cutoff:
            raise Rejected("the shift must be more than 0 seconds, and no more than since 1970")
        correction = Correction(cutoff, None, device)
        spans = await self._spans(cutoff, device)

        async def read(tx: Transaction) -> list[tuple[StampColumns, tuple[int, int]]]:
            return [(columns, await find(tx, columns, correction)) for columns in self._columns()]

        affected = await hub.storage.read(read)
        newest = max([span.last for span in spans.values()] + [last for _, (_, last) in affected], default=0)
        events = sum(count for columns, (count, _) in affected if columns.dropped)
        plan = RepairPlan(
            now=cutoff,
            shift_ms=shift,
            device_id=device,
            values=sum(span.count for span in spans.values()),
            events=events,
            other_times=sum(count for _, (count, _) in affected) - events,
            least_shift_ms=max(0, newest - cutoff),
            devices=self._by_device(spans),
        )
        if shift is not None and newest - shift > cutoff:
            least = math.ceil(plan.least_shift_ms / 1000)
            raise Rejected(f"a shift by {shift / 1000:g} seconds is too small: the newest stamp needs at least {least}")
        return plan

    def begin(self, plan: RepairPlan, principal: Principal, address: str) -> None:
        """Let `run` carry out a plan. Raises `Conflict` while another repair runs or is not finished."""
        if self.job.running:
            raise Conflict("a repair is running already")
        if self._unfinished:
            raise Conflict("the last repair failed half-way: restart the hub, which finishes it")
        self.job = RepairJob(running=True, step=BACKING_UP, plan=plan)
        self._requested = (Correction(plan.now, plan.shift_ms, plan.device_id), principal, address)
        self._wake.set()

    # -- a repair -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry out repairs, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake, requested = trio.Event(), self._requested
            assert requested is not None
            try:
                await self._repair(*requested)
            except (RequestError, StorageError, OSError) as error:
                self.job.problem = str(error)
                log.warning("clock repair: %s", error)
            finally:
                self.job.running = False

    async def _repair(self, requested: Correction, principal: Principal, address: str) -> None:
        job, hub = self.job, self._hub
        path = hub.storage.backups.absolute() / time.strftime(BACKUP, time.gmtime(hub.clock.wall / 1000))
        try:
            await self._back_up(path)
        except (RequestError, StorageError, OSError) as error:
            raise Unavailable(f"nothing was changed, since the backup failed: {error}") from error
        job.backup = str(path)
        # Plan again: meanwhile the hub may have given more stamps, and the device may have been deleted.
        plan = job.plan = await self.plan(requested.shift, requested.device)
        job.step, job.done, job.total = CORRECTING, 0, plan.values
        await self._record(plan, path, principal, address)
        with trio.CancelScope(shield=True):
            row = await self._correct_times(Correction(plan.now, requested.shift, requested.device))
        self._unfinished = True
        log.info("clock repair: %d values and %d events are being corrected", plan.values, plan.events)
        await self._correct_history(row)
        log.info("clock repair: done, %d values were corrected", job.values)

    async def _back_up(self, path: Path) -> None:
        self._hub.storage.backups.mkdir(exist_ok=True, mode=0o700)

        def progress(done: int, total: int) -> None:
            self.job.done, self.job.total = done, total

        await self._hub.make_backup(path, progress)

    async def _record(self, plan: RepairPlan, path: Path, principal: Principal, address: str) -> None:
        """Record the repair in the audit log. Raises `Unavailable`; nothing is changed then."""
        change = Change(
            at=plan.now,
            principal=principal,
            address=address,
            org=principal.org,
            action=ACTION,
            subject="" if plan.device_id is None else f"device {plan.device_id}",
            details={
                "shiftMs": plan.shift_ms,
                "drop": plan.shift_ms is None,
                "deviceId": plan.device_id,
                "values": plan.values,
                "events": plan.events,
                "otherTimes": plan.other_times,
                "devices": len(plan.devices),
                "backup": path.name,
            },
        )
        try:
            await self._hub.record_change(change)
        except Unavailable as error:
            raise Unavailable("nothing was changed, since the audit could not record it") from error

    async def _correct_times(self, correction: Correction) -> _Row:
        """Do step 3. Raises `Unavailable`, `StorageError`; nothing is changed then."""
        hub = self._hub
        reset = correction.device is None or not await self._other_devices_affected(correction)
        hold, newest, cutoff = reset or not hub.clock.behind, hub.clock.newest, correction.cutoff
        if hold:
            cutoff = hub.clock.hold()
        # The cutoff is a little later than that of the plan; stamps between the two are right.
        correction = attrs.evolve(correction, cutoff=cutoff)
        late = [series for series, (stamp, _) in hub.history.latest.items() if correction.affects(stamp)]
        uncorrected = {s: hub.history.latest[s] for s in late if self._affects(s, correction.device)}
        batch = hub.history.begin_repair(cutoff if reset else None)
        try:
            row = await self._write(correction, batch, reset=reset)
        except BaseException:
            hub.history.end_repair()
            if hold:
                hub.clock.release(newest)
            raise
        for series, latest in uncorrected.items():
            if hub.history.latest.get(series) is not latest:
                continue
            if correction.shift is None:
                del hub.history.latest[series]
            else:
                hub.history.latest[series] = (correction.corrected(latest[0]), latest[1])
        hub.emit(ClockRepaired(correction))
        if hold:
            hub.clock.release()
        self._uncorrected = uncorrected
        return row

    async def _other_devices_affected(self, correction: Correction) -> bool:
        """Whether other devices have stamps after the cutoff. The hub's stamps must not go back behind them."""
        cutoff, device = correction.cutoff, correction.device
        if any(other.created > cutoff for other in self._hub.devices.by_id.values() if other.id != device):
            return True
        spans = await self._spans(cutoff, None)
        return any(not self._affects(series, device) for series in spans)

    async def _write(self, correction: Correction, batch: Batch | None, *, reset: bool) -> _Row:
        """Correct the configuration file, and record the last batch of the log to be corrected, in one transaction."""
        upto = await self._hub.history.wait_for_batch(batch)
        if reset:
            await self._hub.clock_doubts.persist()

        async def write(tx: Transaction) -> int:
            for columns in self._columns():
                await correct(tx, columns, correction)
            if reset:
                for columns in DOUBTS:
                    await correct(tx, columns, attrs.evolve(correction, device=None))
            return await tx.insert("clock_repairs", **attrs.asdict(correction), upto=upto, reset=reset)

        number = await self._hub.storage.transaction(write)
        return _Row(number, correction, upto, reset)

    async def _correct_history(self, row: _Row) -> None:
        """Do steps 4 and 5."""
        history, job = self._hub.history, self.job
        await history.wait_until_compacted()
        repair = history.repair(row.correction, lambda series: self._affects(series, row.correction.device))
        while not repair.done:
            await self._persist(repair.step)
            job.done = job.values = repair.moved
            await trio.lowlevel.checkpoint()
        await self._persist(lambda: history.finish_repair(row.stamp, repair))
        self._restore_latest(repair)
        await self._persist(lambda: self._finish(row))
        self._unfinished = False
        history.end_repair()

    async def _persist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step until the disk does not refuse it."""
        while True:
            try:
                await step()
            except StorageError as error:
                self.job.problem = f"the disk refuses to write, the repair tries again: {error}"
                await trio.sleep(RETRY_AFTER)
            else:
                self.job.problem = ""
                return

    def _restore_latest(self, repair: HistoryRepair) -> None:
        """Give datastreams whose latest values were dropped their newest remaining values."""
        hub, uncorrected = self._hub, self._uncorrected
        self._uncorrected = {}
        if repair.drops:
            for series in uncorrected:
                point = hub.devices.by_series.get(series)
                if point is None or series in hub.history.latest:
                    continue
                if (latest := repair.restored.get(series)) is None:
                    hub.emit(ValueCleared(point.device, point.datastream))
                    continue
                hub.history.latest[series] = latest
                hub.value_timeouts.on_import(point, latest[0])
                hub.emit(ValueWritten(point.device, point.datastream, latest[1], latest[0], "clock repair"))

    async def _finish(self, row: _Row) -> None:
        at = self._hub.clock.wall

        async def write(tx: Transaction) -> None:
            await tx.execute("UPDATE clock_repairs SET finished = ? WHERE id = ?", (at, row.number))

        await self._hub.storage.transaction(write)

    # -- after a restart ------------------------------------------------------------------------------------------

    async def resume(self) -> None:
        """Finish a repair that was interrupted by a stop, before the hub gives stamps. Raises `StorageError`."""
        hub = self._hub
        sql = "SELECT id, cutoff, shift, device, upto, reset FROM clock_repairs WHERE finished IS NULL"
        for number, cutoff, shift, device, upto, reset in await hub.storage.configuration.fetch_all(sql):
            row = _Row(number, Correction(cutoff, shift, device), upto, bool(reset))
            log.warning("clock repair: the last stop interrupted a repair, which continues now")
            hub.clock.not_before(cutoff)
            affected = {series for series in hub.devices.by_series if self._affects(series, device)}
            count = await hub.history.continue_repair(
                hub.devices.by_series, upto, row.stamp, row.correction, affected.__contains__
            )
            await self._finish(row)
            log.info("clock repair: done, %d more values were corrected", count)
