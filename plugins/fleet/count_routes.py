"""Numbers of devices by template, status, organization, owner and tag, for overviews."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from hub import OFFLINE, Device, Principal, Rejected, Request, Route
from hub.api import MAX_PAGE, VIEW_DEVICES, PageNumber, PageSize
from hub.domain import permission_predicate
from hub.slices import Steps, sort_in_steps

if TYPE_CHECKING:
    from hub import Hub
    from plugins.fleet.tags import Tags

#: Attributes that devices are counted by.
GroupBy = Literal["template", "status", "org", "owner", "tag"]
#: Devices that are counted in one step of a slice.
STEP = 256

#: The values of a device's attributes, in the order of the request; a device with several tags has several keys.
Key = tuple[Any, ...]


@attrs.frozen(kw_only=True)
class DeviceCount:
    """Number of devices with the same template, status and so on; null where devices are not counted by it.

    ``status_key`` is "online", "offline", or the key of a status of the template. In counts by owner or tag, null also
    stands for devices without one. ``name`` fields are for people.
    """

    devices: int
    template_id: str | None = None
    template_name: str | None = None
    status_key: str | None = None
    org_id: int | None = None
    org_name: str | None = None
    owner_user_id: int | None = None
    tag_id: int | None = None
    tag_name: str | None = None


@attrs.frozen(kw_only=True)
class DeviceCounts:
    """Numbers of devices, the largest first; ``devices`` is the number of all, ``total_elements`` that of the counts.

    A device with several tags is in the counts of each.
    """

    devices: int
    content: list[DeviceCount]
    total_elements: int


class CountRoutes:
    def __init__(self, hub: Hub, tags: Tags) -> None:
        self._hub = hub
        self._tags = tags

    async def counts(
        self,
        request: Request,
        *,
        by: str = "template,status",
        org_id: int | None = None,
        page: PageNumber = 0,
        size: PageSize = MAX_PAGE,
    ) -> DeviceCounts:
        """``by`` is one or several of template, status, org, owner and tag, separated by commas."""
        attributes = _parse_attributes(by)
        top = self._hub.access.organization_for(request, org_id).id
        is_visible = permission_predicate(self._hub.is_allowed, request.principal, VIEW_DEVICES)
        devices = await self._hub.device_queries.select(top, [is_visible])
        counts = await self._hub.slices.run(self._count(devices, attributes, request.principal))
        groups = await self._hub.slices.run(sort_in_steps(tuple(counts.items()), _sort_key, limit=(page + 1) * size))
        content = [self._to_count(attributes, key, count) for key, count in groups[page * size :]]
        return DeviceCounts(devices=len(devices), content=content, total_elements=len(counts))

    def _count(
        self, devices: Sequence[Device], attributes: Sequence[GroupBy], principal: Principal
    ) -> Steps[Counter[Key]]:
        values_of: dict[GroupBy, Callable[[Device], Sequence[Any]]] = {
            "template": lambda device: (device.template.id,),
            "status": lambda device: (device.status or OFFLINE,),
            "org": lambda device: (device.org,),
            "owner": lambda device: (device.owner,),
            "tag": lambda device: [tag.id for tag in self._tags.visible_tags(device, principal)] or (None,),
        }
        getters = [values_of[attribute] for attribute in attributes]
        counts = Counter[Key]()
        for start in range(0, len(devices), STEP):
            for device in devices[start : start + STEP]:
                counts.update(itertools.product(*(getter(device) for getter in getters)))
            yield
        return counts

    def _to_count(self, attributes: Sequence[GroupBy], key: Key, count: int) -> DeviceCount:
        values = dict(zip(attributes, key, strict=True))
        template = self._hub.templates.by_id.get(values.get("template", ""))
        org = self._hub.organizations.by_id.get(values.get("org", 0))
        tag = self._tags.by_id.get(values.get("tag") or 0)
        return DeviceCount(
            devices=count,
            template_id=values.get("template"),
            template_name=template.name if template else None,
            status_key=values.get("status"),
            org_id=values.get("org"),
            org_name=org.name if org else None,
            owner_user_id=values.get("owner"),
            tag_id=values.get("tag"),
            tag_name=tag.name if tag else None,
        )


def _sort_key(group: tuple[Key, int]) -> tuple[Any, ...]:
    """Return the sort key of a count: equal ones are ordered by their attributes, so that pages are stable."""
    return -group[1], *((value is None, value) for value in group[0])


def _parse_attributes(text: str) -> list[GroupBy]:
    """Parse attributes that are separated by commas. Raises `Rejected`."""
    attributes: list[GroupBy] = []
    for name in text.split(","):
        attribute = next((known for known in get_args(GroupBy) if known == name.strip()), None)
        if attribute is None:
            raise Rejected(f"by: {name.strip()[:50]!r} must be one of {', '.join(get_args(GroupBy))}")
        if attribute in attributes:
            raise Rejected(f"by: {attribute} is there twice; name it once")
        attributes.append(attribute)
    return attributes


def routes(hub: Hub, tags: Tags) -> Sequence[Route]:
    api = CountRoutes(hub, tags)
    summary = "Numbers of devices by template, status and other attributes"
    return [Route("GET", "/api/v1/devices/counts", api.counts, VIEW_DEVICES, summary)]
