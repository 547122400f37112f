"""Actions on many devices: each checks a device by itself, and is then applied to all that passed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from hub import HubError, Rejected, Write, WrongType
from hub.domain import Filter
from hub.values import from_label

if TYPE_CHECKING:
    from hub import Device, Hub, Principal
    from plugins.fleet.tags import Tags

Action = Literal["tag", "untag", "move", "metadata", "write", "delete"]


@attrs.frozen(kw_only=True)
class Bulk:
    """Action on ``devices`` by id, or on those that match as in a search; ``dry_run`` changes nothing.

    ``tag_id`` is for tag and untag, ``to_org_id`` for move, ``name`` and ``value`` for metadata, ``pin`` and ``value``
    for write.
    """

    action: Action
    devices: list[int] | None = None
    query: str = ""
    match: Literal["all", "any"] = "all"
    filters: list[Filter] = attrs.Factory(list)
    segment_id: int | None = None
    org_id: int | None = None
    #: Instead of ids and of a query: every device of the organization and those below it.
    all: bool = False
    dry_run: bool = False
    tag_id: int | None = None
    to_org_id: int | None = None
    name: str | None = None
    pin: str | None = None
    value: Any = None


class BulkAction(ABC):
    """Action with the parameters of one request. The constructor raises `RequestError` if they are invalid."""

    #: The permission that the principal needs on each device.
    permission: ClassVar[str]

    def __init__(self, hub: Hub, principal: Principal) -> None:
        self.hub = hub
        self.principal = principal

    @abstractmethod
    def problem(self, device: Device) -> str | None:
        """Return why the action cannot be applied to the device, or None."""

    @abstractmethod
    async def apply(self, devices: Sequence[Device]) -> dict[int, str]:
        """Apply the action to devices, and return problems by id of those where it failed."""


async def _one_by_one(devices: Sequence[Device], apply: Callable[[Device], Awaitable[object]]) -> dict[int, str]:
    problems = {}
    for device in devices:
        try:
            await apply(device)
        except HubError as error:
            problems[device.id] = str(error)
    return problems


class _TagAction(BulkAction):
    permission = "org_devices.edit"

    def __init__(self, hub: Hub, tags: Tags, principal: Principal, body: Bulk) -> None:
        super().__init__(hub, principal)
        if body.tag_id is None:
            raise Rejected("tagId is missing; name the tag to attach or detach")
        self.tags, self.tag = tags, tags.tag_for(principal, body.tag_id)


class _Attach(_TagAction):
    def problem(self, device: Device) -> str | None:
        return self.tags.attach_problem(device, self.tag)

    async def apply(self, devices: Sequence[Device]) -> dict[int, str]:
        await self.tags.attach(devices, self.tag, self.principal)
        return {}


class _Detach(_TagAction):
    def problem(self, device: Device) -> None:
        pass

    async def apply(self, devices: Sequence[Device]) -> dict[int, str]:
        await self.tags.detach(devices, self.tag, self.principal)
        return {}


class _Move(BulkAction):
    permission = "transfers.devices"

    def __init__(self, hub: Hub, _tags: Tags, principal: Principal, body: Bulk) -> None:
        super().__init__(hub, principal)
        if body.to_org_id is None:
            raise Rejected("toOrgId is missing; name the organization to move the devices to")
        if not hub.is_allowed(principal, self.permission, org=body.to_org_id):
            raise hub.organizations.not_found(body.to_org_id)
        self.target = hub.organizations.get(body.to_org_id)

    def problem(self, device: Device) -> str | None:
        if device.org == self.target.id:
            return "the device is in this organization already"
        return (
            None
            if self.target.has(device.template)
            else f"template {device.template.id} is not enabled in the target organization"
        )

    async def apply(self, devices: Sequence[Device]) -> dict[int, str]:
        transfer, target = self.hub.devices.transfer, self.target.id
        return await _one_by_one(devices, lambda device: transfer(device, target, None, self.principal))


class _SetMetadata(BulkAction):
    permission = "org_devices.edit"

    def __init__(self, hub: Hub, _tags: Tags, principal: Principal, body: Bulk) -> None:
        super().__init__(hub, principal)
        if body.name is None or not isinstance(body.value, str):
            raise Rejected("metadata needs name and value, and value must be text")
        self.name, self.value = body.name, body.value

    def problem(self, device: Device) -> str | None:
        try:
            self.hub.metadata.check(device, self.name, self.value, self.principal)
        except HubError as error:
            return str(error)
        return None

    async def apply(self, devices: Sequence[Device]) -> dict[int, str]:
        metadata, name, value = self.hub.metadata, self.name, self.value
        return await _one_by_one(devices, lambda device: metadata.set(device, name, value, self.principal))


class _WriteValue(BulkAction):
    permission = "org_devices.control"

    def __init__(self, hub: Hub, _tags: Tags, principal: Principal, body: Bulk) -> None:
        super().__init__(hub, principal)
        if body.pin is None or body.value is None:
            raise Rejected("write needs pin and value")
        self.pin, self.value = body.pin, body.value

    def problem(self, device: Device) -> str | None:
        try:
            point = device.find(self.pin)
            value = from_label(point.datastream, self.value)
            self.hub.writes.check(device, point, self.hub.clock.now(), value)
        except WrongType as error:
            return f"{device.find(self.pin).datastream.name}: {error}"
        except HubError as error:
            return str(error)
        return None

    async def apply(self, devices: Sequence[Device]) -> dict[int, str]:
        problems, receipts = {}, []
        for device in devices:
            try:
                datastream = device.find(self.pin).datastream
                value = from_label(datastream, self.value)
                receipt = self.hub.write(Write(device, datastream.pin, value, "api", self.principal))
            except HubError as error:
                problems[device.id] = str(error)
            else:
                receipts.append((device, receipt))
        for device, receipt in receipts:
            try:
                await receipt.durable()
            except HubError as error:
                problems[device.id] = str(error)
        return problems


class _Delete(BulkAction):
    permission = "org_devices.delete"

    def __init__(self, hub: Hub, _tags: Tags, principal: Principal, _body: Bulk) -> None:
        super().__init__(hub, principal)

    def problem(self, device: Device) -> None:
        pass

    async def apply(self, devices: Sequence[Device]) -> dict[int, str]:
        return await _one_by_one(devices, lambda device: self.hub.devices.delete(device, self.principal))


ACTIONS: Mapping[Action, Callable[[Hub, Tags, Principal, Bulk], BulkAction]] = {
    "tag": _Attach,
    "untag": _Detach,
    "move": _Move,
    "metadata": _SetMetadata,
    "write": _WriteValue,
    "delete": _Delete,
}
