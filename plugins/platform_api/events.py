"""The timeline over HTTP: what happened to devices, and what people do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from hub.api import MAX_TIME, PAGE, VIEW_DEVICES, PageNumber, PageSize, Request, Route, Time
from hub.domain.timeline import UNKNOWN, TimelineFilter
from hub.errors import NotFound, Rejected
from hub.model import Comment, Device, TimelineEvent

if TYPE_CHECKING:
    from hub.app import Hub

#: What the API calls types of events (docs.blynk.io, Get device timeline); asked for in any case, or as templates do.
NAMES = {"info": "INFORMATION"} | {
    kind: kind.upper() for kind in ("warning", "critical", "content", "online", "offline", "status")
}
_TYPES = {name.lower(): kind for kind, name in NAMES.items()} | {kind: kind for kind in NAMES}
YesNoAny = Literal["true", "false", "any"]
_YES_NO = {"true": True, "false": False}


@attrs.frozen(kw_only=True)
class EventObject:
    """Something on a device's timeline; times are ms UTC. ``resolved_comment`` is what was done about it."""

    id: int
    device_id: int
    org_id: int
    event_type: str
    event_code: str
    name: str
    description: str
    ts: int
    is_resolved: bool
    resolved_at: int | None
    resolved_by: str
    resolved_comment: str
    archived_at: int | None
    comments: list[Comment]


def event_shown(event: TimelineEvent, org: int, name: Callable[[str], str] = str) -> EventObject:
    """An event of a device in an organization; ``name`` says what somebody ("user 3") is called."""
    return EventObject(
        id=event.id,
        device_id=event.device,
        org_id=org,
        event_type=NAMES.get(event.type, event.type.upper()),
        event_code=event.code,
        name=event.name,
        description=event.description,
        ts=event.ts,
        is_resolved=event.resolved is not None,
        resolved_at=event.resolved,
        resolved_by=name(event.resolved_by),
        resolved_comment=event.note,
        archived_at=event.archived,
        comments=[attrs.evolve(one, by=name(one.by)) for one in event.comments],
    )


@attrs.frozen(kw_only=True)
class Events:
    """A page of events, and how many there are of each type."""

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
    """``note`` is what was done about it."""

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
    device_id: int
    event_id: int
    archived: bool = True


def routes(hub: Hub) -> Sequence[Route]:
    def shown(request: Request, device: Device, event: TimelineEvent) -> EventObject:
        return event_shown(event, device.org, lambda who: hub.name_of(who, request.principal))

    async def timeline(
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
        device = hub.access.device_for(request, device_id)
        if wrong := {kind.lower() for kind in event_type} - _TYPES.keys():
            raise Rejected(f"eventType must be of {', '.join(NAMES.values())}, not {', '.join(sorted(wrong))}")
        types = [_TYPES[kind.lower()] for kind in event_type]
        if from_ >= to:
            raise Rejected("from must be before to")
        wanted = TimelineFilter(
            devices=[device.id],
            types=types,
            resolved=_YES_NO.get(resolved),
            archived=_YES_NO.get(archived),
            start=from_,
            end=to,
            text=query,
        )
        events, total = await hub.timeline.find(wanted, page, size)
        counters = await hub.timeline.count(attrs.evolve(wanted, types=()))
        return Events(
            content=[shown(request, device, event) for event in events],
            total_elements=total,
            counters={NAMES.get(kind, kind.upper()): count for kind, count in counters.items()},
        )

    async def trigger(request: Request) -> None:
        body: TriggerEvent = request.body
        try:
            await hub.timeline.log(
                hub.access.device_for(request, body.device_id), body.event_code, body.event_description
            )
        except Rejected as error:
            if str(error) == UNKNOWN:
                raise NotFound("Event with provided code is not found.") from error
            raise

    async def resolve(request: Request) -> EventObject:
        body: EventNote = request.body
        device = hub.access.device_for(request, body.device_id)
        done = await hub.timeline.resolve_event(device, body.event_id, body.note, request.principal)
        return shown(request, device, done)

    async def comment(request: Request) -> EventObject:
        body: EventComment = request.body
        device = hub.access.device_for(request, body.device_id)
        done = await hub.timeline.comment(device, body.event_id, body.text, request.principal)
        return shown(request, device, done)

    async def archive(request: Request) -> EventObject:
        body: EventArchive = request.body
        device = hub.access.device_for(request, body.device_id)
        return shown(request, device, await hub.timeline.archive(device, body.event_id, body.archived))

    org, edit = "/api/v1/organization/device", "timeline.edit"
    log = "Log an event of a device"
    return [
        Route("GET", f"{org}/timeline", timeline, VIEW_DEVICES, "A device's events, newest first"),
        Route("POST", f"{org}/trigger-event", trigger, "org_devices.control", log, TriggerEvent),
        Route("POST", f"{org}/event/resolve", resolve, edit, "Resolve an event", EventNote),
        Route("POST", f"{org}/resolve-event", resolve, edit, "Resolve an event", EventNote),
        Route("POST", f"{org}/event/comment", comment, edit, "Comment on an event", EventComment),
        Route("POST", f"{org}/event/archive", archive, edit, "Archive an event, or take it back", EventArchive),
    ]
