"""Routes of the timeline: list a device's events; log, resolve, comment on and archive them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from hub import Device, NotFound, Rejected, Request, Route, TimelineEvent
from hub.api import MAX_TIME, PAGE, VIEW_DEVICES, PageNumber, PageSize, Time
from hub.domain import UNKNOWN, TimelineFilter
from plugins.platform_api.event_schemas import (
    API_EVENT_TYPES,
    DeviceEventObject,
    EventObject,
    device_event_object,
    event_object,
)

if TYPE_CHECKING:
    from hub import Hub

#: The event type for each accepted ``eventType`` in lower case: the API's names, and those of templates.
_EVENT_TYPES = {name.lower(): event_type for event_type, name in API_EVENT_TYPES.items()} | {
    event_type: event_type for event_type in API_EVENT_TYPES
}
#: A cursor: the stamp and the id of the last event of a page.
_CURSOR = re.compile(r"([0-9]{1,15})-([0-9]{1,18})")
YesNoAny = Literal["true", "false", "any"]
#: The timeline filter's value of a `YesNoAny`; "any" filters nothing.
_FILTER_VALUES = {"true": True, "false": False, "any": None}


@attrs.frozen(kw_only=True)
class Events:
    """A page of events. ``counters`` counts all matching events by type, whatever ``eventType`` selects."""

    content: list[EventObject]
    total_elements: int
    counters: dict[str, int]


@attrs.frozen(kw_only=True)
class DeviceEvents:
    """A page of events of several devices.

    next is the cursor of the next page, null on the last one. A page may have fewer events than its size, or none,
    though others follow. counters counts all matching events by type, whatever eventType selects; if there are too
    many, it counts those since counted_from (ms UTC). Both are null for a page with a cursor.
    """

    content: list[DeviceEventObject]
    next: str | None
    counters: dict[str, int] | None
    counted_from: int | None


@attrs.frozen(kw_only=True)
class TriggerEvent:
    device_id: int
    event_code: str
    event_description: str = ""


@attrs.frozen(kw_only=True)
class EventNote:
    """``note`` describes how the event was resolved."""

    device_id: int
    event_id: int
    note: str = ""


@attrs.frozen(kw_only=True)
class EventComment:
    device_id: int
    event_id: int
    text: str


@attrs.frozen(kw_only=True)
class EventArchive:
    """``archived`` is false to bring an archived event back."""

    device_id: int
    event_id: int
    archived: bool = True


class EventRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _object(self, request: Request, device: Device, event: TimelineEvent) -> EventObject:
        return event_object(event, device.org, lambda actor_id: self._hub.name_of(actor_id, request.principal))

    async def timeline(
        self,
        request: Request,
        device_id: int,
        *,
        event_type: tuple[str, ...] = (),
        resolved: YesNoAny = "any",
        archived: YesNoAny = "false",
        from_: Time = 0,
        to: Time = MAX_TIME,
        query: str = "",
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Events:
        device = self._hub.access.device_for(request, device_id)
        event_filter = _filter([device.id], event_type, resolved, archived, from_, to, query)
        events, total = await self._hub.timeline.find(event_filter, page, size)
        counts = await self._hub.timeline.count(attrs.evolve(event_filter, types=()))
        return Events(
            content=[self._object(request, device, event) for event in events],
            total_elements=total,
            counters=_counters(counts),
        )

    async def timeline_of_devices(
        self,
        request: Request,
        *,
        event_type: tuple[str, ...] = (),
        resolved: YesNoAny = "any",
        archived: YesNoAny = "false",
        from_: Time = 0,
        to: Time = MAX_TIME,
        query: str = "",
        org_id: int | None = None,
        template_id: str = "",
        cursor: str = "",
        size: PageSize = PAGE,
    ) -> DeviceEvents:
        """Events of all devices that the client may view in an organization (its own by default) and those below it."""
        hub, principal = self._hub, request.principal
        top = hub.access.organization_for(request, org_id).id
        after = _read_cursor(cursor) if cursor else None
        visible = await hub.access.find_devices(principal, VIEW_DEVICES, top)
        if template_id:
            visible = [device for device in visible if device.template.id == template_id]
        ids = None if len(visible) == len(hub.devices.by_id) else [device.id for device in visible]
        event_filter = _filter(ids, event_type, resolved, archived, from_, to, query)
        page = await hub.timeline.find_newest(event_filter, size, after)
        counts, counted_from = None, None
        if after is None:
            counts, counted_from = await hub.timeline.count_newest(attrs.evolve(event_filter, types=()))
        devices = {device.id: device for device in visible if hub.devices.by_id.get(device.id) is device}
        return DeviceEvents(
            content=[
                device_event_object(event, devices[event.device], lambda actor_id: hub.name_of(actor_id, principal))
                for event in page.events
                if event.device in devices
            ],
            next=None if page.next is None else "{}-{}".format(*page.next),
            counters=None if counts is None else _counters(counts),
            counted_from=counted_from,
        )

    async def trigger(self, request: Request) -> None:
        body: TriggerEvent = request.body
        device = self._hub.access.device_for(request, body.device_id)
        try:
            await self._hub.timeline.log(device, body.event_code, body.event_description)
        except Rejected as error:
            if str(error) == UNKNOWN:
                raise NotFound("Event with provided code is not found.") from error
            raise

    async def resolve(self, request: Request) -> EventObject:
        body: EventNote = request.body
        device = self._hub.access.device_for(request, body.device_id)
        event = await self._hub.timeline.resolve_event(device, body.event_id, body.note, request.principal)
        return self._object(request, device, event)

    async def comment(self, request: Request) -> EventObject:
        body: EventComment = request.body
        device = self._hub.access.device_for(request, body.device_id)
        event = await self._hub.timeline.comment(device, body.event_id, body.text, request.principal)
        return self._object(request, device, event)

    async def archive(self, request: Request) -> EventObject:
        body: EventArchive = request.body
        device = self._hub.access.device_for(request, body.device_id)
        event = await self._hub.timeline.archive(device, body.event_id, body.archived)
        return self._object(request, device, event)


def _filter(
    devices: Sequence[int] | None,
    event_type: Sequence[str],
    resolved: YesNoAny,
    archived: YesNoAny,
    start: int,
    end: int,
    text: str,
) -> TimelineFilter:
    """Return the filter of a request. Raises `Rejected`."""
    names = [name.lower() for name in event_type]
    if unknown := set(names) - _EVENT_TYPES.keys():
        known = ", ".join(API_EVENT_TYPES.values())
        raise Rejected(f"eventType must be one of {known}, not {', '.join(sorted(unknown))}")
    if start >= end:
        raise Rejected("from must be before to")
    return TimelineFilter(
        devices=devices,
        types=[_EVENT_TYPES[name] for name in names],
        resolved=_FILTER_VALUES[resolved],
        archived=_FILTER_VALUES[archived],
        start=start,
        end=end,
        text=text,
    )


def _counters(counts: Mapping[str, int]) -> dict[str, int]:
    return {API_EVENT_TYPES.get(kind, kind.upper()): count for kind, count in counts.items()}


def _read_cursor(text: str) -> tuple[int, int]:
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise Rejected(f"cursor must be the next of an earlier answer, not {text[:40]!r}")
    return int(match[1]), int(match[2])


def routes(hub: Hub) -> Sequence[Route]:
    api = EventRoutes(hub)
    org, edit = "/api/v1/organization/device", "timeline.edit"
    log = "Log an event of a device"
    return [
        Route("GET", f"{org}/timeline", api.timeline, VIEW_DEVICES, "A device's events, newest first"),
        Route("GET", "/api/v1/timeline", api.timeline_of_devices, VIEW_DEVICES, "Events of all devices, newest first"),
        Route("POST", f"{org}/trigger-event", api.trigger, "org_devices.control", log, TriggerEvent),
        Route("POST", f"{org}/event/resolve", api.resolve, edit, "Resolve an event", EventNote),
        Route("POST", f"{org}/resolve-event", api.resolve, edit, "Resolve an event", EventNote),
        Route("POST", f"{org}/event/comment", api.comment, edit, "Comment on an event", EventComment),
        Route("POST", f"{org}/event/archive", api.archive, edit, "Archive an event, or bring it back", EventArchive),
    ]
