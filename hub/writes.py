"""The value path: one function for every write, from every transport, to devices and subscribers.

`Writes.write` coerces the value, applies the plugins' filters, makes it the latest, puts it in the open commit of the
history, sends it to the device's sessions, and emits `ValueWritten`. Per value there is no await, no task and no call
through pluggy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from hub.clock import END_MS
from hub.errors import Conflict, Rejected, RequestError, Unavailable, UnknownPin
from hub.facts import ValueSet, ValueWritten
from hub.model import SYSTEM, Datastream, Device, DeviceDatastream, Principal, SetDatastream, Value
from hub.parsing.spellings import unit_hint
from hub.values import Raw, coerce, texts_of

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.domain.value_timeouts import ValueTimeouts
    from hub.history import History, Receipt
    from hub.sessions import Session, Sessions

#: A write filter returns the value to write, or raises to veto.
Filter = Callable[[Device, Datastream, Value], Value]

#: Milliseconds that a stamp may be ahead of the hub's clock.
MAX_AHEAD_MS = 86_400_000

#: Points that are imported before other tasks get their turn: some milliseconds.
IMPORT_SLICE = 500


@attrs.define
class Write:
    """A value on its way in. ``at`` is the client's own stamp in milliseconds UTC; None has the hub stamp it."""

    device: Device
    pin: int
    raw: Raw
    via: str
    principal: Principal
    at: int | None = None
    session: Session | None = None
    #: Whether ``at`` is the hub's stamp, for several values at once.
    shared: bool = False


