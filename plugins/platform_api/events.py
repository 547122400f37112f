"""The timeline over HTTP: what happened to devices, and what people do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from hub.errors import NotFound, Rejected
from hub.model import TimelineEvent
from hub.routes import VIEW_DEVICES, PageNumber, PageSize, Request, Route
from hub.signatures import MAX_TIME, Time
from hub.timeline import UNKNOWN, Filter

if TYPE_CHECKING:
    from hub.app import Hub

#: What may be asked for as ``eventType``, in any case.
TYPES = ("info", "warning", "critical", "content", "online", "offline", "status")
YesNoAny = Literal["true", "false", "any"]
_YES_NO = {"true": True, "false": False}


@attrs.frozen(kw_only=True)
class Events:
    """A page of events, and how many there are of each type."""

    content: list[TimelineEvent]
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
        size: PageSize = 100,
    ) -> Events:
        device = hub.device_for(request, device_id)
        types = [kind.lower() for kind in event_type]
        if wrong := set(types) - set(TYPES):
            raise Rejected(f"eventType must be of {', '.join(TYPES)}, not {', '.join(sorted(wrong))}")
        if from_ >= to:
            raise Rejected("from must be before to")
        wanted = Filter(
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
            content=[_shown(hub, request, event) for event in events], total_elements=total, counters=counters
        )

    async def trigger(request: Request) -> None:
        body: TriggerEvent = request.body
        try:
            await hub.timeline.log(hub.device_for(request, body.device_id), body.event_code, body.event_description)
        except Rejected as error:
            if str(error) == UNKNOWN:
                raise NotFound("Event with provided code is not found.") from error
            raise

    async def resolve(request: Request) -> TimelineEvent:
        body: EventNote = request.body
        device = hub.device_for(request, body.device_id)
        return _shown(hub, request, await hub.timeline.resolve_one(device, body.event_id, body.note, request.principal))

    async def comment(request: Request) -> TimelineEvent:
        body: EventComment = request.body
        device = hub.device_for(request, body.device_id)
        return _shown(hub, request, await hub.timeline.comment(device, body.event_id, body.text, request.principal))

    async def archive(request: Request) -> TimelineEvent:
        body: EventArchive = request.body
        return _shown(
            hub,
            request,
            await hub.timeline.archive(hub.device_for(request, body.device_id), body.event_id, body.archived),
        )

    org, edit = "/api/v1/organization/device", "timeline.edit"
    log = "Log an event of a device"
    return [
        Route("GET", f"{org}/timeline", timeline, VIEW_DEVICES, "A device's events, newest first"),
        Route("POST", f"{org}/trigger-event", trigger, "org_devices.control", log, TriggerEvent),
        Route("POST", f"{org}/event/resolve", resolve, edit, "Resolve an event", EventNote),
        Route("POST", f"{org}/event/comment", comment, edit, "Comment on an event", EventComment),
        Route("POST", f"{org}/event/archive", archive, edit, "Archive an event, or take it back", EventArchive),
    ]


def _shown(hub: Hub, request: Request, event: TimelineEvent) -> TimelineEvent:
    """An event with names instead of numbers of people."""
    by = hub.name_of(event.resolved_by, request.principal)
    comments = (attrs.evolve(one, by=hub.name_of(one.by, request.principal)) for one in event.comments)
    return attrs.evolve(event, resolved_by=by, comments=tuple(comments))
