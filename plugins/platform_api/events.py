"""The timeline over HTTP: what happened to devices, and what people do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub.errors import NotFound, Rejected
from hub.model import TimelineEvent
from hub.routes import Request, Route
from hub.timeline import MAX_PAGE, UNKNOWN, Filter

if TYPE_CHECKING:
    from hub.app import Hub

#: What may be asked for as ``eventType``, in any case.
TYPES = ("info", "warning", "critical", "content", "online", "offline", "status")
_YES_NO = {"true": True, "false": False}


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
    async def timeline(request: Request) -> dict[str, Any]:
        params = request.params
        device = hub.device_for(request, request.int_param("deviceId"))
        page, size = request.int_param("page", 0), request.int_param("size", 100)
        if not 1 <= size <= MAX_PAGE:
            raise Rejected(f"size must be 1 to {MAX_PAGE}")
        types = [kind for kind in params.get("eventType", "").lower().split(",") if kind]
        if wrong := set(types) - set(TYPES):
            raise Rejected(f"eventType must be of {', '.join(TYPES)}, not {', '.join(sorted(wrong))}")
        start, end = request.int_param("from", 0), request.int_param("to", 2**42)
        if start >= end:
            raise Rejected("from must be before to")
        wanted = Filter(
            devices=[device.id],
            types=types,
            resolved=_flag(params, "resolved", None),
            archived=_flag(params, "archived", default=False),
            start=start,
            end=end,
            text=params.get("query", ""),
        )
        events, total = await hub.timeline.find(wanted, page, size)
        counters = await hub.timeline.count(attrs.evolve(wanted, types=()))
        return {
            "content": [_shown(hub, request, event) for event in events],
            "totalElements": total,
            "counters": counters,
        }

    async def trigger(request: Request) -> None:
        body: TriggerEvent = request.body
        try:
            await hub.timeline.log(hub.device_for(request, body.device_id), body.event_code, body.event_description)
        except Rejected as error:
            if str(error) == UNKNOWN:
                raise NotFound("Event with provided code is not found.") from error
            raise

    async def resolve(request: Request) -> dict[str, Any]:
        body: EventNote = request.body
        device = hub.device_for(request, body.device_id)
        return _shown(hub, request, await hub.timeline.resolve_one(device, body.event_id, body.note, request.principal))

    async def comment(request: Request) -> dict[str, Any]:
        body: EventComment = request.body
        device = hub.device_for(request, body.device_id)
        return _shown(hub, request, await hub.timeline.comment(device, body.event_id, body.text, request.principal))

    async def archive(request: Request) -> dict[str, Any]:
        body: EventArchive = request.body
        return _shown(
            hub,
            request,
            await hub.timeline.archive(hub.device_for(request, body.device_id), body.event_id, body.archived),
        )

    org, edit = "/api/v1/organization/device", "timeline.edit"
    table: tuple[tuple[str, str, Callable[..., Any], str, type | None, str], ...] = (
        ("GET", f"{org}/timeline", timeline, "org_devices.view", None, "A device's events, newest first"),
        ("POST", f"{org}/trigger-event", trigger, "org_devices.control", TriggerEvent, "Log an event of a device"),
        ("POST", f"{org}/event/resolve", resolve, edit, EventNote, "Resolve an event"),
        ("POST", f"{org}/event/comment", comment, edit, EventComment, "Comment on an event"),
        ("POST", f"{org}/event/archive", archive, edit, EventArchive, "Archive an event, or take it back"),
    )
    return [
        Route(method=method, path=path, handler=handler, permission=permission, body=body, summary=summary)
        for method, path, handler, permission, body, summary in table
    ]


def _flag(params: dict[str, str], name: str, default: bool | None) -> bool | None:
    """``true``, ``false`` or ``any``. Raises `Rejected`."""
    text = params.get(name)
    if text is None:
        return default
    if text != "any" and text not in _YES_NO:
        raise Rejected(f"{name} must be true, false or any")
    return _YES_NO.get(text)


def _shown(hub: Hub, request: Request, event: TimelineEvent) -> dict[str, Any]:
    plain = attrs.asdict(event)
    plain["resolved_by"] = hub.name_of(event.resolved_by, request.principal)
    for comment in plain["comments"]:
        comment["by"] = hub.name_of(comment["by"], request.principal)
    return {"resolvedBy" if key == "resolved_by" else key: value for key, value in plain.items()}
