"""One thing done to many devices: tried out first if asked, with a result for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub.api import LARGE_BODY, VIEW_DEVICES, Request, Route
from hub.errors import HubError, Rejected, WrongType
from hub.model import Change, Device
from hub.values import from_label
from hub.writes import Write
from plugins.fleet.filters import Filter, Find
from plugins.fleet.tags import of_asker

if TYPE_CHECKING:
    from hub.app import Hub
    from plugins.fleet.search import Fleet

#: Devices at a time; whoever has more narrows the filters.
MAX_DEVICES = 10_000

Action = Literal["tag", "untag", "move", "metadata", "write", "delete"]
#: What each needs on each device.
NEEDS: dict[str, str] = {
    "tag": "org_devices.edit",
    "untag": "org_devices.edit",
    "move": "transfers.devices",
    "metadata": "org_devices.edit",
    "write": "org_devices.control",
    "delete": "org_devices.delete",
}


@attrs.frozen(kw_only=True)
class Bulk:
    """``devices`` by id, or those that are found as by a search; with ``dry_run`` nothing is changed.

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
    #: Instead of all that: every device of the organization and below.
    all: bool = False
    dry_run: bool = False
    tag_id: int | None = None
    to_org_id: int | None = None
    name: str | None = None
    pin: str | None = None
    value: Any = None


@attrs.frozen(kw_only=True)
class Result:
    """``problem`` says why it was not done, or would not be; None when it was, or would."""

    device_id: int
    name: str
    problem: str | None


@attrs.frozen(kw_only=True)
class Results:
    done: int
    failed: int
    dry_run: bool
    results: list[Result]


#: Why it cannot be done on a device, and doing it on one or on all.
Check = Callable[[Device], str | None]
Do = Callable[[Sequence[Device]], Awaitable[dict[int, str]]]


