"""Segments over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from hub import LARGE_BODY, Created, Rejected, Request, Route
from hub.api import MAX_PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, page_of
from hub.domain import DeviceQuery, Segment

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class SegmentObject:
    """Segment as JSON, with either ``devices`` picked by hand, or a query in ``find`` and exceptions in ``excluded``.

    Both lists have ids, without those of devices that the client may not view.
    """

    id: int
    org_id: int
    name: str
    position: int
    devices: list[int] | None
    find: DeviceQuery | None
    excluded: list[int]


@attrs.frozen(kw_only=True)
class NewSegment:
    """New segment, with either ``devices`` (ids), or a query in ``find`` and the ids it leaves out in ``excluded``."""

    name: str
    devices: list[int] | None = None
    find: DeviceQuery | None = None
    excluded: list[int] = attrs.Factory(list)
    org_id: int | None = None


@attrs.frozen(kw_only=True)
class EditSegment:
    """Changes of a segment: absent fields stay as they are; ``position`` 0 is the first of its organization."""

    segment_id: int
    name: str | None = None
    devices: list[int] | None = None
    find: DeviceQuery | None = None
    excluded: list[int] | None = None
    position: int | None = None


class SegmentRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._segments = hub.segments

    async def list(
        self, request: Request, *, org_id: int | None = None, page: PageNumber = 0, size: PageSize = MAX_PAGE
    ) -> Page[SegmentObject]:
        segments = self._segments.of_org(self._hub.access.organization_for(request, org_id).id)
        return page_of(segments, page, size, partial(self._to_object, request))

    async def info(self, request: Request, segment_id: int) -> SegmentObject:
        segment = self._segments.segment_for(request.principal, segment_id)
        request.version(segment)
        return self._to_object(request, segment)

    async def create(self, request: Request) -> Created[SegmentObject]:
        body: NewSegment = request.body
        org = self._hub.access.organization_for(request, body.org_id)
        if (body.devices is None) == (body.find is None):
            raise Rejected("either devices or find is needed, and not both")
        chosen = frozenset(body.excluded if body.devices is None else body.devices)
        segment = await self._segments.save(Segment(id=0, org=org.id, name=body.name, chosen=chosen, find=body.find))
        request.subject = f"segment {segment.id}"
        return Created(value=self._to_object(request, segment))

    async def edit(self, request: Request) -> SegmentObject:
        body: EditSegment = request.body
        segment = self._editable(request, body.segment_id)
        if body.devices is not None and segment.find is not None:
            raise Rejected("devices: this segment has a query; change find or excluded instead")
        if (body.find is not None or body.excluded is not None) and segment.find is None:
            raise Rejected("find and excluded: the devices of this segment are picked by hand; change devices instead")
        chosen = next((frozenset(ids) for ids in (body.devices, body.excluded) if ids is not None), segment.chosen)
        changed = attrs.evolve(segment, name=body.name or segment.name, chosen=chosen, find=body.find or segment.find)
        saved = await self._segments.save(changed, body.position)
        request.version(saved)
        return self._to_object(request, saved)

    async def delete(self, request: Request, segment_id: int) -> None:
        await self._segments.remove(self._editable(request, segment_id))

    def _editable(self, request: Request, segment_id: int) -> Segment:
        """Return the segment that a request edits, for the audit too. Raises `NotFound`, `Outdated`."""
        segment = self._segments.segment_for(request.principal, segment_id, request.permission)
        request.subject, request.org = f"segment {segment.id}", segment.org
        request.expect(segment)
        return segment

    def _to_object(self, request: Request, segment: Segment) -> SegmentObject:
        by_id = self._hub.devices.by_id
        devices = (by_id[device_id] for device_id in segment.chosen if device_id in by_id)
        visible = sorted(
            device.id for device in self._hub.access.allowed_devices(request.principal, VIEW_DEVICES, devices)
        )
        return SegmentObject(
            id=segment.id,
            org_id=segment.org,
            name=segment.name,
            position=segment.position,
            devices=visible if segment.find is None else None,
            find=segment.find,
            excluded=[] if segment.find is None else visible,
        )


def routes(hub: Hub) -> Sequence[Route]:
    api = SegmentRoutes(hub)
    org, edit = "/api/v1/organization", "segments.edit"
    options: dict[str, Any] = {"lock": "segment", "max_body": LARGE_BODY}
    return [
        Route("GET", f"{org}/segments", api.list, VIEW_DEVICES, "The segments of an organization"),
        Route("GET", f"{org}/segment", api.info, VIEW_DEVICES, "One segment"),
        Route("POST", f"{org}/segment/create", api.create, edit, "Make a segment", NewSegment, **options),
        Route("PUT", f"{org}/segment", api.edit, edit, "Edit a segment", EditSegment, **options),
        Route("DELETE", f"{org}/segment", api.delete, edit, "Delete a segment", lock="segment"),
    ]
