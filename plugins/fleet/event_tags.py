"""Tags that events apply: a device has the tag of an event type while one of its events of that type is open.

The tag is that of the device's organization, or of the nearest one above that has a tag of the name. It is detached
when the last such event is resolved (docs.blynk.io, Events: Apply a tag), also if a user attached it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from hub import SYSTEM, EventChanged, EventLogged, EventResolved, RequestError, StorageError

if TYPE_CHECKING:
    from hub import Device, Hub
    from plugins.fleet.tags import Tag, Tags

log = logging.getLogger(__name__)


class EventTags:
    """Attaches and detaches the tags in a task, one device after the other."""

    def __init__(self, hub: Hub, tags: Tags) -> None:
        self._hub = hub
        self._tags = tags
        #: Devices with events that have changed, with the names of these events' tags.
        self._pending: dict[int, set[str]] = {}
        self._wake = trio.Event()
        hub.subscribe(EventLogged, lambda fact: self._on_event(fact.device, fact.event.code))
        hub.subscribe(EventChanged, lambda fact: self._on_event(fact.device, fact.event.code))
        hub.subscribe(EventResolved, lambda fact: self._on_event(fact.device, fact.code))

    def _on_event(self, device: Device, code: str) -> None:
        name = next((event.tag for event in device.template.events if event.code == code), "")
        if name:
            self._pending.setdefault(device.id, set()).add(name)
            self._wake.set()

    async def run(self) -> None:
        """Apply the tags of events, until cancelled."""
        while True:
            while self._pending:
                device_id = next(iter(self._pending))
                names = self._pending.pop(device_id)
                if (device := self._hub.devices.by_id.get(device_id)) is not None:
                    for name in names:
                        await self._apply(device, name)
            self._wake = trio.Event()
            await self._wake.wait()

    async def _apply(self, device: Device, name: str) -> None:
        tag = self._tag_for(device, name)
        if tag is None:
            return
        try:
            codes = [event.code for event in device.template.events if event.tag == name]
            has_tag = tag in self._tags.of_device(device)
            is_open = await self._hub.timeline.has_open(device, codes)
            if is_open and not has_tag:
                if problem := self._tags.attach_problem(device, tag):
                    log.warning("device %s does not get the tag %s of its event: %s", device.name, name, problem)
                else:
                    await self._tags.attach([device], tag, SYSTEM)
            elif has_tag and not is_open:
                await self._tags.detach([device], tag, SYSTEM)
        except (RequestError, StorageError) as error:
            log.warning("the tag %s of an event of device %s was not changed: %s", name, device.name, error)

    def _tag_for(self, device: Device, name: str) -> Tag | None:
        by_org = {tag.org: tag for tag in self._tags.by_id.values() if tag.name == name}
        path = self._hub.organizations.path(device.org)
        return next((by_org[org.id] for org in path if org.id in by_org), None)