class Writes:
    def __init__(
        self,
        clock: Clock,
        history: History,
        sessions: Sessions,
        bus: Bus,
        retention: Callable[[Datastream], int],
        value_timeouts: ValueTimeouts,
    ) -> None:
        self._clock = clock
        self._history = history
        self._sessions = sessions
        self._bus = bus
        self._retention = retention
        self._value_timeouts = value_timeouts
        self._filters: tuple[Filter, ...] = ()
        self._report_filter_failure: Callable[[Filter, Exception], None] = lambda _fn, _error: None
        self.count = 0

    def install_filters(self, filters: Sequence[Filter], report_failure: Callable[[Filter, Exception], None]) -> None:
        """Apply ``filters`` to every write; call ``report_failure`` when one raises other than a `RequestError`."""
        self._filters = tuple(filters)
        self._report_filter_failure = report_failure

    def write(self, write: Write) -> Receipt:
        """Accept one value. Sync; await the receipt for durability.

        Raises `UnknownPin`, `WrongType`, `Rejected` by a filter or for its stamp, `Unavailable` when buffers are full.
        """
        point, value, ts = self._check(write)
        return self._apply(write, point, value, ts)

    def write_all(self, writes: Sequence[Write]) -> Receipt:
        """Accept several values or none, with one receipt for all of them. Raises as `write` does."""
        if self._history.full:
            raise Unavailable("storage does not keep up")
        checked = [(write, *self._check(write)) for write in writes]
        return [self._apply(*accepted) for accepted in checked][-1]

    async def import_points(
        self, device: Device, points: Sequence[tuple[Datastream, int, Raw]], via: str, principal: Principal
    ) -> Receipt | None:
        """Accept values of the past, all or none; other tasks get their turn in between.

        Only the newest value of each datastream is sent and emitted, if it is newer than the latest one. Returns one
        receipt for all values; None without values. Raises `Rejected` with the number of the first bad point,
        `Conflict` when the device's data was erased meanwhile.
        """
        writes = [Write(device, stream.pin, raw, via, principal, at) for stream, at, raw in points]
        checked: list[tuple[DeviceDatastream, Value, int]] = []
        for number, write in enumerate(writes, 1):
            try:
                checked.append(self._check(write))
            except Rejected as error:
                raise Rejected(f"point {number}: {error}") from error
            if number % IMPORT_SLICE == 0:
                await trio.lowlevel.checkpoint()
        receipt: Receipt | None = None
        newest: dict[int, DeviceDatastream] = {}
        for number, (point, value, ts) in enumerate(checked, 1):
            if self._history.full:
                await self._history.wait_for_space()
            if device.points.get(point.datastream.pin) is not point:
                raise Conflict("what the device held was erased in the meantime")
            latest = self._history.latest.get(point.series)
            is_newest = latest is None or ts >= latest[0]
            receipt = self._history.put(point.series, ts, value, is_newest, stamped=False)
            if is_newest:
                self._history.latest[point.series] = (ts, value)
                newest[point.series] = point
            self.count += 1
            if number % IMPORT_SLICE == 0:
                await trio.lowlevel.checkpoint()
        for point in newest.values():
            self._publish_imported(point, via, principal, receipt)
        return receipt

    def _publish_imported(self, point: DeviceDatastream, via: str, by: Principal, receipt: Receipt | None) -> None:
        """Send and emit the newest of the imported values; older ones are nothing to act upon."""
        latest = self._history.latest.get(point.series)
        if latest is None:
            return
        ts, value = latest
        self._value_timeouts.on_import(point, ts)
        for session in self._sessions.recipients(point.device):
            session.send(SetDatastream(point.datastream.pin, texts_of(value)))
        if self._bus.wants_value(point.device.id):
            self._bus.emit_value(ValueWritten(point.device, point.datastream, value, ts, via, True, receipt, by))

    def check(self, device: Device, point: DeviceDatastream, at: int, raw: Raw) -> None:
        """Raise as `write` would for a value with a client's stamp; accept nothing."""
        self._check(Write(device, point.datastream.pin, raw, "check", SYSTEM, at))

    def _check(self, write: Write) -> tuple[DeviceDatastream, Value, int]:
        """Return a write's datastream, coerced and filtered value, and stamp."""
        device = write.device
        point = device.points.get(write.pin)
        if point is None:
            raise UnknownPin("No datastream setup for that pin.")
        value = coerce(point.datastream, write.raw)
        if self._filters:
            value = self._filtered(device, point.datastream, value)
        return point, value, self._clock.now() if write.at is None else self.believable(point.datastream, write.at)

    def _apply(self, write: Write, point: DeviceDatastream, value: Value, ts: int) -> Receipt:
        device, datastream, series = write.device, point.datastream, point.series
        latest = self._history.latest
        stamped = write.at is None or write.shared
        newest = stamped or series not in latest or ts >= latest[series][0]
        receipt = self._history.put(series, ts, value, newest, stamped)
        if newest:
            if point.watched:
                by_device = write.principal.kind == "device" and write.principal.id == device.id
                self._value_timeouts.on_write(point, latest.get(series), by_device=by_device)
            latest[series] = (ts, value)
            for session in self._sessions.recipients(device, write.session):
                session.send(SetDatastream(datastream.pin, texts_of(value)))
        self.count += 1
        device.messages[write.via] += 1
        if self._bus.wants_value(device.id):
            self._bus.emit_value(
                ValueWritten(device, datastream, value, ts, write.via, newest, receipt, write.principal)
            )
        if write.principal.kind != "device":
            self._bus.emit(ValueSet(device, datastream, value, ts, write.via, write.principal, receipt))
        return receipt

    def restore(self, point: DeviceDatastream, value: Value) -> bool:
        """Restore the value before a write that the device did not confirm; it is not sent to the device.

        Returns False when buffers are full: the latest value stays.
        """
        ts = self._clock.now()
        try:
            receipt = self._history.put(point.series, ts, value, latest=True)
        except Unavailable:
            return False
        self._history.latest[point.series] = (ts, value)
        self._bus.emit_value(ValueWritten(point.device, point.datastream, value, ts, "confirmation", receipt=receipt))
        return True

    def believable(self, datastream: Datastream, at: int) -> int:
        """Return a client's stamp. Raises `Rejected`.

        While the hub's own stamps are ahead of the wall clock, either may be wrong: a stamp that one of them allows is
        accepted.
        """
        now = self._clock.now()
        if hint := unit_hint(at):
            raise Rejected(hint)
        if at > now + MAX_AHEAD_MS or at >= END_MS:
            raise Rejected("The timestamp is more than a day ahead.")
        if at < max(0, min(now, self._clock.wall) - self._retention(datastream)):
            raise Rejected("The timestamp is older than what is kept.")
        return at

    def _filtered(self, device: Device, datastream: Datastream, value: Value) -> Value:
        for fn in self._filters:
            try:
                value = coerce(datastream, fn(device, datastream, value))
            except RequestError:
                raise
            except Exception as error:
                self._report_filter_failure(fn, error)
                raise Rejected(f"a plugin's filter failed: {error!r}") from error
        return value

    def latest(self, device: Device, datastream: Datastream) -> tuple[int, Value] | None:
        """Return the latest stamp and value, or None; the default does not count."""
        point = device.points.get(datastream.pin)
        return None if point is None else self._history.latest.get(point.series)

    def last_reported(self, device: Device) -> int | None:
        """Return the stamp of a device's newest value, in milliseconds UTC, or None."""
        latest = self._history.latest
        stamps = [entry[0] for point in device.points.values() if (entry := latest.get(point.series))]
        return max(stamps, default=None)

    def current(self, device: Device, datastream: Datastream) -> Value | None:
        """Return the latest value, else the default, else None."""
        latest = self.latest(device, datastream)
        return datastream.default if latest is None else latest[1]
