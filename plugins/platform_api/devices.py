"""Devices over HTTP: add, list, change, delete, read and write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import trio

from hub import spellings
from hub.api import (
    LARGE_BODY,
    PAGE,
    VIEW_DEVICES,
    Between,
    Created,
    Page,
    PageNumber,
    PageSize,
    Request,
    Route,
    page_of,
    secret,
)
from hub.domain.devices import NewDevice
from hub.errors import Conflict, NotFound, Rejected, WrongType, first_problems
from hub.model import ONLINE, Datastream, Device, Organization, Reboot, Reconfigure, Redirect
from hub.structuring import seconds
from hub.values import describe_choices, from_label, to_json
from hub.writes import Write
from plugins.platform_api.device_schemas import ActivatedDevice, DeviceObject, activated_shown, device_shown, whole

if TYPE_CHECKING:
    from hub.app import Hub

#: Rows of one file of devices, and those that are read before other tasks get their turn.
MAX_ROWS, SLICE = 5_000, 200
#: Columns of devices in CSV, whatever their case; others are names of metadata.
COLUMNS = ("name", "template", "token")


@attrs.frozen(kw_only=True)
class CreateDevice:
    """``token`` is what a board in the field already carries; without it one is made."""

    template_id: str
    name: str
    org_id: int | None = None
    owner_id: int | None = None
    token: str | None = secret(default=None)


@attrs.frozen(kw_only=True)
class DevicesCsv:
    """Columns ``name,template,token`` and metadata fields; all rows are added, or none.

    ``org_id`` is the organization of all of them, by default the one that the asker acts in.
    """

    csv: str = secret()
    org_id: int | None = None


@attrs.frozen(kw_only=True)
class AddedDevice:
    """``token`` is shown only here."""

    id: int
    name: str
    token: str


@attrs.frozen(kw_only=True)
class Rename:
    name: str


@attrs.frozen(kw_only=True)
class NewToken:
    """``overlap`` (such as "7d") is how long the old token goes on."""

    device_id: int
    overlap: str = ""
    token: str | None = secret(default=None)


@attrs.frozen(kw_only=True)
class WriteValue:
    """Either ``data_stream_id`` or ``pin`` ("v1") names the datastream."""

    device_id: int
    value: Any
    data_stream_id: int | None = None
    pin: str | None = None


@attrs.frozen(kw_only=True)
class WriteValues:
    """``values`` by datastream id."""

    device_id: int
    values: dict[str, Any]


@attrs.frozen(kw_only=True)
class RedirectDevice:
    device_id: int
    host: str
    port: int = 80


@attrs.frozen(kw_only=True)
class DeviceId:
    device_id: int


@attrs.frozen(kw_only=True)
class Connected:
    connected: bool


@attrs.frozen(kw_only=True)
class Token:
    """A device's token, which is shown only here."""

    token: str


@attrs.frozen(kw_only=True)
class Answered:
    """Milliseconds until a device has answered; null when it has not."""

    ms: float | None


class DeviceRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _shown(self, device: Device) -> DeviceObject:
        return device_shown(self._hub, device)

    async def create(self, request: Request) -> Created[DeviceObject]:
        body: CreateDevice = request.body
        org = self._hub.access.organization_for(request, body.org_id)
        template = self._hub.access.template_for(request, org, body.template_id)
        if body.owner_id is not None and self._hub.devices.org_of_user(body.owner_id) != org.id:
            raise NotFound(f"User with identifier {body.owner_id} is not found or belong to another organization.")
        new = NewDevice(name=body.name, template=template, token=body.token, org=org.id, owner=body.owner_id)
        [(device, token)] = await self._hub.devices.add([new], request.principal)
        request.subject = f"device {device.id}"
        return Created(value=attrs.evolve(self._shown(device), token=token))

    async def import_csv(self, request: Request) -> Created[Sequence[AddedDevice]]:
        org = self._hub.access.organization_for(request, request.body.org_id)
        problems, new = await self._rows(request, org)
        if problems:
            found = [*problems, *self._hub.devices.problems(new)]
            found.sort(key=lambda line: int("0" + line.partition(":")[0].rpartition(" ")[2]))
            raise Rejected("\n".join(first_problems(found)))
        added = await self._hub.devices.add(new, request.principal)
        if added:
            request.subject = f"devices {added[0][0].id} to {added[-1][0].id}"
        return Created(value=[AddedDevice(id=device.id, name=device.name, token=token) for device, token in added])

    async def _rows(self, request: Request, org: Organization) -> tuple[list[str], list[NewDevice]]:
        """What is wrong with the rows as such, and the devices of the others; other tasks get their turn.

        Raises `Rejected` for more than `MAX_ROWS`.
        """
        problems, new = [], []
        try:
            table = spellings.table(request.body.csv)
            # Names of metadata are written as they are; those of the three columns need not be.
            columns = [name.lower() if name.lower() in COLUMNS else name for name in table.header]
            if missing := [name for name in ("name", "template") if name not in columns]:
                raise Rejected(f"The header has no column {', '.join(missing)}.")
            for number, (line, values) in enumerate(table.rows, 1):
                if number > MAX_ROWS:
                    raise Rejected(f"The file has more than {MAX_ROWS} rows; split it.")
                if number % SLICE == 0:
                    await trio.lowlevel.checkpoint()
                if not values:
                    continue
                row = dict.fromkeys(columns, "") | dict(zip(columns, values, strict=False))
                if len(values) > len(columns):
                    problems.append(f"line {line}: has more columns than the header")
                    continue
                try:
                    template = self._hub.access.template_for(request, org, row["template"].strip())
                except NotFound:
                    problems.append(f"line {line}: there is no template {row['template']!r}")
                except Conflict as error:
                    problems.append(f"line {line}: {error}")
                else:
                    new.append(
                        NewDevice(
                            name=row["name"],
                            template=template,
                            token=row.get("token", "").strip() or None,
                            org=org.id,
                            metadata={k: v for k, v in row.items() if k not in COLUMNS and v},
                            where=f"line {line}",
                        )
                    )
        except ValueError as error:
            problems.append(str(error))
        return problems, new

    async def list(
        self,
        request: Request,
        *,
        org_id: int | None = None,
        include_sub_org_devices: bool = False,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[DeviceObject]:
        org = self._hub.access.organization_for(request, org_id)
        devices = self._hub.access.devices_for(request.principal, VIEW_DEVICES, org.id)
        if not include_sub_org_devices:
            devices = [device for device in devices if device.org == org.id]
        devices.sort(key=lambda device: device.id)
        return page_of(devices, page, size, self._shown)

    async def info(self, request: Request, device_id: int) -> DeviceObject:
        device = self._hub.access.device_for(request, device_id)
        request.version(device.name)
        return await whole(self._hub, device, request.principal)

    async def base_info(self, request: Request, device_id: int) -> DeviceObject:
        return self._shown(self._hub.access.device_for(request, device_id))

    async def of_owner(
        self,
        request: Request,
        owner_email: str,
        *,
        org_id: int | None = None,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[DeviceObject]:
        owner = self._hub.user_of(owner_email.lower())
        visible = self._hub.access.devices_for(
            request.principal, VIEW_DEVICES, self._hub.access.organization_for(request, org_id).id
        )
        found = [device for device in visible if owner is not None and device.owner == owner[0]]
        return page_of(found, page, size, self._shown)

    async def beside(
        self, request: Request, user_email: str, *, page: PageNumber = 0, size: PageSize = PAGE
    ) -> Page[DeviceObject]:
        """Those of the organization that somebody is in."""
        user = self._hub.user_of(user_email.lower())
        # Who may not look for users is not told who is one, beside themselves.
        who = request.principal
        oneself = user is not None and (who.kind, who.id) == ("user", user[0])
        if user is None or not (oneself or self._hub.is_allowed(who, "users.view", org=user[1])):
            return Page(content=[], total_elements=0)
        beside = self._hub.devices.by_org.get(user[1], {}).values()
        return page_of(
            self._hub.access.allowed_devices(request.principal, VIEW_DEVICES, beside), page, size, self._shown
        )

    async def last_activated(
        self,
        request: Request,
        *,
        org_id: int | None = None,
        minutes: Annotated[int, Between(1, 60)] = 5,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[ActivatedDevice]:
        """Devices that came for the first time in the last minutes, the newest first."""
        org = self._hub.access.organization_for(request, org_id)
        since = self._hub.clock.now() - minutes * 60_000
        devices = self._hub.access.devices_for(request.principal, VIEW_DEVICES, org.id)
        found = [one for one in devices if one.org == org.id and one.activated is not None and one.activated >= since]
        found.sort(key=lambda device: -(device.activated or 0))
        return page_of(found, page, size, activated_shown)

    async def rename(self, request: Request, device_id: int) -> DeviceObject:
        device = self._hub.access.device_for(request, device_id)
        request.expect(device.name)
        await self._hub.devices.rename(device, request.body.name, request.principal)
        request.version(device.name)
        return self._shown(device)

    async def delete(self, request: Request, device_id: int) -> None:
        await self._hub.devices.delete(self._hub.access.device_for(request, device_id), request.principal)

    async def online(self, request: Request, device_id: int) -> Connected:
        return Connected(connected=self._hub.access.device_for(request, device_id).status == ONLINE)

    async def datastreams(self, request: Request, device_id: int, pins: tuple[str, ...] = ()) -> dict[str, Any]:
        device = self._hub.access.device_for(request, device_id)
        wanted = {pin.lower() for pin in pins}
        values = ((f"v{s.pin}", self._hub.writes.current(device, s)) for s in device.template.datastreams)
        return {pin: to_json(value) for pin, value in values if value is not None and (not wanted or pin in wanted)}

    async def write(self, request: Request) -> None:
        body: WriteValue = request.body
        device = self._hub.access.device_for(request, body.device_id)
        stream = device.find(body.pin, body.data_stream_id).datastream
        await self._write(request, device, {stream.id: body.value})

    async def write_several(self, request: Request) -> None:
        body: WriteValues = request.body
        if not body.values or not all(re.fullmatch(r"[0-9]{1,10}", key) for key in body.values):
            raise Rejected("values: must be values by datastream id")
        device = self._hub.access.device_for(request, body.device_id)
        await self._write(request, device, {int(number): value for number, value in body.values.items()})

    async def _write(self, request: Request, device: Device, values: dict[int, Any]) -> None:
        points = {number: device.point(number) for number in values}
        for number, point in points.items():
            if point is None:
                raise NotFound(f"Data stream with identifier {number} is not found!")
        writes = [
            Write(
                device,
                point.datastream.pin,
                from_label(point.datastream, values[number]),
                "api",
                request.principal,
            )
            for number, point in points.items()
            if point is not None
        ]
        try:
            receipt = self._hub.writes.write_all(writes)
        except WrongType as error:
            raise Rejected(_wrong_type(error, [point.datastream for point in points.values() if point])) from error
        await receipt.durable()

    async def token(self, request: Request) -> Token:
        body: NewToken = request.body
        try:
            overlap = seconds(body.overlap) if body.overlap else 0
        except ValueError as error:
            raise Rejected(f"overlap: {error}") from error
        device = self._hub.access.device_for(request, body.device_id)
        token = await self._hub.tokens.rotate(device, request.principal, int(overlap * 1000), body.token)
        return Token(token=token)

    async def redirect(self, request: Request) -> None:
        body: RedirectDevice = request.body
        if not 0 < body.port < 65536 or not 0 < len(body.host) <= 63 or not body.host.isprintable():
            raise Rejected("host must have 1 to 63 characters, port must be 1 to 65535")
        self._hub.command(self._hub.access.device_for(request, body.device_id), Redirect(body.host, body.port))

    async def reboot(self, request: Request) -> None:
        self._hub.command(self._hub.access.device_for(request, request.body.device_id), Reboot())

    async def reconfigure(self, request: Request) -> None:
        self._hub.command(self._hub.access.device_for(request, request.body.device_id), Reconfigure())

    async def ping(self, request: Request) -> Answered:
        took = await self._hub.sessions.ping(self._hub.access.device_for(request, request.body.device_id))
        return Answered(ms=None if took is None else round(took, 1))


def _wrong_type(error: WrongType, streams: Sequence[Datastream]) -> str:
    """What was expected, in words; of several datastreams their types."""
    if len(streams) == 1 and streams[0].type == "enum":
        return f"V{streams[0].pin} {streams[0].name} is {describe_choices(streams[0])}."
    wanted = ", ".join(f"V{stream.pin} {stream.name}: {stream.type}" for stream in streams)
    return f"{error} ({wanted})"


def routes(hub: Hub) -> Sequence[Route]:
    api = DeviceRoutes(hub)
    org, ours = "/api/v1/organization", "/api/v1"
    view, control, edit, add = VIEW_DEVICES, "org_devices.control", "org_devices.edit", "org_devices.add"
    delete, tokens = "org_devices.delete", "auth_tokens.edit"
    several, moved = "Write several values", "Ask a device to join another network"
    return [
        Route("POST", f"{org}/device/create", api.create, add, "Add a device", CreateDevice),
        Route(
            "POST",
            f"{ours}/device/import",
            api.import_csv,
            add,
            "Add devices from CSV",
            DevicesCsv,
            max_body=LARGE_BODY,
        ),
        Route("GET", f"{org}/devices", api.list, view, "Devices, a page at a time"),
        Route("GET", f"{org}/device", api.info, view, "One device with its values and metadata"),
        Route("GET", f"{org}/device/baseInfo", api.base_info, view, "One device without its values"),
        Route("GET", f"{org}/device/by-owner", api.of_owner, view, "The devices of a user"),
        Route("GET", f"{org}/device/by-user-org", api.beside, view, "The devices of a user's organization"),
        Route("GET", f"{org}/device/last-activated", api.last_activated, view, "Devices that are new"),
        Route("PUT", f"{org}/device", api.rename, edit, "Rename a device", Rename, lock="device"),
        Route("DELETE", f"{org}/device", api.delete, delete, "Delete a device and its data"),
        Route("GET", f"{org}/device/online", api.online, view, "Whether a device is connected"),
        Route("GET", f"{org}/device/datastreams", api.datastreams, view, "A device's values by pin"),
        # Who wrote which value is in the log of the device's actions.
        Route("POST", f"{org}/device/datastream", api.write, control, "Write a value", WriteValue, audited=False),
        Route("POST", f"{org}/device/datastreams", api.write_several, control, several, WriteValues, audited=False),
        Route("POST", f"{ours}/device/token", api.token, tokens, "Give a device a new token", NewToken),
        Route(
            "POST", f"{ours}/device/redirect", api.redirect, control, "Send a device to another server", RedirectDevice
        ),
        Route("POST", f"{ours}/device/reboot", api.reboot, control, "Ask a device to reboot", DeviceId),
        Route("POST", f"{ours}/device/reconfigure", api.reconfigure, control, moved, DeviceId),
        Route(
            "POST",
            f"{ours}/device/ping",
            api.ping,
            control,
            "How long a device takes to answer",
            DeviceId,
            audited=False,
        ),
    ]
