"""What happens to a value when nothing comes: it expires, or a write that the device did not confirm is taken back."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, cast

import trio

from hub.facts import ValueExpired
from hub.model import DeviceDatastream, Value
from hub.structuring import seconds
from hub.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.bus import Bus
    from hub.clock import Clock

#: A stamp and a value, or None where there was none.
Latest = tuple[int, Value] | None


class ValueTimeouts:
    """``take_back(point, value)`` writes what was there before an unconfirmed write."""

    def __init__(self, bus: Bus, clock: Clock, points: Mapping[int, DeviceDatastream]) -> None:
        self._bus = bus
        self._clock = clock
        self._points = points
        self.take_back: Callable[[DeviceDatastream, Value], None] = lambda _point, _value: None
        #: Series whose value is too old to be shown.
        self.expired: set[int] = set()
        #: What series held before writes that their device has not confirmed.
        self._unconfirmed: dict[int, Latest] = {}
        self._expirations = Timers(self._expire)
        self._confirmations = Timers(self._revert)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expirations.run)
            nursery.start_soon(self._confirmations.run)

    def start(self, latest: Mapping[int, tuple[int, Value]]) -> None:
        """Take up what was there before the hub stopped."""
        for series, point in self._points.items():
            if point.datastream.expire is not None and series in latest:
                self.imported(point, latest[series][0])

    def written(self, point: DeviceDatastream, before: Latest, *, by_device: bool) -> None:
        """A watched point has a new latest value."""
        if point.datastream.expire is not None:
            self.expired.discard(point.series)
            self._renew(point, 0.0)
        if by_device:
            self._unconfirmed.pop(point.series, None)
            self._confirmations.cancel(point.series)
        elif point.datastream.confirm:
            self._unconfirmed.setdefault(point.series, before)
            self._confirmations.set(point.series, trio.current_time() + seconds(point.datastream.confirm))

    def imported(self, point: DeviceDatastream, ts: int) -> None:
        """The latest value of a point is one of the past, stamped ``ts``; it confirms nothing."""
        if point.datastream.expire is not None:
            self.expired.discard(point.series)
            self._renew(point, max(0, self._clock.now() - ts) / 1000)

    def shown(self, point: DeviceDatastream) -> str | None:
        """What is shown instead of a value that has expired; None while it has not."""
        expire = point.datastream.expire
        return expire.show if expire is not None and point.series in self.expired else None

    def _renew(self, point: DeviceDatastream, age: float) -> None:
        expire = point.datastream.expire
        assert expire is not None
        self._expirations.set(point.series, trio.current_time() + seconds(expire.after) - age)

    def _expire(self, key: Hashable) -> None:
        point = self._points.get(cast("int", key))
        if point is not None and point.datastream.expire is not None:
            self.expired.add(point.series)
            self._bus.emit(ValueExpired(point.device, point.datastream, point.datastream.expire.show))

    def _revert(self, key: Hashable) -> None:
        before = self._unconfirmed.pop(cast("int", key), None)
        point = self._points.get(cast("int", key))
        if point is None:
            return
        value = point.datastream.default if before is None else before[1]
        if value is not None:
            self.take_back(point, value)
