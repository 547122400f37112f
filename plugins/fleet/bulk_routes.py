"""One action on many devices over HTTP: as a dry run first if asked, with a result for each device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from hub import LARGE_BODY, Change, Device, Rejected, Request, Route
from hub.api import HIDDEN, VIEW_DEVICES
from hub.domain import DeviceQuery
from plugins.fleet.bulk_actions import ACTIONS, Bulk, BulkAction

if TYPE_CHECKING:
    from hub import Hub
    from plugins.fleet.search import DeviceSearch
    from plugins.fleet.tags import Tags

#: Devices of one request; a client with more of them narrows its filters.
MAX_DEVICES = 10_000
SUMMARY = "Do something to many devices"


@attrs.frozen(kw_only=True)
class Result:
    """Result for one device; ``problem`` says why the action failed, or would fail, and is null for a success."""

    device_id: int
    name: str
    problem: str | None


@attrs.frozen(kw_only=True)
class Results:
    done: int
    failed: int
    dry_run: bool
    results: list[Result]


class BulkRoutes:
    def __init__(self, hub: Hub, search: DeviceSearch, tags: Tags) -> None:
        self._hub = hub
        self._search = search
        self._tags = tags

    async def bulk(self, request: Request) -> Results:
        body: Bulk = request.body
        devices, results = await self._select(request, body)
        action = ACTIONS[body.action](self._hub, self._tags, request.principal, body)
        request.subject = f"{len(devices)} devices"
        problems = {device.id: problem for device in devices if (problem := self._problem(action, device))}
        if not body.dry_run:
            checked = [device for device in devices if device.id not in problems]
            # An action may change a device's organization.
            org_by_device = {device.id: device.org for device in checked}
            try:
                problems |= await action.apply(checked)
            finally:
                await self._audit(request, body, org_by_device)
        results += [
            Result(device_id=device.id, name=device.name, problem=problems.get(device.id)) for device in devices
        ]
        failed = sum(result.problem is not None for result in results)
        return Results(done=len(results) - failed, failed=failed, dry_run=body.dry_run, results=results)

    async def _select(self, request: Request, body: Bulk) -> tuple[list[Device], list[Result]]:
        """Return the devices that a request selects, and a result for each id without a device."""
        has_query = bool(body.query or body.filters or body.segment_id is not None)
        if (body.devices is not None) + has_query + body.all != 1:
            raise Rejected("select the devices in one way: by devices; by query, filters or segmentId; or by all")
        if body.devices is not None:
            return self._by_id(request, body.devices)
        query = DeviceQuery(query=body.query, match=body.match, filters=body.filters)
        matches = await self._search.find(request, query, body.org_id, body.segment_id)
        if len(matches) > MAX_DEVICES:
            raise Rejected(f"{len(matches)} devices match, and at most {MAX_DEVICES} are allowed: narrow the filters")
        return matches, []

    def _by_id(self, request: Request, ids: Sequence[int]) -> tuple[list[Device], list[Result]]:
        if len(ids) > MAX_DEVICES:
            raise Rejected(f"devices has {len(ids)} ids, and at most {MAX_DEVICES} are allowed")
        devices, missing = [], []
        for device_id in dict.fromkeys(ids):
            device = self._hub.devices.by_id.get(device_id)
            if device is not None and self._hub.is_allowed(request.principal, VIEW_DEVICES, device):
                devices.append(device)
            else:
                problem = str(self._hub.devices.not_found(device_id))
                missing.append(Result(device_id=device_id, name="", problem=problem))
        return devices, missing

    def _problem(self, action: BulkAction, device: Device) -> str | None:
        if not self._hub.is_allowed(action.principal, action.permission, device):
            return f"This needs the permission {action.permission}."
        return action.problem(device)

    async def _audit(self, request: Request, body: Bulk, org_by_device: Mapping[int, int]) -> None:
        """Record the action in the audit of each organization, with the ids of its devices.

        A move is also recorded in the target organization. Writes are not: they are in the actions log of each device.
        """
        if body.action == "write":
            return
        devices_by_org: dict[int, list[int]] = {}
        for device, org in org_by_device.items():
            devices_by_org.setdefault(org, []).append(device)
            if body.action == "move" and body.to_org_id not in (None, org):
                devices_by_org.setdefault(body.to_org_id or 0, []).append(device)
        parameters = {name: getattr(body, name) for name in ("tag_id", "to_org_id", "name", "value")}
        details = {name: value for name, value in parameters.items() if value is not None}
        if body.action == "metadata" and self._is_hidden_from_some(str(body.name), org_by_device):
            details["value"] = HIDDEN
        for org, devices in devices_by_org.items():
            change = Change(
                at=self._hub.clock.now(),
                principal=request.principal,
                address=request.address,
                org=org,
                action=f"{SUMMARY}: {body.action}",
                subject=f"device {devices[0]}" if len(devices) == 1 else f"{len(devices)} devices",
                details=details | {"devices": sorted(devices)},
            )
            await self._hub.record_change(change)

    def _is_hidden_from_some(self, field: str, devices: Iterable[int]) -> bool:
        """Whether only some roles see a metadata field of one of these devices."""
        found = [device for id_ in devices if (device := self._hub.devices.by_id.get(id_)) is not None]
        templates = {(device.template.id, device.template.version): device.template for device in found}
        return any(self._hub.metadata.has_view_roles(template, field) for template in templates.values())


def routes(hub: Hub, search: DeviceSearch, tags: Tags) -> Sequence[Route]:
    api = BulkRoutes(hub, search, tags)
    path = "/api/v1/devices/bulk"
    # Not audited as a request: `BulkRoutes` records it organization by organization.
    return [Route("POST", path, api.bulk, VIEW_DEVICES, SUMMARY, Bulk, audited=False, max_body=LARGE_BODY)]
