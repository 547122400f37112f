"""The screens of all devices: in memory, and in the database some seconds later.

A device whose template has terminals or LCDs is followed: its own values are applied to its screens. Values of other
devices cost nothing. A hub that is killed loses the last `FLUSH_INTERVAL` seconds of its screens, never of its values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs
import trio

from hub import (
    DataErased,
    DeviceAdded,
    DeviceChanged,
    DeviceDeleted,
    StorageError,
    TemplateChanged,
    ValueCleared,
    ValueWritten,
)
from plugins.screens.screens import SCREENS, Screen, ScreenKind, screens_of

if TYPE_CHECKING:
    from hub import Device, Hub, Template, Transaction

log = logging.getLogger(__name__)

#: Seconds between two writes to the database.
FLUSH_INTERVAL = 30.0
#: Screens that are stored; the one that was written the longest time ago is dropped for a new one.
MAX_SCREENS = 2_000

#: A screen by its device and datastream.
_Key = tuple[int, int]


@attrs.define
class _Followed:
    """A device with screens: their kinds by datastream, and how to end the subscription to its values."""

    kinds: dict[int, ScreenKind]
    unsubscribe: Callable[[], None]


class Screens:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        #: The one that was written last is the last one.
        self._screens: dict[_Key, Screen] = {}
        self._unwritten: set[_Key] = set()
        self._followed: dict[int, _Followed] = {}
        #: The kinds of each version of a template.
        self._kinds: dict[tuple[str, int], dict[int, ScreenKind]] = {}
        self._erased = trio.Event()
        hub.subscribe(DeviceAdded, lambda fact: self._follow(fact.device))
        hub.subscribe(DeviceChanged, lambda fact: self._follow(fact.device))
        hub.subscribe(DeviceDeleted, self._on_deleted)
        hub.subscribe(TemplateChanged, self._on_template_changed)
        hub.subscribe(DataErased, self._on_erased)
        hub.subscribe(ValueCleared, lambda fact: self._forget(fact.device.id, [fact.datastream.id]))

    def of_device(self, device: Device) -> dict[int, Screen]:
        """Return the screens of a device by datastream; one that was not written yet is empty."""
        return {
            datastream: self._screens.get((device.id, datastream)) or SCREENS[kind]()
            for datastream, kind in self._kinds_of(device.template).items()
        }

    async def load(self) -> None:
        """Load the screens, and follow the devices that have some."""
        rows = await self._hub.storage.configuration.fetch_all("SELECT device, datastream, kind, content FROM screens")
        for device_id, datastream, kind, content in rows[:MAX_SCREENS]:
            if kind in SCREENS:
                self._screens.setdefault((device_id, datastream), SCREENS[kind](content))
        for device in list(self._hub.devices.by_id.values()):
            self._follow(device)

    def _kinds_of(self, template: Template) -> dict[int, ScreenKind]:
        version = (template.id, template.version)
        if version not in self._kinds:
            self._kinds[version] = screens_of(template)
        return self._kinds[version]

    def _follow(self, device: Device) -> None:
        """Begin or end to apply the values of a device, as its template says now."""
        kinds = self._kinds_of(device.template)
        followed = self._followed.get(device.id)
        if followed is not None and kinds:
            followed.kinds = kinds
        elif followed is not None:
            self._followed.pop(device.id).unsubscribe()
        elif kinds:
            unsubscribe = self._hub.subscribe(ValueWritten, self._on_value, device=device.id)
            self._followed[device.id] = _Followed(kinds, unsubscribe)

    def _on_template_changed(self, fact: TemplateChanged) -> None:
        self._kinds.clear()
        for device in self._hub.devices.by_id.values():
            if device.template.id == fact.template.id:
                self._follow(device)

    def _on_erased(self, fact: DataErased) -> None:
        self._forget(fact.device.id, (datastream.id for datastream in fact.datastreams))
        # What was erased does not stay in the database until the next regular write.
        self._erased.set()

    def _on_deleted(self, fact: DeviceDeleted) -> None:
        followed = self._followed.pop(fact.device.id, None)
        if followed is not None:
            followed.unsubscribe()
            self._forget(fact.device.id, followed.kinds)

    def _forget(self, device_id: int, datastreams: Iterable[int]) -> None:
        for datastream in datastreams:
            if self._screens.pop((device_id, datastream), None) is not None:
                self._unwritten.add((device_id, datastream))

    def _on_value(self, fact: ValueWritten) -> None:
        device, datastream = fact.device, fact.datastream
        kind = self._followed[device.id].kinds.get(datastream.id)
        if kind is None or not fact.latest or fact.by.kind != "device" or fact.by.id != device.id:
            return
        key = (device.id, datastream.id)
        screen = self._screens.pop(key, None)
        if screen is None or screen.kind != kind:
            screen = SCREENS[kind]()
        screen.write(fact.value)
        self._screens[key] = screen
        self._unwritten.add(key)
        if len(self._screens) > MAX_SCREENS:
            oldest = next(iter(self._screens))
            self._forget(oldest[0], [oldest[1]])

    async def run(self) -> None:
        """Write the screens to the database every `FLUSH_INTERVAL` seconds, after an erasure, and when cancelled."""
        try:
            while True:
                with trio.move_on_after(FLUSH_INTERVAL):
                    await self._erased.wait()
                self._erased = trio.Event()
                await self.flush()
        finally:
            with trio.CancelScope(shield=True):
                await self.flush()

    async def flush(self) -> None:
        """Write the screens that have changed. They stay unwritten if the database rejects them."""
        batch, self._unwritten = self._unwritten, set()
        if not batch:
            return
        rows = [(key, self._screens.get(key)) for key in batch]
        contents = [(key, screen.kind, screen.content) for key, screen in rows if screen is not None]
        gone = [key for key, screen in rows if screen is None]

        async def write(tx: Transaction) -> None:
            for key in gone:
                await tx.execute("DELETE FROM screens WHERE device = ? AND datastream = ?", key)
            for (device, datastream), kind, content in contents:
                await tx.execute(
                    "INSERT INTO screens (device, datastream, kind, content)"
                    " SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM devices WHERE id = ?)"
                    " ON CONFLICT (device, datastream)"
                    " DO UPDATE SET kind = excluded.kind, content = excluded.content",
                    (device, datastream, kind, content, device),
                )

        try:
            await self._hub.storage.transaction(write)
        except StorageError as error:
            log.warning("screens could not be written and are kept in memory for the next attempt: %s", error)
            self._unwritten |= batch