def routes(hub: Hub, fleet: Fleet) -> Sequence[Route]:
    async def chosen(request: Request, body: Bulk) -> tuple[list[Device], list[Result]]:
        """The devices that are meant, and what there is to say of those that are not there."""
        narrowed = bool(body.query or body.filters or body.segment_id is not None)
        if (body.devices is not None) + narrowed + body.all != 1:
            raise Rejected("say which are meant: devices; or query, filters or segmentId; or all")
        if body.devices is None:
            find = Find(query=body.query, match=body.match, filters=body.filters)
            found = await fleet.found(request, find, body.org_id, body.segment_id)
            if len(found) > MAX_DEVICES:
                raise Rejected(f"{len(found)} devices are meant, and at most {MAX_DEVICES} can be: narrow the filters")
            return found, []
        if len(body.devices) > MAX_DEVICES:
            raise Rejected(f"devices: at most {MAX_DEVICES}")
        devices, missing = [], []
        for number in dict.fromkeys(body.devices):
            device = hub.devices.by_id.get(number)
            if device is not None and hub.is_allowed(request.principal, VIEW_DEVICES, device):
                devices.append(device)
            else:
                missing.append(Result(device_id=number, name="", problem=str(hub.devices.not_found(number))))
        return devices, missing

    async def one_by_one(devices: Sequence[Device], do: Callable[[Device], Awaitable[object]]) -> dict[int, str]:
        problems = {}
        for device in devices:
            try:
                await do(device)
            except HubError as error:
                problems[device.id] = str(error)
        return problems

    def tagging(request: Request, body: Bulk) -> tuple[Check, Do]:
        if body.tag_id is None:
            raise Rejected("tagId: is missing")
        tag, on = of_asker(hub, fleet.tags, request, body.tag_id), body.action == "tag"

        async def put(devices: Sequence[Device]) -> dict[int, str]:
            await fleet.tags.put(devices, tag, request.principal, on=on)
            return {}

        return (lambda device: fleet.tags.problem(device, tag) if on else None), put

    def moving(request: Request, body: Bulk) -> tuple[Check, Do]:
        if body.to_org_id is None:
            raise Rejected("toOrgId: is missing")
        if not hub.is_allowed(request.principal, "transfers.devices", org=body.to_org_id):
            raise hub.organizations.not_found(body.to_org_id)
        to = hub.organizations.get(body.to_org_id)

        def check(device: Device) -> str | None:
            if device.org == to.id:
                return "it is there already"
            return None if to.has(device.template) else f"template {device.template.id} is not enabled there"

        async def move(devices: Sequence[Device]) -> dict[int, str]:
            return await one_by_one(devices, lambda one: hub.devices.transfer(one, to.id, None, request.principal))

        return check, move

    def filling(request: Request, body: Bulk) -> tuple[Check, Do]:
        name, value = body.name, body.value
        if name is None or not isinstance(value, str):
            raise Rejected("name and value are needed, and value is text")

        def check(device: Device) -> str | None:
            try:
                hub.metadata.check(device, name, value, request.principal)
            except HubError as error:
                return str(error)
            return None

        async def fill(devices: Sequence[Device]) -> dict[int, str]:
            return await one_by_one(devices, lambda one: hub.metadata.set(one, name, value, request.principal))

        return check, fill

    def writing(request: Request, body: Bulk) -> tuple[Check, Do]:
        pin, value = body.pin, body.value
        if pin is None or value is None:
            raise Rejected("pin and value are needed")

        def write(device: Device) -> Write:
            stream = device.find(pin).datastream
            return Write(device, stream.pin, from_label(stream, value), "api", request.principal)

        def check(device: Device) -> str | None:
            try:
                point = device.find(pin)
                hub.writes.check(device, point, hub.clock.now(), from_label(point.datastream, value))
            except WrongType as error:
                return f"{device.find(pin).datastream.name}: {error}"
            except HubError as error:
                return str(error)
            return None

        async def put(devices: Sequence[Device]) -> dict[int, str]:
            problems, receipts = {}, []
            for device in devices:
                try:
                    receipts.append((device, hub.write(write(device))))
                except HubError as error:
                    problems[device.id] = str(error)
            for device, receipt in receipts:
                try:
                    await receipt.durable()
                except HubError as error:
                    problems[device.id] = str(error)
            return problems

        return check, put

    def deleting(request: Request, _body: Bulk) -> tuple[Check, Do]:
        async def delete(devices: Sequence[Device]) -> dict[int, str]:
            return await one_by_one(devices, lambda one: hub.devices.delete(one, request.principal))

        return (lambda _device: None), delete

    actions: dict[str, Callable[[Request, Bulk], tuple[Check, Do]]] = {
        "tag": tagging,
        "untag": tagging,
        "move": moving,
        "metadata": filling,
        "write": writing,
        "delete": deleting,
    }

    async def bulk(request: Request) -> Results:
        body: Bulk = request.body
        devices, results = await chosen(request, body)
        check, do = actions[body.action](request, body)
        request.subject = f"{len(devices)} devices"
        needed = NEEDS[body.action]
        problems: dict[int, str] = {}
        for device in devices:
            allowed = hub.is_allowed(request.principal, needed, device)
            if problem := check(device) if allowed else f"This needs the permission {needed}.":
                problems[device.id] = problem
        # What was done is put down below, organization by organization.
        if not body.dry_run:
            meant = [device for device in devices if device.id not in problems]
            before = {device.id: device.org for device in meant}
            try:
                problems |= await do(meant)
            finally:
                await record(request, body, before)
        results += [Result(device_id=d.id, name=d.name, problem=problems.get(d.id)) for d in devices]
        failed = sum(one.problem is not None for one in results)
        return Results(done=len(results) - failed, failed=failed, dry_run=body.dry_run, results=results)

    async def record(request: Request, body: Bulk, devices: dict[int, int]) -> None:
        """Put down in each organization what was done to which of its devices; of values, the devices' logs tell."""
        if body.action == "write":
            return
        by_org: dict[int, list[int]] = {}
        for device, org in devices.items():
            by_org.setdefault(org, []).append(device)
            if body.action == "move" and body.to_org_id not in (None, org):
                by_org.setdefault(body.to_org_id or 0, []).append(device)
        said = {key: getattr(body, key) for key in ("tag_id", "to_org_id", "name", "value")}
        for org, ids in by_org.items():
            details = {key: value for key, value in said.items() if value is not None} | {"devices": sorted(ids)}
            subject = f"device {ids[0]}" if len(ids) == 1 else f"{len(ids)} devices"
            await hub.record_change(
                Change(
                    at=hub.clock.now(),
                    principal=request.principal,
                    address=request.address,
                    org=org,
                    action=f"{summary}: {body.action}",
                    subject=subject,
                    details=details,
                ),
            )

    path, summary = "/api/v1/devices/bulk", "Do something to many devices"
    return [Route("POST", path, bulk, VIEW_DEVICES, summary, Bulk, audited=False, max_body=LARGE_BODY)]
