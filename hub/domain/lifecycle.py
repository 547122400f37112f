"""Whether devices are there: online, gone for a while, offline, or what their template says (docs.blynk.io, Connection
lifecycle).

A device that is gone stays what it was until it has been away for as long as its template waits, counted from when it
was last heard of: what its heartbeat took is part of it. A stop of the hub is no disconnection: after a start, devices
that were online get the whole wait to come back.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, cast

import attrs
import trio

from hub.errors import StorageError
from hub.facts import DeviceConnected, DeviceDeleted, DeviceDisconnected, StatusChanged, TemplateChanged
from hub.model import OFFLINE, ONLINE, Device, Status, Template, TimelineEvent
from hub.rate_limits import DailyQuota
from hub.structuring import seconds
from hub.timers import Timers

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.domain.devices import Devices
    from hub.domain.timeline import Timeline
    from hub.storage import Storage, Transaction

log = logging.getLogger(__name__)

#: Seconds until a change that the disk did not take is tried again.
RETRY_AFTER = 5.0
#: Changes in one transaction.
AT_ONCE = 500


@attrs.frozen
class _Step:
    """What a device becomes ``after`` so many seconds away."""

    after: float
    status: str
    shown: Status


class Lifecycles:
    def __init__(
        self, storage: Storage, bus: Bus, clock: Clock, devices: Devices, timeline: Timeline, per_day: int
    ) -> None:
        self._storage = storage
        self._bus = bus
        self._clock = clock
        self._devices = devices
        self._timeline = timeline
        self._timers = Timers(self._due)
        self._daily = DailyQuota(per_day)
        #: By template and version.
        self._steps: dict[tuple[str, int], list[_Step]] = {}
        #: When devices that are away were last heard of, by trio's clock.
        self._away: dict[int, float] = {}
        self._unsaved: list[tuple[Device, TimelineEvent | None]] = []
        self._wake = trio.Event()
        self._stopping = False
        bus.subscribe(DeviceConnected, lambda fact: self._came(fact.device))
        bus.subscribe(DeviceDisconnected, lambda fact: self._went(fact.device, fact.silent))
        bus.subscribe(DeviceDeleted, lambda fact: self._forget(fact.device))
        bus.subscribe(TemplateChanged, lambda fact: self._template_changed(fact.template))

    def status_name(self, device: Device) -> str:
        """What the device's template calls its status."""
        lifecycle = device.template.lifecycle
        return {ONLINE: lifecycle.online, OFFLINE: lifecycle.offline, "": lifecycle.offline}.get(
            device.status, device.status
        )

    def on_data(self, device: Device) -> None:
        """A device that only reports data, and has no connection, reported some."""
        if device.template.lifecycle.reports_data and not self._stopping:
            if device.status != ONLINE:
                self._came(device)
            self._went(device, 0.0)

    def start(self) -> None:
        """Take up where the hub stopped."""
        now, wall = trio.current_time(), self._clock.now()
        for device in self._devices.by_id.values():
            if device.status == ONLINE:
                self._away[device.id] = now
            elif device.status and device.away is not None:
                self._away[device.id] = now - max(0, wall - device.away) / 1000
            else:
                continue
            self._schedule(device)

    async def run(self) -> None:
        """Follow the clock and keep what changes, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timers.run)
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while not await self._save():  # noqa: ASYNC110 - the disk tells nobody when it is back
                    await trio.sleep(RETRY_AFTER)

    def stop(self) -> None:
        """Whatever connection ends from now on ends because of the hub."""
        self._stopping = True

    async def close(self) -> None:
        """Keep what has changed."""
        await self._save()

    # -- what happens ---------------------------------------------------------------------------------------------

    def _came(self, device: Device) -> None:
        self._forget(device)
        device.away = None
        if device.status != ONLINE:
            self._become(device, ONLINE, Status(name=device.template.lifecycle.online, after=""))

    def _went(self, device: Device, silent: float) -> None:
        if self._stopping or device.id not in self._devices.by_id:
            return
        self._away[device.id] = trio.current_time() - silent
        device.away = self._clock.now() - int(silent * 1000)
        self._schedule(device)

    def _forget(self, device: Device) -> None:
        self._away.pop(device.id, None)
        self._timers.cancel(device.id)

    def _template_changed(self, template: Template) -> None:
        self._steps = {key: steps for key, steps in self._steps.items() if key[0] != template.id}
        for number in self._away:
            device = self._devices.by_id[number]
            if device.template.id == template.id:
                self._schedule(device)

    def _following(self, device: Device) -> _Step | None:
        """What comes after the status that a device has, while it is away."""
        template = device.template
        key = (template.id, template.version)
        steps = self._steps.get(key)
        if steps is None:
            lifecycle = template.lifecycle
            offline = Status(name=lifecycle.offline, after=lifecycle.wait, timeline=lifecycle.timeline)
            found = [_Step(seconds(lifecycle.wait), OFFLINE, offline)]
            found += [_Step(seconds(status.after), status.name, status) for status in lifecycle.status]
            steps = self._steps[key] = sorted(found, key=lambda step: step.after)
        names = [step.status for step in steps]
        at = names.index(device.status) + 1 if device.status in names else 0
        return steps[at] if at < len(steps) else None

    def _schedule(self, device: Device) -> None:
        step = self._following(device)
        if step is None:
            self._timers.cancel(device.id)
        else:
            self._timers.set(device.id, self._away[device.id] + step.after)

    def _due(self, key: Hashable) -> None:
        device = self._devices.by_id.get(cast("int", key))
        if device is None or self._stopping or device.id not in self._away:
            return
        if (step := self._following(device)) is not None:
            if device.away is None:
                device.away = self._clock.now()
            self._become(device, step.status, step.shown)
            self._schedule(device)

    def _become(self, device: Device, status: str, shown: Status) -> None:
        now = self._clock.now()
        device.status, device.status_at = status, now
        event = None
        on_timeline = shown.timeline and (status != ONLINE or device.template.lifecycle.timeline)
        # Who comes and goes all day long is believed, but not written down every time.
        if on_timeline and self._daily.take(device.id, 1, now) is None:
            kind = status if status in (ONLINE, OFFLINE) else "status"
            event = TimelineEvent(
                id=0,
                device=device.id,
                ts=now,
                code=status,
                type=kind,
                name=shown.name,
                description=shown.description,
            )
        self._unsaved.append((device, event))
        self._wake.set()
        self._bus.emit(StatusChanged(device, status, now))

    async def _save(self) -> bool:
        """Keep what has changed; False when the disk does not take it."""
        while self._unsaved:
            some = self._unsaved[:AT_ONCE]
            rows = [(d.status, d.status_at, d.away, d.id) for d in {device.id: device for device, _ in some}.values()]

            async def write(tx: Transaction, rows: Sequence[tuple[object, ...]] = rows) -> None:
                for row in rows:
                    await tx.execute("UPDATE devices SET status = ?, status_at = ?, away = ? WHERE id = ?", row)

            try:
                await self._timeline.record([(d, event) for d, event in some if event is not None], write)
            except StorageError as error:
                log.warning("storage: devices came or went and it was not kept yet: %s", error)
                return False
            del self._unsaved[: len(some)]
        return True
