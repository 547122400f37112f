"""The connection lifecycle of devices: online, offline, and custom statuses (docs.blynk.io, Connection lifecycle).

Theory of operation
===================

A template defines a sequence of steps for devices that are away, ordered by the time away: offline after its wait, and
up to two custom statuses, each after its own time. The time away counts from the last message of the device, so the
time that the hub took to notice a lost connection is part of it.

=================  ==================================================================================================
State              Transitions
=================  ==================================================================================================
never connected    ``status == ""``. A connection leads to *online*.
online             ``status == ONLINE``, connected. A disconnection leads to *away* and starts the timer of the first
                   step.
away               ``device.id in _away``; the status is still that of before. The timer (`_on_timer`) leads to the
                   status of the step and starts the timer of the next step; a connection leads to *online*.
offline, custom    The status of the last step that is over. The device is still away: timer and connection as above.
=================  ==================================================================================================

A device that reports data without a connection (``reports_data`` of the template) is *online* and *away* at once with
each report, so that the steps count from its last report.

A stop of the hub is not a disconnection: connections that end after `stop` change nothing, and after a start, devices
that were online have the whole wait to connect again. All other devices continue where they were, since ``device.away``
(the time of the last message, in ms UTC) is stored.

A change of status is emitted as `StatusChanged` at once, and written together with its timeline event by `run` soon
after, up to `AT_ONCE` changes in a transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, cast

import attrs
import trio

from hub.domain.timeline import NewEvent
from hub.errors import StorageError
from hub.facts import DeviceConnected, DeviceDeleted, DeviceDisconnected, StatusChanged, TemplateChanged
from hub.model import OFFLINE, ONLINE, Device, StatusSettings, Template, TimelineEvent
from hub.parsing.structuring import seconds
from hub.rate_limits import DailyQuota
from hub.timers import Timers

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.domain.devices import Devices
    from hub.domain.timeline import Timeline
    from hub.storage import Storage, Transaction

log = logging.getLogger(__name__)

#: Seconds between two attempts to write changes after the disk refused.
RETRY_AFTER = 5.0
#: Status changes written in one transaction.
AT_ONCE = 500


@attrs.frozen
class _Step:
    """A status that a device gets after ``after`` seconds away."""

    after: float
    status: str


class Lifecycles:
    """The statuses of all devices. The only place that changes `Device.status`, `status_at` and `away`."""

    def __init__(
        self, storage: Storage, bus: Bus, clock: Clock, devices: Devices, timeline: Timeline, per_day: int
    ) -> None:
        self._storage = storage
        self._bus = bus
        self._clock = clock
        self._devices = devices
        self._timeline = timeline
        self._timers = Timers(self._on_timer, clock.monotonic)
        self._daily = DailyQuota(per_day)
        #: The steps of a template, by its id and version.
        self._steps: dict[tuple[str, int], list[_Step]] = {}
        #: The time of the last message of each device that is away, by trio's clock.
        self._away: dict[int, float] = {}
        self._unsaved: list[tuple[Device, NewEvent | None]] = []
        self._wake = trio.Event()
        self._stopping = False
        bus.subscribe(DeviceConnected, lambda fact: self._set_online(fact.device))
        bus.subscribe(DeviceDisconnected, lambda fact: self._set_away(fact.device, fact.silent))
        bus.subscribe(DeviceDeleted, lambda fact: self._forget(fact.device))
        bus.subscribe(TemplateChanged, lambda fact: self._template_changed(fact.template))

    def status_name(self, device: Device) -> str:
        """Return the name of the device's status in its template."""
        lifecycle = device.template.lifecycle
        return {ONLINE: lifecycle.online, OFFLINE: lifecycle.offline, "": lifecycle.offline}.get(
            device.status, device.status
        )

    def on_data(self, device: Device) -> None:
        """Note a report of data by a device that has no connection; only templates with ``reports_data`` count it."""
        if device.template.lifecycle.reports_data and not self._stopping:
            if device.status != ONLINE:
                self._set_online(device)
            self._set_away(device, 0.0)

    def start(self) -> None:
        """Continue from the stored statuses; online devices get the whole wait to connect again."""
        now, wall = self._clock.monotonic(), self._clock.now()
        for device in self._devices.by_id.values():
            if device.status == ONLINE:
                self._away[device.id] = now
            elif device.status and device.away is not None:
                self._away[device.id] = now - max(0, wall - device.away) / 1000
            else:
                continue
            self._schedule(device)

    async def run(self) -> None:
        """Run the timers and write changes of status, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timers.run)
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while not await self._save():  # noqa: ASYNC110 - no event announces that the disk works again
                    await trio.sleep(RETRY_AFTER)

    def stop(self) -> None:
        """Ignore all connections that end from now on: the hub ends them, not the devices."""
        self._stopping = True

    async def close(self) -> None:
        """Write the remaining changes of status."""
        await self._save()

    # -- transitions ----------------------------------------------------------------------------------------------

    def _set_online(self, device: Device) -> None:
        self._forget(device)
        device.away = None
        if device.status != ONLINE:
            self._set_status(device, ONLINE)

    def _set_away(self, device: Device, silent: float) -> None:
        """Let a device be away since ``silent`` seconds ago."""
        if self._stopping or device.id not in self._devices.by_id:
            return
        self._away[device.id] = self._clock.monotonic() - silent
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

    def _next_step(self, device: Device) -> _Step | None:
        """Return the step after the status of a device that is away; None after the last."""
        template = device.template
        key = (template.id, template.version)
        steps = self._steps.get(key)
        if steps is None:
            lifecycle = template.lifecycle
            unordered = [_Step(seconds(lifecycle.wait), OFFLINE)]
            unordered += [_Step(seconds(status.after), status.name) for status in lifecycle.status]
            steps = self._steps[key] = sorted(unordered, key=lambda step: step.after)
        names = [step.status for step in steps]
        index = names.index(device.status) + 1 if device.status in names else 0
        return steps[index] if index < len(steps) else None

    def _schedule(self, device: Device) -> None:
        step = self._next_step(device)
        if step is None:
            self._timers.cancel(device.id)
        else:
            self._timers.set(device.id, self._away[device.id] + step.after)

    def _on_timer(self, key: Hashable) -> None:
        device = self._devices.by_id.get(cast("int", key))
        if device is None or self._stopping or device.id not in self._away:
            return
        if (step := self._next_step(device)) is not None:
            if device.away is None:
                device.away = self._clock.now()
            self._set_status(device, step.status)
            self._schedule(device)

    def _set_status(self, device: Device, status: str) -> None:
        now = self._clock.now()
        device.status, device.status_at = status, now
        new = None
        settings = device.template.lifecycle.settings(status) or StatusSettings()
        # A device that connects and disconnects all day must not fill the timeline: over the quota only the event is
        # left out.
        if _makes_event(settings) and self._daily.take(device.id, 1, now) is None:
            event = TimelineEvent(
                id=0,
                device=device.id,
                ts=now,
                code=status,
                type=status if status in (ONLINE, OFFLINE) else "status",
                name=self.status_name(device),
                description=settings.description,
            )
            new = NewEvent(device, event, settings)
        self._unsaved.append((device, new))
        self._wake.set()
        self._bus.emit(StatusChanged(device, status, now))

    async def _save(self) -> bool:
        """Write all changes of status with their events; return False if the disk refused."""
        while self._unsaved:
            changes = self._unsaved[:AT_ONCE]
            devices = {device.id: device for device, _ in changes}.values()
            rows = [(d.status, d.status_at, d.away, d.id) for d in devices]

            async def write(tx: Transaction, rows: Sequence[tuple[object, ...]] = rows) -> None:
                for row in rows:
                    await tx.execute("UPDATE devices SET status = ?, status_at = ?, away = ? WHERE id = ?", row)

            try:
                await self._timeline.record([new for _, new in changes if new is not None], write)
            except StorageError as error:
                log.warning("storage: changes of device status could not be written and will be tried again: %s", error)
                return False
            del self._unsaved[: len(changes)]
        return True


def _makes_event(settings: StatusSettings) -> bool:
    """Whether a change to the status is an event: on the timeline, or one that notifies."""
    return settings.timeline or settings.show_in_notifications
