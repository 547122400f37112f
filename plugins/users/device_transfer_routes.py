"""Routes that transfer devices to other users and organizations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import Rejected, Request, Route

if TYPE_CHECKING:
    from plugins.users.service import UsersService


@attrs.frozen(kw_only=True)
class TransferDevice:
    """Either a user, to whose organization the device goes, or an organization.

    ``new_user_id`` of 0 leaves the device in its organization, without an owner.
    """

    device_id: int
    new_user_id: int | None = None
    new_org_id: int | None = None


@attrs.frozen(kw_only=True)
class TransferToOwner:
    """``new_user_id`` of 0 leaves the device without an owner."""

    device_id: int
    new_user_id: int


@attrs.frozen(kw_only=True)
class TransferToOrganization:
    device_id: int
    new_org_id: int


class DeviceTransferRoutes:
    def __init__(self, service: UsersService) -> None:
        self._hub = service.hub
        self._users = service.users

    async def transfer(self, request: Request) -> None:
        await self._transfer(request, request.body)

    async def transfer_to_owner(self, request: Request) -> None:
        body: TransferToOwner = request.body
        await self._transfer(request, TransferDevice(device_id=body.device_id, new_user_id=body.new_user_id))

    async def transfer_to_organization(self, request: Request) -> None:
        body: TransferToOrganization = request.body
        await self._transfer(request, TransferDevice(device_id=body.device_id, new_org_id=body.new_org_id))

    async def _transfer(self, request: Request, body: TransferDevice) -> None:
        hub = self._hub
        device = hub.access.device_for(request, body.device_id)
        if (body.new_user_id is None) == (body.new_org_id is None):
            raise Rejected("Either newUserId or newOrgId is needed.")
        if body.new_org_id is not None:
            # The same error as for a missing organization, so that ids cannot be probed.
            if not hub.is_allowed(request.principal, request.permission, org=body.new_org_id):
                raise hub.organizations.not_found(body.new_org_id)
            hub.organizations.get(body.new_org_id)
            target: tuple[int, int | None] = (body.new_org_id, None)
            request.transferred_to = body.new_org_id
        elif not body.new_user_id:
            target = (device.org, None)
        else:
            # A device belongs to the organization of its owner.
            org = hub.directory.organization_of(body.new_user_id)
            if org is None or not hub.is_allowed(request.principal, request.permission, org=org):
                raise self._users.unknown(body.new_user_id)
            target = (org, body.new_user_id)
            request.transferred_to = None if org == device.org else org
        if target == (device.org, device.owner):
            raise Rejected("Can't transfer to the same owner")
        await hub.devices.transfer(device, *target, request.principal)

    async def clear_owner(self, request: Request, device_id: int) -> None:
        device = self._hub.access.device_for(request, device_id)
        await self._hub.devices.transfer(device, device.org, None, request.principal)


def routes(service: UsersService) -> Sequence[Route]:
    api = DeviceTransferRoutes(service)
    device, permission = "/api/v1/organization/device", "transfers.devices"
    to_owner, to_organization = "Transfer a device to a user", "Transfer a device to an organization"
    by_owner, by_organization = f"{device}/transfer/to-owner", f"{device}/transfer/to-organization"
    return [
        Route("POST", f"{device}/transfer", api.transfer, permission, "Transfer a device", TransferDevice),
        Route("POST", by_owner, api.transfer_to_owner, permission, to_owner, TransferToOwner),
        Route(
            "POST", by_organization, api.transfer_to_organization, permission, to_organization, TransferToOrganization
        ),
        Route("DELETE", f"{device}/owner", api.clear_owner, permission, "Remove the owner of a device"),
    ]
