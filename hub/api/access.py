"""Access of a request to devices, organizations and templates: found, checked against its principal's rights.

A handler asks here for whatever an id in its request names. An id that its principal may not see is answered as an id
that does not exist, so that ids cannot be probed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

from hub.api.messages import Pairs, Request
from hub.domain.device_query import permission_predicate
from hub.domain.devices import Devices
from hub.domain.organizations import Organizations, template_not_enabled
from hub.errors import Forbidden, NotFound, Rejected
from hub.model import VIEW_DEVICES, Device, Hello, IsAllowed, Organization, Principal, Template
from hub.templates.store import Templates

#: Devices that are looked at before other tasks get their turn, and how many of them take as long as to check a right.
STEPS_AT_ONCE, STEPS_OF_CHECK = 10_000, 30


class Access:
    """What a request is about, for those who may.

    ``login`` is `Hub.login`; ``take_message(device, address)`` raises `TooMany`.
    """

    def __init__(
        self,
        is_allowed: IsAllowed,
        organizations: Organizations,
        devices: Devices,
        templates: Templates,
        login: Callable[[str, Hello], Awaitable[Device | None]],
        reject: Callable[[str, str], None],
        take_message: Callable[[Device, str], None],
    ) -> None:
        self._is_allowed = is_allowed
        self._organizations = organizations
        self._devices = devices
        self._templates = templates
        self._login = login
        self._reject = reject
        self._take_message = take_message

    def device_for(self, request: Request, device_id: int) -> Device:
        """Return the device that a request is about, if its principal has the route's permission on it.

        Raises `Forbidden`; `NotFound` also when the principal may not see the device.
        """
        device = self._devices.get(device_id)
        if not self._is_allowed(request.principal, request.permission, device):
            if not self._is_allowed(request.principal, VIEW_DEVICES, device):
                raise self._devices.not_found(device_id)
            raise Forbidden(f"This needs the permission {request.permission}.")
        request.subject, request.org = f"device {device.id}", device.org
        return device

    def organization_for(self, request: Request, org_id: int | None = None) -> Organization:
        """Return the organization that a request is about, by default its principal's. Raises as `device_for`."""
        org = self._organizations.get(request.principal.org if org_id is None else org_id)
        if not self._is_allowed(request.principal, request.permission, org=org.id):
            raise self._organizations.not_found(org.id)
        request.org = org.id
        return org

    def template_for(self, request: Request, org: Organization, template_id: str) -> Template:
        """Return a template for a new device of an organization.

        Raises `Conflict` when the template is not enabled there but the principal sees it in its own organization,
        else `NotFound`.
        """
        try:
            return self._templates.for_org(org, template_id)
        except NotFound:
            template = self._templates.by_id.get(template_id)
            own = self._organizations.get(request.principal.org)
            is_visible = template is not None and own.has(template)
            if not is_visible or not self._is_allowed(request.principal, "templates.view", org=own.id):
                raise
        assert template is not None
        raise template_not_enabled(template, org)

    def devices_for(self, principal: Principal, permission: str, top: int | None = None) -> list[Device]:
        """Return all devices on which a principal has a permission, in an organization and those below it.

        ``top`` is the organization's id, by default the principal's.
        """
        orgs = self._organizations.below(principal.org if top is None else top)
        devices = (device for org in orgs for device in self._devices.by_org.get(org, {}).values())
        return self.allowed_devices(principal, permission, devices)

    async def find_devices(self, principal: Principal, permission: str, top: int | None = None) -> list[Device]:
        """Return what `devices_for` does; other tasks get their turn meanwhile, however many devices there are."""
        answers: dict[tuple[int, int | None], bool] = {}
        allowed, steps = [], 0
        for org in self._organizations.below(principal.org if top is None else top):
            for device in tuple(self._devices.by_org.get(org, {}).values()):
                key = (device.org, device.owner)
                is_allowed = answers.get(key)
                if is_allowed is None:
                    is_allowed = answers[key] = self._is_allowed(principal, permission, device)
                    steps += STEPS_OF_CHECK
                if is_allowed:
                    allowed.append(device)
                steps += 1
                if steps >= STEPS_AT_ONCE:
                    steps = 0
                    await trio.lowlevel.checkpoint()
        return allowed

    def allowed_devices(self, principal: Principal, permission: str, devices: Iterable[Device]) -> list[Device]:
        """Return those of ``devices`` on which a principal has a permission."""
        is_allowed = permission_predicate(self._is_allowed, principal, permission)
        return [device for device in devices if is_allowed(device)]

    async def authenticate_device(self, request: Request) -> tuple[Device, Pairs]:
        """Return the device whose token is in a request's query, and the other parameters.

        The request counts as one of the device's messages. Raises `Rejected` in the words of docs.blynk.io, `TooMany`.
        """
        pairs = request.pairs
        if request.device is None:
            token = next((value for key, value in pairs if key == "token"), None)
            request.device = await self._device_of_token(request, token)
        return request.device, [(key, value) for key, value in pairs if key != "token"]

    async def _device_of_token(self, request: Request, token: str | None) -> Device:
        if not token:
            raise Rejected("No token provided.")
        device = await self._login(token, Hello(via="http", address=request.address, tls=request.tls))
        if device is None:
            self._reject(request.address, f"unknown token ending …{ascii(token[-2:])[1:-1]} over HTTP")
            raise Rejected("Invalid token.")
        self._take_message(device, request.address)
        return device
