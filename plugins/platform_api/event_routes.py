"""Routes of the timeline: list a device's events; log, resolve, comment on and archive them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from hub import Device, NotFound, Rejected, Request, Route, TimelineEvent
from hub.api import MAX_TIME, PAGE, VIEW_DEVICES, PageNumber, PageSize, Time
from hub.domain import UNKNOWN, TimelineFilter
from plugins.platform_api.event_schemas import API_EVENT_TYPES, EventObject, event_object

if TYPE_CHECKING:
    from hub import Hub

#: The event type for each accepted ``eventType`` in lower case: the API's names, and those of templates.
_EVENT_TYPES = {name.lower(): event_type for event_type, name in API_EVENT_TYPES.items()} | {
    event_type: event_type for event_type in API_EVENT_TYPES
}
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
        names = [name.lower() for name in event_type]
        if unknown := set(names) - _EVENT_TYPES.keys():
            known = ", ".join(API_EVENT_TYPES.values())
            raise Rejected(f"eventType must be one of {known}, not {', '.join(sorted(unknown))}")
        if from_ >= to:
            raise Rejected("from must be before to")
        event_filter = TimelineFilter(
            devices=[device.id],
            types=[_EVENT_TYPES[name] for name in names],
            resolved=_FILTER_VALUES[resolved],
            archived=_FILTER_VALUES[archived],
            start=from_,
            end=to,
            text=query,
        )
        events, total = await self._hub.timeline.find(event_filter, page, size)
        counts = await self._hub.timeline.count(attrs.evolve(event_filter, types=()))
        return Events(
            content=[self._object(request, device, event) for event in events],
            total_elements=total,
            counters={API_EVENT_TYPES.get(kind, kind.upper()): count for kind, count in counts.items()},
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


def routes(hub: Hub) -> Sequence[Route]:
    api = EventRoutes(hub)
    org, edit = "/api/v1/organization/device", "timeline.edit"
    log = "Log an event of a device"
    return [
        Route("GET", f"{org}/timeline", api.timeline, VIEW_DEVICES, "A device's events, newest first"),
        Route("POST", f"{org}/trigger-event", api.trigger, "org_devices.control", log, TriggerEvent),
        Route("POST", f"{org}/event/resolve", api.resolve, edit, "Resolve an event", EventNote),
        Route("POST", f"{org}/resolve-event", api.resolve, edit, "Resolve an event", EventNote),
        Route("POST", f"{org}/event/comment", api.comment, edit, "Comment on an event", EventComment),
        Route("POST", f"{org}/event/archive", api.archive, edit, "Archive an event, or bring it back", EventArchive),
    ]
