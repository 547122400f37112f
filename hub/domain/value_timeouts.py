"""Value timeouts: values that expire without an update, and writes that the device does not confirm in time.

Theory of operation
===================

Both timeouts are set in the template, for each datastream. `hub.writes` calls this module only for the datastreams that
have one (`DeviceDatastream.watched`), so that other values cost nothing.

*Expiration* (``expire``): every new latest value restarts the timer of its datastream and makes the datastream current.
When the timer ends, the datastream is expired, `ValueExpired` is emitted, and clients see the text of the template
instead of the value. An imported value counts from its own stamp. After a start of the hub, the timers continue from
the stamps of the latest values.

*Confirmation* (``confirm``): a write by anyone but the device makes the datastream unconfirmed, and the value before
the first unconfirmed write is remembered; each further write restarts the timer. A value from the device confirms the
datastream. If the timer ends first, the remembered value (without one, the default of the datastream) becomes the
latest value again; the device is not notified. If there is neither, `ValueUnconfirmed` is emitted and the value stays.
This state is not stored: after a start of the hub, all datastreams are confirmed.

=============  ======================================  =====================================
State          Entered by                              Left by
=============  ======================================  =====================================
current        `on_write`, `on_import`                 `_expire`
expired        `_expire`                               `on_write`, `on_import`
confirmed      `on_write` by the device, `_revert`     `on_write` by anyone but the device
unconfirmed    `on_write` by anyone but the device     `on_write` by the device, `_revert`
=============  ======================================  =====================================
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, cast

import trio

from hub.facts import ValueExpired, ValueUnconfirmed
from hub.model import DeviceDatastream, Value
from hub.parsing.structuring import seconds
from hub.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.bus import Bus
    from hub.clock import Clock

#: The stamp and the value of a datastream, or None if it has no value.
Latest = tuple[int, Value] | None


class ValueTimeouts:
    """The value timeouts of all datastreams, given by series in ``points``.

    ``restore`` makes the value from before an unconfirmed write the latest one again; it returns whether it could.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        points: Mapping[int, DeviceDatastream],
        restore: Callable[[DeviceDatastream, Value], bool],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._points = points
        self._restore = restore
        #: The series whose values have expired.
        self.expired: set[int] = set()
        #: The values from before the writes that are not confirmed, by series.
        self._unconfirmed: dict[int, Latest] = {}
        self._expirations = Timers(self._expire, clock.monotonic)
        self._confirmations = Timers(self._revert, clock.monotonic)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expirations.run)
            nursery.start_soon(self._confirmations.run)

    def start(self, latest: Mapping[int, tuple[int, Value]]) -> None:
        """Start the expiration of the values from before the start of the hub."""
        for series, point in self._points.items():
            if point.datastream.expire is not None and series in latest:
                self.on_import(point, latest[series][0])

    def on_write(self, point: DeviceDatastream, before: Latest, *, by_device: bool) -> None:
        """Restart the timeouts of a point that has a new latest value; ``before`` is the previous one."""
        if point.datastream.expire is not None:
            self.expired.discard(point.series)
            self._renew(point, 0.0)
        if by_device:
            self._unconfirmed.pop(point.series, None)
            self._confirmations.cancel(point.series)
        elif point.datastream.confirm:
            self._unconfirmed.setdefault(point.series, before)
            self._confirmations.set(point.series, self._clock.monotonic() + seconds(point.datastream.confirm))

    def on_import(self, point: DeviceDatastream, ts: int) -> None:
        """Restart the expiration of a point whose new latest value has the past stamp ``ts``. It confirms nothing."""
        if point.datastream.expire is not None:
            self.expired.discard(point.series)
            self._renew(point, max(0, self._clock.now() - ts) / 1000)

    def expired_text(self, point: DeviceDatastream) -> str | None:
        """Return the text that replaces an expired value; None if the value is current."""
        expire = point.datastream.expire
        return expire.show if expire is not None and point.series in self.expired else None

    def is_pending(self, point: DeviceDatastream) -> bool:
        """Whether the latest value of a point waits for the device to confirm it."""
        return point.series in self._unconfirmed

    def _renew(self, point: DeviceDatastream, age: float) -> None:
        expire = point.datastream.expire
        assert expire is not None
        self._expirations.set(point.series, self._clock.monotonic() + seconds(expire.after) - age)

    def _expire(self, key: Hashable) -> None:
        point = self._points.get(cast("int", key))
        if point is not None and point.datastream.expire is not None:
            self.expired.add(point.series)
            self._bus.emit(ValueExpired(point.device, point.datastream, point.datastream.expire.show))

    def _revert(self, key: Hashable) -> None:
        before = self._unconfirmed.pop(cast("int", key), None)
        point = self._points.get(cast("int", key))
        if point is None or not point.datastream.confirm:
            # Erased; or the template does not ask for confirmation any more, and the device's values were not counted.
            return
        value = point.datastream.default if before is None else before[1]
        if value is None or not self._restore(point, value):
            self._bus.emit(ValueUnconfirmed(point.device, point.datastream))
