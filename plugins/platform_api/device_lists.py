"""Lists of devices: selected and converted in slices, so that a long list does not block the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from hub import Device, Request
from hub.api import VIEW_DEVICES
from hub.domain import permission_predicate
from hub.slices import Steps

if TYPE_CHECKING:
    from hub import Hub

T = TypeVar("T")

#: Devices that are converted in one step of a slice.
STEP = 32


async def visible_devices(
    hub: Hub, request: Request, org_id: int | None, *, include_sub_organizations: bool
) -> Sequence[Device]:
    """Return the devices of an organization that the request's principal may view, by id. Raises `NotFound`.

    The organization is that of the principal by default.
    """
    org = hub.access.organization_for(request, org_id).id
    is_visible = permission_predicate(hub.is_allowed, request.principal, VIEW_DEVICES)
    predicates = [is_visible] if include_sub_organizations else [lambda device: device.org == org, is_visible]
    return await hub.device_queries.select(org, predicates)


async def convert_devices(hub: Hub, devices: Sequence[Device], convert: Callable[[Device], T]) -> list[T]:
    """Convert devices for an answer; those that were deleted meanwhile are left out."""

    def steps() -> Steps[list[T]]:
        converted: list[T] = []
        for number, device in enumerate(devices):
            if number % STEP == 0:
                yield
            if hub.devices.by_id.get(device.id) is device:
                converted.append(convert(device))
        return converted

    return await hub.slices.run(steps())
