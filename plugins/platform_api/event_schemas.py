"""Timeline events as the API's JSON."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from hub import Comment, Device, TimelineEvent

#: The API's name of each event type (docs.blynk.io, Get device timeline), by the type's name in templates.
API_EVENT_TYPES = {"info": "INFORMATION"} | {
    event_type: event_type.upper() for event_type in ("warning", "critical", "content", "online", "offline", "status")
}


@attrs.frozen(kw_only=True)
class EventObject:
    """An event on a device's timeline; times are ms UTC. ``resolved_comment`` is the note of its resolution."""

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


@attrs.frozen(kw_only=True)
class DeviceEventObject(EventObject):
    """An event of one of many devices, with the device's name and template."""

    device_name: str
    template_id: str


def event_object(event: TimelineEvent, org: int, name_of: Callable[[str], str] = str) -> EventObject:
    """Convert an event of a device in organization ``org``.

    ``name_of`` turns an actor's id ("user 3") into the name to show; by default the id itself is shown.
    """
    return EventObject(
        id=event.id,
        device_id=event.device,
        org_id=org,
        event_type=API_EVENT_TYPES.get(event.type, event.type.upper()),
        event_code=event.code,
        name=event.name,
        description=event.description,
        ts=event.ts,
        is_resolved=event.resolved is not None,
        resolved_at=event.resolved,
        resolved_by=name_of(event.resolved_by),
        resolved_comment=event.note,
        archived_at=event.archived,
        comments=[attrs.evolve(comment, by=name_of(comment.by)) for comment in event.comments],
    )


def device_event_object(event: TimelineEvent, device: Device, name_of: Callable[[str], str] = str) -> DeviceEventObject:
    """Convert an event as `event_object` does, with what a list of many devices shows of its device."""
    fields = attrs.asdict(event_object(event, device.org, name_of), recurse=False)
    return DeviceEventObject(**fields, device_name=device.name, template_id=device.template.id)
